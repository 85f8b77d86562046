//! Numbers compared exactly: integers of any size, doubles and decimals, without rounding (3.3, 3.6). It stands on the
//! walk of a hit, below [`super`]. Nothing is allocated unless two large numbers of the same magnitude meet.

use super::failure::Limit;
use super::{Budget, Failure};
use crate::host::{BigDigits, DecimalDigits};
use num_bigint::{BigInt, BigUint, Sign};
use std::cmp::Ordering;
use std::fmt::Write as _;

/// Most digits that comparing decimals may write down.
pub const MAX_DECIMAL_DIGITS: u64 = 4096;

/// An integer of more digits than this is told from a power of ten by its first digits alone.
const MAX_EXACT_POWER: u64 = 20_000;

/// A number, borrowed.
#[derive(Clone, Copy, Debug)]
pub enum Num<'x> {
    /// An integer of 64 bits.
    Int(i64),
    /// A larger integer of ours.
    Big(&'x BigInt),
    /// A larger integer of the host.
    Digits(BigDigits<'x>),
    /// A double.
    Float(f64),
    /// A decimal.
    Decimal(DecimalDigits<'x>),
}

/// A position as written in an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// It fits.
    At(i64),
    /// Whole, but beyond 64 bits.
    Beyond {
        /// True if it is below zero.
        negative: bool,
    },
    /// A fraction, or not finite.
    No,
}

impl Num<'_> {
    #[inline]
    pub(super) fn is_zero_or_nan(&self) -> bool {
        match self {
            Num::Int(value) => *value == 0,
            Num::Float(value) => *value == 0.0 || value.is_nan(),
            _ => self.sign() == 0,
        }
    }

    /// −1, 0 or 1. Not for NaN.
    fn sign(&self) -> i32 {
        let signed = |negative: bool, zero: bool| match (zero, negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        };
        match self {
            Num::Int(value) => value.signum() as i32,
            Num::Big(value) => signed(value.sign() == Sign::Minus, value.sign() == Sign::NoSign),
            // From the top, where a host has no zeros.
            Num::Digits(digits) => signed(digits.negative, digits.digits.iter().rev().all(|digit| *digit == 0)),
            Num::Float(value) => signed(*value < 0.0, *value == 0.0),
            Num::Decimal(digits) => signed(digits.negative, digits.words.iter().rev().all(|word| *word == 0)),
        }
    }

    /// The number as a position.
    pub(super) fn whole(&self) -> Whole {
        match self {
            Num::Int(value) => Whole::At(*value),
            Num::Float(value) => float_whole(*value),
            Num::Big(_) | Num::Digits(_) if self.bits() > 64 => Whole::Beyond { negative: self.sign() < 0 },
            Num::Big(_) | Num::Digits(_) => {
                let value = self.integer().unwrap_or_default();
                i64::try_from(&value).map_or(Whole::Beyond { negative: self.sign() < 0 }, Whole::At)
            }
            Num::Decimal(digits) => decimal_whole(*digits),
        }
    }

    /// The nearest double; infinite if it is out of range.
    #[allow(clippy::cast_precision_loss, reason = "a measured value is sent as a double")]
    pub(super) fn nearest(&self) -> f64 {
        match self {
            Num::Int(value) => *value as f64,
            Num::Float(value) => *value,
            Num::Big(_) | Num::Digits(_) if self.bits() > 1100 => f64::INFINITY * f64::from(self.sign()),
            Num::Big(_) | Num::Digits(_) => {
                self.integer().and_then(|value| value.to_string().parse().ok()).unwrap_or(f64::NAN)
            }
            Num::Decimal(digits) => decimal_nearest(*digits),
        }
    }

    /// The integer; `None` for a double or decimal.
    pub(super) fn integer(&self) -> Option<BigInt> {
        match self {
            Num::Int(value) => Some(BigInt::from(*value)),
            Num::Big(value) => Some((*value).clone()),
            Num::Digits(digits) => {
                let sign = if digits.negative { Sign::Minus } else { Sign::Plus };
                Some(BigInt::from_biguint(sign, unpack(*digits)))
            }
            Num::Float(_) | Num::Decimal(_) => None,
        }
    }

    /// Bits of the magnitude of an integer.
    fn bits(&self) -> u64 {
        match self {
            Num::Int(value) => u64::from(64 - value.unsigned_abs().leading_zeros()),
            Num::Big(value) => value.bits(),
            Num::Digits(digits) => {
                let Some(top) = digits.digits.iter().rposition(|digit| *digit != 0) else { return 0 };
                let digit = digits.digits.get(top).copied().unwrap_or(0);
                top as u64 * u64::from(digits.bits) + u64::from(32 - digit.leading_zeros())
            }
            Num::Float(_) | Num::Decimal(_) => 0,
        }
    }

    /// Bytes that a comparison may have to read.
    fn size(&self) -> usize {
        match self {
            Num::Int(_) | Num::Float(_) => 0,
            Num::Big(value) => usize::try_from(value.bits() / 8).unwrap_or(usize::MAX),
            Num::Digits(digits) => digits.digits.len() * 4,
            Num::Decimal(digits) => digits.words.len() * 8,
        }
    }
}

/// The order of two numbers; `None` if one is NaN.
#[inline]
pub(super) fn compare(left: Num<'_>, right: Num<'_>, budget: &mut Budget<'_>) -> Result<Option<Ordering>, Failure> {
    match (left, right) {
        (Num::Int(a), Num::Int(b)) => Ok(Some(a.cmp(&b))),
        (Num::Float(a), Num::Float(b)) => Ok(a.partial_cmp(&b)),
        (Num::Int(a), Num::Float(b)) => Ok(int_with_float(a, b)),
        (Num::Float(a), Num::Int(b)) => Ok(int_with_float(b, a).map(Ordering::reverse)),
        _ => {
            budget.charge(left.size().max(right.size()))?;
            compare_large(left, right)
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "2^63 and whole parts of doubles are exact")]
fn int_with_float(int: i64, float: f64) -> Option<Ordering> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if float.is_nan() {
        return None;
    }
    if float >= LIMIT {
        return Some(Ordering::Less);
    }
    if float < -LIMIT {
        return Some(Ordering::Greater);
    }
    let whole = float.trunc();
    Some(int.cmp(&(whole as i64)).then_with(|| 0.0_f64.partial_cmp(&(float - whole)).unwrap_or(Ordering::Equal)))
}

fn compare_large(left: Num<'_>, right: Num<'_>) -> Result<Option<Ordering>, Failure> {
    for (number, flip) in [(left, false), (right, true)] {
        let Num::Float(value) = number else { continue };
        if value.is_nan() {
            return Ok(None);
        }
        if value.is_infinite() {
            let order = if value > 0.0 { Ordering::Greater } else { Ordering::Less };
            return Ok(Some(if flip { order.reverse() } else { order }));
        }
    }
    let (a, b) = (left.sign(), right.sign());
    if a != b || a == 0 {
        return Ok(Some(a.cmp(&b)));
    }
    let order = magnitudes(left, right)?;
    Ok(Some(if a < 0 { order.reverse() } else { order }))
}

/// The order of two magnitudes, neither zero nor special.
fn magnitudes(left: Num<'_>, right: Num<'_>) -> Result<Ordering, Failure> {
    match (left, right) {
        (Num::Decimal(_), _) | (_, Num::Decimal(_)) => decimals(left, right),
        (Num::Float(float), integer) => Ok(integer_with_float(integer, float).reverse()),
        (integer, Num::Float(float)) => Ok(integer_with_float(integer, float)),
        _ => Ok(integers(left, right)),
    }
}

fn integers(left: Num<'_>, right: Num<'_>) -> Ordering {
    let by_size = left.bits().cmp(&right.bits());
    if by_size != Ordering::Equal {
        return by_size;
    }
    if let (Num::Digits(a), Num::Digits(b)) = (left, right)
        && a.bits == b.bits
    {
        let top = |digits: &[u32]| digits.iter().rposition(|digit| *digit != 0).map_or(0, |at| at + 1);
        let (a, b) = (a.digits.get(..top(a.digits)), b.digits.get(..top(b.digits)));
        return a.unwrap_or(&[]).iter().rev().cmp(b.unwrap_or(&[]).iter().rev());
    }
    if let (Num::Big(a), Num::Big(b)) = (left, right) {
        return a.magnitude().cmp(b.magnitude());
    }
    magnitude(left).cmp(&magnitude(right))
}

fn magnitude(integer: Num<'_>) -> BigUint {
    integer.integer().map_or_else(BigUint::default, |value| value.magnitude().clone())
}

fn integer_with_float(integer: Num<'_>, float: f64) -> Ordering {
    let (mantissa, exponent) = split(float);
    let float_bits = 64 - i64::from(mantissa.leading_zeros()) + i64::from(exponent);
    let by_size = i64::try_from(integer.bits()).unwrap_or(i64::MAX).cmp(&float_bits);
    if by_size != Ordering::Equal {
        return by_size;
    }
    // The same number of bits: at most 1,024.
    let whole = if exponent >= 0 {
        BigUint::from(mantissa) << exponent.unsigned_abs()
    } else {
        BigUint::from(mantissa) >> exponent.unsigned_abs()
    };
    let fraction = exponent < 0 && BigUint::from(mantissa) != whole.clone() << exponent.unsigned_abs();
    magnitude(integer).cmp(&whole).then(if fraction { Ordering::Less } else { Ordering::Equal })
}

/// Mantissa and power of two of a finite double's magnitude.
fn split(float: f64) -> (u64, i32) {
    let bits = float.to_bits();
    let exponent = i32::try_from((bits >> 52) & 0x7FF).unwrap_or(0);
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0 { (fraction, -1074) } else { (fraction | (1 << 52), exponent - 1075) }
}

/// Host digits as a number.
fn unpack(digits: BigDigits<'_>) -> BigUint {
    let mut words = Vec::with_capacity(digits.digits.len());
    let (mut held, mut bits) = (0_u64, 0_u32);
    for &digit in digits.digits {
        held |= u64::from(digit) << bits;
        bits += u32::from(digits.bits);
        if bits >= 32 {
            words.push((held & 0xFFFF_FFFF) as u32);
            held >>= 32;
            bits -= 32;
        }
    }
    words.push(held as u32);
    BigUint::new(words)
}

/// A number as `coefficient × 10^exponent`, for comparing with a decimal.
struct Tens {
    /// The place of the first digit: the exponent of the number written as `d.ddd × 10^place`. It lies between these
    /// two, which differ only for integers of very many digits.
    least: i64,
    most: i64,
    exponent: i64,
}

/// Decimals: first by the place of the first digit, then written down to the smaller exponent.
fn decimals(left: Num<'_>, right: Num<'_>) -> Result<Ordering, Failure> {
    let (a, b) = (tens(left), tens(right));
    if a.most < b.least {
        return Ok(Ordering::Less);
    }
    if b.most < a.least {
        return Ok(Ordering::Greater);
    }
    let smaller = a.exponent.min(b.exponent);
    let digits = a.most.max(b.most).saturating_sub(smaller).saturating_add(1);
    if u64::try_from(digits).unwrap_or(0) > MAX_DECIMAL_DIGITS {
        return Err(Failure::Limit(Limit::Decimals));
    }
    let scale = |number: Num<'_>, exponent: i64| {
        let up = u32::try_from(exponent.saturating_sub(smaller)).unwrap_or(0);
        coefficient(number) * BigUint::from(10_u32).pow(up)
    };
    Ok(scale(left, a.exponent).cmp(&scale(right, b.exponent)))
}

fn tens(number: Num<'_>) -> Tens {
    match number {
        Num::Decimal(digits) => {
            let place = digits.exponent.saturating_add(decimal_len(digits) - 1);
            Tens { least: place, most: place, exponent: digits.exponent }
        }
        Num::Float(float) => {
            let exponent = i64::from(reduced(float).1.min(0));
            let len = i64::try_from(coefficient(number).to_string().len()).unwrap_or(0);
            let place = exponent + len - 1;
            Tens { least: place, most: place, exponent }
        }
        _ => {
            let (least, most) = integer_place(number);
            Tens { least, most, exponent: 0 }
        }
    }
}

/// Mantissa and power of two of a double, the mantissa odd.
fn reduced(float: f64) -> (u64, i32) {
    let (mantissa, exponent) = split(float);
    let zeros = mantissa.trailing_zeros();
    (mantissa >> zeros, exponent + i32::try_from(zeros).unwrap_or(0))
}

fn coefficient(number: Num<'_>) -> BigUint {
    match number {
        Num::Decimal(digits) => {
            let base = BigUint::from(10_000_000_000_000_000_000_u64);
            digits.words.iter().rev().fold(BigUint::default(), |sum, word| sum * &base + *word)
        }
        Num::Float(float) => {
            let (mantissa, exponent) = reduced(float);
            float_coefficient(mantissa, exponent)
        }
        _ => magnitude(number),
    }
}

/// `mantissa × 2^exponent` as a whole number of the units `10^min(exponent, 0)`.
fn float_coefficient(mantissa: u64, exponent: i32) -> BigUint {
    let mantissa = BigUint::from(mantissa);
    if exponent >= 0 {
        mantissa << exponent.unsigned_abs()
    } else {
        mantissa * BigUint::from(5_u32).pow(exponent.unsigned_abs())
    }
}

/// Digits of a decimal's coefficient, leading zeros not counted.
fn decimal_len(digits: DecimalDigits<'_>) -> i64 {
    let Some(top) = digits.words.iter().rposition(|word| *word != 0) else { return 1 };
    let word = digits.words.get(top).copied().unwrap_or(1);
    i64::try_from(top).unwrap_or(0) * 19 + i64::from(word.checked_ilog10().unwrap_or(0)) + 1
}

/// The place of the first digit of an integer that is not zero: between these two, which are the same but for integers
/// of more than [`MAX_EXACT_POWER`] digits near a power of ten.
#[allow(clippy::cast_precision_loss, reason = "an estimate, with its error allowed for")]
fn integer_place(integer: Num<'_>) -> (i64, i64) {
    let bits = integer.bits();
    let least = bits.saturating_sub(1) as f64 * std::f64::consts::LOG10_2;
    let most = bits as f64 * std::f64::consts::LOG10_2;
    let (least, most) = ((least - 1e-6).max(0.0).floor() as i64, (most + 1e-6).floor() as i64);
    let place = u64::try_from(most).unwrap_or(u64::MAX);
    if least == most || place > MAX_EXACT_POWER {
        return (least, most);
    }
    let power = BigUint::from(10_u32).pow(u32::try_from(place).unwrap_or(0));
    let place = if magnitude(integer) >= power { most } else { least };
    (place, place)
}

fn float_whole(value: f64) -> Whole {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if !value.is_finite() || value.fract() != 0.0 {
        Whole::No
    } else if (-LIMIT..LIMIT).contains(&value) {
        Whole::At(value as i64)
    } else {
        Whole::Beyond { negative: value < 0.0 }
    }
}

fn decimal_whole(digits: DecimalDigits<'_>) -> Whole {
    if Num::Decimal(digits).sign() == 0 {
        return Whole::At(0);
    }
    let len = decimal_len(digits);
    let first = digits.exponent.saturating_add(len - 1);
    if first < 0 {
        return Whole::No;
    }
    // Few digits of a hostile coefficient are worth reading: a position has at most 19.
    if first > 19 {
        let fraction = digits.exponent < 0 && !ends_in_zeros(digits);
        return if fraction { Whole::No } else { Whole::Beyond { negative: digits.negative } };
    }
    if digits.exponent < 0 && !ends_in_zeros(digits) {
        return Whole::No;
    }
    // The words behind the point are zero: there may be very many.
    let behind = if digits.exponent < 0 { digits.exponent.unsigned_abs() } else { 0 };
    let words = digits.words.get(usize::try_from(behind / 19).unwrap_or(usize::MAX)..).unwrap_or(&[]);
    let coefficient = coefficient(Num::Decimal(DecimalDigits { words, ..digits }));
    let ten = BigUint::from(10_u32);
    let value = match u32::try_from(digits.exponent) {
        Ok(up) => coefficient * ten.pow(up),
        Err(_) => coefficient / ten.pow((behind % 19) as u32),
    };
    let sign = if digits.negative { Sign::Minus } else { Sign::Plus };
    i64::try_from(BigInt::from_biguint(sign, value)).map_or(Whole::Beyond { negative: digits.negative }, Whole::At)
}

/// True if a decimal with a negative exponent has only zeros after the point.
fn ends_in_zeros(digits: DecimalDigits<'_>) -> bool {
    let mut places = digits.exponent.unsigned_abs();
    for &word in digits.words {
        if places == 0 {
            return true;
        }
        if places >= 19 {
            if word != 0 {
                return false;
            }
            places -= 19;
        } else {
            return word % 10_u64.pow(places as u32) == 0;
        }
    }
    true
}

fn decimal_nearest(digits: DecimalDigits<'_>) -> f64 {
    // Three words hold at least 39 digits, which round to the nearest double but for ties beyond them.
    let top = digits.words.iter().rposition(|word| *word != 0).unwrap_or(0);
    let from = top.saturating_sub(2);
    let kept = digits.words.get(from..=top).unwrap_or(&[]);
    let mut written = String::from(if digits.negative { "-0" } else { "0" });
    let mut done = Ok(());
    for word in kept.iter().rev() {
        done = done.and_then(|()| write!(written, "{word:019}"));
    }
    let exponent = digits.exponent.saturating_add(i64::try_from(from).unwrap_or(0) * 19);
    let done = done.and_then(|()| write!(written, "e{exponent}"));
    done.ok().and_then(|()| written.parse().ok()).unwrap_or(f64::NAN)
}

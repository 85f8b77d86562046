//! Numbers of a record as text: decimal and hexadecimal digits, the spellings of the languages. It stands on the walk of
//! a hit, on the worker, below [`super::message`] and [`super::render`]. None of it runs in a hit.

use crate::record::layout::{HUGE_BITS, HUGE_DIGITS};
use num_bigint::{BigInt, BigUint, Sign};
use std::fmt::Write;

/// A number's text, and its true length in digits or bits if it had to be cut.
pub struct Digits {
    /// The text.
    pub text: String,
    /// Bits of an integer above 4,096 bits, digits of a decimal above about 1,000.
    pub cut_from: Option<u64>,
}

/// The shortest digits that read back as the same double, and the power of ten of the first: `0.25` is `25`, `-1`.
struct Shortest {
    buffer: [u8; 24],
    length: usize,
    exponent: i32,
}

impl Shortest {
    /// Of a finite double, without its sign.
    fn of(value: f64) -> Self {
        let mut text = zmij::Buffer::new();
        let text = text.format_finite(value.abs());
        let (mantissa, power) = text.split_once('e').unwrap_or((text, "0"));
        let mut digits = Shortest { buffer: [b'0'; 24], length: 0, exponent: power.parse().unwrap_or(0) - 1 };
        let mut before_point = true;
        // The length without the zeros at its end.
        let mut significant = 0;
        for byte in mantissa.bytes() {
            if byte == b'.' {
                before_point = false;
                continue;
            }
            let leading = digits.length == 0 && byte == b'0';
            digits.exponent += i32::from(before_point) - i32::from(leading);
            if leading && before_point {
                continue;
            }
            if let (false, Some(place)) = (leading, digits.buffer.get_mut(digits.length)) {
                *place = byte;
                digits.length += 1;
                significant = if byte == b'0' { significant } else { digits.length };
            }
        }
        if significant == 0 {
            return Shortest { buffer: [b'0'; 24], length: 1, exponent: 0 };
        }
        digits.length = significant;
        digits
    }

    fn digits(&self) -> &str {
        self.buffer.get(..self.length).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or("0")
    }
}

/// Digits with a point at a place counted from the first digit, and at least one digit after it if `fraction`.
fn plain(digits: &str, exponent: i32, fraction: bool, out: &mut String) {
    let zeros = |out: &mut String, count: usize| out.extend(std::iter::repeat_n('0', count));
    let point = exponent + 1;
    if point <= 0 {
        out.push_str("0.");
        zeros(out, point.unsigned_abs() as usize);
        return out.push_str(digits);
    }
    let point = point.unsigned_abs() as usize;
    if let Some((whole, rest)) = digits.split_at_checked(point).filter(|(_, rest)| !rest.is_empty()) {
        out.push_str(whole);
        out.push('.');
        return out.push_str(rest);
    }
    out.push_str(digits);
    zeros(out, point.saturating_sub(digits.len()));
    if fraction {
        out.push_str(".0");
    }
}

/// `d.ddd`, with `.0` for a single digit if `fraction`.
fn mantissa(digits: &str, fraction: bool, out: &mut String) {
    let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
    out.push_str(first);
    match (rest, fraction) {
        ("", true) => out.push_str(".0"),
        ("", false) => {}
        _ => {
            out.push('.');
            out.push_str(rest);
        }
    }
}

/// Writes the sign, and the whole text if it is not a number of digits.
fn special(value: f64, nan: &str, infinity: &str, out: &mut String) -> bool {
    if value.is_nan() {
        out.push_str(nan);
        return true;
    }
    if value.is_sign_negative() {
        out.push('-');
    }
    if value.is_infinite() {
        out.push_str(infinity);
    }
    value.is_infinite()
}

/// A double as Python's `repr`.
pub fn python_float(value: f64, out: &mut String) {
    // There the two spell alike.
    if (1e-4..1e16).contains(&value.abs()) {
        return out.push_str(zmij::Buffer::new().format_finite(value));
    }
    python(value, true, out);
}

fn python(value: f64, fraction: bool, out: &mut String) {
    if special(value, "nan", "inf", out) {
        return;
    }
    let shortest = Shortest::of(value);
    let (digits, exponent) = (shortest.digits(), shortest.exponent);
    if (-4..16).contains(&exponent) {
        return plain(digits, exponent, fraction, out);
    }
    mantissa(digits, false, out);
    out.push_str(if exponent < 0 { "e-" } else { "e+" });
    // Writing to a string cannot fail, here and below.
    let _ = write!(out, "{:02}", exponent.unsigned_abs());
}

/// A complex number as Python's `repr`.
pub fn python_complex(real: f64, imaginary: f64) -> String {
    let mut imaginary_text = String::new();
    python(imaginary, false, &mut imaginary_text);
    if real == 0.0 && real.is_sign_positive() {
        return format!("{imaginary_text}j");
    }
    let mut text = String::from("(");
    python(real, false, &mut text);
    if !imaginary_text.starts_with('-') {
        text.push('+');
    }
    text + &imaginary_text + "j)"
}

/// A double as JavaScript's `String(x)`, but with the sign of zero.
pub fn javascript_float(value: f64, out: &mut String) {
    if special(value, "NaN", "Infinity", out) {
        return;
    }
    let shortest = Shortest::of(value);
    let (digits, exponent) = (shortest.digits(), shortest.exponent);
    if value == 0.0 || (-6..21).contains(&exponent) {
        return plain(digits, exponent, false, out);
    }
    mantissa(digits, false, out);
    let _ = write!(out, "e{exponent:+}");
}

/// A double as Java's `Double.toString`.
pub fn java_float(value: f64, out: &mut String) {
    if special(value, "NaN", "Infinity", out) {
        return;
    }
    let shortest = Shortest::of(value);
    let (digits, exponent) = (shortest.digits(), shortest.exponent);
    if value == 0.0 || (-3..7).contains(&exponent) {
        return plain(digits, exponent, true, out);
    }
    mantissa(digits, true, out);
    let _ = write!(out, "E{exponent}");
}

/// The magnitude of digits of `width` bits each, least significant first.
fn magnitude(width: u8, digits: &[u8]) -> BigUint {
    let mut words = Vec::with_capacity(digits.len() / 4 + 1);
    let (mut low, mut held) = (0_u64, 0_u32);
    for digit in digits.chunks_exact(4) {
        let digit = digit.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let digit = digit & ((1_u64 << width) - 1);
        low |= digit << held;
        held += u32::from(width);
        if held >= 32 {
            words.push(low as u32);
            low >>= 32;
            held -= 32;
        }
    }
    words.push(low as u32);
    BigUint::new(words)
}

/// An integer beyond 64 bits. Above 4,096 bits only the first hexadecimal digits are shown.
pub fn integer_text(negative: bool, width: u8, bits: u64, dropped: u32, digits: &[u8]) -> Digits {
    let kept = magnitude(width, digits);
    let bits = bits.max(kept.bits());
    if bits <= HUGE_BITS && dropped == 0 {
        let sign = if negative { Sign::Minus } else { Sign::Plus };
        return Digits { text: BigInt::from_biguint(sign, kept).to_string(), cut_from: None };
    }
    let below = u64::from(dropped) * u64::from(width);
    let low = (bits.div_ceil(4).saturating_sub(HUGE_DIGITS) * 4).saturating_sub(below).min(kept.bits());
    let mut text = (kept >> low).to_str_radix(16);
    text.truncate(HUGE_DIGITS as usize);
    Digits { text: format!("{}0x{text}", if negative { "-" } else { "" }), cut_from: Some(bits) }
}

/// An exact decimal, as its language prints it: `1.10`, `1E+30`. Of a very long one the first digits are shown.
pub fn decimal_text(negative: bool, exponent: i64, dropped: u32, words: &[u8]) -> Digits {
    let words =
        words.chunks_exact(8).map(|word| word.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte)));
    let mut digits = String::new();
    for word in words.rev() {
        let text = if digits.is_empty() { word.to_string() } else { format!("{word:019}") };
        digits.push_str(&text);
    }
    let significant = digits.trim_start_matches('0');
    let digits = if significant.is_empty() { "0" } else { significant };
    let sign = if negative { "-" } else { "" };
    let length = digits.len() as i128 + i128::from(dropped) * 19;
    let first = i128::from(exponent) + length - 1;
    let mut text = String::from(sign);
    if dropped > 0 {
        mantissa(digits.get(..HUGE_DIGITS as usize).unwrap_or(digits), false, &mut text);
        let _ = write!(text, "…E{first:+}");
        return Digits { text, cut_from: u64::try_from(length).ok() };
    }
    if exponent <= 0 && first >= -6 {
        plain(digits, i32::try_from(first).unwrap_or(0), false, &mut text);
    } else {
        mantissa(digits, false, &mut text);
        let _ = write!(text, "E{first:+}");
    }
    Digits { text, cut_from: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expr::print::float_text;

    #[test]
    fn doubles_read_as_in_each_language() {
        let text = |write: fn(f64, &mut String), value| {
            let mut out = String::new();
            write(value, &mut out);
            out
        };
        let all = |value| {
            [float_text(value), text(python_float, value), text(javascript_float, value), text(java_float, value)]
        };
        assert_eq!(all(5.0), ["5.0", "5.0", "5", "5.0"]);
        assert_eq!(all(-0.0), ["-0.0", "-0.0", "-0", "-0.0"]);
        assert_eq!(all(0.1), ["0.1"; 4]);
        assert_eq!(all(1e16), ["10000000000000000.0", "1e+16", "10000000000000000", "1.0E16"]);
        assert_eq!(all(123_456_789.0), ["123456789.0", "123456789.0", "123456789", "1.23456789E8"]);
        assert_eq!(all(1e-5), ["0.00001", "1e-05", "0.00001", "1.0E-5"]);
        assert_eq!(all(1e-6), ["0.000001", "1e-06", "0.000001", "1.0E-6"]);
        assert_eq!(all(1e-7), ["1e-7", "1e-07", "1e-7", "1.0E-7"]);
        assert_eq!(all(2.5e-9), ["2.5e-9", "2.5e-09", "2.5e-9", "2.5E-9"]);
        assert_eq!(all(1e21), ["1e+21", "1e+21", "1e+21", "1.0E21"]);
        assert_eq!(all(1.5e300), ["1.5e+300", "1.5e+300", "1.5e+300", "1.5E300"]);
        assert_eq!(all(f64::NEG_INFINITY), ["-Infinity", "-inf", "-Infinity", "-Infinity"]);
        assert_eq!(all(f64::NAN), ["NaN", "nan", "NaN", "NaN"]);
        assert_eq!(all(5e-324), ["5e-324", "5e-324", "5e-324", "5.0E-324"]);
        assert_eq!(all(0.001), ["0.001"; 4]);
    }

    #[test]
    fn digits_are_the_shortest_that_read_back() {
        let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
        for round in 0..200_000_u64 {
            bits = bits.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(round);
            // Random doubles, and some of few digits.
            let value = if round % 2 == 0 { f64::from_bits(bits) } else { (bits >> 44) as f64 / 1000.0 };
            if !value.is_finite() {
                continue;
            }
            let [mut quick, mut whole] = [const { String::new() }; 2];
            python_float(value, &mut quick);
            python(value, true, &mut whole);
            assert_eq!(quick, whole);
            let shortest = Shortest::of(value);
            let text = format!("{:e}", value.abs());
            let (mantissa, exponent) = text.split_once('e').unwrap();
            let mantissa = mantissa.replace('.', "");
            assert_eq!((shortest.digits().len(), shortest.exponent), (mantissa.len(), exponent.parse().unwrap()));
            // Of two that are as near, the standard library takes the upper one, the languages the even one.
            if shortest.digits() != mantissa {
                assert!(shortest.digits().ends_with(['0', '2', '4', '6', '8']), "{value:e}");
                let text = format!("{}e{}", shortest.digits(), shortest.exponent + 1 - mantissa.len() as i32);
                assert_eq!(text.parse(), Ok(value.abs()));
            }
        }
        let mut text = String::new();
        python_float("70858121846382.625".parse().unwrap(), &mut text);
        assert_eq!(text, "70858121846382.62");
    }

    #[test]
    fn complex_numbers_read_as_in_python() {
        assert_eq!(python_complex(1.0, 2.0), "(1+2j)");
        assert_eq!(python_complex(0.0, -2.5), "-2.5j");
        assert_eq!(python_complex(-0.0, 2.0), "(-0+2j)");
        assert_eq!(python_complex(f64::NAN, f64::INFINITY), "(nan+infj)");
        assert_eq!(python_complex(1e16, -0.0), "(1e+16-0j)");
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn decimals_keep_their_digits_and_exponent() {
        let text = |value: &[u64], exponent| decimal_text(false, exponent, 0, &words(value)).text;
        assert_eq!(text(&[110], -2), "1.10");
        assert_eq!(text(&[1], 30), "1E+30");
        assert_eq!(text(&[1], -7), "1E-7");
        assert_eq!(text(&[1], -6), "0.000001");
        assert_eq!(text(&[123], 0), "123");
        assert_eq!(text(&[], -2), "0.00");
        assert_eq!(text(&[12], i64::MAX), "1.2E+9223372036854775808");
        assert_eq!(text(&[5, 1], -19), "1.0000000000000000005");
        assert_eq!(decimal_text(true, 0, 0, &words(&[7])).text, "-7");
    }
}

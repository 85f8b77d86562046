//! Literals that both written forms share: numbers and `\u` escapes.
//!
//! It stands on the walk of a configuration going in, beneath `decode.rs` and `text.rs`.

use super::tree::Node;
use num_bigint::{BigInt, BigUint, Sign};

/// Digits that are converted at once; longer integers are put together from pieces of this size.
const PIECE: usize = 256;

/// The number with which a JSON value begins that JSON does not have. A host that was given one hands it over as a text which
/// is none, since its first letter is half of a character; so it is refused wherever it stands, by its name.
pub(crate) fn not_in_json(json: &str) -> Option<&'static str> {
    let text = json.strip_prefix("\"\\ud800")?;
    ["nan", "inf", "-inf"]
        .into_iter()
        .find(|number| text.strip_prefix(number).is_some_and(|rest| rest.starts_with('"')))
}

/// An integer, exactly: an optional sign and decimal digits.
pub(super) fn integer(text: &str) -> Node {
    if let Ok(value) = text.parse() {
        return Node::Int(value);
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (Sign::Minus, digits),
        None => (Sign::Plus, text),
    };
    let value = BigInt::from_biguint(sign, natural(digits));
    // Leading zeros make a long text of a small number.
    i64::try_from(&value).map_or_else(|_| Node::Big(Box::new(value)), Node::Int)
}

/// The number of decimal digits. Neighbours are joined pair by pair, since digit by digit is quadratic and a definition
/// may bring a million of them.
fn natural(digits: &str) -> BigUint {
    let piece = |digits: &[u8]| BigUint::parse_bytes(digits, 10).unwrap_or_default();
    let mut pieces: Vec<BigUint> = digits.as_bytes().rchunks(PIECE).map(piece).collect();
    let mut power = BigUint::from(10_u8).pow(PIECE as u32);
    while pieces.len() > 1 {
        let join = |pair: &[BigUint]| match pair {
            [low, high] => high * &power + low,
            rest => rest.iter().sum(),
        };
        pieces = pieces.chunks(2).map(join).collect();
        if pieces.len() > 1 {
            power = &power * &power;
        }
    }
    pieces.pop().unwrap_or_default()
}

/// A number with fraction or exponent; one beyond the doubles is infinite.
pub(super) fn double(text: &str) -> Node {
    // The readers hand over what the grammar allows, and all of that is a double.
    Node::Float(text.parse().unwrap_or(f64::NAN))
}

/// What `\uXXXX` at the start of a text stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// A character, and the bytes that its escape takes; a surrogate pair takes two.
    Character(char, usize),
    /// Half of a pair. No text holds it.
    LoneSurrogate,
    /// There are no four hexadecimal digits.
    Malformed,
}

/// Reads a `\uXXXX` escape at the start of a text.
pub(super) fn unicode_escape(text: &str) -> Escape {
    let Some(first) = unit(text) else { return Escape::Malformed };
    if let Some(c) = char::from_u32(first) {
        return Escape::Character(c, 6);
    }
    match unit(&text[6..]) {
        Some(second @ 0xDC00..0xE000) if first < 0xDC00 => {
            let point = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            char::from_u32(point).map_or(Escape::LoneSurrogate, |c| Escape::Character(c, 12))
        }
        _ => Escape::LoneSurrogate,
    }
}

fn unit(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{Escape, integer, unicode_escape};
    use crate::expr::tree::Node;
    use num_bigint::BigInt;

    #[test]
    fn integers_of_any_size_stay_exact() {
        assert_eq!(integer("-9223372036854775808"), Node::Int(i64::MIN));
        assert_eq!(integer("9223372036854775808"), Node::Big(Box::new(BigInt::from(1_u64 << 63))));
        assert_eq!(integer(&format!("{}7", "0".repeat(900))), Node::Int(7));
        for digits in [255, 256, 257, 511, 512, 513, 2000, 2049] {
            let text = "9071".repeat(digits / 4 + 1);
            let text = &text[..digits];
            assert_eq!(integer(text), Node::Big(Box::new(text.parse().unwrap())), "{digits} digits");
            let negative = format!("-{text}");
            assert_eq!(integer(&negative), Node::Big(Box::new(negative.parse().unwrap())));
        }
    }

    #[test]
    fn escapes_join_pairs_and_refuse_halves() {
        assert_eq!(unicode_escape("\\u0041x"), Escape::Character('A', 6));
        assert_eq!(unicode_escape("\\ud83d\\uDE00x"), Escape::Character('😀', 12));
        assert_eq!(unicode_escape("\\ud83dx"), Escape::LoneSurrogate);
        assert_eq!(unicode_escape("\\ude00\\ud83d"), Escape::LoneSurrogate);
        assert_eq!(unicode_escape("\\ud83d\\u004"), Escape::LoneSurrogate);
        for text in ["\\u004", "\\u+041", "\\u{41}", "\\u00é1", "\\u"] {
            assert_eq!(unicode_escape(text), Escape::Malformed, "{text}");
        }
    }
}

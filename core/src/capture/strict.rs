//! Strict capture (*Signals and upload* 3.4): of a value its type, size and null-ness are recorded, and a keyed hash by which two
//! values can be found equal; never the value. It stands on the walk of a hit, where the record is written: [`super::walk`] and
//! the writers of outside hosts seal each value before the next one comes, and [`Strict::check`] refuses a record of an outside
//! host with one that is not. So nothing later has a value to show. What expressions may read is decided before, in
//! [`crate::probe::strict`].
//!
//! # What is hashed
//!
//! `SipHash` 2-4 over a letter for the kind and the content: of texts their code points in UTF-8 and the true length, of numbers
//! sign and magnitude, so that 5, 5.0 and an integer of any type are equal as they are in expressions. Of a text that is cut
//! (`truncated`) it is the beginning and the length that are equal.

use crate::config::CaptureMode;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::Expression;
use crate::expr::tree::{Binary, Node, Quantifier, Special, Unary};
use crate::probe::model::{Kind, Probe};
use crate::record::buffer::Buffer;
use crate::record::layout as lay;
use crate::record::read::{Content, Item, NameRef, Reader};
use crate::record::write::{CUT, Place};
use crate::text::Text;
use std::hash::{BuildHasher, Hasher};

/// Bytes of a sealed value behind its word and type.
const BODY: usize = 18;

/// What a sealed value stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// A variable, field, element, or what an expression has yielded.
    Value,
    /// A map's key, or something in one: hashed in every mode.
    Key,
}

/// The rules of a session with strict capture, and its key.
pub struct Strict {
    /// Numbers and booleans may be shown.
    numbers: bool,
    key: [u64; 2],
}

impl std::fmt::Debug for Strict {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Strict").field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

#[allow(deprecated, reason = "deprecated for hash tables; it is the SipHash 2-4 that is published, with a key")]
type SipHasher = std::hash::SipHasher;

#[allow(deprecated, reason = "see the type")]
fn sip([first, second]: [u64; 2]) -> SipHasher {
    SipHasher::new_with_keys(first, second)
}

impl Strict {
    /// The rules of a mode; `None` if everything may be shown. Without a key there is a random one, and values are found equal
    /// within this process only.
    pub fn of(mode: CaptureMode, key: Option<&str>) -> Option<Strict> {
        let half = |which: u8| match key {
            Some(key) => {
                let mut hasher = sip([0, 0]);
                hasher.write(&[which]);
                hasher.write(key.as_bytes());
                hasher.finish()
            }
            // The standard library seeds its hashers from the system's generator.
            None => std::hash::RandomState::new().build_hasher().finish(),
        };
        let numbers = mode == CaptureMode::StrictNumbers;
        (mode != CaptureMode::Full).then(|| Strict { numbers, key: [half(0), half(1)] })
    }

    /// True if numbers and booleans may be shown.
    pub fn numbers(&self) -> bool {
        self.numbers
    }

    /// Seals the value that was just written from a place of a record on.
    pub(crate) fn seal(&self, record: &mut Buffer, start: usize, sealed: Sealed) -> Result<()> {
        if let Some((word, inline, body)) = self.body(record.since(start), sealed)? {
            record.truncate(start + 4 + inline);
            record.patch(start, word.to_le_bytes());
            record.put(body);
        }
        Ok(())
    }

    /// The same for the writer of an outside host: what stands in the place of a value that it has written; `None`: it stays as
    /// it is.
    ///
    /// # Errors
    /// If that is no value.
    pub fn sealed(&self, value: &[u8], sealed: Sealed) -> Result<Option<Vec<u8>>> {
        let Some((word, inline, body)) = self.body(value, sealed)? else { return Ok(None) };
        let class = value.get(4..4 + inline).unwrap_or_default();
        Ok(Some([&word.to_le_bytes()[..], class, &body].concat()))
    }

    /// What stands in the place of a value: its word, how many bytes of its type are kept behind that, and the rest. `None`: it
    /// stays as it is.
    fn body(&self, value: &[u8], sealed: Sealed) -> Result<Option<(u32, usize, [u8; BODY])>> {
        let mut reader = Reader::of_value(value);
        let word = reader.head()?;
        let (tag, argument) = (lay::tag_of(word), lay::argument_of(word));
        reader.inline_of(argument)?;
        let inline = reader.at() - 4;
        if self.stays(tag, sealed) {
            return Ok(None);
        }
        let content = reader.content(tag)?;
        if content == Content::Iterator("") {
            return Ok(None);
        }
        let body = body_of(kind_of(tag), Some(self.hash(&content)), size_of(&content));
        Ok(Some((lay::word(lay::SEALED, argument), inline, body)))
    }

    /// True if a value of a tag tells nothing that may not be told; of a container its children are sealed by themselves.
    fn stays(&self, tag: u8, sealed: Sealed) -> bool {
        match tag {
            lay::UNDEFINED
            | lay::NULL
            | lay::OPAQUE
            | lay::COMPUTED
            | lay::WITHHELD
            | lay::SEALED
            | lay::LIST
            | lay::SET
            | lay::MAP
            | lay::OBJECT => true,
            tag => self.numbers && sealed == Sealed::Value && is_number(tag),
        }
    }

    fn hash(&self, content: &Content<'_>) -> u64 {
        let mut hasher = sip(self.key);
        match *content {
            Content::Bool(truth) => hasher.write(&[b't', u8::from(truth)]),
            Content::Int(int) => number(&mut hasher, int < 0, &int.unsigned_abs().to_le_bytes()),
            Content::Big { negative, width, bits, dropped: 0, digits } => {
                number(&mut hasher, negative, &magnitude(width, bits, digits));
            }
            Content::Big { negative, bits, digits, .. } => {
                hasher.write(&[b'N', u8::from(negative)]);
                hasher.write(&bits.to_le_bytes());
                hasher.write(digits);
            }
            Content::Float(float) => fraction(&mut hasher, float),
            Content::Complex(real, imaginary) => {
                hasher.write(b"c");
                hasher.write(&real.to_bits().to_le_bytes());
                hasher.write(&imaginary.to_bits().to_le_bytes());
            }
            Content::Decimal { negative, exponent, dropped, words } => {
                hasher.write(&[b'd', u8::from(negative)]);
                hasher.write(&exponent.to_le_bytes());
                hasher.write(&dropped.to_le_bytes());
                hasher.write(words);
            }
            Content::Str { text, size } => {
                hasher.write(b"s");
                text.with(|text| code_points(&mut hasher, text));
                hasher.write(&size.to_le_bytes());
            }
            Content::Bytes { bytes, size } => {
                hasher.write(b"b");
                hasher.write(bytes);
                hasher.write(&size.to_le_bytes());
            }
            Content::Enum(text) | Content::Function(text) | Content::Iterator(text) | Content::Scalar(text) => {
                hasher.write(b"l");
                hasher.write(text.as_bytes());
            }
            // Nothing else has a value.
            _ => {}
        }
        hasher.finish()
    }

    /// Checks that a record of an outside host shows nothing that may not be shown.
    ///
    /// # Errors
    /// If it does, or is no record.
    pub fn check(&self, record: &[u8], probe: &Probe) -> Result<()> {
        let (_, mut reader) = Reader::new(record)?;
        let mut section = None;
        while let Some(item) = reader.item()? {
            match item {
                Item::Template(index) => {
                    let own = segment(probe, index).is_some_and(is_own);
                    self.check_value(&mut reader, Sealed::Value, own, 0)?;
                }
                Item::Section(code) => section = Some(code),
                Item::Named(name) => {
                    let own = section == Some(lay::SECTION_EXPRESSIONS) && captured(probe, name).is_some_and(is_own);
                    self.check_value(&mut reader, Sealed::Value, own, 0)?;
                }
                Item::Throwable(_) => match reader.value()?.content {
                    Content::Null | Content::Withheld { text: "", .. } => {}
                    _ => return Err(bad("the text of an exception stands in a record under strict capture")),
                },
                Item::Stack { count, raw } => {
                    for _ in 0..count {
                        reader.frame(raw)?;
                    }
                }
                Item::Failure(..) | Item::Point(_) | Item::EndPoint(_) => {}
            }
        }
        Ok(())
    }

    fn check_value(&self, reader: &mut Reader<'_>, sealed: Sealed, own: bool, depth: u32) -> Result<()> {
        reader.check_depth(depth)?;
        let node = reader.value()?;
        match node.content {
            Content::List { children, .. } | Content::Set { children, .. } => {
                (0..children.count).try_for_each(|_| self.check_value(reader, sealed, false, depth + 1))
            }
            Content::Map { children, .. } => (0..children.count).try_for_each(|_| {
                self.check_value(reader, Sealed::Key, false, depth + 1)?;
                self.check_value(reader, sealed, false, depth + 1)
            }),
            Content::Object(children) => (0..children.count).try_for_each(|_| {
                reader.name()?;
                self.check_value(reader, sealed, false, depth + 1)
            }),
            Content::Iterator("") => Ok(()),
            Content::Withheld { text, .. } if !text.is_empty() => Err(in_clear()),
            _ if self.stays(node.tag, sealed) || (own && is_number(node.tag)) => Ok(()),
            _ => Err(in_clear()),
        }
    }
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::BadRecord, format!("bad record: {what}"))
}

fn in_clear() -> Error {
    bad("a value stands in it in clear under strict capture")
}

/// True if an expression yields a number or a boolean of ours, which may be shown: a size, a time, a truth that was allowed to be
/// asked, a literal.
pub fn is_own(expression: &Expression) -> bool {
    let tree = &expression.tree;
    match tree.nodes.get(tree.root() as usize) {
        Some(
            Node::Bool(_)
            | Node::Int(_)
            | Node::Big(_)
            | Node::Float(_)
            | Node::Special(Special::Duration)
            | Node::Logic { .. }
            | Node::InstanceOf(..),
        ) => true,
        Some(Node::Unary(unary, _)) => {
            matches!(
                unary,
                Unary::Not | Unary::Len | Unary::Count | Unary::IsEmpty | Unary::IsDefined | Unary::IsUndefined
            )
        }
        Some(Node::Binary(binary, ..)) => !matches!(binary, Binary::Index),
        Some(Node::Quantifier(quantifier, ..)) => !matches!(quantifier, Quantifier::Filter),
        _ => false,
    }
}

fn segment(probe: &Probe, index: u32) -> Option<&Expression> {
    probe.expression_at(Place::Segment(u16::try_from(index).ok()?))
}

fn captured<'p>(probe: &'p Probe, name: NameRef<'_>) -> Option<&'p Expression> {
    let (Kind::Log(log), NameRef::Text(name)) = (&probe.kind, name) else { return None };
    // A name that is too long for a record is cut there.
    let is_meant = |known: &str| known == name || name.strip_suffix(CUT).is_some_and(|begin| known.starts_with(begin));
    log.expressions.iter().find(|capture| is_meant(&capture.name)).map(|capture| &capture.expression)
}

/// What stands behind the word and type of a sealed value.
fn body_of(kind: u8, hash: Option<u64>, size: Option<(u64, bool)>) -> [u8; BODY] {
    let mut bits = 0;
    if hash.is_some() {
        bits |= lay::SEALED_HASH;
    }
    if let Some((_, cut)) = size {
        bits |= lay::SEALED_SIZE | if cut { lay::SEALED_CUT } else { 0 };
    }
    let mut body = [0; BODY];
    let (head, rest) = body.split_at_mut(2);
    head.copy_from_slice(&[kind, bits]);
    let (first, second) = rest.split_at_mut(8);
    first.copy_from_slice(&hash.unwrap_or(0).to_le_bytes());
    second.copy_from_slice(&size.map_or(0, |(size, _)| size).to_le_bytes());
    body
}

/// The body of a value of which only the type is told.
pub(crate) fn type_alone(tag: u8) -> [u8; BODY] {
    body_of(kind_of(tag), None, None)
}

/// True for what `strict+numbers` shows.
pub(crate) fn is_number(tag: u8) -> bool {
    matches!(tag, lay::FALSE | lay::TRUE | lay::INT | lay::BIG | lay::FLOAT | lay::COMPLEX | lay::DECIMAL)
}

/// The tag of a value as far as it tells nothing of the value but its type.
fn kind_of(tag: u8) -> u8 {
    match tag {
        lay::FALSE => lay::TRUE,
        lay::STR_LATIN1 | lay::STR_UCS2 | lay::STR_UCS4 | lay::STR_UTF16 => lay::STR_UTF8,
        tag => tag,
    }
}

/// The size of a text or of bytes, and whether it was cut.
fn size_of(content: &Content<'_>) -> Option<(u64, bool)> {
    match *content {
        Content::Str { text, size } => Some((size, size > text.units() as u64)),
        Content::Bytes { bytes, size } => Some((size, size > bytes.len() as u64)),
        _ => None,
    }
}

fn number(hasher: &mut impl Hasher, negative: bool, magnitude: &[u8]) {
    let used = magnitude.len() - magnitude.iter().rev().take_while(|byte| **byte == 0).count();
    hasher.write(&[b'n', u8::from(negative && used > 0)]);
    hasher.write(magnitude.get(..used).unwrap_or_default());
}

/// A float that is a whole number is that number.
fn fraction(hasher: &mut impl Hasher, float: f64) {
    const EXACT: f64 = 9_223_372_036_854_775_808.0;
    if float.fract() == 0.0 && float.abs() < EXACT {
        let int = float as i64;
        return number(hasher, int < 0, &int.unsigned_abs().to_le_bytes());
    }
    let bits = if float.is_nan() { f64::NAN.to_bits() } else { float.to_bits() };
    hasher.write(b"f");
    hasher.write(&bits.to_le_bytes());
}

/// The bytes of an integer of digits of a width, least significant first.
fn magnitude(width: u8, bits: u64, digits: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::try_from(bits / 8).unwrap_or(0).min(lay::HUGE_BITS as usize) + 8);
    let (mut held, mut count) = (0_u64, 0);
    for digit in digits.chunks_exact(4) {
        let digit = digit.iter().rev().fold(0_u64, |digit, byte| digit << 8 | u64::from(*byte));
        held |= digit << count;
        count += u32::from(width);
        while count >= 8 {
            bytes.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    }
    bytes.push(held as u8);
    bytes
}

/// The code points as UTF-8; a surrogate that stands alone as UTF-8 would write it.
fn code_points(hasher: &mut impl Hasher, text: Text<'_>) {
    if let Text::Utf8(text) = text {
        return hasher.write(text.as_bytes());
    }
    for point in text.code_points() {
        let mut utf8 = [0; 4];
        match char::from_u32(point) {
            Some(letter) => hasher.write(letter.encode_utf8(&mut utf8).as_bytes()),
            None => hasher.write(&[
                0xE0 | (point >> 12) as u8 & 0xF,
                0x80 | (point >> 6) as u8 & 0x3F,
                0x80 | point as u8 & 0x3F,
            ]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BODY, Sealed, Strict};
    use crate::config::CaptureMode;
    use crate::record::buffer::Buffer;
    use crate::record::layout as lay;
    use crate::record::read::{Content, Reader};

    fn strict(mode: CaptureMode) -> Strict {
        Strict::of(mode, Some("key")).unwrap()
    }

    fn value(tag: u8, content: &[u8]) -> Vec<u8> {
        [&lay::word(tag, lay::NO_TYPE).to_le_bytes(), content].concat()
    }

    fn text(tag: u8, bytes: &[u8], size: u64) -> Vec<u8> {
        value(tag, &[&size.to_le_bytes()[..], &u32::try_from(bytes.len()).unwrap().to_le_bytes(), bytes].concat())
    }

    /// What a value becomes: its bytes, and hash, size and flags if it was sealed.
    fn sealed(strict: &Strict, value: &[u8], how: Sealed) -> (Vec<u8>, Option<(u64, u64, u8)>) {
        let record = strict.sealed(value, how).unwrap().unwrap_or_else(|| value.to_vec());
        let mut buffer = Buffer::new(8);
        buffer.extend(b"before");
        buffer.extend(value);
        strict.seal(&mut buffer, 6, how).unwrap();
        assert_eq!(buffer.since(6), record, "one rule for both writers");
        let found = match Reader::of_value(&record).value().unwrap().content {
            Content::Sealed { bits, hash, size, .. } => Some((hash, size, bits)),
            _ => None,
        };
        (record, found)
    }

    #[test]
    fn equal_values_have_equal_hashes_whatever_their_storage() {
        let strict = strict(CaptureMode::Strict);
        let hash = |value: &[u8]| sealed(&strict, value, Sealed::Value).1.unwrap().0;
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let umlaut = hash(&text(lay::STR_UTF8, "\u{fc}".as_bytes(), 1));
        assert_eq!(umlaut, hash(&text(lay::STR_LATIN1, &[0xFC], 1)));
        assert_eq!(umlaut, hash(&text(lay::STR_UTF16, &utf16("\u{fc}"), 1)));
        assert_ne!(umlaut, hash(&text(lay::STR_LATIN1, &[0xFC], 2)), "of one that is cut the length counts too");
        assert_ne!(hash(&text(lay::STR_UTF8, b"\x01", 1)), hash(&value(lay::TRUE, b"")));

        let five = hash(&value(lay::INT, &5_i64.to_le_bytes()));
        assert_eq!(five, hash(&value(lay::FLOAT, &5_f64.to_le_bytes())));
        let big = |negative: u8, width: u8, digits: &[u32]| {
            let bits = 64_u64.to_le_bytes();
            let count = u32::try_from(digits.len()).unwrap().to_le_bytes();
            let digits = digits.iter().flat_map(|digit| digit.to_le_bytes()).collect::<Vec<u8>>();
            value(lay::BIG, &[&[negative, width][..], &bits, &[0; 4], &count, &digits].concat())
        };
        assert_eq!(five, hash(&big(0, 32, &[5])));
        assert_eq!(hash(&big(0, 30, &[0, 4])), hash(&big(0, 32, &[0, 1])), "2^32");
        assert_ne!(five, hash(&big(1, 32, &[5])));
        assert_eq!(hash(&value(lay::FLOAT, &(-0.0_f64).to_le_bytes())), hash(&value(lay::INT, &[0; 8])));
        assert_ne!(hash(&value(lay::TRUE, b"")), hash(&value(lay::FALSE, b"")));
        assert_eq!(sealed(&strict, &value(lay::TRUE, b""), Sealed::Value).0[4], lay::TRUE);
        assert_eq!(sealed(&strict, &value(lay::FALSE, b""), Sealed::Value).0[4], lay::TRUE, "the kind does not tell");
    }

    #[test]
    fn the_key_decides() {
        let ada = text(lay::STR_UTF8, b"Ada", 3);
        let of = |key: Option<&str>| {
            sealed(&Strict::of(CaptureMode::Strict, key).unwrap(), &ada, Sealed::Value).1.unwrap().0
        };
        assert_eq!(of(Some("a")), of(Some("a")));
        assert_ne!(of(Some("a")), of(Some("b")));
        assert_ne!(of(None), of(None), "each process has its own");
        assert!(Strict::of(CaptureMode::Full, Some("a")).is_none());
    }

    #[test]
    fn of_texts_the_size_and_the_cut_are_told_and_nothing_of_the_text_is_left() {
        let strict = strict(CaptureMode::Strict);
        let (record, found) = sealed(&strict, &text(lay::STR_UTF8, b"secret text", 40), Sealed::Value);
        let (_, size, bits) = found.unwrap();
        assert_eq!((size, bits), (40, lay::SEALED_HASH | lay::SEALED_SIZE | lay::SEALED_CUT));
        assert_eq!(record.len(), 4 + BODY);
        assert!(strict.sealed(b"\x05", Sealed::Value).is_err());
        assert!(strict.sealed(&value(lay::INT, b"short"), Sealed::Value).is_err());
        let named = [&lay::word(lay::TRUE, lay::INLINE).to_le_bytes()[..], b"\x04\0Flag"].concat();
        let (record, _) = sealed(&strict, &named, Sealed::Value);
        assert_eq!(record.get(4..10), Some(&b"\x04\0Flag"[..]), "the type stays");
    }

    #[test]
    fn numbers_are_shown_only_where_they_may_be() {
        let numbers = strict(CaptureMode::StrictNumbers);
        for number in [value(lay::INT, &[7; 8]), value(lay::TRUE, b""), value(lay::FLOAT, &[1; 8])] {
            assert_eq!(sealed(&numbers, &number, Sealed::Value).0, number);
            assert!(sealed(&numbers, &number, Sealed::Key).1.is_some());
            assert!(sealed(&strict(CaptureMode::Strict), &number, Sealed::Value).1.is_some());
        }
        assert!(sealed(&numbers, &text(lay::STR_UTF8, b"7", 1), Sealed::Value).1.is_some());
        for plain in [value(lay::NULL, b""), value(lay::OPAQUE, b""), value(lay::ITERATOR, &[0; 4])] {
            assert_eq!(sealed(&strict(CaptureMode::Strict), &plain, Sealed::Value).0, plain);
        }
    }
}

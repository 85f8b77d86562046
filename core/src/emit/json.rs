//! JSON text being written, with the places in it that pruning may take if they are asked for. It stands on the walk of a
//! hit, on the worker, below [`super::render`] and [`super::values`].

use super::event::{Span, SpanKind};
use super::health::Lacks;
use crate::record::buffer::Buffer;

/// Bytes that are copied in one go where that is quicker than to look how many are wanted.
pub const WIDTH: usize = 32;

/// Bytes of memory that a text begins with.
const FIRST: usize = 128;

/// A piece of JSON text that is written again and again.
#[derive(Clone, Debug, Default)]
pub struct Fragment {
    /// The text, if it is no longer than this.
    short: [u8; WIDTH],
    length: usize,
    /// The text, if it is longer.
    long: Box<[u8]>,
}

impl Fragment {
    /// What `write` writes.
    pub fn of(write: impl FnOnce(&mut Json<'_>)) -> Self {
        let text = Json::text_of(write);
        let length = text.len();
        if length > WIDTH {
            return Fragment { short: [0; WIDTH], length, long: text.into() };
        }
        let mut short = [0; WIDTH];
        short.iter_mut().zip(&text).for_each(|(to, from)| *to = *from);
        Fragment { short, length, long: Box::default() }
    }

    /// True if nothing was written.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

/// JSON text being written at the end of a buffer.
#[derive(Debug)]
pub struct Json<'o> {
    /// The text.
    out: &'o mut Buffer,
    /// The spans met so far. Almost no event is pruned, so most are written without.
    spans: Option<Vec<Span>>,
    /// What was left out so far.
    pub lacks: Lacks,
}

impl<'o> Json<'o> {
    /// Text without spans.
    pub(crate) fn new(out: &'o mut Buffer) -> Self {
        Json { out, spans: None, lacks: 0 }
    }

    /// Text with spans. Their places count from the buffer's begin, so that should be empty.
    pub(crate) fn with_spans(out: &'o mut Buffer) -> Self {
        Json { out, spans: Some(Vec::new()), lacks: 0 }
    }

    /// What `write` writes.
    pub fn text_of(write: impl FnOnce(&mut Json<'_>)) -> Vec<u8> {
        let mut out = Buffer::new(FIRST);
        write(&mut Json::new(&mut out));
        out.bytes().to_vec()
    }

    /// Bytes written.
    #[inline]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// True if nothing is written yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was written from a place on.
    #[inline]
    pub fn since(&self, start: usize) -> &[u8] {
        self.out.since(start)
    }

    /// Takes the last byte back.
    pub fn take_back(&mut self) {
        self.out.truncate(self.out.len().saturating_sub(1));
    }

    /// True if spans are kept.
    #[inline]
    pub fn keeps_spans(&self) -> bool {
        self.spans.is_some()
    }

    /// The spans.
    pub fn into_spans(self) -> Vec<Span> {
        self.spans.unwrap_or_default()
    }

    /// Appends text as it is.
    #[inline]
    pub fn raw(&mut self, text: &[u8]) {
        self.out.extend(text);
    }

    /// Appends text of a length that the compiler knows.
    #[inline]
    pub fn put<const N: usize>(&mut self, text: &[u8; N]) {
        self.out.put(*text);
    }

    /// Appends a fragment.
    #[inline]
    pub fn fragment(&mut self, fragment: &Fragment) {
        if fragment.length > WIDTH {
            return self.out.extend(&fragment.long);
        }
        self.out.write(fragment.length, |piece| *piece = fragment.short);
    }

    /// Appends a fragment, and what `write` puts behind it into the first of `N` bytes: it answers how many. `ALL` is
    /// `WIDTH` and `N` together; one look whether there is room does for both.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a piece is put together in registers")]
    pub fn fragment_and<const N: usize, const ALL: usize>(
        &mut self,
        fragment: &Fragment,
        write: impl FnOnce(&mut [u8; N]) -> usize,
    ) {
        let length = fragment.length;
        if length > WIDTH {
            self.out.extend(&fragment.long);
            return self.out.write_some(write);
        }
        self.out.write_some(|piece: &mut [u8; ALL]| {
            if let Some(place) = piece.first_chunk_mut() {
                *place = fragment.short;
            }
            length + piece.get_mut(length..).and_then(<[u8]>::first_chunk_mut).map_or(0, write)
        });
    }

    /// Puts bytes in the place of others.
    #[inline]
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        self.out.patch_all(at, bytes);
    }

    /// Appends text that begins with a comma, or without the comma if something has just been opened.
    #[inline]
    pub fn next<const N: usize>(&mut self, text: &[u8; N]) {
        if matches!(self.out.last(), None | Some(b'{' | b'[')) {
            self.next_of(text);
        } else {
            self.out.put(*text);
        }
    }

    /// The same for text of any length.
    pub fn next_of(&mut self, text: &[u8]) {
        let opened = matches!(self.out.last(), None | Some(b'{' | b'['));
        self.out.extend(text.get(usize::from(opened)..).unwrap_or_default());
    }

    /// Opens an object whose members were written from `start` on, each after a comma: the first comma becomes the brace.
    #[inline]
    pub fn brace_from(&mut self, start: usize) {
        if start < self.out.len() {
            self.out.patch(start, *b"{");
        } else {
            self.put(b"{");
        }
    }

    /// Appends a string.
    pub fn string(&mut self, text: &str) {
        self.put(b"\"");
        self.inside(text);
        self.put(b"\"");
    }

    /// Appends text as the inside of a string.
    #[inline]
    pub fn inside(&mut self, text: &str) {
        if needs_no_escape(text.as_bytes()) {
            return self.raw(text.as_bytes());
        }
        let mut escaped = Vec::new();
        escape(text, &mut escaped);
        self.raw(&escaped);
    }

    /// Appends the digits of a number.
    #[inline]
    pub fn integer(&mut self, number: impl itoa::Integer) {
        self.raw(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends a key, written `,"key":`, and a string.
    #[inline]
    pub fn text<const N: usize>(&mut self, key: &[u8; N], text: &str) {
        self.next(key);
        self.string(text);
    }

    /// Appends a key, written `,"key":`, and a number.
    #[inline]
    pub fn number<const N: usize>(&mut self, key: &[u8; N], number: impl itoa::Integer) {
        self.next(key);
        self.integer(number);
    }

    /// Begins a span; it ends by [`Json::end`].
    #[inline]
    pub fn begin(&mut self, kind: SpanKind, parent: Option<usize>, level: u32) -> usize {
        let Some(spans) = &mut self.spans else { return 0 };
        let start = self.out.len();
        spans.push(Span::begin(start, parent, level, kind));
        spans.len() - 1
    }

    /// Marks a span as incomplete.
    #[inline]
    pub fn incomplete(&mut self, span: usize, depth: bool) {
        if let Some(span) = self.spans.as_mut().and_then(|spans| spans.get_mut(span)) {
            span.incomplete = true;
            span.depth |= depth;
        }
    }

    /// Ends a span here.
    #[inline]
    pub fn end(&mut self, span: usize) {
        let end = self.out.len();
        if let Some(span) = self.spans.as_mut().and_then(|spans| spans.get_mut(span)) {
            span.end_at(end);
        }
    }
}

/// True if a text is the same inside a JSON string and inside a quoted string of any language.
#[inline]
pub fn is_plain(text: &[u8]) -> bool {
    all(text, is_plain_byte)
}

/// True if a text is the same inside a JSON string.
#[inline]
fn needs_no_escape(text: &[u8]) -> bool {
    #[allow(clippy::needless_bitwise_bool, reason = "without branches many bytes are looked at at once")]
    all(text, |byte| (byte >= b' ') & (byte != b'"') & (byte != b'\\'))
}

/// True if that holds for all bytes. Without an early end the compiler looks at many of them at once.
#[inline]
fn all(text: &[u8], holds: impl Fn(u8) -> bool + Copy) -> bool {
    let each = |bytes: &[u8]| bytes.iter().fold(true, |all, byte| all & holds(*byte));
    let (chunks, rest) = text.as_chunks::<16>();
    if !chunks.iter().all(|chunk| each(chunk)) {
        return false;
    }
    // The last bytes once more rather than the rest one by one.
    match (text.last_chunk::<16>(), text.first_chunk::<8>(), text.last_chunk::<8>()) {
        (Some(last), ..) => rest.is_empty() || each(last),
        (_, Some(first), Some(last)) => each(first) & each(last),
        _ => each(rest),
    }
}

#[inline]
#[allow(clippy::needless_bitwise_bool, reason = "without branches many bytes are looked at at once")]
fn is_plain_byte(byte: u8) -> bool {
    (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\') & (byte != b'\'')
}

/// The same for the first bytes of some.
#[inline]
#[allow(clippy::needless_bitwise_bool, reason = "as above")]
pub fn begins_plain<const N: usize>(bytes: &[u8; N], length: usize) -> bool {
    // Places as bytes, so that they are compared as many at once as the bytes are.
    let places: [u8; N] = const {
        let mut places = [0; N];
        let mut at = 0;
        while at < N {
            places[at] = at as u8;
            at += 1;
        }
        places
    };
    let length = length.min(N) as u8;
    bytes.iter().zip(places).fold(true, |all, (byte, at)| all & (is_plain_byte(*byte) | (at >= length)))
}

/// Writes the digits of a number, and answers how many.
#[inline]
pub fn digits(number: i64, out: &mut [u8; DIGITS]) -> usize {
    // Most numbers are small: four digits at once, without those that lead to nothing.
    if let (0..10_000, Some(place)) = (number, out.first_chunk_mut()) {
        let number = number as u32;
        let four = [number / 1000, number / 100 % 10, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8);
        let leading = [1000, 100, 10].into_iter().filter(|power| number < *power).count();
        *place = (u32::from_le_bytes(four) >> (8 * leading)).to_le_bytes();
        return 4 - leading;
    }
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(number).as_bytes();
    if let Some(place) = out.get_mut(..text.len()) {
        place.copy_from_slice(text);
    }
    text.len()
}

/// Digits of a number at most, and its sign.
pub const DIGITS: usize = 20;

/// Appends text as the inside of a JSON string.
pub fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' | b'\\' => byte,
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..0x20 => 0,
            _ => continue,
        };
        out.extend_from_slice(bytes.get(from..at).unwrap_or_default());
        from = at + 1;
        if short == 0 {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
    }
    out.extend_from_slice(bytes.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::{DIGITS, Fragment, Json, WIDTH, begins_plain, digits, is_plain, needs_no_escape};

    #[test]
    fn strings_are_escaped_and_commas_stand_between() {
        let out = Json::text_of(|json| {
            json.put(b"{");
            json.text(b",\"a\":", "plain");
            json.text(b",\"b\":", "b\"\n\u{1}é\\");
            json.number(b",\"c\":", -5_i64);
            json.put(b"}");
        });
        let text = r#"{"a":"plain","b":"b\"\n\u0001é\\","c":-5}"#;
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn a_fragment_is_written_as_it_was_whatever_its_length() {
        for length in 0..3 * WIDTH {
            let fragment = Fragment::of(|json| json.raw(&vec![b'x'; length]));
            let out = Json::text_of(|json| {
                json.put(b"<");
                json.fragment(&fragment);
                json.put(b">");
                json.fragment_and::<4, { WIDTH + 4 }>(&fragment, |behind| {
                    *behind = *b"abcd";
                    3
                });
            });
            let x = vec![b'x'; length];
            assert_eq!(out, [b"<", &*x, b">", &x, b"abc"].concat());
            assert_eq!(fragment.is_empty(), length == 0);
        }
    }

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 7, 9, 10, 99, 100, 905, 1000, 9999, 10_000, 12_345, -1, i64::MAX, i64::MIN] {
            let mut out = [0; DIGITS];
            let length = digits(number, &mut out);
            assert_eq!(std::str::from_utf8(&out[..length]).unwrap(), number.to_string());
        }
    }

    #[test]
    fn one_byte_anywhere_makes_a_text_not_plain() {
        for length in 0..40 {
            let mut text = vec![b'x'; length];
            assert!(is_plain(&text));
            for at in 0..length {
                for byte in [b'"', b'\'', b'\\', 0x1F, 0x7F, 0x80, 0xFF] {
                    text[at] = byte;
                    assert!(!is_plain(&text), "{byte} at {at} of {length}");
                    let escaped = matches!(byte, b'"' | b'\\' | 0x1F);
                    assert_eq!(!needs_no_escape(&text), escaped, "{byte} at {at} of {length}");
                    if let Some(first) = text.first_chunk::<WIDTH>() {
                        assert!(!begins_plain(first, at + 1) || at >= WIDTH, "{byte} at {at} of {length}");
                        assert!(begins_plain(first, at.min(WIDTH)), "{byte} at {at} of {length}");
                    }
                }
                text[at] = b'~';
            }
        }
    }
}

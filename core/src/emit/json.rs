//! JSON text being written, with the places in it that pruning may take if they are asked for. It stands on the walk of a
//! hit, on the worker, below [`super::render`] and [`super::values`].

use super::event::{Span, SpanKind};

/// Bytes that are copied in one go where that is quicker than to look how many are wanted.
pub const WIDTH: usize = 32;

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
        let mut text = Vec::new();
        write(&mut Json::new(&mut text));
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
    pub out: &'o mut Vec<u8>,
    /// The spans met so far. Almost no event is pruned, so most are written without.
    spans: Option<Vec<Span>>,
}

impl<'o> Json<'o> {
    /// Text without spans.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Json { out, spans: None }
    }

    /// Text with spans. Their places count from the buffer's begin, so that should be empty.
    pub fn with_spans(out: &'o mut Vec<u8>) -> Self {
        Json { out, spans: Some(Vec::new()) }
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
        self.out.extend_from_slice(text);
    }

    /// Appends a fragment.
    #[inline]
    pub fn fragment(&mut self, fragment: &Fragment) {
        if fragment.length > WIDTH {
            return self.out.extend_from_slice(&fragment.long);
        }
        self.first_of(&fragment.short, fragment.length);
    }

    /// Appends the first bytes of some.
    #[inline]
    pub fn first_of(&mut self, bytes: &[u8; WIDTH], length: usize) {
        let end = self.out.len() + length;
        self.out.extend_from_slice(bytes);
        self.out.truncate(end);
    }

    /// Appends a fragment and a little more: `put` writes behind the fragment and answers how many bytes. One look
    /// whether there is room does for both.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a piece is put together in registers")]
    pub fn fragment_and<const N: usize>(&mut self, fragment: &Fragment, put: impl FnOnce(&mut [u8; N]) -> usize) {
        let start = self.out.len();
        let length = fragment.length;
        if length > WIDTH {
            self.out.extend_from_slice(&fragment.long);
            self.out.extend_from_slice(&[0; N]);
        } else {
            // Room for both, whatever stands there: all of it is written or cut off.
            self.out.extend_from_slice(&[0; N]);
            self.out.extend_from_slice(&fragment.short);
            if let Some(place) = self.out.get_mut(start..).and_then(<[u8]>::first_chunk_mut) {
                *place = fragment.short;
            }
        }
        let behind = start + length;
        let used = self.out.get_mut(behind..).and_then(<[u8]>::first_chunk_mut).map_or(0, put);
        self.out.truncate(behind + used);
    }

    /// Puts bytes in the place of others.
    #[inline]
    pub fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Appends text that begins with a comma, or without the comma if something has just been opened.
    #[inline]
    pub fn next(&mut self, text: &'static str) {
        let text = text.as_bytes();
        if matches!(self.out.last(), None | Some(b'{' | b'[')) {
            self.out.extend_from_slice(text.get(1..).unwrap_or_default());
        } else {
            self.out.extend_from_slice(text);
        }
    }

    /// Opens an object whose members were written from `start` on, each after a comma: the first comma becomes the brace.
    #[inline]
    pub fn brace_from(&mut self, start: usize) {
        match self.out.get_mut(start) {
            Some(comma) => *comma = b'{',
            None => self.out.push(b'{'),
        }
    }

    /// Appends a string.
    pub fn string(&mut self, text: &str) {
        self.out.push(b'"');
        if needs_no_escape(text.as_bytes()) {
            self.out.extend_from_slice(text.as_bytes());
        } else {
            escape(text, self.out);
        }
        self.out.push(b'"');
    }

    /// Appends a name as a key, after a comma if one is due.
    pub fn name(&mut self, name: &str) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[')) {
            self.out.push(b',');
        }
        self.string(name);
        self.out.push(b':');
    }

    /// Appends the digits of a number.
    #[inline]
    pub fn integer(&mut self, number: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Appends a key, written `,"key":`, and a string.
    #[inline]
    pub fn text(&mut self, key: &'static str, text: &str) {
        self.next(key);
        self.string(text);
    }

    /// Appends a key, written `,"key":`, and a number.
    #[inline]
    pub fn number(&mut self, key: &'static str, number: impl itoa::Integer) {
        self.next(key);
        self.integer(number);
    }

    /// Begins a span; it ends by [`Json::end`].
    #[inline]
    pub fn begin(&mut self, kind: SpanKind, parent: Option<usize>, level: u32) -> usize {
        let Some(spans) = &mut self.spans else { return 0 };
        let start = self.out.len();
        spans.push(Span { start, end: start, parent, level, depth: false, incomplete: false, kind });
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
            span.end = end;
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

/// Writes the digits of a number, and answers how many. Most numbers are small.
#[inline]
pub fn digits(number: i64, out: &mut [u8; DIGITS]) -> usize {
    if let 0..10 = number {
        out[0] = b'0' + number as u8;
        return 1;
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
    use super::{Fragment, Json, WIDTH, begins_plain, is_plain};

    #[test]
    fn strings_are_escaped_and_commas_stand_between() {
        let mut out = Vec::new();
        let mut json = Json::new(&mut out);
        json.raw(b"{");
        json.text(",\"a\":", "plain");
        json.name("b\"\n\u{1}");
        json.string("é\\");
        json.number(",\"c\":", -5_i64);
        json.raw(b"}");
        let text = r#"{"a":"plain","b\"\n\u0001":"é\\","c":-5}"#;
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn a_fragment_is_written_as_it_was_whatever_its_length() {
        for length in 0..3 * WIDTH {
            let fragment = Fragment::of(|json| json.raw(&vec![b'x'; length]));
            let mut out = b"<".to_vec();
            let mut json = Json::new(&mut out);
            json.fragment(&fragment);
            json.raw(b">");
            assert_eq!(out, [b"<", &*vec![b'x'; length], b">"].concat());
            assert_eq!(fragment.is_empty(), length == 0);
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

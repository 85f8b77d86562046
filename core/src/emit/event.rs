//! One event of the intake: what the worker knows beside the record, the JSON being written, and the finished event with
//! the places in it that pruning may take. It stands on the walk of a hit, on the worker: [`super::render`] fills it,
//! [`super::prune`] cuts it, `batch.rs` takes it.

use crate::emit::output::Identity;
use crate::host::{FrameText, Language, StackFrame};
use crate::record::names::Tables;
use crate::registry::LiveProbe;

/// What the worker knows beside the record.
#[derive(Clone, Copy)]
pub struct RenderContext<'a> {
    /// Who this process is.
    pub identity: &'a Identity,
    /// Whose values these are.
    pub language: Language,
    /// The session's names and types.
    pub tables: &'a Tables,
    /// The probe that was hit.
    pub live: &'a LiveProbe,
    /// [`crate::host::Runtime::describe_frame`].
    pub describe_frame: &'a dyn Fn(StackFrame) -> FrameText,
    /// Milliseconds that an evaluation may take, for the sentence of one that took longer.
    pub evaluation_ms: u64,
}

/// What a [`Span`] covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A value object.
    Value,
    /// A section object, whose children are its values.
    Section,
    /// A frame of a `throwable`.
    Frame,
}

/// An object in the JSON that pruning may replace by `{"pruned":true}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub start: usize,
    /// The byte after its last.
    pub end: usize,
    /// The span it stands in, an index in [`Event::spans`].
    pub parent: Option<usize>,
    /// How deep it stands: the root is 0, a method's section 5, a line's 6.
    pub level: u32,
    /// It has `notCapturedReason: "depth"`.
    pub depth: bool,
    /// It has any `notCapturedReason`.
    pub incomplete: bool,
    /// What it is.
    pub kind: SpanKind,
}

/// A finished event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The JSON text.
    pub json: Vec<u8>,
    /// The message, as in the JSON.
    pub message: String,
    /// Where it was hit, for people.
    pub site: String,
    /// When it was hit, in milliseconds since the epoch.
    pub time: u64,
    /// What pruning may replace. A span's parent comes before it.
    pub spans: Vec<Span>,
    /// Where the message's string stands in the JSON, quotes included.
    pub message_at: (usize, usize),
    /// Where each frame of `stack` stands.
    pub frames: Vec<(usize, usize)>,
    /// True for an evaluation-error event.
    pub error: bool,
    /// True if the record was cut at its largest size.
    pub full: bool,
}

/// JSON text being written, with the spans met so far.
#[derive(Debug, Default)]
pub struct Json {
    /// The text.
    pub out: Vec<u8>,
    /// The spans.
    pub spans: Vec<Span>,
}

impl Json {
    /// Appends text as it is.
    #[inline]
    pub fn raw(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// Appends a comma, unless something has just been opened.
    #[inline]
    pub fn comma(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[')) {
            self.out.push(b',');
        }
    }

    /// Appends a string.
    pub fn string(&mut self, text: &str) {
        if is_plain(text.as_bytes()) {
            return self.plain("", text.as_bytes());
        }
        self.out.push(b'"');
        escape(text, &mut self.out);
        self.out.push(b'"');
    }

    /// Appends a name as a key, after a comma if one is due.
    pub fn name(&mut self, name: &str) {
        self.comma();
        self.string(name);
        self.out.push(b':');
    }

    /// Appends a key of ours, which needs no escapes, after a comma if one is due.
    #[inline]
    pub fn key(&mut self, key: &'static str) {
        self.comma();
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// Appends a string that needs no escapes, between quotes of the language.
    #[inline]
    pub fn plain(&mut self, quote: &str, text: &[u8]) {
        self.out.push(b'"');
        self.out.extend_from_slice(quote.as_bytes());
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(quote.as_bytes());
        self.out.push(b'"');
    }

    /// Appends the digits of a number.
    pub fn integer(&mut self, number: i128) {
        // 39 digits and a sign.
        let mut digits = [0; 40];
        let mut at = digits.len();
        let mut rest = number.unsigned_abs();
        loop {
            at -= 1;
            // Most numbers are small, and division by a short number is quick.
            let (next, digit) = match u64::try_from(rest) {
                Ok(short) => (u128::from(short / 10), (short % 10) as u8),
                Err(_) => (rest / 10, (rest % 10) as u8),
            };
            if let Some(place) = digits.get_mut(at) {
                *place = b'0' + digit;
            }
            rest = next;
            if rest == 0 {
                break;
            }
        }
        if number < 0 {
            self.out.push(b'-');
        }
        self.out.extend_from_slice(digits.get(at..).unwrap_or_default());
    }

    /// Appends a key and a string.
    pub fn text(&mut self, key: &'static str, text: &str) {
        self.key(key);
        self.string(text);
    }

    /// Appends a key and a number.
    pub fn number(&mut self, key: &'static str, number: impl Into<i128>) {
        self.key(key);
        self.integer(number.into());
    }

    /// Begins a span; it ends by [`Json::end`].
    pub fn begin(&mut self, kind: SpanKind, parent: Option<usize>, level: u32) -> usize {
        let start = self.out.len();
        self.spans.push(Span { start, end: start, parent, level, depth: false, incomplete: false, kind });
        self.spans.len() - 1
    }

    /// Marks a span as incomplete.
    pub fn incomplete(&mut self, span: usize, depth: bool) {
        if let Some(span) = self.spans.get_mut(span) {
            span.incomplete = true;
            span.depth |= depth;
        }
    }

    /// Ends a span here.
    pub fn end(&mut self, span: usize) {
        let end = self.out.len();
        if let Some(span) = self.spans.get_mut(span) {
            span.end = end;
        }
    }
}

/// True if a text is the same inside a JSON string and inside a quoted string of any language.
#[inline]
pub fn is_plain(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'\''))
}

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

//! Renders messages: a template's literal text and the values that the hit recorded for it (*Probes and expressions* 4).
//! It stands on the walk of a hit, on the worker: [`crate::record::read`] before, [`super::event`] after. A decoration's
//! tag is rendered by it too, in the hit, from the scratch record.

use super::language::Profile;
use super::number;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::print;
use crate::expr::template::{Segment, Template};
use crate::record::layout as lay;
use crate::record::names::Tables;
use crate::record::read::{Content, NameRef, Reader};
use crate::text::Text;

/// Bytes of a byte string that are shown.
const BYTES: u64 = 64;

/// Why an expression failed, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailureText {
    /// The expression, as `evaluationErrors[].expr`.
    pub expr: String,
    /// The sentence of Appendix A.
    pub message: String,
    /// True if it failed because of redaction: then the message shows `{redacted}`.
    pub redacted: bool,
}

/// Text that stops growing at a number of code points.
#[derive(Debug)]
pub struct Capped<'t> {
    text: &'t mut String,
    left: usize,
    cut: bool,
}

impl<'t> Capped<'t> {
    /// Text that takes so many code points, in the place of what `text` holds.
    pub fn new(text: &'t mut String, limit: usize) -> Self {
        text.clear();
        Capped { text, left: limit, cut: false }
    }

    /// Appends a character, if there is room.
    pub fn push(&mut self, letter: char) {
        if self.left == 0 {
            self.cut = true;
            return;
        }
        self.left -= 1;
        self.text.push(letter);
    }

    /// Appends text, as far as there is room.
    pub fn push_str(&mut self, text: &str) {
        // A text has at most one code point a byte.
        if text.len() <= self.left && !self.cut {
            self.left -= if text.is_ascii() { text.len() } else { text.chars().count() };
            return self.text.push_str(text);
        }
        for letter in text.chars() {
            if self.cut {
                return;
            }
            self.push(letter);
        }
    }

    /// The same for text that is known to be ASCII.
    #[inline]
    pub fn push_ascii(&mut self, text: &str) {
        if text.len() > self.left {
            return self.push_str(text);
        }
        self.left -= text.len();
        self.text.push_str(text);
    }

    /// Ends the text, with `…` if it was cut.
    pub fn finish(self) {
        if self.cut {
            self.text.push('…');
        }
    }
}

/// What a record holds for one segment of a template.
#[derive(Clone, Copy, Debug)]
pub enum Recorded<'r> {
    /// Where its value begins.
    Value(usize),
    /// Why it failed.
    Failed(&'r FailureText),
}

/// Renders a template. `find` gives what was recorded for a segment; `None` ends the text if `until_missing` (the rest
/// was not evaluated), else shows `{timeout}`.
pub fn render<'a>(
    template: &Template,
    reader: &Reader<'_>,
    spelling: Spelling<'_>,
    find: impl Fn(u16) -> Option<Recorded<'a>>,
    until_missing: bool,
    out: &mut Capped<'_>,
) -> Result<()> {
    for (index, segment) in template.segments.iter().enumerate() {
        let Segment::Literal(text) = segment else {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            match find(index) {
                Some(Recorded::Value(at)) => value(&mut reader.from(at), spelling, out, 0)?,
                Some(Recorded::Failed(failure)) => {
                    push_failure(failure, out);
                    // What ended the evaluation ends the text too: it is the last that was recorded.
                    if until_missing && (index + 1..template.segments.len() as u16).all(|later| find(later).is_none()) {
                        break;
                    }
                }
                None if until_missing => break,
                None => out.push_str("{timeout}"),
            }
            continue;
        };
        out.push_str(text);
    }
    Ok(())
}

fn push_failure(failure: &FailureText, out: &mut Capped<'_>) {
    if failure.redacted {
        return out.push_str("{redacted}");
    }
    out.push('{');
    out.push_str(&failure.message);
    out.push('}');
}

/// The class name without module, package or enclosing names.
fn bare(name: &str) -> &str {
    name.rsplit(['.', ':', '\\']).next().unwrap_or(name)
}

/// What names stand for: those of the tables, and the language's own where a record names none.
#[derive(Clone, Copy)]
pub struct Spelling<'a> {
    /// Names and types of the session.
    pub tables: &'a Tables,
    /// The language.
    pub profile: &'a Profile,
}

fn type_name<'a>(tables: &'a Tables, name: NameRef<'a>) -> Result<&'a str> {
    match name {
        NameRef::Implied => Ok(""),
        NameRef::Text(text) => Ok(bare(text)),
        NameRef::Id(id) => tables.type_name(id).map(bare).ok_or_else(|| unknown("type", id)),
    }
}

pub(super) fn unknown(what: &str, id: u32) -> Error {
    Error::new(ErrorKind::BadRecord, format!("bad record: unknown {what} {id}"))
}

/// Renders the next value of a record; `level` 0 is the top.
pub fn value(reader: &mut Reader<'_>, spelling: Spelling<'_>, out: &mut Capped<'_>, level: u32) -> Result<()> {
    let Spelling { tables, profile } = spelling;
    reader.check_depth(level)?;
    if let Some(int) = reader.plain_int()? {
        out.push_ascii(itoa::Buffer::new().format(int));
        return Ok(());
    }
    let node = reader.value()?;
    let class_of = |tag: u8| -> Result<&str> {
        let class = type_name(tables, node.type_name)?;
        let own = || profile.type_names.get(usize::from(tag)).copied().unwrap_or_default();
        Ok(if class.is_empty() { own() } else { class })
    };
    match node.content {
        Content::Undefined => out.push_str("undefined"),
        Content::Null => out.push_str("null"),
        Content::Bool(truth) => out.push_str(if truth { "true" } else { "false" }),
        Content::Int(int) => out.push_ascii(itoa::Buffer::new().format(int)),
        Content::Big { negative, width, bits, dropped, digits } => {
            out.push_str(&number::integer_text(negative, width, bits, dropped, digits).text);
        }
        Content::Float(float) => out.push_str(&print::float_text(float)),
        Content::Complex(real, imaginary) => out.push_str(&number::python_complex(real, imaginary)),
        Content::Decimal { negative, exponent, dropped, words } => {
            out.push_str(&number::decimal_text(negative, exponent, dropped, words).text);
        }
        Content::Str { text, size } if level == 0 => {
            let cut = text.with(|text| push_text(text, out)) as u64 != size;
            out.cut |= cut && out.left == 0;
        }
        Content::Str { text, size } => text.with(|text| push_quoted(text, size, out)),
        Content::Bytes { bytes, size } => {
            out.push_str("0x");
            for byte in bytes.iter().take(BYTES as usize) {
                out.push_str(&format!("{byte:02x}"));
            }
            if size > BYTES {
                out.push_str("...");
            }
        }
        Content::List { children, .. } | Content::Set { children, .. } => {
            list(reader, out, ["[", "]"], children, |reader, out| value(reader, spelling, out, level + 1))?;
        }
        Content::Map { children, .. } => {
            list(reader, out, ["{", "}"], children, |reader, out| {
                value(reader, spelling, out, level + 1)?;
                out.push_str(": ");
                value(reader, spelling, out, level + 1)
            })?;
        }
        Content::Object(children) => {
            out.push_str(class_of(lay::OBJECT)?);
            list(reader, out, ["{", "}"], children, |reader, out| {
                match reader.name()? {
                    NameRef::Text(name) => out.push_str(name),
                    NameRef::Id(id) => out.push_str(tables.name(id).ok_or_else(|| unknown("name", id))?),
                    NameRef::Implied => {}
                }
                out.push_str(": ");
                value(reader, spelling, out, level + 1)
            })?;
        }
        Content::Exception => {
            out.push_str(class_of(lay::EXCEPTION)?);
            exception_message(reader, spelling, out, level)?;
        }
        Content::Enum(member) => {
            out.push_str(class_of(lay::ENUM)?);
            out.push('.');
            out.push_str(member);
        }
        Content::Function(name) => {
            out.push_str("<function ");
            out.push_str(name);
            out.push('>');
        }
        Content::Iterator(_) => out.push_str("<iterator>"),
        Content::Scalar(text) => out.push_str(text),
        Content::Opaque => {
            out.push('<');
            out.push_str(class_of(lay::OPAQUE)?);
            out.push('>');
        }
        Content::Computed => out.push_str("{computed}"),
        Content::Withheld { reason, text, .. } => {
            let text = match reason {
                lay::REASON_REDACTED_IDENT | lay::REASON_REDACTED_TYPE => "redacted",
                lay::REASON_TEXT => text,
                _ => lay::reason_text(reason).unwrap_or("withheld"),
            };
            out.push('{');
            out.push_str(text);
            out.push('}');
        }
        Content::Sealed { kind, .. } => {
            out.push('{');
            out.push_str(class_of(kind)?);
            out.push('}');
        }
    }
    Ok(())
}

fn list<'r>(
    reader: &mut Reader<'r>,
    out: &mut Capped<'_>,
    [open, close]: [&str; 2],
    children: crate::record::read::Children,
    mut child: impl FnMut(&mut Reader<'r>, &mut Capped<'_>) -> Result<()>,
) -> Result<()> {
    out.push_str(open);
    for index in 0..children.count {
        if index > 0 {
            out.push_str(", ");
        }
        child(reader, out)?;
    }
    if children.reason != lay::REASON_NONE {
        out.push_str(match (children.count, children.reason) {
            (0, lay::REASON_CHANGED) => "changed while it was read",
            (0, _) => "...",
            _ => ", ...",
        });
    }
    out.push_str(close);
    Ok(())
}

/// `: message`, unless it is empty.
fn exception_message(reader: &mut Reader<'_>, spelling: Spelling<'_>, out: &mut Capped<'_>, level: u32) -> Result<()> {
    let mut ahead = reader.clone();
    match ahead.value()?.content {
        Content::Null => {}
        Content::Str { text, size } => {
            text.with(|text| {
                if !text.is_empty() {
                    out.push_str(": ");
                    push_text(text, out);
                    if text.len() as u64 != size {
                        out.push('…');
                    }
                }
            });
        }
        _ => {
            out.push_str(": ");
            return value(reader, spelling, out, level + 1);
        }
    }
    *reader = ahead;
    Ok(())
}

/// Appends text as it is; answers its number of code points.
fn push_text(text: Text<'_>, out: &mut Capped<'_>) -> usize {
    if let Some(plain) = ascii(text) {
        out.push_str(plain);
        return plain.len();
    }
    let mut count = 0;
    for point in text.code_points() {
        count += 1;
        out.push(char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    count
}

/// The text itself if it is ASCII and stored so.
fn ascii(text: Text<'_>) -> Option<&str> {
    match text {
        Text::Utf8(text) => text.is_ascii().then_some(text),
        Text::Latin1(bytes) if bytes.is_ascii() => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

fn push_quoted(text: Text<'_>, size: u64, out: &mut Capped<'_>) {
    out.push('"');
    let mut escaped = String::new();
    let mut count = 0;
    for point in text.code_points() {
        count += 1;
        escaped.clear();
        match char::from_u32(point) {
            Some(letter) => print::push_escaped(&mut escaped, letter),
            None => escaped.extend(["\\u", &format!("{point:04X}")]),
        }
        out.push_str(&escaped);
    }
    if count != size {
        out.push('…');
    }
    out.push('"');
}

/// The plain text of one value, which begins at `at`: a decoration's tag, a metric's.
pub fn plain_text(reader: &Reader<'_>, at: usize, spelling: Spelling<'_>, limit: usize) -> Result<String> {
    let mut text = String::new();
    let mut out = Capped::new(&mut text, limit);
    value(&mut reader.from(at), spelling, &mut out, 0)?;
    out.finish();
    Ok(text)
}

//! Turns a record into the event of the intake (*Signals and upload* 1, 2, 5). It stands on the walk of a hit, on the
//! worker: [`crate::record::read`] before, [`super::prune`] after. The record is read twice: once whole, so that a bad one
//! yields an error and no half event; then while writing.

use super::event::{Event, Json, SpanKind, is_plain};

pub use super::event::RenderContext;
use super::language::{Names, Profile};
use super::message::{self, FailureText, Recorded, unknown};
use super::number::{self, Digits};
use crate::capture::limits::MESSAGE_LENGTH;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::Expression;
use crate::expr::eval::{self, Category, Failure};
use crate::expr::template::Segment;
use crate::host::{FrameText, Site, StackFrame};
use crate::probe::model::{Kind, Location, Probe};
use crate::record::layout as lay;
use crate::record::names::Tables;
use crate::record::read::{Children, Content, FrameRef, Item, NameRef, Reader, RecordHeader, Stored};
use crate::record::write::{Place, Point};
use std::borrow::Cow;

/// Where the parts of a record begin.
#[derive(Debug, Default)]
pub struct Parts<'r> {
    /// Template values: segment, place.
    templates: Vec<(u32, usize)>,
    /// Failures, in the order of evaluation.
    failures: Vec<(Place, &'r [u8])>,
    /// Where the capture points begin.
    points: Option<usize>,
    /// Where the stack's frames begin, how many, whether raw.
    stack: Option<(usize, u32, bool)>,
}

impl<'r> Parts<'r> {
    /// Reads a whole record.
    pub fn of(mut reader: Reader<'r>) -> Result<Self> {
        let mut parts = Parts::default();
        let mut in_point = false;
        loop {
            let at = reader.at();
            let Some(item) = reader.item()? else { return Ok(parts) };
            match item {
                Item::Template(segment) => {
                    parts.templates.push((segment, reader.at()));
                    reader.skip()?;
                }
                Item::Failure(place, failure) => parts.failures.push((place, failure)),
                Item::Point(_) => {
                    parts.points.get_or_insert(at);
                    in_point = true;
                }
                Item::EndPoint(_) => in_point = false,
                Item::Named(_) | Item::Throwable(_) => reader.skip()?,
                Item::Section(_) => {}
                Item::Stack { count, raw } => {
                    if !in_point {
                        parts.stack = Some((reader.at(), count, raw));
                    }
                    for _ in 0..count {
                        reader.frame(raw)?;
                    }
                }
            }
        }
    }

    /// Where the value of a template's segment begins.
    pub fn value(&self, segment: u16) -> Option<usize> {
        self.templates.iter().find(|(index, _)| *index == u32::from(segment)).map(|(_, at)| *at)
    }
}

/// Renders a record.
pub fn render(record: &[u8], cx: &RenderContext<'_>) -> Result<Event> {
    let (header, reader) = Reader::new(record)?;
    let parts = Parts::of(reader.clone())?;
    let profile = Profile::of(cx.language);
    let probe = &*cx.live.probe;
    let site = cx.live.site().unwrap_or_default();
    let mut failures = Vec::with_capacity(parts.failures.len());
    for (place, failure) in &parts.failures {
        failures.push((*place, describe(*place, failure, cx)?));
    }
    let message = message_of(&header, &reader, &parts, &failures, cx)?;
    let mut json = Json::default();
    let timestamp = header.wall / 1_000_000;
    let duration = header.duration.filter(|_| probe.is_method());

    json.raw("{");
    json.text("ddsource", "dd_debugger");
    json.text("service", &cx.identity.service);
    if !cx.identity.hostname.is_empty() {
        json.text("hostname", &cx.identity.hostname);
    }
    json.number("timestamp", timestamp);
    json.text("type", "snapshot");
    json.key("message");
    let message_from = json.out.len();
    json.string(&message);
    let message_at = (message_from, json.out.len());
    if let Some(duration) = duration {
        json.number("duration", duration);
    }
    if !cx.identity.process_tags.is_empty() {
        json.text("process_tags", &cx.identity.process_tags);
    }
    if !probe.tags.is_empty() {
        json.text("ddtags", &probe.tags.join(","));
    }
    logger(&mut json, &header, profile, &site, cx);
    trace(&mut json, &header);

    json.raw(",\"debugger\":{\"snapshot\":{");
    json.text("id", &uuid(header.event_id));
    json.number("timestamp", timestamp);
    json.text("language", cx.language.wire_name());
    json.text("type", "snapshot");
    if let Some(duration) = duration {
        json.number("duration", duration);
    }
    json.key("probe");
    json.raw("{");
    json.text("id", &probe.id);
    json.number("version", probe.version);
    location(&mut json, profile, &site, probe);
    json.raw("}");
    json.key("stack");
    let (at, count, raw) = parts.stack.unwrap_or((0, 0, false));
    let frames = stack(&mut json, &mut reader.from(at), count, raw, None, cx)?;
    if let Some(at) = parts.points.filter(|_| !header.error) {
        json.key("captures");
        captures(&mut json, &mut reader.from(at), profile, cx)?;
    }
    json.key("evaluationErrors");
    json.raw("[");
    for (_, failure) in &failures {
        json.comma();
        json.raw("{");
        json.text("expr", &failure.expr);
        json.text("message", &failure.message);
        json.raw("}");
    }
    json.raw("]}}}");
    Ok(Event {
        json: json.out,
        message,
        site: site.to_string(),
        time: timestamp,
        spans: json.spans,
        message_at,
        frames,
        error: header.error,
        full: header.full,
    })
}

/// Puts an encoded failure into words.
fn describe(place: Place, mut failure: &[u8], cx: &RenderContext<'_>) -> Result<FailureText> {
    let bad = |what: &str| Error::new(ErrorKind::BadRecord, format!("bad record: {what}"));
    let failure = Failure::decode(&mut failure).ok_or_else(|| bad("not a failure"))?;
    let expression = expression(&cx.live.probe, place).ok_or_else(|| bad("a failure of an unknown expression"))?;
    let type_name = |id| cx.tables.type_name(id).unwrap_or("?").to_owned();
    let symbols = &cx.live.probe.symbols;
    let names = eval::Names { expression, symbols, type_name: &type_name, milliseconds: cx.evaluation_ms };
    let expr = match (place, &cx.live.probe.kind) {
        // A capture expression is known to people by its name.
        (Place::Expression(index), Kind::Log(log)) => log.expressions.get(usize::from(index)).map(|it| &it.name),
        _ => None,
    };
    Ok(FailureText {
        expr: expr.unwrap_or(&expression.text).clone(),
        message: failure.text(&names),
        redacted: failure.category() == Category::Redacted,
    })
}

/// The expression that stands at a place.
fn expression(probe: &Probe, place: Place) -> Option<&Expression> {
    match (place, &probe.kind) {
        (Place::Condition, _) => probe.when.as_ref(),
        (Place::Segment(index), Kind::Log(log)) => match log.template.segments.get(usize::from(index))? {
            Segment::Expression(expression) => Some(expression),
            Segment::Literal(_) => None,
        },
        (Place::Expression(index), Kind::Log(log)) => log.expressions.get(usize::from(index)).map(|it| &it.expression),
        (Place::Metric, Kind::Metric(metric)) => metric.value.as_ref(),
        (Place::Decoration(index), Kind::SpanDecoration(span)) => {
            span.decorations.get(usize::from(index)).and_then(|decoration| decoration.when.as_ref())
        }
        (Place::Tag(index, tag), Kind::SpanDecoration(span)) => {
            let tags = &span.decorations.get(usize::from(index))?.tags;
            tags.get(usize::from(tag))?.1.expressions().next()
        }
        _ => None,
    }
}

/// The template's text; where there is none, or the condition failed, the first error's.
fn message_of(
    header: &RecordHeader,
    reader: &Reader<'_>,
    parts: &Parts<'_>,
    failures: &[(Place, FailureText)],
    cx: &RenderContext<'_>,
) -> Result<String> {
    let of_template = failures.iter().all(|(place, _)| matches!(place, Place::Segment(_) | Place::Expression(_)));
    if let (Kind::Log(log), true) = (&cx.live.probe.kind, of_template) {
        let find = |segment| {
            let value = parts.value(segment).map(Recorded::Value);
            let failed = || failures.iter().find(|(place, _)| *place == Place::Segment(segment));
            value.or_else(|| failed().map(|(_, failure)| Recorded::Failed(failure)))
        };
        return message::render(&log.template, reader, cx.tables, find, header.error, MESSAGE_LENGTH);
    }
    let mut out = message::Capped::new(MESSAGE_LENGTH);
    if let Some((_, first)) = failures.first() {
        out.push_str(&first.message);
    }
    Ok(out.finish())
}

fn logger(json: &mut Json, header: &RecordHeader, profile: &Profile, site: &Site, cx: &RenderContext<'_>) {
    let name = match profile.names {
        Names::File => site.file.as_str(),
        Names::GivenFile => given_file(&cx.live.probe, site),
        Names::Class => site.type_name.as_str(),
    };
    json.key("logger");
    json.raw("{");
    json.text("name", name);
    json.text("method", &site.function);
    json.number("version", 2);
    json.number("thread_id", header.thread);
    let thread = cx.tables.name(header.thread_name).unwrap_or_default();
    if profile.pid {
        json.text("thread_name", &format!("{thread};pid:{}", std::process::id()));
    } else {
        json.text("thread_name", thread);
    }
    json.raw("}");
}

fn given_file<'a>(probe: &'a Probe, site: &'a Site) -> &'a str {
    match &probe.location {
        Location::Lines { file, .. } => file,
        Location::Method { file, .. } => file.as_deref().unwrap_or(&site.file),
    }
}

fn trace(json: &mut Json, header: &RecordHeader) {
    if header.trace_id == 0 && header.span_id == 0 {
        return;
    }
    json.key("dd");
    json.raw("{");
    match u64::try_from(header.trace_id) {
        Ok(id) => json.text("trace_id", &id.to_string()),
        Err(_) => json.text("trace_id", &format!("{:032x}", header.trace_id)),
    }
    json.text("span_id", &header.span_id.to_string());
    json.raw("}");
}

/// Random bits as a UUID of version 4.
pub fn uuid(mut bits: [u8; 16]) -> String {
    bits[6] = bits[6] & 0x0F | 0x40;
    bits[8] = bits[8] & 0x3F | 0x80;
    let bits = u128::from_be_bytes(bits);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        bits >> 96,
        bits >> 80 & 0xFFFF,
        bits >> 64 & 0xFFFF,
        bits >> 48 & 0xFFFF,
        bits & 0xFFFF_FFFF_FFFF
    )
}

fn location(json: &mut Json, profile: &Profile, site: &Site, probe: &Probe) {
    json.key("location");
    json.raw("{");
    if probe.is_method() || profile.names == Names::Class {
        json.text("type", &site.type_name);
        json.text("method", &site.method);
    }
    if !probe.is_method() {
        json.text("file", if profile.names == Names::GivenFile { given_file(probe, site) } else { &site.file });
        json.key("lines");
        json.raw("[");
        for line in &site.lines {
            json.comma();
            json.string(&line.to_string());
        }
        json.raw("]");
    }
    json.raw("}");
}

/// Writes the frames of a stack and answers where each stands. With a level they are spans of their own.
fn stack(
    json: &mut Json,
    reader: &mut Reader<'_>,
    count: u32,
    raw: bool,
    level: Option<u32>,
    cx: &RenderContext<'_>,
) -> Result<Vec<(usize, usize)>> {
    let mut places = Vec::new();
    json.raw("[");
    for _ in 0..count {
        let frame = match reader.frame(raw)? {
            FrameRef::Host(StackFrame { code, position }) => (cx.describe_frame)(StackFrame { code, position }),
            FrameRef::Raw { file, function, line, column } => FrameText {
                file: text_of(cx.tables, file)?.to_owned(),
                function: text_of(cx.tables, function)?.to_owned(),
                line,
                column,
            },
        };
        json.comma();
        let span = level.map(|level| json.begin(SpanKind::Frame, None, level));
        let start = json.out.len();
        json.raw("{");
        if !frame.file.is_empty() {
            json.text("fileName", &frame.file);
        }
        json.text("function", &frame.function);
        json.number("lineNumber", frame.line);
        if frame.column > 0 {
            json.number("columnNumber", frame.column);
        }
        json.raw("}");
        places.push((start, json.out.len()));
        if let Some(span) = span {
            json.end(span);
        }
    }
    json.raw("]");
    Ok(places)
}

fn text_of<'a>(tables: &'a Tables, name: NameRef<'a>) -> Result<&'a str> {
    match name {
        NameRef::Implied => Ok(""),
        NameRef::Text(text) => Ok(text),
        NameRef::Id(id) => tables.name(id).ok_or_else(|| unknown("name", id)),
    }
}

/// A name as a key: a dot would be taken for nesting.
fn key_of<'a>(tables: &'a Tables, name: NameRef<'a>) -> Result<Cow<'a, str>> {
    let name = text_of(tables, name)?;
    Ok(if name.contains('.') { name.replace('.', "_").into() } else { name.into() })
}

const SECTIONS: [&str; 4] = ["arguments", "locals", "staticFields", "captureExpressions"];

fn captures(json: &mut Json, reader: &mut Reader<'_>, profile: &Profile, cx: &RenderContext<'_>) -> Result<()> {
    let values = Values { tables: cx.tables, profile };
    // The section that is open, and the level of what stands in the point.
    let mut section: Option<usize> = None;
    let mut level = 5;
    let close = |json: &mut Json, section: &mut Option<usize>| {
        if let Some(open) = section.take() {
            json.raw("}");
            json.end(open);
        }
    };
    // How many braces the open point closes with; lines stand in an object of their own.
    let mut closing = "";
    json.raw("{");
    while let Some(item) = reader.item()? {
        match item {
            Item::Point(point) => {
                close(json, &mut section);
                json.raw(closing);
                level = if matches!(point, Point::Line(_)) { 6 } else { 5 };
                closing = match point {
                    Point::Entry => {
                        json.key("entry");
                        "}"
                    }
                    Point::Return => {
                        json.key("return");
                        "}"
                    }
                    Point::Line(line) => {
                        json.key("lines");
                        json.raw("{");
                        json.name(&line.to_string());
                        "}}"
                    }
                };
                json.raw("{");
            }
            Item::Section(code) => {
                close(json, &mut section);
                json.name(SECTIONS.get(usize::from(code)).copied().unwrap_or_default());
                section = Some(json.begin(SpanKind::Section, None, level));
                json.raw("{");
            }
            Item::Named(name) => {
                json.name(&key_of(cx.tables, name)?);
                values.value(json, reader, section, level + 1, 0)?;
            }
            Item::Throwable(class) => {
                close(json, &mut section);
                json.key("throwable");
                throwable(json, reader, class, &values, level, cx)?;
            }
            Item::EndPoint(reason) => {
                close(json, &mut section);
                if let Some(reason) = lay::reason_text(reason) {
                    json.text("notCapturedReason", reason);
                }
                json.raw(closing);
                closing = "";
            }
            // Points are over: the stack comes, which is written elsewhere.
            Item::Stack { .. } | Item::Template(_) | Item::Failure(..) => break,
        }
    }
    close(json, &mut section);
    json.raw(closing);
    json.raw("}");
    Ok(())
}

fn throwable(
    json: &mut Json,
    reader: &mut Reader<'_>,
    class: NameRef<'_>,
    values: &Values<'_>,
    level: u32,
    cx: &RenderContext<'_>,
) -> Result<()> {
    json.raw("{");
    json.text("type", &values.type_name(class, lay::EXCEPTION)?);
    let mut message = String::new();
    match reader.clone().value()?.content {
        Content::Str { text, .. } => text.with(|text| text.push_to(&mut message)),
        Content::Withheld { reason: lay::REASON_REDACTED_TYPE | lay::REASON_REDACTED_IDENT, .. } => {
            message.push_str("{redacted}");
        }
        _ => {}
    }
    reader.skip()?;
    json.text("message", &message);
    json.key("stacktrace");
    let mut ahead = reader.clone();
    if let Some(Item::Stack { count, raw }) = ahead.item()? {
        stack(json, &mut ahead, count, raw, Some(level + 1), cx)?;
        *reader = ahead;
    } else {
        json.raw("[]");
    }
    json.raw("}");
    Ok(())
}

/// Writes values as JSON.
pub struct Values<'a> {
    /// The session's names and types.
    pub tables: &'a Tables,
    /// The language's spellings.
    pub profile: &'a Profile,
}

impl Values<'_> {
    fn type_name<'t>(&'t self, name: NameRef<'t>, tag: u8) -> Result<Cow<'t, str>> {
        match name {
            NameRef::Implied => Ok(self.profile.type_names.get(usize::from(tag)).copied().unwrap_or_default().into()),
            NameRef::Text(text) => Ok(text.into()),
            NameRef::Id(id) => self.tables.type_name(id).map(Cow::from).ok_or_else(|| unknown("type", id)),
        }
    }

    /// Writes the next value of a record (2.1). `level` is that of its object in the event, `depth` its nesting.
    pub fn value(
        &self,
        json: &mut Json,
        reader: &mut Reader<'_>,
        parent: Option<usize>,
        level: u32,
        depth: u32,
    ) -> Result<()> {
        reader.check_depth(depth)?;
        let node = reader.value()?;
        let span = json.begin(SpanKind::Value, parent, level);
        json.raw("{");
        let tag = if let Content::Withheld { kind, .. } = node.content { kind } else { node.tag };
        let class = self.type_name(node.type_name, tag)?;
        if !class.is_empty() {
            json.text("type", &class);
        }
        let scalar = |json: &mut Json, text: &str| json.text("value", text);
        match node.content {
            Content::Undefined | Content::Computed => {}
            Content::Null => {
                json.key("isNull");
                json.raw("true");
            }
            Content::Bool(truth) => scalar(json, self.profile.booleans[usize::from(truth)]),
            Content::Int(int) => {
                json.key("value");
                json.out.push(b'"');
                json.integer(int.into());
                json.out.push(b'"');
            }
            Content::Float(float) => scalar(json, &(self.profile.float)(float)),
            Content::Complex(real, imaginary) => scalar(json, &number::python_complex(real, imaginary)),
            Content::Big { negative, width, bits, dropped, digits } => {
                let digits = number::integer_text(negative, width, bits, dropped, digits);
                scalar(json, &digits.text);
                cut(json, digits.cut_from);
            }
            Content::Decimal { negative, exponent, dropped, words } => {
                let Digits { text, cut_from } = number::decimal_text(negative, exponent, dropped, words);
                let [before, after] = self.profile.decimal;
                scalar(json, &format!("{before}{text}{after}"));
                cut(json, cut_from);
            }
            Content::Str { text, size } => match text {
                // Almost every string: nothing in it is escaped, in the language or in JSON.
                Stored::Utf8(plain) if is_plain(plain.as_bytes()) => {
                    json.key("value");
                    json.plain(self.profile.quote, plain.as_bytes());
                    cut(json, (size > plain.len() as u64).then_some(size));
                }
                Stored::Latin1(plain) if is_plain(plain) => {
                    json.key("value");
                    json.plain(self.profile.quote, plain);
                    cut(json, (size > plain.len() as u64).then_some(size));
                }
                _ => {
                    scalar(json, &text.with(|text| (self.profile.string)(text)));
                    cut(json, (size > text.units() as u64).then_some(size));
                }
            },
            Content::Bytes { bytes, size } => {
                scalar(json, &(self.profile.bytes)(bytes));
                cut(json, (size > bytes.len() as u64).then_some(size));
            }
            Content::List { size, children } | Content::Set { size, children } => {
                let elements = |json: &mut Json, reader: &mut Reader<'_>| {
                    json.comma();
                    self.value(json, reader, Some(span), level + 1, depth + 1)
                };
                container(json, reader, span, "elements[", children, elements)?;
                json.number("size", size);
            }
            Content::Map { size, children } => {
                let entries = |json: &mut Json, reader: &mut Reader<'_>| {
                    json.comma();
                    json.raw("[");
                    self.value(json, reader, Some(span), level + 1, depth + 1)?;
                    json.raw(",");
                    self.value(json, reader, Some(span), level + 1, depth + 1)?;
                    json.raw("]");
                    Ok(())
                };
                container(json, reader, span, "entries[", children, entries)?;
                json.number("size", size);
            }
            Content::Object(children) => {
                let fields = |json: &mut Json, reader: &mut Reader<'_>| {
                    let name = reader.name()?;
                    if !self.profile.getters && reader.next_tag()? == lay::COMPUTED {
                        return reader.skip();
                    }
                    json.name(&key_of(self.tables, name)?);
                    // The object `fields` is a level of its own.
                    self.value(json, reader, Some(span), level + 2, depth + 1)
                };
                container(json, reader, span, "fields{", children, fields)?;
            }
            // Templates only; in a capture an exception is an object.
            Content::Exception => {
                reader.skip()?;
                json.key("fields");
                json.raw("{}");
            }
            Content::Iterator("") | Content::Opaque => {
                json.key("fields");
                json.raw("{}");
            }
            Content::Enum(text) | Content::Function(text) | Content::Iterator(text) | Content::Scalar(text) => {
                scalar(json, text);
            }
            Content::Withheld { reason, text, .. } => {
                json.incomplete(span, reason == lay::REASON_DEPTH);
                json.text("notCapturedReason", lay::reason_text(reason).unwrap_or(text));
            }
        }
        json.raw("}");
        json.end(span);
        Ok(())
    }
}

/// Marks a scalar as cut, with its true length.
fn cut(json: &mut Json, from: Option<u64>) {
    if let Some(size) = from {
        json.key("truncated");
        json.raw("true");
        json.number("size", size);
    }
}

/// Writes the children of a container and why there are not more. `key` ends with the bracket.
fn container<'r>(
    json: &mut Json,
    reader: &mut Reader<'r>,
    span: usize,
    key: &'static str,
    children: Children,
    mut child: impl FnMut(&mut Json, &mut Reader<'r>) -> Result<()>,
) -> Result<()> {
    let (name, bracket) = key.split_at(key.len() - 1);
    if children.reason != lay::REASON_DEPTH {
        json.key(name);
        json.raw(bracket);
        for _ in 0..children.count {
            child(json, reader)?;
        }
        json.raw(if bracket == "[" { "]" } else { "}" });
    } else if children.count > 0 {
        return Err(Error::new(ErrorKind::BadRecord, "bad record: an unopened container has children"));
    }
    if let Some(reason) = lay::reason_text(children.reason) {
        json.incomplete(span, children.reason == lay::REASON_DEPTH);
        json.text("notCapturedReason", reason);
    }
    Ok(())
}

//! What people see: each event as a few lines on stderr, and at the end a line per probe. On the walk of a hit going out,
//! at its end; before it `worker.rs`. It reads the event's JSON back, on the worker, so that what is shown is what is sent.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::Write;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::{EventView, MetricView, Sink, SpanView, StatusView};
use crate::emit::statsd;
use crate::probe::model::MetricKind;
use crate::stats::SKIPS;

/// Lines of values shown of one event.
const MAX_LINES: usize = 40;
/// Lines of the message shown.
const MAX_MESSAGE_LINES: usize = 8;
/// The width where there is no terminal to ask.
const WIDTH: usize = 120;
/// Narrower than this nothing is readable: then lines are left to the terminal to wrap.
const MIN_WIDTH: usize = 40;
/// Frames of the stack shown, if they fit into the line.
const MAX_FRAMES: usize = 6;
/// Columns of an id that are shown at least.
const MIN_ID: usize = 24;
/// Levels of a value that are unfolded at most.
const LEVELS: usize = 8;

/// How it looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// With colours.
    pub colors: bool,
    /// Columns of a line; 0: 120.
    pub width: usize,
    /// Seconds that local time is ahead of UTC; unknown: UTC is shown, with a `Z`.
    pub utc_offset: Option<i32>,
}

impl Look {
    fn columns(&self) -> usize {
        if self.width == 0 { WIDTH } else { self.width.max(MIN_WIDTH) }
    }
}

/// Writes for people.
pub struct TerminalSink {
    out: Box<dyn Write + Send>,
    look: Look,
    /// Asked before each event: windows change.
    asks: Option<AskLook>,
    lost: u64,
}

/// Says how it looks now.
pub type AskLook = Box<dyn Fn() -> Look + Send>;

impl TerminalSink {
    /// Writes to what may look otherwise each time.
    pub fn changing(out: Box<dyn Write + Send>, asks: AskLook) -> Self {
        TerminalSink { out, look: Look::default(), asks: Some(asks), lost: 0 }
    }

    /// Writes to anything.
    pub fn new(out: Box<dyn Write + Send>, look: Look) -> Self {
        TerminalSink { out, look, asks: None, lost: 0 }
    }

    /// Writes the lines for the end.
    pub fn summary(&mut self, probes: &[ProbeSummary<'_>]) {
        self.refresh();
        let text = summary(probes, self.look);
        self.write(&text);
    }

    fn refresh(&mut self) {
        if let Some(asks) = &self.asks {
            self.look = asks();
        }
    }

    /// Whole, in one call, so that the program's own output never stands in the middle of an event.
    fn write(&mut self, text: &str) {
        if !text.is_empty() && self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).is_err() {
            self.lost += 1;
        }
    }
}

impl Sink for TerminalSink {
    fn event(&mut self, event: &EventView<'_>) {
        self.refresh();
        let text = self::event(event, self.look);
        self.write(&text);
    }

    fn metric(&mut self, metric: &MetricView<'_>) {
        self.refresh();
        let text = self::metric(metric, self.look);
        self.write(&text);
    }

    fn span(&mut self, span: &SpanView<'_>) {
        self.refresh();
        let text = self::span(span, self.look);
        self.write(&text);
    }

    fn status(&mut self, status: &StatusView<'_>) {
        self.refresh();
        let text = self::status(status, self.look);
        self.write(&text);
    }

    fn flush(&mut self) {}

    fn lost(&self) -> u64 {
        self.lost
    }
}

/// What the end says of one probe.
#[derive(Clone, Debug, Default)]
pub struct ProbeSummary<'a> {
    /// Its id.
    pub probe: &'a str,
    /// Where it is, for people.
    pub site: &'a str,
    /// How often its place was reached, as far as hits were counted.
    pub hits: u64,
    /// There may have been more hits: while a probe rests, they are not counted.
    pub missed: bool,
    /// Events that were made.
    pub emitted: u64,
    /// Values that were measured; `None`: it is no metric probe.
    pub measured: Option<u64>,
    /// Hits whose condition, or the value of their metric, failed.
    pub failed: u64,
    /// Why, as far as it is kept: the latest reason first, each with how often.
    pub failures: Vec<(&'a str, u64)>,
    /// Hits that made none, and events that were lost, by reason.
    pub dropped: Vec<(&'a str, u64)>,
    /// Why it never fired, or what else is to be said.
    pub note: Option<&'a str>,
}

// ---- lines -----------------------------------------------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tone {
    Plain,
    /// What stands back: times, types, punctuation.
    Quiet,
    /// A name.
    Name,
    /// A place.
    Place,
    /// The message.
    Strong,
    /// What went wrong.
    Alarm,
    /// What is withheld or cut.
    Note,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Tone::Plain => "",
            Tone::Quiet => "\x1b[2m",
            Tone::Name => "\x1b[34m",
            Tone::Place => "\x1b[36m",
            Tone::Strong => "\x1b[1m",
            Tone::Alarm => "\x1b[31m",
            Tone::Note => "\x1b[33m",
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Line {
    spans: Vec<(Tone, String)>,
    /// Columns of all of them: asked again and again while a line grows.
    width: usize,
}

impl Line {
    fn indented(columns: usize) -> Self {
        Line { spans: vec![(Tone::Plain, " ".repeat(columns))], width: columns }
    }

    /// Adds text from anywhere: what would move the cursor or colour the screen is shown, not done.
    fn add(mut self, tone: Tone, text: &str) -> Self {
        let mut clean = String::with_capacity(text.len());
        escape(text, &mut clean);
        self.width += columns(&clean);
        self.spans.push((tone, clean));
        self
    }

    /// As much of it as fits.
    fn cut(self, room: usize) -> Self {
        if self.width() <= room {
            return self;
        }
        let (mut left, mut spans) = (room.saturating_sub(1), Vec::new());
        for (tone, text) in self.spans {
            let shown = prefix(&text, left).to_owned();
            left -= columns(&shown);
            let cut = shown.len() < text.len();
            spans.push((tone, shown));
            if cut {
                spans.push((Tone::Plain, "…".to_owned()));
                break;
            }
        }
        let width = spans.iter().map(|(_, text)| columns(text)).sum();
        Line { spans, width }
    }

    fn width(&self) -> usize {
        self.width
    }

    fn write(&self, look: Look, out: &mut String) {
        let mut left = look.columns();
        let cut = self.width() > left;
        if cut {
            left -= 1;
        }
        for (tone, text) in &self.spans {
            let shown = prefix(text, left);
            left -= columns(shown);
            if look.colors && *tone != Tone::Plain && !shown.is_empty() {
                out.push_str(tone.code());
                out.push_str(shown);
                out.push_str("\x1b[0m");
            } else {
                out.push_str(shown);
            }
            if shown.len() < text.len() {
                break;
            }
        }
        if cut {
            out.push('…');
        }
        out.push('\n');
    }
}

/// Columns that a character takes. Close enough for cutting a line: the wide scripts and the marks that take none.
fn width_of(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036F | 0x200B..=0x200F | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

fn columns(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// The longest beginning that fits.
fn prefix(text: &str, room: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += width_of(c);
        if used > room {
            return text.get(..at).unwrap_or_default();
        }
    }
    text
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Control characters, and those that turn the direction of writing.
            c if c.is_control() || matches!(u32::from(c), 0x2028..=0x202E | 0x2066..=0x2069) => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

// ---- JSON in its own order -------------------------------------------------------------------------------------------

/// A JSON value whose objects keep the order of their members: that of capture is the one people expect. Its texts are
/// those of the event, which has thousands of them.
#[derive(Debug)]
enum Json<'e> {
    Null,
    Scalar(Cow<'e, str>),
    List(Vec<Json<'e>>),
    Map(Vec<(Cow<'e, str>, Json<'e>)>),
}

impl<'e> Json<'e> {
    fn get(&self, name: &str) -> Option<&Json<'e>> {
        self.members().iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn at(&self, path: &[&str]) -> Option<&Json<'e>> {
        path.iter().try_fold(self, |json, name| json.get(name))
    }

    fn text(&self, name: &str) -> Option<&str> {
        if let Some(Json::Scalar(text)) = self.get(name) { Some(text) } else { None }
    }

    fn members(&self) -> &[(Cow<'e, str>, Json<'e>)] {
        if let Json::Map(members) = self { members } else { &[] }
    }

    fn items(&self) -> &[Json<'e>] {
        if let Json::List(items) = self { items } else { &[] }
    }
}

impl<'de: 'e, 'e> Deserialize<'de> for Json<'e> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }
    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Scalar(Cow::Borrowed(if value { "true" } else { "false" })))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Scalar(value.to_string().into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Scalar(value.to_string().into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Json<'de>, E> {
        Ok(Json::Scalar(value.to_string().into()))
    }
    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Scalar(Cow::Borrowed(value)))
    }
    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::Scalar(value.to_owned().into()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Json::Map(members))
    }
}

/// The name of a member.
#[derive(Deserialize)]
struct Name<'e>(#[serde(borrow)] Cow<'e, str>);

// ---- values ----------------------------------------------------------------------------------------------------------

/// How the children of a value are bracketed on one line.
struct Shape {
    open: String,
    close: &'static str,
}

fn kind_of<'a>(value: &'a Json<'_>) -> &'a str {
    value.text("type").unwrap_or_default()
}

/// The last part of a type's name: packages are noise on a screen.
fn short(kind: &str) -> &str {
    kind.rsplit('.').next().unwrap_or(kind)
}

fn shape(value: &Json<'_>) -> Shape {
    let kind = short(kind_of(value));
    if value.get("fields").is_some() {
        return Shape { open: format!("{kind}("), close: ")" };
    }
    let (open, close) = match (value.get("entries").is_some(), kind) {
        (true, "dict" | "Map" | "HashMap" | "Hash" | "array") | (false, "set" | "Set") => (String::from("{"), "}"),
        (true, _) | (false, "frozenset" | "HashSet") => (format!("{kind}{{"), "}"),
        (false, "tuple") => (String::from("("), ")"),
        (false, "list" | "Array" | "ArrayList" | "array") => (String::from("["), "]"),
        (false, _) if kind.ends_with("[]") => (String::from("["), "]"),
        (false, _) => (format!("{kind}["), "]"),
    };
    Shape { open, close }
}

/// A child and what stands before it.
enum Label<'a> {
    Field(&'a str),
    Key(&'a Json<'a>),
    Position(usize),
}

fn children<'a>(value: &'a Json<'a>) -> Option<Vec<(Label<'a>, &'a Json<'a>)>> {
    if let Some(fields) = value.get("fields") {
        return Some(fields.members().iter().map(|(name, child)| (Label::Field(name), child)).collect());
    }
    if let Some(elements) = value.get("elements") {
        return Some(elements.items().iter().enumerate().map(|(at, child)| (Label::Position(at), child)).collect());
    }
    let entries = value.get("entries")?.items().iter();
    Some(
        entries
            .filter_map(|entry| if let [key, child] = entry.items() { Some((Label::Key(key), child)) } else { None })
            .collect(),
    )
}

/// What is missing from a container, in words; `None` if all is there.
fn missing(value: &Json<'_>, shown: usize) -> Option<String> {
    let reason = value.text("notCapturedReason")?;
    let size: Option<usize> = value.text("size").and_then(|size| size.parse().ok());
    match (reason, size) {
        ("collectionSize", Some(size)) if size > shown => Some(format!("… {} more", grouped((size - shown) as u64))),
        ("collectionSize" | "fieldCount", _) => Some("… more".to_owned()),
        ("timeout", _) => Some("… out of time".to_owned()),
        (other, _) => Some(format!("… {other}")),
    }
}

/// A value without children as spans: a scalar, a null, a stub.
fn leaf(value: &Json<'_>, line: Line) -> Line {
    if value.get("pruned").is_some() {
        return line.add(Tone::Note, "‹cut: the event was too large›");
    }
    let kind = kind_of(value);
    if let Some(text) = value.text("value") {
        let line = line.add(Tone::Plain, text);
        return match (value.text("truncated"), value.text("size")) {
            (Some("true"), Some(size)) => {
                line.add(Tone::Note, &format!("… of {}", size.parse().map_or(size.to_owned(), grouped)))
            }
            (Some("true"), None) => line.add(Tone::Note, "…"),
            _ => line,
        };
    }
    if value.get("isNull").is_some() {
        return line.add(Tone::Plain, if kind == "NoneType" { "None" } else { "null" });
    }
    if let Some(hash) = value.text("hash") {
        let size = value.text("size").map_or_else(String::new, |size| format!("({size})"));
        let line = line.add(Tone::Plain, short(kind)).add(Tone::Quiet, &size);
        return line.add(Tone::Note, &format!(" #{hash}"));
    }
    match value.text("notCapturedReason") {
        Some("redactedIdent" | "redactedType") => line.add(Tone::Note, "‹redacted›"),
        Some("depth") => {
            let line = line.add(Tone::Quiet, short(kind));
            match value.text("size") {
                Some("0") => line.add(Tone::Quiet, "(empty)"),
                Some(size) => line.add(Tone::Quiet, &format!("({size} inside)")),
                None => line.add(Tone::Quiet, "(…)"),
            }
        }
        Some("timeout") => line.add(Tone::Quiet, short(kind)).add(Tone::Note, " ‹out of time›"),
        Some(reason) => line.add(Tone::Quiet, short(kind)).add(Tone::Note, &format!(" ‹{reason}›")),
        None => line.add(Tone::Plain, if kind.is_empty() { "…" } else { short(kind) }),
    }
}

/// A value on one line, if it fits into `room` columns behind what the line has already.
fn inline(value: &Json<'_>, line: Line, room: usize) -> Option<Line> {
    let Some(children) = children(value) else {
        return Some(leaf(value, line));
    };
    let shape = shape(value);
    let shown = children.len();
    let mut line = line.add(Tone::Quiet, &shape.open);
    for (at, (label, child)) in children.iter().enumerate() {
        if at > 0 {
            line = line.add(Tone::Quiet, ", ");
        }
        line = match label {
            Label::Position(_) => line,
            Label::Field(name) => line.add(Tone::Name, name).add(Tone::Quiet, "="),
            Label::Key(key) => inline(key, line, room)?.add(Tone::Quiet, ": "),
        };
        line = inline(child, line, room)?;
        // Given up as soon as it is too long, so that a wide value costs no more than a line.
        if line.width() > room {
            return None;
        }
    }
    if let Some(missing) = missing(value, shown) {
        let gap = if shown > 0 { ", " } else { "" };
        line = line.add(Tone::Quiet, gap).add(Tone::Note, &missing);
    }
    // Without its comma a tuple of one would look like a value in brackets.
    let line = if shape.open == "(" && shown == 1 && missing(value, shown).is_none() {
        line.add(Tone::Quiet, ",")
    } else {
        line
    };
    let line = line.add(Tone::Quiet, shape.close);
    (line.width() <= room).then_some(line)
}

/// How much of a value is unfolded.
#[derive(Clone, Copy)]
struct Extent {
    /// Columns of a line.
    room: usize,
    /// Levels below the value.
    levels: usize,
    /// Lines after which it is known that there are too many: a wide value costs no more than what is shown.
    most: usize,
}

/// A value as lines: on one if it fits, else its children below it.
fn tree(value: &Json<'_>, start: Line, indent: usize, extent: Extent, lines: &mut Vec<Line>) {
    let Extent { room, levels, most } = extent;
    if let Some(line) = inline(value, start.clone(), room) {
        lines.push(line);
        return;
    }
    let children = children(value).unwrap_or_default();
    let kind = short(kind_of(value));
    let mut head = start.add(Tone::Quiet, kind);
    if value.get("fields").is_none()
        && let Some(size) = value.text("size")
    {
        head = head.add(Tone::Quiet, &format!(" of {}", size.parse().map_or(size.to_owned(), grouped)));
    }
    if levels == 0 {
        lines.push(head.add(Tone::Note, " …"));
        return;
    }
    lines.push(head);
    let indent = indent + 2;
    if value.get("elements").is_some() && children.iter().all(|(_, child)| self::children(child).is_none()) {
        flow(&children, missing(value, children.len()), indent, extent, lines);
        return;
    }
    for (label, child) in &children {
        if lines.len() > most {
            return;
        }
        let start = Line::indented(indent);
        let start = match label {
            Label::Field(name) => start.add(Tone::Name, name).add(Tone::Quiet, " = "),
            Label::Position(at) => start.add(Tone::Quiet, &format!("{at} = ")),
            Label::Key(key) => {
                let alone = start.clone();
                inline(key, start, room / 2)
                    .unwrap_or_else(|| alone.add(Tone::Quiet, short(kind_of(key))))
                    .add(Tone::Quiet, ": ")
            }
        };
        tree(child, start, indent, Extent { levels: levels - 1, ..extent }, lines);
    }
    if let Some(missing) = missing(value, children.len()) {
        lines.push(Line::indented(indent).add(Tone::Note, &missing));
    }
}

/// The scalars of a long list, as many on a line as fit.
fn flow(
    children: &[(Label<'_>, &Json<'_>)],
    missing: Option<String>,
    indent: usize,
    extent: Extent,
    lines: &mut Vec<Line>,
) {
    let mut line = Line::indented(indent);
    for (at, (_, child)) in children.iter().enumerate() {
        let item = leaf(child, Line::default());
        if at > 0 && line.width() + item.width() + 2 > extent.room {
            lines.push(std::mem::replace(&mut line, Line::indented(indent)));
            if lines.len() > extent.most {
                return;
            }
        }
        line.width += item.width;
        line.spans.extend(item.spans);
        line = line.add(Tone::Quiet, ", ");
    }
    // The last comma goes.
    line.spans.pop();
    line.width = line.width.saturating_sub(2);
    lines.push(line);
    lines.extend(missing.map(|missing| Line::indented(indent).add(Tone::Note, &missing)));
}

// ---- an event --------------------------------------------------------------------------------------------------------

/// An event as text.
pub fn event(event: &EventView<'_>, look: Look) -> String {
    let json: Option<Json> = serde_json::from_slice(event.json).ok();
    let snapshot = json.as_ref().and_then(|json| json.at(&["debugger", "snapshot"]));
    let mut out = String::new();
    header(event, json.as_ref(), look).write(look, &mut out);
    message(event.message, look, &mut out);
    let mut parts = Vec::new();
    if let Some(captures) = snapshot.and_then(|snapshot| snapshot.get("captures")) {
        captured(captures, look, &mut parts);
    }
    for line in share(parts, look) {
        line.write(look, &mut out);
    }
    match snapshot {
        Some(snapshot) => {
            failures(snapshot, event.message, look, &mut out);
            stack(snapshot, look, &mut out);
        }
        None => Line::indented(4).add(Tone::Note, "‹its values cannot be shown›").write(look, &mut out),
    }
    out.push('\n');
    out
}

fn header(event: &EventView<'_>, json: Option<&Json<'_>>, look: Look) -> Line {
    let mut line = Line::default()
        .add(Tone::Quiet, &clock(event.time, look.utc_offset))
        .add(Tone::Plain, "  ")
        .add(Tone::Place, event.site);
    if let Some(function) = json
        .and_then(|json| json.get("logger"))
        .and_then(|logger| logger.text("method"))
        .filter(|name| !name.is_empty())
    {
        line = line.add(Tone::Plain, "  ").add(Tone::Plain, function);
    }
    if let Some(nanos) = json.and_then(|json| json.text("duration")).and_then(|text| text.parse().ok()) {
        line = line.add(Tone::Plain, "  ").add(Tone::Quiet, &duration(nanos));
    }
    if event.probe == event.site {
        // A probe that is called by its place needs no name beside it.
        return line.cut(look.columns());
    }
    let (room, brackets) = (look.columns(), "  []".len());
    let id = middle(event.probe, room.saturating_sub(line.width() + brackets).max(MIN_ID));
    // The id tells probes apart: what stands before it is cut first.
    let line = line.cut(room.saturating_sub(columns(&id) + brackets));
    line.add(Tone::Plain, "  ").add(Tone::Quiet, &format!("[{id}]"))
}

/// Both ends of a text that is too long for its room: ids differ at either.
fn middle(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let head = prefix(text, room / 3);
    let rest = room.saturating_sub(columns(head) + 1);
    let (mut from, mut used) = (text.len(), 0);
    for (at, c) in text.char_indices().rev() {
        used += width_of(c);
        if used > rest {
            break;
        }
        from = at;
    }
    format!("{head}…{}", text.get(from..).unwrap_or_default())
}

fn message(text: &str, look: Look, out: &mut String) {
    if text.is_empty() {
        return;
    }
    let count = text.lines().count();
    for line in text.lines().take(MAX_MESSAGE_LINES) {
        Line::indented(2).add(Tone::Strong, line).write(look, out);
    }
    if count > MAX_MESSAGE_LINES {
        let more = format!("… {} more lines", grouped((count - MAX_MESSAGE_LINES) as u64));
        Line::indented(2).add(Tone::Note, &more).write(look, out);
    }
}

/// A part of what was captured.
enum Part<'a> {
    /// Lines that stand as they are.
    Fixed(Vec<Line>),
    /// A variable.
    Value { value: &'a Json<'a>, start: Line, indent: usize, special: bool },
}

impl Part<'_> {
    /// Its lines; of a variable that has more than `most`, some more than so many.
    fn lines(&self, levels: usize, most: usize, look: Look) -> Vec<Line> {
        match self {
            Part::Fixed(lines) => lines.clone(),
            Part::Value { value, start, indent, .. } => {
                let mut lines = Vec::new();
                tree(value, start.clone(), *indent, Extent { room: look.columns(), levels, most }, &mut lines);
                lines
            }
        }
    }

    /// Never hidden: what a method gave or threw, and headings.
    fn stays(&self) -> bool {
        matches!(self, Part::Fixed(_) | Part::Value { special: true, .. })
    }

    /// At most so many lines: what lies deep is folded first, then the end is cut.
    fn folded(&self, most: usize, look: Look) -> Vec<Line> {
        for levels in (1..LEVELS).rev() {
            let lines = self.lines(levels, most, look);
            if lines.len() <= most {
                return lines;
            }
            if levels == 1 && most > 2 {
                let lines = self.lines(levels, usize::MAX, look);
                let indent = if let Part::Value { indent, .. } = self { indent + 2 } else { 4 };
                let more = format!("… {} more lines", grouped((lines.len() + 1 - most) as u64));
                let mut lines: Vec<Line> = lines.into_iter().take(most - 1).collect();
                lines.push(Line::indented(indent).add(Tone::Note, &more));
                return lines;
            }
        }
        self.lines(0, most, look)
    }
}

/// The lines of all parts. If there are too many, each part gets its share of them: no big variable hides the others.
fn share(mut parts: Vec<Part<'_>>, look: Look) -> Vec<Line> {
    let mut hidden = 0;
    if parts.len() > MAX_LINES + 1 {
        let mut left = MAX_LINES.saturating_sub(parts.iter().filter(|part| part.stays()).count());
        let before = parts.len();
        parts.retain(|part| {
            let shown = part.stays() || left > 0;
            left -= usize::from(shown && !part.stays());
            shown
        });
        hidden = before - parts.len();
    }
    let whole: Vec<Vec<Line>> = parts.iter().map(|part| part.lines(LEVELS, MAX_LINES + 1, look)).collect();
    let total: usize = whole.iter().map(Vec::len).sum();
    // One line more is shown rather than hidden behind a line that says so.
    let mut left = if total <= MAX_LINES + 1 { total } else { MAX_LINES };
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&at| (matches!(parts.get(at), Some(Part::Value { .. })), whole.get(at).map_or(0, Vec::len)));
    let mut granted = vec![1; parts.len()];
    for (done, &at) in order.iter().enumerate() {
        let wanted = whole.get(at).map_or(0, Vec::len);
        let fair = if matches!(parts.get(at), Some(Part::Fixed(_))) { wanted } else { left / (order.len() - done) };
        if let Some(granted) = granted.get_mut(at) {
            *granted = wanted.min(fair.max(1));
            left = left.saturating_sub(*granted);
        }
    }
    let mut lines = Vec::new();
    for ((part, whole), most) in parts.iter().zip(whole).zip(granted) {
        lines.extend(if whole.len() <= most { whole } else { part.folded(most, look) });
    }
    if hidden > 0 {
        lines.push(Line::indented(4).add(Tone::Note, &format!("… {} more names", grouped(hidden as u64))));
    }
    lines
}

fn captured<'a>(captures: &'a Json<'a>, look: Look, parts: &mut Vec<Part<'a>>) {
    let mut points: Vec<(&str, &Json<'_>)> = Vec::new();
    for (name, point) in captures.members() {
        match &**name {
            "lines" => points.extend(point.members().iter().map(|(_, point)| ("", point))),
            "entry" => points.push(("on entry", point)),
            "return" => points.push(("on return", point)),
            _ => {}
        }
    }
    let both = points.iter().filter(|(_, point)| !is_empty(point)).count() > 1;
    for (name, point) in points {
        if both && !name.is_empty() && !is_empty(point) {
            parts.push(Part::Fixed(vec![Line::indented(4).add(Tone::Quiet, name)]));
        }
        point_parts(point, if both { 6 } else { 4 }, look, parts);
    }
}

fn is_empty(point: &Json<'_>) -> bool {
    point.members().iter().all(|(_, section)| section.members().is_empty() && !matches!(section, Json::Scalar(_)))
}

fn point_parts<'a>(point: &'a Json<'a>, indent: usize, look: Look, parts: &mut Vec<Part<'a>>) {
    for (section, content) in point.members() {
        match &**section {
            "arguments" | "locals" | "captureExpressions" | "staticFields" => {
                for (name, value) in content.members() {
                    let start = Line::indented(indent);
                    let start = if section == "staticFields" { start.add(Tone::Quiet, "static ") } else { start };
                    let start = start.add(Tone::Name, name).add(Tone::Quiet, " = ");
                    parts.push(Part::Value { value, start, indent, special: name.starts_with('@') });
                }
            }
            "throwable" => parts.push(Part::Fixed(throwable(content, several_arguments(point), indent, look))),
            "notCapturedReason" => {
                parts.push(Part::Fixed(vec![Line::indented(indent).add(Tone::Note, "… more names")]));
            }
            _ => {}
        }
    }
}

/// The arguments of the exception that was raised, if it has several: its message is only one of them.
fn several_arguments<'a>(point: &'a Json<'a>) -> Option<&'a Json<'a>> {
    let arguments = point.at(&["locals", "@exception", "fields", "args"])?;
    (arguments.get("elements")?.items().len() > 1).then_some(arguments)
}

fn throwable(content: &Json<'_>, arguments: Option<&Json<'_>>, indent: usize, look: Look) -> Vec<Line> {
    let Some(kind) = content.text("type") else { return Vec::new() };
    let text = content.text("message").unwrap_or_default();
    let colon = if text.is_empty() { "" } else { ": " };
    let raised = Line::indented(indent).add(Tone::Alarm, &format!("raised {}", short(kind)));
    let whole = arguments.and_then(|arguments| inline(arguments, raised.clone(), look.columns()));
    let mut lines = vec![whole.unwrap_or_else(|| raised.add(Tone::Alarm, &format!("{colon}{text}")))];
    if let Some(frames) = content.get("stacktrace") {
        lines.extend(frames_line("from ", frames.items(), indent + 2, look));
    }
    lines
}

fn failures(snapshot: &Json<'_>, message: &str, look: Look, out: &mut String) {
    for failure in snapshot.get("evaluationErrors").map_or(&[][..], Json::items) {
        let (expression, text) =
            (failure.text("expr").unwrap_or_default(), failure.text("message").unwrap_or_default());
        // The message of a condition that failed is the failure itself.
        let text = if text == message { "" } else { text };
        let gap = if expression.is_empty() || text.is_empty() { "" } else { ": " };
        if !expression.is_empty() || !text.is_empty() {
            Line::indented(4).add(Tone::Alarm, &format!("could not evaluate {expression}{gap}{text}")).write(look, out);
        }
    }
}

fn stack(snapshot: &Json<'_>, look: Look, out: &mut String) {
    let frames = snapshot.get("stack").map_or(&[][..], Json::items);
    if let Some(line) = frames_line("at ", frames, 4, look) {
        line.write(look, out);
    }
}

/// As many frames as fit into one line, the innermost first.
fn frames_line(word: &str, frames: &[Json<'_>], indent: usize, look: Look) -> Option<Line> {
    let mut line = Line::indented(indent).add(Tone::Quiet, word).add(Tone::Quiet, &frame(frames.first()?));
    let mut shown = 1;
    // Room for ` ← … 128 more`.
    let room = look.columns().saturating_sub(14);
    for next in frames.iter().skip(1).take(MAX_FRAMES - 1) {
        let longer = line.clone().add(Tone::Quiet, " ← ").add(Tone::Quiet, &frame(next));
        if longer.width() > room {
            break;
        }
        line = longer;
        shown += 1;
    }
    let more = frames.len() - shown;
    Some(if more > 0 { line.add(Tone::Quiet, &format!(" ← … {more} more")) } else { line })
}

fn frame(frame: &Json<'_>) -> String {
    let function = frame.text("function").filter(|name| !name.is_empty()).unwrap_or("?");
    let path = frame.text("fileName").unwrap_or("?");
    let file = path.rsplit(['/', '\\']).next().unwrap_or(path);
    match frame.text("lineNumber") {
        Some(line) => format!("{function} {file}:{line}"),
        None => format!("{function} {file}"),
    }
}

// ---- statuses and the end --------------------------------------------------------------------------------------------

/// What was measured in a second, in one line.
pub fn metric(metric: &MetricView<'_>, look: Look) -> String {
    let mut out = String::new();
    let line = Line::default().add(Tone::Quiet, &clock(metric.time, look.utc_offset)).add(Tone::Plain, "  ");
    let line = line.add(Tone::Quiet, &format!("[{}] ", metric.probe)).add(Tone::Place, metric.name);
    line.add(Tone::Plain, "  ").add(Tone::Strong, &measured(metric)).write(look, &mut out);
    out
}

/// A span of ours, in one line.
pub fn span(span: &SpanView<'_>, look: Look) -> String {
    let mut out = String::new();
    let line = Line::default().add(Tone::Quiet, &clock(span.time, look.utc_offset)).add(Tone::Plain, "  ");
    let line = line.add(Tone::Quiet, &format!("[{}] ", span.probe)).add(Tone::Place, span.resource);
    let milliseconds = format!("{:.3} ms", span.duration as f64 / 1e6);
    let line = line.add(Tone::Plain, "  ").add(Tone::Strong, &milliseconds);
    match span.error {
        Some(error) => line.add(Tone::Plain, "  ").add(Tone::Alarm, error).write(look, &mut out),
        None => line.write(look, &mut out),
    }
    out
}

fn measured(metric: &MetricView<'_>) -> String {
    let values = metric.values;
    let text = |value: f64| {
        let mut out = Vec::new();
        statsd::number(value, &mut out);
        String::from_utf8(out).unwrap_or_default()
    };
    let first = values.first().copied().unwrap_or_default();
    match metric.kind {
        MetricKind::Count if first >= 0.0 => format!("+{}", text(first)),
        MetricKind::Count | MetricKind::Gauge => text(first),
        MetricKind::Histogram | MetricKind::Distribution => {
            let least = values.iter().copied().fold(first, f64::min);
            let most = values.iter().copied().fold(first, f64::max);
            let count = values.len() as u64 * u64::from(metric.one_in);
            let count = format!("{}{} values", if metric.one_in > 1 { "≈ " } else { "" }, grouped(count));
            match values.len() {
                1 if metric.one_in == 1 => text(first),
                _ => format!("{count}, {} to {}", text(least), text(most)),
            }
        }
    }
}

/// A status as text; empty for those that tell people nothing.
pub fn status(status: &StatusView<'_>, look: Look) -> String {
    let tone = match status.status {
        "ERROR" | "BLOCKED" => Tone::Alarm,
        "INSTALLED" => Tone::Quiet,
        _ => return String::new(),
    };
    let mut out = String::new();
    let line = Line::default().add(Tone::Quiet, &clock(status.time, look.utc_offset)).add(Tone::Plain, "  ");
    let line = line.add(Tone::Quiet, &format!("[{}] ", status.probe));
    // Not cut to the width: the reason is what somebody has to act on.
    line.add(tone, status.message).write(Look { width: usize::MAX, ..look }, &mut out);
    out
}

/// The lines for the end: one per probe, and below it why it never fired. Nothing in them is cut: ids tell probes apart.
pub fn summary(probes: &[ProbeSummary<'_>], look: Look) -> String {
    if probes.is_empty() {
        return String::new();
    }
    let ids: Vec<&str> = probes.iter().map(|probe| probe.probe).collect();
    // A probe that is called by its place needs no place beside it.
    let sites: Vec<&str> = probes.iter().map(|probe| if probe.site == probe.probe { "" } else { probe.site }).collect();
    let hits: Vec<String> =
        probes.iter().map(|probe| format!("{}{}", if probe.missed { "≥ " } else { "" }, grouped(probe.hits))).collect();
    let shown: Vec<String> = probes.iter().map(|probe| grouped(probe.measured.unwrap_or(probe.emitted))).collect();
    let most = look.columns() / 2;
    let (id_width, site_width) = (widest(ids.iter().copied(), most), widest(sites.iter().copied(), most));
    let (hits_width, shown_width) =
        (widest(hits.iter().map(String::as_str), 20), widest(shown.iter().map(String::as_str), 20));
    let mut out = String::new();
    let whole = Look { width: usize::MAX, ..look };
    for ((((probe, id), site), hits), shown) in probes.iter().zip(&ids).zip(&sites).zip(&hits).zip(&shown) {
        let mut line = Line::default().add(Tone::Place, id).add(Tone::Plain, &pad(id, id_width));
        if site_width > 0 {
            line = line.add(Tone::Plain, "  ").add(Tone::Quiet, site).add(Tone::Plain, &pad(site, site_width));
        }
        let line = line
            .add(Tone::Plain, "  ")
            .add(Tone::Plain, &pad(hits, hits_width))
            .add(Tone::Strong, hits)
            .add(Tone::Quiet, if probe.hits == 1 && !probe.missed { " hit " } else { " hits" });
        let line = line
            .add(Tone::Plain, "  ")
            .add(Tone::Plain, &pad(shown, shown_width))
            .add(Tone::Strong, shown)
            .add(Tone::Quiet, came(probe));
        let lost = outcome(probe);
        let line = if lost.is_empty() { line } else { line.add(Tone::Plain, "  ").add(Tone::Quiet, &lost) };
        line.write(whole, &mut out);
        if let Some(note) = probe.note {
            Line::indented(2).add(Tone::Note, note).write(whole, &mut out);
        }
    }
    if probes.iter().any(|probe| probe.missed) {
        Line::default().add(Tone::Note, MISSED).write(whole, &mut out);
    }
    out
}

/// What came of the hits of a probe.
pub(crate) fn came(probe: &ProbeSummary<'_>) -> &'static str {
    match (probe.measured, probe.emitted) {
        (Some(1), _) => " value",
        (Some(_), _) => " values",
        (None, 1) => " event",
        (None, _) => " events",
    }
}

/// What `≥` means.
const MISSED: &str = "≥: hits are not counted while a probe rests, over its rate or to save CPU";

fn widest<'a>(texts: impl Iterator<Item = &'a str>, most: usize) -> usize {
    texts.map(columns).max().unwrap_or(0).min(most)
}

fn pad(text: &str, width: usize) -> String {
    " ".repeat(width.saturating_sub(columns(text)))
}

/// What became of the hits that made no event, of those that failed, and of events that were lost.
pub(crate) fn outcome(probe: &ProbeSummary<'_>) -> String {
    let (lost, quiet): (Vec<_>, Vec<_>) = probe.dropped.iter().copied().partition(|(reason, _)| loses(reason));
    let mut texts = Vec::new();
    let quiet = losses(&quiet);
    if !quiet.is_empty() {
        texts.push(format!("not shown: {quiet}"));
    }
    if probe.failed > 0 {
        let reason = why(probe.failed, &probe.failures).map(|reason| format!(": {reason}")).unwrap_or_default();
        texts.push(format!("{} failed{reason}", grouped(probe.failed)));
    }
    let lost = losses(&lost);
    if !lost.is_empty() {
        texts.push(lost);
    }
    texts.join("; ")
}

/// Why conditions failed: the latest reason, and how many failed for others. `None` if none is known.
pub fn why<S: AsRef<str>>(failed: u64, failures: &[(S, u64)]) -> Option<String> {
    let (latest, count) = failures.first()?;
    let latest = latest.as_ref();
    let known: u64 = failures.iter().map(|(_, count)| count).sum();
    Some(match failed.saturating_sub(*count) {
        0 => latest.to_owned(),
        // Not all could be noted.
        others if known < failed && failures.len() == 1 => {
            format!("{latest} (the latest; {} for reasons that were not kept)", grouped(others))
        }
        // Some are forgotten, and may have been of this reason.
        _ if known < failed => format!("{latest} (the latest; others for other reasons)"),
        others => format!("{latest} (the latest; {} for other reasons)", grouped(others)),
    })
}

/// True if an event was made, or would have been, and got lost.
fn loses(reason: &str) -> bool {
    !SKIPS.contains(&reason)
}

/// What was dropped and why, in words; reasons that are the same to people are added up. Empty if nothing was.
pub fn losses(dropped: &[(&str, u64)]) -> String {
    let mut sums: Vec<(&str, u64)> = Vec::new();
    for (reason, count) in dropped.iter().filter(|(_, count)| *count > 0) {
        let words = words(reason);
        match sums.iter_mut().find(|(known, _)| *known == words) {
            Some((_, sum)) => *sum += count,
            None => sums.push((words, *count)),
        }
    }
    let texts: Vec<String> = sums.iter().map(|(words, count)| format!("{} {words}", grouped(*count))).collect();
    texts.join(", ")
}

/// A reason that is told to people only: for programs it is `stopped`.
pub(super) const UNENDED: &str = "unended";

/// A reason in the words of people; one that is not known stands as it is.
fn words(reason: &str) -> &str {
    match reason {
        "rateLimitProbe" => "over its rate",
        "rateLimitGlobal" => "over the rate of all probes",
        "conditionFalse" => "with a false condition",
        "evaluationTimeout" => "out of time",
        "evaluationErrorThrottled" => "with an error already shown",
        "paused" => "while paused to save CPU",
        "reentrant" => "inside our own work",
        "internal" => "lost by a fault of ours",
        "entryNotSeen" => "whose entry was not seen",
        "queueFull" => "lost, the queue was full",
        "noMemory" => "lost, there was no memory",
        "payloadTooLarge" => "lost, too large",
        "breakerOpen" | "transport" => "not uploaded, the Agent cannot be reached or fails",
        "rejected" => "not uploaded, the Agent refused them",
        "stopped" => "not delivered before the end",
        UNENDED => "whose call had not ended",
        "notWritten" => "not written",
        other => other,
    }
}

fn clock(time: u64, utc_offset: Option<i32>) -> String {
    let shift = i64::from(utc_offset.unwrap_or(0)) * 1000;
    let day = 24 * 60 * 60 * 1000;
    let ms = i64::try_from(time).unwrap_or(0).saturating_add(shift).rem_euclid(day);
    let zone = if utc_offset.is_none() { "Z" } else { "" };
    format!("{:02}:{:02}:{:02}.{:03}{zone}", ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60, ms % 1000)
}

/// Nanoseconds with three digits that count.
pub(crate) fn duration(nanos: u64) -> String {
    let (unit, name) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (1_000, "µs"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let whole = nanos / unit;
    let digits = match whole {
        0..10 => 2,
        10..100 => 1,
        _ => 0,
    };
    let thousandths = nanos % unit * 1000 / unit;
    let fraction = format!("{thousandths:03}");
    match fraction.get(..digits).filter(|fraction| !fraction.is_empty()) {
        Some(fraction) => format!("{whole}.{fraction} {name}"),
        None => format!("{} {name}", grouped(whole)),
    }
}

/// A number with its thousands apart.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::io;
    use std::sync::{Arc, Mutex};

    const PLAIN: Look = Look { colors: false, width: 80, utc_offset: Some(0) };

    fn view<'a>(json: &'a [u8], message: &'a str) -> EventView<'a> {
        EventView { json, message, probe: "charged", site: "shop/orders.py:41", time: 1_790_000_000_123 }
    }

    /// The values of an event with these locals, without what stands around them.
    fn shown(locals: &str, width: usize) -> String {
        let json =
            format!(r#"{{"debugger":{{"snapshot":{{"captures":{{"lines":{{"41":{{"locals":{locals}}}}}}}}}}}}}"#);
        let text = event(&view(json.as_bytes(), ""), Look { width, ..PLAIN });
        let (_, values) = text.split_once('\n').unwrap();
        values.trim_end_matches('\n').to_owned()
    }

    const CHARGE: &str = r#"{"duration":690211,"logger":{"method":"charge"},"debugger":{"snapshot":{
        "stack":[{"fileName":"/srv/app/shop/orders.py","function":"charge","lineNumber":41},
                 {"fileName":"/srv/app/main.py","function":"handle","lineNumber":17}],
        "captures":{"entry":{"arguments":{}},"return":{"arguments":{
          "self":{"type":"Order","fields":{
            "total":{"type":"int","value":"3"},
            "items":{"type":"list","elements":[{"type":"Item","fields":{
                "sku":{"type":"str","value":"'a'"},"price":{"type":"float","value":"1.0"},
                "password":{"type":"str","notCapturedReason":"redactedIdent"}}}],"size":1},
            "customer":{"type":"shop.people.Customer","notCapturedReason":"depth"}}},
          "qty":{"type":"int","value":"2"},
          "kw":{"type":"dict","entries":[[{"type":"str","value":"'extra'"},{"type":"int","value":"1"}]],"size":1}},
        "locals":{"@return":{"type":"int","value":"4"},"coupon":{"type":"NoneType","isNull":true}}}}}}}"#;

    #[test]
    fn an_event_is_a_calm_picture() {
        let expected = "\
14:13:20.123  shop/orders.py:41  charge  690 µs  [charged]
  charged 4 in 0.69
    self = Order
      total = 3
      items = [Item(sku='a', price=1.0, password=‹redacted›)]
      customer = Customer(…)
    qty = 2
    kw = {'extra': 1}
    @return = 4
    coupon = None
    at charge orders.py:41 ← handle main.py:17

";
        assert_eq!(event(&view(CHARGE.as_bytes(), "charged 4 in 0.69"), PLAIN), expected);
    }

    #[test]
    fn a_probe_that_is_called_by_its_place_is_named_once() {
        let view = EventView { probe: "shop/orders.py:41", ..view(CHARGE.as_bytes(), "") };
        let text = event(&view, PLAIN);
        assert_eq!(text.lines().next(), Some("14:13:20.123  shop/orders.py:41  charge  690 µs"));
        let narrow = event(&view, Look { width: 40, ..PLAIN });
        assert_eq!(narrow.lines().next(), Some("14:13:20.123  shop/orders.py:41  charge…"));
    }

    #[test]
    fn a_value_with_thousands_of_lines_is_folded_and_counted() {
        let inner = vec![r#"{"type":"str","value":"'0123456789'"}"#; 50].join(",");
        let list = format!(r#"{{"type":"list","elements":[{inner}],"size":50}}"#);
        let entry = |at: usize| format!(r#"[{{"type":"int","value":"{at}"}},{list}]"#);
        let entries: Vec<String> = (0..100).map(entry).collect();
        let text = shown(&format!(r#"{{"d":{{"type":"dict","entries":[{}],"size":100}}}}"#, entries.join(",")), 80);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), MAX_LINES, "{text}");
        assert_eq!((lines[0], lines[1]), ("    d = dict of 100", "      0: list of 50 …"));
        assert_eq!(lines.last(), Some(&"      … 62 more lines"));
    }

    #[test]
    fn colours_are_whole_and_optional() {
        let text = event(&view(CHARGE.as_bytes(), "m"), Look { colors: true, ..PLAIN });
        assert!(text.contains("\x1b[1mm\x1b[0m"), "{text}");
        assert_eq!(text.matches("\x1b[0m").count() * 2, text.matches("\x1b[").count());
        assert!(!event(&view(CHARGE.as_bytes(), "m"), PLAIN).contains('\x1b'));
    }

    #[test]
    fn both_points_of_a_method_are_named() {
        let json = br#"{"debugger":{"snapshot":{"captures":{
            "entry":{"arguments":{"n":{"type":"int","value":"1"}}},
            "return":{"locals":{"n":{"type":"int","value":"2"}},
              "throwable":{"type":"builtins.ValueError","message":"closed","stacktrace":[
                {"fileName":"/a/b.py","function":"f","lineNumber":3}]}}},
            "evaluationErrors":[{"expr":"x.y","message":"x has no member y"}]}}}"#;
        let text = event(&view(json, ""), PLAIN);
        let expected = "    on entry\n      n = 1\n    on return\n      n = 2\n      raised ValueError: closed\n        \
                        from f b.py:3\n    could not evaluate x.y: x has no member y\n\n";
        assert_eq!(text.split_once('\n').unwrap().1, expected);
    }

    #[test]
    fn an_exception_with_several_arguments_shows_them_all() {
        let json =
            br#"{"debugger":{"snapshot":{"captures":{"return":{"locals":{"@exception":{"type":"KeyError","fields":{
            "args":{"type":"tuple","elements":[{"type":"str","value":"'big'"},{"type":"int","value":"3"}],"size":2}}}},
            "throwable":{"type":"KeyError","message":"big"}}}}}}"#;
        let text = event(&view(json, ""), PLAIN);
        assert!(text.contains("    raised KeyError('big', 3)\n"), "{text}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let list = r#"{"type":"list","elements":[{"type":"int","value":"1"}],"size":1200,"notCapturedReason":"collectionSize"}"#;
        assert_eq!(shown(&format!("{{\"a\":{list}}}"), 80), "    a = [1, … 1,199 more]");
        let cases = [
            (r#"{"type":"str","value":"'ab'","truncated":true,"size":50000000}"#, "'ab'… of 50,000,000"),
            (r#"{"type":"str","hash":"00ff00ff00ff00ff","size":3}"#, "str(3) #00ff00ff00ff00ff"),
            (r#"{"type":"int","hash":"00ff00ff00ff00ff"}"#, "int #00ff00ff00ff00ff"),
            (r#"{"type":"list","notCapturedReason":"depth","size":3}"#, "list(3 inside)"),
            (r#"{"type":"list","notCapturedReason":"depth","size":0}"#, "list(empty)"),
            (r#"{"type":"T","notCapturedReason":"timeout"}"#, "T ‹out of time›"),
            (r#"{"type":"T","notCapturedReason":"cannot be read"}"#, "T ‹cannot be read›"),
            (r#"{"pruned":true}"#, "‹cut: the event was too large›"),
            (r#"{"type":"java.util.HashMap","entries":[],"size":0}"#, "{}"),
            (r#"{"type":"string","isNull":true}"#, "null"),
            (r#"{"type":"undefined"}"#, "undefined"),
            (r#"{"type":"T","fields":{},"notCapturedReason":"fieldCount"}"#, "T(… more)"),
            (r#"{"type":"tuple","elements":[{"type":"str","value":"'x'"}],"size":1}"#, "('x',)"),
            (r#"{"type":"tuple","elements":[],"size":0}"#, "()"),
            (
                r#"{"type":"tuple","elements":[{"type":"int","value":"1"}],"size":9,"notCapturedReason":"collectionSize"}"#,
                "(1, … 8 more)",
            ),
            ("7", "…"),
            ("null", "…"),
        ];
        for (value, expected) in cases {
            assert_eq!(shown(&format!("{{\"a\":{value}}}"), 80), format!("    a = {expected}"), "{value}");
        }
    }

    #[test]
    fn names_keep_the_order_of_capture() {
        let text = shown(r#"{"z":{"value":"1"},"a":{"value":"2"},"m":{"value":"3"}}"#, 80);
        assert_eq!(text, "    z = 1\n    a = 2\n    m = 3");
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let long = "x".repeat(300);
        let wide = "漢".repeat(200);
        let locals = json!({"a": {"type": "str", "value": long}, "b": {"type": "str", "value": wide}, "c": {"type": "list",
            "elements": vec![json!({"type": "int", "value": "12345"}); 60], "size": 60}});
        for width in [40, 80, 200] {
            let json = json!({"debugger": {"snapshot": {"captures": {"lines": {"1": {"locals": locals}}}, "stack":
                vec![json!({"fileName": "/x/y/z.py", "function": "a_function", "lineNumber": 1}); 60]}}});
            let text = event(&view(json.to_string().as_bytes(), &long), Look { width, ..PLAIN });
            for line in text.lines() {
                assert!(columns(line) <= width, "{width}: {line}");
            }
            assert!(text.contains("more\n"), "{text}");
        }
    }

    #[test]
    fn a_huge_snapshot_stays_readable() {
        let locals: serde_json::Map<String, Value> =
            (0..200).map(|n| (format!("name{n}"), json!({"type": "int", "value": "1"}))).collect();
        let text = shown(&Value::Object(locals).to_string(), 80);
        assert_eq!(text.lines().count(), MAX_LINES + 1);
        assert!(text.ends_with("\n    … 160 more names"), "{text}");
        let almost: serde_json::Map<String, Value> =
            (0..41).map(|n| (format!("name{n}"), json!({"type": "int", "value": "1"}))).collect();
        assert_eq!(shown(&Value::Object(almost).to_string(), 80).lines().count(), 41);
        let message = "line\n".repeat(50);
        assert!(event(&view(b"{}", &message), PLAIN).contains("  … 42 more lines\n"));
    }

    #[test]
    fn a_big_variable_hides_neither_the_others_nor_what_was_returned() {
        let row = |n: usize| {
            json!({"type": "Row", "fields": {"id": {"type": "int", "value": n.to_string()},
            "text": {"type": "str", "value": "y".repeat(60)}, "more": {"type": "str", "value": "z".repeat(60)}}})
        };
        let big = json!({"type": "Table", "fields": {"name": {"type": "str", "value": "'t'"},
            "rows": {"type": "list", "elements": (0..50).map(row).collect::<Vec<_>>(), "size": 50}}});
        let small = json!({"type": "int", "value": "7"});
        let locals = json!({"@return": small, "z": {"type": "list", "elements": (0..9).map(row).collect::<Vec<_>>(), "size": 9}});
        let json = json!({"debugger": {"snapshot": {"captures": {"return": {
            "arguments": {"self": big, "n": small}, "locals": locals}}}}});
        let text = event(&view(json.to_string().as_bytes(), ""), PLAIN);
        let has = |line: &str| text.lines().any(|shown| shown.trim_end().starts_with(line));
        assert!(
            has("    self = Table") && has("    n = 7") && has("    @return = 7") && has("    z = list of 9"),
            "{text}"
        );
        assert!(has("      name = 't'") && has("      rows = list of 50 …"), "{text}");
        assert!(text.lines().count() <= MAX_LINES + 2, "{text}");
        // Also where even one line each is too many.
        let mut locals: serde_json::Map<String, Value> =
            (0..200).map(|n| (format!("name{n}"), json!({"type": "int", "value": "1"}))).collect();
        locals.insert("@exception".into(), json!({"type": "str", "value": "gone"}));
        let text = shown(&Value::Object(locals).to_string(), 80);
        assert!(text.contains("    @exception = gone") && text.ends_with("… 161 more names"), "{text}");
    }

    #[test]
    fn ids_use_the_room_there_is_and_keep_what_tells_them_apart() {
        let of = |probe, width| {
            let text = event(&EventView { probe, ..view(b"{}", "") }, Look { width, ..PLAIN });
            text.lines().next().unwrap().to_owned()
        };
        let (one, two) = ("tr/sub/package/module.py:1204#2", "tr/sub/package/module.py:1206#2");
        assert!(of(one, 120).ends_with(&format!("  [{one}]")), "{}", of(one, 120));
        for width in [40, 60] {
            assert_ne!(of(one, width), of(two, width));
            assert!(columns(&of(one, width)) <= width, "{}", of(one, width));
        }
        assert_eq!(middle("abcdefghijkl", 7), "ab…ijkl");
        let status = StatusView { json: b"", probe: one, status: "ERROR", message: "m", time: 0 };
        assert!(super::status(&status, Look { width: 40, ..PLAIN }).contains(one));
    }

    #[test]
    fn values_cannot_act_on_the_terminal() {
        let hostile = "\x1b]0;owned\x07\x1b[2J\r\u{202e}abc\u{9b}31m";
        let json = json!({"logger": {"method": hostile}, "debugger": {"snapshot": {
            "captures": {"lines": {"1": {"locals": {hostile: {"type": hostile, "value": hostile}}}}},
            "stack": [{"fileName": hostile, "function": hostile, "lineNumber": 1}],
            "evaluationErrors": [{"expr": hostile, "message": hostile}]}}});
        let text =
            event(&EventView { probe: hostile, site: hostile, ..view(json.to_string().as_bytes(), hostile) }, PLAIN);
        let status =
            status(&StatusView { json: b"", probe: hostile, status: "ERROR", message: hostile, time: 0 }, PLAIN);
        for c in text.chars().chain(status.chars()) {
            assert!(c == '\n' || !(c.is_control() || c == '\u{202e}'), "{c:?} in {text}");
        }
    }

    #[test]
    fn an_event_that_cannot_be_read_still_shows_its_message() {
        let deep = format!("{}1{}", "[".repeat(1000), "]".repeat(1000));
        for json in ["", "{", "[]", "7", "{\"debugger\":[]}", &deep] {
            let text = event(&view(json.as_bytes(), "hello"), PLAIN);
            assert!(text.contains("  hello\n    ‹its values cannot be shown›\n"), "{text}");
        }
    }

    #[test]
    fn statuses_speak_only_when_there_is_something_to_say() {
        let view = |status| StatusView { json: b"{}", probe: "p", status, message: "no line 9 in a.py", time: 0 };
        assert_eq!(status(&view("ERROR"), PLAIN), "00:00:00.000  [p] no line 9 in a.py\n");
        assert_eq!(status(&view("RECEIVED"), PLAIN), "");
        assert_eq!(status(&view("EMITTING"), PLAIN), "");
    }

    #[test]
    fn why_conditions_failed_is_told_by_the_latest_reason() {
        assert_eq!(why::<&str>(1, &[]), None);
        assert_eq!(why(2, &[("a", 2)]).as_deref(), Some("a"));
        assert_eq!(why(6, &[("a", 2), ("b", 4)]).as_deref(), Some("a (the latest; 4 for other reasons)"));
        assert_eq!(why(9, &[("a", 2)]).as_deref(), Some("a (the latest; 7 for reasons that were not kept)"));
        assert_eq!(why(2, &[("a", 3)]).as_deref(), Some("a"));
        assert_eq!(why(9, &[("a", 2), ("b", 4)]).as_deref(), Some("a (the latest; others for other reasons)"));
    }

    #[test]
    fn the_end_says_per_probe_what_happened() {
        let probes = [
            ProbeSummary {
                probe: "a",
                site: "shop/orders.py:41",
                hits: 1204,
                missed: true,
                emitted: 100,
                dropped: vec![("rateLimitProbe", 1104), ("queueFull", 0), ("transport", 2), ("breakerOpen", 3)],
                ..ProbeSummary::default()
            },
            ProbeSummary {
                probe: "shop:f",
                site: "shop:f",
                note: Some("never reached; the nearest lines with code are 40 and 44"),
                ..ProbeSummary::default()
            },
            ProbeSummary {
                probe: "9c7d6a1e-0000-4000-8000-000000000001",
                hits: 5,
                emitted: 1,
                failed: 4,
                failures: vec![("No such variable: 'x'", 4)],
                ..ProbeSummary::default()
            },
        ];
        let expected = "\
a                                     shop/orders.py:41  ≥ 1,204 hits  100 events  not shown: 1,104 over its rate; 5 not uploaded, the Agent cannot be reached or fails
shop:f                                                         0 hits    0 events
  never reached; the nearest lines with code are 40 and 44
9c7d6a1e-0000-4000-8000-000000000001                           5 hits    1 event  4 failed: No such variable: 'x'
≥: hits are not counted while a probe rests, over its rate or to save CPU\n";
        assert_eq!(summary(&probes, PLAIN), expected);
        assert_eq!(summary(&[], PLAIN), "");
    }

    #[test]
    fn times_are_local_where_the_offset_is_known() {
        assert_eq!(clock(1_790_000_000_123, None), "14:13:20.123Z");
        assert_eq!(clock(1_790_000_000_123, Some(19_800)), "19:43:20.123");
        assert_eq!(clock(0, Some(-3600)), "23:00:00.000");
        assert_eq!(clock(u64::MAX, Some(i32::MIN)).len(), 12);
        let durations =
            [0, 999, 1_500, 690_211, 12_345_678, 1_000_000_000, 75_000_000_000, 7_500_000_000_000].map(duration);
        assert_eq!(durations, ["0 ns", "999 ns", "1.50 µs", "690 µs", "12.3 ms", "1.00 s", "75.0 s", "7,500 s"]);
    }

    /// Remembers each call to write.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_event_is_one_write_and_a_closed_pipe_is_counted() {
        let pipe = Pipe::default();
        let mut sink = TerminalSink::new(Box::new(pipe.clone()), PLAIN);
        sink.event(&view(CHARGE.as_bytes(), "a"));
        sink.event(&view(CHARGE.as_bytes(), "b"));
        assert_eq!(pipe.0.lock().unwrap().len(), 2);
        let mut sink = TerminalSink::new(Box::new(Closed), PLAIN);
        sink.event(&view(CHARGE.as_bytes(), "a"));
        sink.summary(&[ProbeSummary::default()]);
        assert_eq!(sink.lost(), 2);
    }
}

//! Turns a record into the event of the intake (*Signals and upload* 1, 2, 5). It stands on the walk of a hit, on the
//! worker: [`crate::record::read`] before, [`super::values`] for what was captured, [`super::prune`] after.
//!
//! A record is read once, in its own order, and its event written straight to where it goes; of a bad record nothing
//! stays there. What the events of one place have in common is written once and kept: a [`Renderer`] lasts as long as
//! its session.

use super::event::{Event, SpanKind};
use super::json::Json;
use super::language::{Names, Profile};
use super::message::{self, FailureText, Recorded};
use super::values::{Spellings, Values, text_of};
use crate::capture::limits::MESSAGE_LENGTH;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::Expression;
use crate::expr::eval::{self, Category, Failure};
use crate::expr::template::Segment;
use crate::host::{FrameText, Site, StackFrame};
use crate::probe::model::{Kind, Location, Probe};
use crate::record::layout as lay;
use crate::record::read::{self, Content, FrameRef, Item, NameRef, Reader, RecordHeader};
use crate::record::write::{Place, Point};
use crate::registry::LiveProbe;
use smallvec::SmallVec;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

pub use super::event::RenderContext;

/// Probes whose envelope is kept.
const ENVELOPES_KEPT: usize = 1024;
/// Frames that are kept.
const FRAMES_KEPT: usize = 4096;
/// Bytes of whole stacks that are kept.
const STACKS_KEPT: usize = 256 * 1024;

/// What events of one probe at one place have in common, as JSON.
struct Envelope {
    probe: Arc<Probe>,
    site: Option<Arc<Site>>,
    /// The site, for people.
    place: String,
    /// From the begin to the time.
    begin: Vec<u8>,
    /// From the message or duration to the thread's id.
    logger: Vec<u8>,
    /// The probe with its location.
    definition: Vec<u8>,
}

impl Envelope {
    fn of(live: &LiveProbe, site: Option<Arc<Site>>, cx: &RenderContext<'_>, profile: &Profile) -> Self {
        let probe = &*live.probe;
        let unknown = Site::default();
        let at = site.as_deref().unwrap_or(&unknown);
        let [mut begin, mut logger, mut definition] = [const { Vec::new() }; 3];
        let mut json = Json::new(&mut begin);
        json.raw(b"{");
        json.text(",\"ddsource\":", "dd_debugger");
        json.text(",\"service\":", &cx.identity.service);
        if !cx.identity.hostname.is_empty() {
            json.text(",\"hostname\":", &cx.identity.hostname);
        }
        json.raw(b",\"timestamp\":");
        let mut json = Json::new(&mut logger);
        // The comma that is due after the message.
        json.raw(b",");
        if !cx.identity.process_tags.is_empty() {
            json.raw(b"\"process_tags\":");
            json.string(&cx.identity.process_tags);
            json.raw(b",");
        }
        if !probe.tags.is_empty() {
            json.raw(b"\"ddtags\":");
            json.string(&probe.tags.join(","));
            json.raw(b",");
        }
        json.raw(b"\"logger\":{\"name\":");
        json.string(match profile.names {
            Names::File => &at.file,
            Names::GivenFile => given_file(probe, at),
            Names::Class => &at.type_name,
        });
        json.text(",\"method\":", &at.function);
        json.raw(b",\"version\":2,\"thread_id\":");
        let mut json = Json::new(&mut definition);
        json.raw(b",\"probe\":{");
        json.text(",\"id\":", &probe.id);
        json.number(",\"version\":", probe.version);
        location(&mut json, profile, at, probe);
        json.raw(b"}");
        Envelope { probe: Arc::clone(&live.probe), place: at.to_string(), site, begin, logger, definition }
    }

    fn is_of(&self, live: &LiveProbe, site: Option<&Arc<Site>>) -> bool {
        Arc::ptr_eq(&self.probe, &live.probe) && self.site.as_ref().map(Arc::as_ptr) == site.map(Arc::as_ptr)
    }
}

/// Frames and whole stacks as JSON, by the host's numbers: a number of a code stands for the same code as long as the
/// session lasts.
#[derive(Default)]
struct Stacks {
    frames: HashMap<(u32, u32), Box<[u8]>>,
    /// By the bytes of the record.
    whole: HashMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
}

/// What is said of an event beside its JSON.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'r> {
    /// The message, as in the JSON.
    pub message: &'r str,
    /// Where it was hit, for people.
    pub site: &'r str,
    /// When it was hit, in milliseconds since the epoch.
    pub time: u64,
    /// True for an evaluation-error event.
    pub error: bool,
    /// True if the record was cut at its largest size.
    pub full: bool,
}

/// Renders the records of one session.
pub struct Renderer {
    spellings: Spellings,
    envelopes: BTreeMap<u32, Envelope>,
    stacks: Stacks,
    /// The thread of the event before, and how it stands in JSON.
    thread: (u32, Vec<u8>),
    message: String,
}

/// Where things stand in an event that may have to be pruned.
#[derive(Default)]
struct Places {
    message: (usize, usize),
    frames: Vec<(usize, usize)>,
}

/// What stands in a record before its points.
struct Preamble<'r> {
    /// Template values: segment, place.
    templates: SmallVec<[(u32, usize); 8]>,
    /// Failures, in the order of evaluation.
    failures: SmallVec<[(Place, FailureText); 1]>,
    /// The item after all of them.
    next: Option<Item<'r>>,
}

/// Renders one record, with the places that [`super::prune`] needs.
pub fn render(record: &[u8], cx: &RenderContext<'_>) -> Result<Event> {
    Renderer::new(Profile::of(cx.language)).event(record, cx)
}

impl Renderer {
    /// One that has seen nothing yet.
    pub fn new(profile: &'static Profile) -> Self {
        Renderer {
            spellings: Spellings::new(profile),
            envelopes: BTreeMap::new(),
            stacks: Stacks::default(),
            thread: (lay::NO_TYPE, Vec::new()),
            message: String::new(),
        }
    }

    /// Writes the event of a record at the end of `out`. An error leaves `out` as it was.
    pub fn write(&mut self, record: &[u8], cx: &RenderContext<'_>, out: &mut Vec<u8>) -> Result<Outline<'_>> {
        let start = out.len();
        let written = self.write_to(record, cx, &mut Json::new(out), &mut Places::default());
        let header = match written {
            Ok(header) => header,
            Err(error) => {
                out.truncate(start);
                return Err(error);
            }
        };
        let site = self.envelopes.get(&cx.live.slot).map_or("", |envelope| &envelope.place);
        let time = header.wall / 1_000_000;
        Ok(Outline { message: &self.message, site, time, error: header.error, full: header.full })
    }

    /// The event of a record, with the places that [`super::prune`] needs.
    pub fn event(&mut self, record: &[u8], cx: &RenderContext<'_>) -> Result<Event> {
        let (mut text, mut places) = (Vec::new(), Places::default());
        let mut json = Json::with_spans(&mut text);
        let header = self.write_to(record, cx, &mut json, &mut places)?;
        let spans = json.into_spans();
        Ok(Event {
            json: text,
            message: self.message.clone(),
            site: cx.live.site().unwrap_or_default().to_string(),
            time: header.wall / 1_000_000,
            spans,
            message_at: places.message,
            frames: places.frames,
            error: header.error,
            full: header.full,
        })
    }

    fn write_to(
        &mut self,
        record: &[u8],
        cx: &RenderContext<'_>,
        json: &mut Json<'_>,
        places: &mut Places,
    ) -> Result<RecordHeader> {
        let (header, mut reader) = Reader::new(record)?;
        let Preamble { templates, mut failures, next } = preamble(&mut reader, cx)?;
        self.message_of(&header, &reader, &templates, &failures, cx)?;

        let profile = self.spellings.profile();
        let Renderer { spellings, envelopes, stacks, thread, message } = self;
        let envelope = envelope_of(envelopes, cx, profile);
        let mut digits = itoa::Buffer::new();
        let timestamp = digits.format(header.wall / 1_000_000).as_bytes();
        let duration = header.duration.filter(|_| cx.live.probe.is_method());
        json.raw(&envelope.begin);
        json.raw(timestamp);
        json.raw(b",\"type\":\"snapshot\",\"message\":");
        let from = json.out.len();
        json.string(message);
        places.message = (from, json.out.len());
        if let Some(duration) = duration {
            json.number(",\"duration\":", duration);
        }
        json.raw(&envelope.logger);
        json.integer(header.thread);
        json.raw(thread_name(thread, header.thread_name, cx, profile));
        trace(json, &header);
        json.raw(b",\"debugger\":{\"snapshot\":{\"id\":\"");
        json.raw(&uuid(header.event_id));
        json.raw(b"\",\"timestamp\":");
        json.raw(timestamp);
        json.text(",\"language\":", cx.language.wire_name());
        json.raw(b",\"type\":\"snapshot\"");
        if let Some(duration) = duration {
            json.number(",\"duration\":", duration);
        }
        json.raw(&envelope.definition);

        let mut body = Body { values: Values { tables: cx.tables, spellings }, stacks, cx, frames: &mut places.frames };
        body.write(json, &mut reader, next, &header, &mut failures)?;
        json.raw(b",\"evaluationErrors\":[");
        for (_, failure) in &failures {
            json.next(",{\"expr\":");
            json.string(&failure.expr);
            json.text(",\"message\":", &failure.message);
            json.raw(b"}");
        }
        json.raw(b"]}}}");
        Ok(header)
    }

    /// The template's text; where there is none, or the condition failed, the first error's.
    fn message_of(
        &mut self,
        header: &RecordHeader,
        reader: &Reader<'_>,
        templates: &[(u32, usize)],
        failures: &[(Place, FailureText)],
        cx: &RenderContext<'_>,
    ) -> Result<()> {
        let mut out = message::Capped::new(&mut self.message, MESSAGE_LENGTH);
        let of_template = failures.iter().all(|(place, _)| matches!(place, Place::Segment(_) | Place::Expression(_)));
        if let (Kind::Log(log), true) = (&cx.live.probe.kind, of_template) {
            let find = |segment: u16| {
                let value = templates.iter().find(|(index, _)| *index == u32::from(segment));
                let failed = || failures.iter().find(|(place, _)| *place == Place::Segment(segment));
                value
                    .map(|&(_, at)| Recorded::Value(at))
                    .or_else(|| failed().map(|(_, failure)| Recorded::Failed(failure)))
            };
            message::render(&log.template, reader, cx.tables, find, header.error, &mut out)?;
        } else if let Some((_, first)) = failures.first() {
            out.push_str(&first.message);
        }
        out.finish();
        Ok(())
    }
}

fn envelope_of<'e>(
    envelopes: &'e mut BTreeMap<u32, Envelope>,
    cx: &RenderContext<'_>,
    profile: &Profile,
) -> &'e Envelope {
    if envelopes.len() >= ENVELOPES_KEPT && !envelopes.contains_key(&cx.live.slot) {
        envelopes.clear();
    }
    let site = cx.live.site();
    let make = |site| Envelope::of(cx.live, site, cx, profile);
    match envelopes.entry(cx.live.slot) {
        Entry::Vacant(place) => place.insert(make(site)),
        Entry::Occupied(mut place) => {
            if !place.get().is_of(cx.live, site.as_ref()) {
                place.insert(make(site));
            }
            place.into_mut()
        }
    }
}

/// Reads what stands before the points.
fn preamble<'r>(reader: &mut Reader<'r>, cx: &RenderContext<'_>) -> Result<Preamble<'r>> {
    let (mut templates, mut failures) = (SmallVec::new(), SmallVec::new());
    loop {
        match reader.item()? {
            Some(Item::Template(segment)) => {
                templates.push((segment, reader.at()));
                reader.skip()?;
            }
            Some(Item::Failure(place, failure)) => failures.push((place, describe(place, failure, cx)?)),
            next => return Ok(Preamble { templates, failures, next }),
        }
    }
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

fn thread_name<'t>(known: &'t mut (u32, Vec<u8>), id: u32, cx: &RenderContext<'_>, profile: &Profile) -> &'t [u8] {
    let (known_id, text) = known;
    if *known_id != id || text.is_empty() {
        *known_id = id;
        text.clear();
        let name = cx.tables.name(id).unwrap_or_default();
        let mut json = Json::new(text);
        json.raw(b",\"thread_name\":");
        if profile.pid {
            json.string(&format!("{name};pid:{}", std::process::id()));
        } else {
            json.string(name);
        }
        json.raw(b"}");
    }
    text
}

fn given_file<'a>(probe: &'a Probe, site: &'a Site) -> &'a str {
    match &probe.location {
        Location::Lines { file, .. } => file,
        Location::Method { file, .. } => file.as_deref().unwrap_or(&site.file),
    }
}

fn trace(json: &mut Json<'_>, header: &RecordHeader) {
    if header.trace_id == 0 && header.span_id == 0 {
        return;
    }
    json.raw(b",\"dd\":{\"trace_id\":\"");
    match u64::try_from(header.trace_id) {
        Ok(id) => json.integer(id),
        Err(_) => json.raw(format!("{:032x}", header.trace_id).as_bytes()),
    }
    json.raw(b"\",\"span_id\":\"");
    json.integer(header.span_id);
    json.raw(b"\"}");
}

/// Random bits as a UUID of version 4.
pub fn uuid(mut bits: [u8; 16]) -> [u8; 36] {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    /// Where each byte's two digits stand.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    bits[6] = bits[6] & 0x0F | 0x40;
    bits[8] = bits[8] & 0x3F | 0x80;
    let mut text = [b'-'; 36];
    for (byte, at) in bits.into_iter().zip(PLACES) {
        if let Some([high, low]) = text.get_mut(at..at + 2) {
            *high = DIGITS[usize::from(byte >> 4)];
            *low = DIGITS[usize::from(byte & 0xF)];
        }
    }
    text
}

fn location(json: &mut Json<'_>, profile: &Profile, site: &Site, probe: &Probe) {
    json.raw(b",\"location\":{");
    if probe.is_method() || profile.names == Names::Class {
        json.text(",\"type\":", &site.type_name);
        json.text(",\"method\":", &site.method);
    }
    if !probe.is_method() {
        json.text(",\"file\":", if profile.names == Names::GivenFile { given_file(probe, site) } else { &site.file });
        json.raw(b",\"lines\":[");
        for line in &site.lines {
            json.next(",\"");
            json.integer(*line);
            json.raw(b"\"");
        }
        json.raw(b"]");
    }
    json.raw(b"}");
}

const SECTIONS: [&str; 4] = [",\"arguments\":", ",\"locals\":", ",\"staticFields\":", ",\"captureExpressions\":"];

/// What follows the probe in an event: its captures and its stack.
struct Body<'a> {
    values: Values<'a>,
    stacks: &'a mut Stacks,
    cx: &'a RenderContext<'a>,
    /// Where each frame of the stack stands, if spans are kept.
    frames: &'a mut Vec<(usize, usize)>,
}

impl Body<'_> {
    /// Writes captures and stack, in the order of the record, and collects the failures of capture expressions.
    fn write<'r>(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'r>,
        mut next: Option<Item<'r>>,
        header: &RecordHeader,
        failures: &mut SmallVec<[(Place, FailureText); 1]>,
    ) -> Result<()> {
        if let Some(Item::Point(_)) = next {
            if header.error {
                next = skip_points(reader)?;
            } else {
                json.raw(b",\"captures\":{");
                next = self.captures(json, reader, next)?;
                json.raw(b"}");
            }
        }
        while let Some(Item::Failure(place, failure)) = next {
            failures.push((place, describe(place, failure, self.cx)?));
            next = reader.item()?;
        }
        json.raw(b",\"stack\":");
        if let Some(Item::Stack { count, raw }) = next {
            let frames = self.stack(json, reader, count, raw, None)?;
            *self.frames = frames;
            next = reader.item()?;
        } else {
            json.raw(b"[]");
        }
        match next {
            None => Ok(()),
            Some(_) => Err(misplaced()),
        }
    }

    /// Writes the points and answers the item after them.
    fn captures<'r>(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'r>,
        mut next: Option<Item<'r>>,
    ) -> Result<Option<Item<'r>>> {
        // The section that is open with the place where its names begin, and the level of what stands in the point.
        let mut section: Option<(usize, usize)> = None;
        let mut level = 5;
        let close = |json: &mut Json<'_>, section: &mut Option<(usize, usize)>| {
            if let Some((open, names)) = section.take() {
                json.brace_from(names);
                json.raw(b"}");
                json.end(open);
            }
        };
        // How many braces the open point closes with, none between points; lines stand in an object of their own.
        let mut closing: &[u8] = b"";
        while let Some(item) = next {
            match item {
                Item::Point(point) if closing.is_empty() => {
                    level = if matches!(point, Point::Line(_)) { 6 } else { 5 };
                    closing = if matches!(point, Point::Line(_)) { b"}}" } else { b"}" };
                    match point {
                        Point::Entry => json.next(",\"entry\":{"),
                        Point::Return => json.next(",\"return\":{"),
                        Point::Line(line) => {
                            json.next(",\"lines\":{\"");
                            json.integer(line);
                            json.raw(b"\":{");
                        }
                    }
                }
                Item::Section(code) if !closing.is_empty() => {
                    close(json, &mut section);
                    json.next(SECTIONS.get(usize::from(code)).copied().unwrap_or_default());
                    section = Some((json.begin(SpanKind::Section, None, level), json.out.len()));
                }
                Item::Named(name) => {
                    let (open, _) = section.ok_or_else(misplaced)?;
                    let (argument, text) = read::argument_of(name);
                    self.values.key(json, argument, text)?;
                    self.values.value(json, reader, Some(open), level + 1, 0)?;
                }
                Item::Throwable(class) if !closing.is_empty() => {
                    close(json, &mut section);
                    json.next(",\"throwable\":");
                    self.throwable(json, reader, class, level)?;
                }
                Item::EndPoint(reason) if !closing.is_empty() => {
                    close(json, &mut section);
                    if let Some(reason) = lay::reason_text(reason) {
                        json.text(",\"notCapturedReason\":", reason);
                    }
                    json.raw(closing);
                    closing = b"";
                }
                Item::Stack { .. } | Item::Failure(..) if closing.is_empty() => break,
                _ => return Err(misplaced()),
            }
            next = reader.item()?;
        }
        if closing.is_empty() { Ok(next) } else { Err(misplaced()) }
    }

    fn throwable(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'_>,
        class: NameRef<'_>,
        level: u32,
    ) -> Result<()> {
        self.values.open(json, class)?;
        let mut message = String::new();
        match reader.clone().value()?.content {
            Content::Str { text, .. } => text.with(|text| text.push_to(&mut message)),
            Content::Withheld { reason: lay::REASON_REDACTED_TYPE | lay::REASON_REDACTED_IDENT, .. } => {
                message.push_str("{redacted}");
            }
            _ => {}
        }
        reader.skip()?;
        json.text(",\"message\":", &message);
        json.raw(b",\"stacktrace\":");
        let mut ahead = reader.clone();
        if let Some(Item::Stack { count, raw }) = ahead.item()? {
            self.stack(json, &mut ahead, count, raw, Some(level + 1))?;
            *reader = ahead;
        } else {
            json.raw(b"[]");
        }
        json.raw(b"}");
        Ok(())
    }

    /// Writes the frames of a stack and answers where each stands. With a level they are spans of their own.
    fn stack(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'_>,
        count: u32,
        raw: bool,
        level: Option<u32>,
    ) -> Result<Vec<(usize, usize)>> {
        if raw || json.keeps_spans() {
            return self.frame_by_frame(json, reader, count, raw, level);
        }
        let key = reader.frames(count)?;
        if let Some(known) = self.stacks.whole.get(key) {
            json.raw(known);
            return Ok(Vec::new());
        }
        let start = json.out.len();
        self.frame_by_frame(json, &mut reader.before(key), count, raw, level)?;
        self.stacks.keep(key, json.out.get(start..).unwrap_or_default());
        Ok(Vec::new())
    }

    fn frame_by_frame(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'_>,
        count: u32,
        raw: bool,
        level: Option<u32>,
    ) -> Result<Vec<(usize, usize)>> {
        let mut places = Vec::new();
        json.raw(b"[");
        for index in 0..count {
            if index > 0 {
                json.raw(b",");
            }
            let span = level.map(|level| json.begin(SpanKind::Frame, None, level));
            let start = json.out.len();
            match reader.frame(raw)? {
                FrameRef::Host(place) => json.raw(self.stacks.frame(place, self.cx)),
                FrameRef::Raw { file, function, line, column } => {
                    let tables = self.cx.tables;
                    frame(json, text_of(tables, file)?, text_of(tables, function)?, line, column);
                }
            }
            if json.keeps_spans() {
                places.push((start, json.out.len()));
            }
            if let Some(span) = span {
                json.end(span);
            }
        }
        json.raw(b"]");
        Ok(places)
    }
}

impl Stacks {
    fn frame(&mut self, place: StackFrame, cx: &RenderContext<'_>) -> &[u8] {
        if self.frames.len() >= FRAMES_KEPT {
            self.frames.clear();
        }
        self.frames.entry((place.code, place.position)).or_insert_with(|| {
            let FrameText { file, function, line, column } = (cx.describe_frame)(place);
            let mut text = Vec::new();
            frame(&mut Json::new(&mut text), &file, &function, line, column);
            text.into()
        })
    }

    fn keep(&mut self, key: &[u8], text: &[u8]) {
        let bytes = key.len() + text.len();
        if self.bytes + bytes > STACKS_KEPT {
            self.whole.clear();
            self.bytes = 0;
        }
        self.whole.insert(key.into(), text.into());
        self.bytes += bytes;
    }
}

#[cold]
fn misplaced() -> Error {
    Error::new(ErrorKind::BadRecord, "bad record: an item stands where it may not")
}

fn frame(json: &mut Json<'_>, file: &str, function: &str, line: u32, column: u32) {
    json.raw(b"{");
    if !file.is_empty() {
        json.text(",\"fileName\":", file);
    }
    json.text(",\"function\":", function);
    json.number(",\"lineNumber\":", line);
    if column > 0 {
        json.number(",\"columnNumber\":", column);
    }
    json.raw(b"}");
}

/// Passes the points of an error event, which shows none.
fn skip_points<'r>(reader: &mut Reader<'r>) -> Result<Option<Item<'r>>> {
    let mut in_point = true;
    loop {
        match reader.item()? {
            Some(Item::Named(_) | Item::Throwable(_)) => reader.skip()?,
            Some(Item::Stack { count, raw }) if in_point => {
                for _ in 0..count {
                    reader.frame(raw)?;
                }
            }
            Some(Item::Point(_)) => in_point = true,
            Some(Item::EndPoint(_)) => in_point = false,
            Some(Item::Section(_)) => {}
            next => return Ok(next),
        }
    }
}

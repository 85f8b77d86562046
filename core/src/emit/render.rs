//! Turns a record into the event of the intake (*Signals and upload* 1, 2, 5). It stands on the walk of a hit, on the
//! worker: [`crate::record::read`] before, [`super::values`] for what was captured, [`super::prune`] after.
//!
//! A record is read once, in its own order. What the events of one place have in common is written once and kept: a
//! [`Renderer`] lasts as long as its session.

use super::event::{Event, SpanKind};
use super::health::{LACKS_RESULT, Lacks, lacks};
use super::json::Json;
use super::language::{Names, Profile};
use super::message::{self, FailureText, Recorded, Spelling};
use super::values::{Spellings, Values, text_of};
use crate::capture::limits::MESSAGE_LENGTH;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::Expression;
use crate::expr::eval::{self, Category, Failure};
use crate::expr::template::Segment;
use crate::host::{FrameText, Site, StackFrame};
use crate::probe::model::{Kind, Location, Probe};
use crate::record::buffer::Buffer;
use crate::record::layout as lay;
use crate::record::read::{Content, FrameRef, Item, NameRef, Reader, RecordHeader};
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
/// Bytes of memory that are kept for the next event.
const TEXT_KEPT: usize = 64 * 1024;
/// Bytes of whole stacks that are kept.
const STACKS_KEPT: usize = 256 * 1024;

/// What events of one probe at one place have in common, as JSON.
struct Envelope {
    probe: Arc<Probe>,
    site: Option<Arc<Site>>,
    /// The site, for people.
    place: String,
    /// Digits of a time. Whole texts are kept, into which an event's own time is put.
    digits: usize,
    /// From the begin to the message.
    begin: Box<[u8]>,
    /// Where the time stands in it.
    begin_time: usize,
    /// From the message or duration to the thread's id.
    logger: Box<[u8]>,
    /// The same with the thread of the event before, up to the id of a trace.
    thread: Thread,
    /// From the trace to the probe, or to the duration of a method.
    snapshot: Box<[u8]>,
    /// The probe with its location, if a duration may stand before it.
    definition: Box<[u8]>,
    /// Which of the whole stacks the event before had.
    stack: usize,
}

/// A thread, as it stands in JSON.
struct Thread {
    id: u64,
    name: u32,
    text: Vec<u8>,
}

/// What stands before the event's id, and between that and the time.
const BEFORE_ID: &[u8] = b",\"debugger\":{\"snapshot\":{\"id\":\"";
const AFTER_ID: &[u8] = b"\",\"timestamp\":";
const ID: usize = 36;

impl Envelope {
    fn of(live: &LiveProbe, site: Option<Arc<Site>>, cx: &RenderContext<'_>, profile: &Profile, time: &[u8]) -> Self {
        let probe = &*live.probe;
        let unknown = Site::default();
        let at = site.as_deref().unwrap_or(&unknown);
        let [mut begin, mut logger, mut snapshot, mut definition] = std::array::from_fn(|_| Buffer::new(256));
        let mut json = Json::new(&mut begin);
        json.put(b"{");
        json.text(b",\"ddsource\":", "dd_debugger");
        json.text(b",\"service\":", &cx.identity.service);
        if !cx.identity.hostname.is_empty() {
            json.text(b",\"hostname\":", &cx.identity.hostname);
        }
        json.put(b",\"timestamp\":");
        let begin_time = json.len();
        json.raw(time);
        json.put(b",\"type\":\"snapshot\",\"message\":");
        let mut json = Json::new(&mut logger);
        // The comma that is due after the message.
        json.put(b",");
        if !cx.identity.process_tags.is_empty() {
            json.put(b"\"process_tags\":");
            json.string(&cx.identity.process_tags);
            json.put(b",");
        }
        if !probe.tags.is_empty() {
            json.put(b"\"ddtags\":");
            json.string(&probe.tags.join(","));
            json.put(b",");
        }
        json.put(b"\"logger\":{\"name\":");
        json.string(match profile.names {
            Names::File => &at.file,
            Names::GivenFile => given_file(probe, at),
            Names::Class => &at.type_name,
        });
        json.text(b",\"method\":", &at.function);
        json.put(b",\"version\":2,\"thread_id\":");
        let mut json = Json::new(&mut snapshot);
        json.raw(BEFORE_ID);
        json.raw(&[b'-'; ID]);
        json.raw(AFTER_ID);
        json.raw(time);
        json.text(b",\"language\":", cx.language.wire_name());
        json.put(b",\"type\":\"snapshot\"");
        let mut json = if probe.is_method() { Json::new(&mut definition) } else { json };
        json.put(b",\"probe\":{");
        json.text(b",\"id\":", &probe.id);
        json.number(b",\"version\":", probe.version);
        location(&mut json, profile, at, probe);
        json.put(b"}");
        Envelope {
            probe: Arc::clone(&live.probe),
            place: at.to_string(),
            site,
            digits: time.len(),
            begin: begin.bytes().into(),
            begin_time,
            logger: logger.bytes().into(),
            thread: Thread { id: 0, name: lay::NO_TYPE, text: Vec::new() },
            snapshot: snapshot.bytes().into(),
            definition: definition.bytes().into(),
            stack: 0,
        }
    }

    fn is_of(&self, live: &LiveProbe, time: &[u8]) -> bool {
        Arc::ptr_eq(&self.probe, &live.probe) && live.is_at(self.site.as_ref()) && self.digits == time.len()
    }

    /// Writes the begin, up to the message.
    fn begin(&self, json: &mut Json<'_>, time: &[u8]) {
        let start = json.len();
        json.raw(&self.begin);
        json.patch(start + self.begin_time, time);
    }

    /// Writes what stands between message and trace.
    fn logger(&mut self, json: &mut Json<'_>, header: &RecordHeader, cx: &RenderContext<'_>, profile: &Profile) {
        let Envelope { logger, thread, .. } = self;
        if (thread.id, thread.name) != (header.thread, header.thread_name) || thread.text.is_empty() {
            thread.write(logger, header, cx, profile);
        }
        json.raw(&thread.text);
    }

    /// Writes what stands between trace and captures.
    fn snapshot(&self, json: &mut Json<'_>, id: [u8; 16], time: &[u8], duration: Option<u64>) {
        let start = json.len() + BEFORE_ID.len();
        json.raw(&self.snapshot);
        json.patch(start, &uuid(id));
        json.patch(start + ID + AFTER_ID.len(), time);
        if let Some(duration) = duration {
            json.number(b",\"duration\":", duration);
        }
        json.raw(&self.definition);
    }
}

impl Thread {
    #[cold]
    fn write(&mut self, logger: &[u8], header: &RecordHeader, cx: &RenderContext<'_>, profile: &Profile) {
        (self.id, self.name) = (header.thread, header.thread_name);
        let name = cx.tables.name(self.name).unwrap_or_default();
        self.text = Json::text_of(|json| {
            json.raw(logger);
            json.integer(self.id);
            json.put(b",\"thread_name\":");
            if profile.pid {
                json.string(&format!("{name};pid:{}", std::process::id()));
            } else {
                json.string(name);
            }
            json.put(b"}");
        });
    }
}

/// Frames and whole stacks as JSON, by the host's numbers: a number of a code stands for the same code as long as the
/// session lasts.
#[derive(Default)]
struct Stacks {
    frames: HashMap<(u32, u32), Box<[u8]>>,
    whole: Vec<Stack>,
    /// Where they stand in `whole`.
    places: HashMap<Box<[u8]>, usize>,
    bytes: usize,
}

/// A whole stack.
struct Stack {
    /// The bytes of its frames in a record.
    key: Box<[u8]>,
    text: Box<[u8]>,
}

/// An event, as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Outline<'r> {
    /// Its JSON.
    pub json: &'r [u8],
    /// The message, as in the JSON.
    pub message: &'r str,
    /// Where it was hit, for people.
    pub site: &'r str,
    /// When it was hit, in milliseconds since the epoch.
    pub time: u64,
    /// What of the capture is not in it.
    pub lacks: Lacks,
}

/// Renders the records of one session.
pub struct Renderer {
    spellings: Spellings,
    envelopes: BTreeMap<u32, Envelope>,
    stacks: Stacks,
    message: String,
    /// The event.
    text: Buffer,
}

/// Where things stand in an event that may have to be pruned.
#[derive(Default)]
struct Places {
    message: (usize, usize),
    frames: Vec<(usize, usize)>,
}

/// Failures, in the order of evaluation.
type Failures = SmallVec<[(Place, FailureText); 1]>;

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
            message: String::new(),
            text: Buffer::new(TEXT_KEPT),
        }
    }

    /// Writes the event of a record.
    pub fn write(&mut self, record: &[u8], cx: &RenderContext<'_>) -> Result<Outline<'_>> {
        let mut text = std::mem::take(&mut self.text);
        text.clear(TEXT_KEPT);
        let mut json = Json::new(&mut text);
        let written = self.write_to(record, cx, &mut json, &mut Places::default());
        let lacks = json.lacks;
        self.text = text;
        let time = written?;
        let site = self.envelopes.get(&cx.live.slot).map_or("", |envelope| &envelope.place);
        Ok(Outline { json: self.text.bytes(), message: &self.message, site, time, lacks })
    }

    /// The event of a record, with the places that [`super::prune`] needs.
    pub fn event(&mut self, record: &[u8], cx: &RenderContext<'_>) -> Result<Event> {
        // What was written without them was too large: it goes first.
        self.text.clear(TEXT_KEPT);
        let (mut text, mut places) = (Buffer::new(TEXT_KEPT), Places::default());
        let mut json = Json::with_spans(&mut text);
        let time = self.write_to(record, cx, &mut json, &mut places)?;
        let spans = json.into_spans();
        let (header, _) = Reader::new(record)?;
        Ok(Event {
            json: text.into_bytes(),
            message: self.message.clone(),
            site: cx.live.site().unwrap_or_default().to_string(),
            time,
            spans,
            message_at: places.message,
            frames: places.frames,
            error: header.error,
            full: header.full,
        })
    }

    /// Writes an event and answers its time, in milliseconds since the epoch.
    fn write_to(
        &mut self,
        record: &[u8],
        cx: &RenderContext<'_>,
        json: &mut Json<'_>,
        places: &mut Places,
    ) -> Result<u64> {
        let (header, mut reader) = Reader::new(record)?;
        let mut failures = Failures::new();
        if !self.message_in_order(&mut reader, cx)? {
            let templates = preamble(&mut reader, cx, &mut failures)?;
            self.message_of(&header, &reader, &templates, &failures, cx)?;
        }

        let profile = self.spellings.profile();
        let Renderer { spellings, envelopes, stacks, message, .. } = self;
        let time = header.wall / 1_000_000;
        let mut digits = itoa::Buffer::new();
        let timestamp = digits.format(time).as_bytes();
        let envelope = envelope_of(envelopes, cx, profile, timestamp);
        let duration = header.duration.filter(|_| cx.live.probe.is_method());
        envelope.begin(json, timestamp);
        let from = json.len();
        json.string(message);
        places.message = (from, json.len());
        if let Some(duration) = duration {
            json.number(b",\"duration\":", duration);
        }
        envelope.logger(json, &header, cx, profile);
        trace(json, &header);
        envelope.snapshot(json, header.event_id, timestamp, duration);

        let values = Values { tables: cx.tables, spellings };
        let mut body = Body { values, stacks, cx, frames: &mut places.frames, stack: &mut envelope.stack };
        body.write(json, &mut reader, &header, &mut failures)?;
        json.put(b",\"evaluationErrors\":[");
        if !failures.is_empty() {
            json.lacks |= LACKS_RESULT;
        }
        for (_, failure) in &failures {
            json.next(b",{\"expr\":");
            json.string(&failure.expr);
            json.text(b",\"message\":", &failure.message);
            json.put(b"}");
        }
        json.put(b"]}}}");
        Ok(time)
    }

    /// The template's text, where all its values were recorded, one after the other. Then the reader stands behind them;
    /// else it stays where it is, and the message is made by [`Self::message_of`].
    fn message_in_order(&mut self, reader: &mut Reader<'_>, cx: &RenderContext<'_>) -> Result<bool> {
        let Kind::Log(log) = &cx.live.probe.kind else { return Ok(false) };
        let mut ahead = reader.clone();
        let spelling = Spelling { tables: cx.tables, profile: self.spellings.profile() };
        let mut out = message::Capped::new(&mut self.message, MESSAGE_LENGTH);
        for (index, segment) in log.template.segments.iter().enumerate() {
            match segment {
                Segment::Literal(text) => out.push_str(text),
                Segment::Expression(_) => {
                    if ahead.template()? != Some(index as u32) {
                        return Ok(false);
                    }
                    message::value(&mut ahead, spelling, &mut out, 0)?;
                }
            }
        }
        if matches!(ahead.next_tag()?, lay::ITEM_TEMPLATE | lay::ITEM_FAILURE) {
            return Ok(false);
        }
        out.finish();
        *reader = ahead;
        Ok(true)
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
        let spelling = Spelling { tables: cx.tables, profile: self.spellings.profile() };
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
            message::render(&log.template, reader, spelling, find, header.error, &mut out)?;
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
    time: &[u8],
) -> &'e mut Envelope {
    if envelopes.len() >= ENVELOPES_KEPT && !envelopes.contains_key(&cx.live.slot) {
        envelopes.clear();
    }
    let make = || Envelope::of(cx.live, cx.live.site(), cx, profile, time);
    match envelopes.entry(cx.live.slot) {
        Entry::Vacant(place) => place.insert(make()),
        Entry::Occupied(mut place) => {
            if !place.get().is_of(cx.live, time) {
                place.insert(make());
            }
            place.into_mut()
        }
    }
}

/// Reads what stands before the points: where the value of each segment stands, and what failed.
fn preamble(
    reader: &mut Reader<'_>,
    cx: &RenderContext<'_>,
    failures: &mut Failures,
) -> Result<SmallVec<[(u32, usize); 8]>> {
    let mut templates = SmallVec::new();
    loop {
        if let Some(segment) = reader.template()? {
            templates.push((segment, reader.at()));
            reader.skip()?;
        } else if !failure(reader, cx, failures)? {
            return Ok(templates);
        }
    }
}

/// Reads a failure, if one is next.
fn failure(reader: &mut Reader<'_>, cx: &RenderContext<'_>, failures: &mut Failures) -> Result<bool> {
    if reader.next_tag()? != lay::ITEM_FAILURE {
        return Ok(false);
    }
    if let Some(Item::Failure(place, failure)) = reader.item()? {
        failures.push((place, describe(place, failure, cx)?));
    }
    Ok(true)
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
        (Place::Segment(number), Kind::SpanDecoration(span)) => span.segment(number),
        (Place::Tag(index, tag), Kind::SpanDecoration(span)) => {
            let tags = &span.decorations.get(usize::from(index))?.tags;
            tags.get(usize::from(tag))?.value.expressions().next()
        }
        _ => None,
    }
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
    json.put(b",\"dd\":{\"trace_id\":\"");
    match u64::try_from(header.trace_id) {
        Ok(id) => json.integer(id),
        Err(_) => json.raw(format!("{:032x}", header.trace_id).as_bytes()),
    }
    json.put(b"\",\"span_id\":\"");
    json.integer(header.span_id);
    json.put(b"\"}");
}

/// Random bits as a UUID of version 4.
pub fn uuid(mut bits: [u8; 16]) -> [u8; ID] {
    bits[6] = bits[6] & 0x0F | 0x40;
    bits[8] = bits[8] & 0x3F | 0x80;
    // Without a table and without branches the compiler makes all digits at once.
    let digit = |four: u8| four + b'0' + (b'a' - b'9' - 1) * u8::from(four > 9);
    let mut digits = [[0; 2]; 16];
    for (two, byte) in digits.iter_mut().zip(bits) {
        *two = [digit(byte >> 4), digit(byte & 0xF)];
    }
    let mut text = [b'-'; ID];
    let parts = [(0, 0..8), (9, 8..12), (14, 12..16), (19, 16..20), (24, 20..32)];
    for (at, part) in parts {
        let part = digits.as_flattened().get(part).unwrap_or_default();
        if let Some(place) = text.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
    }
    text
}

fn location(json: &mut Json<'_>, profile: &Profile, site: &Site, probe: &Probe) {
    json.put(b",\"location\":{");
    if probe.is_method() || profile.names == Names::Class {
        json.text(b",\"type\":", &site.type_name);
        json.text(b",\"method\":", &site.method);
    }
    if !probe.is_method() {
        json.text(b",\"file\":", if profile.names == Names::GivenFile { given_file(probe, site) } else { &site.file });
        json.put(b",\"lines\":[");
        for line in &site.lines {
            json.next(b",\"");
            json.integer(*line);
            json.put(b"\"");
        }
        json.put(b"]");
    }
    json.put(b"}");
}

const SECTIONS: [&[u8]; 4] = [b",\"arguments\":", b",\"locals\":", b",\"staticFields\":", b",\"captureExpressions\":"];

/// What follows the probe in an event: its captures and its stack.
struct Body<'a> {
    values: Values<'a>,
    stacks: &'a mut Stacks,
    cx: &'a RenderContext<'a>,
    /// Where each frame of the stack stands, if spans are kept.
    frames: &'a mut Vec<(usize, usize)>,
    /// Which of the whole stacks is the most likely.
    stack: &'a mut usize,
}

/// The frames of a stack.
#[derive(Clone, Copy)]
struct Frames {
    count: u32,
    /// They are given by name.
    raw: bool,
    /// They are spans of their own, at this level.
    level: Option<u32>,
}

impl Body<'_> {
    /// Writes captures and stack, in the order of the record, and collects the failures of capture expressions.
    fn write(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'_>,
        header: &RecordHeader,
        failures: &mut Failures,
    ) -> Result<()> {
        if reader.next_tag()? == lay::ITEM_POINT {
            if header.error {
                skip_points(reader, self.cx, failures)?;
            } else {
                json.put(b",\"captures\":{");
                self.captures(json, reader, failures)?;
                json.put(b"}");
            }
        }
        json.put(b",\"stack\":");
        let mut next = reader.item()?;
        if let Some(Item::Stack { count, raw }) = next {
            *self.frames = self.stack(json, reader, Frames { count, raw, level: None })?;
            next = reader.item()?;
        } else {
            json.put(b"[]");
        }
        if next.is_some() { Err(misplaced()) } else { Ok(()) }
    }

    /// Writes the points. The failures of a point's expressions stand behind it.
    fn captures(&mut self, json: &mut Json<'_>, reader: &mut Reader<'_>, failures: &mut Failures) -> Result<()> {
        while reader.next_tag()? == lay::ITEM_POINT {
            let Some(Item::Point(point)) = reader.item()? else { return Err(misplaced()) };
            match point {
                Point::Entry => json.next(b",\"entry\":{"),
                Point::Return => json.next(b",\"return\":{"),
                Point::Line(line) => {
                    json.next(b",\"lines\":{\"");
                    json.integer(line);
                    json.put(b"\":{");
                }
            }
            // Lines stand in an object of their own.
            if matches!(point, Point::Line(_)) {
                self.point(json, reader, 6)?;
                json.put(b"}}");
            } else {
                self.point(json, reader, 5)?;
                json.put(b"}");
            }
            while failure(reader, self.cx, failures)? {}
        }
        Ok(())
    }

    /// Writes what stands in a point, at a level.
    fn point(&mut self, json: &mut Json<'_>, reader: &mut Reader<'_>, level: u32) -> Result<()> {
        loop {
            match reader.item()? {
                Some(Item::Section(code)) => {
                    json.next_of(SECTIONS.get(usize::from(code)).copied().unwrap_or_default());
                    let (open, names) = (json.begin(SpanKind::Section, None, level), json.len());
                    while reader.next_tag()? == lay::ITEM_NAMED {
                        let argument = reader.name_argument()?;
                        let text = reader.inline_of(argument)?;
                        self.values.key(json, argument, text)?;
                        self.values.value(json, reader, Some(open), level + 1, 0)?;
                    }
                    json.brace_from(names);
                    json.put(b"}");
                    json.end(open);
                }
                Some(Item::Throwable(class)) => {
                    json.next(b",\"throwable\":");
                    self.throwable(json, reader, class, level)?;
                }
                Some(Item::EndPoint(reason)) => {
                    if let Some(text) = lay::reason_text(reason) {
                        json.lacks |= lacks(reason);
                        json.text(b",\"notCapturedReason\":", text);
                    }
                    return Ok(());
                }
                _ => return Err(misplaced()),
            }
        }
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
            Content::Withheld { reason: lay::REASON_STRICT, .. } => message.push_str("{withheld}"),
            _ => {}
        }
        reader.skip()?;
        json.text(b",\"message\":", &message);
        json.put(b",\"stacktrace\":");
        let mut ahead = reader.clone();
        if let Some(Item::Stack { count, raw }) = ahead.item()? {
            self.stack(json, &mut ahead, Frames { count, raw, level: Some(level + 1) })?;
            *reader = ahead;
        } else {
            json.put(b"[]");
        }
        json.put(b"}");
        Ok(())
    }

    /// Writes the frames of a stack and answers where each stands, if spans are kept.
    fn stack(&mut self, json: &mut Json<'_>, reader: &mut Reader<'_>, frames: Frames) -> Result<Vec<(usize, usize)>> {
        if frames.raw || json.keeps_spans() {
            return self.frame_by_frame(json, reader, frames);
        }
        let key = reader.frames(frames.count)?;
        if let Some(known) = self.stacks.known(key, self.stack) {
            json.raw(known);
            return Ok(Vec::new());
        }
        let start = json.len();
        self.frame_by_frame(json, &mut reader.before(key), frames)?;
        self.stacks.keep(key, json.since(start));
        Ok(Vec::new())
    }

    fn frame_by_frame(
        &mut self,
        json: &mut Json<'_>,
        reader: &mut Reader<'_>,
        frames: Frames,
    ) -> Result<Vec<(usize, usize)>> {
        let mut places = Vec::new();
        json.put(b"[");
        for index in 0..frames.count {
            if index > 0 {
                json.put(b",");
            }
            let span = frames.level.map(|level| json.begin(SpanKind::Frame, None, level));
            let start = json.len();
            match reader.frame(frames.raw)? {
                FrameRef::Host(place) => json.raw(self.stacks.frame(place, self.cx)),
                FrameRef::Raw { file, function, line, column } => {
                    let tables = self.cx.tables;
                    frame(json, text_of(tables, file)?, text_of(tables, function)?, line, column);
                }
            }
            if json.keeps_spans() {
                places.push((start, json.len()));
            }
            if let Some(span) = span {
                json.end(span);
            }
        }
        json.put(b"]");
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
            Json::text_of(|json| frame(json, &file, &function, line, column)).into()
        })
    }

    /// The text of a whole stack. `likely` is where it may stand, and does afterwards.
    #[inline]
    fn known(&self, key: &[u8], likely: &mut usize) -> Option<&[u8]> {
        if self.whole.get(*likely).is_none_or(|known| *known.key != *key) {
            *likely = *self.places.get(key)?;
        }
        self.whole.get(*likely).map(|known| &*known.text)
    }

    fn keep(&mut self, key: &[u8], text: &[u8]) {
        let bytes = 2 * key.len() + text.len();
        if self.bytes + bytes > STACKS_KEPT {
            self.whole.clear();
            self.places.clear();
            self.bytes = 0;
        }
        self.places.insert(key.into(), self.whole.len());
        self.whole.push(Stack { key: key.into(), text: text.into() });
        self.bytes += bytes;
    }
}

#[cold]
fn misplaced() -> Error {
    Error::new(ErrorKind::BadRecord, "bad record: an item stands where it may not")
}

fn frame(json: &mut Json<'_>, file: &str, function: &str, line: u32, column: u32) {
    json.put(b"{");
    if !file.is_empty() {
        json.text(b",\"fileName\":", file);
    }
    json.text(b",\"function\":", function);
    json.number(b",\"lineNumber\":", line);
    if column > 0 {
        json.number(b",\"columnNumber\":", column);
    }
    json.put(b"}");
}

/// Passes the points of an error event, which shows none.
fn skip_points(reader: &mut Reader<'_>, cx: &RenderContext<'_>, failures: &mut Failures) -> Result<()> {
    while reader.next_tag()? == lay::ITEM_POINT {
        reader.item()?;
        loop {
            match reader.item()? {
                Some(Item::Named(_) | Item::Throwable(_)) => reader.skip()?,
                Some(Item::Stack { count, raw }) => {
                    for _ in 0..count {
                        reader.frame(raw)?;
                    }
                }
                Some(Item::Section(_)) => {}
                Some(Item::EndPoint(_)) => break,
                _ => return Err(misplaced()),
            }
        }
        while failure(reader, cx, failures)? {}
    }
    Ok(())
}

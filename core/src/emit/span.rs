//! Spans that we send ourselves, where the application has no tracer: from the record of a call to what the Agent's trace API
//! takes. On the walk of a hit going out, on the worker: before it `worker.rs`, after it `sender.rs`. The texts of a hit that
//! go to the application's tracer are made here too: a decoration's tag, and the exception that ended a call.

use super::batch::{Batch, Kind};
use super::message::{self, Capped, Spelling};
use super::output::Identity;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::template::Segment;
use crate::host::Language;
use crate::probe::model::{Location, Tag};
use crate::record::layout as lay;
use crate::record::names::Tables;
use crate::record::read::{Content, Item, NameRef, Reader, RecordHeader};
use crate::registry::LiveProbe;
use crate::text::Text;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a span of ours is called.
pub const NAME: &str = "dd.dynamic.span";

/// The tag with the id of the probe.
pub const PROBE_ID: &str = "debugger.probeid";

/// The most characters of a decoration's tag.
const MAX_TAG: usize = 5000;
/// The most characters of a resource.
const MAX_RESOURCE: usize = 5000;
/// The most characters of a service.
const MAX_SERVICE: usize = 100;
/// The most bytes of a batch of spans.
const MAX_BYTES: usize = 1 << 20;
/// The head of a batch: an array, and how many elements it has.
const HEAD: usize = 5;

/// A span, as the Agent's trace API takes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The service.
    pub service: String,
    /// The name of the operation.
    pub name: String,
    /// What was called.
    pub resource: String,
    /// Always empty.
    #[serde(rename = "type")]
    pub kind: String,
    /// The lower half of the trace's id.
    pub trace_id: u64,
    /// Its id.
    pub span_id: u64,
    /// That of the span it is in; 0: none.
    pub parent_id: u64,
    /// Nanoseconds since the epoch.
    pub start: i64,
    /// Nanoseconds.
    pub duration: i64,
    /// 1 if the call ended by an exception.
    pub error: i32,
    /// Tags.
    pub meta: BTreeMap<String, String>,
    /// Tags that are numbers.
    pub metrics: BTreeMap<String, f64>,
}

/// The exception that ended a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanError {
    /// Its class.
    pub kind: String,
    /// Its message, if that is plain text.
    pub message: String,
}

/// What spans say of their process.
pub struct SpanContext<'a> {
    /// Who this process is.
    pub identity: &'a Identity,
    /// The language of the host.
    pub language: Language,
    /// `env`, if it is set.
    pub env: Option<&'a str>,
    /// `version`, if it is set.
    pub version: Option<&'a str>,
    /// Names and types.
    pub tables: &'a Tables,
}

fn bad(what: &str) -> Error {
    Error::new(ErrorKind::BadRecord, format!("bad record: {what}"))
}

/// The text of a decoration's tag, from the record that has the values of its template in their order.
pub fn tag_text(record: &[u8], tag: &Tag, spelling: Spelling<'_>) -> Result<String> {
    let (_, mut reader) = Reader::new(record)?;
    let mut text = String::new();
    let mut out = Capped::new(&mut text, MAX_TAG);
    for (index, segment) in (u32::from(tag.first)..).zip(&tag.value.segments) {
        match segment {
            Segment::Literal(text) => out.push_str(text),
            Segment::Expression(_) if reader.template()? == Some(index) => {
                message::value(&mut reader, spelling, &mut out, 0)?;
            }
            Segment::Expression(_) => return Err(bad("a tag's value is missing")),
        }
    }
    out.finish();
    Ok(text)
}

/// The exception in a record, if there is one.
pub fn error_of(record: &[u8], tables: &Tables) -> Result<Option<SpanError>> {
    let (_, mut reader) = Reader::new(record)?;
    while let Some(item) = reader.item()? {
        match item {
            Item::Point(_) => {}
            Item::Throwable(class) => return thrown(&mut reader, class, tables).map(Some),
            _ => break,
        }
    }
    Ok(None)
}

fn thrown(reader: &mut Reader<'_>, class: NameRef<'_>, tables: &Tables) -> Result<SpanError> {
    let kind = match class {
        NameRef::Implied => "",
        NameRef::Text(text) => text,
        NameRef::Id(id) => tables.type_name(id).ok_or_else(|| message::unknown("type", id))?,
    };
    let mut message = String::new();
    match reader.value()?.content {
        Content::Str { text, .. } => text.with(|text: Text<'_>| text.push_to(&mut message)),
        Content::Withheld { reason: lay::REASON_REDACTED_TYPE | lay::REASON_REDACTED_IDENT, .. } => {
            message.push_str("{redacted}");
        }
        // Anything else than text may show what was not meant to be shown.
        _ => {}
    }
    Ok(SpanError { kind: kind.to_owned(), message })
}

/// What was called, as spans name it.
pub fn resource(live: &LiveProbe) -> String {
    let site = live.site();
    let found = site.as_ref().map(|site| site.method.as_str()).filter(|method| !method.is_empty());
    let asked = match &live.probe.location {
        Location::Method { method, .. } => method,
        Location::Lines { file, .. } => file,
    };
    found.unwrap_or(asked).to_owned()
}

/// The tags of every span of a probe.
pub fn tags(live: &LiveProbe) -> Vec<(&str, &str)> {
    let own = live.probe.tags.iter().map(|tag| tag.split_once(':').unwrap_or((tag.as_str(), "")));
    own.chain([(PROBE_ID, live.probe.id.as_str())]).filter(|(name, _)| !name.is_empty()).collect()
}

fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// A number other than 0, which stands for none.
fn id(number: u64) -> u64 {
    number.max(1)
}

/// The ids of a span: the halves of its trace's, its own, and that of the span it is in. Without one it is a trace of its own,
/// whose id begins with the time, as tracers of the Agent's make them.
fn ids(header: &RecordHeader, start: u64) -> (u64, u64, u64, u64) {
    let own = id(u64::from_le_bytes(*header.event_id.first_chunk().unwrap_or(&[0; 8])));
    if header.trace_id != 0 {
        return ((header.trace_id >> 64) as u64, header.trace_id as u64, own, header.span_id);
    }
    ((start / 1_000_000_000) << 32, own, own, 0)
}

/// Makes the span of a record.
pub fn span(record: &[u8], live: &LiveProbe, cx: &SpanContext<'_>) -> Result<Span> {
    let (header, _) = Reader::new(record)?;
    let duration = header.duration.unwrap_or(0);
    let start = header.wall.saturating_sub(duration);
    let (high, trace_id, span_id, parent_id) = ids(&header, start);
    let mut meta: BTreeMap<String, String> = BTreeMap::new();
    let mut put = |name: &str, value: &str| {
        if !value.is_empty() {
            meta.insert(name.to_owned(), value.to_owned());
        }
    };
    put("_dd.origin", "di");
    put("_dd.p.tid", &if high == 0 { String::new() } else { format!("{high:016x}") });
    put("_dd.p.dm", "-0");
    put("_dd.tags.process", &cx.identity.process_tags);
    put("runtime-id", &cx.identity.runtime_id);
    put("language", cx.language.wire_name());
    put("env", cx.env.unwrap_or_default());
    put("version", cx.version.unwrap_or_default());
    meta.extend(tags(live).into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    let error = error_of(record, cx.tables)?;
    if let Some(error) = &error {
        meta.insert("error.type".to_owned(), error.kind.clone());
        meta.insert("error.message".to_owned(), error.message.clone());
    }
    let numbers = [("_sampling_priority_v1", 1.0), ("_dd.top_level", 1.0), ("process_id", f64::from(cx.identity.pid))];
    Ok(Span {
        service: cut(&cx.identity.service, MAX_SERVICE),
        name: NAME.to_owned(),
        resource: cut(&resource(live), MAX_RESOURCE),
        kind: String::new(),
        trace_id,
        span_id,
        parent_id,
        start: i64::try_from(start).unwrap_or(i64::MAX),
        duration: i64::try_from(duration).unwrap_or(i64::MAX),
        error: error.is_some().into(),
        meta,
        metrics: numbers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    })
}

/// The span for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'a> {
    ddsource: &'a str,
    service: &'a str,
    timestamp: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    ddtags: String,
    span: Shown<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    resource: &'a str,
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<String>,
    start: i64,
    duration: i64,
    error: bool,
    tags: &'a BTreeMap<String, String>,
    probe_id: &'a str,
    probe_version: i64,
}

impl Span {
    /// The trace's whole id, in hexadecimal.
    pub fn trace_hex(&self) -> String {
        let high = self.meta.get("_dd.p.tid").map_or("0000000000000000", String::as_str);
        format!("{high}{:016x}", self.trace_id)
    }

    /// One JSON object without line ends.
    pub fn json(&self, live: &LiveProbe) -> Vec<u8> {
        let json = SpanJson {
            ddsource: "dd_debugger",
            service: &self.service,
            timestamp: u64::try_from(self.start).unwrap_or(0) / 1_000_000,
            kind: "span",
            ddtags: live.probe.tags.join(","),
            span: Shown {
                name: &self.name,
                resource: &self.resource,
                trace_id: self.trace_hex(),
                span_id: self.span_id.to_string(),
                parent_id: (self.parent_id != 0).then(|| self.parent_id.to_string()),
                start: self.start,
                duration: self.duration,
                error: self.error != 0,
                tags: &self.meta,
                probe_id: &live.probe.id,
                probe_version: live.probe.version,
            },
        };
        // Texts and whole numbers only: writing them into memory cannot fail.
        serde_json::to_vec(&json).unwrap_or_default()
    }
}

/// Collects spans into the arrays that one request carries: each is a trace of its own.
#[derive(Debug)]
pub struct SpanBatcher {
    interval: u64,
    body: Vec<u8>,
    riders: BTreeMap<u32, u64>,
    count: usize,
    due: u64,
}

impl SpanBatcher {
    /// A batch closes `interval` after its first span.
    pub fn new(interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        SpanBatcher { interval, body: Vec::new(), riders: BTreeMap::new(), count: 0, due: 0 }
    }

    /// Adds a span of the probe in a slot. False if there is no room for it.
    pub fn push(&mut self, span: &Span, slot: u32, now: u64) -> bool {
        if self.is_full() {
            return false;
        }
        if self.count == 0 {
            self.body.resize(HEAD, 0);
            self.due = now.saturating_add(self.interval);
        }
        let before = self.body.len();
        // An array of one.
        self.body.push(0x91);
        if rmp_serde::encode::write_named(&mut self.body, span).is_err() {
            self.body.truncate(before);
            return false;
        }
        *self.riders.entry(slot).or_default() += 1;
        self.count += 1;
        true
    }

    /// True if no more spans are taken before this batch has gone.
    pub fn is_full(&self) -> bool {
        self.body.len() >= MAX_BYTES
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// True if the batch is to be sent now.
    pub fn is_due(&self, now: u64) -> bool {
        self.count > 0 && (now >= self.due || self.is_full())
    }

    /// Closes the batch and gives it away; `None` if it is empty.
    pub fn take(&mut self) -> Option<Batch> {
        if self.count == 0 {
            return None;
        }
        let mut body = std::mem::take(&mut self.body);
        let [first, second, third, fourth] = u32::try_from(self.count).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(head) = body.first_chunk_mut::<HEAD>() {
            *head = [0xdd, first, second, third, fourth];
        }
        body.shrink_to_fit();
        let riders = std::mem::take(&mut self.riders).into_iter().collect();
        Some(Batch { kind: Kind::Spans, body, count: std::mem::take(&mut self.count), riders })
    }
}

/// Reads what a batch holds.
///
/// # Errors
/// If it is none.
pub fn read(body: &[u8]) -> Result<Vec<Vec<Span>>> {
    rmp_serde::from_slice(body).map_err(|error| bad(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(number: u64) -> Span {
        Span { service: "shop".into(), name: NAME.into(), trace_id: number, span_id: number, ..Span::default() }
    }

    #[test]
    fn a_batch_is_an_array_of_traces_with_one_span_each() {
        let mut batcher = SpanBatcher::new(Duration::from_secs(1));
        assert_eq!(batcher.take(), None);
        for (number, slot) in [(1, 7), (2, 9), (3, 7)] {
            assert!(batcher.push(&some(number), slot, 5));
        }
        assert!(!batcher.is_due(1_000_000_004) && batcher.is_due(1_000_000_005));
        let batch = batcher.take().unwrap();
        assert_eq!((batch.kind, batch.count, &batch.riders[..]), (Kind::Spans, 3, &[(7, 2), (9, 1)][..]));
        assert_eq!(read(&batch.body).unwrap(), [1, 2, 3].map(|number| vec![some(number)]));
        assert!(batcher.is_empty() && batcher.take().is_none());
    }

    #[test]
    fn a_full_batch_takes_no_more_until_it_has_gone() {
        let mut batcher = SpanBatcher::new(Duration::from_secs(1));
        let long = Span { resource: "x".repeat(MAX_RESOURCE), ..some(1) };
        let taken = (0..1000).take_while(|_| batcher.push(&long, 0, 0)).count();
        assert!(batcher.is_due(0) && batcher.is_full());
        let batch = batcher.take().unwrap();
        assert_eq!((batch.count, batch.body.len() / MAX_BYTES), (taken, 1));
        assert!(batcher.push(&long, 0, 0));
    }
}

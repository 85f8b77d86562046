//! Health metrics (*Signals and upload* 10): how probes and uploads fare, as metrics of our own. On the walk of a hit going
//! out, on the worker: before it the counters of [`crate::stats`], after it [`super::statsd`] and [`crate::datagrams`].
//!
//! Nothing is added to a hit: every ten seconds, and at the end, the worker tells how far the counters have risen.

use crate::probe::model::{Kind, Probe};
use crate::record::layout as lay;
use crate::session::SessionStats;
use crate::stats::{Counter, Drop, ProbeStats, SKIPS};
use std::collections::HashMap;
use std::hash::Hash;

/// What stands before each name.
const PREFIX: &str = "datadog.debugger.";
/// Nanoseconds between two tellings.
const EVERY_NS: u64 = 10_000_000_000;

/// What an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum EventType {
    /// It has captures.
    Snapshot,
    /// A message alone.
    Log,
    /// A value that was measured.
    Metric,
    /// A span, or tags of one.
    Span,
    /// Its probe is forgotten.
    Unknown,
}

/// How many there are.
pub const EVENT_TYPES: usize = 5;

impl EventType {
    /// Every one, in order.
    pub const ALL: [EventType; EVENT_TYPES] =
        [EventType::Snapshot, EventType::Log, EventType::Metric, EventType::Span, EventType::Unknown];

    /// Of a probe.
    pub fn of(probe: &Probe) -> EventType {
        match &probe.kind {
            Kind::Log(_) if probe.captures() => EventType::Snapshot,
            Kind::Log(_) => EventType::Log,
            Kind::Metric(_) => EventType::Metric,
            Kind::Span | Kind::SpanDecoration(_) => EventType::Span,
        }
    }

    /// Its tag; `None` where it is not known.
    fn name(self) -> Option<&'static str> {
        match self {
            EventType::Snapshot => Some("snapshot"),
            EventType::Log => Some("log"),
            EventType::Metric => Some("metric"),
            EventType::Span => Some("span"),
            EventType::Unknown => None,
        }
    }
}

/// What an event lacks, each as a bit: for [`lay::REASON_DEPTH`] and its like the bit of that number, and the following.
pub type Lacks = u16;
/// The rest of a string.
pub const LACKS_TEXT: Lacks = 1 << 15;
/// What an expression would have yielded that failed.
pub const LACKS_RESULT: Lacks = 1 << 14;
/// What was pruned.
pub const LACKS_ROOM: Lacks = 1 << 13;

/// The bit of a reason of the record.
#[inline]
pub fn lacks(reason: u8) -> Lacks {
    1 << (reason & 7)
}

/// The reasons of `capture.incomplete`, with what they stand for.
const REASONS: [(&str, Lacks); 8] = [
    ("depth", 1 << lay::REASON_DEPTH),
    ("fieldCount", 1 << lay::REASON_FIELD_COUNT),
    ("collectionSize", 1 << lay::REASON_COLLECTION_SIZE),
    ("timeout", 1 << lay::REASON_TIMEOUT),
    ("other", 1 << lay::REASON_CHANGED),
    ("stringLength", LACKS_TEXT),
    ("runtimeError", LACKS_RESULT),
    ("payloadTooLarge", LACKS_ROOM),
];

/// How many events lacked something.
#[derive(Debug, Default)]
pub struct Incomplete([[Counter; REASONS.len()]; EVENT_TYPES]);

impl Incomplete {
    /// Counts an event, once for each reason. Called by the worker.
    pub fn count(&self, of: &Probe, lacks: Lacks) {
        if lacks == 0 {
            return;
        }
        let counters = &self.0[EventType::of(of) as usize];
        for (counter, (_, bits)) in counters.iter().zip(REASONS) {
            counter.add_serial(u64::from(lacks & bits != 0));
        }
    }
}

/// One thing to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// The whole name.
    pub name: String,
    /// `c` or `g`.
    pub letter: &'static str,
    /// How much it has risen, or what it is.
    pub value: f64,
    /// The tags.
    pub tags: Vec<(&'static str, String)>,
}

/// What is looked at.
pub struct Seen<'a> {
    /// What probes did, by the type of their events.
    pub sums: &'a [ProbeStats; EVENT_TYPES],
    /// What events lacked.
    pub incomplete: &'a Incomplete,
    /// Of the whole process.
    pub session: &'a SessionStats,
    /// Probes that are in force: the id, the hits, and what 99 of 100 captures did not exceed, in nanoseconds.
    pub probes: Vec<(String, u64, Option<u64>)>,
}

/// What was told so far.
#[derive(Debug, Default)]
pub struct Health {
    next: u64,
    counts: HashMap<(EventTypeKey, &'static str, &'static str), u64>,
    hits: HashMap<String, u64>,
}

type EventTypeKey = usize;

impl Health {
    /// One that has told nothing yet.
    pub fn new(now: u64) -> Health {
        Health { next: now + EVERY_NS, ..Health::default() }
    }

    /// True if it is time to tell, which then is noted.
    pub fn is_due(&mut self, now: u64) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + EVERY_NS;
        }
        due
    }

    /// What has come since the last time.
    pub fn tell(&mut self, seen: &Seen<'_>) -> Vec<Told> {
        let mut told = Vec::new();
        for (of, sums) in EventType::ALL.into_iter().zip(seen.sums) {
            for reason in Drop::ALL {
                let name = if SKIPS.contains(&reason.name()) { "events.skipped" } else { "events.dropped" };
                self.rise(&mut told, name, of, reason.name(), sums.all_dropped(reason));
            }
            let lacks = seen.incomplete.0[of as usize].iter().zip(REASONS);
            for (count, (reason, _)) in lacks {
                self.rise(&mut told, "capture.incomplete", of, reason, count.get());
            }
            self.rise(&mut told, "capture.incomplete", of, "recordFull", sums.record_full.get());
            self.rise(&mut told, "evaluation.errors", of, "", sums.failed.get());
        }
        let lost = seen.session.uploads.as_ref().map_or(0, |uploads| uploads.statuses_lost);
        if let Some(value) = rise(&mut self.counts, (EVENT_TYPES, "events.dropped", "transport"), lost) {
            let tags = vec![("event_type", "diagnostic".to_owned()), ("reason", "transport".to_owned())];
            told.push(count("events.dropped", value, tags));
        }
        told.push(gauge("queue.bytes", seen.session.queued_bytes as f64, Vec::new()));
        if let Some(age) = seen.session.uploads.as_ref().and_then(|uploads| uploads.since_success) {
            told.push(gauge("upload.age", age as f64 / 1e9, Vec::new()));
        }
        self.hits.retain(|id, _| seen.probes.iter().any(|(known, ..)| known == id));
        for (id, hits, p99) in &seen.probes {
            let tags = vec![("probe_id", id.clone())];
            if let Some(value) = rise(&mut self.hits, id.clone(), *hits) {
                told.push(count("probe.hits", value, tags.clone()));
            }
            if let Some(p99) = p99 {
                told.push(gauge("probe.capture.p99", *p99 as f64 / 1e6, tags));
            }
        }
        told
    }

    fn rise(&mut self, told: &mut Vec<Told>, name: &'static str, of: EventType, reason: &'static str, sum: u64) {
        if let Some(value) = rise(&mut self.counts, (of as usize, name, reason), sum) {
            let of = of.name().map(|of| ("event_type", of.to_owned()));
            let reason = (!reason.is_empty()).then(|| ("reason", reason.to_owned()));
            told.push(count(name, value, of.into_iter().chain(reason).collect()));
        }
    }
}

/// How far a count has risen since it was told, if it has.
fn rise<K: Eq + Hash>(known: &mut HashMap<K, u64>, key: K, sum: u64) -> Option<u64> {
    // What never came needs no room.
    if sum == 0 {
        return None;
    }
    let before = known.insert(key, sum).unwrap_or(0);
    // Another probe of the same id counts from nothing.
    let value = if sum < before { sum } else { sum - before };
    (value > 0).then_some(value)
}

fn count(name: &str, value: u64, tags: Vec<(&'static str, String)>) -> Told {
    Told { name: format!("{PREFIX}{name}"), letter: "c", value: value as f64, tags }
}

fn gauge(name: &str, value: f64, tags: Vec<(&'static str, String)>) -> Told {
    Told { name: format!("{PREFIX}{name}"), letter: "g", value, tags }
}

#[cfg(test)]
mod tests {
    use super::{EVERY_NS, EventType, Health, Incomplete, LACKS_TEXT, REASONS, Seen, lacks};
    use crate::record::layout as lay;
    use crate::session::{SessionStats, UploadStats};
    use crate::stats::{Drop, ProbeStats};

    fn lines(health: &mut Health, sums: &[ProbeStats; 5], session: &SessionStats, hits: u64) -> Vec<String> {
        let incomplete = Incomplete::default();
        incomplete.0[EventType::Snapshot as usize][0].add(hits);
        let probes = vec![("a".to_owned(), hits, Some(1_500_000))];
        let told = health.tell(&Seen { sums, incomplete: &incomplete, session, probes });
        told.into_iter()
            .map(|told| {
                let tags: Vec<String> = told.tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
                let name = told.name.strip_prefix("datadog.debugger.").unwrap();
                format!("{name}:{}|{} {}", told.value, told.letter, tags.join(","))
            })
            .collect()
    }

    #[test]
    fn counts_are_told_as_they_rise_and_gauges_each_time() {
        let (mut health, sums) = (Health::new(0), <[ProbeStats; 5]>::default());
        let uploads = UploadStats { statuses_lost: 2, since_success: Some(1_500_000_000), ..UploadStats::default() };
        let session = SessionStats { queued_bytes: 7, uploads: Some(uploads), ..SessionStats::default() };
        sums[EventType::Snapshot as usize].dropped(Drop::RateLimitProbe).add(3);
        sums[EventType::Log as usize].dropped(Drop::QueueFull).add(1);
        sums[EventType::Unknown as usize].dropped(Drop::Transport).add(1);
        sums[EventType::Metric as usize].failed.add(4);
        sums[EventType::Snapshot as usize].record_full.add(1);
        let gauges = ["queue.bytes:7|g ", "upload.age:1.5|g ", "probe.capture.p99:1.5|g probe_id:a"];
        let first = [
            "events.skipped:3|c event_type:snapshot,reason:rateLimitProbe",
            "capture.incomplete:5|c event_type:snapshot,reason:depth",
            "capture.incomplete:1|c event_type:snapshot,reason:recordFull",
            "events.dropped:1|c event_type:log,reason:queueFull",
            "evaluation.errors:4|c event_type:metric",
            "events.dropped:1|c reason:transport",
            "events.dropped:2|c event_type:diagnostic,reason:transport",
            gauges[0],
            gauges[1],
            "probe.hits:5|c probe_id:a",
            gauges[2],
        ];
        assert_eq!(lines(&mut health, &sums, &session, 5), first);
        assert_eq!(lines(&mut health, &sums, &session, 5), gauges);
        sums[EventType::Log as usize].dropped(Drop::QueueFull).add(2);
        let third = lines(&mut health, &sums, &session, 5);
        assert_eq!(third[0], "events.dropped:2|c event_type:log,reason:queueFull");
        assert_eq!(
            lines(&mut health, &sums, &session, 2)[3],
            "probe.hits:2|c probe_id:a",
            "a new probe of the same id"
        );
    }

    #[test]
    fn it_is_due_every_ten_seconds() {
        let mut health = Health::new(5);
        assert!(!health.is_due(EVERY_NS + 4));
        assert!(health.is_due(EVERY_NS + 5));
        assert!(!health.is_due(EVERY_NS + 6));
    }

    #[test]
    fn each_reason_of_the_record_has_its_bit_and_secrets_are_no_lack() {
        for (reason, name) in [
            (lay::REASON_DEPTH, "depth"),
            (lay::REASON_FIELD_COUNT, "fieldCount"),
            (lay::REASON_COLLECTION_SIZE, "collectionSize"),
            (lay::REASON_TIMEOUT, "timeout"),
        ] {
            let found: Vec<&str> =
                REASONS.iter().filter(|(_, bits)| lacks(reason) & bits != 0).map(|(name, _)| *name).collect();
            assert_eq!(found, [name]);
        }
        for secret in [lay::REASON_REDACTED_IDENT, lay::REASON_REDACTED_TYPE] {
            assert!(REASONS.iter().all(|(_, bits)| lacks(secret) & bits == 0));
        }
        assert!(REASONS.iter().any(|(name, bits)| *name == "stringLength" && *bits == LACKS_TEXT));
    }
}

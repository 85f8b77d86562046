//! From a record to the places where events go. On the walk of a hit going out, on the worker: before it
//! [`crate::worker`] takes records from the rings, after it the sinks and [`crate::sender`].
//!
//! Sinks of this process (terminal, NDJSON, memory) get each event at once. For the Agent, records wait as records until
//! a batch is due and the sender has room: only then is their JSON made, so that the queue holds several times the events.
//! Spans of ours wait in the batch that they leave with. What metric probes have measured goes to sinks, and by [`crate::datagrams`] to a server of metrics.

use crate::control::agent::retry::Reason;
use crate::control::{EventView, MetricView, Sink, SpanView, StatusView};
use crate::datagrams::Datagrams;
use crate::emit::batch::{Batch, Batcher, Kind, MAX_BYTES, MAX_COUNT};
use crate::emit::event::RenderContext;
use crate::emit::health::{self, Health, LACKS_ROOM};
use crate::emit::language::Profile;
use crate::emit::meter::Taken;
use crate::emit::prune;
use crate::emit::render::{Outline, Renderer};
use crate::emit::ring::BATCH_BYTES;
use crate::emit::span::{self, Span, SpanBatcher, SpanContext};
use crate::emit::statsd;
use crate::emit::status;
use crate::error::Result;
use crate::fault;
use crate::host::Runtime;
use crate::probe::model::{Kind as ModelKind, Metric, MetricKind};
use crate::record::read::Reader;
use crate::registry::LiveProbe;
use crate::sender::Sender;
use crate::session::Shared;
use crate::stats::Drop;
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Who this process is, for events and statuses.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The service.
    pub service: String,
    /// The host's name.
    pub hostname: String,
    /// A UUID of this process.
    pub runtime_id: String,
    /// The UUID of the process it was forked from.
    pub parent_id: Option<String>,
    /// `key:value,…`; empty if switched off.
    pub process_tags: String,
    /// The process id.
    pub pid: u32,
}

impl Identity {
    fn of_statuses(&self) -> status::Identity<'_> {
        status::Identity { service: &self.service, runtime_id: &self.runtime_id, parent_id: self.parent_id.as_deref() }
    }
}

/// A record that waits for the Agent.
struct Waiting {
    record: Box<[u8]>,
    live: Arc<LiveProbe>,
}

/// The outputs of a process.
pub(crate) struct Output {
    shared: Arc<Shared>,
    runtime: Arc<dyn Runtime>,
    identity: Identity,
    sinks: Vec<Box<dyn Sink>>,
    sender: Option<Sender>,
    datagrams: Option<Datagrams>,
    waiting: VecDeque<Waiting>,
    events: Batcher,
    statuses: Batcher,
    spans: SpanBatcher,
    /// Batches that the sender had no room for: one of each kind at most.
    refused: Vec<Batch>,
    /// Nanoseconds an event waits for others.
    interval: u64,
    /// Events of a batch.
    batch_size: usize,
    /// When the oldest waiting record came.
    oldest: u64,
    /// Batches leave as soon as the sender takes them.
    hurried: bool,
    renderer: Renderer,
    /// The events that sinks got since they were flushed: the slot of the probe, and whether one could not write it.
    looked_at: Vec<(u32, bool)>,
    /// Whose events the open batch has: slots of probes, with their numbers.
    riders: BTreeMap<u32, u64>,
    /// `None`: nobody wants to know.
    health: Option<Health>,
}

impl Output {
    pub(crate) fn new(
        shared: Arc<Shared>,
        runtime: Arc<dyn Runtime>,
        identity: Identity,
        sinks: Vec<Box<dyn Sink>>,
        sender: Option<Sender>,
        datagrams: Option<Datagrams>,
    ) -> Self {
        let interval = shared.settings.upload_interval;
        let batch_size = shared.settings.upload_batch_size;
        let renderer = Renderer::new(Profile::of(shared.language));
        let health = shared.settings.metrics_enabled.then(|| Health::new(shared.process.clock.monotonic()));
        Output {
            shared,
            runtime,
            identity,
            sinks,
            sender,
            datagrams,
            waiting: VecDeque::new(),
            events: Batcher::events(interval).at_most(batch_size),
            statuses: Batcher::statuses(Duration::from_secs(1)),
            spans: SpanBatcher::new(interval),
            refused: Vec::new(),
            interval: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX),
            batch_size: batch_size.clamp(1, MAX_COUNT),
            oldest: 0,
            hurried: false,
            renderer,
            looked_at: Vec::new(),
            riders: BTreeMap::new(),
            health,
        }
    }

    /// Takes a record. Sinks see its event at once; for the Agent it waits. True if it stays in the queue.
    pub(crate) fn accept(&mut self, record: &[u8], live: &Arc<LiveProbe>, now: u64) -> bool {
        if matches!(live.probe.kind, ModelKind::Span) && !is_error(record) {
            self.take_span(record, live, now);
            return false;
        }
        // What cannot be shown cannot be uploaded either, and is counted once.
        let is_whole = self.sinks.is_empty() || self.show(record, live);
        if self.sender.is_none() || !is_whole {
            return false;
        }
        if self.waiting.is_empty() {
            self.oldest = now;
        }
        live.stats.waiting.add_serial(record.len() as u64);
        self.waiting.push_back(Waiting { record: record.into(), live: Arc::clone(live) });
        true
    }

    /// False: there is no event of this record.
    fn show(&mut self, record: &[u8], live: &LiveProbe) -> bool {
        let (sinks, looked_at) = (&mut self.sinks, &mut self.looked_at);
        let seen = Seen { shared: &self.shared, runtime: &*self.runtime, identity: &self.identity, is_first: true };
        render(&mut self.renderer, record, live, &seen, |event| {
            looked_at.push((live.slot, false));
            for sink in sinks {
                watched(&mut **sink, looked_at, |sink| sink.event(event));
            }
        })
    }

    /// Takes the record of a call that has a span of ours.
    fn take_span(&mut self, record: &[u8], live: &LiveProbe, now: u64) {
        let Shared { settings, language, process, .. } = &*self.shared;
        let (env, version) = (settings.env.as_deref(), settings.version.as_deref());
        let identity = &self.identity;
        let context = SpanContext { identity, language: *language, env, version, tables: &process.tables };
        let made = catch_unwind(AssertUnwindSafe(|| -> Result<Span> {
            fault::at(fault::Place::Render);
            span::span(record, live, &context)
        }));
        let Ok(Ok(span)) = made else {
            live.stats.dropped(Drop::Internal).add(1);
            self.shared.not_made.add(1);
            if let Ok(Err(error)) = made {
                log::error!(target: "stroboscope", "a span of probe {} is lost: {error}", live.probe.id);
            } else {
                live.panicked();
            }
            return;
        };
        self.show_span(&span, live);
        if self.sender.is_some() && !self.spans.push(&span, live.slot, now) {
            live.stats.dropped(Drop::QueueFull).add(1);
            self.shared.not_made.add(1);
        }
    }

    fn show_span(&mut self, span: &Span, live: &LiveProbe) {
        if self.sinks.is_empty() {
            return;
        }
        let json = span.json(live);
        let text = |name: &str| span.meta.get(name).map_or("", String::as_str);
        let error = match (text("error.type"), text("error.message")) {
            (kind, "") => kind.to_owned(),
            (kind, message) => format!("{kind}: {message}"),
        };
        let view = SpanView {
            json: &json,
            probe: &live.probe.id,
            resource: &span.resource,
            duration: u64::try_from(span.duration).unwrap_or(0),
            error: (span.error != 0).then_some(&*error),
            time: u64::try_from(span.start.saturating_add(span.duration)).unwrap_or(0) / 1_000_000,
        };
        self.looked_at.push((live.slot, false));
        for sink in &mut self.sinks {
            watched(&mut **sink, &mut self.looked_at, |sink| sink.span(&view));
        }
    }

    /// There will be metrics.
    pub(crate) fn expect_metrics(&mut self) {
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.prepare();
        }
    }

    /// Takes what a metric probe has measured. It leaves with [`Output::send_metrics`].
    pub(crate) fn measured(&mut self, live: &LiveProbe, taken: &Taken) {
        let ModelKind::Metric(metric) = &live.probe.kind else { return };
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.packer().add(&live.probe, metric, taken);
        }
        if self.sinks.is_empty() {
            return;
        }
        let time = self.shared.wall_ms();
        let json = metric_json(&self.identity, live, metric, taken, time);
        let view = MetricView {
            json: &json,
            probe: &live.probe.id,
            name: &metric.name,
            kind: metric.kind,
            values: &taken.values,
            one_in: taken.one_in,
            time,
        };
        self.looked_at.push((live.slot, false));
        for sink in &mut self.sinks {
            watched(&mut **sink, &mut self.looked_at, |sink| sink.metric(&view));
        }
    }

    /// Tells how probes and uploads fare, if somebody wants to know and it is time; at the `end` it is.
    pub(crate) fn tell_health(&mut self, now: u64, end: bool) {
        let (Some(health), Some(datagrams)) = (&mut self.health, &mut self.datagrams) else { return };
        if !health.is_due(now) && !end {
            return;
        }
        let counters = self.sender.as_ref().map(|sender| &**sender.counters());
        let session = self.shared.stats(counters, None);
        let sums = self.shared.registry.sums_by_type();
        let set = self.shared.registry.load();
        let of =
            |live: &Arc<LiveProbe>| (live.probe.id.clone(), live.stats.hits.get(), live.stats.captures.percentile(99));
        let probes = set.probes.iter().map(of).collect();
        let seen = health::Seen { sums: &sums, incomplete: &self.shared.incomplete, session: &session, probes };
        for told in health.tell(&seen) {
            datagrams.packer().tell(&told);
        }
        datagrams.send();
    }

    /// What was measured leaves the process.
    pub(crate) fn send_metrics(&mut self) {
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.send();
        }
    }

    /// One round: statuses to the sinks and the Agent, due batches to the sender.
    pub(crate) fn tick(&mut self, now: u64) {
        self.tell_statuses(now);
        self.flush_sinks();
        if self.sender.is_none() {
            return;
        }
        self.note_settled();
        self.offer_refused();
        if self.statuses.is_due(now) || self.hurried {
            let batch = self.statuses.take();
            self.offer(batch);
        }
        self.send_spans(now);
        self.send_events(now);
        self.send_symbols(now);
    }

    /// Symbols leave one batch after the other, and the host is asked for more.
    fn send_symbols(&self, now: u64) {
        let (Some(sender), symbols) = (&self.sender, &self.shared.symbols) else { return };
        if let Some((batch, reason, status)) = sender.take_returned() {
            let lost = symbols.failed(batch, reason, status, now);
            sender.counters().symbols_lost.fetch_add(lost as u64, Relaxed);
        }
        if let Some(batch) = symbols.due(now)
            && let Err(batch) = sender.offer(batch)
        {
            symbols.put_back(batch, now);
        }
        if symbols.asks(now) {
            self.runtime.symbols();
        }
    }

    /// Nanoseconds in which nothing is to be done for symbols; nothing if nothing ever is.
    pub(crate) fn symbols_due_in(&self, now: u64) -> Option<u64> {
        self.sender.as_ref().and_then(|_| self.shared.symbols.due_in(now))
    }

    fn send_spans(&mut self, now: u64) {
        let waits = self.refused.iter().any(|batch| batch.kind == Kind::Spans);
        if !waits && (self.spans.is_due(now) || self.hurried) {
            let batch = self.spans.take();
            self.offer(batch);
        }
    }

    /// What sinks hold back is written, and what they could not write is counted.
    fn flush_sinks(&mut self) {
        for sink in &mut self.sinks {
            watched(&mut **sink, &mut self.looked_at, |sink| sink.flush());
        }
        for (slot, _) in self.looked_at.drain(..).filter(|(_, lost)| *lost) {
            self.shared.not_written.add(1);
            self.shared.registry.lose(slot, Drop::NotWritten, 1);
        }
    }

    fn tell_statuses(&mut self, now: u64) {
        let wall_ms = self.shared.process.clock.wall() / 1_000_000;
        let mut board = self.shared.board();
        board.tick(now, wall_ms);
        if self.sender.as_ref().is_some_and(Sender::statuses_owed) {
            board.repeat(wall_ms);
        }
        let changes = board.drain_changes();
        drop(board);
        for change in changes {
            let json = change.json(&self.identity.of_statuses());
            let view = StatusView {
                json: &json,
                probe: &change.id,
                status: change.status.name(),
                message: change.exception.as_ref().map_or(&change.message, |exception| &exception.message),
                time: change.timestamp,
            };
            for sink in &mut self.sinks {
                sink.status(&view);
            }
            if self.sender.is_some() {
                let full = self.statuses.push(&json, now);
                self.offer(full);
            }
        }
    }

    /// Makes and offers batches of events while they are due and there is room.
    fn send_events(&mut self, now: u64) {
        loop {
            let due = self.hurried
                || now.saturating_sub(self.oldest) >= self.interval
                || self.waiting.len() >= self.batch_size
                || self.shared.process.queued.get() >= MAX_BYTES;
            let ready = self.refused.iter().all(|batch| batch.kind == Kind::Spans)
                && self.sender.as_ref().is_some_and(Sender::ready);
            if self.waiting.is_empty() || !due || !ready {
                return;
            }
            let batch = self.next_batch(now);
            self.offer(batch);
        }
    }

    /// Renders waiting records until a batch is full or none is left.
    fn next_batch(&mut self, now: u64) -> Option<Batch> {
        while let Some(Waiting { record, live }) = self.waiting.pop_front() {
            self.oldest = now;
            // What sinks were shown is counted.
            let is_first = self.sinks.is_empty();
            let seen = Seen { shared: &self.shared, runtime: &*self.runtime, identity: &self.identity, is_first };
            let renderer = &mut self.renderer;
            let before = self.events.len();
            let full = self.events.push_with(now, |body| {
                render(renderer, &record, &live, &seen, |event| body.extend_from_slice(event.json))
            });
            self.shared.process.queued.sub(record.len());
            live.stats.waiting.sub_serial(record.len() as u64);
            let full = full.map(|full| self.with_riders(full));
            if full.is_some() || self.events.len() > before {
                *self.riders.entry(live.slot).or_default() += 1;
            }
            if full.is_some() {
                return full;
            }
            // A batch takes what was left for it, and more only while there is room.
            let made = self.events.bytes();
            let has_room = made < BATCH_BYTES || self.shared.process.queued.has_room(made);
            if self.events.len() >= self.batch_size || !has_room {
                break;
            }
        }
        let last = self.events.take()?;
        Some(self.with_riders(last))
    }

    fn with_riders(&mut self, batch: Batch) -> Batch {
        Batch { riders: std::mem::take(&mut self.riders).into_iter().collect(), ..batch }
    }

    /// Counts what became of events on their way, at the probes that they were of.
    fn note_settled(&self) {
        let Some(sender) = &self.sender else { return };
        let now = self.shared.process.clock.monotonic();
        for (slot, count, result) in sender.take_settled() {
            match result {
                Ok(()) => self.shared.registry.uploaded(slot, count, now),
                Err(reason) => self.shared.registry.lose(slot, Drop::of_upload(reason), count),
            }
        }
    }

    fn offer(&mut self, batch: Option<Batch>) {
        let (Some(batch), Some(sender)) = (batch, &self.sender) else { return };
        if let Err(batch) = sender.offer(batch) {
            self.refused.push(batch);
        }
    }

    fn offer_refused(&mut self) {
        for batch in std::mem::take(&mut self.refused) {
            self.offer(Some(batch));
        }
    }

    /// From now on nothing waits for company: a flush or the end is near.
    pub(crate) fn hurry(&mut self) {
        self.hurried = true;
    }

    /// The hurry is over.
    pub(crate) fn calm(&mut self) {
        self.hurried = false;
    }

    /// True if nothing waits here: the sender has all that came, and metrics are gone.
    pub(crate) fn is_handed_over(&self) -> bool {
        let metrics = self.datagrams.as_ref().is_none_or(|datagrams| !datagrams.waits());
        metrics
            && self.waiting.is_empty()
            && self.events.is_empty()
            && self.spans.is_empty()
            && self.statuses.is_empty()
            && self.refused.is_empty()
    }

    /// True if everything that came has left the process or was counted.
    pub(crate) fn is_settled(&self) -> bool {
        let settled = self.is_handed_over() && self.sender.as_ref().is_none_or(|sender| sender.held_bytes() == 0);
        self.note_settled();
        settled
    }

    /// Counts events that nobody gets any more: the session, or their probe, ended first.
    pub(crate) fn lose(&self, slot: u32, count: u64) {
        self.shared.registry.lose(slot, Drop::Stopped, count);
        self.shared.too_late.add(count);
        if let Some(sender) = &self.sender {
            sender.counters().dropped(Reason::Stopped).fetch_add(count, Relaxed);
        }
    }

    /// Ends the sender, at most within `limit`. What has not even got there is lost, and counted.
    pub(crate) fn stop(&mut self, limit: Duration) -> bool {
        self.flush_sinks();
        self.tell_health(0, true);
        if let Some(datagrams) = &mut self.datagrams {
            datagrams.stop();
        }
        for Waiting { record, live } in std::mem::take(&mut self.waiting) {
            self.shared.process.queued.sub(record.len());
            live.stats.waiting.sub_serial(record.len() as u64);
            self.lose(live.slot, 1);
        }
        let open = self.events.take().map(|batch| self.with_riders(batch));
        let refused = std::mem::take(&mut self.refused);
        let left: Vec<Batch> =
            refused.into_iter().chain(open).chain(self.spans.take()).chain(self.statuses.take()).collect();
        for (slot, count) in left.iter().flat_map(|batch| &batch.riders) {
            self.lose(*slot, *count);
        }
        let Some(sender) = &self.sender else { return true };
        let statuses = left.iter().filter(|batch| batch.kind == Kind::Statuses);
        let statuses: usize = statuses.map(|batch| batch.count).sum();
        sender.counters().statuses_lost.fetch_add(statuses as u64, Relaxed);
        let stopped = sender.stop(limit);
        self.note_settled();
        stopped
    }
}

/// True for an event that says that an expression has failed.
fn is_error(record: &[u8]) -> bool {
    Reader::new(record).is_ok_and(|(header, _)| header.error)
}

/// What was measured, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MetricJson<'a> {
    ddsource: &'a str,
    service: &'a str,
    timestamp: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    ddtags: String,
    metric: MeasuredJson<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MeasuredJson<'a> {
    name: String,
    #[serde(rename = "type")]
    kind: &'a str,
    values: &'a [f64],
    sample_rate: f64,
    probe_id: &'a str,
    probe_version: i64,
}

fn metric_json(identity: &Identity, live: &LiveProbe, metric: &Metric, taken: &Taken, timestamp: u64) -> Vec<u8> {
    let kind = match metric.kind {
        MetricKind::Count => "count",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
        MetricKind::Distribution => "distribution",
    };
    let json = MetricJson {
        ddsource: "dd_debugger",
        service: &identity.service,
        timestamp,
        kind: "metric",
        ddtags: live.probe.tags.join(","),
        metric: MeasuredJson {
            name: statsd::name(metric),
            kind,
            values: &taken.values,
            sample_rate: 1.0 / f64::from(taken.one_in),
            probe_id: &live.probe.id,
            probe_version: live.probe.version,
        },
    };
    // Texts and finite numbers only: writing them into memory cannot fail.
    serde_json::to_vec(&json).unwrap_or_default()
}

/// Has a sink do something, and marks the events that it loses by that: always the latest ones.
fn watched(sink: &mut dyn Sink, looked_at: &mut [(u32, bool)], act: impl FnOnce(&mut dyn Sink)) {
    let before = sink.lost();
    act(&mut *sink);
    let lost = usize::try_from(sink.lost() - before).unwrap_or(usize::MAX);
    looked_at.iter_mut().rev().take(lost).for_each(|(_, is_lost)| *is_lost = true);
}

/// What rendering needs of a process.
struct Seen<'a> {
    shared: &'a Shared,
    runtime: &'a dyn Runtime,
    identity: &'a Identity,
    /// It is the first time that this event is made.
    is_first: bool,
}

/// Makes the event of a record, small enough for the intake, and lends it to `take`. False: it could not be made, which
/// is counted.
fn render(
    renderer: &mut Renderer,
    record: &[u8],
    live: &LiveProbe,
    seen: &Seen<'_>,
    take: impl FnOnce(&EventView<'_>),
) -> bool {
    let context = RenderContext {
        identity: seen.identity,
        language: seen.shared.language,
        tables: &seen.shared.process.tables,
        live,
        describe_frame: &|frame| seen.runtime.describe_frame(frame),
        evaluation_ms: seen.shared.process.evaluation_ns / 1_000_000,
    };
    let made = catch_unwind(AssertUnwindSafe(|| -> Result<bool> {
        fault::at(fault::Place::Render);
        let Outline { json, message, site, time, lacks } = renderer.write(record, &context)?;
        let is_small = json.len() <= prune::EVENT_BYTES;
        if seen.is_first {
            let lacks = if is_small { lacks } else { lacks | LACKS_ROOM };
            seen.shared.incomplete.count(&live.probe, lacks);
        }
        if is_small {
            take(&EventView { json, message, probe: &live.probe.id, site, time });
            return Ok(true);
        }
        let mut event = renderer.event(record, &context)?;
        if !prune::prune(&mut event, prune::EVENT_BYTES) {
            return Ok(false);
        }
        let (json, message, site, time) = (&event.json, &event.message, &event.site, event.time);
        take(&EventView { json, message, probe: &live.probe.id, site, time });
        Ok(true)
    }));
    match made {
        Ok(Ok(true)) => return true,
        Ok(Ok(false)) => live.stats.dropped(Drop::PayloadTooLarge).add(1),
        Ok(Err(error)) => {
            live.stats.dropped(Drop::Internal).add(1);
            log::error!(target: "stroboscope", "an event of probe {} is lost: {error}", live.probe.id);
        }
        // A record that our own code cannot digest stops its probe, and only that.
        Err(_) => {
            live.stats.dropped(Drop::Internal).add(1);
            live.panicked();
        }
    }
    seen.shared.not_made.add(1);
    false
}

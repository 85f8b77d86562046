//! Own counters: hits, emitted, dropped by reason, sampled nanoseconds. Written by [`crate::hit`] and the worker, read
//! by `status()`, the breaker and the health metrics.

use crate::control::agent::retry::Reason;
use crate::expr::eval::Failure;
use crate::record::write::Place;
use crate::times::Times;
use std::cmp::Reverse;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

/// A counter. Hosts whose hits are serialised (a GIL) add without a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds from any thread.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Adds where no other thread adds at the same time.
    #[inline]
    pub fn add_serial(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes one back, where no other thread adds at the same time.
    pub(crate) fn take_back_serial(&self) {
        self.sub_serial(1);
    }

    /// Takes some back, where no other thread adds at the same time.
    pub(crate) fn sub_serial(&self, n: u64) {
        self.set(self.get().saturating_sub(n));
    }

    /// The count.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Sets the count back.
    pub fn reset(&self) {
        self.set(0);
    }

    fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }
}

/// Failures that are told apart.
const KINDS: usize = 4;

/// Places where failures are noted.
const PLACES: usize = 4;

/// Why the condition of a probe, or the value of its metric, failed, the latest first, each with how often. A kind that has not come for long may be
/// forgotten; then the counts are less than all.
///
/// There are several places, since a hit waits for none: it takes the first that nobody else looks at. Who reads has one of
/// them at a time, so hits that are serialised (a GIL) always find one, and almost always the first.
#[derive(Debug, Default)]
pub struct Failures {
    places: [Mutex<[Option<Kind>; KINDS]>; PLACES],
    /// Numbers failures, so that the latest is known.
    noted: AtomicU64,
    /// Readers come one by one.
    reader: Mutex<()>,
}

/// Failures of one kind, in one place.
#[derive(Clone, Copy, Debug)]
struct Kind {
    place: Place,
    failure: Failure,
    count: u64,
    /// The number of the latest.
    latest: u64,
}

impl Failures {
    /// Notes one, in a hit.
    #[cold]
    pub(crate) fn note(&self, place: Place, failure: &Failure) {
        let free = self.places.iter().find_map(|place| match place.try_lock() {
            Ok(kinds) => Some(kinds),
            Err(TryLockError::Poisoned(kinds)) => Some(kinds.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        let Some(mut kinds) = free else { return };
        let latest = self.noted.fetch_add(1, Relaxed) + 1;
        let known = kinds.iter_mut().flatten().find(|kind| (kind.place, kind.failure) == (place, *failure));
        if let Some(kind) = known {
            kind.count += 1;
            kind.latest = latest;
        } else if let Some(oldest) = kinds.iter_mut().min_by_key(|kind| kind.map_or(0, |kind| kind.latest)) {
            *oldest = Some(Kind { place, failure: *failure, count: 1, latest });
        }
    }

    /// What is known.
    pub(crate) fn all(&self) -> Vec<(Place, Failure, u64)> {
        let _alone = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<Kind> = Vec::new();
        for place in &self.places {
            let kinds = *place.lock().unwrap_or_else(PoisonError::into_inner);
            for kind in kinds.into_iter().flatten() {
                let same = |known: &&mut Kind| (known.place, known.failure) == (kind.place, kind.failure);
                match all.iter_mut().find(same) {
                    Some(known) => {
                        known.count += kind.count;
                        known.latest = known.latest.max(kind.latest);
                    }
                    None => all.push(kind),
                }
            }
        }
        all.sort_by_key(|kind| Reverse(kind.latest));
        all.into_iter().map(|kind| (kind.place, kind.failure, kind.count)).collect()
    }
}

/// Why a hit yields no event. The names are those of *Signals and upload* 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Drop {
    /// The probe's own rate.
    RateLimitProbe,
    /// The rate of all probes.
    RateLimitGlobal,
    /// Evaluation is suspended after a time-out or limit.
    EvaluationTimeout,
    /// The entry of a method was not seen and `@duration` was wanted.
    EntryNotSeen,
    /// The queue is full.
    QueueFull,
    /// There was no memory.
    NoMemory,
    /// The event is larger than the intake takes, even pruned.
    PayloadTooLarge,
    /// The breaker of the upload is open, or the upload failed.
    BreakerOpen,
    /// The Agent refused the batch.
    Rejected,
    /// The Agent could not be reached.
    Transport,
    /// The CPU budget has paused the probe.
    Paused,
    /// A hit inside our own work.
    Reentrant,
    /// Something of ours failed.
    Internal,
    /// The session, or its probe, ended first.
    Stopped,
    /// It could not be written where it is shown or kept on this machine.
    NotWritten,
}

impl Drop {
    /// Every reason, in order.
    pub const ALL: [Drop; 15] = [
        Drop::RateLimitProbe,
        Drop::RateLimitGlobal,
        Drop::EvaluationTimeout,
        Drop::EntryNotSeen,
        Drop::QueueFull,
        Drop::NoMemory,
        Drop::PayloadTooLarge,
        Drop::BreakerOpen,
        Drop::Rejected,
        Drop::Transport,
        Drop::Paused,
        Drop::Reentrant,
        Drop::Internal,
        Drop::Stopped,
        Drop::NotWritten,
    ];

    /// Why an event was lost on its way.
    pub fn of_upload(reason: Reason) -> Drop {
        match reason {
            Reason::BreakerOpen => Drop::BreakerOpen,
            Reason::Rejected => Drop::Rejected,
            Reason::Transport => Drop::Transport,
            Reason::Stopped => Drop::Stopped,
            Reason::Internal => Drop::Internal,
        }
    }

    /// The name on the wire and in `status()`.
    pub fn name(self) -> &'static str {
        match self {
            Drop::RateLimitProbe => "rateLimitProbe",
            Drop::RateLimitGlobal => "rateLimitGlobal",
            Drop::EvaluationTimeout => "evaluationTimeout",
            Drop::EntryNotSeen => "entryNotSeen",
            Drop::QueueFull => "queueFull",
            Drop::NoMemory => "noMemory",
            Drop::PayloadTooLarge => "payloadTooLarge",
            Drop::BreakerOpen => "breakerOpen",
            Drop::Rejected => "rejected",
            Drop::Transport => "transport",
            Drop::Paused => "paused",
            Drop::Reentrant => "reentrant",
            Drop::Internal => "internal",
            Drop::Stopped => "stopped",
            Drop::NotWritten => "notWritten",
        }
    }
}

/// Reasons for which a hit makes no event, and loses none: it is *skipped*, not *dropped*.
pub const SKIPS: [&str; 8] = [
    REJECTED,
    "rateLimitProbe",
    "rateLimitGlobal",
    "evaluationTimeout",
    "evaluationErrorThrottled",
    "paused",
    "entryNotSeen",
    "reentrant",
];

/// The counters of one probe.
#[derive(Debug, Default)]
pub struct ProbeStats {
    /// Hits of its hooks, whatever became of them. A disarmed probe is not hit.
    pub hits: Counter,
    /// Hits whose condition was false.
    pub rejected: Counter,
    /// Hits whose condition, or the value of their metric, failed.
    pub failed: Counter,
    /// Values that a metric probe has measured.
    pub measured: Counter,
    /// Spans that the application's tracer has made, or has had decorated.
    pub traced: Counter,
    /// Events that were queued.
    pub emitted: Counter,
    /// Records that were cut at 1 MiB.
    pub record_full: Counter,
    /// Nanoseconds spent in hits, estimated from samples.
    pub nanoseconds: Counter,
    /// Hits that these nanoseconds stand for.
    timed: Counter,
    /// What the dearest sample since the last look has added to the nanoseconds.
    dearest: Counter,
    /// Hits that were timed one by one since the last look.
    one_by_one: Counter,
    /// How long those took that made an event.
    pub captures: Times,
    dropped: [Counter; Drop::ALL.len()],
    /// Events that the Agent has taken.
    pub uploaded: Counter,
    /// When it last took some, monotonic; 0: never.
    uploaded_at: Counter,
    /// Bytes of records that wait for their place in an upload. The worker's.
    pub waiting: Counter,
    /// Hits whose event comes at the end of their call. What a hit leaves at the entry shares it, so that none is forgotten.
    pub calls: Arc<Calls>,
}

/// Calls whose hit was counted at the entry, and whose event comes at the end. Added to where hits are.
#[derive(Debug, Default)]
pub struct Calls {
    open: Counter,
    unended: Counter,
    pushed_out: Counter,
}

impl Calls {
    /// A hit of one that goes on.
    pub(crate) fn begin(self: &Arc<Self>) -> UnderWay {
        self.open.add_serial(1);
        UnderWay(Some(Arc::clone(self)))
    }
}

/// A call that goes on. However it is lost, that is counted.
#[derive(Debug)]
pub(crate) struct UnderWay(Option<Arc<Calls>>);

impl UnderWay {
    /// It has ended.
    pub(crate) fn end(mut self) {
        if let Some(calls) = self.0.take() {
            calls.open.take_back_serial();
        }
    }

    /// Its end will not be known: too many others are under way.
    pub(crate) fn push_out(mut self) {
        if let Some(calls) = self.0.take() {
            calls.open.take_back_serial();
            calls.pushed_out.add_serial(1);
        }
    }
}

impl std::ops::Drop for UnderWay {
    /// Its end will not be seen: the probe, or the session, is gone.
    fn drop(&mut self) {
        if let Some(calls) = self.0.take() {
            calls.open.take_back_serial();
            calls.unended.add_serial(1);
        }
    }
}

/// So many hits after each look are timed one by one: all of a probe that is hit seldom, …
const ONE_BY_ONE: u64 = 16;
/// … then one in this many, with its weight. A sample costs a system call.
pub const SAMPLE_EVERY: u64 = 512;

impl ProbeStats {
    /// The counter of a reason.
    #[inline]
    pub fn dropped(&self, reason: Drop) -> &Counter {
        &self.dropped[reason as usize]
    }

    /// The weight of a hit's sample, or `None` if this hit is not timed. `hits` is the count before this hit.
    #[inline]
    pub fn sample_weight(&self, hits: u64) -> Option<u64> {
        if self.is_next_timed() {
            return Some(1);
        }
        (hits & (SAMPLE_EVERY - 1) == 0).then_some(SAMPLE_EVERY)
    }

    /// True if the next hit is one of those that are timed one by one. For hosts that count their hits themselves; whoever
    /// asks times it.
    pub fn is_next_timed(&self) -> bool {
        let timed = self.one_by_one.get() < ONE_BY_ONE;
        if timed {
            self.one_by_one.add_serial(1);
        }
        timed
    }

    /// Adds a sample.
    pub fn sampled(&self, nanoseconds: u64, weight: u64) {
        let cost = nanoseconds.saturating_mul(weight);
        self.nanoseconds.add_serial(cost);
        self.timed.add_serial(weight);
        self.note_dearest(cost);
    }

    /// The Agent has taken so many events. Called by the worker.
    pub fn uploaded(&self, events: u64, now: u64) {
        self.uploaded.add_serial(events);
        self.uploaded_at.set(now.max(1));
    }

    /// When it last did.
    pub fn uploaded_at(&self) -> Option<u64> {
        Some(self.uploaded_at.get()).filter(|at| *at > 0)
    }

    /// Adds what its hooks have cost beside their hits. From any thread.
    pub fn spent(&self, nanoseconds: u64) {
        self.nanoseconds.add(nanoseconds);
        self.note_dearest(nanoseconds);
    }

    fn note_dearest(&self, cost: u64) {
        if cost > self.dearest.get() {
            self.dearest.set(cost);
        }
    }

    /// What the dearest sample since the last look has added to the nanoseconds.
    pub fn dearest(&self) -> u64 {
        self.dearest.get()
    }

    /// A look at the costs: what the dearest sample since the last one has added. The next hits are timed one by one again.
    pub fn look(&self) -> u64 {
        let dearest = self.dearest.get();
        self.dearest.reset();
        self.one_by_one.reset();
        dearest
    }

    /// Nanoseconds a hit, on average, estimated from samples.
    pub fn nanoseconds_per_hit(&self) -> Option<u64> {
        self.nanoseconds.get().checked_div(self.timed.get())
    }

    /// Hits whose event comes at the end of their call, which goes on.
    pub fn pending(&self) -> u64 {
        self.calls.open.get()
    }

    /// Hits, among those that are dropped as `stopped`, the end of whose call was not seen.
    pub fn unended(&self) -> u64 {
        self.calls.unended.get()
    }

    /// Adds hits, events and drops of another probe.
    pub fn absorb(&self, other: &ProbeStats) {
        self.hits.add(other.hits.get());
        self.emitted.add(other.emitted.get());
        self.measured.add(other.measured.get());
        self.failed.add(other.failed.get());
        self.record_full.add(other.record_full.get());
        self.traced.add(other.traced.get());
        for reason in Drop::ALL {
            self.dropped(reason).add(other.dropped(reason).get());
        }
        self.calls.open.add(other.calls.open.get());
        self.calls.unended.add(other.calls.unended.get());
        self.calls.pushed_out.add(other.calls.pushed_out.get());
    }

    /// All that was dropped for a reason.
    pub(crate) fn all_dropped(&self, reason: Drop) -> u64 {
        let of_calls = match reason {
            Drop::Stopped => self.calls.unended.get(),
            Drop::QueueFull => self.calls.pushed_out.get(),
            _ => 0,
        };
        self.dropped(reason).get() + of_calls
    }

    /// The reasons that occurred, with their counts.
    pub fn dropped_by_reason(&self) -> Vec<(&'static str, u64)> {
        Drop::ALL
            .into_iter()
            .map(|reason| (reason.name(), self.all_dropped(reason)))
            .filter(|&(_, count)| count > 0)
            .collect()
    }
}

/// What is said of a hit whose condition was false, and of one whose condition or value failed.
pub const REJECTED: &str = "conditionFalse";
/// See [`REJECTED`].
pub const FAILED: &str = "evaluationError";

/// Why hits last came to nothing. Hits only count; the worker looks ten times a second at which counts have risen, and so does
/// who asks. Of several that rose between two looks it is the one that rose most.
#[derive(Debug, Default)]
pub struct LastReject(Mutex<Rises>);

#[derive(Debug, Default)]
struct Rises {
    hits: u64,
    /// The counts at the last look: of false conditions, of failures, and of each reason.
    counts: [u64; 2 + Drop::ALL.len()],
    last: Option<&'static str>,
}

impl LastReject {
    /// The worker's look: nothing to be done where nothing was hit.
    pub fn watch(&self, stats: &ProbeStats) {
        let mut rises = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let hits = stats.hits.get();
        if std::mem::replace(&mut rises.hits, hits) != hits {
            rises.look(stats);
        }
    }

    /// The reason, as of now.
    pub fn get(&self, stats: &ProbeStats) -> Option<&'static str> {
        let mut rises = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rises.look(stats);
        rises.last
    }
}

impl Rises {
    fn look(&mut self, stats: &ProbeStats) {
        let dropped = Drop::ALL.into_iter().map(|reason| (reason.name(), stats.all_dropped(reason)));
        let all = [(REJECTED, stats.rejected.get()), (FAILED, stats.failed.get())].into_iter().chain(dropped);
        let mut most = 0;
        for ((reason, count), known) in all.zip(&mut self.counts) {
            let rise = count.saturating_sub(std::mem::replace(known, count));
            if rise > most {
                (most, self.last) = (rise, Some(reason));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Drop, FAILED, Failures, LastReject, ProbeStats, REJECTED};
    use crate::expr::eval::Failure;
    use crate::record::write::Place;

    const AT: Place = Place::Condition;

    #[test]
    fn failures_are_told_apart_and_the_latest_comes_first() {
        let failures = Failures::default();
        let all = |known: &[(u32, u64)]| {
            assert_eq!(
                failures.all(),
                known.iter().map(|(n, count)| (AT, Failure::Variable(*n), *count)).collect::<Vec<_>>()
            );
        };
        for symbol in [1, 2, 1, 1, 3] {
            failures.note(AT, &Failure::Variable(symbol));
        }
        all(&[(3, 1), (1, 3), (2, 1)]);
        for symbol in [4, 5, 1] {
            failures.note(AT, &Failure::Variable(symbol));
        }
        all(&[(1, 4), (5, 1), (4, 1), (3, 1)]);
        failures.note(Place::Metric, &Failure::Variable(1));
        assert_eq!(failures.all()[..2], [(Place::Metric, Failure::Variable(1), 1), (AT, Failure::Variable(1), 4)]);
    }

    #[test]
    fn no_failure_is_missed_while_somebody_reads_them() {
        let failures = Failures::default();
        std::thread::scope(|scope| {
            let reads = scope.spawn(|| {
                let mut seen = 0;
                while seen < 20_000 {
                    let known = failures.all();
                    let sum = known.iter().map(|(_, _, count)| count).sum();
                    assert!(sum >= seen, "{sum} after {seen}");
                    seen = sum;
                }
            });
            for number in 0..20_000 {
                failures.note(AT, &Failure::Variable(number % 2));
            }
            assert_eq!(failures.all(), [(AT, Failure::Variable(1), 10_000), (AT, Failure::Variable(0), 10_000)]);
            reads.join().unwrap();
        });
        // One that is held up costs its place and nothing else.
        let held = failures.places[0].lock().unwrap();
        failures.note(AT, &Failure::Variable(0));
        drop(held);
        assert_eq!(failures.all(), [(AT, Failure::Variable(0), 10_001), (AT, Failure::Variable(1), 10_000)]);
    }

    #[test]
    fn the_first_hits_after_a_look_are_timed_then_one_in_512_with_its_weight() {
        let stats = ProbeStats::default();
        let weights = |hits: std::ops::Range<u64>| hits.filter_map(|hit| stats.sample_weight(hit)).sum::<u64>();
        assert_eq!(weights(0..5120), 16 + 9 * 512);
        assert_eq!(weights(5121..5130), 0);
        stats.look();
        assert_eq!(weights(5130..5140), 10);
        assert_eq!(weights(5140..5632), 6);
        assert_eq!(weights(5632..5633), 512);
    }

    #[test]
    fn a_hit_costs_what_its_samples_cost_on_average() {
        let stats = ProbeStats::default();
        assert_eq!(stats.nanoseconds_per_hit(), None);
        stats.sampled(100, 1);
        stats.sampled(200, 1);
        stats.sampled(100, 512);
        assert_eq!(stats.nanoseconds_per_hit(), Some(100));
        assert_eq!((stats.look(), stats.look()), (51_200, 0));
    }

    #[test]
    fn the_last_reject_is_what_rose_last_and_of_several_what_rose_most() {
        let (stats, last) = (ProbeStats::default(), LastReject::default());
        assert_eq!(last.get(&stats), None);
        let hit = |count: u64, of: &super::Counter| {
            stats.hits.add(count);
            of.add(count);
        };
        hit(3, &stats.rejected);
        hit(2, stats.dropped(Drop::RateLimitProbe));
        last.watch(&stats);
        hit(1, &stats.failed);
        assert_eq!(last.get(&stats), Some(FAILED));
        hit(1, &stats.emitted);
        last.watch(&stats);
        assert_eq!(last.get(&stats), Some(FAILED), "an event is no reject");
        hit(1, &stats.rejected);
        assert_eq!(last.get(&stats), Some(REJECTED));
        stats.dropped(Drop::Transport).add(1);
        assert_eq!(last.get(&stats), Some("transport"), "what is lost later counts too");
    }
}

//! The immutable set of live probes behind an `ArcSwap`. On the way in, after [`crate::probe::compile`] and before
//! [`crate::worker`].

use crate::budget::gate::{Gate, Look, Turn};
use crate::budget::throttle::Throttle;
use crate::emit::health::{EVENT_TYPES, EventType};
use crate::emit::meter::Meter;
use crate::expr::eval::{Failure, Measured};
use crate::expr::tree::Special;
use crate::hit::Process;
use crate::host::Site;
use crate::probe::model::{EvaluateAt, Kind, Probe};
use crate::record::write::Place;
use crate::stats::{Drop, Failures, LastReject, ProbeStats};
use arc_swap::{ArcSwap, ArcSwapOption};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{
    AtomicBool, AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Nanoseconds a refused hit costs where the host says nothing else, roughly: what disarming saves each time.
const REFUSED_HIT_NS: u32 = 32;

/// A probe that is in force, with its counters. Shared by the registry, the worker and the host's hooks.
#[derive(Debug)]
pub struct LiveProbe {
    /// The checked definition.
    pub probe: Arc<Probe>,
    /// Its number in the session: in records, and index of its gate. Never used again.
    pub slot: u32,
    /// Its tokens.
    pub gate: Gate,
    /// Its counters.
    pub stats: ProbeStats,
    /// Its error events.
    pub throttle: Throttle,
    /// What it has measured, if it is a metric probe.
    pub meter: Option<Meter>,
    /// True if it captures, so that the capturing budget applies.
    pub captures: bool,
    /// True if one of its expressions reads `@duration`, so that an exit without its entry is skipped.
    pub(crate) reads_duration: bool,
    /// True if the next token may be far enough away for disarming.
    slow: bool,
    /// True if its hooks can be switched off and on.
    can_disarm: AtomicBool,
    site: ArcSwapOption<Site>,
    note: ArcSwapOption<String>,
    disarmed: AtomicBool,
    refused_in_a_row: AtomicU32,
    rearm_cost: AtomicU32,
    refused_cost: AtomicU32,
    dear: AtomicBool,
    suspend_asked: AtomicBool,
    panicked: AtomicBool,
    paused: AtomicBool,
    /// It was removed, replaced or blocked, or its time is over; its hooks may still be there.
    gone: AtomicBool,
    /// Hits may have gone by that were not counted.
    missed: AtomicBool,
    failures: Failures,
    /// Why its hits last came to nothing.
    pub(crate) last_reject: LastReject,
    /// Monotonic time until which it rests, after an evaluation that ran out of time or steps or to save CPU; 0: it does not.
    rests_until: AtomicU64,
    /// Its turn at the global gate.
    turn: Turn,
}

/// Disarming pays only if the next token is at least this far away.
const DISARM_NS: u64 = 20_000_000;

impl LiveProbe {
    /// A live probe with a full gate. `period`: nanoseconds between two tokens, `None` if none ever comes;
    /// `can_disarm`: the host can switch its hooks off and on.
    pub fn new(probe: Arc<Probe>, slot: u32, gate: Gate, period: Option<u64>, can_disarm: bool) -> Self {
        let meter = match &probe.kind {
            Kind::Metric(metric) => Some(Meter::new(metric.kind)),
            Kind::Log(_) | Kind::Span | Kind::SpanDecoration(_) => None,
        };
        LiveProbe {
            meter,
            captures: probe.captures(),
            reads_duration: probe.reads(Special::Duration),
            probe,
            slot,
            gate,
            stats: ProbeStats::default(),
            throttle: Throttle::default(),
            slow: period.is_none_or(|period| period >= DISARM_NS),
            can_disarm: AtomicBool::new(can_disarm),
            site: ArcSwapOption::empty(),
            note: ArcSwapOption::empty(),
            disarmed: AtomicBool::new(false),
            refused_in_a_row: AtomicU32::new(0),
            rearm_cost: AtomicU32::new(2_000),
            refused_cost: AtomicU32::new(REFUSED_HIT_NS),
            dear: AtomicBool::new(false),
            suspend_asked: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            missed: AtomicBool::new(false),
            failures: Failures::default(),
            last_reject: LastReject::default(),
            rests_until: AtomicU64::new(0),
            turn: Turn::default(),
        }
    }

    /// Where it is installed.
    pub fn site(&self) -> Option<Arc<Site>> {
        self.site.load_full()
    }

    /// True if that is where it is installed.
    #[inline]
    pub fn is_at(&self, site: Option<&Arc<Site>>) -> bool {
        self.site.load().as_ref().map(Arc::as_ptr) == site.map(Arc::as_ptr)
    }

    /// Notes where it is installed.
    pub fn set_site(&self, site: Site) {
        self.site.store(Some(Arc::new(site)));
    }

    /// Notes why it is there and not where it was asked for.
    pub(crate) fn set_note(&self, note: Option<String>) {
        self.note.store(note.map(Arc::new));
    }

    /// Why it is there and not where it was asked for.
    pub(crate) fn note(&self) -> Option<String> {
        self.note.load().as_deref().cloned()
    }

    /// Notes what switching its hooks off and on costs, in nanoseconds.
    pub fn set_rearm_cost(&self, nanoseconds: u32) {
        self.rearm_cost.store(nanoseconds, Relaxed);
    }

    /// Its hooks are of a sort that can be switched off and on whatever the host does elsewhere, and each hit of them is dear: a
    /// refused one costs so many nanoseconds.
    pub fn set_refused_cost(&self, nanoseconds: u32) {
        self.refused_cost.store(nanoseconds, Relaxed);
        self.can_disarm.store(true, Relaxed);
        self.dear.store(true, Relaxed);
    }

    /// True if its hits are dear, so that few of them are more than the budget.
    pub(crate) fn is_dear(&self) -> bool {
        self.dear.load(Relaxed)
    }

    /// Counts a hit that found the gate empty. True if its hooks should be switched off now: what it has cost since the
    /// gate ran empty has reached what re-arming costs, so at worst both together are twice the best choice.
    #[inline]
    pub(crate) fn refuse(&self) -> bool {
        self.refuse_times(1)
    }

    /// The same for so many hits at once.
    #[inline]
    pub(crate) fn refuse_times(&self, times: u32) -> bool {
        if !self.slow || !self.can_disarm.load(Relaxed) {
            return false;
        }
        let refused = self.refused_in_a_row.load(Relaxed).saturating_add(times);
        self.refused_in_a_row.store(refused, Relaxed);
        if refused.saturating_mul(self.refused_cost.load(Relaxed)) < self.rearm_cost.load(Relaxed) {
            return false;
        }
        self.disarmed.store(true, Relaxed);
        self.missed.store(true, Relaxed);
        true
    }

    /// True if its hooks were switched off; they count as on from now.
    pub(crate) fn take_disarmed(&self) -> bool {
        self.refused_in_a_row.store(0, Relaxed);
        self.disarmed.swap(false, Relaxed)
    }

    /// True while its hooks are off because its gate is empty.
    pub fn is_disarmed(&self) -> bool {
        self.disarmed.load(Relaxed)
    }

    /// An evaluation ran out of time or steps: the worker keeps the probe off for the throttle's window.
    pub(crate) fn ask_suspension(&self) {
        self.gate.switch_off();
        self.suspend_asked.store(true, Relaxed);
    }

    /// True once after [`LiveProbe::ask_suspension`].
    pub(crate) fn take_suspension(&self) -> bool {
        self.suspend_asked.swap(false, Relaxed)
    }

    /// Notes until when it rests, or that it does so no more (0).
    pub(crate) fn rest_until(&self, monotonic: u64) {
        self.rests_until.store(monotonic, Relaxed);
    }

    /// Until when it rests, because an evaluation ran out of time or steps or to save CPU; 0: it does not.
    pub(crate) fn rests_until(&self) -> u64 {
        self.rests_until.load(Relaxed)
    }

    /// Takes a token of all probes of its sort, in turn with the others.
    #[inline]
    pub(crate) fn take_global(&self, process: &Process) -> bool {
        let (gate, line) = process.global(self.captures);
        line.take(gate, &self.turn)
    }

    /// It will not be hit any more: nobody waits for it.
    pub(crate) fn leave(&self, process: &Process) {
        process.global(self.captures).1.leave(&self.turn);
    }

    /// Our own code panicked over this probe: it is off for good.
    pub fn panicked(&self) {
        self.gate.switch_off();
        self.panicked.store(true, Relaxed);
    }

    /// The same in one of its hits, which is lost. Called by a binding's guard; does not allocate.
    pub fn panicked_in_hit(&self) {
        self.stats.dropped(Drop::Internal).add(1);
        self.panicked();
    }

    /// True if our own code panicked in one of its hits.
    pub fn has_panicked(&self) -> bool {
        self.panicked.load(Relaxed)
    }

    /// Notes whether it is off because of the CPU budget.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Relaxed);
        self.missed.fetch_or(paused, Relaxed);
    }

    /// True if the entry of a method leaves something for its exit: the time of a call, or the first half of an event.
    #[inline]
    pub fn leaves_entry(&self) -> bool {
        match self.probe.kind {
            Kind::Log(_) | Kind::Span => true,
            Kind::Metric(_) | Kind::SpanDecoration(_) => {
                self.reads_duration && self.probe.evaluate_at == EvaluateAt::Exit
            }
        }
    }

    /// True if hits at the entry of its method are wanted: to evaluate it there, or for the time of the call.
    pub fn wants_entry(&self) -> bool {
        self.leaves_entry() || self.probe.evaluate_at == EvaluateAt::Entry
    }

    /// True if hits at the exit of its method are wanted.
    pub fn wants_exit(&self) -> bool {
        self.leaves_entry() || self.probe.evaluate_at == EvaluateAt::Exit
    }

    /// True if its hits may ask something of the application's tracer ([`crate::hit::HitContext::take_ask`]).
    #[inline]
    pub fn asks_tracer(&self) -> bool {
        matches!(self.probe.kind, Kind::Span | Kind::SpanDecoration(_))
    }

    /// The application's tracer has made a span for this probe, or has had one decorated. Called by the binding.
    pub fn traced(&self) {
        self.stats.traced.add(1);
    }

    /// Adds a value that was measured, where no other thread does so at the same time.
    #[inline]
    pub(crate) fn measured(&self, value: Measured) {
        let is_taken = self.meter.as_ref().is_some_and(|meter| meter.add(value));
        if is_taken {
            self.stats.measured.add_serial(1);
        } else {
            self.stats.dropped(Drop::QueueFull).add(1);
        }
    }

    /// Counts a hit whose condition, or the value of its metric, failed, and keeps why.
    #[cold]
    pub(crate) fn evaluation_failed(&self, place: Place, failure: &Failure) {
        self.failures.note(place, failure);
        // After it: who reads the count first finds at least as many reasons.
        fence(Release);
        self.stats.failed.add(1);
    }

    /// Why the condition or the value failed, the latest reason first, each with how often.
    pub(crate) fn failures(&self) -> Vec<(Place, Failure, u64)> {
        self.failures.all()
    }

    /// True while it is off to save CPU, for seconds at least. A host leaves its hooks off meanwhile.
    pub fn rests(&self) -> bool {
        self.paused.load(Relaxed)
    }

    /// True if every hit so far was counted: its hooks were never off while it was in force.
    pub fn counts_all(&self) -> bool {
        !self.missed.load(Relaxed)
    }

    /// It is in force no more: what finds its hooks from now on is no hit.
    pub(crate) fn end(&self) {
        self.gone.store(true, Relaxed);
        fence(Release);
        self.gate.switch_off();
    }

    /// True if it is in force no more.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Counts a hit that found the gate off: for the reason that it is off, or not at all where the probe is gone. Hits
    /// are already counted when they look.
    #[cold]
    pub(crate) fn found_off(&self) {
        fence(Acquire);
        if self.gone.load(Relaxed) {
            self.stats.hits.take_back_serial();
            return;
        }
        self.stats.dropped(self.off_reason()).add_serial(1);
    }

    /// Counts a hit that looked at an open gate and got no token: another one took the last, or the gate was switched off
    /// in between.
    #[cold]
    pub(crate) fn came_too_late(&self) {
        if self.gate.look() == Look::Off {
            return self.found_off();
        }
        self.stats.dropped(Drop::RateLimitProbe).add_serial(1);
    }

    /// Why a hit that found the gate off yields nothing.
    pub(crate) fn off_reason(&self) -> Drop {
        if self.panicked.load(Relaxed) {
            return Drop::Internal;
        }
        if self.paused.load(Relaxed) { Drop::Paused } else { Drop::EvaluationTimeout }
    }
}

/// The probes of one revision. A change makes a new set.
#[derive(Debug, Default)]
pub struct ProbeSet {
    /// In the order of installation.
    pub probes: Vec<Arc<LiveProbe>>,
    by_id: HashMap<String, usize>,
}

impl ProbeSet {
    fn new(probes: Vec<Arc<LiveProbe>>) -> Self {
        let by_id = probes.iter().enumerate().map(|(index, live)| (live.probe.id.clone(), index)).collect();
        ProbeSet { probes, by_id }
    }

    /// The probe with an id.
    pub fn get(&self, id: &str) -> Option<&Arc<LiveProbe>> {
        self.by_id.get(id).and_then(|&index| self.probes.get(index))
    }

    /// The probe of a slot.
    pub fn by_slot(&self, slot: u32) -> Option<&Arc<LiveProbe>> {
        // Slots rise, and a set keeps the order in which probes came.
        let index = self.probes.binary_search_by_key(&slot, |live| live.slot).ok()?;
        self.probes.get(index)
    }
}

/// The current set; replaced in one store, read without a lock.
#[derive(Debug, Default)]
pub struct Registry {
    current: ArcSwap<ProbeSet>,
    /// Locked by changes and by who asks for sums, never in a hit.
    past: Mutex<Past>,
}

/// Probes that are gone: what they did still counts.
#[derive(Debug, Default)]
struct Past {
    /// Something may still be counted at these: a hit runs, a call has not ended, an event is on its way.
    leaving: Vec<Arc<LiveProbe>>,
    /// The others together, by the type of their events.
    sums: [ProbeStats; EVENT_TYPES],
}

impl Past {
    /// Adds up those that nobody else knows any more.
    fn settle(&mut self) {
        let sums = &self.sums;
        self.leaving.retain(|live| {
            let is_known = Arc::strong_count(live) > 1 || Arc::strong_count(&live.stats.calls) > 1;
            if !is_known {
                sums[EventType::of(&live.probe) as usize].absorb(&live.stats);
            }
            is_known
        });
    }
}

/// The difference between two sets.
#[derive(Debug, Default)]
pub struct Diff {
    /// Probes that were not there, or in another version.
    pub added: Vec<Arc<LiveProbe>>,
    /// Probes that are gone, or replaced.
    pub removed: Vec<Arc<LiveProbe>>,
}

impl Registry {
    /// The set of this moment.
    pub fn load(&self) -> Arc<ProbeSet> {
        self.current.load_full()
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds probes, each in place of one with its id, and removes ids, in one store.
    pub fn update(&self, added: Vec<Arc<LiveProbe>>, removed_ids: &[String]) -> Diff {
        let mut past = self.past();
        let old = self.load();
        let gone: HashSet<&str> =
            removed_ids.iter().map(String::as_str).chain(added.iter().map(|live| live.probe.id.as_str())).collect();
        let (removed, mut probes): (Vec<_>, Vec<_>) =
            old.probes.iter().cloned().partition(|live| gone.contains(live.probe.id.as_str()));
        probes.extend(added.iter().cloned());
        self.current.store(Arc::new(ProbeSet::new(probes)));
        past.leaving.extend(removed.iter().cloned());
        past.settle();
        Diff { added, removed }
    }

    /// True if a probe is in force: neither removed nor replaced, by one of the same id and version perhaps.
    pub fn has(&self, live: &LiveProbe) -> bool {
        self.current.load().by_slot(live.slot).is_some()
    }

    /// The probe of a slot, one that is gone too as long as somebody knows it.
    pub(crate) fn by_slot(&self, slot: u32) -> Option<Arc<LiveProbe>> {
        let in_force = self.load().by_slot(slot).cloned();
        in_force.or_else(|| self.past().leaving.iter().find(|live| live.slot == slot).cloned())
    }

    /// Takes this probe out, and none that has its id meanwhile. False if it is not in force any more.
    pub fn withdraw(&self, live: &Arc<LiveProbe>) -> bool {
        let mut past = self.past();
        let old = self.load();
        if old.by_slot(live.slot).is_none() {
            return false;
        }
        let probes = old.probes.iter().filter(|other| other.slot != live.slot).cloned().collect();
        self.current.store(Arc::new(ProbeSet::new(probes)));
        past.leaving.push(Arc::clone(live));
        past.settle();
        true
    }

    /// Lets go of probes that nobody else knows any more, and of what they hold.
    pub fn settle(&self) {
        self.past().settle();
    }

    /// What all probes did, those that are gone included.
    pub fn sums(&self) -> ProbeStats {
        let mut past = self.past();
        past.settle();
        let sums = ProbeStats::default();
        past.sums.iter().for_each(|gone| sums.absorb(gone));
        for live in self.load().probes.iter().chain(&past.leaving) {
            sums.absorb(&live.stats);
        }
        sums
    }

    /// The same, by the type of their events.
    pub(crate) fn sums_by_type(&self) -> [ProbeStats; EVENT_TYPES] {
        let mut past = self.past();
        past.settle();
        let sums: [ProbeStats; EVENT_TYPES] = Default::default();
        sums.iter().zip(&past.sums).for_each(|(sums, gone)| sums.absorb(gone));
        for live in self.load().probes.iter().chain(&past.leaving) {
            sums[EventType::of(&live.probe) as usize].absorb(&live.stats);
        }
        sums
    }

    /// Counts events that the Agent took, at their probe if it is known still.
    pub(crate) fn uploaded(&self, slot: u32, count: u64, now: u64) {
        if let Some(live) = self.load().by_slot(slot) {
            live.stats.uploaded(count, now);
        }
    }

    /// Counts events that were lost after their hits, at their probe or at those that are gone.
    pub fn lose(&self, slot: u32, reason: Drop, count: u64) {
        if let Some(live) = self.load().by_slot(slot) {
            live.stats.dropped(reason).add(count);
            return;
        }
        let past = self.past();
        let leaving = past.leaving.iter().find(|live| live.slot == slot);
        leaving.map_or(&past.sums[EventType::Unknown as usize], |live| &live.stats).dropped(reason).add(count);
    }
}

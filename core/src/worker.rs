//! The worker: refills gates, re-arms, applies changes, drains rings, renders. It stands on both walks: after
//! [`crate::registry`] on the way in, after [`crate::emit::ring`] on the way out. It never waits for the network, nor for a
//! lock of the host.
//!
//! [`Worker::tick`] is one round; the thread calls it and sleeps as long as it says. Tests call it with a manual clock.

use crate::budget::breaker::{ALL_NS, Breaker, Cost, DEAR_NS};
use crate::budget::gate::{Bucket, STEP_NS};
use crate::budget::placing::Deferred;
use crate::budget::throttle::WINDOW_NS;
use crate::emit::meter::Meter;
use crate::emit::output::Output;
use crate::emit::ring::{QUEUE_BYTES, RecordReceiver};
use crate::emit::status::{NOT_FOUND, PANIC};
use crate::fault;
use crate::host::{Install, Outcome, Runtime, Site, Ticket};
use crate::record::layout::HEADER;
use crate::record::read;
use crate::registry::LiveProbe;
use crate::session::Shared;
use crossbeam_channel::{Receiver, Sender};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What others ask of the worker.
pub(crate) enum Command {
    /// A new hit context's records.
    Records(RecordReceiver),
    /// Probes were added and removed.
    Change { added: Vec<Arc<LiveProbe>>, removed: Vec<Arc<LiveProbe>> },
    /// The host has finished, or changed, an installation.
    Installed { ticket: Ticket, realm: u32, outcome: Outcome },
    /// A probe is to be placed later.
    Defer { ticket: Ticket, deferred: Deferred },
    /// What the host said before is known now.
    CatchUp { done: Sender<()> },
    /// The rate of all capturing probes together is another one.
    Rate(f64),
    /// Everything that was captured so far leaves the process, or the time is up.
    Flush { until: u64, done: Sender<bool> },
    /// From now on records stay in the rings; those that are there are taken, counted and forgotten. For benchmarks,
    /// which measure hits without what comes after them.
    Discard { done: Sender<usize> },
    /// The last round, then the thread ends.
    Stop { until: u64, done: Sender<bool> },
}

/// Nanoseconds between two rounds while something happens.
const BUSY_NS: u64 = STEP_NS;
/// Nanoseconds between two rounds while probes are installed and nothing happens.
const IDLE_NS: u64 = 20_000_000;
/// Nanoseconds without an event after which the worker is idle.
const CALM_AFTER_NS: u64 = 200_000_000;
/// Nanoseconds between two rounds without probes: any command wakes the worker.
const ASLEEP_NS: u64 = 60_000_000_000;
/// Nanoseconds between two looks at the costs: what a probe may spend before it is seen.
const LOOK_NS: u64 = 100_000_000;
/// Nanoseconds between two looks at what metric probes have measured.
const GATHER_NS: u64 = 1_000_000_000;
/// How often a metric probe that is gone is still looked at: its host hands over what it keeps between two looks.
const LAST_LOOKS: u32 = 2;
/// Nanoseconds after which a place that nothing matches is reported as an error.
const NOT_FOUND_NS: u64 = 60_000_000_000;
/// Installations asked of the host in one round, so that a large batch does not stop the application.
const INSTALLS_A_ROUND: usize = 16;
/// Rounds that may fail one after the other.
const PANICS_IN_A_ROW: u32 = 3;
/// Records taken from one ring in a round, so that commands and gates have their turn.
const RECORDS_A_ROUND: usize = 4096;
/// Bytes after which hits learn that there is room again.
const FREED_AT_ONCE: usize = 16 * 1024;
/// Rounds after which everything has been taken that was queued before the first of them, however small.
const FULL_QUEUE_ROUNDS: usize = QUEUE_BYTES / (HEADER * RECORDS_A_ROUND) + 1;

/// Why a probe's gate is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Off {
    /// The CPU budget.
    Paused { until: u64 },
    /// An evaluation ran out of time.
    Suspended { until: u64 },
    /// A panic of ours.
    Panicked,
}

/// What the worker knows of a probe besides what everybody sees.
struct Control {
    live: Arc<LiveProbe>,
    ticket: Ticket,
    bucket: Bucket,
    off: Option<Off>,
    emitted: bool,
    /// Nothing matches its place: when that becomes an error, and what was looked for.
    missing: Option<(u64, String)>,
    /// The realms of the host that have it.
    realms: Vec<u32>,
}

impl Control {
    fn cost(&self, dearest: u64) -> Cost {
        let (slot, nanoseconds) = (self.live.slot, self.live.stats.nanoseconds.get());
        Cost { slot, nanoseconds, dearest, on: self.off.is_none() }
    }
}

/// The worker's state. A session has one.
pub struct Worker {
    shared: Arc<Shared>,
    runtime: Arc<dyn Runtime>,
    commands: Receiver<Command>,
    /// Those that were put off while a record waited for what the host said before it.
    put_off: VecDeque<Command>,
    output: Output,
    controls: BTreeMap<u32, Control>,
    tickets: HashMap<Ticket, u32>,
    to_install: VecDeque<u32>,
    rings: Vec<RecordReceiver>,
    capturing: Bucket,
    others: Bucket,
    breaker: Breaker,
    /// That of probes whose hits are dear, looked at in each round.
    dear: Breaker,
    /// Records stay in the rings.
    holds: bool,
    next_look: u64,
    next_gather: u64,
    next_ticket: u64,
    last_event: u64,
    is_calm: bool,
    stopping: Option<(u64, Sender<bool>)>,
    flushes: Vec<(u64, Sender<bool>)>,
    /// Metric probes that are gone, of which the host may have kept something, and how often they are still looked at.
    parting: Vec<(Arc<LiveProbe>, u32)>,
}

/// What to do after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Sleep, at most so long.
    Sleep(Duration),
    /// Leave the thread.
    End,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        runtime: Arc<dyn Runtime>,
        commands: Receiver<Command>,
        output: Output,
    ) -> Self {
        let now = shared.process.clock.monotonic();
        let (capturing, others) = shared.global_buckets(now);
        let budget = shared.settings.cpu_budget;
        let breaker = Breaker::new(budget, ALL_NS, now);
        let dear = Breaker::new(budget, DEAR_NS, now);
        Worker {
            shared,
            runtime,
            commands,
            put_off: VecDeque::new(),
            output,
            controls: BTreeMap::new(),
            tickets: HashMap::new(),
            to_install: VecDeque::new(),
            rings: Vec::new(),
            capturing,
            others,
            breaker,
            dear,
            holds: false,
            next_look: now + LOOK_NS,
            next_gather: now + GATHER_NS,
            next_ticket: 1,
            last_event: now,
            is_calm: true,
            stopping: None,
            flushes: Vec::new(),
            parting: Vec::new(),
        }
    }

    /// Starts the thread.
    pub(crate) fn spawn(self) -> std::io::Result<JoinHandle<()>> {
        #[allow(clippy::disallowed_methods, reason = "the one thread of the worker")]
        std::thread::Builder::new().name("stroboscope".into()).spawn(move || self.run())
    }

    /// Runs until it is told to stop. A panic of ours ends its round, not the thread; one that comes back in every round
    /// ends the session's work.
    fn run(mut self) {
        let mut panics = 0;
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.tick())) {
                Ok(Next::End) => return,
                Ok(Next::Sleep(time)) => {
                    panics = 0;
                    std::thread::park_timeout(time);
                }
                Err(_) if panics < PANICS_IN_A_ROW => {
                    panics += 1;
                    log::error!(target: "stroboscope", "a round of the worker failed; the program is not affected");
                    std::thread::park_timeout(Duration::from_nanos(IDLE_NS));
                }
                Err(_) => {
                    self.give_up();
                    return;
                }
            }
        }
    }

    /// Nothing fires any more, and the statuses say so.
    fn give_up(&mut self) {
        log::error!(target: "stroboscope", "the worker fails again and again: all probes are stopped");
        let now = self.shared.wall_ms();
        for control in self.controls.values() {
            let probe = &control.live.probe;
            control.live.panicked();
            self.shared.board().error(&probe.id, probe.version, PANIC, "stopped: our own worker failed", now);
        }
    }

    /// One round.
    pub fn tick(&mut self) -> Next {
        fault::at(fault::Place::Round);
        while let Some(command) = self.put_off.pop_front().or_else(|| self.commands.try_recv().ok()) {
            self.obey(command);
        }
        let now = self.shared.process.clock.monotonic();
        self.install_some();
        self.refill(now);
        // What became of a probe is told before what it caught.
        self.output.tick(now);
        let more = self.drain(now);
        self.gather(now);
        self.output.tell_health(now, false);
        self.watch(now);
        self.expire();
        self.report_missing(now);
        self.output.tick(now);
        self.answer_flushes(now, more);
        self.next(now, more)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Records(receiver) => self.rings.push(receiver),
            Command::Change { added, removed } => self.change(added, removed),
            Command::Installed { ticket, realm, outcome } => {
                if let Some(&slot) = self.tickets.get(&ticket) {
                    self.settle(slot, realm, outcome);
                }
            }
            Command::Defer { ticket, deferred } => {
                if let Some(&slot) = self.tickets.get(&ticket) {
                    self.pause_probe(slot, deferred.until, &deferred.reason);
                }
            }
            Command::CatchUp { done } => {
                // The asker may have gone; then nobody waits.
                let _ = done.send(());
            }
            Command::Rate(rate) => {
                if self.shared.settings.rate_limits {
                    let now = self.shared.process.clock.monotonic();
                    self.capturing = Bucket::new(rate, false, now);
                    self.capturing.open(&self.shared.process.capturing, now);
                }
            }
            Command::Discard { done } => {
                self.holds = true;
                // The asker may have gone; then nobody waits.
                let _ = done.send(self.discard());
            }
            Command::Flush { until, done } => {
                self.output.hurry();
                self.flushes.push((until, done));
            }
            Command::Stop { until, done } => {
                self.output.hurry();
                self.stopping = Some((until, done));
            }
        }
    }

    fn change(&mut self, added: Vec<Arc<LiveProbe>>, removed: Vec<Arc<LiveProbe>>) {
        let now = self.shared.process.clock.monotonic();
        self.take_leave(&removed, now);
        if added.iter().any(|live| live.meter.is_some()) {
            self.output.expect_metrics();
        }
        for live in removed {
            self.drop_probe(&live);
        }
        for live in added {
            let ticket = Ticket(self.next_ticket);
            self.next_ticket += 1;
            self.tickets.insert(ticket, live.slot);
            self.to_install.push_back(live.slot);
            let bucket = self.shared.bucket(&live.probe, now);
            let slot = live.slot;
            let control =
                Control { live, ticket, bucket, off: None, emitted: false, missing: None, realms: Vec::new() };
            self.controls.insert(slot, control);
        }
    }

    /// What probes have captured so far is taken while they are still known; nothing comes after it.
    fn take_leave(&mut self, leaving: &[Arc<LiveProbe>], now: u64) {
        for live in leaving {
            live.end();
        }
        let metrics: Vec<Arc<LiveProbe>> = leaving.iter().filter(|live| live.meter.is_some()).cloned().collect();
        if !metrics.is_empty() {
            self.gather_from(&metrics);
            self.parting.extend(metrics.into_iter().map(|live| (live, LAST_LOOKS)));
        }
        for _ in 0..FULL_QUEUE_ROUNDS {
            if leaving.is_empty() || !self.drain(now) {
                return;
            }
        }
    }

    fn drop_probe(&mut self, live: &Arc<LiveProbe>) {
        live.end();
        live.leave(&self.shared.process);
        self.runtime.remove(live);
        if let Some(control) = self.controls.remove(&live.slot) {
            self.tickets.remove(&control.ticket);
        }
        self.to_install.retain(|&slot| slot != live.slot);
    }

    /// Asks the host to place hooks, a few at a time.
    fn install_some(&mut self) {
        for _ in 0..INSTALLS_A_ROUND {
            let Some(slot) = self.to_install.pop_front() else { return };
            let Some(control) = self.controls.get(&slot) else { continue };
            let (live, ticket) = (Arc::clone(&control.live), control.ticket);
            if let Install::Now(outcome) = self.runtime.install(&live, ticket) {
                self.settle(slot, 0, outcome);
            }
        }
    }

    /// The host has answered: the status says so.
    fn settle(&mut self, slot: u32, realm: u32, outcome: Outcome) {
        if matches!(outcome, Outcome::Moved { .. }) {
            // What was caught so far is told with the place it was caught at.
            self.drain(self.shared.process.clock.monotonic());
        }
        let Some(control) = self.controls.get_mut(&slot) else { return };
        control.realms.retain(|&known| known != realm);
        if matches!(outcome, Outcome::Done { .. } | Outcome::Moved { .. }) {
            control.realms.push(realm);
        } else if matches!(outcome, Outcome::Denied { .. }) {
            // What one realm must not have no other one may.
        } else if !control.realms.is_empty() {
            // Another realm has it; what this one lacks undoes nothing.
            return;
        }
        if let Outcome::Done { site, .. } | Outcome::Moved { site, .. } | Outcome::Denied { site } = &outcome
            && let Some(reason) = self.shared.refuses(&control.live.probe, Some(site))
        {
            let site = Arc::new(site.clone());
            return self.block(slot, site, &reason);
        }
        let probe = &control.live.probe;
        let now = self.shared.wall_ms();
        // A hit may come, and fail, before its installation is told: that it is stopped stays said.
        let stopped = control.off == Some(Off::Panicked);
        let mut board = self.shared.board();
        if !self.shared.registry.has(&control.live) {
            // It was removed meanwhile, and another one of its id and version may be in force.
            return;
        }
        match outcome {
            Outcome::Done { note, site } => {
                let place = note.as_ref().map_or_else(|| site.to_string(), |note| format!("{site} ({note})"));
                control.live.set_site(site);
                control.live.set_note(note);
                control.missing = None;
                if !stopped {
                    board.installed(&probe.id, probe.version, &place, now);
                }
            }
            Outcome::Moved { note, site } => {
                let old = control.live.site();
                // Another realm may have moved before: then this one only follows.
                let from = old.filter(|old| **old != site).map(|old| format!("moved from {old}"));
                let moves = from.is_some();
                let notes: Vec<String> = from.into_iter().chain(note).collect();
                let notes = Some(notes.join("; ")).filter(|notes| !notes.is_empty());
                let place = notes.as_ref().map_or_else(|| site.to_string(), |notes| format!("{site} ({notes})"));
                control.live.set_site(site);
                control.live.set_note(notes);
                control.missing = None;
                if stopped {
                    return;
                }
                if moves {
                    control.emitted = false;
                    board.moved(&probe.id, probe.version, &place, now);
                } else {
                    board.installed(&probe.id, probe.version, &place, now);
                }
            }
            Outcome::Waiting(reason) => {
                control.missing = None;
                board.waiting(&probe.id, probe.version, &reason, now);
            }
            Outcome::NotFound(reason) => {
                board.waiting(&probe.id, probe.version, &reason, now);
                let since = self.shared.process.clock.monotonic();
                // Other words for the same lack do not begin the minute anew.
                let due = control.missing.take().map_or(since.saturating_add(NOT_FOUND_NS), |(due, _)| due);
                control.missing = Some((due, reason));
            }
            Outcome::Refused { kind, reason } => {
                control.missing = None;
                board.error(&probe.id, probe.version, kind, &reason, now);
            }
            // Another service configuration has come since, which lets it be there.
            Outcome::Denied { .. } => self.to_install.push_back(slot),
            Outcome::Blocked(reason) => {
                control.missing = None;
                board.blocked(&probe.id, probe.version, &reason, now);
            }
        }
    }

    /// The file of a probe is one that the service denies: only its path tells.
    fn block(&mut self, slot: u32, site: Arc<Site>, reason: &str) {
        let Some(live) = self.controls.get(&slot).map(|control| Arc::clone(&control.live)) else { return };
        if self.shared.block_live(&live, site, reason) {
            self.drop_probe(&live);
        }
    }

    /// Gives the tokens that are due, ends pauses, and re-arms what was disarmed.
    fn refill(&mut self, now: u64) {
        let process = &self.shared.process;
        self.capturing.refill(&process.capturing, now);
        self.others.refill(&process.others, now);
        let mut rearm = Vec::new();
        for control in self.controls.values_mut() {
            if control.live.has_panicked() && control.off != Some(Off::Panicked) {
                control.off = Some(Off::Panicked);
                let now = self.shared.wall_ms();
                let reason = "stopped: our own code failed in a hit of this probe; the program was not affected";
                self.shared.tell(&control.live, |board, id, version| board.error(id, version, PANIC, reason, now));
                // Its hooks go: a probe that failed must not be entered again.
                self.runtime.remove(&control.live);
                continue;
            }
            if control.live.take_suspension() {
                let until = now.saturating_add(WINDOW_NS);
                control.off = Some(Off::Suspended { until });
                control.live.rest_until(until);
            }
            if let Some(Off::Paused { until } | Off::Suspended { until }) = control.off {
                if now < until {
                    continue;
                }
                if matches!(control.off, Some(Off::Paused { .. })) {
                    control.live.set_paused(false);
                    let spent = control.live.stats.nanoseconds.get();
                    self.breaker.resumed(control.live.slot, spent);
                    self.dear.resumed(control.live.slot, spent);
                    rearm.push(Arc::clone(&control.live));
                    let now = self.shared.wall_ms();
                    self.shared.tell(&control.live, |board, id, version| board.resumed(id, version, now));
                    control.emitted = false;
                }
                control.off = None;
                control.live.rest_until(0);
                control.bucket.open(&control.live.gate, now);
                if control.live.take_disarmed() {
                    rearm.push(Arc::clone(&control.live));
                }
                continue;
            }
            if control.bucket.refill(&control.live.gate, now) && control.live.take_disarmed() {
                rearm.push(Arc::clone(&control.live));
            }
        }
        if !rearm.is_empty() {
            self.runtime.rearm(&rearm);
        }
    }

    fn discard(&mut self) -> usize {
        let mut count = 0;
        for ring in &mut self.rings {
            while let Some(bytes) = ring.pop(<[u8]>::len) {
                self.shared.process.queued.sub(bytes);
                count += 1;
            }
        }
        count
    }

    /// Takes what hits have queued, up to a bound. True if a ring may hold more.
    fn drain(&mut self, now: u64) -> bool {
        if self.holds {
            return false;
        }
        let mut more = false;
        let mut rings = std::mem::take(&mut self.rings);
        for ring in &mut rings {
            let (mut taken, mut freed) = (0, 0);
            while taken < RECORDS_A_ROUND && !self.is_late() {
                let Some(bytes) = ring.pop(|record| self.accept(record, now)) else { break };
                self.last_event = now;
                taken += 1;
                // Not at each record: hits count there at the same time.
                freed += bytes;
                if freed >= FREED_AT_ONCE {
                    self.shared.process.queued.sub(std::mem::take(&mut freed));
                }
            }
            self.shared.process.queued.sub(freed);
            more |= taken == RECORDS_A_ROUND;
        }
        rings.retain_mut(|ring| !ring.is_finished());
        // Rings are kept empty for the next burst only while what they held goes on, and in place of what may wait.
        let is_calm = now.saturating_sub(self.last_event) >= CALM_AFTER_NS;
        let kept = if is_calm { 0 } else { QUEUE_BYTES.saturating_sub(self.shared.process.queued.get()) };
        for ring in &rings {
            ring.rest(kept / rings.len());
        }
        self.rings = rings;
        if is_calm && !self.is_calm {
            self.runtime.calm();
        }
        self.is_calm = is_calm;
        more
    }

    /// Once a second, and where nobody waits any longer, what metric probes have measured goes out.
    fn gather(&mut self, now: u64) {
        let hurries = !self.flushes.is_empty() || self.stopping.is_some();
        let is_due = now >= self.next_gather;
        if !is_due && !hurries {
            return;
        }
        self.hear_of_tracer();
        let in_force = self.controls.values().map(|control| &control.live).filter(|live| live.meter.is_some());
        let all: Vec<Arc<LiveProbe>> = in_force.chain(self.parting.iter().map(|(live, _)| live)).cloned().collect();
        if !all.is_empty() {
            self.gather_from(&all);
        }
        if is_due {
            self.next_gather = now + GATHER_NS;
            self.parting.retain_mut(|(_, looks)| {
                *looks -= 1;
                *looks > 0
            });
            if !all.is_empty() {
                // It comes with the next look.
                self.runtime.gather();
            }
        }
    }

    /// What the application's tracer did for probes is only counted: the first of it is told.
    fn hear_of_tracer(&mut self) {
        let news = |control: &&Control| !control.emitted && control.live.stats.traced.get() > 0;
        let slots: Vec<u32> = self.controls.values().filter(news).map(|control| control.live.slot).collect();
        for slot in slots {
            self.emits(slot);
        }
    }

    fn gather_from(&mut self, probes: &[Arc<LiveProbe>]) {
        for live in probes {
            let taken = live.meter.as_ref().map(Meter::take).unwrap_or_default();
            if !taken.is_empty() {
                self.emits(live.slot);
            }
            for taken in &taken {
                self.output.measured(live, taken);
            }
        }
        self.output.send_metrics();
    }

    /// A probe has its first result, if it had none: its status says so.
    fn emits(&mut self, slot: u32) {
        let Some(control) = self.controls.get_mut(&slot).filter(|control| !control.emitted) else { return };
        control.emitted = true;
        let now = self.shared.wall_ms();
        self.shared.tell(&control.live, |board, id, version| board.emitting(id, version, now));
    }

    /// True if the session has to end now.
    fn is_late(&self) -> bool {
        self.stopping.as_ref().is_some_and(|(until, _)| self.shared.process.clock.monotonic() >= *until)
    }

    /// Counts what is still in the rings as the session ends.
    fn abandon_records(&mut self) {
        for ring in &mut self.rings {
            while let Some((slot, bytes)) = ring.pop(|record| (read::probe_of(record), record.len())) {
                self.shared.process.queued.sub(bytes);
                if let Some(slot) = slot {
                    self.output.lose(slot, 1);
                }
            }
        }
    }

    /// Hands a record to the outputs and lets its probe's status say that it emits. Answers how many bytes of it have left
    /// the queue.
    fn accept(&mut self, record: &[u8], now: u64) -> usize {
        let Some(slot) = read::probe_of(record) else { return record.len() };
        self.hear_of(slot);
        self.emits(slot);
        let Some(control) = self.controls.get(&slot) else {
            // Its probe was removed in the meantime.
            self.output.lose(slot, 1);
            return record.len();
        };
        if self.output.accept(record, &control.live, now) { 0 } else { record.len() }
    }

    /// Its first event tells where a probe is. What the host has said of that was said before the hit, and may wait here.
    fn hear_of(&mut self, slot: u32) {
        let is_known = |control: &Control| control.emitted || control.live.site().is_some();
        if self.controls.get(&slot).is_none_or(is_known) {
            return;
        }
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Installed { .. } => self.obey(command),
                other => self.put_off.push_back(other),
            }
        }
    }

    /// Looks at what hits cost: a few times a second, at those that are dear in each round.
    fn watch(&mut self, now: u64) {
        let dear = self.controls.values().filter(|control| control.live.is_dear());
        let costs: Vec<Cost> = dear.map(|control| control.cost(control.live.stats.dearest())).collect();
        if let Some(pause) = self.dear.look(now, &costs) {
            self.pause_probe(pause.slot, pause.until, &pause.reason(now));
        }
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_NS;
        for Control { live, .. } in self.controls.values() {
            live.last_reject.watch(&live.stats);
        }
        let costs: Vec<Cost> = self.controls.values().map(|control| control.cost(control.live.stats.look())).collect();
        if let Some(pause) = self.breaker.look(now, &costs) {
            self.pause_probe(pause.slot, pause.until, &pause.reason(now));
        }
    }

    fn pause_probe(&mut self, slot: u32, until: u64, reason: &str) {
        let Some(control) = self.controls.get_mut(&slot).filter(|control| control.off != Some(Off::Panicked)) else {
            return;
        };
        control.live.set_paused(true);
        control.live.gate.switch_off();
        control.off = Some(Off::Paused { until });
        self.runtime.disarm(std::slice::from_ref(&control.live));
        let wall_ms = self.shared.wall_ms();
        self.shared.tell(&control.live, |board, id, version| board.paused(id, version, reason, wall_ms));
        control.live.rest_until(until);
    }

    /// Removes probes whose time has come.
    fn expire(&mut self) {
        let wall_ms = self.shared.wall_ms();
        let expired: Vec<Arc<LiveProbe>> = self
            .controls
            .values()
            .filter(|control| control.live.probe.expires_at.is_some_and(|at| at <= wall_ms))
            .map(|control| Arc::clone(&control.live))
            .collect();
        self.take_leave(&expired, self.shared.process.clock.monotonic());
        for live in expired {
            // One that was removed meanwhile is dropped with the command that says so.
            if self.shared.retire(&live, wall_ms) {
                self.drop_probe(&live);
            }
        }
    }

    /// Reports places that nothing has matched for a minute. Their probes go on waiting.
    fn report_missing(&mut self, now: u64) {
        for control in self.controls.values_mut() {
            let Some((_, reason)) = control.missing.take_if(|(due, _)| *due <= now) else { continue };
            let now = self.shared.wall_ms();
            self.shared.tell(&control.live, |board, id, version| {
                board.error(id, version, NOT_FOUND, &reason, now);
            });
        }
    }

    fn answer_flushes(&mut self, now: u64, more: bool) {
        if self.flushes.is_empty() && self.stopping.is_none() {
            return;
        }
        let done = !more && self.to_install.is_empty() && self.output.is_settled();
        self.flushes.retain(|(until, answer)| {
            if !done && now < *until {
                return true;
            }
            // The asker may have gone; then nobody waits.
            let _ = answer.send(done);
            false
        });
        if self.flushes.is_empty() && self.stopping.is_none() {
            self.output.calm();
        }
    }

    fn next(&mut self, now: u64, more: bool) -> Next {
        if let Some((until, answer)) = self.stopping.clone()
            && (self.is_late() || (!more && self.output.is_handed_over()))
        {
            // What was not even handed over by now is lost; the rest gets one more try, and what fails is counted.
            let settled = !more && self.output.is_handed_over();
            self.abandon_records();
            let left = Duration::from_nanos(until.saturating_sub(now)).max(Duration::from_millis(50));
            let stopped = self.output.stop(left);
            // The asker may have gone; then nobody waits.
            let _ = answer.send(settled && stopped);
            return Next::End;
        }
        let symbols = self.output.symbols_due_in(now).map_or(u64::MAX, |due| due.max(BUSY_NS));
        Next::Sleep(Duration::from_nanos(self.pause(now).min(symbols)))
    }

    /// How long nothing can be due.
    fn pause(&self, now: u64) -> u64 {
        if !self.to_install.is_empty() || !self.flushes.is_empty() || self.stopping.is_some() {
            return BUSY_NS;
        }
        if self.controls.is_empty() && self.parting.is_empty() && self.output.is_settled() {
            return ASLEEP_NS;
        }
        if now.saturating_sub(self.last_event) < CALM_AFTER_NS {
            return BUSY_NS;
        }
        let process = &self.shared.process;
        let globals = [self.capturing.due_in(&process.capturing, now), self.others.due_in(&process.others, now)];
        let probes = self.controls.values().map(|control| control.bucket.due_in(&control.live.gate, now));
        let due = probes.chain(globals).flatten().min().unwrap_or(IDLE_NS);
        due.clamp(BUSY_NS, IDLE_NS)
    }
}

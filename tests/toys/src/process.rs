//! A toy process: a session whose clock is moved by hand, and one of the toy hosts. Timed scripts drive it.
//!
//! The inside host installs at once, or later, as one that must wait for a lock. The outside host has two realms, installs
//! at a safe point of its own, keeps its gates in memory of its own, runs its own code and writes its own records.

use crate::inside::{Handle, Place};
use crate::outside::Code;
use crate::outside_writer::{Head, Writer};
use crate::value::World;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stroboscope_core::budget::gate::Words;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::Clock;
use stroboscope_core::config::{LogStack, Settings};
use stroboscope_core::control::agent::Container;
use stroboscope_core::control::memory::Memory;
use stroboscope_core::datagrams::{Datagrams, Destination};
use stroboscope_core::emit::output::Identity;
use stroboscope_core::explain::Facts;
use stroboscope_core::expr::eval::{Category, Failure, Measured};
use stroboscope_core::expr::template::Segment;
use stroboscope_core::hit::{Ask, EntryToken, Exit, HitContext, Verdict};
use stroboscope_core::host::{Capabilities, FrameText, Install, Language, Outcome, Runtime, Site, StackFrame, Ticket};
use stroboscope_core::intake::{self, Counts, Intake};
use stroboscope_core::probe::model::{Kind, Location, MetricKind};
use stroboscope_core::probe::wire::{Definition, Rejected};
use stroboscope_core::record::layout as lay;
use stroboscope_core::record::names::Tables;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::sender::Sender;
use stroboscope_core::session::{Parts, ProbeReport, Session};
use stroboscope_core::worker::{Next, Worker};

/// The worker's rounds come at least this often.
const ROUND: Duration = Duration::from_millis(4);

/// Time at the start: far from zero, so that nothing is "long ago" by accident.
pub const START: Duration = Duration::from_secs(1_000_000);

/// Words of the outside host's gates.
const WORDS: usize = 512;

/// Which toy plays the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// Hits run in the core; hooks are placed at once.
    Inside,
    /// Hits run in the core; hooks are placed later.
    InsideLater,
    /// Hits run in the host's own code.
    Outside,
}

/// All of them.
pub const HOSTS: [Host; 3] = [Host::Inside, Host::InsideLater, Host::Outside];

impl Host {
    fn realms(self) -> u32 {
        if self == Host::Outside { 2 } else { 1 }
    }
}

/// A clock moved by hand, that may also go on with each precise reading: then hits take time.
#[derive(Debug)]
pub struct ToyClock {
    now: AtomicU64,
    drag: AtomicU64,
}

impl ToyClock {
    fn new() -> ToyClock {
        ToyClock { now: AtomicU64::new(nanoseconds(START)), drag: AtomicU64::new(0) }
    }

    fn advance(&self, by: Duration) {
        self.now.fetch_add(nanoseconds(by), Relaxed);
    }

    /// From now on each precise reading moves it by so much.
    pub fn drag(&self, by: Duration) {
        self.drag.store(nanoseconds(by), Relaxed);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Clock for ToyClock {
    fn monotonic(&self) -> u64 {
        self.now.fetch_add(self.drag.load(Relaxed), Relaxed)
    }
    fn coarse(&self) -> u64 {
        self.now.load(Relaxed)
    }
    fn wall(&self) -> u64 {
        self.now.load(Relaxed)
    }
    fn thread_cpu(&self) -> u64 {
        self.now.load(Relaxed)
    }
}

/// What an outside host has compiled of a probe.
struct Compiled {
    when: Option<Code>,
    /// Of a metric.
    value: Option<Code>,
    segments: Vec<(u32, Code)>,
    expressions: Vec<Code>,
}

impl Compiled {
    fn of(live: &LiveProbe) -> Result<Compiled, String> {
        let symbols = &live.probe.symbols;
        let when = live.probe.when.as_ref().map(|when| Code::of(when, symbols)).transpose()?;
        let log = match &live.probe.kind {
            Kind::Log(log) => log,
            Kind::Metric(metric) => {
                let value = metric.value.as_ref().map(|value| Code::of(value, symbols)).transpose()?;
                return Ok(Compiled { when, value, segments: Vec::new(), expressions: Vec::new() });
            }
            // The core does all of it: only the inside host has them.
            Kind::Span | Kind::SpanDecoration(_) => {
                return Ok(Compiled { when, value: None, segments: Vec::new(), expressions: Vec::new() });
            }
        };
        let mut segments = Vec::new();
        for (index, segment) in (0..).zip(&log.template.segments) {
            if let Segment::Expression(expression) = segment {
                segments.push((index, Code::of(expression, symbols)?));
            }
        }
        let expressions: Result<Vec<Code>, String> =
            log.expressions.iter().map(|capture| Code::of(&capture.expression, symbols)).collect();
        Ok(Compiled { when, value: None, segments, expressions: expressions? })
    }
}

/// A hook in a realm.
#[derive(Clone)]
struct Hook {
    live: Arc<LiveProbe>,
    realm: u32,
    armed: bool,
    compiled: Arc<Compiled>,
}

/// What the host was asked for and does at its next safe point.
enum Order {
    Install(Arc<LiveProbe>, Ticket),
    Remove(u32),
    Disarm(u32),
    Rearm(u32),
}

#[derive(Default)]
struct State {
    hooks: Vec<Hook>,
    orders: Vec<Order>,
    /// Every installation that was asked for, for scripts that answer by hand.
    asked: Vec<(Arc<LiveProbe>, Ticket)>,
}

/// A host whose every place exists, but for files whose name begins with `missing`.
pub struct ToyRuntime {
    host: Host,
    /// True if a script says how installations end.
    scripted: bool,
    words: &'static [AtomicI32],
    state: Mutex<State>,
    /// It was asked for symbols since somebody looked.
    asked: AtomicBool,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    facts: Mutex<Facts>,
}

impl ToyRuntime {
    /// A host without a hook. `scripted`: a script says how installations end.
    pub fn new(host: Host, scripted: bool) -> ToyRuntime {
        // A host's memory for gates stays as long as its code; here, as long as the test.
        let words = Vec::leak((0..WORDS).map(|_| AtomicI32::new(0)).collect());
        ToyRuntime {
            host,
            scripted,
            words,
            state: Mutex::default(),
            asked: AtomicBool::new(false),
            meanwhile: Mutex::default(),
            facts: Mutex::default(),
        }
    }

    /// From now on this is what it knows of the place of any probe.
    pub fn knows(&self, facts: Facts) {
        *self.facts.lock().unwrap_or_else(PoisonError::into_inner) = facts;
    }

    /// True if it was asked for symbols since the last call.
    pub fn was_asked_for_symbols(&self) -> bool {
        self.asked.swap(false, Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: Order) {
        if self.host == Host::Outside {
            self.state().orders.push(order);
        } else {
            self.obey(order);
        }
    }

    fn obey(&self, order: Order) -> Option<(Ticket, Outcome)> {
        match order {
            Order::Install(live, ticket) => return Some((ticket, self.place(&live))),
            Order::Remove(slot) => {
                let mut state = self.state();
                state.hooks.retain(|hook| hook.live.slot != slot);
                // A script may speak of a probe after its end; without one nobody keeps it.
                state.asked.retain(|(live, _)| self.scripted || live.slot != slot);
            }
            Order::Disarm(slot) => self.arm(slot, false),
            Order::Rearm(slot) => self.arm(slot, true),
        }
        None
    }

    fn arm(&self, slot: u32, armed: bool) {
        for hook in self.state().hooks.iter_mut().filter(|hook| hook.live.slot == slot) {
            hook.armed = armed;
        }
    }

    /// Places the hooks of a probe in every realm.
    fn place(&self, live: &Arc<LiveProbe>) -> Outcome {
        let site = site(&live.probe.location);
        if site.file.starts_with("missing") {
            return Outcome::NotFound("no file missing.py".into());
        }
        let compiled = match Compiled::of(live) {
            Ok(compiled) => Arc::new(compiled),
            Err(reason) => return Outcome::Refused { kind: "Toy", reason },
        };
        for realm in 0..self.host.realms() {
            let hook = Hook { live: Arc::clone(live), realm, armed: true, compiled: Arc::clone(&compiled) };
            self.state().hooks.push(hook);
        }
        Outcome::Done { note: None, site }
    }

    /// Does what was asked for since the last time: where a host is free to change its code.
    fn safe_point(&self, session: &Session) -> bool {
        let orders = std::mem::take(&mut self.state().orders);
        let busy = !orders.is_empty();
        for order in orders {
            let Some((ticket, outcome)) = self.obey(order) else { continue };
            for realm in 0..self.host.realms() {
                session.installed_in(realm, ticket, outcome.clone());
            }
        }
        busy
    }
}

fn site(location: &Location) -> Site {
    match location {
        Location::Lines { file, lines } => {
            Site { file: file.clone(), lines: lines.clone(), function: "toy".into(), ..Site::default() }
        }
        Location::Method { type_name, method, .. } => {
            Site { type_name: type_name.clone(), method: method.clone(), function: method.clone(), ..Site::default() }
        }
    }
}

impl Runtime for ToyRuntime {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            language: Language::Other("toy"),
            methods: true,
            metrics: true,
            spans: self.host != Host::Outside,
            module_lines: true,
            disarm: true,
            capture_timeout_ms: 100,
            log_stack: LogStack::All,
        }
    }

    fn install(&self, probe: &Arc<LiveProbe>, ticket: Ticket) -> Install {
        self.state().asked.push((Arc::clone(probe), ticket));
        let meanwhile = self.meanwhile.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(meanwhile) = meanwhile {
            meanwhile();
        }
        if self.scripted {
            return Install::Pending(ticket);
        }
        if self.host == Host::Inside {
            return Install::Now(self.place(probe));
        }
        self.state().orders.push(Order::Install(Arc::clone(probe), ticket));
        Install::Pending(ticket)
    }

    fn remove(&self, probe: &Arc<LiveProbe>) {
        self.order(Order::Remove(probe.slot));
    }

    fn disarm(&self, probes: &[Arc<LiveProbe>]) {
        for probe in probes {
            self.order(Order::Disarm(probe.slot));
        }
    }

    fn rearm(&self, probes: &[Arc<LiveProbe>]) {
        for probe in probes {
            self.order(Order::Rearm(probe.slot));
        }
    }

    fn describe_frame(&self, _frame: StackFrame) -> FrameText {
        FrameText::default()
    }

    fn explain(&self, _probe: &LiveProbe) -> Facts {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn symbols(&self) {
        self.asked.store(true, Relaxed);
    }

    fn gates(&self) -> Option<&'static [AtomicI32]> {
        (self.host == Host::Outside).then_some(self.words)
    }
}

/// What a toy process is made of.
pub struct Options {
    /// Who plays the host.
    pub host: Host,
    /// The settings.
    pub settings: Settings,
    /// A script says how installations end ([`Process::answer`]).
    pub scripted: bool,
    /// The upload, if there is one.
    pub sender: Option<Sender>,
    /// Where metrics go, if anywhere but into memory.
    pub metrics: Option<Destination>,
}

/// A toy process.
pub struct Process {
    /// Its session.
    pub session: Arc<Session>,
    /// What it emitted.
    pub memory: Memory,
    /// Its names and types.
    pub tables: Arc<Tables>,
    /// Its time.
    pub clock: Arc<ToyClock>,
    /// Records of the host's that were not records.
    pub bad: Vec<String>,
    /// Its host.
    pub runtime: Arc<ToyRuntime>,
    worker: Worker,
    context: HitContext,
    intake: Intake,
    turn: u32,
    events: u64,
    now: Duration,
}

impl Process {
    /// A process of these settings.
    pub fn new(host: Host, settings: Settings) -> Process {
        Process::with(Options { host, settings, scripted: false, sender: None, metrics: None })
    }

    /// A process with everything said.
    pub fn with(options: Options) -> Process {
        let Options { host, settings, scripted, sender, metrics } = options;
        let redaction = Redaction::new(
            &settings.redacted_identifiers,
            &settings.redaction_excluded_identifiers,
            &settings.redacted_types,
        );
        let clock = Arc::new(ToyClock::new());
        let runtime = Arc::new(ToyRuntime::new(host, scripted));
        let memory = Memory::new();
        let tables = Arc::new(Tables::new(Arc::new(redaction)));
        let datagrams =
            metrics.map(|to| Datagrams::to(to, &settings, "toy", &Container::default(), Arc::clone(&clock) as _));
        let (session, worker) = Session::prepare(Parts {
            settings,
            identity: Identity { service: "toy".into(), ..Identity::default() },
            runtime: Arc::clone(&runtime) as Arc<dyn Runtime>,
            clock: Arc::clone(&clock) as Arc<_>,
            sinks: vec![Box::new(memory.sink())],
            sender,
            datagrams,
            tables: Arc::clone(&tables),
        });
        let (context, intake) = (session.hit_context(), session.intake());
        let (turn, events, now) = (0, 0, Duration::ZERO);
        let session = Arc::new(session);
        Process { session, memory, tables, clock, bad: Vec::new(), runtime, worker, context, intake, turn, events, now }
    }

    /// Puts definitions in force.
    pub fn apply(&mut self, definitions: Vec<Result<Definition, Rejected>>) {
        // A round places a few hooks only; here no time passes until all are there.
        for _ in 0..=self.session.apply(definitions).len() {
            self.round();
        }
    }

    /// One round of the worker, and what the host does at its safe point.
    pub fn round(&mut self) -> Next {
        let next = self.worker.tick();
        if self.runtime.safe_point(&self.session) {
            return self.worker.tick();
        }
        next
    }

    /// Lets time pass, round by round, up to this time since the start.
    pub fn until(&mut self, time: Duration) {
        while self.now < time {
            let step = ROUND.min(time.saturating_sub(self.now));
            self.clock.advance(step);
            self.now += step;
            self.round();
        }
    }

    /// Lets time pass without a round: the worker overslept.
    pub fn leap(&mut self, time: Duration) {
        let step = time.saturating_sub(self.now);
        self.clock.advance(step);
        self.now += step;
        self.round();
    }

    /// How much time has passed.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Hits a probe so often. Hooks that are off, or not there, are not hit.
    pub fn hit(&mut self, id: &str, times: u32, world: &World) {
        for _ in 0..times {
            self.turn += 1;
            let hooks: Vec<Hook> = self
                .runtime
                .state()
                .hooks
                .iter()
                .filter(|hook| hook.armed && hook.live.probe.id == id)
                .cloned()
                .collect();
            // Realms take turns.
            let Some(hook) = hooks.get(self.turn as usize % hooks.len().max(1)) else { return };
            let verdict = match self.runtime.host {
                Host::Outside => self.hit_outside(hook, world),
                _ => self.context.line(&hook.live, 1, &Place(world)),
            };
            if verdict == Verdict::Disarm {
                self.runtime.arm(hook.live.slot, false);
            }
        }
    }

    /// Hits a probe of the inside host so often, whether it is in force or not: its hooks may still be there.
    pub fn hit_live(&mut self, live: &LiveProbe, times: u32, world: &World) {
        for _ in 0..times {
            self.context.line(live, 1, &Place(world));
        }
    }

    /// What the last hit of the inside host asks of the application's tracer.
    pub fn ask(&mut self) -> Option<Ask> {
        self.context.take_ask()
    }

    /// Begins a call of a probed method, in the inside host. What it answers goes to [`Process::leave`].
    pub fn enter(&mut self, id: &str, world: &World) -> Option<EntryToken> {
        let live = self.live(id)?;
        self.context.entry(&live, &Place(world)).1
    }

    /// Ends a call of a probed method, with the world's `@return`, or its `@exception` if it has one.
    pub fn leave(&mut self, id: &str, world: &World, token: Option<EntryToken>) {
        let Some(live) = self.live(id) else { return };
        let value = |name: &str| world.var(name).map(|id| Handle { world, id });
        let exit = match (value("@exception"), value("@return")) {
            (Some(thrown), _) => Exit::Threw(thrown),
            (None, Some(returned)) => Exit::Returned(returned),
            (None, None) => return,
        };
        self.context.exit(&live, &Place(world), exit, token);
    }

    /// A script's answer to the installation of a version, from every realm. Nothing, if that version was never asked for.
    pub fn answer(&mut self, id: &str, version: i64, outcome: &Outcome) {
        for realm in 0..self.runtime.host.realms() {
            self.answer_in(realm, id, version, outcome.clone());
        }
        self.round();
    }

    /// A script's answer from one realm. If it is [`Outcome::Done`], the hook is in place there.
    pub fn answer_in(&mut self, realm: u32, id: &str, version: i64, outcome: Outcome) {
        let asked = self.runtime.state().asked.clone();
        let found = asked.iter().rev().find(|(live, _)| live.probe.id == id && live.probe.version == version);
        let Some((live, ticket)) = found else { return };
        if matches!(outcome, Outcome::Done { .. }) {
            self.put(realm, live);
        }
        self.session.installed_in(realm, *ticket, outcome);
    }

    /// A script's answer that comes in the midst of a round: as the next probe is installed.
    pub fn answer_meanwhile(&mut self, id: &str, version: i64, outcome: Outcome) {
        let asked = self.runtime.state().asked.clone();
        let found = asked.into_iter().find(|(live, _)| live.probe.id == id && live.probe.version == version);
        let Some((_, ticket)) = found else { return };
        let session = Arc::clone(&self.session);
        let tell = move || session.installed_in(0, ticket, outcome);
        *self.runtime.meanwhile.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(tell));
    }

    /// Places a probe if there is room for it, as a host does whose hooks are dear to place. True if it was.
    pub fn place_dear(&mut self, id: &str) -> bool {
        let asked = self.runtime.state().asked.clone();
        let Some((_, ticket)) = asked.iter().rev().find(|(live, _)| live.probe.id == id) else { return false };
        match self.session.book_placing() {
            Ok(()) => true,
            Err(deferred) => {
                self.session.defer(*ticket, deferred);
                false
            }
        }
    }

    /// Puts a hook in place without a word of it, as one that is hit before the report of its installation.
    pub fn put_quietly(&mut self, id: &str, version: i64) {
        let asked = self.runtime.state().asked.clone();
        if let Some((live, _)) = asked.iter().find(|(live, _)| live.probe.id == id && live.probe.version == version) {
            self.put(0, live);
        }
    }

    fn put(&self, realm: u32, live: &Arc<LiveProbe>) {
        let Ok(compiled) = Compiled::of(live) else { return };
        let hook = Hook { live: Arc::clone(live), realm, armed: true, compiled: Arc::new(compiled) };
        let mut state = self.runtime.state();
        state.hooks.retain(|known| known.live.slot != live.slot || known.realm != realm);
        state.hooks.push(hook);
    }

    /// What `status()` says of a probe.
    pub fn report(&self, id: &str) -> Option<ProbeReport> {
        self.session.status().into_iter().find(|report| report.id == id)
    }

    /// A probe that is in force.
    pub fn live(&self, id: &str) -> Option<Arc<LiveProbe>> {
        self.session.probes().into_iter().find(|live| live.probe.id == id)
    }

    /// A hit in code of the host's own, as `intake.rs` says. The core is told at once what became of it.
    fn hit_outside(&mut self, hook: &Hook, world: &World) -> Verdict {
        let live = &hook.live;
        // The host's own count, which says which hits are timed.
        let weight = live.stats.sample_weight(live.stats.hits.get());
        let started = weight.map(|weight| (weight, self.clock.monotonic()));
        let mut counts = Counts { hits: 1, ..Counts::default() };
        self.run(hook, world, &mut counts);
        if let Some((weight, started)) = started {
            (counts.nanoseconds, counts.weight) = (self.clock.monotonic() - started, weight);
        }
        self.intake.report(live.slot, &counts).unwrap_or(Verdict::Keep)
    }

    fn run(&mut self, hook: &Hook, world: &World, counts: &mut Counts) {
        let (live, words) = (&hook.live, self.runtime.words);
        let Some(word) = live.gate.index() else { return };
        match words[word as usize].load(Relaxed) {
            0 => return counts.empty = 1,
            ..0 => return counts.off = 1,
            1.. => {}
        }
        if let Some(when) = &hook.compiled.when {
            match when.holds(world, &mut self.intake.judge) {
                Ok(true) => {}
                Ok(false) => return counts.rejected = 1,
                Err(failure) => {
                    let due = self.intake.condition_failed(live.slot, &failure);
                    return self.failed(live, world, &due, lay::PLACE_CONDITION, &failure);
                }
            }
        }
        if let Kind::Metric(metric) = &live.probe.kind {
            return self.measure(hook, metric.kind, world);
        }
        if !take(&words[word as usize]) {
            return counts.empty = 1;
        }
        if !self.intake.has_room() {
            return counts.no_room = 1;
        }
        let global = if live.captures { Words::CAPTURING } else { Words::OTHERS };
        if !take(&words[global as usize]) {
            put_back(&words[word as usize]);
            return counts.empty_global = 1;
        }
        self.write(hook, world);
    }

    fn head(&mut self, slot: u32) -> Head {
        self.events += 1;
        let mut event = [0; 16];
        event[..8].copy_from_slice(&self.events.to_le_bytes());
        Head { slot, wall: self.clock.wall(), event }
    }

    fn measure(&mut self, hook: &Hook, kind: MetricKind, world: &World) {
        let live = &hook.live;
        let number = match &hook.compiled.value {
            None => Ok(Measured::Int(1)),
            Some(code) => code.number(world, &mut self.intake.judge, kind),
        };
        match number {
            Ok(number) => {
                let number = match number {
                    Measured::Int(value) => value as f64,
                    Measured::Float(value) => value,
                };
                if let Err(refusal) = self.intake.measured(live.slot, 1, &[number]) {
                    self.bad.push(format!("{refusal:?}"));
                }
            }
            Err(failure) => {
                let due = self.intake.value_failed(live.slot, &failure);
                self.failed(live, world, &due, lay::PLACE_METRIC, &failure);
            }
        }
    }

    /// A condition or a value has failed: an error event, if it is due.
    fn failed(
        &mut self,
        live: &LiveProbe,
        world: &World,
        due: &Result<bool, intake::Refusal>,
        place: u8,
        failure: &Failure,
    ) {
        if *due != Ok(true) {
            return;
        }
        let head = self.head(live.slot);
        let mut writer = Writer::new(world, &mut self.intake.judge, &*self.clock, u64::MAX, &head);
        writer.mark_error();
        writer.failure(place, 0, failure);
        writer.stack(&[("toy.py", "toy", 1)]);
        let record = writer.finish();
        self.hand_over(&record);
    }

    fn write(&mut self, hook: &Hook, world: &World) {
        let Kind::Log(log) = &hook.live.probe.kind else { return };
        let mut ran = Vec::new();
        let mut fails = false;
        for (index, code) in &hook.compiled.segments {
            let outcome = code.run(world, &mut self.intake.judge);
            if let Err(failure) = &outcome {
                fails = self.intake.template_failed(hook.live.slot, failure) == Ok(true);
            }
            ran.push((*index, outcome));
            if fails {
                break;
            }
        }
        let captured: Vec<_> =
            hook.compiled.expressions.iter().map(|code| code.run(world, &mut self.intake.judge)).collect();
        let head = self.head(hook.live.slot);
        let deadline = self.clock.coarse() + self.session.process().capture_ns;
        let mut writer = Writer::new(world, &mut self.intake.judge, &*self.clock, deadline, &head);
        for (index, outcome) in &ran {
            match outcome {
                Ok(value) => writer.template(*index, value),
                Err(failure) => writer.failure(lay::PLACE_SEGMENT, *index, failure),
            }
        }
        if fails {
            writer.mark_error();
        } else if log.snapshot {
            writer.line(1);
            writer.section(lay::SECTION_ARGUMENTS);
            for (name, id) in world.vars.iter().filter(|(name, _)| !name.starts_with('@')) {
                if !writer.variable(name, *id, log.limits) {
                    break;
                }
            }
            writer.section(lay::SECTION_LOCALS);
            writer.section(lay::SECTION_STATICS);
            writer.end_point();
        } else if !captured.is_empty() {
            writer.line(1);
            writer.section(lay::SECTION_EXPRESSIONS);
            let mut late = false;
            for (capture, outcome) in log.expressions.iter().zip(&captured) {
                match outcome {
                    _ if late => writer.not_reached(&capture.name),
                    Ok(value) => writer.expression(&capture.name, value, capture.limits),
                    Err(failure) => late = failure.category() == Category::Timeout,
                }
            }
            writer.end_point();
            for (index, outcome) in (0..).zip(&captured) {
                if let Err(failure) = outcome {
                    writer.failure(lay::PLACE_EXPRESSION, index, failure);
                }
            }
        }
        writer.stack(&[("toy.py", "toy", 1)]);
        let record = writer.finish();
        self.hand_over(&record);
    }

    fn hand_over(&mut self, record: &[u8]) {
        match self.intake.record(record) {
            // What there was no room for is counted by the core; a removed probe's record has nobody to count it.
            Ok(()) | Err(intake::Refusal::Full | intake::Refusal::Unknown(_)) => {}
            Err(intake::Refusal::Bad(error)) => self.bad.push(error.text),
        }
    }
}

/// Takes a token from a word.
fn take(word: &AtomicI32) -> bool {
    word.fetch_update(Relaxed, Relaxed, |tokens| match tokens {
        i32::MAX => Some(tokens),
        1.. => Some(tokens - 1),
        _ => None,
    })
    .is_ok()
}

/// Puts a token back, unless the gate was switched off meanwhile.
fn put_back(word: &AtomicI32) {
    // An error is a word that stays as it is.
    let _ = word.fetch_update(Relaxed, Relaxed, |tokens| (0..i32::MAX).contains(&tokens).then(|| tokens + 1));
}

//! Start, stop, fork: owns the registry, the rings, the worker and the sender. Bindings hold one [`Session`].

use crate::budget::gate::{Bucket, Gate, Words};
use crate::budget::placing::{Deferred, Placing};
use crate::capture::strict::Strict;
use crate::clock::Clock;
use crate::config::Settings;
use crate::control::Sink;
use crate::control::remote::sources::Sources;
use crate::datagrams::{Datagrams, MetricCounters};
use crate::emit::health::Incomplete;
use crate::emit::output::{Identity, Output};
use crate::emit::ring::{self, QueuedBytes};
use crate::emit::status::{Board, Entry, NOT_FOUND, State};
use crate::emit::symbols::{Module, Symbols};
use crate::error::{Error, ErrorKind};
use crate::explain;
use crate::expr::eval::{Failure, Names};
use crate::hit::{HitContext, Process};
use crate::host::{Language, Outcome, Runtime, Site, Ticket};
use crate::intake::Intake;
use crate::probe::compile;
use crate::probe::model::{Probe, ServiceConfiguration};
use crate::probe::strict;
use crate::probe::wire::{Body, Definition, Rejected};
use crate::record::names::Tables;
use crate::record::write::Place;
use crate::registry::{LiveProbe, ProbeSet, Registry};
use crate::sender::{Sender, SenderCounters};
use crate::stats::{Counter, Drop, ProbeStats};
use crate::worker::{Command, Worker};
use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::{self as channel, RecvTimeoutError};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Acquire, Ordering::Relaxed, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

mod remote;

use remote::Remote;
pub use remote::{Origins, RemoteHost};

/// Events a second of all capturing probes together.
const GLOBAL_CAPTURING_RATE: f64 = 100.0;
/// Events a second of all other log probes together.
const GLOBAL_RATE: f64 = 5000.0;

/// How long a caller waits until it is known what becomes of its probes ([`Session::is_settled`]).
pub const PLACEMENT: Duration = Duration::from_secs(1);
/// How long a caller waits for the worker to hear what was just found: it does so within its round.
const CATCH_UP: Duration = Duration::from_millis(100);
/// How much longer than its limit an end is waited for: on a busy machine the worker comes to its last account late.
const GRACE: Duration = Duration::from_millis(400);
/// Why a probe is not used whose gate has no place.
const NO_WORD: &str = "too many probes are in force at once in this process: remove some";

/// What the session's parts share.
pub(crate) struct Shared {
    pub(crate) process: Arc<Process>,
    pub(crate) settings: Settings,
    pub(crate) language: Language,
    pub(crate) registry: Registry,
    board: Mutex<Board>,
    placing: Placing,
    /// The service configuration in force. Read without a lock, in a forked child too.
    service: ArcSwap<InForce>,
    /// Probes that it blocks, by id.
    blocked: Mutex<HashMap<String, Blocked>>,
    /// What expired probes did, by id.
    retired: Mutex<HashMap<String, ProbeReport>>,
    /// Records that could not be read.
    unreadable: Counter,
    /// Events that could not be written on this machine.
    pub(crate) not_written: Counter,
    /// Records of which no event could be made, or only one that is too large for anybody.
    pub(crate) not_made: Counter,
    /// What events lacked.
    pub(crate) incomplete: Incomplete,
    /// Events that did not get as far as the sender before the session, or their probe, ended.
    pub(crate) too_late: Counter,
    /// Where the gates stand, if the host gives the memory.
    words: Option<Arc<Words>>,
    /// What is told of the program's modules.
    pub(crate) symbols: Symbols,
}

/// A service configuration, and its id.
#[derive(Clone, Debug, Default)]
struct InForce {
    id: String,
    service: Arc<ServiceConfiguration>,
}

/// A probe that waits until its code is denied no more.
#[derive(Clone, Debug)]
struct Blocked {
    probe: Arc<Probe>,
    /// Where it would be, or was, if that is known.
    site: Option<Arc<Site>>,
}

impl Shared {
    /// The statuses. Locked by the worker and by callers of the session, never in a hit.
    pub(crate) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what became of a probe, unless that is not in force any more: another one of its id and version may be, of which
    /// it is not true.
    pub(crate) fn tell(&self, live: &LiveProbe, say: impl FnOnce(&mut Board, &str, i64)) {
        let mut board = self.board();
        // Asked with the board at hand: a probe that takes its place gets there only after this one has gone.
        if self.registry.has(live) {
            say(&mut board, &live.probe.id, live.probe.version);
        }
    }

    /// Counts a record that cannot be read, and says so the first time: no probe can be told from it.
    pub(crate) fn unreadable(&self, error: &Error) {
        if self.unreadable.get() == 0 {
            log::error!(target: "stroboscope", "an event is lost, and so are further ones like it: {error}");
        }
        self.unreadable.add(1);
    }

    /// The service configuration in force.
    pub(crate) fn service(&self) -> Arc<ServiceConfiguration> {
        Arc::clone(&self.service.load().service)
    }

    fn blocked(&self) -> MutexGuard<'_, HashMap<String, Blocked>> {
        self.blocked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The service denies the code of a probe: its status says so, and it waits for another service configuration.
    pub(crate) fn block(&self, probe: &Arc<Probe>, site: Option<Arc<Site>>, reason: &str) {
        self.blocked().insert(probe.id.clone(), Blocked { probe: Arc::clone(probe), site });
        self.board().blocked(&probe.id, probe.version, reason, self.wall_ms());
    }

    /// Why a probe must not be where it is, or is meant to be, if so.
    pub(crate) fn refuses(&self, probe: &Probe, site: Option<&Site>) -> Option<String> {
        let service = self.service();
        match site {
            Some(site) => service.refuses_code(&probe.location, site),
            // Code may have more names than it was asked for by: whether it is allowed is known when it is found.
            None => service.denied().refuses_place(&probe.location),
        }
    }

    /// Takes a probe out that must not be where it is, and keeps it for another service configuration. False if it is not in
    /// force any more.
    pub(crate) fn block_live(&self, live: &Arc<LiveProbe>, site: Arc<Site>, reason: &str) -> bool {
        let mut board = self.board();
        let is_in_force = self.registry.withdraw(live);
        if is_in_force {
            let probe = Arc::clone(&live.probe);
            board.blocked(&probe.id, probe.version, reason, self.wall_ms());
            self.blocked().insert(probe.id.clone(), Blocked { probe, site: Some(site) });
        }
        is_in_force
    }

    /// Takes a probe out whose time is over, and keeps what it did. False if it is not in force any more.
    pub(crate) fn retire(&self, live: &Arc<LiveProbe>, wall_ms: u64) -> bool {
        let id = &live.probe.id;
        let mut board = self.board();
        let kept = board
            .get(id)
            .map(|entry| report(&self.process, id, entry, Some(live), self.process.clock.monotonic()).at_its_end());
        let is_in_force = self.registry.withdraw(live);
        if is_in_force {
            self.retired().extend(kept.map(|kept| (id.clone(), kept)));
            board.expired(id, live.probe.version, wall_ms);
        }
        is_in_force
    }

    fn retired(&self) -> MutexGuard<'_, HashMap<String, ProbeReport>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the epoch, for statuses.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.process.clock.wall() / 1_000_000
    }

    /// What became of hits, events and uploads, of all probes together.
    pub(crate) fn stats(&self, uploads: Option<&SenderCounters>, metrics: Option<&MetricCounters>) -> SessionStats {
        let sums = self.registry.sums();
        SessionStats {
            hits: sums.hits.get(),
            emitted: sums.emitted.get(),
            pending: sums.pending(),
            dropped: sums.dropped_by_reason(),
            queued_bytes: self.process.queued.get() as u64,
            unreadable: self.unreadable.get(),
            uploads: uploads.map(|counters| self.upload_stats(counters)),
            measured: sums.measured.get(),
            metrics: metrics.map(|counters| MetricStats {
                sent: counters.sent.load(Relaxed),
                datagrams: counters.datagrams.load(Relaxed),
                lost: counters.lost.load(Relaxed),
            }),
        }
    }

    fn upload_stats(&self, counters: &SenderCounters) -> UploadStats {
        let last = counters.last_success.load(Relaxed);
        let now = self.process.clock.monotonic();
        UploadStats {
            events: counters.events_sent.load(Relaxed),
            statuses: counters.statuses_sent.load(Relaxed),
            batches: counters.batches_sent.load(Relaxed),
            bytes: counters.bytes_sent.load(Relaxed),
            retries: counters.retries.load(Relaxed),
            lost: counters.drops().into_iter().filter(|(_, count)| *count > 0).collect(),
            statuses_lost: counters.statuses_lost.load(Relaxed),
            symbols: counters.symbols_sent.load(Relaxed),
            since_success: (last > 0).then(|| now.saturating_sub(last)),
        }
    }

    /// The refilling side of a probe's gate.
    pub(crate) fn bucket(&self, probe: &Probe, now: u64) -> Bucket {
        let has_rate = self.settings.rate_limits && probe.rate.is_finite();
        if has_rate { Bucket::new(probe.rate, probe.captures(), now) } else { Bucket::unlimited() }
    }

    /// The refilling sides of the two global gates.
    pub(crate) fn global_buckets(&self, now: u64) -> (Bucket, Bucket) {
        if !self.settings.rate_limits {
            return (Bucket::unlimited(), Bucket::unlimited());
        }
        // Many probes share these: they hold a second's worth, whatever one capturing probe may hold.
        (Bucket::new(GLOBAL_CAPTURING_RATE, false, now), Bucket::new(GLOBAL_RATE, false, now))
    }
}

/// Puts probes in force and takes them out, for whoever asks: the program, and remote configuration from its own thread.
struct Changes {
    shared: Arc<Shared>,
    runtime: Arc<dyn Runtime>,
    commands: channel::Sender<Command>,
    /// Serialises changes, so that two callers never lose one another's; and knows whose a probe is.
    order: Mutex<Sources>,
    next_slot: AtomicU32,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// What a child of a fork would go on from.
    origins: ArcSwapOption<Origins>,
}

/// A running set of probes: one per process.
pub struct Session {
    shared: Arc<Shared>,
    changes: Arc<Changes>,
    /// Remote configuration, if there is any.
    remote: Option<Remote>,
    /// It was stopped: what comes now is lost.
    over: AtomicBool,
    uploads: Option<Arc<SenderCounters>>,
    metrics: Option<Arc<MetricCounters>>,
}

/// What [`Session::stats`] says of the whole process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionStats {
    /// Hits of all probes, those that are gone or replaced included, as in what follows.
    pub hits: u64,
    /// Events that were queued.
    pub emitted: u64,
    /// Hits whose event comes at the end of their call, which goes on.
    pub pending: u64,
    /// Hits and events that were dropped, by reason; uploads that were lost are among them.
    pub dropped: Vec<(&'static str, u64)>,
    /// Bytes of events that wait or are on their way to the Agent.
    pub queued_bytes: u64,
    /// Events lost because their record could not be read; no probe can be told from it.
    pub unreadable: u64,
    /// What became of uploads; `None` if there are none.
    pub uploads: Option<UploadStats>,
    /// Values that metric probes have measured.
    pub measured: u64,
    /// What became of them; `None` if they do not leave the machine.
    pub metrics: Option<MetricStats>,
}

/// What became of metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricStats {
    /// Values that were sent: of a count one a second.
    pub sent: u64,
    /// Datagrams that carried them.
    pub datagrams: u64,
    /// Values that were lost, since nobody listens or the system has no room.
    pub lost: u64,
}

/// What became of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UploadStats {
    /// Events that the Agent took.
    pub events: u64,
    /// Statuses that the Agent took.
    pub statuses: u64,
    /// Requests that carried them.
    pub batches: u64,
    /// Bytes of these requests.
    pub bytes: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Events that were lost, by reason.
    pub lost: Vec<(&'static str, u64)>,
    /// Statuses that were lost; the latest one of each probe is sent again.
    pub statuses_lost: u64,
    /// Modules whose symbols the Agent took.
    pub symbols: u64,
    /// Nanoseconds since the Agent last took something; `None` if it never did.
    pub since_success: Option<u64>,
}

/// What a session is made of.
pub struct Parts {
    /// The settings.
    pub settings: Settings,
    /// Who this process is.
    pub identity: Identity,
    /// The host.
    pub runtime: Arc<dyn Runtime>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where events go inside this process or machine: terminal, NDJSON, memory.
    pub sinks: Vec<Box<dyn Sink>>,
    /// The upload, if there is one.
    pub sender: Option<Sender>,
    /// Where metrics go, if they leave the machine.
    pub datagrams: Option<Datagrams>,
    /// The tables; shared with the binding's caches.
    pub tables: Arc<Tables>,
}

/// What `status()` says of one probe.
#[derive(Clone, Debug)]
pub struct ProbeReport {
    /// The id.
    pub id: String,
    /// The version.
    pub version: i64,
    /// What it is doing.
    pub state: State,
    /// Why, in a sentence; empty if there is nothing to say.
    pub reason: String,
    /// It is an error that nothing matches its place, for which it goes on waiting.
    pub is_missing: bool,
    /// Where it is.
    pub site: Option<Site>,
    /// Why it is there and not where it was asked for.
    pub note: Option<String>,
    /// Hits of its hooks.
    pub hits: u64,
    /// False if its hooks were off for a time (over its rate, paused): then there may have been more hits.
    pub hits_exact: bool,
    /// Hits whose condition was false.
    pub rejected: u64,
    /// Hits whose condition, or the value of their metric, failed.
    pub failed: u64,
    /// Why, as far as it is kept: the latest reason first, each with how often.
    pub failures: Vec<(String, u64)>,
    /// Events queued.
    pub emitted: u64,
    /// Values measured; `None`: it is no metric probe.
    pub measured: Option<u64>,
    /// Spans that the application's tracer has made, or has had decorated; `None`: the probe asks for none.
    pub traced: Option<u64>,
    /// Hits whose event comes at the end of their call, which goes on.
    pub pending: u64,
    /// Events and hits dropped, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// Hits among those dropped as `stopped` the end of whose call was not seen.
    pub unended: u64,
    /// Estimated cost of a hit.
    pub nanoseconds_per_hit: Option<u64>,
    /// Estimated cost of all hits.
    pub nanoseconds: u64,
    /// How long hits took that made an event: half of those that were timed, and 99 of 100, took no longer.
    pub capture_times: Option<(u64, u64)>,
    /// Why a hit last came to nothing, as a reason of `dropped`, or [`crate::stats::REJECTED`], or [`crate::stats::FAILED`].
    pub last_reject: Option<&'static str>,
    /// Bytes of its events that wait for their place in an upload.
    pub queued_bytes: u64,
    /// Events that the Agent has taken.
    pub uploaded: u64,
    /// Nanoseconds since it last took some; `None` if it never did.
    pub since_upload: Option<u64>,
    /// True while its hooks are off because no token is left.
    pub disarmed: bool,
}

/// What a forked child takes over from its parent's session.
#[derive(Debug)]
pub struct Heritage {
    probes: Vec<Arc<LiveProbe>>,
    service: Arc<InForce>,
    blocked: Vec<Blocked>,
}

/// The calls that go on will not be seen to end: their hits are dropped.
fn end_calls(pending: &mut u64, dropped: &mut Vec<(&'static str, u64)>) -> u64 {
    let lost = std::mem::take(pending);
    let stopped = Drop::Stopped.name();
    match dropped.iter_mut().find(|(reason, _)| *reason == stopped) {
        Some((_, count)) => *count += lost,
        None if lost > 0 => dropped.push((stopped, lost)),
        None => {}
    }
    lost
}

impl ProbeReport {
    /// The same once nothing of the probe is seen any more.
    #[must_use]
    pub fn at_its_end(mut self) -> Self {
        self.unended += end_calls(&mut self.pending, &mut self.dropped);
        self
    }
}

impl Session {
    /// Starts the worker.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub fn start(parts: Parts) -> std::io::Result<Session> {
        let (session, worker) = Session::prepare(parts);
        let thread = worker.spawn()?;
        *session.changes.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        if let Some(remote) = &session.remote {
            remote.begin(&session.changes);
        }
        Ok(session)
    }

    /// A session whose worker the caller drives, round by round: for tests with a manual clock.
    pub fn prepare(parts: Parts) -> (Session, Worker) {
        let Parts { settings, identity, runtime, clock, sinks, sender, datagrams, tables } = parts;
        let capabilities = runtime.capabilities();
        let default_capture = Duration::from_millis(u64::from(capabilities.capture_timeout_ms));
        let words = host_words(&*runtime);
        let global = |index| words.as_ref().and_then(|words| words.global(index, 0)).unwrap_or_else(|| Gate::new(0));
        let (capturing_gate, others_gate) = (global(Words::CAPTURING), global(Words::OTHERS));
        let process = Arc::new(Process {
            redaction: Arc::clone(tables.redaction()),
            strict: Strict::of(settings.capture, settings.capture_key.as_ref().map(|key| key.0.as_str())),
            tables,
            shows_computed: capabilities.language == Language::JavaScript,
            clock,
            capturing: capturing_gate,
            others: others_gate,
            lines: Default::default(),
            queued: Arc::new(QueuedBytes::default()),
            evaluation_ns: nanoseconds(settings.evaluation_timeout),
            capture_ns: nanoseconds(settings.capture_timeout.unwrap_or(default_capture)),
            log_stack: settings.log_stack.unwrap_or(capabilities.log_stack),
            language: capabilities.language,
        });
        let board = Mutex::new(Board::new(settings.diagnostics_interval));
        let placing = Placing::new(settings.cpu_budget);
        let symbols = Symbols::new(&settings, &identity, capabilities.language, sender.is_some());
        let shared = Arc::new(Shared {
            process,
            settings,
            language: capabilities.language,
            registry: Registry::default(),
            board,
            placing,
            service: ArcSwap::default(),
            blocked: Mutex::default(),
            retired: Mutex::default(),
            unreadable: Counter::default(),
            not_written: Counter::default(),
            not_made: Counter::default(),
            too_late: Counter::default(),
            incomplete: Incomplete::default(),
            words,
            symbols,
        });
        if let Some(sender) = &sender {
            sender.count_in(&shared.process.queued);
        }
        let uploads = sender.as_ref().map(|sender| Arc::clone(sender.counters()));
        let now = shared.process.clock.monotonic();
        let (mut capturing, mut others) = shared.global_buckets(now);
        capturing.open(&shared.process.capturing, now);
        others.open(&shared.process.others, now);
        let (commands, orders) = channel::unbounded();
        let metrics = datagrams.as_ref().map(|datagrams| Arc::clone(datagrams.counters()));
        let remote = sender.as_ref().and_then(|sender| Remote::of(sender, &shared, &identity));
        let output = Output::new(Arc::clone(&shared), Arc::clone(&runtime), identity, sinks, sender, datagrams);
        let worker = Worker::new(Arc::clone(&shared), Arc::clone(&runtime), orders, output);
        let changes = Arc::new(Changes {
            shared: Arc::clone(&shared),
            runtime,
            commands,
            order: Mutex::default(),
            next_slot: AtomicU32::new(0),
            thread: Mutex::new(None),
            origins: ArcSwapOption::empty(),
        });
        let session = Session { shared, changes, remote, over: AtomicBool::new(false), uploads, metrics };
        (session, worker)
    }

    /// A context for hits: one per thread, or one for all where the host runs one hit at a time.
    pub fn hit_context(&self) -> HitContext {
        let (sender, receiver) = ring::channel(Arc::clone(&self.shared.process.queued));
        self.tell(Command::Records(receiver));
        HitContext::new(Arc::clone(&self.shared.process), sender)
    }

    /// Where an outside host hands over what its hits made: one per thread that does so.
    pub fn intake(&self) -> Intake {
        let (sender, receiver) = ring::channel(Arc::clone(&self.shared.process.queued));
        self.tell(Command::Records(receiver));
        Intake::new(Arc::clone(&self.shared), sender)
    }

    /// What hits share.
    pub fn process(&self) -> &Arc<Process> {
        &self.shared.process
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Puts definitions in force: new ones, and other versions of known ones. Returns the probes that are to be
    /// installed; a broken definition only gets its status, and one whose id came by remote configuration waits behind that.
    pub fn apply(&self, definitions: Vec<Result<Definition, Rejected>>) -> Vec<Arc<LiveProbe>> {
        self.changes.apply(definitions)
    }
}

/// What is to change at once.
#[derive(Default)]
struct Change {
    /// Definitions in force.
    definitions: Vec<Result<Definition, Rejected>>,
    /// They take the place of others of their version.
    replaces: bool,
    /// Ids out of force.
    gone: Vec<String>,
    /// Probes in force once more.
    back: Vec<Arc<Probe>>,
}

/// What came of it.
#[derive(Default)]
struct Changed {
    /// Probes that are to be installed.
    added: Vec<Arc<LiveProbe>>,
    /// Why each of the definitions cannot be used, if so.
    faults: Vec<Option<String>>,
}

impl Changes {
    fn order(&self) -> MutexGuard<'_, Sources> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, definitions: Vec<Result<Definition, Rejected>>) -> Vec<Arc<LiveProbe>> {
        let mut sources = self.order();
        let definitions = self.without_waiting(&mut sources, definitions);
        self.change(Change { definitions, ..Change::default() }).added
    }

    /// Changes what is in force, in one store. The caller holds the order.
    fn change(&self, change: Change) -> Changed {
        let Change { definitions, replaces, mut gone, back } = change;
        let now = self.shared.wall_ms();
        // A host may have only so many words for gates: those of probes that are gone are free.
        self.shared.registry.settle();
        let mut returned = Vec::new();
        if gone.contains(&self.shared.service.load().id) {
            returned.extend(self.serve("", &ServiceConfiguration::default(), now));
        }
        for definition in definitions.iter().flatten() {
            if let Body::Service(service) = &definition.body {
                returned.extend(self.serve(&definition.id, service, now));
            }
        }
        let current = self.shared.registry.load();
        let leaving = gone.clone();
        let mut changed = Changed::default();
        let (mut added, mut replaced) = (Vec::new(), Vec::new());
        for definition in definitions {
            let mut fault = None;
            match definition {
                Err(rejected) => {
                    gone.extend(self.reject(&rejected, &current, replaces, now));
                    fault = Some(rejected.text);
                }
                Ok(Definition { body: Body::Service(_), .. }) => {}
                Ok(definition) => {
                    let known = current.get(&definition.id).filter(|live| live.probe.version == definition.version);
                    if let Some(live) = known {
                        if !replaces {
                            self.warn_if_other(&live.probe, &definition);
                        } else if !self.is_same(&live.probe, &definition) {
                            replaced.extend(self.withdraw(live));
                        }
                        if !replaces || self.shared.registry.has(live) {
                            changed.faults.push(None);
                            continue;
                        }
                    }
                    if replaces {
                        self.forget(&definition.id);
                    }
                    self.shared.board().received(&definition.id, definition.version, now);
                    self.shared.blocked().remove(&definition.id);
                    let compiled = self.compile(&definition);
                    if compiled.is_ok() {
                        self.shared.board().mended(&definition.id, definition.version, now);
                    }
                    match compiled {
                        Ok(live) if is_over(&live.probe, now) => {
                            gone.push(definition.id.clone());
                            self.shared.board().expired(&definition.id, definition.version, now);
                        }
                        Ok(live) => match self.shared.refuses(&live.probe, None) {
                            None => added.push(live),
                            Some(reason) => {
                                gone.push(definition.id.clone());
                                self.shared.block(&live.probe, None, &reason);
                            }
                        },
                        Err((kind, text)) => {
                            gone.push(definition.id.clone());
                            self.shared.board().error(&definition.id, definition.version, kind, &text, now);
                            fault = Some(text);
                        }
                    }
                }
            }
            changed.faults.push(fault);
        }
        for probe in &back {
            replaced.extend(current.get(&probe.id).and_then(|live| self.withdraw(live)));
            added.extend(self.revive(probe, now));
        }
        let diff = self.shared.registry.update(added, &gone);
        for live in diff.removed.iter().filter(|live| gone.contains(&live.probe.id)) {
            // At once: the status already speaks of the definition that cannot be used.
            live.end();
        }
        for id in leaving.iter().filter(|id| self.shared.registry.load().get(id).is_none()) {
            self.forget(id);
        }
        replaced.extend(diff.removed);
        self.tell(Command::Change { added: diff.added.clone(), removed: replaced });
        returned.extend(diff.added);
        changed.added = returned;
        changed
    }

    /// Puts a service configuration in force. Probes in code that it denies are blocked, and go; those that it denies no more
    /// come back, and are returned.
    fn serve(&self, id: &str, service: &ServiceConfiguration, now: u64) -> Vec<Arc<LiveProbe>> {
        let in_force = InForce { id: id.to_owned(), service: Arc::new(service.clone()) };
        let before = self.shared.service.swap(Arc::new(in_force));
        if service.rate != before.service.rate {
            self.tell(Command::Rate(service.rate.unwrap_or(GLOBAL_CAPTURING_RATE)));
        }
        let added = self.unblock(now);
        let mut gone = Vec::new();
        for live in self.shared.registry.load().probes.clone() {
            let site = live.site();
            if let Some(reason) = self.shared.refuses(&live.probe, site.as_deref()) {
                self.shared.block(&live.probe, site, &reason);
                live.end();
                gone.push(live.probe.id.clone());
            }
        }
        let diff = self.shared.registry.update(added, &gone);
        self.tell(Command::Change { added: diff.added.clone(), removed: diff.removed });
        diff.added
    }

    /// Probes whose code is denied no more, as new ones.
    fn unblock(&self, now: u64) -> Vec<Arc<LiveProbe>> {
        let can_disarm = self.runtime.capabilities().disarm;
        let is_allowed =
            |_: &String, blocked: &mut Blocked| self.shared.refuses(&blocked.probe, blocked.site.as_deref()).is_none();
        let allowed: Vec<Blocked> = self.shared.blocked().extract_if(is_allowed).map(|(_, blocked)| blocked).collect();
        let mut added = Vec::new();
        for Blocked { probe, .. } in allowed {
            let mut board = self.shared.board();
            // One that was removed, or replaced, just before the worker found that it must not be where it is.
            if board.get(&probe.id).is_none_or(|entry| entry.version != probe.version) {
                continue;
            }
            if is_over(&probe, now) {
                board.expired(&probe.id, probe.version, now);
                continue;
            }
            board.allowed(&probe.id, probe.version, now);
            drop(board);
            added.extend(self.live_or_error(&probe, can_disarm, now));
        }
        added
    }

    /// A version is one definition: another one of the same version is not used, and whoever sent it is told.
    fn warn_if_other(&self, known: &Probe, definition: &Definition) {
        if self.is_same(known, definition) {
            return;
        }
        let (id, version) = (&known.id, known.version);
        log::warn!(
            target: "stroboscope",
            "probe {id}: another definition of version {version} is not used; give it another `version`, or remove the probe first"
        );
    }

    /// True if a definition is that of a known probe.
    fn is_same(&self, known: &Probe, definition: &Definition) -> bool {
        let redaction = &self.shared.process.redaction;
        let probe = compile::compile(definition, &|name| redaction.name(name), &self.runtime.capabilities());
        // All that a probe does is in what it shows of itself.
        probe.is_ok_and(|probe| format!("{probe:?}") == format!("{known:?}"))
    }

    /// A broken definition gets its status. Answers the id of the probe whose place it takes: whoever changed a probe does not
    /// want the old one any more.
    fn reject(&self, rejected: &Rejected, current: &ProbeSet, replaces: bool, now: u64) -> Option<String> {
        let Some(id) = &rejected.id else {
            log::warn!(target: "stroboscope", "a probe definition is not used: {}", rejected.text);
            return None;
        };
        let (version, text) = (rejected.version, &rejected.text);
        if !replaces && current.get(id).is_some_and(|live| live.probe.version == version) {
            log::warn!(
                target: "stroboscope",
                "probe {id}: another definition of version {version} is not used, and it is broken: {text}"
            );
            return None;
        }
        self.shared.blocked().remove(id);
        let mut board = self.shared.board();
        board.received(id, version, now);
        board.error(id, version, ErrorKind::InvalidDefinition.code(), text, now);
        Some(id.clone())
    }

    fn compile(&self, definition: &Definition) -> Result<Arc<LiveProbe>, (&'static str, String)> {
        let probe = self.compiled(definition)?;
        for warning in &probe.warnings {
            log::warn!(target: "stroboscope", "probe {}: {warning}", probe.id);
        }
        self.live(Arc::new(probe), self.runtime.capabilities().disarm)
            .ok_or_else(|| (ErrorKind::Unsupported.code(), NO_WORD.to_owned()))
    }

    /// The probe of a definition, or why it is not used here.
    fn compiled(&self, definition: &Definition) -> Result<Probe, (&'static str, String)> {
        let capabilities = self.runtime.capabilities();
        let redaction = &self.shared.process.redaction;
        let probe = compile::compile(definition, &|name| redaction.name(name), &capabilities)
            .map_err(|error| (error.kind.code(), error.text))?;
        if let Some(reason) = compile::not_yet(&probe.kind, &capabilities) {
            return Err((ErrorKind::Unsupported.code(), reason.to_owned()));
        }
        if let Some(reason) = strict::refuses(self.shared.settings.capture, &probe) {
            return Err((ErrorKind::InvalidExpression.code(), reason));
        }
        Ok(probe)
    }

    /// `None` if the host's memory has no word left for its gate.
    fn live(&self, probe: Arc<Probe>, can_disarm: bool) -> Option<Arc<LiveProbe>> {
        let bucket = self.shared.bucket(&probe, 0);
        let gate = match &self.shared.words {
            None => Gate::new(bucket.capacity()),
            Some(words) => words.lease(bucket.capacity())?,
        };
        let slot = self.next_slot.fetch_add(1, Relaxed);
        Some(Arc::new(LiveProbe::new(probe, slot, gate, bucket.period(), can_disarm)))
    }

    /// A probe in force once more; where that cannot be, its status says so.
    fn live_or_error(&self, probe: &Arc<Probe>, can_disarm: bool, now: u64) -> Option<Arc<LiveProbe>> {
        let live = self.live(Arc::clone(probe), can_disarm);
        if live.is_none() {
            self.shared.board().error(&probe.id, probe.version, ErrorKind::Unsupported.code(), NO_WORD, now);
        }
        live
    }

    /// Takes a probe out of force at once; `None` if it is not in force any more. The worker is to be told.
    fn withdraw(&self, live: &Arc<LiveProbe>) -> Option<Arc<LiveProbe>> {
        let was_in_force = self.shared.registry.withdraw(live);
        live.end();
        was_in_force.then(|| Arc::clone(live))
    }

    /// A probe in force once more, in place of what has its id. Where it is denied or there is no room its status says so.
    fn revive(&self, probe: &Arc<Probe>, now: u64) -> Option<Arc<LiveProbe>> {
        self.forget(&probe.id);
        self.shared.board().received(&probe.id, probe.version, now);
        if let Some(reason) = self.shared.refuses(probe, None) {
            self.shared.block(probe, None, &reason);
            return None;
        }
        self.live_or_error(probe, self.runtime.capabilities().disarm, now)
    }

    fn adopt(&self, heritage: &Heritage) {
        let Heritage { probes, service, blocked } = heritage;
        let _order = self.order();
        let can_disarm = self.runtime.capabilities().disarm;
        let now = self.shared.wall_ms();
        if !service.id.is_empty() {
            self.serve(&service.id, &service.service, now);
        }
        for Blocked { probe, site } in blocked {
            self.shared.board().received(&probe.id, probe.version, now);
            if let Some(reason) = self.shared.refuses(probe, site.as_deref()) {
                self.shared.block(probe, site.clone(), &reason);
            }
        }
        let mut added = Vec::new();
        for probe in probes.iter().map(|live| &live.probe) {
            self.shared.board().received(&probe.id, probe.version, now);
            added.extend(self.live_or_error(probe, can_disarm, now));
        }
        let diff = self.shared.registry.update(added, &[]);
        self.tell(Command::Change { added: diff.added, removed: diff.removed });
    }

    fn remove(&self, id: &str) -> bool {
        let mut sources = self.order();
        let waited = sources.take(id).is_some();
        if sources.is_remote(id) {
            log::warn!(
                target: "stroboscope",
                "probe {id} came by remote configuration and is removed only there"
            );
            return waited;
        }
        let is_service = !id.is_empty() && self.shared.service.load().id == id;
        if is_service {
            self.serve("", &ServiceConfiguration::default(), self.shared.wall_ms());
        }
        self.shared.blocked().remove(id);
        // First: what the worker still says of it is not said of another probe with its id and version.
        let diff = self.shared.registry.update(Vec::new(), &[id.to_owned()]);
        let known = self.forget(id);
        for live in &diff.removed {
            // At once, for the caller's own next hit; the worker takes the hooks away.
            live.end();
        }
        let found = !diff.removed.is_empty();
        self.tell(Command::Change { added: Vec::new(), removed: diff.removed });
        found || known || is_service || waited
    }

    /// Nothing is said any more of a probe that is out of force. False if nothing was.
    fn forget(&self, id: &str) -> bool {
        self.shared.blocked().remove(id);
        self.shared.retired().remove(id);
        let mut board = self.shared.board();
        let known = board.get(id).is_some();
        board.removed(id);
        known
    }

    fn tell(&self, command: Command) {
        // The worker outlives every caller but those after `stop`, who have nothing left to say.
        let _ = self.commands.send(command);
        self.wake();
    }

    fn wake(&self) {
        if let Some(thread) = &*self.thread.lock().unwrap_or_else(PoisonError::into_inner) {
            thread.thread().unpark();
        }
    }
}

impl Session {
    /// What a forked child takes over. Nothing is locked: a thread that holds a lock may not exist there. Of probes that are
    /// blocked just then there are none.
    pub fn heritage(&self) -> Heritage {
        let blocked = self.shared.blocked.try_lock().map(|blocked| blocked.values().cloned().collect());
        Heritage {
            probes: self.probes(),
            service: self.shared.service.load_full(),
            blocked: blocked.unwrap_or_default(),
        }
    }

    /// In a forked child: puts in force what was so in the parent: its probes, with counters of their own, and the service
    /// configuration with what that blocks.
    pub fn adopt(&self, heritage: &Heritage) {
        self.changes.adopt(heritage);
    }

    /// In a forked child: forgets the parent's session. Nothing of it is locked, joined, closed or freed, since the
    /// threads that may hold any of it do not exist here. [`Session::heritage`] and [`Session::origins`] may be called before.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    /// Removes a probe, or a service configuration: then none is in force. False if there is none with this id, or it came by
    /// remote configuration.
    pub fn remove(&self, id: &str) -> bool {
        self.changes.remove(id)
    }

    /// The host has finished an installation, or its result has changed (code was loaded).
    pub fn installed(&self, ticket: Ticket, outcome: Outcome) {
        self.installed_in(0, ticket, outcome);
    }

    /// The same for one realm of a host that has several: a thread, a class loader. A probe is installed when the first
    /// realm has it; what another one says then undoes nothing.
    pub fn installed_in(&self, realm: u32, ticket: Ticket, outcome: Outcome) {
        self.tell(Command::Installed { ticket, realm, outcome });
    }

    /// True if a probe must not be where it is about to be placed: the host leaves it, and answers [`Outcome::Denied`].
    pub fn refuses(&self, live: &LiveProbe, site: &Site) -> bool {
        self.shared.refuses(&live.probe, Some(site)).is_some()
    }

    /// Asks whether a hook may be placed now that is dear to place. If not, the host answers for its probe that it is placed,
    /// hands over to [`Session::defer`] what this says, and places it when it is re-armed.
    ///
    /// # Errors
    /// Placing such hooks has taken too much of late.
    pub fn book_placing(&self) -> Result<(), Deferred> {
        self.shared.placing.book(self.shared.process.clock.monotonic())
    }

    /// Placing so many of the hooks that were booked took so long.
    pub fn placing_took(&self, placed: u32, nanoseconds: u64) {
        self.shared.placing.took(self.shared.process.clock.monotonic(), placed, nanoseconds);
    }

    /// A probe is paused until it may be placed.
    pub fn defer(&self, ticket: Ticket, deferred: Deferred) {
        self.tell(Command::Defer { ticket, deferred });
    }

    /// Waits for a moment until what the host has said so far is in the statuses.
    pub fn catch_up(&self) -> bool {
        let (done, answer) = channel::bounded(1);
        self.tell(Command::CatchUp { done });
        answer.recv_timeout(CATCH_UP).is_ok()
    }

    /// True once it is known what becomes of a probe, or of all: placed, waiting, or refused.
    pub fn is_settled(&self, id: Option<&str>) -> bool {
        let board = self.shared.board();
        let is_open = |entry: &Entry| entry.state == State::Received;
        match id {
            Some(id) => !board.get(id).is_some_and(is_open),
            None => !board.all().any(|(_, entry)| is_open(entry)),
        }
    }

    /// The probe in force that has an id.
    pub fn probe(&self, id: &str) -> Option<Arc<LiveProbe>> {
        self.shared.registry.load().get(id).cloned()
    }

    /// True if a probe in force has this slot.
    pub fn has_slot(&self, slot: u32) -> bool {
        self.shared.registry.load().by_slot(slot).is_some()
    }

    /// The probes in force.
    pub fn probes(&self) -> Vec<Arc<LiveProbe>> {
        self.shared.registry.load().probes.clone()
    }

    /// What every probe is doing, broken ones included, in the order they came.
    pub fn status(&self) -> Vec<ProbeReport> {
        let set = self.shared.registry.load();
        let now = self.shared.process.clock.monotonic();
        let retired = self.shared.retired().clone();
        let board = self.shared.board();
        let one = |(id, entry): (&str, &Entry)| {
            let made = report(&self.shared.process, id, entry, set.get(id), now);
            match retired.get(id).filter(|kept| entry.state == State::Expired && kept.version == made.version) {
                Some(kept) => ProbeReport { state: made.state, reason: made.reason, disarmed: false, ..kept.clone() },
                None => made,
            }
        };
        let over = self.over.load(Relaxed);
        board.all().map(one).map(|report| if over { report.at_its_end() } else { report }).collect()
    }

    /// Why a probe did or did not fire, in sentences; `None` if there is none with this id. The host is asked for what it knows,
    /// by this thread.
    pub fn explain(&self, id: &str) -> Option<Vec<String>> {
        let report = self.status().into_iter().find(|report| report.id == id)?;
        let (live, capabilities) = (self.probe(id), self.changes.runtime.capabilities());
        let facts = live.as_ref().map(|live| self.changes.runtime.explain(live));
        let place = live.as_ref().map(|live| &*live.probe).zip(facts.as_ref());
        Some(explain::probe(&report, place, &capabilities))
    }

    /// What is known of the places of all probes, by id, while the host still knows it: for the end of a run that explains.
    pub fn explain_places(&self) -> explain::Places {
        let capabilities = self.changes.runtime.capabilities();
        let one = |report: ProbeReport| {
            let live = self.probe(&report.id);
            let facts = live.as_ref().map(|live| self.changes.runtime.explain(live));
            let place = live.as_ref().map(|live| &*live.probe).zip(facts.as_ref());
            (report.id.clone(), explain::of_place(&report, place, &capabilities))
        };
        self.status().into_iter().map(one).collect()
    }

    /// What became of hits, events and uploads, of all probes together.
    pub fn stats(&self) -> SessionStats {
        let mut stats = self.shared.stats(self.uploads.as_deref(), self.metrics.as_deref());
        if self.over.load(Relaxed) {
            end_calls(&mut stats.pending, &mut stats.dropped);
        }
        stats
    }

    /// Events that were lost on their way so far: to the Agent, or to where they are shown or kept here.
    fn lost(&self) -> u64 {
        let shared = &self.shared;
        // With an upload, what was too late for it is among what it lost.
        let late = self.uploads.as_ref().map_or_else(|| shared.too_late.get(), |counters| counters.dropped_events());
        late + shared.unreadable.get() + shared.not_made.get() + shared.not_written.get()
    }

    /// Starts the upload of the names of the program's modules, classes, functions and variables, or ends it. Says whether it
    /// goes on now: a setting may forbid it, there may be no Agent, or another child of the same process does it.
    pub fn upload_symbols(&self, wanted: bool) -> bool {
        let goes_on = self.shared.symbols.want(wanted);
        self.wake();
        goes_on
    }

    /// True if the symbols of a module are wanted now. `module` is its name, as far as the host has such names; `is_library`: it
    /// is not the program's own.
    pub fn wants_symbols(&self, module: &str, file: &str, is_library: bool) -> bool {
        self.shared.symbols.are_wanted() && self.shared.symbols.include(module, file, is_library)
    }

    /// The host hands over a module ([`Runtime::symbols`]), on a thread of ours: this may read its file. Says whether the host is
    /// to go on; if not, it is asked again.
    pub fn symbols(&self, module: &Module) -> bool {
        let goes_on = self.shared.symbols.take(module, self.shared.process.clock.monotonic());
        // It sleeps until somebody asks for something.
        self.wake();
        goes_on
    }

    /// Takes and forgets what hits have queued, and says how many records that were; from the first call on, nothing else
    /// takes them. For benchmarks, which measure hits without what comes after them.
    pub fn discard(&self) -> usize {
        let (done, answer) = channel::bounded(1);
        self.tell(Command::Discard { done });
        answer.recv_timeout(Duration::from_secs(10)).unwrap_or(0)
    }

    /// Waits until everything captured so far has left the process, at most `limit`. False if the time was over, or
    /// something was lost meanwhile ([`Session::stats`] says why); what was lost before the call is not told again.
    pub fn flush(&self, limit: Duration) -> bool {
        self.flush_while(limit, || true)
    }

    /// The same, and `goes_on` is asked now and then whether it is still waited for.
    pub fn flush_while(&self, limit: Duration, mut goes_on: impl FnMut() -> bool) -> bool {
        const STEP: Duration = Duration::from_millis(20);
        let (done, answer) = channel::bounded(1);
        let lost = self.lost();
        let until = self.deadline(limit);
        self.tell(Command::Flush { until, done });
        let mut left = limit + Duration::from_millis(100);
        while !left.is_zero() && goes_on() {
            let nap = left.min(STEP);
            match answer.recv_timeout(nap) {
                Ok(done) => return done && self.lost() == lost,
                Err(RecvTimeoutError::Timeout) => left -= nap,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }

    /// Delivers what was captured, at most `limit`, and ends the threads; what is left is counted, as `stopped`. True if
    /// everything has arrived that was captured since the start, everywhere where it should.
    pub fn stop(&self, limit: Duration) -> bool {
        let thread = self.changes.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return true };
        if let Some(remote) = &self.remote {
            remote.end();
        }
        let (done, answer) = channel::bounded(1);
        let until = self.deadline(limit);
        self.tell_through(&thread, Command::Stop { until, done });
        let settled = answer.recv_timeout(limit + GRACE);
        // A worker that answered is at its end; one that did not is left behind rather than waited for.
        if settled.is_ok() && thread.join().is_err() {
            log::error!(target: "stroboscope", "the worker ended by a panic");
        }
        self.over.store(true, Relaxed);
        settled.unwrap_or(false) && self.lost() == 0
    }

    /// True if the hits of a probe show the whole stack, and not only the frame of their own place.
    pub fn shows_stack(&self, captures: bool) -> bool {
        self.shared.process.shows_stack(captures)
    }

    /// Events that are on their way to the Agent: what would be lost if the process ended now.
    pub fn on_their_way(&self) -> u64 {
        let stats = self.stats();
        let Some(uploads) = stats.uploads else { return 0 };
        let lost: u64 = uploads.lost.iter().map(|(_, count)| count).sum();
        stats.emitted.saturating_sub(uploads.events + lost + stats.unreadable + self.shared.not_made.get())
    }

    fn deadline(&self, limit: Duration) -> u64 {
        self.shared.process.clock.monotonic().saturating_add(nanoseconds(limit))
    }

    fn tell(&self, command: Command) {
        self.changes.tell(command);
    }

    fn wake(&self) {
        self.changes.wake();
    }

    fn tell_through(&self, thread: &JoinHandle<()>, command: Command) {
        let _ = self.changes.commands.send(command);
        thread.thread().unpark();
    }
}

/// True if a probe's time has come before it could be placed.
fn is_over(probe: &Probe, wall_ms: u64) -> bool {
    probe.expires_at.is_some_and(|at| at <= wall_ms)
}

/// The gates of an outside host.
fn host_words(runtime: &dyn Runtime) -> Option<Arc<Words>> {
    let memory = runtime.gates()?;
    let words = Words::new(memory);
    if words.is_none() {
        log::error!(target: "stroboscope", "the host gives {} words for gates, too few for a probe", memory.len());
    }
    words
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Why a probe's condition, or the value of its metric, failed, in words, the latest reason first, each with how often. The
/// count of failures has been read before.
fn failures(process: &Process, live: &LiveProbe) -> Vec<(String, u64)> {
    fence(Acquire);
    let type_name = |id| process.tables.type_name(id).unwrap_or("?").to_owned();
    let milliseconds = process.evaluation_ns / 1_000_000;
    let text = |place: Place, failure: Failure| {
        let expression = live.probe.expression_at(place)?;
        let names = Names { expression, symbols: &live.probe.symbols, type_name: &type_name, milliseconds };
        let of = if place == Place::Metric { "value: " } else { "" };
        Some(format!("{of}{}", failure.text(&names)))
    };
    let all = live.failures().into_iter();
    all.filter_map(|(place, failure, count)| Some((text(place, failure)?, count))).collect()
}

fn report(process: &Process, id: &str, entry: &Entry, live: Option<&Arc<LiveProbe>>, now: u64) -> ProbeReport {
    let rest = live.map_or(0, |live| live.rests_until().saturating_sub(now));
    let suspended = rest > 0 && live.is_some_and(|live| !live.rests());
    let (state, reason) = if suspended && matches!(entry.state, State::Installed | State::Emitting) {
        let seconds = rest.div_ceil(1_000_000_000);
        let reason = format!(
            "rests for {seconds} s more: evaluating its expressions ran out of time or steps; make the condition or the \
             template cheaper"
        );
        (State::Paused, reason)
    } else {
        let exception = entry.exception.as_ref();
        let reason = exception.map_or_else(|| entry.message.clone(), |exception| exception.message.clone());
        let back = (entry.state == State::Paused && rest > 0).then(|| rest.div_ceil(1_000_000_000));
        let back = back.map(|seconds| format!("; it comes back in {seconds} s"));
        (entry.state, reason + &back.unwrap_or_default())
    };
    let stats = live.map(|live| &live.stats);
    let count = |of: fn(&ProbeStats) -> &Counter| stats.map_or(0, |stats| of(stats).get());
    ProbeReport {
        id: id.to_owned(),
        version: entry.version,
        state,
        reason,
        is_missing: entry.exception.as_ref().is_some_and(|exception| exception.kind == NOT_FOUND),
        site: live.and_then(|live| live.site()).map(|site| Site::clone(&site)),
        note: live.and_then(|live| live.note()),
        hits: count(|stats| &stats.hits),
        hits_exact: live.is_none_or(|live| live.counts_all()),
        rejected: count(|stats| &stats.rejected),
        failed: count(|stats| &stats.failed),
        failures: live.map(|live| failures(process, live)).unwrap_or_default(),
        emitted: count(|stats| &stats.emitted),
        measured: live.filter(|live| live.meter.is_some()).map(|live| live.stats.measured.get()),
        traced: live.filter(|live| live.asks_tracer()).map(|live| live.stats.traced.get()),
        pending: stats.map_or(0, ProbeStats::pending),
        dropped: stats.map(ProbeStats::dropped_by_reason).unwrap_or_default(),
        unended: stats.map_or(0, ProbeStats::unended),
        nanoseconds_per_hit: stats.and_then(ProbeStats::nanoseconds_per_hit),
        nanoseconds: count(|stats| &stats.nanoseconds),
        capture_times: stats.and_then(|stats| stats.captures.percentile(50).zip(stats.captures.percentile(99))),
        last_reject: live.and_then(|live| live.last_reject.get(&live.stats)),
        queued_bytes: count(|stats| &stats.waiting),
        uploaded: count(|stats| &stats.uploaded),
        since_upload: stats.and_then(ProbeStats::uploaded_at).map(|at| now.saturating_sub(at)),
        disarmed: live.is_some_and(|live| live.is_disarmed()),
    }
}

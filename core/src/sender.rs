//! Uploads batches to the Agent, on a thread of its own, so that a slow or hanging Agent delays nothing but uploads. All
//! network I/O that may take time is done here. On the walk of a hit going out: before it `worker.rs` with `emit/batch.rs`, which
//! never waits here; after it `control/agent/*`, which decide what to send, where, and what to do when it fails.

use std::cell::Cell;
use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender as Channel, bounded};

use crate::clock::{Clock, SystemClock};
use crate::config::Settings;
use crate::control::agent::http::{self, Answer, Request};
use crate::control::agent::input::{self, Route};
use crate::control::agent::retry::{Attempts, Breaker, Next, Outcome, Reason, nanos};
use crate::control::agent::{self, AgentSettings, Endpoint, diagnostics, info, symbols, traces};
use crate::control::kept::Kept;
use crate::emit::batch::{Batch, Kind, MAX_STATUS_BYTES};
use crate::emit::otlp;
use crate::emit::ring::QueuedBytes;

pub(crate) mod poll;

/// The name of the sender's thread.
pub const THREAD: &str = "strobe-sender";

/// The most batches of events that are held here, the one on its way included.
const EVENT_SLOTS: usize = 2;
/// The most batches of spans.
const SPAN_SLOTS: usize = 2;
/// A second batch may wait only behind a small one: a large one alone is as much as may be held here.
const WAIT_BEHIND: usize = 128 << 10;
/// The most batches of statuses held here; together they have at most the bytes reserved for statuses.
const STATUS_SLOTS: usize = 8;
/// The most batches of symbols held here.
const SYMBOL_SLOTS: usize = 1;
/// How long the rest of an answer that nobody reads is waited for, so that the Agent does not see a reset.
const DRAIN: Duration = Duration::from_millis(200);
/// The most bytes of it.
const MAX_UNREAD: usize = 64 << 10;
/// How long after a failed start of the thread it is tried again.
const START_AGAIN: Duration = Duration::from_secs(5);
/// How long after a line about lost events there may be another one.
const SAY_AGAIN: Duration = Duration::from_secs(300);
/// How long lost statuses wait for a sign of life of the Agent before they are tried again without one.
const STATUSES_AGAIN: Duration = Duration::from_secs(30);
/// How long an end waits for statuses when there is no event to deliver.
const STATUSES_ALONE: Duration = Duration::from_millis(300);

/// What became of what was sent. Plain counters, read by anybody.
#[derive(Debug, Default)]
pub struct SenderCounters {
    /// Events that arrived, and spans.
    pub events_sent: AtomicU64,
    /// Statuses that arrived.
    pub statuses_sent: AtomicU64,
    /// Modules whose symbols arrived.
    pub symbols_sent: AtomicU64,
    /// Modules whose symbols were given up.
    pub symbols_lost: AtomicU64,
    /// Batches that arrived.
    pub batches_sent: AtomicU64,
    /// Bytes of batches that arrived.
    pub bytes_sent: AtomicU64,
    /// Attempts after the first.
    pub retries: AtomicU64,
    /// Statuses lost for any reason; the registry knows the latest ones, see [`Sender::statuses_owed`].
    pub statuses_lost: AtomicU64,
    /// Events lost because the breaker was open.
    pub breaker_open: AtomicU64,
    /// Events lost because the Agent did not want them.
    pub rejected: AtomicU64,
    /// Events lost because the Agent could not be reached or kept failing.
    pub transport: AtomicU64,
    /// Events lost because the session ended first.
    pub stopped: AtomicU64,
    /// Events lost because something of ours failed.
    pub internal: AtomicU64,
    /// Of the events lost while the breaker was open, those that it was opened for by an Agent that refused batches.
    refused_before: AtomicU64,
    /// Monotonic time of the last batch that arrived; 0: none yet.
    pub last_success: AtomicU64,
}

impl SenderCounters {
    /// The counter of events lost for a reason.
    pub fn dropped(&self, reason: Reason) -> &AtomicU64 {
        match reason {
            Reason::BreakerOpen => &self.breaker_open,
            Reason::Rejected => &self.rejected,
            Reason::Transport => &self.transport,
            Reason::Stopped => &self.stopped,
            Reason::Internal => &self.internal,
        }
    }

    /// Events lost, by reason.
    pub fn drops(&self) -> [(&'static str, u64); 5] {
        [Reason::BreakerOpen, Reason::Rejected, Reason::Transport, Reason::Stopped, Reason::Internal]
            .map(|reason| (reason.name(), self.dropped(reason).load(Ordering::Relaxed)))
    }

    /// Events lost, by the reason that people look for: what an open breaker dropped was lost for what opened it.
    pub fn causes(&self) -> [(&'static str, u64); 5] {
        let refused = self.refused_before.load(Ordering::Relaxed);
        self.drops().map(|(name, count)| match name {
            "breakerOpen" => (name, count.saturating_sub(refused)),
            "rejected" => (name, count + refused),
            _ => (name, count),
        })
    }

    /// Events lost, for all reasons together.
    pub fn dropped_events(&self) -> u64 {
        self.drops().iter().map(|(_, count)| count).sum()
    }
}

/// What is held here and not settled yet. Behind a lock that is held for a few additions and never during I/O.
#[derive(Debug, Default)]
struct Held {
    event_batches: usize,
    event_bytes: usize,
    /// Spans too.
    events: u64,
    span_batches: usize,
    status_batches: usize,
    status_bytes: usize,
    statuses: u64,
    /// Nobody waits for symbols: they are not among what is to be delivered.
    symbol_batches: usize,
    /// Whose events these are: slots of probes, with their numbers, batch by batch.
    riders: VecDeque<Vec<(u32, u64)>>,
    /// `stop` has counted what was held; the thread, if it still runs, counts nothing any more.
    abandoned: bool,
}

impl Held {
    fn has_room(&self, kind: Kind, size: usize) -> bool {
        match kind {
            Kind::Events => {
                self.event_batches == 0 || (self.event_batches < EVENT_SLOTS && self.event_bytes <= WAIT_BEHIND)
            }
            Kind::Statuses => {
                let fits = self.status_bytes + size <= MAX_STATUS_BYTES;
                self.status_batches == 0 || (self.status_batches < STATUS_SLOTS && fits)
            }
            Kind::Symbols => self.symbol_batches < SYMBOL_SLOTS,
            Kind::Spans => self.span_batches < SPAN_SLOTS,
        }
    }

    fn add(&mut self, batch: &Batch) {
        let count = batch.count as u64;
        match batch.kind {
            Kind::Events => {
                self.event_batches += 1;
                self.event_bytes += batch.body.len();
                self.events += count;
                self.riders.push_back(batch.riders.clone());
            }
            Kind::Spans => {
                self.span_batches += 1;
                self.event_bytes += batch.body.len();
                self.events += count;
                self.riders.push_back(batch.riders.clone());
            }
            Kind::Statuses => {
                self.status_batches += 1;
                self.status_bytes += batch.body.len();
                self.statuses += count;
            }
            Kind::Symbols => self.symbol_batches += 1,
        }
    }

    fn remove(&mut self, batch: &Batch) {
        let (size, count) = (batch.body.len(), batch.count as u64);
        match batch.kind {
            Kind::Events => {
                self.event_batches = self.event_batches.saturating_sub(1);
                self.event_bytes = self.event_bytes.saturating_sub(size);
                self.events = self.events.saturating_sub(count);
                let at = self.riders.iter().position(|riders| *riders == batch.riders);
                at.and_then(|at| self.riders.remove(at));
            }
            Kind::Spans => {
                self.span_batches = self.span_batches.saturating_sub(1);
                self.event_bytes = self.event_bytes.saturating_sub(size);
                self.events = self.events.saturating_sub(count);
                let at = self.riders.iter().position(|riders| *riders == batch.riders);
                at.and_then(|at| self.riders.remove(at));
            }
            Kind::Statuses => {
                self.status_batches = self.status_batches.saturating_sub(1);
                self.status_bytes = self.status_bytes.saturating_sub(size);
                self.statuses = self.statuses.saturating_sub(count);
            }
            Kind::Symbols => self.symbol_batches = self.symbol_batches.saturating_sub(1),
        }
    }

    fn is_empty(&self) -> bool {
        self.event_batches == 0 && self.status_batches == 0 && self.span_batches == 0
    }
}

struct Shared {
    settings: AgentSettings,
    /// What is held here counts there too.
    queued: OnceLock<Arc<QueuedBytes>>,
    clock: Arc<dyn Clock>,
    counters: Arc<SenderCounters>,
    held: Mutex<Held>,
    /// Monotonic time at which the session ends; `u64::MAX`: it does not.
    ends: AtomicU64,
    /// Monotonic time at which lost statuses are to be made again; 0: none are owed.
    owed: AtomicU64,
    /// Events of which it is known since somebody asked what became of them: the slot of their probe, their number, and why they
    /// were lost, if they were.
    settled: Mutex<Vec<Settled>>,
    /// Symbols that did not arrive, why, and the status of the answer.
    returned: Mutex<Option<(Batch, Reason, u16)>>,
    /// The connection in use, so that `stop` can end it.
    socket: Mutex<Weak<Socket>>,
    /// There has been a batch that failed since the last that arrived, and the log knows it.
    said: AtomicBool,
    /// Monotonic time from which a loss may be said again; 0: none was said.
    say_again: AtomicU64,
}

/// Events of one probe, by its slot, that the Agent took, or that were lost.
type Settled = (u32, u64, Result<(), Reason>);

impl Shared {
    /// Notes that a batch of so many bytes came, or left.
    fn weigh(&self, kind: Kind, size: usize, came: bool) {
        // Statuses have room of their own.
        let Some(queued) = self.queued.get().filter(|_| kind != Kind::Statuses) else { return };
        if came { queued.add(size) } else { queued.sub(size) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread and the ways to it.
struct Running {
    batches: Channel<Batch>,
    /// Dropped or written to wakes the thread from any wait.
    wake: Channel<()>,
    /// Gets a word after each batch, and is disconnected when the thread has ended.
    settled: Receiver<()>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    Running(Running),
    /// Starting the thread failed; not again before this time.
    Failed(u64),
    Stopped,
}

/// The worker's and the session's side. All methods but [`Sender::flush`] and [`Sender::stop`] return at once.
pub struct Sender {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

impl Sender {
    /// The sender that settings ask for. Where there can be none, a remark says why.
    pub fn open(
        settings: &Settings,
        who: &agent::Identity<'_>,
        counters: &Arc<SenderCounters>,
        remarks: &mut Vec<String>,
    ) -> Option<Sender> {
        match AgentSettings::from_settings(settings, who, &|path| Path::new(path).exists()) {
            Ok(mut agent) => {
                let read = |path: &Path| std::fs::read_to_string(path);
                agent.remote = agent::Remote::from_settings(settings, &read, remarks);
                Some(Sender::start(agent, Arc::new(SystemClock), Arc::clone(counters)))
            }
            Err(error) => {
                remarks.push(format!("{}; nothing is uploaded", error.text));
                None
            }
        }
    }

    /// A sender that has done nothing yet: its thread starts with the first batch.
    pub fn start(settings: AgentSettings, clock: Arc<dyn Clock>, counters: Arc<SenderCounters>) -> Sender {
        let shared = Shared {
            settings,
            queued: OnceLock::new(),
            clock,
            counters,
            held: Mutex::default(),
            ends: AtomicU64::new(u64::MAX),
            owed: AtomicU64::new(0),
            settled: Mutex::default(),
            returned: Mutex::default(),
            socket: Mutex::new(Weak::new()),
            said: AtomicBool::new(false),
            say_again: AtomicU64::new(0),
        };
        Sender { shared: Arc::new(shared), state: Mutex::default() }
    }

    /// From now on what is held here counts as waiting. The first call is the one that counts.
    pub(crate) fn count_in(&self, queued: &Arc<QueuedBytes>) {
        // A second session with the same sender would be a mistake of ours; its bytes count where the first one's do.
        let _ = self.shared.queued.set(Arc::clone(queued));
    }

    /// The events that the Agent has taken, or that were lost, since the last call, by the slot of their probe.
    pub(crate) fn take_settled(&self) -> Vec<Settled> {
        std::mem::take(&mut *lock(&self.shared.settled))
    }

    /// Symbols that did not arrive since the last call, why, and the status of the answer; 0: there was none.
    pub fn take_returned(&self) -> Option<(Batch, Reason, u16)> {
        lock(&self.shared.returned).take()
    }

    /// What became of what was offered.
    pub fn counters(&self) -> &Arc<SenderCounters> {
        &self.shared.counters
    }

    /// Says whether a batch of events would be taken now. As long as it is not, the worker keeps its records.
    pub fn ready(&self) -> bool {
        self.startable() && lock(&self.shared.held).has_room(Kind::Events, 0)
    }

    /// Hands over a batch, or gives it back if there is no room or no thread.
    ///
    /// # Errors
    ///
    /// The batch itself.
    pub fn offer(&self, batch: Batch) -> Result<(), Batch> {
        let mut state = lock(&self.state);
        let Some(running) = self.running(&mut state) else { return Err(batch) };
        let mut held = lock(&self.shared.held);
        if !held.has_room(batch.kind, batch.body.len()) {
            return Err(batch);
        }
        held.add(&batch);
        self.shared.weigh(batch.kind, batch.body.len(), true);
        match running.batches.try_send(batch) {
            Ok(()) => Ok(()),
            Err(refused) => {
                let batch = refused.into_inner();
                held.remove(&batch);
                self.shared.weigh(batch.kind, batch.body.len(), false);
                Err(batch)
            }
        }
    }

    /// Says, once, that statuses were lost and the Agent may be back: the worker then offers the latest status of each
    /// probe again.
    pub fn statuses_owed(&self) -> bool {
        let owed = self.shared.owed.load(Ordering::Relaxed);
        if owed == 0 || self.shared.clock.monotonic() < owed {
            return false;
        }
        self.shared.owed.compare_exchange(owed, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Bytes held here and not settled yet.
    pub fn held_bytes(&self) -> usize {
        let held = lock(&self.shared.held);
        held.event_bytes + held.status_bytes
    }

    /// Waits until all that was offered is delivered or dropped, at most `limit`. Says whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let settled = match &*lock(&self.state) {
            State::Running(running) => running.settled.clone(),
            _ => return lock(&self.shared.held).is_empty(),
        };
        self.wait(&settled, self.shared.clock.monotonic().saturating_add(nanos(limit)))
    }

    fn wait(&self, settled: &Receiver<()>, until: u64) -> bool {
        loop {
            if lock(&self.shared.held).is_empty() {
                return true;
            }
            let left = until.saturating_sub(self.shared.clock.monotonic());
            if left == 0 {
                return false;
            }
            // Somebody else who waits may take the word meant for us: look again now and then.
            let nap = Duration::from_nanos(left).min(Duration::from_millis(20));
            if settled.recv_timeout(nap) == Err(RecvTimeoutError::Disconnected) {
                return lock(&self.shared.held).is_empty();
            }
        }
    }

    /// Delivers what was offered, tries nothing twice any more, and ends the thread: within `limit`, whatever the Agent
    /// does; statuses alone are worth a short wait only. What is not delivered by then is counted as dropped. Says whether
    /// all was settled and the thread has ended.
    pub fn stop(&self, limit: Duration) -> bool {
        let state = std::mem::replace(&mut *lock(&self.state), State::Stopped);
        let State::Running(Running { batches, wake, settled, thread }) = state else { return true };
        let now = self.shared.clock.monotonic();
        let limit = if lock(&self.shared.held).events == 0 { limit.min(STATUSES_ALONE) } else { limit };
        // A tenth is kept to end a connection that hangs and to see the thread go.
        let ends = now.saturating_add(nanos(limit / 10 * 9));
        self.shared.ends.store(ends, Ordering::Release);
        drop(batches);
        drop(wake);
        self.wait(&settled, ends);
        if let Some(socket) = lock(&self.shared.socket).upgrade() {
            socket.shut();
        }
        let gone = self.wait_for_end(&thread, now.saturating_add(nanos(limit)));
        self.abandon_held();
        if gone {
            // The thread's work is over, so this does not wait. If it panicked, that was counted where it happened.
            let _ = thread.join();
        }
        gone
    }

    fn wait_for_end(&self, thread: &JoinHandle<()>, until: u64) -> bool {
        while !thread.is_finished() {
            let left = until.saturating_sub(self.shared.clock.monotonic());
            if left == 0 {
                return false;
            }
            let nap = Duration::from_nanos(left).min(Duration::from_millis(1));
            std::thread::sleep(nap);
        }
        true
    }

    fn abandon_held(&self) {
        let mut held = lock(&self.shared.held);
        let counters = &self.shared.counters;
        counters.stopped.fetch_add(held.events, Ordering::Relaxed);
        counters.statuses_lost.fetch_add(held.statuses, Ordering::Relaxed);
        let riders = held.riders.drain(..).flatten();
        lock(&self.shared.settled).extend(riders.map(|(slot, count)| (slot, count, Err(Reason::Stopped))));
        self.shared.weigh(Kind::Events, held.event_bytes, false);
        *held = Held { abandoned: true, ..Held::default() };
    }

    /// In a forked child: forgets everything. Nothing is locked, joined, closed or freed, since the thread that may hold
    /// any of it does not exist here; the parent's batches stay the parent's.
    pub fn abandon(self) {
        std::mem::forget(self);
    }

    fn startable(&self) -> bool {
        match &*lock(&self.state) {
            State::Idle | State::Running(_) => true,
            State::Failed(again) => self.shared.clock.monotonic() >= *again,
            State::Stopped => false,
        }
    }

    fn running<'a>(&self, state: &'a mut State) -> Option<&'a Running> {
        let start = match state {
            State::Idle => true,
            State::Failed(again) => self.shared.clock.monotonic() >= *again,
            State::Running(_) | State::Stopped => false,
        };
        if start {
            *state = self.spawn();
        }
        if let State::Running(running) = state { Some(running) } else { None }
    }

    fn spawn(&self) -> State {
        let (batches, taken) = bounded(EVENT_SLOTS + SPAN_SLOTS + STATUS_SLOTS + SYMBOL_SLOTS);
        let (wake, woken) = bounded(1);
        let (settling, settled) = bounded(1);
        let shared = Arc::clone(&self.shared);
        let thread = start_thread(THREAD, 512 << 10, move || {
            Courier::new(&shared, &woken).run(&taken, &settling);
        });
        match thread {
            Ok(thread) => State::Running(Running { batches, wake, settled, thread }),
            Err(error) => {
                log::debug!("stroboscope: the sender's thread cannot be started: {error}");
                State::Failed(self.shared.clock.monotonic().saturating_add(nanos(START_AGAIN)))
            }
        }
    }
}

/// Starts a thread for network I/O.
fn start_thread(name: &str, stack: usize, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    #[allow(clippy::disallowed_methods, reason = "the threads that send and poll go on while a session does")]
    std::thread::Builder::new().name(name.to_owned()).stack_size(stack).spawn(run)
}

/// What runs on the thread.
struct Courier<'a> {
    shared: &'a Shared,
    woken: &'a Receiver<()>,
    way: Way<'a>,
    query: String,
    route: Route,
    breaker: Breaker,
    /// That of spans: who takes them may take nothing else.
    span_breaker: Breaker,
    span_route: traces::Route,
    /// The batch lost last was refused by the Agent.
    refused: bool,
    /// The status code of the last answer; 0: the last attempt had none.
    answered: u16,
    chance: RandomState,
    draws: u64,
}

/// The way to the Agent, one request after the other.
struct Way<'a> {
    settings: &'a AgentSettings,
    clock: &'a dyn Clock,
    /// Monotonic time at which requests end.
    ends: &'a AtomicU64,
    /// The connection in use, so that it can be ended.
    socket: &'a Mutex<Weak<Socket>>,
    identity: String,
    identity_of_symbols: String,
    host: String,
    #[cfg(feature = "tls")]
    tls: Option<Arc<rustls::ClientConfig>>,
}

/// Whom a request is for, and who we are to it.
struct To<'a> {
    endpoint: &'a Endpoint,
    host: &'a str,
    identity: &'a str,
}

/// How an attempt at a batch ended.
enum Attempt {
    Ended(Outcome),
    /// The endpoint is gone and there is another one.
    Elsewhere,
}

impl<'a> Courier<'a> {
    fn new(shared: &'a Shared, woken: &'a Receiver<()>) -> Self {
        let settings = &shared.settings;
        let query = if settings.tags.is_empty() {
            String::new()
        } else {
            format!("?ddtags={}", agent::percent_encode(&settings.tags))
        };
        Courier {
            shared,
            woken,
            way: Way::new(settings, &*shared.clock, &shared.ends, &shared.socket),
            query,
            route: Route::default(),
            breaker: Breaker::default(),
            span_breaker: Breaker::default(),
            span_route: traces::Route::default(),
            refused: false,
            answered: 0,
            chance: RandomState::new(),
            draws: 0,
        }
    }

    fn run(&mut self, batches: &Receiver<Batch>, settling: &Channel<()>) {
        while let Ok(batch) = batches.recv() {
            // A panic of ours loses one batch, not the thread, and never the program.
            let result = std::panic::catch_unwind(AssertUnwindSafe(|| self.deliver(&batch)));
            let result = result.unwrap_or(Err(Reason::Internal));
            self.settle(&batch, result);
            if let (Kind::Symbols, Err(reason)) = (batch.kind, result) {
                *lock(&self.shared.returned) = Some((batch, reason, self.answered));
            }
            // Full means that a word is waiting already.
            let _ = settling.try_send(());
        }
    }

    fn now(&self) -> u64 {
        self.shared.clock.monotonic()
    }

    /// Brings a batch to its end: delivered, or dropped with a reason.
    fn deliver(&mut self, batch: &Batch) -> Result<(), Reason> {
        let now = self.now();
        if !self.breaker_of(batch.kind).admits(now) {
            return Err(Reason::BreakerOpen);
        }
        if batch.kind == Kind::Symbols {
            return self.attempt_once(batch);
        }
        let result = self.attempts(batch);
        match result {
            Ok(()) => self.breaker_of(batch.kind).succeeded(),
            // The end of the session says nothing about the Agent.
            Err(Reason::Stopped) => {}
            Err(reason) => {
                self.refused = reason == Reason::Rejected;
                let (now, policy) = (self.now(), &self.shared.settings.policy);
                self.breaker_of(batch.kind).failed(policy, now);
            }
        }
        result
    }

    /// Symbols are worth no wait while events come: whoever offered them offers them again. What becomes of them says nothing
    /// of events.
    fn attempt_once(&mut self, batch: &Batch) -> Result<(), Reason> {
        if self.stopping() {
            return Err(Reason::Stopped);
        }
        self.answered = 0;
        let Attempt::Ended(outcome) = self.attempt(batch) else { return Err(Reason::Internal) };
        if let Outcome::Answered { status, .. } = outcome {
            self.answered = status;
        }
        match Attempts::default().after(&self.shared.settings.policy, outcome, 0.0) {
            Next::Delivered => Ok(()),
            Next::Drop(reason) => Err(reason),
            Next::Again(_) => Err(Reason::Transport),
        }
    }

    fn breaker_of(&mut self, kind: Kind) -> &mut Breaker {
        if kind == Kind::Spans { &mut self.span_breaker } else { &mut self.breaker }
    }

    fn attempts(&mut self, batch: &Batch) -> Result<(), Reason> {
        let mut attempts = Attempts::default();
        let mut moved = false;
        loop {
            if self.ended() {
                return Err(Reason::Stopped);
            }
            let outcome = match self.attempt(batch) {
                Attempt::Ended(outcome) => outcome,
                Attempt::Elsewhere if !std::mem::replace(&mut moved, true) => continue,
                // Sent again once; an Agent that sends it to and fro does not want it.
                Attempt::Elsewhere => return Err(Reason::Rejected),
            };
            self.answered = if let Outcome::Answered { status, .. } = outcome { status } else { 0 };
            let chance = self.draw();
            match attempts.after(&self.shared.settings.policy, outcome, chance) {
                Next::Delivered => return Ok(()),
                Next::Drop(reason) => return Err(reason),
                Next::Again(wait) => {
                    self.shared.counters.retries.fetch_add(1, Ordering::Relaxed);
                    if self.stopping() {
                        return Err(Reason::Stopped);
                    }
                    // Woken early means that the session ends: then this is the last attempt.
                    if self.woken.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                        log::debug!("stroboscope: the session ends; one last attempt");
                    }
                }
            }
        }
    }

    fn stopping(&self) -> bool {
        self.shared.ends.load(Ordering::Acquire) != u64::MAX
    }

    fn ended(&self) -> bool {
        self.way.ended()
    }

    fn attempt(&mut self, batch: &Batch) -> Attempt {
        if batch.kind == Kind::Spans {
            return self.attempt_spans(batch);
        }
        let policy = &self.shared.settings.policy;
        if let Endpoint::Intake { .. } = self.shared.settings.endpoint {
            return Attempt::Ended(outcome(self.post(agent::INTAKE_PATH, batch.kind, &batch.body)));
        }
        if batch.kind == Kind::Statuses {
            return Attempt::Ended(outcome(self.post(diagnostics::PATH, batch.kind, &batch.body)));
        }
        if batch.kind == Kind::Symbols {
            return Attempt::Ended(outcome(self.post(symbols::PATH, batch.kind, &batch.body)));
        }
        if self.route.asks(self.now()) {
            match self.ask() {
                Ok(learned) => self.route.learned(policy, learned, self.now()),
                Err(error) if self.route.unknown() => return Attempt::Ended(outcome(Err(error))),
                Err(_) => self.route.unreachable(policy, self.now()),
            }
        }
        let path = match self.route.endpoint() {
            input::Endpoint::Events => input::EVENTS,
            input::Endpoint::Diagnostics => diagnostics::PATH,
        };
        let result = self.post(path, batch.kind, &batch.body);
        if let Ok(answer) = &result
            && self.route.answered(policy, answer.status, self.now())
        {
            log::debug!("stroboscope: the Agent has no {path} ({}); events go to {}", answer.status, diagnostics::PATH);
            return Attempt::Elsewhere;
        }
        Attempt::Ended(outcome(result))
    }

    /// Spans go to the Agent, if there is one that takes them, else to a receiver of OTLP.
    fn attempt_spans(&mut self, batch: &Batch) -> Attempt {
        let settings = &self.shared.settings;
        let has_agent = !matches!(settings.endpoint, Endpoint::Intake { .. });
        let mut absent = None;
        if self.span_route.asks(self.now()) {
            let asked = has_agent.then(|| self.ask_for_traces());
            let takes = matches!(asked, Some(Ok(true)));
            absent = asked.and_then(Result::err);
            self.span_route = traces::Route::learned(takes, self.now());
        }
        if self.span_route == traces::Route::Agent {
            let target = format!("{}{}", self.way.prefix(), traces::PATH);
            let identity = format!("{}{}", self.way.identity, traces::headers(batch.count));
            let to = To { endpoint: &settings.endpoint, host: &self.way.host.clone(), identity: &identity };
            let limits = (0, settings.timeout);
            let result =
                self.way.exchange_with(&to, "POST", &target, Some(traces::CONTENT_TYPE), &[&batch.body], limits);
            if let Ok(Answered { status: 404 | 405, .. }) = &result {
                self.span_route = traces::Route::learned(false, self.now());
                return Attempt::Elsewhere;
            }
            return Attempt::Ended(outcome(result));
        }
        let sent = self.send_otlp(batch);
        if sent.is_err() && absent.is_some() {
            // Nobody is there: next time the Agent is asked again.
            self.span_route = traces::Route::Unknown;
        }
        Attempt::Ended(outcome(sent))
    }

    fn ask_for_traces(&mut self) -> io::Result<bool> {
        let target = format!("{}{}", self.way.prefix(), traces::INFO);
        let timeout = self.shared.settings.timeout;
        let answer = self.way.exchange("GET", &target, None, &[], info::MAX_BODY, timeout)?;
        Ok(traces::listed(answer.status, &answer.body))
    }

    fn send_otlp(&mut self, batch: &Batch) -> io::Result<Answered> {
        let Some(endpoint) = &self.shared.settings.otlp else { return Err(io::ErrorKind::NotConnected.into()) };
        let body = otlp::request(&batch.body).map_err(io::Error::other)?;
        let identity = format!("User-Agent: {}\r\n", self.shared.settings.user_agent);
        let prefix = if let Endpoint::Tcp { prefix, .. } = endpoint { prefix.as_str() } else { "" };
        let target = format!("{prefix}{}", traces::OTLP);
        let to = To { endpoint, host: &endpoint.host_header(), identity: &identity };
        let limits = (0, self.shared.settings.timeout);
        self.way.exchange_with(&to, "POST", &target, Some(traces::OTLP_CONTENT_TYPE), &[&body], limits)
    }

    fn settle(&self, batch: &Batch, result: Result<(), Reason>) {
        let count = batch.count as u64;
        let counters = &self.shared.counters;
        let mut held = lock(&self.shared.held);
        if held.abandoned {
            return;
        }
        // Before it counts as settled, so that who waits for that finds it.
        lock(&self.shared.settled).extend(batch.riders.iter().map(|(slot, count)| (*slot, *count, result)));
        held.remove(batch);
        self.shared.weigh(batch.kind, batch.body.len(), false);
        match (result, batch.kind) {
            (Ok(()), kind) => {
                let sent = match kind {
                    Kind::Events | Kind::Spans => &counters.events_sent,
                    Kind::Statuses => &counters.statuses_sent,
                    Kind::Symbols => &counters.symbols_sent,
                };
                sent.fetch_add(count, Ordering::Relaxed);
                counters.batches_sent.fetch_add(1, Ordering::Relaxed);
                counters.bytes_sent.fetch_add(batch.body.len() as u64, Ordering::Relaxed);
                counters.last_success.store(self.now().max(1), Ordering::Relaxed);
                if self.shared.owed.load(Ordering::Relaxed) != 0 {
                    // The Agent is back: what it missed is due now.
                    self.shared.owed.store(self.now().max(1), Ordering::Relaxed);
                }
            }
            (Err(reason), Kind::Events | Kind::Spans) => {
                counters.dropped(reason).fetch_add(count, Ordering::Relaxed);
                if reason == Reason::BreakerOpen && self.refused {
                    counters.refused_before.fetch_add(count, Ordering::Relaxed);
                }
            }
            // They come back to whoever offered them.
            (Err(_), Kind::Symbols) => return,
            (Err(reason), Kind::Statuses) => {
                counters.statuses_lost.fetch_add(count, Ordering::Relaxed);
                // A rejected status is rejected again; the hourly repetition is enough.
                if reason != Reason::Rejected {
                    let again = self.now().saturating_add(nanos(STATUSES_AGAIN));
                    let again = self.breaker.opens_until().map_or(again, |until| until.max(again));
                    self.shared.owed.store(again.max(1), Ordering::Relaxed);
                }
            }
        }
        drop(held);
        self.tell(batch, result);
    }

    /// One line when deliveries begin to fail and one when they work again; while they fail, no more than one in five
    /// minutes. An Agent that nobody named and that is not there is nobody's mistake: that is for debugging only.
    fn tell(&self, batch: &Batch, result: Result<(), Reason>) {
        let Err(reason) = result else {
            if self.shared.said.swap(false, Ordering::Relaxed) {
                log::debug!("stroboscope: uploads work again");
            }
            return;
        };
        let first = !self.shared.said.swap(true, Ordering::Relaxed);
        let blames = self.shared.settings.named || reason == Reason::Rejected;
        let silent = self.now() < self.shared.say_again.load(Ordering::Relaxed);
        // The end of the session has its own words, and a lost status is sent again.
        if !blames || silent || reason == Reason::Stopped || batch.kind == Kind::Statuses {
            if first {
                log::debug!("stroboscope: a batch of {} was dropped: {}", batch.count, reason.name());
            }
            return;
        }
        self.shared.say_again.store(self.now().saturating_add(nanos(SAY_AGAIN)), Ordering::Relaxed);
        log::warn!(target: "stroboscope", "{}", self.loss(batch, reason));
    }

    /// What is said of a batch that is lost.
    fn loss(&self, batch: &Batch, reason: Reason) -> String {
        let why = match (reason, self.answered) {
            (Reason::Internal, _) => "something of ours failed".to_owned(),
            (_, 0) => "it cannot be reached".to_owned(),
            (_, 413) => "it refused them as too large (413)".to_owned(),
            (Reason::Transport, status) => format!("it kept failing ({status})"),
            (_, status) => format!("it refused them ({status})"),
        };
        let place = self.shared.settings.endpoint.for_people();
        let what = if batch.kind == Kind::Spans { "span" } else { "event" };
        let events = format!("{what}{}", if batch.count == 1 { "" } else { "s" });
        format!("{} {events} did not get to the Agent at {place}: {why}; `stats()` counts what is lost", batch.count)
    }

    fn draw(&mut self) -> f64 {
        self.draws += 1;
        let bits = u32::try_from(self.chance.hash_one(self.draws) >> 32).unwrap_or(u32::MAX);
        f64::from(bits) / f64::from(u32::MAX)
    }

    /// Asks the Agent what it can do.
    fn ask(&mut self) -> io::Result<info::Info> {
        let target = format!("{}{}", self.way.prefix(), info::PATH);
        let timeout = self.shared.settings.timeout;
        let answer = self.way.exchange("GET", &target, None, &[], info::MAX_BODY, timeout)?;
        Ok(info::read(answer.status, &answer.body))
    }

    fn post(&mut self, path: &str, kind: Kind, array: &[u8]) -> io::Result<Answered> {
        // An Agent reads the tags of symbols in a header.
        let has_query = kind != Kind::Symbols || path == agent::INTAKE_PATH;
        let target = format!("{}{path}{}", self.way.prefix(), if has_query { &*self.query } else { "" });
        let timeout = self.shared.settings.timeout;
        match kind {
            Kind::Events => self.way.exchange("POST", &target, Some(input::CONTENT_TYPE), &[array], 0, timeout),
            Kind::Statuses => {
                let form = [diagnostics::BEFORE.as_bytes(), array, diagnostics::AFTER.as_bytes()];
                self.way.exchange("POST", &target, Some(diagnostics::CONTENT_TYPE), &form, 0, timeout)
            }
            // They have a way of their own.
            Kind::Spans => Err(io::ErrorKind::Unsupported.into()),
            Kind::Symbols => self.way.exchange("POST", &target, Some(symbols::CONTENT_TYPE), &[array], 0, timeout),
        }
    }
}

impl<'a> Way<'a> {
    fn new(
        settings: &'a AgentSettings,
        clock: &'a dyn Clock,
        ends: &'a AtomicU64,
        socket: &'a Mutex<Weak<Socket>>,
    ) -> Self {
        let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let container = agent::container(&cgroup, |path| std::fs::metadata(path).ok().map(|data| data.ino()));
        let identity = agent::identity(settings, &container);
        Way {
            settings,
            clock,
            ends,
            socket,
            identity_of_symbols: agent::identity_of_symbols(settings, &identity),
            identity,
            host: settings.endpoint.host_header(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    fn ended(&self) -> bool {
        self.clock.monotonic() >= self.ends.load(Ordering::Acquire)
    }

    fn prefix(&self) -> &str {
        match &self.settings.endpoint {
            Endpoint::Tcp { prefix, .. } => prefix,
            Endpoint::Unix(_) | Endpoint::Intake { .. } => "",
        }
    }

    /// One request on a connection of its own, within a limit of time or what is left of the session. Of the answer's body at
    /// most so many bytes are read.
    fn exchange(
        &mut self,
        method: &str,
        target: &str,
        content_type: Option<&str>,
        body: &[&[u8]],
        most: usize,
        timeout: Duration,
    ) -> io::Result<Answered> {
        let is_symbols = content_type == Some(symbols::CONTENT_TYPE);
        let identity = if is_symbols { &self.identity_of_symbols } else { &self.identity };
        let (host, identity) = (self.host.clone(), identity.clone());
        let to = To { endpoint: &self.settings.endpoint, host: &host, identity: &identity };
        self.exchange_with(&to, method, target, content_type, body, (most, timeout))
    }

    /// The same with another one, or as somebody else.
    fn exchange_with(
        &mut self,
        to: &To<'_>,
        method: &str,
        target: &str,
        content_type: Option<&str>,
        body: &[&[u8]],
        (most, timeout): (usize, Duration),
    ) -> io::Result<Answered> {
        let clock = self.clock;
        let ends = self.ends.load(Ordering::Acquire);
        let until = Cell::new(clock.monotonic().saturating_add(nanos(timeout)).min(ends));
        let socket = Arc::new(Socket::connect(to.endpoint, clock, until.get())?);
        *lock(self.socket) = Arc::downgrade(&socket);
        if self.ended() {
            // `stop` may have looked for the connection just before it was there.
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut wire = Wire { socket, clock, until: &until };
        let session = self.secured(to.endpoint)?;
        let request = Request { method, target, host: to.host, content_type, identity: to.identity, body };
        match session {
            None => converse(&mut wire, &request, most, &until, clock),
            #[cfg(feature = "tls")]
            Some(mut session) => {
                let mut stream = rustls::Stream::new(&mut session, &mut wire);
                converse(&mut stream, &request, most, &until, clock)
            }
            #[cfg(not(feature = "tls"))]
            Some(never) => match never {},
        }
    }

    #[cfg(not(feature = "tls"))]
    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same shape as with TLS")]
    fn secured(&mut self, _: &Endpoint) -> io::Result<Option<std::convert::Infallible>> {
        // `Endpoint` refuses https in this build.
        Ok(None)
    }

    /// A TLS session, if the endpoint wants one.
    #[cfg(feature = "tls")]
    fn secured(&mut self, endpoint: &Endpoint) -> io::Result<Option<rustls::ClientConnection>> {
        let (Endpoint::Tcp { host, tls: true, .. } | Endpoint::Intake { host, tls: true, .. }) = endpoint else {
            return Ok(None);
        };
        let name = rustls::pki_types::ServerName::try_from(host.clone()).map_err(io::Error::other)?;
        let config = match &self.tls {
            Some(config) => Arc::clone(config),
            None => Arc::clone(self.tls.insert(tls_config(&self.settings.trusted)?)),
        };
        rustls::ClientConnection::new(config, name).map(Some).map_err(io::Error::other)
    }
}

/// Made once a thread, so that later connections resume the first one's session.
#[cfg(feature = "tls")]
fn tls_config(trusted: &[Vec<u8>]) -> io::Result<Arc<rustls::ClientConfig>> {
    let mut roots: rustls::RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
    for certificate in trusted {
        roots.add(certificate.as_slice().into()).map_err(io::Error::other)?;
    }
    // The provider is named here: a default for the whole process would be the application's to set.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// What an exchange brought.
struct Answered {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

fn converse<S: Read + Write>(
    stream: &mut S,
    request: &Request<'_>,
    most: usize,
    until: &Cell<u64>,
    clock: &dyn Clock,
) -> io::Result<Answered> {
    let answer: Answer = http::exchange(stream, request)?;
    let (status, retry_after) = (answer.status, answer.retry_after);
    if most > 0 {
        let body = answer.body(stream, most)?;
        return Ok(Answered { status, retry_after, body });
    }
    // The status has said all; the rest is read for the Agent's sake only, and never kept.
    until.set(until.get().min(clock.monotonic().saturating_add(nanos(DRAIN))));
    if let Err(error) = answer.body(stream, MAX_UNREAD) {
        log::trace!("stroboscope: the rest of an answer was not read: {error}");
    }
    Ok(Answered { status, retry_after, body: Vec::new() })
}

fn outcome(result: io::Result<Answered>) -> Outcome {
    match result {
        Ok(answer) => Outcome::Answered { status: answer.status, retry_after: answer.retry_after },
        Err(error) => {
            log::trace!("stroboscope: a request failed: {error}");
            Outcome::Transport
        }
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// A connection that ends for everybody when it is dropped, unless the program has closed it.
#[derive(Debug)]
struct Socket {
    stream: Kept<Stream>,
}

impl Socket {
    fn connect(endpoint: &Endpoint, clock: &dyn Clock, until: u64) -> io::Result<Self> {
        let stream = match endpoint {
            Endpoint::Unix(path) => Stream::Unix(connect_unix(path, left(clock, until)?)?),
            Endpoint::Tcp { host, port, .. } | Endpoint::Intake { host, port, .. } => {
                Stream::Tcp(connect_tcp(host, *port, clock, until)?)
            }
        };
        Ok(Socket { stream: Kept::new(stream)? })
    }

    fn stream(&self) -> io::Result<&Stream> {
        self.stream.get().ok_or_else(|| io::Error::other("the program has closed the connection"))
    }

    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self.stream()? {
            Stream::Tcp(stream) => stream.set_read_timeout(Some(timeout)),
            Stream::Unix(stream) => stream.set_read_timeout(Some(timeout)),
        }
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self.stream()? {
            Stream::Tcp(stream) => stream.set_write_timeout(Some(timeout)),
            Stream::Unix(stream) => stream.set_write_timeout(Some(timeout)),
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.stream()? {
            Stream::Tcp(stream) => { stream }.read(buffer),
            Stream::Unix(stream) => { stream }.read(buffer),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        // An Agent that dies must not raise SIGPIPE in a host that has not switched it off.
        Ok(rustix::net::send(self.stream()?, bytes, rustix::net::SendFlags::NOSIGNAL)?)
    }

    fn shut(&self) {
        // An error means that it is shut already.
        let _ = match self.stream.get() {
            Some(Stream::Tcp(stream)) => stream.shutdown(Shutdown::Both),
            Some(Stream::Unix(stream)) => stream.shutdown(Shutdown::Both),
            None => return,
        };
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // A child forked during a request holds a copy of the descriptor: closing ours alone would not end the
        // connection.
        self.shut();
    }
}

fn left(clock: &dyn Clock, until: u64) -> io::Result<Duration> {
    match until.saturating_sub(clock.monotonic()) {
        0 => Err(io::ErrorKind::TimedOut.into()),
        // The system's timeouts count in microseconds, and zero means none.
        left => Ok(Duration::from_nanos(left).max(Duration::from_millis(1))),
    }
}

fn connect_tcp(host: &str, port: u16, clock: &dyn Clock, until: u64) -> io::Result<TcpStream> {
    // Looking up a name has no limit of its own; only this thread waits for it, and `stop` waits for nobody.
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for (index, address) in addresses.iter().enumerate() {
        let share = u32::try_from(addresses.len() - index).unwrap_or(1);
        match TcpStream::connect_timeout(address, left(clock, until)? / share) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects by hand, since the library's own has no limit: it waits for as long as the Agent's queue is full.
fn connect_unix(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let stream = UnixStream::from(socket);
    stream.set_write_timeout(Some(timeout))?;
    connect(&stream, &SocketAddrUnix::new(path)?)?;
    Ok(stream)
}

/// A connection with a time at which it ends.
struct Wire<'a> {
    socket: Arc<Socket>,
    clock: &'a dyn Clock,
    until: &'a Cell<u64>,
}

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(left(self.clock, self.until.get())?)?;
        self.socket.receive(buffer).map_err(as_timeout)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(left(self.clock, self.until.get())?)?;
        self.socket.send(bytes).map_err(as_timeout)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn as_timeout(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

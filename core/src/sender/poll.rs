//! Polls the Agent for remote configuration, on a thread of its own: an upload that hangs must not keep a probe from being taken
//! back. On the walk of a configuration going in, before `control/remote/client.rs`, which does all but the I/O.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender as Channel, bounded};
use sha2::{Digest as _, Sha256};

use super::{Answered, Sender, Shared, Socket, Way, lock, nanos};
use crate::control::agent::{Remote, info};
use crate::control::remote::client::{Client, Owner};
use crate::control::remote::held::Tracer;
use crate::control::remote::pace::{Pace, Poll};
use crate::control::remote::{self, answer};

/// The name of the thread that polls.
pub const THREAD: &str = "strobe-poller";
/// How long the start of the thread is waited for.
const BEGIN: Duration = Duration::from_millis(100);
/// The bytes of its stack: it compiles what it gets, patterns too.
const STACK: usize = 2 << 20;
/// The limit of one whole request.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Remote configuration over the sender's way to the Agent.
pub(crate) struct Poller {
    shared: Arc<Shared>,
    remote: Remote,
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Dropped, it wakes the thread.
    wake: Channel<()>,
    line: Arc<Line>,
    thread: JoinHandle<()>,
}

/// What ends a request from outside.
struct Line {
    ends: AtomicU64,
    socket: Mutex<Weak<Socket>>,
}

impl Sender {
    /// What polls, if anything is to.
    pub(crate) fn poller(&self) -> Option<Poller> {
        let remote = self.shared.settings.remote.clone()?;
        Some(Poller { shared: Arc::clone(&self.shared), remote, running: Mutex::default() })
    }
}

impl Poller {
    /// Starts to poll: at once, or after an interval.
    pub(crate) fn begin(&self, tracer: Tracer, owner: Box<dyn Owner>, later: bool) {
        let (wake, woken) = bounded(1);
        let line = Arc::new(Line { ends: AtomicU64::new(u64::MAX), socket: Mutex::new(Weak::new()) });
        let seed = Sha256::digest(&tracer.client_id);
        let seed = seed.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        let polling = Polling {
            shared: Arc::clone(&self.shared),
            line: Arc::clone(&line),
            client: Client::new(tracer, self.remote.trust.clone(), true),
            owner,
            pace: Pace::new(self.remote.interval),
            seed,
            first: true,
            known: None,
        };
        let wait = if later { self.remote.interval } else { Duration::ZERO };
        let (began, has_begun) = bounded(1);
        let run = move || {
            drop(began);
            polling.run(&woken, wait);
        };
        match super::start_thread(THREAD, STACK, run) {
            Ok(thread) => {
                *lock(&self.running) = Some(Running { wake, line, thread });
                // A thread has its name as it begins, and by that a fork knows it for one of ours.
                let _: Result<(), _> = has_begun.recv_timeout(BEGIN);
            }
            Err(error) => {
                log::warn!(target: "stroboscope", "there is no remote configuration: its thread cannot be started: {error}");
            }
        }
    }

    /// Polls no more. Waits for the thread, at most so long; one that hangs is left behind and changes nothing any more.
    pub(crate) fn end(&self, limit: Duration) {
        let Some(Running { wake, line, thread }) = lock(&self.running).take() else { return };
        line.ends.store(0, Ordering::Release);
        drop(wake);
        if let Some(socket) = lock(&line.socket).upgrade() {
            socket.shut();
        }
        let until = self.shared.clock.monotonic().saturating_add(nanos(limit));
        while !thread.is_finished() && self.shared.clock.monotonic() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        if thread.is_finished() {
            // Its panics were caught where they happened.
            let _ = thread.join();
        }
    }
}

/// What runs on the thread.
struct Polling {
    shared: Arc<Shared>,
    line: Arc<Line>,
    client: Client,
    owner: Box<dyn Owner>,
    pace: Pace,
    seed: u64,
    first: bool,
    /// What of the client the owner knows.
    known: Option<u64>,
}

impl Polling {
    fn run(mut self, woken: &Receiver<()>, mut wait: Duration) {
        let shared = Arc::clone(&self.shared);
        let line = Arc::clone(&self.line);
        let mut way = Way::new(&shared.settings, &*shared.clock, &line.ends, &line.socket);
        while woken.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
            // A panic of ours loses one poll, not the thread, and never the program.
            let round = std::panic::catch_unwind(AssertUnwindSafe(|| self.round(&mut way)));
            wait = round.unwrap_or_else(|_| {
                let chance = self.draw();
                self.pace.after(Poll::Failed, chance)
            });
        }
    }

    /// One poll. Answers how long to wait until the next one.
    fn round(&mut self, way: &mut Way<'_>) -> Duration {
        if std::mem::take(&mut self.first)
            && let Some(known) = self.owner.inherited()
        {
            self.client.inherit(&known, &mut *self.owner);
        }
        if self.known.is_none() {
            self.tell();
        }
        let poll = self.poll(way).unwrap_or_else(|error| {
            log::trace!("stroboscope: a poll failed: {error}");
            Poll::Failed
        });
        if self.known != Some(self.client.changes()) {
            self.tell();
        }
        let chance = self.draw();
        self.pace.after(poll, chance)
    }

    fn tell(&mut self) {
        self.known = Some(self.client.changes());
        self.owner.knows(&self.client);
    }

    fn poll(&mut self, way: &mut Way<'_>) -> io::Result<Poll> {
        if self.pace.asks_what_it_can() {
            let target = format!("{}{}", way.prefix(), info::PATH);
            let answer = way.exchange("GET", &target, None, &[], info::MAX_BODY, TIMEOUT)?;
            let Some(offers) = info::lists(answer.status, &answer.body, remote::PATH) else { return Ok(Poll::Failed) };
            self.pace.offers(offers);
            if !offers {
                if !self.ended() {
                    self.client.not_offered(&mut *self.owner);
                }
                return Ok(Poll::Failed);
            }
        }
        let target = format!("{}{}", way.prefix(), remote::PATH);
        let most = answer::MAX_BODY + 1;
        let body = self.client.request();
        let Answered { status, body, .. } =
            way.exchange("POST", &target, Some(remote::CONTENT_TYPE), &[body], most, TIMEOUT)?;
        if self.ended() {
            // Nothing changes in a session that is at its end.
            return Ok(Poll::Failed);
        }
        let now = i64::try_from(self.shared.clock.wall() / 1_000_000_000).unwrap_or(i64::MAX);
        Ok(self.client.answered(status, &body, now, &mut *self.owner))
    }

    fn ended(&self) -> bool {
        self.line.ends.load(Ordering::Acquire) == 0
    }

    /// Evenly from 0 to 1, and of each process its own: children of a fork must not ask all at the same moment.
    fn draw(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.seed ^ (self.seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let bits = u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or(u32::MAX);
        f64::from(bits) / f64::from(u32::MAX)
    }
}

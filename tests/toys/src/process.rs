//! A toy process: a session with a manual clock and a host that installs everything. Timed scripts drive it.

use crate::inside::Place;
use crate::value::World;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::ManualClock;
use stroboscope_core::config::Settings;
use stroboscope_core::control::memory::Memory;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::hit::{HitContext, Verdict};
use stroboscope_core::host::{Capabilities, FrameText, Install, Language, Outcome, Runtime, Site, StackFrame, Ticket};
use stroboscope_core::probe::model::Location;
use stroboscope_core::probe::wire::{Definition, Rejected};
use stroboscope_core::record::names::Tables;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::session::{Parts, ProbeReport, Session};
use stroboscope_core::worker::Worker;

/// The worker's rounds come at least this often.
const ROUND: Duration = Duration::from_millis(4);

/// A host whose every place exists.
#[derive(Debug, Default)]
pub struct ToyRuntime {
    /// Slots whose hooks are off because their gate was empty.
    disarmed: Mutex<HashSet<u32>>,
    /// Installations that wait, if this host answers later.
    pending: Mutex<Vec<(Ticket, Outcome)>>,
    /// True if installations end later, as in a host that needs a safe point.
    asynchronous: bool,
}

impl ToyRuntime {
    fn disarm(&self, slot: u32) {
        self.disarmed.lock().unwrap_or_else(PoisonError::into_inner).insert(slot);
    }

    fn is_disarmed(&self, slot: u32) -> bool {
        self.disarmed.lock().unwrap_or_else(PoisonError::into_inner).contains(&slot)
    }
}

impl Runtime for ToyRuntime {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            language: Language::Other("toy"),
            methods: true,
            module_lines: true,
            disarm: true,
            capture_timeout_ms: 100,
        }
    }

    fn install(&self, probe: &Arc<LiveProbe>, ticket: Ticket) -> Install {
        let site = match &probe.probe.location {
            Location::Lines { file, lines } => {
                Site { file: file.clone(), lines: lines.clone(), function: "toy".into(), ..Site::default() }
            }
            Location::Method { type_name, method, .. } => Site {
                type_name: type_name.clone(),
                method: method.clone(),
                function: method.clone(),
                ..Site::default()
            },
        };
        let outcome = if site.file.starts_with("missing") {
            Outcome::Waiting("it is not loaded".into())
        } else {
            Outcome::Done { note: None, site }
        };
        if !self.asynchronous {
            return Install::Now(outcome);
        }
        // Two realms answer, each with the same outcome.
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.push((ticket, outcome.clone()));
        pending.push((ticket, outcome));
        Install::Pending(ticket)
    }

    fn remove(&self, probe: &Arc<LiveProbe>) {
        self.disarm(probe.slot);
    }

    fn rearm(&self, probes: &[Arc<LiveProbe>]) {
        let mut disarmed = self.disarmed.lock().unwrap_or_else(PoisonError::into_inner);
        for probe in probes {
            disarmed.remove(&probe.slot);
        }
    }

    fn describe_frame(&self, _frame: StackFrame) -> FrameText {
        FrameText::default()
    }
}

/// A toy process.
pub struct Process {
    /// Its session.
    pub session: Session,
    /// What it emitted.
    pub memory: Memory,
    /// Its names and types.
    pub tables: Arc<Tables>,
    runtime: Arc<ToyRuntime>,
    clock: Arc<ManualClock>,
    worker: Worker,
    context: HitContext,
    now: Duration,
}

impl Process {
    /// A process of these settings. `asynchronous`: its host ends installations later.
    pub fn new(settings: Settings, asynchronous: bool) -> Process {
        let redaction = Redaction::new(
            &settings.redacted_identifiers,
            &settings.redaction_excluded_identifiers,
            &settings.redacted_types,
        );
        // Far from zero, so that nothing is "long ago" by accident.
        let clock = Arc::new(ManualClock::new(Duration::from_secs(1_000_000)));
        let runtime = Arc::new(ToyRuntime { asynchronous, ..ToyRuntime::default() });
        let memory = Memory::new();
        let tables = Arc::new(Tables::new(Arc::new(redaction)));
        let (session, worker) = Session::prepare(Parts {
            settings,
            identity: Identity { service: "toy".into(), ..Identity::default() },
            runtime: Arc::clone(&runtime) as Arc<dyn Runtime>,
            clock: Arc::clone(&clock) as Arc<_>,
            sinks: vec![Box::new(memory.sink())],
            sender: None,
            tables: Arc::clone(&tables),
        });
        let context = session.hit_context();
        Process { session, memory, tables, runtime, clock, worker, context, now: Duration::ZERO }
    }

    /// Puts definitions in force.
    pub fn apply(&mut self, definitions: Vec<Result<Definition, Rejected>>) {
        self.session.apply(definitions);
        self.round();
    }

    /// One round of the worker, and what the host has to say meanwhile.
    pub fn round(&mut self) {
        let _ = self.worker.tick();
        let pending = std::mem::take(&mut *self.runtime.pending.lock().unwrap_or_else(PoisonError::into_inner));
        if pending.is_empty() {
            return;
        }
        for (ticket, outcome) in pending {
            self.session.installed(ticket, outcome);
        }
        let _ = self.worker.tick();
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

    /// Hits a probe so often. Hooks that are off are not hit.
    pub fn hit(&mut self, id: &str, times: u32, world: &World) {
        let probes = self.session.probes();
        let Some(live) = probes.iter().find(|live| live.probe.id == id) else { return };
        for _ in 0..times {
            if self.runtime.is_disarmed(live.slot) {
                return;
            }
            if self.context.line(live, 1, &Place(world)) == Verdict::Disarm {
                self.runtime.disarm(live.slot);
            }
        }
    }

    /// What `status()` says of a probe.
    pub fn report(&self, id: &str) -> Option<ProbeReport> {
        self.session.status().into_iter().find(|report| report.id == id)
    }
}

//! The host as the core sees it: what it can do, and that an installation is always under way. It only hands on: the hands
//! ([`crate::hands`]) find the code and write the variants, since reading a module takes longer than the core's worker may
//! wait. On the walk of a configuration going in, after the core's worker.

use crate::hands::{self, Hands, Task};
use crate::{explained, guard, names, realms, watch};
use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use stroboscope_core::config::LogStack;
use stroboscope_core::explain::Facts;
use stroboscope_core::host::{Capabilities, FrameText, Install, Language, Runtime, StackFrame, Ticket};
use stroboscope_core::registry::LiveProbe;

/// Words for gates: as many probes can be in force at once, less two.
pub const WORDS: usize = 4096;

/// Nanoseconds that a realm needs to take a variant away and to put it back, each in a turn of its event loop.
const REARM_NS: u32 = 50_000;

/// What Node can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    language: Language::JavaScript,
    methods: true,
    metrics: true,
    spans: false,
    module_lines: true,
    disarm: true,
    capture_timeout_ms: 15,
    // It would be most of such a hit.
    log_stack: LogStack::Place,
};

/// Node.
pub struct NodeRuntime {
    words: &'static [AtomicI32],
    hands: Hands,
}

impl NodeRuntime {
    /// A host without a probe.
    pub fn new(hands: Hands) -> NodeRuntime {
        // Code that has ended its session may still look at its gates: they stay for ever. A session takes 16 KiB.
        let words: Vec<AtomicI32> = (0..WORDS).map(|_| AtomicI32::new(0)).collect();
        NodeRuntime { words: words.leak(), hands }
    }

    /// Where the gates stand.
    pub fn words(&self) -> &'static [AtomicI32] {
        self.words
    }

    /// Ends the hands; all hooks are taken away first.
    pub fn stop(&self) {
        self.hands.stop();
        realms::forget_rests();
        explained::forget();
    }
}

impl Runtime for NodeRuntime {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn install(&self, probe: &Arc<LiveProbe>, ticket: Ticket) -> Install {
        probe.set_rearm_cost(REARM_NS);
        self.hands.ask(Task::Place(Arc::clone(probe), ticket));
        Install::Pending(ticket)
    }

    fn remove(&self, probe: &Arc<LiveProbe>) {
        self.hands.ask(Task::Remove(probe.slot));
    }

    fn disarm(&self, probes: &[Arc<LiveProbe>]) {
        realms::rest_everywhere(probes, true);
        for live in probes {
            watch::rest(live.slot);
        }
    }

    fn rearm(&self, probes: &[Arc<LiveProbe>]) {
        realms::rest_everywhere(probes, false);
        for live in probes {
            watch::resume(live.slot);
        }
    }

    fn gather(&self) {
        realms::wake_all();
    }

    fn symbols(&self) {
        self.hands.ask(Task::Symbols);
    }

    fn calm(&self) {
        hands::watch();
    }

    fn describe_frame(&self, frame: StackFrame) -> FrameText {
        names::describe(frame)
    }

    fn explain(&self, probe: &LiveProbe) -> Facts {
        guard::caught(|| explained::facts(probe)).unwrap_or_default()
    }

    fn gates(&self) -> Option<&'static [AtomicI32]> {
        Some(self.words)
    }
}

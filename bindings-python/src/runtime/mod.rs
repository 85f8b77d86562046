//! Places and removes hooks: the core's `Runtime` for CPython. Stands on the configuration's walk: the core's worker comes
//! before, [`crate::discovery`], [`crate::statements`] and `sys.monitoring` after.
//!
//! The worker never waits for the GIL. It hands its wishes to the *hands*, a thread of ours that takes the GIL, does them
//! and answers with the ticket. A file that starts to run is looked at in its own thread, before its first line.
//!
//! * [`state`]: what the hands and the callbacks share;
//! * [`entries`]: the probes in force, and how a file that starts finds them;
//! * [`hands`]: the thread, and what it does with a wish;
//! * [`target`]: what is known of a probe's place before code is read;
//! * [`install`]: places probes, in files that are loaded;
//! * [`starts`]: places probes, in a file that starts to run;
//! * [`swaps`]: places probes, in code that a function gets while it is there;
//! * [`arrivals`]: places probes, in code that comes without its file;
//! * [`in_file`]: finds a probe's lines or its method in the code of one file;
//! * [`place`]: adds a probe to a code object, and takes it out;
//! * [`explained`]: what is known of a place, for people who ask;
//! * [`symbols`]: tells of modules that are loaded;
//! * [`yields`]: what passes between a generator with a span probe and its caller;
//! * [`tools`]: the tool ids and the events of `sys.monitoring`;
//! * [`answer`]: what the core is told.

mod answer;
mod arrivals;
mod entries;
mod explained;
mod hands;
mod in_file;
mod install;
mod place;
mod starts;
mod state;
mod swaps;
mod symbols;
mod target;
mod tools;
mod yields;

pub use explained::{described, read_all};
pub use hands::review;
pub use install::released;
pub use place::others_changed;
pub use starts::module_starts;
pub use state::describe;

use crate::code;
use crate::discovery;
use crate::hooks;
use crate::others;
use crate::tracer;
use hands::spawn;
use pyo3::prelude::*;
use state::{HANDS, Wish};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use stroboscope_core::config::LogStack;
use stroboscope_core::explain::Facts;
use stroboscope_core::host::{Capabilities, FrameText, Install, Language, Runtime, StackFrame, Ticket};
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::session::Session;
use tools::{arm, free_tool, is_ours, take_tools, watch_unwind};

/// What CPython can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    language: Language::Python,
    methods: true,
    metrics: true,
    spans: true,
    module_lines: true,
    disarm: true,
    capture_timeout_ms: 100,
    log_stack: LogStack::All,
};

/// The core's side.
pub struct PyRuntime {
    wishes: Sender<Wish>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl PyRuntime {
    /// Takes two tool ids, or one, and starts the hands.
    pub fn start(py: Python<'_>) -> PyResult<Self> {
        let mut hands = take_tools(py)?;
        let (wishes, orders) = channel();
        hands.wishes = Some(wishes.clone());
        let sees_files = hands.discovery.is_some();
        HANDS.with(|slot| *slot = Some(hands));
        match discovery::begin(py, sees_files).and_then(|()| Ok(spawn(orders)?)) {
            Ok(thread) => Ok(PyRuntime { wishes, thread: Mutex::new(Some(thread)) }),
            Err(error) => {
                release(py, true)?;
                Err(error)
            }
        }
    }

    /// In a forked child whose parent was starting or ending its session in another thread: gives the tool ids back. What
    /// else there is may be locked for ever, and is left as it is.
    pub fn leave_behind(py: Python<'_>) -> PyResult<()> {
        let left = HANDS.with(|hands| {
            let hands = hands.as_mut()?;
            Some((hands.session.take(), std::mem::take(&mut hands.entries), hands.wishes.take()))
        });
        std::mem::forget(left);
        let silenced = Self::silence(py);
        release(py, true).and(silenced)
    }

    /// In a forked child: a runtime with hands of its own, on the tools that the parent took. The parent's are left behind.
    pub fn reborn(py: Python<'_>) -> PyResult<Self> {
        let (wishes, orders) = channel();
        HANDS.with(|hands| {
            if let Some(hands) = hands {
                let old =
                    (hands.session.take(), std::mem::take(&mut hands.entries), hands.wishes.replace(wishes.clone()));
                std::mem::forget(old);
                hands.forked = true;
            }
        });
        hooks::end();
        tracer::forget_orphans();
        watch_unwind(py)?;
        let thread = spawn(orders)?;
        Ok(PyRuntime { wishes, thread: Mutex::new(Some(thread)) })
    }

    /// What wakes the hands when log lines wait.
    pub fn waker(&self) -> Waker {
        Waker(self.wishes.clone())
    }

    /// Tells the hands whom to answer, and lets files be seen from now on.
    pub fn connect(py: Python<'_>, session: Arc<Session>) -> PyResult<()> {
        let monitoring = py.import("sys")?.getattr("monitoring")?;
        tracer::begin(py)?;
        hooks::begin(session.hit_context(), &monitoring.getattr("DISABLE")?);
        let discovery = HANDS.with(|hands| {
            let hands = hands.as_mut()?;
            hands.session = Some(session);
            Some((hands.discovery?, hands.probes, hands.set_events.clone_ref(py), hands.events))
        });
        if let Some((tool, probes, set_events, events)) = discovery.flatten() {
            set_events.call1(py, (tool, events.start | events.shared))?;
            if events.shared != 0 {
                set_events.call1(py, (probes, events.shared))?;
            }
        }
        swaps::watch(py, true);
        Ok(())
    }

    /// Ends all hits: what is captured from now on could not be delivered any more.
    pub fn silence(py: Python<'_>) -> PyResult<()> {
        let tools = HANDS.with(|hands| {
            let hands = hands.as_mut()?;
            hands.watches_unwind = false;
            Some((hands.set_local_events.clone_ref(py), hands.set_events.clone_ref(py), hands.probes, hands.discovery))
        });
        let Some((set_local_events, set_events, probes, discovery)) = tools.flatten() else { return Ok(()) };
        let sites = hooks::with_probe(|_| true);
        // Whatever the interpreter says below, no hit comes any more.
        hooks::end();
        swaps::watch(py, false);
        yields::release(py)?;
        tracer::end_orphans(py)?;
        let monitoring = py.import("sys")?.getattr("monitoring")?;
        let probes_are_ours = is_ours(&monitoring, probes)?;
        for site in sites.into_iter().filter(|_| probes_are_ours) {
            arm(py, &set_local_events, probes, site.code.borrow(), 0)?;
        }
        for tool in [Some(probes), discovery].into_iter().flatten() {
            if is_ours(&monitoring, tool)? {
                set_events.call1(py, (tool, 0))?;
            }
        }
        Ok(())
    }

    /// Ends the hands and leaves `sys.monitoring` as it was. The caller has ended the hits and stopped the session.
    ///
    /// Where the process ends too, callbacks that are never called again stay: to take one out tells the audit hooks of the
    /// program, which is code of its own.
    pub fn stop(&self, py: Python<'_>, goes_on: bool) -> PyResult<()> {
        self.wish(Wish::End);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The hands may wait for the GIL: they must be able to get it.
            py.detach(|| drop(thread.join()));
        }
        release(py, goes_on)
    }

    fn wish(&self, wish: Wish) {
        // After the end nobody listens, and nothing is left to be done.
        let _ = self.wishes.send(wish);
    }
}

/// Lets go of the tool ids, if the process goes on, and of what is led through us.
fn release(py: Python<'_>, goes_on: bool) -> PyResult<()> {
    let Some(hands) = HANDS.with(Option::take).flatten() else { return Ok(()) };
    discovery::forget();
    others::leave_alone();
    if !goes_on {
        return Ok(());
    }
    let monitoring = py.import("sys")?.getattr("monitoring")?;
    let tools = [Some(hands.probes), hands.discovery].into_iter().flatten();
    // One that cannot be given back keeps no other.
    tools.map(|tool| free_tool(&monitoring, tool)).fold(Ok(()), PyResult::and)
}

/// Wakes the hands.
pub struct Waker(Sender<Wish>);

impl Waker {
    /// Lets them look at the log lines.
    pub fn wake(&self) {
        // After the end nobody listens; then the next start or call finds the lines.
        let _ = self.0.send(Wish::Log);
    }
}

impl Runtime for PyRuntime {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
    fn install(&self, probe: &Arc<LiveProbe>, ticket: Ticket) -> Install {
        self.wish(Wish::Install(Arc::clone(probe), ticket));
        Install::Pending(ticket)
    }
    fn remove(&self, probe: &Arc<LiveProbe>) {
        self.wish(Wish::Remove(Arc::clone(probe)));
    }
    fn rearm(&self, probes: &[Arc<LiveProbe>]) {
        self.wish(Wish::Rearm(probes.to_vec()));
    }
    fn disarm(&self, probes: &[Arc<LiveProbe>]) {
        self.wish(Wish::Disarm(probes.to_vec()));
    }
    fn symbols(&self) {
        self.wish(Wish::Symbols);
    }
    fn describe_frame(&self, frame: StackFrame) -> FrameText {
        code::describe(frame.code, frame.position)
    }
    fn explain(&self, probe: &LiveProbe) -> Facts {
        // At the interpreter's end nobody asks.
        Python::try_attach(|py| explained::facts(py, probe)).unwrap_or_default()
    }
}

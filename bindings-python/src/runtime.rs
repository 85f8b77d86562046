//! Places and removes hooks: the core's `Runtime` for CPython. Stands on the configuration's walk: the core's worker comes
//! before, [`crate::discovery`], [`crate::statements`] and `sys.monitoring` after.
//!
//! The worker never waits for the GIL. It hands its wishes to the *hands*, a thread of ours that takes the GIL, does them
//! and answers with the ticket. A file that starts to run is looked at in its own thread, before its first line.

use crate::code;
use crate::discovery::{self, Chosen, FileCode, FileId, Importable, Meant, Named, PyFunction, Read, Started};
use crate::frame::{self, Layout};
use crate::hooks::{self, CodeSite, ProbeSite};
use crate::names::Held;
use crate::object::{Owned, Ref};
use crate::others;
use crate::shim;
use crate::statements::{Opcodes, Start};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::fault;
use stroboscope_core::host::{Capabilities, FrameText, Install, Language, Outcome, Runtime, Site, StackFrame, Ticket};
use stroboscope_core::probe::location;
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::session::Session;
use stroboscope_core::text::Text;

/// A wish of the worker.
enum Wish {
    Install(Arc<LiveProbe>, Ticket),
    Remove(Arc<LiveProbe>),
    Rearm(Vec<Arc<LiveProbe>>),
    Disarm(Vec<Arc<LiveProbe>>),
    /// Log lines wait.
    Log,
    /// A module that a probe's name was not found in may have gone on.
    Again,
    End,
}

/// A probe in force: placed, or waiting for its code. Every file that starts to run may concern it.
struct Entry {
    live: Arc<LiveProbe>,
    ticket: Ticket,
    /// What the core was told last.
    told: Told,
    /// The same in words, so that nothing is told twice.
    said: String,
    /// The file of this machine that the probe's path leads to: no other one is meant.
    exact: Option<String>,
    /// The files it is placed in.
    files: Vec<String>,
    /// The number of code objects it is placed in.
    copies: usize,
}

/// What the core was told of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Placed,
    Waits,
    /// A name is not in its module, which is still running: looked for again that many times.
    Again(u32),
    /// A name is not in its module, and the module has run.
    Lacks,
    Refused,
}

/// Code objects that one probe is placed in at most: a program may compile the same file without end.
const MAX_COPIES: usize = 1_000;
/// How often a name is looked for again that its module, just started, may still define.
const MAX_AGAIN: u32 = 7;
/// The first pause before that; each is twice the one before.
const FIRST_AGAIN: Duration = Duration::from_millis(20);
/// How often modules are looked at for probes that wait, if no tool id is left to be told of files that start.
const LOOK: Duration = Duration::from_millis(200);
/// Nanoseconds that a place without a probe costs when it runs for the first time after its code was armed.
const FIRST_RUN_NS: u64 = 60;
/// Nanoseconds that arming takes at most, besides what it takes for each place.
const MOST_ARMED_NS: u64 = 5_000;

/// What the hands and the callbacks share, under the GIL.
struct Hands {
    set_local_events: Py<PyAny>,
    set_events: Py<PyAny>,
    /// The tool id of probes, and of discovery if there is one.
    probes: u8,
    discovery: Option<u8>,
    events: Events,
    opcodes: Arc<Opcodes>,
    session: Option<Arc<Session>>,
    entries: Vec<Entry>,
    wishes: Option<Sender<Wish>>,
    watches_unwind: bool,
    /// True if another tool may listen to lines: see [`crate::others`].
    beside_others: bool,
    /// Nanoseconds for which the last installation held the GIL.
    held: u64,
    /// In a forked child code may still be armed as the parent left it.
    forked: bool,
}

/// The numbers of the events.
#[derive(Clone, Copy)]
struct Events {
    instruction: u32,
    line: u32,
    start: u32,
    end: u32,
    unwind: u32,
    /// What both tools have set everywhere, though neither needs it; 0 if there is one tool only.
    ///
    /// CPython notes which tools want an instruction only once two tools have an event in common, and loses what a tool
    /// had set on instructions before. A debugger's `set_trace` makes that happen: it asks for the instructions of a
    /// function, then for the start of all functions, which discovery wants too. With two tools everywhere from the
    /// beginning nothing is lost, of the debugger or of us. Few functions resume, and each place tells us once.
    shared: u32,
}

static HANDS: Held<Option<Hands>> = Held::new(None);

/// What CPython can do.
pub const CAPABILITIES: Capabilities = Capabilities {
    language: Language::Python,
    methods: true,
    module_lines: true,
    disarm: true,
    capture_timeout_ms: 100,
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
        discovery::begin(py, hands.discovery.is_some())?;
        HANDS.with(|slot| *slot = Some(hands));
        let thread = spawn(orders)?;
        Ok(PyRuntime { wishes, thread: Mutex::new(Some(thread)) })
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
        for site in hooks::with_probe(|_| true) {
            arm(py, &set_local_events, probes, site.code.borrow(), 0)?;
        }
        for tool in [Some(probes), discovery].into_iter().flatten() {
            set_events.call1(py, (tool, 0))?;
        }
        hooks::end();
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
        let Some(hands) = HANDS.with(Option::take).flatten() else { return Ok(()) };
        discovery::forget();
        others::leave_alone();
        if !goes_on {
            return Ok(());
        }
        let monitoring = py.import("sys")?.getattr("monitoring")?;
        for tool in [Some(hands.probes), hands.discovery].into_iter().flatten() {
            free_tool(&monitoring, tool)?;
        }
        Ok(())
    }

    fn wish(&self, wish: Wish) {
        // After the end nobody listens, and nothing is left to be done.
        let _ = self.wishes.send(wish);
    }
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
    fn describe_frame(&self, frame: StackFrame) -> FrameText {
        code::describe(frame.code, frame.position)
    }
}

#[allow(clippy::disallowed_methods, reason = "the hands: the core's worker must not wait for the GIL")]
fn spawn(orders: Receiver<Wish>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("stroboscope-hands".to_owned()).spawn(move || serve(&orders))
}

/// The hands' life. Wishes that are there already are fulfilled together, so that they share one look for code.
fn serve(orders: &Receiver<Wish>) {
    let mut pause: Option<Duration> = None;
    loop {
        let first = match pause {
            Some(pause) => orders.recv_timeout(pause),
            None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        let mut wishes = match first {
            Ok(wish) => vec![wish],
            Err(RecvTimeoutError::Timeout) => vec![Wish::Again],
            Err(RecvTimeoutError::Disconnected) => return,
        };
        wishes.extend(orders.try_iter());
        if wishes.iter().any(|wish| matches!(wish, Wish::End)) {
            return;
        }
        let mut answers = Vec::new();
        let work = |py: Python<'_>| crate::guard::caught(|| fulfil(py, wishes, &mut answers)).flatten();
        // `None`: the interpreter is at its end, and wants nothing of us.
        let Some(next) = Python::try_attach(work) else { return };
        pause = next;
        for answer in answers {
            answer.give();
        }
    }
}

fn take_tools(py: Python<'_>) -> PyResult<Hands> {
    let monitoring = py.import("sys")?.getattr("monitoring")?;
    let mut tools = Vec::new();
    for tool in [4u8, 3, 5] {
        if tools.len() < 2 && monitoring.call_method1("use_tool_id", (tool, "stroboscope")).is_ok() {
            tools.push(tool);
        }
    }
    let Some(&probes) = tools.first() else {
        return Err(pyo3::exceptions::PyRuntimeError::new_err(
            "the three ids of sys.monitoring that stroboscope could use (3, 4, 5) are all taken by other tools",
        ));
    };
    let discovery = tools.get(1).copied();
    let numbers = monitoring.getattr("events")?;
    let number = |name: &str| numbers.getattr(name)?.extract::<u32>();
    let shared = if discovery.is_some() { number("PY_RESUME")? } else { 0 };
    for (name, callback) in hooks::callbacks(py)? {
        let (tool, event) = match (name, discovery) {
            ("DISCOVERY", Some(tool)) => (tool, number("PY_START")?),
            ("SHARED", Some(tool)) => {
                monitoring.call_method1("register_callback", (tool, number("PY_RESUME")?, &callback))?;
                (probes, number("PY_RESUME")?)
            }
            ("DISCOVERY" | "SHARED", None) => continue,
            _ => (probes, number(name)?),
        };
        monitoring.call_method1("register_callback", (tool, event, callback))?;
    }
    others::watch(&monitoring)?;
    Ok(Hands {
        set_local_events: monitoring.getattr("set_local_events")?.unbind(),
        set_events: monitoring.getattr("set_events")?.unbind(),
        probes,
        discovery,
        events: Events {
            instruction: number("INSTRUCTION")?,
            line: number("LINE")?,
            start: number("PY_START")?,
            end: number("PY_RETURN")?,
            unwind: number("PY_UNWIND")?,
            shared,
        },
        opcodes: Arc::new(Opcodes::read(py)?),
        session: None,
        entries: Vec::new(),
        wishes: None,
        watches_unwind: false,
        beside_others: others::may_listen(&monitoring, &tools)?,
        held: 0,
        forked: false,
    })
}

fn free_tool(monitoring: &Bound<'_, PyAny>, tool: u8) -> PyResult<()> {
    monitoring.call_method1("set_events", (tool, 0))?;
    let numbers = monitoring.getattr("events")?;
    for name in ["INSTRUCTION", "LINE", "PY_START", "PY_RESUME", "PY_RETURN", "PY_UNWIND"] {
        monitoring.call_method1("register_callback", (tool, numbers.getattr(name)?, monitoring.py().None()))?;
    }
    monitoring.call_method1("free_tool_id", (tool,))?;
    Ok(())
}

/// Sets the events of a code object.
fn arm(py: Python<'_>, set_local_events: &Py<PyAny>, tool: u8, code: Ref<'_>, events: u32) -> PyResult<()> {
    // SAFETY: a live code object, borrowed for the call.
    let code = unsafe { Bound::from_borrowed_ptr(py, code.pointer()) };
    set_local_events.call1(py, (tool, code, events)).map(drop)
}

/// Does what is wished, and collects what the core is to be told. Answers when to look again without a wish.
fn fulfil(py: Python<'_>, wishes: Vec<Wish>, answers: &mut Vec<Answer>) -> Option<Duration> {
    let mut installs = Vec::new();
    for wish in wishes {
        if !matches!(wish, Wish::Install(..)) {
            // In the order of the wishes: a removal may be of a probe that was just added.
            install_all(py, &std::mem::take(&mut installs), answers, false);
        }
        let result = match wish {
            Wish::Install(live, ticket) => {
                installs.push(live.slot);
                let exact = match &live.probe.location {
                    Location::Lines { file, .. } => discovery::existing(py, file),
                    Location::Method { .. } => None,
                };
                let (told, said) = (Told::Nothing, String::new());
                let entry = Entry { live, ticket, told, said, exact, files: Vec::new(), copies: 0 };
                HANDS.with(|hands| hands.as_mut().map(|hands| hands.entries.push(entry)));
                Ok(())
            }
            Wish::Remove(live) => remove(py, &live),
            Wish::Rearm(lives) => set_again(py, &lives, Change::Restart),
            Wish::Disarm(lives) => set_again(py, &lives, Change::Keep),
            Wish::Again => {
                again(py, answers);
                Ok(())
            }
            Wish::Log => {
                crate::logging::drain(py);
                Ok(())
            }
            Wish::End => Ok(()),
        };
        if let Err(error) = result {
            log::warn!(target: "stroboscope", "a hook could not be changed: {error}");
        }
    }
    install_all(py, &installs, answers, false);
    next_look()
}

/// When something has to be looked at without being asked.
fn next_look() -> Option<Duration> {
    let next = HANDS.with(|hands| {
        let hands = hands.as_ref()?;
        let again = hands.entries.iter().filter_map(|entry| match entry.told {
            Told::Again(times) => Some(FIRST_AGAIN * (1 << times.min(MAX_AGAIN))),
            Told::Waits if hands.discovery.is_none() => Some(LOOK),
            _ => None,
        });
        again.min()
    });
    next.flatten()
}

/// Probes whose place may have appeared meanwhile.
fn again(py: Python<'_>, answers: &mut Vec<Answer>) {
    let slots = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let unseen = hands.discovery.is_none();
        let wanted = |entry: &&Entry| matches!(entry.told, Told::Again(_)) || (unseen && entry.told == Told::Waits);
        Some(hands.entries.iter().filter(wanted).map(|entry| entry.live.slot).collect::<Vec<u32>>())
    });
    install_all(py, &slots.flatten().unwrap_or_default(), answers, false);
}

/// Looks once more for what was not found, so that what is said of it is true now. `at_the_end`: what is found now was there
/// too late.
pub fn review(py: Python<'_>, at_the_end: bool) {
    let slots = HANDS.with(|hands| {
        let open = |entry: &&Entry| matches!(entry.told, Told::Waits | Told::Again(_) | Told::Lacks);
        Some(hands.as_ref()?.entries.iter().filter(open).map(|entry| entry.live.slot).collect::<Vec<u32>>())
    });
    let mut answers = Vec::new();
    install_all(py, &slots.flatten().unwrap_or_default(), &mut answers, at_the_end);
    py.detach(|| answers.into_iter().for_each(Answer::give));
}

/// Our own code panicked as it placed a hook.
fn failed() -> Outcome {
    let reason = "stopped: our own code failed as it placed the probe; the program was not affected";
    Outcome::Refused { kind: "Panic", reason: reason.to_owned() }
}

fn refused(error: &PyErr) -> Outcome {
    Outcome::Refused { kind: "InternalError", reason: format!("CPython refused the hook: {error}") }
}

/// What is known of a probe's place before code is read.
enum Target {
    Lines(Vec<FileId>),
    Method(Vec<FileId>),
    /// No file is known; a look for code may find one.
    Missing(Outcome),
    /// It is decided.
    Settled(Outcome),
}

impl Target {
    fn files(&self) -> &[FileId] {
        match self {
            Target::Lines(files) | Target::Method(files) => files,
            _ => &[],
        }
    }
}

/// Places probes. What is not in the index is looked for once for all of them.
fn install_all(py: Python<'_>, slots: &[u32], answers: &mut Vec<Answer>, at_the_end: bool) {
    if slots.is_empty() {
        return;
    }
    let began = SystemClock.monotonic();
    let lives = HANDS.with(|hands| {
        let entries = hands.as_ref()?.entries.iter().filter(|entry| slots.contains(&entry.live.slot));
        Some(entries.map(|entry| (Arc::clone(&entry.live), entry.exact.clone())).collect::<Vec<_>>())
    });
    let (lives, exact): (Vec<_>, Vec<_>) = lives.flatten().unwrap_or_default().into_iter().unzip();
    let aim = |live: &Arc<LiveProbe>, exact: &Option<String>| target(py, live, exact.as_deref());
    let mut targets: Vec<Target> = lives.iter().zip(&exact).map(|(live, exact)| aim(live, exact)).collect();
    let files = targets.iter().flat_map(Target::files).copied();
    let wanted: HashSet<FileId> = files.filter(|&file| !discovery::is_complete(file)).collect();
    let missing = lives.iter().zip(&targets).filter(|(_, target)| matches!(target, Target::Missing(_)));
    let missing: Vec<&str> = missing
        .filter_map(|(live, _)| match &live.probe.location {
            Location::Lines { file, .. } => Some(file.as_str()),
            Location::Method { .. } => None,
        })
        .collect();
    if !wanted.is_empty() || !(missing.is_empty() || discovery::has_looked()) {
        if let Err(error) = discovery::search(py, &wanted, &missing) {
            log::warn!(target: "stroboscope", "loaded code could not be looked for: {error}");
        }
        for ((live, exact), target) in lives.iter().zip(&exact).zip(&mut targets) {
            if matches!(target, Target::Missing(_)) {
                *target = aim(live, exact);
            }
        }
    }
    for (live, target) in lives.iter().zip(targets) {
        let placed = crate::guard::caught(|| {
            fault::at(fault::Place::Hook);
            install(py, live, target).unwrap_or_else(|error| refused(&error))
        });
        let mut outcome = placed.unwrap_or_else(failed);
        if at_the_end && let Outcome::Done { note, .. } = &mut outcome {
            *note = Some("it was found only as the program ended".to_owned());
        }
        let lacks = matches!(outcome, Outcome::Refused { kind: MISSING_NAME, .. });
        answers.extend(answer(live.slot, outcome, lacks && still_runs(py, live)));
    }
    let held = SystemClock.monotonic() - began;
    HANDS.with(|hands| hands.as_mut().map(|hands| hands.held = held.saturating_sub(RELEASED.take())));
}

/// True while the module of a method probe runs its top level, which may still define the name.
fn still_runs(py: Python<'_>, live: &LiveProbe) -> bool {
    let Location::Method { type_name, method, .. } = &live.probe.location else { return false };
    let readings = location::readings(type_name, method);
    readings.iter().any(|(module, _)| discovery::is_executing(py, module).unwrap_or(false))
}

thread_local! {
    /// Nanoseconds of the installation under way for which the GIL was not held.
    static RELEASED: Cell<u64> = const { Cell::new(0) };
}

/// Notes time without the GIL.
pub fn released(nanoseconds: u64) {
    RELEASED.set(RELEASED.get() + nanoseconds);
}

fn target(py: Python<'_>, live: &LiveProbe, exact: Option<&str>) -> Target {
    match &live.probe.location {
        Location::Lines { file, .. } => match discovery::choose(py, file, exact) {
            Chosen::Files(files) => Target::Lines(files),
            Chosen::Importable(path, alike) => {
                let alike =
                    alike.map_or_else(String::new, |alike| format!("; {alike} is loaded, which is another file"));
                Target::Missing(Outcome::Waiting(format!("{path} is not imported yet; the probe waits for it{alike}")))
            }
            Chosen::Compiled(reason) => Target::Settled(Outcome::Refused { kind: "NotAPythonFunction", reason }),
            Chosen::Ours(path) => Target::Settled(Outcome::Blocked(format!(
                "{path} is a part of stroboscope, whose own code is never instrumented"
            ))),
            Chosen::Ambiguous(reason) => Target::Settled(Outcome::Refused { kind: AMBIGUOUS, reason }),
            Chosen::Missing(near) => {
                let near = if near.is_empty() { near } else { format!(" (of that name there is {near})") };
                Target::Missing(Outcome::NotFound(format!(
                    "source file not found: no loaded file and none on sys.path is like {file}{near}; the probe goes on waiting"
                )))
            }
        },
        Location::Method { type_name, method, .. } => method_target(py, type_name, method),
    }
}

fn method_target(py: Python<'_>, type_name: &str, method: &str) -> Target {
    let mut loaded = false;
    for (module, _) in location::readings(type_name, method) {
        if module == "stroboscope" || module.starts_with("stroboscope.") {
            return Target::Settled(Outcome::Blocked(format!(
                "module `{module}` is a part of stroboscope, whose own code is never instrumented"
            )));
        }
        if discovery::is_main(&module) && !discovery::has_begun() {
            return Target::Settled(Outcome::Waiting(
                "the program has not begun yet; the probe waits for it".to_owned(),
            ));
        }
        let files = discovery::files_of_module(py, &module);
        if !files.is_empty() {
            return Target::Method(files);
        }
        loaded |= discovery::is_loaded(py, &module);
    }
    if loaded {
        return Target::Method(Vec::new());
    }
    for (module, _) in location::readings(type_name, method) {
        match discovery::importable(py, &module) {
            Importable::Source(found) => {
                return Target::Settled(Outcome::Waiting(format!(
                    "module `{module}` ({found}) is not imported yet; the probe waits for it"
                )));
            }
            Importable::Compiled(reason) => {
                return Target::Settled(Outcome::Refused { kind: "NotAPythonFunction", reason });
            }
            Importable::None => {}
        }
    }
    Target::Missing(Outcome::NotFound(format!(
        "module not found: no loaded module and none on sys.path is called `{type_name}`; the probe goes on waiting"
    )))
}

/// The wire's word for a file that several match equally well.
const AMBIGUOUS: &str = "AmbiguousFile";

/// Answers the core for a file that just started.
fn settle(slot: u32, outcome: Outcome) {
    if let Some(answer) = answer(slot, outcome, true) {
        answer.give();
    }
}

/// What the core is told of an installation.
struct Answer {
    session: Arc<Session>,
    ticket: Ticket,
    outcome: Outcome,
}

impl Answer {
    /// May wake the worker, which takes a while: better without the GIL.
    fn give(self) {
        self.session.installed(self.ticket, self.outcome);
    }
}

/// What the core is to be told, which is kept; nothing if it is no news. `runs`: a name that is missing may still come, as its
/// module runs.
fn answer(slot: u32, outcome: Outcome, runs: bool) -> Option<Answer> {
    let lacks = matches!(outcome, Outcome::Refused { kind: MISSING_NAME, .. });
    let outcome = match outcome {
        Outcome::Refused { kind: MISSING_NAME, reason } if runs => {
            Outcome::Waiting(format!("{reason}; the module still runs, and the probe waits for the name"))
        }
        other => other,
    };
    let answer = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let entry = hands.entries.iter_mut().find(|entry| entry.live.slot == slot)?;
        entry.told = match (&outcome, entry.told) {
            (Outcome::Done { .. } | Outcome::Moved { .. }, _) => Told::Placed,
            (Outcome::Waiting(_), Told::Again(times)) if lacks && times < MAX_AGAIN => Told::Again(times + 1),
            (Outcome::Waiting(_), Told::Nothing | Told::Waits) if lacks && entry.said.is_empty() => Told::Again(0),
            (Outcome::Waiting(_) | Outcome::NotFound(_), _) => Told::Waits,
            (Outcome::Refused { .. }, _) if lacks => Told::Lacks,
            (Outcome::Refused { .. } | Outcome::Blocked(_), _) => Told::Refused,
        };
        let said = match &outcome {
            Outcome::Done { .. } | Outcome::Moved { .. } => String::new(),
            other => format!("{other:?}"),
        };
        let is_new = said.is_empty() || said != entry.said;
        entry.said = said;
        is_new.then(|| Some((hands.session.clone()?, entry.ticket))).flatten()
    });
    let (session, ticket) = answer.flatten()?;
    Some(Answer { session, ticket, outcome })
}

/// A file begins to run: it is noted, and the probes that concern it are placed. Called by the discovery callback.
pub fn module_starts(code: Ref<'_>) {
    // SAFETY: the GIL is held, and the innermost frame is the one that starts; its globals stay while it does.
    let globals = unsafe {
        let frame = shim::strobe_top_frame();
        if frame.is_null() { None } else { Ref::new(shim::strobe_frame_globals(frame)) }
    };
    let Some(started) = discovery::note(code, globals) else { return };
    let concerned = HANDS.with(|hands| {
        let entries = hands.as_ref()?.entries.iter();
        let concerned = entries.map(|entry| (Arc::clone(&entry.live), concern(entry, &started)));
        Some(concerned.filter(|(_, concern)| !matches!(concern, Concern::None)).collect::<Vec<_>>())
    });
    let Some(concerned) = concerned.flatten().filter(|concerned| !concerned.is_empty()) else { return };
    // SAFETY: callbacks run with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let mut file = discovery::functions_of(py, code, &started.name);
    let mut looks_again = false;
    for (live, concern) in concerned {
        let moves = matches!(concern, Concern::Better);
        if !matches!(concern, Concern::Place) {
            // It leaves the place that it has.
            leave(live.slot);
        }
        let outcome = match (&live.probe.location, concern) {
            (_, Concern::Ambiguous(reason)) => {
                unplace(py, &live).map(|()| Outcome::Refused { kind: AMBIGUOUS, reason })
            }
            (Location::Lines { lines, .. }, _) => {
                let left = if moves { unplace(py, &live) } else { Ok(()) };
                left.and_then(|()| in_lines(py, &live, &mut file, &started.name, lines, false))
            }
            (Location::Method { type_name, method, .. }, _) => {
                let module = if discovery::is_main(&started.module) { type_name } else { &started.module };
                in_method(py, &live, &mut file, &started.name, module, &wanted_in(type_name, method, &started), false)
            }
        };
        let outcome = match outcome.unwrap_or_else(|error| refused(&error)) {
            Outcome::Done { note, site } if moves => Outcome::Moved { note, site },
            other => other,
        };
        looks_again |= started_outcome(live.slot, outcome);
    }
    if looks_again {
        let wishes = HANDS.with(|hands| hands.as_ref().and_then(|hands| hands.wishes.clone())).flatten();
        // After the end nobody listens, and nothing is left to be done.
        drop(wishes.map(|wishes| wishes.send(Wish::Again)));
    }
}

/// Answers for a file that just started. True if the name may still come, as the module runs.
fn started_outcome(slot: u32, outcome: Outcome) -> bool {
    let missing = matches!(&outcome, Outcome::Refused { kind: MISSING_NAME, .. });
    let keeps = HANDS.with(|hands| {
        let entry = hands.as_mut()?.entries.iter_mut().find(|entry| entry.live.slot == slot)?;
        if entry.told == Told::Placed && !matches!(outcome, Outcome::Done { .. }) {
            return Some(true); // the new copy lacks the place, the old one has it
        }
        if missing {
            entry.told = Told::Nothing;
            entry.said = String::new();
        }
        Some(false)
    });
    if keeps.flatten() == Some(true) {
        return false;
    }
    settle(slot, outcome);
    missing
}

/// What a file that starts is to a probe.
enum Concern {
    None,
    /// It may hold the probe's place.
    Place,
    /// It is meant more exactly than the one in which the probe is.
    Better,
    /// It is meant as much as others.
    Ambiguous(String),
}

fn concern(entry: &Entry, started: &Started) -> Concern {
    match &entry.live.probe.location {
        Location::Lines { .. } if entry.told == Told::Placed && entry.files.contains(&started.name) => Concern::Place,
        Location::Lines { file, .. } => match discovery::means(file, entry.exact.as_deref(), started) {
            Meant::No => Concern::None,
            Meant::Here(files) => match entry.told {
                Told::Placed if !files.iter().any(|file| entry.files.contains(file)) => Concern::Better,
                _ => Concern::Place,
            },
            Meant::Ambiguous(reason) => Concern::Ambiguous(reason),
        },
        Location::Method { type_name, method, .. } => {
            let readings = location::readings(type_name, method);
            let mut modules = readings.iter().map(|(module, _)| module);
            let is_meant = modules.any(|module| discovery::is_module(module, &started.module, &started.name));
            if is_meant { Concern::Place } else { Concern::None }
        }
    }
}

/// The probe is in no file any more. The caller takes its hooks away.
fn leave(slot: u32) {
    let files = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let entry = hands.entries.iter_mut().find(|entry| entry.live.slot == slot)?;
        entry.told = Told::Nothing;
        let mut files = std::mem::take(&mut entry.files);
        files.retain(|file| !hands.entries.iter().any(|entry| entry.files.contains(file)));
        Some(files)
    });
    for file in files.flatten().unwrap_or_default() {
        discovery::release(&file);
    }
}

/// The name that a method probe means in a module that starts.
fn wanted_in(type_name: &str, method: &str, started: &Started) -> String {
    let readings = location::readings(type_name, method);
    let reading = readings.into_iter().find(|(module, _)| discovery::is_module(module, &started.module, &started.name));
    reading.map_or_else(|| method.to_owned(), |(_, wanted)| wanted)
}

/// Places a probe in files.
fn install(py: Python<'_>, live: &Arc<LiveProbe>, target: Target) -> PyResult<Outcome> {
    match (target, &live.probe.location) {
        (Target::Missing(outcome) | Target::Settled(outcome), _) => Ok(outcome),
        (Target::Lines(files), Location::Lines { lines, .. }) => {
            let mut last = None;
            for file in files {
                let name = discovery::name(file);
                let outcome = with_code(py, file, |code| in_lines(py, live, code, &name, lines, true))?;
                last = Some(better(last, outcome));
            }
            Ok(last.unwrap_or_else(stopping))
        }
        (Target::Method(files), Location::Method { type_name, method, .. }) => {
            let mut last = None;
            for (module, wanted) in location::readings(type_name, method) {
                let mine = discovery::files_of_module(py, &module);
                for &file in mine.iter().filter(|file| files.contains(file)) {
                    let name = discovery::name(file);
                    let place = |code: &mut FileCode| in_method(py, live, code, &name, &module, &wanted, true);
                    last = Some(better(last, with_code(py, file, place)?));
                }
                if files.is_empty() && discovery::is_loaded(py, &module) {
                    last = Some(better(last, without_file(py, live, &module, &wanted)?));
                }
            }
            Ok(last.unwrap_or_else(stopping))
        }
        _ => Ok(stopping()),
    }
}

fn stopping() -> Outcome {
    Outcome::Waiting("stroboscope is stopping".to_owned())
}

/// Of two outcomes the one to tell: the first that placed something.
fn better(one: Option<Outcome>, other: Outcome) -> Outcome {
    match one {
        Some(one) if matches!(one, Outcome::Done { .. }) || !matches!(other, Outcome::Done { .. }) => one,
        _ => other,
    }
}

/// Places a method probe in a module that has no source file: `python -c`, standard input, a compiled module.
fn without_file(py: Python<'_>, live: &Arc<LiveProbe>, module: &str, wanted: &str) -> PyResult<Outcome> {
    let compiled = discovery::compiled_file(py, module);
    let compiled = compiled.map_or_else(String::new, |file| format!("; the module is compiled ({file})"));
    Ok(match discovery::named(py, module, wanted) {
        Named::Function(code) => in_function(py, live, &code, module, wanted)?,
        Named::Not(reason) => Outcome::Refused { kind: "NotAPythonFunction", reason: format!("{reason}{compiled}") },
        Named::Missing => missing_name(module, wanted, &discovery::names_beside(py, module, wanted)),
    })
}

/// Places a method probe in the one function that its name leads to; the code may call it otherwise.
fn in_function(py: Python<'_>, live: &Arc<LiveProbe>, code: &Owned, module: &str, wanted: &str) -> PyResult<Outcome> {
    let name = code::file(code.borrow()).and_then(Ref::text).map(Text::to_text).unwrap_or_default();
    let mut function = discovery::functions_of(py, code.borrow(), &name);
    Ok(match in_functions(py, live, &mut function, &[0], &name, module, true)? {
        Outcome::Done { note, site } => Outcome::Done { note, site: Site { method: wanted.to_owned(), ..site } },
        other => other,
    })
}

/// The wire's word for a name that its module does not have.
const MISSING_NAME: &str = "NoSuchMethod";

fn missing_name(module: &str, wanted: &str, names: &[String]) -> Outcome {
    let near = location::nearest_names(wanted, names.iter().map(String::as_str));
    let near = if near.is_empty() { String::new() } else { format!("; nearest: {}", near.join(", ")) };
    Outcome::Refused { kind: MISSING_NAME, reason: format!("no Python function `{wanted}` in module `{module}`{near}") }
}

/// Uses the functions of a file. If another copy of it starts meanwhile (its thread runs while ours reads), again.
fn with_code(
    py: Python<'_>,
    file: FileId,
    mut place: impl FnMut(&mut FileCode) -> PyResult<Outcome>,
) -> PyResult<Outcome> {
    let mut tries = 0;
    loop {
        let before = discovery::changes(file);
        let mut code = discovery::functions(py, file, true);
        let outcome = place(&mut code);
        discovery::keep_read(file, code);
        tries += 1;
        // Copies that start later are seen as they do; a program that compiles one file without end is not waited for.
        if tries == 5 || outcome.is_err() || discovery::changes(file) == before {
            return outcome;
        }
    }
}

fn opcodes() -> Option<Arc<Opcodes>> {
    HANDS.with(|hands| hands.as_ref().map(|hands| Arc::clone(&hands.opcodes))).flatten()
}

/// Places a line probe in the functions of a file.
fn in_lines(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: &mut FileCode,
    name: &str,
    lines: &[u32],
    release: bool,
) -> PyResult<Outcome> {
    let Some(opcodes) = opcodes() else { return Ok(stopping()) };
    if code.functions.is_empty() {
        return Ok(Outcome::Waiting(format!(
            "{name} has run and left no function behind; the probe waits for it to run again"
        )));
    }
    let mut site = Site { file: name.to_owned(), ..Site::default() };
    let mut notes = Vec::new();
    for &line in lines {
        // Only functions around the line can hold it. All of them are read to say what comes nearest.
        let around = |_, function: &location::Function| function.first <= line && line <= function.last;
        let resolve = |plain: &[location::Function]| location::resolve_line(plain, line, &CAPABILITIES);
        let mut choice = discovery::read(py, code, &opcodes, release, around, resolve)?;
        if choice.is_err() {
            choice = discovery::read(py, code, &opcodes, release, |_, _| true, resolve)?;
        }
        let choice = match choice {
            Ok(choice) => choice,
            Err(mut reason) => {
                let fine = |line: &u32| location::resolve_line(&code.plain, *line, &CAPABILITIES).is_ok();
                let fine: Vec<String> = lines.iter().copied().filter(fine).map(|line| line.to_string()).collect();
                if !fine.is_empty() {
                    let others = fine.join(", ");
                    let _ =
                        write!(reason, "; without it the others ({others}) could be probed, which are not now either");
                }
                let has_top = code.plain.iter().any(|one| one.kind == location::FunctionKind::Module);
                if !has_top {
                    reason.push_str("; lines outside of functions ran before the probe came");
                }
                unplace(py, live)?;
                return Ok(Outcome::Refused { kind: "NoSuchLine", reason });
            }
        };
        notes.extend(choice.note);
        if site.lines.contains(&choice.line) {
            // Several lines without code come down to one.
            continue;
        }
        for &at in &choice.functions {
            let function = &code.functions[at];
            let Some(read) = &function.read else { continue };
            let offsets = read.starts.iter().filter(|start| start.line == choice.line);
            let offsets: Vec<i64> = offsets.map(|start| i64::from(start.offset)).collect();
            place(py, live, function.code.borrow(), read, Some((choice.line, &offsets)))?;
            site.function.clone_from(&code.plain[at].name);
        }
        site.lines.push(choice.line);
    }
    placed_in(live.slot, name);
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(Outcome::Done { note, site })
}

fn placed_in(slot: u32, name: &str) {
    HANDS.with(|hands| {
        let entry = hands.as_mut()?.entries.iter_mut().find(|entry| entry.live.slot == slot)?;
        if !entry.files.iter().any(|file| file == name) {
            entry.files.push(name.to_owned());
        }
        Some(())
    });
}

/// Places a method probe in the functions of a file.
fn in_method(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: &mut FileCode,
    name: &str,
    module: &str,
    wanted: &str,
    has_run: bool,
) -> PyResult<Outcome> {
    let getter = if has_run { discovery::getter_of_property(py, module, wanted) } else { None };
    let mut found = methods(py, code, wanted, getter, has_run);
    if found.is_empty() && has_run {
        match discovery::named(py, module, wanted) {
            Named::Function(target) => {
                let same = |function: &PyFunction| function.code.borrow() == target.borrow();
                let Some(at) = code.functions.iter().position(same) else {
                    return in_function(py, live, &target, module, wanted);
                };
                found.push(at);
            }
            Named::Not(reason) => return Ok(Outcome::Refused { kind: "NotAPythonFunction", reason }),
            Named::Missing => {}
        }
    }
    if found.is_empty() {
        let callable = |&at: &usize| code.plain[at].kind == location::FunctionKind::Function;
        let mut names = discovery::names_beside(py, module, wanted);
        names.extend((0..code.plain.len()).filter(callable).map(|at| code.qualified[at].clone()));
        return Ok(missing_name(module, wanted, &names));
    }
    in_functions(py, live, code, &found, name, module, has_run)
}

/// Places a method probe in functions of a file.
fn in_functions(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: &mut FileCode,
    found: &[usize],
    name: &str,
    module: &str,
    release: bool,
) -> PyResult<Outcome> {
    let Some(opcodes) = opcodes() else { return Ok(stopping()) };
    discovery::read(py, code, &opcodes, release, |at, _| found.contains(&at), |_| ())?;
    let mut firsts: Vec<u32> = Vec::new();
    for &at in found {
        let Some(function) = code.functions.get(at) else { continue };
        firsts.push(code.plain[at].first);
        let Some(read) = &function.read else { continue };
        place(py, live, function.code.borrow(), read, None)?;
    }
    let Some(&one) = found.first().filter(|&&at| at < code.plain.len()) else { return Ok(stopping()) };
    placed_in(live.slot, name);
    firsts.sort_unstable();
    firsts.dedup();
    let note = (firsts.len() > 1).then(|| {
        let lines: Vec<String> = firsts.iter().map(u32::to_string).collect();
        format!("{} functions have this name, at lines {}: each is probed", firsts.len(), lines.join(", "))
    });
    let site = Site {
        file: name.to_owned(),
        lines: Vec::new(),
        type_name: module.to_owned(),
        method: code.qualified[one].clone(),
        function: code.plain[one].name.clone(),
        first: code.plain[one].first,
    };
    let generates = found.iter().any(|&at| discovery::is_generator(py, code.functions[at].code.borrow()));
    let notes: Vec<String> = note.into_iter().chain(generates.then(|| unseen_ends(py)).flatten()).collect();
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(Outcome::Done { note, site })
}

/// What CPython 3.13.0 to 3.13.9 and 3.14.0 do not tell of generators.
fn unseen_ends(py: Python<'_>) -> Option<String> {
    let version = py.version_info();
    let (major, minor, patch) = (version.major, version.minor, version.patch);
    let silent = (major, minor) == (3, 13) && patch < 10 || (major, minor, patch) == (3, 14, 0);
    silent.then(|| {
        format!(
            "a generator that is closed or dropped while it is suspended ends unseen on CPython {major}.{minor}.{patch}: \
             such an end is no hit"
        )
    })
}

/// The functions with a name. Of a property that can be set they are its getter, which begins at `getter` if that is known.
fn methods(py: Python<'_>, code: &FileCode, wanted: &str, getter: Option<u32>, release: bool) -> Vec<usize> {
    let mut found = discovery::methods(py, code, wanted, release);
    let mut classes = HashSet::new();
    found.retain(|&at| {
        let Some(parent) = code.plain[at].parent else {
            return getter.is_none_or(|line| line == code.plain[at].first);
        };
        let is_class = code.plain[parent].kind == location::FunctionKind::Class;
        !is_class || classes.insert(parent) || !discovery::has_setters(py, code.functions[parent].code.borrow())
    });
    found
}

/// Adds a probe to a code object and arms it. It is added to a place only once.
fn place(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: Ref<'_>,
    read: &Read,
    line: Option<(u32, &[i64])>,
) -> PyResult<()> {
    let old = hooks::site(code);
    let has = |probes: &[Rc<ProbeSite>]| probes.iter().any(|probe| probe.live.slot == live.slot);
    let copies = HANDS.with(|hands| {
        let entry = hands.as_mut()?.entries.iter_mut().find(|entry| entry.live.slot == live.slot)?;
        entry.copies += 1;
        Some(entry.copies)
    });
    if copies.flatten().unwrap_or(0) > MAX_COPIES {
        return Ok(());
    }
    let layout = match &old {
        Some(old) => Rc::clone(&old.layout),
        None => Rc::new(Layout::of(code, discovery::names_at(code, &read.globals))),
    };
    let symbols = frame::resolve(&layout, &live.probe.symbols);
    let symbols = symbols.ok_or_else(|| pyo3::exceptions::PyMemoryError::new_err("out of memory"))?;
    let (at, offsets) = line.unwrap_or((0, &[]));
    let differs = |start: &Start| start.own != at && offsets.contains(&i64::from(start.offset));
    let shown = if read.starts.iter().any(differs) { at } else { 0 };
    let probe = Rc::new(ProbeSite { live: Arc::clone(live), symbols, line: at, shown });
    let before = old.as_ref().map(|old| (!old.lines.is_empty(), !old.methods.is_empty()));
    let (mut lines, mut methods) = old.map_or_else(Default::default, |old| (old.lines.clone(), old.methods.clone()));
    let mut sleeps = false;
    match line {
        None if has(&methods) => return Ok(()),
        None => methods.push(probe),
        Some((_, offsets)) => {
            for &offset in offsets {
                match lines.iter_mut().find(|(at, _)| *at == offset) {
                    Some((_, probes)) if has(probes) => {}
                    Some((_, probes)) => {
                        sleeps |= probes.iter().all(|probe| probe.live.is_disarmed() || probe.live.rests());
                        probes.push(Rc::clone(&probe));
                    }
                    None => {
                        // It may have run, and have been switched off since nobody stood there.
                        sleeps |= before.is_some_and(|(lines, _)| lines);
                        lines.push((offset, vec![Rc::clone(&probe)]));
                    }
                }
            }
        }
    }
    let is_line = line.is_some();
    sleeps |= before.is_none() && HANDS.with(|hands| hands.as_ref().is_some_and(|hands| hands.forked)) == Some(true);
    let change = if sleeps { Change::Restart } else { Change::Keep };
    let armed = refresh(
        py,
        CodeSite { code: Owned::keep(code), layout, lines, methods, loose: Cell::new(1), events: 0 },
        change,
    )?;
    if is_line {
        let runs = FIRST_RUN_NS.saturating_mul(read.instructions as u64);
        // Another thread may have had the core meanwhile: that is not part of the cost.
        let armed = armed.min(MOST_ARMED_NS.saturating_add(runs));
        // Off and on again costs twice what on costs.
        live.set_rearm_cost(u32::try_from((2 * armed).saturating_add(runs)).unwrap_or(u32::MAX));
    }
    Ok(())
}

/// What becomes of places that were switched off.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// They stay so.
    Keep,
    /// They are switched on.
    Restart,
}

/// Puts a site in force and sets the events that it needs; probes that rest need none. Answers the nanoseconds that CPython
/// took to set them.
fn refresh(py: Python<'_>, mut site: CodeSite, change: Change) -> PyResult<u64> {
    let hands = HANDS.with(|hands| {
        let hands = hands.as_ref()?;
        Some((hands.set_local_events.clone_ref(py), hands.probes, hands.events, hands.beside_others))
    });
    let Some((set_local_events, tool, events, beside_others)) = hands.flatten() else { return Ok(0) };
    let code = Owned::keep(site.code.borrow());
    let old = hooks::site(code.borrow());
    let awake = |probe: &Rc<ProbeSite>| !probe.live.rests();
    let lines = site.lines.iter().flat_map(|(_, probes)| probes).any(awake);
    let methods = site.methods.iter().any(awake);
    let had = old.as_deref().map_or(0, |old| old.events);
    let had_methods = had & events.end != 0;
    let at_lines = events.instruction | if beside_others { events.line } else { 0 };
    let events = if lines { at_lines } else { 0 } | if methods { events.start | events.end } else { 0 };
    site.events = events;
    if had_methods && !methods {
        hooks::forget_activations(code.borrow());
    }
    hooks::replace(site);
    let began = SystemClock.monotonic();
    // Another kind of event added to those that are set makes CPython (3.12, 3.13) lose some, if another tool has some too.
    let differs = had != 0 && had != events;
    if (change == Change::Restart || differs) && events != 0 {
        // Off and on again: what was switched off comes back.
        arm(py, &set_local_events, tool, code.borrow(), 0)?;
    }
    arm(py, &set_local_events, tool, code.borrow(), events)?;
    let took = SystemClock.monotonic() - began;
    if had_methods != methods {
        watch_unwind(py)?;
    }
    Ok(took)
}

/// Exceptions that leave a method are seen by a global event, switched on only while a method is probed.
fn watch_unwind(py: Python<'_>) -> PyResult<()> {
    let mine = |live: &LiveProbe| live.probe.is_method() && !live.rests();
    let wanted = hooks::with_probe(mine).iter().any(|site| !site.methods.is_empty());
    let change = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        if hands.watches_unwind == wanted {
            return None;
        }
        hands.watches_unwind = wanted;
        let unwind = if wanted { hands.events.unwind } else { 0 };
        Some((hands.set_events.clone_ref(py), hands.probes, hands.events.shared | unwind))
    });
    match change.flatten() {
        Some((set_events, tool, events)) => set_events.call1(py, (tool, events)).map(drop),
        None => Ok(()),
    }
}

fn remove(py: Python<'_>, live: &Arc<LiveProbe>) -> PyResult<()> {
    let files = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let at = hands.entries.iter().position(|entry| entry.live.slot == live.slot)?;
        let mut files = hands.entries.remove(at).files;
        files.retain(|file| !hands.entries.iter().any(|entry| entry.files.contains(file)));
        Some(files)
    });
    for file in files.flatten().unwrap_or_default() {
        discovery::release(&file);
    }
    unplace(py, live)
}

/// Takes a probe out of all code.
fn unplace(py: Python<'_>, live: &Arc<LiveProbe>) -> PyResult<()> {
    for site in hooks::with_probe(|other| other.slot == live.slot) {
        let others = |probes: &[Rc<ProbeSite>]| -> Vec<Rc<ProbeSite>> {
            probes.iter().filter(|probe| probe.live.slot != live.slot).cloned().collect()
        };
        let lines = site.lines.iter().map(|(offset, probes)| (*offset, others(probes)));
        let lines = lines.filter(|(_, probes)| !probes.is_empty()).collect();
        let methods = others(&site.methods);
        let (code, layout) = (Owned::keep(site.code.borrow()), Rc::clone(&site.layout));
        let left = CodeSite { code, layout, lines, methods, loose: Cell::new(1), events: 0 };
        // A place that nobody stands at any more runs once and is switched off.
        refresh(py, left, Change::Keep)?;
    }
    Ok(())
}

/// Sets the events of probes anew: they rest from now on, or do so no longer. Places that are switched on run once where
/// others of the same code rest, and switch themselves off again.
fn set_again(py: Python<'_>, lives: &[Arc<LiveProbe>], change: Change) -> PyResult<()> {
    for site in hooks::with_probe(|live| lives.iter().any(|other| other.slot == live.slot)) {
        refresh(py, site.same(), change)?;
    }
    Ok(())
}

/// A tool (none: a trace function) has changed what it listens to, in one code object or everywhere: probes on lines are
/// armed anew. Once one listens to lines, they do too. See [`crate::others`].
pub fn others_changed(py: Python<'_>, tool: Option<i64>, code: Option<Ref<'_>>, events: i64) -> PyResult<()> {
    let concerned = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let ours = |tool| tool == i64::from(hands.probes) || hands.discovery.map(i64::from) == Some(tool);
        if tool.is_some_and(ours) {
            return None;
        }
        let lines = tool.is_some() && events & i64::from(hands.events.line) != 0;
        let news = lines && !hands.beside_others;
        hands.beside_others |= lines;
        Some(news)
    });
    let Some(news) = concerned.flatten() else { return Ok(()) };
    let sites = match code {
        Some(code) if !news => hooks::site(code).into_iter().collect(),
        _ => hooks::with_probe(|_| true),
    };
    for site in sites.iter().filter(|site| !site.lines.is_empty()) {
        refresh(py, site.same(), Change::Restart)?;
    }
    Ok(())
}

/// What `status()` says of the hooks themselves.
pub fn describe(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    let tools = HANDS.with(|hands| {
        let hands = hands.as_ref()?;
        let waiting = hands.entries.iter().filter(|entry| entry.told != Told::Placed).count();
        Some((hands.probes, hands.discovery, waiting, hands.entries.len() - waiting, hands.held))
    });
    if let Some((probes, discovery, waiting, placed, held)) = tools.flatten() {
        out.set_item("tool", probes)?;
        out.set_item("discovery_tool", discovery)?;
        out.set_item("waiting", waiting)?;
        out.set_item("placed", placed)?;
        out.set_item("held_nanoseconds", held)?;
        out.set_item("looks", discovery::looks())?;
    }
    out.set_item("panics", crate::guard::panics())?;
    Ok(out)
}

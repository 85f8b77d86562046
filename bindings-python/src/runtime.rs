//! Places and removes hooks: the core's `Runtime` for CPython. Stands on the configuration's walk: the core's worker comes
//! before, [`crate::discovery`], [`crate::statements`] and `sys.monitoring` after.
//!
//! The worker never waits for the GIL. It hands its wishes to the *hands*, a thread of ours that takes the GIL, does them
//! and answers with the ticket. A file that starts to run is looked at in its own thread, before its first line.

use crate::code;
use crate::discovery::{self, Found};
use crate::frame::{self, Layout};
use crate::hooks::{self, CodeSite, ProbeSite};
use crate::names::Held;
use crate::object::{Owned, Ref};
use crate::statements::Opcodes;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use stroboscope_core::host::{Capabilities, FrameText, Install, Language, Outcome, Runtime, Site, StackFrame, Ticket};
use stroboscope_core::probe::location;
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::session::Session;

/// A wish of the worker.
enum Wish {
    Install(Arc<LiveProbe>, Ticket),
    Remove(Arc<LiveProbe>),
    Rearm(Vec<Arc<LiveProbe>>),
    /// Log lines wait.
    Log,
    End,
}

/// A probe whose code is not loaded yet.
struct Waiting {
    live: Arc<LiveProbe>,
    ticket: Ticket,
}

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
    waiting: Vec<Waiting>,
    watches_unwind: bool,
}

/// The numbers of the events.
#[derive(Clone, Copy)]
struct Events {
    instruction: u32,
    start: u32,
    end: u32,
    unwind: u32,
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
        let hands = take_tools(py)?;
        HANDS.with(|slot| *slot = Some(hands));
        let (wishes, orders) = channel();
        let thread = spawn(orders)?;
        Ok(PyRuntime { wishes, thread: Mutex::new(Some(thread)) })
    }

    /// In a forked child: a runtime with hands of its own, on the tools that the parent took. The parent's are left behind.
    pub fn reborn(py: Python<'_>) -> PyResult<Self> {
        HANDS.with(|hands| {
            if let Some(hands) = hands {
                std::mem::forget((hands.session.take(), std::mem::take(&mut hands.waiting)));
            }
        });
        hooks::end();
        watch_unwind(py)?;
        let (wishes, orders) = channel();
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
            Some((hands.discovery?, hands.set_events.clone_ref(py), hands.events.start))
        });
        if let Some((tool, set_events, start)) = discovery.flatten() {
            set_events.call1(py, (tool, start))?;
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
    pub fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.wish(Wish::End);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The hands may wait for the GIL: they must be able to get it.
            py.detach(|| drop(thread.join()));
        }
        let Some(hands) = HANDS.with(Option::take).flatten() else { return Ok(()) };
        let monitoring = py.import("sys")?.getattr("monitoring")?;
        for tool in [Some(hands.probes), hands.discovery].into_iter().flatten() {
            free_tool(&monitoring, tool)?;
        }
        discovery::forget();
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
    fn describe_frame(&self, frame: StackFrame) -> FrameText {
        code::describe(frame.code, frame.position)
    }
}

#[allow(clippy::disallowed_methods, reason = "the hands: the core's worker must not wait for the GIL")]
fn spawn(orders: Receiver<Wish>) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("stroboscope-hands".to_owned()).spawn(move || {
        while let Ok(wish) = orders.recv() {
            if matches!(wish, Wish::End) {
                return;
            }
            // `None`: the interpreter is at its end, and wants nothing of us.
            if Python::try_attach(|py| crate::guard::caught(|| fulfil(py, wish))).is_none() {
                return;
            }
        }
    })
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
    for (name, callback) in hooks::callbacks(py)? {
        let (tool, event) = match (name, discovery) {
            ("DISCOVERY", Some(tool)) => (tool, number("PY_START")?),
            ("DISCOVERY", None) => continue,
            _ => (probes, number(name)?),
        };
        monitoring.call_method1("register_callback", (tool, event, callback))?;
    }
    Ok(Hands {
        set_local_events: monitoring.getattr("set_local_events")?.unbind(),
        set_events: monitoring.getattr("set_events")?.unbind(),
        probes,
        discovery,
        events: Events {
            instruction: number("INSTRUCTION")?,
            start: number("PY_START")?,
            end: number("PY_RETURN")?,
            unwind: number("PY_UNWIND")?,
        },
        opcodes: Arc::new(Opcodes::read(py)?),
        session: None,
        waiting: Vec::new(),
        watches_unwind: false,
    })
}

fn free_tool(monitoring: &Bound<'_, PyAny>, tool: u8) -> PyResult<()> {
    monitoring.call_method1("set_events", (tool, 0))?;
    let numbers = monitoring.getattr("events")?;
    for name in ["INSTRUCTION", "PY_START", "PY_RETURN", "PY_UNWIND"] {
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

fn fulfil(py: Python<'_>, wish: Wish) {
    let result = match wish {
        Wish::Install(live, ticket) => {
            let outcome = install(py, &live, &discovery::everything(py)).unwrap_or_else(|error| refused(&error));
            settle(live, ticket, outcome);
            Ok(())
        }
        Wish::Remove(live) => remove(py, &live),
        Wish::Rearm(lives) => rearm(py, &lives),
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

fn refused(error: &PyErr) -> Outcome {
    Outcome::Refused { kind: "InternalError", reason: format!("CPython refused the hook: {error}") }
}

/// Answers the core, and keeps what waits.
fn settle(live: Arc<LiveProbe>, ticket: Ticket, outcome: Outcome) {
    let session = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        if matches!(outcome, Outcome::Waiting(_)) {
            hands.waiting.push(Waiting { live, ticket });
        }
        hands.session.clone()
    });
    if let Some(session) = session.flatten() {
        session.installed(ticket, outcome);
    }
}

/// A file begins to run: it is noted, and probes that waited for it are placed. Called by the discovery callback.
pub fn module_starts(code: Ref<'_>) {
    discovery::note(code);
    let waiting = HANDS.with(|hands| hands.as_mut().map(|hands| std::mem::take(&mut hands.waiting))).flatten();
    let Some(waiting) = waiting.filter(|waiting| !waiting.is_empty()) else { return };
    // SAFETY: callbacks run with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let found = discovery::noted();
    for Waiting { live, ticket } in waiting {
        let outcome = install(py, &live, &found).unwrap_or_else(|error| refused(&error));
        settle(live, ticket, outcome);
    }
}

/// Places a probe in the code that was found.
fn install(py: Python<'_>, live: &Arc<LiveProbe>, found: &Found) -> PyResult<Outcome> {
    match &live.probe.location {
        Location::Lines { file, lines } => install_lines(py, live, found, file, lines),
        Location::Method { type_name, method, .. } => install_method(py, live, found, type_name, method),
    }
}

fn opcodes() -> Option<Arc<Opcodes>> {
    HANDS.with(|hands| hands.as_ref().map(|hands| Arc::clone(&hands.opcodes))).flatten()
}

fn install_lines(py: Python<'_>, live: &Arc<LiveProbe>, found: &Found, file: &str, lines: &[u32]) -> PyResult<Outcome> {
    let files = found.files();
    let candidates: Vec<_> = files.iter().map(|file| location::Candidate::new(file, false)).collect();
    let chosen = match location::choose(&candidates, file) {
        location::Choice::File(chosen) => chosen,
        location::Choice::Ambiguous(reason) => return Ok(Outcome::Refused { kind: "AmbiguousFile", reason }),
        location::Choice::None => return Ok(Outcome::Waiting(format!("no file like {file} is loaded yet"))),
    };
    let Some(opcodes) = opcodes() else { return Ok(Outcome::Waiting("stroboscope is stopping".to_owned())) };
    let mut site = Site::default();
    let mut notes = Vec::new();
    for index in chosen {
        let name = &files[index];
        let functions = discovery::functions(py, found.codes(name), &opcodes)?;
        let plain: Vec<_> = functions.iter().map(|function| function.plain.clone()).collect();
        for &line in lines {
            let choice = match location::resolve_line(&plain, line, &CAPABILITIES) {
                Ok(choice) => choice,
                Err(reason) => {
                    remove(py, live)?;
                    return Ok(Outcome::Refused { kind: "NoSuchLine", reason });
                }
            };
            for &at in &choice.functions {
                let function = &functions[at];
                let offsets = function.starts.iter().filter(|start| start.line == choice.line);
                let offsets: Vec<i64> = offsets.map(|start| i64::from(start.offset)).collect();
                place(py, live, function.code.borrow(), Some((choice.line, &offsets)))?;
                site.function.clone_from(&function.plain.name);
            }
            site.lines.push(choice.line);
            notes.extend(choice.note);
        }
        site.file.clone_from(name);
    }
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(Outcome::Done { note, site })
}

fn install_method(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    found: &Found,
    type_name: &str,
    method: &str,
) -> PyResult<Outcome> {
    let mut missing = None;
    for (module, wanted) in location::readings(type_name, method) {
        let Some(file) = discovery::file_of_module(py, &module) else { continue };
        let all = discovery::flat(found.codes(&file));
        let names: Vec<String> = all.iter().map(|code| discovery::qualified(code.borrow())).collect();
        let matching = all.iter().zip(&names).filter(|(_, name)| location::is_method(name, &wanted));
        let mut site = None;
        for (code, name) in matching {
            place(py, live, code.borrow(), None)?;
            let function = discovery::bare(code.borrow());
            site = Some(Site {
                file: file.clone(),
                lines: Vec::new(),
                type_name: module.clone(),
                method: name.clone(),
                function,
            });
        }
        if let Some(site) = site {
            return Ok(Outcome::Done { note: None, site });
        }
        let near = location::nearest_names(&wanted, names.iter().map(String::as_str));
        let near = if near.is_empty() { String::new() } else { format!("; nearest: {}", near.join(", ")) };
        missing.get_or_insert(format!("no Python function `{wanted}` in module `{module}`{near}"));
    }
    Ok(match missing {
        Some(reason) => Outcome::Refused { kind: "NoSuchMethod", reason },
        None => Outcome::Waiting(format!("module `{type_name}` is not loaded yet")),
    })
}

/// Adds a probe to a code object and arms it.
fn place(py: Python<'_>, live: &Arc<LiveProbe>, code: Ref<'_>, line: Option<(u32, &[i64])>) -> PyResult<()> {
    let old = hooks::site(code);
    let layout = match &old {
        Some(old) => Rc::clone(&old.layout),
        None => Rc::new(Layout::of(code, discovery::global_names(py, code)?)),
    };
    let symbols = frame::resolve(&layout, &live.probe.symbols);
    let symbols = symbols.ok_or_else(|| pyo3::exceptions::PyMemoryError::new_err("out of memory"))?;
    let probe = Rc::new(ProbeSite { live: Arc::clone(live), symbols, line: line.map_or(0, |(line, _)| line) });
    let (mut lines, mut methods) = old.map_or_else(Default::default, |old| (old.lines.clone(), old.methods.clone()));
    match line {
        None => methods.push(probe),
        Some((_, offsets)) => {
            for &offset in offsets {
                match lines.iter_mut().find(|(at, _)| *at == offset) {
                    Some((_, probes)) => probes.push(Rc::clone(&probe)),
                    None => lines.push((offset, vec![Rc::clone(&probe)])),
                }
            }
        }
    }
    refresh(py, CodeSite { code: Owned::keep(code), layout, lines, methods })
}

/// Puts a site in force and sets the events that it needs.
fn refresh(py: Python<'_>, site: CodeSite) -> PyResult<()> {
    let Some((set_local_events, tool, events)) = HANDS
        .with(|hands| hands.as_ref().map(|hands| (hands.set_local_events.clone_ref(py), hands.probes, hands.events)))
        .flatten()
    else {
        return Ok(());
    };
    let code = Owned::keep(site.code.borrow());
    let lines = if site.lines.is_empty() { 0 } else { events.instruction };
    let methods = if site.methods.is_empty() { 0 } else { events.start | events.end };
    hooks::replace(site);
    // Off and on again: what was disabled before comes back.
    arm(py, &set_local_events, tool, code.borrow(), 0)?;
    if lines | methods != 0 {
        arm(py, &set_local_events, tool, code.borrow(), lines | methods)?;
    }
    watch_unwind(py)
}

/// Exceptions that leave a method are seen by a global event, switched on only while a method is probed.
fn watch_unwind(py: Python<'_>) -> PyResult<()> {
    let wanted = hooks::with_probe(|live| live.probe.is_method()).iter().any(|site| !site.methods.is_empty());
    let change = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        if hands.watches_unwind == wanted {
            return None;
        }
        hands.watches_unwind = wanted;
        Some((hands.set_events.clone_ref(py), hands.probes, if wanted { hands.events.unwind } else { 0 }))
    });
    match change.flatten() {
        Some((set_events, tool, events)) => set_events.call1(py, (tool, events)).map(drop),
        None => Ok(()),
    }
}

fn remove(py: Python<'_>, live: &Arc<LiveProbe>) -> PyResult<()> {
    HANDS.with(|hands| {
        if let Some(hands) = hands {
            hands.waiting.retain(|waiting| waiting.live.slot != live.slot);
        }
    });
    for site in hooks::with_probe(|other| other.slot == live.slot) {
        let others = |probes: &[Rc<ProbeSite>]| -> Vec<Rc<ProbeSite>> {
            probes.iter().filter(|probe| probe.live.slot != live.slot).cloned().collect()
        };
        let lines = site.lines.iter().map(|(offset, probes)| (*offset, others(probes)));
        let lines = lines.filter(|(_, probes)| !probes.is_empty()).collect();
        let methods = others(&site.methods);
        refresh(
            py,
            CodeSite { code: Owned::keep(site.code.borrow()), layout: Rc::clone(&site.layout), lines, methods },
        )?;
    }
    Ok(())
}

fn rearm(py: Python<'_>, lives: &[Arc<LiveProbe>]) -> PyResult<()> {
    for site in hooks::with_probe(|live| lives.iter().any(|other| other.slot == live.slot)) {
        let same = CodeSite {
            code: Owned::keep(site.code.borrow()),
            layout: Rc::clone(&site.layout),
            lines: site.lines.clone(),
            methods: site.methods.clone(),
        };
        refresh(py, same)?;
    }
    Ok(())
}

/// What `status()` says of the hooks themselves.
pub fn describe(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    let tools =
        HANDS.with(|hands| hands.as_ref().map(|hands| (hands.probes, hands.discovery, hands.waiting.len()))).flatten();
    if let Some((probes, discovery, waiting)) = tools {
        out.set_item("tool", probes)?;
        out.set_item("discovery_tool", discovery)?;
        out.set_item("waiting", waiting)?;
    }
    out.set_item("panics", crate::guard::panics())?;
    Ok(out)
}

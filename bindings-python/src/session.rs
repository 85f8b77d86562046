//! What Python can ask of the native module: start, stop, probes, status. Before the walk of a configuration; the core's
//! session comes after.

use crate::guard::{self, Guarded};
use crate::runtime::{self, PyRuntime};
use crate::{exit, fork, hooks, identity, names, selftest, ticks};
use log::LevelFilter;
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ThreadId;
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::config::{self, Settings, Spelling};
use stroboscope_core::control::file;
use stroboscope_core::control::memory::Memory;
use stroboscope_core::control::place::Place;
use stroboscope_core::control::terminal;
use stroboscope_core::explain;
use stroboscope_core::fault;
use stroboscope_core::probe::wire;
use stroboscope_core::record::names::Tables;
use stroboscope_core::sender::SenderCounters;
use stroboscope_core::session::{MetricStats, PLACEMENT, Parts, ProbeReport, Session, SessionStats};
use stroboscope_process::ending::{self, DELIVERY, Ending};
use stroboscope_process::logging::remark;
use stroboscope_process::screen::{self, Streams};
use stroboscope_process::signal::Watch;
use stroboscope_process::sinks::{self, Wanted};
use stroboscope_process::tally::Tally;
use stroboscope_process::threads::Masked;
use stroboscope_process::{hangs, logging, outlet, turns};

struct Running {
    ending: Ending,
    runtime: Arc<PyRuntime>,
    memory: Memory,
    watch: Watch,
    runtime_id: String,
    pid: u32,
}

/// The life of the session, of which a process has one at a time. Starting and ending let go of the GIL: a state of their own
/// keeps other threads, and handlers of signals, from doing the same meanwhile.
enum Now {
    /// Not started, or stopped: then what it came to can still be read.
    Idle(Option<Box<Sums>>),
    /// Started, and switched off by a setting: what is asked of it is accepted and does nothing.
    Off,
    /// A thread starts it.
    Starting(Busy),
    On(Box<Running>),
    /// A thread ends it: what it does can still be read.
    Ending(Busy, Arc<Session>),
}

/// Who starts or ends the session.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Busy {
    pid: u32,
    thread: ThreadId,
}

impl Busy {
    fn me() -> Busy {
        Busy { pid: std::process::id(), thread: std::thread::current().id() }
    }
}

/// What a session that has ended came to.
struct Sums {
    stats: SessionStats,
    reports: Vec<ProbeReport>,
    /// True if all that was captured has arrived.
    delivered: bool,
}

static NOW: names::Held<Now> = names::Held::new(Now::Idle(None));

fn not_started() -> PyErr {
    PyRuntimeError::new_err("stroboscope is not started")
}

/// The state while a thread starts or ends the session. However that ends, the next state is set.
struct Turn {
    next: Option<Now>,
}

impl Turn {
    /// Takes the turn; `next` is the state if nothing else comes of it.
    fn begin(now: &mut Now, during: Now) -> Turn {
        Turn { next: Some(std::mem::replace(now, during)) }
    }

    /// The turn is over.
    fn end(mut self, next: Now) {
        self.next = Some(next);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.next.take();
        // What was there before is nothing of weight, and dropped outside of the borrow.
        let before = NOW.with(|now| next.map(|next| std::mem::replace(now, next)));
        drop(before);
    }
}

/// Asks the running session; `None` if it is switched off.
fn running<R>(py: Python<'_>, ask: impl FnOnce(&Running) -> R) -> PyResult<Option<R>> {
    crate::logging::drain(py);
    follow_fork(py);
    let answer = NOW.with(|now| match now {
        Now::Idle(_) | Now::Starting(_) => Err(not_started()),
        Now::Ending(..) => Err(PyRuntimeError::new_err("stroboscope is being stopped")),
        Now::Off => Ok(None),
        Now::On(running) => Ok(Some(ask(running))),
    });
    answer.unwrap_or_else(|| Err(not_started()))
}

/// The session whose state can be read: the one that runs, or is just being ended.
fn readable(py: Python<'_>) -> PyResult<Option<Arc<Session>>> {
    let ending = NOW.with(|now| if let Now::Ending(_, session) = now { Some(Arc::clone(session)) } else { None });
    ending.flatten().map_or_else(|| session(py), |session| Ok(Some(session)))
}

/// Asks what the session that has ended came to; `None` if none has, or another one runs.
fn ended<R>(ask: impl FnOnce(&Sums) -> R) -> Option<R> {
    let answer = NOW.with(|now| if let Now::Idle(Some(sums)) = now { Some(ask(sums)) } else { None });
    answer.flatten()
}

/// True between start and stop.
pub fn is_running() -> bool {
    NOW.with(|now| matches!(now, Now::On(_))).unwrap_or(false)
}

fn session(py: Python<'_>) -> PyResult<Option<Arc<Session>>> {
    running(py, |running| Arc::clone(&running.ending.session))
}

/// The text of what the program gives for a setting, found to be of this kind ([`config::argument`]).
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
pub fn setting(name: &str, kind: &str, parts: Vec<String>) -> PyResult<String> {
    config::argument(name, kind, &parts, Spelling::Snake).map_err(PyTypeError::new_err)
}

/// Starts. `options` are settings by their option names; `keep` keeps events in memory for [`_test_events`]; `by` is who
/// asks: the `program`, the `preload`, or the `command`, and then `first` tells whether this is the process that was meant, and
/// `tally` where that one adds up what the others counted, `streams` those that the command was given. `mute`: Python started
/// without standard error.
#[pyfunction]
#[pyo3(signature = (options, keep = false, by = "program", first = true, no_color = false, mute = false, tally = None, streams = None))]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
#[allow(clippy::fn_params_excessive_bools, clippy::too_many_arguments, reason = "facts, given by name in one place")]
pub fn start(
    py: Python<'_>,
    options: Vec<(String, String)>,
    keep: bool,
    by: &str,
    first: bool,
    no_color: bool,
    mute: bool,
    tally: Option<(u32, i32, String)>,
    streams: Option<Streams>,
) -> PyResult<Vec<String>> {
    follow_fork(py);
    let turn = NOW.with(|now| match now {
        Now::Idle(_) | Now::Off => Ok(Turn::begin(now, Now::Starting(Busy::me()))),
        Now::On(_) => Err("stroboscope is started already"),
        Now::Starting(_) => Err("stroboscope is started already: another start() is under way"),
        Now::Ending(..) => Err("stroboscope is still being stopped: start it again when stop() has returned"),
    });
    let turn = turn.unwrap_or(Err("stroboscope is started already")).map_err(PyRuntimeError::new_err)?;
    logging::begin(LevelFilter::Info);
    let command = by == "command";
    if let Some(streams) = streams {
        screen::are(streams);
    }
    // Below the command it is known what people look at, and reached although this process was given none.
    let mute = screen::has_error().map_or(mute, |has| !has);
    logging::mute(mute);
    // The preload speaks before the program does, and nobody sees what it returns.
    logging::speak(by != "program");
    let (settings, read) = Settings::from_environment(&options, Spelling::Snake);
    let default = format!("the default is used: {}", runtime::CAPABILITIES.capture_timeout_ms);
    let read = read.into_iter().map(|line| line.replace(config::RUNTIME_DEFAULT, &default));
    let mut lines: Vec<String> = read.collect();
    if let Some(reason) = settings.off(by != "preload", identity::vendor_debugger_runs(py)) {
        lines.push(format!("off in this process: {reason}"));
        remark(&lines);
        turn.end(Now::Off);
        return Ok(lines);
    }
    lines.extend(selftest::remarks(py));
    let place = Place { command, preload: by == "preload", first, no_color, keep, mute };
    let mut wanted = wanted(py, settings, place, &mut lines)?;
    wanted.share(tally.map(|(pid, descriptor, name)| Tally { pid, descriptor, name }));
    hangs::share();
    let probes = wanted.settings.probe_file.clone();
    watch(py)?;
    let running = begin(py, wanted, None, PyRuntime::start, &mut lines).inspect_err(|_| exit::leave_alone())?;
    let session = Arc::clone(&running.ending.session);
    turn.end(Now::On(Box::new(running)));
    if let Some(path) = probes {
        match file::read(&path) {
            Ok(file) => {
                lines.extend(file.log);
                py.detach(|| {
                    session.apply(file.probes);
                    wait_for_placement(&session, None);
                });
            }
            Err(error) => lines.push(error.text),
        }
    }
    remark(&lines);
    logging::speak(command);
    crate::logging::drain(py);
    Ok(lines)
}

/// Looks around once. What is not as it should be is added to the remarks.
fn wanted(py: Python<'_>, settings: Settings, place: Place, remarks: &mut Vec<String>) -> PyResult<Wanted> {
    let now = py.import("time")?.call_method0("localtime")?;
    let utc_offset = now.getattr("tm_gmtoff")?.extract()?;
    // A folder that is gone shortens nothing.
    let folder: String =
        py.import("os")?.call_method0("getcwd").and_then(|folder| folder.extract()).unwrap_or_default();
    Ok(Wanted::new(settings, place, utc_offset, &folder, remarks))
}

/// What is there once in a process, however often it starts: the hooks of fork and of `os._exit`.
fn watch(py: Python<'_>) -> PyResult<()> {
    static FORK: AtomicBool = AtomicBool::new(false);
    if !FORK.swap(true, Ordering::Relaxed) {
        fork::watch(py, wrap_pyfunction!(_after_fork, py)?.into_any())?;
        hooks::watch_forks();
    }
    exit::watch(py)
}

/// Builds and starts a session; `make` gives the runtime.
fn begin(
    py: Python<'_>,
    wanted: Wanted,
    parent: Option<String>,
    make: impl FnOnce(Python<'_>) -> PyResult<PyRuntime>,
    lines: &mut Vec<String>,
) -> PyResult<Running> {
    let settings = wanted.settings.clone();
    let redaction = Redaction::new(
        &settings.redacted_identifiers,
        &settings.redaction_excluded_identifiers,
        &settings.redacted_types,
    );
    let tables = Arc::new(Tables::new(Arc::new(redaction)));
    let memory = Memory::new();
    let identity = identity::find(py, &settings, parent)?;
    let runtime_id = identity.runtime_id.clone();
    let counters = Arc::new(SenderCounters::default());
    let client = concat!("stroboscope-python/", env!("CARGO_PKG_VERSION"));
    let sender = sinks::upload(&wanted, &identity, client, &counters, lines);
    names::use_tables(Some(Arc::clone(&tables)));
    hooks::explain_all(settings.explain);
    let masked = Masked::all();
    let runtime = Arc::new(make(py).inspect_err(|_| names::use_tables(None))?);
    let waker = runtime.waker();
    logging::wake_with(Some(Box::new(move || waker.wake())));
    let datagrams = sinks::metrics(&wanted, &identity, ticks::clock());
    let parts = Parts {
        identity,
        settings,
        runtime: Arc::clone(&runtime) as _,
        clock: ticks::clock(),
        sinks: sinks::open(&wanted, &memory, lines),
        sender,
        datagrams,
        tables,
    };
    let session = match Session::start(parts) {
        Ok(session) => Arc::new(session),
        Err(error) => return Err(undo(py, error.into(), None, &runtime)),
    };
    drop(masked);
    // Its worker has its own name as it answers (see `threads::until_named`).
    py.detach(|| session.catch_up());
    if let Err(error) = PyRuntime::connect(py, Arc::clone(&session)) {
        return Err(undo(py, error, Some(&session), &runtime));
    }
    let ending = Ending { session, wanted, counters, places: Arc::default() };
    let watch = Watch::begin({
        let ending = ending.clone();
        move || ending.last_words()
    });
    match watch {
        Ok(watch) => Ok(Running { ending, runtime, memory, watch, runtime_id, pid: std::process::id() }),
        Err(error) => Err(undo(py, error.into(), Some(&ending.session), &runtime)),
    }
}

/// A start has failed half way: nothing of it stays. Answers why it failed; what fails on the way back has the same cause.
fn undo(py: Python<'_>, error: PyErr, session: Option<&Session>, runtime: &PyRuntime) -> PyErr {
    let back = PyRuntime::silence(py);
    if let Some(session) = session {
        py.detach(|| session.stop(Duration::ZERO));
    }
    logging::wake_with(None);
    let back = back.and(runtime.stop(py, true));
    names::use_tables(None);
    if let Err(back) = back {
        log::warn!(target: "stroboscope", "a start that failed could not be undone: {back}");
    }
    error
}

/// Calls a Python function of ours, in which no probe hits.
#[pyfunction]
pub fn unseen(function: &Bound<'_, PyAny>, argument: &Bound<'_, PyAny>) -> PyResult<String> {
    let call = || function.call1((argument,))?.extract::<String>();
    match guard::guarded(call) {
        Guarded::Done(text) => text,
        // Within a hit nothing else hits.
        Guarded::Nested => call(),
        Guarded::Panicked => Err(PyRuntimeError::new_err("our own code failed as it read the definition")),
    }
}

/// Waits until it is known what becomes of a probe, or of all: placed, waiting, or refused.
fn wait_for_placement(session: &Session, id: Option<&str>) {
    const STEP: Duration = Duration::from_micros(500);
    let mut left = PLACEMENT;
    while !left.is_zero() {
        if session.is_settled(id) {
            return;
        }
        std::thread::sleep(STEP);
        left = left.saturating_sub(STEP);
    }
}

/// Begins anew in a forked child. Called by `os.fork` in the child, before it returns there.
#[pyfunction]
pub fn _after_fork(py: Python<'_>) {
    // Looked at before anything that could be locked: the child of a program that is not watched is left alone.
    follow_fork(py);
}

/// In a forked child: the parent's session is left behind as it is, and one with the same probes begins, with empty rings,
/// a runtime id, threads and connections of its own. A fork behind Python's back is followed at its first hit, or as new
/// code starts.
pub fn follow_fork(py: Python<'_>) {
    hooks::fork_is_known();
    outlet::after_fork_in_child();
    let pid = std::process::id();
    let old = NOW.with(|now| {
        let is_old = match now {
            Now::On(running) => running.pid != pid,
            Now::Starting(busy) | Now::Ending(busy, _) => busy.pid != pid,
            Now::Idle(_) | Now::Off => false,
        };
        is_old.then(|| std::mem::replace(now, Now::Idle(None)))
    });
    let old = match old.flatten() {
        Some(Now::On(old)) => old,
        Some(half) => return leave_half(py, half),
        None => return,
    };
    fork::clear(py);
    logging::renew();
    let (heritage, origins) = (old.ending.session.heritage(), old.ending.session.origins());
    let (wanted, parent) = (old.ending.wanted.below(), old.runtime_id.clone());
    sinks::release();
    // Threads that are not here may have held any lock in it: nothing of it is locked, joined, closed or freed.
    std::mem::forget(old);
    let mut lines = Vec::new();
    match begin(py, wanted, Some(parent), PyRuntime::reborn, &mut lines) {
        Ok(running) => {
            let session = Arc::clone(&running.ending.session);
            NOW.with(|now| *now = Now::On(Box::new(running)));
            py.detach(|| {
                session.inherit(origins);
                session.adopt(&heritage);
                wait_for_placement(&session, None);
            });
        }
        Err(error) => lines.push(format!("no probes in this forked process: {error}")),
    }
    remark(&lines);
}

/// A child that was forked while another thread started or ended the session: that thread is not here. The child has no
/// session, and may start one.
fn leave_half(py: Python<'_>, half: Now) {
    fork::clear(py);
    logging::renew();
    // What is in it may be locked for ever.
    std::mem::forget(half);
    exit::leave_alone();
    if let Err(error) = PyRuntime::leave_behind(py) {
        log::warn!(target: "stroboscope", "the ids of sys.monitoring could not be given back in this forked process: {error}");
    }
    names::use_tables(None);
}

/// Stops, and leaves the interpreter as it was. False if something captured could not be handed over in time. While another
/// thread stops it, this one waits for that: at most as long. `at_exit`: the program is about to end, and a hanging Agent
/// is waited for as at every end.
#[pyfunction]
#[pyo3(signature = (timeout = 2.0, at_exit = false))]
pub fn stop(py: Python<'_>, timeout: f64, at_exit: bool) -> PyResult<bool> {
    let limit = if at_exit { DELIVERY } else { limit(timeout)? };
    let ended = match end(py, limit, Ends { exits: at_exit, goes_on: true }) {
        End::Here(ended) => ended,
        End::Elsewhere(delivered) => return Ok(delivered),
    };
    // Who typed the command wants to know all the same.
    py.detach(|| ended.ending.farewell(0, None));
    Ok(ended.delivered)
}

/// What came of an end.
enum End {
    /// It was ended here.
    Here(Box<Ended>),
    /// There was nothing to be ended, or another thread did it: true if everything has arrived.
    Elsewhere(bool),
}

/// What ends with the session.
#[derive(Clone, Copy)]
struct Ends {
    /// The program does, and wants to wait as little as any.
    exits: bool,
    /// Code of the program may still run: all is left as it was.
    goes_on: bool,
}

/// Ends the session, within `limit`.
fn end(py: Python<'_>, limit: Duration, ends: Ends) -> End {
    const STEP: Duration = Duration::from_millis(1);
    follow_fork(py);
    let mut left = limit;
    let mut was_busy = false;
    loop {
        let busy = NOW.with(|now| match now {
            Now::Starting(busy) | Now::Ending(busy, _) => Some(*busy),
            _ => None,
        });
        let Some(busy) = busy.flatten() else { break };
        // In a handler of a signal that came meanwhile: waiting would keep it from going on.
        if left.is_zero() || busy == Busy::me() {
            return End::Elsewhere(false);
        }
        was_busy = true;
        py.detach(|| std::thread::sleep(STEP));
        left = left.saturating_sub(STEP);
    }
    let taken = NOW.with(|now| match std::mem::replace(now, Now::Idle(None)) {
        Now::On(running) => {
            *now = Now::Ending(Busy::me(), Arc::clone(&running.ending.session));
            Ok((Turn { next: Some(Now::Idle(None)) }, running))
        }
        Now::Off => Err(true),
        Now::Idle(sums) => {
            let delivered = !was_busy || sums.as_ref().is_none_or(|sums| sums.delivered);
            *now = Now::Idle(sums);
            Err(delivered)
        }
        busy => {
            *now = busy;
            Err(false)
        }
    });
    match taken.unwrap_or(Err(true)) {
        Ok((turn, running)) => end_this(py, turn, *running, limit, ends),
        Err(delivered) => End::Elsewhere(delivered),
    }
}

fn end_this(py: Python<'_>, turn: Turn, running: Running, limit: Duration, ends: Ends) -> End {
    // What is said at the end of what was not found shall be true at the end.
    runtime::review(py, true);
    py.detach(|| running.ending.note_places());
    let silenced = PyRuntime::silence(py);
    let delivered = py.detach(|| {
        let ending = &running.ending;
        if ends.exits { ending.at_the_end(|limit| ending.session.stop(limit)) } else { ending.stop(limit) }
    });
    exit::leave_alone();
    let Running { ending, runtime, watch, .. } = running;
    py.detach(|| watch.stop());
    let sums = Sums { stats: ending.session.stats(), reports: ending.session.status(), delivered };
    if let Some(lost) = ending::losses(&sums.stats, &ending.wanted) {
        remark(&[lost]);
    }
    crate::logging::drain(py);
    logging::wake_with(None);
    let stopped = runtime.stop(py, ends.goes_on);
    names::use_tables(None);
    if ends.goes_on && !ending.wanted.place.command {
        turns::give_up();
    }
    turn.end(Now::Idle(Some(Box::new(sums))));
    // What was caught is told all the same.
    if let Err(error) = silenced.and(stopped) {
        log::error!(target: "stroboscope", "could not end in order: {error}");
        crate::logging::drain(py);
    }
    End::Here(Box::new(Ended { ending, delivered }))
}

/// Ends as the program does, and says what each probe did.
#[pyfunction]
pub fn finish(py: Python<'_>) {
    if let End::Here(ended) = end(py, DELIVERY, Ends { exits: true, goes_on: false }) {
        py.detach(|| ended.ending.farewell(0, None));
    }
}

/// Where this run adds up its counts: for processes that this one starts.
#[pyfunction]
pub fn tally(py: Python<'_>) -> PyResult<Option<(u32, i32, String)>> {
    let tally = running(py, |running| running.ending.wanted.tally.clone())?.flatten();
    Ok(tally.map(|Tally { pid, descriptor, name }| (pid, descriptor, name)))
}

/// What is left of a session that has ended.
struct Ended {
    ending: Ending,
    delivered: bool,
}

/// How long something is held back until what was caught before it is shown.
const SHOW: Duration = Duration::from_millis(200);

/// The session of this process, if it shows events.
fn that_shows() -> Option<Arc<Session>> {
    running_here().filter(|ending| ending.wanted.shows()).map(|ending| ending.session)
}

/// Before a traceback: what was caught before it is shown, then it stands in one piece.
pub fn before_traceback(py: Python<'_>) {
    if let Some(session) = that_shows() {
        py.detach(|| session.flush(SHOW));
    }
    sinks::hold(true);
}

/// Before the program puts another descriptor in the place of its standard error. Where nobody sees it any more then, what
/// was caught so far is shown, and that nothing follows.
pub fn before_standard_error_goes(py: Python<'_>, other: i32) {
    let Some(session) = that_shows() else { return };
    py.detach(|| {
        if screen::ends_with(other) {
            session.flush(SHOW);
            logging::write(
                "stroboscope: the program leaves this standard error; what it catches from here on, and the end, are not \
                 shown: write events to a file (--json FILE), or name an Agent",
                SHOW,
            );
        }
    });
}

/// After it.
pub fn after_traceback() {
    sinks::hold(false);
}

/// The session of this process, not of the one that it was forked from.
fn running_here() -> Option<Ending> {
    let pid = std::process::id();
    let running = NOW.with(|now| match now {
        Now::On(running) if running.pid == pid => Some(running.ending.clone()),
        _ => None,
    });
    running.flatten()
}

/// Before this process becomes another program, if it can: what was captured leaves it now or never. `deaf`: why no probe
/// gets into that one, if so.
pub fn deliver_and_go_on(py: Python<'_>, deaf: Option<String>) {
    if let Some(ending) = running_here() {
        py.detach(|| {
            ending.note_places();
            let arrived = ending.at_the_end(|limit| ending.session.flush(limit));
            let waiting = if arrived { 0 } else { ending.session.on_their_way() };
            ending.farewell(waiting, deaf);
            ending.wanted.patience.goes_on();
        });
    }
}

/// Before `os._exit`: what was captured leaves the process now or never.
pub fn deliver(py: Python<'_>) {
    if let Some(ending) = running_here() {
        runtime::review(py, true);
        py.detach(|| ending.note_places());
        hooks::end();
        py.detach(|| ending.last_words());
    }
}

fn limit(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        let seconds = if seconds.is_nan() { "nan".to_owned() } else { seconds.to_string() };
        PyValueError::new_err(format!("timeout must be a number of seconds, 0 or more and finite; got {seconds}"))
    })
}

/// Puts a probe in force, given as the JSON text of a definition. Returns its id once it is known what becomes of it:
/// placed, waiting, or refused, or after a second.
#[pyfunction]
pub fn add_probe(py: Python<'_>, definition: &str) -> PyResult<String> {
    let session = session(py);
    let id = py.detach(|| {
        let read = wire::read_definition(definition, None);
        let id = match &read {
            Ok(definition) => definition.id.clone(),
            Err(rejected) => rejected.id.clone().ok_or_else(|| rejected.text.clone())?,
        };
        if let Ok(Some(session)) = &session {
            session.apply(vec![read]);
            wait_for_placement(session, Some(&id));
        }
        Ok(id)
    });
    let id = id.map_err(PyValueError::new_err::<String>)?;
    session.map(|_| id)
}

/// Removes a probe. False if there is none with this id.
#[pyfunction]
pub fn remove_probe(py: Python<'_>, id: &str) -> PyResult<bool> {
    let Some(session) = session(py)? else { return Ok(false) };
    Ok(py.detach(|| session.remove(id)))
}

/// Waits until what was captured has left the process. Signals are handled meanwhile.
#[pyfunction]
#[pyo3(signature = (timeout = 2.0))]
pub fn flush(py: Python<'_>, timeout: f64) -> PyResult<bool> {
    let limit = limit(timeout)?;
    let Some(session) = session(py)? else { return Ok(true) };
    let mut raised = None;
    let arrived = py.detach(|| session.flush_while(limit, || signals_let_go_on(&mut raised)));
    raised.map_or(Ok(arrived), Err)
}

/// Runs the handlers of signals that came while a thread waits, as every call of Python's that waits does. False if one of
/// them raised.
fn signals_let_go_on(raised: &mut Option<PyErr>) -> bool {
    // At the interpreter's end nobody handles any.
    let handled = Python::try_attach(|py| {
        *raised = py.check_signals().err();
        raised.is_none()
    });
    handled.unwrap_or(false)
}

/// What the probes are doing; after `stop()`, what they did.
#[pyfunction]
pub fn status(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    if let Some(reports) = ended(|sums| sums.reports.clone()) {
        return reports.iter().map(|report| describe(py, report)).collect();
    }
    let Some(session) = readable(py)? else { return Ok(Vec::new()) };
    if is_running() {
        runtime::review(py, false);
    }
    let reports = py.detach(|| {
        // What was placed a moment ago is told by the worker, which may not have heard of it yet.
        session.catch_up();
        session.status()
    });
    reports.iter().map(|report| describe(py, report)).collect()
}

/// Why a probe did or did not fire, in sentences; after `stop()`, what became of its hits. `None` if there is none with this
/// id, or all is switched off.
pub fn explanation(py: Python<'_>, id: &str) -> PyResult<Option<Vec<String>>> {
    let kept = |sums: &Sums| sums.reports.iter().find(|report| report.id == id).cloned();
    if let Some(report) = ended(kept) {
        return Ok(report.map(|report| explain::probe(&report, None, &runtime::CAPABILITIES)));
    }
    let Some(session) = readable(py)? else { return Ok(None) };
    if is_running() {
        runtime::review(py, false);
    }
    Ok(py.detach(|| {
        session.catch_up();
        session.explain(id)
    }))
}

/// What became of hits, events and uploads, of all probes together; after `stop()`, what came of them in the end.
#[pyfunction]
pub fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let stats = match ended(|sums| sums.stats.clone()) {
        Some(stats) => stats,
        None => readable(py)?.map(|session| py.detach(|| session.stats())).unwrap_or_default(),
    };
    let out = PyDict::new(py);
    out.set_item("hits", stats.hits)?;
    out.set_item("emitted", stats.emitted)?;
    out.set_item("pending", stats.pending)?;
    out.set_item("dropped", counts(py, &stats.dropped)?)?;
    out.set_item("queued_bytes", stats.queued_bytes)?;
    out.set_item("unreadable", stats.unreadable)?;
    out.set_item("measured", stats.measured)?;
    out.set_item("metrics", stats.metrics.map(|metrics| sent_metrics(py, &metrics)).transpose()?)?;
    let Some(uploads) = stats.uploads else {
        out.set_item("uploads", py.None())?;
        return Ok(out);
    };
    let sent = PyDict::new(py);
    sent.set_item("events", uploads.events)?;
    sent.set_item("statuses", uploads.statuses)?;
    sent.set_item("batches", uploads.batches)?;
    sent.set_item("bytes", uploads.bytes)?;
    sent.set_item("retries", uploads.retries)?;
    sent.set_item("lost", counts(py, &uploads.lost)?)?;
    sent.set_item("statuses_lost", uploads.statuses_lost)?;
    sent.set_item("symbols", uploads.symbols)?;
    let seconds = uploads.since_success.map(|time| Duration::from_nanos(time).as_secs_f64());
    sent.set_item("seconds_since_success", seconds)?;
    out.set_item("uploads", sent)?;
    Ok(out)
}

fn sent_metrics<'py>(py: Python<'py>, metrics: &MetricStats) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("sent", metrics.sent)?;
    out.set_item("datagrams", metrics.datagrams)?;
    out.set_item("lost", metrics.lost)?;
    Ok(out)
}

fn counts<'py>(py: Python<'py>, counts: &[(&'static str, u64)]) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    for (reason, count) in counts {
        out.set_item(reason, count)?;
    }
    Ok(out)
}

/// What the hooks are doing: tool ids, probes that wait, panics caught.
#[pyfunction]
pub fn _test_hooks(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    runtime::describe(py)
}

fn describe<'py>(py: Python<'py>, report: &ProbeReport) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("id", &report.id)?;
    out.set_item("version", report.version)?;
    out.set_item("state", format!("{:?}", report.state).to_lowercase())?;
    out.set_item("reason", &report.reason)?;
    if let Some(site) = &report.site {
        out.set_item("file", &site.file)?;
        // Of a method: where it begins.
        let first = [site.first];
        let lines = if site.lines.is_empty() && site.first > 0 { &first[..] } else { &site.lines };
        out.set_item("lines", lines)?;
        out.set_item("type", &site.type_name)?;
        out.set_item("method", &site.method)?;
    }
    out.set_item("hits", report.hits)?;
    out.set_item("hits_exact", report.hits_exact)?;
    out.set_item("rejected", report.rejected)?;
    out.set_item("failed", report.failed)?;
    out.set_item("failure", terminal::why(report.failed, &report.failures))?;
    out.set_item("emitted", report.emitted)?;
    if let Some(measured) = report.measured {
        out.set_item("measured", measured)?;
    }
    if let Some(traced) = report.traced {
        out.set_item("traced", traced)?;
    }
    out.set_item("pending", report.pending)?;
    out.set_item("dropped", counts(py, &report.dropped)?)?;
    out.set_item("last_reject", report.last_reject)?;
    out.set_item("nanoseconds_per_hit", report.nanoseconds_per_hit)?;
    out.set_item("nanoseconds_p50", report.capture_times.map(|(half, _)| half))?;
    out.set_item("nanoseconds_p99", report.capture_times.map(|(_, most)| most))?;
    out.set_item("queued_bytes", report.queued_bytes)?;
    out.set_item("uploaded", report.uploaded)?;
    let seconds = report.since_upload.map(|time| Duration::from_nanos(time).as_secs_f64());
    out.set_item("seconds_since_upload", seconds)?;
    out.set_item("disarmed", report.disarmed)?;
    let notes: Vec<String> = report.note.iter().cloned().chain(selftest::note()).collect();
    if !notes.is_empty() {
        out.set_item("note", notes.join("; "))?;
    }
    Ok(out)
}

/// The events kept so far, as JSON.
#[pyfunction]
pub fn _test_events(py: Python<'_>) -> PyResult<Vec<String>> {
    running(py, |running| running.memory.events()).map(Option::unwrap_or_default)
}

/// Takes and forgets what hits have queued; from the first call on nothing is rendered. For benchmarks.
#[pyfunction]
pub fn _test_drain(py: Python<'_>) -> PyResult<usize> {
    let Some(session) = session(py)? else { return Ok(0) };
    Ok(py.detach(|| session.discard()))
}

/// What became of uploads, by reason, and who this process is to the Agent.
#[pyfunction]
pub fn _test_upload(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    let known = running(py, |running| (Arc::clone(&running.ending.counters), running.runtime_id.clone()))?;
    if let Some((counters, runtime_id)) = known {
        out.set_item("runtime_id", runtime_id)?;
        out.set_item("sent", counters.events_sent.load(Ordering::Relaxed))?;
        for (reason, count) in counters.drops() {
            out.set_item(reason, count)?;
        }
    }
    Ok(out)
}

/// From now on hits never switch their hooks off while their gate is empty (`wanted`), or do again. For benchmarks.
#[pyfunction]
pub fn _test_keep_armed(wanted: bool) {
    hooks::keep_armed(wanted);
}

/// Makes our own code panic once at a place, so that tests can show that the program goes on.
#[pyfunction]
pub fn _test_panic(place: &str) -> PyResult<()> {
    let place = fault::Place::named(place).ok_or_else(|| PyValueError::new_err(format!("no place '{place}'")))?;
    fault::ask(place);
    Ok(())
}

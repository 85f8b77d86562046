//! What JavaScript can ask of the addon: start, stop, probes, status. Before the walk of a configuration; the core's session
//! comes after.

use crate::hands::Hands;
use crate::identity::{self, Facts};
use crate::runtime::{self, NodeRuntime};
use crate::{cache, error, guard, placing, realms, watch};
use log::LevelFilter;
use napi::bindgen_prelude::{AsyncTask, Function, Int32Array};
use napi::{Env, Task};
use napi_derive::napi;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;
use stroboscope_core::budget::placing::Deferred;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::SystemClock;
use stroboscope_core::config::{self, Settings, Spelling};
use stroboscope_core::control::file;
use stroboscope_core::control::memory::Memory;
use stroboscope_core::control::place::Place;
use stroboscope_core::control::terminal;
use stroboscope_core::emit::symbols::Module;
use stroboscope_core::explain;
use stroboscope_core::fault;
use stroboscope_core::host::{Outcome, Site, Ticket};
use stroboscope_core::intake::Intake;
use stroboscope_core::probe::wire;
use stroboscope_core::record::names::Tables;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::sender::SenderCounters;
use stroboscope_core::session::{PLACEMENT, Parts, ProbeReport, Session, SessionStats};
use stroboscope_process::ending::{self, DELIVERY, Ending};
use stroboscope_process::logging::remark;
use stroboscope_process::signal::Watch;
use stroboscope_process::sinks::{self, Wanted};
use stroboscope_process::tally::Tally;
use stroboscope_process::threads::Masked;
use stroboscope_process::{logging, screen, turns};

/// The realm of the main thread.
const MAIN: u32 = 0;

/// A nap of a thread that waits for another one.
const STEP: Duration = Duration::from_micros(500);

struct Running {
    ending: Ending,
    runtime: Arc<NodeRuntime>,
    memory: Memory,
    /// What delivers where a signal ends the process.
    watch: Mutex<Option<Watch>>,
    /// Tells one session of the process from another.
    number: u64,
    /// A thread ends it.
    ends: AtomicBool,
    /// It has ended; true if everything has arrived.
    delivered: Mutex<Option<bool>>,
}

impl Running {
    fn delivered(&self) -> MutexGuard<'_, Option<bool>> {
        self.delivered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for another thread, which ends it: true if everything has arrived.
    fn wait_for_end(&self, limit: Duration) -> bool {
        let mut left = limit;
        loop {
            if let Some(delivered) = *self.delivered() {
                return delivered;
            }
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(STEP);
            left = left.saturating_sub(STEP);
        }
    }

    fn watch(&self) -> MutexGuard<'_, Option<Watch>> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of the session, of which a process has one at a time.
enum Now {
    /// Not started, or stopped: then what it came to can still be read.
    Idle(Option<Box<Sums>>),
    /// Started, and switched off by a setting: what is asked of it is accepted and does nothing.
    Off,
    On(Arc<Running>),
}

/// What a session that has ended came to.
struct Sums {
    stats: SessionStats,
    reports: Vec<ProbeReport>,
}

static NOW: Mutex<Now> = Mutex::new(Now::Idle(None));
static SESSIONS: AtomicU64 = AtomicU64::new(0);

fn now() -> MutexGuard<'static, Now> {
    NOW.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The running session; `None` if it is switched off.
fn running() -> napi::Result<Option<Arc<Running>>> {
    match &*now() {
        Now::Idle(_) => Err(error::not_started()),
        Now::Off => Ok(None),
        Now::On(running) => Ok(Some(Arc::clone(running))),
    }
}

fn running_now() -> Option<Arc<Running>> {
    if let Now::On(running) = &*now() { Some(Arc::clone(running)) } else { None }
}

/// The end of the process says of places what is known before the modules of its main thread go.
pub fn note_places(realm: u32) {
    if realm == MAIN
        && let Some(running) = running_now()
    {
        running.ending.note_places();
    }
}

/// What came of an installation in a realm.
pub fn installed(realm: u32, ticket: Ticket, outcome: Outcome) {
    if let Some(running) = running_now() {
        running.ending.session.installed_in(realm, ticket, outcome);
    }
}

/// True if the service denies the code that was found for a probe.
pub fn refuses(live: &LiveProbe, site: &Site) -> bool {
    running_now().is_some_and(|running| running.ending.session.refuses(live, site))
}

/// True if the symbols of a file are wanted now.
pub fn wants_symbols(file: &str, is_library: bool) -> bool {
    running_now().is_some_and(|running| running.ending.session.wants_symbols("", file, is_library))
}

/// Hands over what is told of a module. True if more are wanted.
pub fn symbols(module: &Module) -> bool {
    running_now().is_some_and(|running| running.ending.session.symbols(module))
}

/// Asks whether a debugger may watch for one more now, or why not.
pub fn book_placing() -> Result<(), Deferred> {
    running_now().map_or(Ok(()), |running| running.ending.session.book_placing())
}

/// Having it watch for so many took so long.
pub fn placing_took(placed: u32, nanoseconds: u64) {
    if let Some(running) = running_now() {
        running.ending.session.placing_took(placed, nanoseconds);
    }
}

/// A probe that is said to be placed is placed later.
pub fn defer(ticket: Ticket, deferred: Deferred) {
    if let Some(running) = running_now() {
        running.ending.session.defer(ticket, deferred);
    }
}

/// True if the hits of a probe show the whole stack.
pub fn shows_stack(captures: bool) -> bool {
    running_now().is_some_and(|running| running.ending.session.shows_stack(captures))
}

thread_local! {
    /// Where this thread's hits go, and the session that it belongs to.
    static INTAKE: RefCell<Option<(u64, Intake)>> = const { RefCell::new(None) };
}

/// Lends the intake of this thread; `None` if no session runs.
pub fn with_intake<R>(use_it: impl FnOnce(&mut Intake) -> R) -> Option<R> {
    INTAKE.with_borrow_mut(|own| {
        let current = CURRENT.load(Ordering::Acquire);
        if own.as_ref().is_none_or(|(number, _)| *number != current) {
            let running = running_now()?;
            *own = Some((running.number, running.ending.session.intake()));
        }
        own.as_mut().map(|(_, intake)| use_it(intake))
    })
}

/// The number of the session that runs; 0: none does, and threads let go of the intake of the last one.
static CURRENT: AtomicU64 = AtomicU64::new(0);

/// The number of the session that runs; 0: none does.
#[napi(js_name = "session")]
pub fn current() -> f64 {
    CURRENT.load(Ordering::Acquire) as f64
}

/// Starts. `options` are settings by their option names in camel case; `utc_offset` tells how many seconds local time is ahead of
/// UTC, and is asked only where times are shown: for that the engine reads half a megabyte of time zones. Returns remarks.
#[napi]
pub fn start(
    options: Vec<(String, String)>,
    facts: Facts,
    utc_offset: Function<'_, (), i32>,
) -> napi::Result<Vec<String>> {
    guard::guarded(|| begin(&options, &facts, || utc_offset.call(())))
}

fn begin(
    options: &[(String, String)],
    facts: &Facts,
    utc_offset: impl FnOnce() -> napi::Result<i32>,
) -> napi::Result<Vec<String>> {
    let mut now = now();
    if matches!(*now, Now::On(_)) {
        return Err(error::said("stroboscope is started already"));
    }
    logging::begin(LevelFilter::Warn);
    // The main thread hands them to Node.
    logging::wake_with(Some(Box::new(|| realms::wake(MAIN))));
    placing::set_late(facts.by == "program");
    let (command, preload) = (facts.by == "command", facts.by == "preload");
    if let Some(streams) = told(facts.streams.as_deref(), "streams")? {
        screen::are(streams);
    }
    // Below the command it is known what people look at, and reached although this process was given none.
    let mute = screen::has_error().map_or(facts.mute, |has| !has);
    logging::mute(mute);
    // The preload speaks before the program does, and nobody sees what it returns.
    logging::speak(command || preload);
    // What the command hands on has the core's own names.
    let spelling = if command { Spelling::Snake } else { Spelling::Camel };
    let (settings, read) = Settings::from_environment(options, spelling);
    let default = format!("the default is used: {}", runtime::CAPABILITIES.capture_timeout_ms);
    let mut lines: Vec<String> = read.into_iter().map(|line| line.replace(config::RUNTIME_DEFAULT, &default)).collect();
    if let Some(reason) = settings.off(!preload, facts.vendor) {
        lines.push(format!("off in this process: {reason}"));
        remark(&lines);
        *now = Now::Off;
        return Ok(lines);
    }
    cache::keep(&settings.cache);
    let tally: Option<Tally> = told(facts.tally.as_deref(), "tally")?;
    // A first process that has become another program still is the first.
    let first = facts.first || tally.as_ref().is_some_and(|tally| tally.pid == std::process::id());
    let place = Place { command, preload, first, no_color: facts.no_color, keep: facts.keep, mute };
    let mut wanted = Wanted::new(settings, place, None, &facts.folder, &mut lines);
    if wanted.shows() {
        wanted.ahead_of_utc(utc_offset()?);
    }
    wanted.share(tally);
    let probes = wanted.settings.probe_file.clone();
    let running = Arc::new(make(wanted, facts, &mut lines)?);
    CURRENT.store(running.number, Ordering::Release);
    *now = Now::On(Arc::clone(&running));
    drop(now);
    at_the_end();
    watch(&running);
    if let Some(path) = probes {
        match file::read(&path) {
            Ok(file) => {
                lines.extend(file.log);
                running.ending.session.apply(file.probes);
            }
            Err(error) => lines.push(error.text),
        }
    }
    remark(&lines);
    logging::speak(command);
    Ok(lines)
}

/// The text of what the program gives for a setting, found to be of this kind ([`config::argument`]).
#[napi]
pub fn setting(name: String, kind: String, parts: Vec<String>) -> napi::Result<String> {
    guard::guarded(|| config::argument(&name, &kind, &parts, Spelling::Camel).map_err(error::said))
}

/// What the addon has told another process, or this one before it became another program.
fn told<T: DeserializeOwned>(text: Option<&str>, what: &str) -> napi::Result<Option<T>> {
    let read = |text| {
        serde_json::from_str(text).map_err(|error| error::said(format!("STROBE_RUN: {what} cannot be read: {error}")))
    };
    text.map(read).transpose()
}

/// Where this run adds up its counts, as text for processes that this one starts; `None` without the command.
#[napi]
pub fn tally() -> napi::Result<Option<String>> {
    guard::guarded(|| {
        let tally = running()?.and_then(|running| running.ending.wanted.tally.clone());
        let text = tally.map(|tally| serde_json::to_string(&tally)).transpose();
        text.map_err(|error| error::said(error.to_string()))
    })
}

/// Delivers where a signal ends the process.
fn watch(running: &Running) {
    let ending = running.ending.clone();
    match Watch::begin(move || ending.last_words()) {
        Ok(watch) => *running.watch() = Some(watch),
        Err(error) => {
            log::warn!(target: "stroboscope", "what is caught just before a signal ends the process may be lost: {error}");
        }
    }
}

/// Builds and starts a session.
fn make(wanted: Wanted, facts: &Facts, lines: &mut Vec<String>) -> napi::Result<Running> {
    let settings = wanted.settings.clone();
    let redaction = Redaction::new(
        &settings.redacted_identifiers,
        &settings.redaction_excluded_identifiers,
        &settings.redacted_types,
    );
    let tables = Arc::new(Tables::new(Arc::new(redaction)));
    let memory = Memory::new();
    let identity = identity::find(&settings, facts);
    let counters = Arc::new(SenderCounters::default());
    let client = concat!("stroboscope-node/", env!("CARGO_PKG_VERSION"));
    let sender = sinks::upload(&wanted, &identity, client, &counters, lines);
    let _masked = Masked::all();
    let no_thread = |why: std::io::Error| error::said(format!("the system gives no thread: {why}"));
    let runtime = Arc::new(NodeRuntime::new(Hands::start().map_err(no_thread)?));
    let datagrams = sinks::metrics(&wanted, &identity, Arc::new(SystemClock));
    let parts = Parts {
        identity,
        settings,
        runtime: Arc::clone(&runtime) as _,
        clock: Arc::new(SystemClock),
        sinks: sinks::open(&wanted, &memory, lines),
        sender,
        datagrams,
        tables,
    };
    let session = Arc::new(Session::start(parts).map_err(no_thread)?);
    let number = SESSIONS.fetch_add(1, Ordering::Relaxed) + 1;
    let ending = Ending { session, wanted, counters, places: Arc::default() };
    let (watch, ends, delivered) = Default::default();
    Ok(Running { ending, runtime, memory, watch, number, ends, delivered })
}

/// The gates of the running session, as this realm's code sees them; `None` if none runs.
#[napi]
pub fn gates() -> napi::Result<Option<Int32Array>> {
    guard::guarded(|| {
        let Some(running) = running()? else { return Ok(None) };
        let words = running.runtime.words();
        let first = words.as_ptr().cast::<i32>().cast_mut();
        // SAFETY: the words are never freed, and have the size and alignment of what they hold. JavaScript changes them only
        // by atomic operations, as Rust does.
        Ok(Some(unsafe { Int32Array::with_external_data(first, words.len(), |_, _| ()) }))
    })
}

/// Puts a probe in force, given as the JSON text of a definition. Returns its id; [`settled`] tells when it is known what
/// becomes of it.
#[napi]
pub fn add_probe(definition: String) -> napi::Result<String> {
    guard::guarded(|| {
        let read = wire::read_definition(&definition, None);
        let id = match &read {
            Ok(definition) => definition.id.clone(),
            Err(rejected) => rejected.id.clone().ok_or_else(|| error::said(rejected.text.clone()))?,
        };
        if let Some(running) = running()? {
            running.ending.session.apply(vec![read]);
        }
        Ok(id)
    })
}

/// Waits until it is known what becomes of a probe, or of all: true. False: the realm has something to do first.
#[napi]
pub fn settled(realm: u32, id: Option<String>) -> napi::Result<bool> {
    guard::guarded(|| {
        let Some(running) = running()? else { return Ok(true) };
        let mut left = PLACEMENT;
        while !left.is_zero() {
            if realms::has_orders(realm) {
                return Ok(false);
            }
            if watch::is_busy_with(realm) {
                std::thread::sleep(STEP);
                return Ok(false);
            }
            if running.ending.session.is_settled(id.as_deref()) {
                return Ok(true);
            }
            std::thread::sleep(STEP);
            left = left.saturating_sub(STEP);
        }
        Ok(true)
    })
}

/// A probe that is in force as soon as functions with it are called.
#[napi(object)]
pub struct Awaited {
    /// Its slot.
    pub slot: u32,
    /// The cells of these functions.
    pub cells: Vec<String>,
}

/// Where nobody has to wait for a probe before functions of certain modules are called; `null` if that is not known.
#[napi]
pub fn awaited(realm: u32, id: String) -> napi::Result<Option<Awaited>> {
    guard::guarded(|| {
        let Some(live) = running()?.and_then(|running| running.ending.session.probe(&id)) else { return Ok(None) };
        let cells = placing::awaited_in(&live, realm);
        Ok(cells.map(|cells| Awaited { slot: live.slot, cells: cells.iter().map(ToString::to_string).collect() }))
    })
}

/// True if it is known what becomes of all of these probes, which may be waited for. False: it is not, or the realm has something
/// to do first.
#[napi]
pub fn answered(realm: u32, slots: Vec<u32>, waits: bool) -> napi::Result<bool> {
    guard::guarded(|| {
        let Some(running) = running_now() else { return Ok(true) };
        let is_known =
            |&slot: &u32| placing::is_answered(slot).unwrap_or_else(|| !running.ending.session.has_slot(slot));
        let mut left = if waits { PLACEMENT } else { STEP };
        while !left.is_zero() {
            if realms::has_orders(realm) {
                return Ok(false);
            }
            if slots.iter().all(is_known) {
                return Ok(true);
            }
            if waits {
                std::thread::sleep(STEP);
            }
            left = left.saturating_sub(STEP);
        }
        Ok(waits)
    })
}

/// Our own code has failed in a hit: its probe is off for good, and the log says why. Never an error: it would reach the
/// program.
#[napi]
pub fn hit_failed(slot: u32, why: String) {
    let _ = guard::caught(|| {
        let Some(running) = running_now() else { return };
        for live in running.ending.session.probes().iter().filter(|live| live.slot == slot && !live.has_panicked()) {
            live.panicked_in_hit();
            log::error!(target: "stroboscope", "probe {}: our own code failed in a hit, and it is off: {why}", live.probe.id);
        }
    });
}

/// A probe refuses much: its hooks go in this realm until its next token. Never an error: it would reach the program.
#[napi]
pub fn rest_hooks(realm: u32, slot: u32) {
    let _ = guard::caught(|| {
        let live = running_now()
            .and_then(|running| running.ending.session.probes().into_iter().find(|live| live.slot == slot));
        if let Some(live) = live {
            realms::rest(realm, &live);
        }
    });
}

/// True if there are probes, whatever has become of them.
#[napi]
pub fn is_probed() -> napi::Result<bool> {
    guard::guarded(|| Ok(running_now().is_some_and(|running| !running.ending.session.probes().is_empty())))
}

/// Removes a probe. False if there is none with this id.
#[napi]
pub fn remove_probe(id: String) -> napi::Result<bool> {
    guard::guarded(|| Ok(running()?.is_some_and(|running| running.ending.session.remove(&id))))
}

/// What the probes are doing, as JSON; after the end, what they did.
#[napi]
pub fn status() -> napi::Result<String> {
    guard::guarded(|| {
        if let Now::Idle(Some(sums)) = &*now() {
            return Ok(Value::from(sums.reports.iter().map(describe).collect::<Vec<_>>()).to_string());
        }
        let Some(running) = running()? else { return Ok("[]".to_owned()) };
        // What was placed a moment ago is told by the worker, which may not have heard of it yet.
        running.ending.session.catch_up();
        Ok(Value::from(running.ending.session.status().iter().map(describe).collect::<Vec<_>>()).to_string())
    })
}

/// Why a probe did or did not fire, in sentences; after the end, what became of its hits. `None` if there is none with this id.
#[napi]
pub fn explain(id: String) -> napi::Result<Option<Vec<String>>> {
    guard::guarded(|| {
        if let Now::Idle(Some(sums)) = &*now() {
            let report = sums.reports.iter().find(|report| report.id == id);
            return Ok(report.map(|report| explain::probe(report, None, &runtime::CAPABILITIES)));
        }
        let Some(running) = running()? else { return Ok(None) };
        running.ending.session.catch_up();
        Ok(running.ending.session.explain(&id))
    })
}

fn describe(report: &ProbeReport) -> Value {
    let mut out = json!({
        "id": report.id,
        "version": report.version,
        "state": report.state.name(),
        "reason": report.reason,
        "hits": report.hits,
        "hitsExact": report.hits_exact,
        "rejected": report.rejected,
        "failed": report.failed,
        "failure": terminal::why(report.failed, &report.failures),
        "emitted": report.emitted,
        "dropped": counts(&report.dropped),
        "lastReject": report.last_reject,
        "nanosecondsPerHit": report.nanoseconds_per_hit,
        "nanosecondsP50": report.capture_times.map(|(half, _)| half),
        "nanosecondsP99": report.capture_times.map(|(_, most)| most),
        "queuedBytes": report.queued_bytes,
        "uploaded": report.uploaded,
        "secondsSinceUpload": report.since_upload.map(|time| Duration::from_nanos(time).as_secs_f64()),
        "disarmed": report.disarmed,
    });
    let site = report.site.iter().flat_map(|site| {
        // Of a method: where it begins.
        let lines = if site.lines.is_empty() && site.first > 0 { vec![site.first] } else { site.lines.clone() };
        [("file", json!(site.file)), ("lines", json!(lines)), ("method", json!(site.method))]
    });
    let note = report.note.iter().map(|note| ("note", json!(note)));
    let measured = report.measured.iter().map(|measured| ("measured", json!(measured)));
    if let Value::Object(fields) = &mut out {
        fields.extend(site.chain(note).chain(measured).map(|(name, value)| (name.to_owned(), value)));
    }
    out
}

fn counts(counts: &[(&'static str, u64)]) -> Value {
    let pairs = counts.iter().map(|(reason, count)| ((*reason).to_owned(), json!(count)));
    Value::Object(pairs.collect::<Map<_, _>>())
}

/// What became of hits, events and uploads, of all probes together, as JSON; after the end, what came of them.
#[napi]
pub fn stats() -> napi::Result<String> {
    guard::guarded(|| {
        let stats = match &*now() {
            Now::Idle(Some(sums)) => sums.stats.clone(),
            Now::Idle(None) => return Err(error::not_started()),
            Now::Off => SessionStats::default(),
            Now::On(running) => running.ending.session.stats(),
        };
        let uploads = stats.uploads.as_ref().map(|uploads| {
            json!({
                "events": uploads.events,
                "statuses": uploads.statuses,
                "batches": uploads.batches,
                "bytes": uploads.bytes,
                "retries": uploads.retries,
                "lost": counts(&uploads.lost),
                "statusesLost": uploads.statuses_lost,
                "symbols": uploads.symbols,
                "secondsSinceSuccess": uploads.since_success.map(|time| Duration::from_nanos(time).as_secs_f64()),
            })
        });
        let metrics = stats
            .metrics
            .as_ref()
            .map(|metrics| json!({"sent": metrics.sent, "datagrams": metrics.datagrams, "lost": metrics.lost}));
        let all = json!({
            "hits": stats.hits,
            "emitted": stats.emitted,
            "dropped": counts(&stats.dropped),
            "queuedBytes": stats.queued_bytes,
            "unreadable": stats.unreadable,
            "measured": stats.measured,
            "metrics": metrics,
            "uploads": uploads,
        });
        Ok(all.to_string())
    })
}

/// The events kept so far, as JSON.
#[napi(js_name = "_testEvents")]
pub fn test_events() -> napi::Result<Vec<String>> {
    guard::guarded(|| Ok(running()?.map(|running| running.memory.events()).unwrap_or_default()))
}

/// Asks for a panic of ours.
#[napi(js_name = "_testPanic")]
pub fn test_panic(place: String) -> napi::Result<()> {
    let place = fault::Place::named(&place).ok_or_else(|| error::said(format!("no place '{place}'")))?;
    fault::ask(place);
    Ok(())
}

/// Waits beside the event loop until what was captured has left the process.
pub struct Flush {
    running: Option<Arc<Running>>,
    limit: Duration,
}

impl Task for Flush {
    type Output = bool;
    type JsValue = bool;

    fn compute(&mut self) -> napi::Result<bool> {
        guard::guarded(|| Ok(self.running.as_ref().is_none_or(|running| running.ending.session.flush(self.limit))))
    }

    fn resolve(&mut self, _: Env, arrived: bool) -> napi::Result<bool> {
        Ok(arrived)
    }
}

/// Waits until what was captured has left the process. False if something did not arrive.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn flush(seconds: f64) -> napi::Result<AsyncTask<Flush>> {
    guard::guarded(|| Ok(AsyncTask::new(Flush { running: running()?, limit: limit(seconds)? })))
}

/// Ends the session beside the event loop. Whoever asks for that while it is under way hears the same of it.
pub struct Stop {
    running: Option<Arc<Running>>,
    limit: Duration,
}

impl Task for Stop {
    type Output = bool;
    type JsValue = bool;

    fn compute(&mut self) -> napi::Result<bool> {
        let limit = self.limit;
        let end = |running: &Arc<Running>| end(running, limit, |ending| ending.stop(limit));
        guard::guarded(|| Ok(self.running.as_ref().is_none_or(end)))
    }

    fn resolve(&mut self, _: Env, delivered: bool) -> napi::Result<bool> {
        Ok(delivered)
    }
}

/// Delivers what was captured and stops. False if something could not be handed over in time.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn stop(seconds: f64) -> napi::Result<AsyncTask<Stop>> {
    guard::guarded(|| Ok(AsyncTask::new(Stop { running: running_now(), limit: limit(seconds)? })))
}

fn limit(seconds: f64) -> napi::Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| error::said(format!("timeout must be a number of seconds, 0 or more and finite; got {seconds}")))
}

/// Ends a session: its probes go, what it caught is delivered, and the end is told. True if everything has arrived. If
/// another thread is at it, that is waited for.
fn end(running: &Arc<Running>, limit: Duration, deliver: impl FnOnce(&Ending) -> bool) -> bool {
    if running.ends.swap(true, Ordering::AcqRel) {
        return running.wait_for_end(limit);
    }
    CURRENT.store(0, Ordering::Release);
    running.ending.note_places();
    running.runtime.stop();
    let delivered = deliver(&running.ending);
    tell_end(running);
    *running.delivered() = Some(delivered);
    delivered
}

/// Tells the end, once: what a session came to can be read from now on.
fn tell_end(running: &Arc<Running>) {
    let sums = Sums { stats: running.ending.session.stats(), reports: running.ending.session.status() };
    let mut now = now();
    if !matches!(&*now, Now::On(current) if Arc::ptr_eq(current, running)) {
        return;
    }
    let lost = ending::losses(&sums.stats, &running.ending.wanted);
    *now = Now::Idle(Some(Box::new(sums)));
    drop(now);
    remark(lost.as_slice());
    if let Some(watch) = running.watch().take() {
        watch.stop();
    }
    running.ending.farewell(0, None);
    if !running.ending.wanted.place.command {
        turns::give_up();
    }
}

/// The process that ends, however it does: by its last event, `process.exit`, or an error that nobody caught.
fn at_the_end() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        OWNER.store(std::process::id(), Ordering::Release);
        // SAFETY: a function without arguments that never unwinds. The addon stays loaded (see build.rs).
        if unsafe { libc::atexit(last_words) } != 0 {
            log::error!(target: "stroboscope", "the system takes no more handlers of the end: what is caught last may be lost");
        }
    });
}

/// The process whose session it is: a child that was forked without Node has none.
static OWNER: AtomicU32 = AtomicU32::new(0);

extern "C" fn last_words() {
    if OWNER.load(Ordering::Acquire) == std::process::id() {
        // A panic is counted, and nobody is left to be told.
        let _ = guard::caught(|| {
            if let Some(running) = running_now() {
                end(&running, DELIVERY, |ending| ending.at_the_end(|limit| ending.session.stop(limit)));
                // A thread that is at it may never come to its end.
                tell_end(&running);
            }
            // No JavaScript runs any more that could hand them to Node.
            for (_, line) in logging::take() {
                logging::say(&line);
            }
        });
    }
}

//! What JavaScript can ask of the addon: start, stop, probes, status. Before the walk of a configuration; the core's session
//! comes after.

use crate::hands::Hands;
use crate::identity::{self, Facts};
use crate::runtime::{self, NodeRuntime};
use crate::sinks::{self, Wanted};
use crate::{error, guard, logging, realms, signal};
use napi::bindgen_prelude::{AsyncTask, Int32Array};
use napi::{Env, Task};
use napi_derive::napi;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::SystemClock;
use stroboscope_core::config::{self, ROWS, Settings};
use stroboscope_core::control::agent;
use stroboscope_core::control::file;
use stroboscope_core::control::memory::Memory;
use stroboscope_core::control::place::Place;
use stroboscope_core::control::tally::Counts;
use stroboscope_core::control::terminal::{self, Look};
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::status::State;
use stroboscope_core::host::{Outcome, Ticket};
use stroboscope_core::intake::Intake;
use stroboscope_core::probe::wire;
use stroboscope_core::record::names::Tables;
use stroboscope_core::sender::{Sender, SenderCounters};
use stroboscope_core::session::{Parts, ProbeReport, Session, SessionStats};

/// How long a caller waits until it is known what becomes of its probes.
const PLACEMENT: Duration = Duration::from_secs(1);
/// How long `status()` waits for the worker to hear what was just found: it does so within its round.
const CATCH_UP: Duration = Duration::from_millis(100);
/// Of the two seconds that an end may take in all.
const DELIVERY: Duration = Duration::from_millis(1500);
/// A nap of a thread that waits for another one.
const STEP: Duration = Duration::from_micros(500);

struct Running {
    session: Session,
    runtime: Arc<NodeRuntime>,
    memory: Memory,
    counters: Arc<SenderCounters>,
    wanted: Wanted,
    /// Tells one session of the process from another.
    number: u64,
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

/// What came of an installation in a realm.
pub fn installed(realm: u32, ticket: Ticket, outcome: Outcome) {
    if let Some(running) = running_now() {
        running.session.installed_in(realm, ticket, outcome);
    }
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
            *own = Some((running.number, running.session.intake()));
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

/// Starts. `options` are settings by their option names in camel case. Returns remarks.
#[napi]
pub fn start(options: Vec<(String, String)>, facts: Facts) -> napi::Result<Vec<String>> {
    guard::guarded(|| begin(&options, &facts))
}

fn begin(options: &[(String, String)], facts: &Facts) -> napi::Result<Vec<String>> {
    let mut now = now();
    if matches!(*now, Now::On(_)) {
        return Err(error::said("stroboscope is started already"));
    }
    logging::begin();
    let (command, preload) = (facts.by == "command", facts.by == "preload");
    logging::mute(facts.mute);
    // The preload speaks before the program does, and nobody sees what it returns.
    logging::speak(command || preload);
    let (settings, read) = Settings::from_environment(&snake_case(options));
    let default = format!("the default is used: {}", runtime::CAPABILITIES.capture_timeout_ms);
    let mut lines: Vec<String> = read.into_iter().map(|line| line.replace(config::RUNTIME_DEFAULT, &default)).collect();
    if let Some(reason) = settings.off(!preload, facts.vendor) {
        lines.push(format!("off in this process: {reason}"));
        log_all(&lines);
        *now = Now::Off;
        return Ok(lines);
    }
    let (first, no_color, keep, mute) = (facts.first, facts.no_color, facts.keep, facts.mute);
    let place = Place { command, preload, first, no_color, keep, mute };
    let wanted = Wanted::new(settings, place, facts.utc_offset, &facts.folder);
    let probes = wanted.settings.probe_file.clone();
    let running = Arc::new(make(wanted, facts, &mut lines)?);
    CURRENT.store(running.number, Ordering::Release);
    *now = Now::On(Arc::clone(&running));
    drop(now);
    at_the_end();
    signal::watch();
    if let Some(path) = probes {
        match file::read(&path) {
            Ok(file) => {
                lines.extend(file.log);
                running.session.apply(file.probes);
            }
            Err(error) => lines.push(error.text),
        }
    }
    log_all(&lines);
    logging::speak(command);
    Ok(lines)
}

/// Option names as the core's table has them. One that is not in it is told as it was written.
fn snake_case(options: &[(String, String)]) -> Vec<(String, String)> {
    let known = |name: &str| ROWS.iter().find(|row| row.camel_case() == name).map(|row| row.option);
    options.iter().map(|(name, text)| (known(name).unwrap_or(name).to_owned(), text.clone())).collect()
}

fn log_all(lines: &[String]) {
    for line in lines {
        log::warn!(target: "stroboscope", "{line}");
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
    let sender = sender(&wanted, &identity, &counters, lines);
    let no_thread = |why: std::io::Error| error::said(format!("the system gives no thread: {why}"));
    let runtime = Arc::new(NodeRuntime::new(Hands::start().map_err(no_thread)?));
    let parts = Parts {
        identity,
        settings,
        runtime: Arc::clone(&runtime) as _,
        clock: Arc::new(SystemClock),
        sinks: sinks::open(&wanted, &memory, lines),
        sender,
        tables,
    };
    let session = Session::start(parts).map_err(no_thread)?;
    let number = SESSIONS.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(Running { session, runtime, memory, counters, wanted, number })
}

/// The upload, if events are to leave the machine.
fn sender(
    wanted: &Wanted,
    identity: &Identity,
    counters: &Arc<SenderCounters>,
    lines: &mut Vec<String>,
) -> Option<Sender> {
    let settings = &wanted.settings;
    if !wanted.place.uploads(settings, wanted.shows()) {
        return None;
    }
    let who = agent::Identity {
        user_agent: concat!("stroboscope-node/", env!("CARGO_PKG_VERSION")),
        debugger_version: env!("CARGO_PKG_VERSION"),
        host_name: &identity.hostname,
        runtime_id: &identity.runtime_id,
    };
    Sender::open(settings, &who, counters, lines)
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
            running.session.apply(vec![read]);
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
            let open =
                |report: &ProbeReport| report.state == State::Received && id.as_ref().is_none_or(|id| *id == report.id);
            if !running.session.status().iter().any(open) {
                return Ok(true);
            }
            std::thread::sleep(STEP);
            left = left.saturating_sub(STEP);
        }
        Ok(true)
    })
}

/// Our own code has failed in a hit: its probe is off for good, and the log says why. Never an error: it would reach the
/// program.
#[napi]
pub fn hit_failed(slot: u32, why: String) {
    let _ = guard::caught(|| {
        let Some(running) = running_now() else { return };
        for live in running.session.probes().iter().filter(|live| live.slot == slot && !live.has_panicked()) {
            live.panicked_in_hit();
            log::error!(target: "stroboscope", "probe {}: our own code failed in a hit, and it is off: {why}", live.probe.id);
        }
    });
}

/// A probe refuses much: its hooks go in this realm until its next token. Never an error: it would reach the program.
#[napi]
pub fn rest_hooks(realm: u32, slot: u32) {
    let _ = guard::caught(|| {
        let live =
            running_now().and_then(|running| running.session.probes().into_iter().find(|live| live.slot == slot));
        if let Some(live) = live {
            realms::rest(realm, &live);
        }
    });
}

/// Removes a probe. False if there is none with this id.
#[napi]
pub fn remove_probe(id: String) -> napi::Result<bool> {
    guard::guarded(|| Ok(running()?.is_some_and(|running| running.session.remove(&id))))
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
        running.session.catch_up(CATCH_UP);
        Ok(Value::from(running.session.status().iter().map(describe).collect::<Vec<_>>()).to_string())
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
        "nanosecondsPerHit": report.nanoseconds_per_hit,
        "disarmed": report.disarmed,
    });
    let site = report.site.iter().flat_map(|site| {
        // Of a method: where it begins.
        let lines = if site.lines.is_empty() && site.first > 0 { vec![site.first] } else { site.lines.clone() };
        [("file", json!(site.file)), ("lines", json!(lines)), ("method", json!(site.method))]
    });
    let note = report.note.iter().map(|note| ("note", json!(note)));
    if let Value::Object(fields) = &mut out {
        fields.extend(site.chain(note).map(|(name, value)| (name.to_owned(), value)));
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
            Now::On(running) => running.session.stats(),
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
                "secondsSinceSuccess": uploads.since_success.map(|time| Duration::from_nanos(time).as_secs_f64()),
            })
        });
        let all = json!({
            "hits": stats.hits,
            "emitted": stats.emitted,
            "dropped": counts(&stats.dropped),
            "queuedBytes": stats.queued_bytes,
            "unreadable": stats.unreadable,
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

/// Waits beside the event loop until what was captured has left the process.
pub struct Flush {
    running: Option<Arc<Running>>,
    limit: Duration,
}

impl Task for Flush {
    type Output = bool;
    type JsValue = bool;

    fn compute(&mut self) -> napi::Result<bool> {
        guard::guarded(|| Ok(self.running.as_ref().is_none_or(|running| running.session.flush(self.limit))))
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

/// Ends the session beside the event loop.
pub struct Stop {
    limit: Duration,
}

impl Task for Stop {
    type Output = bool;
    type JsValue = bool;

    fn compute(&mut self) -> napi::Result<bool> {
        guard::guarded(|| Ok(end(self.limit)))
    }

    fn resolve(&mut self, _: Env, delivered: bool) -> napi::Result<bool> {
        Ok(delivered)
    }
}

/// Delivers what was captured and stops. False if something could not be handed over in time.
#[napi(ts_return_type = "Promise<boolean>")]
pub fn stop(seconds: f64) -> napi::Result<AsyncTask<Stop>> {
    guard::guarded(|| Ok(AsyncTask::new(Stop { limit: limit(seconds)? })))
}

fn limit(seconds: f64) -> napi::Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| error::said(format!("timeout must be a number of seconds, 0 or more and finite; got {seconds}")))
}

/// Ends the session, if there is one: its probes go, what it caught is delivered, and the end is told. True if everything
/// has arrived.
fn end(limit: Duration) -> bool {
    let running = match &mut *now() {
        Now::On(running) => Arc::clone(running),
        Now::Off | Now::Idle(_) => return true,
    };
    CURRENT.store(0, Ordering::Release);
    running.runtime.stop();
    let delivered = running.session.stop(limit);
    let sums = Sums { stats: running.session.stats(), reports: running.session.status() };
    // Another thread may have ended it meanwhile, and told so.
    let was_here = matches!(&mut *now(), Now::On(current) if Arc::ptr_eq(current, &running));
    if was_here {
        *now() = Now::Idle(Some(Box::new(sums)));
        signal::leave_alone();
        farewell(&running);
    }
    delivered
}

/// Says what each probe did, where somebody looks.
fn farewell(running: &Running) {
    let wanted = &running.wanted;
    if !wanted.place.tells_end(wanted.shows()) {
        return;
    }
    let counts = counted(running);
    if !wanted.place.first && wanted.place.command {
        if counts.fired() {
            logging::write(&format!("process {}:\n{}", std::process::id(), say(counts, wanted)));
        }
        return;
    }
    logging::write(&say(counts, wanted));
}

fn say(mut counts: Counts, wanted: &Wanted) -> String {
    counts.shorten(|text| wanted.short(text).into_owned());
    counts.text(Look::default()).trim_end_matches('\n').to_owned()
}

/// What this process counted.
fn counted(running: &Running) -> Counts {
    let Running { session, counters, wanted, .. } = running;
    let path = wanted.settings.ndjson.as_ref().map(|path| path.display().to_string());
    let path = path.map(|path| if path == "-" { "standard output".to_owned() } else { path });
    let unwritten = path.map(|path| format!("not written to {path}"));
    let mut lost: Vec<(&str, u64)> = counters.causes().into_iter().collect();
    if let Some(unwritten) = &unwritten {
        lost.push((unwritten, wanted.unwritten.load(Ordering::Relaxed)));
    }
    lost.push(("not written to standard error", wanted.unshown.load(Ordering::Relaxed)));
    Counts::of(&session.status(), &lost)
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
        let _ = guard::caught(deliver);
    }
}

/// Delivers at the end of the process.
pub fn deliver() {
    end(DELIVERY);
}

//! What Python can ask of the native module: start, stop, probes, status. Before the walk of a configuration; the core's
//! session comes after.

use crate::names;
use crate::runtime::{self, PyRuntime};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::SystemClock;
use stroboscope_core::config::{Settings, Show};
use stroboscope_core::control::memory::Memory;
use stroboscope_core::control::ndjson::NdjsonSink;
use stroboscope_core::control::terminal::{self, Look, ProbeSummary, TerminalSink};
use stroboscope_core::control::{Sink, file};
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::status::State;
use stroboscope_core::probe::wire;
use stroboscope_core::record::names::Tables;
use stroboscope_core::session::{Parts, ProbeReport, Session};

struct Running {
    session: Arc<Session>,
    runtime: Arc<PyRuntime>,
    memory: Memory,
}

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);

fn running<R>(ask: impl FnOnce(&Running) -> R) -> PyResult<R> {
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    running.as_ref().map(ask).ok_or_else(|| PyRuntimeError::new_err("stroboscope is not started"))
}

fn session() -> PyResult<Arc<Session>> {
    running(|running| Arc::clone(&running.session))
}

/// True between start and stop.
pub fn is_running() -> bool {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).is_some()
}

/// Starts. `options` are settings by their option names; `keep` keeps events in memory for [`_test_events`].
#[pyfunction]
#[pyo3(signature = (options, keep = false))]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
pub fn start(py: Python<'_>, options: Vec<(String, String)>, keep: bool) -> PyResult<Vec<String>> {
    if RUNNING.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
        return Err(PyRuntimeError::new_err("stroboscope is started already"));
    }
    let (settings, mut lines) = Settings::from_environment(&options);
    let redaction = Redaction::new(
        &settings.redacted_identifiers,
        &settings.redaction_excluded_identifiers,
        &settings.redacted_types,
    );
    let tables = Arc::new(Tables::new(Arc::new(redaction)));
    let memory = Memory::new();
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if keep {
        sinks.push(Box::new(memory.sink()));
    }
    if let Some(path) = &settings.ndjson {
        match NdjsonSink::file(path) {
            Ok(sink) => sinks.push(Box::new(sink)),
            Err(error) => lines.push(format!("{}: {error}", path.display())),
        }
    }
    let shown = match settings.terminal {
        Show::Always => true,
        Show::Never => false,
        Show::Auto => !keep && std::io::stderr().is_terminal(),
    };
    if shown {
        sinks.push(Box::new(TerminalSink::stderr(false, None)));
    }
    let probes = settings.probe_file.clone();
    names::use_tables(Some(Arc::clone(&tables)));
    let runtime = Arc::new(PyRuntime::start(py)?);
    let parts = Parts {
        identity: identity(py, &settings)?,
        settings,
        runtime: Arc::clone(&runtime) as _,
        clock: Arc::new(SystemClock),
        sinks,
        sender: None,
        tables,
    };
    let session = Arc::new(Session::start(parts)?);
    PyRuntime::connect(py, Arc::clone(&session))?;
    if let Some(path) = probes {
        match file::read(&path) {
            Ok(file) => {
                lines.extend(file.log);
                session.apply(file.probes);
            }
            Err(error) => lines.push(error.text),
        }
    }
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running { session, runtime, memory });
    Ok(lines)
}

fn identity(py: Python<'_>, settings: &Settings) -> PyResult<Identity> {
    let os = py.import("os")?;
    let hostname: String = os.call_method0("uname")?.getattr("nodename")?.extract()?;
    let random: Vec<u8> = os.call_method1("urandom", (16,))?.extract()?;
    let bits = random.iter().fold(0u128, |bits, &byte| (bits << 8) | u128::from(byte));
    let hex = format!("{bits:032x}");
    let runtime_id = format!("{}-{}-4{}-a{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32]);
    let service = settings.service.clone().unwrap_or_else(|| "python".to_owned());
    Ok(Identity {
        service,
        hostname,
        runtime_id,
        pid: std::process::id(),
        parent_id: None,
        process_tags: String::new(),
    })
}

/// Stops, and leaves the interpreter as it was. False if something captured could not be delivered in time.
#[pyfunction]
#[pyo3(signature = (timeout = 2.0))]
pub fn stop(py: Python<'_>, timeout: f64) -> PyResult<bool> {
    let Some(running) = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(true) };
    let limit = limit(timeout)?;
    let delivered = py.detach(|| running.session.stop(limit));
    running.runtime.stop(py)?;
    names::use_tables(None);
    Ok(delivered)
}

fn limit(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// Puts a probe in force, given as the JSON text of a definition. Returns its id once it is known what becomes of it:
/// placed, waiting, or refused, or after a second.
#[pyfunction]
pub fn add_probe(py: Python<'_>, definition: &str) -> PyResult<String> {
    const STEP: Duration = Duration::from_millis(1);
    let session = session()?;
    let read = wire::read_definition(definition, None);
    let id = match &read {
        Ok(definition) => definition.id.clone(),
        Err(rejected) => rejected.id.clone().ok_or_else(|| PyValueError::new_err(rejected.text.clone()))?,
    };
    py.detach(|| {
        session.apply(vec![read]);
        let pending = || session.status().iter().any(|report| report.id == id && report.state == State::Received);
        for _ in 0..1000 {
            if !pending() {
                break;
            }
            std::thread::sleep(STEP);
        }
    });
    Ok(id)
}

/// Removes a probe. False if there is none with this id.
#[pyfunction]
pub fn remove_probe(py: Python<'_>, id: &str) -> PyResult<bool> {
    let session = session()?;
    Ok(py.detach(|| session.remove(id)))
}

/// Waits until what was captured has left the process.
#[pyfunction]
#[pyo3(signature = (timeout = 2.0))]
pub fn flush(py: Python<'_>, timeout: f64) -> PyResult<bool> {
    let (session, limit) = (session()?, limit(timeout)?);
    Ok(py.detach(|| session.flush(limit)))
}

/// What the probes are doing.
#[pyfunction]
pub fn status(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let session = session()?;
    let reports = py.detach(|| session.status());
    reports.iter().map(|report| describe(py, report)).collect()
}

/// What the hooks are doing: tool ids, probes that wait, panics caught.
#[pyfunction]
pub fn _test_hooks(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    runtime::describe(py)
}

/// The lines for the end of a run: one per probe.
#[pyfunction]
pub fn summary(py: Python<'_>) -> PyResult<Vec<String>> {
    let session = session()?;
    let reports = py.detach(|| session.status());
    let sites: Vec<String> = reports.iter().map(place).collect();
    let probes: Vec<ProbeSummary<'_>> = reports
        .iter()
        .zip(&sites)
        .map(|(report, site)| ProbeSummary {
            probe: &report.id,
            site,
            hits: report.hits,
            emitted: report.emitted,
            dropped: report.dropped.clone(),
            note: (report.hits == 0 && !report.reason.is_empty()).then_some(report.reason.as_str()),
        })
        .collect();
    Ok(terminal::summary(&probes, Look::default()).lines().map(str::to_owned).collect())
}

/// Where a probe is, for people.
fn place(report: &ProbeReport) -> String {
    let Some(site) = &report.site else { return String::new() };
    match site.lines.first() {
        Some(line) => format!("{}:{line}", site.file),
        None => format!("{}:{}", site.type_name, site.method),
    }
}

fn describe<'py>(py: Python<'py>, report: &ProbeReport) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("id", &report.id)?;
    out.set_item("version", report.version)?;
    out.set_item("state", format!("{:?}", report.state).to_lowercase())?;
    out.set_item("reason", &report.reason)?;
    if let Some(site) = &report.site {
        out.set_item("file", &site.file)?;
        out.set_item("lines", &site.lines)?;
        out.set_item("type", &site.type_name)?;
        out.set_item("method", &site.method)?;
    }
    out.set_item("hits", report.hits)?;
    out.set_item("rejected", report.rejected)?;
    out.set_item("failed", report.failed)?;
    out.set_item("emitted", report.emitted)?;
    let dropped = PyDict::new(py);
    for (reason, count) in &report.dropped {
        dropped.set_item(reason, count)?;
    }
    out.set_item("dropped", dropped)?;
    out.set_item("nanoseconds_per_hit", report.nanoseconds_per_hit)?;
    out.set_item("disarmed", report.disarmed)?;
    Ok(out)
}

/// The events kept so far, as JSON.
#[pyfunction]
pub fn _test_events() -> PyResult<Vec<String>> {
    running(|running| running.memory.events())
}

/// Takes and forgets what hits have queued; from the first call on nothing is rendered. For benchmarks.
#[pyfunction]
pub fn _test_drain(py: Python<'_>) -> PyResult<usize> {
    let session = session()?;
    Ok(py.detach(|| session.discard()))
}

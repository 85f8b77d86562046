//! Our own log lines. The core's threads must not wait for the GIL, so a line waits in a short queue until a thread of ours
//! that has the GIL hands it to Python's `logging`, as logger `stroboscope`. On neither walk.
//!
//! `logging` is never imported for it: a program that does not use it does not get it. Under the command a warning goes to
//! standard error at once, since somebody sits there; so do the remarks of a start by the preload.

use crate::guard;
use crate::identity;
use log::{Level, LevelFilter, Log, Metadata, Record};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stroboscope_core::log_lines::{self, LogLines};
use stroboscope_process::screen;

/// How long a line waits for room on standard error.
const PATIENCE: Duration = Duration::from_millis(200);

type Wake = Box<dyn Fn() + Send>;

#[derive(Default)]
struct Queue {
    lines: LogLines,
    wake: Option<Wake>,
}

struct Lines;

static LINES: Lines = Lines;
/// Behind a pointer, so that a forked child can have another one: the parent's lock may be held for ever there.
static QUEUE: AtomicPtr<Mutex<Queue>> = AtomicPtr::new(ptr::null_mut());
static ALOUD: AtomicBool = AtomicBool::new(false);
/// There was no standard error as Python started: descriptor 2 may be any file of the program's.
static MUTE: AtomicBool = AtomicBool::new(false);

/// Takes the core's log lines from now on.
pub fn begin() {
    if QUEUE.load(Ordering::Acquire).is_null() {
        renew();
        // Refused only if there is a logger already: ours, since the crate is private to this library.
        let _ = log::set_logger(&LINES);
        log::set_max_level(LevelFilter::Info);
    }
}

/// Begins with an empty queue, and leaves the old one alone: in a forked child it must not be touched.
pub fn renew() {
    QUEUE.store(Box::into_raw(Box::default()), Ordering::Release);
}

/// Says whether warnings go to standard error.
pub fn speak(aloud: bool) {
    ALOUD.store(aloud, Ordering::Relaxed);
}

/// Says that there is no standard error.
pub fn mute(mute: bool) {
    MUTE.store(mute, Ordering::Relaxed);
}

/// Says who is told that lines wait.
pub fn wake_with(wake: Option<Wake>) {
    with(|queue| queue.wake = wake);
}

fn with<R>(use_it: impl FnOnce(&mut Queue) -> R) -> Option<R> {
    // SAFETY: null, or a queue that is never freed.
    let queue = unsafe { QUEUE.load(Ordering::Acquire).as_ref() }?;
    Some(use_it(&mut queue.lock().unwrap_or_else(PoisonError::into_inner)))
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("stroboscope") && metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = log_lines::text(record);
        if ALOUD.load(Ordering::Relaxed) {
            if record.level() <= Level::Warn {
                say(&text);
            }
            return;
        }
        with(|queue| {
            if queue.lines.push(record.level(), &text)
                && let Some(wake) = &queue.wake
            {
                wake();
            }
        });
    }

    fn flush(&self) {}
}

fn say(text: &str) {
    write(&format!("stroboscope: {text}"), PATIENCE);
}

/// Says something from Python, as one line of ours.
#[pyfunction]
pub fn _say(py: Python<'_>, text: &str) {
    py.detach(|| say(text));
}

/// Writes lines to standard error, without any lock, for so long at most.
pub fn write(text: &str, limit: Duration) {
    if MUTE.load(Ordering::Relaxed) || text.is_empty() {
        return;
    }
    // Who has no standard error, or does not read it, wants no lines there.
    let _ = screen::write(format!("{text}\n").as_bytes(), limit);
}

/// Hands the waiting lines to `logging`, if the program uses it. No probe is hit by that.
pub fn drain(py: Python<'_>) {
    if !with(|queue| !queue.lines.is_empty()).unwrap_or(false) {
        return;
    }
    let Some(logging) = identity::loaded(py, "logging").filter(is_standard) else { return };
    let Some(lines) = with(|queue| queue.lines.take()) else { return };
    // A logger that fails has nowhere to say so.
    let _ = guard::guarded(|| hand_over(&logging, lines));
}

/// False for a module of the program's that is called so: its functions are not ours to call.
fn is_standard(logging: &Bound<'_, PyAny>) -> bool {
    let has = |name: &str| logging.cast::<PyModule>().is_ok_and(|module| module.dict().contains(name).unwrap_or(false));
    ["NullHandler", "LogRecord", "setLoggerClass"].into_iter().all(has)
}

fn hand_over(logging: &Bound<'_, PyAny>, lines: Vec<(Level, String)>) -> PyResult<()> {
    let logger = logging.call_method1("getLogger", ("stroboscope",))?;
    if !logger.getattr("handlers")?.is_truthy()? {
        // Without any handler `logging` would print to standard error, which belongs to the program.
        logger.call_method1("addHandler", (logging.call_method0("NullHandler")?,))?;
    }
    for (level, text) in lines {
        let number = match level {
            Level::Error => 40,
            Level::Warn => 30,
            _ => 20,
        };
        logger.call_method1("log", (number, "%s", text))?;
    }
    Ok(())
}

//! Our own log lines. The core's threads must not wait for the host, so a line waits in a short queue until the binding
//! hands it over in a thread of the host's. Under the command a warning goes to standard error at once, since somebody sits
//! there; so do the remarks of a start by the preload. On neither walk.

use crate::screen;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use stroboscope_core::log_lines::{self, LogLines};

/// How long a line waits for room on standard error.
const PATIENCE: Duration = Duration::from_millis(200);

/// What tells the host that lines wait.
pub type Wake = Box<dyn Fn() + Send>;

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
/// There was no standard error as the process started: descriptor 2 may be any file of the program's.
static MUTE: AtomicBool = AtomicBool::new(false);

/// Takes the core's log lines from now on, down to a level.
pub fn begin(least: LevelFilter) {
    if QUEUE.load(Ordering::Acquire).is_null() {
        renew();
        // Refused only if there is a logger already: ours, since the crate is private to this library.
        let _ = log::set_logger(&LINES);
        log::set_max_level(least);
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

/// True if lines wait.
pub fn waits() -> bool {
    with(|queue| !queue.lines.is_empty()).unwrap_or(false)
}

/// The lines that wait.
pub fn take() -> Vec<(Level, String)> {
    with(|queue| queue.lines.take()).unwrap_or_default()
}

/// Logs remarks.
pub fn remark(lines: &[String]) {
    for line in lines {
        log::warn!(target: "stroboscope", "{line}");
    }
}

fn with<R>(use_it: impl FnOnce(&mut Queue) -> R) -> Option<R> {
    // SAFETY: null, or a queue that is never freed.
    let queue = unsafe { QUEUE.load(Ordering::Acquire).as_ref() }?;
    Some(use_it(&mut queue.lock().unwrap_or_else(PoisonError::into_inner)))
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("stroboscope") && metadata.level() <= log::max_level()
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

/// Says something on standard error, as one line of ours.
pub fn say(text: &str) {
    write(&format!("stroboscope: {text}"), PATIENCE);
}

/// Writes lines to standard error, without any lock, for so long at most.
pub fn write(text: &str, limit: Duration) {
    if MUTE.load(Ordering::Relaxed) || text.is_empty() {
        return;
    }
    // Who has no standard error, or does not read it, wants no lines there.
    let _ = screen::write(format!("{text}\n").as_bytes(), limit);
}

//! Our own log lines. The core's threads cannot call JavaScript, so a line waits in a short queue until a realm asks for
//! what there is to be done. Under the command a warning goes to standard error at once, since somebody sits there; so do
//! the remarks of a start by the preload. On neither walk.

use crate::streams;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use stroboscope_core::log_lines::{self, LogLines};

struct Lines;

static LINES: Lines = Lines;
static QUEUE: LazyLock<Mutex<LogLines>> = LazyLock::new(Mutex::default);
static ALOUD: AtomicBool = AtomicBool::new(false);
static MUTE: AtomicBool = AtomicBool::new(false);

/// Takes the core's log lines from now on.
pub fn begin() {
    // Refused only if there is a logger already: ours, since the crate is private to this library.
    let _ = log::set_logger(&LINES);
    log::set_max_level(LevelFilter::Warn);
}

/// Says whether warnings go to standard error.
pub fn speak(aloud: bool) {
    ALOUD.store(aloud, Ordering::Relaxed);
}

/// Says that there is no standard error.
pub fn mute(mute: bool) {
    MUTE.store(mute, Ordering::Relaxed);
}

/// The lines that wait for JavaScript.
pub fn take() -> Vec<String> {
    queue().take().into_iter().map(|(_, text)| text).collect()
}

fn queue() -> MutexGuard<'static, LogLines> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a text of whole lines to standard error.
pub fn write(text: &str) {
    if !MUTE.load(Ordering::Relaxed) && !text.is_empty() {
        streams::say(text);
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("stroboscope") && metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let text = log_lines::text(record);
        if ALOUD.load(Ordering::Relaxed) {
            write(&format!("stroboscope: {text}"));
            return;
        }
        queue().push(record.level(), &text);
    }

    fn flush(&self) {}
}

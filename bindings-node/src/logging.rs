//! Our own log lines. The core's threads cannot call JavaScript, so a line waits in a short queue until a realm asks for
//! what there is to be done. Under the command a warning goes to standard error at once, since somebody sits there; so do
//! the remarks of a start by the preload. On neither walk.

use crate::streams;
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines that wait at most.
const MAX_WAITING: usize = 100;

struct Lines;

static LINES: Lines = Lines;
static QUEUE: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
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
    queue().drain(..).collect()
}

fn queue() -> MutexGuard<'static, VecDeque<String>> {
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
        let text = record.args().to_string();
        let text = text.strip_prefix("stroboscope: ").unwrap_or(&text);
        if ALOUD.load(Ordering::Relaxed) {
            write(&format!("stroboscope: {text}"));
            return;
        }
        let mut queue = queue();
        if queue.len() < MAX_WAITING {
            queue.push_back(text.to_owned());
        }
    }

    fn flush(&self) {}
}

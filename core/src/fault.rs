//! Panics on demand, so that tests can show that none of ours reaches a program. Stands on both walks, at the places it
//! names. Nothing asks for one but a test; a hit looks here only when it is one of those that are timed.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Where a panic can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Place {
    /// As a hit begins.
    Hit = 1,
    /// Before the condition.
    Condition,
    /// Before the message.
    Message,
    /// Before values are captured.
    Capture,
    /// Before the record goes to the worker.
    Send,
    /// As a record becomes an event.
    Render,
    /// In a round of the worker.
    Round,
    /// In the binding, as a hook is placed or removed.
    Hook,
}

impl Place {
    const ALL: [(&'static str, Place); 8] = [
        ("hit", Place::Hit),
        ("condition", Place::Condition),
        ("message", Place::Message),
        ("capture", Place::Capture),
        ("send", Place::Send),
        ("render", Place::Render),
        ("round", Place::Round),
        ("hook", Place::Hook),
    ];

    /// The place of a name.
    pub fn named(name: &str) -> Option<Place> {
        Place::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, place)| place)
    }
}

static ASKED: AtomicU8 = AtomicU8::new(0);

/// Asks for one panic at a place.
pub fn ask(place: Place) {
    ASKED.store(place as u8, Relaxed);
}

/// True if one is asked for, anywhere.
#[inline]
pub(crate) fn is_asked() -> bool {
    ASKED.load(Relaxed) != 0
}

/// Panics if one is asked for here; then it no longer is.
#[inline]
pub fn at(place: Place) {
    if ASKED.load(Relaxed) == place as u8 {
        panic_now();
    }
}

#[cold]
#[allow(clippy::panic, reason = "this is what a test asks for")]
fn panic_now() {
    ASKED.store(0, Relaxed);
    panic!("asked for by a test");
}

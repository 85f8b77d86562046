//! The border: nothing of ours unwinds into the interpreter. Every entry from Python's hooks goes through [`guarded`].
//! First on the walk of a hit.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static PANICS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Marks that the thread is in a hit, until dropped.
struct Mark<'t>(&'t Cell<bool>);

impl Drop for Mark<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// What became of a guarded call.
#[derive(Debug, PartialEq, Eq)]
pub enum Guarded<R> {
    /// It ended.
    Done(R),
    /// The thread was in a hit already: nothing was done.
    Nested,
    /// It panicked; counted. The caller disarms the probe.
    Panicked,
}

/// Runs a hit. A panic ends here, and a hit within a hit of the same thread is not run.
#[inline]
pub fn guarded<R>(hit: impl FnOnce() -> R) -> Guarded<R> {
    // Asked for once: in a shared library each look at a thread's own memory is a call.
    INSIDE.with(|inside| {
        if inside.replace(true) {
            return Guarded::Nested;
        }
        let _mark = Mark(inside);
        caught(hit).map_or(Guarded::Panicked, Guarded::Done)
    })
}

/// Runs something; `None` if it panicked, which is counted.
#[inline]
pub fn caught<R>(work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) => {
            PANICS.fetch_add(1, Ordering::Relaxed);
            // A payload whose own end panics would unwind from here: it is left alone.
            std::mem::forget(payload);
            None
        }
    }
}

/// Panics caught so far.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Silences the panic messages of this library's own copy of Rust's runtime; the program's other libraries keep theirs.
pub fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

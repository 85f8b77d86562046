//! The border: nothing of ours unwinds into the interpreter. Every entry from Python's hooks goes through [`guarded`].
//! First on the walk of a hit.

use std::cell::Cell;
pub use stroboscope_core::guard::{caught, panics, silence};

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

//! What the hands and the callbacks share, under the GIL: the probes in force, and the tools. Stands on the configuration's
//! walk; the rest of [`super`] uses it.

use super::entries::Entries;
use super::tools::Events;
use crate::discovery;
use crate::names::Held;
use crate::statements::Opcodes;
use crate::tracer;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use stroboscope_core::host::Ticket;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::session::Session;

/// A wish of the worker.
pub(super) enum Wish {
    Install(Arc<LiveProbe>, Ticket),
    Remove(Arc<LiveProbe>),
    Rearm(Vec<Arc<LiveProbe>>),
    Disarm(Vec<Arc<LiveProbe>>),
    /// Log lines wait.
    Log,
    /// A module that a probe's name was not found in may have gone on.
    Again,
    /// Modules that are loaded and were not told yet are to be told.
    Symbols,
    End,
}

/// A probe in force: placed, or waiting for its code. Every file that starts to run may concern it.
pub(super) struct Entry {
    pub(super) live: Arc<LiveProbe>,
    pub(super) ticket: Ticket,
    /// What the core was told last.
    pub(super) told: Told,
    /// The same in words, so that nothing is told twice.
    pub(super) said: String,
    /// The file of this machine that the probe's path leads to: no other one is meant.
    pub(super) exact: Option<String>,
    /// The files it is placed in.
    pub(super) files: Vec<String>,
    /// The number of code objects it is placed in.
    pub(super) copies: usize,
    /// True if there was code in which it could not be placed: it is in too many.
    pub(super) left_out: bool,
}

impl Entry {
    /// True if it is placed in a file.
    pub(super) fn is_in(&self, file: &str) -> bool {
        self.files.iter().any(|known| known == file)
    }
}

/// What the core was told of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Placed,
    Waits,
    /// A name is not in its module, which is still running: looked for again that many times.
    Again(u32),
    /// A name is not in its module, and the module has run.
    Lacks,
    Refused,
}

/// What the hands and the callbacks share, under the GIL.
pub(super) struct Hands {
    pub(super) set_local_events: Py<PyAny>,
    pub(super) set_events: Py<PyAny>,
    /// The tool id of probes, and of discovery if there is one.
    pub(super) probes: u8,
    pub(super) discovery: Option<u8>,
    pub(super) events: Events,
    pub(super) opcodes: Arc<Opcodes>,
    pub(super) session: Option<Arc<Session>>,
    pub(super) entries: Entries,
    pub(super) wishes: Option<Sender<Wish>>,
    pub(super) watches_unwind: bool,
    /// True if another tool may listen to lines: see [`crate::others`].
    pub(super) beside_others: bool,
    /// Nanoseconds for which the last installation held the GIL.
    pub(super) held: u64,
    /// In a forked child code may still be armed as the parent left it.
    pub(super) forked: bool,
}

pub(super) static HANDS: Held<Option<Hands>> = Held::new(None);

pub(super) fn opcodes() -> Option<Arc<Opcodes>> {
    HANDS.with(|hands| hands.as_ref().map(|hands| Arc::clone(&hands.opcodes))).flatten()
}

/// What `status()` says of the hooks themselves.
pub fn describe(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let out = PyDict::new(py);
    let tools = HANDS.with(|hands| {
        let hands = hands.as_ref()?;
        let (all, waiting) = hands.entries.count();
        Some((hands.probes, hands.discovery, waiting, all - waiting, hands.held))
    });
    if let Some((probes, discovery, waiting, placed, held)) = tools.flatten() {
        out.set_item("tool", probes)?;
        out.set_item("discovery_tool", discovery)?;
        out.set_item("waiting", waiting)?;
        out.set_item("placed", placed)?;
        out.set_item("held_nanoseconds", held)?;
        out.set_item("looks", discovery::looks())?;
        out.set_item("asked", discovery::asked())?;
    }
    if let Some((name, tells_trace)) = tracer::describe() {
        out.set_item("tracer", name)?;
        out.set_item("tells_trace", tells_trace)?;
    }
    out.set_item("panics", crate::guard::panics())?;
    Ok(out)
}

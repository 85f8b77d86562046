//! Tells the core of modules, for the symbol database: one after the other, with rests, when there is nothing else to do for the
//! hands. On neither walk; [`super::hands`] comes before, [`crate::discovery`] after.

use super::state::{HANDS, opcodes};
use crate::discovery::{self, FileId, Loaded};
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::session::Session;

/// The shortest rest between two steps, in nanoseconds: the program has most of the time for itself.
const REST_NS: u64 = 1_000_000;
/// Modules of `sys.modules` that are looked at in a step.
const MODULES_A_STEP: usize = 128;

/// What was told, and what is to be told now.
#[derive(Default)]
pub(super) struct Telling {
    told: HashMap<FileId, u32>,
    now: Now,
    rest: u64,
}

#[derive(Default)]
enum Now {
    /// Nothing is to be done.
    #[default]
    Idle,
    /// The names of modules are looked up, so many were.
    Listing(usize, HashMap<String, String>),
    /// These are told, the last one first.
    Files(Vec<Loaded>),
}

impl Telling {
    /// The core wants more modules, if there are any.
    pub(super) fn begin(&mut self) {
        if matches!(self.now, Now::Idle) {
            self.now = Now::Listing(0, HashMap::new());
            self.rest = REST_NS;
        }
    }

    /// Nanoseconds until the next step; nothing if there is none.
    pub(super) fn rest(&self) -> Option<u64> {
        if matches!(self.now, Now::Idle) { None } else { Some(self.rest) }
    }

    /// A step. Afterwards the hands rest for as long as it took.
    pub(super) fn step(&mut self, py: Python<'_>) {
        let began = SystemClock.monotonic();
        let session = HANDS.with(|hands| hands.as_ref().and_then(|hands| hands.session.clone())).flatten();
        self.now = match (std::mem::take(&mut self.now), session) {
            (Now::Listing(from, mut modules), Some(session)) => {
                if discovery::listed(py, from, MODULES_A_STEP, &mut modules) {
                    Now::Listing(from + MODULES_A_STEP, modules)
                } else {
                    let mut files = discovery::loaded(&self.told, &modules);
                    files.retain(|file| session.wants_symbols(&file.module, &file.path, file.is_library));
                    if files.is_empty() { Now::Idle } else { Now::Files(files) }
                }
            }
            (Now::Files(files), Some(session)) => self.tell(py, files, &session),
            _ => Now::Idle,
        };
        self.rest = SystemClock.monotonic().saturating_sub(began).max(REST_NS);
    }

    fn tell(&mut self, py: Python<'_>, mut files: Vec<Loaded>, session: &Arc<Session>) -> Now {
        let (Some(file), Some(opcodes)) = (files.pop(), opcodes()) else { return Now::Idle };
        self.told.insert(file.file, file.changes);
        let goes_on = match discovery::facts(py, &file, &opcodes) {
            Ok(module) => py.detach(|| session.symbols(&module)),
            Err(error) => {
                log::debug!("stroboscope: the symbols of {} cannot be read: {error}", file.path);
                true
            }
        };
        if goes_on && !files.is_empty() { Now::Files(files) } else { Now::Idle }
    }
}

//! What is known of the place of a probe, for people who ask why it did or did not fire. Beside the configuration's walk: the
//! core asks, and makes the sentences.

use super::place::{Change, set_again};
use super::state::{HANDS, opcodes};
use super::target::{Known, target};
use crate::discovery::{self, FileCode};
use crate::hooks;
use crate::statements::Opcodes;
use pyo3::prelude::*;
use std::sync::Arc;
use stroboscope_core::explain::{Facts, File};
use stroboscope_core::probe::location;
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;

/// Files whose functions are handed over; more are hardly ever meant.
const FILES: usize = 4;

/// What is known of the place of a probe.
pub(super) fn facts(py: Python<'_>, live: &LiveProbe) -> Facts {
    let exact = HANDS.with(|hands| hands.as_ref()?.entries.get(live.slot)?.exact.clone()).flatten();
    let target = target(py, live, exact.as_deref(), &mut Known::default());
    let mut files = Vec::new();
    if let Some(opcodes) = opcodes() {
        for &file in target.files().iter().take(FILES) {
            let mut code = discovery::functions(py, file, true);
            let read = read_all(py, &mut code, &opcodes);
            files.push(described(py, discovery::name(file), &code, &live.probe.location));
            discovery::keep_read(file, code);
            if let Err(error) = read {
                log::warn!(target: "stroboscope", "code could not be read: {error}");
            }
        }
    }
    discovery::forget_names();
    let ran = hooks::ran(live.slot);
    let since_asked = !hooks::explains() && (ran.is_some() || watch_for_starts(py, live.slot));
    Facts { searched: Some(discovery::known()), files, ran, since_asked }
}

/// Has it known from now on whether the functions around the lines of a probe run. False if it cannot be.
fn watch_for_starts(py: Python<'_>, slot: u32) -> bool {
    let live = HANDS.with(|hands| Some(Arc::clone(&hands.as_ref()?.entries.get(slot)?.live))).flatten();
    let Some(live) = live.filter(|_| hooks::ask_for_starts(slot)) else { return false };
    match set_again(py, &[live], Change::Keep) {
        Ok(()) => true,
        Err(error) => {
            log::warn!(target: "stroboscope", "whether code runs could not be watched for: {error}");
            false
        }
    }
}

/// Reads the statements of all functions.
pub fn read_all(py: Python<'_>, code: &mut FileCode, opcodes: &Opcodes) -> PyResult<()> {
    discovery::read(py, code, opcodes, false, |_, _| true, |_| ())
}

/// The functions of a file, as the core knows them, and those that a probe names.
pub fn described(py: Python<'_>, name: String, code: &FileCode, location: &Location) -> File {
    let meant = match location {
        Location::Lines { .. } => Vec::new(),
        Location::Method { type_name, method, .. } => {
            let readings = location::readings(type_name, method).into_iter();
            readings.flat_map(|(_, wanted)| discovery::methods(py, code, &wanted, false)).collect()
        }
    };
    File { name, functions: code.plain.clone(), names: code.qualified.clone(), meant }
}

//! A file begins to run: the probes that concern it are placed before its first line. Stands on the configuration's walk;
//! called by the discovery callback, in the program's thread.

use super::answer::{MISSING_LINE, MISSING_NAME, refused, settle};
use super::in_file::{in_lines, in_method};
use super::place::{forget_code, unplace};
use super::state::{Entry, HANDS, Told, Wish};
use super::target::AMBIGUOUS;
use crate::discovery::{self, Meant, Started};
use crate::object::Ref;
use crate::shim;
use pyo3::prelude::*;
use std::sync::Arc;
use stroboscope_core::host::Outcome;
use stroboscope_core::probe::location;
use stroboscope_core::probe::model::Location;

/// A file begins to run: it is noted, and the probes that concern it are placed. Called by the discovery callback.
pub fn module_starts(code: Ref<'_>) {
    // SAFETY: the GIL is held, and the innermost frame is the one that starts; its globals stay while it does.
    let globals = unsafe {
        let frame = shim::strobe_top_frame();
        if frame.is_null() { None } else { Ref::new(shim::strobe_frame_globals(frame)) }
    };
    let Some(mut started) = discovery::note(code, globals) else { return };
    if !started.gone.is_empty() {
        // SAFETY: callbacks run with the GIL held.
        forget_code(unsafe { Python::assume_attached() }, &started.gone);
        started.gone.clear();
    }
    let concerned = HANDS.with(|hands| {
        let concerned =
            hands.as_ref()?.entries.near(&started).map(|entry| (Arc::clone(&entry.live), concern(entry, &started)));
        Some(concerned.filter(|(_, concern)| !matches!(concern, Concern::None)).collect::<Vec<_>>())
    });
    let Some(concerned) = concerned.flatten().filter(|concerned| !concerned.is_empty()) else { return };
    // SAFETY: callbacks run with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let mut file = discovery::functions_of(py, code, &started.name);
    let mut looks_again = false;
    for (live, concern) in concerned {
        if let Location::Method { type_name, method, .. } = &live.probe.location {
            let readings = location::readings(type_name, method);
            let mut modules = readings.iter().map(|(module, _)| module);
            if !modules.any(|module| discovery::is_meant(py, module, &started.module, &started.name)) {
                continue;
            }
        }
        let moves = matches!(concern, Concern::Better);
        if !matches!(concern, Concern::Place) {
            // It leaves the place that it has.
            leave(live.slot);
        }
        let mut is_class = false;
        let outcome = match (&live.probe.location, concern) {
            (_, Concern::Ambiguous(reason)) => {
                unplace(py, &live).map(|()| Outcome::Refused { kind: AMBIGUOUS, reason })
            }
            (Location::Lines { lines, .. }, _) => {
                let left = if moves { unplace(py, &live) } else { Ok(()) };
                left.and_then(|()| in_lines(py, &live, &mut file, &started.name, lines, false))
            }
            (Location::Method { type_name, method, .. }, _) => {
                let wanted;
                (wanted, is_class) = wanted_in(type_name, method, &started);
                let module = if discovery::is_main(&started.module) { type_name } else { &started.module };
                in_method(py, &live, &mut file, &started.name, module, &wanted, false)
            }
        };
        let outcome = match outcome.unwrap_or_else(|error| refused(&error)) {
            Outcome::Done { note, site } if moves => Outcome::Moved { note, site },
            other => other,
        };
        looks_again |= started_outcome(live.slot, outcome, is_class, started.file.is_none());
    }
    if looks_again {
        let wishes = HANDS.with(|hands| hands.as_ref().and_then(|hands| hands.wishes.clone())).flatten();
        // After the end nobody listens, and nothing is left to be done.
        drop(wishes.map(|wishes| wishes.send(Wish::Again)));
    }
}

/// Answers for a file that just started. True if the name may still come, as the module runs. `is_class`: what the file lacks
/// is a class whose name may as well be that of a submodule; nothing is said before that was looked for. `is_piece`: it is code
/// from no file, run in a module (`exec`), which says nothing of what the module has elsewhere.
fn started_outcome(slot: u32, mut outcome: Outcome, is_class: bool, is_piece: bool) -> bool {
    let missing = matches!(&outcome, Outcome::Refused { kind: MISSING_NAME, .. });
    let is_placed = HANDS.with(|hands| {
        let entry = hands.as_mut()?.entries.get_mut(slot)?;
        if missing && is_piece && entry.told == Told::Placed {
            return Some(true);
        }
        if missing {
            entry.told = if is_class { Told::Again(0) } else { Told::Nothing };
            entry.said = String::new();
        }
        if let Outcome::Refused { kind: MISSING_LINE, reason } = &mut outcome
            && entry.copies > 0
        {
            reason.push_str("; the file ran again: the probe stays in the functions that it had before");
        }
        Some(false)
    });
    if is_placed.flatten() == Some(true) {
        return false;
    }
    if !(missing && is_class) {
        settle(slot, outcome);
    }
    missing
}

/// What a file that starts is to a probe.
pub(super) enum Concern {
    None,
    /// It may hold the probe's place.
    Place,
    /// It is meant more exactly than the one in which the probe is.
    Better,
    /// It is meant as much as others.
    Ambiguous(String),
}

pub(super) fn concern(entry: &Entry, started: &Started) -> Concern {
    match &entry.live.probe.location {
        Location::Lines { .. } if entry.told == Told::Placed && entry.files.contains(&started.name) => Concern::Place,
        Location::Lines { file, .. } => match discovery::means(file, entry.exact.as_deref(), started) {
            Meant::No => Concern::None,
            Meant::Here(files) => match entry.told {
                // The one file that is meant, by whatever name.
                Told::Placed if entry.exact.is_some() => Concern::Place,
                Told::Placed if !files.iter().any(|file| entry.files.contains(file)) => Concern::Better,
                _ => Concern::Place,
            },
            Meant::Ambiguous(reason) => Concern::Ambiguous(reason),
        },
        Location::Method { type_name, method, .. } => {
            let readings = location::readings(type_name, method);
            let mut modules = readings.iter().map(|(module, _)| module);
            let is_meant = modules.any(|module| discovery::is_module(module, &started.module, &started.name));
            if is_meant { Concern::Place } else { Concern::None }
        }
    }
}

/// The probe is in no file any more. The caller takes its hooks away.
fn leave(slot: u32) {
    let files = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let entry = hands.entries.get_mut(slot)?;
        entry.told = Told::Nothing;
        entry.copies = 0;
        let mut files = std::mem::take(&mut entry.files);
        files.retain(|file| !hands.entries.has_probe_in(file));
        Some(files)
    });
    for file in files.flatten().unwrap_or_default() {
        discovery::release(&file);
    }
}

/// The name that a method probe means in a module that starts; true if it begins with a class that the probe has in its
/// `typeName`.
fn wanted_in(type_name: &str, method: &str, started: &Started) -> (String, bool) {
    let readings = location::readings(type_name, method).into_iter().enumerate();
    let mut meant = readings.filter(|(_, (module, _))| discovery::is_module(module, &started.module, &started.name));
    meant.next().map_or_else(|| (method.to_owned(), false), |(at, (_, wanted))| (wanted, at > 0))
}

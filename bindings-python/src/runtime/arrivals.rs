//! Code comes without its file: a function gets it (`a.__code__ = …`), or is made of it, as of those that come by value from
//! another process. It is noted, and the probes that concern it are placed before it can run. Stands on the configuration's
//! walk, between [`super::swaps`] and [`super::in_file`].

use super::answer::{refused, settle};
use super::in_file::{in_lines, in_method};
use super::place::forget_code;
use super::starts::{Concern, concern};
use super::state::{HANDS, opcodes};
use crate::discovery::{self, FileCode, FileId, Started};
use crate::object::Ref;
use pyo3::prelude::*;
use std::sync::Arc;
use stroboscope_core::host::Outcome;
use stroboscope_core::probe::location;
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;

/// A probe that may concern code.
struct Near {
    live: Arc<LiveProbe>,
    /// It is in other code already.
    is_placed: bool,
}

/// A function has code that is in no file which ran.
pub(super) fn arrives(py: Python<'_>, code: Ref<'_>, module: &str) {
    let Some(mut arrived) = discovery::note_arrival(py, code, module) else { return };
    forget_code(py, &arrived.gone);
    arrived.gone.clear();
    let Some(file) = arrived.file else { return };
    let near = HANDS.with(|hands| {
        let near = hands.as_ref()?.entries.near(&arrived);
        let mine = near.filter(|entry| matches!(concern(entry, &arrived), Concern::Place));
        Some(mine.map(|entry| Near { live: Arc::clone(&entry.live), is_placed: entry.copies > 0 }).collect::<Vec<_>>())
    });
    let mut own = None;
    for Near { live, is_placed } in near.flatten().unwrap_or_default() {
        let outcome = match &live.probe.location {
            Location::Lines { lines, .. } => {
                let (first, last) = discovery::span(code);
                if !lines.iter().any(|line| (first..=last).contains(line)) {
                    continue;
                }
                if is_placed {
                    let own = own.get_or_insert_with(|| discovery::functions_of(py, code, &arrived.name));
                    lines_of(py, &live, own, &arrived.name, lines)
                } else {
                    in_all(py, file, |all| in_lines(py, &live, all, &arrived.name, lines, false)).map(Some)
                }
            }
            Location::Method { type_name, method, .. } => {
                let Some((module, wanted)) = meant(py, type_name, method, &arrived) else { continue };
                if !discovery::names_within(code).iter().any(|name| location::is_method(name, &wanted)) {
                    continue;
                }
                let own = own.get_or_insert_with(|| discovery::functions_of(py, code, &arrived.name));
                in_method(py, &live, own, &arrived.name, &module, &wanted, false).map(Some)
            }
        };
        match outcome {
            Ok(Some(done @ Outcome::Done { .. })) if !is_placed => settle(live.slot, done),
            Ok(Some(denied @ Outcome::Denied { .. })) => settle(live.slot, denied),
            // What is missing here is where it was, or still waited for.
            Ok(_) => {}
            Err(error) => settle(live.slot, refused(&error)),
        }
    }
}

/// The module and the name by which a method probe means code that arrives.
fn meant(py: Python<'_>, type_name: &str, method: &str, arrived: &Started) -> Option<(String, String)> {
    let mut readings = location::readings(type_name, method).into_iter();
    readings.find(|(module, _)| discovery::is_meant(py, module, &arrived.module, &arrived.name))
}

/// Places a probe at those of its lines that the code has.
fn lines_of(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: &mut FileCode,
    name: &str,
    lines: &[u32],
) -> PyResult<Option<Outcome>> {
    let Some(opcodes) = opcodes() else { return Ok(None) };
    let mut here = Vec::new();
    for &line in lines {
        let resolve = |plain: &[location::Function]| location::resolve_line(plain, line, &super::CAPABILITIES);
        let choice = discovery::read(py, code, &opcodes, false, |_, _| true, resolve)?;
        here.extend(choice.ok().filter(|choice| choice.note.is_none()).map(|choice| choice.line));
    }
    if here.is_empty() { Ok(None) } else { in_lines(py, live, code, name, &here, false).map(Some) }
}

/// Uses all that is known of a file.
fn in_all(py: Python<'_>, file: FileId, place: impl FnOnce(&mut FileCode) -> PyResult<Outcome>) -> PyResult<Outcome> {
    let mut code = discovery::functions(py, file, false);
    let outcome = place(&mut code);
    discovery::keep_read(file, code);
    outcome
}

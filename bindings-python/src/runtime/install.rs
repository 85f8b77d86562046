//! Places probes in the code that is loaded. Stands on the configuration's walk, between [`super::hands`] and
//! [`super::in_file`].

use super::answer::{
    Answer, MISSING_LINE, MISSING_NAME, NEAREST, answer, better, missing_name, missing_submodule, near, refused,
    stopping,
};
use super::in_file::{in_function, in_lines, in_method};
use super::state::HANDS;
use super::target::{Known, Target, still_runs, target};
use crate::discovery::{self, FileCode, FileId, Named};
use pyo3::prelude::*;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::fault;
use stroboscope_core::host::Outcome;
use stroboscope_core::probe::location;
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;

/// Places probes. What is not in the index is looked for once for all of them.
pub(super) fn install_all(py: Python<'_>, slots: &[u32], answers: &mut Vec<Answer>, at_the_end: bool) {
    if slots.is_empty() {
        return;
    }
    let began = SystemClock.monotonic();
    let lives = HANDS.with(|hands| {
        let entries = slots.iter().filter_map(|&slot| hands.as_ref()?.entries.get(slot));
        Some(entries.map(|entry| (Arc::clone(&entry.live), entry.exact.clone())).collect::<Vec<_>>())
    });
    let (lives, exact): (Vec<_>, Vec<_>) = lives.flatten().unwrap_or_default().into_iter().unzip();
    let mut known = Known::default();
    let aims = lives.iter().zip(&exact);
    let mut targets: Vec<Target> = aims.map(|(live, exact)| target(py, live, exact.as_deref(), &mut known)).collect();
    let files = targets.iter().flat_map(Target::files).copied();
    let wanted: HashSet<FileId> = files.filter(|&file| !discovery::is_complete(file)).collect();
    let missing = lives.iter().zip(&targets).filter(|(_, target)| matches!(target, Target::Missing(_)));
    let missing: Vec<&str> = missing
        .filter_map(|(live, _)| match &live.probe.location {
            Location::Lines { file, .. } => Some(file.as_str()),
            Location::Method { .. } => None,
        })
        .collect();
    if !wanted.is_empty() || !(missing.is_empty() || discovery::has_looked()) {
        if let Err(error) = discovery::search(py, &wanted, &missing) {
            log::warn!(target: "stroboscope", "loaded code could not be looked for: {error}");
        }
        let mut known = Known::default();
        for ((live, exact), aim) in lives.iter().zip(&exact).zip(&mut targets) {
            if matches!(aim, Target::Missing(_)) {
                *aim = target(py, live, exact.as_deref(), &mut known);
            }
        }
    }
    let mut files_near: HashMap<String, String> = HashMap::new();
    for (live, target) in lives.iter().zip(targets) {
        let placed = crate::guard::caught(|| {
            fault::at(fault::Place::Hook);
            install(py, live, target).unwrap_or_else(|error| refused(&error))
        });
        let mut outcome = placed.unwrap_or_else(Outcome::panicked);
        if let (Outcome::NotFound(reason), Location::Lines { file, .. }) = (&mut outcome, &live.probe.location) {
            let alike = files_near.entry(file.clone()).or_insert_with(|| near(&discovery::files_near(py, file)));
            reason.push_str(alike);
        }
        // One that had a place before was not found late.
        if at_the_end
            && live.site().is_none()
            && let Outcome::Done { note, .. } = &mut outcome
        {
            *note = Some("it was found only as the program ended".to_owned());
        }
        let lacks = matches!(outcome, Outcome::Refused { kind: MISSING_NAME, .. });
        answers.extend(answer(live.slot, outcome, lacks && still_runs(py, live)));
    }
    discovery::forget_names();
    let held = SystemClock.monotonic() - began;
    HANDS.with(|hands| hands.as_mut().map(|hands| hands.held = held.saturating_sub(RELEASED.take())));
}

thread_local! {
    /// Nanoseconds of the installation under way for which the GIL was not held.
    static RELEASED: Cell<u64> = const { Cell::new(0) };
}

/// Notes time without the GIL.
pub fn released(nanoseconds: u64) {
    RELEASED.set(RELEASED.get() + nanoseconds);
}

/// Places a probe in files.
pub(super) fn install(py: Python<'_>, live: &Arc<LiveProbe>, target: Target) -> PyResult<Outcome> {
    match (target, &live.probe.location) {
        (Target::Missing(outcome) | Target::Settled(outcome), _) => Ok(outcome),
        (Target::Lines(files), Location::Lines { lines, .. }) => {
            let mut last = None;
            for file in files {
                let name = discovery::name(file);
                let outcome = with_code(py, file, |code| in_lines(py, live, code, &name, lines, true))?;
                last = Some(better(last, or_by_value(file, &name, outcome)));
            }
            Ok(last.unwrap_or_else(stopping))
        }
        (Target::Method(files), Location::Method { type_name, method, .. }) => {
            let mut last = None;
            for (module, wanted) in location::readings(type_name, method) {
                let mine = discovery::files_of_module(py, &module);
                for &file in mine.iter().filter(|file| files.contains(file)) {
                    let name = discovery::name(file);
                    let place = |code: &mut FileCode| in_method(py, live, code, &name, &module, &wanted, true);
                    last = Some(better(last, or_by_value(file, &name, with_code(py, file, place)?)));
                }
                if files.is_empty() && discovery::is_loaded(py, &module) {
                    last = Some(better(last, without_file(py, live, &module, &wanted)?));
                }
            }
            Ok(match last {
                Some(missing @ Outcome::Refused { kind: MISSING_NAME, .. }) => {
                    of_package(py, type_name, method, missing)
                }
                other => other.unwrap_or_else(stopping),
            })
        }
        _ => Ok(stopping()),
    }
}

/// A name that is missing: its first part may be that of a submodule, which has the rest.
fn of_submodule(py: Python<'_>, package: &str, method: &str, missing: Outcome) -> Outcome {
    let Some((last, wanted)) = method.split_once('.') else { return missing };
    let module = format!("{package}.{last}");
    match missing {
        Outcome::Refused { kind: MISSING_NAME, reason }
            if matches!(discovery::named(py, &module, wanted), Named::Function(_)) =>
        {
            let (what, names) = reason.split_once(NEAREST).unwrap_or((&reason, ""));
            let names = names.split(", ").filter(|name| !name.is_empty()).map(str::to_owned);
            let names: Vec<String> = std::iter::once(format!("{module}:{wanted}")).chain(names).collect();
            Outcome::Refused { kind: MISSING_NAME, reason: format!("{what}{}", near(&names)) }
        }
        other => other,
    }
}

/// What is missing in a file of which only functions came, by value, may still come.
fn or_by_value(file: FileId, name: &str, outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Refused { kind: MISSING_LINE | MISSING_NAME, reason } if discovery::is_partial(file) => {
            Outcome::Waiting(format!(
                "{name} is not imported here, and the functions of it that came by value do not have it ({reason}); the \
                 probe waits for more"
            ))
        }
        other => other,
    }
}

/// A name that is missing: in a package it may be that of a submodule, written wrongly.
fn of_package(py: Python<'_>, type_name: &str, method: &str, missing: Outcome) -> Outcome {
    let missing = of_submodule(py, type_name, method, missing);
    let readings = location::readings(type_name, method);
    let Some((package, wanted)) = readings.get(1) else { return missing };
    let Outcome::Refused { reason, .. } = &missing else { return missing };
    let class = type_name.rsplit('.').next().unwrap_or(type_name);
    let is_class = discovery::has_class(py, package, class);
    if is_class || discovery::is_loaded(py, type_name) || !discovery::is_package(py, package) {
        return missing;
    }
    let names = reason.split_once(NEAREST).map(|(_, names)| names.split(", ").map(str::to_owned));
    let modules = discovery::modules_near(py, type_name).into_iter();
    missing_submodule(package, type_name, wanted, &modules.chain(names.into_iter().flatten()).collect::<Vec<_>>())
}

/// Places a method probe in a module that has no source file: `python -c`, standard input, a compiled module.
fn without_file(py: Python<'_>, live: &Arc<LiveProbe>, module: &str, wanted: &str) -> PyResult<Outcome> {
    let compiled = discovery::compiled_file(py, module);
    let refused = |reason| Outcome::Refused { kind: "NotAPythonFunction", reason };
    Ok(match (discovery::named(py, module, wanted), compiled) {
        (Named::Function(code), _) => in_function(py, live, &code, module, wanted)?,
        (Named::Not(reason), None) => refused(reason),
        (Named::Not(reason), Some(file)) => refused(format!("{reason}; the module is compiled ({file})")),
        (Named::Missing, Some(file)) => refused(discovery::takes_no_probes(module, &file)),
        (Named::Missing, None) => missing_name(module, wanted, &discovery::names_beside(py, module, wanted)),
    })
}

/// Uses the functions of a file. If another copy of it starts meanwhile (its thread runs while ours reads), again.
fn with_code(
    py: Python<'_>,
    file: FileId,
    mut place: impl FnMut(&mut FileCode) -> PyResult<Outcome>,
) -> PyResult<Outcome> {
    let mut tries = 0;
    loop {
        let before = discovery::changes(file);
        let mut code = discovery::functions(py, file, true);
        let outcome = place(&mut code);
        discovery::keep_read(file, code);
        tries += 1;
        // Copies that start later are seen as they do; a program that compiles one file without end is not waited for.
        if tries == 5 || outcome.is_err() || discovery::changes(file) == before {
            return outcome;
        }
    }
}

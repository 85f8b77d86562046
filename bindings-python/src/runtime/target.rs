//! What is known of a probe's place before code is read: the files that it means, or why there is none. Stands on the
//! configuration's walk, between [`super::install`] and [`crate::discovery`].

use crate::discovery::{self, Chosen, FileId, Importable};
use pyo3::prelude::*;
use stroboscope_core::host::Outcome;
use stroboscope_core::probe::location;
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;

/// What is known of a probe's place before code is read.
pub(super) enum Target {
    Lines(Vec<FileId>),
    Method(Vec<FileId>),
    /// No file is known; a look for code may find one.
    Missing(Outcome),
    /// It is decided.
    Settled(Outcome),
}

impl Target {
    pub(super) fn files(&self) -> &[FileId] {
        match self {
            Target::Lines(files) | Target::Method(files) => files,
            _ => &[],
        }
    }
}

/// True while the module of a method probe runs its top level, which may still define the name.
pub(super) fn still_runs(py: Python<'_>, live: &LiveProbe) -> bool {
    let Location::Method { type_name, method, .. } = &live.probe.location else { return false };
    let readings = location::readings(type_name, method);
    readings.iter().any(|(module, _)| discovery::is_executing(py, module).unwrap_or(false))
}

pub(super) fn target(py: Python<'_>, live: &LiveProbe, exact: Option<&str>) -> Target {
    match &live.probe.location {
        Location::Lines { file, .. } => match discovery::choose(py, file, exact) {
            Chosen::Files(files) => Target::Lines(files),
            Chosen::Importable(path, alike) => {
                let alike =
                    alike.map_or_else(String::new, |alike| format!("; {alike} is loaded, which is another file"));
                Target::Missing(Outcome::Waiting(format!("{path} is not imported yet; the probe waits for it{alike}")))
            }
            Chosen::Compiled(reason) => Target::Settled(Outcome::Refused { kind: "NotAPythonFunction", reason }),
            Chosen::Ours(path) => Target::Settled(Outcome::Blocked(format!(
                "{path} is a part of stroboscope, whose own code is never instrumented"
            ))),
            Chosen::Ambiguous(reason) => Target::Settled(Outcome::Refused { kind: AMBIGUOUS, reason }),
            Chosen::Missing(near) => {
                let near = if near.is_empty() { near } else { format!(" (of that name there is {near})") };
                Target::Missing(Outcome::NotFound(format!(
                    "source file not found: no loaded file and none on sys.path is like {file}{near}; the probe goes on waiting"
                )))
            }
        },
        Location::Method { type_name, method, .. } => method_target(py, type_name, method),
    }
}

fn method_target(py: Python<'_>, type_name: &str, method: &str) -> Target {
    let mut loaded = false;
    for (module, _) in location::readings(type_name, method) {
        if module == "stroboscope" || module.starts_with("stroboscope.") {
            return Target::Settled(Outcome::Blocked(format!(
                "module `{module}` is a part of stroboscope, whose own code is never instrumented"
            )));
        }
        if discovery::is_main(&module) && !discovery::has_begun() {
            return Target::Settled(Outcome::Waiting(
                "the program has not begun yet; the probe waits for it".to_owned(),
            ));
        }
        let files = discovery::files_of_module(py, &module);
        if !files.is_empty() {
            return Target::Method(files);
        }
        loaded |= discovery::is_loaded(py, &module);
    }
    if loaded {
        return Target::Method(Vec::new());
    }
    for (module, _) in location::readings(type_name, method) {
        match discovery::importable(py, &module) {
            Importable::Source(found) => {
                return Target::Settled(Outcome::Waiting(format!(
                    "module `{module}` ({found}) is not imported yet; the probe waits for it"
                )));
            }
            Importable::Compiled(reason) => {
                return Target::Settled(Outcome::Refused { kind: "NotAPythonFunction", reason });
            }
            Importable::None => {}
        }
    }
    Target::Missing(Outcome::NotFound(format!(
        "module not found: no loaded module and none on sys.path is called `{type_name}`; the probe goes on waiting"
    )))
}

/// The wire's word for a file that several match equally well.
pub(super) const AMBIGUOUS: &str = "AmbiguousFile";

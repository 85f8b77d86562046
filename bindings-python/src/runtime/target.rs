//! What is known of a probe's place before code is read: the files that it means, or why there is none. Stands on the
//! configuration's walk, between [`super::install`] and [`crate::discovery`].

use super::answer::near;
use crate::discovery::{self, Chosen, FileId, Importable};
use pyo3::prelude::*;
use std::collections::HashMap;
use stroboscope_core::host::Outcome;
use stroboscope_core::probe::location::{self, SourcePath};
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

/// What was found out for the probes that are placed together: many are in the same files and modules.
#[derive(Default)]
pub(super) struct Known {
    chosen: HashMap<(String, Option<String>), Chosen>,
    importable: HashMap<String, Importable>,
    near: HashMap<String, String>,
}

impl Known {
    fn choose(&mut self, py: Python<'_>, file: &str, exact: Option<&str>) -> Chosen {
        let key = (file.to_owned(), exact.map(str::to_owned));
        self.chosen.entry(key).or_insert_with(|| discovery::choose(py, file, exact)).clone()
    }

    fn importable(&mut self, py: Python<'_>, module: &str) -> Importable {
        let known = self.importable.entry(module.to_owned());
        known.or_insert_with(|| discovery::importable(py, module)).clone()
    }

    /// The module that a path means, or what comes nearest to it.
    fn near_path(&mut self, py: Python<'_>, path: &str) -> String {
        let path = SourcePath::new(path).text();
        let module = path.strip_suffix(".py").unwrap_or(&path).trim_start_matches('/').replace('/', ".");
        if discovery::is_loaded(py, &module) || !matches!(self.importable(py, &module), Importable::None) {
            return near(&[module]);
        }
        self.near(py, &module).to_owned()
    }

    fn near(&mut self, py: Python<'_>, module: &str) -> &str {
        self.near.entry(module.to_owned()).or_insert_with(|| near(&discovery::modules_near(py, module)))
    }
}

pub(super) fn target(py: Python<'_>, live: &LiveProbe, exact: Option<&str>, known: &mut Known) -> Target {
    match &live.probe.location {
        Location::Lines { file, .. } => match known.choose(py, file, exact) {
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
        Location::Method { type_name, method, .. } => method_target(py, type_name, method, known),
    }
}

fn method_target(py: Python<'_>, type_name: &str, method: &str, known: &mut Known) -> Target {
    if type_name.contains('/') {
        return Target::Missing(Outcome::NotFound(format!(
            "module not found: `{type_name}` is a path, and modules have names with dots{}; the probe goes on waiting",
            known.near_path(py, type_name)
        )));
    }
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
        if files.is_empty() && !discovery::is_loaded(py, &module) {
            continue;
        }
        let submodule = if module == type_name { None } else { submodule(py, type_name, &module, known) };
        return submodule.unwrap_or(Target::Method(files));
    }
    for (module, _) in location::readings(type_name, method) {
        if let Some(target) = not_imported(py, &module, known) {
            return target;
        }
    }
    let near = known.near(py, type_name);
    Target::Missing(Outcome::NotFound(format!(
        "module not found: no loaded module and none on sys.path is called `{type_name}`{near}; the probe goes on waiting"
    )))
}

/// What is known of a submodule that is not loaded, while its package is: the last part of the name may be a class of the
/// package as well, and is none.
fn submodule(py: Python<'_>, name: &str, package: &str, known: &mut Known) -> Option<Target> {
    if discovery::has_class(py, package, name.strip_prefix(package)?.strip_prefix('.')?) {
        return None;
    }
    not_imported(py, name, known)
}

/// A module that an import would find.
fn not_imported(py: Python<'_>, module: &str, known: &mut Known) -> Option<Target> {
    Some(Target::Settled(match known.importable(py, module) {
        Importable::Source(found) => {
            Outcome::Waiting(format!("module `{module}` ({found}) is not imported yet; the probe waits for it"))
        }
        Importable::Hidden => {
            Outcome::Waiting(format!("module `{module}` is not imported yet; the probe waits for it"))
        }
        Importable::Compiled(reason) => Outcome::Refused { kind: "NotAPythonFunction", reason },
        Importable::None => return None,
    }))
}

/// The wire's word for a file that several match equally well.
pub(super) const AMBIGUOUS: &str = "AmbiguousFile";

//! `explain()`, and the command of that name where there is no program: facts for the core, which makes the sentences. Beside
//! both walks.

use crate::discovery;
use crate::runtime::{CAPABILITIES, described, read_all};
use crate::statements::Opcodes;
use crate::{selftest, session};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::fmt::Write as _;
use std::path::Path;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::config::{Settings, Spelling};
use stroboscope_core::control::file;
use stroboscope_core::control::place::Folder;
use stroboscope_core::explain::{self as sentences, Facts};
use stroboscope_core::probe::compile;
use stroboscope_core::probe::location::{self, Candidate, Choice, SourcePath};
use stroboscope_core::probe::model::{Location, Probe};
use stroboscope_core::probe::wire::{self, Definition, Rejected};

/// Why a probe did or did not fire, in sentences.
#[pyfunction]
pub fn explain(py: Python<'_>, id: &str) -> PyResult<Vec<String>> {
    let said = session::explanation(py, id)?;
    said.ok_or_else(|| PyValueError::new_err(format!("no probe has the id {id}: status() has those that there are")))
}

/// Where probes would be, as far as files tell. `alike` finds the files of a name, and how many it looked at; `of_module` the
/// file of a module; `load` compiles one.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
pub fn explain_statically(
    py: Python<'_>,
    definitions: Vec<String>,
    settings: Vec<(String, String)>,
    alike: Bound<'_, PyAny>,
    of_module: Bound<'_, PyAny>,
    load: Bound<'_, PyAny>,
) -> PyResult<String> {
    let mut read: Vec<Result<Definition, Rejected>> =
        definitions.iter().map(|definition| wire::read_definition(definition, None)).collect();
    let (settings, _) = Settings::from_environment(&settings, Spelling::Snake);
    if let Some(path) = &settings.probe_file {
        let found = file::read(path).map_err(|error| PyValueError::new_err(error.text))?;
        read.extend(found.probes);
    }
    let look = Look { alike, of_module, load, opcodes: Opcodes::read(py) };
    let mut text = String::new();
    for one in read {
        let (id, said) = match &one {
            Ok(definition) => (Some(definition.id.as_str()), of_definition(py, definition, &look)?),
            Err(rejected) => (rejected.id.as_deref(), vec![rejected.text.clone()]),
        };
        let _ = writeln!(text, "{}", id.unwrap_or("?")); // into a String, which cannot fail
        for sentence in said {
            let _ = writeln!(text, "  {sentence}"); // likewise
        }
    }
    let folder = std::env::current_dir().unwrap_or_default();
    Ok(Folder::new(&folder.to_string_lossy()).short(&text).into_owned())
}

/// How files are found.
struct Look<'py> {
    alike: Bound<'py, PyAny>,
    of_module: Bound<'py, PyAny>,
    load: Bound<'py, PyAny>,
    opcodes: Opcodes,
}

fn of_definition(py: Python<'_>, definition: &Definition, look: &Look<'_>) -> PyResult<Vec<String>> {
    let redaction = Redaction::default();
    let probe = match compile::compile(definition, &|name| redaction.name(name), &CAPABILITIES) {
        Ok(probe) => probe,
        Err(error) => return Ok(vec![error.text]),
    };
    if let Some(reason) = compile::not_yet(&probe.kind, &CAPABILITIES) {
        return Ok(vec![reason.to_owned()]);
    }
    let (paths, searched) = meant(&probe, look)?;
    let mut facts = Facts { searched, ..Facts::default() };
    let mut broken = Vec::new();
    for path in paths {
        match look.load.call1((&path,)) {
            Ok(compiled) => {
                let Some(root) = selftest::borrow(&compiled) else { continue };
                let mut code = discovery::functions_of(py, root, &path);
                read_all(py, &mut code, &look.opcodes)?;
                facts.files.push(described(py, path, &code, &probe.location));
            }
            Err(error) => broken.push(format!("{path} cannot be compiled: {}.", error.value(py))),
        }
    }
    let mut said = sentences::statically(&probe, &facts, &CAPABILITIES);
    said.extend(broken);
    Ok(said)
}

/// The files that a probe means, and how many were looked at for that.
fn meant(probe: &Probe, look: &Look<'_>) -> PyResult<(Vec<String>, Option<usize>)> {
    match &probe.location {
        Location::Lines { file, .. } if Path::new(file).is_file() => Ok((vec![file.clone()], None)),
        Location::Lines { file, .. } => {
            let name = SourcePath::new(file).name_key();
            let (paths, searched): (Vec<String>, usize) = look.alike.call1((name,))?.extract()?;
            let candidates: Vec<Candidate> = paths.iter().map(|path| Candidate::new(path, false)).collect();
            let chosen = match location::choose(&candidates, file) {
                Choice::File(found) => found.into_iter().take(1).map(|at| paths[at].clone()).collect(),
                Choice::Ambiguous(_) => paths,
                Choice::None => Vec::new(),
            };
            Ok((chosen, Some(searched)))
        }
        Location::Method { type_name, method, .. } => {
            for (module, _) in location::readings(type_name, method) {
                let path: Option<String> = look.of_module.call1((&module,))?.extract()?;
                if let Some(path) = path {
                    return Ok((vec![path], None));
                }
            }
            Ok((Vec::new(), None))
        }
    }
}

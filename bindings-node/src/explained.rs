//! What is known of the place of a probe, for people who ask why it did or did not fire. Beside both walks: the core asks, and
//! makes the sentences. Without a program it is the text of files that is looked at.

use crate::place::{File, Use};
use crate::runtime::CAPABILITIES;
use crate::{guard, placing};
use napi_derive::napi;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::config::{Settings, Spelling};
use stroboscope_core::control::command::Run;
use stroboscope_core::control::file;
use stroboscope_core::control::place::Folder;
use stroboscope_core::explain::{self, Facts};
use stroboscope_core::probe::compile;
use stroboscope_core::probe::location::{self, Candidate, Choice, SourcePath};
use stroboscope_core::probe::wire::{self, Definition, Rejected};
use stroboscope_core::registry::LiveProbe;
use stroboscope_rewriter::{Module, SourceKind};

/// Files that are handed over; more are hardly ever meant.
const FILES: usize = 4;
/// Files that are looked at below the working folder.
const MOST: usize = 100_000;

/// Probes on lines of functions that have been called since.
static RAN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn ran() -> MutexGuard<'static, BTreeSet<u32>> {
    RAN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A function with a probe on one of its lines has been called.
#[napi]
pub fn intake_ran(slot: u32) {
    ran().insert(slot);
}

/// The probes of a session are gone.
pub fn forget() {
    ran().clear();
}

/// What is known of the place of a probe. The first time a module is asked for it is read, which takes a while.
pub fn facts(live: &LiveProbe) -> Facts {
    let (searched, units) = placing::meant(&live.probe);
    let is_it = |one: &Use| one.live.slot == live.slot && !one.lines.is_empty();
    let stands = units.iter().any(|(unit, _)| unit.uses().values().flatten().any(is_it));
    let mut files = Vec::new();
    for (unit, source) in units.iter().take(FILES) {
        let Ok(module) = unit.read() else { continue };
        let file = match (source, unit.known_origins()) {
            (Some(source), Some(origins)) => File::original(&module, &origins.sources[*source], &origins.map, *source),
            _ => File::loaded(&module, &unit.path),
        };
        files.push(file.described(&live.probe.location));
    }
    let ran = stands.then(|| ran().contains(&live.slot));
    Facts { searched: Some(searched), files, ran, since_asked: false }
}

/// Where probes would be, as far as files tell. Nothing of the program runs.
pub fn statically(run: &Run) -> Result<String, String> {
    let mut read: Vec<Result<Definition, Rejected>> =
        run.probes.iter().map(|definition| wire::read_definition(definition, None)).collect();
    let (settings, _) = Settings::from_environment(&run.settings, Spelling::Camel);
    if let Some(path) = &settings.probe_file {
        read.extend(file::read(path).map_err(|error| error.text)?.probes);
    }
    let mut text = String::new();
    for one in read {
        let (id, said) = match &one {
            Ok(definition) => (Some(definition.id.as_str()), of_definition(definition)),
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

fn of_definition(definition: &Definition) -> Vec<String> {
    let redaction = Redaction::default();
    let probe = match compile::compile(definition, &|name| redaction.name(name), &CAPABILITIES) {
        Ok(probe) => probe,
        Err(error) => return vec![error.text],
    };
    if let Some(reason) = compile::not_yet(&probe.kind, &CAPABILITIES) {
        return vec![reason.to_owned()];
    }
    let (paths, searched) = placing::file_of(&probe).map_or_else(|| (Vec::new(), None), named);
    let mut facts = Facts { searched, ..Facts::default() };
    let mut broken = Vec::new();
    for path in paths {
        match guard::caught(|| read_file(&path)) {
            Some(Ok(module)) => facts.files.push(File::loaded(&module, &path).described(&probe.location)),
            Some(Err(reason)) => broken.push(format!("{path} cannot be read: {reason}.")),
            None => broken.push(format!("{path} cannot be read: our own code failed.")),
        }
    }
    let mut said = explain::statically(&probe, &facts, &CAPABILITIES);
    said.extend(broken);
    said
}

/// A file as a module of the kind that it seems to be.
fn read_file(path: &str) -> Result<Module, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let read = |kind| Module::read(&text, kind).map_err(|error| error.to_string());
    if Path::new(path).extension().is_some_and(|extension| extension == "mjs") {
        return read(SourceKind::Esm);
    }
    read(SourceKind::CommonJs).or_else(|reason| read(SourceKind::Esm).map_err(|_| reason))
}

/// The files that a path means, and how many were looked at for that.
fn named(file: &str) -> (Vec<String>, Option<usize>) {
    if Path::new(file).is_file() {
        return (vec![file.to_owned()], None);
    }
    let mut found = Alike { key: SourcePath::new(file).name_key(), paths: Vec::new(), looked_at: 0 };
    if let Ok(folder) = std::env::current_dir() {
        found.look(&folder, 0);
    }
    let candidates: Vec<Candidate> = found.paths.iter().map(|path| Candidate::new(path, false)).collect();
    let chosen = match location::choose(&candidates, file) {
        Choice::File(at) => at.into_iter().take(1).map(|at| found.paths[at].clone()).collect(),
        Choice::Ambiguous(_) => found.paths,
        Choice::None => Vec::new(),
    };
    (chosen, Some(found.looked_at))
}

/// Files that have a name, whatever its letter case.
struct Alike {
    key: String,
    paths: Vec<String>,
    looked_at: usize,
}

impl Alike {
    /// Looks below a folder. Links to folders are not followed.
    fn look(&mut self, folder: &Path, level: u32) {
        const LEVELS: u32 = 64;
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.') && *name != "node_modules") else {
                continue;
            };
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && level < LEVELS && self.looked_at < MOST {
                self.look(&entry.path(), level + 1);
            } else if [".js", ".cjs", ".mjs"].iter().any(|suffix| name.ends_with(suffix)) {
                self.looked_at += 1;
                if SourcePath::new(name).name_key() == self.key {
                    self.paths.push(entry.path().to_string_lossy().into_owned());
                }
            }
        }
    }
}

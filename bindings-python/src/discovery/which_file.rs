//! Chooses the file that a probe's source file means, among those of the index and those that could be imported. Stands on
//! the configuration's walk; the rule itself is the core's.

use super::index::{FileId, Started, candidates, walk_modules, with};
use super::paths::{compiled, compiled_beside, folders, is_same_file, on_path};
use super::without_gil;
use crate::code;
use pyo3::prelude::*;
use stroboscope_core::probe::location::{Choice, choose as choose_file, choose_existing, of_the_same_name};

/// What a probe's source file means.
pub enum Chosen {
    /// These files: one, or more copies of it.
    Files(Vec<FileId>),
    /// A file that is not loaded but could be; a loaded one that is like it, and is not meant.
    Importable(String, Option<String>),
    /// A file that is not what runs: the sentence says that its module is compiled.
    Compiled(String),
    /// A file of this package.
    Ours(String),
    /// Several that match equally well.
    Ambiguous(String),
    /// None. What comes nearest, if anything does.
    Missing(String),
}

/// Chooses the file that a probe means. `exact` is the file of this machine that its path leads to. All that takes longer
/// with more files is done without the GIL.
pub fn choose(py: Python<'_>, source_file: &str, exact: Option<&str>) -> Chosen {
    walk_modules(py);
    let chosen = match exact {
        Some(file) => choose_here(py, source_file, file),
        None => choose_alike(py, source_file),
    };
    if let Chosen::Importable(source, _) = &chosen
        && let Some(file) = compiled_beside(py, source)
    {
        return Chosen::Compiled(compiled(source, &file));
    }
    chosen
}

/// Chooses for a path that leads to a file of this machine.
fn choose_here(py: Python<'_>, source_file: &str, file: &str) -> Chosen {
    if code::is_own_file(file) {
        return Chosen::Ours(file.to_owned());
    }
    let links = links(py, file);
    with(|index| index.file(file));
    let known = candidates().unwrap_or_default();
    let choice = without_gil(py, || choose_existing(&known, file, |at| links.contains(&at)));
    let Choice::File(files) = choice else {
        // The index is full.
        return Chosen::Importable(file.to_owned(), None);
    };
    let loaded = with(|index| files.into_iter().filter(|&file| index.files[file].loaded).collect::<Vec<_>>());
    let loaded = loaded.unwrap_or_default();
    if loaded.is_empty() { Chosen::Importable(file.to_owned(), alike(py, source_file)) } else { Chosen::Files(loaded) }
}

/// Chooses for a path of another machine.
fn choose_alike(py: Python<'_>, source_file: &str) -> Chosen {
    if let Some(files) = with(|index| index.exactly(source_file)).flatten() {
        return Chosen::Files(files);
    }
    let folders = folders(py);
    let Some(mut known) = candidates() else { return Chosen::Missing(String::new()) };
    let mut count = known.len();
    let (importable, mut choice) =
        without_gil(py, move || (on_path(&folders, source_file, false), choose_file(&known, source_file)));
    with(|index| {
        for file in &importable {
            index.file(file);
        }
    });
    // What was added now, or by a file that started meanwhile, counts too.
    for _ in 0..5 {
        known = candidates().unwrap_or_default();
        if known.len() == count {
            break;
        }
        count = known.len();
        choice = without_gil(py, move || choose_file(&known, source_file));
    }
    let chosen = with(|index| match choice {
        Choice::File(files) if files.iter().any(|&file| index.files[file].loaded) => Some(Chosen::Files(files)),
        Choice::File(files) => Some(Chosen::Importable(index.files[files[0]].name.clone(), None)),
        Choice::Ambiguous(reason) => Some(Chosen::Ambiguous(reason)),
        Choice::None => importable.into_iter().find(|file| code::is_own_file(file)).map(Chosen::Ours),
    });
    chosen.flatten().unwrap_or_else(|| {
        let known = candidates().unwrap_or_default();
        Chosen::Missing(without_gil(py, || of_the_same_name(&known, source_file)))
    })
}

/// The loaded file that a path would mean if it led to none of this machine.
fn alike(py: Python<'_>, source_file: &str) -> Option<String> {
    let loaded = with(|index| {
        let files = index.files.iter().zip(index.candidates.iter()).filter(|(file, _)| file.loaded);
        files.map(|(_, candidate)| candidate.clone()).collect::<Vec<_>>()
    });
    let loaded = loaded.unwrap_or_default();
    without_gil(py, || match choose_file(&loaded, source_file) {
        Choice::File(found) => Some(loaded[found[0]].name().to_owned()),
        Choice::Ambiguous(_) | Choice::None => None,
    })
}

/// The loaded files that are a file by another name.
fn links(py: Python<'_>, file: &str) -> Vec<FileId> {
    let loaded = with(|index| {
        let files = index.files.iter().enumerate().filter(|(_, file)| file.loaded);
        files.map(|(at, file)| (at, file.name.clone())).collect::<Vec<_>>()
    });
    let loaded = loaded.unwrap_or_default();
    without_gil(py, || {
        loaded.into_iter().filter(|(_, name)| name != file && is_same_file(name, file)).map(|(at, _)| at).collect()
    })
}

/// What a probe's source file means, now that a file has started.
pub enum Meant {
    /// Not this file.
    No,
    /// This one, and these names are it.
    Here(Vec<String>),
    /// This one as well as others.
    Ambiguous(String),
}

/// Asks whether a probe's source file means a file that just started.
pub fn means(source_file: &str, exact: Option<&str>, started: &Started) -> Meant {
    let Some(file) = started.file else { return Meant::No };
    if let Some(exact) = exact {
        let here = is_same_file(&started.name, exact);
        return if here { Meant::Here(vec![exact.to_owned(), started.name.clone()]) } else { Meant::No };
    }
    let meant = with(|index| {
        let one = std::slice::from_ref(&index.candidates[file]);
        // Alone it matches more easily: a quick way to say no.
        if choose_file(one, source_file) == Choice::None {
            return Meant::No;
        }
        match choose_file(&index.candidates, source_file) {
            Choice::File(files) if files.contains(&file) => {
                Meant::Here(files.iter().map(|&file| index.files[file].name.clone()).collect())
            }
            Choice::File(_) => Meant::No,
            Choice::Ambiguous(reason) => Meant::Ambiguous(reason),
            Choice::None => Meant::Ambiguous(format!(
                "source file is ambiguous: only the name is like {}",
                of_the_same_name(&index.candidates, source_file)
            )),
        }
    });
    meant.unwrap_or(Meant::No)
}

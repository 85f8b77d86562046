//! Chooses the file that a probe's source file means, among those of the index and those that could be imported. Stands on
//! the configuration's walk; the rule itself is the core's.

use super::index::{FileId, Index, Known, Started, candidates, walk_modules, with};
use super::paths::{Identity, compiled, compiled_beside, folders, identified, is_same_file, on_path};
use super::without_gil;
use crate::code;
use pyo3::prelude::*;
use stroboscope_core::probe::location::{
    Candidate, Choice, SourcePath, choose as choose_file, choose_existing, of_the_same_name,
};

/// What a probe's source file means.
#[derive(Clone)]
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
    let path = SourcePath::new(file).text();
    // Of all files only those that can be it.
    let near = with(|index| {
        let equal = index.by_path.get(&path).into_iter().flatten();
        let mut near: Vec<FileId> = equal.chain(&links).copied().collect();
        near.sort_unstable();
        near.dedup();
        let known: Vec<Candidate> = near.iter().map(|&at| index.candidates[at].clone()).collect();
        (near, known)
    });
    let (near, known) = near.unwrap_or_default();
    let choice = match choose_existing(&known, file, |at| links.contains(&near[at])) {
        Choice::File(found) => Choice::File(found.into_iter().map(|at| near[at]).collect()),
        other => other,
    };
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
        without_gil(py, || (on_path(&folders, source_file, false), choose_file(&known, source_file)));
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
    let new = with(|index| {
        let from = std::mem::replace(&mut index.identified, index.files.len());
        let new = index
            .files
            .iter()
            .enumerate()
            .skip(from)
            .filter(|(_, file)| !file.library && file.identity == Known::Unasked);
        new.map(|(at, file)| (at, file.name.clone())).collect::<Vec<_>>()
    });
    let new = new.unwrap_or_default();
    let (own, new) = without_gil(py, || {
        let new: Vec<_> = new.into_iter().map(|(at, name)| (at, identified(&name))).collect();
        (identified(file), new)
    });
    let near = with(|index| {
        for (at, identity) in new {
            index.identify(at, identity);
        }
        let named = index.by_key.get(&SourcePath::new(file).name_key()).into_iter().flatten();
        let linked = own.and_then(|own| index.by_identity.get(&own)).into_iter().flatten();
        let mut near: Vec<FileId> = named.chain(linked).copied().collect();
        near.sort_unstable();
        near.dedup();
        near.retain(|&at| index.files[at].loaded && index.files[at].name != file);
        let names = near.into_iter().map(|at| (at, index.files[at].name.clone(), index.known_same(file, at)));
        names.collect::<Vec<_>>()
    });
    let near = near.unwrap_or_default();
    let asked = without_gil(py, || {
        near.into_iter()
            .map(|(at, name, known)| (at, known.unwrap_or_else(|| is_same_file(&name, file))))
            .collect::<Vec<_>>()
    });
    with(|index| {
        for &(at, same) in &asked {
            index.keep_same(file, at, same);
        }
    });
    asked.into_iter().filter(|(_, same)| *same).map(|(at, _)| at).collect()
}

/// Answers of the file system that are kept.
const MAX_SAME: usize = 100_000;

impl Index {
    fn identify(&mut self, file: FileId, identity: Option<Identity>) {
        self.files[file].identity = identity.map_or(Known::Absent, Known::Is);
        if let Some(identity) = identity {
            let files = self.by_identity.entry(identity).or_default();
            if !files.contains(&file) {
                files.push(file);
            }
        }
    }

    /// What was found out before of a file's name and a file of the index.
    fn known_same(&self, name: &str, file: FileId) -> Option<bool> {
        self.same.get(&(name.to_owned(), file)).copied()
    }

    fn keep_same(&mut self, name: &str, file: FileId, same: bool) {
        if self.same.len() >= MAX_SAME {
            self.same.clear();
        }
        self.same.insert((name.to_owned(), file), same);
    }
}

/// What a file of the index is, whatever its name. Asks the file system once.
pub fn identity(file: FileId) -> Option<Identity> {
    let asked = |index: &mut Index| index.files.get(file).map(|it| (it.identity, it.name.clone()));
    let (known, name) = with(asked).flatten()?;
    match known {
        Known::Is(identity) => return Some(identity),
        Known::Absent => return None,
        Known::Unasked => {}
    }
    let identity = identified(&name);
    with(|index| index.identify(file, identity));
    identity
}

/// True if a path of this machine leads to a file that just started. Asks the file system once for both.
fn leads_to(exact: &str, file: FileId, name: &str) -> bool {
    if exact == name {
        return true;
    }
    if let Some(known) = with(|index| index.known_same(exact, file)).flatten() {
        return known;
    }
    let same = is_same_file(name, exact);
    with(|index| index.keep_same(exact, file, same));
    same
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
        let here = leads_to(exact, file, &started.name);
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

//! The index of files. Stands on the configuration's walk: files are noted as their first line is about to run.
//!
//! The index holds names. Code is kept only of the program's own files, and of others while a probe is in them.

use super::functions::FileCode;
use super::modules::{MAIN, is_executing, is_loaded};
use super::paths::{Identity, absolute, current_folder, is_put_off, is_source};
use super::sys;
use crate::code;
use crate::hooks;
use crate::names::Held;
use crate::object::{Owned, Ref};
use pyo3::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use stroboscope_core::probe::location::{Candidate, SourcePath};
use stroboscope_core::text::Text;

/// Files in the index; a program that makes files without end does not make us grow without end.
const MAX_FILES: usize = 50_000;
/// Outermost code of one file that is kept at most, all of it in use: the newest.
const MAX_ROOTS: usize = 10_000;
/// As many may have come before it is looked which of them are in use.
const FIRST_SWEEP: usize = 16;

/// What is known of a file.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct File {
    pub(super) name: String,
    /// False if it could be imported but was not yet, as far as we know.
    pub(super) loaded: bool,
    /// Not the program's own: its code is not kept for the case that a probe comes.
    pub(super) library: bool,
    pub(super) identity: Known,
    /// True if all its code is below `roots`.
    pub(super) complete: bool,
    /// Its outermost code.
    pub(super) roots: Vec<Owned>,
    /// The addresses of all code below `roots`; `None` if nobody asked since one of them went.
    pub(super) below: Option<HashSet<usize>>,
    /// So many roots are looked through for those that nobody uses any more.
    sweep_at: usize,
    /// True if code went that was in use.
    pub(super) overflows: bool,
    /// True if functions of it came by value, and the file itself never ran.
    pub(super) partial: bool,
    /// Counts the changes of `roots`.
    pub(super) changes: u32,
    pub(super) read: Option<FileCode>,
}

/// What is known of what a file is on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Unasked,
    Absent,
    Is(Identity),
}

/// All files.
#[derive(Default)]
pub(super) struct Index {
    pub(super) files: Vec<File>,
    /// What the core decides on; parallel to `files`. Shared, so that it can be gone through without the GIL.
    pub(super) candidates: Arc<Vec<Candidate>>,
    pub(super) by_name: HashMap<String, usize>,
    /// By absolute path, normalised: one file may have been named in several ways.
    pub(super) by_path: HashMap<String, Vec<usize>>,
    /// By the name without folders, whatever its letter case.
    pub(super) by_key: HashMap<String, Vec<usize>>,
    /// The files that may be links, by what they are; and how many of `files` were looked at for that.
    pub(super) by_identity: HashMap<Identity, Vec<usize>>,
    pub(super) identified: usize,
    /// For names of files whether a file of the index is the same by another name, asked once.
    pub(super) same: HashMap<(String, usize), bool>,
    /// Modules that started while we watched, and their files.
    pub(super) modules: HashMap<String, usize>,
    /// The standard library's folders.
    standard: Vec<String>,
    /// The entries of `sys.modules` when they were walked.
    walked: usize,
    /// True if every file that starts is seen.
    watching: bool,
    /// True once the program itself has begun; before, `sys.path` lacks its folder.
    begun: bool,
    /// True once all files of the collector's objects are in the index.
    pub(super) looked: bool,
    /// How often the collector's objects were looked at.
    pub(super) looks: u32,
    /// The number of files whose functions are kept read.
    pub(super) kept: usize,
}

static INDEX: Held<Option<Index>> = Held::new(None);

/// A file in the index.
pub type FileId = usize;

/// Begins an index. `watching`: every file that starts will be handed to [`note`].
pub fn begin(py: Python<'_>, watching: bool) -> PyResult<()> {
    let os = py.import("os")?.getattr("__file__")?.extract::<String>()?;
    let standard = os.rfind('/').map(|slash| os[..=slash].to_owned());
    let begun = is_executing(py, MAIN)?;
    let index = Index { standard: standard.into_iter().collect(), watching, begun, ..Index::default() };
    drop(INDEX.with(|slot| slot.replace(index)));
    walk_modules(py);
    Ok(())
}

/// Lets go of everything.
pub fn forget() {
    drop(INDEX.with(Option::take));
}

pub(super) fn with<R>(use_it: impl FnOnce(&mut Index) -> R) -> Option<R> {
    INDEX.with(|index| index.as_mut().map(use_it)).flatten()
}

impl Index {
    /// The file of a name, which is absolute.
    pub(super) fn file(&mut self, name: &str) -> Option<FileId> {
        if let Some(&known) = self.by_name.get(name) {
            return Some(known);
        }
        if self.files.len() >= MAX_FILES || code::is_own_file(name) {
            return None;
        }
        let beside =
            |folder: &String| name.starts_with(folder.as_str()) && !name[folder.len()..].contains("-packages/");
        let candidate = Candidate::new(name, self.standard.iter().any(beside));
        let id = self.files.len();
        self.files.push(File {
            name: name.to_owned(),
            loaded: false,
            library: candidate.is_library(),
            identity: Known::Unasked,
            complete: false,
            roots: Vec::new(),
            below: None,
            sweep_at: FIRST_SWEEP,
            overflows: false,
            partial: false,
            changes: 0,
            read: None,
        });
        Arc::make_mut(&mut self.candidates).push(candidate);
        self.by_name.insert(name.to_owned(), id);
        let path = SourcePath::new(name);
        self.by_path.entry(path.text()).or_default().push(id);
        self.by_key.entry(path.name_key()).or_default().push(id);
        Some(id)
    }

    /// The files that a probe names by their whole path: nothing else can mean it better.
    pub(super) fn exactly(&self, source_file: &str) -> Option<Vec<FileId>> {
        let path = SourcePath::new(source_file).text();
        let files = self.by_path.get(&path).filter(|_| path.starts_with('/'))?;
        files.iter().any(|&file| self.files[file].loaded).then(|| files.clone())
    }

    /// Adds outermost code. What goes for it is to be dropped outside of the borrow.
    fn add_root(&mut self, id: FileId, root: Ref<'_>, gone: &mut Gone) {
        let file = &mut self.files[id];
        if file.roots.iter().any(|known| known.borrow() == root) {
            return;
        }
        if file.roots.len() >= file.sweep_at {
            file.sweep(gone);
        }
        if let Some(below) = &mut file.below {
            below.extend(addresses(root));
        }
        file.roots.push(Owned::keep(root));
        file.changes += 1;
    }
}

/// Code that left the index.
#[derive(Default)]
struct Gone {
    unused: Vec<Owned>,
    used: Vec<Owned>,
}

/// What was read of a file holds its code: it goes before it is looked what else does.
fn before_sweep(name: &str) {
    let read = with(|index| {
        let &id = index.by_name.get(name)?;
        let file = &mut index.files[id];
        let read = if file.roots.len() >= file.sweep_at { file.read.take() } else { None };
        index.kept -= usize::from(read.is_some());
        read
    });
    drop(read);
}

impl File {
    /// Lets go of outermost code that nobody uses any more: the program has dropped the copy.
    fn sweep(&mut self, gone: &mut Gone) {
        let (used, unused) = std::mem::take(&mut self.roots).into_iter().partition(|root| is_used(root.borrow()));
        (self.roots, gone.unused) = (used, unused);
        if self.roots.len() >= MAX_ROOTS {
            // More than one, so that not each that comes from now on looks through all of them.
            gone.used.extend(self.roots.drain(..MAX_ROOTS / 10));
            self.overflows = true;
        }
        self.below = None;
        self.changes += 1;
        self.sweep_at = (2 * self.roots.len()).clamp(FIRST_SWEEP, MAX_ROOTS);
    }

    /// True if code is written inside what is known of the file.
    fn has(&mut self, code: Ref<'_>) -> bool {
        let roots = &self.roots;
        let below = self.below.get_or_insert_with(|| roots.iter().flat_map(|root| addresses(root.borrow())).collect());
        below.contains(&(code.pointer() as usize))
    }
}

/// The addresses of code and all that is written inside it.
fn addresses(code: Ref<'_>) -> Vec<usize> {
    let mut all = Vec::new();
    code::with_nested(code, &mut all);
    all.into_iter().map(|code| code.pointer() as usize).collect()
}

/// True if somebody besides us holds outermost code or what is written inside it: functions, frames, whoever runs it again.
/// The code around it holds each, and so does the table of probes.
fn is_used(root: Ref<'_>) -> bool {
    let mut all = Vec::new();
    code::with_nested(root, &mut all);
    all.into_iter().any(|code| {
        // SAFETY: a live object, and the GIL is held, as for everything here.
        let holders = unsafe { pyo3::ffi::Py_REFCNT(code.pointer()) };
        holders > 1 + isize::from(hooks::site(code).is_some())
    })
}

/// Puts the files of all modules into the index.
pub(super) fn walk_modules(py: Python<'_>) {
    let modules = sys(py, c"modules");
    let Some(modules) = modules.as_ref().map(Owned::borrow) else { return };
    let stale = with(|index| !index.watching || index.walked == 0 || index.walked > modules.dict_len());
    if stale != Some(true) {
        return;
    }
    let key = Owned::text(Text::Utf8("__file__"));
    let mut found: Vec<String> = Vec::new();
    modules.dict_entries(|_, module| {
        let key = key.as_ref().filter(|_| !is_put_off(module));
        let file = key.and_then(|key| module.module_dict()?.dict_get(key.borrow())).and_then(Ref::text);
        found.extend(file.map(Text::to_text).filter(|file| is_source(file)));
        true
    });
    let folder = current_folder();
    let count = modules.dict_len();
    with(|index| {
        for name in found {
            if let Some(id) = index.file(&absolute(name, folder.as_deref())) {
                index.files[id].loaded = true;
            }
        }
        index.walked = count;
    });
}

/// Code that begins to run as the top level of a module.
pub struct Started {
    /// Its file; `None` for code that is from none: `python -c`, standard input, `exec`.
    pub file: Option<FileId>,
    /// The file's name, or `<string>` and its like.
    pub name: String,
    /// The module that it runs as.
    pub module: String,
    /// Outermost code of the file that nobody uses any more. Probes may be in it.
    pub gone: Vec<Owned>,
}

/// Notes the top level of a file that starts to run. A reload is noted too: both copies may be alive.
pub fn note(code: Ref<'_>, globals: Option<Ref<'_>>) -> Option<Started> {
    let named = code::file(code)?;
    let text = named.text()?;
    let module = globals.and_then(|globals| globals.dict_get_text("__name__")).and_then(Ref::text);
    let module = module.map(Text::to_text).unwrap_or_default();
    if module == MAIN {
        with(|index| index.begun = true);
    }
    let name = if text.code_points().next() == Some(u32::from('<')) {
        let name = text.to_text();
        if !name.starts_with("<frozen ") {
            return (!module.is_empty()).then_some(Started { file: None, name, module, gone: Vec::new() });
        }
        // Frozen: the import system has set `__file__` already.
        globals?.dict_get_text("__file__")?.text()?.to_text()
    } else {
        let name = text.to_text();
        let folder = if name.starts_with('/') { None } else { current_folder() };
        absolute(name, folder.as_deref())
    };
    before_sweep(&name);
    let mut gone = Gone::default();
    let started = with(|index| {
        let file = index.file(&name)?;
        index.come(file, code, &mut gone);
        index.files[file].partial = false;
        if !index.files[file].library && !module.is_empty() && index.modules.len() < MAX_FILES {
            index.modules.insert(module.clone(), file);
        }
        Some(Started { file: Some(file), name, module, gone: Vec::new() })
    });
    let Gone { unused, used } = gone;
    drop(used);
    started.flatten().map(|started| Started { gone: unused, ..started })
}

impl Index {
    /// Code of a file has come.
    fn come(&mut self, file: FileId, code: Ref<'_>, gone: &mut Gone) {
        let known = &mut self.files[file];
        if !known.loaded {
            known.loaded = true;
            known.complete = !known.library;
        }
        if known.complete || !known.library {
            self.add_root(file, code, gone);
        }
    }
}

/// Notes code that came without its file: a function got it, or was made of it. `None` if it is known. `module`: where the
/// function says that it is from.
pub fn note_arrival(py: Python<'_>, code: Ref<'_>, module: &str) -> Option<Started> {
    let name = code::file(code)?.text()?.to_text();
    if name.is_empty() || name.starts_with('<') {
        return None;
    }
    let folder = if name.starts_with('/') { None } else { current_folder() };
    let name = absolute(name, folder.as_deref());
    let is_news = with(|index| {
        let file = index.file(&name)?;
        let known = &mut index.files[file];
        // Of a file whose code is not kept, all is looked for when a probe asks.
        Some((!known.loaded || known.complete) && !known.has(code))
    });
    if is_news.flatten() != Some(true) {
        return None;
    }
    let is_imported = is_loaded(py, module);
    before_sweep(&name);
    let mut gone = Gone::default();
    let arrived = with(|index| {
        let file = index.file(&name)?;
        let known = &mut index.files[file];
        known.partial |= !known.loaded;
        index.come(file, code, &mut gone);
        if index.files[file].partial && !is_imported && !module.is_empty() && index.modules.len() < MAX_FILES {
            index.modules.entry(module.to_owned()).or_insert(file);
        }
        Some(Started { file: Some(file), name, module: module.to_owned(), gone: Vec::new() })
    });
    let Gone { unused, used } = gone;
    drop(used);
    arrived.flatten().map(|arrived| Started { gone: unused, ..arrived })
}

/// True if the file itself never ran, as far as we know: functions of it came by value.
pub fn is_partial(file: FileId) -> bool {
    with(|index| index.files.get(file).is_some_and(|file| file.partial)).unwrap_or(false)
}

/// True if more code of a file is in use than is kept.
pub fn overflows(name: &str) -> bool {
    with(|index| index.by_name.get(name).is_some_and(|&file| index.files[file].overflows)).unwrap_or(false)
}

/// The names of all files that are loaded.
pub(super) fn loaded_files() -> Vec<String> {
    let loaded = |index: &mut Index| {
        index.files.iter().filter(|file| file.loaded).map(|file| file.name.clone()).collect::<Vec<_>>()
    };
    with(loaded).unwrap_or_default()
}

/// True once the program itself has begun to run.
pub fn has_begun() -> bool {
    with(|index| index.begun).unwrap_or(true)
}

pub(super) fn candidates() -> Option<Arc<Vec<Candidate>>> {
    with(|index| Arc::clone(&index.candidates))
}

/// The name of a file.
pub fn name(file: FileId) -> String {
    with(|index| index.files.get(file).map(|file| file.name.clone())).flatten().unwrap_or_default()
}

/// True for a file that is not the program's own.
pub fn is_library(file: FileId) -> bool {
    with(|index| index.files.get(file).is_some_and(|file| file.library)).unwrap_or(false)
}

/// True if all code of a file is in the index.
pub fn is_complete(file: FileId) -> bool {
    with(|index| index.watching && index.files.get(file).is_some_and(|file| file.complete)).unwrap_or(false)
}

/// True if a look for code would find no file that is not in the index.
pub fn has_looked() -> bool {
    with(|index| index.watching && index.looked).unwrap_or(false)
}

/// How often the collector's objects were looked at.
pub fn looks() -> u32 {
    with(|index| index.looks).unwrap_or(0)
}

/// The number of files that are known.
pub fn known() -> usize {
    with(|index| index.files.len()).unwrap_or(0)
}

/// Counts the changes of a file's code.
pub fn changes(file: FileId) -> u32 {
    with(|index| index.files.get(file).map(|file| file.changes)).flatten().unwrap_or(0)
}

/// Lets go of code of a library in which no probe is left.
pub fn release(name: &str) {
    let old = with(|index| {
        let &id = index.by_name.get(name)?;
        let file = &mut index.files[id];
        if !file.library {
            return None;
        }
        file.complete = false;
        let read = file.read.take();
        index.kept -= usize::from(read.is_some());
        let file = &mut index.files[id];
        file.below = None;
        Some((std::mem::take(&mut file.roots), read))
    });
    drop(old);
}

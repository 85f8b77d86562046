//! Finds loaded code: an index of files, filled as they start to run, and for what ran before us by one look at modules,
//! running frames and the collector's objects. Stands on the configuration's walk, between [`crate::runtime`] and
//! [`crate::statements`].
//!
//! The index holds names. Code is kept only of the program's own files, and of others while a probe is in them.

use crate::code::{self, Instructions};
use crate::logical::LogicalLines;
use crate::names::Held;
use crate::object::{Owned, Ref};
use crate::selftest::borrow;
use crate::shim;
use crate::statements::{self, Code, Opcodes, Start};
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, c_int, c_void};
use std::path::Path;
use std::sync::Arc;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::probe::location::{
    Candidate, Choice, Function, FunctionKind, SourcePath, Statement, choose as choose_file, choose_existing,
    is_method, of_the_same_name,
};
use stroboscope_core::text::Text;

/// Files in the index; a program that makes files without end does not make us grow without end.
const MAX_FILES: usize = 50_000;
/// Copies of one file's code that are kept: the newest.
const MAX_ROOTS: usize = 16;
/// Files whose functions are kept read.
const MAX_READ: usize = 64;
/// Longest source that is looked at for statements over several lines.
const MAX_SOURCE: u64 = 16 << 20;
/// Objects that one look at the collector's visits at most: about a tenth of a second.
const MAX_VISITED: usize = 5_000_000;

/// What is known of a file.
struct File {
    name: String,
    /// False if it could be imported but was not yet, as far as we know.
    loaded: bool,
    /// Not the program's own: its code is not kept for the case that a probe comes.
    library: bool,
    /// True if all its code is below `roots`.
    complete: bool,
    /// Its outermost code.
    roots: Vec<Owned>,
    /// Counts the changes of `roots`.
    changes: u32,
    read: Option<FileCode>,
}

/// Does work without the GIL, and says how long it took.
fn without_gil<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    let began = SystemClock.monotonic();
    let done = py.detach(work);
    crate::runtime::released(SystemClock.monotonic() - began);
    done
}

/// All files.
#[derive(Default)]
struct Index {
    files: Vec<File>,
    /// What the core decides on; parallel to `files`. Shared, so that it can be gone through without the GIL.
    candidates: Arc<Vec<Candidate>>,
    by_name: HashMap<String, usize>,
    /// By absolute path, normalised: one file may have been named in several ways.
    by_path: HashMap<String, Vec<usize>>,
    /// Modules that started while we watched, and their files.
    modules: HashMap<String, usize>,
    /// The standard library's folders.
    standard: Vec<String>,
    /// The entries of `sys.modules` when they were walked.
    walked: usize,
    /// True if every file that starts is seen.
    watching: bool,
    /// True once the program itself has begun; before, `sys.path` lacks its folder.
    begun: bool,
    /// True once all files of the collector's objects are in the index.
    looked: bool,
    /// How often the collector's objects were looked at.
    looks: u32,
    /// The number of files whose functions are kept read.
    kept: usize,
}

static INDEX: Held<Option<Index>> = Held::new(None);

/// A file in the index.
pub type FileId = usize;

/// A function of a file, for the hook.
pub struct PyFunction {
    /// The code.
    pub code: Owned,
    /// Where its statements begin, and what else the hook needs; `None` before it was read.
    pub read: Option<Read>,
}

/// What is read from the instructions of a code object.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Where its statements begin.
    pub starts: Vec<Start>,
    /// The names that it loads from its module, as positions in `co_names`.
    pub globals: Vec<usize>,
    /// The number of its instructions.
    pub instructions: usize,
}

/// The functions of a file, outermost first within each copy.
#[derive(Default)]
pub struct FileCode {
    /// What the core decides on. The statements of a function are there once it is read.
    pub plain: Vec<Function>,
    /// The qualified names; parallel to `plain`.
    pub qualified: Vec<String>,
    /// The code; parallel to `plain`.
    pub functions: Vec<PyFunction>,
    lines: Option<LogicalLines>,
    changes: u32,
}

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

fn with<R>(use_it: impl FnOnce(&mut Index) -> R) -> Option<R> {
    INDEX.with(|index| index.as_mut().map(use_it)).flatten()
}

impl Index {
    /// The file of a name, which is absolute.
    fn file(&mut self, name: &str) -> Option<FileId> {
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
            complete: false,
            roots: Vec::new(),
            changes: 0,
            read: None,
        });
        Arc::make_mut(&mut self.candidates).push(candidate);
        self.by_name.insert(name.to_owned(), id);
        self.by_path.entry(SourcePath::new(name).text()).or_default().push(id);
        Some(id)
    }

    /// The files that a probe names by their whole path: nothing else can mean it better.
    fn exactly(&self, source_file: &str) -> Option<Vec<FileId>> {
        let path = SourcePath::new(source_file).text();
        let files = self.by_path.get(&path).filter(|_| path.starts_with('/'))?;
        files.iter().any(|&file| self.files[file].loaded).then(|| files.clone())
    }

    /// Adds outermost code. What is pushed out goes to `old`, to be dropped outside of the borrow.
    fn add_root(&mut self, id: FileId, root: Ref<'_>, old: &mut Vec<Owned>) {
        let file = &mut self.files[id];
        if file.roots.iter().any(|known| known.borrow() == root) {
            return;
        }
        if file.roots.len() >= MAX_ROOTS {
            old.push(file.roots.remove(0));
        }
        file.roots.push(Owned::keep(root));
        file.changes += 1;
    }
}

/// Files by the object that names them: functions of a file share it.
#[derive(Default)]
struct FileNames {
    folder: Option<String>,
    frozen: HashMap<String, String>,
}

impl FileNames {
    fn read(py: Python<'_>) -> Self {
        let folder = current_folder();
        let mut names = FileNames { folder, frozen: HashMap::new() };
        // Frozen parts of the standard library do not name their files; their modules do.
        let Some(modules) = sys(py, c"modules") else { return names };
        modules.borrow().dict_entries(|name, module| {
            if let (Some(name), Some(file)) = (name.text(), file_of(module)) {
                names.frozen.insert(name.to_text(), file);
            }
            true
        });
        names
    }

    /// The absolute name of the file that code is from; `None` if it is from none.
    fn of(&self, named: Ref<'_>) -> Option<String> {
        let name = named.text()?.to_text();
        if let Some(module) = name.strip_prefix("<frozen ").and_then(|rest| rest.strip_suffix('>')) {
            return self.frozen.get(module).cloned();
        }
        if name.starts_with('<') || name.is_empty() {
            return None; // `<string>` and its like
        }
        Some(absolute(name, self.folder.as_deref()))
    }
}

fn current_folder() -> Option<String> {
    std::env::current_dir().ok().and_then(|folder| folder.into_os_string().into_string().ok())
}

fn absolute(name: String, folder: Option<&str>) -> String {
    match folder {
        Some(folder) if name.is_empty() => folder.to_owned(),
        Some(folder) if !name.starts_with('/') => format!("{folder}/{name}"),
        _ => name,
    }
}

/// `__file__` of a module, read from its namespace; no code of the program runs.
fn file_of(module: Ref<'_>) -> Option<String> {
    let file = module.module_dict()?.dict_get_text("__file__")?.text()?.to_text();
    is_source(&file).then_some(file)
}

/// True for a file of Python source; modules may as well be made from C.
fn is_source(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "py")
}

/// Puts the files of all modules into the index.
fn walk_modules(py: Python<'_>) {
    let modules = sys(py, c"modules");
    let Some(modules) = modules.as_ref().map(Owned::borrow) else { return };
    let stale = with(|index| !index.watching || index.walked == 0 || index.walked > modules.dict_len());
    if stale != Some(true) {
        return;
    }
    let key = Owned::text(Text::Utf8("__file__"));
    let mut found: Vec<String> = Vec::new();
    modules.dict_entries(|_, module| {
        let file = key.as_ref().and_then(|key| module.module_dict()?.dict_get(key.borrow())).and_then(Ref::text);
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
            return (!module.is_empty()).then_some(Started { file: None, name, module });
        }
        // Frozen: the import system has set `__file__` already.
        globals?.dict_get_text("__file__")?.text()?.to_text()
    } else {
        let name = text.to_text();
        let folder = if name.starts_with('/') { None } else { current_folder() };
        absolute(name, folder.as_deref())
    };
    let mut old = Vec::new();
    let started = with(|index| {
        let file = index.file(&name)?;
        let known = &mut index.files[file];
        if !known.loaded {
            known.loaded = true;
            known.complete = !known.library;
        }
        if known.complete || !known.library {
            index.add_root(file, code, &mut old);
        }
        if !index.files[file].library && !module.is_empty() && index.modules.len() < MAX_FILES {
            index.modules.insert(module.clone(), file);
        }
        Some(Started { file: Some(file), name, module })
    });
    drop(old);
    started.flatten()
}

/// What `sys` has under a name.
fn sys(_: Python<'_>, name: &CStr) -> Option<Owned> {
    // SAFETY: the GIL is held, as the token shows; a borrowed reference or null, kept before anything else happens.
    unsafe { Ref::new(pyo3::ffi::PySys_GetObject(name.as_ptr())) }.map(Owned::keep)
}

/// The folders of `sys.path`.
fn folders(py: Python<'_>) -> Vec<String> {
    let path = sys(py, c"path");
    // SAFETY: an element of a live list.
    let text = |&folder: &*mut PyObject| unsafe { Ref::new(folder) }.and_then(Ref::text).map(Text::to_text);
    let listed = path.as_ref().map_or(&[][..], |path| path.borrow().list());
    let mut folders: Vec<String> = listed.iter().take(100).filter_map(text).collect();
    if !has_begun() {
        folders.extend(script_folder(py));
    }
    folders
}

/// The files below folders that a path, or what is left of it as leading folders are dropped, leads to. Asks the file
/// system, so the GIL should not be held.
fn on_path(folders: &[String], file: &str, whole: bool) -> Vec<String> {
    let current = current_folder();
    let most = if whole { 1 } else { 20 };
    let suffixes: Vec<String> = SourcePath::new(file).suffixes().take(most).collect();
    let below = |folder: &String| {
        let folder = absolute(folder.trim_end_matches('/').to_owned(), current.as_deref());
        suffixes.iter().map(move |suffix| format!("{}/{suffix}", folder.trim_end_matches('/'))).collect::<Vec<_>>()
    };
    let below: Vec<Vec<String>> = folders.iter().map(below).collect();
    // The first folder that has it is the one that an import takes.
    let first = |at: usize| {
        let mut files = below.iter().filter_map(|files| files.get(at));
        files.find(|file| is_source(file) && Path::new(file).is_file()).cloned()
    };
    (0..suffixes.len()).filter_map(first).collect()
}

/// The module of the program itself, and its name in children of `multiprocessing`.
const MAIN: &str = "__main__";
const CHILD_MAIN: &str = "__mp_main__";

/// True for the names under which the program itself runs.
pub fn is_main(module: &str) -> bool {
    module == MAIN || module == CHILD_MAIN
}

/// True once the program itself has begun to run.
pub fn has_begun() -> bool {
    with(|index| index.begun).unwrap_or(true)
}

/// The folder that `sys.path` will begin with once the program runs.
fn script_folder(py: Python<'_>) -> Option<String> {
    let flags = sys(py, c"flags")?;
    // SAFETY: a live object, borrowed for the call.
    let flags = unsafe { Bound::from_borrowed_ptr(py, flags.borrow().pointer()) };
    if flags.getattr("safe_path").and_then(|safe| safe.extract::<bool>()).unwrap_or(false) {
        return None;
    }
    let arguments = sys(py, c"argv")?;
    let &script = arguments.borrow().list().first()?;
    // SAFETY: an element of a live list.
    let script = unsafe { Ref::new(script) }?.text()?.to_text();
    without_gil(py, || match script.as_str() {
        "" | "-" | "-c" | "-m" => current_folder(),
        _ if Path::new(&script).is_dir() => Some(script),
        _ => {
            let real = Path::new(&script).canonicalize().ok()?;
            real.parent().and_then(Path::to_str).map(str::to_owned)
        }
    })
}

/// The file of this machine that a probe's source file leads to: an absolute path, or one below the current folder.
pub fn existing(py: Python<'_>, source_file: &str) -> Option<String> {
    without_gil(py, || {
        let folder = current_folder();
        let normal = SourcePath::new(source_file).text();
        let paths = [source_file.trim().to_owned(), normal].map(|path| absolute(path, folder.as_deref()));
        paths.into_iter().find(|path| Path::new(path).is_file())
    })
}

/// True if two names lead to the same file.
fn is_same_file(one: &str, other: &str) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let of = |name: &str| std::fs::metadata(name).ok().map(|data| (data.dev(), data.ino()));
    // Asked by the path too: a store of packages may keep equal files once.
    one == other || (of(one).is_some_and(|it| of(other) == Some(it)) && real(one) == real(other))
}

fn real(name: &str) -> Option<std::path::PathBuf> {
    Path::new(name).canonicalize().ok()
}

/// The compiled file that an import takes instead of a source file.
fn compiled_beside(py: Python<'_>, source: &str) -> Option<String> {
    let suffixes = py.import("_imp").and_then(|imp| imp.call_method0("extension_suffixes"));
    let suffixes = suffixes.and_then(|suffixes| suffixes.extract::<Vec<String>>()).ok()?;
    let stem = source.strip_suffix(".py")?;
    without_gil(py, || suffixes.iter().map(|suffix| format!("{stem}{suffix}")).find(|file| Path::new(file).is_file()))
}

fn compiled(source: &str, file: &str) -> String {
    format!("{source} is not what runs: its module is compiled ({file}), and compiled code takes no probes")
}
/// The module of that name on `sys.path`.
pub enum Importable {
    /// In this source file.
    Source(String),
    /// Compiled; the sentence says so.
    Compiled(String),
    /// There is none.
    None,
}

/// Looks for a module that is not imported yet.
pub fn importable(py: Python<'_>, module: &str) -> Importable {
    let folders = folders(py);
    let path = module.replace('.', "/");
    for file in [format!("{path}/__init__.py"), format!("{path}.py")] {
        if let Some(found) = without_gil(py, || on_path(&folders, &file, true).into_iter().next()) {
            return match compiled_beside(py, &found) {
                Some(file) => Importable::Compiled(compiled(&found, &file)),
                None => Importable::Source(found),
            };
        }
    }
    Importable::None
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

fn candidates() -> Option<Arc<Vec<Candidate>>> {
    with(|index| Arc::clone(&index.candidates))
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

/// True if a module's name in a probe means a file that runs as `module`: a script is `__main__` and still known by its
/// own name.
pub fn is_module(wanted: &str, module: &str, file: &str) -> bool {
    if module == wanted || (is_main(module) && is_main(wanted)) {
        return true;
    }
    let path = wanted.replace('.', "/");
    is_main(module)
        && SourcePath::new(file)
            .suffixes()
            .any(|suffix| suffix == format!("{path}.py") || suffix == format!("{path}/__main__.py"))
}

/// The file that runs as the program itself. Its `__file__` goes as soon as it has run.
fn main_file(name: &str, main: Ref<'_>) -> Option<String> {
    let seen = || with(|index| Some(index.files[*index.modules.get(name)?].name.clone())).flatten();
    file_of(main).or_else(seen)
}

/// The namespace of a module, whatever name it runs under.
fn namespace(py: Python<'_>, wanted: &str) -> Option<Owned> {
    let modules = sys(py, c"modules")?;
    let modules = modules.borrow();
    let own = modules.dict_get_text(wanted);
    let mut mains = [MAIN, CHILD_MAIN].into_iter().filter_map(|name| Some((name, modules.dict_get_text(name)?)));
    let is_meant = |name: &str, main: Ref<'_>| is_module(wanted, name, &main_file(name, main).unwrap_or_default());
    let module = own.or_else(|| mains.find(|(name, main)| is_meant(name, *main)).map(|(_, main)| main));
    module.and_then(Ref::module_dict).map(Owned::keep)
}

/// True while the top level of a module runs, in whatever thread.
pub fn is_executing(py: Python<'_>, wanted: &str) -> PyResult<bool> {
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    for frame in frames.call_method0("values")?.try_iter()? {
        let mut frame = frame?;
        while !frame.is_none() {
            let (code, globals) = (frame.getattr("f_code")?, frame.getattr("f_globals")?);
            if let (Some(code), Some(globals)) = (borrow(&code), borrow(&globals))
                && bare(code) == "<module>"
            {
                let module = globals.dict_get_text("__name__").and_then(Ref::text).map(Text::to_text);
                let file = code::file(code).and_then(Ref::text).map(Text::to_text);
                if is_module(wanted, &module.unwrap_or_default(), &file.unwrap_or_default()) {
                    return Ok(true);
                }
            }
            frame = frame.getattr("f_back")?;
        }
    }
    Ok(false)
}

/// The files that a module name means.
pub fn files_of_module(py: Python<'_>, wanted: &str) -> Vec<FileId> {
    let modules = sys(py, c"modules");
    let modules = modules.as_ref().map(Owned::borrow);
    let file = |name: &str| modules.and_then(|modules| modules.dict_get_text(name)).and_then(file_of);
    let module = |name: &str| modules.and_then(|modules| modules.dict_get_text(name));
    let mains = [MAIN, CHILD_MAIN].into_iter().filter_map(|name| Some((name, main_file(name, module(name)?)?)));
    let mains = mains.filter(|(name, main)| is_module(wanted, name, main)).map(|(_, main)| main);
    let folder = current_folder();
    let names: Vec<String> =
        file(wanted).into_iter().chain(mains).map(|name| absolute(name, folder.as_deref())).collect();
    let found = with(|index| {
        let mut found: Vec<FileId> = Vec::new();
        let started = index.modules.get(wanted).copied();
        for name in names {
            if let Some(id) = index.file(&name) {
                index.files[id].loaded = true;
                found.push(id);
            }
        }
        found.extend(started);
        found.sort_unstable();
        found.dedup();
        found
    });
    found.unwrap_or_default()
}

/// The name of a file.
pub fn name(file: FileId) -> String {
    with(|index| index.files.get(file).map(|file| file.name.clone())).flatten().unwrap_or_default()
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
        Some((std::mem::take(&mut index.files[id].roots), read))
    });
    drop(old);
}

/// What a look for code is for.
struct Visit<'v> {
    index: &'v mut Index,
    names: &'v FileNames,
    wanted: &'v HashSet<FileId>,
    /// Source files of probes for which no file is known.
    missing: &'v [&'v str],
    known: HashMap<usize, Option<FileId>>,
    last: (usize, Option<FileId>),
    left: usize,
    found: Vec<(FileId, Owned)>,
}

impl Visit<'_> {
    fn see(&mut self, code: Ref<'_>) {
        let Some(named) = code::file(code) else { return };
        let at = named.pointer() as usize;
        if self.last.0 != at {
            let known = self.known.get(&at).copied();
            let file = known.unwrap_or_else(|| {
                let file = self.file(named);
                self.known.insert(at, file);
                file
            });
            self.last = (at, file);
        }
        if let Some(file) = self.last.1 {
            self.found.push((file, Owned::keep(code)));
        }
    }

    /// The file, if its code is wanted.
    fn file(&mut self, named: Ref<'_>) -> Option<FileId> {
        let name = self.names.of(named)?;
        let id = self.index.file(&name)?;
        self.index.files[id].loaded = true;
        let one = std::slice::from_ref(&self.index.candidates[id]);
        let may = self.missing.iter().any(|missing| choose_file(one, missing) != Choice::None);
        (may || self.wanted.contains(&id)).then_some(id)
    }
}

/// Looks for all code of files: one look at the collector's objects, the modules' namespaces and the running frames.
pub fn search(py: Python<'_>, wanted: &HashSet<FileId>, missing: &[&str]) -> PyResult<()> {
    extern "C" fn visit(code: *mut PyObject, context: *mut c_void) -> c_int {
        // SAFETY: the context is the visit below, borrowed while it lasts, and the code is alive during the call.
        let (visit, code) = unsafe { (&mut *context.cast::<Visit<'_>>(), Ref::new(code)) };
        if let Some(code) = code.filter(|code| code::is_code(*code)) {
            visit.see(code);
        }
        visit.left = visit.left.saturating_sub(1);
        c_int::from(visit.left > 0)
    }
    let names = FileNames::read(py);
    let frames = running(py)?;
    let namespaces = in_namespaces(py, wanted);
    let found = with(|index| {
        let mut looks = Visit {
            index,
            names: &names,
            wanted,
            missing,
            known: HashMap::new(),
            last: (0, None),
            left: MAX_VISITED,
            found: Vec::new(),
        };
        // SAFETY: the visitor makes no Python objects, and its context outlives the visit; the GIL is held.
        unsafe { shim::strobe_visit_code(visit, (&raw mut looks).cast()) };
        for code in frames.iter().chain(&namespaces) {
            looks.see(code.borrow());
        }
        let (found, left) = (looks.found, looks.left);
        index.looked = left > 0;
        index.looks += 1;
        found
    });
    let mut by_file: HashMap<FileId, Vec<Owned>> = HashMap::new();
    for (file, code) in found.unwrap_or_default() {
        by_file.entry(file).or_default().push(code);
    }
    let mut old = Vec::new();
    for &file in wanted {
        by_file.entry(file).or_default();
    }
    for (file, codes) in by_file {
        let inner: HashSet<usize> =
            codes.iter().flat_map(|code| below(code.borrow())).map(|code| code.pointer() as usize).collect();
        with(|index| {
            let own: HashSet<usize> = index.files[file]
                .roots
                .iter()
                .flat_map(|root| below(root.borrow()))
                .map(|code| code.pointer() as usize)
                .collect();
            let mut seen = HashSet::new();
            for code in &codes {
                let at = code.borrow().pointer() as usize;
                if !inner.contains(&at) && !own.contains(&at) && seen.insert(at) {
                    let file = &mut index.files[file];
                    if !file.roots.iter().any(|root| root.borrow() == code.borrow()) {
                        file.roots.push(Owned::keep(code.borrow()));
                        file.changes += 1;
                    }
                }
            }
            index.files[file].complete = true;
        });
        old.extend(codes);
    }
    drop(old);
    Ok(())
}

/// Everything written inside code.
fn below(code: Ref<'_>) -> Vec<Ref<'_>> {
    let mut all = Vec::new();
    code::with_nested(code, &mut all);
    all.into_iter().skip(1).collect()
}

/// The code of every running frame: the main program's top level is in no function.
fn running(py: Python<'_>) -> PyResult<Vec<Owned>> {
    let mut found = Vec::new();
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    for frame in frames.call_method0("values")?.try_iter()? {
        let mut frame = frame?;
        while !frame.is_none() {
            found.extend(borrow(&frame.getattr("f_code")?).map(Owned::keep));
            frame = frame.getattr("f_back")?;
        }
    }
    Ok(found)
}

/// Functions that the namespaces of modules lead to: `gc.freeze()` hides them from the collector's visit.
fn in_namespaces(py: Python<'_>, wanted: &HashSet<FileId>) -> Vec<Owned> {
    let names: HashSet<String> = wanted.iter().map(|&file| name(file)).collect();
    let mut spaces = Vec::new();
    if let Some(modules) = sys(py, c"modules") {
        modules.borrow().dict_entries(|_, module| {
            if file_of(module).is_some_and(|file| names.contains(&file)) {
                spaces.extend(module.module_dict().map(Owned::keep));
            }
            true
        });
    }
    let mut found = Vec::new();
    for space in &spaces {
        in_namespace(py, space.borrow(), &mut found, 0);
    }
    found
}

fn in_namespace(py: Python<'_>, space: Ref<'_>, found: &mut Vec<Owned>, depth: usize) {
    let mut values = Vec::new();
    space.dict_entries(|_, value| {
        values.push(Owned::keep(value));
        values.len() < 100_000
    });
    for value in &values {
        let value = value.borrow();
        let before = found.len();
        wrapped_codes(py, value, found);
        if found.len() > before {
            continue;
        }
        if let Some(class) = value.as_class()
            && depth < 5
            && let Some(space) = class.dict()
            && class.has(pyo3::ffi::Py_TPFLAGS_HEAPTYPE)
        {
            in_namespace(py, space, found, depth + 1);
        }
    }
}

/// The code of a function, of what it wraps and of the functions that it closes over.
fn wrapped_codes(py: Python<'_>, object: Ref<'_>, found: &mut Vec<Owned>) {
    let mut waiting = vec![Owned::keep(object)];
    for _ in 0..50 {
        let Some(object) = waiting.pop() else { return };
        let object = object.borrow();
        if is_function(object) {
            found.extend(attribute(py, object, "__code__"));
            if let Some(closure) = attribute(py, object, "__closure__") {
                for &cell in closure.borrow().tuple() {
                    // SAFETY: an element of a live tuple of cells; what a cell holds belongs to it.
                    let held = unsafe { Ref::new(shim::strobe_cell_contents(cell)) };
                    waiting.extend(held.filter(|held| is_function(*held)).map(Owned::keep));
                }
            }
        }
        waiting.extend(unwrapped(py, object));
    }
}

/// The first line of the getter, if a name is a property that can be set or deleted.
pub fn getter_of_property(py: Python<'_>, module: &str, wanted: &str) -> Option<u32> {
    let held = namespace(py, module)?;
    let mut space = Some(held.borrow());
    let mut found = None;
    for part in wanted.split('.') {
        found = space.and_then(|space| space.dict_get_text(part));
        space = found.and_then(Ref::as_class).and_then(crate::object::Class::dict);
    }
    let property = found.filter(|found| found.class().c_name() == "property")?;
    let code = |name: &str| function_code(py, attribute(py, property, name)?.borrow());
    if code("fset").is_none() && code("fdel").is_none() {
        return None;
    }
    code("fget").map(|code| code::line_table(code.borrow()).1)
}

/// A new reference to an attribute of an object of CPython's own classes, for which no code of the program runs.
fn attribute(py: Python<'_>, object: Ref<'_>, name: &str) -> Option<Owned> {
    // SAFETY: a live object, borrowed for the call.
    let object = unsafe { Bound::from_borrowed_ptr(py, object.pointer()) };
    let found = object.getattr(name).ok()?;
    borrow(&found).map(Owned::keep)
}

/// What is inside a wrapper of CPython's own: `staticmethod`, `classmethod`, `property`, a bound method, a cache.
fn unwrapped(py: Python<'_>, object: Ref<'_>) -> Option<Owned> {
    match object.class().c_name() {
        "staticmethod" | "classmethod" | "method" => attribute(py, object, "__func__"),
        "property" => attribute(py, object, "fget"),
        "function" | "functools._lru_cache_wrapper" => attribute(py, object, "__wrapped__"),
        _ => None,
    }
}

fn is_function(object: Ref<'_>) -> bool {
    object.class().c_name() == "function" && object.class().module().same(Text::Utf8("builtins"))
}

/// The code of the function that an object is or wraps.
fn function_code(py: Python<'_>, object: Ref<'_>) -> Option<Owned> {
    if is_function(object) {
        return attribute(py, object, "__code__");
    }
    let inner = unwrapped(py, object)?;
    is_function(inner.borrow()).then(|| attribute(py, inner.borrow(), "__code__")).flatten()
}

/// What a name in a module is, found in its namespace.
pub enum Named {
    /// A Python function of the module's file.
    Function(Owned),
    /// It is there, but no probe can be placed; the sentence says why.
    Not(String),
    /// There is no such name.
    Missing,
}

/// Looks a name of a module up in its namespace, without running code of the program.
pub fn named(py: Python<'_>, module: &str, wanted: &str) -> Named {
    let Some(held) = namespace(py, module) else { return Named::Missing };
    let mut space = held.borrow();
    let file = space.dict_get_text("__file__").and_then(Ref::text).map(Text::to_text);
    let parts: Vec<&str> = wanted.split('.').collect();
    for (at, part) in parts.iter().enumerate() {
        let last = at + 1 == parts.len();
        let found = space.dict_get_text(part);
        let Some(found) = found else { return Named::Missing };
        if last {
            return what(py, found, wanted, module, file.as_deref());
        }
        let Some(class) = found.as_class() else { return Named::Missing };
        let Some(own) = class.dict() else { return Named::Missing };
        let next = parts[at + 1];
        if at + 2 == parts.len() && own.dict_get_text(next).is_none() {
            let has =
                |class: &crate::object::Class<'_>| class.dict().is_some_and(|dict| dict.dict_get_text(next).is_some());
            let Some(definer) = class.ancestors().find(has) else { return Named::Missing };
            let mut qualified = String::new();
            crate::names::qualify(definer, &mut qualified);
            return Named::Not(format!(
                "`{wanted}` is inherited: class `{qualified}` defines `{next}`; name that class"
            ));
        }
        space = own;
    }
    Named::Missing
}

/// The module that a function says it is from.
fn home(py: Python<'_>, function: Ref<'_>) -> String {
    let home = attribute(py, function, "__module__");
    home.as_ref().and_then(|home| home.borrow().text()).map(Text::to_text).unwrap_or_default()
}

/// True if a module's `__file__` is where code from a source file is; it may be a compiled copy.
fn is_made_from(file: &str, source: &str) -> bool {
    file == source || file.strip_suffix('c') == Some(source)
}

fn what(py: Python<'_>, object: Ref<'_>, wanted: &str, module: &str, file: Option<&str>) -> Named {
    if object.as_class().is_some() {
        return Named::Not(format!("`{wanted}` in module `{module}` is a class; name one of its methods"));
    }
    let mut object = Owned::keep(object);
    for _ in 0..20 {
        let own = |function: Ref<'_>| {
            is_function(function) && is_module(module, &home(py, function), file.unwrap_or_default())
        };
        // Made by the module's own use of `exec`, as the methods of a dataclass are.
        let is_generated = |of: &str| {
            let inner = unwrapped(py, object.borrow());
            of.starts_with('<') && (own(object.borrow()) || inner.is_some_and(|inner| own(inner.borrow())))
        };
        let code = function_code(py, object.borrow());
        let of = code.as_ref().and_then(|code| code::file(code.borrow())).and_then(Ref::text).map(Text::to_text);
        if let (Some(code), Some(of)) = (code, of)
            && (file.is_none_or(|file| is_made_from(file, &of)) || of.starts_with("<frozen ") || is_generated(&of))
        {
            return Named::Function(code);
        }
        let Some(inner) = unwrapped(py, object.borrow()) else { break };
        object = inner;
    }
    if is_function(object.borrow()) {
        let home = home(py, object.borrow());
        return Named::Not(format!("`{wanted}` in module `{module}` is defined in module `{home}`; name that module"));
    }
    Named::Not(format!(
        "`{wanted}` in module `{module}` is not a Python function but a `{}`",
        object.borrow().class().bare_name().to_text()
    ))
}

/// Names like the one that is not there: of the class that it names, or of the module.
pub fn names_beside(py: Python<'_>, module: &str, wanted: &str) -> Vec<String> {
    let Some(held) = namespace(py, module) else { return Vec::new() };
    let mut space = held.borrow();
    let mut prefix = String::new();
    let mut parts = wanted.split('.').peekable();
    while let Some(part) = parts.next()
        && parts.peek().is_some()
    {
        let class = space.dict_get_text(part).and_then(Ref::as_class);
        let Some(own) = class.and_then(crate::object::Class::dict) else { break };
        space = own;
        prefix.push_str(part);
        prefix.push('.');
    }
    let callable = [
        "function",
        "staticmethod",
        "classmethod",
        "property",
        "functools._lru_cache_wrapper",
        "builtin_function_or_method",
        "method_descriptor",
        "wrapper_descriptor",
    ];
    let mut names = Vec::new();
    space.dict_entries(|name, value| {
        if callable.contains(&value.class().c_name()) {
            names.extend(name.text().map(|name| format!("{prefix}{}", name.to_text())));
        }
        names.len() < 10_000
    });
    names
}

fn is_compiled(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "so" || extension == "pyd")
}

/// The file of a module that is compiled.
pub fn compiled_file(py: Python<'_>, module: &str) -> Option<String> {
    let held = namespace(py, module)?;
    let file = held.borrow().dict_get_text("__file__").and_then(Ref::text);
    file.map(Text::to_text).filter(|file| is_compiled(file))
}

/// True if `sys.modules` has a module, whatever it is made of.
pub fn is_loaded(py: Python<'_>, module: &str) -> bool {
    namespace(py, module).is_some()
}

// ---- the functions of a file ------------------------------------------------------------------------------------

/// Code that is looked at without the GIL.
#[derive(Clone, Copy)]
struct Still<'c>(Ref<'c>);

// SAFETY: whoever makes one keeps the code alive for `'c`. Only that is read of it which never changes (names, constants,
// tables, flags; all of them strings, bytes, tuples and numbers), and no reference is counted.
unsafe impl Send for Still<'_> {}
// SAFETY: as above.
unsafe impl Sync for Still<'_> {}

impl<'c> Still<'c> {
    fn code(self) -> Ref<'c> {
        self.0
    }
}

/// A function to be read.
struct Raw<'c> {
    at: usize,
    code: Still<'c>,
    instructions: Instructions,
    expression: bool,
}

impl<'c> Raw<'c> {
    fn copy(at: usize, code: Ref<'c>, kind: FunctionKind) -> Self {
        let expression = matches!(kind, FunctionKind::Lambda | FunctionKind::Comprehension);
        Raw { at, code: Still(code), instructions: Instructions::copy(code), expression }
    }

    /// Reads the statements; `None` if the instructions have to be asked of CPython.
    fn read(&self, opcodes: &Opcodes, lines: Option<&LogicalLines>) -> Option<(Read, Vec<Statement>)> {
        Some(self.read_of(&opcodes.plain(&self.instructions)?, opcodes, lines))
    }

    /// As [`Raw::read`], with the instructions as CPython says they are.
    fn ask(&self, py: Python<'_>, opcodes: &Opcodes, lines: Option<&LogicalLines>) -> PyResult<(Read, Vec<Statement>)> {
        // SAFETY: a live code object, borrowed for the call.
        let object = unsafe { Bound::from_borrowed_ptr(py, self.code.code().pointer()) };
        let bytes = object.getattr("co_code")?;
        Ok(self.read_of(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes(), opcodes, lines))
    }

    fn read_of(&self, bytes: &[u8], opcodes: &Opcodes, lines: Option<&LogicalLines>) -> (Read, Vec<Statement>) {
        let own = self.code.code();
        let (none_constants, definitions) = code::constants(own);
        let (table, first_line) = code::line_table(own);
        let code = Code {
            bytes,
            lines: table,
            exceptions: code::exception_table(own),
            first_line,
            none_constants: &none_constants,
            definitions: &definitions,
        };
        let mut starts = match lines {
            _ if self.expression => statements::starts_of_expression(&code, opcodes),
            Some(lines) => {
                let first_of = |line: u32| lines.first(line);
                statements::starts(&code, opcodes, Some(&first_of as &dyn Fn(u32) -> u32))
            }
            None => statements::starts(&code, opcodes, None),
        };
        if let Some(lines) = lines.filter(|_| !self.expression) {
            // The bytecode of a `class`, `for`, `with` or `except` has the place of the whole block.
            for start in &mut starts {
                start.end = start.end.min(lines.last(start.line));
            }
        }
        let (globals, instructions) = statements::globals(bytes, opcodes);
        let mut plain: Vec<Statement> =
            starts.iter().map(|start| Statement { line: start.line, end: start.end }).collect();
        plain.sort_unstable_by_key(|statement| (statement.line, statement.end));
        plain.dedup();
        (Read { starts, globals, instructions }, plain)
    }
}

/// The functions of a file, kept from earlier if nothing changed. [`keep_read`] takes them back.
pub fn functions(py: Python<'_>, file: FileId, release: bool) -> FileCode {
    let kept = with(|index| {
        let file = index.files.get_mut(file)?;
        let read = file.read.take();
        index.kept -= usize::from(read.is_some());
        if read.as_ref().is_some_and(|read| read.changes == file.changes) {
            return Some((read, None));
        }
        let roots: Vec<Owned> = file.roots.iter().map(|root| Owned::keep(root.borrow())).collect();
        Some((read, Some((roots, file.changes, file.name.clone()))))
    });
    match kept.flatten() {
        Some((Some(read), None)) => read,
        Some((stale, Some((roots, changes, name)))) => {
            // Outside of the borrow: code that ends may tell the program so.
            drop(stale);
            FileCode { changes, ..outline(py, &roots, &name, release) }
        }
        _ => FileCode::default(),
    }
}

/// The functions below one root.
pub fn functions_of(py: Python<'_>, root: Ref<'_>, name: &str) -> FileCode {
    outline(py, &[Owned::keep(root)], name, false)
}

/// Keeps the functions of a file for the next probe.
pub fn keep_read(file: FileId, code: FileCode) {
    let old = with(|index| {
        let mut old = Vec::new();
        if index.kept >= MAX_READ {
            old.extend(index.files.iter_mut().filter_map(|file| file.read.take()));
            index.kept = 0;
        }
        match index.files.get_mut(file) {
            Some(file) if file.changes == code.changes => {
                let before = file.read.replace(code);
                index.kept += usize::from(before.is_none());
                old.extend(before);
            }
            _ => old.push(code),
        }
        old
    });
    drop(old);
}

/// The names and spans of all functions below some roots, without their statements. With `release`, without the GIL.
fn outline(py: Python<'_>, roots: &[Owned], file: &str, release: bool) -> FileCode {
    let stills: Vec<Still<'_>> = roots.iter().map(|root| Still(root.borrow())).collect();
    let work = || {
        let shapes = shapes(&stills);
        let lines = logical_lines(file, &shapes);
        (shapes, lines)
    };
    let (shapes, lines) = if release { without_gil(py, work) } else { work() };
    let mut found = FileCode { lines, ..FileCode::default() };
    for shape in shapes {
        // The code is written inside a root, which keeps it alive until here.
        found.functions.push(PyFunction { code: Owned::keep(shape.code.code()), read: None });
        found.plain.push(shape.plain);
        found.qualified.push(shape.qualified);
    }
    found
}

struct Shape<'c> {
    plain: Function,
    qualified: String,
    code: Still<'c>,
}

fn shapes<'c>(roots: &[Still<'c>]) -> Vec<Shape<'c>> {
    let mut shapes: Vec<Shape<'c>> = Vec::new();
    let mut seen = HashSet::new();
    let mut waiting: Vec<(Option<usize>, Ref<'c>)> = roots.iter().rev().map(|root| (None, root.code())).collect();
    while let Some((parent, code)) = waiting.pop() {
        if shapes.len() >= 100_000 || !seen.insert(code.pointer() as usize) {
            continue;
        }
        let at = shapes.len();
        let (table, first) = code::line_table(code);
        let locations = code::Locations::new(table, first);
        let last = locations.map(|location| location.end_line).max().unwrap_or(first).max(first);
        let plain = Function { name: bare(code), kind: kind(code), first, last, parent, statements: Vec::new() };
        shapes.push(Shape { plain, qualified: qualified(code), code: Still(code) });
        let mut inner: Vec<_> = code::nested(code).map(|code| (Some(at), code)).collect();
        inner.reverse();
        waiting.extend(inner);
    }
    shapes
}

/// The statements of a file's source that go over several lines, if it is the source that the code was made from.
fn logical_lines(file: &str, shapes: &[Shape<'_>]) -> Option<LogicalLines> {
    let size = std::fs::metadata(file).ok().filter(std::fs::Metadata::is_file)?.len();
    if size > MAX_SOURCE {
        return None;
    }
    let mut source = std::fs::read(file).ok()?;
    if source.contains(&b'\r') {
        source = universal_newlines(&source);
    }
    let source = source.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&source);
    let lines = LogicalLines::of(source)?;
    let texts: Vec<&[u8]> = source.split(|byte| *byte == b'\n').collect();
    let fits = |function: &Function| {
        let text = texts.get((function.first as usize).checked_sub(1)?)?.trim_ascii_start();
        let word = text.split(|byte| byte.is_ascii_whitespace() || *byte == b'\\').next()?;
        let begins = text.starts_with(b"@") || [&b"def"[..], b"class", b"async", b"type"].contains(&word);
        Some(lines.begins(function.first) && begins)
    };
    let plain: Vec<&Function> = shapes.iter().map(|shape| &shape.plain).collect();
    let mut named = plain.iter().filter(|function| is_statement(function, &plain));
    // A file that was changed since it was loaded says nothing of the code that runs.
    named.all(|function| fits(function).unwrap_or(false)).then_some(lines)
}

/// True for code of a statement: not for that of an expression, of the bound of a type parameter, or of annotations.
fn is_statement(function: &Function, all: &[&Function]) -> bool {
    let parent = function.parent.and_then(|parent| all.get(parent));
    let owner = parent.and_then(|parent| parent.name.strip_prefix("<generic parameters of ")?.strip_suffix('>'));
    matches!(function.kind, FunctionKind::Class | FunctionKind::Function)
        && owner.is_none_or(|owner| owner == function.name)
        && function.name != "__annotate__"
}

/// Source as CPython reads it: `\r\n` and `\r` end a line as `\n` does.
fn universal_newlines(source: &[u8]) -> Vec<u8> {
    let mut bytes = source.iter().copied().peekable();
    let mut out = Vec::with_capacity(source.len());
    while let Some(byte) = bytes.next() {
        if byte == b'\r' {
            bytes.next_if_eq(&b'\n');
        }
        out.push(if byte == b'\r' { b'\n' } else { byte });
    }
    out
}

/// Reads the statements of those functions for which `wanted` holds, and decides on them. With `release`, without the GIL.
pub fn read<R: Send>(
    py: Python<'_>,
    code: &mut FileCode,
    opcodes: &Opcodes,
    release: bool,
    wanted: impl Fn(usize, &Function) -> bool,
    decide: impl Fn(&[Function]) -> R + Sync,
) -> PyResult<R> {
    let FileCode { plain, functions, lines, .. } = code;
    let lines = lines.as_ref();
    let waits = |&at: &usize| functions[at].read.is_none() && wanted(at, &plain[at]);
    let raws = (0..plain.len()).filter(waits);
    let raws: Vec<Raw<'_>> = raws.map(|at| Raw::copy(at, functions[at].code.borrow(), plain[at].kind)).collect();
    let mut work = || {
        let mut done: Vec<Option<Read>> = Vec::new();
        for raw in &raws {
            let found = raw.read(opcodes, lines);
            done.push(found.map(|(read, statements)| {
                plain[raw.at].statements = statements;
                read
            }));
        }
        let decision = done.iter().all(Option::is_some).then(|| decide(plain));
        (done, decision)
    };
    let (done, decision) = if release { without_gil(py, work) } else { work() };
    let mut reads = Vec::new();
    for (raw, read) in raws.iter().zip(done) {
        let read = if let Some(read) = read {
            read
        } else {
            let (read, statements) = raw.ask(py, opcodes, lines)?;
            plain[raw.at].statements = statements;
            read
        };
        reads.push((raw.at, read));
    }
    drop(raws);
    for (at, read) in reads {
        functions[at].read = Some(read);
    }
    Ok(decision.unwrap_or_else(|| decide(plain)))
}

/// The functions with a name, by their positions. With `release`, without the GIL.
pub fn methods(py: Python<'_>, code: &FileCode, wanted: &str, release: bool) -> Vec<usize> {
    let (plain, qualified) = (&code.plain, &code.qualified);
    let named = |&at: &usize| {
        matches!(plain[at].kind, FunctionKind::Function | FunctionKind::Lambda) && is_method(&qualified[at], wanted)
    };
    let work = || (0..plain.len()).filter(named).collect();
    if release { without_gil(py, work) } else { work() }
}

/// The names at these positions of `co_names`.
pub fn names_at(code: Ref<'_>, positions: &[usize]) -> Vec<Owned> {
    let names = code::names(code);
    // SAFETY: elements of a live tuple.
    let name = |&at: &usize| names.get(at).and_then(|&name| unsafe { Ref::new(name) }).map(Owned::keep);
    positions.iter().filter_map(name).collect()
}

/// True if a class body defines properties with setters or deleters: all their functions have the getter's name.
pub fn has_setters(py: Python<'_>, class: Ref<'_>) -> bool {
    let Some(names) = attribute(py, class, "co_names") else { return false };
    // SAFETY: elements of a live tuple.
    let mut texts = names.borrow().tuple().iter().filter_map(|&name| unsafe { Ref::new(name) }.and_then(Ref::text));
    texts.any(|text| text.same(Text::Utf8("setter")) || text.same(Text::Utf8("deleter")))
}

/// True for the code of a generator, asynchronous or not.
pub fn is_generator(py: Python<'_>, code: Ref<'_>) -> bool {
    const GENERATOR: i64 = 0x20;
    const ASYNC_GENERATOR: i64 = 0x200;
    let flags = attribute(py, code, "co_flags").and_then(|flags| flags.borrow().int()).unwrap_or(0);
    flags & (GENERATOR | ASYNC_GENERATOR) != 0
}

fn kind(code: Ref<'_>) -> FunctionKind {
    match bare(code).as_str() {
        "<module>" => FunctionKind::Module,
        "<lambda>" => FunctionKind::Lambda,
        "<listcomp>" | "<setcomp>" | "<dictcomp>" | "<genexpr>" => FunctionKind::Comprehension,
        // Annotations, kept for whoever asks for them (CPython 3.14): an expression that is no line's statement.
        "__annotate__" if cfg!(Py_3_14) => FunctionKind::Comprehension,
        // SAFETY: a live code object.
        _ if unsafe { shim::strobe_code_optimized(code.pointer()) } == 0 => FunctionKind::Class,
        _ => FunctionKind::Function,
    }
}

/// The bare name of a function.
pub fn bare(code: Ref<'_>) -> String {
    code::name(code).and_then(Ref::text).map(Text::to_text).unwrap_or_default()
}

/// The qualified name of a function.
fn qualified(code: Ref<'_>) -> String {
    code::qualname(code).and_then(Ref::text).map(Text::to_text).unwrap_or_default()
}

/// Where the statements of a code object begin.
pub fn statements_of(py: Python<'_>, code: Ref<'_>, opcodes: &Opcodes) -> PyResult<Vec<Start>> {
    let file = code::file(code).and_then(Ref::text).map(Text::to_text).unwrap_or_default();
    let lines = outline(py, &[Owned::keep(code)], &file, false).lines;
    let raw = Raw::copy(0, code, kind(code));
    let (read, _) = match raw.read(opcodes, lines.as_ref()) {
        Some(read) => read,
        None => raw.ask(py, opcodes, lines.as_ref())?,
    };
    Ok(read.starts)
}

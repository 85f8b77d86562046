//! Paths, and what is asked of the file system. Stands on the configuration's walk, below [`super::which_file`].

use super::index::has_begun;
use super::{sys, without_gil};
use crate::object::Ref;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use stroboscope_core::probe::location::SourcePath;
use stroboscope_core::text::Text;

pub(super) fn current_folder() -> Option<String> {
    std::env::current_dir().ok().and_then(|folder| folder.into_os_string().into_string().ok())
}

pub(super) fn absolute(name: String, folder: Option<&str>) -> String {
    match folder {
        Some(folder) if name.is_empty() => folder.to_owned(),
        Some(folder) if !name.starts_with('/') => format!("{folder}/{name}"),
        _ => name,
    }
}

/// `__file__` of a module, read from its namespace; no code of the program runs.
pub(super) fn file_of(module: Ref<'_>) -> Option<String> {
    if is_put_off(module) {
        return None;
    }
    let file = module.module_dict()?.dict_get_text("__file__")?.text()?.to_text();
    is_source(&file).then_some(file)
}

/// True for a module that `importlib.util.LazyLoader` made: it has not run. As it does, its class becomes another.
pub(super) fn is_put_off(module: Ref<'_>) -> bool {
    module.class().c_name() == "_LazyModule"
}

/// As [`file_of`], of the module of the program itself: a script may be called as it likes.
pub(super) fn script_of(main: Ref<'_>) -> Option<String> {
    let file = main.module_dict()?.dict_get_text("__file__")?.text()?.to_text();
    let is_binary = Path::new(&file).extension().is_some_and(|extension| extension == "pyc");
    (!is_binary && !is_compiled(&file)).then_some(file)
}

/// True for a file of Python source; modules may as well be made from C.
pub fn is_source(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "py")
}

/// The folders of `sys.path`.
pub(super) fn folders(py: Python<'_>) -> Vec<String> {
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
pub(super) fn on_path(folders: &[String], file: &str, whole: bool) -> Vec<String> {
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

/// The most names of one folder that are compared with one that is not there.
pub(super) const MAX_NAMES: usize = 5_000;

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

/// A file itself, whatever its names: its device and number there.
pub type Identity = (u64, u64);

/// The file of this machine that a probe's source file leads to: an absolute path, or one below the current folder.
pub fn existing(py: Python<'_>, source_file: &str) -> Option<(String, Identity)> {
    without_gil(py, || {
        let folder = current_folder();
        let normal = SourcePath::new(source_file).text();
        let mut paths = [source_file.trim().to_owned(), normal].map(|path| absolute(path, folder.as_deref())).to_vec();
        paths.dedup();
        let file = |path: String| data(&path).filter(std::fs::Metadata::is_file).map(|data| (path, identity(&data)));
        paths.into_iter().find_map(file)
    })
}

/// True if two names lead to the same file.
pub(super) fn is_same_file(one: &str, other: &str) -> bool {
    // Asked by the path too: a store of packages may keep equal files once.
    one == other || (identified(one).is_some_and(|it| identified(other) == Some(it)) && real(one) == real(other))
}

/// How often the file system was asked what a file is.
static ASKED: AtomicU64 = AtomicU64::new(0);

/// For tests: how often the file system was asked what a file is.
pub fn asked() -> u64 {
    ASKED.load(Ordering::Relaxed)
}

/// Asks the file system for a file's identity.
pub(super) fn identified(name: &str) -> Option<Identity> {
    data(name).as_ref().map(identity)
}

fn data(name: &str) -> Option<std::fs::Metadata> {
    ASKED.fetch_add(1, Ordering::Relaxed);
    std::fs::metadata(name).ok()
}

fn identity(data: &std::fs::Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (data.dev(), data.ino())
}

fn real(name: &str) -> Option<std::path::PathBuf> {
    Path::new(name).canonicalize().ok()
}

/// The compiled file that an import takes instead of a source file.
pub(super) fn compiled_beside(py: Python<'_>, source: &str) -> Option<String> {
    let suffixes = extension_suffixes(py)?;
    let stem = source.strip_suffix(".py").or_else(|| source.strip_suffix(".pyx"))?;
    without_gil(py, || suffixes.iter().map(|suffix| format!("{stem}{suffix}")).find(|file| Path::new(file).is_file()))
}

fn extension_suffixes(py: Python<'_>) -> Option<Vec<String>> {
    let suffixes = py.import("_imp").and_then(|imp| imp.call_method0("extension_suffixes"));
    suffixes.and_then(|suffixes| suffixes.extract()).ok()
}

/// The compiled file of a module that has no source.
pub(super) fn compiled_in(py: Python<'_>, folders: &[String], path: &str) -> Option<String> {
    let suffixes = extension_suffixes(py)?;
    without_gil(py, || {
        let current = current_folder();
        let stems = folders
            .iter()
            .map(|folder| absolute(format!("{}/{path}", folder.trim_end_matches('/')), current.as_deref()));
        let mut files = stems.flat_map(|stem| suffixes.iter().map(move |suffix| format!("{stem}{suffix}")));
        files.find(|file| Path::new(file).is_file())
    })
}

pub(super) fn compiled(source: &str, file: &str) -> String {
    format!("{source} is not what runs: its module is compiled ({file}), and compiled code takes no probes")
}

pub(super) fn is_compiled(file: &str) -> bool {
    Path::new(file).extension().is_some_and(|extension| extension == "so" || extension == "pyd")
}

//! The file and the namespace that a module's name means, loaded or not. Stands on the configuration's walk.

use super::functions::bare;
use super::index::{FileId, with};
use super::paths::{
    MAX_NAMES, absolute, compiled, compiled_beside, compiled_in, current_folder, file_of, folders, is_compiled,
    is_put_off, is_source, on_path, script_of,
};
use super::{sys, without_gil};
use crate::code;
use crate::names::Held;
use crate::object::{Owned, Ref};
use crate::selftest::borrow;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use stroboscope_core::probe::location::{SourcePath, nearest_names};
use stroboscope_core::text::Text;

/// The module of the program itself, and its name in children of `multiprocessing`.
pub(super) const MAIN: &str = "__main__";
const CHILD_MAIN: &str = "__mp_main__";

/// True for the names under which the program itself runs.
pub fn is_main(module: &str) -> bool {
    module == MAIN || module == CHILD_MAIN
}

/// The module of that name on `sys.path`, or in its package.
#[derive(Clone)]
pub enum Importable {
    /// In this source file.
    Source(String),
    /// Compiled; the sentence says so.
    Compiled(String),
    /// Its package is in no folder (in an archive): nobody can tell without asking the program's finders.
    Hidden,
    /// There is none.
    None,
}

/// Looks for a module that is not imported yet.
pub fn importable(py: Python<'_>, module: &str) -> Importable {
    let (folders, path) =
        match module.rsplit_once('.').and_then(|(package, last)| Some((package_path(py, package)?, last))) {
            Some((folders, last)) => {
                if !without_gil(py, || folders.iter().any(|folder| Path::new(folder).is_dir())) {
                    return Importable::Hidden;
                }
                (folders, last.to_owned())
            }
            None => (folders(py), module.replace('.', "/")),
        };
    for file in [format!("{path}/__init__.py"), format!("{path}.py")] {
        if let Some(found) = without_gil(py, || on_path(&folders, &file, true).into_iter().next()) {
            return match compiled_beside(py, &found) {
                Some(file) => Importable::Compiled(compiled(&found, &file)),
                None => Importable::Source(found),
            };
        }
    }
    extension(py, module, &folders, &path).map_or(Importable::None, Importable::Compiled)
}

/// Says so of a module that is compiled and has no source: one of the interpreter's own, or a file.
fn extension(py: Python<'_>, module: &str, folders: &[String], path: &str) -> Option<String> {
    let built_in = sys(py, c"builtin_module_names").is_some_and(|names| {
        // SAFETY: an object that is kept alive meanwhile.
        let names = unsafe { Bound::from_borrowed_ptr(py, names.borrow().pointer()) };
        names.extract::<Vec<String>>().is_ok_and(|names| names.iter().any(|name| name == module))
    });
    let place = if built_in { "built into the interpreter".to_owned() } else { compiled_in(py, folders, path)? };
    Some(takes_no_probes(module, &place))
}

/// What a module is told as that has no Python code; `place`: its file, or where else it is.
pub fn takes_no_probes(module: &str, place: &str) -> String {
    format!("module `{module}` is compiled ({place}), and compiled code takes no probes")
}

/// The folders of a package that is loaded: a list in its `__path__`.
fn package_path(py: Python<'_>, package: &str) -> Option<Vec<String>> {
    let space = namespace(py, package)?;
    let path = space.borrow().dict_get_text("__path__")?;
    // SAFETY: an element of a live list.
    let text = |&folder: &*mut PyObject| unsafe { Ref::new(folder) }.and_then(Ref::text).map(Text::to_text);
    let folders: Vec<String> = path.list().iter().take(100).filter_map(text).collect();
    (!folders.is_empty()).then_some(folders)
}

/// True for a package that is loaded.
pub fn is_package(py: Python<'_>, module: &str) -> bool {
    package_path(py, module).is_some()
}

/// True if a loaded module has a class of that name.
pub fn has_class(py: Python<'_>, module: &str, class: &str) -> bool {
    let space = namespace(py, module);
    space.is_some_and(|space| space.borrow().dict_get_text(class).and_then(Ref::as_class).is_some())
}

/// The names of modules that are like one that is not there: loaded ones, and those in the folders where it would be.
pub fn modules_near(py: Python<'_>, wanted: &str) -> Vec<String> {
    let is_there = |module: &str| is_loaded(py, module) || !matches!(importable(py, module), Importable::None);
    let Some((package, last)) = wanted.rsplit_once('.') else { return near_in(py, None, wanted) };
    if is_there(package) {
        return near_in(py, Some(package), last);
    }
    // Its package is not there either: what is like it in a package that is like that.
    let packages = modules_near(py, package);
    let mut found: Vec<String> = Vec::new();
    for package in &packages {
        found.extend(Some(format!("{package}.{last}")).filter(|module| is_there(module)));
        found.extend(near_in(py, Some(package), last));
    }
    found.truncate(MAX_NEAR);
    if found.is_empty() { packages } else { found }
}

/// As many names are told at most.
const MAX_NEAR: usize = 3;

/// The modules of a package, or those that are in none, whose names are like one that is not there.
fn near_in(py: Python<'_>, package: Option<&str>, last: &str) -> Vec<String> {
    let prefix = package.map_or_else(String::new, |package| format!("{package}."));
    let mut names: Vec<String> = Vec::new();
    if let Some(modules) = sys(py, c"modules") {
        modules.borrow().dict_entries(|name, _| {
            let name = name.text().map(Text::to_text).unwrap_or_default();
            names.extend(name.strip_prefix(&prefix).filter(|rest| !rest.contains('.')).map(str::to_owned));
            true
        });
    }
    let (folders, below) = match package.map(|package| (package_path(py, package), package)) {
        Some((Some(folders), _)) => (folders, String::new()),
        Some((None, package)) => (folders(py), package.replace('.', "/")),
        None => (folders(py), String::new()),
    };
    names.extend(without_gil(py, || folders.iter().flat_map(|folder| in_folder(folder, &below)).collect::<Vec<_>>()));
    names.retain(|name| name != last);
    let near = nearest_names(last, names.iter().map(String::as_str));
    near.into_iter().map(|name| format!("{prefix}{name}")).collect()
}

/// The modules and packages in a folder. Asks the file system, so the GIL should not be held.
fn in_folder(folder: &str, below: &str) -> Vec<String> {
    let folder = if folder.is_empty() { "." } else { folder };
    let Ok(entries) = std::fs::read_dir(Path::new(folder).join(below)) else { return Vec::new() };
    let module = |name: String| {
        let name = name.strip_suffix(".py").unwrap_or(&name);
        name.chars().all(|letter| letter == '_' || letter.is_alphanumeric()).then(|| name.to_owned())
    };
    entries.flatten().take(MAX_NAMES).filter_map(|entry| module(entry.file_name().into_string().ok()?)).collect()
}

/// True if a module's name in a probe means a file that runs as `module`: a script is `__main__` and still known by its
/// own name, which need not end as those of modules do.
pub fn is_module(wanted: &str, module: &str, file: &str) -> bool {
    module == wanted || names_of(module, file).iter().any(|name| name == wanted)
}

/// The names by which probes may mean a file that runs as `module`.
pub fn names_of(module: &str, file: &str) -> Vec<String> {
    if !is_main(module) {
        return vec![module.to_owned()];
    }
    let mut names = vec![MAIN.to_owned(), CHILD_MAIN.to_owned()];
    for path in SourcePath::new(file).suffixes() {
        let module = path.strip_suffix("/__main__.py").or_else(|| path.strip_suffix(".py")).unwrap_or(&path);
        names.push(module.replace('/', "."));
    }
    names
}

/// As [`is_module`], with a look for another module of that name: a script that does not end in `.py` is often called as the
/// package that it starts.
pub fn is_meant(py: Python<'_>, wanted: &str, module: &str, file: &str) -> bool {
    if !is_module(wanted, module, file) {
        return false;
    }
    let is_bare = is_main(module) && !is_main(wanted) && !is_source(file);
    !is_bare || (!is_in_modules(py, wanted) && matches!(importable(py, wanted), Importable::None))
}

fn is_in_modules(py: Python<'_>, module: &str) -> bool {
    sys(py, c"modules").is_some_and(|modules| modules.borrow().dict_get_text(module).is_some())
}

/// The file that runs as the program itself. Its `__file__` goes as soon as it has run.
fn main_file(name: &str, main: Ref<'_>) -> Option<String> {
    let seen = || with(|index| Some(index.files[*index.modules.get(name)?].name.clone())).flatten();
    script_of(main).or_else(seen)
}

/// The namespace of a module, whatever name it runs under.
pub(super) fn namespace(py: Python<'_>, wanted: &str) -> Option<Owned> {
    let modules = sys(py, c"modules")?;
    let modules = modules.borrow();
    let own = modules.dict_get_text(wanted).filter(|own| !is_put_off(*own));
    let mains = [MAIN, CHILD_MAIN].into_iter().filter_map(|name| Some((name, modules.dict_get_text(name)?)));
    if let Some(own) = own {
        return own.module_dict().map(Owned::keep);
    }
    let mains: Vec<(&str, Owned)> = mains.map(|(name, main)| (name, Owned::keep(main))).collect();
    let is_it = |name: &str, main: Ref<'_>| is_meant(py, wanted, name, &main_file(name, main).unwrap_or_default());
    let module = mains.iter().find(|(name, main)| is_it(name, main.borrow()));
    module.and_then(|(_, main)| main.borrow().module_dict()).map(Owned::keep)
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
    let mut names: Vec<String> = file(wanted).into_iter().collect();
    let mains: Vec<(&str, String)> = mains.collect();
    names.extend(mains.into_iter().filter(|(name, main)| is_meant(py, wanted, name, main)).map(|(_, main)| main));
    let folder = current_folder();
    let names: Vec<String> = names.into_iter().map(|name| absolute(name, folder.as_deref())).collect();
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

/// The file of a module that is compiled.
pub fn compiled_file(py: Python<'_>, module: &str) -> Option<String> {
    let held = namespace(py, module)?;
    let file = held.borrow().dict_get_text("__file__").and_then(Ref::text);
    file.map(Text::to_text).filter(|file| is_compiled(file))
}

/// The source file of a namespace: that of the program itself is known after `__file__` has gone.
pub(super) fn source_of(space: Ref<'_>) -> Option<String> {
    let text = |name: &str| space.dict_get_text(name).and_then(Ref::text).map(Text::to_text);
    let seen = |name: String| with(|index| Some(index.files[*index.modules.get(&name)?].name.clone())).flatten();
    text("__file__").or_else(|| seen(text("__name__").filter(|name| is_main(name))?))
}

/// The names of the module of each file that was asked for in the installations under way.
static NAMES: Held<Option<HashMap<String, Vec<String>>>> = Held::new(None);

/// Lets go of what was found: modules come and go.
pub fn forget_names() {
    drop(NAMES.with(Option::take));
}

/// All names that the module of a file has, as far as they are known: `os.path` is `posixpath` too.
pub fn all_names_of(py: Python<'_>, file: &str) -> Vec<String> {
    let known = NAMES.with(|names| names.as_ref()?.get(file).cloned()).flatten();
    let mut names = known.unwrap_or_else(|| {
        let found = names_in(py, file);
        NAMES.with(|names| names.get_or_insert_default().insert(file.to_owned(), found.clone()));
        found
    });
    // A file that starts is noted first, and the program's own has no `__file__` once it has run.
    let started = with(|index| {
        let id = index.by_name.get(file)?;
        let mine = index.modules.iter().filter(|&(_, known)| known == id);
        Some(mine.map(|(module, _)| module.clone()).collect::<Vec<_>>())
    });
    names.extend(started.flatten().unwrap_or_default());
    if names.iter().any(|name| is_main(name)) {
        names.extend(names_of(MAIN, file));
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// The names of modules whose `__file__` is this file. All modules are looked at with the GIL held: nothing is copied for one
/// that is another.
fn names_in(py: Python<'_>, file: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (Some(modules), Some(key)) = (sys(py, c"modules"), Owned::text(Text::Utf8("__file__"))) else { return found };
    let folder = current_folder();
    modules.borrow().dict_entries(|name, module| {
        if let Some(name) = name.text().filter(|_| is_in(module, key.borrow(), file, folder.as_deref())) {
            found.push(name.to_text());
        }
        true
    });
    found
}

fn is_in(module: Ref<'_>, key: Ref<'_>, file: &str, folder: Option<&str>) -> bool {
    let own = || module.module_dict()?.dict_get(key)?.text();
    let is_meant = |own: Text<'_>| match own.code_points().next() {
        Some(first) if first == u32::from('/') => own.same(Text::Utf8(file)),
        _ => absolute(own.to_text(), folder) == file,
    };
    own().is_some_and(is_meant) && !is_put_off(module)
}

/// True if `sys.modules` has a module, whatever it is made of.
pub fn is_loaded(py: Python<'_>, module: &str) -> bool {
    namespace(py, module).is_some()
}

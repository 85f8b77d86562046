//! The file and the namespace that a module's name means, loaded or not. Stands on the configuration's walk.

use super::functions::bare;
use super::index::{FileId, with};
use super::paths::{absolute, compiled, compiled_beside, current_folder, file_of, folders, is_compiled, on_path};
use super::{sys, without_gil};
use crate::code;
use crate::object::{Owned, Ref};
use crate::selftest::borrow;
use pyo3::prelude::*;
use stroboscope_core::probe::location::SourcePath;
use stroboscope_core::text::Text;

/// The module of the program itself, and its name in children of `multiprocessing`.
pub(super) const MAIN: &str = "__main__";
const CHILD_MAIN: &str = "__mp_main__";

/// True for the names under which the program itself runs.
pub fn is_main(module: &str) -> bool {
    module == MAIN || module == CHILD_MAIN
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
pub(super) fn namespace(py: Python<'_>, wanted: &str) -> Option<Owned> {
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

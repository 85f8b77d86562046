//! Looks for all code of some files: among the collector's objects, in the namespaces of modules and in the running frames.
//! Stands on the configuration's walk; needed only for what ran before us, and for libraries.

use super::index::{FileId, Index, name, with};
use super::named::{attribute, is_function, unwrapped};
use super::paths::{absolute, current_folder, file_of};
use super::sys;
use crate::code;
use crate::object::{Owned, Ref};
use crate::selftest::borrow;
use crate::shim;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use std::collections::{HashMap, HashSet};
use std::ffi::{c_int, c_void};
use stroboscope_core::probe::location::{Choice, choose as choose_file};

/// Objects that one look at the collector's visits at most: about a tenth of a second.
const MAX_VISITED: usize = 5_000_000;

/// Files by the object that names them: functions of a file share it.
#[derive(Default)]
struct FileNames {
    pub(super) folder: Option<String>,
    frozen: HashMap<String, String>,
}

impl FileNames {
    pub(super) fn read(py: Python<'_>) -> Self {
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
    pub(super) fn of(&self, named: Ref<'_>) -> Option<String> {
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
                        file.below = None;
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

pub(super) fn in_namespace(py: Python<'_>, space: Ref<'_>, found: &mut Vec<Owned>, depth: usize) {
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

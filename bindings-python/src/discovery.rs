//! Finds loaded code: files as they start to run, and for what ran before us, everything that the collector and the running
//! frames know. Stands on the configuration's walk, between [`crate::runtime`] and [`crate::statements`].

use crate::code;
use crate::names::Held;
use crate::object::{Owned, Ref};
use crate::selftest::borrow;
use crate::shim;
use crate::statements::{self, Code, Opcodes, Start};
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::ffi::c_void;
use stroboscope_core::probe::location::{Function, FunctionKind, Statement};

/// Files that are noted; a program that makes files without end does not make us grow without end.
const MAX_NOTED: usize = 50_000;

static NOTED: Held<BTreeMap<String, Vec<Owned>>> = Held::new(BTreeMap::new());

/// Code by file.
#[derive(Default)]
pub struct Found {
    files: BTreeMap<String, Vec<Owned>>,
}

impl Found {
    /// The files, in order.
    pub fn files(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// The outermost code known of a file.
    pub fn codes(&self, file: &str) -> &[Owned] {
        self.files.get(file).map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, code: Ref<'_>) {
        if code::is_ours(code) {
            return;
        }
        let Some(file) = code::file(code).and_then(Ref::text) else { return };
        let file = file.to_text();
        if file.starts_with('<') {
            return; // not a file: `<string>`, `<frozen importlib>`
        }
        let codes = self.files.entry(file).or_default();
        if !codes.iter().any(|known| known.borrow() == code) {
            codes.push(Owned::keep(code));
        }
    }
}

/// Notes the top level of a file that starts to run. A reload is noted too: both copies may be alive.
pub fn note(code: Ref<'_>) {
    let mut found = Found::default();
    found.add(code);
    NOTED.with(|noted| {
        for (file, codes) in found.files {
            if noted.len() < MAX_NOTED || noted.contains_key(&file) {
                let known = noted.entry(file).or_default();
                if known.len() < 16 {
                    known.extend(codes);
                }
            }
        }
    });
}

/// What was noted.
pub fn noted() -> Found {
    let mut found = Found::default();
    NOTED.with(|noted| {
        for codes in noted.values() {
            for code in codes {
                found.add(code.borrow());
            }
        }
    });
    found
}

/// Lets go of what was noted.
pub fn forget() {
    drop(NOTED.with(std::mem::take));
}

/// What was noted, what the collector knows, and what is running. Takes about 20 ms for a million objects.
pub fn everything(py: Python<'_>) -> Found {
    extern "C" fn visit(code: *mut PyObject, context: *mut c_void) {
        // SAFETY: the context is the vector below, borrowed for the visit, and the code is alive during it.
        let (codes, code) = unsafe { (&mut *context.cast::<Vec<Owned>>(), Ref::new(code)) };
        if let Some(code) = code.filter(|code| code::is_code(*code)) {
            codes.push(Owned::keep(code));
        }
    }
    let mut codes: Vec<Owned> = Vec::new();
    // SAFETY: the visitor makes no Python objects, and its context outlives the visit; the GIL is held.
    unsafe { shim::strobe_visit_code(visit, (&raw mut codes).cast()) };
    let mut found = noted();
    for code in &codes {
        found.add(code.borrow());
    }
    // A frame that cannot be read is one place less to look, and nothing else.
    let _ = running(py, &mut found);
    found
}

/// Adds the code of every running frame: the main program's top level is in no function.
fn running(py: Python<'_>, found: &mut Found) -> PyResult<()> {
    let frames = py.import("sys")?.call_method0("_current_frames")?;
    for frame in frames.call_method0("values")?.try_iter()? {
        let mut frame = frame?;
        while !frame.is_none() {
            if let Some(code) = borrow(&frame.getattr("f_code")?) {
                found.add(code);
            }
            frame = frame.getattr("f_back")?;
        }
    }
    Ok(())
}

/// A function of a file, for the core and for the hook.
pub struct PyFunction {
    /// What the core decides on.
    pub plain: Function,
    /// The code.
    pub code: Owned,
    /// Where its statements begin.
    pub starts: Vec<Start>,
}

/// All code of a file, without repetition.
pub fn flat(roots: &[Owned]) -> Vec<Owned> {
    let mut all = Vec::new();
    for root in roots {
        code::with_nested(root.borrow(), &mut all);
    }
    all.into_iter().map(Owned::keep).collect()
}

/// The functions of a file with their statements.
pub fn functions(py: Python<'_>, roots: &[Owned], opcodes: &Opcodes) -> PyResult<Vec<PyFunction>> {
    let codes = flat(roots);
    let mut functions = Vec::with_capacity(codes.len());
    for code in &codes {
        let starts = statements_of(py, code.borrow(), opcodes)?;
        let position = |other: Ref<'_>| codes.iter().position(|code| code.borrow() == other);
        let parent = codes.iter().find(|outer| code::nested(outer.borrow()).any(|inner| inner == code.borrow()));
        let (table, first) = code::line_table(code.borrow());
        let last = code::Locations::new(table, first).map(|location| location.end_line).max().unwrap_or(first);
        let mut statements: Vec<Statement> = Vec::new();
        for start in &starts {
            let statement = Statement { line: start.line, end: start.end };
            if !statements.contains(&statement) {
                statements.push(statement);
            }
        }
        let plain = Function {
            name: bare(code.borrow()),
            kind: kind(code.borrow()),
            first,
            last: last.max(first),
            parent: parent.and_then(|parent| position(parent.borrow())),
            statements,
        };
        functions.push(PyFunction { plain, code: Owned::keep(code.borrow()), starts });
    }
    Ok(functions)
}

fn kind(code: Ref<'_>) -> FunctionKind {
    match bare(code).as_str() {
        "<module>" => FunctionKind::Module,
        "<lambda>" => FunctionKind::Lambda,
        "<listcomp>" | "<setcomp>" | "<dictcomp>" | "<genexpr>" => FunctionKind::Comprehension,
        // SAFETY: a live code object.
        _ if unsafe { shim::strobe_code_optimized(code.pointer()) } == 0 => FunctionKind::Class,
        _ => FunctionKind::Function,
    }
}

/// The bare name of a function.
pub fn bare(code: Ref<'_>) -> String {
    code::name(code).and_then(Ref::text).map(stroboscope_core::text::Text::to_text).unwrap_or_default()
}

/// The qualified name of a function.
pub fn qualified(code: Ref<'_>) -> String {
    code::qualname(code).and_then(Ref::text).map(stroboscope_core::text::Text::to_text).unwrap_or_default()
}

/// Where the statements of a code object begin.
pub fn statements_of(py: Python<'_>, code: Ref<'_>, opcodes: &Opcodes) -> PyResult<Vec<Start>> {
    // SAFETY: a live code object, borrowed for the call.
    let object = unsafe { Bound::from_borrowed_ptr(py, code.pointer()) };
    let bytes: Vec<u8> = object.getattr("co_code")?.extract()?;
    let exceptions: Vec<u8> = object.getattr("co_exceptiontable")?.extract()?;
    let (lines, first_line) = code::line_table(code);
    let (none_constants, definitions) = code::constants(code);
    let code = Code { bytes: &bytes, lines, exceptions: &exceptions, first_line, none_constants, definitions };
    Ok(statements::starts(&code, opcodes))
}

/// Names that code may load from its module: all that it names and that are not its own variables.
pub fn global_names(py: Python<'_>, code: Ref<'_>) -> PyResult<Vec<Owned>> {
    // SAFETY: a live code object, borrowed for the call.
    let object = unsafe { Bound::from_borrowed_ptr(py, code.pointer()) };
    let bytes: Vec<u8> = object.getattr("co_code")?.extract()?;
    let names: Vec<Bound<'_, PyAny>> = object.getattr("co_names")?.extract()?;
    let numbers = py.import("opcode")?.getattr("opmap")?;
    let number = |name: &str| numbers.get_item(name).and_then(|number| number.extract::<u8>());
    let (global, by_name, extended) = (number("LOAD_GLOBAL")?, number("LOAD_NAME")?, number("EXTENDED_ARG")?);
    let mut wanted = Vec::new();
    let mut argument = 0usize;
    for pair in bytes.chunks_exact(2) {
        argument = (argument << 8) | usize::from(pair[1]);
        if pair[0] == extended {
            continue;
        }
        let index = match pair[0] {
            opcode if opcode == global => Some(argument >> 1),
            opcode if opcode == by_name => Some(argument),
            _ => None,
        };
        if let Some(index) = index
            && !wanted.contains(&index)
        {
            wanted.push(index);
        }
        argument = 0;
    }
    Ok(wanted.into_iter().filter_map(|index| names.get(index)).filter_map(borrow).map(Owned::keep).collect())
}

/// The file of a loaded module, read from its namespace; no code of the program runs.
pub fn file_of_module(py: Python<'_>, module: &str) -> Option<String> {
    let modules = py.import("sys").ok()?.getattr("modules").ok()?;
    let namespace = borrow(&modules)?.dict_get_text(module)?.module_dict()?;
    namespace.dict_get_text("__file__").and_then(Ref::text).map(stroboscope_core::text::Text::to_text)
}

//! The functions of a file and where their statements begin, read from the code objects. Stands on the configuration's walk,
//! before [`crate::statements`].

use super::index::{FileId, with};
use super::named::attribute;
use super::without_gil;
use crate::code::{self, Instructions};
use crate::logical::LogicalLines;
use crate::object::{Owned, Ref};
use crate::shim;
use crate::statements::{self, Code, Opcodes, Start};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use stroboscope_core::probe::location::{Function, FunctionKind, Statement, is_method};
use stroboscope_core::text::Text;

/// Files whose functions are kept read.
const MAX_READ: usize = 64;
/// Longest source that is looked at for statements over several lines.
const MAX_SOURCE: u64 = 16 << 20;

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

/// Code that is looked at without the GIL.
#[derive(Clone, Copy)]
pub(super) struct Still<'c>(Ref<'c>);

// SAFETY: whoever makes one keeps the code alive for `'c`. Only that is read of it which never changes (names, constants,
// tables, flags; all of them strings, bytes, tuples and numbers), and no reference is counted.
unsafe impl Send for Still<'_> {}
// SAFETY: as above.
unsafe impl Sync for Still<'_> {}

impl<'c> Still<'c> {
    /// Lends code that is kept alive for `'c`.
    pub(super) fn of(code: &'c Owned) -> Self {
        Still(code.borrow())
    }

    pub(super) fn code(self) -> Ref<'c> {
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
        Ok(self.read_of(&self.ask_bytes(py)?, opcodes, lines))
    }

    fn ask_bytes(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        // SAFETY: a live code object, borrowed for the call.
        let object = unsafe { Bound::from_borrowed_ptr(py, self.code.code().pointer()) };
        let bytes = object.getattr("co_code")?;
        Ok(bytes.cast::<PyBytes>().map_err(PyErr::from)?.as_bytes().to_vec())
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

/// The functions below some roots, which the index need not know. Most of it is done without the GIL.
pub(super) fn functions_below(py: Python<'_>, roots: &[Owned], name: &str) -> FileCode {
    outline(py, roots, name, true)
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
        let (first, last) = span(code);
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

/// The lambdas that the code itself binds to a name, without a look at the namespace, which may not be filled yet.
pub fn lambdas(py: Python<'_>, code: &FileCode, opcodes: &Opcodes, wanted: &str) -> PyResult<Vec<usize>> {
    let last = wanted.rsplit('.').next().unwrap_or(wanted);
    let mut found = Vec::new();
    let mut bound: HashMap<usize, Vec<(usize, String)>> = HashMap::new();
    for at in (0..code.plain.len()).filter(|&at| code.plain[at].kind == FunctionKind::Lambda) {
        let Some(parent) = code.plain[at].parent else { continue };
        let path = match code.plain[parent].kind {
            FunctionKind::Module => last.to_owned(),
            FunctionKind::Class => format!("{}.{last}", code.qualified[parent]),
            _ => continue,
        };
        if !is_method(&path, wanted) {
            continue;
        }
        let owner = code.functions[parent].code.borrow();
        if let Entry::Vacant(empty) = bound.entry(parent) {
            empty.insert(bindings(py, owner, opcodes)?);
        }
        let own = code.functions[at].code.borrow().pointer() as usize;
        let is_bound = |(lambda, name): &(usize, String)| *lambda == own && name == last;
        if bound.get(&parent).is_some_and(|bound| bound.iter().any(is_bound)) {
            found.push(at);
        }
    }
    Ok(found)
}

/// The functions that code makes and stores under names, by the addresses of their code.
fn bindings(py: Python<'_>, code: Ref<'_>, opcodes: &Opcodes) -> PyResult<Vec<(usize, String)>> {
    let raw = Raw::copy(0, code, FunctionKind::Module);
    let bytes = match opcodes.plain(&raw.instructions) {
        Some(bytes) => bytes,
        None => raw.ask_bytes(py)?,
    };
    let (constants, names) = (code::constants_of(code), code::names(code));
    // SAFETY: elements of live tuples.
    let text = |at: usize| names.get(at).and_then(|&name| unsafe { Ref::new(name) }).and_then(Ref::text);
    let stored = statements::stored_functions(&bytes, opcodes);
    let one = |(constant, name): (usize, usize)| Some((*constants.get(constant)? as usize, text(name)?.to_text()));
    Ok(stored.into_iter().filter_map(one).collect())
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

/// The first and the last line of code.
pub fn span(code: Ref<'_>) -> (u32, u32) {
    let (table, first) = code::line_table(code);
    let last = code::Locations::new(table, first).map(|location| location.end_line).max().unwrap_or(first);
    (first, last.max(first))
}

/// The qualified names of all that is written inside code, and its own.
pub fn names_within(code: Ref<'_>) -> Vec<String> {
    let mut all = Vec::new();
    code::with_nested(code, &mut all);
    all.into_iter().map(qualified).collect()
}

/// The qualified name of a function.
pub fn qualified(code: Ref<'_>) -> String {
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

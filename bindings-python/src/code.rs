//! Code objects: where statements begin, which line a position is on, and the numbers that records carry for code. Stands on
//! both walks: [`crate::runtime`] asks for places of a line, a hit asks for the number of a frame's code, and the worker
//! for the line of a position, without the GIL.

use crate::object::Ref;
use crate::shim;
use pyo3::ffi::{self, PyObject};
use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicU32, Ordering};
use stroboscope_core::host::FrameText;

/// A run of instructions that stand for one piece of source, from CPython's location table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// First code unit.
    pub start: u32,
    /// Code unit after the last.
    pub end: u32,
    /// Line, from 1; 0 if the instructions belong to none.
    pub line: u32,
    /// Last line.
    pub end_line: u32,
    /// Column in bytes, from 0.
    pub column: Option<u32>,
    /// Column after the last.
    pub end_column: Option<u32>,
}

/// Reads a location table (CPython 3.11 and later). A damaged one ends the reading early.
pub struct Locations<'t> {
    table: &'t [u8],
    line: i64,
    unit: u32,
}

impl<'t> Locations<'t> {
    /// Begins at the first entry.
    pub fn new(table: &'t [u8], first_line: u32) -> Self {
        Locations { table, line: i64::from(first_line), unit: 0 }
    }

    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.table.split_first()?;
        self.table = rest;
        Some(first)
    }

    fn number(&mut self) -> Option<u32> {
        let mut value = 0u32;
        let mut shift = 0;
        loop {
            let byte = self.byte()?;
            value |= u32::from(byte & 63).checked_shl(shift)?;
            shift += 6;
            if byte & 64 == 0 {
                return Some(value);
            }
        }
    }

    fn signed(&mut self) -> Option<i64> {
        let value = i64::from(self.number()?);
        Some(if value & 1 != 0 { -(value >> 1) } else { value >> 1 })
    }
}

impl Iterator for Locations<'_> {
    type Item = Location;

    fn next(&mut self) -> Option<Location> {
        let head = self.byte()?;
        let code = (head >> 3) & 15;
        let start = self.unit;
        self.unit += u32::from(head & 7) + 1;
        let mut end_line = 0;
        let (mut column, mut end_column) = (None, None);
        let mut has_line = true;
        match code {
            0..=9 => {
                let second = self.byte()?;
                let at = (u32::from(code) << 3) | (u32::from(second) >> 4);
                column = Some(at);
                end_column = Some(at + u32::from(second & 15));
            }
            10..=12 => {
                self.line += i64::from(code - 10);
                column = Some(u32::from(self.byte()?));
                end_column = Some(u32::from(self.byte()?));
            }
            13 => self.line += self.signed()?,
            14 => {
                self.line += self.signed()?;
                end_line = self.number()?;
                column = self.number()?.checked_sub(1);
                end_column = self.number()?.checked_sub(1);
            }
            _ => has_line = false,
        }
        let line = if has_line { u32::try_from(self.line).unwrap_or(0) } else { 0 };
        Some(Location { start, end: self.unit, line, end_line: line + end_line, column, end_column })
    }
}

/// The location table of code, and its first line.
pub fn line_table(code: Ref<'_>) -> (&[u8], u32) {
    // SAFETY: asked of live code objects only; the table belongs to the code.
    let (table, first) =
        unsafe { (Ref::new(shim::strobe_code_lines(code.pointer())), shim::strobe_code_first_line(code.pointer())) };
    (table.and_then(Ref::bytes).unwrap_or(&[]), u32::try_from(first).unwrap_or(0))
}

/// The exception table of code.
pub fn exception_table(code: Ref<'_>) -> &[u8] {
    // SAFETY: asked of live code objects only; the table belongs to the code.
    unsafe { Ref::new(shim::strobe_code_exceptions(code.pointer())) }.and_then(Ref::bytes).unwrap_or(&[])
}

/// The names that code uses, by their positions.
pub fn names(code: Ref<'_>) -> &[*mut PyObject] {
    // SAFETY: a live code object; its names belong to it.
    unsafe { Ref::new(shim::strobe_code_names(code.pointer())) }.map_or(&[][..], Ref::tuple)
}

/// The instructions of code as they stood when they were copied, specialised and instrumented by whatever tools there are;
/// [`crate::statements::Opcodes::plain`] turns them back. To ask CPython for `co_code` takes ten times as long, with the GIL
/// held, and leaves the answer with the code for ever.
pub struct Instructions {
    /// Pairs of an opcode and an argument.
    pub units: Vec<u8>,
    /// The opcodes that line events have replaced, each `line_step` after the other; empty if there are none.
    pub lines: Vec<u8>,
    /// See `lines`.
    pub line_step: usize,
    /// The opcodes that instruction events have replaced; empty if there are none.
    pub each: Vec<u8>,
}

impl Instructions {
    /// Copies them.
    pub fn copy(code: Ref<'_>) -> Self {
        let mut found = shim::Units::empty();
        // SAFETY: a live code object; the output is ours.
        unsafe { shim::strobe_code_units(code.pointer(), &raw mut found) };
        let count = usize::try_from(found.count).unwrap_or(0);
        let line_step = usize::try_from(found.line_step).unwrap_or(0);
        let bytes = |from: *const u8, length: usize| {
            if from.is_null() {
                return Vec::new();
            }
            // SAFETY: so many bytes of the code object or of what it owns, which nobody changes while the GIL is held here.
            unsafe { std::slice::from_raw_parts(from, length) }.to_vec()
        };
        Instructions {
            units: bytes(found.pairs, count * 2),
            lines: bytes(found.lines, count * line_step),
            line_step,
            each: bytes(found.each, count),
        }
    }
}

/// CPython 3.12 takes pairs of instructions apart when it first looks whether a tool watches them: a loop of loads and
/// stores then takes some per cent longer for ever, watched or not. [`join`] puts them together again, as code starts for the
/// first time and at hits of a probe in it. What we are not told of stays apart: code that has run already when the first
/// method is probed, or the last one no more, since CPython then looks at it again without a word.
#[cfg(not(Py_3_13))]
mod pairs {
    use super::{Instructions, Ref, shim};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// True once joining was seen to do what CPython does.
    static KNOWN: AtomicBool = AtomicBool::new(false);

    /// Tries it on code that never ran. Without an agreement nothing is joined.
    pub fn try_out(fresh: Ref<'_>) {
        let whole = Instructions::copy(fresh).units;
        let mut parts = whole.clone();
        let mut at = 0;
        while let Some(opcode) = parts.get_mut(at * 2) {
            let base = shim::strobe_opcode_base(i32::from(*opcode));
            *opcode = u8::try_from(base).unwrap_or(0);
            at += 1 + usize::try_from(shim::strobe_opcode_caches(base)).unwrap_or(0);
        }
        let count = isize::try_from(parts.len() / 2).unwrap_or(0);
        let taken_apart = parts != whole;
        let units = shim::Units { count, ..shim::Units::empty() };
        // SAFETY: so many pairs of bytes, which are ours.
        unsafe { shim::strobe_units_join(parts.as_mut_ptr(), &raw const units) };
        KNOWN.store(taken_apart && parts == whole, Ordering::Relaxed);
    }

    /// Joins what was taken apart.
    pub fn join(code: Ref<'_>) {
        if KNOWN.load(Ordering::Relaxed) {
            // SAFETY: a live code object, with the GIL held. What is written is what CPython wrote there as it made the
            // code; a frame that stands in the middle of a pair goes on with the second half, which stays what it is.
            unsafe { shim::strobe_code_join(code.pointer()) };
        }
    }
}

/// Later versions make the pairs when they compile, and leave them.
#[cfg(Py_3_13)]
mod pairs {
    use super::Ref;

    pub fn try_out(_: Ref<'_>) {}
    pub fn join(_: Ref<'_>) {}
}

/// True if this CPython takes instructions apart that [`join`] can join.
pub const JOINS: bool = cfg!(not(Py_3_13));

pub use pairs::{join, try_out as try_joining};

/// True for a code object.
pub fn is_code(object: Ref<'_>) -> bool {
    object.is_exactly(&raw const ffi::PyCode_Type)
}

/// The file that code was compiled from.
pub fn file(code: Ref<'_>) -> Option<Ref<'_>> {
    // SAFETY: a live code object; the name belongs to it.
    unsafe { Ref::new(shim::strobe_code_file(code.pointer())) }
}

/// The bare name of the function.
pub fn name(code: Ref<'_>) -> Option<Ref<'_>> {
    // SAFETY: as above.
    unsafe { Ref::new(shim::strobe_code_name(code.pointer())) }
}

/// The qualified name of the function.
pub fn qualname(code: Ref<'_>) -> Option<Ref<'_>> {
    // SAFETY: as above.
    unsafe { Ref::new(shim::strobe_code_qualname(code.pointer())) }
}

/// What kind of function code is of: bits of `CO_…`.
pub fn flags(code: Ref<'_>) -> i32 {
    // SAFETY: a live code object.
    unsafe { shim::strobe_code_flags(code.pointer()) }
}

/// The variables of a function that are its own: how many are arguments, and the names, those of arguments first.
pub fn variables(code: Ref<'_>) -> (usize, Vec<Ref<'_>>) {
    // SAFETY: a live code object, and indexes below the number of its slots; names belong to the code.
    unsafe {
        let own = (0..shim::strobe_code_slots(code.pointer())).filter_map(|index| {
            let is_free = shim::strobe_code_slot_kind(code.pointer(), index) & shim::SLOT_FREE != 0;
            if is_free { None } else { Ref::new(shim::strobe_code_slot_name(code.pointer(), index)) }
        });
        let names: Vec<Ref<'_>> = own.collect();
        let arguments = usize::try_from(shim::strobe_code_arguments(code.pointer())).unwrap_or(0);
        (arguments.min(names.len()), names)
    }
}

/// Code of functions, classes and comprehensions written inside this code.
pub fn nested(code: Ref<'_>) -> impl Iterator<Item = Ref<'_>> {
    // SAFETY: elements of a live tuple.
    constants_of(code)
        .iter()
        .filter_map(|&constant| unsafe { Ref::new(constant) })
        .filter(|&constant| is_code(constant))
}

/// Code of a file and everything written inside it, outermost first.
pub fn with_nested<'f>(code: Ref<'f>, out: &mut Vec<Ref<'f>>) {
    let mut waiting = vec![code];
    let mut seen = HashSet::new();
    while let Some(code) = waiting.pop() {
        if out.len() >= 100_000 || !seen.insert(code.pointer() as usize) {
            continue;
        }
        out.push(code);
        waiting.extend(nested(code));
    }
}

// ---- numbers of code, for stacks ------------------------------------------------------------------------------

const SHELF: usize = 1024;
const SHELVES: usize = 64;

/// What the worker needs of a code object, after the code may be gone.
struct Kept {
    text: FrameText,
    first_line: u32,
    table: Box<[u8]>,
    ours: bool,
}

/// Append-only and read without a lock: the worker reads while a hit, under the GIL, appends.
static KEPT: [OnceLock<Box<[OnceLock<Kept>]>>; SHELVES] = [const { OnceLock::new() }; SHELVES];
static COUNT: AtomicU32 = AtomicU32::new(0);
static EXTRA: AtomicIsize = AtomicIsize::new(-1);
/// True once a direct read of what hangs on code was seen to differ from what CPython answers.
static INDIRECT: AtomicBool = AtomicBool::new(false);

/// The number of code that found no place in the table.
pub const UNKNOWN: u32 = u32::MAX;

unsafe extern "C" {
    fn PyUnstable_Eval_RequestCodeExtraIndex(free: Option<unsafe extern "C" fn(*mut c_void)>) -> isize;
    fn PyUnstable_Code_GetExtra(code: *mut PyObject, index: isize, extra: *mut *mut c_void) -> i32;
    fn PyUnstable_Code_SetExtra(code: *mut PyObject, index: isize, extra: *mut c_void) -> i32;
}

/// Asks the interpreter for a place in its code objects. Called once, when the module starts, with the GIL.
pub fn reserve_extra() {
    if EXTRA.load(Ordering::Relaxed) < 0 {
        // SAFETY: the GIL is held. What is kept is a number, so nothing has to be freed.
        EXTRA.store(unsafe { PyUnstable_Eval_RequestCodeExtraIndex(None) }, Ordering::Relaxed);
    }
}

/// The index for [`shim::strobe_stack`]; below 0 if it may not read.
#[inline]
pub fn extra_index() -> isize {
    if INDIRECT.load(Ordering::Relaxed) { -1 } else { EXTRA.load(Ordering::Relaxed) }
}

/// The number of code, kept in the code object itself: a new object at an old address has none.
/// `None` for code of ours, which no stack shows.
#[inline]
pub fn number(code: Ref<'_>) -> Option<u32> {
    let index = EXTRA.load(Ordering::Relaxed);
    let mut extra = std::ptr::null_mut();
    if index >= 0 {
        // SAFETY: a live code object and an index that the interpreter gave us; the output is ours.
        unsafe { PyUnstable_Code_GetExtra(code.pointer(), index, &raw mut extra) };
    }
    // Kept as number * 2 + 2, plus 1 for code of ours; 0 is what CPython has for "nothing yet".
    let packed = extra as usize;
    let packed = if packed == 0 { keep(code, index) } else { packed };
    (packed & 1 == 0).then_some(((packed - 2) / 2) as u32)
}

#[cold]
fn keep(code: Ref<'_>, index: isize) -> usize {
    let id = COUNT.load(Ordering::Relaxed);
    let ours = is_ours(code);
    let (shelf, place) = (id as usize / SHELF, id as usize % SHELF);
    if shelf >= SHELVES || index < 0 {
        return UNKNOWN as usize * 2 + 2 + usize::from(ours);
    }
    let text =
        |text: Option<Ref<'_>>| text.and_then(Ref::text).map(stroboscope_core::text::Text::to_text).unwrap_or_default();
    let (table, first_line) = line_table(code);
    let kept = Kept {
        text: FrameText { file: text(file(code)), function: text(name(code)), line: 0, column: 0 },
        first_line,
        table: table.into(),
        ours,
    };
    let shelf = KEPT[shelf].get_or_init(|| (0..SHELF).map(|_| OnceLock::new()).collect());
    // Only the holder of the GIL appends, so the place is free.
    let _ = shelf[place].set(kept);
    COUNT.store(id + 1, Ordering::Release);
    let packed = id as usize * 2 + 2 + usize::from(ours);
    // SAFETY: a live code object and an index that the interpreter gave us. A failure means the number is made again.
    if unsafe { PyUnstable_Code_SetExtra(code.pointer(), index, packed as *mut c_void) } != 0 {
        // SAFETY: the GIL is held; the program must not see our error.
        unsafe { ffi::PyErr_Clear() };
    }
    let mut extra = std::ptr::null_mut();
    // SAFETY: as above; the output is ours.
    let direct = unsafe {
        PyUnstable_Code_GetExtra(code.pointer(), index, &raw mut extra);
        shim::strobe_code_extra(code.pointer(), index)
    };
    if direct == extra {
        // SAFETY: a live code object, whose layout is the one that was just seen to be right; the GIL is held.
        unsafe { shim::strobe_code_extra_trim(code.pointer(), index) };
    } else {
        INDIRECT.store(true, Ordering::Relaxed);
    }
    packed
}

static FOLDER: OnceLock<String> = OnceLock::new();

/// Says where the Python files of this package are. Called once, when the module starts.
pub fn set_own_folder(folder: String) {
    // The second interpreter of a process would say the same.
    let _ = FOLDER.set(folder);
}

/// True for the Python files of this package.
pub fn is_ours(code: Ref<'_>) -> bool {
    file(code).and_then(Ref::text).is_some_and(|file| is_own_file(&file.to_text()))
}

/// As [`is_ours`], of a file.
pub fn is_own_file(file: &str) -> bool {
    FOLDER.get().is_some_and(|folder| !folder.is_empty() && file.starts_with(folder.as_str()))
}

/// Set in a position that is a line.
const IS_LINE: u32 = 1 << 31;

/// A line as a position.
pub fn position_of_line(line: u32) -> u32 {
    line | IS_LINE
}

/// Turns a number and a position into text. Needs no GIL.
pub fn describe(code: u32, position: u32) -> FrameText {
    let place = code as usize % SHELF;
    let Some(kept) = KEPT.get(code as usize / SHELF).and_then(OnceLock::get).and_then(|shelf| shelf[place].get())
    else {
        return FrameText { function: "<unknown>".to_owned(), ..FrameText::default() };
    };
    debug_assert!(!kept.ours, "no stack holds code of ours");
    if position & IS_LINE != 0 {
        return FrameText { line: position & !IS_LINE, ..kept.text.clone() };
    }
    let at = Locations::new(&kept.table, kept.first_line)
        .find(|location| location.start <= position && position < location.end);
    FrameText { line: at.map_or(0, |at| at.line), ..kept.text.clone() }
}

/// The constants of code.
pub fn constants_of(code: Ref<'_>) -> &[*mut PyObject] {
    // SAFETY: a live code object; its constants belong to it.
    unsafe { Ref::new(shim::strobe_code_constants(code.pointer())) }.map_or(&[][..], Ref::tuple)
}

/// For each constant of code: whether it is `None`, and whether it is the code of a function or class with a name.
pub fn constants(code: Ref<'_>) -> (Vec<bool>, Vec<bool>) {
    let constants = constants_of(code);
    // SAFETY: `None` is alive for ever; only its address is used.
    let none = unsafe { ffi::Py_None() };
    let is_definition = |&constant: &*mut PyObject| {
        // SAFETY: an element of a live tuple.
        let constant = unsafe { Ref::new(constant) }.filter(|&constant| is_code(constant));
        let name = constant.and_then(name).and_then(Ref::text);
        name.is_some_and(|name| name.code_points().next() != Some(u32::from('<')))
    };
    (constants.iter().map(|&constant| constant == none).collect(), constants.iter().map(is_definition).collect())
}

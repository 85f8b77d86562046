//! The place of a hit as the core sees it: variables, sections, stack, thread. Stands on the hit's walk: the core comes
//! before, [`crate::value`] after. What a name means in a code object is resolved when the probe is installed.

use crate::code;
use crate::names;
use crate::object::{Owned, Ref};
use crate::shim::{self, RawFrame};
use crate::standard;
use crate::tracer;
use crate::value::{self, Hint, PyValue};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::c_int;
use std::ops::{ControlFlow, Range};
use stroboscope_core::host::{ActiveSpan, Child, Frame, Name, Section, StackFrame, Symbol, ThreadInfo, Value};

/// So many frames of a traceback are looked for; the core takes fewer.
const MAX_FRAMES: usize = 512;

/// The bit of a slot in which CPython 3.14 notes that it holds no reference of its own.
const MARK: usize = if cfg!(Py_3_14) { 1 } else { 0 };

/// One place for a variable in frames of a code object.
pub struct Slot {
    name: Owned,
    /// True if the place holds a cell, and the value is in it.
    cell: bool,
}

/// What is known of a code object that has probes.
pub struct Layout {
    slots: Vec<Slot>,
    arguments: usize,
    /// False for modules and classes: their variables are in a mapping.
    optimized: bool,
    /// Globals that the code names.
    globals: Vec<Owned>,
    /// The class that the code is written in, without underscores before it; empty: none.
    class: String,
}

/// The class that a function is written in, by its qualified name, as Python takes it for private names.
fn class_around(qualified: &str) -> &str {
    let mut parts = qualified.rsplit('.').skip(1);
    loop {
        match parts.next() {
            Some("<locals>") => {
                parts.next();
            }
            Some(class) => return class.trim_start_matches('_'),
            None => return "",
        }
    }
}

/// What Python makes of a private name that is written inside of a class; `None` for any other name.
fn private(class: &str, name: &str) -> Option<String> {
    let mangled = !class.is_empty() && name.starts_with("__") && !name.ends_with("__");
    mangled.then(|| format!("_{class}{name}"))
}

impl Layout {
    /// Reads the layout of a code object. `globals` are the names that it loads from its module.
    pub fn of(code: Ref<'_>, globals: Vec<Owned>) -> Self {
        // SAFETY: a live code object, and indexes below the number of its slots; names belong to the code.
        unsafe {
            let slots = (0..shim::strobe_code_slots(code.pointer())).filter_map(|index| {
                let name = Ref::new(shim::strobe_code_slot_name(code.pointer(), index))?;
                let kind = shim::strobe_code_slot_kind(code.pointer(), index);
                Some(Slot { name: Owned::keep(name), cell: kind & (shim::SLOT_CELL | shim::SLOT_FREE) != 0 })
            });
            Layout {
                slots: slots.collect(),
                arguments: usize::try_from(shim::strobe_code_arguments(code.pointer())).unwrap_or(0),
                optimized: shim::strobe_code_optimized(code.pointer()) != 0,
                globals,
                class: code::qualname(code).and_then(Ref::text).map_or_else(String::new, |name| {
                    let name = name.to_text();
                    class_around(&name).to_owned()
                }),
            }
        }
    }
}

/// A name of an expression as Python spells it: it takes letters that look alike for one (NFKC, PEP 3131). One that is
/// redacted in that form only stays as it is written: expressions were judged by that.
fn identifier(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        return Cow::Borrowed(name);
    }
    // SAFETY: names are resolved under the GIL.
    let py = unsafe { Python::assume_attached() };
    let normal = || {
        let normal = standard::module(py, "unicodedata")?.call_method1("normalize", ("NFKC", name))?;
        normal.extract::<String>()
    };
    match normal() {
        Ok(normal) if !names::tables().is_some_and(|tables| tables.redaction().name(&normal)) => Cow::Owned(normal),
        _ => Cow::Borrowed(name),
    }
}

/// What a name of an expression is in one code object.
pub struct Resolved {
    name: Owned,
    /// The same as it is written, if Python makes another name of it inside of its class.
    written: Option<Owned>,
    slot: Option<usize>,
    hint: Cell<Hint>,
}

/// Resolves the names of a probe's expressions. `None` only if memory is out.
pub fn resolve(layout: &Layout, symbols: &[String]) -> Option<Vec<Resolved>> {
    let one = |name: &String| {
        let name = &*identifier(name);
        let mangled = private(&layout.class, name);
        let written = if mangled.is_some() { Some(Owned::interned(name)?) } else { None };
        let name = Owned::interned(mangled.as_deref().unwrap_or(name))?;
        let wanted = name.borrow().text()?;
        let slot = layout.slots.iter().position(|slot| slot.name.borrow().text().is_some_and(|text| text.same(wanted)));
        Some(Resolved { name, written, slot, hint: Cell::default() })
    };
    symbols.iter().map(one).collect()
}

/// A running frame, borrowed for the hit.
pub struct PyFrame<'f> {
    frame: *mut RawFrame,
    /// Where its slots begin; null if they have to be asked for (see `selftest.rs`).
    slots: *const *mut PyObject,
    layout: &'f Layout,
    symbols: &'f [Resolved],
    /// The position to show (see [`StackFrame`]); 0 for that of the instruction.
    shown: u32,
}

impl<'f> PyFrame<'f> {
    /// The innermost frame of the thread, if it runs the code that the layout is of.
    ///
    /// # Safety
    /// The GIL is held, and the frame neither ends nor runs Python code during `'f`; `layout` is of `code`.
    #[inline]
    pub unsafe fn top(code: Ref<'_>, layout: &'f Layout, symbols: &'f [Resolved]) -> Option<Self> {
        let mut slots = std::ptr::null();
        // SAFETY: the GIL is held, and the code is alive; the output is ours.
        let frame = unsafe { shim::strobe_top_of(code.pointer(), &raw mut slots) };
        (!frame.is_null()).then_some(PyFrame { frame, slots, layout, symbols, shown: 0 })
    }

    /// Says that it stands at the statement of a line, whose first instruction may be on a later one. 0: that does not matter.
    #[inline]
    pub fn at_line(mut self, line: u32) -> Self {
        self.shown = if line == 0 { 0 } else { code::position_of_line(line) };
        self
    }

    /// Says that it ends by an exception: it stands where that was raised, not where a `finally`, the end of a `with` or an
    /// `except` for others let it go on.
    pub fn raised(mut self, exception: Ref<'_>) -> Self {
        let (mut code, mut position) = (std::ptr::null_mut(), 0);
        // SAFETY: a live exception, whose traceback belongs to it; the innermost frame that it left is the first of that.
        let own = unsafe {
            let traceback = shim::strobe_exception_traceback(exception.pointer());
            if traceback.is_null() || shim::strobe_is_traceback(traceback) == 0 {
                return self;
            }
            shim::strobe_traceback(traceback, &raw mut code, &raw mut position);
            shim::strobe_frame_code(self.frame)
        };
        if code == own {
            self.shown = u32::try_from(position).unwrap_or(0);
        }
        self
    }

    /// The frame's address, which no other frame has while it runs.
    pub fn address(&self) -> usize {
        self.frame as usize
    }

    /// The instruction that runs, in code units.
    pub fn position(&self) -> c_int {
        // SAFETY: a running frame.
        unsafe { shim::strobe_frame_position(self.frame) }
    }

    #[inline]
    fn slot(&self, index: usize) -> Option<Ref<'f>> {
        let slot = self.layout.slots.get(index)?;
        // SAFETY: one of the layout's, at its own index.
        unsafe { self.held(index, slot) }
    }

    /// What a slot holds.
    ///
    /// # Safety
    /// `slot` is the one of the layout at this index.
    #[inline]
    unsafe fn held(&self, index: usize, slot: &Slot) -> Option<Ref<'f>> {
        // SAFETY: the frame runs the code that the layout is of, so it has this slot; what is in it stays during the hit.
        unsafe {
            let held = if self.slots.is_null() {
                shim::strobe_frame_slot(self.frame, i32::try_from(index).ok()?)
            } else {
                (*self.slots.add(index)).map_addr(|address| address & !MARK)
            };
            if held.is_null() || !slot.cell {
                return Ref::new(held);
            }
            Ref::new(shim::strobe_cell_contents(held))
        }
    }

    /// The variables of a module or class body, if they are in a plain dictionary.
    fn mapping(&self) -> Option<Ref<'f>> {
        if self.layout.optimized {
            return None;
        }
        // SAFETY: a running frame; its mapping belongs to it.
        unsafe { Ref::new(shim::strobe_frame_mapping(self.frame)) }.filter(|mapping| mapping.is_dict())
    }

    fn globals(&self) -> Option<Ref<'f>> {
        // SAFETY: a running frame; its globals stay during the hit.
        unsafe { Ref::new(shim::strobe_frame_globals(self.frame)) }.filter(|globals| globals.is_dict())
    }

    /// A variable that is in no slot.
    #[inline(never)]
    fn elsewhere(&self, resolved: &Resolved) -> Option<Ref<'f>> {
        if resolved.slot.is_some() && self.layout.optimized {
            return None; // declared here but not bound: no variable of another scope takes its place
        }
        let name = resolved.name.borrow();
        self.mapping_or_global(name).or_else(|| self.written(resolved))
    }

    fn mapping_or_global(&self, name: Ref<'_>) -> Option<Ref<'f>> {
        self.mapping().and_then(|mapping| mapping.dict_get(name)).or_else(|| self.globals()?.dict_get(name))
    }

    /// A private name as it is written: of code that no compiler has seen in a class.
    fn written(&self, resolved: &Resolved) -> Option<Ref<'f>> {
        let name = resolved.written.as_ref()?.borrow();
        let wanted = name.text()?;
        let same = |slot: &Slot| slot.name.borrow().text().is_some_and(|text| text.same(wanted));
        let slot = self.layout.slots.iter().position(same);
        slot.and_then(|slot| self.slot(slot)).or_else(|| self.mapping_or_global(name))
    }

    /// The globals that the code names, and that are data.
    #[inline(never)]
    fn statics<F: FnMut(Name<'f>, PyValue<'f>) -> ControlFlow<()>>(&self, mut visit: F) {
        let Some(globals) = self.globals() else { return };
        if self.mapping() == Some(globals) {
            return; // a module: its globals are its locals
        }
        for name in &self.layout.globals {
            let Some(found) = globals.dict_get(name.borrow()).filter(|found| is_data(*found)) else { continue };
            if visit(names::name(name.borrow()), PyValue::Object(found)).is_break() {
                return;
            }
        }
    }

    /// The variables of a module or class.
    #[inline(never)]
    fn mapped<F: FnMut(Name<'f>, PyValue<'f>) -> ControlFlow<()>>(&self, mut visit: F) {
        let Some(mapping) = self.mapping() else { return };
        let module = self.globals() == Some(mapping);
        mapping.dict_entries(|key, found| {
            // A module's namespace is mostly imports, functions and classes: not what a snapshot is for.
            let shown = key.is_text() && !(module && (is_data_hidden(key) || !is_data(found)));
            !shown || visit(names::name(key), PyValue::Object(found)).is_continue()
        });
    }
}

/// True for what is not a module, class or function.
fn is_data(object: Ref<'_>) -> bool {
    crate::classes::facts(object.class()).kind != crate::classes::Kind::Function
}

impl<'f> Frame<'f> for PyFrame<'f> {
    type Value = PyValue<'f>;

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "most variables are in a slot: a few loads")]
    fn variable(&self, symbol: Symbol<'_>) -> Child<PyValue<'f>> {
        let Some(resolved) = self.symbols.get(symbol.index as usize) else { return Child::Absent };
        let found = resolved.slot.and_then(|slot| self.slot(slot)).or_else(|| self.elsewhere(resolved));
        found.map_or(Child::Absent, |found| Child::Present(PyValue::Object(found)))
    }

    #[inline]
    fn member(&self, of: PyValue<'f>, symbol: Symbol<'_>) -> Child<PyValue<'f>> {
        let PyValue::Object(object) = of else { return of.member(symbol.name) };
        match self.symbols.get(symbol.index as usize) {
            Some(resolved) => match value::member(object, resolved.name.borrow(), Some(&resolved.hint)) {
                Child::Absent | Child::Computed if resolved.written.is_some() => of.member(symbol.name),
                found => found,
            },
            None => of.member(symbol.name),
        }
    }

    #[inline]
    fn places(&self, section: Section) -> Range<usize> {
        match section {
            Section::Arguments => 0..self.layout.arguments,
            Section::Locals => self.layout.arguments..self.layout.slots.len(),
            Section::Statics => 0..0,
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a name and a value in registers: a call would pass them through memory")]
    fn place(&self, place: usize) -> Option<(Name<'f>, PyValue<'f>)> {
        let slot = self.layout.slots.get(place)?;
        // SAFETY: the layout's own at this index.
        let found = unsafe { self.held(place, slot) }?;
        Some((names::name(slot.name.borrow()), PyValue::Object(found)))
    }

    #[inline]
    fn section<F: FnMut(Name<'f>, PyValue<'f>) -> ControlFlow<()>>(&self, section: Section, visit: F) {
        match section {
            Section::Statics if !self.layout.globals.is_empty() => self.statics(visit),
            Section::Locals if !self.layout.optimized => self.mapped(visit),
            _ => {}
        }
    }

    fn handling(&self) -> Option<PyValue<'f>> {
        // SAFETY: the GIL is held; the exception stays while the frame that handles it does not go on.
        unsafe { PyValue::new(shim::strobe_handling()) }
    }

    fn stack(&self, frames: &mut [StackFrame]) -> usize {
        let index = code::extra_index();
        let (mut frame, mut count) = (self.frame, 0);
        while let Some(left) = frames.get_mut(count..).filter(|left| !left.is_empty() && !frame.is_null()) {
            let most = c_int::try_from(left.len()).unwrap_or(c_int::MAX);
            // SAFETY: a running frame of this thread; there is room for as many as are asked for.
            let found = unsafe { shim::strobe_stack(&raw mut frame, index, left.as_mut_ptr(), most) };
            let found = usize::try_from(found).unwrap_or(0);
            count += found;
            let Some(place) = left.get_mut(found).filter(|_| !frame.is_null()) else { break };
            if let Some(seen) = first_seen(frame) {
                *place = seen;
                count += 1;
            }
            // SAFETY: a running frame of this thread.
            frame = unsafe { shim::strobe_outer_frame(frame) };
        }
        if self.shown != 0
            && let Some(own) = frames.first_mut()
        {
            // The hit's own frame shows where its statement is.
            own.position = self.shown;
        }
        count
    }

    fn traceback<F: FnMut(StackFrame) -> ControlFlow<()>>(&self, of: PyValue<'f>, mut visit: F) {
        let PyValue::Object(exception) = of else { return };
        if !exception.class().has(ffi::Py_TPFLAGS_BASE_EXC_SUBCLASS) {
            return;
        }
        // SAFETY: a live exception; its traceback belongs to it.
        let mut at = unsafe { shim::strobe_exception_traceback(exception.pointer()) };
        let mut found: Vec<StackFrame> = Vec::new();
        // A traceback goes inwards and may be long (a recursion that ran out): the innermost frames are kept.
        for _ in 0..100_000 {
            // SAFETY: null, or a live object of the chain.
            if at.is_null() || unsafe { shim::strobe_is_traceback(at) } == 0 {
                break;
            }
            let (mut code, mut position) = (std::ptr::null_mut(), 0);
            // SAFETY: a live traceback; its code and the next step belong to it.
            let number = unsafe {
                at = shim::strobe_traceback(at, &raw mut code, &raw mut position);
                Ref::new(code)
            }
            .and_then(code::number);
            if let Some(code) = number {
                if found.len() >= MAX_FRAMES {
                    found.drain(..MAX_FRAMES / 2);
                }
                found.push(StackFrame { code, position: u32::try_from(position).unwrap_or(0) });
            }
        }
        for frame in found.into_iter().rev() {
            if visit(frame).is_break() {
                return;
            }
        }
    }

    #[inline]
    fn thread(&self) -> ThreadInfo {
        // SAFETY: the GIL is held.
        names::current_thread(unsafe { shim::strobe_thread_number() }, || {
            // SAFETY: a pure function of the calling thread.
            let id = unsafe { PyThread_get_thread_ident() };
            names::thread(id, || thread_name(id))
        })
    }

    #[inline]
    fn active_span(&self) -> ActiveSpan {
        tracer::active()
    }

    fn has_tracer(&self) -> bool {
        tracer::is_there()
    }
}

/// A frame whose code is looked at for the first time, or each time where what hangs on code cannot be read in C. `None`
/// for code of ours.
#[cold]
fn first_seen(frame: *mut RawFrame) -> Option<StackFrame> {
    // SAFETY: asked of running frames of this thread only; the code belongs to its frame.
    let (code, position) = unsafe { (Ref::new(shim::strobe_frame_code(frame))?, shim::strobe_frame_position(frame)) };
    let code = code::number(code)?;
    Some(StackFrame { code, position: u32::try_from(position).unwrap_or(0) })
}

/// Names that Python itself puts into a module.
fn is_data_hidden(name: Ref<'_>) -> bool {
    name.text().is_some_and(|name| {
        let name = name.to_text();
        name.starts_with("__") && name.ends_with("__")
    })
}

unsafe extern "C" {
    fn PyThread_get_thread_ident() -> u64;
}

fn thread_name(id: u64) -> Option<u32> {
    // SAFETY: asks the system about the calling thread.
    let is_main = || unsafe { shim::strobe_is_main_thread() } != 0;
    known_name(id).or_else(|| {
        // Without `threading` nobody has named it, but its name is always the same.
        let name = is_main().then(|| Owned::interned("MainThread")).flatten()?;
        match names::name(name.borrow()) {
            Name::Known { id, .. } => Some(id),
            Name::Text(_) => None,
        }
    })
}

/// The thread's name as `threading` has it, read from its tables: `threading._active[id]._name`.
fn known_name(id: u64) -> Option<u32> {
    // SAFETY: the GIL is held; the table of modules stays during the hit.
    let modules = unsafe { Ref::new(ffi::PyImport_GetModuleDict()) }?;
    let threads = modules.dict_get_text("threading")?.module_dict()?.dict_get_text("_active")?;
    let mut name = None;
    threads.dict_entries(|key, thread| {
        if key.int().and_then(|key| u64::try_from(key).ok()) != Some(id) {
            return true;
        }
        if let Some(PyValue::Object(found)) = value::plain_field(thread, "_name")
            && found.is_text()
            && let Name::Known { id, .. } = names::name(found)
        {
            name = Some(id);
        }
        false
    });
    name
}

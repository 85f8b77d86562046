//! The place of a hit as the core sees it: variables, sections, stack, thread. Stands on the hit's walk: the core comes
//! before, [`crate::value`] after. What a name means in a code object is resolved when the probe is installed.

use crate::code;
use crate::names;
use crate::object::{Owned, Ref};
use crate::shim::{self, Place, RawFrame};
use crate::value::{self, Hint, PyValue};
use pyo3::ffi::{self, PyObject};
use std::cell::Cell;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use stroboscope_core::host::{Child, Frame, Name, Section, StackFrame, Symbol, ThreadInfo};

/// Deepest stack that is walked; the core takes fewer.
const MAX_FRAMES: usize = 512;

/// Frames that are read in one go.
const PLACES: usize = 16;

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
            }
        }
    }
}

/// What a name of an expression is in one code object.
pub struct Resolved {
    name: Owned,
    slot: Option<usize>,
    hint: Cell<Hint>,
}

/// Resolves the names of a probe's expressions. `None` only if memory is out.
pub fn resolve(layout: &Layout, symbols: &[String]) -> Option<Vec<Resolved>> {
    let one = |name: &String| {
        let name = Owned::interned(name)?;
        let wanted = name.borrow().text()?;
        let slot = layout.slots.iter().position(|slot| slot.name.borrow().text().is_some_and(|text| text.same(wanted)));
        Some(Resolved { name, slot, hint: Cell::default() })
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
    /// The line to show; 0 for that of the instruction.
    line: u32,
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
        (!frame.is_null()).then_some(PyFrame { frame, slots, layout, symbols, line: 0 })
    }

    /// Says that it stands at the statement of a line, whose first instruction may be on a later one. 0: that does not matter.
    #[inline]
    pub fn at_line(mut self, line: u32) -> Self {
        self.line = line;
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

    #[inline]
    fn find(&self, slot: Option<usize>, name: Ref<'_>) -> Option<Ref<'f>> {
        if let Some(found) = slot.and_then(|slot| self.slot(slot)) {
            return Some(found);
        }
        if slot.is_some() && self.layout.optimized {
            return None; // declared here but not bound: no variable of another scope takes its place
        }
        self.mapping().and_then(|mapping| mapping.dict_get(name)).or_else(|| self.globals()?.dict_get(name))
    }

    fn arguments<F: FnMut(Name<'f>, PyValue<'f>) -> ControlFlow<()>>(
        &self,
        from: usize,
        to: usize,
        visit: &mut F,
    ) -> ControlFlow<()> {
        let slots = self.layout.slots.get(from..to.min(self.layout.slots.len())).unwrap_or_default();
        for (index, slot) in (from..).zip(slots) {
            // SAFETY: those of the layout from `from` on.
            if let Some(found) = unsafe { self.held(index, slot) } {
                visit(names::name(slot.name.borrow()), PyValue::Object(found))?;
            }
        }
        ControlFlow::Continue(())
    }

    fn statics<F: FnMut(Name<'f>, PyValue<'f>) -> ControlFlow<()>>(&self, visit: &mut F) -> ControlFlow<()> {
        if self.layout.globals.is_empty() {
            return ControlFlow::Continue(());
        }
        let Some(globals) = self.globals() else { return ControlFlow::Continue(()) };
        if self.mapping() == Some(globals) {
            return ControlFlow::Continue(()); // a module: its globals are its locals
        }
        for name in &self.layout.globals {
            let Some(found) = globals.dict_get(name.borrow()).filter(|found| is_data(*found)) else { continue };
            visit(names::name(name.borrow()), PyValue::Object(found))?;
        }
        ControlFlow::Continue(())
    }
}

/// True for what is not a module, class or function.
fn is_data(object: Ref<'_>) -> bool {
    crate::classes::facts(object.class()).kind != crate::classes::Kind::Function
}

impl<'f> Frame<'f> for PyFrame<'f> {
    type Value = PyValue<'f>;

    #[inline]
    fn variable(&self, symbol: Symbol<'_>) -> Child<PyValue<'f>> {
        let found = match self.symbols.get(symbol.index as usize) {
            Some(resolved) => self.find(resolved.slot, resolved.name.borrow()),
            None => None,
        };
        found.map_or(Child::Absent, |found| Child::Present(PyValue::Object(found)))
    }

    #[inline]
    fn member(&self, of: PyValue<'f>, symbol: Symbol<'_>) -> Child<PyValue<'f>> {
        let PyValue::Object(object) = of else { return Child::Absent };
        match self.symbols.get(symbol.index as usize) {
            Some(resolved) => value::member(object, resolved.name.borrow(), Some(&resolved.hint)),
            None => stroboscope_core::host::Value::member(of, symbol.name),
        }
    }

    fn section<F: FnMut(Name<'f>, PyValue<'f>) -> ControlFlow<()>>(&self, section: Section, mut visit: F) {
        let arguments = self.layout.arguments;
        // A visitor that stops has what it wants.
        let _ = match section {
            Section::Arguments => self.arguments(0, arguments, &mut visit),
            Section::Statics => self.statics(&mut visit),
            Section::Locals => {
                let mut stop = self.arguments(arguments, self.layout.slots.len(), &mut visit);
                if let (Some(mapping), true) = (self.mapping(), stop.is_continue()) {
                    let module = self.globals() == Some(mapping);
                    mapping.dict_entries(|key, found| {
                        // A module's namespace is mostly imports, functions and classes: not what a snapshot is for.
                        if key.is_text() && !(module && (is_data_hidden(key) || !is_data(found))) {
                            stop = visit(names::name(key), PyValue::Object(found));
                        }
                        stop.is_continue()
                    });
                }
                stop
            }
        };
    }

    fn handling(&self) -> Option<PyValue<'f>> {
        // SAFETY: the GIL is held; the exception stays while the frame that handles it does not go on.
        unsafe { PyValue::new(shim::strobe_handling()) }
    }

    fn stack<F: FnMut(StackFrame) -> ControlFlow<()>>(&self, mut visit: F) {
        let mut frame = self.frame;
        let mut line = self.line;
        let index = code::extra_index();
        let mut places = [const { MaybeUninit::<Place>::uninit() }; PLACES];
        let mut left = MAX_FRAMES;
        while !frame.is_null() && left > 0 {
            let most = c_int::try_from(PLACES).unwrap_or(0);
            // SAFETY: a running frame of this thread; there is room for as many places as are asked for.
            let count = unsafe { shim::strobe_stack(&raw mut frame, index, places.as_mut_ptr().cast(), most) };
            let count = usize::try_from(count).unwrap_or(0);
            for place in places.iter().take(count) {
                // SAFETY: one of those just filled.
                let Place { code, mut position } = unsafe { place.assume_init() };
                if line != 0 {
                    // The hit's own frame shows the line of the statement.
                    position = code::position_of_line(std::mem::take(&mut line));
                }
                if visit(StackFrame { code, position }).is_break() {
                    return;
                }
            }
            left = left.saturating_sub(count);
            if count < PLACES && !frame.is_null() {
                let own = std::mem::take(&mut line);
                let seen = first_seen(frame).map(|seen| match own {
                    0 => seen,
                    line => StackFrame { position: code::position_of_line(line), ..seen },
                });
                if seen.is_some_and(|seen| visit(seen).is_break()) {
                    return;
                }
                left = left.saturating_sub(1);
                // SAFETY: a running frame of this thread.
                frame = unsafe { shim::strobe_outer_frame(frame) };
            }
        }
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

    fn thread(&self) -> ThreadInfo {
        // SAFETY: a pure function of the calling thread.
        let id = unsafe { PyThread_get_thread_ident() };
        names::thread(id, || thread_name(id))
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

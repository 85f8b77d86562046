//! Other tools: debuggers, coverage, profilers, trace functions. Beside them CPython (3.12, 3.13) loses instruction events:
//! * where a second tool comes to code, instruction events that were set before stay away until they are set again;
//! * where the last tool that listens to lines switches a line off, the instruction event at the same place is skipped
//!   once (`de_instrument_line`); a place that we listen to as well is never the last one's.
//!
//! So [`crate::runtime`] sets the events of probes again whenever another tool changes its own, and while one listens to
//! lines, so do probes ([`crate::hooks`]). To see that, the C functions behind `set_events`, `set_local_events`, `settrace`
//! and `setprofile` are led through us while we run, as [`crate::exit`] does it; the Python objects stay the same ones.
//! Without such a tool nothing of this costs a hit anything. On the configuration's walk.

use crate::guard;
use crate::object::Ref;
use crate::runtime;
use pyo3::ffi::{self, PyMethodDef, PyMethodDefPointer, PyObject};
use pyo3::prelude::*;
use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

type Many = unsafe extern "C" fn(*mut PyObject, *mut *mut PyObject, ffi::Py_ssize_t) -> *mut PyObject;
type One = unsafe extern "C" fn(*mut PyObject, *mut PyObject) -> *mut PyObject;

/// A C function of the interpreter that is led through us.
struct Led {
    name: &'static CStr,
    flags: c_int,
    /// Its definition, and what it did before. Set together, under the GIL; the definition never ends.
    definition: AtomicPtr<PyMethodDef>,
    original: AtomicPtr<()>,
}

impl Led {
    const fn new(name: &'static CStr, flags: c_int) -> Self {
        let (definition, original) = (AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut()));
        Led { name, flags, definition, original }
    }

    /// Leads it through `ours`, which is of the kind that the flags say. Where it does not look as expected nothing is done.
    fn lead(&self, module: &Bound<'_, PyAny>, ours: PyMethodDefPointer) -> PyResult<()> {
        let function = module.getattr(self.name.to_str().unwrap_or_default())?;
        let object = function.as_ptr();
        // SAFETY: asks for the type of a live object.
        if unsafe { ffi::PyCFunction_CheckExact(object) } == 0 {
            return Ok(());
        }
        // SAFETY: it is a C function of exactly this layout, and its definition is static data of the interpreter.
        let definition = unsafe { (*object.cast::<ffi::PyCFunctionObject>()).m_ml };
        // SAFETY: as above; a name of a definition is a C string that is never freed.
        let (name, flags) = unsafe { (CStr::from_ptr((*definition).ml_name), (*definition).ml_flags) };
        if name != self.name || flags != self.flags {
            return Ok(());
        }
        // SAFETY: one pointer, whichever member is in use; the GIL is held, so nobody calls it meanwhile.
        unsafe {
            let before = (*definition).ml_meth.as_ptr();
            if before != ours.as_ptr() {
                self.original.store(before.cast(), Ordering::Release);
                (*definition).ml_meth = ours;
                self.definition.store(definition, Ordering::Release);
            }
        }
        Ok(())
    }

    /// Gives it back. The caller holds the GIL.
    fn leave_alone(&self) {
        let definition = self.definition.swap(ptr::null_mut(), Ordering::AcqRel);
        let original = self.original.load(Ordering::Acquire);
        if !definition.is_null() && !original.is_null() {
            // SAFETY: static data of the interpreter, which only changes under the GIL; what it held before is of its kind.
            unsafe {
                (*definition).ml_meth = match self.flags {
                    ffi::METH_O => PyMethodDefPointer { PyCFunction: std::mem::transmute::<*mut (), One>(original) },
                    _ => PyMethodDefPointer { PyCFunctionFast: std::mem::transmute::<*mut (), Many>(original) },
                };
            }
        }
    }

    /// What it did before, of a function with several arguments.
    fn many(&self) -> Option<Many> {
        let original = self.original.load(Ordering::Acquire);
        // SAFETY: it was taken from a definition whose flags promise this type.
        (!original.is_null()).then(|| unsafe { std::mem::transmute::<*mut (), Many>(original) })
    }

    /// What it did before, of a function with one argument.
    fn one(&self) -> Option<One> {
        let original = self.original.load(Ordering::Acquire);
        // SAFETY: it was taken from a definition whose flags promise this type.
        (!original.is_null()).then(|| unsafe { std::mem::transmute::<*mut (), One>(original) })
    }
}

static SET_EVENTS: Led = Led::new(c"set_events", ffi::METH_FASTCALL);
static SET_LOCAL_EVENTS: Led = Led::new(c"set_local_events", ffi::METH_FASTCALL);
static SETTRACE: Led = Led::new(c"settrace", ffi::METH_O);
static SETTRACE_ALL: Led = Led::new(c"_settraceallthreads", ffi::METH_O);
static SETPROFILE: Led = Led::new(c"setprofile", ffi::METH_O);
static SETPROFILE_ALL: Led = Led::new(c"_setprofileallthreads", ffi::METH_O);

/// True if a tool that is there already may listen to lines. Whether it does is not told: its events may be local to code.
pub fn may_listen(monitoring: &Bound<'_, PyAny>, ours: &[u8]) -> PyResult<bool> {
    for tool in (0u8..6).filter(|tool| !ours.contains(tool)) {
        let name = monitoring.call_method1("get_tool", (tool,))?;
        // The profiler of the standard library listens to calls only.
        if !name.is_none() && name.extract::<&str>().is_ok_and(|name| name != "cProfile") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sees from now on what other tools listen to.
pub fn watch(monitoring: &Bound<'_, PyAny>) -> PyResult<()> {
    let sys = monitoring.py().import("sys")?;
    SET_EVENTS.lead(monitoring, PyMethodDefPointer { PyCFunctionFast: set_events })?;
    SET_LOCAL_EVENTS.lead(monitoring, PyMethodDefPointer { PyCFunctionFast: set_local_events })?;
    SETTRACE.lead(&sys, PyMethodDefPointer { PyCFunction: settrace })?;
    SETTRACE_ALL.lead(&sys, PyMethodDefPointer { PyCFunction: settrace_all })?;
    SETPROFILE.lead(&sys, PyMethodDefPointer { PyCFunction: setprofile })?;
    SETPROFILE_ALL.lead(&sys, PyMethodDefPointer { PyCFunction: setprofile_all })
}

/// Ends that. The caller holds the GIL.
pub fn leave_alone() {
    for led in [&SET_EVENTS, &SET_LOCAL_EVENTS, &SETTRACE, &SETTRACE_ALL, &SETPROFILE, &SETPROFILE_ALL] {
        led.leave_alone();
    }
}

/// Tells the runtime of a change; `answer` is what the caller gets.
fn told(answer: *mut PyObject, tell: impl FnOnce(Python<'_>) -> PyResult<()>) -> *mut PyObject {
    if answer.is_null() {
        return answer; // refused, with an error set
    }
    // A panic was counted; then hits are lost as they would be without us here.
    let _ = guard::caught(|| {
        // SAFETY: a Python function is called with the GIL held.
        let py = unsafe { Python::assume_attached() };
        if let Err(error) = tell(py) {
            log::warn!(target: "stroboscope", "probes beside another tool could not be armed: {error}");
        }
    });
    answer
}

/// A small number among arguments that were accepted.
///
/// # Safety
/// There is a live object at this place.
unsafe fn number(arguments: *mut *mut PyObject, at: usize) -> i64 {
    // SAFETY: as the caller promises.
    unsafe { Ref::new(*arguments.add(at)) }.and_then(Ref::int).unwrap_or(-1)
}

unsafe extern "C" fn set_events(
    module: *mut PyObject,
    arguments: *mut *mut PyObject,
    count: ffi::Py_ssize_t,
) -> *mut PyObject {
    // Cannot be without: it is stored before we are ever called.
    let Some(original) = SET_EVENTS.many() else { return ptr::null_mut() };
    // SAFETY: what CPython gave us is handed on. The call was accepted, so there were two live arguments.
    told(unsafe { original(module, arguments, count) }, |py| unsafe {
        runtime::others_changed(py, Some(number(arguments, 0)), None, number(arguments, 1))
    })
}

unsafe extern "C" fn set_local_events(
    module: *mut PyObject,
    arguments: *mut *mut PyObject,
    count: ffi::Py_ssize_t,
) -> *mut PyObject {
    let Some(original) = SET_LOCAL_EVENTS.many() else { return ptr::null_mut() };
    // SAFETY: what CPython gave us is handed on. The call was accepted, so there were three live arguments.
    told(unsafe { original(module, arguments, count) }, |py| unsafe {
        runtime::others_changed(py, Some(number(arguments, 0)), Ref::new(*arguments.add(1)), number(arguments, 2))
    })
}

/// A trace or profile function comes or goes.
fn hand_on(led: &Led, module: *mut PyObject, function: *mut PyObject) -> *mut PyObject {
    let Some(original) = led.one() else { return ptr::null_mut() };
    // SAFETY: what CPython gave us is handed on.
    told(unsafe { original(module, function) }, |py| runtime::others_changed(py, None, None, 0))
}

unsafe extern "C" fn settrace(module: *mut PyObject, function: *mut PyObject) -> *mut PyObject {
    hand_on(&SETTRACE, module, function)
}

unsafe extern "C" fn settrace_all(module: *mut PyObject, function: *mut PyObject) -> *mut PyObject {
    hand_on(&SETTRACE_ALL, module, function)
}

unsafe extern "C" fn setprofile(module: *mut PyObject, function: *mut PyObject) -> *mut PyObject {
    hand_on(&SETPROFILE, module, function)
}

unsafe extern "C" fn setprofile_all(module: *mut PyObject, function: *mut PyObject) -> *mut PyObject {
    hand_on(&SETPROFILE_ALL, module, function)
}

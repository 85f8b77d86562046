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
use crate::way::{Ours, Way};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use std::ptr;

static SET_EVENTS: Way = Way::new(c"set_events", Ours::Many(set_events));
static SET_LOCAL_EVENTS: Way = Way::new(c"set_local_events", Ours::Many(set_local_events));
static SETTRACE: Way = Way::new(c"settrace", Ours::One(settrace));
static SETTRACE_ALL: Way = Way::new(c"_settraceallthreads", Ours::One(settrace_all));
static SETPROFILE: Way = Way::new(c"setprofile", Ours::One(setprofile));
static SETPROFILE_ALL: Way = Way::new(c"_setprofileallthreads", Ours::One(setprofile_all));

static OF_SYS: [&Way; 4] = [&SETTRACE, &SETTRACE_ALL, &SETPROFILE, &SETPROFILE_ALL];
static OF_MONITORING: [&Way; 2] = [&SET_EVENTS, &SET_LOCAL_EVENTS];

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
    for way in OF_SYS {
        way.lead(sys.as_any());
    }
    for way in OF_MONITORING {
        way.lead(monitoring);
    }
    Ok(())
}

/// Ends that. The caller holds the GIL.
pub fn leave_alone() {
    for way in OF_SYS.iter().chain(&OF_MONITORING) {
        way.leave_alone();
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
fn hand_on(way: &Way, module: *mut PyObject, function: *mut PyObject) -> *mut PyObject {
    let Some(original) = way.one() else { return ptr::null_mut() };
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

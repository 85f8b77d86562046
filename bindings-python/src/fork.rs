//! `os.fork` warns when the process has more than one thread. Threads of ours must not make a program hear that which has
//! none of its own. Around a fork, in the parent; the child begins anew in [`crate::session`]. On neither walk.

use crate::guard;
use crate::names::Held;
use pyo3::exceptions::PyDeprecationWarning;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ffi::{c_int, c_void};
use std::ptr;
use stroboscope_process::outlet;

/// The filter that stands in front of the program's own from just before a fork until just after it.
static FILTER: Held<Option<Py<PyAny>>> = Held::new(None);

/// How the names of our threads begin, as the system cuts them.
const OURS: [&str; 3] = ["stroboscope", "strobe-sender", "strobe-poller"];

/// Has the functions below called around each fork, and `after_in_child` in the child. Once in a process: it cannot be undone.
pub fn watch(py: Python<'_>, after_in_child: Bound<'_, PyAny>) -> PyResult<()> {
    let hooks = PyDict::new(py);
    hooks.set_item("before", wrap_pyfunction!(_before_fork, py)?)?;
    hooks.set_item("after_in_parent", wrap_pyfunction!(_forked, py)?)?;
    hooks.set_item("after_in_child", after_in_child)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks)).map(drop)
}

/// Called before a fork.
#[pyfunction]
pub fn _before_fork(py: Python<'_>) {
    outlet::before_fork();
    if only_ours_are_more() {
        // Without a list of filters nothing is kept back: then a warning is seen.
        let _ = keep_back(py);
    }
}

/// Called after a fork, in the parent. CPython 3.13 gives its warning only now, so the filter stays until `os.fork` is back
/// in Python.
#[pyfunction]
pub fn _forked(py: Python<'_>) {
    extern "C" fn later(_: *mut c_void) -> c_int {
        // SAFETY: such calls are made with the GIL held.
        let _ = guard::caught(|| clear(unsafe { Python::assume_attached() }));
        0
    }
    outlet::after_fork();
    if FILTER.with(|filter| filter.is_some()) == Some(true) {
        // SAFETY: the function is one, and wants no argument.
        let refused = unsafe { ffi::Py_AddPendingCall(Some(later), ptr::null_mut()) } != 0;
        if refused {
            clear(py);
        }
    }
}

/// Takes the filter away.
pub fn clear(py: Python<'_>) {
    let Some(filter) = FILTER.with(Option::take).flatten() else { return };
    // If the program has replaced the list in between, the filter is gone with the old one.
    let _ = filters(py).and_then(|filters| filters.call_method1("remove", (filter,)));
}

fn keep_back(py: Python<'_>) -> PyResult<()> {
    let filter =
        ("ignore", py.None(), py.get_type::<PyDeprecationWarning>(), py.None(), 0).into_pyobject(py)?.into_any();
    filters(py)?.call_method1("insert", (0, &filter))?;
    FILTER.with(|kept| *kept = Some(filter.unbind()));
    Ok(())
}

fn filters(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    // A module of the program's may have that name: CPython looks for the list as is done here.
    let found = crate::identity::loaded(py, "warnings").and_then(|warnings| warnings.getattr("filters").ok());
    match found {
        Some(filters) => Ok(filters),
        None => py.import("_warnings")?.getattr("filters"),
    }
}

/// True if the process has one thread of its own, and threads of ours.
fn only_ours_are_more() -> bool {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else { return false };
    let (mut ours, mut others) = (0, 0);
    for thread in threads.flatten() {
        // A thread that has ended since the list was read is none.
        let Ok(name) = std::fs::read_to_string(thread.path().join("comm")) else { continue };
        if OURS.iter().any(|begin| name.starts_with(begin)) {
            ours += 1;
        } else {
            others += 1;
        }
    }
    ours > 0 && others == 1
}

//! `os._exit` ends a process without any handler. What was captured just before would be lost, so the C function behind it
//! is led through us while we run: it delivers, then does what it always did. The Python object stays the same one. On
//! neither walk.

use crate::guard;
use crate::session;
use pyo3::ffi::{self, PyMethodDef, PyMethodDefPointer, PyObject};
use pyo3::prelude::*;
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

type Function =
    unsafe extern "C" fn(*mut PyObject, *const *mut PyObject, ffi::Py_ssize_t, *mut PyObject) -> *mut PyObject;

/// The definition that is led through us, and what it did before. Set together, under the GIL; the definition never ends.
static DEFINITION: AtomicPtr<PyMethodDef> = AtomicPtr::new(ptr::null_mut());
static ORIGINAL: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Leads `os._exit` through us. Where it does not look as expected nothing is done: then events of the last milliseconds
/// before it may be lost.
pub fn watch(py: Python<'_>) -> PyResult<()> {
    let function = py.import("posix")?.getattr("_exit")?;
    let object = function.as_ptr();
    // SAFETY: asks for the type of a live object.
    if unsafe { ffi::PyCFunction_CheckExact(object) } == 0 {
        return Ok(());
    }
    // SAFETY: it is a C function of exactly this layout, and its definition is static data of the interpreter.
    let definition = unsafe { (*object.cast::<ffi::PyCFunctionObject>()).m_ml };
    // SAFETY: as above; a name of a definition is a C string that is never freed.
    let (name, flags) = unsafe { (CStr::from_ptr((*definition).ml_name), (*definition).ml_flags) };
    if name != c"_exit" || flags != ffi::METH_FASTCALL | ffi::METH_KEYWORDS {
        return Ok(());
    }
    // SAFETY: the flags say which member of the union is in use; the GIL is held, so nobody calls it meanwhile.
    unsafe {
        let before = (*definition).ml_meth.as_ptr();
        if before != leave as Function as *mut _ {
            ORIGINAL.store(before.cast(), Ordering::Release);
            (*definition).ml_meth = PyMethodDefPointer { PyCFunctionFastWithKeywords: leave };
            DEFINITION.store(definition, Ordering::Release);
        }
    }
    Ok(())
}

fn original() -> Option<Function> {
    let original = ORIGINAL.load(Ordering::Acquire);
    // SAFETY: it was taken from a definition whose flags promise this type.
    (!original.is_null()).then(|| unsafe { std::mem::transmute::<*mut (), Function>(original) })
}

/// Gives `os._exit` back. The caller holds the GIL.
pub fn leave_alone() {
    let definition = DEFINITION.swap(ptr::null_mut(), Ordering::AcqRel);
    if let (false, Some(original)) = (definition.is_null(), original()) {
        // SAFETY: static data of the interpreter, which only changes under the GIL.
        unsafe { (*definition).ml_meth = PyMethodDefPointer { PyCFunctionFastWithKeywords: original } };
    }
}

unsafe extern "C" fn leave(
    module: *mut PyObject,
    arguments: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // A call with other arguments than one number ends nothing: it raises.
    // SAFETY: there is one argument, by position or by name, alive for the call.
    let ends = (count == 1) == names.is_null() && unsafe { ffi::PyLong_Check(*arguments) } != 0;
    if ends {
        // SAFETY: a Python function is called with the GIL held. A panic was counted, and the process ends all the same.
        let _ = guard::caught(|| session::deliver(unsafe { Python::assume_attached() }));
    }
    match original() {
        // SAFETY: what CPython gave us is handed on.
        Some(original) => unsafe { original(module, arguments, count, names) },
        // Cannot be: it is stored before we are ever called.
        None => ptr::null_mut(),
    }
}

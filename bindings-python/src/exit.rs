//! What a program calls as it ends without any handler of ours: `os._exit`, `os.execv` and `os.execve`; and what Python
//! calls to print an uncaught exception. The C functions behind them are led through us while we run. Before an end what
//! was captured is delivered; a traceback comes after what was caught before it, in one piece. Then each does what it
//! always did. The Python objects stay the same ones. On neither walk.

use crate::guard;
use crate::session;
use pyo3::ffi::{self, PyMethodDef, PyMethodDefPointer, PyObject};
use pyo3::prelude::*;
use std::ffi::{CStr, CString};
use std::os::raw::c_int;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

type Fast = unsafe extern "C" fn(*mut PyObject, *mut *mut PyObject, ffi::Py_ssize_t) -> *mut PyObject;
type Named = unsafe extern "C" fn(*mut PyObject, *const *mut PyObject, ffi::Py_ssize_t, *mut PyObject) -> *mut PyObject;
type One = unsafe extern "C" fn(*mut PyObject, *mut PyObject) -> *mut PyObject;

/// A C function that is led through us.
struct Way {
    module: &'static str,
    name: &'static CStr,
    /// How it is called. Another way than this is not understood, and the function is left alone.
    flags: c_int,
    /// Ours.
    ours: fn() -> PyMethodDefPointer,
    /// The definition, and what it did before. Set together, under the GIL; the definition never ends.
    definition: AtomicPtr<PyMethodDef>,
    original: AtomicPtr<()>,
}

impl Way {
    const fn new(module: &'static str, name: &'static CStr, flags: c_int, ours: fn() -> PyMethodDefPointer) -> Self {
        let (definition, original) = (AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut()));
        Way { module, name, flags, ours, definition, original }
    }

    fn lead(&self, py: Python<'_>) -> PyResult<()> {
        let name = self.name.to_str().unwrap_or_default();
        // A program may have put a function of its own there; the C function then is what it may still call.
        let Ok(function) = py.import(self.module)?.getattr(name) else { return Ok(()) };
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
        let ours = (self.ours)();
        // SAFETY: every member of the union is a pointer; the GIL is held, so nobody calls it meanwhile.
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

    fn leave_alone(&self) {
        let definition = self.definition.swap(ptr::null_mut(), Ordering::AcqRel);
        let original = self.original.load(Ordering::Acquire);
        if !definition.is_null() && !original.is_null() {
            // SAFETY: static data of the interpreter, which only changes under the GIL; every member of the union is a
            // pointer to a function, and this one was taken from it.
            unsafe {
                let original = std::mem::transmute::<*mut (), Fast>(original);
                (*definition).ml_meth = PyMethodDefPointer { PyCFunctionFast: original };
            }
        }
    }

    /// What the function did before; null cannot be: it is stored before we are ever called.
    fn original(&self) -> *mut () {
        self.original.load(Ordering::Acquire)
    }
}

static EXIT: Way = Way::new("posix", c"_exit", ffi::METH_FASTCALL | ffi::METH_KEYWORDS, || PyMethodDefPointer {
    PyCFunctionFastWithKeywords: leave,
});
static EXECV: Way =
    Way::new("posix", c"execv", ffi::METH_FASTCALL, || PyMethodDefPointer { PyCFunctionFast: become_other });
static EXECVE: Way = Way::new("posix", c"execve", ffi::METH_FASTCALL | ffi::METH_KEYWORDS, || PyMethodDefPointer {
    PyCFunctionFastWithKeywords: become_other_with,
});
static PRINTS: Way =
    Way::new("sys", c"excepthook", ffi::METH_FASTCALL, || PyMethodDefPointer { PyCFunctionFast: print_uncaught });
static PRINTS_OF_THREAD: Way =
    Way::new("_thread", c"_excepthook", ffi::METH_O, || PyMethodDefPointer { PyCFunction: print_uncaught_of_thread });

static ALL: [&Way; 5] = [&EXIT, &EXECV, &EXECVE, &PRINTS, &PRINTS_OF_THREAD];

/// Leads the functions through us. Where one does not look as expected nothing is done: then events of the last
/// milliseconds before such an end may be lost.
pub fn watch(py: Python<'_>) -> PyResult<()> {
    ALL.iter().try_for_each(|way| way.lead(py))
}

/// Gives the functions back. The caller holds the GIL.
pub fn leave_alone() {
    for way in ALL {
        way.leave_alone();
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
    let original = EXIT.original();
    if original.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: it was taken from a definition whose flags promise this type, and gets what CPython gave us.
    unsafe { std::mem::transmute::<*mut (), Named>(original)(module, arguments, count, names) }
}

unsafe extern "C" fn become_other(
    module: *mut PyObject,
    arguments: *mut *mut PyObject,
    count: ffi::Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    unsafe { before_other_program(arguments, count) };
    let original = EXECV.original();
    if original.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: it was taken from a definition whose flags promise this type, and gets what CPython gave us.
    unsafe { std::mem::transmute::<*mut (), Fast>(original)(module, arguments, count) }
}

unsafe extern "C" fn become_other_with(
    module: *mut PyObject,
    arguments: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects by position.
    unsafe { before_other_program(arguments, count) };
    let original = EXECVE.original();
    if original.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: it was taken from a definition whose flags promise this type, and gets what CPython gave us.
    unsafe { std::mem::transmute::<*mut (), Named>(original)(module, arguments, count, names) }
}

/// Delivers, if the file is one that can be run: `os.execvp` tries one folder after the other.
///
/// # Safety
/// `arguments` holds `count` live objects for the call, and the GIL is held.
unsafe fn before_other_program(arguments: *const *mut PyObject, count: ffi::Py_ssize_t) {
    let _ = guard::caught(|| {
        // SAFETY: the GIL is held, as the caller promises.
        let py = unsafe { Python::assume_attached() };
        // SAFETY: as the caller promises; named arguments stand behind those that are counted.
        let path = (count > 0).then(|| unsafe { Bound::from_borrowed_ptr(py, *arguments) });
        if path.is_none_or(|path| can_run(&path)) {
            session::deliver_and_go_on(py);
        }
    });
}

/// False if it is certain that this file cannot be run. No code of a path object is called.
fn can_run(path: &Bound<'_, PyAny>) -> bool {
    let bytes = if let Ok(text) = path.cast::<pyo3::types::PyString>() {
        text.to_str().map(|text| text.as_bytes().to_vec()).ok()
    } else {
        path.cast::<pyo3::types::PyBytes>().map(|bytes| bytes.as_bytes().to_vec()).ok()
    };
    let Some(path) = bytes.and_then(|bytes| CString::new(bytes).ok()) else { return true };
    // SAFETY: a C string that lives for the call.
    unsafe { libc::access(path.as_ptr(), libc::X_OK) == 0 }
}

unsafe extern "C" fn print_uncaught(
    module: *mut PyObject,
    arguments: *mut *mut PyObject,
    count: ffi::Py_ssize_t,
) -> *mut PyObject {
    let original = PRINTS.original();
    if original.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: a Python function is called with the GIL held.
    let _ = guard::caught(|| session::before_traceback(unsafe { Python::assume_attached() }));
    // SAFETY: it was taken from a definition whose flags promise this type, and gets what CPython gave us.
    let answer = unsafe { std::mem::transmute::<*mut (), Fast>(original)(module, arguments, count) };
    session::after_traceback();
    answer
}

unsafe extern "C" fn print_uncaught_of_thread(module: *mut PyObject, argument: *mut PyObject) -> *mut PyObject {
    let original = PRINTS_OF_THREAD.original();
    if original.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: a Python function is called with the GIL held.
    let _ = guard::caught(|| session::before_traceback(unsafe { Python::assume_attached() }));
    // SAFETY: it was taken from a definition whose flags promise this type, and gets what CPython gave us.
    let answer = unsafe { std::mem::transmute::<*mut (), One>(original)(module, argument) };
    session::after_traceback();
    answer
}

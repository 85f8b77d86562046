//! What a program calls as it ends without any handler of ours: `os._exit`, `os.execv` and `os.execve`; and what Python
//! calls to print an uncaught exception; `signal.signal`, by which a program puts back how a signal ends it; and `os.dup2`,
//! by which a daemon leaves the standard error that people look at. The C functions behind them are led through us while we
//! run. Before an end what was captured is delivered; a traceback comes after what was caught before it, in one piece. Then
//! each does what it always did. The Python objects stay the same ones. On neither walk.

use crate::guard;
use crate::object::Ref;
use crate::session;
use crate::way::{Ours, Way};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use std::ffi::CString;
use std::ptr;
use stroboscope_process::signal;

static EXIT: Way = Way::new(c"_exit", Ours::Named(leave));
static EXECV: Way = Way::new(c"execv", Ours::Many(become_other));
static EXECVE: Way = Way::new(c"execve", Ours::Named(become_other_with));
static PRINTS: Way = Way::new(c"excepthook", Ours::Many(print_uncaught));
static PRINTS_OF_THREAD: Way = Way::new(c"_excepthook", Ours::One(print_uncaught_of_thread));

static SIGNAL: Way = Way::new(c"signal", Ours::Many(take_signal));

static DUP2: Way = Way::new(c"dup2", Ours::Named(take_place));

static ALL: [(&str, &Way); 7] = [
    ("posix", &EXIT),
    ("posix", &EXECV),
    ("posix", &EXECVE),
    ("sys", &PRINTS),
    ("_thread", &PRINTS_OF_THREAD),
    ("_signal", &SIGNAL),
    ("posix", &DUP2),
];

/// Leads the functions through us. Where one does not look as expected nothing is done: then events of the last
/// milliseconds before such an end may be lost.
pub fn watch(py: Python<'_>) -> PyResult<()> {
    for (module, way) in ALL {
        way.lead(py.import(module)?.as_any());
    }
    Ok(())
}

/// Gives the functions back. The caller holds the GIL.
pub fn leave_alone() {
    for (_, way) in ALL {
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
    let Some(original) = EXIT.named() else { return ptr::null_mut() };
    // SAFETY: it gets what CPython gave us.
    unsafe { original(module, arguments, count, names) }
}

unsafe extern "C" fn become_other(
    module: *mut PyObject,
    arguments: *mut *mut PyObject,
    count: ffi::Py_ssize_t,
) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    unsafe { before_other_program(arguments, count) };
    let Some(original) = EXECV.many() else { return ptr::null_mut() };
    // SAFETY: it gets what CPython gave us.
    unsafe { original(module, arguments, count) }
}

unsafe extern "C" fn become_other_with(
    module: *mut PyObject,
    arguments: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects by position.
    unsafe { before_other_program(arguments, count) };
    let Some(original) = EXECVE.named() else { return ptr::null_mut() };
    // SAFETY: it gets what CPython gave us.
    unsafe { original(module, arguments, count, names) }
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
        if path.as_ref().is_none_or(can_run) {
            // SAFETY: as the caller promises.
            let at = |index: usize| unsafe { Bound::from_borrowed_ptr(py, *arguments.add(index)) };
            let deaf = path.filter(|_| count > 1).and_then(|path| deaf(&path, &at(1), (count > 2).then(|| at(2))));
            session::deliver_and_go_on(py, deaf);
        }
    });
}

/// Why no probe gets into the program that this process becomes, if it is a Python and that is certain: its flags, or an
/// environment without PYTHONPATH. No code of the program is called.
fn deaf(path: &Bound<'_, PyAny>, argv: &Bound<'_, PyAny>, environment: Option<Bound<'_, PyAny>>) -> Option<String> {
    let path = text(path)?;
    let name = path.rsplit('/').next().filter(|name| name.starts_with("python") || name.starts_with("pypy"))?;
    let words: Vec<String> = match (argv.cast_exact::<PyList>(), argv.cast_exact::<PyTuple>()) {
        (Ok(list), _) => list.iter().map_while(|word| text(&word)).collect(),
        (_, Ok(tuple)) => tuple.iter().map_while(|word| text(&word)).collect(),
        _ => return None,
    };
    if let Some((word, flag)) = deaf_flag(words.get(1..)?) {
        let why = if flag == 'S' { "does not import site" } else { "ignores PYTHONPATH" };
        return Some(format!("the program became {name} {word}, which {why}: no probe got into that"));
    }
    let environment = environment?;
    let environment = environment.cast_exact::<PyDict>().ok()?;
    let has_path = environment.keys().iter().any(|key| text(&key).is_none_or(|key| key == "PYTHONPATH"));
    (!has_path).then(|| {
        format!("the program became {name} with an environment that has no PYTHONPATH: no probe got into that")
    })
}

/// The first option that keeps a Python from reading PYTHONPATH or from importing `sitecustomize`, and its letter.
fn deaf_flag(words: &[String]) -> Option<(&str, char)> {
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let letters = word.strip_prefix('-').filter(|letters| !letters.is_empty() && !letters.starts_with('-'))?;
        for (at, letter) in letters.char_indices() {
            match letter {
                'I' | 'E' | 'S' => return Some((word, letter)),
                // What follows is the program.
                'c' | 'm' => return None,
                'W' | 'X' => {
                    if at + 1 == letters.len() {
                        words.next();
                    }
                    break;
                }
                _ => {}
            }
        }
    }
    None
}

/// What a path or a word says; `None` for another object, and for what is no text.
fn text(object: &Bound<'_, PyAny>) -> Option<String> {
    if let Ok(text) = object.cast::<PyString>() {
        return text.to_str().ok().map(str::to_owned);
    }
    String::from_utf8(object.cast::<PyBytes>().ok()?.as_bytes().to_vec()).ok()
}

/// False if it is certain that this file cannot be run. No code of a path object is called.
fn can_run(path: &Bound<'_, PyAny>) -> bool {
    let bytes = if let Ok(text) = path.cast::<PyString>() {
        text.to_str().map(|text| text.as_bytes().to_vec()).ok()
    } else {
        path.cast::<PyBytes>().map(|bytes| bytes.as_bytes().to_vec()).ok()
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
    let Some(original) = PRINTS.many() else { return ptr::null_mut() };
    // SAFETY: a Python function is called with the GIL held.
    let _ = guard::caught(|| session::before_traceback(unsafe { Python::assume_attached() }));
    // SAFETY: it gets what CPython gave us.
    let answer = unsafe { original(module, arguments, count) };
    session::after_traceback();
    answer
}

unsafe extern "C" fn print_uncaught_of_thread(module: *mut PyObject, argument: *mut PyObject) -> *mut PyObject {
    let Some(original) = PRINTS_OF_THREAD.one() else { return ptr::null_mut() };
    // SAFETY: a Python function is called with the GIL held.
    let _ = guard::caught(|| session::before_traceback(unsafe { Python::assume_attached() }));
    // SAFETY: it gets what CPython gave us.
    let answer = unsafe { original(module, argument) };
    session::after_traceback();
    answer
}

unsafe extern "C" fn take_signal(
    module: *mut PyObject,
    arguments: *mut *mut PyObject,
    count: ffi::Py_ssize_t,
) -> *mut PyObject {
    let Some(original) = SIGNAL.many() else { return ptr::null_mut() };
    // SAFETY: it gets what CPython gave us.
    let answer = unsafe { original(module, arguments, count) };
    signal::stand_again();
    answer
}

unsafe extern "C" fn take_place(
    module: *mut PyObject,
    arguments: *const *mut PyObject,
    count: ffi::Py_ssize_t,
    names: *mut PyObject,
) -> *mut PyObject {
    let _ = guard::caught(|| {
        // SAFETY: there are so many live objects, by position.
        let at = |index: usize| unsafe { Ref::new(*arguments.add(index)) }.and_then(Ref::int);
        if count >= 2
            && at(1) == Some(2)
            && let Some(other) = at(0).and_then(|other| i32::try_from(other).ok())
        {
            // SAFETY: a Python function is called with the GIL held.
            session::before_standard_error_goes(unsafe { Python::assume_attached() }, other);
        }
    });
    let Some(original) = DUP2.named() else { return ptr::null_mut() };
    // SAFETY: it gets what CPython gave us.
    unsafe { original(module, arguments, count, names) }
}

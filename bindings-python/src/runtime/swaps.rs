//! A function gets other code while the program runs: `a.__code__ = …`, as tools do that put edited code into force. The
//! probes of the code that it had follow, before the new code can run. Stands on the configuration's walk, beside
//! [`super::starts`]; called by CPython in the thread that sets it.

use super::answer::{MISSING_LINE, refused, settle, stopping};
use super::in_file::{in_functions, in_lines};
use super::state::opcodes;
use crate::code;
use crate::discovery::{self, FileCode};
use crate::guard;
use crate::hooks;
use crate::object::{Owned, Ref};
use pyo3::ffi::{self, PyGetSetDef, PyObject};
use pyo3::prelude::*;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use stroboscope_core::host::{Outcome, Site};
use stroboscope_core::probe::location;
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::text::Text;

/// How the interpreter defines `__code__` of functions while it leads through us, and what set it before. Written under the
/// GIL; the definition never ends.
static DEFINITION: AtomicPtr<PyGetSetDef> = AtomicPtr::new(ptr::null_mut());
static ORIGINAL: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Leads the setter of `__code__` through us while probes are placed. The function watchers of CPython would be called for
/// each function that comes or goes; this costs only who sets code.
pub(super) fn watch(_: Python<'_>, wanted: bool) {
    if wanted != DEFINITION.load(Ordering::Relaxed).is_null() {
        return;
    }
    if wanted {
        lead();
        return;
    }
    let definition = DEFINITION.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: static data of the interpreter, and what it held before, of this type; the GIL is held, as the token shows.
    unsafe { (*definition).set = original() };
}

/// The caller holds the GIL.
fn lead() {
    // SAFETY: the type is static, and so are its definitions, which end with one without a name; names are C strings. With
    // the GIL held nobody calls the setter meanwhile.
    unsafe {
        let mut definition = ffi::PyFunction_Type.tp_getset;
        while !definition.is_null() && !(*definition).name.is_null() {
            if CStr::from_ptr((*definition).name) == c"__code__" {
                let Some(before) = (*definition).set else { return };
                ORIGINAL.store(before as *mut (), Ordering::Relaxed);
                (*definition).set = Some(set_code);
                DEFINITION.store(definition, Ordering::Relaxed);
                return;
            }
            definition = definition.add(1);
        }
    }
}

fn original() -> Option<ffi::setter> {
    let original = ORIGINAL.load(Ordering::Relaxed);
    // SAFETY: only `lead` stores it, a setter.
    (!original.is_null()).then(|| unsafe { std::mem::transmute::<*mut (), ffi::setter>(original) })
}

/// Sets the code of a function, and lets probes follow. No Python code runs in between, so no call of the new code is missed.
unsafe extern "C" fn set_code(function: *mut PyObject, value: *mut PyObject, closure: *mut c_void) -> c_int {
    let Some(original) = original() else { return -1 };
    // SAFETY: CPython calls the setter with a function and the GIL held; the code belongs to the function, and is kept alive.
    let old = unsafe { Ref::new(ffi::PyFunction_GetCode(function)).map(Owned::keep) };
    // SAFETY: it gets what CPython gave us.
    let done = unsafe { original(function, value, closure) };
    if done != 0 {
        return done;
    }
    // SAFETY: as above; it is the code that was just set.
    let new = unsafe { Ref::new(ffi::PyFunction_GetCode(function)).map(Owned::keep) };
    if let (Some(old), Some(new)) = (old, new) {
        // A panic was counted; then the probes stay where they are.
        // SAFETY: the GIL is held, as above.
        let _ = guard::caught(|| swapped(unsafe { Python::assume_attached() }, &old, &new));
    }
    done
}

/// A function that had the old code gets the new one.
fn swapped(py: Python<'_>, old: &Owned, new: &Owned) {
    let (old, new) = (old.borrow(), new.borrow());
    let mut lives: Vec<Arc<LiveProbe>> = Vec::new();
    // Those of the new code too: it may be the one that the function had before.
    for site in [hooks::site(old), hooks::site(new)].into_iter().flatten() {
        for probe in site.lines.iter().flat_map(|(_, probes)| probes).chain(&site.methods) {
            if !lives.iter().any(|live| live.slot == probe.live.slot) {
                lives.push(Arc::clone(&probe.live));
            }
        }
    }
    if lives.is_empty() || old == new {
        return;
    }
    let file = |code| code::file(code).and_then(Ref::text).map(Text::to_text).unwrap_or_default();
    let (name, same_file) = (file(new), file(old) == file(new));
    let mut code = discovery::functions_of(py, new, &name);
    for live in lives {
        let outcome = match &live.probe.location {
            Location::Lines { lines, .. } => follow_lines(py, &live, &mut code, &name, lines, same_file, old),
            Location::Method { type_name, method, .. } => {
                in_functions(py, &live, &mut code, &[0], &name, type_name, false).map(|outcome| match outcome {
                    Outcome::Done { note, site } => {
                        Outcome::Done { note, site: Site { method: method.clone(), ..site } }
                    }
                    other => other,
                })
            }
        };
        settle(live.slot, outcome.unwrap_or_else(|error| refused(&error)));
    }
}

/// Places a line probe in the new code, if it has all of its lines.
fn follow_lines(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: &mut FileCode,
    name: &str,
    lines: &[u32],
    same_file: bool,
    old: Ref<'_>,
) -> PyResult<Outcome> {
    let Some(opcodes) = opcodes() else { return Ok(stopping()) };
    for &line in lines {
        let resolve = |plain: &[location::Function]| location::resolve_line(plain, line, &super::CAPABILITIES).is_ok();
        if !same_file || !discovery::read(py, code, &opcodes, false, |_, _| true, resolve)? {
            let function = discovery::bare(old);
            return Ok(Outcome::Refused {
                kind: MISSING_LINE,
                reason: format!(
                    "function `{function}` got other code while the program ran, and line {line} is not in it; the probe \
                     stays in the code that was there before"
                ),
            });
        }
    }
    in_lines(py, live, code, name, lines, false)
}

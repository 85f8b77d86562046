//! A function gets other code while the program runs: `a.__code__ = …`, as tools do that put edited code into force. The
//! probes of the code that it had follow, before the new code can run; so do those of the functions that are written inside
//! it. Stands on the configuration's walk, beside [`super::starts`]; called by CPython in the thread that sets it.

use super::answer::{MISSING_LINE, OTHER_CODE, refused, settle, stopping};
use super::arrivals::arrives;
use super::in_file::{in_functions, in_lines};
use super::state::{HANDS, Told, opcodes};
use crate::code;
use crate::discovery::{self, FileCode};
use crate::guard;
use crate::hooks;
use crate::object::{Owned, Ref};
use pyo3::ffi::{self, PyGetSetDef, PyObject, PyTypeObject};
use pyo3::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};
use stroboscope_core::host::{Outcome, Site};
use stroboscope_core::probe::location;
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::text::Text;

/// How the interpreter defines `__code__` of functions while it leads through us, and what set it before; and what made
/// functions of code before (`types.FunctionType`). Written under the GIL; the definition never ends.
static DEFINITION: AtomicPtr<PyGetSetDef> = AtomicPtr::new(ptr::null_mut());
static ORIGINAL: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());
static MAKER: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Leads the setter of `__code__` and `types.FunctionType` through us during a session. The function watchers of CPython
/// would be called for each function that comes or goes; this costs only who sets code, or makes a function of it.
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
    let maker = maker();
    // SAFETY: a static type, changed under the GIL; it gets back what it had before.
    unsafe {
        // Somebody may have led it elsewhere since, and goes on to us.
        if maker.is_some() && ffi::PyFunction_Type.tp_new.map(|it| it as usize) == Some(make as *const () as usize) {
            ffi::PyFunction_Type.tp_new = maker;
        }
    }
}

/// The caller holds the GIL.
fn lead() {
    // SAFETY: the type is static, and so are its definitions, which end with one without a name; names are C strings. With
    // the GIL held nobody calls the setter, or makes a function, meanwhile.
    unsafe {
        let mut definition = ffi::PyFunction_Type.tp_getset;
        while !definition.is_null() && !(*definition).name.is_null() {
            if CStr::from_ptr((*definition).name) == c"__code__" {
                let Some(before) = (*definition).set else { return };
                ORIGINAL.store(before as *mut (), Ordering::Relaxed);
                (*definition).set = Some(set_code);
                DEFINITION.store(definition, Ordering::Relaxed);
                break;
            }
            definition = definition.add(1);
        }
        if let Some(before) = ffi::PyFunction_Type.tp_new
            && before as usize != make as *const () as usize
        {
            MAKER.store(before as *mut (), Ordering::Relaxed);
            ffi::PyFunction_Type.tp_new = Some(make);
        }
    }
}

fn original() -> Option<ffi::setter> {
    let original = ORIGINAL.load(Ordering::Relaxed);
    // SAFETY: only `lead` stores it, a setter.
    (!original.is_null()).then(|| unsafe { std::mem::transmute::<*mut (), ffi::setter>(original) })
}

fn maker() -> Option<ffi::newfunc> {
    let maker = MAKER.load(Ordering::Relaxed);
    // SAFETY: only `lead` stores it, a maker of objects.
    (!maker.is_null()).then(|| unsafe { std::mem::transmute::<*mut (), ffi::newfunc>(maker) })
}

/// True in the interpreter that has the session: others share its classes, and not its GIL.
fn is_mine() -> bool {
    // SAFETY: asked by a thread that runs Python code.
    unsafe { ffi::PyInterpreterState_Get() == ffi::PyInterpreterState_Main() }
}

/// Sets the code of a function, and lets probes follow. No Python code runs in between, so no call of the new code is missed.
unsafe extern "C" fn set_code(function: *mut PyObject, value: *mut PyObject, closure: *mut c_void) -> c_int {
    let Some(original) = original() else { return -1 };
    // SAFETY: CPython calls the setter with a function and the GIL held; the code belongs to the function, and is kept alive.
    let old = unsafe { Ref::new(ffi::PyFunction_GetCode(function)).map(Owned::keep) };
    // SAFETY: it gets what CPython gave us.
    let done = unsafe { original(function, value, closure) };
    if done != 0 || !is_mine() {
        return done;
    }
    // SAFETY: as above; it is the code that was just set, and the module's name that the function has.
    let (new, module) = unsafe { of_function(function) };
    if let (Some(old), Some(new)) = (old, new) {
        // A panic was counted; then the probes stay where they are.
        // SAFETY: the GIL is held, as above.
        let _ = guard::caught(|| swapped(unsafe { Python::assume_attached() }, &old, &new, &module));
    }
    done
}

/// Makes a function of code, which may have come from another process.
unsafe extern "C" fn make(class: *mut PyTypeObject, given: *mut PyObject, named: *mut PyObject) -> *mut PyObject {
    let Some(maker) = maker() else { return ptr::null_mut() };
    // SAFETY: it gets what CPython gave us.
    let function = unsafe { maker(class, given, named) };
    if function.is_null() || !is_mine() {
        return function;
    }
    // SAFETY: the function that was just made, with the GIL held.
    let (code, module) = unsafe { of_function(function) };
    if let Some(code) = code {
        // A panic was counted; then no probe is placed.
        // SAFETY: as above.
        let _ = guard::caught(|| arrives(unsafe { Python::assume_attached() }, code.borrow(), &module));
    }
    function
}

/// The code of a function and the name of the module that it says it is from.
///
/// # Safety
/// It is a live function, and the GIL is held.
unsafe fn of_function(function: *mut PyObject) -> (Option<Owned>, String) {
    // SAFETY: as the caller promises; both belong to the function.
    let (code, module) =
        unsafe { (Ref::new(ffi::PyFunction_GetCode(function)), Ref::new(ffi::PyFunction_GetModule(function))) };
    (code.map(Owned::keep), module.and_then(Ref::text).map(Text::to_text).unwrap_or_default())
}

/// A probe that the code before had, and where.
struct Follower {
    live: Arc<LiveProbe>,
    lines: BTreeSet<u32>,
    /// The qualified names of the functions whose method it probes; `None` for that which got other code.
    methods: Vec<Option<String>>,
}

/// The probes in code and in all that is written inside it.
fn followers(code: Ref<'_>) -> BTreeMap<u32, Follower> {
    let mut found: BTreeMap<u32, Follower> = BTreeMap::new();
    let mut all = Vec::new();
    code::with_nested(code, &mut all);
    for one in all {
        let Some(site) = hooks::site(one) else { continue };
        let mut follower = |live: &Arc<LiveProbe>, line: Option<u32>| {
            let new = || Follower { live: Arc::clone(live), lines: BTreeSet::new(), methods: Vec::new() };
            let follower = found.entry(live.slot).or_insert_with(new);
            match line {
                Some(line) => drop(follower.lines.insert(line)),
                None => follower.methods.push((one != code).then(|| discovery::qualified(one))),
            }
        };
        site.lines.iter().flat_map(|(_, probes)| probes).for_each(|probe| follower(&probe.live, Some(probe.line)));
        site.methods.iter().for_each(|probe| follower(&probe.live, None));
    }
    found
}

/// A function that had the old code gets the new one.
fn swapped(py: Python<'_>, old: &Owned, new: &Owned, module: &str) {
    let (old, new) = (old.borrow(), new.borrow());
    if old == new {
        return;
    }
    let followers_of_old = followers(old);
    // It may be the code that the function had before.
    let back: Vec<Follower> =
        followers(new).into_iter().filter(|(slot, _)| !followers_of_old.contains_key(slot)).map(|(_, it)| it).collect();
    arrives(py, new, module);
    for Follower { live, .. } in back {
        let is_placed =
            HANDS.with(|hands| Some(hands.as_ref()?.entries.get(live.slot)?.told == Told::Placed)).flatten();
        if let (Some(false), Some(site)) = (is_placed, live.site()) {
            settle(live.slot, Outcome::Done { note: None, site: Site::clone(&site) });
        }
    }
    if followers_of_old.is_empty() {
        return;
    }
    let name = code::file(new).and_then(Ref::text).map(Text::to_text).unwrap_or_default();
    let mut code = discovery::functions_of(py, new, &name);
    for follower in followers_of_old.into_values() {
        let outcome = match &follower.live.probe.location {
            Location::Lines { lines, .. } => follow_lines(py, &follower, &mut code, &name, lines, old),
            Location::Method { type_name, method, .. } => {
                follow_methods(py, &follower, &mut code, &name, type_name, old).map(|outcome| match outcome {
                    Outcome::Done { note, site } => {
                        Outcome::Done { note, site: Site { method: method.clone(), ..site } }
                    }
                    other => other,
                })
            }
        };
        settle(follower.live.slot, outcome.unwrap_or_else(|error| refused(&error)));
    }
}

/// Places a line probe in the new code, if that has all of its lines that the old one had.
fn follow_lines(
    py: Python<'_>,
    follower: &Follower,
    code: &mut FileCode,
    name: &str,
    lines: &[u32],
    old: Ref<'_>,
) -> PyResult<Outcome> {
    let Some(opcodes) = opcodes() else { return Ok(stopping()) };
    let live = &follower.live;
    let is_in = |file: &str| HANDS.with(|hands| Some(hands.as_ref()?.entries.get(live.slot)?.is_in(file))).flatten();
    let of_old = code::file(old).and_then(Ref::text).map(Text::to_text).unwrap_or_default();
    let (mut kept, mut missing) = (Vec::new(), follower.lines.clone());
    if name == of_old || is_in(name) == Some(true) {
        for &line in lines {
            let resolve = |plain: &[location::Function]| location::resolve_line(plain, line, &super::CAPABILITIES).ok();
            let choice = discovery::read(py, code, &opcodes, false, |_, _| true, resolve)?;
            if let Some(choice) = choice.filter(|choice| follower.lines.contains(&choice.line)) {
                missing.remove(&choice.line);
                kept.push(line);
            }
        }
    }
    if let Some(line) = missing.first() {
        let function = discovery::bare(old);
        return Ok(Outcome::Refused {
            kind: MISSING_LINE,
            reason: format!(
                "function `{function}` got other code while the program ran, and line {line} is not in it; the probe stays in \
                 the code that was there before"
            ),
        });
    }
    let outcome = in_lines(py, live, code, name, &kept, false)?;
    Ok(match (outcome, live.site()) {
        // Its other lines are where they were.
        (Outcome::Done { note, .. }, Some(site)) if kept.len() < lines.len() => {
            Outcome::Done { note, site: Site::clone(&site) }
        }
        (outcome, _) => outcome,
    })
}

/// Places a method probe in the new code, or in the functions of the same names inside it.
fn follow_methods(
    py: Python<'_>,
    follower: &Follower,
    code: &mut FileCode,
    name: &str,
    module: &str,
    old: Ref<'_>,
) -> PyResult<Outcome> {
    let mut found = Vec::new();
    for method in &follower.methods {
        let Some(method) = method else {
            found.push(0);
            continue;
        };
        let same: Vec<usize> = (0..code.qualified.len()).filter(|&at| code.qualified[at] == *method).collect();
        if same.is_empty() {
            let function = discovery::bare(old);
            return Ok(Outcome::Refused {
                kind: OTHER_CODE,
                reason: format!(
                    "function `{function}` got other code while the program ran, and `{method}` is not in it; the probe stays \
                     in the code that was there before"
                ),
            });
        }
        found.extend(same);
    }
    found.sort_unstable();
    found.dedup();
    in_functions(py, &follower.live, code, &found, name, module, false)
}

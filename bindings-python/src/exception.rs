//! The message of an exception: what `str()` would say, where saying it runs no code of the program. Stands on the hit's
//! walk, under [`crate::value`].
//!
//! CPython's own exceptions put their message together from fields that only they write. Which of CPython's functions does
//! it stands in the class; a class of the program that has a `__str__` of its own has another one there.

use crate::classes;
use crate::names::Held;
use crate::object::{Class, Owned, Ref};
use crate::shim;
use crate::value::{self, PyValue};
use pyo3::ffi::{self, PyObject};
use std::cell::Cell;

/// Messages that were made in the present hit: they live as long as the values that show them.
static MADE: Held<Vec<Owned>> = Held::new(Vec::new());

/// True if [`MADE`] has something: a hit looks at no more than this.
struct Any(Cell<bool>);

// SAFETY: read and written by the holder of the GIL only.
unsafe impl Sync for Any {}

static ANY: Any = Any(Cell::new(false));

/// A hit begins: nothing is left of the one before.
#[inline]
pub fn forget() {
    if ANY.0.get() {
        drop_made();
    }
}

#[cold]
fn drop_made() {
    ANY.0.set(false);
    // Strings of ours end here, outside of the borrow.
    drop(MADE.with(std::mem::take));
}

/// A longer part of a message is not put together: the text alone is shown.
const LONGEST_PART: usize = 4096;

/// The message of an exception, if it has one: what `str()` says or, where only the program can tell, the first text among
/// the arguments.
pub fn message(exception: Ref<'_>) -> Option<PyValue<'_>> {
    // SAFETY: a live exception; its arguments belong to it.
    let arguments = unsafe { Ref::new(shim::strobe_exception_args(exception.pointer())) }?.tuple();
    // SAFETY: elements of a live tuple.
    let mut texts = arguments.iter().filter_map(|&argument| unsafe { Ref::new(argument) });
    let said = if is_told(exception, arguments) { said(exception) } else { None };
    said.or_else(|| texts.find(|argument| argument.text().is_some())).map(PyValue::Object)
}

/// True if CPython's own function tells the message, and reads nothing on the way but numbers and texts.
fn is_told(exception: Ref<'_>, arguments: &[*mut PyObject]) -> bool {
    let Some(teller) = teller(exception.class()) else { return false };
    // SAFETY: the classes of CPython's own exceptions are alive for ever.
    let is = |class: *mut PyObject| unsafe { of_static(class) }.filter(|class| self::teller(*class) == Some(teller));
    // SAFETY: asks for the addresses of such classes.
    let [base, import, key, system, syntax, decode, encode, translate] = unsafe {
        [
            ffi::PyExc_BaseException,
            ffi::PyExc_ImportError,
            ffi::PyExc_KeyError,
            ffi::PyExc_OSError,
            ffi::PyExc_SyntaxError,
            ffi::PyExc_UnicodeDecodeError,
            ffi::PyExc_UnicodeEncodeError,
            ffi::PyExc_UnicodeTranslateError,
        ]
    };
    // SAFETY: an element of a live tuple.
    let only = || if let [only] = *arguments { unsafe { Ref::new(only) } } else { None };
    if is(base).is_some() || is(import).is_some() {
        // A text is its own message, and `str()` of bytes may warn.
        return only().is_some_and(is_number);
    }
    if is(key).is_some() {
        return only().is_some_and(|key| is_number(key) || is_text(key) || is_bytes(key));
    }
    if let Some(class) = is(system) {
        let held = |name| object_of(exception, class, name);
        if ["errno", "strerror", "filename"].into_iter().all(|name| held(name).is_none()) {
            return only().is_some_and(is_number);
        }
        return held("errno").is_some_and(is_number)
            && held("strerror").is_some_and(is_text)
            && ["filename", "filename2"]
                .into_iter()
                .all(|name| held(name).is_none_or(|path| is_number(path) || is_text(path) || is_bytes(path)));
    }
    if let Some(class) = is(syntax) {
        let held = |name| object_of(exception, class, name);
        return held("msg").is_some_and(is_text)
            && held("filename").is_none_or(|file| is_text(file) || is_none(file))
            && held("lineno").is_none_or(is_number);
    }
    let Some(class) = is(decode).or_else(|| is(encode)).or_else(|| is(translate)) else { return false };
    let held = |name| object_of(exception, class, name);
    let text = |text: Ref<'_>| text.is_exactly(&raw const ffi::PyUnicode_Type);
    let bytes = |bytes: Ref<'_>| bytes.is_exactly(&raw const ffi::PyBytes_Type);
    // One that translates has no encoding. Where the program has set the places, CPython reads there unseen.
    (held("encoding").is_some_and(is_text) || is(translate).is_some())
        && held("reason").is_some_and(is_text)
        && held("object").is_some_and(if is(decode).is_some() { bytes } else { text })
        && ["start", "end"].into_iter().all(|name| {
            let place = field(exception, class, name);
            matches!(place, Some(PyValue::Int(place)) if place >= 0)
        })
}

/// The function that tells the message of a class's instances.
fn teller(class: Class<'_>) -> Option<usize> {
    // SAFETY: a live class.
    unsafe { (*class.pointer()).tp_str }.map(|teller| teller as usize)
}

/// A class of CPython's own exceptions.
///
/// # Safety
/// It is one, or null.
unsafe fn of_static<'f>(class: *mut PyObject) -> Option<Class<'f>> {
    // SAFETY: as the caller promises: such a class is alive for ever.
    unsafe { Class::new(class.cast()) }
}

/// What one of CPython's classes keeps in its instances, whatever a class below it or the instance calls by this name.
fn field<'f>(exception: Ref<'f>, class: Class<'_>, name: &str) -> Option<PyValue<'f>> {
    let (member, _) = classes::member_of(class.dict()?.dict_get_text(name)?, exception.class())?;
    value::read_member(exception, member)
}

/// As [`field`], of an object; `None` stands for nothing.
fn object_of<'f>(exception: Ref<'f>, class: Class<'_>, name: &str) -> Option<Ref<'f>> {
    match field(exception, class, name) {
        Some(PyValue::Object(found)) if !is_none(found) => Some(found),
        _ => None,
    }
}

fn is_none(object: Ref<'_>) -> bool {
    // SAFETY: asks for an object that is alive for ever.
    std::ptr::eq(object.pointer(), unsafe { ffi::Py_None() })
}

/// True for what is exactly a number, a truth value or `None`, and is written in a few digits.
fn is_number(object: Ref<'_>) -> bool {
    is_none(object)
        || object.is_exactly(&raw const ffi::PyBool_Type)
        || object.is_exactly(&raw const ffi::PyFloat_Type)
        || (object.is_exactly(&raw const ffi::PyLong_Type) && object.int().is_some())
}

fn is_text(object: Ref<'_>) -> bool {
    object.is_exactly(&raw const ffi::PyUnicode_Type) && object.text().is_some_and(|text| text.units() <= LONGEST_PART)
}

fn is_bytes(object: Ref<'_>) -> bool {
    object.is_exactly(&raw const ffi::PyBytes_Type) && object.bytes().is_some_and(|bytes| bytes.len() <= LONGEST_PART)
}

/// Has CPython tell the message.
fn said(exception: Ref<'_>) -> Option<Ref<'_>> {
    // SAFETY: a live exception.
    let tell = unsafe { (*exception.class().pointer()).tp_str }?;
    // SAFETY: a live exception under the GIL. `is_told` has found a function of CPython's here that reads exact numbers and
    // texts only, so that no code of the program runs. What it answers is ours.
    let text = unsafe { Owned::take(tell(exception.pointer())) };
    let Some(text) = text else {
        // SAFETY: with the GIL held; no error was set before, since a hook runs between instructions.
        unsafe { ffi::PyErr_Clear() };
        return None;
    };
    // SAFETY: it is alive until the next hit begins, which is longer than any value of this one.
    let shown = unsafe { Ref::new(text.borrow().pointer()) };
    MADE.with(|made| made.push(text))?;
    ANY.0.set(true);
    shown
}

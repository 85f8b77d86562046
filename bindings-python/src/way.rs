//! C functions of the interpreter that are led through us while a session runs: their definitions point to ours, which do
//! what they always did besides. The Python objects stay the same ones, and all is put back at the end. On neither walk;
//! [`crate::exit`] and [`crate::others`] say which functions and what for.

use pyo3::ffi::{self, PyMethodDef, PyMethodDefPointer, PyObject};
use pyo3::prelude::*;
use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Of flags `METH_FASTCALL`.
pub type Many = unsafe extern "C" fn(*mut PyObject, *mut *mut PyObject, ffi::Py_ssize_t) -> *mut PyObject;
/// Of flags `METH_FASTCALL | METH_KEYWORDS`.
pub type Named =
    unsafe extern "C" fn(*mut PyObject, *const *mut PyObject, ffi::Py_ssize_t, *mut PyObject) -> *mut PyObject;
/// Of flags `METH_O`.
pub type One = unsafe extern "C" fn(*mut PyObject, *mut PyObject) -> *mut PyObject;

/// Our function that stands in a definition, of the type that its flags promise.
#[derive(Clone, Copy)]
pub enum Ours {
    /// See the type.
    Many(Many),
    /// See the type.
    Named(Named),
    /// See the type.
    One(One),
}

impl Ours {
    fn flags(self) -> c_int {
        match self {
            Ours::Many(_) => ffi::METH_FASTCALL,
            Ours::Named(_) => ffi::METH_FASTCALL | ffi::METH_KEYWORDS,
            Ours::One(_) => ffi::METH_O,
        }
    }

    fn pointer(self) -> *mut () {
        match self {
            Ours::Many(function) => function as *mut (),
            Ours::Named(function) => function as *mut (),
            Ours::One(function) => function as *mut (),
        }
    }
}

/// A C function that is led through us.
pub struct Way {
    name: &'static CStr,
    ours: Ours,
    /// The definition, and what it did before. Set together, under the GIL; the definition never ends.
    definition: AtomicPtr<PyMethodDef>,
    original: AtomicPtr<()>,
}

impl Way {
    /// Of the function of a name.
    pub const fn new(name: &'static CStr, ours: Ours) -> Self {
        let (definition, original) = (AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut()));
        Way { name, ours, definition, original }
    }

    /// Leads it through ours. Where it does not look as expected nothing is done: a program may have put a function of its
    /// own there, and another CPython may call it in another way.
    pub fn lead(&self, module: &Bound<'_, PyAny>) {
        let Ok(function) = module.getattr(self.name.to_str().unwrap_or_default()) else { return };
        let object = function.as_ptr();
        // SAFETY: asks for the type of a live object.
        if unsafe { ffi::PyCFunction_CheckExact(object) } == 0 {
            return;
        }
        // SAFETY: it is a C function of exactly this layout, and its definition is static data of the interpreter.
        let definition = unsafe { (*object.cast::<ffi::PyCFunctionObject>()).m_ml };
        // SAFETY: as above; a name of a definition is a C string that is never freed.
        let (name, flags) = unsafe { (CStr::from_ptr((*definition).ml_name), (*definition).ml_flags) };
        if name != self.name || flags != self.ours.flags() {
            return;
        }
        // SAFETY: one pointer, whichever member is in use; the GIL is held, so nobody calls it meanwhile.
        unsafe {
            let before = (*definition).ml_meth.as_ptr();
            if !ptr::eq(before, self.ours.pointer().cast()) {
                self.original.store(before.cast(), Ordering::Release);
                Self::set(definition, self.ours.pointer());
                self.definition.store(definition, Ordering::Release);
            }
        }
    }

    /// Gives it back. The caller holds the GIL.
    pub fn leave_alone(&self) {
        let definition = self.definition.swap(ptr::null_mut(), Ordering::AcqRel);
        let original = self.original.load(Ordering::Acquire);
        if !definition.is_null() && !original.is_null() {
            // SAFETY: static data of the interpreter, and what it held before; the caller holds the GIL.
            unsafe { Self::set(definition, original) };
        }
    }

    /// # Safety
    /// The definition is one of the interpreter's, the function of the type that its flags promise, and the GIL is held.
    unsafe fn set(definition: *mut PyMethodDef, function: *mut ()) {
        // SAFETY: every member of the union is one pointer to a function, so it does not matter by which it is written;
        // who calls it goes by the flags.
        unsafe {
            let function = std::mem::transmute::<*mut (), One>(function);
            (*definition).ml_meth = PyMethodDefPointer { PyCFunction: function };
        }
    }

    /// What it did before, of `METH_FASTCALL`. `None` cannot be: it is stored before ours is ever called.
    pub fn many(&self) -> Option<Many> {
        let original = self.original.load(Ordering::Acquire);
        let fits = matches!(self.ours, Ours::Many(_)) && !original.is_null();
        // SAFETY: it was taken from a definition whose flags promise this type.
        fits.then(|| unsafe { std::mem::transmute::<*mut (), Many>(original) })
    }

    /// The same of `METH_FASTCALL | METH_KEYWORDS`.
    pub fn named(&self) -> Option<Named> {
        let original = self.original.load(Ordering::Acquire);
        let fits = matches!(self.ours, Ours::Named(_)) && !original.is_null();
        // SAFETY: it was taken from a definition whose flags promise this type.
        fits.then(|| unsafe { std::mem::transmute::<*mut (), Named>(original) })
    }

    /// The same of `METH_O`.
    pub fn one(&self) -> Option<One> {
        let original = self.original.load(Ordering::Acquire);
        let fits = matches!(self.ours, Ours::One(_)) && !original.is_null();
        // SAFETY: it was taken from a definition whose flags promise this type.
        fits.then(|| unsafe { std::mem::transmute::<*mut (), One>(original) })
    }
}

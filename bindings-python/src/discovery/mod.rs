//! Finds loaded code: an index of files, filled as they start to run, and for what ran before us by one look at modules,
//! running frames and the collector's objects. Stands on the configuration's walk, between [`crate::runtime`] and
//! [`crate::statements`].
//!
//! * [`index`]: the files that are known, and their outermost code;
//! * [`paths`]: what is asked of the file system;
//! * [`which_file`]: the file that a probe's source file means;
//! * [`modules`]: the file and the namespace that a module's name means;
//! * [`near`]: the files that come nearest to one that is not there;
//! * [`named`]: what a name in a module is;
//! * [`search`]: one look for all code of some files;
//! * [`functions`]: the functions of a file, and the statements in them;
//! * [`symbols`]: what is told of a module to those who write probes.

mod functions;
mod index;
mod modules;
mod named;
mod near;
mod paths;
mod search;
mod symbols;
mod which_file;

pub use functions::{
    FileCode, PyFunction, Read, bare, functions, functions_of, has_setters, is_generator, keep_read, lambdas, methods,
    names_at, names_within, qualified, read, span, statements_of,
};
pub use index::{
    FileId, Started, begin, changes, forget, has_begun, has_looked, is_complete, is_library, is_partial, known, looks,
    name, note, note_arrival, overflows, release,
};
pub use modules::{
    Importable, all_names_of, compiled_file, files_of_module, forget_names, has_class, importable, is_executing,
    is_loaded, is_main, is_meant, is_module, is_package, modules_near, names_of, takes_no_probes,
};
pub use named::{Leads, Named, getter_of_property, leads, named, names_beside};
pub use near::files_near;
pub use paths::{Identity, asked, existing, is_source};
pub use search::search;
pub use symbols::{Loaded, facts, listed, loaded};
pub use which_file::{Chosen, Meant, choose, identity, means};

use crate::object::{Owned, Ref};
use pyo3::prelude::*;
use std::ffi::CStr;
use stroboscope_core::clock::{Clock, SystemClock};

/// Does work without the GIL, and says how long it took.
pub(super) fn without_gil<R: Send>(py: Python<'_>, work: impl FnOnce() -> R + Send) -> R {
    let began = SystemClock.monotonic();
    let done = py.detach(work);
    crate::runtime::released(SystemClock.monotonic() - began);
    done
}

/// What `sys` has under a name.
pub(super) fn sys(_: Python<'_>, name: &CStr) -> Option<Owned> {
    // SAFETY: the GIL is held, as the token shows; a borrowed reference or null, kept before anything else happens.
    unsafe { Ref::new(pyo3::ffi::PySys_GetObject(name.as_ptr())) }.map(Owned::keep)
}

//! Modules of the standard library that lie in files, for what no other way gives us. The program may have a module of its
//! own by that name, which is neither run nor believed, and finds the name free that nobody has imported. On neither walk.

use pyo3::prelude::*;
use pyo3::types::PyList;

/// The module, as the standard library has it. It is ours: `sys.modules` is afterwards as it was before.
pub fn module<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    let sys = py.import("sys")?;
    if sys.getattr("builtin_module_names")?.contains(name)? {
        return py.import(name).map(Bound::into_any); // no file can stand before it
    }
    let modules = sys.getattr("modules")?;
    let before = modules.get_item(name).ok();
    let finder = py.import("_frozen_importlib_external")?.getattr("PathFinder")?;
    let spec = finder.call_method1("find_spec", (name, folders(py)?))?;
    let bootstrap = py.import("_frozen_importlib")?;
    let made = bootstrap.call_method1("module_from_spec", (&spec,)).and_then(|module| {
        spec.getattr("loader")?.call_method1("exec_module", (&module,))?;
        Ok(module)
    });
    // Some modules of C's register themselves.
    match before {
        Some(before) => modules.set_item(name, before)?,
        None if modules.contains(name)? => modules.del_item(name)?,
        None => {}
    }
    made
}

/// Where the standard library lies: beside `os`, and the folder of its extensions.
fn folders(py: Python<'_>) -> PyResult<Bound<'_, PyList>> {
    let os = py.import("os")?.getattr("__file__")?.extract::<String>()?;
    let standard = os.rfind('/').map_or("", |slash| &os[..slash]);
    let found = PyList::new(py, [standard.to_owned(), format!("{standard}/lib-dynload")])?;
    for entry in py.import("sys")?.getattr("path")?.cast_into::<PyList>()? {
        if entry.extract::<&str>().is_ok_and(|entry| entry.ends_with("/lib-dynload")) {
            found.append(entry)?;
        }
    }
    Ok(found)
}

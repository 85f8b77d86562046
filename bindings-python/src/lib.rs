//! The Python binding's native module, `stroboscope._native`: exports only.
//!
//! The two walks through this crate:
//!
//! * a **configuration goes in**: the core's worker → `runtime` (on its own thread, with the GIL) → `discovery` →
//!   `statements` → `sys.monitoring`;
//! * a **hit goes out**: `sys.monitoring` → `guard` → `runtime` → the core, which reads through `frame` and `value` →
//!   `object`, `classes`, `names` → `shim.c`.

#[cfg(not(all(target_endian = "little", target_pointer_width = "64")))]
compile_error!("the layouts in shim.c are those of 64-bit little-endian machines");

mod classes;
mod code;
mod command;
mod discovery;
mod exception;
mod exit;
mod explain;
mod fork;
mod frame;
mod guard;
mod hooks;
mod identity;
mod label;
mod logging;
mod logical;
mod memory;
mod names;
mod numpy;
mod object;
mod others;
mod reach;
mod runtime;
mod selftest;
mod session;
mod shim;
mod standard;
mod statements;
mod testing;
mod ticks;
mod tracer;
mod value;
mod vectors;
mod way;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    guard::silence();
    memory::put_aside();
    code::reserve_extra();
    if let Ok(file) = module.filename() {
        let file = file.to_string();
        code::set_own_folder(file.rfind(['/', '\\']).map_or(String::new(), |slash| file[..=slash].to_owned()));
    }
    selftest::run(module.py(), &[]).map_err(PyImportError::new_err)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(testing::_test_selftest, module)?)?;
    module.add_function(wrap_pyfunction!(testing::_test_view, module)?)?;
    module.add_function(wrap_pyfunction!(testing::_test_member, module)?)?;
    module.add_function(wrap_pyfunction!(testing::_test_lookup, module)?)?;
    module.add_function(wrap_pyfunction!(testing::_test_type_names, module)?)?;
    module.add_function(wrap_pyfunction!(testing::_test_statement_starts, module)?)?;
    module.add_function(wrap_pyfunction!(testing::_test_instructions, module)?)?;
    module.add_function(wrap_pyfunction!(testing::_test_opcodes, module)?)?;
    module.add_function(wrap_pyfunction!(vectors::_test_evaluate, module)?)?;
    module.add_function(wrap_pyfunction!(vectors::_test_event, module)?)?;
    module.add_function(wrap_pyfunction!(vectors::_test_print, module)?)?;
    module.add_function(wrap_pyfunction!(vectors::_test_parses_to, module)?)?;
    module.add_function(wrap_pyfunction!(session::setting, module)?)?;
    module.add_function(wrap_pyfunction!(session::start, module)?)?;
    module.add_function(wrap_pyfunction!(session::stop, module)?)?;
    module.add_function(wrap_pyfunction!(session::add_probe, module)?)?;
    module.add_function(wrap_pyfunction!(session::unseen, module)?)?;
    module.add_function(wrap_pyfunction!(session::remove_probe, module)?)?;
    module.add_function(wrap_pyfunction!(session::flush, module)?)?;
    module.add_function(wrap_pyfunction!(session::status, module)?)?;
    module.add_function(wrap_pyfunction!(session::stats, module)?)?;
    module.add_function(wrap_pyfunction!(explain::explain, module)?)?;
    module.add_function(wrap_pyfunction!(explain::explain_statically, module)?)?;
    module.add_function(wrap_pyfunction!(session::finish, module)?)?;
    module.add_function(wrap_pyfunction!(session::tally, module)?)?;
    module.add_function(wrap_pyfunction!(logging::_say, module)?)?;
    module.add_function(wrap_pyfunction!(command::read_command, module)?)?;
    module.add_function(wrap_pyfunction!(command::lack_of_room, module)?)?;
    module.add_function(wrap_pyfunction!(session::_test_events, module)?)?;
    module.add_function(wrap_pyfunction!(session::_test_drain, module)?)?;
    module.add_function(wrap_pyfunction!(session::_test_keep_armed, module)?)?;
    module.add_function(wrap_pyfunction!(session::_test_upload, module)?)?;
    module.add_function(wrap_pyfunction!(session::_test_hooks, module)?)?;
    module.add_function(wrap_pyfunction!(session::_test_panic, module)?)?;
    Ok(())
}

//! Our own log lines go to Python's `logging`, as logger `stroboscope`, in a thread of ours that has the GIL. On neither walk;
//! they wait in [`stroboscope_process::logging`].
//!
//! `logging` is never imported for it: a program that does not use it does not get it.

use crate::guard;
use crate::identity;
use log::Level;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use stroboscope_process::logging::{self, say};

/// Says something from Python, as one line of ours.
#[pyfunction]
pub fn _say(py: Python<'_>, text: &str) {
    py.detach(|| say(text));
}

/// Hands the waiting lines to `logging`, if the program uses it. No probe is hit by that.
pub fn drain(py: Python<'_>) {
    if !logging::waits() {
        return;
    }
    let Some(module) = identity::loaded(py, "logging").filter(is_standard) else { return };
    let lines = logging::take();
    // A logger that fails has nowhere to say so.
    let _ = guard::guarded(|| hand_over(&module, lines));
}

/// False for a module of the program's that is called so: its functions are not ours to call.
fn is_standard(logging: &Bound<'_, PyAny>) -> bool {
    let has = |name: &str| logging.cast::<PyModule>().is_ok_and(|module| module.dict().contains(name).unwrap_or(false));
    ["NullHandler", "LogRecord", "setLoggerClass"].into_iter().all(has)
}

fn hand_over(logging: &Bound<'_, PyAny>, lines: Vec<(Level, String)>) -> PyResult<()> {
    let logger = logging.call_method1("getLogger", ("stroboscope",))?;
    if !logger.getattr("handlers")?.is_truthy()? {
        // Without any handler `logging` would print to standard error, which belongs to the program.
        logger.call_method1("addHandler", (logging.call_method0("NullHandler")?,))?;
    }
    for (level, text) in lines {
        let number = match level {
            Level::Error => 40,
            Level::Warn => 30,
            _ => 20,
        };
        logger.call_method1("log", (number, "%s", text))?;
    }
    Ok(())
}

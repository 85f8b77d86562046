//! What the command needs of the native module: what was typed becomes probes and settings in the core. Before both walks;
//! `_run.py` calls it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::ffi::OsString;
use stroboscope_core::control::command::{self, Around, Manner, Run, Typed};
use stroboscope_process::room;

const MANNER: Manner = Manner {
    program: "python -m stroboscope",
    example: "shop.py",
    line: "shop/cart.py:48",
    method: "MODULE:NAME",
    method_example: "shop.cart:Cart.total",
    methods_by_file: false,
    suffix: ".py",
    commands: "\
COMMAND is a script with its arguments, `-m MODULE`, or any program; Python processes that it starts are included.
A file `….py` is run by this Python; any other script by the Python that its first line names.",
    examples: &[
        "--at shop/cart.py:48 -- shop.py --port 8000",
        "--method shop.cart:Cart.total --log 'total {@return} in {@duration} ms' -- -m shop",
        "--at cart.py:48 --when 'len(lines) > 20' --log 'long: {cart.id}' -- gunicorn shop:app",
    ],
};

/// Settings by option name, and probes as JSON texts.
type Told = (Vec<(String, String)>, Vec<String>);

/// Reads what was typed before `--`. `outer` is what a command that started this one has told. A text is only to be shown. True:
/// there is no program, and it is to be said where the probes would be.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
pub fn read_command(
    words: Vec<OsString>,
    file_is_set: bool,
    has_command: bool,
    outer: Option<Told>,
) -> PyResult<(Option<String>, Told, bool)> {
    let outer = outer.map(|(settings, probes)| Run { probes, settings });
    let around = Around { file_is_set, has_command, outer };
    match command::read(&words, &MANNER, around).map_err(PyValueError::new_err)? {
        Typed::Show(text) => Ok((Some(text), Told::default(), false)),
        Typed::Run(run) => Ok((None, (run.settings, run.probes), false)),
        Typed::Explain(run) => Ok((None, (run.settings, run.probes), true)),
    }
}

/// Why what the program is to be told, written in hexadecimal digits, is too long for the system.
#[pyfunction]
pub fn lack_of_room(digits: usize) -> Option<String> {
    room::lack(digits, 2)
}

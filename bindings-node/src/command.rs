//! What the command needs of the addon: what was typed becomes probes and settings, and the process becomes the program.
//! Before both walks.

use crate::{error, guard};
use napi_derive::napi;
use serde_json::{Map, Value, json};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use stroboscope_core::config::ROWS;
use stroboscope_core::control::command::{self, Manner};
use stroboscope_process::screen;

const MANNER: Manner = Manner {
    program: "npx stroboscope",
    example: "app.js",
    line: "src/cart.js:48",
    method: "FILE:NAME",
    method_example: "src/cart.js:Cart.total",
    methods_by_file: true,
};

/// What was typed before `--`, as JSON: `settings` by their names in camel case, `probes`, and the `streams` of this process.
#[napi]
pub fn read_command(words: Vec<String>, file_is_set: bool) -> napi::Result<String> {
    guard::guarded(|| {
        let run = command::read(&words, &MANNER, file_is_set).map_err(error::said)?;
        let settings: Map<String, Value> =
            run.settings.into_iter().map(|(option, text)| (camel_case(option), text.into())).collect();
        let streams = serde_json::to_string(&screen::own()).map_err(|error| error::said(error.to_string()))?;
        Ok(json!({ "settings": settings, "probes": run.probes, "streams": streams }).to_string())
    })
}

fn camel_case(option: &str) -> String {
    ROWS.iter()
        .find(|row| row.option == option)
        .map_or_else(|| option.to_owned(), stroboscope_core::config::Row::camel_case)
}

/// Becomes another program, which has this process's id, streams and terminal. Returns only if that cannot be: why, in the
/// system's words.
#[napi]
pub fn become_program(
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
) -> napi::Result<String> {
    guard::guarded(|| {
        for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            // Node keeps them from its children. One that is closed is none of the program's either.
            let _ = rustix::io::fcntl_setfd(stream, rustix::io::FdFlags::empty());
        }
        let error = Command::new(&program).args(arguments).env_clear().envs(environment).exec();
        Ok(error.to_string())
    })
}

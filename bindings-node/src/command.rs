//! What the command needs of the addon: what was typed becomes probes and settings, and the process becomes the program.
//! Before both walks.

use crate::{error, guard};
use napi_derive::napi;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use stroboscope_core::control::command::{self, Around, Manner, Run};
use stroboscope_process::screen;

const MANNER: Manner = Manner {
    program: "npx stroboscope",
    example: "app.js",
    line: "src/cart.js:48",
    method: "FILE:NAME",
    method_example: "src/cart.js:Cart.total",
    methods_by_file: true,
    suffix: ".js",
    commands: "\
COMMAND is a script with its arguments, or any program; Node processes that it starts are included.
A file `….js` is run by this Node.",
    examples: &[
        "--at src/cart.js:48 -- src/shop.js --port 8000",
        "--method src/cart.js:Cart.total --log 'total {@return} in {@duration} ms' -- src/shop.js",
        "--at src/cart.js:48 --when 'len(lines) > 20' --log 'long: {cart.id}' -- npm start",
    ],
};

/// What the command tells the programs below it.
#[derive(Deserialize)]
struct Told {
    settings: BTreeMap<String, String>,
    probes: Vec<String>,
}

/// What came of the words before `--`.
#[napi(object)]
pub struct Typed {
    /// The text to show; then there is nothing to run.
    pub text: Option<String>,
    /// For the program, as JSON: `settings` by option name, `probes` as texts, and the `streams` of this process.
    pub told: String,
}

/// Reads what was typed before `--`. `outer` is what a command that started this one has told.
#[napi]
pub fn read_command(
    words: Vec<String>,
    file_is_set: bool,
    has_command: bool,
    outer: Option<String>,
) -> napi::Result<Typed> {
    guard::guarded(|| {
        // What the command of another language has told is not for Node.
        let outer = outer.and_then(|text| serde_json::from_str::<Told>(&text).ok());
        let outer = outer.map(|told| Run { settings: told.settings.into_iter().collect(), probes: told.probes });
        let around = Around { file_is_set, has_command, outer };
        let run = match command::read(&words, &MANNER, around).map_err(error::said)? {
            command::Typed::Show(text) => return Ok(Typed { text: Some(text), told: String::new() }),
            command::Typed::Run(run) => run,
        };
        let streams = serde_json::to_string(&screen::own()).map_err(|error| error::said(error.to_string()))?;
        let settings: BTreeMap<String, String> = run.settings.into_iter().collect();
        let told = json!({ "settings": settings, "probes": run.probes, "streams": streams });
        Ok(Typed { text: None, told: told.to_string() })
    })
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

//! What the command needs of the addon: what was typed becomes probes and settings, and the process becomes the program.
//! Before both walks.

use crate::{error, explained, guard};
use napi_derive::napi;
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use stroboscope_core::control::command::{self, Around, Manner, Run};
use stroboscope_process::{room, screen};

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
            command::Typed::Explain(run) => {
                let text = explained::statically(&run).map_err(error::said)?;
                return Ok(Typed { text: Some(text), told: String::new() });
            }
            command::Typed::Run(run) => run,
        };
        let streams = serde_json::to_string(&screen::own()).map_err(|error| error::said(error.to_string()))?;
        let settings: BTreeMap<String, String> = run.settings.into_iter().collect();
        let told = json!({ "settings": settings, "probes": run.probes, "streams": streams }).to_string();
        if let Some(lack) = room::lack(told.len(), 1) {
            return Err(error::said(lack));
        }
        Ok(Typed { text: None, told })
    })
}

/// This Node, for commands that are scripts.
#[napi(object)]
pub struct Interpreter {
    /// Its file.
    pub file: String,
    /// The options that were typed for it.
    pub options: Vec<String>,
    /// What the options in the environment of the program begin with.
    pub preload: String,
    /// The folder of our files, which that reads.
    pub folder: String,
}

/// Why a command cannot be run.
#[napi(object)]
pub struct NoProgram {
    /// In a sentence.
    pub why: String,
    /// The exit code that says so.
    pub code: i32,
}

impl NoProgram {
    fn new(code: i32, why: impl Into<String>) -> NoProgram {
        NoProgram { why: why.into(), code }
    }
}

const BAD_ARGUMENTS: i32 = 2;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Becomes the program that stands behind `--`, which has this process's id, streams and terminal, with what [`read_command`]
/// has told. Returns only if that cannot be.
#[napi]
pub fn become_program(command: Vec<String>, told: String, node: Interpreter) -> napi::Result<NoProgram> {
    guard::guarded(|| {
        let words = unaltered(&command);
        let (program, words) = match program(&words, &node) {
            Ok(found) => found,
            Err(problem) => return Ok(problem),
        };
        if let Some(why) = closed(&words, &variable("NODE_OPTIONS"), &node.folder) {
            return Ok(NoProgram::new(BAD_ARGUMENTS, why));
        }
        for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
            // Node keeps them from its children. One that is closed is none of the program's either.
            let _ = rustix::io::fcntl_setfd(stream, rustix::io::FdFlags::empty());
        }
        let mut command = Command::new(&program);
        if let Some((name, rest)) = words.split_first() {
            command.arg0(name).args(rest);
        }
        command.env("NODE_OPTIONS", options(variable("NODE_OPTIONS"), &node.preload));
        command.env("STROBE_ENABLED", "true").env("STROBE_RUN", told).env("STROBE_RUN_FIRST", "1");
        let error = command.exec();
        Ok(NoProgram::new(NOT_EXECUTABLE, format!("{}: {error}", program.display())))
    })
}

/// The last words of this process as the system has them: what is no UTF-8 is another word after Node has made text of it.
fn unaltered(words: &[String]) -> Vec<OsString> {
    // Where there is no such file, the list is at hand.
    let all: Vec<OsString> = match std::fs::read("/proc/self/cmdline") {
        Ok(bytes) => bytes.split(|&byte| byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect(),
        Err(_) => std::env::args_os().collect(),
    };
    let all = all.strip_suffix(&[OsString::new()]).unwrap_or(&all);
    let last = all.len().checked_sub(words.len()).map_or(&[][..], |at| &all[at..]);
    // A process that has given itself another name has lost them.
    let is_same = last.len() == words.len() && last.iter().zip(words).all(|(raw, text)| raw.to_string_lossy() == *text);
    if is_same { last.to_vec() } else { words.iter().map(OsString::from).collect() }
}

/// The file to execute, and its words, its own name first. What Node would run is run by this Node, with this Node's own options.
fn program(command: &[OsString], node: &Interpreter) -> Result<(PathBuf, Vec<OsString>), NoProgram> {
    let name = command.first().ok_or_else(|| NoProgram::new(BAD_ARGUMENTS, "there is no command"))?;
    let (path, shown) = (Path::new(name), name.display());
    if path.extension().is_some_and(|ending| SCRIPTS.iter().any(|one| ending == *one)) {
        if !path.exists() {
            return Err(NoProgram::new(NOT_FOUND, format!("{shown}: no such file")));
        }
        let own = [&node.file].into_iter().chain(&node.options).map(OsString::from);
        return Ok((PathBuf::from(&node.file), own.chain(command.iter().cloned()).collect()));
    }
    if name.as_bytes().starts_with(b"-") {
        let why = format!("{shown} is not a command; after -- comes a script or a program");
        return Err(NoProgram::new(BAD_ARGUMENTS, why));
    }
    if let Some(found) = which(path) {
        return Ok((found, command.to_vec()));
    }
    if !path.exists() {
        return Err(NoProgram::new(NOT_FOUND, format!("{shown}: no such program")));
    }
    let why = format!("{shown}: not a program that can be run; if it is a script of Node's, write: -- node {shown}");
    Err(NoProgram::new(NOT_EXECUTABLE, why))
}

/// Why Node would end at our files, before the program's first line, if so: its permission model lets it read others only.
fn closed(words: &[OsString], options: &OsStr, folder: &str) -> Option<String> {
    let is_node = words.first().is_some_and(|name| Path::new(name).file_name().is_some_and(|name| name == "node"));
    let own = words.iter().skip(1).map(|word| word.to_string_lossy()).take_while(|word| word.starts_with('-'));
    let options = options.to_string_lossy();
    let all: Vec<Cow<'_, str>> = own.chain(options.split_whitespace().map(Cow::Borrowed)).collect();
    let is_on = |word: &Cow<'_, str>| word == "--permission" || word == "--experimental-permission";
    if !is_node || !all.iter().any(is_on) {
        return None;
    }
    let read = all.iter().filter_map(|word| word.strip_prefix("--allow-fs-read="));
    let mut places = read.flat_map(|places| places.split(','));
    if places.any(|place| Path::new(folder).starts_with(place.trim_end_matches('*')) || place == "*") {
        return None;
    }
    let folder = folder.trim_end_matches('/');
    Some(format!(
        "Node's permission model denies FileSystemRead of {folder}; start Node with --allow-fs-read={folder}/*"
    ))
}

/// How files end that Node runs.
const SCRIPTS: [&str; 6] = ["js", "cjs", "mjs", "ts", "cts", "mts"];

/// The file that a name means.
fn which(name: &Path) -> Option<PathBuf> {
    let can_run = |file: &PathBuf| file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok();
    if name.as_os_str().as_bytes().contains(&b'/') {
        return Some(name.to_owned()).filter(can_run);
    }
    // An empty folder is the one where we are.
    let folders = variable("PATH");
    let mut files = std::env::split_paths(&folders).map(|folder| Path::new(".").join(folder).join(name));
    files.find(can_run)
}

/// What the system or Node finds in the environment, byte by byte.
#[allow(clippy::disallowed_methods, reason = "no setting of ours: what is meant for others is handed on")]
fn variable(name: &str) -> OsString {
    std::env::var_os(name).unwrap_or_default()
}

/// Options of Node with the preload among them, once.
fn options(before: OsString, preload: &str) -> OsString {
    let (mut all, rest) = (OsString::from(preload), before.as_bytes());
    if rest.windows(preload.len()).any(|part| part == preload.as_bytes()) {
        return before;
    }
    if !rest.is_empty() {
        all.push(" ");
        all.push(&before);
    }
    all
}

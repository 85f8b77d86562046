//! What a person types behind `run`: options become probe definitions and settings. The beginning of the walk of a
//! configuration going in; a binding then starts the program with what is read here. Only what a binding calls things is its
//! own ([`Manner`]).

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, PathBuf};

use crate::probe::wire::MAX_FILE;

/// How a binding's command is called, and what methods are named by.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// What is typed before `run`.
    pub program: &'static str,
    /// A command with its arguments, for examples.
    pub example: &'static str,
    /// A line for examples.
    pub line: &'static str,
    /// What `--method` takes, …
    pub method: &'static str,
    /// … and an example of it.
    pub method_example: &'static str,
    /// True if a method is named by its file, false if by its module.
    pub methods_by_file: bool,
    /// How the name of a module's file ends.
    pub suffix: &'static str,
    /// What a command may be, in sentences of the help.
    pub commands: &'static str,
    /// What stands behind `run` in the examples of the help.
    pub examples: &'static [&'static str],
}

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The probes: JSON texts of definitions.
    pub probes: Vec<String>,
    /// The settings, by option name.
    pub settings: Vec<(String, String)>,
}

const OPTIONS: [&str; 9] =
    ["--at", "--method", "--log", "--metric", "--when", "--capture", "--rate", "--probes", "--json"];

/// A probe that is typed on the command line.
struct Inline {
    id: String,
    place: Value,
    given: Map<String, Value>,
}

impl Inline {
    fn give(&mut self, option: &str, value: Value) -> Result<(), String> {
        if value.as_str().is_some_and(|text| text.trim().is_empty()) {
            let wanted = match option {
                "--when" => "a condition, for example 'len(lines) > 20'",
                "--metric" => "what is measured, for example 'len(lines)'",
                _ => "a message, for example 'total {total}'",
            };
            return Err(format!("{option} of {} is empty: write {wanted}, or leave it out", self.id));
        }
        if self.given.insert(option.to_owned(), value).is_some() {
            return Err(format!("{option} is given twice for {}", self.id));
        }
        Ok(())
    }

    fn definition(self) -> Result<String, String> {
        let given = |option: &str| self.given.get(option);
        if let Some(value) = given("--metric") {
            return self.metric(value);
        }
        let mut made = json!({ "id": shown(&self.id), "type": "LOG_PROBE", "where": self.place });
        if let Some(template) = given("--log") {
            made["template"] = template.clone();
        }
        if given("--capture").is_some() || given("--log").is_none() {
            made["captureSnapshot"] = true.into();
        }
        if let Some(condition) = given("--when") {
            made["when"] = json!({ "dsl": condition });
        }
        if let Some(rate) = given("--rate").filter(|rate| rate.is_number()) {
            made["sampling"] = json!({ "snapshotsPerSecond": rate });
        }
        Ok(escaped(&made.to_string()))
    }

    /// A probe that measures what an expression yields, and is called by it.
    fn metric(&self, value: &Value) -> Result<String, String> {
        let apart = ["--log", "--capture", "--rate"].into_iter().find(|option| {
            // `--rate all` lifts the limits of all probes, and belongs to none.
            self.given.get(*option).is_some_and(|value| *option != "--rate" || value.is_number())
        });
        if let Some(option) = apart {
            let id = &self.id;
            return Err(format!("{option} does not go with --metric of {id}: write another --at or --method for it"));
        }
        let mut made = json!({ "id": shown(&self.id), "type": "METRIC_PROBE", "kind": "HISTOGRAM", "metricName": value,
            "value": { "dsl": value }, "where": self.place });
        if let Some(condition) = self.given.get("--when") {
            made["when"] = json!({ "dsl": condition });
        }
        Ok(escaped(&made.to_string()))
    }
}

impl Run {
    fn set(&mut self, setting: &str, value: &str) {
        self.settings.push((setting.to_owned(), shown(value)));
    }

    /// With the probes and settings of a command that started this one: they are for the same program. The inner settings
    /// win; of two probes with one id the inner one gets another.
    ///
    /// # Errors
    /// Why a file that both name cannot be read.
    fn within(self, outer: Run) -> Result<Run, String> {
        let Run { mut probes, mut settings } = outer;
        let is_file = |(option, _): &&(String, String)| option == "probe_file";
        if let (Some((_, path)), Some(_)) = (settings.iter().find(is_file), self.settings.iter().find(is_file)) {
            probes.extend(read_once(path)?);
        }
        let mut known: HashSet<String> = probes.iter().filter_map(|probe| id_of(probe)).collect();
        for probe in self.probes {
            probes.push(with_new_id(probe, &mut known));
        }
        settings.retain(|(option, _)| !self.settings.iter().any(|(inner, _)| inner == option));
        settings.extend(self.settings);
        Ok(Run { probes, settings })
    }
}

/// What stands around what was typed.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The environment names a probe file.
    pub file_is_set: bool,
    /// A command stands behind `--`.
    pub has_command: bool,
    /// What was typed for a command that started this one.
    pub outer: Option<Run>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Typed {
    /// Run the command with this.
    Run(Run),
    /// Say of these probes, without a program, where they would be.
    Explain(Run),
    /// Only show this text.
    Show(String),
}

/// Reads what stands before `--`, the word `run` included. Without a word it is the help, too.
///
/// # Errors
/// What is wrong with it, in a sentence that says what to write instead.
pub fn read<W: AsRef<OsStr>>(words: &[W], manner: &Manner, around: Around) -> Result<Typed, String> {
    let words: Vec<String> = words.iter().map(|word| marked(word.as_ref())).collect();
    let is_help = |word: &String| word == "--help" || word == "-h";
    let version = || Ok(Typed::Show(format!("stroboscope {}\n", env!("CARGO_PKG_VERSION"))));
    match words.split_first() {
        Some((first, _)) if first == "--version" => return version(),
        Some((first, rest))
            if COMMANDS.contains(&first.as_str()) && rest.first().is_some_and(|word| word == "--version") =>
        {
            return version();
        }
        None => return Ok(Typed::Show(help(manner))),
        Some(_) if words.iter().any(is_help) => return Ok(Typed::Show(help(manner))),
        Some((first, rest)) if first == "run" => run(rest, manner, around).map(Typed::Run),
        Some((first, rest)) if first == "explain" => explain(rest, manner, around),
        Some((first, _)) => {
            Err(format!("{first} is no command of stroboscope: {} run --help says what there is", manner.program))
        }
    }
    .map_err(|text| shown(&text))
}

/// The words that a command line begins with.
const COMMANDS: [&str; 2] = ["run", "explain"];

/// As `run`, and the end explains; without a command, where probes would be.
fn explain(words: &[String], manner: &Manner, around: Around) -> Result<Typed, String> {
    if !around.has_command {
        return options(words, manner, around.file_is_set).map(Typed::Explain);
    }
    let mut run = run(words, manner, around)?;
    run.set("explain", "on");
    Ok(Typed::Run(run))
}

fn run(words: &[String], manner: &Manner, around: Around) -> Result<Run, String> {
    let run = options(words, manner, around.file_is_set)?;
    if !around.has_command {
        let Manner { program, example, .. } = manner;
        return Err(format!("no command: write it after --, as in: {program} run --at {example}:12 -- {example}"));
    }
    match around.outer {
        Some(outer) => run.within(outer),
        None => Ok(run),
    }
}

fn options(words: &[String], manner: &Manner, file_is_set: bool) -> Result<Run, String> {
    let mut probes: Vec<Inline> = Vec::new();
    let mut early: Vec<(String, Value)> = Vec::new();
    let mut run = Run::default();
    let mut rates_are_off = false;
    let mut pipe: Option<String> = None;
    let mut once: HashSet<&str> = HashSet::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, joined) = match word.split_once('=') {
            Some((option, value)) if word.starts_with("--") => (option, Some(value.to_owned())),
            _ => (word.as_str(), None),
        };
        if option == "--capture" && joined.is_none() {
            to_its_probe(&mut probes, &mut early, option, Value::Bool(true))?;
            continue;
        }
        if !OPTIONS.contains(&option) || option == "--capture" {
            return Err(unknown(word, words.as_slice(), manner));
        }
        let next = || words.next().filter(|next| !OPTIONS.contains(&next.as_str())).cloned();
        let value = joined.or_else(next).ok_or_else(|| format!("{option} is given no value"))?;
        match option {
            "--at" => probes.push(inline(&value, at(&value, manner)?)),
            "--method" => probes.push(inline(&value, method(&value, manner)?)),
            "--probes" | "--json" if !once.insert(option) => return Err(format!("{option} is given twice")),
            "--probes" if is_pipe(&value) => pipe = Some(value),
            "--probes" => run.set("probe_file", &probe_file(&value)?),
            "--json" => run.set("ndjson", &json_file(&value)?),
            "--rate" => {
                rates_are_off |= value == "all";
                to_its_probe(&mut probes, &mut early, option, rate(&value)?)?;
            }
            _ => to_its_probe(&mut probes, &mut early, option, value.into())?,
        }
    }
    // That lifts the limits of all probes, and belongs to none.
    early.retain(|(option, value)| option != "--rate" || value.is_number() || probes.len() == 1);
    for (option, value) in early {
        let [probe] = &mut probes[..] else {
            return Err(format!(
                "{option} needs a probe before it: write it after the --at or --method that it belongs to"
            ));
        };
        probe.give(&option, value)?;
    }
    let has_file = file_is_set || pipe.is_some() || run.settings.iter().any(|(option, _)| option == "probe_file");
    if probes.is_empty() && !has_file {
        return Err(format!("nothing to watch: give --at FILE:LINE, --method {} or --probes FILE", manner.method));
    }
    if rates_are_off {
        run.set("rate_limits", "off");
    }
    number_twins(&mut probes);
    run.probes = probes.into_iter().map(Inline::definition).collect::<Result<_, _>>()?;
    if let Some(path) = pipe {
        run.probes.extend(read_once(&path)?);
    }
    Ok(run)
}

/// The help.
fn help(manner: &Manner) -> String {
    let Manner { program, method, commands, .. } = manner;
    let indent = " ".repeat("usage:  run ".len() + program.len());
    let examples: Vec<String> = manner.examples.iter().map(|example| format!("  {program} run {example}")).collect();
    let examples = examples.join("\n");
    format!(
        "\
usage: {program} run [--at FILE:LINE | --method {method}]
{indent}[--log TEMPLATE] [--when EXPR] [--capture] [--rate N|all] [--metric EXPR]
{indent}[--probes FILE] [--json PATH|-] -- COMMAND…

       {program} explain [the same] [-- COMMAND…]

Asks a running program a question without stopping it. `explain` says in sentences where a probe is, whether that code
ran, and what became of its hits, at the end of COMMAND; without a COMMAND it says where the probe would be.

  --at FILE:LINE        probe a line, before it runs
  --method {method:<12} probe a function, as it returns or throws
  --log TEMPLATE        message, with {{expressions}} in it
  --when EXPR           fire only when this holds
  --capture             take a snapshot beside the message of --log
  --metric EXPR         measure this at each hit instead: once a second, how many values from which to which
  --rate N|all          at most N hits per second, fractions allowed; all lifts the limits of all probes
  --probes FILE         a JSON file of probe definitions (docs/probe-file.md)
  --json PATH|-         write events as JSON, one a line; - is standard output
  --help                this text
  --version             say which version this is

{commands}

Several --at and --method may be given: --log, --when, --capture, --rate and --metric belong to the one before them.
Without --log, --capture and --metric a probe takes a snapshot: arguments, locals, stack, and for a method what it returned.
Without --rate a probe with a snapshot shows one hit per second, one that only logs up to 5000.

{examples}
"
    )
}

/// What is no option: one that is misspelt, or a command that does not stand behind `--`.
fn unknown(word: &str, rest: &[String], manner: &Manner) -> String {
    if word.starts_with("--") {
        return format!("unknown option {word}: {} run --help says which there are", manner.program);
    }
    let command = std::iter::once(word).chain(rest.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    format!("{command}: write the command after --, as in: {} run --at … -- {command}", manner.program)
}

fn to_its_probe(
    probes: &mut [Inline],
    early: &mut Vec<(String, Value)>,
    option: &str,
    value: Value,
) -> Result<(), String> {
    if let Some(probe) = probes.last_mut() {
        return probe.give(option, value);
    }
    early.push((option.to_owned(), value));
    Ok(())
}

fn inline(id: &str, place: Value) -> Inline {
    Inline { id: id.to_owned(), place, given: Map::new() }
}

fn at(text: &str, manner: &Manner) -> Result<Value, String> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (file, line) = text
        .rsplit_once(':')
        .filter(|(file, line)| !file.is_empty() && is_number(line))
        .ok_or_else(|| format!("--at {text}: write FILE:LINE, for example {}", manner.line))?;
    let before = file.rsplit_once(':').filter(|(before, number)| !before.is_empty() && is_number(number));
    if before.is_some() && !path(file).exists() {
        return Err(format!("--at {text}: write FILE:LINE, without a column: --at {file}"));
    }
    Ok(json!({ "sourceFile": whole("--at", file)?, "lines": [line] }))
}

fn method(text: &str, manner: &Manner) -> Result<Value, String> {
    let (unit, name) = if manner.methods_by_file { text.rsplit_once(':') } else { text.split_once(':') }
        .filter(|(unit, name)| !unit.is_empty() && !name.is_empty())
        .ok_or_else(|| format!("--method {text}: write {}, for example {}", manner.method, manner.method_example))?;
    if manner.methods_by_file {
        return Ok(json!({ "sourceFile": whole("--method", unit)?, "methodName": name }));
    }
    if unit.contains('/') {
        return Err(format!(
            "--method {text}: write {} with a module as it is imported, not a path, for example {}",
            manner.method, manner.method_example
        ));
    }
    if let Some(module) = unit.strip_suffix(manner.suffix)
        && path(unit).is_file()
    {
        let method = manner.method;
        return Err(format!(
            "--method {text}: write {method} with a module as it is imported: --method {module}:{name}"
        ));
    }
    Ok(json!({ "typeName": unit, "methodName": name }))
}

/// A file that is here means that very file, even if another one of the same name is loaded too.
fn whole(option: &str, file: &str) -> Result<String, String> {
    if path(file).is_file() { absolute(option, file) } else { Ok(file.to_owned()) }
}

fn absolute(option: &str, file: &str) -> Result<String, String> {
    let found = std::path::absolute(path(file)).map_err(|_| {
        format!("{option} {file}: the working folder is gone; go into one that is there, or write the whole path")
    })?;
    let mut whole = PathBuf::new();
    for part in found.components() {
        if part == Component::ParentDir {
            whole.pop();
        } else {
            whole.push(part);
        }
    }
    Ok(marked(whole.as_os_str()))
}

fn probe_file(file: &str) -> Result<String, String> {
    if path(file).is_dir() {
        return Err(format!("--probes {file} is a folder: name a file in it"));
    }
    if !path(file).exists() {
        return Err(format!("--probes {file}: no such file"));
    }
    absolute("--probes", file)
}

/// True of a pipe, such as `<(…)`: processes below the program could not read it again.
fn is_pipe(file: &str) -> bool {
    path(file).metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
}

/// The definitions in it.
fn read_once(file: &str) -> Result<Vec<String>, String> {
    let refuse = |why: String| format!("--probes {file}: {why}");
    let most = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let mut text = String::new();
    let read = File::open(path(file)).and_then(|file| file.take(most).read_to_string(&mut text));
    read.map_err(|error| refuse(error.to_string()))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    let found: Result<Vec<&RawValue>, _> = if text.starts_with('[') {
        serde_json::from_str(text)
    } else {
        serde_json::from_str(text).map(|one| vec![one])
    };
    let found = found.map_err(|error| refuse(format!("it is not JSON: {error}")))?;
    Ok(found.into_iter().map(|definition| definition.get().to_owned()).collect())
}

/// What stands for byte 0 of a word that is no text: characters that nobody types.
const MARKS: u32 = 0x10_FE00;

/// A word as text. A byte that is none becomes a mark, so that it spoils its own probe only.
fn marked(word: &OsStr) -> String {
    let mut text = String::new();
    for chunk in word.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(MARKS + u32::from(*byte))));
    }
    text
}

/// The byte that a mark stands for.
fn byte_of(mark: char) -> Option<u8> {
    u32::from(mark).checked_sub(MARKS).and_then(|byte| u8::try_from(byte).ok())
}

fn path(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    OsString::from_vec(bytes).into()
}

/// For people.
fn shown(text: &str) -> String {
    with_marks(text, |byte| format!("\\x{byte:02x}"))
}

/// In JSON: halves of surrogate pairs, which whoever reads the definition refuses.
fn escaped(json: &str) -> String {
    with_marks(json, |byte| format!("\\udc{byte:02x}"))
}

fn with_marks(text: &str, write: impl Fn(u8) -> String) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push_str(&write(byte)),
            None => out.push(c),
        }
    }
    out
}

/// The id of a definition, if it has one.
fn id_of(probe: &str) -> Option<String> {
    let probe: Value = serde_json::from_str(probe).ok()?;
    probe.get("id")?.as_str().map(str::to_owned)
}

/// A definition whose id is none of those known.
fn with_new_id(probe: String, known: &mut HashSet<String>) -> String {
    let Some(id) = id_of(&probe) else { return probe };
    let mut new = id.clone();
    while known.contains(&new) {
        new.push_str("#2");
    }
    known.insert(new.clone());
    if new == id {
        return probe;
    }
    // All other fields stay as they are written.
    let renamed = serde_json::value::to_raw_value(&new).and_then(|new| {
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(&probe)?;
        fields.insert("id".to_owned(), &new);
        serde_json::to_string(&fields)
    });
    renamed.unwrap_or(probe)
}

fn json_file(file: &str) -> Result<String, String> {
    match file {
        "" => Err("--json is given no file: write a path, or - for standard output".to_owned()),
        "-" => Ok(file.to_owned()),
        _ => absolute("--json", file),
    }
}

fn rate(text: &str) -> Result<Value, String> {
    if text == "all" {
        return Ok(text.into());
    }
    let rate = text.parse::<f64>().ok().filter(|rate| rate.is_finite() && *rate >= 0.0);
    rate.map(Value::from).ok_or_else(|| format!("--rate {text}: it is neither a number of hits per second nor all"))
}

/// Two probes on one place need two ids.
fn number_twins(probes: &mut [Inline]) {
    let mut seen: HashMap<String, u32> = HashMap::new();
    for probe in probes {
        let count = seen.entry(probe.id.clone()).or_default();
        *count += 1;
        if *count > 1 {
            probe.id = format!("{}#{count}", probe.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Around, Manner, OPTIONS, Run, Typed, help, id_of, read};
    use serde_json::{Value, json};
    use std::ffi::OsString;
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::ffi::OsStringExt as _;

    const MANNER: Manner = Manner {
        program: "npx stroboscope",
        example: "app.js",
        line: "shop/cart.js:48",
        method: "FILE:NAME",
        method_example: "shop/cart.js:Cart.total",
        methods_by_file: true,
        suffix: ".js",
        commands: "COMMAND is any program.",
        examples: &["--at app.js:1 -- app.js"],
    };

    fn typed(words: &[&str]) -> Result<Run, String> {
        with(words.iter().map(OsString::from).collect())
    }

    fn with(mut words: Vec<OsString>) -> Result<Run, String> {
        words.insert(0, "run".into());
        match read(&words, &MANNER, Around { has_command: true, ..Around::default() })? {
            Typed::Run(run) | Typed::Explain(run) => Ok(run),
            Typed::Show(text) => Err(text),
        }
    }

    fn read_back(run: &Run) -> Vec<Value> {
        run.probes.iter().map(|probe| serde_json::from_str(probe).unwrap()).collect()
    }

    #[test]
    fn options_belong_to_the_probe_before_them() {
        let run = typed(&["--at", "a.js:1", "--log", "x {y}", "--when=y > 1", "--method", "b.js:C.m", "--rate", "2"]);
        let first = json!({ "id": "a.js:1", "type": "LOG_PROBE", "where": { "sourceFile": "a.js", "lines": ["1"] },
            "template": "x {y}", "when": { "dsl": "y > 1" } });
        let second = json!({ "id": "b.js:C.m", "type": "LOG_PROBE",
            "where": { "sourceFile": "b.js", "methodName": "C.m" }, "captureSnapshot": true,
            "sampling": { "snapshotsPerSecond": 2.0 } });
        assert_eq!(read_back(&run.unwrap()), [first, second]);
        let run = typed(&["--metric", "@duration", "--when", "n > 1", "--method", "b.js:m", "--rate", "all"]).unwrap();
        let metric = json!({ "id": "b.js:m", "type": "METRIC_PROBE", "kind": "HISTOGRAM", "metricName": "@duration",
            "value": { "dsl": "@duration" }, "where": { "sourceFile": "b.js", "methodName": "m" }, "when": { "dsl": "n > 1" } });
        assert_eq!(read_back(&run), [metric]);
        // Before the only probe they can belong to no other one.
        let run = typed(&["--log", "x", "--at", "a.js:1"]).unwrap();
        assert_eq!(read_back(&run)[0]["template"], "x");
    }

    #[test]
    fn two_probes_on_one_place_have_two_ids() {
        let run = typed(&["--at", "a.js:1", "--at", "a.js:1", "--rate", "all"]).unwrap();
        let probes = read_back(&run);
        assert_eq!((&probes[0]["id"], &probes[1]["id"]), (&json!("a.js:1"), &json!("a.js:1#2")));
        assert_eq!(run.settings, [("rate_limits".to_owned(), "off".to_owned())]);
        assert_eq!(probes[1].get("sampling"), None);
    }

    #[test]
    fn a_file_that_is_here_is_named_whole() {
        let run = typed(&["--at", "src/../Cargo.toml:3", "--json", "-"]).unwrap();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(read_back(&run)[0]["where"]["sourceFile"], file);
        assert_eq!(run.settings, [("ndjson".to_owned(), "-".to_owned())]);
    }

    #[test]
    fn bytes_that_are_no_text_spoil_their_own_probe_only() {
        let words = ["--at".into(), OsString::from_vec(b"caf\xE9.js:3".to_vec()), "--at".into(), "a.js:1".into()];
        let run = with(words.to_vec()).unwrap();
        let whole = r#"{"captureSnapshot":true,"id":"caf\\xe9.js:3","type":"LOG_PROBE","where":{"lines":["3"],"sourceFile":"caf\udce9.js"}}"#;
        assert_eq!(run.probes[0], whole);
        assert_eq!(id_of(&run.probes[1]).as_deref(), Some("a.js:1"));
        let error = with(words[1..2].to_vec()).unwrap_err();
        assert!(error.starts_with("caf\\xe9.js:3: write the command after --"), "{error}");
    }

    #[test]
    fn a_command_within_another_one_is_for_the_same_program() {
        let outer = typed(&["--at", "a.js:1", "--rate", "all", "--json", "/tmp/outer"]).unwrap();
        let words = ["run", "--at", "a.js:1", "--at", "b.js:1", "--json", "-"];
        let around = Around { has_command: true, outer: Some(outer), ..Around::default() };
        let Ok(Typed::Run(both)) = read(&words, &MANNER, around) else { panic!("it is a command") };
        let ids: Vec<String> = both.probes.iter().filter_map(|probe| id_of(probe)).collect();
        assert_eq!(ids, ["a.js:1", "a.js:1#2", "b.js:1"]);
        let said = |option: &str, value: &str| (option.to_owned(), value.to_owned());
        assert_eq!(both.settings, [said("rate_limits", "off"), said("ndjson", "-")]);
    }

    #[test]
    fn a_pipe_is_read_at_once() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(br#"[{"id": "big", "n": 123456789012345678901234567890}]"#).unwrap();
        drop(writer);
        let run = typed(&["--probes", &format!("/proc/self/fd/{}", reader.as_raw_fd())]).unwrap();
        assert_eq!(run.probes, [r#"{"id": "big", "n": 123456789012345678901234567890}"#]);
        assert_eq!(run.settings, []);
    }

    #[test]
    fn to_explain_is_to_run_or_to_look_at_files_alone() {
        let read = |has_command| {
            read(&["explain", "--at", "a.js:1"], &MANNER, Around { has_command, ..Around::default() }).unwrap()
        };
        let Typed::Run(run) = read(true) else { panic!("there is a command") };
        assert_eq!((run.settings.as_slice(), run.probes.len()), (&[("explain".to_owned(), "on".to_owned())][..], 1));
        let Typed::Explain(alone) = read(false) else { panic!("there is no command") };
        assert_eq!((alone.settings.as_slice(), alone.probes), (&[][..], run.probes));
    }

    #[test]
    fn what_is_no_command_says_so() {
        let read = |words: &[&str]| read(words, &MANNER, Around { file_is_set: true, ..Around::default() });
        let none = "no command: write it after --, as in: npx stroboscope run --at app.js:12 -- app.js";
        assert_eq!(read(&["run"]).unwrap_err(), none);
        let other = "watch is no command of stroboscope: npx stroboscope run --help says what there is";
        assert_eq!(read(&["watch"]).unwrap_err(), other);
        for words in [&[][..], &["-h"], &["run", "--help"]] {
            assert_eq!(read(words), Ok(Typed::Show(help(&MANNER))));
        }
        assert_eq!(read(&["run", "--version"]), read(&["--version"]));
        assert_eq!(read(&["--version"]), Ok(Typed::Show(format!("stroboscope {}\n", env!("CARGO_PKG_VERSION")))));
    }

    #[test]
    fn the_help_names_each_option() {
        let text = help(&MANNER);
        for option in OPTIONS {
            assert!(text.lines().any(|line| line.trim_start().starts_with(option)), "{option}: {text}");
        }
        assert!(text.ends_with("  npx stroboscope run --at app.js:1 -- app.js\n"), "{text}");
    }

    #[test]
    fn what_cannot_be_read_says_what_to_write() {
        for (words, text) in [
            (&[][..], "nothing to watch: give --at FILE:LINE, --method FILE:NAME or --probes FILE"),
            (&["--at", "a.js"], "--at a.js: write FILE:LINE, for example shop/cart.js:48"),
            (&["--at", "a.js:1:2"], "--at a.js:1:2: write FILE:LINE, without a column: --at a.js:1"),
            (&["--at"], "--at is given no value"),
            (&["--at", "a.js:1", "--log", "--capture"], "--log is given no value"),
            (&["--method", "total"], "--method total: write FILE:NAME, for example shop/cart.js:Cart.total"),
            (&["--log", "x", "--at", "a.js:1", "--at", "b.js:1"], "--log needs a probe before it: write it after"),
            (&["--at", "a.js:1", "--log", "x", "--log", "y"], "--log is given twice for a.js:1"),
            (&["--at", "a.js:1", "--when", " "], "--when of a.js:1 is empty: write a condition"),
            (&["--at", "a.js:1", "--log", ""], "--log of a.js:1 is empty: write a message"),
            (&["--at", "a.js:1", "--metric", ""], "--metric of a.js:1 is empty: write what is measured"),
            (&["--at", "a.js:1", "--metric", "n", "--capture"], "--capture does not go with --metric of a.js:1: write"),
            (&["--at", "a.js:1", "--metric", "n", "--rate", "2"], "--rate does not go with --metric of a.js:1: write"),
            (&["--at", "a.js:1", "--rate", "nan"], "--rate nan: it is neither a number"),
            (&["--at", "a.js:1", "--json", ""], "--json is given no file: write a path, or -"),
            (&["--at", "a.js:1", "--json", "x", "--json", "y"], "--json is given twice"),
            (&["--probes", "/no/such", "--probes", "y"], "--probes /no/such: no such file"),
            (&["--probes", "Cargo.toml", "--probes", "y"], "--probes is given twice"),
            (&["--probes", "/no/such"], "--probes /no/such: no such file"),
            (&["--probes", "/"], "--probes / is a folder: name a file in it"),
            (
                &["--at", "a.js:1", "app.js", "-x"],
                "app.js -x: write the command after --, as in: npx stroboscope run --at … -- app.js -x",
            ),
            (&["--att", "a.js:1"], "unknown option --att: npx stroboscope run --help says which there are"),
        ] {
            let error = typed(words).unwrap_err();
            assert!(error.starts_with(text), "{words:?}: {error}");
        }
    }
}

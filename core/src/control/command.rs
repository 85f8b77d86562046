//! What a person types behind `run`: options become probe definitions and settings. The beginning of the walk of a
//! configuration going in; a binding then starts the program with what is read here. Only what a binding calls things is its
//! own ([`Manner`]).

use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

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
}

/// What was typed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// The probes, as definitions.
    pub probes: Vec<Value>,
    /// The settings, by option name.
    pub settings: Vec<(&'static str, String)>,
}

/// A probe that is typed on the command line.
struct Inline {
    id: String,
    place: Value,
    given: Map<String, Value>,
}

impl Inline {
    fn give(&mut self, option: &str, value: Value) -> Result<(), String> {
        if option == "--when" && value.as_str().is_some_and(|text| text.trim().is_empty()) {
            let id = &self.id;
            return Err(format!(
                "--when of {id} is empty: write a condition, for example 'len(lines) > 20', or leave it out"
            ));
        }
        if self.given.insert(option.to_owned(), value).is_some() {
            return Err(format!("{option} is given twice for {}", self.id));
        }
        Ok(())
    }

    fn definition(self) -> Value {
        let given = |option: &str| self.given.get(option);
        let mut made = json!({ "id": self.id, "type": "LOG_PROBE", "where": self.place });
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
        made
    }
}

/// Reads what stands before `--`. `file_is_set`: the environment names a probe file.
///
/// # Errors
/// What is wrong with it, in a sentence that says what to write instead.
pub fn read(words: &[String], manner: &Manner, file_is_set: bool) -> Result<Run, String> {
    let mut probes: Vec<Inline> = Vec::new();
    let mut early: Vec<(String, Value)> = Vec::new();
    let mut run = Run::default();
    let mut rates_are_off = false;
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
        if !matches!(option, "--at" | "--method" | "--log" | "--when" | "--rate" | "--probes" | "--json") {
            return Err(unknown(word, manner));
        }
        let value = joined.or_else(|| words.next().cloned()).ok_or_else(|| format!("{option} is given no value"))?;
        match option {
            "--at" => probes.push(inline(&value, at(&value, manner)?)),
            "--method" => probes.push(inline(&value, method(&value, manner)?)),
            "--probes" => once(&mut run, option, "probe_file", probe_file(&value)?)?,
            "--json" => once(&mut run, option, "ndjson", json_file(&value)?)?,
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
    if probes.is_empty() && !file_is_set && !run.settings.iter().any(|(option, _)| *option == "probe_file") {
        return Err(format!("nothing to watch: give --at FILE:LINE, --method {} or --probes FILE", manner.method));
    }
    if rates_are_off {
        run.settings.push(("rate_limits", "off".to_owned()));
    }
    number_twins(&mut probes);
    run.probes = probes.into_iter().map(Inline::definition).collect();
    Ok(run)
}

fn unknown(word: &str, manner: &Manner) -> String {
    if word.starts_with("--") {
        return format!("unknown option {word}: {} run --help says which there are", manner.program);
    }
    format!("{word}: write the command after --, as in: {} run --at … -- {word}", manner.program)
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

fn once(run: &mut Run, option: &str, setting: &'static str, value: String) -> Result<(), String> {
    if run.settings.iter().any(|(known, _)| *known == setting) {
        return Err(format!("{option} is given twice"));
    }
    run.settings.push((setting, value));
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
    if before.is_some() && !Path::new(file).exists() {
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
    Ok(json!({ "typeName": unit, "methodName": name }))
}

/// A file that is here means that very file, even if another one of the same name is loaded too.
fn whole(option: &str, file: &str) -> Result<String, String> {
    if Path::new(file).is_file() { absolute(option, file) } else { Ok(file.to_owned()) }
}

fn absolute(option: &str, path: &str) -> Result<String, String> {
    let whole = std::path::absolute(path).map_err(|_| {
        format!("{option} {path}: the working folder is gone; go into one that is there, or write the whole path")
    })?;
    Ok(whole.to_string_lossy().into_owned())
}

fn probe_file(path: &str) -> Result<String, String> {
    if Path::new(path).is_dir() {
        return Err(format!("--probes {path} is a folder: name a file in it"));
    }
    if !Path::new(path).exists() {
        return Err(format!("--probes {path}: no such file"));
    }
    absolute("--probes", path)
}

fn json_file(path: &str) -> Result<String, String> {
    match path {
        "" => Err("--json is given no file: write a path, or - for standard output".to_owned()),
        "-" => Ok(path.to_owned()),
        _ => absolute("--json", path),
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
    use super::{Manner, Run, read};
    use serde_json::json;

    const MANNER: Manner = Manner {
        program: "npx stroboscope",
        example: "app.js",
        line: "shop/cart.js:48",
        method: "FILE:NAME",
        method_example: "shop/cart.js:Cart.total",
        methods_by_file: true,
    };

    fn typed(words: &[&str]) -> Result<Run, String> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        read(&words, &MANNER, false)
    }

    #[test]
    fn options_belong_to_the_probe_before_them() {
        let run = typed(&["--at", "a.js:1", "--log", "x {y}", "--when=y > 1", "--method", "b.js:C.m", "--rate", "2"]);
        let first = json!({ "id": "a.js:1", "type": "LOG_PROBE", "where": { "sourceFile": "a.js", "lines": ["1"] },
            "template": "x {y}", "when": { "dsl": "y > 1" } });
        let second = json!({ "id": "b.js:C.m", "type": "LOG_PROBE",
            "where": { "sourceFile": "b.js", "methodName": "C.m" }, "captureSnapshot": true,
            "sampling": { "snapshotsPerSecond": 2.0 } });
        assert_eq!(run.unwrap().probes, [first, second]);
        // Before the only probe they can belong to no other one.
        assert_eq!(typed(&["--log", "x", "--at", "a.js:1"]).unwrap().probes[0]["template"], "x");
    }

    #[test]
    fn two_probes_on_one_place_have_two_ids() {
        let run = typed(&["--at", "a.js:1", "--at", "a.js:1", "--rate", "all"]).unwrap();
        assert_eq!((&run.probes[0]["id"], &run.probes[1]["id"]), (&json!("a.js:1"), &json!("a.js:1#2")));
        assert_eq!(run.settings, [("rate_limits", "off".to_owned())]);
        assert_eq!(run.probes[1].get("sampling"), None);
    }

    #[test]
    fn a_file_that_is_here_is_named_whole() {
        let run = typed(&["--at", "Cargo.toml:3", "--json", "-"]).unwrap();
        assert_eq!(run.probes[0]["where"]["sourceFile"], concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
        assert_eq!(run.settings, [("ndjson", "-".to_owned())]);
    }

    #[test]
    fn what_cannot_be_read_says_what_to_write() {
        for (words, text) in [
            (&[][..], "nothing to watch: give --at FILE:LINE, --method FILE:NAME or --probes FILE"),
            (&["--at", "a.js"], "--at a.js: write FILE:LINE, for example shop/cart.js:48"),
            (&["--at", "a.js:1:2"], "--at a.js:1:2: write FILE:LINE, without a column: --at a.js:1"),
            (&["--at"], "--at is given no value"),
            (&["--method", "total"], "--method total: write FILE:NAME, for example shop/cart.js:Cart.total"),
            (&["--log", "x", "--at", "a.js:1", "--at", "b.js:1"], "--log needs a probe before it: write it after"),
            (&["--at", "a.js:1", "--log", "x", "--log", "y"], "--log is given twice for a.js:1"),
            (&["--at", "a.js:1", "--when", " "], "--when of a.js:1 is empty: write a condition"),
            (&["--at", "a.js:1", "--rate", "nan"], "--rate nan: it is neither a number"),
            (&["--at", "a.js:1", "--json", ""], "--json is given no file: write a path, or -"),
            (&["--at", "a.js:1", "--json", "x", "--json", "y"], "--json is given twice"),
            (&["--probes", "/no/such"], "--probes /no/such: no such file"),
            (&["--probes", "/"], "--probes / is a folder: name a file in it"),
            (
                &["--at", "a.js:1", "app.js"],
                "app.js: write the command after --, as in: npx stroboscope run --at … -- app.js",
            ),
            (&["--att", "a.js:1"], "unknown option --att: npx stroboscope run --help says which there are"),
        ] {
            let error = typed(words).unwrap_err();
            assert!(error.starts_with(text), "{words:?}: {error}");
        }
    }
}

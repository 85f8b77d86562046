//! Programs that do the same with guards, with variants, and with both coming and going: each is run by Node in all these
//! ways, and what its probes see is compared with what they should.

#![allow(
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::format_push_string,
    reason = "a test has its own files, and names the Nodes to run"
)]

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use stroboscope_rewriter::{Module, Point, SourceKind, guarded};

const CELL: &str = "$strobe_test";

/// Code at a point that hands over all that is visible there.
fn code(module: &Module, at: usize, point: Point) -> String {
    let scope = module.scope(at, point);
    let mut values: Vec<String> =
        scope.variables.iter().map(|variable| format!("{}:{}", json!(variable.name), variable.text)).collect();
    values.extend(scope.this.iter().map(|this| format!("\"this\":{this}")));
    // Of the private fields those of the object whose method it is.
    if let Some(this) = &scope.this {
        let own = |(name, reader): &(String, String)| format!("{}:$s.of({this},{reader})", json!(name));
        values.extend(scope.privates.iter().map(own));
    }
    let (kind, line, value) = match point {
        Point::Entry => ("entry", 0, ""),
        Point::Line(site) => {
            let statement = module.functions()[at].statements.iter().find(|statement| statement.site == site);
            ("line", statement.expect("the site is one of the function").line, "")
        }
        Point::Return => ("return", 0, ",$s_r"),
        Point::Throw => ("throw", 0, ",$s_e"),
    };
    format!("if($s.on)$s.hit({at},\"{kind}\",{line},{{__proto__:null,{}}}{value})", values.join(","))
}

fn points(module: &Module, at: usize, how: &str) -> Vec<(Point, String)> {
    let mut points = Vec::new();
    if how == "entry" || how == "all" || how == "exits" {
        points.push(Point::Entry);
    }
    if how == "lines" || how == "all" {
        points.extend(module.functions()[at].statements.iter().map(|statement| Point::Line(statement.site)));
    }
    if how == "exits" || how == "all" {
        points.extend([Point::Return, Point::Throw]);
    }
    points.into_iter().map(|point| (point, code(module, at, point))).collect()
}

fn variants(module: &Module, how: &str) -> Vec<Value> {
    let one = |at: usize| {
        if module.functions()[at].why_not.is_some() {
            return Value::Null;
        }
        let points = points(module, at, how);
        let points: Vec<(Point, &str)> = points.iter().map(|(point, code)| (*point, code.as_str())).collect();
        match module.variant(at, CELL, &points) {
            Ok(variant) => json!({ "code": variant.code, "firstLine": variant.first_line, "rethrow": variant.rethrow }),
            Err(error) => {
                let function = &module.functions()[at];
                // A variable and a function of one name cannot be in one block.
                assert!(how != "lines" && how != "entry", "{} (line {}): {error}", function.name, function.first);
                Value::Null
            }
        }
    };
    (0..module.functions().len()).map(one).collect()
}

fn nodes() -> Vec<String> {
    let found = std::env::var("STROBE_TEST_NODES").unwrap_or_else(|_| "node".to_owned());
    found.split_whitespace().map(str::to_owned).collect()
}

/// Runs a program in one way on each Node; what the probes saw.
fn run(file: &Path, kind: SourceKind, how: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(file).expect("the program can be read");
    let module = Module::read(&text, kind).expect("the program can be parsed");
    let guarded = guarded(&text, kind, CELL).expect("the guards can be parsed");
    assert_eq!(guarded.code.lines().count(), text.lines().count(), "a line more or less");
    let functions: Vec<Value> =
        module.functions().iter().map(|function| json!({ "qualified": function.qualified })).collect();
    let job = json!({
        "file": file, "cell": CELL, "original": text, "guarded": guarded.code, "functions": functions,
        "kind": if kind == SourceKind::Esm { "esm" } else { "commonjs" }, "variants": variants(&module, how),
    });
    let folder = std::env::temp_dir().join(format!("strobe-rewriter-{}-{how}-{kind:?}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder for the job");
    let at = folder.join("job.json");
    std::fs::write(&at, job.to_string()).expect("the job can be written");
    let harness = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/harness.cjs");
    let mut seen = Vec::new();
    for node in nodes() {
        let out = Command::new(&node).arg(&harness).arg(&at).output().expect("node is there");
        let errors = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{} {how} on {node}:\n{errors}", file.display());
        let line = String::from_utf8_lossy(&out.stdout);
        seen.push(serde_json::from_str(&line).expect("the harness prints JSON"));
    }
    std::fs::remove_dir_all(&folder).expect("the folder goes");
    seen
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name)
}

#[test]
fn all_forms_of_functions_stay_what_they_are() {
    for how in ["entry", "lines", "exits", "all"] {
        for seen in run(&program("forms.cjs"), SourceKind::CommonJs, how) {
            assert!(seen.as_array().expect("a list of hits").len() > 100, "{how}");
        }
    }
}

#[test]
fn a_module_stays_what_it_is() {
    for how in ["entry", "lines", "exits", "all"] {
        for seen in run(&program("module.mjs"), SourceKind::Esm, how) {
            assert!(seen.as_array().expect("a list of hits").len() > 10, "{how}");
        }
    }
}

/// What the probes of `seen.cjs` see: each hit as `function kind line`, and values after it.
#[test]
fn probes_see_what_is_there() {
    let file = program("seen.cjs");
    let expected = std::fs::read_to_string(program("seen.txt")).expect("the expectation can be read");
    for seen in run(&file, SourceKind::CommonJs, "all") {
        let hits = seen.as_array().expect("a list of hits").iter().map(|hit| {
            let mut line =
                format!("{} {}", hit["function"].as_str().expect("a name"), hit["kind"].as_str().expect("a kind"));
            if hit["line"] != 0 {
                line += &format!(" {}", hit["line"]);
            }
            line += &format!(" {}", hit["values"]);
            if !hit["value"].is_null() {
                line += &format!(" -> {}", hit["value"]);
            }
            line + "\n"
        });
        let hits: String = hits.collect();
        if std::env::var_os("STROBE_TEST_ACCEPT").is_some() {
            std::fs::write(program("seen.txt"), &hits).expect("the expectation can be written");
        } else {
            assert_eq!(hits, expected);
        }
    }
}

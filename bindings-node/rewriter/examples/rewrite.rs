//! Rewrites a file: `rewrite KIND CELL HOW FILE` prints JSON with the text that has guards, and the variant of each function
//! with code that counts. KIND is `script`, `commonjs` or `esm`; HOW is `none`, `entry`, `lines`, `exits` or `all`. For trying
//! out what the rewriter does to a program; the tests run programs through it.

#![allow(
    clippy::panic,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::unchecked_time_subtraction,
    clippy::print_stdout,
    reason = "a tool for people who work on the rewriter"
)]

use std::time::Instant;
use stroboscope_rewriter::{Module, Point, SourceKind, guarded};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, cell, how, file] = &arguments[..] else {
        panic!("usage: rewrite script|commonjs|esm CELL none|entry|lines|exits|all FILE");
    };
    let kind = match kind.as_str() {
        "script" => SourceKind::Script,
        "commonjs" => SourceKind::CommonJs,
        "esm" => SourceKind::Esm,
        other => panic!("no kind {other}"),
    };
    let text = std::fs::read_to_string(file).expect("the file can be read");
    let begin = Instant::now();
    let guarded = guarded(&text, kind, cell).expect("the file can be parsed, and with guards too");
    let guards = begin.elapsed();
    let begin = Instant::now();
    let module = Module::read(&text, kind).expect("the file can be parsed");
    let read = begin.elapsed();
    let begin = Instant::now();
    let functions: Vec<_> = (0..module.functions().len()).map(|at| describe(&module, at, cell, how)).collect();
    let variants = begin.elapsed();
    let out = serde_json::json!({
        "code": guarded.code,
        "functions": functions,
        "readMs": read.as_secs_f64() * 1e3,
        "guardMs": guards.as_secs_f64() * 1e3,
        "variantsMs": variants.as_secs_f64() * 1e3,
    });
    println!("{out}");
}

fn describe(module: &Module, at: usize, cell: &str, how: &str) -> serde_json::Value {
    let function = &module.functions()[at];
    let points = points(module, at, how);
    let points: Vec<(Point, &str)> = points.iter().map(|(point, code)| (*point, code.as_str())).collect();
    let mut out = serde_json::json!({
        "name": function.name,
        "qualified": function.qualified,
        "first": function.first,
        "whyNot": function.why_not,
        "lines": function.statements.iter().map(|statement| statement.line).collect::<Vec<_>>(),
    });
    if function.why_not.is_some() || how == "none" {
        return out;
    }
    match module.variant(at, cell, &points) {
        Ok(variant) => {
            out["variant"] = variant.code.into();
            out["firstLine"] = variant.first_line.into();
        }
        Err(error) => out["error"] = error.to_string().into(),
    }
    out
}

/// Code at each point that reads all that is visible there.
fn points(module: &Module, at: usize, how: &str) -> Vec<(Point, String)> {
    let function = &module.functions()[at];
    let mut points = Vec::new();
    if matches!(how, "entry" | "all" | "exits") {
        points.push(Point::Entry);
    }
    if matches!(how, "lines" | "all") {
        points.extend(function.statements.iter().map(|statement| Point::Line(statement.site)));
    }
    if matches!(how, "exits" | "all") {
        points.extend([Point::Return, Point::Throw]);
    }
    points.into_iter().map(|point| (point, code(module, at, point))).collect()
}

fn code(module: &Module, at: usize, point: Point) -> String {
    let scope = module.scope(at, point);
    let mut values: Vec<String> =
        scope.variables.iter().map(|variable| format!("{:?}:{}", variable.name, variable.text)).collect();
    values.extend(scope.this.map(|this| format!("this:{this}")));
    let (kind, line) = match point {
        Point::Entry => ("entry", 0),
        Point::Line(site) => {
            let statements = &module.functions()[at].statements;
            ("line", statements.iter().find(|statement| statement.site == site).map_or(0, |statement| statement.line))
        }
        Point::Return => ("return", 0),
        Point::Throw => ("throw", 0),
    };
    let value = match point {
        Point::Return => ",$s_r",
        Point::Throw => ",$s_e",
        _ => "",
    };
    format!("if($s.on)$s.hit({at},\"{kind}\",{line},{{__proto__:null,{}}}{value})", values.join(","))
}

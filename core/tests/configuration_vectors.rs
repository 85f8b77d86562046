//! Runs the vectors of definitions, locations and statuses: `tests/vectors/{definitions,locations,statuses}.json`. One
//! function for each kind of vector; each says what differs.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Duration;
use stroboscope_core::emit::status::Board;
use stroboscope_core::expr::template::{Segment, Template};
use stroboscope_core::host::{Capabilities, Language};
use stroboscope_core::probe::compile::{compile, not_yet};
use stroboscope_core::probe::location::{self, Candidate, Choice, Function, FunctionKind, Statement};
use stroboscope_core::probe::model::{Kind, Location, Probe, ServiceConfiguration};
use stroboscope_core::probe::wire::{self, Body};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    sources: Map<String, Value>,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    kind: String,
    /// As it is written, so that numbers and repeated fields stay what they are.
    #[serde(default)]
    definition: Option<Box<RawValue>>,
    expect: Value,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

type Outcome = Result<(), String>;

fn run(file: &str, at_least: usize, kinds: &[(&str, fn(&Vector, &File) -> Outcome)]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let file: File = serde_json::from_str(&text).unwrap();
    let mut failures = Vec::new();
    for vector in &file.vectors {
        let check = kinds.iter().find(|(kind, _)| *kind == vector.kind);
        let outcome =
            check.map_or_else(|| Err(format!("no such kind: {}", vector.kind)), |(_, run)| run(vector, &file));
        if let Err(why) = outcome {
            failures.push(format!("{}: {why}", vector.name));
        }
    }
    println!("{} passed, {} failed", file.vectors.len() - failures.len(), failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(file.vectors.len() >= at_least, "only {} vectors", file.vectors.len());
}

#[test]
fn definitions() {
    run("definitions.json", 317, &[("definition", definition), ("file", file)]);
}

#[test]
fn locations() {
    run("locations.json", 71, &[("path", path), ("line", line)]);
}

#[test]
fn statuses() {
    run("statuses.json", 25, &[("status", status)]);
}

fn same(what: &str, expected: &Value, found: &Value) -> Outcome {
    if expected == found { Ok(()) } else { Err(format!("{what}\n  expected {expected}\n  found    {found}")) }
}

fn capabilities(vector: &Vector) -> Capabilities {
    let language = match vector.rest.get("language").and_then(Value::as_str) {
        None | Some("python") => Language::Python,
        Some("java") => Language::Java,
        Some("javascript") => Language::JavaScript,
        Some(_) => Language::Other("ruby"),
    };
    let flag = |name: &str| vector.rest.get(name).and_then(Value::as_bool).unwrap_or(true);
    Capabilities {
        language,
        methods: flag("methods"),
        module_lines: flag("moduleLines"),
        disarm: true,
        capture_timeout_ms: 100,
    }
}

fn definition(vector: &Vector, _: &File) -> Outcome {
    let text = vector.definition.as_ref().ok_or("no definition")?.get();
    let config_id = vector.rest.get("config_id").and_then(Value::as_str);
    let expect = &vector.expect;
    let read = match (wire::read_definition(text, config_id), expect["rejected"].as_bool()) {
        (Ok(read), None) => read,
        (Ok(_), Some(_)) => return Err("it is read, but should not be".to_owned()),
        (Err(rejected), None) => return Err(format!("it is not read: {}", rejected.text)),
        (Err(rejected), Some(_)) => {
            same("id", &expect["id"], &json!(rejected.id))?;
            if let Some(field) = expect["field"].as_str()
                && !rejected.text.starts_with(&format!("Field '{field}' "))
            {
                return Err(format!("the field {field} is not named: {}", rejected.text));
            }
            return expect.get("error").map_or(Ok(()), |error| same("error", error, &json!(rejected.text)));
        }
    };
    if let Some(service) = expect.get("service") {
        let Body::Service(made) = &read.body else { return Err("no service configuration".to_owned()) };
        return same("service", service, &service_view(made));
    }
    let probe = match compile(&read, &|_| false, &capabilities(vector)) {
        Ok(probe) => probe,
        Err(error) => return refused(expect, &error.text),
    };
    let Some(wanted) = expect["probe"].as_object() else { return Err("it compiles, but should not".to_owned()) };
    let view = probe_view(&probe);
    wanted.iter().try_for_each(|(name, value)| same(name, value, &view[name]))
}

fn refused(expect: &Value, text: &str) -> Outcome {
    if expect.get("probe").is_some() {
        return Err(format!("it does not compile: {text}"));
    }
    if let Some(error) = expect.get("error") {
        return same("error", error, &json!(text));
    }
    let (begins, ends) = (expect["begins"].as_str().ok_or("no error")?, expect["ends"].as_str().ok_or("no error")?);
    if text.starts_with(begins) && text.ends_with(ends) { Ok(()) } else { Err(format!("another error: {text}")) }
}

fn service_view(service: &ServiceConfiguration) -> Value {
    json!({
        "allow": [service.allow.prefixes, service.allow.classes],
        "deny": [service.deny.prefixes, service.deny.classes],
        "rate": service.rate,
    })
}

fn template_view(template: &Template) -> Value {
    let parts = template.segments.iter().map(|segment| match segment {
        Segment::Literal(text) => json!({ "str": text }),
        Segment::Expression(expression) => json!({ "expr": expression.text }),
    });
    parts.collect()
}

fn limits_view(limits: stroboscope_core::capture::limits::Limits) -> Value {
    json!({"depth": limits.depth, "elements": limits.elements, "length": limits.length, "fields": limits.fields})
}

fn probe_view(probe: &Probe) -> Value {
    let mut view = json!({
        "id": probe.id,
        "version": probe.version,
        "location": match &probe.location {
            Location::Lines { file, lines } => json!({"file": file, "lines": lines}),
            Location::Method { type_name, method, signature, file } => {
                json!({"typeName": type_name, "methodName": method, "signature": signature, "file": file})
            }
        },
        "evaluateAt": format!("{:?}", probe.evaluate_at).to_uppercase(),
        "rate": if probe.rate.is_finite() { json!(probe.rate) } else { json!("unlimited") },
        "tags": probe.tags,
        "expiresAt": probe.expires_at,
        "when": probe.when.as_ref().map(|when| &when.text),
        "symbols": probe.symbols,
        "warnings": probe.warnings,
        "notYet": not_yet(&probe.kind),
    });
    let (kind, name, body) = match &probe.kind {
        Kind::Log(log) => {
            let expressions = log
                .expressions
                .iter()
                .map(|one| json!({"name": one.name, "expr": one.expression.text, "limits": limits_view(one.limits)}));
            let expressions: Vec<Value> = expressions.collect();
            let (template, limits) = (template_view(&log.template), limits_view(log.limits));
            let body =
                json!({"template": template, "snapshot": log.snapshot, "limits": limits, "expressions": expressions});
            ("LOG", "log", body)
        }
        Kind::Metric(metric) => {
            let (kind, value) = (format!("{:?}", metric.kind).to_uppercase(), metric.value.as_ref().map(|it| &it.text));
            ("METRIC", "metric", json!({"kind": kind, "name": metric.name, "value": value}))
        }
        Kind::Span => ("SPAN", "span", json!({})),
        Kind::SpanDecoration(decoration) => {
            let decorations = decoration.decorations.iter().map(|one| {
                let tags: Vec<Value> =
                    one.tags.iter().map(|(name, value)| json!([name, template_view(value)])).collect();
                json!({"when": one.when.as_ref().map(|when| &when.text), "tags": tags})
            });
            let decorations: Vec<Value> = decorations.collect();
            let target = format!("{:?}", decoration.target).to_uppercase();
            ("SPAN_DECORATION", "decoration", json!({"target": target, "decorations": decorations}))
        }
    };
    view["kind"] = json!(kind);
    view[name] = body;
    view
}

fn file(vector: &Vector, _: &File) -> Outcome {
    let text = vector.rest["text"].as_str().ok_or("no text")?;
    let found = match wire::read_file(text.as_bytes()) {
        Err(error) => json!({"error": error.text}),
        Ok(file) => {
            let probes = file.probes.iter().map(|read| match read {
                Ok(definition) => json!([definition.id, definition.version, true]),
                Err(rejected) => json!([rejected.id, rejected.version, false]),
            });
            json!({"probes": probes.collect::<Vec<_>>(), "log": file.log.len()})
        }
    };
    same("file", &vector.expect, &found)
}

fn path(vector: &Vector, _: &File) -> Outcome {
    let files = vector.rest["files"].as_array().ok_or("no files")?;
    let candidate = |file: &Value| match file {
        Value::String(path) => Candidate::new(path, false),
        other => Candidate::new(other["path"].as_str().unwrap_or_default(), other["library"] == json!(true)),
    };
    let candidates: Vec<Candidate> = files.iter().map(candidate).collect();
    let found = match location::choose(&candidates, vector.rest["sourceFile"].as_str().ok_or("no sourceFile")?) {
        Choice::File(positions) => json!({"file": positions}),
        Choice::Ambiguous(text) => json!({"ambiguous": text}),
        Choice::None => json!({"none": true}),
    };
    same("choice", &vector.expect, &found)
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn function(value: &Value) -> Function {
    let statements = value["statements"].as_array().unwrap().iter();
    Function {
        name: value["name"].as_str().unwrap().to_owned(),
        kind: match value["kind"].as_str().unwrap() {
            "module" => FunctionKind::Module,
            "class" => FunctionKind::Class,
            "function" => FunctionKind::Function,
            "lambda" => FunctionKind::Lambda,
            "comprehension" => FunctionKind::Comprehension,
            other => panic!("no such kind of function: {other}"),
        },
        first: number(&value["first"]),
        last: number(&value["last"]),
        parent: value["parent"].as_u64().map(|parent| usize::try_from(parent).unwrap()),
        statements: statements.map(|pair| Statement { line: number(&pair[0]), end: number(&pair[1]) }).collect(),
    }
}

fn line(vector: &Vector, file: &File) -> Outcome {
    let source = vector.rest["source"].as_str().and_then(|name| file.sources.get(name)).ok_or("no such source")?;
    let functions: Vec<Function> = source["functions"].as_array().unwrap().iter().map(function).collect();
    let resolved = location::resolve_line(&functions, number(&vector.rest["line"]), &capabilities(vector));
    let found = match resolved {
        Ok(choice) => json!({"functions": choice.functions, "line": choice.line, "note": choice.note}),
        Err(error) => json!({ "error": error }),
    };
    same("line", &vector.expect, &found)
}

fn status(vector: &Vector, _: &File) -> Outcome {
    let mut board = Board::new(Duration::from_secs(vector.rest["interval"].as_u64().ok_or("no interval")?));
    let mut told = Vec::new();
    for step in vector.rest["script"].as_array().ok_or("no script")? {
        let now = step[0].as_u64().ok_or("no time")?;
        let text = |at: usize| step[at].as_str().unwrap_or_default();
        let (id, version) = (text(2), step[3].as_i64().unwrap_or(0));
        match text(1) {
            "received" => board.received(id, version, now),
            "waiting" => board.waiting(id, version, text(4), now),
            "installed" => board.installed(id, version, text(4), now),
            "emitting" => board.emitting(id, version, now),
            "error" => board.error(id, version, text(4), text(5), now),
            "blocked" => board.blocked(id, version, text(4), now),
            "paused" => board.paused(id, version, text(4), now),
            "resumed" => board.resumed(id, version, now),
            "expired" => board.expired(id, version, now),
            "removed" => board.removed(id),
            "repeat" => board.repeat(now),
            "tick" => board.tick(now * 1_000_000, now),
            other => return Err(format!("no such step: {other}")),
        }
        for change in board.drain_changes() {
            let kind = change.exception.map(|exception| exception.kind);
            told.push(json!([change.timestamp, change.id, change.version, change.status.name(), kind]));
        }
    }
    same("statuses", &vector.expect, &Value::Array(told))?;
    let Some(wanted) = vector.rest.get("board") else { return Ok(()) };
    let shown: Map<String, Value> = board.all().map(|(id, entry)| (id.to_owned(), json!(entry.state.name()))).collect();
    same("board", wanted, &Value::Object(shown))
}

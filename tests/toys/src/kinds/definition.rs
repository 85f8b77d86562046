//! `definition` and `file`: what is read of a probe definition and of a probe file, and with which text it is refused.

use crate::runner::{Vector, Verdict};
use serde_json::{Value, json};
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::config::LogStack;
use stroboscope_core::expr::template::{Segment, Template};
use stroboscope_core::host::{Capabilities, Language};
use stroboscope_core::probe::compile::{compile, not_yet};
use stroboscope_core::probe::model::{Kind, Location, Probe, ServiceConfiguration};
use stroboscope_core::probe::wire::{self, Body, Rejected};

/// A field as plain JSON; `null` if it is absent.
pub(super) fn field(vector: &Vector, name: &str) -> Result<Value, String> {
    let read = vector.raw(name).map(serde_json::from_str::<Value>).transpose();
    Ok(read.map_err(|error| format!("{name}: {error}"))?.unwrap_or_default())
}

/// An error unless both are the same.
pub(super) fn same(what: &str, expected: &Value, found: &Value) -> Result<Verdict, String> {
    if expected == found {
        return Ok(Verdict::Passed);
    }
    Err(format!("{what}\n  expected {expected}\n  found    {found}"))
}

/// The runtime that a vector speaks of: Python with everything, but for what it says.
pub(super) fn capabilities(vector: &Vector) -> Result<Capabilities, String> {
    let language = match vector.text("language").as_deref() {
        None | Some("python") => Language::Python,
        Some("java") => Language::Java,
        Some("javascript") => Language::JavaScript,
        Some("ruby") => Language::Other("ruby"),
        Some(other) => return Err(format!("no such language: {other}")),
    };
    let flag = |name: &str| Ok::<bool, String>(field(vector, name)?.as_bool().unwrap_or(true));
    Ok(Capabilities {
        language,
        methods: flag("methods")?,
        metrics: flag("metrics")?,
        spans: flag("spans")?,
        module_lines: flag("moduleLines")?,
        disarm: true,
        capture_timeout_ms: 100,
        log_stack: LogStack::All,
    })
}

/// Checks one definition.
pub fn check(vector: &Vector) -> Result<Verdict, String> {
    let expect = field(vector, "expect")?;
    let text = vector.raw("definition").ok_or("no definition")?;
    let definition = match wire::read_definition(text, vector.text("config_id").as_deref()) {
        Ok(definition) => definition,
        Err(rejected) => return refused_reading(&expect, &rejected),
    };
    if expect.get("rejected").is_some() {
        return Err("it is read, but should not be".to_owned());
    }
    if let Some(service) = expect.get("service") {
        let Body::Service(made) = &definition.body else { return Err("no service configuration".to_owned()) };
        return same("service", service, &service_view(made));
    }
    let capabilities = capabilities(vector)?;
    let probe = match compile(&definition, &|_| false, &capabilities) {
        Ok(probe) => probe,
        Err(error) => return refused_compiling(&expect, &error.text),
    };
    let wanted = expect.get("probe").and_then(Value::as_object).ok_or("it compiles, but should not")?;
    if wanted.is_empty() {
        return Err("nothing is expected of the probe".to_owned());
    }
    let mut view = probe_view(&probe);
    view["notYet"] = json!(not_yet(&probe.kind, &capabilities));
    for (name, value) in wanted {
        same(name, value, view.get(name).ok_or_else(|| format!("a probe has no '{name}'"))?)?;
    }
    Ok(Verdict::Passed)
}

fn refused_reading(expect: &Value, rejected: &Rejected) -> Result<Verdict, String> {
    if expect.get("rejected").is_none() {
        return Err(format!("it is not read: {}", rejected.text));
    }
    same("id", &expect["id"], &json!(rejected.id))?;
    match (expect["field"].as_str(), expect.get("error")) {
        (Some(field), _) if rejected.text.starts_with(&format!("Field '{field}' ")) => Ok(Verdict::Passed),
        (Some(field), _) => Err(format!("the field {field} is not named: {}", rejected.text)),
        (None, Some(error)) => same("error", error, &json!(rejected.text)),
        (None, None) => Err("the vector names neither a field nor an error".to_owned()),
    }
}

fn refused_compiling(expect: &Value, text: &str) -> Result<Verdict, String> {
    if let Some(error) = expect.get("error") {
        return same("error", error, &json!(text));
    }
    match (expect["begins"].as_str(), expect["ends"].as_str()) {
        (Some(begins), Some(ends)) if text.starts_with(begins) && text.ends_with(ends) => Ok(Verdict::Passed),
        _ => Err(format!("it does not compile, or with another error: {text}")),
    }
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

fn limits_view(limits: Limits) -> Value {
    json!({"depth": limits.depth, "elements": limits.elements, "length": limits.length, "fields": limits.fields})
}

fn location_view(location: &Location) -> Value {
    match location {
        Location::Lines { file, lines } => json!({"file": file, "lines": lines}),
        Location::Method { type_name, method, signature, file } => {
            json!({"typeName": type_name, "methodName": method, "signature": signature, "file": file})
        }
    }
}

fn probe_view(probe: &Probe) -> Value {
    let mut view = json!({
        "id": probe.id,
        "version": probe.version,
        "location": location_view(&probe.location),
        "evaluateAt": format!("{:?}", probe.evaluate_at).to_uppercase(),
        "rate": if probe.rate.is_finite() { json!(probe.rate) } else { json!("unlimited") },
        "tags": probe.tags,
        "expiresAt": probe.expires_at,
        "when": probe.when.as_ref().map(|when| &when.text),
        "symbols": probe.symbols,
        "warnings": probe.warnings,
    });
    let (kind, name, body) = kind_view(&probe.kind);
    view["kind"] = json!(kind);
    view[name] = body;
    view
}

fn kind_view(kind: &Kind) -> (&'static str, &'static str, Value) {
    match kind {
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
            let value = metric.value.as_ref().map(|value| &value.text);
            let kind = format!("{:?}", metric.kind).to_uppercase();
            ("METRIC", "metric", json!({"kind": kind, "name": metric.name, "value": value}))
        }
        Kind::Span => ("SPAN", "span", json!({})),
        Kind::SpanDecoration(decoration) => {
            let decorations = decoration.decorations.iter().map(|one| {
                let tags = one.tags.iter().map(|tag| json!([tag.name, template_view(&tag.value)]));
                json!({"when": one.when.as_ref().map(|when| &when.text), "tags": tags.collect::<Vec<_>>()})
            });
            let decorations: Vec<Value> = decorations.collect();
            let target = format!("{:?}", decoration.target).to_uppercase();
            ("SPAN_DECORATION", "decoration", json!({"target": target, "decorations": decorations}))
        }
    }
}

/// Checks one probe file.
pub fn file(vector: &Vector) -> Result<Verdict, String> {
    let text = vector.text("text").ok_or("no text")?;
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
    same("file", &field(vector, "expect")?, &found)
}

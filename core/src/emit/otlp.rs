//! Spans as an OTLP receiver takes them, over HTTP and in JSON: where no Agent listens, and such a receiver does. On the walk of a
//! hit going out, in `sender.rs`: before it [`super::span`].

use super::span::{self, Span};
use crate::error::Result;
use serde_json::{Value, json};

/// The name of the scope.
const SCOPE: &str = "stroboscope";

/// Tags that say something of the process: they stand once, at the resource, by the names that OpenTelemetry has for them.
const RESOURCE: [(&str, &str); 4] = [
    ("env", "deployment.environment.name"),
    ("version", "service.version"),
    ("runtime-id", "service.instance.id"),
    ("language", "telemetry.sdk.language"),
];

/// Tags that only the Agent understands.
const OF_AGENT: [&str; 4] = ["_dd.p.tid", "_dd.p.dm", "_dd.origin", "_dd.tags.process"];

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// The request for a batch of spans of one process.
///
/// # Errors
/// If it is no batch of spans.
pub fn request(body: &[u8]) -> Result<Vec<u8>> {
    let traces = span::read(body)?;
    let spans: Vec<&Span> = traces.iter().flatten().collect();
    let mut resource = Vec::new();
    if let Some(first) = spans.first() {
        resource.push(attribute("service.name", &first.service));
        let of_process = RESOURCE.iter().filter_map(|(tag, key)| Some(attribute(key, first.meta.get(*tag)?)));
        resource.extend(of_process);
    }
    let scope = json!({"name": SCOPE, "version": env!("CARGO_PKG_VERSION")});
    let spans: Vec<Value> = spans.into_iter().map(one).collect();
    let request = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": scope, "spans": spans}],
    }]});
    Ok(request.to_string().into_bytes())
}

fn one(span: &Span) -> Value {
    let hidden = |name: &str| OF_AGENT.contains(&name) || RESOURCE.iter().any(|(tag, _)| *tag == name);
    let own = [("resource.name", &span.resource), ("operation.name", &span.name)];
    let tags = span.meta.iter().filter(|(name, _)| !hidden(name) && !name.starts_with("error."));
    let tags = tags.map(|(name, value)| attribute(name, value));
    let attributes: Vec<Value> = own.into_iter().map(|(name, value)| attribute(name, value)).chain(tags).collect();
    let end = span.start.saturating_add(span.duration);
    let parent = if span.parent_id == 0 { String::new() } else { format!("{:016x}", span.parent_id) };
    let mut made = json!({
        "traceId": span.trace_hex(),
        "spanId": format!("{:016x}", span.span_id),
        "parentSpanId": parent,
        "name": span.name,
        "kind": 1,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
    });
    if span.error != 0 {
        let text = |name: &str| span.meta.get(name).map_or("", String::as_str);
        let (kind, message) = (text("error.type"), text("error.message"));
        let facts = [attribute("exception.type", kind), attribute("exception.message", message)];
        made["events"] = json!([{"timeUnixNano": end.to_string(), "name": "exception", "attributes": facts}]);
        made["status"] = json!({"code": 2, "message": message});
    }
    made
}

#[cfg(test)]
mod tests {
    use super::super::span::SpanBatcher;
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_span_keeps_its_ids_its_tags_and_its_error() {
        let meta = [
            ("env", "e1"),
            ("_dd.p.tid", "00000000000000ab"),
            ("team", "x"),
            ("error.type", "E"),
            ("error.message", "boom"),
        ];
        let made = Span {
            service: "shop".into(),
            name: span::NAME.into(),
            resource: "Order.charge".into(),
            trace_id: 0xcd,
            span_id: 0xef,
            start: 1_790_000_000_123_000_000,
            duration: 690_211,
            error: 1,
            meta: meta.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            ..Span::default()
        };
        let mut batcher = SpanBatcher::new(Duration::ZERO);
        assert!(batcher.push(&made, 0, 0));
        let request: Value = serde_json::from_slice(&request(&batcher.take().unwrap().body).unwrap()).unwrap();
        let all = &request["resourceSpans"][0];
        let attributes = all["resource"]["attributes"].as_array().unwrap();
        assert!(attributes.contains(&attribute("service.name", "shop")));
        assert!(attributes.contains(&attribute("deployment.environment.name", "e1")));
        let span = &all["scopeSpans"][0]["spans"][0];
        assert_eq!(span["traceId"], "00000000000000ab00000000000000cd");
        assert_eq!((&span["spanId"], &span["parentSpanId"]), (&json!("00000000000000ef"), &json!("")));
        assert_eq!(span["startTimeUnixNano"], "1790000000123000000");
        assert_eq!(span["endTimeUnixNano"], "1790000000123690211");
        assert_eq!(span["status"], json!({"code": 2, "message": "boom"}));
        let tags = span["attributes"].as_array().unwrap();
        assert!(tags.contains(&attribute("team", "x")) && tags.contains(&attribute("resource.name", "Order.charge")));
        assert!(!span.to_string().contains("_dd."), "{span}");
    }

    #[test]
    fn what_is_no_batch_is_an_error() {
        for body in [&b""[..], b"\x93", b"[]", b"\xc1"] {
            assert!(request(body).is_err());
        }
    }
}

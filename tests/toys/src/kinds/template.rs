//! `template`: the message of a log template, from the record on.

use crate::event::{self, Hit};
use crate::json::Json;
use crate::runner::{Vector, Verdict};
use crate::value::{Dialect, World};
use serde_json::value::RawValue;
use stroboscope_core::expr::Symbols;
use stroboscope_core::expr::template::{RawSegment, Template};

#[derive(serde::Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    str: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    dsl: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow)]
    json: Option<&'a RawValue>,
}

/// Checks one vector.
pub fn check(vector: &Vector) -> Result<Verdict, String> {
    let dialect = match vector.text("host").as_deref() {
        None => Dialect::Neutral,
        Some("python") => Dialect::Python,
        Some("node") => Dialect::Node,
        Some(_) => return Ok(Verdict::Skipped("for a host that no toy plays".to_owned())),
    };
    let redaction = event::redaction(vector)?;
    let world = World::new(&vector.json("vars")?.unwrap_or(Json::Null), dialect, &redaction)?;
    let raw = vector.raw("segments").ok_or("no segments")?;
    let written: Vec<Written<'_>> = serde_json::from_str(raw).map_err(|error| format!("bad segments: {error}"))?;
    let segments = written.iter().map(|segment| RawSegment {
        fixed: segment.str.as_deref(),
        dsl: segment.dsl.as_deref(),
        json: segment.json.map(RawValue::get),
    });
    let mut symbols = Symbols::default();
    let template = Template::of_segments(segments, &mut symbols, &|name| redaction.name(name));
    let expect = vector.json("expect")?.unwrap_or(Json::Null);
    let template = match template {
        Ok(template) => template,
        Err(_) if expect.get("error").is_some() => return Ok(Verdict::Passed),
        Err(invalid) => return Err(invalid.0),
    };
    let hit = Hit { world: &world, redaction: &redaction, template, symbols: symbols.into_names(), capture: None };
    let event = hit.event()?;
    let json = event::read(&event)?;
    let wanted = expect.get("message").and_then(Json::text).ok_or("no message is expected")?;
    if !fits(wanted, &event.message) || json["message"] != *event.message {
        return Err(format!("expected the message {wanted:?}, got {:?}", event.message));
    }
    let errors = json["debugger"]["snapshot"]["evaluationErrors"].as_array().map_or(0, Vec::len);
    let wanted = expect.get("errors").map_or(0, |errors| errors.elements().len());
    if errors != wanted {
        return Err(format!("expected {wanted} evaluation errors, got {errors}"));
    }
    Ok(Verdict::Passed)
}

/// True if a message is as expected, where `{*}` stands for a brace, any error text and a brace.
fn fits(wanted: &str, message: &str) -> bool {
    let Some((before, after)) = wanted.split_once("{*}") else { return wanted == message };
    let Some(rest) = message.strip_prefix(before).and_then(|rest| rest.strip_prefix('{')) else { return false };
    let ends = rest.match_indices('}').filter_map(|(at, _)| rest.get(at + 1..));
    ends.into_iter().any(|rest| fits(after, rest))
}

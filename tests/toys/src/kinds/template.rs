//! `template`: the message of a log template, from the record on.

use crate::event::{self, Hit, Host};
use crate::json::Json;
use crate::runner::{Vector, Verdict};
use crate::value::{Dialect, World};
use serde_json::value::RawValue;
use stroboscope_core::emit::event::Event;
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
    let wanted = expect.get("errors").map(Json::elements).unwrap_or_default();
    let wanted = wanted.iter().map(|error| error.get("error").and_then(Json::text).unwrap_or_default());
    let (wanted, came): (Vec<&str>, _) = (wanted.collect(), hit.failures());
    if wanted.len() != came.len() || wanted.iter().zip(&came).any(|(wanted, came)| wanted != came && *wanted != "any") {
        return Err(format!("expected errors of the categories {wanted:?}, got {came:?}"));
    }
    let inside = hit.clone().event_of(Host::Inside)?;
    let outside = hit.event_of(Host::Outside)?;
    for (host, event) in [(Host::Inside, &inside), (Host::Outside, &outside)] {
        same(event, &expect).map_err(|error| format!("{host:?}: {error}"))?;
    }
    // A failure has one sentence, whichever host it happened in.
    let errors =
        |event: &Event| event::read(event).map(|json| json["debugger"]["snapshot"]["evaluationErrors"].clone());
    let (inside, outside) = (errors(&inside)?, errors(&outside)?);
    if inside != outside {
        return Err(format!("the hosts fail differently: {inside} inside, {outside} outside"));
    }
    Ok(Verdict::Passed)
}

fn same(event: &Event, expect: &Json) -> Result<(), String> {
    let json = event::read(event)?;
    let wanted = expect.get("message").and_then(Json::text).ok_or("no message is expected")?;
    if !fits(wanted, &event.message) || json["message"] != *event.message {
        return Err(format!("expected the message {wanted:?}, got {:?}", event.message));
    }
    let errors = json["debugger"]["snapshot"]["evaluationErrors"].as_array().map_or(&[][..], Vec::as_slice);
    let errors: Vec<Option<&str>> = errors.iter().map(|error| error["expr"].as_str()).collect();
    let wanted = expect.get("errors").map(Json::elements).unwrap_or_default();
    let wanted: Vec<Option<&str>> = wanted.iter().map(|error| error.get("expr").and_then(Json::text)).collect();
    if errors != wanted {
        return Err(format!("expected evaluation errors of {wanted:?}, got {errors:?}"));
    }
    Ok(())
}

/// True if a message is as expected, where `{*}` stands for a brace, any error text and a brace.
fn fits(wanted: &str, message: &str) -> bool {
    let Some((before, after)) = wanted.split_once("{*}") else { return wanted == message };
    let Some(rest) = message.strip_prefix(before).and_then(|rest| rest.strip_prefix('{')) else { return false };
    let ends = rest.match_indices('}').filter_map(|(at, _)| rest.get(at + 1..));
    ends.into_iter().any(|rest| fits(after, rest))
}

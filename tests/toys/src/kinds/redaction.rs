//! `redaction`: names in several spellings and places; the secret must not be in the event, nor in a message.

use crate::event::{self, Hit};
use crate::json::Json;
use crate::runner::{Vector, Verdict};
use crate::value::{Dialect, World};
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::emit::event::Event;
use stroboscope_core::expr::Symbols;
use stroboscope_core::expr::template::{RawSegment, Template};

const SECRET: &str = "s3cr3t-value";

/// Checks one vector: each name, in each spelling, in each place.
pub fn check(vector: &Vector) -> Result<Verdict, String> {
    let redaction = event::redaction(vector)?;
    let texts = |name: &str| -> Result<Vec<String>, String> {
        let json = vector.json(name)?.ok_or_else(|| format!("no {name}"))?;
        let texts: Vec<String> = json.elements().iter().filter_map(Json::text).map(str::to_owned).collect();
        if texts.is_empty() { Err(format!("no {name}")) } else { Ok(texts) }
    };
    let hidden = vector.json("expect")?.and_then(|expect| expect.get("redacted").cloned());
    let Some(Json::Bool(hidden)) = hidden else { return Err("nothing is expected".to_owned()) };
    for name in texts("names")? {
        for spelling in texts("spellings")? {
            let spelt = spell(&name, &spelling)?;
            for place in texts("places")? {
                in_place(&spelt, &place, &redaction, hidden)
                    .map_err(|error| format!("{spelt:?} as {place}: {error}"))?;
            }
        }
    }
    Ok(Verdict::Passed)
}

fn spell(name: &str, spelling: &str) -> Result<String, String> {
    let (first, rest) = name.split_at(1);
    Ok(match spelling {
        "as it is" => name.to_owned(),
        "upper case" => name.to_uppercase(),
        "snake case" => format!("__{first}_{rest}_"),
        "dashes and dots" => format!("{first}-{}", rest.split_at(1).0.to_owned() + "." + rest.split_at(1).1),
        "dollar and at" => format!("$@{name}"),
        "spaces" => format!("\t{first} {rest} "),
        "symbol" => format!("Symbol({name})"),
        "private" => format!("#{name}"),
        "class and name" => format!("_My__Class__{name}"),
        "longer" => format!("{name}zz"),
        other => return Err(format!("unknown spelling {other}")),
    })
}

fn string(text: &str) -> Json {
    Json::Str(text.to_owned())
}

fn one(name: &str, value: Json) -> Json {
    Json::Object(vec![(name.to_owned(), value)])
}

fn in_place(name: &str, place: &str, redaction: &Redaction, hidden: bool) -> Result<(), String> {
    let object = one(
        "$object",
        Json::Object(vec![("class".to_owned(), string("Holder")), ("fields".to_owned(), one(name, string(SECRET)))]),
    );
    let record = one("$record", one(name, string(SECRET)));
    let read = |of: &str, key: &str| format!("{{\"{of}\": [{{\"ref\": \"v\"}}, {key}]}}");
    let literal = crate::json::quoted(name);
    let (vars, expression) = match place {
        "variable" => (one(name, string(SECRET)), Some(format!("{{\"ref\": {literal}}}"))),
        "field" => (one("v", object), Some("{\"ref\": \"v\"}".to_owned())),
        "member" => (one("v", object), Some(read("getmember", &literal))),
        "key" => (one("v", record), Some("{\"ref\": \"v\"}".to_owned())),
        "index" => (one("v", record), Some(read("index", &literal))),
        "computed index" => (
            Json::Object(vec![("v".to_owned(), record), ("k".to_owned(), string(name))]),
            Some(read("index", "{\"ref\": \"k\"}")),
        ),
        "bytes key" => {
            let hex = name.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
            let entry = Json::Array(vec![one("$bytes", string(&hex)), string(SECRET)]);
            (one("v", one("$map", Json::Array(vec![entry]))), None)
        }
        other => return Err(format!("unknown place {other}")),
    };
    let world = World::new(&vars, Dialect::Neutral, redaction)?;
    let mut symbols = Symbols::default();
    let segments = expression.iter().map(|json| RawSegment { fixed: None, dsl: None, json: Some(json) });
    // Not every spelling is a name in an expression; then there is only the capture.
    let template = Template::of_segments(segments, &mut symbols, &|name| redaction.name(name)).unwrap_or_default();
    let with_message = !template.segments.is_empty();
    let capture = Some(Limits::default());
    let hit = Hit { world: &world, redaction, template, symbols: symbols.into_names(), capture };
    for host in event::HOSTS {
        judged(&hit.clone().event_of(host)?, hidden, with_message).map_err(|error| format!("{host:?}: {error}"))?;
    }
    Ok(())
}

fn judged(event: &Event, hidden: bool, with_message: bool) -> Result<(), String> {
    let json = event::read(event)?;
    let text = json.to_string();
    let marked = event::captured(&json).to_string().contains("redactedIdent");
    if text.contains(SECRET) == hidden {
        return Err(if hidden { format!("the secret leaves: {text}") } else { format!("it was withheld: {text}") });
    }
    if marked != hidden {
        return Err(format!("redactedIdent is {}: {text}", if marked { "there" } else { "missing" }));
    }
    if with_message && event.message.contains("{redacted}") != hidden {
        return Err(format!("the message is {:?}", event.message));
    }
    Ok(())
}

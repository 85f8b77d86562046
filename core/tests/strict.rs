//! Strict capture: whatever a record holds, no value is in it; sizes, types, null-ness and equality are; and what an outside host
//! hands over in clear does not come in.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::capture::strict::Strict;
use stroboscope_core::capture::walk::{self, Deadline, WalkContext};
use stroboscope_core::clock::ManualClock;
use stroboscope_core::config::{CaptureMode, Secret, Settings};
use stroboscope_core::emit::language::Profile;
use stroboscope_core::emit::status::State;
use stroboscope_core::emit::values::value_alone;
use stroboscope_core::expr::template::Template;
use stroboscope_core::host::{Language, Section};
use stroboscope_core::probe::model::{Log, Probe};
use stroboscope_core::probe::wire;
use stroboscope_core::record::names::Tables;
use stroboscope_core::record::read::{Item, Reader};
use stroboscope_core::record::write::{Header, Point, Writer};
use stroboscope_core::text::Text;
use stroboscope_toys::inside::Place;
use stroboscope_toys::json::Json;
use stroboscope_toys::process::{Host, Process};
use stroboscope_toys::runner;
use stroboscope_toys::value::{Dialect, World, bare};

fn world(text: &str) -> World {
    World::new(&Json::read(text).unwrap(), Dialect::Neutral, &Redaction::default()).unwrap()
}

fn strict(mode: CaptureMode) -> Strict {
    Strict::of(mode, Some("key")).unwrap()
}

/// A record of all variables of a world.
fn record(world: &World, strict: Option<&Strict>) -> Vec<u8> {
    let clock = ManualClock::new(Duration::ZERO);
    let redaction = Redaction::default();
    let deadline = Deadline::At(u64::MAX);
    let cx = WalkContext { redaction: &redaction, clock: &clock, deadline, computed: false, strict };
    let mut writer = Writer::new();
    writer.begin(&Header::default());
    writer.point(Point::Line(1));
    walk::section(&mut writer, &cx, &Place(world), Section::Arguments, &Limits::default());
    writer.end_point();
    writer.finish().to_vec()
}

/// The captured values of a record of a world.
fn values(record: &[u8], world: &World) -> Vec<Value> {
    let tables = Tables::new(Arc::new(Redaction::default()));
    for class in &world.classes {
        let name = class.names.first().map_or("", String::as_str);
        tables.intern_type(Text::Utf8(name), Text::Utf8(bare(name)), class.redacted);
    }
    let (_, mut reader) = Reader::new(record).unwrap();
    let mut came = Vec::new();
    while let Some(item) = reader.item().unwrap() {
        if let Item::Named(_) = item {
            let json = value_alone(&mut reader, &tables, Profile::of(Language::Other("toy"))).unwrap();
            came.push(serde_json::from_slice(&json).unwrap());
        }
    }
    came
}

/// A probe that captures everything.
fn any_probe() -> Probe {
    let (limits, expressions) = (Limits::default(), Vec::new());
    Probe::alone(Log { template: Template::default(), snapshot: true, limits, expressions }, None, Vec::new(), "toy.py")
}

/// The value objects in JSON that have a value: their types and values.
fn shown(json: &Value, found: &mut Vec<(String, String)>) {
    match json {
        Value::Array(all) => all.iter().for_each(|one| shown(one, found)),
        Value::Object(members) => {
            if let (Some(Value::String(value)), Some(kind)) = (members.get("value"), members.get("type")) {
                found.push((kind.as_str().unwrap_or_default().to_owned(), value.clone()));
            }
            members.values().for_each(|one| shown(one, found));
        }
        _ => {}
    }
}

fn is_number((kind, value): &(String, String)) -> bool {
    const NUMBERS: [&str; 5] = ["bool", "int", "float", "complex", "decimal"];
    // Of a class of the program's own that is a number too.
    NUMBERS.contains(&kind.as_str()) || value.parse::<f64>().is_ok()
}

#[test]
fn no_value_of_any_vector_stands_in_a_record_and_one_that_does_is_refused() {
    let vectors = runner::read(include_str!("../../tests/vectors/records.json")).unwrap();
    let (mut sealed, mut refused, mut numbers) = (0, 0, 0);
    for vector in vectors {
        let Some(value) = vector.json("value").unwrap() else { continue };
        // Why a field cannot be read the host says in words: those of an inside host are ours.
        if vector.raw("value").is_some_and(|raw| raw.contains("$unreadable")) {
            continue;
        }
        let vars = Json::Object(vec![("v".to_owned(), value.clone()), ("list".to_owned(), Json::Array(vec![value]))]);
        // What no toy plays is an interpreter's own.
        let Ok(world) = World::new(&vars, Dialect::Neutral, &Redaction::default()) else { continue };
        let [all, none] = [CaptureMode::Strict, CaptureMode::StrictNumbers].map(strict);
        let types = |record: &[u8]| {
            let mut found = Vec::new();
            for value in &values(record, &world) {
                shown(value, &mut found);
            }
            found
        };
        let record_of = |strict: &Strict| {
            let record = record(&world, Some(strict));
            strict.check(&record, &any_probe()).unwrap_or_else(|error| panic!("{}: {error}", vector.id()));
            record
        };
        let id = vector.id();
        assert_eq!(types(&record_of(&all)), [], "{id}");
        let left = types(&record_of(&none));
        assert!(left.iter().all(is_number), "{id}: {left:?}");
        numbers += usize::from(!left.is_empty());
        let clear = record(&world, None);
        if !types(&clear).is_empty() {
            assert!(all.check(&clear, &any_probe()).is_err(), "{id}");
            refused += 1;
        }
        sealed += 1;
    }
    assert!(
        sealed > 200 && refused > 150 && numbers > 20,
        "{sealed} sealed, {refused} refused, {numbers} with numbers"
    );
}

#[test]
#[allow(clippy::many_single_char_names, reason = "the names of the values in the world above")]
fn of_a_value_its_type_its_size_and_its_equality_are_told() {
    let world = world(
        r#"{"a": "Ada Lovelace", "b": "Ada Lovelace", "c": "Bob", "n": 5, "f": 5.0, "z": null, "t": true,
            "m": {"$map": [["Ada Lovelace", 5], [7, "x"], [[], null]]}, "l": [5, "Bob", null, []],
            "o": {"$object": {"class": "shop.Card", "fields": {"owner": "Bob", "password": "hunter2"}}}}"#,
    );
    let sealed = record(&world, Some(&strict(CaptureMode::Strict)));
    let come = values(&sealed, &world);
    let [a, b, c, n, f, z, t, m, l, o] = come.as_slice() else { panic!("{come:?}") };
    assert_eq!((a, a["size"].as_u64(), a["type"].as_str()), (b, Some(12), Some("string")));
    assert!(
        a["hash"].as_str().is_some_and(|hash| hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    );
    // What Python and Node have for the same text and key.
    assert_eq!(a["hash"], "b3df5ad72cdb8902");
    assert_ne!(a["hash"], c["hash"]);
    assert_eq!((&n["hash"], n.get("size"), f["type"].as_str()), (&f["hash"], None, Some("float")));
    assert_eq!(*z, json!({"type": "null", "isNull": true}));
    assert_eq!(t["type"], "bool");
    let entries = m["entries"].as_array().unwrap();
    assert_eq!((m["size"].as_u64(), &entries[0][0]["hash"], &entries[0][1]["hash"]), (Some(3), &a["hash"], &n["hash"]));
    assert_eq!((l["size"].as_u64(), &l["elements"][1]), (Some(4), c));
    assert_eq!(o["type"], "Card");
    assert_eq!(o["fields"]["owner"], *c);
    assert_eq!(o["fields"]["password"]["notCapturedReason"], "redactedIdent");
    let again = Strict::of(CaptureMode::Strict, Some("another")).unwrap();
    assert_ne!(values(&record(&world, Some(&again)), &world)[0]["hash"], a["hash"]);
    for text in ["Ada", "Bob", "hunter2"] {
        assert!(!sealed.windows(text.len()).any(|bytes| bytes == text.as_bytes()), "{text}");
    }

    let with_numbers = values(&record(&world, Some(&strict(CaptureMode::StrictNumbers))), &world);
    assert_eq!((with_numbers[3]["value"].as_str(), with_numbers[6]["value"].as_str()), (Some("5"), Some("true")));
    assert_eq!(
        (&with_numbers[0], &with_numbers[7]["entries"][1][0]["hash"]),
        (a, &entries[1][0]["hash"]),
        "keys stay hashed"
    );
}

fn probe(id: &str, more: &Value) -> Value {
    let mut probe = json!({"id": id, "version": 1, "type": "LOG_PROBE", "template": "x",
        "where": {"sourceFile": "toy.py", "lines": ["1"]}});
    probe.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    probe
}

fn process(host: Host, capture: CaptureMode, probes: &[Value]) -> Process {
    let capture_key = Some(Secret("key".to_owned()));
    let mut process = Process::new(host, Settings { capture, capture_key, rate_limits: false, ..Settings::default() });
    process.apply(wire::read_file(Value::Array(probes.to_vec()).to_string().as_bytes()).unwrap().probes);
    process.round();
    process
}

fn event(process: &Process, at: usize) -> Value {
    serde_json::from_str(&process.memory.events()[at]).unwrap()
}

const VALUES: &str = r#"{"name": "Ada Lovelace", "items": ["tea", "milk"], "n": 4711, "nothing": null,
    "password": "hunter2", "card": {"$object": {"class": "shop.Card", "fields": {"owner": "Bob"}}}}"#;

#[test]
fn messages_show_types_and_what_is_ours_and_captures_are_sealed() {
    let texts =
        "{name} {items} {card} {card.owner} {n} {nothing} {len(items)} {len(name) > 3} {nosuch} {password} here";
    let expression = |name: &str, text: &str| json!({"name": name, "expr": {"dsl": text}});
    let captured = json!([
        expression("name", "name"),
        expression("size", "len(items)"),
        expression("items", "items"),
        expression("kept", "filter(items, {@it == 'tea'})"),
        expression("no", "items[7]")
    ]);
    let probes = [probe("p", &json!({"template": texts, "captureExpressions": captured}))];
    for (mode, number) in [(CaptureMode::Strict, "{int}"), (CaptureMode::StrictNumbers, "4711")] {
        let mut process = process(Host::Inside, mode, &probes);
        let known = world(VALUES).known_to(&process.tables);
        process.hit("p", 1, &known);
        process.round();
        let event = event(&process, 0);
        let types = "{string} {list} {Card} {string}";
        let message = format!("{types} {number} {{null}} 2 true {{No such variable: 'nosuch'}} {{redacted}} here");
        assert_eq!(event["message"], message);
        let came = &event["debugger"]["snapshot"]["captures"]["lines"]["1"]["captureExpressions"];
        assert_eq!((came["name"]["size"].as_u64(), &came["name"]["value"]), (Some(12), &Value::Null));
        assert_eq!(came["size"], json!({"type": "int", "value": "2"}));
        assert_eq!(came["kept"]["elements"], json!([came["items"]["elements"][0]]));
        assert_eq!((came.get("no"), came["items"]["size"].as_u64()), (None, Some(2)));
        let text = event.to_string();
        for secret in ["Ada", "Bob", "tea", "milk", "hunter2"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}

const THROWN: &str =
    r#"{"@exception": {"$exception": {"class": "shop.Declined", "message": "no funds", "fields": {"code": 7}}}}"#;

#[test]
fn the_text_of_an_exception_is_withheld() {
    let method = json!({"captureSnapshot": true, "where": {"typeName": "toy", "methodName": "work"},
        "template": "{@exception} {@exception.message}"});
    let mut process = process(Host::Inside, CaptureMode::Strict, &[probe("m", &method)]);
    let after = world(THROWN).known_to(&process.tables);
    let token = process.enter("m", &world("{}"));
    process.leave("m", &after, token);
    process.round();
    let event = event(&process, 0);
    assert_eq!(event["message"], "{Declined} {string}");
    let point = &event["debugger"]["snapshot"]["captures"]["return"];
    assert_eq!(
        (&point["throwable"]["message"], &point["throwable"]["type"]),
        (&json!("{withheld}"), &json!("Declined"))
    );
    assert!(!event.to_string().contains("funds"), "{event}");
}

#[test]
fn what_expressions_may_not_ask_is_an_error_that_says_so() {
    let probes = [
        probe("when", &json!({"when": {"dsl": "startsWith(name, 'A')"}})),
        probe("message", &json!({"template": "{substring(name, 0, 1)}"})),
        probe("captured", &json!({"captureExpressions": [{"name": "a", "expr": {"dsl": "n > 3"}}]})),
        json!({"id": "metric", "type": "METRIC_PROBE", "kind": "GAUGE", "metricName": "m", "value": {"dsl": "n"},
            "where": {"sourceFile": "toy.py", "lines": ["1"]}}),
        probe("fine", &json!({"when": {"dsl": "name == 'Ada' && len(items) > 1"}, "captureSnapshot": true})),
    ];
    for (mode, fine) in [(CaptureMode::Full, 5), (CaptureMode::StrictNumbers, 3), (CaptureMode::Strict, 1)] {
        let process = process(Host::Inside, mode, &probes);
        let installed = process.session.status().into_iter().filter(|report| report.state == State::Installed).count();
        assert_eq!(installed, fine, "{mode:?}");
        let told = process.report("when").unwrap();
        if mode != CaptureMode::Full {
            let begins = "Invalid expression: under strict capture 'startsWith' tells the letters of a text";
            assert!(told.reason.starts_with(begins), "{}", told.reason);
            assert!(process.memory.statuses().iter().any(|status| status.contains("InvalidExpression")));
        }
    }
}

#[test]
fn a_record_in_clear_does_not_come_in_from_outside() {
    let snapshot = json!({"captureSnapshot": true});
    let own = json!({"template": "{len(items)}"});
    let value = json!({"template": "{items}"});
    let probes =
        [probe("snapshot", &snapshot), probe("own", &own), probe("value", &value), probe("nothing", &json!({}))];
    let world = world(r#"{"items": ["tea"], "name": "Ada"}"#);
    let mut process = process(Host::Outside, CaptureMode::Strict, &probes);
    for id in ["snapshot", "value", "own", "nothing"] {
        process.hit(id, 1, &world);
    }
    process.round();
    let messages: Vec<String> =
        (0..process.memory.events().len()).map(|at| event(&process, at)["message"].to_string()).collect();
    assert_eq!(messages, ["\"1\"", "\"x\""], "this host seals nothing");
    assert_eq!(process.bad.len(), 2, "{:?}", process.bad);
    assert!(process.bad.iter().all(|why| why.contains("in clear under strict capture")), "{:?}", process.bad);
    assert_eq!(process.session.stats().unreadable, 2);
}

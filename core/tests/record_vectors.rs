//! The vectors of captured values, redaction and pruning; and records that nobody of ours wrote.
#![allow(clippy::unwrap_used, reason = "a test may panic, and its helpers are part of it")]

use std::sync::Arc;
use std::time::Duration;
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::capture::redact::{BUILT_IN, Redaction};
use stroboscope_core::capture::walk::{self, Deadline, WalkContext};
use stroboscope_core::clock::ManualClock;
use stroboscope_core::emit::language::Profile;
use stroboscope_core::emit::message::{self, Spelling};
use stroboscope_core::emit::values::value_alone;
use stroboscope_core::expr::template::Template;
use stroboscope_core::host::{Frame, Language, Section};
use stroboscope_core::record::layout;
use stroboscope_core::record::names::Tables;
use stroboscope_core::record::read::{Item, Reader};
use stroboscope_core::record::write::{Header, Point, Writer};
use stroboscope_core::text::Text;
use stroboscope_toys::event::{Hit, captured, read};
use stroboscope_toys::inside::Place;
use stroboscope_toys::json::Json;
use stroboscope_toys::runner;
use stroboscope_toys::value::{Dialect, World};

fn run(text: &str, at_least: usize) {
    let report = runner::run(&runner::read(text).unwrap());
    // What no toy plays is an interpreter's own: its binding runs it.
    assert!(report.failed.is_empty() && report.skipped.len() <= 1, "{report}");
    assert!(report.passed >= at_least, "only {} passed", report.passed);
}

#[test]
fn every_record_vector_passes() {
    run(include_str!("../../tests/vectors/records.json"), 265);
}

#[test]
fn every_redaction_vector_passes() {
    let text = include_str!("../../tests/vectors/redaction.json");
    for name in BUILT_IN {
        assert!(text.contains(&format!("\"{name}\"")), "{name} is missing");
    }
    run(text, 5);
}

#[test]
fn every_prune_vector_passes() {
    run(include_str!("../../tests/vectors/prune.json"), 13);
}

/// Vectors that say what no runner knows, and what must be said of them.
const MISTAKES: &[(&str, &str)] = &[
    (
        "unknown field 'varz'",
        r#""kind": "eval", "json": {"ref": "a"}, "varz": {"a": 1}, "expect": {"error": "undefined"}"#,
    ),
    (
        "'redacted_identifers'",
        r#""kind": "eval", "json": 1, "config": {"redacted_identifers": ["a"]}, "expect": {"value": 1}"#,
    ),
    (
        "redacted_types is no array",
        r#""kind": "eval", "json": 1, "config": {"redacted_types": "a"}, "expect": {"value": 1}"#,
    ),
    ("unknown field 'error'", r#""kind": "eval", "json": 1, "expect": {"value": 1, "error": "type"}"#),
    (
        "two expressions",
        r#""kind": "eval", "dsl": "b", "json": {"ref": "a"}, "vars": {"a": 1}, "expect": {"value": 1}"#,
    ),
    ("there is no expression", r#""kind": "eval", "expect": {"error": "any"}"#),
    ("host is not", r#""kind": "eval", "json": 1, "host": "pyhton", "expect": {"value": 1}"#),
    ("metric_kind is not", r#""kind": "metric", "json": 1, "metric_kind": "CUONT", "expect": {"value": 1}"#),
    (
        "unknown field 'feilds'",
        r#""kind": "record", "value": {"$object": {"class": "A", "feilds": {}}}, "expect": {"neutral": 1}"#,
    ),
    (
        "unknown field 'maxColectionSize'",
        r#""kind": "record", "value": 1, "limits": {"maxColectionSize": 0}, "expect": {"neutral": 1}"#,
    ),
    ("beside other members", r#""kind": "record", "value": {"$int": "1", "$float": "1"}, "expect": {"neutral": 1}"#),
    ("nothing is expected", r#""kind": "record", "value": 1, "expect": {}"#),
    ("error is not =syntax|any", r#""kind": "parse", "text": "a b", "expect": {"error": "tiemout"}"#),
    (
        "categories",
        r#""kind": "template", "segments": [{"json": {"ref": "zz"}}],
        "expect": {"message": "{No such variable: 'zz'}", "errors": [{"expr": "zz", "error": "timeout"}]}"#,
    ),
    (
        "rejected is not true",
        r#""kind": "definition", "definition": {"id": "p"}, "expect": {"rejected": false, "id": "p", "field": "type"}"#,
    ),
    (
        "nothing is expected of the probe",
        r#""kind": "definition", "definition": {"id": "p", "type": "LOG_PROBE",
        "where": {"sourceFile": "a", "lines": [1]}}, "expect": {"probe": {}}"#,
    ),
    (
        "a probe has no 'kidn'",
        r#""kind": "definition", "definition": {"id": "p", "type": "LOG_PROBE",
        "where": {"sourceFile": "a", "lines": [1]}}, "expect": {"probe": {"kidn": null}}"#,
    ),
    (
        "unknown field 'tmies'",
        r#""kind": "rates", "probes": [], "script": [{"at": 0, "hit": "p", "tmies": 5}], "expect": {}"#,
    ),
    (
        "which is no probe",
        r#""kind": "rates", "probes": [], "script": [{"at": 0, "hit": "p"}], "expect": {"p": {"hits": 1}}"#,
    ),
    (
        "goes back",
        r#""kind": "rates", "probes": [{"id": "p", "version": 1, "type": "LOG_PROBE", "template": "x",
        "where": {"sourceFile": "toy.py", "lines": ["1"]}}], "script": [{"at": 9, "hit": "p"}, {"at": 1, "hit": "p"}],
        "expect": {"p": {"hits": 2}}"#,
    ),
    ("unknown field 'borad'", r#""kind": "status", "interval": 10, "script": [], "expect": [], "borad": {}"#),
    ("unknown kind 'evil'", r#""kind": "evil""#),
];

#[test]
fn a_vector_that_says_something_unknown_fails() {
    for (reason, fields) in MISTAKES {
        let text = format!(r#"{{"format": 1, "vectors": [{{"id": "x", {fields}}}]}}"#);
        let report = runner::run(&runner::read(&text).unwrap());
        let [(id, came)] = report.failed.as_slice() else { panic!("{reason}: {report}") };
        assert!(id == "x" && came.contains(reason) && report.passed == 0, "{reason}: {came}");
    }
    let fields = r#""kind": "eval", "json": 1, "expect": {"value": 1}"#;
    let text =
        format!(r#"{{"format": 1, "vectors": [{{{fields}}}, {{"id": "a", {fields}}}, {{"id": "a", {fields}}}]}}"#);
    let report = runner::run(&runner::read(&text).unwrap());
    let reasons: Vec<&str> = report.failed.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!((report.passed, reasons), (1, vec!["the vector has no 'id'", "its id is used twice"]));
    assert!(runner::read(r#"{"format": 1, "vectors": [{"id": "a", "id": "b"}]}"#).unwrap_err().contains("twice"));
}

fn world(text: &str) -> World {
    World::new(&Json::read(text).unwrap(), Dialect::Neutral, &Redaction::default()).unwrap()
}

fn captured_record(world: &World) -> Vec<u8> {
    let redaction = Redaction::default();
    let capture = Some(Limits::default());
    Hit { world, redaction: &redaction, template: Template::default(), symbols: Vec::new(), capture }.record()
}

/// Reads a record as the worker does; whatever comes, it must not panic or take for ever.
fn read_all(record: &[u8], tables: &Tables) -> Result<(), String> {
    let (_, reader) = Reader::new(record).map_err(|error| error.to_string())?;
    let mut items = reader;
    while let Some(item) = items.item().map_err(|error| error.to_string())? {
        if let Item::Named(_) | Item::Template(_) | Item::Throwable(_) = item {
            let json = value_alone(&mut items.clone(), tables, Profile::of(Language::Python));
            std::str::from_utf8(&json.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
            let mut text = String::new();
            let mut out = message::Capped::new(&mut text, 8192);
            let spelling = Spelling { tables, profile: Profile::of(Language::Python) };
            message::value(&mut items.clone(), spelling, &mut out, 0).map_err(|error| error.to_string())?;
            items.skip().map_err(|error| error.to_string())?;
        } else if let Item::Stack { count, raw } = item {
            for _ in 0..count {
                items.frame(raw).map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(())
}

#[test]
fn cut_and_mutated_records_are_refused_or_read_but_never_panic() {
    let world = world(
        r#"{"a": {"$bigint": "7^1600"}, "b": {"$decimal": "-1.10E-7"}, "c": {"$repeat": {"text": "é", "times": 300}},
            "d": {"$map": [[1, {"$set": [null, {"$bytes": "00ff"}]}]]}, "e": {"$object": {"class": "A", "fields":
            {"x": {"$unreadable": true}, "password": 1, "y": {"$exception": {"class": "E", "message": "m"}}}}},
            "f": {"$complex": [1.5, 2.5]}, "g": {"$enum": {"class": "C", "name": "RED", "value": 1}},
            "h": {"$function": "f"}, "i": {"$iterator": true}, "j": {"$opaque": true},
            "k": {"$scalar": {"class": "D", "text": "2024"}}, "l": {"$utf16": [55296, 97]}, "m": {"$cycle": true}}"#,
    );
    let tables = Tables::new(Arc::new(Redaction::default()));
    for _ in 0..8 {
        tables.intern_type(Text::Utf8("shop.A"), Text::Utf8("A"), false);
    }
    let record = captured_record(&world);
    read_all(&record, &tables).unwrap();
    for length in 0..record.len() {
        assert!(read_all(&record[..length], &tables).is_err(), "cut at {length}");
        let mut cut = record[..length].to_vec();
        if length >= layout::HEADER {
            // With the right length, only what is inside can give it away.
            cut[layout::AT_LENGTH..layout::AT_LENGTH + 4].copy_from_slice(&(length as u32).to_le_bytes());
            assert!(read_all(&cut, &tables).is_err(), "cut at {length}");
        }
    }
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut read, mut refused) = (0, 0);
    for _ in 0..20_000 {
        let mut bytes = record.clone();
        for _ in 0..=next() % 4 {
            let at = layout::HEADER + (next() as usize) % (bytes.len() - layout::HEADER);
            bytes[at] = match next() % 3 {
                0 => 0xFF,
                1 => bytes[at] ^ (1 << (next() % 8)),
                _ => next() as u8,
            };
        }
        match read_all(&bytes, &tables) {
            Ok(()) => read += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(read > 500 && refused > 1000, "{read} read, {refused} refused");
    for _ in 0..20_000 {
        let mut bytes: Vec<u8> = (0..200).map(|_| next() as u8).collect();
        bytes[..layout::HEADER].copy_from_slice(&record[..layout::HEADER]);
        bytes[layout::AT_LENGTH..layout::AT_LENGTH + 4].copy_from_slice(&200_u32.to_le_bytes());
        let _ = read_all(&bytes, &tables);
    }
}

#[test]
fn a_section_holds_200_names_and_says_so() {
    let vars: Vec<String> = (0..250).map(|n| format!("\"v{n}\": {n}")).collect();
    let world = world(&format!("{{{}}}", vars.join(", ")));
    let redaction = Redaction::default();
    let capture = Some(Limits { fields: 1, ..Limits::default() });
    let hit = Hit { world: &world, redaction: &redaction, template: Template::default(), symbols: Vec::new(), capture };
    let json = read(&hit.event().unwrap()).unwrap();
    assert_eq!(captured(&json).as_object().unwrap().len(), 200);
    let point = &json["debugger"]["snapshot"]["captures"]["lines"]["1"];
    assert_eq!(point["notCapturedReason"], "fieldCount");
}

#[test]
fn when_the_time_is_over_values_become_stubs_and_secrets_stay_secrets() {
    let world = world(r#"{"a": {"$count": {"times": 90}}, "b": {"c": 1}, "password": "s"}"#);
    let clock = ManualClock::new(Duration::from_secs(1));
    let redaction = Redaction::default();
    let cx = WalkContext {
        redaction: &redaction,
        clock: &clock,
        deadline: Deadline::At(1_000_000_000),
        computed: false,
        strict: None,
    };
    let mut writer = Writer::new();
    writer.begin(&Header::default());
    writer.point(Point::Entry);
    walk::section(&mut writer, &cx, &Place(&world), Section::Arguments, &Limits::default());
    writer.end_point();
    assert!(writer.has_timed_out());
    let record = writer.finish().to_vec();
    let tables = Tables::new(Arc::new(redaction));
    let (header, mut reader) = Reader::new(&record).unwrap();
    assert!(header.timed_out);
    let mut came = Vec::new();
    while let Some(item) = reader.item().unwrap() {
        if let Item::Named(_) = item {
            let json = value_alone(&mut reader, &tables, Profile::of(Language::Other("toy"))).unwrap();
            came.push(serde_json::from_slice::<serde_json::Value>(&json).unwrap());
        }
    }
    let [list, map, secret] = came.as_slice() else { panic!("{came:?}") };
    // The clock is read at the 64th value, which is the 63rd element: it and all after it are not read.
    assert_eq!(list["elements"].as_array().unwrap().len(), 63);
    assert_eq!(list["elements"][62], serde_json::json!({"type": "int", "notCapturedReason": "timeout"}));
    assert_eq!((&list["notCapturedReason"], &list["size"]), (&"timeout".into(), &90.into()));
    assert_eq!(*map, serde_json::json!({"type": "map", "notCapturedReason": "timeout"}));
    assert_eq!(secret["notCapturedReason"], "redactedIdent");
}

#[test]
fn a_walk_that_pauses_goes_on_while_there_is_time() {
    let text = r#"{"l": [1, 2, 3, 4, 5], "s": {"$set": [1, 2, 3]}, "m": {"$map": [["a", 1], ["b", 2], ["c", 3]]}}"#;
    let (redaction, limits) = (Redaction::default(), Limits::default());
    let capture = |pauses: bool, deadline: u64| {
        let mut world = world(text);
        world.pauses = pauses;
        let clock = ManualClock::new(Duration::from_secs(1));
        let deadline = Deadline::At(deadline);
        let cx = WalkContext { redaction: &redaction, clock: &clock, deadline, computed: false, strict: None };
        let mut writer = Writer::new();
        writer.begin(&Header::default());
        writer.point(Point::Entry);
        walk::section(&mut writer, &cx, &Place(&world), Section::Arguments, &limits);
        writer.end_point();
        let record = writer.finish().to_vec();
        let tables = Tables::new(Arc::new(Redaction::default()));
        let (_, mut reader) = Reader::new(&record).unwrap();
        let mut came = Vec::new();
        while let Some(item) = reader.item().unwrap() {
            if let Item::Named(_) = item {
                let json = value_alone(&mut reader, &tables, Profile::of(Language::Other("toy"))).unwrap();
                came.push(serde_json::from_slice::<serde_json::Value>(&json).unwrap());
            }
        }
        came
    };
    assert_eq!(capture(true, u64::MAX), capture(false, u64::MAX));
    // Of so few values the clock is looked at in a pause only.
    assert_eq!(capture(false, 0), capture(false, u64::MAX));
    let late = capture(true, 0);
    assert_eq!(late[0]["elements"].as_array().unwrap().len(), 2);
    assert_eq!((&late[0]["notCapturedReason"], &late[0]["size"]), (&"timeout".into(), &5.into()));
    assert_eq!(late[1]["notCapturedReason"], "timeout");
}

#[test]
fn a_record_holds_a_mebibyte_and_the_rest_is_stubs() {
    let vars: Vec<String> =
        (0..150).map(|n| format!("\"v{n}\": {{\"$repeat\": {{\"text\": \"x\", \"times\": 50000}}}}")).collect();
    let world = world(&format!("{{{}}}", vars.join(", ")));
    let clock = ManualClock::new(Duration::ZERO);
    let redaction = Redaction::default();
    let cx = WalkContext {
        redaction: &redaction,
        clock: &clock,
        deadline: Deadline::At(u64::MAX),
        computed: false,
        strict: None,
    };
    let mut writer = Writer::new();
    writer.begin(&Header::default());
    for point in [Point::Entry, Point::Return] {
        writer.point(point);
        let limits = Limits { length: u32::MAX, ..Limits::default() };
        walk::section(&mut writer, &cx, &Place(&world), Section::Arguments, &limits);
        writer.end_point();
    }
    writer.stack(&Place(&world));
    assert!(writer.is_full());
    let record = writer.finish().to_vec();
    assert!(record.len() <= layout::MAX_RECORD && record.len() > layout::SOFT_RECORD - 50_000, "{}", record.len());
    read_all(&record, &Tables::new(Arc::new(redaction))).unwrap();
}

#[test]
fn a_half_written_record_goes_on_after_others_used_the_scratch() {
    let world = world(r#"{"a": 1}"#);
    let clock = ManualClock::new(Duration::ZERO);
    let redaction = Redaction::default();
    let cx = WalkContext {
        redaction: &redaction,
        clock: &clock,
        deadline: Deadline::At(u64::MAX),
        computed: false,
        strict: None,
    };
    let place = Place(&world);
    let mut writer = Writer::new();
    let entry = |writer: &mut Writer| {
        writer.begin(&Header { probe: 3, ..Header::default() });
        writer.point(Point::Entry);
        walk::section(writer, &cx, &place, Section::Arguments, &Limits::default());
        writer.end_point();
    };
    entry(&mut writer);
    let half = writer.suspend();
    writer.begin(&Header { probe: 4, ..Header::default() });
    writer.finish();
    writer.resume(&half);
    writer.set_duration(77);
    writer.stack(&place);
    let record = writer.finish().to_vec();
    let (header, _) = Reader::new(&record).unwrap();
    assert_eq!((header.probe, header.duration), (3, Some(77)));
    assert_eq!(place.thread().id, 0);
}

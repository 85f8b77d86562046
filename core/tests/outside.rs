//! What an outside host hands over, and the limits that its writer keeps: records of another layout, of nobody's probe, cut,
//! mutated; time and size that run out.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::{Clock, ManualClock};
use stroboscope_core::config::Settings;
use stroboscope_core::emit::language::Profile;
use stroboscope_core::emit::ring;
use stroboscope_core::emit::values::value_alone;
use stroboscope_core::error::ErrorKind;
use stroboscope_core::expr::eval::{Category, Failure, Kind, Limit};
use stroboscope_core::expr::target::{Op, Program};
use stroboscope_core::hit::Verdict;
use stroboscope_core::host::Language;
use stroboscope_core::intake::{Counts, Intake, Judge, Raised, Refusal};
use stroboscope_core::probe::wire;
use stroboscope_core::record::layout;
use stroboscope_core::record::names::Tables;
use stroboscope_core::record::read::{Item, Reader};
use stroboscope_core::text::Text;
use stroboscope_toys::json::Json;
use stroboscope_toys::outside_writer::{Head, Writer};
use stroboscope_toys::process::{Host, Process};
use stroboscope_toys::value::{Dialect, World};

fn world(text: &str) -> World {
    World::new(&Json::read(text).unwrap(), Dialect::Neutral, &Redaction::default()).unwrap()
}

fn tables() -> Arc<Tables> {
    Arc::new(Tables::new(Arc::new(Redaction::default())))
}

/// A record of all variables of a world.
fn record(world: &World, limits: Limits, clock: &dyn Clock, deadline: u64) -> (Vec<u8>, Arc<Tables>) {
    let tables = tables();
    (record_of(world, 0, &tables, limits, clock, deadline), tables)
}

fn record_of(
    world: &World,
    slot: u32,
    tables: &Arc<Tables>,
    limits: Limits,
    clock: &dyn Clock,
    deadline: u64,
) -> Vec<u8> {
    let mut judge = Judge::new(Arc::clone(tables));
    let head = Head { slot, ..Head::default() };
    let mut writer = Writer::new(world, &mut judge, clock, deadline, &head);
    writer.line(1);
    writer.section(layout::SECTION_ARGUMENTS);
    for (name, id) in &world.vars {
        if !writer.variable(name, *id, limits) {
            break;
        }
    }
    writer.end_point();
    writer.stack(&[("toy.py", "toy", 1)]);
    writer.finish()
}

/// A record for a probe of a process.
fn at_once(world: &World, slot: u32, process: &Process) -> Vec<u8> {
    let clock = ManualClock::new(Duration::ZERO);
    record_of(world, slot, &process.tables, Limits { length: 200_000, ..Limits::default() }, &clock, u64::MAX)
}

/// The captured values of a record, and why its point is incomplete.
fn values(record: &[u8], tables: &Tables) -> (Vec<Value>, u8) {
    let (_, mut reader) = Reader::new(record).unwrap();
    let (mut came, mut why) = (Vec::new(), 0);
    while let Some(item) = reader.item().unwrap() {
        match item {
            Item::Named(_) => {
                let json = value_alone(&mut reader, tables, Profile::of(Language::Other("toy"))).unwrap();
                came.push(serde_json::from_slice(&json).unwrap());
            }
            Item::EndPoint(reason) => why = reason,
            Item::Stack { count, raw } => {
                for _ in 0..count {
                    reader.frame(raw).unwrap();
                }
            }
            _ => {}
        }
    }
    (came, why)
}

#[test]
fn its_writer_keeps_the_time() {
    let world = world(r#"{"a": {"$count": {"times": 90}}, "b": {"c": 1}, "password": "s"}"#);
    let clock = ManualClock::new(Duration::from_secs(1));
    let (record, tables) = record(&world, Limits::default(), &clock, 1_000_000_000);
    assert!(Reader::new(&record).unwrap().0.timed_out);
    let (came, _) = values(&record, &tables);
    assert_eq!(came[0]["elements"].as_array().unwrap().len(), 63);
    assert_eq!(came[0]["elements"][62], json!({"type": "int", "notCapturedReason": "timeout"}));
    assert_eq!((&came[0]["notCapturedReason"], &came[0]["size"]), (&"timeout".into(), &90.into()));
    assert_eq!(came[1], json!({"type": "map", "notCapturedReason": "timeout"}));
    assert_eq!(came[2]["notCapturedReason"], "redactedIdent", "a secret is never reported as timeout");
}

#[test]
fn its_writer_keeps_the_size_of_a_record_and_of_a_section() {
    let vars: Vec<String> =
        (0..250).map(|n| format!("\"v{n}\": {{\"$repeat\": {{\"text\": \"x\", \"times\": 50000}}}}")).collect();
    let large = world(&format!("{{{}}}", vars.join(", ")));
    let clock = ManualClock::new(Duration::ZERO);
    let (full, tables) = record(&large, Limits { length: u32::MAX, ..Limits::default() }, &clock, u64::MAX);
    assert!(Reader::new(&full).unwrap().0.full);
    assert!(full.len() <= layout::MAX_RECORD && full.len() > layout::SOFT_RECORD - 50_000, "{}", full.len());
    let (came, why) = values(&full, &tables);
    assert_eq!((came.len(), why), (200, layout::REASON_FIELD_COUNT));
    assert_eq!(came[199]["notCapturedReason"], "timeout");
}

/// A session of an outside host with one probe, its intake and the probe's slot.
fn session(definition: &Value) -> (Process, Intake, u32) {
    let mut process = Process::new(Host::Outside, Settings::default());
    process.apply(wire::read_file(json!([definition]).to_string().as_bytes()).unwrap().probes);
    let intake = process.session.intake();
    let slot = process.live("p").unwrap().slot;
    process.round();
    (process, intake, slot)
}

fn definition() -> Value {
    json!({"id": "p", "version": 1, "type": "LOG_PROBE", "template": "x", "captureSnapshot": true,
        "where": {"sourceFile": "toy.py", "lines": ["1"]}})
}

#[test]
fn what_is_not_a_record_of_this_layout_and_of_a_probe_in_force_does_not_come_in() {
    let (mut process, mut intake, slot) = session(&definition());
    let good = at_once(&world(r#"{"a": 1}"#), slot, &process);
    let with = |at: usize, bytes: &[u8]| {
        let mut record = good.clone();
        record[at..at + bytes.len()].copy_from_slice(bytes);
        record
    };
    let length = u32::try_from(good.len()).unwrap();
    let bad = [
        ("nothing", Vec::new()),
        ("a header cut short", good[..layout::HEADER - 1].to_vec()),
        ("another magic", with(layout::AT_MAGIC, b"JSON")),
        ("another layout", with(layout::AT_LAYOUT, &(layout::LAYOUT_HASH ^ 1).to_le_bytes())),
        ("a length too small", with(layout::AT_LENGTH, &(length - 1).to_le_bytes())),
        ("a length too large", with(layout::AT_LENGTH, &u32::MAX.to_le_bytes())),
        ("bytes after the end", [good.clone(), vec![0]].concat()),
        ("more than a record holds", vec![0; layout::MAX_RECORD + 1]),
    ];
    for (what, bytes) in bad {
        match intake.record(&bytes) {
            Err(Refusal::Bad(error)) => assert_eq!(error.kind, ErrorKind::BadRecord, "{what}"),
            other => unreachable!("{what}: {other:?}"),
        }
    }
    let stranger = with(layout::AT_PROBE, &(slot + 1).to_le_bytes());
    assert_eq!(intake.record(&stranger), Err(Refusal::Unknown(slot + 1)));
    assert_eq!(intake.report(slot + 1, &Counts::default()), Err(Refusal::Unknown(slot + 1)));
    assert_eq!(intake.condition_failed(u32::MAX, &Failure::Timeout), Err(Refusal::Unknown(u32::MAX)));
    process.round();
    assert_eq!((process.memory.events().len(), process.session.process().queued.get()), (0, 0));
    assert_eq!(intake.record(&good), Ok(()));
    process.round();
    assert_eq!(process.memory.events().len(), 1);
    process.session.remove("p");
    assert_eq!(intake.record(&good), Err(Refusal::Unknown(slot)));
}

#[test]
fn mutated_records_come_in_or_do_not_and_never_break_the_session() {
    let (mut process, mut intake, slot) = session(&definition());
    let world = world(
        r#"{"a": {"$bigint": "7^1600"}, "b": {"$decimal": "-1.10E-7"}, "c": {"$repeat": {"text": "é", "times": 300}},
            "d": {"$map": [[1, {"$set": [null, {"$bytes": "00ff"}]}]]}, "f": {"$complex": [1.5, 2.5]},
            "h": {"$function": "f"}, "l": {"$utf16": [55296, 97]}, "m": {"$cycle": true}, "password": "hunter2"}"#,
    );
    let good = at_once(&world, slot, &process);
    let mut random = 0x0123_4567_89AB_CDEF_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let (mut taken, mut refused) = (0, 0);
    for round in 0..5_000 {
        let mut bytes = good.clone();
        for _ in 0..=next() % 4 {
            let at = next() as usize % bytes.len();
            bytes[at] = if next() % 3 == 0 { 0xFF } else { next() as u8 };
        }
        match intake.record(&bytes) {
            Ok(()) => taken += 1,
            Err(_) => refused += 1,
        }
        if round % 100 == 0 {
            process.round();
        }
    }
    process.round();
    assert!(taken > 1_000 && refused > 100, "{taken} taken, {refused} refused");
    let report = process.report("p").unwrap();
    let lost = report.dropped.iter().find(|(reason, _)| *reason == "internal").map_or(0, |(_, count)| *count);
    let events = process.memory.events();
    assert_eq!(events.len() as u64 + lost, taken, "each is an event or counted");
    assert!(lost > 0 && events.len() > 100, "{lost} lost, {} events", events.len());
    assert!(events.iter().all(|event| serde_json::from_str::<Value>(event).is_ok()));
    // It gives back what it has taken for the next records.
    drop(intake);
    assert_eq!(process.session.process().queued.get(), 0);
}

#[test]
fn the_queue_is_bounded_for_records_from_outside() {
    let (process, mut intake, slot) = session(&definition());
    let world = world(r#"{"a": {"$repeat": {"text": "x", "times": 100000}}}"#);
    let large = at_once(&world, slot, &process);
    let mut taken = 0;
    while intake.has_room() {
        assert_eq!(intake.record(&large), Ok(()));
        taken += 1;
    }
    assert_eq!(intake.record(&large), Err(Refusal::Full));
    assert!(process.session.process().queued.get() <= ring::QUEUE_BYTES);
    let report = process.report("p").unwrap();
    assert_eq!((report.emitted, report.dropped), (taken, vec![("queueFull", 1)]));
    assert_eq!(intake.condition_failed(slot, &Failure::Whole), Ok(false), "an error event has no room either");
}

#[test]
fn counts_are_reported_in_bulk_and_answered_with_a_verdict() {
    let (process, mut intake, slot) = session(&definition());
    let counts =
        Counts { hits: 40, rejected: 9, empty: 5, empty_global: 3, no_room: 2, reentrant: 1, ..Counts::default() };
    assert_eq!(intake.report(slot, &counts), Ok(Verdict::Keep));
    let many = Counts { hits: 100_000, empty: 100_000, nanoseconds: 7, ..Counts::default() };
    assert_eq!(intake.report(slot, &many), Ok(Verdict::Disarm));
    let report = process.report("p").unwrap();
    assert_eq!((report.hits, report.rejected, report.disarmed), (100_040, 9, true));
    let dropped = [("rateLimitProbe", 100_005), ("rateLimitGlobal", 3), ("queueFull", 2), ("reentrant", 1)];
    assert_eq!(report.dropped, dropped);
}

#[test]
fn verdicts_are_the_cores() {
    let redaction = Redaction::new(&["mug".into()], &["session".into()], &["shop.Secret*".into()]);
    let mut judge = Judge::new(Arc::new(Tables::new(Arc::new(redaction))));
    assert!(judge.classify(Text::Utf8("pass_word")) && judge.classify(Text::Latin1(b"Mug")));
    assert!(!judge.classify(Text::Utf8("session")) && !judge.classify(Text::Utf8("total")));
    assert!(judge.classify_type(Text::Utf8("shop.SecretBox"), Text::Utf8("SecretBox")));
    let (number, redacted) = judge.name(Text::Utf8("password"));
    assert!(number.is_some() && redacted);
    assert_eq!(judge.name(Text::Utf8("password")), (number, true));
    // Too long for the table: the verdict is there all the same.
    let long = format!("password{}", "_".repeat(300));
    assert_eq!(judge.name(Text::Utf8(&long)), (None, true));
    assert_eq!(judge.matches(Text::Utf8("mug"), Text::Utf8("^m.g$")), Ok(true));
    assert_eq!(judge.matches(Text::Utf8("mug"), Text::Utf8("(")).unwrap_err().category(), Category::Regex);
}

#[test]
fn a_failure_of_any_op_and_category_has_that_category_and_survives_the_record() {
    let ops = [
        Op::Variable { out: 0, symbol: 3 },
        Op::Member { out: 0, of: stroboscope_core::expr::target::Arg::Temp(0), symbol: 3 },
        Op::Next { each: 0, test: stroboscope_core::expr::target::Arg::Temp(0) },
    ];
    let mut program = Program::default();
    program.ops.extend(ops);
    let cases = [
        (0, Category::Undefined, Failure::Variable(3)),
        (1, Category::SideEffect, Failure::Opaque(stroboscope_core::expr::eval::Doing::Member(3))),
        (2, Category::Limit, Failure::Limit(Limit::Predicates)),
        (2, Category::Timeout, Failure::Timeout),
    ];
    for (op, category, wanted) in cases {
        assert_eq!(Raised::new(op, category).failure(&program), wanted);
    }
    let keyed = Raised { kinds: [Kind::Map, Kind::Opaque], ..Raised::new(1, Category::Undefined) };
    assert_eq!(keyed.failure(&program), Failure::NamedKey(3));
    // An op that is not there is a mistake of the host, not a panic of ours.
    assert_eq!(Raised::new(9, Category::Null).failure(&program).category(), Category::Host);
    // What is undefined depends on the op.
    let categories: Vec<Category> = Category::ALL.into_iter().filter(|one| *one != Category::Undefined).collect();
    for (op, category) in (0..ops.len()).flat_map(|op| categories.iter().map(move |category| (op, *category))) {
        let failure = Raised::new(op, category).failure(&program);
        assert_eq!(failure.category(), category);
        let mut bytes = Vec::new();
        failure.encode(&mut bytes);
        assert_eq!(Failure::decode(&mut bytes.as_slice()), Some(failure));
    }
}

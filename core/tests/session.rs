//! Whole sessions of the toy hosts with a clock moved by hand: what stops a probe and starts it again, what happens to
//! events when the Agent hangs, and how long the end may take.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::config::Settings;
use stroboscope_core::control::agent::{AgentSettings, Endpoint};
use stroboscope_core::control::memory::Memory;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::ring::{BATCH_BYTES, QUEUE_BYTES, SHARE};
use stroboscope_core::emit::status::State;
use stroboscope_core::host::{Outcome, Runtime, Site};
use stroboscope_core::probe::wire;
use stroboscope_core::record::names::Tables;
use stroboscope_core::sender::{Sender, SenderCounters};
use stroboscope_core::session::{Parts, ProbeReport, Session};
use stroboscope_core::worker::Next;
use stroboscope_toys::json::Json;
use stroboscope_toys::kinds;
use stroboscope_toys::process::{HOSTS, Host, Options, Process, START, ToyRuntime};
use stroboscope_toys::random::Dice;
use stroboscope_toys::runner;
use stroboscope_toys::value::{Dialect, World};

const SECOND: Duration = Duration::from_secs(1);

/// A log probe on a line, with more fields.
fn probe(id: &str, more: &Value) -> Value {
    let mut probe = json!({"id": id, "version": 1, "type": "LOG_PROBE", "template": "x",
        "where": {"sourceFile": "toy.py", "lines": ["1"]}});
    for (name, value) in more.as_object().unwrap() {
        probe[name] = value.clone();
    }
    probe
}

fn put(process: &mut Process, probes: &[Value]) {
    let text = Value::Array(probes.to_vec()).to_string();
    process.apply(wire::read_file(text.as_bytes()).unwrap().probes);
}

fn world(text: &str) -> World {
    World::new(&Json::read(text).unwrap(), Dialect::Neutral, &Redaction::default()).unwrap()
}

fn report(process: &Process, id: &str) -> ProbeReport {
    process.report(id).expect("the probe is known")
}

fn dropped(process: &Process, id: &str, reason: &str) -> u64 {
    report(process, id).dropped.iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| *count)
}

/// Every status of a probe that was told, with the type of its exception.
fn told(process: &Process, id: &str) -> Vec<String> {
    let statuses = process.memory.statuses();
    let statuses = statuses.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    statuses
        .map(|json| json["debugger"]["diagnostics"].clone())
        .filter(|status| status["probeId"] == id)
        .map(|status| match status["exception"]["type"].as_str() {
            Some(kind) => format!("{} {kind}", status["status"].as_str().unwrap()),
            None => status["status"].as_str().unwrap().to_owned(),
        })
        .collect()
}

fn later(process: &mut Process, by: Duration) {
    let time = process.now() + by;
    process.until(time);
}

#[test]
fn what_is_dear_to_place_waits_while_placing_has_taken_too_much() {
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("first", &json!({})), probe("second", &json!({}))]);
        process.round();
        assert!(process.place_dear("first"), "{host:?}");
        process.session.placing_took(1, 70_000_000);
        assert!(!process.place_dear("second"), "{host:?}");
        process.round();
        assert_eq!(report(&process, "first").state, State::Installed, "{host:?}");
        let second = report(&process, "second");
        assert_eq!(second.state, State::Paused, "{host:?}: {}", second.reason);
        let numbers = "paused for 10 s: placing probes of its kind took 0.07 s of the last 3 s, 2.3 % of a core, the budget is 2 %";
        assert!(second.reason.starts_with(numbers), "{host:?}: {}", second.reason);
        later(&mut process, 11 * SECOND);
        assert_eq!(report(&process, "second").state, State::Installed, "{host:?}");
        assert!(process.place_dear("second"), "{host:?}");
    }
}

#[test]
fn the_dearest_probe_rests_says_why_in_numbers_and_comes_back() {
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("dear", &json!({})), probe("cheap", &json!({}))]);
        process.clock.drag(Duration::from_millis(30));
        process.hit("dear", 16, &nothing);
        process.clock.drag(Duration::from_millis(1));
        process.hit("cheap", 16, &nothing);
        process.clock.drag(Duration::ZERO);
        later(&mut process, 2 * SECOND);

        let dear = report(&process, "dear");
        assert_eq!((dear.state, report(&process, "cheap").state), (State::Paused, State::Emitting), "{host:?}");
        assert_eq!(told(&process, "dear"), ["RECEIVED", "INSTALLED", "EMITTING", "ERROR CpuBudget"], "{host:?}");
        // 16 hits of at least 30 ms are 0.48 s, in 10 s 4.8 % of a core.
        let used: f64 = dear.reason.split("it used ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((0.48..2.0).contains(&used), "{host:?}: {}", dear.reason);
        let (numbers, back) = dear.reason.split_once("; it comes back in ").unwrap();
        assert!(numbers.starts_with("paused for 10 s") && numbers.ends_with("the budget is 2 %"), "{dear:?}");
        assert!(matches!(back, "9 s" | "10 s"), "{dear:?}");

        process.round();
        process.hit("dear", 7, &nothing);
        let resting = report(&process, "dear");
        assert_eq!((resting.hits, resting.emitted, resting.hits_exact), (16, 16, false), "{host:?}: its hooks are off");
        later(&mut process, 11 * SECOND);
        assert_eq!(report(&process, "dear").state, State::Installed, "{host:?}");
        process.hit("dear", 1, &nothing);
        process.round();
        assert_eq!(told(&process, "dear")[4..], ["INSTALLED", "EMITTING"], "{host:?}");
        assert_eq!(report(&process, "dear").reason, "Probe dear emits again", "{host:?}");

        // The next rest is longer.
        process.clock.drag(Duration::from_millis(60));
        process.hit("dear", 64, &nothing);
        process.clock.drag(Duration::ZERO);
        later(&mut process, 2 * SECOND);
        let dear = report(&process, "dear");
        assert!(dear.reason.starts_with("paused for 20 s"), "{host:?}: {}", dear.reason);
    }
}

fn method(id: &str, at: &str, more: &Value) -> Value {
    let mut probe = probe(id, more);
    probe["evaluateAt"] = json!(at);
    probe["where"] = json!({"typeName": "toy", "methodName": "work"});
    probe
}

#[test]
fn a_failing_capture_expression_costs_its_entry_only_at_both_ends_of_a_call() {
    let inside = world(r#"{"a": 1}"#);
    let after = world(r#"{"a": 2, "@return": 7}"#);
    let captured = json!([{"name": "a", "expr": {"dsl": "a"}}, {"name": "r", "expr": {"dsl": "@return"}},
        {"name": "no", "expr": {"dsl": "nosuch"}}]);
    let (entry, exit) = (json!({"a": {"value": "1"}}), json!({"a": {"value": "2"}, "r": {"value": "7"}}));
    for (at, points) in [("ENTRY", json!({"entry": entry, "return": exit})), ("EXIT", json!({"return": exit}))] {
        let mut process = Process::new(Host::Inside, Settings::default());
        put(&mut process, &[method("m", at, &json!({"captureExpressions": captured}))]);
        let token = process.enter("m", &inside);
        process.leave("m", &after, token);
        process.round();
        let told = report(&process, "m");
        assert_eq!((told.hits, told.emitted, told.dropped), (1, 1, vec![]), "{at}");
        let event: Value = serde_json::from_str(&process.memory.events()[0]).unwrap();
        let snapshot = &event["debugger"]["snapshot"];
        for (point, names) in points.as_object().unwrap() {
            let came = snapshot["captures"][point]["captureExpressions"].as_object().unwrap();
            assert_eq!(came.len(), names.as_object().unwrap().len(), "{at} {point}: {came:?}");
            for (name, value) in names.as_object().unwrap() {
                assert_eq!(came[name]["value"], value["value"], "{at} {point}");
            }
        }
        let errors: Vec<_> = snapshot["evaluationErrors"].as_array().unwrap().iter().map(|e| &e["expr"]).collect();
        let wanted = if at == "ENTRY" { vec!["r", "no", "no"] } else { vec!["no"] };
        assert_eq!(errors, wanted, "{at}");
    }
}

/// Whatever a hit writes, the worker can read: no probe, at no place, loses an event to a record that is refused.
#[test]
fn every_record_of_a_hit_becomes_an_event() {
    const TEXTS: [&str; 9] =
        ["a", "@return", "nosuch", "a.b", "@duration > 0", "l[0]", "@exception", "a == 1", "any(l, {@it > 5})"];
    let mut dice = Dice::new(17);
    let (mut events, mut both, mut failed) = (0, 0, 0);
    for round in 0..400 {
        let mut any = || TEXTS[dice.below(TEXTS.len())];
        let mut more = json!({"template": format!("{{{}}} of {{{}}}", any(), any())});
        if dice.below(3) == 0 {
            more["captureSnapshot"] = json!(true);
        } else {
            let expressions: Vec<_> = (0..dice.below(4))
                .map(|n| (format!("n{n}"), TEXTS[dice.below(TEXTS.len())]))
                .map(|(name, text)| json!({"name": name, "expr": {"dsl": text}}))
                .collect();
            more["captureExpressions"] = json!(expressions);
        }
        if dice.below(4) == 0 {
            let when = ["a == 1", "nosuch", "isDefined(a)"][dice.below(3)];
            more["when"] = json!({ "dsl": when });
        }
        let at = ["ENTRY", "EXIT"][dice.below(2)];
        let mut process = Process::new(Host::Inside, Settings { rate_limits: false, ..Settings::default() });
        put(&mut process, &[method("m", at, &more)]);
        let before = world(r#"{"a": 1, "l": [1, 2]}"#);
        let after =
            world(["{\"a\": 2, \"l\": [9], \"@return\": 7}", "{\"l\": [], \"@exception\": \"e\"}"][dice.below(2)]);
        // A call inside the call: the outer one's half of an event waits meanwhile.
        let outer = process.enter("m", &before);
        let inner = process.enter("m", &before);
        process.leave("m", &after, inner);
        process.leave("m", &after, outer);
        process.round();
        let told = report(&process, "m");
        let lost: Vec<_> = told.dropped.iter().filter(|(reason, _)| *reason != "entryNotSeen").collect();
        let came = process.memory.events();
        assert!(lost.is_empty() && told.emitted == came.len() as u64, "{round} {at} {more}: {told:?}");
        for event in &came {
            let event: Value = serde_json::from_str(event).unwrap();
            let snapshot = &event["debugger"]["snapshot"];
            both +=
                usize::from(snapshot["captures"]["entry"].is_object() && snapshot["captures"]["return"].is_object());
            failed += usize::from(snapshot["evaluationErrors"][0].is_object());
        }
        events += came.len();
    }
    assert!(events > 500 && both > 100 && failed > 100, "{events} events, {both} of both ends, {failed} with errors");
}

#[test]
fn a_panic_of_ours_ends_the_probe_and_nothing_else() {
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("p", &json!({})), probe("q", &json!({}))]);
        process.hit("p", 1, &nothing);
        process.round();
        process.live("p").unwrap().panicked();
        process.hit("p", 1, &nothing);
        process.round();
        assert_eq!(told(&process, "p"), ["RECEIVED", "INSTALLED", "EMITTING", "ERROR Panic"], "{host:?}");
        assert_eq!(dropped(&process, "p", "internal"), 1, "{host:?}");
        process.round();
        process.hit("p", 5, &nothing);
        assert_eq!(report(&process, "p").hits, 2, "{host:?}: its hooks are gone");
        later(&mut process, 2 * SECOND);
        process.hit("q", 1, &nothing);
        process.round();
        assert_eq!((report(&process, "p").state, report(&process, "q").state), (State::Error, State::Emitting));
    }
}

#[test]
fn a_panic_that_comes_before_the_report_of_the_installation_stays_told() {
    for host in HOSTS {
        let settings = Settings::default();
        let mut process = Process::with(Options { host, settings, scripted: true, sender: None, metrics: None });
        put(&mut process, &[probe("p", &json!({}))]);
        process.live("p").unwrap().panicked();
        process.round();
        process.answer("p", 1, &Outcome::Done { note: None, site: Site { file: "p.rs".into(), ..Site::default() } });
        process.round();
        let report = report(&process, "p");
        assert_eq!((report.state, report.site.map(|site| site.file.clone())), (State::Error, Some("p.rs".into())));
        assert_eq!(told(&process, "p"), ["RECEIVED", "ERROR Panic"], "{host:?}");
    }
}

#[test]
fn an_event_that_comes_before_the_report_of_the_installation_has_its_place() {
    for host in HOSTS {
        let settings = Settings::default();
        let mut process = Process::with(Options { host, settings, scripted: true, sender: None, metrics: None });
        put(&mut process, &[probe("p", &json!({}))]);
        process.put_quietly("p", 1);
        process.hit("p", 1, &world("{}"));
        // The worker hears of it when the round has begun.
        let site = Site { file: "p.rs".into(), lines: vec![7], ..Site::default() };
        process.answer_meanwhile("p", 1, Outcome::Done { note: None, site });
        put(&mut process, &[probe("p", &json!({})), probe("q", &json!({}))]);
        let events = process.memory.events();
        let event: Value = serde_json::from_str(events.first().expect("an event")).unwrap();
        let place = &event["debugger"]["snapshot"]["probe"]["location"];
        assert_eq!((&place["file"], &place["lines"]), (&json!("p.rs"), &json!(["7"])), "{host:?}: {event}");
        assert_eq!(told(&process, "p"), ["RECEIVED", "INSTALLED", "EMITTING"], "{host:?}");
    }
}

#[test]
fn an_evaluation_over_its_limit_is_not_tried_again_for_five_minutes() {
    let list = world(r#"{"l": {"$count": {"times": 40}}}"#);
    let small = world(r#"{"l": [1]}"#);
    let any = |inner: Value| json!({"any": [{"ref": "l"}, inner]});
    let when = any(any(any(json!({"eq": [{"ref": "@it"}, -1]}))));
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("p", &json!({"when": {"json": when.clone()}}))]);
        process.hit("p", 3, &list);
        later(&mut process, SECOND);
        let first = report(&process, "p");
        assert_eq!((first.failed, first.emitted), (1, 1), "{host:?}");
        assert_eq!(dropped(&process, "p", "evaluationTimeout"), 2, "{host:?}");
        later(&mut process, 301 * SECOND);
        process.hit("p", 2, &small);
        assert_eq!((report(&process, "p").rejected, report(&process, "p").failed), (2, 1), "{host:?}");
    }
}

#[test]
fn bytes_larger_than_a_record_are_cut_and_the_event_arrives() {
    let bytes = format!("{{\"$bytes\": \"{}\"}}", "ab".repeat(1_100_000));
    let worlds = [
        format!("{{\"a\": {bytes}}}"),
        format!("{{\"a\": [{bytes}, {bytes}]}}"),
        format!("{{\"a\": {{\"$map\": [[{bytes}, 1]]}}, \"b\": {bytes}}}"),
    ];
    for host in HOSTS {
        let mut process = Process::new(host, Settings { rate_limits: false, ..Settings::default() });
        put(&mut process, &[probe("p", &json!({"captureSnapshot": true, "capture": {"maxLength": 2_000_000}}))]);
        for (hit, text) in worlds.iter().enumerate() {
            process.hit("p", 1, &world(text));
            process.round();
            let report = report(&process, "p");
            let told = process.memory.events().len() + dropped(&process, "p", "payloadTooLarge") as usize;
            assert_eq!((report.emitted as usize, told), (hit + 1, hit + 1), "{host:?}: {report:?}");
        }
        let event: Value = serde_json::from_str(&process.memory.events()[0]).unwrap();
        let value = &event["debugger"]["snapshot"]["captures"]["lines"]["1"]["arguments"]["a"];
        assert_eq!((&value["size"], &value["truncated"]), (&json!(1_100_000), &json!(true)), "{host:?}");
    }
}

#[test]
fn code_that_the_service_denies_is_blocked_before_and_after() {
    let service = json!({"id": "svc", "type": "SERVICE_CONFIGURATION", "denyList": {"packagePrefixes": ["toy", "bank"]},
        "sampling": {"snapshotsPerSecond": 1}});
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("before", &json!({}))]);
        process.hit("before", 1, &nothing);
        put(&mut process, &[service.clone(), probe("after", &json!({}))]);
        process.round();
        for id in ["before", "after"] {
            let report = report(&process, id);
            assert_eq!(report.state, State::Blocked, "{host:?}: {report:?}");
            assert!(report.reason.contains("is on the service's deny list ('toy')"), "{}", report.reason);
        }
        assert!(process.live("before").is_none() && process.live("after").is_none());
        assert!(process.report("svc").is_none(), "a configuration is no probe");
        process.hit("before", 5, &nothing);
        process.round();
        assert_eq!(process.memory.events().len(), 1, "{host:?}");
    }
}

#[test]
fn code_that_the_service_denies_no_more_gets_its_probes_back() {
    let deny = |version: u32, prefixes: &Value| json!({"id": "svc", "version": version, "type": "SERVICE_CONFIGURATION", "denyList": {"packagePrefixes": prefixes}});
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        let gone = probe("gone", &json!({}));
        put(&mut process, &[probe("before", &json!({})), deny(1, &json!(["toy"])), probe("after", &json!({})), gone]);
        process.round();
        assert!(process.session.remove("gone"), "{host:?}");
        put(&mut process, &[deny(2, &json!(["other"]))]);
        process.round();
        for id in ["before", "after"] {
            process.hit(id, 1, &nothing);
            process.round();
            let report = report(&process, id);
            assert_eq!((report.state, report.emitted), (State::Emitting, 1), "{host:?}: {report:?}");
        }
        assert_eq!(told(&process, "after"), ["RECEIVED", "BLOCKED", "RECEIVED", "INSTALLED", "EMITTING"], "{host:?}");
        assert!(process.report("gone").is_none() && process.live("gone").is_none(), "{host:?}");

        put(&mut process, &[deny(3, &json!(["toy"]))]);
        process.round();
        assert_eq!(report(&process, "after").state, State::Blocked, "{host:?}");
        assert!(process.session.remove("svc") && !process.session.remove("svc"), "{host:?}");
        process.round();
        process.round();
        process.hit("after", 1, &nothing);
        process.round();
        assert_eq!(report(&process, "after").state, State::Emitting, "{host:?}");
        assert_eq!(process.session.stats().hits, 3, "{host:?}");
    }
}

#[test]
fn the_sums_keep_what_probes_did_that_are_gone_or_replaced() {
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("p", &json!({"sampling": {"snapshotsPerSecond": 1}})), probe("q", &json!({}))]);
        process.hit("p", 5, &nothing);
        process.hit("q", 2, &nothing);
        process.round();
        let before = process.session.stats();
        assert_eq!((before.hits, before.emitted), (7, 3), "{host:?}: {before:?}");
        assert_eq!(before.dropped, [("rateLimitProbe", 4)], "{host:?}");

        put(&mut process, &[probe("p", &json!({"version": 2}))]);
        process.session.remove("q");
        process.round();
        process.round();
        assert_eq!(process.session.stats(), before, "{host:?}");
        process.hit("p", 1, &nothing);
        process.round();
        let after = process.session.stats();
        assert_eq!((after.hits, after.emitted, &after.dropped), (8, 4, &before.dropped), "{host:?}");
        assert_eq!(report(&process, "p").hits, 1, "{host:?}: a version counts for itself");
    }
}

#[test]
fn an_expired_probe_keeps_its_counts() {
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("p", &json!({"expiresAt": START.as_millis() as u64 + 2_000}))]);
        process.hit("p", 3, &nothing);
        later(&mut process, 3 * SECOND);
        let report = report(&process, "p");
        assert_eq!((report.state, report.hits, report.emitted), (State::Expired, 3, 3), "{host:?}: {report:?}");
        assert_eq!(report.reason, "its time is over (expiresAt)");
    }
}

#[test]
fn a_probe_that_rests_says_so_and_for_how_long() {
    let list = world(r#"{"l": {"$count": {"times": 40}}}"#);
    let any = |inner: Value| json!({"any": [{"ref": "l"}, inner]});
    let when = any(any(any(json!({"eq": [{"ref": "@it"}, -1]}))));
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("p", &json!({"when": {"json": when.clone()}}))]);
        process.hit("p", 1, &list);
        later(&mut process, SECOND);
        let rests = report(&process, "p");
        assert_eq!(rests.state, State::Paused, "{host:?}: {rests:?}");
        let says = |seconds: u32| rests.reason.starts_with(&format!("rests for {seconds} s more: "));
        assert!(says(299) || says(300), "{host:?}: {}", rests.reason);
        later(&mut process, 300 * SECOND);
        assert_eq!(report(&process, "p").state, State::Emitting, "{host:?}");
    }
}

#[test]
fn a_seldom_probe_gets_its_turn_beside_a_hot_one() {
    let nothing = world("{}");
    // An outside host takes its tokens itself.
    for host in [Host::Inside, Host::InsideLater] {
        let mut process = Process::new(host, Settings::default());
        let capturing = |rate: u32| json!({"captureSnapshot": true, "sampling": {"snapshotsPerSecond": rate}});
        put(&mut process, &[probe("hot", &capturing(5000)), probe("seldom", &capturing(1))]);
        for round in 0..2500 {
            process.hit("hot", 1, &nothing);
            if round % 25 == 24 {
                process.hit("seldom", 1, &nothing);
            }
            later(&mut process, Duration::from_millis(4));
        }
        let (hot, seldom) = (report(&process, "hot"), report(&process, "seldom"));
        // Refused by the rate of all, it fires at its next hit.
        assert!((9..=10).contains(&seldom.emitted), "{host:?}: {seldom:?}");
        assert!(hot.emitted > 500, "{host:?}: {hot:?}");
    }
}

#[test]
fn a_hit_over_the_rate_is_told_as_such_while_the_queue_is_full() {
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("p", &json!({"sampling": {"snapshotsPerSecond": 1}}))]);
        process.session.process().queued.add(QUEUE_BYTES);
        process.hit("p", 10, &nothing);
        assert_eq!(dropped(&process, "p", "queueFull"), 1, "{host:?}: {:?}", report(&process, "p"));
        assert_eq!(dropped(&process, "p", "rateLimitProbe"), 9, "{host:?}");
    }
}

#[test]
fn a_template_over_its_limit_is_an_error_event_without_captures() {
    let list = world(r#"{"l": {"$count": {"times": 40}}}"#);
    let any = |inner: Value| json!({"any": [{"ref": "l"}, inner]});
    let dear = any(any(any(json!({"eq": [{"ref": "@it"}, -1]}))));
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        let segments = json!([{"str": "a "}, {"json": dear.clone()}, {"str": " b"}, {"json": 1}, {"str": " c"}]);
        put(&mut process, &[probe("p", &json!({"segments": segments, "captureSnapshot": true}))]);
        process.hit("p", 2, &list);
        process.round();
        let events = process.memory.events();
        let [event] = events.as_slice() else { unreachable!("{host:?}: {events:?}") };
        let event: Value = serde_json::from_str(event).unwrap();
        let snapshot = &event["debugger"]["snapshot"];
        assert!(snapshot["captures"].get("lines").is_none(), "{host:?}: {snapshot}");
        assert_eq!(snapshot["evaluationErrors"][0]["message"], "Evaluation visited more than 50000 elements");
        let message = "a {Evaluation visited more than 50000 elements}";
        assert_eq!(event["message"], message, "{host:?}: the text so far and the placeholder");
        assert_eq!(dropped(&process, "p", "evaluationTimeout"), 1, "{host:?}");
    }
}

#[test]
fn a_probe_ends_when_it_expires_and_its_events_stay() {
    let nothing = world("{}");
    let at = u64::try_from(START.as_millis()).unwrap() + 2_000;
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("p", &json!({"expiresAt": at}))]);
        later(&mut process, Duration::from_millis(1_999));
        // More than a round takes.
        process.hit("p", 5_000, &nothing);
        later(&mut process, Duration::from_millis(100));
        assert_eq!(report(&process, "p").state, State::Expired, "{host:?}");
        assert_eq!(process.memory.events().len(), 5_000, "{host:?}");
        process.hit("p", 3, &nothing);
        assert!(process.session.probes().is_empty(), "{host:?}");
        process.round();
        assert_eq!(process.memory.events().len(), 5_000, "{host:?}");
    }
}

#[test]
fn a_place_that_nothing_matches_is_an_error_after_a_minute_and_may_still_be_found() {
    for host in HOSTS {
        let mut process =
            Process::with(Options { host, settings: Settings::default(), scripted: true, sender: None, metrics: None });
        put(&mut process, &[probe("p", &json!({}))]);
        process.answer("p", 1, &Outcome::NotFound("no file toy.py".into()));
        later(&mut process, 59 * SECOND);
        assert_eq!((report(&process, "p").state, told(&process, "p").len()), (State::Waiting, 1), "{host:?}");
        later(&mut process, 2 * SECOND);
        assert_eq!(told(&process, "p"), ["RECEIVED", "ERROR SourceFileNotFound"], "{host:?}");
        assert_eq!(report(&process, "p").reason, "no file toy.py");
        later(&mut process, 90 * SECOND);
        assert_eq!(told(&process, "p").len(), 2, "{host:?}: it is said once");
        process.answer("p", 1, &Outcome::Done { note: None, site: Site::default() });
        assert_eq!(told(&process, "p")[2..], ["INSTALLED"], "{host:?}");
    }
}

#[test]
fn a_probe_that_moves_says_from_where_and_tells_its_hits_with_their_place() {
    let site = |file: &str| Site { file: file.into(), lines: vec![1], ..Site::default() };
    for host in HOSTS {
        let mut process =
            Process::with(Options { host, settings: Settings::default(), scripted: true, sender: None, metrics: None });
        put(&mut process, &[probe("p", &json!({}))]);
        process.answer("p", 1, &Outcome::Done { note: None, site: site("/srv/x/helper.py") });
        process.round();
        process.hit("p", 1, &world("{}"));
        process.answer("p", 1, &Outcome::Moved { note: None, site: site("/srv/y/helper.py") });
        process.round();
        process.hit("p", 1, &world("{}"));
        process.round();
        let seen = report(&process, "p");
        assert_eq!(seen.site.unwrap().file, "/srv/y/helper.py", "{host:?}");
        let events: Vec<String> = process.memory.events().iter().map(ToString::to_string).collect();
        assert!(events[0].contains("/srv/x/helper.py"), "{host:?}: {}", events[0]);
        assert!(events[1].contains("/srv/y/helper.py"), "{host:?}: {}", events[1]);
        assert_eq!(told(&process, "p"), ["RECEIVED", "INSTALLED", "EMITTING", "INSTALLED", "EMITTING"], "{host:?}");
    }
}

#[test]
fn what_was_captured_before_a_removal_is_delivered() {
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        put(&mut process, &[probe("p", &json!({}))]);
        process.hit("p", 5_000, &nothing);
        assert!(process.session.remove("p"));
        process.round();
        process.round();
        assert_eq!(process.memory.events().len(), 5_000, "{host:?}");
        // What its sender has taken for the next records is not given back.
        assert!(process.session.process().queued.get() <= SHARE, "{host:?}");
        process.hit("p", 1, &nothing);
        process.round();
        assert_eq!((process.memory.events().len(), process.report("p").is_none()), (5_000, true), "{host:?}");
    }
}

#[test]
fn what_finds_the_hooks_of_a_probe_that_is_gone_is_no_hit() {
    let nothing = world("{}");
    for way in ["removed", "replaced"] {
        let mut process = Process::with(Options {
            host: Host::Inside,
            settings: Settings::default(),
            scripted: true,
            sender: None,
            metrics: None,
        });
        put(&mut process, &[probe("p", &json!({}))]);
        let old = Arc::clone(&process.session.probes()[0]);
        if way == "removed" {
            process.session.remove("p");
        } else {
            put(&mut process, &[probe("p", &json!({"version": 2}))]);
        }
        process.round();
        // The host has not taken the hooks away yet.
        process.hit_live(&old, 40, &nothing);
        process.round();
        let stats = process.session.stats();
        assert_eq!((stats.hits, stats.dropped), (0, Vec::new()), "{way}");
    }
}

/// A tool that switches a probe off and on removes it and adds it again, before the worker has had a turn.
#[test]
fn what_is_left_of_a_removed_probe_tells_nothing_of_the_one_in_its_place() {
    let nothing = world("{}");
    let again = |process: &Process, probe: &Value| {
        assert!(process.session.remove("p"));
        let text = Value::Array(vec![probe.clone()]).to_string();
        process.session.apply(wire::read_file(text.as_bytes()).unwrap().probes);
    };
    // An event of the old one, on its way.
    let mut process = Process::new(Host::Inside, Settings::default());
    put(&mut process, &[probe("p", &json!({}))]);
    process.hit("p", 1, &nothing);
    again(&process, &probe("p", &json!({})));
    process.round();
    process.round();
    let new = report(&process, "p");
    assert_eq!((new.state, new.hits, new.emitted), (State::Installed, 0, 0), "{new:?}");
    process.hit("p", 1, &nothing);
    process.round();
    assert_eq!(told(&process, "p")[2..], ["RECEIVED", "INSTALLED", "EMITTING"], "{:?}", told(&process, "p"));

    // Its time is over, as that of the new one is not.
    let ends = |after: u64| json!({"expiresAt": START.as_millis() as u64 + after});
    let mut process = Process::new(Host::Inside, Settings::default());
    put(&mut process, &[probe("p", &ends(2_000))]);
    let old = process.live("p").unwrap();
    again(&process, &probe("p", &ends(100_000)));
    let registry = stroboscope_core::registry::Registry::default();
    registry.update(process.session.probes(), &[]);
    assert!(!registry.has(&old) && !registry.withdraw(&old), "the new one has its id, and stays");
    assert_eq!(registry.load().probes.len(), 1);
    assert!(registry.withdraw(&process.live("p").unwrap()));
    assert!(registry.load().probes.is_empty());
}

#[test]
fn a_broken_edit_takes_the_place_of_the_probe_and_a_good_one_brings_it_back() {
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        let good = probe("p", &json!({}));
        for (version, broken) in [
            (2, json!({"version": 2, "tags": 5})),
            (3, json!({"version": 3, "type": "FOO"})),
            (4, json!({"version": 4, "when": {"dsl": "x ="}})),
            (0, json!({"version": "x"})),
        ] {
            put(&mut process, std::slice::from_ref(&good));
            process.hit("p", 1, &nothing);
            process.round();
            let events = process.memory.events().len();
            let edit = Value::Array(vec![probe("p", &broken)]).to_string();
            process.session.apply(wire::read_file(edit.as_bytes()).unwrap().probes);
            // Its hooks are still there: the worker has not had a turn.
            process.hit("p", 1, &nothing);
            process.round();
            process.round();
            process.hit("p", 1, &nothing);
            process.round();
            let left = report(&process, "p");
            assert_eq!((left.version, left.state, left.hits), (version, State::Error, 0), "{host:?}: {left:?}");
            assert_eq!(process.memory.events().len(), events, "{host:?}: {broken}");
            assert!(process.live("p").is_none(), "{host:?}: {broken}");
        }
        put(&mut process, &[probe("p", &json!({"version": 5, "tags": 5}))]);
        put(&mut process, &[probe("p", &json!({"version": 5}))]);
        assert_eq!(report(&process, "p").state, State::Installed, "{host:?}");
        let all = told(&process, "p");
        assert_eq!(all[all.len() - 4..], ["RECEIVED", "ERROR InvalidDefinition", "RECEIVED", "INSTALLED"], "{host:?}");
        // The same version is one definition: another one, broken or not, is not used.
        put(&mut process, &[probe("p", &json!({"version": 5, "tags": 5}))]);
        process.hit("p", 1, &nothing);
        process.round();
        let kept = report(&process, "p");
        assert_eq!((kept.version, kept.state, kept.emitted), (5, State::Emitting, 1), "{host:?}: {kept:?}");
    }
}

#[test]
fn a_second_realm_that_lacks_the_code_undoes_nothing() {
    let mut process = Process::with(Options {
        host: Host::Outside,
        settings: Settings::default(),
        scripted: true,
        sender: None,
        metrics: None,
    });
    put(&mut process, &[probe("p", &json!({}))]);
    let refused = Outcome::Refused { kind: "NoSuchLine", reason: "line 1 has no code".into() };
    let done =
        Outcome::Done { note: None, site: Site { file: "/srv/toy.py".into(), lines: vec![1], ..Site::default() } };
    // The first realm does not have it: that is what is known so far.
    process.answer_in(0, "p", 1, refused.clone());
    process.round();
    assert_eq!(told(&process, "p"), ["RECEIVED", "ERROR NoSuchLine"]);
    process.answer_in(1, "p", 1, done.clone());
    process.round();
    process.hit("p", 1, &world("{}"));
    process.round();
    for lacking in [refused.clone(), Outcome::Waiting("not loaded".into()), Outcome::NotFound("no toy.py".into())] {
        process.answer_in(0, "p", 1, lacking);
        process.round();
    }
    later(&mut process, 61 * SECOND);
    assert_eq!(told(&process, "p"), ["RECEIVED", "ERROR NoSuchLine", "INSTALLED", "EMITTING"]);
    assert_eq!(report(&process, "p").site.unwrap().file, "/srv/toy.py");
    // Now the only realm that had it loses it.
    process.answer_in(1, "p", 1, refused);
    process.round();
    assert_eq!(told(&process, "p").last().unwrap(), "ERROR NoSuchLine");
}

#[test]
fn words_for_gates_run_out_with_a_reason_and_come_back() {
    let mut process = Process::new(Host::Outside, Settings::default());
    let many: Vec<Value> = (0..511).map(|n| probe(&format!("p{n}"), &json!({}))).collect();
    put(&mut process, &many);
    assert_eq!(report(&process, "p509").state, State::Installed);
    let last = report(&process, "p510");
    assert_eq!((last.state, last.reason.contains("too many probes")), (State::Error, true), "{last:?}");
    process.session.remove("p3");
    process.round();
    process.round();
    put(&mut process, &[probe("new", &json!({}))]);
    assert_eq!(report(&process, "new").state, State::Installed);
    process.hit("new", 1, &world("{}"));
    process.round();
    assert_eq!(report(&process, "new").emitted, 1);
}

#[test]
fn status_scripts_run_through_whole_sessions() {
    let vectors = runner::read(include_str!("../../tests/vectors/statuses.json")).unwrap();
    for host in HOSTS {
        let played = vectors.iter().filter(|vector| kinds::status_in_session(vector, host).unwrap()).count();
        assert!(played >= 21, "{host:?}: only {played} of {} scripts", vectors.len());
    }
}

/// An Agent that takes connections and says nothing.
fn hanging() -> (TcpListener, Sender, Arc<SenderCounters>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let settings = AgentSettings::new(endpoint);
    let counters = Arc::new(SenderCounters::default());
    (listener, Sender::start(settings, Arc::new(SystemClock), Arc::clone(&counters)), counters)
}

#[test]
fn a_hanging_agent_costs_no_event_below_the_cap_and_no_token() {
    let large = world(r#"{"a": {"$repeat": {"text": "x", "times": 60000}}}"#);
    let nothing = world("{}");
    for host in HOSTS {
        let (listener, sender, _counters) = hanging();
        let settings = Settings { rate_limits: false, ..Settings::default() };
        let mut process =
            Process::with(Options { host, settings, scripted: false, sender: Some(sender), metrics: None });
        put(&mut process, &[probe("p", &json!({"captureSnapshot": true, "capture": {"maxLength": 100_000}}))]);
        let mut hits = 0;
        let for_hits = QUEUE_BYTES - BATCH_BYTES;
        while process.session.process().queued.get() + 70_000 < for_hits && hits < 1_000 {
            process.hit("p", 1, &large);
            hits += 1;
            later(&mut process, Duration::from_millis(4));
        }
        let full = report(&process, "p");
        assert_eq!((full.emitted, full.dropped.len()), (hits, 0), "{host:?}: {full:?}");
        assert!(hits as usize > for_hits / 70_000, "{host:?}: {hits}");
        process.hit("p", 3, &large);
        process.hit("p", 3, &large);
        assert!(dropped(&process, "p", "queueFull") >= 3, "{host:?}: {:?}", report(&process, "p"));
        assert!(process.session.process().queued.get() <= QUEUE_BYTES, "{host:?}");
        drop(listener);
    }
    for host in HOSTS {
        let (listener, sender, _counters) = hanging();
        let mut process = Process::with(Options {
            host,
            settings: Settings::default(),
            scripted: false,
            sender: Some(sender),
            metrics: None,
        });
        put(&mut process, &[probe("p", &json!({"captureSnapshot": true}))]);
        for second in 0..20 {
            process.hit("p", 50, &nothing);
            assert_eq!(report(&process, "p").emitted, second + 1, "{host:?}: a token a second");
            later(&mut process, SECOND + Duration::from_millis(4));
        }
        drop(listener);
    }
}

fn started(sender: Option<Sender>) -> (Session, Memory) {
    let memory = Memory::new();
    let session = Session::start(Parts {
        settings: Settings::default(),
        identity: Identity::default(),
        runtime: Arc::new(ToyRuntime::new(Host::Inside, false)) as Arc<dyn Runtime>,
        clock: Arc::new(SystemClock),
        sinks: vec![Box::new(memory.sink())],
        sender,
        datagrams: None,
        tables: Arc::new(Tables::new(Arc::new(Redaction::default()))),
    });
    let session = session.unwrap();
    let text = Value::Array(vec![probe("p", &json!({}))]).to_string();
    session.apply(wire::read_file(text.as_bytes()).unwrap().probes);
    (session, memory)
}

/// Runs something and says how long it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = SystemClock.monotonic();
    let outcome = work();
    (outcome, Duration::from_nanos(SystemClock.monotonic() - start))
}

#[test]
fn the_end_comes_at_once_where_nothing_waits() {
    let (session, memory) = started(None);
    let (settled, took) = timed(|| session.flush(10 * SECOND));
    assert!(settled && took < 5 * SECOND, "{took:?}");
    assert_eq!(memory.statuses().len(), 2, "received and installed: {:?}", memory.statuses());
    let (settled, took) = timed(|| session.stop(10 * SECOND));
    assert!(settled && took < 5 * SECOND, "{took:?}");
    assert!(session.stop(10 * SECOND), "a second end is nothing");
}

#[test]
fn the_end_does_not_wait_longer_than_it_may() {
    let (listener, sender, counters) = hanging();
    let (session, _memory) = started(Some(sender));
    let limit = Duration::from_millis(300);
    let (settled, took) = timed(|| session.flush(limit));
    assert!(!settled && took >= Duration::from_millis(250) && took < 2 * SECOND, "{settled} {took:?}");
    let (_, took) = timed(|| session.stop(limit));
    assert!(took < 2 * SECOND, "{took:?}");
    assert_eq!(counters.statuses_lost.load(Relaxed), 2, "what nobody took is counted");
    drop(listener);
}

#[test]
fn a_worker_driven_by_hand_ends_when_told_and_not_before() {
    let mut process = Process::new(Host::Inside, Settings::default());
    assert!(matches!(process.round(), Next::Sleep(_)));
    // Nothing is joined: there is no thread.
    assert!(process.session.stop(SECOND));
}

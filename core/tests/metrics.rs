//! Metric probes in both toy hosts: what is measured, when it leaves and how it looks, and what is said where nothing can be
//! measured.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use std::net::UdpSocket;
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::config::{CaptureMode, Settings};
use stroboscope_core::datagrams::Destination;
use stroboscope_core::emit::meter::MAX_VALUES;
use stroboscope_core::emit::status::State;
use stroboscope_core::expr::eval::{Category, Kind, Yielded};
use stroboscope_core::host::BigDigits;
use stroboscope_core::intake::Refusal;
use stroboscope_core::probe::wire;
use stroboscope_core::session::ProbeReport;
use stroboscope_toys::json::Json;
use stroboscope_toys::process::{HOSTS, Host, Options, Process};
use stroboscope_toys::value::{Dialect, World};

const SECOND: Duration = Duration::from_secs(1);

/// A metric probe on a line, with more fields.
fn probe(id: &str, kind: &str, value: Option<&str>, more: &Value) -> Value {
    let mut probe = json!({"id": id, "version": 1, "type": "METRIC_PROBE", "kind": kind, "metricName": format!("toy.{id}"),
        "where": {"sourceFile": "toy.py", "lines": ["1"]}});
    if let Some(value) = value {
        probe["value"] = json!({ "dsl": value });
    }
    for (name, value) in more.as_object().unwrap() {
        probe[name] = value.clone();
    }
    probe
}

fn method(id: &str, kind: &str, value: Option<&str>, at: &str) -> Value {
    probe(id, kind, value, &json!({"evaluateAt": at, "where": {"typeName": "toy", "methodName": "work"}}))
}

fn put(process: &mut Process, probes: &[Value]) {
    let text = Value::Array(probes.to_vec()).to_string();
    process.apply(wire::read_file(text.as_bytes()).unwrap().probes);
}

fn process(host: Host, probes: &[Value]) -> Process {
    let mut process = Process::new(host, Settings::default());
    put(&mut process, probes);
    process
}

fn world(text: &str) -> World {
    World::new(&Json::read(text).unwrap(), Dialect::Neutral, &Redaction::default()).unwrap()
}

fn report(process: &Process, id: &str) -> ProbeReport {
    process.report(id).expect("the probe is known")
}

fn later(process: &mut Process, by: Duration) {
    let time = process.now() + by;
    process.until(time);
}

/// What was measured so far: the probe, its values, and one in how many was kept.
fn measured(process: &Process) -> Vec<(String, Vec<f64>, f64)> {
    let all = process.memory.metrics();
    let all = all.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    all.map(|json| {
        assert_eq!((&json["type"], &json["service"]), (&json!("metric"), &json!("toy")));
        let metric = &json["metric"];
        let values = metric["values"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        let rate = metric["sampleRate"].as_f64().unwrap();
        (metric["probeId"].as_str().unwrap().to_owned(), values, 1.0 / rate)
    })
    .collect()
}

fn one(id: &str, values: &[f64]) -> (String, Vec<f64>, f64) {
    (id.to_owned(), values.to_vec(), 1.0)
}

fn statuses(process: &Process, id: &str) -> Vec<String> {
    let all = process.memory.statuses();
    let all = all.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    all.map(|json| json["debugger"]["diagnostics"].clone())
        .filter(|status| status["probeId"] == id)
        .map(|status| status["status"].as_str().unwrap().to_owned())
        .collect()
}

/// The errors of the events so far, each with its expression.
fn errors(process: &Process) -> Vec<(String, String)> {
    let events = process.memory.events();
    let events = events.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    events
        .map(|event| {
            let snapshot = &event["debugger"]["snapshot"];
            assert!(snapshot["captures"].is_null(), "an error event shows nothing: {event}");
            let errors = snapshot["evaluationErrors"].as_array().unwrap();
            assert_eq!(errors.len(), 1, "{event}");
            assert_eq!(event["message"], errors[0]["message"]);
            let text = |name: &str| errors[0][name].as_str().unwrap().to_owned();
            (text("expr"), text("message"))
        })
        .collect()
}

#[test]
fn each_kind_is_gathered_once_a_second_and_no_rate_holds_it_back() {
    for host in HOSTS {
        let mut process = process(
            host,
            &[
                probe("calls", "COUNT", None, &json!({})),
                probe("sum", "COUNT", Some("n"), &json!({})),
                probe("load", "GAUGE", Some("n / 2"), &json!({})),
                probe("size", "HISTOGRAM", Some("n"), &json!({})),
                probe("spread", "DISTRIBUTION", Some("n > 1"), &json!({"when": {"dsl": "n != 2"}})),
            ]
            .map(|mut probe| {
                // There is no arithmetic: a double stands for it.
                if probe["id"] == "load" {
                    probe["value"] = json!({"dsl": "half"});
                }
                probe
            }),
        );
        for n in 1..=3 {
            let world = world(&format!(r#"{{"n": {n}, "half": {{"$float": "{n}.5"}}}}"#));
            for id in ["calls", "sum", "load", "size", "spread"] {
                process.hit(id, 2, &world);
            }
        }
        later(&mut process, SECOND / 2);
        assert!(measured(&process).is_empty() && statuses(&process, "calls") == ["RECEIVED", "INSTALLED"], "{host:?}");
        later(&mut process, SECOND);
        let wanted = [
            one("calls", &[6.0]),
            one("sum", &[12.0]),
            one("load", &[3.5]),
            one("size", &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0]),
            one("spread", &[0.0, 0.0, 1.0, 1.0]),
        ];
        assert_eq!(measured(&process), wanted, "{host:?}");
        assert_eq!(statuses(&process, "calls"), ["RECEIVED", "INSTALLED", "EMITTING"], "{host:?}");
        let spread = report(&process, "spread");
        assert_eq!((spread.state, spread.hits, spread.rejected, spread.measured), (State::Emitting, 6, 2, Some(4)));
        assert_eq!((spread.emitted, spread.dropped), (0, vec![]), "{host:?}");

        later(&mut process, 3 * SECOND);
        assert_eq!(measured(&process).len(), wanted.len(), "{host:?}: what is not hit says nothing");
        process.memory.clear();
        process.hit("calls", 20_000, &world("{}"));
        later(&mut process, SECOND + SECOND / 2);
        assert_eq!(measured(&process), [one("calls", &[20_000.0])], "{host:?}");
        assert_eq!(process.session.stats().measured, 20_000 + 28, "{host:?}");
        assert!(process.memory.events().is_empty() && process.bad.is_empty(), "{host:?}: {:?}", process.bad);
    }
}

#[test]
fn rates_of_logs_do_not_touch_it() {
    for host in HOSTS {
        let log = json!({"id": "log", "type": "LOG_PROBE", "template": "x", "where": {"sourceFile": "toy.py", "lines": ["1"]}});
        let mut process = process(host, &[log, probe("calls", "COUNT", None, &json!({}))]);
        let nothing = world("{}");
        process.hit("log", 6_000, &nothing);
        let log = report(&process, "log");
        assert!(log.dropped.iter().any(|(reason, _)| reason.starts_with("rateLimit")), "{host:?}: {log:?}");
        process.hit("calls", 100, &nothing);
        later(&mut process, 2 * SECOND);
        assert_eq!(measured(&process), [one("calls", &[100.0])], "{host:?}");
    }
}

#[test]
fn of_very_many_values_some_are_kept_and_the_rate_tells_how_many() {
    for host in HOSTS {
        let mut process = process(host, &[probe("d", "DISTRIBUTION", Some("n"), &json!({}))]);
        let world = world(r#"{"n": 7}"#);
        process.hit("d", 3 * MAX_VALUES as u32, &world);
        process.round();
        later(&mut process, SECOND + SECOND / 4);
        let came = measured(&process);
        assert_eq!(came.len(), 1, "{host:?}");
        let (_, values, one_in) = &came[0];
        assert!(
            (one_in - 4.0).abs() < 1e-9 && values.len() == 3 * MAX_VALUES / 4,
            "{host:?}: {} {one_in}",
            values.len()
        );
        assert_eq!(report(&process, "d").measured, Some(3 * MAX_VALUES as u64));
        process.memory.clear();
        process.hit("d", 3, &world);
        later(&mut process, SECOND + SECOND / 4);
        assert_eq!(measured(&process), [one("d", &[7.0; 3])], "{host:?}: each second begins anew");
    }
}

#[test]
fn what_is_no_number_is_told_once_with_its_place_and_the_rest_goes_on() {
    let cases = [
        ("GAUGE", "v", r#"{"v": "7"}"#, "Metric value is not a number: string"),
        ("GAUGE", "v", r#"{"v": null}"#, "Metric value is not a number: null"),
        ("HISTOGRAM", "v", r#"{"v": [1]}"#, "Metric value is not a number: list"),
        ("DISTRIBUTION", "v", r#"{"v": {"$float": "NaN"}}"#, "Metric value is not a finite number"),
        ("GAUGE", "v", r#"{"v": {"$float": "Infinity"}}"#, "Metric value is not a finite number"),
        ("COUNT", "v", r#"{"v": {"$float": "2.5"}}"#, "Metric value of a count is not a whole number"),
        ("COUNT", "len(v)", "{}", "No such variable: 'v'"),
    ];
    for host in HOSTS {
        for (kind, value, vars, why) in cases {
            let mut process = process(host, &[probe("m", kind, Some(value), &json!({}))]);
            process.hit("m", 4, &world(vars));
            // Whatever it was, one that can be measured is.
            process.hit("m", 1, &world(if value == "v" { r#"{"v": 7}"# } else { r#"{"v": [1, 1, 1, 1, 1, 1, 1]}"# }));
            later(&mut process, 2 * SECOND);
            assert_eq!(errors(&process), [(value.to_owned(), why.to_owned())], "{host:?} {kind} {vars}");
            assert_eq!(measured(&process), [one("m", &[7.0])], "{host:?} {kind} {vars}");
            let told = report(&process, "m");
            assert_eq!(told.failures, [(format!("value: {why}"), 4)], "{host:?}");
            assert_eq!((told.failed, told.measured, told.emitted, told.state), (4, Some(1), 1, State::Emitting));
            let much_later = process.now() + Duration::from_secs(301);
            process.leap(much_later);
            process.hit("m", 1, &world(vars));
            process.round();
            assert_eq!(errors(&process).len(), 2, "{host:?}: again after five minutes");
        }
        let mut process = process(host, &[probe("m", "GAUGE", Some("v"), &json!({"when": {"dsl": "w == 1"}}))]);
        for vars in [r#"{"v": "x"}"#, r#"{"v": "x", "w": 1}"#] {
            process.hit("m", 2, &world(vars));
        }
        process.round();
        assert_eq!(errors(&process).len(), 1, "{host:?}: one for the probe, wherever it fails");
        let told = report(&process, "m");
        let texts = ["value: Metric value is not a number: string", "No such variable: 'w'"];
        assert_eq!(told.failures, texts.map(|text| (text.to_owned(), 2)), "{host:?}");
    }
}

#[test]
fn a_value_that_takes_too_long_rests_its_probe() {
    for host in HOSTS {
        let many = world(r#"{"l": {"$count": {"times": 60000}}}"#);
        let mut process = process(host, &[probe("m", "COUNT", Some("len(filter(l, {@it > 5}))"), &json!({}))]);
        process.hit("m", 1, &many);
        process.round();
        process.hit("m", 5, &many);
        process.round();
        let told = report(&process, "m");
        assert_eq!((told.state, told.failed), (State::Paused, 1), "{host:?}: {told:?}");
        assert_eq!(told.dropped, [("evaluationTimeout", 5)], "{host:?}");
        assert!(errors(&process)[0].1.contains("50000"), "{:?}", errors(&process));
    }
}

#[test]
fn secrets_are_not_measured() {
    for host in HOSTS {
        let mut process = process(
            host,
            &[
                probe("name", "GAUGE", Some("password"), &json!({})),
                probe("member", "GAUGE", Some("card.pin"), &json!({})),
                probe("key", "GAUGE", Some("m[k]"), &json!({})),
            ],
        );
        let world = world(
            r#"{"password": 424242, "card": {"$object": {"class": "Card", "fields": {"pin": 424242}}},
            "m": {"passwd": 424242}, "k": "passwd"}"#,
        );
        for id in ["name", "member", "key"] {
            process.hit(id, 3, &world);
        }
        later(&mut process, 2 * SECOND);
        assert!(measured(&process).is_empty(), "{host:?}: {:?}", measured(&process));
        let events = process.memory.events();
        assert_eq!(events.len(), 3, "{host:?}");
        assert!(events.iter().all(|event| event.contains("redacted") && !event.contains("424242")), "{events:?}");
    }
}

#[test]
fn methods_have_a_duration_and_a_result() {
    let inside = world(r#"{"a": 1}"#);
    let after = world(r#"{"a": 5, "@return": 7}"#);
    let mut process = process(
        Host::Inside,
        &[
            method("calls", "COUNT", None, "EXIT"),
            method("begun", "COUNT", Some("a"), "ENTRY"),
            method("ended", "COUNT", Some("a"), "EXIT"),
            method("result", "GAUGE", Some("@return"), "EXIT"),
            method("time", "DISTRIBUTION", Some("@duration"), "EXIT"),
            method("early", "GAUGE", Some("@duration"), "ENTRY"),
        ],
    );
    let ids = ["calls", "begun", "ended", "result", "time", "early"];
    for _ in 0..2 {
        let tokens = ids.map(|id| (id, process.enter(id, &inside)));
        process.clock.drag(Duration::ZERO);
        later(&mut process, Duration::from_millis(20));
        for (id, token) in tokens {
            assert_eq!(token.is_some(), id == "time", "{id}: only what is asked for is kept");
            process.leave(id, &after, token);
        }
    }
    // Its entry was not seen.
    process.leave("time", &after, None);
    later(&mut process, 2 * SECOND);
    let mut came = measured(&process);
    came.sort_by(|a, b| a.0.cmp(&b.0));
    let wanted = [
        one("begun", &[2.0]),
        one("calls", &[2.0]),
        one("ended", &[10.0]),
        one("result", &[7.0]),
        one("time", &[20.0, 20.0]),
    ];
    assert_eq!(came, wanted);
    assert_eq!(report(&process, "time").dropped, [("entryNotSeen", 1)]);
    assert_eq!(errors(&process), [("@duration".to_owned(), "'@duration' is not available here".to_owned())]);
}

/// A server of metrics.
fn server() -> (UdpSocket, Destination) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let port = server.local_addr().unwrap().port();
    (server, Destination::Udp("127.0.0.1".to_owned(), port))
}

fn came(server: &UdpSocket) -> String {
    let mut buffer = [0; 2000];
    let size = server.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..size].to_vec()).unwrap()
}

#[test]
fn what_was_measured_leaves_each_second_as_its_probe_goes_and_at_the_end() {
    for host in HOSTS {
        let (server, destination) = server();
        let settings = Settings { env: Some("e1".to_owned()), ..Settings::default() };
        let mut process =
            Process::with(Options { host, settings, scripted: false, sender: None, metrics: Some(destination) });
        let tags = json!({"tags": ["team:x"]});
        put(&mut process, &[probe("a", "COUNT", None, &tags), probe("b", "HISTOGRAM", Some("n"), &json!({}))]);
        let line = |text: &str, tags: &str, id: &str| {
            format!("dynamic.instrumentation.metric.probe.toy.{text}|#{tags}debugger.probeid:{id},env:e1,service:toy\n")
        };
        let world = world(r#"{"n": 3}"#);
        process.hit("a", 5, &world);
        process.hit("b", 2, &world);
        later(&mut process, SECOND + SECOND / 10);
        assert_eq!(came(&server), line("a:5|c", "team:x,", "a") + &line("b:3:3|h", "", "b"), "{host:?}");

        process.hit("a", 1, &world);
        process.session.remove("a");
        process.round();
        assert_eq!(came(&server), line("a:1|c", "team:x,", "a"), "{host:?}: nothing is forgotten with the probe");

        process.hit("b", 1, &world);
        process.session.stop(Duration::from_millis(1));
        process.session.flush(Duration::from_millis(1));
        process.round();
        assert_eq!(came(&server), line("b:3|h", "", "b"), "{host:?}: nothing waits for the second where somebody asks");
        let metrics = process.session.stats().metrics.unwrap();
        assert_eq!((metrics.sent, metrics.datagrams, metrics.lost), (5, 3, 0), "{host:?}");
    }
}

#[test]
fn what_an_outside_host_has_kept_is_taken_though_its_probe_went_and_is_not_trusted() {
    let mut process =
        process(Host::Outside, &[probe("a", "COUNT", None, &json!({})), probe("b", "GAUGE", Some("n"), &json!({}))]);
    let mut intake = process.session.intake();
    let [a, b] = ["a", "b"].map(|id| process.live(id).unwrap().slot);
    assert_eq!(intake.measured(b, 2, &[f64::NAN]), Ok(()), "untrusted as anything from outside");
    assert_eq!(report(&process, "b").dropped, [("internal", 1)]);
    process.session.remove("a");
    process.round();
    assert_eq!(intake.measured(a, 3, &[3.0]), Ok(()));
    later(&mut process, SECOND + SECOND / 4);
    assert_eq!(measured(&process), [one("a", &[3.0])]);
    later(&mut process, 3 * SECOND);
    assert_eq!(process.session.stats().measured, 3 + 1);
    assert_eq!(intake.measured(a, 1, &[1.0]), Err(Refusal::Unknown(a)), "nobody knows it any more");
    for (yielded, number) in [
        (Yielded::Bool(true), Ok(1.0)),
        (Yielded::Float(0.5), Ok(0.5)),
        (Yielded::Digits(BigDigits { negative: true, digits: &[0, 1], bits: 32 }), Ok(-4_294_967_296.0)),
        (Yielded::Other(Kind::String), Err("Metric value is not a number: string")),
    ] {
        let made = intake.number(b, yielded).map_err(|failure| failure.category());
        assert_eq!(made, number.map_err(|_| Category::Type), "{yielded:?}");
    }
}

#[test]
fn what_strict_capture_would_show_is_refused() {
    for (capture, state) in [(CaptureMode::Strict, State::Error), (CaptureMode::StrictNumbers, State::Installed)] {
        for host in HOSTS {
            let mut process = Process::new(host, Settings { capture, ..Settings::default() });
            let value = |id: &str, text| probe(id, "GAUGE", Some(text), &json!({}));
            put(&mut process, &[value("v", "n"), value("s", "len(n)"), probe("c", "COUNT", None, &json!({}))]);
            let states = ["v", "s", "c"].map(|id| report(&process, id).state);
            assert_eq!(states, [state, State::Installed, State::Installed], "{host:?} {capture:?}");
        }
    }
}

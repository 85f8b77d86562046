//! What a session says of how its probes fare: the fields of a status, the health metrics, and explanations, in both toy hosts
//! with a clock moved by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::SystemClock;
use stroboscope_core::config::Settings;
use stroboscope_core::control::agent::Container;
use stroboscope_core::control::tally::Counts;
use stroboscope_core::control::terminal::Look;
use stroboscope_core::datagrams::{Datagrams, Destination};
use stroboscope_core::emit::output::Identity;
use stroboscope_core::explain::{Facts, File};
use stroboscope_core::probe::location::{Function, FunctionKind, Statement};
use stroboscope_core::probe::wire;
use stroboscope_core::record::names::Tables;
use stroboscope_core::session::{Parts, ProbeReport, Session};
use stroboscope_toys::json::Json;
use stroboscope_toys::process::{HOSTS, Host, Options, Process, ToyRuntime};
use stroboscope_toys::value::{Dialect, World};

const SECOND: Duration = Duration::from_secs(1);

fn probe(id: &str, more: &Value) -> Value {
    let mut probe = json!({"id": id, "version": 1, "type": "LOG_PROBE", "template": "x",
        "where": {"sourceFile": "toy.py", "lines": ["12"]}});
    for (name, value) in more.as_object().unwrap() {
        probe[name] = value.clone();
    }
    probe
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

#[test]
fn a_status_has_the_last_reject_and_the_time_of_captures_only() {
    let (low, high) = (world(r#"{"n": 0}"#), world(r#"{"n": 3}"#));
    for host in HOSTS {
        let when = json!({"when": {"dsl": "n > 1"}, "sampling": {"snapshotsPerSecond": 2}, "captureSnapshot": true});
        let mut process = process(host, &[probe("p", &when)]);
        let before = report(&process, "p");
        assert_eq!((before.last_reject, before.capture_times), (None, None), "{host:?}");

        process.clock.drag(Duration::from_micros(1));
        process.hit("p", 4, &low);
        let rejected = report(&process, "p");
        assert_eq!((rejected.last_reject, rejected.capture_times), (Some("conditionFalse"), None), "{host:?}");
        assert!(rejected.nanoseconds > 0, "{host:?}");

        process.clock.drag(Duration::from_micros(15));
        process.hit("p", 1, &high);
        process.clock.drag(Duration::ZERO);
        let (half, most) = report(&process, "p").capture_times.expect("the capture was timed");
        assert!(half == most && (13_000..200_000).contains(&half), "{host:?}: {half}, {most}");
        assert_eq!(report(&process, "p").last_reject, Some("conditionFalse"), "{host:?}: an event is no reject");

        process.hit("p", 5, &high);
        assert_eq!(report(&process, "p").last_reject, Some("rateLimitProbe"), "{host:?}");
        assert_eq!(report(&process, "p").queued_bytes, 0, "{host:?}: there is no Agent to wait for");
        process.session.remove("p");
    }
}

/// The lines of all datagrams that came, in their order.
fn came(server: &UdpSocket) -> Vec<String> {
    let mut lines = Vec::new();
    let mut buffer = [0; 2000];
    while let Ok(size) = server.recv(&mut buffer) {
        lines.extend(String::from_utf8(buffer[..size].to_vec()).unwrap().lines().map(str::to_owned));
    }
    lines
}

fn with_metrics(host: Host, settings: Settings) -> (Process, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let metrics = Some(Destination::Udp("127.0.0.1".to_owned(), server.local_addr().unwrap().port()));
    (Process::with(Options { host, settings, scripted: false, sender: None, metrics }), server)
}

#[test]
fn health_is_told_every_ten_seconds() {
    let settings = || Settings { metrics_enabled: true, env: Some("e1".to_owned()), ..Settings::default() };
    let world = world(r#"{"n": 3, "long": "0123456789"}"#);
    for host in HOSTS {
        let (mut process, server) = with_metrics(host, settings());
        let snapshot = json!({"captureSnapshot": true, "capture": {"maxLength": 4},
            "sampling": {"snapshotsPerSecond": 1}});
        put(&mut process, &[probe("a", &snapshot), probe("b", &json!({"when": {"dsl": "nothing > 1"}}))]);
        process.hit("a", 4, &world);
        process.hit("b", 2, &world);
        later(&mut process, 9 * SECOND);
        assert_eq!(came(&server), [""; 0], "{host:?}: nothing is told before ten seconds");
        later(&mut process, 2 * SECOND);
        let mut lines = came(&server);
        let tags = "env:e1,service:toy";
        let p99 = lines.iter().position(|line| line.starts_with("datadog.debugger.probe.capture.p99:")).unwrap();
        assert!(lines.remove(p99).ends_with(&format!("|g|#probe_id:a,{tags}")), "{host:?}");
        lines.retain(|line| !line.contains("capture.p99"));
        let queue = lines.iter().position(|line| line.starts_with("datadog.debugger.queue.bytes:")).unwrap();
        assert!(lines.remove(queue).ends_with(&format!("|g|#{tags}")), "{host:?}");
        let own = |text: &str, more: &str| format!("datadog.debugger.{text}|#{more}{tags}");
        assert_eq!(
            lines,
            [
                own("events.skipped:3|c", "event_type:snapshot,reason:rateLimitProbe,"),
                own("capture.incomplete:1|c", "event_type:snapshot,reason:stringLength,"),
                own("capture.incomplete:1|c", "event_type:log,reason:runtimeError,"),
                own("evaluation.errors:2|c", "event_type:log,"),
                own("probe.hits:4|c", "probe_id:a,"),
                own("probe.hits:2|c", "probe_id:b,"),
            ],
            "{host:?}"
        );
        assert_eq!(process.session.stats().metrics.unwrap().datagrams, 0, "{host:?}: no probe has measured anything");
    }
}

#[test]
fn health_is_told_at_the_end() {
    let settings = Settings { metrics_enabled: true, ..Settings::default() };
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(10 * SECOND)).unwrap();
    let to = Destination::Udp("127.0.0.1".to_owned(), server.local_addr().unwrap().port());
    let clock = Arc::new(SystemClock);
    let datagrams = Datagrams::to(to, &settings, "toy", &Container::default(), Arc::clone(&clock) as _);
    let session = Session::start(Parts {
        settings,
        identity: Identity::default(),
        runtime: Arc::new(ToyRuntime::new(Host::Inside, false)),
        clock,
        sinks: Vec::new(),
        sender: None,
        datagrams: Some(datagrams),
        tables: Arc::new(Tables::new(Arc::new(Redaction::default()))),
    });
    assert!(session.unwrap().stop(10 * SECOND));
    let mut buffer = [0; 2000];
    let size = server.recv(&mut buffer).unwrap();
    assert_eq!(String::from_utf8_lossy(&buffer[..size]), "datadog.debugger.queue.bytes:0|g|#service:toy\n");
}

#[test]
fn health_is_told_to_nobody_who_has_not_asked() {
    let (mut process, server) = with_metrics(Host::Inside, Settings::default());
    put(&mut process, &[probe("a", &json!({}))]);
    process.hit("a", 1, &world("{}"));
    later(&mut process, 21 * SECOND);
    assert_eq!(came(&server), [""; 0]);
}

/// `def work` on lines 10 to 14 of a file that begins with an import.
fn file(name: &str) -> File {
    let statements = |lines: &[u32]| lines.iter().map(|&line| Statement { line, end: line }).collect();
    let one = |name: &str, kind, first, last, parent, lines: &[u32]| Function {
        name: name.to_owned(),
        kind,
        first,
        last,
        parent,
        statements: statements(lines),
    };
    File {
        name: name.to_owned(),
        functions: vec![
            one("<module>", FunctionKind::Module, 1, 20, None, &[1, 10]),
            one("work", FunctionKind::Function, 10, 14, Some(0), &[11, 12, 14]),
        ],
        names: vec!["<module>".to_owned(), "Shop.work".to_owned()],
        meant: vec![1],
    }
}

fn knows(process: &Process, ran: Option<bool>) {
    process.runtime.knows(Facts { searched: Some(1234), files: vec![file("/srv/toy.py")], ran, ..Facts::default() });
}

#[test]
fn an_explanation_says_what_was_found_and_whether_it_ran() {
    for host in HOSTS {
        let mut process = process(host, &[probe("p", &json!({"when": {"dsl": "n > 1"}}))]);
        knows(&process, Some(false));
        let said = process.session.explain("p").unwrap();
        let place = [
            "It asks for line 12 of toy.py, when n > 1.",
            "1,234 files of code were looked through; /srv/toy.py is meant.",
            "Line 12 has code, in `Shop.work` (lines 10 to 14); near it lines 1, 10, 11, 14 have code too.",
            "The probe is at toy.py:12.",
        ];
        let not = "The code around it has not run since the probe was placed.";
        assert_eq!(said[..4], place, "{host:?}");
        assert_eq!(said[4..], [not, "It was never hit."], "{host:?}");
        knows(&process, Some(true));
        let said = process.session.explain("p").unwrap();
        assert_eq!(said[4], "The code around it has run since the probe was placed, but never came there.");

        let asked = |ran| Facts { ran, since_asked: true, ..Facts::default() };
        for (ran, text) in [
            (None, "Whether the code around it runs is known from now on: ask again."),
            (Some(false), "The code around it has not run since this was first asked."),
        ] {
            process.runtime.knows(asked(ran));
            assert!(process.session.explain("p").unwrap().iter().any(|one| one == text), "{host:?}: {text}");
        }
        knows(&process, Some(true));

        process.hit("p", 800, &world(r#"{"n": 0}"#));
        process.hit("p", 2, &world(r#"{"n": 3}"#));
        process.hit("p", 1, &world("{}"));
        let said = process.session.explain("p").unwrap();
        assert_eq!(said[..4], place, "{host:?}");
        assert!(
            said[4].starts_with(
                "It was hit 803 times, which made 3 events; not shown: 800 with a false condition; 1 failed: "
            ),
            "{host:?}: {}",
            said[4]
        );
        assert_eq!(process.session.explain("q"), None);
    }
}

#[test]
fn an_explanation_has_what_hits_cost_and_why_a_probe_is_nowhere() {
    for host in HOSTS {
        let missing = json!({"where": {"sourceFile": "missing.py", "lines": ["3"]}});
        let method = json!({"where": {"typeName": "shop", "methodName": "work"}});
        let mut process = process(host, &[probe("p", &json!({})), probe("gone", &missing), probe("m", &method)]);
        process.clock.drag(Duration::from_micros(4));
        process.hit("p", 1, &world("{}"));
        let said = process.session.explain("p").unwrap();
        assert!(said.iter().any(|one| one.starts_with("It was hit once, which made 1 event.")), "{said:?}");
        let cost = said.iter().find(|one| one.starts_with("A hit has cost about 4")).expect("its cost is known");
        assert!(cost.contains(" of CPU; of those that made an event half took at most "), "{cost}");

        process.runtime.knows(Facts { searched: Some(1), ..Facts::default() });
        assert_eq!(
            process.session.explain("gone").unwrap(),
            [
                "It asks for line 3 of missing.py.",
                "One file of code was looked through; none is the one that is meant.",
                "No file missing.py.",
                "It was never hit.",
            ]
        );
        knows(&process, None);
        let said = process.session.explain("m").unwrap();
        assert_eq!(said[0], "It asks for function `work` of shop.");
        assert_eq!(said[2], "`Shop.work` is there, lines 10 to 14.");
    }
}

#[test]
fn the_end_of_a_run_explains_with_the_counts_of_all_processes() {
    let mut process = process(Host::Inside, &[probe("p", &json!({}))]);
    knows(&process, Some(false));
    let own = |process: &Process| {
        let mut counts = Counts::of(&process.session.status(), &[]);
        counts.explain(&process.session.explain_places());
        counts
    };
    let mut parent = own(&process);
    process.hit("p", 3, &world("{}"));
    parent.add(own(&process));
    let text = parent.text(Look::default());
    assert!(text.starts_with("p\n  It asks for line 12 of toy.py.\n"), "{text}");
    assert!(text.contains("\n  It was hit 3 times, which made 3 events.\n"), "{text}");
    assert!(!text.contains("has not run"), "where it was hit is known best there: {text}");
}

//! What a session says of how its probes fare: the fields of a status and the health metrics, in both toy hosts
//! with a clock moved by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use std::net::UdpSocket;
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::config::Settings;
use stroboscope_core::datagrams::Destination;
use stroboscope_core::probe::wire;
use stroboscope_core::session::ProbeReport;
use stroboscope_toys::json::Json;
use stroboscope_toys::process::{HOSTS, Host, Options, Process};
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
fn health_is_told_every_ten_seconds_and_at_the_end() {
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

        process.hit("b", 3, &world);
        process.session.remove("b");
        process.round();
        process.session.stop(Duration::from_millis(1));
        process.session.flush(Duration::from_millis(1));
        process.round();
        let last = came(&server);
        assert!(last.contains(&own("evaluation.errors:3|c", "event_type:log,")), "{host:?}: {last:?}");
    }
}

#[test]
fn health_is_told_to_nobody_who_has_not_asked() {
    let (mut process, server) = with_metrics(Host::Inside, Settings::default());
    put(&mut process, &[probe("a", &json!({}))]);
    process.hit("a", 1, &world("{}"));
    later(&mut process, 21 * SECOND);
    assert_eq!(came(&server), [""; 0]);
}

//! Span probes and span decorations in the toy hosts: what is recorded where there is no tracer, what is asked of one where there is,
//! and how spans get to the Agent.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::SystemClock;
use stroboscope_core::config::{CaptureMode, Settings};
use stroboscope_core::control::agent::{AgentSettings, Endpoint};
use stroboscope_core::emit::span::{self, Span, SpanError};
use stroboscope_core::emit::status::State;
use stroboscope_core::hit::{Ask, TagText};
use stroboscope_core::host::ActiveSpan;
use stroboscope_core::probe::model::TargetSpan;
use stroboscope_core::probe::wire;
use stroboscope_core::sender::{Sender, SenderCounters};
use stroboscope_toys::json::Json;
use stroboscope_toys::process::{Host, Options, Process};
use stroboscope_toys::value::{Dialect, World};

const INSIDE: [Host; 2] = [Host::Inside, Host::InsideLater];
const SECOND: Duration = Duration::from_secs(1);

fn method(id: &str, kind: &str, more: &Value) -> Value {
    let mut probe =
        json!({"id": id, "version": 1, "type": kind, "where": {"typeName": "toy", "methodName": "Cart.add"}});
    for (name, value) in more.as_object().unwrap() {
        probe[name] = value.clone();
    }
    probe
}

fn span_probe(id: &str, more: &Value) -> Value {
    method(id, "SPAN_PROBE", more)
}

fn tag(name: &str, template: &str) -> Value {
    json!({"name": name, "value": {"template": template}})
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

fn world_of(process: &Process, text: &str) -> World {
    let redaction = Redaction::default();
    World::new(&Json::read(text).unwrap(), Dialect::Neutral, &redaction).unwrap().known_to(&process.tables)
}

fn traced(mut world: World) -> World {
    world.tracer = true;
    world.active = ActiveSpan { trace_id: 7, span_id: 8 };
    world
}

fn later(process: &mut Process, by: Duration) {
    let time = process.now() + by;
    process.until(time);
}

fn statuses(process: &Process, id: &str) -> Vec<String> {
    let all = process.memory.statuses();
    let all = all.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
    all.map(|json| json["debugger"]["diagnostics"].clone())
        .filter(|status| status["probeId"] == id)
        .map(|status| status["status"].as_str().unwrap().to_owned())
        .collect()
}

fn spans(process: &Process) -> Vec<Value> {
    process.memory.spans().iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// A call that takes some time, by the toy's clock.
fn call(process: &mut Process, id: &str, world: &World, takes: Duration) {
    let token = process.enter(id, world);
    later(process, takes);
    process.leave(id, world, token);
}

#[test]
fn a_call_is_a_span_with_its_time_and_its_exception() {
    for host in INSIDE {
        let mut process =
            process(host, &[span_probe("s", &json!({"tags": ["team:x", "odd"], "when": {"dsl": "n > 1"}}))]);
        let world = world_of(&process, r#"{"n": 2, "@return": 1}"#);
        let takes = Duration::from_millis(40);
        call(&mut process, "s", &world, takes);
        let text = r#"{"n": 2, "@exception": {"$exception": {"class": "shop.Odd", "message": "no 7", "fields": {}}}}"#;
        let throws = world_of(&process, text);
        call(&mut process, "s", &throws, takes);
        let unwanted = world_of(&process, r#"{"n": 1, "@return": 1}"#);
        call(&mut process, "s", &unwanted, takes);
        later(&mut process, SECOND);
        let spans = spans(&process);
        assert_eq!(spans.len(), 2, "{host:?} {spans:?}");
        for span in &spans {
            assert_eq!((&span["type"], &span["service"]), (&json!("span"), &json!("toy")));
            let span = &span["span"];
            assert_eq!((&span["name"], &span["resource"]), (&json!("dd.dynamic.span"), &json!("Cart.add")));
            assert_eq!(span["duration"], 40_000_000);
            assert_eq!((&span["tags"]["team"], &span["tags"]["odd"]), (&json!("x"), &json!("")));
            assert_eq!(span["tags"]["debugger.probeid"], "s");
        }
        assert_eq!((&spans[0]["span"]["error"], &spans[1]["span"]["error"]), (&json!(false), &json!(true)));
        assert_eq!(spans[1]["span"]["tags"]["error.message"], "no 7");
        assert!(spans[1]["span"]["tags"]["error.type"].as_str().unwrap().ends_with("Odd"));
        assert_ne!(spans[0]["span"]["traceId"], spans[1]["span"]["traceId"], "each is a trace of its own");
        assert_eq!(statuses(&process, "s"), ["RECEIVED", "INSTALLED", "EMITTING"]);
        let report = process.report("s").unwrap();
        assert_eq!((report.hits, report.rejected, report.emitted, report.pending), (3, 1, 2, 0));
        assert_eq!(process.ask(), None);
    }
}

#[test]
fn a_line_has_no_span_and_a_host_without_spans_says_so() {
    let mut process = process(Host::Inside, &[]);
    put(&mut process, &[span_probe("line", &json!({"where": {"sourceFile": "toy.py", "lines": ["1"]}}))]);
    let report = process.report("line").unwrap();
    assert_eq!((report.state, report.reason.as_str()), (State::Error, "A span needs a method: a line has no end"));
    let mut outside = Process::new(Host::Outside, Settings::default());
    put(&mut outside, &[span_probe("s", &json!({}))]);
    let report = outside.report("s").unwrap();
    assert_eq!((report.state, report.reason.as_str()), (State::Error, "span probes are not available in this version"));
}

#[test]
fn a_call_whose_end_is_not_seen_is_counted() {
    let mut process = process(Host::Inside, &[span_probe("s", &json!({}))]);
    let world = world_of(&process, r#"{"@return": 1}"#);
    let token = process.enter("s", &world);
    assert_eq!(process.report("s").unwrap().pending, 1);
    drop(token);
    let report = process.report("s").unwrap();
    assert_eq!((report.pending, report.unended), (0, 1));
}

#[test]
fn a_condition_that_fails_opens_no_span_and_is_told_once() {
    for host in INSIDE {
        let mut process = process(host, &[span_probe("s", &json!({"when": {"dsl": "missing == 1"}}))]);
        let world = world_of(&process, r#"{"@return": 1}"#);
        for _ in 0..3 {
            call(&mut process, "s", &world, Duration::from_millis(4));
        }
        later(&mut process, SECOND);
        assert!(spans(&process).is_empty());
        let events = process.memory.events();
        assert_eq!(events.len(), 1, "{host:?}");
        assert!(events[0].contains("No such variable: 'missing'"), "{}", events[0]);
        assert_eq!(process.report("s").unwrap().failed, 3);
    }
}

#[test]
fn with_a_tracer_the_spans_are_its_own() {
    let mut process = process(Host::Inside, &[span_probe("s", &json!({}))]);
    let world = traced(world_of(&process, r#"{"@return": 1}"#));
    let token = process.enter("s", &world);
    assert_eq!(process.ask(), Some(Ask::Open));
    process.leave("s", &world, token);
    assert_eq!(process.ask(), Some(Ask::Close(None)));
    let text = r#"{"@exception": {"$exception": {"class": "shop.Odd", "message": "no 7", "fields": {}}}}"#;
    let throws = traced(world_of(&process, text));
    let token = process.enter("s", &throws);
    assert_eq!(process.ask(), Some(Ask::Open));
    process.leave("s", &throws, token);
    let Some(Ask::Close(Some(SpanError { kind, message }))) = process.ask() else { panic!("it ended by an exception") };
    assert!(kind.ends_with("Odd") && message == "no 7", "{kind}: {message}");
    later(&mut process, SECOND);
    assert!(spans(&process).is_empty());
    assert_eq!(statuses(&process, "s"), ["RECEIVED", "INSTALLED"], "the tracer may have failed");
    process.live("s").unwrap().traced();
    later(&mut process, 2 * SECOND);
    assert_eq!(statuses(&process, "s"), ["RECEIVED", "INSTALLED", "EMITTING"]);
    assert_eq!(process.report("s").unwrap().traced, Some(1));
}

fn texts(pairs: &[(&str, &str)]) -> Vec<TagText> {
    pairs.iter().map(|(name, value)| TagText { name: (*name).into(), value: (*value).into() }).collect()
}

#[test]
fn each_decoration_that_holds_is_applied_and_nothing_withheld_is_in_a_tag() {
    let decorations = json!([
        {"tags": [tag("shop.user", "{user.name} has {len(items)}: {items}"), tag("plain", "as it is")]},
        {"when": {"dsl": "n > 5"}, "tags": [tag("never", "{n}")]},
        {"when": {"dsl": "n == 1"}, "tags": [tag("secret", "{password}"), tag("whole", "{user}"), tag("gone", "{nothing}")]},
        {"when": {"dsl": "absent > 5"}, "tags": [tag("unknown", "x")]},
    ]);
    let probe = method("d", "SPAN_DECORATION_PROBE", &json!({"targetSpan": "ROOT", "decorations": decorations}));
    let mut process = process(Host::Inside, &[probe]);
    let text = r#"{"n": 1, "password": "s3cret", "items": [1, 2],
        "user": {"$object": {"class": "shop.User", "fields": {"name": "Ann", "password": "s3cret"}}}, "@return": 1}"#;
    let world = world_of(&process, text);
    let call = |process: &mut Process, world: &World| {
        let token = process.enter("d", world);
        assert!(token.is_none(), "nothing is kept for the end");
        process.leave("d", world, token);
        process.ask()
    };
    assert_eq!(call(&mut process, &world), None, "without a tracer there is no span");
    let world = traced(world);
    let id = |name: &str| format!("_dd.di.{name}.probe_id");
    let wanted = texts(&[
        ("shop.user", "Ann has 2: [1, 2]"),
        (&id("shop.user"), "d"),
        ("plain", "as it is"),
        (&id("plain"), "d"),
        ("_dd.di.secret.evaluation_error", "Could not evaluate the expression because 'password' was redacted"),
        (&id("secret"), "d"),
        ("whole", "User{name: \"Ann\", password: {redacted}}"),
        (&id("whole"), "d"),
        ("_dd.di.gone.evaluation_error", "No such variable: 'nothing'"),
        (&id("gone"), "d"),
    ]);
    assert_eq!(call(&mut process, &world), Some(Ask::Tag(TargetSpan::Root, wanted)));
    later(&mut process, SECOND);
    let events = process.memory.events();
    assert_eq!(events.len(), 1, "one error event: {events:?}");
    let event: Value = serde_json::from_str(&events[0]).unwrap();
    assert_eq!(event["dd"], json!({"trace_id": "7", "span_id": "8"}));
    assert!(!events[0].contains("s3cret"));
    assert!(event["debugger"]["snapshot"]["captures"].is_null());
}

#[test]
fn a_tag_that_needs_a_value_fails_where_the_method_threw() {
    let decorations = json!([{"tags": [tag("result", "{@return}"), tag("error", "{@exception}")]}]);
    let probe = method("d", "SPAN_DECORATION_PROBE", &json!({"decorations": decorations}));
    let mut process = process(Host::Inside, &[probe]);
    let text = r#"{"@exception": {"$exception": {"class": "shop.Odd", "message": "no 7", "fields": {}}}}"#;
    let world = traced(world_of(&process, text));
    process.leave("d", &world, None);
    let wanted = texts(&[
        ("_dd.di.result.evaluation_error", "'@return' is not available here"),
        ("_dd.di.result.probe_id", "d"),
        ("error", "Odd: no 7"),
        ("_dd.di.error.probe_id", "d"),
    ]);
    assert_eq!(process.ask(), Some(Ask::Tag(TargetSpan::Active, wanted)));
}

#[test]
fn under_strict_capture_neither_a_tag_nor_the_error_of_a_span_shows_a_value() {
    let decorations = json!([{"tags": [tag("name", "{name} of {len(name)}"), tag("error", "{@exception}")]}]);
    let decoration = method("d", "SPAN_DECORATION_PROBE", &json!({"decorations": decorations}));
    let mut process = Process::new(Host::Inside, Settings { capture: CaptureMode::Strict, ..Settings::default() });
    put(&mut process, &[decoration, span_probe("s", &json!({}))]);
    let text =
        r#"{"name": "Ann", "@exception": {"$exception": {"class": "shop.Odd", "message": "no 7", "fields": {}}}}"#;
    let world = traced(world_of(&process, text));
    process.leave("d", &world, None);
    let Some(Ask::Tag(_, tags)) = process.ask() else { panic!("there are tags") };
    assert!(tags[0].value.ends_with(" of 3"), "a size may be shown: {tags:?}");
    let token = process.enter("s", &world);
    assert_eq!(process.ask(), Some(Ask::Open));
    process.leave("s", &world, token);
    let Some(Ask::Close(Some(SpanError { kind, message }))) = process.ask() else { panic!("it ended by an exception") };
    assert!(kind.ends_with("Odd"), "{kind}");
    let all = format!("{tags:?} {message}");
    assert!(!all.contains("Ann") && !all.contains("no 7"), "{all}");
}

#[test]
fn decorations_that_are_too_many_are_refused() {
    let one = json!({"tags": [tag("a", "b")]});
    let many = vec![one; 101];
    let mut process = process(Host::Inside, &[method("d", "SPAN_DECORATION_PROBE", &json!({"decorations": many}))]);
    let report = process.report("d").unwrap();
    assert_eq!(report.state, State::Error);
    assert!(report.reason.contains("101 elements; 100 are allowed"), "{}", report.reason);
    process.round();
}

#[test]
fn a_tag_is_cut_after_five_thousand_characters() {
    let decorations = json!([{"tags": [tag("long", "{text}{text}")]}]);
    let probe = method("d", "SPAN_DECORATION_PROBE", &json!({"decorations": decorations}));
    let mut process = process(Host::Inside, &[probe]);
    let world = traced(world_of(&process, &format!(r#"{{"text": "{}", "@return": 1}}"#, "ä".repeat(4000))));
    process.leave("d", &world, None);
    let Some(Ask::Tag(_, tags)) = process.ask() else { panic!("there are tags") };
    assert_eq!(tags[0].value.chars().count(), 5001);
    assert!(tags[0].value.ends_with("ä…"));
}

/// Of each request its path, its head and its body.
type Requests = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;

/// A server that answers each request with one of these, and keeps what it was sent.
struct Server {
    port: u16,
    got: Requests,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(answer: impl Fn(&str) -> (u16, &'static str) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let got = Requests::default();
        let kept = Arc::clone(&got);
        #[allow(clippy::disallowed_methods, reason = "the peer of a test")]
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut bytes = Vec::new();
                let mut chunk = [0; 4096];
                let head_end = loop {
                    if let Some(at) = bytes.windows(4).position(|four: &[u8]| four == b"\r\n\r\n") {
                        break at + 4;
                    }
                    let count = stream.read(&mut chunk).unwrap();
                    if count == 0 {
                        return;
                    }
                    bytes.extend_from_slice(&chunk[..count]);
                };
                let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
                let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
                let length: usize = length.map_or(0, |length| length.parse().unwrap());
                while bytes.len() < head_end + length {
                    let count = stream.read(&mut chunk).unwrap();
                    bytes.extend_from_slice(&chunk[..count]);
                }
                let path = head.split(' ').nth(1).unwrap().to_owned();
                let (status, body) = answer(path.split('?').next().unwrap());
                kept.lock().unwrap().push((path, head, bytes[head_end..].to_vec()));
                let length = body.len();
                write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
            }
        });
        Server { port, got, thread: Some(thread) }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("http://127.0.0.1:{}", self.port)).unwrap()
    }

    fn on(&self, path: &str) -> Vec<(String, Vec<u8>)> {
        let got = self.got.lock().unwrap();
        got.iter()
            .filter(|(of, ..)| of.split('?').next() == Some(path))
            .map(|(_, head, body)| (head.clone(), body.clone()))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A connection without a request ends it.
        drop(std::net::TcpStream::connect(("127.0.0.1", self.port)));
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A process that calls a method twice, and sends what comes of it.
fn delivered(endpoint: Endpoint, otlp: Option<Endpoint>) -> (Arc<SenderCounters>, bool) {
    let mut settings = AgentSettings::new(endpoint);
    settings.otlp = otlp;
    settings.policy.delays = vec![Duration::from_millis(10)];
    let counters = Arc::new(SenderCounters::default());
    let sender = Sender::start(settings, Arc::new(SystemClock), Arc::clone(&counters));
    let settings = Settings { env: Some("e1".into()), ..Settings::default() };
    let options = Options { host: Host::Inside, settings, scripted: false, sender: Some(sender), metrics: None };
    let mut process = Process::with(options);
    put(&mut process, &[span_probe("s", &json!({"tags": ["team:x"]}))]);
    let world = world_of(&process, r#"{"@return": 1}"#);
    for _ in 0..2 {
        call(&mut process, "s", &world, Duration::from_millis(8));
    }
    later(&mut process, 2 * SECOND);
    // The sender has a thread and a clock of its own.
    for _ in 0..2000 {
        process.round();
        if process.session.stats().uploads.unwrap().events + counters.dropped_events() == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let lost = counters.dropped_events() > 0;
    (counters, lost)
}

const INFO: &str = r#"{"endpoints":["/v0.4/traces","/debugger/v2/input","/debugger/v1/diagnostics"]}"#;

#[test]
fn spans_go_to_the_trace_api_of_an_agent() {
    let agent = Server::start(|path| if path == "/info" { (200, INFO) } else { (200, "{}") });
    let (_, lost) = delivered(agent.endpoint(), None);
    assert!(!lost);
    let requests = agent.on("/v0.4/traces");
    assert_eq!(requests.len(), 1);
    let (head, body) = &requests[0];
    assert!(head.contains("Content-Type: application/msgpack\r\n"), "{head}");
    assert!(head.contains("X-Datadog-Trace-Count: 2\r\n"), "{head}");
    let traces: Vec<Vec<Span>> = span::read(body).unwrap();
    assert_eq!(traces.len(), 2);
    for trace in &traces {
        let [span] = &trace[..] else { panic!("one span") };
        assert_eq!((&*span.service, &*span.name, &*span.resource), ("toy", "dd.dynamic.span", "Cart.add"));
        assert_eq!((span.parent_id, span.error, span.duration), (0, 0, 8_000_000));
        assert!(span.trace_id != 0 && span.span_id != 0);
        assert_eq!((&*span.meta["env"], &*span.meta["team"], &*span.meta["debugger.probeid"]), ("e1", "x", "s"));
        assert!((span.metrics["_sampling_priority_v1"] - 1.0).abs() < f64::EPSILON);
    }
}

#[test]
fn spans_go_to_a_receiver_of_otlp_where_no_agent_takes_them() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nobody = Endpoint::parse(&format!("http://127.0.0.1:{nobody}")).unwrap();
    let old = Server::start(|path| match path {
        "/info" => (200, r#"{"endpoints":["/debugger/v2/input"]}"#),
        _ => (200, "{}"),
    });
    let gone = Server::start(|path| match path {
        "/info" => (200, INFO),
        "/v0.4/traces" => (404, ""),
        _ => (200, "{}"),
    });
    for endpoint in [nobody, old.endpoint(), gone.endpoint()] {
        let otlp = Server::start(|_| (200, "{}"));
        let (_, lost) = delivered(endpoint, Some(otlp.endpoint()));
        assert!(!lost);
        let requests = otlp.on("/v1/traces");
        assert_eq!(requests.len(), 1);
        let (head, body) = &requests[0];
        assert!(head.contains("Content-Type: application/json\r\n") && !head.contains("Datadog"), "{head}");
        let request: Value = serde_json::from_slice(body).unwrap();
        let spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 2);
        assert_eq!(spans[0]["name"], "dd.dynamic.span");
    }
}

#[test]
fn spans_that_nobody_takes_are_counted() {
    let refuses = Server::start(|path| if path == "/info" { (200, INFO) } else { (400, "") });
    let (counters, lost) = delivered(refuses.endpoint(), None);
    assert!(lost);
    assert_eq!(counters.rejected.load(std::sync::atomic::Ordering::Relaxed), 2);
}

//! The upload of symbols by whole sessions of the toy hosts, over real sockets: what arrives, what is tried again, and that
//! events and the end wait for none of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::SystemClock;
use stroboscope_core::config::Settings;
use stroboscope_core::control::agent::{AgentSettings, Endpoint};
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::symbols::{MODULES_A_BATCH, Module, Scope, ScopeKind};
use stroboscope_core::host::Runtime;
use stroboscope_core::record::names::Tables;
use stroboscope_core::sender::{Sender, SenderCounters};
use stroboscope_core::session::{Parts, Session};
use stroboscope_toys::process::{HOSTS, Host, Options, Process, ToyRuntime};

const LONG: Duration = Duration::from_secs(20);
const SYMBOLS: &str = "/symdb/v1/input";

/// A request as it came.
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap().split('?').next().unwrap()
    }

    /// What the file of a form holds.
    fn file(&self) -> Value {
        let find = |from: usize, text: &[u8]| {
            from + self.body[from..].windows(text.len()).position(|window| window == text).unwrap()
        };
        let event = find(0, b"\r\n\r\n") + 4;
        let end = find(event, b"\r\n--");
        let size = serde_json::from_slice::<Value>(&self.body[event..end]).unwrap()["attachmentSize"].as_u64().unwrap();
        let file = find(end, b"\r\n\r\n") + 4;
        let mut text = String::new();
        GzDecoder::new(&self.body[file..file + usize::try_from(size).unwrap()]).read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

/// An Agent in this process: it answers symbols with these statuses, one after the other, and all else with 200.
struct Agent {
    requests: Receiver<Request>,
    endpoint: Endpoint,
}

impl Agent {
    fn start(statuses: &[u16]) -> Agent {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let (told, requests) = channel();
        let statuses = Mutex::new(statuses.to_vec());
        #[allow(clippy::disallowed_methods, reason = "the peer of a test")]
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Some(request) = read(stream.as_ref().unwrap()) else { continue };
                let mut left = statuses.lock().unwrap();
                let status = match request.path() {
                    SYMBOLS if !left.is_empty() => left.remove(0),
                    _ => 200,
                };
                let body = r#"{"endpoints": ["/debugger/v2/input"]}"#;
                // Who asked may have gone.
                let _ = write!(stream.unwrap(), "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                if told.send(request).is_err() {
                    return;
                }
            }
        });
        Agent { requests, endpoint }
    }

    /// The next form with symbols.
    fn symbols(&self) -> Request {
        loop {
            let request = self.requests.recv_timeout(LONG).expect("symbols come");
            if request.path() == SYMBOLS {
                return request;
            }
        }
    }
}

fn read(mut stream: &TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 65536];
    loop {
        let count = stream.read(&mut chunk).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length =
            head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |text| text.parse().unwrap());
        if bytes.len() >= end + 4 + length {
            return Some(Request { head, body: bytes[end + 4..].to_vec() });
        }
    }
}

fn process(host: Host, agent: &Agent, settings: Settings) -> (Process, Arc<SenderCounters>) {
    let mut to = AgentSettings::new(agent.endpoint.clone());
    to.tags = "env:e1,team:x".into();
    let counters = Arc::new(SenderCounters::default());
    let sender = Some(Sender::start(to, Arc::new(SystemClock), Arc::clone(&counters)));
    (Process::with(Options { host, settings, scripted: false, sender, metrics: None }), counters)
}

fn forced() -> Settings {
    Settings { symbol_database_force_upload: true, ..Settings::default() }
}

fn module(name: &str) -> Module {
    let scopes = vec![Scope::new(ScopeKind::Class, "Cart".into(), None)];
    Module {
        name: name.to_owned(),
        file: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/symbols.rs").to_owned(),
        scopes,
        ..Module::default()
    }
}

fn later(process: &mut Process, seconds: u64) {
    let time = process.now() + Duration::from_secs(seconds);
    process.until(time);
}

/// Lets time pass until something is so: the sender's thread needs time of its own.
fn until(process: &mut Process, done: impl Fn(&Process) -> bool) {
    let mut looks = 0..2_000;
    while !done(process) {
        assert!(looks.next().is_some(), "it does not come to an end");
        later(process, 1);
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn modules_arrive_in_a_form_with_tags_in_a_header() {
    for host in HOSTS {
        let agent = Agent::start(&[]);
        let (mut process, counters) = process(host, &agent, forced());
        process.round();
        assert!(process.runtime.was_asked_for_symbols(), "{host:?}");
        for number in 0..2 * MODULES_A_BATCH + 3 {
            if !process.session.symbols(&module(&format!("m{number}"))) {
                // A batch is closed, and has to leave first.
                until(&mut process, |process| process.runtime.was_asked_for_symbols());
            }
        }
        later(&mut process, 3);
        let mut names = Vec::new();
        for number in 1..=3 {
            let request = agent.symbols();
            assert!(request.head.starts_with("POST /symdb/v1/input HTTP/1.1\r\n"), "{}", request.head);
            assert!(request.head.contains("\r\nX-Datadog-Additional-Tags: env:e1,team:x\r\n"), "{}", request.head);
            let file = request.file();
            assert_eq!(
                (&file["batch_num"], &file["service"], &file["language"]),
                (&json!(number), &json!("toy"), &json!("toy"))
            );
            names.extend(
                file["scopes"].as_array().unwrap().iter().map(|scope| scope["name"].as_str().unwrap().to_owned()),
            );
            later(&mut process, 3);
        }
        let all: Vec<String> = (0..2 * MODULES_A_BATCH + 3).map(|number| format!("m{number}")).collect();
        assert_eq!(names, all, "{host:?}");
        until(&mut process, |_| counters.symbols_sent.load(Relaxed) == all.len() as u64);
        assert_eq!(process.session.stats().uploads.unwrap().symbols, all.len() as u64);
    }
}

#[test]
fn nothing_is_asked_of_the_host_before_somebody_wants_it_nor_after_the_end() {
    let agent = Agent::start(&[]);
    let (mut process, _) = process(Host::Inside, &agent, Settings::default());
    later(&mut process, 30);
    assert!(!process.runtime.was_asked_for_symbols() && !process.session.symbols(&module("m")));
    assert!(process.session.upload_symbols(true));
    process.round();
    assert!(process.runtime.was_asked_for_symbols());
    assert!(process.session.wants_symbols("m", "m.py", false) && !process.session.wants_symbols("m", "m.py", true));
    assert!(!process.session.upload_symbols(false));
    later(&mut process, 30);
    assert!(!process.runtime.was_asked_for_symbols() && !process.session.wants_symbols("m", "m.py", false));
}

#[test]
fn a_batch_that_fails_is_sent_again_and_says_nothing_of_events() {
    let agent = Agent::start(&[503, 200]);
    let (mut process, counters) = process(Host::Inside, &agent, forced());
    process.session.symbols(&module("m"));
    later(&mut process, 2);
    let first = agent.symbols();
    until(&mut process, |_| counters.symbols_sent.load(Relaxed) == 1);
    assert_eq!(first.body, agent.symbols().body);
    assert!(process.now() > Duration::from_secs(30), "not at once");
    assert_eq!((counters.dropped_events(), counters.retries.load(Relaxed)), (0, 0), "nothing waits for symbols");
}

#[test]
fn an_agent_without_the_endpoint_is_asked_once() {
    let agent = Agent::start(&[404, 404]);
    let (mut process, counters) = process(Host::Inside, &agent, forced());
    process.session.symbols(&module("m"));
    later(&mut process, 2);
    agent.symbols();
    until(&mut process, |_| counters.symbols_lost.load(Relaxed) == 1);
    process.runtime.was_asked_for_symbols();
    later(&mut process, 60);
    assert!(!process.runtime.was_asked_for_symbols() && !process.session.symbols(&module("n")));
}

#[test]
fn nobody_waits_for_symbols_at_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let to = AgentSettings { timeout: 10 * LONG, ..AgentSettings::new(endpoint) };
    let session = Session::start(Parts {
        settings: forced(),
        identity: Identity::default(),
        runtime: Arc::new(ToyRuntime::new(Host::Inside, false)) as Arc<dyn Runtime>,
        clock: Arc::new(SystemClock),
        sinks: Vec::new(),
        sender: Some(Sender::start(to, Arc::new(SystemClock), Arc::default())),
        datagrams: None,
        tables: Arc::new(Tables::new(Arc::new(Redaction::default()))),
    });
    let session = session.unwrap();
    assert!(session.symbols(&module("m")));
    // The Agent takes the connection and never answers.
    let _connection = listener.accept().unwrap();
    assert!(session.flush(LONG), "there is no event to be waited for");
    assert!(session.stop(LONG));
    assert_eq!(session.stats().uploads.unwrap().symbols, 0);
}

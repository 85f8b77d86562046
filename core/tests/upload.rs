//! The sender against the stand-in Agent of `tests/agent`, over real sockets: each accident of the scripts there, and what
//! must be counted after it. Waits are shortened by the settings; the rules' own numbers are tested beside `retry.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::control::agent::{AgentSettings, Endpoint};
use stroboscope_core::emit::batch::{Batch, Kind};
use stroboscope_core::sender::{Sender, SenderCounters};

const LONG: Duration = Duration::from_secs(20);
const V2: &str = "/debugger/v2/input";
const DIAGNOSTICS: &str = "/debugger/v1/diagnostics";

/// Seconds since a reading of the clock.
fn since(start: u64) -> f64 {
    Duration::from_nanos(SystemClock.monotonic() - start).as_secs_f64()
}

/// The stand-in Agent; it ends with the test.
struct Agent {
    child: Child,
    folder: PathBuf,
    port: u16,
    listening: Value,
}

impl Agent {
    fn start(script: &str) -> Agent {
        Agent::start_with(script, &[])
    }

    fn start_with(script: &str, more: &[&str]) -> Agent {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("strobe-agent-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agent");
        let ports = folder.join("ports");
        let child = Command::new("python3")
            .arg(home.join("agent.py"))
            .arg("--script")
            .arg(home.join("scripts").join(format!("{script}.json")))
            .arg("--port-file")
            .arg(&ports)
            .arg("--unix")
            .arg(folder.join("socket"))
            .args(more)
            .stdin(Stdio::null())
            .spawn()
            .expect("these tests need `python3` on the PATH to run tests/agent/agent.py");
        let mut agent = Agent { child, folder, port: 0, listening: Value::Null };
        let start = SystemClock.monotonic();
        while !ports.exists() {
            assert!(agent.child.try_wait().unwrap().is_none(), "the stand-in Agent has ended, see above");
            assert!(since(start) < 20.0, "the stand-in Agent does not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        agent.listening = serde_json::from_slice(&std::fs::read(&ports).unwrap()).unwrap();
        agent.port = u16::try_from(agent.listening["http"].as_u64().unwrap()).unwrap();
        agent
    }

    fn ask(&self, target: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn requests(&self, path: &str) -> Vec<Value> {
        self.ask(&format!("/_requests?path={path}")).as_array().unwrap().clone()
    }

    fn tcp(&self) -> Endpoint {
        Endpoint::parse(&format!("http://127.0.0.1:{}", self.port)).unwrap()
    }

    fn unix(&self) -> Endpoint {
        Endpoint::parse(&format!("unix://{}", self.folder.join("socket").display())).unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().expect("the stand-in Agent can be ended");
        self.child.wait().expect("the stand-in Agent ends");
        std::fs::remove_dir_all(&self.folder).expect("its folder can be removed");
    }
}

/// A sender with short waits and what it counts.
fn sender_with(endpoint: Endpoint, change: impl FnOnce(&mut AgentSettings)) -> (Sender, Arc<SenderCounters>) {
    let mut settings = AgentSettings::new(endpoint);
    settings.timeout = Duration::from_millis(500);
    settings.policy.delays = [10, 20, 30].map(Duration::from_millis).to_vec();
    change(&mut settings);
    let counters = Arc::new(SenderCounters::default());
    (Sender::start(settings, Arc::new(SystemClock), Arc::clone(&counters)), counters)
}

fn sender(endpoint: Endpoint) -> (Sender, Arc<SenderCounters>) {
    sender_with(endpoint, |_| {})
}

fn patient(settings: &mut AgentSettings) {
    settings.timeout = LONG;
}

fn events(count: usize) -> Batch {
    let body = format!("[{}]", vec!["{\"debugger\":{}}"; count].join(",")).into_bytes();
    Batch { kind: Kind::Events, body, count, riders: vec![] }
}

fn statuses(count: usize) -> Batch {
    Batch { kind: Kind::Statuses, ..events(count) }
}

fn sent(counters: &SenderCounters) -> u64 {
    counters.events_sent.load(Ordering::Relaxed)
}

fn dropped(counters: &SenderCounters) -> Vec<(&'static str, u64)> {
    counters.drops().into_iter().filter(|(_, count)| *count > 0).collect()
}

fn deliver(sender: &Sender, batch: Batch) {
    sender.offer(batch).expect("there is room");
    assert!(sender.flush(LONG), "the batch is not settled after {LONG:?}");
}

#[test]
fn a_batch_arrives_over_tcp_and_over_a_unix_socket() {
    let agent = Agent::start("well");
    let tcp = (agent.tcp(), format!("127.0.0.1:{}", agent.port), "tcp");
    let unix = (agent.unix(), "localhost".to_owned(), "unix");
    for (endpoint, host, transport) in [tcp, unix] {
        let (sender, counters) = sender_with(endpoint, |settings| {
            settings.tags = "env:prod,team:a b".into();
            settings.entity_id = Some("en-7".into());
            settings.external_env = Some("it-false,cn-x".into());
            settings.user_agent = "stroboscope-python/0.1.0".into();
        });
        deliver(&sender, events(3));
        deliver(&sender, statuses(2));
        assert!(sender.stop(LONG));
        assert_eq!((sent(&counters), counters.statuses_sent.load(Ordering::Relaxed)), (3, 2));
        assert!(counters.last_success.load(Ordering::Relaxed) > 0);

        let request = agent.requests(V2).pop().unwrap();
        assert_eq!(request["method"], "POST");
        assert_eq!(request["transport"], transport);
        assert_eq!(request["query"], "ddtags=env%3Aprod%2Cteam%3Aa%20b");
        assert_eq!(request["tags"], "env:prod,team:a b");
        assert_eq!(request["elements"], 3);
        let headers = request["headers"].as_object().unwrap();
        assert_eq!(headers["host"], *host);
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["content-length"].as_str().unwrap(), request["length"].to_string());
        assert!(!headers.contains_key("transfer-encoding"));
        assert_eq!(headers["user-agent"], "stroboscope-python/0.1.0");
        assert_eq!(headers["datadog-entity-id"], "en-7");
        assert_eq!(headers["datadog-external-env"], "it-false,cn-x");
        assert_eq!(headers["dd-internal-untraced-request"], "1");

        let form = agent.requests(DIAGNOSTICS).pop().unwrap();
        assert_eq!(form["elements"], 2, "the form's part is the array");
        assert!(form["headers"]["content-type"].as_str().unwrap().starts_with("multipart/form-data; boundary="));
        assert!(form["body"].as_str().unwrap().contains("name=\"event\"; filename=\"event.json\"\r\n"));
        assert_eq!(form["tags"], "env:prod,team:a b");
    }
    assert_eq!(agent.requests("/info").len(), 2, "one question for each sender, not for each batch");
}

#[test]
fn a_large_batch_arrives_whole() {
    let agent = Agent::start("well");
    let body = format!("[\"{}\"]", "é".repeat((2 << 20) - 3)).into_bytes();
    for endpoint in [agent.tcp(), agent.unix()] {
        let (sender, counters) = sender_with(endpoint, patient);
        deliver(&sender, Batch { kind: Kind::Events, body: body.clone(), count: 1, riders: vec![] });
        assert_eq!(sent(&counters), 1);
        assert!(sender.stop(LONG));
    }
    assert_eq!(agent.ask("/_stats")["paths"][V2]["bytes"], 2 * body.len());
}

#[test]
fn an_agent_without_v2_gets_events_as_plain_json_at_diagnostics() {
    let agent = Agent::start("without-v2");
    let (sender, counters) = sender(agent.tcp());
    deliver(&sender, events(3));
    assert_eq!(sent(&counters), 3);
    assert!(agent.requests(V2).is_empty());
    let request = agent.requests(DIAGNOSTICS).pop().unwrap();
    assert_eq!(request["headers"]["content-type"], "application/json");
    assert_eq!(request["elements"], 3);
}

#[test]
fn a_404_sends_the_batch_again_once_to_diagnostics() {
    let agent = Agent::start("v2-gone");
    let (sender, counters) = sender_with(agent.unix(), |settings| {
        settings.policy.look_again = Duration::from_secs(1);
    });
    deliver(&sender, events(3));
    deliver(&sender, events(2));
    assert_eq!((sent(&counters), dropped(&counters)), (5, vec![]));
    assert_eq!(agent.requests(V2).len(), 1, "the second batch knows");
    assert_eq!(agent.requests(DIAGNOSTICS).len(), 2);
    assert_eq!(agent.requests("/info").len(), 1);
    std::thread::sleep(Duration::from_millis(1100));
    deliver(&sender, events(1));
    assert_eq!(agent.requests("/info").len(), 2, "the Agent is asked again after a while");
    assert_eq!(agent.requests(V2).len(), 2, "and taken at its word");
    assert_eq!(sent(&counters), 6);
}

#[test]
fn a_batch_refused_as_too_large_is_dropped_and_the_next_arrives() {
    for unix in [false, true] {
        let agent = Agent::start("too-large");
        let (sender, counters) = sender_with(if unix { agent.unix() } else { agent.tcp() }, patient);
        deliver(&sender, Batch { kind: Kind::Events, body: vec![b' '; 4 << 20], count: 7, riders: vec![] });
        deliver(&sender, events(1));
        assert_eq!((sent(&counters), dropped(&counters)), (1, vec![("rejected", 7)]));
        assert_eq!(counters.retries.load(Ordering::Relaxed), 0, "it is not tried again");
    }
}

#[test]
fn retry_after_is_waited_for() {
    let agent = Agent::start("slow-down");
    let (sender, counters) = sender(agent.tcp());
    deliver(&sender, events(1));
    assert_eq!(sent(&counters), 1);
    let times: Vec<f64> = agent.requests(V2).iter().map(|request| request["time"].as_f64().unwrap()).collect();
    assert_eq!(times.len(), 2);
    assert!((0.95..5.0).contains(&(times[1] - times[0])), "{times:?}");
}

#[test]
fn passing_failures_are_retried_and_nothing_is_lost() {
    // The script, and the requests that reach v2.
    for (script, reached) in [("failing", 3), ("garbage", 3), ("dies-in-mid-batch", 2), ("slow", 2), ("drips", 2)] {
        let agent = Agent::start(script);
        let (sender, counters) = sender(agent.tcp());
        deliver(&sender, events(4));
        assert_eq!((sent(&counters), dropped(&counters)), (4, vec![]), "{script}");
        assert_eq!(agent.requests(V2).len(), reached, "{script}");
        assert_eq!(counters.retries.load(Ordering::Relaxed), reached as u64 - 1, "{script}");
        assert!(sender.stop(LONG));
    }
}

#[test]
fn an_agent_that_keeps_failing_costs_a_batch_after_three_retries() {
    let agent = Agent::start("always-failing");
    let (sender, counters) = sender(agent.unix());
    deliver(&sender, events(4));
    assert_eq!((sent(&counters), dropped(&counters)), (0, vec![("transport", 4)]));
    assert_eq!(agent.requests(V2).len(), 4);
    assert!(agent.requests(DIAGNOSTICS).is_empty(), "only 404 and 405 switch");
}

#[test]
fn an_agent_that_never_answers_delays_stop_by_its_limit_at_most() {
    let agent = Agent::start("never");
    for endpoint in [agent.tcp(), agent.unix()] {
        let (sender, counters) = sender_with(endpoint, patient);
        sender.offer(events(5)).unwrap();
        sender.offer(events(2)).unwrap();
        let start = SystemClock.monotonic();
        assert!(!sender.flush(Duration::from_millis(100)));
        assert!(sender.stop(Duration::from_secs(1)), "the connection is ended, and the thread with it");
        assert!(since(start) < 1.3, "{}", since(start));
        assert_eq!(sent(&counters), 0);
        assert_eq!(counters.dropped_events(), 7, "{:?}", counters.drops());
        assert!(!sender.ready());
        assert_eq!(sender.offer(events(1)), Err(events(1)));
        assert!(sender.stop(LONG), "a second stop does nothing");
    }
}

#[test]
fn a_full_backlog_does_not_hang_a_unix_connection() {
    let folder = std::env::temp_dir().join(format!("strobe-backlog-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("socket");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // Nobody accepts, and the queue has room for one.
    rustix::net::listen(&listener, 0).unwrap();
    let first = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let (sender, counters) = sender_with(Endpoint::Unix(path), |settings| {
        settings.timeout = Duration::from_millis(20);
    });
    sender.offer(events(1)).unwrap();
    assert!(sender.flush(Duration::from_secs(10)), "connecting has no limit");
    assert_eq!(dropped(&counters), [("transport", 1)]);
    drop(first);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn nothing_listening_is_silence_and_a_count() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tcp = Endpoint::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let nowhere = Endpoint::Unix("/nonexistent/strobe/apm.socket".into());
    for endpoint in [tcp, nowhere, Endpoint::parse("http://nowhere.invalid:1").unwrap()] {
        let (sender, counters) = sender_with(endpoint, patient);
        deliver(&sender, events(6));
        assert_eq!(dropped(&counters), [("transport", 6)]);
        assert_eq!(counters.retries.load(Ordering::Relaxed), 3);
        deliver(&sender, statuses(1));
        assert_eq!(counters.statuses_lost.load(Ordering::Relaxed), 1);
        assert!(sender.stop(Duration::from_secs(2)));
    }
}

#[test]
fn the_breaker_spares_an_agent_that_is_down_and_lost_statuses_are_asked_for_when_it_is_back() {
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (sender, counters) = sender_with(Endpoint::parse(&format!("http://{down}")).unwrap(), |settings| {
        settings.policy.delays.clear();
        settings.policy.failures = 3;
        settings.policy.open = Duration::from_secs(1);
    });
    deliver(&sender, statuses(1));
    assert!(!sender.statuses_owed(), "not before the Agent is back");
    for _ in 0..4 {
        deliver(&sender, events(2));
    }
    assert_eq!(dropped(&counters), [("breakerOpen", 4), ("transport", 4)]);
    // An Agent comes back at the same address and answers two requests: what it can do, and the trial batch.
    let listener = TcpListener::bind(down).unwrap();
    #[allow(clippy::disallowed_methods, reason = "the test's own Agent needs a thread")]
    let agent = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap();
        }
    });
    std::thread::sleep(Duration::from_millis(1100));
    deliver(&sender, events(1));
    assert_eq!(sent(&counters), 1, "{:?}", counters.drops());
    assert!(sender.statuses_owed());
    assert!(!sender.statuses_owed(), "once");
    agent.join().unwrap();
}

#[test]
fn the_worker_is_never_kept_waiting() {
    let agent = Agent::start("never");
    let (sender, _) = sender_with(agent.tcp(), patient);
    let start = SystemClock.monotonic();
    let mut taken = 0;
    for _ in 0..1000 {
        if sender.ready() {
            sender.offer(events(1)).expect("ready keeps its word");
            taken += 1;
        } else {
            assert_eq!(sender.offer(events(1)), Err(events(1)));
        }
    }
    assert_eq!(taken, 2, "one on its way, one behind it");
    sender.offer(statuses(1)).expect("statuses have room of their own");
    assert!(since(start) < 0.5, "{}", since(start));
    assert!(sender.held_bytes() > 0);
    sender.stop(Duration::from_millis(100));
}

#[test]
fn a_batch_behind_a_large_one_stays_with_the_worker() {
    let agent = Agent::start("never");
    let (sender, _) = sender_with(agent.tcp(), patient);
    sender.offer(Batch { kind: Kind::Events, body: vec![b' '; (1 << 20) + 1], count: 1, riders: vec![] }).unwrap();
    assert!(!sender.ready());
    sender.stop(Duration::from_millis(100));
}

#[test]
fn a_forked_child_forgets_without_waiting() {
    let agent = Agent::start("never");
    let (sender, counters) = sender_with(agent.tcp(), patient);
    sender.offer(events(1)).unwrap();
    let start = SystemClock.monotonic();
    sender.abandon();
    assert!(since(start) < 0.1);
    assert_eq!(counters.dropped_events(), 0, "what is the parent's is not counted here");
}

#[test]
fn proxy_variables_of_the_application_are_not_used() {
    // Runs again in a process whose every proxy is a trap.
    const MARK: &str = "STROBE_TEST_PROXY_CHILD";
    #[allow(clippy::disallowed_methods, reason = "the test asks which of its two processes it is")]
    let is_child = std::env::var_os(MARK).is_some();
    if is_child {
        let agent = Agent::start("well");
        let (sender, counters) = sender(agent.tcp());
        deliver(&sender, events(1));
        assert_eq!(sent(&counters), 1);
        return;
    }
    let trap = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", trap.local_addr().unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "proxy_variables_of_the_application_are_not_used"]).env(MARK, "1");
    for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        child.env(name, &proxy);
    }
    let output = child.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    trap.set_nonblocking(true).unwrap();
    assert_eq!(trap.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn without_an_agent_the_intake_gets_all_tracks_with_the_key() {
    let agent = Agent::start("well");
    let endpoint = Endpoint::intake_at(&format!("http://127.0.0.1:{}", agent.port), "secret-key").unwrap();
    let (sender, counters) = sender(endpoint);
    deliver(&sender, events(2));
    deliver(&sender, statuses(1));
    assert_eq!((sent(&counters), counters.statuses_sent.load(Ordering::Relaxed)), (2, 1));
    let requests = agent.requests("/api/v2/debugger");
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert_eq!(request["headers"]["dd-api-key"], "secret-key");
        assert_eq!(request["headers"]["dd-evp-origin"], "agent-debugger");
    }
    assert!(agent.requests("/info").is_empty());
}

#[test]
fn the_stand_in_receives_datagrams() {
    let folder = std::env::temp_dir().join(format!("strobe-udp-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut agent = Agent::start_with("well", &["--udp", "--udp-unix", folder.join("udp").to_str().unwrap()]);
    let port = u16::try_from(agent.listening["udp"].as_u64().unwrap()).unwrap();
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    sender.send_to(b"strobe.hits:1|c", ("127.0.0.1", port)).unwrap();
    let sender = std::os::unix::net::UnixDatagram::unbound().unwrap();
    sender.send_to(b"strobe.time:2|d", folder.join("udp")).unwrap();
    let mut datagrams = agent.ask("/_datagrams?count=2&wait=10");
    datagrams.as_array_mut().unwrap().sort_by_key(Value::to_string);
    assert_eq!(datagrams, serde_json::json!(["strobe.hits:1|c", "strobe.time:2|d"]));
    agent.ask("/_stop");
    assert!(agent.child.wait().unwrap().success());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_misspelt_script_is_refused() {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agent");
    let path = std::env::temp_dir().join(format!("strobe-script-{}.json", std::process::id()));
    for (script, complaint) in [
        (r#"{"paths":{"/info":[{"staus":404}]}}"#, "unknown words ['staus']"),
        (r#"{"paths":{"/info":[]}}"#, "at least one behaviour"),
        (r#"{"path":{}}"#, "unknown words in the script"),
        (r#"{"default":[{"drop":"always"}]}"#, "drop is one of"),
    ] {
        std::fs::write(&path, script).unwrap();
        let output = Command::new("python3").arg(home.join("agent.py")).arg("--script").arg(&path).output().unwrap();
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains(complaint), "{output:?}");
    }
    std::fs::remove_file(&path).unwrap();
}

#[cfg(feature = "tls")]
#[test]
fn over_tls_a_batch_arrives_only_at_an_agent_that_is_trusted() {
    let agent = Agent::start_with("well", &["--tls"]);
    let endpoint = Endpoint::parse(&format!("https://localhost:{}", agent.listening["https"])).unwrap();
    let (stranger, counters) = sender_with(endpoint.clone(), patient);
    deliver(&stranger, events(2));
    assert_eq!((sent(&counters), dropped(&counters)), (0, vec![("transport", 2)]));
    assert!(agent.requests(V2).is_empty());

    let (sender, counters) = sender_with(endpoint, |settings| {
        settings.timeout = LONG;
        settings.trusted = vec![certificate()];
    });
    deliver(&sender, Batch { kind: Kind::Events, body: vec![b' '; 3 << 20], count: 1, riders: vec![] });
    deliver(&sender, events(2));
    assert_eq!((sent(&counters), dropped(&counters)), (3, vec![]));
    assert_eq!(agent.requests(V2).pop().unwrap()["transport"], "tls");
}

/// The stand-in's certificate in DER.
#[cfg(feature = "tls")]
fn certificate() -> Vec<u8> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/agent");
    let script = "import ssl,sys; sys.stdout.buffer.write(ssl.PEM_cert_to_DER_cert(open(sys.argv[1]).read()))";
    Command::new("python3").args(["-c", script]).arg(home.join("tls/cert.pem")).output().unwrap().stdout
}

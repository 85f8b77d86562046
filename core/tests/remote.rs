//! Remote configuration in whole sessions of the toy hosts: by hand, with a server that is a few lines of this file and a clock
//! that is moved; and over real sockets, with the thread that polls.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::disallowed_methods, reason = "the Agent of these tests has threads of its own")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::{Signer as _, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::config::Settings;
use stroboscope_core::control::agent::{AgentSettings, Endpoint, Remote};
use stroboscope_core::control::memory::Memory;
use stroboscope_core::control::remote::answer::encode;
use stroboscope_core::control::remote::canonical::canonical;
use stroboscope_core::control::remote::client::{Client, Owner as _};
use stroboscope_core::control::remote::held::Tracer;
use stroboscope_core::control::remote::pace::Poll;
use stroboscope_core::control::remote::trust::Trust;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::status::State;
use stroboscope_core::host::Runtime;
use stroboscope_core::probe::wire;
use stroboscope_core::record::names::Tables;
use stroboscope_core::sender::{Sender, SenderCounters};
use stroboscope_core::session::{Parts, RemoteHost, Session};
use stroboscope_toys::json::Json;
use stroboscope_toys::process::{HOSTS, Host, Process, ToyRuntime};
use stroboscope_toys::random::Dice;
use stroboscope_toys::value::{Dialect, World};

const NOW: i64 = 1_790_000_000;
const SWITCH: &str = "datadog/2/APM_TRACING/switch/config";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// A log probe on a line, with more fields.
fn probe(id: &str, more: &Value) -> Value {
    let mut probe = json!({"id": id, "version": 1, "type": "LOG_PROBE", "template": "x",
        "where": {"sourceFile": "toy.py", "lines": ["1"]}});
    for (name, value) in more.as_object().unwrap() {
        probe[name] = value.clone();
    }
    probe
}

fn path(id: &str) -> String {
    format!("datadog/2/LIVE_DEBUGGING/logProbe_{id}/config")
}

/// A server for one client, as the specification has it.
#[derive(Default)]
struct Server {
    files: BTreeMap<String, String>,
    version: u64,
    keys: Vec<SigningKey>,
}

impl Server {
    fn put(&mut self, path: &str, text: &impl ToString) {
        self.files.insert(path.to_owned(), text.to_string());
        self.version += 1;
    }

    fn probe(&mut self, id: &str, more: &Value) {
        self.put(&path(id), &probe(id, more));
    }

    fn take(&mut self, path: &str) {
        assert!(self.files.remove(path).is_some());
        self.version += 1;
    }

    fn answer(&self, request: &Value) -> Value {
        let state = &request["client"]["state"];
        if state["targets_version"] == self.version {
            return json!({});
        }
        let products = request["client"]["products"].as_array().unwrap();
        let is_wanted = |path: &str| products.iter().any(|product| path.contains(product.as_str().unwrap()));
        let view = self.files.iter().filter(|(path, _)| is_wanted(path));
        // Without its optimisations a hash takes as long as all else.
        let view: BTreeMap<&String, (&String, String)> =
            view.map(|(path, text)| (path, (text, hex(&Sha256::digest(text))))).collect();
        let targets: serde_json::Map<String, Value> = view
            .iter()
            .map(|(path, (text, hash))| {
                let target = json!({"length": text.len(), "hashes": {"sha256": hash}, "custom": {"v": self.version}});
                ((*path).clone(), target)
            })
            .collect();
        let held = |path: &str, hash: &str| {
            let mut cached = request["cached_target_files"].as_array().unwrap().iter();
            cached.any(|file| file["path"] == path && file["hashes"][0]["hash"] == hash)
        };
        let sent: Vec<Value> = view
            .iter()
            .filter(|(path, (_, hash))| !held(path, hash))
            .map(|(path, (text, _))| json!({"path": path, "raw": encode(text.as_bytes())}))
            .collect();
        let signed = json!({"_type": "targets", "spec_version": "1.0.0", "version": self.version,
            "expires": "2099-01-01T00:00:00Z", "custom": {"opaque_backend_state": "x"}, "targets": targets});
        let form = canonical(signed.to_string().as_bytes()).unwrap();
        let by = |key: &SigningKey| json!({"keyid": "any", "sig": hex(&key.sign(&form).to_bytes())});
        let signatures: Vec<Value> = self.keys.iter().map(by).collect();
        let index = json!({"signed": signed, "signatures": signatures}).to_string();
        json!({"roots": [], "targets": encode(index.as_bytes()), "target_files": sent,
            "client_configs": view.keys().collect::<Vec<_>>(), "config_status": 0})
    }
}

/// A toy process with a client that is polled by hand.
struct Polled {
    process: Process,
    client: Client,
    host: RemoteHost,
}

impl Polled {
    fn new(host: Host) -> Polled {
        Polled::trusting(host, Trust::compatible())
    }

    fn trusting(host: Host, trust: Trust) -> Polled {
        let process = Process::new(host, Settings::default());
        let host = process.session.remote_host();
        Polled { process, client: Client::new(Tracer::default(), trust, true), host }
    }

    fn request(&mut self) -> Value {
        serde_json::from_slice(self.client.request()).unwrap()
    }

    /// Polls, and lets the host do what that asks of it.
    fn poll(&mut self, server: &Server) {
        let answer = server.answer(&self.request());
        self.answer(&answer);
    }

    fn answer(&mut self, answer: &Value) {
        self.raw(answer.to_string().as_bytes());
    }

    fn raw(&mut self, body: &[u8]) {
        assert_eq!(self.client.answered(200, body, NOW, &mut self.host), Poll::Answered);
        self.settle();
    }

    fn settle(&mut self) {
        for _ in 0..self.process.session.status().len() / 8 + 4 {
            self.process.round();
        }
    }

    /// What a program does itself.
    fn put(&mut self, probes: &[Value]) {
        let text = Value::Array(probes.to_vec()).to_string();
        self.process.apply(wire::read_file(text.as_bytes()).unwrap().probes);
    }

    /// The probes in force: ids, versions, and what their events say.
    fn live(&self) -> Vec<(String, i64)> {
        let mut live: Vec<_> =
            self.process.session.probes().iter().map(|live| (live.probe.id.clone(), live.probe.version)).collect();
        live.sort();
        live
    }

    fn message(&mut self, id: &str) -> String {
        let world = World::new(&Json::read("{}").unwrap(), Dialect::Neutral, &Redaction::default()).unwrap();
        let before = self.process.memory.events().len();
        self.process.hit(id, 1, &world);
        self.process.round();
        let events = self.process.memory.events();
        let event: Value = serde_json::from_str(events.get(before).expect("the hit has an event")).unwrap();
        event["message"].as_str().unwrap().to_owned()
    }

    fn state(&self, id: &str) -> Option<State> {
        self.process.report(id).map(|report| report.state)
    }

    /// How a file was taken, and why not.
    fn applied(&mut self, config_id: &str) -> (u64, String) {
        let request = self.request();
        let states = request["client"]["state"]["config_states"].as_array().unwrap();
        let state = states.iter().find(|state| state["id"] == config_id).expect("it is held");
        (state["apply_state"].as_u64().unwrap(), state["apply_error"].as_str().unwrap().to_owned())
    }

    /// The statuses that were told of a probe.
    fn told(&self, id: &str) -> Vec<String> {
        let statuses = self.process.memory.statuses();
        let statuses = statuses.iter().map(|text| serde_json::from_str::<Value>(text).unwrap());
        let of_probe =
            statuses.map(|json| json["debugger"]["diagnostics"].clone()).filter(|told| told["probeId"] == id);
        of_probe.map(|told| format!("{} {}", told["status"].as_str().unwrap(), told["probeVersion"])).collect()
    }
}

fn of(id: &str, version: i64) -> (String, i64) {
    (id.to_owned(), version)
}

#[test]
fn probes_come_change_and_go() {
    for host in HOSTS {
        let (mut server, mut polled) = (Server::default(), Polled::new(host));
        polled.poll(&server);
        assert_eq!(polled.live(), [], "{host:?}: nothing");

        server.probe("a", &json!({"template": "one"}));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 1)], "{host:?}: one");
        assert_eq!(polled.message("a"), "one");

        server.probe("a", &json!({"template": "two", "version": 2}));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 2)], "{host:?}: another version of it");
        assert_eq!(polled.message("a"), "two");
        let both = ["RECEIVED 1", "INSTALLED 1", "EMITTING 1", "RECEIVED 2", "INSTALLED 2", "EMITTING 2"];
        assert_eq!(polled.told("a"), both, "{host:?}");

        server.take(&path("a"));
        polled.poll(&server);
        assert_eq!((polled.live(), polled.state("a")), (vec![], None), "{host:?}: none");

        server.probe("a", &json!({}));
        server.probe("b", &json!({}));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 1), of("b", 1)], "{host:?}: two at once");

        server.probe("a", &json!({"template": "three", "version": 3}));
        server.take(&path("b"));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 3)], "{host:?}: one changed, one gone");
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 3)], "{host:?}: the same again");

        server.take(&path("a"));
        polled.poll(&server);
        assert_eq!(polled.live(), [], "{host:?}: empty");
        assert!(polled.process.session.status().is_empty(), "{host:?}");
    }
}

#[test]
fn an_edit_counts_even_if_it_keeps_its_version() {
    for host in HOSTS {
        let (mut server, mut polled) = (Server::default(), Polled::new(host));
        server.probe("a", &json!({"template": "one"}));
        polled.poll(&server);
        assert_eq!(polled.message("a"), "one");
        server.probe("a", &json!({"template": "two"}));
        polled.poll(&server);
        assert_eq!(polled.message("a"), "two", "{host:?}");
        let twice = ["RECEIVED 1", "INSTALLED 1", "EMITTING 1"].repeat(2);
        assert_eq!(polled.told("a"), twice, "{host:?}");
        let kept = Arc::clone(&polled.process.session.probes()[0]);
        server.put(&path("a"), &format!(" {}", probe("a", &json!({"template": "two"}))));
        polled.poll(&server);
        assert!(Arc::ptr_eq(&kept, &polled.process.session.probes()[0]), "{host:?}: other bytes, the same probe");
    }
}

#[test]
fn a_probe_that_moves_to_another_file_never_runs_twice() {
    for host in HOSTS {
        let (mut server, mut polled) = (Server::default(), Polled::new(host));
        server.probe("a", &json!({}));
        polled.poll(&server);
        server.take(&path("a"));
        server.put("datadog/2/LIVE_DEBUGGING/logProbe_z/config", &probe("a", &json!({})));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 1)], "{host:?}");
        assert_eq!(polled.applied("logProbe_z"), (2, String::new()));

        // In two files at once: the second one is told why it does not count.
        server.probe("a", &json!({"template": "other"}));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 1)], "{host:?}");
        let (state, why) = polled.applied("logProbe_a");
        assert!(state == 3 && why.contains("the id 'a' is that of the probe in datadog/2/"), "{why}");
        assert_eq!(polled.message("a"), "x");
    }
}

#[test]
fn a_probe_of_the_program_waits_behind_that_of_remote_configuration() {
    for host in HOSTS {
        let (mut server, mut polled) = (Server::default(), Polled::new(host));
        polled.put(&[probe("a", &json!({"template": "own"})), probe("b", &json!({"template": "own b"}))]);
        assert_eq!(polled.message("a"), "own");
        server.probe("a", &json!({"template": "remote"}));
        polled.poll(&server);
        assert_eq!((polled.message("a"), polled.message("b")), ("remote".into(), "own b".into()), "{host:?}");
        server.take(&path("a"));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 1), of("b", 1)], "{host:?}");
        assert_eq!(polled.message("a"), "own", "{host:?}: it is back");

        // A call of the program does not beat it either, nor take it away; what it wants is done when it can be.
        server.probe("a", &json!({"template": "remote", "version": 7}));
        polled.poll(&server);
        polled.put(&[probe("a", &json!({"template": "newer", "version": 9}))]);
        assert_eq!(polled.message("a"), "remote", "{host:?}");
        server.take(&path("a"));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 9), of("b", 1)], "{host:?}");
        assert_eq!(polled.message("a"), "newer");

        server.probe("a", &json!({}));
        polled.poll(&server);
        assert!(polled.process.session.remove("a"), "{host:?}: its own, which waits");
        assert!(!polled.process.session.remove("a"), "{host:?}: the other one is not the program's");
        assert_eq!(polled.live().len(), 2, "{host:?}");
        server.take(&path("a"));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("b", 1)], "{host:?}");

        // A broken one takes its place all the same, and says so.
        server.probe("b", &json!({"when": {"json": {"nonsense": []}}}));
        polled.poll(&server);
        assert_eq!((polled.live(), polled.state("b")), (vec![], Some(State::Error)), "{host:?}");
        server.take(&path("b"));
        polled.poll(&server);
        assert_eq!((polled.live(), polled.message("b")), (vec![of("b", 1)], "own b".into()), "{host:?}");
    }
}

#[test]
fn one_bad_file_among_good_ones_spoils_nothing() {
    for host in HOSTS {
        let (mut server, mut polled) = (Server::default(), Polled::new(host));
        server.probe("good", &json!({}));
        server.put(&path("text"), &"not JSON");
        server.put(&path("bytes"), &"\u{fffd}");
        server.put(&path("type"), &json!({"id": "type", "type": "NEW_PROBE"}));
        server.put(&path("operator"), &probe("operator", &json!({"when": {"json": {"frobnicate": [1]}}})));
        server.put(&path("empty"), &json!({"id": "empty", "type": "LOG_PROBE", "where": {}}));
        server.put(&path("where"), &json!({"id": "where", "type": "LOG_PROBE"}));
        server.put("datadog/2/LIVE_DEBUGGING/what/config", &"[]");
        polled.poll(&server);
        assert_eq!(polled.live(), [of("good", 1)], "{host:?}");
        assert_eq!(polled.applied("logProbe_good"), (2, String::new()));
        for id in ["text", "bytes", "type", "operator", "empty", "where"] {
            let (state, why) = polled.applied(&format!("logProbe_{id}"));
            assert!(state == 3 && !why.is_empty(), "{host:?} {id}");
            assert_eq!(polled.state(id), Some(State::Error), "{host:?} {id}");
            assert_eq!(polled.told(id).last().map(|told| &told[..5]), Some("ERROR"), "{host:?} {id}");
        }
        assert_eq!(polled.applied("what").0, 3, "nobody can be told of it but the server");
        // Each of them is mended.
        for id in ["text", "bytes", "type", "operator", "empty", "where"] {
            server.probe(id, &json!({}));
        }
        polled.poll(&server);
        assert_eq!(polled.live().len(), 7, "{host:?}");
        assert_eq!(polled.applied("logProbe_text"), (2, String::new()));
    }
}

#[test]
fn hostile_answers_change_nothing() {
    let (mut server, mut polled) = (Server::default(), Polled::new(Host::Inside));
    server.probe("a", &json!({}));
    polled.poll(&server);
    server.probe("b", &json!({}));
    let good = server.answer(&polled.request());
    let before = Arc::clone(&polled.process.session.probes()[0]);

    let with = |member: &str, value: Value| {
        let mut bad = good.clone();
        bad[member] = value;
        bad.to_string().into_bytes()
    };
    let paths: Vec<String> = (0..2001).map(|number| path(&number.to_string())).collect();
    let nested = |levels: usize| format!("{{\"x\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    let large = json!([{"path": path("b"), "raw": encode(&vec![b' '; (1 << 20) + 1])}]);
    for (body, code) in [
        ([b"{\"x\":\"".as_slice(), &vec![b'x'; 5 << 20], b"\"}"].concat(), "too_large"),
        (with("client_configs", json!(paths)), "too_large"),
        (with("target_files", large), "too_large"),
        (nested(129).into_bytes(), "json"),
        (with("targets", json!(encode(nested(129).as_bytes()))), "json"),
        (with("client_configs", json!([path("../../etc")])), "path"),
        (with("client_configs", json!(["datadog/2/LIVE_DEBUGGING/../config"])), "path"),
        (with("client_configs", json!([path("a\0")])), "path"),
        (with("client_configs", json!([path(&"x".repeat(513 - path("").len()))])), "path"),
        (with("client_configs", json!([path("c")])), "file_missing"),
        (with("target_files", json!([])), "file_missing"),
        (with("target_files", json!([{"path": path("b"), "raw": encode(b"b")}])), "file_length"),
        (b"[[[[[".to_vec(), "json"),
        (vec![0xff; 100], "json"),
    ] {
        polled.raw(&body);
        let state = polled.request()["client"]["state"].clone();
        assert_eq!((&state["has_error"], &state["error"]), (&json!(true), &json!(code)));
        assert_eq!(state["targets_version"], 1, "{code}");
        assert!(Arc::ptr_eq(&before, &polled.process.session.probes()[0]), "{code}");
        assert_eq!(polled.live(), [of("a", 1)], "{code}");
    }
    polled.raw(good.to_string().as_bytes());
    assert_eq!(polled.live(), [of("a", 1), of("b", 1)]);
    assert_eq!(polled.request()["client"]["state"]["has_error"], false);
}

#[test]
fn with_a_pinned_key_only_its_owner_is_believed() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let trust = Trust::pinned(&hex(key.verifying_key().as_bytes())).unwrap();
    let (mut server, mut polled) = (Server::default(), Polled::trusting(Host::Inside, trust));
    server.probe("a", &json!({}));
    polled.poll(&server);
    assert_eq!(polled.request()["client"]["state"]["error"], "targets_signature");
    assert_eq!(polled.live(), []);
    server.keys.push(key);
    polled.poll(&server);
    assert_eq!(polled.live(), [of("a", 1)]);
    server.keys[0] = SigningKey::from_bytes(&[8; 32]);
    server.take(&path("a"));
    polled.poll(&server);
    assert_eq!(polled.live(), [of("a", 1)], "nor can others take it back");
}

#[test]
fn all_probes_go_when_they_are_switched_off_and_come_back() {
    for host in HOSTS {
        let (mut server, mut polled) = (Server::default(), Polled::new(host));
        polled.put(&[probe("own", &json!({"template": "own"})), probe("both", &json!({"template": "own too"}))]);
        server.probe("a", &json!({}));
        server.probe("both", &json!({"template": "remote"}));
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 1), of("both", 1), of("own", 1)], "{host:?}");
        for round in 0..3 {
            let off = json!({"lib_config": {"dynamic_instrumentation_enabled": false}});
            server.put(SWITCH, &off);
            polled.poll(&server);
            assert_eq!(polled.live(), [], "{host:?} {round}");
            assert!(polled.process.session.status().is_empty(), "{host:?} {round}");
            polled.put(&[probe("later", &json!({}))]);
            assert_eq!(polled.live(), [], "{host:?} {round}: no new one either");
            polled.poll(&server);

            let on = json!({"sdk_config": {"config": {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": "true"}}});
            server.put(SWITCH, &on);
            polled.poll(&server);
            assert_eq!(polled.live(), [of("both", 1), of("later", 1), of("own", 1)], "{host:?} {round}");
            polled.poll(&server);
            assert_eq!(polled.live(), [of("a", 1), of("both", 1), of("later", 1), of("own", 1)], "{host:?} {round}");
            assert_eq!((polled.message("both"), polled.message("own")), ("remote".into(), "own".into()), "{host:?}");
            assert!(polled.process.session.remove("later"));
        }
    }
}

#[test]
fn a_service_configuration_blocks_and_goes_again() {
    let file = "datadog/2/LIVE_DEBUGGING/serviceConfig_s/config";
    for host in HOSTS {
        let (mut server, mut polled) = (Server::default(), Polled::new(host));
        server.probe("a", &json!({}));
        let deny = json!({"packagePrefixes": ["toy"], "classes": []});
        server.put(file, &json!({"id": "s", "type": "SERVICE_CONFIGURATION", "denyList": deny}));
        polled.poll(&server);
        assert_eq!((polled.live(), polled.state("a")), (vec![], Some(State::Blocked)), "{host:?}");
        assert_eq!(polled.applied("serviceConfig_s"), (2, String::new()));
        server.take(file);
        polled.poll(&server);
        assert_eq!(polled.live(), [of("a", 1)], "{host:?}");
        assert_eq!(polled.state("a"), Some(State::Installed), "{host:?}");
    }
}

#[test]
fn a_child_of_a_fork_has_the_same_probes_and_goes_on_by_itself() {
    let (mut server, mut polled) = (Server::default(), Polled::new(Host::Inside));
    polled.put(&[probe("own", &json!({}))]);
    for id in ["a", "b"] {
        server.probe(id, &json!({}));
    }
    server.probe("own", &json!({"template": "remote"}));
    polled.poll(&server);
    polled.host.knows(&polled.client);

    let origins = polled.process.session.origins();
    assert!(origins.is_some());
    let mut child = Polled::new(Host::Inside);
    child.process.session.inherit(origins);
    child.process.session.adopt(&polled.process.session.heritage());
    child.client.inherit(polled.client.known(), &mut child.host);
    child.settle();
    assert_eq!(child.live(), polled.live());
    let kept = child.process.live("a").unwrap();

    child.poll(&server);
    assert_eq!(child.live(), polled.live(), "nothing has changed");
    server.take(&path("b"));
    server.take(&path("own"));
    child.poll(&server);
    assert_eq!(child.live(), [of("a", 1), of("own", 1)], "what the parent got can be taken back from the child");
    assert_eq!(child.message("own"), "x", "and what had to wait is back");
    assert!(Arc::ptr_eq(&kept, &child.process.live("a").unwrap()));
    assert_eq!(polled.live().len(), 3, "the parent has not polled");
}

#[test]
fn a_child_of_a_fork_in_the_midst_of_a_change_can_lose_what_it_got() {
    let (mut server, mut polled) = (Server::default(), Polled::new(Host::Inside));
    server.probe("a", &json!({}));
    polled.poll(&server);
    // The probe is in force, and what the client knows has not been left to a child yet.
    let mut child = Polled::new(Host::Inside);
    child.process.session.inherit(polled.process.session.origins());
    child.process.session.adopt(&polled.process.session.heritage());
    child.settle();
    child.poll(&server);
    assert_eq!(child.live(), [of("a", 1)]);
    server.take(&path("a"));
    child.poll(&server);
    assert_eq!(child.live(), []);
}

#[test]
fn a_fork_in_the_middle_of_a_change_leaves_nothing_over() {
    let (mut server, mut polled) = (Server::default(), Polled::new(Host::Inside));
    for id in ["a", "b"] {
        server.probe(id, &json!({}));
    }
    polled.poll(&server);
    polled.host.knows(&polled.client);
    let (before, known) = (polled.process.session.heritage(), polled.client.known().clone());
    server.take(&path("a"));
    server.probe("c", &json!({}));
    polled.poll(&server);
    // The change is not told yet; it may have reached the probes or not.
    for heritage in [before, polled.process.session.heritage()] {
        let mut child = Polled::new(Host::Inside);
        child.process.session.inherit(polled.process.session.origins());
        child.process.session.adopt(&heritage);
        child.client.inherit(&known, &mut child.host);
        child.settle();
        child.poll(&server);
        assert_eq!(child.live(), [of("b", 1), of("c", 1)]);
        server.take(&path("c"));
        child.poll(&server);
        assert_eq!(child.live(), [of("b", 1)], "nothing counts as the program's own");
        server.probe("c", &json!({}));
    }
}

/// A day of polls at five seconds, with changes, restarts of the Agent, and answers that are none.
#[test]
fn in_a_day_no_probe_is_lost_and_none_is_left_over() {
    let mut dice = Dice::new(5);
    let (mut server, mut polled) = (Server::default(), Polled::new(Host::Inside));
    let ids: Vec<String> = (0..20).map(|number| format!("p{number}")).collect();
    let mut largest = [0_usize; 2];
    let polls = 24 * 3600 / 5;
    for number in 0..polls {
        polled.process.clock.drag(Duration::ZERO);
        let at = Duration::from_secs(5 * number);
        match dice.below(40) {
            0..=3 => {
                let id = &ids[dice.below(ids.len())];
                let version = i64::try_from(number).unwrap();
                server.probe(id, &json!({"version": version}));
            }
            4 | 5 => {
                let id = path(&ids[dice.below(ids.len())]);
                if server.files.contains_key(&id) {
                    server.take(&id);
                }
            }
            // The Agent starts anew, with a version that is no higher, or is not there for a while.
            6 => server.version = dice.below(1000) as u64,
            7 => {
                for _ in 0..dice.below(5) {
                    let status = [404, 404, 500, 503][dice.below(4)];
                    polled.client.answered(status, b"", NOW, &mut polled.host);
                }
            }
            8 => drop(polled.client.answered(200, b"{\"targets\":", NOW, &mut polled.host)),
            _ => {}
        }
        let answer = server.answer(&polled.request());
        polled.client.answered(200, answer.to_string().as_bytes(), NOW, &mut polled.host);
        polled.process.leap(at);
        for _ in 0..4 {
            polled.process.round();
        }
        if number % 500 == 499 {
            // With the version of another content it is held to be up to date: as with a server that breaks its word.
            server.version = 1_000_000 + number;
            polled.poll(&server);
            let live: Vec<String> = polled.live().into_iter().map(|(id, _)| path(&id)).collect();
            let mut wanted: Vec<&String> = server.files.keys().collect();
            wanted.sort();
            let mut live: Vec<&String> = live.iter().collect();
            live.sort();
            assert_eq!(live, wanted);
            assert_eq!(polled.process.session.status().len(), wanted.len());
            let half = usize::from(number > polls / 2);
            largest[half] = largest[half].max(polled.client.request().len());
        }
    }
    assert!(largest[1] <= largest[0] + 1000, "{largest:?}");
}

/// What an Agent answers, request by request.
type Answers = dyn FnMut(&str, &Value) -> Reply + Send;

enum Reply {
    Json(Value),
    Status(u16),
    /// Half an answer, and then nothing.
    Hangs,
}

/// An Agent in this process, over both kinds of sockets.
struct Peer {
    url: String,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

fn serve(mut stream: impl Read + Write, answers: &Mutex<Box<Answers>>, seen: &Mutex<Vec<(String, Value)>>) {
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    let (head, length) = loop {
        let count = stream.read(&mut chunk).unwrap_or(0);
        if count == 0 {
            return;
        }
        request.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            break (head.len() + 4, length.map_or(0, |length| length.parse::<usize>().unwrap()));
        }
    };
    while request.len() < head + length {
        let count = stream.read(&mut chunk).unwrap();
        request.extend_from_slice(&chunk[..count]);
    }
    let target = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap().to_owned();
    let body: Value = serde_json::from_slice(&request[head..]).unwrap_or(Value::Null);
    seen.lock().unwrap().push((target.clone(), body.clone()));
    let answer = (answers.lock().unwrap())(&target, &body);
    let (status, body) = match answer {
        Reply::Json(body) => (200, body.to_string()),
        Reply::Status(status) => (status, String::new()),
        Reply::Hangs => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{");
            let _ = stream.read(&mut chunk);
            return;
        }
    };
    let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
}

impl Peer {
    fn tcp(answers: impl FnMut(&str, &Value) -> Reply + Send + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Peer::start(url, Box::new(answers), move || listener.accept().unwrap().0)
    }

    fn unix(answers: impl FnMut(&str, &Value) -> Reply + Send + 'static) -> Peer {
        let file = std::env::temp_dir().join(format!("strobe-remote-{}.socket", std::process::id()));
        let _ = std::fs::remove_file(&file);
        let listener = UnixListener::bind(&file).unwrap();
        let url = format!("unix://{}", file.display());
        Peer::start(url, Box::new(answers), move || listener.accept().unwrap().0)
    }

    fn start<S: Read + Write + Send + 'static>(
        url: String,
        answers: Box<Answers>,
        accept: impl Fn() -> S + Send + 'static,
    ) -> Peer {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (stopped, noted) = (Arc::clone(&stop), Arc::clone(&seen));
        let answers = Arc::new(Mutex::new(answers));
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let stream = accept();
                let (answers, noted) = (Arc::clone(&answers), Arc::clone(&noted));
                std::thread::spawn(move || serve(stream, &answers, &noted));
            }
        });
        Peer { url, stop, seen }
    }

    fn seen(&self, target: &str) -> Vec<Value> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(path, _)| path == target).map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(self.url.strip_prefix("http://").map(TcpStream::connect));
    }
}

fn started(peer: &Peer, parent: Option<&str>) -> Session {
    let mut settings = AgentSettings::new(Endpoint::parse(&peer.url).unwrap());
    settings.remote = Some(Remote { interval: Duration::from_millis(20), trust: Trust::compatible() });
    let sender = Sender::start(settings, Arc::new(SystemClock), Arc::new(SenderCounters::default()));
    let identity = Identity {
        service: "shop".into(),
        runtime_id: "6f2a".into(),
        parent_id: parent.map(str::to_owned),
        process_tags: "entrypoint.name:x,svc.user:true".into(),
        ..Identity::default()
    };
    let parts = Parts {
        settings: Settings {
            env: Some("prod".into()),
            tags: vec![("team".into(), "till".into())],
            ..Settings::default()
        },
        identity,
        runtime: Arc::new(ToyRuntime::new(Host::Inside, false)) as Arc<dyn Runtime>,
        clock: Arc::new(SystemClock),
        sinks: vec![Box::new(Memory::new().sink())],
        sender: Some(sender),
        datagrams: None,
        tables: Arc::new(Tables::new(Arc::new(Redaction::default()))),
    };
    Session::start(parts).unwrap()
}

/// Waits until something is so.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = SystemClock.monotonic();
    while !is_so() {
        assert!(SystemClock.monotonic() - start < 20_000_000_000, "it never comes that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn info() -> Reply {
    Reply::Json(json!({"endpoints": ["/debugger/v2/input", "v0.7/config"]}))
}

/// An Agent that offers remote configuration with what a server holds.
fn offering(server: &Arc<Mutex<Server>>) -> impl FnMut(&str, &Value) -> Reply + Send + 'static {
    let server = Arc::clone(server);
    move |target: &str, body: &Value| match target {
        "/info" => info(),
        "/v0.7/config" => Reply::Json(server.lock().unwrap().answer(body)),
        _ => Reply::Json(json!({})),
    }
}

fn ids(session: &Session) -> Vec<String> {
    session.probes().iter().map(|live| live.probe.id.clone()).collect()
}

#[test]
fn probes_come_over_both_kinds_of_sockets() {
    for unix in [false, true] {
        let server = Arc::new(Mutex::new(Server::default()));
        let peer = if unix { Peer::unix(offering(&server)) } else { Peer::tcp(offering(&server)) };
        let session = started(&peer, None);
        server.lock().unwrap().probe("a", &json!({}));
        until("the probe is there", || ids(&session) == ["a"]);
        server.lock().unwrap().take(&path("a"));
        until("it is gone", || ids(&session).is_empty());

        let request = peer.seen("/v0.7/config")[0].clone();
        let client = &request["client"];
        assert_eq!(client["products"], json!(["APM_TRACING", "LIVE_DEBUGGING", "LIVE_DEBUGGING_SYMBOL_DB"]));
        let tracer = &client["client_tracer"];
        assert_eq!((&tracer["service"], &tracer["env"]), (&json!("shop"), &json!("prod")));
        assert_eq!(tracer["runtime_id"], "6f2a");
        assert_eq!(tracer["process_tags"], json!(["entrypoint.name:x", "svc.user:true"]));
        let id = client["id"].as_str().unwrap();
        assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{id}");
        let tags = tracer["tags"].as_array().unwrap();
        for tag in ["team:till", "env:prod", "runtime-id:6f2a", &format!("_dd.rc.client_id:{id}")] {
            assert!(tags.contains(&json!(tag)), "{tag}: {tags:?}");
        }
        assert_eq!(peer.seen("/info").len(), 1, "asked once while all is well");
        session.stop(Duration::from_secs(5));
        let polls = peer.seen("/v0.7/config").len();
        std::thread::sleep(Duration::from_millis(100));
        assert!(peer.seen("/v0.7/config").len() <= polls + 1, "no more polls");
    }
}

#[test]
fn a_child_polls_as_somebody_else() {
    let server = Arc::new(Mutex::new(Server::default()));
    let peer = Peer::tcp(offering(&server));
    let session = started(&peer, Some("0abc"));
    until("it polls", || !peer.seen("/v0.7/config").is_empty());
    let tags = peer.seen("/v0.7/config")[0]["client"]["client_tracer"]["tags"].clone();
    assert!(tags.as_array().unwrap().contains(&json!("parent_runtime_id:0abc")), "{tags}");
    session.stop(Duration::from_secs(5));
}

#[test]
fn an_agent_that_fails_in_any_way_costs_no_probe() {
    let server = Arc::new(Mutex::new(Server::default()));
    server.lock().unwrap().probe("a", &json!({}));
    let fails = Arc::new(AtomicBool::new(false));
    let (failing, mut good, mut turn) = (Arc::clone(&fails), offering(&server), 0);
    let peer = Peer::tcp(move |target, body| {
        if !failing.load(Ordering::Relaxed) {
            return good(target, body);
        }
        turn += 1;
        match turn % 3 {
            0 => Reply::Status(500),
            1 => Reply::Status(404),
            _ => Reply::Hangs,
        }
    });
    let session = started(&peer, None);
    until("the probe is there", || ids(&session) == ["a"]);
    fails.store(true, Ordering::Relaxed);
    let polls = peer.seen.lock().unwrap().len();
    until("it has failed in each way", || peer.seen.lock().unwrap().len() > polls + 5);
    assert_eq!(ids(&session), ["a"]);
    fails.store(false, Ordering::Relaxed);
    server.lock().unwrap().probe("b", &json!({}));
    until("the other one is there", || ids(&session) == ["a", "b"]);
    assert!(peer.seen("/info").len() > 1, "after three failures it was asked again what it can do");
    session.stop(Duration::from_secs(5));
}

#[test]
fn an_agent_that_has_no_remote_configuration_any_more_takes_its_probes_with_it() {
    let server = Arc::new(Mutex::new(Server::default()));
    server.lock().unwrap().probe("a", &json!({}));
    let gone = Arc::new(AtomicBool::new(false));
    let (is_gone, mut good) = (Arc::clone(&gone), offering(&server));
    let peer = Peer::tcp(move |target, body| match (is_gone.load(Ordering::Relaxed), target) {
        (true, "/info") => Reply::Json(json!({"endpoints": ["/debugger/v2/input"]})),
        (true, _) => Reply::Status(404),
        (false, _) => good(target, body),
    });
    let session = started(&peer, None);
    until("the probe is there", || ids(&session) == ["a"]);
    gone.store(true, Ordering::Relaxed);
    until("it is gone", || ids(&session).is_empty());
    gone.store(false, Ordering::Relaxed);
    until("it is back", || ids(&session) == ["a"]);
    session.stop(Duration::from_secs(5));
}

#[test]
fn an_end_does_not_wait_for_a_poll_that_hangs() {
    let peer = Peer::tcp(|target, _| if target == "/info" { info() } else { Reply::Hangs });
    let session = started(&peer, None);
    until("it polls", || !peer.seen("/v0.7/config").is_empty());
    let start = SystemClock.monotonic();
    session.stop(Duration::from_secs(30));
    assert!(SystemClock.monotonic() - start < 10_000_000_000, "an end that waits takes as long as a request may");
}

//! Payloads of a server: what each kind comes to, service configurations and their rate, what a forked child takes over, and
//! probes whose time is over while no server is in reach.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::SystemClock;
use stroboscope_core::config::Settings;
use stroboscope_core::control::agent::{AgentSettings, Endpoint};
use stroboscope_core::control::remote::client::{Host as _, Sent};
use stroboscope_core::emit::status::State;
use stroboscope_core::sender::{Sender, SenderCounters};
use stroboscope_core::session::ProbeReport;
use stroboscope_toys::json::Json;
use stroboscope_toys::process::{HOSTS, Host, Options, Process, START};
use stroboscope_toys::value::{Dialect, World};

const SECOND: Duration = Duration::from_secs(1);

fn world(text: &str) -> World {
    World::new(&Json::read(text).unwrap(), Dialect::Neutral, &Redaction::default()).unwrap()
}

fn probe(id: &str, more: &Value) -> Value {
    let mut probe = json!({"id": id, "version": 1, "type": "LOG_PROBE", "template": "x",
        "where": {"sourceFile": "toy.py", "lines": ["1"]}});
    for (name, value) in more.as_object().unwrap() {
        probe[name] = value.clone();
    }
    probe
}

/// Hands over a file of a server; why it cannot be used, if so.
fn commit(process: &Process, bytes: &[u8], id: &str) -> Result<(), String> {
    let faults = process.session.remote_host().commit(&[], &[Sent { path: &path(id), id, bytes }]);
    faults.into_iter().flatten().next().map_or(Ok(()), Err)
}

/// The server takes a file back.
fn take(process: &Process, id: &str) {
    process.session.remote_host().commit(&[path(id)], &[]);
}

fn path(id: &str) -> String {
    format!("datadog/2/LIVE_DEBUGGING/{id}/config")
}

/// Hands a payload over, and lets its hooks be placed.
fn come(process: &mut Process, payload: &Value, config_id: &str) -> Result<(), String> {
    let taken = commit(process, payload.to_string().as_bytes(), config_id);
    process.round();
    process.round();
    taken
}

fn later(process: &mut Process, by: Duration) {
    let time = process.now() + by;
    process.until(time);
}

fn report(process: &Process, id: &str) -> ProbeReport {
    process.report(id).expect("the probe is known")
}

#[test]
fn a_payload_is_told_apart_by_its_type_or_by_the_id_it_came_under() {
    let mut process = Process::new(Host::Inside, Settings::default());
    assert_eq!(come(&mut process, &probe("a", &json!({})), "logProbe_a"), Ok(()));
    assert_eq!(come(&mut process, &probe("b", &json!({"type": null})), "logProbe_b"), Ok(()));
    assert_eq!((report(&process, "a").state, report(&process, "b").state), (State::Installed, State::Installed));

    let trigger = json!({"id": "t", "type": "TRIGGER_PROBE", "where": {"typeName": "toy", "methodName": "work"},
        "session_id": "s", "level": 1});
    assert_eq!(come(&mut process, &trigger, "triggerProbe_t"), Err("trigger probes are not supported".to_owned()));
    let told = report(&process, "t");
    assert_eq!((told.state, told.reason.as_str()), (State::Error, "trigger probes are not supported"));

    let why = come(&mut process, &probe("c", &json!({"type": "NEW_PROBE"})), "newProbe_c").unwrap_err();
    assert_eq!(why, "Field 'type': the kind 'NEW_PROBE' is unknown");
    assert_eq!(report(&process, "c").state, State::Error);
    for (bytes, begins) in [
        (&b"{"[..], "the definition is not JSON: "),
        (b"[\xFF]", "the definition is not UTF-8 text"),
        (b"[]", "a definition must be an object, not an array"),
    ] {
        let why = commit(&process, bytes, "logProbe_d").unwrap_err();
        assert!(why.starts_with(begins), "{why}");
        let told = report(&process, "d");
        assert_eq!((told.state, told.reason), (State::Error, why));
    }
    assert!(commit(&process, b"{", "logProbe_").is_err());
    assert!(commit(&process, b"{", "d").is_err());
    assert_eq!(process.session.status().len(), 5, "what names nobody is nobody's status");
    process.hit("a", 1, &world("{}"));
    process.round();
    assert_eq!(process.memory.events().len(), 1, "one bad payload spoils itself only");
}

#[test]
fn a_service_configuration_blocks_code_and_brings_it_back() {
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        assert_eq!(come(&mut process, &probe("a", &json!({})), "logProbe_a"), Ok(()));
        let deny = |lists: Value| {
            let mut service = json!({"id": "shop"});
            service.as_object_mut().unwrap().extend(lists.as_object().unwrap().clone());
            service
        };
        for (lists, blocked) in [
            (json!({"denyList": {"packagePrefixes": ["toy"]}}), true),
            (json!({"deny": {"package_prefixes": ["other"]}}), false),
            (json!({"allow": {"packagePrefixes": ["other"]}}), true),
            (json!({"allowList": {"package_prefixes": ["toy"]}}), false),
            (json!({"allow": {"packagePrefixes": ["toy"]}, "deny": {"packagePrefixes": ["toy"]}}), true),
            (json!({"allow": {"packagePrefixes": [], "classes": []}}), false),
        ] {
            come(&mut process, &deny(lists.clone()), "serviceConfig_shop").unwrap();
            let told = report(&process, "a");
            assert_eq!(told.state == State::Blocked, blocked, "{host:?} {lists}: {told:?}");
            assert_eq!(process.live("a").is_none(), blocked, "{host:?} {lists}");
        }
        assert!(process.report("shop").is_none(), "it is no probe");
        let statuses = process.memory.statuses().join("\n");
        assert!(statuses.contains("\"BLOCKED\"") && statuses.contains("deny list ('toy')"), "{statuses}");
        assert!(statuses.contains("not on the service's allow list"), "{statuses}");
    }
}

#[test]
fn its_rate_holds_for_all_capturing_probes_together_and_goes_with_it() {
    let nothing = world("{}");
    for host in HOSTS {
        let mut process = Process::new(host, Settings::default());
        let fast = |more: Value| {
            let mut fields = json!({"sampling": {"snapshotsPerSecond": 5000}});
            fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            fields
        };
        for id in ["a", "b"] {
            come(&mut process, &probe(id, &fast(json!({"captureSnapshot": true}))), id).unwrap();
        }
        come(&mut process, &probe("plain", &fast(json!({}))), "plain").unwrap();
        let in_a_second = |process: &mut Process, service: &Value| {
            let kinds = |process: &Process| ["a", "b", "plain"].map(|id| report(process, id).emitted);
            come(process, service, "serviceConfig_shop").unwrap();
            // What the bucket holds is spent; what comes then is the rate.
            let mut before = [0; 3];
            for step in 0..1_050 {
                if step == 50 {
                    before = kinds(process);
                }
                for id in ["a", "b", "plain"] {
                    process.hit(id, 1, &nothing);
                }
                later(process, Duration::from_millis(4));
            }
            let after = kinds(process);
            [after[0] + after[1] - before[0] - before[1], after[2] - before[2]]
        };
        let rate = |rate: u32| json!({"id": "shop", "version": rate, "sampling": {"snapshotsPerSecond": rate}});
        let [captured, plain] = in_a_second(&mut process, &rate(5));
        assert!((19..=21).contains(&captured) && plain == 1_000, "{host:?}: {captured} in 4 s, {plain} others");
        assert_eq!(in_a_second(&mut process, &rate(0))[0], 0, "{host:?}: 0 is never");
        take(&process, "serviceConfig_shop");
        let [captured, _] = in_a_second(&mut process, &json!({"id": "other"}));
        assert!((395..=425).contains(&captured), "{host:?}: {captured} in 4 s at 100 a second");
    }
}

#[test]
fn a_forked_child_takes_over_what_is_denied_too() {
    let mut parent = Process::new(Host::Inside, Settings::default());
    let service = json!({"id": "shop", "denyList": {"packagePrefixes": ["toy"]}});
    let method = json!({"where": {"typeName": "toy", "methodName": "work"}});
    let other = json!({"where": {"typeName": "other", "methodName": "work"}});
    for (id, more) in [("denied", &method), ("free", &other)] {
        come(&mut parent, &probe(id, more), id).unwrap();
    }
    come(&mut parent, &service, "serviceConfig_shop").unwrap();
    assert_eq!((report(&parent, "denied").state, report(&parent, "free").state), (State::Blocked, State::Installed));

    let mut child = Process::new(Host::Inside, Settings::default());
    child.session.adopt(&parent.session.heritage());
    child.round();
    child.round();
    assert_eq!((report(&child, "denied").state, report(&child, "free").state), (State::Blocked, State::Installed));
    come(&mut child, &probe("later", &method), "later").unwrap();
    assert_eq!(report(&child, "later").state, State::Blocked);
    assert!(child.session.remove("shop"));
    child.round();
    child.round();
    assert_eq!((report(&child, "denied").state, report(&child, "later").state), (State::Installed, State::Installed));
    assert_eq!(report(&parent, "denied").state, State::Blocked, "the parent has its own");
}

/// A sender whose Agent nobody runs.
fn nobody() -> Sender {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    drop(listener);
    Sender::start(AgentSettings::new(endpoint), Arc::new(SystemClock), Arc::new(SenderCounters::default()))
}

#[test]
fn a_probe_expires_with_no_server_in_reach_wherever_it_waits() {
    let start = u64::try_from(START.as_millis()).unwrap();
    let ends = |after: u64| json!({"expiresAt": start + after});
    let nothing = world("{}");
    for host in HOSTS {
        let settings = Settings { cpu_budget: 100.0, ..Settings::default() };
        let sender = Some(nobody());
        let mut process = Process::with(Options { host, settings, scripted: false, sender, metrics: None });
        come(&mut process, &probe("placed", &ends(60_000)), "placed").unwrap();
        come(&mut process, &probe("denied", &ends(60_000)), "denied").unwrap();
        come(&mut process, &probe("stays", &ends(600_000)), "stays").unwrap();
        later(&mut process, SECOND);
        come(&mut process, &probe("late", &ends(500)), "late").unwrap();
        assert_eq!(report(&process, "late").state, State::Expired, "{host:?}: its time was over when it came");
        let deny = json!({"id": "shop", "denyList": {"packagePrefixes": ["toy"]}});
        process.leap(process.now() + 50 * SECOND);
        for id in ["placed", "stays"] {
            process.hit(id, 1, &nothing);
            later(&mut process, SECOND);
            assert_eq!(report(&process, id).state, State::Emitting, "{host:?} {id}");
        }
        // What waits for its code to be allowed does not come back after its time.
        take(&process, "placed");
        come(&mut process, &probe("placed", &ends(60_000)), "placed").unwrap();
        commit(&process, deny.to_string().as_bytes(), "serviceConfig_shop").unwrap();
        process.round();
        assert_eq!(report(&process, "denied").state, State::Blocked, "{host:?}");
        process.leap(process.now() + 20 * SECOND);
        take(&process, "serviceConfig_shop");
        process.round();
        process.round();
        for (id, state) in [("placed", State::Expired), ("denied", State::Expired), ("stays", State::Installed)] {
            assert_eq!(report(&process, id).state, state, "{host:?} {id}");
        }
        let before = process.memory.events().len();
        process.hit("placed", 3, &nothing);
        process.hit("denied", 3, &nothing);
        process.round();
        assert_eq!(process.memory.events().len(), before, "{host:?}");
        process.leap(process.now() + 600 * SECOND);
        process.round();
        assert_eq!(report(&process, "stays").state, State::Expired, "{host:?}");
        assert!(process.session.probes().is_empty(), "{host:?}");
    }
}

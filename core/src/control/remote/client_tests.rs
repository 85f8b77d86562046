//! Tests of `client.rs`: answers as a server makes them, and a host that notes what it is told.

use super::*;
use crate::control::remote::answer::encode;
use crate::control::remote::hex;
use crate::control::remote::trust::tests::{key, root, signed};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const NOW: i64 = 1_790_000_000;
const A: &str = "datadog/2/LIVE_DEBUGGING/logProbe_a/config";
const B: &str = "datadog/2/LIVE_DEBUGGING/logProbe_b/config";
const NAMES: &str = "datadog/2/LIVE_DEBUGGING_SYMBOL_DB/symDb/config";
const SWITCH: &str = "datadog/2/APM_TRACING/x/config";

/// Notes what it is told; a file that says `bad` cannot be used.
#[derive(Default)]
struct Notes(Vec<String>);

impl Host for Notes {
    fn commit(&mut self, removed: &[String], files: &[Sent<'_>]) -> Vec<Option<String>> {
        let name = |path: &str| path.split('/').nth(3).unwrap().to_owned();
        let mut said: Vec<String> = removed.iter().map(|path| format!("-{}", name(path))).collect();
        let text = |file: &Sent<'_>| String::from_utf8_lossy(file.bytes).into_owned();
        said.extend(files.iter().map(|file| format!("+{}={}", file.id, text(file))));
        self.0.push(said.join(" "));
        files.iter().map(|file| text(file).contains("bad").then(|| "it is bad".to_owned())).collect()
    }

    fn switch(&mut self, on: bool) {
        self.0.push(if on { "on" } else { "off" }.to_owned());
    }

    fn upload_symbols(&mut self, wanted: bool) {
        self.0.push(if wanted { "symbols" } else { "no symbols" }.to_owned());
    }
}

impl Notes {
    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.0)
    }
}

fn target(bytes: &str, version: u64) -> Value {
    json!({"length": bytes.len(), "hashes": {"sha256": hex(&Sha256::digest(bytes))}, "custom": {"v": version}})
}

fn index(version: u64, files: &[(&str, &str)]) -> Value {
    let targets: serde_json::Map<String, Value> =
        files.iter().map(|(path, bytes)| ((*path).to_owned(), target(bytes, version))).collect();
    json!({"_type": "targets", "spec_version": "1.0.0", "version": version, "expires": "2099-01-01T00:00:00Z",
        "custom": {"opaque_backend_state": format!("state {version}")}, "targets": targets})
}

/// An update to these files, all of them sent.
fn update(version: u64, files: &[(&str, &str)]) -> Value {
    wrapped(&signed(&index(version, files), &[]), files)
}

fn wrapped(index: &[u8], files: &[(&str, &str)]) -> Value {
    let sent: Vec<Value> =
        files.iter().map(|(path, bytes)| json!({"path": path, "raw": encode(bytes.as_bytes())})).collect();
    let paths: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
    json!({"roots": [], "targets": encode(index), "target_files": sent, "client_configs": paths, "config_status": 0})
}

struct Told {
    client: Client,
    notes: Notes,
}

impl Told {
    fn new() -> Told {
        Told::trusting(Trust::compatible())
    }

    fn trusting(trust: Trust) -> Told {
        let tracer = Tracer { service: "shop".into(), env: "prod".into(), ..Tracer::default() };
        Told { client: Client::new(tracer, trust, true), notes: Notes::default() }
    }

    fn answer(&mut self, answer: &Value) -> Vec<String> {
        let poll = self.client.answered(200, answer.to_string().as_bytes(), NOW, &mut self.notes);
        assert_eq!(poll, Poll::Answered);
        self.notes.take()
    }

    fn status(&mut self, status: u16) -> Vec<String> {
        self.client.answered(status, b"", NOW, &mut self.notes);
        self.notes.take()
    }

    fn request(&mut self) -> Value {
        serde_json::from_slice(self.client.request()).unwrap()
    }

    fn state(&mut self) -> Value {
        self.request()["client"]["state"].clone()
    }

    /// Ids, versions and states of what is held.
    fn held(&mut self) -> Vec<(String, u64, u64)> {
        let request = self.request();
        let cached = request["cached_target_files"].as_array().unwrap().len();
        let states = request["client"]["state"]["config_states"].as_array().unwrap();
        assert_eq!(states.len(), cached);
        let one = |state: &Value| {
            let number = |name: &str| state[name].as_u64().unwrap();
            (state["id"].as_str().unwrap().to_owned(), number("version"), number("apply_state"))
        };
        states.iter().map(one).collect()
    }

    /// An update that is refused: nothing changes, and the code is told until there is a good answer.
    fn refused(&mut self, answer: &Value, code: &str) {
        let before = (self.held(), self.state()["targets_version"].clone());
        assert!(self.answer(answer).is_empty(), "{code}");
        let state = self.state();
        assert_eq!((&state["has_error"], &state["error"]), (&json!(true), &json!(code)));
        assert_eq!((self.held(), state["targets_version"].clone()), before, "{code}");
        self.answer(&json!({}));
        assert_eq!(self.state()["has_error"], false, "a good answer ends it");
    }
}

fn of(name: &str, version: u64, state: u64) -> (String, u64, u64) {
    (name.to_owned(), version, state)
}

#[test]
fn the_nine_steps() {
    let mut told = Told::new();
    let start = told.state();
    assert_eq!((&start["root_version"], &start["targets_version"]), (&json!(1), &json!(0)));
    assert_eq!((&start["backend_client_state"], &start["has_error"]), (&json!(""), &json!(false)));

    assert!(told.answer(&json!({})).is_empty());
    assert_eq!(told.answer(&update(1, &[(A, "one")])), ["+logProbe_a=one"]);
    assert_eq!(told.held(), [of("logProbe_a", 1, 2)]);
    assert_eq!(told.answer(&update(2, &[(A, "two")])), ["+logProbe_a=two"]);
    assert_eq!(told.held(), [of("logProbe_a", 2, 2)]);
    assert_eq!(told.answer(&update(3, &[])), ["-logProbe_a"]);
    assert_eq!(told.held(), []);
    assert_eq!(told.answer(&update(4, &[(A, "one"), (B, "b")])), ["+logProbe_a=one +logProbe_b=b"]);
    assert_eq!(told.held(), [of("logProbe_a", 4, 2), of("logProbe_b", 4, 2)]);
    assert_eq!(told.answer(&update(5, &[(A, "three")])), ["-logProbe_b +logProbe_a=three"]);
    assert!(told.answer(&update(6, &[(A, "three")])).is_empty(), "an equal hash is no change");
    assert_eq!(told.held(), [of("logProbe_a", 6, 2)], "but the version is told");
    assert_eq!(told.state()["targets_version"], 6);
    assert_eq!(told.state()["backend_client_state"], "state 6");
    assert!(told.answer(&json!({})).is_empty());
    assert_eq!(told.answer(&update(7, &[])), ["-logProbe_a"]);
    assert_eq!((told.held(), told.state()["targets_version"].as_u64()), (vec![], Some(7)));
}

#[test]
fn a_poll_that_changes_nothing_keeps_the_request_as_it_is() {
    let mut told = Told::new();
    told.answer(&update(1, &[(A, "one")]));
    let (before, changes) = (told.client.request().as_ptr(), told.client.changes());
    for _ in 0..100 {
        told.client.answered(200, b"{}", NOW, &mut told.notes);
        assert_eq!(told.client.request().as_ptr(), before);
    }
    assert_eq!(told.client.changes(), changes);
}

#[test]
fn what_is_held_need_not_be_sent_again() {
    let mut told = Told::new();
    told.answer(&update(1, &[(A, "one"), (B, "b")]));
    let cached = told.request()["cached_target_files"].clone();
    let hash = |text: &str| json!([{"algorithm": "sha256", "hash": hex(&Sha256::digest(text))}]);
    assert_eq!(
        cached,
        json!([{"path": A, "length": 3, "hashes": hash("one")}, {"path": B, "length": 1, "hashes": hash("b")}])
    );
    let mut lean = update(2, &[(A, "one"), (B, "new")]);
    lean["target_files"].as_array_mut().unwrap().remove(0);
    assert_eq!(told.answer(&lean), ["+logProbe_b=new"]);
    lean["target_files"] = json!([]);
    let mut other = update(3, &[(A, "one"), (B, "newer")]);
    other["target_files"] = json!([]);
    told.refused(&other, "file_missing");
}

#[test]
fn one_bad_file_among_good_ones_is_told_and_the_others_work() {
    let mut told = Told::new();
    told.answer(&update(1, &[(A, "bad"), (B, "b")]));
    assert_eq!(told.held(), [of("logProbe_a", 1, 3), of("logProbe_b", 1, 2)]);
    let state = told.state();
    assert_eq!(state["config_states"][0]["apply_error"], "it is bad");
    assert_eq!((&state["has_error"], &state["targets_version"]), (&json!(false), &json!(1)), "it holds nothing back");
    assert!(told.answer(&update(2, &[(A, "bad"), (B, "b")])).is_empty(), "nor is it tried again");
    assert_eq!(told.held()[0], of("logProbe_a", 2, 3));
    told.answer(&update(3, &[(A, "good"), (B, "b")]));
    assert_eq!(told.held()[0], of("logProbe_a", 3, 2));
}

#[test]
fn each_fault_of_an_update_has_its_code_and_changes_nothing() {
    let key_one = [key(1)];
    let pinned = Trust::pinned(std::str::from_utf8(&signed(&root(1, &key_one, 1), &key_one)).unwrap()).unwrap();
    for (trust, is_pinned) in [(Trust::compatible(), false), (pinned, true)] {
        let keys: &[_] = if is_pinned { &key_one } else { &[] };
        let mut told = Told::trusting(trust);
        let files = [(A, "one"), (B, "b")];
        let make = |change: &dyn Fn(&mut Value)| {
            let mut index = index(5, &files);
            change(&mut index);
            wrapped(&signed(&index, keys), &files)
        };
        told.answer(&wrapped(&signed(&index(4, &[(A, "zero")]), keys), &[(A, "zero")]));
        assert_eq!(told.held(), [of("logProbe_a", 4, 2)]);

        let of_a = |member: &str| format!("/targets/{}/{member}", A.replace('/', "~1"));
        let set = |pointer: String, value: Value| {
            move |index: &mut Value| *index.pointer_mut(&pointer).unwrap() = value.clone()
        };
        told.refused(&make(&set("/_type".into(), json!("root"))), "json");
        told.refused(&make(&set(of_a("custom"), json!({}))), "json");
        told.refused(&make(&set(of_a("hashes"), json!({}))), "file_hash");
        told.refused(&make(&set(of_a("hashes/sha256"), json!("00"))), "file_hash");
        told.refused(&make(&set(of_a("length"), json!(4))), "file_length");
        told.refused(&make(&|index| drop(index["targets"].as_object_mut().unwrap().remove(A))), "file_missing");

        let good = make(&|_| ());
        for (member, value, code) in [
            ("target_files", json!([]), "file_missing"),
            ("client_configs", json!(["datadog/2/LIVE_DEBUGGING/../config"]), "path"),
            ("targets", json!(""), "json"),
            ("targets", json!("?"), "json"),
            ("targets", json!(encode(b"{}")), "json"),
            ("targets", json!(encode(b"[")), "json"),
        ] {
            let mut bad = good.clone();
            bad[member] = value;
            told.refused(&bad, code);
        }

        // What only a pinned root refuses.
        let late = make(&set("/expires".into(), json!("2020-01-01T00:00:00Z")));
        let unsigned = wrapped(&signed(&index(5, &files), &[key(9)]), &files);
        let older = wrapped(&signed(&index(3, &files), keys), &files);
        let mut rootless = good.clone();
        rootless["roots"] = json!([encode(&signed(&root(3, &key_one, 1), &key_one))]);
        for (answer, code) in [
            (late, "targets_expired"),
            (unsigned, "targets_signature"),
            (older, "targets_rollback"),
            (rootless, "root_gap"),
        ] {
            if is_pinned {
                told.refused(&answer, code);
            } else {
                told.answer(&answer);
                assert_eq!(told.state()["has_error"], false, "{code}");
            }
        }

        // What nobody needs.
        for missing in ["/roots", "/config_status"] {
            let mut lean = good.clone();
            lean.as_object_mut().unwrap().remove(&missing[1..]);
            told.answer(&lean);
            assert_eq!((told.held().len(), told.state()["has_error"].as_bool()), (2, Some(false)), "{missing}");
        }
        let mut more = wrapped(&signed(&index(6, &files), keys), &files);
        more["target_files"].as_array_mut().unwrap().push(json!({"path": "anything", "raw": ""}));
        told.answer(&more);
        assert_eq!(told.state()["targets_version"], 6, "a file that is not in the index is nothing to us");
    }
}

#[test]
fn new_roots_are_remembered_when_the_update_is_taken() {
    let (one, two) = (key(1), key(2));
    let by_one = std::slice::from_ref(&one);
    let by_two = std::slice::from_ref(&two);
    let trust = Trust::pinned(std::str::from_utf8(&signed(&root(1, by_one, 1), by_one)).unwrap()).unwrap();
    let mut told = Told::trusting(trust);
    let next = encode(&signed(&root(2, by_two, 1), &[one.clone(), two.clone()]));

    let mut bad = wrapped(&signed(&index(1, &[(A, "a")]), by_one), &[(A, "a")]);
    bad["roots"] = json!([next]);
    told.refused(&bad, "targets_signature");
    assert_eq!(told.state()["root_version"], 1, "nothing of it counts");

    let mut good = wrapped(&signed(&index(1, &[(A, "a")]), by_two), &[(A, "a")]);
    good["roots"] = json!([next]);
    told.answer(&good);
    assert_eq!((told.state()["root_version"].as_u64(), told.held().len()), (Some(2), 1));
}

#[test]
fn files_of_other_products_are_kept_and_nothing_is_made_of_them() {
    const OTHER: &str = "datadog/2/ASM_DD/rules/config";
    let mut told = Told::new();
    assert_eq!(told.answer(&update(1, &[(OTHER, "{}"), (A, "a")])), ["+logProbe_a=a"]);
    assert_eq!(told.held(), [of("rules", 1, 1), of("logProbe_a", 1, 2)]);
    assert!(told.answer(&update(2, &[(OTHER, "{1}"), (A, "a")])).is_empty());
    assert_eq!(told.held()[0], of("rules", 2, 1));
    told.answer(&update(3, &[(A, "a")]));
    assert_eq!(told.held(), [of("logProbe_a", 3, 2)]);
}

#[test]
fn after_three_answers_in_a_row_that_there_is_nothing_it_is_forgotten() {
    let mut told = Told::new();
    told.answer(&update(9, &[(A, "a")]));
    for _ in 0..2 {
        assert!(told.status(404).is_empty());
    }
    told.answer(&json!({}));
    for _ in 0..2 {
        assert!(told.status(404).is_empty(), "the count starts anew");
    }
    for status in [500, 503, 302, 400] {
        assert!(told.status(status).is_empty(), "a failure is no such answer, nor the contrary");
    }
    assert_eq!(told.status(404), ["-logProbe_a"]);
    assert_eq!((told.held(), told.state()["targets_version"].as_u64()), (vec![], Some(0)));
    assert_eq!(told.state()["backend_client_state"], "");
    assert!(told.status(404).is_empty());
    assert_eq!(told.answer(&update(9, &[(A, "a")])), ["+logProbe_a=a"], "the same version comes back");
}

#[test]
fn a_server_that_is_out_of_date_takes_everything_back_and_its_version_is_known() {
    let mut told = Told::new();
    told.answer(&update(3, &[(A, "a")]));
    let mut expired = update(4, &[]);
    expired["config_status"] = json!(1);
    assert_eq!(told.answer(&expired), ["-logProbe_a"]);
    assert_eq!((told.held(), told.state()["targets_version"].as_u64()), (vec![], Some(4)));
    told.answer(&update(5, &[(A, "a")]));
    assert_eq!(told.answer(&json!({"config_status": 1})), ["-logProbe_a"], "without an index too");
    assert_eq!(told.state()["targets_version"], 0, "else it would never be sent again");
    told.answer(&update(5, &[(A, "a")]));
    assert_eq!((told.held().len(), told.state()["targets_version"].as_u64()), (1, Some(5)));
}

fn switching(on: bool, newer: bool) -> String {
    let file = if newer {
        json!({"sdk_config": {"config": {"DD_DYNAMIC_INSTRUMENTATION_ENABLED": on.to_string()}}})
    } else {
        json!({"lib_config": {"dynamic_instrumentation_enabled": on}})
    };
    file.to_string()
}

#[test]
fn probes_are_switched_off_and_on_and_come_back() {
    for newer in [false, true] {
        let (off, on) = (switching(false, newer), switching(true, newer));
        let mut told = Told::new();
        assert_eq!(told.client.products(), [SWITCHES, PROBES]);
        told.answer(&update(1, &[(A, "a")]));

        assert_eq!(told.answer(&update(2, &[(SWITCH, &off), (A, "a")])), ["off"]);
        assert_eq!(told.request()["client"]["products"], json!([SWITCHES]));
        assert_eq!(told.held(), [of("x", 2, 2), of("logProbe_a", 2, 1)], "sent all the same, it is only kept");
        assert_eq!(told.state()["targets_version"], 0, "whoever goes by the version alone sends all anew");
        assert!(told.answer(&update(3, &[(SWITCH, &off)])).is_empty());
        assert_eq!(told.held(), [of("x", 3, 2)]);
        assert_eq!(told.state()["targets_version"], 3);

        // The server does not know yet that they are wanted.
        assert_eq!(told.answer(&update(4, &[(SWITCH, &on)])), ["on"]);
        assert_eq!(told.request()["client"]["products"], json!([SWITCHES, PROBES]));
        assert_eq!(told.state()["targets_version"], 0);
        assert_eq!(told.answer(&update(4, &[(SWITCH, &on), (A, "a")])), ["+logProbe_a=a"]);
        assert_eq!(told.state()["targets_version"], 4);

        // It says nothing any more: as at the start.
        told.answer(&update(5, &[(SWITCH, &off)]));
        assert_eq!(told.answer(&update(6, &[])), ["on"]);
    }
}

#[test]
fn what_was_kept_while_off_is_asked_for_anew() {
    let (off, on) = (switching(false, false), switching(true, false));
    let mut told = Told::new();
    told.answer(&update(1, &[(SWITCH, &off), (A, "a")]));
    assert_eq!(told.held(), [of("x", 1, 2), of("logProbe_a", 1, 1)]);
    let mut lean = update(2, &[(SWITCH, &on), (A, "a")]);
    lean["target_files"].as_array_mut().unwrap().pop();
    assert_eq!(told.answer(&lean), ["on"]);
    assert_eq!(told.held(), [of("x", 2, 2)], "an equal hash does not count as in force");
    assert_eq!(told.answer(&update(2, &[(SWITCH, &on), (A, "a")])), ["+logProbe_a=a"]);
}

#[test]
fn a_file_that_switches_and_cannot_be_read_is_told() {
    let mut told = Told::new();
    assert!(told.answer(&update(1, &[(SWITCH, "nonsense")])).is_empty());
    assert_eq!(told.held(), [of("x", 1, 3)]);
    let others =
        json!({"service_target": {"service": "till"}, "lib_config": {"dynamic_instrumentation_enabled": false}});
    assert!(told.answer(&update(2, &[(SWITCH, &others.to_string())])).is_empty(), "it means others");
    assert_eq!(told.held(), [of("x", 2, 2)]);
}

/// A client of a program that may tell its symbols.
fn telling() -> Told {
    let mut told = Told::new();
    told.client.tracer.has_symbols = true;
    told
}

#[test]
fn symbols_are_uploaded_as_long_as_a_file_asks_for_them() {
    let (yes, no) = (r#"{"upload_symbols": true}"#, r#"{"upload_symbols": false}"#);
    let mut told = telling();
    assert_eq!(told.client.products(), [SWITCHES, PROBES, SYMBOLS]);
    assert_eq!(told.answer(&update(1, &[(NAMES, yes), (A, "a")])), ["symbols", "+logProbe_a=a"]);
    assert_eq!(told.held(), [of("logProbe_a", 1, 2), of("symDb", 1, 2)]);
    assert!(told.answer(&update(2, &[(NAMES, yes), (A, "a")])).is_empty(), "nothing new");
    assert_eq!(told.answer(&update(3, &[(NAMES, no), (A, "a")])), ["no symbols"]);
    assert_eq!(told.answer(&update(4, &[(NAMES, yes), (A, "a")])), ["symbols"]);
    let mut child = telling();
    child.client.inherit(told.client.known(), &mut child.notes);
    assert_eq!(child.notes.take(), ["symbols"], "a child has its own session, which has to be asked");
    assert_eq!(told.answer(&update(5, &[(NAMES, "[]"), (A, "a")])), ["no symbols"], "a bad file asks for nothing");
    assert_eq!(told.held(), [of("logProbe_a", 5, 2), of("symDb", 5, 3)]);
    assert_eq!(told.answer(&update(6, &[(NAMES, yes), (A, "a")])), ["symbols"]);
    assert_eq!(told.answer(&update(7, &[(A, "a")])), ["no symbols"]);
    assert_eq!(told.held(), [of("logProbe_a", 7, 2)]);
}

#[test]
fn symbols_are_switched_off_and_on_together_with_probes() {
    let (yes, off, on) = (r#"{"upload_symbols": true}"#, switching(false, false), switching(true, false));
    let mut told = telling();
    told.answer(&update(1, &[(NAMES, yes)]));
    assert_eq!(told.answer(&update(2, &[(SWITCH, &off), (NAMES, yes)])), ["off", "no symbols"]);
    assert_eq!(told.client.products(), [SWITCHES]);
    let mut lean = update(3, &[(SWITCH, &on), (NAMES, yes)]);
    lean["target_files"].as_array_mut().unwrap().pop();
    assert_eq!(told.answer(&lean), ["on"]);
    assert_eq!(told.held(), [of("x", 3, 2)], "an equal hash does not count as in force");
    assert_eq!(told.answer(&update(3, &[(SWITCH, &on), (NAMES, yes)])), ["symbols"]);
}

#[test]
fn symbols_are_not_asked_for_where_they_may_not_go() {
    let mut told = Told::new();
    assert_eq!(told.client.products(), [SWITCHES, PROBES]);
    assert!(told.answer(&update(1, &[(NAMES, r#"{"upload_symbols": true}"#)])).is_empty());
    assert_eq!(told.held(), [of("symDb", 1, 1)], "it is only kept");
}

#[test]
fn a_child_goes_on_from_what_its_parent_knew() {
    let mut parent = Told::new();
    parent.answer(&update(3, &[(A, "a"), (B, "b")]));
    let mut child = Told::new();
    child.client.inherit(parent.client.known(), &mut child.notes);
    assert!(child.notes.take().is_empty());
    assert_eq!(child.held(), parent.held());
    assert_eq!(child.state()["targets_version"], 3);
    assert!(child.answer(&json!({})).is_empty(), "nothing has changed for it");
    assert_eq!(child.answer(&update(4, &[(B, "b")])), ["-logProbe_a"]);
    assert_eq!(parent.held().len(), 2, "they have parted");
}

#[test]
fn an_answer_that_is_not_one_is_told_and_a_good_one_ends_that() {
    let mut told = Told::new();
    told.client.answered(200, b"not JSON", NOW, &mut told.notes);
    assert_eq!(told.state()["error"], "json");
    assert_eq!(told.client.answered(204, b"", NOW, &mut told.notes), Poll::Answered);
    assert_eq!(told.state()["has_error"], false);
    assert_eq!(told.client.answered(500, b"{}", NOW, &mut told.notes), Poll::Failed);
    assert_eq!(told.state()["has_error"], false);
}

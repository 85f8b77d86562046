//! Hostile input by the thousand: seeds from the vectors, mutated by a generator with a fixed seed. Whatever comes, nothing
//! panics or takes for ever; what is accepted keeps its promises. `STROBE_FUZZ_ROUNDS` at compile time makes it longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, in its helpers too, and says how much it ran by printing"
)]

use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::config::LogStack;
use stroboscope_core::control::agent::info;
use stroboscope_core::control::remote::client::{Client, Host, Sent};
use stroboscope_core::control::remote::held::Tracer;
use stroboscope_core::control::remote::trust::Trust;
use stroboscope_core::control::remote::{answer, canonical, path, switch};
use stroboscope_core::expr::eval::Failure;
use stroboscope_core::expr::{decode, print, template, text};
use stroboscope_core::host::{Capabilities, Language};
use stroboscope_core::probe::{compile, wire};
use stroboscope_toys::json::Json;
use stroboscope_toys::kinds::Case;
use stroboscope_toys::random::Dice;
use stroboscope_toys::runner;
use stroboscope_toys::value::{Dialect, World};

/// How many inputs each test makes.
fn rounds(default: usize) -> usize {
    option_env!("STROBE_FUZZ_ROUNDS").and_then(|rounds| rounds.parse().ok()).unwrap_or(default)
}

/// A stretch of the bytes, often empty.
fn stretch(dice: &mut Dice, of: &[u8]) -> std::ops::Range<usize> {
    let start = dice.below(of.len() + 1);
    start..start + dice.below((of.len() - start).min(24) + 1)
}

/// What is likely to matter to a reader.
const TOKENS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    ",",
    ":",
    "(",
    ")",
    "{{",
    "}}",
    "@it",
    "@return",
    "@key",
    "null",
    "true",
    "-",
    "1e400",
    "0.1",
    "9223372036854775808",
    "\\ud800",
    "\\u0000",
    "\u{0}",
    "é",
    "😀",
    "\u{feff}",
    " ",
    "\n",
    "ref",
    "getmember",
    "any",
    "matches",
    "==",
    "&&",
    "!",
    "?",
    ".",
    "'",
    "/",
    "password",
    "\"ref\": \"a\"",
    "\"json\"",
    "\"dsl\"",
    "\"segments\"",
    "\"where\"",
];

/// One to three changes: a byte, a piece gone, doubled, moved in from another seed, or a token.
fn mutate(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    // Mostly one change, so that many inputs stay readable.
    for _ in 0..=dice.below(4).saturating_sub(1) {
        let range = stretch(dice, &bytes);
        match dice.below(6) {
            0 if !bytes.is_empty() => {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
            1 => drop(bytes.drain(range)),
            2 => {
                let piece = bytes[range.clone()].repeat(1 + dice.below(3));
                bytes.splice(range.start..range.start, piece);
            }
            3 => {
                let other = &seeds[dice.below(seeds.len())];
                let piece = other[stretch(dice, other)].to_vec();
                bytes.splice(range, piece);
            }
            _ => {
                let token = TOKENS[dice.below(TOKENS.len())].bytes();
                bytes.splice(range.start..range.start, token);
            }
        }
    }
    bytes.truncate(8192);
    bytes
}

/// The texts of a field in every vector of a file; JSON that is not a string as it is written.
fn seeds(file: &str, fields: &[&str]) -> Vec<Vec<u8>> {
    let vectors = runner::read(file).unwrap();
    let found = vectors.iter().flat_map(|vector| fields.iter().map(move |field| (vector, *field)));
    let texts = found.filter_map(|(vector, field)| vector.text(field).or_else(|| vector.raw(field).map(str::to_owned)));
    // A seed of megabytes would make every round slow and find nothing more.
    let seeds: Vec<_> = texts.filter(|text| text.len() < 2048).map(String::into_bytes).collect();
    assert!(seeds.len() > 20, "{fields:?}: only {} seeds", seeds.len());
    seeds
}

const EXPRESSIONS: &str = include_str!("../../tests/vectors/expressions.json");
const DEFINITIONS: &str = include_str!("../../tests/vectors/definitions.json");

#[test]
fn json_expressions() {
    let seeds = seeds(EXPRESSIONS, &["json"]);
    let mut dice = Dice::new(1);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..rounds(60_000) {
        let bytes = mutate(&mut dice, &seeds);
        let Ok(json) = str::from_utf8(&bytes) else { continue };
        match decode::decode(json) {
            Err(invalid) => {
                assert!(invalid.0.starts_with("Invalid expression: "), "{json:?}: {}", invalid.0);
                refused += 1;
            }
            Ok(tree) => {
                // A member that is not an identifier has no form of its own in text, so the texts are compared.
                let printed = print::print(&tree);
                let again = text::parse(&printed).map(|tree| print::print(&tree));
                assert_eq!(again.as_ref(), Ok(&printed), "{json:?}");
                read += 1;
            }
        }
    }
    assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
}

#[test]
fn text_expressions() {
    let seeds = seeds(EXPRESSIONS, &["dsl", "text"]);
    let mut dice = Dice::new(2);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..rounds(60_000) {
        let bytes = mutate(&mut dice, &seeds);
        let Ok(written) = str::from_utf8(&bytes) else { continue };
        match text::parse(written) {
            Err(invalid) => {
                assert!(invalid.0.starts_with("Invalid expression: "), "{written:?}: {}", invalid.0);
                refused += 1;
            }
            Ok(tree) => {
                let printed = print::print(&tree);
                assert_eq!(text::parse(&printed).as_ref(), Ok(&tree), "{written:?} is printed as {printed:?}");
                read += 1;
            }
        }
    }
    assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
}

#[test]
fn templates() {
    let mut seeds = seeds(EXPRESSIONS, &["dsl"]);
    for seed in &mut seeds {
        *seed = [b"a {{ ".as_slice(), b"{", seed, b"}", b" }} b {c}"].concat();
    }
    let mut dice = Dice::new(3);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..rounds(10_000) {
        let bytes = mutate(&mut dice, &seeds);
        let Ok(written) = str::from_utf8(&bytes) else { continue };
        match template::parse(written) {
            Err(_) => refused += 1,
            Ok(_) => read += 1,
        }
    }
    assert!(read > 500 && refused > 500, "{read} read, {refused} refused");
}

#[test]
fn evaluation_in_both_hosts() {
    let seeds = seeds(EXPRESSIONS, &["dsl"]);
    let vars = r#"{"a": 1, "b": [1, 2.5, "x", null, {"$decimal": "1.10"}], "c": {"k": 1, "password": "s"}, "n": null,
        "s": "kettle", "x": {"$object": {"class": "shop.Cart", "fields": {"size": 3, "items": [1, 2]}, "getters": ["g"]}},
        "cart": {"$object": {"class": "shop.Cart", "fields": {"total": 3.5, "name": "mug"}}}, "l": [1, 2, 3],
        "items": [{"name": "mug", "price": 4}, {"name": "pan", "price": 40}], "user": {"name": "ann", "age": 3},
        "e": {"$enum": {"class": "shop.Color", "name": "RED", "value": 1}}, "y": {"$bytes": "00ff"}, "nan": {"$float": "NaN"},
        "m": {"$map": [[1, "a"], ["k", {"$set": [1, 2]}]]}, "i": {"$iterator": true}, "o": {"$opaque": true},
        "big": {"$int": "12345678901234567890123"}, "f": {"$function": "shop.f"}, "u": {"$undefined": true},
        "err": {"$exception": {"class": "ValueError", "message": "bad"}}, "@return": 7, "@duration": 1.5}"#;
    let vars = Json::read(vars).unwrap();
    let mut dice = Dice::new(4);
    let mut agreed = [0, 0];
    for _ in 0..rounds(10_000) {
        let bytes = mutate(&mut dice, &seeds);
        let Ok(written) = str::from_utf8(&bytes) else { continue };
        if text::parse(written).is_err() {
            continue;
        }
        let redaction = Redaction::default();
        let world = World::new(&vars, Dialect::Python, &redaction).unwrap();
        let case = Case::of_text(written, world, redaction);
        let inside = case.canonical(case.value_inside());
        let outside = case.canonical(case.value_outside());
        assert_eq!(inside, outside, "{written:?}");
        agreed[usize::from(inside.is_ok())] += 1;
    }
    assert!(agreed.iter().all(|count| *count > 200), "{agreed:?}");
}

#[test]
fn probe_files() {
    let mut seeds = seeds(DEFINITIONS, &["definition", "text"]);
    for seed in &mut seeds {
        if seed.first() == Some(&b'{') {
            *seed = [b"[".as_slice(), seed, b", ", seed, b"]"].concat();
        }
    }
    let capabilities = Capabilities {
        language: Language::Python,
        methods: true,
        metrics: true,
        spans: true,
        module_lines: true,
        disarm: true,
        capture_timeout_ms: 100,
        log_stack: LogStack::All,
    };
    let mut dice = Dice::new(5);
    let (mut whole, mut refused, mut compiled) = (0, 0, 0);
    for _ in 0..rounds(10_000) {
        let bytes = mutate(&mut dice, &seeds);
        let Ok(file) = wire::read_file(&bytes) else {
            refused += 1;
            continue;
        };
        whole += 1;
        for probe in file.probes {
            match probe {
                Err(rejected) => assert!(!rejected.text.is_empty()),
                Ok(definition) => match compile::compile(&definition, &|name| name == "password", &capabilities) {
                    Err(error) => assert!(!error.text.is_empty()),
                    Ok(_) => compiled += 1,
                },
            }
        }
    }
    assert!(whole > 500 && refused > 500 && compiled > 200, "{whole} whole, {refused} refused, {compiled} compiled");
}

#[test]
fn encoded_failures() {
    let mut dice = Dice::new(6);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..rounds(50_000) {
        let mut bytes = vec![1 + dice.below(28) as u8];
        // Small numbers, some of them negative, since most tags accept only those.
        for _ in 0..2 {
            let number = i64::try_from(dice.below(24)).unwrap() - 2;
            bytes.extend(number.to_le_bytes());
        }
        let text = ["", "x", "é", "password"][dice.below(4)];
        bytes.push(text.len() as u8);
        bytes.extend(text.as_bytes());
        if dice.below(3) == 0 {
            let at = dice.below(bytes.len());
            bytes[at] = dice.roll() as u8;
        }
        let mut rest = bytes.as_slice();
        let Some(failure) = Failure::decode(&mut rest) else {
            refused += 1;
            continue;
        };
        let mut again = Vec::new();
        failure.encode(&mut again);
        assert_eq!(Failure::decode(&mut again.as_slice()), Some(failure), "{bytes:?}");
        read += 1;
    }
    assert!(read > 5_000 && refused > 5_000, "{read} read, {refused} refused");
}

const REMOTE_PATH: &str = "datadog/2/LIVE_DEBUGGING/logProbe_a/config";

/// Documents as a server signs them.
fn signed_documents() -> Vec<Vec<u8>> {
    let index = format!(
        r#"{{"signed":{{"_type":"targets","spec_version":"1.0.0","version":7,"expires":"2099-01-01T00:00:00Z",
        "custom":{{"opaque_backend_state":"é\\\"","agent_refresh_interval":5}},"targets":{{"{REMOTE_PATH}":{{"length":3,
        "hashes":{{"sha256":"{}"}},"custom":{{"v":4}}}}}}}},"signatures":[{{"keyid":"ab","sig":"{}"}}]}}"#,
        // Of `abc`.
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "00".repeat(64)
    );
    let root = r#"{"signed":{"_type":"root","version":2,"expires":"2099-01-01T00:00:00Z","keys":{"ab":{"keytype":"ed25519",
        "scheme":"ed25519","keyval":{"public":"7d3102e39abe71044d207550bda239c71380d013ec5a115f79f51622630054e6"}}},
        "roles":{"root":{"keyids":["ab"],"threshold":1},"targets":{"keyids":["ab"],"threshold":1}}},"signatures":[]}"#;
    vec![index.into_bytes(), root.as_bytes().to_vec(), br#"{"b":[1,-2,{"a":null}],"a":"x\n"}"#.to_vec()]
}

#[test]
fn canonical_json() {
    let seeds = signed_documents();
    let mut dice = Dice::new(7);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..rounds(30_000) {
        let bytes = mutate(&mut dice, &seeds);
        let Some(form) = canonical::canonical(&bytes) else {
            refused += 1;
            continue;
        };
        read += 1;
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok(), "{bytes:?} is not even JSON");
        // A form without control characters, which are not escaped in it, is its own form.
        if !form.iter().any(u8::is_ascii_control) {
            assert_eq!(canonical::canonical(&form).as_ref(), Some(&form), "{bytes:?}");
        }
        assert!(canonical::depth(&bytes) <= canonical::MAX_DEPTH);
    }
    assert!(read > 1_000 && refused > 1_000, "{read} read, {refused} refused");
}

/// Notes which files are in force.
#[derive(Default)]
struct InForce(std::collections::BTreeMap<String, Vec<u8>>);

impl Host for InForce {
    fn commit(&mut self, removed: &[String], files: &[Sent<'_>]) -> Vec<Option<String>> {
        for path in removed {
            assert!(self.0.remove(path).is_some(), "{path} was not there");
        }
        self.0.extend(files.iter().map(|file| (file.path.to_owned(), file.bytes.to_vec())));
        vec![None; files.len()]
    }

    fn switch(&mut self, on: bool) {
        if !on {
            self.0.clear();
        }
    }

    fn upload_symbols(&mut self, _: bool) {}
}

#[test]
fn answers_of_remote_configuration() {
    let documents = signed_documents();
    let mut dice = Dice::new(8);
    let root = String::from_utf8(documents[1].clone()).unwrap();
    for trust in [Trust::compatible(), Trust::pinned(&root).unwrap()] {
        let is_pinned = trust.is_pinned();
        let mut client = Client::new(Tracer::default(), trust, true);
        let mut host = InForce::default();
        let (mut taken, mut refused) = (0, 0);
        for _ in 0..rounds(20_000) {
            // Either the documents are changed, or what they are wrapped in.
            let inner = dice.below(2) == 0;
            let mut index = if inner { mutate(&mut dice, &documents[..1]) } else { documents[0].clone() };
            if dice.below(8) == 0 {
                index = mutate(&mut dice, &documents);
            }
            let path = [REMOTE_PATH, "datadog/2/APM_TRACING/x/config", ""][dice.below(16) / 7];
            let body = format!(
                r#"{{"targets":"{}","roots":[],"target_files":[{{"path":"{path}","raw":"YWJj"}}],"client_configs":[{}],
                "config_status":0}}"#,
                answer::encode(&index),
                if dice.below(4) == 0 { String::new() } else { format!("\"{path}\"") }
            )
            .into_bytes();
            let body = if inner { body } else { mutate(&mut dice, &[body]) };
            let before = (client.changes(), host.0.clone());
            client.answered(200, &body, 1_790_000_000, &mut host);
            let held: serde_json::Value = serde_json::from_slice(client.request()).unwrap();
            let held = held["cached_target_files"].as_array().unwrap().len();
            if client.error().is_some() {
                refused += 1;
                assert_eq!(host.0, before.1, "a refused update changes nothing: {}", String::from_utf8_lossy(&body));
            } else if client.changes() > before.0 {
                taken += 1;
            }
            assert!(held >= host.0.len() && held <= 1);
            assert!(host.0.values().all(|bytes| bytes == b"abc"), "bytes that no hash stands for");
        }
        assert!(refused > 1_000 && (taken > 500) != is_pinned, "{taken} taken, {refused} refused");
    }
}

#[test]
fn names_and_switches_and_abilities() {
    let paths = [REMOTE_PATH.into(), b"employee/A/b/c".to_vec()];
    let switches = [
        br#"{"service_target":{"service":"*","env":"x"},"lib_config":{"dynamic_instrumentation_enabled":true}}"#
            .to_vec(),
        br#"{"sdk_config":{"config":{"DD_DYNAMIC_INSTRUMENTATION_ENABLED":"false"}},"k8s_target_v2":[{}]}"#.to_vec(),
    ];
    let infos = [br#"{"version":"7.72.0","endpoints":["/v0.7/config","debugger/v2/input"],"config":{}}"#.to_vec()];
    let mut dice = Dice::new(9);
    let mut good = [0, 0, 0];
    for _ in 0..rounds(20_000) {
        let name = mutate(&mut dice, &paths);
        if let Ok(name) = str::from_utf8(&name)
            && path::read(name).is_some()
        {
            good[0] += 1;
            assert!(!name.contains("/../") && !name.contains('\0') && name.len() <= path::MAX_PATH, "{name:?}");
        }
        match switch::read(&mutate(&mut dice, &switches), "x", "x") {
            Ok(_) => good[1] += 1,
            Err(why) => assert!(!why.is_empty()),
        }
        good[2] += usize::from(info::lists(200, &mutate(&mut dice, &infos), "/v0.7/config").is_some());
    }
    assert!(good.iter().all(|count| *count > 1_000), "{good:?}");
}

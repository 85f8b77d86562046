//! What is held, and the request that tells the server so. On the walk of a configuration going in, in `client.rs`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::answer::{Target, encode};
use super::{hex, path};

/// Features that are honoured: remote switching of the product, several files that switch it, and settings by name.
const CAPABILITIES: [u32; 3] = [38, 45, 49];
/// The most characters of why a file cannot be used.
const MAX_ERROR: usize = 300;

/// What became of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Nobody here uses its product.
    Kept,
    /// It is understood.
    Done,
    /// It is not, and why.
    Failed(String),
}

impl Applied {
    fn state(&self) -> u8 {
        match self {
            Applied::Kept => 1,
            Applied::Done => 2,
            Applied::Failed(_) => 3,
        }
    }

    fn error(&self) -> &str {
        if let Applied::Failed(why) = self { why } else { "" }
    }

    /// Of an attempt to use it.
    pub(crate) fn of(fault: Option<String>) -> Self {
        match fault {
            None => Applied::Done,
            Some(why) if why.chars().nth(MAX_ERROR).is_none() => Applied::Failed(why),
            Some(why) => Applied::Failed(why.chars().take(MAX_ERROR).collect()),
        }
    }
}

/// A file that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// What the index says of it.
    pub target: Target,
    /// What became of it.
    pub applied: Applied,
}

/// Who asks. Made once; a child of a fork is somebody else.
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    /// A UUID that is not the runtime's.
    pub client_id: String,
    /// The UUID of this process.
    pub runtime_id: String,
    /// `python`, `node`, …
    pub language: String,
    /// Our version.
    pub tracer_version: String,
    /// The service.
    pub service: String,
    /// The environment; may be empty.
    pub env: String,
    /// The version of the service; may be empty.
    pub app_version: String,
    /// `key:value`.
    pub tags: Vec<String>,
    /// `key:value`.
    pub process_tags: Vec<String>,
    /// It has symbols to upload, and may.
    pub has_symbols: bool,
}

/// What a request tells besides the files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct State<'a> {
    pub(crate) products: &'a [&'a str],
    pub(crate) root_version: u64,
    pub(crate) targets_version: u64,
    pub(crate) opaque: &'a str,
    pub(crate) error: Option<&'static str>,
}

#[derive(Serialize)]
struct Request<'a> {
    client: ClientText<'a>,
    cached_target_files: Vec<Cached<'a>>,
}

#[derive(Serialize)]
struct ClientText<'a> {
    id: &'a str,
    products: &'a [&'a str],
    is_tracer: bool,
    client_tracer: TracerText<'a>,
    state: StateText<'a>,
    capabilities: String,
}

#[derive(Serialize)]
struct TracerText<'a> {
    runtime_id: &'a str,
    language: &'a str,
    tracer_version: &'a str,
    service: &'a str,
    env: &'a str,
    app_version: &'a str,
    extra_services: [&'a str; 0],
    tags: &'a [String],
    process_tags: &'a [String],
}

#[derive(Serialize)]
struct StateText<'a> {
    root_version: u64,
    targets_version: u64,
    config_states: Vec<ConfigState<'a>>,
    has_error: bool,
    error: &'a str,
    backend_client_state: &'a str,
}

#[derive(Serialize)]
struct ConfigState<'a> {
    id: &'a str,
    version: u64,
    product: &'a str,
    apply_state: u8,
    apply_error: &'a str,
}

#[derive(Serialize)]
struct Cached<'a> {
    path: &'a str,
    length: u64,
    hashes: Vec<Hash>,
}

#[derive(Serialize)]
struct Hash {
    algorithm: &'static str,
    hash: String,
}

/// Writes the body of a request.
pub(crate) fn request(tracer: &Tracer, state: State<'_>, files: &BTreeMap<String, File>) -> Vec<u8> {
    let told = files.iter().filter_map(|(path, file)| {
        let parts = path::read(path)?;
        Some(ConfigState {
            id: parts.id,
            version: file.target.version,
            product: parts.product,
            apply_state: file.applied.state(),
            apply_error: file.applied.error(),
        })
    });
    // Agents refuse a request that names a file of no bytes, and so every later one.
    let cached = files.iter().filter(|(_, file)| file.target.length > 0).map(|(path, file)| Cached {
        path,
        length: file.target.length,
        hashes: hashes(&file.target),
    });
    let request = Request {
        client: ClientText {
            id: &tracer.client_id,
            products: state.products,
            is_tracer: true,
            client_tracer: TracerText {
                runtime_id: &tracer.runtime_id,
                language: &tracer.language,
                tracer_version: &tracer.tracer_version,
                service: &tracer.service,
                env: &tracer.env,
                app_version: &tracer.app_version,
                extra_services: [],
                tags: &tracer.tags,
                process_tags: &tracer.process_tags,
            },
            state: StateText {
                root_version: state.root_version,
                targets_version: state.targets_version,
                config_states: told.collect(),
                has_error: state.error.is_some(),
                error: state.error.unwrap_or_default(),
                backend_client_state: state.opaque,
            },
            capabilities: encode(&bits(&CAPABILITIES)),
        },
        cached_target_files: cached.collect(),
    };
    // Texts and numbers always become JSON.
    let mut body = serde_json::to_vec(&request).unwrap_or_default();
    body.shrink_to_fit();
    body
}

fn hashes(target: &Target) -> Vec<Hash> {
    let short = target.sha256.as_ref().map(|hash| Hash { algorithm: "sha256", hash: hex(hash) });
    let long = target.sha512.as_ref().map(|hash| Hash { algorithm: "sha512", hash: hex(&hash[..]) });
    short.into_iter().chain(long).collect()
}

/// A set of bits as bytes, the highest first, without leading zeros.
fn bits(set: &[u32]) -> Vec<u8> {
    let all = set.iter().fold(0_u64, |all, bit| all | 1 << bit);
    let bytes = all.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
    bytes[first..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn capabilities_are_as_few_bytes_as_they_can_be() {
        assert_eq!(bits(&[]), [0]);
        assert_eq!(bits(&[0, 8]), [1, 1]);
        assert_eq!(bits(&CAPABILITIES), [0b10, 0b10_0000, 0b100_0000, 0, 0, 0, 0]);
    }

    #[test]
    fn a_request_tells_who_asks_and_what_is_held() {
        let tracer = Tracer {
            client_id: "c".into(),
            runtime_id: "r".into(),
            language: "python".into(),
            tracer_version: "0.1.0".into(),
            service: "shop".into(),
            tags: vec!["env:x".into()],
            ..Tracer::default()
        };
        let target = |version| Target { length: 3, sha256: Some([0xab; 32]), sha512: None, version };
        let files = BTreeMap::from([
            ("datadog/2/APM_TRACING/a/config".to_owned(), File { target: target(1), applied: Applied::Done }),
            (
                "datadog/2/LIVE_DEBUGGING/logProbe_b/config".to_owned(),
                File { target: target(2), applied: Applied::of(Some("x".repeat(1000))) },
            ),
            ("datadog/2/FOO/c/config".to_owned(), File { target: target(3), applied: Applied::Kept }),
            (
                "datadog/2/FOO/empty/config".to_owned(),
                File { target: Target { length: 0, ..target(4) }, applied: Applied::Kept },
            ),
        ]);
        let state = State {
            products: &["APM_TRACING", "LIVE_DEBUGGING"],
            root_version: 1,
            targets_version: 9,
            opaque: "abc",
            error: Some("json"),
        };
        let body: Value = serde_json::from_slice(&request(&tracer, state, &files)).unwrap();
        let client = &body["client"];
        assert_eq!(client["id"], "c");
        assert_eq!(client["is_tracer"], true);
        assert_eq!(client["capabilities"], "AiBAAAAAAA==");
        assert_eq!(
            client["client_tracer"],
            json!({"runtime_id": "r", "language": "python", "tracer_version": "0.1.0", "service": "shop", "env": "",
                "app_version": "", "extra_services": [], "tags": ["env:x"], "process_tags": []})
        );
        assert_eq!(
            client["state"],
            json!({"root_version": 1, "targets_version": 9, "has_error": true, "error": "json",
                "backend_client_state": "abc", "config_states": [
                    {"id": "a", "version": 1, "product": "APM_TRACING", "apply_state": 2, "apply_error": ""},
                    {"id": "c", "version": 3, "product": "FOO", "apply_state": 1, "apply_error": ""},
                    {"id": "empty", "version": 4, "product": "FOO", "apply_state": 1, "apply_error": ""},
                    {"id": "logProbe_b", "version": 2, "product": "LIVE_DEBUGGING", "apply_state": 3,
                        "apply_error": "x".repeat(300)}]})
        );
        assert_eq!(
            body["cached_target_files"][1],
            json!({"path": "datadog/2/FOO/c/config", "length": 3,
                "hashes": [{"algorithm": "sha256", "hash": "ab".repeat(32)}]})
        );
        assert_eq!(body["cached_target_files"].as_array().map(Vec::len), Some(3), "none of no bytes");
        assert!(client.get("client_agent").is_none());
    }
}

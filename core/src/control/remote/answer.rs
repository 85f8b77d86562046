//! The answer to a poll, read with suspicion: its size, its depth, how many files, which paths. On the walk of a configuration
//! going in, after `sender.rs`, which got it; `trust.rs` and `client.rs` come next.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256, Sha512};

use super::canonical::{MAX_DEPTH, depth};
use super::{Code, Refused, Result, path, short, unhex};

/// The largest answer.
pub const MAX_BODY: usize = 5 << 20;
/// The most files that may be held.
pub const MAX_PATHS: usize = 2000;
/// The largest file.
pub const MAX_FILE: usize = 1 << 20;
/// An answer that is no longer than this says nothing.
const NOTHING: usize = 3;

/// An update, taken out of its wrapping.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// New roots of trust, oldest first.
    pub(crate) roots: Vec<Vec<u8>>,
    /// The signed index of files; `None` only in an answer that takes everything back.
    pub(crate) targets: Option<Vec<u8>>,
    /// Files, by path.
    pub(crate) files: HashMap<String, Vec<u8>>,
    /// All paths to be held.
    pub(crate) paths: BTreeSet<String>,
    /// The server itself is out of date: nothing is to be held.
    pub(crate) expired: bool,
}

fn json(what: &str, error: impl std::fmt::Display) -> Refused {
    Refused::new(Code::Json, format!("{what}: {error}"))
}

fn too_large(what: impl Into<String>) -> Refused {
    Refused::new(Code::TooLarge, what)
}

/// Refuses JSON that is too deep for readers that recurse.
fn shallow(text: &[u8], what: &str) -> Result<()> {
    let depth = depth(text);
    if depth > MAX_DEPTH { Err(json(what, format!("{depth} brackets deep"))) } else { Ok(()) }
}

/// Reads an answer; `None`: nothing has changed.
pub(crate) fn read(body: &[u8]) -> Result<Option<Answer>> {
    #[derive(Deserialize)]
    struct Text<'a> {
        #[serde(borrow, default)]
        roots: Option<Vec<Cow<'a, str>>>,
        #[serde(borrow, default)]
        targets: Option<Cow<'a, str>>,
        #[serde(borrow, default)]
        target_files: Option<Vec<FileText<'a>>>,
        #[serde(default)]
        client_configs: Option<Vec<String>>,
        #[serde(default)]
        config_status: Option<i64>,
    }
    #[derive(Deserialize)]
    struct FileText<'a> {
        path: String,
        #[serde(borrow, default)]
        raw: Cow<'a, str>,
    }
    if body.len() > MAX_BODY {
        return Err(too_large(format!("an answer of more than {MAX_BODY} bytes")));
    }
    if body.len() <= NOTHING {
        return Ok(None);
    }
    shallow(body, "the answer")?;
    let text: Text<'_> = serde_json::from_slice(body).map_err(|error| json("the answer", error))?;
    let (files, paths) = (text.target_files.unwrap_or_default(), text.client_configs.unwrap_or_default());
    let expired = text.config_status == Some(1);
    if text.targets.as_ref().is_none_or(|targets| targets.is_empty()) && !expired {
        if files.is_empty() && paths.is_empty() {
            return Ok(None);
        }
        return Err(json("the answer", "it names files and has no index of them"));
    }
    if files.len() > MAX_PATHS || paths.len() > MAX_PATHS {
        return Err(too_large(format!("more than {MAX_PATHS} files")));
    }
    let mut answer = Answer { expired, ..Answer::default() };
    for path in paths {
        if path::read(&path).is_none() {
            return Err(Refused::new(Code::Path, short(&path)));
        }
        answer.paths.insert(path);
    }
    for FileText { path, raw } in files {
        // Two of every three bytes are there: what is far too large is not even decoded.
        let bytes = if raw.len() / 4 * 3 > MAX_FILE + 3 { None } else { Some(decode(&raw)) };
        let bytes = bytes.ok_or_else(|| too_large(format!("file {}", short(&path))))?;
        let bytes = bytes.ok_or_else(|| json(&format!("file {}", short(&path)), "it is not Base64"))?;
        if bytes.len() > MAX_FILE {
            return Err(too_large(format!("file {}", short(&path))));
        }
        answer.files.insert(path, bytes);
    }
    let unwrapped = |text: Cow<'_, str>, what: &str| {
        let bytes = decode(&text).ok_or_else(|| json(what, "it is not Base64"))?;
        shallow(&bytes, what)?;
        Ok(bytes)
    };
    for root in text.roots.unwrap_or_default() {
        answer.roots.push(unwrapped(root, "a root")?);
    }
    answer.targets =
        text.targets.filter(|text| !text.is_empty()).map(|text| unwrapped(text, "the index")).transpose()?;
    Ok(Some(answer))
}

/// What the index says of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Bytes.
    pub length: u64,
    /// One of the two there is.
    pub sha256: Option<[u8; 32]>,
    /// The longer one is rare.
    pub sha512: Option<Box<[u8; 64]>>,
    /// The file's own version.
    pub version: u64,
}

impl Target {
    /// True if both mean the same bytes.
    pub(crate) fn is_same(&self, other: &Target) -> bool {
        let same = match (self.sha256.zip(other.sha256), self.sha512.as_ref().zip(other.sha512.as_ref())) {
            (Some((one, other)), _) => one == other,
            (None, Some((one, other))) => one == other,
            (None, None) => false,
        };
        same && self.length == other.length
    }

    /// Refuses other bytes.
    pub(crate) fn check(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let length = bytes.len() as u64;
        if length != self.length {
            let what = format!("{}: {length} bytes, not {}", short(path), self.length);
            return Err(Refused::new(Code::FileLength, what));
        }
        let other = self.sha256.is_some_and(|hash| hash[..] != Sha256::digest(bytes)[..])
            || self.sha512.as_ref().is_some_and(|hash| hash[..] != Sha512::digest(bytes)[..]);
        if other {
            return Err(Refused::new(Code::FileHash, short(path)));
        }
        Ok(())
    }
}

/// The head of the index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) version: u64,
    pub(crate) expires: Option<String>,
    /// Said back to the server.
    pub(crate) opaque: String,
}

/// Reads the head of the index.
pub(crate) fn head(signed: &RawValue) -> Result<Head> {
    #[derive(Deserialize)]
    struct Text {
        #[serde(rename = "_type")]
        kind: String,
        version: u64,
        #[serde(default)]
        expires: Option<String>,
        #[serde(default)]
        custom: Option<Custom>,
    }
    #[derive(Deserialize, Default)]
    struct Custom {
        #[serde(default)]
        opaque_backend_state: Option<String>,
    }
    let text: Text = serde_json::from_str(signed.get()).map_err(|error| json("the index", error))?;
    if text.kind != "targets" {
        return Err(json("the index", format!("its type is '{}', not targets", short(&text.kind))));
    }
    let opaque = text.custom.unwrap_or_default().opaque_backend_state.unwrap_or_default();
    Ok(Head { version: text.version, expires: text.expires, opaque })
}

/// Reads what the index says of the files with these paths: it may have those of others.
pub(crate) fn targets(signed: &RawValue, paths: &BTreeSet<String>) -> Result<BTreeMap<String, Target>> {
    #[derive(Deserialize)]
    struct Text<'a> {
        #[serde(borrow, default)]
        targets: Option<HashMap<String, &'a RawValue>>,
    }
    #[derive(Deserialize)]
    struct TargetText {
        length: u64,
        #[serde(default)]
        hashes: HashMap<String, String>,
        custom: Custom,
    }
    #[derive(Deserialize)]
    struct Custom {
        v: u64,
    }
    let text: Text<'_> = serde_json::from_str(signed.get()).map_err(|error| json("the index", error))?;
    let all = text.targets.unwrap_or_default();
    let mut targets = BTreeMap::new();
    for path in paths {
        let missing = || Refused::new(Code::FileMissing, format!("{}: the index does not have it", short(path)));
        let raw = all.get(path).ok_or_else(missing)?;
        let read: TargetText = serde_json::from_str(raw.get()).map_err(|error| json(&short(path), error))?;
        // A hash that is none fits no bytes.
        let hash = |name: &str| read.hashes.get(name).map(String::as_str);
        let sha256 = hash("sha256").map(|text| unhex(text).unwrap_or([0; 32]));
        let sha512 = hash("sha512").map(|text| Box::new(unhex(text).unwrap_or([0; 64])));
        if sha256.is_none() && sha512.is_none() {
            return Err(Refused::new(Code::FileHash, format!("{}: the index says none", short(path))));
        }
        let target = Target { length: read.length, sha256, sha512, version: read.custom.v };
        targets.insert(path.clone(), target);
    }
    Ok(targets)
}

/// Decodes Base64 with padding, of the standard alphabet.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(4) {
        return None;
    }
    let bare = digits.strip_suffix(b"==").or_else(|| digits.strip_suffix(b"=")).unwrap_or(digits);
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3);
    for group in bare.chunks(4) {
        let mut bits = 0_u32;
        for &digit in group {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a' + 26,
                b'0'..=b'9' => digit - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = bits << 6 | u32::from(value);
        }
        bits <<= 6 * (4 - group.len());
        let [_, first, second, third] = bits.to_be_bytes();
        bytes.extend(&[first, second, third][..group.len().saturating_sub(1)]);
    }
    Some(bytes)
}

/// Encodes Base64 with padding.
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or(0);
            text.push(if at <= group.len() { char::from(DIGITS[digit]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const PATH: &str = "datadog/2/LIVE_DEBUGGING/logProbe_a/config";

    fn code(answer: &Value) -> &'static str {
        read(answer.to_string().as_bytes()).unwrap_err().code.name()
    }

    fn of(members: &Value) -> Value {
        let mut answer = json!({"targets": encode(b"{}")});
        answer.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        answer
    }

    #[test]
    fn base64_is_read_and_written() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (b"\xfb\xff\xfe", "+//+"),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).as_deref(), Some(bytes));
        }
        for text in ["Z", "Zg", "Zg=", "Z===", "====", "Zm9v!", "Zm9v\n", "Z g=", "Zg==Zg==", "-_-_"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }

    #[test]
    fn an_answer_may_say_nothing() {
        for body in ["", "{}", "{}\n", "{ }", r#"{"config_status":0}"#, r#"{"client_configs":[],"targets":""}"#] {
            assert_eq!(read(body.as_bytes()), Ok(None), "{body}");
        }
    }

    #[test]
    fn an_update_is_unwrapped() {
        let answer = json!({"roots": [encode(b"{\"a\":1}")], "targets": encode(b"{}"), "config_status": 0, "more": [],
            "client_configs": [PATH, PATH], "target_files": [{"path": PATH, "raw": encode(b"x"), "more": 1}]});
        let text = serde_json::to_string_pretty(&answer).unwrap();
        let read = read(text.as_bytes()).unwrap().unwrap();
        assert_eq!((read.roots, read.targets), (vec![b"{\"a\":1}".to_vec()], Some(b"{}".to_vec())));
        assert_eq!(read.files, HashMap::from([(PATH.to_owned(), b"x".to_vec())]));
        assert_eq!((read.paths.len(), read.expired), (1, false));
    }

    #[test]
    fn hostile_answers_are_refused_with_their_code() {
        let body = |length: usize| [b"{\"a\":\"".as_slice(), &vec![b'x'; length - 8], b"\"}"].concat();
        assert_eq!(read(&body(MAX_BODY)), Ok(None));
        assert_eq!(read(&body(MAX_BODY + 1)).unwrap_err().code.name(), "too_large");

        let paths = |count: usize| -> Vec<String> {
            (0..count).map(|number| format!("employee/LIVE_DEBUGGING/logProbe_{number}/c")).collect()
        };
        assert!(read(of(&json!({"client_configs": paths(MAX_PATHS)})).to_string().as_bytes()).is_ok());
        assert_eq!(code(&of(&json!({"client_configs": paths(MAX_PATHS + 1)}))), "too_large");
        let files: Vec<Value> = paths(MAX_PATHS + 1).into_iter().map(|path| json!({"path": path, "raw": ""})).collect();
        assert_eq!(code(&of(&json!({"target_files": files}))), "too_large");

        let file = |length: usize| of(&json!({"target_files": [{"path": PATH, "raw": encode(&vec![b'x'; length])}]}));
        assert!(read(file(MAX_FILE).to_string().as_bytes()).is_ok());
        for length in [MAX_FILE + 1, MAX_FILE + 2, MAX_FILE + 3, 3 * MAX_FILE] {
            assert_eq!(code(&file(length)), "too_large", "{length}");
        }
        for path in ["", "datadog/2/A/../c", "datadog/2/A/b\0/c", &format!("employee/A/{}/c", "x".repeat(500))] {
            assert_eq!(code(&of(&json!({"client_configs": [path]}))), "path", "{path}");
        }
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let deep = |levels: usize| format!(r#"{{"targets":"e30=","x":{}}}"#, nested(levels - 1));
        assert!(read(deep(128).as_bytes()).is_ok());
        assert_eq!(read(deep(129).as_bytes()).unwrap_err().code.name(), "json");
        assert_eq!(code(&json!({"targets": encode(nested(129).as_bytes())})), "json");
        assert_eq!(code(&of(&json!({"roots": [encode(nested(129).as_bytes())]}))), "json");
        for wrong in [
            json!({"targets": "!"}),
            json!({"targets": 7}),
            json!({"client_configs": [PATH]}),
            of(&json!({"client_configs": PATH})),
            of(&json!({"client_configs": [7]})),
            of(&json!({"target_files": [{"path": PATH, "raw": "!"}]})),
            of(&json!({"target_files": [{"raw": ""}]})),
            of(&json!({"roots": ["?"]})),
            json!([1, 2]),
        ] {
            assert_eq!(code(&wrong), "json", "{wrong}");
        }
        for text in [&b"not JSON"[..], b"{\"targets\":\"e30=\"", b"\xff\xfe\xff\xfe", b"{\"targets\":\"\\ud800\"}"] {
            assert_eq!(read(text).unwrap_err().code.name(), "json");
        }
    }

    fn indexed(index: &Value) -> Result<(Head, BTreeMap<String, Target>)> {
        let raw = RawValue::from_string(index.to_string()).unwrap();
        Ok((head(&raw)?, targets(&raw, &BTreeSet::from([PATH.to_owned()]))?))
    }

    #[test]
    fn an_index_is_read_as_far_as_it_is_needed() {
        let good = json!({"_type": "targets", "version": 7, "expires": "2099-01-01T00:00:00Z",
            "custom": {"opaque_backend_state": "abc", "agent_refresh_interval": 5},
            "targets": {PATH: {"length": 3, "hashes": {"sha256": "AB".repeat(32), "md5": "x"}, "custom": {"v": 4, "expires": 0}},
                "of another": 7}});
        let (head, targets) = indexed(&good).unwrap();
        assert_eq!((head.version, head.opaque.as_str()), (7, "abc"));
        assert_eq!(targets[PATH], Target { length: 3, sha256: Some([0xab; 32]), sha512: None, version: 4 });

        let of_file = |member: &str| format!("/targets/{}/{member}", PATH.replace('/', "~1"));
        for (pointer, value, code) in [
            ("/_type".to_owned(), json!("root"), "json"),
            ("/_type".to_owned(), Value::Null, "json"),
            ("/version".to_owned(), json!(-1), "json"),
            ("/version".to_owned(), json!(1.5), "json"),
            ("/targets".to_owned(), json!({}), "file_missing"),
            (of_file("custom"), json!({}), "json"),
            (of_file("length"), json!("3"), "json"),
            (of_file("hashes"), json!({"md5": "x"}), "file_hash"),
        ] {
            let mut bad = good.clone();
            *bad.pointer_mut(&pointer).unwrap() = value;
            assert_eq!(indexed(&bad).unwrap_err().code.name(), code, "{pointer}");
        }
        for optional in ["expires", "custom"] {
            let mut lean = good.clone();
            lean.as_object_mut().unwrap().remove(optional);
            assert!(indexed(&lean).is_ok(), "{optional}");
        }
    }

    #[test]
    fn a_file_is_what_the_index_says() {
        let sha256 = Some(Sha256::digest(b"abc").into());
        let sha512: Option<Box<[u8; 64]>> = Some(Box::new(Sha512::digest(b"abc").into()));
        let target = |sha256, sha512| Target { length: 3, sha256, sha512, version: 1 };
        let both = target(sha256, sha512.clone());
        assert_eq!(both.check(PATH, b"abc"), Ok(()));
        assert_eq!(target(None, sha512.clone()).check(PATH, b"abc"), Ok(()));
        assert_eq!(both.check(PATH, b"abcd").unwrap_err().code, Code::FileLength);
        assert_eq!(both.check(PATH, b"abd").unwrap_err().code, Code::FileHash);
        let half = target(sha256, Some(Box::new([0; 64])));
        assert_eq!(half.check(PATH, b"abc").unwrap_err().code, Code::FileHash);
        assert!(both.is_same(&target(sha256, None)) && both.is_same(&target(None, sha512.clone())));
        assert!(!target(None, sha512).is_same(&target(sha256, None)));
        assert!(!both.is_same(&Target { length: 4, ..both.clone() }));
    }
}

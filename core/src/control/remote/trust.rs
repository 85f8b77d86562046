//! Whose word counts: the pinned root, its successors, and the signatures of the index of files. On the walk of a configuration
//! going in, after `canonical.rs`; `client.rs` asks. Without a pinned root nothing is demanded of signatures: then whoever
//! answers at the Agent's address is believed, as vendors' tracers do.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, VerifyingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::canonical::canonical;
use super::{Code, Refused, Result, unhex};

/// Seconds by which clocks may differ.
const SLACK: i64 = 300;

/// A signed document.
#[derive(Deserialize)]
pub(crate) struct Envelope<'a> {
    #[serde(borrow)]
    pub(crate) signed: &'a RawValue,
    #[serde(borrow, default)]
    signatures: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    /// Reads one.
    pub(crate) fn read(text: &'a [u8], what: &str) -> Result<Self> {
        serde_json::from_slice(text).map_err(|error| Refused::new(Code::Json, format!("{what}: {error}")))
    }

    /// How many of these keys have signed it; a key counts once, by whatever label it is known.
    fn signers(&self, keys: &BTreeMap<String, VerifyingKey>, any_label: bool) -> usize {
        #[derive(Deserialize)]
        struct Signed {
            keyid: String,
            sig: String,
        }
        let signatures: Vec<Signed> =
            self.signatures.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let Some(form) = canonical(self.signed.get().as_bytes()) else { return 0 };
        let mut signers: Vec<[u8; 32]> = Vec::new();
        for Signed { keyid, sig } in signatures {
            let Some(signature) = unhex::<64>(&sig).map(|bytes| Signature::from_bytes(&bytes)) else { continue };
            let mut candidates = keys.iter().filter(|(label, _)| any_label || **label == keyid).map(|(_, key)| key);
            let known = |key: &&VerifyingKey| !signers.contains(key.as_bytes());
            let signer = candidates.find(|key| known(key) && key.verify_strict(&form, &signature).is_ok());
            signers.extend(signer.map(VerifyingKey::to_bytes));
        }
        signers.len()
    }
}

/// A role: its keys, and how many of them must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Role {
    keys: BTreeMap<String, VerifyingKey>,
    threshold: usize,
}

impl Role {
    fn has_signed(&self, document: &Envelope<'_>) -> bool {
        document.signers(&self.keys, false) >= self.threshold
    }
}

/// A root of trust.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Root {
    version: u64,
    /// Seconds since 1970.
    expires: i64,
    for_roots: Role,
    for_targets: Role,
}

impl Root {
    fn read(signed: &RawValue) -> std::result::Result<Root, String> {
        #[derive(Deserialize)]
        struct Document {
            #[serde(rename = "_type")]
            kind: String,
            version: u64,
            expires: String,
            keys: BTreeMap<String, serde_json::Value>,
            roles: BTreeMap<String, RoleText>,
        }
        #[derive(Deserialize)]
        struct RoleText {
            keyids: Vec<String>,
            threshold: usize,
        }
        let document: Document = serde_json::from_str(signed.get()).map_err(|error| error.to_string())?;
        if document.kind != "root" {
            return Err(format!("its type is '{}', not root", super::short(&document.kind)));
        }
        // Of other kinds than ours nothing can be verified: they are no keys.
        let key = |label: &String| {
            let key = document.keys.get(label)?;
            let is_ours = key["keytype"] == "ed25519" && key["scheme"] == "ed25519";
            let public = unhex::<32>(key["keyval"]["public"].as_str()?).filter(|_| is_ours)?;
            Some((label.clone(), VerifyingKey::from_bytes(&public).ok()?))
        };
        let role = |name: &str| {
            let role = document.roles.get(name).ok_or_else(|| format!("it has no role {name}"))?;
            if role.threshold == 0 {
                return Err(format!("its role {name} needs no signature"));
            }
            Ok(Role { keys: role.keyids.iter().filter_map(key).collect(), threshold: role.threshold })
        };
        let expires = seconds(&document.expires).ok_or("its `expires` is not a time")?;
        if document.version == 0 {
            return Err("its version is 0".to_owned());
        }
        let (for_roots, for_targets) = (role("root")?, role("targets")?);
        Ok(Root { version: document.version, expires, for_roots, for_targets })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Anchor {
    /// Nothing is pinned; the highest root seen is only said back.
    Nobody { version: u64 },
    /// One key signs the index of files.
    Key(VerifyingKey),
    /// A root, which may have followed the pinned one.
    Root { root: Box<Root>, is_pinned: bool },
}

/// What is trusted, and what was accepted last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    anchor: Anchor,
    /// Version and hash of the index that was accepted last.
    last: Option<(u64, [u8; 32])>,
}

impl Trust {
    /// Nothing is pinned.
    pub fn compatible() -> Self {
        Trust { anchor: Anchor::Nobody { version: 1 }, last: None }
    }

    /// A pinned root, or an Ed25519 public key as 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn pinned(text: &str) -> std::result::Result<Self, String> {
        let text = text.trim().trim_start_matches('\u{feff}');
        let anchor = if text.starts_with('{') {
            let envelope: Envelope<'_> =
                serde_json::from_str(text).map_err(|error| format!("the root is not the JSON expected: {error}"))?;
            let root = Root::read(envelope.signed).map_err(|why| format!("the root cannot be used: {why}"))?;
            for (name, role) in [("root", &root.for_roots), ("targets", &root.for_targets)] {
                let keys: std::collections::BTreeSet<_> = role.keys.values().map(VerifyingKey::to_bytes).collect();
                if keys.len() < role.threshold {
                    let (has, needs) = (keys.len(), role.threshold);
                    return Err(format!(
                        "the root cannot be used: its role {name} has {has} ed25519 keys and needs {needs}"
                    ));
                }
            }
            Anchor::Root { root: Box::new(root), is_pinned: true }
        } else {
            let key = unhex::<32>(text).and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
            Anchor::Key(key.ok_or("it is neither the JSON of a root nor an Ed25519 key of 64 hexadecimal digits")?)
        };
        Ok(Trust { anchor, last: None })
    }

    /// True if signatures are demanded.
    pub fn is_pinned(&self) -> bool {
        !matches!(self.anchor, Anchor::Nobody { .. })
    }

    /// The highest root trusted.
    pub fn root_version(&self) -> u64 {
        match &self.anchor {
            Anchor::Nobody { version } => *version,
            Anchor::Key(_) => 1,
            Anchor::Root { root, .. } => root.version,
        }
    }

    /// What is trusted after new roots, oldest first. `now`: seconds since 1970.
    pub(crate) fn after_roots(&self, roots: &[Vec<u8>], now: i64) -> Result<Trust> {
        let mut next = self.clone();
        for text in roots {
            next.take_root(text)?;
        }
        if let Anchor::Root { root, is_pinned: false } = &next.anchor
            && root.expires.saturating_add(SLACK) <= now
        {
            return Err(Refused::new(Code::RootExpired, format!("root {}", root.version)));
        }
        Ok(next)
    }

    fn take_root(&mut self, text: &[u8]) -> Result<()> {
        match &mut self.anchor {
            Anchor::Nobody { version } => {
                #[derive(Deserialize)]
                struct Version {
                    version: u64,
                }
                // Nothing depends on it, so nothing is refused for it.
                let read = Envelope::read(text, "root").ok();
                let read = read.and_then(|root| serde_json::from_str::<Version>(root.signed.get()).ok());
                *version = read.map_or(*version, |read| read.version.max(*version));
            }
            Anchor::Key(_) => {}
            Anchor::Root { root, is_pinned } => {
                let envelope = Envelope::read(text, "root")?;
                let new =
                    Root::read(envelope.signed).map_err(|why| Refused::new(Code::Json, format!("root: {why}")))?;
                if root.version.checked_add(1) != Some(new.version) {
                    return Err(Refused::new(Code::RootGap, format!("root {} after {}", new.version, root.version)));
                }
                if !root.for_roots.has_signed(&envelope) || !new.for_roots.has_signed(&envelope) {
                    return Err(Refused::new(Code::RootSignature, format!("root {}", new.version)));
                }
                (**root, *is_pinned) = (new, false);
            }
        }
        Ok(())
    }

    /// Looks at the index of files, and notes it as the last one.
    pub(crate) fn take_targets(
        &mut self,
        text: &[u8],
        document: &Envelope<'_>,
        version: u64,
        expires: Option<&str>,
        now: i64,
    ) -> Result<()> {
        let hash: [u8; 32] = Sha256::digest(text).into();
        let is_signed = match &self.anchor {
            Anchor::Nobody { .. } => {
                self.last = Some((version, hash));
                return Ok(());
            }
            Anchor::Key(key) => {
                // One key: there is nothing that its label could tell.
                let keys = BTreeMap::from([(String::new(), *key)]);
                document.signers(&keys, true) >= 1
            }
            Anchor::Root { root, .. } => root.for_targets.has_signed(document),
        };
        if !is_signed {
            return Err(Refused::new(Code::TargetsSignature, format!("version {version}")));
        }
        let expires = expires.and_then(seconds);
        if expires.is_none_or(|at| at.saturating_add(SLACK) <= now) {
            return Err(Refused::new(Code::TargetsExpired, format!("version {version}")));
        }
        if let Some((last, other)) = self.last
            && (version < last || (version == last && hash != other))
        {
            return Err(Refused::new(Code::TargetsRollback, format!("version {version} after {last}")));
        }
        self.last = Some((version, hash));
        Ok(())
    }
}

/// Seconds since 1970 of a time such as `2032-05-29T12:49:41.030418-04:00`.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let stands = |at: usize, allowed: &[u8]| text.as_bytes().get(at).is_some_and(|byte| allowed.contains(byte));
    let separated = stands(4, b"-") && stands(7, b"-") && stands(10, b"Tt ") && stands(13, b":") && stands(16, b":");
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    if !(separated && in_range) {
        return None;
    }
    let rest = text.get(19..)?;
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (zone.len() < fraction.len()).then_some(zone)?
        }
        None => rest,
    };
    let offset = match zone.as_bytes() {
        b"Z" | b"z" => 0,
        &[sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let two = |tens: u8, ones: u8| {
                let digit = |byte: u8| char::from(byte).to_digit(10).map(i64::from);
                Some(digit(tens)? * 10 + digit(ones)?)
            };
            let seconds = two(h1, h2)? * 3600 + two(m1, m2)? * 60;
            if sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    // Days of the civil calendar, counted from March so that the leap day is the last of its year.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::control::remote::hex;
    use ed25519_dalek::{Signer as _, SigningKey};
    use serde_json::{Value, json};

    /// A key of a number.
    pub(crate) fn key(number: u8) -> SigningKey {
        SigningKey::from_bytes(&[number; 32])
    }

    fn public(key: &SigningKey) -> Value {
        json!({"keytype": "ed25519", "scheme": "ed25519", "keyid_hash_algorithms": ["sha256", "sha512"],
            "keyval": {"public": hex(key.verifying_key().as_bytes())}})
    }

    /// The id of a key, as it is made of the key.
    pub(crate) fn id(key: &SigningKey) -> String {
        hex(&Sha256::digest(canonical(public(key).to_string().as_bytes()).unwrap()))
    }

    /// A document with signatures by these keys.
    pub(crate) fn signed(document: &Value, keys: &[SigningKey]) -> Vec<u8> {
        let form = canonical(document.to_string().as_bytes()).unwrap();
        let by = |key: &SigningKey| json!({"keyid": id(key), "sig": hex(&key.sign(&form).to_bytes())});
        let signatures: Vec<Value> = keys.iter().map(by).collect();
        json!({"signed": document, "signatures": signatures}).to_string().into_bytes()
    }

    /// A root with these keys in every role.
    pub(crate) fn root(version: u64, keys: &[SigningKey], threshold: usize) -> Value {
        let ids: Vec<String> = keys.iter().map(id).collect();
        let role = json!({"keyids": ids, "threshold": threshold});
        let table: serde_json::Map<String, Value> = keys.iter().map(|key| (id(key), public(key))).collect();
        json!({"_type": "root", "spec_version": "1.0", "version": version, "expires": "2099-01-01T00:00:00Z",
            "consistent_snapshot": true, "keys": table,
            "roles": {"root": role, "targets": role, "snapshot": role, "timestamp": role}})
    }

    fn index(version: u64) -> Value {
        json!({"_type": "targets", "version": version, "expires": "2099-01-01T00:00:00Z", "targets": {}})
    }

    fn take(trust: &mut Trust, text: &[u8], now: i64) -> Result<()> {
        let envelope = Envelope::read(text, "targets")?;
        let document: Value = serde_json::from_str(envelope.signed.get()).unwrap();
        let version = document["version"].as_u64().unwrap();
        trust.take_targets(text, &envelope, version, document["expires"].as_str(), now)
    }

    fn code<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
        result.unwrap_err().code.name()
    }

    fn pinned(version: u64, keys: &[SigningKey], threshold: usize) -> Trust {
        let text = String::from_utf8(signed(&root(version, keys, threshold), keys)).unwrap();
        Trust::pinned(&text).unwrap()
    }

    /// The root and an index of the vectors that are published for implementers of remote configuration.
    const PUBLISHED_ROOT: &str = r#"{"signed":{"_type":"root","spec_version":"1.0","version":1,"expires":"2032-05-29T12:49:41.030418-04:00","keys":{"ed7672c9a24abda78872ee32ee71c7cb1d5235e8db4ecbf1ca28b9c50eb75d9e":{"keytype":"ed25519","scheme":"ed25519","keyid_hash_algorithms":["sha256","sha512"],"keyval":{"public":"7d3102e39abe71044d207550bda239c71380d013ec5a115f79f51622630054e6"}}},"roles":{"root":{"keyids":["ed7672c9a24abda78872ee32ee71c7cb1d5235e8db4ecbf1ca28b9c50eb75d9e"],"threshold":1},"snapshot":{"keyids":["ed7672c9a24abda78872ee32ee71c7cb1d5235e8db4ecbf1ca28b9c50eb75d9e"],"threshold":1},"targets":{"keyids":["ed7672c9a24abda78872ee32ee71c7cb1d5235e8db4ecbf1ca28b9c50eb75d9e"],"threshold":1},"timestsmp":{"keyids":["ed7672c9a24abda78872ee32ee71c7cb1d5235e8db4ecbf1ca28b9c50eb75d9e"],"threshold":1}},"consistent_snapshot":true},"signatures":[{"keyid":"ed7672c9a24abda78872ee32ee71c7cb1d5235e8db4ecbf1ca28b9c50eb75d9e","sig":"d7e24828d1d3104e48911860a13dd6ad3f4f96d45a9ea28c4a0f04dbd3ca6c205ed406523c6c4cacfb7ebba68f7e122e42746d1c1a83ffa89c8bccb6f7af5e06"}]}"#;
    const PUBLISHED_INDEX: &str = r#"{"signed":{"_type":"targets","custom":{"opaque_backend_state":"eyJmb28iOiAiYmFyIn0="},"expires":"2032-10-24T15:10:45.097315-04:00","spec_version":"1.0","targets":{"datadog/2/ASM_FEATURES/ASM_FEATURES-base/config":{"custom":{"v":1},"hashes":{"sha256":"9221dfd9f6084151313e3e4920121ae843614c328e4630ea371ba66e2f15a0a6"},"length":47}},"version":1},"signatures":[{"keyid":"ed7672c9a24abda78872ee32ee71c7cb1d5235e8db4ecbf1ca28b9c50eb75d9e","sig":"8cf4603262262fb06146868ccf46092e120a82ce5c45fbfd8dd52aae807fe3d0450cac8459c32cd2848951a0482341b04818e4bc062d0614f05621db950b3c0b"}]}"#;
    const IN_2026: i64 = 1_790_000_000;

    #[test]
    fn the_published_vectors_verify_and_a_changed_one_does_not() {
        let trust = Trust::pinned(PUBLISHED_ROOT).unwrap();
        assert_eq!(take(&mut trust.clone(), PUBLISHED_INDEX.as_bytes(), IN_2026), Ok(()));
        let root = Envelope::read(PUBLISHED_ROOT.as_bytes(), "root").unwrap();
        assert!(Root::read(root.signed).unwrap().for_roots.has_signed(&root), "the root is signed by itself");
        let label = "ed7672c9a24abda78872ee32ee71c7cb1d5235e8db4ecbf1ca28b9c50eb75d9e";
        let document: Value = serde_json::from_str(root.signed.get()).unwrap();
        let form = canonical(document["keys"][label].to_string().as_bytes()).unwrap();
        assert_eq!(hex(&Sha256::digest(form)), label, "an id is the hash of its key");

        // The published invalid ones: another version below the same signature; and a signature by nobody known.
        let other = PUBLISHED_INDEX.replace("\"version\":1}", "\"version\":999}");
        assert_eq!(code(take(&mut trust.clone(), other.as_bytes(), IN_2026)), "targets_signature");
        let by_nobody = PUBLISHED_INDEX.replace("\"sig\":\"8cf4", "\"sig\":\"ef3c");
        assert_eq!(code(take(&mut trust.clone(), by_nobody.as_bytes(), IN_2026)), "targets_signature");
        let in_2033 = seconds("2033-01-01T00:00:00Z").unwrap();
        assert_eq!(code(take(&mut trust.clone(), PUBLISHED_INDEX.as_bytes(), in_2033)), "targets_expired");

        let key = Trust::pinned("7d3102e39abe71044d207550bda239c71380d013ec5a115f79f51622630054e6\n").unwrap();
        assert_eq!(take(&mut key.clone(), PUBLISHED_INDEX.as_bytes(), IN_2026), Ok(()));
        assert_eq!(code(take(&mut key.clone(), other.as_bytes(), IN_2026)), "targets_signature");
        assert_eq!((key.is_pinned(), key.root_version()), (true, 1));
    }

    #[test]
    fn without_a_pinned_root_nothing_is_demanded() {
        let mut trust = Trust::compatible();
        assert_eq!((trust.is_pinned(), trust.root_version()), (false, 1));
        for text in [signed(&index(5), &[]), signed(&index(3), &[key(1)])] {
            assert_eq!(take(&mut trust, &text, IN_2026), Ok(()));
        }
        let roots = [signed(&root(7, &[key(1)], 1), &[]), b"nonsense".to_vec(), signed(&root(3, &[key(1)], 1), &[])];
        assert_eq!(trust.after_roots(&roots, IN_2026).unwrap().root_version(), 7);
    }

    #[test]
    fn roots_follow_one_another_signed_by_the_old_and_by_the_new() {
        let (a, b, c, d) = (key(1), key(2), key(3), key(4));
        let trust = pinned(1, std::slice::from_ref(&a), 1);
        let second = signed(&root(2, std::slice::from_ref(&b), 1), &[a.clone(), b.clone()]);
        let third = signed(&root(3, std::slice::from_ref(&c), 1), &[c.clone(), b.clone()]);
        let fourth = signed(&root(4, std::slice::from_ref(&d), 1), &[c.clone(), d.clone()]);

        let next = trust.after_roots(std::slice::from_ref(&second), IN_2026).unwrap();
        assert_eq!(next.root_version(), 2);
        let last = trust.after_roots(&[second.clone(), third.clone(), fourth.clone()], IN_2026).unwrap();
        assert_eq!(last.root_version(), 4);
        assert_eq!(take(&mut last.clone(), &signed(&index(1), &[d]), IN_2026), Ok(()));
        assert_eq!(
            code(take(&mut last.clone(), &signed(&index(1), std::slice::from_ref(&a)), IN_2026)),
            "targets_signature"
        );

        assert_eq!(code(trust.after_roots(&[second.clone(), fourth], IN_2026)), "root_gap");
        assert_eq!(code(trust.after_roots(&[third, second], IN_2026)), "root_gap");
        for keys in [vec![a.clone()], vec![b.clone()], vec![], vec![c]] {
            let text = signed(&root(2, std::slice::from_ref(&b), 1), &keys);
            assert_eq!(code(trust.after_roots(&[text], IN_2026)), "root_signature");
        }
        let mut late = root(2, std::slice::from_ref(&b), 1);
        late["expires"] = "2020-01-01T00:00:00Z".into();
        let late = signed(&late, &[a.clone(), b.clone()]);
        assert_eq!(code(trust.after_roots(std::slice::from_ref(&late), IN_2026)), "root_expired");
        // One on the way may be old, and so may the pinned one.
        let fresh = signed(&root(3, std::slice::from_ref(&b), 1), std::slice::from_ref(&b));
        assert_eq!(trust.after_roots(&[late, fresh], IN_2026).unwrap().root_version(), 3);
        let in_2100 = seconds("2100-01-01T00:00:00Z").unwrap();
        assert!(trust.after_roots(&[], in_2100).is_ok());
        assert_eq!(code(trust.after_roots(&[b"{".to_vec()], IN_2026)), "json");
        assert_eq!(code(trust.after_roots(&[signed(&index(2), &[a, b])], IN_2026)), "json");
    }

    #[test]
    fn of_a_threshold_of_two_one_key_is_not_enough_however_often_it_signs() {
        let (a, b, c) = (key(1), key(2), key(3));
        let trust = pinned(1, &[a.clone(), b.clone(), c.clone()], 2);
        let sign = |keys: &[SigningKey]| take(&mut trust.clone(), &signed(&index(1), keys), IN_2026);
        assert_eq!(code(sign(std::slice::from_ref(&a))), "targets_signature");
        assert_eq!(code(sign(&[a.clone(), a.clone(), a.clone()])), "targets_signature");
        assert_eq!(sign(&[a.clone(), key(9), c.clone()]), Ok(()));
        assert_eq!(sign(&[b, a.clone(), a.clone()]), Ok(()));

        // The same key by two names.
        let mut twice = root(1, &[a.clone(), c], 2);
        twice["keys"]["another"] = public(&a);
        for role in ["root", "targets"] {
            twice["roles"][role]["keyids"] = json!([id(&a), "another", id(&key(3))]);
        }
        let trust = Trust::pinned(std::str::from_utf8(&signed(&twice, &[])).unwrap()).unwrap();
        let mut text: Value = serde_json::from_slice(&signed(&index(1), &[a.clone(), a])).unwrap();
        text["signatures"][1]["keyid"] = "another".into();
        assert_eq!(code(take(&mut trust.clone(), text.to_string().as_bytes(), IN_2026)), "targets_signature");
    }

    #[test]
    fn an_index_is_no_older_than_the_last_one() {
        let keys = [key(1)];
        let mut trust = pinned(1, &keys, 1);
        let five = signed(&index(5), &keys);
        assert_eq!(take(&mut trust, &five, IN_2026), Ok(()));
        assert_eq!(take(&mut trust, &five, IN_2026), Ok(()), "the same one again");
        let mut other = index(5);
        other["custom"] = json!({});
        assert_eq!(code(take(&mut trust, &signed(&other, &keys), IN_2026)), "targets_rollback");
        assert_eq!(code(take(&mut trust, &signed(&index(4), &keys), IN_2026)), "targets_rollback");
        assert_eq!(take(&mut trust, &signed(&index(6), &keys), IN_2026), Ok(()));
        assert_eq!(code(take(&mut trust, &five, IN_2026)), "targets_rollback");
    }

    #[test]
    fn an_index_may_be_old_by_as_much_as_clocks_differ() {
        let keys = [key(1)];
        let trust = pinned(1, &keys, 1);
        let expires = seconds("2099-01-01T00:00:00Z").unwrap();
        let at = |now: i64| take(&mut trust.clone(), &signed(&index(1), &keys), now);
        assert_eq!(at(expires + SLACK - 1), Ok(()));
        assert_eq!(code(at(expires + SLACK)), "targets_expired");
        for expires in [Value::Null, json!("soon")] {
            let mut text = index(1);
            text["expires"] = expires;
            assert_eq!(code(take(&mut trust.clone(), &signed(&text, &keys), IN_2026)), "targets_expired");
        }
    }

    #[test]
    fn what_is_no_root_of_trust_is_told() {
        let bad = |change: fn(&mut Value)| {
            let mut root = root(1, &[key(1)], 1);
            change(&mut root);
            Trust::pinned(&json!({ "signed": root }).to_string()).unwrap_err()
        };
        assert!(bad(|root| root["_type"] = "targets".into()).contains("not root"));
        assert!(bad(|root| root["version"] = 0.into()).contains("version is 0"));
        assert!(bad(|root| root["expires"] = "x".into()).contains("`expires`"));
        assert!(bad(|root| root["roles"]["targets"]["threshold"] = 0.into()).contains("needs no signature"));
        assert!(bad(|root| root["roles"]["root"]["threshold"] = 2.into()).contains("has 1 ed25519 keys and needs 2"));
        assert!(bad(|root| root["roles"] = json!({})).contains("no role"));
        assert!(bad(|root| root["keys"] = json!({})).contains("has 0 ed25519 keys"));
        for text in ["", "{}", "abc", &"0".repeat(63), &"g".repeat(64)] {
            assert!(Trust::pinned(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_read() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1969-12-31T23:59:59Z", Some(-1)),
            ("2000-02-29T12:00:00z", Some(951_825_600)),
            ("2032-05-29T12:49:41.030418-04:00", Some(1_969_462_181)),
            ("2099-01-01T00:00:00+01:30", Some(4_070_908_800 - 5400)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799)),
            ("2099-01-01", None),
            ("2099-01-01T00:00:00", None),
            ("2099-13-01T00:00:00Z", None),
            ("2099-01-01T00:00:00.Z", None),
            ("2099-01-01T00:00:00ZZ", None),
            ("2099-01-01T00:00:00+1:30", None),
            ("+099-01-01T00:00:00Z", None),
            ("２099-01-01T00:00:00Z", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }
}

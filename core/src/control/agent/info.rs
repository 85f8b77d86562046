//! What an Agent says it can do: the answer of `GET /info`. On the walk of a hit going out, before `input.rs`, which
//! chooses the endpoint of events by it.

use serde::Deserialize;

/// The path that is asked.
pub const PATH: &str = "/info";

/// What the answer to `/info` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Info {
    /// A list of endpoints.
    Listed {
        /// Whether it has the endpoint of events.
        events: bool,
        /// Whether it has the endpoint of statuses.
        diagnostics: bool,
    },
    /// An answer that says nothing: another status than 2xx, or not the JSON expected.
    Unusable,
}

/// The most bytes of an answer that are read.
pub const MAX_BODY: usize = 64 * 1024;

#[derive(Deserialize)]
struct Answer {
    endpoints: Vec<serde_json::Value>,
}

/// Reads an answer.
pub fn read(status: u16, body: &[u8]) -> Info {
    if !(200..300).contains(&status) {
        return Info::Unusable;
    }
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return Info::Unusable };
    Info::Listed { events: answer.has(super::input::EVENTS), diagnostics: answer.has(super::diagnostics::PATH) }
}

/// Whether an answer lists an endpoint; `None` if it says nothing.
pub fn lists(status: u16, body: &[u8], path: &str) -> Option<bool> {
    let answer = serde_json::from_slice::<Answer>(body).ok().filter(|_| (200..300).contains(&status))?;
    Some(answer.has(path))
}

impl Answer {
    fn has(&self, path: &str) -> bool {
        // Agents list their endpoints with and without the first slash.
        let mut names = self.endpoints.iter().filter_map(serde_json::Value::as_str);
        names.any(|name| name.trim_matches('/') == path.trim_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_found_with_and_without_slashes() {
        let both = Info::Listed { events: true, diagnostics: true };
        let slashes =
            br#"{"version":"7.72.0","endpoints":["/v0.4/traces","/debugger/v2/input","/debugger/v1/diagnostics"]}"#;
        assert_eq!(read(200, slashes), both);
        assert_eq!(read(200, br#"{"endpoints":["debugger/v2/input/", 7, null, "debugger/v1/diagnostics"]}"#), both);
        let old = Info::Listed { events: false, diagnostics: true };
        assert_eq!(read(200, br#"{"endpoints":["debugger/v1/diagnostics","debugger/v1/input"]}"#), old);
        assert_eq!(read(200, br#"{"endpoints":[]}"#), Info::Listed { events: false, diagnostics: false });
    }

    #[test]
    fn any_endpoint_can_be_asked_for() {
        let body = br#"{"endpoints":["v0.7/config", 7]}"#;
        assert_eq!(lists(200, body, "/v0.7/config"), Some(true));
        assert_eq!(lists(200, body, "/v0.6/config"), Some(false));
        assert_eq!(lists(404, body, "/v0.7/config"), None);
        assert_eq!(lists(200, b"{}", "/v0.7/config"), None);
    }

    #[test]
    fn another_answer_says_nothing() {
        let bodies: [&[u8]; 7] =
            [b"", b"{", b"[]", b"{\"endpoints\":{}}", b"{}", b"\xff\xfe", b"{\"endpoints\":[\"debugger/v2/in"];
        for body in bodies {
            assert_eq!(read(200, body), Info::Unusable);
        }
        assert_eq!(read(404, br#"{"endpoints":["/debugger/v2/input"]}"#), Info::Unusable);
    }
}

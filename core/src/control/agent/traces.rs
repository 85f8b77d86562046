//! Where spans of ours go, and how: the Agent's trace API, or a receiver of OTLP where that listens and no Agent does. On the walk of
//! a hit going out, after `emit/span.rs`; the sockets are in `sender.rs`.

use super::info;
use serde_json::Value;
use std::fmt::Write as _;

/// The Agent's trace API.
pub const PATH: &str = "/v0.4/traces";
/// What its bodies are.
pub const CONTENT_TYPE: &str = "application/msgpack";
/// The path of a receiver of OTLP.
pub const OTLP: &str = "/v1/traces";
/// What its bodies are.
pub const OTLP_CONTENT_TYPE: &str = "application/json";
/// Where such a receiver is looked for.
pub const OTLP_AT: &str = "http://localhost:4318";
/// Nanoseconds after which an Agent is looked for again.
const AGAIN: u64 = 60_000_000_000;

/// Where spans go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Route {
    /// Nobody was asked yet.
    #[default]
    Unknown,
    /// To the Agent.
    Agent,
    /// To a receiver of OTLP; at this monotonic time the Agent is asked again.
    Otlp {
        /// When.
        again: u64,
    },
}

impl Route {
    /// True if the Agent is to be asked first.
    pub fn asks(self, now: u64) -> bool {
        match self {
            Route::Unknown => true,
            Route::Agent => false,
            Route::Otlp { again } => now >= again,
        }
    }

    /// What the Agent has said: that it takes spans, or that it does not, or nothing at all.
    #[must_use]
    pub fn learned(takes: bool, now: u64) -> Route {
        if takes { Route::Agent } else { Route::Otlp { again: now.saturating_add(AGAIN) } }
    }
}

/// True if an Agent takes spans, by its answer to [`info::PATH`]. An old one has no such answer, and takes them.
pub fn listed(status: u16, body: &[u8]) -> bool {
    let answer = (200..300).contains(&status).then(|| serde_json::from_slice::<Value>(body).ok()).flatten();
    let Some(endpoints) = answer.as_ref().and_then(|answer| answer["endpoints"].as_array()) else { return true };
    endpoints.iter().filter_map(Value::as_str).any(|name| name.trim_matches('/') == PATH.trim_matches('/'))
}

/// The path that is asked.
pub const INFO: &str = info::PATH;

/// The header lines of a request with so many traces, beside those of every request.
pub fn headers(count: usize) -> String {
    let mut lines = String::new();
    // Writing into a String cannot fail.
    let _ = write!(lines, "X-Datadog-Trace-Count: {count}\r\n");
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(lines, "Datadog-Meta-Tracer-Version: {version}\r\n");
    lines.push_str("Datadog-Client-Computed-Top-Level: true\r\nDatadog-Send-Real-Http-Status: 1\r\n");
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_takes_spans_unless_it_says_that_it_has_no_such_endpoint() {
        assert!(listed(200, br#"{"endpoints":["/v0.4/traces","/info"]}"#));
        assert!(listed(200, br#"{"endpoints":["v0.4/traces/"]}"#));
        assert!(!listed(200, br#"{"endpoints":["/v0.3/traces"]}"#));
        assert!(!listed(200, br#"{"endpoints":[]}"#));
        for (status, body) in [(404, &b"{\"endpoints\":[]}"[..]), (200, b"{}"), (200, b"no"), (200, b"")] {
            assert!(listed(status, body));
        }
    }

    #[test]
    fn the_agent_is_asked_at_first_and_again_after_a_minute() {
        assert!(Route::default().asks(0));
        assert!(!Route::learned(true, 0).asks(u64::MAX));
        let otlp = Route::learned(false, 5);
        assert!(!otlp.asks(AGAIN + 4) && otlp.asks(AGAIN + 5));
    }
}

//! Where events go: the newest endpoint that the Agent has, and the way back. On the walk of a hit going out, after
//! `info.rs`, before `http.rs`. Pure: the time comes in as an argument.

use super::info::Info;
use super::retry::{Policy, nanos};

/// The endpoint of events.
pub const EVENTS: &str = "/debugger/v2/input";
/// The content type of events, exactly.
pub const CONTENT_TYPE: &str = "application/json";

/// Where events go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The endpoint of events.
    Events,
    /// The endpoint of statuses, which takes the same plain array.
    Diagnostics,
}

/// The choice of the endpoint over time.
#[derive(Debug)]
pub struct Route {
    endpoint: Endpoint,
    /// When to ask the Agent again; `None`: never.
    look_at: Option<u64>,
}

impl Default for Route {
    fn default() -> Self {
        Route { endpoint: Endpoint::Events, look_at: Some(0) }
    }
}

impl Route {
    /// Where events go now.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Says whether the Agent is to be asked what it can do before the next batch.
    pub fn asks(&self, now: u64) -> bool {
        self.look_at.is_some_and(|at| now >= at)
    }

    /// Says whether the Agent has never been asked with success: then it is not worth trying a batch if it does not
    /// answer.
    pub fn unknown(&self) -> bool {
        self.look_at == Some(0)
    }

    /// The Agent answered.
    pub fn learned(&mut self, policy: &Policy, info: Info, now: u64) {
        let asked_before = !self.unknown();
        let endpoint = match info {
            Info::Listed { events: true, .. } => Endpoint::Events,
            // Also when it lists neither: trying costs one refused request, and some stand-ins list nothing.
            Info::Listed { .. } => Endpoint::Diagnostics,
            // Nothing learned: at first hope for the best, a 404 will tell; later keep what works.
            Info::Unusable if asked_before => self.endpoint,
            Info::Unusable => Endpoint::Events,
        };
        self.settle(policy, endpoint, now);
    }

    /// The Agent could not be asked again; what was known holds.
    pub fn unreachable(&mut self, policy: &Policy, now: u64) {
        if !self.unknown() {
            self.settle(policy, self.endpoint, now);
        }
    }

    /// An endpoint answered with a status. Says whether the batch is to be sent again, at once, to the other one.
    pub fn answered(&mut self, policy: &Policy, status: u16, now: u64) -> bool {
        let gone = matches!(status, 404 | 405);
        if !gone || self.endpoint == Endpoint::Diagnostics {
            return false;
        }
        self.settle(policy, Endpoint::Diagnostics, now);
        true
    }

    fn settle(&mut self, policy: &Policy, endpoint: Endpoint, now: u64) {
        self.endpoint = endpoint;
        let second_best = endpoint == Endpoint::Diagnostics;
        self.look_at = second_best.then(|| now.saturating_add(nanos(policy.look_again)).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use std::time::Duration;

    const NEW: Info = Info::Listed { events: true, diagnostics: true };
    const OLD: Info = Info::Listed { events: false, diagnostics: true };
    const NONE: Info = Info::Listed { events: false, diagnostics: false };

    #[test]
    fn the_newest_listed_endpoint_is_chosen_and_not_asked_for_again() {
        let policy = Policy::default();
        let mut route = Route::default();
        assert!(route.asks(0) && route.unknown());
        route.learned(&policy, NEW, 0);
        assert_eq!(route.endpoint(), Endpoint::Events);
        assert!(!route.asks(u64::MAX));
    }

    #[test]
    fn an_older_agent_gets_events_as_diagnostics_and_is_asked_every_minute() {
        for info in [OLD, NONE] {
            let policy = Policy::default();
            let clock = ManualClock::new(Duration::ZERO);
            let mut route = Route::default();
            route.learned(&policy, info, clock.monotonic());
            for _ in 0..3 {
                assert_eq!(route.endpoint(), Endpoint::Diagnostics);
                clock.advance(Duration::from_secs(59));
                assert!(!route.asks(clock.monotonic()));
                clock.advance(Duration::from_secs(1));
                assert!(route.asks(clock.monotonic()));
                route.learned(&policy, info, clock.monotonic());
            }
            clock.advance(Duration::from_secs(60));
            route.learned(&policy, NEW, clock.monotonic());
            assert_eq!(route.endpoint(), Endpoint::Events, "it goes back");
        }
    }

    #[test]
    fn only_404_and_405_switch_and_only_once() {
        let policy = Policy::default();
        for status in [200, 202, 400, 401, 403, 413, 429, 500, 503] {
            let mut route = Route::default();
            route.learned(&policy, NEW, 0);
            assert!(!route.answered(&policy, status, 0), "{status}");
            assert_eq!(route.endpoint(), Endpoint::Events);
        }
        for status in [404, 405] {
            let mut route = Route::default();
            route.learned(&policy, NEW, 0);
            assert!(route.answered(&policy, status, 0));
            assert_eq!(route.endpoint(), Endpoint::Diagnostics);
            assert!(!route.answered(&policy, status, 0), "the batch is sent again once");
            assert!(!route.asks(59_999_999_999) && route.asks(60_000_000_000));
        }
    }

    #[test]
    fn an_answer_that_says_nothing_changes_nothing() {
        let policy = Policy::default();
        let mut route = Route::default();
        route.unreachable(&policy, 7);
        assert!(route.asks(7) && route.unknown(), "an Agent that was never reached is asked before each batch");
        route.learned(&policy, Info::Unusable, 7);
        assert_eq!(route.endpoint(), Endpoint::Events);
        assert!(route.answered(&policy, 404, 7));
        route.learned(&policy, Info::Unusable, 60_000_000_007);
        assert_eq!(route.endpoint(), Endpoint::Diagnostics);
        route.unreachable(&policy, 120_000_000_007);
        assert_eq!(route.endpoint(), Endpoint::Diagnostics);
        assert!(!route.asks(120_000_000_008));
    }
}

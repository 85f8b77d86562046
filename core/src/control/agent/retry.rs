//! What to do after an attempt: done, again, elsewhere, or drop; and the breaker over batches. On the walk of a hit going
//! out, between `http.rs`, which says how an attempt ended, and `sender.rs`, which acts. Pure: time and chance come in as
//! arguments, so every rule is tested without a network and without waiting.

use std::time::Duration;

/// The numbers of the rules, in one place so that tests can shorten them.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The longest wait before each retry; the wait is drawn between nothing and this.
    pub delays: Vec<Duration>,
    /// The longest `Retry-After` that is honoured; a longer one is cut to it.
    pub retry_after: Duration,
    /// After so many batches failed in a row the breaker opens.
    pub failures: u32,
    /// How long the breaker is open the first time; doubled after each failed trial.
    pub open: Duration,
    /// The longest the breaker is open.
    pub open_at_most: Duration,
    /// How often the Agent is asked again what it can do while events go to the second-best endpoint.
    pub look_again: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            delays: [250, 1000, 4000].map(Duration::from_millis).to_vec(),
            retry_after: Duration::from_secs(30),
            failures: 5,
            open: Duration::from_secs(30),
            open_at_most: Duration::from_secs(300),
            look_again: Duration::from_secs(60),
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Agent answered.
    Answered {
        /// The status code.
        status: u16,
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// There was no usable answer: refused, reset, timed out, or not HTTP.
    Transport,
}

/// Why a batch was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The breaker was open.
    BreakerOpen,
    /// The Agent does not want it.
    Rejected,
    /// The Agent could not be reached, or kept failing.
    Transport,
    /// The session ended first.
    Stopped,
    /// Something of ours failed.
    Internal,
}

impl Reason {
    /// The reason's name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::BreakerOpen => "breakerOpen",
            Reason::Rejected => "rejected",
            Reason::Transport => "transport",
            Reason::Stopped => "stopped",
            Reason::Internal => "internal",
        }
    }
}

/// What to do after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The batch is delivered.
    Delivered,
    /// Try again after a wait.
    Again(Duration),
    /// The batch is lost.
    Drop(Reason),
}

/// The attempts at one batch.
#[derive(Debug, Default)]
pub struct Attempts {
    retries: usize,
}

impl Attempts {
    /// Decides after an attempt. `chance` is drawn evenly from 0 to 1.
    pub fn after(&mut self, policy: &Policy, outcome: Outcome, chance: f64) -> Next {
        let (asked, lost) = match outcome {
            Outcome::Transport => (None, Reason::Transport),
            Outcome::Answered { status: 200..=299, .. } => return Next::Delivered,
            Outcome::Answered { status: 408 | 425 | 429 | 500..=599, retry_after } => (retry_after, Reason::Transport),
            Outcome::Answered { .. } => return Next::Drop(Reason::Rejected),
        };
        let Some(longest) = policy.delays.get(self.retries) else { return Next::Drop(lost) };
        self.retries += 1;
        // Full jitter: a thousand processes that lost the same Agent must not come back together.
        let drawn = longest.mul_f64(chance.clamp(0.0, 1.0));
        Next::Again(asked.map_or(drawn, |asked| asked.min(policy.retry_after)))
    }
}

/// Stops a sender from hammering an Agent that is down.
#[derive(Debug, Default)]
pub struct Breaker {
    failed: u32,
    /// How long it is open now; zero while closed.
    open: Duration,
    until: u64,
}

/// Nanoseconds of a duration, for adding to a clock.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Breaker {
    /// Says whether a batch may be tried now. While open only the first batch after the wait may: the trial.
    pub fn admits(&self, now: u64) -> bool {
        self.open.is_zero() || now >= self.until
    }

    /// The time at which the trial is allowed, if it is open.
    pub fn opens_until(&self) -> Option<u64> {
        (!self.open.is_zero()).then_some(self.until)
    }

    /// A batch arrived.
    pub fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// A batch was lost.
    pub fn failed(&mut self, policy: &Policy, now: u64) {
        self.failed = self.failed.saturating_add(1);
        if !self.open.is_zero() {
            self.open = self.open.saturating_mul(2).min(policy.open_at_most);
        } else if self.failed >= policy.failures {
            self.open = policy.open;
        }
        self.until = now.saturating_add(nanos(self.open));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status, retry_after: None }
    }

    #[test]
    fn success_is_2xx_only() {
        let policy = Policy::default();
        for status in 200..300 {
            assert_eq!(Attempts::default().after(&policy, answered(status), 1.0), Next::Delivered);
        }
        for status in [301, 302, 304, 307, 400, 401, 403, 404, 405, 413, 422] {
            let next = Attempts::default().after(&policy, answered(status), 1.0);
            assert_eq!(next, Next::Drop(Reason::Rejected), "{status}");
        }
    }

    #[test]
    fn what_may_pass_is_retried_three_times_with_growing_waits() {
        let policy = Policy::default();
        let passing = [408, 425, 429, 500, 502, 503, 504, 599].map(answered);
        for outcome in passing.into_iter().chain([Outcome::Transport]) {
            let mut attempts = Attempts::default();
            for longest in [250, 1000, 4000] {
                let next = attempts.after(&policy, outcome, 1.0);
                assert_eq!(next, Next::Again(Duration::from_millis(longest)), "{outcome:?}");
            }
            assert_eq!(attempts.after(&policy, outcome, 1.0), Next::Drop(Reason::Transport));
        }
    }

    #[test]
    fn jitter_is_full() {
        let policy = Policy::default();
        let wait = |chance| Attempts::default().after(&policy, Outcome::Transport, chance);
        assert_eq!(wait(0.0), Next::Again(Duration::ZERO));
        assert_eq!(wait(0.5), Next::Again(Duration::from_millis(125)));
        assert_eq!(wait(7.0), Next::Again(Duration::from_millis(250)));
    }

    #[test]
    fn retry_after_is_honoured_up_to_thirty_seconds() {
        let policy = Policy::default();
        let wait = |seconds| {
            let outcome = Outcome::Answered { status: 429, retry_after: Some(Duration::from_secs(seconds)) };
            Attempts::default().after(&policy, outcome, 0.5)
        };
        assert_eq!(wait(7), Next::Again(Duration::from_secs(7)));
        assert_eq!(wait(3600), Next::Again(Duration::from_secs(30)));
    }

    #[test]
    fn the_breaker_opens_after_five_failures_and_doubles_up_to_five_minutes() {
        let policy = Policy::default();
        let clock = ManualClock::new(Duration::from_secs(1000));
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(&policy, clock.monotonic());
            assert!(breaker.admits(clock.monotonic()));
        }
        for open in [30, 60, 120, 240, 300, 300] {
            breaker.failed(&policy, clock.monotonic());
            clock.advance(Duration::from_millis(open * 1000 - 1));
            assert!(!breaker.admits(clock.monotonic()), "closed too early, of {open} s");
            clock.advance(Duration::from_millis(1));
            assert!(breaker.admits(clock.monotonic()), "no trial after {open} s");
        }
        breaker.succeeded();
        assert_eq!(breaker.opens_until(), None);
        for _ in 0..4 {
            breaker.failed(&policy, clock.monotonic());
        }
        assert!(breaker.admits(clock.monotonic()), "a success starts the count anew");
        breaker.failed(&policy, clock.monotonic());
        clock.advance(Duration::from_secs(30));
        assert!(breaker.admits(clock.monotonic()), "and the wait");
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let policy = Policy::default();
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            (0..4).for_each(|_| breaker.failed(&policy, 5));
            breaker.succeeded();
        }
        assert!(breaker.admits(5));
    }
}

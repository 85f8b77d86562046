//! When the Agent is asked: at an interval that varies a little, ever less often while it fails. On the walk of a configuration
//! going in, before `client.rs`. Time and chance come in as arguments.

use std::time::Duration;

/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(60);
/// After so many failures in a row the Agent is asked again what it can do.
const LOOK_AGAIN: u32 = 3;
/// By how much of itself an interval varies, up and down.
const JITTER: f64 = 0.1;
/// The least part of a wait after failures: chance may say none at all.
const LEAST: f64 = 0.05;

/// How a poll ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll {
    /// It was answered.
    Answered,
    /// There was no usable answer.
    Failed,
}

/// The waits between polls.
#[derive(Clone, Debug)]
pub struct Pace {
    interval: Duration,
    failures: u32,
    /// The Agent has said that it has the endpoint, and nothing has failed so often since that it may have changed.
    offered: bool,
}

impl Pace {
    /// A pace that has not begun: what the Agent can do is to be asked first.
    pub fn new(interval: Duration) -> Self {
        Pace { interval, failures: 0, offered: false }
    }

    /// True if the Agent is to be asked what it can do before it is polled.
    pub fn asks_what_it_can(&self) -> bool {
        !self.offered
    }

    /// The Agent has said whether it has the endpoint.
    pub fn offers(&mut self, has_it: bool) {
        self.offered = has_it;
    }

    /// How long to wait after a poll, or after a question what the Agent can do. `chance`: evenly from 0 to 1.
    pub fn after(&mut self, poll: Poll, chance: f64) -> Duration {
        let chance = chance.clamp(0.0, 1.0);
        match poll {
            Poll::Answered => {
                self.failures = 0;
                self.interval.mul_f64(1.0 + JITTER * (2.0 * chance - 1.0))
            }
            Poll::Failed => {
                self.failures = self.failures.saturating_add(1);
                self.offered &= self.failures < LOOK_AGAIN;
                // A thousand processes that lost the same Agent must not come back together.
                let most = self.interval.saturating_mul(1 << self.failures.min(16)).min(LONGEST.max(self.interval));
                most.mul_f64(LEAST + (1.0 - LEAST) * chance)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIVE: Duration = Duration::from_secs(5);

    #[test]
    fn an_interval_varies_by_a_tenth() {
        let mut pace = Pace::new(FIVE);
        for (chance, milliseconds) in [(0.0, 4500), (0.5, 5000), (1.0, 5500), (9.0, 5500)] {
            assert_eq!(pace.after(Poll::Answered, chance).as_millis(), milliseconds);
        }
    }

    #[test]
    fn failures_make_waits_longer_up_to_a_minute_and_a_success_ends_that() {
        let mut pace = Pace::new(FIVE);
        let waits: Vec<u64> = (0..6).map(|_| pace.after(Poll::Failed, 1.0).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 60, 60, 60]);
        assert_eq!(pace.after(Poll::Failed, 0.0).as_secs(), 3, "never none");
        assert_eq!(pace.after(Poll::Answered, 0.5), FIVE);
        assert_eq!(pace.after(Poll::Failed, 1.0).as_secs(), 10);
        for _ in 0..1000 {
            pace.after(Poll::Failed, 1.0);
        }
        let hourly = Duration::from_secs(3600);
        assert_eq!(Pace::new(hourly).after(Poll::Failed, 1.0), hourly, "an interval that is longer stays");
    }

    #[test]
    fn what_the_agent_can_do_is_asked_first_and_after_three_failures() {
        let mut pace = Pace::new(FIVE);
        assert!(pace.asks_what_it_can());
        pace.offers(false);
        assert!(pace.asks_what_it_can());
        pace.offers(true);
        for _ in 0..2 {
            pace.after(Poll::Failed, 0.5);
            assert!(!pace.asks_what_it_can());
        }
        pace.after(Poll::Failed, 0.5);
        assert!(pace.asks_what_it_can());
        pace.offers(true);
        pace.after(Poll::Answered, 0.5);
        pace.after(Poll::Failed, 0.5);
        assert!(!pace.asks_what_it_can(), "a success starts the count anew");
    }
}

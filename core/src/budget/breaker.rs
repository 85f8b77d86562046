//! The CPU budget: while all probes together cost more than their share of one core, the dearest is paused, for a
//! time that grows. Fed by [`crate::worker`] once a second with the nanoseconds sampled in hits.

use std::collections::{HashMap, VecDeque};

/// Nanoseconds over which the cost is taken.
const WINDOW_NS: u64 = 10_000_000_000;
/// The first pause.
const FIRST_PAUSE_NS: u64 = 10_000_000_000;
/// The longest pause.
const LONGEST_PAUSE_NS: u64 = 600_000_000_000;

/// What one probe has cost so far, as counted in its hits.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The probe.
    pub slot: u32,
    /// Nanoseconds since it was installed.
    pub nanoseconds: u64,
    /// False while it rests: then it is not paused, but stays known, so that its past is not taken for new cost.
    pub on: bool,
}

/// A probe to be paused, with the numbers for its status.
#[derive(Clone, Debug, PartialEq)]
pub struct Pause {
    /// The probe.
    pub slot: u32,
    /// Until when, monotonic nanoseconds.
    pub until: u64,
    /// Its own share of one core, per cent.
    pub share: f64,
    /// The share of all probes, per cent.
    pub total: f64,
    /// The budget, per cent.
    pub budget: f64,
}

impl Pause {
    /// The sentence of the status.
    pub fn reason(&self, now: u64) -> String {
        format!(
            "paused for {} s: it used {:.1} % of a core over the last 10 s, all probes {:.1} %, the budget is {} %",
            self.until.saturating_sub(now) / 1_000_000_000,
            self.share,
            self.total,
            self.budget
        )
    }
}

/// The breaker of a process.
#[derive(Debug)]
pub struct Breaker {
    /// Per cent of one core; not finite or ≤ 0: no budget.
    budget: f64,
    /// Costs at earlier looks, oldest first.
    looks: VecDeque<(u64, HashMap<u32, u64>)>,
    pauses: HashMap<u32, u32>,
}

impl Breaker {
    /// A breaker with a budget in per cent of one core.
    pub fn new(budget: f64) -> Self {
        Breaker { budget, looks: VecDeque::new(), pauses: HashMap::new() }
    }

    /// Looks at the costs; names the probe to be paused if the budget is exceeded.
    pub fn look(&mut self, now: u64, costs: &[Cost]) -> Option<Pause> {
        if !(self.budget.is_finite() && self.budget > 0.0) {
            return None;
        }
        let current: HashMap<u32, u64> = costs.iter().map(|cost| (cost.slot, cost.nanoseconds)).collect();
        self.pauses.retain(|slot, _| current.contains_key(slot));
        if self.looks.is_empty() {
            // Nothing was spent before the first look.
            self.looks.push_back((now, HashMap::new()));
        }
        self.looks.push_back((now, current));
        while self.looks.len() > 2 && self.looks.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= WINDOW_NS) {
            self.looks.pop_front();
        }
        let (since, before) = self.looks.front()?;
        // A share is taken over the whole window, so that one dear second in ten does not count tenfold.
        let window = now.saturating_sub(*since).max(WINDOW_NS) as f64;
        let spent = |cost: &Cost| {
            cost.nanoseconds.saturating_sub(before.get(&cost.slot).copied().unwrap_or(0)) as f64 * 100.0 / window
        };
        let total: f64 = costs.iter().map(spent).sum();
        if total <= self.budget {
            return None;
        }
        let dearest = costs.iter().filter(|cost| cost.on).max_by(|a, b| spent(a).total_cmp(&spent(b)))?;
        let share = spent(dearest);
        let times = self.pauses.entry(dearest.slot).or_insert(0);
        let pause = FIRST_PAUSE_NS.saturating_mul(1 << (*times).min(6)).min(LONGEST_PAUSE_NS);
        *times += 1;
        // What was spent up to here is settled by the pause.
        self.looks.clear();
        self.looks.push_back((now, costs.iter().map(|cost| (cost.slot, cost.nanoseconds)).collect()));
        Some(Pause { slot: dearest.slot, until: now.saturating_add(pause), share, total, budget: self.budget })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn cost(slot: u32, ms: u64) -> Cost {
        Cost { slot, nanoseconds: ms * 1_000_000, on: true }
    }

    #[test]
    fn what_was_spent_before_a_pause_does_not_count_after_it_and_the_next_pause_is_longer() {
        let mut breaker = Breaker::new(2.0);
        assert_eq!(breaker.look(0, &[cost(1, 0)]), None);
        assert_eq!(breaker.look(SECOND, &[cost(1, 900)]).unwrap().until, 11 * SECOND);
        for second in 2..11 {
            assert_eq!(breaker.look(second * SECOND, &[Cost { on: false, ..cost(1, 900) }]), None);
        }
        for second in 11..40 {
            assert_eq!(breaker.look(second * SECOND, &[cost(1, 900)]), None, "{second}");
        }
        assert_eq!(breaker.look(40 * SECOND, &[cost(1, 1800)]).unwrap().until, 60 * SECOND);
    }

    #[test]
    fn the_dearest_probe_is_paused_and_longer_each_time() {
        let mut breaker = Breaker::new(2.0);
        assert_eq!(breaker.look(0, &[cost(1, 0), cost(2, 0)]), None);
        assert_eq!(breaker.look(SECOND, &[cost(1, 10), cost(2, 100)]), None, "1.1 % of ten seconds");
        let pause = breaker.look(2 * SECOND, &[cost(1, 20), cost(2, 200)]).unwrap();
        assert_eq!((pause.slot, pause.until), (2, 12 * SECOND));
        assert!((pause.share - 2.0).abs() < 1e-9 && (pause.total - 2.2).abs() < 1e-9);
        assert!(pause.reason(2 * SECOND).contains("paused for 10 s"));
        let again = breaker.look(13 * SECOND, &[cost(1, 20), cost(2, 600)]).unwrap();
        assert_eq!((again.slot, again.until), (2, 33 * SECOND));
    }

    #[test]
    fn what_is_within_the_budget_is_never_paused() {
        let mut breaker = Breaker::new(2.0);
        for second in 0..100 {
            assert_eq!(breaker.look(second * SECOND, &[cost(1, second * 19)]), None);
        }
    }

    #[test]
    fn without_a_budget_nothing_is_paused() {
        let mut breaker = Breaker::new(0.0);
        assert_eq!(breaker.look(0, &[cost(1, 0)]), None);
        assert_eq!(breaker.look(SECOND, &[cost(1, 900)]), None);
    }
}

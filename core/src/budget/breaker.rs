//! The CPU budget: while all probes together cost more than their share of one core, the dearest is paused, for a
//! time that grows. Fed by [`crate::worker`] a few times a second with the nanoseconds sampled in hits. What is spent while
//! a probe rests (other threads may still be inside a hit) is nobody's fault, and does not count. Nor does a single sample
//! pause a probe, since it may stand for hits that were nothing like it.
//!
//! There are two: one for all probes, over ten seconds, and one for those whose hits are dear, over three. A hit of those costs
//! as much as a thousand others, so that a loop of the program would spend at once what ten seconds allow.

use std::collections::{HashMap, HashSet, VecDeque};

/// Nanoseconds over which the cost of all probes is taken, …
pub const ALL_NS: u64 = 10_000_000_000;
/// … and that of those whose hits are dear.
pub const DEAR_NS: u64 = 3_000_000_000;
/// Looks that are kept in a window.
const LOOKS: u64 = 10;
/// The first pause.
pub(super) const FIRST_PAUSE_NS: u64 = 10_000_000_000;
/// The longest pause.
const LONGEST_PAUSE_NS: u64 = 600_000_000_000;

/// What one probe has cost so far, as counted in its hits.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// The probe.
    pub slot: u32,
    /// Nanoseconds since it was installed.
    pub nanoseconds: u64,
    /// The dearest sample among those since the last look.
    pub dearest: u64,
    /// False while it rests: then it is not paused, and what is added meanwhile does not count.
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
    /// The nanoseconds over which shares are taken.
    pub window: u64,
    /// What it spent, nanoseconds, …
    pub spent: u64,
    /// … in so many nanoseconds.
    pub within: u64,
    /// The budget, per cent.
    pub budget: f64,
}

impl Pause {
    /// The sentence of the status.
    pub fn reason(&self, now: u64) -> String {
        let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
        format!(
            "paused for {} s: it used {:.2} s of CPU in the last {:.1} s, {:.1} % of a core over {} s, all probes {:.1} %, \
             the budget is {} %",
            self.until.saturating_sub(now) / 1_000_000_000,
            seconds(self.spent),
            seconds(self.within),
            self.share,
            self.window / 1_000_000_000,
            self.total,
            self.budget
        )
    }
}

/// A breaker of a process.
#[derive(Debug)]
pub struct Breaker {
    /// Nanoseconds over which the cost is taken.
    window: u64,
    /// Per cent of one core; not finite or ≤ 0: no budget.
    budget: f64,
    /// What counts, by probe.
    counted: HashMap<u32, Counted>,
    /// What counted at earlier looks, oldest first, a tenth of the window or more between two of them.
    looks: VecDeque<(u64, HashMap<u32, u64>)>,
    pauses: HashMap<u32, u32>,
}

/// The part of a probe's cost that counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// What the probe's own counter said last.
    seen: u64,
    /// What of it counts.
    total: u64,
    /// The dearest sample of late, and when it was taken.
    dearest: (u64, u64),
}

impl Breaker {
    /// A breaker with a budget in per cent of one core, taken over so many nanoseconds. Nothing was spent before `now`.
    pub fn new(budget: f64, window: u64, now: u64) -> Self {
        let looks = VecDeque::from([(now, HashMap::new())]);
        Breaker { window, budget, counted: HashMap::new(), looks, pauses: HashMap::new() }
    }

    /// A pause is over: what was added to its counter until now does not count.
    pub fn resumed(&mut self, slot: u32, nanoseconds: u64) {
        let counted = self.counted.entry(slot).or_default();
        (counted.seen, counted.dearest) = (nanoseconds, (0, 0));
    }

    /// Looks at the costs; names the probe to be paused if the budget is exceeded.
    pub fn look(&mut self, now: u64, costs: &[Cost]) -> Option<Pause> {
        if !(self.budget.is_finite() && self.budget > 0.0) {
            return None;
        }
        self.count(now, costs);
        while self.looks.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= self.window) {
            self.looks.pop_front();
        }
        let (since, before) = self.looks.front()?;
        let within = now.saturating_sub(*since);
        let total_of = |slot: u32| self.counted.get(&slot).map_or(0, |counted| counted.total);
        let spent = |slot: u32| total_of(slot).saturating_sub(before.get(&slot).copied().unwrap_or(0));
        // A share is taken over the whole window, so that one dear second in ten does not count tenfold.
        let share = |nanoseconds: u64| nanoseconds as f64 * 100.0 / within.max(self.window) as f64;
        let total = share(costs.iter().map(|cost| spent(cost.slot)).sum());
        let certain =
            |slot: u32| spent(slot).saturating_sub(self.counted.get(&slot).map_or(0, |counted| counted.dearest.0));
        if share(costs.iter().map(|cost| certain(cost.slot)).sum()) <= self.budget {
            let kept = self.looks.back().is_none_or(|(at, _)| now.saturating_sub(*at) >= self.window / LOOKS);
            if kept {
                self.looks.push_back((now, self.totals()));
            }
            return None;
        }
        let dearest = costs.iter().filter(|cost| cost.on).max_by_key(|cost| spent(cost.slot))?;
        let slot = dearest.slot;
        let spent = spent(slot);
        let share = share(spent);
        let times = self.pauses.entry(slot).or_insert(0);
        let pause = FIRST_PAUSE_NS.saturating_mul(1 << (*times).min(6)).min(LONGEST_PAUSE_NS);
        *times += 1;
        // What was spent up to here is settled by the pause.
        self.looks.clear();
        self.looks.push_back((now, self.totals()));
        let (window, until) = (self.window, now.saturating_add(pause));
        Some(Pause { slot, until, share, total, window, spent, within, budget: self.budget })
    }

    /// Adds what probes that are on have spent since the last look; forgets those that are gone.
    fn count(&mut self, now: u64, costs: &[Cost]) {
        let known: HashSet<u32> = costs.iter().map(|cost| cost.slot).collect();
        self.pauses.retain(|slot, _| known.contains(slot));
        self.counted.retain(|slot, _| known.contains(slot));
        for cost in costs {
            let counted = self.counted.entry(cost.slot).or_default();
            if cost.dearest >= counted.dearest.0
                || now.saturating_sub(counted.dearest.1) >= self.window + self.window / LOOKS
            {
                counted.dearest = (cost.dearest, now);
            }
            if cost.on {
                counted.total += cost.nanoseconds.saturating_sub(counted.seen);
            }
            counted.seen = cost.nanoseconds;
        }
    }

    fn totals(&self) -> HashMap<u32, u64> {
        self.counted.iter().map(|(&slot, counted)| (slot, counted.total)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, ManualClock};
    use std::time::Duration;

    const SECOND: u64 = 1_000_000_000;

    fn cost(slot: u32, ms: u64) -> Cost {
        Cost { slot, nanoseconds: ms * 1_000_000, dearest: 0, on: true }
    }

    #[test]
    fn a_single_sample_pauses_nothing_but_two_do() {
        let mut breaker = Breaker::new(2.0, ALL_NS, 0);
        let sampled = |ms: u64, dearest: u64| [Cost { dearest: dearest * 1_000_000, ..cost(1, ms) }];
        assert_eq!(breaker.look(0, &sampled(0, 0)), None);
        assert_eq!(breaker.look(SECOND, &sampled(910, 900)), None, "10 ms without it");
        assert_eq!(breaker.look(2 * SECOND, &sampled(920, 1)), None);
        let pause = breaker.look(3 * SECOND, &sampled(1820, 900)).unwrap();
        assert_eq!((pause.slot, pause.spent), (1, 1_820_000_000));
        let mut breaker = Breaker::new(2.0, ALL_NS, 0);
        assert_eq!(breaker.look(0, &sampled(0, 0)), None);
        assert_eq!(breaker.look(SECOND, &sampled(900, 900)), None);
        for second in 2..12 {
            assert_eq!(breaker.look(second * SECOND, &sampled(900 + second, 1)), None, "{second}");
        }
        assert!(breaker.look(12 * SECOND, &sampled(1200, 1)).is_some(), "many small ones");
    }

    #[test]
    fn what_was_spent_before_a_pause_does_not_count_after_it_and_the_next_pause_is_longer() {
        let mut breaker = Breaker::new(2.0, ALL_NS, 0);
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
        let mut breaker = Breaker::new(2.0, ALL_NS, 0);
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
    fn what_is_counted_during_a_pause_is_not_held_against_the_probe() {
        let mut breaker = Breaker::new(2.0, ALL_NS, 0);
        assert_eq!(breaker.look(0, &[cost(1, 0)]), None);
        let first = breaker.look(SECOND / 10, &[cost(1, 201)]).unwrap();
        assert_eq!((first.spent, first.within), (201_000_000, SECOND / 10));
        assert!(first.reason(SECOND / 10).starts_with(
            "paused for 10 s: it used 0.20 s of CPU in the last 0.1 s, 2.0 % of a core over 10 s, all probes 2.0 %"
        ));
        for tenth in 2..101 {
            assert_eq!(breaker.look(tenth * SECOND / 10, &[Cost { on: false, ..cost(1, tenth * 100) }]), None);
        }
        breaker.resumed(1, 10_300_000_000);
        assert_eq!(breaker.look(102 * SECOND / 10, &[cost(1, 10_350)]), None, "50 ms since then");
        let again = breaker.look(103 * SECOND / 10, &[cost(1, 10_510)]).unwrap();
        assert_eq!((again.spent, again.until), (210_000_000, 303 * SECOND / 10));
    }

    #[test]
    fn the_dearest_that_is_still_on_is_paused_though_one_that_rests_was_dearer() {
        let clock = ManualClock::new(Duration::ZERO);
        let mut breaker = Breaker::new(2.0, ALL_NS, 0);
        assert_eq!(breaker.look(clock.monotonic(), &[cost(1, 0), cost(2, 0), cost(3, 0)]), None);
        clock.advance(Duration::from_secs(1));
        // Probe 1 spends 190 ms and rests from then on: its rate is used up, or somebody suspended it.
        assert_eq!(breaker.look(clock.monotonic(), &[cost(1, 190), cost(2, 0), cost(3, 0)]), None);
        clock.advance(Duration::from_secs(1));
        let resting = Cost { on: false, ..cost(1, 190) };
        let pause = breaker.look(clock.monotonic(), &[resting, cost(2, 4), cost(3, 10)]).unwrap();
        assert_eq!(pause.slot, 3);
        clock.advance(Duration::from_secs(1));
        // Now the two of them rest, and what they would spend counts for nothing: the one that is left is within the budget.
        let both = [Cost { on: false, ..cost(1, 900) }, cost(2, 100), Cost { on: false, ..cost(3, 900) }];
        assert_eq!(breaker.look(clock.monotonic(), &both), None);
        clock.advance(Duration::from_secs(1));
        let all = both.map(|cost| Cost { on: false, nanoseconds: cost.nanoseconds + 5 * SECOND, ..cost });
        assert_eq!(breaker.look(clock.monotonic(), &all), None, "nothing is left to be paused");
    }

    #[test]
    fn what_the_first_look_finds_was_spent_since_the_beginning() {
        let mut breaker = Breaker::new(2.0, ALL_NS, 5 * SECOND);
        let pause = breaker.look(6 * SECOND, &[cost(1, 300)]).unwrap();
        assert_eq!((pause.spent, pause.within), (300_000_000, SECOND));
        assert!(pause.reason(6 * SECOND).contains("it used 0.30 s of CPU in the last 1.0 s"));
    }

    #[test]
    fn over_a_shorter_window_less_may_be_spent_at_once() {
        let step = SECOND / 50;
        let mut breaker = Breaker::new(2.0, DEAR_NS, 0);
        assert_eq!(breaker.look(step, &[cost(1, 20)]), None);
        assert_eq!(breaker.look(2 * step, &[cost(1, 40)]), None);
        assert_eq!(breaker.look(3 * step, &[cost(1, 60)]), None, "2 % of three seconds");
        let pause = breaker.look(4 * step, &[cost(1, 80)]).unwrap();
        assert!(pause.reason(4 * step).contains("2.7 % of a core over 3 s"), "{}", pause.reason(4 * step));
        // At the same rate, but with what was spent long ago behind it.
        let mut breaker = Breaker::new(2.0, DEAR_NS, 0);
        for tenth in 0..100 {
            assert_eq!(breaker.look(tenth * SECOND / 10, &[cost(1, tenth * 19 / 10)]), None, "{tenth}");
        }
    }

    #[test]
    fn what_is_within_the_budget_is_never_paused() {
        let mut breaker = Breaker::new(2.0, ALL_NS, 0);
        for second in 0..100 {
            assert_eq!(breaker.look(second * SECOND, &[cost(1, second * 19)]), None);
        }
    }

    #[test]
    fn without_a_budget_nothing_is_paused() {
        let mut breaker = Breaker::new(0.0, ALL_NS, 0);
        assert_eq!(breaker.look(0, &[cost(1, 0)]), None);
        assert_eq!(breaker.look(SECOND, &[cost(1, 900)]), None);
    }
}

//! What it may take to place hooks that are dear to place, a debugger's breakpoints say, for which the program waits as it loads
//! a module. The breaker ([`super::breaker`]) takes a probe away that goes on costing; what many probes cost once each, it could
//! only regret. So the host asks before it places one, and tells what that took. The window and the share are the breaker's.

use super::breaker::{DEAR_NS, FIRST_PAUSE_NS};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What one is taken to cost until it is placed.
const BOOKED_NS: u64 = 500_000;
/// What is spent within that long is kept as one entry.
const ENTRY_NS: u64 = DEAR_NS / 20;

/// The budget for placing, of a process.
#[derive(Debug)]
pub struct Placing {
    /// Per cent of one core; not finite or ≤ 0: no budget.
    budget: f64,
    /// What was spent of late, with when that began, oldest first. Locked as hooks are placed, never in a hit.
    spent: Mutex<VecDeque<(u64, u64)>>,
}

/// A probe that is to be placed later.
#[derive(Clone, Debug, PartialEq)]
pub struct Deferred {
    /// When, monotonic nanoseconds.
    pub until: u64,
    /// The sentence of its status.
    pub reason: String,
}

impl Placing {
    /// Nothing was placed so far.
    pub fn new(budget: f64) -> Self {
        Placing { budget, spent: Mutex::default() }
    }

    /// Books one. An error if it has to wait.
    pub fn book(&self, now: u64) -> Result<(), Deferred> {
        if !(self.budget.is_finite() && self.budget > 0.0) {
            return Ok(());
        }
        let mut spent = self.spent(now);
        let total: u64 = spent.iter().map(|(_, nanoseconds)| nanoseconds).sum();
        let share = total as f64 * 100.0 / DEAR_NS as f64;
        if share > self.budget {
            return Err(self.deferred(now, total, share));
        }
        add(&mut spent, now, BOOKED_NS);
        Ok(())
    }

    /// So many that were booked took so long in all.
    pub fn took(&self, now: u64, placed: u32, nanoseconds: u64) {
        let more = nanoseconds.saturating_sub(u64::from(placed) * BOOKED_NS);
        if more > 0 {
            add(&mut self.spent(now), now, more);
        }
    }

    /// What still counts.
    fn spent(&self, now: u64) -> MutexGuard<'_, VecDeque<(u64, u64)>> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        while spent.front().is_some_and(|(began, _)| now.saturating_sub(*began) >= DEAR_NS) {
            spent.pop_front();
        }
        spent
    }

    fn deferred(&self, now: u64, total: u64, share: f64) -> Deferred {
        let reason = format!(
            "paused for {} s: placing probes of its kind took {:.2} s of the last {} s, {share:.1} % of a core, the budget is {} %",
            FIRST_PAUSE_NS / 1_000_000_000,
            total as f64 / 1e9,
            DEAR_NS / 1_000_000_000,
            self.budget,
        );
        Deferred { until: now.saturating_add(FIRST_PAUSE_NS), reason }
    }
}

fn add(spent: &mut VecDeque<(u64, u64)>, now: u64, nanoseconds: u64) {
    match spent.back_mut() {
        Some((began, sum)) if now.saturating_sub(*began) < ENTRY_NS => *sum += nanoseconds,
        _ => spent.push_back((now, nanoseconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn as_many_are_placed_as_the_budget_has_room_for_what_they_take() {
        let placing = Placing::new(2.0);
        let mut placed = 0;
        let deferred = loop {
            match placing.book(placed * 5 * MS) {
                Ok(()) => placing.took(placed * 5 * MS, 1, 5 * MS),
                Err(deferred) => break deferred,
            }
            placed += 1;
        };
        assert_eq!((placed, deferred.until), (13, 65 * MS + FIRST_PAUSE_NS), "2 % of three seconds are 60 ms");
        assert!(deferred.reason.contains("0.07 s of the last 3 s, 2.2 % of a core"), "{}", deferred.reason);
        assert!(placing.book(DEAR_NS).is_ok(), "some time later");
    }

    #[test]
    fn what_comes_at_once_is_booked_before_it_is_known_what_it_takes() {
        let placing = Placing::new(2.0);
        let placed = (0..1000).filter(|_| placing.book(0).is_ok()).count();
        assert_eq!(placed, 121);
        placing.took(0, 121, 20 * MS);
        assert!(placing.book(0).is_err() && placing.book(DEAR_NS).is_ok());
    }

    #[test]
    fn what_stands_for_much_time_is_little_memory() {
        let placing = Placing::new(100.0);
        for millisecond in 0..20_000 {
            assert!(placing.book(millisecond * MS).is_ok());
            placing.took(millisecond * MS, 0, MS / 4);
        }
        assert!(placing.spent(20_000 * MS).len() <= 21);
    }

    #[test]
    fn without_a_budget_all_are_placed() {
        let placing = Placing::new(0.0);
        placing.took(0, 1, 1000 * MS);
        assert!(placing.book(0).is_ok());
    }
}

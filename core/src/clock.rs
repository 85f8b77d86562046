//! The only file that reads time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Time, in nanoseconds.
pub trait Clock: Send + Sync {
    /// Monotonic time, precise. About 20 ns a read.
    fn monotonic(&self) -> u64;
    /// Monotonic time, some milliseconds coarse, cheap to read.
    fn coarse(&self) -> u64;
    /// Time since the Unix epoch, coarse.
    fn wall(&self) -> u64;
    /// CPU time of the calling thread.
    fn thread_cpu(&self) -> u64;

    /// This moment, for [`Clock::since`] of the same clock: the quickest precise reading that there is.
    #[inline]
    fn moment(&self) -> Moment {
        Moment::Time(self.monotonic())
    }

    /// Nanoseconds since a moment.
    #[inline]
    fn since(&self, moment: Moment) -> u64 {
        match moment {
            Moment::Time(time) | Moment::Ticks(time) => self.monotonic().saturating_sub(time),
        }
    }
}

/// When something began of which only the duration matters.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// Monotonic time.
    Time(u64),
    /// Ticks of the processor's counter.
    Ticks(u64),
}

/// The system's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

fn read(id: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(id);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

impl Clock for SystemClock {
    #[inline]
    fn monotonic(&self) -> u64 {
        read(rustix::time::ClockId::Monotonic)
    }
    #[inline]
    fn coarse(&self) -> u64 {
        read(rustix::time::ClockId::MonotonicCoarse)
    }
    #[inline]
    fn wall(&self) -> u64 {
        read(rustix::time::ClockId::RealtimeCoarse)
    }
    #[inline]
    fn thread_cpu(&self) -> u64 {
        read(rustix::time::ClockId::ThreadCPUTime)
    }
}

/// The system's clocks, and for durations the counter that the kernel itself takes its time from: reading that costs a third
/// of asking the kernel. How long a tick is comes from both over the same time; until it is known well, and where it does not
/// stay what it was, durations are the kernel's.
pub struct CountingClock {
    ticks: fn() -> u64,
    /// The length of a tick, in nanoseconds times 2^32; 0: do not use it.
    tick: AtomicU64,
    /// From these ticks on its length is looked at again.
    due: AtomicU64,
    /// What was found last. Hits never wait for it.
    known: Mutex<Known>,
}

struct Known {
    /// Ticks and time of the same moment.
    ticks: u64,
    time: u64,
    /// See [`CountingClock::tick`]; 0: not known yet.
    tick: u64,
    /// How often it could not be found out before it is given up.
    attempts: u32,
}

/// The length of a tick is taken over so many nanoseconds at least.
const BASELINE_NS: u64 = 100_000_000;
/// It is looked at again after so many, since the kernel's clock is steered.
const AGAIN_NS: u64 = 1_000_000_000;
/// The ends of a longer duration are told by the kernel's clock.
const LONG_NS: u64 = 1_000_000_000;
/// The two readings of a moment are so far apart at most: else the thread was interrupted in between.
const APART_NS: u64 = 1_000;
/// So often in a row it is tried to read a moment.
const ATTEMPTS: u32 = 16;
/// No ticks are ever so many.
const NEVER: u64 = u64::MAX;

impl CountingClock {
    /// A clock with a counter that goes at one rate, the same on all cores.
    pub fn new(ticks: fn() -> u64) -> Self {
        let (first, time) = both(ticks).unwrap_or_default();
        let known = Known { ticks: first, time, tick: 0, attempts: ATTEMPTS };
        CountingClock { ticks, tick: AtomicU64::new(0), due: AtomicU64::new(0), known: Mutex::new(known) }
    }

    /// Finds out how long a tick is, once there is enough to measure it by.
    #[cold]
    fn look(&self) {
        let Ok(mut known) = self.known.try_lock() else { return };
        if SystemClock.monotonic().saturating_sub(known.time) < BASELINE_NS {
            return;
        }
        let Some((ticks, time)) = both(self.ticks) else {
            known.attempts = known.attempts.saturating_sub(1);
            if known.attempts == 0 {
                self.give_up();
            }
            return;
        };
        if known.time == 0 {
            // The first moment could not be read.
            *known = Known { ticks, time, tick: 0, attempts: ATTEMPTS };
            return;
        }
        let passed = ticks.checked_sub(known.ticks).filter(|ticks| *ticks > 0);
        let tick = passed.map_or(0, |ticks| quotient(time.saturating_sub(known.time), ticks));
        if tick == 0 || (known.tick != 0 && known.tick.abs_diff(tick) > known.tick / 1000) {
            // It stood still, was set, or has another rate.
            return self.give_up();
        }
        *known = Known { ticks, time, tick, attempts: ATTEMPTS };
        self.due.store(ticks.saturating_add(quotient(AGAIN_NS, tick)), Relaxed);
        self.tick.store(tick, Relaxed);
    }

    fn give_up(&self) {
        self.due.store(NEVER, Relaxed);
        self.tick.store(0, Relaxed);
    }

    /// A duration up to now that began at so many ticks, by the kernel's clock. `None`: somebody looks just now.
    #[cold]
    fn long(&self, began: u64) -> Option<u64> {
        let known = self.known.try_lock().ok()?;
        let began = match began.checked_sub(known.ticks) {
            Some(after) => known.time.saturating_add(product(after, known.tick)),
            None => known.time.saturating_sub(product(known.ticks - began, known.tick)),
        };
        Some(SystemClock.monotonic().saturating_sub(began))
    }
}

/// Ticks and time of this moment.
fn both(ticks: fn() -> u64) -> Option<(u64, u64)> {
    let read = |_| {
        let before = SystemClock.monotonic();
        let ticks = ticks();
        (SystemClock.monotonic().saturating_sub(before), ticks, before)
    };
    let (apart, ticks, before) = (0..4).map(read).min()?;
    (apart <= APART_NS).then_some((ticks, before + apart / 2))
}

/// The time of some ticks of such a length.
#[inline]
fn product(ticks: u64, tick: u64) -> u64 {
    ((u128::from(ticks) * u128::from(tick)) >> 32) as u64
}

/// The length of a tick if so many take such a time, or how many there are in it if each is so long.
fn quotient(time: u64, by: u64) -> u64 {
    u64::try_from((u128::from(time) << 32) / u128::from(by)).unwrap_or(u64::MAX)
}

impl Clock for CountingClock {
    #[inline]
    fn monotonic(&self) -> u64 {
        SystemClock.monotonic()
    }
    #[inline]
    fn coarse(&self) -> u64 {
        SystemClock.coarse()
    }
    #[inline]
    fn wall(&self) -> u64 {
        SystemClock.wall()
    }
    #[inline]
    fn thread_cpu(&self) -> u64 {
        SystemClock.thread_cpu()
    }

    #[inline]
    fn moment(&self) -> Moment {
        if self.tick.load(Relaxed) == 0 { Moment::Time(self.monotonic()) } else { Moment::Ticks((self.ticks)()) }
    }

    #[inline]
    fn since(&self, moment: Moment) -> u64 {
        let tick = self.tick.load(Relaxed);
        let Moment::Ticks(began) = moment else {
            if tick == 0 && self.due.load(Relaxed) != NEVER {
                self.look();
            }
            return SystemClock.since(moment);
        };
        let now = (self.ticks)();
        let took = product(now.saturating_sub(began), tick);
        if tick == 0 || took > LONG_NS {
            return self.long(began).unwrap_or(took);
        }
        if now > self.due.load(Relaxed) {
            self.look();
        }
        took
    }
}

/// A clock that tests move by hand.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<u64>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Duration) -> Self {
        ManualClock { now: Mutex::new(u64::try_from(start.as_nanos()).unwrap_or(u64::MAX)) }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *now = now.saturating_add(by);
    }

    fn now(&self) -> u64 {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> u64 {
        self.now()
    }
    fn coarse(&self) -> u64 {
        self.now()
    }
    fn wall(&self) -> u64 {
        self.now()
    }
    fn thread_cpu(&self) -> u64 {
        self.now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn monotonic() -> u64 {
        SystemClock.monotonic()
    }

    /// A clock whose ticks are known.
    fn known(ticks: fn() -> u64) -> CountingClock {
        let clock = CountingClock::new(ticks);
        while matches!(clock.moment(), Moment::Time(_)) {
            let _ = clock.since(clock.moment());
        }
        clock
    }

    /// True if a duration lies between the two that enclose it, but for a ten-thousandth and the readings themselves.
    fn lies(duration: u64, least: u64, most: u64) -> bool {
        duration + duration / 10_000 + 200 >= least && duration <= most + most / 10_000 + 200
    }

    /// Measures some work by both clocks.
    fn agrees(clock: &CountingClock, work: u64) {
        let outer = monotonic();
        let moment = clock.moment();
        let inner = monotonic();
        while monotonic() - inner < work {}
        let least = monotonic() - inner;
        let duration = clock.since(moment);
        let most = monotonic() - outer;
        assert!(lies(duration, least, most), "{moment:?}: {least} {duration} {most}");
    }

    #[test]
    fn durations_by_ticks_are_those_of_the_kernel() {
        let slow: fn() -> u64 = || monotonic() / 3;
        let quick: fn() -> u64 = || monotonic() * 3 + 7;
        for ticks in [slow, quick] {
            let clock = CountingClock::new(ticks);
            assert!(matches!(clock.moment(), Moment::Time(_)), "a tick is not known yet");
            agrees(&clock, 1_000);
            let clock = known(ticks);
            assert!(matches!(clock.moment(), Moment::Ticks(_)));
            for work in [0, 1_000, 1_000_000, SECOND / 20] {
                agrees(&clock, work);
            }
        }
    }

    #[test]
    fn a_long_duration_is_told_by_the_kernel() {
        let clock = known(|| monotonic() * 3);
        for seconds in [2, 100] {
            let began = monotonic() - seconds * SECOND;
            let duration = clock.since(Moment::Ticks(began * 3));
            assert!(lies(duration, seconds * SECOND, monotonic() - began), "{duration}");
        }
        assert_eq!(clock.since(Moment::Ticks((monotonic() + SECOND) * 3)), 0, "never negative");
    }

    #[test]
    fn a_counter_that_changes_its_rate_is_given_up() {
        static RATE: AtomicU64 = AtomicU64::new(3);
        let clock = known(|| monotonic() * RATE.load(Relaxed));
        let outer = monotonic();
        let before = clock.moment();
        RATE.store(6, Relaxed);
        let duration = clock.since(before);
        assert!(duration <= monotonic() - outer + 1_000, "{duration}");
        while monotonic() - outer < 2 * BASELINE_NS {}
        let now = Moment::Ticks((clock.ticks)());
        let _ = clock.since(now);
        assert!(matches!(clock.moment(), Moment::Time(_)), "its length was looked at, and is another");
        agrees(&clock, 1_000);
        assert!(matches!(clock.moment(), Moment::Time(_)), "for good");
        let duration = clock.since(before);
        assert!(duration <= monotonic() - outer + 1_000, "{duration}");
    }

    #[test]
    fn a_counter_that_stands_still_is_never_used() {
        let clock = CountingClock::new(|| 5);
        let start = monotonic();
        while monotonic() - start < 2 * BASELINE_NS {
            agrees(&clock, 100_000);
        }
        assert!(matches!(clock.moment(), Moment::Time(_)));
        assert_eq!(clock.due.load(Relaxed), NEVER);
    }

    #[test]
    fn other_clocks_measure_by_their_time() {
        let clock = ManualClock::new(Duration::from_secs(5));
        let moment = clock.moment();
        clock.advance(Duration::from_millis(3));
        assert_eq!(clock.since(moment), 3_000_000);
    }
}

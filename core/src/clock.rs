//! The only file that reads time.

use std::sync::Mutex;
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

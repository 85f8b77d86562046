//! One error event per probe per five minutes, while evaluation goes on; and the suspension of a probe whose
//! evaluation itself is the cost (*Probes and expressions* 6).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nanoseconds between two error events of a probe.
pub const WINDOW_NS: u64 = 300_000_000_000;

/// The throttle of one probe. A new version of the probe has a new one.
#[derive(Debug, Default)]
pub struct Throttle {
    /// Coarse time from which the next error event may be sent; 0 is at once.
    next: AtomicU64,
}

impl Throttle {
    /// True if an error event may be sent now; it is then taken as sent.
    pub fn admit(&self, now: u64) -> bool {
        let next = self.next.load(Relaxed);
        next <= now && self.next.compare_exchange(next, now.saturating_add(WINDOW_NS), Relaxed, Relaxed).is_ok()
    }

    /// Gives back what [`Throttle::admit`] took, because the event could not be queued.
    pub fn withdraw(&self) {
        self.next.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_error_event_in_five_minutes() {
        let throttle = Throttle::default();
        assert!(throttle.admit(5));
        assert!(!throttle.admit(6));
        assert!(!throttle.admit(4 + WINDOW_NS));
        assert!(throttle.admit(5 + WINDOW_NS));
    }

    #[test]
    fn an_event_that_could_not_be_queued_does_not_count() {
        let throttle = Throttle::default();
        assert!(throttle.admit(5));
        throttle.withdraw();
        assert!(throttle.admit(6));
    }
}

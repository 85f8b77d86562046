//! Own counters: hits, emitted, dropped by reason, sampled nanoseconds. Written by [`crate::hit`] and the worker, read
//! by `status()`, the breaker and the health metrics.

use crate::control::agent::retry::Reason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter. Hosts whose hits are serialised (a GIL) add without a locked instruction.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds from any thread.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Adds where no other thread adds at the same time.
    #[inline]
    pub fn add_serial(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Sets the count back.
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }
}

/// Why a hit yields no event. The names are those of *Signals and upload* 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Drop {
    /// The probe's own rate.
    RateLimitProbe,
    /// The rate of all probes.
    RateLimitGlobal,
    /// Evaluation is suspended after a time-out or limit.
    EvaluationTimeout,
    /// The entry of a method was not seen and `@duration` was wanted.
    EntryNotSeen,
    /// The queue is full.
    QueueFull,
    /// The event is larger than the intake takes, even pruned.
    PayloadTooLarge,
    /// The breaker of the upload is open, or the upload failed.
    BreakerOpen,
    /// The Agent refused the batch.
    Rejected,
    /// The Agent could not be reached.
    Transport,
    /// The CPU budget has paused the probe.
    Paused,
    /// A hit inside our own work.
    Reentrant,
    /// Something of ours failed.
    Internal,
    /// The session ended first.
    Stopped,
}

impl Drop {
    /// Every reason, in order.
    pub const ALL: [Drop; 13] = [
        Drop::RateLimitProbe,
        Drop::RateLimitGlobal,
        Drop::EvaluationTimeout,
        Drop::EntryNotSeen,
        Drop::QueueFull,
        Drop::PayloadTooLarge,
        Drop::BreakerOpen,
        Drop::Rejected,
        Drop::Transport,
        Drop::Paused,
        Drop::Reentrant,
        Drop::Internal,
        Drop::Stopped,
    ];

    /// Why an event was lost on its way.
    pub fn of_upload(reason: Reason) -> Drop {
        match reason {
            Reason::BreakerOpen => Drop::BreakerOpen,
            Reason::Rejected => Drop::Rejected,
            Reason::Transport => Drop::Transport,
            Reason::Stopped => Drop::Stopped,
            Reason::Internal => Drop::Internal,
        }
    }

    /// The name on the wire and in `status()`.
    pub fn name(self) -> &'static str {
        match self {
            Drop::RateLimitProbe => "rateLimitProbe",
            Drop::RateLimitGlobal => "rateLimitGlobal",
            Drop::EvaluationTimeout => "evaluationTimeout",
            Drop::EntryNotSeen => "entryNotSeen",
            Drop::QueueFull => "queueFull",
            Drop::PayloadTooLarge => "payloadTooLarge",
            Drop::BreakerOpen => "breakerOpen",
            Drop::Rejected => "rejected",
            Drop::Transport => "transport",
            Drop::Paused => "paused",
            Drop::Reentrant => "reentrant",
            Drop::Internal => "internal",
            Drop::Stopped => "stopped",
        }
    }
}

/// The counters of one probe.
#[derive(Debug, Default)]
pub struct ProbeStats {
    /// Hits of its hooks, whatever became of them. A disarmed probe is not hit.
    pub hits: Counter,
    /// Hits whose condition was false.
    pub rejected: Counter,
    /// Hits whose condition failed.
    pub failed: Counter,
    /// Events that were queued.
    pub emitted: Counter,
    /// Records that were cut at 1 MiB.
    pub record_full: Counter,
    /// Nanoseconds spent in hits, estimated from samples.
    pub nanoseconds: Counter,
    dropped: [Counter; Drop::ALL.len()],
}

/// Every hit of the first ones is timed, …
const SAMPLED_AT_FIRST: u64 = 16;
/// … then one in this many, with its weight.
const SAMPLE_EVERY: u64 = 64;

impl ProbeStats {
    /// The counter of a reason.
    #[inline]
    pub fn dropped(&self, reason: Drop) -> &Counter {
        &self.dropped[reason as usize]
    }

    /// The weight of a hit's sample, or `None` if this hit is not timed. `hits` is the count before this hit.
    #[inline]
    pub fn sample_weight(hits: u64) -> Option<u64> {
        if hits & (SAMPLE_EVERY - 1) == 0 && hits >= SAMPLE_EVERY {
            return Some(SAMPLE_EVERY);
        }
        if hits < SAMPLED_AT_FIRST {
            return Some(1);
        }
        None
    }

    /// Nanoseconds a hit, on average, estimated from samples.
    pub fn nanoseconds_per_hit(&self) -> Option<u64> {
        // Hits between the first samples and the next multiple of 64 are not represented; what is, is.
        let hits = self.hits.get();
        let represented = if hits <= SAMPLED_AT_FIRST {
            hits
        } else {
            SAMPLED_AT_FIRST + (hits.saturating_sub(1) / SAMPLE_EVERY) * SAMPLE_EVERY
        };
        self.nanoseconds.get().checked_div(represented)
    }

    /// The reasons that occurred, with their counts.
    pub fn dropped_by_reason(&self) -> Vec<(&'static str, u64)> {
        Drop::ALL
            .into_iter()
            .map(|reason| (reason.name(), self.dropped(reason).get()))
            .filter(|&(_, count)| count > 0)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::ProbeStats;

    #[test]
    fn the_first_hits_are_timed_then_one_in_64_with_its_weight() {
        let weights: u64 = (0..6400).filter_map(ProbeStats::sample_weight).sum();
        assert_eq!(weights, 16 + 99 * 64);
        assert_eq!(ProbeStats::sample_weight(17), None);
    }
}

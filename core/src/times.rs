//! How long captures took: a histogram of one probe. On the walk of a hit: [`crate::hit`] and [`crate::intake`] add the hits
//! that are timed anyhow and made an event, `status()` and the health metrics read.
//!
//! Four steps an octave, from 128 ns to half a second: a quantile is right by an eighth, in 360 bytes.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What is faster stands in the first step: `1 << FIRST` nanoseconds.
const FIRST: u32 = 7;
/// Steps of an octave, as a power of two.
const FINE: u32 = 2;
/// Octaves.
const OCTAVES: u32 = 22;
/// Steps, with one for what is faster and one for what is slower.
const STEPS: usize = (OCTAVES << FINE) as usize + 2;

/// How often captures took how long.
#[derive(Debug)]
pub struct Times([AtomicU32; STEPS]);

impl Default for Times {
    fn default() -> Self {
        Times([const { AtomicU32::new(0) }; STEPS])
    }
}

impl Times {
    /// Adds one that stands for `weight` of them. Two threads at the same moment may lose one of the two.
    pub fn add(&self, nanoseconds: u64, weight: u64) {
        let step = &self.0[step(nanoseconds)];
        let weight = u32::try_from(weight).unwrap_or(u32::MAX);
        step.store(step.load(Relaxed).saturating_add(weight), Relaxed);
    }

    /// The nanoseconds that so many of a hundred captures did not exceed; `None` if none was timed.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let counts = self.0.each_ref().map(|step| u64::from(step.load(Relaxed)));
        let all: u64 = counts.iter().sum();
        let wanted = (all * percent).div_ceil(100).max(1);
        let mut sum = 0;
        let at = counts.iter().position(|count| {
            sum += count;
            sum >= wanted
        });
        at.map(middle)
    }
}

/// The step of a time.
fn step(nanoseconds: u64) -> usize {
    let octave = nanoseconds.checked_ilog2().unwrap_or(0);
    if octave < FIRST {
        return 0;
    }
    if octave >= FIRST + OCTAVES {
        return STEPS - 1;
    }
    let part = (nanoseconds >> (octave - FINE)) & ((1 << FINE) - 1);
    1 + ((octave - FIRST) << FINE) as usize + part as usize
}

/// The middle of a step.
fn middle(step: usize) -> u64 {
    let Some(inner) = step.checked_sub(1) else { return 1 << (FIRST - 1) };
    let octave = FIRST + (inner >> FINE) as u32;
    let part = (inner & ((1 << FINE) - 1)) as u64;
    let width = 1 << (octave - FINE);
    (1 << octave) + part * width + width / 2
}

#[cfg(test)]
mod tests {
    use super::{STEPS, Times, middle, step};

    #[test]
    fn each_step_has_its_middle_and_steps_rise() {
        for at in 0..STEPS {
            assert_eq!(step(middle(at)), at);
            assert!(at == 0 || middle(at) > middle(at - 1), "{at}");
        }
        assert_eq!((step(0), step(127), step(128), step(u64::MAX)), (0, 0, 1, STEPS - 1));
    }

    #[test]
    fn percentiles_are_right_by_an_eighth_and_heed_weights() {
        let times = Times::default();
        assert_eq!(times.percentile(50), None);
        (1..=100).for_each(|micro| times.add(micro * 1000, 1));
        for percent in [50, 99] {
            let (found, wanted) = (times.percentile(percent).unwrap(), percent * 1000);
            assert!(found.abs_diff(wanted) <= wanted / 8, "p{percent}: {found}");
        }
        times.add(1_000_000, 512);
        let half = times.percentile(50).unwrap();
        assert!(half.abs_diff(1_000_000) <= 125_000, "{half}");
        times.add(7, u64::MAX);
        times.add(7, 1);
        assert_eq!(times.percentile(50), Some(64), "a full step stays full");
    }
}

//! What a metric probe has measured since the worker last asked. It stands on the walk of a hit: [`crate::hit`] and
//! [`crate::intake`] add, [`crate::worker`] takes once a second, [`super::statsd`] writes what it took. Nothing of it goes
//! through the ring: a hit adds and is done.
//!
//! A count is one sum, a gauge its last value. Of a histogram or distribution each value is kept, up to [`MAX_VALUES`] a
//! second; then every second one of them is, then every fourth, and so on, which the sample rate tells. A hit waits for
//! nothing, and allocates only while the memory for values grows to its working size.

use crate::expr::eval::Measured;
use crate::probe::model::MetricKind;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Most values of one probe that are kept between two takings.
pub const MAX_VALUES: usize = 8192;

/// Where a count ends: beyond it a double knows not every whole number.
const MAX_COUNT: i64 = 1 << 53;

/// No value has come. What is measured is finite, so that it cannot be mistaken for one.
const NONE: u64 = f64::NAN.to_bits();

/// What one metric probe has measured.
#[derive(Debug)]
pub struct Meter(Store);

#[derive(Debug)]
enum Store {
    Count {
        sum: AtomicI64,
        /// Something was added, 0 perhaps.
        came: AtomicBool,
    },
    Gauge(AtomicU64),
    /// The worker has one of the two at a time, the second first, and only for a moment: a hit takes the one that is free, which
    /// is almost always the first.
    Values([Mutex<Values>; 2]),
}

/// Values of a histogram or distribution.
#[derive(Debug, Default)]
struct Values {
    kept: Vec<f64>,
    /// One in `1 << halved` values is kept.
    halved: u32,
    /// So many values are passed over before the next that is kept.
    skip: u32,
}

impl Values {
    fn add(&mut self, value: f64) {
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        if self.kept.len() >= MAX_VALUES {
            self.halve();
        }
        self.kept.push(value);
        self.skip = (1 << self.halved) - 1;
    }

    /// Keeps every second value.
    #[cold]
    fn halve(&mut self) {
        let mut keeps = false;
        self.kept.retain(|_| {
            keeps = !keeps;
            keeps
        });
        self.halved = (self.halved + 1).min(31);
    }
}

/// What was taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The sum of a count, the last value of a gauge, the values of a histogram or distribution.
    pub values: Vec<f64>,
    /// One in so many was kept: a power of two.
    pub one_in: u32,
}

impl Meter {
    /// One that has measured nothing.
    pub fn new(kind: MetricKind) -> Meter {
        Meter(match kind {
            MetricKind::Count => Store::Count { sum: AtomicI64::new(0), came: AtomicBool::new(false) },
            MetricKind::Gauge => Store::Gauge(AtomicU64::new(NONE)),
            MetricKind::Histogram | MetricKind::Distribution => Store::Values(Default::default()),
        })
    }

    /// Adds a value, in a hit. False if it is lost: several threads were here at the same moment.
    #[inline]
    pub fn add(&self, value: Measured) -> bool {
        match &self.0 {
            Store::Count { sum, came } => {
                let more = match value {
                    Measured::Int(value) => value,
                    // Beyond 64 bits, so its sign is all that counts.
                    Measured::Float(value) => value as i64,
                };
                let add = |sum: i64| Some(sum.saturating_add(more).clamp(-MAX_COUNT, MAX_COUNT));
                // An error cannot be: it always adds.
                let _ = sum.fetch_update(Relaxed, Relaxed, add);
                came.store(true, Relaxed);
                true
            }
            Store::Gauge(last) => {
                last.store(number(value).to_bits(), Relaxed);
                true
            }
            Store::Values(places) => {
                let free = places.iter().find_map(|place| match place.try_lock() {
                    Ok(values) => Some(values),
                    Err(TryLockError::Poisoned(values)) => Some(values.into_inner()),
                    Err(TryLockError::WouldBlock) => None,
                });
                free.map(|mut values| values.add(number(value))).is_some()
            }
        }
    }

    /// Adds what a host has kept of its hits, and says how many were taken: all that are finite. It may wait for another thread
    /// that adds.
    pub fn add_kept(&self, values: &[f64]) -> usize {
        let finite = values.iter().filter(|value| value.is_finite());
        let Store::Values([first, _]) = &self.0 else {
            return finite.filter(|value| self.add(Measured::Float(**value))).count();
        };
        // Once for all: a lock costs more than a value.
        let mut place = first.lock().unwrap_or_else(PoisonError::into_inner);
        finite.map(|value| place.add(*value)).count()
    }

    /// Takes what was measured since the last time, nothing if nothing was. The worker calls it.
    pub fn take(&self) -> Vec<Taken> {
        let whole = |value: f64| vec![Taken { values: vec![value], one_in: 1 }];
        match &self.0 {
            Store::Count { sum, came } => {
                // What is added in between is in this sum or in the next.
                let came = came.swap(false, Relaxed);
                let sum = sum.swap(0, Relaxed);
                if came || sum != 0 { whole(sum as f64) } else { Vec::new() }
            }
            Store::Gauge(last) => match last.swap(NONE, Relaxed) {
                NONE => Vec::new(),
                bits => whole(f64::from_bits(bits)),
            },
            Store::Values(places) => places.iter().rev().filter_map(take_values).collect(),
        }
    }
}

fn take_values(place: &Mutex<Values>) -> Option<Taken> {
    let lock = || -> MutexGuard<'_, Values> { place.lock().unwrap_or_else(PoisonError::into_inner) };
    let count = lock().kept.len();
    // As much room as was needed now, so that the next second needs none; none at all where nothing came. It is got and
    // given back while hits may go on.
    let fresh = Values { kept: Vec::with_capacity(count), ..Values::default() };
    let old = std::mem::replace(&mut *lock(), fresh);
    (!old.kept.is_empty()).then(|| Taken { values: old.kept, one_in: 1 << old.halved })
}

fn number(value: Measured) -> f64 {
    match value {
        Measured::Int(value) => value as f64,
        Measured::Float(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: f64) -> Vec<Taken> {
        vec![Taken { values: vec![value], one_in: 1 }]
    }

    #[test]
    fn a_count_is_a_sum_that_ends_where_doubles_end() {
        let meter = Meter::new(MetricKind::Count);
        assert!(meter.take().is_empty());
        for value in [1, 2, -5] {
            assert!(meter.add(Measured::Int(value)));
        }
        assert_eq!(meter.take(), one(-2.0));
        assert!(meter.take().is_empty());
        meter.add(Measured::Int(0));
        assert_eq!(meter.take(), one(0.0), "a value that came is told, 0 too");
        for (value, end) in [
            (Measured::Int(i64::MAX), 2f64.powi(53)),
            (Measured::Float(1e30), 2f64.powi(53)),
            (Measured::Float(-1e30), -(2f64.powi(53))),
        ] {
            meter.add(value);
            meter.add(value);
            assert_eq!(meter.take(), one(end));
        }
    }

    #[test]
    fn what_a_host_has_kept_is_added_at_once_but_for_what_is_no_finite_number() {
        let kept = [1.0, f64::NAN, 2.5, f64::INFINITY];
        for (kind, taken, values) in [
            (MetricKind::Count, 2, vec![3.0]),
            (MetricKind::Gauge, 2, vec![2.5]),
            (MetricKind::Histogram, 2, vec![1.0, 2.5]),
            (MetricKind::Distribution, 2, vec![1.0, 2.5]),
        ] {
            let meter = Meter::new(kind);
            assert_eq!(meter.add_kept(&kept), taken);
            assert_eq!(meter.take(), [Taken { values, one_in: 1 }]);
            assert_eq!(meter.add_kept(&[]), 0);
            assert!(meter.take().is_empty());
        }
    }

    #[test]
    fn a_gauge_is_its_last_value() {
        let meter = Meter::new(MetricKind::Gauge);
        assert!(meter.take().is_empty());
        meter.add(Measured::Int(3));
        meter.add(Measured::Float(-0.5));
        assert_eq!(meter.take(), one(-0.5));
        assert!(meter.take().is_empty());
        meter.add(Measured::Int(0));
        assert_eq!(meter.take(), one(0.0));
    }

    #[test]
    fn beyond_the_most_every_second_value_is_kept_then_every_fourth() {
        for kind in [MetricKind::Histogram, MetricKind::Distribution] {
            let meter = Meter::new(kind);
            let fill = |count: usize| {
                (0..count).for_each(|value| assert!(meter.add(Measured::Int(value as i64))));
                let mut taken = meter.take();
                assert_eq!(taken.len(), 1);
                taken.remove(0)
            };
            for (count, one_in, kept) in [
                (1, 1, 1),
                (MAX_VALUES, 1, MAX_VALUES),
                (MAX_VALUES + 1, 2, MAX_VALUES / 2 + 1),
                (2 * MAX_VALUES, 2, MAX_VALUES),
                (2 * MAX_VALUES + 1, 4, MAX_VALUES / 2 + 1),
                (100_000, 16, 6250),
            ] {
                let taken = fill(count);
                assert_eq!((taken.one_in, taken.values.len()), (one_in, kept), "{count}");
                let wanted: Vec<f64> = (0..kept).map(|at| (at * one_in as usize) as f64).collect();
                assert_eq!(taken.values, wanted, "evenly spread over the second");
            }
            assert!(meter.take().is_empty());
        }
    }

    #[test]
    fn room_is_kept_while_values_come_and_given_back_when_none_do() {
        let meter = Meter::new(MetricKind::Histogram);
        let room = || match &meter.0 {
            Store::Values(places) => places[0].lock().unwrap().kept.capacity(),
            _ => unreachable!("it keeps values"),
        };
        assert_eq!(room(), 0, "one that is never hit takes none");
        (0..1000).for_each(|value| assert!(meter.add(Measured::Int(value))));
        meter.take();
        assert!(room() >= 1000);
        meter.take();
        assert_eq!(room(), 0);
    }

    #[test]
    fn no_value_is_lost_untold_while_the_worker_takes() {
        for kind in [MetricKind::Count, MetricKind::Histogram] {
            let meter = Meter::new(kind);
            let sum = |taken: Vec<Taken>| -> f64 { taken.iter().flat_map(|taken| &taken.values).sum() };
            let mut came = 0.0;
            std::thread::scope(|scope| {
                let hits = scope.spawn(|| (0..4_000).filter(|_| meter.add(Measured::Int(1))).count());
                while !hits.is_finished() {
                    came += sum(meter.take());
                }
                // Nowhere else does the worker take all the time.
                let added = hits.join().unwrap() as f64;
                came += sum(meter.take());
                assert!((came - added).abs() < 0.5 && added > 2_000.0, "{kind:?}: {came} of {added}");
            });
        }
    }
}

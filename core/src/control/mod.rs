//! Where configurations come from and where events go. The first room of the walk of a configuration going in, the last
//! of the walk of a hit going out.

pub mod agent;
pub mod command;
pub mod file;
pub(crate) mod kept;
pub mod memory;
pub mod ndjson;
pub mod place;
pub mod remote;
pub mod tally;
pub mod terminal;
pub(crate) mod turn;

use crate::probe::model::MetricKind;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;

/// An event as the worker hands it out.
#[derive(Clone, Copy, Debug)]
pub struct EventView<'a> {
    /// The event as it goes to the Agent: one JSON object without line ends.
    pub json: &'a [u8],
    /// The rendered message.
    pub message: &'a str,
    /// The probe's id.
    pub probe: &'a str,
    /// Where it was hit, for people, such as `shop/orders.py:41`.
    pub site: &'a str,
    /// When it was hit, in milliseconds since the epoch.
    pub time: u64,
}

/// A status as the worker hands it out.
#[derive(Clone, Copy, Debug)]
pub struct StatusView<'a> {
    /// The status as it goes to the Agent: one JSON object without line ends.
    pub json: &'a [u8],
    /// The probe's id.
    pub probe: &'a str,
    /// Its name, such as `INSTALLED`.
    pub status: &'a str,
    /// The sentence for people; for an error the reason.
    pub message: &'a str,
    /// When, in milliseconds since the epoch.
    pub time: u64,
}

/// What a metric probe has measured in a second, as the worker hands it out.
#[derive(Clone, Copy, Debug)]
pub struct MetricView<'a> {
    /// One JSON object without line ends.
    pub json: &'a [u8],
    /// The probe's id.
    pub probe: &'a str,
    /// The name of the metric, as the probe gives it.
    pub name: &'a str,
    /// What it is.
    pub kind: MetricKind,
    /// The sum of a count, the last value of a gauge, the values of a histogram or distribution.
    pub values: &'a [f64],
    /// One in so many values was kept.
    pub one_in: u32,
    /// When it was taken, in milliseconds since the epoch.
    pub time: u64,
}

/// A span of ours, as the worker hands it out.
#[derive(Clone, Copy, Debug)]
pub struct SpanView<'a> {
    /// One JSON object without line ends.
    pub json: &'a [u8],
    /// The probe's id.
    pub probe: &'a str,
    /// What was called.
    pub resource: &'a str,
    /// Nanoseconds that it took.
    pub duration: u64,
    /// The exception that ended it, for people.
    pub error: Option<&'a str>,
    /// When it ended, in milliseconds since the epoch.
    pub time: u64,
}

/// Standard output, written to without the lock of the standard library: a fork may happen while the worker
/// holds that lock, and the child would wait for it for ever.
pub(crate) struct Standard(BorrowedFd<'static>);

impl Standard {
    pub(crate) fn output() -> Self {
        Standard(rustix::stdio::stdout())
    }
}

impl Write for Standard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(self.0, bytes) {
            // A program that has closed its output wants none.
            Err(rustix::io::Errno::BADF) => Ok(bytes.len()),
            result => Ok(result?),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the worker feeds. A sink never fails towards the worker: what it could not write it counts.
pub trait Sink: Send {
    /// Takes an event.
    fn event(&mut self, event: &EventView<'_>);
    /// Takes what was measured.
    fn metric(&mut self, metric: &MetricView<'_>) {
        let _ = metric;
    }
    /// Takes a span.
    fn span(&mut self, span: &SpanView<'_>) {
        let _ = span;
    }
    /// Takes a status.
    fn status(&mut self, status: &StatusView<'_>);
    /// Hands on what is still held back.
    fn flush(&mut self);
    /// How much could not be written so far. An event is lost in [`Sink::event`] or in the next [`Sink::flush`], and of
    /// several it is always the latest ones.
    fn lost(&self) -> u64 {
        0
    }
}

//! What every binding needs where its process meets the system, written once: streams that are not ours, the sum over the
//! processes of a run, signals that end them. Nothing of a language is here, and no rule about probes: that is the core's.
//! It stands beside the core since some of it cannot be said without `unsafe`, which the core forbids.
//!
//! On the walk of a hit going out, at its end: [`sinks`] → [`screen`] → [`turns`] → [`outlet`], and behind it [`ending`] with
//! [`tally`] and [`hangs`]. [`room`] is before both walks; [`logging`], [`memory`], [`pages`], [`signal`] and
//! [`threads`] stand on neither.

pub mod ending;
pub mod hangs;
pub mod logging;
pub mod memory;
pub mod outlet;
pub mod pages;
pub mod room;
pub mod screen;
pub mod signal;
pub mod sinks;
pub mod tally;
pub mod threads;
pub mod turns;

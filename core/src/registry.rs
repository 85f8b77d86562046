//! The immutable set of live probes behind an `ArcSwap`.

use crate::probe::model::Probe;

/// A probe that is in force, with its counters. Shared by the registry, the worker and the binding's hooks.
#[derive(Debug)]
pub struct LiveProbe {
    /// The checked definition.
    pub probe: Probe,
    /// Its number in the session: index of its gate, and in records. Never reused while a record may name it.
    pub slot: u32,
}

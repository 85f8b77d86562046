//! Probe definitions: as received, checked, located, compiled.

pub mod compile;
pub mod location;
pub mod model;
pub mod strict;
pub mod wire;

//! The capture record: what a hit writes and the worker reads.

pub(crate) mod buffer;
pub mod layout;
pub mod names;
pub mod read;
pub mod write;

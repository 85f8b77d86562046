//! The border: nothing of ours unwinds into Node. Every entry from JavaScript goes through [`guarded`]. First on the walk
//! of a hit.

use crate::error;
pub use stroboscope_core::guard::{caught, silence};

/// Runs what JavaScript asked for. A panic is an error there.
pub fn guarded<R>(work: impl FnOnce() -> napi::Result<R>) -> napi::Result<R> {
    caught(work).unwrap_or_else(|| Err(error::panicked()))
}

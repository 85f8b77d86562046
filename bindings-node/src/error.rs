//! Errors as JavaScript sees them: one table. On neither walk.

use stroboscope_core::error::Error;

/// The error that JavaScript is to see: the core's sentence.
pub fn thrown(error: Error) -> napi::Error {
    said(error.text)
}

/// An error of this text.
pub fn said(text: impl Into<String>) -> napi::Error {
    napi::Error::from_reason(text.into())
}

/// Nothing is started.
pub fn not_started() -> napi::Error {
    said("stroboscope is not started")
}

/// Our own code has panicked.
pub fn panicked() -> napi::Error {
    said("our own code failed; please report it")
}

//! The Datadog Agent.

pub mod diagnostics;
pub mod info;
pub mod input;

//! What leaves the process: events, messages, statuses, batches.

pub mod batch;
pub mod event;
pub mod message;
pub mod output;
pub mod prune;
pub mod render;
pub mod ring;
pub mod status;

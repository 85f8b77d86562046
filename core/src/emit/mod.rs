//! What leaves the process: events, messages, metrics, spans, statuses, batches.

pub mod batch;
pub mod event;
pub mod health;
pub mod json;
mod keys;
pub mod language;
pub mod message;
pub mod meter;
pub mod number;
pub mod otlp;
pub mod output;
pub mod process;
pub mod prune;
pub mod render;
pub mod ring;
pub mod span;
pub mod statsd;
pub mod status;
pub mod symbols;
pub mod values;

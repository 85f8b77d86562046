//! Where configurations come from and where events go.

pub mod agent;
pub mod file;
pub mod memory;
pub mod ndjson;
pub mod terminal;

//! Two toy hosts that prove the seam before a real host exists, and the runner of the test vectors.
//!
//! * [`value`] is the world of a toy program: values written in a vector's encoding.
//! * [`inside`] shows it to the core as [`stroboscope_core::host::Value`]; hits run in `expr/eval.rs`.
//! * [`outside`] runs the program of `expr/target.rs` with an evaluator of its own, as a host that compiles would.
//! * [`outside_writer`] writes its records, from the page of `record/layout.rs`.
//! * [`process`] is a whole session with a manual clock.
//! * [`event`] captures a world and renders the event, from the record on.
//! * [`runner`] reads vector files and hands each vector to the [`kinds`] that knows it; [`random`] makes new ones.
//!
//! A new kind of vector is a file in `kinds/` and a line in [`kinds::REGISTRY`].

pub mod event;
pub mod inside;
pub mod json;
pub mod kinds;
pub mod outside;
pub mod outside_writer;
pub mod process;
pub mod random;
pub mod runner;
pub mod shape;
pub mod value;

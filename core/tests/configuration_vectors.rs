//! The vectors of definitions, locations and statuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing, and how much it ran by printing"
)]

use stroboscope_toys::runner;

/// Runs a file of which every vector must run and pass.
fn run(text: &str, at_least: usize) {
    let vectors = runner::read(text).unwrap();
    let report = runner::run(&vectors);
    println!("{report}");
    assert!(report.failed.is_empty() && report.skipped.is_empty(), "{report}");
    assert!(report.passed >= at_least, "only {} passed", report.passed);
}

#[test]
fn definitions() {
    run(include_str!("../../tests/vectors/definitions.json"), 349);
}

#[test]
fn locations() {
    run(include_str!("../../tests/vectors/locations.json"), 92);
}

#[test]
fn statuses() {
    run(include_str!("../../tests/vectors/statuses.json"), 30);
}

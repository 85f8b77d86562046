//! The vectors of rates and budgets, in a toy process whose host answers at once and in one that answers later.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing, and how much it ran by printing"
)]

use stroboscope_toys::runner;

#[test]
fn every_rate_vector_passes() {
    let text = include_str!("../../tests/vectors/rates.json");
    let report = runner::run(&runner::read(text).expect("the file is readable"));
    assert!(report.failed.is_empty(), "{report}");
    assert!(report.passed >= 20, "{report}");
    println!("{report}");
}

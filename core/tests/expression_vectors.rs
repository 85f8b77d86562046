//! The vectors of the expression language, in both toy hosts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test says what is wrong by failing, and how much it ran by printing"
)]

use stroboscope_toys::random::For;
use stroboscope_toys::{random, runner};

#[test]
#[allow(clippy::disallowed_methods, reason = "the outside toy compares by recursion")]
fn every_vector_comes_out_as_expected() {
    std::thread::Builder::new().stack_size(64 << 20).spawn(all).unwrap().join().unwrap();
}

fn all() {
    let vectors = runner::read(include_str!("../../tests/vectors/expressions.json")).unwrap();
    let report = runner::run(&vectors);
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
    let ran: usize = report.ran.values().sum();
    assert!(ran > 950, "only {ran} ran: {report}");
}

#[test]
fn both_hosts_agree_on_random_expressions() {
    let text = random::file(20_251_121, 2_000, For::Any).unwrap();
    assert_eq!(random::file(20_251_121, 2_000, For::Any).unwrap(), text, "the same seed gives the same vectors");
    let vectors = runner::read(&text).unwrap();
    let report = runner::run(&vectors);
    assert!(report.failed.is_empty(), "{report}");
    assert_eq!(report.passed, 2_000);
}

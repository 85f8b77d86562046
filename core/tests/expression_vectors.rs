//! The vectors of the expression language, in both toy hosts.

use stroboscope_toys::runner;

#[test]
fn every_vector_comes_out_as_expected() {
    let vectors = runner::read(include_str!("../../tests/vectors/expressions.json")).unwrap();
    let report = runner::run(&vectors);
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
    let ran: usize = report.ran.values().sum();
    assert!(ran > 600, "only {ran} ran: {report}");
}

//! The project's own tasks: `cargo run -p xtask -- TASK`. One file per task.

mod check;

use std::io::{self, Write as _};
use std::process::ExitCode;

fn main() -> io::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("check") => check::run(),
        _ => {
            writeln!(io::stderr(), "usage: cargo run -p xtask -- check")?;
            Ok(ExitCode::from(2))
        }
    }
}

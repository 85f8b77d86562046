//! The project's own tasks: `cargo run -p xtask -- TASK`. One file per task.

mod check;
mod generate;
mod vectors;

use std::io::Write;
use std::process::ExitCode;

type Task = fn(&[String]) -> Result<(), String>;

/// Every task: its name, how it is called, what runs it.
const TASKS: &[(&str, &str, Task)] = &[
    ("check", check::USAGE, check::run),
    ("gen", generate::USAGE, generate::run),
    ("vectors", vectors::USAGE, vectors::run),
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let task = args.first().and_then(|name| TASKS.iter().find(|(known, ..)| known == name));
    let outcome = if let (Some((_, _, run)), Some(rest)) = (task, args.get(1..)) {
        run(rest)
    } else {
        let usages: Vec<&str> = TASKS.iter().map(|(_, usage, _)| *usage).collect();
        Err(format!("usage: cargo run -p xtask -- TASK, where TASK is one of\n  {}", usages.join("\n  ")))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            // A task that has said all itself leaves no text. Nothing is left to be done if this cannot be written.
            if !text.is_empty() {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
            ExitCode::FAILURE
        }
    }
}

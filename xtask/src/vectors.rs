//! `vectors FILE…` runs vector files through the toy hosts; `vectors --random SEED --count N` prints new
//! ones, with `--host` only of what that host has.

use std::fs;
use std::io::{self, Write};
use stroboscope_toys::random::For;
use stroboscope_toys::runner::Report;
use stroboscope_toys::{random, runner};

/// How it is called.
pub const USAGE: &str = "vectors FILE… | vectors --random SEED [--count N [--host python|node]]";

/// Runs the task. The error is a sentence.
pub fn run(args: &[String]) -> Result<(), String> {
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--random", seed] => print_random(seed, "1000", For::Any),
        ["--random", seed, "--count", count] => print_random(seed, count, For::Any),
        ["--random", seed, "--count", count, "--host", "python"] => print_random(seed, count, For::Python),
        ["--random", seed, "--count", count, "--host", "node"] => print_random(seed, count, For::Node),
        [] => Err(format!("usage: {USAGE}")),
        [first, ..] if first.starts_with('-') => Err(format!("usage: {USAGE}")),
        files => run_files(files),
    }
}

fn print_random(seed: &str, count: &str, whom: For) -> Result<(), String> {
    let seed = seed.parse().map_err(|_| format!("the seed must be a whole number, not '{seed}'"))?;
    let count = count.parse().map_err(|_| format!("the count must be a whole number, not '{count}'"))?;
    say(&random::file(seed, count, whom)?)
}

/// Runs them all, also those after one that cannot be read, which is a failure.
fn run_files(files: &[&str]) -> Result<(), String> {
    let mut total = Report::default();
    for file in files {
        match fs::read_to_string(file).map_err(|error| error.to_string()).and_then(|text| runner::read(&text)) {
            Ok(vectors) => total.add(runner::run(&vectors)),
            Err(reason) => total.failed.push(((*file).to_owned(), reason)),
        }
    }
    say(&format!("{total}\n"))?;
    if total.failed.is_empty() { Ok(()) } else { Err(String::new()) }
}

fn say(text: &str) -> Result<(), String> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| format!("cannot write: {error}"))
}

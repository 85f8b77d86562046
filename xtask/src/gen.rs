//! `gen` writes what is generated and committed: `docs/settings.md`. `gen --check` only says whether it is up to date.

use std::fs;
use std::path::Path;
use stroboscope_core::config;

/// How it is called.
pub const USAGE: &str = "gen [--check]";

/// Runs the task. The error is a sentence.
pub fn run(args: &[String]) -> Result<(), String> {
    let check = match args {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => return Err(format!("usage: {USAGE}")),
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("the workspace has no folder")?;
    generated("docs/settings.md", &config::document(), root, check)
}

fn generated(name: &str, content: &str, root: &Path, check: bool) -> Result<(), String> {
    let path = root.join(name);
    if !check {
        return fs::write(&path, content).map_err(|error| format!("{name}: {error}"));
    }
    match fs::read_to_string(&path) {
        Ok(found) if found == content => Ok(()),
        Ok(_) => Err(format!("{name} is out of date; run: cargo run -p xtask -- gen")),
        Err(error) => Err(format!("{name}: {error}")),
    }
}

//! `gen`: writes what is generated from the core and committed. Stands on neither walk; `check` fails where a file differs
//! from what this would write.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use stroboscope_core::config;
use stroboscope_core::record::layout;

/// How it is called.
pub const USAGE: &str = "gen                  writes the generated files anew";

/// A generated file, as a path from the root, with what makes it.
type Generated = (&'static str, fn() -> String);

const FILES: [Generated; 3] = [
    ("docs/settings.md", config::document),
    ("core/schema/record.json", layout::document),
    ("bindings-python/python/stroboscope/settings.py", python_settings),
];

/// The names of all settings for Python's type checkers, so that a misspelt one is seen before the program runs.
fn python_settings() -> String {
    let mut text = String::from(
        "\"\"\"The settings that `start` takes. Written by `cargo run -p xtask -- gen`; do not edit.\"\"\"\n\n\
         from collections.abc import Iterable, Mapping\n\
         from os import PathLike\n\
         from typing import TypedDict\n\n\
         Setting = str | int | float | PathLike[str] | Iterable[str] | Mapping[str, str] | None\n\
         \"\"\"A value; `None` leaves the setting to the environment and the default.\"\"\"\n\n\n\
         class Settings(TypedDict, total=False):\n    \
         \"\"\"By option name; see docs/settings.md.\"\"\"\n\n",
    );
    for row in config::ROWS {
        text.push_str("    ");
        text.push_str(row.option);
        text.push_str(": Setting\n");
    }
    text
}

/// Writes all generated files and prints their names.
pub fn run(_arguments: &[String]) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (file, make) in FILES {
        fs::write(root.join(file), make()).map_err(|error| format!("{file}: {error}"))?;
        writeln!(io::stdout(), "gen: {file}").map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Those that are not as they would be written.
pub fn stale(root: &Path) -> Vec<String> {
    let differs = |(file, make): &&Generated| fs::read_to_string(root.join(file)).ok() != Some(make());
    FILES.iter().filter(differs).map(|(file, _)| format!("{file}: run `cargo run -p xtask -- gen`")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_stale() {
        assert_eq!(stale(Path::new("/nowhere")).len(), FILES.len());
    }
}

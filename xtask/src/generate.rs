//! `gen`: writes what is generated from the core and committed. Stands on neither walk; `check` fails where a file differs
//! from what this would write.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use stroboscope_core::config;
use stroboscope_core::expr::eval::{self, Category, Kind};
use stroboscope_core::record::layout;
use stroboscope_core::stats;

/// How it is called.
pub const USAGE: &str = "gen                  writes the generated files anew";

/// A generated file, as a path from the root, with what makes it.
type Generated = (&'static str, fn() -> String);

const FILES: [Generated; 5] = [
    ("docs/settings.md", config::document),
    ("core/schema/record.json", layout::document),
    ("bindings-python/python/stroboscope/settings.py", python_settings),
    ("bindings-node/js/layout.cjs", node_layout),
    ("bindings-node/settings.d.cts", node_settings),
];

/// The constants of the record and of evaluations for Node's writer.
fn node_layout() -> String {
    let mut text = format!(
        "// The layout of the record, and the numbers that are the core's. Written by `cargo run -p xtask -- gen`; do not \
         edit.\n'use strict';\n\nmodule.exports = Object.freeze({{\n    VERSION: '{}',\n    LAYOUT: \
         {},\n",
        env!("CARGO_PKG_VERSION"),
        layout::LAYOUT_HASH,
    );
    let mut add = |name: &str, value: u64| text.extend(["    ", name, ": ", &value.to_string(), ",\n"]);
    for (name, value) in layout::CONSTANTS {
        add(name, u64::from(*value));
    }
    for (name, value) in layout::BOUNDS.iter().chain(eval::BOUNDS) {
        add(name, *value);
    }
    add("SAMPLE_EVERY", stats::SAMPLE_EVERY);
    let spelled = |name: &str| name.to_uppercase().replace(' ', "_");
    for (number, kind) in (0..).zip(Kind::all()) {
        add(&format!("KIND_{}", spelled(kind.name())), number);
    }
    for (number, category) in (0..).zip(Category::ALL) {
        add(&format!("FAILED_{}", spelled(category.name())), number);
    }
    text.push_str("});\n");
    text
}

/// The names of all settings for TypeScript, which writes them in camel case.
fn node_settings() -> String {
    let mut text = String::from(
        "// The settings that `start` takes. Written by `cargo run -p xtask -- gen`; do not edit.\n\n\
         /** A value; `undefined` and `null` leave the setting to the environment and the default. */\n\
         export type Setting = string | number | boolean | URL | readonly string[] | ReadonlySet<string> | Record<string, string> | null;\n\n\
         /** By option name; see docs/settings.md. */\nexport interface Settings {\n",
    );
    for row in config::ROWS {
        text.extend(["  ", &row.camel_case(), "?: Setting;\n"]);
    }
    text.push_str("}\n");
    text
}

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

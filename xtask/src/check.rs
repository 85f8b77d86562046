//! `check`: the rules of the house that neither the compiler nor a sentence can hold. Stands on neither walk; `make lint`
//! runs it. Each rule is a function from the tree to a list of complaints, so that each can be tested on a small tree.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::generate;

/// How it is called.
pub const USAGE: &str = "check                the rules of the house";

/// The page that leads through the code.
const PAGE: &str = "ARCHITECTURE.md";

/// The walks: the heading of the page, and the files below it in the order in which data meets them.
const WALKS: [(&str, &[&str]); 4] = [
    (
        "A configuration goes in",
        &[
            "core/src/config.rs",
            "core/src/control/file.rs",
            "core/src/sender/poll.rs",
            "core/src/control/remote/client.rs",
            "core/src/session/remote.rs",
            "core/src/probe/wire.rs",
            "core/src/probe/compile.rs",
            "core/src/expr/decode.rs",
            "core/src/expr/text.rs",
            "core/src/expr/template.rs",
            "core/src/expr/tree.rs",
            "core/src/expr/check.rs",
            "core/src/probe/model.rs",
            "core/src/probe/strict.rs",
            "core/src/registry.rs",
            "core/src/worker.rs",
            "core/src/probe/location.rs",
            "core/src/host.rs",
            "bindings-python/src/runtime/mod.rs",
            "bindings-python/src/runtime/hands.rs",
            "bindings-python/src/runtime/starts.rs",
            "bindings-python/src/discovery/mod.rs",
            "bindings-python/src/runtime/in_file.rs",
            "bindings-python/src/statements.rs",
            "bindings-python/src/runtime/place.rs",
            "core/src/emit/status.rs",
        ],
    ),
    (
        "A hit goes out",
        &[
            "bindings-python/src/hooks.rs",
            "bindings-python/src/guard.rs",
            "core/src/hit.rs",
            "core/src/hit/span.rs",
            "bindings-python/src/tracer.rs",
            "core/src/budget/gate.rs",
            "core/src/expr/eval.rs",
            "core/src/budget/throttle.rs",
            "bindings-python/src/frame.rs",
            "bindings-python/src/value.rs",
            "core/src/capture/walk.rs",
            "core/src/capture/redact.rs",
            "core/src/capture/strict.rs",
            "core/src/record/names.rs",
            "core/src/record/write.rs",
            "core/src/emit/ring.rs",
            "core/src/emit/meter.rs",
            "core/src/intake.rs",
            "core/src/worker.rs",
            "core/src/record/read.rs",
            "core/src/emit/output.rs",
            "core/src/emit/render.rs",
            "core/src/emit/message.rs",
            "core/src/emit/values.rs",
            "core/src/emit/prune.rs",
            "core/src/control/terminal.rs",
            "core/src/control/tally.rs",
            "core/src/control/ndjson.rs",
            "core/src/emit/batch.rs",
            "core/src/emit/span.rs",
            "core/src/sender.rs",
            "core/src/control/agent/input.rs",
            "core/src/control/agent/traces.rs",
            "core/src/emit/otlp.rs",
            "core/src/emit/statsd.rs",
            "core/src/datagrams.rs",
        ],
    ),
    (
        "In Node: a configuration goes in",
        &[
            "bindings-node/js/load.cjs",
            "bindings-node/src/modules.rs",
            "bindings-node/src/cache.rs",
            "bindings-node/rewriter/src/read.rs",
            "bindings-node/rewriter/src/guard.rs",
            "bindings-node/src/runtime.rs",
            "bindings-node/src/hands.rs",
            "bindings-node/src/placing.rs",
            "bindings-node/src/put.rs",
            "bindings-node/src/place.rs",
            "bindings-node/src/hit_code.rs",
            "bindings-node/src/program.rs",
            "bindings-node/rewriter/src/variant.rs",
            "bindings-node/src/realms.rs",
            "bindings-node/js/realm.cjs",
        ],
    ),
    (
        "In Node: a hit goes out",
        &[
            "bindings-node/js/hit.cjs",
            "bindings-node/js/helpers.cjs",
            "bindings-node/js/values.cjs",
            "bindings-node/js/names.cjs",
            "bindings-node/js/writer.cjs",
            "bindings-node/js/stack.cjs",
            "bindings-node/src/intake.rs",
        ],
    ),
];

/// What only certain files may do: the words that do it, and who may.
struct Reserved {
    words: &'static [&'static str],
    files: &'static [&'static str],
    what: &'static str,
}

const RESERVED: [Reserved; 3] = [
    Reserved {
        words: &["env::var", "env::vars", "env::remove_var", "env::set_var"],
        // The command of Node hands on what is meant for others, and no setting.
        files: &["core/src/config.rs", "bindings-node/src/command.rs"],
        what: "reads the environment",
    },
    Reserved {
        words: &["Instant::now", "SystemTime::now", "clock_gettime"],
        files: &["core/src/clock.rs"],
        what: "reads the time",
    },
    Reserved {
        words: &["thread::spawn", "thread::Builder"],
        // In a binding the hands, since the core's worker must not wait for the GIL, or while a module is read; and who waits
        // for signals.
        files: &[
            "core/src/worker.rs",
            "core/src/sender.rs",
            // Its thread lasts no longer than the look-up of a host's name.
            "core/src/datagrams.rs",
            "bindings-python/src/runtime/hands.rs",
            "core/process/src/signal.rs",
            "bindings-node/src/hands.rs",
            // The rewriter's lasts no longer than the call: it has the stack that a deep text needs.
            "bindings-node/rewriter/src/read.rs",
        ],
        what: "starts a thread",
    },
];

/// Where the rules hold: the core, and the Rust of each binding.
const ROOMS: [&str; 5] =
    ["core/src", "core/process/src", "bindings-python/src", "bindings-node/src", "bindings-node/rewriter/src"];

/// Runs all checks on the checkout that this was built from and prints what is wrong.
pub fn run(_arguments: &[String]) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (files, complaints) = look(&root).map_err(|error| format!("check: {error}"))?;
    if complaints.is_empty() {
        return writeln!(io::stdout(), "check: {files} files, no complaint").map_err(|error| error.to_string());
    }
    Err(format!("{}\ncheck: {files} files, {} complaints", complaints.join("\n"), complaints.len()))
}

fn look(root: &Path) -> io::Result<(usize, Vec<String>)> {
    let mut complaints = walks(root)?;
    complaints.extend(generate::stale(root));
    let files = rust_files(root)?;
    for file in &files {
        let text = fs::read_to_string(root.join(file))?;
        complaints.extend(reserved(file, &text));
        complaints.extend(introduction(file, &text));
    }
    Ok((files.len(), complaints))
}

/// The page names exactly the files of the walks, in their order, and each of them exists.
fn walks(root: &Path) -> io::Result<Vec<String>> {
    let page = fs::read_to_string(root.join(PAGE))?;
    let mut complaints = Vec::new();
    for (walk, files) in WALKS {
        let named = named_files(&page, walk);
        if named.is_empty() {
            complaints.push(format!("{PAGE}: no files below the heading '{walk}'"));
        }
        complaints.extend(order(walk, &named, files));
        let missing = named.iter().filter(|file| !root.join(file).is_file());
        complaints.extend(missing.map(|file| format!("{PAGE}: {file} does not exist")));
    }
    Ok(complaints)
}

/// The headings below `## walk` that are a file name, such as "### `core/src/hit.rs`".
fn named_files<'a>(page: &'a str, walk: &str) -> Vec<&'a str> {
    let from_heading = page.lines().skip_while(|line| line.strip_prefix("## ") != Some(walk)).skip(1);
    from_heading
        .take_while(|line| !line.starts_with("## "))
        .filter_map(|line| line.strip_prefix("### `")?.split('`').next())
        .collect()
}

/// The first place where the page and the walk part; later ones follow from it.
fn order(walk: &str, named: &[&str], files: &[&str]) -> Option<String> {
    let at = (0..named.len().max(files.len())).find(|&at| named.get(at) != files.get(at))?;
    Some(match (named.get(at), files.get(at)) {
        (Some(named), Some(file)) => format!("{PAGE}: '{walk}' names {named} where {file} comes"),
        (Some(named), None) => format!("{PAGE}: '{walk}' names {named} after its end"),
        (None, file) => format!("{PAGE}: '{walk}' does not name {}", file.unwrap_or(&"")),
    })
}

/// Words that only certain files may use, outside tests and comments; and a lint that is silenced for them elsewhere.
fn reserved(file: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in own_lines(text) {
        for rule in RESERVED.iter().filter(|rule| !rule.files.contains(&file)) {
            if rule.words.iter().any(|word| line.contains(word)) {
                complaints.push(format!("{file}:{number}: {}; only {} may", rule.what, rule.files.join(" and ")));
            }
        }
        let may_silence = RESERVED.iter().any(|rule| rule.files.contains(&file));
        if line.contains("clippy::disallowed_methods") && !may_silence {
            complaints
                .push(format!("{file}:{number}: silences the lint that keeps clocks, threads and settings in place"));
        }
    }
    complaints
}

/// The lines of the code itself: no comments, and nothing from the tests at a file's end.
fn own_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(index, line)| (index + 1, line))
}

/// Each file begins with a sentence on what it is for.
fn introduction(file: &str, text: &str) -> Option<String> {
    let begins = text.starts_with("//! ") || text.starts_with("#![");
    (!begins).then(|| format!("{file}:1: has no module comment"))
}

/// All Rust files of the rooms, as paths from the root, sorted.
fn rust_files(root: &Path) -> io::Result<Vec<String>> {
    let mut folders: Vec<PathBuf> = ROOMS.iter().map(|room| root.join(room)).filter(|room| room.is_dir()).collect();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(root).map_err(io::Error::other)?;
                files.push(inside.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: &str = "# Page\n\n## One\n\n### `a.rs`\n\ntext\n\n### `b.rs`\n\n## Two\n\n### `c.rs`\n";

    #[test]
    fn headings_belong_to_their_walk() {
        assert_eq!(named_files(SMALL, "One"), ["a.rs", "b.rs"]);
        assert_eq!(named_files(SMALL, "Two"), ["c.rs"]);
        assert!(named_files(SMALL, "Three").is_empty());
    }

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(order("One", &["a.rs", "b.rs"], &["a.rs", "b.rs"]), None);
        let swapped = order("One", &["b.rs", "a.rs"], &["a.rs", "b.rs"]);
        assert_eq!(swapped.as_deref(), Some("ARCHITECTURE.md: 'One' names b.rs where a.rs comes"));
        let short = order("One", &["a.rs"], &["a.rs", "b.rs"]);
        assert_eq!(short.as_deref(), Some("ARCHITECTURE.md: 'One' does not name b.rs"));
        let long = order("One", &["a.rs", "b.rs"], &["a.rs"]);
        assert_eq!(long.as_deref(), Some("ARCHITECTURE.md: 'One' names b.rs after its end"));
    }

    #[test]
    fn reserved_words_are_found_where_they_do_not_belong() {
        let text = "//! Instant::now\nlet a = Instant::now();\n// env::var\nstd::thread::spawn(f);\n";
        let found = reserved("core/src/hit.rs", text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("core/src/hit.rs:2: reads the time"), "{found:?}");
        assert!(found[1].starts_with("core/src/hit.rs:4: starts a thread"), "{found:?}");
    }

    #[test]
    fn owners_and_tests_may() {
        assert!(reserved("core/src/clock.rs", "Instant::now()").is_empty());
        assert_eq!(reserved("core/src/clock.rs", "std::env::var(\"X\")").len(), 1);
        assert!(reserved("core/src/hit.rs", "fn f() {}\n#[cfg(test)]\nmod tests { Instant::now() }").is_empty());
    }

    #[test]
    fn a_silenced_lint_is_found() {
        let text = "#[allow(\n    clippy::disallowed_methods,\n    reason = \"\"\n)]";
        assert_eq!(reserved("core/src/hit.rs", text).len(), 1);
        assert!(reserved("core/src/sender.rs", text).is_empty());
    }

    #[test]
    fn a_file_without_introduction_is_found() {
        assert_eq!(introduction("a.rs", "use b;").as_deref(), Some("a.rs:1: has no module comment"));
        assert_eq!(introduction("a.rs", "//! What it is for.\n"), None);
    }

    #[test]
    fn this_checkout_holds_the_rules() {
        let (files, complaints) = look(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        assert!(files > 50, "only {files} files were looked at");
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

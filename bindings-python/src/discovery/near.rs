//! The files that come nearest to one that is not there: by their names, among those that are loaded and those that an
//! import would find. Stands on the configuration's walk, beside [`super::which_file`].

use super::index::loaded_files;
use super::paths::folders;
use super::without_gil;
use pyo3::prelude::*;
use std::path::{Path, PathBuf};
use stroboscope_core::probe::location::{SourcePath, nearest_names};

/// Entries of one folder that are looked at.
const MAX_ENTRIES: usize = 20_000;
/// Folders that are looked into on the way to one name.
const MAX_FOLDERS: usize = 200;

/// The files that are like a probe's source file, best first, each by the end of its path.
pub fn files_near(py: Python<'_>, source_file: &str) -> Vec<String> {
    let (folders, loaded) = (folders(py), loaded_files());
    without_gil(py, || near(&folders, &loaded, source_file))
}

fn near(folders: &[String], loaded: &[String], source_file: &str) -> Vec<String> {
    let wanted = SourcePath::new(source_file).text();
    let all: Vec<&str> = wanted.split('/').filter(|part| !part.is_empty()).collect();
    // What is above the folders of `sys.path` is unknown: one leading folder after the other is left away. A bare name of a
    // longer path says too little.
    for from in 0..all.len().saturating_sub(1).clamp(1, 20) {
        let parts = all.get(from..).unwrap_or_default();
        let Some((name, above)) = parts.split_last() else { break };
        // Without `.py` it is no file's name, and the same with it is the nearest there can be.
        let (stem, is_file) = name.strip_suffix(".py").map_or((*name, false), |stem| (stem, true));
        let stems: Vec<&str> = above.iter().copied().chain([stem]).collect();
        let found = walk(folders, &stems).into_iter().map(|names| names.join("/"));
        let found: Vec<String> = found.chain(loaded.iter().filter_map(|file| ending(file, stems.len()))).collect();
        let path = stems.join("/");
        let near = nearest_names(&path, found.iter().map(String::as_str).filter(|name| !is_file || **name != *path));
        if !near.is_empty() {
            return near.into_iter().map(|name| format!("{name}.py")).collect();
        }
    }
    Vec::new()
}

/// The last components of a file, without `.py`.
fn ending(file: &str, count: usize) -> Option<String> {
    let parts: Vec<&str> = file.strip_suffix(".py")?.split('/').collect();
    parts.len().checked_sub(count).and_then(|from| parts.get(from..)).map(|parts| parts.join("/"))
}

/// The names below folders that lead to a file that is like these parts, each like its own.
fn walk(folders: &[String], parts: &[&str]) -> Vec<Vec<String>> {
    let mut reached: Vec<(Vec<String>, Vec<PathBuf>)> = vec![(Vec::new(), folders.iter().map(PathBuf::from).collect())];
    let mut left = MAX_FOLDERS;
    for (at, part) in parts.iter().enumerate() {
        let is_last = at + 1 == parts.len();
        let mut next = Vec::new();
        for (names, places) in reached {
            let places = places.get(..places.len().min(left)).unwrap_or_default();
            left -= places.len();
            let there: Vec<String> = places.iter().flat_map(|place| entries(place, is_last)).collect();
            let exact = there.iter().map(String::as_str).find(|name| name == part);
            let near = nearest_names(part, there.iter().map(String::as_str).filter(|name| name != part));
            for name in exact.into_iter().chain(near) {
                let below = places.iter().map(|place| place.join(name)).filter(|place| is_last || place.is_dir());
                next.push(([&*names, &[name.to_owned()]].concat(), below.collect()));
            }
        }
        reached = next;
    }
    reached.into_iter().map(|(names, _)| names).collect()
}

/// The names of folders in a folder; of Python files without `.py`, if these are wanted.
fn entries(folder: &Path, files: bool) -> Vec<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let name = |entry: std::fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        if files {
            return name.strip_suffix(".py").map(str::to_owned);
        }
        Some(name).filter(|name| !name.contains('.') && name != "__pycache__" && entry.path().is_dir())
    };
    entries.take(MAX_ENTRIES).filter_map(Result::ok).filter_map(name).collect()
}

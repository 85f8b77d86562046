//! Gives the crate a fingerprint of its own sources: what another rewriter has kept of a module is of no use to this one.

use std::hash::{DefaultHasher, Hasher};
use std::path::PathBuf;
use std::{fs, io};

fn main() -> io::Result<()> {
    let sources: io::Result<Vec<PathBuf>> = fs::read_dir("src")?.map(|entry| Ok(entry?.path())).collect();
    let mut sources = sources?;
    sources.sort();
    // The parser's version stands there.
    sources.push(PathBuf::from("Cargo.toml"));
    let mut hash = DefaultHasher::new();
    for source in sources {
        hash.write(&fs::read(source)?);
    }
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=Cargo.toml");
    println!("cargo:rustc-env=STROBOSCOPE_REWRITER={:016x}", hash.finish());
    Ok(())
}

//! The files that a module was compiled of: its source map, and where they are. On the walk of a configuration going in, asked
//! by [`crate::units`]; the names of frames come here too. A map is read off the threads of the program, unless it is small.

use std::fs;
use std::path::{Path, PathBuf};
use stroboscope_core::probe::location::SourcePath;
use stroboscope_rewriter::{MapComment, Original, SourceMap};

/// A map, and a text with one in it, that takes so little time that a realm may read it as a module is loaded.
const SMALL: u64 = 256 << 10;
/// A map that is larger is left alone.
const LARGEST: u64 = 512 << 20;

/// What a module was compiled of.
pub struct Origins {
    /// The way from the module's text to its originals.
    pub map: SourceMap,
    /// Where the originals are or were, in the map's order.
    pub sources: Vec<String>,
}

impl Origins {
    /// A place of the module in its original: file, line and column. Lines and columns from 1.
    pub fn place(&self, line: u32, column: u32) -> Option<(&str, u32, u32)> {
        self.told(self.map.original(line, column.saturating_sub(1))?, column)
    }

    /// The same; of one that comes from no original the nearest that does.
    pub fn nearest(&self, line: u32, column: u32) -> Option<(&str, u32, u32)> {
        self.told(self.map.nearest(line, column.saturating_sub(1))?, column)
    }

    fn told(&self, found: Original, column: u32) -> Option<(&str, u32, u32)> {
        let column = if column == 0 { 0 } else { found.column + 1 };
        Some((self.sources.get(found.source)?, found.line, column))
    }
}

/// Reads what a module says of its originals. `Ok(None)`: nothing.
pub fn read(path: &str, text: &str) -> Result<Option<Origins>, String> {
    let Some(comment) = MapComment::of(text) else { return Ok(None) };
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    let (json, folder) = match comment {
        MapComment::Inline(json) => (json, folder.to_owned()),
        MapComment::At(url) => {
            let Some(file) = file_of(&url, folder) else { return Ok(None) };
            let cannot = |why: String| format!("its source map {} cannot be read: {why}", file.display());
            let data = fs::metadata(&file).map_err(|error| cannot(error.to_string()))?;
            // A pipe may never end, or never begin.
            if !data.is_file() {
                return Err(cannot("it is no regular file".to_owned()));
            }
            let size = data.len();
            if size > LARGEST {
                return Err(cannot(format!("it has {size} bytes, and {LARGEST} is the most")));
            }
            let json = fs::read_to_string(&file).map_err(|error| cannot(error.to_string()))?;
            (json, file.parent().unwrap_or(folder).to_owned())
        }
    };
    let map = SourceMap::read(&json).map_err(|error| error.to_string())?;
    let sources = map.sources().iter().map(|name| resolved(name, &folder)).collect();
    Ok(Some(Origins { map, sources }))
}

/// The originals of modules that a bundle holds as texts and evaluates one by one, as bundlers have it in development.
pub fn evaluated(path: &str, text: &str) -> Vec<String> {
    /// How the name of such a module begins: at the end of a text in quotes.
    const NOTE: &str = "\\n//# sourceURL=webpack";
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    let named = text.match_indices(NOTE).filter_map(|(at, _)| {
        let (_, name) = text[at + NOTE.len()..].split_once("://")?;
        let name = name.split(['?', '\\', '"', '\'']).next()?;
        Some(resolved(&format!("webpack://{}", name.trim_start_matches('/')), folder))
    });
    named.collect()
}

/// True if reading what a module says takes next to no time.
pub fn is_small(path: &str, text: &str) -> bool {
    if text.len() as u64 > SMALL {
        return false;
    }
    let Some(MapComment::At(url)) = MapComment::of(text) else { return true };
    let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
    let size = file_of(&url, folder).and_then(|file| fs::metadata(file).ok()).map_or(0, |data| data.len());
    size <= SMALL
}

/// The file of a map; nothing for one on another machine.
fn file_of(url: &str, folder: &Path) -> Option<PathBuf> {
    if url.starts_with("file://") {
        return Some(PathBuf::from(SourcePath::new(url).text()));
    }
    if url.contains("://") {
        return None;
    }
    // It is a URL below that of the module: a name may be written with percent signs.
    let plain = folder.join(url);
    if plain.exists() || !url.contains('%') {
        return Some(plain);
    }
    Some(PathBuf::from(SourcePath::new(&format!("file://{}/{url}", folder.display())).text()))
}

/// Where an original is. Of one that a bundler names by the project's folder that folder is found, if it is around the module.
fn resolved(name: &str, folder: &Path) -> String {
    if !name.contains("://") {
        return SourcePath::new(&folder.join(name).to_string_lossy()).text();
    }
    let path = SourcePath::new(name).text();
    if path.starts_with('/') {
        return path;
    }
    let around = folder.ancestors().map(|folder| folder.join(&path)).find(|file| file.is_file());
    around.map_or(path, |file| file.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::{evaluated, resolved};
    use std::path::Path;

    #[test]
    fn modules_that_a_bundle_evaluates_are_known_by_their_names() {
        let text = [
            r#"eval("{f()\n\n//# sourceURL=webpack:///./no/cart.ts?\n}");"#,
            r#"eval("\n//# sourceURL=[module]\n//# sourceMappingURL=data:,\n//# sourceURL=webpack-internal:///./no/price.ts\n");"#,
            r#"eval("f()\n//# sourceURL=webpack://shop/./no/shop.ts?1a2b")"#,
        ];
        let text = text.concat();
        assert_eq!(evaluated("/srv/dist/main.js", &text), ["no/cart.ts", "no/price.ts", "no/shop.ts"]);
        assert!(evaluated("/srv/main.js", "f()\n//# sourceURL=webpack:///./cart.ts").is_empty());
    }

    #[test]
    fn sources_are_found_from_the_map() {
        let folder = Path::new("/srv/shop/dist");
        assert_eq!(resolved("../src/cart.ts", folder), "/srv/shop/src/cart.ts");
        assert_eq!(resolved("file:///srv/a%20b.ts", folder), "/srv/a b.ts");
        assert_eq!(resolved("/srv/other.ts", folder), "/srv/other.ts");
        assert_eq!(resolved("webpack://shop/./no/such.ts", folder), "no/such.ts");
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = resolved("webpack://node/./src/origins.rs", &here.join("dist/deep"));
        assert_eq!(Path::new(&found), here.join("src/origins.rs"));
    }
}

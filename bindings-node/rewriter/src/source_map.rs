//! Source maps: from a place in a compiled file to the place in the file it was made of, and back. Read off the program's
//! threads; what is kept is flat.

use crate::read::{Module, Statement, Unreadable};
use serde::Deserialize;
use std::iter::Peekable;
use std::ops::Range;

/// Where a file says that its source map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapComment {
    /// In the file itself: the JSON of the map.
    Inline(String),
    /// At this address, relative to the file.
    At(String),
}

/// A place in an original file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Original {
    /// Which file, by its place in [`SourceMap::sources`].
    pub source: usize,
    /// The line, from 1.
    pub line: u32,
    /// The column, from 0, in UTF-16 units.
    pub column: u32,
}

/// A function of a compiled file, in lines of an original one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Its number in the module.
    pub function: usize,
    /// Which file, by its place in [`SourceMap::sources`].
    pub source: usize,
    /// Its first line there.
    pub first: u32,
    /// Its last line there.
    pub last: u32,
    /// Its statements there.
    pub statements: Vec<Statement>,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    column: u32,
    /// [`UNMAPPED`] where the text comes from no file.
    source: u32,
    old_line: u32,
    old_column: u32,
}

const UNMAPPED: u32 = u32::MAX;

impl Mapping {
    fn original(&self) -> Option<Original> {
        let place = Original { source: self.source as usize, line: self.old_line, column: self.old_column };
        (self.source != UNMAPPED).then_some(place)
    }
}

/// A source map.
#[derive(Debug, Default)]
pub struct SourceMap {
    sources: Vec<String>,
    /// In the order of the compiled file.
    mappings: Vec<Mapping>,
    /// Where the mappings of each line of the compiled file begin.
    lines: Vec<u32>,
}

/// The JSON of a map, or of a section of one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    #[serde(default)]
    source_root: Option<String>,
    #[serde(default)]
    sources: Option<Vec<Option<String>>>,
    #[serde(default)]
    mappings: Option<String>,
    #[serde(default)]
    sections: Option<Vec<Section>>,
}

#[derive(Deserialize)]
struct Section {
    offset: Offset,
    map: Json,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Offset {
    line: u32,
    column: u32,
}

impl SourceMap {
    /// Reads the JSON of a map; maps with sections too.
    pub fn read(json: &str) -> Result<SourceMap, Unreadable> {
        // Some servers put this in front, so that no page can run it.
        let json = json.strip_prefix(")]}'").map_or(json, |rest| rest.trim_start_matches(|c| c != '\n'));
        let whole: Json =
            serde_json::from_str(json).map_err(|error| wrong(&format!("it is not JSON of a map: {error}")))?;
        let mut map = SourceMap::default();
        match whole.sections {
            None => map.add(whole, Offset::default())?,
            Some(sections) => {
                for Section { offset, map: section } in sections {
                    map.add(section, offset)?;
                }
            }
        }
        map.sort();
        Ok(map)
    }

    /// The names of the original files, as the map has them, below its root.
    pub fn sources(&self) -> &[String] {
        &self.sources
    }

    /// The original of a place in the compiled file: lines from 1, columns from 0.
    pub fn original(&self, line: u32, column: u32) -> Option<Original> {
        let line = self.of_line(line as usize - usize::from(line > 0));
        let after = line.partition_point(|mapping| mapping.column <= column);
        line.get(after.checked_sub(1)?)?.original()
    }

    /// The original of the place that is nearest: of one that comes from no file what stands before it, or after it at the beginning.
    pub fn nearest(&self, line: u32, column: u32) -> Option<Original> {
        let range = self.range(line as usize - usize::from(line > 0));
        let of_line = self.mappings.get(range.clone()).unwrap_or_default();
        let at = range.start + of_line.partition_point(|mapping| mapping.column <= column);
        let (before, after) = self.mappings.split_at_checked(at)?;
        before.iter().rev().chain(after).find_map(Mapping::original)
    }

    fn range(&self, line: usize) -> Range<usize> {
        let start = |line: usize| self.lines.get(line).map_or(self.mappings.len(), |&start| start as usize);
        start(line)..start(line + 1)
    }

    /// The mappings of a line, from 0.
    fn of_line(&self, line: usize) -> &[Mapping] {
        self.mappings.get(self.range(line)).unwrap_or_default()
    }

    /// Some tools write the mappings of a line in another order.
    fn sort(&mut self) {
        for line in 0..self.lines.len() {
            let range = self.range(line);
            let Some(mappings) = self.mappings.get_mut(range) else { continue };
            if !mappings.is_sorted_by_key(|mapping| mapping.column) {
                mappings.sort_by_key(|mapping| mapping.column);
            }
        }
    }

    fn add(&mut self, map: Json, offset: Offset) -> Result<(), Unreadable> {
        let root = map.source_root.unwrap_or_default();
        let slash = if root.is_empty() || root.ends_with('/') { "" } else { "/" };
        let first = self.sources.len() as u32;
        let sources = map.sources.ok_or_else(|| wrong("it names no sources"))?;
        let count = sources.len() as u32;
        // A source without a name keeps its place.
        self.sources.extend(sources.into_iter().map(|name| {
            let name = name.unwrap_or_default();
            let whole = name.contains("://") || name.starts_with('/');
            if whole { name } else { format!("{root}{slash}{name}") }
        }));
        let text = map.mappings.ok_or_else(|| wrong("it has no mappings"))?;
        self.decode(&text, offset, first, count)
    }

    fn decode(&mut self, text: &str, offset: Offset, first: u32, count: u32) -> Result<(), Unreadable> {
        let mut line = offset.line as usize;
        let mut column = offset.column;
        // Source, line and column go on from one segment to the next, also over lines.
        let mut running = [0_i64; 3];
        let mut bytes = text.as_bytes().iter().copied().peekable();
        self.begin_line(line)?;
        while let Some(&byte) = bytes.peek() {
            match byte {
                b';' => {
                    line += 1;
                    column = 0;
                    self.begin_line(line)?;
                }
                b',' => {}
                _ => {
                    let (fields, length) = segment(&mut bytes).ok_or_else(|| wrong("its mappings are damaged"))?;
                    column =
                        column.checked_add_signed(fields[0] as i32).ok_or_else(|| wrong("a column is below zero"))?;
                    let mut source = UNMAPPED;
                    if length >= 4 {
                        for (total, field) in running.iter_mut().zip(&fields[1..4]) {
                            *total += field;
                        }
                        let known = u32::try_from(running[0]).ok().filter(|source| *source < count);
                        source = first + known.ok_or_else(|| wrong("it maps to a source that it does not name"))?;
                    }
                    let [_, old_line, old_column] = running.map(|value| u32::try_from(value).unwrap_or(0));
                    self.mappings.push(Mapping { column, source, old_line: old_line.saturating_add(1), old_column });
                    continue;
                }
            }
            bytes.next();
        }
        Ok(())
    }

    /// What comes from now on belongs to a line. One that is under way goes on.
    fn begin_line(&mut self, line: usize) -> Result<(), Unreadable> {
        if line + 1 < self.lines.len() {
            return Err(wrong("its sections are out of order"));
        }
        if line >= MOST_LINES {
            return Err(wrong("it has too many lines"));
        }
        self.lines.resize(line + 1, self.mappings.len() as u32);
        Ok(())
    }
}

/// A compiled file with more lines is none.
const MOST_LINES: usize = 1 << 26;

impl MapComment {
    /// Finds what a file says about its source map: the last such comment counts.
    pub fn of(text: &str) -> Option<MapComment> {
        const MARK: &str = "sourceMappingURL=";
        // Most texts have none, and all of one is soon looked through from its beginning.
        memchr::memmem::find(text.as_bytes(), MARK.as_bytes())?;
        let at = text.rfind(MARK)?;
        let before = text.get(..at)?;
        if !before.ends_with("//# ") && !before.ends_with("//@ ") && !before.ends_with("/*# ") {
            return None;
        }
        let url = text.get(at + MARK.len()..)?.split(|c: char| c.is_whitespace() || c == '*').next()?;
        let Some(data) = url.strip_prefix("data:") else { return Some(MapComment::At(url.to_owned())) };
        let (head, body) = data.split_once(',')?;
        let bytes = if head.ends_with(";base64") { base64(body)? } else { percent(body) };
        String::from_utf8(bytes).ok().map(MapComment::Inline)
    }
}

impl Module {
    /// The statements outside of functions of this compiled module, in lines of an original file.
    pub fn top_level_through(&self, map: &SourceMap, source: usize) -> Vec<Statement> {
        let one = |statement: &Statement| {
            let at = self.sites.get(statement.site as usize)?.at;
            let found = map.original(self.lines.line(at), self.lines.column(&self.text, at))?;
            (found.source == source).then_some(Statement { line: found.line, end: found.line, site: statement.site })
        };
        self.top_level.iter().filter_map(one).collect()
    }

    /// The functions of this compiled module in lines of the original files. Statements that come from no file, or from
    /// another than their function, are left out.
    pub fn through(&self, map: &SourceMap) -> Vec<Mapped> {
        let place = |at: u32| map.original(self.lines.line(at), self.lines.column(&self.text, at));
        let one = |(number, function): (usize, &crate::Function)| {
            let first = place(function.start)?;
            let same = |original: &Original| original.source == first.source;
            let statement = |statement: &Statement| {
                let at = self.sites.get(statement.site as usize)?.at;
                let line = place(at).filter(same)?.line;
                // The end is that of the statement in the compiled file, as far as the map tells.
                let end =
                    self.lines.start(statement.end + 1).and_then(|next| place(next.saturating_sub(1))).filter(same);
                let end = end.map_or(line, |end| end.line.clamp(line, line + (statement.end - statement.line)));
                Some(Statement { line, end, site: statement.site })
            };
            let mut statements: Vec<Statement> = function.statements.iter().filter_map(statement).collect();
            statements.sort_unstable_by_key(|statement| (statement.line, statement.site));
            let last = place(function.body.1).filter(same).map_or(first.line, |last| last.line);
            let lines = statements.iter().map(|statement| statement.line);
            let last = lines.chain([last]).max().unwrap_or(last);
            Some(Mapped { function: number, source: first.source, first: first.line, last, statements })
        };
        self.functions.iter().enumerate().filter_map(one).collect()
    }
}

fn wrong(what: &str) -> Unreadable {
    Unreadable::new(format!("the source map cannot be read: {what}"), 0)
}

/// The numbers of a segment, and how many there are.
fn segment(bytes: &mut Peekable<impl Iterator<Item = u8>>) -> Option<([i64; 5], usize)> {
    let mut fields = [0_i64; 5];
    let mut length = 0;
    let (mut value, mut shift) = (0_i64, 0_u32);
    while let Some(byte) = bytes.next_if(|byte| !matches!(byte, b',' | b';')) {
        let digit = i64::from(digit(byte)?);
        if shift > 30 {
            return None;
        }
        value |= (digit & 31) << shift;
        if digit & 32 != 0 {
            shift += 5;
            continue;
        }
        *fields.get_mut(length)? = if value & 1 == 1 { -(value >> 1) } else { value >> 1 };
        length += 1;
        (value, shift) = (0, 0);
    }
    (shift == 0 && length > 0).then_some((fields, length))
}

/// What a character of base 64 stands for.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        bits = bits << 6 | u32::from(digit(byte)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Some(bytes)
}

fn percent(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let hex = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%'
            && let (Some(high), Some(low)) = (hex(at + 1), hex(at + 2))
        {
            out.push((high * 16 + low) as u8);
            at += 3;
            continue;
        }
        out.push(byte);
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{MapComment, Original, SourceMap};
    use crate::{Module, SourceKind};

    /// What esbuild makes of `a.ts`: a type on line 1, `function add (a: number) {` on line 3, `return a + 1` on line 4.
    const MAP: &str = r#"{"version":3,"sources":["a.ts"],"sourceRoot":"src","names":[],"mappings":"AAEA,SAAS,IAAK,GAAW;AACvB,SAAO,IAAI;AACb;"}"#;
    const CODE: &str = "function add(a) {\n  return a + 1;\n}\n";

    #[test]
    fn places_go_both_ways() {
        let map = SourceMap::read(MAP).expect("a map");
        assert_eq!(map.sources(), ["src/a.ts"]);
        assert_eq!(map.original(2, 2), Some(Original { source: 0, line: 4, column: 2 }));
        assert_eq!(map.original(1, 11), Some(Original { source: 0, line: 3, column: 9 }));
        assert_eq!(map.original(9, 0), None);
    }

    /// Only the third line comes from an original, from its thirtieth.
    #[test]
    fn what_comes_from_nowhere_has_a_nearest_place() {
        let map =
            SourceMap::read(r#"{"version":3,"sources":["a.ts"],"names":[],"mappings":";;AA6BA"}"#).expect("a map");
        let place = Some(Original { source: 0, line: 30, column: 0 });
        assert_eq!(map.original(1, 4), None);
        for (line, column) in [(0, 0), (1, 4), (3, 0), (3, 9), (4, 0), (9, 9)] {
            assert_eq!(map.nearest(line, column), place, "{line}:{column}");
        }
        let empty = SourceMap::read(r#"{"version":3,"sources":["a.ts"],"names":[],"mappings":";A"}"#).expect("a map");
        assert_eq!(empty.nearest(2, 0), None);
    }

    #[test]
    fn functions_are_found_in_original_lines() {
        let map = SourceMap::read(MAP).expect("a map");
        let module = Module::read(CODE, SourceKind::CommonJs).expect("a module");
        let mapped = module.through(&map);
        assert_eq!((mapped[0].first, mapped[0].last, mapped[0].statements[0].line), (3, 5, 4));
    }

    #[test]
    fn sections_are_put_together() {
        let map = format!(r#"{{"version":3,"sections":[{{"offset":{{"line":10,"column":0}},"map":{MAP}}}]}}"#);
        let map = SourceMap::read(&map).expect("a map");
        assert_eq!(map.original(12, 2).map(|original| original.line), Some(4));
    }

    #[test]
    fn damaged_maps_are_refused() {
        for map in [
            "",
            "[]",
            "{}",
            r#"{"sources":[],"mappings":"!"}"#,
            r#"{"sources":[],"mappings":"AAAA"}"#,
            r#"{"sources":["a"],"mappings":"D"}"#,
            r#"{"sources":["a"],"mappings":"gggggggggggggggggg"}"#,
        ] {
            assert!(SourceMap::read(map).is_err(), "{map}");
        }
    }

    #[test]
    fn comments_say_where_the_map_is() {
        let inline = "x\n//# sourceMappingURL=data:application/json;base64,eyJhIjoxfQ==\n";
        assert_eq!(MapComment::of(inline), Some(MapComment::Inline(r#"{"a":1}"#.to_owned())));
        let percent = "//# sourceMappingURL=data:application/json,%7B%22a%22:1%7D";
        assert_eq!(MapComment::of(percent), Some(MapComment::Inline(r#"{"a":1}"#.to_owned())));
        assert_eq!(MapComment::of("/*# sourceMappingURL=a.js.map */"), Some(MapComment::At("a.js.map".to_owned())));
        assert_eq!(MapComment::of("const s = 'sourceMappingURL=x'"), None);
    }
}

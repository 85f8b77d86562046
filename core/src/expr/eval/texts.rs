//! Searching in texts, whatever their storage. It stands on the walk of a hit, below [`super`]. Code points are compared,
//! a lone surrogate is one; only `matches` sees U+FFFD in its place, since the engine reads UTF-8.

use super::budget::{MAX_MATCHED, Scratch};
use super::failure::{Failure, Limit};
use crate::text::Text;
use regex::Regex;

/// The size of a text in the host's units, without counting code points.
#[inline]
pub(super) fn size(text: Text<'_>) -> usize {
    match text {
        Text::Utf8(text) => text.len(),
        Text::Latin1(units) => units.len(),
        Text::Ucs2(units) | Text::Utf16(units) => units.len(),
        Text::Ucs4(units) => units.len(),
    }
}

/// The text as UTF-8, if it is stored so.
#[inline]
fn utf8(text: Text<'_>) -> Option<&str> {
    match text {
        Text::Utf8(text) => Some(text),
        Text::Latin1(units) if units.is_ascii() => std::str::from_utf8(units).ok(),
        _ => None,
    }
}

pub(super) fn contains(text: Text<'_>, part: Text<'_>) -> bool {
    if let (Some(text), Some(part)) = (utf8(text), utf8(part)) {
        return text.contains(part);
    }
    let part: Vec<u32> = part.code_points().collect();
    let fallback = fallbacks(&part);
    let mut matched = 0;
    if part.is_empty() {
        return true;
    }
    for point in text.code_points() {
        while matched > 0 && part.get(matched) != Some(&point) {
            matched = fallback.get(matched - 1).copied().unwrap_or(0);
        }
        if part.get(matched) == Some(&point) {
            matched += 1;
        }
        if matched == part.len() {
            return true;
        }
    }
    false
}

/// For each position the length of the longest proper beginning of the part that ends there (Knuth, Morris, Pratt): the
/// search is linear whatever the texts are.
fn fallbacks(part: &[u32]) -> Vec<usize> {
    let mut table = vec![0; part.len()];
    let mut length: usize = 0;
    for (index, point) in part.iter().enumerate().skip(1) {
        while length > 0 && part.get(length) != Some(point) {
            length = table.get(length - 1).copied().unwrap_or(0);
        }
        if part.get(length) == Some(point) {
            length += 1;
        }
        if let Some(slot) = table.get_mut(index) {
            *slot = length;
        }
    }
    table
}

pub(super) fn starts_with(text: Text<'_>, part: Text<'_>) -> bool {
    if let (Text::Utf8(text), Text::Utf8(part)) = (text, part) {
        return text.starts_with(part);
    }
    let mut points = text.code_points();
    part.code_points().all(|point| points.next() == Some(point))
}

pub(super) fn ends_with(text: Text<'_>, part: Text<'_>) -> bool {
    if let (Text::Utf8(text), Text::Utf8(part)) = (text, part) {
        return text.ends_with(part);
    }
    let (len, part_len) = (text.len(), part.len());
    len >= part_len && text.code_points().skip(len - part_len).eq(part.code_points())
}

/// Runs the engine on a text; one that is not UTF-8 is converted into reused memory.
pub(super) fn search(regex: &Regex, text: Text<'_>, memory: &mut String) -> Result<bool, Failure> {
    let limit = Failure::Limit(Limit::MatchedText);
    if size(text) > MAX_MATCHED {
        return Err(limit);
    }
    if let Some(text) = utf8(text) {
        return Ok(regex.is_match(text));
    }
    memory.clear();
    text.push_to(memory);
    if memory.len() > MAX_MATCHED {
        return Err(limit);
    }
    let found = regex.is_match(memory);
    if memory.capacity() > MAX_KEPT {
        *memory = String::new();
    }
    Ok(found)
}

/// Memory for a converted text that is kept for the next one.
const MAX_KEPT: usize = 64 << 10;

/// `matches` for hosts that run a program of [`crate::expr::target`]: the engine is always the core's.
pub fn matches_text(scratch: &mut Scratch, text: Text<'_>, pattern: Text<'_>) -> Result<bool, Failure> {
    let mut memory = std::mem::take(&mut scratch.text);
    let outcome = match scratch.pattern(pattern) {
        Ok(regex) => search(regex, text, &mut memory),
        Err(reason) => Err(Failure::Regex(*reason)),
    };
    scratch.text = memory;
    outcome
}

#[cfg(test)]
mod tests {
    use super::{contains, ends_with, starts_with};
    use crate::text::Text;

    #[test]
    fn parts_are_found_in_every_storage() {
        let wide = Text::Ucs2(&[0x61, 0x61, 0x62, 0xD800, 0x61]);
        assert!(contains(wide, Text::Utf8("aab")));
        assert!(contains(wide, Text::Utf8("ab")));
        assert!(contains(wide, Text::Utf16(&[0xD800, 0x61])));
        assert!(contains(wide, Text::Utf8("")));
        assert!(!contains(wide, Text::Utf8("\u{FFFD}")));
        assert!(!contains(wide, Text::Utf8("aaa")));
        assert!(starts_with(wide, Text::Latin1(b"aa")) && !starts_with(wide, Text::Latin1(b"ab")));
        assert!(ends_with(wide, Text::Ucs4(&[0xD800, 0x61])) && !ends_with(wide, Text::Latin1(b"b")));
        assert!(!ends_with(Text::Latin1(b"a"), Text::Latin1(b"aa")));
    }
}

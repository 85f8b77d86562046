//! Searching in texts, whatever their storage. It stands on the walk of a hit, below [`super`]. Code points are compared,
//! a lone surrogate is one; only `matches` sees U+FFFD in its place, since the engine reads UTF-8.

use super::budget::{Budget, MAX_MATCHED, Scratch};
use super::failure::{Failure, Limit};
use crate::text::Text;
use regex::Regex;
use std::cmp::Ordering;

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

/// Bytes, or code points, of a text between two looks at the time that is left.
const A_LOOK: usize = 128 << 10;

/// Searches a part. A long text is searched piece by piece, so that the time is kept.
pub(super) fn contains(text: Text<'_>, part: Text<'_>, budget: &mut Budget<'_>) -> Result<bool, Failure> {
    if size(text) <= A_LOOK {
        budget.charge(size(text))?;
    }
    if let (Some(text), Some(part)) = (utf8(text), utf8(part)) {
        return contains_utf8(text, part, budget);
    }
    let part: Vec<u32> = part.code_points().collect();
    let fallback = fallbacks(&part);
    let mut matched = 0;
    if part.is_empty() {
        return Ok(true);
    }
    for (at, point) in text.code_points().enumerate() {
        if (at + 1).is_multiple_of(A_LOOK) {
            budget.charge(A_LOOK)?;
        }
        while matched > 0 && part.get(matched) != Some(&point) {
            matched = fallback.get(matched - 1).copied().unwrap_or(0);
        }
        if part.get(matched) == Some(&point) {
            matched += 1;
        }
        if matched == part.len() {
            return Ok(true);
        }
    }
    Ok(false)
}

fn contains_utf8(text: &str, part: &str, budget: &mut Budget<'_>) -> Result<bool, Failure> {
    // Each piece repeats the end of the one before, which may hold the beginning of the part.
    let piece = A_LOOK.max(2 * part.len());
    let mut rest = text;
    while rest.len() > piece {
        budget.charge(piece)?;
        let end = boundary(rest, piece);
        if rest.get(..end).is_some_and(|piece| piece.contains(part)) {
            return Ok(true);
        }
        let next = boundary(rest, (end + 1).saturating_sub(part.len().max(1)));
        rest = rest.get(next..).unwrap_or_default();
    }
    Ok(rest.contains(part))
}

/// The first place at or before a byte where a character begins.
fn boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// True if two texts are equal.
pub(super) fn same(a: Text<'_>, b: Text<'_>, budget: &mut Budget<'_>) -> Result<bool, Failure> {
    let alike = std::mem::discriminant(&a) == std::mem::discriminant(&b);
    if alike || size(a).min(size(b)) <= A_LOOK {
        budget.charge(size(a))?;
        return Ok(a.same(b));
    }
    Ok(compare(a, b, budget)? == Ordering::Equal)
}

/// The order of two texts by their code points.
pub(super) fn compare(a: Text<'_>, b: Text<'_>, budget: &mut Budget<'_>) -> Result<Ordering, Failure> {
    if size(a).min(size(b)) <= A_LOOK {
        budget.charge(size(a))?;
        return Ok(a.compare(b));
    }
    let mut others = b.code_points();
    for (at, point) in a.code_points().enumerate() {
        if (at + 1).is_multiple_of(A_LOOK) {
            budget.charge(A_LOOK)?;
        }
        match others.next().map(|other| point.cmp(&other)) {
            Some(Ordering::Equal) => {}
            Some(order) => return Ok(order),
            None => return Ok(Ordering::Greater),
        }
    }
    Ok(if others.next().is_some() { Ordering::Less } else { Ordering::Equal })
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
    use super::{A_LOOK, Budget, Failure, Ordering, Scratch, compare, ends_with, starts_with};
    use crate::capture::redact::Redaction;
    use crate::clock::{Clock, ManualClock};
    use crate::text::Text;
    use std::time::Duration;

    /// Asks with a budget of five looks at the clock, each a millisecond later.
    fn within<R>(ask: impl FnOnce(&mut Budget<'_>) -> R) -> R {
        struct Slow(ManualClock);
        impl Clock for Slow {
            fn monotonic(&self) -> u64 {
                self.0.advance(Duration::from_millis(1));
                self.0.monotonic()
            }
            fn coarse(&self) -> u64 {
                self.0.coarse()
            }
            fn wall(&self) -> u64 {
                self.0.wall()
            }
            fn thread_cpu(&self) -> u64 {
                self.0.thread_cpu()
            }
        }
        let (clock, redaction, mut scratch) =
            (Slow(ManualClock::new(Duration::ZERO)), Redaction::default(), Scratch::default());
        ask(&mut Budget::new(&clock, 5_000_000, &redaction, &mut scratch))
    }

    fn contains(text: Text<'_>, part: Text<'_>) -> bool {
        within(|budget| super::contains(text, part, budget)).unwrap()
    }

    #[test]
    fn a_part_is_found_across_the_ends_of_pieces() {
        for at in [0, A_LOOK - 3, A_LOOK - 1, A_LOOK, A_LOOK + 1, 2 * A_LOOK - 2, 3 * A_LOOK - 4] {
            for part in ["xyz", "é\u{20AC}z", "q"] {
                let mut text = "a".repeat(at);
                text.push_str(part);
                text.push_str(&"é".repeat(3 * A_LOOK / 2 - at / 2));
                assert!(contains(Text::Utf8(&text), Text::Utf8(part)), "{at} {part}");
                assert!(!contains(Text::Utf8(&text), Text::Utf8("nothing")), "{at} {part}");
                let wide: Vec<u16> = text.encode_utf16().collect();
                assert!(contains(Text::Ucs2(&wide), Text::Utf8(part)), "{at} {part}");
            }
        }
        let long = "ab".repeat(2 * A_LOOK);
        assert!(contains(Text::Utf8(&long), Text::Utf8(&long[1..])));
        assert!(contains(Text::Utf8(&long), Text::Utf8("")));
        assert!(!contains(Text::Utf8(&long), Text::Utf8(&format!("{long}a"))));
    }

    #[test]
    fn a_text_that_takes_too_long_ends_the_search_within_it() {
        let long = "a".repeat(20 << 20);
        let wide: Vec<u16> = vec![0x20AC; 20 << 20];
        for text in [Text::Utf8(&long), Text::Latin1(long.as_bytes()), Text::Ucs2(&wide)] {
            let found = within(|budget| super::contains(text, Text::Utf8("b"), budget));
            assert_eq!(found, Err(Failure::Timeout));
            let other = Text::Latin1(long.as_bytes());
            let order = within(|budget| compare(other, Text::Utf8(&long), budget));
            assert_eq!(order, Err(Failure::Timeout));
        }
        assert_eq!(within(|budget| compare(Text::Ucs2(&wide), Text::Utf8(&long), budget)), Ok(Ordering::Greater));
    }

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

//! Text as hosts store it, borrowed for one hit: the one place that knows how to count, compare and cut it.

use std::cmp::Ordering;

/// Text of a host, borrowed for the call.
///
/// Positions and lengths are *code points*; a lone surrogate counts as one. [`Text::units`] counts the host's own units.
#[derive(Clone, Copy, Debug)]
pub enum Text<'f> {
    /// UTF-8.
    Utf8(&'f str),
    /// One byte a code point, U+0000 to U+00FF.
    Latin1(&'f [u8]),
    /// Two bytes a code point; a surrogate stands alone.
    Ucs2(&'f [u16]),
    /// Four bytes a code point; a surrogate stands alone.
    Ucs4(&'f [u32]),
    /// UTF-16: pairs are one code point.
    Utf16(&'f [u16]),
}

/// The code points of a [`Text`], surrogates included.
#[derive(Clone)]
pub enum CodePoints<'f> {
    /// Of UTF-8.
    Utf8(std::str::Chars<'f>),
    /// Of Latin-1.
    Latin1(std::slice::Iter<'f, u8>),
    /// Of UCS-2.
    Ucs2(std::slice::Iter<'f, u16>),
    /// Of UCS-4.
    Ucs4(std::slice::Iter<'f, u32>),
    /// Of UTF-16.
    Utf16(&'f [u16]),
}

impl Iterator for CodePoints<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        match self {
            CodePoints::Utf8(chars) => chars.next().map(u32::from),
            CodePoints::Latin1(units) => units.next().map(|&unit| u32::from(unit)),
            CodePoints::Ucs2(units) => units.next().map(|&unit| u32::from(unit)),
            CodePoints::Ucs4(units) => units.next().copied(),
            CodePoints::Utf16(units) => {
                let (&first, rest) = units.split_first()?;
                *units = rest;
                if (0xD800..0xDC00).contains(&first)
                    && let Some((&second, rest)) = units.split_first()
                    && (0xDC00..0xE000).contains(&second)
                {
                    *units = rest;
                    return Some(0x1_0000 + ((u32::from(first) - 0xD800) << 10) + (u32::from(second) - 0xDC00));
                }
                Some(u32::from(first))
            }
        }
    }
}

impl<'f> Text<'f> {
    /// The code points, in order.
    #[inline]
    pub fn code_points(self) -> CodePoints<'f> {
        match self {
            Text::Utf8(text) => CodePoints::Utf8(text.chars()),
            Text::Latin1(units) => CodePoints::Latin1(units.iter()),
            Text::Ucs2(units) => CodePoints::Ucs2(units.iter()),
            Text::Ucs4(units) => CodePoints::Ucs4(units.iter()),
            Text::Utf16(units) => CodePoints::Utf16(units),
        }
    }

    /// Number of code points.
    pub fn len(self) -> usize {
        match self {
            Text::Utf8(text) => text.chars().count(),
            Text::Latin1(units) => units.len(),
            Text::Ucs2(units) => units.len(),
            Text::Ucs4(units) => units.len(),
            Text::Utf16(_) => self.code_points().count(),
        }
    }

    /// Number of the host's own units: UTF-16 units for UTF-16, else code points.
    pub fn units(self) -> usize {
        match self {
            Text::Utf16(units) => units.len(),
            _ => self.len(),
        }
    }

    /// True if there is no code point.
    pub fn is_empty(self) -> bool {
        match self {
            Text::Utf8(text) => text.is_empty(),
            Text::Latin1(units) => units.is_empty(),
            Text::Ucs2(units) | Text::Utf16(units) => units.is_empty(),
            Text::Ucs4(units) => units.is_empty(),
        }
    }

    /// Order by code point.
    pub fn compare(self, other: Text<'_>) -> Ordering {
        match (self, other) {
            (Text::Utf8(a), Text::Utf8(b)) => a.cmp(b),
            (Text::Latin1(a), Text::Latin1(b)) => a.cmp(b),
            _ => self.code_points().cmp(other.code_points()),
        }
    }

    /// True if both hold the same code points.
    #[inline]
    pub fn same(self, other: Text<'_>) -> bool {
        match (self, other) {
            (Text::Utf8(a), Text::Utf8(b)) => a == b,
            (Text::Latin1(a), Text::Latin1(b)) => a == b,
            (Text::Ucs2(a), Text::Ucs2(b)) | (Text::Utf16(a), Text::Utf16(b)) => a == b,
            (Text::Ucs4(a), Text::Ucs4(b)) => a == b,
            // ASCII in both is the usual mix; anything else is compared by code point.
            (Text::Utf8(a), Text::Latin1(b)) | (Text::Latin1(b), Text::Utf8(a)) if b.is_ascii() => a.as_bytes() == b,
            _ => self.code_points().eq(other.code_points()),
        }
    }

    /// The code points from `start` up to `end`, in the same storage; positions beyond the text are cut back to it.
    #[must_use]
    pub fn slice(self, start: usize, end: usize) -> Text<'f> {
        fn cut<T>(units: &[T], start: usize, end: usize) -> &[T] {
            let end = end.min(units.len());
            units.get(start.min(end)..end).unwrap_or(&[])
        }
        match self {
            // Most are ASCII, and of those a position is a place.
            Text::Utf8(text) if text.is_ascii() => {
                let end = end.min(text.len());
                Text::Utf8(text.get(start.min(end)..end).unwrap_or(""))
            }
            Text::Utf8(text) => {
                let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
                let from = places.by_ref().nth(start).unwrap_or(text.len());
                let to = match end.checked_sub(start) {
                    None | Some(0) => from,
                    Some(more) => places.nth(more - 1).unwrap_or(text.len()),
                };
                Text::Utf8(text.get(from..to).unwrap_or(""))
            }
            Text::Latin1(units) => Text::Latin1(cut(units, start, end)),
            Text::Ucs2(units) => Text::Ucs2(cut(units, start, end)),
            Text::Ucs4(units) => Text::Ucs4(cut(units, start, end)),
            Text::Utf16(units) => {
                let mut points = CodePoints::Utf16(units);
                let mut skip = |count: usize| {
                    for _ in 0..count {
                        if points.next().is_none() {
                            break;
                        }
                    }
                    match &points {
                        CodePoints::Utf16(rest) => units.len() - rest.len(),
                        _ => units.len(),
                    }
                };
                let from = skip(start);
                let to = skip(end.saturating_sub(start));
                Text::Utf16(cut(units, from, to))
            }
        }
    }

    /// Appends the text as UTF-8; a lone surrogate becomes U+FFFD.
    pub fn push_to(self, out: &mut String) {
        match self {
            Text::Utf8(text) => out.push_str(text),
            _ => {
                out.extend(
                    self.code_points().map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER)),
                );
            }
        }
    }

    /// The text as an owned string; a lone surrogate becomes U+FFFD.
    pub fn to_text(self) -> String {
        let mut out = String::new();
        self.push_to(&mut out);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn a_pair_is_one_code_point_and_a_lone_surrogate_is_one_too() {
        let text = Text::Utf16(&[0x61, 0xD83D, 0xDE00, 0xD800]);
        assert_eq!(text.code_points().collect::<Vec<_>>(), [0x61, 0x1_F600, 0xD800]);
        assert_eq!((text.len(), text.units()), (3, 4));
    }

    #[test]
    fn a_slice_counts_code_points_in_every_storage() {
        let wide = Text::Utf16(&[0x61, 0xD83D, 0xDE00, 0x62]);
        assert!(wide.slice(1, 3).same(Text::Utf8("\u{1F600}b")));
        assert!(wide.slice(2, 99).same(Text::Utf8("b")));
        assert!(Text::Utf8("aé☕").slice(1, 2).same(Text::Utf8("é")));
        assert!(Text::Utf8("aé☕").slice(1, 99).same(Text::Utf8("é☕")));
        assert!(Text::Utf8("aé☕").slice(3, 3).is_empty());
        assert!(Text::Utf8("aé☕").slice(7, 9).is_empty());
        assert!(Text::Latin1(b"mug").slice(1, 2).same(Text::Utf8("u")));
        assert!(Text::Latin1(b"mug").slice(5, 9).is_empty());
    }

    #[test]
    fn the_same_text_in_two_storages_is_the_same() {
        assert!(Text::Utf8("é").same(Text::Latin1(&[0xE9])));
        assert!(!Text::Utf8("é").same(Text::Latin1(&[0xC3, 0xA9])));
        assert!(Text::Ucs2(&[0x4E16]).same(Text::Ucs4(&[0x4E16])));
    }
}

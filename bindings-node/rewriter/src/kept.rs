//! What a cache keeps of a module with guards: what was put into its text, where, and the way back. The text itself is not kept,
//! for whoever asks has it; and where the name of the cell stands there is a gap, for each process has its own. Reading is a
//! tenth of the work of writing guards, since nothing is parsed: it was parsed, with guards, before it was kept.
//!
//! In this order, numbers in the byte order of small machines: a sum over the key and all that follows (16 bytes); the numbers
//! of pieces and of columns that shift, and the length of the whole code (4 each); the pieces (3 numbers each); the columns (6
//! each); the texts of the pieces, one after the other, with [`GAP`] for the cell.

use crate::guard::{Guarded, names};
use crate::position::Positions;
use crate::read::SourceKind;
use std::fmt;
use xxhash_rust::xxh3::Xxh3;

/// Something that stands in the new text in place of a piece of the old one, in bytes of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub old: (u32, u32),
    pub new: (usize, usize),
}

/// In place of the name of the cell. A module that has it in its own code is not kept.
const GAP: u8 = 0;

/// Names what is kept of a text: by the text, what it is, the length of the cell's name and the rewriter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u128);

impl Key {
    /// The key of a text.
    pub fn of(text: &str, kind: SourceKind, cell: &str) -> Key {
        let mut hash = Xxh3::new();
        hash.update(env!("STROBOSCOPE_REWRITER").as_bytes());
        hash.update(format!("{kind:?}").as_bytes());
        hash.update(&cell.len().to_le_bytes());
        hash.update(text.as_bytes());
        Key(hash.digest128())
    }

    /// True for one key in so many.
    pub fn is_one_in(self, many: u32) -> bool {
        self.0.is_multiple_of(u128::from(many))
    }

    fn sum(self, of: &[u8]) -> [u8; 16] {
        let mut hash = Xxh3::new();
        hash.update(&self.0.to_le_bytes());
        hash.update(of);
        hash.digest128().to_le_bytes()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

impl Guarded {
    /// What a cache keeps of it; nothing if it cannot be kept. `cell` is the name that it was made with.
    pub fn keep(&self, key: Key, cell: &str) -> Option<Vec<u8>> {
        let mut texts = String::with_capacity(self.code.len() / 2);
        let mut pieces = Vec::with_capacity(self.pieces.len() * 3);
        let cells = memchr::memmem::Finder::new(cell);
        for piece in &self.pieces {
            let text = self.code.get(piece.new.0..piece.new.1)?;
            if memchr::memchr(GAP, text.as_bytes()).is_some() {
                return None;
            }
            let (begin, mut at) = (texts.len(), 0);
            for found in cells.find_iter(text.as_bytes()) {
                texts.push_str(text.get(at..found)?);
                texts.push(char::from(GAP));
                at = found + cell.len();
            }
            texts.push_str(text.get(at..)?);
            pieces.extend([piece.old.0, piece.old.1, u32::try_from(texts.len() - begin).ok()?]);
        }
        let shifts: Vec<u32> = self.positions.numbers().flatten().collect();
        let head = [pieces.len() / 3, shifts.len() / 6, self.code.len()].map(u32::try_from);
        let [Ok(of_pieces), Ok(of_shifts), Ok(length)] = head else { return None };
        let mut kept = Vec::with_capacity(28 + 4 * (pieces.len() + shifts.len()) + texts.len());
        kept.extend([0; 16]);
        kept.extend([of_pieces, of_shifts, length].iter().chain(&pieces).chain(&shifts).flat_map(|n| n.to_le_bytes()));
        kept.extend(texts.as_bytes());
        let sum = key.sum(&kept[16..]);
        kept[..16].copy_from_slice(&sum);
        Some(kept)
    }

    /// What was kept of a text, with the name of this cell in it. Nothing if it is not what was kept under this key.
    pub fn of_kept(kept: &[u8], key: Key, text: &str, cell: &str) -> Option<Guarded> {
        let (sum, rest) = kept.split_first_chunk::<16>()?;
        if *sum != key.sum(rest) || names(text, cell) {
            return None;
        }
        let (head, rest) = rest.split_first_chunk::<12>()?;
        let [of_pieces, of_shifts, length] = numbers(head);
        let (pieces, rest) = rest.split_at_checked((of_pieces as usize).checked_mul(12)?)?;
        let (shifts, texts) = rest.split_at_checked((of_shifts as usize).checked_mul(24)?)?;
        let positions = Positions::of(shifts.as_chunks::<24>().0.iter().map(numbers));
        if length as usize > text.len().saturating_add(texts.len().saturating_mul(cell.len().max(1))) {
            return None;
        }
        let mut texts = std::str::from_utf8(texts).ok()?;
        let mut code = String::with_capacity(length as usize);
        let mut found = Vec::with_capacity(of_pieces as usize);
        let mut at = 0;
        for [from, to, size] in pieces.as_chunks::<12>().0.iter().map(numbers::<12, 3>) {
            code.push_str(text.get(at..from as usize)?);
            at = to as usize;
            let begin = code.len();
            let (piece, rest) = texts.split_at_checked(size as usize)?;
            texts = rest;
            fill(&mut code, piece, cell);
            found.push(Piece { old: (from, to), new: (begin, code.len()) });
        }
        code.push_str(text.get(at..)?);
        (code.len() == length as usize).then_some(Guarded { code, positions, pieces: found })
    }
}

/// Writes a text with the cell in its gaps.
fn fill(code: &mut String, mut text: &str, cell: &str) {
    while let Some((before, after)) = memchr::memchr(GAP, text.as_bytes()).and_then(|at| text.split_at_checked(at)) {
        code.push_str(before);
        code.push_str(cell);
        text = after.get(1..).unwrap_or_default();
    }
    code.push_str(text);
}

fn numbers<const BYTES: usize, const COUNT: usize>(bytes: &[u8; BYTES]) -> [u32; COUNT] {
    let (words, _) = bytes.as_chunks::<4>();
    std::array::from_fn(|at| words.get(at).map_or(0, |word| u32::from_le_bytes(*word)))
}

#[cfg(test)]
mod tests {
    use super::Key;
    use crate::guard::{Guarded, guarded};
    use crate::read::SourceKind;

    const TEXT: &str = "#!/usr/bin/env node\n// größer\nfunction add(größe, b) {\r\n  return größe + b\n}\nclass Cart { #sum = 1\n  \
                        async total(x = () => this.#sum) { await 0; return x() + new.target } }\nmodule.exports = (x) => x + add(1, x)";
    const CELL: &str = "$strobe_1234_00000000";
    const OTHER: &str = "$strobe_abcd_0000000f";

    fn kept(text: &str) -> (Key, Vec<u8>) {
        let key = Key::of(text, SourceKind::CommonJs, CELL);
        let guarded = guarded(text, SourceKind::CommonJs, CELL).expect("it can be read");
        (key, guarded.keep(key, CELL).expect("it can be kept"))
    }

    #[test]
    fn what_was_kept_is_what_is_written_anew() {
        for text in [TEXT, "", "exports.x = 1", "const f = () => 1\u{2028}"] {
            let (key, bytes) = kept(text);
            let anew = guarded(text, SourceKind::CommonJs, OTHER).expect("it can be read");
            let read = Guarded::of_kept(&bytes, key, text, OTHER).expect("it is whole");
            assert_eq!(read.code, anew.code);
            assert_eq!(read.positions, anew.positions);
            assert_eq!(read.keep(key, OTHER), Some(bytes));
        }
    }

    #[test]
    fn the_name_of_the_cell_and_the_text_are_not_kept() {
        let (_, bytes) = kept(TEXT);
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        assert!(holds("typeof "));
        assert!(!holds("$strobe") && !holds("module.exports"));
    }

    #[test]
    fn what_was_changed_or_cut_is_not_read() {
        let (key, bytes) = kept(TEXT);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Guarded::of_kept(&other, key, TEXT, OTHER).is_none(), "byte {at}");
            assert!(Guarded::of_kept(&bytes[..at], key, TEXT, OTHER).is_none(), "up to {at}");
        }
    }

    #[test]
    fn numbers_that_lead_nowhere_are_not_followed() {
        let (key, bytes) = kept(TEXT);
        for at in (16..bytes.len() - 4).step_by(4) {
            for number in [0, 1, 0x7FFF_FFFF, u32::MAX] {
                let mut other = bytes.clone();
                other[at..at + 4].copy_from_slice(&number.to_le_bytes());
                let sum = key.sum(&other[16..]);
                other[..16].copy_from_slice(&sum);
                // It may be wrong in what it says of columns; it must not reach beyond the text.
                if let Some(read) = Guarded::of_kept(&other, key, TEXT, OTHER) {
                    assert!(read.code.len() < 4 * bytes.len());
                }
            }
        }
    }

    #[test]
    fn a_key_is_of_all_that_matters() {
        let key = Key::of(TEXT, SourceKind::CommonJs, CELL);
        assert_eq!(key, Key::of(TEXT, SourceKind::CommonJs, OTHER));
        assert_ne!(key, Key::of(TEXT, SourceKind::Esm, CELL));
        assert_ne!(key, Key::of(&TEXT[1..], SourceKind::CommonJs, CELL));
        assert_ne!(key, Key::of(TEXT, SourceKind::CommonJs, "$strobe"));
        assert_eq!(key.to_string().len(), 32);
        let (_, bytes) = kept(TEXT);
        let other = Key::of(TEXT, SourceKind::Esm, CELL);
        assert!(Guarded::of_kept(&bytes, other, TEXT, OTHER).is_none());
    }

    #[test]
    fn a_text_with_the_name_of_the_cell_in_it_has_no_guards() {
        let text = format!("{TEXT}\n// {OTHER}");
        let (key, bytes) = kept(&text);
        assert!(Guarded::of_kept(&bytes, key, &text, OTHER).is_none());
    }
}

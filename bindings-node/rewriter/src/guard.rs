//! The text of a module with a guard in each function that can have a probe. It is what the runtime loads.

use crate::emit::Emitter;
use crate::kept::Piece;
use crate::position::Positions;
use crate::read::{self, Depth, SourceKind, Unreadable, check, deep};
use crate::room;
use oxc_allocator::Allocator;

/// A module with guards.
#[derive(Debug)]
pub struct Guarded {
    /// The text to load. Its lines are those of the original.
    pub code: String,
    /// The way back.
    pub positions: Positions,
    /// What was put in, in the order of the text.
    pub(crate) pieces: Vec<Piece>,
}

/// True if a text has the name of a cell in it.
pub(crate) fn names(text: &str, cell: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), cell.as_bytes()).is_some()
}

/// Puts a guard into each function of a text that can have a probe. `cell` is the name of a global variable that no code of the
/// program knows: `undefined` while nothing is attached, else an array with variants at the numbers of their functions.
pub fn guarded(text: &str, kind: SourceKind, cell: &str) -> Result<Guarded, Unreadable> {
    read::fits(text)?;
    if names(text, cell) {
        return Err(Unreadable::new(format!("it contains the name {cell}, which guards need"), 0));
    }
    deep(text.len(), || {
        let mut room = room::new(text);
        let module = read::read(&room, text, kind, Depth::Guards)?;
        let mut emitter = Emitter::module(&module, text, cell);
        emitter.write(text.len() as u32);
        let guarded = Guarded { code: emitter.out, positions: emitter.positions, pieces: emitter.pieces };
        // In the same memory: to have the system give it costs about as much as to parse.
        room::empty(&mut room, text);
        if check(&room, &guarded.changed(&module.still), kind.source_type()).is_err() {
            check(&Allocator::default(), &guarded.code, kind.source_type())?;
        }
        Ok(guarded)
    })
}

impl Guarded {
    /// The code without the runs of statements in which nothing was put: they were parsed where they stand. What is left parses
    /// if all of it does, since statements in a list have nothing to do with each other's syntax; an empty one is in the place of
    /// each run, so that those around it do not become one.
    fn changed(&self, still: &[(u32, u32)]) -> String {
        let mut changed = String::with_capacity(self.code.len() / 2);
        let mut pieces = self.pieces.iter().peekable();
        // Where the old text and the new one are the same, how much further on the new one is.
        let (mut at, mut ahead) = (0, 0);
        for &(start, end) in still {
            while let Some(piece) = pieces.next_if(|piece| piece.old.1 <= start) {
                ahead = piece.new.1 - piece.old.1 as usize;
            }
            changed.push_str(self.code.get(at..start as usize + ahead).unwrap_or_default());
            changed.push(';');
            at = end as usize + ahead;
        }
        changed.push_str(self.code.get(at..).unwrap_or_default());
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::{Guarded, guarded};
    use crate::read::{self, Depth, SourceKind, check};
    use oxc_allocator::Allocator;

    const TEXT: &str = "#!/usr/bin/env node\n'use strict'\n'also'\nlet a = 1\n// größer\n;[2, 3].map(f)\nfunction f(größe) {\n  a += 1\n  \
                        if (größe) return a\n  const g = () => { a++; /x/.test(a) }\n  a = 2\n  return g }\na\n++a\nswitch (a) { case 1: a(); b(); \
                        default: f(() => 1) }\nout: for (;;) { a(); if (a) break out; [].map(x => x); a() }\nlet b = function () {}\n\
                        a()\n;(function () { while (a) { a() } })()\nclass A { static { a(); a = () => 2; a() } m() { a()\na() } }\nlast()";

    fn parsed(code: &str) -> bool {
        check(&Allocator::default(), code, SourceKind::CommonJs.source_type()).is_ok()
    }

    fn changed(text: &str) -> (Guarded, String) {
        let found = guarded(text, SourceKind::CommonJs, "$cell").expect("it can be read");
        let module =
            read::read(&Allocator::default(), text, SourceKind::CommonJs, Depth::Guards).expect("it can be read");
        let changed = found.changed(&module.still);
        (found, changed)
    }

    #[test]
    fn what_is_parsed_again_is_all_that_was_changed() {
        let (found, changed) = changed(TEXT);
        assert!(parsed(&changed), "{changed}");
        for piece in &found.pieces {
            let text = &found.code[piece.new.0..piece.new.1];
            assert!(changed.contains(text), "{text} is not in {changed}");
        }
        for gone in ["[2, 3]", "größe) return", "/x/", "++a", "case 1: a()", "last()"] {
            assert!(!changed.contains(gone), "{gone} is in {changed}");
        }
        for kept in ["case 1: ; default", "const g = () =>", "out: for", "\n;(function", "'use strict'"] {
            assert!(changed.contains(kept), "{kept} is not in {changed}");
        }
    }

    #[test]
    fn a_guard_that_does_not_parse_is_found_wherever_it_is() {
        let (found, _) = changed(TEXT);
        let module =
            read::read(&Allocator::default(), TEXT, SourceKind::CommonJs, Depth::Guards).expect("it can be read");
        for at in 0..found.pieces.len() {
            let mut code = found.code.clone();
            let (begin, end) = found.pieces[at].new;
            let bracket = begin + code[begin..end].find('(').expect("there is a bracket in each");
            code.replace_range(bracket..=bracket, ")");
            let broken = Guarded { code, positions: found.positions.clone(), pieces: found.pieces.clone() };
            assert!(!parsed(&broken.changed(&module.still)), "piece {at}");
        }
    }

    #[test]
    fn a_text_without_functions_has_nothing_to_be_parsed_again() {
        for text in ["", "a", "'use strict'\na()\nb()"] {
            let (found, changed) = changed(text);
            assert_eq!(found.code, text);
            assert!(changed.len() <= text.len() + 1 && !changed.contains("a()"), "{changed}");
        }
    }
}

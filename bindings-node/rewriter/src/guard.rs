//! The text of a module with a guard in each function that can have a probe. It is what the runtime loads.

use crate::emit::Emitter;
use crate::kept::Piece;
use crate::position::Positions;
use crate::read::{self, Depth, SourceKind, Unreadable, check, deep};
use crate::room;

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
        let mut emitter = Emitter::module(&module, cell);
        emitter.write(text.len() as u32);
        let guarded = Guarded { code: emitter.out, positions: emitter.positions, pieces: emitter.pieces };
        // In the same memory: to have the system give it costs about as much as to parse.
        room::empty(&mut room, text);
        check(&room, &guarded.code, kind.source_type())?;
        Ok(guarded)
    })
}

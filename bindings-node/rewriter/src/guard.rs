//! The text of a module with a guard in each function that can have a probe. It is what the runtime loads.

use crate::emit::Emitter;
use crate::position::Positions;
use crate::read::{Module, Unreadable, check};

/// A module with guards.
#[derive(Debug)]
pub struct Guarded {
    /// The text to load. Its lines are those of the original.
    pub code: String,
    /// The way back.
    pub positions: Positions,
}

impl Module {
    /// Puts a guard into each function that can have a probe. `cell` is the name of a global variable that no code of the
    /// program knows: `undefined` while nothing is attached, else an array with variants at the numbers of their functions.
    pub fn guarded(&self, cell: &str) -> Result<Guarded, Unreadable> {
        if self.text.contains(cell) {
            return Err(Unreadable::new(format!("it contains the name {cell}, which guards need"), 0));
        }
        let mut emitter = Emitter::module(self, cell);
        emitter.write(self.text.len() as u32);
        check(&emitter.out, self.kind.source_type())?;
        Ok(Guarded { code: emitter.out, positions: emitter.positions })
    }
}

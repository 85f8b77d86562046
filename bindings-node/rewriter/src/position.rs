//! The way back: a place in a text that was written here becomes the place in the text it was made of. Lines are the same in
//! both; only columns shift, in lines in which something was put.

/// Columns that shift.
#[derive(Clone, Debug, Default)]
pub struct Positions {
    /// In the order of lines and columns.
    edits: Vec<Edit>,
}

/// Something that stands in the new text in place of a piece of the old one, in columns of one line.
#[derive(Clone, Copy, Debug)]
struct Edit {
    line: u32,
    /// Where it begins in the new text.
    from: u32,
    /// Where it ends there.
    to: u32,
    /// Where the old text goes on.
    old: u32,
    /// Where what was left out begins.
    old_from: u32,
    /// A call is made in it that the program does not know: a guard, or what stands around a body.
    call: bool,
}

impl Positions {
    pub(crate) fn push(&mut self, line: u32, new: (u32, u32), old: (u32, u32), call: bool) {
        self.edits.push(Edit { line, from: new.0, to: new.1, old_from: old.0, old: old.1, call });
    }

    /// True for a place in a guard, or in what stands around the body of a variant: a stack frame there is none of the
    /// program's. Lines from 1, columns from 0, as V8 gives them for the text written here.
    pub fn is_ours(&self, line: u32, column: u32) -> bool {
        let after = self.edits.partition_point(|edit| (edit.line, edit.from) <= (line, column));
        let found = after.checked_sub(1).and_then(|at| self.edits.get(at));
        found.is_some_and(|edit| edit.call && edit.line == line && column < edit.to)
    }

    /// The original column of a place, lines from 1 and columns from 0, in UTF-16 units. What was put in belongs to the place
    /// where it stands.
    pub fn original(&self, line: u32, column: u32) -> u32 {
        let after = self.edits.partition_point(|edit| (edit.line, edit.from) <= (line, column));
        let Some(edit) = after.checked_sub(1).and_then(|at| self.edits.get(at)).filter(|edit| edit.line == line) else {
            return column;
        };
        if column < edit.to { edit.old_from } else { edit.old + (column - edit.to) }
    }

    /// The column at which a place of the original stands now.
    pub fn now(&self, line: u32, column: u32) -> u32 {
        let after = self.edits.partition_point(|edit| (edit.line, edit.old) <= (line, column));
        let Some(edit) = after.checked_sub(1).and_then(|at| self.edits.get(at)).filter(|edit| edit.line == line) else {
            return column;
        };
        edit.to + (column - edit.old)
    }
}

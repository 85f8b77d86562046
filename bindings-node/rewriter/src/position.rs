//! The way back: a place in a text that was written here becomes the place in the text it was made of. Lines are the same in
//! both; only columns shift, in lines in which something was put.

/// The number of no function.
pub(crate) const NONE: u32 = u32::MAX;
/// Not a function's number either: a name, in whose place a call stands that gives its value.
pub(crate) const NAME: u32 = NONE - 1;

/// Columns that shift.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// In the order of lines and columns.
    edits: Vec<Edit>,
}

/// Something that stands in the new text in place of a piece of the old one, in columns of one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The function whose guard it is, or around whose body it stands: a call is made in it that the program does not know.
    /// [`NONE`], [`NAME`]: it is neither.
    guard: u32,
}

impl Positions {
    pub(crate) fn push(&mut self, line: u32, new: (u32, u32), old: (u32, u32), guard: u32) {
        self.edits.push(Edit { line, from: new.0, to: new.1, old_from: old.0, old: old.1, guard });
    }

    /// As numbers, for a cache.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = [u32; 6]> {
        self.edits.iter().map(|edit| [edit.line, edit.from, edit.to, edit.old, edit.old_from, edit.guard])
    }

    /// Of such numbers.
    pub(crate) fn of(numbers: impl Iterator<Item = [u32; 6]>) -> Positions {
        let edit = |[line, from, to, old, old_from, guard]: [u32; 6]| Edit { line, from, to, old, old_from, guard };
        Positions { edits: numbers.map(edit).collect() }
    }

    /// Where the guard of a function stands: its line, and the columns at which it begins and ends.
    pub fn guard(&self, function: u32) -> Option<(u32, u32, u32)> {
        let found = self.edits.iter().find(|edit| edit.guard == function && function < NAME);
        found.map(|edit| (edit.line, edit.from, edit.to))
    }

    /// The function in whose guard a place is, or around whose body, in a variant: a stack frame there is none of the program's.
    /// Lines from 1, columns from 0, as V8 gives them for the text written here.
    pub fn owner(&self, line: u32, column: u32) -> Option<u32> {
        let after = self.edits.partition_point(|edit| (edit.line, edit.from) <= (line, column));
        let found = after.checked_sub(1).and_then(|at| self.edits.get(at))?;
        (found.guard < NAME && found.line == line && column < found.to).then_some(found.guard)
    }

    /// The original column of a place, lines from 1 and columns from 0, in UTF-16 units. What was put in belongs to the place
    /// where it stands.
    pub fn original(&self, line: u32, column: u32) -> u32 {
        let after = self.edits.partition_point(|edit| (edit.line, edit.from) <= (line, column));
        let Some(edit) = after.checked_sub(1).and_then(|at| self.edits.get(at)).filter(|edit| edit.line == line) else {
            return column;
        };
        // A call of a name is where the name is, a call of any other value where its arguments begin.
        let is_name = edit.guard == NAME && column == edit.to;
        if column < edit.to || is_name { edit.old_from } else { edit.old + (column - edit.to) }
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

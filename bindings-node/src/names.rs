//! The code that stacks name: a number for each file and function, and the position packed beside it. On the walk of a hit
//! going out: the writer of a realm asks for numbers, the core's worker for the text.

use crate::{guard, units};
use napi_derive::napi;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use stroboscope_core::host::{FrameText, StackFrame};
use stroboscope_core::probe::location::SourcePath;
use stroboscope_rewriter::Positions;

/// Files and functions that are numbered at most; what comes later is told without its name.
const MAX_CODES: usize = 65_536;
/// Bits of a position that are its column.
const COLUMN_BITS: u32 = 12;
const MAX_COLUMN: u32 = (1 << COLUMN_BITS) - 1;

/// Texts of variants whose columns are known; of older ones columns are those of the variant.
const MAX_TEXTS: usize = 10_000;

/// The text of a file that its columns are in where nothing of ours stands.
const PROGRAMS: u32 = u32::MAX;

/// What a number stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Code {
    file: Box<str>,
    function: Box<str>,
    /// In which text of the file its columns are: 0 is the file as it was loaded, [`PROGRAMS`] that of the program, others are
    /// variants.
    text: u32,
    /// Line and column, if they have no room in a position.
    place: Option<(u32, u32)>,
}

#[derive(Default)]
struct Codes {
    known: Vec<Code>,
    numbers: HashMap<Code, u32>,
    texts: BTreeMap<u32, Positions>,
    /// The number of the last text.
    last: u32,
}

static CODES: Mutex<Option<Codes>> = Mutex::new(None);

fn codes() -> MutexGuard<'static, Option<Codes>> {
    CODES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers the text of a variant.
pub fn text(positions: Positions) -> u32 {
    let mut codes = codes();
    let codes = codes.get_or_insert_default();
    codes.last += 1;
    codes.texts.insert(codes.last, positions);
    if codes.texts.len() > MAX_TEXTS {
        codes.texts.pop_first();
    }
    codes.last
}

/// The number of a function in a text of a file, which may be a URL. Realms keep the numbers that they have asked for. `line` is
/// 0 unless line and column have no room in a position.
#[napi]
pub fn code(file: String, function: String, text: u32, line: u32, column: u32) -> napi::Result<u32> {
    guard::guarded(|| {
        let place = (line > 0).then_some((line, column));
        let code = Code { file: file.into_boxed_str(), function: function.into_boxed_str(), text, place };
        Ok(number(code))
    })
}

fn number(code: Code) -> u32 {
    let mut codes = codes();
    let codes = codes.get_or_insert_default();
    if let Some(&known) = codes.numbers.get(&code) {
        return known;
    }
    let next = u32::try_from(codes.known.len()).unwrap_or(u32::MAX);
    if codes.known.len() >= MAX_CODES {
        return u32::MAX;
    }
    codes.known.push(code.clone());
    codes.numbers.insert(code, next);
    next
}

/// The frame of a place that is known without a stack.
pub fn own(file: &str, function: &str, line: u32) -> StackFrame {
    let code = Code { file: Box::from(file), function: Box::from(function), text: 0, place: None };
    StackFrame { code: number(code), position: line.min(u32::MAX >> COLUMN_BITS) << COLUMN_BITS }
}

/// The text of a frame, in places of the original.
pub fn describe(frame: StackFrame) -> FrameText {
    let known = codes().as_ref().and_then(|codes| codes.known.get(frame.code as usize).cloned());
    let Some(Code { file, function, text, place }) = known else {
        return FrameText { file: "?".to_owned(), ..FrameText::default() };
    };
    let file = if file.starts_with("file://") { SourcePath::new(&file).text() } else { file.into_string() };
    let (line, column) = place.unwrap_or((frame.position >> COLUMN_BITS, frame.position & MAX_COLUMN));
    if column == 0 {
        // It is the place of a probe (`own`), which is the original's. That may have the name of what was compiled of it.
        return FrameText { file, function: function.into_string(), line, column };
    }
    let known = if text == PROGRAMS { Some(column) } else { in_variant(text, line, column) };
    let column = known.unwrap_or_else(|| units::original_column(&file, line, column));
    let (file, line, column) = units::original(&file, line, column).unwrap_or((file, line, column));
    FrameText { file, function: function.into_string(), line, column }
}

/// The column in the program's own text of a place in a variant, if that is known.
fn in_variant(text: u32, line: u32, column: u32) -> Option<u32> {
    codes().as_ref().and_then(|codes| Some(back(codes.texts.get(&text)?, line, column)))
}

/// The column in the program's own text of a place in a text of a file ([`code`]). Columns from 1.
#[napi]
pub fn column(file: String, text: u32, line: u32, column: u32) -> napi::Result<u32> {
    guard::guarded(|| {
        if text > 0 {
            let codes = codes();
            let positions = codes.as_ref().and_then(|codes| codes.texts.get(&text));
            return Ok(positions.map_or(column, |positions| back(positions, line, column)));
        }
        let file = if file.starts_with("file://") { SourcePath::new(&file).text() } else { file };
        Ok(units::original_column(&file, line, column))
    })
}

/// The function of a module whose guard stands at a place in a variant of another one; `null`: none does. Columns from 1.
#[napi]
pub fn guard_at(text: u32, line: u32, column: u32) -> napi::Result<Option<u32>> {
    guard::guarded(|| {
        let codes = codes();
        let positions = codes.as_ref().and_then(|codes| codes.texts.get(&text));
        Ok(positions.and_then(|positions| positions.owner(line, column.checked_sub(1)?)))
    })
}

/// The original column of a place. Columns from 1; 0 is none.
pub fn back(positions: &Positions, line: u32, column: u32) -> u32 {
    column.checked_sub(1).map_or(0, |column| positions.original(line, column) + 1)
}

#[cfg(test)]
mod tests {
    use super::{Code, describe, number, text};
    use stroboscope_core::host::StackFrame;
    use stroboscope_rewriter::{Module, Point, SourceKind};

    fn code(file: &str, function: &str, text: u32, place: Option<(u32, u32)>) -> u32 {
        number(Code { file: Box::from(file), function: Box::from(function), text, place })
    }

    #[test]
    fn a_function_has_one_number_and_its_frames_their_places() {
        let first = code("file:///srv/a%20cart.js", "total", 0, None);
        assert_eq!(code("file:///srv/a%20cart.js", "total", 0, None), first);
        assert_ne!(code("file:///srv/a%20cart.js", "add", 0, None), first);
        let text = describe(StackFrame { code: first, position: 83 << 12 | 7 });
        assert_eq!(
            (text.file.as_str(), text.function.as_str(), text.line, text.column),
            ("/srv/a cart.js", "total", 83, 7)
        );
        let minified = code("/srv/cart.js", "total", 0, Some((1, 100_000)));
        let minified = describe(StackFrame { code: minified, position: 0 });
        assert_eq!((minified.line, minified.column), (1, 100_000));
        assert_eq!(describe(StackFrame { code: u32::MAX, position: 0 }).file, "?");
        let own = describe(super::own("/srv/cart.js", "total", 83));
        assert_eq!((own.function.as_str(), own.line, own.column), ("total", 83, 0));
    }

    #[test]
    fn columns_are_those_of_the_original() {
        let module = Module::read("function f(a) { g(); g(a) }", SourceKind::CommonJs).unwrap();
        let variant = module.variant(0, "$cell", &[(Point::Line(1), "p()")]).unwrap();
        let now = variant.code.find("g(a)").unwrap() as u32 + 1;
        let number = code("/srv/f.js", "f", text(variant.positions), None);
        let frame = describe(StackFrame { code: number, position: 1 << 12 | now });
        assert_eq!((frame.line, frame.column), (1, 22));
    }
}

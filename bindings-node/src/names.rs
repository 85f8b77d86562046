//! The code that stacks name: a number for each file and function, and the position packed beside it. On the walk of a hit
//! going out: the writer of a realm asks for numbers, the core's worker for the text.

use crate::guard;
use napi_derive::napi;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use stroboscope_core::host::{FrameText, StackFrame};

/// Files and functions that are numbered at most; what comes later is told without its name.
const MAX_CODES: usize = 65_536;
/// Bits of a position that are its column.
const COLUMN_BITS: u32 = 12;
const MAX_COLUMN: u32 = (1 << COLUMN_BITS) - 1;

#[derive(Default)]
struct Codes {
    texts: Vec<(Box<str>, Box<str>)>,
    numbers: HashMap<(Box<str>, Box<str>), u32>,
}

static CODES: Mutex<Option<Codes>> = Mutex::new(None);

fn codes() -> MutexGuard<'static, Option<Codes>> {
    CODES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The number of a function in a file. Realms keep the numbers that they have asked for.
#[napi]
pub fn code(file: String, function: String) -> napi::Result<u32> {
    guard::guarded(|| Ok(number(&file, &function)))
}

fn number(file: &str, function: &str) -> u32 {
    let mut codes = codes();
    let codes = codes.get_or_insert_default();
    let key = (Box::from(file), Box::from(function));
    if let Some(&known) = codes.numbers.get(&key) {
        return known;
    }
    let next = u32::try_from(codes.texts.len()).unwrap_or(u32::MAX);
    if codes.texts.len() >= MAX_CODES {
        return u32::MAX;
    }
    codes.texts.push(key.clone());
    codes.numbers.insert(key, next);
    next
}

/// The text of a frame.
pub fn describe(frame: StackFrame) -> FrameText {
    let codes = codes();
    let known = codes.as_ref().and_then(|codes| codes.texts.get(frame.code as usize));
    let (file, function) = known.map_or(("?", ""), |(file, function)| (file, function));
    let column = frame.position & MAX_COLUMN;
    FrameText {
        file: file.to_owned(),
        function: function.to_owned(),
        line: frame.position >> COLUMN_BITS,
        // A column that does not fit is not told wrongly.
        column: if column == MAX_COLUMN { 0 } else { column },
    }
}

#[cfg(test)]
mod tests {
    use super::{describe, number};
    use stroboscope_core::host::StackFrame;

    #[test]
    fn a_function_has_one_number_and_its_frames_their_places() {
        let first = number("/srv/cart.js", "total");
        assert_eq!(number("/srv/cart.js", "total"), first);
        assert_ne!(number("/srv/cart.js", "add"), first);
        let text = describe(StackFrame { code: first, position: 83 << 12 | 7 });
        assert_eq!(
            (text.file.as_str(), text.function.as_str(), text.line, text.column),
            ("/srv/cart.js", "total", 83, 7)
        );
        let minified = describe(StackFrame { code: first, position: 1 << 12 | 4095 });
        assert_eq!((minified.line, minified.column), (1, 0));
        assert_eq!(describe(StackFrame { code: u32::MAX, position: 0 }).file, "?");
    }
}

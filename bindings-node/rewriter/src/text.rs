//! Lines and columns of a text, as V8 counts them: a column is a number of UTF-16 units.

/// Where the lines of a text begin.
#[derive(Debug)]
pub(crate) struct Lines {
    starts: Vec<u32>,
    ascii: bool,
}

impl Lines {
    pub fn new(text: &str) -> Lines {
        let bytes = text.as_bytes();
        let mut starts = Vec::with_capacity(bytes.len() / 32 + 1);
        starts.push(0);
        // U+2028 and U+2029 end a line of JavaScript too; they begin with E2.
        for at in memchr::memchr3_iter(b'\n', b'\r', 0xE2, bytes) {
            let next = bytes.get(at + 1).copied();
            match bytes[at] {
                b'\r' if next == Some(b'\n') => {}
                b'\n' | b'\r' => starts.push(at as u32 + 1),
                _ if next == Some(0x80) && matches!(bytes.get(at + 2), Some(0xA8 | 0xA9)) => {
                    starts.push(at as u32 + 3);
                }
                _ => {}
            }
        }
        Lines { starts, ascii: text.is_ascii() }
    }

    /// The line of an offset, from 1.
    pub fn line(&self, at: u32) -> u32 {
        self.starts.partition_point(|&start| start <= at) as u32
    }

    /// The offset at which a line begins; the text's end for one that is not there.
    pub fn start(&self, line: u32) -> Option<u32> {
        self.starts.get((line as usize).checked_sub(1)?).copied()
    }

    /// The column of an offset, from 0.
    pub fn column(&self, text: &str, at: u32) -> u32 {
        let start = self.start(self.line(at)).unwrap_or(0);
        if self.ascii { at - start } else { width(text.get(start as usize..at as usize).unwrap_or("")) }
    }
}

/// The length of a text in UTF-16 units.
pub(crate) fn width(text: &str) -> u32 {
    if text.is_ascii() { text.len() as u32 } else { text.encode_utf16().count() as u32 }
}

/// The line breaks of a text that is left out, so that what follows stays in its line.
pub(crate) fn breaks(text: &str) -> String {
    text.chars().filter(|c| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}')).collect()
}

/// A text as a literal of JavaScript.
pub(crate) fn quoted(text: &str) -> String {
    let json = serde_json::Value::String(text.to_owned()).to_string();
    // JSON lets these stand in a string; in JavaScript they are fine there too, but they would count as lines.
    json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

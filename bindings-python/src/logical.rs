//! Logical lines of Python source: which lines only go on with a statement that began above. Stands on the configuration's
//! walk, beside [`crate::statements`]: bytecode alone cannot tell `if (a and` over two lines from two nested `if`s.
//!
//! This is not a parser: it knows brackets, strings, comments and backslashes, and nothing else. Source that it cannot
//! follow yields nothing, and lines then stand for themselves.

/// Deepest nesting of strings in f-strings that is followed.
const MAX_DEPTH: usize = 50;

/// The first line of the statement that each line belongs to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LogicalLines {
    first: Vec<u32>,
}

impl LogicalLines {
    /// Reads source; `None` if it cannot be followed to its end.
    pub fn of(source: &[u8]) -> Option<Self> {
        let mut reader = Reader { source, at: 0, line: 1, begun: 1, first: vec![0, 1] };
        reader.code(None, 0)?;
        Some(LogicalLines { first: reader.first })
    }

    /// The first line of the statement that a line belongs to.
    pub fn first(&self, line: u32) -> u32 {
        self.first.get(line as usize).copied().unwrap_or(line)
    }

    /// The last line of the statement that a line belongs to, or of its head if it has a body.
    pub fn last(&self, line: u32) -> u32 {
        let first = self.first(line);
        let below = self.first.iter().skip(line as usize + 1).take_while(|begun| **begun == first);
        line + below.count() as u32
    }

    /// True if a statement may begin at a line.
    pub fn begins(&self, line: u32) -> bool {
        (line as usize) < self.first.len() && self.first(line) == line
    }
}

struct Reader<'s> {
    source: &'s [u8],
    at: usize,
    line: u32,
    /// Where the logical line began.
    begun: u32,
    first: Vec<u32>,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.source.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn newline(&mut self, goes_on: bool) {
        self.line += 1;
        if !goes_on {
            self.begun = self.line;
        }
        self.first.push(self.begun);
    }

    /// Reads code: to the end, or as the inside of an f-string's braces, up to and with the closing one.
    fn code(&mut self, inside: Option<&[u8]>, depth: usize) -> Option<()> {
        let mut brackets = 0usize;
        while let Some(&byte) = self.source.get(self.at) {
            self.at += 1;
            match byte {
                b'\n' => self.newline(inside.is_some() || brackets > 0),
                b'\\' if self.peek(0) == b'\r' && self.peek(1) == b'\n' => {
                    self.at += 2;
                    self.newline(true);
                }
                b'\\' if self.peek(0) == b'\n' => {
                    self.at += 1;
                    self.newline(true);
                }
                b'#' => {
                    while !matches!(self.peek(0), b'\n' | 0) {
                        self.at += 1;
                    }
                }
                b'(' | b'[' | b'{' => brackets += 1,
                b'}' if brackets == 0 && inside.is_some() => return Some(()),
                b')' | b']' | b'}' => brackets = brackets.checked_sub(1)?,
                b':' if brackets == 0 && inside.is_some() => return self.literal(inside?, true, depth),
                b'\'' | b'"' => self.string(byte, depth)?,
                _ => {}
            }
        }
        (inside.is_none() && brackets == 0).then_some(())
    }

    /// A string whose first quote was just read.
    fn string(&mut self, quote: u8, depth: usize) -> Option<()> {
        let before = &self.source[..self.at - 1];
        let prefix = before.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_');
        let prefix: Vec<u8> = prefix.take(3).map(u8::to_ascii_lowercase).collect();
        // Not the `if` of `if"a" in b:`.
        let formatted = [&b"f"[..], b"fr", b"rf", b"t", b"tr", b"rt"].contains(&&prefix[..]);
        let end: &[u8] = if self.peek(0) == quote && self.peek(1) == quote {
            self.at += 2;
            if quote == b'"' { b"\"\"\"" } else { b"'''" }
        } else if quote == b'"' {
            b"\""
        } else {
            b"'"
        };
        if formatted {
            if depth >= MAX_DEPTH {
                return None;
            }
            return self.literal(end, false, depth + 1);
        }
        while self.at < self.source.len() {
            if self.source[self.at..].starts_with(end) {
                self.at += end.len();
                return Some(());
            }
            self.letter(end)?;
        }
        None
    }

    /// One character of a literal; a line may end only in a triple-quoted one or behind a backslash.
    fn letter(&mut self, end: &[u8]) -> Option<()> {
        let byte = self.peek(0);
        self.at += 1;
        match byte {
            b'\\' => {
                if self.peek(0) == b'\r' && self.peek(1) == b'\n' {
                    self.at += 1;
                }
                if self.peek(0) == b'\n' {
                    self.newline(true);
                }
                self.at += 1;
            }
            b'\n' if end.len() < 3 => return None,
            b'\n' => self.newline(true),
            _ => {}
        }
        Some(())
    }

    /// The literal part of an f-string up to its end, or of a format up to its closing brace.
    fn literal(&mut self, end: &[u8], format: bool, depth: usize) -> Option<()> {
        while self.at < self.source.len() {
            if !format && self.source[self.at..].starts_with(end) {
                self.at += end.len();
                return Some(());
            }
            match (self.peek(0), self.peek(1)) {
                (b'{', b'{') | (b'}', b'}') if !format => self.at += 2,
                (b'}', _) if format => {
                    self.at += 1;
                    return Some(());
                }
                (b'{', _) => {
                    if depth >= MAX_DEPTH {
                        return None;
                    }
                    self.at += 1;
                    self.code(Some(end), depth + 1)?;
                }
                // A brace behind a backslash begins an expression all the same; of `\N{NAME}` it makes no difference.
                (b'\\', b'{' | b'}') => self.at += 1,
                // In a raw string too, a backslash keeps a quote from ending it.
                _ => self.letter(end)?,
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::LogicalLines;

    fn firsts(source: &str) -> Option<Vec<u32>> {
        let lines = LogicalLines::of(source.as_bytes())?;
        Some((1..=source.lines().count() as u32).map(|line| lines.first(line)).collect())
    }

    #[test]
    fn lines_that_go_on() {
        for (source, expected) in [
            ("a\nb\nc\n", vec![1, 2, 3]),
            ("if (a and\n    b):\n  c\n", vec![1, 1, 3]),
            ("x = '''a\nb(\n'''\ny\n", vec![1, 1, 1, 4]),
            ("x = 'it\\'s (' # (\ny\n", vec![1, 2]),
            ("x = a \\\n  + b\ny\n", vec![1, 1, 3]),
            ("x = f'{a[\"(\"]}('\ny\n", vec![1, 2]),
            ("x = f'{a:{w}.{p}}' + f'{{('\ny\n", vec![1, 2]),
            ("x = f'''{\na!r:\n>{w}}'''\ny\n", vec![1, 1, 1, 4]),
            ("x = f\"{f'{f\"{1}\"}'}\"\ny\n", vec![1, 2]),
            ("x = rb'\\'\ny = 1'\nz\n", vec![]),
            ("x = r'\\\\'\ny\n", vec![1, 2]),
            ("x = {  # }\n 'a': 1,\n}\r\ny\r\n", vec![1, 1, 1, 4]),
            ("x = f'\\N{BULLET}('\ny\n", vec![1, 2]),
            ("x = f'{(lambda: 1)()}{x!r:>{10}}'\ny\n", vec![1, 2]),
            ("if'{':\n  a(\n)\n", vec![1, 2, 2]),
            ("type X = list[\n int]\ny\n", vec![1, 1, 3]),
            ("x = f'{a!r:{\"}\"}}' f'{b\n}'\ny\n", vec![1, 1, 3]),
            ("x = )\n", vec![]),
            ("x = (\n", vec![]),
            ("x = '\n", vec![]),
        ] {
            assert_eq!(firsts(source).unwrap_or_default(), expected, "{source}");
        }
        let lines = LogicalLines::of(b"if (a and\n    b):\n\n  # c\n  d\n").unwrap();
        assert_eq!((1..=5).map(|line| lines.last(line)).collect::<Vec<_>>(), [2, 2, 3, 4, 5]);
        let deep = "f'{".repeat(100_000);
        assert_eq!(LogicalLines::of(deep.as_bytes()), None);
        assert!(LogicalLines::of(b"").is_some());
    }
}

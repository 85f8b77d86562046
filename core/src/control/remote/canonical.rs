//! Canonical JSON: the one form of a document that signatures are made over. UTF-8, no blanks, members sorted by key, strings
//! that escape only `"` and `\`, whole numbers. On the walk of a configuration going in, before `trust.rs`.
//!
//! It is read here and not by the reader of the rest, since what is not in the canonical form at all must not be signed over:
//! a fraction, a number in another spelling, a key that occurs twice.

/// How deep a document may be.
pub const MAX_DEPTH: usize = 128;
/// The most digits of a whole number.
const MAX_DIGITS: usize = 19;

/// The canonical form of a document; `None` if it has none.
pub fn canonical(text: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader { text: std::str::from_utf8(text).ok()?, at: 0, depth: 0 };
    let mut form = Vec::with_capacity(text.len());
    reader.value(&mut form)?;
    reader.blanks();
    (reader.at == text.len()).then_some(form)
}

/// How deep brackets are nested in a text that is JSON, or claims to be.
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut quoted, mut escaped) = (false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// True if this comes next, which is then behind.
    fn takes(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn value(&mut self, form: &mut Vec<u8>) -> Option<()> {
        self.blanks();
        match self.peek()? {
            b'{' => self.nested(|reader| reader.object(form)),
            b'[' => self.nested(|reader| reader.array(form)),
            b'"' => {
                write(&self.string()?, form);
                Some(())
            }
            b'-' | b'0'..=b'9' => self.number(form),
            _ => self.word(form),
        }
    }

    fn nested(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        read(self)?;
        self.depth -= 1;
        Some(())
    }

    fn object(&mut self, form: &mut Vec<u8>) -> Option<()> {
        let mut members: Vec<(String, Vec<u8>)> = Vec::new();
        self.blanks();
        if !self.takes(b'}') {
            loop {
                self.blanks();
                let key = self.string()?;
                self.blanks();
                let mut value = Vec::new();
                self.takes(b':').then_some(())?;
                self.value(&mut value)?;
                members.push((key, value));
                self.blanks();
                if self.takes(b'}') {
                    break;
                }
                self.takes(b',').then_some(())?;
            }
        }
        members.sort();
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        form.push(b'{');
        for (index, (key, value)) in members.iter().enumerate() {
            if index > 0 {
                form.push(b',');
            }
            write(key, form);
            form.push(b':');
            form.extend_from_slice(value);
        }
        form.push(b'}');
        Some(())
    }

    fn array(&mut self, form: &mut Vec<u8>) -> Option<()> {
        form.push(b'[');
        self.blanks();
        if !self.takes(b']') {
            loop {
                self.value(form)?;
                self.blanks();
                if self.takes(b']') {
                    break;
                }
                self.takes(b',').then_some(())?;
                form.push(b',');
            }
        }
        form.push(b']');
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let rest: &'a str = self.text.get(self.at..)?;
        let mut escaped = false;
        let end = rest.bytes().enumerate().skip(1).find(|&(_, byte)| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        });
        let (end, _) = end?;
        // The rules of escapes are those of the reader of the rest. It wants a quote at the beginning.
        let read = serde_json::from_str(rest.get(..=end)?).ok()?;
        self.at += end + 1;
        Some(read)
    }

    fn number(&mut self, form: &mut Vec<u8>) -> Option<()> {
        let start = self.at;
        let negative = self.takes(b'-');
        let first = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = self.text.get(first..self.at)?;
        let plain = match digits.as_bytes() {
            [b'0'] => !negative,
            [] | [b'0', ..] => false,
            _ => digits.len() <= MAX_DIGITS,
        };
        let goes_on = self.peek().is_some_and(|byte| matches!(byte, b'.' | b'e' | b'E'));
        (plain && !goes_on).then_some(())?;
        form.extend_from_slice(self.text.get(start..self.at)?.as_bytes());
        Some(())
    }

    fn word(&mut self, form: &mut Vec<u8>) -> Option<()> {
        let rest = self.text.get(self.at..)?;
        let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word))?;
        self.at += word.len();
        form.extend_from_slice(word.as_bytes());
        Some(())
    }
}

fn write(text: &str, form: &mut Vec<u8>) {
    form.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            form.push(b'\\');
        }
        form.push(byte);
    }
    form.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Option<String> {
        canonical(text.as_bytes()).map(|form| String::from_utf8(form).unwrap())
    }

    #[test]
    fn documents_have_one_form() {
        for (text, expected) in [
            (r#""""#, r#""""#),
            (r"[]", "[]"),
            (" [ 1 ,2,\t3 ]\n", "[1,2,3]"),
            (r#"{"y":2,"x":3}"#, r#"{"x":3,"y":2}"#),
            (r#"{"A": [99], "x": 3}"#, r#"{"A":[99],"x":3}"#),
            (r#"{"a":{"z":null,"b":[true,false,{}]}}"#, r#"{"a":{"b":[true,false,{}],"z":null}}"#),
            // Keys in the order of their characters: capitals first, and what is beyond ASCII last.
            (r#"{"b":1,"B":2,"é":3,"a":4,"😀":5,"ﬀ":6}"#, r#"{"B":2,"a":4,"b":1,"é":3,"ﬀ":6,"😀":5}"#),
            // A prefix goes first.
            (r#"{"ab":1,"a":2,"":3}"#, r#"{"":3,"a":2,"ab":1}"#),
            (r#""\"\\\/\b\u00e9\ud83d\ude00""#, "\"\\\"\\\\/\u{8}é😀\""),
            ("-9007199254740991", "-9007199254740991"),
            ("0", "0"),
        ] {
            assert_eq!(form(text).as_deref(), Some(expected), "{text}");
            assert_eq!(form(expected).is_some(), !expected.contains('\u{8}'), "{expected}");
        }
    }

    #[test]
    fn what_has_no_one_form_is_refused() {
        for text in [
            "",
            " ",
            "1.0",
            "1e3",
            "1E3",
            "-0",
            "01",
            "-",
            "12345678901234567890",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":1,}"#,
            "[1,]",
            "[1 2]",
            r#"{"a"1}"#,
            "{1:2}",
            r#""a"#,
            r#""\x""#,
            r#""\ud800""#,
            "\"a\nb\"",
            "tru",
            "nulls",
            "1 2",
            "[",
            "{",
            "]",
        ] {
            assert_eq!(form(text), None, "{text}");
        }
        assert_eq!(canonical(b"\"\xff\""), None);
    }

    #[test]
    fn a_document_may_be_so_deep_and_no_deeper() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(form(&nested(MAX_DEPTH)).is_some());
        assert_eq!(form(&nested(MAX_DEPTH + 1)), None);
        assert_eq!(form(&"[".repeat(1_000_000)), None);
        assert_eq!(depth(nested(7).as_bytes()), 7);
        assert_eq!(depth(br#"{"a":["[[[[\"[[",[]],"b":{}}"#), 3);
        assert_eq!(depth(b"]]]]["), 1);
        assert_eq!(depth(b"\"[[[["), 0);
    }
}

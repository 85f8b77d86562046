//! How each language's values look on the wire (*Signals and upload* 2.4 to 2.7): one table a language. It stands on the
//! walk of a hit, on the worker, asked by [`super::render`].

use super::number;
use crate::expr::print::push_float;
use crate::host::Language;
use crate::text::Text;

/// A language's spellings.
pub struct Profile {
    /// `type` by tag (0 to 26), where the record names none. Empty: no `type`.
    pub type_names: [&'static str; 27],
    /// `false` and `true`.
    pub booleans: [&'static str; 2],
    /// A double.
    pub float: fn(f64, &mut String),
    /// Text of an exact decimal, before and after.
    pub decimal: [&'static str; 2],
    /// What stands around a string that needs no escapes.
    pub quote: Option<u8>,
    /// A string.
    pub string: fn(Text<'_>) -> String,
    /// Bytes.
    pub bytes: fn(&[u8]) -> String,
    /// True if a computed field shows.
    pub getters: bool,
    /// What a line probe's `location` and `logger.name` hold.
    pub names: Names,
    /// True if `;pid:N` follows the thread's name.
    pub pid: bool,
}

/// Which names of its place a language's events carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// The file as the host knows it.
    File,
    /// The file as the probe gives it.
    GivenFile,
    /// The class, with the method in the location.
    Class,
}

impl Profile {
    /// The profile of a language.
    pub fn of(language: Language) -> &'static Profile {
        match language {
            Language::Python => &PYTHON,
            Language::JavaScript => &JAVASCRIPT,
            Language::Java => &JAVA,
            Language::Other(_) => &NEUTRAL,
        }
    }
}

static NEUTRAL: Profile = Profile {
    type_names: [
        "undefined",
        "null",
        "bool",
        "bool",
        "int",
        "int",
        "float",
        "complex",
        "decimal",
        "string",
        "string",
        "string",
        "string",
        "string",
        "bytes",
        "list",
        "set",
        "map",
        "object",
        "exception",
        "enum",
        "function",
        "iterator",
        "scalar",
        "opaque",
        "getter",
        "",
    ],
    booleans: ["false", "true"],
    float: |value, out| push_float(out, value),
    decimal: ["", ""],
    quote: None,
    string: bare,
    bytes: hex,
    getters: false,
    names: Names::File,
    pid: false,
};

static PYTHON: Profile = Profile {
    type_names: [
        "undefined",
        "NoneType",
        "bool",
        "bool",
        "int",
        "int",
        "float",
        "complex",
        "Decimal",
        "str",
        "str",
        "str",
        "str",
        "str",
        "bytes",
        "list",
        "set",
        "dict",
        "object",
        "Exception",
        "Enum",
        "function",
        "iterator",
        "object",
        "object",
        "property",
        "",
    ],
    booleans: ["False", "True"],
    float: number::python_float,
    decimal: ["Decimal('", "')"],
    quote: Some(b'\''),
    string: python_string,
    bytes: python_bytes,
    getters: false,
    names: Names::File,
    pid: true,
};

static JAVASCRIPT: Profile = Profile {
    type_names: [
        "undefined",
        "null",
        "boolean",
        "boolean",
        "number",
        "bigint",
        "number",
        "number",
        "number",
        "string",
        "string",
        "string",
        "string",
        "string",
        "Uint8Array",
        "Array",
        "Set",
        "Map",
        "Object",
        "Error",
        "Object",
        "Function",
        "generator",
        "Object",
        "Object",
        "getter",
        "",
    ],
    booleans: ["false", "true"],
    float: number::javascript_float,
    decimal: ["", ""],
    quote: None,
    string: bare,
    bytes: utf8,
    getters: true,
    names: Names::GivenFile,
    pid: false,
};

static JAVA: Profile = Profile {
    type_names: [
        "undefined",
        "java.lang.Object",
        "boolean",
        "boolean",
        "long",
        "java.math.BigInteger",
        "double",
        "double",
        "java.math.BigDecimal",
        "java.lang.String",
        "java.lang.String",
        "java.lang.String",
        "java.lang.String",
        "java.lang.String",
        "byte[]",
        "java.util.List",
        "java.util.Set",
        "java.util.Map",
        "java.lang.Object",
        "java.lang.Throwable",
        "java.lang.Enum",
        "java.lang.Class",
        "java.util.Iterator",
        "java.lang.Object",
        "java.lang.Object",
        "getter",
        "",
    ],
    booleans: ["false", "true"],
    float: number::java_float,
    decimal: ["", ""],
    quote: None,
    string: bare,
    bytes: hex,
    getters: false,
    names: Names::Class,
    pid: false,
};

fn bare(text: Text<'_>) -> String {
    text.to_text()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

fn utf8(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The quote that Python's `repr` takes: single, unless only those occur inside.
fn python_quote(points: impl Iterator<Item = u32>) -> char {
    let (mut single, mut double) = (false, false);
    for point in points {
        single |= point == u32::from(b'\'');
        double |= point == u32::from(b'"');
    }
    if single && !double { '"' } else { '\'' }
}

fn python_string(text: Text<'_>) -> String {
    let quote = python_quote(text.code_points());
    let mut out = String::from(quote);
    for point in text.code_points() {
        match char::from_u32(point) {
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some('\\') => out.push_str("\\\\"),
            Some(letter) if letter == quote => out.extend(['\\', letter]),
            Some(letter) if is_printable(letter) => out.push(letter),
            _ if point <= 0xFF => out.extend(["\\x", &format!("{point:02x}")]),
            _ if point <= 0xFFFF => out.extend(["\\u", &format!("{point:04x}")]),
            _ => out.extend(["\\U", &format!("{point:08x}")]),
        }
    }
    out.push(quote);
    out
}

fn python_bytes(bytes: &[u8]) -> String {
    let quote = python_quote(bytes.iter().map(|byte| u32::from(*byte)));
    let mut out = String::from("b");
    out.push(quote);
    for &byte in bytes {
        match byte {
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            _ if char::from(byte) == quote => out.extend(['\\', quote]),
            0x20..=0x7E => out.push(char::from(byte)),
            _ => out.extend(["\\x", &format!("{byte:02x}")]),
        }
    }
    out.push(quote);
    out
}

/// Python's `str.isprintable` of one character. The standard library has the same table behind `escape_debug`, which
/// escapes a combining character only where it comes first.
fn is_printable(letter: char) -> bool {
    if (' '..='~').contains(&letter) {
        return true;
    }
    let mut bytes = [b'a'; 5];
    let length = match bytes.split_first_mut() {
        Some((_, rest)) => match <&mut [u8; 4]>::try_from(rest) {
            Ok(rest) => letter.encode_utf8(rest).len(),
            Err(_) => return false,
        },
        None => return false,
    };
    let text = bytes.get(..=length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    text.escape_debug().nth(1) == Some(letter)
}

#[cfg(test)]
mod tests {
    use super::{python_bytes, python_string};
    use crate::text::Text;

    #[test]
    fn strings_and_bytes_read_as_in_python() {
        let repr = |text| python_string(Text::Utf8(text));
        assert_eq!(repr("h\n\t\r\\"), r"'h\n\t\r\\'");
        assert_eq!(repr("it's"), "\"it's\"");
        assert_eq!(repr("it's \"so\""), "'it\\'s \"so\"'");
        assert_eq!(repr("\u{0}\u{7f}\u{80}\u{a0}\u{ad}"), r"'\x00\x7f\x80\xa0\xad'");
        assert_eq!(repr("é☕e\u{301}\u{301}😀"), "'é☕e\u{301}\u{301}😀'");
        assert_eq!(repr("\u{301}"), "'\u{301}'");
        assert_eq!(
            repr("\u{200b}\u{2028}\u{3000}\u{e000}\u{fffe}\u{e0001}"),
            r"'\u200b\u2028\u3000\ue000\ufffe\U000e0001'"
        );
        assert_eq!(python_string(Text::Ucs2(&[0xD800, 0x61])), r"'\ud800a'");
        assert_eq!(python_bytes(b"\x00a'\xff"), r#"b"\x00a'\xff""#);
    }
}

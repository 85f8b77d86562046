//! The two written forms of expressions: the shared vectors, random trees, and hostile text.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use stroboscope_core::expr::{Expression, Invalid, Symbols, decode, print, template, text};

const VECTORS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/expressions.json"));

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    vectors: Vec<Vector<'a>>,
}

#[derive(Deserialize)]
struct Vector<'a> {
    id: &'a str,
    kind: &'a str,
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    dsl: Option<String>,
    text: Option<String>,
    segments: Option<Vec<Segment<'a>>>,
    wrap: Option<Wrap<'a>>,
    #[serde(borrow)]
    expect: BTreeMap<&'a str, &'a RawValue>,
}

#[derive(Deserialize)]
struct Segment<'a> {
    #[serde(borrow)]
    json: Option<&'a RawValue>,
    str: Option<String>,
    dsl: Option<String>,
}

#[derive(Deserialize)]
struct Wrap<'a> {
    op: &'a str,
    times: usize,
    #[serde(borrow)]
    with: Option<&'a RawValue>,
}

impl Vector<'_> {
    /// The expression as it would be received; a JSON null stands for the constant.
    fn json(&self) -> String {
        let inner = raw(self.json);
        let Some(wrap) = &self.wrap else { return inner.to_owned() };
        let (open, close) = match wrap.with {
            Some(with) => (format!("{{\"{}\": [", wrap.op), format!(", {with}]}}")),
            None => (format!("{{\"{}\": ", wrap.op), "}".to_owned()),
        };
        format!("{}{inner}{}", open.repeat(wrap.times), close.repeat(wrap.times))
    }

    fn error(&self) -> Option<String> {
        self.expect.get("error").map(|text| serde_json::from_str(text.get()).unwrap())
    }

    fn text(&self) -> &str {
        self.text.as_deref().unwrap()
    }
}

fn raw(json: Option<&RawValue>) -> &str {
    json.map_or("null", RawValue::get)
}

fn compile(dsl: Option<&str>, json: Option<&str>) -> Result<Expression, Invalid> {
    Expression::compile(dsl, json, &mut Symbols::default(), &|_| false)
}

/// The canonical text of a JSON form is what is printed, and reads back as the same tree.
fn agree(id: &str, json: &str, dsl: Option<&str>) {
    let tree = decode::decode(json).unwrap_or_else(|error| panic!("{id}: {error}"));
    let printed = print::print(&tree);
    if let Some(dsl) = dsl {
        assert_eq!(printed, dsl, "{id}: printed form");
    }
    let back = text::parse(&printed).unwrap_or_else(|error| panic!("{id}: {printed}: {error}"));
    assert_eq!(print::print(&back), printed, "{id}: printed, read and printed again");
    compile(dsl, Some(json)).unwrap_or_else(|error| panic!("{id}: {error}"));
}

/// The same of a text that comes without its JSON form.
fn text_agrees(id: &str, dsl: &str) {
    let tree = text::parse(dsl).unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_eq!(text::parse(&print::print(&tree)).unwrap(), tree, "{id}: printed and read again");
}

fn refused(id: &str, result: Result<Expression, Invalid>) {
    let error = result.err().unwrap_or_else(|| panic!("{id}: is accepted"));
    assert!(error.0.starts_with("Invalid expression: "), "{id}: {error}");
    assert!(error.0.len() < 300, "{id}: {error}");
}

#[test]
fn vectors() {
    let file: File<'_> = serde_json::from_str(VECTORS).unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for vector in &file.vectors {
        let id = vector.id;
        let error = vector.error();
        let checked = match vector.kind {
            "parse" if error.is_some() => {
                refused(id, compile(Some(vector.text()), None));
                "parse refused"
            }
            "parse" => {
                let expected = decode::decode(vector.expect["json"].get()).unwrap();
                let tree = text::parse(vector.text()).unwrap_or_else(|error| panic!("{id}: {error}"));
                assert_eq!(tree, expected, "{id}");
                "parse"
            }
            "print" => {
                let expected: String = serde_json::from_str(vector.expect["text"].get()).unwrap();
                agree(id, &vector.json(), Some(&expected));
                "print"
            }
            "template" => {
                for segment in vector.segments.as_ref().unwrap() {
                    // This one shows that the JSON form alone counts.
                    let dsl = segment.dsl.as_deref().filter(|_| id != "tpl-059");
                    match (&segment.str, segment.json, dsl) {
                        (Some(_), ..) => {}
                        (None, None, Some(dsl)) => text_agrees(id, dsl),
                        (None, json, dsl) => agree(id, raw(json), dsl),
                    }
                }
                "template"
            }
            _ if error.as_deref() == Some("syntax") => {
                refused(id, compile(vector.dsl.as_deref(), Some(&vector.json())));
                "syntax"
            }
            _ if vector.json.is_none() && vector.dsl.is_some() => {
                text_agrees(id, vector.dsl.as_deref().unwrap());
                "read and printed"
            }
            _ => {
                agree(id, &vector.json(), vector.dsl.as_deref());
                if let Some(dsl) = &vector.dsl {
                    // Without the JSON form the text gives the same tree, but for the grouping of chains and for
                    // members that are no identifiers.
                    assert!(compile(Some(dsl), None).is_ok(), "{id}");
                }
                "read and printed"
            }
        };
        *counts.entry(checked).or_default() += 1;
    }
    for kind in ["parse", "parse refused", "print", "template", "syntax", "read and printed"] {
        assert!(counts.get(kind).is_some_and(|&count| count > 0), "no vector of '{kind}' was run");
    }
    let passed: usize = counts.values().sum();
    assert_eq!(passed, file.vectors.len());
    println!("{passed} passed {counts:?}");
}

/// A small generator; the same seed gives the same trees.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A random expression in its JSON form.
    fn json(&mut self, depth: usize, inside: bool, chains: bool, out: &mut String) {
        if depth == 0 {
            return self.leaf(inside, out);
        }
        let node = |random: &mut Random, out: &mut String| {
            let depth = random.below(depth);
            random.json(depth, inside, chains, out);
        };
        match self.below(8) {
            0 => {
                let op = self.pick(&["not", "len", "count", "isEmpty", "isDefined", "isUndefined", "!"]);
                let _ = write!(out, "{{\"{op}\": ");
                node(self, out);
                out.push('}');
            }
            1 => {
                let op = self.pick(&["and", "or", "&&", "||"]);
                let _ = write!(out, "{{\"{op}\": [");
                node(self, out);
                for _ in 0..if chains { self.below(4) } else { 1 } {
                    out.push(',');
                    node(self, out);
                }
                out.push_str("]}");
            }
            2 => {
                let op = self.pick(&["any", "all", "filter", "hasAny", "hasAll"]);
                let _ = write!(out, "{{\"{op}\": [");
                node(self, out);
                out.push_str(", ");
                self.json(depth - 1, true, chains, out);
                out.push_str("]}");
            }
            3 => {
                let name = self.pick(&["name", "null", "instanceof", "$x", "größe", "e5"]);
                out.push_str("{\"getmember\": [");
                node(self, out);
                let _ = write!(out, ", \"{name}\"]}}");
            }
            4 => {
                out.push_str("{\"instanceof\": [");
                node(self, out);
                out.push_str(", \"shop.Box\"]}");
            }
            5 => {
                out.push_str("{\"substring\": [");
                node(self, out);
                for _ in 0..=self.below(2) {
                    out.push(',');
                    node(self, out);
                }
                out.push_str("]}");
            }
            _ => {
                let op = self.pick(&[
                    "eq",
                    "ne",
                    "gt",
                    "ge",
                    "lt",
                    "le",
                    "==",
                    "neq",
                    "contains",
                    "startsWith",
                    "endsWith",
                    "index",
                    "index",
                ]);
                let _ = write!(out, "{{\"{op}\": [");
                node(self, out);
                out.push_str(" , ");
                node(self, out);
                out.push_str("]}");
            }
        }
    }

    fn leaf(&mut self, inside: bool, out: &mut String) {
        match self.below(4) {
            0 => {
                let specials = ["@duration", "@return", "@exception", "@it", "@key", "@value"];
                let known = if inside { 6 } else { 3 };
                let _ = write!(out, "{{\"ref\": \"{}\"}}", specials[self.below(known)]);
            }
            1 => {
                let name = self.pick(&["user", "len", "any", "not", "instanceof", "_", "$", "élan", "a1", "Null"]);
                let _ = write!(out, "{{\"ref\": \"{name}\"}}");
            }
            2 => out.push_str(self.pick(&[
                "0",
                "-0",
                "-1",
                "17",
                "-0.0",
                "0.5",
                "-2.5e-9",
                "1e300",
                "1e21",
                "1E-7",
                "123456789012345678901234567890",
                "-123456789012345678901234567890",
                "1e999",
                "-1e999",
                "9223372036854775807",
                "-9223372036854775808",
                "5e-324",
            ])),
            _ => out.push_str(self.pick(&[
                "null",
                "true",
                "false",
                "\"\"",
                "\"mug\"",
                "\"a\\\"b'c\\\\d\\n\\t\\r\\u0000\\u007f\\u0085\"",
                "\"\\ud83d\\ude00 {x} \\/\"",
                "\"\\\\d+\\\\u0041\"",
            ])),
        }
    }
}

#[test]
fn random_trees_survive_printing() {
    let mut random = Random(0x5eed_1234_5678);
    let mut longest = 0;
    for round in 0..4000 {
        let mut json = String::new();
        let depth = random.below(9);
        random.json(depth, false, false, &mut json);
        let tree = decode::decode(&json).unwrap_or_else(|error| panic!("round {round}: {json}: {error}"));
        let printed = print::print(&tree);
        longest = longest.max(printed.len());
        let back = text::parse(&printed).unwrap_or_else(|error| panic!("round {round}: {printed}: {error}"));
        assert!(tree == back, "round {round}: {json}\n{printed}\n{}", print::print(&back));
    }
    assert!(longest > 200, "the generator makes small trees only");
}

#[test]
fn random_chains_keep_their_text() {
    let mut random = Random(0xc4a1_2222_1111);
    for round in 0..2000 {
        let mut json = String::new();
        random.json(6, false, true, &mut json);
        let printed = print::print(&decode::decode(&json).unwrap());
        let back = text::parse(&printed).unwrap_or_else(|error| panic!("round {round}: {printed}: {error}"));
        assert_eq!(print::print(&back), printed, "round {round}");
    }
}

#[test]
fn parentheses_are_the_fewest() {
    // Taking away any one pair changes the tree or spoils the text.
    let mut random = Random(0xfe3_7777);
    let mut pairs = 0;
    for _ in 0..1000 {
        let mut json = String::new();
        random.json(5, false, false, &mut json);
        let tree = decode::decode(&json).unwrap();
        let printed = print::print(&tree);
        let bytes = printed.as_bytes();
        let mut open = Vec::new();
        let mut in_text = false;
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'"' if at == 0 || bytes[at - 1] != b'\\' || bytes[..at].ends_with(b"\\\\") => in_text = !in_text,
                b'(' if !in_text => open.push(at),
                b')' if !in_text => {
                    let first = open.pop().unwrap();
                    let mut shorter = bytes.to_vec();
                    shorter.remove(at);
                    shorter.remove(first);
                    let shorter = String::from_utf8(shorter).unwrap();
                    if let Ok(other) = text::parse(&shorter) {
                        assert!(tree != other, "{printed}\n{shorter}");
                    }
                    pairs += 1;
                }
                _ => {}
            }
        }
    }
    assert!(pairs > 1000, "{pairs} pairs");
}

#[test]
fn hostile_text_never_panics() {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "\"",
        "'",
        "\\",
        "\\u",
        "\\ud83d",
        "\\ude00",
        "d83d",
        ",",
        ":",
        ".",
        "-",
        "!",
        "&&",
        "||",
        "==",
        "=",
        "<",
        ">=",
        "&",
        "|",
        "@",
        "@it",
        "@foo",
        "ref",
        "\"ref\":",
        "{\"not\":",
        "{\"eq\":[",
        "{\"and\":[",
        "\"len\"",
        "any(",
        "len(",
        "substring(",
        "instanceof",
        "instanceof(",
        "a",
        "é",
        "☕",
        "\u{0}",
        "\n",
        " ",
        "0",
        "12",
        "1.5e",
        "e9",
        "null",
        "true",
        "nul",
        "#",
        "{{",
        "}}",
        "\u{feff}",
    ];
    let mut random = Random(0xbad_f00d);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..30_000 {
        let mut input = String::new();
        for _ in 0..random.below(12) {
            input.push_str(random.pick(&pieces));
        }
        for result in [decode::decode(&input), text::parse(&input)] {
            match result {
                Ok(tree) => {
                    let printed = print::print(&tree);
                    assert!(text::parse(&printed).is_ok(), "{input}\n{printed}");
                    read += 1;
                }
                Err(error) => {
                    assert!(error.0.starts_with("Invalid expression: ") && error.0.len() < 400, "{input}: {error}");
                    refused += 1;
                }
            }
        }
        let _ = template::parse(&input);
        let _ = template::warning(&input);
    }
    assert!(read > 100 && refused > 1000, "{read} read, {refused} refused");
}

#[test]
fn broken_json_is_refused_at_every_cut() {
    let json = r#"{"and": [{"any": [{"ref": "l"}, {"eq": [{"ref": "@it"}, -1.5e+3]}]}, {"getmember": [{"ref": "é"}, "\u00e9\n"]}, {"substring": ["x", 1, 2]}]}"#;
    assert!(decode::decode(json).is_ok());
    let mut cuts = 0;
    for at in (0..json.len()).filter(|&at| json.is_char_boundary(at)) {
        assert!(decode::decode(&json[..at]).is_err(), "cut at {at}");
        let without: String = json[..at].chars().chain(json[at..].chars().skip(1)).collect();
        let _ = decode::decode(&without);
        cuts += 1;
    }
    assert!(cuts > 100);
}

/// Runs on a stack that would not bear recursion.
#[allow(clippy::disallowed_methods, reason = "the size of the stack is what is tested")]
fn on_a_small_stack(run: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().stack_size(256 * 1024).spawn(run).unwrap().join().unwrap();
}

fn nested(open: &str, inner: &str, close: &str, times: usize) -> String {
    format!("{}{inner}{}", open.repeat(times), close.repeat(times))
}

#[test]
fn a_thousand_levels_are_read_on_a_small_stack_and_more_are_refused() {
    on_a_small_stack(|| {
        let json = [
            (r#"{"not": "#, "true", "}"),
            (r#"{"or": ["#, "true", ", false]}"),
            (r#"{"and": [true, "#, "true", "]}"),
            (r#"{"eq": [1, "#, "true", "]}"),
            (r#"{"getmember": ["#, r#"{"ref": "x"}"#, r#", "a"]}"#),
            (r#"{"index": [{"ref": "x"}, "#, "-1", "]}"),
            (r#"{"substring": [{"ref": "x"}, 1, "#, "-1", "]}"),
            (r#"{"instanceof": ["#, "-1", r#", "T"]}"#),
            (r#"{"any": [{"ref": "x"}, "#, r#"{"ref": "@it"}"#, "]}"),
        ];
        for (open, inner, close) in json {
            let expression = compile(None, Some(&nested(open, inner, close, 1000)));
            let expression = expression.unwrap_or_else(|error| panic!("{open}: {error}"));
            let again = compile(Some(&expression.text), None).unwrap_or_else(|error| panic!("{open}: {error}"));
            assert!(print::print(&decode::decode(&nested(open, inner, close, 1000)).unwrap()) == again.text, "{open}");
            for times in [1001, 100_000] {
                let error = compile(None, Some(&nested(open, inner, close, times))).unwrap_err();
                assert_eq!(error.0, "Invalid expression: it is nested deeper than 1000 levels", "{open}");
            }
            // Left open, it is as deep and has no end.
            assert!(decode::decode(&open.repeat(100_000)).is_err());
        }
        let text = [
            ("!", "a", ""),
            ("not(", "a", ")"),
            ("(", "a", ")"),
            ("a[", "0", "]"),
            ("a && (", "a", ")"),
            ("any(a, {", "@it", "})"),
            ("a == (!", "a", ")"),
        ];
        for (open, inner, close) in text {
            let levels = if open.ends_with('!') && open.len() > 1 { 500 } else { 1000 };
            let result = text::parse(&nested(open, inner, close, levels));
            assert!(result.is_ok(), "{open}: {}", result.unwrap_err());
            let error = text::parse(&nested(open, inner, close, 100_000)).unwrap_err();
            assert!(error.0.contains("nested deeper than 1000 levels"), "{open}: {error}");
            assert!(text::parse(&open.repeat(100_000)).is_err());
        }
        for (open, inner, close) in [("", "a", ".b"), ("", "a", "[0]"), ("", "a", " instanceof \"T\"")] {
            assert_eq!(text::parse(&nested(open, inner, close, 1000)).is_ok(), close.len() < 5, "{close}");
            assert!(text::parse(&nested(open, inner, close, 100_000)).is_err());
        }
        // Long chains are wide, not deep.
        for sign in [" || ", " && "] {
            let chain = ["a"].repeat(50_000).join(sign);
            assert!(text::parse(&chain).unwrap_or_else(|error| panic!("{error}")).nodes.len() == 50_001);
            assert_eq!(print::print(&text::parse(&chain).unwrap()), chain);
        }
        assert!(template::parse(&format!("a {{{}}} b", nested("(", "a", ")", 1000))).is_ok());
        // The engine compiles by recursion, so it has a depth of its own. Not optimised, as here, it takes ten times
        // the stack.
        for (open, close) in [("(", ")"), ("(", ")*"), ("(?:", ")?"), ("(a|", ")"), ("([b-d]{1,2}x|(?:", ")+y)")] {
            for (levels, accepted) in [(5, true), (65, false), (100_000, false)] {
                let text = format!("matches(s, \"{}\")", nested(open, "a", close, levels));
                let result = compile(Some(&text), None);
                assert_eq!(result.is_ok(), accepted, "{levels} times {open}{close}: {:?}", result.err());
            }
        }
    });
}

#[test]
fn many_patterns_are_all_checked_and_few_are_kept() {
    let mut chain = "matches(s, 'first')".to_owned();
    (0..300).for_each(|n| write!(chain, " || matches(s, '^{}$')", n % 150).unwrap());
    let expression = compile(Some(&chain), None).unwrap();
    assert_eq!(expression.patterns.len(), 1 + 63 + 63, "64 patterns, all but the first used twice");
    assert!(expression.patterns.is_sorted_by_key(|(id, _)| *id));
    chain.push_str(" || matches(s, '(')");
    assert!(compile(Some(&chain), None).is_err());
}

#[test]
fn size_costs_no_more_than_its_share() {
    // Quadratic work would take minutes here.
    let digits = "7".repeat(100_000);
    let tree = decode::decode(&digits).unwrap();
    assert_eq!(print::print(&tree), digits);
    let wide = format!("{{\"or\": [{}]}}", [r#"{"eq": [{"ref": "x"}, "t"]}"#].repeat(50_000).join(","));
    assert!(compile(Some("x"), Some(&wide)).is_ok());
    let mut names = "true".to_owned();
    (0..20_000).for_each(|n| write!(names, " || n{n} == 1").unwrap());
    assert!(compile(Some(&names), None).is_ok());
    let string = format!("\"{}\"", "é\\n\\u00e9".repeat(100_000));
    assert!(decode::decode(&string).is_ok() && text::parse(&string).is_ok());
    assert!(template::parse(&"{{a}} {b} ".repeat(30_000)).is_ok());
    assert!(template::warning(&"{{ {{a ".repeat(100_000)).is_none());
    let long_name = "n".repeat(1_000_000);
    let error = text::parse(&format!("{long_name}(1)")).unwrap_err();
    assert!(error.0.len() < 200, "{error}");
}

//! The JSON form. It reads raw JSON text itself: integers stay exact, an object with two keys is seen, depth costs no
//! stack, and the cost is linear in the input.
//!
//! It stands on the walk of a configuration going in: `mod.rs` comes before with the text as it was received;
//! `check.rs` comes after.

use super::Invalid;
use super::check::{self, quoted};
use super::literal::{self, Escape};
use super::tree::{Binary, Builder, Logic, Node, NodeId, Quantifier, Tree, Unary};

/// An operator of the JSON form.
#[derive(Clone, Copy)]
enum Op {
    Ref,
    Unary(Unary),
    Logic(Logic),
    Binary(Binary),
    Quantifier(Quantifier),
    Member,
    Substring,
    InstanceOf,
}

impl Op {
    /// The operator of a key: the names of the UI, and the aliases that other tracers know.
    fn from_name(name: &str) -> Option<Op> {
        Some(match name {
            "ref" => Op::Ref,
            "not" | "!" => Op::Unary(Unary::Not),
            "len" => Op::Unary(Unary::Len),
            "count" => Op::Unary(Unary::Count),
            "isEmpty" => Op::Unary(Unary::IsEmpty),
            "isDefined" => Op::Unary(Unary::IsDefined),
            "isUndefined" => Op::Unary(Unary::IsUndefined),
            "and" | "&&" => Op::Logic(Logic::And),
            "or" | "||" => Op::Logic(Logic::Or),
            "eq" | "==" => Op::Binary(Binary::Eq),
            "ne" | "neq" | "!=" => Op::Binary(Binary::Ne),
            "gt" | ">" => Op::Binary(Binary::Gt),
            "ge" | ">=" => Op::Binary(Binary::Ge),
            "lt" | "<" => Op::Binary(Binary::Lt),
            "le" | "<=" => Op::Binary(Binary::Le),
            "contains" => Op::Binary(Binary::Contains),
            "startsWith" => Op::Binary(Binary::StartsWith),
            "endsWith" => Op::Binary(Binary::EndsWith),
            "matches" => Op::Binary(Binary::Matches),
            "index" => Op::Binary(Binary::Index),
            "any" | "hasAny" => Op::Quantifier(Quantifier::Any),
            "all" | "hasAll" => Op::Quantifier(Quantifier::All),
            "filter" => Op::Quantifier(Quantifier::Filter),
            "getmember" => Op::Member,
            "substring" => Op::Substring,
            "instanceof" => Op::InstanceOf,
            _ => return None,
        })
    }

    /// The name for error texts.
    fn name(self) -> &'static str {
        match self {
            Op::Ref => "ref",
            Op::Unary(op) => op.name(),
            Op::Logic(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Quantifier(op) => op.name(),
            Op::Member => "getmember",
            Op::Substring => "substring",
            Op::InstanceOf => "instanceof",
        }
    }

    /// Fewest and most elements of the operator's array.
    fn arity(self) -> (usize, usize) {
        match self {
            Op::Ref | Op::Unary(_) => (1, 1),
            Op::Logic(_) => (1, usize::MAX),
            Op::Substring => (2, 3),
            Op::Binary(_) | Op::Quantifier(_) | Op::Member | Op::InstanceOf => (2, 2),
        }
    }

    /// What is said if the number of operands is wrong.
    fn miscounted(self) -> Invalid {
        let takes = match self.arity() {
            (_, usize::MAX) => "one or more operands".to_owned(),
            (least, most) if least == most => format!("{most} operands"),
            (least, most) => format!("{least} or {most} operands"),
        };
        Invalid::new(format_args!("'{}' takes {takes}, in an array", self.name()))
    }
}

/// An operator whose operands are being read.
struct Open {
    op: Op,
    /// Where its operands begin in the list of finished ones.
    first: usize,
}

/// Reads an expression in its JSON form; `json` is one JSON value as text.
pub fn decode(json: &str) -> Result<Tree, Invalid> {
    let mut reader = Reader { json, at: 0 };
    let mut builder = Builder::default();
    let mut open: Vec<Open> = Vec::new();
    let mut done: Vec<NodeId> = Vec::new();
    loop {
        let Some(leaf) = begin(&mut reader, &mut builder, &mut open, done.len())? else { continue };
        done.push(leaf);
        // The operand may be the last one of its operator, and that operator the last operand of the next.
        while let Some(innermost) = open.last() {
            let Some(node) = finish(&mut reader, &mut builder, innermost, &done)? else { break };
            done.truncate(innermost.first);
            done.push(node);
            open.pop();
        }
        if open.is_empty() {
            reader.end()?;
            let tree = builder.finish();
            check::structure(&tree)?;
            return Ok(tree);
        }
    }
}

/// Reads a leaf whole, or the beginning of an operator, whose first operand comes next.
fn begin(
    reader: &mut Reader<'_>,
    builder: &mut Builder,
    open: &mut Vec<Open>,
    first: usize,
) -> Result<Option<NodeId>, Invalid> {
    let node = match reader.peek() {
        Some(b'{') => {
            let op = reader.operator()?;
            if !matches!(op, Op::Ref) {
                if !matches!(op, Op::Unary(_)) {
                    reader.open_array(op)?;
                }
                open.push(Open { op, first });
                return Ok(None);
            }
            let Some(b'"') = reader.peek() else {
                return Err(Invalid::new("'ref' takes a name in quotes"));
            };
            let name = reader.string()?;
            reader.close_object(op)?;
            reference(builder, &name)?
        }
        Some(b'[') => return Err(Invalid::new("an array stands where an expression is expected")),
        Some(b'"') => {
            if let Some(number) = literal::not_in_json(&reader.json[reader.at..]) {
                return Err(Invalid::new(format_args!("{number} is a number that JSON does not have")));
            }
            Node::Str(builder.text(reader.string()?))
        }
        Some(b'-' | b'0'..=b'9') => reader.number()?,
        _ if reader.word("null") => Node::Null,
        _ if reader.word("true") => Node::Bool(true),
        _ if reader.word("false") => Node::Bool(false),
        _ => return Err(reader.malformed("a value")),
    };
    Ok(Some(builder.node(node)))
}

/// Looks at what follows an operand. `None`: another operand comes next.
fn finish(
    reader: &mut Reader<'_>,
    builder: &mut Builder,
    open: &Open,
    done: &[NodeId],
) -> Result<Option<NodeId>, Invalid> {
    let op = open.op;
    let operands = &done[open.first..];
    let node = match op {
        Op::Unary(unary) => Node::Unary(unary, operands[0]),
        Op::Member => {
            let name = reader.literal_operand(op, "member name")?;
            Node::Member(operands[0], builder.symbol(&name))
        }
        Op::InstanceOf => {
            let name = reader.literal_operand(op, "class name")?;
            Node::InstanceOf(operands[0], builder.text(name))
        }
        Op::Ref | Op::Logic(_) | Op::Binary(_) | Op::Quantifier(_) | Op::Substring => {
            let (least, most) = op.arity();
            if reader.comma_or_close(b']')? {
                return if operands.len() < most { Ok(None) } else { Err(op.miscounted()) };
            }
            if operands.len() < least {
                return Err(op.miscounted());
            }
            match op {
                Op::Binary(binary) => Node::Binary(binary, operands[0], operands[1]),
                Op::Quantifier(quantifier) => Node::Quantifier(quantifier, operands[0], operands[1]),
                Op::Logic(logic) => {
                    reader.close_object(op)?;
                    return Ok(Some(builder.logic(logic, operands)));
                }
                _ => Node::Substring(operands[0], operands[1], operands.get(2).copied()),
            }
        }
    };
    reader.close_object(op)?;
    Ok(Some(builder.node(node)))
}

/// The node of a name: a variable, or a special one.
fn reference(builder: &mut Builder, name: &str) -> Result<Node, Invalid> {
    if name.starts_with('@') {
        return Ok(Node::Special(check::special(name)?));
    }
    if !check::is_identifier(name) {
        return Err(Invalid::new(format_args!("{} is not a name", quoted(name))));
    }
    Ok(Node::Ref(builder.symbol(name)))
}

/// The JSON text and the place in it.
struct Reader<'j> {
    json: &'j str,
    at: usize,
}

impl Reader<'_> {
    /// The next byte that is no white space, not taken.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.json.as_bytes()[self.at..];
        self.at += rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).count();
        self.json.as_bytes().get(self.at).copied()
    }

    /// Takes a byte if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Takes `null`, `true` or `false` if it comes next.
    fn word(&mut self, word: &str) -> bool {
        let next = self.json[self.at..].starts_with(word);
        self.at += if next { word.len() } else { 0 };
        next
    }

    fn malformed(&self, expected: &str) -> Invalid {
        let found = match self.json[self.at..].chars().next() {
            Some(c) => quoted(c.encode_utf8(&mut [0; 4])),
            None => "its end".to_owned(),
        };
        Invalid::new(format_args!("malformed JSON at byte {}: expected {expected}, found {found}", self.at))
    }

    fn end(&mut self) -> Result<(), Invalid> {
        if self.peek().is_some() { Err(self.malformed("the end")) } else { Ok(()) }
    }

    /// Takes `{"name":`.
    fn operator(&mut self) -> Result<Op, Invalid> {
        self.take(b'{');
        if self.take(b'}') {
            return Err(Invalid::new("an object without an operator"));
        }
        if self.peek() != Some(b'"') {
            return Err(self.malformed("an operator in quotes"));
        }
        let name = self.string()?;
        if !self.take(b':') {
            return Err(self.malformed("':'"));
        }
        Op::from_name(&name).ok_or_else(|| Invalid::new(format_args!("unknown operator {}", quoted(&name))))
    }

    /// Takes the `[` of an operator's operands; there must be one.
    fn open_array(&mut self, op: Op) -> Result<(), Invalid> {
        match self.peek() {
            Some(b'[') => self.at += 1,
            Some(_) => return Err(op.miscounted()),
            None => return Err(self.malformed("'['")),
        }
        if self.peek() == Some(b']') { Err(op.miscounted()) } else { Ok(()) }
    }

    /// Takes the `}` after an operator's operands.
    fn close_object(&mut self, op: Op) -> Result<(), Invalid> {
        if self.comma_or_close(b'}')? {
            return Err(Invalid::new(format_args!("an object has more than one operator, after '{}'", op.name())));
        }
        Ok(())
    }

    /// Takes a comma (true) or the closing byte (false).
    fn comma_or_close(&mut self, close: u8) -> Result<bool, Invalid> {
        if self.take(b',') {
            return Ok(true);
        }
        if self.take(close) {
            return Ok(false);
        }
        Err(self.malformed(if close == b']' { "',' or ']'" } else { "',' or '}'" }))
    }

    /// Takes `, "text"]`: a second operand that must be a literal.
    fn literal_operand(&mut self, op: Op, what: &str) -> Result<String, Invalid> {
        if !self.comma_or_close(b']')? {
            return Err(op.miscounted());
        }
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err(Invalid::new(format_args!("'{}' takes a {what} in quotes", op.name()))),
            None => return Err(self.malformed("a string")),
        }
        let text = self.string()?;
        if self.comma_or_close(b']')? {
            return Err(op.miscounted());
        }
        if text.is_empty() {
            return Err(Invalid::new(format_args!("'{}' with an empty {what}", op.name())));
        }
        Ok(text)
    }

    /// Takes a number. Without fraction and exponent it is an integer, kept exactly.
    fn number(&mut self) -> Result<Node, Invalid> {
        let first = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        if self.byte() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        let mut whole = true;
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
            whole = false;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
            whole = false;
        }
        let text = &self.json[first..self.at];
        if whole { Ok(literal::integer(text)) } else { Ok(literal::double(text)) }
    }

    fn byte(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn digits(&mut self) -> Result<(), Invalid> {
        let digits = self.json.as_bytes()[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += digits;
        if digits == 0 { Err(self.malformed("a digit")) } else { Ok(()) }
    }

    /// Takes a string; the opening quote comes next.
    fn string(&mut self) -> Result<String, Invalid> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.json[self.at..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(rest.len());
            out.push_str(&rest[..plain]);
            self.at += plain;
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                _ => return Err(self.malformed("the rest of a string")),
            }
        }
    }

    /// Takes one escape; the backslash comes next.
    fn escape(&mut self) -> Result<char, Invalid> {
        self.at += 1;
        let plain = match self.byte() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => match literal::unicode_escape(&self.json[self.at - 1..]) {
                Escape::Character(c, taken) => {
                    self.at += taken - 1;
                    return Ok(c);
                }
                Escape::LoneSurrogate => return Err(Invalid::new("a text with half of a surrogate pair")),
                Escape::Malformed => return Err(self.malformed("an escape of four digits")),
            },
            _ => return Err(self.malformed("an escape")),
        };
        self.at += 1;
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::decode;
    use crate::expr::print::print;
    use crate::expr::tree::Node;

    #[track_caller]
    fn says(json: &str, what: &str) {
        assert_eq!(decode(json).map(|tree| print(&tree)).unwrap_err().0, format!("Invalid expression: {what}"));
    }

    #[test]
    fn every_alias_means_the_same() {
        let aliases = [
            ("==", "eq", "a == b"),
            ("!=", "ne", "a != b"),
            ("neq", "ne", "a != b"),
            (">", "gt", "a > b"),
            (">=", "ge", "a >= b"),
            ("<", "lt", "a < b"),
            ("<=", "le", "a <= b"),
            ("&&", "and", "a && b"),
            ("||", "or", "a || b"),
            ("hasAny", "any", "any(a, {b})"),
            ("hasAll", "all", "all(a, {b})"),
        ];
        for (alias, name, printed) in aliases {
            let json = |op: &str| format!(r#"{{"{op}": [{{"ref": "a"}}, {{"ref": "b"}}]}}"#);
            let tree = decode(&json(alias)).unwrap();
            assert_eq!(tree, decode(&json(name)).unwrap());
            assert_eq!(print(&tree), printed);
        }
        assert_eq!(decode(r#"{"!": true}"#), decode(r#"{"not": true}"#));
    }

    #[test]
    fn numbers_with_fraction_or_exponent_are_doubles() {
        for (json, node) in [
            ("5", Node::Int(5)),
            ("-0", Node::Int(0)),
            ("5.0", Node::Float(5.0)),
            ("5e0", Node::Float(5.0)),
            ("1E400", Node::Float(f64::INFINITY)),
            ("-1e400", Node::Float(f64::NEG_INFINITY)),
            ("1e-400", Node::Float(0.0)),
            ("9007199254740993", Node::Int(9_007_199_254_740_993)),
        ] {
            assert_eq!(decode(json).unwrap().nodes, [node], "{json}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        says(r#"{"xor": [1, 2]}"#, "unknown operator 'xor'");
        says("{}", "an object without an operator");
        says(r#"{"len": "a", "count": "a"}"#, "an object has more than one operator, after 'len'");
        says(r#"{"ref": "a", "ref": "b"}"#, "an object has more than one operator, after 'ref'");
        says("[1]", "an array stands where an expression is expected");
        says(r#"{"not": [true]}"#, "an array stands where an expression is expected");
        says(r#"{"eq": [1]}"#, "'eq' takes 2 operands, in an array");
        says(r#"{"eq": [1, 2, 3]}"#, "'eq' takes 2 operands, in an array");
        says(r#"{"eq": 1}"#, "'eq' takes 2 operands, in an array");
        says(r#"{"and": []}"#, "'and' takes one or more operands, in an array");
        says(r#"{"substring": ["a"]}"#, "'substring' takes 2 or 3 operands, in an array");
        says(r#"{"substring": ["a", 1, 2, 3]}"#, "'substring' takes 2 or 3 operands, in an array");
        says(r#"{"ref": 1}"#, "'ref' takes a name in quotes");
        says(r#"{"ref": "a b"}"#, "'a b' is not a name");
        says(r#"{"ref": ""}"#, "'' is not a name");
        says(r#"{"ref": "@foo"}"#, "unknown special variable '@foo'");
        says(r#"{"ref": "@it"}"#, "'@it' has a meaning in predicates only");
        says(r#"{"any": [{"ref": "@key"}, true]}"#, "'@key' has a meaning in predicates only");
        says(r#"{"getmember": [{"ref": "a"}, {"ref": "b"}]}"#, "'getmember' takes a member name in quotes");
        says(r#"{"getmember": [{"ref": "a"}, ""]}"#, "'getmember' with an empty member name");
        says(r#"{"getmember": [{"ref": "a"}, "b", "c"]}"#, "'getmember' takes 2 operands, in an array");
        says(r#"{"instanceof": ["a"]}"#, "'instanceof' takes 2 operands, in an array");
        says(r#"{"or": [true, {"oops": 1}]}"#, "unknown operator 'oops'");
        says(r#""\ud800""#, "a text with half of a surrogate pair");
        says(r#"{"eq": [1, "\ud800nan"]}"#, "nan is a number that JSON does not have");
        says("", "malformed JSON at byte 0: expected a value, found its end");
        says("nil", "malformed JSON at byte 0: expected a value, found 'n'");
        says("1 2", "malformed JSON at byte 2: expected the end, found '2'");
        says("01", "malformed JSON at byte 1: expected the end, found '1'");
        says("1.", "malformed JSON at byte 2: expected a digit, found its end");
        says("-", "malformed JSON at byte 1: expected a digit, found its end");
        says("\"a", "malformed JSON at byte 2: expected the rest of a string, found its end");
        says(r#""\x""#, "malformed JSON at byte 2: expected an escape, found 'x'");
        says(r#""\u12""#, "malformed JSON at byte 2: expected an escape of four digits, found 'u'");
        says(r#"{"eq": [1 2]}"#, "malformed JSON at byte 10: expected ',' or ']', found '2'");
        says(r#"{"not" true}"#, "malformed JSON at byte 7: expected ':', found 't'");
        says(&format!(r#"{{"{}": 1}}"#, "x".repeat(500)), &format!("unknown operator '{}…'", "x".repeat(64)));
    }

    #[test]
    fn inner_predicates_see_the_names_of_outer_ones() {
        let json = r#"{"any": [{"ref": "l"}, {"all": [{"ref": "@it"}, {"eq": [{"ref": "@key"}, 1]}]}]}"#;
        assert_eq!(print(&decode(json).unwrap()), "any(l, {all(@it, {@key == 1})})");
    }
}

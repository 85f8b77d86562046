//! The printer: a tree as text, with the fewest parentheses that keep it.
//!
//! It stands on the walk of a configuration going in: `decode.rs` comes before, and the text becomes
//! [`super::Expression::text`] where a definition brings none. Messages write floats and strings the same way, so
//! [`push_float`] and [`push_quoted`] are shared with them.

use super::check::is_identifier;
use super::tree::{Binary, Logic, Node, NodeId, Tree};
use std::fmt::Write as _;

/// How tightly a piece of text holds together. An operand that holds less than its place asks for gets parentheses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Equality,
    Relation,
    Unary,
    Postfix,
}

/// What is left to print, last first.
enum Job {
    Node(NodeId, Level),
    Fixed(&'static str),
    Name(u32),
    /// A member name as a key in quotes.
    Key(u32),
    Text(u32),
}

/// Prints a tree that still has its own symbols, as `decode` and `parse` give it.
pub fn print(tree: &Tree) -> String {
    let mut out = String::new();
    if tree.nodes.is_empty() {
        return out;
    }
    let mut jobs = vec![Job::Node(tree.root(), Level::Or)];
    while let Some(job) = jobs.pop() {
        match job {
            Job::Fixed(text) => out.push_str(text),
            Job::Name(symbol) => out.push_str(&tree.symbols[symbol as usize]),
            Job::Key(symbol) => push_quoted(&mut out, &tree.symbols[symbol as usize]),
            Job::Text(text) => push_quoted(&mut out, &tree.texts[text as usize]),
            Job::Node(id, wanted) => node(tree, id, wanted, &mut out, &mut jobs),
        }
    }
    out
}

/// Prints a leaf, or leaves the parts of a node as jobs.
fn node(tree: &Tree, id: NodeId, wanted: Level, out: &mut String, jobs: &mut Vec<Job>) {
    let first = jobs.len();
    let level = match tree.nodes[id as usize] {
        Node::Null => leaf(jobs, "null"),
        Node::Bool(true) => leaf(jobs, "true"),
        Node::Bool(false) => leaf(jobs, "false"),
        Node::Int(_) | Node::Big(_) | Node::Float(_) => return push_number(&tree.nodes[id as usize], wanted, out),
        Node::Str(text) => {
            jobs.push(Job::Text(text));
            Level::Postfix
        }
        Node::Ref(symbol) => {
            jobs.push(Job::Name(symbol));
            Level::Postfix
        }
        Node::Special(special) => leaf(jobs, special.name()),
        Node::Unary(op, of) => {
            jobs.extend([Job::Fixed(op.name()), Job::Fixed("("), Job::Node(of, Level::Or), Job::Fixed(")")]);
            Level::Postfix
        }
        // A chain of one operand is that operand.
        Node::Logic { start, len: 1, .. } => return jobs.push(Job::Node(tree.operands[start as usize], wanted)),
        Node::Logic { op, start, len } => {
            let (level, tighter, sign) = match op {
                Logic::Or => (Level::Or, Level::And, " || "),
                Logic::And => (Level::And, Level::Equality, " && "),
            };
            for (place, &operand) in tree.operands[start as usize..start as usize + len as usize].iter().enumerate() {
                if place > 0 {
                    jobs.push(Job::Fixed(sign));
                }
                jobs.push(Job::Node(operand, if place == 0 { level } else { tighter }));
            }
            level
        }
        Node::Binary(op, left, right) => binary(op, left, right, jobs),
        Node::Quantifier(op, collection, predicate) => {
            jobs.extend([Job::Fixed(op.name()), Job::Fixed("("), Job::Node(collection, Level::Or)]);
            jobs.extend([Job::Fixed(", {"), Job::Node(predicate, Level::Or), Job::Fixed("})")]);
            Level::Postfix
        }
        Node::Member(of, symbol) => {
            jobs.push(Job::Node(of, Level::Postfix));
            let name = &tree.symbols[symbol as usize];
            if is_identifier(name.strip_prefix('#').unwrap_or(name)) {
                jobs.extend([Job::Fixed("."), Job::Name(symbol)]);
            } else {
                // The printed form must stay readable, so such a member is written as the key it nearly is.
                jobs.extend([Job::Fixed("["), Job::Key(symbol), Job::Fixed("]")]);
            }
            Level::Postfix
        }
        Node::Substring(of, from, to) => {
            jobs.extend([Job::Fixed("substring("), Job::Node(of, Level::Or)]);
            jobs.extend([Job::Fixed(", "), Job::Node(from, Level::Or)]);
            if let Some(to) = to {
                jobs.extend([Job::Fixed(", "), Job::Node(to, Level::Or)]);
            }
            jobs.push(Job::Fixed(")"));
            Level::Postfix
        }
        Node::InstanceOf(of, name) => {
            jobs.extend([Job::Node(of, Level::Unary), Job::Fixed(" instanceof "), Job::Text(name)]);
            Level::Relation
        }
    };
    if level < wanted {
        out.push('(');
        jobs.push(Job::Fixed(")"));
    }
    jobs[first..].reverse();
}

fn leaf(jobs: &mut Vec<Job>, text: &'static str) -> Level {
    jobs.push(Job::Fixed(text));
    Level::Postfix
}

fn binary(op: Binary, left: NodeId, right: NodeId, jobs: &mut Vec<Job>) -> Level {
    // Comparisons do not chain, so both sides must hold tighter.
    let (level, tighter, sign) = match op {
        Binary::Eq => (Level::Equality, Level::Relation, " == "),
        Binary::Ne => (Level::Equality, Level::Relation, " != "),
        Binary::Gt => (Level::Relation, Level::Unary, " > "),
        Binary::Ge => (Level::Relation, Level::Unary, " >= "),
        Binary::Lt => (Level::Relation, Level::Unary, " < "),
        Binary::Le => (Level::Relation, Level::Unary, " <= "),
        Binary::Index => {
            jobs.extend([Job::Node(left, Level::Postfix), Job::Fixed("[")]);
            jobs.extend([Job::Node(right, Level::Or), Job::Fixed("]")]);
            return Level::Postfix;
        }
        Binary::Contains | Binary::StartsWith | Binary::EndsWith | Binary::Matches => {
            jobs.extend([Job::Fixed(op.name()), Job::Fixed("("), Job::Node(left, Level::Or)]);
            jobs.extend([Job::Fixed(", "), Job::Node(right, Level::Or), Job::Fixed(")")]);
            return Level::Postfix;
        }
    };
    jobs.extend([Job::Node(left, tighter), Job::Fixed(sign), Job::Node(right, tighter)]);
    level
}

/// Prints a number; a negative one is not a primary, so `(-1).a` needs its parentheses.
fn push_number(node: &Node, wanted: Level, out: &mut String) {
    let first = out.len();
    match node {
        Node::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Node::Big(value) => {
            let _ = write!(out, "{value}");
        }
        // The language has no name for infinity, so a literal beyond the doubles is written as another one.
        Node::Float(value) if value.is_infinite() => out.push_str(if *value > 0.0 { "1e999" } else { "-1e999" }),
        Node::Float(value) => push_float(out, *value),
        _ => {}
    }
    if wanted > Level::Unary && out[first..].starts_with('-') {
        out.insert(first, '(');
        out.push(')');
    }
}

/// Writes a double (4.1): the shortest decimal that reads back as the same double, always with a fraction or an
/// exponent; `NaN`, `Infinity`, `-Infinity`.
pub fn push_float(out: &mut String, value: f64) {
    let size = value.abs();
    // Writing to a string cannot fail.
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if size == 0.0 || (1e-6..1e21).contains(&size) {
        let first = out.len();
        let _ = write!(out, "{value}");
        if !out[first..].contains('.') {
            out.push_str(".0");
        }
    } else {
        let first = out.len();
        let _ = write!(out, "{value:e}");
        if let Some(exponent) = out[first..].find('e').map(|at| first + at + 1)
            && !out[exponent..].starts_with('-')
        {
            out.insert(exponent, '+');
        }
    }
}

/// The text of a double; see [`push_float`].
pub fn float_text(value: f64) -> String {
    let mut out = String::new();
    push_float(&mut out, value);
    out
}

/// Writes a text in double quotes, escaped as the parser reads it (3.12).
pub fn push_quoted(out: &mut String, text: &str) {
    out.push('"');
    text.chars().for_each(|c| push_escaped(out, c));
    out.push('"');
}

/// Writes one character of a text in double quotes.
#[inline]
pub fn push_escaped(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_control() => {
            let _ = write!(out, "\\u{:04X}", u32::from(c));
        }
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::{float_text, print};
    use crate::expr::tree::Tree;

    #[test]
    fn doubles_are_written_as_people_expect() {
        for (value, text) in [
            (5.0, "5.0"),
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (2.75, "2.75"),
            (-1234.5, "-1234.5"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-7"),
            (2.5e-9, "2.5e-9"),
            (1e20, "100000000000000000000.0"),
            (999_999_999_999_999_900_000.0, "999999999999999900000.0"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (-1.5e300, "-1.5e+300"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(float_text(value), text);
        }
    }

    #[test]
    fn a_tree_without_nodes_prints_nothing() {
        assert_eq!(print(&Tree::default()), "");
    }
}

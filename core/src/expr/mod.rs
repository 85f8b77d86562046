//! The expression language: one flat tree, its two written forms, its checks and its evaluation.
//!
//! This file compiles one expression of a definition. It stands on the walk of a configuration going in:
//! `probe/compile.rs` comes before; `decode.rs` or `text.rs`, `check.rs` and `print.rs` do the work; what comes out is
//! read by `eval.rs` and `target.rs` when a hit goes out.

pub mod check;
pub mod decode;
pub mod eval;
pub(crate) mod literal;
pub mod print;
pub mod target;
pub mod template;
pub mod text;
pub mod tree;

use regex::Regex;
use std::collections::HashMap;
use std::fmt;
use tree::{Node, NodeId, Tree};

/// Why an expression was refused: a sentence for people, `Invalid expression: <what>`. It holds names, kinds and
/// places, never a literal's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl Invalid {
    /// Puts the fixed beginning before what is wrong.
    pub(crate) fn new(what: impl fmt::Display) -> Invalid {
        Invalid(format!("Invalid expression: {what}"))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// The names of variables and members that the expressions of one probe read, numbered in the order of first use.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Symbols {
    /// The number of a name; a new name gets the next one.
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.names.len() as u32;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The names by number.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The names by number, for [`crate::probe::model::Probe::symbols`].
    pub fn into_names(self) -> Vec<String> {
        self.names
    }
}

/// A compiled expression of a probe.
#[derive(Clone, Debug)]
pub struct Expression {
    /// The text shown to people and sent as `evaluationErrors[].expr`: the `dsl`, or the printed form.
    pub text: String,
    /// The checked tree. Its nodes carry numbers of the probe's list, so [`Tree::symbols`] is empty.
    pub tree: Tree,
    /// The literal patterns of `matches`, by the id of the *`matches` node*, in rising order. See
    /// [`Expression::pattern`].
    pub patterns: Vec<(NodeId, Regex)>,
    /// The first redacted name that the expression reads, as it is written there. If there is one, every evaluation
    /// fails at once with that name, even if the place could not be reached.
    pub redacted: Option<String>,
    /// What evaluators run.
    pub program: Box<target::Program>,
    /// The same for the commonest shapes, for [`eval`] alone: no other evaluator needs to know of it.
    pub(crate) quick: eval::Quick,
}

impl Expression {
    /// Compiles an expression of a definition: `json` (raw JSON text) if it is there and not `null`, else the text
    /// form in `dsl`. `redacted` tells whether a name is redacted.
    pub fn compile(
        dsl: Option<&str>,
        json: Option<&str>,
        symbols: &mut Symbols,
        redacted: &dyn Fn(&str) -> bool,
    ) -> Result<Expression, Invalid> {
        let dsl = dsl.filter(|text| !text.trim().is_empty());
        // A JSON null counts as missing. The one expression it could mean is read from its text, which is `null` too.
        let json = json.filter(|text| text.trim() != "null");
        let tree = match (json, dsl) {
            (Some(json), _) => decode::decode(json)?,
            (None, Some(dsl)) => text::parse(dsl)?,
            (None, None) => return Err(Invalid::new("it has neither 'json' nor 'dsl'")),
        };
        let text = dsl.map_or_else(|| print::print(&tree), str::to_owned);
        Expression::of_tree(text, tree, symbols, redacted)
    }

    /// Compiles a tree that was read already; `text` is what people are shown.
    pub(crate) fn of_tree(
        text: String,
        mut tree: Tree,
        symbols: &mut Symbols,
        redacted: &dyn Fn(&str) -> bool,
    ) -> Result<Expression, Invalid> {
        let patterns = check::patterns(&tree)?;
        let redacted = check::redacted_name(&tree, redacted).map(str::to_owned);
        // Only an expression that holds leaves names in the probe's list.
        let numbers: Vec<u32> = tree.symbols.iter().map(|name| symbols.number(name)).collect();
        for node in &mut tree.nodes {
            if let Node::Ref(symbol) | Node::Member(_, symbol) = node {
                *symbol = numbers[*symbol as usize];
            }
        }
        tree.symbols = Vec::new();
        let program = Box::new(target::lower(&tree, symbols.names(), &patterns));
        let quick = eval::Quick::of(&program);
        Ok(Expression { text, tree, patterns, redacted, program, quick })
    }

    /// The compiled pattern of a `matches` node whose second operand is a literal. Computed patterns are compiled by
    /// [`check::pattern`], under the same limits.
    #[inline]
    pub fn pattern(&self, matches: NodeId) -> Option<&Regex> {
        let found = self.patterns.binary_search_by_key(&matches, |(id, _)| *id).ok()?;
        Some(&self.patterns[found].1)
    }
}

#[cfg(test)]
mod tests {
    use super::{Expression, Symbols};
    use crate::expr::tree::Node;

    fn compile(dsl: Option<&str>, json: Option<&str>) -> Result<Expression, String> {
        Expression::compile(dsl, json, &mut Symbols::default(), &|_| false).map_err(|invalid| invalid.0)
    }

    #[test]
    fn the_json_form_counts_and_the_text_is_shown() {
        let both = compile(Some("what the user typed"), Some(r#"{"ref": "a"}"#)).unwrap();
        assert_eq!((both.text.as_str(), both.tree.nodes.len()), ("what the user typed", 1));
        for dsl in [None, Some(""), Some(" ")] {
            assert_eq!(compile(dsl, Some(r#"{"not": {"ref": "a"}}"#)).unwrap().text, "not(a)");
            let missing = "Invalid expression: it has neither 'json' nor 'dsl'";
            assert_eq!(compile(dsl, None).unwrap_err(), missing);
            assert_eq!(compile(dsl, Some("null")).unwrap_err(), missing);
        }
        assert_eq!(compile(Some("!a"), None).unwrap().text, "!a");
        assert_eq!(compile(Some("!a"), Some(" null ")).unwrap().tree.nodes.len(), 2);
        assert_eq!(compile(Some("null"), Some("null")).unwrap().tree.nodes, [Node::Null]);
    }

    #[test]
    fn the_expressions_of_a_probe_share_their_symbols() {
        let mut symbols = Symbols::default();
        let mut add = |text| Expression::compile(Some(text), None, &mut symbols, &|_| false);
        let first = add("a.b == b.a").unwrap();
        let second = add("c.b").unwrap();
        assert!(add("lost.matches && matches(also, '(')").is_err());
        let (a, b, c) = (0, 1, 2);
        let members = [Node::Ref(a), Node::Member(0, b), Node::Ref(b), Node::Member(2, a)];
        assert_eq!(first.tree.nodes[..4], members);
        assert_eq!(second.tree.nodes, [Node::Ref(c), Node::Member(0, b)]);
        assert_eq!(symbols.into_names(), ["a", "b", "c"]);
    }

    #[test]
    fn literal_patterns_are_kept_by_their_node() {
        let two = compile(Some("matches(s, '^a') || matches(s, 'b$') || matches(s, k)"), None).unwrap();
        let found: Vec<Option<&str>> =
            (0..two.tree.nodes.len() as u32).map(|id| two.pattern(id).map(regex::Regex::as_str)).collect();
        assert_eq!(found.iter().flatten().collect::<Vec<_>>(), [&"^a", &"b$"]);
        assert!(matches!(two.tree.nodes[two.patterns[1].0 as usize], Node::Binary(..)));
    }
}

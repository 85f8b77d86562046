//! The expression as one flat tree: a vector of nodes in post-order, children before their parent, the root last.
//! Everything that walks it (checker, evaluator, printer, drop) uses explicit stacks, so depth costs no stack.
//!
//! It stands where the two walks meet: a configuration going in is read into it (`decode.rs` and `text.rs` before,
//! `check.rs` and `mod.rs` after), a hit going out evaluates it (`eval.rs`, `target.rs`).

use num_bigint::BigInt;
use std::collections::HashMap;

/// Index of a node in [`Tree::nodes`].
pub type NodeId = u32;

/// Deepest nesting that is accepted: the number of operators around the innermost operand.
pub const MAX_DEPTH: usize = 1000;

/// `not`, `len`, …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Unary {
    Not,
    Len,
    Count,
    IsEmpty,
    IsDefined,
    IsUndefined,
}

impl Unary {
    /// The name in both written forms and in error texts.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Not => "not",
            Unary::Len => "len",
            Unary::Count => "count",
            Unary::IsEmpty => "isEmpty",
            Unary::IsDefined => "isDefined",
            Unary::IsUndefined => "isUndefined",
        }
    }
}

/// `and`, `or`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Logic {
    And,
    Or,
}

impl Logic {
    /// The name in the JSON form.
    pub fn name(self) -> &'static str {
        match self {
            Logic::And => "and",
            Logic::Or => "or",
        }
    }
}

/// Operators of two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Binary {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Index,
}

impl Binary {
    /// The name in the JSON form; of the text operators, the function's name in the text form too.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Eq => "eq",
            Binary::Ne => "ne",
            Binary::Gt => "gt",
            Binary::Ge => "ge",
            Binary::Lt => "lt",
            Binary::Le => "le",
            Binary::Contains => "contains",
            Binary::StartsWith => "startsWith",
            Binary::EndsWith => "endsWith",
            Binary::Matches => "matches",
            Binary::Index => "index",
        }
    }
}

/// `any`, `all`, `filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Quantifier {
    Any,
    All,
    Filter,
}

impl Quantifier {
    /// The name in both written forms and in error texts.
    pub fn name(self) -> &'static str {
        match self {
            Quantifier::Any => "any",
            Quantifier::All => "all",
            Quantifier::Filter => "filter",
        }
    }
}

/// The six names that begin with `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Special {
    It,
    Key,
    Value,
    Duration,
    Return,
    Exception,
}

impl Special {
    /// The special variable of a name written with its `@`.
    pub fn from_name(name: &str) -> Option<Special> {
        Some(match name {
            "@it" => Special::It,
            "@key" => Special::Key,
            "@value" => Special::Value,
            "@duration" => Special::Duration,
            "@return" => Special::Return,
            "@exception" => Special::Exception,
            _ => return None,
        })
    }

    /// The name with its `@`.
    pub fn name(self) -> &'static str {
        match self {
            Special::It => "@it",
            Special::Key => "@key",
            Special::Value => "@value",
            Special::Duration => "@duration",
            Special::Return => "@return",
            Special::Exception => "@exception",
        }
    }

    /// True for the names that only a predicate gives a meaning.
    pub fn needs_predicate(self) -> bool {
        matches!(self, Special::It | Special::Key | Special::Value)
    }
}

/// One node. Names are indexes into the probe's symbol list ([`crate::host::Symbol`]), other texts into
/// [`Tree::texts`].
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// An integer of 64 bits.
    Int(i64),
    /// Any other integer.
    Big(Box<BigInt>),
    /// A double.
    Float(f64),
    /// A literal string.
    Str(u32),
    /// A variable.
    Ref(u32),
    /// A special variable.
    Special(Special),
    /// One operand.
    Unary(Unary, NodeId),
    /// One or more operands: `len` ids from `start` in [`Tree::operands`].
    Logic {
        /// Which.
        op: Logic,
        /// First operand.
        start: u32,
        /// Number of operands.
        len: u32,
    },
    /// Two operands.
    Binary(Binary, NodeId, NodeId),
    /// A collection and a predicate.
    Quantifier(Quantifier, NodeId, NodeId),
    /// A named member.
    Member(NodeId, u32),
    /// A part of a text: from, and to.
    Substring(NodeId, NodeId, Option<NodeId>),
    /// A class test; the name is a text.
    InstanceOf(NodeId, u32),
}

/// A whole expression.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    /// Post-order; the root is the last.
    pub nodes: Vec<Node>,
    /// Operands of [`Node::Logic`].
    pub operands: Vec<NodeId>,
    /// Literal strings and class names.
    pub texts: Vec<String>,
    /// Names of variables and members, numbered as in the nodes. [`crate::expr::Expression`] renumbers them into the
    /// probe's list.
    pub symbols: Vec<String>,
}

impl Tree {
    /// The root's id.
    pub fn root(&self) -> NodeId {
        self.nodes.len().saturating_sub(1) as NodeId
    }

    /// True if the expression reads a special variable anywhere.
    pub fn reads(&self, special: Special) -> bool {
        self.nodes.contains(&Node::Special(special))
    }

    /// Calls `visit` with each child of a node, left to right.
    #[inline]
    pub fn children(&self, id: NodeId, mut visit: impl FnMut(NodeId)) {
        match self.nodes[id as usize] {
            Node::Unary(_, of) | Node::Member(of, _) | Node::InstanceOf(of, _) => visit(of),
            Node::Binary(_, left, right) | Node::Quantifier(_, left, right) => {
                visit(left);
                visit(right);
            }
            Node::Substring(of, from, to) => {
                visit(of);
                visit(from);
                if let Some(to) = to {
                    visit(to);
                }
            }
            Node::Logic { start, len, .. } => {
                self.operands[start as usize..start as usize + len as usize].iter().copied().for_each(visit);
            }
            Node::Null
            | Node::Bool(_)
            | Node::Int(_)
            | Node::Big(_)
            | Node::Float(_)
            | Node::Str(_)
            | Node::Ref(_)
            | Node::Special(_) => {}
        }
    }
}

/// Builds a tree bottom up: the one way in for both readers, so that the same expression gives the same tree.
#[derive(Default)]
pub(super) struct Builder {
    tree: Tree,
    numbers: HashMap<String, u32>,
}

impl Builder {
    /// Adds a node whose children are there already.
    pub fn node(&mut self, node: Node) -> NodeId {
        self.tree.nodes.push(node);
        self.tree.root()
    }

    /// Adds an `and` or `or` over operands that are there already.
    pub fn logic(&mut self, op: Logic, operands: &[NodeId]) -> NodeId {
        let start = self.tree.operands.len() as u32;
        self.tree.operands.extend_from_slice(operands);
        self.node(Node::Logic { op, start, len: operands.len() as u32 })
    }

    /// Numbers the name of a variable or member.
    pub fn symbol(&mut self, name: &str) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = self.tree.symbols.len() as u32;
        self.tree.symbols.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// Keeps a literal string or class name.
    pub fn text(&mut self, text: String) -> u32 {
        self.tree.texts.push(text);
        self.tree.texts.len() as u32 - 1
    }

    /// The tree; the node added last is its root.
    pub fn finish(self) -> Tree {
        self.tree
    }
}

//! The expression as one flat tree: a vector of nodes in post-order, children before their parent, the root last.
//! Everything that walks it (checker, evaluator, printer, drop) uses explicit stacks, so depth costs no stack.

use num_bigint::BigInt;

/// Index of a node in [`Tree::nodes`].
pub type NodeId = u32;

/// Deepest nesting that is accepted.
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

/// `and`, `or`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Logic {
    And,
    Or,
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

/// `any`, `all`, `filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Quantifier {
    Any,
    All,
    Filter,
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
}

//! The checked tree as a program: the one lowering that every evaluator follows. [`super::eval`] interprets it inside
//! a hit; generators turn it into JavaScript or bytecode for hosts that compile. It stands on the walk of the
//! configuration: `check.rs` comes before, installing the probe after.
//!
//! # The program
//!
//! [`Program::ops`] is read from the first op to the last. An op reads *arguments* ([`Arg`]: a temporary or a constant)
//! and writes one temporary, `out`. There are [`Program::temporaries`] of them; none is read before it was written.
//! A temporary holds any value of the language. Everything is exactly as in the specification, section 3.6; this is the
//! shape only:
//!
//! * **`block`, `leave`**: the ops after `block` up to `end` (exclusive) are a labelled block. `leave` goes to `to` if the
//!   truth value (3.5) of `test` is `when`; `to` is the `end` of an enclosing block. `and` and `or` become one block.
//!   JavaScript: `L7: { …; if (truth(t0) === when) break L7; … }`; bytecode: a jump.
//! * **`each`, `next`**: the ops between `each` and its `next` are the predicate. `each` finds out what it walks over:
//!   null or undefined is a `null` failure, an iterator or opaque value `side_effect`, anything but list, set, map and bytes
//!   `type`. For each element it writes `it` (of a map: the key) and runs the predicate; `next` takes the truth value of
//!   `test`. `any`: the first true ends the loop with `true`, else `false`. `all`: the first false ends it with `false`, else
//!   `true`. `filter`: what was true is kept; the kind and order stay (bytes become a list). The result is written to
//!   `out`, and the program goes on at `end`, the op after `next`. Each run of a predicate counts against
//!   [`super::eval::MAX_PREDICATES`].
//! * **`entry`** writes the key or the value of the nearest enclosing loop *that walks over a map*; if none does, it is an
//!   `undefined` failure. Which loop that is can only be known when it runs: a loop over a list hands on what was visible
//!   outside it.
//! * **`entryMember`** is `@it.key` or `@it.value` directly in a predicate. If the innermost loop walks over a map: the
//!   member of the key where the key has one (a computed one fails with `side_effect`), else the key or value of the
//!   entry. If not: as `member` of `it`.
//! * **`attempt`, `defined`**: the ops between `attempt` and its `defined` may fail. If one fails with a category other
//!   than `redacted`, `timeout` and `limit`, then `out` becomes `negated` and the program goes on at `end`, the op after
//!   `defined`; loops entered inside are left. `defined` writes `!negated`. JavaScript: `try { … } catch`.
//! * **`return`**: the last op; the value of the expression.
//!
//! Every other op is an operator on values. `index` and `member` check redaction: a *computed* string key (`literal` is
//! false) whose name `classify` finds redacted is a `redacted` failure before anything is read (3.8.2), and so is every
//! value read whose type is redacted (3.8.3). What stands under a redacted key or has a redacted name is a `redacted` failure
//! wherever it is about to be read: the entry that `index` or `member` finds (its own key is judged, be it text, bytes or an
//! enumeration member), the value of `entry` and `entryMember`, the values of two maps in `compare` once their keys are
//! found equal, and an element of a named tuple in `index`, `each`, `search` and `compare`. `matches` always calls the core's engine ([`super::eval::matches_text`]).
//! Each op, each element visited, is one step; the clock is looked at every 256 steps.
//!
//! Loops are numbered by their nesting, the outermost is 0. An n-ary chain of one operator is one block however it was
//! nested, so that a chain of 1,000 is not 1,000 blocks deep; other nesting is as deep as the tree.
//!
//! Numbers are written as text in JSON, so that no reader rounds them.

use super::tree::{Binary, Logic, Node, NodeId, Quantifier, Special, Tree, Unary};
use num_bigint::BigInt;
use regex::Regex;
use serde::{Deserialize, Serialize};

/// A constant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Constant {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// An integer of 64 bits.
    #[serde(with = "as_text")]
    Int(i64),
    /// Any other integer.
    #[serde(with = "as_text")]
    Big(BigInt),
    /// A double.
    #[serde(with = "as_text")]
    Float(f64),
    /// A string.
    Text(String),
}

/// Where an op finds an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Arg {
    /// A temporary.
    Temp(u32),
    /// Index in [`Program::constants`].
    Constant(u32),
}

/// The six comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Comparison {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

/// The three tests of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Search {
    Contains,
    StartsWith,
    EndsWith,
}

/// What a loop is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum Purpose {
    Any,
    All,
    Filter,
}

/// The specials that exist outside predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are the language's own")]
pub enum At {
    Duration,
    Return,
    Exception,
}

/// One op. The module says what the structured ones mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are the operands of the operator, in its order")]
pub enum Op {
    /// Reads a variable; absent is `undefined`.
    Variable { out: u32, symbol: u32 },
    /// Reads a special; absent is `undefined`.
    Special { out: u32, special: At },
    /// Copies.
    Move { out: u32, of: Arg },
    /// The opposite of the truth value.
    Not { out: u32, of: Arg },
    /// `len`, and `count`, which differs in its name only.
    Len { out: u32, of: Arg, count: bool },
    /// `isEmpty`.
    IsEmpty { out: u32, of: Arg },
    /// `eq` to `le`.
    Compare { out: u32, how: Comparison, left: Arg, right: Arg },
    /// `contains`, `startsWith`, `endsWith`.
    Search { out: u32, how: Search, of: Arg, part: Arg },
    /// `matches`; `compiled` is the index of a literal pattern in [`super::Expression::patterns`].
    Matches { out: u32, of: Arg, pattern: Arg, compiled: Option<u32> },
    /// `index`; `literal` if the key is a constant.
    Index { out: u32, of: Arg, at: Arg, literal: bool },
    /// `getmember`.
    Member { out: u32, of: Arg, symbol: u32 },
    /// `@it.key` (`value` is false) or `@it.value` in the loop of this level, whose element is `it`.
    EntryMember { out: u32, it: u32, level: u32, symbol: u32, value: bool },
    /// `@key` or `@value`, in the loop of this level.
    Entry { out: u32, level: u32, value: bool },
    /// `substring`.
    Substring { out: u32, of: Arg, from: Arg, to: Option<Arg> },
    /// `instanceof`; the name is in [`Program::classes`].
    InstanceOf { out: u32, of: Arg, class: u32 },
    /// Begins a block.
    Block { end: u32 },
    /// Leaves a block.
    Leave { test: u32, when: bool, to: u32 },
    /// Begins a loop.
    Each { out: u32, it: u32, of: Arg, purpose: Purpose, level: u32, end: u32 },
    /// Ends the predicate of the loop that begins at `each`.
    Next { each: u32, test: Arg },
    /// Begins the operand of `isDefined` (`negated` is false) or `isUndefined`.
    Attempt { out: u32, negated: bool, end: u32 },
    /// Ends it.
    Defined { out: u32, of: Arg, negated: bool },
    /// The result.
    Return { of: Arg },
}

/// A program. Serialised it is JSON for a generator.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Program {
    /// The ops.
    pub ops: Vec<Op>,
    /// The constants.
    pub constants: Vec<Constant>,
    /// Class names of `instanceof`.
    pub classes: Vec<String>,
    /// Number of temporaries.
    pub temporaries: u32,
    /// Number of loops that are open at once.
    pub loops: u32,
}

/// Lowers a checked tree. `names` are the names that its symbols number, `patterns` its literal patterns by the id of
/// their `matches` node, in rising order.
pub fn lower(tree: &Tree, names: &[String], patterns: &[(NodeId, Regex)]) -> Program {
    let mut lowering = Lowering {
        tree,
        names,
        patterns,
        program: Program::default(),
        args: Vec::new(),
        jobs: vec![Job::Visit(tree.root(), 0)],
        loops: Vec::new(),
        leaves: Vec::new(),
    };
    while let Some(job) = lowering.jobs.pop() {
        lowering.run(job);
    }
    let of = lowering.pop();
    lowering.program.ops.push(Op::Return { of });
    lowering.program
}

/// What is still to be done; a stack in place of recursion.
#[derive(Clone, Copy)]
enum Job {
    /// Lower a node; temporaries from this one on are free. Pushes its argument.
    Visit(NodeId, u32),
    /// The operands are lowered: emit the op of this node.
    Emit(NodeId, u32),
    /// Begin a block for `and`, `or`.
    Open(NodeId, u32),
    /// Lower an operand of the open block; the last one does not leave.
    Operand(NodeId, u32, Logic, bool),
    /// An operand is lowered: move it to the block's temporary and leave on it.
    Settle(u32, Logic, bool),
    /// End the block.
    Close(u32, u32),
    /// The collection is lowered: begin the loop.
    Begin(NodeId, u32),
    /// The predicate is lowered: end the loop.
    End(u32),
    /// The operand of `isDefined` is lowered.
    Settled(u32),
}

struct Lowering<'t> {
    tree: &'t Tree,
    names: &'t [String],
    patterns: &'t [(NodeId, Regex)],
    program: Program,
    args: Vec<Arg>,
    jobs: Vec<Job>,
    /// The `it` temporary of each open loop.
    loops: Vec<u32>,
    /// The `leave` ops of each open block, to be told where it ends.
    leaves: Vec<Vec<usize>>,
}

impl Lowering<'_> {
    fn pop(&mut self) -> Arg {
        self.args.pop().unwrap_or(Arg::Temp(0))
    }

    fn here(&self) -> u32 {
        self.program.ops.len() as u32
    }

    fn out(&mut self, temp: u32) -> u32 {
        self.program.temporaries = self.program.temporaries.max(temp + 1);
        temp
    }

    /// Emits an op that writes `out` and makes it the argument of the node.
    fn emit(&mut self, out: u32, op: Op) {
        self.out(out);
        self.program.ops.push(op);
        self.args.push(Arg::Temp(out));
    }

    fn constant(&mut self, constant: Constant) {
        self.args.push(Arg::Constant(self.program.constants.len() as u32));
        self.program.constants.push(constant);
    }

    fn text(&self, index: u32) -> String {
        self.tree.texts.get(index as usize).cloned().unwrap_or_default()
    }

    fn node(&self, id: NodeId) -> &Node {
        self.tree.nodes.get(id as usize).unwrap_or(&Node::Null)
    }

    fn run(&mut self, job: Job) {
        match job {
            Job::Visit(id, out) => self.visit(id, out),
            Job::Emit(id, out) => self.finish(id, out),
            Job::Open(id, out) => self.open(id, out),
            Job::Operand(id, out, logic, last) => self.operand(id, out, logic, last),
            Job::Settle(out, logic, last) => self.settle(out, logic, last),
            Job::Close(at, out) => self.close(at, out),
            Job::Begin(id, out) => self.begin(id, out),
            Job::End(each) => self.end(each),
            Job::Settled(attempt) => self.settled(attempt),
        }
    }

    fn visit(&mut self, id: NodeId, out: u32) {
        match self.node(id).clone() {
            Node::Null => self.constant(Constant::Null),
            Node::Bool(value) => self.constant(Constant::Bool(value)),
            Node::Int(value) => self.constant(Constant::Int(value)),
            Node::Big(value) => self.constant(Constant::Big(*value)),
            Node::Float(value) => self.constant(Constant::Float(value)),
            Node::Str(text) => {
                let text = self.text(text);
                self.constant(Constant::Text(text));
            }
            Node::Ref(symbol) => self.emit(out, Op::Variable { out, symbol }),
            Node::Special(special) => self.special(special, out),
            Node::Unary(Unary::IsDefined | Unary::IsUndefined, of) => {
                let negated = matches!(self.node(id), Node::Unary(Unary::IsUndefined, _));
                let attempt = self.here();
                self.program.ops.push(Op::Attempt { out, negated, end: 0 });
                self.jobs.push(Job::Settled(attempt));
                self.jobs.push(Job::Visit(of, out));
            }
            Node::Unary(_, of) | Node::InstanceOf(of, _) => {
                self.jobs.push(Job::Emit(id, out));
                self.jobs.push(Job::Visit(of, out));
            }
            Node::Member(of, symbol) => self.member(id, of, symbol, out),
            Node::Logic { .. } => self.jobs.push(Job::Open(id, out)),
            Node::Binary(_, left, right) => {
                self.jobs.push(Job::Emit(id, out));
                self.jobs.push(Job::Visit(right, out + 1));
                self.jobs.push(Job::Visit(left, out));
            }
            Node::Substring(of, from, to) => {
                self.jobs.push(Job::Emit(id, out));
                if let Some(to) = to {
                    self.jobs.push(Job::Visit(to, out + 2));
                }
                self.jobs.push(Job::Visit(from, out + 1));
                self.jobs.push(Job::Visit(of, out));
            }
            Node::Quantifier(_, of, _) => {
                self.jobs.push(Job::Begin(id, out));
                self.jobs.push(Job::Visit(of, out));
            }
        }
    }

    fn special(&mut self, special: Special, out: u32) {
        let level = (self.loops.len() as u32).saturating_sub(1);
        let special = match special {
            Special::It => {
                let it = self.loops.last().copied().unwrap_or(0);
                self.args.push(Arg::Temp(it));
                return;
            }
            Special::Key => return self.emit(out, Op::Entry { out, level, value: false }),
            Special::Value => return self.emit(out, Op::Entry { out, level, value: true }),
            Special::Duration => At::Duration,
            Special::Return => At::Return,
            Special::Exception => At::Exception,
        };
        self.emit(out, Op::Special { out, special });
    }

    fn member(&mut self, id: NodeId, of: NodeId, symbol: u32, out: u32) {
        let name = self.names.get(symbol as usize).map(String::as_str);
        let value = match name {
            Some("key" | "Key") => false,
            Some("value" | "Value") => true,
            _ => {
                self.jobs.push(Job::Emit(id, out));
                self.jobs.push(Job::Visit(of, out));
                return;
            }
        };
        let (Node::Special(Special::It), Some(&it)) = (self.node(of), self.loops.last()) else {
            self.jobs.push(Job::Emit(id, out));
            self.jobs.push(Job::Visit(of, out));
            return;
        };
        let level = (self.loops.len() as u32).saturating_sub(1);
        self.emit(out, Op::EntryMember { out, it, level, symbol, value });
    }

    fn finish(&mut self, id: NodeId, out: u32) {
        let op = match *self.node(id) {
            Node::Unary(unary, _) => {
                let of = self.pop();
                match unary {
                    Unary::Len | Unary::Count => Op::Len { out, of, count: matches!(unary, Unary::Count) },
                    Unary::IsEmpty => Op::IsEmpty { out, of },
                    Unary::Not | Unary::IsDefined | Unary::IsUndefined => Op::Not { out, of },
                }
            }
            Node::InstanceOf(_, class) => {
                let of = self.pop();
                let name = self.text(class);
                self.program.classes.push(name);
                Op::InstanceOf { out, of, class: self.program.classes.len() as u32 - 1 }
            }
            Node::Member(_, symbol) => Op::Member { out, of: self.pop(), symbol },
            Node::Substring(_, _, to) => {
                let to = to.map(|_| self.pop());
                let from = self.pop();
                Op::Substring { out, of: self.pop(), from, to }
            }
            Node::Binary(binary, _, _) => self.binary(id, binary, out),
            _ => return,
        };
        self.emit(out, op);
    }

    fn binary(&mut self, id: NodeId, binary: Binary, out: u32) -> Op {
        let right = self.pop();
        let left = self.pop();
        let compare = |how| Op::Compare { out, how, left, right };
        let search = |how| Op::Search { out, how, of: left, part: right };
        match binary {
            Binary::Eq => compare(Comparison::Eq),
            Binary::Ne => compare(Comparison::Ne),
            Binary::Gt => compare(Comparison::Gt),
            Binary::Ge => compare(Comparison::Ge),
            Binary::Lt => compare(Comparison::Lt),
            Binary::Le => compare(Comparison::Le),
            Binary::Contains => search(Search::Contains),
            Binary::StartsWith => search(Search::StartsWith),
            Binary::EndsWith => search(Search::EndsWith),
            Binary::Matches => Op::Matches { out, of: left, pattern: right, compiled: self.compiled(id) },
            Binary::Index => Op::Index { out, of: left, at: right, literal: matches!(right, Arg::Constant(_)) },
        }
    }

    fn compiled(&self, id: NodeId) -> Option<u32> {
        self.patterns.binary_search_by_key(&id, |(node, _)| *node).ok().map(|index| index as u32)
    }

    fn open(&mut self, id: NodeId, out: u32) {
        let Node::Logic { op, .. } = *self.node(id) else { return };
        self.out(out);
        self.leaves.push(Vec::new());
        let at = self.here();
        self.program.ops.push(Op::Block { end: 0 });
        self.jobs.push(Job::Close(at, out));
        self.jobs.push(Job::Operand(id, out, op, true));
    }

    /// A chain of the same operator, however nested, stays in one block: its value is the same.
    fn operand(&mut self, id: NodeId, out: u32, logic: Logic, last: bool) {
        if let Node::Logic { op, start, len } = *self.node(id)
            && op == logic
        {
            let (start, len) = (start as usize, len as usize);
            let operands = self.tree.operands.get(start..start + len).unwrap_or(&[]);
            for (index, &operand) in operands.iter().enumerate().rev() {
                self.jobs.push(Job::Operand(operand, out, logic, last && index + 1 == len));
            }
            return;
        }
        self.jobs.push(Job::Settle(out, logic, last));
        self.jobs.push(Job::Visit(id, out));
    }

    fn settle(&mut self, out: u32, logic: Logic, last: bool) {
        let of = self.pop();
        if of != Arg::Temp(out) {
            self.program.ops.push(Op::Move { out, of });
        }
        if last {
            return;
        }
        if let Some(leaves) = self.leaves.last_mut() {
            leaves.push(self.program.ops.len());
        }
        self.program.ops.push(Op::Leave { test: out, when: logic == Logic::Or, to: 0 });
    }

    fn close(&mut self, at: u32, out: u32) {
        let here = self.here();
        for leave in self.leaves.pop().unwrap_or_default() {
            if let Some(Op::Leave { to, .. }) = self.program.ops.get_mut(leave) {
                *to = here;
            }
        }
        if let Some(Op::Block { end }) = self.program.ops.get_mut(at as usize) {
            *end = here;
        }
        self.args.push(Arg::Temp(out));
    }

    fn begin(&mut self, id: NodeId, out: u32) {
        let Node::Quantifier(quantifier, _, predicate) = *self.node(id) else { return };
        let of = self.pop();
        let purpose = match quantifier {
            Quantifier::Any => Purpose::Any,
            Quantifier::All => Purpose::All,
            Quantifier::Filter => Purpose::Filter,
        };
        let it = self.out(out + 1);
        let each = self.here();
        let level = self.loops.len() as u32;
        self.program.ops.push(Op::Each { out, it, of, purpose, level, end: 0 });
        self.loops.push(it);
        self.program.loops = self.program.loops.max(level + 1);
        self.jobs.push(Job::End(each));
        self.jobs.push(Job::Visit(predicate, out + 2));
    }

    fn end(&mut self, each: u32) {
        let test = self.pop();
        self.loops.pop();
        self.program.ops.push(Op::Next { each, test });
        let here = self.here();
        if let Some(Op::Each { out, end, .. }) = self.program.ops.get_mut(each as usize) {
            *end = here;
            let out = *out;
            self.args.push(Arg::Temp(out));
        }
    }

    fn settled(&mut self, attempt: u32) {
        let of = self.pop();
        let end_of = self.here() + 1;
        let Some(Op::Attempt { out, negated, end }) = self.program.ops.get_mut(attempt as usize) else { return };
        *end = end_of;
        let (out, negated) = (*out, *negated);
        self.emit(out, Op::Defined { out, of, negated });
    }
}

/// Numbers as text.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    pub fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom("not a number"))
    }
}

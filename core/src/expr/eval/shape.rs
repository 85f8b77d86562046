//! What an operand is, wherever it comes from: a host's value, a literal, or something the expression made. The one
//! place that maps [`View`] to the kinds of the specification (3.3). It stands on the walk of a hit, below [`super`].

use super::number::Num;
use super::{Budget, Failure, Operand};
use crate::expr::target::Constant;
use crate::host::{Child, Value, View, Walk};
use crate::text::Text;
use smallvec::SmallVec;
use std::ops::ControlFlow;

/// The kinds, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's own")]
pub enum Kind {
    Undefined,
    Null,
    Bool,
    Number,
    String,
    Bytes,
    List,
    Set,
    Map,
    Object,
    Exception,
    Enum,
    Function,
    Iterator,
    Opaque,
}

const KINDS: [(Kind, &str); 15] = [
    (Kind::Undefined, "undefined"),
    (Kind::Null, "null"),
    (Kind::Bool, "bool"),
    (Kind::Number, "number"),
    (Kind::String, "string"),
    (Kind::Bytes, "bytes"),
    (Kind::List, "list"),
    (Kind::Set, "set"),
    (Kind::Map, "map"),
    (Kind::Object, "object"),
    (Kind::Exception, "exception"),
    (Kind::Enum, "enum"),
    (Kind::Function, "function"),
    (Kind::Iterator, "iterator"),
    (Kind::Opaque, "opaque value"),
];

impl Kind {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// All of them, by number: a host of another language has the numbers from here.
    pub fn all() -> impl Iterator<Item = Kind> {
        KINDS.iter().map(|(kind, _)| *kind)
    }

    pub(super) fn number(self) -> i64 {
        let index = KINDS.iter().position(|(kind, _)| *kind == self);
        index.and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)
    }

    /// The kind of a number.
    pub fn from_number(number: i64) -> Option<Kind> {
        KINDS.get(usize::try_from(number).ok()?).map(|(kind, _)| *kind)
    }
}

/// Elements of a list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Elements<'x, 'f, V> {
    Host(V),
    /// Of a named tuple.
    Named(V),
    /// The values of a map.
    Values(V),
    Made(&'x [Operand<'f, V>]),
}

/// Members of a set.
#[derive(Clone, Copy, Debug)]
pub(super) enum Members<'x, V> {
    Host(V),
    Made(&'x [V]),
}

/// Entries of a map.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entries<'x, V> {
    Host(V),
    Made(&'x [(V, V)]),
}

/// An operand, looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape<'x, 'f, V> {
    Undefined,
    Null,
    Bool(bool),
    Number(Num<'x>),
    Str(Text<'f>),
    Bytes(&'f [u8]),
    List(Elements<'x, 'f, V>, usize),
    /// A list whose elements have names: the value itself.
    Named(V, usize),
    Set(Members<'x, V>, usize),
    Map(Entries<'x, V>, usize, bool),
    Object(V),
    Exception(V),
    Enum(V),
    Function(V),
    Iterator(V),
    Opaque(V),
    Unreadable(V, &'static str),
}

impl<'x, 'f: 'x, V: Value<'f>> Shape<'x, 'f, V> {
    #[inline]
    pub fn of_value(value: V) -> Self {
        match value.view() {
            View::Undefined => Shape::Undefined,
            View::Null => Shape::Null,
            View::Bool(value) => Shape::Bool(value),
            View::Int(value) => Shape::Number(Num::Int(value)),
            View::Big(digits) => Shape::Number(Num::Digits(digits)),
            View::Float(value) => Shape::Number(Num::Float(value)),
            View::Decimal(digits) => Shape::Number(Num::Decimal(digits)),
            View::Str(text) => Shape::Str(text),
            View::Bytes(bytes) => Shape::Bytes(bytes),
            View::List(len) => Shape::List(Elements::Host(value), len),
            View::Named(len) => Shape::Named(value, len),
            View::Values(len) => Shape::List(Elements::Values(value), len),
            View::Set(len) => Shape::Set(Members::Host(value), len),
            View::Map { len, record } => Shape::Map(Entries::Host(value), len, record),
            View::Object | View::Scalar => Shape::Object(value),
            View::Exception => Shape::Exception(value),
            View::Enum => Shape::Enum(value),
            View::Function => Shape::Function(value),
            View::Iterator => Shape::Iterator(value),
            View::Opaque | View::Complex(..) => Shape::Opaque(value),
            View::Beginning { .. } => Shape::Unreadable(value, BEGINNING),
            View::Unreadable(reason) => Shape::Unreadable(value, reason),
        }
    }

    #[inline]
    pub fn of_operand(operand: &'x Operand<'f, V>) -> Self {
        match operand {
            Operand::Host(value) => Shape::of_value(*value),
            Operand::Null => Shape::Null,
            Operand::Bool(value) => Shape::Bool(*value),
            Operand::Int(value) => Shape::Number(Num::Int(*value)),
            Operand::Big(value) => Shape::Number(Num::Big(value)),
            Operand::Float(value) => Shape::Number(Num::Float(*value)),
            Operand::Text(text) => Shape::Str(*text),
            Operand::List(elements) => Shape::List(Elements::Made(elements), elements.len()),
            Operand::Set(members) => Shape::Set(Members::Made(members), members.len()),
            Operand::Map(entries) => Shape::Map(Entries::Made(entries), entries.len(), false),
        }
    }

    #[inline]
    pub fn of_constant(constant: &'f Constant) -> Self {
        match constant {
            Constant::Null => Shape::Null,
            Constant::Bool(value) => Shape::Bool(*value),
            Constant::Int(value) => Shape::Number(Num::Int(*value)),
            Constant::Big(value) => Shape::Number(Num::Big(value)),
            Constant::Float(value) => Shape::Number(Num::Float(*value)),
            Constant::Text(text) => Shape::Str(Text::Utf8(text)),
        }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Shape::Undefined => Kind::Undefined,
            Shape::Null => Kind::Null,
            Shape::Bool(_) => Kind::Bool,
            Shape::Number(_) => Kind::Number,
            Shape::Str(_) => Kind::String,
            Shape::Bytes(_) => Kind::Bytes,
            Shape::List(..) | Shape::Named(..) => Kind::List,
            Shape::Set(..) => Kind::Set,
            Shape::Map(..) => Kind::Map,
            Shape::Object(_) => Kind::Object,
            Shape::Exception(_) => Kind::Exception,
            Shape::Enum(_) => Kind::Enum,
            Shape::Function(_) => Kind::Function,
            Shape::Iterator(_) => Kind::Iterator,
            Shape::Opaque(_) | Shape::Unreadable(..) => Kind::Opaque,
        }
    }

    /// The truth value (3.5).
    #[inline]
    pub fn truth(&self) -> bool {
        match self {
            Shape::Undefined | Shape::Null => false,
            Shape::Bool(value) => *value,
            Shape::Number(number) => !number.is_zero_or_nan(),
            Shape::Str(text) => !text.is_empty(),
            Shape::Bytes(bytes) => !bytes.is_empty(),
            Shape::List(_, len) | Shape::Named(_, len) | Shape::Set(_, len) | Shape::Map(_, len, _) => *len > 0,
            _ => true,
        }
    }
}

impl<'f, V: Value<'f>> Elements<'_, 'f, V> {
    /// The element at a position in range. One whose name is redacted is not read.
    #[inline]
    pub fn at(&self, index: usize, budget: &mut Budget<'_>) -> Result<Operand<'f, V>, Failure> {
        if let Elements::Named(tuple) = self
            && let Some(name) = tuple.element_name(index)
        {
            budget.permit(name)?;
        }
        match self {
            Elements::Host(list) | Elements::Named(list) => match list.element(index) {
                Child::Present(value) => Ok(Operand::Host(value)),
                Child::Failed(reason) => Err(Failure::host(reason)),
                Child::Absent | Child::Computed => Err(Failure::host(CHANGED)),
            },
            Elements::Values(map) => {
                let mut left = index;
                let mut found = None;
                each_entry(*map, budget, |key, value, _| {
                    if left == 0 {
                        found = Some((key, value));
                        return ControlFlow::Break(());
                    }
                    left -= 1;
                    ControlFlow::Continue(())
                })?;
                let (key, value) = found.ok_or_else(|| Failure::host(CHANGED))?;
                budget.permit_entry(key)?;
                Ok(Operand::Host(value))
            }
            Elements::Made(made) => made.get(index).cloned().ok_or_else(|| Failure::host(CHANGED)),
        }
    }
}

const BEGINNING: &str = "no more than the beginning of the bytes can be had";

pub(super) const CHANGED: &str = "the collection changed while it was read";

/// Visits the entries of a map of the host. Where a walk pauses, the clock is looked at.
pub(super) fn each_entry<'f, V: Value<'f>>(
    map: V,
    budget: &mut Budget<'_>,
    mut visit: impl FnMut(V, V, &mut Budget<'_>) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let mut mark = 0;
    while let Walk::Paused(at) = map.entries_from(mark, |key, value| visit(key, value, budget)) {
        mark = at;
        budget.look()?;
    }
    Ok(())
}

/// As [`each_entry`], of the members of a set.
pub(super) fn each_member<'f, V: Value<'f>>(
    set: V,
    budget: &mut Budget<'_>,
    mut visit: impl FnMut(V, &mut Budget<'_>) -> ControlFlow<()>,
) -> Result<(), Failure> {
    let mut mark = 0;
    while let Walk::Paused(at) = set.elements_from(mark, |member| visit(member, budget)) {
        mark = at;
        budget.look()?;
    }
    Ok(())
}

/// Some children of a set or map, read ahead. Hosts can only enumerate from the start, so a long collection is read in
/// pieces that grow: memory is bounded and the time stays close to linear. Of a set, the second of each pair is the
/// member again.
pub(super) struct Ahead<V> {
    next: usize,
    taken: usize,
    pairs: SmallVec<[(V, V); 4]>,
    ended: bool,
    /// Where a walk has paused last, and how many children stand before that.
    mark: usize,
    before: usize,
}

/// Children read in one go at most.
const MOST_AHEAD: usize = 1024;
/// Children read in the first go.
const FIRST_AHEAD: usize = 4;

/// A set or a map, to be enumerated.
#[derive(Clone, Copy)]
pub(super) enum Source<'x, V> {
    Set(Members<'x, V>),
    Map(Entries<'x, V>),
}

impl<V: Copy> Ahead<V> {
    pub fn new() -> Self {
        Ahead { next: 0, taken: 0, pairs: SmallVec::new(), ended: false, mark: 0, before: 0 }
    }

    /// The next child.
    #[inline]
    pub fn next<'f>(&mut self, source: Source<'_, V>, budget: &mut Budget<'_>) -> Result<Option<(V, V)>, Failure>
    where
        V: Value<'f>,
    {
        match source {
            Source::Set(Members::Made(members)) => {
                self.taken += 1;
                return Ok(members.get(self.taken - 1).map(|&member| (member, member)));
            }
            Source::Map(Entries::Made(entries)) => {
                self.taken += 1;
                return Ok(entries.get(self.taken - 1).copied());
            }
            _ => {}
        }
        if self.next == self.pairs.len() {
            if self.ended {
                return Ok(None);
            }
            self.fill(source, budget)?;
        }
        let pair = self.pairs.get(self.next).copied();
        self.next += 1;
        Ok(pair)
    }

    fn fill<'f>(&mut self, source: Source<'_, V>, budget: &mut Budget<'_>) -> Result<(), Failure>
    where
        V: Value<'f>,
    {
        let size = if self.taken == 0 { FIRST_AHEAD } else { (self.taken * 2).min(MOST_AHEAD) };
        let pairs = &mut self.pairs;
        pairs.clear();
        self.next = 0;
        let walk = loop {
            let mut seen = self.before;
            let take = |key: V, value: V| {
                seen += 1;
                if seen <= self.taken {
                    return ControlFlow::Continue(());
                }
                pairs.push((key, value));
                if pairs.len() == size { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let walk = walk_from(source, self.mark, take);
            let Walk::Paused(at) = walk else { break walk };
            (self.mark, self.before) = (at, seen);
            budget.look()?;
        };
        self.taken += self.pairs.len();
        match walk {
            Walk::Changed => return Err(Failure::host(CHANGED)),
            Walk::Complete => self.ended = true,
            Walk::Stopped | Walk::Paused(_) => {}
        }
        Ok(())
    }
}

/// Walks over what the host has; of a set, both of a pair are the member.
fn walk_from<'f, V: Value<'f>>(
    source: Source<'_, V>,
    mark: usize,
    mut take: impl FnMut(V, V) -> ControlFlow<()>,
) -> Walk {
    match source {
        Source::Set(Members::Host(set)) => set.elements_from(mark, |member| take(member, member)),
        Source::Map(Entries::Host(map)) => map.entries_from(mark, take),
        _ => Walk::Complete,
    }
}

//! Evaluation over [`crate::host::Value`], inside a hit. It stands on the walk of a hit: `hit.rs` calls it for conditions
//! and metric values, `capture/` and the templates take its results.
//!
//! It interprets the program that [`super::target`] made, so that the meaning of structure exists once. There is no
//! recursion, and an ordinary expression allocates nothing. Files below: `shape.rs` what an operand is, `equal.rs` and
//! `number.rs` comparison, `texts.rs` searching, `quick.rs` the commonest shapes, `budget.rs` what it may cost, `failure.rs` why it failed.

mod budget;
mod equal;
mod failure;
mod number;
mod quick;
mod shape;
mod texts;

pub use budget::{
    BOUNDS, Budget, MAX_COMPARISONS, MAX_COUNTED, MAX_MATCHED, MAX_NESTING, MAX_PATTERNS, MAX_PREDICATES, Scratch,
};
pub(crate) use failure::literal;
pub use failure::{Category, Doing, Failure, Limit, Names, Short};
pub use number::MAX_DECIMAL_DIGITS;
pub(crate) use quick::Quick;
pub use shape::Kind;
pub use texts::matches_text;

use super::Expression;
use super::target::{Arg, At, Comparison, Constant, Op, Program, Purpose, Search};
use super::tree::Special;
use crate::capture::redact::Redaction;
use crate::host::{BigDigits, Child, DecimalDigits, Frame, Symbol, Value, View};
use crate::probe::model::MetricKind;
use crate::text::Text;
use num_bigint::BigInt;
use number::{Num, Whole};
use shape::{Ahead, Elements, Entries, Members, Shape, Source, each_entry};
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::fmt::Write as _;

/// What an expression yields: a value of the host, borrowed for the hit, or one that the expression made.
#[derive(Clone, Debug)]
pub enum Operand<'f, V> {
    /// A value of the host.
    Host(V),
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A larger integer.
    Big(Box<BigInt>),
    /// A double.
    Float(f64),
    /// A literal, or a part of a host's text.
    Text(Text<'f>),
    /// What `filter` kept of a list or of bytes: host values, or integers.
    List(Vec<Operand<'f, V>>),
    /// What `filter` kept of a set.
    Set(Vec<V>),
    /// What `filter` kept of a map.
    Map(Vec<(V, V)>),
}

/// What an expression can see.
pub struct Scope<'a, F, V> {
    /// The place of the hit.
    pub frame: &'a F,
    /// `@return`.
    pub returned: Option<V>,
    /// `@exception`.
    pub exception: Option<V>,
    /// `@duration`, milliseconds.
    pub duration: Option<f64>,
}

/// The number that a metric probe sends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measured {
    /// A whole number.
    Int(i64),
    /// Any other, finite.
    Float(f64),
}

/// The value of an expression that only reads one, if it is there. Otherwise [`evaluate`] says what it is.
#[inline]
pub fn read<'f, F: Frame<'f>>(
    expression: &'f Expression,
    symbols: &'f [String],
    scope: &Scope<'_, F, F::Value>,
    redaction: &Redaction,
) -> Option<F::Value> {
    quick::read(expression, symbols, scope, redaction.has_types())
}

/// Evaluates an expression.
#[inline]
pub fn evaluate<'f, F: Frame<'f>>(
    expression: &'f Expression,
    symbols: &'f [String],
    scope: &Scope<'_, F, F::Value>,
    budget: &mut Budget<'_>,
) -> Result<Operand<'f, F::Value>, Failure> {
    if let Some(value) = quick::read(expression, symbols, scope, budget.types()) {
        return Ok(Operand::Host(value));
    }
    run(expression, symbols, scope, budget)
}

/// Evaluates by the machine.
#[inline(never)]
fn run<'f, F: Frame<'f>>(
    expression: &'f Expression,
    symbols: &'f [String],
    scope: &Scope<'_, F, F::Value>,
    budget: &mut Budget<'_>,
) -> Result<Operand<'f, F::Value>, Failure> {
    if expression.redacted.is_some() {
        return Err(Failure::RedactedName);
    }
    budget.begin();
    let program = &expression.program;
    let mut temps = SmallVec::new();
    temps.resize(program.temporaries as usize, Operand::Null);
    Machine { expression, program, symbols, scope, budget, temps, loops: SmallVec::new() }.run()
}

/// The verdict of a condition that only compares plain values with constants, if they are there. Otherwise [`holds`] says
/// what it is.
#[inline]
pub fn verdict<'f, F: Frame<'f>>(
    expression: &'f Expression,
    symbols: &'f [String],
    scope: &Scope<'_, F, F::Value>,
    redaction: &Redaction,
) -> Option<bool> {
    quick::verdict(expression, symbols, scope, redaction.has_types())
}

/// Evaluates a condition.
#[inline]
pub fn holds<'f, F: Frame<'f>>(
    expression: &'f Expression,
    symbols: &'f [String],
    scope: &Scope<'_, F, F::Value>,
    budget: &mut Budget<'_>,
) -> Result<bool, Failure> {
    if let Some(verdict) = quick::verdict(expression, symbols, scope, budget.types()) {
        return Ok(verdict);
    }
    truth(&run(expression, symbols, scope, budget)?)
}

/// The truth value of an operand (3.5).
#[inline]
fn truth<'f, V: Value<'f>>(operand: &Operand<'f, V>) -> Result<bool, Failure> {
    match operand {
        Operand::Bool(value) => Ok(*value),
        _ => match Shape::of_operand(operand) {
            Shape::Unreadable(_, reason) => Err(unread(reason)),
            shape => Ok(shape.truth()),
        },
    }
}

/// What an expression of a metric has yielded, as a host hands it over that ran the expression itself.
#[derive(Clone, Copy, Debug)]
pub enum Yielded<'x> {
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A larger integer.
    Big(&'x BigInt),
    /// The same in digits.
    Digits(BigDigits<'x>),
    /// A double.
    Float(f64),
    /// A decimal.
    Decimal(DecimalDigits<'x>),
    /// What is no number.
    Other(Kind),
    /// What could not be read, and why.
    Unreadable(&'static str),
}

impl Yielded<'_> {
    /// The number that is sent for it (3.10).
    pub fn measured(self, kind: MetricKind) -> Result<Measured, Failure> {
        match self {
            Yielded::Bool(value) => Ok(Measured::Int(i64::from(value))),
            Yielded::Int(value) => Ok(Measured::Int(value)),
            Yielded::Big(value) => finite(&Num::Big(value), kind),
            Yielded::Digits(digits) => finite(&Num::Digits(digits), kind),
            Yielded::Float(value) => finite(&Num::Float(value), kind),
            Yielded::Decimal(digits) => finite(&Num::Decimal(digits), kind),
            Yielded::Other(kind) => Err(Failure::NotNumber(kind)),
            Yielded::Unreadable(reason) => Err(unread(reason)),
        }
    }
}

/// Evaluates a metric value (3.10).
#[inline]
pub fn number<'f, F: Frame<'f>>(
    expression: &'f Expression,
    symbols: &'f [String],
    scope: &Scope<'_, F, F::Value>,
    budget: &mut Budget<'_>,
    kind: MetricKind,
) -> Result<Measured, Failure> {
    let operand = evaluate(expression, symbols, scope, budget)?;
    measured(&Shape::of_operand(&operand), kind)
}

fn measured<'f, V: Value<'f>>(shape: &Shape<'_, 'f, V>, kind: MetricKind) -> Result<Measured, Failure> {
    match shape {
        Shape::Bool(value) => Ok(Measured::Int(i64::from(*value))),
        Shape::Number(number) => finite(number, kind),
        Shape::Unreadable(_, reason) => Err(unread(reason)),
        other => Err(Failure::NotNumber(other.kind())),
    }
}

/// A number as it is sent: a finite one, and a whole one of a count.
#[inline]
fn finite(number: &Num<'_>, kind: MetricKind) -> Result<Measured, Failure> {
    if let Num::Int(value) = number {
        return Ok(Measured::Int(*value));
    }
    let value = number.nearest();
    if !value.is_finite() {
        return Err(Failure::BadNumber { fraction: false });
    }
    match (number, kind) {
        (Num::Float(_) | Num::Decimal(_), MetricKind::Count) => match number.whole() {
            Whole::At(value) => Ok(Measured::Int(value)),
            Whole::Beyond { .. } => Ok(Measured::Float(value)),
            Whole::No => Err(Failure::BadNumber { fraction: true }),
        },
        _ => Ok(Measured::Float(value)),
    }
}

/// Lets a value in, unless its type is redacted (3.8.3). Every value that is read passes here.
#[inline]
fn admit<'f, V: Value<'f>>(value: V, budget: &Budget<'_>) -> Result<V, Failure> {
    if !budget.types() {
        return Ok(value);
    }
    let of = value.type_info();
    if of.redacted { Err(Failure::RedactedType(of.id)) } else { Ok(value) }
}

/// Lets a value that was found in a map in, unless its key or its type is redacted.
fn under_key<'f, V: Value<'f>>(found: Option<(Option<V>, V)>, budget: &mut Budget<'_>) -> Result<Option<V>, Failure> {
    let Some((key, value)) = found else { return Ok(None) };
    if let Some(key) = key {
        budget.permit_entry(key)?;
    }
    admit(value, budget).map(Some)
}

/// True if this is how the message of an exception is asked for.
fn is_message<'f, V: Value<'f>>(value: V, name: &str) -> bool {
    name == "message" && matches!(value.view(), View::Exception)
}

/// The message of an exception: one that has none has an empty one.
fn message<'f, V: Value<'f>>(value: V, budget: &Budget<'_>) -> Result<Operand<'f, V>, Failure> {
    match value.message() {
        Some(message) => Ok(Operand::Host(admit(message, budget)?)),
        None => Ok(Operand::Text(Text::Utf8(""))),
    }
}

/// What a loop walks over. What the expression made moves in here: the temporary that held it is free for the result.
enum Over<'f, V> {
    Host(V, usize),
    Named(V, usize),
    Values(V),
    Made(Vec<Operand<'f, V>>),
    Bytes(&'f [u8]),
    Set(V),
    MadeSet(Vec<V>),
    Map(V),
    MadeMap(Vec<(V, V)>),
}

impl<V> Over<'_, V> {
    fn is_map(&self) -> bool {
        matches!(self, Over::Map(_) | Over::MadeMap(_))
    }
}

/// A loop that is open.
struct Loop<'f, V> {
    each: usize,
    end: usize,
    out: u32,
    it: u32,
    purpose: Purpose,
    over: Over<'f, V>,
    next: usize,
    ahead: Ahead<V>,
    entry: Option<(V, V)>,
    kept: Operand<'f, V>,
}

struct Machine<'m, 'b, 'f, F: Frame<'f>> {
    expression: &'f Expression,
    program: &'f Program,
    symbols: &'f [String],
    scope: &'m Scope<'m, F, F::Value>,
    budget: &'m mut Budget<'b>,
    temps: SmallVec<[Operand<'f, F::Value>; 6]>,
    loops: SmallVec<[Loop<'f, F::Value>; 1]>,
}

/// An argument that an operation looks into. Not a method: the machine's budget stays free to be spent.
#[inline]
fn look<'x, 'f: 'x, V: Value<'f>>(
    program: &'f Program,
    temps: &'x [Operand<'f, V>],
    arg: Arg,
) -> Result<Shape<'x, 'f, V>, Failure> {
    let shape = glance(program, temps, arg);
    if let Ok(Shape::Unreadable(_, reason)) = shape {
        return Err(unread(reason));
    }
    shape
}

/// As [`look`], of what may not be readable.
#[inline]
fn glance<'x, 'f: 'x, V: Value<'f>>(
    program: &'f Program,
    temps: &'x [Operand<'f, V>],
    arg: Arg,
) -> Result<Shape<'x, 'f, V>, Failure> {
    match arg {
        Arg::Temp(index) => temps.get(index as usize).map(Shape::of_operand),
        Arg::Constant(index) => program.constants.get(index as usize).map(Shape::of_constant),
    }
    .ok_or_else(broken)
}

/// What could not be read fails an operation that looks into it, as whatever else could not: it is equal to nothing, true and
/// empty only as far as somebody knows.
#[cold]
fn unread(reason: &'static str) -> Failure {
    Failure::host(reason)
}

/// A program that the core did not make.
#[cold]
fn broken() -> Failure {
    Failure::host("the program is broken")
}

/// The failure of an operation on a kind that does not have it (3.6, error columns).
#[cold]
fn refuse<'f, V: Value<'f>>(doing: Doing, shape: &Shape<'_, 'f, V>) -> Failure {
    match shape {
        Shape::Null => Failure::Null(doing, false),
        Shape::Undefined => Failure::Null(doing, true),
        Shape::Iterator(_) => Failure::Iterator,
        Shape::Opaque(_) => Failure::Opaque(doing),
        other => Failure::Kind(doing, other.kind()),
    }
}

impl<'f, F: Frame<'f>> Machine<'_, '_, 'f, F> {
    fn run(mut self) -> Result<Operand<'f, F::Value>, Failure> {
        let mut at = 0;
        loop {
            self.budget.step()?;
            let op = self.program.ops.get(at).ok_or_else(broken)?;
            if let Op::Return { of } = *op {
                return self.take(of);
            }
            at = match self.op(op, at) {
                Ok(next) => next,
                Err(failure) => self.rescue(at, failure)?,
            };
        }
    }

    /// Goes on after the innermost `isDefined` around a failure, if it is one that it hides.
    #[cold]
    fn rescue(&mut self, at: usize, failure: Failure) -> Result<usize, Failure> {
        if failure.category().goes_through() {
            return Err(failure);
        }
        let before = self.program.ops.get(..at).unwrap_or(&[]);
        for (start, op) in before.iter().enumerate().rev() {
            let Op::Attempt { out, negated, end } = *op else { continue };
            if at < end as usize {
                while self.loops.last().is_some_and(|each| each.each > start) {
                    self.loops.pop();
                }
                self.put(out, Operand::Bool(negated))?;
                return Ok(end as usize);
            }
        }
        Err(failure)
    }

    #[inline]
    fn look(&self, arg: Arg) -> Result<Shape<'_, 'f, F::Value>, Failure> {
        look(self.program, &self.temps, arg)
    }

    #[inline]
    fn put(&mut self, out: u32, operand: Operand<'f, F::Value>) -> Result<(), Failure> {
        *self.temps.get_mut(out as usize).ok_or_else(broken)? = operand;
        Ok(())
    }

    /// An argument as an operand of its own.
    #[inline]
    fn copy(&self, arg: Arg) -> Result<Operand<'f, F::Value>, Failure> {
        match arg {
            Arg::Temp(index) => self.temps.get(index as usize).cloned().ok_or_else(broken),
            Arg::Constant(index) => Ok(match self.program.constants.get(index as usize).ok_or_else(broken)? {
                Constant::Null => Operand::Null,
                Constant::Bool(value) => Operand::Bool(*value),
                Constant::Int(value) => Operand::Int(*value),
                Constant::Big(value) => Operand::Big(Box::new(value.clone())),
                Constant::Float(value) => Operand::Float(*value),
                Constant::Text(text) => Operand::Text(Text::Utf8(text)),
            }),
        }
    }

    /// As [`Self::copy`], for the last reader of a temporary.
    fn take(&mut self, arg: Arg) -> Result<Operand<'f, F::Value>, Failure> {
        match arg {
            Arg::Temp(index) => {
                let temp = self.temps.get_mut(index as usize).ok_or_else(broken)?;
                Ok(std::mem::replace(temp, Operand::Null))
            }
            Arg::Constant(_) => self.copy(arg),
        }
    }

    fn symbol(&self, index: u32) -> Result<Symbol<'f>, Failure> {
        let name = self.symbols.get(index as usize).ok_or_else(broken)?;
        Ok(Symbol { index, name })
    }

    /// Runs an op and says which comes next.
    #[inline]
    fn op(&mut self, op: &'f Op, at: usize) -> Result<usize, Failure> {
        let (out, operand) = match *op {
            Op::Variable { out, symbol } => (out, self.variable(symbol)?),
            Op::Special { out, special } => (out, self.special(special)?),
            Op::Move { out, of } => (out, self.copy(of)?),
            Op::Not { out, of } => (out, Operand::Bool(!self.look(of)?.truth())),
            Op::Len { out, of, count } => (out, self.len(of, if count { Doing::Count } else { Doing::Len })?),
            Op::IsEmpty { out, of } => (out, self.is_empty(of)?),
            Op::Compare { out, how, left, right } => (out, Operand::Bool(self.compare(how, left, right)?)),
            Op::Search { out, how, of, part } => (out, Operand::Bool(self.search(how, of, part)?)),
            Op::Matches { out, of, pattern, compiled } => (out, Operand::Bool(self.matches(of, pattern, compiled)?)),
            Op::Index { out, of, at, literal } => (out, self.index(of, at, literal)?),
            Op::Member { out, of, symbol } => (out, self.member(of, symbol)?),
            Op::EntryMember { out, it, symbol, value, .. } => (out, self.entry_member(it, symbol, value)?),
            Op::Entry { out, value, .. } => (out, self.entry(value)?),
            Op::Substring { out, of, from, to } => (out, self.substring(of, from, to)?),
            Op::InstanceOf { out, of, class } => (out, self.instance_of(of, class)?),
            Op::Leave { test, when, to } => {
                let leave = self.look(Arg::Temp(test))?.truth() == when;
                return Ok(if leave { to as usize } else { at + 1 });
            }
            Op::Each { out, it, of, purpose, end, .. } => return self.each(at, (out, it, of, purpose, end)),
            Op::Next { test, .. } => return self.next(test),
            Op::Defined { out, of, negated } => (out, Operand::Bool(negated == self.is_unreadable(of)?)),
            Op::Block { .. } | Op::Attempt { .. } | Op::Return { .. } => return Ok(at + 1),
        };
        self.put(out, operand)?;
        Ok(at + 1)
    }

    #[inline]
    fn variable(&self, symbol: u32) -> Result<Operand<'f, F::Value>, Failure> {
        let name = self.symbol(symbol)?;
        match self.scope.frame.variable(name) {
            Child::Present(value) => Ok(Operand::Host(admit(value, self.budget)?)),
            Child::Absent => Err(Failure::Variable(symbol)),
            Child::Computed => Err(Failure::Getter(symbol)),
            Child::Failed(reason) => Err(Failure::host(reason)),
        }
    }

    fn special(&self, special: At) -> Result<Operand<'f, F::Value>, Failure> {
        let (value, name) = match special {
            At::Duration => {
                let duration = self.scope.duration.ok_or(Failure::Special(Special::Duration))?;
                return Ok(Operand::Float(duration));
            }
            At::Return => (self.scope.returned, Special::Return),
            At::Exception => (self.scope.exception, Special::Exception),
        };
        let value = value.ok_or(Failure::Special(name))?;
        Ok(Operand::Host(admit(value, self.budget)?))
    }

    /// Checks the length of a text whose code points have to be counted.
    fn countable(&mut self, text: Text<'f>) -> Result<(), Failure> {
        if let Text::Utf16(units) = text
            && units.len() > MAX_COUNTED
        {
            return Err(Failure::Limit(Limit::CountedText));
        }
        self.budget.charge(texts::size(text))
    }

    fn len(&mut self, of: Arg, doing: Doing) -> Result<Operand<'f, F::Value>, Failure> {
        let len = match self.look(of)? {
            Shape::Str(text) => {
                self.countable(text)?;
                text.len()
            }
            Shape::Bytes(bytes) => bytes.len(),
            Shape::List(_, len) | Shape::Named(_, len) | Shape::Set(_, len) | Shape::Map(_, len, _) => len,
            other => return Err(refuse(doing, &other)),
        };
        Ok(Operand::Int(i64::try_from(len).unwrap_or(i64::MAX)))
    }

    /// True for what `isDefined` was told of and no operation could look into.
    fn is_unreadable(&self, of: Arg) -> Result<bool, Failure> {
        Ok(matches!(glance(self.program, &self.temps, of)?, Shape::Unreadable(..)))
    }

    fn is_empty(&self, of: Arg) -> Result<Operand<'f, F::Value>, Failure> {
        match self.look(of)? {
            shape @ (Shape::Str(_)
            | Shape::Bytes(_)
            | Shape::List(..)
            | Shape::Named(..)
            | Shape::Set(..)
            | Shape::Map(..)) => Ok(Operand::Bool(!shape.truth())),
            other => Err(refuse(Doing::IsEmpty, &other)),
        }
    }

    #[inline]
    fn compare(&mut self, how: Comparison, left: Arg, right: Arg) -> Result<bool, Failure> {
        let a = glance(self.program, &self.temps, left)?;
        let b = glance(self.program, &self.temps, right)?;
        match how {
            Comparison::Eq => return equal::equal(a, b, self.budget),
            Comparison::Ne => return equal::equal(a, b, self.budget).map(|same| !same),
            _ => {}
        }
        let order = match (a, b) {
            (Shape::Number(a), Shape::Number(b)) => number::compare(a, b, self.budget)?,
            (Shape::Str(a), Shape::Str(b)) => Some(texts::compare(a, b, self.budget)?),
            (Shape::Unreadable(_, reason), _) | (_, Shape::Unreadable(_, reason)) => return Err(unread(reason)),
            _ => return Err(Failure::Order(a.kind(), b.kind())),
        };
        Ok(match how {
            Comparison::Gt => order == Some(Ordering::Greater),
            Comparison::Ge => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
            Comparison::Lt => order == Some(Ordering::Less),
            _ => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        })
    }

    fn search(&mut self, how: Search, of: Arg, part: Arg) -> Result<bool, Failure> {
        let text = look(self.program, &self.temps, of)?;
        let part = look(self.program, &self.temps, part)?;
        let doing = match how {
            Search::Contains => return contains(text, part, self.budget),
            Search::StartsWith => Doing::StartsWith,
            Search::EndsWith => Doing::EndsWith,
        };
        let (text, part) = both_texts(doing, text, part)?;
        self.budget.charge(texts::size(part))?;
        Ok(if how == Search::StartsWith { texts::starts_with(text, part) } else { texts::ends_with(text, part) })
    }

    fn matches(&mut self, of: Arg, pattern: Arg, compiled: Option<u32>) -> Result<bool, Failure> {
        let text = look(self.program, &self.temps, of)?;
        let pattern = look(self.program, &self.temps, pattern)?;
        let (text, pattern) = both_texts(Doing::Matches, text, pattern)?;
        self.budget.charge(texts::size(text))?;
        let compiled = compiled.and_then(|index| self.expression.patterns.get(index as usize));
        if compiled.is_none() {
            self.budget.pattern(pattern)?;
        }
        let scratch = &mut *self.budget.scratch;
        match compiled {
            Some((_, regex)) => texts::search(regex, text, &mut scratch.text),
            None => matches_text(scratch, text, pattern),
        }
    }

    fn substring(&mut self, of: Arg, from: Arg, to: Option<Arg>) -> Result<Operand<'f, F::Value>, Failure> {
        let text = match self.look(of)? {
            Shape::Str(text) => text,
            shape @ (Shape::Null | Shape::Undefined) => return Err(refuse(Doing::Substring, &shape)),
            other => return Err(Failure::Kind(Doing::Substring, other.kind())),
        };
        let from = self.position(from)?;
        let to = to.map(|to| self.position(to)).transpose()?;
        if from < 0 || to.is_some_and(|to| to < from) {
            return Err(Failure::Bounds(from, to.unwrap_or(i64::MAX)));
        }
        self.countable(text)?;
        let place = |position: i64| usize::try_from(position).unwrap_or(usize::MAX);
        Ok(Operand::Text(text.slice(place(from), to.map_or(usize::MAX, place))))
    }

    /// A position; one beyond 64 bits is as far away as can be.
    fn position(&self, arg: Arg) -> Result<i64, Failure> {
        let Shape::Number(number) = self.look(arg)? else { return Err(Failure::Whole) };
        match number.whole() {
            Whole::At(position) => Ok(position),
            Whole::Beyond { negative: true } => Ok(i64::MIN),
            Whole::Beyond { negative: false } => Ok(i64::MAX),
            Whole::No => Err(Failure::Whole),
        }
    }

    fn instance_of(&self, of: Arg, class: u32) -> Result<Operand<'f, F::Value>, Failure> {
        let class = self.program.classes.get(class as usize).ok_or_else(broken)?;
        let qualified = class.contains('.');
        let Operand::Host(value) = self.copy(of)? else { return Ok(Operand::Bool(false)) };
        let mut found = false;
        value.type_names(|name| {
            let names = if qualified { [name.qualified, name.display] } else { [name.bare; 2] };
            found = names.iter().any(|name| name.same(Text::Utf8(class)));
            if found { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
        });
        Ok(Operand::Bool(found))
    }

    fn member(&mut self, of: Arg, symbol: u32) -> Result<Operand<'f, F::Value>, Failure> {
        let doing = Doing::Member(symbol);
        let name = self.symbol(symbol)?;
        let shape = glance(self.program, &self.temps, of)?;
        match shape {
            // It may have attributes all the same.
            Shape::Unreadable(value, reason) => match self.field(value, name) {
                Err(Failure::Member(..) | Failure::Getter(_)) => Err(Failure::host(reason)),
                outcome => outcome,
            },
            Shape::Object(value) | Shape::Exception(value) | Shape::Enum(value) | Shape::Named(value, _) => {
                self.field(value, name)
            }
            Shape::Map(entries, ..) => {
                let key = Shape::Str(Text::Utf8(name.name));
                let found = equal::entry(entries, key, self.budget)?;
                Ok(Operand::Host(under_key(found, self.budget)?.ok_or(Failure::NamedKey(symbol))?))
            }
            Shape::Null | Shape::Undefined | Shape::Opaque(_) => Err(refuse(doing, &shape)),
            other => {
                let kind = other.kind();
                let Arg::Temp(index) = of else { return Err(Failure::Kind(doing, kind)) };
                let Some(&Operand::Host(value)) = self.temps.get(index as usize) else {
                    return Err(Failure::Kind(doing, kind));
                };
                match self.scope.frame.member(value, name) {
                    Child::Present(member) => Ok(Operand::Host(admit(member, self.budget)?)),
                    Child::Absent => Err(Failure::Kind(doing, kind)),
                    Child::Computed => Err(Failure::Getter(symbol)),
                    Child::Failed(reason) => Err(Failure::host(reason)),
                }
            }
        }
    }

    /// A field of an instance; the message of an exception counts as one.
    #[inline]
    fn field(&self, value: F::Value, name: Symbol<'f>) -> Result<Operand<'f, F::Value>, Failure> {
        match self.scope.frame.member(value, name) {
            Child::Present(member) => Ok(Operand::Host(admit(member, self.budget)?)),
            Child::Absent if is_message(value, name.name) => message(value, self.budget),
            Child::Absent => Err(Failure::Member(value.type_info().id, name.index)),
            Child::Computed => Err(Failure::Getter(name.index)),
            Child::Failed(reason) => Err(Failure::host(reason)),
        }
    }

    fn index(&mut self, of: Arg, at: Arg, literal: bool) -> Result<Operand<'f, F::Value>, Failure> {
        let shape = look(self.program, &self.temps, of)?;
        let key = look(self.program, &self.temps, at)?;
        if !literal && let Shape::Str(text) = key {
            self.budget.permit(text)?;
        }
        let literal = match at {
            Arg::Constant(index) => Some(index),
            Arg::Temp(_) => None,
        };
        match shape {
            Shape::List(elements, len) => {
                let index = place(&key, len)?;
                let element = elements.at(index, self.budget)?;
                if let Operand::Host(value) = &element {
                    admit(*value, self.budget)?;
                }
                Ok(element)
            }
            Shape::Named(value, len) => match Elements::Named(value).at(place(&key, len)?, self.budget)? {
                Operand::Host(element) => Ok(Operand::Host(admit(element, self.budget)?)),
                other => Ok(other),
            },
            Shape::Bytes(bytes) => {
                let byte = bytes.get(place(&key, bytes.len())?).copied().unwrap_or(0);
                Ok(Operand::Int(i64::from(byte)))
            }
            Shape::Map(entries, _, record) => {
                let found = match key {
                    Shape::Number(number) if record => named_by_number(entries, number, self.budget)?,
                    _ => equal::entry(entries, key, self.budget)?,
                };
                Ok(Operand::Host(under_key(found, self.budget)?.ok_or(Failure::Key(literal))?))
            }
            Shape::Object(value) | Shape::Exception(value) | Shape::Enum(value) => match key {
                Shape::Str(name) => self.computed_member(value, name),
                _ => Err(Failure::Kind(Doing::Index, shape.kind())),
            },
            other => Err(refuse(Doing::Index, &other)),
        }
    }

    fn computed_member(&mut self, value: F::Value, name: Text<'f>) -> Result<Operand<'f, F::Value>, Failure> {
        let memory = &mut self.budget.scratch.text;
        let name = if let Text::Utf8(name) = name {
            name
        } else {
            memory.clear();
            name.push_to(memory);
            memory
        };
        match value.member(name) {
            Child::Present(member) => Ok(Operand::Host(admit(member, self.budget)?)),
            Child::Absent if is_message(value, name) => message(value, self.budget),
            Child::Absent => Err(Failure::ComputedMember(value.type_info().id)),
            Child::Computed => Err(Failure::ComputedGetter),
            Child::Failed(reason) => Err(Failure::host(reason)),
        }
    }

    /// `@it.key`, `@it.value`.
    fn entry_member(&mut self, it: u32, symbol: u32, value: bool) -> Result<Operand<'f, F::Value>, Failure> {
        let innermost = self.loops.last().ok_or_else(broken)?;
        let Some(entry) = innermost.entry.filter(|_| innermost.over.is_map()) else {
            return self.member(Arg::Temp(it), symbol);
        };
        match self.member(Arg::Temp(it), symbol) {
            Err(failure)
                if !matches!(failure, Failure::Getter(_) | Failure::Host(_)) && !failure.category().goes_through() =>
            {
                self.part(entry, value)
            }
            outcome => outcome,
        }
    }

    /// `@key`, `@value`: of the nearest loop over a map.
    fn entry(&mut self, value: bool) -> Result<Operand<'f, F::Value>, Failure> {
        let name = if value { Special::Value } else { Special::Key };
        let nearest = self.loops.iter().rev().find(|each| each.over.is_map());
        let entry = nearest.and_then(|each| each.entry).ok_or(Failure::Special(name))?;
        self.part(entry, value)
    }

    /// The key or the value of an entry.
    fn part(&mut self, entry: (F::Value, F::Value), value: bool) -> Result<Operand<'f, F::Value>, Failure> {
        if value {
            self.budget.permit_entry(entry.0)?;
        }
        Ok(Operand::Host(admit(if value { entry.1 } else { entry.0 }, self.budget)?))
    }

    fn each(&mut self, at: usize, op: (u32, u32, Arg, Purpose, u32)) -> Result<usize, Failure> {
        let (out, it, of, purpose, end) = op;
        let doing = match purpose {
            Purpose::Any => Doing::Any,
            Purpose::All => Doing::All,
            Purpose::Filter => Doing::Filter,
        };
        let over = match self.look(of)? {
            Shape::List(Elements::Host(value), len) => Over::Host(value, len),
            Shape::Named(value, len) | Shape::List(Elements::Named(value), len) => Over::Named(value, len),
            Shape::List(Elements::Values(value), _) => Over::Values(value),
            Shape::Bytes(bytes) => Over::Bytes(bytes),
            Shape::Set(Members::Host(value), _) => Over::Set(value),
            Shape::Map(Entries::Host(value), ..) => Over::Map(value),
            Shape::List(..) | Shape::Set(..) | Shape::Map(..) => match self.take(of)? {
                Operand::List(made) => Over::Made(made),
                Operand::Set(made) => Over::MadeSet(made),
                Operand::Map(made) => Over::MadeMap(made),
                _ => return Err(broken()),
            },
            other => return Err(refuse(doing, &other)),
        };
        let kept = match (purpose, &over) {
            (Purpose::Any, _) => Operand::Bool(false),
            (Purpose::All, _) => Operand::Bool(true),
            (Purpose::Filter, Over::Host(..) | Over::Named(..) | Over::Values(_) | Over::Made(_) | Over::Bytes(_)) => {
                Operand::List(Vec::new())
            }
            (Purpose::Filter, Over::Set(_) | Over::MadeSet(_)) => Operand::Set(Vec::new()),
            (Purpose::Filter, Over::Map(_) | Over::MadeMap(_)) => Operand::Map(Vec::new()),
        };
        let (ahead, end) = (Ahead::new(), end as usize);
        self.loops.push(Loop { each: at, end, out, it, purpose, over, next: 0, ahead, entry: None, kept });
        self.advance()
    }

    /// Begins the next round of the innermost loop, or ends the loop.
    fn advance(&mut self) -> Result<usize, Failure> {
        let innermost = self.loops.last_mut().ok_or_else(broken)?;
        let next = innermost.next;
        innermost.next += 1;
        let budget = &mut *self.budget;
        let element = match &innermost.over {
            Over::Host(list, len) if next < *len => Some(Elements::Host(*list).at(next, budget)?),
            Over::Named(tuple, len) if next < *len => Some(Elements::Named(*tuple).at(next, budget)?),
            Over::Host(..) | Over::Named(..) => None,
            Over::Values(map) => match innermost.ahead.next(Source::Map(Entries::Host(*map)), budget)? {
                Some((key, value)) => {
                    budget.permit_entry(key)?;
                    Some(Operand::Host(value))
                }
                None => None,
            },
            Over::Made(made) => made.get(next).cloned(),
            Over::Bytes(bytes) => bytes.get(next).map(|byte| Operand::Int(i64::from(*byte))),
            over => {
                let source = match over {
                    Over::Set(set) => Source::Set(Members::Host(*set)),
                    Over::MadeSet(set) => Source::Set(Members::Made(set)),
                    Over::Map(map) => Source::Map(Entries::Host(*map)),
                    Over::MadeMap(map) => Source::Map(Entries::Made(map)),
                    _ => return Err(broken()),
                };
                innermost.entry = innermost.ahead.next(source, budget)?;
                innermost.entry.map(|(key, _)| Operand::Host(key))
            }
        };
        let Some(element) = element else { return self.finish() };
        if let Operand::Host(value) = &element {
            admit(*value, self.budget)?;
        }
        let (it, start) = (innermost.it, innermost.each + 1);
        self.budget.predicate()?;
        self.put(it, element)?;
        Ok(start)
    }

    /// Takes the verdict of a predicate.
    fn next(&mut self, test: Arg) -> Result<usize, Failure> {
        let verdict = self.look(test)?.truth();
        let innermost = self.loops.last_mut().ok_or_else(broken)?;
        match innermost.purpose {
            Purpose::Any if verdict => {
                innermost.kept = Operand::Bool(true);
                return self.finish();
            }
            Purpose::All if !verdict => {
                innermost.kept = Operand::Bool(false);
                return self.finish();
            }
            Purpose::Filter if verdict => {
                let it = self.temps.get(innermost.it as usize).ok_or_else(broken)?;
                match (&mut innermost.kept, it, innermost.entry) {
                    (Operand::List(kept), it, _) => kept.push(it.clone()),
                    (Operand::Set(kept), Operand::Host(member), _) => kept.push(*member),
                    (Operand::Map(kept), _, Some(entry)) => kept.push(entry),
                    _ => return Err(broken()),
                }
            }
            _ => {}
        }
        self.advance()
    }

    fn finish(&mut self) -> Result<usize, Failure> {
        let done = self.loops.pop().ok_or_else(broken)?;
        self.put(done.out, done.kept)?;
        Ok(done.end)
    }
}

/// The two texts of `startsWith`, `endsWith`, `matches`.
fn both_texts<'f, V: Value<'f>>(
    doing: Doing,
    text: Shape<'_, 'f, V>,
    part: Shape<'_, 'f, V>,
) -> Result<(Text<'f>, Text<'f>), Failure> {
    match (text, part) {
        (Shape::Str(text), Shape::Str(part)) => Ok((text, part)),
        (Shape::Null | Shape::Undefined, _) => Err(refuse(doing, &text)),
        _ => Err(Failure::Kinds(doing, text.kind(), part.kind())),
    }
}

fn contains<'f, V: Value<'f>>(
    of: Shape<'_, 'f, V>,
    part: Shape<'_, 'f, V>,
    budget: &mut Budget<'_>,
) -> Result<bool, Failure> {
    match (of, part) {
        (Shape::Str(text), Shape::Str(part)) => texts::contains(text, part, budget),
        (Shape::Str(_), _) => Err(Failure::Kinds(Doing::Contains, of.kind(), part.kind())),
        (Shape::Bytes(bytes), _) => {
            budget.charge(bytes.len())?;
            let Shape::Number(number) = part else { return Ok(false) };
            let Whole::At(byte) = number.whole() else { return Ok(false) };
            Ok(u8::try_from(byte).is_ok_and(|byte| bytes.contains(&byte)))
        }
        (Shape::List(elements, len), _) => list_contains(elements, len, part, budget),
        (Shape::Named(value, len), _) => list_contains(Elements::Named(value), len, part, budget),
        (Shape::Set(members, _), _) => equal::has(members, part, budget),
        (Shape::Map(entries, ..), _) => equal::entry(entries, part, budget).map(|found| found.is_some()),
        (other, _) => Err(refuse(Doing::Contains, &other)),
    }
}

fn list_contains<'f, V: Value<'f>>(
    elements: Elements<'_, 'f, V>,
    len: usize,
    part: Shape<'_, 'f, V>,
    budget: &mut Budget<'_>,
) -> Result<bool, Failure> {
    for index in 0..len {
        let element = elements.at(index, budget)?;
        let same = match element {
            Operand::Host(value) => equal::is(value, part, budget)?,
            other => {
                budget.comparison()?;
                equal::equal(Shape::of_operand(&other), part, budget)?
            }
        };
        if same {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The place in a list of so many elements that a key means.
fn place<'f, V: Value<'f>>(key: &Shape<'_, 'f, V>, len: usize) -> Result<usize, Failure> {
    let Shape::Number(number) = key else { return Err(Failure::Whole) };
    let position = match number.whole() {
        Whole::At(position) => position,
        Whole::Beyond { negative: true } => i64::MIN,
        Whole::Beyond { negative: false } => i64::MAX,
        Whole::No => return Err(Failure::Whole),
    };
    let from_end = if position < 0 { i64::try_from(len).unwrap_or(i64::MAX) } else { 0 };
    let place = usize::try_from(position.saturating_add(from_end)).ok().filter(|place| *place < len);
    place.ok_or(Failure::Position(position, len as u64))
}

/// A record map turns a number into decimal text first.
fn named_by_number<'f, V: Value<'f>>(
    entries: Entries<'_, V>,
    number: Num<'_>,
    budget: &mut Budget<'_>,
) -> Result<Option<(Option<V>, V)>, Failure> {
    let mut name = std::mem::take(&mut budget.scratch.other);
    name.clear();
    let written = match (number.whole(), number) {
        (Whole::At(value), _) => write!(name, "{value}"),
        (_, Num::Float(value)) => write!(name, "{value}"),
        (_, Num::Big(value)) => write!(name, "{value}"),
        _ => Ok(()),
    };
    // A number that has no short decimal text names nothing.
    let found = match written {
        Ok(()) if !name.is_empty() => match budget.permit(Text::Utf8(&name)) {
            Ok(()) => find_named(entries, &name, budget).map(|found| found.map(|value| (None, value))),
            Err(failure) => Err(failure),
        },
        _ => Ok(None),
    };
    budget.scratch.other = name;
    found
}

fn find_named<'f, V: Value<'f>>(
    entries: Entries<'_, V>,
    name: &str,
    budget: &mut Budget<'_>,
) -> Result<Option<V>, Failure> {
    let mut found = None;
    let mut outcome = Ok(());
    let mut test = |key: V, value: V, budget: &mut Budget<'_>| {
        outcome = budget.comparison();
        if matches!(key.view(), View::Str(text) if text.same(Text::Utf8(name))) {
            found = Some(value);
        }
        if found.is_some() || outcome.is_err() {
            std::ops::ControlFlow::Break(())
        } else {
            std::ops::ControlFlow::Continue(())
        }
    };
    match entries {
        Entries::Host(map) => {
            if let Some(child) = map.lookup(Text::Utf8(name)) {
                return match child {
                    Child::Present(value) => Ok(Some(value)),
                    Child::Failed(reason) => Err(Failure::host(reason)),
                    Child::Absent | Child::Computed => Ok(None),
                };
            }
            each_entry(map, budget, test)?;
        }
        Entries::Made(entries) => {
            let _ = entries.iter().try_for_each(|(key, value)| test(*key, *value, budget));
        }
    }
    outcome.map(|()| found)
}

//! `eq` (3.6): never fails but for `limit` and what cannot be read. It stands on the walk of a hit, below [`super`]. Nested collections are
//! compared with a stack on the heap; cycles and sheer size end in a limit.

use super::budget::MAX_NESTING;
use super::number;
use super::shape::{Ahead, Elements, Entries, Members, Shape, Source, each_entry, each_member};
use super::texts;
use super::{Budget, Failure, Operand, admit};
use crate::expr::eval::failure::Limit;
use crate::host::{Child, Value};
use crate::text::Text;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// True if two operands are equal.
#[inline]
pub(super) fn equal<'f, V: Value<'f>>(
    a: Shape<'_, 'f, V>,
    b: Shape<'_, 'f, V>,
    budget: &mut Budget<'_>,
) -> Result<bool, Failure> {
    match quick(a, b, budget)? {
        Some(verdict) => Ok(verdict),
        None => deep(a, b, budget),
    }
}

/// The verdict, if it needs no look at children.
#[inline]
fn quick<'f, V: Value<'f>>(
    a: Shape<'_, 'f, V>,
    b: Shape<'_, 'f, V>,
    budget: &mut Budget<'_>,
) -> Result<Option<bool>, Failure> {
    Ok(Some(match (a, b) {
        (Shape::Number(a), Shape::Number(b)) => number::compare(a, b, budget)? == Some(Ordering::Equal),
        (Shape::Str(a), Shape::Str(b)) => texts::same(a, b, budget)?,
        (Shape::Bool(a), Shape::Bool(b)) => a == b,
        (Shape::Null, Shape::Null) | (Shape::Undefined, Shape::Undefined) => true,
        (Shape::Bytes(a), Shape::Bytes(b)) => {
            budget.charge(a.len())?;
            a == b
        }
        (Shape::Enum(member), Shape::Str(text)) | (Shape::Str(text), Shape::Enum(member)) => {
            is_named(member, text, budget)
        }
        (Shape::Enum(a), Shape::Enum(b)) => same_member(a, b, budget),
        (Shape::List(_, a) | Shape::Named(_, a), Shape::List(_, b) | Shape::Named(_, b))
        | (Shape::Set(_, a), Shape::Set(_, b))
        | (Shape::Map(_, a, _), Shape::Map(_, b, _)) => {
            if a == b && a > 0 {
                return Ok(None);
            }
            a == b
        }
        (Shape::Object(a), Shape::Object(b))
        | (Shape::Exception(a), Shape::Exception(b))
        | (Shape::Function(a), Shape::Function(b))
        | (Shape::Iterator(a), Shape::Iterator(b))
        | (Shape::Opaque(a), Shape::Opaque(b)) => a.identity() == b.identity(),
        // Whatever it holds, it is there.
        (Shape::Unreadable(..), Shape::Null | Shape::Undefined)
        | (Shape::Null | Shape::Undefined, Shape::Unreadable(..)) => false,
        (Shape::Unreadable(_, reason), _) | (_, Shape::Unreadable(_, reason)) => return Err(Failure::host(reason)),
        _ => false,
    }))
}

/// True if a text names an enumeration member: its name, or the name after the bare or qualified class.
fn is_named<'f, V: Value<'f>>(member: V, text: Text<'_>, budget: &mut Budget<'_>) -> bool {
    let name = &mut budget.scratch.text;
    name.clear();
    member.label(name);
    if text.same(Text::Utf8(name)) {
        return true;
    }
    let full = &mut budget.scratch.other;
    let mut found = false;
    member.type_names(|class| {
        for class in [class.bare, class.qualified] {
            full.clear();
            class.push_to(full);
            full.push('.');
            full.push_str(name);
            found = found || text.same(Text::Utf8(full));
        }
        ControlFlow::Break(())
    });
    found
}

/// True if two enumeration members have the same class and name.
fn same_member<'f, V: Value<'f>>(a: V, b: V, budget: &mut Budget<'_>) -> bool {
    if a.identity() == b.identity() {
        return true;
    }
    if a.type_info().id != b.type_info().id {
        return false;
    }
    let (left, right) = (&mut budget.scratch.text, &mut budget.scratch.other);
    left.clear();
    right.clear();
    a.label(left);
    b.label(right);
    left == right
}

/// A comparison under way.
enum Task<'x, 'f, V> {
    /// Elements from `next` on.
    Lists { a: Elements<'x, 'f, V>, b: Elements<'x, 'f, V>, next: usize, len: usize },
    /// Each child of the first must be in the second.
    Within { children: Source<'x, V>, ahead: Ahead<V>, other: Source<'x, V> },
    /// A child must be among these; then, of maps, the values must be equal.
    Find { child: (V, V), map: bool, other: Source<'x, V>, ahead: Ahead<V>, tried: Option<(V, V)> },
}

impl<V> Task<'_, '_, V> {
    fn is_search(&self) -> bool {
        matches!(self, Task::Find { .. })
    }
}

fn elements<'x, 'f, V: Value<'f>>(shape: Shape<'x, 'f, V>) -> Option<(Elements<'x, 'f, V>, usize)> {
    match shape {
        Shape::List(elements, len) => Some((elements, len)),
        Shape::Named(value, len) => Some((Elements::Named(value), len)),
        _ => None,
    }
}

fn task<'x, 'f, V: Value<'f>>(a: Shape<'x, 'f, V>, b: Shape<'x, 'f, V>) -> Option<Task<'x, 'f, V>> {
    if let (Some((a, len)), Some((b, _))) = (elements(a), elements(b)) {
        return Some(Task::Lists { a, b, next: 0, len });
    }
    let (children, other) = match (a, b) {
        (Shape::Set(a, _), Shape::Set(b, _)) => (Source::Set(a), Source::Set(b)),
        (Shape::Map(a, ..), Shape::Map(b, ..)) => (Source::Map(a), Source::Map(b)),
        _ => return None,
    };
    Some(Task::Within { children, ahead: Ahead::new(), other })
}

/// A step's outcome.
enum Turn<'x, 'f, V> {
    /// This task is decided.
    Verdict(bool),
    /// Another comparison must be decided first.
    Push(Task<'x, 'f, V>),
    /// This task becomes another.
    Become(Task<'x, 'f, V>),
}

/// The number of open collections with one more task.
fn deeper<V>(levels: usize, next: &Task<'_, '_, V>) -> Result<usize, Failure> {
    let levels = levels + usize::from(!next.is_search());
    if levels > MAX_NESTING { Err(Failure::Limit(Limit::Nesting)) } else { Ok(levels) }
}

fn deep<'x, 'f: 'x, V: Value<'f>>(
    a: Shape<'x, 'f, V>,
    b: Shape<'x, 'f, V>,
    budget: &mut Budget<'_>,
) -> Result<bool, Failure> {
    let mut stack: Vec<Task<'x, 'f, V>> = Vec::new();
    stack.extend(task(a, b));
    // Collections that are open: a search for a key or member is no level of its own.
    let mut levels = stack.len();
    let mut last = None;
    while let Some(top) = stack.last_mut() {
        match turn(top, last.take(), budget)? {
            Turn::Verdict(verdict) => {
                levels -= usize::from(!top.is_search());
                stack.pop();
                last = Some(verdict);
            }
            Turn::Push(next) => {
                levels = deeper(levels, &next)?;
                stack.push(next);
            }
            // Only a search becomes another task.
            Turn::Become(next) => {
                levels = deeper(levels, &next)?;
                *top = next;
            }
        }
    }
    Ok(last.unwrap_or(false))
}

/// Compares two values; `Err(task)` if their children must be compared.
fn values<'x, 'f: 'x, V: Value<'f>>(
    a: V,
    b: V,
    budget: &mut Budget<'_>,
) -> Result<Result<bool, Task<'x, 'f, V>>, Failure> {
    budget.comparison()?;
    let a = Shape::of_value(admit(a, budget)?);
    let b = Shape::of_value(admit(b, budget)?);
    Ok(match quick(a, b, budget)? {
        Some(verdict) => Ok(verdict),
        None => task(a, b).ok_or(()).map_or(Ok(false), Err),
    })
}

fn turn<'x, 'f: 'x, V: Value<'f>>(
    task: &mut Task<'x, 'f, V>,
    last: Option<bool>,
    budget: &mut Budget<'_>,
) -> Result<Turn<'x, 'f, V>, Failure> {
    match task {
        Task::Lists { a, b, next, len } => {
            if last == Some(false) {
                return Ok(Turn::Verdict(false));
            }
            while *next < *len {
                let (a, b) = (a.at(*next, budget)?, b.at(*next, budget)?);
                *next += 1;
                match pair(&a, &b, budget)? {
                    Ok(true) => {}
                    Ok(false) => return Ok(Turn::Verdict(false)),
                    Err(task) => return Ok(Turn::Push(task)),
                }
            }
            Ok(Turn::Verdict(true))
        }
        Task::Within { children, ahead, other } => {
            if last == Some(false) {
                return Ok(Turn::Verdict(false));
            }
            while let Some(child) = ahead.next(*children, budget)? {
                let Some(found) = quick_lookup(*other, child.0, budget)? else {
                    let map = matches!(other, Source::Map(_));
                    let (other, ahead) = (*other, Ahead::new());
                    return Ok(Turn::Push(Task::Find { child, map, other, ahead, tried: None }));
                };
                let Some(value) = present(found)? else { return Ok(Turn::Verdict(false)) };
                budget.permit_entry(child.0)?;
                match values(child.1, value, budget)? {
                    Ok(true) => {}
                    Ok(false) => return Ok(Turn::Verdict(false)),
                    Err(task) => return Ok(Turn::Push(task)),
                }
            }
            Ok(Turn::Verdict(true))
        }
        Task::Find { child, map, other, ahead, tried } => {
            if last == Some(true) {
                return match (*map, *tried) {
                    (true, Some(entry)) => become_values(*child, entry, budget),
                    _ => Ok(Turn::Verdict(true)),
                };
            }
            while let Some(candidate) = ahead.next(*other, budget)? {
                match values(child.0, candidate.0, budget)? {
                    Ok(false) => {}
                    Ok(true) if *map => return become_values(*child, candidate, budget),
                    Ok(true) => return Ok(Turn::Verdict(true)),
                    Err(task) => {
                        *tried = Some(candidate);
                        return Ok(Turn::Push(task));
                    }
                }
            }
            Ok(Turn::Verdict(false))
        }
    }
}

/// What a map of the host has under a string key, where it can tell quickly.
fn quick_lookup<'f, V: Value<'f>>(
    map: Source<'_, V>,
    key: V,
    budget: &mut Budget<'_>,
) -> Result<Option<Child<V>>, Failure> {
    let Source::Map(Entries::Host(map)) = map else { return Ok(None) };
    let Shape::Str(text) = Shape::of_value(admit(key, budget)?) else { return Ok(None) };
    Ok(map.lookup(text))
}

/// A child of a map: there, or not.
fn present<V>(child: Child<V>) -> Result<Option<V>, Failure> {
    match child {
        Child::Present(value) => Ok(Some(value)),
        Child::Failed(reason) => Err(Failure::host(reason)),
        Child::Absent | Child::Computed => Ok(None),
    }
}

/// The rest of a task is whether the value of an entry equals that of another. Keys that are equal need not have one name:
/// either may be a member of an enumeration.
fn become_values<'x, 'f: 'x, V: Value<'f>>(
    entry: (V, V),
    other: (V, V),
    budget: &mut Budget<'_>,
) -> Result<Turn<'x, 'f, V>, Failure> {
    budget.permit_entry(entry.0)?;
    budget.permit_entry(other.0)?;
    Ok(match values(entry.1, other.1, budget)? {
        Ok(verdict) => Turn::Verdict(verdict),
        Err(task) => Turn::Become(task),
    })
}

/// Compares two elements of lists. What the expression made holds host values and integers only, so it has no children
/// of its own.
fn pair<'x, 'f: 'x, V: Value<'f>>(
    a: &Operand<'f, V>,
    b: &Operand<'f, V>,
    budget: &mut Budget<'_>,
) -> Result<Result<bool, Task<'x, 'f, V>>, Failure> {
    if let (Operand::Host(a), Operand::Host(b)) = (a, b) {
        return values(*a, *b, budget);
    }
    budget.comparison()?;
    let (a, b) = (Shape::of_operand(a), Shape::of_operand(b));
    Ok(Ok(quick(a, b, budget)?.unwrap_or(false)))
}

/// True if a host value equals an operand; counts as a comparison of elements.
pub(super) fn is<'f, V: Value<'f>>(
    value: V,
    operand: Shape<'_, 'f, V>,
    budget: &mut Budget<'_>,
) -> Result<bool, Failure> {
    budget.comparison()?;
    equal(Shape::of_value(admit(value, budget)?), operand, budget)
}

/// True if a set has a member that equals an operand.
pub(super) fn has<'f, V: Value<'f>>(
    set: Members<'_, V>,
    operand: Shape<'_, 'f, V>,
    budget: &mut Budget<'_>,
) -> Result<bool, Failure> {
    let mut outcome = Ok(false);
    let mut test = |member: V, budget: &mut Budget<'_>| {
        outcome = is(member, operand, budget);
        if matches!(outcome, Ok(false)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    match set {
        Members::Host(set) => {
            each_member(set, budget, test)?;
        }
        Members::Made(members) => {
            let _ = members.iter().try_for_each(|member| test(*member, budget));
        }
    }
    outcome
}

/// The value of the key of a map that equals an operand, and that key where it is not the operand's own text: it decides
/// on redaction ([`Budget::permit_entry`]).
pub(super) fn entry<'f, V: Value<'f>>(
    map: Entries<'_, V>,
    key: Shape<'_, 'f, V>,
    budget: &mut Budget<'_>,
) -> Result<Option<(Option<V>, V)>, Failure> {
    if let (Entries::Host(map), Shape::Str(text)) = (map, key)
        && let Some(found) = map.lookup(text)
    {
        budget.comparison()?;
        return Ok(present(found)?.map(|value| (None, value)));
    }
    let mut outcome = Ok(None);
    let mut test = |known: V, value: V, budget: &mut Budget<'_>| {
        outcome = is(known, key, budget).map(|same| same.then_some((Some(known), value)));
        if matches!(outcome, Ok(None)) { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    match map {
        Entries::Host(map) => {
            each_entry(map, budget, test)?;
        }
        Entries::Made(entries) => {
            let _ = entries.iter().try_for_each(|(known, value)| test(*known, *value, budget));
        }
    }
    outcome
}

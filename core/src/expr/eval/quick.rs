//! The commonest expressions without the machine: a variable, a member of it, and comparisons of these (or of their
//! lengths) with a constant, in a chain of `and` or of `or`. It stands on the walk of a hit, before [`super`]'s machine,
//! which it never contradicts: it is read off the machine's own program, reads nothing that the machine would not read,
//! and answers only where every value is of the plainest kind. Whatever else it meets, failures among them, it leaves
//! to the machine, which starts afresh: reading a value twice changes nothing.

use super::super::Expression;
use super::super::target::{Arg, Comparison, Constant, Op, Program};
use super::Scope;
use crate::host::{Child, Frame, Symbol, Value, View};
use crate::text::Text;
use std::cmp::Ordering;

/// A text of more bytes is left to the machine, which charges for it.
const SHORT: usize = 256;

/// An expression as it is tried first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Quick {
    /// Only the machine can run it.
    #[default]
    No,
    /// A value that is only read.
    Read(Path),
    /// Tests in a row: all must hold, or (`any`) one.
    Tests { tests: Box<[Test]>, any: bool },
}

/// A variable, or a member of one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Path {
    variable: u32,
    member: Option<u32>,
}

/// A comparison with a constant on its right.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Test {
    path: Path,
    /// True if it is the length that is compared.
    length: bool,
    how: Comparison,
    constant: Plain,
}

#[derive(Clone, Debug, PartialEq)]
enum Plain {
    Int(i64),
    Text(Box<str>),
}

impl Quick {
    /// Reads a program.
    pub(crate) fn of(program: &Program) -> Quick {
        Self::read(program).or_else(|| Self::tests(program)).unwrap_or_default()
    }

    fn read(program: &Program) -> Option<Quick> {
        let (path, out, rest) = path(&program.ops)?;
        (*rest == [Op::Return { of: Arg::Temp(out) }]).then_some(Quick::Read(path))
    }

    fn tests(program: &Program) -> Option<Quick> {
        let mut ops = program.ops.as_slice();
        if let [Op::Block { .. }, rest @ ..] = ops {
            ops = rest;
        }
        let last = u32::try_from(program.ops.len().checked_sub(1)?).ok()?;
        let (mut tests, mut kind) = (Vec::new(), None);
        loop {
            let (test, result, rest) = one_test(ops, &program.constants)?;
            tests.push(test);
            match *rest {
                [Op::Return { of: Arg::Temp(of) }] if of == result => {
                    return Some(Quick::Tests { tests: tests.into(), any: kind.unwrap_or(false) });
                }
                [Op::Leave { test, when, to }, ..]
                    if test == result && to == last && kind.is_none_or(|kind| kind == when) =>
                {
                    kind = Some(when);
                    ops = rest.get(1..)?;
                }
                _ => return None,
            }
        }
    }
}

/// A path at the beginning of some ops: it, the temporary that it ends in, and what follows.
fn path(ops: &[Op]) -> Option<(Path, u32, &[Op])> {
    match ops {
        [Op::Variable { out, symbol }, Op::Member { out: to, of: Arg::Temp(of), symbol: member }, rest @ ..]
            if of == out =>
        {
            Some((Path { variable: *symbol, member: Some(*member) }, *to, rest))
        }
        [Op::Variable { out, symbol }, rest @ ..] => Some((Path { variable: *symbol, member: None }, *out, rest)),
        _ => None,
    }
}

fn one_test<'o>(ops: &'o [Op], constants: &[Constant]) -> Option<(Test, u32, &'o [Op])> {
    let (path, at, rest) = path(ops)?;
    let (length, at, rest) = match rest {
        [Op::Len { out, of: Arg::Temp(of), .. }, rest @ ..] if *of == at => (true, *out, rest),
        _ => (false, at, rest),
    };
    let [Op::Compare { out, how, left: Arg::Temp(left), right: Arg::Constant(right) }, rest @ ..] = rest else {
        return None;
    };
    let constant = match constants.get(*right as usize)? {
        Constant::Int(value) => Plain::Int(*value),
        Constant::Text(text) if text.len() <= SHORT && !length => Plain::Text(text.as_str().into()),
        _ => return None,
    };
    (*left == at).then_some((Test { path, length, how: *how, constant }, *out, rest))
}

/// The value of an expression that is only read.
#[inline]
pub(super) fn read<'f, F: Frame<'f>>(
    expression: &'f Expression,
    symbols: &'f [String],
    scope: &Scope<'_, F, F::Value>,
    types: bool,
) -> Option<F::Value> {
    let Quick::Read(path) = &expression.quick else { return None };
    if expression.redacted.is_some() || types {
        return None;
    }
    value(*path, symbols, scope)
}

/// The verdict of tests.
#[inline]
pub(super) fn verdict<'f, F: Frame<'f>>(
    expression: &'f Expression,
    symbols: &'f [String],
    scope: &Scope<'_, F, F::Value>,
    types: bool,
) -> Option<bool> {
    let Quick::Tests { tests, any } = &expression.quick else { return None };
    if expression.redacted.is_some() || types {
        return None;
    }
    for test in tests {
        if holds(test, symbols, scope)? == *any {
            return Some(*any);
        }
    }
    Some(!*any)
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "a few loads; a call would cost more")]
fn value<'f, F: Frame<'f>>(path: Path, symbols: &'f [String], scope: &Scope<'_, F, F::Value>) -> Option<F::Value> {
    let symbol = |index: u32| Some(Symbol { index, name: symbols.get(index as usize)? });
    let Child::Present(value) = scope.frame.variable(symbol(path.variable)?) else { return None };
    let Some(member) = path.member else { return Some(value) };
    if !matches!(value.view(), View::Object) {
        return None;
    }
    match scope.frame.member(value, symbol(member)?) {
        Child::Present(value) => Some(value),
        _ => None,
    }
}

#[inline]
fn holds<'f, F: Frame<'f>>(test: &Test, symbols: &'f [String], scope: &Scope<'_, F, F::Value>) -> Option<bool> {
    let value = value(test.path, symbols, scope)?;
    let order = match (value.view(), &test.constant, test.length) {
        (View::Int(value), Plain::Int(constant), false) => value.cmp(constant),
        (View::List(len) | View::Set(len) | View::Map { len, .. }, Plain::Int(constant), true) => {
            i64::try_from(len).ok()?.cmp(constant)
        }
        (View::Str(text @ Text::Utf8(bytes)), Plain::Text(constant), false) if bytes.len() <= SHORT => {
            text.compare(Text::Utf8(constant))
        }
        _ => return None,
    };
    Some(match test.how {
        Comparison::Eq => order == Ordering::Equal,
        Comparison::Ne => order != Ordering::Equal,
        Comparison::Gt => order == Ordering::Greater,
        Comparison::Ge => order != Ordering::Less,
        Comparison::Lt => order == Ordering::Less,
        Comparison::Le => order != Ordering::Greater,
    })
}

#[cfg(test)]
mod tests {
    use super::Quick;
    use crate::expr::{Expression, Symbols};

    fn quick(dsl: &str) -> Quick {
        Expression::compile(Some(dsl), None, &mut Symbols::default(), &|_| false).unwrap().quick
    }

    #[test]
    fn the_commonest_shapes_are_seen() {
        for dsl in ["a", "a.b"] {
            assert!(matches!(quick(dsl), Quick::Read(_)), "{dsl}");
        }
        for (dsl, count, any) in [
            ("a == 1", 1, false),
            ("len(a) > 3 && b.c == 42", 2, false),
            ("a.b != \"x\" || a < 0 || len(c) >= 2", 3, true),
        ] {
            let found = quick(dsl);
            assert!(
                matches!(&found, Quick::Tests { tests, any: found } if tests.len() == count && *found == any),
                "{dsl}"
            );
        }
    }

    #[test]
    fn everything_else_is_left_to_the_machine() {
        let others =
            ["a.b.c", "a == b", "1 == a", "a && b", "!(a == 1)", "a == 1 && (b == 2 || c == 3)", "a == 1.5", "1"];
        for dsl in
            others.into_iter().chain(["isDefined(a)", "len(a)", "a[0] == 1", "any(a, {@it == 1})", "@return == 1"])
        {
            assert_eq!(quick(dsl), Quick::No, "{dsl}");
        }
    }
}

//! From a checked expression to the JavaScript that runs it: the program of the core's `expr/target.rs`, op by op, as one flat
//! function. It stands on the walk of a configuration, when a hook is made: `hit_code.rs` comes after; the operators are in
//! `js/helpers.cjs`.
//!
//! Nothing nests: jumps are cases of one switch that falls through, so that an expression of a thousand levels is as flat as any,
//! and needs no more stack to be read or run than another. An expression without jumps has no switch.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use stroboscope_core::expr::Expression;
use stroboscope_core::expr::target::{Arg, At, Comparison, Constant, Op, Program, Purpose, Search};

/// What a function answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The value.
    Value,
    /// Its truth value.
    Truth,
}

/// The numbers of the symbols whose variables an expression reads, in order: they are the parameters of its function.
pub fn variables(expression: &Expression) -> Vec<u32> {
    let mut read = BTreeSet::new();
    for op in &expression.program.ops {
        if let Op::Variable { symbol, .. } = op {
            read.insert(*symbol);
        }
    }
    if expression.redacted.is_some() { Vec::new() } else { read.into_iter().collect() }
}

/// The names of the specials in functions: parameters behind those of the variables.
pub const SPECIALS: &str = "$return,$exception,$duration";

/// The name of the parameter for a symbol's variable.
pub fn parameter(symbol: u32) -> String {
    format!("v{symbol}")
}

/// The body of the function of an expression: statements in which the names of `js/helpers.cjs`, the parameters and the specials
/// are known, ended by `return`. What fails gives `FAILED`, with the reason in `fault`.
pub fn body(expression: &Expression, symbols: &[String], answer: Answer) -> String {
    if expression.redacted.is_some() {
        return "return refusedName();".to_owned();
    }
    Body { program: &expression.program, symbols, answer, targets: targets(&expression.program) }.write()
}

/// The ops that are jumped to.
fn targets(program: &Program) -> BTreeSet<usize> {
    let mut targets = BTreeSet::new();
    for (index, op) in program.ops.iter().enumerate() {
        match *op {
            Op::Leave { to, .. } => {
                targets.insert(to as usize);
            }
            Op::Each { end, .. } => targets.extend([index + 1, end as usize]),
            Op::Attempt { end, .. } => {
                targets.insert(end as usize);
            }
            _ => {}
        }
    }
    targets
}

struct Body<'p> {
    program: &'p Program,
    symbols: &'p [String],
    answer: Answer,
    targets: BTreeSet<usize>,
}

impl Body<'_> {
    fn write(&self) -> String {
        let mut out = String::from("begin();");
        self.declare(&mut out);
        let jumps = !self.targets.is_empty();
        if jumps {
            out.push_str("let pc=0;for(;;)switch(pc){case 0:");
        }
        for (index, op) in self.program.ops.iter().enumerate() {
            if self.targets.contains(&index) && !self.begins_round(index) {
                put(&mut out, format_args!("case {index}:"));
            }
            self.op(index, *op, &mut out);
        }
        if jumps {
            out.push_str("default:return at(0);}");
        }
        out
    }

    fn declare(&self, out: &mut String) {
        let temporaries = (0..self.program.temporaries).map(|index| format!("t{index}"));
        let loops = (0..self.program.loops).map(|level| format!("l{level}"));
        let names: Vec<String> = temporaries.chain(loops).collect();
        if !names.is_empty() {
            put(out, format_args!("let {};", names.join(",")));
        }
    }

    /// True for the first op of a predicate: its case stands before the round.
    fn begins_round(&self, index: usize) -> bool {
        index.checked_sub(1).is_some_and(|each| matches!(self.program.ops.get(each), Some(Op::Each { .. })))
    }

    fn arg(&self, arg: Arg) -> String {
        match arg {
            Arg::Temp(index) => format!("t{index}"),
            Arg::Constant(index) => {
                self.program.constants.get(index as usize).map_or_else(|| "null".to_owned(), literal)
            }
        }
    }

    fn symbol(&self, index: u32) -> String {
        text(self.symbols.get(index as usize).map_or("", String::as_str))
    }

    /// The statements of a failure in this op: on to the end of the innermost `isDefined` around it, or out.
    fn failure(&self, index: usize) -> String {
        let around = (0..index).rev().find_map(|start| match self.program.ops.get(start) {
            Some(Op::Attempt { out, negated, end }) if index < *end as usize => Some((*out, *negated, *end)),
            _ => None,
        });
        match around {
            None => format!("return at({index});"),
            Some((out, negated, end)) => {
                format!("{{if(goesThrough())return at({index});t{out}={negated};pc={end};continue;}}")
            }
        }
    }

    /// An op that may fail.
    fn call(&self, index: usize, out: u32, value: &str, text: &mut String) {
        put(text, format_args!("if((t{out}={value})===FAILED){}", self.failure(index)));
    }

    fn op(&self, index: usize, op: Op, text_out: &mut String) {
        let (out, value) = match op {
            Op::Variable { out, symbol } => (out, format!("variable({})", parameter(symbol))),
            Op::Special { out, special } => (out, format!("variable({})", special_name(special))),
            Op::Len { out, of, .. } => (out, format!("len({})", self.arg(of))),
            Op::IsEmpty { out, of } => (out, format!("isEmpty({})", self.arg(of))),
            Op::Compare { out, how, left, right } => {
                (out, format!("{}({},{})", comparison(how), self.arg(left), self.arg(right)))
            }
            Op::Search { out, how, of, part } => (out, format!("{}({},{})", search(how), self.arg(of), self.arg(part))),
            Op::Matches { out, of, pattern, .. } => (out, format!("matches({},{})", self.arg(of), self.arg(pattern))),
            Op::Index { out, of, at, literal } => (out, format!("index({},{},{literal})", self.arg(of), self.arg(at))),
            Op::Member { out, of, symbol } => (out, format!("member({},{})", self.arg(of), self.symbol(symbol))),
            Op::EntryMember { out, level, symbol, value, .. } => {
                (out, format!("entryMember(l{level},{},{value})", self.symbol(symbol)))
            }
            Op::Entry { out, level, value } => (out, format!("entry({},{value})", map_around(level))),
            Op::Substring { out, of, from, to } => {
                let to = to.map_or_else(|| "ABSENT".to_owned(), |to| self.arg(to));
                (out, format!("substring({},{},{to})", self.arg(of), self.arg(from)))
            }
            other => return self.plain(index, other, text_out),
        };
        self.call(index, out, &value, text_out);
    }

    /// The ops that cannot fail, and those that jump.
    fn plain(&self, index: usize, op: Op, text_out: &mut String) {
        match op {
            Op::Move { out, of } => put(text_out, format_args!("t{out}={};", self.arg(of))),
            Op::Not { out, of } => put(text_out, format_args!("t{out}=not({});", self.arg(of))),
            Op::InstanceOf { out, of, class } => {
                let class = text(self.program.classes.get(class as usize).map_or("", String::as_str));
                put(text_out, format_args!("t{out}=instanceOf({},{class});", self.arg(of)));
            }
            Op::Leave { test, when, to } => {
                put(text_out, format_args!("if(truth(t{test})==={when}){{pc={to};continue;}}"));
            }
            Op::Each { out, it, of, purpose, level, end } => {
                let begin = if purpose == Purpose::Filter { "eachKept" } else { "each" };
                let failure = self.failure(index);
                put(text_out, format_args!("if((l{level}={begin}({}))===FAILED){failure}", self.arg(of)));
                let done = match purpose {
                    Purpose::Any => "false".to_owned(),
                    Purpose::All => "true".to_owned(),
                    Purpose::Filter => format!("l{level}.kept"),
                };
                let first = index + 1;
                put(text_out, format_args!("case {first}:if((t{out}=round(l{level}))===FAILED){failure}"));
                put(text_out, format_args!("if(!t{out}){{t{out}={done};pc={end};continue;}}t{it}=l{level}.it;"));
            }
            Op::Next { each, test } => self.next(index, each as usize, test, text_out),
            Op::Defined { out, negated, .. } => put(text_out, format_args!("t{out}={};", !negated)),
            Op::Return { of } => match self.answer {
                Answer::Value => put(text_out, format_args!("return {};", self.arg(of))),
                Answer::Truth => put(text_out, format_args!("return truth({});", self.arg(of))),
            },
            // A block is only where its `leave`s go, an attempt only what failures look for.
            _ => {}
        }
    }

    fn next(&self, index: usize, each: usize, test: Arg, text_out: &mut String) {
        let Some(&Op::Each { out, purpose, level, end, .. }) = self.program.ops.get(each) else { return };
        let test = format!("truth({})", self.arg(test));
        match purpose {
            Purpose::Any => put(text_out, format_args!("if({test}){{t{out}=true;pc={end};continue;}}")),
            Purpose::All => put(text_out, format_args!("if(!{test}){{t{out}=false;pc={end};continue;}}")),
            Purpose::Filter => {
                put(text_out, format_args!("if({test}&&keep(l{level})===FAILED){}", self.failure(index)));
            }
        }
        put(text_out, format_args!("pc={};continue;", each + 1));
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// The innermost loop over a map, from a level outwards.
fn map_around(level: u32) -> String {
    let loops = (0..=level).rev().map(|level| format!("l{level}.isMap?l{level}:"));
    loops.collect::<String>() + "null"
}

fn special_name(special: At) -> &'static str {
    match special {
        At::Return => "$return",
        At::Exception => "$exception",
        At::Duration => "$duration",
    }
}

fn comparison(how: Comparison) -> &'static str {
    match how {
        Comparison::Eq => "eq",
        Comparison::Ne => "ne",
        Comparison::Gt => "gt",
        Comparison::Ge => "ge",
        Comparison::Lt => "lt",
        Comparison::Le => "le",
    }
}

fn search(how: Search) -> &'static str {
    match how {
        Search::Contains => "contains",
        Search::StartsWith => "startsWith",
        Search::EndsWith => "endsWith",
    }
}

/// A text as JavaScript writes it: JSON is JavaScript.
pub fn text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The largest whole number that is a JavaScript number: others are `bigint`s.
const MOST: i64 = (1 << 53) - 1;

fn literal(constant: &Constant) -> String {
    match constant {
        Constant::Null => "null".to_owned(),
        Constant::Bool(value) => value.to_string(),
        Constant::Int(value) if (-MOST..=MOST).contains(value) => format!("({value})"),
        Constant::Int(value) => format!("({value}n)"),
        Constant::Big(value) => format!("({value}n)"),
        // JavaScript has no other way to write these than by names that a program may hide.
        Constant::Float(value) if value.is_nan() => "(0/0)".to_owned(),
        Constant::Float(value) if value.is_infinite() => format!("({}1/0)", if *value < 0.0 { "-" } else { "" }),
        Constant::Float(value) => format!("({value:e})"),
        Constant::Text(value) => text(value),
    }
}

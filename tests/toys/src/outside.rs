//! The outside host: an evaluator of its own for the programs of `expr/target.rs`, written from the comment there. It
//! shares no code with `expr/eval.rs` but the calls that every host makes: `matches`, `classify`, and the one that makes a
//! failure of an op and a category.

use crate::value::{Id, Made, Node, World, bare, coefficient};
use num_bigint::{BigInt, Sign};
use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use stroboscope_core::expr::Expression;
use stroboscope_core::expr::eval::{Category, Failure, Kind, MAX_NESTING, Measured, Yielded};
use stroboscope_core::expr::target::{Arg, At, Comparison, Constant, Op, Program, Purpose, Search};
use stroboscope_core::host::DecimalDigits;
use stroboscope_core::intake::{Judge, Raised};
use stroboscope_core::probe::model::MetricKind;
use stroboscope_core::record::layout::NO_TYPE;
use stroboscope_core::text::Text;

/// An outcome: a value, or the category of a failure.
pub type Outcome<T> = Result<T, Category>;

const MAX_PREDICATES: usize = 50_000;
const MAX_COMPARISONS: usize = 1_000_000;
const MAX_DIGITS: i64 = 4096;

/// A value, looked at.
enum Look {
    Undefined,
    Null,
    Bool(bool),
    Number(Number),
    Str(String),
    Bytes(Vec<u8>),
    List(Vec<Made>),
    Set(Vec<Id>),
    Map(Vec<(Id, Id)>, bool),
    Object(Id),
    Enum(Id),
    Function(Id),
    Iterator(Id),
    Opaque(Id),
}

/// A number: exact, with its kind, or one of the three that are not.
enum Number {
    Exact { coefficient: BigInt, exponent: i64, decimal: bool },
    Infinite(bool),
    Nan,
}

struct Loop {
    each: usize,
    items: Vec<(Made, Option<(Id, Id)>)>,
    /// Of a named tuple: the names of the items.
    names: Vec<String>,
    next: usize,
    map: bool,
    kept: Vec<(Made, Option<(Id, Id)>)>,
    set: bool,
}

/// An expression as it comes to a host that compiles: its program, as text.
#[derive(Clone, Debug)]
pub struct Code {
    program: Program,
    symbols: Vec<String>,
    /// It reads a redacted name, which is known before it runs.
    redacted: bool,
}

impl Code {
    /// Takes over an expression.
    pub fn of(expression: &Expression, symbols: &[String]) -> Result<Code, String> {
        let text = serde_json::to_string(&expression.program).map_err(|error| error.to_string())?;
        let program = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        Ok(Code { program, symbols: symbols.to_vec(), redacted: expression.redacted.is_some() })
    }

    /// Its value over a world.
    pub fn run(&self, world: &World, judge: &mut Judge) -> Result<Made, Failure> {
        let mut machine = self.machine(world, judge)?;
        machine.run().map_err(|category| machine.failure(category))
    }

    /// Its truth value over a world.
    pub fn holds(&self, world: &World, judge: &mut Judge) -> Result<bool, Failure> {
        let mut machine = self.machine(world, judge)?;
        machine.holds().map_err(|category| machine.failure(category))
    }

    /// Its number over a world, for a metric.
    pub fn number(&self, world: &World, judge: &mut Judge, kind: MetricKind) -> Result<Measured, Failure> {
        let mut machine = self.machine(world, judge)?;
        let value = machine.run().map_err(|category| machine.failure(category))?;
        machine.measured(&value, kind)
    }

    fn machine<'p>(&'p self, world: &'p World, judge: &'p mut Judge) -> Result<Machine<'p>, Failure> {
        if self.redacted {
            return Err(Failure::RedactedName);
        }
        Ok(Machine::new(&self.program, &self.symbols, world, judge))
    }
}

/// Runs one program.
pub struct Machine<'p> {
    /// The program.
    pub program: &'p Program,
    /// The probe's symbols.
    pub symbols: &'p [String],
    /// What it sees.
    pub world: &'p World,
    /// The core's verdicts.
    pub judge: &'p mut Judge,
    temps: Vec<Made>,
    loops: Vec<Loop>,
    predicates: usize,
    comparisons: usize,
    /// The op that is running.
    at: usize,
    /// The type of a value that was withheld.
    withheld: Cell<u32>,
    /// The name or key of a value that was withheld.
    secret: RefCell<String>,
    /// Collections were nested too deep.
    nested: bool,
    /// A failure that the core itself has made.
    given: Option<Failure>,
}

impl<'p> Machine<'p> {
    /// A machine for a program.
    pub fn new(program: &'p Program, symbols: &'p [String], world: &'p World, judge: &'p mut Judge) -> Self {
        Machine {
            program,
            symbols,
            world,
            judge,
            temps: vec![Made::Null; program.temporaries as usize],
            loops: Vec::new(),
            predicates: 0,
            comparisons: 0,
            at: 0,
            withheld: Cell::new(NO_TYPE),
            secret: RefCell::default(),
            nested: false,
            given: None,
        }
    }

    /// What the core makes of a failure of the op that ran last.
    pub fn failure(&self, category: Category) -> Failure {
        if let Some(given) = self.given {
            return given;
        }
        let secret = self.secret.borrow();
        let mut raised = Raised { nested: self.nested, ..Raised::new(self.at, category) };
        if category == Category::Redacted {
            raised.text = &secret;
        }
        let pair = match self.program.ops[self.at] {
            Op::Len { of, .. } | Op::IsEmpty { of, .. } | Op::Member { of, .. } | Op::Each { of, .. } => (of, of),
            Op::EntryMember { it, .. } => (Arg::Temp(it), Arg::Temp(it)),
            Op::Compare { left, right, .. } => (left, right),
            Op::Search { of, part, .. } => (of, part),
            Op::Matches { of, pattern, .. } => (of, pattern),
            Op::Index { of, at, .. } => {
                raised.numbers = [self.position(at).unwrap_or(0), self.length(of)];
                (of, at)
            }
            Op::Substring { of, from, to, .. } => {
                let to = to.map_or(i64::MAX, |to| self.position(to).unwrap_or(0));
                raised.numbers = [self.position(from).unwrap_or(0), to];
                (of, from)
            }
            _ => (Arg::Constant(0), Arg::Constant(0)),
        };
        if self.program.constants.is_empty() && pair.0 == Arg::Constant(0) {
            raised.type_id = self.withheld.get();
            return raised.failure(self.program);
        }
        raised.kinds = [self.kind(pair.0), self.kind(pair.1)];
        raised.type_id = match (category, self.arg(pair.0)) {
            (Category::Redacted, _) => self.withheld.get(),
            (_, Made::Node(id)) => self.number(id),
            _ => NO_TYPE,
        };
        raised.failure(self.program)
    }

    fn number(&self, id: Id) -> u32 {
        self.world.classes.get(self.world.class_of(id) as usize).map_or(NO_TYPE, |class| class.number)
    }

    fn length(&self, of: Arg) -> i64 {
        let len = match self.look(&self.arg(of)) {
            Look::List(elements) => elements.len(),
            Look::Bytes(bytes) => bytes.len(),
            _ => 0,
        };
        i64::try_from(len).unwrap_or(i64::MAX)
    }

    fn kind(&self, of: Arg) -> Kind {
        self.kind_of(&self.arg(of))
    }

    fn kind_of(&self, value: &Made) -> Kind {
        match self.look(value) {
            Look::Undefined => Kind::Undefined,
            Look::Null => Kind::Null,
            Look::Bool(_) => Kind::Bool,
            Look::Number(_) => Kind::Number,
            Look::Str(_) => Kind::String,
            Look::Bytes(_) => Kind::Bytes,
            Look::List(_) => Kind::List,
            Look::Set(_) => Kind::Set,
            Look::Map(..) => Kind::Map,
            Look::Object(id) if matches!(self.world.node(id), Node::Exception { .. }) => Kind::Exception,
            Look::Object(_) => Kind::Object,
            Look::Enum(_) => Kind::Enum,
            Look::Function(_) => Kind::Function,
            Look::Iterator(_) => Kind::Iterator,
            Look::Opaque(_) => Kind::Opaque,
        }
    }

    /// The number of a value, as the core makes it.
    fn measured(&self, value: &Made, kind: MetricKind) -> Result<Measured, Failure> {
        let int = |value: &BigInt| match i64::try_from(value) {
            Ok(value) => Yielded::Int(value).measured(kind),
            Err(_) => Yielded::Big(value).measured(kind),
        };
        let yielded = match value {
            Made::Bool(value) => Yielded::Bool(*value),
            Made::Int(value) => return int(value),
            Made::Float(value) => Yielded::Float(*value),
            Made::Node(id) => match self.world.node(*id) {
                Node::Bool(value) => Yielded::Bool(*value),
                Node::Int(value) => Yielded::Int(*value),
                Node::Big { value, .. } => return int(value),
                Node::Float(value) => Yielded::Float(*value),
                Node::Decimal { negative, words, exponent, .. } => {
                    Yielded::Decimal(DecimalDigits { negative: *negative, words, exponent: *exponent })
                }
                Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } | Node::Changing(of) => {
                    return self.measured(&Made::Node(*of), kind);
                }
                _ => Yielded::Other(self.kind_of(value)),
            },
            _ => Yielded::Other(self.kind_of(value)),
        };
        yielded.measured(kind)
    }

    /// The value of the program.
    pub fn run(&mut self) -> Outcome<Made> {
        let mut at = 0;
        loop {
            let op = self.program.ops[at];
            self.at = at;
            if let Op::Return { of } = op {
                return Ok(self.arg(of));
            }
            at = match self.op(op, at) {
                Ok(next) => next,
                Err(category) => self.caught(at, category)?,
            };
        }
    }

    /// The truth value of the program.
    pub fn holds(&mut self) -> Outcome<bool> {
        let value = self.run()?;
        Ok(self.truth(&value))
    }

    fn caught(&mut self, at: usize, category: Category) -> Outcome<usize> {
        if category.goes_through() {
            return Err(category);
        }
        let around = (0..at).rev().find_map(|start| match self.program.ops[start] {
            Op::Attempt { out, negated, end } if at < end as usize => Some((start, out, negated, end)),
            _ => None,
        });
        let (start, out, negated, end) = around.ok_or(category)?;
        self.loops.retain(|each| each.each < start);
        self.given = None;
        self.temps[out as usize] = Made::Bool(negated);
        Ok(end as usize)
    }

    fn arg(&self, arg: Arg) -> Made {
        match arg {
            Arg::Temp(index) => self.temps[index as usize].clone(),
            Arg::Constant(index) => match &self.program.constants[index as usize] {
                Constant::Null => Made::Null,
                Constant::Bool(value) => Made::Bool(*value),
                Constant::Int(value) => Made::Int((*value).into()),
                Constant::Big(value) => Made::Int(value.clone()),
                Constant::Float(value) => Made::Float(*value),
                Constant::Text(text) => Made::Str(text.clone()),
            },
        }
    }

    fn look(&self, value: &Made) -> Look {
        match value {
            Made::Node(id) => self.look_at(*id),
            Made::Null => Look::Null,
            Made::Bool(value) => Look::Bool(*value),
            Made::Int(value) => Look::Number(whole(value.clone())),
            Made::Float(value) => Look::Number(float(*value)),
            Made::Str(text) => Look::Str(text.clone()),
            Made::List(elements) => Look::List(elements.clone()),
            Made::Set(members) => Look::Set(members.clone()),
            Made::Map(entries) => Look::Map(entries.clone(), false),
        }
    }

    fn look_at(&self, id: Id) -> Look {
        match self.world.node(id) {
            Node::Undefined => Look::Undefined,
            Node::Null => Look::Null,
            Node::Bool(value) => Look::Bool(*value),
            Node::Int(value) => Look::Number(whole((*value).into())),
            Node::Big { value, .. } => Look::Number(whole(value.clone())),
            Node::Float(value) => Look::Number(float(*value)),
            Node::Decimal { negative, words, exponent, .. } => Look::Number(Number::Exact {
                coefficient: coefficient(*negative, words),
                exponent: *exponent,
                decimal: true,
            }),
            Node::Str(text) => Look::Str(text.text().to_text()),
            Node::Bytes(bytes) => Look::Bytes(bytes.clone()),
            Node::List(elements) => Look::List(elements.iter().map(|id| Made::Node(*id)).collect()),
            Node::Set(members) => Look::Set(members.clone()),
            Node::Map { entries, record } => Look::Map(entries.clone(), *record),
            Node::Object { .. } | Node::Exception { .. } | Node::Scalar { .. } => Look::Object(id),
            Node::Enum { .. } => Look::Enum(id),
            Node::Function(_) => Look::Function(id),
            Node::Iterator => Look::Iterator(id),
            Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } | Node::Changing(of) => {
                self.look_at(*of)
            }
            Node::Named { fields, .. } => Look::List(fields.iter().map(|(_, id)| Made::Node(*id)).collect()),
            Node::Opaque | Node::Complex(..) | Node::Unreadable => Look::Opaque(id),
        }
    }

    fn truth(&self, value: &Made) -> bool {
        match self.look(value) {
            Look::Undefined | Look::Null | Look::Number(Number::Nan) => false,
            Look::Bool(value) => value,
            Look::Number(Number::Exact { coefficient, .. }) => coefficient.sign() != Sign::NoSign,
            Look::Str(text) => !text.is_empty(),
            Look::Bytes(bytes) => !bytes.is_empty(),
            Look::List(elements) => !elements.is_empty(),
            Look::Set(members) => !members.is_empty(),
            Look::Map(entries, _) => !entries.is_empty(),
            _ => true,
        }
    }

    /// Refuses what has the name of a secret.
    fn permit(&self, name: Text<'_>) -> Outcome<()> {
        if self.judge.classify(name) {
            *self.secret.borrow_mut() = name.to_text();
            return Err(Category::Redacted);
        }
        Ok(())
    }

    /// Refuses what stands under the key of a secret.
    fn permit_entry(&self, key: Id) -> Outcome<()> {
        let node = self.reads_as(key);
        match self.world.node(node) {
            Node::Str(text) => self.permit(text.text()),
            Node::Bytes(bytes) if self.judge.classify_bytes(bytes) => {
                *self.secret.borrow_mut() = String::from_utf8(bytes.clone())
                    .unwrap_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect());
                Err(Category::Redacted)
            }
            Node::Enum { .. } => self.permit(Text::Utf8(&self.label(node))),
            _ => Ok(()),
        }
    }

    /// The value that a value reads as.
    fn reads_as(&self, id: Id) -> Id {
        match self.world.node(id) {
            Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } | Node::Changing(of) => {
                self.reads_as(*of)
            }
            _ => id,
        }
    }

    /// The fields of a named tuple.
    fn named(&self, value: &Made) -> &'p [(String, Id)] {
        let Made::Node(id) = value else { return &[] };
        match self.world.node(self.reads_as(*id)) {
            Node::Named { fields, .. } => fields,
            _ => &[],
        }
    }

    /// An element of a list, unless it is one of a named tuple that has the name of a secret.
    fn permit_element(&self, list: &Made, index: usize) -> Outcome<()> {
        self.named(list).get(index).map_or(Ok(()), |(name, _)| self.permit(Text::Utf8(name)))
    }

    /// A value that was read from the program's world.
    fn read(&self, id: Id) -> Outcome<Made> {
        let class = self.world.class_of(id) as usize;
        let redacted = self.world.classes.get(class).is_some_and(|class| class.redacted);
        if redacted {
            self.withheld.set(self.number(id));
            return Err(Category::Redacted);
        }
        Ok(Made::Node(id))
    }

    fn op(&mut self, op: Op, at: usize) -> Outcome<usize> {
        let (out, value) = match op {
            Op::Variable { out, symbol } => {
                let name = &self.symbols[symbol as usize];
                (out, self.read(self.world.var(name).ok_or(Category::Undefined)?)?)
            }
            Op::Special { out, special } => {
                let name = match special {
                    At::Duration => "@duration",
                    At::Return => "@return",
                    At::Exception => "@exception",
                };
                (out, self.read(self.world.var(name).ok_or(Category::Undefined)?)?)
            }
            Op::Move { out, of } => (out, self.arg(of)),
            Op::Not { out, of } => (out, Made::Bool(!self.truth(&self.arg(of)))),
            Op::Len { out, of, .. } => (out, Made::Int(self.size(of)?.into())),
            Op::IsEmpty { out, of } => (out, Made::Bool(self.size(of)? == 0)),
            Op::Compare { out, how, left, right } => (out, Made::Bool(self.compare(how, left, right)?)),
            Op::Search { out, how, of, part } => (out, Made::Bool(self.search(how, of, part)?)),
            Op::Matches { out, of, pattern, .. } => {
                let (text, pattern) = self.texts(of, pattern)?;
                let found = self.judge.matches(Text::Utf8(&text), Text::Utf8(&pattern));
                self.given = found.err();
                (out, Made::Bool(found.map_err(|failure| failure.category())?))
            }
            Op::Index { out, of, at, literal } => (out, self.index(of, at, literal)?),
            Op::Member { out, of, symbol } => (out, self.member(of, symbol)?),
            Op::EntryMember { out, it, symbol, value, .. } => (out, self.entry_member(it, symbol, value)?),
            Op::Entry { out, value, .. } => {
                let nearest = self.loops.iter().rev().find(|each| each.map).ok_or(Category::Undefined)?;
                let entry = nearest.items[nearest.next - 1].1.ok_or(Category::Undefined)?;
                (out, self.part(entry, value)?)
            }
            Op::Substring { out, of, from, to } => (out, self.substring(of, from, to)?),
            Op::InstanceOf { out, of, class } => (out, Made::Bool(self.instance_of(of, class))),
            Op::Leave { test, when, to } => {
                let leave = self.truth(&self.temps[test as usize]) == when;
                return Ok(if leave { to as usize } else { at + 1 });
            }
            Op::Each { of, .. } => {
                self.begin(at, of)?;
                return self.round();
            }
            Op::Next { each, test } => return self.next(each, test),
            Op::Defined { out, negated, .. } => (out, Made::Bool(!negated)),
            Op::Block { .. } | Op::Attempt { .. } | Op::Return { .. } => return Ok(at + 1),
        };
        self.temps[out as usize] = value;
        Ok(at + 1)
    }

    fn size(&self, of: Arg) -> Outcome<usize> {
        Ok(match self.look(&self.arg(of)) {
            Look::Str(text) => text.chars().count(),
            Look::Bytes(bytes) => bytes.len(),
            Look::List(elements) => elements.len(),
            Look::Set(members) => members.len(),
            Look::Map(entries, _) => entries.len(),
            other => return Err(refused(&other)),
        })
    }

    fn compare(&mut self, how: Comparison, left: Arg, right: Arg) -> Outcome<bool> {
        let (left, right) = (self.arg(left), self.arg(right));
        match how {
            Comparison::Eq => return self.equal(&left, &right, 0),
            Comparison::Ne => return self.equal(&left, &right, 0).map(|same| !same),
            _ => {}
        }
        let order = match (self.look(&left), self.look(&right)) {
            (Look::Number(left), Look::Number(right)) => order(&left, &right)?,
            (Look::Str(_), Look::Str(_)) => Some(self.points(&left).cmp(&self.points(&right))),
            _ => return Err(Category::Type),
        };
        Ok(order.is_some_and(|order| match how {
            Comparison::Gt => order.is_gt(),
            Comparison::Ge => order.is_ge(),
            Comparison::Lt => order.is_lt(),
            _ => order.is_le(),
        }))
    }

    fn compared(&mut self) -> Outcome<()> {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS { Err(Category::Limit) } else { Ok(()) }
    }

    fn equal(&mut self, left: &Made, right: &Made, depth: usize) -> Outcome<bool> {
        let (a, b) = (self.look(left), self.look(right));
        // Collections that have children to compare: of unlike sizes they are not equal, whatever their depth.
        let opens = match (&a, &b) {
            (Look::List(a), Look::List(b)) => a.len() == b.len() && !a.is_empty(),
            (Look::Set(a), Look::Set(b)) => a.len() == b.len() && !a.is_empty(),
            (Look::Map(a, _), Look::Map(b, _)) => a.len() == b.len() && !a.is_empty(),
            _ => false,
        };
        if opens && depth >= MAX_NESTING {
            self.nested = true;
            return Err(Category::Limit);
        }
        Ok(match (a, b) {
            (Look::Null, Look::Null) | (Look::Undefined, Look::Undefined) => true,
            (Look::Bool(left), Look::Bool(right)) => left == right,
            (Look::Number(left), Look::Number(right)) => order(&left, &right)? == Some(Ordering::Equal),
            (Look::Str(_), Look::Str(_)) => self.points(left) == self.points(right),
            (Look::Bytes(left), Look::Bytes(right)) => left == right,
            (Look::List(these), Look::List(others)) => {
                if these.len() != others.len() {
                    return Ok(false);
                }
                for (index, (this, other)) in these.iter().zip(&others).enumerate() {
                    self.permit_element(left, index)?;
                    self.permit_element(right, index)?;
                    if !self.equal_inner(this, other, depth)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Look::Set(left), Look::Set(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for member in left {
                    if !self.among(&Made::Node(member), &right, depth)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Look::Map(left, _), Look::Map(right, _)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (key, value) in left {
                    let Some((_, other)) = self.entry(&right, &Made::Node(key), depth)? else { return Ok(false) };
                    self.permit_entry(key)?;
                    if !self.equal_inner(&Made::Node(value), &Made::Node(other), depth)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Look::Enum(member), Look::Str(text)) | (Look::Str(text), Look::Enum(member)) => {
                let name = self.label(member);
                let classes = self.world.class_names(member);
                let class = classes.first().map_or("", String::as_str);
                text == name || text == format!("{class}.{name}") || text == format!("{}.{name}", bare(class))
            }
            (Look::Enum(left), Look::Enum(right)) => {
                self.world.class_of(left) == self.world.class_of(right) && self.label(left) == self.label(right)
            }
            (Look::Object(left), Look::Object(right))
            | (Look::Function(left), Look::Function(right))
            | (Look::Iterator(left), Look::Iterator(right))
            | (Look::Opaque(left), Look::Opaque(right)) => left == right,
            _ => false,
        })
    }

    fn equal_inner(&mut self, left: &Made, right: &Made, depth: usize) -> Outcome<bool> {
        self.compared()?;
        for value in [left, right] {
            if let Made::Node(id) = value {
                self.read(*id)?;
            }
        }
        self.equal(left, right, depth + 1)
    }

    fn among(&mut self, value: &Made, members: &[Id], depth: usize) -> Outcome<bool> {
        for member in members {
            if self.equal_inner(value, &Made::Node(*member), depth)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn entry(&mut self, entries: &[(Id, Id)], key: &Made, depth: usize) -> Outcome<Option<(Id, Id)>> {
        for (known, value) in entries {
            if self.equal_inner(key, &Made::Node(*known), depth)? {
                return Ok(Some((*known, *value)));
            }
        }
        Ok(None)
    }

    /// The value under a key.
    fn under_key(&mut self, entries: &[(Id, Id)], key: &Made) -> Outcome<Made> {
        let (known, value) = self.entry(entries, key, 0)?.ok_or(Category::Undefined)?;
        self.permit_entry(known)?;
        self.read(value)
    }

    /// The key or the value of an entry.
    fn part(&self, (key, of_key): (Id, Id), value: bool) -> Outcome<Made> {
        if value {
            self.permit_entry(key)?;
        }
        self.read(if value { of_key } else { key })
    }

    /// The code points of a text, lone surrogates too.
    fn points(&self, value: &Made) -> Vec<u32> {
        match value {
            Made::Node(id) => match self.world.node(self.reads_as(*id)) {
                Node::Str(text) => text.text().code_points().collect(),
                _ => Vec::new(),
            },
            Made::Str(text) => text.chars().map(u32::from).collect(),
            _ => Vec::new(),
        }
    }

    fn label(&self, member: Id) -> String {
        let Node::Enum { name, .. } = self.world.node(member) else { return String::new() };
        match self.world.node(*name) {
            Node::Str(text) => text.text().to_text(),
            _ => String::new(),
        }
    }

    fn texts(&self, of: Arg, part: Arg) -> Outcome<(String, String)> {
        match (self.look(&self.arg(of)), self.look(&self.arg(part))) {
            (Look::Str(text), Look::Str(part)) => Ok((text, part)),
            (Look::Null | Look::Undefined, _) => Err(Category::Null),
            _ => Err(Category::Type),
        }
    }

    fn search(&mut self, how: Search, of: Arg, part: Arg) -> Outcome<bool> {
        if how != Search::Contains {
            let (text, part) = self.texts(of, part)?;
            return Ok(if how == Search::StartsWith { text.starts_with(&part) } else { text.ends_with(&part) });
        }
        let sought = self.arg(part);
        match self.look(&self.arg(of)) {
            Look::Str(text) => match self.look(&sought) {
                Look::Str(part) => Ok(text.contains(&part)),
                _ => Err(Category::Type),
            },
            Look::Bytes(bytes) => {
                let bytes: Vec<Made> = bytes.iter().map(|byte| Made::Int((*byte).into())).collect();
                self.listed(&sought, &Made::Null, &bytes)
            }
            Look::List(elements) => self.listed(&sought, &self.arg(of), &elements),
            Look::Set(members) => self.among(&sought, &members, 0),
            Look::Map(entries, _) => Ok(self.entry(&entries, &sought, 0)?.is_some()),
            other => Err(refused(&other)),
        }
    }

    fn listed(&mut self, sought: &Made, list: &Made, elements: &[Made]) -> Outcome<bool> {
        for (index, element) in elements.iter().enumerate() {
            self.permit_element(list, index)?;
            if self.equal_inner(element, sought, 0)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A position: how far from the start, negative from the end; far away for numbers that are very large.
    fn position(&self, of: Arg) -> Outcome<i64> {
        let Look::Number(Number::Exact { coefficient, exponent, .. }) = self.look(&self.arg(of)) else {
            return Err(Category::Type);
        };
        let value = if exponent >= 0 {
            if exponent > 400 && coefficient.sign() != Sign::NoSign {
                return Ok(if coefficient.sign() == Sign::Minus { i64::MIN } else { i64::MAX });
            }
            coefficient * BigInt::from(10).pow(u32::try_from(exponent.min(400)).unwrap_or(0))
        } else {
            let digits = i64::try_from(coefficient.to_string().len()).unwrap_or(0);
            if -exponent > digits {
                return if coefficient.sign() == Sign::NoSign { Ok(0) } else { Err(Category::Type) };
            }
            let unit = BigInt::from(10).pow(u32::try_from(-exponent).unwrap_or(0));
            if &coefficient % &unit != BigInt::default() {
                return Err(Category::Type);
            }
            coefficient / unit
        };
        let far = if value.sign() == Sign::Minus { i64::MIN } else { i64::MAX };
        Ok(i64::try_from(value).unwrap_or(far))
    }

    fn place(&self, of: Arg, len: usize) -> Outcome<usize> {
        let position = self.position(of)?;
        let from_end = if position < 0 { i64::try_from(len).unwrap_or(0) } else { 0 };
        let place = usize::try_from(position.saturating_add(from_end)).map_err(|_| Category::Undefined)?;
        if place < len { Ok(place) } else { Err(Category::Undefined) }
    }

    fn index(&mut self, of: Arg, at: Arg, literal: bool) -> Outcome<Made> {
        let key = self.arg(at);
        let name = match self.look(&key) {
            Look::Str(name) => Some(name),
            _ => None,
        };
        if let (false, Some(name)) = (literal, &name) {
            self.permit(Text::Utf8(name))?;
        }
        let list = self.arg(of);
        match self.look(&list) {
            Look::List(elements) => {
                let place = self.place(at, elements.len())?;
                self.permit_element(&list, place)?;
                match &elements[place] {
                    Made::Node(id) => self.read(*id),
                    element => Ok(element.clone()),
                }
            }
            Look::Bytes(bytes) => Ok(Made::Int(bytes[self.place(at, bytes.len())?].into())),
            Look::Map(entries, record) => {
                let key = match self.look(&key) {
                    Look::Number(number) if record => {
                        let name = decimal_text(&number, &key, self.world);
                        self.permit(Text::Utf8(&name))?;
                        Made::Str(name)
                    }
                    _ => key,
                };
                self.under_key(&entries, &key)
            }
            Look::Object(id) | Look::Enum(id) => self.field(id, &name.ok_or(Category::Type)?),
            other => Err(refused(&other)),
        }
    }

    fn field(&self, id: Id, name: &str) -> Outcome<Made> {
        let (fields, getters) = match self.world.node(id) {
            Node::Object { fields, getters, .. } => (fields, getters),
            Node::Exception { fields, getters, message, .. } => {
                if name == "message"
                    && !fields.iter().any(|(known, _)| known == name)
                    && !getters.iter().any(|known| known == name)
                {
                    return self.read(*message);
                }
                (fields, getters)
            }
            Node::Enum { name: label, value, .. } => {
                return match name {
                    "name" => self.read(*label),
                    "value" => self.read(*value),
                    _ => Err(Category::Undefined),
                };
            }
            _ => return Err(Category::Type),
        };
        match fields.iter().find(|(known, _)| known == name) {
            Some((_, id)) => self.read(*id),
            None if getters.iter().any(|known| known == name) => Err(Category::SideEffect),
            None => Err(Category::Undefined),
        }
    }

    fn member(&mut self, of: Arg, symbol: u32) -> Outcome<Made> {
        let name = self.symbols[symbol as usize].clone();
        let value = self.arg(of);
        match self.look(&value) {
            Look::Object(id) | Look::Enum(id) => self.field(id, &name),
            Look::Map(entries, _) => self.under_key(&entries, &Made::Str(name)),
            Look::Null | Look::Undefined => Err(Category::Null),
            Look::Opaque(_) => Err(Category::SideEffect),
            Look::List(_) if !self.named(&value).is_empty() => {
                let field = self.named(&value).iter().find(|(known, _)| *known == name);
                self.read(field.ok_or(Category::Undefined)?.1)
            }
            _ => {
                let Made::Node(id) = value else { return Err(Category::Type) };
                let extra = self.world.extra.iter().find(|(of, known, _)| *of == id && name == *known);
                extra.map_or(Err(Category::Type), |(_, _, member)| Ok(Made::Node(*member)))
            }
        }
    }

    fn entry_member(&mut self, it: u32, symbol: u32, value: bool) -> Outcome<Made> {
        let innermost = &self.loops[self.loops.len() - 1];
        let entry = if innermost.map { innermost.items[innermost.next - 1].1 } else { None };
        let Some((key, of_key)) = entry else { return self.member(Arg::Temp(it), symbol) };
        let own = self.member(Arg::Temp(it), symbol);
        let computed = matches!(self.look_at(key), Look::Object(_) | Look::Enum(_));
        match own {
            Err(Category::SideEffect) if computed => Err(Category::SideEffect),
            Err(category) if category.goes_through() => Err(category),
            Err(_) => self.part((key, of_key), value),
            Ok(own) => Ok(own),
        }
    }

    fn substring(&mut self, of: Arg, from: Arg, to: Option<Arg>) -> Outcome<Made> {
        let text = match self.look(&self.arg(of)) {
            Look::Str(text) => text,
            Look::Null | Look::Undefined => return Err(Category::Null),
            _ => return Err(Category::Type),
        };
        let from = self.position(from)?;
        let to = to.map_or(Ok(i64::MAX), |to| self.position(to))?;
        if from < 0 || to < from {
            return Err(Category::Bounds);
        }
        let place = |position: i64| usize::try_from(position).unwrap_or(usize::MAX);
        Ok(Made::Str(text.chars().skip(place(from)).take(place(to - from)).collect()))
    }

    fn instance_of(&self, of: Arg, class: u32) -> bool {
        let wanted = &self.program.classes[class as usize];
        let Made::Node(id) = self.arg(of) else { return false };
        let names = self.world.class_names(id);
        names.iter().any(|name| if wanted.contains('.') { name == wanted } else { bare(name) == wanted })
    }

    fn begin(&mut self, each: usize, of: Arg) -> Outcome<()> {
        let mut set = false;
        let mut map = false;
        let items = match self.look(&self.arg(of)) {
            Look::List(elements) => elements.into_iter().map(|element| (element, None)).collect(),
            Look::Bytes(bytes) => bytes.into_iter().map(|byte| (Made::Int(byte.into()), None)).collect(),
            Look::Set(members) => {
                set = true;
                members.into_iter().map(|member| (Made::Node(member), None)).collect()
            }
            Look::Map(entries, _) => {
                map = true;
                entries.into_iter().map(|entry| (Made::Node(entry.0), Some(entry))).collect()
            }
            other => return Err(refused(&other)),
        };
        let names = self.named(&self.arg(of)).iter().map(|(name, _)| name.clone()).collect();
        self.loops.push(Loop { each, items, names, next: 0, map, kept: Vec::new(), set });
        Ok(())
    }

    fn round(&mut self) -> Outcome<usize> {
        let innermost = self.loops.len() - 1;
        let each = &mut self.loops[innermost];
        let (op, next) = (self.program.ops[each.each], each.next);
        let start = each.each + 1;
        let Some((item, _)) = each.items.get(next).cloned() else { return Ok(self.end(op, None)) };
        each.next += 1;
        if let Some(name) = each.names.get(next).cloned() {
            self.permit(Text::Utf8(&name))?;
        }
        if let Made::Node(id) = item {
            self.read(id)?;
        }
        self.predicates += 1;
        if self.predicates > MAX_PREDICATES {
            return Err(Category::Limit);
        }
        if let Op::Each { it, .. } = op {
            self.temps[it as usize] = item;
        }
        Ok(start)
    }

    fn next(&mut self, each: u32, test: Arg) -> Outcome<usize> {
        let op = self.program.ops[each as usize];
        let verdict = self.truth(&self.arg(test));
        let Op::Each { purpose, .. } = op else { return Err(Category::Host) };
        let innermost = self.loops.len() - 1;
        match purpose {
            Purpose::Any if verdict => return Ok(self.end(op, Some(true))),
            Purpose::All if !verdict => return Ok(self.end(op, Some(false))),
            Purpose::Filter if verdict => {
                let each = &mut self.loops[innermost];
                let item = each.items[each.next - 1].clone();
                each.kept.push(item);
            }
            _ => {}
        }
        self.round()
    }

    fn end(&mut self, op: Op, verdict: Option<bool>) -> usize {
        let Op::Each { out, purpose, end, .. } = op else { return self.program.ops.len() };
        let Some(done) = self.loops.pop() else { return self.program.ops.len() };
        let nodes = |made: &Made| match made {
            Made::Node(id) => *id,
            _ => 0,
        };
        self.temps[out as usize] = match purpose {
            Purpose::Any | Purpose::All => Made::Bool(verdict.unwrap_or(purpose == Purpose::All)),
            Purpose::Filter if done.map => Made::Map(done.kept.iter().filter_map(|(_, entry)| *entry).collect()),
            Purpose::Filter if done.set => Made::Set(done.kept.iter().map(|(item, _)| nodes(item)).collect()),
            Purpose::Filter => Made::List(done.kept.into_iter().map(|(item, _)| item).collect()),
        };
        end as usize
    }
}

/// The failure of an operation on a kind that does not have it.
fn refused(look: &Look) -> Category {
    match look {
        Look::Null | Look::Undefined => Category::Null,
        Look::Iterator(_) | Look::Opaque(_) => Category::SideEffect,
        _ => Category::Type,
    }
}

fn whole(value: BigInt) -> Number {
    Number::Exact { coefficient: value, exponent: 0, decimal: false }
}

/// A double, exactly: `m × 2^e` with `e` below zero is `m × 5^-e × 10^e`.
fn float(value: f64) -> Number {
    if value.is_nan() {
        return Number::Nan;
    }
    if value.is_infinite() {
        return Number::Infinite(value < 0.0);
    }
    let bits = value.to_bits();
    let raw = i64::try_from((bits >> 52) & 0x7FF).unwrap_or(0);
    let fraction = bits & ((1 << 52) - 1);
    let (mut mantissa, mut exponent) = if raw == 0 { (fraction, -1074) } else { (fraction | (1 << 52), raw - 1075) };
    while exponent < 0 && mantissa % 2 == 0 && mantissa != 0 {
        mantissa /= 2;
        exponent += 1;
    }
    let sign = if value.is_sign_negative() { -1 } else { 1 };
    let mantissa: BigInt = BigInt::from(mantissa) * sign;
    let power = u32::try_from(exponent.abs()).unwrap_or(0);
    if exponent >= 0 || mantissa.sign() == Sign::NoSign {
        whole(mantissa << exponent.max(0))
    } else {
        Number::Exact { coefficient: mantissa * BigInt::from(5).pow(power), exponent, decimal: false }
    }
}

/// The order of two numbers; `None` if one is NaN.
fn order(left: &Number, right: &Number) -> Outcome<Option<Ordering>> {
    let infinite = |negative: bool| if negative { Ordering::Less } else { Ordering::Greater };
    let (left, right) = match (left, right) {
        (Number::Nan, _) | (_, Number::Nan) => return Ok(None),
        (Number::Infinite(a), Number::Infinite(b)) => return Ok(Some(b.cmp(a))),
        (Number::Infinite(negative), _) => return Ok(Some(infinite(*negative))),
        (_, Number::Infinite(negative)) => return Ok(Some(infinite(*negative).reverse())),
        (
            Number::Exact { coefficient: a, exponent: x, decimal: one },
            Number::Exact { coefficient: b, exponent: y, decimal: other },
        ) => ((a, *x, *one), (b, *y, *other)),
    };
    let (sign, other) = (left.0.sign(), right.0.sign());
    if sign != other || sign == Sign::NoSign {
        return Ok(Some(sign.cmp(&other)));
    }
    let first = |number: (&BigInt, i64, bool)| {
        let digits = i64::try_from(number.0.magnitude().to_string().len()).unwrap_or(0);
        number.1.saturating_add(digits - 1)
    };
    let flip = |order: Ordering| if sign == Sign::Minus { order.reverse() } else { order };
    let smaller = left.1.min(right.1);
    if left.2 || right.2 {
        let (a, b) = (first(left), first(right));
        if a != b {
            return Ok(Some(flip(a.cmp(&b))));
        }
        if a.saturating_sub(smaller).saturating_add(1) > MAX_DIGITS {
            return Err(Category::Limit);
        }
    }
    let scaled =
        |number: (&BigInt, i64, bool)| number.0 * BigInt::from(10).pow(u32::try_from(number.1 - smaller).unwrap_or(0));
    Ok(Some(scaled(left).cmp(&scaled(right))))
}

/// A number as the key of a record.
fn decimal_text(number: &Number, value: &Made, world: &World) -> String {
    if let Number::Exact { coefficient, exponent: 0, .. } = number {
        return coefficient.to_string();
    }
    let float = match value {
        Made::Float(float) => *float,
        Made::Node(id) => match world.node(*id) {
            Node::Float(float) => *float,
            Node::Decimal { text, .. } => return text.clone(),
            _ => return String::new(),
        },
        _ => return String::new(),
    };
    format!("{float}")
}

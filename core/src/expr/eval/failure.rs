//! Why an expression failed: small, copied, made inside a hit without text. The sentences of Appendix A are written by
//! the worker. It stands on the walk of a hit: [`super`] makes failures, `record/` carries them, `emit/` shows them.

use super::shape::Kind;
use crate::expr::Expression;
use crate::expr::target::Constant;
use crate::expr::tree::Special;

/// The categories of the specification (3.7) that occur at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the specification's own")]
pub enum Category {
    Undefined,
    Null,
    Type,
    Bounds,
    Regex,
    SideEffect,
    Redacted,
    Timeout,
    Limit,
    Host,
}

impl Category {
    /// All of them, by number: a host of another language has the numbers from here.
    pub const ALL: [Category; 10] = [
        Category::Undefined,
        Category::Null,
        Category::Type,
        Category::Bounds,
        Category::Regex,
        Category::SideEffect,
        Category::Redacted,
        Category::Timeout,
        Category::Limit,
        Category::Host,
    ];

    /// The name in vectors and documents.
    pub fn name(self) -> &'static str {
        match self {
            Category::Undefined => "undefined",
            Category::Null => "null",
            Category::Type => "type",
            Category::Bounds => "bounds",
            Category::Regex => "regex",
            Category::SideEffect => "side_effect",
            Category::Redacted => "redacted",
            Category::Timeout => "timeout",
            Category::Limit => "limit",
            Category::Host => "host",
        }
    }

    /// True if `isDefined` does not hide it.
    pub fn goes_through(self) -> bool {
        matches!(self, Category::Redacted | Category::Timeout | Category::Limit)
    }
}

/// What was being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the operators'")]
pub enum Doing {
    Len,
    IsEmpty,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Substring,
    Index,
    Any,
    All,
    Filter,
    Count,
    /// Reading the member of this symbol.
    Member(u32),
}

const DOINGS: [(Doing, &str); 12] = [
    (Doing::Len, "len"),
    (Doing::IsEmpty, "isEmpty"),
    (Doing::Contains, "contains"),
    (Doing::StartsWith, "startsWith"),
    (Doing::EndsWith, "endsWith"),
    (Doing::Matches, "matches"),
    (Doing::Substring, "substring"),
    (Doing::Index, "index"),
    (Doing::Any, "any"),
    (Doing::All, "all"),
    (Doing::Filter, "filter"),
    (Doing::Count, "count"),
];

/// Which limit of 3.11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the texts below say it")]
pub enum Limit {
    Predicates,
    Comparisons,
    MatchedText,
    CountedText,
    Decimals,
    Nesting,
}

const LIMITS: [(Limit, &str); 6] = [
    (Limit::Predicates, "Evaluation visited more than 50000 elements"),
    (Limit::Comparisons, "Evaluation compared more than 1000000 elements"),
    (Limit::MatchedText, "Text is longer than 10 MiB"),
    (Limit::CountedText, "Text is longer than 1 MiB"),
    (Limit::Decimals, "Comparing decimals takes more than 4096 digits"),
    (Limit::Nesting, "Evaluation compared collections nested deeper than 1000 levels"),
];

const SPECIALS: [Special; 6] =
    [Special::It, Special::Key, Special::Value, Special::Duration, Special::Return, Special::Exception];

/// A short text held in place: a redacted key as it was asked for, the engine's or the host's reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    len: u8,
    bytes: [u8; Short::MOST],
}

impl Short {
    /// Most bytes that are kept.
    pub const MOST: usize = 71;

    /// The beginning of a text.
    pub fn new(text: &str) -> Short {
        let mut len = text.len().min(Short::MOST);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; Short::MOST];
        for (to, from) in bytes.iter_mut().zip(text.as_bytes().iter().take(len)) {
            *to = *from;
        }
        Short { len: len as u8, bytes }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes.get(..usize::from(self.len)).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or("")
    }
}

/// Why an evaluation failed. It holds names, kinds and positions, never a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No such variable; its symbol.
    Variable(u32),
    /// A special that does not exist here.
    Special(Special),
    /// An object without this member: its type and the symbol.
    Member(u32, u32),
    /// An object without the member of a computed name: its type.
    ComputedMember(u32),
    /// A map without this key, asked for as a member: the symbol.
    NamedKey(u32),
    /// A map without this key: the constant of a literal, or nothing.
    Key(Option<u32>),
    /// A position outside a list: the position and the length.
    Position(i64, u64),
    /// An operation on null (or undefined, if true).
    Null(Doing, bool),
    /// Two kinds that have no order.
    Order(Kind, Kind),
    /// An operation that a kind does not have.
    Kind(Doing, Kind),
    /// An operation that two kinds do not have together.
    Kinds(Doing, Kind, Kind),
    /// A position that is not a whole number.
    Whole,
    /// A metric value that is not a number.
    NotNumber(Kind),
    /// A metric value that is a number but not finite, or not whole for a count.
    BadNumber {
        /// True if it is finite but a count needs a whole number.
        fraction: bool,
    },
    /// `substring` positions.
    Bounds(i64, i64),
    /// A computed pattern the engine refuses, with its reason.
    Regex(Short),
    /// A member that application code would compute: the symbol.
    Getter(u32),
    /// A member of a computed name that application code would compute.
    ComputedGetter,
    /// A one-pass iterator.
    Iterator,
    /// A value that cannot be inspected.
    Opaque(Doing),
    /// The expression reads a redacted name ([`Expression::redacted`]).
    RedactedName,
    /// A computed key that is a redacted name.
    RedactedKey(Short),
    /// A value of a redacted type.
    RedactedType(u32),
    /// The time is used up.
    Timeout,
    /// A limit.
    Limit(Limit),
    /// The host could not read something, with its reason.
    Host(Short),
}

/// What of the world a sentence needs.
pub struct Names<'a> {
    /// The expression that failed.
    pub expression: &'a Expression,
    /// The probe's symbols.
    pub symbols: &'a [String],
    /// The bare name of a type.
    pub type_name: &'a dyn Fn(u32) -> String,
    /// Milliseconds that an evaluation may take.
    pub milliseconds: u64,
}

impl Names<'_> {
    fn symbol(&self, index: u32) -> &str {
        self.symbols.get(index as usize).map_or("?", String::as_str)
    }
}

impl Failure {
    /// A reason of the host.
    #[cold]
    pub fn host(reason: &str) -> Failure {
        Failure::Host(Short::new(reason))
    }

    /// The category.
    pub fn category(&self) -> Category {
        match self {
            Failure::Variable(_)
            | Failure::Special(_)
            | Failure::Member(..)
            | Failure::ComputedMember(_)
            | Failure::NamedKey(_)
            | Failure::Key(_)
            | Failure::Position(..) => Category::Undefined,
            Failure::Null(..) => Category::Null,
            Failure::Order(..)
            | Failure::Kind(..)
            | Failure::Kinds(..)
            | Failure::Whole
            | Failure::NotNumber(_)
            | Failure::BadNumber { .. } => Category::Type,
            Failure::Bounds(..) => Category::Bounds,
            Failure::Regex(_) => Category::Regex,
            Failure::Getter(_) | Failure::ComputedGetter | Failure::Iterator | Failure::Opaque(_) => {
                Category::SideEffect
            }
            Failure::RedactedName | Failure::RedactedKey(_) | Failure::RedactedType(_) => Category::Redacted,
            Failure::Timeout => Category::Timeout,
            Failure::Limit(_) => Category::Limit,
            Failure::Host(_) => Category::Host,
        }
    }

    /// The sentence of Appendix A. Called by the worker, never in a hit.
    pub fn text(&self, names: &Names<'_>) -> String {
        match *self {
            Failure::Variable(symbol) => {
                let name = names.symbol(symbol);
                let hint = literal(name).map(|literal| format!(" (write {literal})")).unwrap_or_default();
                format!("No such variable: '{name}'{hint}")
            }
            Failure::Special(special) => format!("'{}' is not available here", special.name()),
            Failure::Member(of, symbol) => {
                format!("'{}' has no member '{}'", (names.type_name)(of), names.symbol(symbol))
            }
            Failure::ComputedMember(of) => format!("'{}' has no member of the computed name", (names.type_name)(of)),
            Failure::NamedKey(symbol) => format!("No entry for key \"{}\"", names.symbol(symbol)),
            Failure::Key(key) => key_text(key, names),
            Failure::Position(position, len) => {
                let elements = if len == 1 { "element" } else { "elements" };
                format!("Position {position} is outside the list of {len} {elements}")
            }
            Failure::Null(Doing::Member(symbol), undefined) => {
                format!("Cannot read member '{}' of {}", names.symbol(symbol), nothing(undefined))
            }
            Failure::Null(doing @ (Doing::Any | Doing::All | Doing::Filter), undefined) => {
                format!("{} over {}", word(doing), nothing(undefined))
            }
            Failure::Null(doing, undefined) => format!("{} of {}", word(doing), nothing(undefined)),
            Failure::Order(left, right) => format!("Cannot compare {} with {}", left.name(), right.name()),
            Failure::Kind(Doing::Member(symbol), kind) => {
                format!("Cannot read member '{}' of {}", names.symbol(symbol), kind.name())
            }
            Failure::Kind(doing, kind) => format!("{} is not possible for {}", word(doing), kind.name()),
            Failure::Kinds(doing, left, right) => {
                format!("{} is not possible for {} and {}", word(doing), left.name(), right.name())
            }
            Failure::Whole => "Position must be a whole number".to_owned(),
            Failure::NotNumber(kind) => format!("Metric value is not a number: {}", kind.name()),
            Failure::BadNumber { fraction: true } => "Metric value of a count is not a whole number".to_owned(),
            Failure::BadNumber { fraction: false } => "Metric value is not a finite number".to_owned(),
            Failure::Bounds(from, i64::MAX) => format!("substring from {from} to the end is not a valid range"),
            Failure::Bounds(from, to) => format!("substring from {from} to {to} is not a valid range"),
            Failure::Regex(reason) => format!("Unsupported regular expression: {}", reason.as_str()),
            Failure::Getter(symbol) => format!("Reading '{}' would run application code", names.symbol(symbol)),
            Failure::ComputedGetter => "Reading the member would run application code".to_owned(),
            Failure::Iterator => "Cannot walk a one-pass iterator".to_owned(),
            Failure::Opaque(Doing::Member(symbol)) => {
                format!("Reading '{}' of a value that cannot be inspected", names.symbol(symbol))
            }
            Failure::Opaque(doing) => format!("{} of a value that cannot be inspected", word(doing)),
            Failure::RedactedName => redacted(names.expression.redacted.as_deref().unwrap_or("?")),
            Failure::RedactedKey(key) => redacted(key.as_str()),
            Failure::RedactedType(of) => {
                format!("Could not evaluate the expression because type '{}' was redacted", (names.type_name)(of))
            }
            Failure::Timeout => format!("Evaluation took longer than {} ms", names.milliseconds),
            Failure::Limit(limit) => find(&LIMITS, &limit).to_owned(),
            Failure::Host(reason) => format!("Internal error: {}", reason.as_str()),
        }
    }

    /// Appends the failure to a record.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (tag, numbers, text) = self.parts();
        out.push(tag);
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let text = text.as_ref().map_or("", Short::as_str);
        out.push(text.len() as u8);
        out.extend_from_slice(text.as_bytes());
    }

    /// Reads what [`Failure::encode`] wrote and moves past it. `None` for bytes that it did not write.
    pub fn decode(bytes: &mut &[u8]) -> Option<Failure> {
        let (&tag, rest) = bytes.split_first()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (second, rest) = rest.split_first_chunk::<8>()?;
        let (&len, rest) = rest.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(len))?;
        if text.len() > Short::MOST {
            return None;
        }
        let text = Short::new(std::str::from_utf8(text).ok()?);
        let failure = Failure::from_parts(tag, i64::from_le_bytes(*first), i64::from_le_bytes(*second), text)?;
        *bytes = rest;
        Some(failure)
    }

    fn parts(&self) -> (u8, [i64; 2], Option<Short>) {
        let plain = |tag: u8, a: i64, b: i64| (tag, [a, b], None);
        match *self {
            Failure::Variable(symbol) => plain(1, symbol.into(), 0),
            Failure::Special(special) => plain(2, place(&SPECIALS, &special), 0),
            Failure::Member(of, symbol) => plain(3, of.into(), symbol.into()),
            Failure::ComputedMember(of) => plain(4, of.into(), 0),
            Failure::NamedKey(symbol) => plain(5, symbol.into(), 0),
            Failure::Key(key) => plain(6, key.map_or(-1, i64::from), 0),
            Failure::Position(position, len) => plain(7, position, i64::try_from(len).unwrap_or(i64::MAX)),
            Failure::Null(doing, undefined) => plain(8, doing.number(), undefined.into()),
            Failure::Order(left, right) => plain(9, left.number(), right.number()),
            Failure::Kind(doing, kind) => plain(10, doing.number(), kind.number()),
            Failure::Kinds(doing, left, right) => plain(11, doing.number(), left.number() << 8 | right.number()),
            Failure::Whole => plain(12, 0, 0),
            Failure::NotNumber(kind) => plain(13, kind.number(), 0),
            Failure::BadNumber { fraction } => plain(14, fraction.into(), 0),
            Failure::Bounds(from, to) => plain(15, from, to),
            Failure::Regex(reason) => (16, [0, 0], Some(reason)),
            Failure::Getter(symbol) => plain(17, symbol.into(), 0),
            Failure::ComputedGetter => plain(18, 0, 0),
            Failure::Iterator => plain(19, 0, 0),
            Failure::Opaque(doing) => plain(20, doing.number(), 0),
            Failure::RedactedName => plain(21, 0, 0),
            Failure::RedactedKey(key) => (22, [0, 0], Some(key)),
            Failure::RedactedType(of) => plain(23, of.into(), 0),
            Failure::Timeout => plain(24, 0, 0),
            Failure::Limit(limit) => plain(25, place(&LIMITS.map(|(limit, _)| limit), &limit), 0),
            Failure::Host(reason) => (26, [0, 0], Some(reason)),
        }
    }

    fn from_parts(tag: u8, a: i64, b: i64, text: Short) -> Option<Failure> {
        let number = |value: i64| u32::try_from(value).ok();
        let flag = |value: i64| (value == 0 || value == 1).then_some(value == 1);
        Some(match tag {
            1 => Failure::Variable(number(a)?),
            2 => Failure::Special(*SPECIALS.get(usize::try_from(a).ok()?)?),
            3 => Failure::Member(number(a)?, number(b)?),
            4 => Failure::ComputedMember(number(a)?),
            5 => Failure::NamedKey(number(a)?),
            6 if a == -1 => Failure::Key(None),
            6 => Failure::Key(Some(number(a)?)),
            7 => Failure::Position(a, u64::try_from(b).ok()?),
            8 => Failure::Null(Doing::from_number(a)?, flag(b)?),
            9 => Failure::Order(Kind::from_number(a)?, Kind::from_number(b)?),
            10 => Failure::Kind(Doing::from_number(a)?, Kind::from_number(b)?),
            11 => Failure::Kinds(Doing::from_number(a)?, Kind::from_number(b >> 8)?, Kind::from_number(b & 0xFF)?),
            12 => Failure::Whole,
            13 => Failure::NotNumber(Kind::from_number(a)?),
            14 => Failure::BadNumber { fraction: flag(a)? },
            15 => Failure::Bounds(a, b),
            16 => Failure::Regex(text),
            17 => Failure::Getter(number(a)?),
            18 => Failure::ComputedGetter,
            19 => Failure::Iterator,
            20 => Failure::Opaque(Doing::from_number(a)?),
            21 => Failure::RedactedName,
            22 => Failure::RedactedKey(text),
            23 => Failure::RedactedType(number(a)?),
            24 => Failure::Timeout,
            25 => Failure::Limit(LIMITS.get(usize::try_from(a).ok()?)?.0),
            26 => Failure::Host(text),
            _ => return None,
        })
    }
}

impl Doing {
    fn number(self) -> i64 {
        match self {
            Doing::Member(symbol) => 0x100 + i64::from(symbol),
            _ => place(&DOINGS.map(|(doing, _)| doing), &self),
        }
    }

    fn from_number(number: i64) -> Option<Doing> {
        if number >= 0x100 {
            return u32::try_from(number - 0x100).ok().map(Doing::Member);
        }
        DOINGS.get(usize::try_from(number).ok()?).map(|(doing, _)| *doing)
    }
}

fn place<T: PartialEq>(all: &[T], one: &T) -> i64 {
    all.iter().position(|each| each == one).and_then(|index| i64::try_from(index).ok()).unwrap_or(-1)
}

fn find<T: PartialEq>(all: &[(T, &'static str)], one: &T) -> &'static str {
    all.iter().find(|(each, _)| each == one).map_or("", |(_, text)| text)
}

fn word(doing: Doing) -> &'static str {
    find(&DOINGS, &doing)
}

/// The literal of the language that a name is in Python.
pub(crate) fn literal(name: &str) -> Option<&'static str> {
    match name {
        "None" => Some("null"),
        "True" => Some("true"),
        "False" => Some("false"),
        _ => None,
    }
}

fn nothing(undefined: bool) -> &'static str {
    if undefined { "undefined" } else { "null" }
}

fn redacted(name: &str) -> String {
    format!("Could not evaluate the expression because '{name}' was redacted")
}

/// A literal key is part of the expression and may be shown; a computed one is a value.
fn key_text(key: Option<u32>, names: &Names<'_>) -> String {
    let constant = key.and_then(|index| names.expression.program.constants.get(index as usize));
    match constant {
        Some(Constant::Text(text)) => format!("No entry for key {text:?}"),
        Some(Constant::Int(value)) => format!("No entry for key {value}"),
        Some(Constant::Big(value)) => format!("No entry for key {value}"),
        Some(Constant::Float(value)) => format!("No entry for key {value}"),
        Some(Constant::Bool(value)) => format!("No entry for key {value}"),
        Some(Constant::Null) => "No entry for key null".to_owned(),
        None => "No entry for the computed key".to_owned(),
    }
}

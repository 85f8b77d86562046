//! The world of a toy program: values from a vector's encoding, in one arena, so that a value is a number and cycles are
//! possible. Strings are stored in turn in each of the ways that hosts store them.

use crate::json::{Json, quoted};
use num_bigint::{BigInt, Sign};
use std::fmt::Write as _;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::host::ActiveSpan;
use stroboscope_core::record::layout::NO_TYPE;
use stroboscope_core::record::names::Tables;
use stroboscope_core::text::Text;

/// Index of a value.
pub type Id = u32;

/// Text as hosts store it.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are those of the core's `Text`")]
pub enum Stored {
    Utf8(String),
    Latin1(Vec<u8>),
    Ucs2(Vec<u16>),
    Ucs4(Vec<u32>),
    Utf16(Vec<u16>),
}

impl Stored {
    /// Stores a text in the way of this turn, if it can hold it.
    pub fn new(text: &str, turn: usize) -> Stored {
        let points: Vec<u32> = text.chars().map(u32::from).collect();
        match turn % 5 {
            1 if points.iter().all(|point| *point < 0x100) => {
                Stored::Latin1(points.iter().filter_map(|point| u8::try_from(*point).ok()).collect())
            }
            2 if points.iter().all(|point| *point < 0x1_0000) => {
                Stored::Ucs2(points.iter().filter_map(|point| u16::try_from(*point).ok()).collect())
            }
            3 => Stored::Ucs4(points),
            4 => Stored::Utf16(text.encode_utf16().collect()),
            _ => Stored::Utf8(text.to_owned()),
        }
    }

    /// The text, borrowed.
    pub fn text(&self) -> Text<'_> {
        match self {
            Stored::Utf8(text) => Text::Utf8(text),
            Stored::Latin1(units) => Text::Latin1(units),
            Stored::Ucs2(units) => Text::Ucs2(units),
            Stored::Ucs4(units) => Text::Ucs4(units),
            Stored::Utf16(units) => Text::Utf16(units),
        }
    }
}

/// A value.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the encoding is described in the vector file")]
pub enum Node {
    Undefined,
    Null,
    Bool(bool),
    Int(i64),
    Big {
        value: BigInt,
        digits: Vec<u32>,
        bits: u8,
    },
    Float(f64),
    Decimal {
        text: String,
        negative: bool,
        words: Vec<u64>,
        exponent: i64,
    },
    Str(Stored),
    Bytes(Vec<u8>),
    List(Vec<Id>),
    Set(Vec<Id>),
    Map {
        entries: Vec<(Id, Id)>,
        record: bool,
    },
    Object {
        class: u32,
        fields: Vec<(String, Id)>,
        getters: Vec<String>,
    },
    Exception {
        class: u32,
        fields: Vec<(String, Id)>,
        getters: Vec<String>,
        message: Id,
    },
    Enum {
        class: u32,
        name: Id,
        value: Id,
    },
    Function(String),
    Iterator,
    Opaque,
    Complex(f64, f64),
    /// A well-known scalar.
    Scalar {
        class: u32,
        text: String,
    },
    /// A named tuple.
    Named {
        class: u32,
        fields: Vec<(String, Id)>,
    },
    /// A value of a class of its own that reads as another.
    Typed {
        class: u32,
        of: Id,
    },
    /// A value that reads as another, and is captured as a text.
    Shown {
        class: u32,
        text: String,
        of: Id,
    },
    /// A container of a subclass that has fields too.
    Extended {
        class: u32,
        of: Id,
        fields: Vec<(String, Id)>,
    },
    /// A container that changes whenever it is walked.
    Changing(Id),
    /// As a field: one that cannot be read.
    Unreadable,
}

/// A class and its ancestors, nearest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Qualified names.
    pub names: Vec<String>,
    /// True if the class or an ancestor is redacted.
    pub redacted: bool,
    /// Its number in a session's tables, or in this world.
    pub number: u32,
}

/// Which host the world plays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// None in particular.
    #[default]
    Neutral,
    /// Built-in class names of Python.
    Python,
    /// Built-in class names of Node, and `length`.
    Node,
}

/// The bare name of a class.
pub fn bare(qualified: &str) -> &str {
    qualified.rsplit('.').next().unwrap_or(qualified)
}

/// All values of one vector.
#[derive(Debug, Default)]
pub struct World {
    /// The values.
    pub nodes: Vec<Node>,
    /// The classes; the first is that of values without one.
    pub classes: Vec<Class>,
    /// The variables, specials included.
    pub vars: Vec<(String, Id)>,
    /// Which host it plays.
    pub dialect: Dialect,
    /// The extra members that Node answers: of this value, by that name, that one.
    pub extra: Vec<(Id, &'static str, Id)>,
    /// True if walks over lists, sets and maps pause after every second child.
    pub pauses: bool,
    /// True if the application has a tracer.
    pub tracer: bool,
    /// The span that is active.
    pub active: ActiveSpan,
    turn: usize,
}

impl World {
    /// The world of these variables.
    pub fn new(vars: &Json, dialect: Dialect, redaction: &Redaction) -> Result<World, String> {
        let mut world = World { dialect, ..World::default() };
        world.classes.push(Class { names: vec!["value".to_owned()], redacted: false, number: NO_TYPE });
        for (name, value) in vars.members() {
            let id = world.add(value, redaction)?;
            world.vars.push((name.clone(), id));
        }
        if dialect == Dialect::Node {
            world.add_extra();
        }
        Ok(world)
    }

    /// Gives the classes their numbers in a session's tables.
    #[must_use]
    pub fn known_to(mut self, tables: &Tables) -> World {
        for class in self.classes.iter_mut().skip(1) {
            let qualified = class.names.first().cloned().unwrap_or_default();
            class.number = tables.intern_type(Text::Utf8(&qualified), Text::Utf8(bare(&qualified)), class.redacted);
        }
        self
    }

    fn add_extra(&mut self) {
        for id in 0..self.nodes.len() {
            let of = u32::try_from(id).unwrap_or(0);
            let (name, len) = match self.nodes.get(id) {
                Some(Node::Str(text)) => ("length", text.text().to_text().encode_utf16().count()),
                Some(Node::List(elements)) => ("length", elements.len()),
                Some(Node::Bytes(bytes)) => ("length", bytes.len()),
                Some(Node::Set(members)) => ("size", members.len()),
                Some(Node::Function(name)) => {
                    let name = self.add_text(&name.clone());
                    self.extra.push((of, "name", name));
                    ("length", 0)
                }
                _ => continue,
            };
            let len = self.push(Node::Int(i64::try_from(len).unwrap_or(0)));
            self.extra.push((of, name, len));
        }
    }

    /// The node of a value.
    pub fn node(&self, id: Id) -> &Node {
        self.nodes.get(id as usize).unwrap_or(&Node::Undefined)
    }

    /// The variable of a name.
    pub fn var(&self, name: &str) -> Option<Id> {
        self.vars.iter().find(|(known, _)| known == name).map(|(_, id)| *id)
    }

    /// The class of a value; the first for values without one.
    pub fn class_of(&self, id: Id) -> u32 {
        match self.node(id) {
            Node::Object { class, .. }
            | Node::Exception { class, .. }
            | Node::Enum { class, .. }
            | Node::Scalar { class, .. }
            | Node::Named { class, .. }
            | Node::Shown { class, .. }
            | Node::Extended { class, .. }
            | Node::Typed { class, .. } => *class,
            Node::Changing(of) => self.class_of(*of),
            _ => 0,
        }
    }

    /// The names of a value's class and ancestors, nearest first; none for values without one.
    pub fn class_names(&self, id: Id) -> Vec<String> {
        let class = self.class_of(id);
        if class != 0 {
            let mut names = self.classes.get(class as usize).map(|class| class.names.clone()).unwrap_or_default();
            if self.dialect == Dialect::Python {
                let roots: &[&str] = match self.node(id) {
                    Node::Exception { .. } => &["builtins.Exception", "builtins.BaseException", "builtins.object"],
                    Node::Enum { .. } => &["enum.Enum", "builtins.object"],
                    _ => &["builtins.object"],
                };
                names.extend(roots.iter().map(|root| (*root).to_owned()));
            }
            return names;
        }
        let names: &[&str] = match (self.dialect, self.node(id)) {
            (Dialect::Python, Node::Null) => &["builtins.NoneType", "builtins.object"],
            (Dialect::Python, Node::Bool(_)) => &["builtins.bool", "builtins.int", "builtins.object"],
            (Dialect::Python, Node::Int(_) | Node::Big { .. }) => &["builtins.int", "builtins.object"],
            (Dialect::Python, Node::Float(_)) => &["builtins.float", "builtins.object"],
            (Dialect::Python, Node::Str(_)) => &["builtins.str", "builtins.object"],
            (Dialect::Python, Node::Bytes(_)) => &["builtins.bytes", "builtins.object"],
            (Dialect::Python, Node::Complex(..)) => &["builtins.complex", "builtins.object"],
            (Dialect::Python, Node::Decimal { .. }) => &["decimal.Decimal", "builtins.object"],
            (Dialect::Python, Node::List(_)) => &["builtins.list", "builtins.object"],
            (Dialect::Python, Node::Set(_)) => &["builtins.set", "builtins.object"],
            (Dialect::Python, Node::Map { .. }) => &["builtins.dict", "builtins.object"],
            (Dialect::Node, Node::Undefined) => &["undefined"],
            (Dialect::Node, Node::Bool(_)) => &["boolean"],
            (Dialect::Node, Node::Int(_) | Node::Float(_)) => &["number"],
            (Dialect::Node, Node::Big { .. }) => &["bigint"],
            (Dialect::Node, Node::Str(_)) => &["string"],
            (Dialect::Node, Node::List(_)) => &["Array", "Object"],
            (Dialect::Node, Node::Set(_)) => &["Set", "Object"],
            (Dialect::Node, Node::Map { record: false, .. }) => &["Map", "Object"],
            (Dialect::Node, Node::Map { record: true, .. }) => &["Object"],
            _ => &[],
        };
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn push(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).unwrap_or(0)
    }

    fn class(&mut self, of: &Json, redaction: &Redaction) -> Result<u32, String> {
        let class = of.get("class").and_then(Json::text).ok_or("no class")?;
        let bases = of.get("bases").map(Json::elements).unwrap_or_default();
        let names: Vec<String> =
            std::iter::once(class).chain(bases.iter().filter_map(Json::text)).map(str::to_owned).collect();
        let redacted = names.iter().any(|name| redaction.type_names(Text::Utf8(name), Text::Utf8(bare(name))));
        let number = u32::try_from(self.classes.len()).map_err(|_| "too many classes")?;
        let index = self.classes.iter().position(|known| known.names == names).unwrap_or_else(|| {
            self.classes.push(Class { names, redacted, number });
            self.classes.len() - 1
        });
        u32::try_from(index).map_err(|_| "too many classes".to_owned())
    }

    fn add_all(&mut self, values: &[Json], redaction: &Redaction) -> Result<Vec<Id>, String> {
        values.iter().map(|value| self.add(value, redaction)).collect()
    }

    fn add_fields(&mut self, of: Option<&Json>, redaction: &Redaction) -> Result<Vec<(String, Id)>, String> {
        let fields = of.map(Json::members).unwrap_or_default();
        fields.iter().map(|(name, value)| Ok((name.clone(), self.add(value, redaction)?))).collect()
    }

    fn add_text(&mut self, text: &str) -> Id {
        self.turn += 1;
        self.push(Node::Str(Stored::new(text, self.turn)))
    }

    fn add_record(&mut self, members: &[(String, Json)], redaction: &Redaction) -> Result<Id, String> {
        let mut entries = Vec::new();
        for (name, value) in members {
            entries.push((self.add_text(name), self.add(value, redaction)?));
        }
        Ok(self.push(Node::Map { entries, record: true }))
    }

    /// Adds a value.
    pub fn add(&mut self, value: &Json, redaction: &Redaction) -> Result<Id, String> {
        let node = match value {
            Json::Null => Node::Null,
            Json::Bool(value) => Node::Bool(*value),
            Json::Int(value) => int(BigInt::from(*value)),
            Json::Float(value) => Node::Float(*value),
            Json::Str(text) => return Ok(self.add_text(text)),
            Json::Array(elements) => Node::List(self.add_all(elements, redaction)?),
            Json::Object(members) => match members.as_slice() {
                [(tag, inner)] if tag.starts_with('$') => return self.add_tagged(tag, inner, redaction),
                members => return self.add_record(members, redaction),
            },
        };
        Ok(self.push(node))
    }

    fn add_tagged(&mut self, tag: &str, inner: &Json, redaction: &Redaction) -> Result<Id, String> {
        let text = || inner.text().ok_or_else(|| format!("{tag} needs a text"));
        let node = match tag {
            "$undefined" => Node::Undefined,
            "$int" => int(text()?.parse().map_err(|_| "not an integer")?),
            "$float" => Node::Float(text()?.parse().map_err(|_| "not a float")?),
            "$decimal" => match special(text()?) {
                Some(float) if self.dialect == Dialect::Python => {
                    let of = self.push(Node::Float(float));
                    let class = Json::Object(vec![("class".to_owned(), Json::Str("decimal.Decimal".to_owned()))]);
                    let text = format!("Decimal('{}')", text()?);
                    Node::Shown { class: self.class(&class, redaction)?, text, of }
                }
                Some(float) => Node::Float(float),
                None => decimal(text()?)?,
            },
            "$bytes" => Node::Bytes(bytes(text()?)?),
            "$set" => Node::Set(self.add_all(inner.elements(), redaction)?),
            "$map" => {
                let mut entries = Vec::new();
                for entry in inner.elements() {
                    let [key, value] = entry.elements() else { return Err("$map needs pairs".to_owned()) };
                    entries.push((self.add(key, redaction)?, self.add(value, redaction)?));
                }
                Node::Map { entries, record: false }
            }
            "$record" => return self.add_record(inner.members(), redaction),
            "$object" | "$exception" => {
                let class = self.class(inner, redaction)?;
                let fields = self.add_fields(inner.get("fields"), redaction)?;
                let getters = inner.get("getters").map(Json::elements).unwrap_or_default();
                let getters = getters.iter().filter_map(Json::text).map(str::to_owned).collect();
                if tag == "$object" {
                    Node::Object { class, fields, getters }
                } else {
                    let message = self.add_text(inner.get("message").and_then(Json::text).unwrap_or_default());
                    Node::Exception { class, fields, getters, message }
                }
            }
            "$enum" => {
                let class = self.class(inner, redaction)?;
                let name = self.add_text(inner.get("name").and_then(Json::text).ok_or("no name")?);
                let value = self.add(inner.get("value").unwrap_or(&Json::Null), redaction)?;
                Node::Enum { class, name, value }
            }
            "$function" => Node::Function(text()?.to_owned()),
            "$iterator" => Node::Iterator,
            "$opaque" => Node::Opaque,
            "$unreadable" => Node::Unreadable,
            "$complex" => match inner.elements() {
                [real, imaginary] => Node::Complex(float(real)?, float(imaginary)?),
                _ => return Err("$complex needs two numbers".to_owned()),
            },
            "$scalar" => {
                let text = inner.get("text").and_then(Json::text).ok_or("no text")?.to_owned();
                Node::Scalar { class: self.class(inner, redaction)?, text }
            }
            "$named" => {
                let class = self.class(inner, redaction)?;
                Node::Named { class, fields: self.add_fields(inner.get("fields"), redaction)? }
            }
            "$typed" => {
                let of = self.add(inner.get("value").ok_or("no value")?, redaction)?;
                Node::Typed { class: self.class(inner, redaction)?, of }
            }
            "$shown" => {
                let of = self.add(inner.get("value").ok_or("no value")?, redaction)?;
                let text = inner.get("text").and_then(Json::text).ok_or("no text")?.to_owned();
                Node::Shown { class: self.class(inner, redaction)?, text, of }
            }
            "$extended" => {
                let of = self.add(inner.get("value").ok_or("no value")?, redaction)?;
                let fields = self.add_fields(inner.get("fields"), redaction)?;
                Node::Extended { class: self.class(inner, redaction)?, of, fields }
            }
            "$changing" => Node::Changing(self.add(inner, redaction)?),
            "$repeat" => {
                let text = inner.get("text").and_then(Json::text).ok_or("no text")?.repeat(times(inner)?);
                return Ok(self.add_text(&text));
            }
            "$utf16" => {
                let units = inner.elements().iter().map(|unit| match unit {
                    Json::Int(unit) => u16::try_from(*unit).map_err(|_| "not a unit"),
                    _ => Err("not a unit"),
                });
                Node::Str(Stored::Utf16(units.collect::<Result<_, _>>()?))
            }
            "$count" => {
                let first = self.nodes.len();
                let count = i64::try_from(times(inner)?).map_err(|_| "too many")?;
                self.nodes.extend((0..count).map(Node::Int));
                let ids = first..self.nodes.len();
                Node::List(ids.filter_map(|id| u32::try_from(id).ok()).collect())
            }
            "$keys" => {
                let mut entries = Vec::new();
                for n in 0..times(inner)? {
                    entries.push((self.add_text(&format!("k{n}")), self.push(Node::Null)));
                }
                Node::Map { entries, record: true }
            }
            "$wide" => {
                let class = self.class(inner, redaction)?;
                let fields = (0..times(inner)?).map(|n| (format!("f{n}"), self.push(Node::Null))).collect();
                Node::Object { class, fields, getters: Vec::new() }
            }
            "$nested" => {
                let mut id = self.add(inner.get("value").unwrap_or(&Json::Null), redaction)?;
                for _ in 0..times(inner)? {
                    id = self.push(Node::List(vec![id]));
                }
                return Ok(id);
            }
            "$cycle" => {
                let id = u32::try_from(self.nodes.len()).map_err(|_| "too many values")?;
                Node::List(vec![id])
            }
            "$bigint" => {
                let text = text()?;
                let (negative, power) = text.strip_prefix('-').map_or((false, text), |power| (true, power));
                let (base, exponent) = power.split_once('^').ok_or("$bigint is written a^b")?;
                let base: BigInt = base.parse().map_err(|_| "not an integer")?;
                let value = base.pow(exponent.parse().map_err(|_| "not an exponent")?);
                int(if negative { -value } else { value })
            }
            other => return Err(format!("unknown tag {other}")),
        };
        Ok(self.push(node))
    }
}

fn times(of: &Json) -> Result<usize, String> {
    match of.get("times") {
        Some(Json::Int(times)) => usize::try_from(*times).map_err(|_| "bad times".to_owned()),
        _ => Err("no times".to_owned()),
    }
}

fn float(value: &Json) -> Result<f64, String> {
    match value {
        Json::Float(value) => Ok(*value),
        Json::Object(members) => match members.as_slice() {
            [(tag, Json::Str(text))] if tag == "$float" => text.parse().map_err(|_| "not a float".to_owned()),
            _ => Err("not a float".to_owned()),
        },
        _ => Err("not a float".to_owned()),
    }
}

/// An integer as a node.
pub fn int(value: BigInt) -> Node {
    if let Ok(value) = i64::try_from(&value) {
        return Node::Int(value);
    }
    // Alternate between the digits of CPython and those of everybody else.
    let bits: u8 = if value.bit(0) { 30 } else { 32 };
    let mut rest = value.magnitude().clone();
    let mut digits = Vec::new();
    let base = num_bigint::BigUint::from(1_u64 << bits);
    while rest != num_bigint::BigUint::default() {
        let digit = &rest % &base;
        digits.push(digit.iter_u32_digits().next().unwrap_or(0));
        rest /= &base;
    }
    Node::Big { value, digits, bits }
}

/// The float that a decimal is which is no number.
fn special(text: &str) -> Option<f64> {
    Some(match text {
        "NaN" | "-NaN" | "sNaN" | "-sNaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        "-Infinity" => f64::NEG_INFINITY,
        _ => return None,
    })
}

fn decimal(text: &str) -> Result<Node, String> {
    let (mantissa, exponent) = match text.split_once(['E', 'e']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().map_err(|_| "bad exponent")?),
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches(['-', '+']);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let mut words = Vec::new();
    let bytes = digits.as_bytes();
    for chunk in bytes.rchunks(19) {
        let chunk = std::str::from_utf8(chunk).map_err(|_| "bad digits")?;
        words.push(chunk.parse().map_err(|_| "bad digits")?);
    }
    let exponent = exponent - i64::try_from(fraction.len()).unwrap_or(0);
    Ok(Node::Decimal { text: text.to_owned(), negative, words, exponent })
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let pairs = hex.as_bytes().chunks(2).map(std::str::from_utf8);
    pairs.map(|pair| u8::from_str_radix(pair.unwrap_or("?"), 16).map_err(|_| "bad hex".to_owned())).collect()
}

/// What an expression gave: a value of the world, or one that the expression made.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names are the specification's kinds")]
pub enum Made {
    Node(Id),
    Null,
    Bool(bool),
    Int(BigInt),
    Float(f64),
    Str(String),
    List(Vec<Made>),
    Set(Vec<Id>),
    Map(Vec<(Id, Id)>),
}

impl World {
    /// The value in the encoding of vectors. If `canonical`, sets and maps are in an order of their own and a record is as
    /// any map: two values are the same if their texts are.
    pub fn encode(&self, value: &Made, canonical: bool) -> String {
        let mut out = String::new();
        self.write(value, canonical, &mut out);
        out
    }

    fn encode_id(&self, id: Id, canonical: bool) -> String {
        self.encode(&Made::Node(id), canonical)
    }

    fn write(&self, value: &Made, canonical: bool, out: &mut String) {
        match value {
            Made::Node(id) => self.write_node(*id, canonical, out),
            Made::Null => out.push_str("null"),
            Made::Bool(value) => put(out, format_args!("{value}")),
            Made::Int(value) => write_int(value, out),
            Made::Float(value) => write_float(*value, out),
            Made::Str(text) => out.push_str(&quoted(text)),
            Made::List(elements) => {
                let elements: Vec<String> = elements.iter().map(|element| self.encode(element, canonical)).collect();
                put(out, format_args!("[{}]", elements.join(", ")));
            }
            Made::Set(members) => self.write_set(members, canonical, out),
            Made::Map(entries) => self.write_map(entries, false, canonical, out),
        }
    }

    fn write_set(&self, members: &[Id], canonical: bool, out: &mut String) {
        let mut members: Vec<String> = members.iter().map(|id| self.encode_id(*id, canonical)).collect();
        if canonical {
            members.sort();
        }
        put(out, format_args!("{{\"$set\": [{}]}}", members.join(", ")));
    }

    fn write_map(&self, entries: &[(Id, Id)], record: bool, canonical: bool, out: &mut String) {
        let pairs =
            entries.iter().map(|(key, value)| (self.encode_id(*key, canonical), self.encode_id(*value, canonical)));
        if record && !canonical {
            let members: Vec<String> = pairs.map(|(key, value)| format!("{key}: {value}")).collect();
            return put(out, format_args!("{{\"$record\": {{{}}}}}", members.join(", ")));
        }
        let mut entries: Vec<String> = pairs.map(|(key, value)| format!("[{key}, {value}]")).collect();
        if canonical {
            entries.sort();
        }
        put(out, format_args!("{{\"$map\": [{}]}}", entries.join(", ")));
    }

    fn write_fields(
        &self,
        tag: &str,
        class: u32,
        rest: &str,
        fields: &[(String, Id)],
        canonical: bool,
        out: &mut String,
    ) {
        let names = self.classes.get(class as usize).map(|class| class.names.as_slice()).unwrap_or_default();
        let (class, bases) = names.split_first().map_or(("", &[][..]), |(class, bases)| (class.as_str(), bases));
        let bases: Vec<String> = bases.iter().map(|base| quoted(base)).collect();
        let fields: Vec<String> =
            fields.iter().map(|(name, id)| format!("{}: {}", quoted(name), self.encode_id(*id, canonical))).collect();
        put(out, format_args!("{{\"{tag}\": {{\"class\": {}", quoted(class)));
        if !bases.is_empty() {
            put(out, format_args!(", \"bases\": [{}]", bases.join(", ")));
        }
        out.push_str(rest);
        if tag != "$enum" {
            put(out, format_args!(", \"fields\": {{{}}}", fields.join(", ")));
        }
        out.push_str("}}");
    }

    fn write_node(&self, id: Id, canonical: bool, out: &mut String) {
        match self.node(id) {
            Node::Undefined => out.push_str("{\"$undefined\": true}"),
            Node::Null => out.push_str("null"),
            Node::Bool(value) => put(out, format_args!("{value}")),
            Node::Int(value) => write_int(&BigInt::from(*value), out),
            Node::Big { value, .. } => write_int(value, out),
            Node::Float(value) => write_float(*value, out),
            Node::Decimal { text, .. } => put(out, format_args!("{{\"$decimal\": {}}}", quoted(text))),
            Node::Str(text) => out.push_str(&quoted(&text.text().to_text())),
            Node::Bytes(bytes) => {
                out.push_str("{\"$bytes\": \"");
                for byte in bytes {
                    put(out, format_args!("{byte:02x}"));
                }
                out.push_str("\"}");
            }
            Node::List(elements) => {
                let elements: Vec<String> = elements.iter().map(|id| self.encode_id(*id, canonical)).collect();
                put(out, format_args!("[{}]", elements.join(", ")));
            }
            Node::Set(members) => self.write_set(members, canonical, out),
            Node::Map { entries, record } => self.write_map(entries, *record, canonical, out),
            Node::Object { class, fields, getters } => {
                self.write_fields("$object", *class, &write_getters(getters), fields, canonical, out);
            }
            Node::Exception { class, fields, getters, message } => {
                let message = self.encode_id(*message, canonical);
                let rest = format!(", \"message\": {message}{}", write_getters(getters));
                self.write_fields("$exception", *class, &rest, fields, canonical, out);
            }
            Node::Enum { class, name, value } => {
                let (name, value) = (self.encode_id(*name, canonical), self.encode_id(*value, canonical));
                let rest = format!(", \"name\": {name}, \"value\": {value}");
                self.write_fields("$enum", *class, &rest, &[], canonical, out);
            }
            Node::Function(name) => put(out, format_args!("{{\"$function\": {}}}", quoted(name))),
            Node::Iterator => out.push_str("{\"$iterator\": true}"),
            Node::Opaque => out.push_str("{\"$opaque\": true}"),
            Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } | Node::Changing(of) => {
                self.write_node(*of, canonical, out);
            }
            // Kinds of captures only; in expressions they are told apart by identity.
            Node::Complex(..) | Node::Scalar { .. } | Node::Named { .. } | Node::Unreadable => {
                put(out, format_args!("{{\"$other\": {id}}}"));
            }
        }
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

fn write_getters(getters: &[String]) -> String {
    if getters.is_empty() {
        return String::new();
    }
    let getters: Vec<String> = getters.iter().map(|name| quoted(name)).collect();
    format!(", \"getters\": [{}]", getters.join(", "))
}

fn write_int(value: &BigInt, out: &mut String) {
    if value.bits() <= 53 {
        put(out, format_args!("{value}"));
    } else {
        put(out, format_args!("{{\"$int\": \"{value}\"}}"));
    }
}

fn write_float(value: f64, out: &mut String) {
    if value.is_finite() && value.fract() != 0.0 {
        return put(out, format_args!("{value}"));
    }
    let text = if value.is_infinite() {
        if value > 0.0 { "Infinity".to_owned() } else { "-Infinity".to_owned() }
    } else if value.is_nan() {
        "NaN".to_owned()
    } else {
        format!("{value}.0")
    };
    put(out, format_args!("{{\"$float\": \"{text}\"}}"));
}

/// The sign and magnitude of a decimal's coefficient.
pub fn coefficient(negative: bool, words: &[u64]) -> BigInt {
    let base = BigInt::from(10_000_000_000_000_000_000_u64);
    let magnitude = words.iter().rev().fold(BigInt::default(), |sum, word| sum * &base + *word);
    if negative && magnitude.sign() != Sign::NoSign { -magnitude } else { magnitude }
}

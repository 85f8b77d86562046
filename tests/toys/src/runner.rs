//! Reads vector files of format 1 and runs each vector.

use crate::json::Json;
use crate::kinds::REGISTRY;
use crate::shape;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// One vector: its fields as they are written.
#[derive(Clone, Debug)]
pub struct Vector {
    fields: BTreeMap<String, Arc<RawValue>>,
}

/// How a vector ended that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Passed,
    /// It could not be run here; the text says why.
    Skipped(String),
}

/// What runs a vector of one kind. The error says what was expected and what came.
pub type Check = fn(&Vector) -> Result<Verdict, String>;

#[derive(Deserialize)]
struct File {
    format: u32,
    vectors: Vec<Fields>,
}

/// The fields of a vector; none may be there twice.
struct Fields(BTreeMap<String, Arc<RawValue>>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(FieldsReader)
    }
}

struct FieldsReader;

impl<'de> Visitor<'de> for FieldsReader {
    type Value = Fields;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a vector")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Fields, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, raw)) = from.next_entry::<String, Box<RawValue>>()? {
            if fields.insert(name.clone(), raw.into()).is_some() {
                return Err(A::Error::custom(format!("a vector has the field '{name}' twice")));
            }
        }
        Ok(Fields(fields))
    }
}

impl Vector {
    /// A field's JSON text.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|raw| raw.get())
    }

    /// A field, read.
    pub fn json(&self, name: &str) -> Result<Option<Json>, String> {
        self.raw(name).map(Json::read).transpose()
    }

    /// A field that holds a text.
    pub fn text(&self, name: &str) -> Option<String> {
        let json = self.json(name).ok()??;
        json.text().map(str::to_owned)
    }

    /// The name of the vector.
    pub fn id(&self) -> String {
        self.text("id").unwrap_or_else(|| "?".to_owned())
    }

    /// The kind of the vector.
    pub fn kind(&self) -> String {
        self.text("kind").unwrap_or_default()
    }

    /// Fails if it holds anything that its kind does not know, or not all that it must.
    fn shape(&self) -> Result<(), String> {
        // What this reader cannot hold, such as 1e400, may be just what a definition is about: the kind reads it in its own way.
        let read = |raw: &RawValue| Json::read(raw.get()).unwrap_or(Json::Null);
        let fields = self.fields.iter().map(|(name, raw)| (name.clone(), read(raw)));
        shape::check(&self.kind(), &Json::Object(fields.collect()))
    }

    /// The strings of a list in `config`.
    pub fn config(&self, name: &str) -> Result<Vec<String>, String> {
        let config = self.json("config")?;
        let list = config.as_ref().and_then(|config| config.get(name));
        Ok(list.map(Json::elements).unwrap_or_default().iter().filter_map(Json::text).map(str::to_owned).collect())
    }
}

/// Reads the vectors of a file.
pub fn read(text: &str) -> Result<Vec<Vector>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_start().starts_with('{') {
        return Err("not a vector file: it is no JSON object".to_owned());
    }
    let file: File = serde_json::from_str(text).map_err(|error| format!("not a vector file: {error}"))?;
    if file.format != 1 {
        return Err(format!("format {} is not known, only 1", file.format));
    }
    if file.vectors.is_empty() {
        return Err("there are no vectors in it".to_owned());
    }
    Ok(file.vectors.into_iter().map(|Fields(fields)| Vector { fields }).collect())
}

/// What a run gave.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Vectors that came out as expected.
    pub passed: usize,
    /// Id and reason of those that did not.
    pub failed: Vec<(String, String)>,
    /// Id and reason of those that could not be run.
    pub skipped: Vec<(String, String)>,
    /// Vectors that ran, by kind.
    pub ran: BTreeMap<String, usize>,
}

impl Report {
    /// Adds what another run gave.
    pub fn add(&mut self, other: Report) {
        self.passed += other.passed;
        self.failed.extend(other.failed);
        self.skipped.extend(other.skipped);
        for (kind, count) in other.ran {
            *self.ran.entry(kind).or_default() += count;
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, reason) in &self.failed {
            writeln!(out, "FAILED {id}: {reason}")?;
        }
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, reason) in &self.skipped {
            *reasons.entry(reason).or_default() += 1;
        }
        for (reason, count) in reasons {
            writeln!(out, "skipped {count}: {reason}")?;
        }
        write!(out, "{} passed, {} failed", self.passed, self.failed.len())
    }
}

/// Runs vectors.
pub fn run(vectors: &[Vector]) -> Report {
    let mut report = Report::default();
    let mut ids = BTreeSet::new();
    for vector in vectors {
        let kind = vector.kind();
        let Some((_, check)) = REGISTRY.iter().find(|(known, _)| *known == kind) else {
            report.failed.push((vector.id(), format!("unknown kind '{kind}'")));
            continue;
        };
        let unique = if ids.insert(vector.id()) { Ok(()) } else { Err("its id is used twice".to_owned()) };
        match vector.shape().and(unique).and_then(|()| check(vector)) {
            Ok(Verdict::Skipped(reason)) => {
                report.skipped.push((vector.id(), reason));
                continue;
            }
            Ok(Verdict::Passed) => report.passed += 1,
            Err(reason) => report.failed.push((vector.id(), reason)),
        }
        *report.ran.entry(kind).or_default() += 1;
    }
    report
}

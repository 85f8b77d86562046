//! Reads a probe definition as it is received: JSON types and ranges of single fields. On the walk of a configuration
//! going in, after `control/*`; `compile.rs` comes next and checks what fields mean together.
//!
//! Every object is read into borrowed raw values first and each field is then read on its own. So a wrong type can name
//! its field, integers stay exact, and an expression is passed on as the text it is. Raw values are skipped by
//! `serde_json` with a loop, not with recursion, so that its depth limit of 128 does not hold for expressions; the
//! expression reader has a limit of its own.

use std::collections::{BTreeMap, HashMap};

use serde_json::value::RawValue;

use super::model::{CodeList, EvaluateAt, MetricKind, ServiceConfiguration, TargetSpan};
use crate::error::{Error, ErrorKind, Result};
use crate::expr::literal::not_in_json;

/// The largest probe file that is read.
pub const MAX_FILE: usize = 5 * 1024 * 1024;

/// Limits above this mean the same as this: a record holds 1 MiB.
const MOST: u32 = 1 << 20;

/// Lines for the log that one file may cause.
const MAX_LOG: usize = 20;

/// A rate above this counts as this.
const MOST_PER_SECOND: f64 = 5000.0;

/// An expression as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// The text form, or what people are shown.
    pub dsl: Option<String>,
    /// The JSON form, raw; `None` if it is missing or `null`.
    pub json: Option<String>,
}

/// A part of a template as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Fixed text.
    Text(String),
    /// Something to be evaluated.
    Expression(Source),
}

/// A template as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The template as typed.
    pub template: String,
    /// Its parts; `None` if the template has to be parsed.
    pub segments: Option<Vec<Part>>,
}

/// Limits as received; what is missing comes from the probe, then from the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// `maxReferenceDepth`.
    pub depth: Option<u32>,
    /// `maxCollectionSize`.
    pub elements: Option<u32>,
    /// `maxLength`.
    pub length: Option<u32>,
    /// `maxFieldCount`.
    pub fields: Option<u32>,
}

/// A capture expression as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureSource {
    /// `name`.
    pub name: String,
    /// `expr`.
    pub expr: Source,
    /// Its own limits.
    pub capture: Capture,
}

/// A decoration as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecorationSource {
    /// `when`.
    pub when: Option<Source>,
    /// Names and values.
    pub tags: Vec<(String, Message)>,
}

/// `where` as received. Empty texts are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Where {
    /// `typeName`, or its older name `type`.
    pub type_name: Option<String>,
    /// `methodName`, or its older name `method`.
    pub method_name: Option<String>,
    /// `signature`.
    pub signature: Option<String>,
    /// `sourceFile`.
    pub source_file: Option<String>,
    /// `lines`, without repetitions; of a range its first line.
    pub lines: Vec<u32>,
}

/// What belongs to one kind of probe only.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// `LOG_PROBE`.
    Log {
        /// The message.
        message: Message,
        /// `captureSnapshot`.
        snapshot: bool,
        /// `capture`.
        capture: Capture,
        /// `captureExpressions`.
        expressions: Vec<CaptureSource>,
        /// `sampling.snapshotsPerSecond`, checked.
        rate: Option<f64>,
    },
    /// `METRIC_PROBE`.
    Metric {
        /// `kind`.
        kind: MetricKind,
        /// `metricName`.
        name: String,
        /// `value`.
        value: Option<Source>,
    },
    /// `SPAN_PROBE`.
    Span,
    /// `SPAN_DECORATION_PROBE`.
    SpanDecoration {
        /// `targetSpan`.
        target: TargetSpan,
        /// `decorations`.
        decorations: Vec<DecorationSource>,
    },
    /// `TRIGGER_PROBE`.
    Trigger,
    /// `SERVICE_CONFIGURATION`.
    Service(ServiceConfiguration),
}

/// A definition whose fields have the right types. What they mean together is checked by [`super::compile::compile`].
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// `id`, never empty.
    pub id: String,
    /// `version`, 0 if absent.
    pub version: i64,
    /// `tags`, as given.
    pub tags: Vec<String>,
    /// `where`.
    pub place: Where,
    /// `evaluateAt`; `None` for the default of the kind.
    pub evaluate_at: Option<EvaluateAt>,
    /// `when`.
    pub when: Option<Source>,
    /// `expiresAt`, milliseconds since the epoch.
    pub expires_at: Option<u64>,
    /// What belongs to the kind.
    pub body: Body,
    /// Remarks for the log.
    pub warnings: Vec<String>,
}

/// A definition that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its id. Without one there is nobody to report to, and the text goes to the log.
    pub id: Option<String>,
    /// Its version, 0 if it cannot be read.
    pub version: i64,
    /// What is wrong; names the field.
    pub text: String,
}

/// What a probe file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeFile {
    /// One entry for each id, in the order of the file.
    pub probes: Vec<std::result::Result<Definition, Rejected>>,
    /// Lines for the log: elements without an id, ids that occur twice.
    pub log: Vec<String>,
}

/// Reads a probe file: an array of definitions, or a single one. A bad element spoils itself only.
pub fn read_file(bytes: &[u8]) -> Result<ProbeFile> {
    let refuse = |text: String| Error::new(ErrorKind::ProbeFile, text);
    if bytes.len() > MAX_FILE {
        return Err(refuse(format!("it is larger than {} MiB", MAX_FILE / (1024 * 1024))));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| refuse(format!("it is not UTF-8 text (byte {})", error.valid_up_to())))?;
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    if text.trim().is_empty() {
        return Err(refuse("it is empty".to_owned()));
    }
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| refuse(format!("it is not JSON: {error}")))?;
    let elements: Vec<&RawValue> = match JsonType::of(raw) {
        JsonType::Object => vec![raw],
        JsonType::Array => {
            serde_json::from_str(raw.get()).map_err(|error| refuse(format!("it is not JSON: {error}")))?
        }
        other => return Err(refuse(format!("it holds {other}, not an array of probes"))),
    };
    Ok(collect(&elements))
}

/// Reads one definition. `config_id` is the id of the target file it came in: its prefix tells the kind where `type`
/// is missing.
pub fn read_definition(text: &str, config_id: Option<&str>) -> std::result::Result<Definition, Rejected> {
    let nobody = |text: String| Rejected { id: None, version: 0, text };
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => element(raw, config_id),
        Err(error) => Err(nobody(format!("the definition is not JSON: {error}"))),
    }
}

/// The id that a config id names behind the prefix of its kind: that of the probe, unless the definition says another.
pub fn probe_of_config(config_id: &str) -> Option<String> {
    let named = KINDS.iter().find_map(|(_, prefix)| config_id.strip_prefix(prefix));
    named.filter(|id| !id.is_empty()).map(str::to_owned)
}

/// Reads elements one by one. Of an id that occurs twice the higher version wins, then the later element.
fn collect(elements: &[&RawValue]) -> ProbeFile {
    let mut file = ProbeFile::default();
    // By id: where it is in the result, and which element it is from.
    let mut seen: HashMap<String, (usize, usize)> = HashMap::new();
    let mut unsaid = 0_usize;
    let mut say = |log: &mut Vec<String>, line: String| {
        if log.len() < MAX_LOG { log.push(line) } else { unsaid += 1 }
    };
    for (index, raw) in elements.iter().enumerate() {
        let read = element(raw, None);
        let (id, version) = match &read {
            Ok(definition) => (definition.id.clone(), definition.version),
            Err(Rejected { id: Some(id), version, .. }) => (id.clone(), *version),
            Err(Rejected { id: None, text, .. }) => {
                say(&mut file.log, format!("element {index} is ignored: {text}"));
                continue;
            }
        };
        let Some(&(at, earlier)) = seen.get(&id) else {
            seen.insert(id, (file.probes.len(), index));
            file.probes.push(read);
            continue;
        };
        let other = match &file.probes[at] {
            Ok(definition) => definition.version,
            Err(rejected) => rejected.version,
        };
        let (used, winner, unused) = if version >= other { (index, version, earlier) } else { (earlier, other, index) };
        let line = format!(
            "the id '{}' occurs more than once: element {used} (version {winner}) is used, element {unused} is not",
            short(&id)
        );
        say(&mut file.log, line);
        if version >= other {
            file.probes[at] = read;
            seen.insert(id, (at, index));
        }
    }
    if elements.is_empty() {
        file.log.push("it holds no probes".to_owned());
    }
    if unsaid > 0 {
        file.log.push(format!("{unsaid} more remarks of this kind are left out"));
    }
    file
}

fn element(raw: &RawValue, config_id: Option<&str>) -> std::result::Result<Definition, Rejected> {
    let mut rejected = Rejected { id: None, version: 0, text: String::new() };
    read(raw, config_id, &mut rejected).map_err(|error| {
        rejected.text = error.text;
        rejected
    })
}

fn read(raw: &RawValue, config_id: Option<&str>, known: &mut Rejected) -> Result<Definition> {
    let fields = Object::of("", raw)?;
    let id = fields.text("id")?.filter(|id| !id.is_empty()).ok_or_else(|| invalid("Field 'id' is missing or empty"))?;
    known.id = Some(id.clone());
    let version = version(&fields)?;
    known.version = version;

    let mut warnings = Vec::new();
    let kind = kind(&fields, config_id, &mut warnings)?;
    fields.text("language")?;
    let body = match kind {
        "LOG_PROBE" => log(&fields)?,
        "METRIC_PROBE" => metric(&fields)?,
        "SPAN_PROBE" => Body::Span,
        "SPAN_DECORATION_PROBE" => decoration(&fields)?,
        "TRIGGER_PROBE" => trigger(&fields)?,
        _ => Body::Service(service(&fields)?),
    };
    Ok(Definition {
        id,
        version,
        tags: fields.texts("tags")?,
        place: place(&fields)?,
        evaluate_at: evaluate_at(&fields)?,
        when: fields.source("when")?,
        expires_at: expires_at(&fields)?,
        body,
        warnings,
    })
}

/// Kinds and the prefixes of their config ids.
pub(crate) const KINDS: [(&str, &str); 6] = [
    ("LOG_PROBE", "logProbe_"),
    ("METRIC_PROBE", "metricProbe_"),
    ("SPAN_PROBE", "spanProbe_"),
    ("SPAN_DECORATION_PROBE", "spanDecorationProbe_"),
    ("TRIGGER_PROBE", "triggerProbe_"),
    ("SERVICE_CONFIGURATION", "serviceConfig_"),
];

fn kind(fields: &Object<'_>, config_id: Option<&str>, warnings: &mut Vec<String>) -> Result<&'static str> {
    let by_prefix =
        config_id.and_then(|id| KINDS.iter().find(|(_, prefix)| id.starts_with(prefix))).map(|(name, _)| *name);
    let Some(named) = fields.text("type")?.filter(|text| !text.is_empty()) else {
        return by_prefix.ok_or_else(|| invalid("Field 'type' is missing"));
    };
    let Some((kind, _)) = KINDS.iter().find(|(name, _)| *name == named) else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("Field 'type': the kind '{}' is unknown", short(&named)),
        ));
    };
    if let Some(other) = by_prefix.filter(|other| other != kind) {
        warnings.push(format!("its type is {kind}, but it came as {other}; {kind} is used"));
    }
    Ok(kind)
}

fn version(fields: &Object<'_>) -> Result<i64> {
    let Some(raw) = fields.raw("version") else { return Ok(0) };
    let read = match JsonType::of(raw) {
        JsonType::Number => whole(raw.get()),
        JsonType::Text => fields
            .text("version")?
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|text| text.parse().ok()),
        _ => None,
    };
    read.and_then(|number| i64::try_from(number).ok()).ok_or_else(|| fields.wrong("version", "a whole number", raw))
}

fn expires_at(fields: &Object<'_>) -> Result<Option<u64>> {
    let Some(raw) = fields.raw("expiresAt") else { return Ok(None) };
    let read = whole(raw.get()).and_then(|number| u64::try_from(number).ok());
    read.map(Some).ok_or_else(|| fields.wrong("expiresAt", "milliseconds since 1970, a whole number", raw))
}

fn evaluate_at(fields: &Object<'_>) -> Result<Option<EvaluateAt>> {
    let Some(text) = fields.text("evaluateAt")? else { return Ok(None) };
    match text.to_ascii_uppercase().as_str() {
        "ENTRY" => Ok(Some(EvaluateAt::Entry)),
        "EXIT" => Ok(Some(EvaluateAt::Exit)),
        "DEFAULT" => Ok(None),
        _ => Err(invalid(format!("Field 'evaluateAt' must be ENTRY, EXIT or DEFAULT, not '{}'", short(&text)))),
    }
}

fn place(fields: &Object<'_>) -> Result<Where> {
    let Some(place) = fields.object("where")? else { return Ok(Where::default()) };
    let name = |name: &str, older: &str| -> Result<Option<String>> {
        let (newer, older) = (place.text(name)?, place.text(older)?);
        Ok(newer.filter(|text| !text.is_empty()).or(older).filter(|text| !text.is_empty()))
    };
    place.text("inBodyLocation")?;
    Ok(Where {
        type_name: name("typeName", "type")?,
        method_name: name("methodName", "method")?,
        signature: place.text("signature")?.filter(|text| !text.is_empty()),
        source_file: place.text("sourceFile")?.filter(|text| !text.trim().is_empty()),
        lines: lines(&place)?,
    })
}

fn lines(place: &Object<'_>) -> Result<Vec<u32>> {
    let mut lines = Vec::new();
    for (field, raw) in place.list("lines")?.unwrap_or_default() {
        let number = match JsonType::of(raw) {
            JsonType::Number => whole(raw.get()),
            JsonType::Text => line_of(&text_of(&field, raw)?),
            other => return Err(invalid(format!("Field '{field}' must be a line number, not {other}"))),
        };
        let line = number.and_then(|number| u32::try_from(number).ok()).filter(|line| *line > 0);
        let line = line.ok_or_else(|| {
            invalid(format!("Field '{field}' must be a line number from 1, not {}", short(raw.get())))
        })?;
        if !lines.contains(&line) {
            lines.push(line);
        }
        // Ten are allowed; one more is enough to know that there are too many.
        if lines.len() > super::model::MAX_LINES {
            return Err(invalid(format!("Field 'where.lines' has more than {} lines", super::model::MAX_LINES)));
        }
    }
    Ok(lines)
}

/// The line of `"12"`, or the first of `"12-25"`.
fn line_of(text: &str) -> Option<i128> {
    let number = |text: &str| -> Option<i128> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) { None } else { text.parse().ok() }
    };
    match text.split_once('-') {
        Some((first, last)) => number(last).and(number(first)),
        None => number(text),
    }
}

fn log(fields: &Object<'_>) -> Result<Body> {
    let mut expressions = Vec::new();
    for (field, raw) in fields.list("captureExpressions")?.unwrap_or_default() {
        let item = Object::of(&field, raw)?;
        expressions.push(CaptureSource {
            name: item.required("name")?,
            expr: item.source("expr")?.ok_or_else(|| item.missing("expr"))?,
            capture: capture(&item)?,
        });
    }
    Ok(Body::Log {
        message: message(fields)?,
        snapshot: fields.boolean("captureSnapshot")?.unwrap_or(false),
        capture: capture(fields)?,
        expressions,
        rate: rate(fields)?,
    })
}

fn message(fields: &Object<'_>) -> Result<Message> {
    let template = fields.text("template")?.unwrap_or_default();
    let Some(list) = fields.list("segments")? else { return Ok(Message { template, segments: None }) };
    let mut parts = Vec::with_capacity(list.len());
    for (field, raw) in list {
        let part = Object::of(&field, raw)?;
        if let Some(text) = part.text("str")? {
            parts.push(Part::Text(text));
            continue;
        }
        if part.raw("dsl").is_none() && part.raw("json").is_none() {
            return Err(invalid(format!("Field '{field}' has neither 'str' nor 'json' nor 'dsl'")));
        }
        parts.push(Part::Expression(part.own_source()?));
    }
    Ok(Message { template, segments: Some(parts) })
}

fn capture(fields: &Object<'_>) -> Result<Capture> {
    let Some(capture) = fields.object("capture")? else { return Ok(Capture::default()) };
    let whole_limit = |name: &str| -> Result<Option<u32>> {
        let Some(raw) = capture.raw(name) else { return Ok(None) };
        let number = whole(raw.get()).filter(|number| *number >= 0);
        let number = number.ok_or_else(|| capture.wrong(name, "a whole number from 0", raw))?;
        Ok(Some(u32::try_from(number).unwrap_or(u32::MAX)))
    };
    let limit = |name: &str| Ok(whole_limit(name)?.map(|number| number.min(MOST)));
    Ok(Capture {
        // Who is told that it is too much reads their own number.
        depth: whole_limit("maxReferenceDepth")?,
        elements: limit("maxCollectionSize")?,
        length: limit("maxLength")?,
        fields: limit("maxFieldCount")?,
    })
}

/// `sampling.snapshotsPerSecond`: 0 is never, above 5000 is 5000.
fn rate(fields: &Object<'_>) -> Result<Option<f64>> {
    let Some(sampling) = fields.object("sampling")? else { return Ok(None) };
    let Some(raw) = sampling.raw("snapshotsPerSecond") else { return Ok(None) };
    let number = match JsonType::of(raw) {
        JsonType::Number => raw.get().parse::<f64>().ok(),
        _ => None,
    };
    let number = number.filter(|number| number.is_finite() && *number >= 0.0);
    let number = number.ok_or_else(|| sampling.wrong("snapshotsPerSecond", "a number from 0", raw))?;
    Ok(Some(number.min(MOST_PER_SECOND)))
}

fn metric(fields: &Object<'_>) -> Result<Body> {
    let kind = fields.required("kind")?;
    let kind = match kind.to_ascii_uppercase().as_str() {
        "COUNT" => MetricKind::Count,
        "GAUGE" => MetricKind::Gauge,
        "HISTOGRAM" => MetricKind::Histogram,
        "DISTRIBUTION" => MetricKind::Distribution,
        _ => {
            let kind = short(&kind);
            return Err(invalid(format!("Field 'kind' must be COUNT, GAUGE, HISTOGRAM or DISTRIBUTION, not '{kind}'")));
        }
    };
    Ok(Body::Metric { kind, name: fields.required("metricName")?, value: fields.source("value")? })
}

fn decoration(fields: &Object<'_>) -> Result<Body> {
    let target = fields.text("targetSpan")?.unwrap_or_default();
    let target = match target.to_ascii_uppercase().as_str() {
        "" | "ACTIVE" => TargetSpan::Active,
        "ROOT" => TargetSpan::Root,
        _ => return Err(invalid(format!("Field 'targetSpan' must be ACTIVE or ROOT, not '{}'", short(&target)))),
    };
    let list = fields.list("decorations")?.ok_or_else(|| fields.missing("decorations"))?;
    let mut decorations = Vec::with_capacity(list.len());
    for (field, raw) in list {
        let item = Object::of(&field, raw)?;
        let mut decoration = DecorationSource { when: item.source("when")?, tags: Vec::new() };
        for (field, raw) in item.list("tags")?.ok_or_else(|| item.missing("tags"))? {
            let tag = Object::of(&field, raw)?;
            let value = tag.object("value")?.ok_or_else(|| tag.missing("value"))?;
            decoration.tags.push((tag.required("name")?, message(&value)?));
        }
        decorations.push(decoration);
    }
    Ok(Body::SpanDecoration { target, decorations })
}

/// Sessions are not built, yet a trigger probe with a wrong field is told so.
fn trigger(fields: &Object<'_>) -> Result<Body> {
    fields.text("sessionId")?;
    fields.text("session_id")?;
    if let Some(raw) = fields.raw("level")
        && !matches!(JsonType::of(raw), JsonType::Text | JsonType::Number)
    {
        return Err(fields.wrong("level", "text or a number", raw));
    }
    if let Some(sampling) = fields.object("sampling")? {
        for name in ["cooldownInSeconds", "coolDownInSeconds", "eventsPerSecond"] {
            if let Some(raw) = sampling.raw(name).filter(|raw| JsonType::of(raw) != JsonType::Number) {
                return Err(sampling.wrong(name, "a number", raw));
            }
        }
    }
    Ok(Body::Trigger)
}

fn service(fields: &Object<'_>) -> Result<ServiceConfiguration> {
    let code = |newer: &str, older: &str| -> Result<CodeList> {
        let (newer, older) = (fields.object(newer)?, fields.object(older)?);
        let Some(list) = newer.or(older) else { return Ok(CodeList::default()) };
        let mut prefixes = list.texts("packagePrefixes")?;
        prefixes.extend(list.texts("package_prefixes")?);
        Ok(CodeList { prefixes, classes: list.texts("classes")? })
    };
    Ok(ServiceConfiguration {
        allow: code("allowList", "allow")?,
        deny: code("denyList", "deny")?,
        rate: rate(fields)?,
    })
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidDefinition, text)
}

/// A text from outside, so that a sentence with it stays one line.
fn short(text: &str) -> String {
    shortened(text, 60)
}

/// A text cut to a length, without line ends and other control characters.
pub(super) fn shortened(text: &str, longest: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut cut: String = text.chars().take(longest).map(plain).collect();
    if text.chars().nth(longest).is_some() {
        cut.push('…');
    }
    cut
}

/// The type of a JSON value, told by its first character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JsonType {
    Null,
    Bool,
    Number,
    Text,
    Array,
    Object,
}

impl JsonType {
    fn of(raw: &RawValue) -> JsonType {
        match raw.get().bytes().next() {
            Some(b'n') => JsonType::Null,
            Some(b't' | b'f') => JsonType::Bool,
            Some(b'"') => JsonType::Text,
            Some(b'[') => JsonType::Array,
            Some(b'{') => JsonType::Object,
            _ => JsonType::Number,
        }
    }
}

impl std::fmt::Display for JsonType {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            JsonType::Null => "null",
            JsonType::Bool => "true or false",
            JsonType::Number => "a number",
            JsonType::Text => "text",
            JsonType::Array => "an array",
            JsonType::Object => "an object",
        })
    }
}

/// The whole number that a JSON number stands for: `3`, `3.0` and `3e0` are one. Nothing else is a whole number.
fn whole(number: &str) -> Option<i128> {
    if !number.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        return None;
    }
    if number.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
        // More digits than fit mean "very many", which is what the caller makes of the largest number.
        let saturated = if number.starts_with('-') { i128::MIN } else { i128::MAX };
        return Some(number.parse().unwrap_or(saturated));
    }
    let value: f64 = number.parse().ok()?;
    if value.fract() == 0.0 && value.abs() < 1e18 { Some(value as i128) } else { None }
}

/// What a value is, for who is told that it is not what is wanted.
fn found(raw: &RawValue) -> String {
    not_in_json(raw.get()).map_or_else(|| JsonType::of(raw).to_string(), str::to_owned)
}

fn text_of(field: &str, raw: &RawValue) -> Result<String> {
    if JsonType::of(raw) != JsonType::Text || not_in_json(raw.get()).is_some() {
        return Err(invalid(format!("Field '{field}' must be text, not {}", found(raw))));
    }
    // The text is JSON already; what can still be wrong is an escape, such as half of a surrogate pair.
    serde_json::from_str(raw.get())
        .map_err(|_| invalid(format!("Field '{field}' holds an escape that stands for no character")))
}

/// An object whose fields are read one by one. `null` is absent.
struct Object<'a> {
    path: String,
    fields: BTreeMap<String, &'a RawValue>,
}

impl<'a> Object<'a> {
    fn of(path: &str, raw: &'a RawValue) -> Result<Object<'a>> {
        if JsonType::of(raw) != JsonType::Object {
            let found = found(raw);
            return Err(invalid(match path {
                "" => format!("a definition must be an object, not {found}"),
                path => format!("Field '{path}' must be an object, not {found}"),
            }));
        }
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get()).map_err(|_| {
            let of = if path.is_empty() { "the definition" } else { path };
            invalid(format!("a field name of '{of}' holds an escape that stands for no character"))
        })?;
        Ok(Object { path: path.to_owned(), fields })
    }

    fn field(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.get(name).copied().filter(|raw| JsonType::of(raw) != JsonType::Null)
    }

    /// The error of a field that is not `wanted`.
    fn wrong(&self, name: &str, wanted: &str, raw: &RawValue) -> Error {
        let found = match JsonType::of(raw) {
            JsonType::Number => short(raw.get()),
            _ => found(raw),
        };
        invalid(format!("Field '{}' must be {wanted}, not {found}", self.field(name)))
    }

    fn missing(&self, name: &str) -> Error {
        invalid(format!("Field '{}' is missing", self.field(name)))
    }

    fn text(&self, name: &str) -> Result<Option<String>> {
        self.raw(name).map(|raw| text_of(&self.field(name), raw)).transpose()
    }

    fn required(&self, name: &str) -> Result<String> {
        self.text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| self.missing(name))
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        match raw.get() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(self.wrong(name, "true or false", raw)),
        }
    }

    fn object(&self, name: &str) -> Result<Option<Object<'a>>> {
        self.raw(name).map(|raw| Object::of(&self.field(name), raw)).transpose()
    }

    /// The elements of an array that are not `null`, each with its path.
    fn list(&self, name: &str) -> Result<Option<Vec<(String, &'a RawValue)>>> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        if JsonType::of(raw) != JsonType::Array {
            return Err(self.wrong(name, "an array", raw));
        }
        let elements: Vec<&'a RawValue> =
            serde_json::from_str(raw.get()).map_err(|_| self.wrong(name, "an array", raw))?;
        let field = self.field(name);
        let present = elements.into_iter().enumerate().filter(|(_, raw)| JsonType::of(raw) != JsonType::Null);
        Ok(Some(present.map(|(index, raw)| (format!("{field}[{index}]"), raw)).collect()))
    }

    fn texts(&self, name: &str) -> Result<Vec<String>> {
        let list = self.list(name)?.unwrap_or_default();
        list.into_iter().map(|(field, raw)| text_of(&field, raw)).collect()
    }

    /// The expression in a field.
    fn source(&self, name: &str) -> Result<Option<Source>> {
        self.object(name)?.map(|object| object.own_source()).transpose()
    }

    /// The expression that this object is.
    fn own_source(&self) -> Result<Source> {
        Ok(Source { dsl: self.text("dsl")?, json: self.raw("json").map(|raw| raw.get().to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::{Body, MAX_FILE, Part, read_definition, read_file, whole};

    fn nested(depth: usize) -> String {
        let (open, close) = (r#"{"not": "#.repeat(depth), "}".repeat(depth));
        format!(r#"{{"id": "p", "type": "LOG_PROBE", "when": {{"json": {open}true{close}}}}}"#)
    }

    #[test]
    fn an_expression_may_be_deeper_than_the_json_reader_of_the_rest_allows() {
        for depth in [2_500, 100_000] {
            let file = format!("[{}]", nested(depth));
            let read = read_file(file.as_bytes()).unwrap();
            let when = read.probes[0].as_ref().unwrap().when.clone().unwrap();
            assert_eq!(when.json.unwrap().matches('{').count(), depth);
        }
    }

    #[test]
    fn integers_in_expressions_stay_exact() {
        let text = r#"{"id":"p","type":"LOG_PROBE","segments":[{"json":123456789012345678901234567890}]}"#;
        let Body::Log { message, .. } = read_definition(text, None).unwrap().body else { panic!("not a log probe") };
        let Some([Part::Expression(source)]) = message.segments.as_deref() else { panic!("no expression") };
        assert_eq!(source.json.as_deref(), Some("123456789012345678901234567890"));
    }

    #[test]
    fn whole_numbers() {
        for (text, number) in [
            ("0", Some(0)),
            ("-3", Some(-3)),
            ("3.0", Some(3)),
            ("1e2", Some(100)),
            ("2.5", None),
            ("1e400", None),
            ("\"3\"", None),
            ("true", None),
        ] {
            assert_eq!(whole(text), number, "{text}");
        }
        assert_eq!(whole(&"9".repeat(400)), Some(i128::MAX));
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let large = vec![b' '; MAX_FILE + 1];
        for (bytes, why) in [
            (&b""[..], "it is empty"),
            (b"\xEF\xBB\xBF \n", "it is empty"),
            (b"[\xFF]", "it is not UTF-8 text (byte 1)"),
            (b"[{]", "it is not JSON: key must be a string at line 1 column 3"),
            (b"[] []", "it is not JSON: trailing characters at line 1 column 4"),
            (b"3", "it holds a number, not an array of probes"),
            (b"null", "it holds null, not an array of probes"),
            (&large, "it is larger than 5 MiB"),
        ] {
            assert_eq!(read_file(bytes).unwrap_err().text, why);
        }
    }

    #[test]
    fn a_bad_element_spoils_itself_only() {
        let text = "\u{FEFF}[{\"id\":\"a\",\"type\":\"LOG_PROBE\"}, 7, {\"type\":\"LOG_PROBE\"},
            {\"id\":\"b\",\"version\":\"2\",\"type\":\"LOG_PROBE\",\"where\":{\"lines\":[[]]}},
            {\"id\":\"c\",\"type\":\"X\"}, {\"id\":\"d\",\"type\":\"LOG_PROBE\"}]";
        let file = read_file(text.as_bytes()).unwrap();
        let ids: Vec<_> = file.probes.iter().map(|read| read.as_ref().map(|probe| probe.id.as_str())).collect();
        assert!(matches!(ids[..], [Ok("a"), Err(b), Err(c), Ok("d")]
            if b.version == 2 && b.text.contains("where.lines[0]") && c.text.contains("'X'")));
        assert_eq!(file.log.len(), 2);
        assert!(file.log[0].starts_with("element 1 ") && file.log[1].starts_with("element 2 "), "{:?}", file.log);
    }

    #[test]
    fn a_hostile_file_neither_floods_the_log_nor_breaks_a_line() {
        let file = format!("[{}0]", "0,".repeat(100_000));
        let read = read_file(file.as_bytes()).unwrap();
        assert!(read.probes.is_empty() && read.log.len() == 21, "{}", read.log.len());
        assert_eq!(read.log[20], "99981 more remarks of this kind are left out");
        let text = format!(r#"{{"id":"p","type":"a\nb{}"}}"#, "x".repeat(1_000_000));
        let refused = read_definition(&text, None).unwrap_err().text;
        assert!(refused.len() < 200 && !refused.contains('\n') && refused.contains("a bx"), "{refused}");
    }

    #[test]
    fn of_two_the_higher_version_wins_then_the_later() {
        let of = |versions: [i64; 2]| {
            let file = format!(
                r#"[{{"id":"a","version":{},"type":"LOG_PROBE","template":"1"}},
                    {{"id":"a","version":{},"type":"LOG_PROBE","template":"2"}}]"#,
                versions[0], versions[1]
            );
            let file = read_file(file.as_bytes()).unwrap();
            assert_eq!((file.probes.len(), file.log.len()), (1, 1));
            match &file.probes[0].as_ref().unwrap().body {
                Body::Log { message, .. } => message.template.clone(),
                _ => String::new(),
            }
        };
        assert_eq!((of([1, 1]), of([2, 1]), of([1, 2])), ("2".to_owned(), "1".to_owned(), "2".to_owned()));
    }

    #[test]
    fn the_kind_falls_back_to_the_prefix() {
        let read = read_definition(r#"{"id":"p","type":""}"#, Some("logProbe_p")).unwrap();
        assert!(matches!(read.body, Body::Log { .. }) && read.warnings.is_empty());
        let read = read_definition(r#"{"id":"p","type":"SPAN_PROBE"}"#, Some("logProbe_p")).unwrap();
        assert!(read.body == Body::Span && read.warnings.len() == 1);
        let read = read_definition(r#"{"id":"p"}"#, None).unwrap_err();
        assert_eq!((read.id.as_deref(), read.text.as_str()), (Some("p"), "Field 'type' is missing"));
    }
}

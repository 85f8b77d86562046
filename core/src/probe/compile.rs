//! Makes a checked probe of a definition: what its fields mean together, its expressions, its defaults. On the walk of a
//! configuration going in, after `wire.rs`, with `expr/*`; `registry.rs` comes next. Every error of a definition is found
//! here or before, once; what is left for the host is to find the place.

use std::fmt;

use super::model::{
    CaptureExpression, Decoration, EvaluateAt, Kind, Location, Log, MAX_EXPRESSIONS, MAX_TAGS, Metric, MetricKind,
    Probe, SpanDecoration, Tag,
};
use super::wire::{self, Body, Capture, CaptureSource, DecorationSource, Definition, Message, Part, Source};
use crate::capture::limits::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::eval::literal;
use crate::expr::template::{RawSegment, Template};
use crate::expr::{Expression, Symbols};
use crate::host::{Capabilities, Language};
use crate::record::layout::MAX_LEVELS;

/// Events a second of a probe that captures and says nothing.
const RATE_CAPTURING: f64 = 1.0;

/// Events a second of any other log probe.
const RATE_PLAIN: f64 = 5000.0;

/// Why a kind that is checked is not installed yet in a runtime, if so.
pub fn not_yet(kind: &Kind, capabilities: &Capabilities) -> Option<&'static str> {
    match kind {
        Kind::Log(_) => None,
        Kind::Metric(_) if capabilities.metrics => None,
        Kind::Metric(_) => Some("metric probes are not available in this version"),
        Kind::Span | Kind::SpanDecoration(_) if capabilities.spans => None,
        Kind::Span => Some("span probes are not available in this version"),
        Kind::SpanDecoration(_) => Some("span decoration probes are not available in this version"),
    }
}

/// Compiles a definition. `redacted` tells whether a name is redacted.
pub fn compile(definition: &Definition, redacted: &dyn Fn(&str) -> bool, capabilities: &Capabilities) -> Result<Probe> {
    let mut maker = Maker { redacted, symbols: Symbols::default(), warnings: definition.warnings.clone() };
    match &definition.body {
        Body::Trigger => return Err(Error::new(ErrorKind::Unsupported, "trigger probes are not supported")),
        Body::Service(_) => return Err(invalid("a service configuration is no probe: it has no place in the code")),
        Body::Span if is_line(definition) => return Err(invalid("A span needs a method: a line has no end")),
        _ => {}
    }
    let location = location(definition, capabilities)?;
    let when = definition.when.as_ref().map(|when| maker.expression("when", when)).transpose()?;
    let (kind, rate) = match &definition.body {
        Body::Log { message, snapshot, capture, expressions, rate } => {
            let log = maker.log(message, *snapshot, *capture, expressions)?;
            let usual = if log.captures() { RATE_CAPTURING } else { RATE_PLAIN };
            (Kind::Log(log), rate.unwrap_or(usual))
        }
        Body::Metric { kind, name, value } => (Kind::Metric(maker.metric(*kind, name, value.as_ref())?), f64::INFINITY),
        Body::SpanDecoration { target, decorations } => {
            let decorations = maker.decorations(decorations)?;
            (Kind::SpanDecoration(SpanDecoration { target: *target, decorations }), f64::INFINITY)
        }
        Body::Span | Body::Trigger | Body::Service(_) => (Kind::Span, f64::INFINITY),
    };
    // A span's condition is asked before there is a span; all else sees more at the end.
    let evaluate_at = match kind {
        Kind::Span => EvaluateAt::Entry,
        _ => definition.evaluate_at.unwrap_or(EvaluateAt::Exit),
    };
    maker.literals(capabilities.language);
    Ok(Probe {
        id: definition.id.clone(),
        version: definition.version,
        location,
        kind,
        when,
        evaluate_at,
        tags: definition.tags.clone(),
        rate,
        expires_at: definition.expires_at,
        symbols: maker.symbols.into_names(),
        warnings: maker.warnings,
    })
}

fn invalid(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidDefinition, text)
}

fn is_line(definition: &Definition) -> bool {
    !definition.place.lines.is_empty() && definition.place.source_file.is_some()
}

fn location(definition: &Definition, capabilities: &Capabilities) -> Result<Location> {
    let place = &definition.place;
    if let (Some(file), false) = (&place.source_file, place.lines.is_empty()) {
        return Ok(Location::Lines { file: file.clone(), lines: place.lines.clone() });
    }
    let incomplete = |missing: &str| Err(invalid(format!("probe location is incomplete: {missing}")));
    let Some(method) = &place.method_name else {
        return incomplete(match (&place.source_file, place.lines.is_empty()) {
            (Some(_), _) => "'where.sourceFile' needs 'where.lines', or 'where.methodName'",
            (None, false) => "'where.lines' needs 'where.sourceFile'",
            (None, true) if place.type_name.is_some() => "'where.typeName' needs 'where.methodName'",
            (None, true) => "'where' names neither a line of a file nor a method",
        });
    };
    match capabilities.language {
        Language::Python | Language::Java if place.type_name.is_none() => {
            return incomplete("'where.methodName' needs 'where.typeName'");
        }
        Language::JavaScript if place.source_file.is_none() => {
            return incomplete("'where.methodName' needs 'where.sourceFile'");
        }
        _ => {}
    }
    if !capabilities.methods {
        return Err(Error::new(ErrorKind::Unsupported, "method probes are not available in this runtime"));
    }
    Ok(Location::Method {
        type_name: place.type_name.clone().unwrap_or_default(),
        method: method.clone(),
        signature: place.signature.clone(),
        file: place.source_file.clone(),
    })
}

/// Limits: those given, each missing one from `base`.
fn limits(capture: Capture, base: Limits) -> Limits {
    Limits {
        depth: capture.depth.unwrap_or(base.depth),
        elements: capture.elements.unwrap_or(base.elements),
        length: capture.length.unwrap_or(base.length),
        fields: capture.fields.unwrap_or(base.fields),
    }
}

/// What the parts of one probe share.
struct Maker<'a> {
    redacted: &'a dyn Fn(&str) -> bool,
    symbols: Symbols,
    warnings: Vec<String>,
}

impl Maker<'_> {
    fn log(&mut self, message: &Message, snapshot: bool, capture: Capture, sources: &[CaptureSource]) -> Result<Log> {
        let limits = limits(capture, Limits::default());
        self.levels(capture);
        let template = self.template("", message)?;
        let mut expressions = self.captures(sources, limits)?;
        if snapshot && !expressions.is_empty() {
            self.warnings.push("captureSnapshot wins: its captureExpressions are not evaluated".to_owned());
            expressions.clear();
        }
        Ok(Log { template, snapshot, limits, expressions })
    }

    fn captures(&mut self, sources: &[CaptureSource], base: Limits) -> Result<Vec<CaptureExpression>> {
        if sources.len() > MAX_EXPRESSIONS {
            let count = sources.len();
            return Err(invalid(format!(
                "Field 'captureExpressions' has {count} elements; {MAX_EXPRESSIONS} are allowed"
            )));
        }
        let mut made: Vec<CaptureExpression> = Vec::with_capacity(sources.len());
        for (index, source) in sources.iter().enumerate() {
            let expression = self.expression(format_args!("captureExpressions[{index}].expr"), &source.expr)?;
            self.levels(source.capture);
            let one = CaptureExpression {
                name: source.name.replace('.', "_"),
                expression,
                limits: limits(source.capture, base),
            };
            if let Some(earlier) = made.iter().position(|other| other.name == one.name) {
                self.warnings.push(format!("the capture expression '{}' occurs twice; the last counts", one.name));
                made.remove(earlier);
            }
            made.push(one);
        }
        Ok(made)
    }

    /// Says that a limit is higher than what is ever captured.
    fn levels(&mut self, capture: Capture) {
        if let Some(depth) = capture.depth.filter(|depth| *depth > MAX_LEVELS) {
            let given = if depth == u32::MAX { "what is above".to_owned() } else { depth.to_string() };
            let text = format!("maxReferenceDepth is {MAX_LEVELS} at most: {given} counts as that");
            self.warnings.push(text);
        }
    }

    fn metric(&mut self, kind: MetricKind, name: &str, value: Option<&Source>) -> Result<Metric> {
        if value.is_none() && kind != MetricKind::Count {
            return Err(invalid("Field 'value' is missing: only a COUNT can do without"));
        }
        let value = value.map(|value| self.expression("value", value)).transpose()?;
        Ok(Metric { kind, name: name.to_owned(), value })
    }

    fn decorations(&mut self, sources: &[DecorationSource]) -> Result<Vec<Decoration>> {
        if sources.is_empty() {
            return Err(invalid("Field 'decorations' is empty"));
        }
        let tags: usize = sources.iter().map(|source| source.tags.len()).sum();
        for (count, what) in [(sources.len(), "elements"), (tags, "tags")] {
            if count > MAX_TAGS {
                return Err(invalid(format!("Field 'decorations' has {count} {what}; {MAX_TAGS} are allowed")));
            }
        }
        let mut made = Vec::with_capacity(sources.len());
        let mut segments = 0_usize;
        for (index, source) in sources.iter().enumerate() {
            let when = source.when.as_ref();
            let when = when.map(|when| self.expression(format_args!("decorations[{index}].when"), when)).transpose()?;
            let mut tags = Vec::with_capacity(source.tags.len());
            for (tag, (name, message)) in source.tags.iter().enumerate() {
                let template = self.template(&format!("decorations[{index}].tags[{tag}].value."), message)?;
                let first = u16::try_from(segments);
                segments += template.segments.len();
                let too_long =
                    || invalid(format!("Field 'decorations[{index}].tags[{tag}].value' has too many segments"));
                if segments > usize::from(u16::MAX) {
                    return Err(too_long());
                }
                tags.push(Tag { name: name.clone(), value: template, first: first.map_err(|_| too_long())? });
            }
            made.push(Decoration { when, tags });
        }
        Ok(made)
    }

    /// Says where a literal was written as Python writes it: nothing can have that name there.
    fn literals(&mut self, language: Language) {
        if language != Language::Python {
            return;
        }
        for name in self.symbols.names() {
            if let Some(literal) = literal(name) {
                self.warnings.push(format!("'{name}' is no variable; write '{literal}'"));
            }
        }
    }

    fn template(&mut self, path: &str, message: &Message) -> Result<Template> {
        let Some(segments) = &message.segments else {
            let text = &message.template;
            if let Some(name) = doubled(text) {
                self.warnings.push(format!("'{{{{{name}}}}}' prints braces; write '{{{name}}}' to show the value"));
            }
            let made = Template::of_text(text, &mut self.symbols, self.redacted);
            return made.map_err(|why| expression_error(why, format_args!("{path}template"), text));
        };
        let mut made = Template::default();
        // One by one, so that an error can name its segment.
        for (index, part) in segments.iter().enumerate() {
            let (raw, dsl) = match part {
                Part::Text(text) => (RawSegment { fixed: Some(text), dsl: None, json: None }, ""),
                Part::Expression(Source { dsl, json }) => {
                    let raw = RawSegment { fixed: None, dsl: dsl.as_deref(), json: json.as_deref() };
                    (raw, dsl.as_deref().unwrap_or_default())
                }
            };
            let one = Template::of_segments([raw], &mut self.symbols, self.redacted);
            let one = one.map_err(|why| expression_error(why, format_args!("{path}segments[{index}]"), dsl))?;
            made.segments.extend(one.segments);
        }
        Ok(made)
    }

    fn expression(&mut self, field: impl fmt::Display, source: &Source) -> Result<Expression> {
        let made = Expression::compile(source.dsl.as_deref(), source.json.as_deref(), &mut self.symbols, self.redacted);
        made.map_err(|why| expression_error(why, field, source.dsl.as_deref().unwrap_or_default()))
    }
}

/// The text of the expression's error, where it stands, and what was typed there.
fn expression_error(why: impl fmt::Display, field: impl fmt::Display, dsl: &str) -> Error {
    /// Longer texts are cut: the status is for people, and they know the rest.
    const LONGEST: usize = 500;
    // It may quote a name of any length.
    let why = wire::shortened(&why.to_string(), LONGEST);
    let text = match wire::shortened(dsl.trim(), LONGEST).as_str() {
        "" => format!("{why} (in '{field}')"),
        dsl => format!("{why} (in '{field}': {dsl})"),
    };
    Error::new(ErrorKind::InvalidExpression, text)
}

/// The first name in doubled braces: usual elsewhere, here it prints braces.
fn doubled(template: &str) -> Option<&str> {
    let mut rest = template;
    while let Some((_, after)) = rest.split_once("{{") {
        let (inner, _) = after.split_once("}}")?;
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '@' | '[' | ']');
        if !inner.is_empty() && inner.chars().all(is_name) {
            return Some(inner);
        }
        rest = after;
    }
    None
}

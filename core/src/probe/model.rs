//! A checked probe: what `compile.rs` makes of a definition and what every later file reads.

use crate::capture::limits::Limits;
use crate::expr::Expression;
use crate::expr::template::Template;

/// Where a probe is asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Lines of a source file.
    Lines {
        /// The path as given.
        file: String,
        /// One to ten line numbers, from 1.
        lines: Vec<u32>,
    },
    /// A method.
    Method {
        /// `typeName`: module or class; empty where the host allows it.
        type_name: String,
        /// `methodName`.
        method: String,
        /// `signature`, to tell overloads apart.
        signature: Option<String>,
        /// `sourceFile`, where the host finds methods by file.
        file: Option<String>,
    },
}

/// When a method probe is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluateAt {
    /// At entry.
    Entry,
    /// At return or throw.
    Exit,
}

/// What a probe does.
#[derive(Debug)]
pub enum Kind {
    /// A log line or snapshot.
    Log(Log),
    /// A metric.
    Metric(Metric),
    /// A span around a method.
    Span,
    /// Tags on a span.
    SpanDecoration(Vec<Decoration>),
}

/// A log line, with or without captured values.
#[derive(Debug)]
pub struct Log {
    /// The message.
    pub template: Template,
    /// True if arguments, locals and statics are captured.
    pub snapshot: bool,
    /// Limits of the capture.
    pub limits: Limits,
    /// Captured expressions; empty if `snapshot`.
    pub expressions: Vec<CaptureExpression>,
}

impl Log {
    /// True if the probe captures values, so that the lower rate and the capturing budget apply.
    pub fn captures(&self) -> bool {
        self.snapshot || !self.expressions.is_empty()
    }
}

/// One captured expression.
#[derive(Debug)]
pub struct CaptureExpression {
    /// Its name on the wire.
    pub name: String,
    /// What is captured.
    pub expression: Expression,
    /// Limits of the capture.
    pub limits: Limits,
}

/// A metric probe.
#[derive(Debug)]
pub struct Metric {
    /// Count, gauge, histogram, distribution.
    pub kind: MetricKind,
    /// The name without prefix.
    pub name: String,
    /// The value; 1 if absent.
    pub value: Option<Expression>,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A count.
    Count,
    /// A gauge.
    Gauge,
    /// A histogram.
    Histogram,
    /// A distribution.
    Distribution,
}

/// One decoration of a span.
#[derive(Debug)]
pub struct Decoration {
    /// Applies if it holds.
    pub when: Option<Expression>,
    /// Tag names and their templates.
    pub tags: Vec<(String, Template)>,
}

/// A checked probe. Symbols of all its expressions are numbered in one list, so that a host resolves them once.
#[derive(Debug)]
pub struct Probe {
    /// Opaque id.
    pub id: String,
    /// Rises with each edit.
    pub version: i64,
    /// Where it is asked to be.
    pub location: Location,
    /// What it does.
    pub kind: Kind,
    /// Fires only if it holds.
    pub when: Option<Expression>,
    /// For method probes.
    pub evaluate_at: EvaluateAt,
    /// `key:value`, as sent in `ddtags`.
    pub tags: Vec<String>,
    /// Events a second; 0 is never.
    pub rate: f64,
    /// Milliseconds since the epoch at which it is removed.
    pub expires_at: Option<u64>,
    /// Every name that its expressions read: variables and members, numbered by [`crate::host::Symbol::index`].
    pub symbols: Vec<String>,
    /// Remarks for the log (a snapshot that wins over capture expressions, `{{name}}` in a template).
    pub warnings: Vec<String>,
}

impl Probe {
    /// True if it captures values.
    pub fn captures(&self) -> bool {
        matches!(&self.kind, Kind::Log(log) if log.captures())
    }

    /// True if an expression reads `@duration`, or the wire carries one.
    pub fn is_method(&self) -> bool {
        matches!(self.location, Location::Method { .. })
    }
}

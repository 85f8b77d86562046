//! Log templates: literal text and expressions.

use super::Expression;

/// One part of a template.
#[derive(Clone, Debug)]
pub enum Segment {
    /// Text as it is.
    Literal(String),
    /// An expression to be rendered.
    Expression(Expression),
}

/// A compiled template.
#[derive(Clone, Debug, Default)]
pub struct Template {
    /// The parts, in order.
    pub segments: Vec<Segment>,
}

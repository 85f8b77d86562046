//! Log templates: literal text and expressions.
//!
//! It stands on the walk of a configuration going in: `probe/compile.rs` comes before, with segments as they were
//! received or with a template text; `emit/message.rs` reads the segments when a hit goes out.

use super::tree::Tree;
use super::{Expression, Invalid, Symbols, text};

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

/// One segment as a definition brings it; `json` is raw JSON text.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawSegment<'a> {
    /// `str`: fixed text. It wins over the other two.
    pub fixed: Option<&'a str>,
    /// `dsl`.
    pub dsl: Option<&'a str>,
    /// `json`.
    pub json: Option<&'a str>,
}

impl Template {
    /// Compiles the `segments` of a definition. An error goes with the segment's `dsl`.
    pub fn of_segments<'a>(
        segments: impl IntoIterator<Item = RawSegment<'a>>,
        symbols: &mut Symbols,
        redacted: &dyn Fn(&str) -> bool,
    ) -> Result<Template, Invalid> {
        let compile = |segment: RawSegment<'a>| match segment.fixed {
            Some(fixed) => Ok(Segment::Literal(fixed.to_owned())),
            None => Expression::compile(segment.dsl, segment.json, symbols, redacted).map(Segment::Expression),
        };
        let segments = segments.into_iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Template { segments })
    }

    /// Compiles a template text, for a definition without `segments`.
    pub fn of_text(
        template: &str,
        symbols: &mut Symbols,
        redacted: &dyn Fn(&str) -> bool,
    ) -> Result<Template, Invalid> {
        let compile = |piece| match piece {
            Piece::Literal(fixed) => Ok(Segment::Literal(fixed)),
            Piece::Expression { text, tree } => {
                Expression::of_tree(text, tree, symbols, redacted).map(Segment::Expression)
            }
        };
        let segments = parse(template)?.into_iter().map(compile).collect::<Result<_, _>>()?;
        Ok(Template { segments })
    }
}

/// One part of a template text.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    /// Text as it is, braces undoubled.
    Literal(String),
    /// An expression.
    Expression {
        /// As it is written, without the blanks around it.
        text: String,
        /// As it is read.
        tree: Tree,
    },
}

/// Reads a template text: `{expression}`, and `{{` and `}}` for the characters. Places in errors count from the start
/// of the template.
pub fn parse(template: &str) -> Result<Vec<Piece>, Invalid> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(found) = template[at..].find(['{', '}']) {
        literal.push_str(&template[at..at + found]);
        at += found;
        let rest = &template[at..];
        if rest.starts_with("{{") || rest.starts_with("}}") {
            literal.push_str(&rest[..1]);
            at += 2;
            continue;
        }
        if rest.starts_with('}') {
            return Err(text::invalid(template, at, "a lone '}'; write '}}' for the character"));
        }
        let (tree, end) = text::parse_braced(template, at + 1)?;
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(Piece::Expression { text: template[at + 1..end].trim().to_owned(), tree });
        at = end + 1;
    }
    literal.push_str(&template[at..]);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// What to say of a template text that was likely written for another product, where `{{name}}` shows a value. Here it
/// shows braces. For a definition without `segments` only.
pub fn warning(template: &str) -> Option<String> {
    let mut rest = template;
    while let Some(found) = rest.find("{{") {
        rest = &rest[found + 2..];
        let inner = &rest[..rest.find(['{', '}']).unwrap_or(rest.len())];
        if rest[inner.len()..].starts_with("}}") && text::parse(inner).is_ok() {
            let inner = inner.trim();
            return Some(format!(
                "the template's '{{{{{inner}}}}}' shows braces; write '{{{inner}}}' to show the value"
            ));
        }
    }
    None
}

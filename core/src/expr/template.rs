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
    /// Its expressions, in order.
    pub fn expressions(&self) -> impl Iterator<Item = &Expression> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Expression(expression) => Some(expression),
        })
    }

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

#[cfg(test)]
mod tests {
    use super::{Piece, RawSegment, Segment, Template, parse, warning};
    use crate::expr::Symbols;
    use crate::expr::print::print;

    /// The pieces, expressions as their text and their printed form.
    fn pieces(template: &str) -> Vec<String> {
        let shown = |piece| match piece {
            Piece::Literal(text) => text,
            Piece::Expression { text, tree } => format!("{text} -> {}", print(&tree)),
        };
        parse(template).unwrap().into_iter().map(shown).collect()
    }

    #[track_caller]
    fn says(template: &str, what: &str) {
        assert_eq!(parse(template).unwrap_err().0, format!("Invalid expression: {what}"));
    }

    #[test]
    fn braces_hold_expressions_and_doubled_ones_are_text() {
        assert_eq!(pieces(""), Vec::<String>::new());
        assert_eq!(pieces("plain"), ["plain"]);
        assert_eq!(pieces("a { !b } c{d}{e}"), ["a ", "!b -> not(b)", " c", "d -> d", "e -> e"]);
        assert_eq!(pieces("{{a}} }}{{"), ["{a} }{"]);
        assert_eq!(pieces("{{{a}}}"), ["{", "a -> a", "}"]);
        assert_eq!(pieces("{any(l, {@it == '}'})}!"), ["any(l, {@it == '}'}) -> any(l, {@it == \"}\"})", "!"]);
        assert_eq!(pieces("☕{m[\"{\"]}☕"), ["☕", "m[\"{\"] -> m[\"{\"]", "☕"]);
    }

    #[test]
    fn places_count_from_the_start_of_the_template() {
        says("é {a", "expected '}', found the end (column 5)");
        says("é {}", "expected an expression, found '}' (column 4)");
        says("é }", "a lone '}'; write '}}' for the character (column 3)");
        says("é {a b}", "expected an operator or the end, found 'b' (column 6)");
        says("é {(a}", "expected ')' for the '(' of column 4, found '}' (column 6)");
        says("{{a}", "a lone '}'; write '}}' for the character (column 4)");
    }

    #[test]
    fn doubled_braces_around_an_expression_earn_a_warning() {
        let expected = "the template's '{{user.name}}' shows braces; write '{user.name}' to show the value";
        assert_eq!(warning("hi {{ user.name }}!").as_deref(), Some(expected));
        assert_eq!(warning("{{{a}}} {{b}}").as_deref().map(|text| text.contains("{{b}}")), Some(true));
        for template in ["{name}", "{{", "{{}}", "{{not an expression}}", "}}{{", "{{a}"] {
            assert_eq!(warning(template), None, "{template}");
        }
    }

    #[test]
    fn fixed_text_wins_and_an_empty_list_is_the_empty_message() {
        let mut symbols = Symbols::default();
        let segments = [
            RawSegment { fixed: Some("{a}"), dsl: Some("b"), json: Some(r#"{"ref": "b"}"#) },
            RawSegment { fixed: None, dsl: Some("any text"), json: Some(r#"{"ref": "c"}"#) },
            RawSegment { fixed: None, dsl: Some("d"), json: None },
        ];
        let template = Template::of_segments(segments, &mut symbols, &|_| false).unwrap();
        let texts: Vec<&str> = template
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => text.as_str(),
                Segment::Expression(expression) => expression.text.as_str(),
            })
            .collect();
        assert_eq!(texts, ["{a}", "any text", "d"]);
        assert_eq!(symbols.names(), ["c", "d"]);
        assert!(Template::of_segments([], &mut symbols, &|_| false).unwrap().segments.is_empty());
        assert!(Template::of_segments([RawSegment::default()], &mut symbols, &|_| false).is_err());
    }

    #[test]
    fn a_template_text_compiles_like_segments() {
        let mut symbols = Symbols::default();
        let template = Template::of_text("a={a} p={user.password}", &mut symbols, &|name| name == "password").unwrap();
        let Segment::Expression(last) = &template.segments[3] else { panic!("{template:?}") };
        assert_eq!((last.text.as_str(), last.redacted.as_deref()), ("user.password", Some("password")));
        assert!(Template::of_text("{matches(a, '(')}", &mut symbols, &|_| false).is_err());
    }
}

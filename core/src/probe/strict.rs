//! What the expressions of a probe may read under strict capture (*Signals and upload* 3.4): sizes, types, null-ness, and whether a
//! value equals a literal. Whatever tells more of a value (its first letter, its order, its equality with another one) is refused
//! when the definition is compiled, since a condition would tell it bit by bit. On the walk of a configuration going in, after
//! `compile.rs`; [`crate::capture::strict`] seals what is left.
//!
//! Each node is of a class, from its operands upwards; what no rule allows is refused.

use super::model::{Kind, Probe};
use crate::config::CaptureMode;
use crate::expr::Expression;
use crate::expr::tree::{Binary, Node, NodeId, Quantifier, Special, Tree, Unary};

/// What an expression tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// A value of the program: sealed where it is recorded.
    Value,
    /// A size or a time: a number of ours.
    Size,
    /// A truth that may be asked.
    Truth,
    /// A text or null of the author's.
    Literal,
    /// A number of the author's.
    Number,
}

/// Where an expression stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It decides whether something happens.
    Condition,
    /// What it yields is recorded, and sealed.
    Record,
    /// What it yields is measured, and leaves as it is.
    Measure,
}

/// Why a probe must not be installed in a mode, if so.
pub fn refuses(mode: CaptureMode, probe: &Probe) -> Option<String> {
    if mode == CaptureMode::Full {
        return None;
    }
    let judge = Judge { numbers: mode == CaptureMode::StrictNumbers };
    let refused = |of: Option<&Expression>, to: Use| of.and_then(|expression| judge.refuses(expression, to));
    refused(probe.when.as_ref(), Use::Condition).or_else(|| match &probe.kind {
        Kind::Log(log) => {
            let captured = log.expressions.iter().map(|capture| &capture.expression);
            log.template.expressions().chain(captured).find_map(|expression| refused(Some(expression), Use::Record))
        }
        Kind::Metric(metric) => refused(metric.value.as_ref(), Use::Measure),
        Kind::Span => None,
        Kind::SpanDecoration(span) => span.decorations.iter().find_map(|decoration| {
            let mut tags = decoration.tags.iter().flat_map(|tag| tag.value.expressions());
            refused(decoration.when.as_ref(), Use::Condition)
                .or_else(|| tags.find_map(|expression| refused(Some(expression), Use::Record)))
        }),
    })
}

struct Judge {
    numbers: bool,
}

impl Judge {
    fn refuses(&self, expression: &Expression, to: Use) -> Option<String> {
        let why = match self.class(&expression.tree) {
            Err(why) => why,
            Ok(class) => self.misused(class, to)?,
        };
        Some(format!(
            "Invalid expression: under strict capture {why} (in: {})",
            super::wire::shortened(&expression.text, 500)
        ))
    }

    /// Why something of a class must not be used so, if so.
    fn misused(&self, class: Class, to: Use) -> Option<String> {
        match to {
            Use::Condition if class == Class::Value => Some(TRUTH.to_owned()),
            Use::Measure if matches!(class, Class::Value | Class::Truth | Class::Literal) && !self.numbers => Some(
                "a metric measures sizes only, as in 'len(items)'; STROBE_CAPTURE=strict+numbers allows other numbers"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// The class of a whole expression, or why it is refused. Nodes stand behind their operands.
    fn class(&self, tree: &Tree) -> Result<Class, String> {
        let mut classes: Vec<Class> = Vec::with_capacity(tree.nodes.len());
        for id in 0..tree.nodes.len() as NodeId {
            let class = self.of_node(tree, id, &classes)?;
            classes.push(class);
        }
        Ok(classes.last().copied().unwrap_or(Class::Literal))
    }

    fn of_node(&self, tree: &Tree, id: NodeId, classes: &[Class]) -> Result<Class, String> {
        let class = |of: NodeId| classes.get(of as usize).copied().unwrap_or(Class::Value);
        Ok(match &tree.nodes[id as usize] {
            Node::Null | Node::Str(_) => Class::Literal,
            Node::Int(_) | Node::Big(_) | Node::Float(_) => Class::Number,
            Node::Bool(_)
            | Node::InstanceOf(..)
            | Node::Unary(Unary::IsEmpty | Unary::IsDefined | Unary::IsUndefined, _) => Class::Truth,
            Node::Special(Special::Duration) | Node::Unary(Unary::Len | Unary::Count, _) => Class::Size,
            Node::Ref(_) | Node::Special(_) | Node::Member(..) => Class::Value,
            Node::Unary(Unary::Not, of) => truth(class(*of))?,
            Node::Logic { .. } => {
                let mut refused = None;
                tree.children(id, |of| refused = refused.take().or_else(|| truth(class(of)).err()));
                refused.map_or(Ok(Class::Truth), Err)?
            }
            Node::Quantifier(quantifier, _, predicate) => {
                truth(class(*predicate))?;
                if *quantifier == Quantifier::Filter { Class::Value } else { Class::Truth }
            }
            Node::Binary(binary, left, right) => self.of_binary(*binary, class(*left), class(*right))?,
            Node::Substring(..) => return Err(letters("substring")),
        })
    }

    fn of_binary(&self, binary: Binary, left: Class, right: Class) -> Result<Class, String> {
        let is_literal = |class| matches!(class, Class::Literal | Class::Number);
        match (binary, left, right) {
            (Binary::Index, _, at) if is_literal(at) => Ok(Class::Value),
            (Binary::Index, ..) => {
                Err("an index is a literal: any other would be told by what is not there".to_owned())
            }
            (Binary::Eq | Binary::Ne, Class::Value, Class::Value | Class::Size)
            | (Binary::Eq | Binary::Ne, Class::Size, Class::Value) => {
                Err(format!("'{}' compares a value with a literal only", binary.name()))
            }
            (Binary::Eq | Binary::Ne, ..) => Ok(Class::Truth),
            (Binary::Gt | Binary::Ge | Binary::Lt | Binary::Le, left, right) => self.of_order(binary, left, right),
            (Binary::Contains, ..) => {
                Err("'contains' may tell the letters of a text; of a list write 'any(list, {@it == …})'".to_owned())
            }
            (Binary::StartsWith | Binary::EndsWith | Binary::Matches, ..) => Err(letters(binary.name())),
        }
    }

    /// Sizes have an order, and where numbers may be shown so has what is compared with one: a text is none, and fails.
    fn of_order(&self, binary: Binary, left: Class, right: Class) -> Result<Class, String> {
        let is_number = |class| matches!(class, Class::Size | Class::Number);
        let is_told = |class| is_number(class) || (self.numbers && class == Class::Value);
        if is_told(left) && is_told(right) && (is_number(left) || is_number(right)) {
            return Ok(Class::Truth);
        }
        let more = if self.numbers {
            "and numbers with literals"
        } else {
            "as in 'len(items) > 3'; STROBE_CAPTURE=strict+numbers allows numbers"
        };
        Err(format!("'{}' compares sizes only, {more}", binary.name()))
    }
}

const TRUTH: &str = "a value is compared with a literal, as in 'done == true', 'name != \"\"' or 'isEmpty(items)'";

/// What stands where a truth is wanted: a value's own truth would tell more than that it equals a literal.
fn truth(class: Class) -> Result<Class, String> {
    if class == Class::Value { Err(TRUTH.to_owned()) } else { Ok(Class::Truth) }
}

fn letters(name: &str) -> String {
    format!("'{name}' tells the letters of a text; sizes, types, null and equality with literals may be asked")
}

#[cfg(test)]
mod tests {
    use super::refuses;
    use crate::config::{CaptureMode, LogStack};
    use crate::host::{Capabilities, Language};
    use crate::probe::compile::compile;
    use crate::probe::wire::read_definition;
    use serde_json::{Value, json};

    fn refusal(mode: CaptureMode, fields: &Value) -> Option<String> {
        let capabilities = Capabilities {
            language: Language::Python,
            methods: true,
            metrics: true,
            spans: true,
            module_lines: true,
            disarm: true,
            capture_timeout_ms: 100,
            log_stack: LogStack::All,
        };
        let mut probe = json!({"id": "p", "type": "LOG_PROBE", "where": {"sourceFile": "a.py", "lines": [1]}});
        probe.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let definition = read_definition(&probe.to_string(), None).unwrap();
        refuses(mode, &compile(&definition, &|_| false, &capabilities).unwrap())
    }

    fn strict(fields: &Value) -> Option<String> {
        assert_eq!(refusal(CaptureMode::Full, fields), None);
        refusal(CaptureMode::Strict, fields)
    }

    #[test]
    fn conditions_read_sizes_types_nullness_and_equality_with_literals() {
        for (text, allowed, with_numbers) in [
            ("x == 'a'", true, true),
            ("'a' != x.y[0]['k']", true, true),
            ("x == null || !(x == true) && isDefined(x.y)", true, true),
            ("x instanceof 'Cart'", true, true),
            ("len(x) > 3 && count(x.y) <= len(z) && isEmpty(x)", true, true),
            ("len(x)", true, true),
            ("len(x) == len(y)", true, true),
            ("@duration > 2.5", true, true),
            ("any(x, {@it.name == 'a'}) || all(y, {@key != 'b' && @value == null})", true, true),
            ("len(filter(x, {@it == 1})) == 2", true, true),
            ("true", true, true),
            ("x > 3", false, true),
            ("3 >= x", false, true),
            ("x < len(y)", false, true),
            ("any(x, {@it > 3})", false, true),
            ("x > 'a'", false, false),
            ("x > y", false, false),
            ("x", false, false),
            ("!x", false, false),
            ("x && len(y) > 1", false, false),
            ("any(x, {@it})", false, false),
            ("filter(x, {@it == 1})", false, false),
            ("x == y", false, false),
            ("x == len(y)", false, false),
            ("x != x[0]", false, false),
            ("x[y] == 1", false, false),
            ("isDefined(x[y])", false, false),
            ("contains(x, 'a')", false, false),
            ("startsWith(x, 'a')", false, false),
            ("endsWith(x, 'a')", false, false),
            ("matches(x, '^a')", false, false),
            ("len(substring(x, 0, 1)) == 1", false, false),
            ("isDefined(substring(x, 7, 8))", false, false),
            ("len(filter(x, {startsWith(@it, 'a')})) == 2", false, false),
        ] {
            let when = json!({"when": {"dsl": text}});
            let why = strict(&when);
            assert_eq!(why.is_none(), allowed, "{text}: {why:?}");
            assert_eq!(refusal(CaptureMode::StrictNumbers, &when).is_none(), with_numbers, "{text}");
            if let Some(why) = why {
                assert!(why.starts_with("Invalid expression: under strict capture "), "{why}");
                assert!(why.ends_with(&format!("(in: {text})")), "{why}");
            }
        }
    }

    #[test]
    fn what_is_recorded_may_be_any_value_that_is_named_and_nothing_made_of_it() {
        for (text, allowed) in [
            ("x", true),
            ("x.y[0]", true),
            ("len(x)", true),
            ("filter(x, {@it.name == 'a'})", true),
            ("'abc'", true),
            ("substring(x, 0, 1)", false),
            ("startsWith(x, 'a')", false),
            ("x[i]", false),
            ("x > 3", false),
        ] {
            let captured = json!({"captureExpressions": [{"name": "a", "expr": {"dsl": text}}]});
            assert_eq!(strict(&captured).is_none(), allowed, "{text}");
            let message = json!({"segments": [{"str": "is "}, {"dsl": text}]});
            assert_eq!(strict(&message).is_none(), allowed, "{text}");
            let tag = json!({"name": "t", "value": {"segments": [{"dsl": text}]}});
            let decorated = json!({"type": "SPAN_DECORATION_PROBE", "decorations": [{"tags": [tag]}]});
            assert_eq!(strict(&decorated).is_none(), allowed, "{text}");
        }
        assert_eq!(strict(&json!({"captureSnapshot": true, "template": "here"})), None);
        let when = json!({"type": "SPAN_DECORATION_PROBE", "decorations": [{"when": {"dsl": "x > 1"}, "tags": []}]});
        assert!(strict(&when).is_some());
    }

    #[test]
    fn a_metric_measures_sizes_and_other_numbers_only_where_they_may_be_shown() {
        let metric = |value: Value| json!({"type": "METRIC_PROBE", "kind": "COUNT", "metricName": "m", "value": value});
        for (text, allowed, with_numbers) in [
            ("len(x)", true, true),
            ("count(filter(x, {@it == 'a'}))", true, true),
            ("@duration", true, true),
            ("1", true, true),
            ("x", false, true),
            ("isEmpty(x)", false, true),
            ("x[0].price", false, true),
            ("substring(x, 0, 1)", false, false),
        ] {
            let fields = metric(json!({"dsl": text}));
            assert_eq!(strict(&fields).is_none(), allowed, "{text}");
            assert_eq!(refusal(CaptureMode::StrictNumbers, &fields).is_none(), with_numbers, "{text}");
        }
        assert_eq!(strict(&metric(Value::Null)), None);
    }
}

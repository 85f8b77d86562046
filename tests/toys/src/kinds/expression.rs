//! `eval`, `condition` and `metric`: an expression over variables, in both hosts.

use crate::event;
use crate::inside::{Handle, Place, made};
use crate::json::Json;
use crate::outside::Code;
use crate::runner::{Vector, Verdict};
use crate::value::{Dialect, Made, Node, World};
use std::sync::Arc;
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::clock::ManualClock;
use stroboscope_core::expr::eval::{self, Budget, Failure, Measured, Names, Scope, Scratch};
use stroboscope_core::expr::{Expression, Symbols, decode, print, text};
use stroboscope_core::intake::Judge;
use stroboscope_core::probe::model::MetricKind;
use stroboscope_core::record::names::Tables;

/// Nanoseconds of one evaluation.
const EVALUATION: u64 = 50_000_000;

/// What came of an expression: the value in canonical text, or the category of the error.
pub type Ran = Result<String, String>;

/// An expression over a world, ready to be run.
pub struct Case {
    /// The values.
    pub world: World,
    /// The rules.
    pub redaction: Redaction,
    /// The compiled expression, or why there is none.
    pub compiled: Result<Expression, String>,
    /// Its symbols.
    pub symbols: Vec<String>,
}

impl Case {
    /// The case of a vector; an error if the vector itself is wrong.
    pub fn new(vector: &Vector) -> Result<Option<Case>, String> {
        let dialect = match vector.text("host").as_deref() {
            None => Dialect::Neutral,
            Some("python") => Dialect::Python,
            Some("node") => Dialect::Node,
            Some(_) => return Ok(None),
        };
        let redaction = event::redaction(vector)?;
        if dialect == Dialect::Python && event::redacts_built_in(&redaction) {
            return Ok(None);
        }
        let vars = vector.json("vars")?.unwrap_or(Json::Null);
        let world = World::new(&vars, dialect, &redaction)?;
        let json = wrapped(vector)?;
        same_forms(vector)?;
        let mut symbols = Symbols::default();
        let compiled = Expression::compile(vector.text("dsl").as_deref(), json.as_deref(), &mut symbols, &|name| {
            redaction.name(name)
        });
        let compiled = compiled.map_err(|invalid| invalid.0);
        Ok(Some(Case { world, redaction, compiled, symbols: symbols.into_names() }))
    }

    /// The case of a text form over a world.
    pub fn of_text(text: &str, world: World, redaction: Redaction) -> Case {
        let mut symbols = Symbols::default();
        let compiled = Expression::compile(Some(text), None, &mut symbols, &|name| redaction.name(name));
        Case { world, redaction, compiled: compiled.map_err(|invalid| invalid.0), symbols: symbols.into_names() }
    }

    /// What an expression sees: the specials are variables of the world.
    pub fn scope<'a, 'f>(place: &'a Place<'f>) -> Scope<'a, Place<'f>, Handle<'f>> {
        let world = place.0;
        let special = |name: &str| world.var(name).map(|id| Handle { world, id });
        let duration = special("@duration").and_then(|handle| match world.node(handle.id) {
            Node::Float(value) => Some(*value),
            _ => None,
        });
        Scope { frame: place, returned: special("@return"), exception: special("@exception"), duration }
    }

    /// Runs it in the inside host, by `with`; a failure must survive the record and have a text without values.
    fn inside<T>(
        &self,
        with: impl for<'f> FnOnce(
            &'f Expression,
            &Scope<'_, Place<'f>, Handle<'f>>,
            &'f [String],
            &mut Budget<'_>,
        ) -> Result<T, Failure>,
    ) -> Result<T, String> {
        let Ok(expression) = &self.compiled else { return Err("syntax".to_owned()) };
        let place = Place(&self.world);
        let scope = Case::scope(&place);
        let clock = ManualClock::new(Duration::ZERO);
        let mut scratch = Scratch::default();
        let mut budget = Budget::new(&clock, EVALUATION, &self.redaction, &mut scratch);
        with(expression, &scope, &self.symbols, &mut budget).map_err(|failure| {
            let mut bytes = Vec::new();
            failure.encode(&mut bytes);
            let mut rest = bytes.as_slice();
            if Failure::decode(&mut rest) != Some(failure) || !rest.is_empty() {
                return format!("a record that loses {failure:?}");
            }
            let type_name = |_: u32| "T".to_owned();
            let names = Names { expression, symbols: &self.symbols, type_name: &type_name, milliseconds: 50 };
            if failure.text(&names).is_empty() {
                return format!("no text for {failure:?}");
            }
            failure.category().name().to_owned()
        })
    }

    /// The value in the inside host.
    pub fn value_inside(&self) -> Result<Made, String> {
        self.inside(|expression, scope, symbols, budget| {
            eval::evaluate(expression, symbols, scope, budget).map(|operand| made(&operand))
        })
    }

    /// Whether the condition holds in the inside host.
    pub fn holds_inside(&self) -> Result<bool, String> {
        self.inside(|expression, scope, symbols, budget| eval::holds(expression, symbols, scope, budget))
    }

    /// The number of a metric.
    pub fn number_inside(&self, kind: MetricKind) -> Result<Made, String> {
        let measured =
            self.inside(|expression, scope, symbols, budget| eval::number(expression, symbols, scope, budget, kind))?;
        Ok(number(measured))
    }

    /// The number of a metric in the outside host.
    pub fn number_outside(&self, kind: MetricKind) -> Result<Made, String> {
        self.outside(|code, world, judge| code.number(world, judge, kind)).map(number)
    }

    /// Runs it in the outside host, by `with`.
    fn outside<T>(&self, with: impl FnOnce(&Code, &World, &mut Judge) -> Result<T, Failure>) -> Result<T, String> {
        let Ok(expression) = &self.compiled else { return Err("syntax".to_owned()) };
        let code = Code::of(expression, &self.symbols)?;
        let mut judge = Judge::new(Arc::new(Tables::new(Arc::new(self.redaction.clone()))));
        with(&code, &self.world, &mut judge).map_err(|failure| failure.category().name().to_owned())
    }

    /// The value in the outside host.
    pub fn value_outside(&self) -> Result<Made, String> {
        self.outside(Code::run)
    }

    /// Whether the condition holds in the outside host.
    pub fn holds_outside(&self) -> Result<bool, String> {
        self.outside(Code::holds)
    }

    /// A failure has one sentence, whichever host it happened in.
    fn same_failures(&self) -> Result<(), String> {
        let place = Place(&self.world);
        let Ok(expression) = &self.compiled else { return Ok(()) };
        let clock = ManualClock::new(Duration::ZERO);
        let mut scratch = Scratch::default();
        let mut budget = Budget::new(&clock, EVALUATION, &self.redaction, &mut scratch);
        let inside = eval::evaluate(expression, &self.symbols, &Case::scope(&place), &mut budget).err();
        let mut outside = None;
        let _ = self.outside(|code, world, judge| {
            code.run(world, judge).inspect_err(|&failure| {
                outside = Some(failure);
            })
        });
        if inside == outside {
            Ok(())
        } else {
            Err(format!("the hosts fail differently: {inside:?} inside, {outside:?} outside"))
        }
    }

    /// A value in canonical text.
    pub fn canonical(&self, outcome: Result<Made, String>) -> Ran {
        outcome.map(|value| self.world.encode(&value, true))
    }

    fn expected(&self, value: &Json) -> Result<String, String> {
        let mut world = World::new(&Json::Null, Dialect::Neutral, &self.redaction)?;
        let id = world.add(value, &self.redaction)?;
        Ok(world.encode(&Made::Node(id), true))
    }
}

fn number(measured: Measured) -> Made {
    match measured {
        Measured::Int(value) => Made::Int(value.into()),
        Measured::Float(value) => Made::Float(value),
    }
}

/// Fails if the two forms of the expression are two expressions, or if there is none. A text may be only what people read:
/// then it does not parse.
fn same_forms(vector: &Vector) -> Result<(), String> {
    let (text, json) = (vector.text("dsl"), vector.raw("json"));
    let (Some(text), Some(json)) = (&text, json) else {
        return if text.is_some() || json.is_some() { Ok(()) } else { Err("there is no expression".to_owned()) };
    };
    if vector.raw("wrap").is_some() {
        return Ok(());
    }
    match (text::parse(text), decode::decode(json)) {
        (Ok(from_text), Ok(from_json)) if print::print(&from_text) != print::print(&from_json) => Err(format!(
            "dsl and json are two expressions: {} and {}",
            print::print(&from_text),
            print::print(&from_json)
        )),
        _ => Ok(()),
    }
}

/// The JSON form, wrapped as often as the vector says.
fn wrapped(vector: &Vector) -> Result<Option<String>, String> {
    let Some(json) = vector.raw("json") else { return Ok(None) };
    let Some(wrap) = vector.json("wrap")? else { return Ok(Some(json.to_owned())) };
    let op = wrap.get("op").and_then(Json::text).ok_or("wrap without op")?;
    let Some(Json::Int(times)) = wrap.get("times") else { return Err("wrap without times".to_owned()) };
    let times = usize::try_from(*times).map_err(|_| "wrap with bad times")?;
    let (open, close) = match wrap.get("with") {
        None => (format!("{{\"{op}\": "), "}".to_owned()),
        Some(Json::Bool(with)) => (format!("{{\"{op}\": ["), format!(", {with}]}}")),
        Some(_) => return Err("wrap with something else than a boolean".to_owned()),
    };
    Ok(Some(format!("{}{json}{}", open.repeat(times), close.repeat(times))))
}

/// Compares what came with what was expected.
pub fn compare(host: &str, expect: &Json, ran: &Ran, value: Option<String>) -> Result<(), String> {
    if let Some(category) = expect.get("error").and_then(Json::text) {
        return match ran {
            Err(came) if came == category || category == "any" => Ok(()),
            other => Err(format!("{host}: expected the error {category}, got {}", shown(other))),
        };
    }
    let wanted = value.ok_or("the vector expects nothing that is known")?;
    if ran.as_ref() == Ok(&wanted) { Ok(()) } else { Err(format!("{host}: expected {wanted}, got {}", shown(ran))) }
}

fn shown(ran: &Ran) -> String {
    match ran {
        Ok(value) => value.clone(),
        Err(category) => format!("the error {category}"),
    }
}

fn other_host() -> Verdict {
    Verdict::Skipped("for a host, or built-in classes, that no toy plays".to_owned())
}

/// `eval`.
pub fn eval(vector: &Vector) -> Result<Verdict, String> {
    let Some(case) = Case::new(vector)? else { return Ok(other_host()) };
    let expect = vector.json("expect")?.unwrap_or(Json::Null);
    let value = expect.get("value").map(|value| case.expected(value)).transpose()?;
    for (host, outcome) in [("inside", case.value_inside()), ("outside", case.value_outside())] {
        compare(host, &expect, &case.canonical(outcome), value.clone())?;
    }
    case.same_failures()?;
    Ok(Verdict::Passed)
}

/// `condition`.
pub fn condition(vector: &Vector) -> Result<Verdict, String> {
    let Some(case) = Case::new(vector)? else { return Ok(other_host()) };
    let expect = vector.json("expect")?.unwrap_or(Json::Null);
    let fires = match expect.get("fires") {
        Some(Json::Bool(fires)) => Some(fires.to_string()),
        _ => None,
    };
    for (host, outcome) in [("inside", case.holds_inside()), ("outside", case.holds_outside())] {
        compare(host, &expect, &outcome.map(|holds| holds.to_string()), fires.clone())?;
    }
    Ok(Verdict::Passed)
}

/// `metric`: the number is made by the core, in the outside host from what its code has yielded.
pub fn metric(vector: &Vector) -> Result<Verdict, String> {
    let Some(case) = Case::new(vector)? else { return Ok(other_host()) };
    let expect = vector.json("expect")?.unwrap_or(Json::Null);
    let kind = match vector.text("metric_kind").as_deref() {
        Some("COUNT") => MetricKind::Count,
        Some("HISTOGRAM") => MetricKind::Histogram,
        Some("DISTRIBUTION") => MetricKind::Distribution,
        _ => MetricKind::Gauge,
    };
    let value = expect.get("value").map(|value| case.expected(value)).transpose()?;
    for (host, outcome) in [("inside", case.number_inside(kind)), ("outside", case.number_outside(kind))] {
        compare(host, &expect, &case.canonical(outcome), value.clone())?;
    }
    Ok(Verdict::Passed)
}

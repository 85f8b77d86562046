//! Doors for the vectors of `tests/vectors`: expressions, templates and captures over real Python objects, through the same
//! adapters and the same core as a probe's hit, without a session. On neither walk; the names begin with `_test_`.

use crate::exception;
use crate::names::{self, Held};
use crate::numpy;
use crate::object::{Owned, Ref};
use crate::selftest::borrow;
use crate::value::PyValue;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use stroboscope_core::budget::gate::Gate;
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::capture::walk::{self, Deadline, WalkContext};
use stroboscope_core::clock::ManualClock;
use stroboscope_core::emit::event::RenderContext;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::render;
use stroboscope_core::expr::eval::{self, Budget, Failure, Measured, Names, Operand, Scope, Scratch};
use stroboscope_core::expr::template::{RawSegment, Segment, Template};
use stroboscope_core::expr::{Expression, Symbols, decode, print, text};
use stroboscope_core::host::{
    Child, Frame, FrameText, Language, Name, Section, Site, StackFrame, Symbol, ThreadInfo, Value, View,
};
use stroboscope_core::probe::model::{Log, MetricKind, Probe};
use stroboscope_core::record::names::Tables;
use stroboscope_core::record::write::{Header, Place, Point, Writer};
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::text::Text;

/// Nanoseconds of one evaluation; the clock stands still, so that only the counts end one.
const EVALUATION: u64 = 50_000_000;

/// Added names, excluded names, types.
type Rules = (Vec<String>, Vec<String>, Vec<String>);

/// The tables of the last call, with its rules.
static TABLES: Held<Option<(Rules, Arc<Tables>)>> = Held::new(None);

/// Tables under these rules, in use from now on.
fn with_rules(rules: Rules) -> PyResult<Arc<Tables>> {
    if crate::session::is_running() {
        return Err(PyRuntimeError::new_err("a session is running, and its names are in use"));
    }
    let kept = TABLES.with(|kept| match kept {
        Some((known, tables)) if *known == rules => Some(Arc::clone(tables)),
        _ => None,
    });
    let kept = kept.flatten();
    let in_use = names::tables();
    if let (Some(kept), Some(in_use)) = (&kept, &in_use)
        && Arc::ptr_eq(kept, in_use)
    {
        return Ok(Arc::clone(kept));
    }
    let tables = Arc::new(Tables::new(Arc::new(Redaction::new(&rules.0, &rules.1, &rules.2))));
    names::use_tables(Some(Arc::clone(&tables)));
    TABLES.with(|kept| *kept = Some((rules, Arc::clone(&tables))));
    Ok(tables)
}

/// The place of a hit whose variables are the entries of a dictionary.
struct Variables<'f>(Ref<'f>);

impl<'f> Variables<'f> {
    fn find(&self, name: &str) -> Option<PyValue<'f>> {
        let name = Owned::text(Text::Utf8(name))?;
        self.0.dict_get(name.borrow()).map(PyValue::Object)
    }

    fn scope(&self) -> Scope<'_, Self, PyValue<'f>> {
        let duration = match self.find("@duration").map(Value::view) {
            Some(View::Float(milliseconds)) => Some(milliseconds),
            _ => None,
        };
        Scope { frame: self, returned: self.find("@return"), exception: self.find("@exception"), duration }
    }
}

impl<'f> Frame<'f> for Variables<'f> {
    type Value = PyValue<'f>;

    fn variable(&self, symbol: Symbol<'_>) -> Child<PyValue<'f>> {
        self.find(symbol.name).map_or(Child::Absent, Child::Present)
    }

    fn section<F: FnMut(Name<'f>, PyValue<'f>) -> ControlFlow<()>>(&self, section: Section, mut visit: F) {
        if section == Section::Arguments {
            self.0.dict_entries(|key, value| visit(names::name(key), PyValue::Object(value)).is_continue());
        }
    }

    fn stack(&self, _frames: &mut [StackFrame]) -> usize {
        0
    }

    fn thread(&self) -> ThreadInfo {
        ThreadInfo::default()
    }
}

fn variables_of<'a>(variables: &'a Bound<'_, PyDict>) -> PyResult<Variables<'a>> {
    numpy::forget();
    exception::forget();
    borrow(variables.as_any()).map(Variables).ok_or_else(|| PyValueError::new_err("null"))
}

fn host<'py>(py: Python<'py>, value: PyValue<'_>) -> PyResult<Bound<'py, PyAny>> {
    if let PyValue::Object(object) = value {
        // SAFETY: a live object; a new reference to it is made.
        return Ok(unsafe { Bound::from_borrowed_ptr(py, object.pointer()) });
    }
    Ok(match value.view() {
        View::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        View::Int(value) => value.into_pyobject(py)?.into_any(),
        View::Float(value) => value.into_pyobject(py)?.into_any(),
        View::Str(text) => PyString::new(py, &text.to_text()).into_any(),
        View::Big(big) => {
            let value = big.digits.iter().rev().fold(0u64, |value, digit| value << 32 | u64::from(*digit));
            value.into_pyobject(py)?.into_any()
        }
        _ => return Err(PyValueError::new_err("a value without an object")),
    })
}

/// What an expression gave, for Python. Sets and maps come as tuples that begin with `$set` and `$map`, so that nothing is
/// hashed.
fn made<'py>(py: Python<'py>, operand: &Operand<'_, PyValue<'_>>) -> PyResult<Bound<'py, PyAny>> {
    let tagged = |tag: &str, items: Bound<'py, PyList>| -> PyResult<Bound<'py, PyAny>> {
        Ok(PyTuple::new(py, [PyString::new(py, tag).into_any(), items.into_any()])?.into_any())
    };
    Ok(match operand {
        Operand::Host(value) => host(py, *value)?,
        Operand::Null => py.None().into_bound(py),
        Operand::Bool(value) => value.into_pyobject(py)?.to_owned().into_any(),
        Operand::Int(value) => value.into_pyobject(py)?.into_any(),
        Operand::Big(value) => py.get_type::<pyo3::types::PyInt>().call1((value.to_string(),))?,
        Operand::Float(value) => value.into_pyobject(py)?.into_any(),
        Operand::Text(text) => match Owned::text(*text) {
            // SAFETY: a live string; a new reference to it is made.
            Some(text) => unsafe { Bound::from_borrowed_ptr(py, text.borrow().pointer()) },
            None => return Err(PyValueError::new_err("no memory for a text")),
        },
        Operand::List(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(made(py, item)?)?;
            }
            list.into_any()
        }
        Operand::Set(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(host(py, *item)?)?;
            }
            tagged("$set", list)?
        }
        Operand::Map(entries) => {
            let list = PyList::empty(py);
            for (key, value) in entries {
                list.append((host(py, *key)?, host(py, *value)?))?;
            }
            tagged("$map", list)?
        }
    })
}

/// What came of an expression: `("value", value, "")` or `("error", category, text)`.
type Outcome<'py> = (&'static str, Bound<'py, PyAny>, String);

/// Evaluates an expression over the entries of a dictionary. `kind`: `eval`, `condition`, or the kind of a metric.
#[pyfunction]
#[pyo3(signature = (kind, variables, json = None, dsl = None, rules = None))]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
pub fn _test_evaluate<'py>(
    kind: &str,
    variables: &Bound<'py, PyDict>,
    json: Option<&str>,
    dsl: Option<&str>,
    rules: Option<Rules>,
) -> PyResult<Outcome<'py>> {
    let py = variables.py();
    let tables = with_rules(rules.unwrap_or_default())?;
    let redaction = tables.redaction();
    let error = |category: &str, text: String| Ok(("error", PyString::new(py, category).into_any(), text));
    let mut symbols = Symbols::default();
    let expression = match Expression::compile(dsl, json, &mut symbols, &|name| redaction.name(name)) {
        Ok(expression) => expression,
        Err(invalid) => return error("syntax", invalid.0),
    };
    let symbols = symbols.into_names();
    let place = variables_of(variables)?;
    let scope = place.scope();
    let clock = ManualClock::new(Duration::ZERO);
    let mut scratch = Scratch::default();
    let mut budget = Budget::new(&clock, EVALUATION, redaction, &mut scratch);
    let outcome = match kind {
        "eval" => eval::evaluate(&expression, &symbols, &scope, &mut budget).map(|operand| made(py, &operand)),
        "condition" => {
            eval::holds(&expression, &symbols, &scope, &mut budget).map(|holds| made(py, &Operand::Bool(holds)))
        }
        metric => {
            let metric = match metric {
                "COUNT" => MetricKind::Count,
                "HISTOGRAM" => MetricKind::Histogram,
                "DISTRIBUTION" => MetricKind::Distribution,
                _ => MetricKind::Gauge,
            };
            eval::number(&expression, &symbols, &scope, &mut budget, metric).map(|measured| match measured {
                Measured::Int(value) => made(py, &Operand::Int(value)),
                Measured::Float(value) => made(py, &Operand::Float(value)),
            })
        }
    };
    match outcome {
        Ok(value) => Ok(("value", value?, String::new())),
        Err(failure) => error(failure.category().name(), failure_text(&failure, &expression, &symbols, &tables)),
    }
}

fn failure_text(failure: &Failure, expression: &Expression, symbols: &[String], tables: &Tables) -> String {
    let type_name = |id: u32| tables.type_name(id).unwrap_or("?").to_owned();
    failure.text(&Names { expression, symbols, type_name: &type_name, milliseconds: 50 })
}

/// Writes the record that a line probe's hit would write.
fn record(
    place: &Variables<'_>,
    template: &Template,
    symbols: &[String],
    limits: Option<&Limits>,
    redaction: &Redaction,
) -> Vec<u8> {
    let clock = ManualClock::new(Duration::ZERO);
    let cx = WalkContext { redaction, clock: &clock, deadline: Deadline::At(u64::MAX), computed: false, strict: None };
    let mut writer = Writer::new();
    writer.begin(&Header { wall: 1_790_000_000_123_000_000, event_id: [7; 16], ..Header::default() });
    let scope = place.scope();
    for (index, segment) in template.segments.iter().enumerate() {
        let Segment::Expression(expression) = segment else { continue };
        let index = u16::try_from(index).unwrap_or(u16::MAX);
        let mut scratch = Scratch::default();
        let mut budget = Budget::new(&clock, EVALUATION, redaction, &mut scratch);
        match eval::evaluate(expression, symbols, &scope, &mut budget) {
            Ok(operand) => walk::message(&mut writer, &cx, index, &operand),
            Err(failure) => writer.failure(Place::Segment(index), |out| failure.encode(out)),
        }
    }
    if let Some(limits) = limits {
        writer.point(Point::Line(1));
        walk::section(&mut writer, &cx, place, Section::Arguments, limits);
        writer.end_point();
    }
    writer.stack(place);
    writer.finish().to_vec()
}

fn live(template: Template, symbols: Vec<String>, limits: Option<Limits>) -> LiveProbe {
    let log = Log { template, snapshot: limits.is_some(), limits: limits.unwrap_or_default(), expressions: Vec::new() };
    let probe = Probe::alone(log, None, symbols, "vectors.py");
    let live = LiveProbe::new(Arc::new(probe), 0, Gate::new(1), None, false);
    live.set_site(Site { file: "/srv/vectors.py".to_owned(), lines: vec![1], ..Site::default() });
    live
}

/// `str`, `dsl` and raw `json` of a template's segment.
type Written = (Option<String>, Option<String>, Option<String>);

/// The event of a hit whose variables are the entries of a dictionary. `limits`: depth, elements, length, fields; without
/// them nothing is captured.
#[pyfunction]
#[pyo3(signature = (variables, segments = None, limits = None, rules = None))]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
pub fn _test_event(
    variables: &Bound<'_, PyDict>,
    segments: Option<Vec<Written>>,
    limits: Option<(u32, u32, u32, u32)>,
    rules: Option<Rules>,
) -> PyResult<String> {
    let tables = with_rules(rules.unwrap_or_default())?;
    let redaction = tables.redaction();
    let segments = segments.unwrap_or_default();
    let raw = segments.iter().map(|(fixed, dsl, json)| RawSegment {
        fixed: fixed.as_deref(),
        dsl: dsl.as_deref(),
        json: json.as_deref(),
    });
    let mut symbols = Symbols::default();
    let template = Template::of_segments(raw, &mut symbols, &|name| redaction.name(name));
    let template = template.map_err(|invalid| PyValueError::new_err(invalid.0))?;
    let symbols = symbols.into_names();
    let limits = limits.map(|(depth, elements, length, fields)| Limits { depth, elements, length, fields });
    let record = record(&variables_of(variables)?, &template, &symbols, limits.as_ref(), redaction);
    let live = live(template, symbols, limits);
    let identity = Identity { service: "vectors".to_owned(), ..Identity::default() };
    let cx = RenderContext {
        identity: &identity,
        language: Language::Python,
        tables: &tables,
        live: &live,
        describe_frame: &|_| FrameText::default(),
        evaluation_ms: 50,
    };
    let event = render::render(&record, &cx).map_err(|error| PyValueError::new_err(error.to_string()))?;
    String::from_utf8(event.json).map_err(|error| PyValueError::new_err(error.to_string()))
}

/// The text form that the core prints for a tree, written as JSON or as text. An error says why it is none.
#[pyfunction]
#[pyo3(signature = (json = None, source = None))]
pub fn _test_print(json: Option<&str>, source: Option<&str>) -> PyResult<String> {
    let tree = match (json, source) {
        (Some(json), _) => decode::decode(json),
        (None, Some(source)) => text::parse(source),
        (None, None) => return Err(PyValueError::new_err("nothing to print")),
    };
    tree.map(|tree| print::print(&tree)).map_err(|invalid| PyValueError::new_err(invalid.0))
}

/// True if a text form gives the tree of a JSON form.
#[pyfunction]
pub fn _test_parses_to(source: &str, json: &str) -> PyResult<bool> {
    let parsed = text::parse(source).map_err(|invalid| PyValueError::new_err(invalid.0))?;
    let decoded = decode::decode(json).map_err(|invalid| PyValueError::new_err(invalid.0))?;
    Ok(parsed == decoded)
}

//! Doors for the vectors of `tests/vectors`: expressions, templates and captures over real JavaScript values, through the same code
//! as a probe's hit, without a session. On neither walk; `test/run-vectors.mjs` calls them.

use crate::error;
use crate::hit_code::{self, Hit, Names, Scope, Variable};
use crate::intake;
use crate::program::Answer;
use napi_derive::napi;
use std::cell::RefCell;
use std::sync::Arc;
use stroboscope_core::budget::gate::Gate;
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::emit::event::RenderContext;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::emit::render;
use stroboscope_core::expr::eval;
use stroboscope_core::expr::template::{RawSegment, Template};
use stroboscope_core::expr::{Expression, Symbols, decode, print, text};
use stroboscope_core::host::{FrameText, Language, Section, Site};
use stroboscope_core::intake::Judge;
use stroboscope_core::probe::model::{Log, Probe};
use stroboscope_core::record::names::Tables;
use stroboscope_core::registry::LiveProbe;

/// Nanoseconds of a capture and of an evaluation: neither ends for want of time, however busy the machine is.
pub const LIMITS: (u64, u64) = (60_000_000_000, 60_000_000_000);

/// What stands in for a session while vectors run.
pub struct Bench {
    /// Names and their verdicts.
    pub judge: Judge,
    /// The probe.
    pub live: Arc<LiveProbe>,
    /// The record that was handed over last.
    pub record: Vec<u8>,
    tables: Arc<Tables>,
}

thread_local! {
    static BENCH: RefCell<Option<Bench>> = const { RefCell::new(None) };
}

/// Uses the bench of this thread; `None` if no vectors run.
pub fn with<R>(use_it: impl FnOnce(&mut Bench) -> R) -> Option<R> {
    BENCH.with_borrow_mut(|bench| bench.as_mut().map(use_it))
}

/// Which names and types are secrets.
#[napi(object)]
pub struct Rules {
    /// Names that are added.
    pub redacted_identifiers: Vec<String>,
    /// Names that are taken out.
    pub redaction_excluded_identifiers: Vec<String>,
    /// Types.
    pub redacted_types: Vec<String>,
}

impl Rules {
    fn tables(&self) -> Arc<Tables> {
        let redaction =
            Redaction::new(&self.redacted_identifiers, &self.redaction_excluded_identifiers, &self.redacted_types);
        Arc::new(Tables::new(Arc::new(redaction)))
    }
}

/// An expression, compiled.
#[napi(object)]
pub struct Compiled {
    /// Why it cannot be: then the rest is empty.
    pub refused: Option<String>,
    /// JavaScript of a function that, called with the helpers, gives the expression's.
    pub code: String,
    /// The variables that it takes, in order.
    pub variables: Vec<String>,
}

fn log(template: Template, limits: Option<Limits>) -> Log {
    Log { template, snapshot: limits.is_some(), limits: limits.unwrap_or_default(), expressions: Vec::new() }
}

fn live(log: Log, when: Option<Expression>, symbols: Vec<String>) -> Arc<LiveProbe> {
    let probe = Probe::alone(log, when, symbols, "vectors.js");
    let live = LiveProbe::new(Arc::new(probe), 0, Gate::new(1), None, false);
    live.set_site(Site { file: "/srv/vectors.js".to_owned(), lines: vec![1], ..Site::default() });
    Arc::new(live)
}

fn begin(live: Arc<LiveProbe>, tables: Arc<Tables>) {
    let judge = Judge::new(Arc::clone(&tables));
    BENCH.set(Some(Bench { judge, live, record: Vec::new(), tables }));
}

/// Compiles an expression. `truth`: its truth value is asked for.
#[napi]
pub fn test_expression(truth: bool, json: Option<String>, dsl: Option<String>, rules: Rules) -> Compiled {
    let tables = rules.tables();
    let mut symbols = Symbols::default();
    let redacted = |name: &str| tables.redaction().name(name);
    let expression = match Expression::compile(dsl.as_deref(), json.as_deref(), &mut symbols, &redacted) {
        Ok(expression) => expression,
        Err(invalid) => return Compiled { refused: Some(invalid.0), code: String::new(), variables: Vec::new() },
    };
    let symbols = symbols.into_names();
    let answer = if truth { Answer::Truth } else { Answer::Value };
    let code = hit_code::expression_alone(&expression, &symbols, answer);
    let variables = crate::program::variables(&expression).into_iter();
    let variables = variables.filter_map(|symbol| symbols.get(symbol as usize).cloned()).collect();
    begin(live(log(Template::default(), None), Some(expression), symbols), tables);
    Compiled { refused: None, code, variables }
}

/// Category and sentence of what has failed last.
#[napi]
pub fn test_failure() -> Vec<String> {
    let failure = intake::last();
    let sentence = with(|bench| {
        let probe = &bench.live.probe;
        let type_name = |id: u32| bench.tables.type_name(id).unwrap_or("?").to_owned();
        probe.when.as_ref().map(|expression| {
            failure.text(&eval::Names { expression, symbols: &probe.symbols, type_name: &type_name, milliseconds: 50 })
        })
    });
    vec![failure.category().name().to_owned(), sentence.flatten().unwrap_or_default()]
}

/// A template's segment.
#[napi(object)]
pub struct Written {
    /// `str`.
    pub fixed: Option<String>,
    /// `dsl`.
    pub dsl: Option<String>,
    /// Raw `json`.
    pub json: Option<String>,
}

/// The code of a hit.
#[napi(object)]
pub struct Code {
    /// Why the template is none: then the rest is empty.
    pub refused: Option<String>,
    /// [`Hit::setup`].
    pub setup: String,
    /// [`Hit::line`].
    pub line: String,
}

/// The code of a line probe over variables that stand in an object `V`. `limits`: depth, elements, length, fields; without them
/// nothing is captured.
#[napi]
pub fn test_hit(segments: Vec<Written>, limits: Option<Vec<u32>>, variables: Vec<String>, rules: Rules) -> Code {
    let tables = rules.tables();
    let raw = segments.iter().map(|segment| RawSegment {
        fixed: segment.fixed.as_deref(),
        dsl: segment.dsl.as_deref(),
        json: segment.json.as_deref(),
    });
    let mut symbols = Symbols::default();
    let template = match Template::of_segments(raw, &mut symbols, &|name| tables.redaction().name(name)) {
        Ok(template) => template,
        Err(invalid) => return Code { refused: Some(invalid.0), setup: String::new(), line: String::new() },
    };
    let limits = limits.as_deref().and_then(|limits| match limits {
        &[depth, elements, length, fields] => Some(Limits { depth, elements, length, fields }),
        _ => None,
    });
    let live = live(log(template, limits), None, symbols.into_names());
    let variables = variables.into_iter().map(|name| Variable {
        read: format!("V[{}]", crate::program::text(&name)),
        name,
        section: Some(Section::Arguments),
    });
    let scope = Scope { variables: variables.collect(), privates: Vec::new() };
    let names = Names { s: "$s".to_owned(), hit: "h0".to_owned(), entry: String::new(), raised: None };
    let hit = Hit::at_line(&live.probe, &scope, &names, 1);
    let code = Code { refused: None, setup: hit.setup.clone(), line: hit.line() };
    begin(live, tables);
    code
}

/// The event of the record that was handed over last.
#[napi]
pub fn test_event() -> napi::Result<String> {
    let rendered = with(|bench| {
        let identity = Identity { service: "vectors".to_owned(), ..Identity::default() };
        let cx = RenderContext {
            identity: &identity,
            language: Language::JavaScript,
            tables: &bench.tables,
            live: &bench.live,
            describe_frame: &|_| FrameText::default(),
            evaluation_ms: 50,
        };
        render::render(&bench.record, &cx)
    });
    let event = rendered.ok_or_else(|| error::said("no vectors run"))?.map_err(error::thrown)?;
    String::from_utf8(event.json).map_err(|error| error::said(error.to_string()))
}

/// Ends what vectors stand on.
#[napi]
pub fn test_end() {
    BENCH.set(None);
}

/// The text form that the core prints for a tree, written as JSON or as text.
#[napi]
pub fn test_print(json: Option<String>, source: Option<String>) -> napi::Result<String> {
    let tree = match (json, source) {
        (Some(json), _) => decode::decode(&json),
        (None, Some(source)) => text::parse(&source),
        (None, None) => return Err(error::said("nothing to print")),
    };
    tree.map(|tree| print::print(&tree)).map_err(|invalid| error::said(&invalid.0))
}

/// True if a text form gives the tree of a JSON form.
#[napi]
pub fn test_parses_to(source: String, json: String) -> napi::Result<bool> {
    let parsed = text::parse(&source).map_err(|invalid| error::said(&invalid.0))?;
    let decoded = decode::decode(&json).map_err(|invalid| error::said(&invalid.0))?;
    Ok(parsed == decoded)
}

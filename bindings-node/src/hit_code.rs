//! The JavaScript of one probe at one place: statements that the rewriter puts into a function's variant, and the functions that
//! they call. It stands on the walk of a configuration, when a hook is made: the rewriter has said what is visible at the place,
//! `program.rs` writes the expressions; `js/hit.cjs` runs what comes of it.
//!
//! In the variant stands as little as can be: the test, with the variables that the condition reads, and behind it all others,
//! which are read only if the hit is wanted. The rest is the *site*, made by [`Hit::setup`] once in each realm.

use crate::program::{self, Answer, SPECIALS};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use stroboscope_core::capture::limits::Limits;
use stroboscope_core::capture::strict;
use stroboscope_core::expr::Expression;
use stroboscope_core::expr::template::Segment;
use stroboscope_core::expr::tree::Special;
use stroboscope_core::host::Section;
use stroboscope_core::probe::model::{EvaluateAt, Kind, Log, Metric, MetricKind, Probe};
use stroboscope_core::record::layout as lay;

/// A variable that is visible at a place.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name; `this` is one.
    pub name: String,
    /// JavaScript that reads it there and never fails; of what may not be bound yet it gives `$s.absent`.
    pub read: String,
    /// Where captures show it; `None`: only expressions see it.
    pub section: Option<Section>,
}

/// What is visible at a place.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// The variables, innermost first: of one name the first counts.
    pub variables: Vec<Variable>,
    /// Names (`#p`) of private fields, each with JavaScript for a function that reads it from any object, and gives `$s.absent`
    /// for one that has none.
    pub privates: Vec<(String, String)>,
}

impl Scope {
    /// JavaScript for a variable that an expression names (3.4).
    fn read(&self, name: &str, names: &Names) -> String {
        match (self.variables.iter().find(|variable| variable.name == name), name) {
            (Some(variable), _) => variable.read.clone(),
            (None, "undefined") => "void 0".to_owned(),
            (None, "Infinity") => "1/0".to_owned(),
            (None, _) => format!("{}.absent", names.s),
        }
    }

    /// The variables that captures show in a section, each name once.
    fn shown(&self, section: Section) -> impl Iterator<Item = &Variable> {
        let firsts =
            self.variables.iter().enumerate().filter(|(index, variable)| {
                self.variables.iter().take(*index).all(|before| before.name != variable.name)
            });
        firsts.map(|(_, variable)| variable).filter(move |variable| variable.section == Some(section))
    }
}

/// Names of ours in the variant, which no name of the program may be.
#[derive(Clone, Debug)]
pub struct Names {
    /// The parameter of the variant's factory (`$s`).
    pub s: String,
    /// The property of it that is this hit's site (`h0`).
    pub hit: String,
    /// The variable of a method probe, from its entry to its exit.
    pub entry: String,
    /// The one that says where an exception came from, if the event shows the stack.
    pub raised: Option<&'static str>,
}

impl Names {
    fn site(&self) -> String {
        format!("{}.{}", self.s, self.hit)
    }

    /// The statement of a hit: what fails in it is noted, and nothing of it reaches the program. No call is made for it, since
    /// the stack may be at its end.
    fn guarded(&self, statement: &str) -> String {
        let Names { s, .. } = self;
        format!("try{{{statement}}}catch({s}_error){{{}.probe.error={s}_error}}", self.site())
    }
}

/// The code of a probe at a place.
///
/// Functions stand in brackets: then they are compiled with what is around them, and not when the first hit finds little of the
/// stack left.
#[derive(Clone, Debug, Default)]
pub struct Hit {
    /// JavaScript of a function that makes the site of `js/hit.cjs`' helpers and the probe.
    pub setup: String,
    /// Of a line probe: the statement before the line.
    line: String,
    /// Of a method probe: the statement at its entry.
    enter: String,
    /// Of a method probe: the statement at its return, with [`HOLE`] for the name of the value.
    returned: String,
    /// Of a method probe: the statement at its throw, with [`HOLE`] for the name of the exception.
    threw: String,
}

impl Hit {
    /// The hit of a line probe at a line.
    pub fn at_line(probe: &Probe, scope: &Scope, names: &Names, line: u32) -> Hit {
        let log = match &probe.kind {
            Kind::Log(log) => log,
            Kind::Metric(metric) => return Measuring { probe, metric, names, line }.at_line(scope),
            Kind::Span | Kind::SpanDecoration(_) => return Hit::default(),
        };
        let maker = Maker { probe, log, names, line };
        let (values, capture) = maker.values(scope, true);
        let test = maker.test(scope, "");
        let site = names.site();
        let fire = format!("if({site}.test({test})){site}.fire(0,{absent},{absent},{values})", absent = maker.absent());
        Hit { setup: maker.setup("", &[capture]), line: maker.seeing(scope, &fire), ..Hit::default() }
    }

    /// The hit of a method probe. `entry` and `exit` are what is visible at its two ends.
    pub fn of_method(probe: &Probe, entry: &Scope, exit: &Scope, names: &Names) -> Hit {
        let log = match &probe.kind {
            Kind::Log(log) => log,
            Kind::Metric(metric) => return Measuring { probe, metric, names, line: 0 }.of_method(entry, exit),
            Kind::Span | Kind::SpanDecoration(_) => return Hit::default(),
        };
        let maker = Maker { probe, log, names, line: 0 };
        match probe.evaluate_at {
            EvaluateAt::Exit => maker.at_exit(exit),
            EvaluateAt::Entry if log.captures() => maker.at_both(entry, exit),
            EvaluateAt::Entry => maker.at_entry(entry),
        }
    }

    /// The hit of a line, or of a method's entry (0), where a debugger evaluates it: an expression that is false, of two calls that
    /// never fail. It is as short as can be, since the engine compiles it at each hit.
    pub fn on_the_spot(probe: &Probe, scope: &Scope, names: &Names, line: u32) -> Hit {
        let log = match &probe.kind {
            Kind::Log(log) => log,
            Kind::Metric(metric) => return Measuring { probe, metric, names, line }.on_the_spot(scope),
            Kind::Span | Kind::SpanDecoration(_) => return Hit::default(),
        };
        let maker = Maker { probe, log, names, line };
        let (values, capture) = maker.values(scope, true);
        let (site, test) = (names.site(), maker.test(scope, ""));
        let line = format!("{site}t({test})&&{site}f({values})");
        Hit { setup: maker.setup("", &[capture]), line, ..Hit::default() }
    }

    /// The statement before the line.
    pub fn line(&self) -> String {
        self.line.clone()
    }

    /// The statement at the entry of a method. It stands in the function's own scope: the statements at the ends read the
    /// variable that it declares.
    pub fn enter(&self) -> String {
        self.enter.clone()
    }

    /// The statement at a return, whose value has this name.
    pub fn returned(&self, value: &str) -> String {
        self.returned.replace(HOLE, value)
    }

    /// The statement at a throw, whose exception has this name.
    pub fn threw(&self, exception: &str) -> String {
        self.threw.replace(HOLE, exception)
    }
}

/// Stands for the name of a value that is not known yet.
const HOLE: &str = "\u{0}";

struct Maker<'p> {
    probe: &'p Probe,
    log: &'p Log,
    names: &'p Names,
    line: u32,
}

impl Maker<'_> {
    fn absent(&self) -> String {
        format!("{}.absent", self.names.s)
    }

    /// The argument that says where an exception came from.
    fn raised(&self) -> String {
        self.names.raised.map_or_else(String::new, |name| format!(",{name}"))
    }

    /// A method probe that is evaluated when the method ends.
    fn at_exit(&self, scope: &Scope) -> Hit {
        let (site, entry) = (self.names.site(), &self.names.entry);
        let (values, capture) = self.values(scope, true);
        let end = |returned: &str, exception: &str, raised: &str| {
            let specials = format!("{entry},{returned},{exception}");
            let test = self.test(scope, &specials);
            self.seeing(scope, &format!("if({site}.test({test})){site}.fire({specials},{values}{raised})"))
        };
        Hit {
            setup: self.setup("$start,$return,$exception", &[capture]),
            enter: format!("let {entry}=0;{}", self.names.guarded(&format!("{entry}={site}.enter()"))),
            returned: end(HOLE, &self.absent(), ""),
            threw: end(&self.absent(), HOLE, &self.raised()),
            ..Hit::default()
        }
    }

    /// A method probe whose event is sent at the entry.
    fn at_entry(&self, scope: &Scope) -> Hit {
        let site = self.names.site();
        let (values, capture) = self.values(scope, true);
        let test = self.test(scope, "");
        let absent = self.absent();
        let fire = format!("if({site}.test({test})){site}.fire(0,{absent},{absent},{values})");
        Hit { setup: self.setup("", &[capture]), enter: self.seeing(scope, &fire), ..Hit::default() }
    }

    /// A method probe that is evaluated at the entry and captures at both ends.
    fn at_both(&self, entry_scope: &Scope, exit_scope: &Scope) -> Hit {
        let (site, entry, absent) = (self.names.site(), &self.names.entry, self.absent());
        let (values, capture) = self.values(entry_scope, true);
        let test = self.test(entry_scope, "");
        let begin = format!("if({site}.test({test})){entry}={site}.begin({values})");
        let (exit_values, exit_capture) = self.values(exit_scope, false);
        let end = |returned: &str, exception: &str, raised: &str| {
            let finish = format!("if({entry}!==null){site}.end({entry},{returned},{exception},{exit_values}{raised})");
            self.seeing(exit_scope, &finish)
        };
        Hit {
            setup: self.setup("", &[capture, exit_capture]),
            enter: format!("let {entry}=null;{}", self.seeing(entry_scope, &begin)),
            returned: end(HOLE, &absent, ""),
            threw: end(&absent, HOLE, &self.raised()),
            ..Hit::default()
        }
    }

    /// The arguments of the test: the specials, and the variables that the condition reads.
    fn test(&self, scope: &Scope, specials: &str) -> String {
        let mut arguments: Vec<String> = Vec::new();
        if !specials.is_empty() {
            arguments.push(specials.to_owned());
        }
        arguments.extend(self.condition_variables().iter().map(|symbol| scope.read(self.symbol(*symbol), self.names)));
        arguments.join(",")
    }

    fn condition_variables(&self) -> Vec<u32> {
        self.probe.when.as_ref().map(program::variables).unwrap_or_default()
    }

    fn symbol(&self, index: u32) -> &str {
        self.probe.symbols.get(index as usize).map_or("", String::as_str)
    }

    /// The arguments behind the specials where a hit is wanted (an array of values and one of private readers), and the functions
    /// that find their values in that array.
    fn values(&self, scope: &Scope, with_message: bool) -> (String, Capture) {
        let mut reads: Vec<String> = Vec::new();
        let mut place = |read: String| {
            reads.iter().position(|known| *known == read).unwrap_or_else(|| {
                reads.push(read);
                reads.len() - 1
            })
        };
        let mut function = |expression: &Expression| {
            let variables = program::variables(expression).into_iter().map(|symbol| {
                let at = place(scope.read(self.symbol(symbol), self.names));
                format!("{}=$values[{at}]", program::parameter(symbol))
            });
            let variables: Vec<String> = variables.collect();
            let declared = if variables.is_empty() { String::new() } else { format!("const {};", variables.join(",")) };
            let body = program::body(expression, &self.probe.symbols, Answer::Value);
            format!("(function($values,{SPECIALS}){{{declared}{body}}})")
        };
        let mut capture = Capture::default();
        if with_message {
            for (index, segment) in self.log.template.segments.iter().enumerate() {
                if let Segment::Expression(expression) = segment {
                    capture.segments.push(format!("[{index},{},{}]", function(expression), strict::is_own(expression)));
                }
            }
        }
        for one in &self.log.expressions {
            let (name, limits) = (program::text(&one.name), limits(&one.limits));
            let own = strict::is_own(&one.expression);
            capture.expressions.push(format!("[{name},{},{limits},{own}]", function(&one.expression)));
        }
        if self.log.snapshot {
            for section in [Section::Arguments, Section::Locals, Section::Statics] {
                let shown =
                    scope.shown(section).map(|variable| (program::text(&variable.name), place(variable.read.clone())));
                let (names, places): (Vec<String>, Vec<usize>) = shown.unzip();
                let places: Vec<String> = places.iter().map(usize::to_string).collect();
                let code = section_code(section);
                capture.sections.push(format!("[{code},[{}],[{}]]", names.join(","), places.join(",")));
            }
        }
        (format!("[{}],{}", reads.join(","), self.privates(scope)), capture)
    }

    fn privates(&self, scope: &Scope) -> String {
        if self.log.captures() { Maker::readers(scope) } else { "null".to_owned() }
    }

    fn seeing(&self, scope: &Scope, statement: &str) -> String {
        seeing(self.probe, self.names, scope, statement)
    }

    /// The private members that the code around the hit can read: their names, and what reads them.
    fn readers(scope: &Scope) -> String {
        if scope.privates.is_empty() {
            return "null".to_owned();
        }
        let pairs = scope.privates.iter().map(|(name, read)| format!("{},{read}", program::text(name)));
        format!("[{}]", pairs.collect::<Vec<_>>().join(","))
    }

    /// `specials`: the parameters of the test before the condition's variables. `captures`: that of the hit, and that of the
    /// method's end if there is another.
    fn setup(&self, specials: &str, captures: &[Capture]) -> String {
        let mut out = format!(
            "(function(helpers,probe){{\"use strict\";const{HELPERS}=helpers;return{{probe,line:{},",
            self.line
        );
        put(&mut out, format_args!("limits:{},", limits(&self.log.limits)));
        put(&mut out, format_args!("test:{},", self.test_function(specials)));
        let captures: Vec<String> = captures.iter().map(Capture::text).collect();
        put(&mut out, format_args!("captures:[{}]", captures.join(",")));
        out.push_str("}})");
        out
    }

    fn test_function(&self, specials: &str) -> String {
        let variables: Vec<String> = self.condition_variables().into_iter().map(program::parameter).collect();
        let mut parameters: Vec<&str> = Vec::new();
        if !specials.is_empty() {
            parameters.push(specials);
        }
        parameters.extend(variables.iter().map(String::as_str));
        let parameters = parameters.join(",");
        let reads_duration = self.probe.reads(Special::Duration);
        let mut duration = String::new();
        if reads_duration && !specials.is_empty() {
            duration.push_str(NO_ENTRY);
        }
        let Some(when) = &self.probe.when else {
            return format!("function({parameters}){{if(!look(probe))return false;{duration}return take(probe);}}");
        };
        let given: Vec<&str> = variables.iter().map(String::as_str).collect();
        let known = match specials {
            "" => "ABSENT,ABSENT,ABSENT",
            _ if reads_duration => "$return,$exception,since($start)",
            _ => "$return,$exception,ABSENT",
        };
        let arguments = given.iter().copied().chain([known]).collect::<Vec<_>>().join(",");
        let formal = given.iter().copied().chain([SPECIALS]).collect::<Vec<_>>().join(",");
        let body = program::body(when, &self.probe.symbols, Answer::Truth);
        format!(
            "(function(){{const when=(function({formal}){{{body}}});return function({parameters}){{if(!look(probe))return \
             false;{duration}startTime();return decide(this,when({arguments}));}}}})()"
        )
    }
}

/// Ends a hit that wants to know how long its call took, and has not seen it begin.
const NO_ENTRY: &str = "if($start===0)return entryNotSeen(probe);";

/// The statement of a hit whose expressions may read private members.
fn seeing(probe: &Probe, names: &Names, scope: &Scope, statement: &str) -> String {
    let reads_one = probe.symbols.iter().any(|symbol| symbol.starts_with('#'));
    if !reads_one || scope.privates.is_empty() {
        return names.guarded(statement);
    }
    let (site, readers) = (names.site(), Maker::readers(scope));
    names.guarded(&format!("{site}.sees({readers});{statement};{site}.sees(null)"))
}

/// What a probe measures, as `js/hit.cjs` numbers it: 0 nothing, 1 a count, 2 a gauge, 3 values.
pub fn metric_code(probe: &Probe) -> u32 {
    match &probe.kind {
        Kind::Metric(metric) => match metric.kind {
            MetricKind::Count => 1,
            MetricKind::Gauge => 2,
            MetricKind::Histogram | MetricKind::Distribution => 3,
        },
        Kind::Log(_) | Kind::Span | Kind::SpanDecoration(_) => 0,
    }
}

/// The hit of a metric probe: its test does all of it, and is never true.
struct Measuring<'p> {
    probe: &'p Probe,
    metric: &'p Metric,
    names: &'p Names,
    line: u32,
}

impl Measuring<'_> {
    fn at_line(&self, scope: &Scope) -> Hit {
        Hit { setup: self.setup(""), line: self.statement(scope, ""), ..Hit::default() }
    }

    fn on_the_spot(&self, scope: &Scope) -> Hit {
        let line = format!("{}t({})", self.names.site(), self.arguments(scope, ""));
        Hit { setup: self.setup(""), line, ..Hit::default() }
    }

    fn of_method(&self, entry: &Scope, exit: &Scope) -> Hit {
        if self.probe.evaluate_at == EvaluateAt::Entry {
            return Hit { setup: self.setup(""), enter: self.statement(entry, ""), ..Hit::default() };
        }
        let absent = format!("{}.absent", self.names.s);
        let mut hit = Hit { setup: self.setup("$return,$exception"), ..Hit::default() };
        let (mut returned, mut threw) = (format!("{HOLE},{absent}"), format!("{absent},{HOLE}"));
        if self.reads_duration() {
            let (site, start) = (self.names.site(), &self.names.entry);
            hit.setup = self.setup("$start,$return,$exception");
            hit.enter = format!("let {start}=0;{}", self.names.guarded(&format!("{start}={site}.enter()")));
            returned = format!("{start},{returned}");
            threw = format!("{start},{threw}");
        }
        hit.returned = self.statement(exit, &returned);
        hit.threw = self.statement(exit, &threw);
        hit
    }

    fn reads_duration(&self) -> bool {
        self.probe.reads(Special::Duration)
    }

    /// The variables that the condition and the value read, each once.
    fn variables(&self) -> Vec<u32> {
        let all = self.probe.when.iter().chain(&self.metric.value).flat_map(program::variables);
        all.collect::<BTreeSet<u32>>().into_iter().collect()
    }

    fn statement(&self, scope: &Scope, specials: &str) -> String {
        let call = format!("{}.test({})", self.names.site(), self.arguments(scope, specials));
        seeing(self.probe, self.names, scope, &call)
    }

    fn arguments(&self, scope: &Scope, specials: &str) -> String {
        let symbol = |index: u32| self.probe.symbols.get(index as usize).map_or("", String::as_str);
        let read = self.variables().into_iter().map(|index| scope.read(symbol(index), self.names));
        let specials = Some(specials.to_owned()).filter(|specials| !specials.is_empty());
        specials.into_iter().chain(read).collect::<Vec<_>>().join(",")
    }

    fn setup(&self, specials: &str) -> String {
        let limits = limits(&Limits::default());
        let (line, test) = (self.line, self.test(specials));
        format!(
            "(function(helpers,probe){{\"use strict\";const{HELPERS}=helpers;return{{probe,line:{line},limits:{limits},test:{test},\
             captures:[]}}}})"
        )
    }

    fn test(&self, specials: &str) -> String {
        let names = self.variables().into_iter().map(program::parameter);
        let specials = Some(specials.to_owned()).filter(|specials| !specials.is_empty());
        let is_exit = specials.is_some();
        let parameters = specials.into_iter().chain(names).collect::<Vec<_>>().join(",");
        let mut body = String::from("if(!look(probe))return false;");
        let duration = match (is_exit, self.reads_duration()) {
            (true, true) => {
                body.push_str(NO_ENTRY);
                "since($start)"
            }
            _ => "ABSENT",
        };
        put(&mut body, format_args!("const $duration={duration};"));
        let known = if is_exit { SPECIALS } else { "ABSENT,ABSENT,$duration" };
        let mut functions = String::new();
        let mut function = |name: &str, expression: &Expression, answer: Answer| {
            let read: Vec<String> = program::variables(expression).into_iter().map(program::parameter).collect();
            let with = |last: &str| read.iter().map(String::as_str).chain([last]).collect::<Vec<_>>().join(",");
            let text = program::body(expression, &self.probe.symbols, answer);
            put(&mut functions, format_args!("const {name}=(function({}){{{text}}});", with(SPECIALS)));
            format!("{name}({})", with(known))
        };
        if let Some(when) = &self.probe.when {
            let call = function("when", when, Answer::Truth);
            put(&mut body, format_args!("startTime();if(!wanted(this,{call}))return false;"));
        }
        match &self.metric.value {
            Some(value) => {
                let call = function("value", value, Answer::Value);
                put(&mut body, format_args!("startTime();return measure(this,{call});"));
            }
            None => body.push_str("return add(probe,1);"),
        }
        format!("(function(){{{functions}return function({parameters}){{{body}}};}})()")
    }
}

/// What the functions of a site know by name: a pattern that takes the helpers apart.
const HELPERS: &str = "{ABSENT,FAILED,add,at,begin,contains,decide,each,eachKept,endsWith,entry,entryMember,entryNotSeen,eq,ge,\
                       goesThrough,gt,index,instanceOf,isEmpty,keep,le,len,look,lt,matches,measure,member,ne,not,refusedName,\
                       round,since,startTime,startsWith,substring,take,truth,variable,wanted}";

/// JavaScript of a function that, called with the helpers, gives the function of an expression alone: of the variables that
/// [`program::variables`] names, and the specials.
pub fn expression_alone(expression: &Expression, symbols: &[String], answer: Answer) -> String {
    let variables: Vec<String> = program::variables(expression).into_iter().map(program::parameter).collect();
    let parameters = variables.iter().map(String::as_str).chain([SPECIALS]).collect::<Vec<_>>().join(",");
    let body = program::body(expression, symbols, answer);
    format!("(function(helpers){{\"use strict\";const{HELPERS}=helpers;return(function({parameters}){{{body}}})}})")
}

/// What a hit records at one end.
#[derive(Default)]
struct Capture {
    segments: Vec<String>,
    expressions: Vec<String>,
    sections: Vec<String>,
}

impl Capture {
    fn text(&self) -> String {
        let Capture { segments, expressions, sections } = self;
        let list = |parts: &[String]| format!("[{}]", parts.join(","));
        let (segments, expressions, sections) = (list(segments), list(expressions), list(sections));
        format!("{{segments:{segments},expressions:{expressions},sections:{sections}}}")
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

fn limits(of: &Limits) -> String {
    let Limits { depth, elements, length, fields } = of;
    format!("{{depth:{depth},elements:{elements},length:{length},fields:{fields}}}")
}

fn section_code(section: Section) -> u8 {
    match section {
        Section::Arguments => lay::SECTION_ARGUMENTS,
        Section::Locals => lay::SECTION_LOCALS,
        Section::Statics => lay::SECTION_STATICS,
    }
}

//! Where a probe belongs in a module, and the text of a function with its probes in it. The rules are the core's
//! ([`location`]), the text is the rewriter's and that of each hit is [`crate::hit_code`]'s. On the walk of a configuration
//! going in, after [`crate::put`].

use crate::hit_code::{self, Hit, Names, Scope, Variable};
use crate::names;
use crate::realms::{self, Variant};
use crate::runtime::CAPABILITIES;
use crate::session;
use std::cell::OnceCell;
use std::sync::Arc;
use stroboscope_core::explain;
use stroboscope_core::host::{Outcome, Section, Site, StackFrame, Ticket};
use stroboscope_core::probe::location::{self, Function, FunctionKind, SourcePath};
use stroboscope_core::probe::model::{EvaluateAt, Location};
use stroboscope_core::registry::LiveProbe;
use stroboscope_rewriter as rewriter;
use stroboscope_rewriter::{Mapped, Module, Point, Positions, SourceMap, VariableKind};

/// The wire's word for a function from which a probe is kept out.
pub const NOT_ELIGIBLE: &str = "NotEligible";

/// A probe in a function.
#[derive(Clone)]
pub struct Use {
    /// The probe.
    pub live: Arc<LiveProbe>,
    /// What its installation is answered with.
    pub ticket: Ticket,
    /// The lines in this function; empty for a method probe.
    pub lines: Vec<Line>,
    /// Where the probe is, in this module.
    pub site: Site,
    /// Why it is there and not where it was asked for.
    pub note: Option<String>,
}

/// A line of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the file that the probe means.
    pub line: u32,
    /// Where the rewriter puts the code, so that a hit is one execution of the line.
    pub sites: Vec<u32>,
}

/// Why a probe has no place in a module that it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    /// The wire's word.
    pub kind: &'static str,
    /// A sentence.
    pub reason: String,
}

impl Missing {
    fn new(kind: &'static str, reason: impl Into<String>) -> Missing {
        Missing { kind, reason: reason.into() }
    }

    /// What must not happen: the module was read before.
    pub fn internal(reason: String) -> Missing {
        Missing { kind: "InternalError", reason }
    }
}

impl From<Missing> for Box<Outcome> {
    fn from(missing: Missing) -> Box<Outcome> {
        Box::new(Outcome::Refused { kind: missing.kind, reason: missing.reason })
    }
}

/// Where a probe goes in a module.
#[derive(Debug)]
pub struct Placement {
    /// The functions, by their numbers, with the lines in each; no line for a method. `None`: the top level of the module.
    pub functions: Vec<(Option<u32>, Vec<Line>)>,
    /// The same for people.
    pub site: Site,
    /// Why it is not where it was asked for.
    pub note: Option<String>,
}

/// A file as a probe means it: a module that is loaded, or one of those that it was compiled of.
pub struct File<'m> {
    module: &'m Module,
    path: &'m str,
    top_level: Vec<rewriter::Statement>,
    functions: Vec<Seen>,
    /// The functions as the core sees them, the top level first; made for the first line that is looked for.
    as_core: OnceCell<Vec<Function>>,
}

/// A function in lines of the file.
struct Seen {
    number: usize,
    first: u32,
    last: u32,
    statements: Vec<rewriter::Statement>,
}

impl<'m> File<'m> {
    /// The module itself.
    pub fn loaded(module: &'m Module, path: &'m str) -> File<'m> {
        let functions = module.functions().iter().enumerate().map(|(number, function)| Seen {
            number,
            first: function.first,
            last: function.last,
            statements: function.statements.clone(),
        });
        let (top_level, functions) = (module.top_level().to_vec(), functions.collect());
        File { module, path, top_level, functions, as_core: OnceCell::new() }
    }

    /// One of the files that it was compiled of, by its place in the map.
    pub fn original(module: &'m Module, path: &'m str, map: &SourceMap, source: usize) -> File<'m> {
        let mapped = module.through(map).into_iter().filter(|mapped| mapped.source == source);
        let functions = mapped.map(|Mapped { function, first, last, statements, .. }| Seen {
            number: function,
            first,
            last,
            statements,
        });
        let (top_level, functions) = (module.top_level_through(map, source), functions.collect());
        File { module, path, top_level, functions, as_core: OnceCell::new() }
    }

    /// As people are told of it, with the functions that a probe names.
    pub fn described(&self, location: &Location) -> explain::File {
        let known = self.module.functions();
        let own = self.functions.iter().map(|seen| known[seen.number].qualified.clone());
        let named = match location {
            Location::Lines { .. } => Vec::new(),
            Location::Method { method, .. } => self.module.named(method),
        };
        let place = |number: usize| self.functions.binary_search_by_key(&number, |seen| seen.number).ok();
        explain::File {
            name: self.path.to_owned(),
            functions: self.functions().to_vec(),
            names: std::iter::once(String::new()).chain(own).collect(),
            // The top level stands before them.
            meant: named.into_iter().filter_map(place).map(|at| at + 1).collect(),
        }
    }

    fn functions(&self) -> &[Function] {
        self.as_core.get_or_init(|| self.seen_by_core())
    }

    fn seen_by_core(&self) -> Vec<Function> {
        let statements = |of: &[rewriter::Statement]| {
            of.iter().map(|one| location::Statement { line: one.line, end: one.end }).collect::<Vec<_>>()
        };
        let known = self.module.functions();
        // The nearest function around that is of this file.
        let parent = |number: usize| {
            let mut around = std::iter::successors(known[number].parent, |&outer| known[outer].parent);
            around.find_map(|outer| self.functions.binary_search_by_key(&outer, |seen| seen.number).ok())
        };
        let top = Function {
            name: String::new(),
            kind: FunctionKind::Module,
            first: 1,
            last: u32::MAX,
            parent: None,
            statements: statements(&self.top_level),
        };
        let inner = self.functions.iter().map(|seen| Function {
            name: known[seen.number].name.clone(),
            kind: match known[seen.number].kind {
                rewriter::FunctionKind::Function => FunctionKind::Function,
                rewriter::FunctionKind::Expression => FunctionKind::Lambda,
            },
            first: seen.first,
            last: seen.last,
            parent: Some(parent(seen.number).map_or(0, |at| at + 1)),
            statements: statements(&seen.statements),
        });
        std::iter::once(top).chain(inner).collect()
    }
}

/// Finds the place of a probe in a file.
pub fn find(file: &File<'_>, location: &Location) -> Result<Placement, Missing> {
    match location {
        Location::Lines { lines, .. } => at_lines(file, lines),
        Location::Method { method, .. } => in_method(file, method),
    }
}

/// True if a probe goes into functions of a module that have guards, and nowhere else: then nothing has to be known of it before one
/// of them is called. Where that is not clear it is not said.
pub fn waits_for_calls(module: &Module, location: &Location) -> bool {
    let functions = module.functions();
    match location {
        Location::Method { method, .. } => {
            matches!(module.named(method)[..], [number] if functions[number].why_not.is_none())
        }
        Location::Lines { lines, .. } => lines.iter().all(|&line| {
            let begins = |statement: &rewriter::Statement| statement.line == line;
            let around = |(_, function): &(usize, &rewriter::Function)| function.first <= line && line <= function.last;
            let is_plain = |(number, function): (usize, &rewriter::Function)| {
                let is_here = function.statements.iter().any(begins);
                let may_run = |one: &rewriter::Statement| begins(one) && module.may_be_running(number, one.site);
                is_here.then(|| function.why_not.is_none() && !function.statements.iter().any(may_run))
            };
            let mut found = functions.iter().enumerate().filter(around).filter_map(is_plain).peekable();
            found.peek().is_some() && found.all(|is_plain| is_plain) && !module.top_level().iter().any(begins)
        }),
    }
}

fn at_lines(file: &File<'_>, lines: &[u32]) -> Result<Placement, Missing> {
    let functions = file.functions();
    let mut found: Vec<(Option<u32>, Vec<Line>)> = Vec::new();
    let (mut used, mut notes, mut name) = (Vec::new(), Vec::new(), String::new());
    for &line in lines {
        let choice = location::resolve_line(functions, line, &CAPABILITIES)
            .map_err(|reason| Missing::new("NoSuchLine", reason))?;
        for at in choice.functions {
            // The first one is the top level, which is none of the rewriter's.
            let seen = at.checked_sub(1).and_then(|at| file.functions.get(at));
            name = seen.map_or(String::new(), |seen| file.module.functions()[seen.number].name.clone());
            let statements = seen.map_or(&file.top_level, |seen| &seen.statements);
            let sites = file.module.needed(statements, choice.line);
            add(&mut found, seen.map(|seen| seen.number as u32), Line { line: choice.line, sites });
        }
        used.push(choice.line);
        notes.extend(choice.note);
    }
    let mut site = Site { file: file.path.to_owned(), lines: used, function: name, ..Site::default() };
    name_code(file.module, found.iter().filter_map(|(function, _)| function.map(|number| number as usize)), &mut site);
    Ok(Placement { functions: found, site, note: (!notes.is_empty()).then(|| notes.join("; ")) })
}

fn add(found: &mut Vec<(Option<u32>, Vec<Line>)>, function: Option<u32>, line: Line) {
    match found.iter_mut().find(|(known, _)| *known == function) {
        Some((_, lines)) if lines.contains(&line) => {}
        Some((_, lines)) => lines.push(line),
        None => found.push((function, vec![line])),
    }
}

fn in_method(file: &File<'_>, wanted: &str) -> Result<Placement, Missing> {
    let path = file.path;
    let known = file.module.functions();
    let named = file.module.named(wanted);
    let found: Vec<&Seen> = file.functions.iter().filter(|seen| named.contains(&seen.number)).collect();
    match found[..] {
        [seen] => {
            let function = &known[seen.number];
            let mut site = Site {
                file: path.to_owned(),
                lines: Vec::new(),
                type_name: path.to_owned(),
                method: function.qualified.clone(),
                function: function.name.clone(),
                first: seen.first,
                ..Site::default()
            };
            name_code(file.module, [seen.number], &mut site);
            Ok(Placement { functions: vec![(Some(seen.number as u32), Vec::new())], site, note: None })
        }
        [] => {
            let called = file.functions.iter().map(|seen| &known[seen.number]).filter(|function| !function.is_field());
            let names = called.map(|function| function.qualified.as_str());
            let near = location::nearest_names(wanted, names.filter(|name| !name.is_empty()));
            let near = if near.is_empty() { String::new() } else { format!("; nearest: {}", near.join(", ")) };
            Err(Missing::new("NoSuchMethod", format!("no function `{wanted}` in {path}{near}")))
        }
        _ => {
            let lines: Vec<String> = found.iter().map(|seen| seen.first.to_string()).collect();
            let reason = format!(
                "{} functions of {path} are called `{wanted}`, at lines {}: use a line probe{}",
                lines.len(),
                lines.join(", "),
                or_accessor(&found.iter().map(|seen| &known[seen.number]).collect::<Vec<_>>())
            );
            Err(Missing::new("AmbiguousMethod", reason))
        }
    }
}

/// How a getter is told from its setter, where a name means these two.
fn or_accessor(found: &[&rewriter::Function]) -> String {
    let is = |function: &rewriter::Function, accessor: &str| function.accessor == accessor;
    match found {
        [one, other] if (is(one, "get") && is(other, "set")) || (is(one, "set") && is(other, "get")) => {
            let (class, name) = one.qualified.split_at(one.qualified.rfind('.').map_or(0, |dot| dot + 1));
            format!(", or name one of them: `{class}get {name}` or `{class}set {name}`")
        }
        _ => String::new(),
    }
}

/// Notes the names by which lists of the service may know the code: those of its module, and the classes around it.
fn name_code(module: &Module, functions: impl IntoIterator<Item = usize>, site: &mut Site) {
    site.modules = module_names(&site.file);
    let known = module.functions();
    for function in functions {
        let around = std::iter::successors(Some(function), |&at| known[at].parent);
        let classes = around.filter_map(|at| known[at].qualified.rsplit_once('.'));
        for (class, _) in classes {
            if !site.classes.iter().any(|known| known == class) {
                site.classes.push(class.to_owned());
            }
        }
    }
}

/// A module is known by its path and by the ends of it (`shop/cart.js`, `shop/cart`), and with dots for a class in it
/// (`shop.cart.Card`).
fn module_names(path: &str) -> Vec<String> {
    let path = SourcePath::new(path);
    let ends = path.suffixes().flat_map(|whole| {
        let bare = SOURCES.iter().find_map(|ending| whole.strip_suffix(ending)).unwrap_or(&whole).to_owned();
        [bare.replace('/', "."), bare, whole]
    });
    ends.collect()
}

/// How files of source end.
const SOURCES: [&str; 8] = [".js", ".cjs", ".mjs", ".ts", ".cts", ".mts", ".jsx", ".tsx"];

/// Writes a function with its probes in it.
pub fn variant(
    module: &Module,
    function: u32,
    cell: &str,
    uses: &[Use],
    guards: &Positions,
) -> Result<Variant, String> {
    let at = function as usize;
    let own = module.functions().get(at).ok_or("there is no such function")?;
    let mut hits: Vec<realms::Hit> = Vec::new();
    let mut points: Vec<(Point, String)> = Vec::new();
    for one in uses {
        let first = hits.len();
        for Line { line, sites } in &one.lines {
            for &site in sites {
                let point = Point::Line(site);
                let code = Hit::at_line(&one.live.probe, &scope(module, at, point), &names_of(&hits, None), *line);
                points.push((point, code.line()));
                hits.push(told(one, &code, names::own(&one.site.file, &own.name, *line)));
            }
        }
        if hits.len() > first {
            // Who asks why the line is not hit wants to know whether the function runs.
            points.push((Point::Entry, format!("$s.h{first}.probe.ran=true")));
        }
        if one.lines.is_empty() {
            let (entry, exit) = (scope(module, at, Point::Entry), scope(module, at, Point::Return));
            let raised = session::shows_stack(one.live.captures).then_some(rewriter::RAISED);
            let code = Hit::of_method(&one.live.probe, &entry, &exit, &names_of(&hits, raised));
            let ends = [(Point::Return, code.returned("$s_r")), (Point::Throw, code.threw("$s_e"))];
            points.push((Point::Entry, code.enter()));
            // One that is evaluated at its entry may have nothing to do at an end.
            points.extend(ends.into_iter().filter(|(_, code)| !code.is_empty()));
            hits.push(told(one, &code, names::own(&one.site.file, &own.name, one.site.first)));
        }
    }
    let points: Vec<(Point, &str)> = points.iter().map(|(point, code)| (*point, code.as_str())).collect();
    let made = module.variant(at, cell, &points).map_err(|error| error.to_string())?;
    let guard = guards.guard(function).ok_or("the function has no guard")?;
    let rewriter::Variant { code, first_line: line, positions, name, rethrow } = made;
    let functions = u32::try_from(module.functions().len()).unwrap_or(u32::MAX);
    Ok(Variant { code, line, name, text: names::text(positions), functions, guard, rethrow, hits })
}

/// What a debugger is to do for a probe at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Line from 1, column from 0.
    pub at: (u32, u32),
    /// What the condition of its breakpoint evaluates before it is false, a statement.
    pub code: String,
}

/// Writes what a debugger is to do for a probe where no guard reaches. `hook` is the global that holds the sites of the hits.
pub fn stops(
    module: &Module,
    function: Option<u32>,
    one: &Use,
    hook: &str,
) -> Result<(Vec<Stop>, Vec<realms::Hit>), String> {
    let at = function.map(|function| function as usize);
    let name = at.and_then(|at| module.functions().get(at)).map_or("", |of| of.name.as_str());
    let names =
        |number: usize| Names { s: hook.to_owned(), hit: format!("h{number}"), entry: String::new(), raised: None };
    if let Some(why) = at.and_then(|at| module.why_no_stop(at)) {
        return Err(why.to_owned());
    }
    let (mut stops, mut hits) = (Vec::new(), Vec::new());
    for Line { line, sites } in &one.lines {
        for &site in sites {
            let scope = on_the_spot(module, at, Some(site), hook);
            let code = Hit::on_the_spot(&one.live.probe, &scope, &names(hits.len()), *line);
            let place =
                module.stop(site).ok_or("a debugger would stop in the constructor of the class: use another line")?;
            stops.push(Stop { at: place, code: statement(&code, hook) });
            hits.push(told(one, &code, names::own(&one.site.file, name, *line)));
        }
    }
    if one.lines.is_empty() {
        let at = at.ok_or("the top level of a module is no method")?;
        let probe = &one.live.probe;
        if probe.evaluate_at == EvaluateAt::Exit || probe.captures() {
            return Err("how a call of it ends cannot be seen: use a line probe, or a probe with evaluateAt ENTRY and without a \
                        snapshot"
                .to_owned());
        }
        let code = Hit::on_the_spot(probe, &on_the_spot(module, Some(at), None, hook), &names(0), 0);
        let place = module.stop_at_entry(at).ok_or("there is no such function")?;
        stops.push(Stop { at: place, code: statement(&code, hook) });
        hits.push(told(one, &code, names::own(&one.site.file, name, one.site.first)));
    }
    Ok((stops, hits))
}

/// What is visible to code that a debugger evaluates. `js/watch.cjs` has the functions of the hook.
fn on_the_spot(module: &Module, function: Option<usize>, site: Option<u32>, hook: &str) -> Scope {
    let seen = module.bare_scope(function, site, |name| format!("{hook}.read(()=>{name})"));
    let this = seen.this.map(|text| Variable {
        name: "this".to_owned(),
        read: format!("{hook}.receiver({text})"),
        section: Some(Section::Arguments),
    });
    let variables =
        seen.variables.into_iter().map(|one| Variable { name: one.name, read: one.text, section: section(one.kind) });
    Scope { variables: this.into_iter().chain(variables).collect(), ..Scope::default() }
}

/// The hit as a statement. What fails in it is noted, and nothing is called for that: the stack may be at its end.
fn statement(hit: &Hit, hook: &str) -> String {
    format!("try{{{}}}catch{{{hook}.probe.error={hook}.lost}}", hit.line())
}

/// The names of the next hit in a variant.
fn names_of(hits: &[realms::Hit], raised: Option<&'static str>) -> Names {
    let number = hits.len();
    Names { s: "$s".to_owned(), hit: format!("h{number}"), entry: format!("$s_t{number}"), raised }
}

/// What a realm makes a hit's site of.
fn told(one: &Use, code: &Hit, frame: StackFrame) -> realms::Hit {
    let live = &one.live;
    // A gate has an index wherever the host gives the memory, as this one does.
    let word = live.gate.index().unwrap_or(u32::MAX);
    let metric = hit_code::metric_code(&live.probe);
    realms::Hit { slot: live.slot, word, captures: live.captures, metric, setup: code.setup.clone(), frame }
}

/// What is visible at a point, as the code of a hit reads it.
fn scope(module: &Module, function: usize, point: Point) -> Scope {
    let seen = module.scope(function, point);
    let this = seen.this.map(|text| Variable {
        name: "this".to_owned(),
        // A function that is called without a receiver has none, or the global object, of which nobody wants to know.
        read: format!("({text}===$s.global||{text}===void 0?$s.absent:{text})"),
        section: Some(Section::Arguments),
    });
    let variables = seen.variables.into_iter().map(|variable| Variable {
        name: variable.name,
        read: variable.text,
        section: section(variable.kind),
    });
    Scope { variables: this.into_iter().chain(variables).collect(), privates: seen.privates }
}

fn section(kind: VariableKind) -> Option<Section> {
    match kind {
        VariableKind::Argument => Some(Section::Arguments),
        VariableKind::Local | VariableKind::Closure => Some(Section::Locals),
        VariableKind::Module => Some(Section::Statics),
        VariableKind::Elsewhere => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{File, Missing, find};
    use stroboscope_core::probe::model::Location;
    use stroboscope_rewriter::{Module, SourceKind};

    const TEXT: &str = "class Cart {\n  add(item) {\n    const n = 1;\n\n    return n;\n  }\n}\nfunction twice() {}\nconst o = {\n  \
                        twice() {}\n};\nnew Cart();\n";

    /// The functions with their lines, and the name of the last one.
    type Found = (Vec<(Option<u32>, Vec<u32>)>, String);

    fn found(location: &Location) -> Result<Found, Missing> {
        let module = Module::read(TEXT, SourceKind::CommonJs).unwrap();
        let placement = find(&File::loaded(&module, "/srv/cart.js"), location)?;
        let lines = |lines: Vec<super::Line>| lines.into_iter().map(|line| line.line).collect();
        let functions = placement.functions.into_iter().map(|(function, of)| (function, lines(of)));
        Ok((functions.collect(), placement.site.function))
    }

    fn lines(lines: &[u32]) -> Location {
        Location::Lines { file: "cart.js".to_owned(), lines: lines.to_vec() }
    }

    fn method(name: &str) -> Location {
        Location::Method { type_name: String::new(), method: name.to_owned(), signature: None, file: None }
    }

    #[test]
    fn lines_belong_to_functions() {
        assert_eq!(found(&lines(&[3, 5])), Ok((vec![(Some(0), vec![3, 5])], "add".to_owned())));
        // A line without code is the next one that has some.
        assert_eq!(found(&lines(&[4])), Ok((vec![(Some(0), vec![5])], "add".to_owned())));
        assert_eq!(found(&lines(&[12])), Ok((vec![(None, vec![12])], String::new())));
        let refused = found(&lines(&[99])).unwrap_err();
        assert_eq!(refused.kind, "NoSuchLine");
    }

    #[test]
    fn lists_of_the_service_know_code_by_all_its_names() {
        let module = Module::read(TEXT, SourceKind::CommonJs).unwrap();
        for location in [lines(&[3]), method("Cart.add")] {
            let site = find(&File::loaded(&module, "/srv/shop/cart.js"), &location).unwrap().site;
            assert_eq!(site.classes, ["Cart"]);
            for name in ["srv/shop/cart.js", "shop/cart", "shop.cart", "cart"] {
                assert!(site.modules.iter().any(|known| known == name), "{name}: {:?}", site.modules);
            }
        }
    }

    #[test]
    fn methods_are_found_by_their_names() {
        assert_eq!(found(&method("Cart.add")), Ok((vec![(Some(0), Vec::new())], "add".to_owned())));
        assert_eq!(found(&method("Cart.prototype.add")), found(&method("Cart.add")));
        let missing = found(&method("Cart.ad")).unwrap_err();
        assert_eq!(missing.reason, "no function `Cart.ad` in /srv/cart.js; nearest: Cart.add");
    }
}

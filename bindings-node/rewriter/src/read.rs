//! A module is read: oxc makes its tree and tells who means whom; one walk over the tree turns it into tables of functions,
//! sites and marks, and the tree goes. On the way of a module being loaded, and again when a probe asks for one.

use crate::names::Hint;
use crate::room;
use crate::slot::{self, NAMES, Slot, SlotKind};
use crate::text::Lines;
use oxc_allocator::Allocator;
use oxc_ast::ast::{Declaration, ExportDefaultDeclarationKind, Program, Statement as Tree};
use oxc_ast_visit::Visit;
use oxc_parser::{ParseOptions, Parser};
use oxc_semantic::{Scoping, SemanticBuilder, Stats};
use oxc_span::{GetSpan, SourceType};
use oxc_syntax::scope::ScopeId;
use oxc_syntax::symbol::SymbolId;
use rustc_hash::{FxHashMap, FxHashSet};
use std::fmt;

/// What Node's wrapper of a CommonJS module declares.
pub(crate) const WRAPPER: [&str; 5] = ["exports", "require", "module", "__filename", "__dirname"];

/// How a text is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// As a script of its own: what it declares at the top is global.
    Script,
    /// In the wrapper that Node puts around a CommonJS module.
    CommonJs,
    /// As a module.
    Esm,
    /// As the body of a function with these parameters.
    Function(&'static [&'static str]),
}

impl SourceKind {
    pub(crate) fn source_type(self) -> SourceType {
        match self {
            SourceKind::Script => SourceType::script(),
            SourceKind::CommonJs | SourceKind::Function(_) => SourceType::cjs(),
            SourceKind::Esm => SourceType::mjs(),
        }
    }

    /// The parameters of the function whose body the text is; none if it is no such body.
    pub(crate) fn parameters(self) -> &'static [&'static str] {
        match self {
            SourceKind::CommonJs => &WRAPPER,
            SourceKind::Function(parameters) => parameters,
            SourceKind::Script | SourceKind::Esm => &[],
        }
    }

    /// True if what the text stands in binds `arguments`.
    pub(crate) fn is_body(self) -> bool {
        matches!(self, SourceKind::CommonJs | SourceKind::Function(_))
    }
}

/// A text that is left as it is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What the matter is.
    pub reason: String,
    /// The line at which it was seen, from 1; 0 if it has none.
    pub line: u32,
}

impl Unreadable {
    pub(crate) fn new(reason: impl Into<String>, line: u32) -> Unreadable {
        Unreadable { reason: reason.into(), line }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => out.write_str(&self.reason),
            line => write!(out, "{} (line {line})", self.reason),
        }
    }
}

impl std::error::Error for Unreadable {}

/// What a function is, as far as lines are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// One with statements.
    Function,
    /// An arrow function that is one expression.
    Expression,
}

/// The beginning of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The line at which it begins, from 1.
    pub line: u32,
    /// The line at which it ends; of a statement with a body, the line at which its head ends.
    pub end: u32,
    /// Its number in the module, for [`crate::Point::Line`].
    pub site: u32,
}

/// What binds `this`, `arguments`, `super` and `new.target`, and how a call ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "they are properties of a function, each on its own")]
pub(crate) struct Nature {
    pub arrow: bool,
    pub concise: bool,
    pub is_async: bool,
    /// It waits for something itself: functions in it do not count.
    pub awaits: bool,
    pub generator: bool,
    /// It is the value of a field of a class, evaluated as if it were an arrow function.
    pub field: bool,
    /// A constructor of a class that extends another.
    pub derived: bool,
    /// An arrow function in one.
    pub in_derived: bool,
    pub strict: bool,
    /// Each parameter is a name, with nothing else to it.
    pub simple: bool,
    /// It names `this`, `arguments`, `new.target`, or an arrow function in it does.
    pub this: bool,
    pub arguments: bool,
    pub new_target: bool,
}

/// A function of a module.
#[derive(Debug)]
pub struct Function {
    /// Its bare name; empty for one without.
    pub name: String,
    /// Its name with that of its class or object: `Class.method`.
    pub qualified: String,
    /// The variable that a function with a name of its own is declared as; else empty.
    pub(crate) variable: String,
    /// `get` or `set`, of an accessor; else empty.
    pub accessor: &'static str,
    /// What it is.
    pub kind: FunctionKind,
    /// The function around it.
    pub parent: Option<usize>,
    /// Its first line.
    pub first: u32,
    /// Its last line.
    pub last: u32,
    /// Why no probe can be in it; nothing if one can.
    pub why_not: Option<&'static str>,
    /// Its statements, without those of functions in it.
    pub statements: Vec<Statement>,
    pub(crate) of_class: bool,
    pub(crate) nature: Nature,
    pub(crate) start: u32,
    /// From after `{` to before `}`; the expression of a concise arrow function.
    pub(crate) body: (u32, u32),
    pub(crate) guard_at: u32,
    pub(crate) params: Vec<String>,
    pub(crate) scope: ScopeId,
    /// The slots it needs, in the order in which the guard makes them.
    pub(crate) slots: Vec<u32>,
}

impl Function {
    /// True if it is the value of a field of a class, which nobody calls by a name.
    pub fn is_field(&self) -> bool {
        self.nature.field
    }

    /// True if `arguments` and the parameters are two names of the same things.
    pub(crate) fn mapped(&self) -> bool {
        self.nature.arguments && !self.nature.arrow && !self.nature.strict && self.nature.simple
    }
}

/// Where the code of a line probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before a statement in a list.
    Listed,
    /// Before a statement that stands alone, as after `else`: both get braces.
    Alone,
    /// Before each evaluation of the condition of a `while`.
    While,
    /// Before each evaluation of the condition of a `do`.
    DoTest,
    /// Before the expression of a concise arrow function.
    Concise,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Site {
    /// Where the statement begins, its label aside.
    pub at: u32,
    pub function: Option<usize>,
    pub place: Place,
    pub scope: ScopeId,
    pub spot: Spot,
}

/// Where a statement stands: in which list, and where in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spot {
    pub list: u32,
    pub at: u32,
}

/// Something to be done at a place of the text. They are in the order of the text; of those at one place, in the order in
/// which they are to be done.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// The innermost function around it.
    pub function: Option<usize>,
    pub at: u32,
    /// What is left out in its favour ends here.
    pub end: u32,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Where it holds that the owner is outside of the function: text with slots in it.
    Outer { owner: u32, parts: Vec<Part> },
    /// The guard of a function.
    Guard(usize),
    /// Something of a statement at which a line probe can be.
    Site(u32, SitePart),
    /// A `return` of this function: with a value, without, or the end of the value.
    Return(usize, ReturnPart),
    /// The end of the module, where what reads its variables stands.
    Names,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SitePart {
    Begin,
    /// The body of a `while` begins.
    Body,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReturnPart {
    Begin,
    End,
    Bare,
}

#[derive(Clone, Debug)]
pub(crate) enum Part {
    Text(&'static str),
    Owned(String),
    /// A slot.
    Slot(u32),
    /// The value of a slot that is called without arguments.
    Value(u32),
}

/// A module that was read.
pub struct Module {
    pub(crate) text: String,
    pub(crate) kind: SourceKind,
    pub(crate) lines: Lines,
    pub(crate) functions: Vec<Function>,
    pub(crate) top_level: Vec<Statement>,
    pub(crate) sites: Vec<Site>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) scoping: Scoping,
    pub(crate) switches: FxHashSet<ScopeId>,
    /// The statement around each list of statements.
    pub(crate) lists: Vec<Option<Spot>>,
    /// Loops that nothing in their heads ends, or only the run does: the function, and from where to where they are.
    pub(crate) loops: Vec<(Option<usize>, u32, u32)>,
    /// Where a debugger stops once for a statement whose beginning it would pass, or stop at many times: by site.
    pub(crate) stops: FxHashMap<u32, u32>,
    /// Classes: to the engine their constructor begins where they do, and a debugger would stop in that.
    pub(crate) unstoppable: FxHashSet<u32>,
    /// The variables of it that code of probes can read wherever it is, in their places.
    pub(crate) names: Vec<String>,
    /// Runs of statements in which no guard is, from where to where.
    pub(crate) still: Vec<(u32, u32)>,
    /// The classes, as far as they are told to people.
    pub(crate) classes: Vec<ClassShape>,
}

/// A class, as far as it is told to people.
#[derive(Clone, Debug)]
pub(crate) struct ClassShape {
    pub span: (u32, u32),
    pub name: String,
    /// What it extends, as it stands there.
    pub extends: Option<String>,
    /// Its fields, where they are, and whether they are of the class itself.
    pub fields: Vec<(String, u32, bool)>,
}

impl fmt::Debug for Module {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Module").field("kind", &self.kind).field("functions", &self.functions).finish_non_exhaustive()
    }
}

impl Module {
    /// Reads a text.
    pub fn read(text: &str, kind: SourceKind) -> Result<Module, Unreadable> {
        fits(text)?;
        deep(text.len(), || {
            let mut module = read(&room::new(text), text, kind, Depth::Probes)?;
            text.clone_into(&mut module.text);
            Ok(module)
        })
    }

    /// The functions. The number of one is its place in the cell of the module.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The statements outside of functions.
    pub fn top_level(&self) -> &[Statement] {
        &self.top_level
    }

    /// The sites of a function at which a probe of a line goes: of the statements that begin there, those that can run without
    /// another of them having run just before. `a(); b()` has one, and so has `if (a) b()`.
    pub fn sites(&self, function: usize, line: u32) -> Vec<u32> {
        self.functions.get(function).map(|of| self.needed(&of.statements, line)).unwrap_or_default()
    }

    /// As [`Module::sites`], of statements whose lines may be those of another file.
    pub fn needed(&self, statements: &[Statement], line: u32) -> Vec<u32> {
        let here: Vec<u32> = statements.iter().filter(|one| one.line == line).map(|one| one.site).collect();
        let follows = |site: &u32| here.iter().any(|other| other != site && self.runs_before(*other, *site));
        here.iter().copied().filter(|site| !follows(site)).collect()
    }

    /// True if a statement cannot be reached but through, or after, the beginning of another.
    fn runs_before(&self, first: u32, then: u32) -> bool {
        let first = self.sites[first as usize].spot;
        let mut spot = Some(self.sites[then as usize].spot);
        while let Some(inner) = spot {
            if inner.list == first.list {
                return first.at <= inner.at;
            }
            spot = self.lists.get(inner.list as usize).copied().flatten();
        }
        false
    }

    /// The functions that a method name of a probe means: `name`, `Class.method` or `Class.prototype.method`.
    pub fn named(&self, wanted: &str) -> Vec<usize> {
        crate::names::named(&self.functions, wanted)
    }
}

/// Says of a text whose places could not be counted that it is too large.
pub(crate) fn fits(text: &str) -> Result<(), Unreadable> {
    if text.len() < u32::MAX as usize / 4 {
        return Ok(());
    }
    Err(Unreadable::new("the file is too large to be read", 0))
}

/// Runs what recurses as deep as a text can be nested: on a stack that is large enough for that. Of a stack only what is used
/// takes memory.
pub(crate) fn deep<T: Send>(
    length: usize,
    run: impl FnOnce() -> Result<T, Unreadable> + Send,
) -> Result<T, Unreadable> {
    /// What a text that is nested as deep as it is long takes at most, for each byte.
    const EACH: usize = 1_500;
    const LARGEST: usize = 1 << 30;
    if length < 1_000 {
        return run();
    }
    let size = (length * EACH).clamp(1 << 22, LARGEST);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("strobe-read".to_owned()).stack_size(size);
        #[allow(clippy::disallowed_methods, reason = "it ends before this function does")]
        let thread = thread.spawn_scoped(scope, run);
        let thread = thread.map_err(|error| Unreadable::new(format!("no thread to read it: {error}"), 0))?;
        thread.join().unwrap_or_else(|_| Err(Unreadable::new("reading it failed; this is an error of Stroboscope", 0)))
    })
}

/// Parses a text that was written here: what does not parse must not be run.
pub(crate) fn check(allocator: &Allocator, text: &str, source_type: SourceType) -> Result<(), Unreadable> {
    let plain = ParseOptions { enable_ident_hashes: false, ..ParseOptions::default() };
    parse_with(allocator, text, source_type, plain).map(|_| ())
}

/// As [`check`], with what is wrong though it parses, on a stack of its own: a name declared twice in a block.
pub(crate) fn check_names(text: &str, source_type: SourceType) -> Result<(), Unreadable> {
    deep(text.len(), || {
        let allocator = Allocator::default();
        let program = parse(&allocator, text, source_type)?;
        let built = SemanticBuilder::new().with_check_syntax_error(true).build(&program);
        match built.diagnostics.first() {
            Some(first) => Err(Unreadable::new(format!("it cannot be compiled: {}", first.message), 0)),
            None => Ok(()),
        }
    })
}

fn parse<'a>(allocator: &'a Allocator, text: &'a str, source_type: SourceType) -> Result<Program<'a>, Unreadable> {
    parse_with(allocator, text, source_type, ParseOptions::default())
}

fn parse_with<'a>(
    allocator: &'a Allocator,
    text: &'a str,
    source_type: SourceType,
    options: ParseOptions,
) -> Result<Program<'a>, Unreadable> {
    let options = ParseOptions { allow_return_outside_function: source_type.is_commonjs(), ..options };
    let parsed = Parser::new(allocator, text, source_type).with_options(options).parse();
    let Some(first) = parsed.diagnostics.first().filter(|_| parsed.panicked || !parsed.diagnostics.is_empty()) else {
        return Ok(parsed.program);
    };
    let at = first.labels.first().map_or(0, |label| Lines::new(text).line(label.offset()));
    Err(Unreadable::new(format!("it cannot be parsed: {}", first.message), at))
}

/// What of a text is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What the guards need: the functions, without names, lines and statements, and their slots.
    Guards,
    /// All.
    Probes,
}

/// Reads a text, which the module does not have in it yet.
pub(crate) fn read(allocator: &Allocator, text: &str, kind: SourceKind, depth: Depth) -> Result<Module, Unreadable> {
    let lines = Lines::new(text);
    let program = parse(allocator, text, kind.source_type())?;
    let built = SemanticBuilder::new().with_stats(expected(text)).build(&program);
    let scoping = built.semantic.into_scoping();
    let mut reader = Reader::new(text, kind, depth, &lines, &scoping);
    reader.visit_program(&program);
    let names = if has_names(text, kind) { slot::names(&reader.slots.list) } else { Vec::new() };
    if let Some(last) = program.body.last().filter(|_| !names.is_empty()) {
        let end = last.span().end;
        reader.mark(end, end, Act::Names);
    }
    let Reader { functions, top_level, sites, marks, slots, switches, lists, loops, .. } = reader;
    let Reader { stops, unstoppable, still, shapes, .. } = reader;
    let slots = slots.list;
    Ok(Module {
        text: String::new(),
        kind,
        lines,
        functions,
        top_level,
        sites,
        marks,
        slots,
        scoping,
        switches,
        lists,
        loops,
        stops,
        unstoppable,
        names,
        still,
        classes: shapes,
    })
}

/// True if what reads the variables of a text may stand in it. What a script declares is global.
fn has_names(text: &str, kind: SourceKind) -> bool {
    kind != SourceKind::Script && memchr::memmem::find(text.as_bytes(), NAMES.as_bytes()).is_none()
}

/// What room to take for the scopes, symbols and references of a text: enough for most. Else oxc counts them in a walk of its
/// own.
fn expected(text: &str) -> Stats {
    let each = |bytes: usize| (text.len() / bytes) as u32 + 16;
    Stats::new(each(8), each(64), each(32), each(12))
}

/// The slots of a module, each once.
#[derive(Default)]
pub(crate) struct Slots {
    list: Vec<Slot>,
    known: FxHashMap<Slot, u32>,
    /// Those that read a variable, by its symbol.
    readers: FxHashMap<SymbolId, u32>,
}

impl Slots {
    pub fn number(&mut self, kind: SlotKind, owner: u32) -> u32 {
        let slot = Slot { kind, owner };
        if let Some(&number) = self.known.get(&slot) {
            return number;
        }
        let number = self.list.len() as u32;
        self.list.push(slot.clone());
        self.known.insert(slot, number);
        number
    }

    /// The one that reads a variable.
    pub fn reader(&mut self, symbol: SymbolId, name: &str, owner: u32) -> u32 {
        if let Some(&number) = self.readers.get(&symbol) {
            return number;
        }
        let number = self.number(SlotKind::Read(Some(symbol), name.to_owned()), owner);
        self.readers.insert(symbol, number);
        number
    }

    pub fn get(&self, number: u32) -> &Slot {
        &self.list[number as usize]
    }
}

/// What code stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Context {
    Function(usize),
    /// A field's value or a static block: it has a `this` of its own.
    Class,
}

/// The walk over the tree.
pub(crate) struct Reader<'m> {
    pub text: &'m str,
    pub kind: SourceKind,
    pub depth: Depth,
    pub lines: &'m Lines,
    pub scoping: &'m Scoping,
    pub functions: Vec<Function>,
    pub top_level: Vec<Statement>,
    pub sites: Vec<Site>,
    pub marks: Vec<Mark>,
    pub slots: Slots,
    /// Functions with slots that they are known to need.
    pub needs: FxHashSet<(usize, u32)>,
    pub switches: FxHashSet<ScopeId>,
    /// What stands around the node that is visited, outermost first.
    pub contexts: Vec<Context>,
    pub scopes: Vec<ScopeId>,
    /// Beginnings of the classes around, with the private names that each declares, and whether it extends another.
    pub classes: Vec<Class>,
    pub hint: Option<Hint>,
    /// Where the statement that is visited stands.
    pub spot: Option<Spot>,
    pub lists: Vec<Option<Spot>>,
    pub loops: Vec<(Option<usize>, u32, u32)>,
    pub stops: FxHashMap<u32, u32>,
    pub unstoppable: FxHashSet<u32>,
    pub still: Vec<(u32, u32)>,
    pub shapes: Vec<ClassShape>,
    /// The next statement is one of a list.
    pub listed: bool,
    /// The label in front of the next statement, which has its site already.
    pub labelled: bool,
    /// Where the callee of a `new` begins.
    pub new_base: Option<u32>,
    pub chains: u32,
    /// The next function is a constructor of such a class.
    pub constructor: Option<bool>,
    /// What the next function is as an accessor.
    pub accessor: &'static str,
    /// What makes names mean something only the run can tell: in all of the module, or in functions.
    pub unclear: Option<&'static str>,
    pub unclear_in: Vec<Option<&'static str>>,
    /// The function of each scope that is one's; the others have [`NONE`].
    pub scope_functions: Vec<u32>,
}

pub(crate) const NONE: u32 = u32::MAX;

pub(crate) struct Class {
    pub start: u32,
    pub privates: Vec<String>,
    /// Those of them that are fields: to read the others may run code.
    pub fields: Vec<String>,
    pub derived: bool,
    pub name: Hint,
}

impl<'m> Reader<'m> {
    fn new(text: &'m str, kind: SourceKind, depth: Depth, lines: &'m Lines, scoping: &'m Scoping) -> Reader<'m> {
        Reader {
            text,
            kind,
            depth,
            lines,
            scoping,
            functions: Vec::new(),
            top_level: Vec::new(),
            sites: Vec::new(),
            marks: Vec::new(),
            slots: Slots::default(),
            needs: FxHashSet::default(),
            switches: FxHashSet::default(),
            contexts: Vec::new(),
            scopes: Vec::new(),
            classes: Vec::new(),
            hint: None,
            spot: None,
            lists: Vec::new(),
            loops: Vec::new(),
            stops: FxHashMap::default(),
            unstoppable: FxHashSet::default(),
            still: Vec::new(),
            shapes: Vec::new(),
            listed: false,
            labelled: false,
            new_base: None,
            chains: 0,
            constructor: None,
            accessor: "",
            unclear: None,
            unclear_in: Vec::new(),
            scope_functions: vec![NONE; scoping.scopes_len()],
        }
    }

    /// True if what only probes need is noted too.
    pub fn is_for_probes(&self) -> bool {
        self.depth == Depth::Probes
    }

    pub fn mark(&mut self, at: u32, end: u32, act: Act) {
        if !self.is_for_probes() && !matches!(act, Act::Guard(_) | Act::Names) {
            return;
        }
        self.marks.push(Mark { function: self.innermost(), at, end, act });
    }

    /// Notes that the functions around a place, as far out as the owner, need a slot if it is in their bodies.
    pub fn need(&mut self, at: u32, owner: u32, slot: u32) {
        let mut around = self.innermost();
        while let Some(number) = around {
            let function = &mut self.functions[number];
            around = function.parent;
            if at >= function.body.1 || at < function.body.0 {
                continue;
            }
            if owner > function.start {
                return;
            }
            if function.takes(self.slots.get(slot)) {
                continue;
            }
            // Functions further out have it as well then.
            if !self.needs.insert((number, slot)) {
                return;
            }
            function.slots.push(slot);
        }
    }

    /// The innermost function whose code this is.
    pub fn function(&self) -> Option<usize> {
        match self.contexts.last()? {
            Context::Function(at) => Some(*at),
            Context::Class => None,
        }
    }

    /// The innermost function around.
    pub fn innermost(&self) -> Option<usize> {
        self.contexts.iter().rev().find_map(|context| match context {
            Context::Function(at) => Some(*at),
            Context::Class => None,
        })
    }

    /// No function around this place, as far out as the owner, can have a probe.
    pub fn refuse(&mut self, owner: u32, why: &'static str) {
        for context in &self.contexts {
            let Context::Function(at) = *context else { continue };
            let function = &mut self.functions[at];
            if function.start >= owner && function.why_not.is_none() {
                function.why_not = Some(why);
            }
        }
    }

    /// Names of this function and of those in it mean something only the run can tell.
    pub fn unclear(&mut self, why: &'static str) {
        self.refuse(0, why);
        match self.innermost() {
            Some(at) => self.unclear_in[at] = Some(why),
            None => self.unclear = Some(why),
        }
    }

    /// Where a statement stands that is alone in its list.
    pub fn new_spot(&mut self, at: u32) -> Spot {
        self.lists.push(self.spot);
        Spot { list: self.lists.len() as u32 - 1, at }
    }

    /// A statement at which a line probe can be.
    pub fn site(&mut self, at: u32, head_end: u32, place: Place) -> u32 {
        if !self.is_for_probes() {
            return 0;
        }
        let number = self.sites.len() as u32;
        let scope = self.scopes.last().copied().unwrap_or_else(|| ScopeId::new(0));
        // A static block runs where its class stands.
        let function = self.innermost();
        let spot = self.spot.unwrap_or_else(|| self.new_spot(at));
        self.sites.push(Site { at, function, place, scope, spot });
        let end = self.lines.line(head_end.max(at));
        let statement = Statement { line: self.lines.line(at), end, site: number };
        match function {
            Some(function) => self.functions[function].statements.push(statement),
            None => self.top_level.push(statement),
        }
        number
    }
}

/// Where the head of a statement ends.
pub(crate) fn head_end(statement: &Tree<'_>) -> u32 {
    let end = |parts: [Option<u32>; 3]| parts.into_iter().flatten().max();
    let start = statement.span().start;
    match statement {
        Tree::IfStatement(it) => it.test.span().end,
        Tree::ForStatement(it) => {
            let init = it.init.as_ref().map(|init| init.span().end);
            let test = it.test.as_ref().map(|test| test.span().end);
            end([init, test, it.update.as_ref().map(|update| update.span().end)]).unwrap_or(start)
        }
        Tree::ForInStatement(it) => it.right.span().end,
        Tree::ForOfStatement(it) => it.right.span().end,
        Tree::WhileStatement(it) => it.test.span().end,
        Tree::SwitchStatement(it) => it.discriminant.span().end,
        Tree::WithStatement(it) => it.object.span().end,
        Tree::ClassDeclaration(it) => it.body.span.start,
        Tree::ExportDeclaration(it) => match &it.declaration {
            Declaration::ClassDeclaration(class) => class.body.span.start,
            _ => it.span.end,
        },
        Tree::ExportDefaultDeclaration(it) => match &it.declaration {
            ExportDefaultDeclarationKind::ClassDeclaration(class) => class.body.span.start,
            _ => it.span.end,
        },
        Tree::DoWhileStatement(_) | Tree::TryStatement(_) => start,
        _ => statement.span().end,
    }
}

impl Nature {
    /// True if its variant is asynchronous too. One that waits for nothing is not: what it does, and when, is the same without,
    /// and its promise settles no turn of microtasks later.
    pub(crate) fn waits(self) -> bool {
        self.is_async && (self.awaits || self.generator)
    }
}

impl Function {
    /// True if what a slot means is handed to the variant in another way: it is of this call.
    pub(crate) fn takes(&self, slot: &Slot) -> bool {
        slot.owner == self.start && matches!(slot.kind, SlotKind::Arguments | SlotKind::NewTarget) && !self.nature.arrow
    }
}

//! The symbol database: the names of a program's modules, classes, functions and variables, for those who write probes to choose
//! from. Hosts hand over facts of one module after the other, on threads of ours; here they become JSON, packed as they come, and
//! batches that the sender takes one at a time. On neither walk; the worker asks the host for more, and [`crate::sender`] uploads.
//!
//! Nothing of it may delay a probe: the host is asked for modules only while no batch waits, and what cannot be delivered is
//! given up.

use crate::config::Settings;
use crate::control::agent::retry::Reason;
use crate::control::agent::symbols::{Event, form};
use crate::control::remote::hex;
use crate::control::turn::Turn;
use crate::emit::batch::{Batch, Kind};
use crate::emit::json::Json;
use crate::emit::output::Identity;
use crate::host::Language;
use crate::probe::location::SourcePath;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha1::{Digest as _, Sha1};
use std::collections::{HashSet, VecDeque};
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Modules of one batch.
pub const MODULES_A_BATCH: usize = 400;
/// Modules of one process.
pub const MAX_MODULES: usize = 10_000;
/// A source file with more bytes is left out: nobody wrote it by hand.
pub const MAX_SOURCE: u64 = 1 << 20;
/// Bytes of JSON of one module; one with more is left out.
pub const MAX_MODULE_JSON: usize = 4 << 20;
/// Bytes of a batch, packed.
const MAX_PACKED: usize = 1 << 20;
/// Scopes of one module, symbols of one scope, and scopes in scopes: what goes beyond is left out.
const MAX_SCOPES: usize = 10_000;
const MAX_SYMBOLS: usize = 1_000;
/// Each level is two of JSON, of which many readers take no more than 128.
const MAX_DEPTH: usize = 48;
/// A batch closes so long after its last module came, in nanoseconds.
const COMPANY_NS: u64 = 1_000_000_000;
/// Nanoseconds between two questions to the host while modules come, and while none does.
const BUSY_NS: u64 = 1_000_000_000;
const IDLE_NS: u64 = 10_000_000_000;
/// How often a batch is sent at most, and the nanoseconds between.
const ATTEMPTS: u32 = 3;
const AGAIN_NS: u64 = 30_000_000_000;
/// A line that is not known, as the end of a scope.
const NO_LINE: u32 = i32::MAX as u32;

/// What a scope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeKind {
    /// A class.
    Class,
    /// A function or method.
    Function,
    /// A function in another.
    Closure,
}

impl ScopeKind {
    fn name(self) -> &'static str {
        match self {
            ScopeKind::Class => "CLASS",
            ScopeKind::Function => "FUNCTION",
            ScopeKind::Closure => "CLOSURE",
        }
    }
}

/// What a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    /// Of an instance.
    Field,
    /// Of a class or module.
    StaticField,
    /// A parameter.
    Argument,
    /// A local.
    Local,
}

impl SymbolKind {
    fn name(self) -> &'static str {
        match self {
            SymbolKind::Field => "FIELD",
            SymbolKind::StaticField => "STATIC_FIELD",
            SymbolKind::Argument => "ARG",
            SymbolKind::Local => "LOCAL",
        }
    }
}

/// A variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// What it is.
    pub kind: SymbolKind,
    /// Its name.
    pub name: String,
    /// The line at which it is first seen; 0 if the host does not know it.
    pub line: u32,
}

/// A class or function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What it is.
    pub kind: ScopeKind,
    /// Its name: bare, or, of a closure, as probes call it.
    pub name: String,
    /// The scope around it, by its position, which comes before its own; `None`: the module.
    pub parent: Option<usize>,
    /// Its first line; 0 if the host does not know it.
    pub first: u32,
    /// Its last line; 0 if the host does not know it.
    pub last: u32,
    /// Its variables.
    pub symbols: Vec<Symbol>,
    /// The lines at which a probe can be, in any order.
    pub lines: Vec<u32>,
    /// The classes that a class extends.
    pub super_classes: Vec<String>,
    /// `coroutine`, `generator` or `asyncgen`, of such a function.
    pub function_type: Option<&'static str>,
    /// `static`, `class` or `property`, of such a method.
    pub method_type: Option<&'static str>,
}

impl Scope {
    /// One of which no more is known.
    pub fn new(kind: ScopeKind, name: String, parent: Option<usize>) -> Scope {
        Scope {
            kind,
            name,
            parent,
            first: 0,
            last: 0,
            symbols: Vec::new(),
            lines: Vec::new(),
            super_classes: Vec::new(),
            function_type: None,
            method_type: None,
        }
    }
}

/// A module, as a host hands it over. The scopes are one flat list, so that neither writing nor dropping deep ones recurses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its source file.
    pub file: String,
    /// Its own variables.
    pub symbols: Vec<Symbol>,
    /// The lines outside of functions at which a probe can be.
    pub lines: Vec<u32>,
    /// What is in it.
    pub scopes: Vec<Scope>,
}

/// The state of the upload of a process.
pub(crate) struct Symbols {
    /// A setting forbids it, or nothing is uploaded.
    forbidden: bool,
    includes: Vec<String>,
    facts: Facts,
    hasher: RandomState,
    state: Mutex<State>,
}

/// Who uploads.
struct Facts {
    service: String,
    env: String,
    version: String,
    language: &'static str,
    runtime_id: String,
    parent_id: Option<String>,
    pid: u32,
}

#[derive(Default)]
struct State {
    wanted: bool,
    /// Keeps other children of the same parent from uploading the same.
    turn: Option<Turn>,
    /// What was told, by a hash of it: the same module is not told again.
    told: HashSet<u64>,
    /// Batches that were closed.
    number: u32,
    open: Option<Open>,
    /// Those that wait for the sender, one that has failed before one that was made meanwhile.
    closed: VecDeque<Closed>,
    /// How often the batch that the sender has was sent.
    attempts: u32,
    /// When the last module came.
    last: u64,
    /// When the host is asked next.
    ask: u64,
}

/// The batch that is being made.
struct Open {
    packed: GzEncoder<Vec<u8>>,
    modules: usize,
}

/// One that waits for the sender.
struct Closed {
    batch: Batch,
    attempts: u32,
    /// Not before this.
    due: u64,
}

impl Symbols {
    /// Nothing is uploaded before somebody asks for it, unless a setting does.
    pub(crate) fn new(settings: &Settings, identity: &Identity, language: Language, uploads: bool) -> Symbols {
        let text = |setting: &Option<String>| setting.clone().unwrap_or_default();
        let facts = Facts {
            service: identity.service.clone(),
            env: text(&settings.env),
            version: text(&settings.version),
            language: language.wire_name(),
            runtime_id: identity.runtime_id.clone(),
            parent_id: identity.parent_id.clone(),
            pid: identity.pid,
        };
        let symbols = Symbols {
            forbidden: !uploads || !settings.symbol_database_upload_enabled,
            includes: settings.symbol_database_includes.clone(),
            facts,
            hasher: RandomState::new(),
            state: Mutex::default(),
        };
        symbols.want(settings.symbol_database_force_upload);
        symbols
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the upload, or ends it. Says whether it goes on now. What was uploaded is not uploaded again.
    pub(crate) fn want(&self, wanted: bool) -> bool {
        let mut state = self.state();
        if !wanted {
            // What waits goes on to wait: the host does not tell it again.
            (state.wanted, state.turn) = (false, None);
            return false;
        }
        if self.forbidden || state.wanted {
            return state.wanted;
        }
        // A process and one of its forked children: the others have the same modules.
        if let Some(parent) = &self.facts.parent_id {
            state.turn = Turn::take(&format!("symbols-{parent}"));
            if state.turn.is_none() {
                log::debug!("stroboscope: another child of the same process uploads its symbols");
                return false;
            }
        }
        state.wanted = true;
        state.ask = 0;
        true
    }

    /// True if an upload may be asked for.
    pub(crate) fn may_go(&self) -> bool {
        !self.forbidden
    }

    /// True while the upload goes on.
    pub(crate) fn are_wanted(&self) -> bool {
        self.state().wanted
    }

    /// True if a module is one of those that are told: the program's own, and what a setting names. `module` is its name, as far
    /// as the host has such names.
    pub(crate) fn include(&self, module: &str, file: &str, is_library: bool) -> bool {
        if !is_library {
            return true;
        }
        let path = SourcePath::new(file).text();
        self.includes.iter().any(|package| {
            let rest = module.strip_prefix(package.as_str());
            let is_module = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            is_module
                || path.contains(&format!("-packages/{package}/"))
                || path.contains(&format!("node_modules/{package}/"))
        })
    }

    /// Takes a module. Says whether the host is to go on; if not, it is asked again later. Called on threads of ours that may
    /// take their time: a file is read here, and packed.
    pub(crate) fn take(&self, module: &Module, now: u64) -> bool {
        if !self.are_wanted() {
            return false;
        }
        let source = Source::of(&module.file);
        let json = (source != Source::Unfit).then(|| written(module, source.hash()));
        let json = json.filter(|json| json.len() <= MAX_MODULE_JSON);
        let mut state = self.state();
        let Some(json) = json else { return state.goes_on() };
        // One that comes although a batch waits is taken too: a host may have several of one file.
        if state.wanted && state.told.len() < MAX_MODULES && state.told.insert(self.hasher.hash_one(&json)) {
            state.last = now;
            // Where one comes, others do.
            state.ask = state.ask.min(now.saturating_add(BUSY_NS));
            let number = state.number + 1;
            let open = state.open.get_or_insert_with(|| self.begun(number));
            let comma: &[u8] = if open.modules == 0 { b"" } else { b"," };
            // Writing into memory cannot fail.
            let _ = open.packed.write_all(comma).and_then(|()| open.packed.write_all(&json));
            open.modules += 1;
            if open.modules >= MODULES_A_BATCH || open.packed.get_ref().len() >= MAX_PACKED {
                self.close(&mut state, now);
                state.ask = now;
            }
        }
        if state.told.len() >= MAX_MODULES {
            self.close(&mut state, now);
        }
        state.goes_on()
    }

    /// The beginning of a batch's file.
    fn begun(&self, number: u32) -> Open {
        let head = Json::text_of(|json| {
            json.raw(b"{\"schema_version\":1");
            for (name, text) in [
                ("service", &*self.facts.service),
                ("env", &self.facts.env),
                ("version", &self.facts.version),
                ("language", self.facts.language),
                ("upload_id", &self.facts.runtime_id),
            ] {
                json.raw(b",");
                json.string(name);
                json.raw(b":");
                json.string(text);
            }
            json.raw(b",\"batch_num\":");
            json.integer(number);
            json.raw(b",\"final\":false,\"scopes\":[");
        });
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing into memory cannot fail.
        let _ = packed.write_all(&head);
        Open { packed, modules: 0 }
    }

    fn close(&self, state: &mut State, now: u64) {
        let Some(mut open) = state.open.take() else { return };
        // Writing into memory cannot fail.
        let file = open.packed.write_all(b"]}").and_then(|()| open.packed.finish()).unwrap_or_default();
        state.number += 1;
        let event = Event {
            ddsource: "dd_debugger",
            service: &self.facts.service,
            version: &self.facts.version,
            language: self.facts.language,
            runtime_id: &self.facts.runtime_id,
            parent_id: self.facts.parent_id.as_deref(),
            kind: "symdb",
            upload_id: &self.facts.runtime_id,
            batch_num: state.number,
            is_final: false,
            attachment_size: file.len(),
        };
        let body = form(&event, self.facts.pid, &file);
        let batch = Batch { kind: Kind::Symbols, body, count: open.modules, riders: Vec::new() };
        state.closed.push_back(Closed { batch, attempts: 0, due: now });
    }

    /// The batch that is to be sent now; one that the sender does not take comes back by [`Symbols::put_back`].
    pub(crate) fn due(&self, now: u64) -> Option<Batch> {
        let mut state = self.state();
        if !state.wanted {
            return None;
        }
        if state.open.is_some() && now >= state.last.saturating_add(COMPANY_NS) {
            self.close(&mut state, now);
        }
        state.closed.front().filter(|closed| closed.due <= now)?;
        let closed = state.closed.pop_front()?;
        state.attempts = closed.attempts;
        Some(closed.batch)
    }

    /// The sender had no room for a batch.
    pub(crate) fn put_back(&self, batch: Batch, now: u64) {
        let mut state = self.state();
        let attempts = state.attempts;
        state.closed.push_front(Closed { batch, attempts, due: now.saturating_add(BUSY_NS) });
    }

    /// A batch did not arrive: it is tried again, or given up, and with it the upload where the Agent has no place for it. Says
    /// how many modules are lost.
    pub(crate) fn failed(&self, batch: Batch, reason: Reason, status: u16, now: u64) -> usize {
        let lost = batch.count;
        let attempts = self.state().attempts + 1;
        if matches!(status, 404 | 405) {
            log::info!(target: "stroboscope", "{NO_PLACE} ({status})");
            *self.state() = State::default();
            return lost;
        }
        if reason == Reason::Rejected || attempts >= ATTEMPTS {
            log::debug!("stroboscope: symbols of {lost} modules did not get to the Agent: {}", reason.name());
            return lost;
        }
        self.state().closed.push_front(Closed {
            batch,
            attempts,
            due: now.saturating_add(AGAIN_NS * u64::from(attempts)),
        });
        0
    }

    /// True if the host is to be asked for modules now.
    pub(crate) fn asks(&self, now: u64) -> bool {
        let mut state = self.state();
        if !state.goes_on() || now < state.ask {
            return false;
        }
        state.ask = now.saturating_add(IDLE_NS);
        true
    }

    /// Nanoseconds in which nothing is to be done; nothing if nothing ever is.
    pub(crate) fn due_in(&self, now: u64) -> Option<u64> {
        let state = self.state();
        if !state.wanted {
            return None;
        }
        let closing = state.open.as_ref().map(|_| state.last.saturating_add(COMPANY_NS));
        let sending = state.closed.front().map(|closed| closed.due);
        let asking = state.goes_on().then_some(state.ask);
        [closing, sending, asking].into_iter().flatten().min().map(|due| due.saturating_sub(now))
    }
}

/// What is said where there is nobody for symbols.
const NO_PLACE: &str = "the Agent does not take symbols: the names of the program are not uploaded";

impl State {
    /// More modules are wanted.
    fn goes_on(&self) -> bool {
        self.wanted && self.closed.is_empty() && self.told.len() < MAX_MODULES
    }
}

/// What stands in a module's file.
#[derive(PartialEq)]
enum Source {
    /// Nothing that can be read: modules may be made without files.
    Absent,
    /// Not what a program is written in, or too much of it: the module is left out.
    Unfit,
    /// The hash that git has for the content.
    Hash(String),
}

impl Source {
    fn of(file: &str) -> Source {
        let Ok(data) = fs::metadata(file) else { return Source::Absent };
        // A pipe may never end.
        if !data.is_file() || data.len() > MAX_SOURCE {
            return Source::Unfit;
        }
        fs::read(file).map_or(Source::Absent, |content| Source::Hash(git_hash(&content)))
    }

    fn hash(&self) -> Option<&str> {
        match self {
            Source::Hash(hash) => Some(hash),
            _ => None,
        }
    }
}

fn git_hash(content: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    hex(&hash.finalize())
}

/// The JSON of a module.
fn written(module: &Module, hash: Option<&str>) -> Vec<u8> {
    let mut within: Vec<Vec<usize>> = vec![Vec::new(); module.scopes.len().min(MAX_SCOPES)];
    let mut outermost = Vec::new();
    for (at, scope) in module.scopes.iter().enumerate().take(MAX_SCOPES) {
        match scope.parent.filter(|parent| *parent < at) {
            Some(parent) => within[parent].push(at),
            None => outermost.push(at),
        }
    }
    Json::text_of(|json| {
        let shape = Shape { kind: "MODULE", name: &module.name, file: &module.file, first: 0, last: 0 };
        shape.write(json, &module.symbols, &module.lines);
        json.raw(b",\"language_specifics\":{");
        if let Some(hash) = hash {
            json.raw(b"\"file_hash\":");
            json.string(hash);
        }
        json.raw(b"},\"scopes\":[");
        // Scopes that are open, each by those in it that are still to come.
        let mut open = vec![outermost.into_iter()];
        while let Some(next) = open.last_mut().map(Iterator::next) {
            let Some(at) = next else {
                open.pop();
                json.raw(b"]}");
                continue;
            };
            let scope = &module.scopes[at];
            json.next(b",");
            let (name, kind) = (&*scope.name, scope.kind.name());
            let shape = Shape { kind, name, file: &module.file, first: scope.first, last: scope.last };
            shape.write(json, &scope.symbols, &scope.lines);
            specifics(json, scope);
            json.raw(b",\"scopes\":[");
            let inner = if open.len() < MAX_DEPTH { std::mem::take(&mut within[at]) } else { Vec::new() };
            open.push(inner.into_iter());
        }
    })
}

/// What all scopes have.
struct Shape<'m> {
    kind: &'static str,
    name: &'m str,
    file: &'m str,
    first: u32,
    last: u32,
}

impl Shape<'_> {
    fn write(&self, json: &mut Json<'_>, symbols: &[Symbol], lines: &[u32]) {
        json.raw(b"{\"scope_type\":");
        json.string(self.kind);
        json.raw(b",\"name\":");
        json.string(self.name);
        json.raw(b",\"source_file\":");
        json.string(self.file);
        json.raw(b",\"start_line\":");
        json.integer(self.first);
        json.raw(b",\"end_line\":");
        json.integer(if self.last == 0 { NO_LINE } else { self.last });
        json.raw(b",\"symbols\":[");
        for symbol in symbols.iter().take(MAX_SYMBOLS) {
            json.next(b",");
            json.raw(b"{\"symbol_type\":");
            json.string(symbol.kind.name());
            json.raw(b",\"name\":");
            json.string(&symbol.name);
            json.raw(b",\"line\":");
            json.integer(symbol.line);
            json.raw(b",\"type\":null,\"language_specifics\":{}}");
        }
        let ranges = ranges(lines);
        json.raw(b"],\"has_injectible_lines\":");
        json.raw(if ranges.is_empty() { &b"false"[..] } else { b"true" });
        json.raw(b",\"injectible_lines\":[");
        for (start, end) in ranges {
            json.next(b",");
            json.raw(b"{\"start\":");
            json.integer(start);
            json.raw(b",\"end\":");
            json.integer(end);
            json.raw(b"}");
        }
        json.raw(b"]");
    }
}

/// What is said of a scope in the words of its language.
fn specifics(json: &mut Json<'_>, scope: &Scope) {
    json.raw(b",\"language_specifics\":{");
    if !scope.super_classes.is_empty() {
        json.raw(b"\"super_classes\":[");
        for name in &scope.super_classes {
            json.next(b",");
            json.string(name);
        }
        json.raw(b"]");
    }
    for (name, text) in [("function_type", scope.function_type), ("method_type", scope.method_type)] {
        let Some(text) = text else { continue };
        json.next(b",");
        json.string(name);
        json.raw(b":");
        json.string(text);
    }
    json.raw(b"}");
}

/// Runs of lines.
fn ranges(lines: &[u32]) -> Vec<(u32, u32)> {
    let mut sorted: Vec<u32> = lines.iter().copied().filter(|line| *line > 0).collect();
    sorted.sort_unstable();
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for line in sorted {
        match ranges.last_mut() {
            Some((_, end)) if line <= end.saturating_add(1) => *end = line,
            _ => ranges.push((line, line)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use serde_json::{Value, json};
    use std::io::Read as _;

    const SECOND: u64 = 1_000_000_000;
    const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/emit/symbols.rs");

    fn symbols(change: impl FnOnce(&mut Settings)) -> Symbols {
        let mut settings = Settings { symbol_database_force_upload: true, ..Settings::default() };
        change(&mut settings);
        let identity = Identity { service: "shop".into(), runtime_id: "r1".into(), pid: 7, ..Identity::default() };
        Symbols::new(&settings, &identity, Language::Python, true)
    }

    fn module(name: &str) -> Module {
        Module { name: name.to_owned(), file: HERE.to_owned(), ..Module::default() }
    }

    /// The event of a batch, and what its file holds.
    fn opened(batch: &Batch) -> (Value, Value) {
        let find = |from: usize, text: &[u8]| {
            from + batch.body[from..].windows(text.len()).position(|window| window == text).expect("it is there")
        };
        let begin = find(0, b"\r\n\r\n") + 4;
        let end = find(begin, b"\r\n--");
        let event: Value = serde_json::from_slice(&batch.body[begin..end]).expect("JSON");
        let begin = find(end, b"\r\n\r\n") + 4;
        let size = usize::try_from(event["attachmentSize"].as_u64().expect("a number")).expect("small");
        let mut text = String::new();
        GzDecoder::new(&batch.body[begin..begin + size]).read_to_string(&mut text).expect("packed");
        (event, serde_json::from_str(&text).expect("JSON"))
    }

    #[test]
    fn a_batch_has_the_shape_of_the_specification() {
        let symbols = symbols(|settings| {
            settings.env = Some("e1".into());
            settings.version = Some("1.2.3".into());
        });
        let mut cart = module("shop.cart");
        cart.lines = vec![3, 1, 2, 9];
        cart.symbols = vec![Symbol { kind: SymbolKind::StaticField, name: "RATE".into(), line: 2 }];
        let mut class = Scope::new(ScopeKind::Class, "Cart".into(), None);
        class.super_classes = vec!["shop.base.Base".into()];
        let mut method = Scope::new(ScopeKind::Function, "total".into(), Some(0));
        (method.first, method.last, method.lines) = (5, 8, vec![6, 8]);
        method.function_type = Some("generator");
        method.symbols = vec![
            Symbol { kind: SymbolKind::Argument, name: "self".into(), line: 5 },
            Symbol { kind: SymbolKind::Local, name: "sum".into(), line: 6 },
        ];
        let closure = Scope::new(ScopeKind::Closure, "<lambda>".into(), Some(1));
        cart.scopes = vec![class, method, closure];
        assert!(symbols.take(&cart, SECOND));
        assert!(symbols.take(&module("shop.empty"), SECOND));
        assert!(symbols.due(2 * SECOND - 1).is_none(), "more may come");
        let batch = symbols.due(2 * SECOND).expect("it is closed");
        assert_eq!((batch.kind, batch.count), (Kind::Symbols, 2));
        let (event, file) = opened(&batch);
        let size = event["attachmentSize"].clone();
        assert_eq!(
            event,
            json!({"ddsource": "dd_debugger", "service": "shop", "version": "1.2.3", "language": "python", "runtimeId": "r1",
                "parentId": null, "type": "symdb", "uploadId": "r1", "batchNum": 1, "final": false, "attachmentSize": size})
        );
        for (name, value) in [("schema_version", json!(1)), ("service", json!("shop")), ("env", json!("e1"))] {
            assert_eq!(file[name], value, "{name}");
        }
        assert_eq!((&file["upload_id"], &file["batch_num"], &file["final"]), (&json!("r1"), &json!(1), &json!(false)));
        let hash = git_hash(&fs::read(HERE).expect("this file"));
        let variable = |kind: &str, name: &str, line: u32| json!({"symbol_type": kind, "name": name, "line": line, "type": null, "language_specifics": {}});
        // What every scope has, and what is known of this one.
        let scope = |kind: &str, name: &str, known: &Value| {
            let mut scope = json!({"scope_type": kind, "name": name, "source_file": HERE, "start_line": 0,
                "end_line": 2_147_483_647, "symbols": [], "has_injectible_lines": false, "injectible_lines": [],
                "language_specifics": {}, "scopes": []});
            for (name, value) in known.as_object().expect("an object") {
                scope[name] = value.clone();
            }
            scope
        };
        let closure = scope("CLOSURE", "<lambda>", &json!({}));
        let symbols = [variable("ARG", "self", 5), variable("LOCAL", "sum", 6)];
        let lines = json!([{"start": 6, "end": 6}, {"start": 8, "end": 8}]);
        let method = scope(
            "FUNCTION",
            "total",
            &json!({"start_line": 5, "end_line": 8, "symbols": symbols,
            "has_injectible_lines": true, "injectible_lines": lines,
            "language_specifics": {"function_type": "generator"}, "scopes": [closure]}),
        );
        let class = scope(
            "CLASS",
            "Cart",
            &json!({"language_specifics": {"super_classes": ["shop.base.Base"]},
            "scopes": [method]}),
        );
        let lines = json!([{"start": 1, "end": 3}, {"start": 9, "end": 9}]);
        let module = scope(
            "MODULE",
            "shop.cart",
            &json!({"symbols": [variable("STATIC_FIELD", "RATE", 2)],
            "has_injectible_lines": true, "injectible_lines": lines, "language_specifics": {"file_hash": hash},
            "scopes": [class]}),
        );
        assert_eq!(file["scopes"][0], module);
        assert_eq!(file["scopes"][1]["name"], "shop.empty");
        assert_eq!(file["scopes"].as_array().expect("a list").len(), 2);
    }

    #[test]
    fn the_hash_is_the_one_of_git() {
        assert_eq!(git_hash(b""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
        assert_eq!(git_hash(b"hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
    }

    #[test]
    fn four_hundred_modules_close_a_batch_and_the_host_waits_for_it() {
        let symbols = symbols(|_| {});
        for number in 1..MODULES_A_BATCH {
            assert!(symbols.take(&module(&format!("m{number}")), 5), "{number}");
        }
        assert!(symbols.asks(5));
        assert!(!symbols.take(&module("m400"), 5), "a batch waits");
        assert!(!symbols.asks(60 * SECOND), "as long as it does");
        let batch = symbols.due(5).expect("it leaves at once");
        assert_eq!(batch.count, MODULES_A_BATCH);
        assert!(symbols.asks(60 * SECOND) && symbols.take(&module("m401"), 60 * SECOND));
        let batch = symbols.due(61 * SECOND).expect("the next one");
        assert_eq!(opened(&batch).0["batchNum"], 2);
        assert_eq!(opened(&batch).1["batch_num"], 2);
    }

    #[test]
    fn the_same_module_is_told_once_and_another_one_of_its_name_again() {
        let symbols = symbols(|_| {});
        symbols.take(&module("m"), 5);
        symbols.take(&module("m"), 5);
        symbols.take(&Module { lines: vec![4], ..module("m") }, 5);
        assert_eq!(symbols.due(2 * SECOND).expect("a batch").count, 2);
        symbols.take(&module("m"), 5 * SECOND);
        assert!(symbols.due(9 * SECOND).is_none(), "nothing is new");
        assert!(!symbols.want(false) && symbols.want(true));
        symbols.take(&module("m"), 9 * SECOND);
        assert!(symbols.due(12 * SECOND).is_none(), "nor is it after it was switched off and on");
    }

    #[test]
    fn what_is_too_large_is_left_out() {
        let symbols = symbols(|_| {});
        symbols.take(&Module { file: "/dev/zero".into(), ..module("endless") }, 5);
        symbols.take(&module(&"x".repeat(MAX_MODULE_JSON)), 5);
        assert!(symbols.due(2 * SECOND).is_none());
        symbols.take(&Module { file: "/no/such.py".into(), ..module("gone") }, 5);
        let gone = opened(&symbols.due(2 * SECOND).expect("its source is not needed")).1;
        assert_eq!(gone["scopes"][0]["language_specifics"], json!({}));
        let mut deep = module("deep");
        deep.scopes = (0..100_000_usize)
            .map(|at| Scope::new(ScopeKind::Closure, "f".into(), at.checked_sub(1).filter(|_| at < 1_000)))
            .collect();
        symbols.take(&deep, 5);
        let batch = symbols.due(2 * SECOND).expect("what is left");
        let scopes = &opened(&batch).1["scopes"][0]["scopes"];
        assert!(scopes.as_array().expect("a list").len() <= MAX_SCOPES);
        let depth = std::iter::successors(Some(&scopes[0]), |scope| scope["scopes"].get(0)).count();
        assert_eq!(depth, MAX_DEPTH);
    }

    #[test]
    fn ten_thousand_modules_are_the_most() {
        let symbols = symbols(|_| {});
        let mut sent = 0;
        for number in 0..MAX_MODULES + 500 {
            if !symbols.take(&module(&format!("m{number}")), 5) {
                sent += symbols.due(5).map_or(0, |batch| batch.count);
            }
        }
        sent += symbols.due(5 * SECOND).map_or(0, |batch| batch.count);
        assert_eq!(sent, MAX_MODULES);
        assert!(!symbols.asks(100 * SECOND));
    }

    #[test]
    fn what_fails_is_tried_three_times_and_a_refusal_not_again() {
        let symbols = symbols(|_| {});
        symbols.take(&module("m"), 5);
        let batch = symbols.due(2 * SECOND).expect("a batch");
        assert_eq!(symbols.failed(batch, Reason::Transport, 503, 2 * SECOND), 0);
        assert!(symbols.due(31 * SECOND).is_none() && !symbols.asks(31 * SECOND), "it waits");
        let batch = symbols.due(32 * SECOND).expect("again");
        symbols.put_back(batch, 32 * SECOND);
        let batch = symbols.due(33 * SECOND).expect("a sender without room is no failure");
        assert_eq!(symbols.failed(batch, Reason::Transport, 0, 33 * SECOND), 0);
        let batch = symbols.due(93 * SECOND).expect("once more");
        assert_eq!(symbols.failed(batch, Reason::Transport, 0, 93 * SECOND), 1);
        symbols.take(&module("n"), 93 * SECOND);
        let batch = symbols.due(95 * SECOND).expect("a batch");
        assert_eq!(symbols.failed(batch, Reason::Rejected, 413, 95 * SECOND), 1);
        assert!(symbols.due(1_000 * SECOND).is_none());
        assert!(symbols.are_wanted(), "other modules may be taken");
    }

    #[test]
    fn an_agent_without_the_endpoint_is_left_alone() {
        let symbols = symbols(|_| {});
        symbols.take(&module("m"), 5);
        let batch = symbols.due(2 * SECOND).expect("a batch");
        symbols.failed(batch, Reason::Rejected, 404, 2 * SECOND);
        assert!(!symbols.are_wanted() && !symbols.asks(100 * SECOND) && !symbols.take(&module("n"), 5));
        assert_eq!(symbols.due_in(5), None);
    }

    #[test]
    fn nothing_is_uploaded_unasked_or_where_it_is_forbidden() {
        let asked = symbols(|settings| settings.symbol_database_force_upload = false);
        assert!(!asked.are_wanted() && asked.want(true) && asked.are_wanted());
        let forbidden = symbols(|settings| settings.symbol_database_upload_enabled = false);
        assert!(!forbidden.want(true) && !forbidden.asks(5));
        let identity = Identity::default();
        let settings = Settings { symbol_database_force_upload: true, ..Settings::default() };
        assert!(!Symbols::new(&settings, &identity, Language::Python, false).are_wanted(), "there is no sender");
    }

    #[test]
    fn of_the_forked_children_of_a_process_one_uploads() {
        let settings = Settings { symbol_database_force_upload: true, ..Settings::default() };
        let child = |parent: &str| {
            let parent_id = Some(format!("{parent}-{}", std::process::id()));
            let identity = Identity { parent_id, ..Identity::default() };
            Symbols::new(&settings, &identity, Language::Python, true)
        };
        let first = child("a");
        assert!(first.are_wanted() && !child("a").are_wanted() && child("b").are_wanted());
        first.want(false);
        assert!(child("a").are_wanted(), "its turn is over");
    }

    #[test]
    fn libraries_are_told_where_a_setting_names_them() {
        let symbols = symbols(|settings| settings.symbol_database_includes = vec!["requests".into()]);
        let includes = |module: &str, file: &str| symbols.include(module, file, true);
        assert!(symbols.include("shop", "/srv/shop.py", false));
        assert!(includes("requests", "/x/requests/__init__.py") && includes("requests.api", "/x/requests/api.py"));
        assert!(!includes("requests_mock", "/x/requests_mock.py"));
        assert!(
            includes("", "/srv/node_modules/requests/index.js")
                && !includes("", "/srv/node_modules/requestsy/index.js")
        );
    }
}

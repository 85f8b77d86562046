//! What is told of modules to those who write probes, for the symbol database: one after the other, on the hands' thread, with
//! rests, when there is nothing else to do. A module is parsed for it, and what comes of that is not kept. On neither walk;
//! [`crate::hands`] comes before, the rewriter's outline after.

use crate::origins::Origins;
use crate::session;
use crate::units::{self, Unit};
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::emit::symbols::{Module, Scope, ScopeKind, Symbol, SymbolKind};
use stroboscope_core::probe::location::Candidate;
use stroboscope_rewriter::{Outline, OutlineKind, OutlineScope};

/// The shortest rest between two modules, in nanoseconds.
const REST_NS: u64 = 1_000_000;

/// What was told, and what is to be told now.
#[derive(Default)]
struct Telling {
    /// Units, by their numbers.
    told: HashSet<u32>,
    /// The last one first.
    now: Vec<(u32, Arc<Unit>)>,
    rest: u64,
}

static TELLING: Mutex<Option<Telling>> = Mutex::new(None);

fn telling() -> MutexGuard<'static, Option<Telling>> {
    TELLING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session begins, or ends: nothing was told.
pub fn forget() {
    *telling() = None;
}

/// The core wants more modules, if there are any.
pub fn begin() {
    let mut telling = telling();
    let telling = telling.get_or_insert_default();
    if telling.now.is_empty() {
        let is_new = |(number, unit): &(u32, Arc<Unit>)| {
            let is_library = Candidate::new(&unit.path, false).is_library();
            !telling.told.contains(number)
                && unit.path.starts_with('/')
                && session::wants_symbols(&unit.path, is_library)
        };
        telling.now = units::all().into_iter().filter(is_new).rev().collect();
        telling.rest = REST_NS;
    }
}

/// How long to rest before the next module; nothing if there is none.
pub fn rest() -> Option<Duration> {
    let telling = telling();
    let telling = telling.as_ref().filter(|telling| !telling.now.is_empty())?;
    Some(Duration::from_nanos(telling.rest))
}

/// Tells the next module. Afterwards the hands rest for as long as it took.
pub fn tell_one() {
    let began = SystemClock.monotonic();
    let next = telling().as_mut().and_then(|telling| {
        let (number, unit) = telling.now.pop()?;
        telling.told.insert(number);
        Some(unit)
    });
    let Some(unit) = next else { return };
    let mut goes_on = true;
    for module in facts(&unit) {
        goes_on &= session::symbols(&module);
    }
    if let Some(telling) = &mut *telling() {
        if !goes_on {
            telling.now.clear();
        }
        telling.rest = SystemClock.monotonic().saturating_sub(began).max(REST_NS);
    }
}

/// What is told of a module: of one that was compiled of others, of each of those.
fn facts(unit: &Unit) -> Vec<Module> {
    let outline = match unit.read_once() {
        Ok(module) => module.outline(),
        Err(error) => {
            log::debug!("stroboscope: the symbols of {} cannot be read: {error}", unit.path);
            return Vec::new();
        }
    };
    let mut modules = Modules { path: &unit.path, origins: unit.origins(), found: BTreeMap::new() };
    modules.take(outline);
    modules.found.into_iter().map(|(file, (module, _))| Module { name: file.clone(), file, ..module }).collect()
}

/// Modules that are being made, by their files, each with the numbers that its scopes had in the outline.
struct Modules<'u> {
    path: &'u str,
    origins: Option<&'u Origins>,
    found: BTreeMap<String, (Module, BTreeMap<usize, usize>)>,
}

impl Modules<'_> {
    /// Where a place of the text that runs is in the file that a person wrote.
    fn place(&self, (line, column): (u32, u32)) -> Option<(&str, u32)> {
        match self.origins {
            None => Some((self.path, line)),
            Some(origins) => {
                origins.place(line, column).filter(|(file, ..)| !file.is_empty()).map(|(file, line, _)| (file, line))
            }
        }
    }

    /// As [`Modules::place`], where it is in this file.
    fn line_in(&self, file: &str, at: (u32, u32)) -> Option<u32> {
        self.place(at).filter(|(known, _)| *known == file).map(|(_, line)| line)
    }

    fn module(&mut self, file: &str) -> &mut (Module, BTreeMap<usize, usize>) {
        self.found.entry(file.to_owned()).or_default()
    }

    fn take(&mut self, outline: Outline) {
        if self.origins.is_none() {
            self.module(self.path);
        }
        for (name, at) in outline.variables {
            let Some((file, line)) = self.place(at).map(|(file, line)| (file.to_owned(), line)) else { continue };
            self.module(&file).0.symbols.push(Symbol { kind: SymbolKind::StaticField, name, line });
        }
        for at in outline.places {
            let Some((file, line)) = self.place(at).map(|(file, line)| (file.to_owned(), line)) else { continue };
            self.module(&file).0.lines.push(line);
        }
        for (number, scope) in outline.scopes.into_iter().enumerate() {
            let Some((file, first)) = self.place(scope.begin).map(|(file, line)| (file.to_owned(), line)) else {
                continue;
            };
            let (parent, scope) = self.scope(scope, &file, first);
            let (module, numbers) = self.module(&file);
            let parent = parent.and_then(|parent| numbers.get(&parent).copied());
            numbers.insert(number, module.scopes.len());
            module.scopes.push(Scope { parent, ..scope });
        }
    }

    /// A scope, and the number of the one around it in the outline.
    fn scope(&self, of: OutlineScope, file: &str, first: u32) -> (Option<usize>, Scope) {
        let kind = match of.kind {
            OutlineKind::Class => ScopeKind::Class,
            OutlineKind::Function => ScopeKind::Function,
            OutlineKind::Closure => ScopeKind::Closure,
        };
        let name = if of.name.is_empty() { "<anonymous>".to_owned() } else { of.name };
        let mut scope = Scope::new(kind, name, None);
        scope.first = first;
        scope.lines = of.places.iter().filter_map(|at| self.line_in(file, *at)).collect();
        // Maps say where code begins, not where it ends.
        let last = if self.origins.is_none() { of.last } else { scope.lines.iter().copied().max().unwrap_or(first) };
        scope.last = last.max(first);
        let arguments = of.arguments.into_iter().map(|name| Symbol { kind: SymbolKind::Argument, name, line: first });
        scope.symbols.extend(arguments);
        for (name, at) in of.locals {
            let line = self.line_in(file, at).unwrap_or(0);
            scope.symbols.push(Symbol { kind: SymbolKind::Local, name, line });
        }
        for (name, at, is_static) in of.fields {
            let kind = if is_static { SymbolKind::StaticField } else { SymbolKind::Field };
            scope.symbols.push(Symbol { kind, name, line: self.line_in(file, at).unwrap_or(0) });
        }
        scope.super_classes.extend(of.extends);
        scope.function_type = match (of.is_async, of.is_generator) {
            (true, true) => Some("asyncgen"),
            (true, false) => Some("coroutine"),
            (false, true) => Some("generator"),
            (false, false) => None,
        };
        scope.method_type = of.is_accessor.then_some("property");
        (of.parent, scope)
    }
}

//! What is visible at a point of a function, and how the code of a probe reads it there.

use crate::read::{Module, SourceKind, WRAPPER};
use crate::slot::{NAMES, SlotKind};
use crate::variant::Point;
use oxc_syntax::scope::ScopeId;
use oxc_syntax::symbol::{SymbolFlags, SymbolId};
use std::collections::HashSet;

/// Where a variable comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariableKind {
    /// A parameter.
    Argument,
    /// A local.
    Local,
    /// A variable of a function around, which the code of this one names.
    Closure,
    /// A variable of the module, which the code of this one names.
    Module,
    /// A variable of the module, which other functions name and this one does not.
    Elsewhere,
}

/// A variable that the code of a probe can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// An expression with its value, or `$s.absent` if it is not bound yet. It runs no code of the program.
    pub text: String,
    /// Where it comes from.
    pub kind: VariableKind,
}

/// What is visible at a point.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// An expression with `this`, where there is one.
    pub this: Option<String>,
    /// The variables, innermost first; each name once.
    pub variables: Vec<Variable>,
    /// The private fields of the classes around, innermost first: names with `#`, each with an expression for a function that
    /// reads it from any object, and gives `$s.absent` for one that has none. It runs no code of the program.
    pub privates: Vec<(String, String)>,
}

impl Module {
    /// What is visible at a point of a function.
    pub fn scope(&self, function: usize, point: Point) -> Scope {
        let Some(of) = self.functions.get(function) else { return Scope::default() };
        let privates = self.private_readers(function);
        let mut scope = Scope { this: self.this_text(function), variables: Vec::new(), privates };
        let mut seen: HashSet<String> = HashSet::new();
        let locals = match point {
            Point::Entry => Vec::new(),
            Point::Line(site) => self.locals_at(Some(function), site),
            Point::Return | Point::Throw => {
                let names = self.own_locals(function);
                names.into_iter().enumerate().map(|(at, name)| (name, Some(format!("$s_l({at})")))).collect()
            }
        };
        let parameters: Vec<&String> = of.params.iter().collect();
        for (name, text) in locals {
            let kind = if parameters.contains(&&name) { VariableKind::Argument } else { VariableKind::Local };
            if seen.insert(name.clone())
                && let Some(text) = text
            {
                scope.variables.push(Variable { name, text, kind });
            }
        }
        for name in parameters {
            if seen.insert(name.clone()) {
                scope.variables.push(Variable { name: name.clone(), text: name.clone(), kind: VariableKind::Argument });
            }
        }
        for (place, &slot) in of.slots.iter().enumerate() {
            let slot = &self.slots[slot as usize];
            let SlotKind::Read(symbol, name) = &slot.kind else { continue };
            if (symbol.is_some() || !WRAPPER.contains(&name.as_str())) && seen.insert(name.clone()) {
                let kind = if slot.owner == 0 { VariableKind::Module } else { VariableKind::Closure };
                scope.variables.push(Variable { name: name.clone(), text: format!("$s_a($s_c[{place}])"), kind });
            }
        }
        for (at, name) in self.elsewhere(function, &seen) {
            let text = match self.kind {
                SourceKind::Script => format!("$s_a(()=>{name})"),
                _ => format!("$s_a(()=>{NAMES}({at}))"),
            };
            scope.variables.push(Variable { name: name.to_owned(), text, kind: VariableKind::Elsewhere });
        }
        scope
    }

    /// The variables of the module that a function does not name itself, with their places. What hides one of them may be out of
    /// reach.
    pub(crate) fn elsewhere(&self, function: usize, seen: &HashSet<String>) -> Vec<(usize, &str)> {
        let root = self.scoping.root_scope_id();
        let around: Vec<ScopeId> =
            self.scoping.scope_ancestors(self.functions[function].scope).filter(|scope| *scope != root).collect();
        let is_hidden = |name: &str| around.iter().any(|scope| self.scoping.get_binding(*scope, name.into()).is_some());
        let names: Vec<&str> = match self.kind {
            SourceKind::Script => {
                self.symbols(root).into_iter().map(|symbol| self.scoping.symbol_name(symbol)).collect()
            }
            _ => self.names.iter().map(String::as_str).collect(),
        };
        names.into_iter().enumerate().filter(|(_, name)| !seen.contains(*name) && !is_hidden(name)).collect()
    }

    fn private_readers(&self, function: usize) -> Vec<(String, String)> {
        let of = &self.functions[function];
        let mut classes: Vec<(u32, usize, &Vec<String>)> = Vec::new();
        for (place, &slot) in of.slots.iter().enumerate() {
            let slot = &self.slots[slot as usize];
            if let SlotKind::PrivateFields(names) = &slot.kind {
                classes.push((slot.owner, place, names));
            }
        }
        classes.sort_unstable_by_key(|(owner, ..)| std::cmp::Reverse(*owner));
        let readers = classes.into_iter().flat_map(|(_, place, names)| {
            let reader = move |at| format!("$s_o=>$s_c[{place}]({at},$s_o,$s.absent)");
            names.iter().enumerate().map(move |(at, name)| (format!("#{name}"), reader(at)))
        });
        readers.collect()
    }

    fn this_text(&self, function: usize) -> Option<String> {
        let of = &self.functions[function];
        if of.passes_this() {
            return Some("this".to_owned());
        }
        let this = |&slot: &u32| self.slots[slot as usize].kind == SlotKind::This;
        of.slots.iter().position(this).map(|place| format!("$s_a($s_c[{place}])"))
    }

    /// The locals visible before a statement, innermost first, with the texts that read them. One that is not bound yet has
    /// none, and hides what has its name further out.
    pub(crate) fn locals_at(&self, function: Option<usize>, site: u32) -> Vec<(String, Option<String>)> {
        let Some(site) = self.sites.get(site as usize).filter(|site| site.function == function) else {
            return Vec::new();
        };
        // A field's value has no scope of its own: its class has.
        if function.is_some_and(|function| self.functions[function].is_field()) {
            return Vec::new();
        }
        let outermost = function.map(|function| self.functions[function].scope);
        let mut locals = Vec::new();
        for scope in self.scoping.scope_ancestors(site.scope) {
            for symbol in self.symbols(scope) {
                let text = self.local_text(symbol, site.at, self.switches.contains(&scope));
                locals.push((self.scoping.symbol_name(symbol).to_owned(), text));
            }
            if Some(scope) == outermost {
                break;
            }
        }
        locals
    }

    /// What a scope declares, in the order of the text, but for the name of a function expression: that stands outside.
    fn symbols(&self, scope: ScopeId) -> Vec<SymbolId> {
        let bindings = self.scoping.get_bindings(scope).values().copied();
        let inside = |symbol: &SymbolId| !self.scoping.symbol_flags(*symbol).contains(SymbolFlags::FunctionExpression);
        let mut symbols: Vec<SymbolId> = bindings.filter(inside).collect();
        symbols.sort_unstable_by_key(|symbol| self.scoping.symbol_span(*symbol).start);
        symbols
    }

    /// How a local is read at a place; nothing if it cannot be bound there yet.
    fn local_text(&self, symbol: SymbolId, at: u32, in_switch: bool) -> Option<String> {
        let name = self.scoping.symbol_name(symbol);
        let flags = self.scoping.symbol_flags(symbol);
        let dead_before = flags.intersects(SymbolFlags::BlockScopedVariable | SymbolFlags::Class);
        if !dead_before || flags.contains(SymbolFlags::CatchVariable) {
            return Some(name.to_owned());
        }
        if self.scoping.symbol_span(symbol).start >= at {
            return None;
        }
        // Another case may have been jumped to.
        Some(if in_switch { format!("$s_a(()=>{name})") } else { name.to_owned() })
    }

    /// The locals of a function itself, without those of blocks in it.
    pub(crate) fn own_locals(&self, function: usize) -> Vec<String> {
        let of = &self.functions[function];
        if of.is_field() {
            return Vec::new();
        }
        let names = self.symbols(of.scope).into_iter().map(|symbol| self.scoping.symbol_name(symbol).to_owned());
        names.filter(|name| !of.params.contains(name)).collect()
    }
}

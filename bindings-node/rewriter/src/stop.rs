//! What a debugger needs where no guard reaches: the place at which it stops, and what can be read there by its own name.

use crate::read::{Module, WRAPPER};
use crate::scope::{Scope, Variable, VariableKind};
use crate::slot::SlotKind;
use std::collections::HashSet;

impl Module {
    /// Where a debugger stops before a statement: line from 1, column from 0. It stops at the first place there or behind.
    /// `None` for a class: it would stop in the constructor.
    pub fn stop(&self, site: u32) -> Option<(u32, u32)> {
        if self.unstoppable.contains(&site) {
            return None;
        }
        let at = self.sites.get(site as usize)?.at;
        Some(self.place(self.stops.get(&site).copied().unwrap_or(at)))
    }

    /// Where it stops at the entry of a function, with the parameters bound.
    pub fn stop_at_entry(&self, function: usize) -> Option<(u32, u32)> {
        Some(self.place(self.functions.get(function)?.body.0))
    }

    /// Why no debugger may stop in a function; nothing if one may. V8 binds `this` as it looks at a constructor in which
    /// `super` was not called yet, and the call fails then.
    pub fn why_no_stop(&self, function: usize) -> Option<&'static str> {
        let nature = self.functions.get(function)?.nature;
        let derived = nature.derived || nature.in_derived;
        derived.then_some("a debugger that looks at the constructor of a derived class can make its super() fail")
    }

    fn place(&self, at: u32) -> (u32, u32) {
        (self.lines.line(at), self.lines.column(&self.text, at))
    }

    /// True if a call may have been at this statement, and come there again, since before anybody asked: it stands in a loop that
    /// may go on for ever, of a function that can wait.
    pub fn may_be_running(&self, function: usize, site: u32) -> bool {
        let (Some(of), Some(site)) = (self.functions.get(function), self.sites.get(site as usize)) else {
            return false;
        };
        let waits = of.nature.is_async || of.nature.generator;
        let around = |(owner, from, to): &(Option<usize>, u32, u32)| {
            *owner == Some(function) && *from <= site.at && site.at < *to
        };
        waits && self.loops.iter().any(around)
    }

    /// What is visible at a statement, or at the entry of a function, to code that a debugger evaluates there. The texts are the
    /// bare names; where reading one may fail, `careful` makes another text of it: of an outer variable, which the engine may
    /// have given up or not have bound yet, of one in a `switch`, and of any in a function that waits, of which the engine keeps
    /// only what is read later.
    pub fn bare_scope(&self, function: Option<usize>, site: Option<u32>, careful: impl Fn(&str) -> String) -> Scope {
        let mut scope = Scope::default();
        let mut seen: HashSet<String> = HashSet::new();
        let nature = function.and_then(|at| Some(self.functions.get(at)?.nature));
        let waits = nature.is_none_or(|nature| nature.is_async || nature.generator);
        let params = function.and_then(|at| self.functions.get(at)).map_or(&[][..], |of| &of.params[..]);
        let locals = site.map(|site| self.locals_at(function, site)).unwrap_or_default();
        for (name, bound) in locals {
            let kind = if params.contains(&name) { VariableKind::Argument } else { VariableKind::Local };
            if !seen.insert(name.clone()) {
                continue;
            }
            let Some(bound) = bound else { continue };
            let text = if waits || bound != name { careful(&name) } else { bound };
            scope.variables.push(Variable { name, text, kind });
        }
        let Some((function, of)) = function.and_then(|at| Some((at, self.functions.get(at)?))) else { return scope };
        // An arrow function that does not name it may have lost it.
        let has_this = !of.nature.arrow || of.nature.this;
        let text = |name: &str, sure: bool| if sure && !waits { name.to_owned() } else { careful(name) };
        scope.this = has_this.then(|| text("this", !of.nature.arrow));
        for name in params.iter().filter(|name| seen.insert((*name).clone())) {
            let (text, name) = (text(name, true), name.clone());
            scope.variables.push(Variable { text, name, kind: VariableKind::Argument });
        }
        for &slot in &of.slots {
            let slot = &self.slots[slot as usize];
            let SlotKind::Read(symbol, name) = &slot.kind else { continue };
            if symbol.is_none() && WRAPPER.contains(&name.as_str()) {
                continue;
            }
            if seen.insert(name.clone()) {
                let kind = if slot.owner == 0 { VariableKind::Module } else { VariableKind::Closure };
                scope.variables.push(Variable { text: careful(name), name: name.clone(), kind });
            }
        }
        for (_, name) in self.elsewhere(function, &seen) {
            let (name, kind) = (name.to_owned(), VariableKind::Elsewhere);
            scope.variables.push(Variable { text: careful(&name), name, kind });
        }
        scope
    }
}

//! The probes in a unit: they are put into its functions and taken out, and each function that changes is written anew, once for
//! all of them. On the walk of a configuration going in, after [`crate::placing`], with what [`crate::place`] finds and writes; what
//! comes of it goes to [`crate::realms`], and where no guard reaches to [`crate::watch`].
//!
//! A unit is changed under its own lock, with the order to its realm, so that orders come in the right sequence.

use crate::place::{self, File, Missing, Placement, Use};
use crate::placing::{self, each};
use crate::realms::{self, Order, Variant};
use crate::units::{self, Unit};
use crate::{guard, session, watch};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use stroboscope_core::host::{Outcome, Ticket};
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;
use stroboscope_rewriter::{Module, SourceKind};

/// Why code outside of functions has no guard.
const TOP_LEVEL: &str = "it is at the top level of its module, where no guard can be";
/// What is said of a probe that is in a variant and watched for.
const RUNS: &str = "in a loop of a function that can wait: calls that run since before the probe was set are seen by conditional \
                    breakpoints (tier B), which slow `await` down in the whole process until ten seconds after the last of them";

/// A probe that is to be put into a unit.
pub struct Wanted {
    /// The probe, …
    pub live: Arc<LiveProbe>,
    /// … what its installation is answered with, …
    pub ticket: Ticket,
    /// … and which of the unit's files it means.
    pub source: Option<usize>,
}

/// Puts probes into a unit, whose module may be at hand. `is_fresh`: it is about to run.
pub fn put_in(unit: &Unit, module: Option<Module>, is_fresh: bool, wanted: &[Wanted]) {
    let module = match module.map_or_else(|| unit.read(), |module| Ok(Arc::new(module))) {
        Ok(module) => module,
        Err(reason) => {
            for Wanted { live, ticket, .. } in wanted {
                each(live, *ticket, || Err(Missing::internal(reason.clone()).into()));
            }
            return;
        }
    };
    let mut filling = Filling::new(unit, &module, is_fresh);
    for one in wanted {
        each(&one.live, one.ticket, || filling.add(one));
    }
    filling.insert();
}

/// What a unit is filled with.
struct Filling<'u> {
    unit: &'u Unit,
    module: &'u Module,
    is_fresh: bool,
    /// The files that the unit is, as far as they were looked at.
    files: BTreeMap<Option<usize>, File<'u>>,
    /// Why lines of the file mean little in the text that runs, if they do; known once somebody has asked.
    others: OnceCell<Option<String>>,
    /// What is new, by the number of the function.
    new: BTreeMap<u32, Vec<Use>>,
}

impl<'u> Filling<'u> {
    fn new(unit: &'u Unit, module: &'u Module, is_fresh: bool) -> Filling<'u> {
        Filling { unit, module, is_fresh, files: BTreeMap::new(), others: OnceCell::new(), new: BTreeMap::new() }
    }

    /// Notes where a probe goes; what a debugger is to watch for is ordered. An error says why it is not there.
    fn add(&mut self, wanted: &Wanted) -> Result<(), Box<Outcome>> {
        let (unit, module) = (self.unit, self.module);
        let Placement { functions, site, note } = self.find(wanted.source, &wanted.live.probe.location)?;
        if session::refuses(&wanted.live, &site) {
            return Err(Box::new(Outcome::Denied { site }));
        }
        for (function, lines) in functions {
            let (site, note) = (site.clone(), note.clone());
            let mut one = Use { live: Arc::clone(&wanted.live), ticket: wanted.ticket, lines, site, note };
            let Some(number) = function.filter(|&number| why_bare(unit, module, number).is_none()) else {
                let why = function.and_then(|number| why_bare(unit, module, number)).unwrap_or(TOP_LEVEL);
                watch_for(unit, module, function, one, why)?;
                continue;
            };
            if !self.is_fresh && may_be_running(module, number, &one.lines) && unit.why_not_watched().is_none() {
                add_note(&mut one, RUNS.to_owned());
                order_watch(unit, module, function, one.clone(), true).map_err(Missing::internal)?;
            }
            let new = self.new.entry(number).or_default();
            new.retain(|other| other.live.slot != one.live.slot);
            new.push(one);
        }
        Ok(())
    }

    /// Where a probe goes in a file of the unit, with what is to be said of its lines.
    fn find(&mut self, source: Option<usize>, location: &Location) -> Result<Placement, Missing> {
        let (unit, module) = (self.unit, self.module);
        let origins = unit.known_origins();
        let others = match location {
            Location::Lines { .. } if origins.is_none() => self.others.get_or_init(|| of_other_lines(unit)).clone(),
            _ => None,
        };
        let file = self.files.entry(source).or_insert_with(|| match (source, origins) {
            (Some(source), Some(origins)) => File::original(module, &origins.sources[source], &origins.map, source),
            _ => File::loaded(module, &unit.path),
        });
        let with_others = |text: Option<String>| {
            let all: Vec<String> = text.into_iter().chain(others.clone()).collect();
            (!all.is_empty()).then(|| all.join("; "))
        };
        match place::find(file, location) {
            Ok(found) => Ok(Placement { note: with_others(found.note), ..found }),
            Err(Missing { kind, reason }) => {
                Err(Missing { kind, reason: with_others(Some(reason)).unwrap_or_default() })
            }
        }
    }

    /// Puts what is new into the functions.
    fn insert(self) {
        let Filling { unit, module, new, .. } = self;
        for (function, new) in new {
            let failed = guard::caught(|| insert(unit, module, function, &new));
            let Some(failed) = failed else {
                for one in &new {
                    each(&one.live, one.ticket, || Err(Box::new(Outcome::panicked())));
                }
                continue;
            };
            for (one, reason) in failed {
                let (live, ticket) = (Arc::clone(&one.live), one.ticket);
                each(&live, ticket, || Ok(watch_for(unit, module, Some(function), one, &reason)?));
            }
        }
    }
}

/// Puts probes into the variant of a function. Answers those for which none can be written, and why.
fn insert(unit: &Unit, module: &Module, function: u32, new: &[Use]) -> Vec<(Use, String)> {
    let mut uses = unit.uses();
    let of_function = uses.entry(function).or_default();
    // Who removes one of them meanwhile looks in here after that.
    let new: Vec<&Use> = new.iter().filter(|one| placing::is_asked(&one.live, one.ticket)).collect();
    of_function.retain(|other| !new.iter().any(|one| one.live.slot == other.live.slot));
    fill(of_function, &new, |uses| write(unit, module, function, uses))
}

/// Adds what is new to what is written, all at once. If that cannot be written one of them is to blame, and each is tried for
/// itself. Answers those with which nothing can be written, and why.
fn fill<T: Clone>(
    known: &mut Vec<T>,
    new: &[&T],
    mut write: impl FnMut(&[T]) -> Result<(), String>,
) -> Vec<(T, String)> {
    let before = known.len();
    known.extend(new.iter().copied().cloned());
    if write(known).is_ok() {
        return Vec::new();
    }
    known.truncate(before);
    let mut failed = Vec::new();
    for &one in new {
        known.push(one.clone());
        if let Err(reason) = write(known) {
            failed.extend(known.pop().map(|one| (one, reason)));
        }
    }
    failed
}

/// That lines of the file mean little in the text that runs: another loader has made other lines of them, as compilers and
/// coverage tools do.
fn of_other_lines(unit: &Unit) -> Option<String> {
    // What cannot be read is made in memory, and its lines are its own.
    let (file, runs) = (units::lines(&std::fs::read_to_string(&*unit.path).ok()?), unit.lines());
    (file != runs).then(|| {
        format!(
            "the text that runs has {runs} lines and the file has {file}: another loader has changed it, or it was edited \
             since; name the function with --method"
        )
    })
}

/// Why a function has no guard; nothing if it has one.
fn why_bare<'u>(unit: &'u Unit, module: &Module, function: u32) -> Option<&'u str> {
    unit.bare.as_deref().or_else(|| module.functions().get(function as usize)?.why_not)
}

fn may_be_running(module: &Module, function: u32, lines: &[place::Line]) -> bool {
    lines.iter().flat_map(|line| &line.sites).any(|&site| module.may_be_running(function as usize, site))
}

/// Has a debugger watch for a probe, and says why.
fn watch_for(unit: &Unit, module: &Module, function: Option<u32>, mut one: Use, why: &str) -> Result<(), Missing> {
    let refused = |reason: String| Missing { kind: place::NOT_ELIGIBLE, reason };
    if let Some(not) = unit.why_not_watched() {
        return Err(refused(format!("{why}, and {not}")));
    }
    let text = format!("by a conditional breakpoint (tier B), since {why}; it slows `await` down in the whole process");
    add_note(&mut one, text);
    order_watch(unit, module, function, one, false).map_err(|reason| refused(format!("{why}, and {reason}")))
}

fn order_watch(unit: &Unit, module: &Module, function: Option<u32>, one: Use, beside: bool) -> Result<(), String> {
    let (number, hook) = watch::next();
    let (mut stops, hits) = place::stops(module, function, &one, &hook)?;
    unit.moved(&mut stops);
    unit.watches().entry(one.live.slot).or_default().push(number);
    let (path, has_queries) = (Arc::clone(&unit.path), unit.kind != SourceKind::CommonJs);
    watch::add(number, watch::Order { path, length: unit.length, stops, hits, one, beside, has_queries });
    Ok(())
}

fn add_note(to: &mut Use, more: String) {
    to.note = Some(match to.note.take() {
        Some(note) => format!("{note}; {more}"),
        None => more,
    });
}

/// Takes probes out of a unit.
pub fn take_out(unit: &Unit, slots: &[u32]) {
    let watches: Vec<u32> = {
        let mut watches = unit.watches();
        slots.iter().filter_map(|slot| watches.remove(slot)).flatten().collect()
    };
    watch::drop(&watches);
    let goes = |one: &Use| slots.contains(&one.live.slot);
    let mut uses = unit.uses();
    let functions: Vec<u32> =
        uses.iter().filter(|(_, of)| of.iter().any(goes)).map(|(function, _)| *function).collect();
    // One that is empty after that is not read for it.
    let mut module = None;
    for function in functions {
        let Some(left) = uses.get_mut(&function) else { continue };
        left.retain(|one| !goes(one));
        if left.is_empty() {
            uses.remove(&function);
            realms::order(unit.realm, order(unit, function, None, &[]));
            continue;
        }
        let module = module.get_or_insert_with(|| unit.read());
        let written = module.as_ref().map_err(Clone::clone).and_then(|module| write(unit, module, function, left));
        if let Err(reason) = written {
            log::error!(target: "stroboscope", "{}: {reason}; all its probes are taken away", unit.path);
            realms::order(unit.realm, order(unit, function, None, &[]));
        }
    }
}

/// Takes all probes out of a unit.
pub fn empty(unit: &Unit) {
    let watches = std::mem::take(&mut *unit.watches());
    watch::drop(&watches.into_values().flatten().collect::<Vec<u32>>());
    let functions = std::mem::take(&mut *unit.uses());
    for function in functions.into_keys() {
        realms::order(unit.realm, order(unit, function, None, &[]));
    }
}

/// Writes a function with the probes that are to be in it, and orders it.
fn write(unit: &Unit, module: &Module, function: u32, uses: &[Use]) -> Result<(), String> {
    if uses.is_empty() {
        realms::order(unit.realm, order(unit, function, None, uses));
        return Ok(());
    }
    let mut variant = place::variant(module, function, &unit.cell, uses, &unit.positions)?;
    let (line, from, to) = variant.guard;
    variant.guard = (line, unit.begun_at(line, from), unit.begun_at(line, to));
    realms::order(unit.realm, order(unit, function, Some(variant), uses));
    Ok(())
}

fn order(unit: &Unit, function: u32, variant: Option<Variant>, uses: &[Use]) -> Order {
    let (cell, file, is_module) = (Arc::clone(&unit.cell), Arc::clone(&unit.path), unit.kind == SourceKind::Esm);
    Order { cell, function, file, is_module, variant, uses: uses.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn one_that_cannot_be_written_keeps_none_of_the_others_out() {
        let mut known = vec!["old"];
        let mut written = Vec::new();
        let failed = fill(&mut known, &[&"a", &"bad", &"b", &"bad too"], |all| {
            if let Some(bad) = all.iter().find(|one| one.starts_with("bad")) {
                return Err(format!("no {bad}"));
            }
            written = all.to_vec();
            Ok(())
        });
        assert_eq!(failed, [("bad", "no bad".to_owned()), ("bad too", "no bad too".to_owned())]);
        assert_eq!((&*known, &*written), (&["old", "a", "b"][..], &["old", "a", "b"][..]));
    }

    #[test]
    fn what_can_be_written_is_written_at_once() {
        let (mut known, mut times) = (vec!["old"], 0);
        let failed = fill(&mut known, &[&"a", &"b"], |_| {
            times += 1;
            Ok(())
        });
        assert_eq!((failed, known, times), (Vec::new(), vec!["old", "a", "b"], 1));
    }
}

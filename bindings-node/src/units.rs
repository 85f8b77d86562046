//! The modules that are loaded with guards in them, and the probes in each: one *unit* for each module and realm. They
//! belong to the process: a session that ends leaves the guards behind, and the next one finds them. On the walk of a
//! configuration going in, after [`crate::hands`]; what comes of it goes to [`crate::realms`].
//!
//! Two threads place probes: the hands, and a realm that loads a module, which is told of the probes that wait for it before
//! its code runs. A unit is changed under its own lock, with the order to its realm, so that orders come in the right
//! sequence.

use crate::names;
use crate::place::{self, Missing, Placement, Use};
use crate::realms::{self, Order, Variant};
use crate::session;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stroboscope_core::host::{Outcome, Ticket};
use stroboscope_core::probe::location::{self, Candidate, Choice, SourcePath};
use stroboscope_core::probe::model::{Location, Probe};
use stroboscope_core::registry::LiveProbe;
use stroboscope_rewriter::{Module, Positions, SourceKind};

/// A module in a realm.
pub struct Unit {
    realm: u32,
    path: Arc<str>,
    cell: Arc<str>,
    text: Arc<str>,
    kind: SourceKind,
    /// The way back from the text that runs.
    positions: Positions,
    /// By the number of the function.
    uses: Mutex<BTreeMap<u32, Vec<Use>>>,
}

impl Unit {
    fn uses(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<Use>>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Module, String> {
        Module::read(&self.text, self.kind).map_err(|error| error.to_string())
    }
}

/// A probe that was asked for.
#[derive(Clone)]
struct Asked {
    live: Arc<LiveProbe>,
    ticket: Ticket,
    /// Units that it is in.
    placed: BTreeSet<u32>,
    /// What was said of it last.
    said: Option<Outcome>,
}

#[derive(Default)]
struct State {
    units: BTreeMap<u32, Arc<Unit>>,
    /// Files that were loaded without guards, and why.
    left: BTreeMap<String, String>,
    asked: Vec<Asked>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
static NEXT: AtomicU32 = AtomicU32::new(0);

fn with<R>(use_it: impl FnOnce(&mut State) -> R) -> R {
    use_it(STATE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// A module with guards in it.
pub struct Guarded {
    /// The text to be run.
    pub code: String,
    /// The global that the guards read.
    pub cell: String,
}

/// A module is about to run in a realm. `None`: it runs as it is. The orders of the probes that wait for it are there when
/// this returns.
pub fn load(realm: u32, path: &str, text: &str, kind: SourceKind, prefix: &str) -> Option<Guarded> {
    if !is_wanted(path) {
        let reason = "it belongs to a package, and those are loaded without guards; name the whole path of the file in a \
                      probe that is there before the program starts";
        with(|state| state.left.insert(path.to_owned(), reason.to_owned()));
        return None;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // All names are of one length: columns are the same wherever the file is loaded.
    let cell = format!("{prefix}{number:08x}");
    let guarded = Module::read(text, kind).and_then(|module| module.guarded(&cell).map(|guarded| (module, guarded)));
    let (module, guarded) = match guarded {
        Ok(guarded) => guarded,
        Err(error) => {
            with(|state| state.left.insert(path.to_owned(), format!("it could not be read: {error}")));
            return None;
        }
    };
    let unit = Arc::new(Unit {
        realm,
        path: Arc::from(path),
        cell: Arc::from(cell.as_str()),
        text: Arc::from(text),
        kind,
        positions: guarded.positions,
        uses: Mutex::default(),
    });
    let waiting = with(|state| {
        state.units.insert(number, unit);
        let key = SourcePath::new(path).name_key();
        let mean =
            |asked: &&Asked| file_of(&asked.live.probe).is_some_and(|file| SourcePath::new(file).name_key() == key);
        state.asked.iter().filter(mean).map(|asked| (Arc::clone(&asked.live), asked.ticket)).collect::<Vec<_>>()
    });
    for (live, ticket) in waiting {
        place_with(&live, ticket, Some((number, &module)));
    }
    Some(Guarded { code: guarded.code, cell })
}

/// True if a module gets guards: one of the application's own, and one that a probe names.
fn is_wanted(path: &str) -> bool {
    let candidate = Candidate::new(path, false);
    if !candidate.is_library() {
        return true;
    }
    let asked: Vec<Arc<LiveProbe>> = with(|state| state.asked.iter().map(|asked| Arc::clone(&asked.live)).collect());
    let candidates = [candidate];
    asked.iter().filter_map(|live| file_of(&live.probe)).any(|file| chosen(&candidates, file) != Choice::None)
}

/// A realm has ended: its modules are gone.
pub fn close(realm: u32) {
    let gone = with(|state| {
        let units = std::mem::take(&mut state.units).into_iter();
        let (gone, left): (BTreeMap<_, _>, _) = units.partition(|(_, unit)| unit.realm == realm);
        state.units = left;
        gone
    });
    drop(gone);
}

/// The file that a probe names.
fn file_of(probe: &Probe) -> Option<&str> {
    match &probe.location {
        Location::Lines { file, .. } => Some(file),
        Location::Method { file, .. } => file.as_deref(),
    }
}

/// The files that a probe means. A path that leads to a file of this machine means that file only.
fn chosen(candidates: &[Candidate], file: &str) -> Choice {
    let Ok(real) = Path::new(file).canonicalize() else { return location::choose(candidates, file) };
    let is_same = |at: usize| Path::new(candidates[at].name()).canonicalize().is_ok_and(|other| other == real);
    location::choose_existing(candidates, file, is_same)
}

/// Puts a probe where it belongs.
pub fn place(live: &Arc<LiveProbe>, ticket: Ticket) {
    with(|state| {
        state.asked.retain(|asked| asked.live.slot != live.slot);
        state.asked.push(Asked { live: Arc::clone(live), ticket, placed: BTreeSet::new(), said: None });
    });
    place_with(live, ticket, None);
}

/// Puts a probe into all the units that it means now, and takes it out of those that it means no more. `fresh` is a unit
/// whose module is at hand.
fn place_with(live: &Arc<LiveProbe>, ticket: Ticket, fresh: Option<(u32, &Module)>) {
    let Some(file) = file_of(&live.probe) else { return };
    let units: Vec<(u32, Arc<Unit>)> =
        with(|state| state.units.iter().map(|(number, unit)| (*number, Arc::clone(unit))).collect());
    let candidates: Vec<Candidate> = units.iter().map(|(_, unit)| Candidate::new(&unit.path, false)).collect();
    let (meant, failed) = match chosen(&candidates, file) {
        Choice::File(found) => (found.into_iter().map(|at| units[at].clone()).collect(), None),
        Choice::Ambiguous(reason) => (Vec::new(), Some(Outcome::Refused { kind: "AmbiguousFile", reason })),
        Choice::None => (Vec::new(), Some(not_loaded(file, &candidates))),
    };
    let before =
        with(|state| state.asked.iter().find(|asked| asked.live.slot == live.slot).map(|asked| asked.placed.clone()));
    // It was removed meanwhile.
    let Some(before) = before else { return };
    let now: BTreeSet<u32> = meant.iter().map(|(number, _)| *number).collect();
    for (_, unit) in units.iter().filter(|(number, _)| before.contains(number) && !now.contains(number)) {
        take_out(unit, live.slot);
    }
    let mut outcome = failed;
    for (number, unit) in meant.iter().filter(|(number, _)| !before.contains(number)) {
        let module = fresh.filter(|(fresh, _)| fresh == number).map(|(_, module)| module);
        let refused = match module {
            Some(module) => put_in(unit, module, live, ticket),
            None => match unit.read() {
                Ok(module) => put_in(unit, &module, live, ticket),
                Err(reason) => Err(Missing::internal(reason).into()),
            },
        };
        if let Err(refused) = refused {
            outcome = Some(refused);
        }
    }
    with(|state| {
        if let Some(asked) = state.asked.iter_mut().find(|asked| asked.live.slot == live.slot) {
            asked.placed = now;
        }
    });
    if let Some(outcome) = outcome {
        answer(live.slot, 0, ticket, outcome);
    }
}

/// What is said of a probe whose file is not loaded, or not with guards.
fn not_loaded(file: &str, candidates: &[Candidate]) -> Outcome {
    let left = with(|state| {
        let left: Vec<Candidate> = state.left.keys().map(|path| Candidate::new(path, false)).collect();
        let Choice::File(found) = chosen(&left, file) else { return None };
        let path = left.get(*found.first()?)?.name();
        Some(format!("{path} has no guards: {}", state.left.get(path)?))
    });
    if let Some(reason) = left {
        return Outcome::Refused { kind: "NotGuarded", reason };
    }
    let alike = location::of_the_same_name(candidates, file);
    let alike = if alike.is_empty() { alike } else { format!("; loaded files of that name: {alike}") };
    if Path::new(file).is_file() {
        return Outcome::Waiting(format!("{file} is not loaded yet; the probe waits for it{alike}"));
    }
    Outcome::NotFound(format!("source file not found: no loaded file is `{file}`{alike}; the probe goes on waiting"))
}

/// Puts a probe into a unit. An error says why it is not there.
fn put_in(unit: &Unit, module: &Module, live: &Arc<LiveProbe>, ticket: Ticket) -> Result<(), Outcome> {
    let Placement { functions, site, note } = place::find(module, &live.probe.location, &unit.path)?;
    if session::refuses(live, &site) {
        return Err(Outcome::Denied { site });
    }
    let mut uses = unit.uses();
    for (function, lines) in functions {
        let of_function = uses.entry(function).or_default();
        of_function.retain(|other| other.live.slot != live.slot);
        let (site, note) = (site.clone(), note.clone());
        of_function.push(Use { live: Arc::clone(live), ticket, lines, site, note });
        if let Err(reason) = write(unit, module, function, of_function) {
            of_function.retain(|other| other.live.slot != live.slot);
            return Err(Outcome::Refused { kind: place::NOT_ELIGIBLE, reason });
        }
    }
    Ok(())
}

/// Takes a probe out of a unit.
fn take_out(unit: &Unit, slot: u32) {
    let mut uses = unit.uses();
    let functions: Vec<u32> = uses
        .iter()
        .filter(|(_, of)| of.iter().any(|one| one.live.slot == slot))
        .map(|(function, _)| *function)
        .collect();
    if functions.is_empty() {
        return;
    }
    let module = unit.read();
    for function in functions {
        let Some(left) = uses.get_mut(&function) else { continue };
        left.retain(|one| one.live.slot != slot);
        let written = module.as_ref().map_err(Clone::clone).and_then(|module| write(unit, module, function, left));
        if let Err(reason) = written {
            log::error!(target: "stroboscope", "{}: {reason}; all its probes are taken away", unit.path);
            realms::order(unit.realm, order(unit, function, None, &[]));
        }
        if left.is_empty() {
            uses.remove(&function);
        }
    }
}

/// Writes a function with the probes that are to be in it, and orders it.
fn write(unit: &Unit, module: &Module, function: u32, uses: &[Use]) -> Result<(), String> {
    let variant =
        if uses.is_empty() { None } else { Some(place::variant(module, function, &unit.cell, uses, &unit.positions)?) };
    realms::order(unit.realm, order(unit, function, variant, uses));
    Ok(())
}

fn order(unit: &Unit, function: u32, variant: Option<Variant>, uses: &[Use]) -> Order {
    let (cell, file, is_module) = (Arc::clone(&unit.cell), Arc::clone(&unit.path), unit.kind == SourceKind::Esm);
    Order { cell, function, file, is_module, variant, uses: uses.to_vec() }
}

/// The column in a file at which a place stands that its loaded text has at this column. Both from 1.
pub fn original_column(path: &str, line: u32, column: u32) -> u32 {
    let unit = with(|state| state.units.values().rev().find(|unit| &*unit.path == path).cloned());
    unit.map_or(column, |unit| names::back(&unit.positions, line, column))
}

/// Takes a probe away.
pub fn remove(slot: u32) {
    let units: Vec<Arc<Unit>> = with(|state| {
        state.asked.retain(|asked| asked.live.slot != slot);
        state.units.values().cloned().collect()
    });
    for unit in units {
        take_out(&unit, slot);
    }
}

/// Takes all probes away.
pub fn remove_all() {
    let units: Vec<Arc<Unit>> = with(|state| {
        state.asked.clear();
        state.units.values().cloned().collect()
    });
    for unit in units {
        let functions = std::mem::take(&mut *unit.uses());
        for function in functions.into_keys() {
            realms::order(unit.realm, order(&unit, function, None, &[]));
        }
    }
}

/// A realm has carried out an order, or could not.
pub fn carried_out(realm: u32, order: &Order, error: Option<&str>) {
    for one in &order.uses {
        let outcome = match error {
            None => Outcome::Done { note: one.note.clone(), site: one.site.clone() },
            Some(error) => {
                let reason = format!("the function with the probe in it could not be compiled: {error}");
                Outcome::Refused { kind: "VariantFailed", reason }
            }
        };
        answer(one.live.slot, realm, one.ticket, outcome);
    }
}

/// Tells the session, once for each news.
fn answer(slot: u32, realm: u32, ticket: Ticket, outcome: Outcome) {
    let is_new = with(|state| {
        let asked = state.asked.iter_mut().find(|asked| asked.live.slot == slot)?;
        let is_new = asked.said.as_ref() != Some(&outcome);
        asked.said = Some(outcome.clone());
        Some(is_new)
    });
    if is_new == Some(true) {
        session::installed(realm, ticket, outcome);
    }
}

//! The modules that are loaded, and the probes in each: one *unit* for each module and realm, with guards in it, or without
//! where a debugger told of it. They belong to the process: a session that ends leaves the guards behind, and the next one
//! finds them. On the walk of a configuration going in, after [`crate::hands`]; what comes of it goes to [`crate::realms`], and
//! where no guard reaches to [`crate::watch`].
//!
//! Two threads place probes: the hands, and a realm that loads a module, which is told of the probes that wait for it before
//! its code runs. A unit is changed under its own lock, with the order to its realm, so that orders come in the right
//! sequence.

use crate::cache;
use crate::guard;
use crate::hands::{self, Task};
use crate::names;
use crate::origins::{self, Origins};
use crate::place::{self, File, Missing, Placement, Use};
use crate::realms::{self, Order, Variant};
use crate::{session, watch};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use stroboscope_core::fault;
use stroboscope_core::host::{Outcome, Ticket};
use stroboscope_core::probe::location::{self, Candidate, Choice, SourcePath};
use stroboscope_core::probe::model::{Location, Probe};
use stroboscope_core::registry::LiveProbe;
use stroboscope_rewriter::{Module, Positions, SourceKind, Unreadable};

/// A module in a realm.
pub struct Unit {
    realm: u32,
    path: Arc<str>,
    cell: Arc<str>,
    text: Arc<str>,
    kind: SourceKind,
    /// The way back from the text that runs.
    positions: Positions,
    /// The length of that, in UTF-16 units.
    length: u32,
    /// Why it has no guards; nothing if it has some.
    bare: Option<&'static str>,
    /// Text of ours that stands in its first line of code: the line, and how long it is.
    begun: (u32, u32),
    /// What it was compiled of, once that was read.
    origins: OnceLock<Option<Origins>>,
    /// By the number of the function.
    uses: Mutex<BTreeMap<u32, Vec<Use>>>,
    /// What a debugger watches for in it, by the slots of the probes.
    watches: Mutex<BTreeMap<u32, Vec<u32>>>,
}

impl Unit {
    fn uses(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<Use>>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watches(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<u32>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Result<Module, String> {
        Module::read(&self.text, self.kind).map_err(|error| error.to_string())
    }

    /// What it was compiled of. The first time this reads a file, and may take a while.
    fn origins(&self) -> Option<&Origins> {
        let read = || {
            origins::read(&self.path, &self.text).unwrap_or_else(|why| {
                log::warn!(target: "stroboscope", "{}: {why}; what is in it is shown as it was compiled", self.path);
                None
            })
        };
        self.origins.get_or_init(read).as_ref()
    }

    /// The files that it is, as probes name them: itself, and those that it was compiled of, if that was read. One that was
    /// compiled in its place is meant in the lines of the original.
    fn files(&self) -> Vec<(Option<usize>, &str)> {
        let sources = self.origins.get().and_then(Option::as_ref).map_or(&[][..], |origins| &origins.sources);
        let itself = (!sources.iter().any(|source| *source == *self.path)).then_some((None, &*self.path));
        let originals = sources.iter().enumerate().filter(|(_, name)| !name.is_empty());
        itself.into_iter().chain(originals.map(|(at, name)| (Some(at), name.as_str()))).collect()
    }
}

/// A probe that was asked for.
#[derive(Clone)]
struct Asked {
    live: Arc<LiveProbe>,
    ticket: Ticket,
    /// Units that it is in, with the file of each that it means.
    placed: BTreeSet<(u32, Option<usize>)>,
    /// What was said of it last.
    said: Option<Outcome>,
    /// Its file was looked for among what runs without guards.
    listed: bool,
    /// It has left a place for one that it means more exactly.
    moves: bool,
}

#[derive(Default)]
struct State {
    units: BTreeMap<u32, Arc<Unit>>,
    /// By their files those of the realm that ended last: what was caught there is still to be told.
    past: BTreeMap<Arc<str>, Arc<Unit>>,
    /// Files that were loaded without guards, and why.
    left: BTreeMap<String, String>,
    asked: Vec<Asked>,
    /// The program was there before us: modules may run that came without our hooks.
    late: bool,
    /// Files that ran without guards when a debugger told of them.
    early: Option<Vec<String>>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
static NEXT: AtomicU32 = AtomicU32::new(0);

fn with<R>(use_it: impl FnOnce(&mut State) -> R) -> R {
    use_it(STATE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// What is known of a probe; `None` if it was removed.
fn with_asked<R>(slot: u32, use_it: impl FnOnce(&mut Asked) -> R) -> Option<R> {
    with(|state| state.asked.iter_mut().find(|asked| asked.live.slot == slot).map(use_it))
}

/// A module with guards in it.
pub struct Guarded {
    /// The text to be run.
    pub code: String,
    /// The global that the guards read.
    pub cell: String,
}

/// Says whether modules may run that came before our hooks did.
pub fn set_late(late: bool) {
    with(|state| state.late |= late);
}

/// Why a module of a package has no guards.
const OF_A_PACKAGE: &str =
    "it belongs to a package, and those are loaded without guards unless a probe names them before";
/// Why an older module has none.
const BEFORE_US: &str = "its module was loaded before stroboscope started";

/// A module is about to run in a realm. `None`: it runs as it is. The orders of the probes that wait for it are there when
/// this returns. `begin` is what its first line of code is to begin with, if that is given.
pub fn load(
    realm: u32,
    path: &str,
    text: &str,
    kind: SourceKind,
    prefix: &str,
    begin: Option<&str>,
) -> Option<Guarded> {
    if !is_wanted(path) {
        with(|state| state.left.insert(path.to_owned(), OF_A_PACKAGE.to_owned()));
        return None;
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // All names are of one length: columns are the same wherever the file is loaded, and in each process.
    let cell = format!("{prefix}{number:08x}");
    let guarded = match cache::guarded(text, kind, &cell) {
        Ok(guarded) => guarded,
        Err(error) => {
            unreadable(path, &error);
            return None;
        }
    };
    let (code, begun) = match begin {
        None => (guarded.code, (0, 0)),
        Some(begin) => begun(&guarded.code, begin, &cell),
    };
    let length = width(&code);
    let unit = Unit {
        realm,
        path: Arc::from(path),
        cell: Arc::from(cell.as_str()),
        text: Arc::from(text),
        kind,
        positions: guarded.positions,
        length,
        bare: None,
        begun,
        origins: OnceLock::new(),
        uses: Mutex::default(),
        watches: Mutex::default(),
    };
    enter(number, unit, None);
    Some(Guarded { code, cell })
}

/// The length of a text as the engine counts it.
fn width(text: &str) -> u32 {
    // A unit for each character, and another one for those of four bytes: this is seen in bytes, many at a time.
    text.bytes().map(|byte| u32::from((byte as i8) >= -0x40) + u32::from(byte >= 0xF0)).sum()
}

/// A text whose first line of code begins with a call of this function for its cell, with that line and the length of the call.
fn begun(code: &str, enter: &str, cell: &str) -> (String, (u32, u32)) {
    let is_end = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
    let end = code.find(is_end).filter(|_| code.starts_with("#!"));
    let at = end.map_or(0, |end| end + if code[end..].starts_with("\r\n") { 2 } else { 1 });
    let call = format!("typeof {enter}==='function'&&{enter}('{cell}');");
    let line = if at == 0 { 1 } else { 2 };
    (format!("{}{call}{}", &code[..at], &code[at..]), (line, call.len() as u32))
}

/// A new unit is there: probes that wait for it are put into it. Its module is read if one does, unless that was done.
fn enter(number: u32, unit: Unit, module: Option<Module>) {
    let unit = Arc::new(unit);
    let is_probed = with(|state| {
        state.units.insert(number, Arc::clone(&unit));
        !state.asked.is_empty()
    });
    if is_probed && origins::is_small(&unit.path, &unit.text) {
        unit.origins();
    } else if is_probed {
        hands::ask(Task::Read(number));
    }
    let waiting = meaning(&unit);
    if waiting.is_empty() {
        return;
    }
    // One that cannot be read is told of where it is read again.
    let module = module.or_else(|| unit.read().ok());
    for (live, ticket) in waiting {
        place_or_fail(&live, ticket, module.as_ref().map(|module| (number, module)));
    }
}

/// A module that runs without guards. A debugger can watch for probes in it.
pub fn without_guards(realm: u32, path: &str, text: &str, is_module: bool) {
    let kind = if is_module { SourceKind::Esm } else { SourceKind::CommonJs };
    let module = match Module::read(text, kind) {
        Ok(module) => module,
        Err(error) => {
            unreadable(path, &error);
            tell_unplaced();
            return;
        }
    };
    let is_left = with(|state| state.left.contains_key(path));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unit = Unit {
        realm,
        path: Arc::from(path),
        cell: Arc::from(""),
        text: Arc::from(text),
        kind,
        positions: Positions::default(),
        length: width(text),
        bare: Some(if is_left { OF_A_PACKAGE } else { BEFORE_US }),
        begun: (0, 0),
        origins: OnceLock::new(),
        uses: Mutex::default(),
        watches: Mutex::default(),
    };
    enter(number, unit, Some(module));
}

/// The files that run, as a debugger sees them. Answers which of them are wanted: probes mean them, and they have no guards.
pub fn scripts(paths: &[String]) -> Vec<u32> {
    let known: BTreeSet<Arc<str>> = with(|state| state.units.values().map(|unit| Arc::clone(&unit.path)).collect());
    let bare: Vec<u32> =
        (0..paths.len()).filter(|&at| !known.contains(paths[at].as_str())).map(|at| at as u32).collect();
    let candidates: Vec<Candidate> = bare.iter().map(|&at| Candidate::new(&paths[at as usize], false)).collect();
    with(|state| state.early = Some(candidates.iter().map(|one| one.name().to_owned()).collect()));
    let mut wanted = BTreeSet::new();
    for asked in unplaced() {
        let Some(file) = file_of(&asked.live.probe) else { continue };
        match chosen(&candidates, file) {
            Choice::File(found) => wanted.extend(found.into_iter().map(|at| bare[at])),
            Choice::Ambiguous(_) | Choice::None => tell_missing(&asked),
        }
    }
    wanted.into_iter().collect()
}

/// Probes whose files were looked for among what runs without guards, and that are nowhere.
fn unplaced() -> Vec<Asked> {
    with(|state| state.asked.iter().filter(|asked| asked.listed && asked.placed.is_empty()).cloned().collect())
}

fn tell_unplaced() {
    for asked in unplaced() {
        tell_missing(&asked);
    }
}

fn tell_missing(asked: &Asked) {
    if let Some(file) = file_of(&asked.live.probe) {
        let units: Vec<Candidate> =
            with(|state| state.units.values().map(|unit| Candidate::new(&unit.path, false)).collect());
        answer(asked.live.slot, 0, asked.ticket, not_loaded(file, &units));
    }
}

/// A module runs without guards, since it could not be read. The probes that wait for it hear that.
fn unreadable(path: &str, error: &Unreadable) {
    with(|state| state.left.insert(path.to_owned(), format!("it could not be read: {error}")));
    for (live, ticket) in naming(&[path]) {
        place_with(&live, ticket, None);
    }
}

/// The probes that name a file as a unit does.
fn meaning(unit: &Unit) -> Vec<(Arc<LiveProbe>, Ticket)> {
    naming(&unit.files().into_iter().map(|(_, name)| name).collect::<Vec<_>>())
}

/// The probes whose file may be one of these.
fn naming(files: &[&str]) -> Vec<(Arc<LiveProbe>, Ticket)> {
    let keys: BTreeSet<String> = files.iter().map(|name| SourcePath::new(name).name_key()).collect();
    let means = |asked: &&Asked| {
        file_of(&asked.live.probe).is_some_and(|file| keys.contains(&SourcePath::new(file).name_key()))
    };
    with(|state| state.asked.iter().filter(means).map(|asked| (Arc::clone(&asked.live), asked.ticket)).collect())
}

/// Reads what a unit was compiled of, and places the probes that mean that.
pub fn read_origins(number: u32) {
    let Some(unit) = with(|state| state.units.get(&number).cloned()) else { return };
    if unit.origins().is_none() {
        return;
    }
    for (live, ticket) in meaning(&unit) {
        place_with(&live, ticket, None);
    }
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
    let (gone, before) = with(|state| {
        let units = std::mem::take(&mut state.units).into_iter();
        let (gone, left): (BTreeMap<_, _>, _) = units.partition(|(_, unit)| unit.realm == realm);
        state.units = left;
        let past = gone.values().map(|unit| (Arc::clone(&unit.path), Arc::clone(unit))).collect();
        (gone, std::mem::replace(&mut state.past, past))
    });
    // Outside of the lock.
    drop(before);
    for unit in gone.into_values() {
        unit.uses().clear();
    }
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
    // Of files that have another name in the end only few are asked about: there may be thousands.
    let alike = |name: &Path| name.file_name() == real.file_name() || name.is_symlink();
    let is_same = |at: usize| {
        let name = Path::new(candidates[at].name());
        alike(name) && name.canonicalize().is_ok_and(|other| other == real)
    };
    location::choose_existing(candidates, file, is_same)
}

/// Puts a probe where it belongs.
pub fn place(live: &Arc<LiveProbe>, ticket: Ticket) {
    with(|state| {
        state.asked.retain(|asked| asked.live.slot != live.slot);
        state.asked.push(Asked {
            live: Arc::clone(live),
            ticket,
            placed: BTreeSet::new(),
            said: None,
            listed: false,
            moves: false,
        });
    });
    let units: Vec<Arc<Unit>> = with(|state| state.units.values().cloned().collect());
    let unread = |unit: &&Arc<Unit>| unit.origins.get().is_none();
    if let Some(unit) = units.iter().filter(unread).find(|unit| !origins::is_small(&unit.path, &unit.text)) {
        // Who waits for the probe does not wait for this.
        let reason = format!("it is not known yet what {} was compiled of; its source map is being read", unit.path);
        answer(live.slot, 0, ticket, Outcome::Waiting(reason));
    }
    for unit in units {
        unit.origins();
    }
    place_or_fail(live, ticket, None);
}

/// A panic of ours costs the probe its place, and nothing else.
fn place_or_fail(live: &Arc<LiveProbe>, ticket: Ticket, fresh: Option<(u32, &Module)>) {
    let placed = guard::caught(|| {
        fault::at(fault::Place::Hook);
        place_with(live, ticket, fresh);
    });
    if placed.is_none() {
        answer(live.slot, 0, ticket, Outcome::panicked());
    }
}

/// Puts a probe into all the units that it means now, and takes it out of those that it means no more. `fresh` is a unit
/// whose module is at hand.
fn place_with(live: &Arc<LiveProbe>, ticket: Ticket, fresh: Option<(u32, &Module)>) {
    let Some(file) = file_of(&live.probe) else { return };
    let units: Vec<(u32, Arc<Unit>)> =
        with(|state| state.units.iter().map(|(number, unit)| (*number, Arc::clone(unit))).collect());
    // What is not read yet is no candidate: the hands read it, and come back.
    let files: Vec<(u32, &Unit, Option<usize>, &str)> = units
        .iter()
        .flat_map(|(number, unit)| unit.files().into_iter().map(|(source, name)| (*number, &**unit, source, name)))
        .collect();
    let candidates: Vec<Candidate> = files.iter().map(|(.., name)| Candidate::new(name, false)).collect();
    let (meant, failed) = match chosen(&candidates, file) {
        Choice::File(found) => (found.into_iter().map(|at| files[at]).collect(), None),
        Choice::Ambiguous(reason) => (Vec::new(), Some(Outcome::Refused { kind: "AmbiguousFile", reason })),
        // What is said of it is known when the list is there.
        Choice::None if is_listed(live.slot, file) => return,
        Choice::None => (Vec::new(), Some(not_loaded(file, &candidates))),
    };
    let before = with_asked(live.slot, |asked| asked.placed.clone());
    // It was removed meanwhile.
    let Some(before) = before else { return };
    let now: BTreeSet<(u32, Option<usize>)> = meant.iter().map(|(number, _, source, _)| (*number, *source)).collect();
    let left: Vec<u32> = before.difference(&now).map(|(number, _)| *number).collect();
    with_asked(live.slot, |asked| asked.moves = !left.is_empty());
    for number in &left {
        if let Some((_, unit)) = units.iter().find(|(known, _)| known == number) {
            take_out(unit, live.slot);
        }
    }
    let mut outcome = failed;
    for (number, unit, source, name) in meant {
        if before.contains(&(number, source)) {
            continue;
        }
        let module = fresh.filter(|(fresh, _)| *fresh == number).map(|(_, module)| module);
        let put = |module: &Module, fresh: bool| put_in(unit, module, (source, name), live, ticket, fresh);
        let refused = match module {
            Some(module) => put(module, true),
            None => match unit.read() {
                Ok(module) => put(&module, false),
                Err(reason) => Err(Missing::internal(reason).into()),
            },
        };
        if let Err(refused) = refused {
            outcome = Some(*refused);
        }
    }
    with_asked(live.slot, |asked| asked.placed = now);
    if let Some(outcome) = outcome {
        answer(live.slot, 0, ticket, outcome);
    }
}

/// True if the file of a probe may run without guards, and a debugger was asked for what does.
fn is_listed(slot: u32, file: &str) -> bool {
    let may_run = with(|state| {
        let asked = state.asked.iter_mut().find(|asked| asked.live.slot == slot && !asked.listed)?;
        let means = |path: &String| chosen(&[Candidate::new(path, false)], file) != Choice::None;
        let early = state.late && state.early.as_ref().is_none_or(|early| early.iter().any(means));
        asked.listed = early || state.left.keys().any(means);
        Some(asked.listed)
    });
    may_run == Some(true) && watch::list()
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

/// That lines of the file mean little in the text that runs: another loader has made other lines of them, as compilers and
/// coverage tools do.
fn of_other_lines(unit: &Unit, location: &Location) -> Option<String> {
    if !matches!(location, Location::Lines { .. }) {
        return None;
    }
    let lines = |text: &str| text.trim_end().lines().count();
    // What cannot be read is made in memory, and its lines are its own.
    let (file, runs) = (lines(&std::fs::read_to_string(&*unit.path).ok()?), lines(&unit.text));
    (file != runs).then(|| {
        format!(
            "the text that runs has {runs} lines and the file has {file}: another loader has changed it, or it was edited \
             since; name the function with --method"
        )
    })
}

/// Where a probe goes in a file of a unit, with what is to be said of its lines.
fn find_in(
    unit: &Unit,
    module: &Module,
    (source, name): (Option<usize>, &str),
    location: &Location,
) -> Result<Placement, Missing> {
    let origins = unit.origins.get().and_then(Option::as_ref);
    let (file, others) = match (source, origins) {
        (Some(source), Some(origins)) => (File::original(module, name, &origins.map, source), None),
        (_, Some(_)) => (File::loaded(module, name), None),
        _ => (File::loaded(module, name), of_other_lines(unit, location)),
    };
    let with_others = |text: Option<String>| {
        let all: Vec<String> = text.into_iter().chain(others.clone()).collect();
        (!all.is_empty()).then(|| all.join("; "))
    };
    match place::find(&file, location) {
        Ok(found) => Ok(Placement { note: with_others(found.note), ..found }),
        Err(Missing { kind, reason }) => Err(Missing { kind, reason: with_others(Some(reason)).unwrap_or_default() }),
    }
}

/// Puts a probe into a unit. `fresh`: its module is about to run. An error says why it is not there.
fn put_in(
    unit: &Unit,
    module: &Module,
    file: (Option<usize>, &str),
    live: &Arc<LiveProbe>,
    ticket: Ticket,
    fresh: bool,
) -> Result<(), Box<Outcome>> {
    let Placement { functions, site, note } = find_in(unit, module, file, &live.probe.location)?;
    if session::refuses(live, &site) {
        return Err(Box::new(Outcome::Denied { site }));
    }
    for (function, lines) in functions {
        let mut one = Use { live: Arc::clone(live), ticket, lines, site: site.clone(), note: note.clone() };
        let Some(number) = function.filter(|&number| why_bare(unit, module, number).is_none()) else {
            let why = function.and_then(|number| why_bare(unit, module, number)).unwrap_or(TOP_LEVEL);
            watch_for(unit, module, function, one, why)?;
            continue;
        };
        if !fresh && may_be_running(module, number, &one.lines) && watch::why_not(unit.realm).is_none() {
            add_note(&mut one, RUNS.to_owned());
            order_watch(unit, module, function, one.clone(), true).map_err(Missing::internal)?;
        }
        if let Err(reason) = insert(unit, module, number, &one) {
            watch_for(unit, module, function, one, &reason)?;
        }
    }
    Ok(())
}

/// Why code outside of functions has no guard.
const TOP_LEVEL: &str = "it is at the top level of its module, where no guard can be";
/// What is said of a probe that is in a variant and watched for.
const RUNS: &str = "in a loop of a function that can wait: calls that run since before the probe was set are seen by conditional \
                    breakpoints (tier B), which slow `await` down in the whole process until ten seconds after the last of them";

/// Why a function has no guard; nothing if it has one.
fn why_bare(unit: &Unit, module: &Module, function: u32) -> Option<&'static str> {
    unit.bare.or_else(|| module.functions().get(function as usize)?.why_not)
}

fn may_be_running(module: &Module, function: u32, lines: &[place::Line]) -> bool {
    lines.iter().flat_map(|line| &line.sites).any(|&site| module.may_be_running(function as usize, site))
}

/// Puts a probe into the variant of a function.
fn insert(unit: &Unit, module: &Module, function: u32, one: &Use) -> Result<(), String> {
    let mut uses = unit.uses();
    let of_function = uses.entry(function).or_default();
    of_function.retain(|other| other.live.slot != one.live.slot);
    of_function.push(one.clone());
    write(unit, module, function, of_function).inspect_err(|_| {
        of_function.retain(|other| other.live.slot != one.live.slot);
    })
}

/// Has a debugger watch for a probe, and says why.
fn watch_for(unit: &Unit, module: &Module, function: Option<u32>, mut one: Use, why: &str) -> Result<(), Missing> {
    let refused = |reason: String| Missing { kind: place::NOT_ELIGIBLE, reason };
    if let Some(not) = watch::why_not(unit.realm) {
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
    watch::add(number, watch::Order { path: Arc::clone(&unit.path), length: unit.length, stops, hits, one, beside });
    Ok(())
}

fn add_note(to: &mut Use, more: String) {
    to.note = Some(match to.note.take() {
        Some(note) => format!("{note}; {more}"),
        None => more,
    });
}

impl Unit {
    /// Makes places in the original those in the text that runs.
    fn moved(&self, stops: &mut [place::Stop]) {
        let (line, width) = self.begun;
        for stop in stops {
            stop.at.1 = self.positions.now(stop.at.0, stop.at.1) + if stop.at.0 == line { width } else { 0 };
        }
    }
}

/// Takes a probe out of a unit.
fn take_out(unit: &Unit, slot: u32) {
    let watches = unit.watches().remove(&slot);
    watch::drop(&watches.unwrap_or_default());
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

/// The place in an original of a place in a file that was compiled of it.
pub fn original(path: &str, line: u32, column: u32) -> Option<(String, u32, u32)> {
    let (file, line, column) =
        unit_of(path)?.origins()?.place(line, column).map(|(file, line, column)| (file.to_owned(), line, column))?;
    (!file.is_empty()).then_some((file, line, column))
}

/// The unit of a file; of one that was loaded more than once the last.
fn unit_of(path: &str) -> Option<Arc<Unit>> {
    with(|state| state.units.values().rev().find(|unit| &*unit.path == path).or_else(|| state.past.get(path)).cloned())
}

/// The column in a file at which a place stands that its loaded text has at this column. Both from 1.
pub fn original_column(path: &str, line: u32, column: u32) -> u32 {
    unit_of(path).map_or(column, |unit| names::back(&unit.positions, line, column))
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
        let watches = std::mem::take(&mut *unit.watches());
        watch::drop(&watches.into_values().flatten().collect::<Vec<u32>>());
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

/// A debugger watches for a probe, or cannot (the reason, and whether it is in a variant all the same).
pub fn watched(one: &Use, problem: Option<(&str, bool)>) {
    let note = one.note.clone();
    let outcome = match problem {
        None => Outcome::Done { note, site: one.site.clone() },
        Some((why, true)) => {
            let note = format!("calls that run since before the probe was set are not seen: {why}");
            Outcome::Done { note: Some(note), site: one.site.clone() }
        }
        Some((why, false)) => Outcome::Refused {
            kind: place::NOT_ELIGIBLE,
            reason: format!("{}: {why}", note.unwrap_or_else(|| "it needs a debugger".to_owned())),
        },
    };
    answer(one.live.slot, 0, one.ticket, outcome);
}

/// Tells the session, once for each news.
fn answer(slot: u32, realm: u32, ticket: Ticket, outcome: Outcome) {
    let news = with_asked(slot, |asked| {
        let outcome = match outcome {
            Outcome::Done { note, site } if asked.moves => Outcome::Moved { note, site },
            other => other,
        };
        let is_new = asked.said.as_ref() != Some(&outcome);
        asked.said = Some(outcome.clone());
        is_new.then_some(outcome)
    });
    if let Some(outcome) = news.flatten() {
        session::installed(realm, ticket, outcome);
    }
}

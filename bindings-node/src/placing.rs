//! Which units a probe means, and what is said of it: all probes that were asked for stand here. On the walk of a configuration
//! going in, after [`crate::hands`]; what goes into a unit is [`crate::put`]'s.
//!
//! Two threads place probes: the hands, and a realm that loads a module, which is told of the probes that wait for it before its
//! code runs. They are placed many at a time: what is loaded is looked through once, and each function is written once.

use crate::place::{self, NOT_ELIGIBLE, Use};
use crate::put::{self, Wanted};
use crate::realms::Order;
use crate::units::{self, Unit};
use crate::{guard, session, watch};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use stroboscope_core::clock::{Clock as _, SystemClock};
use stroboscope_core::fault;
use stroboscope_core::host::{Outcome, Ticket};
use stroboscope_core::probe::location::{self, Candidate, Choice, SourcePath};
use stroboscope_core::probe::model::{Location, Probe};
use stroboscope_core::registry::LiveProbe;
use stroboscope_rewriter::Module;

/// A probe, with what its installation is answered with.
pub type Ticketed = (Arc<LiveProbe>, Ticket);

/// A probe that was asked for.
#[derive(Clone)]
struct Asked {
    live: Arc<LiveProbe>,
    ticket: Ticket,
    /// What the names of its file have in common; empty if it names none.
    key: String,
    /// Units that it is in, with the file of each that it means.
    placed: Places,
    /// What was said of it last.
    said: Option<Outcome>,
    /// Its file was looked for among what runs without guards.
    listed: bool,
    /// It has left a place for one that it means more exactly.
    moves: bool,
}

/// Units by their numbers, with the files of each, by their places in its map.
type Places = BTreeSet<(u32, Option<usize>)>;

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    /// The program was there before us: modules may run that came without our hooks.
    late: bool,
    /// Files that ran without guards when a debugger told of them.
    early: Option<Vec<String>>,
    /// Files of probes that are links, and when that was found.
    links: Option<(u64, Arc<BTreeSet<String>>)>,
}

impl State {
    fn asked(&mut self, slot: u32) -> Option<&mut Asked> {
        self.asked.iter_mut().find(|asked| asked.live.slot == slot)
    }
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn with<R>(use_it: impl FnOnce(&mut State) -> R) -> R {
    use_it(STATE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Says whether modules may run that came before our hooks did.
pub fn set_late(late: bool) {
    with(|state| state.late |= late);
}

/// True while nobody asks for a probe.
pub fn is_idle() -> bool {
    with(|state| state.asked.is_empty())
}

/// True while a probe is asked for, by this ticket.
pub fn is_asked(live: &LiveProbe, ticket: Ticket) -> bool {
    with(|state| state.asked(live.slot).is_some_and(|asked| asked.ticket == ticket))
}

/// Places probes where they belong.
pub fn place(probes: &[Ticketed]) {
    with(|state| {
        for (live, ticket) in probes {
            state.asked.retain(|asked| asked.live.slot != live.slot);
            let (live, ticket, placed) = (Arc::clone(live), *ticket, Places::new());
            let key = file_of(&live.probe).map(|file| SourcePath::new(file).name_key()).unwrap_or_default();
            state.asked.push(Asked { live, ticket, key, placed, said: None, listed: false, moves: false });
        }
        state.links = None;
    });
    let units = units::all();
    if let Some((_, unit)) = units.iter().find(|(_, unit)| !unit.has_small_origins()) {
        // Who waits for the probes does not wait for this.
        let reason = format!("it is not known yet what {} was compiled of; its source map is being read", unit.path);
        for (live, ticket) in probes {
            answer(live.slot, 0, *ticket, Outcome::Waiting(reason.clone()));
        }
    }
    for (_, unit) in units {
        unit.origins();
    }
    place_with(probes, None);
}

/// A module is loaded, and about to run: the probes that wait for it are put into it.
pub fn loaded(number: u32, unit: &Unit, module: Option<Module>) {
    place_with(&meaning(unit), Some((number, module)));
}

/// What a unit was compiled of is read, and the probes that mean that are placed.
pub fn read_origins(number: u32) {
    let Some(unit) = units::numbered(number) else { return };
    if unit.origins().is_some() {
        place_with(&meaning(&unit), None);
    }
}

/// A file could not be read: the probes that wait for it hear that.
pub fn unreadable(path: &str) {
    place_with(&naming(&[path]), None);
}

/// What runs without guards has changed: a debugger may find the file of a probe that it did not find before.
pub fn list_again(path: &str) {
    let slots: BTreeSet<u32> = naming(&[path]).iter().map(|(live, _)| live.slot).collect();
    let meant = |asked: &&mut Asked| slots.contains(&asked.live.slot);
    with(|state| state.asked.iter_mut().filter(meant).for_each(|asked| asked.listed = false));
}

/// True if a module gets guards: one of the application's own, and one that a probe names.
pub fn wants(path: &str) -> bool {
    let candidate = Candidate::new(path, false);
    if !candidate.is_library() {
        return true;
    }
    let asked = naming(&[path]);
    // Many probes have one file.
    let files: BTreeSet<&str> = asked.iter().filter_map(|(live, _)| file_of(&live.probe)).collect();
    files.into_iter().any(|file| chosen(std::slice::from_ref(&candidate), file) != Choice::None)
}

/// The probes that name a file as a unit does, or one that it evaluates as text.
fn meaning(unit: &Unit) -> Vec<Ticketed> {
    let files = unit.files().into_iter().map(|(_, name)| name);
    naming(&files.chain(unit.evaluated().iter().map(String::as_str)).collect::<Vec<_>>())
}

/// The probes whose file may be one of these: it has the name of one, or is a link, which may lead to any.
fn naming(files: &[&str]) -> Vec<Ticketed> {
    let keys: BTreeSet<String> = files.iter().map(|name| SourcePath::new(name).name_key()).collect();
    let links = links();
    let is_link = |asked: &Asked| file_of(&asked.live.probe).is_some_and(|file| links.contains(file));
    let means = |asked: &&Asked| !asked.key.is_empty() && (keys.contains(&asked.key) || is_link(asked));
    with(|state| state.asked.iter().filter(means).map(|asked| (Arc::clone(&asked.live), asked.ticket)).collect())
}

/// For how long it is known which files are links, in nanoseconds: a program may load thousands of modules meanwhile.
const LINKS_NS: u64 = 100_000_000;

/// The files of probes that are links. A probe that comes meanwhile waits, so that it is among them.
fn links() -> Arc<BTreeSet<String>> {
    let now = SystemClock.monotonic();
    with(|state| {
        if let Some((since, links)) = &state.links
            && now.saturating_sub(*since) < LINKS_NS
        {
            return Arc::clone(links);
        }
        let files = state.asked.iter().filter_map(|asked| file_of(&asked.live.probe));
        let files: BTreeSet<&str> = files.collect();
        let links = files.into_iter().filter(|file| Path::new(file).is_symlink()).map(str::to_owned);
        let links = Arc::new(links.collect());
        state.links = Some((now, Arc::clone(&links)));
        links
    })
}

/// The file that a probe names.
pub fn file_of(probe: &Probe) -> Option<&str> {
    match &probe.location {
        Location::Lines { file, .. } => Some(file),
        Location::Method { file, .. } => file.as_deref(),
    }
}

/// What the file of a probe means among what is loaded, as it was found last: probes come one by one, and have one file.
struct Meant {
    changes: u32,
    file: String,
    units: Vec<(Arc<Unit>, Option<usize>)>,
}

static MEANT: Mutex<Option<Meant>> = Mutex::new(None);

/// The cells of the functions of a realm that a probe goes into, if it goes nowhere else, and that takes no time to be known.
pub fn awaited_in(live: &LiveProbe, realm: u32) -> Option<Vec<Arc<str>>> {
    let file = file_of(&live.probe)?;
    let mut last = MEANT.lock().unwrap_or_else(PoisonError::into_inner);
    let changes = units::changes();
    if last.as_ref().is_none_or(|last| last.changes != changes || last.file != file) {
        let loaded = Loaded::now();
        let Choice::File(found) = chosen(&loaded.candidates, file) else { return None };
        let unit = |at: usize| Some((Arc::clone(loaded.units.get(&loaded.places[at].0)?), loaded.places[at].1));
        *last = Some(Meant { changes, file: file.to_owned(), units: found.into_iter().filter_map(unit).collect() });
    }
    let units = &last.as_ref()?.units;
    let goes_to_guards = |(unit, source): &(Arc<Unit>, Option<usize>)| {
        let is_itself = source.is_none() && unit.known_origins().is_none() && unit.has_small_origins();
        let takes = |module: Arc<Module>| place::waits_for_calls(&module, &live.probe.location);
        is_itself && unit.realm == realm && unit.bare.is_none() && unit.at_hand().is_some_and(takes)
    };
    let is_awaited = !units.is_empty() && units.iter().all(goes_to_guards);
    is_awaited.then(|| units.iter().map(|(unit, _)| Arc::clone(&unit.cell)).collect())
}

/// True if it is known what becomes of a probe. One that nobody has asked for may be on its way.
pub fn is_answered(slot: u32) -> Option<bool> {
    with(|state| state.asked(slot).map(|asked| asked.said.is_some()))
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

/// What is loaded, as probes name it. What a unit was compiled of is in here once it was read: the hands do, and come back.
struct Loaded {
    units: BTreeMap<u32, Arc<Unit>>,
    /// The unit and the file of each candidate.
    places: Vec<(u32, Option<usize>)>,
    candidates: Vec<Candidate>,
    /// What files of probes mean, as far as that was asked: many probes have one file.
    choices: BTreeMap<String, Choice>,
}

impl Loaded {
    fn now() -> Loaded {
        let units: BTreeMap<u32, Arc<Unit>> = units::all().into_iter().collect();
        let (mut places, mut candidates) = (Vec::new(), Vec::new());
        for (&number, unit) in &units {
            for (source, name) in unit.files() {
                places.push((number, source));
                candidates.push(Candidate::new(name, false));
            }
        }
        Loaded { units, places, candidates, choices: BTreeMap::new() }
    }

    /// The places that a probe means; an error if there is something to be said of it. `Ok(None)`: that comes later.
    fn meant(&mut self, live: &LiveProbe, file: &str) -> Result<Option<Places>, Box<Outcome>> {
        if !self.choices.contains_key(file) {
            self.choices.insert(file.to_owned(), chosen(&self.candidates, file));
        }
        match self.choices.get(file).unwrap_or(&Choice::None) {
            Choice::File(found) => Ok(Some(found.iter().map(|&at| self.places[at]).collect())),
            Choice::Ambiguous(reason) => {
                Err(Box::new(Outcome::Refused { kind: "AmbiguousFile", reason: reason.clone() }))
            }
            // What is said of it is known when the list is there.
            Choice::None if is_listed(live.slot, file) => Ok(None),
            Choice::None => Err(Box::new(not_loaded(file, &self.candidates))),
        }
    }
}

/// A unit, with which of its sources is meant if it has a map.
type UnitSource = (Arc<Unit>, Option<usize>);

/// Among how many files the one of a probe was looked for, and those that it means.
pub fn meant(probe: &Probe) -> (usize, Vec<UnitSource>) {
    let loaded = Loaded::now();
    let unit = |at: usize| Some((Arc::clone(loaded.units.get(&loaded.places[at].0)?), loaded.places[at].1));
    let found = match file_of(probe).map(|file| chosen(&loaded.candidates, file)) {
        Some(Choice::File(found)) => found.into_iter().filter_map(unit).collect(),
        _ => Vec::new(),
    };
    (loaded.candidates.len(), found)
}

/// Puts probes into all the units that they mean now, and takes them out of those that they mean no more. `fresh` is a unit that
/// is about to run, with its module if that is at hand.
fn place_with(probes: &[Ticketed], mut fresh: Option<(u32, Option<Module>)>) {
    if probes.is_empty() {
        return;
    }
    let mut loaded = Loaded::now();
    let mut wanted: BTreeMap<u32, Vec<Wanted>> = BTreeMap::new();
    let mut placed: Vec<(u32, Places)> = Vec::new();
    for (live, ticket) in probes {
        each(live, *ticket, || {
            fault::at(fault::Place::Hook);
            let Some(file) = file_of(&live.probe) else { return Ok(()) };
            let (meant, failed) = match loaded.meant(live, file) {
                Ok(None) => return Ok(()),
                Ok(Some(meant)) => (meant, None),
                Err(outcome) => (Places::new(), Some(outcome)),
            };
            // It was removed meanwhile.
            let Some(before) = with(|state| Some(state.asked(live.slot)?.placed.clone())) else { return Ok(()) };
            let left: Vec<u32> = before.difference(&meant).map(|(number, _)| *number).collect();
            for unit in left.iter().filter_map(|number| loaded.units.get(number)) {
                put::take_out(unit, &[live.slot]);
            }
            with(|state| state.asked(live.slot).map(|asked| asked.moves = !left.is_empty()));
            for &(number, source) in meant.difference(&before) {
                wanted.entry(number).or_default().push(Wanted { live: Arc::clone(live), ticket: *ticket, source });
            }
            placed.push((live.slot, meant));
            failed.map_or(Ok(()), Err)
        });
    }
    for (number, wanted) in wanted {
        let Some(unit) = loaded.units.get(&number) else { continue };
        let fresh = fresh.take_if(|(fresh, _)| *fresh == number);
        let is_fresh = fresh.is_some();
        put::put_in(unit, fresh.and_then(|(_, module)| module), is_fresh, &wanted);
    }
    with(|state| {
        for (slot, meant) in placed {
            if let Some(asked) = state.asked(slot) {
                asked.placed = meant;
            }
        }
    });
}

/// Does something for a probe. What hinders it is told; a panic of ours costs the probe its place, and nothing else.
pub fn each(live: &LiveProbe, ticket: Ticket, place: impl FnOnce() -> Result<(), Box<Outcome>>) {
    let outcome = match guard::caught(place) {
        Some(Ok(())) => return,
        Some(Err(outcome)) => *outcome,
        None => Outcome::panicked(),
    };
    answer(live.slot, 0, ticket, outcome);
}

// ---- what runs without guards ----

/// True if the file of a probe may run without guards, and a debugger was asked for what does.
fn is_listed(slot: u32, file: &str) -> bool {
    let means = |path: &String| chosen(&[Candidate::new(path, false)], file) != Choice::None;
    let left = units::left();
    let may_run = with(|state| {
        let early = state.late && state.early.as_ref().is_none_or(|early| early.iter().any(means));
        let asked = state.asked(slot).filter(|asked| !asked.listed)?;
        asked.listed = early || left.keys().any(means);
        Some(asked.listed)
    });
    may_run == Some(true) && watch::list()
}

/// What is said of a probe whose file is not loaded, or not with guards.
fn not_loaded(file: &str, candidates: &[Candidate]) -> Outcome {
    let left = units::left();
    let names: Vec<Candidate> = left.keys().map(|path| Candidate::new(path, false)).collect();
    if let Choice::File(found) = chosen(&names, file)
        && let Some((path, why)) = found.first().and_then(|&at| left.get_key_value(names[at].name()))
    {
        return Outcome::Refused { kind: "NotGuarded", reason: format!("{path} has no guards: {why}") };
    }
    if let Some((name, bundle)) = evaluated(file) {
        let reason = format!(
            "{name} is in {bundle}, which evaluates its modules as text, and such text takes no probes: build it with separate \
             source maps (webpack: `devtool: 'source-map'`)"
        );
        return Outcome::Refused { kind: NOT_ELIGIBLE, reason };
    }
    let alike = location::of_the_same_name(candidates, file);
    let alike = if alike.is_empty() { alike } else { format!("; loaded files of that name: {alike}") };
    let threads = threads_without();
    if Path::new(file).is_file() {
        return Outcome::Waiting(format!("{file} is not loaded yet; the probe waits for it{alike}{threads}"));
    }
    Outcome::NotFound(format!(
        "source file not found: no loaded file is `{file}`{alike}; the probe goes on waiting{threads}"
    ))
}

/// Threads of the program in which we are not, as far as that is known.
static WITHOUT: AtomicU32 = AtomicU32::new(0);

/// One more thread has begun in which we are not: it may have what probes wait for.
pub fn without_realm(thread: u32) {
    WITHOUT.fetch_add(1, Ordering::Relaxed);
    log::debug!(target: "stroboscope", "worker thread {thread} has no probes");
    let waiting: Vec<Asked> = with(|state| {
        state.asked.iter().filter(|asked| asked.said.is_some() && asked.placed.is_empty()).cloned().collect()
    });
    for asked in waiting {
        tell_missing(&asked);
    }
}

fn threads_without() -> String {
    match WITHOUT.load(Ordering::Relaxed) {
        0 => String::new(),
        threads => format!(
            "; worker threads that began without stroboscope ({threads} so far) have no probes: preload it with --import or \
             --require, and leave NODE_OPTIONS in their env"
        ),
    }
}

/// The module that a probe's file means among those that bundles evaluate as text, with the bundle.
fn evaluated(file: &str) -> Option<(String, Arc<str>)> {
    let units = units::all();
    let named = units.iter().flat_map(|(_, unit)| unit.evaluated().iter().map(|name| (name, &unit.path)));
    let (places, candidates): (Vec<_>, Vec<_>) = named.map(|place| (place, Candidate::new(place.0, false))).unzip();
    let Choice::File(found) = chosen(&candidates, file) else { return None };
    found.first().map(|&at| (places[at].0.clone(), Arc::clone(places[at].1)))
}

/// The files that run, as a debugger sees them. Answers which of them are wanted: probes mean them, and they have no guards.
pub fn scripts(paths: &[String]) -> Vec<u32> {
    let known = units::paths();
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

/// Tells of them that they are.
pub fn tell_unplaced() {
    for asked in unplaced() {
        tell_missing(&asked);
    }
}

fn tell_missing(asked: &Asked) {
    if let Some(file) = file_of(&asked.live.probe) {
        let units: Vec<Candidate> = units::paths().iter().map(|path| Candidate::new(path, false)).collect();
        answer(asked.live.slot, 0, asked.ticket, not_loaded(file, &units));
    }
}

// ---- the end of a probe ----

/// Takes probes away.
pub fn remove(slots: &[u32]) {
    with(|state| state.asked.retain(|asked| !slots.contains(&asked.live.slot)));
    for (_, unit) in units::all() {
        put::take_out(&unit, slots);
    }
}

/// Takes all probes away.
pub fn remove_all() {
    with(|state| state.asked.clear());
    for (_, unit) in units::all() {
        put::empty(&unit);
    }
}

// ---- what is said of a probe ----

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
            kind: NOT_ELIGIBLE,
            reason: format!("{}: {why}", note.unwrap_or_else(|| "it needs a debugger".to_owned())),
        },
    };
    answer(one.live.slot, 0, one.ticket, outcome);
}

/// Tells the session, once for each news.
fn answer(slot: u32, realm: u32, ticket: Ticket, outcome: Outcome) {
    let news = with(|state| {
        let asked = state.asked(slot)?;
        let outcome = match outcome {
            Outcome::Done { note, site } if asked.moves => Outcome::Moved { note, site },
            other => other,
        };
        let is_new = asked.said.as_ref() != Some(&outcome);
        asked.said = Some(outcome.clone());
        is_new.then_some(outcome)
    });
    if let Some(outcome) = news {
        session::installed(realm, ticket, outcome);
    }
}

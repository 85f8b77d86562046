//! The modules that are loaded: one *unit* for each module and realm, with guards in it, or without where a debugger told of it.
//! They belong to the process: a session that ends leaves the guards behind, and the next one finds them. A realm comes here as a
//! module is about to run; the probes that wait for it are [`crate::placing`]'s, and stand in it by [`crate::put`].

use crate::cache;
use crate::hands::{self, Task};
use crate::names;
use crate::origins::{self, Origins};
use crate::place::{self, Use};
use crate::{placing, text, watch};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use stroboscope_rewriter::{MapComment, Module, Positions, SourceKind, Unreadable};

/// A module in a realm.
pub struct Unit {
    pub realm: u32,
    pub path: Arc<str>,
    pub cell: Arc<str>,
    text: String,
    pub kind: SourceKind,
    /// The way back from the text that runs.
    pub positions: Positions,
    /// The length of that, in UTF-16 units.
    pub length: u32,
    /// Why it has no guards; nothing if it has some.
    pub bare: Option<Arc<str>>,
    /// Why no debugger can watch for anything in it; nothing if one can.
    apart: Option<&'static str>,
    /// Text of ours that stands in its first line of code: the line, and how long it is.
    begun: (u32, u32),
    /// What it was compiled of, once that was read.
    origins: OnceLock<Option<Origins>>,
    /// The originals of the modules that it evaluates as text, once somebody has asked.
    evaluated: OnceLock<Vec<String>>,
    /// As it was read last.
    module: Mutex<Option<Arc<Module>>>,
    /// By the number of the function.
    uses: Mutex<BTreeMap<u32, Vec<Use>>>,
    /// What a debugger watches for in it, by the slots of the probes.
    watches: Mutex<BTreeMap<u32, Vec<u32>>>,
}

impl Unit {
    pub fn uses(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<Use>>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn watches(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<u32>>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no debugger can watch for probes here; nothing if one can.
    pub fn why_not_watched(&self) -> Option<String> {
        self.apart.map(str::to_owned).or_else(|| watch::why_not(self.realm))
    }

    /// Its module, which is kept until the hands have nothing to do: probes come one by one, too.
    pub fn read(&self) -> Result<Arc<Module>, String> {
        let mut kept = self.module.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = &*kept {
            return Ok(Arc::clone(module));
        }
        let module = Arc::new(Module::read(&self.text, self.kind).map_err(|error| error.to_string())?);
        *kept = Some(Arc::clone(&module));
        Ok(module)
    }

    /// Its module, which is not kept.
    pub fn read_once(&self) -> Result<Arc<Module>, String> {
        match self.at_hand() {
            Some(module) => Ok(module),
            None => Module::read(&self.text, self.kind).map(Arc::new).map_err(|error| error.to_string()),
        }
    }

    /// Its module, if that is kept, and nobody reads it just now.
    pub fn at_hand(&self) -> Option<Arc<Module>> {
        self.module.try_lock().ok()?.clone()
    }

    fn forget(&self) {
        *self.module.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How many lines the text that runs has.
    pub fn lines(&self) -> usize {
        lines(&self.text)
    }

    /// True if what it was compiled of is known, or takes next to no time to be read.
    pub fn has_small_origins(&self) -> bool {
        self.origins.get().is_some() || origins::is_small(&self.path, &self.text)
    }

    /// What it was compiled of. The first time this reads a file, and may take a while.
    pub fn origins(&self) -> Option<&Origins> {
        let read = || {
            origins::read(&self.path, &self.text).unwrap_or_else(|why| {
                log::warn!(target: "stroboscope", "{}: {why}; what is in it is shown as it was compiled", self.path);
                None
            })
        };
        self.origins
            .get_or_init(|| {
                CHANGES.fetch_add(1, Ordering::Relaxed);
                read()
            })
            .as_ref()
    }

    /// The same, if that was read.
    pub fn known_origins(&self) -> Option<&Origins> {
        self.origins.get().and_then(Option::as_ref)
    }

    /// The originals of modules that it evaluates as text.
    pub fn evaluated(&self) -> &[String] {
        self.evaluated.get_or_init(|| origins::evaluated(&self.path, &self.text))
    }

    /// The files that it is, as probes name them: itself, and those that it was compiled of, if that was read. One that was
    /// compiled in its place is meant in the lines of the original.
    pub fn files(&self) -> Vec<(Option<usize>, &str)> {
        let sources = self.known_origins().map_or(&[][..], |origins| &origins.sources);
        let itself = (!sources.iter().any(|source| *source == *self.path)).then_some((None, &*self.path));
        let originals = sources.iter().enumerate().filter(|(_, name)| !name.is_empty());
        itself.into_iter().chain(originals.map(|(at, name)| (Some(at), name.as_str()))).collect()
    }

    /// Makes places in the original those in the text that runs.
    pub fn moved(&self, stops: &mut [place::Stop]) {
        for stop in stops {
            stop.at.1 = self.begun_at(stop.at.0, self.positions.now(stop.at.0, stop.at.1));
        }
    }

    /// The column that a place of the text with guards has once what begins it stands there too.
    pub fn begun_at(&self, line: u32, column: u32) -> u32 {
        let (first, width) = self.begun;
        if line == first { column + width } else { column }
    }
}

/// The lines of a text, but for what is empty at its end.
pub fn lines(text: &str) -> usize {
    text.trim_end().lines().count()
}

#[derive(Default)]
struct State {
    units: BTreeMap<u32, Arc<Unit>>,
    /// By their files those of the realm that ended last: what was caught there is still to be told.
    past: BTreeMap<Arc<str>, Arc<Unit>>,
    /// Files that were loaded without guards, and why.
    left: BTreeMap<String, String>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
static NEXT: AtomicU32 = AtomicU32::new(0);
/// How often it has changed what is loaded, or what is known of that.
static CHANGES: AtomicU32 = AtomicU32::new(0);
static SPARES: AtomicBool = AtomicBool::new(false);

fn with<R>(use_it: impl FnOnce(&mut State) -> R) -> R {
    use_it(STATE.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// A text that is about to run.
pub struct Source<'p> {
    /// Where.
    pub realm: u32,
    /// Its file.
    pub path: &'p str,
    /// The text itself.
    pub text: String,
    /// How it is run.
    pub kind: SourceKind,
    /// Why no debugger could watch for anything in it; nothing if one could.
    pub apart: Option<&'static str>,
}

/// A module that a realm is to run.
pub struct Guarded {
    /// The text to be run; nothing: it runs as it is.
    pub code: Option<String>,
    /// The global that the guards read.
    pub cell: String,
}

/// Why a module of a package has no guards.
const OF_A_PACKAGE: &str =
    "it belongs to a package, and those are loaded without guards unless a probe names them before";
/// Why no module has some while its code is counted.
const COUNTED: &str = "coverage is being measured, and would count guards";
/// Why an older module has none.
const BEFORE_US: &str = "its module was loaded before stroboscope started";

/// True if a module gets guards. Else it is noted that it has none.
pub fn takes(path: &str) -> bool {
    let wanted = placing::wants(path);
    if !wanted {
        with(|state| state.left.insert(path.to_owned(), OF_A_PACKAGE.to_owned()));
    }
    wanted
}

/// A module is about to run in a realm, one that [`takes`] guards. `None`: it runs as it is. The orders of the probes that wait for it are there when
/// this returns. `begin` is what its first line of code is to begin with, if that is given.
pub fn load(source: Source<'_>, prefix: &str, begin: Option<&str>) -> Option<Guarded> {
    let Source { realm, path, text, kind, apart } = source;
    if SPARES.load(Ordering::Relaxed) {
        return bare(realm, path, text, kind, Arc::from(COUNTED)).then(|| Guarded { code: None, cell: String::new() });
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    // All names are of one length: columns are the same wherever the file is loaded, and in each process.
    let cell = format!("{prefix}{number:05x}");
    let guarded = match cache::guarded(&text, kind, &cell) {
        Ok(guarded) => guarded,
        Err(error) => {
            unreadable(path, &error);
            return None;
        }
    };
    let (mut code, begun) = match begin {
        None => (guarded.code, (0, 0)),
        Some(begin) => begun(&guarded.code, begin, &cell),
    };
    if matches!(kind, SourceKind::CommonJs | SourceKind::Esm) && MapComment::of(&text).is_none() {
        code.push_str(NOWHERE);
    }
    let length = text::width(&code);
    let unit = Unit {
        realm,
        path: Arc::from(path),
        cell: Arc::from(cell.as_str()),
        text,
        kind,
        positions: guarded.positions,
        length,
        bare: None,
        apart,
        begun,
        origins: OnceLock::new(),
        evaluated: OnceLock::new(),
        module: Mutex::default(),
        uses: Mutex::default(),
        watches: Mutex::default(),
    };
    enter(number, unit, None);
    Some(Guarded { code: Some(code), cell })
}

/// What the text of a module ends with that has no source map: the address of one that is empty. Only of what has an address Node
/// asks where an exception that nobody catches comes from, as it prints that (`js/fatal.cjs`).
const NOWHERE: &str = "\n//# sourceMappingURL=data:,";

/// A text whose first line of code begins with a call of this function for its cell, with that line and the length of the call.
fn begun(code: &str, enter: &str, cell: &str) -> (String, (u32, u32)) {
    let is_end = |c: char| matches!(c, '\n' | '\r' | '\u{2028}' | '\u{2029}');
    let end = code.find(is_end).filter(|_| code.starts_with("#!"));
    let at = end.map_or(0, |end| end + if code[end..].starts_with("\r\n") { 2 } else { 1 });
    let call = format!("typeof {enter}==='function'&&{enter}('{cell}');");
    let line = if at == 0 { 1 } else { 2 };
    (format!("{}{call}{}", &code[..at], &code[at..]), (line, call.len() as u32))
}

/// From now on modules get no guards, so that what counts their code counts only that.
pub fn spare() {
    SPARES.store(true, Ordering::Relaxed);
}

/// A new unit is there: probes that wait for it are put into it. Its module is read if one does, unless that was done.
fn enter(number: u32, unit: Unit, module: Option<Module>) {
    let unit = Arc::new(unit);
    with(|state| state.units.insert(number, Arc::clone(&unit)));
    CHANGES.fetch_add(1, Ordering::Relaxed);
    if placing::is_idle() {
        return;
    }
    if unit.has_small_origins() {
        unit.origins();
    } else {
        hands::ask(Task::Read(number));
    }
    placing::loaded(number, &unit, module);
}

/// A module that runs without guards was found. A debugger can watch for probes in it.
pub fn without_guards(realm: u32, path: &str, text: &str, is_module: bool) {
    let kind = if is_module { SourceKind::Esm } else { SourceKind::CommonJs };
    let why = with(|state| state.left.get(path).map_or_else(|| Arc::from(BEFORE_US), |why| Arc::from(why.as_str())));
    if !bare(realm, path, text.to_owned(), kind, why) {
        placing::tell_unplaced();
    }
}

/// Takes up a module without guards; false if it cannot be read.
fn bare(realm: u32, path: &str, text: String, kind: SourceKind, why: Arc<str>) -> bool {
    let module = match Module::read(&text, kind) {
        Ok(module) => module,
        Err(error) => {
            unreadable(path, &error);
            return false;
        }
    };
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let unit = Unit {
        realm,
        path: Arc::from(path),
        cell: Arc::from(""),
        length: text::width(&text),
        text,
        kind,
        positions: Positions::default(),
        bare: Some(why),
        apart: None,
        begun: (0, 0),
        origins: OnceLock::new(),
        evaluated: OnceLock::new(),
        module: Mutex::default(),
        uses: Mutex::default(),
        watches: Mutex::default(),
    };
    enter(number, unit, Some(module));
    true
}

/// A module runs without guards, since it could not be read. The probes that wait for it hear that.
fn unreadable(path: &str, error: &Unreadable) {
    with(|state| state.left.insert(path.to_owned(), format!("it could not be read: {error}")));
    placing::unreadable(path);
}

/// A text of a file is compiled in a way that lets it have no guards. A debugger may find it from now on.
pub fn leave(path: &str, why: &str) {
    with(|state| state.left.insert(path.to_owned(), why.to_owned()));
    placing::list_again(path);
    placing::unreadable(path);
}

/// A text that the program has compiled itself is gone. What was caught in it is still to be told.
pub fn unload(cell: &str) {
    let gone = with(|state| {
        let number = *state.units.iter().find(|(_, unit)| &*unit.cell == cell)?.0;
        let unit = state.units.remove(&number)?;
        state.past.insert(Arc::clone(&unit.path), Arc::clone(&unit));
        Some(unit)
    });
    CHANGES.fetch_add(1, Ordering::Relaxed);
    if let Some(unit) = gone {
        unit.uses().clear();
    }
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
    CHANGES.fetch_add(1, Ordering::Relaxed);
    // Outside of the lock.
    drop(before);
    for unit in gone.into_values() {
        unit.uses().clear();
    }
}

/// All units, by their numbers.
pub fn all() -> Vec<(u32, Arc<Unit>)> {
    with(|state| state.units.iter().map(|(number, unit)| (*number, Arc::clone(unit))).collect())
}

/// Another number than before: something else is loaded, or more is known of it.
pub fn changes() -> u32 {
    CHANGES.load(Ordering::Relaxed)
}

/// Gives back the memory of modules that were read.
pub fn forget_modules() {
    for (_, unit) in all() {
        unit.forget();
    }
}

/// One of them.
pub fn numbered(number: u32) -> Option<Arc<Unit>> {
    with(|state| state.units.get(&number).cloned())
}

/// The files that are loaded.
pub fn paths() -> BTreeSet<Arc<str>> {
    with(|state| state.units.values().map(|unit| Arc::clone(&unit.path)).collect())
}

/// Files that were loaded without guards, and why.
pub fn left() -> BTreeMap<String, String> {
    with(|state| state.left.clone())
}

/// The place in an original of a place in a file that was compiled of it. Of one that was compiled in the place of an original each
/// has one: its own lines would be taken for those of that.
pub fn original(path: &str, line: u32, column: u32) -> Option<(String, u32, u32)> {
    let unit = unit_of(path)?;
    let origins = unit.origins()?;
    let is_in_place = origins.sources.iter().any(|source| source == path);
    let found = origins.place(line, column).or_else(|| origins.nearest(line, column).filter(|_| is_in_place));
    let (file, line, column) = found.filter(|(file, ..)| !file.is_empty())?;
    Some((file.to_owned(), line, column))
}

/// The unit of a file; of one that was loaded more than once the last.
fn unit_of(path: &str) -> Option<Arc<Unit>> {
    with(|state| state.units.values().rev().find(|unit| &*unit.path == path).or_else(|| state.past.get(path)).cloned())
}

/// The modules of a realm that have guards: their paths, and whether they are modules of ES.
pub fn guarded_paths(realm: u32) -> Vec<(Arc<str>, bool)> {
    let guarded = all().into_iter().filter(|(_, unit)| unit.realm == realm && unit.bare.is_none());
    guarded.map(|(_, unit)| (Arc::clone(&unit.path), unit.kind == SourceKind::Esm)).collect()
}

/// A line of a file as the program has it, from 1.
pub fn line_of(path: &str, line: u32) -> Option<String> {
    let at = (line as usize).checked_sub(1)?;
    let is_end = |c: char| matches!(c, '\n' | '\u{2028}' | '\u{2029}');
    unit_of(path)?.text.split(is_end).nth(at).map(|line| line.trim_end_matches('\r').to_owned())
}

/// The column in a file at which a place stands that its loaded text has at this column. Both from 1.
pub fn original_column(path: &str, line: u32, column: u32) -> u32 {
    unit_of(path).map_or(column, |unit| {
        let (first, width) = unit.begun;
        let column = if line == first { column.saturating_sub(width).max(column.min(1)) } else { column };
        names::back(&unit.positions, line, column)
    })
}

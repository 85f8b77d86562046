//! The client: what is held, what an answer changes of it, and what is told of that. On the walk of a configuration going in,
//! after all else of this folder; a [`Host`] puts files in force. It does no I/O and knows no time but what it is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::answer::{self, Answer, Target};
use super::held::{self, Applied, File, Tracer};
use super::pace::Poll;
use super::switch::{self, Switch};
use super::trust::{Envelope, Trust};
use super::{Code, Refused, Result, path};

/// The product of probes.
pub const PROBES: &str = "LIVE_DEBUGGING";
/// The product of files that switch.
pub const SWITCHES: &str = "APM_TRACING";
/// The product of files that ask for the names of the program's modules and functions.
pub const SYMBOLS: &str = "LIVE_DEBUGGING_SYMBOL_DB";
/// After so many answers in a row that say that there is no remote configuration here, what is held is forgotten.
const MISSING: u32 = 3;

/// The product that a file is for.
fn product(path: &str) -> &str {
    path::read(path).map_or("", |parts| parts.product)
}

/// A file as it was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Its path.
    pub path: &'a str,
    /// The id in the path.
    pub id: &'a str,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Who puts files in force.
pub trait Host {
    /// Takes out what came by the first paths and puts the files in force, at once, so that nothing runs twice. Answers for each
    /// file why it cannot be used, if so.
    fn commit(&mut self, removed: &[String], files: &[Sent<'_>]) -> Vec<Option<String>>;
    /// Switches probes on, or off: then all of them go, wherever they came from.
    fn switch(&mut self, on: bool);
    /// Starts or ends the upload of symbols.
    fn upload_symbols(&mut self, wanted: bool);
}

/// A host that a thread of its own polls for.
pub trait Owner: Host + Send {
    /// What a parent knew, in a child of a fork. Asked before the first poll.
    fn inherited(&mut self) -> Option<Known>;
    /// What a client knows has changed.
    fn knows(&mut self, client: &Client);
}

/// What a client knows. A child of a fork goes on from there.
#[derive(Clone, Debug)]
pub struct Known {
    trust: Trust,
    /// Shared with what a child would go on from.
    files: Arc<BTreeMap<String, File>>,
    switches: BTreeMap<String, Switch>,
    /// What each file says of symbols.
    symbols: BTreeMap<String, bool>,
    uploads_symbols: bool,
    on: bool,
    version: u64,
    opaque: String,
    /// Other products are wanted than before: a server that goes by the version alone is to send everything anew.
    asks_anew: bool,
}

/// The client of a process.
#[derive(Debug)]
pub struct Client {
    tracer: Tracer,
    /// Probes are on as long as no file says otherwise.
    starts_on: bool,
    known: Known,
    error: Option<Refused>,
    missing: u32,
    said: BTreeSet<&'static str>,
    body: Option<Vec<u8>>,
    changes: u64,
}

impl Client {
    /// A client that holds nothing.
    pub fn new(tracer: Tracer, trust: Trust, starts_on: bool) -> Self {
        let known = Known {
            trust,
            files: Arc::default(),
            switches: BTreeMap::new(),
            symbols: BTreeMap::new(),
            uploads_symbols: false,
            on: starts_on,
            version: 0,
            opaque: String::new(),
            asks_anew: false,
        };
        Client { tracer, starts_on, known, error: None, missing: 0, said: BTreeSet::new(), body: None, changes: 0 }
    }

    /// In a child of a fork: goes on from what its parent knew, as somebody else.
    pub fn inherit(&mut self, known: &Known, host: &mut dyn Host) {
        self.known = known.clone();
        self.changed();
        if self.known.uploads_symbols {
            host.upload_symbols(true);
        }
    }

    /// What a child would go on from.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// Rises with each change of [`Client::known`].
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The products that are wanted.
    pub fn products(&self) -> &'static [&'static str] {
        match (self.known.on, self.asks_symbols()) {
            (_, true) => &[SWITCHES, PROBES, SYMBOLS],
            (true, false) => &[SWITCHES, PROBES],
            (false, false) => &[SWITCHES],
        }
    }

    /// What files say of symbols counts.
    fn asks_symbols(&self) -> bool {
        self.known.on && self.tracer.has_symbols
    }

    /// Why the last update was refused, if it was.
    pub fn error(&self) -> Option<&Refused> {
        self.error.as_ref()
    }

    /// The body of the next request. As long as nothing changes it is the same.
    pub fn request(&mut self) -> &[u8] {
        let products = self.products();
        let Client { tracer, known, error, body, .. } = self;
        body.get_or_insert_with(|| {
            let state = held::State {
                products,
                root_version: known.trust.root_version(),
                targets_version: if known.asks_anew { 0 } else { known.version },
                opaque: &known.opaque,
                error: error.as_ref().map(|error| error.code.name()),
            };
            held::request(tracer, state, &known.files)
        })
    }

    fn changed(&mut self) {
        self.changes += 1;
        self.body = None;
    }

    /// Takes an answer. `now`: seconds since 1970.
    pub fn answered(&mut self, status: u16, body: &[u8], now: i64, host: &mut dyn Host) -> Poll {
        match status {
            200 | 204 => self.missing = 0,
            404 => {
                self.not_offered(host);
                return Poll::Failed;
            }
            _ => return Poll::Failed,
        }
        let read = if status == 204 { Ok(None) } else { answer::read(body) };
        match read.and_then(|answer| answer.map_or(Ok(()), |answer| self.update(&answer, now, host))) {
            Ok(()) => {
                if self.error.take().is_some() {
                    self.changed();
                    log::info!(target: "stroboscope", "remote configuration is taken again");
                }
            }
            Err(refused) => self.refuse(refused),
        }
        Poll::Answered
    }

    /// The answer is that there is no remote configuration here.
    pub fn not_offered(&mut self, host: &mut dyn Host) {
        self.missing = self.missing.saturating_add(1);
        if self.missing == MISSING && self.known.version > 0 {
            log::info!(
                target: "stroboscope",
                "the Agent has no remote configuration any more: the probes that came by it are removed"
            );
            self.put(BTreeMap::new(), &HashMap::new(), host);
            self.known.version = 0;
            self.known.opaque.clear();
            self.known.asks_anew = false;
            self.changed();
        }
    }

    fn refuse(&mut self, refused: Refused) {
        if self.error.as_ref() == Some(&refused) {
            return;
        }
        log::warn!(
            target: "stroboscope",
            "an update of remote configuration is not used, and nothing changes: {} ({})",
            refused.code.name(), refused.what
        );
        self.error = Some(refused);
        self.body = None;
    }

    fn update(&mut self, answer: &Answer, now: i64, host: &mut dyn Host) -> Result<()> {
        if answer.expired {
            self.expire(answer, now, host);
            return Ok(());
        }
        let (trust, head, targets) = self.verify(answer, now)?;
        for (path, target) in &targets {
            if self.holds(path, target) {
                continue;
            }
            let missing = || Refused::new(Code::FileMissing, format!("{}: it is not sent", super::short(path)));
            target.check(path, answer.files.get(path).ok_or_else(missing)?)?;
        }
        // All of it is understood: from here on nothing holds it back.
        self.hint_at_trust();
        self.known.asks_anew = false;
        self.put(targets, &answer.files, host);
        self.known.trust = trust;
        self.known.version = head.version;
        self.known.opaque = head.opaque;
        self.changed();
        Ok(())
    }

    fn verify(&self, answer: &Answer, now: i64) -> Result<(Trust, answer::Head, BTreeMap<String, Target>)> {
        let mut trust = self.known.trust.after_roots(&answer.roots, now)?;
        let nothing = || Refused::new(Code::Json, "an update without an index");
        let text = answer.targets.as_ref().ok_or_else(nothing)?;
        let envelope = Envelope::read(text, "the index")?;
        let head = answer::head(envelope.signed)?;
        trust.take_targets(text, &envelope, head.version, head.expires.as_deref(), now)?;
        let targets = answer::targets(envelope.signed, &answer.paths)?;
        Ok((trust, head, targets))
    }

    /// The server itself is out of date, so nobody could take probes back: they go. Its version is known if it can be verified; if
    /// not, all is asked for anew, since a server that goes by the version alone would never send again what it believes is held.
    fn expire(&mut self, answer: &Answer, now: i64, host: &mut dyn Host) {
        if !self.known.files.is_empty() {
            log::warn!(
                target: "stroboscope",
                "the Agent's remote configuration is out of date: the probes that came by it are removed"
            );
        }
        self.put(BTreeMap::new(), &HashMap::new(), host);
        if let Ok((trust, head, _)) = self.verify(answer, now) {
            self.known.trust = trust;
            self.known.version = head.version;
            self.known.opaque = head.opaque;
            self.known.asks_anew = false;
        } else {
            self.known.asks_anew = true;
        }
        self.changed();
    }

    fn holds(&self, path: &str, target: &Target) -> bool {
        self.known.files.get(path).is_some_and(|file| file.target.is_same(target))
    }

    /// Makes these the files that are held: first those that switch, then probes, then what nobody here uses.
    fn put(&mut self, targets: BTreeMap<String, Target>, sent: &HashMap<String, Vec<u8>>, host: &mut dyn Host) {
        self.put_switches(&targets, sent, host);
        self.put_symbols(&targets, sent, host);
        let (on, asks_symbols) = (self.known.on, self.asks_symbols());
        let (probes, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            targets.into_iter().partition(|(path, _)| on && product(path) == PROBES);
        let files = Arc::make_mut(&mut self.known.files);
        files.retain(|path, _| (on && product(path) == PROBES) || others.contains_key(path));
        for (path, target) in others {
            match files.get_mut(&path) {
                // Files that switch or ask for symbols are there by now.
                Some(file) => file.target = target,
                // Held before it was switched on, it has no bytes here: it is sent anew.
                None if asks_symbols && product(&path) == SYMBOLS => {}
                None => {
                    files.insert(path, File { target, applied: Applied::Kept });
                }
            }
        }
        if on {
            self.put_probes(probes, sent, host);
        }
    }

    fn put_switches(
        &mut self,
        targets: &BTreeMap<String, Target>,
        sent: &HashMap<String, Vec<u8>>,
        host: &mut dyn Host,
    ) {
        self.known.switches.retain(|path, _| targets.contains_key(path));
        for (path, target) in targets {
            let is_news = product(path) == SWITCHES && !self.holds(path, target);
            let Some(bytes) = sent.get(path).filter(|_| is_news) else { continue };
            self.known.switches.remove(path);
            let fault = match switch::read(bytes, &self.tracer.service, &self.tracer.env) {
                Ok(switch) => {
                    for product in switch.iter().flat_map(|switch| &switch.not_built) {
                        self.not_built(product);
                    }
                    self.known.switches.extend(switch.map(|switch| (path.clone(), switch)));
                    None
                }
                Err(why) => Some(why),
            };
            let file = File { target: target.clone(), applied: Applied::of(fault) };
            Arc::make_mut(&mut self.known.files).insert(path.clone(), file);
        }
        let on = switch::probes(&self.known.switches).unwrap_or(self.starts_on);
        if on == self.known.on {
            return;
        }
        if on {
            log::info!(target: "stroboscope", "remote configuration switches probes on");
        } else {
            log::warn!(target: "stroboscope", "remote configuration switches probes off: all of them are removed");
        }
        self.known.on = on;
        // What was held before is sent anew, so that equal bytes do not count as in force already.
        Arc::make_mut(&mut self.known.files).retain(|path, _| !matches!(product(path), PROBES | SYMBOLS));
        self.known.symbols.clear();
        self.known.asks_anew = true;
        host.switch(on);
    }

    fn put_symbols(
        &mut self,
        targets: &BTreeMap<String, Target>,
        sent: &HashMap<String, Vec<u8>>,
        host: &mut dyn Host,
    ) {
        self.known.symbols.retain(|path, _| targets.contains_key(path));
        let is_asked = self.asks_symbols();
        for (path, target) in targets.iter().filter(|(path, _)| is_asked && product(path) == SYMBOLS) {
            let Some(bytes) = sent.get(path).filter(|_| !self.holds(path, target)) else { continue };
            self.known.symbols.remove(path);
            let read = switch::uploads_symbols(bytes);
            if let Ok(wanted) = read {
                self.known.symbols.insert(path.clone(), wanted);
            }
            let file = File { target: target.clone(), applied: Applied::of(read.err()) };
            Arc::make_mut(&mut self.known.files).insert(path.clone(), file);
        }
        let wanted = self.known.symbols.values().any(|wanted| *wanted);
        if wanted != self.known.uploads_symbols {
            self.known.uploads_symbols = wanted;
            host.upload_symbols(wanted);
        }
    }

    fn put_probes(&mut self, targets: BTreeMap<String, Target>, sent: &HashMap<String, Vec<u8>>, host: &mut dyn Host) {
        let files = &self.known.files;
        let is_gone = |path: &&String| product(path) == PROBES && !targets.contains_key(*path);
        let removed: Vec<String> = files.keys().filter(is_gone).cloned().collect();
        // What is new goes before what has changed.
        let differs = |(path, target): &(&String, &Target)| !self.holds(path, target);
        let (changed, added): (Vec<_>, Vec<_>) =
            targets.iter().filter(differs).partition(|(path, _)| files.contains_key(*path));
        let news: Vec<Sent<'_>> = added
            .into_iter()
            .chain(changed)
            .filter_map(|(path, _)| Some(Sent { path, id: path::read(path)?.id, bytes: sent.get(path)? }))
            .collect();
        let mut applied: HashMap<String, Applied> = HashMap::new();
        if !(removed.is_empty() && news.is_empty()) {
            let faults = host.commit(&removed, &news);
            let outcomes = news.iter().zip(faults);
            applied.extend(outcomes.map(|(file, fault)| (file.path.to_owned(), Applied::of(fault))));
        }
        let files = Arc::make_mut(&mut self.known.files);
        for path in removed {
            files.remove(&path);
        }
        for (path, target) in targets {
            let done = applied.remove(&path).or_else(|| files.get(&path).map(|file| file.applied.clone()));
            // One that was held before it was switched on has no bytes here: it is sent anew.
            if let Some(applied) = done {
                files.insert(path, File { target, applied });
            }
        }
    }

    fn not_built(&mut self, product: &'static str) {
        if self.said.insert(product) {
            log::warn!(
                target: "stroboscope",
                "remote configuration switches {product} on, which is not available in this version"
            );
        }
    }

    fn hint_at_trust(&mut self) {
        if !self.known.trust.is_pinned() && self.said.insert("unsigned") {
            log::info!(
                target: "stroboscope",
                "remote configuration is in use; whoever answers at the Agent's address is believed, since no root of trust is \
                 pinned (STROBE_REMOTE_CONFIG_TRUST_ROOT)"
            );
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

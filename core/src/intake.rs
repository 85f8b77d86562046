//! Where an outside host comes to the core: a host whose hits run in code of its own, generated from the programs of
//! [`crate::expr::target`], and which hands over finished records. It stands on the walk of a hit: the host's writer
//! comes before (its page is [`crate::record::layout`]), the ring and [`crate::worker`] after.
//!
//! What such a host does itself is to read values, to run the program, to take from the gate and to write the record.
//! Whatever is a decision it asks here: is this name a secret ([`Judge`]), does this text match, is an error event due, may
//! the hooks be switched off, is there room. Everything it hands over is untrusted.
//!
//! # A hit outside
//!
//! 1. Look at the probe's word ([`crate::budget::gate::Words`]): 0 is a [`Counts::empty`] hit, below 0 an
//!    [`Counts::off`] one.
//! 2. Run the condition. False is a [`Counts::rejected`] hit. If it fails: [`Intake::condition_failed`], and where that
//!    says so a record with the flag `FLAG_ERROR`, the failure and the stack.
//! 3. Take 1 from the probe's word if it is above 0. Ask [`Intake::has_room`]; if there is none, it is a
//!    [`Counts::no_room`] hit, and the token is spent.
//! 4. Take 1 from the global word of the probe's sort; if that one is empty, put the first one back: a
//!    [`Counts::empty_global`] hit. A word of [`i32::MAX`] stays as it is.
//! 5. Write the record. A template expression that fails: [`Intake::template_failed`].
//! 6. [`Intake::record`].
//!
//! A hit of a metric probe ends after step 2: it runs the expression of the value, asks [`Intake::number`] for its number
//! (a double that is finite, and whole where the probe counts, is its own number), and keeps it until it hands all of them over
//! ([`Intake::measured`], [`crate::host::Runtime::gather`]). If the value fails: [`Intake::value_failed`], and where that says so
//! a record as in step 2.
//!
//! Counts may be handed over later, many hits at once, by [`Intake::report`].

use crate::capture::redact::Redaction;
use crate::capture::strict::{Sealed, Strict};
use crate::emit::ring::RecordSender;
use crate::error::{Error, ErrorKind, Result};
use crate::expr::eval::{Category, Doing, Failure, Kind, Limit, Measured, Scratch, Short, Yielded, matches_text};
use crate::expr::target::{Arg, At, Op, Program, Purpose, Search};
use crate::expr::tree::Special;
use crate::hit::{Verdict, is_costly};
use crate::probe::model::{self, Probe};
use crate::record::layout::{LAYOUT_HASH, NO_TYPE};
use crate::record::names::{Interner, Tables};
use crate::record::read::Reader;
use crate::record::write::Place;
use crate::registry::LiveProbe;
use crate::session::Shared;
use crate::stats::Drop;
use crate::text::Text;
use std::sync::Arc;

/// The first call of a host's writer: another layout is refused before the first record.
///
/// # Errors
/// If `layout` is not this core's; the text names both versions.
pub fn hello(layout: u32, version: &str) -> Result<()> {
    if layout == LAYOUT_HASH {
        return Ok(());
    }
    let own = env!("CARGO_PKG_VERSION");
    let text = format!(
        "the record writer of version {version} (layout {layout:08x}) does not fit the core of version {own} (layout \
         {LAYOUT_HASH:08x}): install both from one version"
    );
    Err(Error::new(ErrorKind::BadRecord, text))
}

/// The verdicts that exist only in the core. A host keeps those on names, which never change in a session.
#[derive(Debug)]
pub struct Judge {
    interner: Interner,
    scratch: Scratch,
}

impl Judge {
    /// A judge by the rules of these tables.
    pub fn new(tables: Arc<Tables>) -> Judge {
        Judge { interner: Interner::new(tables), scratch: Scratch::default() }
    }

    fn redaction(&self) -> &Redaction {
        self.interner.tables().redaction()
    }

    /// True if a variable, field or key of this name is withheld.
    pub fn classify(&self, name: Text<'_>) -> bool {
        self.redaction().name_text(name)
    }

    /// As [`Judge::classify`], of a key of bytes. That of an enumeration member is its name.
    pub fn classify_bytes(&self, key: &[u8]) -> bool {
        self.redaction().name_bytes(key)
    }

    /// True if values of a class of this name are withheld. A class is asked for with its ancestors, one by one.
    pub fn classify_type(&self, qualified: Text<'_>, bare: Text<'_>) -> bool {
        self.redaction().type_names(qualified, bare)
    }

    /// The number of a name in the session's table, `None` if it stands in records as text, and whether it is withheld.
    pub fn name(&mut self, name: Text<'_>) -> (Option<u32>, bool) {
        match self.interner.name(name) {
            Some((id, redacted)) => (Some(id), redacted),
            None => (None, self.classify(name)),
        }
    }

    /// The number of a type in the session's table, or [`crate::record::layout::INLINE`].
    pub fn type_id(&mut self, qualified: Text<'_>, bare: Text<'_>, redacted: bool) -> u32 {
        self.interner.type_id(qualified, bare, redacted)
    }

    /// True if any type is redacted: else no value has to be asked for its class.
    pub fn has_types(&self) -> bool {
        self.redaction().has_types()
    }

    /// `matches`: there is one engine, and it is the core's.
    ///
    /// # Errors
    /// For a pattern that the engine refuses, and a text that is too long.
    pub fn matches(&mut self, text: Text<'_>, pattern: Text<'_>) -> std::result::Result<bool, Failure> {
        matches_text(&mut self.scratch, text, pattern)
    }
}

/// A failure as a host knows it: the op that failed, how, and what it had in hand. The core makes the [`Failure`] of it, so
/// that one mistake has one sentence in every language.
#[derive(Clone, Copy, Debug)]
pub struct Raised<'a> {
    /// Index of the op in the program.
    pub op: usize,
    /// How it failed.
    pub category: Category,
    /// The kinds of its operands, in their order.
    pub kinds: [Kind; 2],
    /// `index`: the position and the length; `substring`: both positions.
    pub numbers: [i64; 2],
    /// The type of the first operand, or of the value that was withheld.
    pub type_id: u32,
    /// The engine's or the host's reason; the name or key of what was withheld.
    pub text: &'a str,
    /// `limit`: collections are nested too deep ([`crate::expr::eval::MAX_NESTING`]), and not too many.
    pub nested: bool,
}

impl Raised<'_> {
    /// A failure of which only the op and the category are known.
    pub fn new(op: usize, category: Category) -> Self {
        Raised { op, category, kinds: [Kind::Opaque; 2], numbers: [0; 2], type_id: NO_TYPE, text: "", nested: false }
    }

    /// The failure of the expression of a probe at a place.
    pub fn failure_at(&self, probe: &Probe, place: Place) -> Failure {
        match probe.expression_at(place) {
            None => Failure::host("there is no such expression"),
            // It never runs.
            Some(expression) if expression.redacted.is_some() => Failure::RedactedName,
            Some(expression) => self.failure(&expression.program),
        }
    }

    /// The failure.
    pub fn failure(&self, program: &Program) -> Failure {
        let Some(&op) = program.ops.get(self.op) else { return Failure::host("an op that the program does not have") };
        let [of, with] = self.kinds;
        match self.category {
            Category::Undefined => self.undefined(op),
            Category::Null => Failure::Null(doing(op), of == Kind::Undefined),
            Category::Type => match op {
                Op::Compare { .. } => Failure::Order(of, with),
                Op::Index { .. } if matches!(of, Kind::List | Kind::Bytes) => Failure::Whole,
                Op::Substring { .. } if of == Kind::String => Failure::Whole,
                Op::Search { .. } | Op::Matches { .. } if two_kinds(op, of) => Failure::Kinds(doing(op), of, with),
                _ => Failure::Kind(doing(op), of),
            },
            Category::Bounds => Failure::Bounds(self.numbers[0], self.numbers[1]),
            Category::Regex => Failure::Regex(Short::new(self.text)),
            Category::SideEffect => match (of, op) {
                (Kind::Iterator, _) => Failure::Iterator,
                (Kind::Opaque, _) => Failure::Opaque(doing(op)),
                (_, Op::Member { symbol, .. } | Op::EntryMember { symbol, .. }) => Failure::Getter(symbol),
                _ => Failure::ComputedGetter,
            },
            Category::Redacted if self.text.is_empty() => Failure::RedactedType(self.type_id),
            Category::Redacted => Failure::RedactedKey(Short::new(self.text)),
            Category::Timeout => Failure::Timeout,
            Category::Limit => Failure::Limit(match op {
                _ if self.nested => Limit::Nesting,
                Op::Each { .. } | Op::Next { .. } => Limit::Predicates,
                Op::Matches { .. } => Limit::MatchedText,
                Op::Len { .. } | Op::IsEmpty { .. } | Op::Substring { .. } => Limit::CountedText,
                Op::Compare { .. } if self.kinds == [Kind::Number; 2] => Limit::Decimals,
                _ => Limit::Comparisons,
            }),
            Category::Host => Failure::host(self.text),
        }
    }

    fn undefined(&self, op: Op) -> Failure {
        let of = self.kinds[0];
        match op {
            Op::Variable { symbol, .. } => Failure::Variable(symbol),
            Op::Special { special, .. } => Failure::Special(match special {
                At::Duration => Special::Duration,
                At::Return => Special::Return,
                At::Exception => Special::Exception,
            }),
            Op::Entry { value, .. } => Failure::Special(if value { Special::Value } else { Special::Key }),
            Op::Member { symbol, .. } | Op::EntryMember { symbol, .. } if of == Kind::Map => Failure::NamedKey(symbol),
            Op::Member { symbol, .. } | Op::EntryMember { symbol, .. } => Failure::Member(self.type_id, symbol),
            Op::Index { at, literal, .. } => match (of, at) {
                (Kind::List | Kind::Bytes, _) => {
                    Failure::Position(self.numbers[0], u64::try_from(self.numbers[1]).unwrap_or(0))
                }
                (Kind::Map, Arg::Constant(key)) if literal => Failure::Key(Some(key)),
                (Kind::Map, _) => Failure::Key(None),
                _ => Failure::ComputedMember(self.type_id),
            },
            _ => Failure::host("nothing is undefined here"),
        }
    }
}

/// True if a test of a text names both kinds.
fn two_kinds(op: Op, of: Kind) -> bool {
    matches!(op, Op::Matches { .. }) || of == Kind::String || !matches!(op, Op::Search { how: Search::Contains, .. })
}

fn doing(op: Op) -> Doing {
    match op {
        Op::IsEmpty { .. } => Doing::IsEmpty,
        Op::Len { count: true, .. } => Doing::Count,
        Op::Search { how: Search::Contains, .. } => Doing::Contains,
        Op::Search { how: Search::StartsWith, .. } => Doing::StartsWith,
        Op::Search { how: Search::EndsWith, .. } => Doing::EndsWith,
        Op::Matches { .. } => Doing::Matches,
        Op::Substring { .. } => Doing::Substring,
        Op::Index { .. } => Doing::Index,
        Op::Each { purpose: Purpose::Any, .. } => Doing::Any,
        Op::Each { purpose: Purpose::All, .. } => Doing::All,
        Op::Each { purpose: Purpose::Filter, .. } => Doing::Filter,
        Op::Member { symbol, .. } | Op::EntryMember { symbol, .. } => Doing::Member(symbol),
        _ => Doing::Len,
    }
}

/// What has become of hits since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All hits.
    pub hits: u32,
    /// Those whose condition was false.
    pub rejected: u32,
    /// Those that found the probe's word at 0.
    pub empty: u32,
    /// Those that found the global word at 0.
    pub empty_global: u32,
    /// Those that found the word below 0.
    pub off: u32,
    /// Those for which there was no room.
    pub no_room: u32,
    /// Those that wanted `@duration` and had not seen the entry.
    pub entry_not_seen: u32,
    /// Those inside our own work.
    pub reentrant: u32,
    /// Nanoseconds of a timed one, not yet times its weight, …
    pub nanoseconds: u64,
    /// … which is this ([`crate::stats::ProbeStats::sample_weight`]); 0 if none was timed.
    pub weight: u64,
}

/// Why a record, or what was measured, was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not a record of this layout. Counted.
    Bad(Error),
    /// Its probe is not in force (any more).
    Unknown(u32),
    /// The process keeps no more. Counted.
    Full,
}

/// The way in for finished records.
pub struct Intake {
    shared: Arc<Shared>,
    records: RecordSender,
    /// Verdicts for the host's code.
    pub judge: Judge,
    /// The probe whose hit has made an event since the last report.
    fired: Option<u32>,
}

impl Intake {
    pub(crate) fn new(shared: Arc<Shared>, records: RecordSender) -> Intake {
        let judge = Judge::new(Arc::clone(&shared.process.tables));
        Intake { shared, records, judge, fired: None }
    }

    fn probe(&self, slot: u32) -> std::result::Result<Arc<LiveProbe>, Refusal> {
        self.shared.registry.load().by_slot(slot).cloned().ok_or(Refusal::Unknown(slot))
    }

    /// Nanoseconds that the capture of one point and one evaluation may take.
    pub fn limits(&self) -> (u64, u64) {
        (self.shared.process.capture_ns, self.shared.process.evaluation_ns)
    }

    /// True if the hits of a probe show the whole stack, and not only the frame of their own place.
    pub fn shows_stack(&self, captures: bool) -> bool {
        self.shared.process.shows_stack(captures)
    }

    /// True if values are to be sealed as they are written ([`Intake::sealed`]), and whether numbers and booleans are not.
    pub fn strict(&self) -> (bool, bool) {
        let strict = self.shared.process.strict.as_ref();
        (strict.is_some(), strict.is_some_and(Strict::numbers))
    }

    /// Under strict capture: what stands in the place of a value that the host has just written; `None`: it stays as it is.
    ///
    /// # Errors
    /// If that is no value.
    pub fn sealed(&self, value: &[u8], sealed: Sealed) -> Result<Option<Vec<u8>>> {
        self.shared.process.strict.as_ref().map_or(Ok(None), |strict| strict.sealed(value, sealed))
    }

    /// True if the process has room for one more record. Asked before anything is captured.
    pub fn has_room(&self) -> bool {
        !self.records.is_full()
    }

    /// Takes a finished record: its magic, layout, length and slot are checked here, the rest where it is read.
    ///
    /// # Errors
    /// If it was not taken.
    pub fn record(&mut self, bytes: &[u8]) -> std::result::Result<(), Refusal> {
        let (header, _) = Reader::new(bytes).map_err(|error| {
            self.shared.unreadable(&error);
            Refusal::Bad(error)
        })?;
        let live = self.probe(header.probe)?;
        if let Some(strict) = &self.shared.process.strict {
            strict.check(bytes, &live.probe).map_err(|error| {
                self.shared.unreadable(&error);
                Refusal::Bad(error)
            })?;
        }
        if header.full {
            live.stats.record_full.add(1);
        }
        if self.records.is_full() || !self.records.push(bytes) {
            if header.error {
                live.throttle.withdraw();
            }
            live.stats.dropped(Drop::QueueFull).add(1);
            return Err(Refusal::Full);
        }
        live.stats.emitted.add(1);
        self.fired = Some(header.probe);
        Ok(())
    }

    /// A failure in a hit of a probe, for its record and for [`Intake::condition_failed`], [`Intake::value_failed`] or
    /// [`Intake::template_failed`].
    ///
    /// # Errors
    /// If the probe is not in force.
    pub fn failure(&self, slot: u32, place: Place, raised: &Raised<'_>) -> std::result::Result<Failure, Refusal> {
        let raised = match raised.category {
            // What a host says of its own may quote a value.
            Category::Host if self.shared.process.strict.is_some() => {
                Raised { text: "the host cannot read it", ..*raised }
            }
            _ => *raised,
        };
        Ok(raised.failure_at(&self.probe(slot)?.probe, place))
    }

    /// True if the next hit is to be timed, with a weight of 1 ([`crate::stats::ProbeStats::is_next_timed`]).
    pub fn is_next_timed(&self, slot: u32) -> bool {
        self.probe(slot).is_ok_and(|live| live.stats.is_next_timed())
    }

    /// The number that is sent for what the value of a metric probe has yielded.
    ///
    /// # Errors
    /// The failure of the value, for [`Intake::value_failed`].
    pub fn number(&self, slot: u32, yielded: Yielded<'_>) -> std::result::Result<f64, Failure> {
        let Ok(live) = self.probe(slot) else { return Err(Failure::host("the probe is not in force")) };
        let model::Kind::Metric(metric) = &live.probe.kind else { return Err(Failure::host("it is no metric")) };
        Ok(match yielded.measured(metric.kind)? {
            Measured::Int(value) => value as f64,
            Measured::Float(value) => value,
        })
    }

    /// Takes what hits of a metric probe have measured: each value, or of a count their sum and of a gauge the last. `hits`: how
    /// many they were. The probe may have gone a moment ago.
    ///
    /// # Errors
    /// If nobody knows the probe any more.
    pub fn measured(&mut self, slot: u32, hits: u32, values: &[f64]) -> std::result::Result<(), Refusal> {
        let live = self.shared.registry.by_slot(slot).ok_or(Refusal::Unknown(slot))?;
        let taken = live.meter.as_ref().map_or(0, |meter| meter.add_kept(values));
        let lost = u32::try_from(values.len() - taken).unwrap_or(u32::MAX);
        live.stats.measured.add(hits.saturating_sub(lost).into());
        if lost > 0 {
            live.stats.dropped(Drop::Internal).add(lost.into());
        }
        Ok(())
    }

    /// A condition has failed. True: an error event is due, and its record is to be handed over.
    ///
    /// # Errors
    /// If the probe is not in force.
    pub fn condition_failed(&mut self, slot: u32, failure: &Failure) -> std::result::Result<bool, Refusal> {
        self.failed(slot, Place::Condition, failure)
    }

    /// The value of a metric has failed. True: an error event is due, and its record is to be handed over.
    ///
    /// # Errors
    /// If the probe is not in force.
    pub fn value_failed(&mut self, slot: u32, failure: &Failure) -> std::result::Result<bool, Refusal> {
        self.failed(slot, Place::Metric, failure)
    }

    fn failed(&mut self, slot: u32, place: Place, failure: &Failure) -> std::result::Result<bool, Refusal> {
        let live = self.probe(slot)?;
        live.evaluation_failed(place, failure);
        if is_costly(failure) {
            live.ask_suspension();
        }
        if !live.throttle.admit(self.shared.process.clock.coarse()) {
            return Ok(false);
        }
        if self.records.is_full() {
            live.throttle.withdraw();
            live.stats.dropped(Drop::QueueFull).add(1);
            return Ok(false);
        }
        Ok(true)
    }

    /// An expression of the template has failed. True: nothing more is evaluated or captured, and the record gets the
    /// flag `FLAG_ERROR`.
    ///
    /// # Errors
    /// If the probe is not in force.
    pub fn template_failed(&mut self, slot: u32, failure: &Failure) -> std::result::Result<bool, Refusal> {
        let live = self.probe(slot)?;
        if is_costly(failure) {
            live.ask_suspension();
            return Ok(true);
        }
        Ok(false)
    }

    /// A hit was lost by a failure that says nothing of the next one: the host's code had no room on the stack, say.
    ///
    /// # Errors
    /// If the probe is not in force.
    pub fn lost(&self, slot: u32) -> std::result::Result<(), Refusal> {
        self.probe(slot)?.stats.dropped(Drop::Internal).add(1);
        Ok(())
    }

    /// A hit was not captured, since the host is short of memory.
    ///
    /// # Errors
    /// If the probe is not in force.
    pub fn no_memory(&self, slot: u32) -> std::result::Result<(), Refusal> {
        self.probe(slot)?.stats.dropped(Drop::NoMemory).add(1);
        Ok(())
    }

    /// Adds what has become of hits. [`Verdict::Disarm`]: the hooks may be switched off until
    /// [`crate::host::Runtime::rearm`].
    ///
    /// # Errors
    /// If the probe is not in force.
    pub fn report(&mut self, slot: u32, counts: &Counts) -> std::result::Result<Verdict, Refusal> {
        let live = self.probe(slot)?;
        let stats = &live.stats;
        stats.hits.add(counts.hits.into());
        stats.rejected.add(counts.rejected.into());
        // A hit that is timed, or made an event, is told at its end.
        let fired = self.fired.take() == Some(slot);
        if counts.weight > 0 {
            stats.sampled(counts.nanoseconds, counts.weight);
            if fired {
                stats.captures.add(counts.nanoseconds, counts.weight);
            }
        }
        let dropped = [
            (Drop::RateLimitProbe, counts.empty),
            (Drop::RateLimitGlobal, counts.empty_global),
            (live.off_reason(), counts.off),
            (Drop::QueueFull, counts.no_room),
            (Drop::EntryNotSeen, counts.entry_not_seen),
            (Drop::Reentrant, counts.reentrant),
        ];
        for (reason, count) in dropped.into_iter().filter(|(_, count)| *count > 0) {
            stats.dropped(reason).add(count.into());
        }
        let disarm = counts.empty > 0 && live.refuse_times(counts.empty);
        Ok(if disarm { Verdict::Disarm } else { Verdict::Keep })
    }
}

#[cfg(test)]
mod tests {
    use super::hello;
    use crate::record::layout::LAYOUT_HASH;

    #[test]
    fn another_layout_is_refused_with_both_versions() {
        assert_eq!(hello(LAYOUT_HASH, "0.1.0"), Ok(()));
        let text = hello(LAYOUT_HASH ^ 1, "9.9.9").unwrap_err().text;
        assert!(text.contains("9.9.9") && text.contains(env!("CARGO_PKG_VERSION")), "{text}");
        assert!(text.contains(&format!("{LAYOUT_HASH:08x}")), "{text}");
    }
}

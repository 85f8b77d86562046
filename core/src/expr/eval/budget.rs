//! What one evaluation may cost (3.11), and what is reused from hit to hit. It stands on the walk of a hit: `hit.rs`
//! makes a [`Budget`] for a condition, a whole template, a capture expression, a metric value; [`super`] spends it.

use super::Failure;
use super::failure::{Limit, Short};
use crate::capture::redact::{Redaction, key_text};
use crate::clock::Clock;
use crate::expr::check;
use crate::host::{Value, View};
use crate::text::Text;
use regex::Regex;

/// Predicate evaluations in one evaluation.
pub const MAX_PREDICATES: u32 = 50_000;
/// Element comparisons in one evaluation.
pub const MAX_COMPARISONS: u32 = 1_000_000;
/// Collections inside each other that are compared, else it is a [`Limit::Nesting`]: a cycle is deeper, and a host that
/// compares by recursion gets along with its stack.
pub const MAX_NESTING: usize = 1000;
/// Bytes of a text for `matches`, as UTF-8.
pub const MAX_MATCHED: usize = 10 << 20;
/// Units of a UTF-16 text for `len` and `substring`.
pub const MAX_COUNTED: usize = 1 << 20;
/// Computed patterns that are kept.
pub const MAX_PATTERNS: usize = 64;
/// The clock is looked at every this many steps.
const STEPS_A_LOOK: u32 = 256;
/// Bytes of text that count as a step.
const BYTES_A_STEP: usize = 4096;

/// The same for hosts that run a program of [`crate::expr::target`] themselves.
pub const BOUNDS: &[(&str, u64)] = &[
    ("MAX_PREDICATES", MAX_PREDICATES as u64),
    ("MAX_COMPARISONS", MAX_COMPARISONS as u64),
    ("MAX_NESTING", MAX_NESTING as u64),
    ("MAX_MATCHED", MAX_MATCHED as u64),
    ("MAX_COUNTED", MAX_COUNTED as u64),
    ("STEPS_A_LOOK", STEPS_A_LOOK as u64),
    ("BYTES_A_STEP", BYTES_A_STEP as u64),
];

/// Reused memory: one per probe and thread, or one per probe where hits are serialised.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) text: String,
    pub(super) other: String,
    patterns: Vec<(String, Result<Regex, Short>)>,
    oldest: usize,
}

impl Scratch {
    fn known(&self, source: Text<'_>) -> Option<usize> {
        match source {
            Text::Utf8(source) => self.patterns.iter().position(|(known, _)| known == source),
            _ => self.patterns.iter().position(|(known, _)| source.same(Text::Utf8(known))),
        }
    }

    /// The compiled form of a computed pattern. The 64 newest are kept, refused ones too.
    pub(super) fn pattern(&mut self, source: Text<'_>) -> &Result<Regex, Short> {
        let index = self.known(source).unwrap_or_else(|| self.compile(source.to_text()));
        &self.patterns[index].1
    }

    fn compile(&mut self, source: String) -> usize {
        let compiled = check::pattern(&source).map_err(|reason| Short::new(&reason));
        if self.patterns.len() < MAX_PATTERNS {
            self.patterns.push((source, compiled));
            return self.patterns.len() - 1;
        }
        let index = self.oldest;
        self.oldest = (index + 1) % MAX_PATTERNS;
        self.patterns[index] = (source, compiled);
        index
    }
}

#[cold]
fn withheld(name: Text<'_>) -> Failure {
    Failure::RedactedKey(Short::new(&name.slice(0, Short::MOST).to_text()))
}

/// What evaluations may still cost. Time is shared by all evaluations under one budget (a template is one budget); the
/// counts are those of a single evaluation.
///
/// The clock is not read before the 256th step: most evaluations end earlier, and what comes before takes
/// microseconds. The first look starts the time, so that an evaluation is stopped at most that much later.
pub struct Budget<'c> {
    clock: &'c dyn Clock,
    nanoseconds: u64,
    deadline: Option<u64>,
    steps: u32,
    predicates: u32,
    comparisons: u32,
    redaction: &'c Redaction,
    types: bool,
    pub(super) scratch: &'c mut Scratch,
}

impl<'c> Budget<'c> {
    /// A fresh budget of so much time. If no type is redacted, no value is asked for its type.
    pub fn new(clock: &'c dyn Clock, nanoseconds: u64, redaction: &'c Redaction, scratch: &'c mut Scratch) -> Self {
        let types = redaction.has_types();
        Budget {
            clock,
            nanoseconds,
            deadline: None,
            steps: 0,
            predicates: 0,
            comparisons: 0,
            redaction,
            types,
            scratch,
        }
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Begins an evaluation: the counts start afresh, time and steps go on.
    pub(super) fn begin(&mut self) {
        self.predicates = 0;
        self.comparisons = 0;
    }

    /// Counts a step.
    #[inline]
    pub(super) fn step(&mut self) -> Result<(), Failure> {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(STEPS_A_LOOK) { self.look() } else { Ok(()) }
    }

    /// Counts the steps of work on so many bytes of text.
    #[inline]
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), Failure> {
        if bytes < BYTES_A_STEP { Ok(()) } else { self.charge_long(bytes) }
    }

    #[cold]
    fn charge_long(&mut self, bytes: usize) -> Result<(), Failure> {
        let before = self.steps / STEPS_A_LOOK;
        self.steps = self.steps.wrapping_add(u32::try_from(bytes / BYTES_A_STEP).unwrap_or(u32::MAX));
        if self.steps / STEPS_A_LOOK == before { Ok(()) } else { self.look() }
    }

    /// Looks at the clock if a computed pattern has to be compiled: that takes as long as many steps.
    pub(super) fn pattern(&mut self, source: Text<'_>) -> Result<(), Failure> {
        if self.scratch.known(source).is_some() { Ok(()) } else { self.look() }
    }

    /// Looks at the clock.
    #[cold]
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        let now = self.clock.monotonic();
        match self.deadline {
            None => {
                self.deadline = Some(now.saturating_add(self.nanoseconds));
                Ok(())
            }
            Some(deadline) if now >= deadline => Err(Failure::Timeout),
            Some(_) => Ok(()),
        }
    }

    /// Counts an evaluation of a predicate.
    #[inline]
    pub(super) fn predicate(&mut self) -> Result<(), Failure> {
        self.predicates += 1;
        if self.predicates > MAX_PREDICATES {
            return Err(Failure::Limit(Limit::Predicates));
        }
        self.step()
    }

    /// Counts a comparison of elements.
    #[inline]
    pub(super) fn comparison(&mut self) -> Result<(), Failure> {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(Failure::Limit(Limit::Comparisons));
        }
        self.step()
    }

    /// True if types have to be asked whether they are redacted.
    #[inline]
    pub(super) fn types(&self) -> bool {
        self.types
    }

    /// Refuses what has this name, if it is redacted.
    #[inline]
    pub(super) fn permit(&self, name: Text<'_>) -> Result<(), Failure> {
        if self.redaction.name_text(name) { Err(withheld(name)) } else { Ok(()) }
    }

    /// Refuses what stands under this key of a map, if the key is redacted.
    #[inline]
    pub(super) fn permit_entry<'f, V: Value<'f>>(&mut self, key: V) -> Result<(), Failure> {
        let view = key.view();
        match view {
            View::Str(text) => self.permit(text)?,
            View::Bytes(bytes) => self.permit(key_text(bytes))?,
            _ => {}
        }
        // What captures show in place of a key is a name of it too: an enumeration member may be a number or a text.
        if !matches!(view, View::Enum) && !key.type_info().labelled {
            return Ok(());
        }
        self.scratch.text.clear();
        key.label(&mut self.scratch.text);
        self.permit(Text::Utf8(&self.scratch.text))
    }
}

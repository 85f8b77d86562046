//! What the code of a hit asks of the core, and hands over to it: names and their verdicts, `matches`, failures, counts, records.
//! It stands on the walk of a hit: `js/hit.cjs` and `js/names.cjs` come before, the core's `intake.rs` after. Each thread of Node
//! is a realm, and has an intake of its own.

use crate::error;
use crate::guard::caught;
use crate::vectors;
use napi::bindgen_prelude::{BigInt, Either3, Float64ArraySlice, Uint8Array, Uint8ArraySlice};
use napi_derive::napi;
use std::cell::Cell;
use stroboscope_core::capture::strict::Sealed;
use stroboscope_core::capture::walk;
use stroboscope_core::expr::eval::{Category, Failure, Kind, Yielded};
use stroboscope_core::fault;
use stroboscope_core::hit::Verdict;
use stroboscope_core::host::BigDigits;
use stroboscope_core::intake::{Counts, Intake, Judge, Raised, Refusal};
use stroboscope_core::record::layout as lay;
use stroboscope_core::record::write::Place;
use stroboscope_core::text::Text;

thread_local! {
    /// The failure that the core has made itself, until the code of the hit says that it has failed.
    static GIVEN: Cell<Option<Failure>> = const { Cell::new(None) };
    /// The failure that was made last: what is asked next is about it.
    static LAST: Cell<Option<Failure>> = const { Cell::new(None) };
}

/// Asks this realm's judge. Without a session, and where our own code fails, the answer is `otherwise`.
fn judged<R>(otherwise: R, ask: impl FnOnce(&mut Judge) -> R) -> R {
    let answer = caught(|| {
        let mut ask = Some(ask);
        if let Some(answer) = vectors::with(|bench| ask.take().map(|ask| ask(&mut bench.judge))).flatten() {
            return Some(answer);
        }
        crate::session::with_intake(|intake| ask.take().map(|ask| ask(&mut intake.judge))).flatten()
    });
    answer.flatten().unwrap_or(otherwise)
}

/// Nanoseconds of a capture and of an evaluation; without a session there is no time.
fn judged_limits() -> (u64, u64) {
    let none = || (0, 0);
    if vectors::with(|_| ()).is_some() {
        return vectors::LIMITS;
    }
    caught(|| crate::session::with_intake(|intake| intake.limits())).flatten().unwrap_or_else(none)
}

/// The number of a name: times two, and one more if what has the name is withheld. −1 or, withheld, −2 if it has no number.
#[napi]
pub fn intake_name(name: String) -> i32 {
    judged(-2, |judge| match judge.name(Text::Utf8(&name)) {
        (Some(id), redacted) => i32::try_from(id).map_or(-2, |id| id * 2 + i32::from(redacted)),
        (None, redacted) => -1 - i32::from(redacted),
    })
}

/// True if what has this name, or stands under this key, is withheld.
#[napi]
pub fn intake_classify(name: String) -> bool {
    judged(true, |judge| judge.classify(Text::Utf8(&name)))
}

/// The same of a key of bytes.
#[napi]
pub fn intake_classify_bytes(key: Uint8ArraySlice<'_>) -> bool {
    judged(true, |judge| judge.classify_bytes(&key))
}

/// The number of a class, times two, and one more if its values are withheld. `names` are those of the class and of its
/// ancestors, nearest first.
#[napi]
pub fn intake_type(names: Vec<String>) -> u32 {
    judged(lay::NO_TYPE * 2 + 1, |judge| {
        let redacted = names.iter().any(|name| judge.classify_type(Text::Utf8(name), Text::Utf8(bare(name))));
        let first = names.first().map_or("", String::as_str);
        judge.type_id(Text::Utf8(first), Text::Utf8(bare(first)), redacted) * 2 + u32::from(redacted)
    })
}

/// The name without what stands before its last dot.
fn bare(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// True if any type is redacted.
#[napi]
pub fn intake_has_types() -> bool {
    judged(true, |judge| judge.has_types())
}

/// How long things may take, in milliseconds.
#[napi(object)]
pub struct TimeLimits {
    /// The capture of one point.
    pub capture_milliseconds: f64,
    /// One evaluation.
    pub evaluation_milliseconds: f64,
}

/// How long things may take here.
#[napi]
pub fn intake_limits() -> TimeLimits {
    let (capture, evaluation) = judged_limits();
    TimeLimits { capture_milliseconds: capture as f64 / 1e6, evaluation_milliseconds: evaluation as f64 / 1e6 }
}

/// True if the hits of a probe show the whole stack, and not only the frame of their own place.
#[napi]
pub fn intake_shows_stack(captures: bool) -> bool {
    let ask = || crate::session::with_intake(|intake| intake.shows_stack(captures));
    vectors::with(|_| ()).is_some() || caught(ask).flatten().unwrap_or(false)
}

/// `matches`: 1 or 0; what fails is below zero, `−1 − category`, and kept for [`intake_failure`].
#[napi]
pub fn intake_matches(text: String, pattern: String) -> i32 {
    let failed = |failure: Failure| {
        GIVEN.set(Some(failure));
        -1 - number(failure.category())
    };
    judged(Err(Failure::host("there is no session")), |judge| judge.matches(Text::Utf8(&text), Text::Utf8(&pattern)))
        .map_or_else(failed, i32::from)
}

/// The number of a category in `js/layout.cjs`.
fn number(category: Category) -> i32 {
    Category::ALL.iter().position(|known| *known == category).and_then(|at| i32::try_from(at).ok()).unwrap_or(0)
}

/// The bytes behind the word of a big integer in a record.
#[napi]
pub fn intake_big_digits(value: BigInt) -> Uint8Array {
    let digits = halves(&value);
    walk::big_bytes(BigDigits { negative: value.sign_bit, digits: &digits, bits: 32 }).into()
}

fn halves(value: &BigInt) -> Vec<u32> {
    value.words.iter().flat_map(|word| [*word as u32, (*word >> 32) as u32]).collect()
}

/// What failed, as `fault` of `js/helpers.cjs` tells it.
#[napi(object)]
pub struct Fault {
    /// Index of the op.
    pub op: u32,
    /// How it failed.
    pub category: u32,
    /// The kinds of its operands.
    pub of: u32,
    /// See `of`.
    pub with: u32,
    /// Positions.
    pub first: BigInt,
    /// See `first`.
    pub second: BigInt,
    /// The number of a class.
    #[napi(js_name = "type")]
    pub class: u32,
    /// A reason, or the name of what was withheld.
    pub text: String,
    /// Collections are nested too deep.
    pub nested: bool,
    /// The core has made the failure itself.
    pub given: bool,
}

impl Fault {
    fn raised(&self) -> Raised<'_> {
        let kind = |number: u32| Kind::from_number(number.into()).unwrap_or(Kind::Opaque);
        let category = Category::ALL.get(self.category as usize).copied().unwrap_or(Category::Host);
        Raised {
            kinds: [kind(self.of), kind(self.with)],
            numbers: [self.first.get_i64().0, self.second.get_i64().0],
            type_id: self.class,
            text: &self.text,
            nested: self.nested,
            ..Raised::new(self.op as usize, category)
        }
    }
}

/// A failure of the expression at a place of a probe, as it stands in records. What is asked next is about it.
#[napi]
pub fn intake_failure(slot: u32, place: u32, index: u32, fault: Fault) -> Uint8Array {
    encoded(&made(slot, Place::from_argument(place | index << 8), &fault))
}

/// The failure that the code of a hit tells. What is asked next is about it.
fn made(slot: u32, place: Option<Place>, fault: &Fault) -> Failure {
    let made = caught(|| {
        let given = GIVEN.take().filter(|_| fault.given);
        given.unwrap_or_else(|| failure_at(slot, place, &fault.raised()))
    });
    let failure = made.unwrap_or_else(|| Failure::host("our own code failed"));
    LAST.set(Some(failure));
    failure
}

fn encoded(failure: &Failure) -> Uint8Array {
    let mut bytes = Vec::new();
    failure.encode(&mut bytes);
    bytes.into()
}

fn failure_at(slot: u32, place: Option<Place>, raised: &Raised<'_>) -> Failure {
    let gone = || Failure::host("the probe is not in force");
    let Some(place) = place else { return Failure::host("there is no such place") };
    if let Some(failure) = vectors::with(|bench| raised.failure_at(&bench.live.probe, place)) {
        return failure;
    }
    crate::session::with_intake(|intake| intake.failure(slot, place, raised)).and_then(Result::ok).unwrap_or_else(gone)
}

/// The failure that was made last.
pub fn last() -> Failure {
    LAST.get().unwrap_or_else(|| Failure::host("nothing has failed"))
}

/// The condition has failed: the failure as it stands in records, if an event about it is due.
#[napi]
pub fn intake_condition_failed(slot: u32, fault: Fault) -> Option<Uint8Array> {
    let failure = made(slot, Some(Place::Condition), &fault);
    if_due(failure, |intake| intake.condition_failed(slot, &failure))
}

/// The value of a metric has failed: the same.
#[napi]
pub fn intake_value_failed(slot: u32, fault: Fault) -> Option<Uint8Array> {
    let failure = made(slot, Some(Place::Metric), &fault);
    if_due(failure, |intake| intake.value_failed(slot, &failure))
}

fn if_due(failure: Failure, tell: impl FnOnce(&mut Intake) -> Result<bool, Refusal>) -> Option<Uint8Array> {
    if vectors::with(|_| ()).is_some() {
        return Some(encoded(&failure));
    }
    let answer = caught(|| crate::session::with_intake(tell));
    matches!(answer, Some(Some(Ok(true)))).then(|| encoded(&failure))
}

/// The number that is sent for what the value of a metric has yielded; NaN: it failed, and the failure is kept for
/// [`intake_value_failed`]. `value` is there if it is a boolean or a number.
#[napi]
pub fn intake_number(slot: u32, value: Option<Either3<bool, f64, BigInt>>, kind: u32) -> f64 {
    let digits: Vec<u32>;
    let yielded = match value {
        Some(Either3::A(value)) => Yielded::Bool(value),
        Some(Either3::B(value)) => Yielded::Float(value),
        Some(Either3::C(value)) => {
            digits = halves(&value);
            Yielded::Digits(BigDigits { negative: value.sign_bit, digits: &digits, bits: 32 })
        }
        None => Yielded::Other(Kind::from_number(kind.into()).unwrap_or(Kind::Opaque)),
    };
    let asked = caught(|| crate::session::with_intake(|intake| intake.number(slot, yielded)));
    asked.flatten().unwrap_or_else(|| Err(Failure::host("there is no session"))).unwrap_or_else(|failure| {
        GIVEN.set(Some(failure));
        f64::NAN
    })
}

/// What so many hits of a metric probe have measured: the first so many of the values.
#[napi]
pub fn intake_measured(slot: u32, hits: u32, values: Float64ArraySlice<'_>, count: u32) {
    let values = values.get(..count as usize).unwrap_or_default();
    // What comes of a probe that nobody knows any more, or of no session, is no hit.
    let _ = caught(|| crate::session::with_intake(|intake| intake.measured(slot, hits, values)));
}

/// An expression of the template has failed: true if nothing more is evaluated or captured.
#[napi]
pub fn intake_template_failed(slot: u32) -> bool {
    let failure = last();
    if let Some(ends) = vectors::with(|_| matches!(failure.category(), Category::Timeout | Category::Limit)) {
        return ends;
    }
    let answer = caught(|| crate::session::with_intake(|intake| intake.template_failed(slot, &failure)));
    !matches!(answer, Some(Some(Ok(false))))
}

/// Bit 0 says that values are to be sealed as they are written ([`intake_sealed`]), bit 1 that numbers and booleans are not.
#[napi]
pub fn intake_strict() -> u32 {
    if vectors::with(|_| ()).is_some() {
        return 0;
    }
    // Where our own code fails, nothing is shown.
    let asked = caught(|| crate::session::with_intake(|intake| intake.strict()));
    asked.map_or(1, |found| found.map_or(0, |(strict, numbers)| u32::from(strict) | u32::from(numbers) << 1))
}

/// What stands in the place of the value that stands in a record from `start` to `end`; nothing: it stays as it is.
#[napi]
pub fn intake_sealed(buffer: Uint8ArraySlice<'_>, start: u32, end: u32, key: bool) -> napi::Result<Option<Uint8Array>> {
    let none = || error::said("a value that is not in its buffer");
    let value = buffer.get(start as usize..end as usize).ok_or_else(none)?;
    let how = if key { Sealed::Key } else { Sealed::Value };
    match caught(|| crate::session::with_intake(|intake| intake.sealed(value, how))) {
        Some(Some(Ok(sealed))) => Ok(sealed.map(Uint8Array::from)),
        Some(Some(Err(bad))) => Err(error::thrown(bad)),
        Some(None) => Err(error::said("there is no session")),
        None => Err(error::panicked()),
    }
}

/// True if there is room for one more record.
#[napi]
pub fn intake_has_room() -> bool {
    if vectors::with(|_| ()).is_some() {
        return true;
    }
    caught(|| crate::session::with_intake(|intake| intake.has_room())).flatten().unwrap_or(false)
}

/// Hands a finished record over: the first so many bytes.
#[napi]
pub fn intake_record(buffer: Uint8ArraySlice<'_>, length: u32) -> napi::Result<()> {
    let record = buffer.get(..length as usize).ok_or_else(|| error::said("a record that is longer than its buffer"))?;
    if vectors::with(|bench| bench.record = record.to_vec()).is_some() {
        return Ok(());
    }
    let taken = caught(|| {
        fault::at(fault::Place::Send);
        crate::session::with_intake(|intake| intake.record(record))
    });
    match taken {
        // What there was no room for is counted by the core; what comes of a probe that is gone, or of no session, is no hit.
        Some(None | Some(Ok(()) | Err(Refusal::Full | Refusal::Unknown(_)))) => Ok(()),
        Some(Some(Err(Refusal::Bad(bad)))) => Err(error::thrown(bad)),
        None => Err(error::panicked()),
    }
}

/// A hit was lost for want of stack.
#[napi]
pub fn intake_lost(slot: u32) {
    // What comes of a probe that is gone, or of no session, is no hit.
    let _ = caught(|| crate::session::with_intake(|intake| intake.lost(slot)));
}

/// A hit was not captured, since the realm's heap is nearly full.
#[napi]
pub fn intake_no_memory(slot: u32) {
    // What comes of a probe that is gone, or of no session, is no hit.
    let _ = caught(|| crate::session::with_intake(|intake| intake.no_memory(slot)));
}

/// Adds what has become of hits. Of the answer bit 0 says that the hooks may be switched off, bit 1 that the next hit is to be
/// timed.
#[napi]
#[allow(clippy::too_many_arguments, reason = "an object of them costs more to hand over than all of them")]
pub fn intake_report(
    slot: u32,
    hits: u32,
    rejected: u32,
    empty: u32,
    empty_global: u32,
    off: u32,
    no_room: u32,
    entry_not_seen: u32,
    nanoseconds: f64,
    weight: u32,
) -> u32 {
    let (nanoseconds, weight) = (nanoseconds.max(0.0) as u64, u64::from(weight));
    let counts = Counts {
        hits,
        rejected,
        empty,
        empty_global,
        off,
        no_room,
        entry_not_seen,
        nanoseconds,
        weight,
        ..Counts::default()
    };
    let answer = caught(|| {
        fault::at(fault::Place::Hit);
        crate::session::with_intake(|intake| {
            let disarms = intake.report(slot, &counts) == Ok(Verdict::Disarm);
            u32::from(disarms) | u32::from(weight > 0 && intake.is_next_timed(slot)) << 1
        })
    });
    if answer.is_none() {
        crate::session::hit_failed(slot, "it panicked".to_owned());
    }
    answer.flatten().unwrap_or(0)
}

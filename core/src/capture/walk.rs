//! Reads values of the host into a record, within limits. It stands on the walk of a hit: the evaluator or the frame
//! gives the value, [`crate::record::write`] has the scratch, the worker reads the record later.
//!
//! The walk recurses: a level costs a few hundred bytes of stack, and no more than [`MAX_LEVELS`] levels are opened
//! whatever a probe asks for, so that a cycle or a list in a list in a list ends as a `depth` stub. An explicit stack
//! would need a host's enumeration to be resumable, which none offers without allocating.

use super::limits::{LABEL_BYTES, Limits, MESSAGE, MESSAGE_BYTES, MESSAGE_LENGTH, SECTION_NAMES, THROWABLE_LENGTH};
use super::redact::{Redaction, key_text};
use super::strict::{self, Strict};
use crate::clock::Clock;
use crate::expr::Expression;
use crate::expr::eval::Operand;
use crate::host::{BigDigits, Child, DecimalDigits, Frame, Look, Name, Section, TypeInfo, Value, View, Walk};
use crate::record::buffer::Buffer;
use crate::record::layout::{
    self as lay, DECIMAL_WORDS, HARD_RECORD, HUGE_BITS, HUGE_DIGITS, INLINE, MAX_LEVELS, NO_TYPE, SOFT_RECORD, word,
};
use crate::record::write::{CUT, SHORT, Short, Writer};
use crate::text::{CodePoints, Text};
use std::ops::ControlFlow;

mod sealed;

/// When the time of a capture is over, in coarse nanoseconds.
#[derive(Clone, Copy, Debug)]
pub enum Deadline {
    /// At this time.
    At(u64),
    /// So long after the clock is first looked at: most captures end before that, and read no clock at all. What comes
    /// before the first look takes about a microsecond.
    After(u64),
}

/// What all values of a capture point have in common.
#[derive(Clone, Copy)]
pub struct WalkContext<'c> {
    /// The rules of the session.
    pub redaction: &'c Redaction,
    /// Read once in 64 values.
    pub clock: &'c dyn Clock,
    /// When the time is over.
    pub deadline: Deadline,
    /// True if fields that only application code could answer are shown (JavaScript).
    pub computed: bool,
    /// Values are sealed by these rules.
    pub strict: Option<&'c Strict>,
}

impl WalkContext<'_> {
    /// The same for what an expression yields: a number or a truth of ours is shown under strict capture too.
    #[inline]
    #[must_use]
    pub fn of(self, expression: &Expression) -> Self {
        let strict = self.strict.filter(|_| !strict::is_own(expression));
        WalkContext { strict, ..self }
    }
}

/// Writes the value of a template's segment, under the limits of messages.
pub fn message<'f, V: Value<'f>>(out: &mut Writer, cx: &WalkContext<'_>, segment: u16, value: &Operand<'f, V>) {
    if out.buf.len() > HARD_RECORD {
        return out.mark(lay::FLAG_FULL);
    }
    out.put(word(lay::ITEM_TEMPLATE, u32::from(segment)));
    Walker { out, cx, limits: MESSAGE, message: true, key: false }.operand(value, 0);
}

/// As [`message`], of a value of the host.
pub fn message_value<'f, V: Value<'f>>(out: &mut Writer, cx: &WalkContext<'_>, segment: u16, value: V) {
    if out.buf.len() > HARD_RECORD {
        return out.mark(lay::FLAG_FULL);
    }
    out.put(word(lay::ITEM_TEMPLATE, u32::from(segment)));
    Walker { out, cx, limits: MESSAGE, message: true, key: false }.child(value, false, 0);
}

/// Writes all variables of a section.
#[inline(never)]
pub fn section<'f, F: Frame<'f>>(out: &mut Writer, cx: &WalkContext<'_>, frame: &F, section: Section, limits: &Limits) {
    out.section(section);
    let mut walker = Walker { out, cx, limits: *limits, message: false, key: false };
    for place in frame.places(section) {
        if let Some((name, value)) = frame.place(place)
            && walker.named(name, value).is_break()
        {
            return;
        }
    }
    frame.section(section, |name, value| walker.rare_named(name, value));
}

/// Writes one variable of the open section. `Break`: the section takes no more.
#[inline]
pub fn named<'f, V: Value<'f>>(
    out: &mut Writer,
    cx: &WalkContext<'_>,
    name: Name<'_>,
    value: V,
    limits: &Limits,
) -> ControlFlow<()> {
    Walker { out, cx, limits: *limits, message: false, key: false }.rare_named(name, value)
}

/// Writes the value of a capture expression; its name is the author's and is not judged.
pub fn operand<'f, V: Value<'f>>(
    out: &mut Writer,
    cx: &WalkContext<'_>,
    name: &str,
    value: &Operand<'f, V>,
    limits: &Limits,
) -> ControlFlow<()> {
    admit(out)?;
    out.put(word(lay::ITEM_NAMED, INLINE));
    out.inline(Text::Utf8(name));
    Walker { out, cx, limits: *limits, message: false, key: false }.operand(value, 0);
    ControlFlow::Continue(())
}

/// Writes a `timeout` stub for a capture expression that was not evaluated because the time was over.
pub fn not_reached(out: &mut Writer, name: &str) -> ControlFlow<()> {
    admit(out)?;
    out.put(word(lay::ITEM_NAMED, INLINE));
    out.inline(Text::Utf8(name));
    out.put(word(lay::WITHHELD, NO_TYPE));
    out.buf.put([lay::REASON_TIMEOUT, lay::WITHHELD]);
    ControlFlow::Continue(())
}

/// Writes the exception of the open point: type, message, stack.
pub fn throwable<'f, F: Frame<'f>>(out: &mut Writer, cx: &WalkContext<'_>, frame: &F, exception: F::Value) {
    let info = exception.type_info();
    let limits = Limits { length: THROWABLE_LENGTH, ..Limits::default() };
    let mut walker = Walker { out, cx, limits, message: false, key: false };
    walker.head(lay::ITEM_THROWABLE, info.id, Some(exception));
    match exception.message() {
        _ if cx.strict.is_some() => walker.withheld(NO_TYPE, None::<F::Value>, lay::REASON_STRICT),
        _ if info.redacted => walker.withheld(NO_TYPE, None::<F::Value>, lay::REASON_REDACTED_TYPE),
        Some(message) => walker.rare_child(message, 0),
        None => walker.out.put(word(lay::NULL, NO_TYPE)),
    }
    let mut frames = out.open_frames();
    frame.traceback(exception, |frame| frames.push(frame));
    frames.close();
}

/// The bytes behind the word of a big integer, for writers whose host has no quick way to its digits.
pub fn big_bytes(big: BigDigits<'_>) -> Vec<u8> {
    let mut buf = Buffer::new(64);
    write_big(&mut buf, big);
    buf.bytes().to_vec()
}

fn write_big(buf: &mut Buffer, big: BigDigits<'_>) {
    let width = u64::from(big.bits.clamp(1, 32));
    let used = big.digits.len() - big.digits.iter().rev().take_while(|digit| **digit == 0).count();
    let digits = big.digits.get(..used).unwrap_or_default();
    let bits = match digits.last() {
        None => 0,
        Some(top) => (used as u64 - 1) * width + u64::from(32 - top.leading_zeros()),
    };
    let mut dropped = 0;
    if bits > HUGE_BITS {
        // Only the first hexadecimal digits will be shown.
        let low = (bits.div_ceil(4) - HUGE_DIGITS) * 4;
        dropped = (low / width) as usize;
    }
    let kept = digits.get(dropped..).unwrap_or_default();
    buf.put([u8::from(big.negative), width as u8]);
    buf.put(bits.to_le_bytes());
    buf.put((dropped as u32).to_le_bytes());
    buf.put((kept.len() as u32).to_le_bytes());
    buf.numbers(kept.iter().map(|digit| digit.to_le_bytes()));
}

/// True (`Continue`) if the open section takes one more name.
#[inline]
fn admit(out: &mut Writer) -> ControlFlow<()> {
    if out.names == SECTION_NAMES {
        out.point_reason = lay::REASON_FIELD_COUNT;
        return ControlFlow::Break(());
    }
    if out.buf.len() > HARD_RECORD {
        out.point_reason = lay::REASON_TIMEOUT;
        out.mark(lay::FLAG_FULL);
        return ControlFlow::Break(());
    }
    out.names += 1;
    ControlFlow::Continue(())
}

/// Up to this size a short text is less than a quarter of what is left.
const ROOMY: usize = SOFT_RECORD - 4 * SHORT;

struct Walker<'w, 'c> {
    out: &'w mut Writer,
    cx: &'c WalkContext<'c>,
    limits: Limits,
    message: bool,
    /// What is written is a map's key, or in one.
    key: bool,
}

/// How far the children of a container were written.
struct Open {
    /// Where the end word stands.
    at: usize,
    count: u32,
    reason: u8,
}

/// A value that is captured as soon as it says what it is.
struct Captured<'a, 'w, 'c, V> {
    walker: &'a mut Walker<'w, 'c>,
    value: V,
    level: u32,
}

impl<'f, V: Value<'f>> Look<'f> for Captured<'_, '_, '_, V> {
    type Out = ();

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn view(self, info: TypeInfo, view: View<'f>) {
        self.walker.value(self.value, info, view, self.level);
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn null(self, info: TypeInfo) {
        if self.walker.admits(self.value, info) {
            self.walker.head(lay::NULL, info.id, Some(self.value));
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn bool(self, info: TypeInfo, value: bool) {
        if self.walker.admits(self.value, info) {
            self.walker.head(if value { lay::TRUE } else { lay::FALSE }, info.id, Some(self.value));
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn int(self, info: TypeInfo, value: i64) {
        if self.walker.admits(self.value, info) {
            self.walker.fixed(lay::INT, info.id, self.value, value.cast_unsigned());
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn float(self, info: TypeInfo, value: f64) {
        if self.walker.admits(self.value, info) {
            self.walker.fixed(lay::FLOAT, info.id, self.value, value.to_bits());
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn text(self, info: TypeInfo, value: Text<'f>) {
        if self.walker.admits(self.value, info) {
            self.walker.string(value, info.id, self.value, self.level);
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn ascii(self, info: TypeInfo, value: &'f str) {
        if self.walker.admits(self.value, info) {
            self.walker.ascii(value, info.id, self.value, self.level);
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn list(self, info: TypeInfo, len: usize) {
        if self.walker.admits(self.value, info) {
            self.walker.list(lay::LIST, self.value, info.id, len, self.level);
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn map(self, info: TypeInfo, len: usize) {
        if self.walker.admits(self.value, info) {
            self.walker.map(self.value, info.id, len, self.level);
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn object(self, info: TypeInfo) {
        if self.walker.admits(self.value, info) {
            self.walker.object(self.value, info.id, self.level);
        }
    }
}

/// A key that is captured as soon as it says what it is; what comes of it is whether its value is redacted.
struct Key<'a, 'w, 'c, V> {
    walker: &'a mut Walker<'w, 'c>,
    value: V,
    level: u32,
}

impl<'f, V: Value<'f>> Look<'f> for Key<'_, '_, '_, V> {
    type Out = bool;

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn view(self, info: TypeInfo, view: View<'f>) -> bool {
        self.walker.key(self.value, info, view, self.level)
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn ascii(self, info: TypeInfo, text: &'f str) -> bool {
        let Some(short) = Short::of(text.as_bytes()) else {
            return self.walker.long_key(self.value, info, text, self.level);
        };
        let redacted = self.walker.out.keys.short(short, text, self.walker.cx.redaction);
        if self.walker.admits(self.value, info) {
            self.walker.short(short, text, info.id, self.value, self.level);
        }
        redacted
    }
}

impl Walker<'_, '_> {
    /// A variable of the open section.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn named<'f, V: Value<'f>>(&mut self, name: Name<'_>, value: V) -> ControlFlow<()> {
        admit(self.out)?;
        let redacted = self.name(name);
        self.child(value, redacted, 0);
        ControlFlow::Continue(())
    }

    /// As [`Self::named`], where variables are rare.
    #[inline(never)]
    fn rare_named<'f, V: Value<'f>>(&mut self, name: Name<'_>, value: V) -> ControlFlow<()> {
        self.named(name, value)
    }

    /// Writes a name and answers whether it is redacted.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn name(&mut self, name: Name<'_>) -> bool {
        match name {
            Name::Known { id, redacted } => {
                self.out.put(word(lay::ITEM_NAMED, id));
                redacted
            }
            Name::Text(text) => self.name_text(text),
        }
    }

    #[cold]
    #[inline(never)]
    fn name_text(&mut self, name: Text<'_>) -> bool {
        self.out.put(word(lay::ITEM_NAMED, INLINE));
        self.out.inline(name);
        self.out.keys.redacted(name, self.cx.redaction)
    }

    /// A key of any kind; true if its value is redacted.
    #[inline(never)]
    fn key<'f, V: Value<'f>>(&mut self, value: V, info: TypeInfo, view: View<'f>, level: u32) -> bool {
        let redacted = self.is_secret(value, info, view);
        self.value(value, info, view, level);
        redacted
    }

    /// True if what stands under a key is redacted: by its text, and by the name that captures show in its place.
    fn is_secret<'f, V: Value<'f>>(&mut self, key: V, info: TypeInfo, view: View<'f>) -> bool {
        let by_text = match view {
            View::Str(text) => self.out.keys.redacted(text, self.cx.redaction),
            View::Bytes(bytes) => self.out.keys.redacted(key_text(bytes), self.cx.redaction),
            _ => false,
        };
        by_text || ((info.labelled || matches!(view, View::Enum)) && self.is_secret_label(key))
    }

    #[cold]
    fn is_secret_label<'f, V: Value<'f>>(&mut self, key: V) -> bool {
        self.out.label.clear();
        key.label(&mut self.out.label);
        self.out.keys.redacted(Text::Utf8(&self.out.label), self.cx.redaction)
    }

    /// A key that is ASCII and not short.
    #[inline(never)]
    fn long_key<'f, V: Value<'f>>(&mut self, value: V, info: TypeInfo, text: &str, level: u32) -> bool {
        let redacted = self.out.keys.redacted(Text::Utf8(text), self.cx.redaction);
        if self.admits(value, info) {
            self.long(text, info.id, value, level);
        }
        redacted
    }

    /// A value under a name or key. Redaction comes before time, so that a secret is never reported as `timeout`.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "most values are small: a call would cost as much as what it does")]
    fn child<'f, V: Value<'f>>(&mut self, value: V, redacted: bool, level: u32) {
        if redacted || self.cx.strict.is_some() {
            return self.guarded(value, redacted, level);
        }
        value.look(Captured { walker: self, value, level });
    }

    /// As [`Self::child`], where values are rare.
    #[inline(never)]
    fn rare_child<'f, V: Value<'f>>(&mut self, value: V, level: u32) {
        self.child(value, false, level);
    }

    /// True if the value is to be written; if not, what stands in its place is written.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn admits<'f, V: Value<'f>>(&mut self, value: V, info: TypeInfo) -> bool {
        if info.redacted {
            self.withheld(info.id, Some(value), lay::REASON_REDACTED_TYPE);
            return false;
        }
        if self.is_over() {
            self.withheld(info.id, Some(value), lay::REASON_TIMEOUT);
            return false;
        }
        true
    }

    #[inline(never)]
    fn value<'f, V: Value<'f>>(&mut self, value: V, info: TypeInfo, view: View<'f>, level: u32) {
        if !self.admits(value, info) {
            return;
        }
        let id = info.id;
        if info.labelled && !self.message && self.labelled(value, id) {
            return;
        }
        self.shown(value, id, view, level);
    }

    /// A value that is to be written, as what it is.
    fn shown<'f, V: Value<'f>>(&mut self, value: V, id: u32, view: View<'f>, level: u32) {
        match view {
            View::Undefined => self.head(lay::UNDEFINED, id, Some(value)),
            View::Null => self.head(lay::NULL, id, Some(value)),
            View::Bool(truth) => self.head(if truth { lay::TRUE } else { lay::FALSE }, id, Some(value)),
            View::Int(int) => self.fixed(lay::INT, id, value, int.cast_unsigned()),
            View::Float(float) => self.fixed(lay::FLOAT, id, value, float.to_bits()),
            View::Str(text) => self.string(text, id, value, level),
            View::List(len) => self.list(lay::LIST, value, id, len, level),
            View::Set(len) => self.list(lay::SET, value, id, len, level),
            View::Map { len, .. } => self.map(value, id, len, level),
            View::Object => self.object(value, id, level),
            other => self.rare(value, id, other, level),
        }
    }

    #[cold]
    fn rare<'f, V: Value<'f>>(&mut self, value: V, id: u32, view: View<'f>, level: u32) {
        match view {
            View::Big(digits) => {
                self.head(lay::BIG, id, Some(value));
                self.big(digits);
            }
            View::Complex(real, imaginary) => {
                self.fixed(lay::COMPLEX, id, value, real.to_bits());
                self.out.buf.put(imaginary.to_le_bytes());
            }
            View::Decimal(digits) => {
                self.head(lay::DECIMAL, id, Some(value));
                self.decimal(digits);
            }
            View::Bytes(bytes) => self.bytes(value, id, bytes, bytes.len()),
            View::Beginning { bytes, len } => self.bytes(value, id, bytes, len),
            // In a message it is the list that expressions see.
            View::Named(len) if self.message => self.named_list(value, id, len, level),
            View::Exception if self.message => {
                self.head(lay::EXCEPTION, id, Some(value));
                match value.message() {
                    Some(message) => self.rare_child(message, level),
                    None => self.out.put(word(lay::NULL, NO_TYPE)),
                }
            }
            View::Values(len) => self.values(value, id, len, level),
            View::Named(_) | View::Exception => self.object(value, id, level),
            View::Enum => self.label(lay::ENUM, value, id),
            View::Function => self.label(lay::FUNCTION, value, id),
            View::Iterator => self.label(lay::ITERATOR, value, id),
            View::Scalar => self.label(lay::SCALAR, value, id),
            View::Unreadable(reason) => self.unreadable(value, id, reason),
            // The kinds that `value` has written already, and what cannot be inspected.
            _ => self.head(lay::OPAQUE, id, Some(value)),
        }
    }

    /// True if nothing more is to be read: the time is over or the record full.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn is_over(&mut self) -> bool {
        self.out.nodes = self.out.nodes.wrapping_add(1);
        if self.out.nodes.is_multiple_of(64) {
            self.look_at_clock();
        }
        self.is_stopped() && self.over()
    }

    /// As [`Self::is_over`], and no value is counted.
    #[inline]
    fn is_stopped(&self) -> bool {
        self.out.buf.len() >= self.out.stop
    }

    #[cold]
    #[inline(never)]
    fn over(&mut self) -> bool {
        if self.out.buf.len() > SOFT_RECORD {
            self.out.mark(lay::FLAG_FULL);
        }
        true
    }

    #[cold]
    #[inline(never)]
    fn look_at_clock(&mut self) {
        let now = self.cx.clock.coarse();
        let deadline = match self.cx.deadline {
            Deadline::At(deadline) => deadline,
            Deadline::After(time) => *self.out.deadline.get_or_insert(now.saturating_add(time)),
        };
        if now >= deadline {
            self.out.stop = 0;
            self.out.mark(lay::FLAG_TIMEOUT);
        }
    }

    /// The word of a value, with the type's text if it has no number.
    #[inline]
    fn head<'f, V: Value<'f>>(&mut self, tag: u8, id: u32, value: Option<V>) {
        self.out.put(word(tag, id));
        if id == INLINE {
            self.inline_type(value);
        }
    }

    #[cold]
    fn inline_type<'f, V: Value<'f>>(&mut self, value: Option<V>) {
        let start = self.out.buf.len();
        if let Some(value) = value {
            value.type_names(|name| {
                self.out.inline(name.display);
                ControlFlow::Break(())
            });
        }
        if self.out.buf.len() == start {
            self.out.inline(Text::Utf8(""));
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn fixed<'f, V: Value<'f>>(&mut self, tag: u8, id: u32, value: V, payload: u64) {
        if id == INLINE {
            self.head(tag, id, Some(value));
            self.out.buf.put(payload.to_le_bytes());
        } else {
            self.out.put_scalar(word(tag, id), payload);
        }
    }

    /// The word of a value with a size, and a number that is often set later.
    #[inline]
    fn sized_head<'f, V: Value<'f>>(&mut self, tag: u8, id: u32, value: V, size: usize, last: u32) {
        if id == INLINE {
            self.head(tag, id, Some(value));
            self.sized(size, last as usize);
        } else {
            self.out.put_sized(word(tag, id), size as u64, last);
        }
    }

    /// A text that the host knows to be ASCII.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn ascii<'f, V: Value<'f>>(&mut self, text: &str, id: u32, value: V, level: u32) {
        match Short::of(text.as_bytes()) {
            Some(short) => self.short(short, text, id, value, level),
            None => self.long(text, id, value, level),
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn short<'f, V: Value<'f>>(&mut self, short: Short, text: &str, id: u32, value: V, level: u32) {
        // No limit of a message is so low.
        if id == INLINE || short.len() > self.limits.length as usize || self.out.buf.len() > ROOMY {
            return self.long(text, id, value, level);
        }
        self.out.put_short(word(lay::STR_UTF8, id), short);
    }

    /// As [`Self::ascii`], of any length.
    #[inline(never)]
    fn long<'f, V: Value<'f>>(&mut self, text: &str, id: u32, value: V, level: u32) {
        let kept = text.get(..self.most(level)).unwrap_or(text);
        self.sized_head(lay::STR_UTF8, id, value, text.len(), kept.len() as u32);
        self.out.buf.extend(kept.as_bytes());
    }

    #[inline(never)]
    fn string<'f, V: Value<'f>>(&mut self, text: Text<'_>, id: u32, value: V, level: u32) {
        let (kept, total) = cut(text, self.most(level), self.message);
        if let Text::Utf8(kept) = kept {
            self.sized_head(lay::STR_UTF8, id, value, total, kept.len() as u32);
            self.out.buf.extend(kept.as_bytes());
            return;
        }
        self.head(string_tag(text), id, Some(value));
        self.units(kept, total);
    }

    #[cold]
    #[inline(never)]
    fn withheld<'f, V: Value<'f>>(&mut self, id: u32, value: Option<V>, reason: u8) {
        // A type with a number has its name from there, and the value is not looked at.
        let tag = value.filter(|_| id == NO_TYPE).map_or(lay::WITHHELD, |value| tag_of(value.view()));
        self.head(lay::WITHHELD, id, value);
        self.out.buf.put([reason, tag]);
    }

    #[inline]
    fn sized(&mut self, total: usize, kept: usize) {
        self.out.buf.put((total as u64).to_le_bytes());
        self.out.buf.put((kept as u32).to_le_bytes());
    }

    /// Units of a text that are kept.
    #[inline]
    fn most(&self, level: u32) -> usize {
        let limit = if self.message && level == 0 { MESSAGE_LENGTH } else { self.limits.length as usize };
        limit.min(self.share())
    }

    /// Units of one text, or bytes, that the record takes at most: a probe may ask for more than it holds.
    #[inline]
    fn share(&self) -> usize {
        SOFT_RECORD.saturating_sub(self.out.buf.len()) / 4
    }

    fn text(&mut self, text: Text<'_>, level: u32) {
        let (kept, total) = cut(text, self.most(level), self.message);
        self.units(kept, total);
    }

    fn units(&mut self, kept: Text<'_>, total: usize) {
        let bytes = match kept {
            Text::Utf8(text) => text.len(),
            Text::Latin1(units) => units.len(),
            Text::Ucs2(units) | Text::Utf16(units) => units.len() * 2,
            Text::Ucs4(units) => units.len() * 4,
        };
        self.sized(total, bytes);
        let buf = &mut self.out.buf;
        match kept {
            Text::Utf8(text) => buf.extend(text.as_bytes()),
            Text::Latin1(units) => buf.extend(units),
            Text::Ucs2(units) | Text::Utf16(units) => buf.numbers(units.iter().map(|unit| unit.to_le_bytes())),
            Text::Ucs4(units) => buf.numbers(units.iter().map(|unit| unit.to_le_bytes())),
        }
    }

    fn bytes<'f, V: Value<'f>>(&mut self, value: V, id: u32, bytes: &[u8], len: usize) {
        self.head(lay::BYTES, id, Some(value));
        let limit = if self.message { MESSAGE_BYTES } else { self.limits.length as usize };
        let limit = limit.min(self.share());
        let kept = bytes.get(..limit).unwrap_or(bytes);
        self.sized(len, kept.len());
        self.out.buf.extend(kept);
    }

    fn big(&mut self, big: BigDigits<'_>) {
        write_big(&mut self.out.buf, big);
    }

    fn decimal(&mut self, decimal: DecimalDigits<'_>) {
        let used = decimal.words.len() - decimal.words.iter().rev().take_while(|word| **word == 0).count();
        let dropped = used.saturating_sub(DECIMAL_WORDS);
        let kept = decimal.words.get(dropped..used).unwrap_or_default();
        let buf = &mut self.out.buf;
        buf.put([u8::from(decimal.negative)]);
        buf.put(decimal.exponent.to_le_bytes());
        buf.put((dropped as u32).to_le_bytes());
        buf.put((kept.len() as u32).to_le_bytes());
        buf.numbers(kept.iter().map(|word| word.to_le_bytes()));
    }

    fn label<'f, V: Value<'f>>(&mut self, tag: u8, value: V, id: u32) {
        self.out.label.clear();
        value.label(&mut self.out.label);
        self.put_label(tag, value, id);
    }

    /// Writes the label of a value that has another kind in expressions; false if it has none.
    #[cold]
    fn labelled<'f, V: Value<'f>>(&mut self, value: V, id: u32) -> bool {
        self.out.label.clear();
        value.label(&mut self.out.label);
        if self.out.label.is_empty() {
            return false;
        }
        self.put_label(lay::SCALAR, value, id);
        true
    }

    fn put_label<'f, V: Value<'f>>(&mut self, tag: u8, value: V, id: u32) {
        self.head(tag, id, Some(value));
        let label = &mut self.out.label;
        if label.len() > LABEL_BYTES {
            let mut end = LABEL_BYTES - CUT.len();
            while !label.is_char_boundary(end) {
                end -= 1;
            }
            label.truncate(end);
            label.push_str(CUT);
        }
        let label = &self.out.label;
        self.out.buf.put((label.len() as u32).to_le_bytes());
        self.out.buf.extend(label.as_bytes());
        // A host may have put a long text there once.
        self.out.label.shrink_to(64 * 1024);
    }

    /// True if a container at this level is opened.
    #[inline]
    fn opens(&self, level: u32) -> bool {
        level < self.limits.depth.min(MAX_LEVELS)
    }

    /// The size and the place of the end word.
    #[inline]
    fn open(&mut self, size: usize) -> Open {
        self.sized(size, 0);
        Open { at: self.out.buf.len() - 4, count: 0, reason: lay::REASON_NONE }
    }

    /// As [`Self::open`], with the word of the value.
    #[inline]
    fn open_value<'f, V: Value<'f>>(&mut self, tag: u8, id: u32, value: V, size: usize) -> Open {
        self.sized_head(tag, id, value, size, 0);
        Open { at: self.out.buf.len() - 4, count: 0, reason: lay::REASON_NONE }
    }

    #[inline]
    fn close(&mut self, open: &Open) {
        let end = open.count | u32::from(open.reason) << 24;
        self.out.buf.patch(open.at, end.to_le_bytes());
    }

    /// A container that changed under our eyes is given empty: what was read may never have been there together.
    #[cold]
    fn changed(&mut self, open: &mut Open) {
        self.out.buf.truncate(open.at + 4);
        open.count = 0;
        open.reason = lay::REASON_CHANGED;
    }

    /// True if an empty container shows fields of its own (those of a subclass) in place of its content.
    #[inline]
    fn only_fields<'f, V: Value<'f>>(&self, value: V, len: usize, level: u32) -> bool {
        len == 0 && !self.message && self.opens(level) && Self::has_fields(value)
    }

    #[inline(never)]
    fn list<'f, V: Value<'f>>(&mut self, tag: u8, value: V, id: u32, len: usize, level: u32) {
        if self.only_fields(value, len, level) {
            return self.object(value, id, level);
        }
        let mut open = self.open_value(tag, id, value, len);
        let max = self.limits.elements;
        if !self.opens(level) {
            open.reason = if self.message && len == 0 { lay::REASON_NONE } else { lay::REASON_DEPTH };
        } else if len > 0 {
            let mut walk = Walk::Complete;
            if max > 0 {
                let mut mark = 0;
                loop {
                    walk = value.elements_from(mark, |element| {
                        if self.is_stopped() {
                            open.reason = lay::REASON_TIMEOUT;
                            return ControlFlow::Break(());
                        }
                        self.child(element, false, level + 1);
                        open.count += 1;
                        if open.count == max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    });
                    let Walk::Paused(at) = walk else { break };
                    mark = at;
                    if !self.resumes(&mut open, len) {
                        break;
                    }
                }
            }
            self.ended(&mut open, walk, len, max);
        }
        self.close(&open);
    }

    /// The list that a named tuple is in a message: without the names, but by them.
    #[cold]
    fn named_list<'f, V: Value<'f>>(&mut self, value: V, id: u32, len: usize, level: u32) {
        let mut open = self.open_value(lay::LIST, id, value, len);
        let max = self.limits.elements;
        if !self.opens(level) {
            open.reason = if len == 0 { lay::REASON_NONE } else { lay::REASON_DEPTH };
            return self.close(&open);
        }
        let walk = value.elements(|element| {
            if open.count == max {
                return ControlFlow::Break(());
            }
            if self.is_stopped() {
                open.reason = lay::REASON_TIMEOUT;
                return ControlFlow::Break(());
            }
            let name = value.element_name(open.count as usize);
            let redacted = name.is_some_and(|name| self.out.keys.redacted(name, self.cx.redaction));
            self.child(element, redacted, level + 1);
            open.count += 1;
            ControlFlow::Continue(())
        });
        self.ended(&mut open, walk, len, max);
        self.close(&open);
    }

    /// The list of a map's values, each as under its key.
    #[cold]
    fn values<'f, V: Value<'f>>(&mut self, value: V, id: u32, len: usize, level: u32) {
        let mut open = self.open_value(lay::LIST, id, value, len);
        let max = self.limits.elements;
        if !self.opens(level) {
            open.reason = if self.message && len == 0 { lay::REASON_NONE } else { lay::REASON_DEPTH };
            return self.close(&open);
        }
        let mut mark = 0;
        let walk = loop {
            let walk = value.entries_from(mark, |key, value| {
                if open.count == max {
                    return ControlFlow::Break(());
                }
                if self.is_stopped() {
                    open.reason = lay::REASON_TIMEOUT;
                    return ControlFlow::Break(());
                }
                let redacted = self.is_secret(key, key.type_info(), key.view());
                self.child(value, redacted, level + 1);
                open.count += 1;
                ControlFlow::Continue(())
            });
            let Walk::Paused(at) = walk else { break walk };
            mark = at;
            if !self.resumes(&mut open, len) {
                break walk;
            }
        };
        self.ended(&mut open, walk, len, max);
        self.close(&open);
    }

    #[inline(never)]
    fn map<'f, V: Value<'f>>(&mut self, value: V, id: u32, len: usize, level: u32) {
        if self.only_fields(value, len, level) {
            return self.object(value, id, level);
        }
        let mut open = self.open_value(lay::MAP, id, value, len);
        let max = self.limits.elements;
        if !self.opens(level) {
            open.reason = if self.message && len == 0 { lay::REASON_NONE } else { lay::REASON_DEPTH };
        } else if len > 0 {
            let mut walk = Walk::Complete;
            if max > 0 {
                let mut mark = 0;
                loop {
                    walk = value.entries_from(mark, |key, value| {
                        if self.is_stopped() {
                            open.reason = lay::REASON_TIMEOUT;
                            return ControlFlow::Break(());
                        }
                        self.entry(key, value, level + 1);
                        open.count += 1;
                        if open.count == max { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    });
                    let Walk::Paused(at) = walk else { break };
                    mark = at;
                    if !self.resumes(&mut open, len) {
                        break;
                    }
                }
            }
            self.ended(&mut open, walk, len, max);
        }
        self.close(&open);
    }

    /// True if a walk that has paused goes on: not all that there is was visited, and there is time.
    #[cold]
    #[inline(never)]
    fn resumes(&mut self, open: &mut Open, len: usize) -> bool {
        if open.count as usize >= len {
            return false;
        }
        self.look_at_clock();
        if self.is_stopped() {
            open.reason = lay::REASON_TIMEOUT;
        }
        open.reason == lay::REASON_NONE
    }

    /// Why a container has no more children than it has.
    #[inline]
    fn ended(&mut self, open: &mut Open, walk: Walk, len: usize, max: u32) {
        if walk == Walk::Changed {
            return self.changed(open);
        }
        if open.reason == lay::REASON_NONE && open.count == max && len > max as usize {
            open.reason = lay::REASON_COLLECTION_SIZE;
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as for `child`")]
    fn entry<'f, V: Value<'f>>(&mut self, key: V, value: V, level: u32) {
        if self.cx.strict.is_some() {
            return self.sealed_entry(key, value, level);
        }
        let redacted = key.look(Key { walker: self, value: key, level });
        self.child(value, redacted, level);
    }

    #[inline(never)]
    fn object<'f, V: Value<'f>>(&mut self, value: V, id: u32, level: u32) {
        if id == INLINE {
            self.head(lay::OBJECT, id, Some(value));
            self.out.buf.put([0; 4]);
        } else {
            self.out.put_counted(word(lay::OBJECT, id), 0);
        }
        let mut open = Open { at: self.out.buf.len() - 4, count: 0, reason: lay::REASON_NONE };
        if !self.opens(level) {
            open.reason = if self.message && !Self::has_fields(value) { lay::REASON_NONE } else { lay::REASON_DEPTH };
            return self.close(&open);
        }
        let max = self.limits.fields;
        let computed = self.cx.computed && !self.message;
        let walk = value.fields(|name, child| {
            if matches!(child, Child::Absent) || (!computed && matches!(child, Child::Computed)) {
                return ControlFlow::Continue(());
            }
            if open.count == max {
                open.reason = lay::REASON_FIELD_COUNT;
                return ControlFlow::Break(());
            }
            if self.is_stopped() {
                open.reason = lay::REASON_TIMEOUT;
                return ControlFlow::Break(());
            }
            open.count += 1;
            let redacted = self.name(name);
            match child {
                Child::Present(value) => self.child(value, redacted, level + 1),
                _ if redacted => self.withheld(NO_TYPE, None::<V>, lay::REASON_REDACTED_IDENT),
                Child::Failed(reason) => {
                    self.withheld(NO_TYPE, None::<V>, lay::REASON_TEXT);
                    self.out.inline(Text::Utf8(reason));
                }
                Child::Computed | Child::Absent => self.out.put(word(lay::COMPUTED, NO_TYPE)),
            }
            ControlFlow::Continue(())
        });
        if walk == Walk::Changed {
            self.changed(&mut open);
        }
        self.close(&open);
    }

    /// What could not be read: one field `?` says why, at every depth.
    fn unreadable<'f, V: Value<'f>>(&mut self, value: V, id: u32, reason: &'static str) {
        self.head(lay::OBJECT, id, Some(value));
        self.out.buf.put([0; 4]);
        let open = Open { at: self.out.buf.len() - 4, count: 1, reason: lay::REASON_NONE };
        self.name_text(Text::Utf8("?"));
        self.withheld(NO_TYPE, None::<V>, lay::REASON_TEXT);
        self.out.inline(Text::Utf8(reason));
        self.close(&open);
    }

    fn has_fields<'f, V: Value<'f>>(value: V) -> bool {
        let mut found = false;
        value.fields(|_, child| {
            if matches!(child, Child::Absent | Child::Computed) {
                return ControlFlow::Continue(());
            }
            found = true;
            ControlFlow::Break(())
        });
        found
    }

    /// A value of the host, or one that an expression made.
    fn operand<'f, V: Value<'f>>(&mut self, operand: &Operand<'f, V>, level: u32) {
        if let Operand::Host(value) = operand {
            return self.rare_child(*value, level);
        }
        if self.is_over() {
            return self.withheld(NO_TYPE, None::<V>, lay::REASON_TIMEOUT);
        }
        if self.cx.strict.is_some() {
            return self.sealed_operand(operand, level);
        }
        self.shown_operand(operand, level);
    }

    fn shown_operand<'f, V: Value<'f>>(&mut self, operand: &Operand<'f, V>, level: u32) {
        match operand {
            Operand::Host(value) => self.rare_child(*value, level),
            Operand::Null => self.out.put(word(lay::NULL, NO_TYPE)),
            Operand::Bool(truth) => self.out.put(word(if *truth { lay::TRUE } else { lay::FALSE }, NO_TYPE)),
            Operand::Int(int) => self.out.put_scalar(word(lay::INT, NO_TYPE), int.cast_unsigned()),
            Operand::Float(float) => self.out.put_scalar(word(lay::FLOAT, NO_TYPE), float.to_bits()),
            Operand::Big(big) => {
                self.out.put(word(lay::BIG, NO_TYPE));
                let negative = big.sign() == num_bigint::Sign::Minus;
                let digits: smallvec::SmallVec<[u32; 64]> = big.iter_u32_digits().collect();
                self.big(BigDigits { negative, digits: &digits, bits: 32 });
            }
            Operand::Text(text) => {
                self.out.put(word(string_tag(*text), NO_TYPE));
                self.text(*text, level);
            }
            Operand::List(items) => {
                self.made(lay::LIST, items.len(), level, |walker, index| {
                    if let Some(item) = items.get(index) {
                        walker.operand(item, level + 1);
                    }
                });
            }
            Operand::Set(items) => {
                self.made(lay::SET, items.len(), level, |walker, index| {
                    if let Some(item) = items.get(index) {
                        walker.rare_child(*item, level + 1);
                    }
                });
            }
            Operand::Map(entries) => {
                self.made(lay::MAP, entries.len(), level, |walker, index| {
                    if let Some((key, value)) = entries.get(index) {
                        walker.entry(*key, *value, level + 1);
                    }
                });
            }
        }
    }

    /// A container that an expression made.
    fn made(&mut self, tag: u8, len: usize, level: u32, mut child: impl FnMut(&mut Self, usize)) {
        self.out.put(word(tag, NO_TYPE));
        let mut open = self.open(len);
        let max = self.limits.elements;
        if !self.opens(level) {
            open.reason = if self.message && len == 0 { lay::REASON_NONE } else { lay::REASON_DEPTH };
            return self.close(&open);
        }
        for index in 0..len.min(max as usize) {
            if self.is_stopped() {
                open.reason = lay::REASON_TIMEOUT;
                break;
            }
            child(self, index);
            open.count += 1;
        }
        self.ended(&mut open, Walk::Complete, len, max);
        self.close(&open);
    }
}

/// The tag that a value would have.
fn tag_of(view: View<'_>) -> u8 {
    match view {
        View::Undefined => lay::UNDEFINED,
        View::Null => lay::NULL,
        View::Bool(_) => lay::TRUE,
        View::Int(_) => lay::INT,
        View::Big(_) => lay::BIG,
        View::Float(_) => lay::FLOAT,
        View::Complex(..) => lay::COMPLEX,
        View::Decimal(_) => lay::DECIMAL,
        View::Str(text) => string_tag(text),
        View::Bytes(_) | View::Beginning { .. } => lay::BYTES,
        View::List(_) | View::Values(_) => lay::LIST,
        View::Set(_) => lay::SET,
        View::Map { .. } => lay::MAP,
        View::Object | View::Named(_) | View::Unreadable(_) => lay::OBJECT,
        View::Exception => lay::EXCEPTION,
        View::Enum => lay::ENUM,
        View::Function => lay::FUNCTION,
        View::Iterator => lay::ITERATOR,
        View::Opaque => lay::OPAQUE,
        View::Scalar => lay::SCALAR,
    }
}

#[inline]
fn string_tag(text: Text<'_>) -> u8 {
    match text {
        Text::Utf8(_) => lay::STR_UTF8,
        Text::Latin1(_) => lay::STR_LATIN1,
        Text::Ucs2(_) => lay::STR_UCS2,
        Text::Ucs4(_) => lay::STR_UCS4,
        Text::Utf16(_) => lay::STR_UTF16,
    }
}

/// The first `limit` units of a text (code points, if `points`), in whole code points, and its length in the same units.
#[inline]
fn cut(text: Text<'_>, limit: usize, points: bool) -> (Text<'_>, usize) {
    fn first<T>(units: &[T], limit: usize) -> &[T] {
        units.get(..limit).unwrap_or(units)
    }
    match text {
        Text::Latin1(units) => (Text::Latin1(first(units, limit)), units.len()),
        Text::Ucs2(units) => (Text::Ucs2(first(units, limit)), units.len()),
        Text::Ucs4(units) => (Text::Ucs4(first(units, limit)), units.len()),
        Text::Utf8(whole) => {
            if whole.is_ascii() {
                return (Text::Utf8(whole.get(..limit).unwrap_or(whole)), whole.len());
            }
            if whole.len() <= limit {
                return (text, text.len());
            }
            let end = whole.char_indices().nth(limit).map_or(whole.len(), |(at, _)| at);
            (Text::Utf8(whole.get(..end).unwrap_or(whole)), text.len())
        }
        Text::Utf16(units) if units.len() <= limit => (text, units.len()),
        Text::Utf16(units) if points => {
            let mut rest = CodePoints::Utf16(units);
            let taken = rest.by_ref().take(limit).count();
            let end = match &rest {
                CodePoints::Utf16(tail) => units.len() - tail.len(),
                _ => units.len(),
            };
            (Text::Utf16(first(units, end)), taken + rest.count())
        }
        Text::Utf16(units) => {
            let high = |at: usize| units.get(at).is_some_and(|unit| (0xD800..0xDC00).contains(unit));
            let low = units.get(limit).is_some_and(|unit| (0xDC00..0xE000).contains(unit));
            let end = if low && limit > 0 && high(limit - 1) { limit - 1 } else { limit };
            (Text::Utf16(first(units, end)), units.len())
        }
    }
}

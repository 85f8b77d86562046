//! Writes a record into the reused scratch of a hit context. It stands on the walk of a hit: [`crate::hit`] says what
//! comes, [`crate::capture::walk`] writes the values, the ring takes the bytes.
//!
//! The order of calls is that of the record: [`Writer::begin`], template values and failures, points with their sections
//! and named values, the stack, [`Writer::finish`]. Nothing is allocated once the scratch has grown to its working size.

use super::layout::{self as lay, HEADER, MAX_INLINE, word};
use crate::capture::limits::STACK_FRAMES;
use crate::capture::redact::Redaction;
use crate::host::{Frame, Section, StackFrame, ThreadInfo};
use crate::text::Text;
use std::ops::ControlFlow;

/// What is known of a hit before anything is captured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Header {
    /// Slot of the probe.
    pub probe: u32,
    /// Revision of the probe set.
    pub revision: u64,
    /// Nanoseconds since the epoch, coarse.
    pub wall: u64,
    /// Nanoseconds of the monotonic clock.
    pub monotonic: u64,
    /// 128 random bits.
    pub event_id: [u8; 16],
    /// Who ran the hit.
    pub thread: ThreadInfo,
    /// Zero without a trace.
    pub trace_id: u128,
    /// Zero without a span.
    pub span_id: u64,
    /// Nanoseconds the method ran, if its entry was seen.
    pub duration: Option<u64>,
}

/// A capture point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The entry of a method.
    Entry,
    /// Its return or throw.
    Return,
    /// A line.
    Line(u32),
}

/// Where an expression stands that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The probe's condition.
    Condition,
    /// A segment of the template.
    Segment(u16),
    /// A capture expression.
    Expression(u16),
    /// The value of a metric.
    Metric,
    /// The condition of a decoration.
    Decoration(u16),
    /// A tag of a decoration.
    Tag(u8, u8),
}

impl Place {
    /// The place as the argument of an item's word.
    pub(crate) fn argument(self) -> u32 {
        let (kind, index) = match self {
            Place::Condition => (lay::PLACE_CONDITION, 0),
            Place::Segment(index) => (lay::PLACE_SEGMENT, index),
            Place::Expression(index) => (lay::PLACE_EXPRESSION, index),
            Place::Metric => (lay::PLACE_METRIC, 0),
            Place::Decoration(index) => (lay::PLACE_DECORATION, index),
            Place::Tag(decoration, tag) => (lay::PLACE_TAG, u16::from_be_bytes([decoration, tag])),
        };
        u32::from(kind) | u32::from(index) << 8
    }

    /// The place of such an argument.
    pub(crate) fn from_argument(argument: u32) -> Option<Place> {
        let index = (argument >> 8) as u16;
        let [decoration, tag] = index.to_be_bytes();
        Some(match (argument & 0xFF) as u8 {
            lay::PLACE_CONDITION => Place::Condition,
            lay::PLACE_SEGMENT => Place::Segment(index),
            lay::PLACE_EXPRESSION => Place::Expression(index),
            lay::PLACE_METRIC => Place::Metric,
            lay::PLACE_DECORATION => Place::Decoration(index),
            lay::PLACE_TAG => Place::Tag(decoration, tag),
            _ => return None,
        })
    }
}

/// The scratch of a hit context. One hit at a time.
#[derive(Debug)]
pub struct Writer {
    pub(crate) buf: Vec<u8>,
    /// Verdicts on map keys.
    pub(crate) keys: KeyCache,
    /// Text of a scalar, on its way into the record.
    pub(crate) label: String,
    /// Values looked at; every 64th reads the clock.
    pub(crate) nodes: u32,
    /// When the time of this point is over, if that is known by now.
    pub(crate) deadline: Option<u64>,
    /// The time of this point is over.
    pub(crate) timed_out: bool,
    /// Why the open point is incomplete.
    pub(crate) point_reason: u8,
    /// Names in the open section.
    pub(crate) names: usize,
    flags: u32,
}

impl Default for Writer {
    fn default() -> Self {
        Writer::new()
    }
}

impl Writer {
    /// An empty scratch.
    pub fn new() -> Self {
        Writer {
            buf: Vec::with_capacity(16 * 1024),
            keys: KeyCache::new(),
            label: String::with_capacity(256),
            nodes: 0,
            deadline: None,
            timed_out: false,
            point_reason: lay::REASON_NONE,
            names: 0,
            flags: 0,
        }
    }

    /// Begins a record; whatever was in the scratch is gone.
    #[inline]
    pub fn begin(&mut self, header: &Header) {
        self.buf.clear();
        // One large record must not hold its memory for ever.
        if self.buf.capacity() > 4 * lay::MAX_RECORD {
            self.buf.shrink_to(4 * lay::MAX_RECORD);
        }
        self.nodes = 0;
        self.deadline = None;
        self.timed_out = false;
        self.point_reason = lay::REASON_NONE;
        self.flags = if header.duration.is_some() { lay::FLAG_DURATION } else { 0 };
        self.buf.extend_from_slice(&[0; HEADER]);
        let Some(bytes) = self.buf.first_chunk_mut::<HEADER>() else { return };
        let mut set = |at: usize, value: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + value.len()) {
                place.copy_from_slice(value);
            }
        };
        set(lay::AT_MAGIC, &lay::MAGIC.to_le_bytes());
        set(lay::AT_LAYOUT, &lay::LAYOUT_HASH.to_le_bytes());
        set(lay::AT_PROBE, &header.probe.to_le_bytes());
        set(lay::AT_REVISION, &header.revision.to_le_bytes());
        set(lay::AT_WALL, &header.wall.to_le_bytes());
        set(lay::AT_MONOTONIC, &header.monotonic.to_le_bytes());
        set(lay::AT_EVENT, &header.event_id);
        set(lay::AT_THREAD, &header.thread.id.to_le_bytes());
        set(lay::AT_TRACE_HIGH, &((header.trace_id >> 64) as u64).to_le_bytes());
        set(lay::AT_TRACE_LOW, &(header.trace_id as u64).to_le_bytes());
        set(lay::AT_SPAN, &header.span_id.to_le_bytes());
        set(lay::AT_DURATION, &header.duration.unwrap_or(0).to_le_bytes());
        set(lay::AT_THREAD_NAME, &header.thread.name.to_le_bytes());
    }

    /// Sets the duration of a method once it is known.
    pub fn set_duration(&mut self, nanoseconds: u64) {
        self.flags |= lay::FLAG_DURATION;
        self.patch(lay::AT_DURATION, &nanoseconds.to_le_bytes());
    }

    /// Makes this an evaluation-error event: it carries no captures, whatever is written after.
    pub fn mark_error(&mut self) {
        self.flags |= lay::FLAG_ERROR;
    }

    /// True if the record reached its largest size (`recordFull`).
    pub fn is_full(&self) -> bool {
        self.flags & lay::FLAG_FULL != 0
    }

    /// True if the time of a capture ran out.
    pub fn has_timed_out(&self) -> bool {
        self.flags & lay::FLAG_TIMEOUT != 0
    }

    pub(crate) fn mark(&mut self, flag: u32) {
        self.flags |= flag;
    }

    /// An expression failed. `encode` appends the failure.
    pub fn failure(&mut self, place: Place, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.buf.len() > lay::HARD_RECORD {
            return self.mark(lay::FLAG_FULL);
        }
        self.put(word(lay::ITEM_FAILURE, place.argument()), [0; 4]);
        let start = self.buf.len();
        encode(&mut self.buf);
        // A failure is small; a longer one would be a mistake of ours and must not break the record's bound.
        self.buf.truncate(start + MAX_INLINE);
        let length = (self.buf.len() - start) as u32;
        self.patch(start - 4, &length.to_le_bytes());
    }

    /// Opens a capture point. Its time is counted afresh.
    pub fn point(&mut self, point: Point) {
        let (kind, line) = match point {
            Point::Entry => (lay::POINT_ENTRY, 0),
            Point::Return => (lay::POINT_RETURN, 0),
            Point::Line(line) => (lay::POINT_LINE, line),
        };
        self.deadline = None;
        self.timed_out = false;
        self.point_reason = lay::REASON_NONE;
        self.put(word(lay::ITEM_POINT, u32::from(kind)), line.to_le_bytes());
    }

    /// Opens a section of the open point. An empty section shows as `{}`; one never opened does not show.
    pub fn section(&mut self, section: Section) {
        self.section_code(match section {
            Section::Arguments => lay::SECTION_ARGUMENTS,
            Section::Locals => lay::SECTION_LOCALS,
            Section::Statics => lay::SECTION_STATICS,
        });
    }

    /// Opens the section `captureExpressions`.
    pub fn expressions(&mut self) {
        self.section_code(lay::SECTION_EXPRESSIONS);
    }

    fn section_code(&mut self, code: u8) {
        self.names = 0;
        self.put(word(lay::ITEM_SECTION, u32::from(code)), []);
    }

    /// Ends the open point.
    pub fn end_point(&mut self) {
        self.put(word(lay::ITEM_END_POINT, u32::from(self.point_reason)), []);
    }

    /// Writes the hit's stack.
    #[inline]
    pub fn stack<'f, F: Frame<'f>>(&mut self, frame: &F) {
        let mut frames = self.open_frames();
        frame.stack(|frame| frames.push(frame));
        frames.close();
    }

    /// Begins a stack.
    #[inline]
    pub(crate) fn open_frames(&mut self) -> Frames<'_> {
        let start = self.buf.len();
        self.put(word(lay::ITEM_STACK, 0), []);
        Frames { out: self, start, count: 0 }
    }

    /// Sets a half-written record aside: between entry and return of a method other hits use the scratch.
    pub fn suspend(&mut self) -> Suspended {
        Suspended { bytes: self.buf.as_slice().into(), flags: self.flags }
    }

    /// Goes on with a record set aside.
    pub fn resume(&mut self, record: &Suspended) {
        self.buf.clear();
        self.buf.extend_from_slice(&record.bytes);
        self.flags = record.flags;
        self.nodes = 0;
        self.deadline = None;
        self.timed_out = false;
        self.point_reason = lay::REASON_NONE;
    }

    /// Ends the record and lends its bytes.
    #[inline]
    pub fn finish(&mut self) -> &[u8] {
        self.put(word(lay::ITEM_END, 0), []);
        let length = self.buf.len() as u32;
        self.patch(lay::AT_LENGTH, &length.to_le_bytes());
        let flags = self.flags;
        self.patch(lay::AT_FLAGS, &flags.to_le_bytes());
        &self.buf
    }

    #[inline]
    pub(crate) fn put<const N: usize>(&mut self, word: u32, payload: [u8; N]) {
        self.buf.extend_from_slice(&word.to_le_bytes());
        if N > 0 {
            self.buf.extend_from_slice(&payload);
        }
    }

    /// As [`Writer::put`] with two numbers more. They are put together as one number and not as an array: bytes that are
    /// written one by one and read back as a whole make the processor wait.
    #[inline]
    pub(crate) fn put_sized(&mut self, word: u32, size: u64, last: u32) {
        let whole = u128::from(word) | u128::from(size) << 32 | u128::from(last) << 96;
        self.buf.extend_from_slice(&whole.to_le_bytes());
    }

    /// As [`Writer::put`] with a scalar of eight bytes.
    #[inline]
    pub(crate) fn put_scalar(&mut self, word: u32, scalar: u64) {
        let end = self.buf.len() + 12;
        let whole = u128::from(word) | u128::from(scalar) << 32;
        self.buf.extend_from_slice(&whole.to_le_bytes());
        self.buf.truncate(end);
    }

    /// As [`Writer::put`] with one number more.
    #[inline]
    pub(crate) fn put_counted(&mut self, word: u32, count: u32) {
        let whole = u64::from(word) | u64::from(count) << 32;
        self.buf.extend_from_slice(&whole.to_le_bytes());
    }

    #[inline]
    pub(crate) fn patch(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.buf.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    /// Text that stands inline, as UTF-8, cut to [`MAX_INLINE`] bytes.
    pub(crate) fn inline(&mut self, text: Text<'_>) {
        let start = self.buf.len();
        self.buf.extend_from_slice(&[0; 2]);
        for point in text.code_points() {
            let letter = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
            let mut utf8 = [0; 4];
            let utf8 = letter.encode_utf8(&mut utf8).as_bytes();
            if self.buf.len() - start - 2 + utf8.len() > MAX_INLINE {
                break;
            }
            self.buf.extend_from_slice(utf8);
        }
        let length = (self.buf.len() - start - 2) as u16;
        self.patch(start, &length.to_le_bytes());
    }
}

/// A stack that is being written.
pub(crate) struct Frames<'w> {
    out: &'w mut Writer,
    start: usize,
    count: usize,
}

impl Frames<'_> {
    /// Writes the next frame, outwards.
    #[inline]
    pub(crate) fn push(&mut self, frame: StackFrame) -> ControlFlow<()> {
        if self.count == STACK_FRAMES {
            return ControlFlow::Break(());
        }
        self.count += 1;
        let whole = u64::from(frame.code) | u64::from(frame.position) << 32;
        self.out.buf.extend_from_slice(&whole.to_le_bytes());
        ControlFlow::Continue(())
    }

    #[inline]
    pub(crate) fn close(self) {
        self.out.patch(self.start, &word(lay::ITEM_STACK, self.count as u32).to_le_bytes());
    }
}

/// A half-written record of a method that has not returned yet.
#[derive(Clone, Debug)]
pub struct Suspended {
    bytes: Box<[u8]>,
    flags: u32,
}

const KEY_SLOTS: usize = 4096;
const KEY_BYTES: usize = 32;

/// The redaction verdicts of map keys, which are never interned: a fixed number of slots, each verified by the full key.
pub(crate) struct KeyCache {
    slots: Box<[KeySlot]>,
}

#[derive(Clone, Copy)]
struct KeySlot {
    words: [u64; KEY_BYTES / 8],
    /// Length of the key, plus one; 0: empty.
    length: u8,
    redacted: bool,
}

/// Up to eight bytes as a word.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(head), Some(tail)) => {
            u64::from(u32::from_le_bytes(*head))
                | u64::from(u32::from_le_bytes(*tail)) << (8 * (bytes.len() - 4).min(4))
        }
        _ => match *bytes {
            [a] => u64::from(a),
            [a, b] => u64::from(a) | u64::from(b) << 8,
            [a, b, c] => u64::from(a) | u64::from(b) << 8 | u64::from(c) << 16,
            _ => 0,
        },
    }
}

/// A key of at most [`KEY_BYTES`] bytes as words, zero behind its end; they stay in registers.
#[inline]
fn words_of(bytes: &[u8]) -> Option<[u64; KEY_BYTES / 8]> {
    if bytes.len() > KEY_BYTES {
        return None;
    }
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else { return Some([short_word(bytes), 0, 0, 0]) };
    let a = u64::from_le_bytes(*first);
    let Some((second, rest)) = rest.split_first_chunk::<8>() else { return Some([a, short_word(rest), 0, 0]) };
    let b = u64::from_le_bytes(*second);
    let Some((third, rest)) = rest.split_first_chunk::<8>() else { return Some([a, b, short_word(rest), 0]) };
    Some([a, b, u64::from_le_bytes(*third), short_word(rest)])
}

/// Set in the words of a text that is not ASCII.
const NOT_ASCII: u64 = 0x8080_8080_8080_8080;

impl KeyCache {
    fn new() -> Self {
        let empty = KeySlot { words: [0; KEY_BYTES / 8], length: 0, redacted: false };
        KeyCache { slots: vec![empty; KEY_SLOTS].into_boxed_slice() }
    }

    /// The verdict on a key.
    #[inline]
    pub(crate) fn redacted(&mut self, key: Text<'_>, redaction: &Redaction) -> bool {
        let bytes = match key {
            Text::Utf8(text) => text.as_bytes(),
            Text::Latin1(units) => units,
            _ => return redaction.name_text(key),
        };
        // Long keys are rare; beyond ASCII the same bytes are different texts in the two storages.
        let Some(words) = words_of(bytes) else { return redaction.name_text(key) };
        let [a, b, c, d] = words;
        if (a | b | c | d) & NOT_ASCII != 0 {
            return redaction.name_text(key);
        }
        let mixed = (a ^ b.rotate_left(17) ^ c.rotate_left(31) ^ d.rotate_left(47) ^ bytes.len() as u64)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let Some(slot) = self.slots.get_mut((mixed >> 40) as usize % KEY_SLOTS) else {
            return redaction.name_text(key);
        };
        let [ka, kb, kc, kd] = slot.words;
        let differs = (ka ^ a) | (kb ^ b) | (kc ^ c) | (kd ^ d);
        if usize::from(slot.length) == bytes.len() + 1 && differs == 0 {
            return slot.redacted;
        }
        *slot = KeySlot { words, length: bytes.len() as u8 + 1, redacted: redaction.name_text(key) };
        slot.redacted
    }
}

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyCache")
    }
}

#[cfg(test)]
mod tests {
    use super::{KEY_BYTES, KeyCache, words_of};
    use crate::capture::redact::Redaction;
    use crate::text::Text;
    use std::collections::HashMap;

    #[test]
    fn words_and_length_tell_keys_apart() {
        let mut seen: HashMap<_, Vec<u8>> = HashMap::new();
        for length in 0..=KEY_BYTES {
            for at in 0..=length {
                let mut key = vec![b'a'; length];
                if let Some(letter) = key.get_mut(at) {
                    *letter = b'b';
                }
                let words = words_of(&key).unwrap();
                assert_eq!(*seen.entry((length, words)).or_insert_with(|| key.clone()), key);
            }
        }
        assert_eq!(words_of(&[b'a'; KEY_BYTES + 1]), None);
    }

    #[test]
    fn a_million_keys_get_the_verdict_of_the_rules() {
        let redaction = Redaction::default();
        let mut cache = KeyCache::new();
        for n in 0..1_000_000_u32 {
            let key = if n % 7 == 0 { "pass_word".to_owned() } else { format!("k{n}") };
            assert_eq!(cache.redacted(Text::Utf8(&key), &redaction), n % 7 == 0, "{key}");
        }
    }
}

//! Writes a record into the reused scratch of a hit context. It stands on the walk of a hit: [`crate::hit`] says what
//! comes, [`crate::capture::walk`] writes the values, the ring takes the bytes.
//!
//! The order of calls is that of the record: [`Writer::begin`], template values and failures, points with their sections
//! and named values, the stack, [`Writer::finish`]. Nothing is allocated once the scratch has grown to its working size.

use super::buffer::Buffer;
use super::layout::{self as lay, HEADER, MAX_INLINE, SOFT_RECORD, word};
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
    pub fn from_argument(argument: u32) -> Option<Place> {
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
    pub(crate) buf: Buffer,
    /// Verdicts on map keys.
    pub(crate) keys: KeyCache,
    /// Text of a scalar, on its way into the record.
    pub(crate) label: String,
    /// Values looked at; every 64th reads the clock.
    pub(crate) nodes: u32,
    /// When the time of this point is over, if that is known by now.
    pub(crate) deadline: Option<u64>,
    /// The size at which nothing more of this point is read: 0 once its time is over.
    pub(crate) stop: usize,
    /// Why the open point is incomplete.
    pub(crate) point_reason: u8,
    /// Names in the open section.
    pub(crate) names: usize,
    /// A failure, on its way into the record.
    failure: Vec<u8>,
    /// A stack, on its way into the record.
    frames: [StackFrame; STACK_FRAMES],
    flags: u32,
}

/// The largest size at which values are still read, plus one.
const STOP: usize = SOFT_RECORD + 1;

/// The last letter of a name or text that was cut.
pub(crate) const CUT: &str = "…";

/// True if a text takes more bytes as UTF-8 than there are. No more of it is looked at.
fn takes_more_than(text: Text<'_>, bytes: usize) -> bool {
    let sizes = text.code_points().take(bytes + 1);
    sizes.map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER).len_utf8()).sum::<usize>() > bytes
}

/// Memory that is kept from record to record.
const KEPT: usize = 4 * lay::MAX_RECORD;

impl Default for Writer {
    fn default() -> Self {
        Writer::new()
    }
}

impl Writer {
    /// An empty scratch.
    pub fn new() -> Self {
        Writer {
            buf: Buffer::new(16 * 1024),
            keys: KeyCache::new(),
            label: String::with_capacity(256),
            nodes: 0,
            deadline: None,
            stop: STOP,
            point_reason: lay::REASON_NONE,
            names: 0,
            failure: Vec::new(),
            frames: [StackFrame::default(); STACK_FRAMES],
            flags: 0,
        }
    }

    /// Begins a record; whatever was in the scratch is gone.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the header stays in registers")]
    pub fn begin(&mut self, header: &Header) {
        self.buf.clear(KEPT);
        self.nodes = 0;
        self.reset_point();
        self.flags = if header.duration.is_some() { lay::FLAG_DURATION } else { 0 };
        self.buf.write::<HEADER>(HEADER, |bytes| {
            // All bytes of the header; the length and the flags come at the end.
            set(bytes, lay::AT_MAGIC, lay::MAGIC.to_le_bytes());
            set(bytes, lay::AT_LAYOUT, lay::LAYOUT_HASH.to_le_bytes());
            set(bytes, lay::AT_LENGTH, [0; 4]);
            set(bytes, lay::AT_PROBE, header.probe.to_le_bytes());
            set(bytes, lay::AT_REVISION, header.revision.to_le_bytes());
            set(bytes, lay::AT_WALL, header.wall.to_le_bytes());
            set(bytes, lay::AT_MONOTONIC, header.monotonic.to_le_bytes());
            // In halves, as it was made: together they would have to be read back from memory.
            let event_id = u128::from_le_bytes(header.event_id);
            set(bytes, lay::AT_EVENT, (event_id as u64).to_le_bytes());
            set(bytes, lay::AT_EVENT + 8, ((event_id >> 64) as u64).to_le_bytes());
            set(bytes, lay::AT_THREAD, header.thread.id.to_le_bytes());
            set(bytes, lay::AT_TRACE_HIGH, ((header.trace_id >> 64) as u64).to_le_bytes());
            set(bytes, lay::AT_TRACE_LOW, (header.trace_id as u64).to_le_bytes());
            set(bytes, lay::AT_SPAN, header.span_id.to_le_bytes());
            set(bytes, lay::AT_DURATION, header.duration.unwrap_or(0).to_le_bytes());
            set(bytes, lay::AT_THREAD_NAME, header.thread.name.to_le_bytes());
            set(bytes, lay::AT_FLAGS, [0; 4]);
        });
    }

    /// Time and limits are counted anew.
    #[inline]
    fn reset_point(&mut self) {
        self.deadline = None;
        self.stop = STOP;
        self.point_reason = lay::REASON_NONE;
    }

    /// Sets the duration of a method once it is known.
    pub fn set_duration(&mut self, nanoseconds: u64) {
        self.flags |= lay::FLAG_DURATION;
        self.buf.patch(lay::AT_DURATION, nanoseconds.to_le_bytes());
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
        self.failure.clear();
        encode(&mut self.failure);
        // A failure is small; a longer one would be a mistake of ours and must not break the record's bound.
        self.failure.truncate(MAX_INLINE);
        let length = self.failure.len() as u32;
        self.put_counted(word(lay::ITEM_FAILURE, place.argument()), length);
        self.buf.extend(&self.failure);
    }

    /// Opens a capture point. Its time is counted afresh.
    pub fn point(&mut self, point: Point) {
        let (kind, line) = match point {
            Point::Entry => (lay::POINT_ENTRY, 0),
            Point::Return => (lay::POINT_RETURN, 0),
            Point::Line(line) => (lay::POINT_LINE, line),
        };
        self.reset_point();
        self.put_counted(word(lay::ITEM_POINT, u32::from(kind)), line);
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
        self.put(word(lay::ITEM_SECTION, u32::from(code)));
    }

    /// Ends the open point.
    pub fn end_point(&mut self) {
        self.put(word(lay::ITEM_END_POINT, u32::from(self.point_reason)));
    }

    /// Writes the hit's stack.
    #[inline]
    pub fn stack<'f, F: Frame<'f>>(&mut self, frame: &F) {
        self.frames(frame, usize::MAX);
    }

    /// Writes so many innermost frames of the hit's stack.
    #[inline]
    pub fn frames<'f, F: Frame<'f>>(&mut self, frame: &F, most: usize) {
        let most = most.min(self.frames.len());
        let count = frame.stack(self.frames.get_mut(..most).unwrap_or_default());
        let frames = self.frames.get(..count).unwrap_or_default();
        self.buf.put(word(lay::ITEM_STACK, frames.len() as u32).to_le_bytes());
        self.buf.numbers(frames.iter().map(|frame| pair(frame.code, frame.position)));
    }

    /// Begins the stack of an exception.
    #[inline]
    pub(crate) fn open_frames(&mut self) -> Frames<'_> {
        let start = self.buf.len();
        self.put(word(lay::ITEM_STACK, 0));
        Frames { out: self, start, count: 0 }
    }

    /// Sets a half-written record aside: between entry and return of a method other hits use the scratch.
    pub fn suspend(&mut self) -> Suspended {
        Suspended { bytes: self.buf.bytes().into(), flags: self.flags }
    }

    /// Goes on with a record set aside.
    pub fn resume(&mut self, record: &Suspended) {
        self.buf.clear(KEPT);
        self.buf.extend(&record.bytes);
        self.flags = record.flags;
        self.nodes = 0;
        self.reset_point();
    }

    /// Ends the record and lends its bytes.
    #[inline]
    pub fn finish(&mut self) -> &[u8] {
        self.put(word(lay::ITEM_END, 0));
        self.buf.patch(lay::AT_LENGTH, (self.buf.len() as u32).to_le_bytes());
        self.buf.patch(lay::AT_FLAGS, self.flags.to_le_bytes());
        self.buf.bytes()
    }

    /// A word alone.
    #[inline]
    pub(crate) fn put(&mut self, word: u32) {
        self.buf.put(word.to_le_bytes());
    }

    /// A word and two numbers more. They are put together as one number and not as an array: bytes that are written one
    /// by one and read back as a whole make the processor wait.
    #[inline]
    pub(crate) fn put_sized(&mut self, word: u32, size: u64, last: u32) {
        self.buf.put(sized(word, size, last));
    }

    /// A word and a scalar of eight bytes.
    #[inline]
    pub(crate) fn put_scalar(&mut self, word: u32, scalar: u64) {
        self.buf.write(12, move |piece: &mut [u8; 16]| *piece = sized(word, scalar, 0));
    }

    /// A word and a number more.
    #[inline]
    pub(crate) fn put_counted(&mut self, word: u32, count: u32) {
        self.buf.put(pair(word, count));
    }

    /// The word of a string, with its size, and its text, which is short.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the text stays in registers")]
    pub(crate) fn put_short(&mut self, word: u32, text: Short) {
        let Short { first, second, length } = text;
        self.buf.write(16 + length, move |piece: &mut [u8; 16 + SHORT]| {
            set(piece, 0, sized(word, length as u64, length as u32));
            set(piece, 16, first.to_le_bytes());
            set(piece, 24, second.to_le_bytes());
        });
    }

    /// Text that stands inline, as UTF-8, cut to [`MAX_INLINE`] bytes; one that is cut ends with [`CUT`].
    pub(crate) fn inline(&mut self, text: Text<'_>) {
        let start = self.buf.len();
        self.buf.put([0; 2]);
        let cut = takes_more_than(text, MAX_INLINE);
        let mut room = if cut { MAX_INLINE - CUT.len() } else { MAX_INLINE };
        for point in text.code_points() {
            let letter = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
            let mut utf8 = [0; 4];
            let utf8 = letter.encode_utf8(&mut utf8).as_bytes();
            let Some(left) = room.checked_sub(utf8.len()) else { break };
            room = left;
            self.buf.extend(utf8);
        }
        if cut {
            self.buf.extend(CUT.as_bytes());
        }
        let length = (self.buf.len() - start - 2) as u16;
        self.buf.patch(start, length.to_le_bytes());
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
        self.out.put_counted(frame.code, frame.position);
        ControlFlow::Continue(())
    }

    #[inline]
    pub(crate) fn close(self) {
        self.out.buf.patch(self.start, word(lay::ITEM_STACK, self.count as u32).to_le_bytes());
    }
}

/// A half-written record of a method that has not returned yet.
#[derive(Clone, Debug)]
pub struct Suspended {
    bytes: Box<[u8]>,
    flags: u32,
}

/// Bytes of a text that is short.
pub(crate) const SHORT: usize = 16;

/// A short text as two words, zero behind its end: they stay in registers from the look at its verdict to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Short {
    first: u64,
    second: u64,
    length: usize,
}

impl Short {
    /// `None`: it is not short.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see the type")]
    pub(crate) fn of(bytes: &[u8]) -> Option<Short> {
        let length = bytes.len();
        let at = |index: usize| 8 * index as u32;
        let (first, second) = match (bytes.first_chunk(), bytes.last_chunk()) {
            _ if length > SHORT => return None,
            // The two halves may overlap: what stands in both counts once.
            (Some(head), Some(tail)) => {
                (u64::from_le_bytes(*head), u64::from_le_bytes(*tail).checked_shr(at(SHORT - length)).unwrap_or(0))
            }
            _ => match (bytes.first_chunk(), bytes.last_chunk(), bytes) {
                (Some(head), Some(tail), _) => {
                    let (head, tail) = (u32::from_le_bytes(*head), u32::from_le_bytes(*tail));
                    (u64::from(head) | u64::from(tail) << at((length - 4) & 3), 0)
                }
                (_, _, [one, .., last]) => {
                    let middle = bytes.get(length / 2).copied().unwrap_or(0);
                    let tail = u64::from(middle) << at((length / 2) & 3) | u64::from(*last) << at((length - 1) & 3);
                    (u64::from(*one) | tail, 0)
                }
                (_, _, [one]) => (u64::from(*one), 0),
                _ => (0, 0),
            },
        };
        Some(Short { first, second, length })
    }

    /// Its length in bytes.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.length
    }
}

const KEY_SLOTS: usize = 4096;
/// Bytes of the longest key whose verdict is kept.
const KEY_BYTES: usize = 32;

/// The redaction verdicts of map keys, which are never interned: a fixed number of slots, each verified by the full key.
pub(crate) struct KeyCache {
    slots: Box<[KeySlot; KEY_SLOTS]>,
}

#[derive(Clone, Copy)]
struct KeySlot {
    words: [u64; KEY_BYTES / 8],
    /// Length of the key, plus one; 0: empty.
    length: u8,
    redacted: bool,
}

const NO_KEY: KeySlot = KeySlot { words: [0; KEY_BYTES / 8], length: 0, redacted: false };

/// A key as words, zero behind its end; `None` if it is long.
fn words_of(bytes: &[u8]) -> Option<[u64; KEY_BYTES / 8]> {
    let (head, tail) = bytes.split_at_checked(SHORT).unwrap_or((bytes, &[]));
    let (head, tail) = (Short::of(head)?, Short::of(tail)?);
    Some([head.first, head.second, tail.first, tail.second])
}

/// The place of a key.
#[inline]
fn slot_of([a, b, c, d]: [u64; KEY_BYTES / 8], length: usize) -> usize {
    let mixed = a ^ b.rotate_left(17) ^ c.rotate_left(31) ^ d.rotate_left(47) ^ length as u64;
    (mixed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % KEY_SLOTS
}

impl KeyCache {
    #[allow(clippy::large_stack_arrays, reason = "it is never made: the slots have the right number")]
    fn new() -> Self {
        // Not made on the stack, which may be small.
        let slots = vec![NO_KEY; KEY_SLOTS].into_boxed_slice().try_into();
        #[allow(clippy::large_stack_arrays, reason = "never made: the slice has as many slots")]
        KeyCache { slots: slots.unwrap_or_else(|_| Box::new([NO_KEY; KEY_SLOTS])) }
    }

    /// The verdict on a key.
    pub(crate) fn redacted(&mut self, key: Text<'_>, redaction: &Redaction) -> bool {
        let bytes = match key {
            Text::Utf8(text) => text.as_bytes(),
            Text::Latin1(units) => units,
            _ => return redaction.name_text(key),
        };
        // Long keys are rare; beyond ASCII the same bytes are different texts in the two storages.
        let Some(words) = words_of(bytes).filter(|_| bytes.is_ascii()) else { return redaction.name_text(key) };
        let length = bytes.len() as u8 + 1;
        let slot = &mut self.slots[slot_of(words, bytes.len())];
        if slot.words != words || slot.length != length {
            *slot = KeySlot { words, length, redacted: redaction.name_text(key) };
        }
        slot.redacted
    }

    /// As [`Self::redacted`], of a key in ASCII that is short.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the key stays in registers")]
    pub(crate) fn short(&mut self, short: Short, key: &str, redaction: &Redaction) -> bool {
        let Short { first, second, length } = short;
        let slot = &self.slots[slot_of([first, second, 0, 0], length)];
        // Words behind a short key's end are zero, and its length is that of no longer one.
        if slot.words[0] == first && slot.words[1] == second && usize::from(slot.length) == length + 1 {
            return slot.redacted;
        }
        self.first_seen(key, redaction)
    }

    #[cold]
    #[inline(never)]
    fn first_seen(&mut self, key: &str, redaction: &Redaction) -> bool {
        self.redacted(Text::Utf8(key), redaction)
    }
}

/// A word and two numbers.
#[inline]
fn sized(word: u32, size: u64, last: u32) -> [u8; 16] {
    (u128::from(word) | u128::from(size) << 32 | u128::from(last) << 96).to_le_bytes()
}

/// Two numbers.
#[inline]
fn pair(first: u32, second: u32) -> [u8; 8] {
    (u64::from(first) | u64::from(second) << 32).to_le_bytes()
}

/// Puts a part at its place.
#[inline(always)]
#[allow(clippy::inline_always, reason = "the place is a constant, so that nothing is left to be checked")]
fn set<const N: usize, const PART: usize>(piece: &mut [u8; N], at: usize, part: [u8; PART]) {
    if let Some(place) = piece.get_mut(at..at + PART) {
        place.copy_from_slice(&part);
    }
}

impl std::fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyCache")
    }
}

#[cfg(test)]
mod tests {
    use super::{KEY_BYTES, KeyCache, SHORT, Short, Writer, words_of};
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
    fn words_are_the_text() {
        let text: Vec<u8> = (1..=SHORT as u8).collect();
        for length in 0..=SHORT {
            let mut writer = Writer::new();
            writer.put_short(7, Short::of(&text[..length]).unwrap());
            let mut expected = vec![7, 0, 0, 0, length as u8, 0, 0, 0, 0, 0, 0, 0, length as u8, 0, 0, 0];
            expected.extend(&text[..length]);
            assert_eq!(writer.buf.bytes(), expected);
        }
        assert_eq!(Short::of(&[1; SHORT + 1]), None);
    }

    #[test]
    fn a_million_keys_get_the_verdict_of_the_rules() {
        let redaction = Redaction::default();
        let mut cache = KeyCache::new();
        for n in 0..1_000_000_u32 {
            let redacted = n % 7 == 0;
            let key = match n % 14 {
                0 => "pass_word".to_owned(),
                7 => "__X-Forwarded.For__".to_lowercase(),
                _ => format!("k{n}"),
            };
            let expected = redaction.name(&key);
            assert!(expected == redacted || n % 14 == 7, "{key}");
            assert_eq!(cache.redacted(Text::Utf8(&key), &redaction), expected, "{key}");
            if let Some(short) = Short::of(key.as_bytes()) {
                assert_eq!(cache.short(short, &key, &redaction), expected, "{key}");
            }
        }
    }
}

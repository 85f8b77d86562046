//! The outside host's record writer, written from the page of `record/layout.rs` and its constants alone: it shares no code
//! with `record/write.rs` and `capture/walk.rs`. What is a secret it asks the core ([`Judge`]), at each name.

use crate::value::{Id, Made, Node, Stored, World, bare};
use num_bigint::{BigInt, Sign};
use stroboscope_core::capture::limits::{
    LABEL_BYTES, Limits, MESSAGE, MESSAGE_BYTES, MESSAGE_LENGTH, SECTION_NAMES, STACK_FRAMES,
};
use stroboscope_core::clock::Clock;
use stroboscope_core::expr::eval::Failure;
use stroboscope_core::intake::Judge;
use stroboscope_core::record::layout as lay;
use stroboscope_core::text::Text;

/// What the header says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// The slot of the probe.
    pub slot: u32,
    /// Nanoseconds since the epoch.
    pub wall: u64,
    /// The event's id.
    pub event: [u8; 16],
}

/// Under which limits a value is written.
#[derive(Clone, Copy)]
struct Under {
    limits: Limits,
    message: bool,
}

/// One record.
pub struct Writer<'w> {
    world: &'w World,
    judge: &'w mut Judge,
    clock: &'w dyn Clock,
    deadline: u64,
    bytes: Vec<u8>,
    flags: u32,
    looked: u32,
    late: bool,
    names: usize,
    why: u8,
}

impl<'w> Writer<'w> {
    /// Begins a record of values of `world`. The time is over at `deadline`, coarse.
    pub fn new(world: &'w World, judge: &'w mut Judge, clock: &'w dyn Clock, deadline: u64, head: &Head) -> Self {
        let mut bytes = vec![0; lay::HEADER];
        bytes[lay::AT_MAGIC..][..4].copy_from_slice(&lay::MAGIC.to_le_bytes());
        bytes[lay::AT_LAYOUT..][..4].copy_from_slice(&lay::LAYOUT_HASH.to_le_bytes());
        bytes[lay::AT_PROBE..][..4].copy_from_slice(&head.slot.to_le_bytes());
        bytes[lay::AT_WALL..][..8].copy_from_slice(&head.wall.to_le_bytes());
        bytes[lay::AT_EVENT..][..16].copy_from_slice(&head.event);
        let (flags, looked, late, names, why) = (0, 0, false, 0, lay::REASON_NONE);
        Writer { world, judge, clock, deadline, bytes, flags, looked, late, names, why }
    }

    fn word(&mut self, tag: u8, argument: u32) {
        self.u32(u32::from(tag) | argument << 8);
    }

    fn u32(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes.extend(number.to_le_bytes());
    }

    fn size(&mut self, number: usize) {
        self.u64(u64::try_from(number).unwrap_or(u64::MAX));
    }

    fn count(&mut self, number: usize) {
        self.u32(u32::try_from(number).unwrap_or(u32::MAX));
    }

    fn set(&mut self, at: usize, number: u32) {
        self.bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
    }

    /// Text that stands where it is used: a length of 16 bits and UTF-8.
    fn inline(&mut self, text: &str) {
        let text = shortened(text, lay::MAX_INLINE);
        self.bytes.extend(u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    /// A name word; true if what has the name is withheld.
    fn name(&mut self, name: &str) -> bool {
        let (number, redacted) = self.judge.name(Text::Utf8(name));
        self.word(lay::ITEM_NAMED, number.unwrap_or(lay::INLINE));
        if number.is_none() {
            self.inline(name);
        }
        redacted
    }

    /// The value of a template's segment.
    pub fn template(&mut self, segment: u32, value: &Made) {
        if self.bytes.len() > lay::HARD_RECORD {
            self.flags |= lay::FLAG_FULL;
            return;
        }
        self.word(lay::ITEM_TEMPLATE, segment);
        self.made(value, Under { limits: MESSAGE, message: true }, 0);
    }

    /// A failure: of the condition, or of the segment or expression of an index.
    pub fn failure(&mut self, place: u8, index: u32, failure: &Failure) {
        if self.bytes.len() > lay::HARD_RECORD {
            self.flags |= lay::FLAG_FULL;
            return;
        }
        self.word(lay::ITEM_FAILURE, u32::from(place) | index << 8);
        let mut bytes = Vec::new();
        failure.encode(&mut bytes);
        self.count(bytes.len());
        self.bytes.extend(bytes);
    }

    /// This is an error event.
    pub fn mark_error(&mut self) {
        self.flags |= lay::FLAG_ERROR;
    }

    /// Opens the point of a line.
    pub fn line(&mut self, line: u32) {
        self.late = false;
        self.why = lay::REASON_NONE;
        self.word(lay::ITEM_POINT, lay::POINT_LINE.into());
        self.u32(line);
    }

    /// Opens a section.
    pub fn section(&mut self, section: u8) {
        self.names = 0;
        self.word(lay::ITEM_SECTION, section.into());
    }

    fn admits(&mut self) -> bool {
        if self.names == SECTION_NAMES {
            self.why = lay::REASON_FIELD_COUNT;
            return false;
        }
        if self.bytes.len() > lay::HARD_RECORD {
            self.why = lay::REASON_TIMEOUT;
            self.flags |= lay::FLAG_FULL;
            return false;
        }
        self.names += 1;
        true
    }

    /// A variable. False: the section takes no more.
    pub fn variable(&mut self, name: &str, value: Id, limits: Limits) -> bool {
        if !self.admits() {
            return false;
        }
        let redacted = self.name(name);
        self.value(value, redacted, Under { limits, message: false }, 0);
        true
    }

    /// A capture expression, whose name is the author's.
    pub fn expression(&mut self, name: &str, value: &Made, limits: Limits) {
        if self.admits() {
            self.word(lay::ITEM_NAMED, lay::INLINE);
            self.inline(name);
            self.made(value, Under { limits, message: false }, 0);
        }
    }

    /// A capture expression for which there was no time.
    pub fn not_reached(&mut self, name: &str) {
        if self.admits() {
            self.word(lay::ITEM_NAMED, lay::INLINE);
            self.inline(name);
            self.withheld(None, lay::REASON_TIMEOUT);
        }
    }

    /// Ends the point.
    pub fn end_point(&mut self) {
        self.word(lay::ITEM_END_POINT, self.why.into());
    }

    /// The stack, innermost first: file, function and line of each frame.
    pub fn stack(&mut self, frames: &[(&str, &str, u32)]) {
        let frames = &frames[..frames.len().min(STACK_FRAMES)];
        self.word(lay::ITEM_RAW_STACK, u32::try_from(frames.len()).unwrap_or(0));
        for (file, function, line) in frames {
            self.name(file);
            self.name(function);
            self.u32(*line);
            self.u32(0);
        }
    }

    /// Ends the record.
    pub fn finish(mut self) -> Vec<u8> {
        self.word(lay::ITEM_END, 0);
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.set(lay::AT_LENGTH, length);
        self.set(lay::AT_FLAGS, self.flags);
        self.bytes
    }

    /// One look at a value; true if the time or the room is over.
    fn over(&mut self) -> bool {
        self.looked += 1;
        if self.looked.is_multiple_of(64) && self.clock.coarse() >= self.deadline {
            self.late = true;
            self.flags |= lay::FLAG_TIMEOUT;
        }
        if self.full() {
            self.flags |= lay::FLAG_FULL;
        }
        self.late || self.full()
    }

    fn full(&self) -> bool {
        self.bytes.len() > lay::SOFT_RECORD
    }

    /// The word of a value of the world, with its type.
    fn typed(&mut self, tag: u8, id: Id) {
        let world = self.world;
        let class = world.classes.get(world.class_of(id) as usize);
        let number = class.map_or(lay::NO_TYPE, |class| class.number);
        self.word(tag, number);
        if number == lay::INLINE {
            let name = class.and_then(|class| class.names.first()).map_or("", String::as_str);
            self.inline(bare(name));
        }
    }

    /// What was left out, and what it would have been if only its tag tells its type.
    fn withheld(&mut self, value: Option<Id>, reason: u8) {
        let mut tag = lay::WITHHELD;
        match value {
            None => self.word(lay::WITHHELD, lay::NO_TYPE),
            Some(id) => {
                self.typed(lay::WITHHELD, id);
                if self.world.class_of(id) == 0 {
                    tag = self.tag(id);
                }
            }
        }
        self.bytes.extend([reason, tag]);
    }

    /// The node that a value reads as, and whether it changes while it is read.
    fn node(&self, id: Id) -> (&'w Node, bool) {
        match self.world.node(id) {
            Node::Typed { of, .. } | Node::Shown { of, .. } | Node::Extended { of, .. } => self.node(*of),
            Node::Changing(of) => (self.node(*of).0, true),
            node => (node, false),
        }
    }

    fn is_empty(&self, id: Id) -> bool {
        match self.node(id).0 {
            Node::List(members) | Node::Set(members) => members.is_empty(),
            Node::Map { entries, .. } => entries.is_empty(),
            _ => false,
        }
    }

    fn tag(&self, id: Id) -> u8 {
        match self.node(id).0 {
            Node::Undefined => lay::UNDEFINED,
            Node::Null => lay::NULL,
            Node::Bool(_) => lay::TRUE,
            Node::Int(_) => lay::INT,
            Node::Big { .. } => lay::BIG,
            Node::Float(_) => lay::FLOAT,
            Node::Complex(..) => lay::COMPLEX,
            Node::Decimal { .. } => lay::DECIMAL,
            Node::Str(text) => storage(text),
            Node::Bytes(_) => lay::BYTES,
            Node::List(_) => lay::LIST,
            Node::Set(_) => lay::SET,
            Node::Map { .. } => lay::MAP,
            Node::Object { .. } | Node::Named { .. } => lay::OBJECT,
            Node::Exception { .. } => lay::EXCEPTION,
            Node::Enum { .. } => lay::ENUM,
            Node::Function(_) => lay::FUNCTION,
            Node::Iterator => lay::ITERATOR,
            Node::Scalar { .. } => lay::SCALAR,
            // The rest never comes here: `node` reads through it.
            _ => lay::OPAQUE,
        }
    }

    /// A value of the world.
    fn value(&mut self, id: Id, redacted: bool, under: Under, level: u32) {
        let class = self.world.classes.get(self.world.class_of(id) as usize);
        if redacted {
            return self.withheld(Some(id), lay::REASON_REDACTED_IDENT);
        }
        if class.is_some_and(|class| class.redacted) {
            return self.withheld(Some(id), lay::REASON_REDACTED_TYPE);
        }
        if self.over() {
            return self.withheld(Some(id), lay::REASON_TIMEOUT);
        }
        match self.world.node(id) {
            // Captured by its text; in a message by what it reads as.
            Node::Shown { text, .. } if !under.message && !text.is_empty() => return self.label(lay::SCALAR, id, text),
            // A subclass without content of its base shows fields of its own.
            Node::Extended { of, fields, .. }
                if !under.message
                    && !fields.is_empty()
                    && self.is_empty(*of)
                    && level < under.limits.depth.min(lay::MAX_LEVELS) =>
            {
                return self.object(id, fields, &[], under, level);
            }
            _ => {}
        }
        match self.node(id).0 {
            Node::Bool(truth) => self.typed(if *truth { lay::TRUE } else { lay::FALSE }, id),
            Node::Int(value) => {
                self.typed(lay::INT, id);
                self.bytes.extend(value.to_le_bytes());
            }
            Node::Big { value, digits, bits } => {
                self.typed(lay::BIG, id);
                self.big(value.sign() == Sign::Minus, digits, *bits);
            }
            Node::Float(value) => {
                self.typed(lay::FLOAT, id);
                self.bytes.extend(value.to_le_bytes());
            }
            Node::Complex(real, imaginary) => {
                self.typed(lay::COMPLEX, id);
                self.bytes.extend(real.to_le_bytes());
                self.bytes.extend(imaginary.to_le_bytes());
            }
            Node::Decimal { negative, words, exponent, .. } => {
                self.typed(lay::DECIMAL, id);
                self.decimal(*negative, words, *exponent);
            }
            Node::Str(text) => {
                self.typed(storage(text), id);
                self.text(text, under, level);
            }
            Node::Bytes(bytes) => {
                self.typed(lay::BYTES, id);
                let limit = if under.message { MESSAGE_BYTES } else { under.limits.length as usize };
                let kept = &bytes[..bytes.len().min(limit).min(self.share())];
                self.size(bytes.len());
                self.count(kept.len());
                self.bytes.extend(kept);
            }
            Node::List(members) => self.list(lay::LIST, id, members, under, level),
            Node::Set(members) => self.list(lay::SET, id, members, under, level),
            Node::Named { fields, .. } if under.message => {
                self.typed(lay::LIST, id);
                self.children(fields.len(), false, under, level, |writer, index| {
                    let (name, id) = &fields[index];
                    let redacted = writer.judge.classify(Text::Utf8(name));
                    writer.value(*id, redacted, under, level + 1);
                });
            }
            Node::Map { entries, .. } => {
                self.typed(lay::MAP, id);
                let changing = self.node(id).1;
                self.children(entries.len(), changing, under, level, |writer, index| {
                    let (key, value) = entries[index];
                    writer.entry(key, value, under, level + 1);
                });
            }
            Node::Exception { message, .. } if under.message => {
                self.typed(lay::EXCEPTION, id);
                self.value(*message, false, under, level);
            }
            Node::Object { fields, getters, .. } | Node::Exception { fields, getters, .. } => {
                self.object(id, fields, getters, under, level);
            }
            Node::Named { fields, .. } => self.object(id, fields, &[], under, level),
            Node::Enum { name, .. } => {
                let name = match self.world.node(*name) {
                    Node::Str(text) => text.text().to_text(),
                    _ => String::new(),
                };
                self.label(lay::ENUM, id, &name);
            }
            Node::Function(name) => self.label(lay::FUNCTION, id, name),
            Node::Scalar { text, .. } => self.label(lay::SCALAR, id, text),
            Node::Iterator => self.label(lay::ITERATOR, id, ""),
            _ => self.typed(self.tag(id), id),
        }
    }

    /// A value of the world, or one that an expression made.
    fn made(&mut self, value: &Made, under: Under, level: u32) {
        if let Made::Node(id) = value {
            return self.value(*id, false, under, level);
        }
        if self.over() {
            return self.withheld(None, lay::REASON_TIMEOUT);
        }
        match value {
            Made::Node(_) | Made::Null => self.word(lay::NULL, lay::NO_TYPE),
            Made::Bool(truth) => self.word(if *truth { lay::TRUE } else { lay::FALSE }, lay::NO_TYPE),
            Made::Int(value) => self.integer(value),
            Made::Float(value) => {
                self.word(lay::FLOAT, lay::NO_TYPE);
                self.bytes.extend(value.to_le_bytes());
            }
            Made::Str(text) => {
                self.word(lay::STR_UTF8, lay::NO_TYPE);
                self.text(&Stored::Utf8(text.clone()), under, level);
            }
            Made::List(members) => {
                self.word(lay::LIST, lay::NO_TYPE);
                self.children(members.len(), false, under, level, |writer, index| {
                    writer.made(&members[index], under, level + 1);
                });
            }
            Made::Set(members) => {
                self.word(lay::SET, lay::NO_TYPE);
                self.children(members.len(), false, under, level, |writer, index| {
                    writer.value(members[index], false, under, level + 1);
                });
            }
            Made::Map(entries) => {
                self.word(lay::MAP, lay::NO_TYPE);
                self.children(entries.len(), false, under, level, |writer, index| {
                    writer.entry(entries[index].0, entries[index].1, under, level + 1);
                });
            }
        }
    }

    fn integer(&mut self, value: &BigInt) {
        if let Ok(value) = i64::try_from(value) {
            self.word(lay::INT, lay::NO_TYPE);
            self.bytes.extend(value.to_le_bytes());
        } else {
            self.word(lay::BIG, lay::NO_TYPE);
            let digits: Vec<u32> = value.magnitude().iter_u32_digits().collect();
            self.big(value.sign() == Sign::Minus, &digits, 32);
        }
    }

    fn big(&mut self, negative: bool, digits: &[u32], width: u8) {
        let used = digits.iter().rposition(|digit| *digit != 0).map_or(0, |last| last + 1);
        let top = digits[..used].last().map_or(0, |top| 32 - top.leading_zeros());
        let bits = (used as u64).saturating_sub(1) * u64::from(width) + u64::from(top);
        // Of a very long one only the first hexadecimal digits are shown.
        let low = if bits > lay::HUGE_BITS { (bits.div_ceil(4) - lay::HUGE_DIGITS) * 4 } else { 0 };
        let dropped = usize::try_from(low / u64::from(width)).unwrap_or(0);
        self.bytes.extend([u8::from(negative), width]);
        self.u64(bits);
        self.count(dropped);
        self.count(used - dropped);
        for digit in &digits[dropped..used] {
            self.u32(*digit);
        }
    }

    fn decimal(&mut self, negative: bool, words: &[u64], exponent: i64) {
        let used = words.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        let dropped = used.saturating_sub(lay::DECIMAL_WORDS);
        self.bytes.push(u8::from(negative));
        self.bytes.extend(exponent.to_le_bytes());
        self.count(dropped);
        self.count(used - dropped);
        for word in &words[dropped..used] {
            self.u64(*word);
        }
    }

    fn label(&mut self, tag: u8, id: Id, text: &str) {
        self.typed(tag, id);
        let text = shortened(text, LABEL_BYTES);
        self.count(text.len());
        self.bytes.extend(text.as_bytes());
    }

    /// What one text, or bytes, takes of the record at most.
    fn share(&self) -> usize {
        lay::SOFT_RECORD.saturating_sub(self.bytes.len()) / 4
    }

    /// The true length, and what the limit leaves of the text. Messages count code points, captures the host's units.
    fn text(&mut self, text: &Stored, under: Under, level: u32) {
        let limit = match (under.message, level) {
            (true, 0) => MESSAGE_LENGTH,
            (true, _) => MESSAGE.length as usize,
            (false, _) => under.limits.length as usize,
        };
        let limit = limit.min(self.share());
        match text {
            Stored::Utf8(text) => {
                self.size(text.chars().count());
                let kept: String = text.chars().take(limit).collect();
                self.count(kept.len());
                self.bytes.extend(kept.as_bytes());
            }
            Stored::Latin1(units) => self.units(units.len(), &units[..units.len().min(limit)], |unit| [*unit]),
            Stored::Ucs2(units) => {
                self.units(units.len(), &units[..units.len().min(limit)], |unit| unit.to_le_bytes());
            }
            Stored::Ucs4(units) => {
                self.units(units.len(), &units[..units.len().min(limit)], |unit| unit.to_le_bytes());
            }
            Stored::Utf16(units) => {
                let (total, kept) = first_of_utf16(units, limit, under.message);
                self.units(total, &units[..kept], |unit| unit.to_le_bytes());
            }
        }
    }

    fn units<T, const N: usize>(&mut self, total: usize, kept: &[T], bytes: impl Fn(&T) -> [u8; N]) {
        self.size(total);
        self.count(kept.len() * N);
        self.bytes.extend(kept.iter().flat_map(bytes));
    }

    fn list(&mut self, tag: u8, id: Id, members: &[Id], under: Under, level: u32) {
        self.typed(tag, id);
        let changing = self.node(id).1;
        self.children(members.len(), changing, under, level, |writer, index| {
            writer.value(members[index], false, under, level + 1);
        });
    }

    /// The true size, the end word, and the children that the limits allow.
    fn children(
        &mut self,
        len: usize,
        changing: bool,
        under: Under,
        level: u32,
        mut child: impl FnMut(&mut Self, usize),
    ) {
        self.size(len);
        let end = self.bytes.len();
        self.u32(0);
        let most = (under.limits.elements as usize).min(len);
        if level >= under.limits.depth.min(lay::MAX_LEVELS) {
            let empty = under.message && len == 0;
            return self.end(end, 0, if empty { lay::REASON_NONE } else { lay::REASON_DEPTH });
        }
        let mut reason = if most < len { lay::REASON_COLLECTION_SIZE } else { lay::REASON_NONE };
        let mut count = 0;
        while count < most {
            if self.late || self.full() {
                reason = lay::REASON_TIMEOUT;
                break;
            }
            child(self, count);
            count += 1;
        }
        if changing && most > 0 {
            self.bytes.truncate(end + 4);
            return self.end(end, 0, lay::REASON_CHANGED);
        }
        self.end(end, count, reason);
    }

    fn end(&mut self, at: usize, count: usize, reason: u8) {
        self.set(at, u32::try_from(count).unwrap_or(0) | u32::from(reason) << 24);
    }

    fn entry(&mut self, key: Id, value: Id, under: Under, level: u32) {
        let redacted = match self.node(key).0 {
            Node::Str(text) => self.judge.classify(text.text()),
            Node::Bytes(bytes) => self.judge.classify_bytes(bytes),
            Node::Enum { name, .. } => match self.node(*name).0 {
                Node::Str(name) => self.judge.classify(name.text()),
                _ => false,
            },
            _ => false,
        };
        self.value(key, false, under, level);
        self.value(value, redacted, under, level);
    }

    fn object(&mut self, id: Id, fields: &[(String, Id)], getters: &[String], under: Under, level: u32) {
        self.typed(lay::OBJECT, id);
        let end = self.bytes.len();
        self.u32(0);
        if level >= under.limits.depth.min(lay::MAX_LEVELS) {
            let empty = under.message && fields.is_empty();
            return self.end(end, 0, if empty { lay::REASON_NONE } else { lay::REASON_DEPTH });
        }
        let shows_getters = self.world.dialect == crate::value::Dialect::Node && !under.message;
        let getters = if shows_getters { getters } else { &[] };
        let all = fields.iter().map(|(name, id)| (name, Some(*id))).chain(getters.iter().map(|name| (name, None)));
        let (mut count, mut reason) = (0, lay::REASON_NONE);
        for (name, field) in all {
            if count == under.limits.fields as usize {
                reason = lay::REASON_FIELD_COUNT;
                break;
            }
            if self.late || self.full() {
                reason = lay::REASON_TIMEOUT;
                break;
            }
            count += 1;
            let redacted = self.name(name);
            match field.map(|id| (id, self.world.node(id))) {
                Some((_, Node::Unreadable)) if !redacted => {
                    self.withheld(None, lay::REASON_TEXT);
                    self.inline("the field is not readable");
                }
                None if !redacted => self.word(lay::COMPUTED, lay::NO_TYPE),
                None | Some((_, Node::Unreadable)) => self.withheld(None, lay::REASON_REDACTED_IDENT),
                Some((id, _)) => self.value(id, redacted, under, level + 1),
            }
        }
        if self.node(id).1 {
            self.bytes.truncate(end + 4);
            return self.end(end, 0, lay::REASON_CHANGED);
        }
        self.end(end, count, reason);
    }
}

fn storage(text: &Stored) -> u8 {
    match text {
        Stored::Utf8(_) => lay::STR_UTF8,
        Stored::Latin1(_) => lay::STR_LATIN1,
        Stored::Ucs2(_) => lay::STR_UCS2,
        Stored::Ucs4(_) => lay::STR_UCS4,
        Stored::Utf16(_) => lay::STR_UTF16,
    }
}

/// The true length of UTF-16 and the units to keep: whole code points only.
fn first_of_utf16(units: &[u16], limit: usize, points: bool) -> (usize, usize) {
    let mut at = 0;
    let mut kept = 0;
    let mut seen = 0;
    while at < units.len() {
        let pair = (0xD800..0xDC00).contains(&units[at])
            && units.get(at + 1).is_some_and(|unit| (0xDC00..0xE000).contains(unit));
        let width = if pair { 2 } else { 1 };
        seen += 1;
        at += width;
        if (if points { seen } else { at }) <= limit {
            kept = at;
        }
    }
    (if points { seen } else { units.len() }, kept)
}

/// A text of at most so many bytes; one that is cut ends with three dots in one letter.
fn shortened(text: &str, most: usize) -> std::borrow::Cow<'_, str> {
    const DOTS: &str = "…";
    if text.len() <= most {
        return text.into();
    }
    let mut end = most - DOTS.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{DOTS}", &text[..end]).into()
}

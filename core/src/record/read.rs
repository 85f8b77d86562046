//! Reads a record: untrusted bytes, since outside hosts write them too. It stands on the walk of a hit, on the worker:
//! the ring or `intake.rs` come before, [`crate::emit`] after. Every length is checked; nothing here panics.
//!
//! A [`Reader`] is a cursor. [`Reader::item`] gives the next item; where the item or a container says that values follow,
//! the caller reads each by [`Reader::value`] or passes it by [`Reader::skip`].

use super::layout as lay;
use super::write::{Place, Point};
use crate::error::{Error, ErrorKind, Result};
use crate::text::Text;

/// Levels that a reader goes down. Writers open at most [`lay::MAX_LEVELS`], their values stand one level deeper.
const MAX_DEPTH: u32 = lay::MAX_LEVELS + 2;

/// The header, as in [`super::write::Header`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the writer's header")]
pub struct RecordHeader {
    pub probe: u32,
    pub revision: u64,
    pub wall: u64,
    pub monotonic: u64,
    pub event_id: [u8; 16],
    pub thread: u64,
    pub thread_name: u32,
    pub trace_id: u128,
    pub span_id: u64,
    pub duration: Option<u64>,
    /// An evaluation-error event.
    pub error: bool,
    /// The record reached its largest size.
    pub full: bool,
    /// The time of the capture ran out.
    pub timed_out: bool,
}

/// A name or type: a number in the session's tables, or text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRef<'r> {
    /// The language's own name; types only.
    Implied,
    /// A number.
    Id(u32),
    /// Text.
    Text(&'r str),
}

/// One item of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'r> {
    /// A value of the template follows.
    Template(u32),
    /// An expression failed; the bytes are its failure's.
    Failure(Place, &'r [u8]),
    /// A capture point begins.
    Point(Point),
    /// A section of it begins; the code is `SECTION_…`.
    Section(u8),
    /// A variable of it; its value follows.
    Named(NameRef<'r>),
    /// The point's exception: the value of its message follows, then a stack.
    Throwable(NameRef<'r>),
    /// The capture point ends; the code is `REASON_…`.
    EndPoint(u8),
    /// A stack of so many frames; each is read by [`Reader::frame`].
    Stack {
        /// How many.
        count: u32,
        /// True if the frames are given by name.
        raw: bool,
    },
}

/// A frame of a stack.
#[derive(Clone, Copy, Debug)]
pub enum FrameRef<'r> {
    /// The host describes it.
    Host(crate::host::StackFrame),
    /// It describes itself.
    Raw {
        /// The file.
        file: NameRef<'r>,
        /// The function.
        function: NameRef<'r>,
        /// The line, from 1; 0: unknown.
        line: u32,
        /// The column, from 1; 0: unknown.
        column: u32,
    },
}

/// Text in the storage of the host that wrote it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stored<'r> {
    /// UTF-8.
    Utf8(&'r str),
    /// Latin-1.
    Latin1(&'r [u8]),
    /// UCS-2, little-endian.
    Ucs2(&'r [u8]),
    /// UCS-4, little-endian.
    Ucs4(&'r [u8]),
    /// UTF-16, little-endian.
    Utf16(&'r [u8]),
}

impl Stored<'_> {
    /// Lends the text to `read`, in aligned units.
    pub fn with<T>(self, read: impl FnOnce(Text<'_>) -> T) -> T {
        fn twos(bytes: &[u8]) -> Vec<u16> {
            bytes
                .chunks_exact(2)
                .map(|two| two.iter().rev().fold(0, |unit, byte| unit << 8 | u16::from(*byte)))
                .collect()
        }
        fn fours(bytes: &[u8]) -> Vec<u32> {
            bytes
                .chunks_exact(4)
                .map(|four| four.iter().rev().fold(0, |unit, byte| unit << 8 | u32::from(*byte)))
                .collect()
        }
        match self {
            Stored::Utf8(text) => read(Text::Utf8(text)),
            Stored::Latin1(bytes) => read(Text::Latin1(bytes)),
            Stored::Ucs2(bytes) => read(Text::Ucs2(&twos(bytes))),
            Stored::Ucs4(bytes) => read(Text::Ucs4(&fours(bytes))),
            Stored::Utf16(bytes) => read(Text::Utf16(&twos(bytes))),
        }
    }

    /// Units of the storage.
    pub fn units(self) -> usize {
        match self {
            Stored::Utf8(text) => text.chars().count(),
            Stored::Latin1(bytes) => bytes.len(),
            Stored::Ucs2(bytes) | Stored::Utf16(bytes) => bytes.len() / 2,
            Stored::Ucs4(bytes) => bytes.len() / 4,
        }
    }
}

/// What a container says of its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Children {
    /// How many follow (of a map: pairs).
    pub count: u32,
    /// `REASON_…` why there are not more.
    pub reason: u8,
}

/// The content of a value; children of containers are read next.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the variants are the tags of `layout.rs`")]
pub enum Content<'r> {
    Undefined,
    Null,
    Bool(bool),
    Int(i64),
    Big {
        negative: bool,
        width: u8,
        bits: u64,
        dropped: u32,
        digits: &'r [u8],
    },
    Float(f64),
    Complex(f64, f64),
    Decimal {
        negative: bool,
        exponent: i64,
        dropped: u32,
        words: &'r [u8],
    },
    Str {
        text: Stored<'r>,
        size: u64,
    },
    Bytes {
        bytes: &'r [u8],
        size: u64,
    },
    List {
        size: u64,
        children: Children,
    },
    Set {
        size: u64,
        children: Children,
    },
    Map {
        size: u64,
        children: Children,
    },
    Object(Children),
    Exception,
    Enum(&'r str),
    Function(&'r str),
    Iterator(&'r str),
    Scalar(&'r str),
    Opaque,
    Computed,
    /// Left out: why, and the tag of what was left out. The text is there for `REASON_TEXT` only.
    Withheld {
        reason: u8,
        kind: u8,
        text: &'r str,
    },
    /// Told by its type alone, and what `bits` (`SEALED_…`) says is there.
    Sealed {
        kind: u8,
        bits: u8,
        hash: u64,
        size: u64,
    },
}

/// A value: its tag, its type, its content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Node<'r> {
    /// The tag, for the language's own type name.
    pub tag: u8,
    /// The type.
    pub type_name: NameRef<'r>,
    /// The content.
    pub content: Content<'r>,
}

/// The cursor.
#[derive(Clone, Debug)]
pub struct Reader<'r> {
    bytes: &'r [u8],
    /// What was not read yet: the end of `bytes`.
    rest: &'r [u8],
}

#[cold]
fn bad(what: &str, at: usize) -> Error {
    Error::new(ErrorKind::BadRecord, format!("bad record: {what} at byte {at}"))
}

#[cold]
fn wrong_layout(layout: u32) -> Error {
    let text = format!("bad record: written for layout {layout:08x}, this is {:08x}", lay::LAYOUT_HASH);
    Error::new(ErrorKind::BadRecord, text)
}

/// Bytes at a known place of some, the header's for instance.
#[inline]
fn field<const N: usize, const OF: usize>(head: &[u8; OF], at: usize) -> [u8; N] {
    head.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

/// The slot of the probe that a record belongs to. The rest of the record is not looked at.
#[inline]
pub fn probe_of(record: &[u8]) -> Option<u32> {
    record.get(lay::AT_PROBE..)?.first_chunk().copied().map(u32::from_le_bytes)
}

impl<'r> Reader<'r> {
    /// Checks the header and stands before the first item.
    #[inline]
    pub fn new(bytes: &'r [u8]) -> Result<(RecordHeader, Self)> {
        let Some((head, rest)) =
            bytes.split_first_chunk::<{ lay::HEADER }>().filter(|_| bytes.len() <= lay::MAX_RECORD)
        else {
            return Err(Error::new(ErrorKind::BadRecord, format!("bad record: {} bytes", bytes.len())));
        };
        let (u32_at, u64_at) = (|at| u32::from_le_bytes(field(head, at)), |at| u64::from_le_bytes(field(head, at)));
        if u32_at(lay::AT_MAGIC) != lay::MAGIC {
            return Err(bad("wrong magic", lay::AT_MAGIC));
        }
        let layout = u32_at(lay::AT_LAYOUT);
        if layout != lay::LAYOUT_HASH {
            return Err(wrong_layout(layout));
        }
        if u32_at(lay::AT_LENGTH) as usize != bytes.len() {
            return Err(bad("wrong length", lay::AT_LENGTH));
        }
        let flags = u32_at(lay::AT_FLAGS);
        let header = RecordHeader {
            probe: u32_at(lay::AT_PROBE),
            revision: u64_at(lay::AT_REVISION),
            wall: u64_at(lay::AT_WALL),
            monotonic: u64_at(lay::AT_MONOTONIC),
            event_id: field(head, lay::AT_EVENT),
            thread: u64_at(lay::AT_THREAD),
            thread_name: u32_at(lay::AT_THREAD_NAME),
            trace_id: u128::from(u64_at(lay::AT_TRACE_HIGH)) << 64 | u128::from(u64_at(lay::AT_TRACE_LOW)),
            span_id: u64_at(lay::AT_SPAN),
            duration: (flags & lay::FLAG_DURATION != 0).then_some(u64_at(lay::AT_DURATION)),
            error: flags & lay::FLAG_ERROR != 0,
            full: flags & lay::FLAG_FULL != 0,
            timed_out: flags & lay::FLAG_TIMEOUT != 0,
        };
        Ok((header, Reader { bytes, rest }))
    }

    /// A cursor before a value that stands alone.
    #[must_use]
    pub fn of_value(bytes: &'r [u8]) -> Self {
        Reader { bytes, rest: bytes }
    }

    /// A cursor before the value that begins at `at`, a place that [`Reader::at`] gave.
    #[must_use]
    pub fn from(&self, at: usize) -> Self {
        Reader { bytes: self.bytes, rest: self.bytes.get(at..).unwrap_or_default() }
    }

    /// Where the cursor stands.
    #[inline]
    pub fn at(&self) -> usize {
        self.bytes.len() - self.rest.len()
    }

    /// The next item; `None` at the end.
    #[inline]
    pub fn item(&mut self) -> Result<Option<Item<'r>>> {
        let at = self.at();
        let word = self.u32()?;
        let argument = lay::argument_of(word);
        Ok(Some(match lay::tag_of(word) {
            lay::ITEM_TEMPLATE => Item::Template(argument),
            lay::ITEM_FAILURE => {
                let length = self.u32()? as usize;
                let place = Place::from_argument(argument).ok_or_else(|| bad("unknown place", at))?;
                Item::Failure(place, self.take(length)?)
            }
            lay::ITEM_POINT => {
                let line = self.u32()?;
                Item::Point(match argument as u8 {
                    lay::POINT_ENTRY => Point::Entry,
                    lay::POINT_RETURN => Point::Return,
                    lay::POINT_LINE => Point::Line(line),
                    _ => return Err(bad("unknown point", at)),
                })
            }
            lay::ITEM_SECTION if argument <= u32::from(lay::SECTION_EXPRESSIONS) => Item::Section(argument as u8),
            lay::ITEM_NAMED => Item::Named(self.name_of(argument)?),
            lay::ITEM_THROWABLE => Item::Throwable(self.name_of(argument)?),
            lay::ITEM_END_POINT => Item::EndPoint(argument as u8),
            lay::ITEM_STACK => Item::Stack { count: argument, raw: false },
            lay::ITEM_RAW_STACK => Item::Stack { count: argument, raw: true },
            lay::ITEM_END if self.rest.is_empty() => return Ok(None),
            _ => return Err(bad("unknown item", at)),
        }))
    }

    /// The segment whose value is next, if an item says so.
    #[inline]
    pub fn template(&mut self) -> Result<Option<u32>> {
        let mut ahead = self.clone();
        let word = ahead.u32()?;
        if lay::tag_of(word) != lay::ITEM_TEMPLATE {
            return Ok(None);
        }
        *self = ahead;
        Ok(Some(lay::argument_of(word)))
    }

    /// The next value, if it is an integer whose type is not spelled out.
    #[inline]
    pub fn plain_int(&mut self) -> Result<Option<i64>> {
        let mut ahead = self.clone();
        let word = ahead.u32()?;
        if lay::tag_of(word) != lay::INT || lay::argument_of(word) == lay::INLINE {
            return Ok(None);
        }
        let int = ahead.int()?;
        *self = ahead;
        Ok(Some(int))
    }

    /// A frame of the stack just announced.
    pub fn frame(&mut self, raw: bool) -> Result<FrameRef<'r>> {
        if !raw {
            return Ok(FrameRef::Host(crate::host::StackFrame { code: self.u32()?, position: self.u32()? }));
        }
        Ok(FrameRef::Raw { file: self.name()?, function: self.name()?, line: self.u32()?, column: self.u32()? })
    }

    /// The bytes of so many frames that are not raw, as a key for the whole stack.
    #[inline]
    pub fn frames(&mut self, count: u32) -> Result<&'r [u8]> {
        self.times(count, 8)
    }

    /// A cursor before bytes that were just taken.
    #[must_use]
    pub fn before(&self, taken: &[u8]) -> Self {
        self.from(self.at() - taken.len())
    }

    /// The name of a field, inside an object.
    pub fn name(&mut self) -> Result<NameRef<'r>> {
        let argument = self.name_argument()?;
        self.name_of(argument)
    }

    /// The same as the argument of its word; if that says so, [`Reader::inline_of`] has the text.
    #[inline]
    pub fn name_argument(&mut self) -> Result<u32> {
        let word = self.u32()?;
        if lay::tag_of(word) != lay::ITEM_NAMED {
            return Err(bad("a name is missing", self.at() - 4));
        }
        Ok(lay::argument_of(word))
    }

    /// The next value, without its children.
    pub fn value(&mut self) -> Result<Node<'r>> {
        let word = self.head()?;
        let (tag, argument) = (lay::tag_of(word), lay::argument_of(word));
        let type_name = name_ref(argument, self.inline_of(argument)?);
        Ok(Node { tag, type_name, content: self.content(tag)? })
    }

    /// The word of the next value. If its argument says so, [`Reader::inline_of`] has the type's name; the content is
    /// read next, by the method for the tag or by [`Reader::content`].
    #[inline]
    pub fn head(&mut self) -> Result<u32> {
        self.u32()
    }

    /// The text of a name or type that stands inline; empty if the argument is none that says so.
    #[inline]
    pub fn inline_of(&mut self, argument: u32) -> Result<&'r str> {
        if argument == lay::INLINE { self.inline() } else { Ok("") }
    }

    /// The content of a value whose tag was read.
    pub fn content(&mut self, tag: u8) -> Result<Content<'r>> {
        let at = self.at();
        Ok(match tag {
            lay::UNDEFINED => Content::Undefined,
            lay::NULL => Content::Null,
            lay::FALSE => Content::Bool(false),
            lay::TRUE => Content::Bool(true),
            lay::INT => Content::Int(self.int()?),
            lay::BIG => {
                let [negative, width] = self.array()?;
                if !(1..=32).contains(&width) {
                    return Err(bad("digits of a wrong width", at));
                }
                let (bits, dropped, count) = (self.u64()?, self.u32()?, self.u32()?);
                Content::Big { negative: negative != 0, width, bits, dropped, digits: self.times(count, 4)? }
            }
            lay::FLOAT => Content::Float(self.float()?),
            lay::COMPLEX => Content::Complex(self.float()?, self.float()?),
            lay::DECIMAL => {
                let [negative] = self.array()?;
                let exponent = self.int()?;
                let (dropped, count) = (self.u32()?, self.u32()?);
                Content::Decimal { negative: negative != 0, exponent, dropped, words: self.times(count, 8)? }
            }
            lay::STR_UTF8..=lay::STR_UTF16 => {
                let (bytes, size) = self.cut_bytes()?;
                Content::Str { text: stored(tag, bytes, at)?, size }
            }
            lay::BYTES => {
                let (bytes, size) = self.cut_bytes()?;
                Content::Bytes { bytes, size }
            }
            lay::LIST => Content::List { size: self.size()?, children: self.children()? },
            lay::SET => Content::Set { size: self.size()?, children: self.children()? },
            lay::MAP => Content::Map { size: self.size()?, children: self.children()? },
            lay::OBJECT => Content::Object(self.children()?),
            lay::EXCEPTION => Content::Exception,
            lay::ENUM => Content::Enum(self.label()?),
            lay::FUNCTION => Content::Function(self.label()?),
            lay::ITERATOR => Content::Iterator(self.label()?),
            lay::SCALAR => Content::Scalar(self.label()?),
            lay::OPAQUE => Content::Opaque,
            lay::COMPUTED => Content::Computed,
            lay::WITHHELD => {
                let [reason, kind] = self.array()?;
                let text = if reason == lay::REASON_TEXT { self.inline()? } else { "" };
                Content::Withheld { reason, kind, text }
            }
            lay::SEALED => {
                let [kind, bits] = self.array()?;
                Content::Sealed { kind, bits, hash: self.u64()?, size: self.u64()? }
            }
            _ => return Err(bad("unknown value", at)),
        })
    }

    /// The content of an `INT`.
    #[inline]
    pub fn int(&mut self) -> Result<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// The content of a `FLOAT`.
    #[inline]
    pub fn float(&mut self) -> Result<f64> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// The content of a string or of `BYTES`: what was kept, and the true length. A string is still unchecked: see
    /// [`stored`].
    #[inline]
    pub fn cut_bytes(&mut self) -> Result<(&'r [u8], u64)> {
        let size = self.u64()?;
        let length = self.u32()? as usize;
        Ok((self.take(length)?, size))
    }

    /// The same, and all that is left of the record from the first byte on: short texts are copied by width.
    #[inline]
    pub fn cut_bytes_ahead(&mut self) -> Result<(&'r [u8], &'r [u8], u64)> {
        let sizes = self.array::<12>()?;
        let (size, length) = (u64::from_le_bytes(field(&sizes, 0)), u32::from_le_bytes(field(&sizes, 8)));
        let ahead = self.rest;
        Ok((self.take(length as usize)?, ahead, size))
    }

    /// The size of a list, a set or a map.
    #[inline]
    pub fn size(&mut self) -> Result<u64> {
        self.u64()
    }

    /// The end word of a container.
    #[inline]
    pub fn children(&mut self) -> Result<Children> {
        let word = self.u32()?;
        Ok(Children { count: word & 0xFF_FFFF, reason: (word >> 24) as u8 })
    }

    /// The tag of the next value or item.
    #[inline]
    pub fn next_tag(&self) -> Result<u8> {
        Ok(lay::tag_of(self.clone().u32()?))
    }

    /// Passes a value with its children.
    pub fn skip(&mut self) -> Result<()> {
        self.skip_at(0)
    }

    fn skip_at(&mut self, depth: u32) -> Result<()> {
        self.check_depth(depth)?;
        let word = self.head()?;
        self.inline_of(lay::argument_of(word))?;
        let (values, fields) = match lay::tag_of(word) {
            lay::NULL | lay::FALSE | lay::TRUE => (0, 0),
            lay::INT | lay::FLOAT => {
                self.u64()?;
                (0, 0)
            }
            tag => match self.content(tag)? {
                Content::List { children, .. } | Content::Set { children, .. } => (children.count, 0),
                // Of a map each child is a pair; 24 bits cannot overflow by it.
                Content::Map { children, .. } => (children.count * 2, 0),
                Content::Object(children) => (0, children.count),
                Content::Exception => (1, 0),
                _ => (0, 0),
            },
        };
        for _ in 0..values {
            self.skip_at(depth + 1)?;
        }
        for _ in 0..fields {
            self.name()?;
            self.skip_at(depth + 1)?;
        }
        Ok(())
    }

    /// Whoever goes down into children calls this: a record may claim any nesting.
    pub fn check_depth(&self, depth: u32) -> Result<()> {
        if depth > MAX_DEPTH { Err(bad("nested too deeply", self.at())) } else { Ok(()) }
    }

    #[inline]
    fn name_of(&mut self, argument: u32) -> Result<NameRef<'r>> {
        Ok(name_ref(argument, self.inline_of(argument)?))
    }

    #[cold]
    fn inline(&mut self) -> Result<&'r str> {
        let at = self.at();
        let length = u16::from_le_bytes(self.array()?);
        utf8(self.take(usize::from(length))?, at)
    }

    fn label(&mut self) -> Result<&'r str> {
        let at = self.at();
        let length = self.u32()? as usize;
        utf8(self.take(length)?, at)
    }

    #[inline]
    fn times(&mut self, count: u32, each: usize) -> Result<&'r [u8]> {
        self.take((count as usize).saturating_mul(each))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'r [u8]> {
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else { return Err(bad("cut off", self.at())) };
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else { return Err(bad("cut off", self.at())) };
        self.rest = rest;
        Ok(*bytes)
    }

    #[inline]
    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    #[inline]
    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

/// The argument of a name's word and the text that stands inline.
pub fn argument_of(name: NameRef<'_>) -> (u32, &str) {
    match name {
        NameRef::Implied => (lay::NO_TYPE, ""),
        NameRef::Text(text) => (lay::INLINE, text),
        NameRef::Id(id) => (id, ""),
    }
}

/// What an argument stands for, with the text that stands inline.
pub fn name_ref(argument: u32, text: &str) -> NameRef<'_> {
    match argument {
        lay::NO_TYPE => NameRef::Implied,
        lay::INLINE => NameRef::Text(text),
        id => NameRef::Id(id),
    }
}

/// The text of a string of a tag, which begins at `at`.
pub fn stored(tag: u8, bytes: &[u8], at: usize) -> Result<Stored<'_>> {
    Ok(match tag {
        lay::STR_UTF8 => Stored::Utf8(utf8(bytes, at)?),
        lay::STR_LATIN1 => Stored::Latin1(bytes),
        lay::STR_UCS2 => Stored::Ucs2(bytes),
        lay::STR_UCS4 => Stored::Ucs4(bytes),
        _ => Stored::Utf16(bytes),
    })
}

fn utf8(bytes: &[u8], at: usize) -> Result<&str> {
    std::str::from_utf8(bytes).map_err(|_| bad("text is not UTF-8", at))
}

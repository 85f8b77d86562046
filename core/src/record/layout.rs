//! The one definition of the capture record: header fields, tags, marker codes. It stands on the walk of a hit: writers
//! (`write.rs`, and those of outside hosts, whose constants are generated from [`CONSTANTS`]) come before, `read.rs` after.
//!
//! # How to write a writer
//!
//! A record is a header of [`HEADER`] bytes and then *items*. Every number is little-endian. Nothing is aligned.
//!
//! An item begins with a *word*: 32 bits, the tag in the low 8, an argument in the other 24.
//!
//! | item | argument | then |
//! | --- | --- | --- |
//! | `ITEM_TEMPLATE` | index of the template's segment | a value, written under the limits of messages |
//! | `ITEM_FAILURE` | place (8 bits, `PLACE_…`), index (16 bits) | u32 length, so many bytes: an encoded failure |
//! | `ITEM_POINT` | `POINT_…` | u32 line (0 for entry and return) |
//! | `ITEM_SECTION` | `SECTION_…` | – |
//! | `ITEM_NAMED` | a name | a value; belongs to the section before it |
//! | `ITEM_THROWABLE` | a type | a value (string or null): the message; then an `ITEM_STACK` or `ITEM_RAW_STACK` |
//! | `ITEM_END_POINT` | `REASON_…` why the point is incomplete, else 0 | – |
//! | `ITEM_STACK` | number of frames | each: u32 code, u32 position |
//! | `ITEM_RAW_STACK` | number of frames | each: name word (file), name word (function), u32 line, u32 column |
//! | `ITEM_END` | – | the end; the record has no byte after it |
//!
//! Items come in this order: templates and failures, points (each with its sections and named values, ended by
//! `ITEM_END_POINT`, and behind it the failures of its expressions), the stack, the end.
//!
//! A *name word* is `ITEM_NAMED` with an index of the name table, or with [`INLINE`]: then u16 length and UTF-8 follow. A
//! name or label that is longer than it may be is cut and ends with `…`.
//!
//! A value begins with a word too: the tag, and as argument the type: an index of the type table, or [`NO_TYPE`] where
//! the language's own name for the tag is right, or [`INLINE`]: then u16 length and UTF-8 follow at once.
//!
//! | value | then |
//! | --- | --- |
//! | `UNDEFINED`, `NULL`, `FALSE`, `TRUE`, `OPAQUE`, `COMPUTED` | – |
//! | `INT` | i64 |
//! | `BIG` | u8 negative, u8 bits of a digit (1 to 32), u64 bits of the magnitude, u32 low digits left out, u32 count, u32 digits, least significant first |
//! | `FLOAT` | f64 |
//! | `COMPLEX` | f64, f64 |
//! | `DECIMAL` | u8 negative, i64 exponent, u32 low words left out, u32 count, u64 words below 10^19, least significant first |
//! | `STR_UTF8`, `STR_LATIN1`, `STR_UCS2`, `STR_UCS4`, `STR_UTF16` | u64 true length, u32 bytes kept, the bytes |
//! | `BYTES` | u64 true length, u32 bytes kept, the bytes |
//! | `LIST`, `SET`, `MAP` | u64 true size, end word, then the elements, or key and value in turn |
//! | `OBJECT` | end word, then name word and value in turn |
//! | `EXCEPTION` | a value: the message, or null. Only in templates |
//! | `ENUM`, `FUNCTION`, `ITERATOR`, `SCALAR` | u32 bytes, UTF-8: the member's name, the qualified name, the text |
//! | `SEALED` | u8 tag of the value (of a boolean `TRUE`, of a text `STR_UTF8`), u8 `SEALED_…`, u64 hash, u64 true length |
//! | `WITHHELD` | u8 `REASON_…`, u8 tag that the value would have had (for its type name; `WITHHELD` if unknown); for `REASON_TEXT` u16 length and UTF-8 |
//!
//! An *end word* is the number of children that follow (24 bits) and above it the `REASON_…` why there are not more.
//! `REASON_DEPTH` marks a container that was not opened.
//!
//! # What a writer keeps to
//!
//! Limits, redaction and time are the writer's to keep: a value withheld is not in the record. The numbers are in
//! [`BOUNDS`]; `core/schema/record.json` has them and [`CONSTANTS`] for other languages.
//!
//! * *Order of reasons*: a redacted name or key, then a redacted type, then time and size. So a secret is never reported
//!   as `timeout`. A map's key is judged by its text (bytes as Latin-1) and written; only its value is withheld.
//! * *Containers*: opened below the depth of the limits and below `MAX_LEVELS`, else `REASON_DEPTH` (in a message an empty
//!   one has no reason). One that changed while it was read is written empty, with `REASON_CHANGED`. An object's
//!   `REASON_FIELD_COUNT` is set when one more field is there than may be shown.
//! * *Text*: cut to whole code points; a capture counts the host's units, a message code points. A message's own limits
//!   are the `MESSAGE_…` bounds whatever the probe says; `MESSAGE_LENGTH` is for a text that stands alone.
//! * *Time*: the coarse clock is read at every 64th value. What comes after the deadline is `REASON_TIMEOUT`, and so is a
//!   container's reason that was not finished; the record has `FLAG_TIMEOUT`. Each point begins anew.
//! * *Size*: beyond `SOFT_RECORD` bytes values are withheld as if the time were over, beyond `HARD_RECORD` no name or item
//!   of a value is begun; the record has `FLAG_FULL`. A text takes at most a quarter of what is left, in units; bytes too.
//! * *Names*: `SECTION_NAMES` in a section, then the point ends with `REASON_FIELD_COUNT`.
//! * *Strict capture*: where the session has it, the core seals each scalar before the next value is written
//!   ([`crate::capture::strict`]); of a value of a message only the type is told, by a `SEALED` without hash, and of an
//!   exception's text nothing (`REASON_STRICT`).
//! * *Failures* are made and encoded by the core, from the op and the category ([`crate::intake::Raised`]).

use crate::capture::limits;

/// Declares constants once: as Rust, and as text for [`LAYOUT_HASH`] and the generated writers.
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $value:literal;)*) => {
        $($(#[$doc])* pub const $name: $type = $value;)*

        /// Every constant of the layout, for the generators of other languages' writers.
        pub const CONSTANTS: &[(&str, u32)] = &[$((stringify!($name), $value as u32)),*];

        const DESCRIPTION: &str = concat!($(stringify!($name), "=", stringify!($value), ";"),*);
    };
}

constants! {
    /// First four bytes of a record.
    MAGIC: u32 = 0x5242_5453;
    /// Bytes of the header.
    HEADER: usize = 104;
    /// u32 magic.
    AT_MAGIC: usize = 0;
    /// u32 layout hash.
    AT_LAYOUT: usize = 4;
    /// u32 length of the whole record.
    AT_LENGTH: usize = 8;
    /// u32 slot of the probe.
    AT_PROBE: usize = 12;
    /// u64 revision of the probe set.
    AT_REVISION: usize = 16;
    /// u64 nanoseconds since the epoch at which the hit began.
    AT_WALL: usize = 24;
    /// u64 nanoseconds of the monotonic clock.
    AT_MONOTONIC: usize = 32;
    /// 16 random bytes: the event's id.
    AT_EVENT: usize = 40;
    /// u64 thread id.
    AT_THREAD: usize = 56;
    /// u64 upper half of the trace id; all three zero: no trace.
    AT_TRACE_HIGH: usize = 64;
    /// u64 lower half of the trace id.
    AT_TRACE_LOW: usize = 72;
    /// u64 span id.
    AT_SPAN: usize = 80;
    /// u64 nanoseconds the method ran, valid with `FLAG_DURATION`.
    AT_DURATION: usize = 88;
    /// u32 index of the thread's name in the name table.
    AT_THREAD_NAME: usize = 96;
    /// u32 `FLAG_…`.
    AT_FLAGS: usize = 100;

    /// The duration is known.
    FLAG_DURATION: u32 = 1;
    /// An evaluation-error event: it carries no captures.
    FLAG_ERROR: u32 = 2;
    /// The record reached its largest size.
    FLAG_FULL: u32 = 4;
    /// The time of the capture ran out.
    FLAG_TIMEOUT: u32 = 8;

    /// Argument of a value's word: the language's own name for the tag.
    NO_TYPE: u32 = 0xFF_FFFF;
    /// Argument of a value's or name's word: the text follows.
    INLINE: u32 = 0xFF_FFFE;

    /// See the module.
    UNDEFINED: u8 = 0;
    /// See the module.
    NULL: u8 = 1;
    /// See the module.
    FALSE: u8 = 2;
    /// See the module.
    TRUE: u8 = 3;
    /// See the module.
    INT: u8 = 4;
    /// See the module.
    BIG: u8 = 5;
    /// See the module.
    FLOAT: u8 = 6;
    /// See the module.
    COMPLEX: u8 = 7;
    /// See the module.
    DECIMAL: u8 = 8;
    /// See the module.
    STR_UTF8: u8 = 9;
    /// See the module.
    STR_LATIN1: u8 = 10;
    /// See the module.
    STR_UCS2: u8 = 11;
    /// See the module.
    STR_UCS4: u8 = 12;
    /// See the module.
    STR_UTF16: u8 = 13;
    /// See the module.
    BYTES: u8 = 14;
    /// See the module.
    LIST: u8 = 15;
    /// See the module.
    SET: u8 = 16;
    /// See the module.
    MAP: u8 = 17;
    /// See the module.
    OBJECT: u8 = 18;
    /// See the module.
    EXCEPTION: u8 = 19;
    /// See the module.
    ENUM: u8 = 20;
    /// See the module.
    FUNCTION: u8 = 21;
    /// See the module.
    ITERATOR: u8 = 22;
    /// See the module.
    SCALAR: u8 = 23;
    /// See the module.
    OPAQUE: u8 = 24;
    /// A field that only application code could answer; JavaScript shows it as a getter.
    COMPUTED: u8 = 25;
    /// See the module.
    WITHHELD: u8 = 26;
    /// See the module.
    SEALED: u8 = 27;

    /// A sealed value has a hash.
    SEALED_HASH: u8 = 1;
    /// It has a length.
    SEALED_SIZE: u8 = 2;
    /// It was cut before it was hashed.
    SEALED_CUT: u8 = 4;

    /// See the module.
    ITEM_TEMPLATE: u8 = 0x80;
    /// See the module.
    ITEM_FAILURE: u8 = 0x81;
    /// See the module.
    ITEM_POINT: u8 = 0x82;
    /// See the module.
    ITEM_SECTION: u8 = 0x83;
    /// See the module.
    ITEM_NAMED: u8 = 0x84;
    /// See the module.
    ITEM_THROWABLE: u8 = 0x85;
    /// See the module.
    ITEM_END_POINT: u8 = 0x86;
    /// See the module.
    ITEM_STACK: u8 = 0x87;
    /// See the module.
    ITEM_RAW_STACK: u8 = 0x88;
    /// See the module.
    ITEM_END: u8 = 0x89;

    /// Nothing is missing.
    REASON_NONE: u8 = 0;
    /// `depth`.
    REASON_DEPTH: u8 = 1;
    /// `fieldCount`.
    REASON_FIELD_COUNT: u8 = 2;
    /// `collectionSize`.
    REASON_COLLECTION_SIZE: u8 = 3;
    /// `redactedIdent`.
    REASON_REDACTED_IDENT: u8 = 4;
    /// `redactedType`.
    REASON_REDACTED_TYPE: u8 = 5;
    /// `timeout`.
    REASON_TIMEOUT: u8 = 6;
    /// `concurrentModification`.
    REASON_CHANGED: u8 = 7;
    /// A text of ours follows: why a field could not be read.
    REASON_TEXT: u8 = 8;
    /// `strict`: strict capture tells nothing of it.
    REASON_STRICT: u8 = 9;

    /// The entry of a method.
    POINT_ENTRY: u8 = 0;
    /// Its return or throw.
    POINT_RETURN: u8 = 1;
    /// A line.
    POINT_LINE: u8 = 2;

    /// `arguments`.
    SECTION_ARGUMENTS: u8 = 0;
    /// `locals`.
    SECTION_LOCALS: u8 = 1;
    /// `staticFields`.
    SECTION_STATICS: u8 = 2;
    /// `captureExpressions`.
    SECTION_EXPRESSIONS: u8 = 3;

    /// The probe's condition, or its only expression.
    PLACE_CONDITION: u8 = 0;
    /// A segment of the template, by index.
    PLACE_SEGMENT: u8 = 1;
    /// A capture expression, by index.
    PLACE_EXPRESSION: u8 = 2;
    /// The value of a metric.
    PLACE_METRIC: u8 = 3;
    /// The condition of a decoration, by index.
    PLACE_DECORATION: u8 = 4;
    /// A tag of a decoration: the decoration's index in the upper 8 bits, the tag's in the lower.
    PLACE_TAG: u8 = 5;
}

/// Identifies this layout: a writer made for another one is refused.
pub const LAYOUT_HASH: u32 = fnv(DESCRIPTION);

/// Bytes of the largest record.
pub const MAX_RECORD: usize = 1 << 20;
/// Beyond so many bytes values become stubs; the rest is for what must follow them.
pub const SOFT_RECORD: usize = MAX_RECORD - 32 * 1024;
/// Beyond so many bytes not even stubs are written.
pub const HARD_RECORD: usize = MAX_RECORD - 8 * 1024;
/// Levels of containers that a record nests at most, whatever a probe's limit says. The walk recurses, and a hit may
/// run on a small stack: 32 levels need about 16 KiB of it. And a level is up to three of the event's JSON, of which many
/// readers take no more than 128.
pub const MAX_LEVELS: u32 = 32;
/// Bytes of a name or reason that stands inline.
pub const MAX_INLINE: usize = 512;
/// Bits above which an integer is shown by its first digits only.
pub const HUGE_BITS: u64 = 4096;
/// Hexadecimal digits shown of such an integer.
pub const HUGE_DIGITS: u64 = 256;
/// Words (of 19 digits) of a decimal that are kept: more than 1,000 digits.
pub const DECIMAL_WORDS: usize = 54;

/// What every writer keeps to, beside a probe's own limits, for the generators of other languages' writers.
pub const BOUNDS: &[(&str, u64)] = &[
    ("MAX_RECORD", MAX_RECORD as u64),
    ("SOFT_RECORD", SOFT_RECORD as u64),
    ("HARD_RECORD", HARD_RECORD as u64),
    ("MAX_LEVELS", MAX_LEVELS as u64),
    ("MAX_INLINE", MAX_INLINE as u64),
    ("HUGE_BITS", HUGE_BITS),
    ("HUGE_DIGITS", HUGE_DIGITS),
    ("DECIMAL_WORDS", DECIMAL_WORDS as u64),
    ("MESSAGE_DEPTH", limits::MESSAGE.depth as u64),
    ("MESSAGE_ELEMENTS", limits::MESSAGE.elements as u64),
    ("MESSAGE_FIELDS", limits::MESSAGE.fields as u64),
    ("MESSAGE_INNER_LENGTH", limits::MESSAGE.length as u64),
    ("MESSAGE_LENGTH", limits::MESSAGE_LENGTH as u64),
    ("MESSAGE_BYTES", limits::MESSAGE_BYTES as u64),
    ("THROWABLE_LENGTH", limits::THROWABLE_LENGTH as u64),
    ("LABEL_BYTES", limits::LABEL_BYTES as u64),
    ("SECTION_NAMES", limits::SECTION_NAMES as u64),
    ("STACK_FRAMES", limits::STACK_FRAMES as u64),
];

/// The layout as JSON, from which writers in other languages take their constants.
pub fn document() -> String {
    fn members<T: std::fmt::Display>(of: &[(&str, T)]) -> String {
        of.iter().map(|(name, value)| format!("    \"{name}\": {value}")).collect::<Vec<_>>().join(",\n")
    }
    format!(
        "{{\n  \"layout\": {LAYOUT_HASH},\n  \"constants\": {{\n{}\n  }},\n  \"bounds\": {{\n{}\n  }}\n}}\n",
        members(CONSTANTS),
        members(BOUNDS)
    )
}

/// FNV-1a, 32 bits.
const fn fnv(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let mut hash: u32 = 0x811C_9DC5;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    hash
}

/// The tag of a word.
#[inline]
pub const fn tag_of(word: u32) -> u8 {
    (word & 0xFF) as u8
}

/// The argument of a word.
#[inline]
pub const fn argument_of(word: u32) -> u32 {
    word >> 8
}

/// A word of a tag and an argument of 24 bits.
#[inline]
pub const fn word(tag: u8, argument: u32) -> u32 {
    tag as u32 | (argument << 8)
}

/// The spelling of a marker on the wire (2.2). `None` for [`REASON_NONE`], [`REASON_TEXT`] and unknown codes.
pub const fn reason_text(reason: u8) -> Option<&'static str> {
    Some(match reason {
        REASON_DEPTH => "depth",
        REASON_FIELD_COUNT => "fieldCount",
        REASON_COLLECTION_SIZE => "collectionSize",
        REASON_REDACTED_IDENT => "redactedIdent",
        REASON_REDACTED_TYPE => "redactedType",
        REASON_TIMEOUT => "timeout",
        REASON_CHANGED => "concurrentModification",
        REASON_STRICT => "strict",
        _ => return None,
    })
}

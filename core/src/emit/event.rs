//! One event of the intake: what the worker knows beside the record, and the finished event with the places in it that
//! pruning may take. It stands on the walk of a hit, on the worker: [`super::render`] fills it,
//! [`super::prune`] cuts it, `batch.rs` takes it.

use crate::emit::output::Identity;
use crate::host::{FrameText, Language, StackFrame};
use crate::record::names::Tables;
use crate::registry::LiveProbe;

/// What the worker knows beside the record.
#[derive(Clone, Copy)]
pub struct RenderContext<'a> {
    /// Who this process is.
    pub identity: &'a Identity,
    /// Whose values these are.
    pub language: Language,
    /// The session's names and types.
    pub tables: &'a Tables,
    /// The probe that was hit.
    pub live: &'a LiveProbe,
    /// [`crate::host::Runtime::describe_frame`].
    pub describe_frame: &'a dyn Fn(StackFrame) -> FrameText,
    /// Milliseconds that an evaluation may take, for the sentence of one that took longer.
    pub evaluation_ms: u64,
}

/// What a [`Span`] covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// A value object.
    Value,
    /// A section object, whose children are its values.
    Section,
    /// A frame of a `throwable`.
    Frame,
}

/// An object in the JSON that pruning may replace by `{"pruned":true}`. An event that is too large has more than a hundred
/// thousand of them: no bit is wasted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
    /// [`NO_PARENT`] if it stands in no other one.
    parent: u32,
    level: u16,
    /// It has `notCapturedReason: "depth"`.
    pub depth: bool,
    /// It has any `notCapturedReason`.
    pub incomplete: bool,
    /// What it is.
    pub kind: SpanKind,
}

const NO_PARENT: u32 = u32::MAX;
const _: () = assert!(size_of::<Span>() <= 20);

/// A place in an event: no event comes near the end of the numbers.
fn place(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(NO_PARENT)
}

impl Span {
    /// One that begins at a place and is not at its end yet. `parent`: the span it stands in, an index in [`Event::spans`].
    /// `level`: how deep it stands: the root is 0, a method's section 5, a line's 6.
    pub fn begin(start: usize, parent: Option<usize>, level: u32, kind: SpanKind) -> Self {
        let (start, parent) = (place(start), parent.map_or(NO_PARENT, place));
        let level = u16::try_from(level).unwrap_or(u16::MAX);
        Span { start, end: start, parent, level, depth: false, incomplete: false, kind }
    }

    /// It ends before this place.
    pub fn end_at(&mut self, end: usize) {
        self.end = place(end);
    }

    /// Its first byte.
    pub fn start(&self) -> usize {
        self.start as usize
    }

    /// The byte after its last.
    pub fn end(&self) -> usize {
        self.end as usize
    }

    /// The span it stands in.
    pub fn parent(&self) -> Option<usize> {
        (self.parent != NO_PARENT).then_some(self.parent as usize)
    }

    /// How deep it stands.
    pub fn level(&self) -> u32 {
        u32::from(self.level)
    }
}

/// A finished event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The JSON text.
    pub json: Vec<u8>,
    /// The message, as in the JSON.
    pub message: String,
    /// Where it was hit, for people.
    pub site: String,
    /// When it was hit, in milliseconds since the epoch.
    pub time: u64,
    /// What pruning may replace. A span's parent comes before it.
    pub spans: Vec<Span>,
    /// Where the message's string stands in the JSON, quotes included.
    pub message_at: (usize, usize),
    /// Where each frame of `stack` stands.
    pub frames: Vec<(usize, usize)>,
    /// True for an evaluation-error event.
    pub error: bool,
    /// True if the record was cut at its largest size.
    pub full: bool,
}

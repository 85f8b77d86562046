//! Cuts an event that is larger than the intake takes (*Signals and upload* 7.5): values are replaced by
//! `{"pruned":true}`, those first that tell least. It stands on the walk of a hit, on the worker: [`super::render`]
//! before, `batch.rs` after. The places come from the serialiser; the text is never read again.

use super::event::{Event, Span, SpanKind};
use super::json::escape;
use std::collections::BinaryHeap;

/// Bytes of the largest event: the backend's cap less what it adds before it measures.
pub const EVENT_BYTES: usize = 1_044_480;
/// What takes a pruned object's place.
const PRUNED: &[u8] = b"{\"pruned\":true}";
/// Frames of `stack` that are left when pruning values is not enough.
const FRAMES_LEFT: usize = 16;
/// Code points of the message that are left then.
const MESSAGE_LEFT: usize = 1024;

/// Cuts an event to `limit` bytes, usually [`EVENT_BYTES`]. `false`: it does not fit, however much is cut; it is to be
/// dropped and counted. The spans of an event that was cut no longer apply.
pub fn prune(event: &mut Event, limit: usize) -> bool {
    let excess = event.json.len().saturating_sub(limit);
    if excess == 0 {
        return true;
    }
    let mut edits = Edits { excess: signed(excess), cuts: Vec::new() };
    values(&event.spans, &mut edits);
    frames_of_throwables(&event.spans, &mut edits);
    stack(event, &mut edits);
    message(event, &mut edits);
    if edits.excess > 0 {
        return false;
    }
    event.json = edits.apply(&event.json);
    event.spans.clear();
    event.frames.clear();
    true
}

/// What is to be replaced, and how many bytes are still too many.
struct Edits {
    excess: i64,
    cuts: Vec<(usize, usize, Vec<u8>)>,
}

impl Edits {
    fn replace(&mut self, start: usize, end: usize, by: &[u8]) {
        self.excess -= signed(end - start) - signed(by.len());
        self.cuts.push((start, end, by.to_vec()));
    }

    fn apply(mut self, text: &[u8]) -> Vec<u8> {
        self.cuts.sort_by_key(|cut| cut.0);
        let mut out = Vec::with_capacity(text.len());
        let mut from = 0;
        for (start, end, by) in &self.cuts {
            out.extend_from_slice(text.get(from..*start).unwrap_or_default());
            out.extend_from_slice(by);
            from = *end;
        }
        out.extend_from_slice(text.get(from..).unwrap_or_default());
        out
    }
}

/// The order of pruning: stubs for depth, then the deepest, then incomplete ones, then the largest; of equals the last.
type Rank = (bool, u32, bool, usize, usize);

/// A length, to be added and subtracted.
fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn saving(span: &Span) -> i64 {
    signed(span.end - span.start) - signed(PRUNED.len())
}

fn values(spans: &[Span], edits: &mut Edits) {
    let of_values = |span: &Span| span.kind != SpanKind::Frame;
    let mut children = vec![0_usize; spans.len()];
    for span in spans {
        if let Some(count) = span.parent.and_then(|parent| children.get_mut(parent)) {
            *count += 1;
        }
    }
    let mut heap: BinaryHeap<Rank> = BinaryHeap::new();
    for (index, span) in spans.iter().enumerate() {
        // An empty section has nothing to give.
        if of_values(span) && span.kind == SpanKind::Value && children.get(index) == Some(&0) {
            heap.push((span.depth, span.level, span.incomplete, span.end - span.start, index));
        }
    }
    let mut pruned = vec![false; spans.len()];
    // What the pruned children of each span have saved.
    let mut saved = vec![0_i64; spans.len()];
    let mut excess = edits.excess;
    while excess > 0 {
        let Some((.., index)) = heap.pop() else { break };
        let Some(span) = spans.get(index) else { break };
        // Children of a span taken whole count through it.
        let inner = saved.get(index).copied().unwrap_or(0);
        excess -= saving(span) - inner;
        if let Some(place) = pruned.get_mut(index) {
            *place = true;
        }
        let Some(parent) = span.parent else { continue };
        if let Some(total) = saved.get_mut(parent) {
            *total += saving(span);
        }
        let Some(left) = children.get_mut(parent) else { continue };
        *left -= 1;
        if *left == 0
            && let Some(above) = spans.get(parent)
        {
            heap.push((true, above.level, true, above.end - above.start, parent));
        }
    }
    for (index, span) in spans.iter().enumerate() {
        let taken = pruned.get(index) == Some(&true);
        let with_parent = ancestors(spans, index).any(|above| pruned.get(above) == Some(&true));
        if taken && !with_parent {
            edits.replace(span.start, span.end, PRUNED);
        }
    }
}

fn ancestors(spans: &[Span], index: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(spans.get(index).and_then(|span| span.parent), |above| {
        spans.get(*above).and_then(|span| span.parent)
    })
}

/// Frames of exceptions, outermost first.
fn frames_of_throwables(spans: &[Span], edits: &mut Edits) {
    for span in spans.iter().rev() {
        if edits.excess <= 0 {
            return;
        }
        if span.kind == SpanKind::Frame && saving(span) > 0 {
            edits.replace(span.start, span.end, PRUNED);
        }
    }
}

fn stack(event: &Event, edits: &mut Edits) {
    if edits.excess <= 0 || event.frames.len() <= FRAMES_LEFT {
        return;
    }
    let kept = event.frames.get(FRAMES_LEFT - 1).map(|frame| frame.1);
    if let (Some(start), Some(&(_, end))) = (kept, event.frames.last()) {
        edits.replace(start, end, b"");
    }
}

fn message(event: &mut Event, edits: &mut Edits) {
    if edits.excess <= 0 || event.message.chars().nth(MESSAGE_LEFT).is_none() {
        return;
    }
    let mut short: String = event.message.chars().take(MESSAGE_LEFT).collect();
    short.push('…');
    let mut text = vec![b'"'];
    escape(&short, &mut text);
    text.push(b'"');
    event.message = short;
    edits.replace(event.message_at.0, event.message_at.1, &text);
}

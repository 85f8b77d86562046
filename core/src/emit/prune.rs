//! Cuts an event that is larger than the intake takes (*Signals and upload* 7.5): values are replaced by
//! `{"pruned":true}`, those first that tell least. It stands on the walk of a hit, on the worker: [`super::render`]
//! before, `batch.rs` after. The places come from the serialiser; the text is never read again.

use super::event::{Event, Span, SpanKind};
use super::json::escape;
use std::cmp::Reverse;
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
    let mut edits = Edits { excess: signed(excess), taken: vec![false; event.spans.len()], cuts: Vec::new() };
    values(&event.spans, &mut edits);
    frames_of_throwables(&event.spans, &mut edits);
    stack(event, &mut edits);
    message(event, &mut edits);
    if edits.excess > 0 {
        return false;
    }
    event.json = edits.apply(&event.json, &event.spans, limit);
    event.spans = Vec::new();
    event.frames.clear();
    true
}

/// What is to be replaced, and how many bytes are still too many.
struct Edits {
    excess: i64,
    /// By index: the spans that are pruned.
    taken: Vec<bool>,
    /// What else is replaced, and by what.
    cuts: Vec<(usize, usize, Vec<u8>)>,
}

impl Edits {
    fn replace(&mut self, start: usize, end: usize, by: &[u8]) {
        self.excess -= signed(end - start) - signed(by.len());
        self.cuts.push((start, end, by.to_vec()));
    }

    fn apply(mut self, text: &[u8], spans: &[Span], limit: usize) -> Vec<u8> {
        self.cuts.sort_by_key(|cut| cut.0);
        let mut others = self.cuts.iter().map(|(start, end, by)| (*start, *end, by.as_slice())).peekable();
        let mut out = Vec::with_capacity(limit);
        let mut from = 0;
        let mut cut = |start: usize, end: usize, by: &[u8]| {
            // What stands in a span that was taken is gone with it.
            if start >= from {
                out.extend_from_slice(text.get(from..start).unwrap_or_default());
                out.extend_from_slice(by);
                from = end;
            }
        };
        // Spans stand in the order of their begins.
        for span in spans.iter().zip(&self.taken).filter(|(_, taken)| **taken).map(|(span, _)| span) {
            while let Some((start, end, by)) = others.next_if(|other| other.0 < span.start()) {
                cut(start, end, by);
            }
            cut(span.start(), span.end(), PRUNED);
        }
        for (start, end, by) in others {
            cut(start, end, by);
        }
        out.extend_from_slice(text.get(from..).unwrap_or_default());
        out
    }
}

/// The order of pruning: stubs for depth, then the deepest, then incomplete ones, then the largest; of equals the last.
type Rank = (bool, u32, bool, usize, u32);

/// A length, to be added and subtracted.
fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn size(span: &Span) -> usize {
    span.end() - span.start()
}

fn saving(span: &Span) -> i64 {
    signed(size(span)) - signed(PRUNED.len())
}

/// There are many values: what is noted of each is small, and they are sorted rather than kept in a heap.
fn values(spans: &[Span], edits: &mut Edits) {
    let rank = |index: u32| -> Option<Rank> {
        let span = spans.get(index as usize)?;
        Some((span.depth, span.level(), span.incomplete, size(span), index))
    };
    let mut children = vec![0_u32; spans.len()];
    for span in spans {
        if let Some(count) = span.parent().and_then(|parent| children.get_mut(parent)) {
            *count += 1;
        }
    }
    // An empty section has nothing to give.
    let is_leaf = |&(span, children): &(&Span, &u32)| span.kind == SpanKind::Value && *children == 0;
    let indices = 0_u32..;
    let leaves = indices.zip(spans.iter().zip(&children)).filter(|(_, pair)| is_leaf(pair));
    let mut leaves: Vec<u32> = leaves.map(|(index, _)| index).collect();
    leaves.sort_unstable_by_key(|index| Reverse(rank(*index)));
    let mut leaves = leaves.into_iter().peekable();
    // Those whose children are all pruned.
    let mut emptied: BinaryHeap<Rank> = BinaryHeap::new();
    // What the pruned children of each span have saved.
    let mut saved = vec![0_i32; spans.len()];
    while edits.excess > 0 {
        let first = emptied.peek().copied();
        let leaf = leaves.next_if(|leaf| rank(*leaf) > first);
        let Some(index) = leaf.or_else(|| emptied.pop().map(|rank| rank.4)) else { break };
        let index = index as usize;
        let Some(span) = spans.get(index) else { break };
        // Children of a span taken whole count through it.
        let inner = saved.get(index).copied().unwrap_or(0);
        edits.excess -= saving(span) - i64::from(inner);
        if let Some(place) = edits.taken.get_mut(index) {
            *place = true;
        }
        let Some(parent) = span.parent() else { continue };
        if let Some(total) = saved.get_mut(parent) {
            *total = total.saturating_add(i32::try_from(saving(span)).unwrap_or(i32::MAX));
        }
        let Some(left) = children.get_mut(parent) else { continue };
        *left -= 1;
        if *left == 0
            && let Some(above) = spans.get(parent)
        {
            emptied.push((true, above.level(), true, size(above), u32::try_from(parent).unwrap_or(u32::MAX)));
        }
    }
}

/// Frames of exceptions, outermost first.
fn frames_of_throwables(spans: &[Span], edits: &mut Edits) {
    for (index, span) in spans.iter().enumerate().rev() {
        if edits.excess <= 0 {
            return;
        }
        if span.kind == SpanKind::Frame
            && saving(span) > 0
            && let Some(place) = edits.taken.get_mut(index)
        {
            *place = true;
            edits.excess -= saving(span);
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

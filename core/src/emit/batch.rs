//! Collects rendered events, or statuses, into the arrays that one request carries. On the walk of a hit going out, on
//! the worker: before it `prune.rs`, after it `sender.rs`. Reads no clock; the time comes in with each event.

use std::time::Duration;

/// The most bytes of a batch of events. Twice as much would be as quick, and the program larger by it.
pub const MAX_BYTES: usize = 2 << 20;
/// The most events of a batch: the intake takes no longer array.
pub const MAX_COUNT: usize = 1000;
/// The most bytes of a batch of statuses, so that these always find room.
pub const MAX_STATUS_BYTES: usize = 1 << 20;

/// What a batch carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Events of hits.
    Events,
    /// Statuses of probes.
    Statuses,
    /// Names of the program's modules, as a whole request.
    Symbols,
    /// Spans that are ours.
    Spans,
}

/// What one request carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What they are.
    pub kind: Kind,
    /// A JSON array; of symbols the whole form, of spans an array of MessagePack.
    pub body: Vec<u8>,
    /// How many elements it has.
    pub count: usize,
    /// Whose events they are: slots of probes, with their numbers. Empty for statuses.
    pub riders: Vec<(u32, u64)>,
}

/// Collects one kind.
#[derive(Debug)]
pub struct Batcher {
    kind: Kind,
    interval: u64,
    limit: usize,
    most: usize,
    body: Vec<u8>,
    count: usize,
    due: u64,
    /// The first batch of statuses leaves at once: somebody waits for the answer to a new probe.
    eager: bool,
}

impl Batcher {
    /// A collector of events; a batch closes `interval` after its first event.
    pub fn events(interval: Duration) -> Self {
        Batcher::new(Kind::Events, interval, MAX_BYTES)
    }

    /// With at most so many elements a batch, from 1 to [`MAX_COUNT`].
    #[must_use]
    pub fn at_most(mut self, count: usize) -> Self {
        self.most = count.clamp(1, MAX_COUNT);
        self
    }

    /// A collector of statuses; its first batch closes at once.
    pub fn statuses(interval: Duration) -> Self {
        Batcher { eager: true, ..Batcher::new(Kind::Statuses, interval, MAX_STATUS_BYTES) }
    }

    fn new(kind: Kind, interval: Duration, limit: usize) -> Self {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Batcher { kind, interval, limit, most: MAX_COUNT, body: Vec::new(), count: 0, due: 0, eager: false }
    }

    /// Adds an element, a whole JSON object. Gives back the batch that had to be closed to make room for it.
    pub fn push(&mut self, json: &[u8], now: u64) -> Option<Batch> {
        self.push_with(now, |body| {
            body.extend_from_slice(json);
            true
        })
    }

    /// Adds the element that `write` writes at the end of the body; `write` answers false if it wrote nothing. Gives back
    /// the batch that had to be closed to make room for it.
    pub fn push_with(&mut self, now: u64, write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Batch> {
        let end = self.body.len();
        self.body.push(if self.count == 0 { b'[' } else { b',' });
        if !write(&mut self.body) {
            self.body.truncate(end);
            return None;
        }
        let mut closed = None;
        if self.count > 0 && (self.count >= self.most || self.body.len() + 1 > self.limit) {
            let mut next = self.body.split_off(end);
            if let Some(comma) = next.first_mut() {
                *comma = b'[';
            }
            closed = self.take();
            self.body = next;
        }
        if self.count == 0 {
            self.due = if self.eager { now } else { now.saturating_add(self.interval) };
            self.eager = false;
        }
        self.count += 1;
        closed
    }

    /// Says whether the open batch is to be sent now: it is full, or its time has come.
    pub fn is_due(&self, now: u64) -> bool {
        self.due_at().is_some_and(|due| now >= due)
    }

    /// When the open batch is to be sent; `None` if it is empty, 0 if it is full.
    pub fn due_at(&self) -> Option<u64> {
        let full = self.count >= self.most || self.body.len() + 2 >= self.limit;
        (self.count > 0).then_some(if full { 0 } else { self.due })
    }

    /// Closes the open batch and gives it away; `None` if it is empty.
    pub fn take(&mut self) -> Option<Batch> {
        if self.count == 0 {
            return None;
        }
        let mut body = std::mem::take(&mut self.body);
        body.push(b']');
        // It waits, perhaps for long, and an event that was cut away may have needed much more.
        body.shrink_to_fit();
        Some(Batch { kind: self.kind, body, count: std::mem::take(&mut self.count), riders: Vec::new() })
    }

    /// How many elements the open batch has.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Says whether the open batch has none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes the open batch has.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn batcher() -> Batcher {
        Batcher::events(Duration::from_secs(1))
    }

    #[test]
    fn a_batch_is_an_array_of_what_was_pushed() {
        let mut batcher = batcher();
        assert_eq!(batcher.take(), None);
        assert_eq!(batcher.push(b"{\"a\":1}", 0), None);
        assert_eq!(batcher.push(b"{}", 0), None);
        let expected = Batch { kind: Kind::Events, body: b"[{\"a\":1},{}]".to_vec(), count: 2, riders: vec![] };
        assert_eq!(batcher.take(), Some(expected));
        assert_eq!(batcher.take(), None);
        batcher.push(b"{}", 0);
        assert_eq!(batcher.take().unwrap().body, b"[{}]");
    }

    #[test]
    fn it_is_due_an_interval_after_its_first_event() {
        let mut batcher = batcher();
        assert!(!batcher.is_due(u64::MAX));
        batcher.push(b"{}", 5 * SECOND);
        batcher.push(b"{}", 6 * SECOND - 1);
        assert!(!batcher.is_due(6 * SECOND - 1));
        assert!(batcher.is_due(6 * SECOND));
        batcher.take();
        batcher.push(b"{}", 9 * SECOND);
        assert_eq!(batcher.due_at(), Some(10 * SECOND));
    }

    #[test]
    fn a_thousand_events_close_it() {
        let mut batcher = batcher();
        for _ in 0..999 {
            assert_eq!(batcher.push(b"{}", 0), None);
        }
        assert!(!batcher.is_due(0));
        assert_eq!(batcher.push(b"{}", 0), None);
        assert!(batcher.is_due(0));
        assert_eq!(batcher.push(b"{}", 0).unwrap().count, 1000);
        assert_eq!(batcher.len(), 1);
    }

    #[test]
    fn a_smaller_batch_can_be_asked_for() {
        let mut batcher = batcher().at_most(2);
        batcher.push(b"{}", 0);
        assert!(!batcher.is_due(0));
        batcher.push(b"{}", 0);
        assert!(batcher.is_due(0));
        let mut one = self::batcher().at_most(0);
        one.push(b"{}", 0);
        assert_eq!(one.push(b"{}", 0).unwrap().count, 1);
    }

    #[test]
    fn its_largest_size_closes_it_and_is_never_passed() {
        let mut batcher = batcher();
        let event = vec![b' '; MAX_BYTES / 4];
        for _ in 0..3 {
            assert_eq!(batcher.push(&event, 0), None);
        }
        let closed = batcher.push(&event, 0).expect("the fourth does not fit beside brackets and commas");
        assert_eq!(closed.count, 3);
        assert!(closed.body.len() <= MAX_BYTES);
        let mut exact = self::batcher();
        exact.push(&vec![b' '; MAX_BYTES - 2], 0);
        assert!(exact.is_due(0));
        assert_eq!(exact.take().unwrap().body.len(), MAX_BYTES);
    }

    #[test]
    fn the_first_statuses_leave_at_once_and_later_ones_wait() {
        let mut batcher = Batcher::statuses(Duration::from_secs(1));
        batcher.push(b"{}", 5);
        assert!(batcher.is_due(5));
        assert_eq!(batcher.take().unwrap().kind, Kind::Statuses);
        batcher.push(b"{}", 6);
        assert!(!batcher.is_due(6) && batcher.is_due(6 + SECOND));
    }
}

//! Records on their way from a hit to the worker: one single-producer ring per hit context. Before: [`crate::hit`];
//! after: [`crate::worker`]. A hit that finds too little room drops before it captures.

use crate::record::layout::{AT_LENGTH, HEADER};
use crossbeam_channel::{Receiver, Sender};
use rtrb::chunks::ReadChunk;
use rtrb::{Consumer, Producer, RingBuffer};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of a context's first ring.
const FIRST_CAPACITY: usize = 64 * 1024;
/// Bytes of a ring that grew: where one is too small, several follow each other, and each goes as it was emptied. Only a
/// record that is larger by itself gets a larger one.
const LARGEST_CAPACITY: usize = 512 * 1024;
/// Emptied rings of that size that are kept for the next burst, until [`RecordReceiver::rest`]: fresh pages of the system's
/// would cost a hit as much as its capture.
const SPARES: usize = QUEUE_BYTES / LARGEST_CAPACITY;
/// A sender takes so much of the budget of all at a time: adding to what other threads add to as well is dear.
pub const SHARE: usize = 4 * 1024;
/// So many shares in a row began with an empty ring that had grown, and the first one would have taken them: then it goes.
const CALM_SHARES: u32 = 4;
/// Bytes that are kept for the next record that stands at both ends of its ring.
const JOINED_KEPT: usize = 64 * 1024;
/// Bytes that must be free at least before a hit captures.
const ROOM: usize = 4 * 1024;
/// Bytes of records in the whole process, in rings and in the worker's queue, and of batches that are on their way. With
/// what is needed to make a batch, the program grows by three times as much at most.
pub const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Of these, what hits leave to the batch that is being made: JSON has more bytes than its record.
pub const BATCH_BYTES: usize = 512 * 1024;

/// The bytes of all records that wait, what is taken for the next ones, and the batches made of them that are on their way:
/// one budget for all that is held of hits. Shared by all rings, the worker and the sender.
#[derive(Debug, Default)]
pub struct QueuedBytes(AtomicUsize);

impl QueuedBytes {
    /// True if there is room for so many bytes more.
    #[inline]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.0.load(Relaxed) + bytes <= QUEUE_BYTES
    }

    /// So many bytes more wait, or are on their way.
    pub fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    /// So many bytes have left the process, or were given up.
    pub fn sub(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }

    /// Bytes that wait.
    pub fn get(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// The hit's end of a ring. When it is too small for what comes, a larger ring follows it; after calm times a small one.
pub struct RecordSender {
    ring: Producer<u8>,
    capacity: usize,
    calm: u32,
    /// What is left of the last share.
    share: usize,
    /// Bytes that the next record may have: as many as the last one that took a share, less with each hit that was refused
    /// for it.
    expected: Cell<usize>,
    successors: Sender<Successor>,
    spares: Receiver<Both>,
    queued: Arc<QueuedBytes>,
}

/// Both ends of an empty ring.
type Both = (Producer<u8>, Consumer<u8>);

/// Word that another ring goes on, with the end of the one before that its sender has left.
struct Successor {
    left: Producer<u8>,
    next: Consumer<u8>,
}

/// A ring as the worker sees it.
struct Ring {
    records: Consumer<u8>,
    /// Its other end, once the sender has left it.
    left: Option<Producer<u8>>,
}

/// The worker's end: the rings of one context, oldest first.
pub struct RecordReceiver {
    rings: Vec<Ring>,
    successors: Receiver<Successor>,
    /// Where emptied rings go, and how they are taken back.
    emptied: Sender<Both>,
    spares: Receiver<Both>,
    /// A record that stands at both ends of its ring.
    joined: Vec<u8>,
}

/// Makes the two ends of a context's rings.
pub fn channel(queued: Arc<QueuedBytes>) -> (RecordSender, RecordReceiver) {
    let (producer, consumer) = RingBuffer::new(FIRST_CAPACITY);
    let (sender, receiver) = crossbeam_channel::unbounded();
    let (emptied, spares) = crossbeam_channel::bounded(SPARES);
    let ring = Ring { records: consumer, left: None };
    (
        RecordSender {
            ring: producer,
            capacity: FIRST_CAPACITY,
            calm: 0,
            share: 0,
            expected: Cell::new(ROOM),
            successors: sender,
            spares: spares.clone(),
            queued,
        },
        RecordReceiver { rings: vec![ring], successors: receiver, emptied, spares, joined: Vec::new() },
    )
}

impl RecordSender {
    /// True if the process has no room for one more record. Asked before anything is captured.
    #[inline]
    pub fn is_full(&self) -> bool {
        let expected = self.expected.get();
        let is_full = !self.queued.has_room(expected + BATCH_BYTES);
        if is_full {
            // A small one after a large one gets in, if not at once.
            self.expected.set((expected / 2).max(ROOM));
        }
        is_full
    }

    /// Queues a record. `false`: it could not be queued.
    pub fn push(&mut self, record: &[u8]) -> bool {
        // The reader goes by what the record itself says of its length, which stands in its header.
        if record.len() < HEADER || length_of(record) != Some(record.len()) {
            return false;
        }
        // Counted first, so that the worker never takes away more than is there.
        if self.share < record.len() && !self.take_share(record.len()) {
            return false;
        }
        let queued = self.ring.push_entire_slice(record).is_ok() || self.push_into_next(record);
        if queued {
            self.share -= record.len();
        }
        queued
    }

    #[cold]
    fn take_share(&mut self, needed: usize) -> bool {
        self.expected.set(needed.max(ROOM));
        let more = needed.max(SHARE);
        if !self.queued.has_room(more + BATCH_BYTES) {
            return false;
        }
        if self.capacity > FIRST_CAPACITY {
            self.consider_less(needed);
        }
        self.queued.add(more);
        self.share += more;
        true
    }

    #[cold]
    fn push_into_next(&mut self, record: &[u8]) -> bool {
        self.grow(record.len()) && self.ring.push_entire_slice(record).is_ok()
    }

    #[cold]
    fn grow(&mut self, needed: usize) -> bool {
        if needed > QUEUE_BYTES {
            return false;
        }
        self.follow((self.capacity * 2).min(LARGEST_CAPACITY).max(needed))
    }

    /// Goes back to a ring of the first size when nothing has needed the large one for a while.
    fn consider_less(&mut self, needed: usize) {
        if self.ring.slots() < self.capacity || needed > FIRST_CAPACITY / 2 {
            self.calm = 0;
            return;
        }
        self.calm += 1;
        if self.calm == CALM_SHARES {
            // If it cannot be had, this one goes on.
            self.follow(FIRST_CAPACITY);
        }
    }

    /// Leaves this ring to the worker, which keeps or drops it when it is empty, and goes on with another one.
    fn follow(&mut self, capacity: usize) -> bool {
        let kept = FIRST_CAPACITY < capacity && capacity <= LARGEST_CAPACITY;
        let spare = if kept { self.spares.try_recv().ok() } else { None };
        let (producer, next) = spare.unwrap_or_else(|| RingBuffer::new(capacity));
        self.calm = 0;
        self.capacity = producer.buffer().capacity();
        let left = std::mem::replace(&mut self.ring, producer);
        // Without a worker nobody takes what comes from now on.
        self.successors.send(Successor { left, next }).is_ok()
    }
}

impl Drop for RecordSender {
    fn drop(&mut self) {
        self.queued.sub(self.share);
    }
}

impl RecordReceiver {
    /// Takes the next whole record, which `look` sees where it lies. `None`: there is none.
    pub fn pop<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        while !self.begins()? {
            self.next_ring()?;
        }
        let records = &mut self.rings.first_mut()?.records;
        let length = length_of(&start_of(records)?)?;
        let chunk = Taken(Some(records.read_chunk(length).ok()?));
        let (first, second) = chunk.slices();
        if second.is_empty() {
            return Some(look(first));
        }
        self.joined.clear();
        self.joined.extend_from_slice(first);
        self.joined.extend_from_slice(second);
        let answer = look(&self.joined);
        self.joined.shrink_to(JOINED_KEPT);
        Some(answer)
    }

    /// True if a record waits in the oldest ring. A record is queued whole, so what begins is there to its end.
    #[inline]
    fn begins(&mut self) -> Option<bool> {
        Some(self.rings.first_mut()?.records.read_chunk(HEADER).is_ok())
    }

    /// Goes on to the ring that followed the oldest one. `None`: the oldest may still get records.
    #[cold]
    fn next_ring(&mut self) -> Option<()> {
        while let Ok(Successor { left, next }) = self.successors.try_recv() {
            if let Some(last) = self.rings.last_mut() {
                last.left = Some(left);
            }
            self.rings.push(Ring { records: next, left: None });
        }
        let ring = self.rings.first()?;
        // A ring that its sender left behind is empty for good once it is seen empty after it was left.
        let is_left = ring.left.is_some() || ring.records.is_abandoned();
        if !is_left {
            return None;
        }
        if !ring.records.is_empty() {
            return Some(());
        }
        let Ring { records, left } = self.rings.remove(0);
        if let (LARGEST_CAPACITY, Some(left)) = (records.buffer().capacity(), left) {
            // One more than are kept goes.
            let _ = self.emptied.try_send((left, records));
        }
        Some(())
    }

    /// Gives back what was kept for a burst, down to so many bytes.
    pub fn rest(&self, bytes: usize) {
        while self.spares.len() * LARGEST_CAPACITY > bytes && self.spares.try_recv().is_ok() {}
    }

    /// True if the sender is gone and everything was taken.
    pub fn is_finished(&mut self) -> bool {
        self.rings.is_empty()
    }
}

/// What a record says of its length.
#[inline]
fn length_of(record: &[u8]) -> Option<usize> {
    record.get(AT_LENGTH..)?.first_chunk().map(|length| u32::from_le_bytes(*length) as usize)
}

/// The header of the oldest record.
#[inline]
fn start_of(records: &mut Consumer<u8>) -> Option<[u8; HEADER]> {
    // Not committed: it is taken with its record.
    let chunk = records.read_chunk(HEADER).ok()?;
    let (first, second) = chunk.as_slices();
    if let Some(start) = first.first_chunk() {
        return Some(*start);
    }
    let mut start = [0; HEADER];
    for (to, from) in start.iter_mut().zip(first.iter().chain(second)) {
        *to = *from;
    }
    Some(start)
}

/// A record that leaves its ring when it was looked at, also if that ends in a panic: it must not come back.
struct Taken<'r>(Option<ReadChunk<'r, u8>>);

impl Taken<'_> {
    #[inline]
    fn slices(&self) -> (&[u8], &[u8]) {
        self.0.as_ref().map_or((&[], &[]), ReadChunk::as_slices)
    }
}

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(chunk) = self.0.take() {
            chunk.commit_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// A record of so many bytes.
    fn record(length: usize, fill: u8) -> Vec<u8> {
        let mut record = vec![fill; length];
        record[AT_LENGTH..AT_LENGTH + 4].copy_from_slice(&(length as u32).to_le_bytes());
        record
    }

    fn taken(receiver: &mut RecordReceiver) -> Option<Vec<u8>> {
        receiver.pop(<[u8]>::to_vec)
    }

    #[test]
    fn records_come_out_whole_and_in_order_over_many_rings() {
        let queued = Arc::new(QueuedBytes::default());
        let (mut sender, mut receiver) = channel(Arc::clone(&queued));
        let sizes = [HEADER, 105, 65_000, 600, 1_000_000, 107, 70_000];
        for round in 0..3u8 {
            for size in sizes {
                assert!(sender.push(&record(size, round)));
            }
        }
        for round in 0..3u8 {
            for size in sizes {
                let popped = taken(&mut receiver).unwrap();
                assert_eq!(popped, record(size, round));
                queued.sub(popped.len());
            }
        }
        assert_eq!(taken(&mut receiver), None);
        assert!(queued.get() <= SHARE, "what the sender has taken in advance");
        assert!(!receiver.is_finished());
        drop(sender);
        assert_eq!((taken(&mut receiver), queued.get()), (None, 0));
        assert!(receiver.is_finished());
    }

    #[test]
    fn the_process_budget_is_seen_before_anything_is_captured() {
        let queued = Arc::new(QueuedBytes::default());
        let (mut sender, mut receiver) = channel(Arc::clone(&queued));
        let mut pushed = 0;
        while !sender.is_full() {
            assert!(sender.push(&record(100_000, 7)));
            pushed += 1;
        }
        assert!(queued.get() <= QUEUE_BYTES - BATCH_BYTES, "{}", queued.get());
        assert!(!sender.push(&record(1_000_000, 7)), "it would not fit");
        assert!(sender.is_full());
        // After a large one that did not fit a small one gets in.
        let tries = (0..20).take_while(|_| sender.is_full()).count();
        assert!(tries < 10 && sender.push(&record(5_000, 7)));
        pushed += 1;
        let mut popped = 0;
        while taken(&mut receiver).is_some() {
            popped += 1;
        }
        assert_eq!(pushed, popped);
    }

    #[test]
    fn a_burst_leaves_no_large_ring_behind() {
        let queued = Arc::new(QueuedBytes::default());
        let (mut sender, mut receiver) = channel(Arc::clone(&queued));
        while !sender.is_full() {
            assert!(sender.push(&record(30_000, 7)));
            // What waits is all that rings hold, but for the last one and what did not fit at the end of each.
            assert!(sender.capacity <= LARGEST_CAPACITY);
        }
        taken(&mut receiver).unwrap();
        let held: usize = receiver.rings.iter().map(|ring| ring.records.buffer().capacity()).sum();
        assert!(held <= QUEUE_BYTES + QUEUE_BYTES / 8, "{held}");
        while taken(&mut receiver).is_some() {}
        queued.sub(queued.get());
        assert_eq!(receiver.rings.len(), 1);
        assert!(receiver.spares.len() > SPARES / 2, "what was emptied is there for the next burst");
        let spares = receiver.spares.len();
        assert!(sender.push(&record(LARGEST_CAPACITY, 1)) && sender.push(&record(LARGEST_CAPACITY, 2)));
        assert_eq!(receiver.spares.len(), spares - 1, "which takes it");
        assert_eq!(taken(&mut receiver).unwrap(), record(LARGEST_CAPACITY, 1));
        assert_eq!(taken(&mut receiver).unwrap(), record(LARGEST_CAPACITY, 2));
        receiver.rest(2 * LARGEST_CAPACITY);
        assert_eq!(receiver.spares.len(), 2);
        receiver.rest(0);
        assert!(receiver.spares.is_empty());
        for _ in 0..=CALM_SHARES as usize * SHARE / 200 {
            assert!(sender.push(&record(200, 1)));
            assert_eq!(taken(&mut receiver).unwrap(), record(200, 1));
        }
        assert_eq!((sender.capacity, receiver.rings.len()), (FIRST_CAPACITY, 1));
        assert!(sender.push(&record(1_000_000, 1)), "and it grows again");
        assert_eq!(sender.capacity, 1_000_000);
        assert_eq!(taken(&mut receiver).map(|record| record.len()), Some(1_000_000));
    }

    #[test]
    fn a_record_split_over_the_end_of_the_ring_is_put_together() {
        let (mut sender, mut receiver) = channel(Arc::default());
        for round in 0..1000_u32 {
            let mut sent: Vec<u8> = (0..997_u32).map(|i| (i + round) as u8).collect();
            sent[AT_LENGTH..AT_LENGTH + 4].copy_from_slice(&997_u32.to_le_bytes());
            assert!(sender.push(&sent));
            assert_eq!(taken(&mut receiver).unwrap(), sent);
        }
    }

    #[test]
    fn a_record_whose_reader_panics_does_not_come_back() {
        let (mut sender, mut receiver) = channel(Arc::default());
        assert!(sender.push(&record(200, 1)) && sender.push(&record(200, 2)));
        let looked = catch_unwind(AssertUnwindSafe(|| receiver.pop(|_| panic!("asked for"))));
        assert!(looked.is_err());
        assert_eq!(taken(&mut receiver), Some(record(200, 2)));
    }

    #[test]
    fn bytes_that_are_not_a_record_are_not_queued() {
        let queued = Arc::new(QueuedBytes::default());
        let (mut sender, mut receiver) = channel(Arc::clone(&queued));
        for bytes in [vec![], vec![0; 11], record(HEADER - 1, 0), vec![0; 200], record(200, 0).split_off(1)] {
            assert!(!sender.push(&bytes));
        }
        assert_eq!((taken(&mut receiver), queued.get()), (None, 0));
    }
}

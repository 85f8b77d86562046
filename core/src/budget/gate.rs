//! Token buckets whose tokens stand in one 32-bit word per probe: a hit takes from the word and reads no clock, the
//! worker refills it. Before: [`crate::worker`] on the refilling side, [`crate::hit`] on the taking side.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// No token may be taken, whatever the rate: paused, suspended, expired, removed.
const OFF: i32 = -1;
/// There is always a token.
const UNLIMITED: i32 = i32::MAX;

/// The word: above 0 tokens, 0 empty, −1 off. It may stand in memory that the host gives.
#[derive(Debug)]
pub enum Gate {
    /// In the core's memory.
    Own(AtomicI32),
    /// In the host's memory, where generated code takes from it.
    Host(Word),
}

/// The words that an outside host gives: [`Words::CAPTURING`] and [`Words::OTHERS`] first, then one for each probe.
#[derive(Debug)]
pub struct Words {
    words: &'static [AtomicI32],
    /// Indexes that no probe has, the next one last. Locked when probes come and go, never in a hit.
    free: Mutex<Vec<u32>>,
}

impl Words {
    /// Index of the word of all capturing probes.
    pub const CAPTURING: u32 = 0;
    /// Index of the word of all other probes.
    pub const OTHERS: u32 = 1;
    /// Index of the first probe's word.
    pub const FIRST: u32 = 2;

    /// All words are off until something takes them. `None` if there is no room for a single probe.
    pub fn new(words: &'static [AtomicI32]) -> Option<Arc<Words>> {
        let count = u32::try_from(words.len()).ok().filter(|count| *count > Words::FIRST)?;
        for word in words {
            word.store(OFF, Relaxed);
        }
        Some(Arc::new(Words { words, free: Mutex::new((Words::FIRST..count).rev().collect()) }))
    }

    /// One of the two global gates.
    pub(crate) fn global(self: &Arc<Self>, index: u32, tokens: i32) -> Option<Gate> {
        self.gate(index, tokens)
    }

    /// A gate with so many tokens; `None` if every word is in use.
    pub(crate) fn lease(self: &Arc<Self>, tokens: i32) -> Option<Gate> {
        let index = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        self.gate(index, tokens)
    }

    fn gate(self: &Arc<Self>, index: u32, tokens: i32) -> Option<Gate> {
        let at = self.words.get(index as usize)?;
        at.store(tokens, Relaxed);
        Some(Gate::Host(Word { at, index, owner: Arc::clone(self) }))
    }
}

/// A word of the host's while a gate has it. It is given to another probe only when the last holder of this one has let
/// go, so a host keeps its [`crate::registry::LiveProbe`] until no code of its own looks at the word any more.
#[derive(Debug)]
pub struct Word {
    at: &'static AtomicI32,
    index: u32,
    owner: Arc<Words>,
}

impl Drop for Word {
    fn drop(&mut self) {
        self.at.store(OFF, Relaxed);
        if self.index >= Words::FIRST {
            self.owner.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.index);
        }
    }
}

/// What a hit sees when it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// There is a token.
    Open,
    /// There is none.
    Empty,
    /// The probe is off.
    Off,
}

impl Gate {
    /// A gate with so many tokens.
    pub fn new(tokens: i32) -> Self {
        Gate::Own(AtomicI32::new(tokens))
    }

    #[inline]
    fn word(&self) -> &AtomicI32 {
        match self {
            Gate::Own(word) => word,
            Gate::Host(word) => word.at,
        }
    }

    /// The index of its word in the host's memory; `None` if it stands in the core's.
    pub fn index(&self) -> Option<u32> {
        match self {
            Gate::Own(_) => None,
            Gate::Host(word) => Some(word.index),
        }
    }

    /// Looks, and takes nothing.
    #[inline]
    pub fn look(&self) -> Look {
        match self.word().load(Relaxed) {
            1.. => Look::Open,
            0 => Look::Empty,
            _ => Look::Off,
        }
    }

    /// Takes a token if there is one.
    #[inline]
    pub fn take(&self) -> bool {
        let word = self.word();
        let mut tokens = word.load(Relaxed);
        loop {
            if tokens <= 0 {
                return false;
            }
            if tokens == UNLIMITED {
                return true;
            }
            match word.compare_exchange_weak(tokens, tokens - 1, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => tokens = now,
            }
        }
    }

    /// Puts a token back that the global gate refused.
    #[inline]
    pub fn put_back(&self) {
        self.add(1);
    }

    fn add(&self, n: i32) {
        // A gate that was switched off in between stays off.
        let _ = self.word().fetch_update(Relaxed, Relaxed, |tokens| {
            (tokens >= 0 && tokens != UNLIMITED).then(|| tokens.saturating_add(n))
        });
    }

    /// Switches the gate off until [`Gate::open`].
    pub fn switch_off(&self) {
        self.word().store(OFF, Relaxed);
    }

    fn set(&self, tokens: i32) {
        self.word().store(tokens, Relaxed);
    }
}

/// The probes that a gate they share has refused, although each had a token of its own. Whoever is hit most often would
/// take every token in the moment it comes. So those that wait have the next tokens before those that had one since the
/// line began.
#[derive(Debug, Default)]
pub struct Line {
    waiting: AtomicU32,
    /// Number of the line: a new one begins with the first refusal when nobody waits.
    number: AtomicU32,
}

/// A probe's place in a [`Line`].
#[derive(Debug, Default)]
pub struct Turn {
    waits: AtomicBool,
    /// Number of the line in which it had a token.
    served: AtomicU32,
}

impl Line {
    /// Takes a token for a probe, if it is its turn and there is one.
    #[inline]
    pub fn take(&self, gate: &Gate, turn: &Turn) -> bool {
        if self.waiting.load(Relaxed) == 0 && gate.take() {
            return true;
        }
        self.take_in_turn(gate, turn)
    }

    #[cold]
    fn take_in_turn(&self, gate: &Gate, turn: &Turn) -> bool {
        let waiting = self.waiting.load(Relaxed);
        if waiting == 0 {
            self.number.fetch_add(1, Relaxed);
        }
        let number = self.number.load(Relaxed);
        if !turn.waits.load(Relaxed) && turn.served.load(Relaxed) == number {
            // One token for each that waits is not for it.
            return u32::try_from(gate.word().load(Relaxed)).is_ok_and(|tokens| tokens > waiting) && gate.take();
        }
        if gate.take() {
            self.leave(turn);
            turn.served.store(number, Relaxed);
            return true;
        }
        if !turn.waits.swap(true, Relaxed) {
            self.waiting.fetch_add(1, Relaxed);
        }
        false
    }

    /// The probe waits no more.
    pub fn leave(&self, turn: &Turn) {
        if turn.waits.swap(false, Relaxed) {
            self.waiting.fetch_sub(1, Relaxed);
        }
    }
}

/// Refilling steps are at most this long, so no credit is older.
pub const STEP_NS: u64 = 4_000_000;

/// The worker's side of a gate: the rate, and when it was last refilled.
#[derive(Debug)]
pub struct Bucket {
    rate: f64,
    capacity: i32,
    /// Time up to which tokens have been given.
    credited: u64,
    full: bool,
}

impl Bucket {
    /// A bucket of `rate` tokens a second. `capturing` buckets hold one token, others a second's worth.
    pub fn new(rate: f64, capturing: bool, now: u64) -> Self {
        let capacity = if capturing { 1 } else { rate.clamp(1.0, f64::from(UNLIMITED - 1)) as i32 };
        Bucket { rate, capacity: if rate > 0.0 { capacity } else { 0 }, credited: now, full: true }
    }

    /// A bucket that never runs dry.
    pub fn unlimited() -> Self {
        Bucket { rate: f64::INFINITY, capacity: UNLIMITED, credited: 0, full: true }
    }

    /// Tokens of a full bucket.
    pub fn capacity(&self) -> i32 {
        self.capacity
    }

    /// Nanoseconds from one token to the next; `None` if none ever comes.
    pub fn period(&self) -> Option<u64> {
        (self.rate > 0.0).then(|| (1e9 / self.rate) as u64)
    }

    /// Fills the gate anew, as after a pause.
    pub fn open(&mut self, gate: &Gate, now: u64) {
        gate.set(self.capacity);
        self.credited = now;
        self.full = true;
    }

    /// Gives the tokens that are due. True if the gate was empty and no longer is.
    pub fn refill(&mut self, gate: &Gate, now: u64) -> bool {
        let tokens = gate.word().load(Relaxed);
        if tokens < 0 || self.capacity == UNLIMITED || self.capacity == 0 {
            return false;
        }
        if tokens >= self.capacity {
            self.full = true;
            return false;
        }
        if self.full {
            // The first token was taken since the last step.
            self.full = false;
            self.credited = self.credited.max(now.saturating_sub(STEP_NS));
        }
        let due = (now.saturating_sub(self.credited) as f64 * self.rate / 1e9).floor();
        if due < 1.0 {
            return false;
        }
        self.credited += (due * 1e9 / self.rate) as u64;
        let room = self.capacity - tokens;
        gate.add(room.min(due.min(f64::from(UNLIMITED)) as i32));
        tokens == 0
    }

    /// Nanoseconds until the next token is due; `None` if the gate is full, off, or never refilled.
    pub fn due_in(&self, gate: &Gate, now: u64) -> Option<u64> {
        let tokens = gate.word().load(Relaxed);
        if tokens < 0 || tokens >= self.capacity || self.capacity == UNLIMITED {
            return None;
        }
        if self.full {
            // Taken since the last step: the refill has to note when.
            return Some(0);
        }
        self.period().map(|period| self.credited.saturating_add(period).saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn who_waits_goes_before_who_had_a_token() {
        let (line, gate) = (Line::default(), Gate::new(1));
        let [hot, seldom, gone] = [(); 3].map(|()| Turn::default());
        assert!(line.take(&gate, &hot));
        for waiter in [&hot, &seldom, &gone, &seldom] {
            assert!(!line.take(&gate, waiter));
        }
        gate.put_back();
        assert!(line.take(&gate, &hot), "it waits as well as the others");
        gate.put_back();
        assert!(!line.take(&gate, &hot), "it had its turn");
        assert!(line.take(&gate, &seldom));
        // One that never comes back has a token kept, and holds up nobody for longer.
        gate.put_back();
        assert!(!line.take(&gate, &hot));
        gate.put_back();
        assert!(line.take(&gate, &hot));
        assert!(!line.take(&gate, &hot));
        line.leave(&gone);
        assert!(line.take(&gate, &hot), "nobody waits");
    }

    fn drain(gate: &Gate) -> u32 {
        let mut taken = 0;
        while gate.take() {
            taken += 1;
        }
        taken
    }

    #[test]
    fn a_capturing_probe_fires_once_a_second() {
        let mut bucket = Bucket::new(1.0, true, 0);
        let gate = Gate::new(bucket.capacity());
        let mut events = drain(&gate);
        for step in 1..=750 {
            bucket.refill(&gate, step * 4 * MS);
            events += drain(&gate);
        }
        assert_eq!(events, 1 + 3);
    }

    #[test]
    fn a_rate_below_one_is_a_gap() {
        let mut bucket = Bucket::new(0.5, true, 0);
        let gate = Gate::new(bucket.capacity());
        assert_eq!(drain(&gate), 1);
        assert!(!bucket.refill(&gate, 4 * MS));
        assert!(!bucket.refill(&gate, 1990 * MS));
        assert!(bucket.refill(&gate, 2004 * MS));
        assert_eq!(drain(&gate), 1);
    }

    #[test]
    fn a_rate_of_zero_never_fires() {
        let mut bucket = Bucket::new(0.0, false, 0);
        let gate = Gate::new(bucket.capacity());
        bucket.refill(&gate, 10_000 * MS);
        assert!(!gate.take());
        assert_eq!(gate.look(), Look::Empty);
    }

    #[test]
    fn five_thousand_a_second_are_five_thousand_a_second() {
        let mut bucket = Bucket::new(5000.0, false, 0);
        let gate = Gate::new(bucket.capacity());
        let mut events = drain(&gate);
        assert_eq!(events, 5000);
        for step in 1..=250 {
            bucket.refill(&gate, step * 4 * MS);
            events += drain(&gate);
        }
        assert_eq!(events, 10_000);
    }

    #[test]
    fn a_token_put_back_does_not_open_a_gate_that_is_off() {
        let gate = Gate::new(1);
        assert!(gate.take());
        gate.switch_off();
        gate.put_back();
        assert_eq!(gate.look(), Look::Off);
    }

    #[test]
    fn an_idle_bucket_gives_no_credit_for_idle_time() {
        let mut bucket = Bucket::new(100.0, false, 0);
        let gate = Gate::new(bucket.capacity());
        bucket.refill(&gate, 60_000 * MS);
        assert_eq!(drain(&gate), 100);
        bucket.refill(&gate, 120_000 * MS);
        assert_eq!(drain(&gate), 0, "at most one step of credit");
    }

    #[test]
    fn a_word_of_the_host_goes_to_another_probe_only_when_nobody_holds_it() {
        let memory: &'static [AtomicI32] = Vec::leak((0..4).map(|_| AtomicI32::new(9)).collect());
        assert!(Words::new(&memory[..2]).is_none());
        let words = Words::new(memory).unwrap();
        assert!(memory.iter().all(|word| word.load(Relaxed) == OFF));
        let (one, two) = (words.lease(1).unwrap(), words.lease(5).unwrap());
        assert_eq!((one.index(), two.index()), (Some(2), Some(3)));
        assert!(words.lease(1).is_none());
        // The host's code takes from the word, the core sees it.
        memory[2].fetch_sub(1, Relaxed);
        assert_eq!(one.look(), Look::Empty);
        two.switch_off();
        assert_eq!(memory[3].load(Relaxed), OFF);
        drop(one);
        assert_eq!(memory[2].load(Relaxed), OFF);
        assert_eq!(words.lease(7).unwrap().index(), Some(2));
    }

    #[test]
    fn an_unlimited_gate_stays_open() {
        let mut bucket = Bucket::unlimited();
        let gate = Gate::new(bucket.capacity());
        for _ in 0..10 {
            assert!(gate.take());
        }
        bucket.refill(&gate, MS);
        assert_eq!(gate.look(), Look::Open);
    }
}

//! Whether the Agent hangs, as the processes of one run tell each other: an end that waits for it in vain takes more than a
//! second, and a program may end a hundred children. Known in one word of memory that forked children share, and below the
//! command also in the file where counts are added up. At the end of the walk of a hit going out.

use crate::tally::Tally;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The monotonic time of the last end that waited in vain; 0: none did, or the Agent has taken something since.
static WORD: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());

/// Makes the word, once, before any child is forked. Where the system does not, each process waits for itself.
pub fn share() {
    if !WORD.load(Ordering::Acquire).is_null() {
        return;
    }
    let (size, flags) = (size_of::<AtomicU64>(), libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: new memory, which no address that is in use is asked for; it is never given back.
    let page = unsafe { libc::mmap(ptr::null_mut(), size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if page != libc::MAP_FAILED {
        WORD.store(page.cast(), Ordering::Release);
    }
}

fn word() -> Option<&'static AtomicU64> {
    // SAFETY: null, or zeroed memory of the right size that is never given back, begun at a page.
    unsafe { WORD.load(Ordering::Acquire).as_ref() }
}

/// When an end last waited in vain, if so: here, or anywhere in the run.
pub fn since(tally: Option<&Tally>) -> Option<u64> {
    let here = word().map_or(0, |word| word.load(Ordering::Relaxed));
    let anywhere = tally.map_or(0, Tally::hangs);
    Some(here.max(anywhere)).filter(|since| *since > 0)
}

/// Notes that an end waited in vain; 0: that one did not.
pub fn note(tally: Option<&Tally>, monotonic: u64) {
    if let Some(word) = word() {
        word.store(monotonic, Ordering::Relaxed);
    }
    if let Some(tally) = tally {
        tally.note_hangs(monotonic);
    }
}

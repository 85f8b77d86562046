//! The border: nothing of ours unwinds into Node. Every entry from JavaScript goes through [`guarded`]. First on the walk
//! of a hit.

use crate::error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Runs something; `None` if it panicked, which is counted.
#[inline]
pub fn caught<R>(work: impl FnOnce() -> R) -> Option<R> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Some(value),
        Err(payload) => {
            PANICS.fetch_add(1, Ordering::Relaxed);
            // A payload whose own end panics would unwind from here: it is left alone.
            std::mem::forget(payload);
            None
        }
    }
}

/// Runs what JavaScript asked for. A panic is an error there.
pub fn guarded<R>(work: impl FnOnce() -> napi::Result<R>) -> napi::Result<R> {
    caught(work).unwrap_or_else(|| Err(error::panicked()))
}

/// Panics caught so far.
#[cfg(test)]
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Silences the panic messages of this library's own copy of Rust's runtime; the program's other libraries keep theirs.
pub fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

#[cfg(test)]
mod tests {
    use super::{caught, panics};

    #[test]
    fn a_panic_is_counted_and_goes_no_further() {
        let before = panics();
        assert_eq!(caught(|| 1), Some(1));
        assert_eq!(caught(|| std::panic::resume_unwind(Box::new("own"))), None::<()>);
        assert_eq!(panics(), before + 1);
    }
}

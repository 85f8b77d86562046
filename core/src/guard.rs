//! The barrier that every binding's border stands on: a panic of ours ends here, and is counted. On both walks, wherever a
//! host calls us.

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

/// Panics caught so far.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// Silences the panic messages of the library that this is linked into, which has its own copy of Rust's runtime; the
/// program's other libraries keep theirs. A binding calls it; the core by itself never does.
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

//! For who starts a thread in a program that is not ours: it gets none of the program's signals, and has its own name before
//! anybody looks. On neither walk.

use std::sync::mpsc;
use std::time::Duration;

/// Until a thread runs it has the name of the one that started it, and who looks at threads would take it for one of the
/// program's. The thread calls the first, the starter the second.
pub fn until_named() -> (impl FnOnce() + Send + 'static, impl FnOnce()) {
    const LIMIT: Duration = Duration::from_millis(100);
    let (sender, receiver) = mpsc::sync_channel::<()>(1);
    let say = move || {
        // A starter that waits no longer needs no word.
        let _ = sender.send(());
    };
    let wait = move || {
        // After that long it is left to chance.
        let _ = receiver.recv_timeout(LIMIT);
    };
    (say, wait)
}

/// Nothing of ours takes the program's signals: no thread that is started while this lives gets any.
pub struct Masked(libc::sigset_t);

impl Masked {
    /// Blocks all signals in this thread, which the threads that it starts inherit.
    pub fn all() -> Masked {
        // SAFETY: both sets are filled before they are read.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Masked(before)
        }
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        // SAFETY: the set that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}

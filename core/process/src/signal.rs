//! SIGTERM and SIGHUP end a process without any handler, unless the program has one; SIGINT does where the program puts the
//! default in the place of Python's own handler. While we run, a handler of ours stands where the default stood: it keeps
//! the interrupted thread where it is, lets a thread of ours deliver what was captured, and then does what the default
//! does. Python does not see it: `signal.getsignal` says what it said. A program that puts the default back gets ours
//! again ([`stand_again`]). On neither walk.

use crate::threads::{self, Masked};
use std::io;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::thread::JoinHandle;

const SIGNALS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT];
/// How long the end may take: so many naps of a tenth of a second. Another signal only shortens one of them.
const NAPS: u32 = 18;
const NAP: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What the thread waits for: 0 nothing yet, or one of these.
static ASK: AtomicU32 = AtomicU32::new(0);
const DELIVER: u32 = 1;
const LEAVE: u32 = 2;
/// 1 when the thread has delivered. Words in memory, since a program may close all descriptors, ours too, and use their
/// numbers for its own.
static DONE: AtomicU32 = AtomicU32::new(0);
/// The process whose thread waits; a child that was forked behind our back has none.
static PID: AtomicI32 = AtomicI32::new(0);
/// The process that ends: a handler asked in it and waits.
static ENDS: AtomicI32 = AtomicI32::new(0);

/// What watches, until it is stopped.
pub struct Watch {
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins; `end` delivers. It is called in a thread of ours, without the GIL, at most once.
    ///
    /// # Errors
    /// The system's, if it gives no thread or descriptor.
    pub fn begin(end: impl FnOnce() + Send + 'static) -> io::Result<Watch> {
        ASK.store(0, Ordering::Release);
        DONE.store(0, Ordering::Release);
        let (say, wait_for_name) = threads::until_named();
        let run = move || {
            say();
            while ASK.load(Ordering::Acquire) == 0 {
                wait(&ASK, None);
            }
            if ASK.load(Ordering::Acquire) == DELIVER {
                end();
                set(&DONE, 1);
            }
        };
        let _masked = Masked::all();
        #[allow(clippy::disallowed_methods, reason = "a handler of a signal may do nothing itself but ask and wait")]
        let thread =
            std::thread::Builder::new().name("stroboscope-end".to_owned()).stack_size(256 * 1024).spawn(run)?;
        wait_for_name();
        PID.store(libc::pid_t::try_from(std::process::id()).unwrap_or(0), Ordering::Release);
        for signal in SIGNALS {
            exchange(signal, libc::SIG_DFL, handler());
        }
        Ok(Watch { thread: Some(thread) })
    }

    /// Puts the default back where the handler still stands, and ends the thread.
    pub fn stop(mut self) {
        for signal in SIGNALS {
            exchange(signal, handler(), libc::SIG_DFL);
        }
        PID.store(0, Ordering::Release);
        set(&ASK, LEAVE);
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic.
            let _ = thread.join();
        }
    }
}

/// After the program has set how it takes a signal: where that is the default, ours stands in its place again.
pub fn stand_again() {
    let watched = PID.load(Ordering::Acquire);
    if watched == 0 || u32::try_from(watched) != Ok(std::process::id()) {
        return;
    }
    for signal in SIGNALS {
        exchange(signal, libc::SIG_DFL, handler());
    }
}

fn handler() -> libc::sighandler_t {
    on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t
}

/// Replaces one way to take a signal by another, unless the program has its own.
fn exchange(signal: libc::c_int, before: libc::sighandler_t, after: libc::sighandler_t) {
    // SAFETY: the structures are whole, and the handler is one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == before {
            action = std::mem::zeroed();
            action.sa_sigaction = after;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Only what a handler of a signal may do: atomics and plain system calls.
extern "C" fn on_signal(signal: libc::c_int) {
    // SAFETY: these calls have no conditions.
    let pid = unsafe { libc::getpid() };
    let asks = PID.swap(0, Ordering::AcqRel) == pid;
    if !asks && ENDS.load(Ordering::Acquire) == pid {
        // Another signal of the same end. The handler that waits goes on waiting, and then ends the process.
        return;
    }
    if asks {
        ENDS.store(pid, Ordering::Release);
        set(&ASK, DELIVER);
        for _ in 0..NAPS {
            if DONE.load(Ordering::Acquire) != 0 {
                break;
            }
            wait(&DONE, Some(&NAP));
        }
    }
    exchange(signal, handler(), libc::SIG_DFL);
    // SAFETY: no conditions. The signal takes effect as this handler returns.
    unsafe { libc::kill(pid, signal) };
}

/// Waits while a word is 0, or until the time is over, or for no reason.
fn wait(word: &AtomicU32, limit: Option<&libc::timespec>) {
    let limit = limit.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word and the time live longer than the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, limit) };
}

/// Sets a word and wakes who waits for it.
fn set(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    // SAFETY: the word lives for ever.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX) };
}

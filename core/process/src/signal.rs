//! SIGTERM and SIGHUP end a process without any code of the host, unless the program takes them; so does SIGINT where no
//! handler of the program's stands. While we run, a handler of ours stands where the default stood, or the host's own, which
//! does what the default does: it keeps the interrupted thread where it is, lets a thread of ours deliver what was captured,
//! and then lets what stood there before do what it does. What the program sets afterwards takes the place of ours. Where it
//! puts the default back it gets ours again ([`stand_again`]). On neither walk.

use crate::threads::{self, Masked};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, Ordering};
use std::thread::JoinHandle;

const SIGNALS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT];
/// How long the end may take: so many naps of a tenth of a second. Another signal only shortens one of them.
const NAPS: u32 = 18;
const NAP: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What stood there before ours, by the place in [`SIGNALS`]; null: the default. It is never freed: a handler may read it.
static BEFORE: [AtomicPtr<libc::sigaction>; SIGNALS.len()] = [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS.len()];

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
    /// Begins; `end` delivers. It is called in a thread of ours, which the program's code does not wait for, at most once.
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
        SIGNALS.into_iter().zip(&BEFORE).for_each(|(signal, before)| stand(signal, before));
        Ok(Watch { thread: Some(thread) })
    }

    /// Puts back what stood there before where the handler still stands, and ends the thread.
    pub fn stop(mut self) {
        SIGNALS.into_iter().zip(&BEFORE).for_each(|(signal, before)| put_back(signal, before));
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
    SIGNALS.into_iter().zip(&BEFORE).for_each(|(signal, before)| stand(signal, before));
}

fn handler() -> libc::sighandler_t {
    on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t
}

/// Puts ours in the place of the default, or of a handler that is there for one signal only: the host's own, which ends the
/// process. What the program has set stays, and so does a signal that is ignored.
fn stand(signal: libc::c_int, before: &AtomicPtr<libc::sigaction>) {
    // SAFETY: whole structures, of which the first is filled before it is read, and the handler is one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, ptr::null(), &raw mut action) != 0 {
            return;
        }
        let is_hosts = action.sa_sigaction != libc::SIG_IGN && action.sa_flags & libc::SA_RESETHAND != 0;
        match action.sa_sigaction {
            libc::SIG_DFL => before.store(ptr::null_mut(), Ordering::Release),
            _ if is_hosts => keep(before, action),
            _ => return,
        }
        let mut ours: libc::sigaction = std::mem::zeroed();
        ours.sa_sigaction = handler();
        ours.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const ours, ptr::null_mut());
    }
}

/// Keeps what stands there, unless that is kept already.
fn keep(before: &AtomicPtr<libc::sigaction>, action: libc::sigaction) {
    // SAFETY: null, or a structure that is never freed and never changed.
    let known = unsafe { before.load(Ordering::Acquire).as_ref() };
    if known.is_none_or(|known| known.sa_sigaction != action.sa_sigaction) {
        before.store(Box::into_raw(Box::new(action)), Ordering::Release);
    }
}

/// Puts back what stood there before, if ours still stands there.
fn put_back(signal: libc::c_int, before: &AtomicPtr<libc::sigaction>) {
    // SAFETY: whole structures, of which the first is filled before it is read; one that is kept is never freed.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(signal, ptr::null(), &raw mut action) != 0 || action.sa_sigaction != handler() {
            return;
        }
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        default.sa_flags = libc::SA_RESTART;
        let before = before.load(Ordering::Acquire).as_ref().unwrap_or(&default);
        libc::sigaction(signal, ptr::from_ref(before), ptr::null_mut());
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
    if let Some(before) = SIGNALS.iter().position(|known| *known == signal).and_then(|at| BEFORE.get(at)) {
        put_back(signal, before);
    }
    // SAFETY: no conditions. The signal takes effect as this handler returns.
    unsafe { libc::kill(pid, signal) };
}

/// Waits while a word is 0, or until the time is over, or for no reason.
fn wait(word: &AtomicU32, limit: Option<&libc::timespec>) {
    let limit = limit.map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word and the time live longer than the call.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, limit) };
}

/// Sets a word and wakes who waits for it.
fn set(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::Release);
    // SAFETY: the word lives for ever.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, i32::MAX) };
}

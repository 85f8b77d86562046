//! SIGTERM, SIGHUP and SIGINT end a process without any event in JavaScript, unless the program listens to them. While we
//! run, a handler of ours stands where the default or Node's own stood: it keeps the interrupted thread where it is, lets a
//! thread of ours deliver what was captured, and then does what the other one does. A program that listens puts its own in
//! the place of ours. On neither walk.

use crate::guard;
use crate::session;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

const SIGNALS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT];
/// How long the end may take: so many naps.
const NAPS: u32 = 360;
static NAP: libc::timespec = libc::timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// What stood there before, by the place in [`SIGNALS`].
static BEFORE: Mutex<[Option<libc::sigaction>; 3]> = Mutex::new([None; 3]);
/// Where the handler asks the thread to deliver; −1: there is none.
static ASK: AtomicI32 = AtomicI32::new(-1);
static ASKED: AtomicBool = AtomicBool::new(false);
static DONE: AtomicBool = AtomicBool::new(false);
/// The process whose thread waits; a child that was forked has none.
static PID: AtomicI32 = AtomicI32::new(0);

/// Watches from now on.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = begin() {
            log::warn!(target: "stroboscope", "what is caught just before a signal ends the process may be lost: {error}");
        }
    });
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    for (signal, before) in SIGNALS.into_iter().zip(before.iter_mut()) {
        stand(signal, before);
    }
}

/// Puts back what stood there before, where the handler still stands.
pub fn leave_alone() {
    let mut before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
    for (signal, before) in SIGNALS.into_iter().zip(before.iter_mut()) {
        let Some(before) = before.take() else { continue };
        // SAFETY: whole structures; what is put back was given by the system.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0 && action.sa_sigaction == handler() {
                libc::sigaction(signal, &raw const before, std::ptr::null_mut());
            }
        }
    }
}

fn begin() -> io::Result<()> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    #[allow(clippy::disallowed_methods, reason = "a handler of a signal may do nothing itself but ask and wait")]
    std::thread::Builder::new()
        .name("stroboscope-end".to_owned())
        .stack_size(256 * 1024)
        .spawn(move || wait(reader))?;
    PID.store(libc::pid_t::try_from(std::process::id()).unwrap_or(0), Ordering::Release);
    ASK.store(writer.as_raw_fd(), Ordering::Release);
    // Open for as long as the process is there.
    std::mem::forget(writer);
    Ok(())
}

fn wait(reader: OwnedFd) {
    let mut byte = [0];
    if std::fs::File::from(reader).read_exact(&mut byte).is_ok() {
        // A panic is counted; the process ends all the same.
        let _ = guard::caught(session::deliver);
        DONE.store(true, Ordering::Release);
    }
}

fn handler() -> libc::sighandler_t {
    on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t
}

/// Puts ours in the place of the default or of Node's own. A signal that is ignored stays so.
fn stand(signal: libc::c_int, before: &mut Option<libc::sigaction>) {
    // SAFETY: whole structures, and the handler is one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let known = libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0;
        if !known || action.sa_sigaction == libc::SIG_IGN || action.sa_sigaction == handler() {
            return;
        }
        let mut ours: libc::sigaction = std::mem::zeroed();
        ours.sa_sigaction = handler();
        ours.sa_flags = libc::SA_RESTART;
        if libc::sigaction(signal, &raw const ours, std::ptr::null_mut()) == 0 {
            *before = Some(action);
        }
    }
}

/// Only what a handler of a signal may do: atomics and plain system calls.
extern "C" fn on_signal(signal: libc::c_int) {
    // SAFETY: no conditions.
    let pid = unsafe { libc::getpid() };
    if PID.load(Ordering::Acquire) == pid {
        ask_and_wait();
    }
    // Whoever holds the lock ends the session at this moment, and what stands there is the default then.
    let before = BEFORE.try_lock().ok().and_then(|before| {
        let at = SIGNALS.iter().position(|known| *known == signal)?;
        before.get(at).copied().flatten()
    });
    // SAFETY: whole structures. The signal takes effect as this handler returns.
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &raw const *before.as_ref().unwrap_or(&default), std::ptr::null_mut());
        libc::kill(pid, signal);
    }
}

fn ask_and_wait() {
    if !ASKED.swap(true, Ordering::AcqRel) {
        // SAFETY: one byte that lives for the call. Where it cannot be written, the wait is in vain and bounded.
        unsafe { libc::write(ASK.load(Ordering::Acquire), [1u8].as_ptr().cast(), 1) };
    }
    for _ in 0..NAPS {
        if DONE.load(Ordering::Acquire) {
            return;
        }
        // SAFETY: a whole time; what is left of it is not asked for.
        unsafe { libc::nanosleep(&raw const NAP, std::ptr::null_mut()) };
    }
}

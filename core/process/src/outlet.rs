//! Writing to streams that are not ours: a pipe may be full, a terminal held, and nobody may ever read them. While the
//! program runs the worker waits, and the program does not. At its end the waiting is bounded, and what could not be
//! written is an error, which the sinks count. How a stream waits is never changed: others have it too. Nor is a pipe ever
//! filled: the program would wait in a write of its own. On the walk of a hit going out, at its end, below
//! [`crate::screen`].

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SendFlags;
use rustix::net::sockopt::socket_send_buffer_size;
use rustix::pipe::fcntl_getpipe_size;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use stroboscope_core::clock::{Clock as _, SystemClock};

/// Whoever reads nothing for so long at the end is waited for no more.
const PATIENCE: u64 = 500_000_000;
/// One wait for room; then it is asked again whether there is time.
const STEP: Duration = Duration::from_millis(5);
/// The same where there is room, but not for us.
pub const NAP: Duration = Duration::from_millis(1);

/// How long the streams of a session are waited for.
#[derive(Debug)]
pub struct Patience {
    /// When it ended, in monotonic nanoseconds, and until when it waits; `u64::MAX`: it has not ended.
    ended: AtomicU64,
    until: AtomicU64,
    /// It was waited for in vain.
    stuck: AtomicBool,
}

impl Default for Patience {
    fn default() -> Self {
        let never = || AtomicU64::new(u64::MAX);
        Patience { ended: never(), until: never(), stuck: AtomicBool::new(false) }
    }
}

impl Patience {
    /// The end: writing takes so much longer at most.
    pub fn ends_in(&self, limit: Duration) {
        let now = SystemClock.monotonic();
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        self.ended.store(now, Ordering::Relaxed);
        self.until.store(now.saturating_add(limit), Ordering::Release);
    }

    /// It was not the end.
    pub fn goes_on(&self) {
        self.until.store(u64::MAX, Ordering::Release);
        self.stuck.store(false, Ordering::Release);
    }

    /// False if waiting, since such a time, has been in vain; then nothing is waited for until something is written.
    fn lasts(&self, since: u64) -> bool {
        let until = self.until.load(Ordering::Acquire);
        if until == u64::MAX {
            return true;
        }
        let now = SystemClock.monotonic();
        let since = since.max(self.ended.load(Ordering::Relaxed));
        if now >= until || now.saturating_sub(since) >= PATIENCE {
            self.stuck.store(true, Ordering::Release);
        }
        !self.stuck.load(Ordering::Acquire)
    }

    /// Something was written.
    pub fn is_rewarded(&self) {
        self.stuck.store(false, Ordering::Release);
    }

    /// True if at its end nobody read what there was.
    pub fn is_over(&self) -> bool {
        self.stuck.load(Ordering::Acquire)
    }
}

/// Writes as soon as there is room. `write` is one try that does not wait, `pause` says how long to wait before the next.
pub fn write<W>(
    patience: &Patience,
    mut write: impl FnMut() -> io::Result<W>,
    mut pause: impl FnMut() -> io::Result<Duration>,
) -> io::Result<W> {
    let since = SystemClock.monotonic();
    loop {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if !patience.lasts(since) {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
                }
                std::thread::sleep(pause()?);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}

/// How much of a pipe may be full when we write to it. Small writes may take twice their room, so that more would leave
/// the program none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// Events: a third.
    Events = 1,
    /// What is said once, as at the end: two thirds.
    Words = 2,
}

/// Writes what there is room for now; where there is none, the error says that it would block.
pub fn now(file: &File, bytes: &[u8], share: Share) -> io::Result<usize> {
    let kind = file.metadata()?.file_type();
    let bytes = if kind.is_socket() || kind.is_fifo() { our_share(file, kind.is_fifo(), bytes, share)? } else { bytes };
    if kind.is_socket() {
        return send(file, bytes);
    }
    let may_wait = kind.is_fifo() || (kind.is_char_device() && file.is_terminal());
    if !may_wait {
        return write_to(file, bytes);
    }
    if !has_room(file)? {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    match unwaiting(file) {
        Some(own) => write_to(&own, bytes),
        // Where it cannot be opened anew, so much fits into a pipe that has room, unless another process is quicker.
        None => write_to(file, bytes.get(..libc::PIPE_BUF).unwrap_or(bytes)),
    }
}

/// How long to wait before room is asked for again.
pub fn pause(file: &File) -> io::Result<Duration> {
    Ok(if has_room(file)? { NAP } else { STEP })
}

/// As many of the bytes as may be written now: all, if they fit into our share, or a part of what never will.
fn our_share<'b>(file: &File, is_pipe: bool, bytes: &'b [u8], share: Share) -> io::Result<&'b [u8]> {
    let Some((waiting, size)) = filled(file, is_pipe) else { return Ok(bytes) };
    let ours = (size / 3 * share as usize).max(1);
    let room = ours.saturating_sub(waiting);
    if bytes.len() <= room {
        return Ok(bytes);
    }
    if bytes.len() <= ours || room < ours / 2 {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    // Whole lines; a line in pieces only if it never fits.
    let part = bytes.get(..room.max(1)).unwrap_or(bytes);
    let is_end = |byte: &u8| *byte == b'\n';
    if let Some(end) = part.iter().rposition(is_end) {
        return Ok(part.get(..=end).unwrap_or(part));
    }
    if bytes.iter().position(is_end).is_some_and(|end| end < ours) {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(part)
}

/// The bytes that wait in a pipe or a socket, and how many it holds; `None` where that cannot be asked.
fn filled(file: &File, is_pipe: bool) -> Option<(usize, usize)> {
    let (waiting, size) = if is_pipe {
        (rustix::io::ioctl_fionread(file).ok()?, fcntl_getpipe_size(file).ok()?)
    } else {
        let mut waiting: libc::c_int = 0;
        // SAFETY: asks about a descriptor that is open for the call; there is room for the number that is answered.
        let known = unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCOUTQ, &raw mut waiting) } == 0;
        (u64::try_from(waiting).ok().filter(|_| known)?, socket_send_buffer_size(file).ok()?)
    };
    Some((usize::try_from(waiting).ok()?, size))
}

/// An end of our own, which does not wait.
fn unwaiting(file: &File) -> Option<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().append(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path).ok()
}

#[derive(Debug)]
struct Turn;

/// Turns in which streams may be open anew, and forks under way.
static OPEN: AtomicUsize = AtomicUsize::new(0);
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// How long one waits for the other: neither takes longer, unless its thread is kept from running.
const TURN: u64 = 50_000_000;

/// Uses streams that are opened anew for it, and are closed before it ends: who holds one would keep its reader waiting. No
/// process is forked meanwhile, which would hold it for good.
pub fn in_turn<R>(use_them: impl FnOnce() -> R) -> R {
    enter(&OPEN, &FORKS);
    let _turn = Turn;
    use_them()
}

impl Drop for Turn {
    fn drop(&mut self) {
        leave(&OPEN);
    }
}

/// A fork begins: turns are waited for.
pub fn before_fork() {
    enter(&FORKS, &OPEN);
}

/// It is over, in the process that forked.
pub fn after_fork() {
    leave(&FORKS);
}

/// While it is nobody's turn: a stream that is found then is none of those opened anew.
pub fn between<R>(look: impl FnOnce() -> R) -> R {
    before_fork();
    let found = look();
    after_fork();
    found
}

/// Only this thread is left, and nothing of this is under way.
pub fn after_fork_in_child() {
    OPEN.store(0, Ordering::SeqCst);
    FORKS.store(0, Ordering::SeqCst);
}

/// Counts one in as soon as there are none of the others.
fn enter(ours: &AtomicUsize, others: &AtomicUsize) {
    let since = SystemClock.monotonic();
    loop {
        ours.fetch_add(1, Ordering::SeqCst);
        if others.load(Ordering::SeqCst) == 0 || SystemClock.monotonic() - since > TURN {
            return;
        }
        leave(ours);
        std::thread::yield_now();
    }
}

fn leave(ours: &AtomicUsize) {
    // Not below zero: a child begins with nothing under way.
    let _ = ours.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1));
}

/// False: it is full.
fn has_room(file: &File) -> io::Result<bool> {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    // What is wrong with it is told by the write.
    Ok(poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&at_once))? > 0)
}

fn send(file: &File, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(file, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Writes, without ending a program for which a broken pipe is deadly: it did not write to it.
fn write_to(mut file: &File, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the sets are filled before they are read, and the mask is put back as it was.
    unsafe {
        let (mut broken, mut before, mut waits) = (std::mem::zeroed(), std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&raw mut broken);
        libc::sigaddset(&raw mut broken, libc::SIGPIPE);
        libc::sigpending(&raw mut waits);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const broken, &raw mut before);
        let written = file.write(bytes);
        let is_broken = written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        if is_broken && libc::sigismember(&raw const waits, libc::SIGPIPE) == 0 {
            let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            libc::sigtimedwait(&raw const broken, ptr::null_mut(), &raw const now);
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        written
    }
}

//! Whose turn it is to write: processes that share a pipe write one after the other, so that what one of them writes stays
//! in one piece, however often it has to wait for room. Only threads of ours wait. On the walk of a hit going out, at its
//! end, between [`crate::screen`] or [`crate::sinks`] and [`crate::outlet`].
//!
//! A turn is a lock on one byte of a file without a name in any folder, which forked children inherit, and other processes
//! of a run find in the first one. The lock is the process's: it ends with it, and a child that is forked meanwhile does
//! not have it. The byte says that a piece was begun and not finished, as by a process that was killed: who writes next
//! begins on a line of its own.

use crate::tally::{Tally, high, nameless};
use std::fs::OpenOptions;
use std::io;
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

/// What is written to in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The command's standard output.
    Output = 0,
    /// Its standard error.
    Error = 1,
    /// The pipe or device that has a name, of `--json`.
    Named = 2,
}

const PLACES: usize = 3;

/// The file: its descriptor here, or -1; and which file it is, since a program may close all descriptors and use their
/// numbers for its own.
static FILE: AtomicI32 = AtomicI32::new(-1);
static DEVICE: AtomicU64 = AtomicU64::new(0);
static NUMBER: AtomicU64 = AtomicU64::new(0);
/// It was looked for.
static SOUGHT: AtomicBool = AtomicBool::new(false);

/// The process of which a thread has the turn: among threads of one process a lock of the system says nothing. A number of
/// another process is one from before a fork.
static WRITERS: [AtomicU32; PLACES] = [const { AtomicU32::new(0) }; PLACES];
/// Where there is no file.
static TORN: [AtomicBool; PLACES] = [const { AtomicBool::new(false) }; PLACES];

/// Makes the file, before any child is forked. Where the system does not, processes do not wait for one another.
pub fn share(tally: Option<&Tally>) {
    if file().is_some() {
        return;
    }
    if let Some(made) = nameless(&tally.map_or_else(|| "stroboscope-turn".to_owned(), name_of)) {
        keep(made);
    }
}

/// Gives the file up: nothing writes any more.
pub fn give_up() {
    if let Some(file) = file() {
        FILE.store(-1, Ordering::Release);
        // SAFETY: a descriptor of ours, as was just looked at, which nobody uses any more.
        unsafe { libc::close(file) };
    }
}

fn name_of(tally: &Tally) -> String {
    format!("{}-turn", tally.name)
}

/// Keeps the file open.
fn keep(file: OwnedFd) {
    let file = file.into_raw_fd();
    if let Some((device, number)) = which(file) {
        DEVICE.store(device, Ordering::Relaxed);
        NUMBER.store(number, Ordering::Relaxed);
        FILE.store(file, Ordering::Release);
    }
}

fn which(file: RawFd) -> Option<(u64, u64)> {
    // SAFETY: numbers, for which zero is a value.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: room for what is answered; a number that is no descriptor is an error.
    (unsafe { libc::fstat(file, &raw mut found) } == 0).then_some((found.st_dev, found.st_ino))
}

/// The file, if it is still ours.
fn file() -> Option<RawFd> {
    let file = FILE.load(Ordering::Acquire);
    let made = (DEVICE.load(Ordering::Relaxed), NUMBER.load(Ordering::Relaxed));
    (file >= 0 && which(file) == Some(made)).then_some(file)
}

/// The same; in a process that was not forked from the one that made it, it is looked for there, once.
fn file_of(tally: Option<&Tally>) -> Option<RawFd> {
    if let Some(tally) = tally
        && FILE.load(Ordering::Acquire) < 0
        && !SOUGHT.swap(true, Ordering::Relaxed)
        && let Some(path) = find(tally)
        && let Ok(found) = OpenOptions::new().read(true).write(true).open(path)
        && let Some(found) = high(found.into())
    {
        keep(found);
    }
    file()
}

fn find(tally: &Tally) -> Option<PathBuf> {
    let wanted = format!("/memfd:{} (deleted)", name_of(tally));
    let files = std::fs::read_dir(format!("/proc/{}/fd", tally.pid)).ok()?;
    let mut paths = files.filter_map(Result::ok).map(|entry| entry.path());
    paths.find(|path| path.read_link().is_ok_and(|link| *link.as_os_str() == *wanted))
}

/// The turn, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    place: Place,
    file: Option<RawFd>,
}

impl Turn {
    /// Takes it. The error says that it would block if another thread or process has it.
    pub fn take(place: Place, tally: Option<&Tally>) -> io::Result<Turn> {
        let (writer, pid) = (&WRITERS[place as usize], std::process::id());
        let taken = writer.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| (held != pid).then_some(pid));
        if taken.is_err() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // From here on it is given back by being dropped.
        let mut turn = Turn { place, file: None };
        if let Some(file) = file_of(tally) {
            match lock(file, place, libc::F_WRLCK) {
                Ok(()) => turn.file = Some(file),
                Err(libc::EAGAIN | libc::EACCES) => return Err(io::ErrorKind::WouldBlock.into()),
                // A system without such locks has no turns.
                Err(_) => {}
            }
        }
        Ok(turn)
    }

    /// Writes the lines that there is room for now, each whole, or (`lines` is false) all as one piece. `put` is told how
    /// much of a piece has been written, writes some of what it is given, or fails; then a piece that was begun is not
    /// counted as written, and whoever writes next begins on a new line.
    pub fn write(
        &self,
        bytes: &[u8],
        lines: bool,
        mut put: impl FnMut(usize, &[u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if self.is_torn() {
            put(0, b"\n")?;
            self.note(false);
        }
        let mut done = 0;
        loop {
            let written = bytes.get(..done).unwrap_or_default();
            let whole =
                if lines { written.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1) } else { 0 };
            let is_over = done == bytes.len() || (done > 0 && whole == done);
            if done > 0 && self.is_torn() == is_over {
                self.note(!is_over);
            }
            if is_over {
                return Ok(done);
            }
            match put(done - whole, bytes.get(done..).unwrap_or_default()) {
                Ok(0) | Err(_) if whole > 0 => return Ok(whole),
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => done += count,
                Err(error) => return Err(error),
            }
        }
    }

    fn is_torn(&self) -> bool {
        let Some(file) = self.file else { return TORN[self.place as usize].load(Ordering::Relaxed) };
        let mut byte = 0_u8;
        // SAFETY: room for one byte; behind the end of the file there is none.
        unsafe { libc::pread(file, (&raw mut byte).cast(), 1, self.place as libc::off_t) == 1 && byte != 0 }
    }

    fn note(&self, torn: bool) {
        let Some(file) = self.file else { return TORN[self.place as usize].store(torn, Ordering::Relaxed) };
        let byte = u8::from(torn);
        // If it cannot be noted, a line may stand behind a piece of another one.
        // SAFETY: one byte, which lives for the call.
        unsafe { libc::pwrite(file, (&raw const byte).cast(), 1, self.place as libc::off_t) };
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(file) = self.file {
            // If the program has closed the file, the lock is gone already.
            let _ = lock(file, self.place, libc::F_UNLCK);
        }
        let pid = std::process::id();
        // Taken by this thread, unless it is one of before a fork.
        let _ = WRITERS[self.place as usize].compare_exchange(pid, 0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Locks the byte of a place, or gives it back, without waiting. The error is the system's number.
fn lock(file: RawFd, place: Place, kind: libc::c_int) -> Result<(), libc::c_int> {
    // SAFETY: numbers, for which zero is a value.
    let mut wish: libc::flock = unsafe { std::mem::zeroed() };
    wish.l_type = libc::c_short::try_from(kind).unwrap_or_default();
    wish.l_whence = libc::c_short::try_from(libc::SEEK_SET).unwrap_or_default();
    wish.l_start = place as libc::off_t;
    wish.l_len = 1;
    // SAFETY: one structure, which lives for the call; it asks for nothing that waits.
    if unsafe { libc::fcntl(file, libc::F_SETLK, &raw const wish) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error().raw_os_error().unwrap_or_default())
}

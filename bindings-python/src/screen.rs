//! Where people look: standard error and standard output, as the command was given them. A program may give others to a
//! process that it starts, or to itself, and read what comes there: nothing of ours belongs into that. On the walk of a
//! hit going out, at its end, after [`crate::sinks`].
//!
//! Such a process opens the stream anew, where another process of the run still has it. A file that is not appended to
//! cannot be shared that way: what is said then waits in the memory that all processes share, and comes with the sum.

use crate::outlet::{self, Patience, Share};
use crate::tally::Tally;
use std::fs::{File, Metadata, OpenOptions, read_to_string};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use stroboscope_core::control::tally::Audience;
use stroboscope_core::control::terminal::Look;

/// A file is known by its device and number.
type Identity = (u64, u64);

/// The streams of the command: the process that the user started, and its standard output and error.
pub type Streams = (u32, [Option<Identity>; 2]);

static STREAMS: OnceLock<Streams> = OnceLock::new();
static SHARED: OnceLock<Tally> = OnceLock::new();

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output = 1,
    /// Standard error.
    Error = 2,
}

/// Says which streams are meant from now on. Without it, they are this process's own.
pub fn are(streams: Streams) {
    // Of a run there is one set.
    let _ = STREAMS.set(streams);
}

/// Says what is shared with the process that speaks last.
pub fn share(tally: &Tally) {
    let _ = SHARED.set(tally.clone());
}

/// Lends the stream; an error if there is no way to it.
fn with<R>(stream: Stream, use_it: impl FnOnce(&mut File) -> io::Result<R>) -> io::Result<R> {
    // SAFETY: only borrowed, never closed here. If the program has closed it, what is done with it fails, and nothing else.
    let mut own = ManuallyDrop::new(unsafe { File::from_raw_fd(stream as i32) });
    let wanted = STREAMS.get().and_then(|(pid, [output, error])| {
        let identity = if stream == Stream::Output { output } else { error };
        identity.map(|identity| (*pid, identity))
    });
    match wanted {
        Some((pid, identity)) if !is_in(&own.metadata(), identity) => use_it(&mut open(pid, identity, stream)?),
        _ => use_it(&mut own),
    }
}

/// Writes whole lines to standard error, for so long at most.
pub fn write(text: &[u8], limit: Duration) -> io::Result<()> {
    let patience = Patience::default();
    patience.ends_in(limit);
    Lines(Stream::Error, Arc::new(patience), Share::Words).write_all(text)
}

/// Says what other processes could not.
pub fn say(output: &str, error: &str, patience: &Arc<Patience>) {
    for (stream, text) in [(Stream::Output, output), (Stream::Error, error)] {
        // Who has closed it wants nothing.
        let _ = Lines(stream, Arc::clone(patience), Share::Events).write_all(text.as_bytes());
    }
}

/// How it looks now: it may be a terminal, and windows change.
pub fn look(no_color: bool, utc_offset: Option<i32>) -> Look {
    // Without a way to it, what is said comes later, into a file.
    let (terminal, width) = with(Stream::Error, |file| Ok(measure(file))).unwrap_or_default();
    Look { colors: terminal && !no_color, width, utc_offset }
}

/// Whether it is a terminal, and its columns.
fn measure(file: &File) -> (bool, usize) {
    // SAFETY: four numbers, for which zero is a value.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, and room for what is answered.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    if answer == 0 { (true, usize::from(size.ws_col)) } else { (false, 0) }
}

/// A sink's way to it, with how long it waits for room, and for how much.
pub struct Lines(pub Stream, pub Arc<Patience>, pub Share);

impl Lines {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = || with(self.0, |file| outlet::now(file, bytes, self.2));
        outlet::write(&self.1, write, || with(self.0, |file| outlet::wait(file)))
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.try_write(bytes), SHARED.get()) {
            // A program that has closed its output wants none.
            (Err(error), _) if error.raw_os_error() == Some(libc::EBADF) => Ok(bytes.len()),
            // Without a way to it, the last process says it.
            (Err(error), Some(shared)) if error.kind() == io::ErrorKind::NotFound => {
                let to = if self.0 == Stream::Output { Audience::Programs } else { Audience::People };
                shared.say(to, bytes).map(|()| bytes.len())
            }
            (written, _) => written,
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_in(found: &io::Result<Metadata>, identity: Identity) -> bool {
    match found {
        Ok(found) => (found.dev(), found.ino()) == identity,
        // Closed by the program: nothing is written then.
        Err(error) => error.raw_os_error() == Some(libc::EBADF),
    }
}

/// Opens it anew for one use: who holds it would keep its reader waiting.
fn open(pid: u32, identity: Identity, stream: Stream) -> io::Result<File> {
    let first = SHARED.get().map(|tally| tally.pid);
    for process in [Some(pid), first, Some(std::process::id())].into_iter().flatten() {
        let folder = PathBuf::from(format!("/proc/{process}"));
        // The stream itself before its copies.
        let others = std::fs::read_dir(folder.join("fd")).into_iter().flatten().filter_map(Result::ok);
        let names = std::iter::once((stream as i32).to_string().into()).chain(others.map(|entry| entry.file_name()));
        for name in names {
            let path = folder.join("fd").join(&name);
            if is_in(&path.metadata(), identity)
                && let Some(file) = open_at(&path, &folder.join("fdinfo").join(&name), identity)
            {
                return Ok(file);
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the stream that the command was given is out of reach"))
}

fn open_at(path: &Path, about: &Path, identity: Identity) -> Option<File> {
    let kind = path.metadata().ok()?.file_type();
    let is_stream = kind.is_fifo() || kind.is_char_device();
    let can_be_shared = is_stream || (kind.is_file() && is_appended(about));
    if !can_be_shared {
        return None;
    }
    let mut options = OpenOptions::new();
    // A pipe that nobody reads any more is not waited for.
    let flags = libc::O_NOCTTY | if is_stream { libc::O_NONBLOCK } else { 0 };
    let file = options.append(true).custom_flags(flags).open(path).ok()?;
    // SAFETY: a descriptor of ours: how it waits concerns nobody else. Where that fails, a full pipe is an error.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETFL, libc::O_APPEND) };
    is_in(&file.metadata(), identity).then_some(file)
}

/// True if writing to an open file always goes to its end.
fn is_appended(about: &Path) -> bool {
    let text = read_to_string(about).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & libc::O_APPEND != 0)
}

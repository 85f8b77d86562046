//! Where people look: standard error and standard output, as the command was given them. A program may give others to a
//! process that it starts, or to itself, and read what comes there: nothing of ours belongs into that. On the walk of a
//! hit going out, at its end, after [`crate::sinks`].
//!
//! Such a process opens the stream anew, where another process of the run still has it. A file that is not appended to
//! cannot be shared that way: what is said then waits in the memory that all processes share, and comes with the sum.
//!
//! A daemon, or a server that writes its standard error into a log, leaves the stream for good, and none of its processes
//! has it any more. A terminal and a file are opened by their names then. Of a pipe nothing is left: what people are told
//! goes into the file that the program has put in its place, if it is one; else it is not written, and counted as such.

use crate::outlet::{self, Patience, Share};
use crate::tally::Tally;
use crate::turns::{Place, Turn};
use std::fs::{File, Metadata, OpenOptions, read_to_string};
use std::io::{self, Write};
use std::mem::ManuallyDrop;
use std::os::fd::FromRawFd as _;
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
/// What they are called: files and terminals have names.
static NAMES: OnceLock<[Option<PathBuf>; 2]> = OnceLock::new();
static SHARED: OnceLock<Tally> = OnceLock::new();

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output = 1,
    /// Standard error.
    Error = 2,
}

/// Those of this process: for a command, which becomes the program.
pub fn own() -> Streams {
    let identity = |stream: Stream| {
        let found = PathBuf::from(format!("/proc/self/fd/{}", stream as i32)).metadata();
        found.ok().map(|found| (found.dev(), found.ino()))
    };
    (std::process::id(), [identity(Stream::Output), identity(Stream::Error)])
}

/// Says which streams are meant from now on. Without it, they are this process's own.
pub fn are(streams: Streams) {
    let (pid, [output, error]) = streams;
    // Of a run there is one set.
    let _ = STREAMS.set(streams);
    let name = |stream, identity: Option<Identity>| {
        let found = identity.and_then(|identity| copies(pid, identity, stream).next());
        found.and_then(|(path, _)| path.read_link().ok())
    };
    let _ = NAMES.set([name(Stream::Output, output), name(Stream::Error, error)]);
}

/// Whether the command was given a standard error; `None` without the command.
pub fn has_error() -> Option<bool> {
    STREAMS.get().map(|(_, [_, error])| error.is_some())
}

/// Says what is shared with the process that speaks last.
pub fn share(tally: &Tally) {
    let _ = SHARED.set(tally.clone());
}

/// What is shared with it, if this is a process of a run.
pub fn shared() -> Option<&'static Tally> {
    SHARED.get()
}

/// Lends the stream; an error if there is no way to it.
fn with<R>(stream: Stream, use_it: impl FnOnce(&mut File) -> io::Result<R>) -> io::Result<R> {
    outlet::in_turn(|| lend(stream, use_it))
}

fn lend<R>(stream: Stream, use_it: impl FnOnce(&mut File) -> io::Result<R>) -> io::Result<R> {
    // SAFETY: only borrowed, never closed here. If the program has closed it, what is done with it fails, and nothing else.
    let mut own = ManuallyDrop::new(unsafe { File::from_raw_fd(stream as i32) });
    let Some((pid, [output, error])) = STREAMS.get() else { return use_it(&mut own) };
    let Some(identity) = (if stream == Stream::Output { *output } else { *error }) else {
        // The number may be any file of the program's.
        return Err(io::Error::new(io::ErrorKind::NotConnected, "the command was given none"));
    };
    // A copy stays what was looked at, whatever the program puts in its place meanwhile.
    let mut copy = own.try_clone().ok();
    let own = copy.as_mut().unwrap_or(&mut own);
    let found = own.metadata();
    if found.as_ref().is_ok_and(|found| is(found, identity)) {
        return use_it(own);
    }
    match open(*pid, identity, stream) {
        Err(error) if is_gone(&error) => {
            let is_log =
                stream == Stream::Error && found.is_ok_and(|found| found.is_file() && is_of_command(*pid, &found));
            if is_log { use_it(own) } else { Err(error) }
        }
        anew => use_it(&mut anew?),
    }
}

/// True if nothing of the run's standard error is left once this process has put `other` in its place: it is the last that
/// has it, it has no name, and what comes in its place is no file.
pub fn ends_with(other: i32) -> bool {
    let Some((pid, [_, Some(identity)])) = STREAMS.get() else { return false };
    let own = PathBuf::from(format!("/proc/{}/fd/2", std::process::id()));
    if !own.metadata().is_ok_and(|found| is(&found, *identity)) {
        return false;
    }
    let other = own.with_file_name(other.to_string()).metadata();
    if !other.is_ok_and(|other| !other.is_file() && !is(&other, *identity)) {
        return false;
    }
    let name = NAMES.get().and_then(|[_, error]| error.as_deref());
    let named = outlet::in_turn(|| name.is_some_and(|name| open_at(name, true, *identity).is_some()));
    !named && outlet::between(|| copies(*pid, *identity, Stream::Error).all(|(path, _)| path == own))
}

/// True if this is what the process that the user started has as its standard error now: what a process below it writes
/// there is not captured by one in between.
fn is_of_command(pid: u32, found: &Metadata) -> bool {
    let its = PathBuf::from(format!("/proc/{pid}/fd/2")).metadata();
    its.is_ok_and(|its| is(&its, (found.dev(), found.ino())))
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
    rustix::termios::tcgetwinsize(file).map_or((false, 0), |size| (true, usize::from(size.ws_col)))
}

/// A sink's way to it, with how long it waits for room, and for how much.
pub struct Lines(pub Stream, pub Arc<Patience>, pub Share);

impl Lines {
    /// Lines for programs are each in one piece, what is told to people is one.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let (place, lines) = match self.0 {
            Stream::Output => (Place::Output, true),
            Stream::Error => (Place::Error, false),
        };
        let take = || Turn::take(place, SHARED.get());
        let turn = outlet::write(&self.1, take, || Ok(outlet::NAP))?;
        turn.write(bytes, lines, |_, rest| {
            let write = || with(self.0, |file| outlet::now(file, rest, self.2));
            let written = outlet::write(&self.1, write, || with(self.0, |file| outlet::pause(file)));
            written.inspect(|_| self.1.is_rewarded())
        })
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match (self.try_write(bytes), SHARED.get()) {
            // Without a way to it, the last process says it, unless that has none either.
            (Err(error), Some(shared)) if is_out_of_reach(&error) && shared.is_heard(is_gone(&error)) => {
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

/// True if no process of the run has the stream any more.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected
}

/// True if there is no way to the stream from here.
fn is_out_of_reach(error: &io::Error) -> bool {
    is_gone(error) || error.kind() == io::ErrorKind::NotFound
}

fn is(found: &Metadata, identity: Identity) -> bool {
    (found.dev(), found.ino()) == identity
}

/// Where processes of the run have it: the descriptor, and what the system says about it.
fn copies(pid: u32, identity: Identity, stream: Stream) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    let first = SHARED.get().map(|tally| tally.pid);
    let processes = [Some(pid), first, Some(std::process::id())].into_iter().flatten();
    processes.flat_map(move |process| {
        let folder = PathBuf::from(format!("/proc/{process}"));
        // The stream itself before its copies.
        let others = std::fs::read_dir(folder.join("fd")).into_iter().flatten().filter_map(Result::ok);
        let names = std::iter::once((stream as i32).to_string().into()).chain(others.map(|entry| entry.file_name()));
        let paths = names.map(move |name| (folder.join("fd").join(&name), folder.join("fdinfo").join(&name)));
        paths.filter(move |(path, _)| path.metadata().is_ok_and(|found| is(&found, identity)))
    })
}

/// Opens it anew for this turn. The error is `NotConnected` if no process of the run has it any more.
fn open(pid: u32, identity: Identity, stream: Stream) -> io::Result<File> {
    let mut kept = false;
    for (path, about) in copies(pid, identity, stream) {
        kept = true;
        if let Some(own) = open_at(&path, is_appended(&about), identity) {
            return Ok(own);
        }
    }
    if kept {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the file that the command was given cannot be shared"));
    }
    let [output, error] = NAMES.get().map_or([None, None], |names| names.each_ref().map(Option::as_deref));
    let name = if stream == Stream::Output { output } else { error };
    // Of those that could write into the middle of it none is left.
    name.and_then(|name| open_at(name, true, identity))
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the program has left the stream"))
}

fn open_at(path: &Path, to_its_end: bool, identity: Identity) -> Option<File> {
    let found = path.metadata().ok()?;
    let kind = found.file_type();
    let is_stream = kind.is_fifo() || kind.is_char_device();
    let can_be_shared = is_stream || (kind.is_file() && to_its_end);
    if !can_be_shared || !is(&found, identity) {
        return None;
    }
    let mut options = OpenOptions::new();
    // A pipe that nobody reads any more is not waited for.
    let flags = libc::O_NOCTTY | if is_stream { libc::O_NONBLOCK } else { 0 };
    let own = options.append(true).custom_flags(flags).open(path).ok()?;
    // How a descriptor of ours waits concerns nobody else. Where that fails, a full pipe is an error.
    let _ = rustix::fs::fcntl_setfl(&own, rustix::fs::OFlags::APPEND);
    own.metadata().is_ok_and(|found| is(&found, identity)).then_some(own)
}

/// True if writing to an open file always goes to its end.
fn is_appended(about: &Path) -> bool {
    let text = read_to_string(about).unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & libc::O_APPEND != 0)
}

//! Standard output and error as places for our lines: written past Node's own streams, which belong to the program. On the
//! walk of a hit going out, at its end, below [`crate::sinks`].
//!
//! Node makes pipes non-blocking, so one may be full: then the worker waits, and the program does not. Whoever reads nothing
//! for so long is waited for no more.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::BorrowedFd;
use stroboscope_core::control::terminal::Look;

/// How long a line waits for room.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

impl Stream {
    fn descriptor(self) -> BorrowedFd<'static> {
        match self {
            Stream::Output => rustix::stdio::stdout(),
            Stream::Error => rustix::stdio::stderr(),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let descriptor = self.descriptor();
        loop {
            match rustix::io::write(descriptor, bytes) {
                Err(Errno::AGAIN) => wait_for_room(descriptor)?,
                Err(Errno::INTR) => {}
                written => return Ok(written?),
            }
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wait_for_room(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let mut asked = [PollFd::new(&descriptor, PollFlags::OUT)];
    match poll(&mut asked, Some(&PATIENCE)) {
        Ok(0) => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it")),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Writes a line of ours to standard error.
pub fn say(text: &str) {
    // Who has no standard error, or does not read it, wants no lines there.
    let _ = Stream::Error.write_all(format!("{text}\n").as_bytes());
}

/// True if people look at standard error.
pub fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// How it looks now: windows change.
pub fn look(no_color: bool, utc_offset: Option<i32>) -> Look {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stderr()).ok();
    let width = size.map_or(0, |size| usize::from(size.ws_col));
    Look { colors: size.is_some() && !no_color, width, utc_offset }
}

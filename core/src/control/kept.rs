//! A descriptor that is kept open inside a program which may close all descriptors, ours too, and use their numbers for its
//! own: daemons do. What is no longer ours is neither used nor closed. On the walk of a hit going out, at its end: for
//! [`super::ndjson`] and [`crate::sender`].

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Stat, fstat};

/// The lowest number of what is kept for long: the low ones are the program's, whose first file gets the number that it
/// gets without us.
const HIGH: i32 = 240;

/// A descriptor, and which open file it was for.
#[derive(Debug)]
pub(crate) struct Kept<D: AsFd> {
    /// `None` only while it is dropped.
    descriptor: Option<D>,
    made: Stat,
}

impl<D: AsFd> Kept<D> {
    /// Keeps one that was just made.
    pub(crate) fn new(descriptor: D) -> io::Result<Self> {
        let made = fstat(&descriptor)?;
        Ok(Kept { descriptor: Some(descriptor), made })
    }

    /// Lends it. `None`: the program has closed it, and its number is free or the program's.
    pub(crate) fn get(&self) -> Option<&D> {
        self.descriptor.as_ref().filter(|descriptor| self.is_ours(descriptor))
    }

    /// True if it is this file.
    pub(crate) fn is_at(&self, there: &Stat) -> bool {
        (there.st_dev, there.st_ino) == (self.made.st_dev, self.made.st_ino)
    }

    fn is_ours(&self, descriptor: &D) -> bool {
        fstat(descriptor).is_ok_and(|now| self.is_at(&now))
    }
}

impl<D: AsFd> Drop for Kept<D> {
    fn drop(&mut self) {
        let Some(descriptor) = self.descriptor.take() else { return };
        if !self.is_ours(&descriptor) {
            // Closing it would close a file of the program's.
            std::mem::forget(descriptor);
        }
    }
}

/// The same file by a high number, or as it is where the system has none left.
pub(crate) fn out_of_the_way(descriptor: OwnedFd) -> OwnedFd {
    rustix::io::fcntl_dupfd_cloexec(&descriptor, HIGH).unwrap_or(descriptor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_number_that_is_the_program_s_now_is_neither_used_nor_closed() {
        let (ours, _) = UnixStream::pair().unwrap();
        let mut kept = Kept::new(OwnedFd::from(ours)).unwrap();
        assert!(kept.get().is_some());

        // The program closes it and opens something else, which gets the number.
        let (theirs, mut other_end) = UnixStream::pair().unwrap();
        rustix::io::dup2(&theirs, kept.descriptor.as_mut().unwrap()).unwrap();
        drop(theirs);
        assert!(kept.get().is_none());
        drop(kept);
        other_end.set_nonblocking(true).unwrap();
        let still_open = other_end.read(&mut [0]).unwrap_err();
        assert_eq!(still_open.kind(), io::ErrorKind::WouldBlock, "a closed one would be at its end");

        let (ours, mut other_end) = UnixStream::pair().unwrap();
        drop(Kept::new(OwnedFd::from(ours)).unwrap());
        assert_eq!(other_end.read(&mut [0]).unwrap(), 0, "what is ours is closed");
    }
}

//! The turn of one of several processes to do what is of use only once: what all forked children of a process have in common
//! is told by one of them. On neither walk; for [`crate::emit::symbols`].

use crate::control::kept::{Kept, out_of_the_way};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// A turn. It ends when it is dropped, or with the process, whatever ends that.
#[derive(Debug)]
pub(crate) struct Turn {
    /// What the system gives to one process at a time.
    _name: Option<Kept<OwnedFd>>,
}

impl Turn {
    /// Takes the turn of a name; nothing if somebody else has it. Where the system has no such names each has a turn.
    pub(crate) fn take(name: &str) -> Option<Turn> {
        match named(name) {
            Ok(name) => Some(Turn { _name: Kept::new(out_of_the_way(name)).ok() }),
            Err(Errno::ADDRINUSE) => None,
            Err(_) => Some(Turn { _name: None }),
        }
    }
}

/// A socket whose name is in no folder, and goes with it. Nobody sends anything there.
#[cfg(target_os = "linux")]
fn named(name: &str) -> Result<OwnedFd, Errno> {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, socket_with};
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddrUnix::new_abstract_name(format!("stroboscope-{name}").as_bytes())?)?;
    Ok(socket)
}

#[cfg(not(target_os = "linux"))]
fn named(_: &str) -> Result<OwnedFd, Errno> {
    Err(Errno::NOTSUP)
}

//! The file in which the processes of one run add up what they counted: memory without a name in any folder, made by the
//! process that the user started and reached by the others through `/proc`. It goes with the last process. What is
//! written there is the core's ([`stroboscope_core::control::tally`]). At the end of both walks.

use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use stroboscope_core::control::tally::{self, Audience, Counts, Sum};

/// Bytes that one process leaves to the end.
const MAX_SAID: usize = 4 << 20;
/// The lowest number of a descriptor that we keep: the low ones are the program's, whose first file gets the number that it
/// gets without us.
const HIGH: RawFd = 240;

/// Where the file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The process that made it, …
    pub pid: u32,
    /// … its descriptor there, …
    pub descriptor: RawFd,
    /// … and its name, which nothing else has: a program may close descriptors and use their numbers for its own.
    pub name: String,
}

impl Tally {
    /// Makes the file. `None` where the system does not; then each process speaks for itself.
    pub fn make() -> Option<Self> {
        let pid = std::process::id();
        // The standard library seeds its hashers from the system's generator.
        let name = format!("stroboscope-{:016x}", RandomState::new().build_hasher().finish());
        // It stays open until the process ends.
        let descriptor = nameless(&name)?.into_raw_fd();
        Some(Tally { pid, descriptor, name })
    }

    /// Forked children have it open themselves, others see it in the process that made it.
    fn open(&self) -> Option<File> {
        let own = PathBuf::from(format!("/proc/self/fd/{}", self.descriptor));
        let path = [own, PathBuf::from(format!("/proc/{}/fd/{}", self.pid, self.descriptor))];
        let path = path.into_iter().find(|path| path.read_link().is_ok_and(|link| self.is(&link)))?;
        OpenOptions::new().read(true).append(true).open(path).ok()
    }

    fn append(&self, line: &str) -> Option<File> {
        let mut file = self.open()?;
        file.write_all(line.as_bytes()).ok()?;
        Some(file)
    }

    /// Says that this process takes part.
    pub fn begins(&self) {
        // If nobody can be told, the end says so.
        let _ = self.append(&tally::begins(std::process::id()));
    }

    /// Hands counts over. False if nobody will read them.
    pub fn hand_over(&self, counts: Counts) -> bool {
        let pid = std::process::id();
        let text = self.append(&tally::ended(pid, counts)).and_then(|file| read(file).ok());
        text.is_some_and(|text| !tally::is_late(&text, pid))
    }

    /// True if the first process will say what is left to it. `gone`: nobody has the stream any more, that one included.
    pub fn is_heard(&self, gone: bool) -> bool {
        if self.pid == std::process::id() {
            return !gone;
        }
        PathBuf::from(format!("/proc/{}/fd/{}", self.pid, self.descriptor)).read_link().is_ok_and(|link| self.is(&link))
    }

    fn is(&self, link: &Path) -> bool {
        *link.as_os_str() == *format!("/memfd:{} (deleted)", self.name)
    }

    /// Has the first process say something at its end.
    pub fn say(&self, to: Audience, text: &[u8]) -> std::io::Result<()> {
        static SAID: AtomicUsize = AtomicUsize::new(0);
        if SAID.fetch_add(text.len(), Ordering::Relaxed) > MAX_SAID {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let line = tally::said(to, &String::from_utf8_lossy(text));
        self.append(&line).map(drop).ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    /// Notes when an end waited for the Agent in vain.
    pub fn note_hangs(&self, monotonic: u64) {
        // If nobody can be told, others wait for themselves.
        let _ = self.append(&tally::hangs(monotonic));
    }

    /// When an end last did; 0: none.
    pub fn hangs(&self) -> u64 {
        self.open().and_then(|file| read(file).ok()).map_or(0, |text| tally::hangs_since(&text))
    }

    /// What the other processes counted.
    pub fn sum(&self) -> Sum {
        let text = self.append(&tally::summed()).and_then(|file| read(file).ok());
        text.map(|text| tally::sum(&text)).unwrap_or_default()
    }
}

/// A new file without a name in any folder, which `/proc` calls so. `None` where the system makes none.
pub fn nameless(name: &str) -> Option<OwnedFd> {
    memfd_create(name, MemfdFlags::CLOEXEC).ok().and_then(high)
}

/// The same file by a high number.
pub fn high(low: OwnedFd) -> Option<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(low, HIGH).ok()
}

fn read(mut file: File) -> std::io::Result<String> {
    file.rewind()?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::Tally;
    use stroboscope_core::control::tally::{Audience, Counts, ProbeCounts};

    #[test]
    fn a_process_is_in_the_sum_until_it_was_made() {
        let tally = Tally::make().unwrap();
        let counts = Counts {
            probes: vec![ProbeCounts { id: "p".to_owned(), hits: 2, ..ProbeCounts::default() }],
            ..Counts::default()
        };
        tally.begins();
        assert!(tally.hand_over(counts.clone()), "the first process will read it");
        tally.say(Audience::People, b"seen\n").unwrap();
        let sum = tally.sum();
        assert_eq!((sum.ended, sum.silent, sum.counts.probes[0].hits, &*sum.said), (1, 0, 2, "seen\n"));
        let late = Tally { name: "other".to_owned(), ..tally };
        assert!(!late.hand_over(counts), "what is not found is read by nobody");
    }

    #[test]
    fn the_last_word_of_a_hanging_agent_is_told() {
        let tally = Tally::make().unwrap();
        assert_eq!(tally.hangs(), 0);
        tally.note_hangs(7);
        assert_eq!(tally.hangs(), 7);
    }
}

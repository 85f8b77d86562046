//! What was put into modules by this process or an earlier one, in a folder of the user's: to read that takes a tenth of the time
//! of writing guards anew. On the walk of a module being loaded, between [`crate::units`] and the rewriter. Whatever fails in
//! here costs that time and nothing else.
//!
//! What stands in the folder becomes code of the program, so nobody else may be able to write there. Files come into it whole, by a
//! new name first, and are never changed: processes need not wait for each other. A module does not wait until its file is written:
//! the hands do that when they have nothing else to do.

use crate::hands;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stroboscope_core::config::Cache;
use stroboscope_rewriter::{Guarded, Key, SourceKind, Unreadable};

/// Texts of fewer bytes are written anew: that is about as quick as to ask the system for a file.
const SMALLEST: usize = 1 << 10;
/// The most that the folder keeps, in bytes.
const MOST: u64 = 256 << 20;
/// The most that one file holds.
const LARGEST: u64 = MOST / 8;
/// One write in so many looks how much there is.
const RARELY: u32 = 256;
/// How names of files end.
const SUFFIX: &str = ".guards";

static FOLDER: Mutex<Option<Arc<Folder>>> = Mutex::new(None);
/// What is to be written, the next one last.
static LATER: Mutex<Vec<(Key, Vec<u8>)>> = Mutex::new(Vec::new());
static WRITES: AtomicU32 = AtomicU32::new(0);

fn folder() -> MutexGuard<'static, Option<Arc<Folder>>> {
    FOLDER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what is written from now on where the settings say.
pub fn keep(cache: &Cache) {
    *folder() = match cache {
        Cache::Off => None,
        Cache::Default(path) => path.clone().map(|path| Arc::new(Folder::new(path, false))),
        Cache::Folder(path) => Some(Arc::new(Folder::new(path.clone(), true))),
    };
}

/// A text with guards, from the cache if it is there.
pub fn guarded(text: &str, kind: SourceKind, cell: &str) -> Result<Guarded, Unreadable> {
    let Some(folder) = folder().clone().filter(|folder| text.len() >= SMALLEST && folder.is_usable()) else {
        return stroboscope_rewriter::guarded(text, kind, cell);
    };
    let key = Key::of(text, kind, cell);
    if let Some(found) = folder.read(key).and_then(|kept| Guarded::of_kept(&kept, key, text, cell)) {
        return Ok(found);
    }
    let guarded = stroboscope_rewriter::guarded(text, kind, cell)?;
    if folder.is_writable()
        && let Some(kept) = guarded.keep(key, cell).filter(|kept| kept.len() as u64 <= LARGEST)
    {
        later().push((key, kept));
        hands::watch();
    }
    Ok(guarded)
}

fn later() -> MutexGuard<'static, Vec<(Key, Vec<u8>)>> {
    LATER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes one of those that wait for it. False: none does.
pub fn write_one() -> bool {
    let Some((key, kept)) = later().pop() else { return false };
    if let Some(folder) = folder().clone().filter(|folder| folder.is_writable()) {
        folder.write(key, &kept);
        if key.is_one_in(RARELY) {
            folder.tidy(MOST);
        }
    }
    true
}

/// Why a folder is of no use.
enum Problem {
    /// The system's reason, such as that it is not there.
    System(Errno),
    /// Others could have written what stands there.
    Unsafe(String),
}

impl From<Errno> for Problem {
    fn from(error: Errno) -> Problem {
        Problem::System(error)
    }
}

struct Folder {
    path: PathBuf,
    /// Somebody wants this one, and is told if it cannot be used.
    is_named: bool,
    is_unsafe: AtomicBool,
    is_left: AtomicBool,
}

impl Folder {
    fn new(path: PathBuf, is_named: bool) -> Folder {
        Folder { path, is_named, is_unsafe: AtomicBool::new(false), is_left: AtomicBool::new(false) }
    }

    fn is_usable(&self) -> bool {
        !self.is_unsafe.load(Ordering::Relaxed)
    }

    fn is_writable(&self) -> bool {
        self.is_usable() && !self.is_left.load(Ordering::Relaxed)
    }

    fn read(&self, key: Key) -> Option<Vec<u8>> {
        let folder = self.open().map_err(|problem| self.tell_unsafe(problem)).ok()?;
        // A pipe would wait for somebody who writes.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name(key), flags, Mode::empty()).ok()?;
        let stat = rustix::fs::fstat(&file).ok()?;
        let size = u64::try_from(stat.st_size).ok().filter(|size| is_trusted(&stat) && *size <= LARGEST)?;
        // A file of the folder is never changed: what is missing or more is none of ours, and its sum says so.
        let mut kept = vec![0; size as usize];
        File::from(file).read_exact(&mut kept).ok()?;
        Some(kept)
    }

    fn write(&self, key: Key, kept: &[u8]) {
        let problem = match self.try_write(key, kept) {
            Ok(()) => return,
            Err(problem) => problem,
        };
        let Problem::System(error) = problem else { return self.tell_unsafe(problem) };
        // What stands there is still read.
        if !self.is_left.swap(true, Ordering::Relaxed) && self.is_named {
            self.warn(&format!("it cannot be written there: {error}"));
        }
    }

    fn try_write(&self, key: Key, kept: &[u8]) -> Result<(), Problem> {
        let folder = match self.open() {
            Err(Problem::System(Errno::NOENT)) => {
                self.make()?;
                self.open()?
            }
            other => other?,
        };
        let new = format!("{}.{}.{}", name(key), std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&folder, &new, flags, Mode::RUSR | Mode::WUSR) {
            // A process of the same number in another container has it, or had.
            Err(Errno::EXIST) => return Ok(()),
            other => other?,
        };
        let written =
            File::from(file).write_all(kept).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
        let done = written.and_then(|()| rustix::fs::renameat(&folder, &new, &folder, name(key)));
        done.map_err(|error| {
            // What is left over goes when there is too much.
            let _ = rustix::fs::unlinkat(&folder, &new, AtFlags::empty());
            Problem::System(error)
        })
    }

    /// The folder itself, if it belongs to us alone.
    fn open(&self) -> Result<OwnedFd, Problem> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&folder)?;
        if stat.st_uid != us() {
            let (theirs, us) = (stat.st_uid, us());
            return Err(Problem::Unsafe(format!("it belongs to another user ({theirs}; this is {us})")));
        }
        let mode = stat.st_mode & 0o777;
        if mode & 0o077 != 0 {
            return Err(Problem::Unsafe(format!("others may use it (mode {mode:o}; 700 is right)")));
        }
        Ok(folder)
    }

    /// Makes the folder. Where it is the default, not in a home of somebody else, who could not use it then, and not the home: who
    /// has none, as users of services often do, gets none.
    fn make(&self) -> Result<(), Errno> {
        let around = self.path.ancestors().skip(1).take(2).find_map(|path| path.metadata().ok());
        if !self.is_named && around.is_none_or(|around| around.uid() != us()) {
            return Err(Errno::ACCESS);
        }
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Removes the oldest files if all together are more than this, until a quarter is free.
    fn tidy(&self, most: u64) {
        let Ok(folder) = self.open() else { return };
        let Ok(entries) = Dir::read_from(&folder) else { return };
        let mut files = Vec::new();
        for entry in entries.flatten().filter(|entry| is_ours(&entry.file_name().to_string_lossy())) {
            let stat = rustix::fs::statat(&folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
            if let Ok(stat) = stat
                && is_file(&stat)
            {
                files.push(((stat.st_mtime, stat.st_mtime_nsec), stat.st_size as u64, entry.file_name().to_owned()));
            }
        }
        let mut all: u64 = files.iter().map(|(_, size, _)| size).sum();
        if all <= most {
            return;
        }
        files.sort_unstable();
        for (_, size, name) in files {
            if all <= most / 4 * 3 {
                return;
            }
            // Another process may have done so.
            let _ = rustix::fs::unlinkat(&folder, &name, AtFlags::empty());
            all -= size;
        }
    }

    /// One that is not there yet, or cannot be opened, is no more than empty.
    fn tell_unsafe(&self, problem: Problem) {
        if let Problem::Unsafe(why) = problem
            && !self.is_unsafe.swap(true, Ordering::Relaxed)
        {
            self.warn(&why);
        }
    }

    fn warn(&self, why: &str) {
        let path = self.path.display();
        log::warn!(target: "stroboscope", "nothing is kept in {path} for the next start: {why}");
    }
}

fn us() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn name(key: Key) -> String {
    format!("{key}{SUFFIX}")
}

/// True for the name of a file that was made here: others are nobody's to be removed.
fn is_ours(name: &str) -> bool {
    let (key, rest) = name.split_at_checked(32).unwrap_or_default();
    let mut rest = rest.strip_prefix(SUFFIX).unwrap_or("?").chars();
    key.bytes().all(|byte| byte.is_ascii_hexdigit()) && !key.is_empty() && rest.all(|c| c == '.' || c.is_ascii_digit())
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// True for a file that nobody else has written: the folder may have been open to others once.
fn is_trusted(stat: &Stat) -> bool {
    is_file(stat) && stat.st_uid == us() && stat.st_mode & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::{Folder, Problem, is_ours};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};
    use stroboscope_rewriter::{Key, SourceKind};

    /// A folder that is not there yet.
    fn place(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("strobe-cache-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        path
    }

    fn key(text: &str) -> Key {
        Key::of(text, SourceKind::Esm, "$cell")
    }

    #[test]
    fn what_is_written_is_read() {
        let path = place("read");
        let folder = Folder::new(path.join("deep"), true);
        assert!(folder.read(key("a")).is_none());
        folder.write(key("a"), b"of a");
        folder.write(key("a"), b"of a again");
        assert_eq!(folder.read(key("a")).as_deref(), Some(&b"of a again"[..]));
        assert!(folder.read(key("b")).is_none());
        let names = fs::read_dir(path.join("deep")).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), [format!("{}.guards", key("a")).as_str()]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn only_regular_files_of_our_own_are_read() {
        let path = place("kinds");
        let folder = Folder::new(path.clone(), true);
        folder.write(key("a"), b"of a");
        let file = |text| path.join(format!("{}.guards", key(text)));
        std::os::unix::fs::symlink(file("a"), file("link")).unwrap();
        fs::create_dir(file("folder")).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, file("pipe"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        folder.write(key("open"), b"of somebody");
        fs::set_permissions(file("open"), fs::Permissions::from_mode(0o620)).unwrap();
        for text in ["link", "folder", "pipe", "open"] {
            assert!(folder.read(key(text)).is_none(), "{text}");
        }
        folder.write(key("link"), b"of link");
        folder.write(key("pipe"), b"of pipe");
        assert_eq!(folder.read(key("link")).as_deref(), Some(&b"of link"[..]));
        assert_eq!(folder.read(key("pipe")).as_deref(), Some(&b"of pipe"[..]));
        assert_eq!(folder.read(key("a")).as_deref(), Some(&b"of a"[..]));
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_use_is_left_alone() {
        let path = place("mode");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        let folder = Folder::new(path.clone(), false);
        assert!(
            matches!(folder.open(), Err(Problem::Unsafe(why)) if why == "others may use it (mode 750; 700 is right)")
        );
        folder.write(key("a"), b"of a");
        assert!(!folder.is_usable());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn the_oldest_go_first_and_nobody_elses() {
        let path = place("tidy");
        let folder = Folder::new(path.clone(), true);
        let file = |text: &str| path.join(format!("{}.guards", key(text)));
        let texts = ["4", "2", "0", "3", "1"];
        for text in texts {
            folder.write(key(text), &[0; 100]);
            let age = Duration::from_secs(1000 + 100 * text.parse::<u64>().unwrap());
            fs::File::options()
                .write(true)
                .open(file(text))
                .unwrap()
                .set_modified(SystemTime::UNIX_EPOCH + age)
                .unwrap();
        }
        fs::write(path.join("mine"), [0; 1000]).unwrap();
        folder.tidy(500);
        assert_eq!(texts.iter().filter(|text| file(text).exists()).count(), 5);
        folder.tidy(400);
        let mut left: Vec<&str> = texts.into_iter().filter(|text| file(text).exists()).collect();
        left.sort_unstable();
        assert_eq!(left, ["2", "3", "4"]);
        assert!(path.join("mine").exists());
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn names_that_are_ours() {
        let own = format!("{}.guards", key("a"));
        assert!(is_ours(&own) && is_ours(&format!("{own}.123.4")));
        for other in
            ["", "mine", ".guards", "0123.guards", &own[1..], &format!("{own}~"), &own[..32], &"größe".repeat(6)]
        {
            assert!(!is_ours(other), "{other}");
        }
    }
}

//! Events, metrics and spans as lines of JSON, to a file or to stdout. On the walk of a hit going out, at its end; before it
//! `worker.rs`.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::kept::{self, Kept};
use super::{EventView, MetricView, Sink, SpanView, Standard, StatusView};

/// Lines wait here until the worker's round ends, or until this many bytes wait.
const HELD: usize = 64 * 1024;
/// How often a pipe that is full is tried again, a millisecond apart. Whoever reads nothing in that time gets no more
/// patience until there is room again.
const PATIENCE: u32 = 500;

/// Writes one line of JSON per event.
pub struct NdjsonSink {
    out: Box<dyn Write + Send>,
    name: String,
    held: Vec<u8>,
    lines: u64,
    lost: u64,
    /// Where others see how many are lost.
    told: Option<Arc<AtomicU64>>,
    /// The last write left half a line.
    torn: bool,
    /// The reader has used up our patience.
    stuck: bool,
    said: bool,
}

impl NdjsonSink {
    /// As [`NdjsonSink::file`]. What cannot be opened is a remark, and is tried again with each write.
    pub fn open(path: &Path, remarks: &mut Vec<String>) -> Self {
        NdjsonSink::file(path).unwrap_or_else(|error| {
            remarks
                .push(format!("events cannot be written to {}: {error}; they are dropped and counted", path.display()));
            NdjsonSink::not_open(path)
        })
    }

    /// Appends to a file, which is made if it is not there, or writes to a pipe that somebody reads, or a device.
    ///
    /// # Errors
    ///
    /// The error of opening the file. Nothing is waited for: a pipe without a reader is an error.
    pub fn file(path: &Path) -> io::Result<Self> {
        let file = Reopened { path: path.to_owned(), file: Some(open(path)?) };
        Ok(NdjsonSink::new(Box::new(file), path.display().to_string()))
    }

    /// The same for a file that cannot be opened, which has been said: it is tried again with each write, and what cannot be
    /// written is counted.
    fn not_open(path: &Path) -> Self {
        let file = Reopened { path: path.to_owned(), file: None };
        let mut sink = NdjsonSink::new(Box::new(file), path.display().to_string());
        sink.said = true;
        sink
    }

    /// Writes to the program's own stdout.
    pub fn stdout() -> Self {
        NdjsonSink::new(Box::new(Standard::output()), "stdout".to_owned())
    }

    /// Writes to anything. `name` is what the log calls it.
    pub fn new(out: Box<dyn Write + Send>, name: String) -> Self {
        NdjsonSink {
            out,
            name,
            held: Vec::new(),
            lines: 0,
            lost: 0,
            told: None,
            torn: false,
            stuck: false,
            said: false,
        }
    }

    /// Says after each flush how many are lost, to those who cannot ask.
    #[must_use]
    pub fn telling(mut self, lost: &Arc<AtomicU64>) -> Self {
        self.told = Some(Arc::clone(lost));
        self
    }

    /// Writes through something else, such as what shares a pipe with other processes.
    #[must_use]
    pub fn through(mut self, way: impl FnOnce(Box<dyn Write + Send>) -> Box<dyn Write + Send>) -> Self {
        self.out = way(std::mem::replace(&mut self.out, Box::new(io::sink())));
        self
    }

    fn line(&mut self, json: &[u8]) {
        self.held.extend_from_slice(json);
        self.held.push(b'\n');
        self.lines += 1;
        if self.held.len() >= HELD {
            self.write();
        }
    }

    fn write(&mut self) {
        if self.held.is_empty() {
            return;
        }
        if self.torn {
            // Half a line stands at the end of the file; the next one begins on a line of its own.
            self.held.insert(0, b'\n');
        }
        let patience = if self.stuck { 0 } else { PATIENCE };
        let (written, result) = write_counted(&mut *self.out, &self.held, patience);
        let in_vain = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        self.stuck = result.as_ref().is_err_and(|error| in_vain.contains(&error.kind()));
        match result {
            Ok(()) => self.torn = false,
            Err(error) => {
                let done = self.held.get(..written).unwrap_or_default();
                let whole = done.iter().skip(usize::from(self.torn)).filter(|byte| **byte == b'\n').count();
                self.torn = done.last().map_or(self.torn, |byte| *byte != b'\n');
                self.lost += self.lines.saturating_sub(u64::try_from(whole).unwrap_or(u64::MAX));
                self.complain(&error);
            }
        }
        self.held.clear();
        self.lines = 0;
    }

    fn complain(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.said, true) {
            log::warn!("stroboscope: events cannot be written to {}: {error}; they are dropped and counted", self.name);
        }
    }
}

/// A file that is opened again by its path where the program has closed it, and where somebody has moved or removed it,
/// as those do who rotate logs.
struct Reopened {
    path: PathBuf,
    file: Option<Kept<File>>,
}

impl Reopened {
    /// True if another file is at the path now, or none. A path below these folders leads to what the program itself has
    /// open, which is not followed.
    fn is_elsewhere(&self, file: &Kept<File>) -> bool {
        let followed = !["/dev", "/proc"].iter().any(|folder| self.path.starts_with(folder));
        followed && !rustix::fs::stat(&self.path).is_ok_and(|there| file.is_at(&there))
    }
}

impl Write for Reopened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.as_ref().is_none_or(|file| file.get().is_none() || self.is_elsewhere(file)) {
            self.file = None;
            self.file = Some(open(&self.path)?);
        }
        let mut file = self.file.as_ref().and_then(Kept::get).ok_or(io::ErrorKind::NotFound)?;
        file.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<Kept<File>> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let opened = OpenOptions::new().create(true).append(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| match rustix::io::Errno::from_io_error(&error) {
        Some(rustix::io::Errno::NXIO) => io::Error::other("it is a pipe that nobody reads"),
        _ => error,
    })?;
    let kind = file.metadata()?.file_type();
    if !(kind.is_file() || kind.is_fifo() || kind.is_char_device()) {
        return Err(io::Error::other("it is neither a file nor a pipe"));
    }
    // It stays without waiting so that a write takes no longer than [`PATIENCE`].
    Kept::new(File::from(kept::out_of_the_way(file.into())))
}

/// Writes all, and says how much was written until an error. A pipe that is full is tried again so many times.
fn write_counted(out: &mut dyn Write, bytes: &[u8], mut patience: u32) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && patience > 0 => {
                patience -= 1;
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return (written, Err(error)),
        }
    }
    (written, out.flush())
}

impl Sink for NdjsonSink {
    fn event(&mut self, event: &EventView<'_>) {
        self.line(event.json);
    }

    fn metric(&mut self, metric: &MetricView<'_>) {
        self.line(metric.json);
    }

    fn span(&mut self, span: &SpanView<'_>) {
        self.line(span.json);
    }

    /// Whoever reads the lines expects what probes have caught and measured, and nothing else.
    fn status(&mut self, _: &StatusView<'_>) {}

    fn flush(&mut self) {
        self.write();
        if let Some(told) = &self.told {
            told.store(self.lost, Ordering::Relaxed);
        }
    }

    fn lost(&self) -> u64 {
        self.lost
    }
}

impl Drop for NdjsonSink {
    fn drop(&mut self) {
        self.write();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// A disk with room for some bytes.
    #[derive(Clone)]
    struct Disk {
        content: Arc<Mutex<Vec<u8>>>,
        room: Arc<Mutex<usize>>,
    }

    impl Disk {
        fn new(room: usize) -> Self {
            Disk { content: Arc::default(), room: Arc::new(Mutex::new(room)) }
        }
        fn text(&self) -> String {
            String::from_utf8(self.content.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            let count = bytes.len().min(*room);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room -= count;
            self.content.lock().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn event(json: &str) -> EventView<'_> {
        EventView { json: json.as_bytes(), message: "", probe: "p", site: "", time: 0 }
    }

    #[test]
    fn each_event_is_a_line_and_a_file_is_appended_to() {
        let path = std::env::temp_dir().join(format!("strobe-ndjson-{}.json", std::process::id()));
        let _ = std::fs::remove_file(&path);
        for round in 0..2 {
            let mut sink = NdjsonSink::file(&path).unwrap();
            sink.event(&event(&format!("{{\"n\":{round}}}")));
            sink.flush();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text, "{\"n\":0}\n{\"n\":1}\n");
    }

    #[test]
    fn a_file_that_was_moved_or_removed_is_made_anew() {
        let folder = std::env::temp_dir().join(format!("strobe-ndjson-rotated-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, old) = (folder.join("events.json"), folder.join("events.json.1"));
        let mut sink = NdjsonSink::file(&path).unwrap();
        let mut put = |json: &str| {
            sink.event(&event(json));
            sink.flush();
            sink.lost()
        };
        let mut lost = vec![put("1")];
        std::fs::rename(&path, &old).unwrap();
        lost.push(put("2"));
        std::fs::remove_file(&path).unwrap();
        lost.push(put("3"));
        lost.push(put("4"));
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((text(&old), text(&path)), ("1\n".to_owned(), "3\n4\n".to_owned()));
        std::fs::remove_dir_all(&folder).unwrap();
        lost.push(put("5"));
        assert_eq!(lost, [0, 0, 0, 0, 1], "a folder that is gone is not made");
    }

    #[test]
    fn a_file_that_could_not_be_opened_is_tried_again_and_the_loss_is_counted() {
        let folder = std::env::temp_dir().join(format!("strobe-ndjson-later-{}", std::process::id()));
        let path = folder.join("events.json");
        let mut sink = NdjsonSink::not_open(&path);
        sink.event(&event("{\"n\":0}"));
        sink.flush();
        assert_eq!(sink.lost(), 1);
        std::fs::create_dir_all(&folder).unwrap();
        sink.event(&event("{\"n\":1}"));
        sink.flush();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!((sink.lost(), &*text), (1, "{\"n\":1}\n"));
    }

    #[test]
    fn what_would_be_waited_for_is_refused() {
        let folder = std::env::temp_dir().join(format!("strobe-ndjson-pipes-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pipe = folder.join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let refused = |path: &Path| NdjsonSink::file(path).err().expect("it cannot be opened").to_string();
        assert_eq!(refused(&pipe), "it is a pipe that nobody reads");
        assert!(refused(&folder).contains("directory"));

        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let reader = rustix::fs::open(&pipe, flags, rustix::fs::Mode::empty()).unwrap();
        let mut sink = NdjsonSink::file(&pipe).unwrap();
        for _ in 0..100 {
            sink.event(&event(&"x".repeat(10_000)));
            sink.flush();
        }
        assert!((1..100).contains(&sink.lost()), "a pipe that is full is not waited for: {}", sink.lost());
        drop(sink);
        drop(reader);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_full_disk_loses_what_it_loses_and_the_rest_goes_on() {
        let disk = Disk::new(12);
        let mut sink = NdjsonSink::new(Box::new(disk.clone()), "test".into());
        for json in ["{\"n\":1}", "{\"n\":2}", "{\"n\":3}"] {
            sink.event(&event(json));
        }
        sink.flush();
        assert_eq!(sink.lost(), 2);
        sink.event(&event("{\"n\":4}"));
        sink.flush();
        assert_eq!(sink.lost(), 3);
        *disk.room.lock().unwrap() = 1000;
        sink.event(&event("{\"n\":5}"));
        sink.flush();
        assert_eq!(sink.lost(), 3);
        assert_eq!(disk.text(), "{\"n\":1}\n{\"n\"\n{\"n\":5}\n", "a torn line never swallows the next");
    }

    #[test]
    fn many_events_do_not_pile_up() {
        let disk = Disk::new(usize::MAX);
        let mut sink = NdjsonSink::new(Box::new(disk.clone()), "test".into());
        let json = format!("{{\"x\":\"{}\"}}", "y".repeat(HELD));
        sink.event(&event(&json));
        assert_eq!(disk.text().len(), json.len() + 1);
    }
}

//! Where events go inside this machine, as the settings say. Before both walks: [`crate::session`] opens them.

use crate::streams::{self, Stream};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use stroboscope_core::config::Settings;
use stroboscope_core::control::memory::Memory;
use stroboscope_core::control::ndjson::NdjsonSink;
use stroboscope_core::control::place::{Folder, Place, is_stdout};
use stroboscope_core::control::terminal::TerminalSink;
use stroboscope_core::control::{EventView, Sink, StatusView};

/// What was asked for.
#[derive(Clone)]
pub struct Wanted {
    /// The settings, as they were read at the start.
    pub settings: Settings,
    /// Where and how.
    pub place: Place,
    /// Events that could not be written to the NDJSON file.
    pub unwritten: Arc<AtomicU64>,
    /// Events that could not be shown.
    pub unshown: Arc<AtomicU64>,
    /// Seconds that local time is ahead of UTC.
    utc_offset: i32,
    /// The working folder at the start.
    folder: Folder,
}

impl Wanted {
    /// What was asked for in a process that was started in `folder`.
    pub fn new(settings: Settings, place: Place, utc_offset: i32, folder: &str) -> Wanted {
        let folder = Folder::new(folder);
        Wanted { settings, place, unwritten: Arc::default(), unshown: Arc::default(), utc_offset, folder }
    }

    /// True if events are shown to people.
    pub fn shows(&self) -> bool {
        self.place.shows(&self.settings, streams::is_terminal)
    }

    /// A text for people, with the paths in it as short as they can be.
    pub fn short<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.folder.short(text)
    }
}

/// Opens what is wanted. What cannot be opened is a remark, and the rest goes on.
pub fn open(wanted: &Wanted, memory: &Memory, remarks: &mut Vec<String>) -> Vec<Box<dyn Sink>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if wanted.place.keep {
        sinks.push(Box::new(memory.sink()));
    }
    sinks.extend(ndjson(wanted, remarks));
    if wanted.shows() {
        let (no_color, utc_offset) = (wanted.place.no_color, wanted.utc_offset);
        let sink = TerminalSink::changing(
            Box::new(Stream::Error),
            Box::new(move || streams::look(no_color, Some(utc_offset))),
        );
        sinks.push(Box::new(Terminal { sink, wanted: wanted.clone() }));
    }
    sinks
}

fn ndjson(wanted: &Wanted, remarks: &mut Vec<String>) -> Option<Box<dyn Sink>> {
    let path = wanted.settings.ndjson.as_deref()?;
    let sink = if is_stdout(path) {
        NdjsonSink::new(Box::new(Stream::Output), "standard output".to_owned())
    } else {
        NdjsonSink::open(path, remarks)
    };
    Some(Box::new(sink.telling(&wanted.unwritten)))
}

/// The terminal, with short paths. Processes below the first one tell events only: what becomes of the probes is known.
struct Terminal {
    sink: TerminalSink,
    wanted: Wanted,
}

impl Sink for Terminal {
    fn event(&mut self, event: &EventView<'_>) {
        let before = self.sink.lost();
        self.sink.event(&EventView { site: &self.wanted.short(event.site), ..*event });
        self.wanted.unshown.fetch_add(self.sink.lost() - before, Ordering::Relaxed);
    }
    fn status(&mut self, status: &StatusView<'_>) {
        if self.wanted.place.first || !self.wanted.place.command {
            self.sink.status(&StatusView { message: &self.wanted.short(status.message), ..*status });
        }
    }
    fn flush(&mut self) {
        self.sink.flush();
    }
    fn lost(&self) -> u64 {
        self.sink.lost()
    }
}

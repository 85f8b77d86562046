//! Where events go inside this machine, as the settings say. Before both walks: [`crate::session`] opens them, also in a
//! forked child, which inherits none.

use pyo3::prelude::*;
use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::path::Path;
use stroboscope_core::config::{Settings, Show};
use stroboscope_core::control::memory::Memory;
use stroboscope_core::control::ndjson::NdjsonSink;
use stroboscope_core::control::terminal::TerminalSink;
use stroboscope_core::control::{EventView, Sink, StatusView};

/// Where and how the session was asked for.
#[derive(Clone, Copy)]
#[allow(clippy::struct_excessive_bools, reason = "four facts that have nothing to do with one another")]
pub struct Place {
    /// By the command: somebody looks at standard error.
    pub command: bool,
    /// In the process that the command became; false below it.
    pub first: bool,
    /// The user wants no colours (`NO_COLOR`).
    pub no_color: bool,
    /// Events are kept in memory, for tests.
    pub keep: bool,
}

/// What was asked for: enough to begin again in a forked child.
#[derive(Clone)]
pub struct Wanted {
    /// The settings, as they were read at the start.
    pub settings: Settings,
    /// Where and how.
    pub place: Place,
    utc_offset: Option<i32>,
    /// The working folder at the start, with a slash at its end: what lies in it is shown by its shorter name.
    folder: String,
}

impl Wanted {
    /// Looks around once. What is not as it should be is added to the remarks.
    pub fn of(py: Python<'_>, mut settings: Settings, place: Place, remarks: &mut Vec<String>) -> PyResult<Wanted> {
        let now = py.import("time")?.call_method0("localtime")?;
        let utc_offset = now.getattr("tm_gmtoff")?.extract()?;
        // A folder that is gone shortens nothing.
        let folder: String =
            py.import("os")?.call_method0("getcwd").and_then(|folder| folder.extract()).unwrap_or_default();
        let folder = if folder.len() > 1 { format!("{folder}/") } else { String::new() };
        if let Some(path) = &settings.ndjson
            && !is_stdout(path)
        {
            // Absolute, since a child may be forked in another folder.
            match std::path::absolute(path) {
                Ok(path) => settings.ndjson = Some(path),
                Err(error) => remarks.push(format!("{}: {error}", path.display())),
            }
        }
        Ok(Wanted { settings, place, utc_offset, folder })
    }

    /// True if events are shown to people.
    fn shows(&self) -> bool {
        match self.settings.terminal {
            Show::Always => true,
            Show::Never => false,
            Show::Auto => !self.place.keep && std::io::stderr().is_terminal(),
        }
    }

    /// True if events go somewhere inside this machine.
    pub fn has_local_sink(&self) -> bool {
        self.place.keep || self.settings.ndjson.is_some() || self.shows()
    }

    /// A text for people, with the paths in it as short as they can be.
    pub fn short<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.folder.is_empty() && text.contains(&self.folder) {
            Cow::Owned(text.replace(&self.folder, ""))
        } else {
            Cow::Borrowed(text)
        }
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens what is wanted. What cannot be opened is a remark, and the rest goes on.
pub fn open(wanted: &Wanted, memory: &Memory, remarks: &mut Vec<String>) -> Vec<Box<dyn Sink>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if wanted.place.keep {
        sinks.push(Box::new(memory.sink()));
    }
    match &wanted.settings.ndjson {
        Some(path) if is_stdout(path) => sinks.push(Box::new(NdjsonSink::stdout())),
        Some(path) => match NdjsonSink::file(path) {
            Ok(sink) => sinks.push(Box::new(sink)),
            Err(error) => remarks.push(format!("events cannot be written to {}: {error}", path.display())),
        },
        None => {}
    }
    if wanted.shows() {
        let sink = TerminalSink::stderr(wanted.place.no_color, wanted.utc_offset);
        sinks.push(Box::new(Terminal { sink, wanted: wanted.clone() }));
    }
    sinks
}

/// The terminal, with short paths. Processes below the first one tell events only: what becomes of the probes is known.
struct Terminal {
    sink: TerminalSink,
    wanted: Wanted,
}

impl Sink for Terminal {
    fn event(&mut self, event: &EventView<'_>) {
        self.sink.event(&EventView { site: &self.wanted.short(event.site), ..*event });
    }
    fn status(&mut self, status: &StatusView<'_>) {
        if self.wanted.place.first {
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

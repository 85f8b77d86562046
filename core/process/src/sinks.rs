//! Where events go, as the settings say: inside this machine, or to an Agent. Before both walks: a binding's session opens
//! them, also in a forked child, which inherits none.

use crate::outlet::{self, Patience, Share};
use crate::screen::{self, Lines, Stream};
use crate::tally::Tally;
use crate::turns::{self, Place as Way, Turn};
use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use stroboscope_core::clock::Clock;
use stroboscope_core::config::Settings;
use stroboscope_core::control::agent;
use stroboscope_core::control::memory::Memory;
use stroboscope_core::control::ndjson::NdjsonSink;
use stroboscope_core::control::place::{Folder, Place, is_stdout};
use stroboscope_core::control::terminal::TerminalSink;
use stroboscope_core::control::{EventView, MetricView, Sink, SpanView, StatusView};
use stroboscope_core::datagrams::Datagrams;
use stroboscope_core::emit::output::Identity;
use stroboscope_core::sender::{Sender, SenderCounters};

/// How often room for the rest of a line is waited for, a millisecond each.
const NAPS: u32 = 500;

/// What was asked for: enough to begin again in a forked child.
#[derive(Clone)]
pub struct Wanted {
    /// The settings, as they were read at the start.
    pub settings: Settings,
    /// Where and how.
    pub place: Place,
    /// Where the processes of this run add up their counts.
    pub tally: Option<Tally>,
    /// Events that could not be written to the NDJSON file.
    pub unwritten: Arc<AtomicU64>,
    /// Events that could not be shown.
    pub unshown: Arc<AtomicU64>,
    /// How long the streams are waited for.
    pub patience: Arc<Patience>,
    utc_offset: Option<i32>,
    /// The working folder at the start.
    folder: Folder,
}

impl Wanted {
    /// What was asked for in a process that was started in `folder`, with its clock `utc_offset` seconds ahead of UTC, if
    /// that is known yet. What is not as it should be is added to the remarks.
    pub fn new(
        mut settings: Settings,
        place: Place,
        utc_offset: Option<i32>,
        folder: &str,
        remarks: &mut Vec<String>,
    ) -> Wanted {
        if let Some(path) = &settings.ndjson
            && !is_stdout(path)
        {
            // Absolute, since a child may be forked in another folder.
            match std::path::absolute(path) {
                Ok(path) => settings.ndjson = Some(path),
                Err(error) => remarks.push(format!("{}: {error}", path.display())),
            }
        }
        let (unwritten, unshown, patience) = Default::default();
        let folder = Folder::new(folder);
        Wanted { settings, place, tally: None, unwritten, unshown, patience, utc_offset, folder }
    }

    /// Local time is so many seconds ahead of UTC.
    pub fn ahead_of_utc(&mut self, seconds: i32) {
        self.utc_offset = Some(seconds);
    }

    /// The processes of a run share what they count and take turns: the first one makes what that takes, the others are told
    /// where it is.
    pub fn share(&mut self, known: Option<Tally>) {
        self.tally = match known {
            _ if !self.place.command => None,
            _ if self.place.first => Tally::make(),
            known => known,
        };
        if let Some(tally) = &self.tally {
            screen::share(tally);
        }
        // Below the first process it is found in that one.
        if self.place.first {
            turns::share(self.tally.as_ref());
        }
    }

    /// The same in a process below this one, with nothing counted yet.
    #[must_use]
    pub fn below(&self) -> Wanted {
        let (unwritten, unshown, patience) = Default::default();
        let place = Place { first: false, ..self.place };
        Wanted { place, unwritten, unshown, patience, ..self.clone() }
    }

    /// True if events are shown to people.
    pub fn shows(&self) -> bool {
        self.place.shows(&self.settings, || io::stderr().is_terminal())
    }

    /// True if people are told at the end what each probe did.
    pub fn tells_end(&self) -> bool {
        self.place.tells_end(self.shows())
    }

    /// The session ends within a time: its streams are waited for so that some of it is left for what comes after.
    pub fn streams_end_in(&self, limit: Duration) {
        self.patience.ends_in(limit.min(Duration::from_millis(1500)) * 2 / 3);
    }

    /// How long the last lines wait for room: not at all where what came before them was not read either.
    pub fn last_patience(&self) -> Duration {
        if self.patience.is_over() { Duration::ZERO } else { Duration::from_millis(300) }
    }

    /// A text for people, with the paths in it as short as they can be.
    pub fn short<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.folder.short(text)
    }
}

/// Opens what is wanted. What cannot be opened is a remark, and the rest goes on.
pub fn open(wanted: &Wanted, memory: &Memory, remarks: &mut Vec<String>) -> Vec<Box<dyn Sink>> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    // Before it writes, where it may be killed.
    if !wanted.place.first
        && let Some(tally) = &wanted.tally
    {
        sinks.push(Box::new(TakesPart(Some(tally.clone()))));
    }
    let lines = |stream| Lines(stream, Arc::clone(&wanted.patience), Share::Events);
    if wanted.place.keep {
        sinks.push(Box::new(memory.sink()));
    }
    if let Some(path) = &wanted.settings.ndjson {
        let sink = if is_stdout(path) {
            NdjsonSink::new(Box::new(lines(Stream::Output)), "standard output".to_owned())
        } else {
            in_turns(NdjsonSink::open(path, remarks), path)
        };
        sinks.push(Box::new(sink.telling(&wanted.unwritten)));
    }
    if wanted.shows() {
        let (no_color, utc_offset) = (wanted.place.no_color, wanted.utc_offset);
        let sink = TerminalSink::changing(
            Box::new(lines(Stream::Error)),
            Box::new(move || screen::look(no_color, utc_offset)),
        );
        sinks.push(Box::new(Terminal { sink, wanted: wanted.clone() }));
    }
    sinks
}

/// The upload, if events are to leave the machine. `client` is how the binding calls itself to an Agent.
pub fn upload(
    wanted: &Wanted,
    identity: &Identity,
    client: &str,
    counters: &Arc<SenderCounters>,
    remarks: &mut Vec<String>,
) -> Option<Sender> {
    if !wanted.place.uploads(&wanted.settings, wanted.shows()) {
        return None;
    }
    let who = agent::Identity {
        user_agent: client,
        debugger_version: env!("CARGO_PKG_VERSION"),
        host_name: &identity.hostname,
        runtime_id: &identity.runtime_id,
    };
    Sender::open(&wanted.settings, &who, counters, remarks)
}

/// The way of metrics, if they are to leave the machine. Nothing is opened before there are any.
pub fn metrics(wanted: &Wanted, identity: &Identity, clock: Arc<dyn Clock>) -> Option<Datagrams> {
    let leaves = wanted.place.sends_metrics(&wanted.settings, wanted.shows());
    leaves.then(|| Datagrams::open(&wanted.settings, &identity.service, clock)).flatten()
}

/// A pipe or a device is written to by one process after the other; a file takes each write whole.
fn in_turns(sink: NdjsonSink, path: &Path) -> NdjsonSink {
    let kind = path.metadata().map(|found| found.file_type());
    let is_stream = kind.is_ok_and(|kind| kind.is_fifo() || kind.is_char_device());
    if is_stream { sink.through(|out| Box::new(InTurns { out, stuck: false })) } else { sink }
}

/// Writes whole lines only.
struct InTurns {
    out: Box<dyn Write + Send>,
    /// A line that was begun has waited for room in vain.
    stuck: bool,
}

impl Write for InTurns {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let turn = Turn::take(Way::Named, screen::shared())?;
        let Self { out, stuck } = self;
        turn.write(bytes, true, |begun, rest| {
            // Before a line the sink waits, and others have their turn; within one it is waited for here.
            let mut naps = if begun == 0 || *stuck { 0 } else { NAPS };
            loop {
                match out.write(rest) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && naps > 0 => naps -= 1,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock && begun > 0 => {
                        *stuck = true;
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads it"));
                    }
                    written => {
                        *stuck &= !written.as_ref().is_ok_and(|count| *count == rest.len());
                        return written;
                    }
                }
                std::thread::sleep(outlet::NAP);
            }
        })
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Says with the first event or metric that this process takes part, so that it is missed if it is killed.
struct TakesPart(Option<Tally>);

impl TakesPart {
    fn begins(&mut self) {
        if let Some(tally) = self.0.take() {
            tally.begins();
        }
    }
}

impl Sink for TakesPart {
    fn event(&mut self, _: &EventView<'_>) {
        self.begins();
    }
    fn metric(&mut self, _: &MetricView<'_>) {
        self.begins();
    }
    fn span(&mut self, _: &SpanView<'_>) {
        self.begins();
    }
    fn status(&mut self, _: &StatusView<'_>) {}
    fn flush(&mut self) {}
}

/// Tracebacks that are being printed.
static HELD: AtomicU32 = AtomicU32::new(0);

/// A traceback is printed from now on, or is printed: our lines do not come in between.
pub fn hold(begins: bool) {
    if begins {
        HELD.fetch_add(1, Ordering::AcqRel);
    } else {
        // Cannot go below zero: a forked child begins at zero and may end what its parent began.
        let _ = HELD.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| held.checked_sub(1));
    }
}

/// Nothing is printed any more: for a forked child.
pub fn release() {
    HELD.store(0, Ordering::Release);
}

/// Waits until tracebacks are printed, but not for long: code of the program may print them.
fn wait_for_tracebacks() {
    const STEP: Duration = Duration::from_millis(1);
    for _ in 0..500 {
        if HELD.load(Ordering::Acquire) == 0 {
            return;
        }
        std::thread::sleep(STEP);
    }
}

/// The terminal, with short paths. Processes below the first one tell events only: what becomes of the probes is known.
struct Terminal {
    sink: TerminalSink,
    wanted: Wanted,
}

impl Sink for Terminal {
    fn event(&mut self, event: &EventView<'_>) {
        wait_for_tracebacks();
        let before = self.sink.lost();
        self.sink.event(&EventView { site: &self.wanted.short(event.site), ..*event });
        self.wanted.unshown.fetch_add(self.sink.lost() - before, Ordering::Relaxed);
    }
    fn metric(&mut self, metric: &MetricView<'_>) {
        wait_for_tracebacks();
        let before = self.sink.lost();
        self.sink.metric(metric);
        self.wanted.unshown.fetch_add(self.sink.lost() - before, Ordering::Relaxed);
    }
    fn span(&mut self, span: &SpanView<'_>) {
        wait_for_tracebacks();
        let before = self.sink.lost();
        self.sink.span(span);
        self.wanted.unshown.fetch_add(self.sink.lost() - before, Ordering::Relaxed);
    }
    fn status(&mut self, status: &StatusView<'_>) {
        if self.wanted.place.first {
            wait_for_tracebacks();
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

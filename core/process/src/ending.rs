//! The end of a session, or of its process, however that comes about: what was captured is delivered, and people are told
//! what each probe did. At the end of the walk of a hit going out, after the core's session.

use crate::sinks::Wanted;
use crate::tally::Tally;
use crate::{hangs, logging, screen};
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use stroboscope_core::clock::{Clock as _, SystemClock};
use stroboscope_core::control::tally::{Counts, Sum};
use stroboscope_core::control::terminal::{self, Look};
use stroboscope_core::explain::Places;
use stroboscope_core::sender::SenderCounters;
use stroboscope_core::session::{Session, SessionStats};

/// Of the two seconds that an end may take in all.
pub const DELIVERY: Duration = Duration::from_millis(1500);
/// The same where another end has just waited for the Agent in vain: one that answers does so within.
const HURRIED: Duration = Duration::from_millis(100);
/// For how long the worker is waited for before places are noted.
const HEARD: Duration = Duration::from_millis(200);
/// An end that delivers nothing after that long has waited in vain; an Agent that is not there is no wait.
const IN_VAIN: u64 = 80_000_000;
/// For how long that is remembered, in nanoseconds.
const REMEMBERED: u64 = 60_000_000_000;

/// A session, and what its end needs.
#[derive(Clone)]
pub struct Ending {
    /// It.
    pub session: Arc<Session>,
    /// What was asked for.
    pub wanted: Wanted,
    /// What became of uploads.
    pub counters: Arc<SenderCounters>,
    /// What is known of the places of probes, where the end says it.
    pub places: Arc<Mutex<Places>>,
}

impl Ending {
    /// Ends the session of a process that goes on. False if something did not arrive.
    pub fn stop(&self, limit: Duration) -> bool {
        self.wanted.streams_end_in(limit);
        self.session.stop(limit)
    }

    /// Notes what the host knows of the places of probes while it does, if the end is to say it. What was noted stays: later it
    /// may know less.
    pub fn note_places(&self) {
        if !self.wanted.settings.explain || !self.wanted.tells_end() {
            return;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.is_empty() {
            // In a program that was short, the worker may not have heard yet where its probes are.
            self.session.flush(HEARD);
            *places = self.session.explain_places();
        }
    }

    /// Delivers as the process ends; false if something did not arrive. An Agent that hangs is waited for once, not by each
    /// of the processes of a run.
    pub fn at_the_end(&self, deliver: impl FnOnce(Duration) -> bool) -> bool {
        let Ending { session, wanted, counters, .. } = self;
        let lost = || counters.stopped.load(Ordering::Relaxed) + counters.statuses_lost.load(Ordering::Relaxed);
        let took = || counters.last_success.load(Ordering::Relaxed);
        let tally = wanted.tally.as_ref();
        let (before, began) = (lost(), SystemClock.monotonic());
        let known = hangs::since(tally).is_some_and(|since| took() < since && began.saturating_sub(since) < REMEMBERED);
        let limit = if known { HURRIED } else { DELIVERY };
        // What they cannot take in that time is counted in it.
        wanted.streams_end_in(limit);
        let arrived = deliver(limit);
        let now = SystemClock.monotonic();
        // What was lost before says nothing of this end, and a stream that nobody reads is no Agent.
        let is_held = !arrived && !wanted.patience.is_over() && session.on_their_way() > 0;
        if (lost() > before || is_held) && now - began >= IN_VAIN {
            hangs::note(tally, now);
        } else if known && took() > began {
            hangs::note(tally, 0);
        }
        arrived
    }

    /// What can be done where the host runs no code any more: delivers, and under the command says what each probe did.
    pub fn last_words(&self) {
        if self.at_the_end(|limit| self.session.stop(limit)) {
            // It may be that another thread stops it already, and waits: then its end is waited for. If it is over, this
            // returns at once.
            self.session.flush(DELIVERY);
        }
        self.farewell(0, None);
    }

    /// Says what each probe did: the process that the user started for all of them, another one only if nobody else will.
    /// `waiting` events have not left, and never will; `deaf`: why no probe gets into what this process becomes.
    pub fn farewell(&self, waiting: u64, deaf: Option<String>) {
        let wanted = &self.wanted;
        if !wanted.tells_end() {
            return;
        }
        let mut counts = self.counted(waiting);
        if let Some(why) = deaf {
            counts.end_here(why);
        }
        if wanted.place.first {
            return self.tell_all(counts);
        }
        let fired = counts.fired();
        if wanted.tally.as_ref().is_some_and(|tally| tally.hand_over(counts.clone())) || !fired {
            return;
        }
        self.tell(&format!("process {}:\n{}", std::process::id(), self.text(counts)));
    }

    /// For all processes of the run.
    fn tell_all(&self, mut counts: Counts) {
        let wanted = &self.wanted;
        let Sum { counts: others, ended, silent, said, output } =
            wanted.tally.as_ref().map(Tally::sum).unwrap_or_default();
        counts.add(others);
        wanted.patience.ends_in(wanted.last_patience());
        screen::say(&output, &said, &wanted.patience);
        let mut text = self.text(counts);
        if ended + silent > 0 {
            let silent = match silent {
                0 => String::new(),
                more => format!("; {more} more still ran or were killed, and are not in it"),
            };
            let ended = ended + 1;
            let es = if ended == 1 { "" } else { "es" };
            let _ = writeln!(text, "summed over {ended} process{es}{silent}"); // into a String, which cannot fail
        }
        self.tell(&text);
    }

    fn tell(&self, text: &str) {
        logging::write(text.trim_end_matches('\n'), self.wanted.last_patience());
    }

    fn text(&self, mut counts: Counts) -> String {
        counts.shorten(|text| self.wanted.short(text).into_owned());
        counts.text(Look::default())
    }

    /// What this process counted.
    fn counted(&self, waiting: u64) -> Counts {
        let Ending { session, wanted, counters, .. } = self;
        let path = wanted.settings.ndjson.as_ref().map(|path| path.display().to_string());
        let path = path.map(|path| if path == "-" { "standard output".to_owned() } else { path });
        let unwritten = path.map(|path| format!("not written to {path}"));
        // A fault of ours is told at its probe.
        let uploads = counters.causes().into_iter().filter(|(reason, _)| !matches!(*reason, "stopped" | "internal"));
        let mut lost: Vec<(&str, u64)> = uploads.collect();
        // Without an upload too, and for probes that are gone.
        let dropped = session.stats().dropped;
        let stopped = dropped.iter().find(|(reason, _)| *reason == "stopped").map_or(0, |(_, count)| *count);
        lost.push(("stopped", stopped + waiting));
        if let Some(unwritten) = &unwritten {
            lost.push((unwritten, wanted.unwritten.load(Ordering::Relaxed)));
        }
        lost.push(("not written to standard error", wanted.unshown.load(Ordering::Relaxed)));
        let mut counts = Counts::of(&session.status(), &lost);
        counts.explain(&self.places.lock().unwrap_or_else(PoisonError::into_inner));
        counts
    }
}

/// What an end lost, in a line for the log; `None` if nothing, or where the end is told on standard error. An Agent that nobody
/// named and that never answered is nobody's mistake.
pub fn losses(stats: &SessionStats, wanted: &Wanted) -> Option<String> {
    if wanted.tells_end() {
        return None;
    }
    let answered = stats.uploads.as_ref().is_some_and(|uploads| uploads.since_success.is_some());
    let blames = |reason: &str| reason == "rejected" || answered || wanted.settings.agent_is_named();
    let uploads = stats.uploads.iter().flat_map(|uploads| &uploads.lost).filter(|(reason, _)| blames(reason));
    // What was too late for an upload is among what that lost.
    let told = |reason: &str| reason == "notWritten" || (reason == "stopped" && stats.uploads.is_none());
    let here = stats.dropped.iter().filter(|(reason, _)| told(reason));
    let lost: Vec<(&str, u64)> = uploads.chain(here).copied().collect();
    let lost = terminal::losses(&lost);
    (!lost.is_empty()).then(|| format!("stopped; events: {lost}"))
}

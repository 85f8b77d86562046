//! What the end says of each probe, summed over all processes of a run. After [`crate::session`], before
//! [`super::terminal`]; on the walk of a hit going out, behind its end.
//!
//! Every process writes two lines into one file that all of them share: that it takes part, and, as it ends, its counts.
//! What it cannot show itself stands there too.
//! The process that the user started reads them, adds its own, and says in one more line that it has: who ends later
//! speaks for itself. Each line is one write at the end of the file, so lines never mix.

use crate::emit::status::State;
use crate::explain;
use crate::session::ProbeReport;
use crate::stats::Drop;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::terminal::{self, Look, ProbeSummary};

/// How far a probe got: of several processes the one where it got furthest knows best why it never fired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Its code was never loaded.
    #[default]
    Waits,
    /// Its code is there, and it cannot be in it, or must not.
    Fails,
    /// It was placed.
    Placed,
}

impl Reach {
    fn of(report: &ProbeReport) -> Self {
        match report.state {
            State::Installed | State::Emitting | State::Paused => Reach::Placed,
            State::Received | State::Waiting => Reach::Waits,
            State::Error | State::Blocked | State::Expired if report.is_missing => Reach::Waits,
            State::Error | State::Blocked | State::Expired => Reach::Fails,
        }
    }
}

/// One probe, in one process or in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeCounts {
    /// Its id.
    pub id: String,
    /// Where it is.
    pub site: String,
    /// Counted hits.
    pub hits: u64,
    /// There may have been more hits.
    pub missed: bool,
    /// Hits whose condition was false.
    pub rejected: u64,
    /// Hits whose condition, or the value of their metric, failed.
    pub failed: u64,
    /// Why, as far as it is kept: the latest reason first, each with how often.
    pub failures: Vec<(String, u64)>,
    /// Events.
    pub emitted: u64,
    /// Values of a metric probe.
    pub measured: Option<u64>,
    /// Hits and events dropped, by reason.
    pub dropped: Vec<(String, u64)>,
    /// How far it got.
    pub reach: Reach,
    /// Why it never fired.
    pub note: Option<String>,
    /// Calls that go on, whose event comes at their end.
    pub pending: u64,
    /// Events that the Agent has taken.
    pub uploaded: u64,
    /// Nanoseconds that its hits have cost.
    pub nanoseconds: u64,
    /// Of hits that made an event, what half, and 99 of 100, did not exceed; of several processes the slowest.
    pub times: Option<(u64, u64)>,
    /// What is known of its place, where somebody wants to know: sentences of [`crate::explain`].
    pub explained: Vec<String>,
}

/// All probes, in one process or in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// The probes, in the order they came.
    pub probes: Vec<ProbeCounts>,
    /// Events that got no further, by reason.
    pub lost: Vec<(String, u64)>,
    /// What else is to be known, in sentences.
    pub remarks: Vec<String>,
}

/// A line of the shared file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    /// A process takes part.
    Begins(u32),
    /// A process has ended with these counts.
    Ended(u32, Counts),
    /// A process that has no way to standard output or error has said this, for people or for programs.
    Said(Audience, String),
    /// The end of a process waited for the Agent in vain, at this monotonic time; 0: the Agent has taken something since.
    Hangs(u64),
    /// The sum has been made of all lines above.
    Summed,
}

/// Who is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Who looks at standard error.
    People,
    /// What reads standard output.
    Programs,
}

/// What the shared file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The counts of all processes that have ended.
    pub counts: Counts,
    /// Processes whose counts these are.
    pub ended: usize,
    /// Processes that take part, and have not said what they counted.
    pub silent: usize,
    /// What processes have left to be said to people, …
    pub said: String,
    /// … and to programs.
    pub output: String,
}

/// Reasons that are told once, for all probes together.
const TOLD_ONCE: [&str; 5] = ["rejected", "transport", "breakerOpen", "notWritten", "stopped"];

impl ProbeCounts {
    fn of(report: &ProbeReport) -> Self {
        // It is an end, of the session or of the program: calls that go on are seen no more.
        let report = &report.clone().at_its_end();
        Self::made(report, |reason| !TOLD_ONCE.contains(&reason))
    }

    /// Those of a probe in the middle of its life, with all reasons.
    pub(crate) fn with_all(report: &ProbeReport) -> Self {
        Self::made(report, |_| true)
    }

    fn made(report: &ProbeReport, tells: impl Fn(&str) -> bool) -> Self {
        let own = report.dropped.iter().filter(|(reason, _)| tells(reason));
        let stopped = |reason| if reason == Drop::Stopped.name() { report.unended } else { 0 };
        let own = own.map(|(reason, count)| ((*reason).to_owned(), count.saturating_sub(stopped(*reason))));
        let unended = std::iter::once((terminal::UNENDED.to_owned(), report.unended));
        ProbeCounts {
            id: report.id.clone(),
            site: place(report),
            hits: report.hits,
            missed: !report.hits_exact,
            rejected: report.rejected,
            failed: report.failed,
            failures: report.failures.clone(),
            emitted: report.emitted,
            measured: report.measured,
            dropped: own.chain(unended).filter(|(_, count)| *count > 0).collect(),
            reach: Reach::of(report),
            note: note(report),
            pending: report.pending,
            uploaded: report.uploaded,
            nanoseconds: report.nanoseconds,
            times: report.capture_times,
            explained: Vec::new(),
        }
    }

    fn add(&mut self, other: ProbeCounts) {
        // What one of them knows of the place, the one knows best that was hit there.
        if (other.reach, other.hits > 0) > (self.reach, self.hits > 0) || self.explained.is_empty() {
            self.explained = other.explained;
        }
        self.pending += other.pending;
        self.uploaded += other.uploaded;
        self.nanoseconds += other.nanoseconds;
        self.times = self.times.max(other.times);
        self.hits += other.hits;
        self.missed |= other.missed;
        self.rejected += other.rejected;
        self.failed += other.failed;
        self.emitted += other.emitted;
        self.measured = self.measured.into_iter().chain(other.measured).reduce(|sum, more| sum + more);
        add_reasons(&mut self.failures, other.failures);
        if self.site.is_empty() {
            self.site = other.site;
        }
        if other.reach > self.reach {
            self.reach = other.reach;
            self.note = other.note;
        }
        add_reasons(&mut self.dropped, other.dropped);
    }

    pub(crate) fn summary(&self) -> ProbeSummary<'_> {
        let rejected = ("conditionFalse", self.rejected);
        let dropped = self.dropped.iter().map(|(reason, count)| (reason.as_str(), *count));
        ProbeSummary {
            probe: &self.id,
            site: &self.site,
            hits: self.hits,
            missed: self.missed,
            emitted: self.emitted,
            measured: self.measured,
            failed: self.failed,
            failures: self.failures.iter().map(|(reason, count)| (reason.as_str(), *count)).collect(),
            dropped: std::iter::once(rejected).chain(dropped).collect(),
            note: self.note.as_deref().filter(|_| self.hits == 0),
        }
    }
}

fn add_reasons(sums: &mut Vec<(String, u64)>, more: Vec<(String, u64)>) {
    for (reason, count) in more {
        match sums.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, sum)) => *sum += count,
            None => sums.push((reason, count)),
        }
    }
}

impl Counts {
    /// Those of this process: what its probes did, and the events that got no further, by reason.
    pub fn of(reports: &[ProbeReport], lost: &[(&str, u64)]) -> Self {
        let lost = lost.iter().filter(|(_, count)| *count > 0);
        Counts {
            probes: reports.iter().map(ProbeCounts::of).collect(),
            lost: lost.map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            remarks: Vec::new(),
        }
    }

    /// This process becomes a program that no probe gets into, as `why` says: then that is why code was never loaded.
    pub fn end_here(&mut self, why: String) {
        for probe in self.probes.iter_mut().filter(|probe| probe.reach == Reach::Waits) {
            probe.note = None;
        }
        self.remarks.push(why);
    }

    /// True if a probe was hit.
    pub fn fired(&self) -> bool {
        self.probes.iter().any(|probe| probe.hits > 0)
    }

    /// Adds those of another process.
    pub fn add(&mut self, other: Counts) {
        for probe in other.probes {
            match self.probes.iter_mut().find(|known| known.id == probe.id) {
                Some(known) => known.add(probe),
                None => self.probes.push(probe),
            }
        }
        add_reasons(&mut self.lost, other.lost);
        for remark in other.remarks {
            if !self.remarks.contains(&remark) {
                self.remarks.push(remark);
            }
        }
    }

    /// Shortens what is shown of paths.
    pub fn shorten(&mut self, short: impl Fn(&str) -> String) {
        for probe in &mut self.probes {
            probe.site = short(&probe.site);
            probe.note = probe.note.as_deref().map(&short);
            probe.explained.iter_mut().for_each(|said| *said = short(said));
        }
    }

    /// The lines for people.
    pub fn text(&self, look: Look) -> String {
        let probes: Vec<ProbeSummary<'_>> = self.probes.iter().map(ProbeCounts::summary).collect();
        let explains = self.probes.iter().any(|probe| !probe.explained.is_empty());
        let mut text = if explains { self.explanations() } else { terminal::summary(&probes, look) };
        let lost: Vec<(&str, u64)> = self.lost.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
        let lost = terminal::losses(&lost);
        if !lost.is_empty() {
            let _ = writeln!(text, "events: {lost}"); // into a String, which cannot fail
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "{remark}"); // likewise
        }
        text
    }
}

impl Counts {
    /// What is known of the places of probes, by id ([`crate::session::Session::explain_places`]).
    pub fn explain(&mut self, places: &[(String, Vec<String>)]) {
        for (id, said) in places {
            if let Some(probe) = self.probes.iter_mut().find(|probe| probe.id == *id) {
                probe.explained.clone_from(said);
            }
        }
    }

    /// What is known of each probe, in sentences, for who asked for that.
    fn explanations(&self) -> String {
        let mut text = String::new();
        for probe in &self.probes {
            let _ = writeln!(text, "{}", probe.id); // into a String, which cannot fail
            for said in probe.explained.iter().chain(&explain::of_hits(probe)) {
                let _ = writeln!(text, "  {said}"); // likewise
            }
        }
        text
    }
}

/// The line that says that a process takes part.
pub fn begins(pid: u32) -> String {
    line(&Entry::Begins(pid))
}

/// The line with the counts of a process at its end.
pub fn ended(pid: u32, counts: Counts) -> String {
    line(&Entry::Ended(pid, counts))
}

/// The line with what a process wants to be said.
pub fn said(to: Audience, text: &str) -> String {
    line(&Entry::Said(to, text.to_owned()))
}

/// The line that says when the end of a process waited for the Agent in vain; 0: that it did not.
pub fn hangs(monotonic: u64) -> String {
    line(&Entry::Hangs(monotonic))
}

/// When that last was; 0: never, or the Agent has taken something since.
pub fn hangs_since(file: &str) -> u64 {
    let mine = file.lines().rev().filter(|line| line.starts_with("{\"hangs\""));
    let mut times = mine.filter_map(|line| serde_json::from_str(line).ok());
    times.find_map(|entry| if let Entry::Hangs(at) = entry { Some(at) } else { None }).unwrap_or(0)
}

/// The line that says that everything above it is in the sum.
pub fn summed() -> String {
    line(&Entry::Summed)
}

fn line(entry: &Entry) -> String {
    // Plain data: nothing in it can fail to be written.
    let mut text = serde_json::to_string(entry).unwrap_or_default();
    text.push('\n');
    text
}

/// Adds up a shared file, down to the first sum that was made of it. A process may end twice, by a signal in the middle of
/// its end: what it says last counts. What is no line of ours is left out.
pub fn sum(file: &str) -> Sum {
    let mut sum = Sum::default();
    let mut silent = BTreeSet::new();
    let mut last: BTreeMap<u32, Counts> = BTreeMap::new();
    for entry in file.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match entry {
            Entry::Begins(pid) => {
                silent.insert(pid);
                // It has become another program, or its number is another process's.
                if let Some(counts) = last.remove(&pid) {
                    sum.end(counts);
                }
            }
            Entry::Ended(pid, counts) => {
                silent.remove(&pid);
                last.insert(pid, counts);
            }
            Entry::Said(Audience::People, text) => sum.said.push_str(&text),
            Entry::Said(Audience::Programs, text) => sum.output.push_str(&text),
            Entry::Hangs(_) => {}
            Entry::Summed => break,
        }
    }
    for counts in last.into_values() {
        sum.end(counts);
    }
    sum.silent = silent.len();
    sum
}

impl Sum {
    fn end(&mut self, counts: Counts) {
        self.ended += 1;
        self.counts.add(counts);
    }
}

/// True if the sum was made before anything that this process wrote at its end: nobody will read that.
pub fn is_late(file: &str, pid: u32) -> bool {
    let entries = file.lines().filter_map(|line| serde_json::from_str(line).ok());
    for entry in entries {
        match entry {
            Entry::Summed => return true,
            Entry::Ended(who, _) if who == pid => return false,
            _ => {}
        }
    }
    true
}

/// Why a probe never fired.
fn note(report: &ProbeReport) -> Option<String> {
    if report.hits > 0 {
        return None;
    }
    match report.state {
        State::Installed => {
            let site = report.site.as_ref().map(ToString::to_string).unwrap_or_default();
            let moved = report.reason.split_once(&format!("{site} (")).map(|(_, rest)| rest.trim_end_matches(')'));
            Some(moved.map_or("never reached".to_owned(), |moved| format!("never reached; {moved}")))
        }
        _ => Some(over(&report.reason)).filter(|reason| !reason.is_empty()),
    }
}

/// A reason without what it says of a time to come: this is the end.
fn over(reason: &str) -> String {
    let endings = ["; the probe waits for it", "; the probe goes on waiting", ", and the probe waits for the name"];
    let reason = endings.iter().fold(reason.to_owned(), |reason, ending| reason.replace(ending, ""));
    reason.replace(" is not imported yet", " was not imported")
}

/// Where a probe is, for people.
fn place(report: &ProbeReport) -> String {
    let Some(site) = &report.site else { return String::new() };
    site.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(hits: u64, reach: Reach, note: &str) -> Counts {
        let note = Some(note.to_owned()).filter(|note| !note.is_empty());
        let dropped = vec![("rateLimitProbe".to_owned(), hits)];
        let probe = ProbeCounts { id: "p".into(), hits, reach, note, dropped, ..ProbeCounts::default() };
        Counts { probes: vec![probe], ..Counts::default() }
    }

    #[test]
    fn the_last_word_of_a_hanging_agent_counts_and_is_no_part_of_the_sum() {
        let mut file = begins(2);
        assert_eq!(hangs_since(&file), 0);
        file += &(hangs(5) + "{\"hangs\":" + &hangs(9) + &ended(2, Counts::default()));
        assert_eq!((hangs_since(&file), sum(&file).ended), (5, 1), "a line cut short is none");
        file += &hangs(0);
        assert_eq!(hangs_since(&file), 0);
    }

    #[test]
    fn processes_are_added_up_and_those_that_kept_quiet_are_counted() {
        let file = [
            begins(2),
            begins(3),
            begins(4),
            said(Audience::People, "one\n"),
            said(Audience::Programs, "{}\n"),
            said(Audience::People, "two\n"),
            ended(5, probe(0, Reach::Placed, "never reached")),
            ended(2, probe(5, Reach::Placed, "")),
            "torn {".to_owned() + "\n",
            ended(4, probe(1, Reach::Placed, "")),
            summed(),
            ended(3, probe(9, Reach::Placed, "")),
            said(Audience::People, "late"),
        ]
        .concat();
        let sum = sum(&file);
        assert_eq!((sum.ended, sum.silent, &*sum.said, &*sum.output), (3, 1, "one\ntwo\n", "{}\n"));
        let (p, all) = (&sum.counts.probes[0], sum.counts.probes.len());
        assert_eq!((all, p.hits, &*p.dropped), (1, 6, &[("rateLimitProbe".to_owned(), 6)][..]));
        assert!(is_late(&file, 3) && !is_late(&file, 4) && is_late("", 1));
    }

    #[test]
    fn a_process_that_ends_twice_counts_once_and_one_that_became_another_program_twice() {
        let twice = [begins(2), ended(2, probe(5, Reach::Placed, "")), ended(2, probe(6, Reach::Placed, ""))].concat();
        let (once, again) =
            (sum(&twice), sum(&[&*twice, &*begins(2), &*ended(2, probe(1, Reach::Placed, ""))].concat()));
        assert_eq!((once.ended, once.counts.probes[0].hits), (1, 6));
        assert_eq!((again.ended, again.counts.probes[0].hits), (2, 7));
    }

    #[test]
    fn a_program_that_no_probe_gets_into_is_why_one_was_never_placed() {
        let mut counts = probe(0, Reach::Waits, "module x was not imported");
        counts.end_here("became deaf".into());
        let other = counts.clone();
        counts.add(other);
        assert_eq!(counts.text(Look::default()), "p  0 hits  0 events\nbecame deaf\n");
        let mut counts = probe(0, Reach::Placed, "never reached");
        counts.end_here("became deaf".into());
        assert_eq!(counts.text(Look::default()), "p  0 hits  0 events\n  never reached\nbecame deaf\n");
        let mut counts = probe(0, Reach::Fails, "no such function");
        counts.end_here("became deaf".into());
        assert_eq!(counts.text(Look::default()), "p  0 hits  0 events\n  no such function\nbecame deaf\n");
    }

    #[test]
    fn why_a_probe_never_fired_is_asked_where_it_got_furthest() {
        let mut counts = probe(0, Reach::Waits, "not found");
        counts.add(probe(0, Reach::Fails, "no such function"));
        counts.add(probe(0, Reach::Waits, "not found either"));
        assert_eq!(counts.text(Look::default()), "p  0 hits  0 events\n  no such function\n");
        counts.add(probe(0, Reach::Placed, "never reached"));
        assert_eq!(counts.text(Look::default()), "p  0 hits  0 events\n  never reached\n");
        counts.add(probe(1, Reach::Placed, ""));
        assert!(!counts.text(Look::default()).contains("never"), "{}", counts.text(Look::default()));
    }
}

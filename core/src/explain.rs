//! Why a probe did or did not fire, in sentences: what was searched and found, which lines have code, whether that code ran,
//! what became of the hits, and what they cost. Beside both walks: it reads what they have left behind. A host only gives
//! [`Facts`] ([`crate::host::Runtime::explain`]); all that is said is said here.

use crate::control::tally::ProbeCounts;
use crate::control::terminal::{self, duration, grouped};
use crate::emit::status::State;
use crate::host::Capabilities;
use crate::probe::location::{self, Function, FunctionKind};
use crate::probe::model::{Location, Probe};
use crate::session::ProbeReport;

/// What a host knows of the place of a probe.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// How many files of code were looked through; `None` if none was.
    pub searched: Option<usize>,
    /// Those that the place means.
    pub files: Vec<File>,
    /// Of a probe that was placed: whether the code around its place has run since. `None` if that is not known.
    pub ran: Option<bool>,
    /// It is watched for only since somebody has first asked.
    pub since_asked: bool,
}

/// What is said of the places of probes: the id of each, and its sentences.
pub type Places = Vec<(String, Vec<String>)>;

/// A file that the place of a probe means.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its functions, with their statements.
    pub functions: Vec<Function>,
    /// Their qualified names; parallel to `functions`.
    pub names: Vec<String>,
    /// The functions that a method probe means, by position.
    pub meant: Vec<usize>,
}

/// Files that are told one by one.
const FILES: usize = 3;
/// Lines near the one asked for, above it and from it on.
const NEAR: usize = 3;

/// All that is known of a probe of a session.
pub fn probe(report: &ProbeReport, probe: Option<(&Probe, &Facts)>, capabilities: &Capabilities) -> Vec<String> {
    let mut said = of_place(report, probe, capabilities);
    said.extend(of_hits(&ProbeCounts::with_all(report)));
    said
}

/// What is known of a probe besides its counts.
pub fn of_place(report: &ProbeReport, probe: Option<(&Probe, &Facts)>, capabilities: &Capabilities) -> Vec<String> {
    let mut said = Vec::new();
    if let Some((probe, facts)) = probe {
        said.push(wanted(probe));
        found(probe, facts, capabilities, &mut said);
    }
    said.extend(state(report));
    let is_silent = report.hits == 0 && report.site.is_some();
    said.extend(probe.filter(|_| is_silent).and_then(|(_, facts)| ran(facts)));
    said
}

/// Whether the code around the place of a probe that was never hit has run.
fn ran(facts: &Facts) -> Option<String> {
    let since = if facts.since_asked { "this was first asked" } else { "the probe was placed" };
    match facts.ran {
        Some(true) => Some(format!("The code around it has run since {since}, but never came there.")),
        Some(false) => Some(format!("The code around it has not run since {since}.")),
        None if facts.since_asked => {
            Some("Whether the code around it runs is known from now on: ask again.".to_owned())
        }
        None => None,
    }
}

/// What can be said of a probe without a program: where it would be.
pub fn statically(probe: &Probe, facts: &Facts, capabilities: &Capabilities) -> Vec<String> {
    let mut said = vec![wanted(probe)];
    found(probe, facts, capabilities, &mut said);
    let is_there = facts.files.iter().any(|file| match &probe.location {
        Location::Lines { lines, .. } => {
            lines.iter().all(|line| location::resolve_line(&file.functions, *line, capabilities).is_ok())
        }
        Location::Method { .. } => !file.meant.is_empty(),
    });
    let verdict = match (is_there, probe.when.is_some()) {
        (true, false) => "The probe can be placed there, and fires when that code runs.",
        (true, true) => "The probe can be placed there, and fires when that code runs and the condition holds.",
        (false, _) if facts.files.is_empty() => "The probe would wait for such code.",
        (false, _) => "The probe cannot be placed.",
    };
    said.push(verdict.to_owned());
    said
}

/// What became of hits, and what they cost.
pub fn of_hits(counts: &ProbeCounts) -> Vec<String> {
    let summary = counts.summary();
    let mut said = Vec::new();
    let made = counts.measured.unwrap_or(counts.emitted);
    let least = if counts.missed { "at least " } else { "" };
    let times = if counts.hits == 1 { "once".to_owned() } else { format!("{} times", grouped(counts.hits)) };
    let outcome = terminal::outcome(&summary);
    let outcome = if outcome.is_empty() { outcome } else { format!("; {outcome}") };
    let came = match (counts.hits, counts.missed) {
        (0, false) => "It was never hit".to_owned(),
        (0, true) => "No hit of it was counted".to_owned(),
        _ => format!("It was hit {least}{times}, which made {}{}", grouped(made), terminal::came(&summary)),
    };
    said.push(format!("{came}{outcome}."));
    if counts.missed {
        said.push(
            "Its hooks were off for a time, over its rate or to save CPU: hits meanwhile were not counted.".to_owned(),
        );
    }
    if counts.pending > 0 {
        let ends = if counts.pending == 1 { "One call has" } else { "Calls have" };
        said.push(format!("{ends} not ended yet ({}): their events come at the end.", grouped(counts.pending)));
    }
    if counts.uploaded > 0 {
        said.push(format!("The Agent has taken {} of the events.", grouped(counts.uploaded)));
    }
    if counts.nanoseconds > 0 && counts.hits > 0 {
        let each = duration(counts.nanoseconds / counts.hits);
        let all = duration(counts.nanoseconds);
        let captures = counts.times.map_or_else(String::new, |(half, most)| {
            format!(
                "; of those that made an event half took at most {}, 99 of 100 at most {}",
                duration(half),
                duration(most)
            )
        });
        said.push(format!("A hit has cost about {each}, all together {all} of CPU{captures}."));
    }
    said
}

/// What was asked for.
fn wanted(probe: &Probe) -> String {
    let place = match &probe.location {
        Location::Lines { file, lines } => format!("{} of {file}", numbered("line", lines)),
        Location::Method { file: Some(file), method, .. } => format!("function `{method}` of {file}"),
        Location::Method { type_name, method, .. } => format!("function `{method}` of {type_name}"),
    };
    let when = probe.when.as_ref().map_or_else(String::new, |when| format!(", when {}", when.text));
    format!("It asks for {place}{when}.")
}

/// What was searched and what was found.
fn found(probe: &Probe, facts: &Facts, capabilities: &Capabilities, said: &mut Vec<String>) {
    if let Some(searched) = facts.searched {
        let files = if searched == 1 {
            "One file of code was".to_owned()
        } else {
            format!("{} files of code were", grouped(searched as u64))
        };
        let mut names: Vec<&str> = facts.files.iter().take(FILES).map(|file| file.name.as_str()).collect();
        if facts.files.len() > FILES {
            names.push("…");
        }
        said.push(match facts.files.len() {
            0 => format!("{files} looked through; none is the one that is meant."),
            1 => format!("{files} looked through; {} is meant.", names.join("")),
            _ => format!("{files} looked through; these are meant: {}.", names.join(", ")),
        });
    }
    for file in facts.files.iter().take(FILES) {
        match &probe.location {
            Location::Lines { lines, .. } => {
                for line in lines {
                    said.push(of_line(file, *line, capabilities));
                }
            }
            Location::Method { .. } => said.extend(of_method(file, probe)),
        }
    }
}

/// What is at a line, and what near it.
fn of_line(file: &File, line: u32, capabilities: &Capabilities) -> String {
    let near = location::lines_near(&file.functions, line, capabilities, NEAR);
    let near: Vec<u32> = near.into_iter().filter(|other| *other != line).collect();
    let near = match near.len() {
        0 => String::new(),
        1 => format!("; near it {} has code too", numbered("line", &near)),
        _ => format!("; near it {} have code too", numbered("line", &near)),
    };
    match location::resolve_line(&file.functions, line, capabilities) {
        Ok(choice) => {
            let place = inside(file, choice.functions.first().copied().unwrap_or(0));
            let what = choice.note.unwrap_or_else(|| format!("line {line} has code"));
            format!("{}, {place}{near}.", capitalised(&what))
        }
        Err(reason) => format!("{}.", capitalised(&reason)),
    }
}

fn of_method(file: &File, probe: &Probe) -> Vec<String> {
    let Location::Method { method, .. } = &probe.location else { return Vec::new() };
    if file.meant.is_empty() {
        let callable = |at: &usize| file.functions[*at].kind == FunctionKind::Function;
        let names = (0..file.functions.len().min(file.names.len())).filter(callable).map(|at| file.names[at].as_str());
        let near = location::nearest_names(method, names);
        let near = if near.is_empty() { String::new() } else { format!("; nearest: {}", near.join(", ")) };
        return vec![format!("It has no function `{method}` in its text{near}.")];
    }
    let lines = |at: usize| format!("`{}` is there, {}.", file.names[at], span(&file.functions[at]));
    file.meant.iter().copied().take(FILES).map(lines).collect()
}

/// In which function something is.
fn inside(file: &File, at: usize) -> String {
    let Some(function) = file.functions.get(at) else { return String::new() };
    let name = file.names.get(at).unwrap_or(&function.name);
    match function.kind {
        FunctionKind::Module => "outside of all functions".to_owned(),
        FunctionKind::Class => format!("in the body of class `{name}` ({})", span(function)),
        FunctionKind::Function | FunctionKind::Lambda | FunctionKind::Comprehension => {
            format!("in `{name}` ({})", span(function))
        }
    }
}

fn span(function: &Function) -> String {
    if function.first == function.last {
        format!("line {}", function.first)
    } else {
        format!("lines {} to {}", function.first, function.last)
    }
}

/// What the probe does, in the words of its status.
fn state(report: &ProbeReport) -> Option<String> {
    let sentence = |text: &str| format!("{}.", capitalised(text.trim_end_matches('.')));
    match report.state {
        State::Received => Some("The probe has come, and it is not known yet what becomes of it.".to_owned()),
        State::Installed | State::Emitting => {
            let site = report.site.as_ref()?;
            let note = report.note.as_ref().map_or_else(String::new, |note| format!(" ({note})"));
            Some(format!("The probe is at {site}{note}."))
        }
        State::Waiting | State::Paused | State::Error | State::Blocked | State::Expired if report.reason.is_empty() => {
            Some(format!("The probe is {}.", report.state.name()))
        }
        State::Waiting | State::Paused | State::Error | State::Blocked | State::Expired => {
            Some(sentence(&report.reason))
        }
    }
}

fn numbered(what: &str, lines: &[u32]) -> String {
    let numbers: Vec<String> = lines.iter().map(u32::to_string).collect();
    let s = if lines.len() == 1 { "" } else { "s" };
    format!("{what}{s} {}", numbers.join(", "))
}

/// As a sentence begins; a name stays as it is.
fn capitalised(text: &str) -> String {
    let is_word = text.split(' ').next().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
    let mut chars = text.chars();
    match chars.next().filter(|_| is_word) {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => text.to_owned(),
    }
}

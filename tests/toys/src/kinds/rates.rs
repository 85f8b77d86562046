//! `rates`: a timed script of hits, and what each probe has emitted, rejected and dropped at its end.
//!
//! `script` is a list of `{"at": ms, "hit": id, "times": n, "vars": {…}}`, in order; `{"from", "to", "every"}` instead of
//! `at` repeats a step. `expect` gives, per probe, the counts that are named; `{"min", "max"}` is a range. `{n}` in an id of
//! `probes` with `copies` stands for 0, 1, ….

use crate::json::Json;
use crate::process::{HOSTS, Host, Process};
use crate::runner::{Vector, Verdict};
use crate::value::{Dialect, World};
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::config::{Settings, Spelling};
use stroboscope_core::emit::status::State;
use stroboscope_core::probe::wire;
use stroboscope_core::session::ProbeReport;

pub fn check(vector: &Vector) -> Result<Verdict, String> {
    for host in HOSTS {
        in_host(vector, host).map_err(|error| format!("{host:?}: {error}"))?;
    }
    Ok(Verdict::Passed)
}

fn in_host(vector: &Vector, host: Host) -> Result<(), String> {
    let mut process = Process::new(host, settings(vector)?);
    process.apply(wire::read_file(definitions(vector)?.as_bytes()).map_err(|error| error.text)?.probes);
    let known: Vec<String> = process.session.status().into_iter().map(|report| report.id).collect();
    for step in steps(vector)? {
        let step = Step { world: step.world.known_to(&process.tables), ..step };
        let at = Duration::from_millis(step.at);
        if at < process.now() {
            return Err(format!("the script goes back to {} ms", step.at));
        }
        process.until(at);
        if !known.contains(&step.probe) {
            return Err(format!("the script hits '{}', which is no probe", step.probe));
        }
        process.hit(&step.probe, step.times, &step.world);
    }
    // A round takes a bounded number of records.
    process.round();
    process.round();
    let expected = vector.json("expect")?.ok_or("no 'expect'")?;
    if expected.members().iter().all(|(_, counts)| counts.members().is_empty()) {
        return Err("nothing is expected".to_owned());
    }
    for (id, counts) in expected.members() {
        let report = process.report(id).ok_or_else(|| format!("probe '{id}' is not known"))?;
        compare(&report, counts)?;
    }
    let events = process.memory.events().len() as u64;
    let reports = process.session.status();
    let emitted: u64 = reports.iter().map(|report| report.emitted).sum();
    // An expired probe is no longer counted.
    if events != emitted && reports.iter().all(|report| report.state != State::Expired) {
        return Err(format!("{emitted} events were counted, {events} came out"));
    }
    if let Some(error) = process.bad.first() {
        return Err(error.clone());
    }
    Ok(())
}

struct Step {
    at: u64,
    probe: String,
    times: u32,
    world: World,
}

fn settings(vector: &Vector) -> Result<Settings, String> {
    let Some(given) = vector.json("settings")? else { return Ok(Settings::default()) };
    let options: Vec<(String, String)> = given
        .members()
        .iter()
        .map(|(name, value)| (name.clone(), value.text().unwrap_or_default().to_owned()))
        .collect();
    let (settings, log) = Settings::resolve(&options, Spelling::Snake, &|_| None);
    if log.is_empty() { Ok(settings) } else { Err(log.join("; ")) }
}

/// The definitions, those with `copies` repeated.
fn definitions(vector: &Vector) -> Result<String, String> {
    let text = vector.raw("probes").ok_or("no 'probes'")?;
    let copies = vector.json("copies")?.as_ref().and_then(whole).unwrap_or(1);
    if copies == 1 {
        return Ok(text.to_owned());
    }
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let all: Vec<String> = (0..copies).map(|n| inner.replace("{n}", &n.to_string())).collect();
    Ok(format!("[{}]", all.join(",")))
}

fn steps(vector: &Vector) -> Result<Vec<Step>, String> {
    let script = vector.json("script")?.ok_or("no 'script'")?;
    let mut steps = Vec::new();
    for step in script.elements() {
        let number = |name: &str| step.get(name).and_then(whole);
        let probe = step.get("hit").and_then(Json::text).ok_or("a step without 'hit'")?;
        let (from, to, every) = match (number("at"), number("from"), number("to"), number("every")) {
            (Some(at), ..) => (at, at, 1),
            (None, Some(from), Some(to), Some(every)) => (from, to, every.max(1)),
            _ => return Err("a step needs 'at', or 'from', 'to' and 'every'".into()),
        };
        let vars = step.get("vars").cloned().unwrap_or(Json::Null);
        let copies =
            if probe.contains("{n}") { vector.json("copies")?.as_ref().and_then(whole).unwrap_or(1) } else { 1 };
        let mut at = from;
        while at <= to {
            for copy in 0..copies {
                steps.push(Step {
                    at,
                    probe: probe.replace("{n}", &copy.to_string()),
                    times: number("times").unwrap_or(1) as u32,
                    world: World::new(&vars, Dialect::Neutral, &Redaction::default())?,
                });
            }
            at += every;
        }
    }
    Ok(steps)
}

fn whole(json: &Json) -> Option<u64> {
    match json {
        Json::Int(value) => u64::try_from(*value).ok(),
        _ => None,
    }
}

fn compare(report: &ProbeReport, expected: &Json) -> Result<(), String> {
    for (name, wanted) in expected.members() {
        if name == "state" {
            if wanted.text() != Some(report.state.name()) {
                return Err(format!("probe '{}': state {} instead of {wanted:?}", report.id, report.state.name()));
            }
            continue;
        }
        let count = match name.as_str() {
            "hits" => report.hits,
            "emitted" => report.emitted,
            "rejected" => report.rejected,
            "failed" => report.failed,
            reason => report.dropped.iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| *count),
        };
        let bound = |name: &str| wanted.get(name).and_then(whole);
        let fits = match (whole(wanted), bound("min"), bound("max")) {
            (Some(exact), ..) => count == exact,
            (None, min, max) => min.is_none_or(|min| count >= min) && max.is_none_or(|max| count <= max),
        };
        if !fits {
            return Err(format!("probe '{}': {count} {name} instead of {wanted:?}", report.id));
        }
    }
    Ok(())
}

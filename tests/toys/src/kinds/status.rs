//! `status`: timed scripts of what happens to probes, and the statuses they lead to: on the board alone, and, where a host
//! can bring the events about, through a whole session of each toy.

use super::definition::{field, same};
use crate::json::Json;
use crate::process::{HOSTS, Host, Options, Process};
use crate::runner::{Vector, Verdict};
use crate::value::{Dialect, World};
use serde_json::{Map, Value, json};
use std::time::Duration;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::config::Settings;
use stroboscope_core::emit::status::Board;
use stroboscope_core::host::{Outcome, Site};
use stroboscope_core::probe::wire;

/// Runs one script.
pub fn check(vector: &Vector) -> Result<Verdict, String> {
    on_the_board(vector)?;
    for host in HOSTS {
        in_session(vector, host).map_err(|error| format!("{host:?}: {error}"))?;
    }
    Ok(Verdict::Passed)
}

fn on_the_board(vector: &Vector) -> Result<Verdict, String> {
    let interval = field(vector, "interval")?.as_u64().ok_or("no interval")?;
    let mut board = Board::new(Duration::from_secs(interval));
    let mut told = Vec::new();
    for step in field(vector, "script")?.as_array().ok_or("no script")? {
        play(&mut board, step)?;
        for change in board.drain_changes() {
            let kind = change.exception.map(|exception| exception.kind);
            told.push(json!([change.timestamp, change.id, change.version, change.status.name(), kind]));
        }
    }
    let verdict = same("statuses", &field(vector, "expect")?, &Value::Array(told))?;
    let wanted = field(vector, "board")?;
    if wanted.is_null() {
        return Ok(verdict);
    }
    let shown: Map<String, Value> = board.all().map(|(id, entry)| (id.to_owned(), json!(entry.state.name()))).collect();
    same("board", &wanted, &Value::Object(shown))
}

fn play(board: &mut Board, step: &Value) -> Result<(), String> {
    let now = step[0].as_u64().ok_or("no time")?;
    let text = |at: usize| step[at].as_str().unwrap_or_default();
    let (id, version) = (text(2), step[3].as_i64().unwrap_or(0));
    match text(1) {
        "received" => board.received(id, version, now),
        "waiting" => board.waiting(id, version, text(4), now),
        "installed" => board.installed(id, version, text(4), now),
        "moved" => board.moved(id, version, text(4), now),
        "emitting" => board.emitting(id, version, now),
        "error" => board.error(id, version, text(4), text(5), now),
        "blocked" => board.blocked(id, version, text(4), now),
        "paused" => board.paused(id, version, text(4), now),
        "resumed" => board.resumed(id, version, now),
        "expired" => board.expired(id, version, now),
        "removed" => board.removed(id),
        "repeat" => board.repeat(now),
        "tick" => board.tick(now * 1_000_000, now),
        other => return Err(format!("no such step: {other}")),
    }
    Ok(())
}

/// Runs a script through a whole session. False for those with a pause, which comes of hits that cost time and not of an
/// event of a host: see the core's tests of sessions.
pub fn in_session(vector: &Vector, host: Host) -> Result<bool, String> {
    let script = field(vector, "script")?;
    let steps = script.as_array().ok_or("no script")?;
    if steps.iter().any(|step| matches!(step[1].as_str(), Some("paused" | "resumed"))) {
        return Ok(false);
    }
    let interval = field(vector, "interval")?.as_u64().ok_or("no interval")?;
    let settings = Settings { diagnostics_interval: Duration::from_secs(interval), ..Settings::default() };
    let mut process = Process::with(Options { host, settings, scripted: true, sender: None, metrics: None });
    for step in steps {
        let at = Duration::from_millis(step[0].as_u64().ok_or("no time")?);
        match step[1].as_str() {
            Some("tick") => process.leap(at),
            Some("repeat") => process.leap(process.now() + Duration::from_secs(interval)),
            _ => process.until(at),
        }
        bring_about(&mut process, step, steps)?;
        process.round();
    }
    let told: Vec<Value> = process.memory.statuses().iter().map(|status| told(status)).collect::<Result<_, _>>()?;
    let wanted = field(vector, "expect")?;
    let wanted: Vec<Value> = wanted
        .as_array()
        .ok_or("no expect")?
        .iter()
        .map(|status| json!([status[1], status[2], status[3], status[4]]))
        .collect();
    same("statuses", &Value::Array(wanted), &Value::Array(told))?;
    let wanted = field(vector, "board")?;
    if !wanted.is_null() {
        let reports = process.session.status();
        let shown: Map<String, Value> =
            reports.iter().map(|report| (report.id.clone(), json!(report.state.name()))).collect();
        same("board", &wanted, &Value::Object(shown))?;
    }
    Ok(true)
}

fn told(status: &str) -> Result<Value, String> {
    let json: Value = serde_json::from_str(status).map_err(|error| error.to_string())?;
    let status = &json["debugger"]["diagnostics"];
    let kind = status["exception"]["type"].as_str();
    Ok(json!([status["probeId"], status["probeVersion"], status["status"], kind]))
}

fn bring_about(process: &mut Process, step: &Value, steps: &[Value]) -> Result<(), String> {
    let text = |at: usize| step[at].as_str().unwrap_or_default();
    let (id, version) = (text(2), step[3].as_i64().unwrap_or(0));
    let mut answer = |outcome| process.answer(id, version, &outcome);
    match text(1) {
        "received" => {
            let file = definition(id, version, steps);
            let definitions = wire::read_file(file.as_bytes()).map_err(|error| error.text)?.probes;
            process.apply(definitions);
        }
        "waiting" => answer(Outcome::Waiting(text(4).to_owned())),
        "installed" => answer(Outcome::Done { note: None, site: Site { file: text(4).to_owned(), ..Site::default() } }),
        "moved" => answer(Outcome::Moved { note: None, site: Site { file: text(4).to_owned(), ..Site::default() } }),
        "blocked" => answer(Outcome::Blocked(text(4).to_owned())),
        "error" => match text(4) {
            "Panic" => process.live(id).ok_or("nothing to panic in")?.panicked(),
            // What is wrong with the definition is said as it arrives.
            "InvalidDefinition" => {}
            kind => answer(Outcome::Refused { kind: known(kind)?, reason: text(5).to_owned() }),
        },
        "emitting" => {
            process.put_quietly(id, version);
            let world = World::new(&Json::Null, Dialect::Neutral, &Redaction::default())?;
            process.hit(id, 1, &world);
        }
        "removed" => {
            process.session.remove(id);
        }
        // Time does these: `expiresAt`, and the interval.
        "expired" | "tick" | "repeat" => {}
        other => return Err(format!("no such step: {other}")),
    }
    Ok(())
}

fn known(kind: &str) -> Result<&'static str, String> {
    ["A", "B", "NoSuchLine", "SourceFileNotFound"]
        .into_iter()
        .find(|known| *known == kind)
        .ok_or_else(|| format!("an error of an unknown kind: {kind}"))
}

/// A probe file with the definition that a script speaks of.
fn definition(id: &str, version: i64, steps: &[Value]) -> String {
    let mine = |name: &str| steps.iter().find(|step| step[1] == name && step[2] == id && step[3] == version);
    let mut probe = json!({
        "id": id, "version": version, "type": "LOG_PROBE",
        "where": {"sourceFile": "toy.py", "lines": ["1"]}, "template": "x",
    });
    if let Some(step) = mine("expired") {
        let start = u64::try_from(crate::process::START.as_millis()).unwrap_or(0);
        probe["expiresAt"] = json!(start + step[0].as_u64().unwrap_or(0));
    }
    if mine("error").is_some_and(|step| step[4] == "InvalidDefinition") {
        probe["where"] = Value::Null;
    }
    Value::Array(vec![probe]).to_string()
}

//! `status`: timed scripts of what happens to probes, and the statuses they lead to.

use super::definition::{field, same};
use crate::runner::{Vector, Verdict};
use serde_json::{Map, Value, json};
use std::time::Duration;
use stroboscope_core::emit::status::Board;

/// Runs one script.
pub fn check(vector: &Vector) -> Result<Verdict, String> {
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

//! What the core is told of an installation, and what was told before. Stands on the configuration's walk, on the way back.

use super::hands::MAX_AGAIN;
use super::state::{HANDS, Told};
use pyo3::prelude::*;
use std::sync::Arc;
use stroboscope_core::host::{Outcome, Ticket};
use stroboscope_core::probe::location;
use stroboscope_core::session::Session;

pub(super) fn refused(error: &PyErr) -> Outcome {
    Outcome::Refused { kind: "InternalError", reason: format!("CPython refused the hook: {error}") }
}

/// Answers the core for a file that just started.
pub(super) fn settle(slot: u32, outcome: Outcome) {
    if let Some(answer) = answer(slot, outcome, true) {
        answer.give();
    }
}

/// What the core is told of an installation.
pub(super) struct Answer {
    pub(super) session: Arc<Session>,
    pub(super) ticket: Ticket,
    pub(super) outcome: Outcome,
}

impl Answer {
    /// May wake the worker, which takes a while: better without the GIL.
    pub(super) fn give(self) {
        self.session.installed(self.ticket, self.outcome);
    }
}

/// What the core is to be told, which is kept; nothing if it is no news. `runs`: a name that is missing may still come, as its
/// module runs.
pub(super) fn answer(slot: u32, outcome: Outcome, runs: bool) -> Option<Answer> {
    let lacks = matches!(outcome, Outcome::Refused { kind: MISSING_NAME, .. });
    let outcome = match outcome {
        Outcome::Refused { kind: MISSING_NAME, reason } if runs => {
            Outcome::Waiting(format!("{reason}; the module still runs, and the probe waits for the name"))
        }
        other => other,
    };
    let answer = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let entry = hands.entries.get_mut(slot)?;
        entry.told = match (&outcome, entry.told) {
            (Outcome::Done { .. } | Outcome::Moved { .. }, _) => Told::Placed,
            (Outcome::Waiting(_), Told::Again(times)) if lacks && times < MAX_AGAIN => Told::Again(times + 1),
            (Outcome::Waiting(_), Told::Nothing | Told::Waits) if lacks && entry.said.is_empty() => Told::Again(0),
            (Outcome::Waiting(_) | Outcome::NotFound(_), _) => Told::Waits,
            (Outcome::Refused { .. }, _) if lacks => Told::Lacks,
            (Outcome::Refused { .. } | Outcome::Blocked(_) | Outcome::Denied { .. }, _) => Told::Refused,
        };
        let said = match &outcome {
            Outcome::Done { .. } | Outcome::Moved { .. } => String::new(),
            other => format!("{other:?}"),
        };
        let is_new = said.is_empty() || said != entry.said;
        entry.said = said;
        is_new.then(|| Some((hands.session.clone()?, entry.ticket))).flatten()
    });
    let (session, ticket) = answer.flatten()?;
    Some(Answer { session, ticket, outcome })
}

pub(super) fn stopping() -> Outcome {
    Outcome::Waiting("stroboscope is stopping".to_owned())
}

/// Of two outcomes the one to tell: what must not be, then the first that placed something.
pub(super) fn better(one: Option<Outcome>, other: Outcome) -> Outcome {
    match one {
        _ if matches!(other, Outcome::Denied { .. }) => other,
        Some(one @ Outcome::Denied { .. }) => one,
        Some(one) if matches!(one, Outcome::Done { .. }) || !matches!(other, Outcome::Done { .. }) => one,
        _ => other,
    }
}

/// The wire's word for a name that its module does not have.
pub(super) const MISSING_NAME: &str = "NoSuchMethod";

/// The wire's word for a line that its file does not have.
pub(super) const MISSING_LINE: &str = "NoSuchLine";

/// The wire's word for a function that is not in the code which the one around it got.
pub(super) const OTHER_CODE: &str = "OtherCode";

/// A module lacks a name; `names` are those that it has.
pub(super) fn missing_name(module: &str, wanted: &str, names: &[String]) -> Outcome {
    let near = near(&location::nearest_names(wanted, names.iter().map(String::as_str)));
    Outcome::Refused { kind: MISSING_NAME, reason: format!("no Python function `{wanted}` in module `{module}`{near}") }
}

/// A package has neither a submodule of a name nor a class; `names` are like the submodule's.
pub(super) fn missing_submodule(package: &str, module: &str, wanted: &str, names: &[String]) -> Outcome {
    let near = near(names);
    let reason = format!("no Python function `{wanted}` in module `{package}`, and no module `{module}`{near}");
    Outcome::Refused { kind: MISSING_NAME, reason }
}

/// What comes before the names that are like one that is not there.
pub(super) const NEAREST: &str = "; nearest: ";

/// What comes nearest to a name that is not there, as the end of a sentence.
pub(super) fn near<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(T::as_ref).collect();
    if names.is_empty() { String::new() } else { format!("{NEAREST}{}", names.join(", ")) }
}

//! The hands: the thread that takes the GIL, and what it does with a wish of the core's worker. Stands on the configuration's
//! walk, behind [`super::PyRuntime`].

use super::answer::Answer;
use super::install::install_all;
use super::place::{Change, set_again, unplace};
use super::state::{Entry, HANDS, Told, Wish};
use super::symbols::Telling;
use super::target::still_runs;
use crate::discovery;
use pyo3::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::probe::model::Location;
use stroboscope_core::registry::LiveProbe;
use stroboscope_process::threads;

/// How often a name is looked for again that its module, just started, may still define.
pub(super) const MAX_AGAIN: u32 = 7;
/// The first pause before that; each is twice the one before.
const FIRST_AGAIN: Duration = Duration::from_millis(20);
/// How often modules are looked at for probes that wait, if no tool id is left to be told of files that start.
const LOOK: Duration = Duration::from_millis(200);

#[allow(clippy::disallowed_methods, reason = "the hands: the core's worker must not wait for the GIL")]
pub(super) fn spawn(orders: Receiver<Wish>) -> std::io::Result<JoinHandle<()>> {
    let (say, wait_for_name) = threads::until_named();
    let run = move || {
        say();
        serve(&orders);
    };
    let thread = std::thread::Builder::new().name("stroboscope-hands".to_owned()).spawn(run)?;
    wait_for_name();
    Ok(thread)
}

/// The hands' life. Wishes that are there already are fulfilled together, so that they share one look for code.
fn serve(orders: &Receiver<Wish>) {
    let mut again: Option<u64> = None;
    let mut telling = Telling::default();
    loop {
        let Some(mut wishes) = next(orders, again, telling.rest()) else { return };
        wishes.extend(orders.try_iter());
        if wishes.iter().any(|wish| matches!(wish, Wish::End)) {
            return;
        }
        if wishes.is_empty() {
            // Nobody waits for that: it is done when nothing else is to be done.
            if Python::try_attach(|py| crate::guard::caught(|| telling.step(py))).is_none() {
                return;
            }
            continue;
        }
        if wishes.iter().any(|wish| matches!(wish, Wish::Symbols)) {
            telling.begin();
        }
        let mut answers = Vec::new();
        let work = |py: Python<'_>| crate::guard::caught(|| fulfil(py, wishes, &mut answers)).flatten();
        // `None`: the interpreter is at its end, and wants nothing of us.
        let Some(next) = Python::try_attach(work) else { return };
        again = next.map(|pause| after(SystemClock.monotonic(), pause));
        for answer in answers {
            answer.give();
        }
    }
}

/// The next wish. None of them: it is time for a step of what is told of modules. Nothing: nobody can wish for anything.
fn next(orders: &Receiver<Wish>, again: Option<u64>, rest: Option<u64>) -> Option<Vec<Wish>> {
    let now = SystemClock.monotonic();
    let looks = again.map(|again| again.saturating_sub(now));
    let first = match looks.into_iter().chain(rest).min() {
        Some(pause) => orders.recv_timeout(Duration::from_nanos(pause)),
        None => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
    };
    match first {
        Ok(wish) => Some(vec![wish]),
        Err(RecvTimeoutError::Timeout) if again.is_some_and(|again| SystemClock.monotonic() >= again) => {
            Some(vec![Wish::Again])
        }
        Err(RecvTimeoutError::Timeout) => Some(Vec::new()),
        Err(RecvTimeoutError::Disconnected) => None,
    }
}

fn after(now: u64, pause: Duration) -> u64 {
    now.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX))
}

/// Does what is wished, and collects what the core is to be told. Answers when to look again without a wish.
fn fulfil(py: Python<'_>, wishes: Vec<Wish>, answers: &mut Vec<Answer>) -> Option<Duration> {
    let mut installs = Vec::new();
    // Probes that come together are often in the same files.
    let mut existing = HashMap::new();
    for wish in wishes {
        if !matches!(wish, Wish::Install(..)) {
            // In the order of the wishes: a removal may be of a probe that was just added.
            install_all(py, &std::mem::take(&mut installs), answers, false);
        }
        let result = match wish {
            Wish::Install(live, ticket) => {
                installs.push(live.slot);
                let found = match &live.probe.location {
                    Location::Lines { file, .. } => {
                        existing.entry(file.clone()).or_insert_with(|| discovery::existing(py, file)).clone()
                    }
                    Location::Method { .. } => None,
                };
                let (exact, identity) = found.unzip();
                let (told, said) = (Told::Nothing, String::new());
                let entry = Entry { live, ticket, told, said, exact, files: Vec::new(), copies: 0, left_out: false };
                HANDS.with(|hands| hands.as_mut().map(|hands| hands.entries.insert(entry, identity)));
                Ok(())
            }
            Wish::Remove(live) => remove(py, &live),
            Wish::Rearm(lives) => set_again(py, &lives, Change::Restart),
            Wish::Disarm(lives) => set_again(py, &lives, Change::Keep),
            Wish::Again => {
                again(py, answers);
                Ok(())
            }
            Wish::Log => {
                crate::logging::drain(py);
                Ok(())
            }
            Wish::Symbols | Wish::End => Ok(()),
        };
        if let Err(error) = result {
            log::warn!(target: "stroboscope", "a hook could not be changed: {error}");
        }
    }
    install_all(py, &installs, answers, false);
    next_look()
}

/// When something has to be looked at without being asked.
fn next_look() -> Option<Duration> {
    let next = HANDS.with(|hands| {
        let hands = hands.as_ref()?;
        let again = hands.entries.iter().filter_map(|entry| match entry.told {
            Told::Again(times) => Some(FIRST_AGAIN * (1 << times.min(MAX_AGAIN))),
            Told::Waits if hands.discovery.is_none() => Some(LOOK),
            _ => None,
        });
        again.min()
    });
    next.flatten()
}

/// Probes whose place may have appeared meanwhile.
fn again(py: Python<'_>, answers: &mut Vec<Answer>) {
    let open = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let unseen = hands.discovery.is_none();
        let open = |entry: &&Entry| matches!(entry.told, Told::Again(_)) || (unseen && entry.told == Told::Waits);
        Some(hands.entries.iter().filter(open).map(|entry| (Arc::clone(&entry.live), entry.copies)).collect::<Vec<_>>())
    });
    let mut slots = Vec::new();
    for (live, copies) in open.flatten().unwrap_or_default() {
        // Until a module that runs again defines the name anew, the name leads to what it was before.
        if copies == 0 || !still_runs(py, &live) || !put_off(live.slot) {
            slots.push(live.slot);
        }
    }
    install_all(py, &slots, answers, false);
}

/// Looks for a name later; false if that was done often enough.
fn put_off(slot: u32) -> bool {
    let later = HANDS.with(|hands| {
        let entry = hands.as_mut()?.entries.get_mut(slot)?;
        let Told::Again(times) = entry.told else { return Some(false) };
        entry.told = Told::Again((times + 1).min(MAX_AGAIN));
        Some(times < MAX_AGAIN)
    });
    later.flatten().unwrap_or(false)
}

/// Looks once more for what was not found, so that what is said of it is true now. `at_the_end`: what is found now was there
/// too late.
pub fn review(py: Python<'_>, at_the_end: bool) {
    let slots = HANDS.with(|hands| {
        let open = |entry: &Entry| matches!(entry.told, Told::Waits | Told::Again(_) | Told::Lacks);
        Some(hands.as_ref()?.entries.slots(open))
    });
    let mut answers = Vec::new();
    install_all(py, &slots.flatten().unwrap_or_default(), &mut answers, at_the_end);
    py.detach(|| answers.into_iter().for_each(Answer::give));
}

fn remove(py: Python<'_>, live: &Arc<LiveProbe>) -> PyResult<()> {
    let files = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let mut files = hands.entries.remove(live.slot)?.files;
        files.retain(|file| !hands.entries.has_probe_in(file));
        Some(files)
    });
    for file in files.flatten().unwrap_or_default() {
        discovery::release(&file);
    }
    unplace(py, live)
}

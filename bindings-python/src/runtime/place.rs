//! Adds a probe to a code object, takes it out, and sets the events that a code object needs. Stands on the configuration's
//! walk, between [`super::in_file`] and [`crate::hooks`].

use super::state::HANDS;
use super::tools::{arm, watch_unwind};
use super::yields;
use crate::code;
use crate::discovery::{self, Read};
use crate::frame::{self, Layout};
use crate::hooks::{self, CodeSite, MODULE, ProbeSite};
use crate::object::{Owned, Ref};
use crate::statements::Start;
use crate::tracer;
use pyo3::prelude::*;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::registry::LiveProbe;

/// Code objects that one probe is placed in at most: a program may compile the same file without end.
const MAX_COPIES: usize = 1_000;
/// Nanoseconds that a place without a probe costs when it runs for the first time after its code was armed.
const FIRST_RUN_NS: u64 = 60;
/// Nanoseconds that arming takes at most, besides what it takes for each place.
const MOST_ARMED_NS: u64 = 5_000;

/// Adds a probe to a code object and arms it. It is added to a place only once.
pub(super) fn place(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: Ref<'_>,
    read: &Read,
    line: Option<(u32, &[i64])>,
) -> PyResult<()> {
    let old = hooks::site(code);
    let has = |probes: &[Rc<ProbeSite>]| probes.iter().any(|probe| probe.live.slot == live.slot);
    let is_there = old.as_ref().is_some_and(|old| old.lines.iter().any(|(_, at)| has(at)) || has(&old.methods));
    if !is_there && !has_room(live.slot) {
        return Ok(());
    }
    let layout = match &old {
        Some(old) => Rc::clone(&old.layout),
        None => Rc::new(Layout::of(code, discovery::names_at(code, &read.globals))),
    };
    let symbols = frame::resolve(&layout, &live.probe.symbols);
    let symbols = symbols.ok_or_else(|| pyo3::exceptions::PyMemoryError::new_err("out of memory"))?;
    let (at, offsets) = line.unwrap_or((0, &[]));
    let differs = |start: &Start| start.own != at && offsets.contains(&i64::from(start.offset));
    let shown = if read.starts.iter().any(differs) { at } else { 0 };
    // The top level of a file runs once, and may be under way.
    let starts = line.is_some() && !code::name(code).and_then(Ref::text).is_some_and(|name| name.same(MODULE));
    let ran = Cell::new((starts && hooks::explains()).then_some(false));
    let probe = Rc::new(ProbeSite { live: Arc::clone(live), symbols, line: at, shown, starts, ran });
    let before = old.as_ref().map(|old| (!old.lines.is_empty(), !old.methods.is_empty()));
    let (mut lines, mut methods) = old.map_or_else(Default::default, |old| (old.lines.clone(), old.methods.clone()));
    let mut sleeps = false;
    match line {
        None if has(&methods) => return Ok(()),
        None => methods.push(probe),
        Some((_, offsets)) => {
            for &offset in offsets {
                match lines.iter_mut().find(|(at, _)| *at == offset) {
                    Some((_, probes)) if has(probes) => {}
                    Some((_, probes)) => {
                        sleeps |= probes.iter().all(|probe| probe.live.is_disarmed() || probe.live.rests());
                        probes.push(Rc::clone(&probe));
                    }
                    None => {
                        // It may have run, and have been switched off since nobody stood there.
                        sleeps |= before.is_some_and(|(lines, _)| lines);
                        lines.push((offset, vec![Rc::clone(&probe)]));
                    }
                }
            }
        }
    }
    let is_line = line.is_some();
    sleeps |= before.is_none() && HANDS.with(|hands| hands.as_ref().is_some_and(|hands| hands.forked)) == Some(true);
    let change = if sleeps { Change::Restart } else { Change::Keep };
    let armed = refresh(
        py,
        CodeSite {
            code: Owned::keep(code),
            layout,
            lines,
            methods,
            asks: false,
            leaves: false,
            loose: Cell::new(1),
            events: 0,
        },
        change,
    )?;
    if is_line {
        let runs = FIRST_RUN_NS.saturating_mul(read.instructions as u64);
        // Another thread may have had the core meanwhile: that is not part of the cost.
        let armed = armed.min(MOST_ARMED_NS.saturating_add(runs));
        // Off and on again costs twice what on costs.
        live.set_rearm_cost(u32::try_from((2 * armed).saturating_add(runs)).unwrap_or(u32::MAX));
    }
    Ok(())
}

/// True if a probe can be in one more code object; it is counted.
fn has_room(slot: u32) -> bool {
    let room = HANDS.with(|hands| {
        let entry = hands.as_mut()?.entries.get_mut(slot)?;
        if entry.copies >= MAX_COPIES {
            entry.left_out = true;
            return Some(false);
        }
        entry.copies += 1;
        Some(true)
    });
    room.flatten().unwrap_or(true)
}

/// What the status says of a probe that is not in all copies of its code.
pub(super) fn left_out(slot: u32, file: &str) -> Option<String> {
    let copies = HANDS.with(|hands| {
        let entry = hands.as_ref()?.entries.get(slot)?;
        (entry.left_out || discovery::overflows(file)).then_some(entry.copies)
    });
    let copies = copies.flatten()?;
    Some(format!("more copies of this code are in use than a probe can be in: it is in {copies} of them"))
}

/// Takes the probes out of code that nobody uses any more, so that it can go.
pub(super) fn forget_code(py: Python<'_>, roots: &[Owned]) {
    for root in roots {
        let mut all = Vec::new();
        code::with_nested(root.borrow(), &mut all);
        for site in all.into_iter().filter_map(hooks::site) {
            let probes = site.lines.iter().flat_map(|(_, probes)| probes).chain(&site.methods);
            let slots: BTreeSet<u32> = probes.map(|probe| probe.live.slot).collect();
            HANDS.with(|hands| {
                let entries = &mut hands.as_mut()?.entries;
                for slot in slots {
                    if let Some(entry) = entries.get_mut(slot) {
                        // What it had is still told as its place, though all of it may be gone.
                        entry.copies = entry.copies.saturating_sub(1).max(1);
                    }
                }
                Some(())
            });
            let none = CodeSite { lines: Vec::new(), methods: Vec::new(), ..site.same() };
            if let Err(error) = refresh(py, none, Change::Keep) {
                log::warn!(target: "stroboscope", "a hook could not be removed: {error}");
            }
        }
    }
}

/// What becomes of places that were switched off.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// They stay so.
    Keep,
    /// They are switched on.
    Restart,
}

/// Puts a site in force and sets the events that it needs; probes that rest need none. Answers the nanoseconds that CPython
/// took to set them.
fn refresh(py: Python<'_>, mut site: CodeSite, change: Change) -> PyResult<u64> {
    let hands = HANDS.with(|hands| {
        let hands = hands.as_ref()?;
        Some((hands.set_local_events.clone_ref(py), hands.probes, hands.events, hands.beside_others))
    });
    let Some((set_local_events, tool, events, beside_others)) = hands.flatten() else { return Ok(0) };
    let code = Owned::keep(site.code.borrow());
    let old = hooks::site(code.borrow());
    let awake = |probe: &Rc<ProbeSite>| !probe.live.rests();
    let lines = site.lines.iter().flat_map(|(_, probes)| probes).any(awake);
    let entries = site.methods.iter().any(|probe| awake(probe) && probe.live.wants_entry());
    let exits = site.methods.iter().any(|probe| awake(probe) && probe.live.wants_exit());
    let had = old.as_deref().map_or(0, |old| old.events);
    let had_exits = had & events.end != 0;
    let starts = if lines && site.asks_for_start() { events.start } else { 0 };
    let at_lines = starts | events.instruction | if beside_others { events.line } else { 0 };
    let of_methods = if entries { events.start } else { 0 } | if exits { events.end } else { 0 };
    let events = if lines { at_lines } else { 0 } | of_methods;
    site.events = events;
    let mut probes = site.lines.iter().flat_map(|(_, probes)| probes).chain(&site.methods);
    site.asks = probes.any(|probe| probe.live.asks_tracer());
    site.leaves = site.methods.iter().any(|probe| probe.live.leaves_entry());
    let yields = entries && yields::wants(py, &site)?;
    if had_exits && !exits {
        hooks::forget_activations(code.borrow(), None);
    }
    hooks::replace(site);
    let began = SystemClock.monotonic();
    // Another kind of event added to those that are set makes CPython (3.12, 3.13) lose some, if another tool has some too.
    let differs = had != 0 && had != events;
    if (change == Change::Restart || differs) && events != 0 {
        // Off and on again: what was switched off comes back.
        arm(py, &set_local_events, tool, code.borrow(), 0)?;
    }
    arm(py, &set_local_events, tool, code.borrow(), events)?;
    let took = SystemClock.monotonic() - began;
    yields::watch(py, code.borrow(), yields)?;
    if had_exits != exits {
        watch_unwind(py)?;
    }
    Ok(took)
}

/// Takes a probe out of all code.
pub(super) fn unplace(py: Python<'_>, live: &Arc<LiveProbe>) -> PyResult<()> {
    for site in hooks::with_probe(|other| other.slot == live.slot) {
        let others = |probes: &[Rc<ProbeSite>]| -> Vec<Rc<ProbeSite>> {
            probes.iter().filter(|probe| probe.live.slot != live.slot).cloned().collect()
        };
        let lines = site.lines.iter().map(|(offset, probes)| (*offset, others(probes)));
        let lines = lines.filter(|(_, probes)| !probes.is_empty()).collect();
        let methods = others(&site.methods);
        let (code, layout) = (Owned::keep(site.code.borrow()), Rc::clone(&site.layout));
        let left =
            CodeSite { code, layout, lines, methods, asks: false, leaves: false, loose: Cell::new(1), events: 0 };
        if left.methods.len() < site.methods.len() {
            hooks::forget_activations(site.code.borrow(), Some(live.slot));
        }
        // A place that nobody stands at any more runs once and is switched off.
        refresh(py, left, Change::Keep)?;
        tracer::end_orphans(py)?;
    }
    Ok(())
}

/// Sets the events of probes anew: they rest from now on, or do so no longer. Places that are switched on run once where
/// others of the same code rest, and switch themselves off again.
pub(super) fn set_again(py: Python<'_>, lives: &[Arc<LiveProbe>], change: Change) -> PyResult<()> {
    for site in hooks::with_probe(|live| lives.iter().any(|other| other.slot == live.slot)) {
        refresh(py, site.same(), change)?;
    }
    Ok(())
}

/// A tool (none: a trace function) has changed what it listens to, in one code object or everywhere: probes on lines are
/// armed anew. Once one listens to lines, they do too. See [`crate::others`].
pub fn others_changed(py: Python<'_>, tool: Option<i64>, code: Option<Ref<'_>>, events: i64) -> PyResult<()> {
    let concerned = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        let ours = |tool| tool == i64::from(hands.probes) || hands.discovery.map(i64::from) == Some(tool);
        if tool.is_some_and(ours) {
            return None;
        }
        let lines = tool.is_some() && events & i64::from(hands.events.line) != 0;
        let news = lines && !hands.beside_others;
        hands.beside_others |= lines;
        Some(news)
    });
    let Some(news) = concerned.flatten() else { return Ok(()) };
    let sites = match code {
        Some(code) if !news => hooks::site(code).into_iter().collect(),
        _ => hooks::with_probe(|_| true),
    };
    for site in sites.iter().filter(|site| !site.lines.is_empty()) {
        refresh(py, site.same(), Change::Restart)?;
    }
    Ok(())
}

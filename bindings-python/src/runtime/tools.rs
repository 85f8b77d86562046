//! The tool ids and the events of `sys.monitoring`: taken, set, given back. Stands at the end of the configuration's walk.

use super::entries::Entries;
use super::state::{HANDS, Hands};
use crate::hooks;
use crate::object::Ref;
use crate::others;
use crate::statements::Opcodes;
use pyo3::prelude::*;
use std::sync::Arc;
use stroboscope_core::registry::LiveProbe;

/// As whom we take the ids.
pub(super) const NAME: &str = "stroboscope";

/// The numbers of the events.
#[derive(Clone, Copy)]
pub(super) struct Events {
    pub(super) instruction: u32,
    pub(super) line: u32,
    pub(super) start: u32,
    pub(super) end: u32,
    unwind: u32,
    /// What both tools have set everywhere, though neither needs it; 0 if there is one tool only.
    ///
    /// CPython notes which tools want an instruction only once two tools have an event in common, and loses what a tool
    /// had set on instructions before. A debugger's `set_trace` makes that happen: it asks for the instructions of a
    /// function, then for the start of all functions, which discovery wants too. With two tools everywhere from the
    /// beginning nothing is lost, of the debugger or of us. Few functions resume, and each place tells us once.
    pub(super) shared: u32,
}

pub(super) fn take_tools(py: Python<'_>) -> PyResult<Hands> {
    let monitoring = py.import("sys")?.getattr("monitoring")?;
    let mut tools = Vec::new();
    for tool in [4u8, 3, 5] {
        if tools.len() < 2 && monitoring.call_method1("use_tool_id", (tool, NAME)).is_ok() {
            tools.push(tool);
        }
    }
    let Some(&probes) = tools.first() else {
        return Err(pyo3::exceptions::PyRuntimeError::new_err(
            "the three ids of sys.monitoring that stroboscope could use (3, 4, 5) are all taken by other tools",
        ));
    };
    prepare(py, &monitoring, &tools, probes).inspect_err(|_| {
        others::leave_alone();
        for &tool in &tools {
            // The one error is told; what fails now has the same cause.
            let _ = free_tool(&monitoring, tool);
        }
    })
}

/// Sets the callbacks of the tools.
fn prepare(py: Python<'_>, monitoring: &Bound<'_, PyAny>, tools: &[u8], probes: u8) -> PyResult<Hands> {
    let discovery = tools.get(1).copied();
    let numbers = monitoring.getattr("events")?;
    let number = |name: &str| numbers.getattr(name)?.extract::<u32>();
    let shared = if discovery.is_some() { number("PY_RESUME")? } else { 0 };
    for (name, callback) in hooks::callbacks(py)? {
        let (tool, event) = match (name, discovery) {
            ("DISCOVERY", Some(tool)) => (tool, number("PY_START")?),
            ("SHARED", Some(tool)) => {
                monitoring.call_method1("register_callback", (tool, number("PY_RESUME")?, &callback))?;
                (probes, number("PY_RESUME")?)
            }
            ("DISCOVERY" | "SHARED", None) => continue,
            _ => (probes, number(name)?),
        };
        monitoring.call_method1("register_callback", (tool, event, callback))?;
    }
    others::watch(monitoring)?;
    Ok(Hands {
        set_local_events: monitoring.getattr("set_local_events")?.unbind(),
        set_events: monitoring.getattr("set_events")?.unbind(),
        probes,
        discovery,
        events: Events {
            instruction: number("INSTRUCTION")?,
            line: number("LINE")?,
            start: number("PY_START")?,
            end: number("PY_RETURN")?,
            unwind: number("PY_UNWIND")?,
            shared,
        },
        opcodes: Arc::new(Opcodes::read(py)),
        session: None,
        entries: Entries::default(),
        wishes: None,
        watches_unwind: false,
        beside_others: others::may_listen(monitoring, tools)?,
        held: 0,
        forked: false,
    })
}

/// True if the id is ours, again if another tool has freed it: what we had set is still set then. False if another tool has
/// it now: nothing of it is ours.
pub(super) fn is_ours(monitoring: &Bound<'_, PyAny>, tool: u8) -> PyResult<bool> {
    let holder = monitoring.call_method1("get_tool", (tool,))?;
    if holder.is_none() {
        monitoring.call_method1("use_tool_id", (tool, NAME))?;
        return Ok(true);
    }
    Ok(holder.extract::<&str>().is_ok_and(|name| name == NAME))
}

/// Gives an id back. What an audit hook of the program refuses keeps the rest from nothing.
pub(super) fn free_tool(monitoring: &Bound<'_, PyAny>, tool: u8) -> PyResult<()> {
    if !is_ours(monitoring, tool)? {
        return Ok(());
    }
    let mut done = monitoring.call_method1("set_events", (tool, 0)).map(drop);
    let numbers = monitoring.getattr("events")?;
    for name in ["INSTRUCTION", "LINE", "PY_START", "PY_RESUME", "PY_RETURN", "PY_UNWIND", "PY_YIELD", "PY_THROW"] {
        let taken =
            monitoring.call_method1("register_callback", (tool, numbers.getattr(name)?, monitoring.py().None()));
        done = done.and(taken.map(drop));
    }
    done.and(monitoring.call_method1("free_tool_id", (tool,)).map(drop))
}

/// Sets the events of a code object.
pub(super) fn arm(py: Python<'_>, set_local_events: &Py<PyAny>, tool: u8, code: Ref<'_>, events: u32) -> PyResult<()> {
    // SAFETY: a live code object, borrowed for the call.
    let code = unsafe { Bound::from_borrowed_ptr(py, code.pointer()) };
    set_local_events.call1(py, (tool, code, events)).map(drop)
}

/// Exceptions that leave a method are seen by a global event, switched on only while a method is probed.
pub(super) fn watch_unwind(py: Python<'_>) -> PyResult<()> {
    let mine = |live: &LiveProbe| live.probe.is_method() && live.wants_exit() && !live.rests();
    let wanted = hooks::with_probe(mine).iter().any(|site| !site.methods.is_empty());
    let change = HANDS.with(|hands| {
        let hands = hands.as_mut()?;
        if hands.watches_unwind == wanted {
            return None;
        }
        hands.watches_unwind = wanted;
        let unwind = if wanted { hands.events.unwind } else { 0 };
        Some((hands.set_events.clone_ref(py), hands.probes, hands.events.shared | unwind))
    });
    match change.flatten() {
        Some((set_events, tool, events)) => set_events.call1(py, (tool, events)).map(drop),
        None => Ok(()),
    }
}

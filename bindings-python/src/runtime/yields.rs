//! What passes between a generator or coroutine with a span probe and its caller: a tool of `sys.monitoring` of its own, taken while
//! there is such a probe. The tools of probes and of discovery cannot tell: both have `PY_RESUME` everywhere, see
//! [`super::tools`]. Stands on the configuration's walk, beside [`super::place`].

use super::state::HANDS;
use super::tools::{self, arm, free_tool};
use crate::hooks::{self, CodeSite};
use crate::names::Held;
use crate::object::Ref;
use pyo3::prelude::*;
use std::collections::HashSet;
use stroboscope_core::probe::model::Kind;

/// `co_flags` of generators, coroutines, and both together.
const YIELDS: i64 = 0x20 | 0x80 | 0x200;

/// The tool, and the code objects that it listens to.
struct Watched {
    tool: u8,
    codes: HashSet<usize>,
    /// `PY_YIELD` and `PY_RESUME`.
    events: u32,
}

static WATCHED: Held<Option<Watched>> = Held::new(None);

/// True if the calls of a code object may stand still, and a span of them must not be active meanwhile.
pub(super) fn wants(py: Python<'_>, site: &CodeSite) -> PyResult<bool> {
    if !site.methods.iter().any(|probe| matches!(probe.live.probe.kind, Kind::Span)) {
        return Ok(false);
    }
    let flags = bound(py, site.code.borrow()).getattr("co_flags")?.extract::<i64>()?;
    Ok(flags & YIELDS != 0)
}

fn bound<'py>(py: Python<'py>, code: Ref<'_>) -> Bound<'py, PyAny> {
    // SAFETY: a live code object.
    unsafe { Bound::from_borrowed_ptr(py, code.pointer()) }
}

/// Listens to a code object, or does so no more.
pub(super) fn watch(py: Python<'_>, code: Ref<'_>, wanted: bool) -> PyResult<()> {
    let address = code.pointer() as usize;
    let known = WATCHED.with(|watched| watched.as_ref().map(|watched| watched.codes.contains(&address))).flatten();
    if known.unwrap_or(false) == wanted {
        return Ok(());
    }
    if wanted && known.is_none() && !take(py)? {
        return Ok(());
    }
    let change = WATCHED.with(|watched| {
        let watched = watched.as_mut()?;
        if wanted {
            watched.codes.insert(address)
        } else {
            watched.codes.remove(&address)
        };
        Some((watched.tool, if wanted { watched.events } else { 0 }, watched.codes.is_empty()))
    });
    let Some((tool, events, is_last)) = change.flatten() else { return Ok(()) };
    let set_local_events = HANDS.with(|hands| hands.as_ref().map(|hands| hands.set_local_events.clone_ref(py)));
    if let Some(set_local_events) = set_local_events.flatten() {
        arm(py, &set_local_events, tool, code, events)?;
    }
    if is_last { release(py) } else { Ok(()) }
}

/// Takes a tool. False: all are taken by others, and spans stay active at a yield.
fn take(py: Python<'_>) -> PyResult<bool> {
    let monitoring = py.import("sys")?.getattr("monitoring")?;
    let free = |tool: &u8| monitoring.call_method1("use_tool_id", (*tool, tools::NAME)).is_ok();
    let Some(tool) = [5_u8, 3, 4].into_iter().find(free) else {
        log::warn!(
            target: "stroboscope",
            "no id of sys.monitoring is left: the span of a generator or coroutine stays active while it does not run"
        );
        return Ok(false);
    };
    let numbers = monitoring.getattr("events")?;
    let mut events = 0;
    for (name, callback) in hooks::pass(py)? {
        let number = numbers.getattr(name)?.extract::<u32>()?;
        monitoring.call_method1("register_callback", (tool, number, callback))?;
        if name == "PY_THROW" {
            // It cannot be asked for in one code object.
            monitoring.call_method1("set_events", (tool, number))?;
        } else {
            events |= number;
        }
    }
    WATCHED.with(|watched| *watched = Some(Watched { tool, codes: HashSet::new(), events }));
    Ok(true)
}

/// Gives the tool back.
pub(super) fn release(py: Python<'_>) -> PyResult<()> {
    let Some(watched) = WATCHED.with(Option::take).flatten() else { return Ok(()) };
    let monitoring = py.import("sys")?.getattr("monitoring")?;
    free_tool(&monitoring, watched.tool)
}

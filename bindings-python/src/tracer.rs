//! The application's tracer, of which hits ask spans and tags. Stands on the hit's walk, after the core: what is asked there is done
//! here, by `_tracer.py`, when nothing of ours is borrowed any more, since a tracer runs code of the application.
//!
//! What stands in the active span is read in each hit that captures, without running any code: where, a look at spans with known
//! ids has shown when the tracer was found. If it shows nothing, hits go without.

use crate::names::Held;
use crate::object::{Owned, Ref};
use crate::value::{self, PyValue};
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::emit::span::{self, SpanError};
use stroboscope_core::hit::TagText;
use stroboscope_core::host::ActiveSpan;
use stroboscope_core::probe::model::TargetSpan;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::stats::Drop as Lost;

/// Nanoseconds after which a tracer is looked for again, once something like one was loaded.
const LOOK_NS: u64 = 100_000_000;

/// The functions of `_tracer.py`.
struct Helper {
    find: Py<PyAny>,
    samples: Py<PyAny>,
    begin: Py<PyAny>,
    enter: Py<PyAny>,
    leave: Py<PyAny>,
    end: Py<PyAny>,
    tag: Py<PyAny>,
    /// Names of modules, one of which there is where there is a tracer.
    modules: [Owned; 2],
}

/// The tracer, as the functions above take it.
static TRACER: Held<Option<Py<PyAny>>> = Held::new(None);
static HELPER: Held<Option<Helper>> = Held::new(None);
static FOUND: AtomicBool = AtomicBool::new(false);
static IS_DATADOG: AtomicBool = AtomicBool::new(false);
/// A tracer may have come since the last look.
static NEWS: AtomicBool = AtomicBool::new(false);
static NEXT_LOOK: AtomicU64 = AtomicU64::new(0);
static READING: Held<Option<Reading>> = Held::new(None);
/// Spans whose call was lost sight of: they end with the next occasion.
static ORPHANS: Held<Vec<Py<PyAny>>> = Held::new(Vec::new());

/// How the active span is read.
enum Reading {
    /// The object in the variable is a span, with its ids at these places.
    Fields { variable: Owned, class: usize, trace: usize, span: usize, reversed: bool },
    /// The object in the variable is a mapping, which has the span by this key.
    Mapping { variable: Owned, key: Owned },
}

/// A session begins.
pub fn begin(py: Python<'_>) -> PyResult<()> {
    let module = py.import("stroboscope._tracer")?;
    let get = |name: &str| Ok::<_, PyErr>(module.getattr(name)?.unbind());
    let no_memory = || pyo3::exceptions::PyMemoryError::new_err("out of memory");
    let modules = [Owned::interned("ddtrace.trace"), Owned::interned("opentelemetry.trace")];
    let [Some(datadog), Some(opentelemetry)] = modules else { return Err(no_memory()) };
    let helper = Helper {
        find: get("find")?,
        samples: get("samples")?,
        begin: get("begin")?,
        enter: get("enter")?,
        leave: get("leave")?,
        end: get("end")?,
        tag: get("tag")?,
        modules: [datadog, opentelemetry],
    };
    let old = HELPER.with(|slot| slot.replace(helper));
    drop(old);
    NEXT_LOOK.store(0, Ordering::Relaxed);
    news();
    Ok(())
}

/// A module starts: with it a tracer may come.
pub fn news() {
    NEWS.store(true, Ordering::Relaxed);
}

/// True if a tracer may have come since the last look. Asked by every hit.
#[inline]
pub fn may_have_come() -> bool {
    NEWS.load(Ordering::Relaxed)
}

/// True if there is a tracer.
#[inline]
pub fn is_there() -> bool {
    FOUND.load(Ordering::Relaxed)
}

/// Looks for a tracer, if there was none and may be one now.
///
/// # Errors
/// An interrupt of the program.
pub fn look(py: Python<'_>) -> PyResult<()> {
    if is_there() || !is_loaded() {
        NEWS.store(false, Ordering::Relaxed);
        return Ok(());
    }
    let now = SystemClock.coarse();
    if now < NEXT_LOOK.load(Ordering::Relaxed) {
        return Ok(());
    }
    NEXT_LOOK.store(now.saturating_add(LOOK_NS), Ordering::Relaxed);
    let Some(find) = function(py, |helper| &helper.find) else { return Ok(()) };
    let tracer = find.call1(py, (env!("CARGO_PKG_VERSION"),))?;
    if tracer.is_none(py) {
        return Ok(());
    }
    let name = tracer.getattr(py, "name")?.extract::<String>(py)?;
    let samples = function(py, |helper| &helper.samples).map(|samples| samples.call1(py, (&tracer,))).transpose()?;
    let reading = samples.and_then(|samples| learn(samples.bind(py)));
    if reading.is_none() {
        log::info!(
            target: "stroboscope",
            "this version of {name} keeps its active span in a way that is not known: events do not tell their trace; \
             spans and decorations go by its public API"
        );
    }
    let old = READING.with(|slot| std::mem::replace(slot, reading));
    drop(old);
    IS_DATADOG.store(name == "ddtrace", Ordering::Relaxed);
    let old = TRACER.with(|slot| slot.replace(tracer));
    drop(old);
    FOUND.store(true, Ordering::Relaxed);
    NEWS.store(false, Ordering::Relaxed);
    Ok(())
}

/// True if a module is loaded that comes with a tracer.
fn is_loaded() -> bool {
    let loaded = HELPER.with(|helper| {
        // SAFETY: the GIL is held; the table of modules lives as long as the interpreter.
        let modules = unsafe { Ref::new(ffi::PyImport_GetModuleDict()) }?;
        helper.as_ref().map(|helper| helper.modules.iter().any(|name| modules.dict_get(name.borrow()).is_some()))
    });
    loaded.flatten().unwrap_or(false)
}

fn function(py: Python<'_>, which: impl FnOnce(&Helper) -> &Py<PyAny>) -> Option<Py<PyAny>> {
    HELPER.with(|helper| helper.as_ref().map(|helper| which(helper).clone_ref(py))).flatten()
}

/// A function and the tracer that it takes.
fn of_tracer(py: Python<'_>, which: impl FnOnce(&Helper) -> &Py<PyAny>) -> Option<(Py<PyAny>, Py<PyAny>)> {
    let tracer = TRACER.with(|tracer| tracer.as_ref().map(|tracer| tracer.clone_ref(py))).flatten()?;
    Some((function(py, which)?, tracer))
}

/// Opens a span around the call that begins.
///
/// # Errors
/// An interrupt of the program.
pub fn open(py: Python<'_>, live: &LiveProbe) -> PyResult<Option<Handle>> {
    end_orphans(py)?;
    let Some((begin, tracer)) = of_tracer(py, |helper| &helper.begin) else { return Ok(None) };
    let made = begin.call1(py, (tracer, span::resource(live), span::tags(live)))?;
    if made.is_none(py) {
        live.stats.dropped(Lost::Internal).add(1);
        return Ok(None);
    }
    Ok(Some(Handle(Some(made))))
}

/// Ends it.
///
/// # Errors
/// An interrupt of the program.
pub fn close(py: Python<'_>, live: &LiveProbe, mut handle: Handle, error: Option<&SpanError>) -> PyResult<()> {
    let (Some((end, tracer)), Some(one)) = (of_tracer(py, |helper| &helper.end), handle.0.take()) else {
        return Ok(());
    };
    let error = error.map(|error| (error.kind.as_str(), error.message.as_str()));
    // Noted first: it is made, whatever comes of its end.
    live.traced();
    end.call1(py, (tracer, one, error)).map(drop)
}

/// The call stands at a yield, or goes on after it.
///
/// # Errors
/// An interrupt of the program.
pub fn pass(py: Python<'_>, one: &Py<PyAny>, enters: bool) -> PyResult<()> {
    let act = of_tracer(py, |helper| if enters { &helper.enter } else { &helper.leave });
    act.map_or(Ok(()), |(act, tracer)| act.call1(py, (tracer, one)).map(drop))
}

/// Sets tags on a span.
///
/// # Errors
/// An interrupt of the program.
pub fn tag(py: Python<'_>, live: &LiveProbe, target: TargetSpan, tags: &[TagText]) -> PyResult<()> {
    let Some((tag, tracer)) = of_tracer(py, |helper| &helper.tag) else { return Ok(()) };
    let texts = PyDict::new(py);
    for tag in tags {
        texts.set_item(&tag.name, &tag.value)?;
    }
    let done = tag.call1(py, (tracer, target == TargetSpan::Root, texts))?;
    if done.is_none(py) {
        live.stats.dropped(Lost::Internal).add(1);
    } else if done.is_truthy(py)? {
        live.traced();
    }
    Ok(())
}

/// A span that is open. However its call is lost sight of, it ends.
pub struct Handle(Option<Py<PyAny>>);

impl Handle {
    /// The same for a moment.
    pub fn share(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.0.as_ref().map(|one| one.clone_ref(py))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Ended later: here the table of activations may be borrowed.
        if let Some(one) = self.0.take() {
            ORPHANS.with(|orphans| orphans.push(one));
        }
    }
}

/// Ends spans whose call was lost sight of.
///
/// # Errors
/// An interrupt of the program.
pub fn end_orphans(py: Python<'_>) -> PyResult<()> {
    let orphans = ORPHANS.with(std::mem::take).unwrap_or_default();
    for one in orphans {
        if let Some((end, tracer)) = of_tracer(py, |helper| &helper.end) {
            end.call1(py, (tracer, one, py.None()))?;
        }
    }
    Ok(())
}

/// In a forked child: spans that were open are the parent's, which ends them.
pub fn forget_orphans() {
    drop(ORPHANS.with(std::mem::take));
}

/// The tracer's name, and whether events tell their trace.
pub fn describe() -> Option<(&'static str, bool)> {
    let reads = READING.with(|reading| reading.is_some()).unwrap_or(false);
    is_there().then(|| (if IS_DATADOG.load(Ordering::Relaxed) { "ddtrace" } else { "opentelemetry" }, reads))
}

/// The ids of the active span.
#[inline]
pub fn active() -> ActiveSpan {
    if !is_there() {
        return ActiveSpan::default();
    }
    READING.with(|reading| reading.as_ref().and_then(read)).flatten().unwrap_or_default()
}

/// The value of a context variable in this thread.
fn value_of(variable: &Owned) -> Option<Owned> {
    let mut value: *mut PyObject = ptr::null_mut();
    // SAFETY: a live context variable; the GIL is held. It fails only for another object, which it was seen not to be.
    unsafe {
        if ffi::PyContextVar_Get(variable.borrow().pointer(), ptr::null_mut(), &raw mut value) != 0 {
            ffi::PyErr_Clear();
            return None;
        }
        Owned::take(value)
    }
}

fn read(reading: &Reading) -> Option<ActiveSpan> {
    match reading {
        Reading::Fields { variable, class, trace, span, reversed } => {
            let value = value_of(variable)?;
            let value = value.borrow();
            if value.class().pointer() as usize != *class {
                return None;
            }
            let at = value.pointer().cast::<u8>();
            // SAFETY: an object of the class whose fields were seen at these places, below its size.
            let (first, second, span_id) = unsafe {
                let word = |offset: usize| at.add(offset).cast::<u64>().read_unaligned();
                (word(*trace), word(*trace + 8), word(*span))
            };
            let (low, high) = if *reversed { (second, first) } else { (first, second) };
            Some(ActiveSpan { trace_id: u128::from(high) << 64 | u128::from(low), span_id })
        }
        Reading::Mapping { variable, key } => {
            let value = value_of(variable)?;
            in_mapping(value.borrow(), key.borrow())
        }
    }
}

/// The ids of the span in a context of OpenTelemetry: a dictionary with spans, which have a tuple with their ids.
fn in_mapping(context: Ref<'_>, key: Ref<'_>) -> Option<ActiveSpan> {
    if !context.is_dict() {
        return None;
    }
    let span = context.dict_get(key)?;
    let Some(PyValue::Object(ids)) = value::plain_field(span, "_context") else { return None };
    if !ids.class().has(ffi::Py_TPFLAGS_TUPLE_SUBCLASS) {
        return None;
    }
    let number = |index: usize| -> Option<u128> {
        // SAFETY: the object in a tuple belongs to it.
        let item = unsafe { Ref::new(*ids.tuple().get(index)?) }?;
        whole(item)
    };
    let ids = ActiveSpan { trace_id: number(0)?, span_id: u64::try_from(number(1)?).ok()? };
    (ids.trace_id != 0 && ids.span_id != 0).then_some(ids)
}

/// A whole number of at most 128 bits.
fn whole(number: Ref<'_>) -> Option<u128> {
    let (digits, negative) = number.digits()?;
    if negative || digits.len() > 5 {
        return None;
    }
    digits.iter().rev().try_fold(0_u128, |sum, digit| sum.checked_mul(1 << 30)?.checked_add(u128::from(*digit)))
}

/// Finds out how the active span is read, from spans with known ids; `None` if they do not show it.
fn learn(samples: &Bound<'_, PyAny>) -> Option<Reading> {
    type Sample<'py> = (Bound<'py, PyAny>, u128, u64);
    // Whether the words of a span have what is sought at an index: its trace's id or its own.
    type Holds<'a> = dyn Fn(&[u64], u128, u64, usize) -> bool + 'a;
    let (variable, second, spans): (Bound<'_, PyAny>, Bound<'_, PyAny>, Vec<Sample<'_>>) = samples.extract().ok()?;
    // SAFETY: live objects, kept from here on.
    let keep = |object: &Bound<'_, PyAny>| unsafe { Ref::new(object.as_ptr()) }.map(Owned::keep);
    // SAFETY: asks for the class of a live object.
    if unsafe { ffi::Py_TYPE(variable.as_ptr()) != &raw mut ffi::PyContextVar_Type } {
        return None;
    }
    let (kept_variable, kept) = (keep(&variable)?, keep(&second)?);
    if kept.borrow().is_text() {
        let shown = |(context, trace_id, span_id): &Sample<'_>| {
            let context = keep(context)?;
            let ids = in_mapping(context.borrow(), kept.borrow())?;
            (ids == ActiveSpan { trace_id: *trace_id, span_id: *span_id }).then_some(())
        };
        spans.iter().try_for_each(shown)?;
        return Some(Reading::Mapping { variable: kept_variable, key: kept });
    }
    let class = kept.borrow().as_class()?;
    // SAFETY: a live class.
    let size = usize::try_from(unsafe { (*class.pointer()).tp_basicsize }).ok()?;
    if spans.is_empty() || spans.iter().any(|(span, ..)| span.get_type_ptr() != class.pointer()) {
        return None;
    }
    let words = |span: &Bound<'_, PyAny>| -> Vec<u64> {
        let at = span.as_ptr().cast::<u64>();
        // SAFETY: within the object, whose class says how large it is at least.
        (0..size / 8).map(|index| unsafe { at.add(index).read_unaligned() }).collect()
    };
    let seen: Vec<(Vec<u64>, u128, u64)> = spans.iter().map(|(span, trace, own)| (words(span), *trace, *own)).collect();
    let everywhere =
        |holds: &Holds<'_>, index: usize| seen.iter().all(|(words, trace, own)| holds(words, *trace, *own, index));
    let only = |holds: &Holds<'_>| {
        let mut found = (0..size / 8).filter(|&index| everywhere(holds, index));
        found.next().filter(|_| found.next().is_none())
    };
    let pair = |words: &[u64], index: usize| Some((*words.get(index)?, *words.get(index + 1)?));
    let halves = |trace: u128| (trace as u64, (trace >> 64) as u64);
    let straight = only(&|words, trace, _, index| pair(words, index) == Some(halves(trace)));
    let reversed = only(&|words, trace, _, index| {
        pair(words, index).map(|(first, second)| (second, first)) == Some(halves(trace))
    });
    let span = only(&|words, _, own, index| words.get(index) == Some(&own))?;
    let (trace, reversed) = match (straight, reversed) {
        (Some(at), None) => (at, false),
        (None, Some(at)) => (at, true),
        _ => return None,
    };
    let class = class.pointer() as usize;
    // The class is kept with the variable's module; its address is nobody else's.
    std::mem::forget(kept);
    Some(Reading::Fields { variable: kept_variable, class, trace: trace * 8, span: span * 8, reversed })
}

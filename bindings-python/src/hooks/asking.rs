//! Hits that may ask something of the application's tracer: of span probes, of decorations, and of whatever stands in the same code.
//! A part of [`super`]; what is asked is done by [`crate::tracer`].
//!
//! A tracer runs code of the application, which may let other threads run, whose hits use what is ours, and probes may come and
//! go meanwhile. So it is called when nothing of ours is borrowed, and the probes of the code are kept, not borrowed from the
//! table. Spans begin before the other hits of a call and end after them.

use super::{
    Activation, Answer, CodeSite, KEEP_ARMED, Point, ProbeSite, TABLE, Tokens, recall, remember, run, site as site_of,
};
use crate::frame::PyFrame;
use crate::guard;
use crate::object::Ref;
use crate::tracer::{self, Handle};
use crate::value::PyValue;
use pyo3::ffi::PyObject;
use pyo3::prelude::*;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use stroboscope_core::clock::{Clock, SystemClock};
use stroboscope_core::hit::{Ask, Exit, HitContext, Verdict};
use stroboscope_core::probe::model::Kind;

/// What hits have asked, in their order.
#[derive(Default)]
struct Asked(Vec<(Rc<ProbeSite>, Ask, Option<Handle>)>);

impl Asked {
    fn take(&mut self, probe: &Rc<ProbeSite>, ask: Option<Ask>, handle: Option<Handle>) {
        if let Some(ask) = ask {
            self.0.push((Rc::clone(probe), ask, handle));
        }
    }

    /// Does it. Spans that were opened are noted with the tokens.
    fn perform(self, py: Python<'_>, tokens: &mut Tokens) -> PyResult<()> {
        let mut done = Ok(());
        for (probe, ask, handle) in self.0 {
            let live = &probe.live;
            // What it costs is the probe's. The clock is dear: some are timed, and stand for the others.
            let weight = live.stats.sample_weight(live.stats.hits.get());
            let began = weight.map(|weight| (weight, SystemClock.thread_cpu()));
            let made = guard::caught(|| match ask {
                Ask::Open => {
                    if let Some(handle) = tracer::open(py, live)? {
                        tokens.spans.push((live.slot, handle));
                    }
                    Ok(())
                }
                Ask::Close(error) => handle.map_or(Ok(()), |handle| tracer::close(py, live, handle, error.as_ref())),
                Ask::Tag(target, tags) => tracer::tag(py, live, target, &tags),
            });
            if let Some((weight, began)) = began {
                live.stats.spent(SystemClock.thread_cpu().saturating_sub(began).saturating_mul(weight));
            }
            // One interrupt is as good as two.
            done = done.and(made.unwrap_or_else(|| {
                live.panicked_in_hit();
                Ok(())
            }));
        }
        done
    }
}

/// The program gets its interrupt.
fn or_raise(py: Python<'_>, done: PyResult<()>, answer: Answer) -> Answer {
    match done {
        Ok(()) => answer,
        Err(interrupt) => {
            interrupt.restore(py);
            Answer::Raise
        }
    }
}

fn is_span(probe: &ProbeSite) -> bool {
    matches!(probe.live.probe.kind, Kind::Span)
}

/// One hit, and what it asks.
fn ask(probe: &ProbeSite, point: Point, hit: impl FnOnce(&mut HitContext) -> Verdict) -> (Verdict, Option<Ask>) {
    let mut asked = None;
    let verdict = run(&probe.live, point, |context| {
        let verdict = hit(context);
        asked = context.take_ask();
        verdict
    });
    (verdict, asked)
}

/// Looks for a tracer.
#[cold]
pub(super) fn look() -> Answer {
    // SAFETY: callbacks run with the GIL held.
    let py = unsafe { Python::assume_attached() };
    or_raise(py, tracer::look(py), Answer::Keep)
}

/// The probes of the code, once a tracer was looked for.
fn begin(py: Python<'_>, code: Ref<'_>) -> (Option<Rc<CodeSite>>, PyResult<()>) {
    let looked = tracer::look(py);
    (site_of(code), looked)
}

#[cold]
pub(super) fn line(code: Ref<'_>, offset: i64) -> Answer {
    // SAFETY: callbacks run with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let (Some(site), looked) = begin(py, code) else { return Answer::Disable };
    let Some((_, probes)) = site.lines.iter().find(|(at, _)| *at == offset) else { return Answer::Disable };
    let (mut asked, mut disable) = (Asked::default(), true);
    for probe in probes {
        // SAFETY: the GIL is held, and the frame that called us stays where it is until we return.
        let Some(frame) = (unsafe { PyFrame::top(code, &site.layout, &probe.symbols) }) else { return Answer::Keep };
        let frame = frame.at_line(probe.shown);
        let (verdict, asks) = ask(probe, Point::Line, |context| context.line(&probe.live, probe.line, &frame));
        asked.take(probe, asks, None);
        disable &= verdict == Verdict::Disarm;
    }
    let done = looked.and(asked.perform(py, &mut Tokens::default()));
    let disables = disable && !KEEP_ARMED.load(Ordering::Relaxed);
    or_raise(py, done, if disables { Answer::Disable } else { Answer::Keep })
}

#[cold]
pub(super) fn entry(code: Ref<'_>) -> Answer {
    // SAFETY: callbacks run with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let (Some(site), looked) = begin(py, code) else { return Answer::Disable };
    let (mut tokens, mut address) = (Tokens::default(), 0);
    let mut done = looked;
    for spans in [true, false] {
        let mut asked = Asked::default();
        for probe in site.methods.iter().filter(|probe| is_span(probe) == spans) {
            // SAFETY: the GIL is held, and the frame that called us stays where it is until we return.
            let Some(frame) = (unsafe { PyFrame::top(code, &site.layout, &probe.symbols) }) else {
                return Answer::Keep;
            };
            address = frame.address();
            let (_, asks) = ask(probe, Point::Entry, |context| {
                let (verdict, token) = context.entry(&probe.live, &frame);
                if let Some(token) = token {
                    tokens.push(probe.live.slot, token);
                }
                verdict
            });
            asked.take(probe, asks, None);
        }
        done = done.and(asked.perform(py, &mut tokens));
    }
    remember(address, Activation { code: code.pointer() as usize, tokens });
    or_raise(py, done, Answer::Keep)
}

#[cold]
pub(super) fn exit<'a>(code: Ref<'a>, exit: Exit<PyValue<'a>>) -> Answer {
    // SAFETY: callbacks run with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let (Some(site), looked) = begin(py, code) else { return Answer::Disable };
    let (mut tokens, mut asked) = (None, Asked::default());
    // The span that began last ends first.
    let others = site.methods.iter().filter(|probe| !is_span(probe));
    for probe in others.chain(site.methods.iter().rev().filter(|probe| is_span(probe))) {
        // SAFETY: the GIL is held, and the frame that called us stays where it is until we return.
        let Some(frame) = (unsafe { PyFrame::top(code, &site.layout, &probe.symbols) }) else { return Answer::Keep };
        let frame = match exit {
            Exit::Threw(PyValue::Object(exception)) => frame.raised(exception),
            _ => frame,
        };
        let tokens = tokens.get_or_insert_with(|| recall(frame.address(), code.pointer() as usize));
        let (token, handle) = (tokens.take(probe.live.slot), tokens.take_span(probe.live.slot));
        let (_, asks) = ask(probe, Point::Exit, |context| context.exit(&probe.live, &frame, exit, token));
        // Without a question it is an orphan, which ends with the next occasion.
        asked.take(probe, asks, handle);
    }
    let done = looked.and(asked.perform(py, &mut Tokens::default()));
    or_raise(py, done, Answer::Keep)
}

/// A call stands at a yield, or goes on: its spans are active only while it runs.
fn passes(code: Ref<'_>, enters: bool) -> Answer {
    // SAFETY: callbacks run with the GIL held.
    let py = unsafe { Python::assume_attached() };
    let Some(site) = site_of(code) else { return Answer::Disable };
    // SAFETY: the GIL is held, and the frame that called us stays where it is until we return.
    let Some(frame) = (unsafe { PyFrame::top(code, &site.layout, &[]) }) else { return Answer::Keep };
    let (address, code) = (frame.address(), code.pointer() as usize);
    let spans = TABLE.with(|table| {
        let table = table.as_ref()?;
        let recent = table.recent.as_ref().filter(|(recent, _)| *recent == address).map(|(_, activation)| activation);
        let found = recent.or_else(|| table.activations.get(&address)).filter(|found| found.code == code)?;
        Some(found.tokens.spans.iter().filter_map(|(_, handle)| handle.share(py)).collect::<Vec<_>>())
    });
    let mut spans = spans.flatten().unwrap_or_default();
    if !enters {
        spans.reverse();
    }
    let done = spans.iter().map(|one| tracer::pass(py, one, enters)).fold(Ok(()), PyResult::and);
    or_raise(py, done, Answer::Keep)
}

unsafe extern "C" fn on_yield(_: *mut PyObject, arguments: *mut *mut PyObject, count: isize) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    let code = unsafe { super::argument(arguments, count, 0) };
    super::answer(&guard::guarded(|| code.map_or(Answer::Keep, |code| passes(code, false))))
}

unsafe extern "C" fn on_resume(_: *mut PyObject, arguments: *mut *mut PyObject, count: isize) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    let code = unsafe { super::argument(arguments, count, 0) };
    super::answer(&guard::guarded(|| code.map_or(Answer::Keep, |code| passes(code, true))))
}

/// A generator goes on with an exception. A global event, which may not be disabled.
unsafe extern "C" fn on_throw(_: *mut PyObject, arguments: *mut *mut PyObject, count: isize) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    let code = unsafe { super::argument(arguments, count, 0) };
    super::answer(&guard::guarded(|| match code.map_or(Answer::Keep, |code| passes(code, true)) {
        Answer::Disable => Answer::Keep,
        other => other,
    }))
}

/// The callbacks of what passes between a call and its caller, with the names of their events.
pub fn pass(py: Python<'_>) -> PyResult<[(&'static str, Bound<'_, PyAny>); 3]> {
    Ok([
        ("PY_YIELD", super::function(py, c"stroboscope_yield", on_yield)?),
        ("PY_RESUME", super::function(py, c"stroboscope_resume", on_resume)?),
        ("PY_THROW", super::function(py, c"stroboscope_throw", on_throw)?),
    ])
}

//! Hits of span probes and span decorations. A part of the hot path: before it [`crate::hit`], after it the ring, or the binding,
//! which does what is asked here of the application's tracer ([`Ask`]) once the hit is over: a tracer runs code of its own.
//!
//! Where the application has a tracer, it makes the spans. Where it has none, a span is a record like any other, with its
//! duration and the exception that ended the call, and [`crate::emit::span`] makes a span of it. A decoration's tags are texts
//! by the end of the hit, since its span may end before the worker runs.

use super::{Decision, EntryToken, Exit, HitContext, Point, Process, Verdict, scope, walk_context};
use crate::capture::walk;
use crate::clock::Moment;
use crate::emit::language::Profile;
use crate::emit::message::Spelling;
use crate::emit::span::{self, SpanError};
use crate::expr::Expression;
use crate::expr::eval::{self, Budget, Failure, Names, Scope};
use crate::expr::template::Segment;
use crate::host::Frame;
use crate::probe::model::{Decoration, SpanDecoration, Tag, TargetSpan};
use crate::record::layout::MAX_RECORD;
use crate::record::write::{self, Header, Place};
use crate::registry::LiveProbe;
use crate::stats::{Drop, UnderWay};

/// What a hit asks of the application's tracer.
#[derive(Debug, PartialEq, Eq)]
pub enum Ask {
    /// A span begins with the call, and is active in it.
    Open,
    /// It ends with the call, perhaps by an exception.
    Close(Option<SpanError>),
    /// The active span, or the root of the local trace, gets tags.
    Tag(TargetSpan, Vec<TagText>),
}

/// One tag of a decoration.
#[derive(Debug, PartialEq, Eq)]
pub struct TagText {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What a span probe leaves at the entry of a call.
#[derive(Debug)]
pub(super) struct OpenSpan {
    /// The application's tracer makes it.
    by_tracer: bool,
    pub(super) call: UnderWay,
}

impl HitContext {
    /// What the last hit asks of the application's tracer, if anything. The binding takes it after each hit of a span probe or a
    /// decoration, and does it when it holds nothing of ours any more: code of the application runs then.
    #[inline]
    pub fn take_ask(&mut self) -> Option<Ask> {
        self.ask.take()
    }

    /// The entry of a call that gets a span.
    pub(super) fn open_span<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        frame: &F,
        started: Moment,
    ) -> (Verdict, Option<EntryToken>) {
        let scope = scope(frame, Point::Entry, None);
        match self.wanted(live, &scope, Point::Entry) {
            Decision::Fire => {}
            Decision::Skip(verdict) => return (verdict, None),
            Decision::Fail(failure) => {
                self.failed(live, &scope, None, Place::Condition, &failure);
                return (Verdict::Keep, None);
            }
        }
        let by_tracer = frame.has_tracer();
        if by_tracer {
            self.ask = Some(Ask::Open);
        }
        let span = Some(OpenSpan { by_tracer, call: live.stats.calls.begin() });
        (Verdict::Keep, Some(EntryToken { started, half: None, span }))
    }

    /// Its end.
    pub(super) fn close_span<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        frame: &F,
        exit: Exit<F::Value>,
        started: Moment,
        span: OpenSpan,
    ) {
        span.call.end();
        if span.by_tracer {
            // The tracer's span ends, whatever has become of the probe.
            let error = match exit {
                Exit::Threw(exception) => self.span_error(live, frame, exception),
                Exit::Returned(_) => None,
            };
            self.ask = Some(Ask::Close(error));
            return;
        }
        if live.is_gone() {
            return;
        }
        if self.records.is_full() {
            live.stats.dropped(Drop::QueueFull).add_serial(1);
            return;
        }
        let duration = self.process.clock.since(started);
        self.begin(live, frame, Some(duration));
        if let Exit::Threw(exception) = exit {
            self.thrown(frame, exception);
        }
        self.send(live);
    }

    /// Records the exception that ends the call.
    #[cold]
    fn thrown<'f, F: Frame<'f>>(&mut self, frame: &F, exception: F::Value) {
        let HitContext { process, writer, .. } = self;
        writer.point(write::Point::Return);
        walk::throwable(writer, &walk_context(process), frame, exception);
        writer.end_point();
    }

    /// The exception that ends the call, in words.
    #[cold]
    fn span_error<'f, F: Frame<'f>>(&mut self, live: &LiveProbe, frame: &F, exception: F::Value) -> Option<SpanError> {
        self.writer.begin(&Header { probe: live.slot, ..Header::default() });
        self.thrown(frame, exception);
        let HitContext { process, writer, .. } = self;
        let record = writer.finish();
        let made = if record.len() > MAX_RECORD { None } else { span::error_of(record, &process.tables).ok() };
        made.flatten()
    }

    /// Makes the tags of a decoration. Without a tracer there is no span to be had.
    pub(super) fn decorate<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        decoration: &'f SpanDecoration,
        scope: &Scope<'_, F, F::Value>,
        duration: Option<u64>,
    ) {
        if !scope.frame.has_tracer() {
            return;
        }
        let mut tags = Vec::new();
        // Told when all tags are made: both use the same scratch.
        let mut failed: Option<(Place, Failure)> = None;
        let mut held = false;
        for (index, one) in (0..).zip(&decoration.decorations) {
            match self.applies(live, one, scope) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(failure) => {
                    failed.get_or_insert((Place::Decoration(index), failure));
                    continue;
                }
            }
            held = true;
            for tag in &one.tags {
                let made = self.tag(live, tag, scope);
                let (name, value) = match made {
                    Ok(value) => (tag.name.clone(), value),
                    Err((place, failure)) => {
                        let name = format!("_dd.di.{}.evaluation_error", tag.name);
                        let value = failure_text(&self.process, live, place, &failure);
                        failed.get_or_insert((place, failure));
                        (name, value)
                    }
                };
                tags.push(TagText { name, value });
                tags.push(TagText { name: format!("_dd.di.{}.probe_id", tag.name), value: live.probe.id.clone() });
            }
        }
        if !tags.is_empty() {
            self.ask = Some(Ask::Tag(decoration.target, tags));
        }
        match failed {
            Some((place, failure)) => self.failed(live, scope, duration, place, &failure),
            None if !held => live.stats.rejected.add_serial(1),
            None => {}
        }
    }

    /// True if a decoration holds.
    fn applies<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        one: &'f Decoration,
        scope: &Scope<'_, F, F::Value>,
    ) -> Result<bool, Failure> {
        let Some(when) = &one.when else { return Ok(true) };
        let verdict = eval::verdict(when, &live.probe.symbols, scope, &self.process.redaction);
        verdict.map_or_else(|| self.condition(live, when, scope), Ok)
    }

    /// The text of a tag, or its first segment that failed.
    fn tag<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        tag: &'f Tag,
        scope: &Scope<'_, F, F::Value>,
    ) -> Result<String, (Place, Failure)> {
        let HitContext { process, scratch, writer, .. } = self;
        let walk = walk_context(process);
        writer.begin(&Header { probe: live.slot, ..Header::default() });
        let mut budget = Budget::new(&*process.clock, process.evaluation_ns, &process.redaction, scratch);
        for (index, segment) in (tag.first..).zip(&tag.value.segments) {
            let Segment::Expression(expression) = segment else { continue };
            match eval::evaluate(expression, &live.probe.symbols, scope, &mut budget) {
                Ok(operand) => walk::message(writer, &walk.of(expression), index, &operand),
                Err(failure) => return Err((Place::Segment(index), failure)),
            }
        }
        let spelling = Spelling { tables: &process.tables, profile: Profile::of(process.language) };
        let made = span::tag_text(writer.finish(), tag, spelling);
        made.map_err(|_| (Place::Segment(tag.first), Failure::host("a tag could not be written")))
    }
}

/// Why a tag has no value, in words.
#[cold]
fn failure_text(process: &Process, live: &LiveProbe, place: Place, failure: &Failure) -> String {
    let type_name = |id| process.tables.type_name(id).unwrap_or("?").to_owned();
    let symbols = &live.probe.symbols;
    let milliseconds = process.evaluation_ns / 1_000_000;
    let of =
        |expression: &Expression| failure.text(&Names { expression, symbols, type_name: &type_name, milliseconds });
    live.probe.expression_at(place).map_or_else(|| failure.category().name().to_owned(), of)
}

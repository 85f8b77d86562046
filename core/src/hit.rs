//! The hot path of inside hosts, one function, top to bottom. Before: the host's hook and its guard; after:
//! [`crate::worker`]. A hit looks at the gate, decides the condition, takes tokens, asks for room, and only then
//! captures; one of a metric probe adds a value to [`crate::emit::meter`] instead, and what span probes and decorations ask of the
//! application's tracer is left for the binding ([`span`]). It reads no clock but for the event's own time, takes no lock, and allocates nothing but what filters keep.

pub mod span;

pub use self::span::{Ask, TagText};

use self::span::OpenSpan;
use crate::budget::gate::{Gate, Line, Look};
use crate::capture::redact::Redaction;
use crate::capture::strict::Strict;
use crate::capture::walk::{self, Deadline, WalkContext};
use crate::clock::{Clock, Moment};
use crate::config::LogStack;
use crate::emit::ring::{QueuedBytes, RecordSender};
use crate::expr::Expression;
use crate::expr::eval::{self, Budget, Category, Failure, Measured, Scope, Scratch};
use crate::expr::template::Segment;
use crate::fault;
use crate::host::{Frame, Language, Name, Section};
use crate::probe::model::{EvaluateAt, Kind, Log, Metric};
use crate::record::layout::MAX_RECORD;
use crate::record::names::{Interner, Tables};
use crate::record::write::{self, Header, Place, Suspended, Writer};
use crate::registry::LiveProbe;
use crate::stats::{Drop, UnderWay};
use crate::text::Text;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// What all hits of a process share. Nothing in it is locked.
pub struct Process {
    /// Interned names and types.
    pub tables: Arc<Tables>,
    /// What is a secret.
    pub redaction: Arc<Redaction>,
    /// The rules of strict capture, if that is asked for.
    pub strict: Option<Strict>,
    /// True if fields that only application code could answer are shown (JavaScript).
    pub shows_computed: bool,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Tokens of all capturing probes.
    pub capturing: Gate,
    /// Tokens of all other log probes.
    pub others: Gate,
    /// Who waits for them, of the capturing ones and of the others.
    pub lines: [Line; 2],
    /// Bytes of records that wait.
    pub queued: Arc<QueuedBytes>,
    /// Budget of one evaluation, nanoseconds.
    pub evaluation_ns: u64,
    /// Budget of one capture, nanoseconds.
    pub capture_ns: u64,
    /// What stands in the stack of hits that capture nothing.
    pub log_stack: LogStack,
    /// The host's language.
    pub language: Language,
}

impl Process {
    /// True if the hits of a probe show the whole stack, and not only the frame of their own place.
    #[inline]
    pub(crate) fn shows_stack(&self, captures: bool) -> bool {
        captures || self.log_stack == LogStack::All
    }

    /// The tokens that a probe shares with all others of its sort, and the line before them.
    #[inline]
    pub(crate) fn global(&self, captures: bool) -> (&Gate, &Line) {
        let [capturing, others] = &self.lines;
        if captures { (&self.capturing, capturing) } else { (&self.others, others) }
    }
}

/// What the hook does after a hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stays on.
    Keep,
    /// May switch itself off; [`crate::host::Runtime::rearm`] switches it on again.
    Disarm,
}

/// The end of a method.
#[derive(Clone, Copy, Debug)]
pub enum Exit<V> {
    /// With a value.
    Returned(V),
    /// By an exception.
    Threw(V),
}

/// What a method's entry leaves for its exit. The binding keeps it with the activation.
#[derive(Debug)]
pub struct EntryToken {
    started: Moment,
    /// What a probe leaves that captures at entry and at exit. Most leave none, so it takes little room here.
    half: Option<Box<Half>>,
    /// What a span probe leaves.
    span: Option<OpenSpan>,
}

impl EntryToken {
    /// Lets it go because too many calls are under way. One that is dropped in any other way is counted as one whose end is
    /// never seen, if it would have become an event.
    pub fn push_out(self) {
        if let Some(half) = self.half {
            half.call.push_out();
        }
        if let Some(span) = self.span {
            span.call.push_out();
        }
    }
}

/// The first half of an event.
#[derive(Debug)]
struct Half {
    record: Suspended,
    call: UnderWay,
}

/// Pseudo-random bits for event ids: unguessable is not needed, unique is.
struct Random(u64);

impl Random {
    fn new() -> Self {
        // The standard library seeds its hashers from the system's generator.
        Random(std::hash::RandomState::new().build_hasher().finish())
    }

    #[inline]
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }
}

/// Where in the code a hit is.
#[derive(Clone, Copy)]
enum Point<V> {
    Line(u32),
    Entry,
    Exit(Exit<V>),
}

/// Times a hit that stands for `weight` of them.
struct Timer {
    weight: u64,
    /// Events of its probe before it.
    emitted: u64,
    cpu: u64,
    started: Moment,
}

impl Timer {
    /// A hit that takes longer may have been interrupted for another thread or process.
    const INTERRUPTED_NS: u64 = 20_000;

    #[cold]
    fn start(clock: &dyn Clock, weight: u64, emitted: u64) -> Timer {
        let cpu = clock.thread_cpu();
        Timer { weight, emitted, cpu, started: clock.moment() }
    }

    /// Nanoseconds of CPU. The clock of the thread is too dear for short hits, which nothing interrupts.
    #[cold]
    fn spent(&self, clock: &dyn Clock) -> u64 {
        let spent = clock.since(self.started);
        if spent < Self::INTERRUPTED_NS { spent } else { spent.min(clock.thread_cpu().saturating_sub(self.cpu)) }
    }
}

/// What was decided before anything is captured.
enum Decision {
    Fire,
    /// Nothing comes of the hit.
    Skip(Verdict),
    /// An error event is sent: the condition failed.
    Fail(Failure),
}

/// The state of hits of one thread, or of all threads of a host that runs one hit at a time.
pub struct HitContext {
    process: Arc<Process>,
    writer: Writer,
    records: RecordSender,
    scratch: Scratch,
    /// The name tables' lookup side; bindings intern the names they hand over through it.
    pub interner: Interner,
    random: Random,
    returned: Name<'static>,
    exception: Name<'static>,
    /// What the last hit asks of the application's tracer.
    ask: Option<Ask>,
    /// A test has asked for a panic.
    faulty: bool,
}

impl HitContext {
    pub(crate) fn new(process: Arc<Process>, records: RecordSender) -> Self {
        let mut interner = Interner::new(Arc::clone(&process.tables));
        let mut special = |name: &'static str| match interner.name(Text::Utf8(name)) {
            Some((id, redacted)) => Name::Known { id, redacted },
            None => Name::Text(Text::Utf8(name)),
        };
        let (returned, exception) = (special("@return"), special("@exception"));
        HitContext {
            process,
            writer: Writer::new(),
            records,
            scratch: Scratch::default(),
            interner,
            random: Random::new(),
            returned,
            exception,
            ask: None,
            faulty: false,
        }
    }

    /// A hit of a line probe, before the line's code.
    #[inline]
    pub fn line<'f, F: Frame<'f>>(&mut self, live: &'f LiveProbe, line: u32, frame: &F) -> Verdict {
        let timer = self.count(live);
        let verdict = self.evaluate(live, frame, Point::Line(line), None);
        self.stop(live, timer);
        verdict
    }

    /// The entry of a probed method: what it leaves for the exit, if anything.
    #[inline]
    pub fn entry<'f, F: Frame<'f>>(&mut self, live: &'f LiveProbe, frame: &F) -> (Verdict, Option<EntryToken>) {
        if !live.leaves_entry() {
            return (self.entry_alone(live, frame), None);
        }
        let started = self.process.clock.moment();
        if live.probe.evaluate_at == EvaluateAt::Exit {
            return (Verdict::Keep, Some(EntryToken { started, half: None, span: None }));
        }
        let timer = self.count(live);
        let answer = match &live.probe.kind {
            Kind::Span => self.open_span(live, frame, started),
            _ => self.evaluate_entry(live, frame, started),
        };
        self.stop(live, timer);
        answer
    }

    /// The entry of a method whose exit needs to know nothing of it.
    fn entry_alone<'f, F: Frame<'f>>(&mut self, live: &'f LiveProbe, frame: &F) -> Verdict {
        if live.probe.evaluate_at == EvaluateAt::Exit {
            return Verdict::Keep;
        }
        let timer = self.count(live);
        let verdict = self.evaluate(live, frame, Point::Entry, None);
        self.stop(live, timer);
        verdict
    }

    /// The exit of a probed method. `token` is what its entry left; `None` if the entry was not seen.
    #[inline]
    pub fn exit<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        frame: &F,
        exit: Exit<F::Value>,
        token: Option<EntryToken>,
    ) -> Verdict {
        if live.probe.evaluate_at == EvaluateAt::Entry {
            match token {
                Some(EntryToken { started, half: Some(half), .. }) => {
                    self.finish_entry(live, frame, exit, started, *half);
                }
                Some(EntryToken { started, span: Some(span), .. }) => self.close_span(live, frame, exit, started, span),
                _ => {}
            }
            return Verdict::Keep;
        }
        let timer = self.count(live);
        let duration = token.map(|token| self.process.clock.since(token.started));
        let verdict = self.evaluate(live, frame, Point::Exit(exit), duration);
        self.stop(live, timer);
        verdict
    }

    /// Counts a hit, and starts its clock if it is one of those that are timed.
    #[inline]
    fn count(&mut self, live: &LiveProbe) -> Option<Timer> {
        let hits = live.stats.hits.get();
        live.stats.hits.add_serial(1);
        let weight = live.stats.sample_weight(hits)?;
        self.faulty = fault::is_asked();
        self.fault(fault::Place::Hit);
        Some(Timer::start(&*self.process.clock, weight, live.stats.emitted.get()))
    }

    #[inline]
    fn fault(&self, place: fault::Place) {
        if self.faulty {
            fault::at(place);
        }
    }

    #[inline]
    fn stop(&self, live: &LiveProbe, timer: Option<Timer>) {
        if let Some(timer) = timer {
            let spent = timer.spent(&*self.process.clock);
            live.stats.sampled(spent, timer.weight);
            if live.stats.emitted.get() != timer.emitted {
                live.stats.captures.add(spent, timer.weight);
            }
        }
    }

    /// One evaluation point, from the gate to the ring.
    #[inline]
    fn evaluate<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        frame: &F,
        point: Point<F::Value>,
        duration: Option<u64>,
    ) -> Verdict {
        // It is made a number of milliseconds only where somebody reads it.
        let scope = scope(frame, point, duration.filter(|_| live.reads_duration));
        match self.wanted(live, &scope, point) {
            Decision::Fire => {}
            Decision::Skip(verdict) => return verdict,
            Decision::Fail(failure) => {
                self.failed(live, &scope, duration, Place::Condition, &failure);
                return Verdict::Keep;
            }
        }
        let log = match &live.probe.kind {
            Kind::Log(log) => log,
            Kind::Metric(metric) => {
                self.measure(live, metric, &scope, duration);
                return Verdict::Keep;
            }
            Kind::SpanDecoration(decoration) => {
                self.decorate(live, decoration, &scope, duration);
                return Verdict::Keep;
            }
            Kind::Span => return Verdict::Keep,
        };
        if !self.take(live) {
            return Verdict::Keep;
        }
        self.fault(fault::Place::Message);
        self.begin(live, frame, duration);
        if self.message(live, log, &scope) {
            self.capture(live, log, &scope, point);
        }
        self.stack(live, frame);
        self.send(live);
        Verdict::Keep
    }

    /// The entry of a probe that is evaluated there. One that captures shows both ends of the call in one event, sent at
    /// the exit; another is sent at once.
    fn evaluate_entry<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        frame: &F,
        started: Moment,
    ) -> (Verdict, Option<EntryToken>) {
        if !live.captures {
            return (self.evaluate(live, frame, Point::Entry, None), None);
        }
        let scope = scope(frame, Point::Entry, None);
        match self.wanted(live, &scope, Point::Entry) {
            Decision::Fire => {}
            Decision::Skip(verdict) => return (verdict, None),
            Decision::Fail(failure) => {
                self.failed(live, &scope, None, Place::Condition, &failure);
                return (Verdict::Keep, None);
            }
        }
        if !self.take(live) {
            return (Verdict::Keep, None);
        }
        let Kind::Log(log) = &live.probe.kind else { return (Verdict::Keep, None) };
        self.begin(live, frame, None);
        if !self.message(live, log, &scope) {
            self.stack(live, frame);
            self.send(live);
            return (Verdict::Keep, None);
        }
        self.capture(live, log, &scope, Point::Entry);
        (
            Verdict::Keep,
            Some(EntryToken {
                started,
                half: Some(Box::new(Half { record: self.writer.suspend(), call: live.stats.calls.begin() })),
                span: None,
            }),
        )
    }

    /// The exit of a probe that captured at its entry.
    fn finish_entry<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        frame: &F,
        exit: Exit<F::Value>,
        started: Moment,
        half: Half,
    ) {
        let Kind::Log(log) = &live.probe.kind else { return };
        if live.is_gone() {
            return;
        }
        half.call.end();
        let duration = self.process.clock.since(started);
        self.writer.resume(&half.record);
        self.writer.set_duration(duration);
        let point = Point::Exit(exit);
        let scope = scope(frame, point, Some(duration));
        self.capture(live, log, &scope, point);
        self.stack(live, frame);
        self.send(live);
    }

    /// Measures a value. Nothing is captured, and nothing goes through the ring.
    #[inline]
    fn measure<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        metric: &'f Metric,
        scope: &Scope<'_, F, F::Value>,
        duration: Option<u64>,
    ) {
        self.fault(fault::Place::Message);
        let measured = match &metric.value {
            None => Ok(Measured::Int(1)),
            Some(value) => {
                let HitContext { process, scratch, .. } = self;
                let mut budget = Budget::new(&*process.clock, process.evaluation_ns, &process.redaction, scratch);
                eval::number(value, &live.probe.symbols, scope, &mut budget, metric.kind)
            }
        };
        match measured {
            Ok(value) => live.measured(value),
            Err(failure) => self.failed(live, scope, duration, Place::Metric, &failure),
        }
    }

    /// Steps 2 and 3 of a hit: look, and the condition.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a part of every hit: a call would cost as much as some of what it does")]
    fn wanted<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        scope: &Scope<'_, F, F::Value>,
        point: Point<F::Value>,
    ) -> Decision {
        match live.gate.look() {
            Look::Open => {}
            Look::Empty => {
                live.stats.dropped(Drop::RateLimitProbe).add_serial(1);
                return Decision::Skip(if live.refuse() { Verdict::Disarm } else { Verdict::Keep });
            }
            Look::Off => {
                live.found_off();
                return Decision::Skip(if live.rests() { Verdict::Disarm } else { Verdict::Keep });
            }
        }
        if live.reads_duration && scope.duration.is_none() && matches!(point, Point::Exit(_)) {
            live.stats.dropped(Drop::EntryNotSeen).add_serial(1);
            return Decision::Skip(Verdict::Keep);
        }
        if let Some(condition) = &live.probe.when {
            self.fault(fault::Place::Condition);
            let verdict = eval::verdict(condition, &live.probe.symbols, scope, &self.process.redaction);
            match verdict.map_or_else(|| self.condition(live, condition, scope), Ok) {
                Ok(true) => {}
                Ok(false) => {
                    live.stats.rejected.add_serial(1);
                    return Decision::Skip(Verdict::Keep);
                }
                Err(failure) => return Decision::Fail(failure),
            }
        }
        Decision::Fire
    }

    /// Steps 4 and 5 of a hit: take, room, and the token of all probes.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a part of every hit: a call would cost as much as some of what it does")]
    fn take(&mut self, live: &LiveProbe) -> bool {
        if !live.gate.take() {
            live.came_too_late();
            return false;
        }
        if self.records.is_full() {
            // Its token is spent: a hit over the rate is told as such, also while the queue is full.
            live.stats.dropped(Drop::QueueFull).add_serial(1);
            return false;
        }
        if !live.take_global(&self.process) {
            live.gate.put_back();
            live.stats.dropped(Drop::RateLimitGlobal).add_serial(1);
            return false;
        }
        true
    }

    /// The verdict of a condition that takes more than comparing plain values.
    #[inline(never)]
    fn condition<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        condition: &'f Expression,
        scope: &Scope<'_, F, F::Value>,
    ) -> Result<bool, Failure> {
        let HitContext { process, scratch, .. } = self;
        let mut budget = Budget::new(&*process.clock, process.evaluation_ns, &process.redaction, scratch);
        eval::holds(condition, &live.probe.symbols, scope, &mut budget)
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a part of every hit: a call would cost as much as some of what it does")]
    fn begin<'f, F: Frame<'f>>(&mut self, live: &LiveProbe, frame: &F, duration: Option<u64>) {
        let event_id = u128::from(self.random.next()) | u128::from(self.random.next()) << 64;
        let active = frame.active_span();
        self.writer.begin(&Header {
            probe: live.slot,
            wall: self.process.clock.wall(),
            event_id: event_id.to_le_bytes(),
            thread: frame.thread(),
            trace_id: active.trace_id,
            span_id: active.span_id,
            duration,
            ..Header::default()
        });
    }

    /// Records the message's values. False if evaluation ran out of time or steps: then nothing is captured, and the
    /// event is an error event.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "most snapshots have a message without values")]
    fn message<'f, F: Frame<'f>>(&mut self, live: &'f LiveProbe, log: &'f Log, scope: &Scope<'_, F, F::Value>) -> bool {
        let has_values = log.template.segments.iter().any(|segment| matches!(segment, Segment::Expression(_)));
        !has_values || self.values(live, log, scope)
    }

    #[inline(never)]
    fn values<'f, F: Frame<'f>>(&mut self, live: &'f LiveProbe, log: &'f Log, scope: &Scope<'_, F, F::Value>) -> bool {
        let HitContext { process, writer, .. } = self;
        let walk = walk_context(process);
        for (index, segment) in log.template.segments.iter().enumerate() {
            let Segment::Expression(expression) = segment else { continue };
            let Some(value) = eval::read(expression, &live.probe.symbols, scope, &process.redaction) else {
                return self.rest_of_message(live, log, scope, index);
            };
            walk::message_value(writer, &walk, index as u16, value);
        }
        true
    }

    /// As [`Self::message`], from a segment on that takes more than reading a value.
    #[inline(never)]
    fn rest_of_message<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        log: &'f Log,
        scope: &Scope<'_, F, F::Value>,
        from: usize,
    ) -> bool {
        let HitContext { process, scratch, writer, .. } = self;
        let mut budget = Budget::new(&*process.clock, process.evaluation_ns, &process.redaction, scratch);
        let walk = walk_context(process);
        for (index, segment) in log.template.segments.iter().enumerate().skip(from) {
            let Segment::Expression(expression) = segment else { continue };
            match eval::evaluate(expression, &live.probe.symbols, scope, &mut budget) {
                Ok(operand) => walk::message(writer, &walk.of(expression), index as u16, &operand),
                Err(failure) => {
                    writer.failure(Place::Segment(index as u16), |out| failure.encode(out));
                    if is_costly(&failure) {
                        live.ask_suspension();
                        writer.mark_error();
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Captures one point.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a part of every hit: a call would cost as much as some of what it does")]
    fn capture<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        log: &'f Log,
        scope: &Scope<'_, F, F::Value>,
        point: Point<F::Value>,
    ) {
        self.fault(fault::Place::Capture);
        if log.snapshot {
            self.snapshot(log, scope, point);
        } else if !log.expressions.is_empty() {
            self.expressions(live, log, scope, point);
        }
    }

    /// All variables of a point.
    #[inline(never)]
    fn snapshot<'f, F: Frame<'f>>(&mut self, log: &Log, scope: &Scope<'_, F, F::Value>, point: Point<F::Value>) {
        let (returned, exception) = (self.returned, self.exception);
        let HitContext { process, writer, .. } = self;
        let walk = walk_context(process);
        let frame = scope.frame;
        writer.point(point.recorded());
        walk::section(writer, &walk, frame, Section::Arguments, &log.limits);
        walk::section(writer, &walk, frame, Section::Locals, &log.limits);
        // A section that takes no more says so itself.
        let _ = match point {
            Point::Exit(Exit::Returned(value)) => walk::named(writer, &walk, returned, value, &log.limits),
            Point::Exit(Exit::Threw(value)) => walk::named(writer, &walk, exception, value, &log.limits),
            Point::Line(_) | Point::Entry => std::ops::ControlFlow::Continue(()),
        };
        walk::section(writer, &walk, frame, Section::Statics, &log.limits);
        let thrown = match point {
            Point::Exit(Exit::Threw(value)) => Some(value),
            Point::Line(_) => frame.handling(),
            Point::Entry | Point::Exit(Exit::Returned(_)) => None,
        };
        if let Some(thrown) = thrown {
            walk::throwable(writer, &walk, frame, thrown);
        }
        writer.end_point();
    }

    /// The capture expressions of a point. A failing one costs its entry only; one out of time, the later ones too.
    fn expressions<'f, F: Frame<'f>>(
        &mut self,
        live: &'f LiveProbe,
        log: &'f Log,
        scope: &Scope<'_, F, F::Value>,
        point: Point<F::Value>,
    ) {
        let HitContext { process, scratch, writer, .. } = self;
        let walk = walk_context(process);
        let mut failures = Vec::new();
        let mut out_of_time = false;
        writer.point(point.recorded());
        writer.expressions();
        for (index, capture) in log.expressions.iter().enumerate() {
            if out_of_time {
                let _ = walk::not_reached(writer, &capture.name);
                continue;
            }
            let mut budget = Budget::new(&*process.clock, process.evaluation_ns, &process.redaction, scratch);
            match eval::evaluate(&capture.expression, &live.probe.symbols, scope, &mut budget) {
                Ok(operand) => {
                    let walk = walk.of(&capture.expression);
                    let _ = walk::operand(writer, &walk, &capture.name, &operand, &capture.limits);
                }
                Err(failure) => {
                    out_of_time = matches!(failure.category(), Category::Timeout);
                    failures.push((index as u16, failure));
                }
            }
        }
        writer.end_point();
        for (index, failure) in failures {
            writer.failure(Place::Expression(index), |out| failure.encode(out));
        }
    }

    /// A condition or the value of a metric failed: one error event per window, with the stack and without captures.
    /// Evaluation goes on, unless it is itself the cost.
    #[cold]
    fn failed<'f, F: Frame<'f>>(
        &mut self,
        live: &LiveProbe,
        scope: &Scope<'_, F, F::Value>,
        duration: Option<u64>,
        place: Place,
        failure: &Failure,
    ) {
        live.evaluation_failed(place, failure);
        if is_costly(failure) {
            live.ask_suspension();
        }
        if !live.throttle.admit(self.process.clock.coarse()) {
            return;
        }
        if self.records.is_full() {
            live.throttle.withdraw();
            live.stats.dropped(Drop::QueueFull).add_serial(1);
            return;
        }
        self.begin(live, scope.frame, duration);
        self.writer.mark_error();
        self.writer.failure(place, |out| failure.encode(out));
        self.stack(live, scope.frame);
        self.send(live);
    }

    /// The stack: all of it, or the frame of the hit's own place.
    #[inline]
    fn stack<'f, F: Frame<'f>>(&mut self, live: &LiveProbe, frame: &F) {
        let most = if self.process.shows_stack(live.captures) { usize::MAX } else { 1 };
        self.writer.frames(frame, most);
    }

    #[inline]
    fn send(&mut self, live: &LiveProbe) {
        self.fault(fault::Place::Send);
        if self.writer.is_full() {
            live.stats.record_full.add_serial(1);
        }
        let record = self.writer.finish();
        if record.len() > MAX_RECORD {
            // Every value is bounded as it is written; one that is not must not be told as an event that nobody gets.
            live.stats.dropped(Drop::PayloadTooLarge).add_serial(1);
        } else if self.records.push(record) {
            live.stats.emitted.add_serial(1);
        } else {
            live.stats.dropped(Drop::QueueFull).add_serial(1);
        }
    }
}

impl<V> Point<V> {
    fn recorded(&self) -> write::Point {
        match self {
            Point::Line(line) => write::Point::Line(*line),
            Point::Entry => write::Point::Entry,
            Point::Exit(_) => write::Point::Return,
        }
    }
}

#[inline]
fn walk_context(process: &Process) -> WalkContext<'_> {
    WalkContext {
        redaction: &process.redaction,
        clock: &*process.clock,
        deadline: Deadline::After(process.capture_ns),
        computed: process.shows_computed,
        strict: process.strict.as_ref(),
    }
}

#[inline]
fn scope<'a, 'f, F: Frame<'f>>(frame: &'a F, point: Point<F::Value>, duration: Option<u64>) -> Scope<'a, F, F::Value> {
    let (returned, exception) = match point {
        Point::Exit(Exit::Returned(value)) => (Some(value), None),
        Point::Exit(Exit::Threw(value)) => (None, Some(value)),
        Point::Line(_) | Point::Entry => (None, None),
    };
    // `@duration` is in milliseconds.
    Scope { frame, returned, exception, duration: duration.map(|nanoseconds| nanoseconds as f64 / 1e6) }
}

/// True if evaluation itself was the cost: then the probe is not evaluated for a while.
pub(crate) fn is_costly(failure: &Failure) -> bool {
    matches!(failure.category(), Category::Timeout | Category::Limit)
}

//! The callbacks that `sys.monitoring` calls, and the table that leads from a code object to its probes. A hit begins here:
//! after [`crate::guard`], before the core's `hit.rs`; what it asks of the application's tracer is done in [`asking`]. The callbacks are raw C functions that never raise.

mod asking;

pub use asking::pass;

use crate::code;
use crate::exception;
use crate::frame::{Layout, PyFrame, Resolved};
use crate::guard::{self, Guarded};
use crate::memory;
use crate::names::Held;
use crate::numpy;
use crate::object::{Owned, Ref};
use crate::tracer::{self, Handle};
use crate::value::PyValue;
use pyo3::ffi::{self, PyObject};
use pyo3::prelude::*;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::ffi::CStr;
use std::hash::{BuildHasherDefault, Hasher};
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use stroboscope_core::hit::{EntryToken, Exit, HitContext, Verdict};
use stroboscope_core::probe::model::EvaluateAt;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::stats::Drop as Lost;

/// Activations whose exit has not been seen. A generator that is dropped early may never be closed (CPython 3.13.0).
const MAX_ENTRIES: usize = 10_000;

/// A probe at a code object.
pub struct ProbeSite {
    /// The probe.
    pub live: Arc<LiveProbe>,
    /// Its names, resolved for this code.
    pub symbols: Vec<Resolved>,
    /// The line used; 0 for a method.
    pub line: u32,
    /// The same if its statement begins with an instruction of another line; else 0.
    pub shown: u32,
    /// True for a line in a function, whose start can be watched for.
    pub starts: bool,
    /// Whether that has begun since somebody wanted to know. Its first start tells, and is not watched any more.
    pub ran: Cell<Option<bool>>,
}

/// All probes of a code object. Never changed, only replaced: a hit keeps the one it began with.
pub struct CodeSite {
    /// Keeps the code alive, so that its address is nobody else's.
    pub code: Owned,
    /// Where its variables are.
    pub layout: Rc<Layout>,
    /// Probes by the byte offset of the instruction they stand at.
    pub lines: Vec<(i64, Vec<Rc<ProbeSite>>)>,
    /// Probes of the function itself.
    pub methods: Vec<Rc<ProbeSite>>,
    /// True if a probe of it may ask something of the application's tracer, where there is one.
    pub asks: bool,
    /// True if the entry of a call leaves something for its exit.
    pub leaves: bool,
    /// How often something was changed since all instructions were joined that may be, see [`code::join`]; 0: nothing was.
    pub loose: Cell<u32>,
    /// The events that CPython was asked for.
    pub events: u32,
}

impl CodeSite {
    /// True if the next start of the code tells a probe on one of its lines that it runs.
    pub fn asks_for_start(&self) -> bool {
        self.lines.iter().flat_map(|(_, probes)| probes).any(|probe| probe.ran.get() == Some(false))
    }

    /// It runs.
    #[cold]
    fn runs(&self) {
        for probe in self.lines.iter().flat_map(|(_, probes)| probes).filter(|probe| probe.ran.get().is_some()) {
            probe.ran.set(Some(true));
        }
    }

    /// Joins what watching the code took apart, as far as it is not watched any more.
    #[inline]
    fn tidy(&self) {
        if code::JOINS && self.loose.get() > 0 {
            self.join();
        }
    }

    #[cold]
    fn join(&self) {
        self.loose.set(0);
        code::join(self.code.borrow());
    }

    /// A place without a probe has run for the first time, and is watched no more. A loop may run for long before the next
    /// hit, so joining does not always wait for that; each time it waits for twice as many places.
    fn let_go(&self) {
        let times = self.loose.get().saturating_add(1);
        self.loose.set(times);
        if code::JOINS && times >= 8 && times.is_power_of_two() {
            code::join(self.code.borrow());
        }
    }
}

impl CodeSite {
    /// The same once more, to be put in force anew.
    pub fn same(&self) -> Self {
        CodeSite {
            code: Owned::keep(self.code.borrow()),
            layout: Rc::clone(&self.layout),
            lines: self.lines.clone(),
            methods: self.methods.clone(),
            asks: self.asks,
            leaves: self.leaves,
            loose: Cell::new(1),
            events: 0,
        }
    }
}

/// An activation that was entered.
struct Activation {
    code: usize,
    tokens: Tokens,
}

impl Activation {
    /// Lets it go because too many are under way.
    #[cold]
    fn push_out(self) {
        for (_, token) in self.tokens.first.into_iter().chain(self.tokens.more) {
            token.push_out();
        }
    }
}

/// What the probes of a function left at its entry, by slot. Most functions have one probe, which needs no memory here.
#[derive(Default)]
struct Tokens {
    first: Option<(u32, EntryToken)>,
    more: Vec<(u32, EntryToken)>,
    /// Spans that the application's tracer has opened.
    spans: Vec<(u32, Handle)>,
}

impl Tokens {
    fn push(&mut self, slot: u32, token: EntryToken) {
        if self.first.is_none() {
            self.first = Some((slot, token));
        } else {
            self.more.push((slot, token));
        }
    }

    fn take(&mut self, slot: u32) -> Option<EntryToken> {
        if let Some((_, token)) = self.first.take_if(|(first, _)| *first == slot) {
            return Some(token);
        }
        let mine = self.more.iter().position(|(other, _)| *other == slot)?;
        Some(self.more.swap_remove(mine).1)
    }

    fn take_span(&mut self, slot: u32) -> Option<Handle> {
        let mine = self.spans.iter().position(|(other, _)| *other == slot)?;
        Some(self.spans.remove(mine).1)
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty() && self.spans.is_empty()
    }
}

/// Where a hook stands.
#[derive(Clone, Copy)]
enum Point {
    Line,
    Entry,
    Exit,
}

/// Addresses as keys: nobody chooses them, so mixing their bits is enough.
#[derive(Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_usize(usize::from(byte));
        }
    }
    #[inline]
    fn write_usize(&mut self, address: usize) {
        self.0 = (self.0 ^ address as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
}

type ByAddress<T> = HashMap<usize, T, BuildHasherDefault<AddressHasher>>;

#[derive(Default)]
struct Table {
    sites: ByAddress<Rc<CodeSite>>,
    /// The activation that began last, kept out of the map: most end before another begins.
    recent: Option<(usize, Activation)>,
    activations: ByAddress<Activation>,
    order: VecDeque<usize>,
}

static TABLE: Held<Option<Table>> = Held::new(None);

/// The code that was hit last, and its entry in the table; null for none.
struct Last(Cell<*const CodeSite>);

// SAFETY: read and written by the holder of the GIL only.
unsafe impl Sync for Last {}

static LAST: Last = Last(Cell::new(ptr::null()));

/// True in a forked child until its own session has begun.
static FORKED: AtomicBool = AtomicBool::new(false);

/// In a forked child, whoever forked: from Python or behind its back. Two stores, so it may run wherever a process forks.
extern "C" fn in_child() {
    FORKED.store(true, Ordering::Relaxed);
    // The next hit does not find its code at once, and so comes by `find_other`. Nobody else can be using this: the child has
    // no other thread yet.
    LAST.0.set(ptr::null());
}

/// Has forks noticed. Once in a process: it cannot be undone, and in a child without a session it does nothing.
pub fn watch_forks() {
    // SAFETY: the function lives as long as the process: this library is never unloaded. Without memory it is not called;
    // then a fork behind Python's back is found at the next call of ours.
    let _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
}

/// The fork is known, and what follows from it is being done.
pub fn fork_is_known() {
    FORKED.store(false, Ordering::Relaxed);
}

/// In a forked child: begins its session, before anything of the parent's is used. It takes as long as it would have taken
/// in `os.fork`.
#[cold]
fn follow_fork() {
    // SAFETY: callbacks run with the GIL held.
    crate::session::follow_fork(unsafe { Python::assume_attached() });
}

/// True if hits never switch their hooks off. For benchmarks.
static KEEP_ARMED: AtomicBool = AtomicBool::new(false);

/// Says whether hits may switch their hooks off while their gate is empty.
pub fn keep_armed(wanted: bool) {
    KEEP_ARMED.store(wanted, Ordering::Relaxed);
}
static CONTEXT: Held<Option<HitContext>> = Held::new(None);
static DISABLE: AtomicPtr<PyObject> = AtomicPtr::new(ptr::null_mut());

/// Begins a session's hits.
pub fn begin(context: HitContext, disable: &Bound<'_, PyAny>) {
    // One reference is kept for ever: the object belongs to `sys.monitoring` and is never freed.
    DISABLE.store(disable.clone().into_ptr(), Ordering::Release);
    LAST.0.set(ptr::null());
    TABLE.with(|table| *table = Some(Table::default()));
    CONTEXT.with(|slot| *slot = Some(context));
}

/// Ends them; everything kept is let go.
pub fn end() {
    LAST.0.set(ptr::null());
    let table = TABLE.with(Option::take);
    let context = CONTEXT.with(Option::take);
    drop((table, context));
}

/// The probes of a code object.
pub fn site(code: Ref<'_>) -> Option<Rc<CodeSite>> {
    TABLE.with(|table| table.as_ref()?.sites.get(&(code.pointer() as usize)).cloned()).flatten()
}

/// The probes of a code object, borrowed for a hit: the table is changed by holders of the GIL only, which a hit does not
/// give away.
#[inline]
fn find(code: Ref<'_>) -> Option<&CodeSite> {
    // SAFETY: not null, then an entry of the table, which is forgotten here before it leaves the table.
    if let Some(last) = unsafe { LAST.0.get().as_ref() }
        && last.code.borrow() == code
    {
        return Some(last);
    }
    find_other(code)
}

fn find_other(code: Ref<'_>) -> Option<&CodeSite> {
    if FORKED.load(Ordering::Relaxed) {
        follow_fork();
    }
    let found = TABLE.with(|table| table.as_ref()?.sites.get(&(code.pointer() as usize)).map(Rc::as_ptr)).flatten()?;
    LAST.0.set(found);
    // SAFETY: an entry of the table, which stays in it during the hit.
    unsafe { found.as_ref() }
}

/// Replaces the probes of a code object; none at all takes it out of the table.
pub fn replace(site: CodeSite) {
    let code = site.code.borrow().pointer() as usize;
    let old = TABLE.with(|table| {
        let table = table.as_mut()?;
        LAST.0.set(ptr::null());
        let old = if site.lines.is_empty() && site.methods.is_empty() {
            table.sites.remove(&code)
        } else {
            table.sites.insert(code, Rc::new(site))
        };
        Some(old)
    });
    drop(old);
}

/// Forgets the activations of a code object, or what one probe of it has left with them: their ends will not be seen.
pub fn forget_activations(code: Ref<'_>, slot: Option<u32>) {
    let code = code.pointer() as usize;
    let goes = |activation: &mut Activation| {
        if activation.code != code {
            return false;
        }
        if let Some(slot) = slot {
            drop((activation.tokens.take(slot), activation.tokens.take_span(slot)));
        }
        slot.is_none() || activation.tokens.is_empty()
    };
    TABLE.with(|table| {
        let table = table.as_mut()?;
        drop(table.recent.take_if(|(_, activation)| goes(activation)));
        table.activations.retain(|_, activation| !goes(activation));
        Some(())
    });
}

/// Every code object that has a probe for which `wanted` holds.
pub fn with_probe(wanted: impl Fn(&LiveProbe) -> bool) -> Vec<Rc<CodeSite>> {
    let has = |site: &CodeSite| {
        let mut all = site.lines.iter().flat_map(|(_, probes)| probes).chain(&site.methods);
        all.any(|probe| wanted(&probe.live))
    };
    let found = TABLE.with(|table| {
        let sites = table.as_ref().map(|table| table.sites.values().filter(|site| has(site)).cloned().collect());
        sites.unwrap_or_default()
    });
    found.unwrap_or_default()
}

/// True if whether functions run is to be known of each probe from its placing on.
static EXPLAINS: AtomicBool = AtomicBool::new(false);

/// Says whether it is.
pub fn explain_all(wanted: bool) {
    EXPLAINS.store(wanted, Ordering::Relaxed);
}

/// See [`explain_all`].
pub fn explains() -> bool {
    EXPLAINS.load(Ordering::Relaxed)
}

/// From now on it is to be known whether the functions around the lines of a probe run. False if it cannot be, or is known.
pub fn ask_for_starts(slot: u32) -> bool {
    let mut is_new = false;
    for site in with_probe(|live| live.slot == slot) {
        let probes = site.lines.iter().flat_map(|(_, probes)| probes);
        for probe in probes.filter(|probe| probe.live.slot == slot && probe.starts && probe.ran.get().is_none()) {
            probe.ran.set(Some(false));
            is_new = true;
        }
    }
    is_new
}

/// Whether the code around a line has begun since somebody wanted to know; `None` if that is not known.
pub fn ran(slot: u32) -> Option<bool> {
    let sites = with_probe(|live| live.slot == slot);
    let all = sites.iter().flat_map(|site| &site.lines).flat_map(|(_, probes)| probes);
    all.filter(|probe| probe.live.slot == slot).filter_map(|probe| probe.ran.get()).reduce(|one, other| one || other)
}

/// What a callback answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Keep,
    /// This place of this code is of no interest until it is armed again.
    Disable,
    /// An interrupt of the program came while its tracer ran: it is set, and goes on in the program.
    Raise,
}

fn answer(given: &Guarded<Answer>) -> *mut PyObject {
    let disable = DISABLE.load(Ordering::Acquire);
    if *given == Guarded::Done(Answer::Raise) {
        return ptr::null_mut();
    }
    let object = match given {
        Guarded::Done(Answer::Disable) if !disable.is_null() => disable,
        // SAFETY: asks for an object that is alive for ever.
        _ => unsafe { ffi::Py_None() },
    };
    // SAFETY: both are alive for ever and the GIL is held, as in every callback; the caller gets its own reference.
    unsafe {
        ffi::Py_INCREF(object);
        object
    }
}

/// Runs one probe of a hit; a panic stops the probe and nothing else.
fn run(live: &LiveProbe, point: Point, hit: impl FnOnce(&mut HitContext) -> Verdict) -> Verdict {
    if memory::is_short() {
        return do_without(live, point);
    }
    numpy::forget();
    exception::forget();
    let ran = guard::caught(|| CONTEXT.with(|context| context.as_mut().map(hit)));
    if let Some(verdict) = ran {
        verdict.flatten().unwrap_or(Verdict::Keep)
    } else {
        live.panicked_in_hit();
        Verdict::Keep
    }
}

/// Counts what would have come of a hit, had there been memory. The next may find some.
#[cold]
fn do_without(live: &LiveProbe, point: Point) -> Verdict {
    let is_hit = match point {
        Point::Line => true,
        Point::Entry => live.probe.evaluate_at == EvaluateAt::Entry,
        // The first half of an event is counted where it is dropped.
        Point::Exit => live.probe.evaluate_at == EvaluateAt::Exit,
    };
    live.stats.hits.add(is_hit.into());
    live.stats.dropped(Lost::NoMemory).add(is_hit.into());
    Verdict::Keep
}

/// An argument of a callback.
///
/// # Safety
/// `arguments` holds `count` live objects for the call.
unsafe fn argument<'a>(arguments: *const *mut PyObject, count: isize, index: usize) -> Option<Ref<'a>> {
    // SAFETY: below the count, as the caller promises.
    usize::try_from(count)
        .is_ok_and(|count| index < count)
        .then(|| unsafe { Ref::new(*arguments.add(index)) })
        .flatten()
}

unsafe extern "C" fn on_instruction(_: *mut PyObject, arguments: *mut *mut PyObject, count: isize) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    let (code, offset) = unsafe { (argument(arguments, count, 0), argument(arguments, count, 1)) };
    answer(&guard::guarded(|| {
        let (Some(code), Some(offset)) = (code, offset.and_then(Ref::int)) else { return Answer::Keep };
        if tracer::may_have_come() && asking::look() == Answer::Raise {
            return Answer::Raise;
        }
        let Some(site) = find(code) else { return Answer::Disable };
        let Some((_, probes)) = site.lines.iter().find(|(at, _)| *at == offset) else {
            site.let_go();
            return Answer::Disable;
        };
        site.tidy();
        if site.asks && tracer::is_there() {
            return asking::line(code, offset);
        }
        let mut disable = true;
        for probe in probes {
            // SAFETY: the GIL is held, and the frame that called us stays where it is until we return.
            let Some(frame) = (unsafe { PyFrame::top(code, &site.layout, &probe.symbols) }) else {
                return Answer::Keep;
            };
            let frame = frame.at_line(probe.shown);
            let verdict = run(&probe.live, Point::Line, |context| context.line(&probe.live, probe.line, &frame));
            disable &= verdict == Verdict::Disarm;
        }
        if disable && !KEEP_ARMED.load(Ordering::Relaxed) { Answer::Disable } else { Answer::Keep }
    }))
}

/// A line begins, in code with probes, beside another tool that listens to lines. Nothing is hit here: that we go on
/// listening where a probe stands keeps the instruction event alive when the other tool switches the line off.
unsafe extern "C" fn on_line(_: *mut PyObject, arguments: *mut *mut PyObject, count: isize) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    let code = unsafe { argument(arguments, count, 0) };
    answer(&guard::guarded(|| {
        let Some((code, site)) = code.and_then(|code| Some((code, find(code)?))) else { return Answer::Disable };
        // SAFETY: the GIL is held, and the frame that called us stays where it is until we return.
        let Some(frame) = (unsafe { PyFrame::top(code, &site.layout, &[]) }) else { return Answer::Keep };
        let offset = i64::from(frame.position()) * 2;
        if site.lines.iter().any(|(at, _)| *at == offset) { Answer::Keep } else { Answer::Disable }
    }))
}

unsafe extern "C" fn on_start(_: *mut PyObject, arguments: *mut *mut PyObject, count: isize) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    let code = unsafe { argument(arguments, count, 0) };
    answer(&guard::guarded(|| {
        let Some(code) = code else { return Answer::Keep };
        if tracer::may_have_come() && asking::look() == Answer::Raise {
            return Answer::Raise;
        }
        let Some(site) = find(code) else { return Answer::Disable };
        if !site.lines.is_empty() {
            site.runs();
        }
        if site.methods.is_empty() {
            site.let_go();
            return Answer::Disable;
        }
        site.tidy();
        if site.asks && tracer::is_there() {
            return asking::entry(code);
        }
        let (mut tokens, mut address) = (Tokens::default(), 0);
        for probe in &site.methods {
            // SAFETY: the GIL is held, and the frame that called us stays where it is until we return.
            let Some(frame) = (unsafe { PyFrame::top(code, &site.layout, &probe.symbols) }) else {
                return Answer::Keep;
            };
            address = frame.address();
            run(&probe.live, Point::Entry, |context| {
                let (verdict, token) = context.entry(&probe.live, &frame);
                if let Some(token) = token {
                    tokens.push(probe.live.slot, token);
                }
                verdict
            });
        }
        remember(address, Activation { code: code.pointer() as usize, tokens });
        Answer::Keep
    }))
}

/// Notes an activation. One left over at the same address never ended in our sight: it is replaced.
#[inline]
fn remember(address: usize, activation: Activation) {
    TABLE.with(|table| {
        let Some(table) = table.as_mut() else { return };
        if table.recent.is_some() || !table.activations.is_empty() {
            table.make_way(address);
        }
        if !activation.tokens.is_empty() {
            table.recent = Some((address, activation));
        }
    });
}

impl Table {
    /// An activation ends that was not the last to begin.
    #[inline(never)]
    fn end(&mut self, address: usize) -> Option<Activation> {
        self.activations.remove(&address)
    }

    /// An activation begins at this address while others have not ended.
    #[inline(never)]
    fn make_way(&mut self, address: usize) {
        drop(self.activations.remove(&address));
        // The one before goes on outside of this one, unless its end was not seen: then its address is used again.
        let (address, before) = match self.recent.take() {
            Some((before, _)) if before == address => return,
            Some(before) => before,
            None => return,
        };
        while self.activations.len() + 1 >= MAX_ENTRIES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(oldest) = self.activations.remove(&oldest) {
                oldest.push_out();
                break;
            }
        }
        // Ended activations leave their address in the queue: it is swept when it outgrows what it stands for.
        if self.order.len() > 2 * MAX_ENTRIES {
            let Table { order, activations, .. } = self;
            order.retain(|address| activations.contains_key(address));
        }
        self.order.push_back(address);
        self.activations.insert(address, before);
    }
}

/// What the entry of an activation left, which ends.
#[inline(always)]
#[allow(clippy::inline_always, reason = "what is found stays in registers")]
fn recall(address: usize, code: usize) -> Tokens {
    let found = TABLE.with(|table| {
        let table = table.as_mut()?;
        let found = match table.recent.take_if(|(recent, _)| *recent == address) {
            Some((_, activation)) => activation,
            None => table.end(address)?,
        };
        (found.code == code).then_some(found.tokens)
    });
    found.flatten().unwrap_or_default()
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "exceptions elsewhere come by here, and end at the first line")]
fn exit<'a>(code: Ref<'a>, exit: Exit<PyValue<'a>>) -> Answer {
    let Some(site) = find(code) else { return Answer::Disable };
    if site.asks && (tracer::is_there() || tracer::may_have_come()) {
        return asking::exit(code, exit);
    }
    let mut tokens = None;
    for probe in &site.methods {
        // SAFETY: the GIL is held, and the frame that called us stays where it is until we return.
        let Some(frame) = (unsafe { PyFrame::top(code, &site.layout, &probe.symbols) }) else { return Answer::Keep };
        let frame = match exit {
            Exit::Threw(PyValue::Object(exception)) => frame.raised(exception),
            _ => frame,
        };
        let recalled =
            || if site.leaves { recall(frame.address(), code.pointer() as usize) } else { Tokens::default() };
        let token = tokens.get_or_insert_with(recalled).take(probe.live.slot);
        run(&probe.live, Point::Exit, |context| context.exit(&probe.live, &frame, exit, token));
    }
    Answer::Keep
}

unsafe extern "C" fn on_return(_: *mut PyObject, arguments: *mut *mut PyObject, count: isize) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    let (code, value) = unsafe { (argument(arguments, count, 0), argument(arguments, count, 2)) };
    answer(&guard::guarded(|| match (code, value) {
        (Some(code), Some(value)) => exit(code, Exit::Returned(PyValue::Object(value))),
        _ => Answer::Keep,
    }))
}

/// A global event, which code without a probe pays for: it ends at one lookup. It may not be disabled before 3.15.
unsafe extern "C" fn on_unwind(_: *mut PyObject, arguments: *mut *mut PyObject, count: isize) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    let (code, value) = unsafe { (argument(arguments, count, 0), argument(arguments, count, 2)) };
    answer(&guard::guarded(|| {
        if let (Some(code), Some(value)) = (code, value) {
            // Not to be disabled, and so nothing but an interrupt of the program is told.
            return match exit(code, Exit::Threw(PyValue::Object(value))) {
                Answer::Raise => Answer::Raise,
                _ => Answer::Keep,
            };
        }
        Answer::Keep
    }))
}

/// The start of code that was not seen before. Only the top level of a file matters, before its first line runs.
unsafe extern "C" fn on_discovery(_: *mut PyObject, arguments: *mut *mut PyObject, count: isize) -> *mut PyObject {
    // SAFETY: CPython passes `count` live objects.
    let started = unsafe { argument(arguments, count, 0) };
    answer(&guard::guarded(|| {
        let Some(started) = started else { return Answer::Disable };
        if FORKED.load(Ordering::Relaxed) {
            follow_fork();
        }
        if code::name(started).and_then(Ref::text).is_some_and(|name| name.same(MODULE)) {
            crate::runtime::module_starts(started);
            tracer::news();
        }
        code::join(started);
        Answer::Disable
    }))
}

/// An event that only has to be set; see `Events` in runtime/tools.rs.
unsafe extern "C" fn on_shared(_: *mut PyObject, _: *mut *mut PyObject, _: isize) -> *mut PyObject {
    answer(&Guarded::Done(Answer::Disable))
}

/// What the top level of a file is called.
pub const MODULE: stroboscope_core::text::Text<'static> = stroboscope_core::text::Text::Utf8("<module>");

type Callback = unsafe extern "C" fn(*mut PyObject, *mut *mut PyObject, isize) -> *mut PyObject;

/// A callback as a Python object.
fn function<'py>(py: Python<'py>, name: &'static CStr, callback: Callback) -> PyResult<Bound<'py, PyAny>> {
    // The definition lives for ever: CPython keeps a pointer to it. A session makes seven of them.
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunctionFast: callback },
        ml_flags: ffi::METH_FASTCALL,
        ml_doc: ptr::null(),
    }));
    // SAFETY: the definition is complete and lives for ever; a new reference or null with an error set.
    unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyCFunction_NewEx(definition, ptr::null_mut(), ptr::null_mut())) }
}

/// The callbacks with the names of their events: of probes, of discovery, and of both.
pub fn callbacks(py: Python<'_>) -> PyResult<[(&'static str, Bound<'_, PyAny>); 7]> {
    Ok([
        ("INSTRUCTION", function(py, c"stroboscope_line", on_instruction)?),
        ("LINE", function(py, c"stroboscope_others", on_line)?),
        ("PY_START", function(py, c"stroboscope_entry", on_start)?),
        ("PY_RETURN", function(py, c"stroboscope_return", on_return)?),
        ("PY_UNWIND", function(py, c"stroboscope_unwind", on_unwind)?),
        ("DISCOVERY", function(py, c"stroboscope_discovery", on_discovery)?),
        ("SHARED", function(py, c"stroboscope_shared", on_shared)?),
    ])
}

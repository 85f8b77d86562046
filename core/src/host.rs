//! The seam: what a binding implements. [`Runtime`] for every host; [`Frame`] and [`Value`] for hosts whose hits run
//! inside native code. An adapter reads; it never compares, decides, blocks or runs application code.

use crate::config::LogStack;
use crate::emit::status::PANIC;
use crate::explain::Facts;
use crate::registry::LiveProbe;
use crate::text::Text;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::AtomicI32;

/// An integer that does not fit 64 bits, borrowed from the host: little-endian digits of `bits` bits each.
#[derive(Clone, Copy, Debug)]
pub struct BigDigits<'f> {
    /// True for a number below zero.
    pub negative: bool,
    /// The magnitude, least significant digit first.
    pub digits: &'f [u32],
    /// Bits used of each digit: 30 for CPython, 32 elsewhere.
    pub bits: u8,
}

/// An exact decimal number, borrowed from the host: `coefficient × 10^exponent`.
#[derive(Clone, Copy, Debug)]
pub struct DecimalDigits<'f> {
    /// True for a number below zero.
    pub negative: bool,
    /// Least significant word first, each below `10^19`.
    pub words: &'f [u64],
    /// Power of ten.
    pub exponent: i64,
}

/// What a value is, with what can be read of it at once. The kinds are those of the specification (3.3).
#[derive(Clone, Copy, Debug)]
pub enum View<'f> {
    /// JavaScript's `undefined`.
    Undefined,
    /// The host's null.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer that fits 64 bits.
    Int(i64),
    /// Any other integer.
    Big(BigDigits<'f>),
    /// A double.
    Float(f64),
    /// A complex number: captured as text; in expressions it is opaque.
    Complex(f64, f64),
    /// A finite exact decimal. Its NaN and infinities are floats.
    Decimal(DecimalDigits<'f>),
    /// Text.
    Str(Text<'f>),
    /// Bytes.
    Bytes(&'f [u8]),
    /// Bytes of which no more than the beginning can be had: captured as others that are cut; in expressions opaque.
    Beginning {
        /// The beginning.
        bytes: &'f [u8],
        /// How many there are.
        len: usize,
    },
    /// Ordered elements, with their number. Read by [`Value::element`] and [`Value::elements`].
    List(usize),
    /// Elements without order, with their number. Read by [`Value::elements`].
    Set(usize),
    /// Keys and values, with their number. Read by [`Value::entries`]. A *record* has only string keys.
    Map {
        /// Number of entries.
        len: usize,
        /// True for a map with string keys only (a JavaScript plain object).
        record: bool,
    },
    /// The values of a map, with their number: a list in expressions, and each is withheld as under its key. Read by
    /// [`Value::entries`].
    Values(usize),
    /// A class instance. Read by [`Value::fields`] and [`Value::member`].
    Object,
    /// A list whose elements have names too (a named tuple): captured by its fields, a list in expressions.
    Named(usize),
    /// A class instance with a message ([`Value::message`]).
    Exception,
    /// An enumeration member: [`Value::member`] answers `name` and `value`.
    Enum,
    /// A function, class, method or module; [`Value::label`] names it.
    Function,
    /// Something that can be walked only once.
    Iterator,
    /// Something that cannot be inspected.
    Opaque,
    /// Something whose content could not be read, with the reason, short and free of values: captured as that, and an error
    /// wherever an expression needs to know what it holds.
    Unreadable(&'static str),
    /// A well-known scalar (time, UUID, path): its text comes from [`Value::label`]; in expressions it is an object.
    Scalar,
}

/// A class, as far as a hit needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// Index in the session's type table ([`crate::record::names::Tables`]).
    pub id: u32,
    /// True if the type, or an ancestor of it, is redacted.
    pub redacted: bool,
    /// True if a capture shows [`Value::label`] where there is one, whatever kind the value has in expressions (a Python
    /// `range`, an enumeration member that is an integer too).
    pub labelled: bool,
}

/// The name of a class or of one of its ancestors.
#[derive(Clone, Copy, Debug)]
pub struct TypeName<'f> {
    /// Module or package and name, `shop.cart.Cart`.
    pub qualified: Text<'f>,
    /// The name as captures show it: with the classes around it, and without the module (Python's `Shop.Cart`).
    pub display: Text<'f>,
    /// The bare name, `Cart`.
    pub bare: Text<'f>,
}

/// The name of a variable or field, as the host hands it over.
#[derive(Clone, Copy, Debug)]
pub enum Name<'f> {
    /// A name interned in the session's table, with its redaction verdict.
    Known {
        /// Index in the session's name table.
        id: u32,
        /// The verdict of `classify`.
        redacted: bool,
    },
    /// A name not interned (the table is full, or the host keeps none).
    Text(Text<'f>),
}

/// A read of one child.
#[derive(Clone, Copy, Debug)]
pub enum Child<V> {
    /// It is there.
    Present(V),
    /// There is no such child.
    Absent,
    /// Only application code could answer.
    Computed,
    /// The host could not read it; the reason is one of ours, short and free of values.
    Failed(&'static str),
}

/// How an enumeration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// Every child was visited.
    Complete,
    /// The visitor asked to stop.
    Stopped,
    /// Many places were passed in which nothing stands (a table that was emptied keeps them): the walk goes on from this mark,
    /// after a look at the clock.
    Paused(usize),
    /// The container changed while it was read.
    Changed,
}

/// Who is told what a value is ([`Value::look`]): one call, of any one method. Values of a class that is
/// [`TypeInfo::labelled`] are told by [`Look::view`].
#[allow(missing_docs, reason = "each without a comment stands for the view of its name")]
pub trait Look<'f>: Sized {
    /// What comes of it.
    type Out;

    /// The value has this class and this view.
    fn view(self, info: TypeInfo, view: View<'f>) -> Self::Out;

    #[inline]
    fn null(self, info: TypeInfo) -> Self::Out {
        self.view(info, View::Null)
    }
    #[inline]
    fn bool(self, info: TypeInfo, value: bool) -> Self::Out {
        self.view(info, View::Bool(value))
    }
    #[inline]
    fn int(self, info: TypeInfo, value: i64) -> Self::Out {
        self.view(info, View::Int(value))
    }
    #[inline]
    fn float(self, info: TypeInfo, value: f64) -> Self::Out {
        self.view(info, View::Float(value))
    }
    #[inline]
    fn text(self, info: TypeInfo, value: Text<'f>) -> Self::Out {
        self.view(info, View::Str(value))
    }
    /// A text that the host knows to be ASCII.
    #[inline]
    fn ascii(self, info: TypeInfo, value: &'f str) -> Self::Out {
        self.text(info, Text::Utf8(value))
    }
    #[inline]
    fn list(self, info: TypeInfo, len: usize) -> Self::Out {
        self.view(info, View::List(len))
    }
    #[inline]
    fn map(self, info: TypeInfo, len: usize) -> Self::Out {
        self.view(info, View::Map { len, record: false })
    }
    #[inline]
    fn object(self, info: TypeInfo) -> Self::Out {
        self.view(info, View::Object)
    }
}

/// A value of the host, borrowed for the hit. Reads never run application code, block or allocate without bound.
pub trait Value<'f>: Copy {
    /// What the value is.
    fn view(self) -> View<'f>;

    /// A number that two values share only if they are the same object.
    fn identity(self) -> u64;

    /// The value's class.
    fn type_info(self) -> TypeInfo;

    /// Tells the class and the view together. A host overrides it to tell the commonest views by their own methods of
    /// [`Look`]: a [`View`] that is made in one place and taken apart in another goes through memory, in pieces.
    #[inline]
    fn look<L: Look<'f>>(self, look: L) -> L::Out {
        look.view(self.type_info(), self.view())
    }

    /// Visits the names of the class and of its ancestors, nearest first, built-in names included (3.6 `instanceof`).
    fn type_names<F: FnMut(TypeName<'_>) -> ControlFlow<()>>(self, visit: F);

    /// The element of a list at a position that is known to be in range.
    fn element(self, index: usize) -> Child<Self>;

    /// The name of the element at a position of a named tuple ([`View::Named`]): what has the name of a secret is withheld,
    /// in whichever way it is reached.
    fn element_name(self, index: usize) -> Option<Text<'f>> {
        let _ = index;
        None
    }

    /// Visits the elements of a list or set, in the host's order.
    fn elements<F: FnMut(Self) -> ControlFlow<()>>(self, visit: F) -> Walk;

    /// As [`Value::elements`], from the mark at which a walk has paused; from 0, from the beginning. A host whose containers can
    /// be large and empty pauses here, and only here.
    #[inline]
    fn elements_from<F: FnMut(Self) -> ControlFlow<()>>(self, mark: usize, visit: F) -> Walk {
        let _ = mark;
        self.elements(visit)
    }

    /// Visits the entries of a map, in the host's order.
    fn entries<F: FnMut(Self, Self) -> ControlFlow<()>>(self, visit: F) -> Walk;

    /// As [`Value::entries`], from the mark at which a walk has paused.
    #[inline]
    fn entries_from<F: FnMut(Self, Self) -> ControlFlow<()>>(self, mark: usize, visit: F) -> Walk {
        let _ = mark;
        self.entries(visit)
    }

    /// The value of a string key of a map. `None`: the host has no quick way, the core scans the entries.
    fn lookup(self, key: Text<'_>) -> Option<Child<Self>> {
        let _ = key;
        None
    }

    /// Visits the named fields of an object, exception or named tuple, in the order to be shown. Computed ones are
    /// reported as [`Child::Computed`] by hosts that show them, else left out.
    fn fields<F: FnMut(Name<'f>, Child<Self>) -> ControlFlow<()>>(self, visit: F) -> Walk;

    /// One named member (3.6 `getmember`): of objects, exceptions, enums, functions, named tuples, and the extra
    /// members of the host (3.3).
    fn member(self, name: &str) -> Child<Self>;

    /// The message of an exception: a plain string argument, never the result of application code.
    fn message(self) -> Option<Self> {
        None
    }

    /// Hands over the text of a well-known scalar, the qualified name of a function, the name of an enum member, or what
    /// [`TypeInfo::labelled`] promises; nothing if there is none.
    fn label(self, out: &mut String);
}

/// A name in an expression, numbered within its probe, so that a host can resolve it to a slot when it installs.
#[derive(Clone, Copy, Debug)]
pub struct Symbol<'e> {
    /// Index in the probe's symbol list ([`crate::probe::model::Probe::symbols`]).
    pub index: u32,
    /// The name itself.
    pub name: &'e str,
}

/// A section of a capture point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Parameters, the receiver included.
    Arguments,
    /// Other locals.
    Locals,
    /// Module globals that the code names, or static fields.
    Statics,
}

/// One frame of a stack. Its layout is that of C, so that a host may fill it there.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct StackFrame {
    /// The host's number of the code; [`Runtime::describe_frame`] turns it into a file and a function.
    pub code: u32,
    /// The host's position in it.
    pub position: u32,
}

/// Who ran the hit.
#[derive(Clone, Copy, Debug)]
pub struct ThreadInfo {
    /// The runtime's integer id.
    pub id: u64,
    /// Its name, as an index in the session's name table, or [`ThreadInfo::UNNAMED`].
    pub name: u32,
}

impl ThreadInfo {
    /// The number of no name.
    pub const UNNAMED: u32 = u32::MAX;
}

impl Default for ThreadInfo {
    fn default() -> Self {
        ThreadInfo { id: 0, name: Self::UNNAMED }
    }
}

/// The span of the application that is active where a hit is. Zeros: none is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActiveSpan {
    /// The trace, 64 or 128 bits.
    pub trace_id: u128,
    /// The span.
    pub span_id: u64,
}

/// The place of a hit, borrowed for the call.
pub trait Frame<'f> {
    /// Values of this host.
    type Value: Value<'f>;

    /// The variable an expression names, in the order of 3.4. Specials (`@…`) never come here.
    fn variable(&self, symbol: Symbol<'_>) -> Child<Self::Value>;

    /// A member that an expression names. A host overrides it to use what it resolved at install.
    #[inline]
    fn member(&self, of: Self::Value, symbol: Symbol<'_>) -> Child<Self::Value> {
        of.member(symbol.name)
    }

    /// The numbers of a section's variables, where a host has them in places that it can number ([`Frame::place`]): each is
    /// then read where it is written, with nothing handed over.
    #[inline]
    fn places(&self, section: Section) -> Range<usize> {
        let _ = section;
        0..0
    }

    /// The variable at a place, if it is bound.
    #[inline]
    fn place(&self, place: usize) -> Option<(Name<'f>, Self::Value)> {
        let _ = place;
        None
    }

    /// Visits the variables of a section that are bound and have no place; they come after those that have.
    fn section<F: FnMut(Name<'f>, Self::Value) -> ControlFlow<()>>(&self, section: Section, visit: F);

    /// The exception that the code is handling at this place, if any.
    fn handling(&self) -> Option<Self::Value> {
        None
    }

    /// Fills `frames` with the stack, innermost first, frames of ours left out, and answers how many they are. Where there
    /// are more than it takes, the outermost are left out.
    fn stack(&self, frames: &mut [StackFrame]) -> usize;

    /// The stack of an exception's traceback, innermost first.
    fn traceback<F: FnMut(StackFrame) -> ControlFlow<()>>(&self, of: Self::Value, visit: F) {
        let _ = (of, visit);
    }

    /// The current thread.
    fn thread(&self) -> ThreadInfo;

    /// The span that is active here, as far as it can be read without running code of the application.
    #[inline]
    fn active_span(&self) -> ActiveSpan {
        ActiveSpan::default()
    }

    /// True if the application has a tracer: then it makes the spans of span probes, and has those that are decorated. What a
    /// hit asks of it is in [`crate::hit::HitContext::take_ask`].
    fn has_tracer(&self) -> bool {
        false
    }
}

/// How values of a host are written on the wire (*Signals and upload* 2.4 to 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// CPython.
    Python,
    /// Node.
    JavaScript,
    /// The JVM.
    Java,
    /// A host that gives its own type names and takes its strings bare.
    Other(&'static str),
}

impl Language {
    /// `debugger.snapshot.language`.
    pub fn wire_name(self) -> &'static str {
        match self {
            Language::Python => "python",
            Language::JavaScript => "javascript",
            Language::Java => "java",
            Language::Other(name) => name,
        }
    }
}

/// What a runtime can do. Something it cannot is a status with a reason, never a surprise.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "abilities that have nothing to do with one another")]
pub struct Capabilities {
    /// Who it is.
    pub language: Language,
    /// Method probes.
    pub methods: bool,
    /// Metric probes.
    pub metrics: bool,
    /// Span probes and span decorations.
    pub spans: bool,
    /// Lines at module level.
    pub module_lines: bool,
    /// True if a hook may be switched off at the host and on again cheaply.
    pub disarm: bool,
    /// Milliseconds of the default capture budget: 15 where capturing stops an event loop, else 100.
    pub capture_timeout_ms: u32,
    /// The stack of hits that capture nothing, where no setting says otherwise: the place alone where a stack costs much.
    pub log_stack: LogStack,
}

/// The end of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The hook is in place.
    Done {
        /// The line really used, if it is not the one asked for, or what this host cannot see there; a sentence for people.
        note: Option<String>,
        /// Where: file, line or type, method, as the host resolved them.
        site: Site,
    },
    /// The hook has left the place that was reported before: code was loaded that the probe's location means more exactly.
    Moved {
        /// See `Done`.
        note: Option<String>,
        /// See `Done`.
        site: Site,
    },
    /// The code is not loaded yet; the text says what is waited for.
    Waiting(String),
    /// Nothing that is loaded or could be matches; the text says what was looked for. If that stays so for a minute it is
    /// reported as an error, once, and the probe goes on waiting.
    NotFound(String),
    /// It cannot be installed: a type for the wire (`NoSuchLine`) and a sentence.
    Refused {
        /// A short, stable word.
        kind: &'static str,
        /// What was looked for and what comes nearest.
        reason: String,
    },
    /// It must not be installed (our own code, redacted type).
    Blocked(String),
    /// It was not placed: [`crate::session::Session::refuses`] says that the code which was found for it must not be probed.
    Denied {
        /// Where it would be.
        site: Site,
    },
}

impl Outcome {
    /// Our own code panicked as it placed the probe.
    pub fn panicked() -> Outcome {
        let reason = "stopped: our own code failed as it placed the probe; the program was not affected";
        Outcome::Refused { kind: PANIC, reason: reason.to_owned() }
    }
}

/// Where a probe really is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The file, as the host knows it.
    pub file: String,
    /// The lines used, empty for a method probe.
    pub lines: Vec<u32>,
    /// The module or class, and the qualified function name, of a method probe.
    pub type_name: String,
    /// See `type_name`.
    pub method: String,
    /// The bare function name, for `logger.method`.
    pub function: String,
    /// Of a method probe, the line at which the function begins; 0 if the host does not know it.
    pub first: u32,
    /// All names of the module that the code is from, if the host knows them: lists of the service may have any.
    pub modules: Vec<String>,
    /// The classes that hold the code, as their modules call them (`Card`, `Card.Entry`), and the classes around those.
    pub classes: Vec<String>,
}

impl std::fmt::Display for Site {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.lines.is_empty() {
            return write!(out, "{}:{}", self.type_name, self.method);
        }
        let lines: Vec<String> = self.lines.iter().map(u32::to_string).collect();
        write!(out, "{}:{}", self.file, lines.join(","))
    }
}

/// An installation or removal under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// The answer to [`Runtime::install`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Install {
    /// Finished at once.
    Now(Outcome),
    /// Under way; [`crate::session::Session::installed`] is called with the ticket.
    Pending(Ticket),
}

/// A frame for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameText {
    /// The file of the code.
    pub file: String,
    /// The bare function name.
    pub function: String,
    /// The line, from 1; 0 if it is not known.
    pub line: u32,
    /// The column, from 1; 0 if the host has none.
    pub column: u32,
}

/// A host. Called by the worker and by the session, never inside a hit; no call may block or wait for a host's lock.
pub trait Runtime: Send + Sync {
    /// Who it is and what it can do.
    fn capabilities(&self) -> Capabilities;

    /// Places a hook for a probe, or says why not.
    fn install(&self, probe: &Arc<LiveProbe>, ticket: Ticket) -> Install;

    /// Removes the hooks of a probe.
    fn remove(&self, probe: &Arc<LiveProbe>);

    /// Switches hooks off of probes that rest for seconds ([`LiveProbe::rests`]), so that a hit costs nothing meanwhile.
    /// [`Runtime::rearm`] switches them on again.
    fn disarm(&self, probes: &[Arc<LiveProbe>]) {
        let _ = probes;
    }

    /// Switches hooks on again that were switched off because a gate was empty or its probe rested.
    fn rearm(&self, probes: &[Arc<LiveProbe>]) {
        let _ = probes;
    }

    /// What hits of metric probes have measured, and the host still keeps, is to be handed over soon
    /// ([`crate::intake::Intake::measured`]). Called by the worker, once a second while there are such probes.
    fn gather(&self) {}

    /// Symbols are wanted of modules that are loaded and were not told yet. The host hands over one after the other
    /// ([`crate::session::Session::symbols`]), on a thread of ours and with rests, until it is told that these are enough or there
    /// is none; it is asked again. Called by the worker, at most once a second.
    fn symbols(&self) {}

    /// Nothing has been captured for a while: what only hits need may go. Called by the worker, once each time.
    fn calm(&self) {}

    /// Turns a frame of a record into text. Called by the worker.
    fn describe_frame(&self, frame: StackFrame) -> FrameText;

    /// Where the gates of an outside host stand, in memory that its generated code reads and that never goes. The order is
    /// that of [`crate::budget::gate::Words`]. `None`: the core keeps the gates itself. Asked once, as the session begins;
    /// a second session of the process needs words of its own, since probes of the first may still be held.
    fn gates(&self) -> Option<&'static [AtomicI32]> {
        None
    }

    /// What the host knows of the place of a probe, for people who ask why it did or did not fire. Called by the thread that
    /// asks, which may hold the host's lock; never by the worker, and never in a hit.
    fn explain(&self, probe: &LiveProbe) -> Facts {
        let _ = probe;
        Facts::default()
    }
}

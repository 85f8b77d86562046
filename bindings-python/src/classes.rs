//! What is known of a class: which kind of value its instances are, its number in the session, its slots. Worked out once
//! per version of the class. Stands on the hit's walk, under [`crate::value`].
//!
//! A fact is kept for (address, version tag). CPython gives a tag to one class in one state, once: a class that changes
//! gets another, and so does a new class at an old address. A class without a tag is worked out anew each time.

use crate::names::{self, Held};
use crate::numpy;
use crate::object::{Class, Owned, Ref};
use crate::selftest;
use crate::shim;
use pyo3::ffi;
use std::cell::{Cell, UnsafeCell};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use stroboscope_core::host::{Name, TypeInfo};

/// How instances of a class are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Python's own")]
pub enum Kind {
    None,
    Bool,
    Int,
    Float,
    Complex,
    Decimal,
    Str,
    Bytes,
    List,
    Tuple,
    Deque,
    Array,
    Range,
    Set,
    Dict,
    OrderedDict,
    Proxy,
    Keys,
    Values,
    Items,
    NamedTuple,
    Enum,
    Exception,
    Function,
    Iterator,
    Opaque,
    Scalar(Scalar),
    /// A numpy scalar, stored as `Py_T_…`.
    NumpyScalar(i32),
    NumpyHalf,
    NumpyComplex,
    /// A date or a span of time of numpy's.
    NumpyTime,
    NumpyRecord,
    NumpyArray,
    /// What is known and cannot be read.
    Unreadable,
    Object,
}

impl Kind {
    /// True for what has elements or entries and no names for them.
    pub fn is_container(self) -> bool {
        matches!(
            self,
            Kind::List | Kind::Tuple | Kind::Deque | Kind::Array | Kind::Set | Kind::Dict | Kind::OrderedDict
        )
    }
}

/// Well-known scalars, read from their C layout or their slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Python's own")]
pub enum Scalar {
    DateTime,
    Date,
    Time,
    TimeDelta,
    Uuid,
    Path,
    Fraction,
}

/// A slot or C-level data member of instances, or a field of a named tuple.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Offset in the object; position of a named tuple's field.
    pub offset: isize,
    /// `Py_T_…`.
    pub kind: i32,
    /// Its number as a name; `None` if it has none (the table was full, or it is too long): then it is read as text where
    /// the class keeps it, [`each_slot`] or `_fields`.
    pub name: Option<(u32, bool)>,
}

/// What is known of a class.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// How its instances are read.
    pub kind: Kind,
    /// Its number in the session.
    pub info: TypeInfo,
    /// True if [`members`] has something.
    pub members: bool,
}

struct Entry {
    class: usize,
    version: u32,
    members: Arc<[Member]>,
}

/// What hits look at most: one small line a class, in memory that never moves.
#[derive(Clone, Copy)]
struct Line {
    class: usize,
    version: u32,
    facts: Facts,
}

const CACHED: usize = 2048;
const UNUSED: Line = Line {
    class: 0,
    version: 0,
    facts: Facts { kind: Kind::None, info: TypeInfo { id: 0, redacted: false, labelled: false }, members: false },
};

/// Read and written by the holder of the GIL only, a whole line at a time.
struct Lines(UnsafeCell<[Line; CACHED]>);

// SAFETY: every user holds the GIL, and none keeps a reference into it.
unsafe impl Sync for Lines {}

impl Lines {
    #[inline]
    fn get(&self, place: usize) -> Line {
        // SAFETY: the GIL is held, so nobody writes; the place is in range.
        unsafe { (*self.0.get())[place % CACHED] }
    }

    fn set(&self, place: usize, line: Line) {
        // SAFETY: the GIL is held, so nobody else reads or writes; no reference is kept anywhere.
        unsafe { (*self.0.get())[place % CACHED] = line };
    }
}

/// The classes of most values. They never change, so that looking at the address is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Python's own")]
pub enum Builtin {
    Int,
    Str,
    Dict,
    List,
    Float,
    Bool,
    None,
}

/// Their numbers in the session, once they are known. Each in one word, which is read at once: bit 32 is set if the class is
/// redacted.
struct Builtins([Cell<u64>; 7]);

const UNKNOWN: u64 = u64::MAX;

// SAFETY: every user holds the GIL.
unsafe impl Sync for Builtins {}

static BUILTINS: Builtins = Builtins([const { Cell::new(UNKNOWN) }; 7]);

/// The number of an object's class that is this one, as its address has shown: nothing waits for a look into a table.
#[inline(always)]
#[allow(clippy::inline_always, reason = "who asks takes apart what is put together here")]
pub fn builtin(object: Ref<'_>, which: Builtin) -> TypeInfo {
    let mut known = BUILTINS.0[which as usize].get();
    if known == UNKNOWN {
        known = first_builtin(object, which);
    }
    TypeInfo { id: known as u32, redacted: known >> 32 != 0, labelled: false }
}

#[cold]
#[inline(never)]
fn first_builtin(object: Ref<'_>, which: Builtin) -> u64 {
    let info = facts(object.class()).info;
    let known = u64::from(info.id) | u64::from(info.redacted) << 32;
    BUILTINS.0[which as usize].set(known);
    known
}

static LINES: Lines = Lines(UnsafeCell::new([UNUSED; CACHED]));
static CACHE: Held<Vec<Option<Entry>>> = Held::new(Vec::new());

/// What is read by a layout that no public header declares, as far as this interpreter has it (see `selftest.rs`): all else
/// are plain objects.
#[derive(Default)]
pub struct Known {
    /// `collections.deque`, recognised by address: it is kept alive, so that the address stays its own.
    pub deque: Option<Owned>,
    /// Those of extension modules, by [`Extension`].
    pub extensions: [Verdict; Extension::ALL.len()],
    /// True if the order of an `OrderedDict` can be read.
    pub ordered: bool,
    /// True if a `range` can be read.
    pub range: bool,
    /// True if a `mappingproxy` can be read.
    pub proxy: bool,
}

/// A class of an extension module of the standard library. Nothing is imported to know it: the program may have a module of
/// its own by that name, or a second copy of this one. It is tried when the first of its instances is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Python's own")]
pub enum Extension {
    Array,
    Decimal,
    DateTime,
    Date,
    Time,
    TimeDelta,
    Timezone,
}

impl Extension {
    const ALL: [Extension; 7] = [
        Extension::Array,
        Extension::Decimal,
        Extension::DateTime,
        Extension::Date,
        Extension::Time,
        Extension::TimeDelta,
        Extension::Timezone,
    ];

    fn name(self) -> &'static str {
        match self {
            Extension::Array => "array.array",
            Extension::Decimal => "decimal.Decimal",
            Extension::DateTime => "datetime.datetime",
            Extension::Date => "datetime.date",
            Extension::Time => "datetime.time",
            Extension::TimeDelta => "datetime.timedelta",
            Extension::Timezone => "datetime.timezone",
        }
    }

    /// The one that a class is, itself and not through an ancestor.
    fn of(class: Class<'_>) -> Option<Extension> {
        // What a `class` statement makes, or `type()`, may have any name, and belongs to no module of C's.
        if class.has(ffi::Py_TPFLAGS_HEAPTYPE) && !class.is_of_c_module() {
            return None;
        }
        let name = class.c_name();
        let found = Extension::ALL.into_iter().find(|extension| extension.name() == name)?;
        let code = class.code();
        let known = KNOWN.with(|known| known.as_ref().map(|known| known.extensions[found as usize])).flatten()?;
        let is_right = match known {
            Verdict::Right(known) if known == code => true,
            Verdict::Wrong(known) if known == code => false,
            Verdict::Never => false,
            _ => {
                let is_right = selftest::reads(found, class);
                let verdict = if is_right { Verdict::Right(code) } else { Verdict::Wrong(code) };
                KNOWN.with(|known| known.as_mut().map(|known| known.extensions[found as usize] = verdict));
                is_right
            }
        };
        is_right.then_some(found)
    }
}

/// What came out for an [`Extension`]: for all classes that have their code at this address, which are copies of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Not met yet.
    #[default]
    Open,
    /// It is laid out as expected.
    Right(usize),
    /// It is another one, or laid out in another way.
    Wrong(usize),
    /// To be taken for wrong: for tests.
    Never,
}

static KNOWN: Held<Option<Known>> = Held::new(None);

/// Sets what is read by layout.
pub fn set_known(known: Known) {
    let old = KNOWN.with(|slot| slot.replace(known));
    drop(old);
    forget();
}

/// Forgets all facts: the numbers of a session's tables are not those of another's.
pub fn forget() {
    for known in &BUILTINS.0 {
        known.set(UNKNOWN);
    }
    for place in 0..CACHED {
        LINES.set(place, UNUSED);
    }
    drop(CACHE.with(std::mem::take));
}

/// True if the class is exactly `datetime.timezone`.
pub fn is_timezone(class: Class<'_>) -> bool {
    Extension::of(class) == Some(Extension::Timezone)
}

fn known(ask: impl FnOnce(&Known) -> bool) -> bool {
    KNOWN.with(|known| known.as_ref().is_some_and(ask)).unwrap_or(false)
}

fn inherits(known: Option<&Owned>, class: Class<'_>) -> bool {
    known.is_some_and(|known| class.is_subclass_of(known.borrow().pointer().cast()))
}

/// The extension that a class is, or that `class` statements have made it of. One that C makes of it may keep its content
/// elsewhere (`pandas.Timedelta` does), and so may all below that.
fn extended(class: Class<'_>) -> Option<Extension> {
    class.ancestors().find(|one| !is_of_program(*one)).and_then(Extension::of)
}

#[inline]
fn place(class: Class<'_>) -> usize {
    let address = class.pointer() as usize;
    ((address >> 4) ^ (address >> 15)) % CACHED
}

/// What is known of a class.
#[inline]
pub fn facts(class: Class<'_>) -> Facts {
    let line = LINES.get(place(class));
    if line.class == class.pointer() as usize && line.version == class.version() && line.version != 0 {
        return line.facts;
    }
    learn(class).0
}

/// The slots and C-level members that instances show.
pub fn members(class: Class<'_>) -> Arc<[Member]> {
    let version = class.version();
    let found = CACHE.with(|cache| match cache.get(place(class)) {
        Some(Some(entry)) if version != 0 && entry.class == class.pointer() as usize && entry.version == version => {
            Some(Arc::clone(&entry.members))
        }
        _ => None,
    });
    found.flatten().unwrap_or_else(|| learn(class).1)
}

#[cold]
fn learn(class: Class<'_>) -> (Facts, Arc<[Member]>) {
    let version = if class.version() == 0 { class.assigned_version() } else { class.version() };
    let kind = kind_of(class);
    let members: Arc<[Member]> = match kind {
        Kind::NamedTuple => named_fields(class).unwrap_or_default().into(),
        kind => slots(class, kind).into(),
    };
    let labelled = kind == Kind::Range || (matches!(kind, Kind::Int | Kind::Str) && is_enum(class));
    let info = TypeInfo { labelled, ..names::class(class) };
    let facts = Facts { kind, info, members: !members.is_empty() };
    if version != 0 {
        let entry = Entry { class: class.pointer() as usize, version, members: Arc::clone(&members) };
        LINES.set(place(class), Line { class: entry.class, version, facts });
        CACHE.with(|cache| {
            if cache.is_empty() {
                cache.resize_with(CACHED, || None);
            }
            cache[place(class)] = Some(entry);
        });
    }
    (facts, members)
}

fn kind_of(class: Class<'_>) -> Kind {
    let exactly = |other: *const ffi::PyTypeObject| std::ptr::eq(class.pointer(), other);
    let below = |other: *const ffi::PyTypeObject| class.is_subclass_of(other);
    if exactly(&raw const ffi::PyBool_Type) {
        return Kind::Bool;
    }
    if class.has(ffi::Py_TPFLAGS_LONG_SUBCLASS) {
        return Kind::Int;
    }
    if class.has(ffi::Py_TPFLAGS_UNICODE_SUBCLASS) {
        return Kind::Str;
    }
    if is_enum(class) {
        return Kind::Enum;
    }
    if class.has(ffi::Py_TPFLAGS_DICT_SUBCLASS) {
        // SAFETY: a live class.
        let ordered = unsafe { shim::strobe_ordered_check(class.pointer()) } != 0 && known(|known| known.ordered);
        return if ordered { Kind::OrderedDict } else { Kind::Dict };
    }
    if class.has(ffi::Py_TPFLAGS_LIST_SUBCLASS) {
        return Kind::List;
    }
    if class.has(ffi::Py_TPFLAGS_TUPLE_SUBCLASS) {
        let named = !exactly(&raw const ffi::PyTuple_Type) && named_fields(class).is_some();
        return if named { Kind::NamedTuple } else { Kind::Tuple };
    }
    if class.has(ffi::Py_TPFLAGS_BYTES_SUBCLASS)
        || below(&raw const ffi::PyByteArray_Type)
        || below(&raw const ffi::PyMemoryView_Type)
    {
        return Kind::Bytes;
    }
    if class.has(ffi::Py_TPFLAGS_BASE_EXC_SUBCLASS) {
        return Kind::Exception;
    }
    if class.has(ffi::Py_TPFLAGS_TYPE_SUBCLASS) {
        return Kind::Function;
    }
    // SAFETY: `None` is alive for ever.
    let none = unsafe { Ref::new(ffi::Py_None()) };
    if none.is_some_and(|none| none.class() == class) {
        return Kind::None;
    }
    if below(&raw const ffi::PyFloat_Type) {
        return Kind::Float;
    }
    if below(&raw const ffi::PyComplex_Type) {
        return Kind::Complex;
    }
    if below(&raw const ffi::PySet_Type) || below(&raw const ffi::PyFrozenSet_Type) {
        return Kind::Set;
    }
    if exactly(&raw const ffi::PyRange_Type) && known(|known| known.range) {
        return Kind::Range;
    }
    if exactly(&raw const ffi::PyDictProxy_Type) && known(|known| known.proxy) {
        return Kind::Proxy;
    }
    // Those of an `OrderedDict` are classes below these.
    if below(&raw const ffi::PyDictKeys_Type) {
        return Kind::Keys;
    }
    if below(&raw const ffi::PyDictValues_Type) {
        return Kind::Values;
    }
    if below(&raw const ffi::PyDictItems_Type) {
        return Kind::Items;
    }
    if known(|known| inherits(known.deque.as_ref(), class)) {
        return Kind::Deque;
    }
    match class.ancestors().find_map(Extension::of) {
        Some(Extension::Array) => return Kind::Array,
        Some(Extension::Decimal) => return Kind::Decimal,
        _ => {}
    }
    if let Some(scalar) = scalar_of(class) {
        return Kind::Scalar(scalar);
    }
    if let Some(kind) = numpy::kind_of(class) {
        return kind;
    }
    if is_function(class) || below(&raw const ffi::PyModule_Type) {
        return Kind::Function;
    }
    if class.c_name().starts_with("weakref.") && !class.reads_plainly() {
        return Kind::Opaque; // a proxy: every read of it is a read of something else, and it has what all kinds have
    }
    if is_iterator(class) {
        return Kind::Iterator;
    }
    Kind::Object
}

/// True if instances are members of an enumeration, whatever else they are. `EnumType` is known by its name, since there may
/// be several: a module that is loaded anew makes another. What is none has no `_name_`, and is read as what else it is.
fn is_enum(class: Class<'_>) -> bool {
    let of_class = class.object().class();
    let same = |text: stroboscope_core::text::Text<'_>, other| text.same(stroboscope_core::text::Text::Utf8(other));
    !std::ptr::eq(of_class.pointer(), &raw const ffi::PyType_Type)
        && of_class
            .ancestors()
            .any(|ancestor| same(ancestor.qualified_name(), "EnumType") && same(ancestor.module(), "enum"))
}

fn is_function(class: Class<'_>) -> bool {
    let kinds = [
        &raw const ffi::PyFunction_Type,
        &raw const ffi::PyCFunction_Type,
        &raw const shim::PyMethod_Type,
        &raw const ffi::PyMethodDescr_Type,
        &raw const ffi::PyClassMethodDescr_Type,
        &raw const ffi::PyWrapperDescr_Type,
        &raw const ffi::PyStaticMethod_Type,
        &raw const ffi::PyClassMethod_Type,
    ];
    kinds.iter().any(|&kind| class.is_subclass_of(kind))
}

/// Generators and coroutines, files, and whatever C iterates. An instance of a class of the program's is an object, however
/// it is made to iterate: its fields can be read without walking it.
fn is_iterator(class: Class<'_>) -> bool {
    let kinds = [&raw const ffi::PyGen_Type, &raw const ffi::PyCoro_Type, &raw const ffi::PyAsyncGen_Type];
    if kinds.iter().any(|&kind| std::ptr::eq(class.pointer(), kind)) {
        return true;
    }
    class.has_next() && !is_of_program(class)
}

/// True for a class that a `class` statement made, or `type()`: those of C have the name of their module in theirs.
fn is_of_program(class: Class<'_>) -> bool {
    class.has(ffi::Py_TPFLAGS_HEAPTYPE) && !class.c_name().contains('.')
}

fn scalar_of(class: Class<'_>) -> Option<Scalar> {
    match extended(class) {
        Some(Extension::DateTime) => return Some(Scalar::DateTime),
        Some(Extension::Date) => return Some(Scalar::Date),
        Some(Extension::Time) => return Some(Scalar::Time),
        Some(Extension::TimeDelta) => return Some(Scalar::TimeDelta),
        _ => {}
    }
    // Python classes: read through their slots by name, so that an impostor gives a wrong text at worst.
    let (module, name) = (class.module(), class.qualified_name());
    let same = |text: stroboscope_core::text::Text<'_>, other| text.same(stroboscope_core::text::Text::Utf8(other));
    if same(module, "uuid") && same(name, "UUID") {
        return Some(Scalar::Uuid);
    }
    if same(module, "fractions") && same(name, "Fraction") {
        return Some(Scalar::Fraction);
    }
    let paths = ["PurePosixPath", "PureWindowsPath", "PosixPath", "WindowsPath"];
    let in_pathlib = same(module, "pathlib") || same(module, "pathlib._local");
    (in_pathlib && paths.iter().any(|path| same(name, path))).then_some(Scalar::Path)
}

/// The fields of a named tuple: `_fields`, a tuple of strings, on a subclass of `tuple`.
fn named_fields(class: Class<'_>) -> Option<Vec<Member>> {
    let name = Owned::interned("_fields")?;
    let fields = class.lookup(name.borrow())?;
    if !fields.is_exactly(&raw const ffi::PyTuple_Type) || fields.tuple().is_empty() {
        return None;
    }
    let member = |(position, &field): (usize, &*mut ffi::PyObject)| {
        // SAFETY: an element of a live tuple.
        let field = unsafe { Ref::new(field) }.filter(|field| field.is_text())?;
        Some(Member { offset: isize::try_from(position).ok()?, kind: ffi::Py_T_OBJECT_EX, name: number(field) })
    };
    fields.tuple().iter().enumerate().map(member).collect()
}

fn number(name: Ref<'_>) -> Option<(u32, bool)> {
    match names::name(name) {
        Name::Known { id, redacted } => Some((id, redacted)),
        Name::Text(_) => None,
    }
}

/// True if a class of the program declares slots.
fn has_slots(class: Class<'_>) -> bool {
    class.dict().and_then(|dict| dict.dict_get_text("__slots__")).is_some()
}

/// The slots and C-level members that instances of a kind show.
fn slots(class: Class<'_>, kind: Kind) -> Vec<Member> {
    let mut found: Vec<Member> = Vec::new();
    let _ = each_slot(class, kind, |member, name| {
        found.push(Member { name: number(name), ..member });
        ControlFlow::Continue(())
    });
    found
}

/// Visits slots and C-level data members with their names, those of the farthest ancestor first, as their classes declare
/// them.
pub fn each_slot<'f>(
    class: Class<'f>,
    kind: Kind,
    mut visit: impl FnMut(Member, Ref<'f>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let of: fn(Class<'_>) -> bool = match kind {
        Kind::Object | Kind::Enum | Kind::Exception => |_| true,
        // What C keeps in its containers (the factory of a `defaultdict`) is not what a subclass adds.
        kind if kind.is_container() => has_slots,
        _ => return ControlFlow::Continue(()),
    };
    // One that has a second name, in its own class or below it, is still one field.
    let mut seen = HashSet::new();
    let ancestors: Vec<Class<'_>> = class.ancestors().filter(|ancestor| of(*ancestor)).collect();
    for ancestor in ancestors.into_iter().rev() {
        let Some(dict) = ancestor.dict() else { continue };
        let mut stop = ControlFlow::Continue(());
        dict.dict_entries(|_, descriptor| {
            if let Some((member, name)) = member_of(descriptor, class)
                && member.kind >= 0
                && (is_of_program(ancestor) || !name.text().is_some_and(is_hidden))
                && seen.insert(descriptor.pointer())
            {
                stop = visit(member, name);
            }
            stop.is_continue()
        });
        stop?;
    }
    ControlFlow::Continue(())
}

/// Members that CPython adds for itself to classes that C made. What a class of the program declares is its own, whatever
/// it is called.
fn is_hidden(name: stroboscope_core::text::Text<'_>) -> bool {
    let mut points = name.code_points();
    points.next() == Some(u32::from('_')) && points.next() == Some(u32::from('_')) && {
        let text = name.to_text();
        text.ends_with("__")
    }
}

/// The place that a member descriptor stands for in instances of a class, and its name. The kind is none that is read if the
/// descriptor was made for another class.
pub fn member_of<'f>(descriptor: Ref<'f>, class: Class<'_>) -> Option<(Member, Ref<'f>)> {
    let (mut offset, mut kind, mut name) = (0, 0, std::ptr::null_mut());
    // SAFETY: a live object and a live class; the outputs are ours; it answers 0 for anything but a member descriptor.
    let is_member = unsafe {
        let (descriptor, class) = (descriptor.pointer(), class.pointer());
        shim::strobe_member(descriptor, class, &raw mut offset, &raw mut kind, &raw mut name)
    };
    // SAFETY: the name belongs to the descriptor.
    let name = (is_member != 0).then(|| unsafe { Ref::new(name) }).flatten()?;
    Some((Member { offset, kind, name: None }, name))
}

/// What a `mappingproxy` shows.
pub fn proxied(proxy: Ref<'_>) -> Option<Ref<'_>> {
    if facts(proxy.class()).kind != Kind::Proxy {
        return None;
    }
    // SAFETY: a live `mappingproxy`, whose layout was checked when the module started; what it shows belongs to it.
    unsafe { Ref::new(shim::strobe_proxy_mapping(proxy.pointer())) }.filter(|shown| shown.is_dict())
}

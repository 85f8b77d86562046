//! A Python value as the core sees it: kind, scalar reads, children. Stands on the hit's walk: the core's evaluator and
//! walker come before, [`crate::object`] after. Nothing here runs code of the program: no descriptor but C's own data
//! members, no `__getattr__`, no metaclass, no `__eq__`, no iterator; no dictionary is made that was not there.

use crate::classes::{self, Builtin, Facts, Kind, Member, Scalar};
use crate::exception;
use crate::label;
use crate::names;
use crate::numpy::{self, Part};
use crate::object::{self, Class, EMPTY, Owned, Ref};
use crate::reach;
use crate::shim::{self, Fields};
use pyo3::ffi::{self, PyObject};
use std::cell::Cell;
use std::fmt::Write;
use std::ops::ControlFlow;
use stroboscope_core::host::{BigDigits, Child, DecimalDigits, Look, Name, TypeInfo, TypeName, Value, View, Walk};
use stroboscope_core::text::Text;

/// A value, borrowed for the hit: an object, or a number that an array, a range or a C member holds without one. All kinds
/// hold one word, so that a value travels in two registers: what goes through memory in pieces makes the processor wait.
#[derive(Clone, Copy)]
pub enum PyValue<'f> {
    /// An object.
    Object(Ref<'f>),
    /// A boolean of a C member; not 0 is true.
    Bool(i64),
    /// An integer without an object.
    Int(i64),
    /// An integer of 64 bits above the signed ones, in place: its halves, the low one first.
    Wide(&'f [u32; 2]),
    /// The bits of a float without an object.
    Float(u64),
    /// A character of an array.
    Point(&'f [u32; 1]),
    /// A row, an element or a field that numpy holds without an object.
    Part(Part<'f>),
}

impl<'f> PyValue<'f> {
    /// Borrows an object; `None` for null.
    ///
    /// # Safety
    /// The pointer is null, or its object stays alive and the GIL stays held for `'f`.
    #[inline]
    pub unsafe fn new(pointer: *mut PyObject) -> Option<Self> {
        // SAFETY: as the caller promises.
        unsafe { Ref::new(pointer) }.map(PyValue::Object)
    }

    #[inline]
    fn class(self) -> Class<'f> {
        let class = match self {
            PyValue::Object(object) => return object.class(),
            PyValue::Bool(_) => &raw mut ffi::PyBool_Type,
            PyValue::Int(_) | PyValue::Wide(_) => &raw mut ffi::PyLong_Type,
            PyValue::Float(_) => &raw mut ffi::PyFloat_Type,
            PyValue::Point(_) => &raw mut ffi::PyUnicode_Type,
            PyValue::Part(part) => match part.class() {
                Some(class) => return class,
                None => &raw mut ffi::PyBaseObject_Type,
            },
        };
        // SAFETY: each of the above is the address of a static class.
        unsafe { Class::of_static(class) }
    }
}

/// How a member was found, kept at the place that reads it: right while the class has the same version.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hint {
    class: usize,
    version: u32,
    index: u32,
}

/// The instance's fields, as they are stored.
enum Stored<'f> {
    None,
    Dict(Ref<'f>),
    Inline(Fields),
}

#[inline]
fn stored(object: Ref<'_>) -> Stored<'_> {
    let mut fields = Fields::empty();
    // SAFETY: a live object; the output is ours.
    match unsafe { shim::strobe_fields(object.pointer(), &raw mut fields) } {
        shim::FIELDS_INLINE => Stored::Inline(fields),
        // SAFETY: the dictionary belongs to the object.
        shim::FIELDS_DICT => unsafe { Ref::new(fields.dict) }.map_or(Stored::None, Stored::Dict),
        _ => Stored::None,
    }
}

/// A value among the inline ones.
#[inline]
fn inline_value<'f>(fields: &Fields, index: i32) -> Option<Ref<'f>> {
    let index = usize::try_from(index).ok()?;
    // SAFETY: the index is of a shared key of the class, for which every instance with inline values has a place; the value
    // belongs to the instance.
    unsafe { Ref::new(*fields.values.add(index)) }
}

/// A field that is stored in the instance under a name.
pub fn stored_field<'f>(object: Ref<'f>, name: Ref<'_>) -> Option<Ref<'f>> {
    match stored(object) {
        Stored::None => None,
        Stored::Dict(dict) => dict.dict_get(name),
        Stored::Inline(fields) => {
            // SAFETY: filled by `strobe_fields` just now; a live exact `str`.
            inline_value(&fields, unsafe { shim::strobe_inline_find(&raw const fields, name.pointer()) })
        }
    }
}

/// As [`stored_field`], then through slots; with a name made for the call.
pub fn plain_field<'f>(object: Ref<'f>, name: &str) -> Option<PyValue<'f>> {
    let name = Owned::interned(name)?;
    if let Some(found) = stored_field(object, name.borrow()) {
        return Some(PyValue::Object(found));
    }
    let (member, _) = classes::member_of(object.class().lookup(name.borrow())?, object.class())?;
    read_member(object, member)
}

/// Reads a slot or C-level member; `None` if it is unset.
pub fn read_member(object: Ref<'_>, member: Member) -> Option<PyValue<'_>> {
    read_place(object.pointer().cast::<u8>().wrapping_offset(member.offset), member.kind)
}

/// What is stored at a place in a live object, as `Py_T_…` says; `None` for null.
pub fn read_place<'f>(place: *const u8, kind: i32) -> Option<PyValue<'f>> {
    macro_rules! read {
        ($kind:ty) => {
            // SAFETY: callers know that a value of this type is there: the member's class is the object's or an ancestor of
            // it and says so, or an array does whose memory was looked at.
            unsafe { place.cast::<$kind>().read_unaligned() }
        };
    }
    let value = match kind {
        ffi::Py_T_OBJECT_EX | T_OBJECT => {
            let held = read!(*mut PyObject);
            // SAFETY: the object in the slot belongs to the instance.
            return unsafe { PyValue::new(held) };
        }
        ffi::Py_T_BOOL => PyValue::Bool(read!(i8).into()),
        ffi::Py_T_BYTE => PyValue::Int(read!(i8).into()),
        ffi::Py_T_UBYTE => PyValue::Int(read!(u8).into()),
        ffi::Py_T_SHORT => PyValue::Int(read!(i16).into()),
        ffi::Py_T_USHORT => PyValue::Int(read!(u16).into()),
        ffi::Py_T_INT => PyValue::Int(read!(i32).into()),
        ffi::Py_T_UINT => PyValue::Int(read!(u32).into()),
        ffi::Py_T_LONG | ffi::Py_T_LONGLONG | ffi::Py_T_PYSSIZET => PyValue::Int(read!(i64)),
        // SAFETY: the member's class says so, as above.
        ffi::Py_T_ULONG | ffi::Py_T_ULONGLONG => return unsafe { unsigned(place) },
        ffi::Py_T_FLOAT => PyValue::Float(f64::from(read!(f32)).to_bits()),
        ffi::Py_T_DOUBLE => PyValue::Float(read!(f64).to_bits()),
        ffi::Py_T_CHAR => PyValue::Point(LETTERS.get(usize::from(read!(u8)))?),
        _ => return None,
    };
    Some(value)
}

/// What a character of C is.
static LETTERS: [[u32; 1]; 128] = {
    let mut letters = [[0]; 128];
    let mut letter = 0;
    while letter < letters.len() {
        letters[letter] = [letter as u32];
        letter += 1;
    }
    letters
};

/// A member of C that holds an object or null (an older kind of slot).
const T_OBJECT: i32 = 6;

/// The member that a name stands for, by 3.3 and 3.6. The hint is used and brought up to date.
pub fn member<'f>(object: Ref<'f>, name: Ref<'_>, hint: Option<&Cell<Hint>>) -> Child<PyValue<'f>> {
    let class = object.class();
    let version = class.version();
    if let Some(hint) = hint {
        let known = hint.get();
        if known.class == class.pointer() as usize
            && known.version == version
            && version != 0
            && let Stored::Inline(fields) = stored(object)
            && let Some(value) = inline_value(&fields, known.index.cast_signed())
        {
            return Child::Present(PyValue::Object(value));
        }
    }
    match classes::facts(class).kind {
        Kind::Enum => enum_member(object, name),
        Kind::Exception => exception_member(object, name),
        Kind::Function => function_member(object, name),
        Kind::Scalar(Scalar::Fraction) => fraction_member(object, name),
        Kind::NamedTuple => named_member(object, name),
        Kind::NumpyRecord => match Part::whole(object).member(name) {
            Child::Absent => attribute(object, name, hint),
            found => found,
        },
        Kind::NumpyArray => match item_member(object, name) {
            Child::Absent | Child::Computed => attribute(object, name, hint),
            found => found,
        },
        Kind::Object | Kind::Complex | Kind::Iterator | Kind::Opaque | Kind::Scalar(_) => attribute(object, name, hint),
        Kind::Int | Kind::Str if classes::facts(class).info.labelled => enum_member(object, name),
        // Numbers, texts and containers have no members but what a subclass keeps in its instances.
        _ => match attribute(object, name, hint) {
            Child::Computed => Child::Absent,
            found => found,
        },
    }
}

/// What an array of no dimension stands for.
fn item(object: Ref<'_>) -> Option<PyValue<'_>> {
    if classes::facts(object.class()).kind == Kind::NumpyArray { numpy::item(object) } else { None }
}

/// A member of what an array of no dimension stands for.
fn item_member<'f>(array: Ref<'f>, name: Ref<'_>) -> Child<PyValue<'f>> {
    match numpy::item(array) {
        Some(PyValue::Object(item)) => member(item, name, None),
        Some(PyValue::Part(part)) => part.member(name),
        _ => Child::Absent,
    }
}

/// The plain rule: data members, the instance's own fields, then what the class holds that is not a descriptor.
fn attribute<'f>(object: Ref<'f>, name: Ref<'_>, hint: Option<&Cell<Hint>>) -> Child<PyValue<'f>> {
    let class = object.class();
    let of_class = class.lookup(name);
    if let Some(found) = of_class
        && found.class().is_data_descriptor()
    {
        return match classes::member_of(found, class) {
            Some((member, _)) => read_member(object, member).map_or(Child::Absent, Child::Present),
            None => Child::Computed,
        };
    }
    match stored(object) {
        Stored::Inline(fields) => {
            // SAFETY: filled by `strobe_fields` just now; a live exact `str`.
            let index = unsafe { shim::strobe_inline_find(&raw const fields, name.pointer()) };
            if let Some(value) = inline_value(&fields, index) {
                if let Some(hint) = hint {
                    let class_address = class.pointer() as usize;
                    hint.set(Hint { class: class_address, version: class.version(), index: index.cast_unsigned() });
                }
                return Child::Present(PyValue::Object(value));
            }
        }
        Stored::Dict(dict) => {
            if let Some(value) = dict.dict_get(name) {
                return Child::Present(PyValue::Object(value));
            }
        }
        Stored::None => {}
    }
    match of_class {
        Some(found) if found.class().is_descriptor() => Child::Computed,
        Some(found) => Child::Present(PyValue::Object(found)),
        None if class.reads_plainly() => Child::Absent,
        None => Child::Computed,
    }
}

fn is_named(name: Ref<'_>, text: &str) -> bool {
    name.text().is_some_and(|name| name.same(Text::Utf8(text)))
}

fn enum_member<'f>(object: Ref<'f>, name: Ref<'_>) -> Child<PyValue<'f>> {
    let stored_as = match () {
        () if is_named(name, "name") => "_name_",
        () if is_named(name, "value") => "_value_",
        () => return attribute(object, name, None),
    };
    plain_field(object, stored_as).map_or(Child::Absent, Child::Present)
}

fn exception_member<'f>(object: Ref<'f>, name: Ref<'_>) -> Child<PyValue<'f>> {
    let found = attribute(object, name, None);
    if !matches!(found, Child::Computed) {
        return found;
    }
    // SAFETY: a live exception; what it holds belongs to it. Null stands for `None`, which is absent here.
    let pointer = unsafe {
        match () {
            () if is_named(name, "args") => shim::strobe_exception_args(object.pointer()),
            () if is_named(name, "__cause__") => shim::strobe_exception_cause(object.pointer()),
            () if is_named(name, "__context__") => shim::strobe_exception_context(object.pointer()),
            // Nothing has the name, so that only a `__getattr__` could answer: the message itself is known without it.
            () if is_named(name, "message") && object.class().lookup(name).is_none() => return Child::Absent,
            () => return Child::Computed,
        }
    };
    // SAFETY: as above.
    unsafe { PyValue::new(pointer) }.map_or(Child::Absent, Child::Present)
}

/// Of classes: what they and their ancestors hold that is not a descriptor. Of modules: their namespace. Of functions:
/// their own attributes.
fn function_member<'f>(object: Ref<'f>, name: Ref<'_>) -> Child<PyValue<'f>> {
    if let Some(class) = object.as_class() {
        if is_named(name, "__qualname__") {
            // SAFETY: a live class; the name belongs to it, null for a static class.
            return unsafe { PyValue::new(shim::strobe_type_qualname(class.pointer())) }
                .map_or(Child::Computed, Child::Present);
        }
        if is_named(name, "__name__") {
            // SAFETY: as above.
            return unsafe { PyValue::new(shim::strobe_type_name(class.pointer())) }
                .map_or(Child::Computed, Child::Present);
        }
        return match class.lookup(name) {
            Some(found) if found.class().is_descriptor() => Child::Computed,
            Some(found) => Child::Present(PyValue::Object(found)),
            None => Child::Absent,
        };
    }
    if let Some(namespace) = object.module_dict() {
        return namespace.dict_get(name).map_or(Child::Absent, |found| Child::Present(PyValue::Object(found)));
    }
    attribute(object, name, None)
}

fn fraction_member<'f>(object: Ref<'f>, name: Ref<'_>) -> Child<PyValue<'f>> {
    let slot = match () {
        () if is_named(name, "numerator") => "_numerator",
        () if is_named(name, "denominator") => "_denominator",
        () => return attribute(object, name, None),
    };
    plain_field(object, slot).map_or(Child::Absent, Child::Present)
}

/// The names of a named tuple's elements.
fn names_of(object: Ref<'_>) -> Option<Ref<'_>> {
    Owned::interned("_fields").and_then(|fields| object.class().lookup(fields.borrow()))
}

fn named_member<'f>(object: Ref<'f>, name: Ref<'_>) -> Child<PyValue<'f>> {
    let Some(fields) = names_of(object) else { return Child::Absent };
    let wanted = name.text();
    let position = fields.tuple().iter().position(|&field| {
        // SAFETY: an element of a live tuple.
        let field = unsafe { Ref::new(field) }.and_then(Ref::text);
        field.zip(wanted).is_some_and(|(field, wanted)| field.same(wanted))
    });
    match position.and_then(|position| object.tuple().get(position)) {
        // SAFETY: an element of a live tuple.
        Some(&value) => unsafe { PyValue::new(value) }.map_or(Child::Absent, Child::Present),
        None => attribute(object, name, None),
    }
}

/// The dictionary that a value shows its entries from.
fn dict_of(object: Ref<'_>, kind: Kind) -> Option<Ref<'_>> {
    // SAFETY: the kind says what the object is; what it shows belongs to it.
    let dict = unsafe {
        match kind {
            Kind::Dict | Kind::OrderedDict => return Some(object),
            Kind::Proxy => Ref::new(shim::strobe_proxy_mapping(object.pointer())),
            Kind::Keys | Kind::Values | Kind::Items => Ref::new(shim::strobe_view_dict(object.pointer())),
            _ => None,
        }
    };
    dict.filter(|dict| dict.is_dict())
}

/// The dictionary of a view of keys that has the order of its table.
fn plain_dict_of(object: Ref<'_>, kind: Kind) -> Option<Ref<'_>> {
    dict_of(object, kind).filter(|dict| kind == Kind::Keys && classes::facts(dict.class()).kind != Kind::OrderedDict)
}

fn deque_len(object: Ref<'_>) -> usize {
    // SAFETY: a live deque or array, which are variable-sized objects.
    usize::try_from(unsafe { shim::strobe_var_size(object.pointer()) }).unwrap_or(0)
}

fn set_len(object: Ref<'_>) -> usize {
    // SAFETY: a live set.
    usize::try_from(unsafe { shim::strobe_set_len(object.pointer()) }).unwrap_or(0)
}

/// The start, step and length of a range, of which each element fits.
fn range_of(object: Ref<'_>) -> Option<(i64, i64, i64)> {
    let (mut start, mut step, mut length) = (0, 0, 0);
    // SAFETY: a live range; the outputs are ours.
    let fits = unsafe { shim::strobe_range(object.pointer(), &raw mut start, &raw mut step, &raw mut length) };
    let last = length.checked_sub(1).and_then(|last| step.checked_mul(last)?.checked_add(start));
    (fits != 0 && (length == 0 || last.is_some())).then_some((start, step, length))
}

fn range_element((start, step, length): (i64, i64, i64), index: usize) -> Option<i64> {
    let index = i64::try_from(index).ok().filter(|&index| index < length)?;
    step.checked_mul(index)?.checked_add(start)
}

/// An element of an array.
fn array_element(object: Ref<'_>, index: usize) -> Option<PyValue<'_>> {
    let (mut length, mut code, mut size) = (0, 0, 0);
    // SAFETY: a live array; the outputs are ours.
    let items = unsafe { shim::strobe_array(object.pointer(), &raw mut length, &raw mut code, &raw mut size) };
    let (length, size) = (usize::try_from(length).ok()?, usize::try_from(size).ok()?);
    if items.is_null() || index >= length {
        return None;
    }
    // SAFETY: the array holds `length` elements of `size` bytes, and the index is below that.
    let place = unsafe { items.add(index * size) };
    macro_rules! read {
        ($kind:ty) => {
            // SAFETY: one element, whose type the array's code names and whose size was checked in the pattern.
            unsafe { place.cast::<$kind>().read_unaligned() }
        };
    }
    let value = match (u8::try_from(code).ok()?, size) {
        (b'b', 1) => PyValue::Int(read!(i8).into()),
        (b'B', 1) => PyValue::Int(read!(u8).into()),
        (b'h', 2) => PyValue::Int(read!(i16).into()),
        (b'H', 2) => PyValue::Int(read!(u16).into()),
        (b'i' | b'l', 4) => PyValue::Int(read!(i32).into()),
        (b'I' | b'L', 4) => PyValue::Int(read!(u32).into()),
        (b'l' | b'q', 8) => PyValue::Int(read!(i64)),
        // SAFETY: one element of eight bytes, in the array's own storage.
        (b'L' | b'Q', 8) => return unsafe { unsigned(place) },
        (b'f', 4) => PyValue::Float(f64::from(read!(f32)).to_bits()),
        (b'd', 8) => PyValue::Float(read!(f64).to_bits()),
        // SAFETY: one code point of four bytes, in the array's own storage, which is aligned for its elements.
        (b'u' | b'w', 4) => PyValue::Point(unsafe { &*place.cast() }),
        _ => return None,
    };
    Some(value)
}

/// An integer of 64 bits without sign; `None` for a large one that numpy has packed between others.
///
/// # Safety
/// The place holds one for `'f`.
unsafe fn unsigned<'f>(place: *const u8) -> Option<PyValue<'f>> {
    // SAFETY: as the caller promises.
    let value = unsafe { place.cast::<u64>().read_unaligned() };
    if let Ok(value) = i64::try_from(value) {
        return Some(PyValue::Int(value));
    }
    // SAFETY: eight aligned bytes are two halves; CPython runs on little-endian machines here (see `lib.rs`).
    numpy::aligned::<[u32; 2]>(place).map(|halves| PyValue::Wide(unsafe { &*halves }))
}

#[cold]
fn view_int(object: Ref<'_>) -> View<'_> {
    if let Some(value) = object.int() {
        return View::Int(value);
    }
    // SAFETY: asks for a constant of the build.
    let bits = unsafe { shim::strobe_digit_bits() };
    match object.digits() {
        Some((digits, negative)) => View::Big(BigDigits { negative, digits, bits: u8::try_from(bits).unwrap_or(30) }),
        None => View::Opaque,
    }
}

const NEGATIVE: i32 = 1;
const INFINITE: i32 = 2;
const SIGNALLING: i32 = 8;
const NOT_A_NUMBER: i32 = 4 | SIGNALLING;

/// The text of a decimal that is no number, as its class writes it.
pub fn push_decimal(object: Ref<'_>, out: &mut String) {
    let (mut flags, mut exponent, mut length, mut words) = (0, 0, 0, std::ptr::null());
    // SAFETY: a live decimal, whose layout was checked; the outputs are ours.
    let there = unsafe {
        shim::strobe_decimal(object.pointer(), &raw mut flags, &raw mut exponent, &raw mut length, &raw mut words)
    };
    if there == 0 || flags & (INFINITE | NOT_A_NUMBER) == 0 {
        return;
    }
    let sign = if flags & NEGATIVE != 0 { "-" } else { "" };
    let word = match flags {
        _ if flags & INFINITE != 0 => "Infinity",
        _ if flags & SIGNALLING != 0 => "sNaN",
        _ => "NaN",
    };
    // A number may be told with it, in practice a small one.
    let payload = match length {
        // SAFETY: a decimal holds `length` words.
        1 if flags & NOT_A_NUMBER != 0 => unsafe { *words },
        _ => 0,
    };
    let payload = if payload == 0 { String::new() } else { payload.to_string() };
    // Writing to a `String` cannot fail.
    let _ = write!(out, "Decimal('{sign}{word}{payload}')");
}

/// The number that a `decimal.Decimal` is.
pub fn view_decimal(object: Ref<'_>) -> View<'_> {
    let (mut flags, mut exponent, mut length, mut words) = (0, 0, 0, std::ptr::null());
    // SAFETY: a live decimal, whose layout was checked; the outputs are ours.
    let there = unsafe {
        shim::strobe_decimal(object.pointer(), &raw mut flags, &raw mut exponent, &raw mut length, &raw mut words)
    };
    let negative = flags & NEGATIVE != 0;
    if there == 0 {
        return View::Opaque;
    }
    if flags & NOT_A_NUMBER != 0 {
        return View::Float(f64::NAN);
    }
    if flags & INFINITE != 0 {
        return View::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
    }
    // SAFETY: a decimal holds `length` immutable words.
    View::Decimal(DecimalDigits { negative, words: unsafe { std::slice::from_raw_parts(words, length) }, exponent })
}

const BEYOND_64_BITS: &str = "a range beyond 64 bits";

/// True for what shows the content of another object.
fn is_window(kind: Kind) -> bool {
    matches!(kind, Kind::Proxy | Kind::Keys | Kind::Values | Kind::Items | Kind::NumpyArray)
}

/// What is known of a class, and of this instance alone: a redacted dictionary is so through a window too, and a decimal that
/// is no number is shown as what it is, though expressions see a float.
fn seen(object: Ref<'_>, kind: Kind, info: TypeInfo, view: &View<'_>) -> TypeInfo {
    if kind == Kind::NumpyArray {
        // It has its own class, and the secrets of its item.
        let item = numpy::item(object).map(Value::type_info);
        return item.map_or(info, |item| TypeInfo {
            redacted: info.redacted || item.redacted,
            labelled: item.labelled,
            ..info
        });
    }
    if kind == Kind::Decimal {
        return TypeInfo { labelled: matches!(view, View::Float(_)), ..info };
    }
    if !is_window(kind) {
        return info;
    }
    let behind = dict_of(object, kind).is_some_and(|dict| classes::facts(dict.class()).info.redacted);
    TypeInfo { redacted: info.redacted || behind, ..info }
}

/// What most values are is told here, the rest by [`other_view`].
fn view(object: Ref<'_>, facts: Facts) -> View<'_> {
    match facts.kind {
        // SAFETY: a live int.
        Kind::Int => match unsafe { object::small_int(object.pointer()) } {
            Some(value) => View::Int(value),
            None => view_int(object),
        },
        Kind::Str => object.text().map_or(View::Opaque, View::Str),
        Kind::Dict => View::Map { len: object.dict_len(), record: false },
        Kind::List => View::List(object.list().len()),
        Kind::Object => View::Object,
        Kind::None => View::Null,
        _ => other_view(object, facts),
    }
}

#[inline(never)]
fn other_view(object: Ref<'_>, facts: Facts) -> View<'_> {
    match facts.kind {
        Kind::None => View::Null,
        // SAFETY: `True` is alive for ever.
        Kind::Bool => View::Bool(std::ptr::eq(object.pointer(), unsafe { ffi::Py_True() })),
        Kind::Int => view_int(object),
        // SAFETY: a live float.
        Kind::Float => View::Float(unsafe { (*object.pointer().cast::<ffi::PyFloatObject>()).ob_fval }),
        Kind::Complex => {
            let (mut real, mut imaginary) = (0.0, 0.0);
            // SAFETY: a live complex number; the outputs are ours.
            unsafe { shim::strobe_complex(object.pointer(), &raw mut real, &raw mut imaginary) };
            View::Complex(real, imaginary)
        }
        Kind::Decimal => view_decimal(object),
        Kind::Str => object.text().map_or(View::Opaque, View::Str),
        Kind::Bytes => match reach::shown(object) {
            Ok((bytes, len)) if bytes.len() == len => View::Bytes(bytes),
            Ok((beginning, len)) => View::Beginning { bytes: beginning, len },
            Err(why) => View::Unreadable(why),
        },
        Kind::List => View::List(object.list().len()),
        Kind::Tuple => View::List(object.tuple().len()),
        Kind::Deque | Kind::Array => View::List(deque_len(object)),
        Kind::NumpyScalar(kind) => match read_member(object, Member { offset: numpy::SCALAR_AT, kind, name: None }) {
            Some(PyValue::Object(_)) | None => View::Object,
            Some(number) => number.view(),
        },
        Kind::NumpyArray => match numpy::item(object) {
            Some(item) => item.view(),
            None => Part::whole(object).view(),
        },
        Kind::NumpyRecord => Part::whole(object).view(),
        Kind::Unreadable => View::Unreadable(numpy::UNKNOWN),
        Kind::NumpyHalf => View::Float(numpy::half_scalar(object)),
        Kind::NumpyComplex => numpy::complex_scalar(object),
        Kind::Range => match range_of(object) {
            Some((_, _, length)) => View::List(usize::try_from(length).unwrap_or(0)),
            None => View::Unreadable(BEYOND_64_BITS),
        },
        Kind::Set => View::Set(set_len(object)),
        Kind::Keys => View::List(dict_of(object, facts.kind).map_or(0, Ref::dict_len)),
        Kind::Values => View::Values(dict_of(object, facts.kind).map_or(0, Ref::dict_len)),
        Kind::Dict | Kind::OrderedDict | Kind::Proxy | Kind::Items => match dict_of(object, facts.kind) {
            Some(dict) => View::Map { len: dict.dict_len(), record: false },
            None => View::Opaque,
        },
        Kind::NamedTuple => View::Named(object.tuple().len()),
        Kind::Enum if plain_field(object, "_name_").is_some() => View::Enum,
        Kind::Enum | Kind::Object => View::Object,
        Kind::Exception => View::Exception,
        Kind::Function => View::Function,
        Kind::Iterator => View::Iterator,
        Kind::Opaque => View::Opaque,
        Kind::NumpyTime | Kind::Scalar(_) => View::Scalar,
    }
}

#[inline(never)]
fn other_text(object: Ref<'_>) -> View<'_> {
    object.text().map_or(View::Opaque, View::Str)
}

/// Visits object pointers.
fn each<'f, F: FnMut(PyValue<'f>) -> ControlFlow<()>>(objects: &'f [*mut PyObject], mut visit: F) -> Walk {
    for &object in objects {
        // SAFETY: elements belong to their container; one under construction may hold null.
        if let Some(value) = unsafe { PyValue::new(object) }
            && visit(value).is_break()
        {
            return Walk::Stopped;
        }
    }
    Walk::Complete
}

fn each_of_dict<'f>(dict: Ref<'f>, mark: usize, mut visit: impl FnMut(Ref<'f>, Ref<'f>) -> ControlFlow<()>) -> Walk {
    let ordered = classes::facts(dict.class()).kind == Kind::OrderedDict;
    if !ordered {
        return dict.dict_walk(mark, |key, value| visit(key, value).is_continue());
    }
    // SAFETY: a live `OrderedDict`, whose layout was checked when the module started.
    let first = unsafe { shim::strobe_ordered_first(dict.pointer()) };
    // The mark is the node to go on with; no Python code has run since it was given.
    let mut node = if mark == 0 { first } else { std::ptr::with_exposed_provenance_mut(mark) };
    let mut empty = 0;
    while !node.is_null() {
        let (mut key, mut value) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: a node of this dict, which cannot change while no Python code runs; the outputs are ours.
        node = unsafe { shim::strobe_ordered_next(dict.pointer(), node, &raw mut key, &raw mut value) };
        // SAFETY: both belong to the dict.
        let entry = (unsafe { Ref::new(key) }, unsafe { Ref::new(value) });
        if let (Some(key), Some(value)) = entry {
            if visit(key, value).is_break() {
                return Walk::Stopped;
            }
            continue;
        }
        empty += 1;
        if empty == EMPTY && !node.is_null() {
            return Walk::Paused(node.expose_provenance());
        }
    }
    Walk::Complete
}

fn each_of_set<'f, F: FnMut(PyValue<'f>) -> ControlFlow<()>>(set: Ref<'f>, mark: usize, mut visit: F) -> Walk {
    let mut position = isize::try_from(mark).unwrap_or(isize::MAX);
    loop {
        // SAFETY: a live set, which cannot change while no Python code runs; its members belong to it.
        let value =
            unsafe { PyValue::new(shim::strobe_set_next(set.pointer(), &raw mut position, EMPTY.cast_signed())) };
        match value {
            Some(value) if visit(value).is_break() => return Walk::Stopped,
            Some(_) => {}
            None => return usize::try_from(position).map_or(Walk::Complete, Walk::Paused),
        }
    }
}

fn each_of_deque<'f, F: FnMut(PyValue<'f>) -> ControlFlow<()>>(deque: Ref<'f>, mut visit: F) -> Walk {
    let mut at = 0;
    // SAFETY: a live deque, whose layout was checked when the module started.
    let mut block = unsafe { shim::strobe_deque_begin(deque.pointer(), &raw mut at) };
    for _ in 0..deque_len(deque) {
        // SAFETY: not past the last element; elements belong to the deque.
        let value = unsafe { PyValue::new(shim::strobe_deque_next(&raw mut block, &raw mut at)) };
        if let Some(value) = value
            && visit(value).is_break()
        {
            return Walk::Stopped;
        }
    }
    Walk::Complete
}

/// Visits what a function makes of 0, 1, 2 … until it makes nothing.
fn each_made<'f, F: FnMut(PyValue<'f>) -> ControlFlow<()>>(
    len: usize,
    make: impl Fn(usize) -> Option<PyValue<'f>>,
    mut visit: F,
) -> Walk {
    for index in 0..len {
        let Some(value) = make(index) else { return Walk::Changed };
        if visit(value).is_break() {
            return Walk::Stopped;
        }
    }
    Walk::Complete
}

/// The class and the view of a value that no object holds.
#[inline(never)]
fn without_object(value: PyValue<'_>) -> (TypeInfo, View<'_>) {
    (value.type_info(), value.view())
}

impl PyValue<'_> {
    /// The element that is so many behind the first one.
    fn nth(self, index: usize) -> Child<Self> {
        let (mut found, mut left, mut mark) = (None, index, 0);
        for _ in 0..PATIENCE {
            let walk = self.elements_from(mark, |value| {
                if left == 0 {
                    found = Some(value);
                    return ControlFlow::Break(());
                }
                left -= 1;
                ControlFlow::Continue(())
            });
            let Walk::Paused(at) = walk else { return found.map_or(Child::Absent, Child::Present) };
            mark = at;
        }
        Child::Failed(EMPTIED)
    }
}

/// How often a walk goes on that nobody times.
const PATIENCE: usize = 4;
const EMPTIED: &str = "it was emptied, and what is left stands behind too many empty places";

impl<'f> Value<'f> for PyValue<'f> {
    #[inline]
    fn view(self) -> View<'f> {
        match self {
            PyValue::Object(object) => {
                // The plainest are told by their address alone.
                if object.is_exactly(&raw const ffi::PyLong_Type) {
                    // SAFETY: a live int.
                    return match unsafe { object::small_int(object.pointer()) } {
                        Some(value) => View::Int(value),
                        None => view_int(object),
                    };
                }
                if object.is_exactly(&raw const ffi::PyList_Type) {
                    return View::List(object.list().len());
                }
                view(object, classes::facts(object.class()))
            }
            PyValue::Bool(value) => View::Bool(value != 0),
            PyValue::Int(value) => View::Int(value),
            PyValue::Wide(digits) => View::Big(BigDigits { negative: false, digits, bits: 32 }),
            PyValue::Float(bits) => View::Float(f64::from_bits(bits)),
            PyValue::Point(point) => View::Str(Text::Ucs4(point)),
            PyValue::Part(part) => part.view(),
        }
    }

    #[inline(always)]
    #[allow(clippy::inline_always, reason = "who looks is told by a branch, and not by a value in memory")]
    fn look<L: Look<'f>>(self, look: L) -> L::Out {
        let PyValue::Object(object) = self else {
            let (info, view) = without_object(self);
            return look.view(info, view);
        };
        if object.is_exactly(&raw const ffi::PyLong_Type) {
            let info = classes::builtin(object, Builtin::Int);
            // SAFETY: a live int.
            return match unsafe { object::small_int(object.pointer()) } {
                Some(value) => look.int(info, value),
                None => look.view(info, view_int(object)),
            };
        }
        if object.is_exactly(&raw const ffi::PyUnicode_Type) {
            let info = classes::builtin(object, Builtin::Str);
            // SAFETY: a live `str`.
            return match unsafe { object.ascii() } {
                Some(text) => look.ascii(info, text),
                None => look.view(info, other_text(object)),
            };
        }
        if object.is_exactly(&raw const ffi::PyDict_Type) {
            return look.map(classes::builtin(object, Builtin::Dict), object.dict_len());
        }
        if object.is_exactly(&raw const ffi::PyFloat_Type) {
            // SAFETY: a live float.
            let value = unsafe { (*object.pointer().cast::<ffi::PyFloatObject>()).ob_fval };
            return look.float(classes::builtin(object, Builtin::Float), value);
        }
        if object.is_exactly(&raw const ffi::PyBool_Type) {
            // SAFETY: `True` is alive for ever.
            let value = std::ptr::eq(object.pointer(), unsafe { ffi::Py_True() });
            return look.bool(classes::builtin(object, Builtin::Bool), value);
        }
        // SAFETY: `None` is alive for ever.
        if std::ptr::eq(object.pointer(), unsafe { ffi::Py_None() }) {
            return look.null(classes::builtin(object, Builtin::None));
        }
        if object.is_exactly(&raw const ffi::PyList_Type) {
            return look.list(classes::builtin(object, Builtin::List), object.list().len());
        }
        let facts = classes::facts(object.class());
        let info = facts.info;
        if info.labelled {
            return look.view(info, view(object, facts));
        }
        match facts.kind {
            Kind::Str => look.view(info, other_text(object)),
            Kind::Dict => look.map(info, object.dict_len()),
            Kind::List => look.list(info, object.list().len()),
            Kind::Tuple => look.list(info, object.tuple().len()),
            Kind::Object => look.object(info),
            Kind::None => look.null(info),
            kind => {
                let view = view(object, facts);
                look.view(seen(object, kind, info, &view), view)
            }
        }
    }

    #[inline]
    fn identity(self) -> u64 {
        match self {
            PyValue::Object(object) => match item(object) {
                Some(item) => item.identity(),
                None => object.pointer() as u64,
            },
            PyValue::Part(part) => part.identity(),
            // Objects are aligned, so that an odd number is nobody's; scalars are never compared by identity.
            _ => 1,
        }
    }

    #[inline]
    fn type_info(self) -> TypeInfo {
        let facts = classes::facts(self.class());
        match self {
            PyValue::Object(object) if is_window(facts.kind) => seen(object, facts.kind, facts.info, &View::Opaque),
            _ => facts.info,
        }
    }

    fn type_names<F: FnMut(TypeName<'_>) -> ControlFlow<()>>(self, mut visit: F) {
        let mut qualified = String::new();
        // An array of no dimension is what it holds, and an array too.
        let item = if let PyValue::Object(object) = self { item(object) } else { None };
        let classes = item.map(PyValue::class).into_iter().chain([self.class()]);
        for class in classes.flat_map(Class::ancestors) {
            names::qualify(class, &mut qualified);
            let (display, bare) = (names::shown(class), class.bare_name());
            if visit(TypeName { qualified: Text::Utf8(&qualified), display, bare }).is_break() {
                return;
            }
        }
    }

    fn element(self, index: usize) -> Child<Self> {
        let object = match self {
            PyValue::Object(object) => object,
            PyValue::Part(part) => return part.element(index).map_or(Child::Absent, Child::Present),
            _ => return Child::Absent,
        };
        // SAFETY: elements belong to their list or tuple.
        let at = |items: &[*mut PyObject]| items.get(index).and_then(|&item| unsafe { PyValue::new(item) });
        let found = match classes::facts(object.class()).kind {
            Kind::List => at(object.list()),
            Kind::Tuple | Kind::NamedTuple => at(object.tuple()),
            Kind::Array => array_element(object, index),
            Kind::NumpyArray => match numpy::item(object) {
                Some(item) => return item.element(index),
                None => Part::whole(object).element(index),
            },
            Kind::Range => match range_of(object) {
                Some(range) => match range_element(range, index) {
                    Some(value) => Some(PyValue::Int(value)),
                    None => return Child::Failed(BEYOND_64_BITS),
                },
                None => None,
            },
            Kind::Deque if index < deque_len(object) => {
                // SAFETY: a live deque, whose layout was checked when the module started, and an index in range; the element
                // belongs to it.
                unsafe { PyValue::new(shim::strobe_deque_at(object.pointer(), index.cast_signed())) }
            }
            kind => match plain_dict_of(object, kind).and_then(|dict| dict.dict_key_at(index)) {
                Some(key) => Some(PyValue::Object(key)),
                None => return self.nth(index),
            },
        };
        found.map_or(Child::Absent, Child::Present)
    }

    fn element_name(self, index: usize) -> Option<Text<'f>> {
        let PyValue::Object(object) = self else { return None };
        match classes::facts(object.class()).kind {
            Kind::NamedTuple => {}
            Kind::NumpyArray => return numpy::item(object)?.element_name(index),
            _ => return None,
        }
        let name = *names_of(object)?.tuple().get(index)?;
        // SAFETY: an element of a live tuple, which the class keeps alive.
        unsafe { Ref::new(name) }.and_then(Ref::text)
    }

    fn elements<F: FnMut(Self) -> ControlFlow<()>>(self, mut visit: F) -> Walk {
        let mut mark = 0;
        loop {
            match self.elements_from(mark, &mut visit) {
                Walk::Paused(at) => mark = at,
                walk => return walk,
            }
        }
    }

    #[inline]
    fn elements_from<F: FnMut(Self) -> ControlFlow<()>>(self, mark: usize, mut visit: F) -> Walk {
        let object = match self {
            PyValue::Object(object) => object,
            PyValue::Part(part) => return part.elements(visit),
            _ => return Walk::Complete,
        };
        if object.is_exactly(&raw const ffi::PyList_Type) {
            return each(object.list(), visit);
        }
        let kind = classes::facts(object.class()).kind;
        match kind {
            Kind::List => each(object.list(), visit),
            Kind::Tuple | Kind::NamedTuple => each(object.tuple(), visit),
            Kind::Set => each_of_set(object, mark, visit),
            Kind::Deque => each_of_deque(object, visit),
            Kind::Array => each_made(deque_len(object), |index| array_element(object, index), visit),
            Kind::NumpyArray => match numpy::item(object) {
                Some(item) => item.elements_from(mark, visit),
                None => Part::whole(object).elements(visit),
            },
            Kind::Range => match range_of(object) {
                Some(range) => {
                    let len = usize::try_from(range.2).unwrap_or(0);
                    each_made(len, |index| range_element(range, index).map(PyValue::Int), visit)
                }
                None => Walk::Complete,
            },
            Kind::Keys | Kind::Values => match dict_of(object, kind) {
                Some(dict) => each_of_dict(dict, mark, |key, value| {
                    visit(PyValue::Object(if kind == Kind::Keys { key } else { value }))
                }),
                None => Walk::Complete,
            },
            _ => Walk::Complete,
        }
    }

    fn entries<F: FnMut(Self, Self) -> ControlFlow<()>>(self, mut visit: F) -> Walk {
        let mut mark = 0;
        loop {
            match self.entries_from(mark, &mut visit) {
                Walk::Paused(at) => mark = at,
                walk => return walk,
            }
        }
    }

    fn entries_from<F: FnMut(Self, Self) -> ControlFlow<()>>(self, mark: usize, mut visit: F) -> Walk {
        let PyValue::Object(object) = self else { return Walk::Complete };
        let exactly = object.is_exactly(&raw const ffi::PyDict_Type);
        let kind = if exactly { Kind::Dict } else { classes::facts(object.class()).kind };
        if kind == Kind::Dict {
            return object
                .dict_walk(mark, |key, value| visit(PyValue::Object(key), PyValue::Object(value)).is_continue());
        }
        if kind == Kind::NumpyArray
            && let Some(item) = numpy::item(object)
        {
            return item.entries_from(mark, visit);
        }
        match dict_of(object, kind) {
            Some(dict) => each_of_dict(dict, mark, |key, value| visit(PyValue::Object(key), PyValue::Object(value))),
            None => Walk::Complete,
        }
    }

    fn lookup(self, key: Text<'_>) -> Option<Child<Self>> {
        let PyValue::Object(object) = self else { return None };
        let kind = classes::facts(object.class()).kind;
        if kind == Kind::NumpyArray {
            return numpy::item(object)?.lookup(key);
        }
        let dict = dict_of(object, kind)?;
        if !dict.has_text_keys() {
            return None;
        }
        let key = Owned::text(key)?;
        Some(dict.dict_get(key.borrow()).map_or(Child::Absent, |value| Child::Present(PyValue::Object(value))))
    }

    fn fields<F: FnMut(Name<'f>, Child<Self>) -> ControlFlow<()>>(self, mut visit: F) -> Walk {
        let object = match self {
            PyValue::Object(object) => object,
            PyValue::Part(part) => return part.fields(visit),
            _ => return Walk::Complete,
        };
        let facts = classes::facts(object.class());
        if facts.kind == Kind::NamedTuple {
            return named_fields(object, visit);
        }
        if facts.kind == Kind::NumpyArray
            && let Some(item) = numpy::item(object)
        {
            return item.fields(visit);
        }
        let own = match stored(object) {
            Stored::None => ControlFlow::Continue(()),
            Stored::Dict(dict) => {
                let (mut stop, mut unread, mut mark) = (ControlFlow::Continue(()), None, 0);
                for left in (0..PATIENCE).rev() {
                    let walk = dict.dict_walk(mark, |key, value| {
                        if key.text().is_some() {
                            stop = visit(names::name(key), Child::Present(PyValue::Object(value)));
                        } else {
                            unread = Some("attributes whose names are no text");
                        }
                        stop.is_continue()
                    });
                    let Walk::Paused(at) = walk else { break };
                    mark = at;
                    if left == 0 {
                        unread = Some(EMPTIED);
                    }
                }
                if let Some(why) = unread
                    && stop.is_continue()
                {
                    stop = visit(Name::Text(Text::Utf8("?")), Child::Failed(why));
                }
                stop
            }
            Stored::Inline(fields) => inline_fields(&fields, &mut visit),
        };
        if own.is_break() || (facts.members && member_fields(object, &mut visit).is_break()) {
            return Walk::Stopped;
        }
        match facts.kind {
            Kind::Exception if exception_fields(object, &mut visit).is_break() => Walk::Stopped,
            Kind::NumpyRecord => Part::whole(object).fields(visit),
            _ => Walk::Complete,
        }
    }

    fn member(self, name: &str) -> Child<Self> {
        let Some(name) = Owned::interned(name) else { return Child::Failed("out of memory") };
        match self {
            PyValue::Object(object) => member(object, name.borrow(), None),
            PyValue::Part(part) => part.member(name.borrow()),
            _ => Child::Absent,
        }
    }

    fn message(self) -> Option<Self> {
        let PyValue::Object(object) = self else { return None };
        match classes::facts(object.class()).kind {
            Kind::Exception => {}
            Kind::NumpyArray => return numpy::item(object)?.message(),
            _ => return None,
        }
        exception::message(object)
    }

    fn label(self, out: &mut String) {
        match self {
            PyValue::Object(object) => label::push(object, classes::facts(object.class()).kind, out),
            PyValue::Part(part) => part.label(out),
            _ => {}
        }
    }
}

fn inline_fields<'f, F>(fields: &Fields, visit: &mut F) -> ControlFlow<()>
where
    F: FnMut(Name<'f>, Child<PyValue<'f>>) -> ControlFlow<()>,
{
    for position in 0..fields.count {
        // SAFETY: below the number of values that are set.
        let index = unsafe { fields.place(position) };
        if index as isize >= fields.keys {
            continue;
        }
        // SAFETY: an index of the class's shared keys, which the class keeps alive.
        let name = unsafe { Ref::new((*fields.entries.add(index as usize))[0]) };
        if let (Some(name), Some(value)) = (name, inline_value(fields, index)) {
            visit(names::name(name), Child::Present(PyValue::Object(value)))?;
        }
    }
    ControlFlow::Continue(())
}

fn member_fields<'f, F>(object: Ref<'f>, visit: &mut F) -> ControlFlow<()>
where
    F: FnMut(Name<'f>, Child<PyValue<'f>>) -> ControlFlow<()>,
{
    let members = classes::members(object.class());
    if members.iter().any(|member| member.name.is_none()) {
        return nameless_fields(object, visit);
    }
    for &member in members.iter() {
        let Some((id, redacted)) = member.name else { continue };
        if let Some(value) = read_member(object, member) {
            visit(Name::Known { id, redacted }, Child::Present(value))?;
        }
    }
    ControlFlow::Continue(())
}

/// As [`member_fields`], where not every name has a number: the names are read where the classes have them.
#[cold]
fn nameless_fields<'f, F>(object: Ref<'f>, visit: &mut F) -> ControlFlow<()>
where
    F: FnMut(Name<'f>, Child<PyValue<'f>>) -> ControlFlow<()>,
{
    let class = object.class();
    classes::each_slot(class, classes::facts(class).kind, |member, name| match read_member(object, member) {
        Some(value) => visit(names::name(name), Child::Present(value)),
        None => ControlFlow::Continue(()),
    })
}

fn named_fields<'f, F>(object: Ref<'f>, mut visit: F) -> Walk
where
    F: FnMut(Name<'f>, Child<PyValue<'f>>) -> ControlFlow<()>,
{
    let names = classes::members(object.class());
    for (position, (member, &value)) in names.iter().zip(object.tuple()).enumerate() {
        let name = match member.name {
            Some((id, redacted)) => Name::Known { id, redacted },
            None => Name::Text(PyValue::Object(object).element_name(position).unwrap_or(Text::Utf8("?"))),
        };
        // SAFETY: elements of a live tuple.
        if let Some(value) = unsafe { PyValue::new(value) }
            && visit(name, Child::Present(value)).is_break()
        {
            return Walk::Stopped;
        }
    }
    if object.tuple().len() > names.len() {
        // In place of the fields that would be those elements.
        let more = visit(Name::Text(Text::Utf8("?")), Child::Failed("it has more elements than names"));
        return if more.is_continue() { Walk::Complete } else { Walk::Stopped };
    }
    Walk::Complete
}

fn exception_fields<'f, F>(object: Ref<'f>, visit: &mut F) -> ControlFlow<()>
where
    F: FnMut(Name<'f>, Child<PyValue<'f>>) -> ControlFlow<()>,
{
    // SAFETY: a live exception; what it holds belongs to it; `None` is alive for ever.
    let (args, cause, context, suppressed, none) = unsafe {
        (
            PyValue::new(shim::strobe_exception_args(object.pointer())),
            PyValue::new(shim::strobe_exception_cause(object.pointer())),
            PyValue::new(shim::strobe_exception_context(object.pointer())),
            shim::strobe_exception_suppressed(object.pointer()) != 0,
            PyValue::new(ffi::Py_None()),
        )
    };
    let extra = [
        ("args", args),
        ("__cause__", cause.or(none)),
        ("__context__", context.or(none)),
        ("__suppress_context__", Some(PyValue::Bool(suppressed.into()))),
    ];
    for (name, value) in extra {
        if let Some(value) = value {
            visit(Name::Text(Text::Utf8(name)), Child::Present(value))?;
        }
    }
    ControlFlow::Continue(())
}

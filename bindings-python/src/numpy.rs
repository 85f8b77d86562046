//! Arrays and scalars of numpy, read from the layouts that its C interface promises. Stands on the hit's walk, under
//! [`crate::value`]. Nothing of numpy is called, and the library need not be there.

use crate::classes::{self, Kind};
use crate::label;
use crate::names;
use crate::object::{Class, Owned, Ref};
use crate::reach::{self, Memory};
use crate::value::{self, PyValue};
use pyo3::ffi;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::ControlFlow;
use stroboscope_core::host::{BigDigits, Child, Name, View, Walk};
use stroboscope_core::text::Text;

/// A numpy scalar is an object's head and the number.
const SCALAR_SIZE: isize = 24;
/// That of a date or a complex number of two doubles has one word more.
const WIDE_SIZE: isize = 32;
/// Where the number begins.
pub const SCALAR_AT: isize = 16;

/// The name of a class that C made in numpy's own way, without its package. No class of a program is one.
fn name_of(class: Class<'_>) -> Option<&str> {
    if class.has(ffi::Py_TPFLAGS_HEAPTYPE) {
        return None;
    }
    class.c_name().strip_prefix("numpy.")
}

/// How instances of a class are read, if the class is one of numpy's or inherits from such a one.
pub fn kind_of(class: Class<'_>) -> Option<Kind> {
    let root = class.ancestors().find(|ancestor| name_of(*ancestor).is_some())?;
    // SAFETY: a live class.
    let size = unsafe { (*root.pointer()).tp_basicsize };
    let kind = match name_of(root)? {
        "ndarray" => return Some(Kind::NumpyArray),
        "void" => return Some(Kind::NumpyRecord),
        "datetime64" | "timedelta64" if size == WIDE_SIZE => return Some(Kind::NumpyTime),
        "complex64" if size == SCALAR_SIZE => return Some(Kind::NumpyComplex),
        "float16" if size == SCALAR_SIZE => return Some(Kind::NumpyHalf),
        "longdouble" | "clongdouble" => return Some(Kind::Unreadable),
        "bool" | "bool_" => ffi::Py_T_BOOL,
        "int8" => ffi::Py_T_BYTE,
        "int16" => ffi::Py_T_SHORT,
        "int32" | "intc" => ffi::Py_T_INT,
        "int64" | "longlong" => ffi::Py_T_LONGLONG,
        "uint8" => ffi::Py_T_UBYTE,
        "uint16" => ffi::Py_T_USHORT,
        "uint32" | "uintc" => ffi::Py_T_UINT,
        "uint64" | "ulonglong" => ffi::Py_T_ULONGLONG,
        "float32" => ffi::Py_T_FLOAT,
        _ => return None,
    };
    (size == SCALAR_SIZE).then_some(Kind::NumpyScalar(kind))
}

/// The beginning of an array (`PyArrayObject_fields`).
#[repr(C)]
struct Head {
    object: ffi::PyObject,
    data: *const u8,
    dimensions: i32,
    lengths: *const isize,
    strides: *const isize,
    base: *mut ffi::PyObject,
    descriptor: *const Descriptor,
    flags: i32,
}

/// The beginning of a record (`PyVoidScalarObject`).
#[repr(C)]
struct Record {
    object: ffi::PyVarObject,
    data: *const u8,
    descriptor: *const Descriptor,
    flags: i32,
    base: *mut ffi::PyObject,
}

/// The flag of an array or a record that has allocated its memory and frees it.
const OWNED: i32 = 4;

/// The beginning of the description of an array's elements (`PyArray_Descr`).
#[repr(C)]
struct Descriptor {
    object: ffi::PyObject,
    class: *mut ffi::PyTypeObject,
    kind: u8,
    letter: u8,
    order: u8,
    flags: u8,
    /// `NPY_TYPES`. Those of other packages are above numpy's own, or below 0, and their letters are what they like.
    number: i32,
}

/// What stands behind the beginning of a description, by the size of its class: that of numpy 1 and that of numpy 2.
struct Rest {
    class_size: isize,
    /// The size of an element, and the bytes that it takes.
    size: usize,
    size_bytes: usize,
    subarray: usize,
    fields: usize,
    names: usize,
    time: usize,
}

const RESTS: [Rest; 2] = [
    Rest { class_size: 96, size: 32, size_bytes: 4, subarray: 40, fields: 48, names: 56, time: 80 },
    Rest { class_size: 120, size: 40, size_bytes: 8, subarray: 88, fields: 96, names: 104, time: 112 },
];

/// Where the unit stands in what is known of dates (`PyArray_DatetimeDTypeMetaData`).
const UNIT_AT: usize = 32;

/// How an element is stored.
#[derive(Clone, Copy)]
enum Stored {
    /// As `Py_T_…`.
    Number(i32),
    Object,
    Half,
    /// Of two floats.
    Complex64,
    /// Of two doubles.
    Complex128,
    /// So many code points of four bytes, zero behind the text.
    Text(usize),
    /// So many bytes, zero behind the text.
    Bytes(usize),
    /// So many bytes of no meaning.
    Raw(usize),
    Time(Unit),
    Record,
    Unknown,
}

/// What the number of a date or of a span of time counts.
#[derive(Clone, Copy)]
pub struct Unit {
    /// True for a span.
    pub span: bool,
    /// `NPY_DATETIMEUNIT`.
    pub number: i32,
    /// How many of the units.
    pub times: i32,
}

/// A field of a record: how it is stored, where it begins, and the lengths of its axes if it is an array of its own.
struct Field<'f> {
    descriptor: &'f Descriptor,
    offset: usize,
    shape: Option<Ref<'f>>,
}

impl Descriptor {
    fn rest(&self) -> Option<&'static Rest> {
        // SAFETY: a live object has a live class.
        let size = unsafe { (*self.object.ob_type).tp_basicsize };
        RESTS.iter().find(|rest| rest.class_size == size)
    }

    /// A pointer behind the beginning.
    fn pointer(&self, at: usize) -> *mut ffi::PyObject {
        // SAFETY: `rest` has told by the class's size that a pointer stands there.
        unsafe { (&raw const *self).cast::<u8>().add(at).cast::<*mut ffi::PyObject>().read_unaligned() }
    }

    /// True if its numbers are in the other byte order than this machine's (see `lib.rs`).
    fn is_swapped(&self) -> bool {
        self.order == b'>'
    }

    /// Bytes of an element.
    fn size(&self) -> Option<usize> {
        let rest = self.rest()?;
        // SAFETY: the class's size has told that the size of an element stands there, in so many bytes.
        unsafe {
            let at = (&raw const *self).cast::<u8>().add(rest.size);
            match rest.size_bytes {
                4 => usize::try_from(at.cast::<i32>().read_unaligned()).ok(),
                _ => usize::try_from(at.cast::<i64>().read_unaligned()).ok(),
            }
        }
    }

    fn stored(&self) -> Stored {
        self.known().unwrap_or(Stored::Unknown)
    }

    /// As [`Self::stored`]. The number says what an element is, its size and letter must agree.
    fn known(&self) -> Option<Stored> {
        let (size, rest) = (self.size()?, self.rest()?);
        Some(match (self.number, self.letter, size) {
            (0, b'?', 1) => Stored::Number(ffi::Py_T_BOOL),
            (1, b'b', 1) => Stored::Number(ffi::Py_T_BYTE),
            (2, b'B', 1) => Stored::Number(ffi::Py_T_UBYTE),
            (3, b'h', 2) => Stored::Number(ffi::Py_T_SHORT),
            (4, b'H', 2) => Stored::Number(ffi::Py_T_USHORT),
            (5, b'i', 4) => Stored::Number(ffi::Py_T_INT),
            (6, b'I', 4) => Stored::Number(ffi::Py_T_UINT),
            (7, b'l', 8) | (9, b'q', 8) => Stored::Number(ffi::Py_T_LONGLONG),
            (8, b'L', 8) | (10, b'Q', 8) => Stored::Number(ffi::Py_T_ULONGLONG),
            (11, b'f', 4) => Stored::Number(ffi::Py_T_FLOAT),
            (12, b'd', 8) => Stored::Number(ffi::Py_T_DOUBLE),
            (14, b'F', 8) => Stored::Complex64,
            (15, b'D', 16) => Stored::Complex128,
            (17, b'O', 8) => Stored::Object,
            (18, b'S', _) => Stored::Bytes(size),
            (19, b'U', _) => Stored::Text(size / 4),
            (23, b'e', 2) => Stored::Half,
            (21, b'M', 8) | (22, b'm', 8) => {
                let known = self.pointer(rest.time).cast::<u8>().cast_const();
                if known.is_null() {
                    return None;
                }
                // SAFETY: the descriptor of dates holds their unit and its factor there, for as long as it lives.
                let [number, times] =
                    unsafe { known.add(UNIT_AT).cast::<[[u8; 4]; 2]>().read() }.map(i32::from_ne_bytes);
                Stored::Time(Unit { span: self.letter == b'm', number, times })
            }
            (20, b'V', _) if !self.pointer(rest.subarray).is_null() => return None,
            (20, b'V', _) if self.names().is_some() => Stored::Record,
            (20, b'V', _) => Stored::Raw(size),
            _ => return None,
        })
    }

    /// The names of a record's fields.
    fn names<'f>(&self) -> Option<Ref<'f>> {
        // SAFETY: null, or a tuple that belongs to the descriptor, which lives as long as the record.
        let names = unsafe { Ref::new(self.pointer(self.rest()?.names)) }?;
        names.is_exactly(&raw const ffi::PyTuple_Type).then_some(names)
    }

    /// What numpy keeps of a field of a record: its descriptor, its place, and its title if it has one.
    fn entry<'f>(&self, name: Ref<'f>) -> Option<Ref<'f>> {
        // SAFETY: null, or what belongs to the descriptor.
        let fields = unsafe { Ref::new(self.pointer(self.rest()?.fields)) }?;
        let fields = if fields.is_dict() { fields } else { classes::proxied(fields)? };
        fields.dict_get(name)
    }

    /// The title of a field, if it is the name of a secret.
    fn secret_title<'f>(&self, name: Ref<'f>) -> Option<Ref<'f>> {
        let [_, _, title] = *self.entry(name)?.tuple() else { return None };
        // SAFETY: an element of a live tuple.
        unsafe { Ref::new(title) }.filter(|title| title.text().is_some() && names::is_redacted(*title))
    }

    /// A field of a record.
    fn field<'f>(&self, index: usize) -> Option<Field<'f>> {
        // SAFETY: an element of a live tuple.
        let name = unsafe { Ref::new(*self.names()?.tuple().get(index)?) }?;
        let [descriptor, offset, ..] = *self.entry(name)?.tuple() else { return None };
        // SAFETY: elements of a live tuple; numpy keeps a descriptor and a number there.
        let offset = unsafe { Ref::new(offset) }?.int()?;
        // SAFETY: as above; the descriptor lives as long as the record's.
        let mut descriptor = unsafe { &*descriptor.cast::<Descriptor>() };
        let mut shape = None;
        // Only descriptors of this number have one.
        let array = match descriptor.number {
            20 => descriptor.pointer(descriptor.rest()?.subarray).cast::<Subarray>(),
            _ => std::ptr::null_mut(),
        };
        if !array.is_null() {
            // SAFETY: it belongs to the descriptor, and so does what it holds.
            let array = unsafe { &*array };
            // SAFETY: as above.
            shape = unsafe { Ref::new(array.shape) };
            if array.base.is_null() || !shape?.is_exactly(&raw const ffi::PyTuple_Type) {
                return None;
            }
            // SAFETY: as above.
            descriptor = unsafe { &*array.base };
        }
        Some(Field { descriptor, offset: usize::try_from(offset).ok()?, shape })
    }
}

/// What a field is that is an array of its own (`PyArray_ArrayDescr`).
#[repr(C)]
struct Subarray {
    base: *const Descriptor,
    shape: *mut ffi::PyObject,
}

/// Who has the memory of an array or a record.
pub enum Lender<'f> {
    /// It has allocated it itself, from the first address to before the second.
    Itself { from: usize, to: usize },
    /// Another object, if one is known.
    Other(Option<Ref<'f>>),
}

/// Who has the memory of an array or a record.
pub fn lender(object: Ref<'_>) -> Lender<'_> {
    let Some(source) = Source::raw(object) else { return Lender::Other(None) };
    let (flags, base) = if classes::facts(object.class()).kind == Kind::NumpyArray {
        // SAFETY: a live array.
        let head = unsafe { &*object.pointer().cast::<Head>() };
        (head.flags, head.base)
    } else {
        // SAFETY: `raw` has found a live array or a live record, and it is no array.
        let record = unsafe { &*object.pointer().cast::<Record>() };
        (record.flags, record.base)
    };
    let lengths = source.lengths.iter().map(|length| usize::try_from(*length).unwrap_or(0));
    match source.descriptor.size() {
        Some(size) if flags & OWNED != 0 => {
            let from = source.data as usize;
            Lender::Itself { from, to: from.saturating_add(lengths.fold(size, usize::saturating_mul)) }
        }
        // SAFETY: null, or what the array or record keeps alive.
        _ => Lender::Other(unsafe { Ref::new(base) }),
    }
}

/// True if an object stands so many bytes behind the beginning of the memory that an array or record has allocated.
pub fn holds_object(owner: Ref<'_>, offset: usize) -> bool {
    let Some(Source { descriptor, .. }) = Source::raw(owner) else { return false };
    let size = descriptor.size();
    size.and_then(|size| offset.checked_rem(size)).is_some_and(|offset| is_object(descriptor, offset, MOST_RECORDS))
}

/// Records within records that are looked through for an object.
const MOST_RECORDS: u32 = 16;

/// True if an object stands so many bytes behind the beginning of an element.
fn is_object(descriptor: &Descriptor, offset: usize, most: u32) -> bool {
    let within = |field: Field<'_>| {
        let count = lengths_of(field.shape).fold(1, usize::saturating_mul);
        let size = field.descriptor.size().filter(|size| *size > 0)?;
        let place = offset.checked_sub(field.offset).filter(|place| *place < size.saturating_mul(count))?;
        is_object(field.descriptor, place % size, most - 1).then_some(())
    };
    match descriptor.stored() {
        Stored::Record if most > 0 => {
            let count = descriptor.names().map_or(0, |names| names.tuple().len());
            (0..count).filter_map(|index| descriptor.field(index)).any(|field| within(field).is_some())
        }
        Stored::Object => offset == 0,
        _ => false,
    }
}

/// The lengths of the axes of a field.
fn lengths_of(shape: Option<Ref<'_>>) -> impl Iterator<Item = usize> {
    // SAFETY: elements of a live tuple.
    let length = |&length: &*mut ffi::PyObject| unsafe { Ref::new(length) }.and_then(Ref::int);
    let lengths = shape.map_or(&[][..], Ref::tuple).iter();
    lengths.map(move |item| length(item).and_then(|length| usize::try_from(length).ok()).unwrap_or(0))
}

/// What an array or a record holds.
#[derive(Clone, Copy)]
struct Source<'f> {
    data: *const u8,
    lengths: &'f [isize],
    strides: &'f [isize],
    descriptor: &'f Descriptor,
    memory: Memory<'f>,
}

impl<'f> Source<'f> {
    /// That of an array or record, or why it cannot be read.
    fn read(object: Ref<'f>) -> Result<Self, &'static str> {
        let source = Self::raw(object).ok_or(NOT_WHOLE)?;
        let source = Source { memory: Memory::of(object), ..source };
        let nothing = source.lengths.contains(&0) || source.descriptor.size() == Some(0);
        if nothing {
            return Ok(source);
        }
        source.memory.why_not(source.data, 1).map_or(Ok(source), Err)
    }

    /// As [`Self::read`], whatever became of the memory.
    fn raw(object: Ref<'f>) -> Option<Self> {
        let memory = Memory::Gone(reach::NOT_THERE);
        match classes::facts(object.class()).kind {
            Kind::NumpyArray => {
                // SAFETY: a live array; it holds its data, lengths, strides and descriptor.
                let head = unsafe { &*object.pointer().cast::<Head>() };
                let count = usize::try_from(head.dimensions).ok()?;
                if head.data.is_null() || head.descriptor.is_null() || count > MOST_AXES {
                    return None;
                }
                let numbers = |at: *const isize| match count {
                    0 => &[][..],
                    // SAFETY: as many as there are dimensions.
                    _ => unsafe { std::slice::from_raw_parts(at, count) },
                };
                // SAFETY: as above.
                let descriptor = unsafe { &*head.descriptor };
                Some(Source {
                    data: head.data,
                    lengths: numbers(head.lengths),
                    strides: numbers(head.strides),
                    descriptor,
                    memory,
                })
            }
            Kind::NumpyRecord => {
                // SAFETY: a live record; it holds its data and descriptor.
                let record = unsafe { &*object.pointer().cast::<Record>() };
                if record.data.is_null() || record.descriptor.is_null() {
                    return None;
                }
                // SAFETY: as above.
                let descriptor = unsafe { &*record.descriptor };
                Some(Source { data: record.data, lengths: &[], strides: &[], descriptor, memory })
            }
            _ => None,
        }
    }

    /// Where the position over the first axes begins.
    fn at(&self, axes: usize, mut position: u64) -> Option<*const u8> {
        let mut at = self.data;
        for (axis, (&length, &stride)) in self.lengths.iter().zip(self.strides).enumerate().take(axes).rev() {
            let length = u64::try_from(length).ok().filter(|length| *length > 0)?;
            let index = if axis == 0 { position } else { position % length };
            if index >= length {
                return None;
            }
            position = if axis == 0 { 0 } else { position / length };
            at = at.wrapping_offset(stride.checked_mul(isize::try_from(index).ok()?)?);
        }
        Some(at)
    }

    /// What this mask says of a place in the array that it belongs to: of an element, or of a field of one.
    fn hides(&self, of: &Source<'_>, (axes, position): (u8, u64), (depth, seat): (u32, Seat)) -> Mask {
        let place = || {
            let at = self.at(axes.into(), position).filter(|_| self.lengths == of.lengths)?;
            if depth == 0 {
                return Some((at, self.descriptor));
            }
            let field = self.descriptor.field(seat.field as usize).filter(|_| depth == 1 && seat.dimensions == 0)?;
            Some((at.wrapping_add(field.offset), field.descriptor))
        };
        match place().map(|(at, descriptor)| (self.memory.number(at), descriptor.stored())) {
            Some((Some([hidden]), Stored::Number(ffi::Py_T_BOOL))) => {
                if hidden == 0 {
                    Mask::Shown
                } else {
                    Mask::Hidden
                }
            }
            // The fields of a record are hidden one by one.
            Some((_, Stored::Record)) => Mask::Shown,
            _ => Mask::Unread,
        }
    }
}

/// An array or record that the present hit has met.
#[derive(Clone, Copy)]
struct Origin {
    object: *mut ffi::PyObject,
    /// What it holds, or why it cannot be read. It lives as long as the hit.
    source: Result<Source<'static>, &'static str>,
    /// Of a masked array, the origin that its mask is.
    mask: Option<u32>,
}

/// What parts stand on: an array or record with so many of its axes decided, or a field of such a part. A part is told by
/// the number of its seat and a position, in a word; the seats are those of the present hit.
#[derive(Clone, Copy, PartialEq)]
struct Seat {
    origin: u32,
    /// The seat of the record that a field is in, or [`NONE`].
    parent: u32,
    /// How an element is described.
    descriptor: *const Descriptor,
    /// Of a field that is an array the lengths of its axes; else null.
    shape: *mut ffi::PyObject,
    /// Where the field begins, and which it is.
    offset: u32,
    field: u32,
    /// How many axes are decided, of so many.
    axes: u8,
    dimensions: u8,
}

const SEAT_BITS: u32 = 18;
const SEAT_MASK: u64 = (1 << SEAT_BITS) - 1;
/// No seat. As the number of a part's seat it says that the position is that of a reason, or of an origin that has one.
const NONE: u32 = SEAT_MASK as u32;
const MOST_POSITIONS: u64 = 1 << (64 - SEAT_BITS);
/// As many as numpy has.
const MOST_AXES: usize = 64;
/// Up to so many, the memory is kept for the next hit.
const KEPT_SEATS: usize = 1024;
/// Code points and halves of numbers that a hit copies at most, because they stand where or how they cannot be borrowed.
const MOST_COPIED: usize = 1 << 20;

/// Why something of numpy's is not read.
pub const UNKNOWN: &str = "numpy keeps it in a way that is not read";
const NOT_WHOLE: &str = "the numpy array is not whole, or has more than 64 axes";
const MASK_UNREAD: &str = "the mask of its array is not read";
const HOLDS_ITSELF: &str = "an array of no dimension that holds others, or itself";
const TOO_MUCH_COPIED: &str = "more than 4 MiB of unaligned or swapped text was met in this hit";
const REASONS: [&str; 3] = [
    "more than 262143 arrays, rows and fields of numpy were met in this hit",
    "it is beyond the first 70368744177664 elements of a numpy array",
    UNKNOWN,
];
const TOO_MANY: u64 = 0;
const TOO_FAR: u64 = 1;
const NOT_KNOWN: u64 = 2;

impl Seat {
    fn descriptor<'f>(&self) -> &'f Descriptor {
        // SAFETY: it belongs to the array or record, or to a descriptor that does, and that lives as long as the hit.
        unsafe { &*self.descriptor }
    }

    /// How long the next axis is; `None`: all are decided.
    fn length(&self) -> Option<usize> {
        if self.axes >= self.dimensions {
            return None;
        }
        let axis = usize::from(self.axes);
        if self.parent != NONE {
            return Some(self.lengths().nth(axis).unwrap_or(0));
        }
        let source = MET.origin(self.origin).and_then(|origin| origin.source.ok());
        let length = source.and_then(|source| source.lengths.get(axis).copied());
        Some(length.and_then(|length| usize::try_from(length).ok()).unwrap_or(0))
    }

    /// The lengths of the axes of a field.
    fn lengths(&self) -> impl Iterator<Item = usize> {
        // SAFETY: null, or a tuple that belongs to the field's descriptor.
        lengths_of(unsafe { Ref::new(self.shape) })
    }

    /// Of a field: how many positions its decided axes have, and how many bytes are between them.
    fn steps(&self) -> Option<(u64, u64)> {
        let size = self.descriptor().size()? as u64;
        let (mut count, mut stride) = (1u64, size);
        for (axis, length) in self.lengths().enumerate() {
            let of = if axis < usize::from(self.axes) { &mut count } else { &mut stride };
            *of = of.checked_mul(length as u64)?;
        }
        Some((count, stride))
    }
}

/// What parts of the present hit need.
struct Met {
    count: Cell<usize>,
    origins: UnsafeCell<Vec<Origin>>,
    seats: UnsafeCell<Vec<Seat>>,
    /// Numbers of origins and of seats, by what they are.
    recent_origins: [Cell<u32>; RECENT],
    recent_seats: [Cell<u32>; RECENT],
    copied: Cell<usize>,
    copies: UnsafeCell<Vec<(usize, Box<[u32]>)>>,
}

const RECENT: usize = 512;

// SAFETY: read and written by the holder of the GIL only.
unsafe impl Sync for Met {}

static MET: Met = Met {
    count: Cell::new(0),
    origins: UnsafeCell::new(Vec::new()),
    seats: UnsafeCell::new(Vec::new()),
    recent_origins: [const { Cell::new(0) }; RECENT],
    recent_seats: [const { Cell::new(0) }; RECENT],
    copied: Cell::new(0),
    copies: UnsafeCell::new(Vec::new()),
};

impl Met {
    #[inline]
    fn origin(&self, number: u32) -> Option<Origin> {
        // SAFETY: the GIL is held, so nobody writes, and nothing of it is kept.
        unsafe { (&*self.origins.get()).get(number as usize).copied() }
    }

    #[inline]
    fn seat(&self, number: u32) -> Option<Seat> {
        // SAFETY: as above.
        unsafe { (&*self.seats.get()).get(number as usize).copied() }
    }

    /// The number of an array or record.
    fn number_of(&self, object: Ref<'_>) -> Option<u32> {
        let place = object.pointer() as usize >> 4;
        let recent = &self.recent_origins[(place ^ place >> 9) % RECENT];
        if self.origin(recent.get()).is_some_and(|origin| origin.object == object.pointer()) {
            return Some(recent.get());
        }
        let mask = mask_of(object).and_then(|mask| self.add_origin(mask, None));
        let number = self.add_origin(object, mask)?;
        recent.set(number);
        Some(number)
    }

    fn add_origin(&self, object: Ref<'_>, mask: Option<u32>) -> Option<u32> {
        // SAFETY: alive as long as the hit; `forget` comes before anybody could ask later.
        let source = Source::read(unsafe { Ref::new(object.pointer()) }?);
        // SAFETY: the GIL is held, so nobody else reads or writes; nothing of it is kept.
        let origins = unsafe { &mut *self.origins.get() };
        let number = u32::try_from(origins.len()).ok().filter(|number| *number < NONE)?;
        origins.push(Origin { object: object.pointer(), source, mask });
        self.count.set(origins.len());
        Some(number)
    }

    /// The number of a seat.
    fn number(&self, seat: Seat) -> Option<u32> {
        let place = (seat.origin ^ seat.parent.wrapping_mul(7) ^ seat.field ^ u32::from(seat.axes) << 7) as usize;
        let recent = &self.recent_seats[(place ^ place >> 9) % RECENT];
        if self.seat(recent.get()) == Some(seat) {
            return Some(recent.get());
        }
        // SAFETY: as above.
        let seats = unsafe { &mut *self.seats.get() };
        let number = u32::try_from(seats.len()).ok().filter(|number| *number < NONE)?;
        seats.push(seat);
        recent.set(number);
        Some(number)
    }

    /// A copy that stays until the next hit; `None` if there are too many.
    fn copy<'f>(&self, from: *const u8, units: impl ExactSizeIterator<Item = u32>) -> Option<&'f [u32]> {
        // SAFETY: the GIL is held, so nobody else reads or writes; what is borrowed is the content of a box, which stays
        // where it is until `forget`, when the hit has ended that it was borrowed for.
        let copies = unsafe { &mut *self.copies.get() };
        // Most are looked at several times in a row.
        let same = |(known, copy): &&(usize, Box<[u32]>)| *known == from as usize && copy.len() == units.len();
        if let Some((_, copy)) = copies.last().filter(same) {
            let copy: *const [u32] = &raw const **copy;
            // SAFETY: as above.
            return Some(unsafe { &*copy });
        }
        let copied = self.copied.get() + units.len();
        if copied > MOST_COPIED {
            return None;
        }
        self.copied.set(copied);
        let copy: Box<[u32]> = units.collect();
        let units: *const [u32] = &raw const *copy;
        // SAFETY: as above.
        let borrowed = unsafe { &*units };
        copies.push((from as usize, copy));
        Some(borrowed)
    }

    #[cold]
    fn clear(&self) {
        // SAFETY: the GIL is held, so nobody else reads or writes, and no hit is under way that has parts.
        let (origins, seats, copies) =
            unsafe { (&mut *self.origins.get(), &mut *self.seats.get(), &mut *self.copies.get()) };
        origins.clear();
        origins.shrink_to(KEPT_SEATS);
        seats.clear();
        seats.shrink_to(KEPT_SEATS);
        *copies = Vec::new();
        self.copied.set(0);
        self.count.set(0);
    }
}

/// A hit begins: nothing is left of the one before.
#[inline]
pub fn forget() {
    if MET.count.get() != 0 {
        MET.clear();
    }
    reach::forget();
}

/// A part of an array or record that is no object: a row, an element, a field of an element.
#[derive(Clone, Copy)]
pub struct Part<'f> {
    /// The number of the seat, then the position over all axes that are decided, those of the outermost record first.
    word: u64,
    life: PhantomData<&'f Head>,
}

/// True if an element is hidden by a mask.
enum Mask {
    Shown,
    Hidden,
    Unread,
}

impl<'f> Part<'f> {
    /// All of an array or record.
    pub fn whole(object: Ref<'f>) -> Self {
        let origin = MET.number_of(object);
        let Some((origin, known)) = origin.and_then(|origin| Some((origin, MET.origin(origin)?))) else {
            return Self::failed(TOO_MANY);
        };
        let Ok(source) = known.source else { return Self::failed(REASONS.len() as u64 + u64::from(origin)) };
        let seat = Seat {
            origin,
            parent: NONE,
            descriptor: source.descriptor,
            shape: std::ptr::null_mut(),
            offset: 0,
            field: 0,
            axes: 0,
            dimensions: u8::try_from(source.lengths.len()).unwrap_or(u8::MAX),
        };
        Self::on(seat, 0)
    }

    fn new(number: u32, position: u64) -> Self {
        if position >= MOST_POSITIONS {
            return Self::failed(TOO_FAR);
        }
        Part { word: u64::from(number) | position << SEAT_BITS, life: PhantomData }
    }

    fn on(seat: Seat, position: u64) -> Self {
        MET.number(seat).map_or_else(|| Self::failed(TOO_MANY), |number| Self::new(number, position))
    }

    fn failed(reason: u64) -> Self {
        Part { word: SEAT_MASK | reason << SEAT_BITS, life: PhantomData }
    }

    fn position(self) -> u64 {
        self.word >> SEAT_BITS
    }

    fn number(self) -> u32 {
        (self.word & SEAT_MASK) as u32
    }

    /// What it stands on, or why it is not read.
    #[inline]
    fn seat(self) -> Result<Seat, &'static str> {
        MET.seat(self.number()).ok_or_else(|| self.reason())
    }

    #[cold]
    fn reason(self) -> &'static str {
        let known = REASONS.get(self.position() as usize).copied();
        let of_origin = || MET.origin((self.position() - REASONS.len() as u64) as u32)?.source.err();
        known.or_else(of_origin).unwrap_or(UNKNOWN)
    }

    /// A number that no other part has, and no object: two parts are one if they are the same memory.
    pub fn identity(self) -> u64 {
        let place = self.seat().ok().and_then(|seat| self.place(seat));
        place.map_or(self.word, |(place, _)| place.at as u64) << 1 | 1
    }

    /// Where it stands, and what its mask says.
    fn place(self, seat: Seat) -> Option<(Place<'f>, Mask)> {
        let (mut level, mut position, mut offset, mut depth) = (seat, self.position(), 0u64, 0);
        while level.parent != NONE {
            let (count, stride) = level.steps()?;
            offset += u64::from(level.offset) + position.checked_rem(count)? * stride;
            position /= count;
            level = MET.seat(level.parent)?;
            depth += 1;
        }
        let origin = MET.origin(level.origin)?;
        let source = origin.source.ok()?;
        let at = source.at(level.axes.into(), position)?.wrapping_add(usize::try_from(offset).ok()?);
        let mask = match origin.mask {
            None => Mask::Shown,
            Some(mask) => MET
                .origin(mask)
                .and_then(|mask| mask.source.ok())
                .map_or(Mask::Unread, |mask| mask.hides(&source, (level.axes, position), (depth, seat))),
        };
        Some((Place { at, memory: source.memory, descriptor: seat.descriptor() }, mask))
    }

    /// The class that it shows.
    pub fn class(self) -> Option<Class<'f>> {
        let seat = self.seat().ok()?;
        if seat.axes < seat.dimensions {
            if seat.parent != NONE {
                return array_class();
            }
            // SAFETY: noted in this hit, and alive as long as it lasts.
            return unsafe { Ref::new(MET.origin(seat.origin)?.object) }.map(Ref::class);
        }
        // SAFETY: the descriptor keeps the class alive.
        unsafe { Class::new(seat.descriptor().class) }
    }

    /// What it is.
    pub fn view(self) -> View<'f> {
        let seat = match self.seat() {
            Ok(seat) => seat,
            Err(reason) => return View::Unreadable(reason),
        };
        if let Some(length) = seat.length() {
            return View::List(length);
        }
        match self.place(seat) {
            Some((place, Mask::Shown)) => place.view(),
            Some((_, Mask::Hidden)) => View::Null,
            Some((_, Mask::Unread)) => View::Unreadable(MASK_UNREAD),
            None => View::Unreadable(UNKNOWN),
        }
    }

    /// The part, or the object that it is.
    fn settled(self) -> PyValue<'f> {
        let Ok(seat) = self.seat() else { return PyValue::Part(self) };
        if seat.axes < seat.dimensions || !matches!(seat.descriptor().stored(), Stored::Object) {
            return PyValue::Part(self);
        }
        let Some((place, Mask::Shown)) = self.place(seat) else { return PyValue::Part(self) };
        place.memory.value(place.at, ffi::Py_T_OBJECT_EX).unwrap_or(PyValue::Part(self))
    }

    /// Where the elements of a row are to be found: the number of their seat, the position of the first, and how many.
    fn row(self) -> Option<(Option<u32>, u64, usize)> {
        let seat = self.seat().ok()?;
        let length = seat.length()?;
        let first = self.position().checked_mul(length as u64).unwrap_or(MOST_POSITIONS);
        Some((MET.number(Seat { axes: seat.axes + 1, ..seat }), first, length))
    }

    /// An element of a row.
    pub fn element(self, index: usize) -> Option<PyValue<'f>> {
        let (number, first, length) = self.row()?;
        (index < length).then(|| Self::within(number, first, index))
    }

    fn within(number: Option<u32>, first: u64, index: usize) -> PyValue<'f> {
        let position = first.saturating_add(index as u64);
        number.map_or_else(|| Self::failed(TOO_MANY), |number| Self::new(number, position)).settled()
    }

    /// Visits the elements of a row.
    pub fn elements(self, mut visit: impl FnMut(PyValue<'f>) -> ControlFlow<()>) -> Walk {
        let Some((number, first, length)) = self.row() else { return Walk::Complete };
        for index in 0..length {
            if visit(Self::within(number, first, index)).is_break() {
                return Walk::Stopped;
            }
        }
        Walk::Complete
    }

    fn field(self, seat: Seat, index: usize) -> PyValue<'f> {
        let made = || {
            let field = seat.descriptor().field(index)?;
            Some(Seat {
                origin: seat.origin,
                parent: self.number(),
                descriptor: field.descriptor,
                shape: field.shape.map_or(std::ptr::null_mut(), Ref::pointer),
                offset: u32::try_from(field.offset).ok()?,
                field: u32::try_from(index).ok()?,
                axes: 0,
                dimensions: u8::try_from(field.shape.map_or(0, |shape| shape.tuple().len())).ok()?,
            })
        };
        made().map_or_else(|| Self::failed(NOT_KNOWN), |made| Self::on(made, self.position())).settled()
    }

    /// What it stands on and the names of its fields, if it is a record.
    fn record(self) -> Option<(Seat, Ref<'f>)> {
        let seat = self.seat().ok().filter(|seat| seat.axes >= seat.dimensions)?;
        let descriptor = seat.descriptor();
        matches!(descriptor.stored(), Stored::Record).then(|| descriptor.names()).flatten().map(|names| (seat, names))
    }

    /// Visits the fields of a record.
    pub fn fields(self, mut visit: impl FnMut(Name<'f>, Child<PyValue<'f>>) -> ControlFlow<()>) -> Walk {
        let Some((seat, names)) = self.record() else { return Walk::Complete };
        let descriptor = seat.descriptor();
        for (index, &name) in names.tuple().iter().enumerate() {
            // SAFETY: an element of a live tuple.
            let Some(name) = (unsafe { Ref::new(name) }) else { continue };
            let shown = match (names::name(name), descriptor.secret_title(name)) {
                (Name::Known { id, .. }, Some(_)) => Name::Known { id, redacted: true },
                (Name::Text(_), Some(title)) => Name::Text(title.text().unwrap_or(Text::Utf8("?"))),
                (shown, None) => shown,
            };
            if visit(shown, Child::Present(self.field(seat, index))).is_break() {
                return Walk::Stopped;
            }
        }
        Walk::Complete
    }

    /// A field of a record by its name.
    pub fn member(self, name: Ref<'_>) -> Child<PyValue<'f>> {
        let Some((seat, index, secret)) = self.named(name) else { return Child::Absent };
        if secret { Child::Failed("the field's title is redacted") } else { Child::Present(self.field(seat, index)) }
    }

    /// The place of a field in its record, and whether its title is the name of a secret.
    fn named(self, name: Ref<'_>) -> Option<(Seat, usize, bool)> {
        let (seat, names) = self.record()?;
        let wanted = name.text()?;
        let same = |&name: &*mut ffi::PyObject| {
            // SAFETY: an element of a live tuple.
            unsafe { Ref::new(name) }.and_then(Ref::text).is_some_and(|name| name.same(wanted))
        };
        let index = names.tuple().iter().position(same)?;
        // SAFETY: an element of a live tuple.
        let name = unsafe { Ref::new(*names.tuple().get(index)?) }?;
        Some((seat, index, seat.descriptor().secret_title(name).is_some()))
    }

    /// The text of a date.
    pub fn label(self, out: &mut String) {
        let Ok(seat) = self.seat() else { return };
        if let Stored::Time(unit) = seat.descriptor().stored()
            && let Some((place, Mask::Shown)) = self.place(seat)
            && let Some(time) = place.number(0)
        {
            label::push_numpy_time(i64::from_le_bytes(time), unit, out);
        }
    }
}

/// How many arrays of no dimension are opened that hold each other.
const MOST_ITEMS: usize = 8;

/// What an array of no dimension holds, and stands for; `None` for any other array.
pub fn item(array: Ref<'_>) -> Option<PyValue<'_>> {
    let (mut at, mut found) = (array, None);
    for _ in 0..MOST_ITEMS {
        if classes::facts(at.class()).kind != Kind::NumpyArray
            || !Source::raw(at).is_some_and(|source| source.lengths.is_empty())
        {
            return found;
        }
        match Part::whole(at).settled() {
            PyValue::Object(object) => (at, found) = (object, Some(PyValue::Object(object))),
            part => return Some(part),
        }
    }
    Some(PyValue::Part(Part::whole(at)))
}

/// The mask of a masked array, if it has one.
fn mask_of(array: Ref<'_>) -> Option<Ref<'_>> {
    let class = array.class();
    // `ndarray` itself is made by C.
    if !class.has(ffi::Py_TPFLAGS_HEAPTYPE) {
        return None;
    }
    let is_masked = |class: Class<'_>| {
        let module = class.module();
        class.qualified_name().same(Text::Utf8("MaskedArray"))
            && ["numpy.ma", "numpy.ma.core"].iter().any(|name| module.same(Text::Utf8(name)))
    };
    if !class.ancestors().any(is_masked) {
        return None;
    }
    let mask = value::stored_field(array, Owned::interned("_mask")?.borrow())?;
    (classes::facts(mask.class()).kind == Kind::NumpyArray).then_some(mask)
}

/// The class of arrays, where no array of a row is at hand: numpy is loaded if there are records.
fn array_class<'f>() -> Option<Class<'f>> {
    // SAFETY: the modules that are loaded, which the interpreter keeps; what is in them lives as long as the hit.
    let modules = unsafe { Ref::new(ffi::PyImport_GetModuleDict()) }.filter(|modules| modules.is_dict())?;
    let class = modules.dict_get_text("numpy")?.module_dict()?.dict_get_text("ndarray")?.as_class()?;
    (name_of(class) == Some("ndarray")).then_some(class)
}

/// Where an element stands.
struct Place<'f> {
    at: *const u8,
    memory: Memory<'f>,
    descriptor: &'f Descriptor,
}

impl<'f> Place<'f> {
    /// A number so many bytes behind the beginning, in this machine's order.
    fn number<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let mut bytes = self.memory.number(self.at.wrapping_add(offset))?;
        if self.descriptor.is_swapped() {
            bytes.reverse();
        }
        Some(bytes)
    }

    /// What the element is.
    fn view(&self) -> View<'f> {
        self.known().unwrap_or_else(|| View::Unreadable(self.why_not()))
    }

    fn known(&self) -> Option<View<'f>> {
        let single = |offset| self.number(offset).map(|bytes| f64::from(f32::from_le_bytes(bytes)));
        let double = |offset| self.number(offset).map(f64::from_le_bytes);
        Some(match self.descriptor.stored() {
            Stored::Number(kind) => return self.plain(kind),
            // An object takes the place of its part, unless no end is seen of it.
            Stored::Object if self.memory.value(self.at, ffi::Py_T_OBJECT_EX).is_some() => {
                View::Unreadable(HOLDS_ITSELF)
            }
            Stored::Object => {
                let why = self.memory.why_not(self.at, 8).or_else(|| self.memory.why_no_object(self.at));
                why.map_or(View::Null, View::Unreadable)
            }
            Stored::Half => View::Float(half(u16::from_le_bytes(self.number(0)?))),
            Stored::Complex64 => View::Complex(single(0)?, single(4)?),
            Stored::Complex128 => View::Complex(double(0)?, double(8)?),
            Stored::Text(count) => return self.text(count),
            Stored::Bytes(count) => {
                let bytes = self.memory.bytes(self.at, count)?;
                View::Bytes(bytes.get(..length(bytes)?)?)
            }
            Stored::Raw(count) => View::Bytes(self.memory.bytes(self.at, count)?),
            Stored::Time(_) => self.number::<8>(0).map(|_| View::Scalar)?,
            Stored::Record => View::Object,
            Stored::Unknown => return None,
        })
    }

    /// A number as `Py_T_…` says.
    fn plain(&self, kind: i32) -> Option<View<'f>> {
        macro_rules! int {
            ($kind:ty) => {
                View::Int(i64::from(<$kind>::from_le_bytes(self.number(0)?)))
            };
        }
        Some(match kind {
            ffi::Py_T_BOOL => View::Bool(self.number(0)? != [0]),
            ffi::Py_T_BYTE => int!(i8),
            ffi::Py_T_UBYTE => int!(u8),
            ffi::Py_T_SHORT => int!(i16),
            ffi::Py_T_USHORT => int!(u16),
            ffi::Py_T_INT => int!(i32),
            ffi::Py_T_UINT => int!(u32),
            ffi::Py_T_LONGLONG => int!(i64),
            ffi::Py_T_FLOAT => View::Float(f32::from_le_bytes(self.number(0)?).into()),
            ffi::Py_T_DOUBLE => View::Float(f64::from_le_bytes(self.number(0)?)),
            _ => {
                let value = u64::from_le_bytes(self.number(0)?);
                let halves = [value as u32, (value >> 32) as u32].into_iter();
                match i64::try_from(value) {
                    Ok(value) => View::Int(value),
                    Err(_) => MET.copy(self.at, halves).map_or(View::Unreadable(TOO_MUCH_COPIED), |digits| {
                        View::Big(BigDigits { negative: false, digits, bits: 32 })
                    }),
                }
            }
        })
    }

    /// A text of so many code points at most. In this machine's order and aligned it is borrowed, else copied: elements of
    /// packed records stand anywhere.
    fn text(&self, count: usize) -> Option<View<'f>> {
        let bytes = self.memory.bytes(self.at, count * 4)?;
        let used = length(bytes)?.div_ceil(4);
        let swapped = self.descriptor.is_swapped();
        if let Some(first) = aligned::<u32>(bytes.as_ptr()).filter(|_| !swapped) {
            // SAFETY: that many code points and more are there, aligned, and stay as they are for the hit.
            return Some(View::Str(Text::Ucs4(unsafe { std::slice::from_raw_parts(first, used) })));
        }
        let unit = |unit: &[u8]| {
            let number = unit.try_into().map_or(0, u32::from_le_bytes);
            if swapped { number.swap_bytes() } else { number }
        };
        let copy = MET.copy(self.at, bytes.chunks_exact(4).take(used).map(unit));
        Some(copy.map_or(View::Unreadable(TOO_MUCH_COPIED), |units| View::Str(Text::Ucs4(units))))
    }

    /// Why the bytes of an element cannot be had.
    #[cold]
    fn why_not(&self) -> &'static str {
        let stored = self.descriptor.stored();
        let size = match stored {
            Stored::Number(kind) => reach::size_of(kind).unwrap_or(0),
            Stored::Half => 2,
            Stored::Object | Stored::Complex64 | Stored::Time(_) => 8,
            Stored::Complex128 => 16,
            Stored::Text(count) => count * 4,
            Stored::Bytes(count) | Stored::Raw(count) => count,
            Stored::Record | Stored::Unknown => return UNKNOWN,
        };
        if let Some(why) = self.memory.why_not(self.at, size) {
            return why;
        }
        if self.memory.bytes(self.at, size).is_some() { PADDED } else { TOO_LONG }
    }
}

const TOO_LONG: &str = "it is in memory of others, and too long to be copied";
const PADDED: &str = "there are too many zeros behind it";
/// Zeros behind a text that are looked through: numpy has no other mark of its end.
const MOST_PADDING: usize = 256 * 1024;

/// The length of a text without the zeros behind it; `None` if they are too many.
fn length(bytes: &[u8]) -> Option<usize> {
    let mut end = bytes.len();
    for piece in bytes.rchunks(4096) {
        // Without an early end the processor takes many at once.
        if piece.iter().fold(0, |all, byte| all | byte) != 0 {
            let last = piece.iter().rposition(|byte| *byte != 0)?;
            return Some(end - piece.len() + last + 1);
        }
        end -= piece.len();
        if bytes.len() - end >= MOST_PADDING && end > 0 {
            return None;
        }
    }
    Some(0)
}

/// A scalar of two bytes.
pub fn half_scalar(object: Ref<'_>) -> f64 {
    // SAFETY: asked of such scalars only, by their kind.
    half(unsafe { object.pointer().cast::<u8>().wrapping_offset(SCALAR_AT).cast::<u16>().read_unaligned() })
}

/// A scalar of two floats.
pub fn complex_scalar<'f>(object: Ref<'_>) -> View<'f> {
    // SAFETY: asked of such scalars only, by their kind.
    complex64(unsafe { object.pointer().cast::<u8>().wrapping_offset(SCALAR_AT).cast::<[u8; 8]>().read_unaligned() })
}

/// The number of a date and what it counts.
pub fn time_scalar(object: Ref<'_>) -> (i64, Unit) {
    let place = object.pointer().cast::<u8>().wrapping_offset(SCALAR_AT);
    // SAFETY: asked of such scalars only, by their kind, whose size was looked at.
    let (value, unit, times) = unsafe {
        (
            place.cast::<i64>().read_unaligned(),
            place.add(8).cast::<i32>().read_unaligned(),
            place.add(12).cast::<i32>().read_unaligned(),
        )
    };
    let span = object.class().ancestors().any(|class| name_of(class) == Some("timedelta64"));
    (value, Unit { span, number: unit, times })
}

/// A pointer to a number of another size, if it is one that may be read as such.
#[allow(clippy::cast_ptr_alignment, reason = "it is looked at")]
pub fn aligned<T>(place: *const u8) -> Option<*const T> {
    let place = place.cast::<T>();
    place.is_aligned().then_some(place)
}

fn complex64<'f>(bytes: [u8; 8]) -> View<'f> {
    let [a, b, c, d, rest @ ..] = bytes;
    View::Complex(f32::from_ne_bytes([a, b, c, d]).into(), f32::from_ne_bytes(rest).into())
}

/// A float of two bytes.
fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF) / 1024.0);
    sign * match exponent {
        0 => fraction * 2f64.powi(-14),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + fraction) * 2f64.powi(exponent - 15),
    }
}

//! Arrays and scalars of numpy, read from the layouts that its C interface promises. Stands on the hit's walk, under
//! [`crate::value`]. Nothing of numpy is called, and the library need not be there.

use crate::classes::{self, Kind};
use crate::label;
use crate::names;
use crate::object::{Class, Ref};
use crate::reach::{self, Memory};
use crate::value::PyValue;
use pyo3::ffi;
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use stroboscope_core::host::{Child, Name, Value, View, Walk};
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
    Half,
    /// Of two floats.
    Complex64,
    /// Of two doubles.
    Complex128,
    /// So many code points of four bytes, zero behind the text.
    Text(usize),
    /// So many bytes, zero behind the text.
    Bytes(usize),
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
        if self.order == b'>' {
            return None;
        }
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
            (17, b'O', 8) => Stored::Number(ffi::Py_T_OBJECT_EX),
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
            (20, b'V', _) if self.pointer(rest.subarray).is_null() && self.names().is_some() => Stored::Record,
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

    /// How a field of a record is stored, and where it begins.
    fn field<'f>(&self, index: usize) -> Option<(&'f Descriptor, usize)> {
        // SAFETY: an element of a live tuple.
        let name = unsafe { Ref::new(*self.names()?.tuple().get(index)?) }?;
        let [descriptor, offset, ..] = *self.entry(name)?.tuple() else { return None };
        // SAFETY: elements of a live tuple; numpy keeps a descriptor and a number there.
        let offset = unsafe { Ref::new(offset) }?.int()?;
        // SAFETY: as above; the descriptor lives as long as the record's.
        Some((unsafe { &*descriptor.cast::<Descriptor>() }, usize::try_from(offset).ok()?))
    }
}

/// The elements of an array of one dimension, if they are plain numbers or objects.
#[derive(Clone, Copy)]
pub struct Elements<'f> {
    data: *const u8,
    /// How many there are.
    pub len: usize,
    stride: isize,
    /// How each is stored, as `Py_T_…`.
    kind: i32,
    memory: Memory<'f>,
}

impl<'f> Elements<'f> {
    /// Those of an array.
    pub fn of(array: Ref<'f>) -> Option<Self> {
        let Source { data, lengths, strides, descriptor, memory } = Source::of(array)?;
        let ([length], [stride]) = (lengths, strides) else { return None };
        let Stored::Number(kind) = descriptor.stored() else { return None };
        Some(Elements { data, len: usize::try_from(*length).ok()?, stride: *stride, kind, memory })
    }

    /// An element, if it is there.
    #[inline]
    pub fn get(self, index: usize) -> Option<PyValue<'f>> {
        let offset = isize::try_from(index).ok().filter(|_| index < self.len)?.checked_mul(self.stride)?;
        self.memory.value(self.data.wrapping_offset(offset), self.kind)
    }
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
    let (flags, base) = match classes::facts(object.class()).kind {
        Kind::NumpyArray => {
            // SAFETY: a live array.
            let head = unsafe { &*object.pointer().cast::<Head>() };
            (head.flags, head.base)
        }
        _ => {
            // SAFETY: `raw` has found a live array or a live record, and it is no array.
            let record = unsafe { &*object.pointer().cast::<Record>() };
            (record.flags, record.base)
        }
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
    let Some(offset) = descriptor.size().and_then(|size| offset.checked_rem(size)) else { return false };
    let is_object = |descriptor: &Descriptor| matches!(descriptor.stored(), Stored::Number(ffi::Py_T_OBJECT_EX));
    match descriptor.stored() {
        Stored::Record => {
            let count = descriptor.names().map_or(0, |names| names.tuple().len());
            let mut fields = (0..count).filter_map(|index| descriptor.field(index));
            fields.any(|(field, at)| at == offset && is_object(field))
        }
        _ => is_object(descriptor) && offset == 0,
    }
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
    /// That of an array or record that can be read.
    fn of(object: Ref<'f>) -> Option<Self> {
        Self::read(object).ok()
    }

    /// As [`Self::of`], or why it cannot be read.
    fn read(object: Ref<'f>) -> Result<Self, &'static str> {
        let source = Self::raw(object).ok_or("it has too many dimensions")?;
        let source = Source { memory: Memory::of(object), ..source };
        let nothing = source.lengths.contains(&0) || source.descriptor.size() == Some(0);
        if nothing {
            return Ok(source);
        }
        source.memory.why_not(source.data, 1).map_or(Ok(source), Err)
    }

    /// As [`Self::of`], whatever became of the memory.
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
}

/// Arrays and records of the present hit, by number: what stands in one is told by this number and a position, in a word.
struct Met {
    count: Cell<usize>,
    objects: [Cell<*mut ffi::PyObject>; MOST_MET],
}

const MOST_MET: usize = 1024;
const MOST_AXES: usize = 62;
/// Fields of a record; one number more stands for no field.
const MOST_FIELDS: u64 = 254;
const MOST_POSITIONS: u64 = 1 << 40;

// SAFETY: read and written by the holder of the GIL only.
unsafe impl Sync for Met {}

static MET: Met = Met { count: Cell::new(0), objects: [const { Cell::new(std::ptr::null_mut()) }; MOST_MET] };

/// A hit begins: nothing is left of the one before.
#[inline]
pub fn forget() {
    MET.count.set(0);
    reach::forget();
}

/// Why an array or record cannot be read; `None` if it can, or there are too many of them.
pub fn why_not(object: Ref<'_>) -> Option<&'static str> {
    Source::read(object).err()
}

/// A part of an array or record that is no object: a row, an element, a field of an element.
#[derive(Clone, Copy)]
pub struct Part<'f> {
    /// From the lowest bit: the number of the array (10), the axes that are decided (6), the field and one, or 0 (8), the
    /// position over the decided axes (40).
    word: u64,
    life: PhantomData<&'f Head>,
}

impl<'f> Part<'f> {
    /// All of an array or record.
    pub fn whole(object: Ref<'f>) -> Option<Self> {
        Source::of(object)?;
        let count = MET.count.get();
        let known = MET.objects[..count].iter().rposition(|known| known.get() == object.pointer());
        let number = if let Some(number) = known {
            number
        } else {
            MET.objects.get(count)?.set(object.pointer());
            MET.count.set(count + 1);
            count
        };
        Some(Part { word: number as u64, life: PhantomData })
    }

    fn with(self, axes: usize, field: u64, position: u64) -> Option<Self> {
        let fits = axes <= MOST_AXES && field <= MOST_FIELDS && position < MOST_POSITIONS;
        let word = self.word & 0x3FF | (axes as u64) << 10 | field << 16 | position << 24;
        fits.then_some(Part { word, ..self })
    }

    /// A number that no other part has, and no object.
    pub fn identity(self) -> u64 {
        self.word << 1 | 1
    }

    fn axes(self) -> usize {
        (self.word >> 10 & 0x3F) as usize
    }

    fn object(self) -> Option<Ref<'f>> {
        let object = MET.objects.get((self.word & 0x3FF) as usize)?.get();
        // SAFETY: noted in this hit, by `whole`, which was given it for as long as this lives.
        unsafe { Ref::new(object) }
    }

    /// The source, how many of an axis are left to be decided (none: an element), how an element is stored and where.
    fn read(self) -> Option<Place<'f>> {
        let source = Source::of(self.object()?)?;
        let axes = self.axes();
        let (mut at, mut position) = (source.data, self.word >> 24);
        for (&length, &stride) in source.lengths.iter().zip(source.strides).take(axes).rev() {
            let length = u64::try_from(length).ok().filter(|length| *length > 0)?;
            at = at.wrapping_offset(stride.checked_mul(isize::try_from(position % length).ok()?)?);
            position /= length;
        }
        let mut descriptor = source.descriptor;
        if let Some(field) = (self.word >> 16 & 0xFF).checked_sub(1) {
            let (of_field, offset) = descriptor.field(field as usize)?;
            (descriptor, at) = (of_field, at.wrapping_add(offset));
        }
        let left = source.lengths.get(axes).map(|length| usize::try_from(*length).unwrap_or(0));
        Some(Place { at, left, dimensions: source.lengths.len(), descriptor, memory: source.memory })
    }

    /// The class that it shows.
    pub fn class(self) -> Option<Class<'f>> {
        let place = self.read()?;
        let class = match place.descriptor.stored() {
            _ if place.left.is_some() => return self.object().map(Ref::class),
            Stored::Text(_) => &raw mut ffi::PyUnicode_Type,
            Stored::Bytes(_) => &raw mut ffi::PyBytes_Type,
            Stored::Complex64 | Stored::Complex128 => &raw mut ffi::PyComplex_Type,
            _ => place.descriptor.class,
        };
        // SAFETY: a static class, or one that the descriptor keeps alive.
        unsafe { Class::new(class) }
    }

    /// What it is.
    pub fn view(self) -> View<'f> {
        let Some(place) = self.read() else { return View::Object };
        match place.left {
            Some(left) => View::List(left),
            None => place.view().unwrap_or(View::Object),
        }
    }

    /// The part, or the number or object that it is.
    fn settled(self) -> PyValue<'f> {
        let number =
            self.read().filter(|place| place.left.is_none()).and_then(|place| match place.descriptor.stored() {
                Stored::Number(kind) => place.memory.value(place.at, kind),
                Stored::Half => {
                    let bits = place.memory.number(place.at).map(u16::from_ne_bytes)?;
                    Some(PyValue::Float(half(bits).to_bits()))
                }
                _ => None,
            });
        number.unwrap_or(PyValue::Part(self))
    }

    /// Why an element cannot be had; `None` for a row, and for one that can.
    pub fn why_not(self) -> Option<&'static str> {
        self.read().filter(|place| place.left.is_none())?.why_not()
    }

    /// An element of a row.
    pub fn element(self, index: usize) -> Option<PyValue<'f>> {
        let place = self.read()?;
        let Some(left) = place.left else {
            return (place.dimensions == 0 && index == 0).then(|| self.settled());
        };
        let position = (self.word >> 24).checked_mul(left as u64)?.checked_add(index as u64)?;
        (index < left).then(|| self.with(self.axes() + 1, 0, position)).flatten().map(Part::settled)
    }

    /// Visits the elements of a row.
    pub fn elements(self, mut visit: impl FnMut(PyValue<'f>) -> ControlFlow<()>) -> Walk {
        let View::List(length) = self.view() else { return Walk::Complete };
        for index in 0..length {
            let Some(element) = self.element(index) else { return Walk::Changed };
            if visit(element).is_break() {
                return Walk::Stopped;
            }
        }
        Walk::Complete
    }

    fn field(self, index: usize) -> Option<PyValue<'f>> {
        self.with(self.axes(), index as u64 + 1, self.word >> 24).map(Part::settled)
    }

    /// True for a record that may be looked into: one within a record may not.
    fn is_record(self) -> bool {
        let place = self.read();
        let open = |place: &Place<'_>| {
            place.left.is_none()
                && matches!(place.descriptor.stored(), Stored::Record)
                && (self.word >> 16).trailing_zeros() >= 8
        };
        place.as_ref().is_some_and(open)
    }

    /// Visits the fields of a record; says so of what cannot be read.
    pub fn fields(self, mut visit: impl FnMut(Name<'f>, Child<PyValue<'f>>) -> ControlFlow<()>) -> Walk {
        // One that is empty is asked for them: it has none.
        if matches!(self.view(), View::List(_)) {
            return Walk::Complete;
        }
        let place = self.read();
        let descriptor = place.as_ref().filter(|_| self.is_record()).map(|place| place.descriptor);
        let Some((descriptor, names)) = descriptor.and_then(|descriptor| Some((descriptor, descriptor.names()?)))
        else {
            let why = place.and_then(|place| place.why_not());
            return unreadable(why.unwrap_or("numpy keeps it in a way that is not read"), visit);
        };
        for (index, &name) in names.tuple().iter().enumerate() {
            // SAFETY: an element of a live tuple.
            let Some(name) = (unsafe { Ref::new(name) }) else { continue };
            let child = self.field(index).map_or(Child::Failed("there are too many fields"), Child::Present);
            let shown = match (names::name(name), descriptor.secret_title(name)) {
                (Name::Known { id, .. }, Some(_)) => Name::Known { id, redacted: true },
                (Name::Text(_), Some(title)) => Name::Text(title.text().unwrap_or(Text::Utf8("?"))),
                (shown, None) => shown,
            };
            if visit(shown, child).is_break() {
                return Walk::Stopped;
            }
        }
        Walk::Complete
    }

    /// A field of a record by its name.
    pub fn member(self, name: Ref<'_>) -> Child<PyValue<'f>> {
        let Some((index, secret)) = self.named(name) else { return Child::Absent };
        if secret {
            Child::Failed("the field's title is redacted")
        } else {
            self.field(index).map_or(Child::Absent, PyValue::child)
        }
    }

    /// The place of a field in its record, and whether its title is the name of a secret.
    fn named(self, name: Ref<'_>) -> Option<(usize, bool)> {
        let descriptor = self.read().filter(|_| self.is_record())?.descriptor;
        let names = descriptor.names()?;
        let wanted = name.text()?;
        // SAFETY: elements of a live tuple.
        let same = |&name: &*mut ffi::PyObject| {
            // SAFETY: an element of a live tuple.
            unsafe { Ref::new(name) }.and_then(Ref::text).is_some_and(|name| name.same(wanted))
        };
        let index = names.tuple().iter().position(same)?;
        // SAFETY: an element of a live tuple.
        let name = unsafe { Ref::new(*names.tuple().get(index)?) }?;
        Some((index, descriptor.secret_title(name).is_some()))
    }

    /// The text of a date.
    pub fn label(self, out: &mut String) {
        if let Some(place) = self.read()
            && let Stored::Time(unit) = place.descriptor.stored()
            && let Some(time) = place.memory.number(place.at)
        {
            label::push_numpy_time(i64::from_ne_bytes(time), unit, out);
        }
    }
}

/// Where a part stands.
struct Place<'f> {
    at: *const u8,
    /// How many elements a row has; `None`: it is an element.
    left: Option<usize>,
    dimensions: usize,
    descriptor: &'f Descriptor,
    memory: Memory<'f>,
}

impl<'f> Place<'f> {
    /// What the element is; `None` if it cannot be read.
    fn view(&self) -> Option<View<'f>> {
        let (at, memory) = (self.at, self.memory);
        Some(match self.descriptor.stored() {
            // An array may hold itself: what it is must not depend on what it holds.
            Stored::Number(ffi::Py_T_OBJECT_EX) if self.dimensions == 0 => View::List(1),
            Stored::Number(kind) => match memory.value(at, kind) {
                Some(number) => number.view(),
                None if kind == ffi::Py_T_OBJECT_EX && self.why_not().is_none() => View::Null,
                None => return None,
            },
            Stored::Half => View::Float(half(memory.number(at).map(u16::from_ne_bytes)?)),
            Stored::Complex64 => complex64(memory.number(at)?),
            Stored::Complex128 => {
                let (real, imaginary) = (memory.number(at)?, memory.number(at.wrapping_add(8))?);
                View::Complex(f64::from_ne_bytes(real), f64::from_ne_bytes(imaginary))
            }
            Stored::Text(count) => {
                let bytes = memory.bytes(at, count * 4)?;
                // Numbers of two bytes and more need not be aligned in an array.
                let first = aligned::<u32>(bytes.as_ptr())?;
                let length = length(bytes)?.div_ceil(4);
                // SAFETY: that many code points and more are there, aligned, and stay as they are for the hit.
                View::Str(Text::Ucs4(unsafe { std::slice::from_raw_parts(first, length) }))
            }
            Stored::Bytes(count) => {
                let bytes = memory.bytes(at, count)?;
                View::Bytes(bytes.get(..length(bytes)?)?)
            }
            Stored::Time(_) => memory.number::<8>(at).map(|_| View::Scalar)?,
            Stored::Record | Stored::Unknown => return None,
        })
    }

    /// Why the bytes of an element cannot be had; `None` if they can, or nobody knows how they are kept.
    fn why_not(&self) -> Option<&'static str> {
        let size = match self.descriptor.stored() {
            Stored::Number(kind) => reach::size_of(kind)?,
            Stored::Half => 2,
            Stored::Complex64 | Stored::Time(_) => 8,
            Stored::Complex128 => 16,
            Stored::Text(count) => count * 4,
            Stored::Bytes(count) => count,
            Stored::Record | Stored::Unknown => return None,
        };
        let why = self.memory.why_not(self.at, size);
        match self.descriptor.stored() {
            _ if why.is_some() => why,
            Stored::Number(ffi::Py_T_OBJECT_EX) => self.memory.why_no_object(self.at),
            Stored::Text(_) | Stored::Bytes(_) => match self.memory.bytes(self.at, size) {
                Some(bytes) => length(bytes).is_none().then_some(PADDED),
                None => Some(TOO_LONG),
            },
            _ => None,
        }
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

/// Says in place of the fields why there are none.
pub fn unreadable<'f>(
    why: &'static str,
    mut visit: impl FnMut(Name<'f>, Child<PyValue<'f>>) -> ControlFlow<()>,
) -> Walk {
    match visit(Name::Text(Text::Utf8("?")), Child::Failed(why)) {
        ControlFlow::Continue(()) => Walk::Complete,
        ControlFlow::Break(()) => Walk::Stopped,
    }
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

//! A borrowed Python object and class, and the reads of them that run nothing of the program. Stands on the hit's walk:
//! [`crate::value`] and [`crate::frame`] come before, `shim.c` after.

use crate::shim;
use pyo3::ffi::{self, PyObject, PyTypeObject};
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;
use stroboscope_core::host::Walk;
use stroboscope_core::text::Text;

/// Empty places of a table after which a walk pauses: a few hundred kilobytes.
pub const EMPTY: usize = 16 * 1024;

/// An object that is alive, with the GIL held, for `'f`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Ref<'f> {
    pointer: NonNull<PyObject>,
    life: PhantomData<&'f PyObject>,
}

/// A class that is alive, with the GIL held, for `'f`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Class<'f> {
    pointer: NonNull<PyTypeObject>,
    life: PhantomData<&'f PyTypeObject>,
}

/// The name of a static class, or the text of a C string.
fn c_text<'f>(text: *const std::ffi::c_char) -> &'f str {
    if text.is_null() {
        return "";
    }
    // SAFETY: not null; CPython's names are C strings that live as long as the class or function that owns them.
    unsafe { CStr::from_ptr(text) }.to_str().unwrap_or("")
}

/// A slice of object pointers; empty for null.
///
/// # Safety
/// `items` is null or points to `length` readable pointers for `'f`.
unsafe fn pointers<'f>(items: *const *mut PyObject, length: isize) -> &'f [*mut PyObject] {
    match usize::try_from(length) {
        // SAFETY: as the caller promises.
        Ok(length) if !items.is_null() => unsafe { std::slice::from_raw_parts(items, length) },
        _ => &[],
    }
}

/// A slice of bytes; empty for null.
///
/// # Safety
/// `bytes` is null or points to `length` readable bytes for `'f`.
unsafe fn bytes<'f>(bytes: *const u8, length: isize) -> &'f [u8] {
    match usize::try_from(length) {
        // SAFETY: as the caller promises.
        Ok(length) if !bytes.is_null() => unsafe { std::slice::from_raw_parts(bytes, length) },
        _ => &[],
    }
}

/// The layout of an `int`; `shim.c` checks it when it is compiled.
#[repr(C)]
struct IntObject {
    base: PyObject,
    tag: usize,
    first_digit: u32,
}

/// The value of an `int` of one digit, as most are.
///
/// # Safety
/// The object is a live `int`.
#[inline]
pub unsafe fn small_int(object: *mut PyObject) -> Option<i64> {
    const ONE_DIGIT: usize = 2 << 3;
    let number = object.cast::<IntObject>();
    // SAFETY: as the caller promises; an `int` always has room for a digit.
    let (tag, digit) = unsafe { ((*number).tag, (*number).first_digit) };
    // The sign is in the two lowest bits: 0 above zero, 1 zero, 2 below.
    (tag < ONE_DIGIT).then(|| (1 - (tag & 3) as i64) * i64::from(digit))
}

/// The head of a `str`; `shim.c` checks it when it is compiled, the self-test its bits when the module starts.
#[repr(C)]
struct TextHead {
    base: PyObject,
    length: isize,
    hash: isize,
    state: u32,
}

/// The bits of a `str` whose ASCII text stands right behind its head.
const COMPACT_ASCII: u32 = 0b11 << 5;

impl<'f> Ref<'f> {
    /// Borrows an object; `None` for null.
    ///
    /// # Safety
    /// The pointer is null, or its object stays alive and the GIL stays held for `'f`.
    #[inline]
    pub unsafe fn new(pointer: *mut PyObject) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Ref { pointer, life: PhantomData })
    }

    /// The object's address.
    #[inline]
    pub fn pointer(self) -> *mut PyObject {
        self.pointer.as_ptr()
    }

    /// The object's class.
    #[inline]
    pub fn class(self) -> Class<'f> {
        // SAFETY: the object is alive; every object has a class, which it keeps alive.
        let class = unsafe { (*self.pointer()).ob_type };
        // SAFETY: `ob_type` of a live object is never null.
        Class { pointer: unsafe { NonNull::new_unchecked(class) }, life: PhantomData }
    }

    /// The same object as a class, if it is one.
    pub fn as_class(self) -> Option<Class<'f>> {
        self.class()
            .has(ffi::Py_TPFLAGS_TYPE_SUBCLASS)
            .then_some(Class { pointer: self.pointer.cast(), life: PhantomData })
    }

    /// True if the object's class is exactly this one.
    #[inline]
    pub fn is_exactly(self, class: *const PyTypeObject) -> bool {
        std::ptr::eq(self.class().pointer(), class)
    }

    /// True for an exact `str`.
    #[inline]
    pub fn is_text(self) -> bool {
        self.is_exactly(&raw const ffi::PyUnicode_Type)
    }

    /// The text of a compact ASCII string, as most are; `None` for any other.
    ///
    /// # Safety
    /// The object is a `str` or of a subclass of it.
    #[inline]
    pub unsafe fn ascii(self) -> Option<&'f str> {
        // SAFETY: a live `str`; compact ASCII stands right behind the head, immutable while the string lives.
        unsafe {
            let head = self.pointer().cast::<TextHead>();
            if (*head).state & COMPACT_ASCII != COMPACT_ASCII {
                return None;
            }
            let length = usize::try_from((*head).length).unwrap_or(0);
            Some(std::str::from_utf8_unchecked(std::slice::from_raw_parts(head.add(1).cast(), length)))
        }
    }

    /// The text of a `str` or of a subclass of it.
    #[inline]
    pub fn text(self) -> Option<Text<'f>> {
        if !self.class().has(ffi::Py_TPFLAGS_UNICODE_SUBCLASS) {
            return None;
        }
        // SAFETY: a live `str`.
        if let Some(text) = unsafe { self.ascii() } {
            return Some(Text::Utf8(text));
        }
        let (mut data, mut length) = (std::ptr::null(), 0);
        // SAFETY: a live `str`; both outputs are ours.
        let width = unsafe { shim::strobe_text(self.pointer(), &raw mut data, &raw mut length) };
        let length = usize::try_from(length).ok().filter(|_| !data.is_null()).unwrap_or(0);
        if length == 0 {
            return Some(Text::Utf8(""));
        }
        // SAFETY: `data` holds `length` code points of the width reported, immutable while the string lives; ASCII is UTF-8.
        Some(unsafe {
            match width {
                0 => Text::Utf8(std::str::from_utf8_unchecked(std::slice::from_raw_parts(data.cast(), length))),
                1 => Text::Latin1(std::slice::from_raw_parts(data.cast(), length)),
                2 => Text::Ucs2(std::slice::from_raw_parts(data.cast(), length)),
                _ => Text::Ucs4(std::slice::from_raw_parts(data.cast(), length)),
            }
        })
    }

    /// The integer of an `int` (or a subclass), if it fits.
    #[inline]
    pub fn int(self) -> Option<i64> {
        if !self.class().has(ffi::Py_TPFLAGS_LONG_SUBCLASS) {
            return None;
        }
        // SAFETY: a live `int`.
        if let Some(value) = unsafe { small_int(self.pointer()) } {
            return Some(value);
        }
        let mut value = 0;
        // SAFETY: a live `int`; the output is ours.
        (unsafe { shim::strobe_int(self.pointer(), &raw mut value) } != 0).then_some(value)
    }

    /// The digits of an `int`, least significant first, and whether it is below zero.
    pub fn digits(self) -> Option<(&'f [u32], bool)> {
        if !self.class().has(ffi::Py_TPFLAGS_LONG_SUBCLASS) {
            return None;
        }
        let (mut count, mut negative) = (0, 0);
        // SAFETY: a live `int`; the outputs are ours.
        let digits = unsafe { shim::strobe_digits(self.pointer(), &raw mut count, &raw mut negative) };
        // SAFETY: an `int` holds `count` immutable digits.
        Some((unsafe { std::slice::from_raw_parts(digits, count) }, negative != 0))
    }

    /// The elements of a `list` or of a subclass of it. Valid until Python code runs.
    #[inline]
    pub fn list(self) -> &'f [*mut PyObject] {
        if !self.class().has(ffi::Py_TPFLAGS_LIST_SUBCLASS) {
            return &[];
        }
        // SAFETY: a live `list`; nothing changes it while no Python code runs, and none does in a hit.
        unsafe {
            let list = self.pointer().cast::<ffi::PyListObject>();
            pointers((*list).ob_item, (*list).ob_base.ob_size)
        }
    }

    /// The elements of a `tuple` or of a subclass of it.
    #[inline]
    pub fn tuple(self) -> &'f [*mut PyObject] {
        if !self.class().has(ffi::Py_TPFLAGS_TUPLE_SUBCLASS) {
            return &[];
        }
        // SAFETY: a live `tuple`, which is immutable.
        unsafe {
            let tuple = self.pointer().cast::<ffi::PyTupleObject>();
            pointers((&raw const (*tuple).ob_item).cast(), (*tuple).ob_base.ob_size)
        }
    }

    /// The bytes of a `bytes`, `bytearray` or plain `memoryview`, or of a subclass.
    pub fn bytes(self) -> Option<&'f [u8]> {
        let class = self.class();
        let mut length = 0;
        let data = if class.has(ffi::Py_TPFLAGS_BYTES_SUBCLASS) {
            // SAFETY: a live `bytes`.
            unsafe { shim::strobe_bytes(self.pointer(), &raw mut length) }
        } else if class.is_subclass_of(&raw const ffi::PyByteArray_Type) {
            // SAFETY: a live `bytearray`.
            unsafe { shim::strobe_bytearray(self.pointer(), &raw mut length) }
        } else if class.is_subclass_of(&raw const ffi::PyMemoryView_Type) {
            // SAFETY: a live `memoryview`; null if its buffer was released or is not plain bytes.
            let data = unsafe { shim::strobe_memoryview(self.pointer(), &raw mut length) };
            if data.is_null() {
                return None;
            }
            data
        } else {
            return None;
        };
        // SAFETY: `length` bytes that do not move while no Python code runs, and none does in a hit.
        Some(unsafe { bytes(data, length) })
    }

    /// True for a `dict` or a subclass of it.
    #[inline]
    pub fn is_dict(self) -> bool {
        self.class().has(ffi::Py_TPFLAGS_DICT_SUBCLASS)
    }

    /// The number of entries of a dict; 0 for anything else.
    pub fn dict_len(self) -> usize {
        if !self.is_dict() {
            return 0;
        }
        // SAFETY: a live dict.
        usize::try_from(unsafe { shim::strobe_dict_len(self.pointer()) }).unwrap_or(0)
    }

    /// The value of a string key of a dict, found by the key's own text and never by `__eq__`.
    #[inline]
    pub fn dict_get(self, name: Ref<'_>) -> Option<Ref<'f>> {
        if !self.is_dict() || !name.is_text() {
            return None;
        }
        // SAFETY: a live dict and a live exact `str`; hashing one runs no code of the program. The value belongs to the dict.
        unsafe {
            Ref::new(shim::strobe_dict_find(self.pointer(), name.pointer(), shim::strobe_text_hash(name.pointer())))
        }
    }

    /// As [`Ref::dict_get`], with a name made for the call.
    pub fn dict_get_text(self, name: &str) -> Option<Ref<'f>> {
        let name = Owned::text(Text::Utf8(name))?;
        self.dict_get(name.borrow())
    }

    /// True if all keys of a dict are exact strings.
    pub fn has_text_keys(self) -> bool {
        // SAFETY: asked of a live dict only.
        self.is_dict() && unsafe { shim::strobe_dict_text_keys(self.pointer()) } != 0
    }

    /// Visits the entries of a dict in the order of its table, until the visitor says stop (false).
    pub fn dict_entries(self, mut visit: impl FnMut(Ref<'f>, Ref<'f>) -> bool) -> bool {
        let mut mark = 0;
        loop {
            match self.dict_walk(mark, &mut visit) {
                Walk::Paused(at) => mark = at,
                walk => return walk == Walk::Complete,
            }
        }
    }

    /// As [`Ref::dict_entries`], from a mark on. It pauses where [`EMPTY`] deleted entries were passed.
    #[inline]
    pub fn dict_walk(self, mark: usize, mut visit: impl FnMut(Ref<'f>, Ref<'f>) -> bool) -> Walk {
        if !self.is_dict() {
            return Walk::Complete;
        }
        let mut table = shim::Table::empty();
        // SAFETY: a live dict; the output is ours.
        if unsafe { shim::strobe_dict_table(self.pointer(), &raw mut table) } != 0 {
            let mut entry = table.entries.wrapping_add(table.step * mark);
            let mut empty = 0;
            for index in mark..table.count {
                // SAFETY: one of the table's entries; both objects belong to the dict, which cannot change while no Python
                // code runs. A deleted entry has no value.
                let (key, value) = unsafe { (Ref::new(*entry), Ref::new(*entry.add(1))) };
                entry = entry.wrapping_add(table.step);
                if let (Some(key), Some(value)) = (key, value) {
                    if !visit(key, value) {
                        return Walk::Stopped;
                    }
                    continue;
                }
                empty += 1;
                if empty == EMPTY {
                    return Walk::Paused(index + 1);
                }
            }
            return Walk::Complete;
        }
        let (mut position, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: a live dict, which cannot change while no Python code runs; the outputs are ours.
        while unsafe { ffi::PyDict_Next(self.pointer(), &raw mut position, &raw mut key, &raw mut value) } != 0 {
            // SAFETY: both belong to the dict.
            let (Some(key), Some(value)) = (unsafe { Ref::new(key) }, unsafe { Ref::new(value) }) else { continue };
            if !visit(key, value) {
                return Walk::Stopped;
            }
        }
        Walk::Complete
    }

    /// The key at a position, if it can be told without a walk: no entry was deleted.
    pub fn dict_key_at(self, index: usize) -> Option<Ref<'f>> {
        let mut table = shim::Table::empty();
        // SAFETY: asked of a live dict only; the output is ours.
        let known = self.is_dict() && unsafe { shim::strobe_dict_table(self.pointer(), &raw mut table) } != 0;
        if !known || table.count != self.dict_len() || index >= table.count {
            return None;
        }
        // SAFETY: one of the table's entries, which all have a key that belongs to the dict.
        unsafe { Ref::new(*table.entries.wrapping_add(table.step * index)) }
    }

    /// The namespace of a module.
    pub fn module_dict(self) -> Option<Ref<'f>> {
        if !self.class().is_subclass_of(&raw const ffi::PyModule_Type) {
            return None;
        }
        // SAFETY: a live module; its namespace belongs to it.
        unsafe { Ref::new(shim::strobe_module_dict(self.pointer())) }
    }
}

impl<'f> Class<'f> {
    /// Borrows a class; `None` for null.
    ///
    /// # Safety
    /// The pointer is null, or its class stays alive and the GIL stays held for `'f`.
    pub unsafe fn new(pointer: *mut PyTypeObject) -> Option<Self> {
        NonNull::new(pointer).map(|pointer| Class { pointer, life: PhantomData })
    }

    /// A class of CPython's own, which is never freed.
    ///
    /// # Safety
    /// The pointer is the address of one of CPython's static classes.
    pub unsafe fn of_static(pointer: *mut PyTypeObject) -> Self {
        // SAFETY: as the caller promises.
        Class { pointer: unsafe { NonNull::new_unchecked(pointer) }, life: PhantomData }
    }

    /// The class's address.
    #[inline]
    pub fn pointer(self) -> *mut PyTypeObject {
        self.pointer.as_ptr()
    }

    /// The class as an object.
    pub fn object(self) -> Ref<'f> {
        Ref { pointer: self.pointer.cast(), life: PhantomData }
    }

    /// True if the class has a flag of `Py_TPFLAGS_…`.
    #[inline]
    pub fn has(self, flag: std::ffi::c_ulong) -> bool {
        // SAFETY: a live class.
        unsafe { (*self.pointer()).tp_flags & flag != 0 }
    }

    /// A number that changes when the class does and that no other class ever has; 0 if it has none just now.
    #[inline]
    pub fn version(self) -> u32 {
        // SAFETY: a live class.
        unsafe { (*self.pointer()).tp_version_tag }
    }

    /// As [`Class::version`]; asks CPython to give the class a number if it has none.
    pub fn assigned_version(self) -> u32 {
        // SAFETY: a live class.
        unsafe { shim::strobe_type_assign_version(self.pointer()) }
    }

    /// True if the class is `of` or inherits from it.
    pub fn is_subclass_of(self, of: *const PyTypeObject) -> bool {
        // SAFETY: two live classes; only the resolution order is read.
        unsafe { shim::strobe_subtype(self.pointer(), of.cast_mut()) != 0 }
    }

    /// The class and its ancestors, nearest first.
    pub fn ancestors(self) -> impl Iterator<Item = Class<'f>> {
        // SAFETY: the resolution order of a live class is null or a tuple that lives as long as the class is not changed.
        let order = unsafe { Ref::new(shim::strobe_type_mro(self.pointer())) };
        let order: &'f [*mut PyObject] = order.map_or(&[], Ref::tuple);
        // SAFETY: a tuple's elements belong to it.
        order.iter().filter_map(|&class| unsafe { Ref::new(class) }.and_then(Ref::as_class))
    }

    /// The class's own namespace.
    pub fn dict(self) -> Option<Ref<'f>> {
        // SAFETY: a live class keeps its namespace.
        unsafe { Ref::new(shim::strobe_type_dict(self.pointer())) }
    }

    /// What a name means in the class or its nearest ancestor that has it, unbound.
    pub fn lookup(self, name: Ref<'_>) -> Option<Ref<'f>> {
        self.ancestors().find_map(|class| class.dict()?.dict_get(name))
    }

    /// True if instances of this class act when read as an attribute of a class.
    pub fn is_descriptor(self) -> bool {
        // SAFETY: a live class.
        unsafe { shim::strobe_type_has_get(self.pointer()) != 0 }
    }

    /// True if instances of this class go before an instance's own fields.
    pub fn is_data_descriptor(self) -> bool {
        // SAFETY: a live class.
        unsafe { shim::strobe_type_has_set(self.pointer()) != 0 }
    }

    /// True if reading an attribute that is not there runs no code but CPython's.
    pub fn reads_plainly(self) -> bool {
        // SAFETY: a live class.
        unsafe { shim::strobe_type_plain_getattr(self.pointer()) != 0 }
    }

    /// True if instances have a `__next__`.
    pub fn has_next(self) -> bool {
        // SAFETY: a live class.
        unsafe { shim::strobe_type_has_next(self.pointer()) != 0 }
    }

    /// True for a class on the heap that C made for a module: no `class` statement and no call of `type` makes such a one.
    pub fn is_of_c_module(self) -> bool {
        // SAFETY: a live class.
        unsafe { shim::strobe_type_is_of_module(self.pointer()) != 0 }
    }

    /// The address of the code that shows its instances: that of all copies of one class of C's.
    pub fn code(self) -> usize {
        // SAFETY: a live class.
        unsafe { shim::strobe_type_code(self.pointer()) as usize }
    }

    /// The full C name of a class that C made (`collections.deque`); the bare one of any other.
    pub fn c_name(self) -> &'f str {
        // SAFETY: a live class.
        c_text(unsafe { shim::strobe_type_tp_name(self.pointer()) })
    }

    /// `__qualname__`.
    pub fn qualified_name(self) -> Text<'f> {
        // SAFETY: a live class; the name belongs to it.
        unsafe { Ref::new(shim::strobe_type_qualname(self.pointer())) }
            .and_then(Ref::text)
            .unwrap_or_else(|| Text::Utf8(last_part(self.c_name())))
    }

    /// `__name__`.
    pub fn bare_name(self) -> Text<'f> {
        // SAFETY: a live class; the name belongs to it.
        unsafe { Ref::new(shim::strobe_type_name(self.pointer())) }
            .and_then(Ref::text)
            .unwrap_or_else(|| Text::Utf8(last_part(self.c_name())))
    }

    /// The module that the class says it is from.
    pub fn module(self) -> Text<'f> {
        if self.has(ffi::Py_TPFLAGS_HEAPTYPE)
            && let Some(module) = self.dict().and_then(|dict| dict.dict_get_text("__module__")).and_then(Ref::text)
        {
            return module;
        }
        let name = self.c_name();
        Text::Utf8(name.rfind('.').map_or("builtins", |dot| &name[..dot]))
    }
}

fn last_part(name: &str) -> &str {
    name.rfind('.').map_or(name, |dot| &name[dot + 1..])
}

/// The name of a built-in function.
pub fn builtin_name(function: Ref<'_>) -> &str {
    // SAFETY: asked of live built-in functions only (see the caller's kind).
    c_text(unsafe { shim::strobe_builtin_name(function.pointer()) })
}

/// A strong reference of ours. Dropped only with the GIL held, and only ever to strings, code, classes and functions, whose
/// end runs no code of the program or which somebody else holds as well.
pub struct Owned(NonNull<PyObject>);

// SAFETY: used and dropped under the GIL only; see the type.
unsafe impl Send for Owned {}
// SAFETY: as above.
unsafe impl Sync for Owned {}

impl Owned {
    /// Takes over a new reference; `None` for null, with CPython's error cleared.
    ///
    /// # Safety
    /// The GIL is held; the pointer is null or a reference that the caller owns.
    pub unsafe fn take(pointer: *mut PyObject) -> Option<Self> {
        let owned = NonNull::new(pointer).map(Owned);
        if owned.is_none() {
            // SAFETY: the GIL is held. What failed is our own allocation; the program must not see the error.
            unsafe { ffi::PyErr_Clear() };
        }
        owned
    }

    /// Keeps an object.
    pub fn keep(object: Ref<'_>) -> Self {
        // SAFETY: the object is alive and the GIL is held.
        unsafe { ffi::Py_INCREF(object.pointer()) };
        Owned(object.pointer)
    }

    /// A new string.
    pub fn text(text: Text<'_>) -> Option<Self> {
        let bytes = |text: &str| {
            let length = isize::try_from(text.len()).ok()?;
            // SAFETY: `length` readable bytes of UTF-8; callers hold the GIL, as for everything here.
            unsafe { Self::take(ffi::PyUnicode_FromStringAndSize(text.as_ptr().cast(), length)) }
        };
        let wide = |kind: i32, data: *const std::ffi::c_void, length: usize| {
            let length = isize::try_from(length).ok()?;
            // SAFETY: `length` readable code points of the kind's width; the GIL is held.
            unsafe { Self::take(ffi::PyUnicode_FromKindAndData(kind, data, length)) }
        };
        match text {
            Text::Utf8(text) => bytes(text),
            Text::Latin1(units) => wide(1, units.as_ptr().cast(), units.len()),
            Text::Ucs2(units) => wide(2, units.as_ptr().cast(), units.len()),
            Text::Ucs4(units) => wide(4, units.as_ptr().cast(), units.len()),
            Text::Utf16(_) => bytes(&text.to_text()),
        }
    }

    /// A string that CPython shares with every equal name.
    pub fn interned(name: &str) -> Option<Self> {
        let own = std::mem::ManuallyDrop::new(Self::text(Text::Utf8(name))?);
        let mut pointer = own.0.as_ptr();
        // SAFETY: a string whose reference is ours (it is not dropped above); interning trades it for the shared one's.
        unsafe {
            ffi::PyUnicode_InternInPlace(&raw mut pointer);
            Self::take(pointer)
        }
    }

    /// Borrows it.
    #[inline]
    pub fn borrow(&self) -> Ref<'_> {
        Ref { pointer: self.0, life: PhantomData }
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: the reference is ours, and the GIL is held (see the type).
        unsafe { ffi::Py_DECREF(self.0.as_ptr()) };
    }
}

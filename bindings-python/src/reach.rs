//! Whose memory an array or a `memoryview` shows, and a way to read it where nobody promises that it is still there. Stands
//! on the hit's walk, under [`crate::value`] and [`crate::numpy`].
//!
//! numpy lets go of a buffer as soon as it has its address: the map behind an array may be closed, its file cut short, the
//! block freed. A program that never touches the array again runs on; a plain read of ours would end it. So memory that a
//! living object owns, as far as it reaches, is read as it stands, and all other is copied by the system, which answers
//! with an error where a read would end in a signal.

use crate::classes::{self, Kind};
use crate::names::Held;
use crate::numpy::{self, Lender};
use crate::object::{Class, Ref};
use crate::shim;
use crate::value::{self, PyValue};
use pyo3::ffi;
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Lenders that are asked one after the other.
const MOST_LENDERS: usize = 16;
/// The system's pages are multiples of this.
const PAGE: usize = 4096;
/// Pages whose copies are at hand.
const WINDOWS: usize = 16;
/// Bytes of one text, or of the beginning of a view, that are copied at most.
pub const LONGEST: usize = 64 * 1024;
/// Bytes that are kept for one hit.
const MOST_KEPT: usize = 1024 * 1024;

/// Why memory is not read.
pub const NOT_THERE: &str = "its memory is not there any more, or the system does not copy it";
const OUTSIDE: &str = "it lies outside of the memory that it is a view of";
const CLOSED: &str = "the memory map that it shows was closed";
const RELEASED: &str = "it was released, or it is not one piece of memory";

/// The memory that something shows.
#[derive(Clone, Copy)]
pub enum Memory<'f> {
    /// That of a living object, from the first address to before the second.
    Kept {
        from: usize,
        to: usize,
        /// The array that has allocated it, if it is one.
        array: Option<Ref<'f>>,
    },
    /// Somebody's, or nobody's; what is shown can only be between these addresses.
    Lent { from: usize, to: usize },
    /// None: a reason.
    Gone(&'static str),
}

impl<'f> Memory<'f> {
    const ANY: Memory<'f> = Memory::Lent { from: 0, to: usize::MAX };

    fn kept(bytes: &[u8]) -> Self {
        let from = bytes.as_ptr() as usize;
        Memory::Kept { from, to: from + bytes.len(), array: None }
    }

    /// That of an array, a record, or what lends to one.
    pub fn of(object: Ref<'f>) -> Self {
        let mut object = object;
        for _ in 0..MOST_LENDERS {
            let lender = match classes::facts(object.class()).kind {
                Kind::NumpyArray | Kind::NumpyRecord => match numpy::lender(object) {
                    Lender::Itself { from, to } => return Memory::Kept { from, to, array: Some(object) },
                    Lender::Other(lender) => lender,
                },
                Kind::Bytes if object.class().is_subclass_of(&raw const ffi::PyMemoryView_Type) => {
                    // SAFETY: a live memoryview; null if it was released or nobody lends; the lender belongs to it.
                    unsafe { Ref::new(shim::strobe_memoryview_lender(object.pointer())) }
                }
                Kind::Bytes => return object.bytes().map_or(Self::ANY, Self::kept),
                Kind::Array => return Self::of_array(object),
                _ => return Self::of_map(object),
            };
            let Some(lender) = lender else { return Self::ANY };
            object = lender;
        }
        Self::ANY
    }

    fn of_array(object: Ref<'_>) -> Self {
        let (mut length, mut code, mut size) = (0, 0, 0);
        // SAFETY: a live `array.array`; the outputs are ours.
        let items = unsafe { shim::strobe_array(object.pointer(), &raw mut length, &raw mut code, &raw mut size) };
        let bytes = usize::try_from(length).unwrap_or(0).saturating_mul(usize::try_from(size).unwrap_or(0));
        let from = items as usize;
        Memory::Kept { from, to: from.saturating_add(bytes), array: None }
    }

    /// That of a memory map. Its file may be shorter by now, so that it is never kept.
    fn of_map(object: Ref<'_>) -> Self {
        let is_map = |class: Class<'_>| {
            // SAFETY: a live class.
            class.c_name() == "mmap.mmap" && unsafe { shim::strobe_type_is_of_module(class.pointer()) } != 0
        };
        if !object.class().ancestors().any(is_map) {
            return Self::ANY;
        }
        let mut length = 0;
        // SAFETY: a live `mmap.mmap`; the output is ours.
        let data = unsafe { shim::strobe_map(object.pointer(), &raw mut length) } as usize;
        match usize::try_from(length) {
            Ok(length) if data != 0 => Memory::Lent { from: data, to: data.saturating_add(length) },
            _ => Memory::Gone(CLOSED),
        }
    }

    /// True if so many bytes at a place are a living object's.
    #[inline]
    fn keeps(self, at: *const u8, size: usize) -> bool {
        match self {
            Memory::Kept { from, to, .. } => {
                let at = at as usize;
                at >= from && at <= to && size <= to - at
            }
            _ => false,
        }
    }

    /// True if bytes at a place may be asked of the system.
    fn lends(self, at: *const u8, size: usize) -> bool {
        match self {
            Memory::Lent { from, to } => {
                let at = at as usize;
                at >= from && at <= to && size <= to - at
            }
            _ => false,
        }
    }

    /// Why bytes at a place cannot be had; `None` if they can.
    pub fn why_not(self, at: *const u8, size: usize) -> Option<&'static str> {
        if self.keeps(at, size) {
            return None;
        }
        match self {
            Memory::Gone(why) => Some(why),
            Memory::Kept { .. } => Some(OUTSIDE),
            Memory::Lent { .. } if !self.lends(at, size) => Some(CLOSED),
            Memory::Lent { .. } => {
                let ends = [at, at.wrapping_add(size.max(1) - 1)];
                ends.iter().any(|end| self.number::<1>(*end).is_none()).then_some(NOT_THERE)
            }
        }
    }

    /// The bytes of a number.
    #[inline]
    pub fn number<const N: usize>(self, at: *const u8) -> Option<[u8; N]> {
        if self.keeps(at, N) {
            // SAFETY: inside the memory of a living object.
            return Some(unsafe { at.cast::<[u8; N]>().read_unaligned() });
        }
        let mut bytes = [0; N];
        (self.lends(at, N) && look(at as usize, &mut bytes)).then_some(bytes)
    }

    /// So many bytes of a text, which stay as they are for the hit. A text that is lent may not be too long.
    pub fn bytes(self, at: *const u8, size: usize) -> Option<&'f [u8]> {
        if self.keeps(at, size) {
            // SAFETY: inside the memory of a living object, which does not move while no Python code runs.
            return Some(unsafe { std::slice::from_raw_parts(at, size) });
        }
        if size > LONGEST || !self.lends(at, size) {
            return None;
        }
        keep(at as usize, size)
    }

    /// A number or an object, stored as `Py_T_…`. An object is told by what stands in an array of objects only.
    #[inline]
    pub fn value(self, at: *const u8, kind: i32) -> Option<PyValue<'f>> {
        let size = size_of(kind)?;
        if self.keeps(at, size) {
            if kind == ffi::Py_T_OBJECT_EX && !self.holds_object(at) {
                return None;
            }
            return value::read_place(at, kind);
        }
        match kind {
            ffi::Py_T_OBJECT_EX => None,
            // May be given away by its place.
            ffi::Py_T_ULONGLONG => value::read_place(self.bytes(at, size)?.as_ptr(), kind),
            _ => {
                let mut number = [0; 8];
                (self.lends(at, size) && look(at as usize, number.get_mut(..size)?)).then_some(())?;
                value::read_place(number.as_ptr(), kind)
            }
        }
    }

    /// Why an object at a place is not read; `None` if one stands there.
    pub fn why_no_object(self, at: *const u8) -> Option<&'static str> {
        (!self.holds_object(at)).then_some("what stands there may be no object")
    }

    fn holds_object(self, at: *const u8) -> bool {
        match self {
            Memory::Kept { from, array: Some(array), .. } => numpy::holds_object(array, at as usize - from),
            _ => false,
        }
    }
}

/// The bytes of a number that is stored as `Py_T_…`.
pub fn size_of(kind: i32) -> Option<usize> {
    Some(match kind {
        ffi::Py_T_BOOL | ffi::Py_T_BYTE | ffi::Py_T_UBYTE => 1,
        ffi::Py_T_SHORT | ffi::Py_T_USHORT => 2,
        ffi::Py_T_INT | ffi::Py_T_UINT | ffi::Py_T_FLOAT => 4,
        ffi::Py_T_LONGLONG | ffi::Py_T_ULONGLONG | ffi::Py_T_DOUBLE | ffi::Py_T_OBJECT_EX => 8,
        _ => return None,
    })
}

/// What a `bytes`, `bytearray` or `memoryview` shows: its beginning, or all of it, and how long it is; else why not.
pub fn shown(object: Ref<'_>) -> Result<(&[u8], usize), &'static str> {
    if !object.class().is_subclass_of(&raw const ffi::PyMemoryView_Type) {
        return object.bytes().map(|bytes| (bytes, bytes.len())).ok_or(RELEASED);
    }
    let mut length = 0;
    // SAFETY: a live `memoryview`; null if its buffer was released or is not plain bytes.
    let data = unsafe { shim::strobe_memoryview(object.pointer(), &raw mut length) };
    let length = usize::try_from(length).unwrap_or(0);
    if data.is_null() {
        return Err(RELEASED);
    }
    if length == 0 {
        return Ok((&[], 0));
    }
    let memory = Memory::of(object);
    let size = if memory.keeps(data, length) { length } else { length.min(LONGEST) };
    match memory.bytes(data, size) {
        Some(bytes) => Ok((bytes, length)),
        None => Err(memory.why_not(data, size).unwrap_or(NOT_THERE)),
    }
}

/// A page as it stood when the hit first looked at it.
struct Window {
    page: usize,
    bytes: [u8; PAGE],
}

struct Copies {
    windows: Vec<Window>,
    /// By address and size, in words, so that they are aligned.
    kept: HashMap<(usize, usize), Box<[u64]>>,
    total: usize,
}

static COPIES: Held<Option<Copies>> = Held::new(None);

struct Used(Cell<bool>);

// SAFETY: read and written by the holder of the GIL only.
unsafe impl Sync for Used {}

static USED: Used = Used(Cell::new(false));

/// A hit begins: no copy is left of the one before.
#[inline]
pub fn forget() {
    if USED.0.get() {
        forget_copies();
    }
}

#[cold]
fn forget_copies() {
    USED.0.set(false);
    drop(COPIES.with(Option::take));
}

fn with_copies<R>(use_them: impl FnOnce(&mut Copies) -> R) -> Option<R> {
    USED.0.set(true);
    let fresh = || Copies { windows: Vec::new(), kept: HashMap::new(), total: 0 };
    COPIES.with(|copies| use_them(copies.get_or_insert_with(fresh)))
}

/// Copies a few bytes, out of the copy of a page where there is one.
#[cold]
fn look(at: usize, out: &mut [u8]) -> bool {
    let (page, offset) = (at / PAGE, at % PAGE);
    if page == 0 || offset + out.len() > PAGE {
        return copy(at, out);
    }
    let looked = with_copies(|copies| {
        let place = page % WINDOWS;
        while copies.windows.len() <= place {
            copies.windows.push(Window { page: 0, bytes: [0; PAGE] });
        }
        let window = copies.windows.get_mut(place)?;
        if window.page != page {
            window.page = 0;
            copy(page * PAGE, &mut window.bytes).then_some(())?;
            window.page = page;
        }
        out.copy_from_slice(window.bytes.get(offset..offset + out.len())?);
        Some(())
    });
    looked.flatten().is_some()
}

/// Copies bytes and keeps them for the hit.
fn keep<'f>(at: usize, size: usize) -> Option<&'f [u8]> {
    let kept = with_copies(|copies| {
        if let Some(kept) = copies.kept.get(&(at, size)) {
            return Some(kept.as_ptr());
        }
        if copies.total + size > MOST_KEPT {
            return None;
        }
        let mut bytes = vec![0; size];
        copy(at, &mut bytes).then_some(())?;
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        copies.total += size;
        Some(copies.kept.entry((at, size)).or_insert(words.collect()).as_ptr())
    });
    // SAFETY: so many bytes, rounded up to words, which stay where they are and as they are until the next hit begins; `'f`
    // ends before that.
    kept.flatten().map(|words| unsafe { std::slice::from_raw_parts(words.cast(), size) })
}

/// Copies memory of this process; false if it is not there.
fn copy(at: usize, out: &mut [u8]) -> bool {
    // SAFETY: asks for a number. Not 0: calls of the system are filtered.
    let filtered = unsafe { libc::prctl(libc::PR_GET_SECCOMP) } != 0;
    // A filter may end who makes a call that is not on its list; files are on every list.
    if filtered {
        return u64::try_from(at)
            .is_ok_and(|at| File::open("/proc/self/mem").is_ok_and(|memory| memory.read_exact_at(out, at).is_ok()));
    }
    let to = libc::iovec { iov_base: out.as_mut_ptr().cast(), iov_len: out.len() };
    let from = libc::iovec { iov_base: std::ptr::without_provenance_mut(at), iov_len: out.len() };
    // SAFETY: one piece of memory each: ours is as long as said, and the system looks itself whether the other one is there.
    let copied = unsafe { libc::process_vm_readv(libc::getpid(), &raw const to, 1, &raw const from, 1, 0) };
    usize::try_from(copied).is_ok_and(|copied| copied == out.len())
}

//! The scalars and one-dimensional arrays of numpy, read from the layouts that its C interface promises. Stands on the hit's
//! walk, under [`crate::value`]. Nothing of numpy is called, and the library need not be there.

use crate::object::{Class, Ref};
use pyo3::ffi;

/// A numpy scalar is an object's head and the number.
const SCALAR_SIZE: isize = 24;
/// Where the number begins.
pub const SCALAR_AT: isize = 16;

/// The name of a class that C made in numpy's own way, without its package. No class of a program is one.
fn name_of(class: Class<'_>) -> Option<&str> {
    if class.has(ffi::Py_TPFLAGS_HEAPTYPE) {
        return None;
    }
    class.c_name().strip_prefix("numpy.")
}

/// How the number of a scalar is stored, as `Py_T_…`, if the class is of such scalars.
pub fn scalar_of(class: Class<'_>) -> Option<i32> {
    let kind = match name_of(class)? {
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
    // SAFETY: a live class.
    let size = unsafe { (*class.pointer()).tp_basicsize };
    (size == SCALAR_SIZE).then_some(kind)
}

/// True for the class of arrays itself.
pub fn is_array(class: Class<'_>) -> bool {
    name_of(class) == Some("ndarray")
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

/// The beginning of the description of an array's elements (`PyArray_Descr`).
#[repr(C)]
struct Descriptor {
    object: ffi::PyObject,
    class: *mut ffi::PyTypeObject,
    kind: u8,
    letter: u8,
    order: u8,
}

const ALIGNED: i32 = 0x100;

/// An array whose elements can be read.
#[derive(Clone, Copy)]
pub struct Elements {
    data: *const u8,
    /// How many there are.
    pub len: usize,
    stride: isize,
    /// How each is stored, as `Py_T_…`.
    pub kind: i32,
}

impl Elements {
    /// The elements of an array of one dimension whose elements are numbers, or objects, as this machine stores them.
    pub fn of(array: Ref<'_>) -> Option<Self> {
        // SAFETY: asked of live arrays only (see the caller's kind); an array holds its lengths, strides and descriptor.
        unsafe {
            let head = &*array.pointer().cast::<Head>();
            if head.dimensions != 1 || head.data.is_null() || head.descriptor.is_null() || head.flags & ALIGNED == 0 {
                return None;
            }
            let descriptor = &*head.descriptor;
            if descriptor.order == b'>' {
                return None;
            }
            let kind = stored_as(descriptor.letter)?;
            Some(Elements { data: head.data, len: usize::try_from(*head.lengths).ok()?, stride: *head.strides, kind })
        }
    }

    /// Where an element stands.
    pub fn at(self, index: usize) -> Option<*const u8> {
        let offset = isize::try_from(index).ok().filter(|_| index < self.len)?.checked_mul(self.stride)?;
        Some(self.data.wrapping_offset(offset))
    }
}

fn stored_as(letter: u8) -> Option<i32> {
    Some(match letter {
        b'?' => ffi::Py_T_BOOL,
        b'b' => ffi::Py_T_BYTE,
        b'B' => ffi::Py_T_UBYTE,
        b'h' => ffi::Py_T_SHORT,
        b'H' => ffi::Py_T_USHORT,
        b'i' => ffi::Py_T_INT,
        b'I' => ffi::Py_T_UINT,
        b'l' | b'q' => ffi::Py_T_LONGLONG,
        b'L' | b'Q' => ffi::Py_T_ULONGLONG,
        b'f' => ffi::Py_T_FLOAT,
        b'd' => ffi::Py_T_DOUBLE,
        b'O' => ffi::Py_T_OBJECT_EX,
        _ => return None,
    })
}

//! The declarations of `shim.c`: what the C side reads for us. Stands on the hit's walk, under [`crate::value`] and
//! [`crate::frame`], which give each call its reason to be safe.
//!
//! Common rules, so that callers need not repeat them: the GIL is held; every object passed is alive and of the type
//! that the function's name says; every reference returned is borrowed and lives as long as what it was read from.

use pyo3::ffi::{Py_hash_t, Py_ssize_t, PyObject, PyTypeObject};
use std::ffi::{c_char, c_int, c_uint, c_void};
use stroboscope_core::host::StackFrame;

/// CPython's interpreter frame; only `shim.c` looks inside.
#[repr(C)]
pub struct RawFrame {
    _opaque: [u8; 0],
}

/// Where the fields of an instance are. Filled by [`strobe_fields`].
#[repr(C)]
pub struct Fields {
    pub dict: *mut PyObject,
    pub values: *mut *mut PyObject,
    /// Pairs of a name and nothing.
    pub entries: *const [*mut PyObject; 2],
    /// Element i is `order[i * step]`.
    pub order: *const u8,
    pub step: c_int,
    pub count: c_int,
    pub keys: Py_ssize_t,
}

impl Fields {
    /// An empty one, to be filled.
    pub const fn empty() -> Self {
        Fields {
            dict: std::ptr::null_mut(),
            values: std::ptr::null_mut(),
            entries: std::ptr::null(),
            order: std::ptr::null(),
            step: 0,
            count: 0,
            keys: 0,
        }
    }

    /// Which of the shared keys the value has that was set at a position.
    ///
    /// # Safety
    /// Filled with inline values, which have not changed since; the position is below `count`.
    #[inline]
    pub unsafe fn place(&self, position: c_int) -> c_int {
        // SAFETY: as the caller promises.
        unsafe { c_int::from(*self.order.offset((position * self.step) as isize)) }
    }
}

/// The entries of a dictionary's table, in order. Filled by [`strobe_dict_table`].
#[repr(C)]
pub struct Table {
    /// The first entry's key; its value comes after it.
    pub entries: *const *mut PyObject,
    /// From a key to the next, in pointers.
    pub step: usize,
    /// Entries, deleted ones included: those have no value.
    pub count: usize,
}

impl Table {
    /// An empty one, to be filled.
    pub const fn empty() -> Self {
        Table { entries: std::ptr::null(), step: 0, count: 0 }
    }
}

/// [`strobe_fields`]: a real dictionary.
pub const FIELDS_DICT: c_int = 1;
/// [`strobe_fields`]: values inside the instance.
pub const FIELDS_INLINE: c_int = 2;

/// The instructions of a code object as they stand there now. Filled by [`strobe_code_units`].
#[repr(C)]
pub struct Units {
    /// Pairs of an opcode and an argument.
    pub pairs: *const u8,
    /// How many pairs.
    pub count: Py_ssize_t,
    /// The opcodes that line events have replaced, each `line_step` after the other; null if there are none.
    pub lines: *const u8,
    pub line_step: Py_ssize_t,
    /// The opcodes that instruction events have replaced; null if there are none.
    pub each: *const u8,
}

impl Units {
    /// None, to be filled.
    pub const fn empty() -> Self {
        Units { pairs: std::ptr::null(), count: 0, lines: std::ptr::null(), line_step: 0, each: std::ptr::null() }
    }
}

/// Kind bits of a slot of a frame.
pub const SLOT_CELL: c_int = 0x40;
/// See [`SLOT_CELL`].
pub const SLOT_FREE: c_int = 0x80;

unsafe extern "C" {
    /// CPython's class of bound methods, which PyO3 does not declare.
    pub static PyMethod_Type: PyTypeObject;

    pub fn strobe_read_publicly(frames: c_int, fields: c_int, dicts: c_int);
    pub fn strobe_top_frame() -> *mut RawFrame;
    pub fn strobe_top_of(code: *mut PyObject, slots: *mut *const *mut PyObject) -> *mut RawFrame;
    pub fn strobe_frame_position(frame: *mut RawFrame) -> c_int;
    pub fn strobe_frame_code(frame: *mut RawFrame) -> *mut PyObject;
    /// Fills at most `most` frames. `from` becomes the frame to go on at, null at the end; if there are fewer, the code of
    /// that frame has no number yet. An `index` below 0 finds none.
    pub fn strobe_stack(from: *mut *mut RawFrame, index: Py_ssize_t, out: *mut StackFrame, most: c_int) -> c_int;
    /// The frame around one; null for none.
    pub fn strobe_outer_frame(frame: *mut RawFrame) -> *mut RawFrame;
    pub fn strobe_code_extra(code: *mut PyObject, index: Py_ssize_t) -> *mut c_void;
    pub fn strobe_code_extra_trim(code: *mut PyObject, index: Py_ssize_t);
    pub fn strobe_frame_globals(frame: *mut RawFrame) -> *mut PyObject;
    pub fn strobe_frame_mapping(frame: *mut RawFrame) -> *mut PyObject;
    pub fn strobe_frame_slot(frame: *mut RawFrame, index: c_int) -> *mut PyObject;
    pub fn strobe_cell_contents(slot: *mut PyObject) -> *mut PyObject;

    pub fn strobe_code_slots(code: *mut PyObject) -> c_int;
    pub fn strobe_code_slot_name(code: *mut PyObject, index: c_int) -> *mut PyObject;
    pub fn strobe_code_slot_kind(code: *mut PyObject, index: c_int) -> c_int;
    pub fn strobe_code_arguments(code: *mut PyObject) -> c_int;
    pub fn strobe_code_optimized(code: *mut PyObject) -> c_int;
    pub fn strobe_code_flags(code: *mut PyObject) -> c_int;
    pub fn strobe_code_first_line(code: *mut PyObject) -> c_int;
    pub fn strobe_code_file(code: *mut PyObject) -> *mut PyObject;
    pub fn strobe_code_name(code: *mut PyObject) -> *mut PyObject;
    pub fn strobe_code_qualname(code: *mut PyObject) -> *mut PyObject;
    pub fn strobe_code_lines(code: *mut PyObject) -> *mut PyObject;
    pub fn strobe_code_constants(code: *mut PyObject) -> *mut PyObject;
    pub fn strobe_code_names(code: *mut PyObject) -> *mut PyObject;
    pub fn strobe_code_exceptions(code: *mut PyObject) -> *mut PyObject;
    pub fn strobe_code_units(code: *mut PyObject, out: *mut Units);
    /// Only in CPython 3.12. The instructions are those of the first argument, the rest is that of the second.
    #[cfg(not(Py_3_13))]
    pub fn strobe_units_join(units: *mut u8, of: *const Units);
    /// See [`strobe_units_join`].
    #[cfg(not(Py_3_13))]
    pub fn strobe_code_join(code: *mut PyObject);
    /// Pure functions of an opcode.
    pub safe fn strobe_opcode_base(opcode: c_int) -> c_int;
    /// See [`strobe_opcode_base`].
    pub safe fn strobe_opcode_caches(opcode: c_int) -> c_int;
    /// See [`strobe_opcode_base`]; null, or a C string that is there for ever.
    pub safe fn strobe_opcode_name(opcode: c_int) -> *const c_char;

    pub fn strobe_type_assign_version(class: *mut PyTypeObject) -> c_uint;
    pub fn strobe_type_mro(class: *mut PyTypeObject) -> *mut PyObject;
    pub fn strobe_type_dict(class: *mut PyTypeObject) -> *mut PyObject;
    pub fn strobe_type_tp_name(class: *mut PyTypeObject) -> *const c_char;
    pub fn strobe_type_qualname(class: *mut PyTypeObject) -> *mut PyObject;
    pub fn strobe_type_name(class: *mut PyTypeObject) -> *mut PyObject;
    pub fn strobe_type_has_get(class: *mut PyTypeObject) -> c_int;
    pub fn strobe_type_has_set(class: *mut PyTypeObject) -> c_int;
    pub fn strobe_type_plain_getattr(class: *mut PyTypeObject) -> c_int;
    pub fn strobe_type_has_next(class: *mut PyTypeObject) -> c_int;
    pub fn strobe_type_is_of_module(class: *mut PyTypeObject) -> c_int;
    pub fn strobe_type_code(class: *mut PyTypeObject) -> *const c_void;
    pub fn strobe_subtype(class: *mut PyTypeObject, of: *mut PyTypeObject) -> c_int;
    pub fn strobe_member(
        descriptor: *mut PyObject,
        class: *mut PyTypeObject,
        offset: *mut Py_ssize_t,
        kind: *mut c_int,
        name: *mut *mut PyObject,
    ) -> c_int;

    pub fn strobe_fields(object: *mut PyObject, out: *mut Fields) -> c_int;
    pub fn strobe_inline_find(fields: *const Fields, name: *mut PyObject) -> c_int;

    /// 0: the values stand elsewhere.
    pub fn strobe_dict_table(dict: *mut PyObject, out: *mut Table) -> c_int;
    pub fn strobe_dict_text_keys(dict: *mut PyObject) -> c_int;
    pub fn strobe_dict_len(dict: *mut PyObject) -> Py_ssize_t;
    pub fn strobe_dict_find(dict: *mut PyObject, key: *mut PyObject, hash: Py_hash_t) -> *mut PyObject;
    pub fn strobe_text_hash(text: *mut PyObject) -> Py_hash_t;
    pub fn strobe_ordered_check(class: *mut PyTypeObject) -> c_int;
    pub fn strobe_ordered_first(dict: *mut PyObject) -> *mut c_void;
    pub fn strobe_ordered_next(
        dict: *mut PyObject,
        node: *mut c_void,
        key: *mut *mut PyObject,
        value: *mut *mut PyObject,
    ) -> *mut c_void;
    pub fn strobe_proxy_mapping(proxy: *mut PyObject) -> *mut PyObject;
    pub fn strobe_view_dict(view: *mut PyObject) -> *mut PyObject;

    pub fn strobe_int(object: *mut PyObject, value: *mut i64) -> c_int;
    pub fn strobe_digits(object: *mut PyObject, count: *mut usize, negative: *mut c_int) -> *const u32;
    pub fn strobe_digit_bits() -> c_int;
    pub fn strobe_complex(object: *mut PyObject, real: *mut f64, imaginary: *mut f64);
    pub fn strobe_decimal(
        object: *mut PyObject,
        flags: *mut c_int,
        exponent: *mut i64,
        length: *mut usize,
        words: *mut *const u64,
    ) -> c_int;

    pub fn strobe_text(object: *mut PyObject, data: *mut *const c_void, length: *mut Py_ssize_t) -> c_int;
    pub fn strobe_bytes(object: *mut PyObject, length: *mut Py_ssize_t) -> *const u8;
    pub fn strobe_bytearray(object: *mut PyObject, length: *mut Py_ssize_t) -> *const u8;
    pub fn strobe_memoryview(object: *mut PyObject, length: *mut Py_ssize_t) -> *const u8;
    pub fn strobe_memoryview_lender(object: *mut PyObject) -> *mut PyObject;
    pub fn strobe_map(object: *mut PyObject, length: *mut Py_ssize_t) -> *const u8;

    pub fn strobe_deque_begin(object: *mut PyObject, at: *mut Py_ssize_t) -> *mut c_void;
    pub fn strobe_deque_next(block: *mut *mut c_void, at: *mut Py_ssize_t) -> *mut PyObject;
    pub fn strobe_deque_at(object: *mut PyObject, index: Py_ssize_t) -> *mut PyObject;
    pub fn strobe_var_size(object: *mut PyObject) -> Py_ssize_t;
    pub fn strobe_array_fits(class: *mut PyTypeObject) -> c_int;
    pub fn strobe_array(
        object: *mut PyObject,
        length: *mut Py_ssize_t,
        code: *mut c_int,
        size: *mut c_int,
    ) -> *const u8;
    /// A number that no other thread of the interpreter ever has; 0 if there is none.
    pub fn strobe_thread_number() -> u64;
    pub fn strobe_is_main_thread() -> c_int;
    pub fn strobe_range_part(object: *mut PyObject, which: c_int) -> *mut PyObject;
    pub fn strobe_range(object: *mut PyObject, start: *mut i64, step: *mut i64, length: *mut i64) -> c_int;
    pub fn strobe_set_len(set: *mut PyObject) -> Py_ssize_t;
    pub fn strobe_set_next(set: *mut PyObject, position: *mut Py_ssize_t, most: Py_ssize_t) -> *mut PyObject;

    pub fn strobe_function_qualname(function: *mut PyObject) -> *mut PyObject;
    pub fn strobe_method_function(method: *mut PyObject) -> *mut PyObject;
    pub fn strobe_builtin_name(function: *mut PyObject) -> *const c_char;
    pub fn strobe_builtin_self(function: *mut PyObject) -> *mut PyObject;
    pub fn strobe_descriptor_name(descriptor: *mut PyObject) -> *mut PyObject;
    pub fn strobe_descriptor_type(descriptor: *mut PyObject) -> *mut PyTypeObject;
    pub fn strobe_module_dict(module: *mut PyObject) -> *mut PyObject;
    pub fn strobe_generator_qualname(generator: *mut PyObject) -> *mut PyObject;

    pub fn strobe_exception_args(exception: *mut PyObject) -> *mut PyObject;
    pub fn strobe_exception_cause(exception: *mut PyObject) -> *mut PyObject;
    pub fn strobe_exception_context(exception: *mut PyObject) -> *mut PyObject;
    pub fn strobe_exception_traceback(exception: *mut PyObject) -> *mut PyObject;
    pub fn strobe_exception_suppressed(exception: *mut PyObject) -> c_int;
    pub fn strobe_handling() -> *mut PyObject;
    pub fn strobe_traceback(traceback: *mut PyObject, code: *mut *mut PyObject, position: *mut c_int) -> *mut PyObject;
    pub fn strobe_is_traceback(object: *mut PyObject) -> c_int;

    pub fn strobe_datetime(object: *mut PyObject, out: *mut c_int, zone: *mut *mut PyObject);
    pub fn strobe_date(object: *mut PyObject, out: *mut c_int);
    pub fn strobe_time(object: *mut PyObject, out: *mut c_int, zone: *mut *mut PyObject);
    pub fn strobe_timedelta(object: *mut PyObject, out: *mut c_int);
    pub fn strobe_timezone_offset(zone: *mut PyObject) -> *mut PyObject;

    pub fn strobe_visit_code(visit: extern "C" fn(*mut PyObject, *mut c_void) -> c_int, context: *mut c_void);
}

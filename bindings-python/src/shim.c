/* Reads CPython's layouts where no function of its API can: frames without making frame objects, instance values
 * without making dictionaries, containers without running their iterators. Stands on the hit's walk, under frame.rs and
 * value.rs. Every reference returned is borrowed; nothing here allocates, raises or runs Python code.
 *
 * What is not in a public header of CPython is checked against the public API when the module starts (selftest.rs): what
 * is laid out in another way is read through the public API from then on, or not at all. */
#define Py_BUILD_CORE_MODULE 1
#include <Python.h>
#include <datetime.h> /* for the layouts; its capsule is not used */
#include <stdint.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* The tables of opcodes are not exported: they are compiled in, and statements.rs compares what they yield with CPython's
 * own answer. */
#if PY_VERSION_HEX >= 0x030D0000
#define NEED_OPCODE_METADATA
#include "internal/pycore_code.h"
#include "internal/pycore_opcode_metadata.h"
#undef NEED_OPCODE_METADATA
#else
#define NEED_OPCODE_TABLES
#include "internal/pycore_code.h"
#pragma push_macro("Py_DEBUG")
#undef Py_DEBUG
#define Py_DEBUG 1 /* for the names: nothing else in the header asks for it */
#include "internal/pycore_opcode.h"
#pragma pop_macro("Py_DEBUG")
#undef NEED_OPCODE_TABLES
#endif
#include "internal/pycore_dict.h"
#include "internal/pycore_frame.h"
#include "internal/pycore_object.h"
#if PY_VERSION_HEX >= 0x030E0000
#include "internal/pycore_interpframe.h"
#endif

#if PY_VERSION_HEX < 0x030C0000 || PY_VERSION_HEX >= 0x030F0000
#error "stroboscope knows the layouts of CPython 3.12, 3.13 and 3.14"
#endif
#ifdef Py_GIL_DISABLED
#error "stroboscope reads objects under the global lock"
#endif

typedef _PyInterpreterFrame Frame;

/* ---- the public way ----------------------------------------------------------------------------------------- */

/* What is not laid out as declared here, as the self-test found. Set before the first hit, under the global lock. */
static int public_frames, public_fields, public_dicts;
#define RARELY(condition) __builtin_expect((condition), 0)
#define APART __attribute__((cold, noinline)) /* what it needs is no burden where it is not called */

void strobe_read_publicly(int frames, int fields, int dicts)
{
    public_frames = frames;
    public_fields = fields;
    public_dicts = dicts;
}

/* A new reference becomes a borrowed one, for what somebody else holds as well. No error of ours stays. */
APART static void *lent(void *owned)
{
    if (!owned)
        PyErr_Clear();
    Py_XDECREF((PyObject *)owned);
    return owned;
}

/* With public frames a `Frame *` is really this. A frame that runs keeps the object that was made for it. */
static PyFrameObject *made(Frame *frame) { return (PyFrameObject *)frame; }
APART static Frame *public_top_frame(void) { return (Frame *)PyEval_GetFrame(); }
APART static PyCodeObject *public_code(Frame *frame) { return lent(PyFrame_GetCode(made(frame))); }
APART static Frame *public_outer(Frame *frame) { return lent(PyFrame_GetBack(made(frame))); }
APART static int public_position(Frame *frame)
{
    int offset = PyFrame_GetLasti(made(frame));
    return offset < 0 ? -1 : offset / (int)sizeof(_Py_CODEUNIT);
}
APART static Frame *public_top_of(PyCodeObject *code)
{
    Frame *frame = public_top_frame();
    return frame && public_code(frame) == code ? frame : NULL;
}

/* The variables of a module or class, if they are in a dictionary: what they are in belongs to the frame. */
APART static PyObject *public_mapping(Frame *frame)
{
    PyCodeObject *code = public_code(frame);
    if (code->co_flags & CO_OPTIMIZED)
        return NULL;
#if PY_VERSION_HEX < 0x030D0000
    if (code->co_nlocalsplus)
        return NULL; /* CPython 3.12 would store cells into the namespace, which may be an object of the program's */
#endif
    PyObject *mapping = PyFrame_GetLocals(made(frame));
    if (mapping && !PyDict_Check(mapping)) {
        Py_DECREF(mapping); /* made for the call: nobody else holds it */
        return NULL;
    }
    return lent(mapping);
}

/* ---- frames ------------------------------------------------------------------------------------------------- */

/* True for what stands between frames and is none: where C calls Python, and a frame that has not begun. */
static inline int between(Frame *frame)
{
#if PY_VERSION_HEX >= 0x030E0000
    return frame->owner >= FRAME_OWNED_BY_INTERPRETER || _PyFrame_IsIncomplete(frame);
#else
    return frame->owner == FRAME_OWNED_BY_CSTACK || _PyFrame_IsIncomplete(frame);
#endif
}
static inline Frame *complete(Frame *frame)
{
    while (frame && between(frame))
        frame = frame->previous;
    return frame;
}

static inline PyThreadState *this_thread(void)
{
#if PY_VERSION_HEX >= 0x030D0000
    return PyThreadState_GetUnchecked();
#else
    return _PyThreadState_UncheckedGet();
#endif
}
static inline Frame *top_frame(void)
{
    PyThreadState *thread = this_thread();
#if PY_VERSION_HEX >= 0x030D0000
    return thread ? complete(thread->current_frame) : NULL;
#else
    return thread && thread->cframe ? complete(thread->cframe->current_frame) : NULL;
#endif
}

/* CPython counts the threads that it ever had, from 1. */
uint64_t strobe_thread_number(void)
{
    PyThreadState *thread = this_thread();
    return thread ? PyThreadState_GetID(thread) : 0;
}

Frame *strobe_top_frame(void) { return RARELY(public_frames) ? public_top_frame() : top_frame(); }

/* 0 where the system does not tell. */
int strobe_is_main_thread(void)
{
#ifdef __linux__
    return syscall(SYS_gettid) == (long)getpid();
#else
    return 0;
#endif
}

static inline PyCodeObject *code_in(Frame *frame, int publicly)
{
    if (RARELY(publicly))
        return public_code(frame);
#if PY_VERSION_HEX >= 0x030D0000
    return _PyFrame_GetCode(frame);
#else
    return frame->f_code;
#endif
}
PyCodeObject *strobe_frame_code(Frame *frame) { return code_in(frame, public_frames); }

/* In code units. */
static inline int position_in(Frame *frame, int publicly)
{
    return RARELY(publicly) ? public_position(frame) : (int)_PyInterpreterFrame_LASTI(frame);
}
int strobe_frame_position(Frame *frame) { return position_in(frame, public_frames); }
PyObject *strobe_frame_globals(Frame *frame)
{
    return RARELY(public_frames) ? lent(PyFrame_GetGlobals(made(frame))) : frame->f_globals;
}
PyObject *strobe_frame_mapping(Frame *frame) { return RARELY(public_frames) ? public_mapping(frame) : frame->f_locals; }
static inline Frame *outer(Frame *frame, int publicly)
{
    return RARELY(publicly) ? public_outer(frame) : complete(frame->previous);
}

/* What hangs on code objects for tools, laid out as in CPython's codeobject.c; code.rs compares each answer with the API's
 * when it keeps a number, and stops asking here if they differ. */
typedef struct {
    Py_ssize_t size;
    void *extras[1];
} CodeExtra;
static inline uintptr_t code_extra(PyCodeObject *code, Py_ssize_t index)
{
    CodeExtra *extra = code->co_extra;
    return extra && index < extra->size ? (uintptr_t)extra->extras[index] : 0;
}
void *strobe_code_extra(PyCodeObject *code, Py_ssize_t index) { return (void *)code_extra(code, index); }
/* CPython makes room for all tools when one of them hangs something on code, and calls each tool's free function for its
 * place, also for one that was never filled: the places after ours go as if they had not been made. */
void strobe_code_extra_trim(PyCodeObject *code, Py_ssize_t index)
{
    CodeExtra *extra = code->co_extra;
    while (extra && extra->size > index + 1 && !extra->extras[extra->size - 1])
        extra->size--;
}

typedef struct {
    uint32_t code;
    uint32_t position; /* in code units */
} Place;
static inline int stack_of(Frame **from, Py_ssize_t index, Place *out, int most, int publicly)
{
    Place *at = out;
    Frame *frame = *from;
    for (; frame && at < out + most; frame = publicly ? public_outer(frame) : frame->previous) {
        if (!publicly && between(frame))
            continue;
        uintptr_t packed = code_extra(code_in(frame, publicly), index);
        if (!packed)
            break;
        if (packed & 1)
            continue;
        int position = position_in(frame, publicly);
        *at++ = (Place){(uint32_t)(packed / 2 - 1), position < 0 ? 0 : (uint32_t)position};
    }
    *from = frame;
    return (int)(at - out);
}
APART static int public_stack(Frame **from, Py_ssize_t index, Place *out, int most) { return stack_of(from, index, out, most, 1); }

/* The stack, from a frame outwards: how many frames, and where to go on: NULL at its end, else, if there are fewer than
 * asked for, a frame whose code has no number yet (see code.rs for how it is kept). Code of ours is left out. */
int strobe_stack(Frame **from, Py_ssize_t index, Place *out, int most)
{
    if (index < 0)
        return 0;
    return RARELY(public_frames) ? public_stack(from, index, out, most) : stack_of(from, index, out, most, 0);
}
Frame *strobe_outer_frame(Frame *frame) { return outer(frame, public_frames); }

/* The innermost frame, if it runs this code, and where its slots begin (NULL where they are not pointers in a row). */
Frame *strobe_top_of(PyCodeObject *code, PyObject ***slots)
{
    if (RARELY(public_frames))
        return public_top_of(code);
    Frame *frame = top_frame();
    if (!frame || code_in(frame, 0) != code)
        return NULL;
    *slots = (PyObject **)frame->localsplus;
    return frame;
}
#if PY_VERSION_HEX >= 0x030E0000
/* frame.rs takes the mark off itself. */
_Static_assert(sizeof(_PyStackRef) == sizeof(PyObject *) && Py_TAG_REFCNT == 1, "a pointer with a mark in its lowest bit");
#endif

PyObject *strobe_frame_slot(Frame *frame, int index)
{
    if (RARELY(public_frames)) {
        PyCodeObject *code = strobe_frame_code(frame);
        return lent(PyFrame_GetVar(made(frame), PyTuple_GET_ITEM(code->co_localsplusnames, index)));
    }
#if PY_VERSION_HEX >= 0x030E0000
    _PyStackRef slot = frame->localsplus[index];
    return PyStackRef_IsNull(slot) ? NULL : PyStackRef_AsPyObjectBorrow(slot);
#else
    return frame->localsplus[index];
#endif
}

/* Of a cell that `strobe_frame_slot` gave, which in the public way has looked into it already. */
PyObject *strobe_cell_contents(PyObject *slot)
{
    return PyCell_Check(slot) && !RARELY(public_frames) ? PyCell_GET(slot) : slot;
}

/* ---- code --------------------------------------------------------------------------------------------------- */

int strobe_code_slots(PyCodeObject *code) { return code->co_nlocalsplus; }
PyObject *strobe_code_slot_name(PyCodeObject *code, int index) { return PyTuple_GET_ITEM(code->co_localsplusnames, index); }
int strobe_code_slot_kind(PyCodeObject *code, int index)
{
    return (unsigned char)PyBytes_AS_STRING(code->co_localspluskinds)[index];
}
int strobe_code_arguments(PyCodeObject *code)
{
    return code->co_argcount + code->co_kwonlyargcount + !!(code->co_flags & CO_VARARGS) + !!(code->co_flags & CO_VARKEYWORDS);
}
int strobe_code_optimized(PyCodeObject *code) { return (code->co_flags & CO_OPTIMIZED) != 0; }
int strobe_code_flags(PyCodeObject *code) { return code->co_flags; }
int strobe_code_first_line(PyCodeObject *code) { return code->co_firstlineno; }
PyObject *strobe_code_file(PyCodeObject *code) { return code->co_filename; }
PyObject *strobe_code_name(PyCodeObject *code) { return code->co_name; }
PyObject *strobe_code_qualname(PyCodeObject *code) { return code->co_qualname; }
PyObject *strobe_code_lines(PyCodeObject *code) { return code->co_linetable; }
PyObject *strobe_code_constants(PyCodeObject *code) { return code->co_consts; }
PyObject *strobe_code_names(PyCodeObject *code) { return code->co_names; }
PyObject *strobe_code_exceptions(PyCodeObject *code) { return code->co_exceptiontable; }

/* The instructions as they stand there now, specialised and instrumented, and where CPython keeps the opcodes that stood
 * there before it put INSTRUMENTED_LINE or INSTRUMENTED_INSTRUCTION in their place (NULL: none were). */
typedef struct {
    const uint8_t *units; /* pairs of an opcode and an argument */
    Py_ssize_t count;
    const uint8_t *lines; /* element i is lines[i * line_step] */
    Py_ssize_t line_step;
    const uint8_t *each;
} Units;
void strobe_code_units(PyCodeObject *code, Units *out)
{
    *out = (Units){.units = (const uint8_t *)_PyCode_CODE(code), .count = Py_SIZE(code)};
    _PyCoMonitoringData *data = code->_co_monitoring;
    if (!data)
        return;
    out->each = data->per_instruction_opcodes;
    if (!data->lines)
        return;
#if PY_VERSION_HEX >= 0x030E0000
    out->lines = data->lines->data;
    out->line_step = data->lines->bytes_per_entry;
#else
    out->lines = &data->lines->original_opcode;
    out->line_step = sizeof *data->lines;
#endif
}
/* The opcode that a specialised one stands for, itself for others, 0 for what is none; and how many caches follow it. */
int strobe_opcode_base(int opcode) { return _PyOpcode_Deopt[opcode & 255]; }
int strobe_opcode_caches(int opcode) { return _PyOpcode_Caches[opcode & 255]; }
const char *strobe_opcode_name(int opcode) { return _PyOpcode_OpName[opcode & 255]; }

/* CPython 3.12 joins pairs of common instructions as it makes code, and takes them apart for ever when any tool's event
 * first concerns the code, even if the tool wants no more of it. This joins them again, as `_PyCode_Quicken` did, but for
 * those of which one is watched: nothing that is watched may be skipped. */
#if PY_VERSION_HEX < 0x030D0000
static const uint8_t watched[256] = {
    [INSTRUMENTED_RESUME] = RESUME,
    [INSTRUMENTED_RETURN_VALUE] = RETURN_VALUE,
    [INSTRUMENTED_RETURN_CONST] = RETURN_CONST,
    [INSTRUMENTED_CALL] = CALL,
    [INSTRUMENTED_CALL_FUNCTION_EX] = CALL_FUNCTION_EX,
    [INSTRUMENTED_YIELD_VALUE] = YIELD_VALUE,
    [INSTRUMENTED_JUMP_FORWARD] = JUMP_FORWARD,
    [INSTRUMENTED_JUMP_BACKWARD] = JUMP_BACKWARD,
    [INSTRUMENTED_POP_JUMP_IF_FALSE] = POP_JUMP_IF_FALSE,
    [INSTRUMENTED_POP_JUMP_IF_TRUE] = POP_JUMP_IF_TRUE,
    [INSTRUMENTED_POP_JUMP_IF_NONE] = POP_JUMP_IF_NONE,
    [INSTRUMENTED_POP_JUMP_IF_NOT_NONE] = POP_JUMP_IF_NOT_NONE,
    [INSTRUMENTED_FOR_ITER] = FOR_ITER,
    [INSTRUMENTED_END_FOR] = END_FOR,
    [INSTRUMENTED_END_SEND] = END_SEND,
    [INSTRUMENTED_LOAD_SUPER_ATTR] = LOAD_SUPER_ATTR,
};
static int joined(int first, int second)
{
    switch (first << 8 | second) {
    case LOAD_CONST << 8 | LOAD_FAST:
        return LOAD_CONST__LOAD_FAST;
    case LOAD_FAST << 8 | LOAD_CONST:
        return LOAD_FAST__LOAD_CONST;
    case LOAD_FAST << 8 | LOAD_FAST:
        return LOAD_FAST__LOAD_FAST;
    case STORE_FAST << 8 | LOAD_FAST:
        return STORE_FAST__LOAD_FAST;
    case STORE_FAST << 8 | STORE_FAST:
        return STORE_FAST__STORE_FAST;
    }
    return 0;
}
void strobe_units_join(uint8_t *units, const Units *in)
{
    int before = 0;
    for (Py_ssize_t i = 0; i < in->count; i++) {
        int opcode = units[i * 2], base = opcode;
        for (int nested = 0; nested < 2; nested++) {
            if (base == INSTRUMENTED_LINE && in->lines)
                base = in->lines[i * in->line_step];
            else if (base == INSTRUMENTED_INSTRUCTION && in->each)
                base = in->each[i];
        }
        base = watched[base] ? watched[base] : _PyOpcode_Deopt[base];
        if (!base || base >= MIN_INSTRUMENTED_OPCODE)
            return; /* where the next instruction begins cannot be told */
        int both = i > 0 ? joined(before, opcode) : 0;
        if (both)
            units[i * 2 - 2] = (uint8_t)both;
        before = _PyOpcode_Caches[base] ? 0 : opcode;
        i += _PyOpcode_Caches[base];
    }
}
void strobe_code_join(PyCodeObject *code)
{
    Units units;
    strobe_code_units(code, &units);
    strobe_units_join((uint8_t *)_PyCode_CODE(code), &units);
}
#endif

/* ---- types -------------------------------------------------------------------------------------------------- */

unsigned int strobe_type_assign_version(PyTypeObject *type)
{
    PyUnstable_Type_AssignVersionTag(type);
    return type->tp_version_tag;
}
PyObject *strobe_type_mro(PyTypeObject *type) { return type->tp_mro; }
/* The dictionary lives as long as the type does; the type keeps it. */
PyObject *strobe_type_dict(PyTypeObject *type)
{
    PyObject *dict = PyType_GetDict(type);
    Py_XDECREF(dict);
    return dict;
}
const char *strobe_type_tp_name(PyTypeObject *type) { return type->tp_name; }
PyObject *strobe_type_qualname(PyTypeObject *type)
{
    return type->tp_flags & Py_TPFLAGS_HEAPTYPE ? ((PyHeapTypeObject *)type)->ht_qualname : NULL;
}
PyObject *strobe_type_name(PyTypeObject *type)
{
    return type->tp_flags & Py_TPFLAGS_HEAPTYPE ? ((PyHeapTypeObject *)type)->ht_name : NULL;
}
int strobe_type_has_get(PyTypeObject *type) { return type->tp_descr_get != NULL; }
int strobe_type_has_set(PyTypeObject *type) { return type->tp_descr_set != NULL; }
int strobe_type_plain_getattr(PyTypeObject *type) { return type->tp_getattro == PyObject_GenericGetAttr; }
int strobe_type_has_next(PyTypeObject *type)
{
    /* The check looks at nothing but the class; the function that stands for "none" is not exported everywhere. */
    PyObject stand_in = {.ob_type = type};
    return PyIter_Check(&stand_in);
}
/* True for a class that C made on the heap for a module: no class statement and no call of `type` makes such a one. */
int strobe_type_is_of_module(PyTypeObject *type)
{
    return type->tp_flags & Py_TPFLAGS_HEAPTYPE && ((PyHeapTypeObject *)type)->ht_module;
}
/* The code that shows an instance: it tells a class of C's from every other, and lies in the file that the class is from. */
const void *strobe_type_code(PyTypeObject *type) { return (const void *)type->tp_repr; }
int strobe_subtype(PyTypeObject *type, PyTypeObject *of) { return PyType_IsSubtype(type, of); }

/* A data member of C or a slot: its place in the instances of a class. A program may put one into any class: in one that
 * does not inherit from the class that it was made for, the place is another's, and the type is none (-1). */
int strobe_member(PyObject *descriptor, PyTypeObject *class, Py_ssize_t *offset, int *type, PyObject **name)
{
    if (Py_TYPE(descriptor) != &PyMemberDescr_Type)
        return 0;
    PyMemberDescrObject *member = (PyMemberDescrObject *)descriptor;
    if (member->d_member->flags & Py_RELATIVE_OFFSET)
        return 0;
    PyTypeObject *owner = member->d_common.d_type;
    *offset = member->d_member->offset;
    *type = class == owner || PyType_IsSubtype(class, owner) ? member->d_member->type : -1;
    *name = member->d_common.d_name;
    return 1;
}

/* ---- instance fields ---------------------------------------------------------------------------------------- */

enum { FIELDS_NONE, FIELDS_DICT, FIELDS_INLINE };

typedef struct {
    PyObject *dict;
    PyObject **values;
    PyDictUnicodeEntry *entries;
    const uint8_t *order; /* element i is order[i * step] */
    int step;
    int count;      /* values that are set, in order */
    Py_ssize_t keys; /* entries of the type's shared keys */
} Fields;

int strobe_fields(PyObject *object, Fields *out)
{
    PyTypeObject *type = Py_TYPE(object);
    if (RARELY(public_fields) && type->tp_flags & Py_TPFLAGS_MANAGED_DICT) {
        out->dict = lent(PyObject_GenericGetDict(object, NULL)); /* makes it where it was not there */
        return out->dict ? FIELDS_DICT : FIELDS_NONE;
    }
    if (type->tp_flags & Py_TPFLAGS_MANAGED_DICT) {
        PyDictValues *values = NULL;
        PyObject *dict = NULL;
#if PY_VERSION_HEX >= 0x030D0000
        if (type->tp_flags & Py_TPFLAGS_INLINE_VALUES && _PyObject_InlineValues(object)->valid) {
            values = _PyObject_InlineValues(object);
            out->order = (const uint8_t *)&values->values[values->capacity];
            out->step = 1;
            out->count = values->size;
        }
        else
            dict = (PyObject *)_PyObject_GetManagedDict(object);
#else
        PyDictOrValues either = *_PyObject_DictOrValuesPointer(object);
        if (_PyDictOrValues_IsValues(either)) {
            values = _PyDictOrValues_GetValues(either);
            if (values) {
                out->order = (const uint8_t *)values - 3;
                out->step = -1;
                out->count = ((const uint8_t *)values)[-2];
            }
        }
        else
            dict = _PyDictOrValues_GetDict(either);
#endif
        if (values) {
            PyDictKeysObject *keys = ((PyHeapTypeObject *)type)->ht_cached_keys;
            out->values = values->values;
            out->entries = DK_UNICODE_ENTRIES(keys);
            out->keys = keys->dk_nentries;
            return FIELDS_INLINE;
        }
        out->dict = dict;
        return dict ? FIELDS_DICT : FIELDS_NONE;
    }
    Py_ssize_t offset = type->tp_dictoffset;
    if (offset == 0)
        return FIELDS_NONE;
    if (offset < 0) {
        PyObject **place = _PyObject_GetDictPtr(object);
        out->dict = place ? *place : NULL;
    }
    else
        out->dict = *(PyObject **)((char *)object + offset);
    return out->dict && PyDict_Check(out->dict) ? FIELDS_DICT : FIELDS_NONE;
}

/* value.rs reads the entries and their order itself. */
_Static_assert(sizeof(PyDictUnicodeEntry) == 2 * sizeof(PyObject *), "a name and a value");
_Static_assert(offsetof(PyDictUnicodeEntry, me_key) == 0, "the name first");

static int same_text(PyObject *a, PyObject *b)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(a);
    int kind = PyUnicode_KIND(a);
    return length == PyUnicode_GET_LENGTH(b) && kind == (int)PyUnicode_KIND(b) &&
           memcmp(PyUnicode_DATA(a), PyUnicode_DATA(b), (size_t)length * (size_t)kind) == 0;
}

/* Index of a name among the shared keys, -1 if it is not one of them. */
int strobe_inline_find(const Fields *fields, PyObject *name)
{
    for (Py_ssize_t i = 0; i < fields->keys; i++)
        if (fields->entries[i].me_key == name)
            return (int)i;
    for (Py_ssize_t i = 0; i < fields->keys; i++) {
        PyObject *key = fields->entries[i].me_key;
        if (key && !PyUnicode_CHECK_INTERNED(key) && same_text(key, name))
            return (int)i;
    }
    return -1;
}

/* ---- dictionaries ------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject **entries; /* the first key; its value is behind it */
    size_t step;        /* from key to key, in pointers */
    size_t count;
} Table;
_Static_assert(offsetof(PyDictUnicodeEntry, me_value) == sizeof(PyObject *), "the value behind the key");
_Static_assert(offsetof(PyDictKeyEntry, me_value) - offsetof(PyDictKeyEntry, me_key) == sizeof(PyObject *), "the value behind the key");

/* The entries, in order; 0 if they have to be asked for: the values stand elsewhere (keys shared by the instances of a
 * class), or nobody knows where. */
int strobe_dict_table(PyObject *dict, Table *out)
{
    PyDictObject *mapping = (PyDictObject *)dict;
    PyDictKeysObject *keys = mapping->ma_keys;
    if (RARELY(public_dicts) || mapping->ma_values)
        return 0;
    out->count = (size_t)keys->dk_nentries;
    if (DK_IS_UNICODE(keys)) {
        out->entries = &DK_UNICODE_ENTRIES(keys)->me_key;
        out->step = sizeof(PyDictUnicodeEntry) / sizeof(PyObject *);
    }
    else {
        out->entries = &DK_ENTRIES(keys)->me_key;
        out->step = sizeof(PyDictKeyEntry) / sizeof(PyObject *);
    }
    return 1;
}

/* True if all keys are known to be exact strings, so that looking one up runs no code of the program. */
int strobe_dict_text_keys(PyObject *dict) { return !public_dicts && DK_IS_UNICODE(((PyDictObject *)dict)->ma_keys); }
Py_ssize_t strobe_dict_len(PyObject *dict) { return ((PyDictObject *)dict)->ma_used; }

/* From end to end: CPython's own search would run `__eq__` of a key with the same hash. */
APART static PyObject *public_find(PyObject *dict, PyObject *wanted)
{
    Py_ssize_t position = 0;
    PyObject *key, *value;
    while (PyDict_Next(dict, &position, &key, &value))
        if (key == wanted || (PyUnicode_CheckExact(key) && PyUnicode_CheckExact(wanted) && same_text(key, wanted)))
            return value;
    return NULL;
}

/* Finds a key by identity, or an exact string by its text: never by `__eq__`. */
PyObject *strobe_dict_find(PyObject *dict, PyObject *key, Py_hash_t hash)
{
    if (RARELY(public_dicts))
        return public_find(dict, key);
    PyDictObject *mapping = (PyDictObject *)dict;
    PyDictKeysObject *keys = mapping->ma_keys;
    int text = PyUnicode_CheckExact(key);
    size_t mask = ((size_t)1 << keys->dk_log2_size) - 1;
    size_t perturb = (size_t)hash;
    size_t place = (size_t)hash & mask;
    for (size_t probes = 0; probes <= mask * 2 + 64; probes++) {
        Py_ssize_t index;
        if (keys->dk_log2_size < 8)
            index = ((const int8_t *)keys->dk_indices)[place];
        else if (keys->dk_log2_size < 16)
            index = ((const int16_t *)keys->dk_indices)[place];
        else if (keys->dk_log2_size < 32)
            index = ((const int32_t *)keys->dk_indices)[place];
        else
            index = (Py_ssize_t)((const int64_t *)keys->dk_indices)[place];
        if (index == DKIX_EMPTY)
            return NULL;
        if (index >= 0) {
            if (DK_IS_UNICODE(keys)) {
                PyDictUnicodeEntry *entry = &DK_UNICODE_ENTRIES(keys)[index];
                if (entry->me_key == key || (text && entry->me_key && PyUnicode_CheckExact(entry->me_key) && same_text(entry->me_key, key)))
                    return mapping->ma_values ? mapping->ma_values->values[index] : entry->me_value;
            }
            else {
                PyDictKeyEntry *entry = &DK_ENTRIES(keys)[index];
                if (entry->me_key == key || (text && entry->me_hash == hash && entry->me_key && PyUnicode_CheckExact(entry->me_key) && same_text(entry->me_key, key)))
                    return entry->me_value;
            }
        }
        perturb >>= 5;
        place = (place * 5 + perturb + 1) & mask;
    }
    return NULL;
}

/* An exact string keeps its hash once it is known; hashing it runs no code of the program. */
Py_hash_t strobe_text_hash(PyObject *text) { return PyObject_Hash(text); }

/* collections.OrderedDict: a linked list of keys beside the table. */
typedef struct OrderedNode {
    PyObject *key;
    Py_hash_t hash;
    struct OrderedNode *next;
    struct OrderedNode *previous;
} OrderedNode;
typedef struct {
    PyDictObject dict;
    OrderedNode *first;
} OrderedDict;

int strobe_ordered_check(PyTypeObject *type) { return type == &PyODict_Type || PyType_IsSubtype(type, &PyODict_Type); }
void *strobe_ordered_first(PyObject *dict) { return ((OrderedDict *)dict)->first; }
void *strobe_ordered_next(PyObject *dict, void *node, PyObject **key, PyObject **value)
{
    OrderedNode *at = node;
    *key = at->key;
    *value = strobe_dict_find(dict, at->key, at->hash);
    return at->next;
}

PyObject *strobe_proxy_mapping(PyObject *proxy)
{
    typedef struct {
        PyObject_HEAD
        PyObject *mapping;
    } Proxy;
    return ((Proxy *)proxy)->mapping;
}
PyObject *strobe_view_dict(PyObject *view) { return (PyObject *)((_PyDictViewObject *)view)->dv_dict; }

/* ---- numbers ------------------------------------------------------------------------------------------------ */

/* object.rs reads integers of one digit itself. */
_Static_assert(offsetof(PyLongObject, long_value.lv_tag) == sizeof(PyObject), "the tag first");
_Static_assert(offsetof(PyLongObject, long_value.ob_digit) == sizeof(PyObject) + sizeof(uintptr_t), "then the digits");
_Static_assert(sizeof(digit) == sizeof(uint32_t), "of four bytes");

/* 1: it fits; 0: read its digits. */
int strobe_int(PyObject *object, int64_t *value)
{
    PyLongObject *number = (PyLongObject *)object;
    if (PyUnstable_Long_IsCompact(number)) {
        *value = (int64_t)PyUnstable_Long_CompactValue(number);
        return 1;
    }
    uintptr_t tag = number->long_value.lv_tag;
    size_t digits = tag >> 3;
    uint64_t magnitude = 0;
    if (digits > 3)
        return 0;
    for (size_t i = digits; i-- > 0;) {
        if (magnitude >> (64 - PyLong_SHIFT))
            return 0;
        magnitude = magnitude << PyLong_SHIFT | number->long_value.ob_digit[i];
    }
    int negative = (tag & 3) == 2;
    if (magnitude > (uint64_t)INT64_MAX + (uint64_t)negative)
        return 0;
    *value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return 1;
}
const uint32_t *strobe_digits(PyObject *object, size_t *count, int *negative)
{
    PyLongObject *number = (PyLongObject *)object;
    *count = number->long_value.lv_tag >> 3;
    *negative = (number->long_value.lv_tag & 3) == 2;
    return number->long_value.ob_digit;
}
int strobe_digit_bits(void) { return PyLong_SHIFT; }
void strobe_complex(PyObject *object, double *real, double *imaginary)
{
    *real = ((PyComplexObject *)object)->cval.real;
    *imaginary = ((PyComplexObject *)object)->cval.imag;
}

/* _decimal.Decimal: a libmpdec number behind the object's header and hash. */
typedef struct {
    PyObject_HEAD
    Py_hash_t hash;
    uint8_t flags;
    Py_ssize_t exponent;
    Py_ssize_t digits;
    Py_ssize_t length;
    Py_ssize_t allocated;
    uint64_t *words;
} Decimal;
int strobe_decimal(PyObject *object, int *flags, int64_t *exponent, size_t *length, const uint64_t **words)
{
    Decimal *number = (Decimal *)object;
    *flags = number->flags & 0x0F;
    *exponent = number->exponent;
    *length = number->length < 0 ? 0 : (size_t)number->length;
    *words = number->words;
    return number->words != NULL;
}

/* ---- text and bytes ----------------------------------------------------------------------------------------- */

/* object.rs reads compact ASCII itself. */
_Static_assert(offsetof(PyASCIIObject, length) == sizeof(PyObject), "the length first");
_Static_assert(offsetof(PyASCIIObject, state) == sizeof(PyObject) + sizeof(Py_ssize_t) + sizeof(Py_hash_t), "the state behind the hash");
_Static_assert(sizeof(PyASCIIObject) == sizeof(PyObject) + 3 * sizeof(Py_ssize_t), "then the text");

/* The kind is the width of a code point; 0 stands for ASCII. */
int strobe_text(PyObject *object, const void **data, Py_ssize_t *length)
{
    *data = PyUnicode_DATA(object);
    *length = PyUnicode_GET_LENGTH(object);
    return PyUnicode_IS_ASCII(object) ? 0 : (int)PyUnicode_KIND(object);
}
const char *strobe_bytes(PyObject *object, Py_ssize_t *length)
{
    *length = PyBytes_GET_SIZE(object);
    return PyBytes_AS_STRING(object);
}
const char *strobe_bytearray(PyObject *object, Py_ssize_t *length)
{
    *length = PyByteArray_GET_SIZE(object);
    return PyByteArray_AS_STRING(object);
}
/* Who lends a memoryview its memory; NULL if nobody does any more, or nobody is known. */
PyObject *strobe_memoryview_lender(PyObject *object)
{
    PyMemoryViewObject *memory = (PyMemoryViewObject *)object;
    if (memory->flags & _Py_MEMORYVIEW_RELEASED || memory->mbuf->flags & _Py_MANAGED_BUFFER_RELEASED)
        return NULL;
    return memory->mbuf->master.obj;
}
/* mmap.mmap, which shows nothing once it is closed. */
typedef struct {
    PyObject_HEAD
    char *data;
    Py_ssize_t size;
} Map;
const char *strobe_map(PyObject *object, Py_ssize_t *size)
{
    *size = ((Map *)object)->size;
    return ((Map *)object)->data;
}
/* Only plain bytes in one piece. */
const char *strobe_memoryview(PyObject *object, Py_ssize_t *length)
{
    PyMemoryViewObject *memory = (PyMemoryViewObject *)object;
    const Py_buffer *view = &memory->view;
    if (memory->flags & (_Py_MEMORYVIEW_RELEASED) || memory->mbuf->flags & _Py_MANAGED_BUFFER_RELEASED)
        return NULL;
    if (!(memory->flags & _Py_MEMORYVIEW_C) || view->suboffsets)
        return NULL;
    *length = view->len;
    return view->buf;
}

/* ---- sequences and sets ------------------------------------------------------------------------------------- */

/* collections.deque: linked blocks of 64. */
#define BLOCK 64
typedef struct Block {
    struct Block *left;
    PyObject *data[BLOCK];
    struct Block *right;
} Block;
typedef struct {
    PyObject_VAR_HEAD
    Block *left;
    Block *right;
    Py_ssize_t left_index;
    Py_ssize_t right_index;
} Deque;
/* Begins a walk: returns the block, and where in it the first element is. */
void *strobe_deque_begin(PyObject *object, Py_ssize_t *at)
{
    *at = ((Deque *)object)->left_index;
    return ((Deque *)object)->left;
}
PyObject *strobe_deque_next(void **block, Py_ssize_t *at)
{
    Block *here = *block;
    PyObject *element = here->data[*at];
    if (++*at == BLOCK) {
        *at = 0;
        *block = here->right;
    }
    return element;
}
/* The element at an index below the length, from the nearer end. */
PyObject *strobe_deque_at(PyObject *object, Py_ssize_t index)
{
    Deque *deque = (Deque *)object;
    Py_ssize_t place = deque->left_index + index, block = place / BLOCK;
    Py_ssize_t last = (deque->left_index + Py_SIZE(object) - 1) / BLOCK;
    Block *at = block <= last / 2 ? deque->left : deque->right;
    if (block <= last / 2)
        for (; block > 0; block--)
            at = at->right;
    else
        for (; block < last; block++)
            at = at->left;
    return at->data[place % BLOCK];
}
Py_ssize_t strobe_var_size(PyObject *object) { return Py_SIZE(object); }

/* array.array */
typedef struct {
    char code;
    int size;
} ArrayKind;
typedef struct {
    PyObject_VAR_HEAD
    char *items;
    Py_ssize_t allocated;
    const ArrayKind *kind;
} Array;
/* Without one of its instances: behind what is read stand a list of weak references and a count. */
int strobe_array_fits(PyTypeObject *type)
{
    return type->tp_weaklistoffset == sizeof(Array) && type->tp_itemsize == 0
        && type->tp_basicsize == (Py_ssize_t)(sizeof(Array) + sizeof(PyObject *) + sizeof(Py_ssize_t));
}
const char *strobe_array(PyObject *object, Py_ssize_t *length, int *code, int *size)
{
    Array *array = (Array *)object;
    *length = Py_SIZE(object);
    *code = array->kind->code;
    *size = array->kind->size;
    return array->items;
}

/* range: 0 if one of its numbers does not fit. */
typedef struct {
    PyObject_HEAD
    PyObject *start;
    PyObject *stop;
    PyObject *step;
    PyObject *length;
} Range;
int strobe_range(PyObject *object, int64_t *start, int64_t *step, int64_t *length)
{
    Range *range = (Range *)object;
    return strobe_int(range->start, start) && strobe_int(range->step, step) && strobe_int(range->length, length);
}

/* Which part: 0 start, 1 stop, 2 step. */
PyObject *strobe_range_part(PyObject *object, int which)
{
    Range *range = (Range *)object;
    return which == 0 ? range->start : which == 1 ? range->stop : range->step;
}

Py_ssize_t strobe_set_len(PyObject *set) { return PySet_GET_SIZE(set); }
/* Next member from a position; NULL at the end, with a position of -1, and behind that many empty places. */
PyObject *strobe_set_next(PyObject *set, Py_ssize_t *position, Py_ssize_t most)
{
    PySetObject *table = (PySetObject *)set;
    for (; *position <= table->mask; most--) {
        if (most == 0)
            return NULL;
        setentry *entry = &table->table[(*position)++];
        if (entry->key && entry->hash != -1)
            return entry->key;
    }
    *position = -1;
    return NULL;
}

/* ---- functions, exceptions, times --------------------------------------------------------------------------- */

PyObject *strobe_function_qualname(PyObject *function) { return ((PyFunctionObject *)function)->func_qualname; }
PyObject *strobe_method_function(PyObject *method) { return PyMethod_GET_FUNCTION(method); }
const char *strobe_builtin_name(PyObject *function) { return ((PyCFunctionObject *)function)->m_ml->ml_name; }
PyObject *strobe_builtin_self(PyObject *function) { return PyCFunction_GET_SELF(function); }
PyObject *strobe_descriptor_name(PyObject *descriptor) { return PyDescr_NAME(descriptor); }
PyTypeObject *strobe_descriptor_type(PyObject *descriptor) { return PyDescr_TYPE(descriptor); }
PyObject *strobe_module_dict(PyObject *module) { return PyModule_GetDict(module); }
PyObject *strobe_generator_qualname(PyObject *generator) { return ((PyGenObject *)generator)->gi_qualname; }

PyObject *strobe_exception_args(PyObject *exception) { return ((PyBaseExceptionObject *)exception)->args; }
PyObject *strobe_exception_cause(PyObject *exception) { return ((PyBaseExceptionObject *)exception)->cause; }
PyObject *strobe_exception_context(PyObject *exception) { return ((PyBaseExceptionObject *)exception)->context; }
PyObject *strobe_exception_traceback(PyObject *exception) { return ((PyBaseExceptionObject *)exception)->traceback; }
int strobe_exception_suppressed(PyObject *exception) { return ((PyBaseExceptionObject *)exception)->suppress_context; }

/* The exception that the thread handles, found as `sys.exception()` finds it. */
PyObject *strobe_handling(void)
{
    PyObject *exception = PyErr_GetHandledException();
    Py_XDECREF(exception);
    return exception;
}

/* One step of a traceback: its code and position (in code units), and the next one, inwards. */
PyObject *strobe_traceback(PyObject *traceback, PyCodeObject **code, int *position)
{
    PyTracebackObject *at = (PyTracebackObject *)traceback;
    *code = PyFrame_GetCode(at->tb_frame);
    Py_DECREF(*code); /* the frame keeps it */
    *position = at->tb_lasti / (int)sizeof(_Py_CODEUNIT);
    return (PyObject *)at->tb_next;
}
int strobe_is_traceback(PyObject *object) { return PyTraceBack_Check(object); }

/* What a date or time holds: year, month, day, hour, minute, second, microsecond; zone is NULL for a naive one. */
void strobe_datetime(PyObject *object, int *out, PyObject **zone)
{
    out[0] = PyDateTime_GET_YEAR(object);
    out[1] = PyDateTime_GET_MONTH(object);
    out[2] = PyDateTime_GET_DAY(object);
    out[3] = PyDateTime_DATE_GET_HOUR(object);
    out[4] = PyDateTime_DATE_GET_MINUTE(object);
    out[5] = PyDateTime_DATE_GET_SECOND(object);
    out[6] = PyDateTime_DATE_GET_MICROSECOND(object);
    *zone = ((PyDateTime_DateTime *)object)->hastzinfo ? ((PyDateTime_DateTime *)object)->tzinfo : NULL;
}
void strobe_date(PyObject *object, int *out)
{
    out[0] = PyDateTime_GET_YEAR(object);
    out[1] = PyDateTime_GET_MONTH(object);
    out[2] = PyDateTime_GET_DAY(object);
}
void strobe_time(PyObject *object, int *out, PyObject **zone)
{
    out[0] = PyDateTime_TIME_GET_HOUR(object);
    out[1] = PyDateTime_TIME_GET_MINUTE(object);
    out[2] = PyDateTime_TIME_GET_SECOND(object);
    out[3] = PyDateTime_TIME_GET_MICROSECOND(object);
    *zone = ((PyDateTime_Time *)object)->hastzinfo ? ((PyDateTime_Time *)object)->tzinfo : NULL;
}
void strobe_timedelta(PyObject *object, int *out)
{
    out[0] = PyDateTime_DELTA_GET_DAYS(object);
    out[1] = PyDateTime_DELTA_GET_SECONDS(object);
    out[2] = PyDateTime_DELTA_GET_MICROSECONDS(object);
}
/* datetime.timezone: an offset and a name behind the object's header. */
PyObject *strobe_timezone_offset(PyObject *zone)
{
    typedef struct {
        PyObject_HEAD
        PyObject *offset;
        PyObject *name;
    } Zone;
    return ((Zone *)zone)->offset;
}

/* ---- everything alive --------------------------------------------------------------------------------------- */

/* Visits the functions and code objects that the collector knows, until the visitor answers 0. It must not allocate
 * Python objects. It is asked with NULL for every other object, so that it can end a visit that takes too long. */
typedef struct {
    int (*visit)(PyObject *code, void *context);
    void *context;
} Search;
static int search(PyObject *object, void *argument)
{
    Search *with = argument;
    if (PyFunction_Check(object))
        return with->visit(((PyFunctionObject *)object)->func_code, with->context);
    return with->visit(PyCode_Check(object) ? object : NULL, with->context);
}
void strobe_visit_code(int (*visit)(PyObject *code, void *context), void *context)
{
    Search with = {visit, context};
    PyUnstable_GC_VisitObjects(search, &with);
}

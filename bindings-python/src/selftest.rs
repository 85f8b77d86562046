//! Checks, as the module starts, that this interpreter lays its objects out as `shim.c` says: known objects are read both
//! ways. Frames, instances and dictionaries that differ are read through CPython's public functions from then on, which is
//! slower and said; a container that differs is a plain object; numbers or text that differ refuse the start. The one place
//! that decides it, before both walks.

use crate::classes::{self, Extension, Known, Verdict};
use crate::code;
use crate::frame::{self, Layout, PyFrame};
use crate::object::{Class, Owned, Ref};
use crate::shim;
use crate::value::{self, PyValue};
use pyo3::ffi::{self, c_str};
use pyo3::prelude::*;
use pyo3::types::PyModule;
use std::ffi::{CStr, OsStr, c_void};
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use stroboscope_core::host::{Child, Frame, StackFrame, Symbol, Value, View};
use stroboscope_core::text::Text;

/// Known objects, each with what the public way says of it.
const OBJECTS: &CStr = c_str!(
    r"
import _collections
class Inline:
    def __init__(self): self.b, self.a = 1, 2
class Slots:
    __slots__ = ('x', 'y')
class Plain:
    pass
class Text(str):
    pass
inline = Inline()
slots = Slots(); slots.x = 3
own = Plain(); own.__dict__['k'] = 4
table = {str(number): number for number in range(300)}; table.pop('7')
mixed = {1: 10, 'two': 20, (3,): 30, Text('four'): 40}
ordered = _collections.OrderedDict(a=1, b=2, c=3); ordered.move_to_end('a')
deque = _collections.deque(range(200)); deque.rotate(77); deque.popleft()
span = range(5, 50, 7)
proxy = type(type.__dict__)({'p': 1})
big = -(1 << 70)
texts = 'plain', 'h\u00e9', 'h\u00e9\u4e16\U0001f600'
def pairs(a, b, c=0):
    c = a
    d = b
    a, b = b, a
    return (a, b, 1, c, 2, d)
"
);

fn of<'py>(objects: &Bound<'py, PyModule>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    objects.getattr(name)
}

/// Borrows a bound object for as long as it is bound.
pub fn borrow<'a>(object: &'a Bound<'_, PyAny>) -> Option<Ref<'a>> {
    // SAFETY: the bound reference keeps the object alive and proves that the GIL is held.
    unsafe { Ref::new(object.as_ptr()) }
}

fn elements(object: &Bound<'_, PyAny>) -> Option<Vec<i64>> {
    let mut found = Vec::new();
    PyValue::Object(borrow(object)?).elements(|value| {
        if let View::Int(number) = value.view() {
            found.push(number);
        }
        ControlFlow::Continue(())
    });
    Some(found)
}

fn keys(object: &Bound<'_, PyAny>) -> Option<Vec<String>> {
    let mut found = Vec::new();
    PyValue::Object(borrow(object)?).entries(|key, _| {
        if let View::Str(text) = key.view() {
            found.push(text.to_text());
        }
        ControlFlow::Continue(())
    });
    Some(found)
}

/// The fields that are integers, in order.
fn values(object: &Bound<'_, PyAny>) -> Option<Vec<i64>> {
    let mut found = Vec::new();
    PyValue::Object(borrow(object)?).fields(|_, field| {
        if let Child::Present(field) = field
            && let View::Int(number) = field.view()
        {
            found.push(number);
        }
        ControlFlow::Continue(())
    });
    Some(found)
}

fn same_elements(object: &Bound<'_, PyAny>) -> bool {
    let public: Option<Vec<i64>> =
        object.try_iter().ok().and_then(|all| all.map(|one| one?.extract()).collect::<PyResult<_>>().ok());
    public.is_some() && elements(object) == public
}

/// What is read through public functions if it is laid out in another way.
#[derive(Clone, Copy)]
enum Part {
    Frames,
    Fields,
    Dicts,
}

impl Part {
    const ALL: [Part; 3] = [Part::Frames, Part::Fields, Part::Dicts];

    fn name(self) -> &'static str {
        match self {
            Part::Frames => "frames",
            Part::Fields => "instances",
            Part::Dicts => "dictionaries",
        }
    }

    /// What the other way is, and what it costs.
    fn cost(self) -> &'static str {
        match self {
            Part::Frames => {
                "variables and stacks are asked for one by one; nothing is lost, but a hit takes up to twice as long"
            }
            Part::Fields => {
                "their fields are read from their `__dict__`, which is made where there was none and stays with the instance"
            }
            Part::Dicts => {
                "names are searched from end to end, and an OrderedDict shows its entries as they were added"
            }
        }
    }

    fn is_public(self) -> bool {
        PUBLIC[self as usize].load(Ordering::Relaxed)
    }
}

/// By [`Part`]: true if it is read through public functions.
static PUBLIC: [AtomicBool; 3] = [const { AtomicBool::new(false) }; 3];

fn read_publicly(part: Part, wanted: bool) {
    PUBLIC[part as usize].store(wanted, Ordering::Relaxed);
    let [frames, fields, dicts] = Part::ALL.map(|part| part.is_public().into());
    // SAFETY: sets three numbers, with the GIL held and no hit under way.
    unsafe { shim::strobe_read_publicly(frames, fields, dicts) };
}

/// What is read the slow way, for the log.
pub fn remarks(py: Python<'_>) -> Vec<String> {
    let version = py.version_info();
    let (major, minor, patch) = (version.major, version.minor, version.patch);
    let public = Part::ALL.into_iter().filter(|part| part.is_public());
    let remark = |part: Part| {
        format!(
            "{} of CPython {major}.{minor}.{patch} are laid out in a way that this build does not know: {}",
            part.name(),
            part.cost()
        )
    };
    public.map(remark).collect()
}

/// The same for the status of a probe; `None` if all is well.
pub fn note() -> Option<String> {
    let public: Vec<&str> = Part::ALL.into_iter().filter(|part| part.is_public()).map(Part::name).collect();
    (!public.is_empty()).then(|| format!("slower: {} are read through public functions", public.join(", ")))
}

/// Runs the checks and decides how everything is read. An error says what cannot be read at all. What is `doubted`, by name,
/// is taken to be laid out in another way: for tests.
pub fn run(py: Python<'_>, doubted: &[String]) -> Result<(), String> {
    let module = PyModule::from_code(py, OBJECTS, c_str!("<stroboscope>"), c_str!("stroboscope_selftest"));
    let objects = module.map_err(|error| format!("the self-test could not run: {error}"))?;
    forget(py);
    let doubts = |name: &str| doubted.iter().any(|other| other == name);
    let unknown =
        |what: &str| format!("{what} of this interpreter are laid out in a way that this build does not know");
    if doubts("numbers") || scalars(&objects).is_none() {
        return Err(unknown("numbers or text"));
    }
    let decide = |part: Part, doubted: bool, check: &dyn Fn() -> Option<()>| {
        read_publicly(part, false);
        if !doubted && check().is_some() {
            return Ok(());
        }
        read_publicly(part, true);
        check().ok_or_else(|| unknown(part.name()))
    };
    decide(Part::Dicts, doubts("dictionaries"), &|| dictionaries(&objects))?;
    // The names of an instance's fields stand in the table of a dictionary.
    decide(Part::Fields, doubts("instances") || Part::Dicts.is_public(), &|| instances(&objects))?;
    decide(Part::Frames, doubts("frames"), &|| frames(py))?;
    containers(py, &objects, doubts);
    if let Ok(pairs) = of(&objects, "pairs").and_then(|pairs| pairs.getattr("__code__")) {
        let _: Option<()> = borrow(&pairs).map(code::try_joining);
    }
    Ok(())
}

fn dictionaries(objects: &Bound<'_, PyModule>) -> Option<()> {
    let (table, mixed) = (of(objects, "table").ok()?, of(objects, "mixed").ok()?);
    let (table, mixed) = (borrow(&table)?, borrow(&mixed)?);
    let number = |dict: Ref<'_>, name: &str| dict.dict_get_text(name).and_then(Ref::int);
    let found = ["0", "7", "299", "300"].map(|name| number(table, name));
    (found == [Some(0), None, Some(299), None]).then_some(())?;
    // A key of a subclass could have an `__eq__` of the program's: it is not found by its text.
    (number(mixed, "two") == Some(20) && number(mixed, "four").is_none()).then_some(())?;
    let all = |dict: Ref<'_>| {
        let mut values = Vec::new();
        dict.dict_entries(|_, value| {
            values.extend(value.int());
            true
        });
        values
    };
    let expected: Vec<i64> = (0..300).filter(|&number| number != 7).collect();
    (table.dict_len() == 299 && all(table) == expected && all(mixed) == [10, 20, 30, 40]).then_some(())?;
    (!mixed.has_text_keys()).then_some(())
}

/// Takes our module of test objects out of sight again; it lives as long as we hold it.
fn forget(py: Python<'_>) {
    // If it is not there, so much the better.
    let _ = py.import("sys").and_then(|sys| sys.getattr("modules")?.del_item("stroboscope_selftest"));
}

/// Reads `name` of an instance by layout and compares.
fn field_is(objects: &Bound<'_, PyModule>, object: &str, name: &str, expected: i64) -> Option<()> {
    let object = of(objects, object).ok()?;
    let found = match value::plain_field(borrow(&object)?, name)? {
        PyValue::Object(found) => found.int(),
        _ => None,
    };
    (found == Some(expected)).then_some(())
}

fn instances(objects: &Bound<'_, PyModule>) -> Option<()> {
    field_is(objects, "inline", "b", 1)?;
    field_is(objects, "inline", "a", 2)?;
    field_is(objects, "slots", "x", 3)?;
    field_is(objects, "own", "k", 4)?;
    let slots = of(objects, "slots").ok()?;
    value::plain_field(borrow(&slots)?, "y").is_none().then_some(())?;
    // Reading must not have made a dictionary of the inline values: they still are where they were.
    let inline = of(objects, "inline").ok()?;
    let mut fields = shim::Fields::empty();
    // SAFETY: a live object; the output is ours.
    let kind = unsafe { shim::strobe_fields(borrow(&inline)?.pointer(), &raw mut fields) };
    let untouched = kind == shim::FIELDS_INLINE && fields.count == 2;
    ((untouched || Part::Fields.is_public()) && values(&inline)? == [1, 2]).then_some(())
}

fn scalars(objects: &Bound<'_, PyModule>) -> Option<()> {
    let big = of(objects, "big").ok()?;
    let (digits, negative) = borrow(&big)?.digits()?;
    // SAFETY: asks for a constant of the build.
    let bits = unsafe { shim::strobe_digit_bits() };
    (negative && bits == 30 && digits == [0, 0, 1 << 10]).then_some(())?;
    let texts = of(objects, "texts").ok()?;
    // SAFETY: elements of a live tuple.
    let texts = borrow(&texts)?.tuple().iter().map(|&text| unsafe { Ref::new(text) }?.text());
    let texts: Option<Vec<String>> = texts.map(|text| text.map(Text::to_text)).collect();
    (texts? == ["plain", "hé", "hé世😀"]).then_some(())
}

/// A function and the body of a class, each with a call that reads the frame it stands in.
const FRAMES: &CStr = c_str!(
    r"
known = 45
def function():
    local, cell = 41, 42
    def inner(): return cell
    class Body:
        inside = 44
        found = read()
    return read(), Body.found
"
);

/// The names that are read there.
const NAMES: [&str; 5] = ["local", "cell", "inside", "known", "later"];

/// What was read: the values of the names that are integers, and the innermost steps of the stack.
type Seen = (Vec<Option<i64>>, Vec<(String, u32)>);

fn frames(py: Python<'_>) -> Option<()> {
    let module = PyModule::from_code(py, FRAMES, c_str!("<stroboscope>"), c_str!("stroboscope_selftest")).ok()?;
    forget(py);
    module.setattr("read", pyo3::wrap_pyfunction!(read_frame, &module).ok()?).ok()?;
    let (function, body): (Seen, Seen) = module.getattr("function").ok()?.call0().ok()?.extract().ok()?;
    let step = |(name, line): &(String, u32), expected: &str, at: u32| name == expected && *line == at;
    let in_function = function.0 == [Some(41), Some(42), None, Some(45), None];
    let in_body = body.0 == [None, None, Some(44), Some(45), None];
    let steps = step(function.1.first()?, "function", 9) && step(body.1.first()?, "Body", 8);
    (in_function && in_body && steps && step(body.1.get(1)?, "function", 6)).then_some(())
}

/// Reads the frame that calls as a hit does.
#[pyfunction]
fn read_frame(py: Python<'_>) -> Seen {
    let _ = py;
    let mut seen = Seen::default();
    let names = NAMES.map(str::to_owned);
    // SAFETY: the GIL is held; null, or the frame of our caller, which is running until we return, and so is its code.
    let code = unsafe {
        let frame = shim::strobe_top_frame();
        if frame.is_null() { None } else { Ref::new(shim::strobe_frame_code(frame)) }
    };
    let Some(code) = code else { return seen };
    let layout = Layout::of(code, Vec::new());
    let Some(symbols) = frame::resolve(&layout, &names) else { return seen };
    // SAFETY: as above; the layout is of this code.
    let Some(frame) = (unsafe { PyFrame::top(code, &layout, &symbols) }) else { return seen };
    seen.0 = names
        .iter()
        .zip(0..)
        .map(|(name, index)| match frame.variable(Symbol { index, name }) {
            Child::Present(PyValue::Object(found)) => found.int(),
            _ => None,
        })
        .collect();
    let mut steps = [StackFrame::default(); 2];
    let count = frame.stack(&mut steps);
    for step in steps.iter().take(count) {
        let place = code::describe(step.code, step.position);
        seen.1.push((place.function, place.line));
    }
    seen
}

/// Containers that are read by a layout no header declares: each is known only if it reads right.
fn containers(py: Python<'_>, objects: &Bound<'_, PyModule>, doubts: impl Fn(&str) -> bool) {
    let class = |name: &str| py.import("_collections").and_then(|module| module.getattr(name)).ok();
    let deque = || class("deque").as_ref().and_then(borrow).map(Owned::keep);
    let known = || Known { deque: deque(), ordered: true, range: true, proxy: true, ..Known::default() };
    // First believe all of it, then read, then keep what was right.
    classes::set_known(known());
    let mut kept = known();
    let reads = |name: &str| !doubts(name) && of(objects, name).is_ok_and(|object| same_elements(&object));
    let has_keys = |name: &str, expected: &[&str]| {
        let object = if doubts(name) { None } else { of(objects, name).ok() };
        object.and_then(|object| keys(&object)).is_some_and(|keys| keys == expected)
    };
    if !reads("deque") {
        kept.deque = None;
    }
    kept.range = reads("span");
    // Each of its keys is looked up: too slow where that goes from end to end.
    kept.ordered = !Part::Dicts.is_public() && has_keys("ordered", &["b", "c", "a"]);
    kept.proxy = has_keys("proxy", &["p"]);
    for (name, extension) in
        [("array", Extension::Array), ("decimal", Extension::Decimal), ("zone", Extension::Timezone)]
    {
        if doubts(name) {
            kept.extensions[extension as usize] = Verdict::Never;
        }
    }
    classes::set_known(kept);
}

/// True if instances of a class that C made, and named as one of the standard library's, are read right. Asked in the hit
/// that meets the first of them: nothing of the program runs.
pub fn reads(extension: Extension, class: Class<'_>) -> bool {
    if !is_of_standard_library(class) {
        return false;
    }
    match extension {
        Extension::Array => array_reads(class),
        Extension::Decimal => decimal_reads(class).is_some(),
        Extension::Timezone => zone_reads(class).is_some(),
        // A header of CPython declares them.
        Extension::DateTime | Extension::Date | Extension::Time | Extension::TimeDelta => true,
    }
}

/// True if a class comes from an extension module of the standard library, or with Python itself, by the file that its code
/// lies in. An extension of the program's may bear any name.
fn is_of_standard_library(class: Class<'_>) -> bool {
    let find = |address: usize| {
        let mut found = MaybeUninit::<libc::Dl_info>::zeroed();
        // SAFETY: asks the loader about an address, which need not be in any file; the output is ours, and zeros are a value.
        unsafe {
            let is_found = libc::dladdr(address as *const c_void, found.as_mut_ptr()) != 0;
            is_found.then(|| found.assume_init())
        }
    };
    let Some(found) = find(class.code()) else { return false };
    if find(ffi::PyType_IsSubtype as *const () as usize).is_some_and(|python| python.dli_fbase == found.dli_fbase) {
        return true;
    }
    if found.dli_fname.is_null() {
        return false;
    }
    // SAFETY: the name of a file that stays loaded: Python lets go of no extension.
    let name = unsafe { CStr::from_ptr(found.dli_fname) };
    let folder = Path::new(OsStr::from_bytes(name.to_bytes())).parent().and_then(Path::file_name);
    folder.is_some_and(|folder| folder == "lib-dynload")
}

/// By its sizes alone: to make one, CPython would call the audit hooks of the program.
fn array_reads(class: Class<'_>) -> bool {
    // SAFETY: a live class.
    unsafe { shim::strobe_array_fits(class.pointer()) != 0 }
}

fn decimal_reads(class: Class<'_>) -> Option<()> {
    // In a context of our own: the first number of a thread settles how it rounds.
    // SAFETY: the GIL is held; a new reference or null.
    let context = unsafe { Owned::take(ffi::PyContext_New()) }?;
    let text = Owned::text(Text::Utf8("-12345678901234567890123.45"))?;
    // SAFETY: a live context that nobody else has; it is left again below.
    if unsafe { ffi::PyContext_Enter(context.borrow().pointer()) } != 0 {
        // SAFETY: the GIL is held; the error is ours.
        unsafe { ffi::PyErr_Clear() };
        return None;
    }
    // SAFETY: a live class of CPython's own and a live text; a new reference or null.
    let made = unsafe { Owned::take(ffi::PyObject_CallOneArg(class.object().pointer(), text.borrow().pointer())) };
    // SAFETY: the context that was entered; an error would be ours.
    unsafe {
        if ffi::PyContext_Exit(context.borrow().pointer()) != 0 {
            ffi::PyErr_Clear();
        }
    }
    let made = made?;
    // 1234567890123456789012345 = 123456 * 10^19 + 7890123456789012345
    let View::Decimal(digits) = value::view_decimal(made.borrow()) else { return None };
    (digits.negative && digits.exponent == -2 && digits.words == [7_890_123_456_789_012_345, 123_456]).then_some(())
}

fn zone_reads(class: Class<'_>) -> Option<()> {
    let zone = class.dict()?.dict_get_text("min").filter(|zone| zone.class() == class)?;
    let name = Owned::interned("utcoffset")?;
    // SAFETY: a live `timezone` of CPython's own, whose method is so too; a new reference or null.
    let offset = unsafe {
        let (name, zone) = (name.borrow().pointer(), zone.pointer());
        Owned::take(ffi::PyObject_CallMethodOneArg(zone, name, ffi::Py_None()))
    }?;
    // SAFETY: a live `timezone`; what it holds at this place is only compared.
    let read = unsafe { Ref::new(shim::strobe_timezone_offset(zone.pointer())) }?;
    (read == offset.borrow()).then_some(())
}

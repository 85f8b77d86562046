//! Checks, as the module starts, that this interpreter lays its objects out as `shim.c` says: known objects are read both
//! ways. What differs in a frame or an instance refuses the start with a reason; what differs in a container leaves its
//! instances plain objects. Before both walks.

use crate::classes::{self, Known};
use crate::code;
use crate::object::{Owned, Ref};
use crate::shim;
use crate::value::{self, PyValue};
use pyo3::ffi::c_str;
use pyo3::prelude::*;
use pyo3::types::PyModule;
use std::ops::ControlFlow;
use stroboscope_core::host::{Child, Value, View};
use stroboscope_core::text::Text;

/// Known objects, each with what the public way says of it.
const OBJECTS: &std::ffi::CStr = c_str!(
    r"
import collections, array, types, _decimal, datetime
class Inline:
    def __init__(self): self.b, self.a = 1, 2
class Slots:
    __slots__ = ('x', 'y')
class Plain:
    pass
inline = Inline()
slots = Slots(); slots.x = 3
own = Plain(); own.__dict__['k'] = 4
ordered = collections.OrderedDict(a=1, b=2, c=3); ordered.move_to_end('a')
deque = collections.deque(range(200)); deque.rotate(77); deque.popleft()
numbers = array.array('h', [1, -2, 3])
span = range(5, 50, 7)
proxy = types.MappingProxyType({'p': 1})
decimal = _decimal.Decimal('-12345678901234567890123.45')
zone = datetime.timezone(datetime.timedelta(hours=5, minutes=30))
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

/// Runs the checks and tells [`classes`] what can be read. An error says what cannot be done without.
pub fn run(py: Python<'_>) -> Result<(), String> {
    let module = PyModule::from_code(py, OBJECTS, c_str!("<stroboscope>"), c_str!("stroboscope_selftest"));
    let objects = module.map_err(|error| format!("the self-test could not run: {error}"))?;
    instances(&objects).ok_or("instances of this interpreter are laid out in another way")?;
    scalars(&objects).ok_or("numbers or text of this interpreter are laid out in another way")?;
    frames(py).ok_or("frames of this interpreter are laid out in another way")?;
    containers(py, &objects);
    if let Ok(pairs) = of(&objects, "pairs").and_then(|pairs| pairs.getattr("__code__")) {
        let _: Option<()> = borrow(&pairs).map(code::try_joining);
    }
    Ok(())
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
    (kind == shim::FIELDS_INLINE && fields.count == 2 && values(&inline)? == [1, 2]).then_some(())
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

/// Reads the frame of a function that is running: its code, a local, a cell.
fn frames(py: Python<'_>) -> Option<()> {
    let code = c_str!("def probe(read):\n    local, cell = 41, 42\n    def inner(): return cell\n    return read()\n");
    let module = PyModule::from_code(py, code, c_str!("<stroboscope>"), c_str!("stroboscope_selftest")).ok()?;
    let read = pyo3::wrap_pyfunction!(read_frame, &module).ok()?;
    let found: (String, Vec<Option<i64>>, u32) = module.getattr("probe").ok()?.call1((read,)).ok()?.extract().ok()?;
    let expected = [None, Some(41), None, Some(42)];
    (found.0 == "probe" && found.1 == expected && found.2 == 4).then_some(())
}

/// What the shim sees of the frame that calls: the function's name, its slots that are integers, and the line.
#[pyfunction]
fn read_frame(py: Python<'_>) -> (String, Vec<Option<i64>>, u32) {
    let nothing = (String::new(), Vec::new(), 0);
    let _ = py;
    // SAFETY: the GIL is held and the frame of our caller is running, so that it and what it holds stay until we return.
    unsafe {
        let frame = shim::strobe_top_frame();
        if frame.is_null() {
            return nothing;
        }
        let Some(code) = Ref::new(shim::strobe_frame_code(frame)) else { return nothing };
        let slot = |index| {
            let slot = shim::strobe_frame_slot(frame, index);
            if slot.is_null() { None } else { Ref::new(shim::strobe_cell_contents(slot)).and_then(Ref::int) }
        };
        let slots = (0..shim::strobe_code_slots(code.pointer())).map(slot).collect();
        let name = code::name(code).and_then(Ref::text).map(Text::to_text).unwrap_or_default();
        let position = u32::try_from(shim::strobe_frame_position(frame)).unwrap_or(0);
        let line = code::number(code).map_or(0, |number| code::describe(number, position).line);
        (name, slots, line)
    }
}

/// Containers that are read by a layout no header declares: each is known only if it reads right.
fn containers(py: Python<'_>, objects: &Bound<'_, PyModule>) {
    let class = |module: &str, name: &str| classes::attribute(py, module, name);
    let known = || Known {
        deque: class("collections", "deque"),
        array: class("array", "array"),
        decimal: class("_decimal", "Decimal"),
        enum_type: class("enum", "EnumType"),
        datetime: class("datetime", "datetime"),
        date: class("datetime", "date"),
        time: class("datetime", "time"),
        timedelta: class("datetime", "timedelta"),
        timezone: class("datetime", "timezone"),
        ordered: true,
        range: true,
        proxy: true,
    };
    // First believe all of it, then read, then keep what was right.
    classes::set_known(known());
    let mut kept = known();
    let reads = |name: &str| of(objects, name).is_ok_and(|object| same_elements(&object));
    let has_keys = |name: &str, expected: &[&str]| {
        of(objects, name).ok().and_then(|object| keys(&object)).is_some_and(|keys| keys == expected)
    };
    drop_unless(reads("deque"), &mut kept.deque);
    drop_unless(reads("numbers"), &mut kept.array);
    kept.range = reads("span");
    kept.ordered = has_keys("ordered", &["b", "c", "a"]);
    kept.proxy = has_keys("proxy", &["p"]);
    drop_unless(decimal_reads(objects).is_some(), &mut kept.decimal);
    drop_unless(zone_reads(objects).is_some(), &mut kept.timezone);
    // The Python versions of these classes (no C module) have no layout to read.
    let from_c = |class: &Option<Owned>| {
        class
            .as_ref()
            .and_then(|class| class.borrow().as_class())
            .is_some_and(|class| class.c_name().starts_with("datetime."))
    };
    for class in [&mut kept.datetime, &mut kept.date, &mut kept.time, &mut kept.timedelta, &mut kept.timezone] {
        let is_from_c = from_c(class);
        drop_unless(is_from_c, class);
    }
    classes::set_known(kept);
}

fn drop_unless(right: bool, class: &mut Option<Owned>) {
    if !right {
        *class = None;
    }
}

fn decimal_reads(objects: &Bound<'_, PyModule>) -> Option<()> {
    let decimal = of(objects, "decimal").ok()?;
    let View::Decimal(digits) = PyValue::Object(borrow(&decimal)?).view() else { return None };
    // 1234567890123456789012345 = 123456 * 10^19 + 7890123456789012345
    (digits.negative && digits.exponent == -2 && digits.words == [7_890_123_456_789_012_345, 123_456]).then_some(())
}

fn zone_reads(objects: &Bound<'_, PyModule>) -> Option<()> {
    let zone = of(objects, "zone").ok()?;
    let expected = zone.call_method1("utcoffset", (zone.py().None(),)).ok()?;
    // SAFETY: a live `timezone`; the offset belongs to it.
    let offset = unsafe { Ref::new(shim::strobe_timezone_offset(borrow(&zone)?.pointer())) }?;
    (offset == borrow(&expected)?).then_some(())
}

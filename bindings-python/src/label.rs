//! The text of a well-known scalar, a function or an enum member, from layout and slots and never from `__str__`. Stands
//! on the hit's walk, under [`crate::value`].

use crate::classes::{self, Kind, Scalar};
use crate::numpy::{self, Unit};
use crate::object::{self, Ref};
use crate::shim;
use crate::value::{self, PyValue};
use pyo3::ffi;
use std::fmt::Write;
use stroboscope_core::host::Value;

/// Appends the text; nothing if there is none.
pub fn push(object: Ref<'_>, kind: Kind, out: &mut String) {
    match kind {
        Kind::Scalar(scalar) => push_scalar(object, scalar, out),
        Kind::Range => push_range(object, out),
        Kind::Enum | Kind::Int | Kind::Str => {
            let field = |name| match value::plain_field(object, name) {
                Some(PyValue::Object(field)) => Some(field),
                _ => None,
            };
            push_text(field("_name_"), out);
            // No flag at all has no name: it is told by its number.
            if let Some(value) = field("_value_").filter(|value| out.is_empty() && value.int().is_some()) {
                push_integer(value, out);
            }
        }
        Kind::Function => push_function(object, out),
        Kind::Iterator => push_iterator(object, out),
        Kind::Decimal => value::push_decimal(object, out),
        Kind::NumpyTime => {
            let (time, unit) = numpy::time_scalar(object);
            push_numpy_time(time, unit, out);
        }
        Kind::NumpyArray => {
            if let Some(item) = numpy::item(object) {
                Value::label(item, out);
            }
        }
        _ => {}
    }
}

fn push_text(text: Option<Ref<'_>>, out: &mut String) {
    if let Some(text) = text.and_then(Ref::text) {
        text.push_to(out);
    }
}

fn push_function(object: Ref<'_>, out: &mut String) {
    if let Some(class) = object.as_class() {
        out.push_str("<class '");
        let module = class.module();
        if !module.same(stroboscope_core::text::Text::Utf8("builtins")) {
            module.push_to(out);
            out.push('.');
        }
        class.qualified_name().push_to(out);
        out.push_str("'>");
        return;
    }
    if let Some(namespace) = object.module_dict() {
        return push_text(namespace.dict_get_text("__name__"), out);
    }
    let class = object.class();
    if object.is_exactly(&raw const ffi::PyFunction_Type) {
        // SAFETY: a live function; the name belongs to it.
        return push_text(unsafe { Ref::new(shim::strobe_function_qualname(object.pointer())) }, out);
    }
    if object.is_exactly(&raw const shim::PyMethod_Type) {
        // SAFETY: a live method; its function belongs to it.
        let function = unsafe { Ref::new(shim::strobe_method_function(object.pointer())) };
        return match function {
            Some(function) if function.is_exactly(&raw const ffi::PyFunction_Type) => push_function(function, out),
            Some(function) if function.class().is_subclass_of(&raw const ffi::PyCFunction_Type) => {
                push_function(function, out);
            }
            _ => {}
        };
    }
    if class.is_subclass_of(&raw const ffi::PyCFunction_Type) {
        // SAFETY: a live built-in function; its receiver belongs to it, null for none.
        let receiver = unsafe { Ref::new(shim::strobe_builtin_self(object.pointer())) };
        if let Some(receiver) = receiver
            && !receiver.class().is_subclass_of(&raw const ffi::PyModule_Type)
        {
            receiver.as_class().unwrap_or(receiver.class()).qualified_name().push_to(out);
            out.push('.');
        }
        out.push_str(object::builtin_name(object));
        return;
    }
    let descriptors = [
        &raw const ffi::PyMethodDescr_Type,
        &raw const ffi::PyClassMethodDescr_Type,
        &raw const ffi::PyWrapperDescr_Type,
    ];
    if descriptors.iter().any(|&kind| object.is_exactly(kind)) {
        // SAFETY: a live descriptor; its class and name belong to it.
        let (class, name) = unsafe {
            (
                object::Class::new(shim::strobe_descriptor_type(object.pointer())),
                Ref::new(shim::strobe_descriptor_name(object.pointer())),
            )
        };
        if let Some(class) = class {
            class.qualified_name().push_to(out);
            out.push('.');
        }
        push_text(name, out);
    }
}

fn push_iterator(object: Ref<'_>, out: &mut String) {
    let kinds = [&raw const ffi::PyGen_Type, &raw const ffi::PyCoro_Type, &raw const ffi::PyAsyncGen_Type];
    if kinds.iter().any(|&kind| object.is_exactly(kind)) {
        // SAFETY: a live generator, coroutine or asynchronous generator, which begin alike; the name belongs to it.
        push_text(unsafe { Ref::new(shim::strobe_generator_qualname(object.pointer())) }, out);
    }
}

/// Writing to a `String` cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{ let _ = write!($out, $($text)*); }};
}

fn push_scalar(object: Ref<'_>, scalar: Scalar, out: &mut String) {
    match scalar {
        Scalar::Date => {
            let mut parts = [0; 3];
            // SAFETY: a live date; three numbers are written.
            unsafe { shim::strobe_date(object.pointer(), parts.as_mut_ptr()) };
            put!(out, "{:04}-{:02}-{:02}", parts[0], parts[1], parts[2]);
        }
        Scalar::DateTime => {
            let (mut parts, mut zone) = ([0; 7], std::ptr::null_mut());
            // SAFETY: a live datetime; seven numbers are written; the zone belongs to it.
            let zone = unsafe {
                shim::strobe_datetime(object.pointer(), parts.as_mut_ptr(), &raw mut zone);
                Ref::new(zone)
            };
            put!(out, "{:04}-{:02}-{:02}T", parts[0], parts[1], parts[2]);
            push_clock(parts[3], parts[4], parts[5], parts[6], out);
            push_zone(zone, out);
        }
        Scalar::Time => {
            let (mut parts, mut zone) = ([0; 4], std::ptr::null_mut());
            // SAFETY: a live time; four numbers are written; the zone belongs to it.
            let zone = unsafe {
                shim::strobe_time(object.pointer(), parts.as_mut_ptr(), &raw mut zone);
                Ref::new(zone)
            };
            push_clock(parts[0], parts[1], parts[2], parts[3], out);
            push_zone(zone, out);
        }
        Scalar::TimeDelta => {
            let micros = microseconds(object);
            let sign = if micros < 0 { "-" } else { "" };
            let (seconds, rest) = (micros.unsigned_abs() / 1_000_000, micros.unsigned_abs() % 1_000_000);
            put!(out, "{sign}{seconds}");
            if rest != 0 {
                let fraction = format!("{rest:06}");
                put!(out, ".{}", fraction.trim_end_matches('0'));
            }
            out.push('s');
        }
        Scalar::Uuid => push_uuid(object, out),
        Scalar::Fraction => push_fraction(object, out),
        Scalar::Path => push_path(object, out),
    }
}

/// The day that is so many after the beginning of 1970, as year, month and day (Howard Hinnant's algorithm).
fn day(days: i128) -> (i128, i128, i128) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i128::from(month <= 2), month, day)
}

/// A date or span of numpy's, as numpy writes it.
pub fn push_numpy_time(value: i64, unit: Unit, out: &mut String) {
    const NAMES: [&str; 15] = [
        "years",
        "months",
        "weeks",
        "",
        "days",
        "hours",
        "minutes",
        "seconds",
        "milliseconds",
        "microseconds",
        "nanoseconds",
        "picoseconds",
        "femtoseconds",
        "attoseconds",
        "generic time units",
    ];
    if value == i64::MIN {
        return out.push_str("NaT");
    }
    let count = i128::from(value) * i128::from(unit.times);
    let Some(name) = usize::try_from(unit.number).ok().and_then(|unit| NAMES.get(unit)) else { return };
    if name.is_empty() {
        return;
    }
    if unit.span || unit.number == 14 {
        return put!(out, "{count} {name}");
    }
    // Units in a day, and the digits of a second's fraction.
    let (per_day, digits) = match unit.number {
        0 => return put!(out, "{:04}", 1970 + count),
        1 => return put!(out, "{:04}-{:02}", 1970 + count.div_euclid(12), count.rem_euclid(12) + 1),
        2 | 4 => (1, 0),
        5 => (24, 0),
        6 => (1440, 0),
        finer => {
            let digits = u32::try_from(finer - 7).unwrap_or(0) * 3;
            (86_400 * 10_i128.pow(digits), digits as usize)
        }
    };
    let count = if unit.number == 2 { count * 7 } else { count };
    let (year, month, day) = day(count.div_euclid(per_day));
    put!(out, "{year:04}-{month:02}-{day:02}");
    let rest = count.rem_euclid(per_day);
    match unit.number {
        ..=4 => {}
        5 => put!(out, "T{rest:02}"),
        6 => put!(out, "T{:02}:{:02}", rest / 60, rest % 60),
        _ => {
            let second = per_day / 86_400;
            let whole = rest / second;
            put!(out, "T{:02}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
            if digits > 0 {
                put!(out, ".{:0digits$}", rest % second);
            }
        }
    }
}

fn push_clock(hour: i32, minute: i32, second: i32, micro: i32, out: &mut String) {
    put!(out, "{hour:02}:{minute:02}:{second:02}");
    if micro != 0 {
        put!(out, ".{micro:06}");
    }
}

/// The offset of an exact `datetime.timezone`; a subclass of `tzinfo` would have to be asked.
fn push_zone(zone: Option<Ref<'_>>, out: &mut String) {
    let Some(zone) = zone.filter(|zone| classes::is_timezone(zone.class())) else { return };
    // SAFETY: a live exact `timezone`, whose layout was checked; the offset belongs to it.
    let Some(offset) = (unsafe { Ref::new(shim::strobe_timezone_offset(zone.pointer())) }) else { return };
    let micros = microseconds(offset);
    let seconds = micros.unsigned_abs() / 1_000_000;
    put!(out, "{}{:02}:{:02}", if micros < 0 { '-' } else { '+' }, seconds / 3600, seconds / 60 % 60);
    if !seconds.is_multiple_of(60) {
        put!(out, ":{:02}", seconds % 60);
    }
}

/// A timedelta may have a thousand million days: more microseconds than 64 bits hold.
fn microseconds(delta: Ref<'_>) -> i128 {
    let mut parts = [0; 3];
    // SAFETY: a live timedelta; three numbers are written.
    unsafe { shim::strobe_timedelta(delta.pointer(), parts.as_mut_ptr()) };
    let [days, seconds, micros] = parts.map(i128::from);
    (days * 86_400 + seconds) * 1_000_000 + micros
}

fn slot<'f>(object: Ref<'f>, name: &str) -> Option<Ref<'f>> {
    match value::plain_field(object, name) {
        Some(PyValue::Object(found)) => Some(found),
        _ => None,
    }
}

/// Reads a number of at most 128 bits.
fn wide(object: Ref<'_>) -> Option<u128> {
    if let Some(value) = object.int() {
        return u128::try_from(value).ok();
    }
    let (digits, negative) = object.digits()?;
    // SAFETY: asks for a constant of the build.
    let bits = u32::try_from(unsafe { shim::strobe_digit_bits() }).ok()?;
    if negative || digits.len() > 5 {
        return None;
    }
    let mut value: u128 = 0;
    for &digit in digits.iter().rev() {
        value = value.checked_shl(bits)? | u128::from(digit);
    }
    Some(value)
}

fn push_uuid(object: Ref<'_>, out: &mut String) {
    let Some(number) = slot(object, "int").and_then(wide) else { return };
    let hex = format!("{number:032x}");
    put!(out, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
}

fn push_fraction(object: Ref<'_>, out: &mut String) {
    let (Some(numerator), Some(denominator)) = (slot(object, "_numerator"), slot(object, "_denominator")) else {
        return;
    };
    push_integer(numerator, out);
    if denominator.int() != Some(1) {
        out.push('/');
        push_integer(denominator, out);
    }
}

fn push_range(object: Ref<'_>, out: &mut String) {
    // SAFETY: a live range; its three numbers belong to it.
    let part = |which| unsafe { Ref::new(shim::strobe_range_part(object.pointer(), which)) };
    let (Some(start), Some(stop), Some(step)) = (part(0), part(1), part(2)) else { return };
    out.push_str("range(");
    push_integer(start, out);
    out.push_str(", ");
    push_integer(stop, out);
    if step.int() != Some(1) {
        out.push_str(", ");
        push_integer(step, out);
    }
    out.push(')');
}

/// Above this many bits an integer is written in hexadecimal, and only its beginning.
const HUGE_BITS: usize = 4096;
const HUGE_DIGITS: usize = 256;
const BILLION: u64 = 1_000_000_000;

/// An `int` of any size.
fn push_integer(object: Ref<'_>, out: &mut String) {
    if let Some(value) = object.int() {
        return put!(out, "{value}");
    }
    let Some((digits, negative)) = object.digits() else { return };
    // SAFETY: asks for a constant of the build.
    let bits = usize::try_from(unsafe { shim::strobe_digit_bits() }).unwrap_or(30);
    if negative {
        out.push('-');
    }
    if digits.len() * bits > HUGE_BITS {
        return push_beginning(digits, bits, out);
    }
    let mut rest = digits.to_vec();
    let mut billions = Vec::new();
    while let Some(0) = rest.last() {
        rest.pop();
    }
    while !rest.is_empty() {
        let mut over = 0u64;
        for digit in rest.iter_mut().rev() {
            let value = over << bits | u64::from(*digit);
            *digit = u32::try_from(value / BILLION).unwrap_or(0);
            over = value % BILLION;
        }
        billions.push(over);
        while let Some(0) = rest.last() {
            rest.pop();
        }
    }
    let mut parts = billions.iter().rev();
    put!(out, "{}", parts.next().unwrap_or(&0));
    for part in parts {
        put!(out, "{part:09}");
    }
}

/// The first hexadecimal digits of a huge integer.
fn push_beginning(digits: &[u32], bits: usize, out: &mut String) {
    let total = digits.len() * bits - digits.last().map_or(0, |top| top.leading_zeros() as usize - (32 - bits));
    let bit = |at: usize| digits.get(at / bits).is_some_and(|digit| digit >> (at % bits) & 1 != 0);
    let hex = total.div_ceil(4);
    out.push_str("0x");
    for place in (hex.saturating_sub(HUGE_DIGITS)..hex).rev() {
        let value = (0..4).fold(0, |value, low| value | u32::from(bit(place * 4 + low)) << low);
        put!(out, "{value:x}");
    }
    out.push('…');
}

/// `_str`, if somebody asked for the text before; else the parts that it would be made of.
fn push_path(object: Ref<'_>, out: &mut String) {
    if let Some(text) = slot(object, "_str").and_then(Ref::text) {
        return text.push_to(out);
    }
    let raw = slot(object, "_raw_paths");
    let texts = raw.map_or(&[][..], Ref::list).iter().filter_map(|&part| {
        // SAFETY: an element of a live list.
        unsafe { Ref::new(part) }.and_then(Ref::text).map(stroboscope_core::text::Text::to_text)
    });
    let windows = object.class().qualified_name().to_text().contains("Windows");
    out.push_str(&if windows { windows_path(texts) } else { posix_path(texts) });
}

/// The parts of a path behind its root, as `pathlib` keeps them.
fn parts(path: &str, separator: char) -> Vec<&str> {
    path.split(separator).filter(|part| !part.is_empty() && *part != ".").collect()
}

fn posix_path(texts: impl Iterator<Item = String>) -> String {
    let mut joined = String::new();
    for text in texts {
        if text.starts_with('/') {
            joined.clear();
        } else if !joined.is_empty() && !joined.ends_with('/') {
            joined.push('/');
        }
        joined.push_str(&text);
    }
    // Two slashes have a meaning of their own, one and three have not (POSIX).
    let slashes = joined.len() - joined.trim_start_matches('/').len();
    let root = match slashes {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let text = format!("{root}{}", parts(&joined, '/').join("/"));
    if text.is_empty() { ".".to_owned() } else { text }
}

/// Both are separators of Windows.
const SEPARATORS: [char; 2] = ['\\', '/'];

/// Drive, root and rest of a path of Windows.
fn split_root(path: &str) -> (&str, &str, &str) {
    let separator = |byte: Option<&u8>| matches!(byte, Some(b'\\' | b'/'));
    let bytes = path.as_bytes();
    let drive = if separator(bytes.first()) && separator(bytes.get(1)) {
        let start = path.get(..8).map(|start| start.replace('/', "\\").to_uppercase());
        let start = if start.as_deref() == Some(r"\\?\UNC\") { 8 } else { 2 };
        let next = |from: usize| path.get(from..).and_then(|rest| rest.find(SEPARATORS)).map(|found| found + from);
        next(start).and_then(|server| next(server + 1)).unwrap_or(path.len())
    } else {
        match path.char_indices().nth(1) {
            Some((index, ':')) => index + 1,
            _ => 0,
        }
    };
    let (drive, rest) = path.split_at(drive);
    let root = usize::from(rest.starts_with(SEPARATORS));
    (drive, &rest[..root], &rest[root..])
}

fn windows_path(texts: impl Iterator<Item = String>) -> String {
    let (mut drive, mut root, mut path) = (String::new(), String::new(), String::new());
    for (index, text) in texts.enumerate() {
        let (own_drive, own_root, own_path) = split_root(&text);
        let other_drive = !own_drive.is_empty() && own_drive.to_lowercase() != drive.to_lowercase();
        if index == 0 || !own_root.is_empty() || other_drive {
            if !own_drive.is_empty() {
                own_drive.clone_into(&mut drive);
            }
            own_root.clone_into(&mut root);
            own_path.clone_into(&mut path);
            continue;
        }
        if !own_drive.is_empty() {
            own_drive.clone_into(&mut drive);
        }
        if !path.is_empty() && !path.ends_with(SEPARATORS) {
            path.push('\\');
        }
        path.push_str(own_path);
    }
    let apart = !path.is_empty() && root.is_empty() && !drive.is_empty() && !drive.ends_with([':', '\\', '/']);
    let joined = format!("{drive}{root}{}{path}", if apart { "\\" } else { "" }).replace('/', "\\");
    let (drive, mut root, rest) = split_root(&joined);
    // A share is a root though nothing says so: `\\server\share`, `\\?\UNC\server\share`.
    if root.is_empty() && drive.starts_with('\\') && !drive.ends_with('\\') {
        let names: Vec<&str> = drive.split('\\').collect();
        let share = names.len() == 4 && !matches!(names[2], "?" | "." | "");
        root = if share || names.len() == 6 { "\\" } else { "" };
    }
    let mut rest = parts(rest, '\\');
    // What looks like a drive and is none.
    if drive.is_empty() && root.is_empty() && rest.first().is_some_and(|first| !split_root(first).0.is_empty()) {
        rest.insert(0, ".");
    }
    let text = format!("{drive}{root}{}", rest.join("\\"));
    if text.is_empty() { ".".to_owned() } else { text }
}

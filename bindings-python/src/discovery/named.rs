//! What a name in a module is, found in its namespace without running code of the program. Stands on the configuration's walk,
//! for probes on methods.

use super::modules::{is_main, is_module, namespace, source_of};
use crate::code;
use crate::object::{Owned, Ref};
use crate::selftest::borrow;
use crate::shim;
use pyo3::prelude::*;
use stroboscope_core::probe::location::is_method;
use stroboscope_core::text::Text;

/// The first line of the getter, if a name is a property that can be set or deleted.
pub fn getter_of_property(py: Python<'_>, module: &str, wanted: &str) -> Option<u32> {
    let held = namespace(py, module)?;
    let mut space = Some(held.borrow());
    let mut found = None;
    for part in wanted.split('.') {
        found = space.and_then(|space| space.dict_get_text(part));
        space = found.and_then(Ref::as_class).and_then(crate::object::Class::dict);
    }
    let property = found.filter(|found| found.class().c_name() == "property")?;
    let code = |name: &str| function_code(py, attribute(py, property, name)?.borrow());
    if code("fset").is_none() && code("fdel").is_none() {
        return None;
    }
    code("fget").map(|code| code::line_table(code.borrow()).1)
}

/// A new reference to an attribute of an object of CPython's own classes, for which no code of the program runs.
pub(super) fn attribute(py: Python<'_>, object: Ref<'_>, name: &str) -> Option<Owned> {
    // SAFETY: a live object, borrowed for the call.
    let object = unsafe { Bound::from_borrowed_ptr(py, object.pointer()) };
    let found = object.getattr(name).ok()?;
    borrow(&found).map(Owned::keep)
}

/// What is inside a wrapper of CPython's own: `staticmethod`, `classmethod`, `property`, a bound method, a cache.
pub(super) fn unwrapped(py: Python<'_>, object: Ref<'_>) -> Option<Owned> {
    match object.class().c_name() {
        "staticmethod" | "classmethod" | "method" => attribute(py, object, "__func__"),
        // One that can only be set has `None` there.
        "property" => attribute(py, object, "fget").filter(|getter| getter.borrow().class().c_name() != "NoneType"),
        "function" | "functools._lru_cache_wrapper" => attribute(py, object, "__wrapped__"),
        _ => None,
    }
}

pub(super) fn is_function(object: Ref<'_>) -> bool {
    object.class().c_name() == "function" && object.class().module().same(Text::Utf8("builtins"))
}

/// The code of the function that an object is or wraps.
fn function_code(py: Python<'_>, object: Ref<'_>) -> Option<Owned> {
    if is_function(object) {
        return attribute(py, object, "__code__");
    }
    let inner = unwrapped(py, object)?;
    is_function(inner.borrow()).then(|| attribute(py, inner.borrow(), "__code__")).flatten()
}

/// What a name in a module is, found in its namespace.
pub enum Named {
    /// A Python function of the module's file.
    Function(Owned),
    /// It is there, but no probe can be placed; the sentence says why.
    Not(String),
    /// There is no such name.
    Missing,
}

/// Looks a name of a module up in its namespace, without running code of the program.
pub fn named(py: Python<'_>, module: &str, wanted: &str) -> Named {
    let Some(held) = namespace(py, module) else { return Named::Missing };
    let mut space = held.borrow();
    let file = source_of(space);
    let parts: Vec<&str> = wanted.split('.').collect();
    for (at, part) in parts.iter().enumerate() {
        let last = at + 1 == parts.len();
        let found = space.dict_get_text(part);
        let Some(found) = found else { return Named::Missing };
        if last {
            return what(py, found, wanted, module, file.as_deref());
        }
        let Some(class) = found.as_class() else { return Named::Missing };
        let Some(own) = class.dict() else { return Named::Missing };
        let next = parts[at + 1];
        if at + 2 == parts.len() && own.dict_get_text(next).is_none() {
            let has =
                |class: &crate::object::Class<'_>| class.dict().is_some_and(|dict| dict.dict_get_text(next).is_some());
            let Some(definer) = class.ancestors().find(has) else { return Named::Missing };
            let mut qualified = String::new();
            crate::names::qualify(definer, &mut qualified);
            return Named::Not(format!(
                "`{wanted}` is inherited: class `{qualified}` defines `{next}`; name that class"
            ));
        }
        space = own;
    }
    Named::Missing
}

/// The module that a function says it is from.
fn home(py: Python<'_>, function: Ref<'_>) -> String {
    let home = attribute(py, function, "__module__");
    home.as_ref().and_then(|home| home.borrow().text()).map(Text::to_text).unwrap_or_default()
}

/// True if a module's `__file__` is where code from a source file is; it may be a compiled copy.
fn is_made_from(file: &str, source: &str) -> bool {
    file == source || file.strip_suffix('c') == Some(source)
}

/// True for a function that another module has by the function's own name.
fn is_imported(py: Python<'_>, object: Ref<'_>, module: &str) -> bool {
    let home = home(py, object);
    let name = attribute(py, object, "__name__");
    let Some(name) = name.as_ref().and_then(|name| name.borrow().text()).map(Text::to_text) else { return false };
    if home == module || is_main(&home) {
        return false;
    }
    namespace(py, &home).is_some_and(|space| space.borrow().dict_get_text(&name) == Some(object))
}

fn what(py: Python<'_>, object: Ref<'_>, wanted: &str, module: &str, file: Option<&str>) -> Named {
    if object.as_class().is_some() {
        return Named::Not(format!("`{wanted}` in module `{module}` is a class; name one of its methods"));
    }
    let mut object = Owned::keep(object);
    for _ in 0..20 {
        let own = |function: Ref<'_>| {
            is_function(function) && is_module(module, &home(py, function), file.unwrap_or_default())
        };
        // Made by the module's own use of `exec`, as the methods of a dataclass are.
        let is_generated = |of: &str| {
            let inner = unwrapped(py, object.borrow());
            of.starts_with('<') && (own(object.borrow()) || inner.is_some_and(|inner| own(inner.borrow())))
        };
        let code = function_code(py, object.borrow());
        let of = code.as_ref().and_then(|code| code::file(code.borrow())).and_then(Ref::text).map(Text::to_text);
        // Without a file of its own a module may have functions from any, except those that it imported.
        let is_here = |of: &str| match file {
            Some(file) => is_made_from(file, of),
            None => !is_imported(py, object.borrow(), module),
        };
        if let (Some(code), Some(of)) = (code, of)
            && (is_here(&of) || of.starts_with("<frozen ") || is_generated(&of))
        {
            return Named::Function(code);
        }
        let Some(inner) = unwrapped(py, object.borrow()) else { break };
        object = inner;
    }
    if is_function(object.borrow()) {
        return Named::Not(format!("`{wanted}` in module `{module}` is {}", elsewhere(py, object.borrow(), wanted)));
    }
    let kind = match object.borrow().class().bare_name().to_text() {
        kind if kind == "property" => "`property` whose getter is none".to_owned(),
        kind => format!("`{kind}`"),
    };
    Named::Not(format!("`{wanted}` in module `{module}` is not a Python function but a {kind}"))
}

/// What a function is that is not the module's own: where it is defined, if a name there leads to one, else what made it.
fn elsewhere(py: Python<'_>, function: Ref<'_>, wanted: &str) -> String {
    let home = home(py, function);
    let text = |object: Ref<'_>, name: &str| attribute(py, object, name)?.borrow().text().map(Text::to_text);
    let own = text(function, "__qualname__").unwrap_or_default();
    if lookup(&own, namespace(py, &home)).is_some() {
        let named = if own == wanted { String::new() } else { format!(" and `{own}`") };
        return format!("defined in module `{home}`; name that module{named}");
    }
    let Some(code) = attribute(py, function, "__code__") else { return format!("from module `{home}`") };
    let (file, first) = (text(code.borrow(), "co_filename").unwrap_or_default(), code::line_table(code.borrow()).1);
    if file.starts_with('<') {
        return format!("generated code ({file}), which has no place of its own; put the probe where it is called");
    }
    format!("made by other code, at {file}:{first}; a probe on a line there is in all functions that are made there")
}

/// Where a name leads that its file has functions for.
pub enum Leads {
    /// To one of them, or nobody can tell.
    Here,
    /// To a function of that name which got other code.
    Code(Owned),
    /// To a function that leads to none of them; the words say which.
    Elsewhere(String),
}

/// Objects that are looked at on the way from a name to the functions that its file has for it.
const MAX_REACHED: usize = 50;

/// Where a name of a module leads, which may not be where its file says: to other code, or to another function. What wraps a
/// function leads to it by `__wrapped__`, by what it closes over, or by its defaults.
pub fn leads(py: Python<'_>, module: &str, wanted: &str, known: &[Ref<'_>]) -> Leads {
    let Some(object) = lookup(wanted, namespace(py, module)) else { return Leads::Here };
    let mut first = None;
    let mut waiting = vec![object];
    for _ in 0..MAX_REACHED {
        let Some(object) = waiting.pop() else { break };
        let object = object.borrow();
        let code = if is_function(object) { attribute(py, object, "__code__") } else { None };
        if code.as_ref().is_some_and(|code| known.contains(&code.borrow())) {
            return Leads::Here;
        }
        waiting.extend(unwrapped(py, object).or_else(|| of_partial(py, object)));
        let Some(code) = code else {
            if is_plain(object) {
                continue;
            }
            // An object that is called may lead anywhere.
            return Leads::Here;
        };
        let text = |name: &str| attribute(py, object, name).and_then(|it| it.borrow().text().map(Text::to_text));
        let qualified = text("__qualname__").unwrap_or_default();
        first.get_or_insert_with(|| (qualified, home(py, object), code));
        for held in ["__closure__", "__defaults__"] {
            let Some(held) = attribute(py, object, held) else { continue };
            for &one in held.borrow().tuple() {
                // SAFETY: an element of a live tuple; what a cell holds belongs to it.
                let one =
                    unsafe { if is_cell(one) { Ref::new(shim::strobe_cell_contents(one)) } else { Ref::new(one) } };
                waiting.extend(one.map(Owned::keep));
            }
        }
    }
    match first {
        // Too much to look at.
        _ if !waiting.is_empty() => Leads::Here,
        None => Leads::Here,
        Some((qualified, home, code)) if home == module && is_method(&qualified, wanted) => Leads::Code(code),
        Some((qualified, home, _)) => Leads::Elsewhere(format!("`{qualified}` of module `{home}`")),
    }
}

/// What a name in a module leads to, by way of classes.
pub(super) fn lookup(wanted: &str, space: Option<Owned>) -> Option<Owned> {
    let space = space?;
    let mut space = space.borrow();
    let (path, last) = wanted.rsplit_once('.').map_or((None, wanted), |(path, last)| (Some(path), last));
    for part in path.into_iter().flat_map(|path| path.split('.')) {
        space = space.dict_get_text(part)?.as_class()?.dict()?;
    }
    space.dict_get_text(last).map(Owned::keep)
}

/// What `functools.partial` calls.
fn of_partial(py: Python<'_>, object: Ref<'_>) -> Option<Owned> {
    (object.class().c_name() == "functools.partial").then(|| attribute(py, object, "func")).flatten()
}

/// True for what leads to no function, or only by a way that is known here.
fn is_plain(object: Ref<'_>) -> bool {
    const PLAIN: [&str; 14] = [
        "staticmethod",
        "classmethod",
        "method",
        "property",
        "functools._lru_cache_wrapper",
        "functools.partial",
        "NoneType",
        "bool",
        "int",
        "float",
        "str",
        "bytes",
        "builtin_function_or_method",
        "type",
    ];
    PLAIN.contains(&object.class().c_name())
}

fn is_cell(object: *mut pyo3::ffi::PyObject) -> bool {
    // SAFETY: an element of a live tuple.
    unsafe { Ref::new(object) }.is_some_and(|object| object.class().c_name() == "cell")
}

/// Names like the one that is not there: of the class that it names, or of the module.
pub fn names_beside(py: Python<'_>, module: &str, wanted: &str) -> Vec<String> {
    let Some(held) = namespace(py, module) else { return Vec::new() };
    let mut space = held.borrow();
    let mut prefix = String::new();
    let mut parts = wanted.split('.').peekable();
    while let Some(part) = parts.next()
        && parts.peek().is_some()
    {
        let class = space.dict_get_text(part).and_then(Ref::as_class);
        let Some(own) = class.and_then(crate::object::Class::dict) else { break };
        space = own;
        prefix.push_str(part);
        prefix.push('.');
    }
    let callable = [
        "function",
        "staticmethod",
        "classmethod",
        "property",
        "functools._lru_cache_wrapper",
        "builtin_function_or_method",
        "method_descriptor",
        "wrapper_descriptor",
    ];
    let mut names = Vec::new();
    space.dict_entries(|name, value| {
        if callable.contains(&value.class().c_name()) {
            names.extend(name.text().map(|name| format!("{prefix}{}", name.to_text())));
        }
        names.len() < 10_000
    });
    names
}

//! Doors for the Python tests: what the adapters read of real objects. On neither walk; the names begin with `_test_`.

use crate::code;
use crate::discovery;
use crate::exception;
use crate::names;
use crate::numpy;
use crate::selftest::{self, borrow};
use crate::statements::{self, Opcodes};
use crate::value::PyValue;
use pyo3::exceptions::{PyImportError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use stroboscope_core::capture::redact::Redaction;
use stroboscope_core::host::{Child, Name, Value, View};
use stroboscope_core::record::names::Tables;
use stroboscope_core::text::Text;

/// The session's tables, or plain ones that redact what is redacted by default.
fn with_tables() -> Arc<Tables> {
    if let Some(tables) = names::tables() {
        return tables;
    }
    let tables = Arc::new(Tables::new(Arc::new(Redaction::new(&[], &[], &[]))));
    names::use_tables(Some(Arc::clone(&tables)));
    tables
}

fn name_text(tables: &Tables, name: Name<'_>) -> String {
    match name {
        Name::Known { id, .. } => tables.name(id).unwrap_or_default().to_owned(),
        Name::Text(text) => text.to_text(),
    }
}

/// Runs the self-test again, as if these parts were laid out in another way: `frames`, `instances`, `dictionaries`,
/// `numbers`, or a container by the name it has in the self-test. Answers the remarks of a start. Before a session only.
#[pyfunction]
#[allow(clippy::needless_pass_by_value, reason = "PyO3 hands arguments over by value")]
pub fn _test_selftest(py: Python<'_>, doubted: Vec<String>) -> PyResult<Vec<String>> {
    selftest::run(py, &doubted).map_err(PyImportError::new_err)?;
    Ok(selftest::remarks(py))
}

/// What the core would see of a value: kind, class, scalar, children to a depth.
#[pyfunction]
#[pyo3(signature = (object, depth = 3))]
pub fn _test_view<'py>(object: &Bound<'py, PyAny>, depth: u32) -> PyResult<Bound<'py, PyDict>> {
    numpy::forget();
    exception::forget();
    let tables = with_tables();
    let value = borrow(object).ok_or_else(|| PyValueError::new_err("null"))?;
    describe(object.py(), PyValue::Object(value), depth, &tables)
}

fn child<'py>(py: Python<'py>, child: Child<PyValue<'_>>, depth: u32, tables: &Tables) -> PyResult<Bound<'py, PyAny>> {
    Ok(match child {
        Child::Present(value) => describe(py, value, depth, tables)?.into_any(),
        Child::Absent => "absent".into_pyobject(py)?.into_any(),
        Child::Computed => "computed".into_pyobject(py)?.into_any(),
        Child::Failed(reason) => reason.into_pyobject(py)?.into_any(),
    })
}

fn describe<'py>(py: Python<'py>, value: PyValue<'_>, depth: u32, tables: &Tables) -> PyResult<Bound<'py, PyDict>> {
    let out = PyDict::new(py);
    out.set_item("type", tables.type_name(value.type_info().id))?;
    let kind = match value.view() {
        View::Undefined => "undefined",
        View::Null => "null",
        View::Bool(is) => {
            out.set_item("value", is)?;
            "bool"
        }
        View::Int(number) => {
            out.set_item("value", number)?;
            "int"
        }
        View::Big(big) => {
            out.set_item("negative", big.negative)?;
            out.set_item("digits", big.digits)?;
            out.set_item("bits", big.bits)?;
            "big"
        }
        View::Float(number) => {
            out.set_item("value", number)?;
            "float"
        }
        View::Complex(real, imaginary) => {
            out.set_item("value", (real, imaginary))?;
            "complex"
        }
        View::Decimal(decimal) => {
            out.set_item("negative", decimal.negative)?;
            out.set_item("words", decimal.words)?;
            out.set_item("exponent", decimal.exponent)?;
            "decimal"
        }
        View::Str(text) => {
            out.set_item("value", text.to_text())?;
            out.set_item("len", text.len())?;
            "str"
        }
        View::Beginning { bytes, len } => {
            out.set_item("value", bytes)?;
            out.set_item("len", len)?;
            "beginning"
        }
        View::Bytes(bytes) => {
            out.set_item("value", bytes)?;
            "bytes"
        }
        View::List(len) | View::Values(len) => {
            out.set_item("len", len)?;
            "list"
        }
        View::Set(len) => {
            out.set_item("len", len)?;
            "set"
        }
        View::Map { len, .. } => {
            out.set_item("len", len)?;
            "map"
        }
        View::Named(len) => {
            out.set_item("len", len)?;
            "named"
        }
        View::Object => "object",
        View::Exception => {
            let message = value.message().map(|message| describe(py, message, 0, tables)).transpose()?;
            out.set_item("message", message)?;
            "exception"
        }
        View::Enum => "enum",
        View::Function => "function",
        View::Iterator => "iterator",
        View::Opaque => "opaque",
        View::Scalar => "scalar",
        View::Unreadable(reason) => {
            out.set_item("reason", reason)?;
            "unreadable"
        }
    };
    out.set_item("kind", kind)?;
    let mut label = String::new();
    value.label(&mut label);
    if !label.is_empty() {
        out.set_item("label", label)?;
    }
    if depth > 0 {
        children(py, value, depth - 1, tables, &out)?;
    }
    Ok(out)
}

fn children<'py>(
    py: Python<'py>,
    value: PyValue<'_>,
    depth: u32,
    tables: &Tables,
    out: &Bound<'py, PyDict>,
) -> PyResult<()> {
    let mut failed = Ok(());
    let mut keep = |result: PyResult<()>| match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Err(error);
            ControlFlow::Break(())
        }
    };
    match value.view() {
        View::List(_) | View::Values(_) | View::Set(_) => {
            let list = PyList::empty(py);
            value.elements(|element| {
                keep(describe(py, element, depth, tables).and_then(|element| list.append(element)))
            });
            out.set_item("elements", list)?;
        }
        View::Map { .. } => {
            let list = PyList::empty(py);
            value.entries(|key, value| {
                let pair =
                    describe(py, key, depth, tables).and_then(|key| Ok((key, describe(py, value, depth, tables)?)));
                keep(pair.and_then(|pair| list.append(pair)))
            });
            out.set_item("entries", list)?;
        }
        View::Object | View::Exception | View::Named(_) => {
            let fields = PyDict::new(py);
            value.fields(|name, field| {
                let name = name_text(tables, name);
                keep(child(py, field, depth, tables).and_then(|field| fields.set_item(name, field)))
            });
            out.set_item("fields", fields)?;
        }
        _ => {}
    }
    failed
}

/// A member, as an expression reads it.
#[pyfunction]
pub fn _test_member<'py>(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    numpy::forget();
    exception::forget();
    let tables = with_tables();
    let value = borrow(object).ok_or_else(|| PyValueError::new_err("null"))?;
    child(object.py(), PyValue::Object(value).member(name), 1, &tables)
}

/// The value of a string key, or `None` if the core has to scan.
#[pyfunction]
pub fn _test_lookup<'py>(object: &Bound<'py, PyAny>, key: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
    numpy::forget();
    exception::forget();
    let tables = with_tables();
    let value = borrow(object).ok_or_else(|| PyValueError::new_err("null"))?;
    let found = PyValue::Object(value).lookup(Text::Utf8(key));
    found.map(|found| child(object.py(), found, 1, &tables)).transpose()
}

/// The qualified and bare names of the class and its ancestors.
#[pyfunction]
pub fn _test_type_names(object: &Bound<'_, PyAny>) -> PyResult<Vec<(String, String)>> {
    let value = borrow(object).ok_or_else(|| PyValueError::new_err("null"))?;
    let mut names = Vec::new();
    PyValue::Object(value).type_names(|name| {
        names.push((name.qualified.to_text(), name.bare.to_text()));
        ControlFlow::Continue(())
    });
    Ok(names)
}

/// Where statements begin in a code object: byte offset, first line, last line.
#[pyfunction]
pub fn _test_statement_starts(code: &Bound<'_, PyAny>) -> PyResult<Vec<(u32, u32, u32)>> {
    let object =
        borrow(code).filter(|object| code::is_code(*object)).ok_or_else(|| PyValueError::new_err("not code"))?;
    let found = discovery::statements_of(code.py(), object, &Opcodes::read(code.py()))?;
    Ok(found.iter().map(|start| (start.offset, start.line, start.end)).collect())
}

/// The opcodes by name, each with whether its argument says where to go on.
#[pyfunction]
pub fn _test_opcodes() -> HashMap<&'static str, (u8, bool)> {
    statements::named().into_iter().map(|(name, number)| (name, (number, statements::jumps(name)))).collect()
}

/// The instructions of a code object as they are read without asking for `co_code`; `None` if only CPython can tell.
#[pyfunction]
pub fn _test_instructions(code: &Bound<'_, PyAny>) -> PyResult<Option<Vec<u8>>> {
    let object =
        borrow(code).filter(|object| code::is_code(*object)).ok_or_else(|| PyValueError::new_err("not code"))?;
    Ok(Opcodes::read(code.py()).plain(&code::Instructions::copy(object)))
}

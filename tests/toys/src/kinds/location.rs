//! `path` and `line`: which file, and which function and line, a probe means.

use super::definition::{capabilities, field, same};
use crate::runner::{Vector, Verdict};
use serde_json::{Value, json};
use stroboscope_core::probe::location::{self, Candidate, Choice, Function, FunctionKind, Statement};

/// Checks one choice of a file.
pub fn path(vector: &Vector) -> Result<Verdict, String> {
    let files = field(vector, "files")?;
    let candidate = |file: &Value| match file {
        Value::String(path) => Candidate::new(path, false),
        other => Candidate::new(other["path"].as_str().unwrap_or_default(), other["library"] == json!(true)),
    };
    let candidates: Vec<Candidate> = files.as_array().ok_or("no files")?.iter().map(candidate).collect();
    let source_file = vector.text("sourceFile").ok_or("no sourceFile")?;
    let links = field(vector, "links")?;
    let is_link = |at: usize| links.as_array().is_some_and(|links| links.contains(&json!(at)));
    let choice = match vector.text("exists") {
        Some(file) => location::choose_existing(&candidates, &file, is_link),
        None => location::choose(&candidates, &source_file),
    };
    let found = match choice {
        Choice::File(positions) => json!({"file": positions}),
        Choice::Ambiguous(text) => json!({"ambiguous": text}),
        Choice::None => json!({"none": true}),
    };
    same("choice", &field(vector, "expect")?, &found)
}

/// Checks one choice of a line.
pub fn line(vector: &Vector) -> Result<Verdict, String> {
    let functions = field(vector, "functions")?;
    let functions: Result<Vec<Function>, String> =
        functions.as_array().ok_or("no functions")?.iter().map(function).collect();
    let wanted = number(&field(vector, "line")?)?;
    let found = match location::resolve_line(&functions?, wanted, &capabilities(vector)?) {
        Ok(choice) => json!({"functions": choice.functions, "line": choice.line, "note": choice.note}),
        Err(error) => json!({ "error": error }),
    };
    same("line", &field(vector, "expect")?, &found)
}

fn number(value: &Value) -> Result<u32, String> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("{value} is not a line"))
}

fn function(value: &Value) -> Result<Function, String> {
    let kind = match value["kind"].as_str() {
        Some("module") => FunctionKind::Module,
        Some("class") => FunctionKind::Class,
        Some("function") => FunctionKind::Function,
        Some("lambda") => FunctionKind::Lambda,
        Some("comprehension") => FunctionKind::Comprehension,
        other => return Err(format!("no such kind of function: {other:?}")),
    };
    let statements = value["statements"].as_array().ok_or("no statements")?.iter();
    let statements: Result<Vec<Statement>, String> =
        statements.map(|pair| Ok(Statement { line: number(&pair[0])?, end: number(&pair[1])? })).collect();
    Ok(Function {
        name: value["name"].as_str().ok_or("no name")?.to_owned(),
        kind,
        first: number(&value["first"])?,
        last: number(&value["last"])?,
        parent: value["parent"].as_u64().and_then(|parent| usize::try_from(parent).ok()),
        statements: statements?,
    })
}

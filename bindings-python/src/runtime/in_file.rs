//! Finds a probe's lines, or its method, in the code of one file and places it there. Stands on the configuration's walk,
//! between [`super::install`] or [`super::starts`] and [`super::place`].

use super::CAPABILITIES;
use super::answer::{MISSING_LINE, missing_name, stopping};
use super::place::{left_out, place};
use super::state::{HANDS, opcodes};
use crate::code;
use crate::discovery::{self, FileCode, Leads, Named, PyFunction};
use crate::object::{Owned, Ref};
use crate::statements::Opcodes;
use pyo3::prelude::*;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use stroboscope_core::host::{Outcome, Site};
use stroboscope_core::probe::location;
use stroboscope_core::registry::LiveProbe;
use stroboscope_core::text::Text;

/// Places a method probe in the one function that its name leads to; the code may call it otherwise.
pub(super) fn in_function(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: &Owned,
    module: &str,
    wanted: &str,
) -> PyResult<Outcome> {
    let name = code::file(code.borrow()).and_then(Ref::text).map(Text::to_text).unwrap_or_default();
    let mut function = discovery::functions_of(py, code.borrow(), &name);
    Ok(match in_functions(py, live, &mut function, &[0], &name, module, true)? {
        Outcome::Done { note, site } => Outcome::Done { note, site: Site { method: wanted.to_owned(), ..site } },
        other => other,
    })
}

/// Places a line probe in the functions of a file.
pub(super) fn in_lines(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: &mut FileCode,
    name: &str,
    lines: &[u32],
    release: bool,
) -> PyResult<Outcome> {
    let Some(opcodes) = opcodes() else { return Ok(stopping()) };
    if code.functions.is_empty() {
        return Ok(Outcome::Waiting(format!(
            "{name} has run and left no function behind; the probe waits for it to run again"
        )));
    }
    let modules = discovery::all_names_of(py, name);
    let mut site = Site { file: name.to_owned(), modules, ..Site::default() };
    let mut notes = Vec::new();
    let mut choices = Vec::new();
    // All of them are found before the first is placed: a probe is at all of its lines or at none.
    for &line in lines {
        let choice = match choose(py, code, &opcodes, line, release)? {
            Ok(choice) => choice,
            Err(reason) => return Ok(Outcome::Refused { kind: MISSING_LINE, reason: not_all(code, lines, reason) }),
        };
        notes.extend(choice.note);
        // Several lines without code come down to one.
        if !site.lines.contains(&choice.line) {
            site.lines.push(choice.line);
            choices.push((choice.line, choice.functions));
        }
    }
    name_code(code, choices.iter().flat_map(|(_, functions)| functions), &mut site);
    if is_denied(live, &site) {
        return Ok(Outcome::Denied { site });
    }
    for (line, functions) in choices {
        for at in functions {
            let function = &code.functions[at];
            let Some(read) = &function.read else { continue };
            let offsets = read.starts.iter().filter(|start| start.line == line);
            let offsets: Vec<i64> = offsets.map(|start| i64::from(start.offset)).collect();
            place(py, live, function.code.borrow(), read, Some((line, &offsets)))?;
            site.function.clone_from(&code.plain[at].name);
        }
    }
    placed_in(live.slot, name);
    notes.extend(left_out(live.slot, name));
    if !discovery::is_source(name) && site.modules.iter().all(String::is_empty) {
        notes.push(
            "the file is no Python source: code that was generated of it says its name, and may count lines of its own"
                .to_owned(),
        );
    }
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(Outcome::Done { note, site })
}

/// Notes the classes that functions are written in, and those around them.
fn name_code<'a>(code: &FileCode, functions: impl IntoIterator<Item = &'a usize>, site: &mut Site) {
    for &at in functions {
        let Some(function) = code.plain.get(at) else { continue };
        let own = code.qualified[at].as_str();
        let is_class = function.kind == location::FunctionKind::Class;
        let mut around = if is_class { Some(own) } else { own.rsplit_once('.').map(|(around, _)| around) };
        while let Some(class) = around {
            if !site.classes.iter().any(|known| known == class) {
                site.classes.push(class.to_owned());
            }
            around = class.rsplit_once('.').map(|(around, _)| around);
        }
    }
}

/// True if the service denies the code that was found for a probe.
fn is_denied(live: &Arc<LiveProbe>, site: &Site) -> bool {
    let session = HANDS.with(|hands| hands.as_ref().and_then(|hands| hands.session.clone())).flatten();
    session.is_some_and(|session| session.refuses(live, site))
}

/// The line that stands for one that is asked for, and the functions that have it; or why there is none.
fn choose(
    py: Python<'_>,
    code: &mut FileCode,
    opcodes: &Opcodes,
    line: u32,
    release: bool,
) -> PyResult<Result<location::LineChoice, String>> {
    // Only functions around the line can hold it. All of them are read to say what comes nearest.
    let around = |_, function: &location::Function| function.first <= line && line <= function.last;
    let resolve = |plain: &[location::Function]| location::resolve_line(plain, line, &CAPABILITIES);
    let choice = discovery::read(py, code, opcodes, release, around, resolve)?;
    if choice.is_ok() { Ok(choice) } else { discovery::read(py, code, opcodes, release, |_, _| true, resolve) }
}

/// Why a probe is at none of its lines, one of which is missing for a reason.
fn not_all(code: &FileCode, lines: &[u32], mut reason: String) -> String {
    let fine = |line: &u32| location::resolve_line(&code.plain, *line, &CAPABILITIES).is_ok();
    let fine: Vec<String> = lines.iter().copied().filter(fine).map(|line| line.to_string()).collect();
    if !fine.is_empty() {
        let others = fine.join(", ");
        let _ = write!(reason, "; without it the others ({others}) could be probed, which are not now either");
    }
    let has_top = code.plain.iter().any(|one| one.kind == location::FunctionKind::Module);
    if !has_top {
        reason.push_str("; lines outside of functions ran before the probe came");
    }
    reason
}

fn placed_in(slot: u32, name: &str) {
    HANDS.with(|hands| {
        hands.as_mut()?.entries.placed_in(slot, name);
        Some(())
    });
}

/// Places a method probe in the functions of a file.
pub(super) fn in_method(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: &mut FileCode,
    name: &str,
    module: &str,
    wanted: &str,
    has_run: bool,
) -> PyResult<Outcome> {
    let getter = if has_run { discovery::getter_of_property(py, module, wanted) } else { None };
    let mut found = methods(py, code, wanted, getter, has_run);
    if found.is_empty() && has_run {
        match discovery::named(py, module, wanted) {
            Named::Function(target) => {
                let same = |function: &PyFunction| function.code.borrow() == target.borrow();
                let Some(at) = code.functions.iter().position(same) else {
                    return in_function(py, live, &target, module, wanted);
                };
                found.push(at);
            }
            Named::Not(reason) => return Ok(Outcome::Refused { kind: "NotAPythonFunction", reason }),
            Named::Missing => {}
        }
    }
    if found.is_empty()
        && let Some(opcodes) = opcodes()
    {
        found = discovery::lambdas(py, code, &opcodes, wanted)?;
    }
    if found.is_empty() {
        let callable = |&at: &usize| code.plain[at].kind == location::FunctionKind::Function;
        let mut names = discovery::names_beside(py, module, wanted);
        names.extend((0..code.plain.len()).filter(callable).map(|at| code.qualified[at].clone()));
        return Ok(missing_name(module, wanted, &names));
    }
    let leads = if has_run {
        let known: Vec<Ref<'_>> = found.iter().map(|&at| code.functions[at].code.borrow()).collect();
        discovery::leads(py, module, wanted, &known)
    } else {
        Leads::Here
    };
    if let Leads::Code(target) = &leads {
        match code.functions.iter().position(|function| function.code.borrow() == target.borrow()) {
            Some(at) => found.push(at),
            // It has code of another file.
            None => {
                if let denied @ Outcome::Denied { .. } = in_function(py, live, target, module, wanted)? {
                    return Ok(denied);
                }
            }
        }
    }
    let outcome = in_functions(py, live, code, &found, name, module, has_run)?;
    Ok(match (outcome, leads) {
        (Outcome::Done { note, site }, Leads::Elsewhere(other)) => {
            let elsewhere = format!("the name leads to function {other} now, not to the one that the file defines");
            let notes: Vec<String> = note.into_iter().chain([elsewhere]).collect();
            Outcome::Done { note: Some(notes.join("; ")), site }
        }
        (outcome, _) => outcome,
    })
}

/// Places a method probe in functions of a file.
pub(super) fn in_functions(
    py: Python<'_>,
    live: &Arc<LiveProbe>,
    code: &mut FileCode,
    found: &[usize],
    name: &str,
    module: &str,
    release: bool,
) -> PyResult<Outcome> {
    let Some(opcodes) = opcodes() else { return Ok(stopping()) };
    discovery::read(py, code, &opcodes, release, |at, _| found.contains(&at), |_| ())?;
    let Some(&one) = found.first().filter(|&&at| at < code.plain.len()) else { return Ok(stopping()) };
    let mut modules = discovery::all_names_of(py, name);
    if !modules.iter().any(|known| known == module) {
        modules.push(module.to_owned());
    }
    let mut site = Site {
        file: name.to_owned(),
        lines: Vec::new(),
        type_name: module.to_owned(),
        method: code.qualified[one].clone(),
        function: code.plain[one].name.clone(),
        first: code.plain[one].first,
        modules,
        classes: Vec::new(),
    };
    name_code(code, found, &mut site);
    if is_denied(live, &site) {
        return Ok(Outcome::Denied { site });
    }
    let mut firsts: Vec<u32> = Vec::new();
    for &at in found {
        let Some(function) = code.functions.get(at) else { continue };
        firsts.push(code.plain[at].first);
        let Some(read) = &function.read else { continue };
        place(py, live, function.code.borrow(), read, None)?;
    }
    placed_in(live.slot, name);
    firsts.sort_unstable();
    firsts.dedup();
    let note = (firsts.len() > 1).then(|| {
        let lines: Vec<String> = firsts.iter().map(u32::to_string).collect();
        format!("{} functions have this name, at lines {}: each is probed", firsts.len(), lines.join(", "))
    });
    let generates = found.iter().any(|&at| discovery::is_generator(py, code.functions[at].code.borrow()));
    let mut notes: Vec<String> = note.into_iter().chain(generates.then(|| unseen_ends(py)).flatten()).collect();
    notes.extend(left_out(live.slot, name));
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(Outcome::Done { note, site })
}

/// What CPython 3.13.0 to 3.13.9 and 3.14.0 do not tell of generators.
fn unseen_ends(py: Python<'_>) -> Option<String> {
    let version = py.version_info();
    let (major, minor, patch) = (version.major, version.minor, version.patch);
    let silent = (major, minor) == (3, 13) && patch < 10 || (major, minor, patch) == (3, 14, 0);
    silent.then(|| {
        format!(
            "a generator that is closed or dropped while it is suspended ends unseen on CPython {major}.{minor}.{patch}: \
             such an end is no hit"
        )
    })
}

/// The functions with a name. Of a property that can be set they are its getter, which begins at `getter` if that is known.
fn methods(py: Python<'_>, code: &FileCode, wanted: &str, getter: Option<u32>, release: bool) -> Vec<usize> {
    let mut found = discovery::methods(py, code, wanted, release);
    let mut classes = HashSet::new();
    found.retain(|&at| {
        let Some(parent) = code.plain[at].parent else {
            return getter.is_none_or(|line| line == code.plain[at].first);
        };
        let is_class = code.plain[parent].kind == location::FunctionKind::Class;
        !is_class || classes.insert(parent) || !discovery::has_setters(py, code.functions[parent].code.borrow())
    });
    found
}

//! What a realm asks of the addon: guards for a module that is about to run, and the orders that wait. On the walk of a
//! configuration going in, between [`crate::units`] and `js/realm.cjs`.

use crate::realms::{self, Order};
use crate::units::{Guarded, Source};
use crate::{error, guard, hands, placing, session, text, units};
use napi::bindgen_prelude::{External, Function};
use napi::{Env, JsString};
use napi_derive::napi;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use stroboscope_core::registry::LiveProbe;
use stroboscope_process::logging;
use stroboscope_rewriter::SourceKind;

/// A module with guards in it.
#[napi(object, object_from_js = false)]
pub struct GuardedModule<'e> {
    /// The text to be run, with guards in it; absent: it has none, and there may be orders all the same.
    pub code: Option<JsString<'e>>,
    /// The global that the guards read, which has to be there before the text runs.
    pub cell: String,
}

/// What a realm is to put into a function.
#[napi(object)]
pub struct RealmOrder {
    /// Its number, for the answer.
    pub number: u32,
    /// The global that the module's guards read.
    pub cell: String,
    /// The function's number there.
    #[napi(js_name = "function")]
    pub function: u32,
    /// The file that it is of.
    pub file: String,
    /// The file is a module of ES.
    pub is_module: bool,
    /// What it runs from now on; absent: itself again.
    pub variant: Option<RealmVariant>,
}

/// A function with probes in it.
#[napi(object)]
pub struct RealmVariant {
    /// Its text.
    pub code: String,
    /// The line at which it begins in its file.
    pub line: u32,
    /// The function's name in it.
    pub name: String,
    /// The number of the text, for stacks.
    pub text: u32,
    /// How many functions its module has: so many places the cell has.
    pub functions: u32,
    /// Where the guard stands that calls it.
    pub guard: GuardPlace,
    /// Text of a function that throws what it is given, if the code needs one.
    pub rethrow: Option<String>,
    /// What the hits in it are told, in their order.
    pub hits: Vec<RealmHit>,
}

/// Where a guard stands in the text that was loaded.
#[napi(object)]
pub struct GuardPlace {
    /// Its line, from 1.
    pub line: u32,
    /// The column at which it begins, from 0.
    pub from: u32,
    /// The column at which it ends.
    pub to: u32,
}

/// What a realm makes one hit's site of.
#[napi(object)]
pub struct RealmHit {
    /// The probe's slot.
    pub slot: u32,
    /// The index of its gate.
    pub word: u32,
    /// It captures.
    pub captures: bool,
    /// What it measures: 0 nothing, 1 a count, 2 a gauge, 3 values.
    pub metric: u32,
    /// A function expression, evaluated once.
    pub setup: String,
    /// Its place, as a stack would show it: the number of the code …
    pub code: u32,
    /// … and the position in it.
    pub position: u32,
}

/// Opens the realm of this thread. `wake` is called in it when there is something to be done.
#[napi]
pub fn open_realm(env: Env, realm: u32, wake: Function<'_, (), ()>) -> napi::Result<()> {
    let closed = |realm| {
        session::note_places(realm);
        units::close(realm);
    };
    guard::guarded(|| realms::open(env, realm, &wake, closed))
}

/// A thread of the program has begun a while ago: true if it has a realm. `ends`: it will not open one any more.
#[napi]
pub fn thread_is_known(thread: u32, ends: bool) -> napi::Result<bool> {
    guard::guarded(|| {
        let is_known = realms::was_opened(thread);
        if ends && !is_known {
            placing::without_realm(thread);
        }
        Ok(is_known)
    })
}

/// Puts guards into a module that is about to run; `null`: it runs as it is. `kind` is `commonjs`, `module` or `script`;
/// `begin`, if it is given, is a function that its first line calls with the name of its cell.
#[napi]
pub fn load<'e>(
    env: &'e Env,
    realm: u32,
    path: String,
    text: JsString<'e>,
    kind: String,
    prefix: String,
    begin: Option<String>,
) -> napi::Result<Option<GuardedModule<'e>>> {
    guard::guarded(|| {
        let kind = match kind.as_str() {
            "commonjs" => SourceKind::CommonJs,
            "module" => SourceKind::Esm,
            "script" => SourceKind::Script,
            other => return Err(error::said(format!("no kind of module '{other}'"))),
        };
        if !units::takes(&path) {
            return Ok(None);
        }
        let Some(text) = text::taken(*env, text)? else { return Ok(None) };
        let source = Source { realm, path: &path, text, kind, apart: None };
        given(env, units::load(source, &prefix, begin.as_deref()))
    })
}

fn given(env: &Env, guarded: Option<Guarded>) -> napi::Result<Option<GuardedModule<'_>>> {
    hands::watch();
    let Some(Guarded { code, cell }) = guarded else { return Ok(None) };
    let code = code.map(|code| text::given(env, code)).transpose()?;
    Ok(Some(GuardedModule { code, cell }))
}

/// A module with guards in a realm.
#[napi(object, object_from_js = false)]
pub struct GuardedFile {
    /// Where it is.
    pub path: String,
    /// It is a module of ES.
    pub is_module: bool,
}

/// The modules of a realm that have guards.
#[napi]
pub fn guarded_files(realm: u32) -> napi::Result<Vec<GuardedFile>> {
    guard::guarded(|| {
        let files = units::guarded_paths(realm).into_iter();
        Ok(files.map(|(path, is_module)| GuardedFile { path: path.to_string(), is_module }).collect())
    })
}

/// A line of a file as the program has it, from 1; `null`: it has none there.
#[napi]
pub fn line_of(path: String, line: u32) -> napi::Result<Option<String>> {
    guard::guarded(|| Ok(units::line_of(&path, line)))
}

/// How the program compiles a text itself.
#[napi(object)]
pub struct Compiled {
    /// `module`, `script`, or `function` for the body of one …
    pub kind: String,
    /// … with these parameters.
    pub parameters: Option<Vec<String>>,
    /// It may run in a context of its own.
    pub is_apart: bool,
}

/// Puts guards into a text that the program compiles itself; `null`: it runs as it is.
#[napi]
pub fn load_text<'e>(
    env: &'e Env,
    realm: u32,
    path: String,
    text: JsString<'e>,
    how: Compiled,
    prefix: String,
) -> napi::Result<Option<GuardedModule<'e>>> {
    guard::guarded(|| {
        if !units::takes(&path) {
            return Ok(None);
        }
        let Some(text) = text::taken(*env, text)? else { return Ok(None) };
        let kind = match how.kind.as_str() {
            "module" => SourceKind::Esm,
            "function" => {
                let Some(parameters) = known(how.parameters.unwrap_or_default()) else {
                    units::leave(&path, "the program compiles it with parameters of many kinds (vm.compileFunction)");
                    return Ok(None);
                };
                SourceKind::Function(parameters)
            }
            _ => SourceKind::Script,
        };
        let apart = how.is_apart.then_some("it may run in a context of vm, where no hook of a debugger is");
        given(env, units::load(Source { realm, path: &path, text, kind, apart }, &prefix, None))
    })
}

/// Lists of parameters that are told apart at most.
const LISTS: usize = 64;

/// The same parameters, for as long as the process runs: programs have few such lists. Nothing for one more than that, and for
/// what is no list of names.
fn known(parameters: Vec<String>) -> Option<&'static [&'static str]> {
    static LISTS_KNOWN: Mutex<Vec<&'static [&'static str]>> = Mutex::new(Vec::new());
    let is_name = |name: &String| name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
    if !parameters.iter().all(is_name) {
        return None;
    }
    let mut known = LISTS_KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = known.iter().find(|found| parameters.iter().eq(found.iter())) {
        return Some(found);
    }
    if known.len() == LISTS {
        return None;
    }
    let names: Vec<&'static str> = parameters.into_iter().map(|name| &*name.leak()).collect();
    let names: &'static [&'static str] = names.leak();
    known.push(names);
    Some(names)
}

/// A file is compiled in a way that lets it have no guards: the probes that mean it hear why.
#[napi]
pub fn leave(path: String, why: String) -> napi::Result<()> {
    guard::guarded(|| {
        units::leave(&path, &why);
        Ok(())
    })
}

/// Of a text that was given guards nothing is left: that of the cell.
#[napi]
pub fn unload(cell: String) -> napi::Result<()> {
    guard::guarded(|| {
        units::unload(&cell);
        Ok(())
    })
}

/// Modules get no guards from now on: their code is counted.
#[napi]
pub fn spare_modules() {
    units::spare();
}

/// The program has loaders in a thread of their own: what they load of CommonJS goes past `Module.prototype._compile`.
static HAS_LOADERS: AtomicBool = AtomicBool::new(false);

/// The program has such loaders from now on, in all its threads.
#[napi]
pub fn note_loaders() {
    HAS_LOADERS.store(true, Ordering::Relaxed);
}

/// True if it has.
#[napi]
pub fn has_loaders() -> bool {
    HAS_LOADERS.load(Ordering::Relaxed)
}

/// Whether the hooks of a probe rest.
#[napi(object)]
pub struct RealmRest {
    /// Its slot.
    pub slot: u32,
    /// They go until they are asked for again.
    pub rests: bool,
}

/// The probes whose hooks are to go from this realm for a while, or to come back.
#[napi]
pub fn rests(realm: u32) -> napi::Result<Vec<RealmRest>> {
    guard::guarded(|| {
        Ok(realms::take_rests(realm).into_iter().map(|(slot, rests)| RealmRest { slot, rests }).collect())
    })
}

/// True if orders wait for this realm.
#[napi]
pub fn has_orders(realm: u32) -> napi::Result<bool> {
    guard::guarded(|| Ok(realms::has_orders(realm)))
}

/// The orders that wait for this realm, in their order.
#[napi]
pub fn orders(realm: u32) -> napi::Result<Vec<RealmOrder>> {
    guard::guarded(|| Ok(realms::take(realm).into_iter().map(|(number, order)| told(number, order)).collect()))
}

fn told(number: u32, order: Order) -> RealmOrder {
    let variant = order.variant.map(|variant| RealmVariant {
        code: variant.code,
        line: variant.line,
        name: variant.name,
        text: variant.text,
        functions: variant.functions,
        guard: GuardPlace { line: variant.guard.0, from: variant.guard.1, to: variant.guard.2 },
        rethrow: variant.rethrow,
        hits: variant.hits.iter().map(told_hit).collect(),
    });
    let (cell, file) = (order.cell.to_string(), order.file.to_string());
    RealmOrder { number, cell, function: order.function, file, is_module: order.is_module, variant }
}

/// A hit, as a realm is told of it.
pub fn told_hit(hit: &realms::Hit) -> RealmHit {
    RealmHit {
        slot: hit.slot,
        word: hit.word,
        captures: hit.captures,
        metric: hit.metric,
        setup: hit.setup.clone(),
        code: hit.frame.code,
        position: hit.frame.position,
    }
}

/// Keeps the probes of an order in memory, with their gates, for as long as the answer: code that was taken away may still
/// run, and look at them.
#[napi]
pub fn keep(realm: u32, number: u32) -> napi::Result<External<Vec<Arc<LiveProbe>>>> {
    guard::guarded(|| Ok(External::new(realms::probes_of(realm, number))))
}

/// An order was carried out, or could not be.
#[napi]
pub fn carried_out(realm: u32, number: u32, error: Option<String>) -> napi::Result<()> {
    guard::guarded(|| {
        if let Some(order) = realms::carried_out(realm, number) {
            placing::carried_out(realm, &order, error.as_deref());
        }
        Ok(())
    })
}

/// Our log lines that wait for JavaScript.
#[napi]
pub fn log_lines() -> napi::Result<Vec<String>> {
    guard::guarded(|| Ok(logging::take().into_iter().map(|(_, text)| text).collect()))
}

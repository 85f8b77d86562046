//! What is told of a module to those who write probes: its classes, functions and variables, from its code and its namespace. On
//! neither walk; asked by [`crate::runtime`]. Nothing of the program runs, and nothing is imported. The GIL is held for short
//! whiles only: what takes time is read from code, which never changes, without it.

use super::functions::{Still, functions_below, read};
use super::index::{FileId, with};
use super::modules::namespace;
use super::named::{is_function, lookup};
use super::paths::{absolute, current_folder, file_of};
use super::search::in_namespace;
use super::{sys, without_gil};
use crate::code;
use crate::names;
use crate::object::{Class, Owned, Ref};
use crate::statements::Opcodes;
use pyo3::prelude::*;
use std::collections::HashMap;
use stroboscope_core::emit::symbols::{Module, Scope, ScopeKind, Symbol, SymbolKind};
use stroboscope_core::probe::location::{Function, FunctionKind};
use stroboscope_core::text::Text;

/// Functions whose statements are read at a time, with the GIL held for copies of their instructions.
const AT_A_TIME: usize = 64;
/// Names of a module or class that are told.
const MAX_NAMES: usize = 1_000;

/// A file that is loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// It.
    pub file: FileId,
    /// Where it is.
    pub path: String,
    /// The name of its module, as far as it is known.
    pub module: String,
    /// It is not the program's own.
    pub is_library: bool,
    /// How often its code changed.
    pub changes: u32,
}

/// The files that are loaded, without those of which this much was told.
pub fn loaded(told: &HashMap<FileId, u32>, modules: &HashMap<String, String>) -> Vec<Loaded> {
    let all = with(|index| {
        let own: HashMap<FileId, &String> = index.modules.iter().map(|(module, &file)| (file, module)).collect();
        let is_new =
            |(file, known): &(FileId, &super::index::File)| known.loaded && told.get(file) != Some(&known.changes);
        let files = index.files.iter().enumerate().filter(is_new);
        files
            .map(|(file, known)| {
                let module = own.get(&file).copied().or_else(|| modules.get(&known.name)).cloned().unwrap_or_default();
                Loaded { file, path: known.name.clone(), module, is_library: known.library, changes: known.changes }
            })
            .collect()
    });
    all.unwrap_or_default()
}

/// The modules of `sys.modules` by their files, from a place on; false once there are no more.
pub fn listed(py: Python<'_>, from: usize, most: usize, modules: &mut HashMap<String, String>) -> bool {
    let Some(all) = sys(py, c"modules") else { return false };
    let folder = current_folder();
    let mut at = 0;
    let is_whole = all.borrow().dict_entries(|name, module| {
        at += 1;
        if at > from
            && let (Some(name), Some(file)) = (name.text(), file_of(module))
        {
            modules.entry(absolute(file, folder.as_deref())).or_insert_with(|| name.to_text());
        }
        at < from + most
    });
    !is_whole
}

/// What is told of a file.
pub fn facts(py: Python<'_>, of: &Loaded, opcodes: &Opcodes) -> PyResult<Module> {
    let space = namespace(py, &of.module);
    let roots = roots(py, of, space.as_ref());
    let mut code = functions_below(py, &roots, &of.path);
    for from in (0..code.functions.len()).step_by(AT_A_TIME) {
        read(py, &mut code, opcodes, true, |at, _| (from..from + AT_A_TIME).contains(&at), |_| ())?;
    }
    let stills: Vec<Still<'_>> = code.functions.iter().map(|function| Still::of(&function.code)).collect();
    let (plain, qualified) = (&code.plain, &code.qualified);
    let mut module = without_gil(py, || outline(of, plain, qualified, &stills));
    drop(stills);
    drop((code, roots));
    if let Some(space) = space {
        module.symbols = variables(space.borrow());
        bare_classes(space.borrow(), &mut module);
        in_classes(&of.module, &space, &mut module);
    }
    Ok(module)
}

/// The outermost code of a file: the newest copy of it, or, where that is not known, the functions that its module leads to.
fn roots(py: Python<'_>, of: &Loaded, space: Option<&Owned>) -> Vec<Owned> {
    let known = with(|index| {
        let roots = &index.files.get(of.file)?.roots;
        let is_module = |root: &&Owned| code::name(root.borrow()).and_then(Ref::text).is_some_and(is_top);
        Some(match roots.iter().rev().find(is_module) {
            Some(newest) => vec![Owned::keep(newest.borrow())],
            None => roots.iter().map(|root| Owned::keep(root.borrow())).collect(),
        })
    });
    let known = known.flatten().unwrap_or_default();
    let Some(space) = space.filter(|_| known.is_empty()) else { return known };
    let mut found = Vec::new();
    in_namespace(py, space.borrow(), &mut found, 0);
    let folder = current_folder();
    let is_here = |code: &Owned| {
        let file = code::file(code.borrow()).and_then(Ref::text).map(Text::to_text);
        file.is_some_and(|file| absolute(file, folder.as_deref()) == of.path)
    };
    found.retain(is_here);
    found
}

fn is_top(name: Text<'_>) -> bool {
    name.same(Text::Utf8("<module>"))
}

/// Code as scopes. Needs no GIL: only what never changes is read.
fn outline(of: &Loaded, plain: &[Function], qualified: &[String], code: &[Still<'_>]) -> Module {
    let mut module = Module { name: of.module.clone(), file: of.path.clone(), ..Module::default() };
    // Where each function stands among the scopes; those in it that are none stand where it does.
    let mut places: Vec<Place> = Vec::with_capacity(plain.len());
    let mut classes: HashMap<String, usize> = HashMap::new();
    for (at, function) in plain.iter().enumerate() {
        let around = function.parent.and_then(|parent| places.get(parent)).copied();
        let place = match function.kind {
            FunctionKind::Module => {
                module.lines = lines(function);
                Place { scope: None, is_in_function: false }
            }
            // What Python makes of annotations and type parameters, and the insides of comprehensions, nobody calls.
            FunctionKind::Comprehension => around.unwrap_or_default(),
            FunctionKind::Function if function.name.starts_with('<') => around.unwrap_or_default(),
            FunctionKind::Class | FunctionKind::Function | FunctionKind::Lambda => {
                let around = around.unwrap_or_else(|| Place {
                    scope: class_of(&qualified[at], &mut classes, &mut module),
                    is_in_function: false,
                });
                let is_class = function.kind == FunctionKind::Class;
                module.scopes.push(scope(function, code[at], around));
                Place { scope: Some(module.scopes.len() - 1), is_in_function: !is_class }
            }
        };
        places.push(place);
    }
    module
}

#[derive(Clone, Copy, Default)]
struct Place {
    scope: Option<usize>,
    is_in_function: bool,
}

/// The class that a function is written in, by its qualified name, where the code of that is gone.
fn class_of(qualified: &str, classes: &mut HashMap<String, usize>, module: &mut Module) -> Option<usize> {
    let (path, _) = qualified.rsplit_once('.')?;
    if path.ends_with('>') {
        return None; // `f.<locals>`
    }
    if let Some(&known) = classes.get(path) {
        return Some(known);
    }
    let around = class_of(path, classes, module);
    let name = path.rsplit('.').next().unwrap_or(path);
    module.scopes.push(Scope::new(ScopeKind::Class, name.to_owned(), around));
    classes.insert(path.to_owned(), module.scopes.len() - 1);
    Some(module.scopes.len() - 1)
}

fn lines(function: &Function) -> Vec<u32> {
    function.statements.iter().map(|statement| statement.line).collect()
}

fn scope(function: &Function, code: Still<'_>, around: Place) -> Scope {
    const GENERATOR: i32 = 0x20;
    const COROUTINE: i32 = 0x80;
    const ASYNC_GENERATOR: i32 = 0x200;
    let is_class = function.kind == FunctionKind::Class;
    let kind = match (is_class, around.is_in_function) {
        (true, _) => ScopeKind::Class,
        (false, true) => ScopeKind::Closure,
        (false, false) => ScopeKind::Function,
    };
    let mut scope = Scope::new(kind, function.name.clone(), around.scope);
    (scope.first, scope.last, scope.lines) = (function.first, function.last, lines(function));
    if is_class {
        return scope;
    }
    let flags = code::flags(code.code());
    scope.function_type = match flags {
        _ if flags & ASYNC_GENERATOR != 0 => Some("asyncgen"),
        _ if flags & COROUTINE != 0 => Some("coroutine"),
        _ if flags & GENERATOR != 0 => Some("generator"),
        _ => None,
    };
    let (arguments, names) = code::variables(code.code());
    for (at, name) in names.into_iter().enumerate() {
        let kind = if at < arguments { SymbolKind::Argument } else { SymbolKind::Local };
        let name = name.text().map(Text::to_text).unwrap_or_default();
        // The variables of comprehensions and `with` have names that nobody wrote.
        if !name.starts_with('.') && !name.is_empty() {
            scope.symbols.push(Symbol { kind, name, line: function.first });
        }
    }
    scope
}

/// The variables of a module or class: what is neither a function, a class nor a module, nor has a name of Python's own.
fn variables(space: Ref<'_>) -> Vec<Symbol> {
    const OTHER: [&str; 7] = [
        "module",
        "staticmethod",
        "classmethod",
        "property",
        "builtin_function_or_method",
        "getset_descriptor",
        "member_descriptor",
    ];
    let mut found = Vec::new();
    space.dict_entries(|name, value| {
        let is_other = is_function(value) || value.as_class().is_some() || OTHER.contains(&value.class().c_name());
        let name = name.text().filter(|_| !is_other).map(Text::to_text).unwrap_or_default();
        let is_special = name.starts_with("__") && name.ends_with("__");
        if !name.is_empty() && !is_special {
            found.push(Symbol { kind: SymbolKind::StaticField, name, line: 0 });
        }
        found.len() < MAX_NAMES
    });
    found
}

/// Classes of a module of which no function told, and whose own code is gone.
fn bare_classes(space: Ref<'_>, module: &mut Module) {
    let is_known = |name: &str, module: &Module| {
        module.scopes.iter().any(|scope| scope.parent.is_none() && scope.kind == ScopeKind::Class && scope.name == name)
    };
    let mut seen = 0;
    space.dict_entries(|name, value| {
        seen += 1;
        let name = name.text().map(Text::to_text).unwrap_or_default();
        let is_own = value
            .as_class()
            .is_some_and(|class| is_of(class, &module.name) && class.bare_name().same(Text::Utf8(&name)));
        if is_own && !is_known(&name, module) {
            module.scopes.push(Scope::new(ScopeKind::Class, name, None));
        }
        seen < MAX_NAMES
    });
}

/// What the classes themselves tell: what they extend, their variables, and what their methods are.
fn in_classes(module: &str, space: &Owned, facts: &mut Module) {
    let mut paths: Vec<Option<String>> = Vec::with_capacity(facts.scopes.len());
    for at in 0..facts.scopes.len() {
        let scope = &facts.scopes[at];
        // In a function it is another one each time.
        let around = scope.parent.map_or(Some(String::new()), |parent| paths[parent].clone());
        let path = around.filter(|_| scope.kind == ScopeKind::Class).map(|around| match around.as_str() {
            "" => scope.name.clone(),
            around => format!("{around}.{}", scope.name),
        });
        if let Some(path) = &path {
            let found = lookup(path, Some(Owned::keep(space.borrow())));
            if let Some(class) =
                found.as_ref().and_then(|found| found.borrow().as_class()).filter(|class| is_of(*class, module))
            {
                in_class(class, at, facts);
            }
        }
        paths.push(path);
    }
}

fn is_of(class: Class<'_>, module: &str) -> bool {
    class.module().same(Text::Utf8(module))
}

fn in_class(class: Class<'_>, at: usize, facts: &mut Module) {
    let mut name = String::new();
    let above = class.ancestors().skip(1).map(|above| {
        names::qualify(above, &mut name);
        name.clone()
    });
    facts.scopes[at].super_classes = above.filter(|name| name != "builtins.object").take(MAX_NAMES).collect();
    let Some(own) = class.dict() else { return };
    facts.scopes[at].symbols = variables(own);
    let methods = facts.scopes.iter_mut().skip(at + 1).filter(|scope| scope.parent == Some(at));
    for method in methods.filter(|scope| scope.kind == ScopeKind::Function) {
        method.method_type = match own.dict_get_text(&method.name).map(|found| found.class().c_name()) {
            Some("staticmethod") => Some("static"),
            Some("classmethod") => Some("class"),
            Some("property") => Some("property"),
            _ => None,
        };
    }
}

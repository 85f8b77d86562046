//! What "matches" means: source paths, lines, method names, and what comes nearest to a name that is not there. On the
//! walk of a configuration going in: a host asks while it installs a probe, after `compile.rs`; what it finds becomes the
//! probe's site.
//!
//! Nothing here reads a file or a host. The host hands over the files it has loaded, and of one file its functions with
//! the lines at which statements begin.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use crate::host::Capabilities;

/// How far below an empty line a line with code may be.
const MAX_SLIDE: u32 = 10;

/// A path, normalised and split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePath {
    components: Vec<String>,
    absolute: bool,
}

impl SourcePath {
    /// Normalises a path as it comes from a probe, an interpreter, a URL or a source map.
    pub fn new(path: &str) -> SourcePath {
        let slashes = path.trim().replace('\\', "/");
        let mut rest: Cow<'_, str> = Cow::Borrowed(&slashes);
        if let Some(url) = strip_scheme(&slashes, "file://") {
            rest = Cow::Owned(percent_decoded(url));
        } else if let Some(url) = strip_scheme(&slashes, "webpack://") {
            // What stands before the first slash is the name of the bundle.
            rest = Cow::Borrowed(url.split_once('/').map_or("", |(_, path)| path));
        }
        let (path, drive) = without_drive(&rest);
        let mut components: Vec<String> = Vec::new();
        for component in path.split('/') {
            match component {
                "" | "." => {}
                // What leads above the beginning names nothing that another path could have in common.
                ".." => drop(components.pop()),
                name => components.push(name.to_owned()),
            }
        }
        SourcePath { components, absolute: drive || path.starts_with('/') }
    }

    /// The path with slashes.
    pub fn text(&self) -> String {
        let text = self.components.join("/");
        if self.absolute { format!("/{text}") } else { text }
    }

    /// The path and what is left of it as leading components are dropped one by one: where to look for a file below the
    /// folders of a search path.
    pub fn suffixes(&self) -> impl Iterator<Item = String> {
        (0..self.components.len()).map(|from| self.components[from..].join("/"))
    }

    /// The file's name whatever its letter case: paths for which it differs never mean the same file. Probes that wait are
    /// found by it.
    pub fn name_key(&self) -> String {
        self.file_name().chars().map(fold).collect()
    }

    fn file_name(&self) -> &str {
        self.components.last().map_or("", String::as_str)
    }

    /// True for code that the application's authors did not write, as far as the path tells.
    fn is_library(&self) -> bool {
        let known = ["site-packages", "dist-packages", "node_modules"];
        self.components.iter().any(|component| known.contains(&component.as_str()))
    }

    fn folded(&self) -> SourcePath {
        let components = self.components.iter().map(|component| component.chars().map(fold).collect()).collect();
        SourcePath { components, absolute: self.absolute }
    }
}

/// What follows a scheme, whatever its letter case.
fn strip_scheme<'a>(path: &'a str, scheme: &str) -> Option<&'a str> {
    let head = path.get(..scheme.len())?;
    if head.eq_ignore_ascii_case(scheme) { path.get(scheme.len()..) } else { None }
}

/// Drops `X:` or `/X:` before a slash, or alone.
fn without_drive(path: &str) -> (&str, bool) {
    let bare = path.strip_prefix('/').unwrap_or(path);
    match bare.as_bytes() {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => (&bare[2..], true),
        _ => (path, false),
    }
}

fn percent_decoded(text: &str) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%'
            && let (Some(high), Some(low)) = (digit(bytes.get(at + 1)), digit(bytes.get(at + 2)))
        {
            decoded.push((high * 16 + low) as u8);
            at += 3;
            continue;
        }
        decoded.push(byte);
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Simple case folding: one character for one.
fn fold(c: char) -> char {
    if c == 'ı' {
        // Its upper case is `I`, but it folds to itself.
        return c;
    }
    let mut upper = c.to_uppercase();
    let upper = if upper.len() == 1 { upper.next().unwrap_or(c) } else { c };
    let mut lower = upper.to_lowercase();
    if lower.len() == 1 { lower.next().unwrap_or(upper) } else { upper }
}

/// A file of loaded code, or one that could be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    path: SourcePath,
    shown: String,
    library: bool,
}

impl Candidate {
    /// A file as the host names it. `library` is true for the standard library; other libraries are known by their
    /// folders.
    pub fn new(path: &str, library: bool) -> Candidate {
        let normal = SourcePath::new(path);
        Candidate { library: library || normal.is_library(), path: normal, shown: path.to_owned() }
    }

    /// Its name, as the host gave it.
    pub fn name(&self) -> &str {
        &self.shown
    }

    /// True for code that the application's authors did not write, as far as its path tells.
    pub fn is_library(&self) -> bool {
        self.library
    }
}

/// What a probe's source file means among candidates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// One file: the positions of all candidates that are it, more than one if it was loaded more than once.
    File(Vec<usize>),
    /// Several files that match equally well; the sentence names up to five.
    Ambiguous(String),
    /// No file: the probe waits.
    None,
}

/// Chooses the file that a probe means.
pub fn choose(candidates: &[Candidate], source_file: &str) -> Choice {
    let wanted = SourcePath::new(source_file);
    if wanted.components.is_empty() {
        return Choice::None;
    }
    let paths: Vec<&SourcePath> = candidates.iter().map(|candidate| &candidate.path).collect();
    let library = |at: usize| candidates[at].library;
    let mut matches = matching(&paths, &library, &wanted);
    if matches.is_empty() {
        let folded: Vec<SourcePath> = paths.iter().map(|path| path.folded()).collect();
        matches = matching(&folded.iter().collect::<Vec<_>>(), &library, &wanted.folded());
    }
    // Lower is better; the position is left out, so that equals stay equal.
    let rank = |&(index, score): &(usize, usize)| {
        let Candidate { path, library, .. } = &candidates[index];
        let equal = wanted.absolute && *path == wanted;
        (!equal, Reverse(score), *library, path.components.len())
    };
    let Some(best) = matches.iter().map(rank).min() else { return Choice::None };
    let best: Vec<usize> = matches.iter().filter(|found| rank(found) == best).map(|(index, _)| *index).collect();
    let mut files: Vec<usize> = Vec::new();
    for &index in &best {
        if !files.iter().any(|&file| candidates[file].path == candidates[index].path) {
            files.push(index);
        }
    }
    if files.len() == 1 {
        return Choice::File(best);
    }
    let shown = listed(files.iter().map(|&index| candidates[index].shown.as_str()));
    Choice::Ambiguous(format!("source file is ambiguous: {shown}"))
}

/// Chooses for a probe whose path leads to a file of this machine: no other one is meant, however alike its path is.
/// `is_same` tells whether a candidate is that file by another name (a link).
pub fn choose_existing(candidates: &[Candidate], file: &str, is_same: impl Fn(usize) -> bool) -> Choice {
    let wanted = SourcePath::new(file);
    let equal = |&at: &usize| candidates[at].path == wanted || is_same(at);
    let found: Vec<usize> = (0..candidates.len()).filter(equal).collect();
    if found.is_empty() { Choice::None } else { Choice::File(found) }
}

/// Of the candidates those whose file has the name that a probe's has: what comes nearest where none is meant. At most
/// five are named; empty if there are none.
pub fn of_the_same_name(candidates: &[Candidate], source_file: &str) -> String {
    let wanted = SourcePath::new(source_file).folded();
    let named = candidates
        .iter()
        .filter(|candidate| !wanted.components.is_empty() && candidate.path.folded().file_name() == wanted.file_name());
    let mut shown: Vec<&str> = named.map(|candidate| candidate.shown.as_str()).collect();
    shown.sort_unstable();
    shown.dedup();
    listed(shown.into_iter())
}

/// At most five names.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut shown: Vec<&str> = names.take(6).collect();
    if shown.len() > 5 {
        shown[5] = "…";
    }
    shown.join(", ")
}

/// The candidates that count, with the number of trailing components they have in common with the wanted path.
fn matching(paths: &[&SourcePath], is_library: &dyn Fn(usize) -> bool, wanted: &SourcePath) -> Vec<(usize, usize)> {
    let named: Vec<usize> = (0..paths.len()).filter(|&at| paths[at].file_name() == wanted.file_name()).collect();
    let unique = named.iter().all(|&at| paths[at] == paths[named[0]]);
    let common = |path: &SourcePath| {
        let (ours, theirs) = (path.components.iter().rev(), wanted.components.iter().rev());
        ours.zip(theirs).take_while(|(ours, theirs)| ours == theirs).count()
    };
    let scored = named.into_iter().map(|at| (at, common(paths[at])));
    scored
        .filter(|&(at, score)| {
            let whole = score == wanted.components.len() || score == paths[at].components.len();
            // A name alone never leads into a library: there are too many `parser.py` for that.
            score >= 1 && (whole || score >= 2 || (unique && !is_library(at)))
        })
        .collect()
}

/// What a function is, as far as lines are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FunctionKind {
    /// The top level of a file.
    Module,
    /// The body of a class, run once as the class is made.
    Class,
    /// A function or method.
    Function,
    /// A function that is part of an expression and may have lines of its own.
    Lambda,
    /// The inside of a comprehension: it belongs to its statement and is never instrumented for a line.
    Comprehension,
}

/// The beginning of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// The line at which it begins.
    pub line: u32,
    /// The line at which it ends; of a statement with a body, the line at which its head ends.
    pub end: u32,
}

/// A function of a file, as a host hands it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: FunctionKind,
    /// Its first line.
    pub first: u32,
    /// Its last line.
    pub last: u32,
    /// The function around it, by position.
    pub parent: Option<usize>,
    /// Its statements; those of functions inside it are theirs.
    pub statements: Vec<Statement>,
}

impl Function {
    fn begins(&self, line: u32) -> bool {
        self.statements.iter().any(|statement| statement.line == line)
    }

    fn body_line(&self) -> u32 {
        self.statements.iter().map(|statement| statement.line).min().unwrap_or(self.first)
    }

    /// The first line of the statement that began above a line and goes on there.
    fn statement_over(&self, line: u32) -> Option<u32> {
        let over = self.statements.iter().filter(|statement| statement.line < line && line <= statement.end);
        over.map(|statement| statement.line).max()
    }

    fn next_line(&self, line: u32) -> Option<u32> {
        let below = self.statements.iter().map(|statement| statement.line).filter(|below| *below > line);
        below.min().filter(|below| below - line <= MAX_SLIDE)
    }
}

/// Where a line probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineChoice {
    /// The functions, by position: one, or all its copies.
    pub functions: Vec<usize>,
    /// The line that is really used.
    pub line: u32,
    /// A sentence if it is not the line asked for.
    pub note: Option<String>,
}

/// Finds the function and the line for a line probe, in each copy of the file that has it, or says why there is none.
pub fn resolve_line(functions: &[Function], line: u32, capabilities: &Capabilities) -> Result<LineChoice, String> {
    let mut choice = resolve(functions, line, capabilities)?;
    if functions.iter().filter(|function| function.parent.is_none()).nth(1).is_some() {
        in_other_copies(functions, line, capabilities, &mut choice);
    }
    Ok(choice)
}

/// Adds the functions of copies in which the line stands in a function unlike the chosen one: those of a file that was edited
/// and loaded again, and code that a function got since. Each of them decides for itself.
fn in_other_copies(functions: &[Function], line: u32, capabilities: &Capabilities, choice: &mut LineChoice) {
    let tops = tops(functions);
    let known: HashSet<usize> = choice.functions.iter().map(|&at| tops[at]).collect();
    let names: HashSet<&str> = choice.functions.iter().map(|&at| functions[at].name.as_str()).collect();
    let begins = (0..functions.len()).filter(|&at| !known.contains(&tops[at]) && functions[at].begins(choice.line));
    let others: BTreeSet<usize> = begins.map(|at| tops[at]).collect();
    for top in others {
        let mine: Vec<usize> = (0..functions.len()).filter(|&at| tops[at] == top).collect();
        let place = |parent: usize| mine.binary_search(&parent).ok();
        let one = |&at: &usize| Function { parent: functions[at].parent.and_then(place), ..functions[at].clone() };
        let copy: Vec<Function> = mine.iter().map(one).collect();
        if let Ok(other) = resolve(&copy, line, capabilities)
            && other.line == choice.line
        {
            // What has another name is another function, as a lambda in the line of one is.
            let alike = other.functions.into_iter().filter(|&at| names.contains(copy[at].name.as_str()));
            choice.functions.extend(alike.map(|at| mine[at]));
        }
    }
    choice.functions.sort_unstable();
}

/// The outermost function around each function. A chain of parents that never ends is cut.
fn tops(functions: &[Function]) -> Vec<usize> {
    let top = |at: usize| {
        let outer = |&at: &usize| functions[at].parent.filter(|&parent| parent < functions.len());
        std::iter::successors(Some(at), outer).take(functions.len() + 1).last().unwrap_or(at)
    };
    (0..functions.len()).map(top).collect()
}

fn resolve(functions: &[Function], line: u32, capabilities: &Capabilities) -> Result<LineChoice, String> {
    let depths = depths(functions);
    let usable = |at: usize| is_usable(functions[at].kind, capabilities);
    let innermost = |found: &mut dyn Iterator<Item = usize>| found.max_by_key(|&at| (depths[at], Reverse(at)));

    // A statement begins here.
    let here: Vec<usize> = (0..functions.len())
        .filter(|&at| functions[at].kind != FunctionKind::Comprehension && functions[at].begins(line))
        .collect();
    if let Some(at) = of_line(functions, &depths, &here, line) {
        return match at {
            _ if usable(at) => Ok(chosen(functions, at, line, None)),
            // `def f(): return 1` at module level: the inner one is better than none, but never a lambda.
            _ => match here
                .iter()
                .copied()
                .filter(|&at| functions[at].kind == FunctionKind::Function)
                .min_by_key(|&at| depths[at])
            {
                Some(inner) => Ok(chosen(functions, inner, line, None)),
                None => Err(outside(line)),
            },
        };
    }

    // A statement began above and goes on here. One that began above a function's first line is around that function: the
    // place of a `class` is its whole block.
    let outer = |first: u32| {
        functions
            .iter()
            .any(|one| one.kind == FunctionKind::Function && first < one.first && one.first < line && line <= one.last)
    };
    let over = innermost(&mut (0..functions.len()).filter(|&at| {
        let first = functions[at].statement_over(line);
        functions[at].kind != FunctionKind::Comprehension && first.is_some_and(|first| !outer(first))
    }));
    if let Some((at, first)) = over.and_then(|at| Some((at, functions[at].statement_over(line)?))) {
        if !usable(at) {
            return Err(outside(line));
        }
        let note =
            format!("line {line} belongs to the statement that begins at line {first}; line {first} is used instead");
        return Ok(chosen(functions, at, first, Some(note)));
    }

    // No code: the next line of the same function.
    let around = innermost(&mut (0..functions.len()).filter(|&at| {
        let function = &functions[at];
        let inline = matches!(function.kind, FunctionKind::Lambda | FunctionKind::Comprehension);
        !inline && function.first <= line && line <= function.last
    }));
    let Some((at, below)) = around.and_then(|at| Some((at, functions[at].next_line(line)?))) else {
        return Err(no_code(functions, line, capabilities));
    };
    if !usable(at) {
        return Err(outside(line));
    }
    let note = format!("line {line} has no code; line {below} is used instead");
    Ok(chosen(functions, at, below, Some(note)))
}

/// Of the functions with a statement at a line, the innermost whose body begins on an earlier one; if none does, the
/// outermost.
fn of_line(functions: &[Function], depths: &[usize], here: &[usize], line: u32) -> Option<usize> {
    let earlier = here.iter().copied().filter(|&at| functions[at].body_line() < line);
    let innermost = earlier.max_by_key(|&at| (depths[at], Reverse(at)));
    innermost.or_else(|| here.iter().copied().min_by_key(|&at| (depths[at], at)))
}

/// The number of functions around each function. A chain of parents that never ends is cut.
fn depths(functions: &[Function]) -> Vec<usize> {
    let mut depths = vec![0; functions.len()];
    for (at, depth) in depths.iter_mut().enumerate() {
        let mut parent = functions[at].parent;
        while let Some(outer) = parent.and_then(|outer| functions.get(outer)) {
            *depth += 1;
            if *depth > functions.len() {
                break;
            }
            parent = outer.parent;
        }
    }
    depths
}

/// The choice of a function, with all its copies: the same name, kind and lines.
fn chosen(functions: &[Function], at: usize, line: u32, note: Option<String>) -> LineChoice {
    let one = &functions[at];
    let copy = |other: &Function| {
        (&other.name, other.kind, other.first, other.last) == (&one.name, one.kind, one.first, one.last)
            && other.begins(line)
    };
    LineChoice { functions: (0..functions.len()).filter(|&at| copy(&functions[at])).collect(), line, note }
}

fn outside(line: u32) -> String {
    format!("line {line} is outside of every function, where this runtime cannot place a probe")
}

/// The lines nearest to one that a probe can be on: so many above it, and, with it, so many from it on.
pub fn lines_near(functions: &[Function], line: u32, capabilities: &Capabilities, count: usize) -> Vec<u32> {
    let of_usable = functions.iter().filter(|function| is_usable(function.kind, capabilities));
    let mut lines: Vec<u32> = of_usable.flat_map(|function| &function.statements).map(|one| one.line).collect();
    lines.sort_unstable();
    lines.dedup();
    let middle = lines.partition_point(|&other| other < line);
    lines.drain(lines.len().min(middle + count)..);
    lines.drain(..middle.saturating_sub(count));
    lines
}

/// True if a probe can be on the lines of such a function.
fn is_usable(kind: FunctionKind, capabilities: &Capabilities) -> bool {
    match kind {
        FunctionKind::Module | FunctionKind::Class => capabilities.module_lines,
        FunctionKind::Function | FunctionKind::Lambda => true,
        FunctionKind::Comprehension => false,
    }
}

fn no_code(functions: &[Function], line: u32, capabilities: &Capabilities) -> String {
    let nearest: Vec<String> = lines_near(functions, line, capabilities, 2).iter().map(ToString::to_string).collect();
    match nearest[..] {
        [] => format!("no executable code at line {line}; the file has no lines with code"),
        _ => format!("no executable code at line {line}; the nearest lines with code are {}", nearest.join(", ")),
    }
}

/// What a Python function's qualified name may leave out.
const LOCALS: &str = "<locals>";

/// True if a method name of a probe means a function with this qualified name. `<locals>` may be left out.
pub fn is_method(qualified: &str, wanted: &str) -> bool {
    let mut wanted = wanted.split('.').peekable();
    for component in qualified.split('.') {
        if wanted.next_if_eq(&component).is_none() && component != LOCALS {
            return false;
        }
    }
    wanted.next().is_none()
}

/// The ways to read `typeName` and `methodName` as a module and a name in it, best first: users of other languages put
/// the class into `typeName`.
pub fn readings(type_name: &str, method: &str) -> Vec<(String, String)> {
    let mut readings = vec![(type_name.to_owned(), method.to_owned())];
    if let Some((module, class)) = type_name.rsplit_once('.')
        && !method.contains('.')
        && !module.is_empty()
        && !class.is_empty()
    {
        readings.push((module.to_owned(), format!("{class}.{method}")));
    }
    readings
}

/// The names that come nearest to one that is not there: at most three, best first.
pub fn nearest_names<'a>(wanted: &str, available: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    /// Longer names are told apart by their beginning; the work for one name stays small.
    const LONGEST: usize = 120;
    let folded = |text: &str| -> Vec<char> { text.chars().take(LONGEST).map(fold).collect() };
    let target = folded(wanted);
    let last_part = |text: &'a str| text.rsplit(['.', '/']).next().unwrap_or(text);
    let target_part = folded(wanted.rsplit(['.', '/']).next().unwrap_or(wanted));
    let most = (target.len() / 3).max(1);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in available {
        let letters = folded(name);
        // The same last part in another place is as near as one wrong letter.
        let same_part = !target_part.is_empty() && letters != target && folded(last_part(name)) == target_part;
        let Some(distance) = (if same_part { Some(1) } else { distance(&target, &letters, most) }) else { continue };
        if !found.iter().any(|(_, other)| *other == name) {
            found.push((distance, name));
        }
    }
    found.sort_unstable();
    found.into_iter().take(3).map(|(_, name)| name).collect()
}

/// The number of letters to insert, remove, replace or swap with their neighbour, if at most `most`.
fn distance(a: &[char], b: &[char], most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, other) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(letter != other)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && letter == &b[j - 1] && &a[i - 1] == other {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use super::{SourcePath, is_method, nearest_names, readings};

    #[test]
    fn paths_are_normalised() {
        for (path, normal) in [
            ("file:///srv/a%20b/c.py", "/srv/a b/c.py"),
            ("FILE:///C:/x/y.js", "/x/y.js"),
            ("/srv/100%/a%zz.py", "/srv/100%/a%zz.py"),
            ("c:\\x\\..\\y.py", "/y.py"),
            ("webpack://shop/./src/a.ts", "src/a.ts"),
            ("webpack:///src/a.ts", "src/a.ts"),
            ("../../a//b/./c.py", "a/b/c.py"),
            ("file:///%FF%", "/\u{FFFD}%"),
            ("", ""),
            ("c:", "/"),
        ] {
            assert_eq!(SourcePath::new(path).text(), normal, "{path}");
        }
        assert_eq!(SourcePath::new("file:///srv/Shop/Cart.PY").name_key(), "cart.py");
        let suffixes: Vec<_> = SourcePath::new("/a/b/c.py").suffixes().collect();
        assert_eq!(suffixes, ["a/b/c.py", "b/c.py", "c.py"]);
    }

    #[test]
    fn methods_by_name() {
        for (qualified, wanted, same) in [
            ("Cart.add", "Cart.add", true),
            ("outer.<locals>.inner", "outer.inner", true),
            ("outer.<locals>.inner", "outer.<locals>.inner", true),
            ("outer.inner", "outer.<locals>.inner", false),
            ("a.<locals>.b.<locals>.c", "a.<locals>.b.c", true),
            ("Cart.add", "add", false),
            ("Cart", "Cart.add", false),
            ("f.<locals>.<lambda>", "f.<lambda>", true),
        ] {
            assert_eq!(is_method(qualified, wanted), same, "{qualified} {wanted}");
        }
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(readings("shop.cart.Cart", "add"), [pair("shop.cart.Cart", "add"), pair("shop.cart", "Cart.add")]);
        assert_eq!(readings("shop", "add"), [pair("shop", "add")]);
        assert_eq!(readings("shop.cart", "Cart.add").len(), 1);
    }

    #[test]
    fn what_comes_nearest() {
        let names = ["Cart.total", "Cart.totals", "Cart.add", "Basket.ttoal", "render", "total"];
        assert_eq!(nearest_names("Cart.totl", names), ["Cart.total", "Cart.totals"]);
        assert_eq!(nearest_names("cart.total", names), ["Cart.total", "Cart.totals", "total"]);
        assert_eq!(nearest_names("Basket.total", names), ["Basket.ttoal", "Cart.total", "total"]);
        assert!(nearest_names("zzz", names).is_empty());
        assert!(nearest_names("", names).is_empty());
        let long = "x".repeat(1_000_000);
        assert_eq!(nearest_names(&long, [long.as_str()]), [long.as_str()]);
    }
}

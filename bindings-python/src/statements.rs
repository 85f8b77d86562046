//! Where the statements of a line begin in a code object, so that a line probe fires once per execution of the line and
//! not once per run of its instructions (a call over three lines has two runs). Stands on the configuration's walk: after
//! [`crate::discovery`] found the code, before [`crate::runtime`] places the hook.
//!
//! A statement begins where nothing of an expression is on the evaluation stack: only iterators of `for`, exits of `with`
//! and exceptions being handled. So the stack is followed through the code, and with it the line whose statement began
//! last; an instruction that begins another line begins a statement. Left out are the instructions that CPython adds for
//! itself: the advance of a `for`, the exit of a `with`, the implicit `return`.

use crate::code::{Instructions, Location, Locations};
use crate::selftest::borrow;
use crate::shim;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;

/// Where a statement begins, and its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// Byte offset of its first instruction.
    pub offset: u32,
    /// Its first line.
    pub line: u32,
    /// The last line of it, or of its head if it has a body.
    pub end: u32,
    /// The line that the instruction itself is on: `x = (` and below it what is evaluated first.
    pub own: u32,
}

/// How an instruction matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Plain,
    /// CPython's own; no statement begins with it.
    Hidden,
    /// Where an `await` goes on if something was thrown into it: in the middle of its statement.
    Cleanup,
    /// Of a loop, hidden as well. In CPython 3.12 its place is the whole loop.
    Advance,
    /// Begins a statement (`pass`, `break`, `return`) unless it shares its place in the source with another instruction.
    Weak,
    Extended,
    LoadConst,
    /// A constant that stands in the argument.
    LoadInt,
    ReturnConst,
    Swap,
    GetIter,
    BeforeWith,
    /// What `BeforeWith` does, in two steps (CPython 3.14).
    LoadSpecial,
    PushExcInfo,
    /// Of an `except`: its place is the whole clause.
    Match,
    /// Ends an expression: no statement begins with it.
    Call,
    /// Of a name: begins the `case` of a capture, and ends the `def` or `class` at whose place it stands.
    Store,
    Exit,
    /// A bare `raise` has no other instruction.
    Raise,
    JumpAlways,
    /// Of a pattern: the subject is copied before it is tried.
    Copy,
    Yield,
    /// Of an asynchronous generator: between a bare `yield` and its `None`.
    Intrinsic,
}

/// The opcodes of the interpreter, as its headers name them: `opcode` is a file, and may be another one in the program.
pub struct Opcodes {
    roles: [Role; 256],
    forward: [bool; 256],
    backward: [bool; 256],
    load_global: u8,
    load_name: u8,
    /// What makes a function of a constant, and stores it.
    make_function: u8,
    set_function: u8,
    store_name: u8,
    store_global: u8,
    /// What each opcode stands for, specialised or instrumented as it may be; 0 for what is none or cannot be told.
    bases: [u8; 256],
    /// The code units behind an opcode that are its caches.
    caches: [u8; 256],
    /// The opcodes that stand where another was, for line and for instruction events.
    line_event: u8,
    each_event: u8,
    /// True if copied instructions were seen to be turned back into what CPython says they are.
    direct: bool,
}

/// Functions of CPython's own that have run before any of ours, by which the tables above are tried.
const TRIED: [&str; 4] = ["_handle_fromlist", "_find_spec", "_find_and_load_unlocked", "module_from_spec"];

unsafe extern "C" {
    fn PyCompile_OpcodeStackEffectWithJump(opcode: i32, argument: i32, jump: i32) -> i32;
}

fn effect(opcode: u8, argument: u32, jump: bool) -> i32 {
    // SAFETY: a pure function of CPython's compiler. It answers i32::MAX for what it does not know.
    let effect = unsafe { PyCompile_OpcodeStackEffectWithJump(opcode.into(), argument.cast_signed(), i32::from(jump)) };
    if effect == i32::MAX { 0 } else { effect }
}

impl Opcodes {
    /// Reads them.
    pub fn read(py: Python<'_>) -> Self {
        let names = named();
        let number = |name: &str| names.get(name).copied().unwrap_or(0);
        let mut opcodes = Opcodes {
            roles: [Role::Plain; 256],
            forward: [false; 256],
            backward: [false; 256],
            load_global: number("LOAD_GLOBAL"),
            load_name: number("LOAD_NAME"),
            make_function: number("MAKE_FUNCTION"),
            set_function: number("SET_FUNCTION_ATTRIBUTE"),
            store_name: number("STORE_NAME"),
            store_global: number("STORE_GLOBAL"),
            bases: std::array::from_fn(|opcode| base(opcode as i32)),
            caches: std::array::from_fn(|opcode| u8::try_from(shim::strobe_opcode_caches(opcode as i32)).unwrap_or(0)),
            line_event: number("INSTRUMENTED_LINE"),
            each_event: number("INSTRUMENTED_INSTRUCTION"),
            direct: false,
        };
        for name in names.keys() {
            if let Some(plain) = name.strip_prefix("INSTRUMENTED_") {
                opcodes.bases[number(name) as usize] = number(plain);
            }
        }
        // What stands for another opcode is none itself, and what CPython's own compiler makes of a loop is not looked into.
        for marker in [opcodes.line_event, opcodes.each_event, number("ENTER_EXECUTOR")] {
            opcodes.bases[marker as usize] = 0;
        }
        for (name, &number) in &names {
            let at = usize::from(number);
            opcodes.roles[at] = role(name);
            opcodes.backward[at] = jumps(name) && name.contains("BACKWARD");
            opcodes.forward[at] = jumps(name) && !opcodes.backward[at];
        }
        opcodes.direct = opcodes.agree(py).unwrap_or(false);
        opcodes
    }

    /// True if copied instructions are turned back into what CPython says they are.
    fn agree(&self, py: Python<'_>) -> PyResult<bool> {
        let module = py.import("_frozen_importlib")?;
        for name in TRIED {
            let code = module.getattr(name)?.getattr("__code__")?;
            let bytes = code.getattr("co_code")?;
            let plain = borrow(&code).and_then(|code| self.turned_back(&Instructions::copy(code)));
            if plain.as_deref() != Some(bytes.cast::<PyBytes>()?.as_bytes()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What `co_code` would say of copied instructions; `None` if only CPython can tell. Needs no GIL.
    pub fn plain(&self, copied: &Instructions) -> Option<Vec<u8>> {
        if self.direct { self.turned_back(copied) } else { None }
    }

    fn turned_back(&self, copied: &Instructions) -> Option<Vec<u8>> {
        let mut plain = vec![0; copied.units.len()];
        let mut at = 0;
        while let Some([opcode, argument]) = copied.units.get(at * 2..at * 2 + 2) {
            let mut opcode = *opcode;
            // Either may stand where the other would.
            for _ in 0..2 {
                if opcode == self.line_event {
                    opcode = *copied.lines.get(at * copied.line_step)?;
                } else if opcode == self.each_event {
                    opcode = *copied.each.get(at)?;
                }
            }
            let base = self.bases[opcode as usize];
            if base == 0 {
                return None;
            }
            plain[at * 2..at * 2 + 2].copy_from_slice(&[base, *argument]);
            at += 1 + self.caches[base as usize] as usize;
        }
        Some(plain)
    }
}

/// The opcodes by name, but for those that others are specialised to: copied instructions are turned back before they are
/// followed.
pub fn named() -> HashMap<&'static str, u8> {
    let name = |opcode: u8| {
        let name = shim::strobe_opcode_name(opcode.into());
        // SAFETY: null, or a C string that is there for ever.
        let name = (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_str().ok()).flatten()?;
        let is_plain = base(opcode.into()) == opcode || name.starts_with("INSTRUMENTED_");
        // Numbers that stand for nothing have names such as `<201>`.
        (is_plain && !name.starts_with('<')).then_some((name, opcode))
    };
    (0..=u8::MAX).filter_map(name).collect()
}

/// True for an opcode whose argument says where to go on. That of END_ASYNC_FOR says where the loop awaits.
pub fn jumps(name: &str) -> bool {
    !name.starts_with("INSTRUMENTED_") && (name.contains("JUMP") || matches!(name, "FOR_ITER" | "SEND"))
}

fn base(opcode: i32) -> u8 {
    u8::try_from(shim::strobe_opcode_base(opcode)).unwrap_or(0)
}

fn role(name: &str) -> Role {
    match name {
        "EXTENDED_ARG" => Role::Extended,
        "LOAD_CONST" => Role::LoadConst,
        "LOAD_SMALL_INT" => Role::LoadInt,
        "RETURN_CONST" => Role::ReturnConst,
        "SWAP" => Role::Swap,
        "GET_ITER" | "GET_AITER" => Role::GetIter,
        "BEFORE_WITH" | "BEFORE_ASYNC_WITH" => Role::BeforeWith,
        "LOAD_SPECIAL" => Role::LoadSpecial,
        "PUSH_EXC_INFO" => Role::PushExcInfo,
        "CHECK_EXC_MATCH" | "CHECK_EG_MATCH" => Role::Match,
        "COPY" => Role::Copy,
        "YIELD_VALUE" => Role::Yield,
        "CALL_INTRINSIC_1" => Role::Intrinsic,
        "CALL" => Role::Call,
        "STORE_FAST" | "STORE_NAME" | "STORE_GLOBAL" | "STORE_DEREF" => Role::Store,
        "RETURN_VALUE" | "RERAISE" => Role::Exit,
        "RAISE_VARARGS" => Role::Raise,
        "JUMP_FORWARD" | "JUMP_BACKWARD" | "JUMP_BACKWARD_NO_INTERRUPT" => Role::JumpAlways,
        // A `return` inside an `except` leaves it first; the probe must see the exception still being handled.
        "POP_TOP" | "NOP" | "POP_EXCEPT" => Role::Weak,
        "CACHE" | "RESUME" | "COPY_FREE_VARS" | "MAKE_CELL" | "RETURN_GENERATOR" | "END_FOR" | "POP_ITER" | "SEND"
        | "END_SEND" | "WITH_EXCEPT_START" | "END_ASYNC_FOR" | "NOT_TAKEN" => Role::Hidden,
        "CLEANUP_THROW" => Role::Cleanup,
        "FOR_ITER" | "GET_ANEXT" => Role::Advance,
        _ => Role::Plain,
    }
}

struct Instruction {
    /// Code unit of the instruction or of the first prefix that widens its argument.
    first: u32,
    /// Code unit after it and its caches.
    next: u32,
    opcode: u8,
    argument: u32,
}

/// What is known when an instruction begins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    /// For each element of the stack: true if it stays there between statements.
    stack: Vec<bool>,
    /// The line whose statement began last; `None` if that differs by the way taken.
    line: Option<u32>,
}

/// A code object on its way through [`follow`].
struct Flow<'c> {
    instructions: &'c [Instruction],
    lines: &'c [Option<u32>],
    eligible: &'c [bool],
    /// True if lines are those of the source's statements, not of its text.
    by_source: bool,
}

impl Flow<'_> {
    /// True if an instruction stands where a statement is, or goes on. With source that is also where another line is
    /// reached with something on the stack: the value of a `return` whose `finally` runs, the subject of a `match`.
    fn is_statement(&self, at: usize, state: &State, opcodes: &Opcodes) -> bool {
        let role = opcodes.roles[self.instructions[at].opcode as usize];
        self.eligible[at] && (state.is_between(role) || self.reaches(at, state))
    }

    fn reaches(&self, at: usize, state: &State) -> bool {
        self.by_source && state.line.is_some() && self.lines[at].is_some() && state.line != self.lines[at]
    }
}

impl State {
    /// True if nothing of an expression is on the stack; below a pattern there is the subject of its `match`.
    fn is_between(&self, role: Role) -> bool {
        let below = match self.stack.split_last() {
            Some((false, below)) if role == Role::Copy => below,
            _ if role == Role::Copy => return false,
            _ => &self.stack[..],
        };
        below.iter().all(|stays| *stays)
    }
}

/// One entry of the exception table.
struct Handler {
    start: u32,
    end: u32,
    target: u32,
    depth: usize,
    /// True if the position is pushed too.
    lasti: bool,
}

/// The parts of a code object that are looked at.
pub struct Code<'c> {
    /// `co_code`.
    pub bytes: &'c [u8],
    /// `co_linetable`.
    pub lines: &'c [u8],
    /// `co_exceptiontable`.
    pub exceptions: &'c [u8],
    /// `co_firstlineno`.
    pub first_line: u32,
    /// For each constant: true if it is `None`.
    pub none_constants: &'c [bool],
    /// For each constant: true if it is the code of a function or class with a name.
    pub definitions: &'c [bool],
}

/// The statements of a code object, in the order of its instructions. A statement that CPython copied has one start a copy.
/// `first_of` knows the first line of the statement that a line belongs to, if there is source: bytecode does not tell the
/// second line of a condition from a statement of its own.
pub fn starts(code: &Code<'_>, opcodes: &Opcodes, first_of: Option<&dyn Fn(u32) -> u32>) -> Vec<Start> {
    let instructions = decode(code.bytes, opcodes);
    let mut places = locate(code, &instructions);
    let own = own_lines(&places);
    if let Some(first_of) = first_of {
        for place in places.iter_mut().flatten() {
            place.line = first_of(place.line);
        }
    }
    starts_at(code, opcodes, &instructions, &places, &own, first_of.is_some())
}

/// The one statement of a lambda or comprehension, however many lines it has.
pub fn starts_of_expression(code: &Code<'_>, opcodes: &Opcodes) -> Vec<Start> {
    let instructions = decode(code.bytes, opcodes);
    let mut places = locate(code, &instructions);
    let own = own_lines(&places);
    let visible =
        |one: &Instruction| !matches!(opcodes.roles[one.opcode as usize], Role::Hidden | Role::Cleanup | Role::Advance);
    let lines = instructions.iter().zip(&places).filter(|(one, _)| visible(one)).filter_map(|(_, place)| *place);
    let lines = lines.filter(|place| !has_no_width(*place));
    let Some(first) = lines.map(|place| place.line).min() else { return Vec::new() };
    for place in places.iter_mut().flatten() {
        place.line = first;
    }
    starts_at(code, opcodes, &instructions, &places, &own, true)
}

/// True for the place of what is in no source, on the first line of the function: the beginning of a class, the end of a
/// lambda (CPython 3.12), the first piece of `'a%s' % (…)`.
fn has_no_width(location: Location) -> bool {
    location.column.is_some() && location.column == location.end_column
}

fn own_lines(places: &[Option<Location>]) -> Vec<u32> {
    places.iter().map(|place| place.map_or(0, |place| place.line)).collect()
}

/// The functions that are made and stored under a name at once: the constant of their code, and the name, as positions.
pub fn stored_functions(bytes: &[u8], opcodes: &Opcodes) -> Vec<(usize, usize)> {
    let mut stored = Vec::new();
    let (mut constant, mut made) = (None, None);
    for one in decode(bytes, opcodes) {
        let role = opcodes.roles[one.opcode as usize];
        match one.opcode {
            _ if role == Role::LoadConst => (constant, made) = (Some(one.argument as usize), None),
            opcode if opcode == opcodes.make_function => made = constant.take(),
            opcode if opcode == opcodes.set_function => {}
            // `a = b = lambda: 1`
            _ if role == Role::Copy => {}
            opcode if opcode == opcodes.store_name || opcode == opcodes.store_global => {
                stored.extend(made.map(|made| (made, one.argument as usize)));
            }
            _ => (constant, made) = (None, None),
        }
    }
    stored
}

/// The names that code loads from its module, as positions in `co_names`, and the number of its instructions.
pub fn globals(bytes: &[u8], opcodes: &Opcodes) -> (Vec<usize>, usize) {
    let instructions = decode(bytes, opcodes);
    let mut wanted = Vec::new();
    let mut seen = HashSet::new();
    for one in &instructions {
        let index = match one.opcode {
            opcode if opcode == opcodes.load_global => one.argument as usize >> 1,
            opcode if opcode == opcodes.load_name => one.argument as usize,
            _ => continue,
        };
        if seen.insert(index) {
            wanted.push(index);
        }
    }
    (wanted, instructions.len())
}

fn starts_at(
    code: &Code<'_>,
    opcodes: &Opcodes,
    instructions: &[Instruction],
    places: &[Option<Location>],
    own: &[u32],
    by_source: bool,
) -> Vec<Start> {
    let at_unit: Vec<usize> =
        instructions.iter().enumerate().flat_map(|(at, one)| (one.first..one.next).map(move |_| at)).collect();
    let pieces = Pieces::of(instructions, places, opcodes);
    let leaves = leaves(instructions, opcodes, &pieces);
    let names = names_definition(instructions, opcodes, &pieces);
    let eligible: Vec<bool> = (0..instructions.len())
        .map(|at| !leaves[at] && !names[at] && begins(at, instructions, places, code, opcodes, &pieces))
        .collect();
    let lines: Vec<Option<u32>> = places.iter().map(|place| place.map(|place| place.line)).collect();
    let flow = Flow { instructions, lines: &lines, eligible: &eligible, by_source };
    let states = follow(code, opcodes, &flow, &at_unit);
    let begins = |at: usize| {
        let state = states[at].as_ref()?;
        let line = lines[at]?;
        (flow.is_statement(at, state, opcodes) && state.line != Some(line)).then_some(line)
    };
    let is_clause = |at: usize| pieces.opcodes(at).iter().any(|opcode| opcodes.roles[*opcode as usize] == Role::Match);
    // Nothing of the iterable stands at the place of a whole loop.
    let is_loop = |at: usize| {
        let has = |wanted| pieces.opcodes(at).iter().any(|opcode| opcodes.roles[*opcode as usize] == wanted);
        has(Role::Advance) && !has(Role::Plain) && !has(Role::Call) && (!has(Role::LoadConst) || has(Role::Yield))
    };
    let mut found: Vec<Start> = Vec::new();
    let mut defines = false;
    for (at, one) in instructions.iter().enumerate() {
        if let Some(line) = begins(at) {
            found.push(Start { offset: one.first * 2, line, end: line, own: own[at] });
            defines = false;
        }
        let is_constant = opcodes.roles[one.opcode as usize] == Role::LoadConst;
        defines |= is_constant && code.definitions.get(one.argument as usize).copied().unwrap_or(false);
        if let (Some(last), Some(place)) = (found.last_mut(), places[at])
            && !defines
            // The place of a `try:` is the whole statement.
            && opcodes.roles[one.opcode as usize] != Role::Weak
            && place.line == last.line
            && !is_clause(at)
            && !is_loop(at)
        {
            last.end = last.end.max(place.end_line);
        }
    }
    add_unfollowed(&mut found, instructions, places, &pieces, &eligible, own);
    found
}

/// Stores at a place where something else stood before: the name that a function or class is bound to.
fn names_definition(instructions: &[Instruction], opcodes: &Opcodes, pieces: &Pieces) -> Vec<bool> {
    let mut first: Vec<Option<u8>> = vec![None; pieces.count()];
    let names = instructions.iter().zip(&pieces.at).map(|(one, piece)| {
        let Some(piece) = *piece else { return false };
        let before = *first[piece].get_or_insert(one.opcode);
        opcodes.roles[one.opcode as usize] == Role::Store && before != one.opcode
    });
    names.collect()
}

/// Instructions at the place of a `with` or of what a loop goes through that come after its beginning: they leave it,
/// wherever in its body that was, or CPython gave them no place of their own.
fn leaves(instructions: &[Instruction], opcodes: &Opcodes, pieces: &Pieces) -> Vec<bool> {
    let role = |at: usize| opcodes.roles[instructions[at].opcode as usize];
    // Not of a generator expression, which is made at the place of its iterator.
    let loops = pieces.with(|at| role(at) == Role::Advance);
    let is_entry = |at: usize| match role(at) {
        Role::BeforeWith | Role::LoadSpecial => true,
        Role::GetIter => pieces.at[at].is_some_and(|piece| loops[piece]),
        _ => false,
    };
    let entries = pieces.with(is_entry);
    let mut leaves = vec![false; instructions.len()];
    // From the end: of a run of one place, what comes before the entering belongs to it.
    let (mut before, mut enters) = (None, false);
    for at in (0..instructions.len()).rev() {
        let here = pieces.at[at];
        enters = is_entry(at) || (enters && here == before);
        before = here;
        leaves[at] = !enters && here.is_some_and(|here| entries[here]);
    }
    leaves
}

/// Lines whose statements begin with something on the stack (the last `case`, decorators): each run of instructions of such
/// a line has a start. Lines in the middle of a statement are not among them, nor are runs that only end what began before
/// at the same place: the call of a decorator, the name that a class is bound to.
fn add_unfollowed(
    found: &mut Vec<Start>,
    instructions: &[Instruction],
    places: &[Option<Location>],
    pieces: &Pieces,
    eligible: &[bool],
    own: &[u32],
) {
    let covered = |line: u32| found.iter().any(|start| start.line <= line && line <= start.end);
    let mut added = Vec::new();
    let mut seen: Vec<Option<Vec<u8>>> = vec![None; pieces.count()];
    let mut before = 0;
    for (at, one) in instructions.iter().enumerate() {
        let (Some(location), Some(here)) = (places[at], pieces.at[at]) else { continue };
        // The same instruction at the same place is a copy of the statement.
        let ends = seen[here].as_ref().is_some_and(|begun| !begun.contains(&one.opcode));
        let begun = seen[here].get_or_insert_default();
        if eligible[at] && location.line != before && !ends && !covered(location.line) {
            begun.push(one.opcode);
            added.push(Start { offset: one.first * 2, line: location.line, end: location.line, own: own[at] });
        }
        before = location.line;
    }
    found.extend(added);
    found.sort_by_key(|start| start.offset);
}

fn decode(bytes: &[u8], opcodes: &Opcodes) -> Vec<Instruction> {
    let mut found: Vec<Instruction> = Vec::new();
    let (mut argument, mut first) = (0u32, None);
    for (unit, pair) in bytes.chunks_exact(2).enumerate() {
        let (opcode, low, unit) = (pair[0], pair[1], unit as u32);
        if opcode == 0 && !found.is_empty() {
            // A cache belongs to the instruction before it.
            if let Some(last) = found.last_mut() {
                last.next = unit + 1;
            }
            continue;
        }
        argument = (argument << 8) | u32::from(low);
        if opcodes.roles[opcode as usize] == Role::Extended {
            first.get_or_insert(unit);
            continue;
        }
        found.push(Instruction { first: first.take().unwrap_or(unit), next: unit + 1, opcode, argument });
        argument = 0;
    }
    found
}

fn locate(code: &Code<'_>, instructions: &[Instruction]) -> Vec<Option<Location>> {
    let mut locations = Locations::new(code.lines, code.first_line);
    let mut current = locations.next();
    let mut places = Vec::with_capacity(instructions.len());
    for one in instructions {
        let unit = one.first;
        while current.is_some_and(|location| location.end <= unit) {
            current = locations.next();
        }
        places.push(current.filter(|location| location.line != 0));
    }
    places
}

/// The pieces of source that instructions stand at.
struct Pieces {
    /// The piece of each instruction; `None` for one that stands nowhere.
    at: Vec<Option<usize>>,
    /// The opcodes of each piece. A constant that is returned right away is a part of the return: 3.12 and 3.13 have one
    /// instruction for both.
    opcodes: Vec<Vec<u8>>,
}

impl Pieces {
    fn of(instructions: &[Instruction], places: &[Option<Location>], opcodes: &Opcodes) -> Self {
        let mut known = HashMap::new();
        let mut number = |location: Location| {
            let next = known.len();
            let piece = (location.line, location.end_line, location.column, location.end_column);
            *known.entry(piece).or_insert(next)
        };
        let at: Vec<Option<usize>> = places.iter().map(|place| place.map(&mut number)).collect();
        let mut pieces = Pieces { at, opcodes: vec![Vec::new(); known.len()] };
        let role = |one: &Instruction| opcodes.roles[one.opcode as usize];
        for (at, one) in instructions.iter().enumerate() {
            let Some(piece) = pieces.at[at] else { continue };
            let returned = matches!(role(one), Role::LoadConst | Role::LoadInt)
                && instructions.get(at + 1).is_some_and(|next| role(next) == Role::Exit)
                && pieces.at.get(at + 1) == Some(&Some(piece));
            let same = &mut pieces.opcodes[piece];
            if !returned && !same.contains(&one.opcode) {
                same.push(one.opcode);
            }
        }
        pieces
    }

    fn count(&self) -> usize {
        self.opcodes.len()
    }

    /// The opcodes at the piece of an instruction.
    fn opcodes(&self, at: usize) -> &[u8] {
        self.at[at].map_or(&[], |piece| &self.opcodes[piece])
    }

    /// For each piece: true if one of its instructions is of a kind.
    fn with(&self, is: impl Fn(usize) -> bool) -> Vec<bool> {
        let mut with = vec![false; self.count()];
        for (at, piece) in self.at.iter().enumerate() {
            if let Some(piece) = *piece {
                with[piece] |= is(at);
            }
        }
        with
    }
}

/// True if a statement can begin with an instruction.
fn begins(
    at: usize,
    instructions: &[Instruction],
    places: &[Option<Location>],
    code: &Code<'_>,
    opcodes: &Opcodes,
    pieces: &Pieces,
) -> bool {
    let (one, Some(location)) = (&instructions[at], places[at]) else { return false };
    if has_no_width(location) {
        return false;
    }
    let none = code.none_constants.get(one.argument as usize).copied().unwrap_or(false);
    let own_place = || {
        pieces.opcodes(at).iter().all(|opcode| {
            let role = opcodes.roles[*opcode as usize];
            *opcode == one.opcode || matches!(role, Role::Weak | Role::Exit | Role::ReturnConst | Role::JumpAlways)
        })
    };
    // A bare `yield`, unlike the `None` that an `await` sends.
    let yields = || {
        let mut next = instructions[at + 1..].iter().map(|next| opcodes.roles[next.opcode as usize]);
        match next.next() {
            Some(Role::Intrinsic) => next.next() == Some(Role::Yield),
            role => role == Some(Role::Yield),
        }
    };
    match opcodes.roles[one.opcode as usize] {
        Role::Plain
        | Role::LoadInt
        | Role::GetIter
        | Role::BeforeWith
        | Role::LoadSpecial
        | Role::Match
        | Role::Intrinsic
        | Role::Store => true,
        Role::Copy => one.argument == 1,
        Role::Raise => one.argument == 0,
        Role::Call
        | Role::Hidden
        | Role::Cleanup
        | Role::Advance
        | Role::Extended
        | Role::Swap
        | Role::PushExcInfo
        | Role::Exit
        | Role::Yield => false,
        Role::LoadConst | Role::ReturnConst => !none || own_place() || yields(),
        Role::Weak | Role::JumpAlways => own_place(),
    }
}

/// The state before each instruction; `None` for what is never reached.
fn follow(code: &Code<'_>, opcodes: &Opcodes, flow: &Flow<'_>, at_unit: &[usize]) -> Vec<Option<State>> {
    let instructions = flow.instructions;
    let handlers = handlers(code.exceptions);
    let mut states: Vec<Option<State>> = vec![None; instructions.len()];
    let mut waiting = Vec::new();
    if !instructions.is_empty() {
        states[0] = Some(State { stack: Vec::new(), line: Some(0) });
        waiting.push(0);
    }
    while let Some(at) = waiting.pop() {
        let Some(mut state) = states[at].clone() else { continue };
        let one = &instructions[at];
        let line = if flow.is_statement(at, &state, opcodes) { flow.lines[at] } else { state.line };
        if flow.eligible[at] && flow.reaches(at, &state) {
            // What is there now stays there between the statements that follow.
            state.stack.fill(true);
        }
        let opcode = one.opcode as usize;
        let mut enter = |unit: u32, stack: Vec<bool>, line: Option<u32>| {
            let Some(&to) = at_unit.get(unit as usize) else { return };
            match &mut states[to] {
                Some(known) => {
                    if known.line != line && known.line.is_some() {
                        known.line = None;
                        waiting.push(to);
                    }
                }
                unknown => {
                    *unknown = Some(State { stack, line });
                    waiting.push(to);
                }
            }
        };
        for handler in handlers.iter().filter(|handler| handler.start <= one.first && one.first < handler.end) {
            let mut stack: Vec<bool> = state.stack.iter().copied().take(handler.depth).collect();
            stack.resize(handler.depth + usize::from(handler.lasti) + 1, true);
            // Whatever the handler begins with is a line of its own.
            let goes_on = |to: &&usize| opcodes.roles[instructions[**to].opcode as usize] == Role::Cleanup;
            let line = at_unit.get(handler.target as usize).filter(goes_on).and_then(|&to| flow.lines[to]);
            enter(handler.target, stack, line);
        }
        let role = opcodes.roles[opcode];
        if opcodes.forward[opcode] || opcodes.backward[opcode] {
            let target = if opcodes.backward[opcode] {
                one.next.checked_sub(one.argument)
            } else {
                one.next.checked_add(one.argument)
            };
            if let Some(target) = target {
                enter(target, after(&state.stack, one, role, true), line);
            }
        }
        if !matches!(role, Role::JumpAlways | Role::Exit | Role::Raise | Role::ReturnConst) {
            enter(one.next, after(&state.stack, one, role, false), line);
        }
    }
    states
}

/// The stack after an instruction.
fn after(stack: &[bool], one: &Instruction, role: Role, jump: bool) -> Vec<bool> {
    let mut stack = stack.to_vec();
    match role {
        Role::GetIter => {
            stack.pop();
            stack.push(true);
        }
        Role::BeforeWith => {
            stack.pop();
            stack.extend([true, false]);
        }
        // The exit and what it is bound to stay, the result of the entry (an even argument) does not.
        Role::LoadSpecial if one.argument & 1 != 0 => {
            stack.pop();
            stack.extend([true, true]);
        }
        Role::PushExcInfo => stack.push(true),
        Role::Swap => {
            let len = stack.len();
            if let Some(other) = len.checked_sub(one.argument as usize)
                && other < len
            {
                stack.swap(other, len - 1);
            }
        }
        _ => {
            let change = effect(one.opcode, one.argument, jump);
            let len = stack.len().saturating_add_signed(change as isize);
            stack.resize(len, false);
        }
    }
    stack
}

/// Reads an exception table (CPython 3.11 and later). A damaged one ends the reading early.
fn handlers(table: &[u8]) -> Vec<Handler> {
    let mut bytes = table.iter().copied();
    let mut number = || {
        let mut byte = bytes.next()?;
        let mut value = u32::from(byte & 63);
        while byte & 64 != 0 {
            byte = bytes.next()?;
            value = (value << 6) | u32::from(byte & 63);
        }
        Some(value)
    };
    let mut found = Vec::new();
    while let (Some(start), Some(length), Some(target), Some(depth)) = (number(), number(), number(), number()) {
        found.push(Handler { start, end: start + length, target, depth: depth as usize >> 1, lasti: depth & 1 != 0 });
    }
    found
}

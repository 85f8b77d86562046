//! Marks become text: all of a module with guards in it, or the body of one function with the code of probes.

use crate::kept::Piece;
use crate::position::{NAME, NONE, Positions};
use crate::read::{Act, Function, Mark, Module, Part, Place, ReturnPart, SitePart, SourceKind};
use crate::slot::{NAMES, Slot, SlotKind};
use crate::text::{breaks, width};
use crate::variant::RAISED;
use std::collections::HashMap;
use std::fmt::Write as _;

/// In a line with this comment in it Node shows no source of an exception that nobody catches: it would be that of the guard. Lines
/// of modules need none: what Node shows of them can be put right as it shows it.
pub(crate) const QUIET: &str = "/*node-do-not-add-exception-line*/";

/// Lines that a note of a place has room for.
const LINES: u32 = 1 << 20;

/// What is written.
pub(crate) struct Emitter<'m> {
    module: &'m Module,
    /// That of the module.
    text: &'m str,
    cell: &'m str,
    /// The function of which this is a variant, with the places of its slots.
    variant: Option<(usize, HashMap<u32, usize>)>,
    /// The code of line probes by site.
    codes: HashMap<u32, &'m str>,
    /// `return` leaves a value and the block around the body.
    exits: bool,
    /// Each statement notes that it runs ([`RAISED`]).
    pub notes: bool,
    pub out: String,
    pub positions: Positions,
    /// What was put in.
    pub pieces: Vec<Piece>,
    /// Where the text goes on.
    at: u32,
    line: u32,
    /// Columns in the line, in the old text and in the new one.
    old: u32,
    new: u32,
}

impl<'m> Emitter<'m> {
    /// For all of a module, with its text.
    pub fn module(module: &'m Module, text: &'m str, cell: &'m str) -> Emitter<'m> {
        let out = String::with_capacity(text.len() * 5 / 4);
        Emitter {
            module,
            text,
            cell,
            variant: None,
            codes: HashMap::new(),
            exits: false,
            notes: false,
            out,
            positions: Positions::default(),
            pieces: Vec::new(),
            at: 0,
            line: 1,
            old: 0,
            new: 0,
        }
    }

    /// For a variant, whose text begins with `head`.
    pub fn variant(
        module: &'m Module,
        cell: &'m str,
        function: usize,
        codes: HashMap<u32, &'m str>,
        exits: bool,
        head: String,
    ) -> Emitter<'m> {
        let of = &module.functions[function];
        let places = of.slots.iter().enumerate().map(|(place, &slot)| (slot, place)).collect();
        let at = of.body.0;
        let old = module.lines.column(&module.text, at);
        let new = width(&head);
        let line = module.lines.line(at);
        let mut positions = Positions::default();
        positions.push(line, (0, new), (old, old), function as u32);
        let variant = Some((function, places));
        let (out, pieces, text) = (head, Vec::new(), module.text.as_str());
        let notes = false;
        Emitter { module, text, cell, variant, codes, exits, notes, out, positions, pieces, at, line, old, new }
    }

    /// Writes the text from where it is up to `end`, with what the marks in it say.
    pub fn write(&mut self, end: u32) {
        let module = self.module;
        let first = module.marks.partition_point(|mark| mark.at < self.at);
        for mark in &module.marks[first..] {
            if mark.at > end || (mark.at == end && !self.is_inside(mark)) {
                break;
            }
            if mark.at < self.at {
                continue;
            }
            if let Some(text) = self.text_of(&mark.act) {
                self.copy(mark.at);
                let guard = match &mark.act {
                    Act::Guard(function) => *function as u32,
                    Act::Outer { parts, .. } if matches!(parts[..], [Part::Value(_)]) => NAME,
                    _ => NONE,
                };
                self.put(&text, mark.end.min(end), guard);
            } else if let Act::Site(number, part) = mark.act
                && let Some(text) = self.site(number, part)
            {
                self.copy(mark.at);
                // Of `while` itself only the word goes.
                let whole = part == SitePart::Begin && module.sites[number as usize].place == Place::While;
                self.put(&text, if whole { mark.at + "while".len() as u32 } else { mark.at }, NONE);
            }
        }
        self.copy(end);
    }

    /// Writes what stands after a body.
    pub fn finish(mut self, tail: &str) -> (String, Positions) {
        self.put(tail, self.at, NONE);
        (self.out, self.positions)
    }

    /// True for a mark that is made by what is written: at the end of an expression others may stand, of what it is part of.
    fn is_inside(&self, mark: &Mark) -> bool {
        let Some((variant, _)) = &self.variant else { return true };
        let start = self.module.functions[*variant].start;
        mark.function.is_some_and(|function| self.module.functions[function].start >= start)
    }

    fn copy(&mut self, to: u32) {
        let module = self.module;
        let Some(text) = self.text.get(self.at as usize..to as usize) else { return };
        self.out.push_str(text);
        self.at = to;
        let line = module.lines.line(to);
        if line != self.line {
            self.line = line;
            self.old = module.lines.column(self.text, to);
            self.new = self.old;
            return;
        }
        let wide = width(text);
        self.old += wide;
        self.new += wide;
    }

    /// Writes something in place of the text up to `to`; its line breaks stay.
    fn put(&mut self, text: &str, to: u32, guard: u32) {
        let left_out = self.text.get(self.at as usize..to as usize).unwrap_or("");
        let kept = breaks(left_out);
        let (from, begin) = (self.at, self.out.len());
        self.out.push_str(text);
        self.out.push_str(&kept);
        let (old, new) = (self.old, self.new);
        let line = self.line;
        self.at = to.max(self.at);
        self.pieces.push(Piece { old: (from, self.at), new: (begin, self.out.len()) });
        if kept.is_empty() {
            self.old += width(left_out);
            self.new += width(text);
            self.positions.push(line, (new, self.new), (old, self.old), guard);
            return;
        }
        self.positions.push(line, (new, new + width(text)), (old, old), guard);
        self.line = self.module.lines.line(self.at);
        self.old = self.module.lines.column(self.text, self.at);
        self.new = 0;
        self.positions.push(self.line, (0, 0), (0, self.old), NONE);
    }

    fn text_of(&self, act: &Act) -> Option<String> {
        match act {
            Act::Outer { owner, parts } => self.outer(*owner, parts),
            Act::Guard(function) => {
                let own = self.variant.as_ref().is_some_and(|(variant, _)| variant == function);
                if own { None } else { self.guard(&self.module.functions[*function], *function) }
            }
            Act::Return(function, part) => {
                let own = self.variant.as_ref().is_some_and(|(variant, _)| variant == function);
                (own && self.exits).then(|| self.exit(*part))
            }
            Act::Names => self.variant.is_none().then(|| self.names()),
            Act::Site(..) => None,
        }
    }

    /// The function that reads the variables of the module.
    fn names(&self) -> String {
        let mut text = [";function ", NAMES, "($s_i){switch($s_i){"].concat();
        for (at, name) in self.module.names.iter().enumerate() {
            let _ = write!(text, "case {at}:return {name};");
        }
        text.push_str("}}");
        text
    }

    fn outer(&self, owner: u32, parts: &[Part]) -> Option<String> {
        let (function, _) = self.variant.as_ref()?;
        let function = &self.module.functions[*function];
        if owner > function.start {
            return None;
        }
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Owned(part) => text.push_str(part),
                Part::Slot(slot) => text.push_str(&self.slot(*slot)),
                Part::Value(slot) if function.takes(&self.module.slots[*slot as usize]) => {
                    text.push_str(taken(function, &self.module.slots[*slot as usize])?);
                }
                Part::Value(slot) => {
                    text.push_str(&self.slot(*slot));
                    text.push_str("()");
                }
            }
        }
        Some(text)
    }

    /// The arrow function of a slot, as text for the place where this is written.
    fn slot(&self, number: u32) -> String {
        let slot = &self.module.slots[number as usize];
        let Some((function, places)) = &self.variant else { return slot.text() };
        let function = &self.module.functions[*function];
        if function.takes(slot) {
            return taken(function, slot).map_or_else(|| slot.text(), |name| format!("()=>{name}"));
        }
        match places.get(&number) {
            Some(place) if slot.owner <= function.start => format!("$s_c[{place}]"),
            _ => slot.text(),
        }
    }

    /// The guard of a function, if it has one.
    fn guard(&self, function: &Function, number: usize) -> Option<String> {
        if function.why_not.is_some() {
            return None;
        }
        let cell = self.cell;
        let nature = function.nature;
        // An arrow function without an `await` of its own gets none: the engine makes each call of it a fifth dearer.
        let wait = match (nature.generator, nature.waits()) {
            (true, _) => "yield* ",
            (false, true) => "await ",
            (false, false) => "",
        };
        // In brackets nothing of it gets into the names that the engine makes up for functions without one.
        let (before, between, after) = match (nature.concise, function.guard_at > function.body.0) {
            (true, _) => ("(", ")?(", "):"),
            (false, false) => ("if(", ")return ", ";"),
            // After a directive.
            (false, true) => (";if(", ")return ", ";"),
        };
        let (even, uneven) = balance(function.slots.len(), nature.concise);
        let number = number.to_string();
        let mut guard = String::with_capacity(256);
        let test = [before, "typeof ", cell, "!=='undefined'&&", cell, "[", &number, "]!==void 0"];
        let is_module = matches!(self.module.kind, SourceKind::CommonJs | SourceKind::Esm) && self.variant.is_none();
        let quiet = if is_module { "" } else { QUIET };
        let call = [between, even, wait, cell, "[", &number, "].call(", quiet];
        guard.extend(test);
        guard.extend(call);
        guard.push_str(if function.passes_this() { "this" } else { "void 0" });
        if !self.module.names.is_empty() {
            guard.extend([",", NAMES]);
        }
        if !function.slots.is_empty() {
            guard.push_str(",()=>[");
            for (place, &slot) in function.slots.iter().enumerate() {
                if place > 0 {
                    guard.push(',');
                }
                self.put_slot(&mut guard, slot);
            }
            guard.push(']');
        }
        if nature.arguments && !nature.arrow {
            guard.push_str(",arguments");
        }
        if nature.new_target && !nature.arrow {
            guard.push_str(",new.target");
        }
        if !function.mapped() {
            guard.extend(function.params.iter().flat_map(|name| [",", name]));
        }
        guard.push(')');
        guard.push_str(after);
        guard.push_str(&uneven);
        Some(guard)
    }

    /// Writes the arrow function of a slot. Those of variables are most.
    fn put_slot(&self, text: &mut String, number: u32) {
        match &self.module.slots[number as usize].kind {
            SlotKind::Read(_, name) if self.variant.is_none() => text.extend(["()=>", name]),
            _ => text.push_str(&self.slot(number)),
        }
    }

    fn exit(&self, part: ReturnPart) -> String {
        let wait = self.variant.as_ref().is_some_and(|(function, _)| {
            let nature = self.module.functions[*function].nature;
            nature.is_async && nature.generator
        });
        match part {
            // A comma keeps a function from being given the name of the variable.
            ReturnPart::Begin if wait => "{$s_r=await(0,".to_owned(),
            ReturnPart::Begin => "{$s_r=(0,".to_owned(),
            ReturnPart::End => ");break $s_x}".to_owned(),
            ReturnPart::Bare => "{$s_r=void 0;break $s_x}".to_owned(),
        }
    }

    fn site(&self, number: u32, part: SitePart) -> Option<String> {
        let (function, _) = self.variant.as_ref()?;
        let site = self.module.sites[number as usize];
        if site.function != Some(*function) {
            return None;
        }
        let code = self.codes.get(&number).copied();
        if code.is_none() && !self.notes {
            return None;
        }
        let note = if self.notes { self.module.note(site.at) } else { String::new() };
        let code = || format!("{{{note}{}}}", code.unwrap_or(""));
        match (site.place, part) {
            (Place::Listed, SitePart::Begin) => Some(code()),
            (Place::Alone, SitePart::Begin) => Some(format!("{{{}", code())),
            (Place::Alone | Place::While, SitePart::End) => Some("}".to_owned()),
            (Place::While, SitePart::Begin) => Some(format!("for(;;){{{}if(!", code())),
            (Place::While, SitePart::Body) => Some(")break;".to_owned()),
            (Place::DoTest, SitePart::Begin) => Some(format!("(()=>{})(),(", code())),
            (Place::DoTest, SitePart::End) => Some(")".to_owned()),
            // The one of a concise arrow function stands before its body.
            _ => None,
        }
    }
}

/// For functions without a name the engine makes one up, of what stands around them. While it reads, it keeps a list of them, and
/// each call takes the last one out, whichever that is: a guard has as many functions as calls, or others would be named
/// differently. What makes up for a difference never runs.
fn balance(slots: usize, concise: bool) -> (&'static str, String) {
    match (slots, concise) {
        (0, _) => ("0?()=>0:", String::new()),
        (_, true) => ("", format!("0?0{}:", "()".repeat(slots))),
        (_, false) => ("", format!("if(0)0{};", "()".repeat(slots))),
    }
}

/// What stands in a variant for something of the call that the guard hands over; nothing if it stands for itself.
fn taken(function: &Function, slot: &Slot) -> Option<&'static str> {
    match slot.kind {
        SlotKind::NewTarget => Some("$s_t"),
        SlotKind::Arguments if function.mapped() => None,
        _ => Some("$s_g"),
    }
}

impl Module {
    /// The statement that notes that what begins at a place of the text runs ([`RAISED`]).
    pub(crate) fn note(&self, at: u32) -> String {
        let (line, column) = (self.lines.line(at), self.lines.column(&self.text, at) + 1);
        let place = if line < LINES { u64::from(column) * u64::from(LINES) + u64::from(line) } else { 0 };
        format!("{RAISED}={place};")
    }
}

impl Function {
    /// True if the guard hands on `this`. An arrow function that does not name it would make the function around keep it.
    pub(crate) fn passes_this(&self) -> bool {
        let nature = self.nature;
        !nature.derived && !nature.in_derived && (!nature.arrow || nature.this)
    }
}

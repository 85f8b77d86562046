//! A variant: the text of a function with the code of probes in it, to be compiled on its own and put into the cell of its
//! module. It is made when a probe is attached, off the program's threads.

use crate::emit::{Emitter, QUIET};
use crate::position::Positions;
use crate::read::{FunctionKind, Module, Place, Unreadable, check_names};
use crate::slot::NAMES;
use crate::text::quoted;
use oxc_span::SourceType;
use std::collections::HashMap;
use std::fmt::Write;

/// Where code of a probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Before the first statement, with the parameters bound. What the code declares is seen by the code of all other points.
    Entry,
    /// Before a statement, by its site.
    Line(u32),
    /// After a normal end; the value is in `$s_r`. It runs once a call, whatever `finally` blocks do.
    Return,
    /// After an exception; it is in `$s_e`, and goes on afterwards. Code that names [`RAISED`] finds in it where the exception
    /// came from.
    Throw,
}

/// The variable that says which statement of the function ran last: its line plus 2^20 times its column, both from 1; 0: none yet.
pub const RAISED: &str = "$s_at";

/// A variant of a function.
#[derive(Debug)]
pub struct Variant {
    /// A function expression that takes `$s` and returns what belongs into the cell.
    pub code: String,
    /// The line of the original in which the code begins: its own lines follow those of the original.
    pub first_line: u32,
    /// The way back to columns of the original.
    pub positions: Positions,
    /// The function's name in the variant.
    pub name: String,
    /// A function expression that throws what it is given; the code calls it as `$s.rethrow`. Compiled for itself, in the line of
    /// the function, where Node says that it comes from if nobody catches it. Nothing if no point needs it.
    pub rethrow: Option<String>,
}

/// What the texts of slots and marks call. Each is there only if it is called.
const HELPERS: [(&str, &str); 6] = [
    // A variable or a member of super, as something that can be assigned to.
    ("$s_w(", "const $s_w=($s_r,$s_w)=>({get v(){return $s_r()},set v($s_v){$s_w($s_v)}});"),
    // A private member of an object, likewise.
    ("$s_q(", "const $s_q=($s_r,$s_w,$s_o)=>({get v(){return $s_r($s_o)},set v($s_v){$s_w($s_o,$s_v)}});"),
    // `++` and `--`: the first bit is up, the second is the value before.
    (
        "$s_u(",
        "const $s_u=($s_r,$s_w,$s_h)=>{let $s_v=$s_r();const $s_b=$s_h&1?$s_v++:$s_v--;$s_w($s_v);return $s_h&2?$s_b:$s_v};",
    ),
    // A private method, called.
    ("$s_p(", "const $s_p=($s_r,$s_o,$s_n)=>$s_m($s_r($s_o),$s_o,$s_n);"),
    // A method that was read already, called.
    (
        "$s_m(",
        "const $s_m=($s_f,$s_o,$s_n)=>(...$s_v)=>{if(typeof $s_f!=='function')throw new $s.TypeError($s_n+' is not a \
         function');return $s.apply($s_f,$s_o,$s_v)};",
    ),
    // A variable that may not be bound yet.
    ("$s_a(", "const $s_a=$s_r=>{try{return $s_r()}catch{return $s.absent}};"),
];

impl Module {
    /// Makes the variant of a function with code at points. A code is a sequence of statements without a line break; codes at
    /// one point run in the order given. `cell` is that of the guards.
    pub fn variant(&self, function: usize, cell: &str, points: &[(Point, &str)]) -> Result<Variant, Unreadable> {
        let Some(of) = self.functions.get(function) else {
            return Err(Unreadable::new(format!("there is no function {function}"), 0));
        };
        if let Some(why) = of.why_not {
            return Err(Unreadable::new(why, of.first));
        }
        if points.iter().any(|(_, code)| code.contains(['\n', '\r', '\u{2028}', '\u{2029}'])) {
            return Err(Unreadable::new("the code of a probe has a line break", 0));
        }
        let codes = Codes::new(points);
        let exits = !codes.returns.is_empty() || !codes.throws.is_empty();
        let tail = self.tail(function, &codes, exits);
        let head = self.head(function, &codes, exits);
        // Helpers stand in front, and which are needed is known at the end: the text is written twice at most.
        let write = |helpers: &str| {
            let head = format!("(function($s){{{helpers}{head}");
            let lines = codes.lines.iter().map(|(site, code)| (*site, code.as_str())).collect();
            let mut emitter = Emitter::variant(self, cell, function, lines, exits, head);
            emitter.notes = codes.throws.contains(RAISED);
            emitter.write(of.body.1);
            emitter.finish(&tail)
        };
        let (mut code, mut positions) = write("");
        let helpers = helpers(&code);
        if !helpers.is_empty() {
            (code, positions) = write(&helpers);
        }
        check_names(&code, SourceType::script())?;
        let rethrow = exits.then(rethrow);
        Ok(Variant { code, first_line: self.lines.line(of.body.0), positions, name: of.name.clone(), rethrow })
    }

    /// What stands before the body.
    fn head(&self, function: usize, codes: &Codes, exits: bool) -> String {
        let of = &self.functions[function];
        let nature = of.nature;
        let kind = match (nature.waits(), nature.generator) {
            (false, false) => "function",
            (false, true) => "function*",
            (true, false) => "async function",
            (true, true) => "async function*",
        };
        let mut parameters: Vec<&str> = Vec::new();
        if !self.names.is_empty() {
            parameters.push(NAMES);
        }
        if !of.slots.is_empty() {
            parameters.push("$s_k");
        }
        if nature.arguments && !nature.arrow {
            parameters.push("$s_g");
        }
        if nature.new_target && !nature.arrow {
            parameters.push("$s_t");
        }
        let own: Vec<&str> = of.params.iter().map(String::as_str).collect();
        let slots = if of.slots.is_empty() { "" } else { "const $s_c=$s_k();" };
        let strict = if nature.strict { "'use strict';" } else { "" };
        let name = quoted(&of.name);
        let mut head = if of.mapped() {
            // Parameters and `arguments` are tied together only in a function that is called with them.
            let outer = parameters.join(",");
            let own = own.join(",");
            format!("return function $s_f({outer}){{{slots}return $s.apply({{[{name}]:{kind}({own}){{")
        } else {
            parameters.extend(own);
            let parameters = parameters.join(",");
            format!("return {{[{name}]:{kind}({parameters}){{{strict}{slots}")
        };
        head.push_str(QUIET);
        head.push_str(&codes.entry);
        if exits {
            let ended = if nature.generator { ",$s_d" } else { "" };
            let notes = if codes.throws.contains(RAISED) { ",$s_at=0" } else { "" };
            let _ = write!(head, "let $s_r,$s_l{ended}{notes};try{{$s_x:{{{}", self.locals_reader(function, codes));
        }
        if nature.concise {
            let code = self.concise_code(function, codes);
            head.push_str(&code);
            if codes.throws.contains(RAISED) {
                head.push_str(&self.note(of.body.0));
            }
            let open = if exits { "$s_r=(0," } else { "return(" };
            head.push_str(open);
        }
        head
    }

    fn concise_code(&self, function: usize, codes: &Codes) -> String {
        let of = &self.functions[function];
        if of.kind != FunctionKind::Expression {
            return String::new();
        }
        let concise = |site: &&u32| {
            self.sites
                .get(**site as usize)
                .is_some_and(|site| site.place == Place::Concise && site.function == Some(function))
        };
        codes
            .lines
            .keys()
            .find(concise)
            .and_then(|site| codes.lines.get(site))
            .map_or_else(String::new, |code| format!("{{{code}}}"))
    }

    /// What stands after the body.
    fn tail(&self, function: usize, codes: &Codes, exits: bool) -> String {
        let of = &self.functions[function];
        let nature = of.nature;
        let mut tail = String::new();
        if nature.concise {
            tail.push(')');
        }
        if exits {
            // In the line in which the function ends, where stacks show it.
            let fell = if nature.concise { "" } else { ";$s_r=void 0" };
            let (returns, throws) = (&codes.returns, &codes.throws);
            let _ = if nature.generator {
                // What ends a generator from outside runs through `finally` only.
                write!(
                    tail,
                    "{fell}}}$s_d=1}}catch($s_e){{$s_d=1;{throws}throw $s.rethrow($s_e)}}finally{{if(!$s_d){{{returns}}}}}{returns}return $s_r"
                )
            } else {
                write!(tail, "{fell}}}}}catch($s_e){{{throws}throw $s.rethrow($s_e)}}{returns}return $s_r")
            };
        }
        let name = quoted(&of.name);
        if of.mapped() {
            let _ = write!(tail, "}}}}[{name}],this,$s_g)}}}})");
        } else {
            let _ = write!(tail, "}}}}[{name}]}})");
        }
        tail
    }

    /// The function that reads locals at the end of a call: by then their block has been left.
    fn locals_reader(&self, function: usize, codes: &Codes) -> String {
        if !codes.returns.contains("$s_l(") && !codes.throws.contains("$s_l(") {
            return String::new();
        }
        let mut cases = String::new();
        for (at, name) in self.own_locals(function).iter().enumerate() {
            let _ = write!(cases, "case {at}:return {name};");
        }
        format!("$s_l=$s_i=>{{try{{switch($s_i){{{cases}}}}}catch{{return $s.absent}}}};")
    }
}

/// The code of all probes of a function.
struct Codes {
    entry: String,
    lines: HashMap<u32, String>,
    returns: String,
    throws: String,
}

impl Codes {
    fn new(points: &[(Point, &str)]) -> Codes {
        let mut codes =
            Codes { entry: String::new(), lines: HashMap::new(), returns: String::new(), throws: String::new() };
        for (point, code) in points {
            let block = format!("{{{QUIET}{code}}}");
            match point {
                // What it declares is seen by the code of the other points.
                Point::Entry => {
                    codes.entry.push_str(code);
                    codes.entry.push(';');
                }
                Point::Line(site) => codes.lines.entry(*site).or_default().push_str(&block),
                Point::Return => codes.returns.push_str(&block),
                Point::Throw => codes.throws.push_str(&block),
            }
        }
        codes
    }
}

/// Throws what it is given; of what it throws Node shows no line either.
fn rethrow() -> String {
    format!("(error => {{ throw error }}) {QUIET}")
}

fn helpers(code: &str) -> String {
    let private = code.contains("$s_p(");
    let needed = |(call, _): &&(&str, &str)| code.contains(call) || (private && *call == "$s_m(");
    HELPERS.iter().filter(needed).map(|(_, text)| *text).collect()
}

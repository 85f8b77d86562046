//! What a function can reach of its surroundings and a variant of it, compiled elsewhere, cannot: each such thing is a
//! *slot*, an arrow function made by the guard, where the thing can be reached.

use oxc_syntax::symbol::SymbolId;
use rustc_hash::FxHashSet;

/// A slot. Two uses share one if they mean the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub kind: SlotKind,
    /// Where what it means begins: a function has it outside of itself if it begins there or later. 0 is the module.
    pub owner: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum SlotKind {
    /// Reads a variable. One without a symbol is a parameter of the wrapper that Node puts around a CommonJS module.
    Read(Option<SymbolId>, String),
    /// Writes it.
    Write(Option<SymbolId>, String),
    /// `this` where it may not be bound yet.
    This,
    /// `arguments` of a function around an arrow function.
    Arguments,
    /// `new.target`.
    NewTarget,
    /// `import.meta`.
    ImportMeta,
    /// `import(…)`, with options or without.
    Import { options: bool },
    /// `super(…)` with so many arguments; `None`: with spread ones.
    SuperCall(Option<usize>),
    /// `super.name`.
    SuperRead(String),
    /// `super.name = …`.
    SuperWrite(String),
    /// `super[…]`.
    SuperIndex,
    /// `….#name`.
    PrivateRead(String),
    /// `….#name = …`.
    PrivateWrite(String),
    /// `#name in …`.
    PrivateIn(String),
    /// The private fields of a class, of any object, by their places here; for an object that has none of that name what the
    /// caller gives.
    PrivateFields(Vec<String>),
}

/// What reads the variables of a module, a function at its end. Code of probes finds by it what the function that it is in does
/// not name itself.
pub(crate) const NAMES: &str = "$s_n";
/// So many variables of a module can be read by it.
const MOST_NAMES: usize = 500;

/// The variables of a module that functions in it name: the engine keeps those for them as it is. Each once.
pub(crate) fn names(slots: &[Slot]) -> Vec<String> {
    let mut seen = FxHashSet::default();
    let of_module = slots.iter().filter(|slot| slot.owner == 0).filter_map(|slot| match &slot.kind {
        SlotKind::Read(Some(symbol), name) | SlotKind::Write(Some(symbol), name) => Some((symbol, name)),
        _ => None,
    });
    of_module.filter(|(symbol, _)| seen.insert(**symbol)).map(|(_, name)| name.clone()).take(MOST_NAMES).collect()
}

impl Slot {
    /// The arrow function. Its parameters have names that no function with a guard uses.
    pub fn text(&self) -> String {
        match &self.kind {
            SlotKind::Read(_, name) => format!("()=>{name}"),
            // An arrow function that assigns would give its variable's name to functions that stand before it.
            SlotKind::Write(_, name) if name != "arguments" => format!("function($s_v){{return {name}=$s_v}}"),
            SlotKind::Write(_, name) => format!("$s_v=>{name}=$s_v"),
            SlotKind::This => "()=>this".to_owned(),
            SlotKind::Arguments => "()=>arguments".to_owned(),
            SlotKind::NewTarget => "()=>new.target".to_owned(),
            SlotKind::ImportMeta => "()=>import.meta".to_owned(),
            SlotKind::Import { options: false } => "$s_v=>import($s_v)".to_owned(),
            SlotKind::Import { options: true } => "($s_v,$s_w)=>import($s_v,$s_w)".to_owned(),
            SlotKind::SuperCall(None) => "(...$s_v)=>super(...$s_v)".to_owned(),
            SlotKind::SuperCall(Some(count)) => {
                let names: Vec<String> = (0..*count).map(|at| format!("$s_{at}")).collect();
                let names = names.join(",");
                format!("({names})=>super({names})")
            }
            SlotKind::SuperRead(name) => format!("()=>super.{name}"),
            SlotKind::SuperWrite(name) => format!("$s_v=>super.{name}=$s_v"),
            SlotKind::SuperIndex => "$s_v=>super[$s_v]".to_owned(),
            SlotKind::PrivateRead(name) => format!("$s_o=>$s_o.#{name}"),
            SlotKind::PrivateWrite(name) => format!("function($s_o,$s_v){{return $s_o.#{name}=$s_v}}"),
            SlotKind::PrivateIn(name) => format!("$s_o=>#{name} in $s_o"),
            SlotKind::PrivateFields(names) => {
                let one = |(at, name): (usize, &String)| format!("$s_i==={at}?#{name} in $s_o?$s_o.#{name}:$s_v:");
                let cases: String = names.iter().enumerate().map(one).collect();
                format!("($s_i,$s_o,$s_v)=>{cases}$s_v")
            }
        }
    }
}

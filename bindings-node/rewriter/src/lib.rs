//! Reads modules of JavaScript, puts a guard into each function when the module is loaded, and makes the variants of
//! functions that probes are in. Pure text to text: it knows neither Node nor the core.
//!
//! A *guard* is a test at the beginning of a function: is there a variant of it in the cell of the module? If so, the call
//! goes there. A *variant* is the same function with the code of probes in it, compiled on its own. What it needs of its
//! surroundings (variables of functions around it, `super`, private names) it reaches through *slots*: small arrow functions
//! that the guard hands over.
//!
//! Files, in the order of the work: `text.rs` lines and columns · `slot.rs` what can be reached from outside · `room.rs` memory
//! for a tree · `read.rs` the tree becomes tables · `uses.rs` how a name is used · `names.rs` what a function is called ·
//! `emit.rs` marks become text · `guard.rs` · `kept.rs` the same for a cache · `variant.rs` · `scope.rs` what is visible where ·
//! `stop.rs` the same for a debugger, where no guard reaches · `outline.rs` what is told of a module to people ·
//! `position.rs` the way back · `source_map.rs` the way back to what
//! was compiled.

mod emit;
mod guard;
mod kept;
mod names;
mod outline;
mod position;
mod read;
mod room;
mod scope;
mod slot;
mod source_map;
mod stop;
mod text;
mod uses;
mod variant;

pub use guard::{Guarded, guarded};
pub use kept::Key;
pub use outline::{Outline, OutlineKind, OutlineScope};
pub use position::Positions;
pub use read::{Function, FunctionKind, Module, SourceKind, Statement, Unreadable};
pub use scope::{Scope, Variable, VariableKind};
pub use source_map::{MapComment, Mapped, Original, SourceMap};
pub use variant::{Point, RAISED, Variant};

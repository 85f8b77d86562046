//! The kinds of vectors, one file each. [`REGISTRY`] is the list of them.

mod definition;
mod expression;
mod location;
mod parse;
mod print;
mod prune;
mod rates;
mod record;
mod redaction;
mod status;
mod template;

pub use expression::{Case, Ran};
pub use status::in_session as status_in_session;

use crate::runner::Check;

/// What runs which kind.
pub const REGISTRY: &[(&str, Check)] = &[
    ("eval", expression::eval),
    ("condition", expression::condition),
    ("metric", expression::metric),
    ("template", template::check),
    ("parse", parse::check),
    ("print", print::check),
    ("definition", definition::check),
    ("file", definition::file),
    ("path", location::path),
    ("line", location::line),
    ("status", status::check),
    ("record", record::check),
    ("redaction", redaction::check),
    ("prune", prune::check),
    ("rates", rates::check),
];

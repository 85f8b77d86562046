//! `print`: the JSON form gives the text form.

use crate::json::Json;
use crate::runner::{Vector, Verdict};
use stroboscope_core::expr::{decode, print};

/// Checks one vector.
pub fn check(vector: &Vector) -> Result<Verdict, String> {
    let tree = decode::decode(vector.raw("json").ok_or("no json")?).map_err(|invalid| invalid.0)?;
    let expect = vector.json("expect")?.ok_or("no expectation")?;
    let wanted = expect.get("text").and_then(Json::text).ok_or("no text is expected")?;
    let printed = print::print(&tree);
    if printed == wanted { Ok(Verdict::Passed) } else { Err(format!("expected {wanted}, got {printed}")) }
}

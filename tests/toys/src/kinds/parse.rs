//! `parse`: the text form gives the tree of the JSON form.

use crate::runner::{Vector, Verdict};
use stroboscope_core::expr::{decode, print, text};

/// Checks one vector.
pub fn check(vector: &Vector) -> Result<Verdict, String> {
    let source = vector.text("text").ok_or("no text")?;
    let expect = vector.json("expect")?.ok_or("no expectation")?;
    let parsed = text::parse(&source);
    if expect.get("error").is_some() {
        return match parsed {
            Err(_) => Ok(Verdict::Passed),
            Ok(tree) => Err(format!("expected an error, got {}", print::print(&tree))),
        };
    }
    let parsed = parsed.map_err(|invalid| invalid.0)?;
    let wanted = raw_member(vector.raw("expect").unwrap_or_default(), "json").ok_or("no json is expected")?;
    let wanted = decode::decode(&wanted).map_err(|invalid| invalid.0)?;
    if parsed == wanted {
        return Ok(Verdict::Passed);
    }
    Err(format!("expected {}, got {}", print::print(&wanted), print::print(&parsed)))
}

/// A member of an object as it is written, integers of any size included.
fn raw_member(object: &str, name: &str) -> Option<String> {
    let members: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(object).ok()?;
    members.get(name).map(|raw| raw.get().to_owned())
}

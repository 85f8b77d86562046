//! `prune`: variables captured, the event cut to so many bytes less than it has, and what is left of the variables.

use crate::event::{self, Hit};
use crate::json::Json;
use crate::runner::{Vector, Verdict};
use crate::value::{Dialect, World};
use stroboscope_core::emit::prune::prune;
use stroboscope_core::expr::template::Template;

/// Checks one vector.
pub fn check(vector: &Vector) -> Result<Verdict, String> {
    let redaction = event::redaction(vector)?;
    let vars = vector.json("vars")?.ok_or("no vars")?;
    let Some(Json::Int(excess)) = vector.json("excess")? else { return Err("no excess".to_owned()) };
    let excess = usize::try_from(excess).map_err(|_| "bad excess")?;
    let world = World::new(&vars, Dialect::Neutral, &redaction)?;
    let capture = Some(event::limits(vector)?);
    let hit = Hit { world: &world, redaction: &redaction, template: Template::default(), symbols: Vec::new(), capture };
    let mut event = hit.event()?;
    let limit = event.json.len().saturating_sub(excess);
    let fits = prune(&mut event, limit);
    let wanted: serde_json::Value =
        serde_json::from_str(vector.raw("expect").ok_or("nothing is expected")?).map_err(|error| error.to_string())?;
    if wanted.is_null() {
        return if fits { Err("it should not fit".to_owned()) } else { Ok(Verdict::Passed) };
    }
    let json = event::read(&event)?;
    let came = event::captured(&json);
    if !fits || event.json.len() > limit {
        return Err(format!("it does not fit: {} bytes, limit {limit}", event.json.len()));
    }
    if *came != wanted {
        return Err(format!("expected {wanted}, got {came}"));
    }
    Ok(Verdict::Passed)
}

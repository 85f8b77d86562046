//! `record`: a value captured as the variable `v`, in each language that the vector names, and its JSON.

use crate::event::{self, Hit};
use crate::json::Json;
use crate::runner::{Vector, Verdict};
use crate::value::{Dialect, World};
use stroboscope_core::expr::template::Template;

/// Checks one vector.
pub fn check(vector: &Vector) -> Result<Verdict, String> {
    let redaction = event::redaction(vector)?;
    let limits = event::limits(vector)?;
    let value = vector.json("value")?.ok_or("no value")?;
    let name = vector.text("name").unwrap_or_else(|| "v".to_owned());
    let vars = Json::Object(vec![(name.clone(), value)]);
    let expect: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(vector.raw("expect").ok_or("nothing is expected")?).map_err(|error| error.to_string())?;
    if expect.is_empty() {
        return Err("nothing is expected".to_owned());
    }
    let mut checked = 0;
    for (language, wanted) in &expect {
        let dialect = match language.as_str() {
            "neutral" => Dialect::Neutral,
            "python" => Dialect::Python,
            "javascript" => Dialect::Node,
            other => return Err(format!("unknown language {other}")),
        };
        // These are what the interpreter keeps for an exception, and a toy has no interpreter.
        let of_interpreter = wanted.to_string().contains("\"__suppress_context__\"");
        if dialect == Dialect::Python && (of_interpreter || event::redacts_built_in(&redaction)) {
            continue;
        }
        checked += 1;
        let world = World::new(&vars, dialect, &redaction)?;
        for host in event::HOSTS {
            let template = Template::default();
            let capture = Some(limits);
            let hit = Hit { world: &world, redaction: &redaction, template, symbols: Vec::new(), capture };
            let json = event::read(&hit.event_of(host)?)?;
            let came = &event::captured(&json)[&name];
            if came != wanted {
                return Err(format!("{host:?}, {language}: expected {wanted}, got {came}"));
            }
        }
    }
    if checked == 0 {
        return Ok(Verdict::Skipped(
            "for what no toy plays: built-in classes that are redacted, an interpreter".to_owned(),
        ));
    }
    Ok(Verdict::Passed)
}

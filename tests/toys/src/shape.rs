//! What a vector may hold, read from `shape.json`, which the runner for Python reads too: an unknown field, a missing one or
//! one of another kind is a failure, and not a vector that checks less than it says.

use crate::json::Json;
use std::sync::LazyLock;

static SHAPES: LazyLock<Json> = LazyLock::new(|| Json::read(include_str!("../shape.json")).unwrap_or(Json::Null));

/// Checks the fields of a vector.
pub fn check(kind: &str, fields: &Json) -> Result<(), String> {
    let of_kind =
        SHAPES.get("kinds").and_then(|kinds| kinds.get(kind)).ok_or_else(|| format!("unknown kind '{kind}'"))?;
    let of_all = SHAPES.get("of_all").map(Json::members).unwrap_or_default();
    let all = Json::Object([of_all, of_kind.members()].concat());
    fits(&all, fields, "the vector")
}

fn fits(shape: &Json, found: &Json, place: &str) -> Result<(), String> {
    match shape {
        Json::Str(name) => simple(name, found, place),
        Json::Array(element) => {
            let Json::Array(elements) = found else { return Err(format!("{place} is no array")) };
            let element = element.first().unwrap_or(&Json::Null);
            elements.iter().enumerate().try_for_each(|(at, found)| fits(element, found, &format!("{place}[{at}]")))
        }
        Json::Object(members) => match members.as_slice() {
            [(name, Json::Array(shapes))] if name == "either" => either(shapes, found, place),
            members => object(members, found, place),
        },
        _ => Err(format!("{place} has no shape")),
    }
}

fn either(shapes: &[Json], found: &Json, place: &str) -> Result<(), String> {
    let mut reasons = Vec::new();
    for shape in shapes {
        match fits(shape, found, place) {
            Ok(()) => return Ok(()),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(reasons.join(", or "))
}

fn object(shape: &[(String, Json)], found: &Json, place: &str) -> Result<(), String> {
    let Json::Object(members) = found else { return Err(format!("{place} is no object")) };
    for (at, (name, value)) in members.iter().enumerate() {
        if members.iter().take(at).any(|(other, _)| other == name) {
            return Err(format!("{place} has '{name}' twice"));
        }
        let known = shape.iter().find(|(known, _)| known.trim_end_matches('?') == name);
        let Some((_, inner)) = known.or_else(|| shape.iter().find(|(known, _)| known == "*")) else {
            return Err(format!("{place} has an unknown field '{name}'"));
        };
        fits(inner, value, &format!("{place}.{name}"))?;
    }
    let missing = shape
        .iter()
        .find(|(known, _)| known != "*" && !known.ends_with('?') && !members.iter().any(|(name, _)| name == known));
    missing.map_or(Ok(()), |(name, _)| Err(format!("{place} has no '{name}'")))
}

fn simple(name: &str, found: &Json, place: &str) -> Result<(), String> {
    let fine = match name {
        "any" => true,
        "text" => found.text().is_some(),
        "bool" => matches!(found, Json::Bool(_)),
        "true" => matches!(found, Json::Bool(true)),
        "count" => matches!(found, Json::Int(0..)),
        "value" => return value(found, place),
        choice if choice.starts_with('=') => {
            found.text().is_some_and(|text| choice[1..].split('|').any(|one| one == text))
        }
        named => {
            let shape = SHAPES.get("named").and_then(|shapes| shapes.get(named));
            return fits(shape.ok_or_else(|| format!("no shape {named}"))?, found, place);
        }
    };
    if fine { Ok(()) } else { Err(format!("{place} is not {name}")) }
}

fn value(found: &Json, place: &str) -> Result<(), String> {
    let members = match found {
        Json::Array(elements) => return elements.iter().try_for_each(|element| value(element, place)),
        Json::Object(members) => members.as_slice(),
        _ => return Ok(()),
    };
    let shape_of = |name: &str| SHAPES.get("tags").and_then(|tags| tags.get(name));
    match members {
        [(tag, inner)] if tag.starts_with('$') => match shape_of(tag) {
            Some(shape) => fits(shape, inner, &format!("{place}.{tag}")),
            None => Err(format!("unknown tag {tag}")),
        },
        members => members.iter().try_for_each(|(name, inner)| {
            if shape_of(name).is_some() {
                return Err(format!("{place} has the tag {name} beside other members"));
            }
            value(inner, place)
        }),
    }
}

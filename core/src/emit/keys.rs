//! Names of fields as keys of JSON (*Signals and upload* 1.3.2): `.` is written `_`, since readers take it for nesting, and of
//! two fields that would be one key the unusual one gets a number, since readers keep only one of two alike. It stands on
//! the walk of a hit, on the worker, beneath [`super::values`].

use super::values::text_of;
use crate::error::Result;
use crate::record::layout as lay;
use crate::record::names::Tables;
use crate::record::read::{Reader, name_ref};
use std::collections::{HashMap, HashSet};

/// True if a name is its own key. Of others there may be several with one key: `a.b` and `a_b`, half surrogates that are
/// written as U+FFFD, names that were cut.
pub(super) fn is_key(name: &str) -> bool {
    name.len() < lay::MAX_INLINE - 3 && !name.contains(['.', char::REPLACEMENT_CHARACTER])
}

/// The fields of one object.
pub(super) struct Siblings<'r> {
    /// Stands before the first one.
    first: Reader<'r>,
    count: u32,
    /// The keys of those that are not plain, by position; made when the first one is met.
    keys: Option<HashMap<u32, String>>,
}

impl<'r> Siblings<'r> {
    pub fn new(first: Reader<'r>, count: u32) -> Self {
        Siblings { first, count, keys: None }
    }

    /// The key of the field at a position, whose name is not plain. Computed fields count among the others only if
    /// `getters` are shown.
    pub fn key(&mut self, position: u32, tables: &Tables, getters: bool) -> Result<&str> {
        if self.keys.is_none() {
            self.keys = Some(keys(self.first.clone(), self.count, tables, getters)?);
        }
        Ok(self.keys.as_ref().and_then(|keys| keys.get(&position)).map_or("", String::as_str))
    }
}

fn keys(mut reader: Reader<'_>, count: u32, tables: &Tables, getters: bool) -> Result<HashMap<u32, String>> {
    let mut taken = HashSet::new();
    let mut unusual = Vec::new();
    for position in 0..count {
        let argument = reader.name_argument()?;
        let name = text_of(tables, name_ref(argument, reader.inline_of(argument)?))?;
        let shown = getters || reader.next_tag()? != lay::COMPUTED;
        reader.skip()?;
        if !shown {
            continue;
        }
        if is_key(name) {
            taken.insert(name.to_owned());
        } else {
            unusual.push((position, name.replace('.', "_")));
        }
    }
    let mut numbers: HashMap<String, u32> = HashMap::new();
    let mut keys = HashMap::new();
    for (position, name) in unusual {
        let mut key = name.clone();
        while !taken.insert(key.clone()) {
            let number = numbers.entry(name.clone()).or_insert(1);
            *number += 1;
            key = format!("{name}_{number}");
        }
        keys.insert(position, key);
    }
    Ok(keys)
}

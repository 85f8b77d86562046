//! The probes in force, and which of them a file that starts to run may concern: they are looked up, so that a program that
//! loads many files does not pay for each probe that waits. Stands on the configuration's walk, in [`super::state`].

use super::state::{Entry, Told};
use crate::discovery::{self, Identity, Started};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use stroboscope_core::probe::location::{self, SourcePath};
use stroboscope_core::probe::model::Location;

/// What leads from a file that starts to probes. What it finds may concern them; without it nothing does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// The name of the file, without its folders.
    Name(String),
    /// The file itself, whatever it is called: a link has a name of its own.
    File(Identity),
    Module(String),
}

/// The probes in force, by their slots.
#[derive(Default)]
pub(super) struct Entries {
    by_slot: BTreeMap<u32, Entry>,
    by_key: HashMap<Key, BTreeSet<u32>>,
    /// The keys of each probe.
    keys: HashMap<u32, Vec<Key>>,
    /// True once a probe is found by the file itself.
    by_file: bool,
}

impl Entries {
    /// Adds a probe. `identity`: of the file that its path leads to.
    pub(super) fn insert(&mut self, entry: Entry, identity: Option<Identity>) {
        let slot = entry.live.slot;
        let keys = match &entry.live.probe.location {
            Location::Lines { file, .. } => {
                let exact = entry.exact.as_deref().map(|file| Key::Name(SourcePath::new(file).name_key()));
                let named = Key::Name(SourcePath::new(file).name_key());
                identity.map(Key::File).into_iter().chain(exact).chain([named]).collect::<Vec<Key>>()
            }
            Location::Method { type_name, method, .. } => {
                location::readings(type_name, method).into_iter().map(|(module, _)| Key::Module(module)).collect()
            }
        };
        self.by_file |= identity.is_some();
        self.by_slot.insert(slot, entry);
        for key in keys {
            self.lead(key, slot);
        }
    }

    fn lead(&mut self, key: Key, slot: u32) {
        if self.by_key.entry(key.clone()).or_default().insert(slot) {
            self.keys.entry(slot).or_default().push(key);
        }
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Entry> {
        for key in self.keys.remove(&slot).unwrap_or_default() {
            if let Some(slots) = self.by_key.get_mut(&key) {
                slots.remove(&slot);
                if slots.is_empty() {
                    self.by_key.remove(&key);
                }
            }
        }
        self.by_slot.remove(&slot)
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Entry> {
        self.by_slot.get(&slot)
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.by_slot.get_mut(&slot)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.by_slot.values()
    }

    /// The slots of probes of which something holds.
    pub(super) fn slots(&self, holds: impl Fn(&Entry) -> bool) -> Vec<u32> {
        self.iter().filter(|entry| holds(entry)).map(|entry| entry.live.slot).collect()
    }

    /// Notes that a probe is placed in a file.
    pub(super) fn placed_in(&mut self, slot: u32, file: &str) {
        let Some(entry) = self.by_slot.get_mut(&slot) else { return };
        if !entry.files.iter().any(|known| known == file) {
            entry.files.push(file.to_owned());
            self.lead(Key::Name(SourcePath::new(file).name_key()), slot);
        }
    }

    /// True if a probe is placed in a file.
    pub(super) fn has_probe_in(&self, file: &str) -> bool {
        let slots = self.by_key.get(&Key::Name(SourcePath::new(file).name_key()));
        let mut entries = slots.into_iter().flatten().filter_map(|slot| self.by_slot.get(slot));
        entries.any(|entry| entry.files.iter().any(|known| known == file))
    }

    /// The probes that a file which starts to run may concern.
    pub(super) fn near(&self, started: &Started) -> impl Iterator<Item = &Entry> {
        let mut keys = Vec::new();
        if let Some(file) = started.file {
            keys.push(Key::Name(SourcePath::new(&started.name).name_key()));
            // Asks the file system, in the program's thread: of its own files only. Those of libraries have one name.
            let identity = if self.by_file && !discovery::is_library(file) { discovery::identity(file) } else { None };
            keys.extend(identity.map(Key::File));
        }
        keys.extend(discovery::names_of(&started.module, &started.name).into_iter().map(Key::Module));
        let slots: BTreeSet<u32> = keys.iter().filter_map(|key| self.by_key.get(key)).flatten().copied().collect();
        slots.into_iter().filter_map(|slot| self.by_slot.get(&slot))
    }

    /// The number of probes, and of those that are not placed.
    pub(super) fn count(&self) -> (usize, usize) {
        (self.by_slot.len(), self.iter().filter(|entry| entry.told != Told::Placed).count())
    }
}

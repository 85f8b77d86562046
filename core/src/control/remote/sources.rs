//! Whose a probe is: remote configuration's, or the program's (its file, its calls). Remote configuration wins by id; the
//! program's probe waits behind, and comes back when the other one goes. On the walk of a configuration going in, between
//! `client.rs` and `session.rs`, which holds it behind its lock of changes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use crate::probe::model::Probe;

/// The sources of a session.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    /// Probes are switched off: none is in force.
    pub(crate) off: bool,
    /// The ids of probes, by the path of their file.
    by_path: BTreeMap<String, String>,
    /// The other way round.
    by_id: HashMap<String, String>,
    /// Probes of the program that wait, by id.
    waiting: HashMap<String, Arc<Probe>>,
}

impl Sources {
    /// True if a probe of the program with this id must wait.
    pub(crate) fn keeps_waiting(&self, id: &str) -> bool {
        self.off || self.is_remote(id)
    }

    /// True if a probe came by remote configuration.
    pub(crate) fn is_remote(&self, id: &str) -> bool {
        self.by_id.contains_key(id)
    }

    /// The ids that came by remote configuration.
    pub(crate) fn remote(&self) -> HashSet<String> {
        self.by_id.keys().cloned().collect()
    }

    /// A file is gone: the id of its probe.
    pub(crate) fn release(&mut self, path: &str) -> Option<String> {
        let id = self.by_path.remove(path)?;
        self.by_id.remove(&id);
        Some(id)
    }

    /// All files are gone.
    pub(crate) fn release_all(&mut self) {
        self.by_path.clear();
        self.by_id.clear();
    }

    /// A file holds a probe.
    ///
    /// # Errors
    ///
    /// The path of another file that holds it.
    pub(crate) fn claim(&mut self, path: &str, id: &str) -> Result<(), String> {
        if let Some(other) = self.by_id.get(id) {
            return Err(other.clone());
        }
        self.by_path.insert(path.to_owned(), id.to_owned());
        self.by_id.insert(id.to_owned(), path.to_owned());
        Ok(())
    }

    /// The same with files that others had besides.
    pub(crate) fn with(&self, others: &Sources) -> Sources {
        let mut both = self.clone();
        for (path, id) in &others.by_path {
            if !both.by_path.contains_key(path) && !both.by_id.contains_key(id) {
                both.by_path.insert(path.clone(), id.clone());
                both.by_id.insert(id.clone(), path.clone());
            }
        }
        both
    }

    /// A probe of the program waits.
    pub(crate) fn wait(&mut self, probe: Arc<Probe>) {
        self.waiting.insert(probe.id.clone(), probe);
    }

    /// It waits no more: it comes back, or nobody wants it any more.
    pub(crate) fn take(&mut self, id: &str) -> Option<Arc<Probe>> {
        self.waiting.remove(id)
    }

    /// All that wait and need not.
    pub(crate) fn take_all(&mut self) -> Vec<Arc<Probe>> {
        let mut all: Vec<_> = std::mem::take(&mut self.waiting).into_values().collect();
        all.sort_by(|one, other| one.id.cmp(&other.id));
        all
    }
}

use std::collections::BTreeMap;
use std::sync::Arc;

use lampyrid_membership::View;
use lampyrid_wire::ProcessId;

use crate::{Entry, TopologyUpdate, Version};

/// The registry as one process holds it: immutable once published, cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replica {
    /// The last broadcast stored; `None` before the first.
    pub version: Option<Version>,
    /// The lines, by process.
    pub entries: BTreeMap<ProcessId, Arc<Entry>>,
}

/// A delta that starts behind what is stored: something in between is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap;

impl Replica {
    /// Takes a whole update in. Of a state as new or newer nothing changes.
    pub(crate) fn apply(&mut self, update: TopologyUpdate) -> Result<(), Gap> {
        let version = update.version();
        if self.version >= Some(version) {
            return Ok(());
        }
        match update.base {
            None => self.entries = update.entries,
            Some(base) if self.version >= Some(base) => self.entries.extend(update.entries),
            Some(_) => return Err(Gap),
        }
        self.version = Some(version);
        Ok(())
    }

    /// Drops the lines of whoever is not in `view` at that incarnation; true if there were any.
    pub(crate) fn purge(&mut self, view: &View) -> bool {
        let before = self.entries.len();
        self.entries.retain(|&process, entry| view.lists(process, entry.incarnation));
        self.entries.len() != before
    }
}

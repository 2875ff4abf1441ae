use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use lampyrid_wire::ProcessId;

/// Processes that are barred for ever: they are never admitted, no handshake with one succeeds, and
/// nothing that one says is heard. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Barred(Arc<RwLock<BTreeSet<ProcessId>>>);

impl Barred {
    /// These are barred from now on, beside those that were.
    pub(crate) fn add(&self, processes: impl IntoIterator<Item = ProcessId>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(processes);
    }

    /// True if that process is barred.
    #[must_use]
    pub fn contains(&self, process: ProcessId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains(&process)
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> BTreeSet<ProcessId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

use super::Core;
use crate::row::PartPhase;
use crate::{Audit, EntityStatus};

/// Entities and bytes under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Load {
    pub(crate) entities: usize,
    pub(crate) bytes: usize,
}

impl Load {
    pub(crate) fn add(&mut self, other: Self) {
        self.entities += other.entities;
        self.bytes += other.bytes;
    }

    pub(crate) fn remove(&mut self, other: Self) {
        self.entities = self.entities.saturating_sub(other.entities);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    pub(crate) fn with(mut self, other: Self) -> Self {
        self.add(other);
        self
    }
}

impl Core {
    /// Counts entities, now.
    #[must_use]
    pub fn audit(&self) -> Audit {
        let frozen =
            self.image.entities.keys().filter(|id| self.status_of(**id) == EntityStatus::Frozen);
        let frozen = frozen.count() as u64;
        let in_doubt = self.flights.keys().filter_map(|part| self.image.parts.get(part));
        let in_doubt = in_doubt.map(|row| match &row.phase {
            PartPhase::Committed { snapshots, .. } => snapshots.len() as u64,
            _ => 0,
        });
        Audit {
            active: self.image.entities.len() as u64 - frozen,
            frozen,
            staged: self.staged.len() as u64,
            in_doubt: in_doubt.sum(),
            ..self.counts
        }
    }
}

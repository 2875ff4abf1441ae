use lampyrid_wire::{BubbleId, EntityId};

use super::Core;
#[cfg(any(test, feature = "testkit"))]
use super::census::Census;
use crate::row::PartEntity;
use crate::{Audit, PartId};

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

/// That a part of a saga has an entity: queued, frozen or on its way into PREPARE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hold {
    pub(crate) part: PartId,
    /// The bubble it was frozen in; `None` while the part is queued, for it serves on till then.
    pub(crate) frozen: Option<BubbleId>,
}

impl Core {
    /// From now on the entity serves nothing.
    pub(crate) fn freeze(&mut self, part: PartId, entity: &PartEntity) {
        let hold = self.moving.entry(entity.id).or_insert(Hold { part, frozen: None });
        if hold.frozen.replace(entity.bubble).is_none() {
            self.census.freeze(entity.bubble);
        }
    }

    /// No part has it any more.
    pub(crate) fn let_go(&mut self, id: EntityId) {
        if let Some(Hold { frozen: Some(bubble), .. }) = self.moving.remove(&id) {
            self.census.thaw(bubble);
        }
    }

    /// Counts entities, now.
    #[must_use]
    pub fn audit(&self) -> Audit {
        let claimed = self.claims.keys().map(|bubble| self.census.residents(*bubble));
        // What is frozen for itself was counted already.
        let claimed: u64 = claimed.map(|here| here.entities - here.frozen).sum();
        let frozen = self.census.frozen() + claimed;
        Audit {
            active: self.image.entities.len() as u64 - frozen,
            frozen,
            staged: self.staged.len() as u64,
            in_doubt: self.census.in_doubt(),
            ..self.counts
        }
    }

    /// Whether the counts that are kept are those of a walk over everything; for tests.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn counts_hold(&self) -> bool {
        let mut census = Census::of(&self.image);
        for (id, hold) in &self.moving {
            if let (Some(row), Some(_)) = (self.image.entities.get(id), hold.frozen) {
                census.freeze(row.bubble);
            }
        }
        let stagings = self.image.stagings.values();
        let staged: usize = stagings.map(|row| row.entities.len()).sum();
        census == self.census && staged == self.staged.len()
    }
}

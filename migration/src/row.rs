use bytes::Bytes;
use lampyrid_wire::{
    BubbleId, EntityId, Epoch, Incarnation, OwnershipEpoch, ProcessId, SagaId, StageId, Term,
};
use serde::{Deserialize, Serialize};

use crate::{PartId, Reason, Snapshot};

/// An entity that this process owns.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EntityRow {
    /// The bubble it is in; it need not be hosted any more.
    pub bubble: BubbleId,
    /// Its ownership epoch.
    pub epoch: OwnershipEpoch,
    /// Its state; `None` while the host's own store has it.
    pub state: Option<Bytes>,
}

/// A migration request as it was admitted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SagaRow {
    /// Where the entities go.
    pub to: BubbleId,
    /// The epoch of the view in which it was admitted.
    pub view_epoch: Epoch,
    /// All entities asked for, in the order of the request.
    pub entities: Vec<EntityId>,
    /// Those refused at once, in the same order.
    pub refused: Vec<(EntityId, Reason)>,
    /// The caller's key, if any.
    pub key: Option<String>,
}

/// How far a part has come at its source.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum PartPhase {
    /// Its entities are frozen; nothing is decided.
    Prepared,
    /// Decided: these left, as this staging, and here are their copies until the destination
    /// acknowledges them.
    Committed {
        /// The staging that was committed.
        stage: StageId,
        /// The copies.
        snapshots: Vec<Snapshot>,
    },
    /// The destination acknowledged.
    Ended {
        /// The staging that was committed.
        stage: StageId,
        /// Those that left.
        entities: Vec<EntityId>,
    },
    /// Nothing left.
    Aborted,
}

/// One entity of a part.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartEntity {
    /// Which.
    pub id: EntityId,
    /// The bubble it leaves.
    pub bubble: BubbleId,
    /// The ownership epoch it has; it moves to the next.
    pub epoch: OwnershipEpoch,
}

/// A part of a saga at its source: PREPARE, and what followed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartRow {
    /// Where the entities go.
    pub to: BubbleId,
    /// The process that hosts that bubble; this process itself for a local move.
    pub destination: ProcessId,
    /// Its life when the part was prepared; another one aborts an undecided part.
    pub destination_incarnation: Incarnation,
    /// This process's own life when the part was prepared.
    pub source_incarnation: Incarnation,
    /// The view when the part was prepared: data, never a fence.
    pub view: Term,
    /// What it would move.
    pub entities: Vec<PartEntity>,
    /// Those that stay, and why.
    pub refused: Vec<(EntityId, Reason)>,
    /// How far it has come.
    pub phase: PartPhase,
    /// Whether others may adopt the entities if this process never returns; always false today.
    pub adoptable: bool,
}

impl PartRow {
    /// The entities that were decided to leave, if it was decided.
    #[must_use]
    pub fn committed(&self) -> Option<(StageId, Vec<EntityId>)> {
        match &self.phase {
            PartPhase::Committed { stage, snapshots } => {
                Some((*stage, snapshots.iter().map(|copy| copy.id).collect()))
            }
            PartPhase::Ended { stage, entities } => Some((*stage, entities.clone())),
            PartPhase::Prepared | PartPhase::Aborted => None,
        }
    }

    /// The same part, further on; `refused` come to those that stay.
    pub(crate) fn at(&self, phase: PartPhase, refused: Vec<(EntityId, Reason)>) -> Self {
        let before = self.refused.iter().cloned();
        let (entities, refused) = (self.entities.clone(), before.chain(refused).collect());
        Self { entities, refused, phase, ..*self }
    }
}

/// Inactive copies at a destination.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StagingRow {
    /// The name of this staging: fresh, so that an old COMMIT can never mean it.
    pub stage: StageId,
    /// The bubble they go to.
    pub to: BubbleId,
    /// The copies.
    pub entities: Vec<Snapshot>,
    /// Those of the part that were not staged, and why.
    pub refused: Vec<(EntityId, Reason)>,
}

/// The outcome of a part at its destination.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ActivationRow {
    /// The staging that was activated.
    pub stage: StageId,
    /// What became active, and at which epoch.
    pub entities: Vec<(EntityId, OwnershipEpoch)>,
}

/// A caller's idempotency key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyRow {
    /// SHA-256 of the request.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
    /// The saga of the first request with that key.
    pub saga: SagaId,
}

/// A part is found under its saga.
pub(crate) fn parts_of(me: ProcessId, saga: SagaId) -> std::ops::RangeInclusive<PartId> {
    PartId { source: me, saga, part: 0 }..=PartId { source: me, saga, part: u32::MAX }
}

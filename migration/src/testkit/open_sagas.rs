use std::sync::Arc;

use bytes::Bytes;
use lampyrid_wire::{
    BubbleId, ClusterId, EntityId, Epoch, Incarnation, OwnershipEpoch, ProcessId, SagaId, StageId,
    Term, ViewId,
};

use crate::{
    ActivationRow, EntityRow, PartEntity, PartId, PartPhase, PartRow, Record, RecordKind, SagaRow,
    Snapshot, StagingRow, Write,
};

/// How far a saga of one entity had come when both sides crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftOpen {
    /// PREPARE alone; STAGE never came.
    Prepare,
    /// PREPARE at the source, STAGE at the destination.
    Stage,
    /// COMMIT at the source, STAGE at the destination.
    Commit,
    /// COMMIT at the source, ACTIVATE at the destination.
    Activate,
}

impl LeftOpen {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Prepare, Self::Stage, Self::Commit, Self::Activate];

    /// True if the entity belongs to the destination.
    #[must_use]
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Commit | Self::Activate)
    }
}

/// Makes what two journals hold of sagas that a crash cut short.
#[derive(Clone, Copy, Debug)]
pub struct OpenSagas {
    /// The process that gives away.
    pub source: ProcessId,
    /// The process that takes.
    pub destination: ProcessId,
    /// A bubble of the source, where the entities are.
    pub here: BubbleId,
    /// A bubble of the destination, where they go.
    pub there: BubbleId,
    /// Of each entity's state.
    pub state_bytes: usize,
}

impl OpenSagas {
    /// One more of a number that no other has: what the source's journal holds, and the
    /// destination's.
    #[must_use]
    pub fn open(&self, number: u128, left: LeftOpen) -> [Record; 2] {
        let id = EntityId::from_u128(number);
        let part = PartId { source: self.source, saga: SagaId::from_u128(number), part: 0 };
        let stage = StageId::from_u128(number);
        let state = Bytes::from(vec![7; self.state_bytes]);
        let copy = Snapshot { id, epoch: OwnershipEpoch(1), state };
        [self.at_source(part, stage, &copy, left), self.at_destination(part, stage, copy, left)]
    }

    fn at_source(&self, part: PartId, stage: StageId, copy: &Snapshot, left: LeftOpen) -> Record {
        let saga = SagaRow {
            to: self.there,
            view_epoch: Epoch(1),
            entities: vec![copy.id],
            refused: Vec::new(),
            key: None,
        };
        let row = PartRow {
            to: self.there,
            destination: self.destination,
            destination_incarnation: Incarnation(1),
            source_incarnation: Incarnation(1),
            view: Term { cluster: ClusterId::from_u128(1), epoch: Epoch(1), view: ViewId([1; 32]) },
            entities: vec![PartEntity { id: copy.id, bubble: self.here, epoch: OwnershipEpoch(0) }],
            refused: Vec::new(),
            phase: match left.is_decided() {
                true => PartPhase::Committed { stage, snapshots: vec![copy.clone()] },
                false => PartPhase::Prepared,
            },
            adoptable: false,
        };
        let mut writes = vec![
            Write::Saga(part.saga, Some(Arc::new(saga))),
            Write::Part(part, Some(Arc::new(row))),
        ];
        if !left.is_decided() {
            let state = Some(copy.state.clone());
            let row = EntityRow { bubble: self.here, epoch: OwnershipEpoch(0), state };
            writes.push(Write::Entity(copy.id, Some(row)));
        }
        let kind = if left.is_decided() { RecordKind::Commit } else { RecordKind::Prepare };
        Record { kind, writes }
    }

    fn at_destination(
        &self,
        part: PartId,
        stage: StageId,
        copy: Snapshot,
        left: LeftOpen,
    ) -> Record {
        let to = self.there;
        let (id, epoch) = (copy.id, copy.epoch);
        let writes = match left {
            LeftOpen::Prepare => Vec::new(),
            LeftOpen::Stage | LeftOpen::Commit => {
                let row = StagingRow { stage, to, entities: vec![copy], refused: Vec::new() };
                vec![Write::Staging(part, Some(Arc::new(row)))]
            }
            LeftOpen::Activate => {
                let row = ActivationRow { stage, entities: vec![(id, epoch)] };
                let entity = EntityRow { bubble: to, epoch, state: Some(copy.state) };
                vec![Write::Activation(part, Some(Arc::new(row))), Write::Entity(id, Some(entity))]
            }
        };
        let activated = left == LeftOpen::Activate;
        Record { kind: if activated { RecordKind::Activate } else { RecordKind::Stage }, writes }
    }
}

//! Small numbers for everything that has an identifier, and back.

use std::collections::HashMap;
use std::sync::OnceLock;

use lampyrid_migration::PartId;
use lampyrid_migration::testkit::minted;
use lampyrid_wire::{
    BubbleId, ClusterId, EntityId, Epoch, Incarnation, ProcessId, SagaId, StageId, Term, ViewId,
};

/// A process, by its place.
pub(crate) type ProcessNo = u8;
/// A staging: those of process 0 come first.
pub(crate) type StageNo = u8;

/// Bubbles of each process.
pub(crate) const BUBBLES: u8 = 2;

/// Sagas in one model at most.
const SAGAS_MAX: u8 = 12;
/// Stagings of one process that are spoken of at once, at most.
pub(crate) const STAGES_MAX: u8 = 24;
/// The first number of the stagings that a flawed process counts.
pub(crate) const COUNTED: StageNo = 200;
/// A staging that nobody speaks of: of a local move.
const UNNAMED: StageNo = 255;

pub(crate) fn process_id(process: ProcessNo) -> ProcessId {
    ProcessId::from_u128(u128::from(process) + 1)
}

pub(crate) fn process_no(id: ProcessId) -> ProcessNo {
    u8::try_from(id.0.as_u128() - 1).expect("few processes")
}

pub(crate) fn entity_id(entity: u8) -> EntityId {
    EntityId::from_u128(u128::from(entity) + 100)
}

pub(crate) fn entity_no(id: EntityId) -> u8 {
    u8::try_from(id.0.as_u128() - 100).expect("few entities")
}

pub(crate) fn bubble_id(bubble: u8) -> BubbleId {
    BubbleId::from_u128(u128::from(bubble) + 1_000)
}

pub(crate) fn bubble_no(id: BubbleId) -> u8 {
    u8::try_from(id.0.as_u128() - 1_000).expect("few bubbles")
}

/// The fence of a view.
pub(crate) fn term(view: u8) -> Term {
    let mut id = [0; 32];
    id[0] = view;
    let epoch = Epoch(u64::from(view) + 1);
    Term { cluster: ClusterId::from_u128(1), epoch, view: ViewId(id) }
}

pub(crate) fn view_no(term: Term) -> u8 {
    u8::try_from(term.epoch.0 - 1).expect("few views")
}

pub(crate) fn life(incarnation: Incarnation) -> u8 {
    u8::try_from(incarnation.0).expect("few lives")
}

pub(crate) fn saga_seed(saga: u8) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..2].copy_from_slice(&[1, saga]);
    seed
}

pub(crate) fn stage_seed(stage: StageNo) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..2].copy_from_slice(&[2, stage]);
    seed
}

/// The identifiers that cores mint in a model.
pub(crate) struct Names {
    sagas: HashMap<SagaId, u8>,
    stages: HashMap<StageId, StageNo>,
}

impl Names {
    pub(crate) fn new(size: u8) -> Self {
        let saga = |n| (SagaId(minted(saga_seed(n))), n);
        let stage = |n| (StageId(minted(stage_seed(n))), n);
        let counted = |n: u8| (StageId::from_u128(u128::from(n) + 1), COUNTED + n);
        let stages = (0..size * STAGES_MAX).map(stage).chain((0..STAGES_MAX).map(counted));
        Self { sagas: (0..SAGAS_MAX).map(saga).collect(), stages: stages.collect() }
    }

    pub(crate) fn saga_no(&self, part: PartId) -> u8 {
        assert_eq!(part.part, 0, "all requests are small");
        self.sagas[&part.saga]
    }

    pub(crate) fn part(source: ProcessNo, saga: u8) -> PartId {
        static MINTED: OnceLock<Vec<SagaId>> = OnceLock::new();
        let all = || (0..SAGAS_MAX).map(|n| SagaId(minted(saga_seed(n)))).collect();
        let saga = MINTED.get_or_init(all)[usize::from(saga)];
        PartId { source: process_id(source), saga, part: 0 }
    }

    pub(crate) fn stage_no(&self, id: StageId) -> StageNo {
        self.stages.get(&id).copied().unwrap_or(UNNAMED)
    }

    pub(crate) fn stage_id(stage: StageNo) -> StageId {
        static MINTED: OnceLock<Vec<StageId>> = OnceLock::new();
        let all = || (0..COUNTED).map(|n| StageId(minted(stage_seed(n)))).collect();
        match stage {
            COUNTED..=254 => StageId::from_u128(u128::from(stage - COUNTED) + 1),
            _ => MINTED
                .get_or_init(all)
                .get(usize::from(stage))
                .copied()
                .unwrap_or(StageId::from_u128(255)),
        }
    }
}

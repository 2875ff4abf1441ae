use lampyrid_wire::{EntityId, SagaId, StageId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Fresh identifiers: SHA-256 over a seed and a counter. With a seed drawn from the operating
/// system at every start they are unique over restarts; with a given one a run can be repeated.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    seed: [u8; 32],
    next: u64,
    /// Only for [`super::Flaw::VolatileStageIds`].
    stages: u64,
}

impl Ids {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self { seed, next: 0, stages: 0 }
    }

    /// Goes on from another seed.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn reseed(&mut self, seed: [u8; 32]) {
        (self.seed, self.next) = (seed, 0);
    }

    /// How many [`Self::counted_stage`] has given.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn counted(&self) -> u64 {
        self.stages
    }

    pub(crate) fn uuid(&mut self) -> Uuid {
        let hash =
            Sha256::new().chain_update(self.seed).chain_update(self.next.to_be_bytes()).finalize();
        self.next += 1;
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&hash[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    pub(crate) fn entity(&mut self) -> EntityId {
        EntityId(self.uuid())
    }

    pub(crate) fn saga(&mut self) -> SagaId {
        SagaId(self.uuid())
    }

    pub(crate) fn stage(&mut self) -> StageId {
        StageId(self.uuid())
    }

    /// One that another life of this process gives as well.
    pub(crate) fn counted_stage(&mut self) -> StageId {
        self.stages += 1;
        StageId::from_u128(u128::from(self.stages))
    }
}

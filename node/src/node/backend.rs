use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lampyrid_membership::ViewHandle;
use lampyrid_migration::{
    Audit, BatchError, EntityError, EntityPage, EntityRecord, MigrateRequest, NewEntities, Reason,
    SagaReport, StatusFilter,
};
use lampyrid_wire::{BubbleId, EntityId, ProcessId, SagaId};

use super::Node;
use crate::admin::{Backend, NotReady, Topology};

const NONE: EntityError = EntityError { reason: Reason::UnknownEntity, moved_to: None };

#[async_trait]
impl Backend for Node {
    fn views(&self) -> &ViewHandle {
        &self.views
    }

    fn topology(&self) -> Topology {
        Topology::default()
    }

    fn find_process(&self, _: BubbleId) -> Option<ProcessId> {
        None
    }

    fn readiness(&self) -> Result<(), NotReady> {
        Ok(())
    }

    async fn create(
        &self,
        _: BubbleId,
        _: NewEntities,
        _: Bytes,
    ) -> Result<Vec<EntityId>, EntityError> {
        Err(EntityError { reason: Reason::NotHosted, moved_to: None })
    }

    async fn get(&self, _: EntityId) -> Result<EntityRecord, EntityError> {
        Err(NONE)
    }

    async fn put(&self, _: EntityId, _: Bytes) -> Result<EntityRecord, EntityError> {
        Err(NONE)
    }

    async fn delete(&self, _: EntityId) -> Result<(), EntityError> {
        Err(NONE)
    }

    async fn list(
        &self,
        _: StatusFilter,
        _: Option<EntityId>,
        _: usize,
    ) -> Result<EntityPage, EntityError> {
        Ok(EntityPage::default())
    }

    async fn migrate(&self, _: MigrateRequest) -> Result<SagaId, BatchError> {
        Err(BatchError(Reason::UnknownBubble))
    }

    async fn saga(&self, _: SagaId) -> Result<Option<SagaReport>, Reason> {
        Ok(None)
    }

    async fn wait(&self, _: SagaId, _: Duration) -> Result<Option<SagaReport>, Reason> {
        Ok(None)
    }

    async fn audit(&self) -> Result<Audit, Reason> {
        Ok(Audit::default())
    }

    fn leave(&self) {
        Self::leave(self);
    }
}

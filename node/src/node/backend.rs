use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lampyrid_membership::ViewHandle;
use lampyrid_migration::{
    Audit, BarReport, BatchError, BubbleMoveReport, DrainReport, EntityError, EntityPage,
    EntityRecord, MigrateRequest, NewEntities, Reason, SagaReport, StatusFilter,
};
use lampyrid_wire::{BubbleId, EntityId, ProcessId, SagaId};

use super::{EventStream, Node, NotReady, metrics};
use crate::admin::{Backend, Topology};

#[async_trait]
impl Backend for Node {
    fn views(&self) -> &ViewHandle {
        &self.view
    }

    fn topology(&self) -> Topology {
        self.registry.topology().into()
    }

    fn find_process(&self, bubble: BubbleId) -> Option<ProcessId> {
        self.registry.find_process(bubble)
    }

    fn readiness(&self) -> Result<(), NotReady> {
        Self::readiness(self)
    }

    async fn create(
        &self,
        bubble: BubbleId,
        new: NewEntities,
        state: Bytes,
    ) -> Result<Vec<EntityId>, EntityError> {
        self.migration.create(bubble, new, state).await
    }

    async fn get(&self, id: EntityId) -> Result<EntityRecord, EntityError> {
        self.migration.get(id).await
    }

    async fn put(&self, id: EntityId, state: Bytes) -> Result<EntityRecord, EntityError> {
        self.migration.put(id, state).await
    }

    async fn delete(&self, id: EntityId) -> Result<(), EntityError> {
        self.migration.delete(id).await.map(|_| ())
    }

    async fn list(
        &self,
        filter: StatusFilter,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<EntityPage, EntityError> {
        let page = self.migration.list(filter, after, limit).await;
        page.map_err(|reason| EntityError { reason, moved_to: None })
    }

    async fn migrate(&self, request: MigrateRequest) -> Result<SagaId, BatchError> {
        self.migration.migrate(request).await
    }

    async fn saga(&self, id: SagaId) -> Result<Option<SagaReport>, Reason> {
        self.migration.saga(id).await
    }

    async fn wait(&self, id: SagaId, limit: Duration) -> Result<Option<SagaReport>, Reason> {
        self.migration.wait(id, limit).await
    }

    async fn move_bubble(
        &self,
        bubble: BubbleId,
        to: ProcessId,
    ) -> Result<BubbleMoveReport, Reason> {
        self.migration.move_bubble(bubble, to).await
    }

    async fn bubble_move(&self, bubble: BubbleId) -> Result<Option<BubbleMoveReport>, Reason> {
        self.migration.bubble_move(bubble).await
    }

    async fn wait_for_bubble(
        &self,
        bubble: BubbleId,
        limit: Duration,
    ) -> Result<Option<BubbleMoveReport>, Reason> {
        self.migration.wait_for_bubble(bubble, limit).await
    }

    async fn cancel_move(&self, bubble: BubbleId) -> Result<BubbleMoveReport, Reason> {
        self.migration.cancel_move(bubble).await
    }

    async fn audit(&self) -> Result<Audit, Reason> {
        self.migration.audit().await
    }

    async fn drain(&self) -> Result<DrainReport, Reason> {
        self.migration.drain().await
    }

    async fn cancel_drain(&self) -> Result<DrainReport, Reason> {
        self.migration.cancel_drain().await
    }

    async fn wait_for_drain(&self, limit: Duration) -> Result<DrainReport, Reason> {
        self.migration.wait_for_drain(limit).await
    }

    async fn bar(&self, process: ProcessId) -> Result<BarReport, Reason> {
        self.migration.bar(process).await.map(|report| self.with_met(report))
    }

    async fn bar_report(&self, process: ProcessId) -> Result<BarReport, Reason> {
        Self::bar_report(self, process).await
    }

    async fn bars(&self) -> Result<Vec<BarReport>, Reason> {
        let reports = self.migration.bars().await?;
        Ok(reports.into_iter().map(|report| self.with_met(report)).collect())
    }

    fn leave(&self) {
        Self::leave(self);
    }

    fn events(&self, after: Option<u64>) -> EventStream {
        Self::events(self, after)
    }

    fn histograms(&self) -> String {
        metrics::histograms(&self.tree)
    }

    fn record_metrics(&self) {
        metrics::record(&self.tree);
        metrics::record_events(&self.events);
    }
}

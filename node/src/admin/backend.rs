use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lampyrid_membership::ViewHandle;
use lampyrid_migration::{
    Audit, BarReport, BatchError, BubbleMoveReport, DrainReport, EntityError, EntityPage,
    EntityRecord, MigrateRequest, NewEntities, Reason, SagaReport, StatusFilter,
};
use lampyrid_wire::{BubbleId, EntityId, Epoch, ProcessId, SagaId};

use crate::{EventStream, NotReady, TopologySnapshot};

/// What hosts what, as one process knows it at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Topology {
    /// The view that the registrations were made in.
    pub epoch: Epoch,
    /// The number of the last change within it.
    pub sequence: u64,
    /// The members that have registered.
    pub processes: Vec<ProcessBubbles>,
}

impl From<TopologySnapshot> for Topology {
    fn from(snapshot: TopologySnapshot) -> Self {
        let TopologySnapshot { epoch, sequence, processes } = snapshot;
        let entry = |(process, bubbles)| ProcessBubbles { process, bubbles };
        Self { epoch, sequence, processes: processes.into_iter().map(entry).collect() }
    }
}

/// A registered process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessBubbles {
    /// Which.
    pub process: ProcessId,
    /// What it hosts; may be empty.
    pub bubbles: Vec<BubbleId>,
}

/// What the outside of a process asks of the inside. Every method may be called at any time, from
/// the moment the server serves until it has been shut down; none blocks a thread. Dropping a
/// future stops the waiting, not what was asked for.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// View and status.
    fn views(&self) -> &ViewHandle;

    /// What hosts what.
    fn topology(&self) -> Topology;

    /// Who hosts a bubble.
    fn find_process(&self, bubble: BubbleId) -> Option<ProcessId>;

    /// Whether the process can serve: in a quorum view, recovered, able to write its journal.
    ///
    /// # Errors
    /// The first thing amiss.
    fn readiness(&self) -> Result<(), NotReady>;

    /// Creates entities: all or none, durable before the answer.
    async fn create(
        &self,
        bubble: BubbleId,
        new: NewEntities,
        state: Bytes,
    ) -> Result<Vec<EntityId>, EntityError>;

    /// Reads one, active or frozen.
    async fn get(&self, id: EntityId) -> Result<EntityRecord, EntityError>;

    /// Writes the state of one, durable before the answer.
    async fn put(&self, id: EntityId, state: Bytes) -> Result<EntityRecord, EntityError>;

    /// Deletes one, durable before the answer.
    async fn delete(&self, id: EntityId) -> Result<(), EntityError>;

    /// Lists the entities of this process by id.
    async fn list(
        &self,
        filter: StatusFilter,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<EntityPage, EntityError>;

    /// Starts a saga.
    async fn migrate(&self, request: MigrateRequest) -> Result<SagaId, BatchError>;

    /// How a saga stands; `None` if it is unknown or forgotten.
    async fn saga(&self, id: SagaId) -> Result<Option<SagaReport>, Reason>;

    /// The same, once it is done or the time is over.
    async fn wait(&self, id: SagaId, limit: Duration) -> Result<Option<SagaReport>, Reason>;

    /// Starts to move a whole bubble, or tells of the move that is under way.
    async fn move_bubble(
        &self,
        bubble: BubbleId,
        to: ProcessId,
    ) -> Result<BubbleMoveReport, Reason>;

    /// How the last move of a bubble from here stands.
    async fn bubble_move(&self, bubble: BubbleId) -> Result<Option<BubbleMoveReport>, Reason>;

    /// The same, once it is over or the time is over.
    async fn wait_for_bubble(
        &self,
        bubble: BubbleId,
        limit: Duration,
    ) -> Result<Option<BubbleMoveReport>, Reason>;

    /// Gives it up.
    async fn cancel_move(&self, bubble: BubbleId) -> Result<BubbleMoveReport, Reason>;

    /// Counts of entities.
    async fn audit(&self) -> Result<Audit, Reason>;

    /// Gives everything away, then leaves; or tells of what is under way.
    async fn drain(&self) -> Result<DrainReport, Reason>;

    /// Gives that up.
    async fn cancel_drain(&self) -> Result<DrainReport, Reason>;

    /// How it stands, once it is over or the time is over.
    async fn wait_for_drain(&self, limit: Duration) -> Result<DrainReport, Reason>;

    /// Bars a process for ever, or tells how far that is.
    async fn bar(&self, process: ProcessId) -> Result<BarReport, Reason>;

    /// How that stands, and whether this process knows anything of that one.
    async fn bar_report(&self, process: ProcessId) -> Result<BarReport, Reason>;

    /// Which are barred.
    async fn bars(&self) -> Result<Vec<BarReport>, Reason>;

    /// Begins the graceful leave and returns at once.
    fn leave(&self);

    /// Records gauges and counters with the `metrics` macros; called for each scrape, with a
    /// recorder of the server's in place. Must not block.
    fn record_metrics(&self) {}

    /// Histograms in Prometheus' text format, for what the recorder has no form for. Must not block.
    fn histograms(&self) -> String {
        String::new()
    }

    /// What happens: what came after the event of that id, or the current state first.
    fn events(&self, after: Option<u64>) -> EventStream;
}

//! Processes that agree on who is alive, who coordinates and which process hosts which partition
//! ("bubble"), and that move live entities between one another exactly once.
//!
//! [`Node::start`] starts one inside a host application; the `lampyrid` binary is a thin shell
//! around the same call. A node gives handles: [`Node::view`] (who is alive), [`Node::registry`]
//! (what runs where) and [`Node::migration`] (entities and their moves).

#[cfg(feature = "cli")]
pub mod admin;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
mod follow;
pub mod links;
mod node;
pub mod recover;
pub mod requests;
mod storage;
mod supervision;
#[cfg(feature = "testkit")]
pub mod testkit;
mod tls;
#[cfg(feature = "cli")]
pub mod workload;

/// For the implementation of [`MoveHooks`].
pub use async_trait::async_trait;
pub use follow::{FollowError, MAX_HOPS, Place};
pub use lampyrid_membership::{
    Isolated, Ring, Status, StopReason, View, ViewChange, ViewEvent, ViewHandle, ViewState,
};
pub use lampyrid_migration::{
    Audit, BUBBLE_FAULT_POINTS, BarReport, BatchError, BubbleMoveReport, BubbleMoveState,
    DrainReport, DrainState, EntityError, EntityPage, EntityRecord, EntityStatus, EntityStore,
    Expected, FAULT_POINTS, Hook, HookFigures, HookOutcome, Limits, MemoryStore, MigrateRequest,
    MigrationCounters, MigrationHandle, Move, MoveHooks, MovedTo, NewEntities, OpenError, Outcome,
    Phase, Presence, Reason, SagaEntity, SagaObserver, SagaReport, SagaState, StatusFilter,
    StoreError, TimeLimits, Veto, Whereabouts,
};
pub use lampyrid_registry::{RegistryError, RegistryHandle, TopologySnapshot};
pub use lampyrid_wire::{
    BubbleId, ClusterId, EntityId, Epoch, Incarnation, Member, OwnershipEpoch, ProcessId, SagaId,
    Term, ViewId,
};
pub use node::{
    BubbleError, EventLog, EventStream, Fatal, JOURNAL_LIMIT, MAX_EVENTS_KEPT, Node, NodeBuilder,
    NodeEvent, NotReady, NumberedEvent, StartError, TOPOLOGY_LIMIT,
};
pub use requests::{AskError, EntityRequest, RequestHandler, Requests};
pub use storage::StorageError;
pub use supervision::Restart;

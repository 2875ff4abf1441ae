//! Moves entities between processes exactly once: saga, journal, ownership epochs.
//!
//! The rules are one plain state machine per process ([`Core`]); a [`Journal`] makes its records
//! durable, and the actor around both only carries messages, timers and syncs.

mod actor;
#[cfg(test)]
mod actor_tests;
mod api;
mod core;
mod counters;
mod fault;
mod handle;
mod journal;
mod limits;
mod message;
mod record;
mod row;
mod store;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use actor::{
    MigrationActor, MigrationArguments, MigrationFault, MigrationMessage, MigrationState,
};

pub use api::{
    Audit, BatchError, EntityError, EntityPage, EntityRecord, EntityStatus, Expected,
    MigrateRequest, MovedTo, NewEntities, Outcome, Phase, Reason, SagaEntity, SagaReport,
    SagaState, StatusFilter,
};
pub use core::{
    CallId, Core, CoreConfig, Delivery, Effect, Flaw, Input, Membership, Reply, Request, Step,
    StoreCall,
};
pub use counters::{LATENCY_BOUNDS_MICROS, LatencyHistogram, MigrationCounters};
pub use fault::FAULT_POINTS;
pub use handle::{Directory, MigrationHandle};
pub use journal::{
    Database, Journal, JournalError, JournalSource, MemoryJournal, OpenError, begin_durable,
    open_database,
};
pub use limits::Limits;
pub use message::{DoubtAnswer, Message, PartId, Snapshot};
pub use record::{Image, Record, RecordKind, Write};
pub use row::{
    ActivationRow, EntityRow, KeyRow, PartEntity, PartPhase, PartRow, SagaRow, StagingRow,
};
pub use store::{EntityStore, HostStore, MemoryStore, Storage, StoreError};

//! Moves entities between processes exactly once: saga, journal, ownership epochs.
//!
//! The rules are one plain state machine per process ([`Core`]); a [`Journal`] makes its records
//! durable, and the actor around both only carries messages, timers and syncs.

mod actor;
#[cfg(test)]
mod actor_tests;
mod api;
mod bar;
mod bubble;
mod core;
mod counters;
mod fault;
mod handle;
mod hook_figures;
mod hook_runner;
mod hooks;
mod journal;
mod limits;
mod message;
mod outbox;
pub mod pace;
mod record;
mod row;
mod span_book;
mod spans;
mod store;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
mod trace;

pub use actor::{
    MigrationActor, MigrationArguments, MigrationFault, MigrationMessage, MigrationState,
};

pub use api::{
    Audit, BatchError, EntityError, EntityPage, EntityRecord, EntityStatus, Expected,
    MigrateRequest, MovedTo, NewEntities, NoObserver, Outcome, Phase, Presence, Reason, SagaEntity,
    SagaObserver, SagaReport, SagaState, StatusFilter, Whereabouts,
};
pub use bar::{BarMessage, BarReport, BarRow};
pub use bubble::{
    BubbleFate, BubbleMessage, BubbleMovePhase, BubbleMoveReport, BubbleMoveRow, BubbleMoveState,
    DrainReport, DrainRow, DrainState, IncomingPhase, IncomingRow,
};
pub use core::{
    CallId, Core, CoreConfig, Delivery, Effect, Flaw, HookAnswer, HookCall, Input, Membership,
    Reply, Request, Step, StoreCall,
};
pub use counters::{LATENCY_BOUNDS_MICROS, LatencyHistogram, MigrationCounters};
pub use fault::{BUBBLE_FAULT_POINTS, FAULT_POINTS};
pub use handle::{Directory, MigrationHandle};
pub use hook_figures::{Hook, HookFigures, HookOutcome};
pub use hooks::{Move, MoveHooks, Veto};
pub use journal::{
    Database, Journal, JournalError, JournalSource, MemoryJournal, OpenError, StoreFile,
    begin_durable, is_in_use, open_database,
};
pub use limits::{Limits, STUCK_AFTER};
pub use message::{Attempt, DoubtAnswer, Message, PartId, Snapshot};
pub use pace::TimeLimits;
pub use record::{Image, Record, RecordKind, Write};
pub use row::{
    ActivationRow, EntityRow, KeyRow, PartEntity, PartPhase, PartRow, SagaRow, StagingRow,
};
pub use spans::{MoveSpan, SpanSink, SpanWork};
pub use store::{EntityStore, HostStore, MemoryStore, Storage, StoreError};

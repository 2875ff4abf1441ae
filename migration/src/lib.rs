//! Moves entities between processes exactly once: saga, journal, ownership epochs.

mod api;

pub use api::{
    Audit, BatchError, EntityError, EntityPage, EntityRecord, EntityStatus, Expected,
    MigrateRequest, MovedTo, NewEntities, Outcome, Phase, Reason, SagaEntity, SagaReport, SagaState,
    StatusFilter,
};

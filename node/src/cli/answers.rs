//! What the admin HTTP answers, as far as the commands look at it. Unknown members are ignored:
//! a newer process may say more.

use serde::{Deserialize, Serialize};

use lampyrid_wire::{BubbleId, EntityId, ProcessId, SagaId};

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct View {
    pub(crate) epoch: u64,
    pub(crate) id: Option<String>,
    pub(crate) status: String,
    #[serde(rename = "self")]
    pub(crate) me: ProcessId,
    pub(crate) incarnation: u64,
    pub(crate) coordinator: Option<ProcessId>,
    pub(crate) members: Vec<Member>,
    #[serde(default)]
    pub(crate) waiting_for: Vec<ProcessId>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Member {
    pub(crate) id: ProcessId,
    pub(crate) incarnation: u64,
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) admin: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Topology {
    pub(crate) processes: Vec<Process>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Process {
    pub(crate) id: ProcessId,
    pub(crate) bubbles: Vec<BubbleId>,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EntityStatus {
    Active,
    Frozen,
    Staged,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Entity {
    pub(crate) id: EntityId,
    pub(crate) epoch: u64,
    pub(crate) status: EntityStatus,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Page {
    pub(crate) entities: Vec<Entity>,
    pub(crate) next: Option<EntityId>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Audit {
    pub(crate) entities: Counts,
    pub(crate) migrated: Moves,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Counts {
    pub(crate) active: u64,
    pub(crate) frozen: u64,
    pub(crate) staged: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Moves {
    pub(crate) started: u64,
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    pub(crate) in_doubt: u64,
    pub(crate) replayed: u64,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Created {
    pub(crate) ids: Vec<EntityId>,
}

/// The answer to a request to move: accepted, or how far it has come.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Saga {
    pub(crate) saga: SagaId,
    #[serde(default)]
    pub(crate) entities: Vec<SagaEntity>,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct SagaEntity {
    pub(crate) id: EntityId,
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    pub(crate) epoch: Option<u64>,
    pub(crate) latency_ms: Option<f64>,
}

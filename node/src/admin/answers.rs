use std::time::Duration;

use lampyrid_migration::{
    EntityPage, EntityRecord, EntityStatus, Outcome, Phase, Reason, SagaReport, SagaState,
};
use lampyrid_wire::{
    BubbleId, ClusterId, EntityId, Epoch, Incarnation, OwnershipEpoch, ProcessId, SagaId,
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{ProcessBubbles, Topology};

#[derive(Serialize)]
pub(crate) struct ViewAnswer {
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) epoch: Epoch,
    pub(crate) id: Option<String>,
    pub(crate) status: &'static str,
    #[serde(rename = "self")]
    pub(crate) me: ProcessId,
    pub(crate) incarnation: Incarnation,
    pub(crate) coordinator: Option<ProcessId>,
    pub(crate) members: Vec<MemberAnswer>,
    pub(crate) waiting_for: Vec<ProcessId>,
    #[serde(skip_serializing_if = "is_fresh")]
    pub(crate) stale: bool,
}

#[derive(Serialize)]
pub(crate) struct MemberAnswer {
    pub(crate) id: ProcessId,
    pub(crate) incarnation: Incarnation,
    pub(crate) name: String,
    pub(crate) cluster: String,
    pub(crate) admin: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct TopologyAnswer {
    pub(crate) epoch: Epoch,
    pub(crate) sequence: u64,
    pub(crate) processes: Vec<ProcessAnswer>,
    #[serde(skip_serializing_if = "is_fresh")]
    pub(crate) stale: bool,
}

impl TopologyAnswer {
    pub(crate) fn new(topology: Topology, stale: bool) -> Self {
        let Topology { epoch, sequence, processes } = topology;
        let entry = |ProcessBubbles { process: id, bubbles }| ProcessAnswer { id, bubbles };
        let mut processes: Vec<_> = processes.into_iter().map(entry).collect();
        processes.sort_unstable_by_key(|entry| entry.id);
        Self { epoch, sequence, processes, stale }
    }
}

#[derive(Serialize)]
pub(crate) struct ProcessAnswer {
    pub(crate) id: ProcessId,
    pub(crate) bubbles: Vec<BubbleId>,
}

#[derive(Serialize)]
pub(crate) struct BubbleAnswer {
    pub(crate) bubble: BubbleId,
    pub(crate) process: ProcessId,
    #[serde(skip_serializing_if = "is_fresh")]
    pub(crate) stale: bool,
}

#[derive(Serialize)]
pub(crate) struct CreatedOne {
    pub(crate) id: EntityId,
    pub(crate) bubble: BubbleId,
    pub(crate) epoch: OwnershipEpoch,
}

#[derive(Serialize)]
pub(crate) struct CreatedMany {
    pub(crate) ids: Vec<EntityId>,
}

#[derive(Serialize)]
pub(crate) struct EntityAnswer {
    id: EntityId,
    bubble: BubbleId,
    epoch: OwnershipEpoch,
    status: EntityStatus,
    /// Absent in listings. `null` where a host's own store keeps bytes that are not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "is_fresh")]
    stale: bool,
}

impl EntityAnswer {
    pub(crate) fn whole(record: EntityRecord, stale: bool) -> Self {
        let text = String::from_utf8(record.state.to_vec()).unwrap_or_default();
        let state = RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned());
        let EntityRecord { id, bubble, epoch, status, .. } = record;
        Self { id, bubble, epoch, status, state: Some(state), stale }
    }

    fn listed(record: &EntityRecord) -> Self {
        let &EntityRecord { id, bubble, epoch, status, .. } = record;
        Self { id, bubble, epoch, status, state: None, stale: false }
    }
}

#[derive(Serialize)]
pub(crate) struct PageAnswer {
    entities: Vec<EntityAnswer>,
    next: Option<EntityId>,
    #[serde(skip_serializing_if = "is_fresh")]
    stale: bool,
}

impl PageAnswer {
    pub(crate) fn new(page: &EntityPage, stale: bool) -> Self {
        let entities = page.entities.iter().map(EntityAnswer::listed).collect();
        Self { entities, next: page.next, stale }
    }
}

#[derive(Serialize)]
pub(crate) struct SagaAccepted {
    pub(crate) saga: SagaId,
}

#[derive(Serialize)]
pub(crate) struct SagaAnswer {
    saga: SagaId,
    state: SagaState,
    to: BubbleId,
    view_epoch: Epoch,
    entities: Vec<OutcomeAnswer>,
    #[serde(skip_serializing_if = "is_fresh")]
    stale: bool,
}

#[derive(Serialize)]
struct OutcomeAnswer {
    id: EntityId,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// Of a timeout: what was not answered in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<Phase>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<OwnershipEpoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<f64>,
}

impl SagaAnswer {
    pub(crate) fn new(report: &SagaReport, stale: bool) -> Self {
        let entities = report.entities.iter().map(|entity| {
            let (outcome, reason, epoch) = match &entity.outcome {
                Outcome::Pending => ("pending", None, None),
                Outcome::Committed { epoch } => ("committed", None, Some(*epoch)),
                Outcome::Aborted { reason } => ("aborted", Some(reason.code()), None),
            };
            let phase = match &entity.outcome {
                Outcome::Aborted { reason: Reason::Timeout(phase) } => Some(*phase),
                _ => None,
            };
            let latency_ms = entity.latency.map(milliseconds);
            OutcomeAnswer { id: entity.id, outcome, reason, phase, epoch, latency_ms }
        });
        Self {
            saga: report.saga,
            state: report.state,
            to: report.to,
            view_epoch: report.view_epoch,
            entities: entities.collect(),
            stale,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct AuditAnswer {
    pub(crate) entities: AuditEntities,
    pub(crate) migrated: AuditMigrated,
    #[serde(skip_serializing_if = "is_fresh")]
    pub(crate) stale: bool,
}

#[derive(Serialize)]
pub(crate) struct AuditEntities {
    pub(crate) active: u64,
    pub(crate) frozen: u64,
    pub(crate) staged: u64,
}

#[derive(Serialize)]
pub(crate) struct AuditMigrated {
    pub(crate) started: u64,
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    pub(crate) in_doubt: u64,
    pub(crate) replayed: u64,
}

/// Milliseconds to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

/// `"stale":true` appears only where it says something.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_fresh(stale: &bool) -> bool {
    !*stale
}

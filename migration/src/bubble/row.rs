use lampyrid_wire::{Epoch, ProcessId, SagaId};
use serde::{Deserialize, Serialize};

use crate::Reason;

/// A bubble on its way from this process to another; at most one row for each bubble. What is over
/// stays until the bubble moves again, or for the retention of outcomes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BubbleMoveRow {
    /// Names the move, unique over restarts. Everything about it is idempotent by this name.
    pub id: SagaId,
    /// Where it goes.
    pub to: ProcessId,
    /// The view in which it was admitted.
    pub view_epoch: Epoch,
    /// False: the destination hosts the bubble already, and only entities that were left here go
    /// after it.
    pub hosting: bool,
    /// How far it has come.
    pub phase: BubbleMovePhase,
}

/// How far a bubble has come at the process that gives it away.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BubbleMovePhase {
    /// It is hosted here. Its entities are moving, each exactly once.
    Moving,
    /// The decision: it is hosted here no longer, and the destination will be told so until it
    /// acknowledges.
    Released,
    /// The destination hosts it and said so.
    Done,
    /// It stays here. What moved before stays where it went.
    Aborted(Reason),
}

impl BubbleMovePhase {
    /// True until the move is over.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Moving | Self::Released)
    }
}

/// A bubble on its way to this process; at most one row for each bubble.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IncomingRow {
    /// The move.
    pub id: SagaId,
    /// The process that gives it away.
    pub from: ProcessId,
    /// How far it has come.
    pub phase: IncomingPhase,
}

/// How far a bubble has come at the process that takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum IncomingPhase {
    /// Its entities are taken in; the giver hosts it.
    Taking,
    /// It is hosted here, and not known to be registered yet.
    Hosted,
    /// Over. Kept until the giver has forgotten the move, so that a late message of it finds that.
    Done,
}

impl IncomingPhase {
    /// True until the move is over here.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Taking | Self::Hosted)
    }
}

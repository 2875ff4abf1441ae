use lampyrid_wire::{BubbleId, Epoch, ProcessId, SagaId};
use serde::{Deserialize, Serialize};

use crate::Reason;

/// How a bubble's move stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BubbleMoveState {
    /// Its entities are moving; it is hosted here.
    Moving,
    /// All are gone. It is hosted here no longer, and the destination is to host it.
    HandingOver,
    /// The destination hosts it, and the registry says so.
    Done,
    /// It stays here.
    Aborted,
}

/// What a caller is told of a bubble's move, as far as it has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BubbleMoveReport {
    /// The move.
    pub id: SagaId,
    /// The bubble.
    pub bubble: BubbleId,
    /// Where it goes.
    pub to: ProcessId,
    /// The view in which it was admitted.
    pub view_epoch: Epoch,
    /// How it stands.
    pub state: BubbleMoveState,
    /// Entities that went with it since this process started, as far as it remembers them.
    pub moved: u64,
    /// Entities that are still here.
    pub left: u64,
    /// Why it was aborted; or what holds it up, while it is open.
    pub reason: Option<Reason>,
}

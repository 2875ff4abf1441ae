//! A process that is barred for ever by command.

use lampyrid_wire::{EntityId, Epoch, OwnershipEpoch, ProcessId};
use serde::{Deserialize, Serialize};

use crate::PartId;

/// That a process is barred: this one takes nothing from it and gives it nothing, ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BarRow {
    /// The member that was asked to, and tells the others.
    pub by: ProcessId,
    /// The view in which this process learned of it.
    pub view_epoch: Epoch,
    /// All members of one view have this row: what left for the process is taken back.
    pub complete: bool,
}

/// What members tell each other of barred processes. Every one may be lost, late, repeated or out of
/// order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BarMessage {
    /// That process is barred; the sender has it durable.
    Tell {
        /// Which.
        process: ProcessId,
        /// The member that was asked to.
        by: ProcessId,
        /// All members of one view knew.
        complete: bool,
    },
    /// The sender has it durable, too.
    Told {
        /// Which.
        process: ProcessId,
        /// It knows that all members of one view knew.
        complete: bool,
    },
    /// Which of these entities, that left for a barred process, are known to have gone further?
    Holders {
        /// The barred process.
        process: ProcessId,
        /// The part with which they left.
        part: PartId,
        /// The entities, and the epochs that they were to have there.
        entities: Vec<(EntityId, OwnershipEpoch)>,
    },
    /// The answer.
    Held {
        /// The part.
        part: PartId,
        /// Those that are or were at the sender at that epoch or a later one.
        entities: Vec<EntityId>,
    },
}

impl BarMessage {
    /// Its name in logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tell { .. } => "tell_bar",
            Self::Told { .. } => "told_bar",
            Self::Holders { .. } => "holders",
            Self::Held { .. } => "held",
        }
    }
}

/// How the barring of a process stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BarReport {
    /// Which.
    pub process: ProcessId,
    /// It is barred here, durably.
    pub barred: bool,
    /// There is a trace of it here, beside that: something went to it or came from it. What a node
    /// reports also counts whom it has met.
    pub known: bool,
    /// All members of one view have it durable.
    pub complete: bool,
    /// Members that have not said so yet.
    pub waiting_for: Vec<ProcessId>,
    /// Entities that left this process for that one and are in doubt.
    pub in_doubt: u64,
    /// Entities that this process has taken back, since it started.
    pub reinstalled: u64,
    /// Entities that had gone further, and live elsewhere; since this process started.
    pub elsewhere: u64,
}

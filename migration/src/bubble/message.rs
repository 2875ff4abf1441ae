use lampyrid_wire::{BubbleId, SagaId};
use serde::{Deserialize, Serialize};

use crate::Reason;

/// What two processes tell each other about a bubble that moves; `id` names the move. Every one may
/// be lost, late, repeated or out of order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BubbleMessage {
    /// Giver: will you take its entities, and then host it?
    Take {
        /// The bubble.
        bubble: BubbleId,
        /// The move.
        id: SagaId,
    },
    /// Taker: I will (durable), or why not.
    Taking {
        /// The bubble.
        bubble: BubbleId,
        /// The move.
        id: SagaId,
        /// Why not.
        refused: Option<Reason>,
    },
    /// Giver: I host it no longer (durable, and registered): host it.
    Host {
        /// The bubble.
        bubble: BubbleId,
        /// The move.
        id: SagaId,
    },
    /// Taker: I host it (durable, and registered), or have since given it away.
    Hosted {
        /// The bubble.
        bubble: BubbleId,
        /// The move.
        id: SagaId,
    },
    /// Taker: what became of that move?
    Ask {
        /// The bubble.
        bubble: BubbleId,
        /// The move.
        id: SagaId,
    },
    /// Giver: the answer.
    Fate {
        /// The bubble.
        bubble: BubbleId,
        /// The move.
        id: SagaId,
        /// What became of it.
        fate: BubbleFate,
    },
}

impl BubbleMessage {
    /// Its name in logs and fault points.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Take { .. } => "take_bubble",
            Self::Taking { .. } => "taking_bubble",
            Self::Host { .. } => "host_bubble",
            Self::Hosted { .. } => "bubble_hosted",
            Self::Ask { .. } => "ask_bubble",
            Self::Fate { .. } => "bubble_fate",
        }
    }
}

/// What a giver knows of a move.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum BubbleFate {
    /// It goes on.
    Open,
    /// It is over, given up or forgotten.
    Over,
}

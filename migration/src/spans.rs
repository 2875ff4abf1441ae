use std::time::Duration;

use lampyrid_wire::{BubbleId, Epoch, SagaId};

use crate::{PartId, SagaReport};

/// Whoever draws moves as spans of time. Called by the migration actor: both must return at once.
pub trait SpanSink: Send + Sync + 'static {
    /// Whether spans of that saga are of use. The same answer in every process, or a trace has holes.
    fn follows(&self, saga: SagaId) -> bool;

    /// A span of such a saga is over, and what it says is durable.
    fn ended(&self, span: MoveSpan);
}

/// Something about a saga that took a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MoveSpan {
    /// Which saga.
    pub saga: SagaId,
    /// The view that was installed here when it began.
    pub view: Epoch,
    /// How long it took.
    pub took: Duration,
    /// How long ago it ended: it is told once it is durable, a sync later.
    pub ended_ago: Duration,
    /// What it was.
    pub work: SpanWork,
}

/// What took a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpanWork {
    /// The whole saga, at its source: from its admission to the last outcome.
    Saga {
        /// How it ended.
        report: SagaReport,
        /// How long ago it was first in doubt, if it was.
        in_doubt_ago: Option<Duration>,
        /// It began in an earlier life, nobody knows when: the span begins with this one.
        replayed: bool,
    },
    /// A destination made inactive copies, or refused to: from STAGE coming in until they were
    /// durable.
    Stage {
        /// The part.
        part: PartId,
        /// The attempt that brought it.
        attempt: u32,
        /// Where the entities go.
        to: BubbleId,
        /// Copies that were made.
        staged: usize,
        /// Entities that were refused.
        refused: usize,
    },
    /// A destination made copies active: from the decision coming in until that was durable.
    Activate {
        /// The part.
        part: PartId,
        /// Entities that became active.
        entities: usize,
    },
}

use bytes::Bytes;
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch, ProcessId, SagaId, StageId, Term};
use serde::{Deserialize, Serialize};

use crate::{BarMessage, BubbleMessage, Reason, Whereabouts};

/// One part of a saga: what is prepared, staged, decided and activated together. A request that
/// fits into one frame has one part. Everything is idempotent by this name, which also says whom
/// to ask in doubt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct PartId {
    /// The process that minted the saga and alone decides it.
    pub source: ProcessId,
    /// The saga.
    pub saga: SagaId,
    /// Which part of it, from 0.
    pub part: u32,
}

impl PartId {
    /// No other comes before it.
    pub(crate) const MIN: Self =
        Self { source: ProcessId::from_u128(0), saga: SagaId::from_u128(0), part: 0 };
}

impl std::fmt::Display for PartId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.saga, self.part)
    }
}

/// One sending of a message that wants an answer; the answer names it, so that a round trip is
/// measured even where the message was repeated, or the answer is late.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Attempt {
    /// The part it is about.
    pub part: PartId,
    /// Its number among those of the part, from 0 (from any number after a restart).
    pub number: u32,
}

/// An entity's copy as it travels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// Which.
    pub id: EntityId,
    /// The ownership epoch it will have once activated.
    pub epoch: OwnershipEpoch,
    /// Its state.
    pub state: Bytes,
}

/// What a source knows of a part a destination asked about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DoubtAnswer {
    /// It was decided: activate exactly these of that staged copy.
    Committed {
        /// The staging that was committed.
        stage: StageId,
        /// Which of its entities.
        entities: Vec<EntityId>,
    },
    /// It is not decided yet: keep the copy.
    Undecided,
    /// It is aborted, or over and forgotten: discard the copy.
    Unknown,
}

/// What the migration actors of two processes tell each other. Every one may be lost, late,
/// repeated or out of order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Source to destination: make inactive copies. PREPARE is durable.
    Stage {
        /// The part.
        part: PartId,
        /// The number of this attempt.
        attempt: u32,
        /// The bubble they go to.
        to: BubbleId,
        /// The copies.
        entities: Vec<Snapshot>,
    },
    /// Destination to source: what became of STAGE; durable.
    Staged {
        /// The part.
        part: PartId,
        /// The attempt that this answers.
        attempt: u32,
        /// The staging that holds the accepted ones; `None` if there are none.
        stage: Option<StageId>,
        /// Those that were staged.
        accepted: Vec<EntityId>,
        /// Those that were not.
        refused: Vec<(EntityId, Reason)>,
    },
    /// Source to destination: it is decided; durable.
    Commit {
        /// The part.
        part: PartId,
        /// The number of this attempt.
        attempt: u32,
        /// The staging this answers.
        stage: StageId,
        /// Exactly those that move; the rest of the staging is to be discarded.
        entities: Vec<EntityId>,
    },
    /// Destination to source: ACTIVATE is durable.
    Activated {
        /// The part.
        part: PartId,
        /// The attempt that this answers; `None` if it was not a COMMIT that said it is decided.
        attempt: Option<u32>,
        /// The staging that was activated.
        stage: StageId,
    },
    /// Source to destination: it is aborted; discard the copies.
    Abort {
        /// The part.
        part: PartId,
    },
    /// Destination to source: what became of these?
    Doubt {
        /// The parts.
        parts: Vec<PartId>,
    },
    /// Source to destination: the answers, as far as the source is the one to know.
    DoubtAnswers {
        /// One for each.
        answers: Vec<(PartId, DoubtAnswer)>,
    },
    /// Destination to source: COMMIT named a staging that is not here. Nothing was activated.
    UnknownStage {
        /// The part.
        part: PartId,
        /// The staging that COMMIT named.
        stage: StageId,
    },
    /// Is that entity with you, or did it leave you a while ago?
    Locate {
        /// Number of the question, of the asker's choice.
        query: u64,
        /// The entity.
        entity: EntityId,
    },
    /// The answer.
    Located {
        /// Number of the question.
        query: u64,
        /// Where it is or went, as far as the answerer knows.
        found: Option<Whereabouts>,
    },
    /// The message you sent was of an older view than mine and was not dealt with: install the
    /// newer view and send it again.
    StaleTerm {
        /// The view of the process that refused.
        term: Term,
    },
    /// About a whole bubble that moves.
    Bubble(BubbleMessage),
    /// About a process that is barred for ever.
    Bar(BarMessage),
    /// Reserved for the adoption of entities whose source never returns: not sent, and ignored.
    AbortRequest {
        /// The part.
        part: PartId,
    },
    /// Reserved for adoption: not sent, and ignored.
    AbortConsent {
        /// The part.
        part: PartId,
    },
}

impl Message {
    /// Bytes of state in it.
    pub(crate) fn state_bytes(&self) -> usize {
        match self {
            Self::Stage { entities, .. } => entities.iter().map(|copy| copy.state.len()).sum(),
            _ => 0,
        }
    }

    /// The same without the number of its attempt, which serves measuring alone: what models and
    /// tests compare.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn unnumbered(mut self) -> Self {
        match &mut self {
            Self::Stage { attempt, .. }
            | Self::Staged { attempt, .. }
            | Self::Commit { attempt, .. } => *attempt = 0,
            Self::Activated { attempt, .. } => *attempt = None,
            _ => {}
        }
        self
    }

    /// The one part that it is about, if there is one.
    pub(crate) fn part(&self) -> Option<PartId> {
        match self {
            Self::Stage { part, .. }
            | Self::Staged { part, .. }
            | Self::Commit { part, .. }
            | Self::Activated { part, .. }
            | Self::Abort { part }
            | Self::UnknownStage { part, .. } => Some(*part),
            _ => None,
        }
    }

    /// Its name in logs and fault points.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Stage { .. } => "stage",
            Self::Staged { .. } => "staged",
            Self::Commit { .. } => "commit",
            Self::Activated { .. } => "activated",
            Self::Abort { .. } => "abort",
            Self::Doubt { .. } => "doubt",
            Self::DoubtAnswers { .. } => "doubt_answers",
            Self::UnknownStage { .. } => "unknown_stage",
            Self::Locate { .. } => "locate",
            Self::Located { .. } => "located",
            Self::StaleTerm { .. } => "stale_term",
            Self::Bubble(message) => message.name(),
            Self::Bar(message) => message.name(),
            Self::AbortRequest { .. } => "abort_request",
            Self::AbortConsent { .. } => "abort_consent",
        }
    }
}

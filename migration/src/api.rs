use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{BubbleId, EntityId, Epoch, OwnershipEpoch, ProcessId, SagaId};
use serde::{Deserialize, Serialize};

/// What an entity's row at this process says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityStatus {
    /// The one active copy: it serves reads and writes.
    Active,
    /// The one copy, on its way elsewhere or in a bubble that another process claimed: it serves
    /// no write.
    Frozen,
    /// An inactive copy, made for a move that is not decided here yet: it serves nothing.
    Staged,
}

/// Which entities to list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusFilter {
    /// Active ones.
    Active,
    /// Frozen ones.
    Frozen,
    /// Staged ones.
    Staged,
    /// All.
    All,
}

/// An entity as this process holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntityRecord {
    /// Which.
    pub id: EntityId,
    /// The bubble it is in.
    pub bubble: BubbleId,
    /// How often it has moved.
    pub epoch: OwnershipEpoch,
    /// What it may do.
    pub status: EntityStatus,
    /// Its state; empty in listings.
    pub state: Bytes,
}

/// Where an entity went when it left this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MovedTo {
    /// The process it went to.
    pub process: ProcessId,
    /// The bubble it went to.
    pub bubble: BubbleId,
    /// Its ownership epoch there.
    pub epoch: OwnershipEpoch,
}

/// How sure it is that an entity is where it was found. In rising order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// It went there, says somebody else; it may be on its way still.
    Forwarded,
    /// It is there, says that process, and serves no write: it is on its way elsewhere, or its
    /// bubble is hosted by another.
    Frozen,
    /// It is there and serves, says that process.
    Serving,
}

/// Where an entity was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Whereabouts {
    /// The process, the bubble, and the ownership epoch.
    pub place: MovedTo,
    /// How sure that is.
    pub presence: Presence,
}

/// A part of a listing, ordered by id.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EntityPage {
    /// The entities, without their states.
    pub entities: Vec<EntityRecord>,
    /// Give this as `after` for the next page; `None` at the end.
    pub next: Option<EntityId>,
}

/// The entities to create in one request: all or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NewEntities {
    /// One, with an id of the caller's (unique in the cluster) or a fresh one.
    One(Option<EntityId>),
    /// That many, with fresh ids.
    Many(usize),
}

/// The part of a saga in which a time limit expired.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Before PREPARE was durable.
    Prepare,
    /// Waiting for the destination to stage.
    Stage,
    /// Waiting for the destination to acknowledge ACTIVATE. Never aborts anything.
    Activate,
}

/// Why an entity did not move, or why a request was refused. The names are those of the API
/// (`snake_case`).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum Reason {
    /// No such entity here.
    #[error("this process does not hold that entity")]
    UnknownEntity,
    /// No process of the view hosts that bubble.
    #[error("no process of the view hosts that bubble")]
    UnknownBubble,
    /// It is in that bubble already.
    #[error("the entity is in that bubble already")]
    SameBubble,
    /// It is on its way, itself or with its bubble.
    #[error("it is on its way already")]
    AlreadyMoving {
        /// Where it is going.
        to: BubbleId,
    },
    /// The bubble is not hosted by the process that was asked.
    #[error("the bubble is not hosted by the process that was asked")]
    NotHosted,
    /// The expected epoch is not the entity's.
    #[error("the entity is at ownership epoch {found}, not {expected}")]
    EpochMismatch {
        /// What the caller expected.
        expected: OwnershipEpoch,
        /// What it is.
        found: OwnershipEpoch,
    },
    /// The destination cannot be reached; the move was given up before its decision.
    #[error("the destination process cannot be reached")]
    Unreachable,
    /// A hook vetoed, or the host's own store cannot do it.
    #[error("the host refused: {0}")]
    Refused(String),
    /// The hook that is asked first gave no answer in time.
    #[error("the move was refused: its hook gave no answer in time")]
    HookTimedOut,
    /// The hook that is asked first panicked.
    #[error("the move was refused: its hook failed")]
    HookFailed,
    /// The destination could not stage the copy.
    #[error("the destination could not stage the entity: {0}")]
    StagingFailed(String),
    /// A time limit expired before the decision.
    #[error("no answer in time ({0:?})")]
    Timeout(Phase),
    /// This process is not in touch with a quorum.
    #[error("this process is not in touch with a quorum of its view")]
    Isolated,
    /// The view changed in a way that ended the move before its decision.
    #[error("the view changed before the move was decided")]
    ViewChanged,
    /// A limit on what may be under way at once was reached; nothing was started.
    #[error("too much is under way: {limit} would be exceeded; try again later")]
    Overloaded {
        /// The name of the limit.
        limit: String,
    },
    /// The idempotency key was used with another request.
    #[error("this idempotency key was used for another request")]
    IdempotencyMismatch,
    /// The journal could not record it, or no answer came in time (a host's store may be slow);
    /// whether it took effect is found out by looking.
    #[error("the journal failed or no answer came in time; it may have happened or not")]
    JournalFailed,
    /// That id lives here or has left here.
    #[error("an entity of that id exists or has left here")]
    EntityExists,
    /// Another live process hosts the bubble.
    #[error("the bubble is hosted by process {by}")]
    BubbleClaimed {
        /// Which.
        by: ProcessId,
    },
    /// The bubble still has entities.
    #[error("the bubble still has entities")]
    BubbleNotEmpty,
    /// No such process in the view.
    #[error("no such process is in the view")]
    UnknownProcess,
    /// A process that is in the view cannot be barred.
    #[error("the process is a member of the view: end it, or wait until it is removed")]
    StillMember,
    /// The destination was barred for ever, and the entity is here again, two epochs on.
    #[error("process {process} was barred; the entity was taken back")]
    Barred {
        /// Which.
        process: ProcessId,
    },
    /// The process gives everything away and takes nothing.
    #[error("the process is being drained")]
    Draining,
    /// The bubble is to move to the process that it is at.
    #[error("the bubble is at that process already")]
    SameProcess,
    /// The request is over a limit by itself, whatever else is under way: asking again does not
    /// help, asking for less does.
    #[error("the request can never be taken: {limit} may be at most {maximum}")]
    LimitExceeded {
        /// The name of the limit.
        limit: String,
        /// The most that is ever taken.
        maximum: u64,
    },
    /// This process is the only member of its view: nobody can take what is here.
    #[error("there is no other member to drain to")]
    NoOtherMember,
    /// Somebody gave the move up by command.
    #[error("the move was cancelled")]
    Cancelled,
}

impl Reason {
    /// The name of the reason in the API: `already_moving` and so on.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::UnknownEntity => "unknown_entity",
            Self::UnknownBubble => "unknown_bubble",
            Self::SameBubble => "same_bubble",
            Self::AlreadyMoving { .. } => "already_moving",
            Self::NotHosted => "not_hosted",
            Self::EpochMismatch { .. } => "epoch_mismatch",
            Self::Unreachable => "unreachable",
            Self::Refused(_) | Self::HookTimedOut | Self::HookFailed => "refused",
            Self::StagingFailed(_) => "staging_failed",
            Self::Timeout(_) => "timeout",
            Self::Isolated => "isolated",
            Self::ViewChanged => "view_changed",
            Self::Overloaded { .. } => "overloaded",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::JournalFailed => "journal_failed",
            Self::EntityExists => "entity_exists",
            Self::BubbleClaimed { .. } => "bubble_claimed",
            Self::BubbleNotEmpty => "bubble_not_empty",
            Self::UnknownProcess => "unknown_process",
            Self::SameProcess => "same_process",
            Self::Draining => "draining",
            Self::StillMember => "still_member",
            Self::Barred { .. } => "barred",
            Self::LimitExceeded { .. } => "limit_exceeded",
            Self::NoOtherMember => "no_other_member",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One entity of a request, with the ownership epoch the caller expects it to have, if any: what
/// makes a late or redirected retry safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Expected {
    /// Which.
    pub id: EntityId,
    /// Refused with [`Reason::EpochMismatch`] if it is at another.
    pub epoch: Option<OwnershipEpoch>,
}

/// A request to move entities of this process into one bubble, wherever that is hosted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MigrateRequest {
    /// At most 10,000; an id named twice counts once.
    pub entities: Vec<Expected>,
    /// The bubble they go to.
    pub to: BubbleId,
    /// Repeating a request with the same key gives the saga of the first.
    pub idempotency_key: Option<String>,
}

/// How a move of one entity stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Undecided, or decided and not yet acknowledged by the destination.
    Pending,
    /// It lives at the destination at that epoch; the destination acknowledged it.
    Committed {
        /// Its ownership epoch there.
        epoch: OwnershipEpoch,
    },
    /// It stays where it was.
    Aborted {
        /// Why.
        reason: Reason,
    },
}

/// How a saga stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SagaState {
    /// Not yet decided.
    Running,
    /// Every entity has its final outcome.
    Done,
    /// Decided to commit, and the destination has not acknowledged it in time. It will.
    InDoubt,
}

/// One entity's part in a saga.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SagaEntity {
    /// Which.
    pub id: EntityId,
    /// How it stands.
    pub outcome: Outcome,
    /// From the request to the final outcome.
    pub latency: Option<Duration>,
}

/// What a caller is told of a saga.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SagaReport {
    /// Which.
    pub saga: SagaId,
    /// How it stands.
    pub state: SagaState,
    /// Where the entities go.
    pub to: BubbleId,
    /// The view in which it was prepared.
    pub view_epoch: Epoch,
    /// Each entity's part, in the order of the request.
    pub entities: Vec<SagaEntity>,
}

/// Whoever wants to know what becomes of the sagas of a process. Called by the migration actor: both
/// must return at once.
pub trait SagaObserver: Send + Sync + 'static {
    /// Whether reports are of use now; without, none is made.
    fn is_wanted(&self) -> bool;

    /// A saga is over or in doubt.
    fn changed(&self, report: SagaReport);
}

/// Nobody wants to know.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl SagaObserver for NoObserver {
    fn is_wanted(&self) -> bool {
        false
    }

    fn changed(&self, _: SagaReport) {}
}

/// Counts of entities, for `/v1/audit` and the metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Audit {
    /// Entities active here.
    pub active: u64,
    /// Entities frozen here.
    pub frozen: u64,
    /// Copies staged here.
    pub staged: u64,
    /// Moves started by this process since it started.
    pub started: u64,
    /// Of these, committed (acknowledged by the destination).
    pub committed: u64,
    /// Of these, aborted.
    pub aborted: u64,
    /// Decided and not yet acknowledged.
    pub in_doubt: u64,
    /// Moves taken up again from the journal when this process started.
    pub replayed: u64,
}

fn moved(to: &Option<MovedTo>) -> String {
    to.map_or_else(String::new, |to| format!("; it went to process {}", to.process))
}

/// Why a request about one entity was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error, Serialize, Deserialize)]
#[error("{reason}{}", moved(.moved_to))]
pub struct EntityError {
    /// Why.
    pub reason: Reason,
    /// Where it went, if it left here a while ago (kept at least 300 s).
    pub moved_to: Option<MovedTo>,
}

/// Why a whole request was refused; nothing was started.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BatchError(pub Reason);

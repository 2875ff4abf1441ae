use std::time::Duration;

use bytes::Bytes;
use lampyrid_migration::EntityError;
use lampyrid_wire::EntityId;
use serde::{Deserialize, Serialize};

/// The messages of [`lampyrid_wire::Channel::Requests`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestMessage {
    /// A request.
    Ask {
        /// By which the answer is known.
        number: u64,
        /// To which entity.
        entity: EntityId,
        /// How long the answer is waited for.
        limit: Duration,
        /// What is asked.
        body: Bytes,
    },
    /// What became of it.
    Answer {
        /// The request's.
        number: u64,
        /// What became of it.
        outcome: Outcome,
    },
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The handler's answer.
    Answered(Bytes),
    /// The entity or the handler refused.
    Refused(EntityError),
    /// The entity is on its way elsewhere; nobody was asked.
    Moving,
    /// Nobody answers requests there.
    NoHandler,
    /// The handler panicked.
    Failed,
    /// The answer has so many bytes, which is too many.
    TooLarge(u64),
}

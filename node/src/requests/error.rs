use lampyrid_wire::ProcessId;

use super::{MAX_ASKING, MAX_REQUEST_BYTES};
use crate::FollowError;

/// Why a request has no answer. Each variant says whether a handler may have seen it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The entity was not found or refused. What a handler refused it has seen; it saw nothing else.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The request was sent and no answer came in time: the handler may have seen it, and may have
    /// done what it asks. It is not repeated.
    #[error("process {0} did not answer in time; the request may have been carried out")]
    TimedOut(ProcessId),
    /// The same, because the session was lost.
    #[error("the session with process {0} was lost; the request may have been carried out")]
    Lost(ProcessId),
    /// The process that has the entity was started without a handler. Nothing was done.
    #[error("process {0} answers no requests: it has no handler for them")]
    NoHandler(ProcessId),
    /// The handler panicked. Whatever it had done by then is done.
    #[error("the handler of process {0} failed; see its log")]
    HandlerFailed(ProcessId),
    /// The handler's answer is over the limit. The request was carried out.
    #[error(
        "the answer of process {process} has {bytes} bytes, over the limit of {MAX_REQUEST_BYTES}"
    )]
    AnswerTooLarge {
        /// Who answered.
        process: ProcessId,
        /// The answer's size.
        bytes: u64,
    },
    /// The request is over the limit. It was not sent.
    #[error("a request of {bytes} bytes is over the limit of {MAX_REQUEST_BYTES}")]
    TooLarge {
        /// The request's size.
        bytes: usize,
    },
    /// As many requests as may wait for answers do. It was not sent.
    #[error("{MAX_ASKING} requests of this process wait for answers already; try again later")]
    Overloaded,
}

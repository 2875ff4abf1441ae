use lampyrid_wire::{BubbleId, ProcessId};

use crate::MAX_BUBBLES;

/// Why a registration did not (or not wholly) take place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The nil id names nothing. Nothing changed.
    #[error("the nil id names no bubble")]
    NilId,
    /// Nothing changed.
    #[error("{count} bubbles are over the limit of {MAX_BUBBLES} a process")]
    TooManyBubbles {
        /// How many were asked for.
        count: usize,
    },
    /// Another live process hosts the bubble. The rest of the set is registered; this bubble is no
    /// longer asked for.
    #[error("bubble {bubble} is hosted by process {by}; the rest of the set is registered")]
    BubbleClaimed {
        /// The first such bubble of the set.
        bubble: BubbleId,
        /// Its host.
        by: ProcessId,
    },
    /// The bubble would be given up while entities live in it. Nothing changed.
    #[error("bubble {bubble} still has entities: move them out first")]
    BubbleNotEmpty {
        /// The first such bubble.
        bubble: BubbleId,
    },
    /// Nothing changed if this came at once; if it came after the limit, as for
    /// [`RegistryError::Timeout`].
    #[error(transparent)]
    Isolated(#[from] lampyrid_membership::Isolated),
    /// The process is not, or not yet, a member of a view, or it has left. Nothing changed.
    #[error("this process is no member of a view")]
    NotMember,
    /// A later registration of this process took this one's place.
    #[error("a later registration took the place of this one")]
    Superseded,
    /// No quorum was seen to store it within the caller's limit. Outcome unknown: the process goes
    /// on asking for this set.
    #[error("no quorum confirmed the registration in time; it is still being asked for")]
    Timeout,
    /// The registry actor is being restarted or the process ends. Outcome unknown.
    #[error("the registry is not running now: try again")]
    NotRunning,
}

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{BootNonce, Incarnation, ProcessId};

/// One life of a process as its links know it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Peer {
    /// Who.
    pub process: ProcessId,
    /// Which life of it.
    pub incarnation: Incarnation,
    /// Which start of it.
    pub nonce: BootNonce,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.process, self.incarnation)
    }
}

/// The concerns that talk between processes. Each has a gateway and a credit window of its own,
/// so bulk of one never holds up another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Channel {
    /// Edges, agreement, views.
    Membership,
    /// Registrations and topology.
    Registry,
    /// Sagas.
    Migration,
    /// Requests of hosts to entities, and their answers.
    Requests,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Membership, Self::Registry, Self::Migration, Self::Requests];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Membership => "membership",
            Self::Registry => "registry",
            Self::Migration => "migration",
            Self::Requests => "requests",
        }
    }
}

/// Why a frame was not sent. Nothing of it left the process.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// There is no session with that process now. If it is a member, and the frame was not
    /// membership's, one is being made: send again.
    #[error("no session with process {0}")]
    NoLink(ProcessId),
    /// There is none, and none could be made: as many sessions as allowed are in use. Send again
    /// later.
    #[error("no session with process {0}, and no room for one")]
    NoRoom(ProcessId),
    /// The peer has not yet worked off what was sent before.
    #[error("the send window to process {0} is full")]
    Overloaded(ProcessId),
    /// The frame is larger than [`crate::MAX_FRAME_BYTES`].
    #[error("a frame of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// How an actor sends to other processes. Sending never waits and promises nothing: a frame may be
/// lost, and whoever needs an answer resends.
pub trait Outbound: Send + Sync + 'static {
    /// Hands an encoded [`crate::Envelope`] to the session with `to`.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    fn send(&self, to: ProcessId, channel: Channel, frame: Bytes) -> Result<(), SendError>;
}

/// Room in the sender's window, given back when this is dropped: hold it until the frame has been
/// dealt with.
#[derive(Clone, Default)]
pub struct Credit(Option<Arc<OnDrop>>);

struct OnDrop(Box<dyn Fn() + Send + Sync>);

impl Drop for OnDrop {
    fn drop(&mut self) {
        (self.0)();
    }
}

impl Credit {
    /// Credit that runs `give_back` when its last clone is dropped.
    #[must_use]
    pub fn new(give_back: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(OnDrop(Box::new(give_back)))))
    }

    /// Credit that nobody counts; for tests and local messages.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Credit(counted)" } else { "Credit(none)" })
    }
}

/// A frame as it came in: from an authenticated session of `from`, not yet decoded.
#[derive(Debug, Clone)]
pub struct Inbound {
    /// The session's peer. The envelope's own sender must be the same.
    pub from: Peer,
    /// The encoded envelope.
    pub frame: Bytes,
    /// Dropped when the frame has been dealt with.
    pub credit: Credit,
}

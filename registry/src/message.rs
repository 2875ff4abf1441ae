use serde::{Deserialize, Serialize};

use crate::{Registration, TopologyUpdate, Version};

/// The messages of [`lampyrid_wire::Channel::Registry`]. The term is in the envelope.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum RegistryWire {
    /// Member to coordinator: what the sender wants to host (or, without bubbles, that it
    /// unregisters). Repeated until [`RegistryWire::Registered`].
    Register(Registration),
    /// Coordinator to member: a quorum of the view has stored the broadcast that carries it.
    Registered {
        /// Which request.
        request: u64,
        /// The broadcast.
        version: Version,
    },
    /// New coordinator to every member: what are you registered as?
    Gather {
        /// The number that the next broadcast will have. It tells the answer from one that an
        /// earlier life of the coordinator's actor asked for and others have overtaken.
        round: u64,
    },
    /// The answer to [`RegistryWire::Gather`].
    Gathered {
        /// The question's.
        round: u64,
        /// What the sender asks for and holds.
        registration: Registration,
    },
    /// Coordinator to every member, directly or along the rings.
    Update(TopologyUpdate),
    /// Member to coordinator: the sender holds the registry as of this version.
    Stored {
        /// The version.
        version: Version,
    },
    /// Member to coordinator: a delta does not fit what the sender holds; it needs a full update.
    NeedFull {
        /// The version of the delta.
        version: Version,
    },
    /// Refusal of a message from an older view; the envelope's term is the newer one.
    Stale,
}

/// The actor for which a message is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Destination {
    /// [`crate::RegistryActor`].
    Registry,
    /// The coordinator's actor.
    Coordinator,
    /// The broadcaster's actor.
    Broadcaster,
}

impl RegistryWire {
    /// How many kinds there are.
    pub const KINDS: usize = 8;

    /// The names of the kinds, in the order of [`RegistryWire::kind`].
    pub const NAMES: [&'static str; Self::KINDS] =
        ["register", "registered", "gather", "gathered", "update", "stored", "need_full", "stale"];

    /// Which kind this is: an index into [`RegistryWire::NAMES`].
    #[must_use]
    pub const fn kind(&self) -> usize {
        match self {
            Self::Register(_) => 0,
            Self::Registered { .. } => 1,
            Self::Gather { .. } => 2,
            Self::Gathered { .. } => 3,
            Self::Update(_) => 4,
            Self::Stored { .. } => 5,
            Self::NeedFull { .. } => 6,
            Self::Stale => 7,
        }
    }

    /// Who takes it at the receiver.
    #[must_use]
    pub const fn destination(&self) -> Destination {
        match self {
            Self::Registered { .. } | Self::Gather { .. } | Self::Stale => Destination::Registry,
            Self::Register(_) | Self::Gathered { .. } => Destination::Coordinator,
            Self::Update(_) | Self::Stored { .. } | Self::NeedFull { .. } => {
                Destination::Broadcaster
            }
        }
    }
}

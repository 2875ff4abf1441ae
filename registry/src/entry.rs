use std::collections::{BTreeMap, BTreeSet};

use lampyrid_wire::{BubbleId, Incarnation, ProcessId};
use serde::{Deserialize, Serialize};

use crate::Version;

/// The most bubbles one process may host.
pub const MAX_BUBBLES: usize = 4_096;

/// What a process asks to host. The same record registers, unregisters and answers a new
/// coordinator's gathering, so the coordinator judges all three by one rule.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Registration {
    /// Rises with every request of the process; a lower one is out of date. 0: it never asked.
    pub request: u64,
    /// The bubbles, each with the version since which the process holds it, or `None` for one it
    /// asks for anew. A bubble that the process gave up, were it for a moment, is asked for anew.
    /// `None`: the process is not registered.
    pub bubbles: Option<BTreeMap<BubbleId, Option<Version>>>,
}

/// One process's line in the registry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The life of the process to which this belongs; it counts for no other.
    pub incarnation: Incarnation,
    /// The request that led to it.
    pub request: u64,
    /// What it hosts and since when; `None` after unregistering.
    pub bubbles: Option<BTreeMap<BubbleId, Version>>,
    /// What it asked for and did not get, with the host that has it.
    pub claimed: BTreeMap<BubbleId, ProcessId>,
}

impl Entry {
    /// The hosted bubbles as a set; `None` if unregistered.
    #[must_use]
    pub fn set(&self) -> Option<BTreeSet<BubbleId>> {
        self.bubbles.as_ref().map(|bubbles| bubbles.keys().copied().collect())
    }

    /// An upper bound of its encoded size in bytes.
    #[must_use]
    pub fn encoded_bytes(&self) -> usize {
        // A UUID takes 18 bytes, a version at most 1 + 9 + 9, the fixed part less than 64.
        let bubbles = self.bubbles.as_ref().map_or(0, BTreeMap::len);
        64 + bubbles * (18 + 19) + self.claimed.len() * (18 + 18)
    }
}

/// Why no process may ask for these bubbles: too many of them, or a nil id among them.
#[must_use]
pub fn first_invalid<'a>(
    bubbles: impl ExactSizeIterator<Item = &'a BubbleId>,
) -> Option<crate::RegistryError> {
    let count = bubbles.len();
    if count > MAX_BUBBLES {
        return Some(crate::RegistryError::TooManyBubbles { count });
    }
    let mut bubbles = bubbles;
    bubbles.any(BubbleId::is_nil).then_some(crate::RegistryError::NilId)
}

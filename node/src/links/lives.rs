use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use lampyrid_wire::Peer;

use super::limits::MAX_SESSIONS;

/// How many processes' newest lives are remembered.
pub const MAX_LIVES: usize = 4 * MAX_SESSIONS;

/// The newest life of each process that there was a session with, over restarts of the links and,
/// if somebody keeps it, of the process. Every start of a process is a higher incarnation, so a
/// start of no higher one comes from a copied or rolled-back data directory. Cheap to clone; all
/// clones are one.
#[derive(Debug, Clone, Default)]
pub struct Lives(Arc<Mutex<VecDeque<Peer>>>);

impl Lives {
    /// Those that were met before; beyond [`MAX_LIVES`] the last ones.
    #[must_use]
    pub fn new(known: impl IntoIterator<Item = Peer>) -> Self {
        let lives = Self::default();
        for peer in known {
            lives.note(peer);
        }
        lives
    }

    /// Notes a life that was met; true if it was news. An older life than the known one is none.
    /// The process that was heard of longest ago makes room.
    pub fn note(&self, peer: Peer) -> bool {
        let mut lives = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = lives.iter().position(|known| known.process == peer.process) {
            if lives.get(at).is_some_and(|known| known.incarnation >= peer.incarnation) {
                return false;
            }
            lives.remove(at);
        }
        lives.push_back(peer);
        if lives.len() > MAX_LIVES {
            lives.pop_front();
        }
        true
    }

    /// All of them, the newest news last.
    #[must_use]
    pub fn all(&self) -> Vec<Peer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{BootNonce, Incarnation, ProcessId};

    use super::*;

    fn peer(process: u128, incarnation: u64) -> Peer {
        Peer {
            process: ProcessId::from_u128(process),
            incarnation: Incarnation(incarnation),
            nonce: BootNonce(incarnation),
        }
    }

    #[test]
    fn the_newest_life_of_each_process_is_kept() {
        let lives = Lives::new([peer(1, 2), peer(2, 1)]);
        assert!(!lives.note(peer(1, 2)) && !lives.note(peer(1, 1)), "no news");
        assert!(lives.note(peer(1, 3)));
        assert_eq!(lives.all(), [peer(2, 1), peer(1, 3)]);
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_who_was_met_longest_ago() {
        let lives = Lives::new((0..=MAX_LIVES as u128).map(|id| peer(id, 1)));
        assert_eq!(lives.all().len(), MAX_LIVES);
        assert_eq!(lives.all().first(), Some(&peer(1, 1)));
    }
}

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use lampyrid_wire::{BootNonce, Peer, ProcessId};

use super::MAX_ASKING;

/// Tells a request from its repetition, so that each is carried out once however often the network
/// brings it. Of each peer the last numbers are remembered; whoever numbers its requests lags no
/// further behind itself than it may have requests under way.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<ProcessId, Numbers>>);

#[derive(Debug)]
struct Numbers {
    /// Each start of a process numbers anew.
    of: BootNonce,
    recent: BTreeSet<u64>,
    /// All up to this one have had their time.
    over: u64,
}

impl Seen {
    /// True the first time that the request comes in.
    pub(super) fn is_new(&self, from: Peer, number: u64) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let afresh = || Numbers { of: from.nonce, recent: BTreeSet::new(), over: 0 };
        let numbers = seen.entry(from.process).or_insert_with(afresh);
        if numbers.of != from.nonce {
            *numbers = afresh();
        }
        let new = number > numbers.over && numbers.recent.insert(number);
        if numbers.recent.len() > MAX_ASKING
            && let Some(oldest) = numbers.recent.pop_first()
        {
            numbers.over = oldest;
        }
        new
    }

    /// Forgets who is not in the view: so many are remembered as a view has members.
    pub(super) fn keep(&self, is_member: impl Fn(ProcessId) -> bool) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|process, _| is_member(*process));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lampyrid_wire::Incarnation;

    fn peer(process: u128, nonce: u64) -> Peer {
        Peer {
            process: ProcessId::from_u128(process),
            incarnation: Incarnation(1),
            nonce: BootNonce(nonce),
        }
    }

    #[test]
    fn a_number_counts_once_for_each_start_of_each_process() {
        let seen = Seen::default();
        assert!(seen.is_new(peer(1, 1), 2));
        assert!(seen.is_new(peer(1, 1), 1), "out of order");
        assert!(!seen.is_new(peer(1, 1), 2), "again");
        assert!(seen.is_new(peer(2, 1), 2), "of another");
        assert!(seen.is_new(peer(1, 2), 2), "after a restart");
        seen.keep(|process| process == ProcessId::from_u128(2));
        assert!(!seen.is_new(peer(2, 1), 2));
    }

    #[test]
    fn what_is_too_old_to_be_told_apart_is_taken_for_a_repetition() {
        let seen = Seen::default();
        let last = 3 * MAX_ASKING as u64;
        assert!((1..=last).all(|number| seen.is_new(peer(1, 1), number)));
        assert!((1..=last).all(|number| !seen.is_new(peer(1, 1), number)));
        assert_eq!(seen.0.lock().unwrap()[&peer(1, 1).process].recent.len(), MAX_ASKING);
    }
}

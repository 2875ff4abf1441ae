use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lampyrid_wire::ProcessId;
use tokio::sync::oneshot;

use super::MAX_ASKING;
use super::message::Outcome;

/// What comes of a request that was sent; an error if its session was lost.
pub(super) type Reply = oneshot::Receiver<Outcome>;

/// Requests that were sent and have no answer yet.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    last: u64,
    by_number: HashMap<u64, (ProcessId, oneshot::Sender<Outcome>)>,
}

/// A request in the table, until this is dropped.
#[derive(Debug)]
pub(super) struct Noted<'a> {
    pending: &'a Pending,
    pub(super) number: u64,
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.pending.lock().by_number.remove(&self.number);
    }
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a request to that process; nothing if too many wait.
    pub(super) fn note(&self, to: ProcessId) -> Option<(Noted<'_>, Reply)> {
        let mut waiting = self.lock();
        if waiting.by_number.len() >= MAX_ASKING {
            return None;
        }
        waiting.last += 1;
        let (number, (sender, reply)) = (waiting.last, oneshot::channel());
        waiting.by_number.insert(number, (to, sender));
        Some((Noted { pending: self, number }, reply))
    }

    /// An answer came in. False if that process was not asked that: it came too late, or was made up.
    pub(super) fn answered(&self, by: ProcessId, number: u64, outcome: Outcome) -> bool {
        let mut waiting = self.lock();
        if waiting.by_number.get(&number).is_none_or(|(asked, _)| *asked != by) {
            return false;
        }
        // Whoever asked may be giving up at this moment.
        waiting.by_number.remove(&number).is_some_and(|(_, asker)| asker.send(outcome).is_ok())
    }

    /// The session with that process is over: what it was asked stays unanswered.
    pub(super) fn lost(&self, process: ProcessId) {
        self.lock().by_number.retain(|_, (asked, _)| *asked != process);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_who_was_asked_answers_and_only_once() {
        let pending = Pending::default();
        let (asked, other) = (ProcessId::from_u128(1), ProcessId::from_u128(2));
        let (noted, reply) = pending.note(asked).unwrap();
        let number = noted.number;
        assert!(!pending.answered(other, number, Outcome::Moving), "made up");
        assert!(!pending.answered(asked, number + 1, Outcome::Moving), "not asked");
        assert!(pending.answered(asked, number, Outcome::NoHandler));
        assert!(!pending.answered(asked, number, Outcome::Moving), "a second answer");
        assert_eq!(reply.await, Ok(Outcome::NoHandler));
    }

    #[tokio::test]
    async fn a_lost_session_ends_what_was_asked_through_it_and_nothing_else() {
        let pending = Pending::default();
        let (gone, there) = (ProcessId::from_u128(1), ProcessId::from_u128(2));
        let (_noted, lost) = pending.note(gone).unwrap();
        let (noted, reply) = pending.note(there).unwrap();
        pending.lost(gone);
        assert!(lost.await.is_err());
        assert!(pending.answered(there, noted.number, Outcome::Moving));
        assert_eq!(reply.await, Ok(Outcome::Moving));
    }

    #[test]
    fn the_table_is_bounded_and_whoever_gives_up_makes_room() {
        let pending = Pending::default();
        let process = ProcessId::from_u128(1);
        let mut noted: Vec<_> = (0..MAX_ASKING).map(|_| pending.note(process).unwrap()).collect();
        assert!(pending.note(process).is_none());
        noted.pop();
        assert!(pending.note(process).is_some());
    }
}

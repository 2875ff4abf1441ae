use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use lampyrid_membership::View;
use lampyrid_wire::ProcessId;

use super::limits::MAX_HINTED;

/// What senders leave for the links' actor when there is no session. Bounded by the members of the
/// view: of others nothing is noted.
#[derive(Debug, Default)]
pub(crate) struct Wishes {
    view: Option<Arc<View>>,
    /// The actor has been told and has not come to it yet, so need not be told again.
    told: BTreeSet<ProcessId>,
    /// There was no room for a session with them when they were last wished for.
    no_room: BTreeSet<ProcessId>,
}

/// What becomes of a wish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Noted {
    /// The actor has to be told.
    pub(crate) tell: bool,
    /// There was no room the last time.
    pub(crate) no_room: bool,
}

impl Wishes {
    /// True if it is another one than before.
    pub(crate) fn set_view(&mut self, view: Arc<View>) -> bool {
        if self.view.as_ref().is_some_and(|known| known.term() == view.term()) {
            return false;
        }
        let listed = |process: &ProcessId| view.index_of(*process).is_some();
        self.told.retain(listed);
        self.no_room.retain(listed);
        self.view = Some(view);
        true
    }

    pub(crate) fn view(&self) -> Option<Arc<View>> {
        self.view.clone()
    }

    /// Something was to be sent to that process.
    pub(crate) fn note(&mut self, process: ProcessId) -> Noted {
        let listed = self.view.as_ref().is_some_and(|view| view.index_of(process).is_some());
        let tell = listed && self.told.insert(process);
        Noted { tell, no_room: self.no_room.contains(&process) }
    }

    /// The actor comes to that wish, or is not there to do so.
    pub(crate) fn taken(&mut self, process: ProcessId) {
        self.told.remove(&process);
    }

    /// The actor's answer.
    pub(crate) fn answered(&mut self, process: ProcessId, room: bool) {
        if room {
            self.no_room.remove(&process);
        } else {
            self.no_room.insert(process);
        }
    }

    /// The actor has ended: nobody will come to what it was told.
    pub(crate) fn forget(&mut self) {
        self.told.clear();
        self.no_room.clear();
    }

    /// Where else `process` may ask: some members, others for each.
    pub(crate) fn others(&self, process: ProcessId, mine: SocketAddr) -> Vec<SocketAddr> {
        let Some(view) = &self.view else { return Vec::new() };
        let members = view.members();
        let first = (process.0.as_u128() % members.len() as u128) as usize;
        let around = members[first..].iter().chain(&members[..first]);
        let eligible = around.filter(|it| it.process != process && it.address != mine);
        eligible.map(|member| member.address).take(MAX_HINTED).collect()
    }
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{ClusterId, Incarnation, Member};

    use super::*;

    fn member(id: u128) -> Member {
        Member {
            process: ProcessId::from_u128(id),
            incarnation: Incarnation(1),
            name: String::new(),
            address: SocketAddr::from(([127, 0, 0, 1], id as u16)),
            admin: None,
        }
    }

    fn view(ids: std::ops::RangeInclusive<u128>) -> Arc<View> {
        let first = View::first(ClusterId::from_u128(7), "c", member(*ids.start()));
        Arc::new(first.successor(ids.map(member).collect()).unwrap())
    }

    #[test]
    fn a_wish_is_told_once_and_only_for_members() {
        let mut wishes = Wishes::default();
        let two = ProcessId::from_u128(2);
        assert_eq!(wishes.note(two), Noted { tell: false, no_room: false });
        wishes.set_view(view(1..=3));
        assert_eq!(wishes.note(two), Noted { tell: true, no_room: false });
        assert_eq!(wishes.note(two), Noted { tell: false, no_room: false });
        wishes.taken(two);
        wishes.answered(two, false);
        assert_eq!(wishes.note(two), Noted { tell: true, no_room: true });
        wishes.answered(two, true);
        assert_eq!(wishes.note(two), Noted { tell: false, no_room: false });
        assert!(!wishes.note(ProcessId::from_u128(4)).tell);
        // A process that leaves takes its wish with it.
        wishes.set_view(view(3..=5));
        assert_eq!((wishes.told.len(), wishes.no_room.len()), (0, 0));
    }

    #[test]
    fn hints_name_others_than_who_asks_and_who_answers_and_spread() {
        let mut wishes = Wishes::default();
        let mine = member(1).address;
        assert!(wishes.others(ProcessId::from_u128(9), mine).is_empty());
        wishes.set_view(view(1..=40));
        let all: Vec<Vec<SocketAddr>> =
            (50..90).map(|id| wishes.others(ProcessId::from_u128(id), mine)).collect();
        assert!(all.iter().all(|hints| hints.len() == MAX_HINTED && !hints.contains(&mine)));
        let distinct: BTreeSet<SocketAddr> = all.into_iter().flatten().collect();
        assert_eq!(distinct.len(), 39);
        let hints = wishes.others(ProcessId::from_u128(5), mine);
        assert!(!hints.contains(&member(5).address));
    }
}

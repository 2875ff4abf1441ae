use std::sync::Arc;

use super::change::Change;
use super::rank::{Cast, Rank};
use super::{Agreement, Flaw};
use crate::{Places, View};

impl Agreement {
    /// True once a quorum of the view being left has promised the rank.
    pub(super) fn is_promised(&self, rank: Rank) -> bool {
        let mut by = Places::default();
        for (_, more) in self.ballots.promises(rank) {
            by.join(more);
        }
        if self.flaws.has(Flaw::DuplicateCounted) {
            // Its own promise and every answer that came, were it the same one again.
            return (self.arrivals + 1) * 2 > self.view.size();
        }
        self.is_quorum(&by, None)
    }

    /// What has been decided: the votes of one rank for one value are a quorum.
    pub(super) fn decided(&self) -> Option<Arc<View>> {
        let (cast, _) = self.ballots.votes().find(|(cast, by)| self.decides(*cast, by))?;
        self.ballots.value(cast.value)?.apply(&self.view)
    }

    fn decides(&self, cast: Cast, by: &Places) -> bool {
        if cast.rank.is_fast() {
            return by.len() >= self.fast_quorum();
        }
        self.is_quorum(by, self.ballots.value(cast.value))
    }

    fn fast_quorum(&self) -> usize {
        let size = self.view.size();
        if self.flaws.has(Flaw::FastQuorumTooSmall) {
            size - size / 4
        } else if self.flaws.has(Flaw::HalfIsFastQuorum) {
            size.div_ceil(2)
        } else {
            self.view.fast_quorum()
        }
    }

    /// A classic quorum: of all processes of the view being left, and of nothing else.
    fn is_quorum(&self, by: &Places, proposed: Option<&Change>) -> bool {
        let (count, size) = (by.len(), self.view.size());
        if self.flaws.has(Flaw::AnyHalf) {
            return count * 2 >= size;
        }
        if self.flaws.has(Flaw::LiveSetQuorum)
            && let Some(change) = proposed
        {
            let live = size - change.removed.len();
            return count * 2 > live;
        }
        if self.flaws.has(Flaw::TieBreakerOfProposal)
            && let Some(next) = proposed.and_then(|change| change.apply(&self.view))
        {
            let place = self.view.index_of(next.tie_breaker());
            let holds = place.and_then(|place| u16::try_from(place).ok());
            let holds = holds.is_some_and(|place| by.contains(place));
            return count * 2 > size || (count * 2 == size && holds);
        }
        self.view.is_quorum_of_places(by)
    }
}

impl View {
    /// Equal fast votes that decide: all but a quarter. Any two of them and any classic quorum
    /// share a process (Fast Paxos; Lamport, 2006).
    #[must_use]
    pub fn fast_quorum(&self) -> usize {
        self.size() - (self.size() - 1) / 4
    }

    /// [`View::is_quorum`] of members given by their places.
    #[must_use]
    pub fn is_quorum_of_places(&self, places: &Places) -> bool {
        let twice = places.len() * 2;
        let tie = self.tie_breaker_place().is_some_and(|place| places.contains(place));
        twice > self.size() || (twice == self.size() && tie)
    }

    /// The place of the tie-breaker, if it is a member.
    #[must_use]
    pub fn tie_breaker_place(&self) -> Option<u16> {
        self.place_of(self.tie_breaker())
    }

    /// The place of a process among the sorted members.
    #[must_use]
    pub fn place_of(&self, process: lampyrid_wire::ProcessId) -> Option<u16> {
        self.index_of(process).and_then(|place| u16::try_from(place).ok())
    }
}

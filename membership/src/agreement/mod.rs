//! One decision per view: which view follows it. Fast Paxos (Lamport, 2006) among all processes of
//! the view being left, counted by process id, with the quorums of [`View`]; values are decided as
//! in Rapid (USENIX ATC 2018), by equal votes of many without a leader where that is possible.
//!
//! [`Agreement`] knows neither time nor links. Messages carry facts that only accumulate
//! ([`ballots::Ballots`]), so that everybody may pass on what it knows. A proposer's own promise of
//! its rank asks the others for theirs, and its own vote asks for their votes.

mod ballots;
mod change;
mod quorum;
mod rank;
mod select;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::ballots::{BallotFacts, ValueRef, VoteRef};
pub use self::change::{Change, ValueId};
pub use self::rank::{Cast, Rank, Vote};

use self::ballots::Ballots;
pub(crate) use self::change::is_modest;
use self::select::Selection;
use crate::flaw::{Flaw, Flaws};
use crate::limits::{MAX_ROUND, PRE_OWNED_MEMBERS};
use crate::{Places, View};

/// One process's part in deciding the successor of one view.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Agreement {
    view: Arc<View>,
    /// This process's place in the view; `None`: it only watches.
    seat: Option<u16>,
    promised: Option<Rank>,
    voted: Option<Vote>,
    trying: Option<Trying>,
    ballots: Ballots,
    flaws: Flaws,
    /// Answers to the rank being tried, repeats included; only looked at by
    /// [`Flaw::DuplicateCounted`].
    arrivals: usize,
}

/// The rank this process proposes in. Volatile: after a crash its ranks are below the own durable
/// promise and never used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Trying {
    rank: Rank,
    /// Its one value is out.
    proposed: bool,
}

/// What a step of [`Agreement`] came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Something is known that was not.
    pub news: bool,
    /// Promise or vote have changed: they must be durable before anything else is done, and others
    /// are to be told then.
    pub persist: bool,
    /// A quorum has promised the rank being tried and no vote binds it: propose a value, or
    /// [`Agreement::give_up`].
    pub free: bool,
    /// The rank being tried was outranked.
    pub outranked: bool,
    /// The successor has been decided.
    pub decided: Option<Arc<View>>,
}

impl Agreement {
    /// Begins, or goes on after a restart with what was durable.
    #[must_use]
    pub fn new(
        view: Arc<View>,
        process: lampyrid_wire::ProcessId,
        promised: Option<Rank>,
        voted: Option<Vote>,
    ) -> Self {
        Self::with_flaws(view, process, promised, voted, Flaws::default())
    }

    /// The same with a rule left out on purpose. `again`: this life of the process is not the one
    /// that the view lists, which is for [`Flaw::CountsIncarnations`] to count.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn flawed(
        view: Arc<View>,
        process: lampyrid_wire::ProcessId,
        promised: Option<Rank>,
        voted: Option<Vote>,
        flaw: Option<Flaw>,
        again: bool,
    ) -> Self {
        let late = again && flaw == Some(Flaw::CountsIncarnations);
        let offset = if late { u16::try_from(view.size()).unwrap_or(0) } else { 0 };
        Self::with_flaws(view, process, promised, voted, Flaws { flaw, offset })
    }

    pub(crate) fn with_flaws(
        view: Arc<View>,
        process: lampyrid_wire::ProcessId,
        promised: Option<Rank>,
        voted: Option<Vote>,
        flaws: Flaws,
    ) -> Self {
        let seat = view.index_of(process).and_then(|place| u16::try_from(place).ok());
        let mut agreement = Self {
            view,
            seat,
            promised,
            voted: None,
            trying: None,
            ballots: Ballots::default(),
            flaws,
            arrivals: 0,
        };
        if let Some(vote) = voted {
            agreement.remember_vote(vote);
        }
        if let Some(rank) = promised
            && agreement.voted.as_ref().is_none_or(|vote| vote.rank < rank)
        {
            agreement.note_own_promise(rank);
        }
        agreement
    }

    /// The view being left.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The highest rank promised; to be made durable.
    #[must_use]
    pub fn promised(&self) -> Option<Rank> {
        self.promised
    }

    /// The vote of the highest rank; to be made durable.
    #[must_use]
    pub fn voted(&self) -> Option<&Vote> {
        self.voted.as_ref()
    }

    /// True if anything is undecided here.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.ballots.is_empty()
    }

    /// The rank being tried.
    #[must_use]
    pub fn trying(&self) -> Option<Rank> {
        self.trying.map(|trying| trying.rank)
    }

    /// True if this process may give its one fast vote: views of up to [`PRE_OWNED_MEMBERS`] have
    /// none, and after a promise or a vote there is none.
    #[must_use]
    pub fn may_vote_fast(&self) -> bool {
        let late = self.promised.is_some() && !self.flaws.has(Flaw::FastVoteAfterPromise);
        self.seat.is_some() && !self.is_pre_owned() && !late && self.voted.is_none()
    }

    /// Gives the fast vote, if it may.
    pub fn vote_fast(&mut self, value: Arc<View>) -> Progress {
        if !self.may_vote_fast() {
            return Progress::default();
        }
        self.vote(Vote { rank: Rank::FAST, value });
        self.react(Progress { news: true, persist: true, ..Progress::default() })
    }

    /// True if this process owns the first rank of the view and has not used it: it may propose in
    /// it without asking for promises, since no lower rank exists.
    #[must_use]
    pub fn may_propose_first(&self) -> bool {
        self.seat.is_some()
            && self.seat == self.view.tie_breaker_place()
            && self.is_pre_owned()
            && self.promised.is_none()
            && self.voted.is_none()
    }

    /// Proposes in the pre-owned rank, if it may.
    pub fn propose_first(&mut self, value: Arc<View>) -> Progress {
        let Some(index) = self.seat.filter(|_| self.may_propose_first()) else {
            return Progress::default();
        };
        let rank = Rank { round: 1, index };
        self.trying = Some(Trying { rank, proposed: true });
        self.vote(Vote { rank, value });
        self.react(Progress { news: true, persist: true, ..Progress::default() })
    }

    /// Starts a classic round above all ranks known, by promising it oneself.
    pub fn start(&mut self) -> Progress {
        let Some(index) = self.seat else { return Progress::default() };
        let highest = self.ballots.ranks().last().map_or(0, |rank| rank.round);
        let own = self.promised.map_or(0, |rank| rank.round);
        let least = u64::from(self.is_pre_owned());
        let rank = Rank { round: highest.max(own).max(least) + 1, index };
        if rank.round > MAX_ROUND {
            return Progress::default();
        }
        self.arrivals = 0;
        if self.flaws.has(Flaw::TwoValuesOneRank)
            && let Some(again) = self.promised.filter(|own| own.index == index)
        {
            self.trying = Some(Trying { rank: again, proposed: false });
            return self.react(Progress { news: true, ..Progress::default() });
        }
        assert!(Some(rank) > self.promised, "a proposer starts above its own promise");
        self.trying = Some(Trying { rank, proposed: false });
        self.promise(rank);
        self.react(Progress { news: true, persist: true, ..Progress::default() })
    }

    /// Proposes a value of one's own after [`Progress::free`].
    pub fn propose(&mut self, value: Arc<View>) -> Progress {
        let Some(Trying { rank, proposed: false }) = self.trying else {
            return Progress::default();
        };
        assert!(self.promised == Some(rank), "a value is proposed under one's own promise");
        self.trying = Some(Trying { rank, proposed: true });
        self.vote(Vote { rank, value });
        self.react(Progress { news: true, persist: true, ..Progress::default() })
    }

    /// Tries the rank no more; what was promised and voted stays.
    pub fn give_up(&mut self) {
        self.trying = None;
    }

    /// Takes what somebody knows. What cannot be true of this view is left out.
    pub fn learn(&mut self, facts: &BallotFacts) -> Progress {
        let mut progress = Progress::default();
        let values: Vec<Option<ValueId>> =
            facts.values.iter().map(|value| self.take_value(value)).collect();
        let cast = |rank: Rank, value: u16| {
            let value = values.get(usize::from(value)).copied().flatten()?;
            Some(Cast { rank, value })
        };
        for (rank, voted, by) in &facts.promises {
            let given = voted.map(|(rank, value)| cast(rank, value));
            let valid = !rank.is_fast() && self.is_rank(*rank, false) && self.fits(by);
            let Some(voted) = given.map_or(Some(None), |known| known.map(Some)) else { continue };
            if valid && voted.is_none_or(|vote| vote.rank < *rank) {
                if self.trying() == Some(*rank) {
                    self.arrivals += 1;
                }
                progress.news |= self.ballots.note_promise(*rank, voted, by);
            }
        }
        for (rank, value, by) in &facts.votes {
            if self.is_rank(*rank, true)
                && self.fits(by)
                && let Some(cast) = cast(*rank, *value)
            {
                progress.news |= self.ballots.note_vote(cast, by);
            }
        }
        if !progress.news && !self.flaws.has(Flaw::DuplicateCounted) {
            self.ballots.prune_values();
            return progress;
        }
        let progress = self.react(progress);
        self.ballots.prune();
        progress
    }

    /// Everything known, for others; values in full unless `has` says they are there already.
    pub fn facts(&self, has: impl Fn(&ValueId) -> bool) -> BallotFacts {
        self.ballots.facts(None, has)
    }

    /// What this process itself promised and voted.
    pub fn own_facts(&self, has: impl Fn(&ValueId) -> bool) -> BallotFacts {
        let whose: Places = self.own_mark().into_iter().collect();
        self.ballots.facts(Some(&whose), has)
    }

    /// The values that are voted for.
    pub fn values(&self) -> impl Iterator<Item = (&ValueId, &Change)> {
        self.ballots.values()
    }

    /// Who has voted, in whatever rank, for whatever value.
    #[must_use]
    pub fn heard_from(&self) -> Places {
        let mut heard = Places::default();
        for (_, by) in self.ballots.votes() {
            heard.join(by);
        }
        for rank in self.ballots.ranks() {
            for (_, by) in self.ballots.promises(rank) {
                heard.join(by);
            }
        }
        heard
    }

    /// The highest rank of a proposer other than this process.
    #[must_use]
    pub fn other_proposer(&self) -> Option<Rank> {
        let ranks = self.ballots.ranks();
        ranks.into_iter().rev().find(|rank| Some(rank.index) != self.seat)
    }

    /// True if no value can get a fast quorum any more, `gone` not answering.
    #[must_use]
    pub fn is_fast_hopeless(&self, gone: &Places) -> bool {
        if self.is_pre_owned() {
            return true;
        }
        let mut open = Places::all(self.view.size());
        open.leave_out(gone);
        let mut best = 0;
        for (_, by) in self.ballots.fast_votes() {
            best = best.max(by.len());
            open.leave_out(by);
        }
        let late = self.promised.is_some() && self.voted.as_ref().is_none_or(|v| !v.rank.is_fast());
        let own = usize::from(late && self.seat.is_some_and(|seat| open.contains(seat)));
        best + open.len() - own < self.view.fast_quorum()
    }

    fn is_pre_owned(&self) -> bool {
        self.view.size() <= PRE_OWNED_MEMBERS
    }

    /// The mark this process leaves in the counts; see [`Flaw::CountsIncarnations`].
    fn own_mark(&self) -> Option<u16> {
        self.seat.map(|seat| seat + self.flaws.offset)
    }

    /// True if somebody is named, and all who are can be members of this view.
    fn fits(&self, by: &Places) -> bool {
        let size = self.view.size();
        !by.is_empty()
            && by.fits(if self.flaws.has(Flaw::CountsIncarnations) { 2 * size } else { size })
    }

    /// True if that rank can exist in this view.
    fn is_rank(&self, rank: Rank, vote: bool) -> bool {
        if rank.is_fast() {
            return rank == Rank::FAST && vote && !self.is_pre_owned();
        }
        let first = self.is_pre_owned() && rank.round == 1;
        let owned = !first || (vote && Some(rank.index) == self.view.tie_breaker_place());
        rank.round <= MAX_ROUND && usize::from(rank.index) < self.view.size() && owned
    }

    fn take_value(&mut self, value: &ValueRef) -> Option<ValueId> {
        match value {
            ValueRef::Known(id) => self.ballots.value(*id).map(|_| *id),
            ValueRef::Whole(change) => {
                let id = change.id().ok()?;
                if self.ballots.value(id).is_none() {
                    let fits = change.removed.fits(self.view.size()) && !change.is_nothing();
                    if !fits || !self.ballots.has_room_for(id) {
                        return None;
                    }
                    self.ballots.note_value(id, change);
                }
                Some(id)
            }
        }
    }

    fn promise(&mut self, rank: Rank) {
        assert!(Some(rank) > self.promised, "promises only rise");
        self.promised = Some(rank);
        self.note_own_promise(rank);
    }

    fn note_own_promise(&mut self, rank: Rank) {
        let voted = self.voted.as_ref().and_then(|vote| self.name(vote));
        let own: Places = self.own_mark().into_iter().collect();
        self.ballots.note_promise(rank, voted, &own);
    }

    fn vote(&mut self, vote: Vote) {
        assert!(
            self.promised <= Some(vote.rank) || vote.rank.is_fast(),
            "no vote below the promise"
        );
        self.promised = self.promised.max(Some(vote.rank).filter(|rank| !rank.is_fast()));
        self.remember_vote(vote);
    }

    fn remember_vote(&mut self, vote: Vote) {
        let change = Change::to(&self.view, &vote.value);
        if let Ok(value) = change.id() {
            self.ballots.note_value(value, &change);
            let own: Places = self.own_mark().into_iter().collect();
            self.ballots.note_vote(Cast { rank: vote.rank, value }, &own);
        }
        self.voted = Some(vote);
    }

    fn name(&self, vote: &Vote) -> Option<Cast> {
        let value = Change::to(&self.view, &vote.value).id().ok()?;
        Some(Cast { rank: vote.rank, value })
    }

    /// Does what the facts ask for: votes, promises, the next phase of an own rank, a decision.
    fn react(&mut self, mut progress: Progress) -> Progress {
        if self.seat.is_some() {
            progress.persist |= self.vote_where_asked();
            progress.persist |= self.promise_where_asked();
            progress.outranked |= self.notice_outranked();
            progress.free |= self.next_phase(&mut progress.persist);
        }
        progress.decided = self.decided();
        progress
    }

    /// Phase 2 at an acceptor. What the rank brings is voted for, whatever was voted fast.
    fn vote_where_asked(&mut self) -> bool {
        let asked = self.ballots.votes().filter(|(cast, by)| {
            !cast.rank.is_fast()
                && Some(cast.rank.index) != self.seat
                && by.contains(cast.rank.index)
                && Some(cast.rank) >= self.promised
                && self.voted.as_ref().is_none_or(|vote| vote.rank < cast.rank)
        });
        let Some((cast, _)) = asked.last() else { return false };
        let Some(value) = self.ballots.value(cast.value).and_then(|it| it.apply(&self.view)) else {
            return false;
        };
        self.vote(Vote { rank: cast.rank, value });
        true
    }

    /// Phase 1 at an acceptor: promises the highest rank asked for.
    fn promise_where_asked(&mut self) -> bool {
        let asked = self.ballots.ranks().into_iter().rev().find(|&rank| {
            Some(rank.index) != self.seat
                && Some(rank) > self.promised
                && self.ballots.promises(rank).any(|(_, by)| by.contains(rank.index))
        });
        let Some(rank) = asked else { return false };
        self.promise(rank);
        true
    }

    fn notice_outranked(&mut self) -> bool {
        let outranked = self.trying.is_some_and(|trying| Some(trying.rank) < self.promised);
        if outranked {
            self.trying = None;
        }
        outranked
    }

    /// Phase 2 at the proposer, once a quorum has promised; true if the value is free.
    fn next_phase(&mut self, persist: &mut bool) -> bool {
        let Some(Trying { rank, proposed: false }) = self.trying else { return false };
        if !self.is_promised(rank) {
            return false;
        }
        match self.select(rank) {
            Selection::Free => true,
            Selection::Forced(id) => {
                let value = self.ballots.value(id).and_then(|change| change.apply(&self.view));
                if let Some(value) = value {
                    self.trying = Some(Trying { rank, proposed: true });
                    self.vote(Vote { rank, value });
                    *persist = true;
                }
                false
            }
        }
    }
}

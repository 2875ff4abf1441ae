use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lampyrid_wire::{Epoch, ProcessId, ViewId};

use crate::limits::PRE_OWNED_MEMBERS;
use crate::{
    AcceptorState, Change, Protocol, Rank, Status, StopReason, ValueId, ValueRef, View, ViewState,
};

/// A promise of membership that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two views share an epoch.
    #[error("two views of epoch {0}: {1:?} and {2:?}")]
    TwoViews(Epoch, ViewId, ViewId),
    /// A view does not follow from the one before.
    #[error("view {0:?} of epoch {1} does not follow its predecessor")]
    BrokenChain(ViewId, Epoch),
    /// A process went back.
    #[error("{0} installed epoch {2} after epoch {1}")]
    WentBack(ProcessId, Epoch, Epoch),
    /// A view was installed that no quorum of its predecessor had voted for in one rank.
    #[error("view {0:?} of epoch {1} was installed without a quorum of votes in one rank")]
    NoQuorum(ViewId, Epoch),
    /// One rank, two values.
    #[error("rank {0:?} brought two values after epoch {1}")]
    TwoValues(Rank, Epoch),
    /// An acceptor voted below a promise it had sent, or forgot a vote it had sent.
    #[error("{0} broke its promise in epoch {1}: {2:?} after {3:?}")]
    BrokenPromise(ProcessId, Epoch, Rank, Rank),
    /// A value was proposed without the promises of a quorum.
    #[error("{0} proposed in rank {2:?} after epoch {1} without the promises of a quorum")]
    TooFewPromises(ProcessId, Epoch, Rank),
    /// A promise or vote was sent that is not durable.
    #[error(
        "{0} sent a promise or vote of rank {2:?} after epoch {1} that it had not made durable"
    )]
    NotDurable(ProcessId, Epoch, Rank),
    /// An incarnation that no view lists counts itself active.
    #[error("{0} acts as a member at an incarnation that its view does not list")]
    ActsUnlisted(ProcessId),
    /// Subscribers were told an epoch that was not higher.
    #[error("{0} told its subscribers of epoch {1} after epoch {2}")]
    ToldBackwards(ProcessId, Epoch, Epoch),
    /// Membership stopped a healthy process.
    #[error("{0} was stopped: {1}")]
    Stopped(ProcessId, StopReason),
    /// Without any fault the cluster did not come together.
    #[error("not everybody was in one view at the end: {0}")]
    NoConvergence(String),
    /// The core wants to be woken again and again in the same moment.
    #[error("{0} wants to be woken at a moment that has passed")]
    BusyLoop(ProcessId),
}

/// Watches what becomes durable and what is sent, across crashes.
#[derive(Debug, Default)]
pub(super) struct Checker {
    only_harm: bool,
    pub(super) views: BTreeMap<Epoch, Arc<View>>,
    installed: BTreeMap<ProcessId, Epoch>,
    /// Durable votes by epoch left, rank and value: who voted.
    votes: BTreeMap<(Epoch, Rank, ViewId), BTreeSet<ProcessId>>,
    /// What each has made durable of an epoch: promises, and votes by rank and name of the value.
    durable: BTreeSet<(ProcessId, Epoch, Rank, Option<ValueId>)>,
    promised: BTreeMap<(ProcessId, Epoch), Rank>,
}

impl Checker {
    pub(super) fn new(only_harm: bool) -> Self {
        Self { only_harm, ..Self::default() }
    }

    /// Two views that were installed before anything was watched.
    pub(super) fn start_from(&mut self, first: Arc<View>, second: Arc<View>) {
        self.views.extend([first, second].map(|view| (view.epoch(), view)));
    }

    /// A state is about to become durable.
    pub(super) fn persisted(&mut self, state: &AcceptorState) -> Result<(), Violation> {
        let Some(view) = &state.view else { return Ok(()) };
        let before = self.installed.insert(state.process, view.epoch());
        if let Some(before) = before
            && before > view.epoch()
        {
            return Err(Violation::WentBack(state.process, before, view.epoch()));
        }
        self.seen(view)?;
        let (process, epoch) = (state.process, view.epoch());
        if !self.only_harm {
            self.newly_voted(state, view)?;
        }
        if let Some(rank) = state.promised {
            self.durable.insert((process, epoch, rank, None));
            let highest = self.promised.entry((process, epoch)).or_insert(rank);
            if *highest > rank && !self.only_harm {
                return Err(Violation::BrokenPromise(process, epoch, rank, *highest));
            }
            *highest = rank.max(*highest);
        }
        if let Some(vote) = &state.voted {
            if !self.only_harm {
                let others = self.votes.range(
                    (epoch, vote.rank, ViewId([0; 32]))..=(epoch, vote.rank, ViewId([255; 32])),
                );
                let other = others.map(|((.., value), _)| *value).find(|&v| v != vote.value.id());
                if other.is_some() && !vote.rank.is_fast() {
                    return Err(Violation::TwoValues(vote.rank, epoch));
                }
                if let Ok(value) = Change::to(view, &vote.value).id() {
                    self.durable.insert((process, epoch, vote.rank, Some(value)));
                }
            }
            let voters = self.votes.entry((epoch, vote.rank, vote.value.id())).or_default();
            voters.insert(process);
        }
        Ok(())
    }

    /// A vote that was not there before: fast only without a promise, and in an own rank only under
    /// the promises of a quorum.
    fn newly_voted(&self, state: &AcceptorState, view: &View) -> Result<(), Violation> {
        let (process, epoch) = (state.process, view.epoch());
        let Some(vote) = &state.voted else { return Ok(()) };
        let value = Change::to(view, &vote.value).id().ok();
        if self.durable.contains(&(process, epoch, vote.rank, value)) {
            return Ok(());
        }
        if vote.rank.is_fast() {
            return match self.promised.get(&(process, epoch)) {
                Some(&rank) => Err(Violation::BrokenPromise(process, epoch, vote.rank, rank)),
                None => Ok(()),
            };
        }
        let first = view.size() <= PRE_OWNED_MEMBERS && vote.rank.round == 1;
        if view.place_of(process) != Some(vote.rank.index) || first {
            return Ok(());
        }
        let promised =
            |p: &ProcessId| *p == process || self.durable.contains(&(*p, epoch, vote.rank, None));
        let members: Vec<ProcessId> = view.members().iter().map(|m| m.process).collect();
        if view.is_quorum(members.iter().filter(|p| promised(p))) {
            Ok(())
        } else {
            Err(Violation::TooFewPromises(process, epoch, vote.rank))
        }
    }

    fn seen(&mut self, view: &Arc<View>) -> Result<(), Violation> {
        let (id, epoch) = (view.id(), view.epoch());
        if let Some(known) = self.views.get(&epoch) {
            if known.id() != id {
                return Err(Violation::TwoViews(epoch, known.id(), id));
            }
            return Ok(());
        }
        if epoch > Epoch(1) {
            let before = self.views.get(&Epoch(epoch.0 - 1));
            let Some(before) = before.filter(|before| view.is_well_formed(Some(&before.id())))
            else {
                return Err(Violation::BrokenChain(id, epoch));
            };
            let left = before.epoch();
            let cast = self.votes.iter().filter(|((of, _, value), _)| *of == left && *value == id);
            let decided = cast.into_iter().any(|((_, rank, _), voters)| {
                let known = voters.iter().filter(|&&p| before.index_of(p).is_some()).count();
                if rank.is_fast() {
                    known >= before.fast_quorum()
                } else {
                    before.is_quorum(voters.iter())
                }
            });
            if !decided && !self.only_harm {
                return Err(Violation::NoQuorum(id, epoch));
            }
        }
        self.views.insert(epoch, Arc::clone(view));
        Ok(())
    }

    /// A message leaves a process: what it says of that process's own promises and votes must be
    /// durable there.
    pub(super) fn sent(
        &mut self,
        from: ProcessId,
        epoch: Option<Epoch>,
        message: &Protocol,
    ) -> Result<(), Violation> {
        let Some(epoch) = epoch.filter(|_| !self.only_harm) else { return Ok(()) };
        let Protocol::Facts(facts) = message else { return Ok(()) };
        let Some(place) = self.views.get(&epoch).and_then(|view| view.place_of(from)) else {
            return Ok(());
        };
        let undurable = |rank| Err(Violation::NotDurable(from, epoch, rank));
        for (rank, ..) in facts.ballots.promises.iter().filter(|(.., by)| by.contains(place)) {
            if !self.durable.contains(&(from, epoch, *rank, None)) {
                return undurable(*rank);
            }
        }
        for (rank, value, _) in facts.ballots.votes.iter().filter(|(.., by)| by.contains(place)) {
            let id = match facts.ballots.values.get(usize::from(*value)) {
                Some(ValueRef::Known(id)) => Some(*id),
                Some(ValueRef::Whole(change)) => change.id().ok(),
                None => None,
            };
            if !self.durable.contains(&(from, epoch, *rank, id)) {
                return undurable(*rank);
            }
        }
        Ok(())
    }

    /// A process shows itself as active: only a listed incarnation may, since it may coordinate.
    pub(super) fn shown(&self, state: &ViewState) -> Result<(), Violation> {
        let listed = state
            .view
            .as_ref()
            .is_some_and(|view| view.lists(state.me.process, state.me.incarnation));
        if state.status == Status::Active && !listed {
            return Err(Violation::ActsUnlisted(state.me.process));
        }
        Ok(())
    }
}

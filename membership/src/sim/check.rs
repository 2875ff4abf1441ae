use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lampyrid_wire::{Epoch, ProcessId, ViewId};

use crate::{AcceptorState, Protocol, Rank, StopReason, View};

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
    /// Durable votes: (epoch left, rank) to the value, and who voted.
    votes: BTreeMap<(Epoch, Rank), (ViewId, BTreeSet<ProcessId>)>,
    promised: BTreeMap<(ProcessId, Epoch), Rank>,
    voted: BTreeMap<(ProcessId, Epoch), Rank>,
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
        if let Some(vote) = &state.voted {
            let (value, voters) = self
                .votes
                .entry((view.epoch(), vote.rank))
                .or_insert_with(|| (vote.value.id(), BTreeSet::new()));
            if *value != vote.value.id() && !self.only_harm {
                return Err(Violation::TwoValues(vote.rank, view.epoch()));
            }
            voters.insert(state.process);
        }
        Ok(())
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
            let decided = self.votes.range((before.epoch(), Rank { round: 0, index: 0 })..).any(
                |((left, _), (value, voters))| {
                    *left == before.epoch() && *value == id && before.is_quorum(voters.iter())
                },
            );
            if !decided && !self.only_harm {
                return Err(Violation::NoQuorum(id, epoch));
            }
        }
        self.views.insert(epoch, Arc::clone(view));
        Ok(())
    }

    /// A message leaves a process.
    pub(super) fn sent(
        &mut self,
        from: ProcessId,
        epoch: Option<Epoch>,
        message: &Protocol,
    ) -> Result<(), Violation> {
        let Some(epoch) = epoch.filter(|_| !self.only_harm) else { return Ok(()) };
        let key = (from, epoch);
        match message {
            Protocol::Promise { rank, voted } => {
                let given = voted.as_ref().map(|vote| vote.rank);
                if let Some(&known) = self.voted.get(&key)
                    && given < Some(known)
                {
                    let given = given.unwrap_or(*rank);
                    return Err(Violation::BrokenPromise(from, epoch, given, known));
                }
                let highest = self.promised.entry(key).or_insert(*rank);
                *highest = (*highest).max(*rank);
            }
            Protocol::Voted { rank } => {
                if let Some(&promised) = self.promised.get(&key)
                    && *rank < promised
                {
                    return Err(Violation::BrokenPromise(from, epoch, *rank, promised));
                }
                let highest = self.voted.entry(key).or_insert(*rank);
                *highest = (*highest).max(*rank);
            }
            _ => {}
        }
        Ok(())
    }
}

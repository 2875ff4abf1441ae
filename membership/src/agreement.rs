//! One decision per view: which view follows it. Single-decree Paxos (Lamport, 2001) among all
//! processes of the view being left, counted by process id, with the quorums of [`View`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lampyrid_wire::ProcessId;
use serde::{Deserialize, Serialize};

use crate::View;
use crate::flaw::{Flaw, Flaws};

/// What proposals are ordered by. No two processes ever share one: the index is the proposer's
/// place among the sorted processes of the view being left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Rank {
    /// Rises with every try.
    pub round: u64,
    /// Whose it is.
    pub index: u16,
}

/// A vote: this view, in that rank.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// The rank voted in.
    pub rank: Rank,
    /// What for.
    pub value: Arc<View>,
}

/// What an acceptor does with a request of some rank. `Granted` means: make the new state durable,
/// then answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ruling {
    /// The state has changed and must be durable before the answer.
    Granted,
    /// It had been granted before; answer again.
    Repeated,
    /// A higher rank was promised.
    Refused(Rank),
}

/// The acceptor's half: two durable registers.
#[derive(Debug)]
pub(crate) struct Acceptor<'a> {
    /// The highest rank promised.
    pub(crate) promised: &'a mut Option<Rank>,
    /// The vote of the highest rank.
    pub(crate) voted: &'a mut Option<Vote>,
}

impl Acceptor<'_> {
    /// Phase 1: promises `rank` unless a higher one is promised.
    pub(crate) fn promise(&mut self, rank: Rank) -> Ruling {
        match *self.promised {
            Some(promised) if promised > rank => Ruling::Refused(promised),
            Some(promised) if promised == rank => Ruling::Repeated,
            _ => {
                *self.promised = Some(rank);
                Ruling::Granted
            }
        }
    }

    /// Phase 2: votes unless a higher rank is promised. A second value in a rank already voted in
    /// is refused as if outranked: its proposer breaks the rules.
    pub(crate) fn vote(&mut self, rank: Rank, value: &Arc<View>) -> Ruling {
        if let Some(promised) = *self.promised
            && promised > rank
        {
            return Ruling::Refused(promised);
        }
        if let Some(voted) = &*self.voted {
            assert!(voted.rank <= rank, "a vote above the promise: {voted:?}, {rank:?}");
            if voted.rank == rank {
                let same = voted.value.id() == value.id();
                return if same { Ruling::Repeated } else { Ruling::Refused(rank) };
            }
        }
        *self.promised = Some(rank);
        *self.voted = Some(Vote { rank, value: Arc::clone(value) });
        Ruling::Granted
    }
}

/// What selection says about the value of a rank.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Selection {
    /// Somebody voted: this may have been decided, so it must be proposed again.
    Forced(Arc<View>),
    /// Nobody of a quorum has voted: any value is safe.
    Free,
}

/// The proposer's half, for one view being left. Volatile: after a crash its ranks are below the
/// own durable promise and never used again.
#[derive(Debug, Default)]
pub(crate) enum Proposer {
    /// Not proposing.
    #[default]
    Idle,
    /// Waiting for a quorum of promises.
    Preparing {
        /// The rank, promised durably by its owner before it was sent.
        rank: Rank,
        /// Who promised it, and what they had voted for.
        promises: BTreeMap<ProcessId, Option<Vote>>,
    },
    /// Waiting for a quorum of votes.
    Accepting {
        /// The rank.
        rank: Rank,
        /// Its one value.
        value: Arc<View>,
        /// Who voted for it in this rank.
        votes: BTreeSet<ProcessId>,
    },
}

impl Proposer {
    /// The rank being tried.
    #[must_use]
    pub(crate) fn rank(&self) -> Option<Rank> {
        match self {
            Self::Idle => None,
            Self::Preparing { rank, .. } | Self::Accepting { rank, .. } => Some(*rank),
        }
    }

    /// True if `process` has answered the phase that runs.
    #[must_use]
    pub(crate) fn has_answer_of(&self, process: ProcessId) -> bool {
        match self {
            Self::Idle => true,
            Self::Preparing { promises, .. } => promises.contains_key(&process),
            Self::Accepting { votes, .. } => votes.contains(&process),
        }
    }

    /// Starts phase 1 at a rank that its owner has promised durably.
    pub(crate) fn prepare(&mut self, rank: Rank) {
        *self = Self::Preparing { rank, promises: BTreeMap::new() };
    }

    /// Notes a promise; answers of other ranks count for nothing. Once a quorum of the view being
    /// left has promised, says what may be proposed.
    pub(crate) fn promised(
        &mut self,
        from: ProcessId,
        at: Rank,
        voted: Option<Vote>,
        leaving: &Electorate<'_>,
    ) -> Option<Selection> {
        let Self::Preparing { rank, promises } = self else { return None };
        if *rank != at {
            return None;
        }
        promises.entry(from).or_insert(voted);
        leaving.is_quorum(promises.keys()).then(|| select(promises, leaving.flaws))
    }

    /// Starts phase 2 with the rank's one value.
    pub(crate) fn propose(&mut self, value: Arc<View>) {
        let Self::Preparing { rank, .. } = self else {
            unreachable!("a value is proposed once a rank, after its promises")
        };
        *self = Self::Accepting { rank: *rank, value, votes: BTreeSet::new() };
    }

    /// Notes a vote; returns the value once a quorum of the view being left has voted for it.
    pub(crate) fn voted(
        &mut self,
        from: ProcessId,
        at: Rank,
        leaving: &Electorate<'_>,
    ) -> Option<Arc<View>> {
        let Self::Accepting { rank, value, votes } = self else { return None };
        if *rank != at {
            return None;
        }
        votes.insert(from);
        leaving.is_quorum(votes.iter()).then(|| Arc::clone(value))
    }
}

/// Who decides the successor of a view: all its processes, whatever their incarnation.
#[derive(Debug)]
pub(crate) struct Electorate<'a> {
    pub(crate) view: &'a View,
    pub(crate) flaws: Flaws,
    /// Only looked at by [`Flaw::LiveSetQuorum`].
    pub(crate) live: &'a BTreeSet<ProcessId>,
}

impl Electorate<'_> {
    pub(crate) fn is_quorum<'b>(&self, answers: impl Iterator<Item = &'b ProcessId>) -> bool {
        let answers: BTreeSet<ProcessId> =
            answers.copied().filter(|&p| self.view.index_of(p).is_some()).collect();
        if self.flaws.has(Flaw::AnyHalf) {
            return answers.len() * 2 >= self.view.size();
        }
        if self.flaws.has(Flaw::LiveSetQuorum) {
            return answers.len() * 2 > self.live.len();
        }
        self.view.is_quorum(&answers)
    }
}

fn select(promises: &BTreeMap<ProcessId, Option<Vote>>, flaws: Flaws) -> Selection {
    let mut votes = promises.values().flatten();
    let forced = if flaws.has(Flaw::NoSelection) {
        None
    } else if flaws.has(Flaw::FirstVoteSeen) {
        votes.next()
    } else {
        votes.max_by_key(|vote| vote.rank)
    };
    forced.map_or(Selection::Free, |vote| Selection::Forced(Arc::clone(&vote.value)))
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{ClusterId, Incarnation, Member};

    use super::*;

    fn member(process: u128) -> Member {
        Member {
            process: ProcessId::from_u128(process),
            incarnation: Incarnation(1),
            name: String::new(),
            address: "127.0.0.1:1".parse().unwrap(),
            admin: None,
        }
    }

    fn view_of(processes: &[u128]) -> View {
        View::first(ClusterId::from_u128(5), "c", member(processes[0]))
            .successor(processes.iter().map(|&p| member(p)).collect())
            .unwrap()
    }

    fn rank(round: u64, index: u16) -> Rank {
        Rank { round, index }
    }

    #[test]
    fn an_acceptor_keeps_its_promise_and_its_vote() {
        let (mut promised, mut voted) = (None, None);
        let mut acceptor = Acceptor { promised: &mut promised, voted: &mut voted };
        let old = view_of(&[1, 2, 3]);
        let one = Arc::new(old.successor(vec![member(1), member(2)]).unwrap());
        let two = Arc::new(old.successor(vec![member(1), member(3)]).unwrap());
        assert_eq!(acceptor.promise(rank(2, 1)), Ruling::Granted);
        assert_eq!(acceptor.promise(rank(2, 1)), Ruling::Repeated);
        assert_eq!(acceptor.promise(rank(2, 0)), Ruling::Refused(rank(2, 1)));
        assert_eq!(acceptor.vote(rank(2, 0), &one), Ruling::Refused(rank(2, 1)));
        assert_eq!(acceptor.vote(rank(2, 1), &one), Ruling::Granted);
        assert_eq!(acceptor.vote(rank(2, 1), &one), Ruling::Repeated);
        assert_eq!(acceptor.vote(rank(2, 1), &two), Ruling::Refused(rank(2, 1)));
        assert_eq!(acceptor.vote(rank(3, 0), &two), Ruling::Granted);
        assert_eq!(promised, Some(rank(3, 0)));
        assert_eq!(voted.unwrap().value, two);
    }

    #[test]
    fn the_vote_of_the_highest_rank_forces_and_late_answers_of_other_ranks_do_not_count() {
        let view = view_of(&[1, 2, 3, 4, 5]);
        let live = BTreeSet::new();
        let electorate = Electorate { view: &view, flaws: Flaws::default(), live: &live };
        let low = Arc::new(view.successor(vec![member(1)]).unwrap());
        let high = Arc::new(view.successor(vec![member(2)]).unwrap());
        let process = ProcessId::from_u128;
        let mut proposer = Proposer::default();
        proposer.prepare(rank(7, 0));
        let vote = |rank, value: &Arc<View>| Some(Vote { rank, value: Arc::clone(value) });
        assert_eq!(proposer.promised(process(1), rank(7, 0), None, &electorate), None);
        assert_eq!(proposer.promised(process(1), rank(7, 0), None, &electorate), None);
        assert_eq!(proposer.promised(process(2), rank(6, 0), None, &electorate), None);
        assert_eq!(
            proposer.promised(process(3), rank(7, 0), vote(rank(1, 2), &low), &electorate),
            None
        );
        assert_eq!(
            proposer.promised(process(4), rank(7, 0), vote(rank(3, 0), &high), &electorate),
            Some(Selection::Forced(Arc::clone(&high)))
        );
        proposer.propose(Arc::clone(&high));
        assert_eq!(proposer.voted(process(1), rank(7, 0), &electorate), None);
        assert_eq!(proposer.voted(process(9), rank(7, 0), &electorate), None);
        assert_eq!(proposer.voted(process(2), rank(6, 0), &electorate), None);
        assert_eq!(proposer.voted(process(2), rank(7, 0), &electorate), None);
        assert_eq!(proposer.voted(process(3), rank(7, 0), &electorate), Some(high));
    }

    /// Three processes. The first votes for its own value, and its requests for votes are lost. The
    /// third gets the promises and votes of the last two and is gone. The first comes again, with the second.
    /// Returns what the third decided and what the first proposes then.
    fn two_rounds(flaw: Option<Flaw>) -> (Arc<View>, Arc<View>) {
        let view = view_of(&[1, 2, 3]);
        let live = BTreeSet::new();
        let electorate = Electorate { view: &view, flaws: Flaws { flaw }, live: &live };
        let (one, two, three) = (0, 1, 2);
        let process = |at: usize| view.members()[at].process;
        let mut registers: [(Option<Rank>, Option<Vote>); 3] = Default::default();
        let mut round =
            |proposer: usize, number: u64, heard: [usize; 2], voters: &[usize], own: &Arc<View>| {
                let rank = rank(number, u16::try_from(proposer).unwrap());
                let mut running = Proposer::default();
                running.prepare(rank);
                let mut selection = None;
                for at in heard {
                    let (promised, voted) = &mut registers[at];
                    assert_eq!(Acceptor { promised, voted }.promise(rank), Ruling::Granted);
                    let answer = registers[at].1.clone();
                    selection =
                        selection.or(running.promised(process(at), rank, answer, &electorate));
                }
                let value = match selection {
                    Some(Selection::Forced(value)) => value,
                    Some(Selection::Free) => Arc::clone(own),
                    None => unreachable!("two of three are a quorum"),
                };
                for &at in voters {
                    let (promised, voted) = &mut registers[at];
                    assert_eq!(Acceptor { promised, voted }.vote(rank, &value), Ruling::Granted);
                }
                value
            };
        let first = Arc::new(view.successor(vec![member(1), member(2)]).unwrap());
        let third = Arc::new(view.successor(vec![member(2), member(3)]).unwrap());
        round(one, 1, [one, two], &[one], &first);
        let decided = round(three, 2, [two, three], &[two, three], &third);
        let then = round(one, 3, [one, two], &[one, two], &first);
        (decided, then)
    }

    #[test]
    fn what_may_have_been_decided_is_proposed_again_and_without_selection_it_is_not() {
        let (decided, then) = two_rounds(None);
        assert_eq!(decided, then);
        for flaw in [Flaw::FirstVoteSeen, Flaw::NoSelection] {
            let (decided, then) = two_rounds(Some(flaw));
            assert_ne!(decided, then, "{flaw:?} does no harm here");
        }
    }
}

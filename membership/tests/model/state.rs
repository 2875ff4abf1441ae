use lampyrid_membership::{Change, Flaw, Places};
use stateright::Representative;

use super::facts::{Acceptor, Ballot, Fact, ProcessNo, Said, Trying, ViewNo, Voters};
use super::world::{World, member};

/// One process: what is durable, what it tries, and all that it ever published.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Process {
    /// The newest view installed, with promise and vote; `None` before the first.
    pub(crate) acceptor: Option<Acceptor>,
    pub(crate) incarnation: u8,
    /// A rank without a value: volatile.
    pub(crate) trying: Option<Trying>,
    /// Sorted. They never go: any of them may still be on its way to anybody, once or often.
    pub(crate) facts: Vec<Fact>,
    /// The view it had installed before; only [`Flaw::AnswersPastEpoch`] looks at it.
    pub(crate) past: Option<ViewNo>,
}

impl Process {
    pub(crate) fn publish(&mut self, facts: &[Fact]) {
        for fact in facts {
            if let Err(at) = self.facts.binary_search(fact) {
                self.facts.insert(at, *fact);
            }
        }
    }

    /// True if its running life is a member of the view it has installed.
    pub(crate) fn is_member(&self, world: &World, process: ProcessNo) -> bool {
        self.acceptor.is_some_and(|it| world.listed(it.view, process) == Some(self.incarnation))
    }
}

/// All processes, and how much of the bounds is used.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct State {
    pub(crate) processes: Vec<Process>,
    /// Views that anybody has installed, by number, sorted: whoever has one may have
    /// sent it, and that message may still arrive.
    pub(crate) installed: Vec<ViewNo>,
    /// Rounds started so far in all views together.
    pub(crate) starts: u8,
    pub(crate) restarts: u8,
    /// The processes that play the same part, by the bits of their numbers: they start no round,
    /// are no tie-breaker, and no wish names them. States that differ only in which of them did
    /// what are one. (A tie-breaker matters in no view of odd size.)
    pub(crate) alike: u16,
}

impl State {
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (ProcessNo, &Process)> {
        (0..).zip(&self.processes)
    }

    /// The votes of one view: what for, and by whom.
    pub(crate) fn ballots(&self, view: ViewNo) -> Vec<(Ballot, Voters)> {
        let mut ballots: Vec<(Ballot, Voters)> = Vec::new();
        for (process, it) in self.numbered() {
            for fact in it.facts.iter().filter(|fact| fact.view == view) {
                if let Said::Vote(ballot) = fact.said {
                    match ballots.iter_mut().find(|(known, _)| *known == ballot) {
                        Some((_, voters)) => voters.push((process, fact.extra)),
                        None => ballots.push((ballot, vec![(process, fact.extra)])),
                    }
                }
            }
        }
        ballots
    }

    /// The successors of a view that somebody who heard everything would take as decided, each
    /// once. What is decided stays so, and nobody can hear of more.
    pub(crate) fn decided(&self, world: &World, view: ViewNo) -> Vec<ViewNo> {
        let mut decided: Vec<ViewNo> = self
            .ballots(view)
            .into_iter()
            .filter(|(ballot, voters)| world.decides(view, *ballot, voters.clone()))
            .map(|(ballot, _)| ballot.value)
            .collect();
        decided.sort_unstable();
        decided.dedup();
        decided
    }

    /// The views in which anything was said.
    pub(crate) fn left(&self) -> Vec<ViewNo> {
        let mut views: Vec<ViewNo> =
            self.processes.iter().flat_map(|it| it.facts.iter().map(|fact| fact.view)).collect();
        views.sort_unstable();
        views.dedup();
        views
    }
}

impl Representative for State {
    fn representative(&self) -> Self {
        let mut state = self.clone();
        let alike = || (0..self.processes.len()).filter(|at| self.alike >> at & 1 == 1);
        let mut sorted: Vec<&Process> = alike().map(|at| &self.processes[at]).collect();
        sorted.sort_unstable();
        for (at, process) in alike().zip(sorted) {
            state.processes[at].clone_from(process);
        }
        state
    }
}

/// A successor that somebody may want.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wish {
    /// A process outside is admitted.
    Admit(ProcessNo),
    /// Everybody that has started again, or waits outside, is admitted as it now is.
    AdmitAll,
    /// A member that has started again is listed as it now is.
    Renew(ProcessNo),
    /// A member is gone.
    Remove(ProcessNo),
    /// A member leaves, and agrees.
    Leave(ProcessNo),
}

impl Wish {
    /// The view that `by` would propose: one that keeps a quorum of the view being left, those who
    /// leave counted as kept, and `by` itself unless it leaves.
    pub(crate) fn value(self, world: &World, state: &State, by: ProcessNo) -> Option<ViewNo> {
        let from = state.processes[usize::from(by)].acceptor?.view;
        let view = world.view(from);
        let all = view.members().len();
        let mut change = Change::default();
        let mut kept: Places = (0..all).filter_map(|place| u16::try_from(place).ok()).collect();
        let changed = |process: ProcessNo| {
            let now = state.processes[usize::from(process)].incarnation;
            world
                .listed(from, process)
                .is_none_or(|listed| listed < now)
                .then(|| member(process, now))
        };
        let place = |process| world.place(from, process).map(u16::from);
        match self {
            Self::Admit(process) if place(process).is_none() => change.put.extend(changed(process)),
            Self::Renew(process) if place(process).is_some() => change.put.extend(changed(process)),
            Self::AdmitAll => {
                let all = 0..ProcessNo::try_from(state.processes.len()).expect("few processes");
                change.put.extend(all.filter_map(changed));
            }
            Self::Remove(process) if process != by => {
                let gone = place(process)?;
                change.removed.insert(gone);
                kept = kept.iter().filter(|&place| place != gone).collect();
            }
            Self::Leave(process) => {
                change.removed.insert(place(process)?);
            }
            _ => return None,
        }
        let relaxed = [Flaw::LiveSetQuorum, Flaw::AnyHalf, Flaw::TieBreakerOfProposal];
        let relaxed = world.flaw.is_some_and(|flaw| relaxed.contains(&flaw));
        if change.is_nothing() || !(view.is_quorum_of_places(&kept) || relaxed) {
            return None;
        }
        world.successor(from, &change)
    }
}

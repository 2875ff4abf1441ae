use std::collections::HashSet;

use stateright::Representative;

use super::bounds::Fast;
use super::chain::Chain;
use super::facts::{Acceptor, ProcessNo};
use super::state::{Process, State, Wish};
use super::world::Call;

impl Chain {
    /// The states in which a model begins.
    pub(crate) fn starts(&self) -> Vec<State> {
        let process = |acceptor| Process {
            acceptor,
            incarnation: 1,
            trying: None,
            facts: Vec::new(),
            past: None,
        };
        let inside = (0..self.bounds.size).map(|_| process(Some(Acceptor::fresh(0))));
        let outside = (0..self.bounds.outside).map(|_| process(None));
        let state = State {
            processes: inside.chain(outside).collect(),
            installed: vec![0],
            starts: 0,
            restarts: 0,
            alike: self.alike(),
        };
        match self.bounds.fast {
            Fast::First(least) => self.vote_fast_first(state, least),
            Fast::AnyTime | Fast::Never => vec![state],
        }
    }

    /// See [`State::alike`]; not looked for where views are installed.
    fn alike(&self) -> u16 {
        let tie = self.world.view(0).tie_breaker_place();
        let tie = tie.filter(|_| self.bounds.size.is_multiple_of(2));
        let named = |process: ProcessNo| {
            self.bounds.wishes.iter().any(|wish| match wish {
                Wish::Remove(p) | Wish::Leave(p) | Wish::Renew(p) => *p == process,
                Wish::Admit(_) | Wish::AdmitAll => false,
            })
        };
        (0..self.bounds.size)
            .filter(|process| !self.bounds.install && Some(u16::from(*process)) != tie)
            .filter(|process| !self.bounds.starters.contains(process) && !named(*process))
            .fold(0, |alike, process| alike | 1 << process)
    }

    fn vote_fast_first(&self, state: State, least: usize) -> Vec<State> {
        let mut states = vec![state];
        for process in 0..self.bounds.size {
            let mut more = Vec::new();
            for state in &states {
                for value in self.values(state, process) {
                    let mut voted = state.clone();
                    if self.call(&mut voted, process, Call::VoteFast(value)).is_some() {
                        more.push(voted);
                    }
                }
            }
            states.extend(more);
            let mut seen = HashSet::new();
            states.retain(|state| seen.insert(state.representative()));
        }
        let most = |state: &State| {
            let ballots = state.ballots(0).into_iter().filter(|(ballot, _)| ballot.value == 1);
            ballots.map(|(_, voters)| voters.len()).sum::<usize>()
        };
        states.retain(|state| least == 0 || most(state) >= least);
        states
    }
}

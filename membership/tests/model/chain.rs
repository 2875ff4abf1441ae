use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, RwLock};

use lampyrid_membership::Flaw;
use stateright::{Model, Property, Representative};

use super::facts::{Acceptor, Fact, ProcessNo, Said, Trying, ViewNo};
use super::progress::Durable;
use super::state::{Process, State, Wish};
use super::world::{Call, World};

/// What bounds a model.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounds {
    /// Processes in the first view.
    pub(crate) size: u8,
    /// Processes outside of it, without any view.
    pub(crate) outside: u8,
    /// How many views may follow the first and be left again, less one: 1 is a single agreement.
    pub(crate) agreements: u64,
    pub(crate) starts: u8,
    pub(crate) restarts: u8,
    /// Who may start a round; all others are alike.
    pub(crate) starters: Vec<ProcessNo>,
    /// Who may start again.
    pub(crate) restarters: Vec<ProcessNo>,
    pub(crate) wishes: Vec<Wish>,
    /// Fast votes are given before all else. Nothing is lost by it: a fast vote comes before the
    /// first promise of its process, and what that process has heard by then moves nothing.
    pub(crate) fast_first: bool,
    /// Views are installed. If not, the model ends where a successor is decided.
    pub(crate) install: bool,
    /// The rule of what must be back for the cluster to heal is checked at each state.
    pub(crate) heals: bool,
    /// Only two successors of one view count as a failure.
    pub(crate) only_harm: bool,
    pub(crate) flaw: Option<Flaw>,
}

/// A step of one process. Messages are facts, each published by the one whom it is about, that
/// never vanish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    VoteFast(ProcessNo, ViewNo),
    ProposeFirst(ProcessNo, ViewNo),
    Start(ProcessNo, u8),
    Learn(ProcessNo, ProcessNo, Fact),
    Collect(ProcessNo, Vec<(ProcessNo, Fact)>, Option<ViewNo>),
    Restart(ProcessNo),
    Install(ProcessNo, ViewNo),
    AnswerPast(ProcessNo, ProcessNo, Fact),
}

/// Some processes, the views they agree on, and how far it is followed.
pub(crate) struct Chain {
    pub(crate) world: Arc<World>,
    pub(crate) bounds: Bounds,
    pub(crate) healed: RwLock<HashMap<Vec<Durable>, bool>>,
}

pub(crate) const ONE: &str = "one successor of each view";
pub(crate) const QUORUM: &str = "a decision has a quorum of durable votes in one rank";
pub(crate) const LIVED: &str = "nobody is listed at a life it has not begun";
pub(crate) const HEALS: &str = "it heals by itself once those are back who must be";
pub(crate) const DECIDES: &str = "a successor is decided";
pub(crate) const LAST: &str = "the last view of the bound is installed";

impl Chain {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let world = Arc::new(World::new(bounds.size, bounds.flaw));
        Self { world, bounds, healed: RwLock::default() }
    }

    fn ends(&self, view: ViewNo) -> bool {
        self.world.depth(view) >= self.bounds.agreements
    }

    fn seats(&self, state: &State, view: ViewNo) -> Vec<ProcessNo> {
        state.numbered().map(|(p, _)| p).filter(|&p| self.world.place(view, p).is_some()).collect()
    }

    fn values(&self, state: &State, by: ProcessNo) -> Vec<ViewNo> {
        let wishes = self.bounds.wishes.iter();
        let mut values: Vec<ViewNo> =
            wishes.filter_map(|wish| wish.value(&self.world, state, by)).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// The facts of others about one view.
    fn others(state: &State, process: ProcessNo, view: ViewNo) -> Vec<(ProcessNo, Fact)> {
        let others = state.numbered().filter(|(by, _)| *by != process);
        let facts = others.flat_map(|(by, it)| it.facts.iter().map(move |fact| (by, *fact)));
        facts.filter(|(_, fact)| fact.view == view).collect()
    }

    /// A proposer's own promise asks for promises, its own vote for votes; no other fact moves an
    /// acceptor.
    fn asks(&self, by: ProcessNo, fact: Fact) -> bool {
        self.world.place(fact.view, by) == Some(fact.said.rank().index)
    }

    fn agreement_actions(&self, state: &State, process: ProcessNo, actions: &mut Vec<Action>) {
        let it = &state.processes[usize::from(process)];
        let Some(acceptor) = it.acceptor.filter(|acceptor| !self.ends(acceptor.view)) else {
            return;
        };
        if self.world.place(acceptor.view, process).is_none() {
            return;
        }
        let values = self.values(state, process);
        if it.is_member(&self.world, process) {
            if !self.bounds.fast_first {
                actions.extend(values.iter().map(|&value| Action::VoteFast(process, value)));
            }
            if state.starts < self.bounds.starts && self.bounds.starters.contains(&process) {
                actions.extend(values.iter().map(|&value| Action::ProposeFirst(process, value)));
            }
        }
        let others = Self::others(state, process, acceptor.view);
        if state.starts < self.bounds.starts && self.bounds.starters.contains(&process) {
            actions.push(Action::Start(process, 0));
            let own = acceptor.promised.map_or(0, |rank| rank.round);
            let mut heard: Vec<u8> = others
                .iter()
                .filter(|(by, fact)| !self.asks(*by, *fact) && fact.said.rank().round > own)
                .map(|(_, fact)| fact.said.rank().round)
                .collect();
            heard.sort_unstable();
            heard.dedup();
            actions.extend(heard.into_iter().map(|round| Action::Start(process, round)));
        }
        let asks = others.iter().filter(|(by, fact)| self.asks(*by, *fact));
        actions.extend(asks.map(|&(by, fact)| Action::Learn(process, by, fact)));
        if it.trying.is_some() {
            let promises: Vec<(ProcessNo, Fact)> = others
                .into_iter()
                .filter(|(_, fact)| {
                    matches!(fact.said, Said::Promise { rank, .. } if Some(rank) == acceptor.promised)
                })
                .collect();
            for some in 0_u32..1 << promises.len() {
                let chosen = (0..).zip(&promises).filter(|(at, _)| some >> at & 1 == 1);
                let chosen: Vec<_> = chosen.map(|(_, promise)| *promise).collect();
                // Without a wish it may still be forced.
                let wishes = values.iter().copied().map(Some).chain([None]);
                actions.extend(wishes.map(|wish| Action::Collect(process, chosen.clone(), wish)));
            }
        }
    }

    fn install_actions(&self, state: &State, process: ProcessNo, actions: &mut Vec<Action>) {
        let it = &state.processes[usize::from(process)];
        let mut views = match it.acceptor {
            Some(acceptor) => state.decided(&self.world, acceptor.view),
            None => Vec::new(),
        };
        views.extend(&state.installed);
        views.sort_unstable();
        views.dedup();
        let own = it.acceptor.map(|acceptor| self.world.depth(acceptor.view));
        let newer = |view: &ViewNo| own.is_none_or(|own| own < self.world.depth(*view));
        // Whoever has none is only shown a view until one lists it.
        let shown = |view: &ViewNo| own.is_some() || self.world.listed(*view, process).is_some();
        let views = views.into_iter().filter(|view| newer(view) && shown(view));
        actions.extend(views.map(|view| Action::Install(process, view)));
    }

    /// Calls the core of one process, keeps what is durable and publishes it.
    fn call(&self, state: &mut State, process: ProcessNo, call: Call) -> Option<bool> {
        let it = &mut state.processes[usize::from(process)];
        let before = it.acceptor?;
        let again = !it.is_member(&self.world, process);
        let outcome = self.world.call(process, again, &before, call.clone())?;
        it.publish(&outcome.facts);
        it.acceptor = Some(outcome.acceptor);
        if let Call::Start(floor) = call {
            it.trying = outcome.tries.then_some(Trying { before, floor });
        } else if outcome.acceptor.promised != before.promised || matches!(call, Call::Collect(..)) {
            it.trying = None;
        }
        Some(outcome.chose)
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

    fn vote_fast_first(&self, state: State) -> Vec<State> {
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
        states
    }
}

/// Installs a view: the old epoch is closed with it.
pub(crate) fn install(world: &World, it: &mut Process, process: ProcessNo, view: ViewNo) {
    let before = it.acceptor.map(|acceptor| acceptor.view);
    let skipped = before.is_none_or(|before| world.depth(before) + 1 < world.depth(view));
    if world.listed(view, process).is_none() && (it.is_member(world, process) || skipped) {
        it.incarnation += 1;
    }
    it.acceptor = Some(Acceptor::fresh(view));
    it.trying = None;
    if world.flaw == Some(Flaw::AnswersPastEpoch) {
        it.past = before;
    }
}

impl Model for Chain {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
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
        if self.bounds.fast_first { self.vote_fast_first(state) } else { vec![state] }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (process, it) in state.numbered() {
            self.agreement_actions(state, process, actions);
            if self.bounds.install {
                self.install_actions(state, process, actions);
            }
            let restarts = it.acceptor.is_some() && self.bounds.restarters.contains(&process);
            if state.restarts < self.bounds.restarts && restarts {
                actions.push(Action::Restart(process));
            }
            if let Some(past) = it.past {
                let others = Self::others(state, process, past).into_iter();
                let asks = others.filter(|(by, fact)| self.asks(*by, *fact));
                actions.extend(asks.map(|(by, fact)| Action::AnswerPast(process, by, fact)));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::VoteFast(process, value) => {
                self.call(&mut state, process, Call::VoteFast(value))?;
            }
            Action::ProposeFirst(process, value) => {
                self.call(&mut state, process, Call::ProposeFirst(value))?;
                state.starts += 1;
            }
            Action::Start(process, floor) => {
                self.call(&mut state, process, Call::Start(floor))?;
                state.starts += 1;
            }
            Action::Learn(process, by, fact) => {
                self.call(&mut state, process, Call::Learn(by, fact))?;
            }
            Action::Collect(process, facts, wish) => {
                let trying = last.processes[usize::from(process)].trying?;
                let call = Call::Collect(trying, facts, wish);
                let chose = self.call(&mut state, process, call)?;
                // Where the core does not choose, one of these actions is enough.
                if !chose && wish.is_some() {
                    return None;
                }
            }
            Action::Restart(process) => {
                state.restarts += 1;
                let it = &mut state.processes[usize::from(process)];
                it.incarnation += 1;
                it.trying = None;
                match self.bounds.flaw {
                    Some(Flaw::ForgetfulAcceptor) => {
                        it.acceptor = it.acceptor.map(|acceptor| Acceptor::fresh(acceptor.view));
                    }
                    Some(Flaw::WipedDiskKeepsId) => it.acceptor = None,
                    _ => {}
                }
                self.call(&mut state, process, Call::Return);
            }
            Action::Install(process, view) => {
                let it = &mut state.processes[usize::from(process)];
                if self.world.listed(view, process).is_some_and(|listed| listed > it.incarnation) {
                    return None;
                }
                install(&self.world, it, process, view);
                if let Err(at) = state.installed.binary_search(&view) {
                    state.installed.insert(at, view);
                }
            }
            Action::AnswerPast(process, by, fact) => {
                let fresh = Acceptor::fresh(fact.view);
                let outcome = self.world.call(process, true, &fresh, Call::Learn(by, fact))?;
                state.processes[usize::from(process)].publish(&outcome.facts);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let one = Property::always(ONE, Self::is_one);
        if self.bounds.only_harm {
            return vec![one];
        }
        let mut properties = vec![
            one,
            Property::always(QUORUM, Self::has_quorum),
            Property::always(LIVED, |model: &Self, state: &State| {
                state.processes.iter().filter_map(|it| it.acceptor).all(|acceptor| {
                    state.numbered().all(|(process, it)| {
                        let listed = model.world.listed(acceptor.view, process);
                        listed.is_none_or(|listed| listed <= it.incarnation)
                    })
                })
            }),
            Property::sometimes(DECIDES, |model: &Self, state: &State| {
                state.left().iter().any(|&view| !state.decided(&model.world, view).is_empty())
            }),
        ];
        if self.bounds.install {
            properties.push(Property::sometimes(LAST, |model: &Self, state: &State| {
                state.installed.iter().any(|&view| model.ends(view))
            }));
        }
        if self.bounds.heals {
            properties.push(Property::always(HEALS, Self::heals));
        }
        properties
    }
}

impl Chain {
    /// Of each epoch there is one view, decided or installed.
    fn is_one(&self, state: &State) -> bool {
        let mut of_epoch: BTreeMap<u64, ViewNo> = BTreeMap::new();
        let decided = state.left().into_iter().flat_map(|view| state.decided(&self.world, view));
        let mut views = state.installed.iter().copied().chain(decided);
        views.all(|view| *of_epoch.entry(self.world.depth(view)).or_insert(view) == view)
    }

    /// Counted here anew: distinct processes of the view being left, by the published votes.
    fn has_quorum(&self, state: &State) -> bool {
        let left = state.left();
        let decided: Vec<ViewNo> =
            left.iter().flat_map(|&view| state.decided(&self.world, view)).collect();
        let mut views = state.installed.iter().filter(|&&view| view != 0).chain(&decided);
        views.all(|&next| {
            left.iter().any(|&view| {
                let size = self.seats(state, view).len();
                let tie = self.world.view(view).tie_breaker_place();
                state.ballots(view).iter().filter(|(ballot, _)| ballot.value == next).any(
                    |(ballot, voters)| {
                        let mut seats: Vec<u16> = voters
                            .iter()
                            .filter_map(|&(by, _)| self.world.place(view, by))
                            .map(u16::from)
                            .collect();
                        seats.dedup();
                        let fast = ballot.rank.round == 0;
                        let half = tie.is_some_and(|tie| seats.contains(&tie));
                        (fast && seats.len() >= size - (size - 1) / 4)
                            || (!fast && 2 * seats.len() > size)
                            || (!fast && 2 * seats.len() == size && half)
                    },
                )
            })
        })
    }
}

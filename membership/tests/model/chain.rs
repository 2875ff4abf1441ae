use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use lampyrid_membership::Flaw;
use stateright::{Model, Property};

use super::bounds::{Action, Bounds, Fast};
use super::facts::{Acceptor, Fact, ProcessNo, Said, Trying, ViewNo};
use super::progress::Durable;
use super::state::{Process, State};
use super::world::{Call, World};

/// Some processes, the views they agree on, and how far it is followed.
pub(crate) struct Chain {
    pub(crate) world: Arc<World>,
    pub(crate) bounds: Bounds,
    pub(crate) healed: RwLock<HashMap<Vec<Durable>, bool>>,
}

impl Chain {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let world = Arc::new(World::new(bounds.size, bounds.flaw));
        Self { world, bounds, healed: RwLock::default() }
    }

    pub(crate) fn ends(&self, view: ViewNo) -> bool {
        self.world.depth(view) >= self.bounds.agreements
    }

    pub(crate) fn seats(&self, state: &State, view: ViewNo) -> Vec<ProcessNo> {
        state.numbered().map(|(p, _)| p).filter(|&p| self.world.place(view, p).is_some()).collect()
    }

    /// What a process may want, in its view.
    pub(crate) fn values(&self, state: &State, by: ProcessNo) -> Vec<ViewNo> {
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
            if self.bounds.fast == Fast::AnyTime {
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
    pub(crate) fn call(&self, state: &mut State, process: ProcessNo, call: Call) -> Option<bool> {
        let it = &mut state.processes[usize::from(process)];
        let before = it.acceptor?;
        let again = !it.is_member(&self.world, process);
        let outcome = self.world.call(process, again, &before, call.clone())?;
        it.publish(&outcome.facts);
        it.acceptor = Some(outcome.acceptor);
        if let Call::Start(floor) = call {
            it.trying = outcome.tries.then_some(Trying { before, floor });
        } else if outcome.acceptor.promised != before.promised || matches!(call, Call::Collect(..))
        {
            it.trying = None;
        }
        Some(outcome.chose)
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
        self.starts()
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
        self.promises()
    }
}

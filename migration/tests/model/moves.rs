//! The model: what each process may do at any time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use lampyrid_migration::testkit::TIMELESS;
use lampyrid_migration::{
    CallId, Core, CoreConfig, Delivery, Effect, Expected, Flaw, Image, Input, Limits, Membership,
    MigrateRequest, NewEntities, Reason, Reply, Request, Step, Write,
};
use lampyrid_wire::{BootNonce, Incarnation, Peer};
use stateright::{Model, Property};

use super::bounds::{Action, Bounds, Used};
use super::names::{
    BUBBLES, Names, ProcessNo, bubble_id, entity_id, process_id, process_no, saga_seed, stage_seed,
    term, view_no,
};
use super::node::{Key, Node, Part};
use super::packet::{Packet, Word, state as bytes};
use super::state::{Place, State, Truth, observe};

/// What healing depends on.
pub(crate) type Known = (Vec<Key>, Vec<Truth>);

/// Some processes that move entities, and how far it is followed.
pub(crate) struct Moves {
    pub(crate) bounds: Bounds,
    pub(crate) names: Names,
    /// Which states heal, by what is on the processes.
    pub(crate) healed: Mutex<HashMap<Known, Result<(), String>>>,
}

/// What came of a call of a core.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) packets: Vec<Packet>,
    pub(crate) writes: Vec<Write>,
    pub(crate) reply: Option<Reply>,
    pub(crate) alarm: bool,
}

pub(crate) fn config(process: ProcessNo, flaw: Option<Flaw>) -> CoreConfig {
    let limits = Limits::default();
    CoreConfig {
        me: process_id(process),
        limits,
        seed: [0; 32],
        host_store: false,
        hooks: false,
        flaw,
    }
}

impl Moves {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let names = Names::new(bounds.size);
        Self { bounds, names, healed: Mutex::default() }
    }

    pub(crate) fn membership(&self, view: u8, process: ProcessNo) -> Membership {
        let lives = (0..self.bounds.size).map(|it| (it, self.bounds.life(view, it)));
        let members = lives.filter(|(_, life)| *life > 0);
        let members = members.map(|(it, life)| (process_id(it), Incarnation(u64::from(life))));
        let active = self.bounds.life(view, process) > 0;
        Membership { active, term: term(view), members: members.collect() }
    }

    /// Calls a core, and performs what it wants.
    pub(crate) fn call(
        &self,
        process: ProcessNo,
        core: &mut Core,
        call: impl FnOnce(&mut Core, &mut Step),
    ) -> Outcome {
        let mut step = Step::default();
        call(core, &mut step);
        let mut outcome = Outcome::default();
        let records = step.records.into_iter();
        outcome.writes.extend(records.flat_map(|record| record.writes));
        let mut effects = step.effects;
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                match effect {
                    Effect::Send { to, message, term, report } => {
                        let Some(term) = term.or(core.term()) else { continue };
                        let (to, view) = (process_no(to), view_no(term));
                        let packets = Packet::of(&self.names, process, to, view, message);
                        outcome.packets.extend(packets);
                        if let Some(part) = report {
                            let mut next = Step::default();
                            core.step(TIMELESS, Input::Sent(part, Delivery::Sent), &mut next);
                            let records = next.records.into_iter();
                            outcome.writes.extend(records.flat_map(|record| record.writes));
                            effects.extend(next.effects);
                        }
                    }
                    Effect::Reply(_, reply) => outcome.reply = Some(reply),
                    Effect::Alarm(..) => outcome.alarm = true,
                    _ => {}
                }
            }
        }
        core.forget_time();
        outcome
    }

    fn recover(&self, process: ProcessNo, view: u8, image: &Image) -> (Core, Outcome) {
        let mut step = Step::default();
        let config = config(process, self.bounds.flaw);
        let mut core = Core::recover(config, image.clone(), TIMELESS, &mut step);
        let membership = self.membership(view, process);
        let mut outcome = self.call(process, &mut core, |core, out| {
            core.step(TIMELESS, Input::View(membership), out);
        });
        let records = step.records.into_iter();
        let writes = records.flat_map(|record| record.writes);
        outcome.writes = writes.chain(std::mem::take(&mut outcome.writes)).collect();
        (core, outcome)
    }

    /// One step of a process in that state.
    fn step(
        &self,
        state: &mut State,
        process: ProcessNo,
        seed: [u8; 32],
        call: impl FnOnce(&mut Core, &mut Step),
    ) -> Outcome {
        let mut core = (*state.node(process).core).clone();
        core.mint_from(seed);
        let outcome = self.call(process, &mut core, call);
        let view = state.node(process).key.view;
        self.put_back(state, process, core, view, &outcome);
        outcome
    }

    /// A process is as it is after a call: its disk, its core, and what it sent.
    fn put_back(
        &self,
        state: &mut State,
        process: ProcessNo,
        core: Core,
        view: u8,
        outcome: &Outcome,
    ) {
        let mut disk = Arc::clone(&state.node(process).disk);
        for write in &outcome.writes {
            Arc::make_mut(&mut disk).apply(write);
        }
        let lossy = self.bounds.flaw == Some(Flaw::NoRecordBeforeRemoval);
        if !lossy && *disk != *core.image() {
            state.noticed = Some("a core's records are not its rows");
        }
        state.nodes[usize::from(process)] = Node::new(&self.names, core, disk, view);
        if let Err(what) = observe(&state.nodes, &mut state.truth) {
            state.noticed = Some(what);
        }
        self.send(state, outcome);
    }

    fn send(&self, state: &mut State, outcome: &Outcome) {
        for packet in &outcome.packets {
            if state.node(packet.to).key.view <= packet.view {
                state.net.insert(packet.clone());
            }
        }
        if outcome.alarm {
            state.noticed = Some("a destination does not know what was decided");
        }
    }

    fn input(&self, state: &mut State, process: ProcessNo, input: Input) -> Outcome {
        let seed = stage_seed(state.free_stage(process));
        self.step(state, process, seed, |core, out| core.step(TIMELESS, input, out))
    }

    fn is_active(&self, state: &State, process: ProcessNo) -> bool {
        self.bounds.life(state.node(process).key.view, process) > 0
    }

    /// Entities of a process that nothing undecided has.
    fn free(state: &State, process: ProcessNo) -> u8 {
        let node = state.node(process);
        let free = node.key.rows.iter().filter(|row| !node.core.is_claimed(entity_id(row.entity)));
        free.fold(0, |mask, row| mask | 1 << row.entity)
    }

    fn work(&self, state: &State, process: ProcessNo, actions: &mut Vec<Action>) {
        let free = Self::free(state, process);
        let ids = (0..self.bounds.entities).filter(|entity| free >> entity & 1 == 1);
        if state.used.writes < self.bounds.writes {
            actions.extend(ids.clone().map(|entity| Action::Put(process, entity)));
        }
        if state.used.sagas == self.bounds.sagas {
            return;
        }
        let mut masks: Vec<u8> = ids.map(|entity| 1 << entity).collect();
        if self.bounds.batches && masks.len() > 1 {
            masks.push(free);
        }
        let view = state.node(process).key.view;
        for mask in masks {
            for to in (0..self.bounds.size).filter(|&to| self.bounds.life(view, to) > 0) {
                if to != process {
                    actions.push(Action::Move(process, mask, to * BUBBLES));
                } else if self.bounds.local {
                    let here = |bubble| move |row: &&super::node::Row| row.bubble == bubble;
                    let rows = &state.node(process).key.rows;
                    let first = rows.iter().find(here(to * BUBBLES)).is_some();
                    let other = to * BUBBLES + u8::from(first);
                    actions.push(Action::Move(process, mask, other));
                }
            }
        }
    }

    /// Nothing comes of a time limit once it is decided, but with a flaw.
    fn may_tire(&self, node: &Node, saga: u8) -> bool {
        let tires = [Flaw::TimeoutReAdds, Flaw::TimeoutRestoresNothing];
        let part = node.key.parts.iter().find(|(of, _)| *of == saga);
        let undecided = matches!(part, Some((_, Part::Prepared { .. })));
        undecided || self.bounds.flaw.is_some_and(|flaw| tires.contains(&flaw))
    }

    fn can_arrive(&self, state: &State, packet: &Packet) -> bool {
        state.node(packet.to).key.view == packet.view
            && self.is_active(state, packet.to)
            && self.bounds.life(packet.view, packet.from) > 0
    }

    fn is_staged(state: &State, packet: &Packet) -> bool {
        state.node(packet.to).key.stagings.iter().any(|staging| staging.saga == packet.saga)
    }

    fn arrive(&self, state: &mut State, packet: &Packet) {
        let incarnation = Incarnation(u64::from(self.bounds.life(packet.view, packet.from)));
        let nonce = BootNonce(incarnation.0);
        let from = Peer { process: process_id(packet.from), incarnation, nonce };
        let input = Input::Received { from, term: term(packet.view), message: packet.message() };
        self.input(state, packet.to, input);
    }

    /// Starts again from its disk, in the same view and life.
    fn restart(&self, state: &mut State, process: ProcessNo) {
        let image = Arc::clone(&state.node(process).disk);
        state.used.restarts += 1;
        let view = state.node(process).key.view;
        let (core, outcome) = self.recover(process, view, &image);
        self.put_back(state, process, core, view, &outcome);
    }

    fn act(&self, state: &mut State, action: &Action) {
        match action {
            Action::Move(process, mask, to) => self.act_move(state, *process, *mask, *to),
            Action::Put(process, entity) => {
                state.used.writes += 1;
                let version = state.truth[usize::from(*entity)].acknowledged + 1;
                let request = Request::Put(entity_id(*entity), bytes(version));
                let outcome = self.input(state, *process, Input::Request(CallId(1), request));
                if let Some(Reply::Entity(Ok(_))) = outcome.reply {
                    state.truth[usize::from(*entity)].acknowledged = version;
                } else {
                    state.noticed = Some("an active entity takes no write");
                }
            }
            Action::Deliver(packet) => {
                if self.bounds.once {
                    state.net.remove(packet);
                }
                let staged = Self::is_staged(state, packet);
                self.arrive(state, packet);
                if !staged && Self::is_staged(state, packet) {
                    let bit = 1 << packet.saga;
                    state.used.restagings += u8::from(state.used.staged & bit > 0);
                    state.used.staged |= bit;
                }
            }
            Action::Timeout(process, saga) => {
                state.used.timeouts += 1;
                let part = Names::part(*process, *saga);
                self.step(state, *process, [3; 32], |core, out| core.ring_part(part, true, out));
            }
            Action::Repeat(process, saga) => {
                let part = Names::part(*process, *saga);
                self.step(state, *process, [3; 32], |core, out| core.ring_part(part, false, out));
            }
            Action::Ask(process, source, saga) => {
                let part = Names::part(*source, *saga);
                self.step(state, *process, [3; 32], |core, out| core.ring_staging(part, out));
            }
            Action::Compact(process) => {
                state.used.compactions += 1;
                self.step(state, *process, [3; 32], Core::ring_retention);
            }
            Action::Restart(process) => {
                self.restart(state, *process);
            }
            Action::Install(process, view) => {
                state.net.retain(|packet| packet.to != *process || packet.view >= *view);
                let mut core = (*state.node(*process).core).clone();
                let membership = self.membership(*view, *process);
                let outcome = self.call(*process, &mut core, |core, out| {
                    core.step(TIMELESS, Input::View(membership), out);
                });
                self.put_back(state, *process, core, *view, &outcome);
            }
            Action::SendAndCrash(action) => {
                let before = state.clone();
                self.act(state, action);
                let process = process_of(action);
                let (net, used) = (std::mem::take(&mut state.net), state.used);
                *state = State { net, used, ..before };
                self.restart(state, process);
            }
            Action::AnswerBlindly(packet) => {
                let (to, from) = (packet.from, packet.to);
                state.net.insert(Packet { to, from, word: Word::Unknown, ..packet.clone() });
                self.restart(state, from);
            }
        }
    }

    fn act_move(&self, state: &mut State, process: ProcessNo, mask: u8, to: u8) {
        let saga = state.used.sagas;
        state.used.sagas += 1;
        let ids = (0..self.bounds.entities).filter(|entity| mask >> entity & 1 == 1);
        let request = MigrateRequest {
            entities: ids.map(|id| Expected { id: entity_id(id), epoch: None }).collect(),
            to: bubble_id(to),
            idempotency_key: None,
        };
        let host = Some(process_id(to / BUBBLES));
        let input = Input::Request(CallId(1), Request::Migrate { request, host });
        let outcome = self.step(state, process, saga_seed(saga), |core, out| {
            core.step(TIMELESS, input, out);
        });
        let Some(Reply::Saga(Ok(id))) = outcome.reply else {
            state.noticed = Some("a request that could be met was refused");
            return;
        };
        let row = state.node(process).core.image().sagas.get(&id);
        let locked = |reason: &Reason| matches!(reason, Reason::AlreadyMoving { .. });
        if row.is_some_and(|row| row.refused.iter().any(|(_, reason)| locked(reason))) {
            state.noticed = Some("an entity is locked for nothing");
        }
    }
}

/// Whose step it is.
fn process_of(action: &Action) -> ProcessNo {
    match action {
        Action::Deliver(packet) | Action::AnswerBlindly(packet) => packet.to,
        Action::Move(process, ..)
        | Action::Put(process, _)
        | Action::Timeout(process, _)
        | Action::Repeat(process, _)
        | Action::Ask(process, ..)
        | Action::Compact(process)
        | Action::Restart(process)
        | Action::Install(process, _) => *process,
        Action::SendAndCrash(action) => process_of(action),
    }
}

impl Model for Moves {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = |process: ProcessNo| {
            let (mut core, _) = self.recover(process, 0, &Image::default());
            let mut ask = |request| {
                self.call(process, &mut core, |core, out| {
                    core.step(TIMELESS, Input::Request(CallId(1), request), out);
                });
            };
            for bubble in 0..BUBBLES {
                ask(Request::CreateBubble(Some(bubble_id(process * BUBBLES + bubble))));
            }
            for entity in (0..self.bounds.entities).filter(|_| process == 0) {
                let new = NewEntities::One(Some(entity_id(entity)));
                ask(Request::Create { bubble: bubble_id(0), new, state: bytes(0) });
            }
            let disk = Arc::new(core.image().clone());
            Node::new(&self.names, core, disk, 0)
        };
        vec![State {
            nodes: (0..self.bounds.size).map(node).collect(),
            net: BTreeSet::new(),
            truth: vec![Truth::default(); usize::from(self.bounds.entities)],
            used: Used::default(),
            noticed: None,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Bounds { flaw, .. } = self.bounds;
        for packet in state.net.iter().filter(|packet| self.can_arrive(state, packet)) {
            actions.push(Action::Deliver(packet.clone()));
            let blindly = flaw == Some(Flaw::UnknownBeforeReplay) && packet.word == Word::Doubt;
            if blindly && state.used.restarts < self.bounds.restarts {
                actions.push(Action::AnswerBlindly(packet.clone()));
            }
        }
        for (process, node) in state.numbered() {
            if self.is_active(state, process) {
                self.work(state, process, actions);
            }
            for part in node.core.open_parts() {
                let saga = self.names.saga_no(part);
                if state.used.timeouts < self.bounds.timeouts && self.may_tire(node, saga) {
                    actions.push(Action::Timeout(process, saga));
                }
                if self.bounds.once {
                    actions.push(Action::Repeat(process, saga));
                }
            }
            for part in node.core.open_stagings() {
                let source = process_no(part.source);
                actions.push(Action::Ask(process, source, self.names.saga_no(part)));
            }
            let forgets = node.key.activations.len() + node.key.parts.len() > 0;
            if forgets && state.used.compactions < self.bounds.compactions {
                actions.push(Action::Compact(process));
            }
            if state.used.restarts < self.bounds.restarts {
                actions.push(Action::Restart(process));
            }
            let views = node.key.view + 1..=self.bounds.last_view();
            actions.extend(views.map(|view| Action::Install(process, view)));
        }
        if flaw == Some(Flaw::SendBeforeSync) && state.used.restarts < self.bounds.restarts {
            let whole = actions.clone().into_iter();
            let sends = whole.filter(|action| !matches!(action, Action::Restart(_)));
            actions.extend(sends.map(|action| Action::SendAndCrash(Box::new(action))));
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        // Where something is broken, nothing is followed any further.
        if last.noticed.is_some() {
            return None;
        }
        let mut state = last.clone();
        self.act(&mut state, &action);
        let within = state.used.restagings <= self.bounds.restagings;
        (within && state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        self.promises()
    }
}

/// True if all that may be asked for was moved as often as is allowed.
pub(crate) fn is_through(model: &Moves, state: &State) -> bool {
    let moves: u8 = state.truth.iter().map(|truth| truth.epoch).sum();
    moves >= model.bounds.sagas
        && (0..model.bounds.entities).all(|id| matches!(state.place(id), Place::Active(..)))
}

impl Moves {
    pub(crate) fn heals(&self, state: &State) -> bool {
        let keys = state.nodes.iter().map(|node| node.key.clone()).collect();
        let key: Known = (keys, state.truth.clone());
        let known = self.healed.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let healed = known.unwrap_or_else(|| {
            let healed = self.heal(state);
            let mut known = self.healed.lock().unwrap_or_else(PoisonError::into_inner);
            known.insert(key, healed.clone());
            healed
        });
        if let Err(what) = &healed {
            eprintln!("does not heal: {what}");
        }
        healed.is_ok()
    }
}

//! A run without faults from any state: everything must come to its end, even if a third process
//! stays dead.

use std::collections::BTreeMap;
use std::sync::Arc;

use lampyrid_migration::testkit::TIMELESS;
use lampyrid_migration::{
    CallId, Core, Expected, Input, Membership, Message, MigrateRequest, PartPhase, Reply, Request,
    Step,
};
use lampyrid_wire::{BootNonce, BubbleId, Incarnation, Peer, ProcessId, Term};

use super::moves::{Moves, config};
use super::names::{BUBBLES, ProcessNo, bubble_id, entity_id, entity_no, process_id, term};
use super::state::State;

/// Rounds that are enough for everything.
const ROUNDS: usize = 60;

/// Processes that live on, without faults.
struct Run<'a> {
    model: &'a Moves,
    view: Membership,
    /// With their lives.
    cores: BTreeMap<ProcessNo, (Core, u64)>,
    /// Who stays dead, with its disk.
    dead: Option<(ProcessNo, Arc<Core>)>,
    net: Vec<(Peer, ProcessId, Term, Message)>,
    minted: u16,
    reply: Option<Reply>,
}

impl Moves {
    /// From that state on, with all that is on its way lost: as the processes are, and after a loss
    /// of power; with everybody, and with one of three dead.
    pub(crate) fn heal(&self, state: &State) -> Result<(), String> {
        let one_dead = (0..self.bounds.size).filter(|_| self.bounds.size > 2).map(Some);
        for dead in [None].into_iter().chain(one_dead) {
            for power_lost in [false, true] {
                let told = |what| format!("dead {dead:?}, power lost {power_lost}: {what}");
                Run::new(self, state, dead, power_lost).go(state).map_err(told)?;
            }
        }
        Ok(())
    }
}

impl<'a> Run<'a> {
    fn new(model: &'a Moves, state: &State, dead: Option<ProcessNo>, power_lost: bool) -> Self {
        let last = model.bounds.last_view();
        let lives = |process| (0..=last).map(move |view| model.bounds.life(view, process)).max();
        let mut cores = BTreeMap::new();
        for (process, node) in state.numbered().filter(|(process, _)| Some(*process) != dead) {
            let mut life = u64::from(model.bounds.life(node.key.view, process));
            let mut core = (*node.core).clone();
            if power_lost || life == 0 {
                life = u64::from(lives(process).unwrap_or_default()) + 1;
            }
            if power_lost {
                let image = core.image().clone();
                let config = config(process, model.bounds.flaw);
                core = Core::recover(config, image, TIMELESS, &mut Step::default());
            }
            cores.insert(process, (core, life));
        }
        let members = cores.iter();
        let members =
            members.map(|(process, (_, life))| (process_id(*process), Incarnation(*life)));
        let view = Membership { active: true, term: term(last + 1), members: members.collect() };
        let dead = dead.map(|dead| (dead, Arc::clone(&state.node(dead).core)));
        Self { model, view, cores, dead, net: Vec::new(), minted: 0, reply: None }
    }

    fn step(&mut self, process: ProcessNo, call: impl FnOnce(&mut Core, &mut Step)) {
        let Some((core, life)) = self.cores.get_mut(&process) else { return };
        // Numbers that no model gives.
        self.minted += 1;
        let mut seed = [9; 32];
        seed[0] = process;
        seed[1..3].copy_from_slice(&self.minted.to_be_bytes());
        core.mint_from(seed);
        let mut step = Step::default();
        call(core, &mut step);
        let from = Peer {
            process: process_id(process),
            incarnation: Incarnation(*life),
            nonce: BootNonce(*life),
        };
        for effect in step.effects {
            match effect {
                lampyrid_migration::Effect::Send { to, message, term, .. } => {
                    self.net.push((from, to, term.unwrap_or(self.view.term), message));
                }
                lampyrid_migration::Effect::Reply(_, reply) => self.reply = Some(reply),
                _ => {}
            }
        }
        core.forget_time();
    }

    /// Delivers everything and rings every timer until that changes nothing.
    fn quiesce(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS {
            while !self.net.is_empty() {
                for (from, to, term, message) in std::mem::take(&mut self.net) {
                    let to = super::names::process_no(to);
                    let input = Input::Received { from, term, message };
                    self.step(to, |core, out| core.step(TIMELESS, input, out));
                }
            }
            if self.cores.values().all(|(core, _)| core.deadline().is_none()) {
                return Ok(());
            }
            let processes: Vec<ProcessNo> = self.cores.keys().copied().collect();
            for process in processes {
                let Some((core, _)) = self.cores.get(&process) else { continue };
                let (parts, stagings) = (core.open_parts(), core.open_stagings());
                for part in parts {
                    self.step(process, |core, out| core.ring_part(part, false, out));
                }
                for part in stagings {
                    self.step(process, |core, out| core.ring_staging(part, out));
                }
            }
        }
        Err("it never comes to its end".to_owned())
    }

    fn go(&mut self, state: &State) -> Result<(), String> {
        let processes: Vec<ProcessNo> = self.cores.keys().copied().collect();
        for &process in &processes {
            let view = self.view.clone();
            self.step(process, |core, out| core.step(TIMELESS, Input::View(view), out));
        }
        self.quiesce()?;
        self.is_over()?;
        self.is_sound(state)?;
        // Everything that somebody who lives has can be moved on, and back.
        for _ in 0..2 {
            for (place, &process) in processes.iter().enumerate() {
                let next = processes[(place + 1) % processes.len()];
                self.probe(process, next, bubble_id(next * BUBBLES))?;
            }
        }
        self.is_over()?;
        self.is_sound(state)
    }

    fn probe(&mut self, process: ProcessNo, next: ProcessNo, to: BubbleId) -> Result<(), String> {
        let rows = self.cores[&process].0.image().entities.clone();
        if rows.is_empty() {
            return Ok(());
        }
        let entities = rows.keys().map(|&id| Expected { id, epoch: None }).collect();
        let request = MigrateRequest { entities, to, idempotency_key: None };
        let request = Request::Migrate { request, host: Some(process_id(next)) };
        self.step(process, |core, out| {
            core.step(TIMELESS, Input::Request(CallId(1), request), out);
        });
        self.quiesce()?;
        for (id, before) in rows {
            let after = self.cores[&next].0.image().entities.get(&id);
            if after.is_none_or(|after| after.epoch != before.epoch.next()) {
                let id = entity_no(id);
                return Err(format!("entity {id} cannot be moved from {process}: {after:?}"));
            }
        }
        Ok(())
    }

    /// Nothing is left open that does not wait for who is dead.
    fn is_over(&self) -> Result<(), String> {
        let dead = self.dead.as_ref().map(|(dead, _)| process_id(*dead));
        for (process, (core, _)) in &self.cores {
            core.check_invariants().map_err(|what| format!("process {process}: {what}"))?;
            if core.audit().frozen > 0 {
                return Err(format!("process {process} has something frozen"));
            }
            let image = core.image();
            if let Some(part) = image.stagings.keys().find(|part| Some(part.source) != dead) {
                return Err(format!("process {process} still has {part} staged"));
            }
            let open = image.parts.iter().find(|(_, row)| match row.phase {
                PartPhase::Prepared => true,
                PartPhase::Committed { .. } => Some(row.destination) != dead,
                _ => false,
            });
            if let Some((part, _)) = open {
                return Err(format!("process {process}: {part} never ends"));
            }
        }
        Ok(())
    }

    /// Every entity is somewhere once, or was decided to go to or from who is dead; and nothing
    /// that was acknowledged is lost.
    fn is_sound(&self, state: &State) -> Result<(), String> {
        let living = self.cores.values().map(|(core, _)| core.image());
        let images: Vec<_> = living.chain(self.dead.iter().map(|(_, core)| core.image())).collect();
        for (entity, truth) in (0..self.model.bounds.entities).zip(&state.truth) {
            let id = entity_id(entity);
            let rows: Vec<_> = images.iter().filter_map(|image| image.entities.get(&id)).collect();
            let states = match rows[..] {
                [row] => vec![row.state.clone()],
                [] => {
                    let parts = images.iter().flat_map(|image| image.parts.values());
                    let copies = parts.flat_map(|row| match &row.phase {
                        PartPhase::Committed { snapshots, .. } => snapshots.as_slice(),
                        _ => &[],
                    });
                    let copies = copies.filter(|copy| copy.id == id);
                    copies.map(|copy| Some(copy.state.clone())).collect()
                }
                _ => return Err(format!("entity {entity} is active twice")),
            };
            let version = states.into_iter().flatten().map(|state| state[0]).max();
            if version.is_none_or(|version| version < truth.acknowledged) {
                return Err(format!("entity {entity} is lost, or what was written to it"));
            }
        }
        Ok(())
    }
}

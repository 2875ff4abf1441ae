use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use lampyrid_wire::{EntityId, ProcessId};

use super::Core;
use super::accounts::Load;
use super::decide::moved;
use super::flight::{Flight, Freezing};
use super::io::{Effect, Step, StoreCall};
use super::requests::at_most;
use super::saga::{Movable, Queued};
use super::timers::Timer;
use crate::limits::PART_BYTES;
use crate::row::{PartEntity, PartPhase, PartRow};
use crate::{Attempt, EntityRow, Message, PartId, Phase, Reason, RecordKind, Snapshot, Write};

impl Core {
    /// Looks again at the entities of a part (they were not frozen while it was queued), freezes
    /// them and goes on to PREPARE.
    pub(crate) fn begin(&mut self, destination: ProcessId, queued: &Queued, out: &mut Step) {
        let part = queued.part;
        let mut entities = Vec::with_capacity(queued.entities.len());
        let mut refused = Vec::new();
        // It may be hosted here no longer: the host's hook took its time.
        let gone =
            destination == self.config.me && !self.image.bubbles.contains(&self.goal_of(part));
        for &(id, epoch) in &queued.entities {
            match self.image.entities.get(&id) {
                Some(_) if gone => refused.push((id, Reason::NotHosted)),
                Some(row) if row.epoch == epoch => {
                    entities.push(PartEntity { id, bubble: row.bubble, epoch });
                }
                _ => refused.push((id, Reason::UnknownEntity)),
            }
        }
        for (id, _) in &refused {
            self.let_go(*id);
        }
        self.counts.aborted += refused.len() as u64;
        refused.extend(queued.refused.iter().cloned());
        let limit = self.peers.limit(destination, Phase::Stage);
        self.take_off(part, Flight::new(destination, queued.load, self.now, limit));
        let Some(row) = self.part_row(part, destination, entities, refused) else {
            self.part_over(part, out);
            return;
        };
        if row.entities.is_empty() {
            self.abort_empty(part, row, out);
        } else if self.config.host_store {
            for entity in &row.entities {
                self.attach_again(entity.id, out);
                self.freeze(part, entity);
                let call = StoreCall::Freeze(part, entity.id, entity.epoch);
                out.effects.push(Effect::Store(call));
            }
            let waiting = row.entities.iter().map(|entity| entity.id).collect();
            self.timers.set(Timer::Part(part), Some(self.now + self.config.limits.phase));
            if let Some(flight) = self.flights.get_mut(&part) {
                flight.freezing = Some(Freezing { row, waiting, states: BTreeMap::new() });
            }
        } else {
            self.prepare(part, row, &BTreeMap::new(), out);
        }
    }

    /// A part as it would be prepared now. `None` without a view, in which nothing is admitted.
    pub(crate) fn part_row(
        &self,
        part: PartId,
        destination: ProcessId,
        entities: Vec<PartEntity>,
        refused: Vec<(EntityId, Reason)>,
    ) -> Option<PartRow> {
        let view = self.view.as_ref()?;
        let incarnation = |process| view.members.get(&process).copied().unwrap_or_default();
        Some(PartRow {
            to: self.image.sagas.get(&part.saga)?.to,
            destination,
            destination_incarnation: incarnation(destination),
            source_incarnation: incarnation(self.config.me),
            view: view.term,
            entities,
            refused,
            phase: PartPhase::Prepared,
            adoptable: false,
        })
    }

    /// None of a part can move.
    fn abort_empty(&mut self, part: PartId, row: PartRow, out: &mut Step) {
        let row = PartRow { phase: PartPhase::Aborted, ..row };
        self.record(RecordKind::Abort, vec![Write::Part(part, Some(Arc::new(row)))], out);
        self.part_over(part, out);
    }

    /// The host's store froze one, or says why not.
    pub(crate) fn on_frozen(
        &mut self,
        part: PartId,
        id: EntityId,
        state: Result<Bytes, String>,
        out: &mut Step,
    ) {
        let held = self.image.entities.get(&id).and_then(|row| row.state.clone());
        let Some(freezing) = self.flights.get_mut(&part).and_then(|f| f.freezing.as_mut()) else {
            return;
        };
        if !freezing.waiting.remove(&id) {
            return;
        }
        // A store that never took the entity over cannot freeze it, but the journal has it.
        let held = state.or_else(|error| held.ok_or(Reason::Refused(error)));
        // A larger one could never be sent.
        let most = self.config.limits.state_bytes;
        let fits = |state: Bytes| at_most("state_bytes", most, state.len()).map(|()| state);
        let stays = match held.and_then(fits) {
            Ok(state) => {
                freezing.states.insert(id, state);
                None
            }
            Err(reason) => {
                freezing.row.refused.push((id, reason));
                let at = freezing.row.entities.iter().position(|entity| entity.id == id);
                at.map(|at| freezing.row.entities.remove(at))
            }
        };
        let waits = !freezing.waiting.is_empty();
        if let Some(entity) = stays {
            self.let_go(id);
            self.counts.aborted += 1;
            // The store may have come half-way before it failed.
            out.effects.push(Effect::Store(StoreCall::Unfreeze(id, entity.epoch)));
        }
        if waits {
            return;
        }
        let Some(mut done) = self.flights.get_mut(&part).and_then(|f| f.freezing.take()) else {
            return;
        };
        self.hold_over(part, &mut done, out);
        if done.row.entities.is_empty() {
            self.abort_empty(part, done.row, out);
        } else {
            self.prepare(part, done.row, &done.states, out);
        }
    }

    /// The journal does not know how large the states in a host's store are, so a part was cut
    /// without. What is more than a frame waits for a turn of its own, and serves on till then.
    fn hold_over(&mut self, part: PartId, done: &mut Freezing, out: &mut Step) {
        let Some(flight) = self.flights.get_mut(&part) else { return };
        let to = flight.destination;
        let mut stays = Load::default();
        let mut rest: Movable = Vec::new();
        let is_local = to == self.config.me;
        done.row.entities.retain(|entity| {
            let bytes = done.states.get(&entity.id).map_or(0, Bytes::len);
            let with = stays.with(Load { entities: 1, bytes });
            let fits = with.bytes <= PART_BYTES || stays.entities == 0;
            if is_local || rest.is_empty() && fits {
                stays = with;
                return true;
            }
            rest.push((entity.id, entity.epoch, bytes));
            false
        });
        // Now it is known what they weigh.
        let before = std::mem::replace(&mut flight.load, stays);
        self.out.remove(before);
        self.out.add(stays);
        if let Some(lane) = self.lanes.get_mut(&to) {
            lane.reload(before, stays);
        }
        if rest.is_empty() {
            return;
        }
        for (id, epoch, _) in &rest {
            done.states.remove(id);
            self.let_go(*id);
            out.effects.push(Effect::Store(StoreCall::Unfreeze(*id, *epoch)));
        }
        let parts = self.split(part.saga, rest);
        for queued in &parts {
            self.out.add(queued.load);
            self.lanes.entry(to).or_default().load.add(queued.load);
        }
        self.queue(part.saga, parts);
    }

    /// PREPARE, and STAGE once it is durable; or all of a local move.
    fn prepare(
        &mut self,
        part: PartId,
        row: PartRow,
        frozen: &BTreeMap<EntityId, Bytes>,
        out: &mut Step,
    ) {
        if row.destination == self.config.me {
            self.move_locally(part, row, frozen, out);
            return;
        }
        let mut writes = Vec::with_capacity(1 + frozen.len());
        for (id, state) in frozen {
            if let Some(entity) = self.image.entities.get(id) {
                let entity = EntityRow { state: Some(state.clone()), ..entity.clone() };
                writes.push(Write::Entity(*id, Some(entity)));
            }
        }
        for entity in &row.entities {
            self.freeze(part, entity);
        }
        writes.push(Write::Part(part, Some(Arc::new(row))));
        self.record(RecordKind::Prepare, writes, out);
        if let Some(flight) = self.flights.get(&part) {
            out.effects.push(Effect::Measured(Phase::Prepare, self.now - flight.began));
            let over_at = flight.over_at(self.config.limits.saga);
            self.timers.set(Timer::Part(part), Some(over_at));
        }
        self.send_stage(part, out);
    }

    /// Both bubbles are here: one transaction, and it is done.
    fn move_locally(
        &mut self,
        part: PartId,
        row: PartRow,
        frozen: &BTreeMap<EntityId, Bytes>,
        out: &mut Step,
    ) {
        let mut writes = Vec::with_capacity(row.entities.len() + 1);
        let mut attach = Vec::new();
        for entity in &row.entities {
            let Some(before) = self.image.entities.get(&entity.id) else { continue };
            let state = frozen.get(&entity.id).cloned().or_else(|| before.state.clone());
            let epoch = entity.epoch.next();
            if let (true, Some(state)) = (self.config.host_store, &state) {
                attach.push(StoreCall::Attach(entity.id, row.to, epoch, state.clone()));
            }
            let after = EntityRow { bubble: row.to, epoch, state };
            writes.push(Write::Entity(entity.id, Some(after)));
            self.let_go(entity.id);
        }
        self.counts.committed += row.entities.len() as u64;
        let entities = row.entities.iter().map(|entity| entity.id).collect();
        let phase = PartPhase::Ended { stage: self.ids.stage(), entities };
        let row = Arc::new(PartRow { phase, ..row });
        if self.config.hooks {
            out.effects.push(Effect::Moved(moved(part, &row)));
        }
        writes.push(Write::Part(part, Some(row)));
        self.record(RecordKind::Local, writes, out);
        out.effects.extend(attach.into_iter().map(Effect::Store));
        self.part_over(part, out);
    }

    /// Sends STAGE, from the rows, which do not change while frozen.
    pub(crate) fn send_stage(&mut self, part: PartId, out: &mut Step) {
        let Some(flight) = self.flights.get_mut(&part) else { return };
        let Some(row) = self.image.parts.get(&part) else { return };
        let attempt = flight.attempt();
        let entities = self.snapshots(row, |_| true);
        let message = Message::Stage { part, attempt, to: row.to, entities };
        let report = Some(Attempt { part, number: attempt });
        self.send(row.destination, message, report, out);
    }

    pub(crate) fn snapshots(
        &self,
        row: &PartRow,
        wanted: impl Fn(EntityId) -> bool,
    ) -> Vec<Snapshot> {
        let wanted = row.entities.iter().filter(|entity| wanted(entity.id));
        wanted
            .filter_map(|entity| {
                let owned = self.image.entities.get(&entity.id)?;
                let state = owned.state.clone().unwrap_or_default();
                Some(Snapshot { id: entity.id, epoch: entity.epoch.next(), state })
            })
            .collect()
    }

    pub(crate) fn send_commit(&mut self, part: PartId, out: &mut Step) {
        let Some(flight) = self.flights.get_mut(&part) else { return };
        let Some(row) = self.image.parts.get(&part) else { return };
        if let PartPhase::Committed { stage, snapshots } = &row.phase {
            let attempt = flight.attempt();
            let entities = snapshots.iter().map(|copy| copy.id).collect();
            let message = Message::Commit { part, attempt, stage: *stage, entities };
            let report = Some(Attempt { part, number: attempt });
            self.send(row.destination, message, report, out);
        }
    }

    pub(crate) fn load_of(&self, row: &EntityRow) -> Load {
        Load { entities: 1, bytes: row.state.as_ref().map_or(0, Bytes::len) }
    }
}

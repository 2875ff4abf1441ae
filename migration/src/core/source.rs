use std::collections::BTreeMap;

use bytes::Bytes;
use lampyrid_wire::{EntityId, ProcessId, SagaId, StageId};

use super::Core;
use super::flight::Freezing;
use super::io::{Delivery, Effect, Step, StoreCall};
use super::timers::Timer;
use crate::limits::{PART_WINDOW, PART_WINDOW_BYTES, WINDOW_RETRY};
use crate::row::{PartEntity, PartPhase, PartRow};
use crate::{EntityRow, Message, MovedTo, PartId, Phase, Reason, RecordKind, Snapshot, Write};

use super::accounts::Load;
use super::flight::Flight;
use super::saga::Queued;

impl Core {
    /// Prepares as many parts of a saga as may be in flight at once.
    pub(crate) fn pump(&mut self, id: SagaId, out: &mut Step) {
        loop {
            let Some(saga) = self.sagas.get_mut(&id) else { return };
            let open = saga.open.iter().filter_map(|part| self.flights.get(part));
            let mut busy = Load::default();
            for flight in open.filter(|flight| !flight.in_doubt) {
                busy.add(Load { entities: 1, bytes: flight.load.bytes });
            }
            if busy.entities >= PART_WINDOW || busy.bytes >= PART_WINDOW_BYTES {
                return;
            }
            let Some(queued) = saga.queue.pop_front() else { return };
            saga.open.insert(queued.part);
            let destination = saga.destination;
            self.begin(destination, &queued, out);
        }
    }

    /// Looks again at the entities of a part (they were not frozen while it was queued), freezes
    /// them and goes on to PREPARE.
    fn begin(&mut self, destination: ProcessId, queued: &Queued, out: &mut Step) {
        let part = queued.part;
        let mut entities = Vec::with_capacity(queued.entities.len());
        let mut refused = Vec::new();
        for &(id, epoch) in &queued.entities {
            match self.image.entities.get(&id) {
                Some(row) if row.epoch == epoch => {
                    entities.push(PartEntity { id, bubble: row.bubble, epoch });
                }
                _ => refused.push((id, Reason::UnknownEntity)),
            }
        }
        for (id, _) in &refused {
            self.moving.remove(id);
        }
        self.counts.aborted += refused.len() as u64;
        self.flights.insert(part, Flight::new(queued.load, self.now));
        let Some(row) = self.part_row(part, destination, entities, refused) else {
            self.part_over(part, out);
            return;
        };
        if row.entities.is_empty() {
            let row = PartRow { phase: PartPhase::Aborted, ..row };
            self.record(RecordKind::Abort, vec![Write::Part(part, Some(row))], out);
            self.part_over(part, out);
        } else if self.config.host_store {
            for entity in &row.entities {
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
    fn part_row(
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
        match state.map(Some).or_else(|error| held.map(Some).ok_or(error)) {
            Ok(Some(state)) => {
                freezing.states.insert(id, state);
            }
            Ok(None) => {}
            Err(error) => {
                freezing.row.entities.retain(|entity| entity.id != id);
                freezing.row.refused.push((id, Reason::Refused(error)));
                self.moving.remove(&id);
                self.counts.aborted += 1;
            }
        }
        if !freezing.waiting.is_empty() {
            return;
        }
        let Some(done) = self.flights.get_mut(&part).and_then(|f| f.freezing.take()) else {
            return;
        };
        if done.row.entities.is_empty() {
            let row = PartRow { phase: PartPhase::Aborted, ..done.row };
            self.record(RecordKind::Abort, vec![Write::Part(part, Some(row))], out);
            self.part_over(part, out);
            self.pump(part.saga, out);
        } else {
            self.prepare(part, done.row, &done.states, out);
        }
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
        writes.push(Write::Part(part, Some(row)));
        self.record(RecordKind::Prepare, writes, out);
        let now = self.now;
        if let Some(flight) = self.flights.get_mut(&part) {
            out.effects.push(Effect::Measured(Phase::Prepare, now - flight.began));
        }
        self.timers.set(Timer::Part(part), Some(now + self.config.limits.saga));
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
            self.moving.remove(&entity.id);
        }
        self.counts.committed += row.entities.len() as u64;
        let entities = row.entities.iter().map(|entity| entity.id).collect();
        let phase = PartPhase::Ended { stage: self.ids.stage(), entities };
        writes.push(Write::Part(part, Some(PartRow { phase, ..row })));
        self.record(RecordKind::Local, writes, out);
        out.effects.extend(attach.into_iter().map(Effect::Store));
        self.part_over(part, out);
    }

    /// Sends STAGE, from the rows, which do not change while frozen.
    fn send_stage(&self, part: PartId, out: &mut Step) {
        let Some(row) = self.image.parts.get(&part) else { return };
        let message = Message::Stage { part, to: row.to, entities: self.snapshots(row, |_| true) };
        self.send(row.destination, message, Some(part), out);
    }

    fn snapshots(&self, row: &PartRow, wanted: impl Fn(EntityId) -> bool) -> Vec<Snapshot> {
        let wanted = row.entities.iter().filter(|entity| wanted(entity.id));
        wanted
            .filter_map(|entity| {
                let owned = self.image.entities.get(&entity.id)?;
                let state = owned.state.clone().unwrap_or_default();
                Some(Snapshot { id: entity.id, epoch: entity.epoch.next(), state })
            })
            .collect()
    }

    fn send_commit(&self, part: PartId, out: &mut Step) {
        let Some(row) = self.image.parts.get(&part) else { return };
        if let PartPhase::Committed { stage, snapshots } = &row.phase {
            let entities = snapshots.iter().map(|copy| copy.id).collect();
            let message = Message::Commit { part, stage: *stage, entities };
            self.send(row.destination, message, Some(part), out);
        }
    }

    /// The destination staged some, or none: decide.
    pub(crate) fn on_staged(
        &mut self,
        from: ProcessId,
        part: PartId,
        stage: Option<StageId>,
        accepted: &[EntityId],
        refused: Vec<(EntityId, Reason)>,
        out: &mut Step,
    ) {
        let Some(row) = self.image.parts.get(&part) else { return };
        if row.phase != PartPhase::Prepared || row.destination != from {
            return;
        }
        let snapshots = self.snapshots(row, |id| accepted.contains(&id));
        match stage {
            Some(stage) if !snapshots.is_empty() => {
                self.commit(part, stage, snapshots, refused, out);
            }
            _ => {
                self.abort(part, &Reason::StagingFailed("nothing was staged".into()), refused, out)
            }
        }
        self.pump(part.saga, out);
    }

    /// The decision: the rows go and the record comes, in one transaction.
    fn commit(
        &mut self,
        part: PartId,
        stage: StageId,
        snapshots: Vec<Snapshot>,
        mut refused: Vec<(EntityId, Reason)>,
        out: &mut Step,
    ) {
        let Some(mut row) = self.image.parts.get(&part).cloned() else { return };
        let mut writes = Vec::with_capacity(snapshots.len() * 2 + 1);
        let mut leaving = std::collections::BTreeSet::new();
        for copy in &snapshots {
            leaving.insert(copy.id);
            let moved = MovedTo { process: row.destination, bubble: row.to, epoch: copy.epoch };
            writes.push(Write::Entity(copy.id, None));
            writes.push(Write::Moved(copy.id, Some(moved)));
        }
        let stays: Vec<PartEntity> =
            row.entities.iter().filter(|entity| !leaving.contains(&entity.id)).copied().collect();
        refused.retain(|(id, _)| stays.iter().any(|entity| entity.id == *id));
        for entity in &stays {
            if refused.iter().all(|(id, _)| *id != entity.id) {
                refused.push((entity.id, Reason::StagingFailed("it was not staged".into())));
            }
        }
        self.counts.aborted += stays.len() as u64;
        row.refused.extend(refused);
        row.phase = PartPhase::Committed { stage, snapshots };
        writes.push(Write::Part(part, Some(row.clone())));
        for entity in &row.entities {
            self.moving.remove(&entity.id);
        }
        self.record(RecordKind::Commit, writes, out);
        self.unfreeze(&row, &stays, out);
        if self.config.host_store {
            let gone = row.entities.iter().filter(|entity| leaving.contains(&entity.id));
            let calls = gone.map(|entity| StoreCall::Detach(entity.id, entity.epoch));
            out.effects.extend(calls.map(Effect::Store));
        }
        let now = self.now;
        if let Some(flight) = self.flights.get_mut(&part) {
            let sent = flight.sent.unwrap_or(flight.began);
            out.effects.push(Effect::Measured(Phase::Stage, now - sent));
            flight.next_phase();
        }
        // From here on a timer is set when COMMIT was handed to the links.
        self.timers.set(Timer::Part(part), None);
        self.send_commit(part, out);
    }

    /// Gives entities that stay back to the host's store.
    fn unfreeze(&self, row: &PartRow, stays: &[PartEntity], out: &mut Step) {
        if !self.config.host_store || row.destination == self.config.me {
            return;
        }
        for entity in stays {
            let Some(owned) = self.image.entities.get(&entity.id) else { continue };
            if let Some(state) = owned.state.clone() {
                // The journal's copy of the state goes when the store confirms that it has it.
                let attach = StoreCall::Attach(entity.id, owned.bubble, owned.epoch, state);
                out.effects.push(Effect::Store(attach));
            }
            out.effects.push(Effect::Store(StoreCall::Unfreeze(entity.id, entity.epoch)));
        }
    }

    /// Nothing of an undecided part leaves.
    pub(crate) fn abort(
        &mut self,
        part: PartId,
        reason: &Reason,
        mut refused: Vec<(EntityId, Reason)>,
        out: &mut Step,
    ) {
        let freezing = self.flights.get_mut(&part).and_then(|flight| flight.freezing.take());
        let was_prepared = freezing.is_none();
        let row = match freezing {
            Some(freezing) => Some(freezing.row),
            None => self.image.parts.get(&part).cloned(),
        };
        let Some(mut row) = row.filter(|row| row.phase == PartPhase::Prepared) else { return };
        refused.retain(|(id, _)| row.epoch_of(*id).is_some());
        for entity in &row.entities {
            self.moving.remove(&entity.id);
            if refused.iter().all(|(id, _)| *id != entity.id) {
                refused.push((entity.id, reason.clone()));
            }
        }
        self.counts.aborted += row.entities.len() as u64;
        row.refused.extend(refused);
        row.phase = PartPhase::Aborted;
        self.record(RecordKind::Abort, vec![Write::Part(part, Some(row.clone()))], out);
        self.unfreeze(&row, &row.entities, out);
        if was_prepared {
            self.send(row.destination, Message::Abort { part }, None, out);
        }
        self.part_over(part, out);
    }

    /// The rest of a saga, not prepared yet, would fail as well.
    pub(crate) fn abort_queue(&mut self, id: SagaId, reason: &Reason, out: &mut Step) {
        let Some(saga) = self.sagas.get_mut(&id) else { return };
        let destination = saga.destination;
        let queue = std::mem::take(&mut saga.queue);
        if queue.is_empty() {
            return;
        }
        let mut writes = Vec::new();
        for Queued { part, entities, load } in queue {
            let refused: Vec<_> = entities.iter().map(|(id, _)| (*id, reason.clone())).collect();
            for (id, _) in &entities {
                self.moving.remove(id);
            }
            self.out.remove(load);
            self.counts.aborted += entities.len() as u64;
            if let Some(row) = self.part_row(part, destination, Vec::new(), refused) {
                let row = PartRow { phase: PartPhase::Aborted, ..row };
                writes.push(Write::Part(part, Some(row)));
            }
            if let Some(saga) = self.sagas.get_mut(&id) {
                saga.finished.insert(part, self.now);
            }
        }
        self.record(RecordKind::Abort, writes, out);
        self.saga_maybe_over(id, out);
    }

    /// The destination has it: over.
    pub(crate) fn on_activated(
        &mut self,
        from: ProcessId,
        part: PartId,
        stage: StageId,
        out: &mut Step,
    ) {
        let Some(row) = self.image.parts.get(&part) else { return };
        if row.destination != from {
            return;
        }
        match &row.phase {
            PartPhase::Committed { stage: committed, .. } if *committed == stage => {}
            _ => return,
        }
        if let Some(flight) = self.flights.get(&part) {
            let sent = flight.sent.unwrap_or(flight.began);
            out.effects.push(Effect::Measured(Phase::Activate, self.now - sent));
        }
        self.end(part, out);
        self.pump(part.saga, out);
    }

    pub(crate) fn end(&mut self, part: PartId, out: &mut Step) {
        let Some(mut row) = self.image.parts.get(&part).cloned() else { return };
        let Some((stage, entities)) = row.committed() else { return };
        self.counts.committed += entities.len() as u64;
        row.phase = PartPhase::Ended { stage, entities };
        self.record(RecordKind::End, vec![Write::Part(part, Some(row))], out);
        self.part_over(part, out);
    }

    /// The destination does not know what was decided. It is never taken back: the destination may
    /// have activated it and forgotten.
    pub(crate) fn on_unknown_stage(
        &mut self,
        from: ProcessId,
        part: PartId,
        stage: StageId,
        out: &mut Step,
    ) {
        let Some(row) = self.image.parts.get(&part) else { return };
        let decided = matches!(&row.phase, PartPhase::Committed { stage: s, .. } if *s == stage);
        if !decided || row.destination != from {
            return;
        }
        if let Some(flight) = self.flights.get_mut(&part) {
            if !flight.alarmed {
                out.effects.push(Effect::Alarm(part, "the destination lost a staged copy"));
            }
            flight.alarmed = true;
            flight.in_doubt = true;
            self.timers.set(Timer::Part(part), None);
        }
    }

    /// What became of a message of this part. One that found the peer's window full is tried again
    /// soon, and no limit of its phase runs meanwhile.
    pub(crate) fn on_sent(&mut self, part: PartId, delivery: Delivery) {
        let limits = self.config.limits;
        let Some(flight) = self.flights.get_mut(&part) else { return };
        let Some(row) = self.image.parts.get(&part) else { return };
        let mut at = self.now + WINDOW_RETRY;
        if delivery != Delivery::WindowFull {
            let sent = *flight.sent.get_or_insert(self.now);
            flight.unsent = delivery == Delivery::NoSession;
            at = self.now + flight.backoff.next();
            if !flight.in_doubt {
                at = at.min(sent + limits.phase).max(self.now);
            }
        }
        if row.phase == PartPhase::Prepared {
            at = at.min(flight.began + limits.saga);
        }
        self.timers.set(Timer::Part(part), Some(at));
    }

    /// Repeats what was not answered, or gives up what is not decided.
    pub(crate) fn on_part_timer(&mut self, part: PartId, out: &mut Step) {
        let limits = self.config.limits;
        let now = self.now;
        let Some(flight) = self.flights.get(&part) else { return };
        let (sent, began, unsent) = (flight.sent, flight.began, flight.unsent);
        if flight.freezing.is_some() {
            self.abort(part, &Reason::Timeout(Phase::Prepare), Vec::new(), out);
            self.pump(part.saga, out);
            return;
        }
        let Some(row) = self.image.parts.get(&part) else { return };
        let expired = sent.is_some_and(|sent| sent + limits.phase <= now);
        if row.phase == PartPhase::Prepared {
            if expired || began + limits.saga <= now {
                let reason = match unsent {
                    true => Reason::Unreachable,
                    false => Reason::Timeout(Phase::Stage),
                };
                self.abort(part, &reason, Vec::new(), out);
                self.abort_queue(part.saga, &reason, out);
            } else if self.reaches(row.destination) {
                self.send_stage(part, out);
            } else {
                let at = sent.map_or(began + limits.saga, |sent| sent + limits.phase);
                self.timers.set(Timer::Part(part), Some(at));
            }
        } else {
            if let Some(flight) = self.flights.get_mut(&part) {
                flight.in_doubt |= expired;
            }
            self.send_commit(part, out);
            self.pump(part.saga, out);
        }
    }

    pub(crate) fn load_of(&self, row: &EntityRow) -> Load {
        Load { entities: 1, bytes: row.state.as_ref().map_or(0, Bytes::len) }
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lampyrid_wire::{EntityId, ProcessId, SagaId, StageId};

use super::io::{Effect, Step, StoreCall};
use super::saga::Queued;
use super::timers::Timer;
use super::{Core, Flaw};
use crate::row::{PartEntity, PartPhase, PartRow};
use crate::{Attempt, Message, Move, MovedTo, PartId, Phase, Reason, RecordKind, Snapshot, Write};

impl Core {
    /// The destination staged some, or none: decide.
    pub(crate) fn on_staged(
        &mut self,
        from: ProcessId,
        attempt: Attempt,
        stage: Option<StageId>,
        accepted: &[EntityId],
        refused: Vec<(EntityId, Reason)>,
        out: &mut Step,
    ) {
        let part = attempt.part;
        let awaited =
            |row: &&Arc<PartRow>| row.phase == PartPhase::Prepared && row.destination == from;
        if self.image.parts.get(&part).filter(awaited).is_none() {
            self.peers.answered_late(from, attempt, self.now);
            return;
        }
        self.answered(attempt);
        let Some(row) = self.image.parts.get(&part) else { return };
        let accepted: BTreeSet<EntityId> = accepted.iter().copied().collect();
        let all = self.flawed(Flaw::CommitWithoutList);
        let snapshots = self.snapshots(row, |id| all || accepted.contains(&id));
        match stage {
            Some(stage) if !snapshots.is_empty() => {
                self.commit(part, stage, snapshots, refused, out);
            }
            _ => {
                self.abort(part, &Reason::StagingFailed("nothing was staged".into()), refused, out)
            }
        }
    }

    /// The decision: the rows go and the record comes, in one transaction.
    fn commit(
        &mut self,
        part: PartId,
        stage: StageId,
        snapshots: Vec<Snapshot>,
        refused: Vec<(EntityId, Reason)>,
        out: &mut Step,
    ) {
        let Some(row) = self.image.parts.get(&part).cloned() else { return };
        let mut writes = Vec::with_capacity(snapshots.len() * 2 + 1);
        let mut leaving = BTreeSet::new();
        for copy in &snapshots {
            leaving.insert(copy.id);
            let moved = MovedTo { process: row.destination, bubble: row.to, epoch: copy.epoch };
            writes.push(Write::Entity(copy.id, None));
            writes.push(Write::Moved(copy.id, Some(moved)));
        }
        let stays: Vec<PartEntity> =
            row.entities.iter().filter(|entity| !leaving.contains(&entity.id)).copied().collect();
        let refused = reasons(&stays, refused, &Reason::StagingFailed("it was not staged".into()));
        self.counts.aborted += stays.len() as u64;
        let row = Arc::new(row.at(PartPhase::Committed { stage, snapshots }, refused));
        writes.push(Write::Part(part, Some(Arc::clone(&row))));
        for entity in &row.entities {
            self.let_go(entity.id);
        }
        self.record(RecordKind::Commit, writes, out);
        self.lose_decision(out);
        self.lock_until_end(part, true);
        self.unfreeze(&stays, out);
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
    fn unfreeze(&self, stays: &[PartEntity], out: &mut Step) {
        if !self.config.host_store {
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
        refused: Vec<(EntityId, Reason)>,
        out: &mut Step,
    ) {
        let freezing = self.flights.get_mut(&part).and_then(|flight| flight.freezing.take());
        let was_prepared = freezing.is_none();
        let row = match freezing {
            Some(freezing) => Some(Arc::new(freezing.row)),
            None => self.image.parts.get(&part).cloned(),
        };
        let Some(row) = row.filter(|row| row.phase == PartPhase::Prepared) else { return };
        for entity in &row.entities {
            self.let_go(entity.id);
        }
        self.counts.aborted += row.entities.len() as u64;
        let refused = reasons(&row.entities, refused, reason);
        let row = Arc::new(row.at(PartPhase::Aborted, refused));
        self.record(RecordKind::Abort, vec![Write::Part(part, Some(Arc::clone(&row)))], out);
        self.unfreeze(&row.entities, out);
        if was_prepared {
            self.send(row.destination, Message::Abort { part }, None, out);
        }
        self.part_over(part, out);
    }

    /// The rest of a saga, not prepared yet, would fail as well.
    pub(crate) fn abort_queue(&mut self, id: SagaId, reason: &Reason, out: &mut Step) {
        let unasked = self.unasked(id);
        let Some(saga) = self.sagas.get_mut(&id) else { return };
        let destination = saga.destination;
        let mut queue = std::mem::take(&mut saga.queue);
        queue.extend(unasked);
        if queue.is_empty() {
            return;
        }
        let mut writes = Vec::new();
        for Queued { part, entities, mut refused, load } in queue {
            refused.extend(entities.iter().map(|(id, _)| (*id, reason.clone())));
            for (id, _) in &entities {
                self.let_go(*id);
            }
            self.unload(destination, load);
            self.counts.aborted += entities.len() as u64;
            if let Some(row) = self.part_row(part, destination, Vec::new(), refused) {
                let row = PartRow { phase: PartPhase::Aborted, ..row };
                writes.push(Write::Part(part, Some(Arc::new(row))));
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
        attempt: Option<u32>,
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
        if let Some(number) = attempt {
            self.answered(Attempt { part, number });
        }
        self.end(part, out);
    }

    pub(crate) fn end(&mut self, part: PartId, out: &mut Step) {
        let Some(row) = self.image.parts.get(&part) else { return };
        let Some((stage, entities)) = row.committed() else { return };
        self.counts.committed += entities.len() as u64;
        let row = row.at(PartPhase::Ended { stage, entities }, Vec::new());
        if self.config.hooks {
            out.effects.push(Effect::Moved(moved(part, &row)));
        }
        self.lock_until_end(part, false);
        self.record(RecordKind::End, vec![Write::Part(part, Some(Arc::new(row)))], out);
        self.batch_arrives(part.saga);
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
        if !decided || row.destination != from || self.takes_back(part, out) {
            return;
        }
        if let Some(flight) = self.flights.get_mut(&part) {
            if !flight.alarmed {
                out.effects.push(Effect::Alarm(part, "the destination lost a staged copy"));
            }
            flight.alarmed = true;
            self.doubt(part, out);
            self.timers.set(Timer::Part(part), None);
        }
    }
}

/// What the host's hook is told of a part that is over.
pub(crate) fn moved(part: PartId, row: &PartRow) -> Move {
    let left = row.committed().map(|(_, left)| left).unwrap_or_default();
    let left: BTreeSet<EntityId> = left.into_iter().collect();
    let entities = row.entities.iter().filter(|entity| left.contains(&entity.id));
    let entities = entities.map(|entity| (entity.id, entity.epoch.next())).collect();
    Move { saga: part.saga, to: row.to, destination: row.destination, entities }
}

/// Why each of these stays: as it was given, or otherwise.
fn reasons(
    stays: &[PartEntity],
    given: Vec<(EntityId, Reason)>,
    otherwise: &Reason,
) -> Vec<(EntityId, Reason)> {
    let mut given: BTreeMap<EntityId, Reason> = given.into_iter().collect();
    let mut reason = |id| given.remove(&id).unwrap_or_else(|| otherwise.clone());
    stays.iter().map(|entity| (entity.id, reason(entity.id))).collect()
}

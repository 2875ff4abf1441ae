use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lampyrid_wire::{EntityId, OwnershipEpoch, ProcessId, SagaId};

use super::Core;
use super::accounts::Load;
use super::io::{CallId, Effect, Reply, Step};
use super::timers::Timer;
use crate::row::{PartPhase, PartRow, parts_of};
use crate::{Outcome, PartId, Reason, SagaEntity, SagaReport, SagaState};

/// What a source remembers of a request, beside its rows.
#[derive(Clone, Debug)]
pub(crate) struct Saga {
    pub(crate) destination: ProcessId,
    /// `None` after a restart, when nobody knows any more.
    pub(crate) began: Option<Duration>,
    /// The number of its next part.
    pub(crate) next_part: u32,
    /// Entities that the host's hook is being asked about.
    pub(crate) asking: BTreeMap<u32, Movable>,
    /// Parts that are not prepared yet.
    pub(crate) queue: VecDeque<Queued>,
    /// Parts that are.
    pub(crate) open: BTreeSet<PartId>,
    /// When each part was over.
    pub(crate) finished: BTreeMap<PartId, Duration>,
    pub(crate) waiters: BTreeSet<CallId>,
}

/// A part that waits for its turn: its entities are not frozen yet.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) part: PartId,
    pub(crate) entities: Vec<(EntityId, OwnershipEpoch)>,
    /// Those that stay already, and why.
    pub(crate) refused: Vec<(EntityId, Reason)>,
    pub(crate) load: Load,
}

/// Entities that can move as far as this process knows: at that epoch, with so many bytes of state.
pub(crate) type Movable = Vec<(EntityId, OwnershipEpoch, usize)>;

impl Queued {
    pub(crate) fn new(part: PartId) -> Self {
        Self { part, entities: Vec::new(), refused: Vec::new(), load: Load::default() }
    }
}

impl Saga {
    pub(crate) fn new(destination: ProcessId, began: Option<Duration>) -> Self {
        Self {
            destination,
            began,
            next_part: 0,
            asking: BTreeMap::new(),
            queue: VecDeque::new(),
            open: BTreeSet::new(),
            finished: BTreeMap::new(),
            waiters: BTreeSet::new(),
        }
    }

    /// The name of one more part.
    pub(crate) fn number(&mut self, source: ProcessId, saga: SagaId) -> PartId {
        let part = PartId { source, saga, part: self.next_part };
        self.next_part += 1;
        part
    }

    pub(crate) fn is_over(&self) -> bool {
        self.queue.is_empty() && self.open.is_empty() && self.asking.is_empty()
    }
}

impl Core {
    /// A part is over: tell whoever waits if that was the last.
    pub(crate) fn part_over(&mut self, part: PartId, out: &mut Step) {
        let now = self.now;
        self.land(part);
        self.timers.set(Timer::Part(part), None);
        let Some(saga) = self.sagas.get_mut(&part.saga) else { return };
        saga.open.remove(&part);
        saga.finished.insert(part, now);
        self.saga_maybe_over(part.saga, out);
    }

    /// Answers those who wait for a saga that is over.
    pub(crate) fn saga_maybe_over(&mut self, id: SagaId, out: &mut Step) {
        let Some(saga) = self.sagas.get_mut(&id) else { return };
        if !saga.is_over() {
            return;
        }
        let waiters = std::mem::take(&mut saga.waiters);
        let to = saga.destination;
        if let Some(lane) = self.lanes.get_mut(&to) {
            lane.sagas.remove(&id);
            self.tidy(to);
        }
        self.keep_saga(id);
        self.batch_ended(id);
        out.effects.push(Effect::SagaChanged(id));
        if waiters.is_empty() {
            return;
        }
        let report = self.report(id);
        for call in waiters {
            self.waiters.remove(&call);
            self.timers.set(Timer::Call(call), None);
            out.effects.push(Effect::Reply(call, Reply::Report(report.clone())));
        }
    }

    /// How a saga stands.
    #[must_use]
    pub fn report(&self, id: SagaId) -> Option<SagaReport> {
        let row = self.image.sagas.get(&id)?;
        let live = self.sagas.get(&id);
        let mut known: BTreeMap<EntityId, (Outcome, Option<Duration>)> = row
            .refused
            .iter()
            .map(|(id, reason)| (*id, (Outcome::Aborted { reason: reason.clone() }, None)))
            .collect();
        let mut in_doubt = false;
        for (part, row) in self.image.parts.range(parts_of(self.config.me, id)) {
            let took = live.and_then(|saga| Some(*saga.finished.get(part)? - saga.began?));
            in_doubt |= self.flights.get(part).is_some_and(|flight| flight.in_doubt);
            for (id, outcome) in outcomes(row) {
                known.insert(id, (outcome, took));
            }
        }
        let queued = live.into_iter().flat_map(|saga| &saga.queue);
        let stays = |(id, reason): &(EntityId, Reason)| {
            (*id, (Outcome::Aborted { reason: reason.clone() }, None))
        };
        for Queued { entities, refused, .. } in queued {
            known.extend(entities.iter().map(|(id, _)| (*id, (Outcome::Pending, None))));
            known.extend(refused.iter().map(stays));
        }
        let asked = live.into_iter().flat_map(|saga| saga.asking.values()).flatten();
        known.extend(asked.map(|(id, ..)| (*id, (Outcome::Pending, None))));
        // What the host's store is still freezing has no row yet.
        let open = live.into_iter().flat_map(|saga| &saga.open);
        for freezing in open.filter_map(|part| self.flights.get(part)?.freezing.as_ref()) {
            known.extend(freezing.row.entities.iter().map(|e| (e.id, (Outcome::Pending, None))));
            known.extend(freezing.row.refused.iter().map(stays));
        }
        let entities: Vec<SagaEntity> = row
            .entities
            .iter()
            .map(|&id| {
                // In no part: the process ended before it came to it, so nothing happened to it.
                let lost = || (Outcome::Aborted { reason: Reason::ViewChanged }, None);
                let (outcome, latency) = known.remove(&id).unwrap_or_else(lost);
                SagaEntity { id, outcome, latency }
            })
            .collect();
        let pending = entities.iter().any(|entity| entity.outcome == Outcome::Pending);
        let state = match (pending, in_doubt) {
            (false, _) => SagaState::Done,
            (true, true) => SagaState::InDoubt,
            (true, false) => SagaState::Running,
        };
        Some(SagaReport { saga: id, state, to: row.to, view_epoch: row.view_epoch, entities })
    }
}

fn outcomes(row: &PartRow) -> impl Iterator<Item = (EntityId, Outcome)> {
    let refused: BTreeSet<EntityId> = row.refused.iter().map(|(id, _)| *id).collect();
    let aborted =
        |(id, reason): &(EntityId, Reason)| (*id, Outcome::Aborted { reason: reason.clone() });
    let stays = row.refused.iter().map(aborted);
    let rest = row.entities.iter().filter(move |entity| !refused.contains(&entity.id));
    stays.chain(rest.map(|entity| {
        let outcome = match &row.phase {
            PartPhase::Ended { .. } => Outcome::Committed { epoch: entity.epoch.next() },
            PartPhase::Aborted => Outcome::Aborted { reason: Reason::ViewChanged },
            PartPhase::Prepared | PartPhase::Committed { .. } => Outcome::Pending,
        };
        (entity.id, outcome)
    }))
}

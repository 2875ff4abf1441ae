use std::collections::{BTreeSet, VecDeque};

use lampyrid_wire::{ProcessId, SagaId};

use super::Core;
use super::accounts::Load;
use super::flight::Flight;
use super::io::{Effect, Step};
use super::requests::at_most;
use super::saga::Queued;
use super::timers::Timer;
use crate::limits::{LANE_SHARE, WINDOW_BYTES, WINDOW_ENTITIES, WINDOW_PARTS};
use crate::{PartId, Reason};

/// What goes to one destination. Lanes do not wait for each other: a destination that takes nothing
/// more keeps its own lane full, and its share of what may be on its way out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lane {
    /// Sagas that are not over.
    pub(crate) sagas: BTreeSet<SagaId>,
    /// Those of them with parts that wait, in the order of their turns: a part each.
    turns: VecDeque<SagaId>,
    /// Parts under way.
    pub(crate) open: BTreeSet<PartId>,
    /// What of them takes room in the window: those in doubt do not, or one lost acknowledgement
    /// would hold up the lane.
    parts: usize,
    busy: Load,
    /// All that was admitted and is not over.
    pub(crate) load: Load,
    /// Parts whose last message found the peer's window full.
    pub(crate) stalled: BTreeSet<PartId>,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.sagas.is_empty() && self.open.is_empty()
    }

    /// A part under way weighs something else than was known when it began.
    pub(crate) fn reload(&mut self, before: Load, now: Load) {
        for load in [&mut self.busy, &mut self.load] {
            load.remove(before);
            load.add(now);
        }
    }

    fn has_room(&self, parts: usize) -> bool {
        self.parts < parts && self.busy.entities < WINDOW_ENTITIES && self.busy.bytes < WINDOW_BYTES
    }
}

/// How much of all may be on its way to one destination, whatever is left free.
fn at_once_to_one(all: usize) -> usize {
    all.saturating_mul(LANE_SHARE.0) / LANE_SHARE.1
}

impl Core {
    /// Whether so much more may be on its way to a destination.
    pub(crate) fn has_share(&self, to: ProcessId, more: Load) -> Result<(), Reason> {
        let limits = &self.config.limits;
        self.fits_alone(more)?;
        let sum = self.out.with(more);
        let over = |limit: &str| Err(Reason::Overloaded { limit: limit.to_owned() });
        if sum.entities > limits.out_entities {
            return over("outgoing_entities");
        }
        if sum.bytes > limits.out_bytes {
            return over("outgoing_bytes");
        }
        if limits.out_share == usize::MAX {
            return Ok(());
        }
        let lane = self.lanes.get(&to).map_or(Load::default(), |lane| lane.load).with(more);
        let share = |all: usize, used: usize| {
            let of_the_rest = (all - used).saturating_mul(limits.out_share);
            of_the_rest.min(at_once_to_one(all))
        };
        if lane.entities > share(limits.out_entities, sum.entities) {
            return over("outgoing_entities_to_one_process");
        }
        if lane.bytes > share(limits.out_bytes, sum.bytes) {
            return over("outgoing_bytes_to_one_process");
        }
        Ok(())
    }

    /// Whether so much may be on its way to one destination while nothing else is on its way at
    /// all: if not, it never may.
    fn fits_alone(&self, load: Load) -> Result<(), Reason> {
        let limits = &self.config.limits;
        let share = limits.out_share;
        if share == usize::MAX {
            at_most("outgoing_entities", limits.out_entities, load.entities)?;
            return at_most("outgoing_bytes", limits.out_bytes, load.bytes);
        }
        // The most that is at most so many times what it leaves free.
        let most = |all: usize| {
            let of_the_rest = all as u128 * share as u128 / (share as u128 + 1);
            usize::try_from(of_the_rest).unwrap_or(usize::MAX).min(at_once_to_one(all))
        };
        at_most("outgoing_entities_to_one_process", most(limits.out_entities), load.entities)?;
        at_most("outgoing_bytes_to_one_process", most(limits.out_bytes), load.bytes)
    }

    /// The part whose turn it is, if there is room for it.
    fn next_in(&mut self, to: ProcessId) -> Option<Queued> {
        // After a time-out one part at a time tries whether the destination answers again: the rest
        // need not be frozen meanwhile.
        let parts = if self.peers.is_doubted(to) { 1 } else { WINDOW_PARTS };
        let lane = self.lanes.get_mut(&to)?;
        while lane.has_room(parts) {
            let id = lane.turns.pop_front()?;
            let Some(saga) = self.sagas.get_mut(&id) else { continue };
            // One whose parts were given up meanwhile has none left.
            let Some(queued) = saga.queue.pop_front() else { continue };
            if !saga.queue.is_empty() {
                lane.turns.push_back(id);
            }
            saga.open.insert(queued.part);
            return Some(queued);
        }
        None
    }

    /// Gives up whatever has not begun towards a destination.
    pub(crate) fn abort_waiting(&mut self, to: ProcessId, reason: &Reason, out: &mut Step) {
        let sagas = self.lanes.get(&to).map(|lane| lane.sagas.clone()).unwrap_or_default();
        for saga in sagas {
            self.abort_queue(saga, reason, out);
        }
    }

    /// Its parts line up behind those that wait already.
    pub(crate) fn queue(&mut self, id: SagaId, parts: VecDeque<Queued>) {
        let Some(saga) = self.sagas.get_mut(&id) else { return };
        let (waits, to) = (!saga.queue.is_empty(), saga.destination);
        saga.queue.extend(parts);
        if !waits {
            self.lanes.entry(to).or_default().turns.push_back(id);
            self.stirred.insert(to);
        }
    }

    /// Something that had not begun will not go there.
    pub(crate) fn unload(&mut self, to: ProcessId, load: Load) {
        self.out.remove(load);
        if let Some(lane) = self.lanes.get_mut(&to) {
            lane.load.remove(load);
        }
    }

    /// A part begins.
    pub(crate) fn take_off(&mut self, part: PartId, flight: Flight) {
        let lane = self.lanes.entry(flight.destination).or_default();
        lane.open.insert(part);
        if !flight.in_doubt {
            lane.parts += 1;
            lane.busy.add(flight.load);
        }
        self.flights.insert(part, flight);
    }

    /// A part is over.
    pub(crate) fn land(&mut self, part: PartId) {
        let Some(flight) = self.flights.remove(&part) else { return };
        self.out.remove(flight.load);
        let Some(lane) = self.lanes.get_mut(&flight.destination) else { return };
        lane.open.remove(&part);
        lane.stalled.remove(&part);
        lane.load.remove(flight.load);
        if !flight.in_doubt {
            lane.parts -= 1;
            lane.busy.remove(flight.load);
        }
        self.try_stalled(flight.destination);
        self.tidy(flight.destination);
    }

    /// The peer's window may have room again: the first of those that found it full is sent at once.
    /// One that is sent is followed by another, so all of them never try together.
    pub(crate) fn try_stalled(&mut self, to: ProcessId) {
        let stalled = self.lanes.get_mut(&to).and_then(|lane| lane.stalled.pop_first());
        if let Some(part) = stalled {
            self.timers.set(Timer::Part(part), Some(self.now));
        }
    }

    /// The acknowledgement of a decided part does not come in time: it makes room for others.
    pub(crate) fn doubt(&mut self, part: PartId, out: &mut Step) {
        let Some(flight) = self.flights.get_mut(&part) else { return };
        if std::mem::replace(&mut flight.in_doubt, true) {
            return;
        }
        if let Some(lane) = self.lanes.get_mut(&flight.destination) {
            lane.parts -= 1;
            lane.busy.remove(flight.load);
        }
        self.stirred.insert(flight.destination);
        out.effects.push(Effect::SagaChanged(part.saga));
    }

    /// Something of a lane is over.
    pub(crate) fn tidy(&mut self, to: ProcessId) {
        if self.lanes.get(&to).is_some_and(Lane::is_empty) {
            self.lanes.remove(&to);
            self.stirred.remove(&to);
        } else {
            self.stirred.insert(to);
        }
    }

    /// Begins, in all lanes in which something has changed, as many parts as may be under way at
    /// once. Entities are frozen here, not before.
    pub(crate) fn pump(&mut self, out: &mut Step) {
        while self.is_active()
            && let Some(to) = self.stirred.pop_first()
        {
            while let Some(queued) = self.next_in(to) {
                self.begin(to, &queued, out);
            }
        }
    }
}

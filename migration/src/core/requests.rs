use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{BubbleId, EntityId, ProcessId, SagaId};
use sha2::{Digest, Sha256};

use super::Core;
use super::accounts::{Hold, Load};
use super::io::{CallId, Effect, Reply, Request, Step};
use super::saga::{Movable, Queued, Saga};
use super::timers::Timer;
use crate::limits::{HOOK_ENTITIES, KEY_BYTES, PART_BYTES, PART_ENTITIES, WAITERS_MAX};
use crate::{
    BatchError, Expected, KeyRow, MigrateRequest, PartId, Reason, RecordKind, SagaRow, Write,
};

/// Entities in the order of a part, and what they weigh.
type Admitted = (Movable, Vec<(EntityId, Reason)>, Load);

impl Core {
    pub(crate) fn on_request(&mut self, call: CallId, request: Request, out: &mut Step) {
        let reply = match request {
            Request::Create { bubble, new, state } => {
                Reply::Created(self.create(bubble, new, state, out))
            }
            Request::Get(id) => match self.get(call, id, out) {
                Some(answer) => Reply::Entity(answer),
                None => return,
            },
            Request::Put(id, state) => match self.put(call, id, state, out) {
                Some(answer) => Reply::Entity(answer),
                None => return,
            },
            Request::Delete(id) => Reply::Entity(self.delete(id, out)),
            Request::List(filter, after, limit) => Reply::Page(self.list(filter, after, limit)),
            Request::Migrate { request, host } => Reply::Saga(self.migrate(request, host, out)),
            Request::Saga(id) => Reply::Report(self.report(id)),
            Request::Wait(id, until) => match self.wait(call, id, until) {
                Some(reply) => reply,
                None => return,
            },
            Request::Audit => Reply::Audit(self.audit()),
            Request::Bubbles => Reply::Bubbles(Ok(self.image.bubbles.iter().copied().collect())),
            Request::CreateBubble(id) => Reply::Bubble(self.create_bubble(id, out)),
            Request::RetireBubble(id) => Reply::Bubbles(self.retire_bubble(id, out)),
            Request::MoveBubble { bubble, to, host } => {
                Reply::BubbleMove(self.move_bubble(bubble, to, host, out))
            }
            Request::BubbleMove(bubble) => Reply::BubbleReport(self.bubble_report(bubble)),
            Request::WaitBubble(bubble, until) => match self.wait_for_bubble(call, bubble, until) {
                Some(reply) => reply,
                None => return,
            },
            Request::CancelMove(bubble) => Reply::BubbleMove(self.cancel_move(bubble, out)),
            Request::Drain => Reply::Drain(self.drain(out)),
            Request::CancelDrain => Reply::Drain(self.cancel_drain(out)),
            Request::WaitDrain(until) => match self.wait_for_drain(call, until) {
                Some(reply) => reply,
                None => return,
            },
            Request::Bar(process) => Reply::Bar(self.bar(process, out)),
            Request::BarReport(process) => Reply::Bar(Ok(self.bar_report(process))),
            Request::Bars => Reply::Bars(self.bar_reports()),
            Request::Locate(id) => match self.locate(call, id, out) {
                Some(found) => Reply::Located(found),
                None => return,
            },
            Request::Leave => {
                self.leave(call, out);
                return;
            }
        };
        out.effects.push(Effect::Reply(call, reply));
    }

    /// Leave to change anything.
    pub(crate) fn permitted(&self) -> Result<(), Reason> {
        if self.closing {
            Err(Reason::ViewChanged)
        } else if self.is_active() {
            Ok(())
        } else {
            Err(Reason::Isolated)
        }
    }

    /// Admits a request, whole or not at all; what is wrong with single entities is their outcome.
    fn migrate(
        &mut self,
        request: MigrateRequest,
        host: Option<ProcessId>,
        out: &mut Step,
    ) -> Result<SagaId, BatchError> {
        if let Some(row) = request.idempotency_key.as_ref().and_then(|k| self.image.keys.get(k)) {
            return match row.hash == hash_of(&request) {
                true => Ok(row.saga),
                false => Err(BatchError(Reason::IdempotencyMismatch)),
            };
        }
        self.permitted().map_err(BatchError)?;
        let limits = self.config.limits;
        at_most("entities_per_request", limits.entities_per_request, request.entities.len())
            .map_err(BatchError)?;
        let key_bytes = request.idempotency_key.as_ref().map_or(0, String::len);
        at_most("idempotency_key_bytes", KEY_BYTES, key_bytes).map_err(BatchError)?;
        let destination = self.destination_of(request.to, host).map_err(BatchError)?;
        // Before any of them is looked at: refusing must cost nothing of what others wait for.
        let most = Load { entities: request.entities.len(), bytes: 0 };
        self.has_share(destination, most).map_err(BatchError)?;
        let (accepted, refused, load) = self.look_at(&request);
        self.has_share(destination, load).map_err(BatchError)?;
        let questions = if self.config.hooks { accepted.len().div_ceil(HOOK_ENTITIES) } else { 0 };
        at_most("hook_calls", limits.hook_calls, questions).map_err(BatchError)?;
        if self.hook_calls.len() + questions > limits.hook_calls {
            return Err(BatchError(Reason::Overloaded { limit: "hook_calls".to_owned() }));
        }
        let id = self.ids.saga();
        let mut named = BTreeSet::new();
        let key = request
            .idempotency_key
            .as_ref()
            .map(|key| Write::Key(key.clone(), Some(KeyRow { hash: hash_of(&request), saga: id })));
        let entities = request.entities.iter().map(|entity| entity.id);
        let row = SagaRow {
            to: request.to,
            view_epoch: self.view.as_ref().map(|view| view.term.epoch).unwrap_or_default(),
            entities: entities.filter(|id| named.insert(*id)).collect(),
            refused,
            key: request.idempotency_key.clone(),
        };
        let writes = std::iter::once(Write::Saga(id, Some(Arc::new(row)))).chain(key).collect();
        self.record(RecordKind::Admit, writes, out);
        self.start_saga(id, destination, accepted, load, out);
        Ok(id)
    }

    /// A request with a share of what may be on its way out was admitted: its entities line up in
    /// the lane of their destination, or the host's hook is asked about them first.
    pub(crate) fn start_saga(
        &mut self,
        id: SagaId,
        destination: ProcessId,
        movable: Movable,
        load: Load,
        out: &mut Step,
    ) {
        self.counts.started += movable.len() as u64;
        self.sagas.insert(id, Saga::new(destination, Some(self.now)));
        if movable.is_empty() {
            self.saga_maybe_over(id, out);
            return;
        }
        self.out.add(load);
        let lane = self.lanes.entry(destination).or_default();
        lane.sagas.insert(id);
        lane.load.add(load);
        if self.config.hooks {
            self.ask_hooks(id, &movable, out);
        } else {
            let parts = self.split(id, movable);
            self.queue(id, parts);
        }
    }

    /// The process that a bubble's entities go to.
    fn destination_of(&self, to: BubbleId, host: Option<ProcessId>) -> Result<ProcessId, Reason> {
        let me = self.config.me;
        if to.is_nil() {
            return Err(Reason::UnknownBubble);
        }
        let going = self.open_move(to).map(|row| row.to);
        // Who claimed it may have given it to another since.
        let elsewhere = host.filter(|&host| host != me);
        let claimed = self.claims.get(&to).map(|&by| elsewhere.unwrap_or(by));
        let host = match going.or(claimed) {
            // What goes into a bubble on its way goes where that goes.
            _ if self.takes(to) => me,
            Some(other) => other,
            None if self.image.bubbles.contains(&to) => me,
            // The registry has not heard yet that it is here no longer.
            None => host.filter(|&host| host != me).ok_or(Reason::UnknownBubble)?,
        };
        match host == me || self.reaches(host) {
            true => Ok(host),
            false => Err(Reason::UnknownBubble),
        }
    }

    /// Which of the entities can move.
    fn look_at(&self, request: &MigrateRequest) -> Admitted {
        let mut named = BTreeSet::new();
        let (mut accepted, mut refused, mut load) = (Vec::new(), Vec::new(), Load::default());
        for Expected { id, epoch: expected } in request.entities.iter().copied() {
            if !named.insert(id) {
                continue;
            }
            let verdict = match (self.image.entities.get(&id), self.moving.get(&id)) {
                (None, _) => Err(Reason::UnknownEntity),
                (Some(_), Some(hold)) => Err(Reason::AlreadyMoving { to: self.goal_of(hold.part) }),
                (Some(row), None) => match expected {
                    Some(expected) if expected != row.epoch => {
                        Err(Reason::EpochMismatch { expected, found: row.epoch })
                    }
                    _ if row.bubble == request.to => Err(Reason::SameBubble),
                    _ => Ok((row.epoch, self.load_of(row))),
                },
            };
            match verdict {
                Ok((epoch, one)) => {
                    load.add(one);
                    accepted.push((id, epoch, one.bytes));
                }
                Err(reason) => refused.push((id, reason)),
            }
        }
        (accepted, refused, load)
    }

    /// Where a part goes.
    pub(crate) fn goal_of(&self, part: PartId) -> BubbleId {
        self.image.sagas.get(&part.saga).map_or(BubbleId::from_u128(0), |saga| saga.to)
    }

    /// Cuts a request into parts of one frame each.
    pub(crate) fn split(&mut self, id: SagaId, accepted: Movable) -> VecDeque<Queued> {
        let mut parts: VecDeque<Queued> = VecDeque::new();
        let mut room = 0;
        let me = self.config.me;
        let Some(saga) = self.sagas.get_mut(&id) else { return parts };
        for (entity, epoch, bytes) in accepted {
            let full = parts.back().is_none_or(|part| part.entities.len() >= PART_ENTITIES);
            if full || room < bytes {
                parts.push_back(Queued::new(saga.number(me, id)));
                room = PART_BYTES;
            }
            room = room.saturating_sub(bytes);
            if let Some(queued) = parts.back_mut() {
                self.moving.insert(entity, Hold { part: queued.part, frozen: None });
                queued.entities.push((entity, epoch));
                queued.load.add(Load { entities: 1, bytes });
            }
        }
        parts
    }

    /// Answers at once, or notes who waits. Waiting never aborts anything.
    fn wait(&mut self, call: CallId, id: SagaId, until: Duration) -> Option<Reply> {
        let waits = self.waiters.len() < WAITERS_MAX && until > self.now;
        match self.sagas.get_mut(&id).filter(|saga| waits && !saga.is_over()) {
            Some(saga) => {
                saga.waiters.insert(call);
                self.waiters.insert(call, id);
                self.timers.set(Timer::Call(call), Some(until));
                None
            }
            None => Some(Reply::Report(self.report(id))),
        }
    }

    /// A caller has waited long enough.
    pub(crate) fn on_call_timer(&mut self, call: CallId, out: &mut Step) {
        if let Some(id) = self.waiters.remove(&call) {
            if let Some(saga) = self.sagas.get_mut(&id) {
                saga.waiters.remove(&call);
            }
            out.effects.push(Effect::Reply(call, Reply::Report(self.report(id))));
        } else if self.bubble_wait_over(call, out) || self.drain_wait_over(call, out) {
            // It was told how far that has come.
        } else if self.leaving == Some(call) {
            self.leaving = None;
            out.effects.push(Effect::Reply(call, Reply::Left(false)));
        } else {
            self.query_over(call, out);
        }
    }

    /// Refuses new work, gives up what is undecided, and answers when the rest is over.
    fn leave(&mut self, call: CallId, out: &mut Step) {
        self.closing = true;
        if let Some(before) = self.leaving.replace(call) {
            self.timers.set(Timer::Call(before), None);
            out.effects.push(Effect::Reply(before, Reply::Left(false)));
        }
        let lanes: Vec<ProcessId> = self.lanes.keys().copied().collect();
        for to in lanes {
            self.abort_waiting(to, &Reason::ViewChanged, out);
        }
        let parts: Vec<PartId> = self.flights.keys().copied().collect();
        for part in parts {
            self.abort(part, &Reason::ViewChanged, Vec::new(), out);
        }
        self.timers.set(Timer::Call(call), Some(self.now + self.config.limits.saga));
    }

    pub(crate) fn end_if_left(&mut self, out: &mut Step) {
        let nothing_is_under_way = self.flights.is_empty() && self.doubting.is_empty();
        if nothing_is_under_way && let Some(call) = self.leaving.take() {
            self.timers.set(Timer::Call(call), None);
            out.effects.push(Effect::Reply(call, Reply::Left(true)));
        }
    }
}

/// Refuses what is over a limit by itself.
pub(crate) fn at_most(limit: &str, maximum: usize, found: usize) -> Result<(), Reason> {
    match found > maximum {
        true => Err(Reason::LimitExceeded { limit: limit.to_owned(), maximum: maximum as u64 }),
        false => Ok(()),
    }
}

/// What makes two requests the same.
fn hash_of(request: &MigrateRequest) -> [u8; 32] {
    let mut hasher = Sha256::new().chain_update(request.to.as_bytes());
    for entity in &request.entities {
        hasher.update(entity.id.as_bytes());
        hasher.update(entity.epoch.map_or([0xff; 8], |epoch| epoch.0.to_be_bytes()));
        hasher.update([u8::from(entity.epoch.is_some())]);
    }
    hasher.finalize().into()
}

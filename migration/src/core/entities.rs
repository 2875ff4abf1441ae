use std::ops::Bound;

use bytes::Bytes;
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch};

use super::Core;
use super::io::{CallId, Effect, Reply, Step, StoreCall};
use super::requests::at_most;
use crate::limits::{CREATE_BYTES, EPOCH_MAX};
use crate::row::PartPhase;
use crate::{
    EntityError, EntityPage, EntityRecord, EntityRow, EntityStatus, NewEntities, Reason,
    RecordKind, StatusFilter, Write,
};

/// Longest page of a listing.
const PAGE_MAX: usize = 10_000;

impl Core {
    /// What an entity that has a row here may do.
    pub(crate) fn status_of(&self, id: EntityId) -> EntityStatus {
        let Some(row) = self.image.entities.get(&id) else { return EntityStatus::Staged };
        match self.is_frozen(id) || self.claims.contains_key(&row.bubble) {
            true => EntityStatus::Frozen,
            false => EntityStatus::Active,
        }
    }

    /// True from PREPARE on (or from when the host's store was asked to freeze it).
    fn is_frozen(&self, id: EntityId) -> bool {
        self.moving.get(&id).is_some_and(|hold| hold.frozen.is_some())
    }

    /// True from PREPARE on: the state in the journal is the one that leaves. Before it, while the
    /// host's store is asked to freeze, what the store has is newer than the journal's.
    fn is_prepared(&self, id: EntityId) -> bool {
        let part = self.moving.get(&id).filter(|hold| hold.frozen.is_some()).map(|hold| hold.part);
        let flight = part.and_then(|part| self.flights.get(&part));
        part.is_some() && flight.is_none_or(|flight| flight.freezing.is_none())
    }

    fn refusal(&self, id: EntityId, reason: Reason) -> EntityError {
        EntityError { reason, moved_to: self.image.moved.get(&id).copied() }
    }

    fn record_of(&self, id: EntityId, row: &EntityRow, state: Bytes) -> EntityRecord {
        EntityRecord { id, bubble: row.bubble, epoch: row.epoch, status: self.status_of(id), state }
    }

    pub(crate) fn create(
        &mut self,
        bubble: BubbleId,
        new: NewEntities,
        state: Bytes,
        out: &mut Step,
    ) -> Result<Vec<EntityId>, EntityError> {
        let plain = |reason| EntityError { reason, moved_to: None };
        self.permitted().map_err(plain)?;
        if self.is_draining() {
            return Err(plain(Reason::Draining));
        }
        if self.open_move(bubble).is_some() {
            return Err(plain(Reason::AlreadyMoving { to: bubble }));
        }
        if !self.image.bubbles.contains(&bubble) {
            return Err(plain(Reason::NotHosted));
        }
        if let Some(&by) = self.claims.get(&bubble) {
            return Err(plain(Reason::BubbleClaimed { by }));
        }
        self.check_size(&state)?;
        let ids = match new {
            NewEntities::One(Some(id)) => {
                let known = self.image.entities.contains_key(&id)
                    || self.staged.contains_key(&id)
                    || self.image.moved.contains_key(&id);
                if known || id.is_nil() {
                    return Err(self.refusal(id, Reason::EntityExists));
                }
                if self.config.host_store {
                    // There may have been one of that id which the store did not let go, for it
                    // failed to or the process ended. It would take that one for this.
                    out.effects.push(Effect::Store(StoreCall::Detach(id, EPOCH_MAX)));
                }
                vec![id]
            }
            NewEntities::One(None) => vec![self.ids.entity()],
            NewEntities::Many(count) => {
                let most = self.config.limits.entities_per_request;
                at_most("entities_per_request", most, count).map_err(plain)?;
                let bytes = count.saturating_mul(state.len());
                at_most("bytes_per_request", CREATE_BYTES, bytes).map_err(plain)?;
                (0..count).map(|_| self.ids.entity()).collect()
            }
        };
        let epoch = OwnershipEpoch(0);
        let row = EntityRow { bubble, epoch, state: Some(state.clone()) };
        let writes = ids.iter().map(|id| Write::Entity(*id, Some(row.clone()))).collect();
        self.record(RecordKind::Create, writes, out);
        if self.config.host_store {
            let calls = ids.iter().map(|id| StoreCall::Attach(*id, bubble, epoch, state.clone()));
            out.effects.extend(calls.map(Effect::Store));
        }
        Ok(ids)
    }

    fn check_size(&self, state: &Bytes) -> Result<(), EntityError> {
        at_most("state_bytes", self.config.limits.state_bytes, state.len())
            .map_err(|reason| EntityError { reason, moved_to: None })
    }

    /// `None`: the host's store answers later.
    pub(crate) fn get(
        &mut self,
        call: CallId,
        id: EntityId,
        out: &mut Step,
    ) -> Option<Result<EntityRecord, EntityError>> {
        let Some(row) = self.image.entities.get(&id) else {
            return Some(Err(self.refusal(id, Reason::UnknownEntity)));
        };
        match &row.state {
            Some(state) if !self.config.host_store || self.is_prepared(id) => {
                Some(Ok(self.record_of(id, row, state.clone())))
            }
            _ => {
                let read = StoreCall::Read(call, id, row.epoch);
                self.attach_again(id, out);
                self.store_calls.insert(call, None);
                out.effects.push(Effect::Store(read));
                None
            }
        }
    }

    /// What forbids to change it now.
    fn writable(&self, id: EntityId) -> Result<EntityRow, EntityError> {
        self.permitted().map_err(|reason| EntityError { reason, moved_to: None })?;
        let Some(row) = self.image.entities.get(&id) else {
            return Err(self.refusal(id, Reason::UnknownEntity));
        };
        if let Some(hold) = self.moving.get(&id).filter(|hold| hold.frozen.is_some()) {
            return Err(self.refusal(id, Reason::AlreadyMoving { to: self.goal_of(hold.part) }));
        }
        if let Some(&by) = self.claims.get(&row.bubble) {
            return Err(self.refusal(id, Reason::BubbleClaimed { by }));
        }
        Ok(row.clone())
    }

    /// `None`: the host's store answers later.
    pub(crate) fn put(
        &mut self,
        call: CallId,
        id: EntityId,
        state: Bytes,
        out: &mut Step,
    ) -> Option<Result<EntityRecord, EntityError>> {
        let row = match self.check_size(&state).and_then(|()| self.writable(id)) {
            Ok(row) => row,
            Err(error) => return Some(Err(error)),
        };
        if self.config.host_store {
            self.attach_again(id, out);
            self.store_calls.insert(call, Some(row.epoch));
            out.effects.push(Effect::Store(StoreCall::Write(call, id, row.epoch, state)));
            return None;
        }
        let row = EntityRow { state: Some(state.clone()), ..row };
        self.record(RecordKind::Put, vec![Write::Entity(id, Some(row.clone()))], out);
        Some(Ok(self.record_of(id, &row, state)))
    }

    /// The host's store read or wrote.
    pub(crate) fn on_store_answer(
        &mut self,
        call: CallId,
        id: EntityId,
        state: Result<Bytes, String>,
        out: &mut Step,
    ) {
        let Some(written_at) = self.store_calls.remove(&call) else { return };
        if let (Some(epoch), Ok(_)) = (written_at, &state) {
            // So it has the entity, whatever it says of taking it over: what the journal may still
            // keep is older than what is acknowledged here.
            self.on_attached(id, epoch, out);
        }
        let answer = match (state, self.image.entities.get(&id)) {
            (Ok(state), Some(row)) => Ok(self.record_of(id, row, state)),
            (Ok(_), None) => Err(self.refusal(id, Reason::UnknownEntity)),
            (Err(error), _) => Err(self.refusal(id, Reason::Refused(error))),
        };
        out.effects.push(Effect::Reply(call, Reply::Entity(answer)));
    }

    /// The host's store has the state: the journal need not keep it.
    pub(crate) fn on_attached(&mut self, id: EntityId, epoch: OwnershipEpoch, out: &mut Step) {
        let Some(row) = self.image.entities.get(&id) else { return };
        if row.epoch != epoch || row.state.is_none() || self.is_prepared(id) {
            return;
        }
        let row = EntityRow { state: None, ..row.clone() };
        self.unattached.remove(&id);
        self.record(RecordKind::Attached, vec![Write::Entity(id, Some(row))], out);
    }

    /// The host's store has no room for it, say. It is tried again when the entity is needed.
    pub(crate) fn on_not_attached(&mut self, id: EntityId, epoch: OwnershipEpoch) {
        let row = self.image.entities.get(&id);
        if row.is_some_and(|row| row.epoch == epoch && row.state.is_some()) {
            self.unattached.insert(id);
        }
    }

    /// Before the host's store is asked for an entity that it did not take over.
    pub(crate) fn attach_again(&mut self, id: EntityId, out: &mut Step) {
        if !self.unattached.remove(&id) {
            return;
        }
        if let Some(EntityRow { bubble, epoch, state: Some(state) }) = self.image.entities.get(&id)
        {
            let attach = StoreCall::Attach(id, *bubble, *epoch, state.clone());
            out.effects.push(Effect::Store(attach));
        }
    }

    pub(crate) fn delete(
        &mut self,
        id: EntityId,
        out: &mut Step,
    ) -> Result<EntityRecord, EntityError> {
        let row = self.writable(id)?;
        let record = self.record_of(id, &row, row.state.clone().unwrap_or_default());
        self.record(RecordKind::Delete, vec![Write::Entity(id, None)], out);
        if self.config.host_store {
            out.effects.push(Effect::Store(StoreCall::Detach(id, row.epoch)));
        }
        Ok(record)
    }

    pub(crate) fn list(
        &self,
        filter: StatusFilter,
        after: Option<EntityId>,
        limit: usize,
    ) -> EntityPage {
        let limit = limit.clamp(1, PAGE_MAX);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rows = self.image.entities.range((from, Bound::Unbounded)).peekable();
        let mut copies = self.staged.range((from, Bound::Unbounded)).peekable();
        let mut entities: Vec<EntityRecord> = Vec::new();
        loop {
            let row_first = match (rows.peek(), copies.peek()) {
                (None, None) => return EntityPage { entities, next: None },
                (Some((row, _)), Some((copy, _))) => row <= copy,
                (row, _) => row.is_some(),
            };
            let record = match row_first {
                true => rows.next().map(|(id, row)| self.record_of(*id, row, Bytes::new())),
                false => copies.next().and_then(|(&id, copy)| {
                    let bubble = self.image.stagings.get(&copy.part)?.to;
                    let (epoch, status) = (copy.epoch, EntityStatus::Staged);
                    Some(EntityRecord { id, bubble, epoch, status, state: Bytes::new() })
                }),
            };
            let Some(record) = record.filter(|record| matches(filter, record.status)) else {
                continue;
            };
            if entities.len() == limit {
                let next = entities.last().map(|record| record.id);
                return EntityPage { entities, next };
            }
            entities.push(record);
        }
    }

    pub(crate) fn create_bubble(
        &mut self,
        id: Option<BubbleId>,
        out: &mut Step,
    ) -> Result<BubbleId, Reason> {
        let id = id.unwrap_or_else(|| BubbleId(self.ids.uuid()));
        if id.is_nil() {
            return Err(Reason::UnknownBubble);
        }
        if self.is_draining() {
            return Err(Reason::Draining);
        }
        if self.open_move(id).is_some() || self.takes(id) {
            return Err(Reason::AlreadyMoving { to: id });
        }
        if !self.image.bubbles.contains(&id) {
            self.record(RecordKind::CreateBubble, vec![Write::Bubble(id, true)], out);
        }
        Ok(id)
    }

    pub(crate) fn retire_bubble(
        &mut self,
        id: BubbleId,
        out: &mut Step,
    ) -> Result<Vec<BubbleId>, Reason> {
        if !self.image.bubbles.contains(&id) {
            return Err(Reason::UnknownBubble);
        }
        if self.open_move(id).is_some() || self.takes(id) {
            return Err(Reason::AlreadyMoving { to: id });
        }
        let here = self.census.residents(id);
        let undecided =
            |part| self.image.parts.get(part).filter(|p| p.phase == PartPhase::Prepared);
        let goal = self.flights.keys().filter_map(undecided).any(|part| part.to == id);
        if here.entities > 0 || here.stagings > 0 || goal {
            return Err(Reason::BubbleNotEmpty);
        }
        self.record(RecordKind::RetireBubble, vec![Write::Bubble(id, false)], out);
        Ok(self.image.bubbles.iter().copied().collect())
    }
}

fn matches(filter: StatusFilter, status: EntityStatus) -> bool {
    match filter {
        StatusFilter::All => true,
        StatusFilter::Active => status == EntityStatus::Active,
        StatusFilter::Frozen => status == EntityStatus::Frozen,
        StatusFilter::Staged => status == EntityStatus::Staged,
    }
}

use std::collections::BTreeSet;

use lampyrid_wire::{EntityId, ProcessId};

use super::Core;
use super::io::{CallId, Effect, Reply, Step};
use super::timers::Timer;
use crate::limits::WAITERS_MAX;
use crate::{EntityStatus, Message, MovedTo, Presence, Whereabouts};

/// A question to all members for an entity.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) call: CallId,
    pub(crate) entity: EntityId,
    /// The answer with the highest epoch so far.
    pub(crate) best: Option<Whereabouts>,
    pub(crate) waiting: BTreeSet<ProcessId>,
}

impl Core {
    /// Answers from here, or asks all members. `None`: the answer comes later.
    pub(crate) fn locate(
        &mut self,
        call: CallId,
        id: EntityId,
        out: &mut Step,
    ) -> Option<Option<Whereabouts>> {
        let known = self.known_place(id);
        let here = known.is_some_and(|known| known.place.process == self.config.me);
        let me = self.config.me;
        let members = self.view.iter().filter(|view| view.active).flat_map(|v| v.members.keys());
        let waiting: BTreeSet<ProcessId> = members.copied().filter(|&p| p != me).collect();
        if here || waiting.is_empty() || self.queries.len() >= WAITERS_MAX {
            return Some(known);
        }
        let query = self.next_query;
        self.next_query += 1;
        for &process in &waiting {
            self.send(process, Message::Locate { query, entity: id }, None, out);
        }
        self.asking.insert(call, query);
        self.queries.insert(query, Query { call, entity: id, best: known, waiting });
        self.timers.set(Timer::Call(call), Some(self.now + self.config.limits.phase));
        None
    }

    /// Puts the open questions to a process that may not have had them: its session is new.
    pub(crate) fn ask_for_places(&self, process: ProcessId, out: &mut Step) {
        let open = self.queries.iter().filter(|(_, query)| query.waiting.contains(&process));
        for (&query, Query { entity, .. }) in open {
            self.send(process, Message::Locate { query, entity: *entity }, None, out);
        }
    }

    fn known_place(&self, id: EntityId) -> Option<Whereabouts> {
        let process = self.config.me;
        if let Some(row) = self.image.entities.get(&id) {
            let place = MovedTo { process, bubble: row.bubble, epoch: row.epoch };
            let presence = match self.status_of(id) {
                EntityStatus::Active => Presence::Serving,
                EntityStatus::Frozen | EntityStatus::Staged => Presence::Frozen,
            };
            return Some(Whereabouts { place, presence });
        }
        let went = self.image.moved.get(&id).copied();
        went.map(|place| Whereabouts { place, presence: Presence::Forwarded })
    }

    pub(crate) fn on_locate(&self, from: ProcessId, query: u64, entity: EntityId, out: &mut Step) {
        let found = self.known_place(entity);
        self.send(from, Message::Located { query, found }, None, out);
    }

    pub(crate) fn on_located(
        &mut self,
        from: ProcessId,
        query: u64,
        found: Option<Whereabouts>,
        out: &mut Step,
    ) {
        let Some(open) = self.queries.get_mut(&query) else { return };
        if !open.waiting.remove(&from) {
            return;
        }
        let key = |found: &Whereabouts| (found.place.epoch, found.presence);
        open.best = [open.best, found].into_iter().flatten().max_by_key(key);
        if open.waiting.is_empty() {
            let call = open.call;
            self.timers.set(Timer::Call(call), None);
            self.query_over(call, out);
        }
    }

    /// Answers with the best that is known by now.
    pub(crate) fn query_over(&mut self, call: CallId, out: &mut Step) {
        let number = self.asking.remove(&call);
        if let Some(query) = number.and_then(|number| self.queries.remove(&number)) {
            out.effects.push(Effect::Reply(call, Reply::Located(query.best)));
        }
    }
}

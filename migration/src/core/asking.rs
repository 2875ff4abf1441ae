use std::collections::BTreeMap;
use std::sync::Arc;

use lampyrid_wire::{EntityId, SagaId};

use super::Core;
use super::accounts::{Hold, Load};
use super::io::{Effect, HookAnswer, HookCall, Step};
use super::saga::{Movable, Queued};
use crate::limits::HOOK_ENTITIES;
use crate::row::{PartPhase, PartRow};
use crate::{Move, Reason, RecordKind, Write};

impl Core {
    /// Asks the host's hook about the entities of a request. They serve on meanwhile, but no other
    /// request can have them.
    pub(crate) fn ask_hooks(&mut self, id: SagaId, movable: &Movable, out: &mut Step) {
        let me = self.config.me;
        let Some(saga) = self.sagas.get_mut(&id) else { return };
        let Some(row) = self.image.sagas.get(&id) else { return };
        for (number, asked) in (0..).zip(movable.chunks(HOOK_ENTITIES)) {
            let part = saga.number(me, id);
            for (entity, ..) in asked {
                self.moving.insert(*entity, Hold { part, frozen: None });
            }
            saga.asking.insert(number, asked.to_vec());
            let entities = asked.iter().map(|(id, epoch, _)| (*id, *epoch)).collect();
            let planned = Move { saga: id, to: row.to, destination: saga.destination, entities };
            let call = HookCall { saga: id, number };
            self.hook_calls.insert(call);
            out.effects.push(Effect::AskHook(call, planned));
        }
    }

    /// The hook answered, or did not in time. What it has no objection to lines up.
    pub(crate) fn on_hook_answer(&mut self, call: HookCall, answer: HookAnswer, out: &mut Step) {
        if !self.hook_calls.remove(&call) {
            return;
        }
        let Some(saga) = self.sagas.get_mut(&call.saga) else { return };
        // Given up meanwhile: nobody wants to know any more.
        let Some(asked) = saga.asking.remove(&call.number) else { return };
        let destination = saga.destination;
        let (accepted, refused) = sort(asked, answer);
        for (id, bytes, _) in &refused {
            self.unload(destination, Load { entities: 1, bytes: *bytes });
            self.let_go(*id);
        }
        self.counts.aborted += refused.len() as u64;
        let refused = refused.into_iter().map(|(id, _, reason)| (id, reason)).collect();
        let mut parts = self.split(call.saga, accepted);
        match parts.front_mut() {
            Some(first) => {
                first.refused = refused;
                self.queue(call.saga, parts);
            }
            None => self.refuse_all(call.saga, refused, out),
        }
    }

    /// None of these moves: their part is over before it began.
    fn refuse_all(&mut self, id: SagaId, refused: Vec<(EntityId, Reason)>, out: &mut Step) {
        let Some(saga) = self.sagas.get_mut(&id) else { return };
        let part = saga.number(self.config.me, id);
        saga.finished.insert(part, self.now);
        let destination = saga.destination;
        if let Some(row) = self.part_row(part, destination, Vec::new(), refused) {
            let row = Arc::new(PartRow { phase: PartPhase::Aborted, ..row });
            self.record(RecordKind::Abort, vec![Write::Part(part, Some(row))], out);
        }
        self.saga_maybe_over(id, out);
    }

    /// What the hook was being asked about, as parts: to be given up with the rest.
    pub(crate) fn unasked(&mut self, id: SagaId) -> Vec<Queued> {
        let asked = self.sagas.get_mut(&id).map(|saga| std::mem::take(&mut saga.asking));
        let asked: Movable = asked.into_iter().flat_map(BTreeMap::into_values).flatten().collect();
        self.split(id, asked).into()
    }
}

/// Those that may move, and those that may not, and why.
fn sort(asked: Movable, answer: HookAnswer) -> (Movable, Vec<(EntityId, usize, Reason)>) {
    let all = |reason: Reason, asked: Movable| {
        asked.into_iter().map(|(id, _, bytes)| (id, bytes, reason.clone())).collect()
    };
    let vetoes = match answer {
        HookAnswer::TimedOut => return (Vec::new(), all(Reason::HookTimedOut, asked)),
        HookAnswer::Failed => return (Vec::new(), all(Reason::HookFailed, asked)),
        HookAnswer::Vetoes(vetoes) => vetoes.into_iter(),
    };
    let mut vetoes: BTreeMap<EntityId, String> =
        vetoes.map(|veto| (veto.entity, veto.why)).collect();
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for (id, epoch, bytes) in asked {
        match vetoes.remove(&id) {
            Some(why) => refused.push((id, bytes, Reason::Refused(why))),
            None => accepted.push((id, epoch, bytes)),
        }
    }
    (accepted, refused)
}

use std::collections::BTreeMap;

use lampyrid_wire::{ProcessId, SagaId};

use super::Core;
use super::io::Step;
use super::saga::Saga;
use crate::limits::{DOUBTS_PER_MESSAGE, PURGE_PER_STEP, RETAINED_MAX};
use crate::row::parts_of;
use crate::{Message, PartId, RecordKind, Write};

impl Core {
    /// Forgets what has had its time. Runs only beside other work: an idle process needs no timer
    /// for it.
    pub(crate) fn purge(&mut self, out: &mut Step) {
        let kept = self.config.limits.retention;
        let mut writes = Vec::new();
        for _ in 0..PURGE_PER_STEP {
            let Some(&(since, id)) = self.kept_sagas.front() else { break };
            if self.now < since + kept && self.kept_sagas.len() <= RETAINED_MAX {
                break;
            }
            self.kept_sagas.pop_front();
            self.forget_saga(id, &mut writes);
        }
        // The outcome of a part is kept until its source has forgotten it.
        let mut ask: BTreeMap<ProcessId, Vec<PartId>> = BTreeMap::new();
        for _ in 0..PURGE_PER_STEP {
            let Some(&(since, part)) = self.kept_activations.front() else { break };
            if self.now < since + kept {
                break;
            }
            self.kept_activations.pop_front();
            if self.image.activations.contains_key(&part) {
                ask.entry(part.source).or_default().push(part);
                self.kept_activations.push_back((self.now, part));
            }
        }
        if !writes.is_empty() {
            self.record(RecordKind::Purge, writes, out);
        }
        for (source, parts) in ask {
            for parts in parts.chunks(DOUBTS_PER_MESSAGE) {
                self.send(source, Message::Doubt { parts: parts.to_vec() }, None, out);
            }
        }
    }

    fn forget_saga(&mut self, id: SagaId, writes: &mut Vec<Write>) {
        // One that was listed early, during recovery, is listed again when it is over.
        if !self.sagas.get(&id).is_some_and(Saga::is_over) {
            return;
        }
        self.sagas.remove(&id);
        if let Some(key) = self.image.sagas.get(&id).and_then(|row| row.key.clone()) {
            writes.push(Write::Key(key, None));
        }
        for (part, row) in self.image.parts.range(parts_of(self.config.me, id)) {
            for entity in &row.entities {
                let went = self.image.moved.get(&entity.id);
                if went.is_some_and(|went| went.epoch == entity.epoch.next()) {
                    writes.push(Write::Moved(entity.id, None));
                }
            }
            writes.push(Write::Part(*part, None));
        }
        writes.push(Write::Saga(id, None));
    }

    /// The source has forgotten the part: no message of it can mean anything any more.
    pub(crate) fn forget_activation(&mut self, part: PartId, out: &mut Step) {
        let Some(row) = self.image.activations.get(&part) else { return };
        for entity in &row.entities {
            self.activated.remove(entity);
        }
        self.record(RecordKind::Purge, vec![Write::Activation(part, None)], out);
    }
}

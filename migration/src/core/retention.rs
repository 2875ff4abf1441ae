use std::collections::BTreeMap;

use lampyrid_wire::{ProcessId, SagaId};

use super::Core;
use super::io::Step;
use super::saga::Saga;
use crate::limits::{DOUBTS_PER_MESSAGE, PURGE_PER_STEP, RETAINED_MAX};
use crate::row::parts_of;
use crate::{Message, PartId, RecordKind, Write};

/// What is kept for a while after its end.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Retained {
    /// A request: its outcomes, its key, and where its entities went.
    Saga(SagaId),
    /// The outcome of a part whose destination this is: kept until its source has forgotten it.
    Activation(PartId),
}

impl Core {
    /// Forgets what has had its time. Runs only beside other work: an idle process needs no timer
    /// for it.
    pub(crate) fn purge(&mut self, out: &mut Step) {
        let mut ask: BTreeMap<ProcessId, Vec<PartId>> = BTreeMap::new();
        let mut writes = Vec::new();
        for _ in 0..PURGE_PER_STEP {
            let Some(&(since, what)) = self.retained.front() else { break };
            let old = self.now >= since + self.config.limits.retention;
            if !old && self.retained.len() <= RETAINED_MAX {
                break;
            }
            self.retained.pop_front();
            match what {
                Retained::Saga(id) => self.forget_saga(id, &mut writes),
                Retained::Activation(part) if self.image.activations.contains_key(&part) => {
                    ask.entry(part.source).or_default().push(part);
                    self.retained.push_back((self.now, what));
                }
                Retained::Activation(_) => {}
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

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lampyrid_wire::{ProcessId, SagaId};

use super::io::Step;
use super::saga::Saga;
use super::{Core, Flaw};
use crate::limits::{DOUBTS_PER_MESSAGE, PURGE_PER_STEP, RETAINED_MAX};
use crate::row::{PartPhase, parts_of};
use crate::{DoubtAnswer, Message, PartId, RecordKind, Write};

/// Requests that are over, oldest first: their outcomes, keys, and where their entities went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    sagas: VecDeque<(Duration, SagaId, usize)>,
    /// Entities that those requests named, and one for each request.
    weight: usize,
}

impl Kept {
    pub(crate) fn push(&mut self, since: Duration, id: SagaId, entities: usize) {
        self.weight += entities + 1;
        self.sagas.push_back((since, id, entities));
    }

    /// All of them as if they were over since then.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn since(&mut self, since: Duration) {
        self.sagas.iter_mut().for_each(|kept| kept.0 = since);
    }

    /// The oldest, if its time is over or there are too many.
    fn pop(&mut self, now: Duration, kept: Duration) -> Option<SagaId> {
        let &(since, id, entities) = self.sagas.front()?;
        if now < since + kept && self.weight <= RETAINED_MAX {
            return None;
        }
        self.weight -= entities + 1;
        self.sagas.pop_front();
        Some(id)
    }
}

impl Core {
    /// Forgets what has had its time. Runs only beside other work: an idle process needs no timer
    /// for it.
    pub(crate) fn purge(&mut self, out: &mut Step) {
        let kept = self.config.limits.retention;
        let mut writes = Vec::new();
        let mut tell: BTreeMap<ProcessId, Vec<PartId>> = BTreeMap::new();
        for _ in 0..PURGE_PER_STEP {
            let Some(id) = self.kept_sagas.pop(self.now, kept) else { break };
            self.forget_saga(id, &mut writes, &mut tell);
        }
        // The outcome of a part is kept until its source has forgotten it.
        let mut ask: BTreeMap<ProcessId, Vec<PartId>> = BTreeMap::new();
        for _ in 0..PURGE_PER_STEP {
            let Some(&(since, part)) = self.kept_activations.front() else { break };
            let early = self.flawed(Flaw::TakesBackUnknown);
            let known = self.image.activations.contains_key(&part);
            if known && self.now < since + kept && !early {
                break;
            }
            self.kept_activations.pop_front();
            if early {
                self.forget_activation(part, out);
            } else if known {
                ask.entry(part.source).or_default().push(part);
                self.kept_activations.push_back((self.now, part));
            }
        }
        if !writes.is_empty() {
            self.record(RecordKind::Purge, writes, out);
        }
        // Their destinations may forget them as well now. Should this be lost, they ask in time.
        for (destination, parts) in tell {
            for parts in parts.chunks(DOUBTS_PER_MESSAGE) {
                let answers = parts.iter().map(|part| (*part, DoubtAnswer::Unknown)).collect();
                self.send(destination, Message::DoubtAnswers { answers }, None, out);
            }
        }
        for (source, parts) in ask {
            for parts in parts.chunks(DOUBTS_PER_MESSAGE) {
                self.send(source, Message::Doubt { parts: parts.to_vec() }, None, out);
            }
        }
    }

    /// Keeps the outcome of a request that is over.
    pub(crate) fn keep_saga(&mut self, id: SagaId) {
        let entities = self.image.sagas.get(&id).map_or(0, |row| row.entities.len());
        self.kept_sagas.push(self.now, id, entities);
    }

    fn forget_saga(
        &mut self,
        id: SagaId,
        writes: &mut Vec<Write>,
        tell: &mut BTreeMap<ProcessId, Vec<PartId>>,
    ) {
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
            if matches!(row.phase, PartPhase::Ended { .. }) && row.destination != self.config.me {
                tell.entry(row.destination).or_default().push(*part);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lampyrid_wire::SagaId;

    use super::Kept;
    use crate::limits::RETAINED_MAX;

    #[test]
    fn beyond_the_bound_the_oldest_goes_before_its_time_and_entities_count() {
        let (now, kept) = (Duration::from_secs(10), Duration::from_secs(300));
        let mut list = Kept::default();
        for n in 1..=3 {
            list.push(now, SagaId::from_u128(n), RETAINED_MAX / 2 - 1);
        }
        assert_eq!(list.pop(now, kept), Some(SagaId::from_u128(1)));
        assert_eq!(list.pop(now, kept), None);
        assert_eq!(list.pop(now + kept, kept), Some(SagaId::from_u128(2)));
        assert_eq!(list.pop(now + kept, kept), Some(SagaId::from_u128(3)));
        assert_eq!((list.pop(now + kept, kept), list.weight), (None, 0));
    }
}

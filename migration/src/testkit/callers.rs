//! What callers ask, and what they are told.

use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{BubbleId, EntityId, SagaId};

use super::check::Truth;
use super::world::{Asked, World, bubble_of};
use crate::{
    CallId, Expected, Input, Limits, MigrateRequest, NewEntities, Outcome, Reason, Reply, Request,
    SagaState,
};

/// How long a caller waits for a saga.
const PATIENCE: Duration = Duration::from_secs(60);

impl World {
    pub(crate) fn request(&mut self, process: usize, request: Request, asked: Asked) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        if self.runs(process) {
            self.asked.insert((process, call), asked);
            self.input(process, Input::Request(call, request));
        }
        call
    }

    pub(crate) fn answered(&mut self, process: usize, call: CallId, reply: Reply) {
        let Some(asked) = self.asked.remove(&(process, call)) else { return };
        match (asked, reply) {
            (Asked::Create, Reply::Created(Ok(ids))) => {
                for id in ids {
                    self.truth.insert(id, Truth::default());
                    self.touched.insert(id);
                }
            }
            (Asked::Put(id, version), Reply::Entity(Ok(_))) => {
                if let Some(truth) = self.truth.get_mut(&id) {
                    truth.acknowledged = truth.acknowledged.max(version);
                    self.touched.insert(id);
                }
            }
            (Asked::Delete(id), Reply::Entity(Ok(_))) => {
                if let Some(truth) = self.truth.get_mut(&id) {
                    truth.deleted = true;
                    self.touched.insert(id);
                }
            }
            (Asked::Migrate(asked, key, free), Reply::Saga(Ok(saga))) => {
                match key {
                    Some(key) => self.check_key(process, key, saga, asked),
                    None => self.check_locks(process, &free, saga),
                }
                let until = self.now + PATIENCE;
                self.request(process, Request::Wait(saga, until), Asked::Wait);
            }
            (Asked::Wait, Reply::Report(Some(report))) if report.state == SagaState::Done => {
                self.reports.push(report);
            }
            _ => {}
        }
    }

    /// Creates one entity in a random bubble of the process.
    pub(crate) fn create(&mut self, process: usize) {
        let bubble = self.some_bubble(process);
        self.create_here(process, bubble);
    }

    pub(crate) fn create_in(&mut self, process: usize, bubble: usize) {
        self.create_here(process, bubble_of(process, bubble));
    }

    fn create_here(&mut self, process: usize, bubble: BubbleId) {
        let state = Bytes::copy_from_slice(&0_u64.to_be_bytes());
        let request = Request::Create { bubble, new: NewEntities::One(None), state };
        self.request(process, request, Asked::Create);
    }

    /// Writes a new version of an entity, wherever the caller believes it to be.
    pub(crate) fn put(&mut self, process: usize, id: EntityId) {
        let version = self.next_version;
        self.next_version += 1;
        let mut state = version.to_be_bytes().to_vec();
        if self.padding > 0 {
            state.resize(state.len() + self.random.below(self.padding), version as u8);
        }
        let state = Bytes::from(state);
        self.request(process, Request::Put(id, state), Asked::Put(id, version));
    }

    /// Ends an entity.
    pub(crate) fn delete(&mut self, process: usize, id: EntityId) {
        if let Some(truth) = self.truth.get_mut(&id) {
            truth.delete_asked = true;
        }
        self.request(process, Request::Delete(id), Asked::Delete(id));
    }

    /// Moves entities to a bubble.
    pub(crate) fn migrate(&mut self, process: usize, ids: &[EntityId], to: (usize, usize)) {
        self.migrate_with(process, ids, to, None);
    }

    /// The same under an idempotency key.
    pub(crate) fn migrate_with(
        &mut self,
        process: usize,
        ids: &[EntityId],
        to: (usize, usize),
        key: Option<String>,
    ) {
        self.tell(|| format!("{process} is asked to move {ids:?} to {to:?}"));
        let request = MigrateRequest {
            entities: ids.iter().map(|&id| Expected { id, epoch: None }).collect(),
            to: bubble_of(to.0, to.1),
            idempotency_key: key.clone(),
        };
        let Some(live) = self.processes[process].live.as_ref().filter(|_| self.runs(process))
        else {
            return;
        };
        let free = ids.iter().copied().filter(|id| !live.core.is_claimed(*id)).collect();
        let host = self.host_of(bubble_of(to.0, to.1)).or(Some(self.processes[to.0].id));
        self.request(
            process,
            Request::Migrate { request, host },
            Asked::Migrate(self.now, key, free),
        );
    }

    /// While a key is kept, it means the same saga.
    fn check_key(&mut self, process: usize, key: String, saga: SagaId, asked: Duration) {
        let known = self.keys.entry((process, key)).or_insert((saga, asked));
        if asked >= known.1 + Limits::default().retention {
            *known = (saga, asked);
        } else if known.0 != saga {
            let what = format!("process {process} forgot a key of {}", known.0);
            self.noticed.get_or_insert(what);
        }
    }

    /// An entity without anything undecided under way is not refused as already moving.
    fn check_locks(&mut self, process: usize, free: &[EntityId], saga: SagaId) {
        let Some(live) = &self.processes[process].live else { return };
        let Some(row) = live.core.image().sagas.get(&saga) else { return };
        let locked = row.refused.iter().find(|(id, reason)| {
            free.contains(id) && matches!(reason, Reason::AlreadyMoving { .. })
        });
        if let Some((id, _)) = locked {
            let what = format!("process {process} holds a lock of {id} for nothing");
            self.noticed.get_or_insert(what);
        }
    }

    /// What was reported as committed, as (entity, epoch).
    pub(crate) fn take_committed(&mut self) -> Vec<(EntityId, u64)> {
        let reports = std::mem::take(&mut self.reports);
        let entities = reports.into_iter().flat_map(|report| report.entities);
        entities
            .filter_map(|entity| match entity.outcome {
                Outcome::Committed { epoch } => Some((entity.id, epoch.0)),
                Outcome::Pending | Outcome::Aborted { .. } => None,
            })
            .collect()
    }
}

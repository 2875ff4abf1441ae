use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lampyrid::admin::{Backend, ProcessBubbles, Topology};
use lampyrid::{EventLog, EventStream, NotReady};
use lampyrid_membership::{Status, View, ViewHandle, ViewState};
use lampyrid_migration::{
    Audit, BarReport, BatchError, BubbleMoveReport, DrainReport, DrainState, EntityError,
    EntityPage, EntityRecord, EntityStatus, Expected, MigrateRequest, MovedTo, NewEntities,
    Outcome, Reason, SagaEntity, SagaReport, SagaState, StatusFilter,
};
use lampyrid_wire::{
    BubbleId, ClusterId, EntityId, Epoch, Incarnation, ManualClock, Member, OwnershipEpoch,
    ProcessId, SagaId,
};

/// The bubble that is hosted here.
const HERE: BubbleId = BubbleId::from_u128(0xb1);

#[derive(Default)]
struct State {
    entities: BTreeMap<EntityId, EntityRecord>,
    departed: BTreeMap<EntityId, MovedTo>,
    sagas: BTreeMap<SagaId, SagaReport>,
    keys: BTreeMap<String, SagaId>,
    refusal: Option<Reason>,
    abort: Option<Reason>,
    audit: Audit,
}

pub(crate) struct Fake {
    views: ViewHandle,
    state: Mutex<State>,
    leaving: AtomicBool,
    pub(crate) events: EventLog,
}

fn refused(reason: Reason) -> EntityError {
    EntityError { reason, moved_to: None }
}

impl Fake {
    pub(crate) fn new() -> Self {
        let me = Member {
            process: ProcessId::from_u128(7),
            incarnation: Incarnation(1),
            name: "fake".to_owned(),
            address: "127.0.0.1:2".parse().unwrap(),
            admin: Some("http://127.0.0.1:1".to_owned()),
        };
        let view = View::first(ClusterId::from_u128(1), "test", me.clone());
        let view = Some(Arc::new(view));
        let state = ViewState { me, status: Status::Active, view, waiting_for: Vec::new() };
        Self {
            views: ViewHandle::new(Arc::new(ManualClock::new()), state),
            state: Mutex::default(),
            leaving: AtomicBool::new(false),
            events: EventLog::new(Incarnation(1)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set_status(&self, status: Status) {
        let state = ViewState { status, ..(*self.views.current()).clone() };
        self.views.publish(Arc::new(state));
    }

    pub(crate) fn put_entity(&self, number: u128, bubble: BubbleId, status: EntityStatus) {
        let id = EntityId::from_u128(number);
        let (epoch, state) = (OwnershipEpoch(0), Bytes::from_static(b"1"));
        self.state().entities.insert(id, EntityRecord { id, bubble, epoch, status, state });
    }

    pub(crate) fn move_away(&self, number: u128, to: MovedTo) {
        self.state().departed.insert(EntityId::from_u128(number), to);
    }

    pub(crate) fn refuse_moves(&self, reason: Option<Reason>) {
        self.state().refusal = reason;
    }

    /// Entities stay where they are from now on, and this is why.
    pub(crate) fn abort_moves(&self, reason: Reason) {
        self.state().abort = Some(reason);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::SeqCst)
    }

    /// Tells those who listen of the view.
    pub(crate) fn emit_view(&self) {
        self.events.note_view(self.views.current());
    }
}

impl State {
    fn visible(&self, id: EntityId) -> Result<EntityRecord, EntityError> {
        let found = self.entities.get(&id).filter(|e| e.status != EntityStatus::Staged);
        found.cloned().ok_or_else(|| EntityError {
            reason: Reason::UnknownEntity,
            moved_to: self.departed.get(&id).copied(),
        })
    }

    fn step(&mut self, wanted: Expected, to: BubbleId) -> SagaEntity {
        let outcome = match (self.abort.clone(), self.entities.remove(&wanted.id)) {
            (Some(reason), _) => Outcome::Aborted { reason },
            (None, Some(record)) => {
                self.audit.committed += 1;
                let epoch = record.epoch.next();
                let process = ProcessId::from_u128(8);
                self.departed.insert(wanted.id, MovedTo { process, bubble: to, epoch });
                Outcome::Committed { epoch }
            }
            (None, None) => Outcome::Aborted { reason: Reason::UnknownEntity },
        };
        SagaEntity { id: wanted.id, outcome, latency: Some(Duration::from_micros(1_500)) }
    }
}

#[async_trait]
impl Backend for Fake {
    fn views(&self) -> &ViewHandle {
        &self.views
    }

    fn topology(&self) -> Topology {
        let process = self.views.current().me.process;
        let processes = vec![ProcessBubbles { process, bubbles: vec![HERE] }];
        Topology { epoch: Epoch(1), sequence: 0, processes }
    }

    fn find_process(&self, bubble: BubbleId) -> Option<ProcessId> {
        (bubble == HERE).then(|| self.views.current().me.process)
    }

    fn readiness(&self) -> Result<(), NotReady> {
        match self.views.status() {
            Status::Active => Ok(()),
            status => Err(NotReady::Membership(status)),
        }
    }

    async fn create(
        &self,
        bubble: BubbleId,
        new: NewEntities,
        state: Bytes,
    ) -> Result<Vec<EntityId>, EntityError> {
        if bubble != HERE {
            return Err(refused(Reason::NotHosted));
        }
        let ids: Vec<_> = match new {
            NewEntities::One(id) => vec![id.unwrap_or_else(EntityId::random)],
            NewEntities::Many(count) => (0..count).map(|_| EntityId::random()).collect(),
        };
        let mut all = self.state();
        if ids.iter().any(|id| all.entities.contains_key(id)) {
            return Err(refused(Reason::EntityExists));
        }
        for &id in &ids {
            let (epoch, status, state) = (OwnershipEpoch(0), EntityStatus::Active, state.clone());
            all.entities.insert(id, EntityRecord { id, bubble, epoch, status, state });
        }
        Ok(ids)
    }

    async fn get(&self, id: EntityId) -> Result<EntityRecord, EntityError> {
        self.state().visible(id)
    }

    async fn put(&self, id: EntityId, state: Bytes) -> Result<EntityRecord, EntityError> {
        let mut all = self.state();
        let mut record = all.visible(id)?;
        if record.status == EntityStatus::Frozen {
            return Err(refused(Reason::AlreadyMoving { to: BubbleId::from_u128(0xb2) }));
        }
        record.state = state;
        all.entities.insert(id, record.clone());
        Ok(record)
    }

    async fn delete(&self, id: EntityId) -> Result<(), EntityError> {
        let mut all = self.state();
        all.visible(id)?;
        all.entities.remove(&id);
        Ok(())
    }

    async fn list(
        &self,
        filter: StatusFilter,
        after: Option<EntityId>,
        limit: usize,
    ) -> Result<EntityPage, EntityError> {
        let fits = |record: &&EntityRecord| match filter {
            StatusFilter::All => true,
            StatusFilter::Active => record.status == EntityStatus::Active,
            StatusFilter::Frozen => record.status == EntityStatus::Frozen,
            StatusFilter::Staged => record.status == EntityStatus::Staged,
        };
        let all = self.state();
        let rest = all.entities.values().filter(|record| after.is_none_or(|id| record.id > id));
        let entities: Vec<_> = rest.filter(fits).take(limit).cloned().collect();
        let next = (entities.len() == limit).then(|| entities.last().unwrap().id);
        Ok(EntityPage { entities, next })
    }

    async fn migrate(&self, request: MigrateRequest) -> Result<SagaId, BatchError> {
        let mut all = self.state();
        if let Some(reason) = &all.refusal {
            return Err(BatchError(reason.clone()));
        }
        let key = request.idempotency_key.unwrap_or_default();
        if let Some(saga) = all.keys.get(&key) {
            return Ok(*saga);
        }
        let (saga, to) = (SagaId::random(), request.to);
        let entities = request.entities.into_iter().map(|wanted| all.step(wanted, to)).collect();
        let (state, view_epoch) = (SagaState::Done, Epoch(1));
        all.sagas.insert(saga, SagaReport { saga, state, to, view_epoch, entities });
        all.keys.insert(key, saga);
        Ok(saga)
    }

    async fn saga(&self, id: SagaId) -> Result<Option<SagaReport>, Reason> {
        Ok(self.state().sagas.get(&id).cloned())
    }

    async fn wait(&self, id: SagaId, _: Duration) -> Result<Option<SagaReport>, Reason> {
        self.saga(id).await
    }

    async fn move_bubble(&self, _: BubbleId, _: ProcessId) -> Result<BubbleMoveReport, Reason> {
        Err(Reason::UnknownBubble)
    }

    async fn bubble_move(&self, _: BubbleId) -> Result<Option<BubbleMoveReport>, Reason> {
        Ok(None)
    }

    async fn wait_for_bubble(
        &self,
        _: BubbleId,
        _: Duration,
    ) -> Result<Option<BubbleMoveReport>, Reason> {
        Ok(None)
    }

    async fn cancel_move(&self, _: BubbleId) -> Result<BubbleMoveReport, Reason> {
        Err(Reason::UnknownBubble)
    }

    async fn audit(&self) -> Result<Audit, Reason> {
        let all = self.state();
        let of = |status| all.entities.values().filter(|e| e.status == status).count() as u64;
        let active = of(EntityStatus::Active);
        Ok(Audit { active, frozen: of(EntityStatus::Frozen), ..all.audit })
    }

    async fn drain(&self) -> Result<DrainReport, Reason> {
        self.wait_for_drain(Duration::ZERO).await
    }

    async fn cancel_drain(&self) -> Result<DrainReport, Reason> {
        self.wait_for_drain(Duration::ZERO).await
    }

    async fn wait_for_drain(&self, _: Duration) -> Result<DrainReport, Reason> {
        let state = DrainState::Idle;
        let (bubbles_left, entities_left, in_doubt) = (2, 0, 0);
        let moves = Vec::new();
        Ok(DrainReport { state, bubbles_left, entities_left, in_doubt, moves, reason: None })
    }

    async fn bar(&self, _: ProcessId) -> Result<BarReport, Reason> {
        Err(Reason::StillMember)
    }

    async fn bar_report(&self, process: ProcessId) -> Result<BarReport, Reason> {
        Ok(BarReport {
            process,
            barred: false,
            known: process == ProcessId::from_u128(8),
            complete: false,
            waiting_for: Vec::new(),
            in_doubt: 3,
            reinstalled: 0,
            elsewhere: 0,
        })
    }

    async fn bars(&self) -> Result<Vec<BarReport>, Reason> {
        Ok(Vec::new())
    }

    fn leave(&self) {
        self.leaving.store(true, Ordering::SeqCst);
    }

    fn record_metrics(&self) {
        metrics::counter!("lampyrid_fake_total").absolute(7);
    }

    fn events(&self, after: Option<u64>) -> EventStream {
        self.events.subscribe(after)
    }
}

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lampyrid::{
    BatchError, BubbleId, EntityId, Expected, MigrateRequest, Node, Outcome, Reason, SagaReport,
};
use lampyrid_tests::load::Tally;

/// How long the outcome of a request is waited for before it counts as unanswered.
const WAIT: Duration = Duration::from_secs(60);

/// The entities noted for moves, and how the moves go.
pub(crate) struct Moves {
    pub(crate) node: Arc<Node>,
    noted: Mutex<VecDeque<EntityId>>,
    committed: Mutex<BTreeMap<u64, Arc<AtomicU64>>>,
}

impl Moves {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, noted: Mutex::default(), committed: Mutex::default() }
    }

    /// Notes these instead of those before.
    pub(crate) fn note(&self, ids: Vec<EntityId>) -> u64 {
        let mut noted = lock(&self.noted);
        *noted = ids.into();
        noted.len() as u64
    }

    /// The next noted ones, so many at most.
    pub(crate) fn take(&self, most: usize) -> Vec<EntityId> {
        let mut noted = lock(&self.noted);
        let most = most.min(noted.len());
        noted.drain(..most).collect()
    }

    /// These are still here.
    pub(crate) fn put_back(&self, ids: impl IntoIterator<Item = EntityId>) {
        lock(&self.noted).extend(ids);
    }

    /// How many that order has moved so far.
    pub(crate) fn committed(&self, order: u64) -> u64 {
        lock(&self.committed).get(&order).map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Where that order counts what it has moved.
    pub(crate) fn counter(&self, order: u64) -> Arc<AtomicU64> {
        Arc::clone(lock(&self.committed).entry(order).or_default())
    }

    /// One request from its beginning to its end, counted; gives the entities that did not move
    /// and may do so later. Times count from `due`.
    pub(crate) async fn one(
        &self,
        ids: Vec<EntityId>,
        to: BubbleId,
        due: Instant,
        counter: &AtomicU64,
        tally: &Mutex<Tally>,
    ) -> Result<Vec<EntityId>, BatchError> {
        let single = ids.len() == 1;
        let entities = ids.iter().map(|&id| Expected { id, epoch: None }).collect();
        let request = MigrateRequest { entities, to, idempotency_key: None };
        let report = match self.ask(request).await {
            Ok(report) => report,
            Err(refused) => {
                let mut tally = lock(tally);
                Tally::count(&mut tally.refused, refused.0.code(), ids.len());
                return Err(refused);
            }
        };
        let waited = due.elapsed();
        let mut tally = lock(tally);
        let Some(report) = report else {
            tally.unanswered += ids.len() as u64;
            return Ok(Vec::new());
        };
        let mut stayed = Vec::new();
        for entity in report.entities {
            match entity.outcome {
                Outcome::Committed { .. } => {
                    tally.committed += 1;
                    counter.fetch_add(1, Ordering::Relaxed);
                    // Of many, some are done long before the last.
                    let took = if single { waited } else { entity.latency.unwrap_or(waited) };
                    tally.latencies.record(took);
                }
                Outcome::Aborted { reason } => {
                    Tally::count(&mut tally.aborted, reason.code(), 1);
                    if reason != Reason::UnknownEntity {
                        stayed.push(entity.id);
                    }
                }
                Outcome::Pending => tally.unanswered += 1,
            }
        }
        Ok(stayed)
    }

    /// `None` if nobody can say how it went.
    async fn ask(&self, request: MigrateRequest) -> Result<Option<SagaReport>, BatchError> {
        let saga = self.node.migration().migrate(request).await?;
        Ok(self.node.migration().wait(saga, WAIT).await.ok().flatten())
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

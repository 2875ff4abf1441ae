use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use lampyrid_wire::{BubbleId, EntityId, SagaId};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::child::Site;
use super::cluster::Cluster;
use super::tally::{Counts, Tally};
use crate::cli::answers::Saga;
use crate::cli::client::ClientError;

/// Clients that ask each process for moves.
const MOVERS: usize = 3;

/// The most entities in one request.
const BATCH: usize = 16;

/// How long a client rests between two requests.
const REST: Duration = Duration::from_millis(20);

/// How long a client rests when its process does not answer, or not yet.
const RETRY: Duration = Duration::from_millis(100);

/// What a process is asked to wait for the outcome.
const WAIT: Duration = Duration::from_millis(2_000);

/// Where the entities are, by bubble.
pub(crate) type Homes = BTreeMap<BubbleId, Vec<EntityId>>;

/// The load: clients of every process that ask for one move after the other. A request that was
/// not answered is repeated with its idempotency key until it is, so every outcome is counted, once,
/// whatever was killed in between.
pub(crate) struct Drift {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    movers: JoinSet<()>,
}

struct Shared {
    /// Entities at rest, as far as the reports tell. Those in a request are in none.
    homes: Mutex<Homes>,
    hosts: BTreeMap<BubbleId, usize>,
    sites: Vec<Arc<Site>>,
    tally: Arc<Tally>,
}

struct Mover {
    shared: Arc<Shared>,
    /// The process that it asks.
    at: usize,
    choices: StdRng,
    /// Makes its keys its own.
    label: String,
}

struct Request {
    key: String,
    from: BubbleId,
    to: BubbleId,
    entities: Vec<EntityId>,
}

impl Drift {
    pub(crate) fn start(cluster: &Cluster, homes: &Homes, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            homes: Mutex::new(homes.clone()),
            hosts: cluster.hosts().clone(),
            sites: cluster.sites().to_vec(),
            tally: Arc::default(),
        });
        let (stop, stopping) = watch::channel(false);
        let mut movers = JoinSet::new();
        for at in 0..shared.sites.len() {
            for number in 0..MOVERS {
                let index = (at * MOVERS + number) as u64;
                let mover = Mover {
                    shared: Arc::clone(&shared),
                    at,
                    choices: StdRng::seed_from_u64(seed.wrapping_add(index)),
                    label: format!("demo-{at}-{number}"),
                };
                movers.spawn(mover.run(stopping.clone()));
            }
        }
        Self { shared, stop, movers }
    }

    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// Asks for nothing more, and waits for what is under way.
    pub(crate) async fn stop(mut self, deadline: Instant) -> Counts {
        self.stop.send_replace(true);
        let ended = async { while self.movers.join_next().await.is_some() {} };
        if timeout_at(deadline, ended).await.is_err() {
            tracing::warn!("moves are still under way; the audit will tell");
        }
        self.shared.tally.snapshot()
    }
}

impl Shared {
    fn homes(&self) -> MutexGuard<'_, Homes> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, bubble: BubbleId, entities: impl IntoIterator<Item = EntityId>) {
        self.homes().entry(bubble).or_default().extend(entities);
    }
}

impl Mover {
    async fn run(mut self, stopping: watch::Receiver<bool>) {
        let mut number = 0_u64;
        while !*stopping.borrow() {
            match self.choose(number) {
                Some(request) if self.shared.sites[self.at].is_up() => {
                    number += 1;
                    self.perform(request).await;
                    sleep(REST).await;
                }
                Some(request) => {
                    self.shared.put_back(request.from, request.entities);
                    sleep(RETRY).await;
                }
                None => sleep(RETRY).await,
            }
        }
    }

    /// Entities of one bubble here, and another bubble whose process is up.
    fn choose(&mut self, number: u64) -> Option<Request> {
        let shared = Arc::clone(&self.shared);
        let mut homes = shared.homes();
        let is_mine = |bubble: &BubbleId| shared.hosts.get(bubble) == Some(&self.at);
        let full = homes.iter().filter(|(bubble, ids)| is_mine(bubble) && !ids.is_empty());
        let full: Vec<BubbleId> = full.map(|(bubble, _)| *bubble).collect();
        let from = *full.choose(&mut self.choices)?;
        let open = |host: &usize| shared.sites[*host].is_up();
        let others = shared.hosts.iter().filter(|(bubble, host)| **bubble != from && open(host));
        let others: Vec<BubbleId> = others.map(|(bubble, _)| *bubble).collect();
        let to = *others.choose(&mut self.choices)?;
        let ids = homes.get_mut(&from)?;
        let count = self.choices.random_range(1..=BATCH).min(ids.len());
        let mut entities = Vec::with_capacity(count);
        for _ in 0..count {
            let at = self.choices.random_range(0..ids.len());
            entities.push(ids.swap_remove(at));
        }
        Some(Request { key: format!("{}-{number}", self.label), from, to, entities })
    }

    /// Asks until there is an answer, then until every outcome is final.
    async fn perform(&self, request: Request) {
        let site = &self.shared.sites[self.at];
        let body = json!({
            "entities": request.entities,
            "to": request.to,
            "idempotency_key": request.key,
            "wait_ms": WAIT.as_millis() as u64,
        });
        let saga = loop {
            match site.client().post::<Saga>("/v1/migrations", &body, WAIT).await {
                Ok(saga) => break saga,
                Err(error) if is_passing(&error) => {
                    tracing::debug!(%error, "asking again");
                    sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::debug!(%error, "not moved");
                    self.shared.put_back(request.from, request.entities);
                    return;
                }
            }
        };
        let saga = self.finish(saga).await;
        for entity in &saga.entities {
            self.shared.tally.count(entity);
            let bubble = if entity.outcome == "committed" { request.to } else { request.from };
            self.shared.put_back(bubble, [entity.id]);
        }
    }

    async fn finish(&self, mut saga: Saga) -> Saga {
        let id: SagaId = saga.saga;
        let is_open = |saga: &Saga| {
            saga.entities.is_empty() || saga.entities.iter().any(|e| e.outcome == "pending")
        };
        while is_open(&saga) {
            sleep(RETRY).await;
            match self.shared.sites[self.at].client().get(&format!("/v1/migrations/{id}")).await {
                Ok(newer) => saga = newer,
                Err(error) if error.is("unknown_saga") => break,
                Err(error) => tracing::debug!(%error, "asking again"),
            }
        }
        saga
    }
}

/// True if the same request may be answered otherwise later, or may even be under way: no answer,
/// too much to do, or no quorum now. Any other refusal says that nothing was started.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } => true,
        ClientError::Usage(_) => false,
        ClientError::Refused { status, .. } => {
            status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
        }
    }
}

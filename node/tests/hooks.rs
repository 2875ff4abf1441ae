//! Hooks of a host: a veto, one that is too slow, and being told of what moved.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lampyrid::config::{Bubbles, Cookie, NodeConfig};
use lampyrid::{
    BubbleId, EntityId, Expected, Hook, HookOutcome, Limits, MemoryStore, MigrateRequest, Move,
    MoveHooks, NewEntities, Node, Outcome, OwnershipEpoch, Reason, SagaReport, Veto, async_trait,
};

/// Patience for what happens soon.
const SOON: Duration = Duration::from_secs(60);

/// Counts when it is dropped.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// What the hook does with entities of each state.
#[derive(Clone, Copy)]
enum Mood {
    Veto,
    /// Never answers.
    Think,
    Panic,
}

#[derive(Default)]
struct Host {
    moods: Mutex<BTreeMap<EntityId, Mood>>,
    cut_off: Arc<AtomicUsize>,
    moved: Mutex<Vec<(EntityId, OwnershipEpoch)>>,
}

#[async_trait]
impl MoveHooks for Host {
    async fn pre_migrate(&self, planned: &Move) -> Vec<Veto> {
        let moods = self.moods.lock().unwrap().clone();
        let mut vetoes = Vec::new();
        for (entity, _) in &planned.entities {
            match moods.get(entity) {
                None => {}
                Some(Mood::Veto) => vetoes.push(Veto { entity: *entity, why: "pinned".into() }),
                Some(Mood::Panic) => panic!("a hook that fails on purpose"),
                Some(Mood::Think) => {
                    let _dropped = Dropped(Arc::clone(&self.cut_off));
                    std::future::pending::<()>().await;
                }
            }
        }
        vetoes
    }

    async fn post_migrate(&self, moved: &Move) {
        self.moved.lock().unwrap().extend(&moved.entities);
    }
}

async fn migrate(node: &Node, ids: &[EntityId], to: BubbleId) -> SagaReport {
    let entities = ids.iter().map(|&id| Expected { id, epoch: None }).collect();
    let request = MigrateRequest { entities, to, idempotency_key: None };
    let saga = node.migration().migrate(request).await.unwrap();
    node.migration().wait(saga, SOON).await.unwrap().unwrap()
}

fn outcomes(report: SagaReport) -> Vec<Outcome> {
    report.entities.into_iter().map(|entity| entity.outcome).collect()
}

fn aborted(reason: Reason) -> Outcome {
    Outcome::Aborted { reason }
}

/// One node at a time in an operating-system process, so one test for all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_vetoes_is_cut_off_when_it_is_slow_and_is_told_once_of_each_move() {
    let host = Arc::new(Host::default());
    let mut config = NodeConfig::new("a", Cookie::random());
    config.bubbles = Bubbles::Count(2);
    let node = Node::builder(config)
        .store(Arc::new(MemoryStore::new()))
        .hooks(Arc::clone(&host) as Arc<dyn MoveHooks>)
        .limits(Limits { hook_limit: Duration::from_secs(2), ..Limits::default() })
        .start()
        .await
        .unwrap();
    node.ready().await;
    let [here, there] = node.migration().hosted_bubbles().await.unwrap()[..] else { panic!() };
    let created = node.migration().create(here, NewEntities::Many(4), Bytes::from("{}")).await;
    let [a, b, c, d] = created.unwrap()[..] else { panic!() };
    let moods = [(b, Mood::Veto), (c, Mood::Think), (d, Mood::Panic)];
    host.moods.lock().unwrap().extend(moods);

    let committed = Outcome::Committed { epoch: OwnershipEpoch(1) };
    let found = outcomes(migrate(&node, &[a, b], there).await);
    assert_eq!(found, [committed.clone(), aborted(Reason::Refused("pinned".into()))]);

    let found = outcomes(migrate(&node, &[c], there).await);
    assert_eq!(found, [aborted(Reason::HookTimedOut)]);
    let cut_off = async {
        while host.cut_off.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, cut_off).await.expect("its future is dropped, not left to think");
    let put = node.migration().put(c, Bytes::from("1")).await;
    assert!(put.is_ok(), "it was never locked");

    let found = outcomes(migrate(&node, &[d], there).await);
    assert_eq!(found, [aborted(Reason::HookFailed)]);

    host.moods.lock().unwrap().clear();
    let found = outcomes(migrate(&node, &[b, c, d], there).await);
    assert_eq!(found, vec![committed; 3]);
    let told = async {
        while host.moved.lock().unwrap().len() < 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, told).await.expect("it is told of all that moved");
    let told: BTreeMap<_, _> = host.moved.lock().unwrap().iter().copied().collect();
    assert_eq!(told, [a, b, c, d].map(|id| (id, OwnershipEpoch(1))).into());
    assert_eq!(host.moved.lock().unwrap().len(), 4, "once of each");

    let counters = node.migration().counters();
    let ended = |hook, outcome| counters.hook(hook).ended(outcome);
    assert_eq!(ended(Hook::Pre, HookOutcome::Vetoed), 1);
    assert_eq!(ended(Hook::Pre, HookOutcome::TimedOut), 1);
    assert_eq!(ended(Hook::Pre, HookOutcome::Failed), 1);
    assert_eq!(ended(Hook::Pre, HookOutcome::Done), 1);
    assert_eq!(counters.hook(Hook::Pre).took().count(), 4);
    let p99 = counters.hook(Hook::Pre).took().percentile(99).unwrap();
    assert!(p99 >= Duration::from_secs(2), "{p99:?}");
    node.leave();
    node.stopped().await.unwrap();
}

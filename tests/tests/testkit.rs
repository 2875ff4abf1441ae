//! Whole processes in one, over a network in memory: the worked example of docs/testing.md.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use lampyrid::testkit::{Cluster, Faults, Plan};
use lampyrid::{EntityId, Expected, MigrateRequest, NewEntities, Outcome, SagaReport, Status};

const LIMIT: Duration = Duration::from_secs(60);

/// So many entities in the first bubble of a process, all of them expected from then on.
async fn create(cluster: &Cluster, at: usize, count: usize) -> Vec<EntityId> {
    let node = cluster.node(at);
    let bubble = node.registry().bubbles_of(node.member().process).unwrap().pop_first().unwrap();
    let new = NewEntities::Many(count);
    let ids = node.migration().create(bubble, new, Bytes::from_static(b"state")).await.unwrap();
    cluster.auditor().expect(ids.iter().copied());
    ids
}

/// Asks one process to move entities to the first bubble of another, and waits.
async fn migrate(cluster: &Cluster, from: usize, to: usize, ids: &[EntityId]) -> SagaReport {
    let (source, target) = (cluster.node(from), cluster.node(to));
    let hosted = target.registry().bubbles_of(target.member().process).unwrap();
    let entities = ids.iter().map(|&id| Expected { id, epoch: None }).collect();
    let to = *hosted.first().unwrap();
    let request = MigrateRequest { entities, to, idempotency_key: None };
    let saga = source.migration().migrate(request).await.unwrap();
    source.migration().wait(saga, LIMIT).await.unwrap().unwrap()
}

fn committed(report: &SagaReport) -> usize {
    let outcomes = report.entities.iter().map(|entity| &entity.outcome);
    outcomes.filter(|outcome| matches!(outcome, Outcome::Committed { .. })).count()
}

#[tokio::test]
async fn entities_move_over_a_bad_network_and_through_a_crash_and_none_is_lost_or_doubled() {
    let directory = tempfile::tempdir().unwrap();
    let mut cluster = Plan::new(3).seed(7).data(directory.path()).start().await.unwrap();
    let ids = create(&cluster, 0, 100).await;
    assert_eq!(committed(&migrate(&cluster, 0, 1, &ids[..50]).await), 50);

    // What is lost is sent again, and what comes twice counts once.
    let delay = Duration::ZERO..Duration::from_millis(3);
    cluster.network().set_faults(Faults { loss: 10, repetition: 10, delay });
    let _ = migrate(&cluster, 0, 2, &ids[50..]).await;
    cluster.network().heal();

    cluster.crash(1).await;
    cluster.settled().await.unwrap();
    cluster.start(1).await.unwrap();
    cluster.settled().await.unwrap();

    // Whatever was under way comes to its end.
    let auditor = cluster.auditor();
    loop {
        let findings = auditor.audit(cluster.running()).await.unwrap();
        assert!(findings.is_sound(), "{findings:?}");
        if findings.is_settled() {
            assert_eq!(findings.active, 100);
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn of_a_cut_network_the_smaller_side_is_isolated_and_comes_back() {
    let cluster = Plan::new(3).start().await.unwrap();
    let side = [cluster.address(2)];
    cluster.network().cut_off(&side);
    let alone = cluster.node(2);
    cluster.until("it knows", || alone.view().status() == Status::Isolated).await.unwrap();
    let others = || {
        let views = [0, 1].map(|at| cluster.node(at).view().current());
        views.iter().all(|state| state.view.as_ref().is_some_and(|view| view.size() == 2))
    };
    cluster.until("the others go on without it", others).await.unwrap();
    cluster.network().heal();
    cluster.settled().await.unwrap();
    let findings = cluster.auditor().audit(cluster.running()).await.unwrap();
    assert!(findings.is_settled(), "{findings:?}");
}

//! Real processes that go away in the middle of a move: both at once, for good for a while, or to
//! come back as another life.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use lampyrid_tests::{Cluster, eventually};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

fn bubble(cluster: &Cluster, at: usize) -> String {
    cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone()
}

/// Three nodes, and an entity on the first.
fn stage() -> (Cluster, String, BTreeSet<String>) {
    let cluster = Cluster::start(BINARY, 3);
    let body = json!({ "bubble": bubble(&cluster, 0), "state": "kept" });
    let created = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    let entity = created.body["id"].as_str().expect("an id").to_owned();
    (cluster, entity.clone(), BTreeSet::from([entity]))
}

/// Arms a node with a fault point; the moves it then makes or takes end its life there.
fn arm(cluster: &mut Cluster, at: usize, point: &str) {
    cluster.kill(at);
    cluster.restart_with(at, &[("LAMPYRID_FAULT_POINT", point)]);
    cluster.wait_agreed();
}

fn ask_to_move(cluster: &Cluster, entity: &str, to: &str) {
    let body = json!({ "entities": [entity], "to": to });
    // The answer may be lost with the process.
    let _ = cluster.admin(0).post("/v1/migrations", &body);
}

#[test]
fn both_die_after_the_decision_and_the_entity_is_where_it_was_decided() {
    for point in ["source.commit.after", "send.commit.after"] {
        let (mut cluster, entity, all) = stage();
        let to = bubble(&cluster, 1);
        arm(&mut cluster, 0, point);
        ask_to_move(&cluster, &entity, &to);
        eventually("the source to be dead", || cluster.has_ended(0).then_some(()));
        cluster.kill(1);
        // Whoever comes back first waits for the other.
        cluster.restart(1);
        cluster.restart(0);
        cluster.wait_agreed();
        assert_eq!(cluster.wait_exactly_once(&all)[&entity], 1, "{point}");
    }
}

#[test]
fn both_die_before_the_decision_and_the_entity_is_where_it_was() {
    let (mut cluster, entity, all) = stage();
    let to = bubble(&cluster, 1);
    arm(&mut cluster, 0, "source.commit.before");
    ask_to_move(&cluster, &entity, &to);
    eventually("the source to be dead", || cluster.has_ended(0).then_some(()));
    cluster.kill(1);
    cluster.restart(0);
    cluster.restart(1);
    cluster.wait_agreed();
    assert_eq!(cluster.wait_exactly_once(&all)[&entity], 0);
}

/// The destination is away when the source decides for it: the entity is in doubt, nobody serves it,
/// other entities move on, and it arrives when the destination is back in another life.
#[test]
fn a_decided_move_waits_for_a_destination_that_stays_away() {
    let (mut cluster, entity, mut all) = stage();
    let to = bubble(&cluster, 1);
    arm(&mut cluster, 1, "destination.activate.before");
    ask_to_move(&cluster, &entity, &to);
    eventually("the destination to be dead", || cluster.has_ended(1).then_some(()));
    cluster.wait_agreed();
    eventually("the entity to be in doubt", || {
        let audit = cluster.admin(0).get("/v1/audit")?;
        (audit.body["migrated"]["in_doubt"] == 1).then_some(())
    });
    let gone = cluster.admin(0).get(&format!("/v1/entities/{entity}")).expect("an answer");
    assert_eq!((gone.status, gone.code()), (404, "unknown_entity"));
    let body = json!({ "bubble": bubble(&cluster, 0), "state": "other" });
    let created = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    let other = created.body["id"].as_str().expect("an id").to_owned();
    let moved = cluster.admin(0).migrate(&[&other], &bubble(&cluster, 2), 10_000);
    assert_eq!(moved.expect("an answer").body["entities"][0]["outcome"], "committed");
    all.insert(other);
    // The source is started again meanwhile; it has the decision on disk.
    cluster.kill(0);
    cluster.restart(0);
    cluster.wait_agreed();
    cluster.restart(1);
    cluster.wait_agreed();
    assert_eq!(cluster.wait_exactly_once(&all)[&entity], 1);
}

/// The source leaves politely in the middle, and comes back: the copy that was staged elsewhere
/// never serves.
#[test]
fn a_source_that_leaves_takes_what_is_undecided_with_it() {
    let (mut cluster, entity, all) = stage();
    let to = bubble(&cluster, 1);
    cluster.node(1).freeze();
    ask_to_move(&cluster, &entity, &to);
    assert_eq!(cluster.terminate(0).code(), Some(0));
    cluster.node(1).thaw();
    cluster.wait_agreed();
    let there = cluster.admin(1).get(&format!("/v1/entities/{entity}")).expect("an answer");
    assert_eq!((there.status, there.code()), (404, "unknown_entity"));
    cluster.restart(0);
    cluster.wait_agreed();
    assert_eq!(cluster.wait_exactly_once(&all)[&entity], 0);
}

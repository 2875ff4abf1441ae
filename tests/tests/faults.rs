//! kill -9 before and after every durable record and every message, on both sides of a move.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use lampyrid_tests::{Cluster, eventually};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

fn bubble(cluster: &Cluster, at: usize) -> String {
    cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone()
}

/// One entity with an acknowledged write, one move while `victim` dies at `point`, a restart; then
/// the entity must be active exactly once and carry the write.
fn die_at(cluster: &mut Cluster, point: &str, victim: usize) {
    let (source, destination) = (0, 1);
    cluster.kill(victim);
    cluster.restart_with(victim, &[("LAMPYRID_FAULT_POINT", point)]);
    cluster.wait_agreed();
    let body = json!({ "bubble": bubble(cluster, source), "state": "created" });
    let created = cluster.admin(source).post("/v1/entities", &body).expect("an answer");
    let entity = created.body["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/entities/{entity}");
    let written = cluster.admin(source).put(&path, &json!({ "state": point })).expect("an answer");
    assert_eq!(written.status, 200);
    let to = bubble(cluster, destination);
    // The caller may see anything here but a lie.
    let answer = cluster.admin(source).migrate(&[&entity], &to, 0);
    let saga = answer.and_then(|answer| answer.body["saga"].as_str().map(str::to_owned));
    eventually(&format!("the process to die at {point}"), || {
        if cluster.has_ended(victim) {
            return Some(());
        }
        // A point behind the move's end may need another message to be reached.
        None
    });
    cluster.restart(victim);
    cluster.wait_agreed();
    let places = cluster.wait_exactly_once(&BTreeSet::from([entity.clone()]));
    let at = places[&entity];
    let found = cluster.admin(at).get(&path).expect("an answer");
    assert_eq!(found.body["state"], *point, "the acknowledged write at {point}: {found:?}");
    if let Some(saga) = saga.filter(|_| victim != source) {
        let report = cluster.admin(source).get(&format!("/v1/migrations/{saga}"));
        let report = report.expect("an answer").body;
        let committed = report["entities"][0]["outcome"] == "committed";
        assert_eq!(committed, at == destination, "{point}: {report}");
    }
    // It can be moved again, whatever became of the first attempt.
    let back = usize::from(at == source);
    let to = bubble(cluster, back);
    let answer = eventually(&format!("a move after {point}"), || {
        let answer = cluster.admin(at).migrate(&[&entity], &to, 20_000)?;
        (answer.body["entities"][0]["outcome"] == "committed").then_some(answer)
    });
    assert_eq!(answer.0.body["state"], "done");
    cluster.wait_exactly_once(&BTreeSet::from([entity.clone()]));
    let path = format!("/v1/entities/{entity}");
    let deleted = cluster.admin(back).delete(&path).expect("an answer");
    assert_eq!(deleted.status, 204, "{deleted:?}");
}

#[test]
fn a_crash_at_any_step_of_a_move_leaves_the_entity_active_exactly_once() {
    let mut cluster = Cluster::start(BINARY, 3);
    let mut run = 0;
    for point in lampyrid::FAULT_POINTS {
        let victim = usize::from(point.starts_with("destination"));
        println!("{point}: node {victim}");
        die_at(&mut cluster, point, victim);
        run += 1;
    }
    assert!(run >= 12, "before and after each of six records at least, {run} were run");
    let leftover: Vec<Value> =
        cluster.census().expect("all answer").into_values().flatten().collect();
    assert_eq!(leftover, Vec::<Value>::new());
}

//! Real processes, entities that move: every outcome that a caller can see.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use lampyrid_tests::{Cluster, eventually};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
const NOBODY: &str = "00000000-0000-4000-8000-000000000001";

fn bubble(cluster: &Cluster, at: usize) -> String {
    cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone()
}

fn create(cluster: &Cluster, at: usize, state: &Value) -> String {
    let body = json!({ "bubble": bubble(cluster, at), "state": state });
    let created = cluster.admin(at).post("/v1/entities", &body).expect("an answer");
    assert_eq!(created.status, 201, "{created:?}");
    created.body["id"].as_str().expect("an id").to_owned()
}

fn outcome(saga: &Value) -> (String, String) {
    let entity = &saga["entities"][0];
    let text = |name: &str| entity[name].as_str().unwrap_or_default().to_owned();
    (text("outcome"), text("reason"))
}

fn step(cluster: &Cluster, entity: &str, from: usize, to: usize) -> Value {
    let answer = cluster.admin(from).migrate(&[entity], &bubble(cluster, to), 10_000);
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

#[test]
fn there_and_back_and_there_again() {
    let cluster = Cluster::start(BINARY, 2);
    let entity = create(&cluster, 0, &json!({ "n": 0 }));
    let path = format!("/v1/entities/{entity}");
    for (hop, (from, to)) in [(0, 1), (1, 0), (0, 1), (1, 0)].into_iter().enumerate() {
        let saga = step(&cluster, &entity, from, to);
        assert_eq!(outcome(&saga).0, "committed", "{saga}");
        assert_eq!(saga["entities"][0]["epoch"], hop + 1);
        let here = cluster.admin(to).get(&path).expect("an answer");
        assert_eq!((here.status, &here.body["state"]["n"]), (200, &json!(hop)));
        let gone = cluster.admin(from).get(&path).expect("an answer");
        assert_eq!((gone.status, gone.code()), (404, "unknown_entity"));
        assert_eq!(gone.body["moved_to"]["process"], cluster.node(to).id());
        let written = cluster.admin(to).put(&path, &json!({ "state": { "n": hop + 1 } }));
        assert_eq!(written.expect("an answer").status, 200);
    }
    cluster.wait_exactly_once(&BTreeSet::from([entity]));
}

#[test]
fn to_two_places_at_once_one_wins() {
    let cluster = Cluster::start(BINARY, 3);
    let mut lost = 0;
    for round in 0..20 {
        let entity = create(&cluster, 0, &json!(round));
        let (left, right) = std::thread::scope(|scope| {
            let left = scope.spawn(|| step(&cluster, &entity, 0, 1));
            let right = scope.spawn(|| step(&cluster, &entity, 0, 2));
            (left.join().expect("no panic"), right.join().expect("no panic"))
        });
        let outcomes = [outcome(&left), outcome(&right)];
        let won = outcomes.iter().filter(|(outcome, _)| outcome == "committed").count();
        assert_eq!(won, 1, "{outcomes:?}");
        let reason = &outcomes.iter().find(|(outcome, _)| outcome == "aborted").expect("one").1;
        assert!(["already_moving", "unknown_entity"].contains(&reason.as_str()), "{outcomes:?}");
        lost += 1;
        cluster_has_once(&cluster, &entity);
    }
    assert_eq!(lost, 20);
}

fn cluster_has_once(cluster: &Cluster, entity: &str) {
    eventually("one active copy", || {
        let copies = cluster.census()?.remove(entity)?;
        (copies.len() == 1 && copies[0]["status"] == "active").then_some(())
    });
}

#[test]
fn what_cannot_be_done_has_a_typed_outcome() {
    let cluster = Cluster::start(BINARY, 2);
    let here = cluster.admin(0);
    let entity = create(&cluster, 0, &json!("x"));
    let (own, other) = (bubble(&cluster, 0), bubble(&cluster, 1));

    let same = here.migrate(&[&entity], &own, 5_000).expect("an answer");
    assert_eq!(outcome(&same.body), ("aborted".into(), "same_bubble".into()), "{same:?}");
    let unknown = here.migrate(&[NOBODY], &other, 5_000).expect("an answer");
    assert_eq!(outcome(&unknown.body), ("aborted".into(), "unknown_entity".into()), "{unknown:?}");
    let nowhere = here.migrate(&[&entity], NOBODY, 5_000).expect("an answer");
    assert_eq!((nowhere.status, nowhere.code()), (404, "unknown_bubble"), "{nowhere:?}");

    let expecting = |epoch: u64, key: &str| {
        let body = json!({ "entities": [{ "id": entity, "expected_epoch": epoch }], "to": other,
                           "idempotency_key": key, "wait_ms": 5_000 });
        here.post("/v1/migrations", &body).expect("an answer")
    };
    let wrong = expecting(7, "wrong");
    assert_eq!(outcome(&wrong.body), ("aborted".into(), "epoch_mismatch".into()), "{wrong:?}");
    let first = expecting(0, "right");
    assert_eq!(outcome(&first.body).0, "committed", "{first:?}");
    let again = expecting(0, "right");
    assert_eq!(again.body["saga"], first.body["saga"], "the same key, the same saga");
    let mismatch = expecting(1, "right");
    assert_eq!((mismatch.status, mismatch.code()), (409, "idempotency_mismatch"), "{mismatch:?}");

    let body = json!({ "bubble": own, "id": entity, "state": 0 });
    let exists = here.post("/v1/entities", &body).expect("an answer");
    assert_eq!((exists.status, exists.code()), (409, "entity_exists"), "it left here");
    let body = json!({ "bubble": other, "state": 0 });
    let elsewhere = here.post("/v1/entities", &body).expect("an answer");
    assert_eq!((elsewhere.status, elsewhere.code()), (409, "not_hosted"));
    cluster.wait_exactly_once(&BTreeSet::from([entity]));
}

#[test]
fn a_batch_has_an_outcome_for_each_and_large_states_go_too() {
    let cluster = Cluster::start(BINARY, 2);
    let body = json!({ "bubble": bubble(&cluster, 0), "count": 2_000, "state": { "k": "v" } });
    let created = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    let ids: Vec<String> = created.body["ids"]
        .as_array()
        .expect("ids")
        .iter()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    let large = create(&cluster, 0, &json!("y".repeat(1_000_000)));
    let mut asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    asked.extend([NOBODY, &large]);
    let answer = cluster.admin(0).migrate(&asked, &bubble(&cluster, 1), 60_000).expect("an answer");
    let entities = answer.body["entities"].as_array().expect("outcomes");
    assert_eq!(entities.len(), 2_002);
    let committed = entities.iter().filter(|e| e["outcome"] == "committed").count();
    assert_eq!(committed, 2_001, "state {}", answer.body["state"]);
    let expected: BTreeSet<String> = ids.into_iter().chain([large]).collect();
    let places = cluster.wait_exactly_once(&expected);
    assert!(places.values().all(|&at| at == 1));
}

#[test]
fn a_deleted_entity_stays_deleted_and_a_frozen_destination_harms_nothing() {
    let cluster = Cluster::start(BINARY, 3);
    let entity = create(&cluster, 0, &json!(1));
    let path = format!("/v1/entities/{entity}");
    assert_eq!(cluster.admin(0).delete(&path).expect("an answer").status, 204);
    assert_eq!(cluster.admin(0).get(&path).expect("an answer").status, 404);
    let kept = create(&cluster, 0, &json!(2));
    let (to_frozen, to_other) = (bubble(&cluster, 1), bubble(&cluster, 2));
    cluster.node(1).freeze();
    let answer = cluster.admin(0).migrate(&[&kept], &to_frozen, 20_000).expect("an answer");
    assert_eq!(outcome(&answer.body).0, "aborted", "{answer:?}");
    let moved = eventually("the entity to go elsewhere", || {
        let answer = cluster.admin(0).migrate(&[&kept], &to_other, 20_000)?;
        (outcome(&answer.body).0 == "committed").then_some(answer)
    });
    eprintln!("{:?}", moved.0.body);
    cluster.node(1).thaw();
    cluster.wait_agreed();
    cluster.wait_exactly_once(&BTreeSet::from([kept]));
}

//! Real processes, whole bubbles that move.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use lampyrid_tests::{Cluster, eventually};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
const NOBODY: &str = "00000000-0000-4000-8000-000000000001";

fn bubble(cluster: &Cluster, at: usize) -> String {
    cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone()
}

fn create(cluster: &Cluster, at: usize, bubble: &str, count: usize) -> BTreeSet<String> {
    let body = json!({ "bubble": bubble, "count": count, "state": { "n": 0 } });
    let created = cluster.admin(at).post("/v1/entities", &body).expect("an answer");
    assert_eq!(created.status, 201, "{created:?}");
    let ids = created.body["ids"].as_array().expect("ids").clone();
    ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect()
}

fn start(cluster: &Cluster, at: usize, bubble: &str, to: usize) -> u16 {
    let body = json!({ "to_process": cluster.node(to).id() });
    let answer = cluster.admin(at).post(&format!("/v1/bubbles/{bubble}/move"), &body);
    answer.map_or(0, |answer| answer.status)
}

/// Waits until the registry of every running node names that host.
fn wait_hosted(cluster: &Cluster, bubble: &str, at: usize) {
    let id = cluster.node(at).id();
    eventually("everybody to know the host", || {
        let knows = |&node: &usize| {
            let answer = cluster.admin(node).get(&format!("/v1/bubbles/{bubble}"))?;
            Some(answer.body["process"] == id.as_str())
        };
        cluster.running().iter().all(|node| knows(node) == Some(true)).then_some(())
    });
}

fn wait_over(cluster: &Cluster, at: usize, bubble: &str) -> Value {
    eventually("the move to be over", || {
        let answer = cluster.admin(at).get(&format!("/v1/bubbles/{bubble}/move"))?;
        let over = ["done", "aborted"].iter().any(|state| answer.body["state"] == *state);
        over.then_some(answer.body)
    })
    .0
}

#[test]
fn a_bubble_moves_with_all_its_entities_and_keeps_its_id() {
    let cluster = Cluster::start(BINARY, 3);
    let moving = bubble(&cluster, 0);
    let entities = create(&cluster, 0, &moving, 1_500);
    let path = format!("/v1/bubbles/{moving}/move");
    let body = json!({ "to_process": cluster.node(1).id(), "wait_ms": 60_000 });
    let answer = cluster.admin(0).post(&path, &body).expect("an answer");
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("done")), "{answer:?}");
    assert_eq!(answer.body["entities"], json!({ "moved": 1_500, "left": 0 }), "{answer:?}");
    wait_hosted(&cluster, &moving, 1);
    let places = cluster.wait_exactly_once(&entities);
    assert!(places.values().all(|&at| at == 1));

    // The old host says where it went, and hosts nothing in its name.
    let one = entities.first().expect("one");
    let gone = cluster.admin(0).get(&format!("/v1/entities/{one}")).expect("an answer");
    assert_eq!((gone.status, gone.code()), (404, "unknown_entity"));
    assert_eq!(gone.body["moved_to"]["process"], cluster.node(1).id());
    assert_eq!(gone.body["moved_to"]["bubble"], moving);
    let body = json!({ "bubble": moving, "state": 1 });
    let refused = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    assert_eq!((refused.status, refused.code()), (409, "not_hosted"), "{refused:?}");
    let fresh = create(&cluster, 1, &moving, 1);
    let here = cluster.admin(1).get(&format!("/v1/entities/{one}")).expect("an answer");
    assert_eq!((&here.body["epoch"], &here.body["status"]), (&json!(1), &json!("active")));

    // And back again, with what was added.
    let body = json!({ "to_process": cluster.node(0).id(), "wait_ms": 60_000 });
    let answer = cluster.admin(1).post(&path, &body).expect("an answer");
    assert_eq!(answer.body["state"], "done", "{answer:?}");
    wait_hosted(&cluster, &moving, 0);
    let all: BTreeSet<String> = entities.union(&fresh).cloned().collect();
    let places = cluster.wait_exactly_once(&all);
    assert!(places.values().all(|&at| at == 0));
}

#[test]
fn what_cannot_be_done_with_a_bubble_has_a_typed_reason() {
    let cluster = Cluster::start(BINARY, 2);
    let (own, other) = (bubble(&cluster, 0), bubble(&cluster, 1));
    let ask = |bubble: &str, to: &str| {
        let body = json!({ "to_process": to });
        let path = format!("/v1/bubbles/{bubble}/move");
        let answer = cluster.admin(0).post(&path, &body).expect("an answer");
        (answer.status, answer.code().to_owned())
    };
    let (here, there) = (cluster.node(0).id(), cluster.node(1).id());
    assert_eq!(ask(NOBODY, &there), (404, "unknown_bubble".into()));
    assert_eq!(ask(&other, &here), (409, "not_hosted".into()));
    assert_eq!(ask(&own, NOBODY), (404, "unknown_process".into()));
    assert_eq!(ask(&own, &here), (409, "same_process".into()));
    let none = cluster.admin(0).get(&format!("/v1/bubbles/{own}/move")).expect("an answer");
    assert_eq!((none.status, none.code()), (404, "unknown_move"));
    let body = json!({ "to_process": there, "surprise": 1 });
    let bad = cluster.admin(0).post(&format!("/v1/bubbles/{own}/move"), &body).expect("an answer");
    assert_eq!(bad.status, 400, "{bad:?}");
}

/// The taker freezes: what has not gone serves here, and says where it is going while it cannot.
#[test]
fn a_move_to_a_frozen_process_harms_nothing_and_goes_on_or_is_given_up() {
    let cluster = Cluster::start(BINARY, 3);
    let moving = bubble(&cluster, 0);
    let entities = create(&cluster, 0, &moving, 50);
    cluster.node(1).freeze();
    assert_eq!(start(&cluster, 0, &moving, 1), 202);
    let body = json!({ "bubble": moving, "state": 1 });
    let during = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    if during.status != 201 {
        assert_eq!((during.status, during.code()), (409, "already_moving"), "{during:?}");
        assert_eq!(during.body["to"], moving);
    }
    let over = wait_over(&cluster, 0, &moving);
    assert_eq!(over["state"], "aborted", "{over}");
    cluster.node(1).thaw();
    cluster.wait_agreed();
    let mut all = entities;
    all.extend(during.body["id"].as_str().map(str::to_owned));
    let places = cluster.wait_exactly_once(&all);
    assert!(places.values().all(|&at| at == 0));
    let (again, _) = eventually("the move to be taken up again", || {
        (start(&cluster, 0, &moving, 1) == 202).then(|| wait_over(&cluster, 0, &moving))
    });
    assert_eq!(again["state"], "done", "{again}");
    wait_hosted(&cluster, &moving, 1);
    cluster.wait_exactly_once(&all);
}

/// Either side dies at every step of the hand-over that is its own; the bubble arrives with
/// everything in it. `LAMPYRID_FAULT_FILTER=host` runs the points of that name only.
#[test]
fn a_crash_at_any_step_of_the_hand_over_leaves_the_bubble_with_one_host_and_all_its_entities() {
    let filter = std::env::var("LAMPYRID_FAULT_FILTER").unwrap_or_default();
    let mut cluster = Cluster::start(BINARY, 3);
    let moving = bubble(&cluster, 0);
    let entities = create(&cluster, 0, &moving, 30);
    let mut at = 0;
    for point in lampyrid::BUBBLE_FAULT_POINTS.iter().filter(|point| point.contains(&filter)) {
        let of_taker = ["bubble.take", "bubble.host", "taking_bubble", "bubble_hosted"];
        let to = 1 - at;
        let victim = if of_taker.iter().any(|part| point.contains(part)) { to } else { at };
        eprintln!("{point}: node {victim} dies");
        cluster.kill(victim);
        cluster.restart_with(victim, &[("LAMPYRID_FAULT_POINT", point)]);
        cluster.wait_agreed();
        wait_hosted(&cluster, &moving, at);
        start(&cluster, at, &moving, to);
        eventually(point, || cluster.has_ended(victim).then_some(()));
        cluster.restart(victim);
        cluster.wait_agreed();
        cluster.wait_exactly_once(&entities);
        // A crash before the first record is as if nobody had asked.
        if *point == "bubble.move.before" {
            assert_eq!(start(&cluster, at, &moving, to), 202);
        }
        wait_hosted(&cluster, &moving, to);
        let places = eventually("all entities to be with their bubble", || {
            let places = cluster.wait_exactly_once(&entities);
            places.values().all(|&place| place == to).then_some(())
        });
        eprintln!("{point}: there after {:?}", places.1);
        let over = wait_over(&cluster, at, &moving);
        assert_eq!(over["state"], "done", "{point}: {over}");
        at = to;
    }
}

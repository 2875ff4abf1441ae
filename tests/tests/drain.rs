//! Real processes that are drained.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use lampyrid_tests::{Cluster, Options, eventually};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

/// Four nodes of which the first hosts six bubbles; entities in each of these.
fn stage(entities: usize) -> (Cluster, BTreeSet<String>, Vec<String>) {
    let mut cluster = Cluster::empty(BINARY);
    cluster.add(Options::default().with("--bubbles", "6"));
    for _ in 0..3 {
        cluster.add(Options::default());
    }
    cluster.wait_agreed();
    let bubbles = cluster.admin(0).bubbles_of(&cluster.node(0).id());
    assert_eq!(bubbles.len(), 6);
    let mut all = BTreeSet::new();
    for (n, bubble) in bubbles.iter().enumerate() {
        let count = (entities + n) / bubbles.len();
        let state = "x".repeat(254);
        let body = json!({ "bubble": bubble, "count": count, "state": state });
        let created = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
        let ids = created.body["ids"].as_array().expect("ids").clone();
        all.extend(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)));
    }
    (cluster, all, bubbles)
}

fn wait_hosted(cluster: &Cluster, bubbles: &[String]) {
    let running: Vec<String> = cluster.running().iter().map(|&at| cluster.node(at).id()).collect();
    eventually("every bubble to have a running host", || {
        cluster
            .running()
            .iter()
            .all(|&at| {
                bubbles.iter().all(|bubble| {
                    let answer = cluster.admin(at).get(&format!("/v1/bubbles/{bubble}"));
                    let host = answer.map(|answer| answer.body["process"].clone());
                    host.is_some_and(|host| running.iter().any(|id| host == id.as_str()))
                })
            })
            .then_some(())
    });
}

/// What must hold is printed, as wall time of the whole, for a machine that is not busy otherwise.
#[test]
fn ten_thousand_entities_go_to_three_others_and_the_process_leaves() {
    let (mut cluster, entities, bubbles) = stage(10_000);
    assert_eq!(entities.len(), 10_000);
    let started = Instant::now();
    let begun = cluster.admin(0).post("/v1/drain", &json!({})).expect("an answer");
    assert_eq!((begun.status, &begun.body["state"]), (202, &json!("running")), "{begun:?}");
    // While it goes on, nothing new comes here; asking again changes nothing.
    let body = json!({ "bubble": bubbles[0], "state": 1 });
    let refused = cluster.admin(0).post("/v1/entities", &body);
    assert!(refused.is_none_or(|answer| (answer.status, answer.code()) == (503, "draining")));
    let done = cluster.admin(0).post("/v1/drain", &json!({ "wait_ms": 60_000 }));
    let drained = started.elapsed();
    assert!(done.is_none_or(|answer| answer.body["state"] == "done"));
    let status = cluster.wait_exit(0);
    assert_eq!(status.code(), Some(0));
    let left = started.elapsed();
    let places = cluster.wait_exactly_once(&entities);
    wait_hosted(&cluster, &bubbles);
    let served = started.elapsed();
    eprintln!("10,000 of 256 B: drained {drained:?}, left {left:?}, all served {served:?}");
    let hosts: BTreeSet<usize> = places.values().copied().collect();
    assert_eq!(hosts, BTreeSet::from([1, 2, 3]), "spread");
    cluster.wait_agreed();
    // Started again it is a process without bubbles, like any other.
    cluster.restart(0);
    cluster.wait_agreed();
    assert!(cluster.admin(0).bubbles_of(&cluster.node(0).id()).is_empty());
    cluster.wait_exactly_once(&entities);
}

/// The process dies in the middle; started again it goes on by itself.
#[test]
fn a_drain_goes_on_after_a_kill() {
    let (mut cluster, entities, bubbles) = stage(3_000);
    let begun = cluster.admin(0).post("/v1/drain", &json!({})).expect("an answer");
    assert_eq!(begun.status, 202, "{begun:?}");
    eventually("some to have gone", || {
        let answer = cluster.admin(0).get("/v1/drain")?;
        (answer.body["entities_left"].as_u64()? < 3_000).then_some(())
    });
    cluster.kill(0);
    cluster.restart(0);
    assert_eq!(cluster.wait_exit(0).code(), Some(0));
    cluster.wait_agreed();
    cluster.wait_exactly_once(&entities);
    wait_hosted(&cluster, &bubbles);
}

/// A process that is frozen from the start takes nothing: its share goes to the others.
#[test]
fn a_drain_goes_around_a_frozen_process() {
    let (mut cluster, entities, bubbles) = stage(600);
    cluster.node(1).freeze();
    let begun = cluster.admin(0).post("/v1/drain", &json!({})).expect("an answer");
    assert_eq!(begun.status, 202, "{begun:?}");
    assert_eq!(cluster.wait_exit(0).code(), Some(0));
    cluster.node(1).thaw();
    cluster.wait_agreed();
    let places = cluster.wait_exactly_once(&entities);
    assert!(places.values().all(|&at| at != 1), "nothing went to the frozen one");
    wait_hosted(&cluster, &bubbles);
}

#[test]
fn the_command_shows_the_end_and_can_stop_it() {
    let (mut cluster, entities, bubbles) = stage(600);
    let run = |cluster: &Cluster, arguments: &[&str]| {
        let url = cluster.admin(0).base().to_owned();
        let output = Command::new(BINARY)
            .args(arguments)
            .args(["--admin", &url])
            .output()
            .expect("the binary under test starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    // Nobody has asked for a drain: to cancel it changes nothing.
    let (code, text, _) = run(&cluster, &["drain", "--cancel"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("stays, with 6 bubbles and 600 entities"), "{text}");
    let (code, text, errors) = run(&cluster, &["drain", "--json"]);
    assert_eq!(code, Some(0), "{text} {errors}");
    let summary: Value = serde_json::from_str(&text).expect("one JSON object");
    assert_eq!(summary["state"], "left", "{summary}");
    assert_eq!((&summary["bubbles"], &summary["entities"]), (&json!(6), &json!(600)));
    assert_eq!(cluster.wait_exit(0).code(), Some(0));
    cluster.wait_exactly_once(&entities);
    wait_hosted(&cluster, &bubbles);
}

#[test]
fn leaving_with_a_drain_takes_everything_along() {
    let (mut cluster, entities, bubbles) = stage(60);
    let status = Command::new(BINARY)
        .args(["leave", "--drain", "--admin", cluster.admin(0).base()])
        .status()
        .expect("the binary under test starts");
    assert_eq!(status.code(), Some(0));
    assert_eq!(cluster.wait_exit(0).code(), Some(0));
    cluster.wait_exactly_once(&entities);
    wait_hosted(&cluster, &bubbles);
}

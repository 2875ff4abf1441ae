//! The log lines of two processes about one move are joined by its saga.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use lampyrid_tests::{Cluster, Options, eventually};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

/// What the lines of that saga say in the log of a process, each with its view.
fn lines(cluster: &Cluster, at: usize, saga: &str) -> BTreeSet<(String, u64)> {
    let log = cluster.node(at).stderr();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = lines.filter(|line| line["saga"] == saga);
    told.map(|line| {
        let text = line["message"].as_str().expect("a message").to_owned();
        (text, line["view"].as_u64().expect("the epoch of a view"))
    })
    .collect()
}

#[test]
fn both_processes_log_a_move_under_its_saga_and_view() {
    let mut cluster = Cluster::empty(BINARY);
    let json = |filter| Options::default().with("--log-format", "json").with("--log", filter);
    cluster.add(json("info,lampyrid_migration=debug"));
    cluster.add(json("info,lampyrid_migration=debug"));
    let (view, _) = cluster.wait_agreed();
    let epoch = view["epoch"].as_u64().expect("an epoch");
    let bubble = |at: usize| cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone();
    let body = json!({ "bubble": bubble(0), "state": 1 });
    let created = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    let entity = created.body["id"].as_str().expect("an id").to_owned();

    let moved = cluster.admin(0).migrate(&[&entity], &bubble(1), 10_000).expect("an answer");
    assert_eq!(moved.body["entities"][0]["outcome"], "committed", "{moved:?}");
    let saga = moved.body["saga"].as_str().expect("a saga").to_owned();
    let all = |texts: &[&str]| {
        texts.iter().map(|text| ((*text).to_owned(), epoch)).collect::<BTreeSet<_>>()
    };
    let source = all(&[
        "a move was started",
        "a part of a move was prepared",
        "a part of a move was decided",
        "a part of a move has arrived",
        "a move is over",
    ]);
    let destination = all(&["a part of a move was staged", "a part of a move was activated"]);
    // The line of the end comes after the answer.
    eventually("the lines of both", || {
        let told = [lines(&cluster, 0, &saga), lines(&cluster, 1, &saga)];
        (told == [source.clone(), destination.clone()]).then_some(())
    });

    // It is in that bubble already: over before it has begun.
    let stays = cluster.admin(1).migrate(&[&entity], &bubble(1), 10_000).expect("an answer");
    assert_eq!(stays.body["entities"][0]["reason"], "same_bubble", "{stays:?}");
    let saga = stays.body["saga"].as_str().expect("a saga").to_owned();
    let wanted = all(&["a move was started", "a move is over"]);
    eventually("the lines of one that stays", || {
        (lines(&cluster, 1, &saga) == wanted && lines(&cluster, 0, &saga).is_empty()).then_some(())
    });
}

//! Real processes of which one is lost for good while a move to it is in doubt, and barred.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;
use std::process::Command;

use lampyrid_tests::{Cluster, NodeProcess, eventually};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

fn bubble(cluster: &Cluster, at: usize) -> String {
    cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone()
}

fn bar(cluster: &Cluster, at: usize, process: &str) -> (Option<i32>, String) {
    let output = Command::new(BINARY)
        .args(["bar", "--yes", "--wait", "30s", "--admin", cluster.admin(at).base(), process])
        .output()
        .expect("the binary under test starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

/// An id that is no process's is most likely a mistake, and a bar is for ever.
#[test]
fn a_process_that_nobody_knows_is_not_barred_without_a_word() {
    let cluster = Cluster::start(BINARY, 2);
    let nobody = "0a0a0a0a-0000-4000-8000-000000000001";
    let (code, text) = bar(&cluster, 0, nobody);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("unknown_process") && text.contains("Nothing was changed"), "{text}");
    let barred = cluster.admin(0).get("/v1/barred").expect("an answer");
    assert_eq!(barred.body["barred"], json!([]));
}

/// A move is decided, and its destination dies before it has activated: it is barred, the entity
/// comes back two epochs on, and the process never gets in again, whoever was restarted since.
#[test]
fn what_left_for_a_process_that_is_barred_comes_back_and_the_process_does_not() {
    let mut cluster = Cluster::start(BINARY, 4);
    let (lost, target) = (cluster.node(3).id(), bubble(&cluster, 3));
    let body = json!({ "bubble": bubble(&cluster, 0), "state": "kept" });
    let created = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    let entity = created.body["id"].as_str().expect("an id").to_owned();
    let path = format!("/v1/entities/{entity}");

    // A member is not barred.
    let (code, text) = bar(&cluster, 0, &lost);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("still_member"), "{text}");

    cluster.kill(3);
    cluster.restart_with(3, &[("LAMPYRID_FAULT_POINT", "destination.activate.before")]);
    cluster.wait_agreed();
    let answer = eventually("the move to be decided", || {
        let answer = cluster.admin(0).migrate(&[&entity], &target, 3_000)?;
        (answer.status == 200 && answer.body["state"] == "in_doubt").then_some(answer)
    });
    let saga = answer.0.body["saga"].as_str().expect("a saga").to_owned();
    eventually("the destination to be dead", || cluster.has_ended(3).then_some(()));
    cluster.wait_agreed();
    assert_eq!(cluster.admin(0).get(&path).expect("an answer").status, 404, "in doubt");
    let audit = Command::new(BINARY).args(["audit", "--admin", cluster.admin(0).base()]).output();
    let audit = String::from_utf8_lossy(&audit.expect("the binary starts").stdout).into_owned();
    assert!(audit.contains("in doubt    1\n"), "{audit}");

    // Who has nothing in doubt with it has met it all the same.
    let path_of_lost = format!("/v1/barred/{lost}");
    let known = cluster.admin(1).get(&path_of_lost).expect("an answer");
    assert_eq!((&known.body["state"], &known.body["known"]), (&json!("not_barred"), &json!(true)));
    let (code, text) = bar(&cluster, 0, &lost);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("took 1 entities back"), "{text}");
    assert!(text.contains("in doubt  1 entities that left for it, at the 3 members"), "{text}");
    let back = cluster.admin(0).get(&path).expect("an answer");
    assert_eq!((&back.body["state"], &back.body["epoch"]), (&json!("kept"), &json!(2)));
    let outcome = cluster.admin(0).get(&format!("/v1/migrations/{saga}")).expect("an answer");
    assert_eq!(outcome.body["entities"][0]["reason"], "barred", "{outcome:?}");

    // All of them know, also after they were all started again.
    cluster.lose(&[0, 1, 2]);
    for at in 0..3 {
        cluster.restart(at);
    }
    let (before, _) = cluster.wait_agreed();
    for at in 0..3 {
        let barred = cluster.admin(at).get("/v1/barred").expect("an answer");
        assert_eq!(barred.body["barred"][0]["process"], lost.as_str(), "{barred:?}");
        assert_eq!(barred.body["barred"][0]["state"], "done", "{barred:?}");
    }
    // The lost one is told, and ends. Its directory stays what it is, so it ends again.
    for _ in 0..2 {
        let (status, text) = match NodeProcess::start(BINARY.as_ref(), &cluster.options(3)) {
            Err(end) => end,
            Ok(mut node) => (node.wait_exit(), node.stderr()),
        };
        assert_eq!(status.code(), Some(1), "{text}");
        for word in ["this process was barred from its cluster for ever", "--as-new-process"] {
            assert!(text.contains(word), "{text}");
        }
    }
    let (after, _) = cluster.wait_agreed();
    assert_eq!(after["id"], before["id"], "no view change came of it");

    // Who joins later learns it.
    let late = cluster.add(lampyrid_tests::Options::default());
    cluster_of(&cluster, &[0, 1, 2, late]);
    eventually("the new member to know", || {
        let barred = cluster.admin(late).get("/v1/barred")?;
        (barred.body["barred"][0]["process"] == lost.as_str()).then_some(())
    });
    cluster.wait_exactly_once(&BTreeSet::from([entity.clone()]));
    let moved = cluster.admin(0).migrate(&[&entity], &bubble(&cluster, 1), 10_000);
    assert_eq!(moved.expect("an answer").body["entities"][0]["outcome"], "committed");
    cluster.wait_exactly_once(&BTreeSet::from([entity]));
}

fn cluster_of(cluster: &Cluster, places: &[usize]) {
    eventually("one view", || cluster.agreed(places));
}

/// An expected epoch makes a repetition safe, whichever way the first went.
#[test]
fn a_repeated_move_with_an_expected_epoch_never_moves_twice() {
    let cluster = Cluster::start(BINARY, 2);
    let body = json!({ "bubble": bubble(&cluster, 0), "state": 0 });
    let created = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    let entity = created.body["id"].as_str().expect("an id").to_owned();
    let ask = |at: usize, to: usize, epoch: u64| {
        let body = json!({ "entities": [{ "id": entity, "expected_epoch": epoch }],
                           "to": bubble(&cluster, to), "wait_ms": 10_000 });
        let answer = cluster.admin(at).post("/v1/migrations", &body).expect("an answer");
        let one = &answer.body["entities"][0];
        (one["outcome"].clone(), one["reason"].clone())
    };
    assert_eq!(ask(0, 1, 0).0, "committed");
    assert_eq!(ask(1, 0, 1).0, "committed");
    // The first request again, late: the entity is there, but not as it was.
    assert_eq!(ask(0, 1, 0), (json!("aborted"), json!("epoch_mismatch")));
    assert_eq!(ask(0, 1, 2).0, "committed");
}

//! A majority that is lost for good: `lampyrid recover`, on the data directories of real processes.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use lampyrid_tests::{Cluster, NodeProcess, Options, eventually};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

fn recover(data_dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("recover").arg("--data-dir").arg(data_dir).args(arguments).stdin(Stdio::null());
    command.env_remove("RUST_LOG").output().expect("the command runs")
}

/// The cluster id that a successful command prints.
#[track_caller]
fn recovered(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{why}");
    let mut words = text.split_whitespace();
    assert_eq!(words.next(), Some("cluster"), "{text}");
    words.next().expect("an id").to_owned()
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(output.stdout.is_empty(), "stdout is for results");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

fn cluster_id(cluster: &Cluster, at: usize) -> String {
    let view = cluster.admin(at).view().expect("it answers");
    view["cluster_id"].as_str().expect("a cluster id").to_owned()
}

fn create(cluster: &Cluster, at: usize, count: usize) -> BTreeSet<String> {
    let bubble = cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone();
    let body = json!({ "bubble": bubble, "count": count, "state": at });
    let created = cluster.admin(at).post("/v1/entities", &body).expect("an answer");
    let ids = created.body["ids"].as_array().expect("ids").clone();
    ids.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[test]
fn what_is_left_goes_on_in_a_new_cluster_and_the_others_join_it_by_command_only() {
    let mut cluster = Cluster::start(BINARY, 3);
    let old = cluster_id(&cluster, 0);
    let mut expected: BTreeSet<String> = (0..3).flat_map(|at| create(&cluster, at, 20)).collect();
    let ids: Vec<String> = (0..3).map(|at| cluster.node(at).id()).collect();
    cluster.lose(&[0, 1, 2]);

    let output = recover(&cluster.data_dir(0), &["--force-new-cluster", "--yes"]);
    let new = recovered(&output);
    assert_ne!(new, old);
    let told = String::from_utf8_lossy(&output.stderr);
    for word in [&old, &ids[1], &ids[2], "node-1", "entities  20", "--join-new-cluster"] {
        assert!(told.contains(word), "`{word}` is not in: {told}");
    }

    // It needs nobody, serves what it has, and takes new work.
    cluster.restart(0);
    let (view, _) = cluster.wait_agreed();
    assert_eq!(view["cluster_id"], json!(new));
    expected.extend(create(&cluster, 0, 5));

    // One of the old cluster meets it, is refused, and stays what it is.
    cluster.restart(1);
    eventually("the old member to be refused", || {
        cluster.node(1).stderr().contains("another cluster").then_some(())
    });
    assert_eq!(cluster_id(&cluster, 1), old);
    let stranded = cluster.admin(1).view().expect("it answers");
    assert_eq!((&stranded["status"], &stranded["coordinator"]), (&json!("isolated"), &Value::Null));
    assert!(cluster.agreed(&[0]).is_some_and(|now| now["id"] == view["id"]), "undisturbed");

    // By command it comes over, as the process it was and with all it has.
    cluster.kill(1);
    let output = recover(&cluster.data_dir(1), &["--join-new-cluster", &new, "--yes"]);
    assert_eq!(recovered(&output), new);
    cluster.restart(1);
    cluster.wait_agreed();
    let output = recover(&cluster.data_dir(2), &["--join-new-cluster", &new, "--yes"]);
    assert_eq!(recovered(&output), new);
    cluster.restart(2);
    let (view, _) = cluster.wait_agreed();
    assert_eq!(view["cluster_id"], json!(new));
    assert_eq!((0..3).map(|at| cluster.node(at).id()).collect::<Vec<_>>(), ids);
    cluster.wait_exactly_once(&expected);

    // The new cluster heals like any other, and there is no way back.
    cluster.lose(&[0, 1, 2]);
    for at in 0..3 {
        refused(
            &recover(&cluster.data_dir(at), &["--join-new-cluster", &old, "--yes"]),
            1,
            &["former_cluster"],
        );
        cluster.restart(at);
    }
    cluster.wait_agreed();
    cluster.wait_exactly_once(&expected);
}

#[test]
fn force_is_refused_while_anybody_of_the_last_view_answers_even_frozen() {
    let mut cluster = Cluster::start(BINARY, 3);
    cluster.lose(&[0, 1]);
    cluster.node(2).freeze();
    let force = ["--force-new-cluster", "--yes"];
    let output = recover(&cluster.data_dir(0), &force);
    refused(&output, 1, &["member_answered", "node-2", &cluster.node(2).address()]);
    cluster.node(2).thaw();
    refused(&recover(&cluster.data_dir(0), &force), 1, &["member_answered", "node-2"]);
    refused(&recover(&cluster.data_dir(2), &force), 1, &["data_directory_in_use", "node-2"]);
    // Nothing came of it.
    cluster.restart(0);
    cluster.restart(1);
    cluster.wait_agreed();
}

#[test]
fn who_has_left_or_was_never_in_has_nothing_to_force() {
    let mut cluster = Cluster::start(BINARY, 3);
    let force = ["--force-new-cluster", "--yes"];
    assert!(cluster.terminate(2).success());
    refused(&recover(&cluster.data_dir(2), &force), 1, &["removed"]);
    let stranger = cluster.path().join("stranger");
    let never = Options::default()
        .with("--cookie-file", cluster.cookie_file())
        .with("--join", "127.0.0.1:1")
        .with("--join-timeout", "1s")
        .data(&stranger);
    let mut node = NodeProcess::start(BINARY.as_ref(), &never).expect("it starts");
    assert_eq!(node.wait_exit().code(), Some(1));
    refused(&recover(&stranger, &force), 1, &["no_view"]);
}

#[test]
fn bad_usage_ends_with_2_and_changes_nothing() {
    let mut cluster = Cluster::start(BINARY, 1);
    let own = cluster_id(&cluster, 0);
    cluster.kill(0);
    let dir = cluster.data_dir(0);
    refused(&recover(&dir, &["--force-new-cluster"]), 2, &["--yes"]);
    refused(&recover(&dir, &["--yes"]), 2, &["--force-new-cluster"]);
    let both = ["--force-new-cluster", "--join-new-cluster", &own, "--yes"];
    refused(&recover(&dir, &both), 2, &["--join-new-cluster"]);
    let wrong = ["--join-new-cluster", "old", "--yes"];
    refused(&recover(&dir, &wrong), 2, &["--join-new-cluster", "UUID"]);
    let nowhere = cluster.path().join("nowhere");
    refused(&recover(&nowhere, &["--force-new-cluster", "--yes"]), 2, &["--data-dir", "nowhere"]);
    assert!(!nowhere.exists(), "nothing is made");
    let same = ["--join-new-cluster", &own, "--yes"];
    refused(&recover(&dir, &same), 1, &["same_cluster"]);
    cluster.restart(0);
    cluster.wait_agreed();
    assert_eq!(cluster_id(&cluster, 0), own);
}

#[test]
fn a_process_that_is_to_join_a_cluster_founds_none_and_is_let_in_by_no_other() {
    let mut right = Cluster::start(BINARY, 1);
    let wrong = Cluster::start_beside(&right, 1);
    let mut other = Cluster::start_beside(&right, 1);
    other.kill(0);
    let target = cluster_id(&right, 0);
    let output = recover(&other.data_dir(0), &["--join-new-cluster", &target, "--yes"]);
    assert_eq!(recovered(&output), target);
    let (status, text) = NodeProcess::start(BINARY.as_ref(), &other.options(0))
        .expect_err("without a seed there is nothing it could do");
    assert_eq!(status.code(), Some(2), "{text}");
    assert!(text.contains("--join") && text.contains(&target), "{text}");

    let lost =
        other.options(0).with("--join", wrong.node(0).address()).with("--join-timeout", "2s");
    let mut node = NodeProcess::start(BINARY.as_ref(), &lost).expect("it starts");
    assert_eq!(node.wait_exit().code(), Some(1));
    assert!(node.stderr().contains("another cluster"), "{}", node.stderr());
    wrong.wait_agreed();

    let found = other.options(0).with("--join", right.node(0).address());
    let node = NodeProcess::start(BINARY.as_ref(), &found).expect("it starts");
    node.wait_ready();
    let view = node.admin.view().expect("it answers");
    assert_eq!(view["cluster_id"], json!(target));
    assert_eq!(view["members"].as_array().map(Vec::len), Some(2), "{view}");
    drop(node);
    right.kill(0);
}

/// A move from node 0 to node 1 of which `point` is the last thing that happens before the cluster
/// is lost; then `first` forces a new one and the other joins it. Gives where the entity is.
fn move_across_a_force(point: &str, first: usize) -> usize {
    let mut cluster = Cluster::start(BINARY, 3);
    cluster.lose(&[0]);
    cluster.restart_with(0, &[("LAMPYRID_FAULT_POINT", point)]);
    cluster.wait_agreed();
    let entity = create(&cluster, 0, 1).pop_first().expect("an entity");
    let to = cluster.admin(0).bubbles_of(&cluster.node(1).id())[0].clone();
    let _ = cluster.admin(0).migrate(&[&entity], &to, 0);
    eventually("the source to die", || cluster.has_ended(0).then_some(()));
    cluster.lose(&[1, 2]);

    let output = recover(&cluster.data_dir(first), &["--force-new-cluster", "--yes"]);
    let new = recovered(&output);
    let told = String::from_utf8_lossy(&output.stderr);
    // The source knows of it once it is decided, the destination since it was staged.
    let doubts = first == 1 || point == "source.commit.after";
    assert_eq!(told.contains("in doubt  1"), doubts, "{told}");
    cluster.restart(first);
    cluster.wait_agreed();
    let other = 1 - first;
    let output = recover(&cluster.data_dir(other), &["--join-new-cluster", &new, "--yes"]);
    assert_eq!(recovered(&output), new);
    let seed = Options::default().with("--join", cluster.node(first).address());
    cluster.restart_adding(other, seed);
    cluster.wait_agreed();
    cluster.wait_exactly_once(&BTreeSet::from([entity.clone()]))[&entity]
}

#[test]
fn a_decided_move_ends_when_both_processes_are_in_the_new_cluster() {
    for first in [0, 1] {
        assert_eq!(move_across_a_force("source.commit.after", first), 1, "{first} forces");
    }
}

#[test]
fn an_undecided_move_is_given_up_when_both_processes_are_in_the_new_cluster() {
    for first in [0, 1] {
        assert_eq!(move_across_a_force("source.commit.before", first), 0, "{first} forces");
    }
}

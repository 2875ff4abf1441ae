//! Real processes, one view: kill, freeze, tie-break, loss of power, leave.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use lampyrid_tests::{Cluster, Options, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

fn epoch(view: &Value) -> u64 {
    view["epoch"].as_u64().expect("an epoch")
}

fn coordinator_of(cluster: &Cluster, view: &Value) -> usize {
    cluster.place_of(view["coordinator"].as_str().expect("a coordinator")).expect("it runs")
}

fn status(cluster: &Cluster, at: usize) -> String {
    let view = cluster.admin(at).view();
    view.and_then(|view| view["status"].as_str().map(str::to_owned)).unwrap_or_default()
}

#[test]
fn a_killed_coordinator_costs_one_epoch_and_comes_back_as_a_higher_incarnation() {
    let mut cluster = Cluster::start(BINARY, 3);
    let (before, _) = cluster.wait_agreed();
    let victim = coordinator_of(&cluster, &before);
    let old = cluster.node(victim).incarnation();
    cluster.kill(victim);
    let (after, took) = cluster.wait_agreed();
    eprintln!("kill -9 of the coordinator to the agreed view: {took:?}");
    assert_eq!(epoch(&after), epoch(&before) + 1, "one epoch later");
    cluster.restart(victim);
    cluster.wait_agreed();
    let now = cluster.admin(victim).view().expect("it answers");
    assert!(now["incarnation"].as_u64() > Some(old), "{now}");
}

#[test]
fn a_frozen_member_is_removed_and_rejoins_by_itself_having_accepted_nothing() {
    let cluster = Cluster::start(BINARY, 3);
    let (before, _) = cluster.wait_agreed();
    let frozen = coordinator_of(&cluster, &before);
    let bubble = cluster.admin(frozen).bubbles_of(&cluster.node(frozen).id())[0].clone();
    let created = cluster
        .admin(frozen)
        .post("/v1/entities", &json!({ "bubble": bubble, "state": 1 }))
        .expect("an answer");
    let entity = created.body["id"].as_str().expect("an id").to_owned();
    cluster.node(frozen).freeze();
    let others: Vec<usize> = (0..3).filter(|&at| at != frozen).collect();
    let (_, took) = eventually("the others to go on", || cluster.agreed(&others));
    eprintln!("freeze to the agreed view: {took:?}");
    // These requests wait in the frozen process's socket and are the first thing it sees when it
    // goes on, before it has heard from anybody.
    let admin = cluster.admin(frozen).with_limit(Duration::from_secs(30));
    let path = format!("/v1/entities/{entity}");
    let (write, read, moved) = std::thread::scope(|scope| {
        let write = scope.spawn(|| admin.put(&path, &json!({ "state": 2 })));
        let read = scope.spawn(|| admin.get(&path));
        let moved = scope.spawn(|| admin.migrate(&[&entity], &bubble, 0));
        let waiting = || {
            let text = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
            (!text.is_empty()).then_some(())
        };
        eventually("the requests to be on their way", waiting);
        std::thread::sleep(Duration::from_millis(300));
        cluster.node(frozen).thaw();
        (write.join(), read.join(), moved.join())
    });
    let write = write.expect("no panic").expect("an answer");
    let read = read.expect("no panic").expect("an answer");
    let moved = moved.expect("no panic").expect("an answer");
    assert_eq!((write.status, write.code()), (503, "isolated"), "{write:?}");
    assert_eq!((moved.status, moved.code()), (503, "isolated"), "{moved:?}");
    assert_eq!((read.status, &read.body["stale"]), (200, &json!(true)), "{read:?}");
    cluster.wait_agreed();
    let now = cluster.admin(frozen).view().expect("it answers");
    assert!(now["incarnation"].as_u64() > Some(cluster.node(frozen).incarnation()), "{now}");
    let state = cluster.admin(frozen).get(&path).expect("an answer");
    assert_eq!(state.body["state"], 1, "{state:?}");
}

#[test]
fn of_two_processes_the_tie_breaker_goes_on_alone() {
    let mut cluster = Cluster::start(BINARY, 2);
    let (view, _) = cluster.wait_agreed();
    let other = 1 - coordinator_of(&cluster, &view);
    cluster.kill(other);
    let (after, _) = cluster.wait_agreed();
    assert_eq!(epoch(&after), epoch(&view) + 1);
    cluster.restart(other);
    cluster.wait_agreed();
}

#[test]
fn of_two_processes_the_other_is_isolated_until_the_tie_breaker_returns() {
    let mut cluster = Cluster::start(BINARY, 2);
    let (view, _) = cluster.wait_agreed();
    let tie_breaker = coordinator_of(&cluster, &view);
    let id = cluster.node(tie_breaker).id();
    let other = 1 - tie_breaker;
    cluster.kill(tie_breaker);
    eventually("isolation", || (status(&cluster, other) == "isolated").then_some(()));
    let alone = cluster.admin(other).view().expect("it answers");
    assert_eq!(alone["epoch"], view["epoch"], "alone it installs nothing");
    assert_eq!(alone["coordinator"], Value::Null);
    assert_eq!(alone["waiting_for"], json!([id]));
    let bubble = cluster.admin(other).bubbles_of(&cluster.node(other).id())[0].clone();
    let refused = cluster
        .admin(other)
        .post("/v1/entities", &json!({ "bubble": bubble, "state": 0 }))
        .expect("an answer");
    assert_eq!((refused.status, refused.code()), (503, "isolated"), "{refused:?}");
    cluster.restart(tie_breaker);
    cluster.wait_agreed();
}

#[test]
fn three_processes_that_lose_power_at_once_heal_with_all_their_entities() {
    let mut cluster = Cluster::start(BINARY, 3);
    let mut expected = std::collections::BTreeSet::new();
    for at in 0..3 {
        let bubble = cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone();
        let created = cluster
            .admin(at)
            .post("/v1/entities", &json!({ "bubble": bubble, "count": 50, "state": at }))
            .expect("an answer");
        let ids = created.body["ids"].as_array().expect("ids").clone();
        expected.extend(ids.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    assert_eq!(expected.len(), 150);
    for at in 0..3 {
        cluster.kill(at);
    }
    for at in 0..3 {
        cluster.restart(at);
    }
    let (_, took) = cluster.wait_agreed();
    eprintln!("restart of all three to one view and all bubbles: {took:?}");
    cluster.wait_exactly_once(&expected);
}

#[test]
fn leaving_is_announced_and_ends_with_zero() {
    let mut cluster = Cluster::start(BINARY, 3);
    let (view, _) = cluster.wait_agreed();
    let leaver = coordinator_of(&cluster, &view);
    assert!(cluster.terminate(leaver).success());
    let (after, _) = cluster.wait_agreed();
    assert_eq!(epoch(&after), epoch(&view) + 1);
    for at in cluster.running() {
        assert!(cluster.terminate(at).success(), "the last members simply stop");
    }
}

#[test]
fn without_a_data_directory_everything_works_and_the_log_says_so() {
    let mut cluster = Cluster::empty(BINARY);
    let cookie = cluster.cookie_file();
    let first = lampyrid_tests::NodeProcess::start(
        BINARY.as_ref(),
        &Options::default().with("--cookie-file", cookie),
    )
    .expect("it starts");
    first.wait_ready();
    assert!(first.stderr().contains("memory"), "{}", first.stderr());
    first.signal(Signal::INT);
    let mut first = first;
    assert!(first.wait_exit().success());
    assert_eq!(cluster.add(Options::default()), 0);
    cluster.wait_agreed();
}

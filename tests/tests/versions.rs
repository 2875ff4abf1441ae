//! Processes of releases that are one apart form a cluster; those further apart refuse each other and
//! say why.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lampyrid_tests::{Cluster, Options};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

/// What the process says it speaks.
const CLAIM: &str = "LAMPYRID_TEST_PROTOCOL";

#[test]
fn a_process_of_the_next_release_joins_and_takes_entities() {
    let mut cluster = Cluster::start(BINARY, 2);
    let next = cluster.add(Options::default().env(CLAIM, "4-5"));
    cluster.node(next).wait_ready();
    cluster.wait_agreed();
    let [from, to] =
        [0, next].map(|at| cluster.admin(at).bubbles_of(&cluster.node(at).id()).remove(0));
    let body = serde_json::json!({ "bubble": from, "count": 10, "state": 1 });
    let created = cluster.admin(0).post("/v1/entities", &body).unwrap();
    let ids: Vec<String> = serde_json::from_value(created.body["ids"].clone()).unwrap();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let moved = cluster.admin(0).migrate(&ids, &to, 30_000).unwrap();
    assert_eq!(moved.body["state"], "done", "{:?}", moved.body);
    assert_eq!(cluster.admin(next).entities("active").unwrap().len(), 10);
}

#[test]
fn a_process_two_releases_ahead_is_refused_and_both_logs_say_which_versions() {
    let mut cluster = Cluster::start(BINARY, 2);
    let (before, _) = cluster.wait_agreed();
    let options = Options::default().env(CLAIM, "5-6").with("--join-timeout", "3s");
    let far = cluster.add(options);
    let mut far = cluster.take(far);
    assert_eq!(far.wait_exit().code(), Some(1));
    let said = far.stderr();
    assert!(said.contains("it speaks version 4 of the protocol and this process 5 to 6"), "{said}");
    assert!(said.contains("update the older"), "{said}");
    let log = cluster.node(0).stderr();
    assert!(log.contains("it speaks version 5 to 6 of the protocol and this process 4"), "{log}");
    let lines = log.lines().filter(|line| line.contains("of the protocol")).count();
    assert_eq!(lines, 1, "once a minute, however often it tries: {log}");
    let (after, _) = cluster.wait_agreed();
    assert_eq!(before, after, "the view is as it was");
}

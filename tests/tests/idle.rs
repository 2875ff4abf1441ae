//! An idle cluster is silent but for its edges.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeMap;
use std::time::Duration;

use lampyrid_tests::{Cluster, eventually};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

/// Everything that counts what coordinator, registry, broadcaster and migration sent, received
/// and how often a timer of theirs fired.
fn counters(cluster: &Cluster, at: usize) -> BTreeMap<String, f64> {
    let text = cluster.admin(at).text("/metrics").expect("metrics");
    let concerns = ["registry", "coordinator", "broadcaster", "migration"];
    text.lines()
        .filter(|line| {
            line.starts_with("lampyrid_actor_timers_fired_total")
                || line.starts_with("lampyrid_messages_total")
                || line.starts_with("lampyrid_message_bytes_total")
        })
        .filter(|line| concerns.iter().any(|concern| line.contains(&format!("\"{concern}\""))))
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a name and a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[test]
fn an_idle_cluster_sends_nothing_but_edge_probes_and_runs_no_other_timer() {
    let cluster = Cluster::start(BINARY, 3);
    let all = || (0..3).map(|at| counters(&cluster, at)).collect::<Vec<_>>();
    assert!(all().iter().all(|counters| counters.len() >= 8), "{:?}", all());
    // What the start set off may take its course first.
    let mut before = all();
    eventually("the start's traffic to end", || {
        std::thread::sleep(Duration::from_secs(2));
        let now = all();
        let quiet = now == before;
        before = now;
        quiet.then_some(())
    });
    // Here the passing of time is what is tested.
    std::thread::sleep(Duration::from_secs(30));
    assert_eq!(all(), before);
}

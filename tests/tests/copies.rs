//! What must never be mixed up: two clusters of one name and secret, and data directories that were
//! copied or rolled back.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::time::Instant;

use lampyrid_tests::{Cluster, NodeProcess, Options, eventually};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
const ROLLED_BACK: &str = "rolled back or copied";

fn view(cluster: &Cluster, at: usize) -> Value {
    cluster.admin(at).view().expect("it answers")
}

/// Handshakes that node `at` refused or was refused for that reason.
fn refusals(cluster: &Cluster, at: usize, reason: &str) -> u64 {
    let text = cluster.admin(at).text("/metrics").unwrap_or_default();
    let name = format!("lampyrid_link_refusals_total{{reason=\"{reason}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.and_then(|figure| figure.trim().parse().ok()).unwrap_or(0)
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    std::fs::create_dir(to).expect("a new directory");
    for file in std::fs::read_dir(from).expect("a directory").flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).expect("a copy");
    }
    to.to_owned()
}

/// The same flags on another data directory.
fn options_on(cluster: &Cluster, at: usize, data_dir: &Path) -> Options {
    let mut options = cluster.options(at);
    let own = cluster.data_dir(at).display().to_string();
    for word in &mut options.arguments {
        if *word == own {
            *word = data_dir.display().to_string();
        }
    }
    options
}

/// Starts a process on that directory, which must end by itself with 1 and say why.
#[track_caller]
fn ends_rolled_back(cluster: &Cluster, at: usize, data_dir: &Path) {
    let (status, text) =
        match NodeProcess::start(BINARY.as_ref(), &options_on(cluster, at, data_dir)) {
            Err(end) => end,
            Ok(mut node) => (node.wait_exit(), node.stderr()),
        };
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains(ROLLED_BACK), "{text}");
}

#[test]
fn two_clusters_of_one_name_and_secret_never_merge() {
    let ours = Cluster::start(BINARY, 2);
    let mut theirs = Cluster::start_beside(&ours, 2);
    let (before, _) = ours.wait_agreed();
    let (foreign, _) = theirs.wait_agreed();
    assert_ne!(before["cluster_id"], foreign["cluster_id"]);
    let first = theirs.place_of(foreign["coordinator"].as_str().expect("one")).expect("it runs");
    let other = 1 - first;
    theirs.lose(&[0, 1]);

    // Alone it is no quorum. It seeks its own, and the seeds beside them, and goes on trying.
    let started = Instant::now();
    theirs.restart_adding(other, Options::default().with("--join", ours.node(0).address()));
    eventually("refusals", || (refusals(&ours, 0, "cluster_id") >= 8).then_some(()));
    let now = view(&theirs, other);
    assert_eq!((&now["status"], &now["cluster_id"]), (&json!("isolated"), &foreign["cluster_id"]));
    assert_eq!(now["members"], foreign["members"]);
    let lines = |text: &str, word: &str| text.lines().filter(|line| line.contains(word)).count();
    let dialler = theirs.node(other).stderr();
    assert_eq!(lines(&dialler, "a process refused us"), 1, "said once: {dialler}");
    // Both sides log what comes to nothing at most once a second.
    for text in [dialler, ours.node(0).stderr()] {
        let written = lines(&text, "another cluster");
        let most = 2 + usize::try_from(started.elapsed().as_secs()).expect("a short test");
        assert!((1..=most).contains(&written), "{written} lines: {text}");
    }

    // With its own back it goes on; neither has taken notice of the other.
    theirs.restart(first);
    let (healed, _) = theirs.wait_agreed();
    assert_eq!(healed["cluster_id"], foreign["cluster_id"]);
    let (after, _) = ours.wait_agreed();
    assert_eq!(after, before);
}

#[test]
fn a_cluster_of_one_started_with_a_foreign_seed_stays_its_own() {
    let ours = Cluster::start(BINARY, 1);
    let mut alone = Cluster::start_beside(&ours, 1);
    let own = view(&alone, 0)["cluster_id"].clone();
    let before = view(&ours, 0);
    alone.kill(0);
    alone.restart_adding(0, Options::default().with("--join", ours.node(0).address()));
    let (now, _) = alone.wait_agreed();
    assert_eq!((&now["cluster_id"], now["members"].as_array().map(Vec::len)), (&own, Some(1)));
    assert_eq!(view(&ours, 0), before);
}

#[test]
fn a_copy_that_is_no_newer_than_the_original_ends_and_disturbs_nobody() {
    let mut cluster = Cluster::start(BINARY, 3);
    cluster.lose(&[2]);
    let twin = copy(&cluster.data_dir(2), &cluster.path().join("copy"));
    cluster.restart(2);
    let (before, _) = cluster.wait_agreed();
    ends_rolled_back(&cluster, 2, &twin);
    let (after, _) = cluster.wait_agreed();
    assert_eq!(after["id"], before["id"], "no view change came of it");
}

#[test]
fn of_a_copy_that_is_newer_and_its_running_original_one_ends() {
    let mut cluster = Cluster::start(BINARY, 3);
    // As a backup of a running process would have it.
    cluster.node(2).freeze();
    let newer = copy(&cluster.data_dir(2), &cluster.path().join("copy"));
    cluster.node(2).thaw();
    cluster.wait_agreed();
    let options = options_on(&cluster, 2, &newer);
    let node = NodeProcess::start(BINARY.as_ref(), &options).expect("it starts");
    // Its incarnation is the higher one: for the others the process has started again.
    node.wait_ready();
    let mut original = cluster.take(2);
    assert_eq!(original.wait_exit().code(), Some(1));
    assert!(original.stderr().contains(ROLLED_BACK), "{}", original.stderr());
    let listed = eventually("one view", || {
        let views: Vec<Value> = [cluster.admin(0), cluster.admin(1), &node.admin]
            .iter()
            .filter_map(|admin| admin.view())
            .collect();
        let same = views.len() == 3 && views.iter().all(|view| view["id"] == views[0]["id"]);
        same.then(|| views[0]["members"].as_array().map(Vec::len))
    });
    assert_eq!(listed.0, Some(3));
}

#[test]
fn an_old_copy_of_a_member_that_is_listed_higher_ends() {
    let mut cluster = Cluster::start(BINARY, 3);
    cluster.lose(&[2]);
    let old = copy(&cluster.data_dir(2), &cluster.path().join("backup"));
    for _ in 0..2 {
        cluster.restart(2);
        cluster.wait_agreed();
        cluster.lose(&[2]);
    }
    cluster.restart(2);
    let (before, _) = cluster.wait_agreed();
    ends_rolled_back(&cluster, 2, &old);
    let (after, _) = cluster.wait_agreed();
    assert_eq!(after["id"], before["id"], "no view change came of it");
}

/// Nobody is left who has met the newer life: what tells is the view on the other's disk.
#[test]
fn a_restored_backup_is_told_by_the_view_that_lists_it_higher() {
    let mut cluster = Cluster::start(BINARY, 2);
    let (first, _) = cluster.wait_agreed();
    let restored = cluster.place_of(first["coordinator"].as_str().expect("one")).expect("it runs");
    cluster.lose(&[restored]);
    let old = copy(&cluster.data_dir(restored), &cluster.path().join("backup"));
    for _ in 0..2 {
        cluster.restart(restored);
        cluster.wait_agreed();
        let (now, _) = cluster.wait_agreed();
        assert_eq!(now["coordinator"], first["coordinator"], "the ring is the same");
        cluster.lose(&[restored]);
    }
    // The one that is not the tie-breaker cannot remove it, and starts with an empty memory.
    let other = 1 - restored;
    cluster.lose(&[other]);
    cluster.restart(other);
    eventually("isolation", || (view(&cluster, other)["status"] == "isolated").then_some(()));
    ends_rolled_back(&cluster, restored, &old);
    // The directory as it was at the end is right, and all heals.
    cluster.restart(restored);
    cluster.wait_agreed();
}

/// Nobody who has met the newer life is still running, and no view lists the process: what tells is
/// what the others keep on disk.
#[test]
fn an_old_copy_is_known_to_those_who_were_restarted_since() {
    let mut cluster = Cluster::empty(BINARY);
    let log = "info,lampyrid::node::memory=debug";
    for _ in 0..3 {
        cluster.add(Options::default().with("--log", log));
    }
    cluster.wait_agreed();
    cluster.lose(&[2]);
    let old = copy(&cluster.data_dir(2), &cluster.path().join("backup"));
    cluster.restart(2);
    cluster.wait_agreed();
    let me = view(&cluster, 2);
    let (id, incarnation) = (me["self"].as_str().expect("an id"), &me["incarnation"]);
    let met = format!("ProcessId({id}), incarnation: Incarnation({incarnation})");
    for at in 0..2 {
        eventually("the newer life to be kept", || {
            let text = cluster.node(at).stderr();
            let kept = text.lines().filter(|line| line.contains("kept which lives were met"));
            kept.into_iter().any(|line| line.contains(&met)).then_some(())
        });
    }
    cluster.kill(2);
    cluster.wait_agreed();
    cluster.lose(&[0, 1]);
    cluster.restart(0);
    cluster.restart(1);
    let (before, _) = cluster.wait_agreed();
    ends_rolled_back(&cluster, 2, &old);
    assert_eq!(cluster.wait_agreed().0["id"], before["id"], "no view change came of it");
    // The directory as it was at the end is right.
    cluster.restart(2);
    cluster.wait_agreed();
}

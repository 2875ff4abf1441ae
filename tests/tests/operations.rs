//! What operators do with real processes: restart them one after the other, back them up and
//! restore them.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;
use std::process::Command;

use lampyrid_tests::{Cluster, Options, copy_directory};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

/// So many processes with a bubble and so many entities each.
fn stage(size: usize, entities: usize, workload: bool) -> (Cluster, BTreeSet<String>) {
    let mut cluster = Cluster::empty(BINARY);
    for _ in 0..size {
        let options = Options::default();
        cluster.add(match workload {
            true => options.env("LAMPYRID_WORKLOAD", "drift"),
            false => options,
        });
    }
    cluster.wait_agreed();
    let mut all = BTreeSet::new();
    for at in 0..size {
        let bubble = cluster.admin(at).bubbles_of(&cluster.node(at).id()).remove(0);
        let body = json!({ "bubble": bubble, "count": entities, "state": at });
        let created = cluster.admin(at).post("/v1/entities", &body).expect("an answer");
        let ids = created.body["ids"].as_array().expect("ids").clone();
        all.extend(ids.iter().filter_map(|id| id.as_str().map(str::to_owned)));
    }
    assert_eq!(all.len(), size * entities);
    (cluster, all)
}

fn epoch(cluster: &Cluster) -> u64 {
    cluster.wait_agreed().0["epoch"].as_u64().expect("an epoch")
}

/// Moves that are committed at those that run, since they started.
fn committed(cluster: &Cluster) -> u64 {
    let audits = cluster.running().into_iter().filter_map(|at| cluster.admin(at).get("/v1/audit"));
    audits.filter_map(|audit| audit.body["migrated"]["committed"].as_u64()).sum()
}

#[test]
fn five_loaded_processes_are_restarted_one_after_the_other() {
    let (mut cluster, all) = stage(5, 40, true);
    for at in 0..5 {
        let before = epoch(&cluster);
        assert_eq!(cluster.terminate(at).code(), Some(0), "a graceful leave");
        cluster.restart(at);
        cluster.node(at).wait_ready();
        // Two, unless somebody was starved for longer than an edge may be silent.
        let views = epoch(&cluster) - before;
        eprintln!("restart {at}: {views} views");
        assert!(views >= 1, "it is there again, as another incarnation");
        let moved = committed(&cluster);
        lampyrid_tests::eventually("moves to go on", || {
            (committed(&cluster) > moved).then_some(())
        });
    }
    for at in 0..5 {
        // What drifts comes to rest.
        assert_eq!(cluster.terminate(at).code(), Some(0));
        cluster.restart_adding(at, Options::default().with("--workload", "none"));
        cluster.node(at).wait_ready();
    }
    cluster.wait_agreed();
    cluster.wait_exactly_once(&all);
}

#[test]
fn a_stopped_cluster_is_backed_up_and_restored_as_a_whole() {
    let (mut cluster, all) = stage(3, 50, false);
    // Moved once, so that it shows whose word counts.
    let some: Vec<&str> = all.iter().take(40).map(String::as_str).collect();
    let to = cluster.admin(2).bubbles_of(&cluster.node(2).id()).remove(0);
    for at in 0..2 {
        cluster.admin(at).migrate(&some, &to, 20_000).expect("an answer");
    }
    cluster.wait_exactly_once(&all);
    for at in 0..3 {
        assert_eq!(cluster.terminate(at).code(), Some(0));
    }
    let backup = tempfile::tempdir().expect("a directory");
    for at in 0..3 {
        let place = backup.path().join(at.to_string());
        copy_directory(&cluster.data_dir(at), &place);
    }
    // What happens after the copy is undone by restoring it, everywhere.
    for at in 0..3 {
        cluster.restart(at);
    }
    cluster.wait_agreed();
    let home = cluster.admin(0).bubbles_of(&cluster.node(0).id()).remove(0);
    cluster.admin(2).migrate(&some, &home, 20_000).expect("an answer");
    cluster.wait_exactly_once(&all);
    for at in 0..3 {
        assert_eq!(cluster.terminate(at).code(), Some(0));
        let place = backup.path().join(at.to_string());
        std::fs::remove_dir_all(cluster.data_dir(at)).expect("it is there");
        copy_directory(&place, &cluster.data_dir(at));
    }
    for at in 0..3 {
        cluster.restart(at);
    }
    cluster.wait_agreed();
    let places = cluster.wait_exactly_once(&all);
    assert!(some.iter().all(|id| places[*id] == 2), "as when it was copied");
}

/// The options of the systemd unit, with its directories moved to one of the test's.
#[test]
fn the_unit_starts_with_options_that_the_program_takes() {
    let unit = include_str!("../../docs/systemd/lampyrid@.service");
    let line = unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).expect("a command");
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("a.toml");
    std::fs::write(&file, "name = \"a\"\n").expect("a file");
    let file = file.display().to_string();
    let words = line.split(' ').map(|word| match word {
        "/etc/lampyrid/%i.toml" => file.clone(),
        "/var/lib/lampyrid/%i" => home.path().display().to_string(),
        word => word.to_owned(),
    });
    let words: Vec<String> = words.collect();
    assert_eq!(words[..2], ["/usr/local/bin/lampyrid", "node"]);
    let mut command = Command::new(BINARY);
    command.args(["config", "check"]).args(&words[2..]);
    let output = command.output().expect("it runs");
    let shown = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && shown.contains("data-dir"), "{shown}{error}");
}

/// What ends in the same way whenever it is tried is not started again, and above all not what may
/// be a copy.
#[test]
fn the_unit_starts_again_after_crashes_and_not_after_what_somebody_has_to_look_at() {
    let unit = include_str!("../../docs/systemd/lampyrid@.service");
    let of = |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).expect("a setting");
    assert_eq!(of("Restart="), "on-failure");
    let never: Vec<&str> = of("RestartPreventExitStatus=").split(' ').collect();
    assert_eq!(never, ["1", "2"], "tests/tests/copies.rs has a copy end with 1");

    let home = tempfile::tempdir().expect("a directory");
    let node = |arguments: &[&str]| {
        let output = Command::new(BINARY).arg("node").args(arguments).output().expect("it runs");
        let code = output.status.code().expect("it exits").to_string();
        assert!(never.contains(&code.as_str()), "{arguments:?}: exit {code}");
        code
    };
    assert_eq!(node(&["--listen", "nowhere"]), "2");
    let file = home.path().join("lampyrid.redb");
    std::fs::write(&file, "no store at all").expect("a file");
    assert_eq!(node(&["--data-dir", &home.path().display().to_string()]), "1");
}

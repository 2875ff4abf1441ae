//! The disk of a process is lost; a backup of its directory alone becomes another process, without
//! what lives elsewhere.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::process::Command;

use lampyrid_tests::{Cluster, Options, copy_directory};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

fn run(words: &[&str]) -> (Option<i32>, BTreeSet<String>, String) {
    let output = Command::new(BINARY).args(words).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let lines = text(output.stdout).lines().map(str::to_owned).collect();
    (output.status.code(), lines, text(output.stderr))
}

fn create(cluster: &Cluster, at: usize, count: usize, state: &str) -> Vec<String> {
    let bubble = cluster.admin(at).bubbles_of(&cluster.node(at).id()).remove(0);
    let body = json!({ "bubble": bubble, "count": count, "state": state });
    let created = cluster.admin(at).post("/v1/entities", &body).unwrap();
    serde_json::from_value(created.body["ids"].clone()).unwrap()
}

fn words(ids: &[String]) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

#[test]
fn a_lost_disk_comes_back_from_its_backup_as_another_process_without_what_lives_elsewhere() {
    let mut cluster = Cluster::start(BINARY, 3);
    cluster.wait_agreed();
    let ids = create(&cluster, 2, 40, "as it was");
    let lost = cluster.node(2).id();
    let places = tempfile::tempdir().unwrap();
    // Where the process that is added next has its data.
    let (backup, fresh) = (places.path().join("backup"), cluster.data_dir(cluster.size()));
    assert!(cluster.terminate(2).success());
    copy_directory(&cluster.data_dir(2), &backup);
    cluster.restart(2);
    cluster.wait_agreed();

    // What comes after the backup: some move away for good, some move round and back, one ends.
    let to = cluster.admin(0).bubbles_of(&cluster.node(0).id()).remove(0);
    let back = cluster.admin(2).bubbles_of(&lost).remove(0);
    let (gone, returned) = (&ids[..10], &ids[10..15]);
    cluster.admin(2).migrate(&words(&ids[..15]), &to, 30_000).unwrap();
    let middle = cluster.admin(1).bubbles_of(&cluster.node(1).id()).remove(0);
    cluster.admin(0).migrate(&words(returned), &middle, 30_000).unwrap();
    cluster.admin(1).migrate(&words(returned), &back, 30_000).unwrap();
    cluster.admin(2).delete(&format!("/v1/entities/{}", ids[15])).unwrap();
    create(&cluster, 2, 5, "never in a backup");

    cluster.kill(2);
    std::fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    cluster.wait_agreed();
    let admin = cluster.admin(0).base().to_owned();
    let (from, into) = (backup.to_str().unwrap(), fresh.to_str().unwrap());
    let salvage =
        ["recover", "--yes", "--data-dir", from, "--as-new-process", into, "--admin", &admin];
    let (code, _, said) = run(&salvage);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("not_barred") && said.contains(&format!("lampyrid bar {lost}")),
        "{said}"
    );
    let (code, _, said) = run(&["bar", "--yes", "--wait", "30s", "--admin", &admin, &lost]);
    assert_eq!(code, Some(0), "{said}");

    let (code, taken, said) = run(&salvage);
    assert_eq!(code, Some(0), "{said}");
    let expected: BTreeSet<String> = ids[10..].iter().cloned().collect();
    assert_eq!(taken, expected, "{said}");
    assert!(said.contains("elsewhere    10") && said.contains("to be taken  30"), "{said}");
    let (code, _, again) = run(&salvage);
    assert_eq!(code, Some(1), "{again}");
    assert!(again.contains("is there already"), "{again}");
    let second = places.path().join("second");
    let mut twice = salvage;
    twice[5] = second.to_str().unwrap();
    assert_eq!(run(&twice).0, Some(0));

    // It joins as somebody else and serves them, far on.
    let next = cluster.add(Options::default());
    cluster.node(next).wait_ready();
    assert_ne!(cluster.node(next).id(), lost);
    cluster.wait_agreed();
    let listed = cluster.admin(next).entities("active").unwrap();
    let served: BTreeSet<String> =
        listed.iter().map(|entity| entity["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(served, expected);
    assert!(listed.iter().all(|entity| entity["epoch"] == 1_u64 << 32), "{listed:?}");
    let read = cluster.admin(next).get(&format!("/v1/entities/{}", ids[20])).unwrap();
    assert_eq!(read.body["state"], Value::from("as it was"));
    for id in gone {
        let read = cluster.admin(0).get(&format!("/v1/entities/{id}")).unwrap();
        assert_eq!(read.status, 200, "where it moved it has stayed: {read:?}");
    }
    // They move like all others.
    for some in [returned, &ids[20..30]] {
        let moved = cluster.admin(next).migrate(&words(some), &to, 30_000).unwrap();
        let outcomes = moved.body["entities"].as_array().unwrap();
        assert!(outcomes.iter().all(|moved| moved["outcome"] == "committed"), "{:?}", moved.body);
    }
    let all: BTreeSet<String> = ids.iter().cloned().collect();
    cluster.wait_exactly_once(&all);

    // A second one of the same backup is the same process again, and finds no way in.
    let cookie = cluster.cookie_file();
    let seed = cluster.node(0).address();
    let second = second.to_str().unwrap();
    let words = ["node", "--data-dir", second, "--cookie-file", &cookie, "--join", &seed];
    let (code, _, said) = run(&[&words[..], &["--join-timeout", "3s"]].concat());
    assert_eq!(code, Some(1), "{said}");
    cluster.wait_exactly_once(&all);
}

//! A data directory on a file system that fills up: nothing is answered that is not durable, the
//! process stays in its view, and with room again everything goes on, nothing lost.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lampyrid_tests::{Cluster, Options, eventually};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

/// Small enough to be filled soon, large enough for an empty store.
const SMALL: &str = "size=6m";
/// Half a MiB more.
const ROOMIER: &str = "remount,size=6656k";
const LARGE: &str = "remount,size=64m";

/// What one state weighs.
const STATE_BYTES: usize = 60_000;

/// A file system of its own in memory; gone when dropped.
struct Tiny(PathBuf);

impl Tiny {
    /// `None` where one may not mount.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a directory");
        mount(SMALL, at).then(|| Self(at.to_owned()))
    }

    fn enlarge(&self, to: &str) {
        assert!(mount(to, &self.0), "what was mounted can be enlarged");
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        // Lazily: the process that uses it ends after this.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn mount(options: &str, at: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn a_full_disk_refuses_and_with_room_again_everything_goes_on() {
    let mut cluster = Cluster::empty(BINARY);
    let Some(tiny) = Tiny::mount(&cluster.data_dir(0)) else {
        eprintln!("SKIPPED: a small file system cannot be mounted here");
        return;
    };
    let full = cluster.add(Options::default());
    let other = cluster.add(Options::default());
    cluster.wait_agreed();
    let bubble_of = |at: usize| {
        let id = cluster.node(at).id();
        let (mut bubbles, _) = eventually("the bubbles are registered", || {
            Some(cluster.admin(full).bubbles_of(&id)).filter(|bubbles| !bubbles.is_empty())
        });
        bubbles.remove(0)
    };
    let (here, there) = (bubble_of(full), bubble_of(other));
    let admin = cluster.admin(full);

    // Until the disk is full. What was acknowledged has to last.
    let mut acknowledged: BTreeMap<String, String> = BTreeMap::new();
    let refusal = loop {
        let state = format!("{}:{}", acknowledged.len(), "x".repeat(STATE_BYTES));
        let body = json!({ "bubble": here, "state": state });
        let answer = admin.post("/v1/entities", &body).expect("it answers");
        if answer.status != 201 {
            break answer;
        }
        let id = answer.body["id"].as_str().expect("an id").to_owned();
        acknowledged.insert(id, state);
        assert!(acknowledged.len() < 1_000, "the disk never fills up");
    };
    assert_eq!((refusal.status, refusal.code()), (503, "journal_failed"));

    // Not ready, for as long as there is no room; alive, in its view, and nothing moves.
    eventually("it says that it is not ready", || (!admin.is_ready()).then_some(()));
    let why = admin.get("/readyz").expect("it answers");
    let detail = why.body["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("disk is full"), "{:?}", why.body);
    let first = acknowledged.keys().next().expect("some were created").clone();
    let moving = admin.migrate(&[&first], &there, 1_000).expect("it answers");
    assert_eq!((moving.status, moving.code()), (503, "journal_failed"));
    assert!(!admin.is_ready(), "there is still no room");
    assert_eq!(admin.view().expect("it answers")["status"], "active");

    // A little room is enough for a little.
    tiny.enlarge(ROOMIER);
    eventually("it is ready again", || admin.is_ready().then_some(()));
    let little = admin.post("/v1/entities", &json!({ "bubble": here, "state": 1 }));
    let little = little.expect("it answers");
    assert_eq!(little.status, 201, "{:?}", little.body);
    let id = little.body["id"].as_str().expect("an id").to_owned();
    assert!(admin.delete(&format!("/v1/entities/{id}")).is_some());

    tiny.enlarge(LARGE);
    eventually("it is ready", || admin.is_ready().then_some(()));
    for (id, state) in &acknowledged {
        let answer = admin.get(&format!("/v1/entities/{id}")).expect("it answers");
        assert_eq!(answer.body["state"].as_str(), Some(state.as_str()), "of {id}");
    }
    let active = admin.entities("active").expect("it answers");
    let ids = active.iter().filter_map(|entity| entity["id"].as_str().map(str::to_owned));
    // One more may be durable that was not acknowledged.
    let expected: BTreeSet<String> = ids.collect();
    assert!(expected.len() <= acknowledged.len() + 1);

    // And they move.
    let all: Vec<&str> = expected.iter().map(String::as_str).collect();
    let moved = admin.migrate(&all, &there, 30_000).expect("it answers");
    assert_eq!(moved.body["state"], "done", "{:?}", moved.body);
    let places = cluster.wait_exactly_once(&expected);
    assert!(places.values().all(|&at| at == other));
    assert!(cluster.terminate(full).success() && cluster.terminate(other).success());
}

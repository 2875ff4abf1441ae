//! The example with a store of its own goes on where it was, and its store keeps to the rules.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use lampyrid::{BubbleId, EntityId, EntityStore, OwnershipEpoch};

#[path = "../examples/ledger.rs"]
#[allow(dead_code, reason = "of the example only its store is used here")]
mod example;
use example::Ledger;

fn run(directory: &Path) -> String {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/ledger");
    let output = Command::new(&example)
        .arg(directory)
        .output()
        .unwrap_or_else(|error| panic!("{error}: cargo build -p lampyrid --example ledger"));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn a_second_run_finds_what_the_first_one_left() {
    let home = tempfile::tempdir().unwrap();
    let said = run(home.path());
    assert_eq!(said, "found 0 at epoch 0\nleft b\"10\" at epoch 1: Done\n");
    let said = run(home.path());
    assert_eq!(said, "found 10 at epoch 1\nleft b\"20\" at epoch 2: Done\n");
}

#[test]
fn what_is_older_changes_nothing_and_a_repetition_neither() {
    let home = tempfile::tempdir().unwrap();
    let (id, bubble) = (EntityId::from_u128(1), BubbleId::from_u128(2));
    let [old, now] = [1, 2].map(OwnershipEpoch);
    let [was, new] = ["was", "new"].map(Bytes::from);
    let ledger = Ledger::open(home.path()).unwrap();
    ledger.attach(id, bubble, now, was.clone()).unwrap();
    ledger.write(id, now, new.clone()).unwrap();
    for at in [old, now] {
        ledger.attach(id, bubble, at, was.clone()).unwrap();
    }
    ledger.write(id, old, was.clone()).unwrap_err();
    ledger.freeze(id, old).unwrap_err();
    ledger.detach(id, old);
    assert_eq!(ledger.read(id).unwrap(), new);

    assert_eq!(ledger.freeze(id, now).unwrap(), new);
    ledger.unfreeze(id, old);
    ledger.write(id, now, was.clone()).unwrap_err();
    assert_eq!(ledger.freeze(id, now).unwrap(), new, "again");
    ledger.unfreeze(id, now);
    ledger.write(id, now, new.clone()).unwrap();

    // What was acknowledged is on the disk; what was frozen is not any more.
    ledger.freeze(id, now).unwrap();
    drop(ledger);
    let ledger = Ledger::open(home.path()).unwrap();
    assert_eq!(ledger.read(id).unwrap(), new);
    ledger.write(id, now, was).unwrap();
    ledger.detach(id, now);
    ledger.detach(id, now);
    ledger.read(id).unwrap_err();
}

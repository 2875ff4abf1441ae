//! The examples that run several processes in one do what they say.
#![cfg(feature = "testkit")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

fn run(name: &str, arguments: &[&str], shown: &str) {
    let test = std::env::current_exe().unwrap();
    let example = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    let output = Command::new(&example).args(arguments).output().unwrap_or_else(|error| {
        panic!("{error}: cargo build -p lampyrid --all-features --examples")
    });
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(shown), "{text}");
}

#[test]
fn walkers_cross_the_grid() {
    run("grid", &[], "none is lost or doubled");
}

#[test]
fn readings_follow_their_twins() {
    run("twins", &[], "wherever they were");
}

#[test]
fn nobody_notices_actors_that_are_killed() {
    run("supervision", &["15"], "one view, 90 entities, each once");
}

//! `lampyrid status --watch` on a terminal, beside real processes.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::path::Path;
use std::process::Command;

use lampyrid_tests::{Cluster, Terminal, eventually};
use rustix::process::Signal;
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

fn watch(data_dir: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.args(["status", "--watch", "--interval", "100ms", "--data-dir"]).arg(data_dir);
    command
}

/// Creates an entity at one node and moves it to another.
fn move_one(cluster: &Cluster, from: usize, to: usize) {
    let bubble = |at: usize| cluster.admin(at).bubbles_of(&cluster.node(at).id()).remove(0);
    let body = json!({ "bubble": bubble(from), "state": 1 });
    let created = cluster.admin(from).post("/v1/entities", &body).expect("an answer").body;
    let id = created["id"].as_str().expect("an id");
    cluster.admin(from).migrate(&[id], &bubble(to), 30_000).expect("an answer");
}

#[test]
fn the_screen_follows_the_process_until_a_key_ends_it() {
    let mut cluster = Cluster::start(BINARY, 2);
    let mut terminal = Terminal::start(&mut watch(&cluster.data_dir(0)));
    for text in ["node-0", "node-1", "this process", "status       active", "2 members, active"] {
        terminal.wait_for(text);
    }
    move_one(&cluster, 0, 1);
    terminal.wait_for("in doubt 0  committed 1");
    terminal.wait_for("done: committed 1");

    cluster.kill(0);
    terminal.wait_for("cannot reach");
    // Wherever it serves now, it is found through its directory, and its events go on.
    cluster.restart(0);
    terminal.wait_for("incarnation 2");
    cluster.wait_agreed();
    move_one(&cluster, 0, 1);
    terminal.wait_for("in doubt 0  committed 1");
    terminal.wait_gone("trying again");

    terminal.press("q");
    assert_eq!(terminal.wait().code(), Some(0));
    assert!(terminal.is_restored());
    for key in ["\u{3}", "\u{1b}"] {
        let mut terminal = Terminal::start(&mut watch(&cluster.data_dir(0)));
        terminal.wait_for("this process");
        assert!(!terminal.is_restored(), "it has the whole terminal");
        terminal.press(key);
        assert_eq!(terminal.wait().code(), Some(0), "{key:?}");
        assert!(terminal.is_restored(), "{key:?}");
    }
}

#[test]
fn a_signal_that_ends_it_gives_the_terminal_back() {
    let cluster = Cluster::start(BINARY, 1);
    for signal in [Signal::HUP, Signal::TERM, Signal::INT] {
        let mut terminal = Terminal::start(&mut watch(&cluster.data_dir(0)));
        terminal.wait_for("this process");
        assert!(!terminal.is_restored(), "it has the whole terminal");
        terminal.signal(signal);
        assert_eq!(terminal.wait().code(), Some(0), "{signal:?}");
        // What it wrote last is still on its way here.
        eventually("the terminal as it was", || terminal.is_restored().then_some(()));
    }
}

#[test]
fn nobody_there_at_the_start_ends_it() {
    let home = tempfile::tempdir().expect("a directory");
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let url = format!("http://{}\n", free.expect("a free port"));
    std::fs::write(home.path().join("admin.url"), url).expect("a file");
    let mut terminal = Terminal::start(&mut watch(home.path()));
    assert_eq!(terminal.wait().code(), Some(3));
    terminal.wait_for("error: cannot reach");
    assert!(terminal.is_restored());
}

#[test]
fn without_a_terminal_it_says_what_to_do_instead() {
    let home = tempfile::tempdir().expect("a directory");
    let output = watch(home.path()).output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    for part in ["--watch", "status --json", "/v1/events"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(output.stdout.is_empty());
}

//! The built binary from the outside: exit codes, and what goes to which stream.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

fn lampyrid(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lampyrid"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LAMPYRID_") || name == "RUST_LOG" {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    lampyrid(arguments).output().unwrap()
}

#[track_caller]
fn refused(arguments: &[&str], code: i32, word: &str) {
    let output = run(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.contains(word), "{arguments:?}: {text}");
    assert!(output.stdout.is_empty(), "stdout is for results");
}

/// A running `lampyrid node`, killed at the latest when dropped.
struct Node {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Node {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    fn says(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(unix)]
#[test]
fn secrets_that_others_can_read_are_warned_of_and_a_data_directory_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let (cookie, data) = (home.path().join("cookie"), home.path().join("a/b"));
    std::fs::write(&cookie, "a secret of many").unwrap();
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o644)).unwrap();
    let [cookie_file, data_dir] = [&cookie, &data].map(|path| path.to_str().unwrap());
    // A port that is taken ends a start that has come so far.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let admin = taken.local_addr().unwrap().to_string();
    let told = |secret: &[&str]| {
        let output = run(&[&["node", "--admin", &admin, "--data-dir", data_dir], secret].concat());
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!text.contains("a secret of many"), "{text}");
        text.contains("chmod 600") && text.contains(cookie_file) && text.contains("0644")
    };
    assert!(!told(&[]), "the one that it generates is private");
    assert_eq!(std::fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(told(&["--cookie-file", cookie_file]));
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!told(&["--cookie-file", cookie_file]));
}

#[test]
fn help_and_version_are_results() {
    for arguments in [&["--help"][..], &["node", "--help"], &["--version"], &["audit", "--version"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty());
    }
}

#[test]
fn bad_usage_and_configuration_exit_with_2() {
    refused(&[], 2, "Usage");
    refused(&["fly"], 2, "fly");
    refused(&["demo", "--nodes", "2"], 2, "--nodes");
    refused(&["status"], 2, "--admin");
    refused(&["status", "--data-dir", "/nonexistent"], 2, "admin.url");
    refused(&["status", "--admin", "https://a"], 2, "--admin-ca");
    let tls = ["status", "--admin", "https://a", "--admin-ca", "/nonexistent"];
    refused(&tls, 2, "--admin-ca: /nonexistent");
    refused(&["migrate", "--to", "x", "y"], 2, "--to");
    refused(&["audit", "--admin", "http://127.0.0.1:1", "--expect", "/nonexistent"], 2, "--expect");
    refused(&["node", "--listen", "0.0.0.0:0"], 2, "--listen");
    refused(&["node", "--admin", "0.0.0.0:0"], 2, "--admin");
    refused(&["node", "--tls-ca", "ca.pem"], 2, "--tls-ca");
    refused(&["node", "--admin-tls-key", "a.key"], 2, "--admin-tls-key");
    refused(&["node", "--log", "a=b=c"], 2, "--log");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "name = \"a\"\nbubbles = \"many\"\n").unwrap();
    let path = file.path().to_str().unwrap();
    refused(&["node", "--config", "/nonexistent"], 2, "--config");
    refused(&["node", "--bubbles", "-1"], 2, "--bubbles");
    refused(&["node", "--config", path], 2, &format!("{path}:2: bubbles"));
}

#[test]
fn a_process_that_is_not_there_is_exit_3() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for command in ["status", "leave", "audit"] {
        refused(&[command, "--admin", &url], 3, &url);
    }
}

#[test]
fn a_node_says_two_lines_answers_the_commands_and_leaves() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().to_str().unwrap();
    let mut command = lampyrid(&["node", "--name", "a", "--data-dir", dir]);
    command.stderr(Stdio::null());
    let mut node = Node::start(command);
    let listening = node.says();
    assert_eq!(listening["event"], "listening");
    assert_eq!((&listening["name"], &listening["incarnation"]), (&"a".into(), &1.into()));
    let ready = node.says();
    assert_eq!(ready["event"], "ready");
    assert_eq!(ready["admin"], listening["admin"]);

    let status = run(&["status", "--json", "--data-dir", dir]);
    assert_eq!(status.status.code(), Some(0));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["view"]["self"], ready["id"]);
    assert_eq!(run(&["status", "--data-dir", dir]).status.code(), Some(0));
    assert_eq!(run(&["audit", "--data-dir", dir]).status.code(), Some(0));
    let url = ready["admin"].as_str().unwrap();
    let twice = run(&["audit", "--admin", url, "--admin", &format!("{url}/")]);
    let shown = String::from_utf8(twice.stdout).unwrap();
    assert!(shown.starts_with("processes   1\n"), "one process by two URLs: {shown}");
    let id = "00000000-0000-0000-0000-000000000001";
    refused(&["migrate", "--to", id, id, "--data-dir", dir], 1, "unknown_bubble");

    assert_eq!(run(&["leave", "--data-dir", dir]).status.code(), Some(0));
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
    let mut rest = String::new();
    node.stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "nothing else is said");
    refused(&["status", "--data-dir", dir], 2, "admin.url");
}

#[test]
fn a_node_leaves_when_whoever_started_it_has_gone() {
    let mut command = lampyrid(&["node", "--leave-when-stdin-ends"]);
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut node = Node::start(command);
    node.says();
    drop(node.child.stdin.take());
    assert_eq!(node.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_closed_stdout_is_no_panic() {
    let mut child = lampyrid(&["node", "--log", "error"]);
    let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let url = {
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()["admin"].as_str().unwrap().to_owned()
    };
    // Its reader has gone, and it serves on; a command into a closed pipe fails without a panic.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut status = lampyrid(&["status", "--admin", &url]);
    let output = status.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(run(&["leave", "--admin", &url]).status.code(), Some(0));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_log_that_nobody_takes_stops_nothing() {
    // Its reader has gone, as that of a pipe may, or a disk that is full takes no more of it.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let logs = [Some(Stdio::from(writer)), full.ok().map(Stdio::from)];
    for (log, format) in logs.into_iter().flatten().zip(["text", "json"]) {
        let home = tempfile::tempdir().unwrap();
        let dir = home.path().to_str().unwrap();
        let mut command = lampyrid(&["node", "--data-dir", dir, "--log", "debug"]);
        command.args(["--log-format", format]).stderr(log);
        let mut node = Node::start(command);
        assert_eq!(node.says()["event"], "listening");
        assert_eq!(node.says()["event"], "ready");
        assert_eq!(run(&["audit", "--data-dir", dir]).status.code(), Some(0));
        assert_eq!(run(&["leave", "--data-dir", dir]).status.code(), Some(0));
        assert_eq!(node.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn completions_and_manual_pages_are_made_for_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains("migrate"), "{shell}");
    }
    let page = String::from_utf8(run(&["man"]).stdout).unwrap();
    assert!(page.starts_with(".ie") || page.contains(".TH lampyrid"), "{page}");
    let home = tempfile::tempdir().unwrap();
    let output = run(&["man", "--dir", home.path().to_str().unwrap()]);
    assert!(output.status.success());
    assert!(home.path().join("lampyrid-node.1").exists());
    refused(&["man", "--dir", "/nonexistent"], 2, "--dir");
}

#[test]
fn a_checked_configuration_is_shown_with_its_sources_and_a_bad_one_is_refused() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/lampyrid.example.toml");
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    let output =
        run(&["config", "check", "--config", example, "--data-dir", dir.to_str().unwrap()]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let line = |key: &str| shown.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("data-dir").ends_with("--data-dir"), "{shown}");
    assert!(
        line("listen ").contains("127.0.0.1:7001") && line("listen ").contains(example),
        "{shown}"
    );
    assert!(!dir.exists(), "nothing is written");
    assert!(output.stderr.is_empty(), "nothing to warn of");
    refused(&["config", "check", "--bubbles", "many"], 2, "--bubbles");
    refused(&["config", "check", "--config", "/nonexistent"], 2, "--config");
}

#[cfg(unix)]
#[test]
fn a_check_warns_of_secrets_that_others_can_read_as_a_start_does() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let cookie = home.path().join("cookie");
    std::fs::write(&cookie, "a cookie for tests only").unwrap();
    let path = cookie.to_str().unwrap();
    let said = |mode| {
        std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(mode)).unwrap();
        let output = run(&["config", "check", "--cookie-file", path]);
        assert!(output.status.success() && !output.stdout.is_empty());
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(said(0o600), "");
    let warning = said(0o644);
    assert!(warning.starts_with("warning: ") && warning.contains(path), "{warning}");
    assert!(warning.contains("mode 0644") && warning.contains("chmod 600"), "{warning}");
}

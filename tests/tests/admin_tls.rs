//! TLS for the admin HTTP: what commands say to whom they trust and to whom not.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lampyrid::admin::limits::MAX_CONNECTIONS;
use lampyrid_tests::{Authority, NodeProcess, Options, PATIENCE, eventually};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
const HOST: &str = "127.0.0.1";

/// One process whose admin HTTP speaks TLS and demands a token.
struct Stage {
    node: NodeProcess,
    authority: Authority,
    token: PathBuf,
    // Last: what runs in it ends before it goes.
    directory: tempfile::TempDir,
}

impl Stage {
    fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new(&directory.path().join("authority"));
        let token = directory.path().join("token");
        fs::write(&token, "open-sesame").unwrap();
        let (cert, key) = authority.issue("admin", &[name.to_owned()]);
        let options = Options::default()
            .with("--admin-tls-cert", cert.display().to_string())
            .with("--admin-tls-key", key.display().to_string())
            .with("--admin-token-file", token.display().to_string())
            .data(&directory.path().join("data"));
        let node = NodeProcess::start(BINARY.as_ref(), &options).unwrap();
        node.wait_ready();
        Self { node, authority, token, directory }
    }

    fn url(&self) -> String {
        self.node.listening["admin"].as_str().unwrap().to_owned()
    }

    /// Where it listens, as sockets know it.
    fn place(&self) -> String {
        self.url().trim_start_matches("https://").to_owned()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.place()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A client command that shows the token and trusts `ca`.
    fn run(&self, words: &[&str], url: &str, ca: Option<&Path>) -> Output {
        let mut command = Command::new(BINARY);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LAMPYRID_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.args(words).args(["--admin", url]).arg("--admin-token-file").arg(&self.token);
        if let Some(ca) = ca {
            command.arg("--admin-ca").arg(ca);
        }
        command.output().unwrap()
    }

    fn serves(&self) -> bool {
        self.run(&["status"], &self.url(), Some(&self.authority.ca())).status.success()
    }
}

#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is missing: {text}");
    }
    assert!(output.stdout.is_empty(), "stdout is for results");
}

/// Reads until the other side closes the connection.
fn ends(mut stream: TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it was not closed: {error}"),
    }
}

#[test]
fn commands_talk_to_whom_they_trust_and_say_why_to_nobody_else() {
    let stage = Stage::new(HOST);
    let url = stage.url();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let ca = stage.authority.ca();
    let status = stage.run(&["status", "--json"], &url, Some(&ca));
    assert_eq!(status.status.code(), Some(0), "{}", String::from_utf8_lossy(&status.stderr));
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["view"]["self"], stage.node.id());
    assert_eq!(status["view"]["members"][0]["admin"], url, "others are told the same");
    assert_eq!(stage.run(&["audit"], &url, Some(&ca)).status.code(), Some(0));

    // The file in the data directory, and the variable.
    let found = Command::new(BINARY)
        .args(["status", "--data-dir"])
        .arg(stage.directory.path().join("data"))
        .arg("--admin-token-file")
        .arg(&stage.token)
        .env_remove("LAMPYRID_ADMIN_URL")
        .env("LAMPYRID_ADMIN_CA", &ca)
        .output()
        .unwrap();
    assert_eq!(found.status.code(), Some(0), "{}", String::from_utf8_lossy(&found.stderr));

    refused(&stage.run(&["status"], &url, None), 2, &["--admin-ca FILE", &url]);
    let foreign = Authority::new(&stage.directory.path().join("foreign"));
    let output = stage.run(&["status"], &url, Some(&foreign.ca()));
    refused(&output, 3, &["certificate is not accepted", "no authority of --admin-ca"]);
    let named = url.replace(HOST, "localhost");
    let output = stage.run(&["status"], &named, Some(&ca));
    refused(&output, 3, &["does not name `localhost`"]);
    let plain = url.replace("https://", "http://");
    for command in ["status", "leave"] {
        let output = stage.run(&[command], &plain, Some(&ca));
        refused(&output, 3, &["this port speaks TLS", "https://", "--admin-ca"]);
    }
    assert!(stage.serves(), "nothing of this was an order to leave");
    assert_eq!(stage.run(&["leave"], &url, Some(&ca)).status.code(), Some(0));
    let mut stage = stage;
    assert_eq!(stage.node.wait_exit().code(), Some(0));
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_is_not() {
    let stage = Stage::new(HOST);
    let url = stage.url();
    // Another authority tells the new one from the old one.
    let next = Authority::new(&stage.directory.path().join("next"));
    assert!(stage.serves());
    let (cert, key) = next.issue("admin", &[HOST.to_owned()]);
    let own = stage.authority.ca();
    let place = own.parent().unwrap();
    fs::copy(&cert, place.join("admin.pem")).unwrap();
    fs::copy(&key, place.join("admin.key")).unwrap();
    eventually("the new certificate to be served", || {
        stage.run(&["status"], &url, Some(&next.ca())).status.success().then_some(())
    });
    let output = stage.run(&["status"], &url, Some(&own));
    refused(&output, 3, &["no authority of --admin-ca"]);
    fs::write(place.join("admin.pem"), "no certificate").unwrap();
    eventually("the broken one to be complained of", || {
        assert!(stage.run(&["status"], &url, Some(&next.ca())).status.success());
        stage.node.stderr().contains("changed certificates are not used").then_some(())
    });
}

#[test]
fn silent_half_and_senseless_connections_end_and_disturb_nobody() {
    let stage = Stage::new(HOST);
    // The beginning of a hello that never comes to its end.
    let mut half = stage.connect();
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    let mut senseless = stage.connect();
    senseless.write_all(&[0x16, 3, 1, 0, 4, 0xff, 0xff, 0xff, 0xff]).unwrap();
    let mut text = stage.connect();
    text.write_all(b"GET /v1/view HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    let mut answer = String::new();
    text.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("tls_required"), "{answer}");
    let silent = stage.connect();
    assert!(stage.serves());
    [half, senseless, silent].into_iter().for_each(ends);
}

#[test]
fn more_silent_connections_than_there_is_room_for_keep_no_caller_out() {
    let stage = Stage::new(HOST);
    let mut crowd = Vec::new();
    for _ in 0..2 {
        // They are accepted in this order: when it is the command's turn, no room is left.
        crowd.extend((0..MAX_CONNECTIONS + 44).map(|_| stage.connect()));
        let output = stage.run(&["status"], &stage.url(), Some(&stage.authority.ca()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    crowd.into_iter().for_each(ends);
}

#[test]
fn a_certificate_that_names_another_host_is_warned_of_and_a_pair_that_does_not_fit_is_refused() {
    let stage = Stage::new("elsewhere.example");
    eventually("the warning", || {
        stage.node.stderr().contains("does not name the host of the URL").then_some(())
    });
    let output = stage.run(&["status"], &stage.url(), Some(&stage.authority.ca()));
    refused(&output, 3, &["does not name `127.0.0.1`"]);

    let (cert, _) = stage.authority.issue("one", &[HOST.to_owned()]);
    let (_, key) = stage.authority.issue("two", &[HOST.to_owned()]);
    let options = Options::default()
        .with("--admin-tls-cert", cert.display().to_string())
        .with("--admin-tls-key", key.display().to_string());
    let (status, text) = NodeProcess::start(BINARY.as_ref(), &options).unwrap_err();
    assert_eq!(status.code(), Some(2), "{text}");
    assert!(text.contains("--admin-tls-key: ") && text.contains("not the key of"), "{text}");
}

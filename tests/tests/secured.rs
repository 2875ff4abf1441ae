//! Mutual TLS between processes of the binary.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::Write;
use std::net::TcpStream;

use lampyrid_tests::{Authority, Cluster, NodeProcess, Options, eventually};
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

fn bubble_of(cluster: &Cluster, at: usize) -> String {
    cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone()
}

/// Somebody connects: files are looked at then, at most once a second.
fn knock(cluster: &Cluster) {
    let mut stream = TcpStream::connect(cluster.node(0).address()).unwrap();
    // The first byte of a dialler with TLS.
    stream.write_all(&[0x16]).unwrap();
}

fn epoch(cluster: &Cluster) -> u64 {
    cluster.admin(0).get("/v1/view").unwrap().body["epoch"].as_u64().unwrap()
}

#[test]
fn secured_processes_agree_and_move_entities_and_take_renewed_certificates() {
    let mut cluster = Cluster::secured(BINARY, 3);
    let (from, to) = (bubble_of(&cluster, 0), bubble_of(&cluster, 1));
    let made = cluster.admin(0).post("/v1/entities", &json!({"bubble": from, "state": 1}));
    let id = made.unwrap().body["id"].as_str().unwrap().to_owned();
    let asked = json!({"entities": [id], "to": to, "wait_ms": 30_000});
    let moved = cluster.admin(0).post("/v1/migrations", &asked).unwrap().body;
    assert_eq!(moved["entities"][0]["outcome"], "committed", "{moved}");
    assert_eq!(cluster.admin(1).get(&format!("/v1/entities/{id}")).unwrap().status, 200);

    // Renewed in place; the next connection shows it.
    let name = "node-0".to_owned();
    let (cert, _) = cluster.authority().unwrap().issue("node-0", &[name]);
    eventually("the new certificate to be read", || {
        knock(&cluster);
        cluster.node(0).stderr().contains("were read again").then_some(())
    });
    cluster.kill(2);
    cluster.restart(2);
    cluster.wait_agreed();
    // A broken one is complained of, and the other stays in use.
    std::fs::write(&cert, "no certificate").unwrap();
    eventually("the broken certificate to be refused", || {
        knock(&cluster);
        cluster.node(0).stderr().contains("changed certificates are not used").then_some(())
    });
    cluster.kill(2);
    cluster.restart(2);
    cluster.wait_agreed();
}

#[test]
fn who_has_no_business_here_is_told_why_and_disturbs_nothing() {
    let cluster = Cluster::secured(BINARY, 2);
    let before = epoch(&cluster);
    let foreign = Authority::new(&cluster.path().join("foreign"));
    let cookie = cluster.cookie_file();
    let other_cookie = cluster.path().join("other-cookie");
    std::fs::write(&other_cookie, "another cookie for tests only").unwrap();
    let own = cluster.authority().unwrap();
    for (flags, cookie, why, line) in [
        (foreign.flags("stranger"), cookie.clone(), "a certificate is not accepted", "TLS: "),
        (Vec::new(), cookie, "only one of the two speaks TLS", "it speaks no TLS"),
        (
            own.flags("stranger"),
            other_cookie.display().to_string(),
            "the cookie is another",
            "the cookie is another",
        ),
    ] {
        let mut options = Options::default()
            .with("--name", "stranger")
            .with("--join", cluster.node(0).address())
            .with("--join-timeout", "3s")
            .with("--cookie-file", cookie);
        options.arguments.extend(flags);
        let text = match NodeProcess::start(BINARY.as_ref(), &options) {
            Err((status, text)) => {
                assert_eq!(status.code(), Some(1), "{text}");
                text
            }
            Ok(mut stranger) => {
                let status = stranger.wait_exit();
                let text = eventually("its last words", || {
                    let text = stranger.stderr();
                    text.contains(why).then_some(text)
                });
                assert_eq!(status.code(), Some(1), "{}", text.0);
                text.0
            }
        };
        assert!(text.contains(why), "{why}: {text}");
        let log = cluster.node(0).stderr();
        let said = log.lines().filter(|l| l.contains("no session") && l.contains(line)).count();
        assert_eq!(said, 1, "{line}:\n{log}");
    }
    assert_eq!(epoch(&cluster), before);
    cluster.wait_agreed();
}

#[test]
fn a_process_does_not_start_with_a_certificate_that_its_peers_would_refuse() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let flags = |options: Options, name: &str, flags: Vec<String>| {
        let mut options = options.with("--name", name);
        options.arguments.extend(flags);
        options
    };
    let wrong_name = flags(Options::default(), "b", authority.flags("a"));
    let (status, text) = NodeProcess::start(BINARY.as_ref(), &wrong_name).unwrap_err();
    assert_eq!(status.code(), Some(2), "{text}");
    assert!(text.contains("--tls-cert: ") && text.contains("does not name this process"), "{text}");
}

#[test]
fn the_demo_holds_with_tls() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new(directory.path());
    let names = ["n1", "n2", "n3"].map(str::to_owned);
    let (cert, key) = authority.issue("demo", &names);
    let output = std::process::Command::new(BINARY)
        .args(["demo", "--duration", "6s", "--entities", "300", "--json"])
        .args(["--tls-cert".as_ref(), cert.as_os_str()])
        .args(["--tls-key".as_ref(), key.as_os_str()])
        .args(["--tls-ca".as_ref(), authority.ca().as_os_str()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(report["entities"]["lost"], 0, "{report}");
    assert_eq!(report["entities"]["duplicated"], 0, "{report}");
    assert_eq!(report["agreed"], true, "{report}");
}

#[test]
fn metrics_tell_until_when_the_certificate_is_accepted() {
    let cluster = Cluster::secured(BINARY, 1);
    let until = || {
        let text = cluster.admin(0).text("/metrics")?;
        let name = "lampyrid_tls_certificate_expiry_timestamp_seconds ";
        text.lines().find_map(|line| line.strip_prefix(name))?.parse::<f64>().ok()
    };
    let until = until().expect("a figure");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(until > now.as_secs_f64(), "{until}");
}

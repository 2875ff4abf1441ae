//! Bad input: a clear error in the right place, and nobody else is harmed.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use lampyrid_tests::{Cluster, NodeProcess, Options, copy_directory, eventually};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

fn refused(options: &Options) -> (ExitStatus, String) {
    match NodeProcess::start(BINARY.as_ref(), options) {
        Err(end) => end,
        Ok(mut node) => {
            let status = node.wait_exit();
            (status, node.stderr())
        }
    }
}

fn cookie(path: &Path, text: &str) -> String {
    std::fs::write(path, text).expect("writable");
    path.display().to_string()
}

fn settings(cluster: &Cluster) -> Options {
    settings_for(cluster, &cluster.node(0).address())
        .with("--cookie-file", cluster.cookie_file())
        .with("--join-timeout", "3s")
}

/// A process that the cluster does not know, with a certificate if the others have one.
fn settings_for(cluster: &Cluster, seed: &str) -> Options {
    let mut options = Options::default().with("--name", "guest").with("--join", seed);
    if let Some(authority) = cluster.authority() {
        options.arguments.extend(authority.flags("guest"));
    }
    options
}

#[test]
fn a_second_process_on_a_data_directory_ends_with_1() {
    let cluster = Cluster::start(BINARY, 1);
    let (status, text) = refused(&settings(&cluster).data(&cluster.data_dir(0)));
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("node-0"), "names the directory: {text}");
    cluster.wait_agreed();
}

#[test]
fn strangers_are_refused_and_told_why() {
    let cluster = Cluster::start(BINARY, 2);
    let (before, _) = cluster.wait_agreed();
    let other = cookie(&cluster.path().join("other"), "quite another secret, 987654321");
    let wrong_cookie = settings_for(&cluster, &cluster.node(0).address())
        .with("--cookie-file", other)
        .with("--join-timeout", "3s");
    let (status, text) = refused(&wrong_cookie);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("cookie"), "{text}");

    let (status, text) = refused(&settings(&cluster).with("--cluster-name", "another"));
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("cluster name"), "{text}");

    let nobody = settings(&cluster);
    let unreachable = Options {
        arguments: nobody
            .arguments
            .iter()
            .map(|word| {
                if *word == cluster.node(0).address() { "127.0.0.1:1".into() } else { word.clone() }
            })
            .collect(),
        ..Options::default()
    };
    let (status, text) = refused(&unreachable);
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("127.0.0.1:1"), "names the seed: {text}");
    let (after, _) = cluster.wait_agreed();
    assert_eq!(before["id"], after["id"], "no view change came of it");
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let cluster = Cluster::start(BINARY, 1);
    let file = cluster.path().join("a-file");
    std::fs::write(&file, "not a directory").expect("writable");
    let (status, text) = refused(&settings(&cluster).data(&file.join("data")));
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("a-file"), "{text}");
    let (status, text) = refused(&settings(&cluster).data(Path::new("/proc/lampyrid")));
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("/proc/lampyrid"), "{text}");
}

fn store_of(directory: &Path) -> std::path::PathBuf {
    let entries = std::fs::read_dir(directory).expect("a data directory");
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "redb"))
        .expect("a store")
}

fn filled(size: usize) -> Cluster {
    let cluster = Cluster::start(BINARY, size);
    for at in 0..size {
        let bubble = cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone();
        let body = json!({ "bubble": bubble, "count": 100, "state": "MARKER-0123456789" });
        assert_eq!(cluster.admin(at).post("/v1/entities", &body).expect("an answer").status, 201);
    }
    cluster
}

#[test]
fn a_truncated_store_ends_the_start_and_is_left_as_it_was() {
    let mut cluster = filled(2);
    cluster.kill(1);
    let store = store_of(&cluster.data_dir(1));
    let whole = std::fs::read(&store).expect("readable");
    for keep in [0, 1, 100, 4096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&store, &whole[..keep]).expect("writable");
        let (status, text) = refused(&settings(&cluster).data(&cluster.data_dir(1)));
        assert_eq!(status.code(), Some(1), "cut to {keep}: {text}");
        assert!(text.contains(&store.display().to_string()), "cut to {keep}: {text}");
        assert_eq!(std::fs::read(&store).expect("readable"), whole[..keep], "cut to {keep}");
    }
    std::fs::write(&store, &whole).expect("writable");
    cluster.restart(1);
    cluster.wait_agreed();
}

#[test]
fn a_flipped_byte_in_a_record_ends_the_start_and_names_table_and_key() {
    let mut cluster = filled(2);
    cluster.kill(1);
    let store = store_of(&cluster.data_dir(1));
    let mut bytes = std::fs::read(&store).expect("readable");
    let marker = b"MARKER-0123456789";
    let places: Vec<usize> = bytes
        .windows(marker.len())
        .enumerate()
        .filter_map(|(at, window)| (window == marker).then_some(at))
        .collect();
    assert!(!places.is_empty(), "the states are in the store");
    for &at in &places {
        bytes[at] ^= 1;
    }
    std::fs::write(&store, &bytes).expect("writable");
    let (status, text) = refused(&settings(&cluster).data(&cluster.data_dir(1)));
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains(&store.display().to_string()), "{text}");
    assert!(text.contains("entities"), "names the table: {text}");
    assert_eq!(std::fs::read(&store).expect("readable"), bytes, "left as it was");
    for &at in &places {
        bytes[at] ^= 1;
    }
    std::fs::write(&store, &bytes).expect("writable");
    cluster.restart(1);
    cluster.wait_agreed();
}

#[test]
fn garbage_on_the_cluster_port_costs_only_its_own_connection() {
    let cluster = Cluster::start(BINARY, 3);
    let (before, _) = cluster.wait_agreed();
    let address = cluster.node(0).address();
    let mut random = StdRng::seed_from_u64(7);
    let mut held = Vec::new();
    for round in 0..200_usize {
        let mut stream = TcpStream::connect(&address).expect("it still listens");
        let mut bytes = vec![0_u8; round * 37 % 5_000];
        random.fill_bytes(&mut bytes);
        if round % 3 == 0 {
            // A length that promises the largest frame there is.
            bytes.splice(..0, [0xFF; 8]);
        }
        let _ = stream.write_all(&bytes);
        if round % 2 == 0 {
            held.push(stream);
        }
    }
    // Each held connection is closed by the process, not by us.
    for mut stream in held {
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        let kind = end.as_ref().err().map(std::io::Error::kind);
        let timed_out = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
        assert!(!kind.is_some_and(|kind| timed_out.contains(&kind)), "{end:?}");
    }
    let (after, _) = cluster.wait_agreed();
    assert_eq!(before["id"], after["id"], "no view change came of it");
}

#[test]
fn malformed_and_oversized_bodies_are_problems_and_the_process_goes_on() {
    let cluster = Cluster::start(BINARY, 1);
    let admin = cluster.admin(0);
    let bubble = admin.bubbles_of(&cluster.node(0).id())[0].clone();
    let url = format!("{}/v1/entities", admin.base());
    let send = |body: &str| {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = agent.post(&url).header("content-type", "application/json");
        let mut answer = request.send(body).expect("an answer");
        let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"));
        let text = answer.body_mut().read_to_string().expect("text");
        let problem: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(problem["status"], answer.status().as_u16());
        (answer.status().as_u16(), text)
    };
    assert_eq!(send("{").0, 400);
    assert_eq!(send("[]").0, 400);
    assert_eq!(send(&json!({ "bubble": 5, "state": 0 }).to_string()).0, 400);
    let (status, text) = send(&json!({ "bubble": bubble, "state": 0, "colour": 1 }).to_string());
    assert_eq!(status, 400);
    assert!(text.contains("colour"), "names the field: {text}");
    let (status, text) =
        send(&json!({ "bubble": bubble, "count": 10_001, "state": 0 }).to_string());
    assert!((400..500).contains(&status), "{text}");
    let large = json!({ "bubble": bubble, "state": "z".repeat(9 * 1024 * 1024) }).to_string();
    let mut stream = TcpStream::connect(admin.base().trim_start_matches("http://")).expect("open");
    let head = format!(
        "POST /v1/entities HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        large.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let _ = stream.write_all(&large.as_bytes()[..100_000]);
    let mut answer = [0_u8; 12];
    stream.read_exact(&mut answer).expect("an answer before the whole body");
    assert_eq!(&answer, b"HTTP/1.1 413");
    assert!(admin.is_ready());
}

#[test]
fn usage_errors_end_with_2_and_nobody_there_with_3() {
    let run = |arguments: &[&str]| {
        let output = Command::new(BINARY).args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(run(&["demo", "--nodes", "2"]).0, Some(2));
    assert_eq!(run(&["node", "--nonsense"]).0, Some(2));
    assert_eq!(run(&["status"]).0, Some(2), "no process named");
    let (code, text) = run(&["status", "--admin", "http://127.0.0.1:1"]);
    assert_eq!(code, Some(3), "{text}");
    let (code, text) = run(&["node", "--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("--allow-insecure-bind"), "{text}");
}

#[test]
fn a_copy_of_a_data_directory_ends_with_1_and_its_original_goes_on() {
    let mut cluster = Cluster::start(BINARY, 3);
    cluster.kill(2);
    let copy = cluster.path().join("copy");
    copy_directory(&cluster.data_dir(2), &copy);
    cluster.restart(2);
    let (before, _) = cluster.wait_agreed();
    let (status, text) = refused(&settings(&cluster).data(&copy));
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(text.contains("rolled back or copied"), "{text}");
    let (after, _) = cluster.wait_agreed();
    assert_eq!(before["id"], after["id"], "no view change came of it");
}

#[test]
fn a_node_that_joins_late_waits_for_its_seed() {
    let mut cluster = Cluster::empty(BINARY);
    cluster.add(Options::default());
    let address = cluster.node(0).address();
    cluster.wait_agreed();
    cluster.kill(0);
    let late = settings_for(&cluster, &address)
        .with("--cookie-file", cluster.cookie_file())
        .with("--join-timeout", "60s");
    let node = NodeProcess::start(BINARY.as_ref(), &late).expect("it waits");
    cluster.restart(0);
    node.wait_ready();
    eventually("a view of two", || {
        let view = node.admin.view()?;
        (view["members"].as_array()?.len() == 2).then_some(())
    });
}

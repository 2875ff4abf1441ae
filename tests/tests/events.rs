//! The stream of events of the admin HTTP, on the binary.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use lampyrid_tests::{Cluster, PATIENCE};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

/// An open stream of events.
struct Events {
    lines: std::io::Lines<BufReader<TcpStream>>,
    last: u64,
}

#[derive(Debug)]
struct Event {
    kind: String,
    data: Value,
}

impl Events {
    fn open(cluster: &Cluster, at: usize, after: Option<u64>) -> Self {
        let address = cluster.admin(at).base().trim_start_matches("http://").to_owned();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let after = after.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        write!(stream, "GET /v1/events HTTP/1.1\r\nHost: {address}\r\n{after}\r\n").unwrap();
        Self { lines: BufReader::new(stream).lines(), last: 0 }
    }

    /// `None` at the end of the stream.
    fn next(&mut self) -> Option<Event> {
        let mut kind = String::new();
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            if let Some(id) = line.strip_prefix("id: ") {
                let id = id.parse().unwrap();
                assert!(id > self.last, "{id} after {}", self.last);
                self.last = id;
            } else if let Some(name) = line.strip_prefix("event: ") {
                kind = name.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                return Some(Event { kind, data: serde_json::from_str(data).unwrap() });
            }
        }
        None
    }

    fn expect(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let event = self.next().unwrap();
            if event.kind == kind && wanted(&event.data) {
                return event.data;
            }
        }
    }
}

fn moved(cluster: &Cluster, from: usize, to: usize) -> String {
    let bubble = |at: usize| cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone();
    let entity = json!({"bubble": bubble(from), "state": 1});
    let made = cluster.admin(from).post("/v1/entities", &entity).unwrap().body;
    let asked = json!({"entities": [made["id"]], "to": bubble(to), "wait_ms": 30_000});
    let saga = cluster.admin(from).post("/v1/migrations", &asked).unwrap().body;
    assert_eq!(saga["state"], "done", "{saga}");
    saga["saga"].as_str().unwrap().to_owned()
}

#[test]
fn the_current_state_comes_first_and_then_what_happens() {
    let mut cluster = Cluster::start(BINARY, 3);
    let mut events = Events::open(&cluster, 0, None);
    let first = events.next().unwrap();
    assert_eq!((first.kind.as_str(), first.data["members"].as_array().unwrap().len()), ("view", 3));
    let view = cluster.admin(0).get("/v1/view").unwrap().body;
    assert_eq!(first.data, view);
    let second = events.next().unwrap();
    assert_eq!(second.kind, "coordinator");
    assert_eq!(second.data["coordinator"], view["coordinator"]);
    let third = events.next().unwrap();
    assert_eq!(third.kind, "topology");
    assert_eq!(third.data["processes"].as_array().unwrap().len(), 3, "{third:?}");

    let saga = moved(&cluster, 0, 1);
    let told = events.expect("migration", |data| data["saga"] == saga.as_str());
    assert_eq!((&told["state"], &told["committed"]), (&json!("done"), &json!(1)), "{told}");

    let gone = cluster.node(2).id();
    cluster.kill(2);
    let two = |data: &Value| data["members"].as_array().unwrap().len() == 2;
    let view = events.expect("view", two);
    assert!(!view.to_string().contains(&gone), "{view}");
    let two = |data: &Value| data["processes"].as_array().unwrap().len() == 2;
    events.expect("topology", two);
}

#[test]
fn one_who_comes_back_goes_on_where_it_was() {
    let cluster = Cluster::start(BINARY, 2);
    let mut events = Events::open(&cluster, 0, None);
    let first = moved(&cluster, 0, 1);
    events.expect("migration", |data| data["saga"] == first.as_str());
    let last = events.last;
    drop(events);
    let others = [moved(&cluster, 0, 1), moved(&cluster, 0, 1)];
    let mut back = Events::open(&cluster, 0, Some(last));
    for saga in others {
        let event = back.next().unwrap();
        assert_eq!((event.kind.as_str(), &event.data["saga"]), ("migration", &json!(saga)));
    }
    let mut late = Events::open(&cluster, 0, Some(1));
    assert_eq!(late.next().unwrap().kind, "gap");
    assert_eq!(late.next().unwrap().kind, "view");
}

#[test]
fn an_open_stream_ends_with_its_process() {
    let mut cluster = Cluster::start(BINARY, 2);
    let mut events = Events::open(&cluster, 1, None);
    events.next().unwrap();
    let status = cluster.terminate(1);
    assert!(status.success(), "{status}");
    // The leave itself is still told.
    while let Some(event) = events.next() {
        assert_ne!(event.kind, "gap");
    }
}

//! Spans of a move that two processes export find themselves in one trace.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use lampyrid_tests::{Cluster, Options, eventually};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use uuid::Uuid;

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

/// The least that is a collector: keeps each span with the process that sent it.
struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<(String, Span)>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let spans = Arc::<Mutex<Vec<(String, Span)>>>::default();
        let kept = Arc::clone(&spans);
        // Both kinds of threads end with the test's process, the others with their connection.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || serve(&stream, &kept));
            }
        });
        Self { address, spans }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans of that saga, by process.
    fn of(&self, saga: &str) -> Vec<(String, Span)> {
        let id = Uuid::parse_str(saga).expect("a UUID");
        let all = self.spans.lock().expect("no panic");
        all.iter().filter(|(_, span)| span.trace_id == id.as_bytes()).cloned().collect()
    }

    fn len(&self) -> usize {
        self.spans.lock().expect("no panic").len()
    }
}

/// Answers requests of one connection until it ends.
fn serve(stream: &TcpStream, kept: &Mutex<Vec<(String, Span)>>) {
    let mut reader = BufReader::new(stream);
    while let Some((head, body)) = request(&mut reader) {
        assert!(head.starts_with("POST /v1/traces HTTP/1.1"), "{head}");
        let export = ExportTraceServiceRequest::decode(body.as_slice()).expect("OTLP");
        for of_process in export.resource_spans {
            let resource = of_process.resource.expect("a resource");
            let process = text(&resource.attributes, "service.instance.id");
            let spans = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
            let spans = spans.map(|span| (process.clone(), span));
            kept.lock().expect("no panic").extend(spans);
        }
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\n\
                      content-length: 0\r\n\r\n";
        let mut out = stream;
        if out.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    let mut body = vec![0; length.trim().parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn attribute<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Attribute> {
    let found = attributes.iter().find(|one| one.key == key)?;
    found.value.as_ref()?.value.as_ref()
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    match attribute(attributes, key) {
        Some(Attribute::StringValue(text)) => text.clone(),
        other => panic!("{key}: {other:?}"),
    }
}

fn number(span: &Span, key: &str) -> i64 {
    match attribute(&span.attributes, key) {
        Some(Attribute::IntValue(number)) => *number,
        other => panic!("{key}: {other:?}"),
    }
}

fn start(collector: &str, sample: &str) -> Cluster {
    let mut cluster = Cluster::empty(BINARY);
    for _ in 0..2 {
        cluster.add(
            Options::default().with("--otlp-endpoint", collector).with("--otlp-sample", sample),
        );
    }
    cluster.wait_agreed();
    cluster
}

fn bubble(cluster: &Cluster, at: usize) -> String {
    cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone()
}

fn create(cluster: &Cluster) -> String {
    let body = json!({ "bubble": bubble(cluster, 0), "state": 1 });
    let created = cluster.admin(0).post("/v1/entities", &body).expect("an answer");
    created.body["id"].as_str().expect("an id").to_owned()
}

/// Moves an entity from the first process to the second; gives the saga.
fn step(cluster: &Cluster) -> String {
    let entity = create(cluster);
    let to = bubble(cluster, 1);
    let moved = cluster.admin(0).migrate(&[&entity], &to, 10_000).expect("an answer");
    assert_eq!(moved.body["entities"][0]["outcome"], "committed", "{moved:?}");
    moved.body["saga"].as_str().expect("a saga").to_owned()
}

#[test]
fn both_processes_find_themselves_in_the_trace_of_the_saga() {
    let collector = Collector::start();
    let mut cluster = start(&collector.url(), "1");
    let epoch = cluster.wait_agreed().0["epoch"].as_i64().expect("an epoch");
    let (source, destination) = (cluster.node(0).id(), cluster.node(1).id());
    let saga = step(&cluster);
    let (spans, _) = eventually("three spans", || {
        let spans = collector.of(&saga);
        (spans.len() >= 3).then_some(spans)
    });
    let one = |name: &str| {
        let mut found = spans.iter().filter(|(_, span)| span.name == name);
        let first = found.next().unwrap_or_else(|| panic!("{name}: {spans:?}")).clone();
        assert!(found.next().is_none(), "{name}: {spans:?}");
        first
    };
    let (of, whole) = one("migration");
    assert_eq!((of, whole.parent_span_id.as_slice()), (source.clone(), &[][..]));
    assert_eq!(text(&whole.attributes, "lampyrid.saga"), saga);
    assert_eq!(text(&whole.attributes, "lampyrid.bubble"), bubble(&cluster, 1));
    assert_eq!(text(&whole.attributes, "lampyrid.state"), "committed");
    assert_eq!((number(&whole, "lampyrid.committed"), number(&whole, "lampyrid.aborted")), (1, 0));
    let mut last = 0;
    for name in ["stage", "activate"] {
        let (of, span) = one(name);
        assert_eq!(of, destination);
        assert_eq!(span.parent_span_id, whole.span_id, "{name} is a child of the migration");
        assert_eq!(text(&span.attributes, "lampyrid.source"), source);
        assert_eq!((number(&span, "lampyrid.part"), number(&span, "lampyrid.entities")), (0, 1));
        assert_eq!(number(&span, "lampyrid.view_epoch"), epoch);
        assert!(last <= span.start_time_unix_nano, "one after the other");
        last = span.end_time_unix_nano;
        // Of one machine and one wall clock, which nobody sets meanwhile by more than a second.
        let (begin, end) = (whole.start_time_unix_nano, whole.end_time_unix_nano);
        let slack = 1_000_000_000;
        assert!(begin <= span.start_time_unix_nano + slack && last <= end + slack, "{spans:?}");
        assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    }
    assert_eq!(number(&whole, "lampyrid.view_epoch"), epoch);

    // What waits is sent before a process ends.
    let saga = step(&cluster);
    assert!(cluster.terminate(0).success());
    let ours = |(of, span): &(String, Span)| *of == source && span.name == "migration";
    assert!(collector.of(&saga).iter().any(ours), "{:?}", collector.of(&saga));
}

#[test]
fn a_source_that_dies_after_its_decision_completes_the_trace_in_its_next_life() {
    let collector = Collector::start();
    let mut cluster = start(&collector.url(), "1");
    let entity = create(&cluster);
    let to = bubble(&cluster, 1);
    cluster.kill(0);
    cluster.restart_with(0, &[("LAMPYRID_FAULT_POINT", "send.commit.after")]);
    cluster.wait_agreed();
    // It dies before it answers.
    let _ = cluster.admin(0).migrate(&[&entity], &to, 10_000);
    cluster.wait_exit(0);
    cluster.restart(0);
    cluster.wait_agreed();
    let of = |name: &str| {
        let spans = collector.spans.lock().expect("no panic");
        spans.iter().map(|(_, span)| span).find(|span| span.name == name).cloned()
    };
    let (whole, _) = eventually("the span of the whole", || of("migration"));
    let replayed = attribute(&whole.attributes, "lampyrid.replayed");
    assert_eq!(replayed, Some(&Attribute::BoolValue(true)));
    for name in ["stage", "activate"] {
        let (child, _) = eventually("the spans of the destination", || of(name));
        assert_eq!((&child.trace_id, &child.parent_span_id), (&whole.trace_id, &whole.span_id));
    }
}

#[test]
fn a_collector_that_is_away_is_counted_and_disturbs_nobody() {
    // A port at which nobody listens; or somebody who is no collector, which is the same.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("a bound port");
    drop(silent);
    let mut cluster = start(&format!("http://{address}"), "1");
    for _ in 0..5 {
        step(&cluster);
    }
    let (line, _) = eventually("a line with what was lost", || {
        let log = cluster.node(0).stderr();
        log.lines().find(|line| line.contains("spans were lost")).map(str::to_owned)
    });
    assert!(line.contains("failed="), "{line}");
    assert!(cluster.terminate(0).success());
}

#[test]
fn nothing_is_sent_of_sagas_that_are_not_sampled() {
    let collector = Collector::start();
    let mut cluster = start(&collector.url(), "0");
    let saga: Value = step(&cluster).into();
    assert!(cluster.terminate(0).success() && cluster.terminate(1).success(), "{saga}");
    assert_eq!(collector.len(), 0);
}

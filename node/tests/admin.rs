//! The admin HTTP against a backend of a few maps, over real sockets: what every row of the
//! interface answers, without a cluster.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests")]

mod support;

use std::time::Duration;

use lampyrid::admin::limits::{HEADER_TIMEOUT, MAX_CONNECTIONS};
use lampyrid_membership::Status;
use lampyrid_migration::{EntityStatus, MovedTo, Phase, Reason};
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch, ProcessId};
use serde_json::json;
use support::{Secured, Server, raw, send_then_read};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HERE: BubbleId = BubbleId::from_u128(0xb1);
const ELSEWHERE: BubbleId = BubbleId::from_u128(0xb2);

fn entity(number: u128) -> String {
    format!("/v1/entities/{}", EntityId::from_u128(number))
}

#[tokio::test]
async fn view_topology_and_bubbles_are_as_documented() {
    let server = Server::start(None).await;
    let view = server.get("/v1/view").await.ok(200);
    assert_eq!(view["status"], "active");
    assert_eq!(view["epoch"], 1);
    assert_eq!(view["self"], view["coordinator"]);
    assert_eq!(view["members"][0]["id"], view["self"]);
    assert_eq!(view["members"][0]["admin"], "http://127.0.0.1:1");
    assert_eq!(view["id"].as_str().unwrap().len(), 64);
    assert_eq!(view["waiting_for"], json!([]));
    assert!(view.get("stale").is_none());
    let topology = server.get("/v1/topology").await.ok(200);
    assert_eq!(topology["processes"][0]["bubbles"], json!([HERE]));
    let bubble = server.get(&format!("/v1/bubbles/{HERE}")).await.ok(200);
    assert_eq!(bubble["bubble"], json!(HERE));
    server
        .get(&format!("/v1/bubbles/{}", BubbleId::from_u128(9)))
        .await
        .problem(404, "unknown_bubble");
    server.get("/v1/bubbles/nonsense").await.problem(400, "invalid_request");
}

#[tokio::test]
async fn entities_are_created_read_written_listed_and_deleted() {
    let server = Server::start(None).await;
    let id = EntityId::from_u128(5);
    let body =
        json!({ "bubble": HERE, "id": id, "state": { "big": 12_345_678_901_234_567_890_u64 } });
    let made = server.post("/v1/entities", &body).await.ok(201);
    assert_eq!(made, json!({ "id": id, "bubble": HERE, "epoch": 0 }));
    server.post("/v1/entities", &body).await.problem(409, "entity_exists");
    let read = server.get(&entity(5)).await.ok(200);
    assert_eq!(read["state"], body["state"]);
    assert_eq!(read["status"], "active");
    for state in [json!(null), json!("text"), json!([1, 2.5]), json!(false)] {
        server.put(&entity(5), &json!({ "state": state })).await.ok(200);
        assert_eq!(server.get(&entity(5)).await.ok(200)["state"], state);
    }
    let many = json!({ "bubble": HERE, "count": 3, "state": 1 });
    assert_eq!(
        server.post("/v1/entities", &many).await.ok(201)["ids"].as_array().unwrap().len(),
        3
    );
    let one = json!({ "bubble": HERE, "count": 1, "state": 1 });
    assert_eq!(server.post("/v1/entities", &one).await.ok(201)["ids"].as_array().unwrap().len(), 1);
    let page = server.get("/v1/entities?limit=2&after=00000000-0000-0000-0000-000000000000").await;
    let page = page.ok(200);
    assert_eq!(page["entities"].as_array().unwrap().len(), 2);
    assert_eq!(page["next"], page["entities"][1]["id"]);
    assert!(page["entities"][0].get("state").is_none());
    assert_eq!(server.get("/v1/entities?status=all").await.ok(200)["next"], json!(null));
    let gone = server.delete(&entity(5)).await;
    assert_eq!((gone.status, gone.body.as_str()), (204, ""));
    server.delete(&entity(5)).await.problem(404, "unknown_entity");
    let not_here = json!({ "bubble": ELSEWHERE, "state": 1 });
    server.post("/v1/entities", &not_here).await.problem(409, "not_hosted");
}

#[tokio::test]
async fn frozen_and_departed_entities_say_where_they_go() {
    let server = Server::start(None).await;
    server.fake.put_entity(1, HERE, EntityStatus::Frozen);
    server.fake.put_entity(2, HERE, EntityStatus::Staged);
    let to =
        MovedTo { process: ProcessId::from_u128(8), bubble: ELSEWHERE, epoch: OwnershipEpoch(4) };
    server.fake.move_away(3, to);
    assert_eq!(server.get(&entity(1)).await.ok(200)["status"], "frozen");
    let refused =
        server.put(&entity(1), &json!({ "state": 1 })).await.problem(409, "already_moving");
    assert_eq!(refused["to"], json!(ELSEWHERE));
    server.get(&entity(2)).await.problem(404, "unknown_entity");
    let departed = server.get(&entity(3)).await.problem(404, "unknown_entity");
    assert_eq!(departed["moved_to"]["process"], json!(to.process));
    assert_eq!(departed["moved_to"]["bubble"], json!(ELSEWHERE));
    let staged = server.get("/v1/entities?status=staged").await.ok(200);
    assert_eq!(staged["entities"][0]["id"], json!(EntityId::from_u128(2)));
}

#[tokio::test]
async fn migrations_answer_at_once_or_with_outcomes() {
    let server = Server::start(None).await;
    server.fake.put_entity(1, HERE, EntityStatus::Active);
    let id = EntityId::from_u128(1);
    let unknown = EntityId::from_u128(2);
    let entities = json!([{ "id": id, "expected_epoch": 0 }, unknown]);
    let mut body = json!({ "entities": entities, "to": ELSEWHERE, "idempotency_key": "k" });
    let saga = server.post("/v1/migrations", &body).await.ok(202)["saga"].clone();
    body["wait_ms"] = json!(1_000);
    let report = server.post("/v1/migrations", &body).await.ok(200);
    assert_eq!(report["saga"], saga, "the same key gives the same saga");
    assert_eq!(report["state"], "done");
    assert_eq!(report["to"], json!(ELSEWHERE));
    let [moved, stayed] = [&report["entities"][0], &report["entities"][1]];
    assert_eq!((&moved["outcome"], &moved["epoch"]), (&json!("committed"), &json!(1)));
    assert_eq!(moved["latency_ms"], json!(1.5));
    assert_eq!(
        (&stayed["outcome"], &stayed["reason"]),
        (&json!("aborted"), &json!("unknown_entity"))
    );
    let path = format!("/v1/migrations/{}", saga.as_str().unwrap());
    assert_eq!(server.get(&path).await.ok(200), report);
    server
        .get("/v1/migrations/00000000-0000-0000-0000-000000000001")
        .await
        .problem(404, "unknown_saga");
    let audit = server.get("/v1/audit").await.ok(200);
    assert_eq!(audit["migrated"]["committed"], 1);
    assert!(moved.get("phase").is_none());
    server.fake.put_entity(3, HERE, EntityStatus::Active);
    server.fake.abort_moves(Reason::Timeout(Phase::Stage));
    let slow = json!({ "entities": [EntityId::from_u128(3)], "to": ELSEWHERE, "wait_ms": 1 });
    let slow = server.post("/v1/migrations", &slow).await.ok(200)["entities"][0].clone();
    assert_eq!((&slow["reason"], &slow["phase"]), (&json!("timeout"), &json!("stage")));
}

#[tokio::test]
async fn every_reason_has_its_status_and_members() {
    let server = Server::start(None).await;
    let body = json!({ "entities": [EntityId::from_u128(1)], "to": ELSEWHERE });
    let by = ProcessId::from_u128(3);
    let epochs = (OwnershipEpoch(1), OwnershipEpoch(2));
    let table = [
        (Reason::UnknownBubble, 404),
        (Reason::SameBubble, 409),
        (Reason::EpochMismatch { expected: epochs.0, found: epochs.1 }, 409),
        (Reason::IdempotencyMismatch, 409),
        (Reason::BubbleClaimed { by }, 409),
        (Reason::BubbleNotEmpty, 409),
        (Reason::Refused("no".to_owned()), 422),
        (Reason::Overloaded { limit: "outgoing_entities".to_owned() }, 429),
        (Reason::LimitExceeded { limit: "outgoing_bytes".to_owned(), maximum: 7 }, 400),
        (Reason::Unreachable, 503),
        (Reason::ViewChanged, 503),
        (Reason::JournalFailed, 503),
        (Reason::Timeout(Phase::Stage), 504),
    ];
    for (reason, status) in table {
        server.fake.refuse_moves(Some(reason.clone()));
        let problem = server.post("/v1/migrations", &body).await.problem(status, reason.code());
        match reason {
            Reason::Overloaded { limit } => assert_eq!(problem["limit"], json!(limit)),
            Reason::LimitExceeded { limit, .. } => {
                assert_eq!((&problem["limit"], &problem["maximum"]), (&json!(limit), &json!(7)));
            }
            Reason::Timeout(_) => assert_eq!(problem["phase"], "stage"),
            Reason::EpochMismatch { .. } => assert_eq!(problem["found"], 2),
            _ => {}
        }
    }
}

#[tokio::test]
async fn isolation_refuses_changes_and_marks_reads() {
    let server = Server::start(None).await;
    server.fake.put_entity(1, HERE, EntityStatus::Active);
    server.fake.set_status(Status::Isolated);
    for path in ["/v1/view", "/v1/topology", "/v1/audit", "/v1/entities", &entity(1)] {
        assert_eq!(server.get(path).await.ok(200)["stale"], true, "{path}");
    }
    assert_eq!(server.get("/v1/view").await.ok(200)["coordinator"], json!(null));
    assert_eq!(server.get(&entity(7)).await.problem(404, "unknown_entity")["stale"], true);
    let state = json!({ "state": 1 });
    server.put(&entity(1), &state).await.problem(503, "isolated");
    server.delete(&entity(1)).await.problem(503, "isolated");
    let create = json!({ "bubble": HERE, "state": 1 });
    server.post("/v1/entities", &create).await.problem(503, "isolated");
    let moves = json!({ "entities": [EntityId::from_u128(1)], "to": ELSEWHERE });
    server.post("/v1/migrations", &moves).await.problem(503, "isolated");
    server.get("/readyz").await.problem(503, "not_ready");
    server.get("/healthz").await.ok(200);
    server.fake.set_status(Status::Active);
    server.put(&entity(1), &state).await.ok(200);
    server.get("/readyz").await.ok(200);
}

#[tokio::test]
async fn malformed_requests_are_told_what_is_wrong() {
    let server = Server::start(None).await;
    let at = "/v1/entities";
    server.send("POST", at, "{").await.problem(400, "malformed_json");
    server.send("POST", at, "").await.problem(400, "malformed_json");
    let twice = format!("{0} {0}", json!({ "bubble": HERE, "state": 1 }));
    server.send("POST", at, &twice).await.problem(400, "malformed_json");
    server.send("POST", at, "[]").await.problem(400, "invalid_request");
    let problem = server.send("POST", at, "\"x\"").await.problem(400, "invalid_request");
    assert!(problem["detail"].as_str().unwrap().contains("expected an object"), "{problem}");
    let expect = async |path: &str, body: serde_json::Value, word: &str| {
        let problem = server.post(path, &body).await.problem(400, "invalid_request");
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    };
    expect(at, json!({ "bubble": HERE }), "state").await;
    expect(at, json!({ "bubble": 5, "state": 1 }), "integer").await;
    expect(at, json!({ "bubble": "x", "state": 1 }), "UUID").await;
    expect(at, json!({ "bubble": HERE, "state": 1, "colour": 1 }), "colour").await;
    expect(at, json!({ "bubble": HERE, "state": 1, "count": 0 }), "count").await;
    expect(at, json!({ "bubble": HERE, "state": 1, "count": -1 }), "-1").await;
    let both = json!({ "bubble": HERE, "state": 1, "count": 1, "id": EntityId::from_u128(1) });
    expect(at, both, "not both").await;
    expect(at, json!({ "bubble": HERE, "state": 1, "id": EntityId::from_u128(0) }), "nil").await;
    let moves = "/v1/migrations";
    expect(moves, json!({ "entities": [], "to": HERE }), "entities").await;
    expect(moves, json!({ "entities": [5], "to": HERE }), "entity id").await;
    let odd = json!({ "entities": [{ "id": EntityId::from_u128(1), "speed": 1 }], "to": HERE });
    expect(moves, odd, "speed").await;
    server.get("/v1/entities?limit=x").await.problem(400, "invalid_request");
    let colour = server.get("/v1/entities?colour=red").await.problem(400, "invalid_request");
    assert!(colour["detail"].as_str().unwrap().contains("colour"));
    server.get("/v1/entities?status=lost").await.problem(400, "invalid_request");
    server.get("/v1/entities/nonsense").await.problem(400, "invalid_request");
    server.get("/v2/view").await.problem(404, "unknown_route");
    server.send("DELETE", "/v1/view", "").await.problem(405, "method_not_allowed");
}

#[tokio::test]
async fn where_every_field_may_be_left_out_the_body_may_be_too() {
    let server = Server::start(None).await;
    let at = "/v1/drain";
    for body in ["", " \n", "{}"] {
        assert_eq!(server.send("POST", at, body).await.ok(202)["bubbles_left"], 2, "{body:?}");
    }
    server.send("POST", at, r#"{"wait_ms":0}"#).await.ok(200);
    server.send("POST", at, "{").await.problem(400, "malformed_json");
    server.send("POST", at, r#"{"colour":1}"#).await.problem(400, "invalid_request");
    server.send("POST", "/v1/leave", "").await.ok(202);
}

#[tokio::test]
async fn what_is_known_of_a_process_can_be_asked_before_it_is_barred() {
    let server = Server::start(None).await;
    for (process, known) in [(8, true), (9, false)] {
        let path = format!("/v1/barred/{}", ProcessId::from_u128(process));
        let report = server.get(&path).await.ok(200);
        assert_eq!((&report["state"], &report["known"]), (&json!("not_barred"), &json!(known)));
        assert_eq!(report["in_doubt"], 3);
    }
    server.get("/v1/barred/x").await.problem(400, "invalid_request");
}

#[tokio::test]
async fn limits_are_refused_by_name() {
    let server = Server::start(None).await;
    let limit = async |path: &str, body: serde_json::Value, name: &str| {
        let problem = server.post(path, &body).await.problem(400, "limit_exceeded");
        assert_eq!(problem["limit"], name);
    };
    limit("/v1/entities", json!({ "bubble": HERE, "state": 1, "count": 10_001 }), "count").await;
    let ids: Vec<_> = (1..=10_001).map(EntityId::from_u128).collect();
    limit("/v1/migrations", json!({ "entities": ids, "to": HERE }), "entities").await;
    let waits = json!({ "entities": &ids[..1], "to": HERE, "wait_ms": 60_001 });
    limit("/v1/migrations", waits, "wait_ms").await;
    let page = server.get("/v1/entities?limit=10001").await.problem(400, "limit_exceeded");
    assert_eq!(page["limit"], "limit");
    let state = "x".repeat(1024 * 1024);
    let large = json!({ "bubble": HERE, "state": state });
    assert_eq!(
        server.post("/v1/entities", &large).await.problem(413, "too_large")["limit"],
        "state"
    );
    let huge = "x".repeat(9 * 1024 * 1024);
    let problem = server.send("POST", "/v1/entities", &huge).await.problem(413, "too_large");
    assert_eq!(problem["limit"], "body");
    server.get("/healthz").await.ok(200);
}

/// Many clients read nothing before they have sent everything; the refusal must reach them.
#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_gets_to_read_the_refusal() {
    let server = Server::start(Some("s3cret")).await;
    let body = "x".repeat(20 * 1024 * 1024);
    let length = body.len();
    let rest = format!("content-length: {length}\r\nconnection: close\r\n\r\n{body}");
    let post = |path: &str, token: &str| {
        let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n");
        send_then_read(server.address, format!("{head}{rest}"))
    };
    post("/v1/entities", "s3cret").await.problem(413, "too_large");
    post("/v1/entities", "another").await.problem(401, "unauthorized");
    post("/v1/nowhere", "s3cret").await.problem(404, "unknown_route");
    post("/v1/view", "s3cret").await.problem(405, "method_not_allowed");
    // A body without an announced length is cut off where it becomes too long.
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20)).repeat(12);
    let head = "POST /v1/entities HTTP/1.1\r\nhost: h\r\nauthorization: Bearer s3cret\r\n";
    let head = format!("{head}transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    let answer = send_then_read(server.address, format!("{head}{chunk}0\r\n\r\n")).await;
    answer.problem(413, "too_large");
}

/// One that waits to be told to go on is not made to send what is refused.
#[tokio::test]
async fn a_client_that_asks_first_is_refused_at_once() {
    let server = Server::start(None).await;
    let head = "POST /v1/entities HTTP/1.1\r\nhost: h\r\ncontent-length: 99999999\r\n";
    let answer = raw(server.address, &format!("{head}expect: 100-continue\r\n\r\n")).await;
    answer.problem(413, "too_large");
}

#[tokio::test]
async fn a_problem_says_first_what_it_is() {
    let server = Server::start(None).await;
    let answer = server.get(&entity(1)).await;
    answer.problem(404, "unknown_entity");
    let start = r#"{"type":"unknown_entity","code":"unknown_entity","title":"#;
    assert!(answer.body.starts_with(start), "{}", answer.body);
}

#[tokio::test]
async fn a_token_is_demanded_of_all_but_probes() {
    let server = Server::start(Some("s3cret")).await;
    for path in ["/v1/view", "/metrics", "/nowhere"] {
        server.get(path).await.problem(401, "unauthorized");
    }
    server.get("/healthz").await.ok(200);
    server.get("/readyz").await.ok(200);
    for (shown, status) in [("s3cret", 200), ("s3cre", 401), ("s3crett", 401)] {
        let head = format!("GET /v1/view HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {shown}\r\n");
        let answer = raw(server.address, &format!("{head}connection: close\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{shown}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing() {
    let server = Server::start(None).await;
    let ask = async |origin: &str| {
        let head = format!("POST /v1/leave HTTP/1.1\r\nhost: here:1\r\norigin: {origin}\r\n");
        raw(server.address, &format!("{head}content-length: 0\r\nconnection: close\r\n\r\n")).await
    };
    ask("http://there:1").await.problem(403, "cross_origin");
    assert!(!server.fake.is_leaving());
    ask("http://here:1").await.ok(202);
    assert!(server.fake.is_leaving());
}

#[tokio::test]
async fn metrics_are_prometheus_text_with_help() {
    let server = Server::start(None).await;
    server.fake.put_entity(1, HERE, EntityStatus::Active);
    server.get("/healthz").await.ok(200);
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    for text in [
        "# HELP lampyrid_view_epoch ",
        "lampyrid_view_epoch 1\n",
        "lampyrid_entities{status=\"active\"} 1\n",
        "lampyrid_http_requests_total{status=\"200\"} 1\n",
        "# TYPE lampyrid_migrations_committed_total counter\n",
        "lampyrid_fake_total 7\n",
    ] {
        assert!(metrics.body.contains(text), "{text} is not in {}", metrics.body);
    }
    for line in metrics.body.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        assert!(line.starts_with("lampyrid_"), "{line}");
    }
}

#[tokio::test]
async fn events_are_streamed_with_rising_ids() {
    let server = Server::start(None).await;
    let head = "GET /v1/events HTTP/1.1\r\nhost: h\r\n";
    let mut stream = server.open(&format!("{head}\r\n")).await;
    stream.read_until(": listening").await;
    server.fake.emit_view();
    let first = (1_u64 << 40) + 2;
    stream.read_until(&format!("id: {}\nevent: view\ndata: {{", first - 1)).await;
    stream.read_until(&format!("id: {first}\nevent: coordinator\ndata: {{")).await;
    let mut back = server.open(&format!("{head}last-event-id: {}\r\n\r\n", first - 1)).await;
    back.read_until(&format!("id: {first}\nevent: coordinator")).await;
    // Browsers do not come back after an error, so no id is one.
    for unknown in ["7", "x", "-1"] {
        let mut back = server.open(&format!("{head}last-event-id: {unknown}\r\n\r\n")).await;
        back.read_until("event: gap\ndata: {}\n\n").await;
        back.read_until("event: view").await;
    }
    let mut afresh = server.open(&format!("{head}last-event-id:\r\n\r\n")).await;
    afresh.read_until(": listening").await;
    afresh.read_until("event: view").await;
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let server = Server::start(None).await;
    let mut stream = server.open("GET /v1/events HTTP/1.1\r\nhost: h\r\n\r\n").await;
    stream.read_until(": listening").await;
    let stop = tokio::time::timeout(Duration::from_secs(60), server.stop());
    // The chunk that ends the body.
    let (stopped, ()) = tokio::join!(stop, stream.read_until("\r\n0\r\n\r\n"));
    stopped.unwrap();
}

#[tokio::test]
async fn silent_and_hostile_clients_do_not_disturb_others() {
    let server = Server::start(None).await;
    let mut silent = Vec::new();
    for text in
        ["", "GET /v1/vi", "POST /v1/entities HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{"]
    {
        silent.push(server.open(text).await);
    }
    for text in ["\0\0\0\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n"] {
        assert_eq!(raw(server.address, text).await.status, 400, "{text:?}");
    }
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(raw(server.address, &long).await.status, 431);
    server.get("/v1/view").await.ok(200);
    drop(silent);
}

#[tokio::test]
async fn a_server_that_stops_lets_answers_end_and_frees_its_port() {
    let server = Server::start(None).await;
    let address = server.address;
    server.get("/healthz").await.ok(200);
    let idle = server.open("").await;
    let stop = tokio::time::timeout(Duration::from_secs(60), server.stop());
    stop.await.unwrap();
    drop(idle);
    tokio::net::TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn large_requests_and_answers_pass_through_tls() {
    let secured = Secured::start().await;
    let state = "x".repeat(1_000_000);
    let body = json!({ "bubble": HERE, "state": state }).to_string();
    let head = "host: h\r\nconnection: close\r\n";
    let length = body.len();
    let create =
        format!("POST /v1/entities HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n{body}");
    let created = secured.raw(&create).await.ok(201);
    let id = created["id"].as_str().unwrap();
    let read = secured.raw(&format!("GET /v1/entities/{id} HTTP/1.1\r\n{head}\r\n")).await;
    assert_eq!(read.ok(200)["state"], state);
}

#[tokio::test]
async fn a_client_that_is_silent_after_the_handshake_gets_no_more_time_than_one_without_tls() {
    let secured = Secured::start().await;
    let started = std::time::Instant::now();
    let mut silent = secured.open().await;
    assert_eq!(silent.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(60), silent.read_to_end(&mut bytes));
    // Closed in order or not, it is closed.
    let _ = end.await.unwrap();
    assert!(started.elapsed() < HEADER_TIMEOUT * 2, "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_server_that_stops_waits_for_no_handshake() {
    let secured = Secured::start().await;
    let idle = secured.open().await;
    let silent = TcpStream::connect(secured.server.address).await.unwrap();
    let stop = tokio::time::timeout(Duration::from_secs(60), secured.server.stop());
    stop.await.unwrap();
    drop((idle, silent));
}

#[tokio::test]
async fn more_silent_connections_than_there_is_room_for_keep_nobody_out() {
    let server = Server::start(None).await;
    let mut crowd = Vec::new();
    for question in ["", "GET /heal"] {
        // They are accepted in this order: when it is the caller's turn, no room is left.
        for _ in 0..MAX_CONNECTIONS + 44 {
            let mut stream = TcpStream::connect(server.address).await.unwrap();
            // One that had to give way meanwhile takes nothing.
            let _ = stream.write_all(question.as_bytes()).await;
            crowd.push(stream);
        }
        server.get("/healthz").await.ok(200);
    }
    // Those who have asked for something stay, and then there is no room.
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        crowd.push(stream);
    }
    server.get("/healthz").await.problem(503, "overloaded");
}

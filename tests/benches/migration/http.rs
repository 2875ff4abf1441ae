use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lampyrid_tests::load::Latencies;
use lampyrid_tests::{Admin, Cluster};
use serde_json::json;

use crate::floors::Floors;
use crate::plan::Plan;
use crate::{table, work};

const NODE: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
const STATE_BYTES: usize = 256;

/// Callers at once.
const CALLERS: usize = 8;

/// Entities moved by requests of one, one after the other.
const SINGLE: usize = 500;

/// Requests a second of one entity each, whatever becomes of those before.
const RATE: u32 = 200;
const OFFERED: usize = 2_000;

/// Callers of the open loop: enough that one is always free.
const OPEN_CALLERS: usize = 64;

/// How long a request waits for the outcome.
const WAIT_MS: u64 = 30_000;

/// The same through HTTP, two processes.
pub(crate) fn measure(plan: &Plan, floors: &Floors) {
    let cluster = Cluster::start(NODE, 2);
    let bubbles = [0, 1].map(|at| cluster.admin(at).bubbles_of(&cluster.node(at).id()).remove(0));
    let many = plan.entities.min(20_000);
    let ids = create(cluster.admin(0), &bubbles[0], many);
    let (moved, took, latencies) = batches(cluster.admin(0), &ids, &bubbles[1], plan.batch);
    let rate = moved as f64 / took.as_secs_f64();
    table::line(
        &format!("HTTP, {} a request, {CALLERS} callers, 256 B: moves a second", plan.batch),
        &table::number(rate),
        &format!("{} records/s in commits of 64", table::number(floors.grouped)),
        &format!("{:.1} %", rate / floors.grouped * 100.0),
        "",
    );
    let line = |what: &str, latencies: &Latencies| {
        table::line(what, &table::spread(latencies), "", "", "");
    };
    line("HTTP: until the caller knows, of a request, closed loop", &latencies);
    let ids = create(cluster.admin(0), &bubbles[0], SINGLE);
    let mut single = Latencies::default();
    for id in &ids {
        let began = Instant::now();
        let moved = migrate(cluster.admin(0), std::slice::from_ref(id), &bubbles[1]);
        assert_eq!(moved, 1, "{id} moves");
        single.record(began.elapsed());
    }
    line("HTTP, one by one: until the caller knows", &single);
    let ids = create(cluster.admin(0), &bubbles[0], OFFERED);
    let (moved, open) = offered(cluster.admin(0), &ids, &bubbles[1]);
    line(&format!("HTTP, {RATE} requests/s of one, open loop ({moved} moved)"), &open);
}

fn create(admin: &Admin, bubble: &str, count: usize) -> Vec<String> {
    let state = "s".repeat(STATE_BYTES - 2);
    let mut all = Vec::new();
    while all.len() < count {
        let some = (count - all.len()).min(10_000);
        let body = json!({ "bubble": bubble, "count": some, "state": state });
        let created = admin.post("/v1/entities", &body).expect("an answer");
        let ids = created.body["ids"].as_array().expect("ids");
        all.extend(ids.iter().filter_map(|id| id.as_str()).map(str::to_owned));
    }
    all
}

/// How many have moved.
fn migrate(admin: &Admin, ids: &[String], to: &str) -> usize {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let answer = admin.migrate(&ids, to, WAIT_MS).expect("an answer");
    let entities = answer.body["entities"].as_array().cloned().unwrap_or_default();
    entities.iter().filter(|entity| entity["outcome"] == "committed").count()
}

fn batches(admin: &Admin, ids: &[String], to: &str, batch: usize) -> (usize, Duration, Latencies) {
    let (start, moved) = (Instant::now(), AtomicUsize::new(0));
    let all = Mutex::new((ids.chunks(batch), Latencies::default()));
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                loop {
                    let Some(some) = all.lock().expect("no panic").0.next() else { return };
                    let began = Instant::now();
                    moved.fetch_add(migrate(admin, some, to), Ordering::Relaxed);
                    all.lock().expect("no panic").1.record(began.elapsed());
                }
            });
        }
    });
    let moved = moved.into_inner();
    work::tell(&format!("{moved} of {} moved through HTTP", ids.len()));
    (moved, start.elapsed(), all.into_inner().expect("no panic").1)
}

fn offered(admin: &Admin, ids: &[String], to: &str) -> (usize, Latencies) {
    let (start, next, moved) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
    let all = Mutex::new(Latencies::default());
    std::thread::scope(|scope| {
        for _ in 0..OPEN_CALLERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(id) = ids.get(number) else { return };
                    let due = start + Duration::from_secs(1) * number as u32 / RATE;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    moved
                        .fetch_add(migrate(admin, std::slice::from_ref(id), to), Ordering::Relaxed);
                    all.lock().expect("no panic").record(due.elapsed());
                }
            });
        }
    });
    (moved.into_inner(), all.into_inner().expect("no panic"))
}

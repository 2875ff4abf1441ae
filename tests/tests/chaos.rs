//! Four processes, random kills, freezes, moves and writes; then everything must be there once.
//!
//! `LAMPYRID_CHAOS_SECONDS` and `LAMPYRID_CHAOS_SEEDS` (such as `1..11`) make it long; a failure
//! prints the command that runs the same seed.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant};

use lampyrid_tests::{Cluster, eventually};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
const NODES: usize = 4;
const ENTITIES: usize = 200;
/// How long the driver waits for one answer before it counts the outcome as unknown.
const ANSWER_LIMIT: Duration = Duration::from_millis(1_500);

/// What is known of the state of one entity.
#[derive(Default)]
struct Known {
    acknowledged: u64,
    /// Written without an answer: each of these may take effect at any later time.
    unanswered: BTreeSet<u64>,
    next: u64,
    /// Where it was last seen.
    place: usize,
}

struct Chaos {
    cluster: Cluster,
    random: StdRng,
    entities: BTreeMap<String, Known>,
    bubbles: Vec<String>,
    frozen: BTreeMap<usize, Instant>,
    down: BTreeMap<usize, Instant>,
    done: BTreeMap<&'static str, usize>,
}

impl Chaos {
    fn start(seed: u64) -> Self {
        let cluster = Cluster::start(BINARY, NODES);
        let bubbles: Vec<String> = (0..NODES)
            .map(|at| cluster.admin(at).bubbles_of(&cluster.node(at).id())[0].clone())
            .collect();
        let mut entities = BTreeMap::new();
        for (at, bubble) in bubbles.iter().enumerate() {
            let body = json!({ "bubble": bubble, "count": ENTITIES / NODES, "state": 0 });
            let created = cluster.admin(at).post("/v1/entities", &body).expect("an answer");
            for id in created.body["ids"].as_array().expect("ids") {
                let known = Known { place: at, next: 1, ..Known::default() };
                entities.insert(id.as_str().expect("an id").to_owned(), known);
            }
        }
        Self {
            cluster,
            random: StdRng::seed_from_u64(seed),
            entities,
            bubbles,
            frozen: BTreeMap::new(),
            down: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.restore(false);
            match self.random.random_range(0..100) {
                0..2 => self.kill(),
                2..4 => self.freeze(),
                4..45 => self.write(),
                _ => self.migrate(),
            }
        }
        self.restore(true);
    }

    /// A process that may be hurt now: at most one is down or frozen, so that a quorum of four
    /// with or without the tie-breaker stays, and sometimes two, so that it does not.
    fn victim(&mut self) -> Option<usize> {
        let hurt = self.frozen.len() + self.down.len();
        let allowed = if self.random.random_range(0..4) == 0 { 2 } else { 1 };
        if hurt >= allowed {
            return None;
        }
        let place = self.random.random_range(0..NODES);
        let busy = self.frozen.contains_key(&place) || self.down.contains_key(&place);
        (!busy).then_some(place)
    }

    fn kill(&mut self) {
        if let Some(at) = self.victim() {
            self.cluster.kill(at);
            let back = Duration::from_millis(self.random.random_range(100..4_000));
            self.down.insert(at, Instant::now() + back);
            self.count("kills");
        }
    }

    fn freeze(&mut self) {
        if let Some(at) = self.victim() {
            self.cluster.node(at).freeze();
            let back = Duration::from_millis(self.random.random_range(50..4_000));
            self.frozen.insert(at, Instant::now() + back);
            self.count("freezes");
        }
    }

    fn restore(&mut self, all: bool) {
        let now = Instant::now();
        let due = |map: &BTreeMap<usize, Instant>| -> Vec<usize> {
            map.iter().filter(|(_, back)| all || **back <= now).map(|(at, _)| *at).collect()
        };
        for at in due(&self.frozen) {
            self.frozen.remove(&at);
            self.cluster.node(at).thaw();
        }
        for at in due(&self.down) {
            self.down.remove(&at);
            self.cluster.restart(at);
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.done.entry(what).or_default() += 1;
    }

    fn some_entity(&mut self) -> (String, usize) {
        let at = self.random.random_range(0..self.entities.len());
        let (id, known) = self.entities.iter().nth(at).expect("in range");
        (id.clone(), known.place)
    }

    fn follow(&mut self, id: &str, body: &Value) {
        let process = body["moved_to"]["process"].as_str().unwrap_or_default();
        let place = match self.cluster.place_of(process) {
            Some(place) => place,
            None => self.random.random_range(0..NODES),
        };
        self.entities.get_mut(id).expect("known").place = place;
    }

    fn write(&mut self) {
        let (id, place) = self.some_entity();
        if self.down.contains_key(&place) {
            return self.follow(&id, &Value::Null);
        }
        let known = self.entities.get_mut(&id).expect("known");
        let value = known.next;
        known.next += 1;
        let admin = self.cluster.admin(place).with_limit(ANSWER_LIMIT);
        match admin.put(&format!("/v1/entities/{id}"), &json!({ "state": value })) {
            Some(answer) if answer.status == 200 => {
                known.acknowledged = value;
                self.count("writes");
            }
            // Its outcome is not known to anybody: it may be in the journal or not.
            Some(answer) if answer.code() == "journal_failed" || answer.status == 504 => {
                known.unanswered.insert(value);
            }
            Some(answer) => self.follow(&id, &answer.body),
            None => {
                known.unanswered.insert(value);
                self.count("unanswered writes");
            }
        }
    }

    fn migrate(&mut self) {
        let (id, place) = self.some_entity();
        let to = self.bubbles[self.random.random_range(0..NODES)].clone();
        if self.down.contains_key(&place) {
            return self.follow(&id, &Value::Null);
        }
        let wait = self.random.random_range(0..3) * 100;
        let admin = self.cluster.admin(place).with_limit(ANSWER_LIMIT);
        let Some(answer) = admin.migrate(&[&id], &to, wait) else { return };
        let entity = &answer.body["entities"][0];
        match (entity["outcome"].as_str(), entity["reason"].as_str()) {
            (Some("committed"), _) => {
                let target = self.bubbles.iter().position(|bubble| *bubble == to);
                self.entities.get_mut(&id).expect("known").place = target.expect("a bubble");
                self.count("moves");
            }
            (Some("aborted"), Some("unknown_entity")) => {
                let found = admin.get(&format!("/v1/entities/{id}"));
                let body = found.map(|found| found.body).unwrap_or_default();
                self.follow(&id, &body);
            }
            _ => {}
        }
    }

    fn audit(&self) {
        let expected: BTreeSet<String> = self.entities.keys().cloned().collect();
        self.cluster.wait_agreed();
        let places = self.cluster.wait_exactly_once(&expected);
        for (id, at) in places {
            let found = eventually("the state", || {
                let answer = self.cluster.admin(at).get(&format!("/v1/entities/{id}"))?;
                answer.body["state"].as_u64()
            });
            let known = &self.entities[&id];
            let allowed = found.0 == known.acknowledged || known.unanswered.contains(&found.0);
            assert!(
                allowed,
                "{id} has {}, acknowledged was {}, without answer {:?}",
                found.0, known.acknowledged, known.unanswered
            );
        }
    }
}

fn seeds() -> Range<u64> {
    let text = std::env::var("LAMPYRID_CHAOS_SEEDS").unwrap_or_else(|_| "1..2".to_owned());
    let (from, to) = text.split_once("..").expect("LAMPYRID_CHAOS_SEEDS is like 1..11");
    from.parse().expect("a number")..to.parse().expect("a number")
}

#[test]
fn random_kills_freezes_moves_and_writes_lose_and_double_nothing() {
    let seconds = std::env::var("LAMPYRID_CHAOS_SECONDS")
        .map_or(15, |text| text.parse().expect("LAMPYRID_CHAOS_SECONDS is a number"));
    for seed in seeds() {
        eprintln!(
            "LAMPYRID_CHAOS_SECONDS={seconds} LAMPYRID_CHAOS_SEEDS={seed}..{} \
             cargo test -p lampyrid-tests --test chaos -- --nocapture",
            seed + 1
        );
        let mut chaos = Chaos::start(seed);
        chaos.run(Duration::from_secs(seconds));
        chaos.audit();
        eprintln!("seed {seed}: {:?}", chaos.done);
        assert!(chaos.done.get("moves").is_some_and(|&moves| moves > 0), "nothing moved");
    }
}

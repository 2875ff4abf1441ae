//! A crash before and after every durable record and every message, on both sides of a move.
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::collections::BTreeSet;

use lampyrid_tests::{Cluster, Options, eventually};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
const ARMED: &str = "LAMPYRID_FAULT_POINT";
const SOURCE: usize = 0;
const DESTINATION: usize = 1;

/// What has to happen for a process to come to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    /// A move from source to destination.
    Move,
    /// A move within the source.
    Local,
    /// A move to a frozen destination, which the source gives up.
    GivenUp,
    /// The source dies between the destination's STAGE and its own COMMIT, and comes back; the
    /// destination is told to discard.
    Discarded,
    /// The same, but the destination restarts meanwhile and has to ask.
    Doubted,
    /// A creation, a write or a deletion.
    Entity,
}

impl Story {
    /// How to come to `point`, and who dies there.
    fn of(point: &str) -> (Self, usize) {
        let what = point.rsplit_once('.').expect("before or after").0;
        match what {
            "source.prepare" | "source.commit" | "source.end" => (Self::Move, SOURCE),
            "send.stage" | "send.commit" => (Self::Move, SOURCE),
            "destination.stage" | "destination.activate" => (Self::Move, DESTINATION),
            "send.staged" | "send.activated" => (Self::Move, DESTINATION),
            "source.local" => (Self::Local, SOURCE),
            "source.abort" | "send.abort" => (Self::GivenUp, SOURCE),
            "destination.discard" => (Self::Discarded, DESTINATION),
            "send.doubt" => (Self::Doubted, DESTINATION),
            "send.doubt_answers" => (Self::Doubted, SOURCE),
            "entity.create" | "entity.put" | "entity.delete" => (Self::Entity, SOURCE),
            unknown => panic!("no story leads to {unknown}: write one"),
        }
    }
}

struct Stage {
    cluster: Cluster,
    /// Two of the source, one of the destination.
    bubbles: [String; 3],
}

impl Stage {
    fn set() -> Self {
        let mut cluster = Cluster::empty(BINARY);
        cluster.add(Options::default().with("--bubbles", "2"));
        cluster.add(Options::default());
        cluster.add(Options::default());
        cluster.wait_agreed();
        let own = cluster.admin(SOURCE).bubbles_of(&cluster.node(SOURCE).id());
        let other = cluster.admin(SOURCE).bubbles_of(&cluster.node(DESTINATION).id());
        let [first, second] = own.try_into().expect("two bubbles");
        let [third] = other.try_into().expect("one bubble");
        Self { cluster, bubbles: [first, second, third] }
    }

    fn rearm(&mut self, at: usize, point: &str) {
        self.cluster.kill(at);
        self.cluster.restart_with(at, &[(ARMED, point)]);
    }

    fn wait_death(&mut self, at: usize, point: &str) {
        let cluster = &mut self.cluster;
        eventually(&format!("node {at} to die at {point}"), || cluster.has_ended(at).then_some(()));
    }

    fn create(&self) -> String {
        let body = json!({ "bubble": self.bubbles[0], "state": "created" });
        let created = self.cluster.admin(SOURCE).post("/v1/entities", &body).expect("an answer");
        assert_eq!(created.status, 201, "{created:?}");
        let id = created.body["id"].as_str().expect("an id").to_owned();
        let written =
            self.cluster.admin(SOURCE).put(&path(&id), &json!({ "state": "acknowledged" }));
        assert_eq!(written.expect("an answer").status, 200);
        id
    }

    fn migrate(&self, entity: &str, bubble: usize) {
        // The caller may see anything here but a lie.
        let _ = self.cluster.admin(SOURCE).migrate(&[entity], &self.bubbles[bubble], 0);
    }

    /// A staged copy whose source died before it decided.
    fn staged(&mut self) -> String {
        self.rearm(SOURCE, "source.commit.before");
        self.cluster.wait_agreed();
        let entity = self.create();
        self.migrate(&entity, 2);
        self.wait_death(SOURCE, "source.commit.before");
        entity
    }

    fn play(&mut self, story: Story, point: &str, victim: usize) -> String {
        match story {
            Story::Move | Story::Local => {
                self.rearm(victim, point);
                self.cluster.wait_agreed();
                let entity = self.create();
                self.migrate(&entity, if story == Story::Move { 2 } else { 1 });
                entity
            }
            Story::GivenUp => {
                self.rearm(victim, point);
                self.cluster.wait_agreed();
                let entity = self.create();
                self.cluster.node(DESTINATION).freeze();
                self.migrate(&entity, 2);
                entity
            }
            Story::Discarded => {
                self.rearm(DESTINATION, point);
                let entity = self.staged();
                self.cluster.restart(SOURCE);
                entity
            }
            Story::Doubted => {
                let entity = self.staged();
                self.cluster.kill(DESTINATION);
                for at in [DESTINATION, SOURCE] {
                    let armed = if at == victim { vec![(ARMED, point)] } else { vec![] };
                    self.cluster.restart_with(at, &armed);
                }
                entity
            }
            Story::Entity => unreachable!("told by `entity`"),
        }
    }

    /// A move while somebody dies at `point`, a restart; then the entity must be active exactly
    /// once, carry what was acknowledged, and be movable.
    fn run(&mut self, story: Story, point: &str, victim: usize) {
        let entity = self.play(story, point, victim);
        self.wait_death(victim, point);
        if story == Story::GivenUp {
            self.cluster.node(DESTINATION).thaw();
        }
        self.cluster.restart(victim);
        self.cluster.wait_agreed();
        let expected = BTreeSet::from([entity.clone()]);
        let at = self.cluster.wait_exactly_once(&expected)[&entity];
        let found = self.cluster.admin(at).get(&path(&entity)).expect("an answer");
        assert_eq!(found.body["state"], "acknowledged", "{point}: {found:?}");
        let (to, bubble) = if at == SOURCE { (DESTINATION, 2) } else { (SOURCE, 0) };
        eventually(&format!("a move after {point}"), || {
            let answer =
                self.cluster.admin(at).migrate(&[&entity], &self.bubbles[bubble], 20_000)?;
            (answer.body["entities"][0]["outcome"] == "committed").then_some(())
        });
        assert_eq!(self.cluster.wait_exactly_once(&expected)[&entity], to);
        let deleted = self.cluster.admin(to).delete(&path(&entity)).expect("an answer");
        assert_eq!(deleted.status, 204, "{deleted:?}");
    }

    /// A change of one entity whose answer never comes: before the record it did not happen, after
    /// it, it did.
    fn entity(&mut self, point: &str) {
        let (what, when) = point.rsplit_once('.').expect("before or after");
        let entity = (what != "entity.create").then(|| self.create());
        let id = entity.clone().unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
        self.rearm(SOURCE, point);
        self.cluster.wait_agreed();
        let admin = self.cluster.admin(SOURCE).clone();
        let answer = match what {
            "entity.create" => {
                let body = json!({ "bubble": self.bubbles[0], "id": id, "state": "new" });
                admin.post("/v1/entities", &body)
            }
            "entity.put" => admin.put(&path(&id), &json!({ "state": "new" })),
            _ => admin.delete(&path(&id)),
        };
        assert_eq!(answer, None, "{point}: nothing is acknowledged");
        self.wait_death(SOURCE, point);
        self.cluster.restart(SOURCE);
        self.cluster.wait_agreed();
        let found = self.cluster.admin(SOURCE).get(&path(&id)).expect("an answer");
        let wanted = match (what, when) {
            ("entity.create", "before") | ("entity.delete", "after") => Value::Null,
            ("entity.create" | "entity.put", "after") => json!("new"),
            _ => json!("acknowledged"),
        };
        assert_eq!(found.body["state"], wanted, "{point}: {found:?}");
        if !wanted.is_null() {
            let deleted = self.cluster.admin(SOURCE).delete(&path(&id)).expect("an answer");
            assert_eq!(deleted.status, 204, "{deleted:?}");
        }
    }
}

fn path(entity: &str) -> String {
    format!("/v1/entities/{entity}")
}

/// `LAMPYRID_FAULT_FILTER=source.commit` runs the points of that name only.
#[test]
fn a_crash_at_any_step_leaves_every_entity_active_exactly_once() {
    let filter = std::env::var("LAMPYRID_FAULT_FILTER").unwrap_or_default();
    let mut stage = Stage::set();
    for point in lampyrid::FAULT_POINTS.iter().filter(|point| point.contains(&filter)) {
        let (story, victim) = Story::of(point);
        eprintln!("{point}: node {victim} dies in {story:?}");
        match story {
            Story::Entity => stage.entity(point),
            story => stage.run(story, point, victim),
        }
    }
    let leftover = stage.cluster.census().expect("all answer");
    assert!(leftover.is_empty(), "{leftover:?}");
}

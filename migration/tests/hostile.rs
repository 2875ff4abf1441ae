//! Hostile input: any message in any order from anybody, any request, any answer of the host's
//! store, restarts at any time. The core never panics, its records are its rows, and what must be
//! so between two steps is so.
// Helpers outside of `#[test]` functions are tests as well.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use lampyrid_migration::{
    Attempt, CallId, Core, CoreConfig, Delivery, DoubtAnswer, Effect, Expected, Image, Input,
    Limits, Membership, Message, MigrateRequest, NewEntities, PartId, PartPhase, Reason,
    RecordKind, Reply, Request, Snapshot, StatusFilter, Step, StoreCall, Write,
};
use lampyrid_wire::{
    BootNonce, BubbleId, ClusterId, EntityId, Epoch, Incarnation, OwnershipEpoch, Peer, ProcessId,
    SagaId, StageId, Term, ViewId,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const ME: ProcessId = ProcessId::from_u128(1);

/// A place in what was seen so far, or in what was never seen.
type Pick = u8;

/// A message, by what it names.
#[derive(Clone, Debug)]
struct Said {
    kind: u8,
    part: Pick,
    more: Vec<Pick>,
    stage: Pick,
    entities: Vec<(Pick, u64)>,
    to: Pick,
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    Hear { from: u8, life: u64, view: u64, said: Said },
    View { active: bool, epoch: u64, lives: [u64; 3] },
    Sent(Pick, u8),
    Reachable(u8),
    Create(Pick, Pick, u8),
    Put(Pick, u8),
    Get(Pick),
    Delete(Pick),
    List(Pick, u8),
    Migrate { entities: Vec<(Pick, Option<u64>)>, to: Pick, host: Option<u8>, key: Option<u8> },
    Report(Pick),
    Wait(Pick, u64),
    Locate(Pick),
    Bubble(Pick, bool),
    Claim(Pick, u8, bool),
    Leave,
    Frozen(Pick, Pick, bool),
    Attached(Pick, u64, bool),
    Answered(u64, Pick, bool),
    Pass(u64),
    Restart,
}

fn epoch() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0_u64..5, 1 => select(vec![u64::MAX / 2, u64::MAX - 1, u64::MAX])]
}

fn said() -> impl Strategy<Value = Said> {
    let entities = vec((0_u8..8, epoch()), 0..5);
    (0_u8..13, any::<u8>(), vec(any::<u8>(), 0..4), any::<u8>(), entities, 0_u8..5).prop_map(
        |(kind, part, more, stage, entities, to)| Said { kind, part, more, stage, entities, to },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let view = prop_oneof![12 => Just(0_u64), 1 => Just(1), 1 => Just(2), 1 => Just(9)];
    let life = prop_oneof![9 => Just(1_u64), 1 => 0_u64..3];
    let hear = (0_u8..4, life, view, said()).prop_map(|(from, life, view, said)| Event::Hear {
        from,
        life,
        view,
        said,
    });
    let lives = [0_u64..3, 0_u64..3, 0_u64..3];
    let entities = vec((0_u8..8, proptest::option::weighted(0.2, epoch())), 0..5);
    let host = proptest::option::weighted(0.9, 0_u8..4);
    let key = proptest::option::weighted(0.2, 0_u8..3);
    prop_oneof![
        30 => hear,
        3 => (proptest::bool::weighted(0.8), 0_u64..3, lives)
            .prop_map(|(active, epoch, lives)| Event::View { active, epoch, lives }),
        4 => (any::<u8>(), 0_u8..4).prop_map(|(part, delivery)| Event::Sent(part, delivery)),
        1 => (0_u8..4).prop_map(Event::Reachable),
        4 => (0_u8..8, 0_u8..5, any::<u8>()).prop_map(|(a, b, c)| Event::Create(a, b, c)),
        2 => (0_u8..8, any::<u8>()).prop_map(|(id, state)| Event::Put(id, state)),
        1 => (0_u8..8).prop_map(Event::Get),
        1 => (0_u8..8).prop_map(Event::Delete),
        1 => (0_u8..8, 0_u8..4).prop_map(|(after, limit)| Event::List(after, limit)),
        8 => (entities, 0_u8..6, host, key)
            .prop_map(|(entities, to, host, key)| Event::Migrate { entities, to, host, key }),
        1 => any::<u8>().prop_map(Event::Report),
        1 => (any::<u8>(), 0_u64..5_000).prop_map(|(saga, until)| Event::Wait(saga, until)),
        1 => (0_u8..8).prop_map(Event::Locate),
        1 => (0_u8..5, any::<bool>()).prop_map(|(id, create)| Event::Bubble(id, create)),
        1 => (0_u8..5, 0_u8..4, any::<bool>()).prop_map(|(id, by, on)| Event::Claim(id, by, on)),
        1 => Just(Event::Leave),
        6 => (any::<u8>(), 0_u8..8, proptest::bool::weighted(0.8))
            .prop_map(|(part, id, well)| Event::Frozen(part, id, well)),
        2 => (0_u8..8, epoch(), any::<bool>())
            .prop_map(|(id, epoch, well)| Event::Attached(id, epoch, well)),
        2 => (0_u64..200, 0_u8..8, any::<bool>()).prop_map(|(c, id, w)| Event::Answered(c, id, w)),
        4 => select(vec![1_u64, 250, 1_000, 3_000, 301_000]).prop_map(Event::Pass),
        1 => Just(Event::Restart),
    ]
}

fn process(n: u8) -> ProcessId {
    ProcessId::from_u128(u128::from(n) + 1)
}

fn entity(n: Pick) -> EntityId {
    EntityId::from_u128(u128::from(n))
}

fn bubble(n: Pick) -> BubbleId {
    BubbleId::from_u128(u128::from(n))
}

fn term(epoch: u64) -> Term {
    let cluster = ClusterId::from_u128(if epoch == 9 { 2 } else { 1 });
    Term { cluster, epoch: Epoch(epoch), view: ViewId([epoch as u8; 32]) }
}

/// A core among enemies.
struct Victim {
    config: CoreConfig,
    core: Core,
    /// What a replay of its records gives.
    disk: Image,
    now: Duration,
    epoch: u64,
    calls: u64,
    lives: u8,
    parts: Vec<PartId>,
    stages: Vec<StageId>,
}

impl Victim {
    fn new(host_store: bool) -> Self {
        let limits = Limits { in_entities: 12, out_entities: 12, ..Limits::default() };
        let config =
            CoreConfig { me: ME, limits, seed: [0; 32], host_store, hooks: false, flaw: None };
        let mut step = Step::default();
        let core = Core::recover(config, Image::default(), Duration::ZERO, &mut step);
        let named = (0_u8..3).flat_map(|source| (1_u128..4).map(move |saga| (source, saga)));
        let part = |(source, saga): (u8, u128)| {
            let part = u32::from(saga == 3);
            PartId { source: process(source), saga: SagaId::from_u128(saga), part }
        };
        let mut victim = Self {
            config,
            core,
            disk: Image::default(),
            now: Duration::ZERO,
            epoch: 1,
            calls: 0,
            lives: 0,
            parts: named.map(part).collect(),
            stages: (1..4).map(StageId::from_u128).collect(),
        };
        victim.view(true, 1, [1, 1, 1]);
        for n in 1..3 {
            victim.ask(Request::CreateBubble(Some(bubble(n))));
        }
        victim
    }

    fn part(&self, pick: Pick) -> PartId {
        // The latest are the likeliest to matter.
        self.parts[self.parts.len() - 1 - usize::from(pick) % self.parts.len()]
    }

    fn stage(&self, pick: Pick) -> StageId {
        self.stages[self.stages.len() - 1 - usize::from(pick) % self.stages.len()]
    }

    fn view(&mut self, active: bool, epoch: u64, lives: [u64; 3]) {
        self.epoch = self.epoch.max(epoch);
        let lives = (0..).zip(lives).filter(|(_, life)| *life > 0);
        let members = lives.map(|(n, life)| (process(n), Incarnation(life))).collect();
        self.give(Input::View(Membership { active, term: term(self.epoch), members }));
    }

    fn ask(&mut self, request: Request) {
        self.calls += 1;
        self.give(Input::Request(CallId(self.calls), request));
    }

    fn give(&mut self, input: Input) {
        let mut step = Step::default();
        self.core.step(self.now, input, &mut step);
        self.take(step, false);
    }

    fn take(&mut self, step: Step, recovers: bool) {
        for record in &step.records {
            let decides = |id: &EntityId| {
                record.writes.iter().any(|write| match write {
                    Write::Part(_, Some(row)) => match &row.phase {
                        PartPhase::Committed { snapshots, .. } => {
                            snapshots.iter().any(|copy| copy.id == *id)
                        }
                        _ => false,
                    },
                    _ => false,
                })
            };
            for write in &record.writes {
                match write {
                    Write::Entity(id, None) => match record.kind {
                        RecordKind::Delete => {}
                        RecordKind::Commit => assert!(decides(id) || recovers, "{id} just goes"),
                        kind => panic!("{kind:?} removes {id}"),
                    },
                    Write::Entity(id, Some(row)) => {
                        let before = self.disk.entities.get(id);
                        assert!(before.is_none_or(|b| b.epoch <= row.epoch), "{id} goes back");
                    }
                    _ => {}
                }
                self.disk.apply(write);
            }
        }
        for effect in step.effects {
            match effect {
                Effect::Send { message, .. } => self.note(message),
                Effect::Reply(_, Reply::Saga(Ok(saga))) => {
                    self.parts.extend((0..2).map(|part| PartId { source: ME, saga, part }));
                }
                Effect::Store(StoreCall::Freeze(part, ..)) => self.parts.push(part),
                _ => {}
            }
        }
        assert_eq!(self.disk, *self.core.image(), "its records are not its rows");
        self.core.check_invariants().unwrap();
        assert!(self.core.deadline().is_none_or(|at| at > self.now), "a timer is late");
    }

    fn note(&mut self, message: Message) {
        match message {
            Message::Staged { stage: Some(stage), .. } if !self.stages.contains(&stage) => {
                self.stages.push(stage);
            }
            Message::Stage { part, .. } if !self.parts.contains(&part) => self.parts.push(part),
            _ => {}
        }
    }

    fn message(&self, said: &Said) -> Message {
        let part = self.part(said.part);
        let stage = self.stage(said.stage);
        let attempt = u32::from(said.stage) % 4;
        let parts = || said.more.iter().map(|pick| self.part(*pick)).chain([part]);
        let ids: Vec<EntityId> = said.entities.iter().map(|(id, _)| entity(*id)).collect();
        let copies = said.entities.iter().map(|(id, epoch)| Snapshot {
            id: entity(*id),
            epoch: OwnershipEpoch(*epoch),
            state: Bytes::copy_from_slice(&[*id]),
        });
        let answer = |n: usize| match (n + usize::from(said.to)) % 3 {
            0 => DoubtAnswer::Committed { stage, entities: ids.clone() },
            1 => DoubtAnswer::Undecided,
            _ => DoubtAnswer::Unknown,
        };
        let refused = || (0..said.to).map(|id| (entity(id), Reason::SameBubble)).collect();
        match said.kind {
            0 | 1 => {
                Message::Stage { part, to: bubble(said.to), entities: copies.collect(), attempt }
            }
            2 => {
                let stage = (said.to > 0).then_some(stage);
                Message::Staged { part, stage, accepted: ids, refused: refused(), attempt }
            }
            3 => Message::Commit { part, stage, entities: ids, attempt },
            4 => Message::Activated { part, stage, attempt: Some(attempt) },
            5 => Message::Abort { part },
            6 => Message::Doubt { parts: parts().collect() },
            7 => {
                let answers = parts().enumerate().map(|(n, part)| (part, answer(n))).collect();
                Message::DoubtAnswers { answers }
            }
            8 => Message::UnknownStage { part, stage },
            9 => Message::Locate { query: u64::from(said.stage), entity: entity(said.to) },
            10 => Message::Located { query: u64::from(said.stage), found: None },
            11 => Message::StaleTerm { term: term(self.epoch) },
            _ => Message::AbortRequest { part },
        }
    }

    /// What a peer that follows the protocol would say of a part: so that hostile runs get deep.
    fn matching(&self, said: &Said) -> Option<Message> {
        let part = self.part(said.part);
        let image = self.core.image();
        if let Some(row) = image.stagings.get(&part) {
            let list = row.entities.iter().map(|copy| copy.id).collect();
            return Some(Message::Commit { part, stage: row.stage, entities: list, attempt: 0 });
        }
        let row = image.parts.get(&part)?;
        match &row.phase {
            PartPhase::Prepared => {
                let accepted = row.entities.iter().map(|entity| entity.id).collect();
                let stage = Some(self.stage(said.stage));
                Some(Message::Staged { part, stage, accepted, refused: Vec::new(), attempt: 0 })
            }
            PartPhase::Committed { stage, .. } => {
                Some(Message::Activated { part, stage: *stage, attempt: None })
            }
            _ => None,
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Hear { from, life, view, said } => {
                let epoch = match view {
                    0 => self.epoch,
                    1 => self.epoch + 1,
                    2 => self.epoch - 1,
                    other => *other,
                };
                let hostile = said.more.len() < 2;
                let message = if hostile { None } else { self.matching(said) };
                let message = message.unwrap_or_else(|| self.message(said));
                let incarnation = Incarnation(*life);
                let from = Peer { process: process(*from), incarnation, nonce: BootNonce(1) };
                self.give(Input::Received { from, term: term(epoch), message });
            }
            Event::View { active, epoch, lives } => self.view(*active, self.epoch + epoch, *lives),
            Event::Sent(part, delivery) => {
                let delivery = match delivery {
                    0 => Delivery::Sent,
                    1 => Delivery::WindowFull,
                    2 => Delivery::NoSession,
                    _ => Delivery::NoRoom,
                };
                self.give(Input::Sent(
                    Attempt { part: self.part(*part), number: u32::from(*part) % 4 },
                    delivery,
                ));
            }
            Event::Reachable(n) => self.give(Input::Reachable(process(*n))),
            Event::Pass(millis) => {
                self.now += Duration::from_millis(*millis);
                self.give(Input::Wake);
            }
            Event::Restart => self.restart(),
            Event::Claim(id, by, true) => {
                self.give(Input::BubbleClaimed(bubble(*id), process(*by)));
            }
            Event::Claim(id, _, false) => self.give(Input::BubbleReleased(bubble(*id))),
            Event::Frozen(part, id, well) => {
                let state = if *well { Ok(Bytes::from_static(b"f")) } else { Err("no".into()) };
                self.give(Input::StoreFrozen(self.part(*part), entity(*id), state));
            }
            Event::Attached(id, epoch, well) => {
                let attached = if *well { Ok(()) } else { Err("no".into()) };
                self.give(Input::StoreAttached(entity(*id), OwnershipEpoch(*epoch), attached));
            }
            Event::Answered(call, id, well) => {
                let state = if *well { Ok(Bytes::from_static(b"a")) } else { Err("no".into()) };
                self.give(Input::StoreAnswered(CallId(*call), entity(*id), state));
            }
            request => {
                let request = self.request(request);
                self.ask(request);
            }
        }
    }

    fn request(&self, event: &Event) -> Request {
        match event {
            Event::Create(id, to, state) => Request::Create {
                bubble: bubble(*to),
                new: match state % 4 {
                    0 => NewEntities::One(None),
                    1 => NewEntities::Many(usize::from(state % 3)),
                    _ => NewEntities::One(Some(entity(*id))),
                },
                state: Bytes::copy_from_slice(&[*state]),
            },
            Event::Put(id, state) => Request::Put(entity(*id), Bytes::copy_from_slice(&[*state])),
            Event::Get(id) => Request::Get(entity(*id)),
            Event::Delete(id) => Request::Delete(entity(*id)),
            Event::List(after, limit) => {
                Request::List(StatusFilter::All, Some(entity(*after)), usize::from(*limit))
            }
            Event::Migrate { entities, to, host, key } => {
                let epoch = |epoch: &Option<u64>| epoch.map(OwnershipEpoch);
                let entities =
                    entities.iter().map(|(id, e)| Expected { id: entity(*id), epoch: epoch(e) });
                let request = MigrateRequest {
                    entities: entities.collect(),
                    to: bubble(*to),
                    idempotency_key: key.map(|key| key.to_string()),
                };
                Request::Migrate { request, host: host.map(process) }
            }
            Event::Report(part) => Request::Saga(self.part(*part).saga),
            Event::Wait(part, millis) => {
                Request::Wait(self.part(*part).saga, self.now + Duration::from_millis(*millis))
            }
            Event::Locate(id) => Request::Locate(entity(*id)),
            Event::Bubble(id, true) => Request::CreateBubble(Some(bubble(*id))),
            Event::Bubble(id, false) => Request::RetireBubble(bubble(*id)),
            Event::Leave => Request::Leave,
            _ => Request::Audit,
        }
    }

    fn restart(&mut self) {
        self.lives += 1;
        self.config.seed = [self.lives; 32];
        let mut step = Step::default();
        self.core = Core::recover(self.config, self.disk.clone(), self.now, &mut step);
        self.take(step, true);
        self.view(true, self.epoch + 1, [1, 1, 1]);
    }
}

fn cases() -> ProptestConfig {
    let cases = std::env::var("LAMPYRID_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(400), failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn hostile_input_never_breaks_a_core(events in vec(event(), 1..120), host in any::<bool>()) {
        let mut victim = Victim::new(host);
        for event in &events {
            victim.happen(event);
        }
        victim.restart();
    }
}

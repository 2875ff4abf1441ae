//! One core over a host's own store, whose thread is as late as it likes, among vetoes, silent
//! destinations and deaths of the actor: no write that was acknowledged is lost, what the store
//! refuses to freeze stays, and what stays is served.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{
    BootNonce, BubbleId, ClusterId, EntityId, Epoch, Incarnation, OwnershipEpoch, Peer, ProcessId,
    StageId, Term, ViewId,
};

use crate::store::{Frozen, perform};
use crate::testkit::Random;
use crate::{
    CallId, Core, CoreConfig, Delivery, Effect, EntityStore, Expected, Image, Input, Limits,
    Membership, MemoryStore, Message, MigrateRequest, NewEntities, Outcome, Reply, Request,
    SagaState, Step, StoreCall, StoreError,
};

const ME: ProcessId = ProcessId::from_u128(1);
const OTHER: ProcessId = ProcessId::from_u128(2);
const HERE: [BubbleId; 2] = [BubbleId::from_u128(10), BubbleId::from_u128(11)];
const THERE: BubbleId = BubbleId::from_u128(20);
const SEEDS: u64 = 2_000;

/// Refuses to freeze some, and to take some over.
#[derive(Default)]
struct Moody {
    held: MemoryStore,
    stubborn: Mutex<BTreeSet<EntityId>>,
}

impl Moody {
    fn stubborn(&self) -> MutexGuard<'_, BTreeSet<EntityId>> {
        self.stubborn.lock().unwrap()
    }
}

impl EntityStore for Moody {
    fn attach(
        &self,
        id: EntityId,
        bubble: BubbleId,
        at: OwnershipEpoch,
        state: Bytes,
    ) -> Result<(), StoreError> {
        self.held.attach(id, bubble, at, state)
    }
    fn detach(&self, id: EntityId, at: OwnershipEpoch) {
        self.held.detach(id, at);
    }
    fn freeze(&self, id: EntityId, at: OwnershipEpoch) -> Result<Bytes, StoreError> {
        match self.stubborn().contains(&id) {
            true => Err(StoreError { why: "not now".to_owned() }),
            false => self.held.freeze(id, at),
        }
    }
    fn unfreeze(&self, id: EntityId, at: OwnershipEpoch) {
        self.held.unfreeze(id, at);
    }
    fn read(&self, id: EntityId) -> Result<Bytes, StoreError> {
        self.held.read(id)
    }
    fn write(&self, id: EntityId, at: OwnershipEpoch, state: Bytes) -> Result<(), StoreError> {
        self.held.write(id, at, state)
    }
}

struct Bench {
    core: Core,
    random: Random,
    now: Duration,
    lives: u8,
    calls: u64,
    store: Moody,
    frozen: Frozen,
    /// What the store's thread has not done yet.
    calls_due: VecDeque<StoreCall>,
    /// What it did and the core has not heard yet.
    answers: VecDeque<Input>,
    /// Messages to the other process.
    sent: VecDeque<Message>,
    replies: BTreeMap<CallId, Reply>,
    /// Writes under way.
    writing: BTreeMap<CallId, (EntityId, Bytes)>,
    /// By entity that is here: what was acknowledged last, and what may have been written since.
    known: BTreeMap<EntityId, Vec<Bytes>>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let mut step = Step::default();
        let core = Core::recover(config(0), Image::default(), Duration::ZERO, &mut step);
        let mut bench = Self {
            core,
            random: Random::new(seed),
            now: Duration::ZERO,
            lives: 0,
            calls: 0,
            store: Moody::default(),
            frozen: Frozen::default(),
            calls_due: VecDeque::new(),
            answers: VecDeque::new(),
            sent: VecDeque::new(),
            replies: BTreeMap::new(),
            writing: BTreeMap::new(),
            known: BTreeMap::new(),
        };
        bench.note(step);
        bench.give(Input::View(view()));
        for bubble in HERE {
            bench.ask(Request::CreateBubble(Some(bubble)));
        }
        bench
    }

    fn note(&mut self, step: Step) {
        for effect in step.effects {
            match effect {
                Effect::Store(call) => self.calls_due.push_back(call),
                Effect::Reply(call, reply) => {
                    if let Some((id, state)) = self.writing.remove(&call)
                        && matches!(reply, Reply::Entity(Ok(_)))
                    {
                        self.wrote(id, state);
                    }
                    self.replies.insert(call, reply);
                }
                Effect::Send { message, report, .. } => {
                    if let Message::Stage { entities, .. } = &message {
                        for copy in entities {
                            self.check(copy.id, &copy.state);
                        }
                    }
                    self.sent.push_back(message);
                    let sent = report.map(|attempt| Input::Sent(attempt, Delivery::Sent));
                    self.answers.extend(sent);
                }
                _ => {}
            }
        }
    }

    /// Writes are acknowledged in the order in which they were made.
    fn wrote(&mut self, id: EntityId, state: Bytes) {
        if let Some(states) = self.known.get_mut(&id) {
            let at = states.iter().position(|known| *known == state);
            states.drain(..at.expect("a write that was made"));
        }
    }

    fn check(&self, id: EntityId, state: &Bytes) {
        let known = self.known.get(&id).expect("it is here");
        assert!(known.contains(state), "{id:?} is {state:?}, acknowledged was {:?}", known[0]);
    }

    fn give(&mut self, input: Input) {
        let mut step = Step::default();
        self.core.step(self.now, input, &mut step);
        self.note(step);
        assert!(self.core.counts_hold());
    }

    fn call(&mut self, request: Request) -> CallId {
        self.calls += 1;
        self.give(Input::Request(CallId(self.calls), request));
        CallId(self.calls)
    }

    fn ask(&mut self, request: Request) -> Option<Reply> {
        let call = self.call(request);
        self.replies.remove(&call)
    }

    fn hear(&mut self, message: Message) {
        let (incarnation, nonce) = (Incarnation(1), BootNonce(1));
        let from = Peer { process: OTHER, incarnation, nonce };
        self.give(Input::Received { from, term: view().term, message });
    }

    fn one(&mut self) -> Option<EntityId> {
        let ids: Vec<EntityId> = self.known.keys().copied().collect();
        self.random.pick(&ids)
    }

    fn create(&mut self) {
        let state = Bytes::from(format!("new {}", self.calls));
        let (bubble, new) = (HERE[self.random.below(2)], NewEntities::One(None));
        if let Some(Reply::Created(Ok(ids))) =
            self.ask(Request::Create { bubble, new, state: state.clone() })
        {
            self.known.insert(ids[0], vec![state]);
        }
    }

    fn put(&mut self, id: EntityId) -> CallId {
        let state = Bytes::from(format!("write {}", self.calls));
        self.writing.insert(CallId(self.calls + 1), (id, state.clone()));
        self.known.entry(id).or_default().push(state.clone());
        let call = self.call(Request::Put(id, state.clone()));
        if let Some(Reply::Entity(Err(_))) = self.replies.get(&call)
            && let Some(states) = self.known.get_mut(&id)
        {
            // Refused before the store heard of it.
            states.retain(|known| *known != state);
        }
        call
    }

    fn migrate(&mut self, id: EntityId) {
        let to = *[HERE[0], HERE[1], THERE].get(self.random.below(3)).unwrap();
        let entities = vec![Expected { id, epoch: None }];
        let request = MigrateRequest { entities, to, idempotency_key: None };
        self.call(Request::Migrate { request, host: (to == THERE).then_some(OTHER) });
    }

    /// The other process takes, refuses or says nothing.
    fn answer(&mut self) {
        match self.sent.pop_front() {
            Some(Message::Stage { part, attempt, entities, .. }) => {
                let ids: Vec<EntityId> = entities.iter().map(|copy| copy.id).collect();
                match self.random.below(3) {
                    0 => {}
                    1 => {
                        let stage = Some(StageId::from_u128(u128::from(self.random.number())));
                        let refused = vec![];
                        let accepted = ids;
                        self.hear(Message::Staged { part, attempt, stage, accepted, refused });
                    }
                    _ => {
                        let why = crate::Reason::StagingFailed("full".to_owned());
                        let refused = ids.into_iter().map(|id| (id, why.clone())).collect();
                        let (stage, accepted) = (None, vec![]);
                        self.hear(Message::Staged { part, attempt, stage, accepted, refused });
                    }
                }
            }
            Some(Message::Commit { part, attempt, stage, entities }) => {
                for id in entities {
                    self.known.remove(&id);
                }
                self.hear(Message::Activated { part, attempt: Some(attempt), stage });
            }
            _ => {}
        }
    }

    fn work_off(&mut self) {
        if let Some(call) = self.calls_due.pop_front() {
            self.answers.extend(perform(&self.store, &mut self.frozen, call));
        }
    }

    fn answered(&mut self) {
        if let Some(input) = self.answers.pop_front() {
            self.give(input);
        }
    }

    /// The actor dies. Its store's thread ends what was given to it, and nobody hears of that.
    fn die(&mut self) {
        while !self.calls_due.is_empty() {
            self.work_off();
        }
        self.answers.clear();
        self.writing.clear();
        self.lives += 1;
        let mut step = Step::default();
        let image = self.core.image().clone();
        self.core = Core::recover(config(self.lives), image, self.now, &mut step);
        self.note(step);
        self.give(Input::View(view()));
    }

    fn step(&mut self) {
        let id = self.one();
        match (self.random.below(20), id) {
            (0 | 1, _) | (_, None) if self.known.len() < 4 => self.create(),
            (2 | 3, Some(id)) => {
                self.put(id);
            }
            (4..=6, Some(id)) => self.migrate(id),
            (7, Some(id)) => {
                let _ = self.store.stubborn().insert(id) || self.store.stubborn().remove(&id);
            }
            (8, _) => self.die(),
            (9, Some(id)) => {
                if let Some(Reply::Entity(Ok(record))) = self.ask(Request::Get(id)) {
                    self.check(id, &record.state);
                }
            }
            (10, _) => {
                self.now += Duration::from_millis(self.random.number() % 3_000);
                self.give(Input::Wake);
            }
            (11 | 12, _) => self.answer(),
            (13..=16, _) => self.work_off(),
            _ => self.answered(),
        }
    }

    fn settle(&mut self) {
        self.store.stubborn().clear();
        for _ in 0..30 {
            while !(self.calls_due.is_empty() && self.answers.is_empty() && self.sent.is_empty()) {
                self.work_off();
                self.answered();
                self.answer();
            }
            self.now += Duration::from_secs(1);
            self.give(Input::Wake);
        }
    }

    /// Everything that is here is served: written, and read as it was written.
    fn serves_all(&mut self) {
        for id in self.known.keys().copied().collect::<Vec<_>>() {
            let call = self.put(id);
            self.settle();
            let reply = self.replies.get(&call);
            let Some(Reply::Entity(Ok(record))) = reply else { panic!("{id:?}: {reply:?}") };
            let state = record.state.clone();
            self.check(id, &state);
        }
    }
}

fn config(life: u8) -> CoreConfig {
    let limits = Limits::default();
    CoreConfig { me: ME, limits, seed: [life; 32], host_store: true, hooks: false, flaw: None }
}

fn view() -> Membership {
    let cluster = ClusterId::from_u128(1);
    let term = Term { cluster, epoch: Epoch(1), view: ViewId([1; 32]) };
    let members = [(ME, Incarnation(1)), (OTHER, Incarnation(1))];
    Membership { active: true, term, members: members.into_iter().collect() }
}

#[test]
fn no_acknowledged_write_is_lost_and_what_stays_is_served() {
    for seed in 0..SEEDS {
        let run = std::panic::catch_unwind(|| {
            let mut bench = Bench::new(seed);
            (0..400).for_each(|_| bench.step());
            bench.settle();
            bench.serves_all();
            bench.replies.len()
        });
        assert!(run.is_ok_and(|replies| replies > 20), "seed {seed}");
    }
}

/// The journal still has the state, for it has not heard yet that the store took it.
#[test]
fn a_store_that_took_an_entity_over_a_moment_ago_can_refuse_to_freeze_it() {
    let mut bench = Bench::new(1);
    bench.create();
    let id = *bench.known.keys().next().unwrap();
    bench.store.stubborn().insert(id);
    let entities = vec![Expected { id, epoch: None }];
    let to = HERE[usize::from(bench.core.image().entities[&id].bubble == HERE[0])];
    let request = MigrateRequest { entities, to, idempotency_key: None };
    let Some(Reply::Saga(Ok(saga))) = bench.ask(Request::Migrate { request, host: None }) else {
        panic!("no saga")
    };
    while !(bench.calls_due.is_empty() && bench.answers.is_empty()) {
        bench.work_off();
        bench.answered();
    }
    let Some(Reply::Report(Some(report))) = bench.ask(Request::Saga(saga)) else { panic!() };
    assert_eq!(report.state, SagaState::Done);
    assert!(matches!(report.entities[0].outcome, Outcome::Aborted { .. }), "{report:?}");
}

//! One core over a host's own store, whose thread is as late as it likes, among vetoes, full disks,
//! silent destinations and deaths of the actor: no write that was acknowledged is lost, what the
//! store refuses to freeze stays, what stays is served, and what is sent fits into a frame.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{
    BootNonce, BubbleId, ClusterId, EntityId, Epoch, Incarnation, OwnershipEpoch, Peer, ProcessId,
    StageId, Term, ViewId,
};

use crate::limits::PART_BYTES;
use crate::store::{Frozen, HostStore, STORE_CALLS_MAX, perform};
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

const STATE_BYTES: usize = 50 * 1024;

/// How an entity is frozen.
#[derive(Clone, Copy)]
enum Mood {
    Refuses,
    /// It is frozen, and refused all the same.
    GivesUpHalfway,
    /// It is frozen, with a state that is over the limit.
    Bloated,
}

/// Refuses to freeze some, to take any over while it is full, and to let any go while it sticks.
/// It unfreezes none while it is broken.
#[derive(Default)]
struct Moody {
    held: MemoryStore,
    moods: Mutex<BTreeMap<EntityId, Mood>>,
    full: AtomicBool,
    sticks: AtomicBool,
    broken: AtomicBool,
}

impl Moody {
    fn moods(&self) -> MutexGuard<'_, BTreeMap<EntityId, Mood>> {
        self.moods.lock().unwrap()
    }
}

fn failed() -> StoreError {
    StoreError { why: "not now".to_owned() }
}

impl EntityStore for Moody {
    fn attach(
        &self,
        id: EntityId,
        bubble: BubbleId,
        at: OwnershipEpoch,
        state: Bytes,
    ) -> Result<(), StoreError> {
        match self.full.load(Ordering::Relaxed) {
            true => Err(failed()),
            false => self.held.attach(id, bubble, at, state),
        }
    }
    fn detach(&self, id: EntityId, at: OwnershipEpoch) {
        if !self.sticks.load(Ordering::Relaxed) {
            self.held.detach(id, at);
        }
    }
    fn freeze(&self, id: EntityId, at: OwnershipEpoch) -> Result<Bytes, StoreError> {
        match self.moods().get(&id) {
            None => self.held.freeze(id, at),
            Some(Mood::Refuses) => Err(failed()),
            Some(Mood::GivesUpHalfway) => self.held.freeze(id, at).and(Err(failed())),
            Some(Mood::Bloated) => {
                self.held.freeze(id, at).map(|_| Bytes::from(vec![0; STATE_BYTES + 1]))
            }
        }
    }
    fn unfreeze(&self, id: EntityId, at: OwnershipEpoch) {
        assert!(!self.broken.load(Ordering::Relaxed), "broken");
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
                        let bytes: usize = entities.iter().map(|copy| copy.state.len()).sum();
                        assert!(bytes <= PART_BYTES || entities.len() == 1, "{bytes} in a frame");
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
        let text = |state: &Bytes| String::from_utf8_lossy(state).trim_end().to_owned();
        let (is, was) = (|| text(state), || text(&known[0]));
        assert!(known.contains(state), "{id:?} is {:?}, acknowledged was {:?}", is(), was());
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
        let width = [0, 1_000, STATE_BYTES / 2, STATE_BYTES][self.random.below(4)];
        let mut state = format!("write {}", self.calls).into_bytes();
        state.resize(width.max(state.len()), b' ');
        let state = Bytes::from(state);
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

    fn migrate(&mut self) {
        let to = *[HERE[0], HERE[1], THERE].get(self.random.below(3)).unwrap();
        let ids: BTreeSet<EntityId> = (0..3).filter_map(|_| self.one()).collect();
        let entities = ids.into_iter().map(|id| Expected { id, epoch: None }).collect();
        let request = MigrateRequest { entities, to, idempotency_key: None };
        self.call(Request::Migrate { request, host: (to == THERE).then_some(OTHER) });
    }

    /// The other process takes, refuses or says nothing.
    fn answer(&mut self) {
        match self.sent.pop_front() {
            Some(Message::Stage { part, attempt, entities, .. }) => {
                let ids: Vec<EntityId> = entities.iter().map(|copy| copy.id).collect();
                match self.random.below(4) {
                    0 => {}
                    1 | 2 => {
                        let stage = Some(StageId::from_u128(u128::from(self.random.number())));
                        let refused = vec![];
                        // All, or not all.
                        let accepted = ids[self.random.below(ids.len())..].to_vec();
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
            (4..=6, Some(_)) => self.migrate(),
            (7, Some(id)) => {
                let moods = [None, Some(Mood::GivesUpHalfway), Some(Mood::Bloated)];
                let mood = self.random.pick(&moods).flatten().or(Some(Mood::Refuses));
                let before = self.store.moods().remove(&id);
                if before.is_none() {
                    self.store.moods().extend(mood.map(|mood| (id, mood)));
                }
                self.store.full.store(self.random.below(3) == 0, Ordering::Relaxed);
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

    fn catch_up(&mut self) {
        while !(self.calls_due.is_empty() && self.answers.is_empty()) {
            self.work_off();
            self.answered();
        }
    }

    fn read(&mut self, id: EntityId) -> Reply {
        let call = self.call(Request::Get(id));
        self.catch_up();
        self.replies.remove(&call).expect("an answer")
    }

    fn settle(&mut self) {
        self.store.moods().clear();
        self.store.full.store(false, Ordering::Relaxed);
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
    let limits = Limits { state_bytes: STATE_BYTES, ..Limits::default() };
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
    bench.store.moods().insert(id, Mood::Refuses);
    let entities = vec![Expected { id, epoch: None }];
    let to = HERE[usize::from(bench.core.image().entities[&id].bubble == HERE[0])];
    let request = MigrateRequest { entities, to, idempotency_key: None };
    let Some(Reply::Saga(Ok(saga))) = bench.ask(Request::Migrate { request, host: None }) else {
        panic!("no saga")
    };
    bench.catch_up();
    let Some(Reply::Report(Some(report))) = bench.ask(Request::Saga(saga)) else { panic!() };
    assert_eq!(report.state, SagaState::Done);
    assert!(matches!(report.entities[0].outcome, Outcome::Aborted { .. }), "{report:?}");
}

/// The journal keeps the state, and the disk has room again before the next start.
#[test]
fn what_a_full_store_did_not_take_over_it_is_given_again_when_it_is_needed() {
    let mut bench = Bench::new(1);
    bench.store.full.store(true, Ordering::Relaxed);
    bench.create();
    let id = *bench.known.keys().next().unwrap();
    assert!(matches!(bench.read(id), Reply::Entity(Err(_))));
    bench.store.full.store(false, Ordering::Relaxed);
    let Reply::Entity(Ok(record)) = bench.read(id) else { panic!("it is not read") };
    bench.check(id, &record.state);
    assert!(bench.core.image().entities[&id].state.is_none(), "the store has it");
}

/// A full store may refuse to take over what it has. It is no reason to forget what is written.
#[test]
fn a_write_shows_that_the_store_has_the_entity() {
    let mut bench = Bench::new(1);
    bench.create();
    bench.catch_up();
    let id = *bench.known.keys().next().unwrap();
    let request = |to, host| {
        let entities = vec![Expected { id, epoch: None }];
        let request = MigrateRequest { entities, to, idempotency_key: None };
        Request::Migrate { request, host }
    };
    // It is frozen and comes back: the journal has its state, and gives it to the store.
    bench.ask(request(THERE, Some(OTHER)));
    bench.catch_up();
    bench.store.full.store(true, Ordering::Relaxed);
    bench.now += Duration::from_secs(10);
    bench.give(Input::Wake);
    bench.catch_up();
    let state = Bytes::from("newer");
    let call = bench.call(Request::Put(id, state.clone()));
    bench.catch_up();
    assert!(matches!(bench.replies[&call], Reply::Entity(Ok(_))));
    bench.store.moods().insert(id, Mood::Refuses);
    bench.sent.clear();
    bench.known.insert(id, vec![state]);
    bench.ask(request(THERE, Some(OTHER)));
    bench.catch_up();
    assert!(bench.sent.is_empty(), "{:?}", bench.sent);
}

#[test]
fn what_a_store_failed_to_unfreeze_is_unfrozen_before_it_is_written() {
    let mut bench = Bench::new(1);
    bench.create();
    bench.catch_up();
    let id = *bench.known.keys().next().unwrap();
    bench.store.moods().insert(id, Mood::GivesUpHalfway);
    bench.store.broken.store(true, Ordering::Relaxed);
    let entities = vec![Expected { id, epoch: None }];
    let request = MigrateRequest { entities, to: THERE, idempotency_key: None };
    bench.ask(Request::Migrate { request, host: Some(OTHER) });
    bench.catch_up();
    bench.store.broken.store(false, Ordering::Relaxed);
    let call = bench.put(id);
    bench.catch_up();
    assert!(matches!(bench.replies[&call], Reply::Entity(Ok(_))), "{:?}", bench.replies[&call]);
}

#[test]
fn an_id_that_was_deleted_is_new_when_it_is_created_again() {
    let mut bench = Bench::new(1);
    let id = EntityId::from_u128(7);
    let create = |bench: &mut Bench, state| {
        let (bubble, new) = (HERE[0], NewEntities::One(Some(id)));
        bench.ask(Request::Create { bubble, new, state: Bytes::from_static(state) });
        bench.catch_up();
    };
    create(&mut bench, b"old");
    bench.store.sticks.store(true, Ordering::Relaxed);
    bench.ask(Request::Delete(id));
    bench.catch_up();
    bench.store.sticks.store(false, Ordering::Relaxed);
    create(&mut bench, b"new");
    let Reply::Entity(Ok(record)) = bench.read(id) else { panic!("it is not read") };
    assert_eq!(record.state, "new");
}

/// Says nothing until it is let, then panics in all it does.
struct Broken(Mutex<mpsc::Receiver<()>>);

impl Broken {
    fn fail(&self) -> ! {
        let _ = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
        panic!("out of {}", "ink")
    }
}

impl EntityStore for Broken {
    fn attach(
        &self,
        _: EntityId,
        _: BubbleId,
        _: OwnershipEpoch,
        _: Bytes,
    ) -> Result<(), StoreError> {
        self.fail()
    }
    fn detach(&self, _: EntityId, _: OwnershipEpoch) {
        self.fail()
    }
    fn freeze(&self, _: EntityId, _: OwnershipEpoch) -> Result<Bytes, StoreError> {
        self.fail()
    }
    fn unfreeze(&self, _: EntityId, _: OwnershipEpoch) {
        self.fail()
    }
    fn read(&self, _: EntityId) -> Result<Bytes, StoreError> {
        self.fail()
    }
    fn write(&self, _: EntityId, _: OwnershipEpoch, _: Bytes) -> Result<(), StoreError> {
        self.fail()
    }
}

#[test]
fn a_store_that_panics_is_told_of_and_called_again() {
    let (let_go, lets) = mpsc::channel();
    drop(let_go);
    let (told, answers) = mpsc::channel();
    let store = HostStore::new(Arc::new(Broken(Mutex::new(lets))));
    let calls = store.start(move |input| told.send(input).unwrap()).unwrap();
    let (id, at, state) = (EntityId::from_u128(1), OwnershipEpoch(0), Bytes::from("state"));
    let part = crate::PartId { source: ME, saga: lampyrid_wire::SagaId::from_u128(1), part: 0 };
    for call in [
        StoreCall::Unfreeze(id, at),
        StoreCall::Detach(id, at),
        StoreCall::Attach(id, HERE[0], at, state.clone()),
        StoreCall::Freeze(part, id, at),
        StoreCall::UnfreezeAll,
        StoreCall::Read(CallId(1), id, at),
        StoreCall::Write(CallId(2), id, at, state),
    ] {
        calls.send(call).unwrap();
    }
    drop(calls);
    let answers: Vec<Input> = answers.iter().collect();
    let errors = answers.iter().map(|input| match input {
        Input::StoreAttached(_, _, Err(error))
        | Input::StoreFrozen(_, _, Err(error))
        | Input::StoreAnswered(_, _, Err(error)) => error.as_str(),
        other => panic!("{other:?}"),
    });
    assert_eq!(errors.collect::<Vec<_>>(), ["the store panicked: out of ink"; 4]);
}

#[test]
fn calls_do_not_pile_up_before_a_store_that_hangs() {
    let (let_go, lets) = mpsc::channel();
    let (told, answers) = mpsc::channel();
    let store = HostStore::new(Arc::new(Broken(Mutex::new(lets))));
    let calls = store.start(move |input| told.send(input).unwrap()).unwrap();
    assert!(!calls.is_behind());
    for n in 0..STORE_CALLS_MAX as u64 {
        calls.send(StoreCall::Read(CallId(n), EntityId::from_u128(1), OwnershipEpoch(0))).unwrap();
    }
    assert!(calls.is_behind());
    // Two have been answered when the second answer comes, and one has been counted for sure.
    (0..2).for_each(|_| let_go.send(()).unwrap());
    (0..2).for_each(|_| drop(answers.recv().unwrap()));
    assert!(!calls.is_behind());
    // The thread goes on behind the test, which needs no answers any more.
    std::mem::forget(let_go);
}

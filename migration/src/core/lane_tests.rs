//! One source and several destinations, some of which answer nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_wire::{
    BootNonce, BubbleId, ClusterId, EntityId, Epoch, Incarnation, Peer, ProcessId, SagaId, StageId,
    Term, ViewId,
};

use crate::limits::WINDOW_PARTS;
use crate::{
    CallId, Core, CoreConfig, Delivery, Effect, Expected, HookCall, Image, Input, Limits,
    Membership, Message, MigrateRequest, Move, NewEntities, Outcome, PartId, Phase, Reason, Reply,
    Request, Step,
};

pub(super) const HERE: BubbleId = BubbleId::from_u128(1);

/// Frames that the links take for a peer that reads none.
const LINK_WINDOW: usize = 256;

pub(super) fn process(n: u128) -> ProcessId {
    ProcessId::from_u128(n)
}

pub(super) fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// The core of process 1, and processes that stage and activate whatever they are sent.
pub(super) struct Fleet {
    pub(super) core: Core,
    now: Duration,
    counter: u64,
    /// How long an answer takes.
    took: Duration,
    answers: BTreeMap<(Duration, u64), (ProcessId, Message)>,
    /// These read nothing.
    frozen: BTreeSet<ProcessId>,
    unread: BTreeMap<ProcessId, usize>,
    /// Parts in the order in which they were first sent.
    begun: Vec<PartId>,
    replies: Vec<Reply>,
    /// What the hooks were asked and told.
    pub(super) asked: Vec<(HookCall, Move)>,
    pub(super) moved: Vec<Move>,
}

fn term() -> Term {
    Term { cluster: ClusterId::from_u128(1), epoch: Epoch(1), view: ViewId([1; 32]) }
}

impl Fleet {
    fn new(limits: Limits) -> Self {
        Self::with_hooks(limits, false)
    }

    pub(super) fn with_hooks(limits: Limits, hooks: bool) -> Self {
        let (me, seed) = (process(1), [5; 32]);
        let config = CoreConfig { me, limits, seed, host_store: false, hooks, flaw: None };
        let core = Core::recover(config, Image::default(), Duration::ZERO, &mut Step::default());
        let mut fleet = Self {
            core,
            now: Duration::ZERO,
            counter: 0,
            took: millis(2),
            answers: BTreeMap::new(),
            frozen: BTreeSet::new(),
            unread: BTreeMap::new(),
            begun: Vec::new(),
            replies: Vec::new(),
            asked: Vec::new(),
            moved: Vec::new(),
        };
        let view = fleet.view();
        fleet.give(Input::View(view));
        fleet.ask(Request::CreateBubble(Some(HERE)));
        fleet
    }

    /// The first view: processes 1 to 4.
    pub(super) fn view(&self) -> Membership {
        let members = (1..=4).map(|n| (process(n), Incarnation(1))).collect();
        Membership { active: true, term: term(), members }
    }

    pub(super) fn give(&mut self, input: Input) {
        let mut step = Step::default();
        self.core.step(self.now, input, &mut step);
        for effect in step.effects {
            match effect {
                Effect::Send { to, message, report, .. } => {
                    let delivery = self.send(to, message);
                    if let Some(attempt) = report {
                        self.give(Input::Sent(attempt, delivery));
                    }
                }
                Effect::Reply(_, reply) => self.replies.push(reply),
                Effect::AskHook(call, planned) => self.asked.push((call, planned)),
                Effect::Moved(moved) => self.moved.push(moved),
                _ => {}
            }
        }
    }

    fn send(&mut self, to: ProcessId, message: Message) -> Delivery {
        if let Message::Stage { part, attempt: 0, .. } = message {
            self.begun.push(part);
        }
        if self.frozen.contains(&to) {
            let unread = self.unread.entry(to).or_default();
            if *unread == LINK_WINDOW {
                return Delivery::WindowFull;
            }
            *unread += 1;
            return Delivery::Sent;
        }
        let answer = match message {
            Message::Stage { part, attempt, entities, .. } => {
                let accepted = entities.iter().map(|copy| copy.id).collect();
                let stage = Some(StageId::from_u128(1));
                Message::Staged { part, attempt, stage, accepted, refused: Vec::new() }
            }
            Message::Commit { part, attempt, stage, .. } => {
                Message::Activated { part, attempt: Some(attempt), stage }
            }
            _ => return Delivery::Sent,
        };
        self.counter += 1;
        self.answers.insert((self.now + self.took, self.counter), (to, answer));
        Delivery::Sent
    }

    /// Lets time pass: answers arrive and timers ring.
    pub(super) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let answer = self.answers.first_key_value().map(|((at, _), _)| *at);
            let next = [answer, self.core.deadline()].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if answer == Some(next)
                && let Some((_, (process, message))) = self.answers.pop_first()
            {
                let incarnation = Incarnation(1);
                let from = Peer { process, incarnation, nonce: BootNonce(1) };
                self.give(Input::Received { from, term: term(), message });
            } else {
                self.give(Input::Wake);
            }
        }
        self.now = until;
        assert!(self.core.counts_hold());
    }

    pub(super) fn ask(&mut self, request: Request) -> Reply {
        self.counter += 1;
        self.replies.clear();
        self.give(Input::Request(CallId(self.counter), request));
        self.replies.first().cloned().unwrap()
    }

    pub(super) fn create(&mut self, count: usize, bytes: usize) -> Vec<EntityId> {
        let new = NewEntities::Many(count);
        let state = Bytes::from(vec![0; bytes]);
        match self.ask(Request::Create { bubble: HERE, new, state }) {
            Reply::Created(Ok(ids)) => ids,
            reply => panic!("{reply:?}"),
        }
    }

    pub(super) fn migrate(&mut self, ids: &[EntityId], to: ProcessId) -> Result<SagaId, Reason> {
        self.migrate_to(ids, BubbleId::from_u128(100 + to.0.as_u128()), to)
    }

    pub(super) fn migrate_to(
        &mut self,
        ids: &[EntityId],
        to: BubbleId,
        host: ProcessId,
    ) -> Result<SagaId, Reason> {
        let entities = ids.iter().map(|&id| Expected { id, epoch: None }).collect();
        let request = MigrateRequest { entities, to, idempotency_key: None };
        match self.ask(Request::Migrate { request, host: Some(host) }) {
            Reply::Saga(answer) => answer.map_err(|error| error.0),
            reply => panic!("{reply:?}"),
        }
    }

    pub(super) fn outcomes(&mut self, saga: SagaId) -> Vec<Outcome> {
        let report = self.core.report(saga).unwrap();
        report.entities.into_iter().map(|entity| entity.outcome).collect()
    }

    fn committed(&mut self, sagas: &[SagaId]) -> usize {
        let outcomes: Vec<_> = sagas.iter().flat_map(|saga| self.outcomes(*saga)).collect();
        outcomes.iter().filter(|o| matches!(o, Outcome::Committed { .. })).count()
    }

    /// One entity to each of three processes every millisecond; how many moves to 3 and 4 were
    /// committed, the refusals of moves to 2, and the most that was frozen at once.
    fn busy(&mut self, time: u64) -> (usize, Vec<Reason>, u64) {
        let (mut healthy, mut refused, mut frozen) = (Vec::new(), Vec::new(), 0);
        for _ in 0..time {
            let ids = self.create(3, 16);
            for (n, to) in [(0, 2), (1, 3), (2, 4)] {
                match self.migrate(&ids[n..=n], process(to)) {
                    Ok(saga) if to > 2 => healthy.push(saga),
                    Ok(_) => {}
                    Err(reason) => refused.push(reason),
                }
            }
            self.pass(millis(1));
            frozen = frozen.max(self.core.audit().frozen);
        }
        self.pass(millis(100));
        (self.committed(&healthy), refused, frozen)
    }
}

#[test]
fn a_frozen_destination_takes_its_share_and_holds_up_nobody_else() {
    let limits = Limits { out_entities: 400, ..Limits::default() };
    let (all, none_refused, _) = Fleet::new(limits).busy(3_000);
    assert_eq!((all, none_refused), (6_000, Vec::new()));
    let mut fleet = Fleet::new(limits);
    fleet.frozen.insert(process(2));
    let (moved, refused, frozen) = fleet.busy(3_000);
    assert_eq!(moved, all, "moves to others go on as before");
    assert!(!refused.is_empty());
    let limit = "outgoing_entities_to_one_process".to_owned();
    assert!(refused.iter().all(|reason| *reason == Reason::Overloaded { limit: limit.clone() }));
    // A window of it, and what is on its way to the two others.
    assert!(frozen <= WINDOW_PARTS as u64 + 16, "{frozen} were frozen at once");
    fleet.pass(millis(30_000));
    assert_eq!(fleet.core.audit().frozen, 0, "in the end all of it was given up");
    fleet.frozen.clear();
    let (moved, refused, _) = fleet.busy(100);
    assert_eq!((moved, refused), (200, Vec::new()));
}

#[test]
fn each_further_frozen_destination_gets_less_and_something_is_always_left() {
    let mut fleet = Fleet::new(Limits { out_entities: 1_000, ..Limits::default() });
    fleet.frozen.extend([process(2), process(3)]);
    let ids = fleet.create(2_000, 16);
    let mut ids = ids.chunks(10);
    let mut fill = |fleet: &mut Fleet, to| {
        (0..).find(|_| fleet.migrate(ids.next().unwrap(), process(to)).is_err()).unwrap() * 10
    };
    assert_eq!(fill(&mut fleet, 2), 620);
    assert_eq!(fill(&mut fleet, 3), 280);
    assert_eq!(fill(&mut fleet, 4), 70);
}

/// What is over a destination's share by itself is not told to try again later.
#[test]
fn what_no_destination_ever_takes_at_once_is_refused_with_the_most_that_is_taken() {
    let mut fleet =
        Fleet::new(Limits { out_entities: 1_000, out_bytes: 8_000, ..Limits::default() });
    let never = |limit: &str, maximum| {
        Err(Reason::LimitExceeded { limit: format!("outgoing_{limit}_to_one_process"), maximum })
    };
    let small = fleet.create(626, 1);
    assert_eq!(fleet.migrate(&small, process(2)), never("entities", 625));
    let large = fleet.create(6, 900);
    assert_eq!(fleet.migrate(&large, process(2)), never("bytes", 5_000));
    assert!(fleet.migrate(&small[..625], process(2)).is_ok());
    let later = fleet.migrate(&small[625..], process(2));
    assert!(matches!(later, Err(Reason::Overloaded { .. })), "{later:?}");
    // Where a share of what is left is less than five eighths, that counts.
    let equal = Limits { out_entities: 1_000, out_share: 1, ..Limits::default() };
    let mut fleet = Fleet::new(equal);
    let ids = fleet.create(501, 1);
    assert_eq!(fleet.migrate(&ids, process(2)), never("entities", 500));
    assert!(fleet.migrate(&ids[..500], process(2)).is_ok());
}

#[test]
fn requests_take_turns_and_what_waits_is_not_frozen() {
    let mut fleet = Fleet::new(Limits::default());
    let bulk = fleet.create(100, 60 * 1024);
    let bulk_saga = fleet.migrate(&bulk, process(2)).unwrap();
    let begun = fleet.begun.len();
    assert!((8..=9).contains(&begun), "512 KiB of 60 KiB each: {begun}");
    let one = fleet.create(1, 16);
    let other = fleet.create(1, 16);
    let small = fleet.migrate(&one, process(2)).unwrap();
    assert_eq!(fleet.begun.len(), begun, "the window is full");
    fleet.migrate(&other, process(3)).unwrap();
    assert_eq!(fleet.begun.len(), begun + 1, "that of another destination is not");
    let Reply::Entity(put) = fleet.ask(Request::Put(one[0], Bytes::new())) else { panic!() };
    assert!(put.is_ok(), "it waits, and serves");
    let Reply::Entity(put) = fleet.ask(Request::Put(bulk[0], Bytes::new())) else { panic!() };
    assert!(put.is_err(), "it is on its way");
    fleet.pass(millis(1_000));
    let turn = fleet.begun.iter().position(|part| part.saga == small).unwrap();
    assert!(turn <= begun + 2, "after at most one further part of the other request: {turn}");
    assert_eq!(fleet.committed(&[bulk_saga, small]), 101);
}

#[test]
fn after_a_time_out_one_part_at_a_time_tries_until_an_answer_comes() {
    let mut fleet = Fleet::new(Limits::default());
    fleet.frozen.insert(process(2));
    let ids = fleet.create(110, 16);
    let sagas: Vec<SagaId> =
        ids[..100].chunks(1).map(|id| fleet.migrate(id, process(2)).unwrap()).collect();
    assert_eq!(fleet.begun.len(), WINDOW_PARTS);
    fleet.pass(millis(1_000));
    let timeout = Outcome::Aborted { reason: Reason::Timeout(Phase::Stage) };
    for saga in sagas {
        assert_eq!(fleet.outcomes(saga).first(), Some(&timeout), "also those that waited");
    }
    let sagas: Vec<SagaId> =
        ids[100..].chunks(1).map(|id| fleet.migrate(id, process(2)).unwrap()).collect();
    assert_eq!(fleet.begun.len(), WINDOW_PARTS + 1);
    assert_eq!(fleet.core.audit().frozen, 1);
    fleet.frozen.clear();
    fleet.pass(millis(1_000));
    assert_eq!(fleet.committed(&sagas), 10, "a repetition was answered");
}

#[test]
fn a_peer_that_has_become_slow_is_known_after_one_late_answer() {
    let mut fleet = Fleet::new(Limits::default());
    let ids = fleet.create(30, 16);
    for id in ids[..20].chunks(1) {
        fleet.migrate(id, process(2)).unwrap();
        fleet.pass(millis(10));
    }
    fleet.took = millis(400);
    let first = fleet.migrate(&ids[20..21], process(2)).unwrap();
    fleet.pass(millis(100));
    let timeout = Outcome::Aborted { reason: Reason::Timeout(Phase::Stage) };
    assert_eq!(fleet.outcomes(first), [timeout], "100 ms are enough for what took 2 so far");
    fleet.pass(millis(400));
    let rest: Vec<SagaId> =
        ids[21..].chunks(1).map(|id| fleet.migrate(id, process(2)).unwrap()).collect();
    fleet.pass(millis(2_000));
    assert_eq!(fleet.committed(&rest), 9);
}

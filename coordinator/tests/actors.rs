//! The three actors of each of several members, linked in memory, under a manual clock and manual
//! views.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_coordinator::{
    BroadcasterActor, BroadcasterArguments, BroadcasterMessage, CoordinatorActor,
    CoordinatorArguments, CoordinatorMessage, Gateway,
};
use lampyrid_membership::{Status, View, ViewChange, ViewEvent, ViewHandle, ViewState};
use lampyrid_registry::{
    Counter, Counters, Hooks, Post, RegistryActor, RegistryArguments, RegistryError,
    RegistryHandle, RegistryMessage,
};
use lampyrid_wire::{
    BootNonce, BubbleId, Channel, Clock, ClusterId, Credit, Inbound, Incarnation, ManualClock,
    Member, Outbound, Peer, ProcessId, SendError, Slot, Term,
};
use ractor::Actor;
use ractor::ActorCell;

const LIMIT: Duration = Duration::from_secs(5);
const COOLDOWN: Duration = Duration::from_secs(1);

/// Generous: reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(30);

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(waited.await.is_ok(), "never: {what}");
}

#[derive(Default)]
struct Seen {
    full: Mutex<BTreeSet<BubbleId>>,
    claimed: Mutex<Vec<(BubbleId, ProcessId)>>,
    newer: Mutex<Vec<(ProcessId, Term)>>,
}

impl Hooks for Seen {
    fn has_entities(&self, bubble: BubbleId) -> bool {
        self.full.lock().unwrap().contains(&bubble)
    }

    fn claimed(&self, bubble: BubbleId, by: ProcessId) {
        self.claimed.lock().unwrap().push((bubble, by));
    }

    fn newer_view(&self, peer: ProcessId, term: Term) {
        self.newer.lock().unwrap().push((peer, term));
    }
}

type Gateways = Arc<RwLock<BTreeMap<ProcessId, Gateway>>>;

struct Link {
    from: Peer,
    gateways: Gateways,
}

impl Outbound for Link {
    fn send(&self, to: ProcessId, channel: Channel, frame: Bytes) -> Result<(), SendError> {
        assert_eq!(channel, Channel::Registry);
        let gateway = self.gateways.read().unwrap().get(&to).cloned();
        let gateway = gateway.ok_or(SendError::NoLink(to))?;
        gateway.receive(Inbound { from: self.from, frame, credit: Credit::none() }).unwrap();
        Ok(())
    }
}

struct Process {
    view: ViewHandle,
    registry: RegistryHandle,
    coordinator: Slot<CoordinatorMessage>,
    broadcaster: Slot<BroadcasterMessage>,
    counters: Arc<Counters>,
    hooks: Arc<Seen>,
    arguments: (RegistryArguments, CoordinatorArguments, BroadcasterArguments),
    running: Vec<ActorCell>,
}

struct Cluster {
    clock: Arc<ManualClock>,
    gateways: Gateways,
    processes: BTreeMap<ProcessId, Process>,
    view: Arc<View>,
}

fn process(number: u128) -> ProcessId {
    ProcessId::from_u128(number)
}

fn bubbles(numbers: &[u128]) -> BTreeSet<BubbleId> {
    numbers.iter().map(|&number| BubbleId::from_u128(number)).collect()
}

fn member(process: ProcessId) -> Member {
    Member {
        process,
        incarnation: Incarnation(1),
        name: String::new(),
        address: "127.0.0.1:1".parse().unwrap(),
        admin: None,
    }
}

impl Process {
    fn new(
        id: ProcessId,
        clock: &Arc<ManualClock>,
        gateways: &Gateways,
        initial: Option<BTreeSet<BubbleId>>,
    ) -> Self {
        let state =
            ViewState { me: member(id), status: Status::Joining, view: None, waiting_for: vec![] };
        let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
        let view = ViewHandle::new(Arc::clone(&clock), state);
        let registry = RegistryHandle::new(view.clone(), initial);
        let counters = Arc::new(Counters::default());
        let (coordinator, broadcaster) = (Slot::new(), Slot::new());
        let nonce = BootNonce(1);
        let gateway = Gateway {
            registry: registry.slot().clone(),
            coordinator: coordinator.clone(),
            broadcaster: broadcaster.clone(),
            counters: Arc::clone(&counters),
        };
        gateways.write().unwrap().insert(id, gateway.clone());
        let from = Peer { process: id, incarnation: Incarnation(1), nonce };
        let link = Link { from, gateways: Arc::clone(gateways) };
        let post = Post::new(Arc::new(link), Arc::new(gateway), Arc::clone(&counters));
        let seen = Arc::new(Seen::default());
        let hooks: Arc<dyn Hooks> = Arc::clone(&seen) as _;
        let arguments = (
            RegistryArguments {
                clock: Arc::clone(&clock),
                nonce,
                handle: registry.clone(),
                post: post.clone(),
                hooks: Arc::clone(&hooks),
            },
            CoordinatorArguments {
                clock: Arc::clone(&clock),
                nonce,
                view: view.clone(),
                post: post.clone(),
                hooks: Arc::clone(&hooks),
                slot: coordinator.clone(),
                broadcaster: broadcaster.clone(),
                sequence: Arc::default(),
                config: Default::default(),
            },
            BroadcasterArguments {
                clock,
                nonce,
                view: view.clone(),
                post,
                hooks,
                slot: broadcaster.clone(),
                coordinator: coordinator.clone(),
                registry: registry.slot().clone(),
                config: Default::default(),
            },
        );
        let running = Vec::new();
        Self { view, registry, coordinator, broadcaster, counters, hooks: seen, arguments, running }
    }

    async fn start(&mut self) {
        let (registry, coordinator, broadcaster) = self.arguments.clone();
        let (actor, _) = Actor::spawn(None, BroadcasterActor, broadcaster).await.unwrap();
        self.running.push(actor.get_cell());
        let (actor, _) = Actor::spawn(None, CoordinatorActor, coordinator).await.unwrap();
        self.running.push(actor.get_cell());
        let (actor, _) = Actor::spawn(None, RegistryActor, registry).await.unwrap();
        self.running.push(actor.get_cell());
    }

    async fn stop(&mut self) {
        for actor in self.running.drain(..) {
            actor.stop_and_wait(None, None).await.unwrap();
        }
    }

    fn tell(&self, status: Status, view: &Arc<View>) {
        let before = self.view.current();
        let state =
            Arc::new(ViewState { status, view: Some(Arc::clone(view)), ..(*before).clone() });
        self.view.publish(Arc::clone(&state));
        let change = ViewChange::between(before.view.as_deref(), Arc::clone(view));
        let event = ViewEvent { state, change: Some(change) };
        // Whoever is not running reads the view when it starts.
        let _ = self.registry.slot().cast(RegistryMessage::View(event.clone()));
        let _ = self.broadcaster.cast(BroadcasterMessage::View(event.clone()));
        let _ = self.coordinator.cast(CoordinatorMessage::View(event));
    }

    fn set(&self, of: ProcessId) -> Option<BTreeSet<BubbleId>> {
        self.registry.bubbles_of(of)
    }
}

impl Cluster {
    /// A running cluster of that many processes, 1 to `size`, with nothing registered.
    async fn start(size: u128) -> Self {
        Self::start_with(size, |_| None).await
    }

    async fn start_with(
        size: u128,
        initial: impl Fn(ProcessId) -> Option<BTreeSet<BubbleId>>,
    ) -> Self {
        let clock = Arc::new(ManualClock::new());
        let gateways = Gateways::default();
        let first = View::first(ClusterId::from_u128(4), "c", member(process(1)));
        let mut cluster =
            Self { clock, gateways, processes: BTreeMap::new(), view: Arc::new(first) };
        for number in 1..=size {
            let id = process(number);
            let mut process = Process::new(id, &cluster.clock, &cluster.gateways, initial(id));
            process.start().await;
            cluster.processes.insert(id, process);
        }
        let members: Vec<ProcessId> = cluster.processes.keys().copied().collect();
        cluster.decide(&members, &members);
        cluster.converge().await;
        cluster
    }

    /// The next view has these members, and these processes install it.
    fn decide(&mut self, members: &[ProcessId], installers: &[ProcessId]) {
        let members = members.iter().copied().map(member).collect();
        self.view = Arc::new(self.view.successor(members).unwrap());
        for installer in installers {
            self.processes[installer].tell(Status::Active, &self.view);
        }
    }

    fn coordinator(&self) -> ProcessId {
        self.view.coordinator()
    }

    fn others(&self) -> Vec<ProcessId> {
        self.processes.keys().copied().filter(|&id| id != self.coordinator()).collect()
    }

    /// All members have stored a broadcast of the present view, the same one.
    async fn converge(&self) {
        until("all members hold the same", || {
            let mut topologies =
                self.view.members().iter().map(|m| self.processes[&m.process].registry.topology());
            let first = topologies.next().unwrap();
            first.epoch == self.view.epoch() && topologies.all(|other| other == first)
        })
        .await;
    }

    async fn register(&self, id: ProcessId, set: &[u128]) -> Result<(), RegistryError> {
        let registry = self.processes[&id].registry.clone();
        let registering = registry.register(bubbles(set), LIMIT);
        tokio::pin!(registering);
        // The clock moves only so that a broadcast need not wait for the cooldown for ever.
        loop {
            tokio::select! {
                answer = &mut registering => return answer,
                () = tokio::time::sleep(Duration::from_millis(5)) => {
                    self.clock.advance(Duration::from_millis(20));
                }
            }
        }
    }

    /// Every counter there is.
    fn counted(&self) -> Vec<u64> {
        let counters = self.processes.values().map(|process| &process.counters);
        let all = |counters: &Arc<Counters>| {
            let traffic = counters.traffic().into_iter().flat_map(|(_, row)| row);
            traffic.chain(counters.others().into_iter().map(|(_, value)| value)).collect::<Vec<_>>()
        };
        counters.flat_map(all).collect()
    }

    async fn stop(mut self) {
        for process in self.processes.values_mut() {
            process.stop().await;
        }
    }
}

async fn rest() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_registered_is_read_everywhere_and_then_nothing_moves() {
    let cluster = Cluster::start(3).await;
    for number in 1..=3 {
        cluster.register(process(number), &[number * 10, number * 10 + 1]).await.unwrap();
        // Whoever registered reads its own write at once.
        let own = &cluster.processes[&process(number)];
        assert_eq!(own.set(process(number)), Some(bubbles(&[number * 10, number * 10 + 1])));
    }
    cluster.converge().await;
    for reader in cluster.processes.values() {
        assert_eq!(reader.registry.all_processes(), (1..=3).map(process).collect());
        assert_eq!(reader.registry.all_bubbles(), bubbles(&[10, 11, 20, 21, 30, 31]));
        assert_eq!(reader.registry.find_process(BubbleId::from_u128(21)), Some(process(2)));
        assert_eq!(reader.registry.find_process(BubbleId::from_u128(99)), None);
        assert_eq!(reader.set(process(9)), None);
    }
    rest().await;
    let before = cluster.counted();
    for _ in 0..30 {
        cluster.clock.advance(Duration::from_secs(1));
        rest().await;
    }
    assert_eq!(cluster.counted(), before, "an idle cluster sends nothing and runs no timer");
    cluster.stop().await;
}

#[tokio::test]
async fn initial_bubbles_register_themselves_on_admission() {
    let cluster = Cluster::start_with(2, |id| Some(bubbles(&[id.0.as_u128()]))).await;
    until("both are registered", || {
        cluster.clock.advance(Duration::from_millis(10));
        cluster.processes.values().all(|p| p.registry.all_bubbles() == bubbles(&[1, 2]))
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn unregistering_and_the_empty_set_differ() {
    let cluster = Cluster::start(2).await;
    cluster.register(process(1), &[]).await.unwrap();
    assert_eq!(cluster.processes[&process(1)].set(process(1)), Some(bubbles(&[])));
    cluster.clock.advance(COOLDOWN);
    cluster.processes[&process(1)].registry.unregister(LIMIT).await.unwrap();
    assert_eq!(cluster.processes[&process(1)].set(process(1)), None);
    cluster.stop().await;
}

#[tokio::test]
async fn a_bubble_of_another_is_refused_reported_and_the_rest_is_registered() {
    let cluster = Cluster::start(3).await;
    cluster.register(process(3), &[7]).await.unwrap();
    let refused = cluster.register(process(1), &[7, 8]).await;
    let (bubble, by) = (BubbleId::from_u128(7), process(3));
    assert_eq!(refused, Err(RegistryError::BubbleClaimed { bubble, by }));
    let first = &cluster.processes[&process(1)];
    assert_eq!(first.set(process(1)), Some(bubbles(&[8])));
    assert_eq!(*first.hooks.claimed.lock().unwrap(), [(bubble, by)]);
    cluster.stop().await;
}

#[tokio::test]
async fn requests_that_cannot_be_granted_are_refused_at_once() {
    let cluster = Cluster::start(2).await;
    cluster.register(process(1), &[1, 2]).await.unwrap();
    let first = &cluster.processes[&process(1)];
    first.hooks.full.lock().unwrap().insert(BubbleId::from_u128(2));
    let bubble = BubbleId::from_u128(2);
    let register = |set: BTreeSet<BubbleId>| first.registry.register(set, LIMIT);
    assert_eq!(register(bubbles(&[1])).await, Err(RegistryError::BubbleNotEmpty { bubble }));
    assert_eq!(
        first.registry.unregister(LIMIT).await,
        Err(RegistryError::BubbleNotEmpty { bubble })
    );
    assert_eq!(register(bubbles(&[0])).await, Err(RegistryError::NilId));
    let many = (1..=4_097).map(BubbleId::from_u128).collect();
    assert_eq!(register(many).await, Err(RegistryError::TooManyBubbles { count: 4_097 }));
    first.tell(Status::Isolated, &cluster.view);
    assert!(matches!(register(bubbles(&[1, 2, 3])).await, Err(RegistryError::Isolated(_))));
    assert_eq!(first.set(process(1)), Some(bubbles(&[1, 2])), "reads go on");
    first.tell(Status::Left, &cluster.view);
    assert_eq!(register(bubbles(&[1, 2, 3])).await, Err(RegistryError::NotMember));
    cluster.stop().await;
}

#[tokio::test]
async fn the_first_change_goes_at_once_and_the_next_with_the_end_of_the_cooldown() {
    let cluster = Cluster::start(1).await;
    let one = &cluster.processes[&process(1)];
    let broadcasts = || one.counters.get(Counter::Broadcasts);
    let opening = broadcasts();
    one.registry.register(bubbles(&[1]), LIMIT).await.unwrap();
    assert_eq!(broadcasts(), opening + 1, "without the clock having moved");
    let mut answers = Vec::new();
    for last in 2..=5 {
        let registry = one.registry.clone();
        answers.push(tokio::spawn(async move { registry.register(bubbles(&[last]), LIMIT).await }));
        rest().await;
    }
    cluster.clock.advance(COOLDOWN - Duration::from_millis(1));
    rest().await;
    assert_eq!(broadcasts(), opening + 1);
    cluster.clock.advance(Duration::from_millis(1));
    let last = answers.pop().unwrap().await.unwrap();
    assert_eq!(last, Ok(()));
    assert_eq!(broadcasts(), opening + 2, "one for all, and it carries the last state");
    assert_eq!(one.set(process(1)), Some(bubbles(&[5])));
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Err(RegistryError::Superseded));
    }
    cluster.stop().await;
}

#[tokio::test]
async fn a_lost_coordinator_takes_its_bubbles_along_and_the_rest_survives() {
    let mut cluster = Cluster::start(3).await;
    for number in 1..=3 {
        cluster.register(process(number), &[number]).await.unwrap();
    }
    cluster.converge().await;
    let (lost, rest) = (cluster.coordinator(), cluster.others());
    cluster.gateways.write().unwrap().remove(&lost);
    cluster.decide(&rest, &rest);
    for survivor in &rest {
        // With the view, before any message.
        assert_eq!(cluster.processes[survivor].set(lost), None);
    }
    cluster.converge().await;
    let hosted: BTreeSet<BubbleId> = rest.iter().map(|id| BubbleId(id.0)).collect();
    for survivor in &rest {
        assert_eq!(cluster.processes[survivor].registry.all_bubbles(), hosted);
    }
    // What it hosted is free again.
    cluster.register(rest[0], &[rest[0].0.as_u128(), lost.0.as_u128()]).await.unwrap();
    cluster.stop().await;
}

#[tokio::test]
async fn a_message_of_an_older_view_is_refused_and_brings_the_news() {
    let mut cluster = Cluster::start(3).await;
    let (coordinator, others) = (cluster.coordinator(), cluster.others());
    let (removed, stays) = (others[0], others[1]);
    cluster.decide(&[coordinator, stays], &[coordinator, stays]);
    cluster.converge().await;
    // It does not know yet that it was removed.
    let registry = cluster.processes[&removed].registry.clone();
    let late = tokio::spawn(async move { registry.register(bubbles(&[66]), LIMIT).await });
    let hooks = &cluster.processes[&removed].hooks;
    until("it hears of the newer view", || !hooks.newer.lock().unwrap().is_empty()).await;
    assert_eq!(hooks.newer.lock().unwrap()[0], (coordinator, cluster.view.term()));
    assert!(cluster.processes[&coordinator].counters.get(Counter::Stale) > 0);
    cluster.clock.advance(LIMIT);
    assert_eq!(late.await.unwrap(), Err(RegistryError::Timeout));
    let bubble = BubbleId::from_u128(66);
    assert_eq!(cluster.processes[&coordinator].registry.find_process(bubble), None);
    cluster.stop().await;
}

#[tokio::test]
async fn a_message_of_a_newer_view_waits_for_it() {
    let mut cluster = Cluster::start(3).await;
    let (coordinator, others) = (cluster.coordinator(), cluster.others());
    let all: Vec<ProcessId> = cluster.processes.keys().copied().collect();
    let slow = others[0];
    cluster.decide(&all, &[coordinator, others[1]]);
    let behind = &cluster.processes[&slow];
    until("it keeps an update", || behind.counters.get(Counter::Held) > 0).await;
    assert_ne!(behind.registry.topology().epoch, cluster.view.epoch());
    behind.tell(Status::Active, &cluster.view);
    cluster.converge().await;
    cluster.stop().await;
}

#[tokio::test]
async fn restarted_actors_go_on_without_a_change_of_view() {
    let mut cluster = Cluster::start(3).await;
    for number in 1..=3 {
        cluster.register(process(number), &[number]).await.unwrap();
    }
    for id in [cluster.coordinator(), cluster.others()[0]] {
        let process = cluster.processes.get_mut(&id).unwrap();
        process.stop().await;
        assert_eq!(process.set(id), Some(bubbles(&[id.0.as_u128()])), "readable all the time");
        let refused = process.registry.register(bubbles(&[9]), LIMIT).await;
        assert_eq!(refused, Err(RegistryError::NotRunning));
        process.start().await;
        let number = id.0.as_u128();
        cluster.register(id, &[number, number + 100]).await.unwrap();
    }
    cluster.converge().await;
    assert_eq!(cluster.processes[&process(1)].registry.all_bubbles().len(), 5);
    cluster.stop().await;
}

#[tokio::test]
async fn garbage_and_forged_senders_are_typed_errors_and_counted() {
    let cluster = Cluster::start(1).await;
    let gateway = cluster.gateways.read().unwrap()[&process(1)].clone();
    let from = Peer { process: process(2), incarnation: Incarnation(1), nonce: BootNonce(1) };
    let garbage = Inbound { from, frame: Bytes::from_static(b"garbage"), credit: Credit::none() };
    assert!(gateway.receive(garbage).is_err());
    let other = Peer { process: process(3), ..from };
    let term = Some(cluster.view.term());
    let message = lampyrid_registry::RegistryWire::Stale;
    let sealed = lampyrid_wire::Envelope::seal(other, term, &message).unwrap();
    let frame = Bytes::from(lampyrid_wire::encode(&sealed).unwrap());
    assert!(gateway.receive(Inbound { from, frame, credit: Credit::none() }).is_err());
    assert_eq!(gateway.counters.get(Counter::Malformed), 2);
    cluster.stop().await;
}

//! The actors over an in-memory network: what the cores cannot show.
// Helpers outside of `#[test]` functions are tests as well.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lampyrid_membership::{
    AcceptorState, AcceptorStore, AcceptorStoreError, Counters, Ended, LinkControl, LinkEvent,
    MembershipActor, MembershipArguments, MembershipConfig, MembershipMessage, MembershipPort,
    MemoryStore, Pace, ProbeOutcome, Protocol, Status, StopReason, View, ViewEvent, ViewHandle,
    ViewState, frame, start_identity,
};
use lampyrid_wire::{
    BootNonce, Channel, Clock, ClusterId, Credit, Inbound, Incarnation, ManualClock, Member,
    Outbound, Peer, ProcessId, SendError, SystemClock,
};
use ractor::{Actor, ActorRef};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

async fn until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[derive(Default)]
struct Network {
    nodes: BTreeMap<SocketAddr, Ends>,
    sessions: BTreeSet<(SocketAddr, SocketAddr)>,
    /// Whose frames are lost, in and out.
    deaf: BTreeSet<SocketAddr>,
}

struct Ends {
    peer: Peer,
    port: MembershipPort,
    keep: Vec<SocketAddr>,
    seek: Vec<SocketAddr>,
}

impl Network {
    fn address_of(&self, process: ProcessId) -> Option<SocketAddr> {
        self.nodes.iter().find(|(_, ends)| ends.peer.process == process).map(|(&at, _)| at)
    }

    fn connect(&mut self) {
        let addresses: Vec<SocketAddr> = self.nodes.keys().copied().collect();
        for &a in &addresses {
            for &b in addresses.iter().filter(|&&b| b > a) {
                let wants = |from: &SocketAddr, to: &SocketAddr| {
                    let ends = &self.nodes[from];
                    ends.keep.contains(to) || ends.seek.contains(to)
                };
                let deaf = self.deaf.contains(&a) || self.deaf.contains(&b);
                if (wants(&a, &b) || wants(&b, &a)) && !deaf && self.sessions.insert((a, b)) {
                    self.nodes[&a].port.link(LinkEvent::Up(self.nodes[&b].peer));
                    self.nodes[&b].port.link(LinkEvent::Up(self.nodes[&a].peer));
                }
            }
        }
    }

    fn disconnect(&mut self, at: SocketAddr) {
        let ended: Vec<_> =
            self.sessions.iter().copied().filter(|&(a, b)| a == at || b == at).collect();
        for (a, b) in ended {
            self.sessions.remove(&(a, b));
            for (one, other) in [(a, b), (b, a)] {
                if let (Some(ends), Some(gone)) = (self.nodes.get(&one), self.nodes.get(&other)) {
                    ends.port.link(LinkEvent::Down(gone.peer));
                }
            }
        }
    }
}

#[derive(Clone)]
struct Links {
    network: Arc<Mutex<Network>>,
    at: SocketAddr,
}

impl Outbound for Links {
    fn send(&self, to: ProcessId, _: Channel, frame: Bytes) -> Result<(), SendError> {
        let network = self.network.lock().unwrap();
        let there = network.address_of(to).ok_or(SendError::NoLink(to))?;
        let key = (self.at.min(there), self.at.max(there));
        if !network.sessions.contains(&key) {
            return Err(SendError::NoLink(to));
        }
        if !network.deaf.contains(&self.at) && !network.deaf.contains(&there) {
            let from = network.nodes[&self.at].peer;
            let inbound = Inbound { from, frame, credit: Credit::none() };
            network.nodes[&there].port.inbound(inbound);
        }
        Ok(())
    }
}

impl LinkControl for Links {
    fn keep(&self, members: Vec<Member>) {
        let mut network = self.network.lock().unwrap();
        if let Some(ends) = network.nodes.get_mut(&self.at) {
            ends.keep = members.iter().map(|member| member.address).collect();
        }
        network.connect();
    }

    fn seek(&self, addresses: Vec<SocketAddr>) {
        let mut network = self.network.lock().unwrap();
        if let Some(ends) = network.nodes.get_mut(&self.at) {
            ends.seek = addresses;
        }
        network.connect();
    }

    fn set_cluster(&self, _: ClusterId) {}

    fn set_incarnation(&self, incarnation: Incarnation) {
        let mut network = self.network.lock().unwrap();
        network.disconnect(self.at);
        if let Some(ends) = network.nodes.get_mut(&self.at) {
            ends.peer.incarnation = incarnation;
        }
        network.connect();
    }

    fn probe(
        &self,
        address: SocketAddr,
        _: Duration,
    ) -> Pin<Box<dyn Future<Output = ProbeOutcome> + Send>> {
        let there = self.network.lock().unwrap().nodes.contains_key(&address);
        let outcome = if there { ProbeOutcome::Accepted } else { ProbeOutcome::Refused };
        Box::pin(std::future::ready(outcome))
    }
}

/// A store that can be made to fail.
#[derive(Clone, Default)]
struct Store {
    inner: MemoryStore,
    fails: Arc<AtomicBool>,
}

impl AcceptorStore for Store {
    fn load(&self) -> Result<Option<AcceptorState>, AcceptorStoreError> {
        self.inner.load()
    }

    fn save(&self, state: &AcceptorState) -> Result<(), AcceptorStoreError> {
        if self.fails.load(Ordering::SeqCst) {
            let reason = "no space left".to_owned();
            return Err(AcceptorStoreError::Io { action: "written", reason });
        }
        self.inner.save(state)
    }
}

struct Node {
    at: SocketAddr,
    arguments: MembershipArguments,
    actor: ActorRef<MembershipMessage>,
    store: Store,
    events: Arc<Mutex<Vec<ViewEvent>>>,
    ended: Arc<Mutex<Option<Ended>>>,
}

impl Node {
    fn state(&self) -> Arc<ViewState> {
        self.arguments.handle.current()
    }

    fn view(&self) -> Option<Arc<View>> {
        self.state().view.clone()
    }

    fn epoch(&self) -> u64 {
        self.view().map_or(0, |view| view.epoch().0)
    }

    fn timers(&self) -> u64 {
        self.arguments.counters.timers.load(Ordering::Relaxed)
    }
}

fn address(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], number))
}

#[derive(Clone)]
struct World {
    network: Arc<Mutex<Network>>,
    clock: Arc<dyn Clock>,
}

impl World {
    fn new() -> Self {
        Self { network: Arc::default(), clock: Arc::new(SystemClock::new()) }
    }

    async fn start(&self, number: u16, store: Store) -> Node {
        let at = address(number);
        let fresh = ProcessId::from_u128(u128::from(number));
        let state = start_identity(&store, fresh).unwrap();
        let nonce = BootNonce(rand_like());
        let port = MembershipPort::new();
        let peer = Peer { process: state.process, incarnation: state.incarnation, nonce };
        let ends = Ends { peer, port: port.clone(), keep: Vec::new(), seek: Vec::new() };
        self.network.lock().unwrap().nodes.insert(at, ends);
        let me = Member {
            process: state.process,
            incarnation: state.incarnation,
            name: format!("n{number}"),
            address: at,
            admin: None,
        };
        let first = ViewState {
            me: me.clone(),
            status: Status::Joining,
            view: None,
            waiting_for: Vec::new(),
        };
        let links = Links { network: Arc::clone(&self.network), at };
        let ended: Arc<Mutex<Option<Ended>>> = Arc::default();
        let events: Arc<Mutex<Vec<ViewEvent>>> = Arc::default();
        let told = Arc::clone(&events);
        port.subscribe(Arc::new(move |event| told.lock().unwrap().push(event)));
        let end = Arc::clone(&ended);
        let arguments = MembershipArguments {
            clock: Arc::clone(&self.clock),
            outbound: Arc::new(links.clone()),
            links: Arc::new(links),
            store: Arc::new(store.clone()),
            me,
            nonce,
            config: MembershipConfig {
                cluster_name: "test".to_owned(),
                seeds: if number == 1 { Vec::new() } else { vec![address(1)] },
                found: (number == 1).then(|| ClusterId::from_u128(9)),
                jitter: u64::from(number),
                pace: Pace::default(),
            },
            handle: ViewHandle::new(Arc::clone(&self.clock), first),
            port,
            counters: Arc::new(Counters::default()),
            ended: Arc::new(move |how| *end.lock().unwrap() = Some(how)),
        };
        let (actor, _) = Actor::spawn(None, MembershipActor, arguments.clone()).await.unwrap();
        Node { at, arguments, actor, store, events, ended }
    }

    /// The process is gone from one moment to the next.
    async fn kill(&self, node: &Node) {
        node.actor.get_cell().kill();
        let mut network = self.network.lock().unwrap();
        network.disconnect(node.at);
        network.nodes.remove(&node.at);
    }

    async fn three(&self) -> [Node; 3] {
        let nodes = [
            self.start(1, Store::default()).await,
            self.start(2, Store::default()).await,
            self.start(3, Store::default()).await,
        ];
        agreed(&nodes.iter().collect::<Vec<_>>()).await;
        nodes
    }
}

/// Differs from call to call, which is all that a nonce needs.
fn rand_like() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

async fn agreed(nodes: &[&Node]) {
    until("all active in one view", || {
        let first = nodes[0].view();
        nodes.iter().all(|node| {
            let state = node.state();
            state.status == Status::Active
                && state.view == first
                && state.view.as_ref().is_some_and(|view| view.size() == nodes.len())
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_member_is_out_at_once_and_back_when_it_starts_again() {
    let world = World::new();
    let [one, two, three] = world.three().await;
    let before = one.epoch();
    let start = Instant::now();
    world.kill(&two).await;
    agreed(&[&one, &three]).await;
    eprintln!("from kill to the new view: {:?}", start.elapsed());
    assert_eq!(one.epoch(), before + 1);
    let two = world.start(2, two.store.clone()).await;
    agreed(&[&one, &two, &three]).await;
    assert_eq!(two.state().me.incarnation, Incarnation(2));
    assert_eq!(one.epoch(), before + 2);
    for node in [&one, &three] {
        let events = node.events.lock().unwrap();
        let told: Vec<u64> =
            events.iter().filter_map(|e| Some(e.change.as_ref()?.view.epoch().0)).collect();
        assert!(told.windows(2).all(|pair| pair[0] < pair[1]), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_member_is_out_knows_it_and_comes_back_by_itself() {
    let world = World::new();
    let [one, two, three] = world.three().await;
    world.network.lock().unwrap().deaf.insert(three.at);
    until("isolated", || three.arguments.handle.status() == Status::Isolated).await;
    assert!(three.arguments.handle.permit().is_err());
    agreed(&[&one, &two]).await;
    {
        let mut network = world.network.lock().unwrap();
        network.deaf.clear();
        network.connect();
    }
    agreed(&[&one, &two, &three]).await;
    assert_eq!(three.state().me.incarnation, Incarnation(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_actor_goes_on_without_a_view_change() {
    let world = World::new();
    let [one, mut two, three] = world.three().await;
    let (before, told) = (two.epoch(), two.events.lock().unwrap().len());
    two.actor.stop_and_wait(None, None).await.unwrap();
    let (actor, _) = Actor::spawn(None, MembershipActor, two.arguments.clone()).await.unwrap();
    two.actor = actor;
    world.kill(&three).await;
    agreed(&[&one, &two]).await;
    assert_eq!(two.epoch(), before + 1);
    assert_eq!(two.state().me.incarnation, Incarnation(1));
    let events = two.events.lock().unwrap();
    let changes = events[told..].iter().filter(|event| event.change.is_some()).count();
    assert_eq!(changes, 1, "the removal, and nothing twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_write_ends_membership_and_nothing_is_answered_from_it() {
    let world = World::new();
    let [one, two, three] = world.three().await;
    two.store.fails.store(true, Ordering::SeqCst);
    world.kill(&three).await;
    until("ended", || two.ended.lock().unwrap().is_some()).await;
    assert!(matches!(*two.ended.lock().unwrap(), Some(Ended::Stopped(StopReason::StoreFailed(_)))));
    assert!(two.arguments.handle.permit().is_err());
    until("the other waits", || one.arguments.handle.status() == Status::Isolated).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaver_may_go_once_the_others_have_agreed() {
    let world = World::new();
    let [one, two, three] = world.three().await;
    ractor::call!(two.actor, MembershipMessage::Leave).unwrap();
    assert_eq!(*two.ended.lock().unwrap(), Some(Ended::Left));
    agreed(&[&one, &three]).await;
}

#[tokio::test]
async fn garbage_costs_itself_only() {
    let world = World::new();
    let node = world.start(1, Store::default()).await;
    until("alone", || node.state().status == Status::Active).await;
    let stranger = Peer {
        process: ProcessId::from_u128(77),
        incarnation: Incarnation(1),
        nonce: BootNonce(1),
    };
    let query = frame::seal(None, &Protocol::Query).unwrap();
    let cut = query[..query.len() - 1].to_vec();
    let long = [query.as_slice(), &[0]].concat();
    for frame in [vec![], vec![0xc1; 40], cut, long] {
        let frame = Bytes::from(frame);
        node.arguments.port.inbound(Inbound { from: stranger, frame, credit: Credit::none() });
    }
    let counters = &node.arguments.counters;
    until("all counted", || counters.undecodable.load(Ordering::Relaxed) == 4).await;
    assert_eq!(node.state().status, Status::Active);
}

#[tokio::test]
async fn a_cluster_of_one_sets_no_timer_and_its_status_holds_for_good() {
    let clock = ManualClock::new();
    let world = World { network: Arc::default(), clock: Arc::new(clock.clone()) };
    let node = world.start(1, Store::default()).await;
    until("alone", || node.state().status == Status::Active).await;
    clock.advance(Duration::from_secs(86_400));
    assert!(node.arguments.handle.permit().is_ok());
    // Whatever the clock has set off is in the mailbox before this.
    node.actor.stop_and_wait(None, None).await.unwrap();
    assert_eq!(node.timers(), 0);
}

#[tokio::test]
async fn a_process_that_was_frozen_permits_nothing_even_before_its_actors_run() {
    let clock = ManualClock::new();
    let world = World { network: Arc::default(), clock: Arc::new(clock.clone()) };
    let one = world.start(1, Store::default()).await;
    let two = world.start(2, Store::default()).await;
    // Who asks to be let in waits a moment for others that may come with it.
    until("the joiner is in", || {
        clock.advance(Duration::from_millis(1));
        one.view().is_some_and(|view| view.size() == 2)
    })
    .await;
    agreed(&[&one, &two]).await;
    assert!(one.arguments.handle.permit().is_ok());
    // On a runtime of one thread no actor runs between these lines.
    clock.advance(Duration::from_secs(5));
    assert!(one.arguments.handle.permit().is_err());
    assert_eq!(one.arguments.handle.status(), Status::Isolated);
    agreed(&[&one, &two]).await;
    until("both answered", || {
        [&one, &two].iter().all(|node| node.arguments.handle.permit().is_ok())
    })
    .await;
    assert_eq!(one.state().me.incarnation, Incarnation(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_edge_monitor_is_started_again_and_observes_on() {
    let world = World::new();
    let [one, two, three] = world.three().await;
    for monitor in one.actor.get_children() {
        monitor.kill();
    }
    let counters = &one.arguments.counters;
    until("mended", || counters.monitor_restarts.load(Ordering::Relaxed) == 2).await;
    until("both run", || one.actor.get_children().len() == 2).await;
    let before = one.epoch();
    world.kill(&two).await;
    agreed(&[&one, &three]).await;
    assert_eq!(one.epoch(), before + 1);
}

//! Each actor by itself, as docs/testing.md shows: a clock and a view that a test moves, and a
//! recorder in place of the links.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lampyrid::testkit::actors::*;
use lampyrid::testkit::{Asked, Clock, ManualClock, ManualView, Recorder, Sent, member};
use lampyrid::{
    BubbleId, ClusterId, Expected, Limits, Member, MigrateRequest, MigrationCounters,
    MigrationHandle, NewEntities, Outcome, RegistryHandle, SagaState, Status, View,
};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::mpsc::UnboundedSender;

const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until something comes of it.
async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"))
}

fn cluster() -> ClusterId {
    ClusterId::from_u128(1)
}

/// The two members of a view, the coordinator first.
fn two() -> [Member; 2] {
    let view = View::first(cluster(), "test", member(1));
    let view = view.successor(vec![member(1), member(2)]).unwrap();
    let coordinator = view.coordinator();
    let [first, second] = [member(1), member(2)];
    if first.process == coordinator { [first, second] } else { [second, first] }
}

fn peer(member: &Member) -> Peer {
    Peer { process: member.process, incarnation: member.incarnation, nonce: BootNonce(1) }
}

/// What the registry's actors share: the post of one process, with a recorder behind it.
struct Desk {
    clock: Arc<ManualClock>,
    view: ManualView,
    recorder: Recorder,
    registry: RegistryHandle,
    gateway: Gateway,
    post: Post,
}

fn desk(me: Member) -> Desk {
    let clock = Arc::new(ManualClock::new());
    let view = ManualView::new(Arc::clone(&clock) as Arc<dyn Clock>, cluster(), me);
    let registry = RegistryHandle::new(view.handle().clone(), None);
    let counters = Arc::new(RegistryFigures::default());
    let gateway = Gateway {
        registry: registry.slot().clone(),
        coordinator: Slot::new(),
        broadcaster: Slot::new(),
        counters: Arc::clone(&counters),
    };
    let recorder = Recorder::new();
    let post = Post::new(Arc::new(recorder.clone()), Arc::new(gateway.clone()), counters);
    Desk { clock, view, recorder, registry, gateway, post }
}

#[tokio::test]
async fn membership_alone_founds_a_cluster_and_keeps_links_with_whom_its_view_has() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new());
    let (recorder, port) = (Recorder::new(), MembershipPort::new());
    let store = MemoryAcceptor::new();
    let identity = start_identity(&store, member(1).process).unwrap();
    let me = Member { incarnation: identity.incarnation, ..member(1) };
    let view = ManualView::new(Arc::clone(&clock), cluster(), me.clone());
    let arguments = MembershipArguments {
        clock,
        outbound: Arc::new(recorder.clone()),
        links: Arc::new(recorder.clone()),
        store: Arc::new(store),
        me,
        nonce: BootNonce(1),
        config: MembershipConfig {
            cluster_name: "test".to_owned(),
            seeds: Vec::new(),
            found: Some(cluster()),
            jitter: 1,
            pace: Pace::default(),
        },
        handle: view.handle().clone(),
        port,
        counters: Arc::new(MembershipFigures::default()),
        ended: Arc::new(|ended| panic!("{ended:?}")),
    };
    let (actor, _) = Actor::spawn(None, MembershipActor, arguments).await.unwrap();
    until("it is active", || (view.handle().status() == Status::Active).then_some(())).await;
    let founded = view.handle().current().view.clone().unwrap();
    assert_eq!((founded.epoch().0, founded.size()), (1, 1));
    assert!(recorder.asked().contains(&Asked::Cluster(cluster())));
    assert!(recorder.sent().is_empty(), "there is nobody to talk to");
    actor.stop_and_wait(None, None).await.unwrap();
}

#[tokio::test]
async fn the_registry_alone_asks_the_coordinator_of_its_view() {
    let [coordinator, me] = two();
    let mut desk = desk(me.clone());
    let arguments = RegistryArguments {
        clock: desk.clock.clone(),
        nonce: BootNonce(1),
        handle: desk.registry.clone(),
        post: desk.post.clone(),
        hooks: Arc::new(NoHooks),
    };
    let (actor, _) = Actor::spawn(None, RegistryActor, arguments).await.unwrap();
    let event = desk.view.set_members(vec![coordinator.clone(), me]);
    actor.cast(RegistryMessage::View(event)).unwrap();
    let (registry, limit) = (desk.registry.clone(), Duration::from_secs(5));
    let bubbles = BTreeSet::from([BubbleId::from_u128(10)]);
    let answer = tokio::spawn(async move { registry.register(bubbles, limit).await });
    let sent = until("it asks", || desk.recorder.sent().pop()).await;
    assert_eq!((sent.to, sent.channel), (coordinator.process, Channel::Registry));
    // Nobody answers, and time passes only here.
    assert!(!answer.is_finished());
    until("it gives up", || {
        desk.clock.advance(Duration::from_secs(1));
        answer.is_finished().then_some(())
    })
    .await;
    assert!(answer.await.unwrap().is_err());
    actor.stop_and_wait(None, None).await.unwrap();
}

fn coordinator(desk: &Desk) -> CoordinatorArguments {
    CoordinatorArguments {
        clock: desk.clock.clone(),
        nonce: BootNonce(1),
        view: desk.view.handle().clone(),
        post: desk.post.clone(),
        hooks: Arc::new(NoHooks),
        slot: desk.gateway.coordinator.clone(),
        broadcaster: desk.gateway.broadcaster.clone(),
        sequence: Arc::default(),
        config: CoordinatorConfig::default(),
    }
}

#[tokio::test]
async fn the_coordinator_alone_gathers_what_the_members_of_its_view_host() {
    let [me, other] = two();
    let mut desk = desk(me.clone());
    let arguments = coordinator(&desk);
    let (actor, _) = Actor::spawn(None, CoordinatorActor, arguments).await.unwrap();
    let event = desk.view.set_members(vec![me, other.clone()]);
    actor.cast(CoordinatorMessage::View(event)).unwrap();
    let sent = until("it asks the other member", || desk.recorder.sent().pop()).await;
    assert_eq!((sent.to, sent.channel), (other.process, Channel::Registry));
    actor.stop_and_wait(None, None).await.unwrap();
}

/// Stands in for the broadcaster: passes on what it is to publish.
struct Listener;

impl Actor for Listener {
    type Msg = BroadcasterMessage;
    type State = UnboundedSender<Publication>;
    type Arguments = UnboundedSender<Publication>;

    async fn pre_start(
        &self,
        _: ActorRef<BroadcasterMessage>,
        to: UnboundedSender<Publication>,
    ) -> Result<UnboundedSender<Publication>, ActorProcessingErr> {
        Ok(to)
    }

    async fn handle(
        &self,
        _: ActorRef<BroadcasterMessage>,
        message: BroadcasterMessage,
        to: &mut UnboundedSender<Publication>,
    ) -> Result<(), ActorProcessingErr> {
        if let BroadcasterMessage::Publish(publication) = message {
            to.send(publication)?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_tick_of_the_coordinator_alone_publishes_what_it_has_gathered() {
    let [me, other] = two();
    let mut desk = desk(me.clone());
    let (to, mut published) = tokio::sync::mpsc::unbounded_channel();
    let (listener, _) = Actor::spawn(None, Listener, to).await.unwrap();
    desk.gateway.broadcaster.fill(listener.clone());
    let arguments = coordinator(&desk);
    let config = arguments.config.clone();
    let (actor, _) = Actor::spawn(None, CoordinatorActor, arguments).await.unwrap();
    let event = desk.view.set_members(vec![me, other]);
    let view = event.state.view.clone().unwrap();
    actor.cast(CoordinatorMessage::View(event)).unwrap();
    until("it asks the other member", || desk.recorder.sent().pop()).await;
    // The other member says nothing. As long as no time passes, that is waited for.
    assert!(published.try_recv().is_err());
    desk.clock.advance(config.gather);
    let publication = until("it waits no longer", || published.try_recv().ok()).await;
    assert_eq!(publication.term, view.term());
    assert!(publication.table.is_empty(), "nobody has told of anything");
    actor.stop_and_wait(None, None).await.unwrap();
    listener.stop_and_wait(None, None).await.unwrap();
}

#[tokio::test]
async fn the_broadcaster_alone_brings_what_the_coordinator_gives_it_to_all_members() {
    let [me, other] = two();
    let mut desk = desk(me.clone());
    let arguments = BroadcasterArguments {
        clock: desk.clock.clone(),
        nonce: BootNonce(1),
        view: desk.view.handle().clone(),
        post: desk.post.clone(),
        hooks: Arc::new(NoHooks),
        slot: desk.gateway.broadcaster.clone(),
        coordinator: desk.gateway.coordinator.clone(),
        registry: desk.gateway.registry.clone(),
        config: BroadcasterConfig::default(),
    };
    let (actor, _) = Actor::spawn(None, BroadcasterActor, arguments).await.unwrap();
    let event = desk.view.set_members(vec![me, other.clone()]);
    let view = event.state.view.clone().unwrap();
    actor.cast(BroadcasterMessage::View(event)).unwrap();
    let publication = Publication {
        term: view.term(),
        version: Version { epoch: view.epoch(), sequence: 0 },
        fresh: true,
        table: Arc::new(BTreeMap::new()),
    };
    actor.cast(BroadcasterMessage::Publish(publication)).unwrap();
    let sent = until("it goes out", || desk.recorder.sent().pop()).await;
    assert_eq!((sent.to, sent.channel), (other.process, Channel::Registry));
    actor.stop_and_wait(None, None).await.unwrap();
}

struct AllAt(Member);

impl Directory for AllAt {
    fn host_of(&self, bubble: BubbleId) -> Option<lampyrid::ProcessId> {
        (bubble == BubbleId::from_u128(20)).then_some(self.0.process)
    }
}

#[tokio::test]
async fn a_saga_alone_sends_stage_once_its_entities_are_frozen_and_gives_up_in_time() {
    let [other, me] = two();
    let clock = Arc::new(ManualClock::new());
    let mut view = ManualView::new(Arc::clone(&clock) as Arc<dyn Clock>, cluster(), me.clone());
    let _ = view.set_members(vec![me.clone(), other.clone()]);
    let (recorder, slot) = (Recorder::new(), Slot::new());
    let counters = Arc::new(MigrationCounters::default());
    let own = peer(&me);
    let arguments = MigrationArguments {
        me: Arc::new(move || own),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        outbound: Arc::new(recorder.clone()),
        view: view.handle().clone(),
        journal: JournalSource::memory(),
        storage: Storage::Durable,
        hooks: None,
        limits: Limits::default(),
        slot: slot.clone(),
        on_stale: Arc::new(|_, _| {}),
        sagas: Arc::new(lampyrid::testkit::actors::NoObserver),
        spans: None,
        on_hosting: Arc::new(|| {}),
        on_drained: Arc::new(|| {}),
        on_barred: Arc::new(|_| {}),
        directory: Arc::new(AllAt(other.clone())),
        counters: Arc::clone(&counters),
    };
    let (actor, _) = Actor::spawn(None, MigrationActor, arguments).await.unwrap();
    let directory = Arc::new(AllAt(other.clone()));
    let handle =
        MigrationHandle::new(slot, Arc::clone(&clock) as Arc<dyn Clock>, directory, counters);
    let here = handle.create_bubble(None).await.unwrap();
    let ids = handle.create(here, NewEntities::One(None), Bytes::from_static(b"x")).await.unwrap();
    let entities = ids.iter().map(|&id| Expected { id, epoch: None }).collect();
    let to = BubbleId::from_u128(20);
    let request = MigrateRequest { entities, to, idempotency_key: None };
    let saga = handle.migrate(request).await.unwrap();
    let stage = |sent: Sent| match sent.envelope().unwrap().open::<SagaMessage>().unwrap() {
        SagaMessage::Stage { entities, .. } => Some((sent.to, entities.len())),
        _ => None,
    };
    let staged = until("STAGE is sent", || recorder.sent().into_iter().find_map(stage)).await;
    assert_eq!(staged, (other.process, 1));
    // Its destination never answers.
    let over = async {
        loop {
            clock.advance(Duration::from_millis(500));
            let report = handle.saga(saga).await.unwrap().unwrap();
            if report.state == SagaState::Done {
                return report;
            }
        }
    };
    let report = tokio::time::timeout(PATIENCE, over).await.expect("it gives up");
    assert!(matches!(report.entities[0].outcome, Outcome::Aborted { .. }), "{report:?}");
    actor.stop_and_wait(None, None).await.unwrap();
}

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lampyrid_membership::{Status, View, ViewHandle, ViewState};
use lampyrid_wire::{
    BootNonce, BubbleId, Channel, Clock, ClusterId, Credit, EntityId, Envelope, Inbound,
    Incarnation, ManualClock, Member, Outbound, Peer, ProcessId, SendError, Slot, SystemClock,
    decode, encode,
};
use ractor::{Actor, ActorRef};
use tokio::task::JoinHandle;

use crate::{
    Directory, EntityStatus, Expected, HostStore, Image, Journal, JournalError, JournalSource,
    Limits, MemoryJournal, MemoryStore, Message, MigrateRequest, MigrationActor,
    MigrationArguments, MigrationCounters, MigrationHandle, MigrationMessage, NewEntities,
    NoObserver, Outcome, Reason, Record, SagaReport, SagaState, StatusFilter, Storage,
    open_database,
};

/// Links between actors of one test: frames arrive at once, unless a link is cut.
#[derive(Default)]
struct Net {
    slots: Mutex<BTreeMap<ProcessId, (Peer, Slot<MigrationMessage>)>>,
    cut: Mutex<bool>,
    /// That process hears so many more messages, and then none.
    deaf: Mutex<Option<(ProcessId, u32)>>,
    /// Aborts are lost.
    mute: Mutex<bool>,
}

struct Link {
    net: Arc<Net>,
    me: Peer,
}

impl Outbound for Link {
    fn send(&self, to: ProcessId, channel: Channel, frame: Bytes) -> Result<(), SendError> {
        assert_eq!(channel, Channel::Migration);
        if *self.net.cut.lock().unwrap() {
            return Err(SendError::NoLink(to));
        }
        let envelope: Envelope = decode(&frame).unwrap();
        let aborts = matches!(envelope.open(), Ok(Message::Abort { .. }));
        if aborts && *self.net.mute.lock().unwrap() {
            return Ok(());
        }
        if let Some((deaf, left)) = &mut *self.net.deaf.lock().unwrap()
            && *deaf == to
        {
            if *left == 0 {
                return Ok(());
            }
            *left -= 1;
        }
        let slots = self.net.slots.lock().unwrap();
        let (_, slot) = slots.get(&to).ok_or(SendError::NoLink(to))?;
        let inbound = Inbound { from: self.me, frame, credit: Credit::none() };
        slot.cast(MigrationMessage::Inbound(inbound)).map_err(|_| SendError::NoLink(to))
    }
}

struct Fixed(BTreeMap<BubbleId, ProcessId>);

impl Directory for Fixed {
    fn host_of(&self, bubble: BubbleId) -> Option<ProcessId> {
        self.0.get(&bubble).copied()
    }
}

fn process(n: u128) -> ProcessId {
    ProcessId::from_u128(n)
}

fn bubble(n: u128) -> BubbleId {
    BubbleId::from_u128(n)
}

fn member(n: u128) -> Member {
    Member {
        process: process(n),
        incarnation: Incarnation(1),
        name: format!("p{n}"),
        address: "127.0.0.1:1".parse().unwrap(),
        admin: None,
    }
}

struct Node {
    handle: MigrationHandle,
    actor: ActorRef<MigrationMessage>,
    task: JoinHandle<()>,
    view: ViewHandle,
    #[cfg(feature = "fault-points")]
    net: Arc<Net>,
}

/// Starts process `n` of a view of two; bubble 10 n is hosted by process n.
async fn start(
    n: u128,
    clock: &(impl Clock + Clone),
    net: &Arc<Net>,
    journal: JournalSource,
    storage: Storage,
) -> Node {
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    let view = View::first(ClusterId::from_u128(1), "c", member(1))
        .successor(vec![member(1), member(2)])
        .unwrap();
    let state = ViewState {
        me: member(n),
        status: Status::Active,
        view: Some(Arc::new(view)),
        waiting_for: vec![],
    };
    let view = ViewHandle::new(Arc::clone(&clock), state);
    let me = Peer { process: process(n), incarnation: Incarnation(1), nonce: BootNonce(n as u64) };
    let slot = Slot::new();
    let counters = Arc::new(MigrationCounters::default());
    let arguments = MigrationArguments {
        me: Arc::new(move || me),
        clock: Arc::clone(&clock),
        outbound: Arc::new(Link { net: Arc::clone(net), me }),
        view: view.clone(),
        journal,
        storage,
        hooks: None,
        limits: Limits::default(),
        slot: slot.clone(),
        on_stale: Arc::new(|_, _| {}),
        on_hosting: Arc::new(|| {}),
        sagas: Arc::new(NoObserver),
        spans: None,
        directory: Arc::new(Fixed(BTreeMap::new())),
        on_drained: Arc::new(|| {}),
        on_barred: Arc::new(|_| {}),
        counters: Arc::clone(&counters),
    };
    let (actor, task) = Actor::spawn(None, MigrationActor, arguments).await.unwrap();
    net.slots.lock().unwrap().insert(process(n), (me, slot.clone()));
    let hosts = (1..=2).map(|n| (bubble(10 * n), process(n))).collect();
    let handle = MigrationHandle::new(slot, clock, Arc::new(Fixed(hosts)), counters);
    handle.create_bubble(Some(bubble(10 * n))).await.unwrap();
    Node {
        handle,
        actor,
        task,
        view,
        #[cfg(feature = "fault-points")]
        net: Arc::clone(net),
    }
}

impl Node {
    async fn stop(self) {
        self.actor.stop(None);
        self.task.await.unwrap();
    }

    async fn create(&self, n: u128, state: &'static str) -> EntityId {
        let new = NewEntities::One(None);
        self.handle.create(bubble(n), new, Bytes::from(state)).await.unwrap()[0]
    }

    async fn migrate(&self, ids: &[EntityId], to: u128) -> SagaReport {
        let entities = ids.iter().map(|&id| Expected { id, epoch: None }).collect();
        let request = MigrateRequest { entities, to: bubble(to), idempotency_key: None };
        let saga = self.handle.migrate(request).await.unwrap();
        self.handle.wait(saga, Duration::from_secs(5)).await.unwrap().unwrap()
    }
}

fn committed(report: &SagaReport) -> usize {
    report.entities.iter().filter(|e| matches!(e.outcome, Outcome::Committed { .. })).count()
}

#[tokio::test]
async fn a_local_move_is_done_at_once_and_survives_a_restart_from_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let database = open_database(&directory.path().join("store.redb")).unwrap();
    let journal = JournalSource::database(database);
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let node = start(1, &clock, &net, journal.clone(), Storage::Durable).await;
    node.handle.create_bubble(Some(bubble(11))).await.unwrap();
    let id = node.create(10, "a").await;
    node.handle.put(id, Bytes::from("b")).await.unwrap();
    let report = node.migrate(&[id], 11).await;
    assert_eq!(report.state, SagaState::Done);
    node.stop().await;

    let node = start(1, &clock, &net, journal, Storage::Durable).await;
    let record = node.handle.get(id).await.unwrap();
    assert_eq!((record.bubble, record.epoch.0, record.state), (bubble(11), 1, Bytes::from("b")));
    assert_eq!(node.handle.saga(report.saga).await.unwrap().unwrap().state, SagaState::Done);
    node.stop().await;
}

async fn there_and_back(storage: impl Fn() -> Storage) {
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let one = start(1, &clock, &net, JournalSource::memory(), storage()).await;
    let two = start(2, &clock, &net, JournalSource::memory(), storage()).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(one.create(10, "x").await);
    }
    one.handle.put(ids[0], Bytes::from("y")).await.unwrap();
    assert_eq!(committed(&one.migrate(&ids, 20).await), 3);
    let record = two.handle.get(ids[0]).await.unwrap();
    assert_eq!((record.status, record.state), (EntityStatus::Active, Bytes::from("y")));
    let gone = one.handle.get(ids[0]).await.unwrap_err();
    assert_eq!(gone.reason, Reason::UnknownEntity);
    assert_eq!(gone.moved_to.unwrap().process, process(2));
    two.handle.put(ids[0], Bytes::from("z")).await.unwrap();
    assert_eq!(committed(&two.migrate(&ids, 10).await), 3);
    let record = one.handle.get(ids[0]).await.unwrap();
    assert_eq!((record.epoch.0, record.state), (2, Bytes::from("z")));
    assert_eq!(two.handle.locate(ids[0]).await.unwrap().unwrap().process, process(1));
    assert!(one.handle.prepare_to_leave().await.unwrap());
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn entities_go_there_and_back_with_their_latest_state() {
    there_and_back(|| Storage::Durable).await;
}

#[tokio::test]
async fn the_hosts_own_store_follows() {
    there_and_back(|| Storage::Host(HostStore::new(Arc::new(MemoryStore::new())))).await;
}

#[tokio::test]
async fn ten_thousand_entities_and_large_states_go_in_parts() {
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let one = start(1, &clock, &net, JournalSource::memory(), Storage::Durable).await;
    let two = start(2, &clock, &net, JournalSource::memory(), Storage::Durable).await;
    let many = NewEntities::Many(10_000);
    let ids = one.handle.create(bubble(10), many, Bytes::from("s")).await.unwrap();
    assert_eq!(committed(&one.migrate(&ids, 20).await), 10_000);
    let large = Bytes::from(vec![7; 1024 * 1024]);
    let ids = one.handle.create(bubble(10), NewEntities::Many(20), large.clone()).await.unwrap();
    assert_eq!(committed(&one.migrate(&ids, 20).await), 20);
    assert_eq!(two.handle.get(ids[19]).await.unwrap().state, large);
    assert_eq!(two.handle.audit().await.unwrap().active, 10_020);
    let page = two.handle.list(StatusFilter::All, None, 10_000).await.unwrap();
    assert_eq!(page.entities.len(), 10_000);
    let rest = two.handle.list(StatusFilter::All, page.next, 10_000).await.unwrap();
    assert_eq!((rest.entities.len(), rest.next), (20, None));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn an_unreachable_destination_ends_in_a_typed_abort_and_an_idle_actor_sets_no_timer() {
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let one = start(1, &clock, &net, JournalSource::memory(), Storage::Durable).await;
    let id = one.create(10, "x").await;
    *net.cut.lock().unwrap() = true;
    let request = MigrateRequest {
        entities: vec![Expected { id, epoch: None }],
        to: bubble(20),
        idempotency_key: Some("k".into()),
    };
    let saga = one.handle.migrate(request.clone()).await.unwrap();
    assert_eq!(one.handle.migrate(request).await, Ok(saga));
    let refused = one.handle.put(id, Bytes::from("no")).await.unwrap_err();
    assert_eq!(refused.reason, Reason::AlreadyMoving { to: bubble(20) });
    let waiting = one.handle.wait(saga, Duration::from_secs(60));
    let ticking = async {
        loop {
            clock.advance(Duration::from_millis(50));
            // An answer: the actor has seen what the clock says.
            one.handle.audit().await.unwrap();
        }
    };
    let report = tokio::select! {
        report = waiting => report.unwrap().unwrap(),
        () = ticking => unreachable!(),
    };
    assert_eq!(report.entities[0].outcome, Outcome::Aborted { reason: Reason::Unreachable });
    one.handle.put(id, Bytes::from("yes")).await.unwrap();
    let fired = one.handle.counters().alarms_fired();
    clock.advance(Duration::from_secs(60));
    one.handle.audit().await.unwrap();
    assert_eq!(one.handle.counters().alarms_fired(), fired);
    one.stop().await;
}

#[tokio::test]
async fn while_isolated_writes_are_refused_and_reads_are_not() {
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let one = start(1, &clock, &net, JournalSource::memory(), Storage::Durable).await;
    let id = one.create(10, "x").await;
    let mut state = (*one.view.current()).clone();
    state.status = Status::Isolated;
    one.view.publish(Arc::new(state));
    assert_eq!(one.handle.put(id, Bytes::new()).await.unwrap_err().reason, Reason::Isolated);
    assert_eq!(one.handle.get(id).await.unwrap().state, Bytes::from("x"));
    one.stop().await;
}

/// A journal that fails when told to, before anything became durable.
struct Failing {
    inner: MemoryJournal,
    fails: Arc<AtomicBool>,
    /// A disk that hangs, for as long as somebody else has it.
    hangs: Arc<Mutex<()>>,
}

impl Journal for Failing {
    fn replay(&mut self) -> Result<Image, JournalError> {
        self.inner.replay()
    }

    fn commit(&mut self, transactions: &[Vec<Record>]) -> Result<(), JournalError> {
        drop(self.hangs.lock());
        match self.fails.load(Ordering::SeqCst) {
            true => Err(JournalError::Store("the disk is full".to_owned())),
            false => self.inner.commit(transactions),
        }
    }
}

#[tokio::test]
async fn a_failed_sync_answers_nothing_and_a_restart_goes_on_from_what_is_durable() {
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let (inner, fails) = (MemoryJournal::new(), Arc::new(AtomicBool::new(false)));
    let journal = JournalSource::new({
        let fails = Arc::clone(&fails);
        move || {
            let (inner, fails) = (inner.clone(), Arc::clone(&fails));
            Ok(Box::new(Failing { inner, fails, hangs: Arc::default() }))
        }
    });
    let one = start(1, &clock, &net, journal.clone(), Storage::Durable).await;
    let id = one.create(10, "before").await;
    fails.store(true, Ordering::SeqCst);
    let put = one.handle.put(id, Bytes::from("after"));
    let get = one.handle.get(id);
    let (put, get) = tokio::join!(put, get);
    assert_eq!(put.unwrap_err().reason, Reason::JournalFailed);
    assert_eq!(get.unwrap_err().reason, Reason::JournalFailed, "a read shows nothing undurable");
    one.task.await.unwrap();
    fails.store(false, Ordering::SeqCst);
    let one = start(1, &clock, &net, journal, Storage::Durable).await;
    assert_eq!(one.handle.get(id).await.unwrap().state, Bytes::from("before"));
    one.stop().await;
}

#[tokio::test]
async fn a_journal_whose_disk_hangs_is_known_to_wait_until_it_goes_on() {
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let (inner, hangs) = (MemoryJournal::new(), Arc::<Mutex<()>>::default());
    let journal = JournalSource::new({
        let hangs = Arc::clone(&hangs);
        move || {
            let (inner, hangs) = (inner.clone(), Arc::clone(&hangs));
            Ok(Box::new(Failing { inner, fails: Arc::default(), hangs }))
        }
    });
    let one = start(1, &clock, &net, journal, Storage::Durable).await;
    let id = one.create(10, "before").await;
    let waits = || one.handle.counters().journal_waits(clock.now());
    let until = async |waiting: bool| {
        while waits().is_some() != waiting {
            tokio::task::yield_now().await;
        }
    };
    until(false).await;
    let held = hangs.lock().unwrap();
    let put = one.handle.put(id, Bytes::from("after"));
    let hold = async {
        until(true).await;
        clock.advance(Duration::from_secs(7));
        assert!(waits() >= Some(Duration::from_secs(7)), "{:?}", waits());
        drop(held);
    };
    let (put, ()) = tokio::join!(put, hold);
    assert!(put.is_ok(), "{put:?}");
    until(false).await;
    one.stop().await;
}

#[tokio::test]
async fn a_restarted_actor_goes_on_with_a_decided_saga() {
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let journal = JournalSource::memory();
    let one = start(1, &clock, &net, journal.clone(), Storage::Durable).await;
    let two = start(2, &clock, &net, JournalSource::memory(), Storage::Durable).await;
    let id = one.create(10, "x").await;
    // The destination stages, and then nothing comes back from it.
    *net.deaf.lock().unwrap() = Some((process(1), 1));
    let request = MigrateRequest {
        entities: vec![Expected { id, epoch: None }],
        to: bubble(20),
        idempotency_key: None,
    };
    let saga = one.handle.migrate(request).await.unwrap();
    while two.handle.audit().await.unwrap().active == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(one.handle.audit().await.unwrap().in_doubt, 1);
    one.stop().await;
    *net.deaf.lock().unwrap() = None;
    let one = start(1, &clock, &net, journal, Storage::Durable).await;
    let report = one.handle.wait(saga, Duration::from_secs(1)).await.unwrap().unwrap();
    assert_eq!(report.state, SagaState::Done);
    assert_eq!(one.handle.audit().await.unwrap().replayed, 1);
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn garbage_and_forged_senders_are_counted_and_do_no_harm() {
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let one = start(1, &clock, &net, JournalSource::memory(), Storage::Durable).await;
    let from = |n: u128| Peer {
        process: process(n),
        incarnation: Incarnation(1),
        nonce: BootNonce(n as u64),
    };
    let locate = Message::Locate { query: 1, entity: EntityId::from_u128(1) };
    let envelope = Envelope::seal(from(2), one.view.current().term(), &locate).unwrap();
    let forged = encode(&envelope).unwrap();
    for frame in [Bytes::from_static(b"\xc1garbage"), Bytes::new(), Bytes::from(forged)] {
        let inbound = Inbound { from: from(3), frame, credit: Credit::none() };
        one.actor.cast(MigrationMessage::Inbound(inbound)).unwrap();
    }
    one.create(10, "x").await;
    assert_eq!(one.handle.counters().undecodable(), 3);
    one.stop().await;
}

/// Figures, not a test: run it with `--ignored --nocapture` in release.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn figures() {
    let directory = tempfile::tempdir().unwrap();
    let (clock, net) = (SystemClock::new(), Arc::<Net>::default());
    let file =
        |name: &str| JournalSource::database(open_database(&directory.path().join(name)).unwrap());
    let (journal_one, journal_two) = (file("one"), file("two"));
    let one = start(1, &clock, &net, journal_one.clone(), Storage::Durable).await;
    let two = start(2, &clock, &net, journal_two, Storage::Durable).await;

    let many = NewEntities::Many(2_000);
    let ids = one.handle.create(bubble(10), many.clone(), vec![7; 150].into()).await.unwrap();
    let mut took = Vec::new();
    for id in &ids[..500] {
        let began = Instant::now();
        assert_eq!(committed(&one.migrate(&[*id], 20).await), 1);
        took.push(began.elapsed());
    }
    took.sort_unstable();
    eprintln!("one move at a time: p50 {:?}, p99 {:?}", took[250], took[495]);

    let began = Instant::now();
    let all = together(ids[500..1_500].iter().map(|id| {
        let (one, id) = (one.handle.clone(), *id);
        async move {
            let entities = vec![Expected { id, epoch: None }];
            let request = MigrateRequest { entities, to: bubble(20), idempotency_key: None };
            let saga = one.migrate(request).await.unwrap();
            one.wait(saga, Duration::from_secs(10)).await.unwrap().unwrap()
        }
    }))
    .await;
    assert_eq!(all.iter().map(committed).sum::<usize>(), 1_000);
    eprintln!("1,000 single moves at once: {:?}", began.elapsed());

    let many = NewEntities::Many(10_000);
    let ids = one.handle.create(bubble(10), many, vec![7; 150].into()).await.unwrap();
    let began = Instant::now();
    assert_eq!(committed(&one.migrate(&ids, 20).await), 10_000);
    eprintln!("10,000 in one request: {:?}", began.elapsed());

    let writes = one.handle.create(bubble(10), NewEntities::Many(64), Bytes::new()).await.unwrap();
    let began = Instant::now();
    together(writes.iter().map(|&id| {
        let one = one.handle.clone();
        async move {
            for n in 0..100_u8 {
                one.put(id, vec![n; 150].into()).await.unwrap();
            }
        }
    }))
    .await;
    let rate = 6_400.0 / began.elapsed().as_secs_f64();
    eprintln!("64 writers: {rate:.0} durable writes/s");
    two.stop().await;

    let ids = one.handle.create(bubble(10), NewEntities::Many(10_000), Bytes::new()).await.unwrap();
    *net.cut.lock().unwrap() = true;
    let entities = ids.iter().map(|&id| Expected { id, epoch: None }).collect();
    let request = MigrateRequest { entities, to: bubble(20), idempotency_key: None };
    one.handle.migrate(request).await.unwrap();
    one.stop().await;
    let began = Instant::now();
    let one = start(1, &clock, &net, journal_one, Storage::Durable).await;
    eprintln!("restart with 22,000 rows: {:?}", began.elapsed());
    one.stop().await;
}

/// Runs all of them at once.
async fn together<T: Send + 'static>(
    all: impl Iterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = all.map(tokio::spawn).collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(task.await.unwrap());
    }
    done
}

/// Two processes over the files of a directory.
#[cfg(feature = "fault-points")]
async fn pair(directory: &std::path::Path) -> (ManualClock, Node, Node) {
    let (clock, net) = (ManualClock::new(), Arc::<Net>::default());
    let file = |name: &str| JournalSource::database(open_database(&directory.join(name)).unwrap());
    let one = start(1, &clock, &net, file("one"), Storage::Durable).await;
    let two = start(2, &clock, &net, file("two"), Storage::Durable).await;
    (clock, one, two)
}

/// The life that ends at a fault point: it writes what was acknowledged before it goes on.
#[cfg(feature = "fault-points")]
#[tokio::test]
#[ignore = "started by the test of all fault points"]
async fn a_life_that_ends_at_a_fault_point() {
    let Ok(directory) = std::env::var("LAMPYRID_FAULT_DIRECTORY") else { return };
    let directory = std::path::PathBuf::from(directory);
    // Whole or not at all: the journal's thread may end this process meanwhile.
    let acknowledge = |id: EntityId, state: &str| {
        let (new, known) = (directory.join("new"), directory.join("acknowledged"));
        std::fs::write(&new, format!("{id} {state}")).unwrap();
        std::fs::rename(new, known).unwrap();
    };
    let (clock, one, two) = pair(&directory).await;
    let (id, gone) = (one.create(10, "a").await, one.create(10, "x").await);
    acknowledge(id, "a");
    one.handle.put(id, Bytes::from("b")).await.unwrap();
    acknowledge(id, "b");
    one.handle.delete(gone).await.unwrap();
    one.handle.create_bubble(Some(bubble(11))).await.unwrap();
    one.migrate(&[id], 11).await;
    one.migrate(&[id], 20).await;
    two.handle.put(id, Bytes::from("c")).await.unwrap();
    acknowledge(id, "c");
    two.migrate(&[id], 10).await;
    // A move that is given up once it is staged: the aborts, doubts and discards.
    *one.net.deaf.lock().unwrap() = Some((process(1), 0));
    let entities = vec![Expected { id, epoch: None }];
    let request = MigrateRequest { entities, to: bubble(20), idempotency_key: None };
    one.handle.migrate(request).await.unwrap();
    while two.handle.audit().await.unwrap().staged == 0 {
        tokio::task::yield_now().await;
    }
    *one.net.mute.lock().unwrap() = true;
    while one.handle.audit().await.unwrap().frozen > 0 {
        clock.advance(Duration::from_millis(100));
    }
    *one.net.mute.lock().unwrap() = false;
    *one.net.deaf.lock().unwrap() = None;
    while two.handle.audit().await.unwrap().staged > 0 {
        clock.advance(Duration::from_millis(100));
    }
    one.migrate(&[id], 20).await;
    std::process::exit(0);
}

#[cfg(feature = "fault-points")]
#[tokio::test]
async fn a_death_at_any_fault_point_leaves_each_entity_active_once_with_its_latest_state() {
    for point in crate::FAULT_POINTS {
        let directory = tempfile::tempdir().unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "actor_tests::a_life_that_ends_at_a_fault_point", "--ignored"])
            .env("LAMPYRID_FAULT_POINT", point)
            .env("LAMPYRID_FAULT_DIRECTORY", directory.path())
            .output()
            .unwrap()
            .status;
        assert_eq!(status.code(), None, "{point} was never reached");
        let (clock, one, two) = pair(directory.path()).await;
        while one.handle.audit().await.unwrap().in_doubt > 0
            || two.handle.audit().await.unwrap().in_doubt > 0
            || one.handle.audit().await.unwrap().staged > 0
            || two.handle.audit().await.unwrap().staged > 0
        {
            clock.advance(Duration::from_millis(100));
        }
        let Ok(text) = std::fs::read_to_string(directory.path().join("acknowledged")) else {
            one.stop().await;
            two.stop().await;
            continue;
        };
        let (id, state) = text.split_once(' ').unwrap();
        let id: EntityId = id.parse().unwrap();
        let copies = [one.handle.get(id).await, two.handle.get(id).await];
        let active: Vec<_> = copies.into_iter().filter_map(Result::ok).collect();
        assert_eq!(active.len(), 1, "{point}");
        assert_eq!(active[0].status, EntityStatus::Active, "{point}");
        let found = String::from_utf8(active[0].state.to_vec()).unwrap();
        assert!(found.as_str() >= state, "{point}: {found} after {state} was acknowledged");
        one.stop().await;
        two.stop().await;
    }
}

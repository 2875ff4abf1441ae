//! Registry, coordinator, broadcaster and migration of one child, over its links, under a view that
//! the test gives: membership, which would keep the links of a small view complete, is left out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lampyrid_coordinator::{
    BroadcasterActor, BroadcasterArguments, BroadcasterConfig, CoordinatorActor,
    CoordinatorArguments, CoordinatorConfig, Gateway,
};
use lampyrid_membership::{Status, View, ViewHandle, ViewState};
use lampyrid_migration::{
    Directory, Expected, Limits, MigrateRequest, MigrationActor, MigrationArguments,
    MigrationHandle, MigrationMessage, NewEntities, Storage as StateStorage,
};
use lampyrid_registry::{Hooks, Post, RegistryActor, RegistryArguments, RegistryHandle};
use lampyrid_wire::{
    BubbleId, Channel, Clock, Inbound, Outbound, Peer, ProcessId, Slot, SystemClock, Term,
};
use ractor::Actor;

use super::super::LinksHandle;
use crate::storage::Storage;

/// The running actors, as far as links and test talk to them.
pub(super) struct Concerns {
    gateway: Gateway,
    migration_slot: Slot<MigrationMessage>,
    registry: RegistryHandle,
    migration: MigrationHandle,
}

struct Nothing;

impl Hooks for Nothing {
    fn has_entities(&self, _: BubbleId) -> bool {
        false
    }

    fn claimed(&self, bubble: BubbleId, by: ProcessId) {
        panic!("{bubble} is claimed by {by}");
    }

    fn newer_view(&self, _: ProcessId, _: Term) {}
}

struct HostOf(RegistryHandle);

impl Directory for HostOf {
    fn host_of(&self, bubble: BubbleId) -> Option<ProcessId> {
        self.0.find_process(bubble)
    }
}

/// The bubble of a process has the number of the process.
pub(super) fn bubble(process: ProcessId) -> BubbleId {
    BubbleId::from_u128(process.0.as_u128())
}

impl Concerns {
    /// Starts all of them; `me` is a member of `view` and registers its bubble.
    pub(super) async fn start(me: Peer, view: Arc<View>, links: LinksHandle) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let member = view.member(me.process).unwrap().clone();
        let status = Status::Active;
        let state = ViewState { me: member, status, view: Some(view), waiting_for: Vec::new() };
        let view = ViewHandle::new(Arc::clone(&clock), state);
        let mine = bubble(me.process);
        let registry = RegistryHandle::new(view.clone(), Some(BTreeSet::from([mine])));
        let gateway = Gateway {
            registry: registry.slot().clone(),
            coordinator: Slot::new(),
            broadcaster: Slot::new(),
            counters: Arc::default(),
        };
        let outbound: Arc<dyn Outbound> = Arc::new(links);
        let counters = Arc::clone(&gateway.counters);
        let post = Post::new(Arc::clone(&outbound), Arc::new(gateway.clone()), counters);
        let hooks: Arc<dyn Hooks> = Arc::new(Nothing);
        let (migration_slot, counters) = (Slot::new(), Arc::default());
        let migration = MigrationHandle::new(
            migration_slot.clone(),
            Arc::clone(&clock),
            Arc::new(HostOf(registry.clone())),
            Arc::clone(&counters),
        );
        let arguments = MigrationArguments {
            me: Arc::new(move || me),
            clock: Arc::clone(&clock),
            outbound,
            view: view.clone(),
            journal: Storage::open(None).unwrap().journal,
            storage: StateStorage::Durable,
            hooks: None,
            limits: Limits::default(),
            slot: migration_slot.clone(),
            on_stale: Arc::new(|_, _| {}),
            on_hosting: Arc::new(|| {}),
            sagas: Arc::new(lampyrid_migration::NoObserver),
            spans: None,
            directory: Arc::new(HostOf(registry.clone())),
            on_drained: Arc::new(|| {}),
            on_barred: Arc::new(|_| {}),
            counters,
        };
        Actor::spawn(None, MigrationActor, arguments).await.unwrap();
        migration.create_bubble(Some(mine)).await.unwrap();
        let arguments = BroadcasterArguments {
            clock: Arc::clone(&clock),
            nonce: me.nonce,
            view: view.clone(),
            post: post.clone(),
            hooks: Arc::clone(&hooks),
            slot: gateway.broadcaster.clone(),
            coordinator: gateway.coordinator.clone(),
            registry: gateway.registry.clone(),
            config: BroadcasterConfig::default(),
        };
        Actor::spawn(None, BroadcasterActor, arguments).await.unwrap();
        let arguments = CoordinatorArguments {
            clock: Arc::clone(&clock),
            nonce: me.nonce,
            view,
            post: post.clone(),
            hooks: Arc::clone(&hooks),
            slot: gateway.coordinator.clone(),
            broadcaster: gateway.broadcaster.clone(),
            sequence: Arc::default(),
            config: CoordinatorConfig::default(),
        };
        Actor::spawn(None, CoordinatorActor, arguments).await.unwrap();
        let handle = registry.clone();
        let arguments = RegistryArguments { clock, nonce: me.nonce, handle, post, hooks };
        Actor::spawn(None, RegistryActor, arguments).await.unwrap();
        Self { gateway, migration_slot, registry, migration }
    }

    pub(super) fn frame(&self, channel: Channel, inbound: Inbound) {
        match channel {
            Channel::Membership | Channel::Requests => {}
            Channel::Registry => self.gateway.receive(inbound).unwrap(),
            Channel::Migration => {
                self.migration_slot.cast(MigrationMessage::Inbound(inbound)).unwrap();
            }
        }
    }

    pub(super) fn up(&self, peer: Peer) {
        self.gateway.reachable(peer.process);
        self.migration_slot.cast(MigrationMessage::Reachable(peer.process)).unwrap();
    }

    /// How many processes have registered, as this one knows.
    pub(super) fn registered(&self) -> usize {
        self.registry.all_processes().len()
    }

    /// Registers another bubble beside its own; how long it took until a quorum had stored it.
    pub(super) async fn register(&self, extra: u128) -> Duration {
        let own = self.registry.view().current().me.process;
        let bubbles = BTreeSet::from([bubble(own), BubbleId::from_u128(extra)]);
        let started = Instant::now();
        self.registry.register(bubbles, Duration::from_secs(20)).await.unwrap();
        started.elapsed()
    }

    /// Who hosts that bubble, as this one knows.
    pub(super) fn host_of(&self, id: u128) -> Option<u128> {
        self.registry.find_process(BubbleId::from_u128(id)).map(|process| process.0.as_u128())
    }

    /// Makes an entity and moves it to that process; the outcome and how long it took.
    pub(super) async fn move_one(&self, to: ProcessId) -> (String, Duration) {
        let mine = bubble(self.registry.view().current().me.process);
        let state = Bytes::from_static(b"{}");
        let made = self.migration.create(mine, NewEntities::One(None), state).await.unwrap();
        let started = Instant::now();
        let entities = vec![Expected { id: made[0], epoch: None }];
        let request = MigrateRequest { entities, to: bubble(to), idempotency_key: None };
        let saga = self.migration.migrate(request).await.unwrap();
        let report = self.migration.wait(saga, Duration::from_secs(20)).await.unwrap().unwrap();
        (format!("{:?}", report.entities[0].outcome), started.elapsed())
    }
}

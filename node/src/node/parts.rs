//! What the parts of one process are made of, and how they are wired to one another.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use lampyrid_coordinator::{
    BroadcasterArguments, BroadcasterConfig, CoordinatorArguments, CoordinatorConfig, Gateway,
};
use lampyrid_membership::{
    AcceptorState, Ended, LinkEvent, MembershipArguments, MembershipConfig, MembershipPort, Pace,
    RefusalReason, Status, ViewEvent, ViewHandle, ViewState,
};
use lampyrid_migration::{Directory, MigrationArguments, MigrationHandle, MigrationMessage};
use lampyrid_registry::{Hooks, Post, RegistryArguments, RegistryHandle, RegistryMessage};
use lampyrid_wire::{
    BootNonce, BubbleId, Channel, Clock, ClusterId, Inbound, Incarnation, Member, Outbound, Peer,
    ProcessId, Slot, Term,
};
use rand::Rng;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::boot::StartError;
use super::builder::Host;
use super::end::{End, Fatal, NotJoined};
use super::event_log::EventLog;
use super::memory::Memory;
use super::net::Net;
use super::tree::{Claims, Counters, Rest};
use crate::config::NodeConfig;
use crate::links::{
    Bounds, Cookie, LinksConfig, LinksHandle, LinksHooks, Lives, Plain, Tls, Transport,
};
use crate::requests::WeakRequests;
use crate::storage::Storage;

/// How often a joining process looks whether it is in, against its time limit.
const JOIN_PAUSE: Duration = Duration::from_millis(50);

/// What the parts of a process share.
pub(super) struct Parts {
    pub(super) identity: AcceptorState,
    pub(super) nonce: BootNonce,
    pub(super) me: Member,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) view: ViewHandle,
    pub(super) port: MembershipPort,
    pub(super) end: Arc<End>,
    /// Where registry frames go; known once the registry is, before the links run.
    pub(super) gateway: Arc<OnceLock<Gateway>>,
    pub(super) migration_slot: Slot<MigrationMessage>,
    /// Without those of the links, which come with their handle.
    pub(super) counters: Counters,
    /// Bubbles of this process that others host; migration is told again after a restart.
    pub(super) claims: Claims,
    /// The last refusal of each address that was dialled.
    pub(super) refusals: Arc<Mutex<BTreeMap<SocketAddr, RefusalReason>>>,
    /// The registry, once there is one.
    pub(super) registry: Arc<OnceLock<RegistryHandle>>,
    /// Requests to entities, once they can be asked.
    pub(super) requests: Arc<OnceLock<WeakRequests>>,
    /// Nothing is left here to leave behind.
    pub(super) drained: Arc<Notify>,
    /// What is hosted here has changed.
    pub(super) hosting: Arc<Notify>,
    /// What happens here, for those who listen.
    pub(super) events: EventLog,
    /// Lives of other processes that were met.
    pub(super) lives: Lives,
    memory: Memory,
}

/// Numbers the lives of a process, for its events. One in memory is always the first incarnation of
/// somebody else: the clock tells its lives apart.
fn life(config: &NodeConfig, incarnation: Incarnation) -> Incarnation {
    let since = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    match config.data_dir {
        Some(_) => incarnation,
        None => Incarnation(since().map_or(0, |time| time.as_secs()) % (1 << 24)),
    }
}

impl Parts {
    pub(super) fn new(
        config: &NodeConfig,
        identity: AcceptorState,
        advertised: SocketAddr,
        storage: &Storage,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let me = Member {
            process: identity.process,
            incarnation: identity.incarnation,
            name: config.name.clone(),
            address: advertised,
            admin: config.admin_url.clone(),
        };
        let state = ViewState {
            me: me.clone(),
            status: Status::Joining,
            view: identity.view.clone(),
            waiting_for: Vec::new(),
        };
        let counters = Counters::default();
        let lives = Lives::new(storage.lives()?);
        Ok(Self {
            memory: Memory::new(lives.clone(), storage.notebook(), Arc::clone(&clock)),
            lives,
            events: EventLog::new(life(config, identity.incarnation)),
            view: ViewHandle::new(Arc::clone(&clock), state),
            identity,
            nonce: BootNonce(rand::rng().next_u64()),
            me,
            clock,
            port: MembershipPort::new(),
            end: Arc::new(End::new()),
            gateway: Arc::default(),
            migration_slot: Slot::new(),
            counters,
            claims: Claims::default(),
            refusals: Arc::default(),
            hosting: Arc::default(),
            drained: Arc::default(),
            registry: Arc::default(),
            requests: Arc::default(),
        })
    }

    pub(super) fn handle(&self, directory: Arc<dyn Directory>) -> MigrationHandle {
        MigrationHandle::new(
            self.migration_slot.clone(),
            Arc::clone(&self.clock),
            directory,
            Arc::clone(&self.counters.migration),
        )
    }

    fn peer(&self) -> Peer {
        let Member { process, incarnation, .. } = self.me;
        Peer { process, incarnation, nonce: self.nonce }
    }

    /// A place on a network in memory.
    #[cfg(feature = "testkit")]
    pub(super) fn station(
        &self,
        config: &NodeConfig,
        network: crate::testkit::Network,
        advertised: SocketAddr,
    ) -> Net {
        let place = crate::testkit::Place::new(
            self.peer(),
            config.cluster_name.clone(),
            self.identity.cluster,
            self.port.barred().clone(),
            self.link_hooks(),
        );
        Net::Memory(crate::testkit::Station::new(network, advertised, place))
    }

    pub(super) fn links(
        &self,
        config: &NodeConfig,
        listener: Arc<TcpListener>,
        advertised: SocketAddr,
    ) -> Result<Net, StartError> {
        let clock = Arc::clone(&self.clock);
        let transport: Arc<dyn Transport> = match &config.tls {
            Some(files) => {
                let valid_until = Arc::clone(&self.counters.certificate);
                Arc::new(Tls::new(files.clone(), config.name.clone(), clock, valid_until)?)
            }
            None => Arc::new(Plain),
        };
        let links = LinksConfig {
            name: config.name.clone(),
            listener,
            me: self.peer(),
            advertised,
            cluster_name: config.cluster_name.clone(),
            cluster: self.identity.cluster,
            lives: self.lives.clone(),
            barred: self.port.barred().clone(),
            cookie: Cookie::new(config.cookie.as_bytes().to_vec())?,
            transport,
            clock: Arc::clone(&self.clock),
            seed: self.nonce.0,
            bounds: Bounds::default(),
        };
        Ok(Net::Tcp(LinksHandle::new(links, self.link_hooks())?))
    }

    fn link_hooks(&self) -> LinksHooks {
        let (port, refusals) = (self.port.clone(), Arc::clone(&self.refusals));
        let memory = self.memory.clone();
        let (gateway, migration) = (Arc::clone(&self.gateway), self.migration_slot.clone());
        let requests = Arc::clone(&self.requests);
        let on_event = move |event: LinkEvent| {
            if let LinkEvent::Up(peer) = &event {
                memory.note(*peer);
                if let Some(gateway) = gateway.get() {
                    gateway.reachable(peer.process);
                }
                // One that is being restarted sends afresh anyway.
                let _ = migration.cast(MigrationMessage::Reachable(peer.process));
            }
            if let (LinkEvent::Down(peer), Some(requests)) = (&event, requests.get()) {
                requests.lost(peer.process);
            }
            if let LinkEvent::Refused { address, reason } = &event {
                let mut refusals = refusals.lock().unwrap_or_else(PoisonError::into_inner);
                if refusals.insert(*address, *reason) != Some(*reason) {
                    tracing::warn!(%address, %reason, "a process refused us");
                }
            }
            port.link(event);
        };
        let (port, gateway) = (self.port.clone(), Arc::clone(&self.gateway));
        let migration = self.migration_slot.clone();
        let barred = self.port.barred().clone();
        let requests = Arc::clone(&self.requests);
        let on_frame = move |channel: Channel, inbound: Inbound| match channel {
            // A session from before it was barred.
            _ if barred.contains(inbound.from.process) => {}
            Channel::Membership => port.inbound(inbound),
            Channel::Registry => {
                let from = inbound.from;
                if let Some(Err(error)) = gateway.get().map(|gateway| gateway.receive(inbound)) {
                    tracing::warn!(%from, %error, "a registry message was dropped");
                }
            }
            // Dropped while the actor is being restarted: whoever needs an answer resends.
            Channel::Migration => drop(migration.cast(MigrationMessage::Inbound(inbound))),
            // One that comes before they can be answered is asked again by nobody: it times out.
            Channel::Requests => {
                if let Some(requests) = requests.get() {
                    requests.receive(inbound);
                }
            }
        };
        LinksHooks { on_event: Arc::new(on_event), on_frame: Arc::new(on_frame) }
    }

    pub(super) fn migration(
        &self,
        storage: &Storage,
        host: Host,
        links: Net,
    ) -> impl Fn() -> MigrationArguments + Send + Sync + use<> {
        let (clock, view, nonce) = (Arc::clone(&self.clock), self.view.clone(), self.nonce);
        let (journal, slot) = (storage.journal.clone(), self.migration_slot.clone());
        let (port, counters) = (self.port.clone(), Arc::clone(&self.counters.migration));
        let (hosting, drained) = (Arc::clone(&self.hosting), Arc::clone(&self.drained));
        let registry = LateRegistry(Arc::clone(&self.registry));
        let events = self.events.clone();
        let spans = host.spans.as_ref().map(|sink| sink(&self.me));
        move || {
            let (named, port, barring) = (view.clone(), port.clone(), port.clone());
            let (hosting, drained) = (Arc::clone(&hosting), Arc::clone(&drained));
            MigrationArguments {
                me: Arc::new(move || {
                    let me = &named.current().me;
                    Peer { process: me.process, incarnation: me.incarnation, nonce }
                }),
                clock: Arc::clone(&clock),
                outbound: Arc::new(links.clone()),
                view: view.clone(),
                journal: journal.clone(),
                storage: host.states.clone(),
                hooks: host.hooks.clone(),
                limits: host.limits,
                slot: slot.clone(),
                on_stale: Arc::new(move |peer: Peer, _| port.stale_peer(peer.process)),
                on_hosting: Arc::new(move || hosting.notify_one()),
                sagas: Arc::new(events.clone()),
                spans: spans.clone(),
                on_drained: Arc::new(move || drained.notify_one()),
                directory: Arc::new(registry.clone()),
                on_barred: Arc::new(move |processes| barring.bar(processes)),
                counters: Arc::clone(&counters),
            }
        }
    }

    pub(super) fn rest(
        &self,
        config: &NodeConfig,
        seeds: &[SocketAddr],
        storage: &Storage,
        links: Net,
        registry: &RegistryHandle,
        migration: &MigrationHandle,
    ) -> Rest {
        let outbound: Arc<dyn Outbound> = Arc::new(links.clone());
        let gateway = Gateway {
            registry: registry.slot().clone(),
            coordinator: Slot::new(),
            broadcaster: Slot::new(),
            counters: Arc::clone(&self.counters.registry),
        };
        let gateway = self.gateway.get_or_init(|| gateway).clone();
        let forward = gateway.clone();
        let tell_links = links.view_sink();
        self.port.subscribe(Arc::new(move |event: ViewEvent| {
            // First: what the others send in the new view may need sessions with its members.
            if let Some(view) = event.state.view.clone() {
                tell_links(view);
            }
            forward_view(&forward, &event);
        }));
        let post =
            Post::new(Arc::clone(&outbound), Arc::new(gateway.clone()), gateway.counters.clone());
        let hooks: Arc<dyn Hooks> = Arc::new(Surroundings {
            migration: migration.clone(),
            claims: self.claims.clone(),
            port: self.port.clone(),
        });
        let end = Arc::clone(&self.end);
        let membership = MembershipArguments {
            clock: Arc::clone(&self.clock),
            outbound,
            links: Arc::new(links.clone()),
            store: Arc::clone(&storage.acceptor),
            me: self.me.clone(),
            nonce: self.nonce,
            config: MembershipConfig {
                cluster_name: config.cluster_name.clone(),
                seeds: seeds.to_vec(),
                // A process that was told which cluster is its own founds no other.
                found: (config.join.is_empty() && self.identity.cluster.is_none())
                    .then(ClusterId::random),
                jitter: self.nonce.0,
                pace: Pace::default(),
            },
            handle: self.view.clone(),
            port: self.port.clone(),
            counters: Arc::clone(&self.counters.membership),
            ended: Arc::new(move |ended| match ended {
                // Whoever asked for the leave ends the process when it is answered.
                Ended::Left => {}
                Ended::Stopped(reason) => end.set(Err(Fatal::Membership(reason))),
            }),
        };
        Rest {
            links,
            membership,
            registry: RegistryArguments {
                clock: Arc::clone(&self.clock),
                nonce: self.nonce,
                handle: registry.clone(),
                post: post.clone(),
                hooks: Arc::clone(&hooks),
            },
            coordinator: CoordinatorArguments {
                clock: Arc::clone(&self.clock),
                nonce: self.nonce,
                view: self.view.clone(),
                post: post.clone(),
                hooks: Arc::clone(&hooks),
                slot: gateway.coordinator.clone(),
                broadcaster: gateway.broadcaster.clone(),
                sequence: Arc::new(AtomicU64::new(0)),
                config: CoordinatorConfig::default(),
            },
            broadcaster: BroadcasterArguments {
                clock: Arc::clone(&self.clock),
                nonce: self.nonce,
                view: self.view.clone(),
                post,
                hooks,
                slot: gateway.broadcaster.clone(),
                coordinator: gateway.coordinator.clone(),
                registry: gateway.registry,
                config: BroadcasterConfig::default(),
            },
        }
    }

    /// Ends the process if it is not let in in time.
    pub(super) fn watch_join(&self, seeds: Vec<SocketAddr>, limit: Duration) {
        let (clock, view) = (Arc::clone(&self.clock), self.view.clone());
        let (refusals, end) = (Arc::clone(&self.refusals), Arc::clone(&self.end));
        let until = clock.now() + limit;
        tokio::spawn(async move {
            while view.current().status == Status::Joining {
                if clock.now() >= until {
                    let known = refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    let outcome = |seed| (seed, known.get(&seed).copied());
                    let seeds = seeds.into_iter().map(outcome).collect();
                    return end.set(Err(Fatal::NotJoined(NotJoined(seeds))));
                }
                clock.sleep_until(clock.now() + JOIN_PAUSE).await;
            }
        });
    }
}

fn forward_view(gateway: &Gateway, event: &ViewEvent) {
    use lampyrid_coordinator::{BroadcasterMessage, CoordinatorMessage};
    // A restarting actor reads the current state by itself.
    let _ = gateway.registry.cast(RegistryMessage::View(event.clone()));
    let _ = gateway.coordinator.cast(CoordinatorMessage::View(event.clone()));
    let _ = gateway.broadcaster.cast(BroadcasterMessage::View(event.clone()));
}

/// The registry, for those who are started before there is one.
#[derive(Clone)]
pub(super) struct LateRegistry(pub(super) Arc<OnceLock<RegistryHandle>>);

/// What surrounds the registry.
struct Surroundings {
    migration: MigrationHandle,
    claims: Claims,
    port: MembershipPort,
}

impl Hooks for Surroundings {
    fn has_entities(&self, _: BubbleId) -> bool {
        // Bubbles are given up through `Node::retire_bubble`, which migration refuses first.
        false
    }

    fn claimed(&self, bubble: BubbleId, by: ProcessId) {
        self.claims.add(bubble, by);
        self.migration.bubble_claimed(bubble, by);
    }

    fn newer_view(&self, peer: ProcessId, _: Term) {
        self.port.newer_peer(peer);
    }
}

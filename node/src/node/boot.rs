//! From a configuration to a running process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use lampyrid_coordinator::{
    BroadcasterArguments, BroadcasterConfig, CoordinatorArguments, CoordinatorConfig, Gateway,
};
use lampyrid_membership::{
    AcceptorState, Ended, LinkEvent, MembershipArguments, MembershipConfig, MembershipPort,
    RefusalReason, Status, ViewEvent, ViewHandle, ViewState, start_identity,
};
use lampyrid_migration::{
    Directory, Limits, MigrationArguments, MigrationHandle, MigrationMessage,
    Storage as StateStorage,
};
use lampyrid_registry::{Hooks, Post, RegistryArguments, RegistryHandle, RegistryMessage};
use lampyrid_wire::{
    BootNonce, BubbleId, Channel, Clock, ClusterId, Inbound, Member, Outbound, Peer, ProcessId,
    Slot, SystemClock, Term,
};
use ractor::SpawnErr;
use rand::Rng;
use tokio::net::TcpListener;

use super::Node;
use super::end::{End, Fatal, NotJoined};
use super::tree::{Counters, Rest, Tree};
use crate::Reason;
use crate::config::{Bubbles, ConfigError, HostPort, NodeConfig};
use crate::links::{Cookie, LinksConfig, LinksError, LinksHandle, LinksHooks, Plain};
use crate::storage::{Storage, StorageError};

/// How often a joining process looks whether it is in, against its time limit.
const JOIN_PAUSE: Duration = Duration::from_millis(50);

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Its configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its data directory.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Its cluster address.
    #[error("cannot listen for other processes on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// An address of others has no meaning.
    #[error("{place}: {source}")]
    Resolve {
        /// As it was given.
        place: HostPort,
        /// What the resolver says.
        source: std::io::Error,
    },
    /// The links cannot work like this.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// The journal did not open.
    #[error("the journal did not open: {0}")]
    Journal(String),
    /// An actor did not start.
    #[error("an actor did not start: {0}")]
    Spawn(#[from] SpawnErr),
    /// A blocking task was cut off: the runtime shuts down.
    #[error("the runtime is shutting down")]
    RuntimeStopped,
}

/// Runs what blocks off the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StartError::RuntimeStopped)?
}

pub(super) async fn start(config: NodeConfig, states: StateStorage) -> Result<Node, StartError> {
    config.check()?;
    let data_dir = config.data_dir.clone();
    let storage = blocking(move || Ok(Storage::open(data_dir.as_deref())?)).await?;
    let listener = Arc::new(listen(config.listen, &storage).await?);
    let (seeds, advertised) = resolve(&config, &listener).await?;
    let identity = {
        let storage = storage.clone();
        let fault = storage.clone();
        blocking(move || {
            start_identity(&*storage.acceptor, ProcessId::random())
                .map_err(|source| StartError::from(fault.fault(source)))
        })
        .await?
    };
    let parts = Parts::new(&config, identity, advertised);
    let links = parts.links(&config, listener, advertised)?;
    let counters = Counters { links: links.counters(), ..parts.counters.clone() };
    let arguments = parts.migration(&storage, states, links.clone());
    let tree =
        Tree::start(Arc::clone(&parts.clock), Arc::clone(&parts.end), counters, arguments).await?;
    let bubbles = match first_bubbles(&parts, &storage, &config.bubbles).await {
        Ok(bubbles) => bubbles,
        Err(error) => {
            tree.ended().await;
            return Err(error);
        }
    };
    let registry = RegistryHandle::new(parts.view.clone(), Some(bubbles.into_iter().collect()));
    let migration = parts.handle(Arc::new(HostOf(registry.clone())));
    tree.add(parts.rest(&config, &seeds, &storage, links, &registry, &migration));
    let slot = parts.migration_slot.clone();
    parts.port.subscribe(Arc::new(move |event: ViewEvent| {
        // A restarting actor reads the current state by itself.
        let _ = slot.cast(MigrationMessage::View(event));
    }));
    if !seeds.is_empty() && parts.identity.view.is_none() {
        parts.watch_join(seeds, config.join_timeout);
    }
    let Parts { clock, view, port, end, .. } = parts;
    Ok(Node {
        clock,
        view,
        port,
        registry,
        migration,
        tree,
        end,
        lease: storage.lease(),
        registered: AtomicBool::new(false),
        leaving: AtomicBool::new(false),
    })
}

/// Binds the port asked for; if any will do, the one of the last start, else a new one.
async fn listen(wanted: SocketAddr, storage: &Storage) -> Result<TcpListener, StartError> {
    if wanted.port() == 0
        && let Some(port) = storage.port()?
        && let Ok(listener) = TcpListener::bind((wanted.ip(), port)).await
    {
        return Ok(listener);
    }
    let failed = |source| StartError::Listen { address: wanted, source };
    let listener = TcpListener::bind(wanted).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    let storage = storage.clone();
    blocking(move || Ok(storage.set_port(port)?)).await?;
    Ok(listener)
}

/// The addresses of the seeds, and our own as others see it. A seed without an address is left out
/// if another has one.
async fn resolve(
    config: &NodeConfig,
    listener: &TcpListener,
) -> Result<(Vec<SocketAddr>, SocketAddr), StartError> {
    let bound = listener
        .local_addr()
        .map_err(|source| StartError::Listen { address: config.listen, source })?;
    let (join, advertise) = (config.join.clone(), config.advertise.clone());
    blocking(move || {
        let mut seeds = Vec::new();
        let mut failure = None;
        for place in join {
            match place.resolve() {
                Ok(address) => seeds.push(address),
                Err(source) => {
                    tracing::warn!(seed = %place, %source, "the seed has no address");
                    failure = Some(StartError::Resolve { place, source });
                }
            }
        }
        if let (Some(failure), true) = (failure, seeds.is_empty()) {
            return Err(failure);
        }
        let advertised = match advertise {
            Some(place) => {
                place.resolve().map_err(|source| StartError::Resolve { place, source })?
            }
            None if bound.ip().is_unspecified() => {
                SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, bound.port()))
            }
            None => bound,
        };
        Ok((seeds, advertised))
    })
    .await
}

/// The bubbles hosted here; those of the first start are made now.
async fn first_bubbles(
    parts: &Parts,
    storage: &Storage,
    wanted: &Bubbles,
) -> Result<Vec<BubbleId>, StartError> {
    let journal = |reason: Reason| StartError::Journal(reason.to_string());
    let migration = parts.handle(Arc::new(Nobody));
    let hosted = migration.hosted_bubbles().await.map_err(journal)?;
    let known = storage.clone();
    if blocking(move || Ok(known.has_bubbles()?)).await? {
        return Ok(hosted);
    }
    let missing: Vec<Option<BubbleId>> = match wanted {
        // A start cut off half-way has made some already.
        Bubbles::Count(count) => vec![None; count.saturating_sub(hosted.len())],
        Bubbles::Fixed(ids) => ids.iter().copied().map(Some).collect(),
    };
    for id in missing {
        migration.create_bubble(id).await.map_err(journal)?;
    }
    let done = storage.clone();
    blocking(move || Ok(done.set_has_bubbles()?)).await?;
    migration.hosted_bubbles().await.map_err(journal)
}

/// What the parts of a process share.
struct Parts {
    identity: AcceptorState,
    nonce: BootNonce,
    me: Member,
    clock: Arc<dyn Clock>,
    view: ViewHandle,
    port: MembershipPort,
    end: Arc<End>,
    /// Where registry frames go; known once the registry is, before the links run.
    gateway: Arc<OnceLock<Gateway>>,
    migration_slot: Slot<MigrationMessage>,
    /// Without those of the links, which come with their handle.
    counters: Counters,
    /// The last refusal of each address that was dialled.
    refusals: Arc<Mutex<BTreeMap<SocketAddr, RefusalReason>>>,
}

impl Parts {
    fn new(config: &NodeConfig, identity: AcceptorState, advertised: SocketAddr) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
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
        Self {
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
            refusals: Arc::default(),
        }
    }

    fn handle(&self, directory: Arc<dyn Directory>) -> MigrationHandle {
        MigrationHandle::new(
            self.migration_slot.clone(),
            Arc::clone(&self.clock),
            directory,
            Arc::clone(&self.counters.migration),
        )
    }

    fn links(
        &self,
        config: &NodeConfig,
        listener: Arc<TcpListener>,
        advertised: SocketAddr,
    ) -> Result<LinksHandle, StartError> {
        let links = LinksConfig {
            listener,
            me: Peer {
                process: self.me.process,
                incarnation: self.me.incarnation,
                nonce: self.nonce,
            },
            advertised,
            cluster_name: config.cluster_name.clone(),
            cluster: self.identity.cluster,
            cookie: Cookie::new(config.cookie.as_bytes().to_vec())?,
            transport: Arc::new(Plain),
            clock: Arc::clone(&self.clock),
            seed: self.nonce.0,
        };
        Ok(LinksHandle::new(links, self.link_hooks())?)
    }

    fn link_hooks(&self) -> LinksHooks {
        let (port, refusals) = (self.port.clone(), Arc::clone(&self.refusals));
        let on_event = move |event: LinkEvent| {
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
        let on_frame = move |channel: Channel, inbound: Inbound| match channel {
            Channel::Membership => port.inbound(inbound),
            Channel::Registry => {
                let from = inbound.from;
                if let Some(Err(error)) = gateway.get().map(|gateway| gateway.receive(inbound)) {
                    tracing::warn!(%from, %error, "a registry message was dropped");
                }
            }
            // Dropped while the actor is being restarted: whoever needs an answer resends.
            Channel::Migration => drop(migration.cast(MigrationMessage::Inbound(inbound))),
        };
        LinksHooks { on_event: Arc::new(on_event), on_frame: Arc::new(on_frame) }
    }

    fn migration(
        &self,
        storage: &Storage,
        states: StateStorage,
        links: LinksHandle,
    ) -> impl Fn() -> MigrationArguments + Send + Sync + use<> {
        let (clock, view, nonce) = (Arc::clone(&self.clock), self.view.clone(), self.nonce);
        let (journal, slot) = (storage.journal.clone(), self.migration_slot.clone());
        let (port, counters) = (self.port.clone(), Arc::clone(&self.counters.migration));
        move || {
            let (named, port) = (view.clone(), port.clone());
            MigrationArguments {
                me: Arc::new(move || {
                    let me = &named.current().me;
                    Peer { process: me.process, incarnation: me.incarnation, nonce }
                }),
                clock: Arc::clone(&clock),
                outbound: Arc::new(links.clone()),
                view: view.clone(),
                journal: journal.clone(),
                storage: states.clone(),
                limits: Limits::default(),
                slot: slot.clone(),
                on_stale: Arc::new(move |peer: Peer, _| port.stale_peer(peer.process)),
                counters: Arc::clone(&counters),
            }
        }
    }

    fn rest(
        &self,
        config: &NodeConfig,
        seeds: &[SocketAddr],
        storage: &Storage,
        links: LinksHandle,
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
        self.port.subscribe(Arc::new(move |event: ViewEvent| forward_view(&forward, &event)));
        let post =
            Post::new(Arc::clone(&outbound), Arc::new(gateway.clone()), gateway.counters.clone());
        let hooks: Arc<dyn Hooks> =
            Arc::new(Surroundings { migration: migration.clone(), port: self.port.clone() });
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
                found: config.join.is_empty().then(ClusterId::random),
                jitter: self.nonce.0,
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
    fn watch_join(&self, seeds: Vec<SocketAddr>, limit: Duration) {
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

/// The registry as migration asks it.
struct HostOf(RegistryHandle);

impl Directory for HostOf {
    fn host_of(&self, bubble: BubbleId) -> Option<ProcessId> {
        self.0.find_process(bubble)
    }
}

/// No registry yet.
struct Nobody;

impl Directory for Nobody {
    fn host_of(&self, _: BubbleId) -> Option<ProcessId> {
        None
    }
}

/// What surrounds the registry.
struct Surroundings {
    migration: MigrationHandle,
    port: MembershipPort,
}

impl Hooks for Surroundings {
    fn has_entities(&self, _: BubbleId) -> bool {
        // Bubbles are given up through `Node::retire_bubble`, which migration refuses first.
        false
    }

    fn claimed(&self, bubble: BubbleId, by: ProcessId) {
        self.migration.bubble_claimed(bubble, by);
    }

    fn newer_view(&self, peer: ProcessId, _: Term) {
        self.port.newer_peer(peer);
    }
}

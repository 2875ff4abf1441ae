//! From a configuration to a running process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lampyrid_membership::{ViewEvent, start_identity};
use lampyrid_migration::{Directory, MigrationMessage};
use lampyrid_registry::RegistryHandle;
use lampyrid_wire::{BubbleId, Clock, ClusterId, ProcessId, SystemClock};
use ractor::SpawnErr;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Node;
use super::builder::Host;
use super::event_log::EventLog;
use super::leaver::Leaver;
use super::net::Net;
use super::parts::{LateRegistry, Parts};
use super::registrar::Registrar;
use super::staleness::Staleness;
use super::tree::{Counters, Tree};
use crate::Reason;
use crate::config::{Bubbles, ConfigError, HostPort, NodeConfig};
use crate::links::{LinksError, TlsError};
use crate::requests::{Requests, RequestsArguments};
use crate::storage::{Storage, StorageError};

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
    /// It is to join a certain cluster and knows nobody there.
    #[error("this process is to join cluster {0}: name a process of it with --join")]
    NoSeed(ClusterId),
    /// The links cannot work like this.
    #[error(transparent)]
    Links(#[from] LinksError),
    /// Certificate, key or authority cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journal did not open, or refused what a first start needs.
    #[error("the journal did not open: {0}")]
    Journal(String),
    /// The journal has not answered in time. It may be large, or its disk slow or full; nothing is
    /// known to be wrong with it.
    #[error(
        "the journal did not answer in time: it is still being replayed, or the disk is slow or full"
    )]
    JournalSilent,
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

pub(super) async fn start(config: NodeConfig, host: Host) -> Result<Node, StartError> {
    let storage = open(&config).await?;
    let listener = Arc::new(listen(config.listen, &storage).await?);
    let bound = listener
        .local_addr()
        .map_err(|source| StartError::Listen { address: config.listen, source })?;
    let addresses = resolve(&config, bound).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let links = |parts: &Parts| parts.links(&config, listener, addresses.1);
    assemble(&config, host, storage, clock, &addresses, links).await
}

/// The same on a network in memory, under its clock.
#[cfg(feature = "testkit")]
pub(super) async fn start_on(
    config: NodeConfig,
    host: Host,
    network: crate::testkit::Network,
) -> Result<Node, StartError> {
    let storage = open(&config).await?;
    let addresses = resolve(&config, config.listen).await?;
    let clock = Arc::clone(network.clock());
    let links = |parts: &Parts| Ok(parts.station(&config, network, addresses.1));
    assemble(&config, host, storage, clock, &addresses, links).await
}

async fn open(config: &NodeConfig) -> Result<Storage, StartError> {
    config.check()?;
    let data_dir = config.data_dir.clone();
    blocking(move || Ok(Storage::open(data_dir.as_deref())?)).await
}

async fn assemble(
    config: &NodeConfig,
    host: Host,
    storage: Storage,
    clock: Arc<dyn Clock>,
    (seeds, advertised): &(Vec<SocketAddr>, SocketAddr),
    links: impl FnOnce(&Parts) -> Result<Net, StartError>,
) -> Result<Node, StartError> {
    let identity = {
        let storage = storage.clone();
        let fault = storage.clone();
        blocking(move || {
            start_identity(&*storage.acceptor, ProcessId::random())
                .map_err(|source| StartError::from(fault.fault(source)))
        })
        .await?
    };
    if let (Some(cluster), None, true) = (identity.cluster, &identity.view, seeds.is_empty()) {
        return Err(StartError::NoSeed(cluster));
    }
    let parts = Parts::new(config, identity, *advertised, &storage, clock)?;
    let links = links(&parts)?;
    let counters = Counters { links: links.counters(), ..parts.counters.clone() };
    let handler = host.requests.clone();
    let arguments = parts.migration(&storage, host, links.clone());
    let (claims, events) = (parts.claims.clone(), parts.events.clone());
    let tree = Tree::start(&parts.clock, &parts.end, counters, claims, events, arguments).await?;
    let bubbles = match first_bubbles(&parts, &storage, &tree, &config.bubbles).await {
        Ok(bubbles) => bubbles,
        Err(error) => {
            tree.ended().await;
            return Err(error);
        }
    };
    let registry = RegistryHandle::new(parts.view.clone(), Some(bubbles.into_iter().collect()));
    // Known from here on: nobody asks before there is a view.
    let _ = parts.registry.set(registry.clone());
    let migration = parts.handle(Arc::new(HostOf(registry.clone())));
    let requests = Requests::new(RequestsArguments {
        clock: Arc::clone(&parts.clock),
        view: parts.view.clone(),
        nonce: parts.nonce,
        entities: migration.clone(),
        outbound: Arc::new(links.clone()),
        handler,
        counters: Arc::clone(&parts.counters.requests),
        ended: tree.watch_end(),
    });
    // Known from here on: no session is up before the links run.
    let _ = parts.requests.set(requests.downgrade());
    let told = requests.downgrade();
    parts.port.subscribe(Arc::new(move |event: ViewEvent| {
        if let Some(view) = &event.state.view {
            told.view(view);
        }
    }));
    tree.add(parts.rest(config, seeds, &storage, links, &registry, &migration));
    let slot = parts.migration_slot.clone();
    parts.port.subscribe(Arc::new(move |event: ViewEvent| {
        // A restarting actor reads the current state by itself.
        let _ = slot.cast(MigrationMessage::View(event));
    }));
    let events = parts.events.clone();
    parts.port.subscribe(Arc::new(move |event: ViewEvent| events.note_view(event.state)));
    let staleness = Arc::<Staleness>::default();
    let (told, clock) = (Arc::clone(&staleness), Arc::clone(&parts.clock));
    parts.port.subscribe(Arc::new(move |event: ViewEvent| {
        if let Some(view) = &event.state.view {
            told.installed(clock.now(), view.epoch());
        }
    }));
    tokio::spawn(note_topology(parts.events.clone(), registry.clone(), tree.watch_end()));
    if !seeds.is_empty() && parts.identity.view.is_none() {
        parts.watch_join(seeds.clone(), config.join_timeout);
    }
    let registrar = Registrar::new(
        Arc::clone(&parts.clock),
        migration.clone(),
        registry.clone(),
        parts.claims.clone(),
    );
    let leaver = Leaver::new(
        migration.clone(),
        parts.port.clone(),
        tree.supervisor(),
        Arc::clone(&parts.end),
    );
    tokio::spawn(leaver.clone().leave_when(Arc::clone(&parts.drained), tree.watch_end()));
    tokio::spawn(registrar.clone().keep(Arc::clone(&parts.hosting), tree.watch_end()));
    let Parts { clock, view, port, end, lives, events, .. } = parts;
    Ok(Node {
        clock,
        view,
        port,
        registry,
        migration,
        requests,
        registrar,
        tree,
        end,
        lives,
        events,
        lease: storage.lease(),
        registered: AtomicBool::new(false),
        staleness,
        leaver,
    })
}

/// Notes what hosts what whenever that changes; ends with the process.
async fn note_topology(
    events: EventLog,
    registry: RegistryHandle,
    mut ended: watch::Receiver<bool>,
) {
    let mut changes = registry.changes();
    let work = async {
        loop {
            events.note_topology(registry.topology());
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = work => {}
        // The sender gone means the same.
        _ = ended.wait_for(|ended| *ended) => {}
    }
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
    bound: SocketAddr,
) -> Result<(Vec<SocketAddr>, SocketAddr), StartError> {
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
    tree: &Tree,
    wanted: &Bubbles,
) -> Result<Vec<BubbleId>, StartError> {
    let journal = |reason| unanswered(reason, tree.has_ended());
    let migration = parts.handle(Arc::new(Nobody));
    let runs = || tree.migration_runs();
    let hosted = patiently(runs, || migration.hosted_bubbles()).await.map_err(journal)?;
    let known = storage.clone();
    if blocking(move || Ok(known.has_bubbles()?)).await? {
        return Ok(hosted);
    }
    let missing = match wanted {
        // A start cut off half-way has made some already.
        Bubbles::Count(count) => {
            let missing = count.saturating_sub(hosted.len());
            std::iter::repeat_with(BubbleId::random).take(missing).collect()
        }
        Bubbles::Fixed(ids) => ids.clone(),
    };
    for id in missing {
        // Under its own id, so that asking twice makes one.
        patiently(runs, || migration.create_bubble(Some(id))).await.map_err(journal)?;
    }
    let done = storage.clone();
    blocking(move || Ok(done.set_has_bubbles()?)).await?;
    patiently(runs, || migration.hosted_bubbles()).await.map_err(journal)
}

/// Why a start got no answer of the journal. Once its actor is given up, so is the whole tree.
fn unanswered(reason: Reason, given_up: bool) -> StartError {
    match reason {
        Reason::JournalFailed if !given_up => StartError::JournalSilent,
        reason => StartError::Journal(reason.to_string()),
    }
}

/// How often the journal is asked at a start before it counts as failed. Each time has the limit of
/// a caller; a slow disk may need longer than that for what recovery writes.
const START_TRIES: usize = 30;

/// Asks again while no answer comes and the actor runs: what is asked at a start has no effect if
/// it is asked twice.
async fn patiently<T>(
    runs: impl Fn() -> bool,
    ask: impl AsyncFn() -> Result<T, Reason>,
) -> Result<T, Reason> {
    let mut tries = START_TRIES;
    loop {
        tries -= 1;
        match ask().await {
            Err(Reason::JournalFailed) if tries > 0 && runs() => {
                tracing::warn!(tries, "the journal does not answer yet: is the disk slow?");
            }
            answer => return answer,
        }
    }
}

/// The registry as migration asks it.
struct HostOf(RegistryHandle);

impl Directory for HostOf {
    fn host_of(&self, bubble: BubbleId) -> Option<ProcessId> {
        self.0.find_process(bubble)
    }
}

/// The same, for those who are started before there is one.
impl Directory for LateRegistry {
    fn host_of(&self, bubble: BubbleId) -> Option<ProcessId> {
        self.0.get()?.find_process(bubble)
    }
}

/// No registry yet.
struct Nobody;

impl Directory for Nobody {
    fn host_of(&self, _: BubbleId) -> Option<ProcessId> {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    async fn asked(answers_at: usize, runs: bool) -> (Result<(), Reason>, usize) {
        let asked = Cell::new(0);
        let answer = patiently(
            || runs,
            async || {
                asked.set(asked.get() + 1);
                (asked.get() >= answers_at).then_some(()).ok_or(Reason::JournalFailed)
            },
        );
        (answer.await, asked.get())
    }

    #[test]
    fn a_journal_that_did_not_answer_in_time_is_not_said_to_have_failed() {
        let said = |given_up| unanswered(Reason::JournalFailed, given_up).to_string();
        assert!(said(false).contains("did not answer in time"));
        assert!(said(true).contains("did not open"));
        let other = unanswered(Reason::UnknownBubble, false);
        assert!(matches!(other, StartError::Journal(_)));
    }

    #[tokio::test]
    async fn a_start_waits_for_a_slow_journal_but_not_for_one_that_is_gone_or_for_ever() {
        assert_eq!(asked(5, true).await, (Ok(()), 5));
        assert_eq!(asked(5, false).await, (Err(Reason::JournalFailed), 1));
        assert_eq!(asked(usize::MAX, true).await, (Err(Reason::JournalFailed), START_TRIES));
    }
}

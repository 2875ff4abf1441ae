use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_membership::Status;
use lampyrid_wire::{Clock, SystemClock};

use super::auditor::Auditor;
use super::network::Network;
use crate::config::{Bubbles, Cookie, HostPort, NodeConfig};
use crate::{Node, NodeBuilder, StartError};

/// How long a test waits for what must come; reached only by one that fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// What brings a host's store, hooks and limits.
type Equip = Arc<dyn Fn(usize, NodeBuilder) -> NodeBuilder + Send + Sync>;

/// Why a test cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TestError {
    /// A process did not start.
    #[error("process {at} did not start: {source}")]
    Start {
        /// Which.
        at: usize,
        /// Why.
        source: StartError,
    },
    /// What was waited for did not come.
    #[error("still not true after {PATIENCE:?}: {0}")]
    Never(String),
}

/// A cluster that is to be started.
#[derive(Clone)]
#[must_use]
pub struct Plan {
    size: usize,
    bubbles: usize,
    seed: u64,
    clock: Arc<dyn Clock>,
    data: Option<PathBuf>,
    equip: Equip,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("size", &self.size).field("seed", &self.seed).finish()
    }
}

impl Plan {
    /// So many processes with one bubble each, in memory, under the machine's clock.
    pub fn new(size: usize) -> Self {
        Self {
            size,
            bubbles: 1,
            seed: 1,
            clock: Arc::new(SystemClock::new()),
            data: None,
            equip: Arc::new(|_, builder| builder),
        }
    }

    /// So many bubbles in each process.
    pub fn bubbles(self, bubbles: usize) -> Self {
        Self { bubbles, ..self }
    }

    /// What goes wrong on the network follows from that.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// All time in all processes. Under a [`lampyrid_wire::ManualClock`] somebody has to move it on
    /// for anything to be retried, detected or given up.
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Each process has a data directory in there, so that it comes back as itself; without one it
    /// comes back as another process with nothing.
    pub fn data(self, directory: impl Into<PathBuf>) -> Self {
        Self { data: Some(directory.into()), ..self }
    }

    /// What each process brings along, by its number.
    pub fn equip(
        self,
        equip: impl Fn(usize, NodeBuilder) -> NodeBuilder + Send + Sync + 'static,
    ) -> Self {
        Self { equip: Arc::new(equip), ..self }
    }

    /// Starts them, one after the other, and waits until all are ready in one view.
    ///
    /// # Errors
    /// [`TestError`].
    pub async fn start(self) -> Result<Cluster, TestError> {
        let network = Network::new(Arc::clone(&self.clock), self.seed);
        let addresses = (0..self.size).map(|_| network.address()).collect();
        let nodes = (0..self.size).map(|_| None).collect();
        let auditor = Auditor::new();
        let cookie = Cookie::random();
        let mut cluster = Cluster { plan: self, network, addresses, nodes, auditor, cookie };
        for at in 0..cluster.addresses.len() {
            cluster.start(at).await?;
        }
        cluster.settled().await?;
        Ok(cluster)
    }
}

/// Several whole processes in one, over a [`Network`]. Everything of a process runs but its
/// sockets: its actors, their supervision, its journal and its store.
///
/// ```
/// use bytes::Bytes;
/// use lampyrid::NewEntities;
/// use lampyrid::testkit::Plan;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let directory = tempfile::tempdir()?;
/// let mut cluster = Plan::new(3).seed(7).data(directory.path()).start().await?;
///
/// let bubble = cluster.node(1).create_bubble(None).await?;
/// let ids = cluster.node(1).migration().create(bubble, NewEntities::Many(5), Bytes::new()).await?;
/// cluster.auditor().expect(ids);
///
/// cluster.crash(1).await;
/// cluster.start(1).await?; // as itself: it has its directory still
/// cluster.settled().await?;
/// let findings = cluster.auditor().audit(cluster.running()).await?;
/// assert!(findings.is_settled() && findings.active == 5, "{findings:?}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    network: Network,
    addresses: Vec<SocketAddr>,
    nodes: Vec<Option<Node>>,
    auditor: Auditor,
    cookie: Cookie,
}

impl Cluster {
    /// What connects them.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// What watches them.
    #[must_use]
    pub fn auditor(&self) -> &Auditor {
        &self.auditor
    }

    /// A process, if it runs.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<&Node> {
        self.nodes.get(at)?.as_ref()
    }

    /// A process.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub fn node(&self, at: usize) -> &Node {
        match self.get(at) {
            Some(node) => node,
            None => panic!("process {at} does not run"),
        }
    }

    /// Those that run.
    pub fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    /// Where a process is on the network.
    ///
    /// # Panics
    /// If there is no such process.
    #[must_use]
    pub fn address(&self, at: usize) -> SocketAddr {
        self.addresses[at]
    }

    /// Ends a process as kill -9 does: it says nothing more to anybody.
    pub async fn crash(&mut self, at: usize) {
        let Some(node) = self.nodes.get_mut(at).and_then(Option::take) else { return };
        self.network.remove(self.addresses[at]);
        node.abandon().await;
    }

    /// Starts a process that does not run, and waits for nothing more.
    ///
    /// # Errors
    /// [`TestError::Start`].
    ///
    /// # Panics
    /// If it runs, or if there is no such process.
    pub async fn start(&mut self, at: usize) -> Result<(), TestError> {
        assert!(self.nodes[at].is_none(), "process {at} runs");
        let mut config = NodeConfig::new(format!("p{at}"), self.cookie.clone());
        config.listen = self.addresses[at];
        config.bubbles = Bubbles::Count(self.plan.bubbles);
        config.data_dir = self.plan.data.as_ref().map(|data| data.join(format!("p{at}")));
        let running = self.addresses.iter().zip(&self.nodes).filter(|(_, node)| node.is_some());
        let seed = |address: &SocketAddr| HostPort {
            host: address.ip().to_string(),
            port: address.port(),
        };
        config.join = running.map(|(address, _)| seed(address)).collect();
        let builder = (self.plan.equip)(at, Node::builder(config));
        let started = builder.start_on(&self.network).await;
        let node = started.map_err(|source| TestError::Start { at, source })?;
        self.auditor.watch(&node);
        self.nodes[at] = Some(node);
        Ok(())
    }

    /// Waits until all that run are ready, in one view that has them and no others.
    ///
    /// # Errors
    /// [`TestError::Never`].
    pub async fn settled(&self) -> Result<(), TestError> {
        self.until("all that run are ready in one view of their own", || {
            let mut members: Vec<_> = self.running().map(Node::member).collect();
            members.sort_unstable();
            self.running().all(|node| {
                let state = node.view().current();
                let listed = state.view.as_ref().is_some_and(|view| view.members() == members);
                state.status == Status::Active && listed && node.readiness().is_ok()
            })
        })
        .await
    }

    /// Waits for a condition.
    ///
    /// # Errors
    /// [`TestError::Never`].
    pub async fn until(
        &self,
        what: &str,
        mut holds: impl FnMut() -> bool,
    ) -> Result<(), TestError> {
        let waiting = async {
            while !holds() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        waited.map_err(|_| TestError::Never(what.to_owned()))
    }
}

//! One process of a cluster, inside a host application or behind the `lampyrid` binary.

#[cfg(feature = "cli")]
mod backend;
mod boot;
mod builder;
mod end;
mod event_log;
mod leaver;
mod memory;
#[cfg(feature = "cli")]
pub(crate) mod metrics;
mod net;
mod parts;
mod registrar;
mod staleness;
#[cfg(test)]
mod tests;
mod tree;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use lampyrid_membership::{MembershipPort, Status, Subscriber, ViewHandle};
use lampyrid_migration::{BarReport, BubbleMoveReport, DrainReport, EntityStore, MigrationHandle};
use lampyrid_registry::RegistryHandle;
use lampyrid_wire::{BubbleId, Clock, EntityId, Epoch, Member, ProcessId};

pub use self::boot::StartError;
pub use self::builder::NodeBuilder;
use self::end::End;
pub use self::end::Fatal;
pub use self::event_log::{EventLog, EventStream, MAX_EVENTS_KEPT, NodeEvent, NumberedEvent};
use self::leaver::Leaver;
use self::registrar::Registrar;
use self::staleness::Staleness;
use self::tree::Tree;
use crate::config::NodeConfig;
use crate::links::{LinkCounters, Lives};
use crate::requests::{AskError, Requests};
use crate::storage::Lease;
#[cfg(any(feature = "testkit", feature = "fault-points"))]
use crate::supervision::SupervisorMessage;
use crate::{Reason, RegistryError};

/// How often a process that is not ready yet looks whether it is.
const READY_PAUSE: Duration = Duration::from_millis(5);

/// How long what was written may wait for the disk before the process is not ready.
pub const JOURNAL_LIMIT: Duration = Duration::from_secs(10);

/// How long the topology may be older than the view before the process is not ready.
pub const TOPOLOGY_LIMIT: Duration = Duration::from_secs(10);

/// How long the journal's thread has to let go of the store after the actors have ended.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// Why a process is not ready to serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotReady {
    /// Not in a view, or not in touch with its quorum.
    #[error("the process is {0}, not an active member of a view")]
    Membership(Status),
    /// The journal is being replayed, at the start or after a failure.
    #[error("the journal is being replayed")]
    Recovering,
    /// The disk is full (or a quota used up): the journal is opened again once there is room.
    #[error("the disk is full: the journal waits for room")]
    DiskFull,
    /// Its bubbles have not been registered yet since it started.
    #[error("its bubbles are not registered yet")]
    Unregistered,
    /// What was written has not become durable for longer than [`JOURNAL_LIMIT`]: the disk hangs.
    #[error("the journal has waited for its disk for {0:?}")]
    JournalHangs(Duration),
    /// Moves that are decided were not acknowledged for long by members of the view.
    #[error(
        "{0} decided moves are stuck: their destinations are in the view and do not acknowledge \
         them; look at the logs there"
    )]
    Stuck(u64),
    /// What runs where is older than the view, for longer than [`TOPOLOGY_LIMIT`]: the coordinator
    /// does not tell.
    #[error(
        "its topology is of epoch {topology}, its view of epoch {view}: the coordinator has not told \
         it what runs where"
    )]
    StaleTopology {
        /// The topology's epoch.
        topology: Epoch,
        /// The view's.
        view: Epoch,
    },
}

/// A running process. Dropping the last handle on it ends it as a crash would: nothing is lost, and
/// the others find out by themselves. To go politely, [`Node::leave`] and wait for
/// [`Node::stopped`].
///
/// At most one per operating-system process: the substrate's tables are global to it.
pub struct Node {
    clock: Arc<dyn Clock>,
    view: ViewHandle,
    port: MembershipPort,
    registry: RegistryHandle,
    migration: MigrationHandle,
    requests: Requests,
    registrar: Registrar,
    tree: Tree,
    end: Arc<End>,
    lives: Lives,
    events: EventLog,
    lease: Lease,
    /// Its bubbles have been registered once.
    registered: AtomicBool,
    staleness: Arc<Staleness>,
    leaver: Leaver,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("view", &self.view).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a process whose entities' states live in its own data directory (or in memory,
    /// without one). Returns as soon as its port is bound and its data directory is its own; it may
    /// be long until [`Node::ready`] resolves. Not cancellation safe: a dropped future may leave
    /// the data directory in use until the runtime ends.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    ///
    /// # Examples
    /// ```
    /// use lampyrid::Node;
    /// use lampyrid::config::{Cookie, NodeConfig};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// # let directory = directory.path().join("a");
    /// let mut config = NodeConfig::new("a", Cookie::new(b"a secret the processes share")?);
    /// config.data_dir = Some(directory);
    /// config.join = Vec::new(); // or seeds: "host:7001".parse()?
    /// let node = Node::start(config).await?;
    /// // Whichever comes first: a process that cannot go on is never ready.
    /// tokio::select! {
    ///     () = node.ready() => {}
    ///     end = node.stopped() => return Ok(end?),
    /// }
    /// println!("others join at {}", node.member().address);
    /// node.leave();
    /// node.stopped().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start(config: NodeConfig) -> Result<Self, StartError> {
        Self::builder(config).start().await
    }

    /// The same with the host's own store of states; ownership stays with the journal.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start_with_store(
        config: NodeConfig,
        store: Arc<dyn EntityStore>,
    ) -> Result<Self, StartError> {
        Self::builder(config).store(store).start().await
    }

    /// A process that is to start with more than its configuration: a host's store, hooks, limits.
    pub fn builder(config: NodeConfig) -> NodeBuilder {
        NodeBuilder::new(config)
    }

    /// This process as it is or wants to be listed.
    #[must_use]
    pub fn member(&self) -> Member {
        self.view.current().me.clone()
    }

    /// Who is alive and who coordinates.
    #[must_use]
    pub fn view(&self) -> &ViewHandle {
        &self.view
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// What runs where.
    #[must_use]
    pub fn registry(&self) -> &RegistryHandle {
        &self.registry
    }

    /// Entities and their moves.
    #[must_use]
    pub fn migration(&self) -> &MigrationHandle {
        &self.migration
    }

    /// Brings requests to entities, wherever they are; a handle that can be cloned and given away.
    #[must_use]
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Asks an entity, wherever it is, and gives the answer of the process that serves it; see
    /// [`Requests::ask`].
    ///
    /// # Errors
    /// [`AskError`], which says whether a handler may have carried the request out.
    ///
    /// # Examples
    /// ```
    /// use std::{sync::Arc, time::Duration};
    ///
    /// use bytes::Bytes;
    /// # use lampyrid::config::{Cookie, NodeConfig};
    /// use lampyrid::{EntityError, EntityRequest, Node, RequestHandler, Requests, async_trait};
    ///
    /// /// Answers with the state and what was asked.
    /// struct Echo;
    ///
    /// #[async_trait]
    /// impl RequestHandler for Echo {
    ///     async fn answer(&self, asked: EntityRequest, _: &Requests) -> Result<Bytes, EntityError> {
    ///         Ok([asked.entity.state, asked.body].concat().into())
    ///     }
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let config = NodeConfig::new("a", Cookie::random());
    /// let node = Node::builder(config).requests(Arc::new(Echo)).start().await?;
    /// # node.ready().await;
    /// # let bubble = node.create_bubble(None).await?;
    /// # let one = lampyrid::NewEntities::One(None);
    /// # let id = node.migration().create(bubble, one, Bytes::from("sun")).await?[0];
    /// let answer = node.ask(id, Bytes::from("day"), Duration::from_secs(5)).await?;
    /// assert_eq!(answer, "sunday");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn ask(&self, id: EntityId, body: Bytes, limit: Duration) -> Result<Bytes, AskError> {
        self.requests.ask(id, body, limit).await
    }

    /// Calls `subscriber` with the current state, then with every change of view, of status, or of
    /// whom an isolated process waits for, in order. It must return at once.
    pub fn subscribe(&self, subscriber: Subscriber) {
        self.port.subscribe(subscriber);
    }

    /// What happens in this process: what came after the event of that id, or the current state
    /// first. The stream ends some time after the process.
    ///
    /// # Examples
    /// ```
    /// # use lampyrid::config::{Cookie, NodeConfig};
    /// use lampyrid::{Node, NodeEvent, Status};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = Node::start(NodeConfig::new("a", Cookie::random())).await?;
    /// let mut events = node.events(None);
    /// let mut last = None;
    /// while let Some(numbered) = events.next().await {
    ///     last = Some(numbered.id);
    ///     match numbered.event {
    ///         NodeEvent::View(state) if state.status == Status::Active => break,
    ///         NodeEvent::Gap => println!("some were left out; the current state follows"),
    ///         _ => {}
    ///     }
    /// }
    /// // Somebody who comes back goes on where he was.
    /// let again = node.events(last);
    /// # drop(again);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn events(&self, after: Option<u64>) -> EventStream {
        self.events.subscribe(after)
    }

    /// Hosts one more bubble, with a fresh id if none is given: durable here, then registered.
    ///
    /// # Errors
    /// [`BubbleError`].
    ///
    /// # Examples
    /// ```
    /// # use lampyrid::config::{Cookie, NodeConfig};
    /// use lampyrid::{BubbleId, Node};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let node = Node::start(NodeConfig::new("a", Cookie::random())).await?;
    /// # node.ready().await;
    /// let market = node.create_bubble(Some(BubbleId::from_name("market"))).await?;
    /// // From now on every process can look up who hosts it, without a message.
    /// assert_eq!(node.registry().find_process(market), Some(node.member().process));
    /// node.retire_bubble(market).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_bubble(&self, id: Option<BubbleId>) -> Result<BubbleId, BubbleError> {
        let id = self.migration.create_bubble(id).await?;
        self.registrar.register().await.map(|()| id)
    }

    /// Hosts several more bubbles of these ids: each durable here, then all registered at once, which
    /// takes no longer than one. Those that are hosted here already stay so.
    ///
    /// # Errors
    /// [`BubbleError`]; bubbles before the one at fault stay, and asking again goes on with the rest.
    pub async fn create_bubbles(&self, ids: &[BubbleId]) -> Result<(), BubbleError> {
        for id in ids {
            self.migration.create_bubble(Some(*id)).await?;
        }
        self.registrar.register().await
    }

    /// Hosts a bubble no longer; it must be empty.
    ///
    /// # Errors
    /// [`BubbleError`]; [`Reason::BubbleNotEmpty`] while entities live in it.
    pub async fn retire_bubble(&self, id: BubbleId) -> Result<(), BubbleError> {
        self.migration.retire_bubble(id).await?;
        self.registrar.register().await
    }

    /// Starts to move a bubble that is hosted here, with all its entities, to another member. Its
    /// id stays. [`MigrationHandle::wait_for_bubble`] waits for the end.
    ///
    /// # Errors
    /// Nothing was started, unless the reason is [`Reason::JournalFailed`].
    pub async fn move_bubble(
        &self,
        bubble: BubbleId,
        to: ProcessId,
    ) -> Result<BubbleMoveReport, Reason> {
        self.migration.move_bubble(bubble, to).await
    }

    /// Whether the process can serve: in a quorum view, recovered, able to write, registered, told
    /// what runs where, and no move of its is stuck.
    ///
    /// # Errors
    /// The first thing amiss.
    pub fn readiness(&self) -> Result<(), NotReady> {
        match self.view.status() {
            Status::Active => {}
            status => return Err(NotReady::Membership(status)),
        }
        if !self.tree.migration_runs() {
            return Err(match self.lease.lacks_room() {
                true => NotReady::DiskFull,
                false => NotReady::Recovering,
            });
        }
        let (now, moves) = (self.clock.now(), self.migration.counters());
        if let Some(waited) = moves.journal_waits(now).filter(|waited| *waited > JOURNAL_LIMIT) {
            return Err(NotReady::JournalHangs(waited));
        }
        if !self.registered.load(Ordering::Relaxed) {
            let me = self.view.current().me.process;
            if self.registry.bubbles_of(me).is_none() {
                return Err(NotReady::Unregistered);
            }
            self.registered.store(true, Ordering::Relaxed);
        }
        if let stuck @ 1.. = moves.stuck() {
            return Err(NotReady::Stuck(stuck));
        }
        let view = self.view.current().view.as_ref().map_or(Epoch(0), |view| view.epoch());
        let topology = self.registry.epoch();
        if self.staleness.of(now, topology) > TOPOLOGY_LIMIT {
            return Err(NotReady::StaleTopology { topology, view });
        }
        Ok(())
    }

    /// Resolves when [`Node::readiness`] has nothing amiss. Cancellation safe.
    pub async fn ready(&self) {
        while self.readiness().is_err() {
            self.clock.sleep_until(self.clock.now() + READY_PAUSE).await;
        }
    }

    /// How often each supervised actor was restarted, by its name in logs and metrics.
    #[must_use]
    pub fn restarts(&self) -> Vec<(&'static str, u64)> {
        self.tree.restarts().by_child().collect()
    }

    /// What the links have done so far.
    #[must_use]
    pub fn link_counters(&self) -> &LinkCounters {
        &self.tree.counters.links
    }

    /// Begins the graceful leave and returns at once; [`Node::stopped`] tells when it is done:
    /// moves are finished or aborted, the leave is announced, everything is durable. Must be
    /// called within the runtime.
    pub fn leave(&self) {
        self.leaver.leave();
    }

    /// Gives all bubbles and entities of this process to other members, then leaves as by
    /// [`Node::leave`]. Returns at once; a repetition goes on with what is under way.
    /// [`MigrationHandle::wait_for_drain`] waits for the end, [`Node::stopped`] for the leave.
    ///
    /// # Errors
    /// Nothing was started, unless the reason is [`Reason::JournalFailed`].
    pub async fn drain(&self) -> Result<DrainReport, Reason> {
        self.migration.drain().await
    }

    /// How the barring of a process stands, and whether this one has met it or has a record of it.
    ///
    /// # Errors
    /// [`Reason::JournalFailed`]: no answer.
    pub async fn bar_report(&self, process: ProcessId) -> Result<BarReport, Reason> {
        self.migration.bar_report(process).await.map(|report| self.with_met(report))
    }

    /// Whoever was met is known.
    fn with_met(&self, mut report: BarReport) -> BarReport {
        report.known |= self.lives.all().iter().any(|peer| peer.process == report.process);
        report
    }

    /// Resolves when the process has stopped and let go of its data directory: it has left, or
    /// cannot go on. Cancellation safe.
    ///
    /// # Errors
    /// [`Fatal`], if nobody asked it to stop.
    pub async fn stopped(&self) -> Result<(), Fatal> {
        let end = self.end.wait().await;
        self.let_go().await;
        end
    }

    /// Ends a supervised actor, by its name in [`Node::restarts`], in the middle of whatever it does.
    /// Its supervisor starts it again.
    #[cfg(any(feature = "testkit", feature = "fault-points"))]
    pub fn kill_actor(&self, name: &str) {
        // Without a supervisor nothing runs.
        let _ = self.tree.supervisor().cast(SupervisorMessage::Kill(name.to_owned()));
    }

    /// Ends it without a word to anybody, and waits until it has let go of its data directory.
    #[cfg(feature = "testkit")]
    pub(crate) async fn abandon(&self) {
        self.end.set(Ok(()));
        self.let_go().await;
    }

    async fn let_go(&self) {
        self.tree.ended().await;
        let until = self.clock.now() + RELEASE_LIMIT;
        while !self.lease.is_over() && self.clock.now() < until {
            self.clock.sleep_until(self.clock.now() + READY_PAUSE).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tree.supervisor().stop(Some("dropped".to_owned()));
    }
}

/// Why a bubble was not created or retired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BubbleError {
    /// Here.
    #[error(transparent)]
    Refused(#[from] Reason),
    /// The change is durable here and not registered yet; it is still being asked for, unless the
    /// error says that another process hosts the bubble.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

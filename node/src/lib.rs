//! Processes that agree on who is alive, who coordinates and which process hosts which partition
//! ("bubble"), and that move live entities between one another exactly once.
//!
//! [`Node::start`] starts one inside a host application; the `lampyrid` binary is a thin shell
//! around the same call. A node gives handles: [`Node::view`] (who is alive), [`Node::registry`]
//! (what runs where) and [`Node::migration`] (entities and their moves).
//!
//! ```
//! use std::time::Duration;
//!
//! use bytes::Bytes;
//! use lampyrid::config::{Cookie, NodeConfig};
//! use lampyrid::{Expected, MigrateRequest, NewEntities, Node};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // On loopback and in memory; `config.join` would name processes of a cluster.
//! let config = NodeConfig::new("a", Cookie::new(b"a secret the processes share")?);
//! let node = Node::start(config).await?;
//! node.ready().await;
//!
//! // Both bubbles are here; the second one could be in any process of the view.
//! let (here, there) = (node.create_bubble(None).await?, node.create_bubble(None).await?);
//! let moves = node.migration();
//! let ids = moves.create(here, NewEntities::One(None), Bytes::from("lit")).await?;
//! let entities = vec![Expected { id: ids[0], epoch: None }];
//! let request = MigrateRequest { entities, to: there, idempotency_key: None };
//! let saga = moves.migrate(request).await?;
//! moves.wait(saga, Duration::from_secs(10)).await?;
//!
//! let moved = moves.get(ids[0]).await?;
//! assert_eq!((moved.bubble, moved.state), (there, Bytes::from("lit")));
//! node.leave();
//! node.stopped().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A longer one is in `node/examples/embed.rs`, and docs/embedding.md goes through all of it.

#[cfg(feature = "cli")]
pub mod admin;
#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
mod follow;
pub mod links;
mod node;
pub mod recover;
pub mod requests;
mod storage;
mod supervision;
#[cfg(feature = "testkit")]
pub mod testkit;
mod tls;
#[cfg(feature = "cli")]
pub mod workload;

/// For the implementation of [`MoveHooks`].
pub use async_trait::async_trait;
pub use follow::{FollowError, MAX_HOPS, Place};
pub use lampyrid_membership::{
    Isolated, Status, StopReason, View, ViewChange, ViewEvent, ViewHandle, ViewState,
};
pub use lampyrid_migration::{
    Audit, BUBBLE_FAULT_POINTS, BarReport, BatchError, BubbleMoveReport, BubbleMoveState,
    DrainReport, DrainState, EntityError, EntityPage, EntityRecord, EntityStatus, Expected,
    FAULT_POINTS, Hook, HookFigures, HookOutcome, Limits, MemoryStore, MigrateRequest,
    MigrationCounters, Move, MovedTo, NewEntities, OpenError, Outcome, Phase, Presence, Reason,
    SagaEntity, SagaObserver, SagaReport, SagaState, StatusFilter, StoreError, TimeLimits, Veto,
    Whereabouts,
};
pub use lampyrid_registry::{RegistryError, RegistryHandle, TopologySnapshot};
pub use lampyrid_wire::{
    BubbleId, ClusterId, Epoch, Incarnation, Member, OwnershipEpoch, ProcessId, SagaId, Term,
    ViewId,
};
pub use node::{
    BubbleError, EventLog, EventStream, Fatal, JOURNAL_LIMIT, MAX_EVENTS_KEPT, Node, NodeBuilder,
    NodeEvent, NotReady, NumberedEvent, StartError, TOPOLOGY_LIMIT,
};
pub use requests::{AskError, EntityRequest, RequestHandler, Requests};
pub use storage::StorageError;
pub use supervision::Restart;

// Items of other crates that hosts use the most, each with an example that needs a whole node; these
// come in front of what their own crates say of them.

/// Who takes what of a host's own work: every process computes the same ring from a view.
///
/// ```
/// use lampyrid::config::{Bubbles, Cookie, NodeConfig};
/// use lampyrid::{BubbleId, Node};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = NodeConfig::new("a", Cookie::random());
/// config.bubbles = Bubbles::Count(0);
/// let node = Node::start(config).await?;
/// node.ready().await;
/// let view = node.view().current().view.clone().ok_or("it is in a view")?;
/// let me = Some(node.member().process);
///
/// // The cells of a map: each process hosts those whose ring begins with it.
/// let cells = ["north", "south"];
/// let mine = cells.into_iter().filter(|cell| view.ring(cell).first() == me);
/// let mine: Vec<BubbleId> = mine.map(BubbleId::from_name).collect();
/// node.create_bubbles(&mine).await?;
/// assert_eq!(node.registry().find_process(BubbleId::from_name("north")), me);
///
/// // A role works the same way; who is next on the ring stands in for who fails.
/// assert_eq!(view.ring("janitor").order(), [node.member().process]);
/// # Ok(())
/// # }
/// ```
pub use lampyrid_membership::Ring;

/// What a host brings along to keep the states of its entities itself. An example that is durable
/// is in `node/examples/ledger.rs`.
///
/// ```
/// use std::sync::Arc;
///
/// use bytes::Bytes;
/// use lampyrid::config::{Cookie, NodeConfig};
/// use lampyrid::{BubbleId, EntityId, EntityStore, MemoryStore, Node, OwnershipEpoch, StoreError};
///
/// /// Nothing that is on leaves.
/// #[derive(Default)]
/// struct Lights(MemoryStore);
///
/// type Stored<T> = Result<T, StoreError>;
///
/// impl EntityStore for Lights {
///     fn freeze(&self, id: EntityId, at: OwnershipEpoch) -> Stored<Bytes> {
///         match self.0.read(id)? == "on" {
///             true => Err(StoreError { why: "the light is on".to_owned() }),
///             false => self.0.freeze(id, at),
///         }
///     }
///     fn attach(&self, id: EntityId, to: BubbleId, at: OwnershipEpoch, new: Bytes) -> Stored<()> {
///         self.0.attach(id, to, at, new)
///     }
///     // The other four as well.
/// #    fn detach(&self, id: EntityId, at: OwnershipEpoch) {
/// #        self.0.detach(id, at);
/// #    }
/// #    fn unfreeze(&self, id: EntityId, at: OwnershipEpoch) {
/// #        self.0.unfreeze(id, at);
/// #    }
/// #    fn read(&self, id: EntityId) -> Stored<Bytes> {
/// #        self.0.read(id)
/// #    }
/// #    fn write(&self, id: EntityId, at: OwnershipEpoch, state: Bytes) -> Stored<()> {
/// #        self.0.write(id, at, state)
/// #    }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = NodeConfig::new("a", Cookie::random());
/// let node = Node::start_with_store(config, Arc::<Lights>::default()).await?;
/// # node.ready().await;
/// # let (here, there) = (node.create_bubble(None).await?, node.create_bubble(None).await?);
/// # let moves = node.migration();
/// # let ids = moves.create(here, lampyrid::NewEntities::One(None), Bytes::from("on")).await?;
/// # let entities = vec![lampyrid::Expected { id: ids[0], epoch: None }];
/// # let request = lampyrid::MigrateRequest { entities, to: there, idempotency_key: None };
/// # let saga = moves.migrate(request).await?;
/// # let report = moves.wait(saga, std::time::Duration::from_secs(10)).await?.ok_or("a report")?;
/// # assert!(format!("{report:?}").contains("the light is on"), "{report:?}");
/// # Ok(())
/// # }
/// ```
pub use lampyrid_migration::EntityStore;

/// Creates, reads, writes and moves entities; see [`Node::migration`].
///
/// ```
/// use std::time::Duration;
///
/// use bytes::Bytes;
/// # use lampyrid::config::{Cookie, NodeConfig};
/// use lampyrid::{Expected, MigrateRequest, NewEntities, Node, Outcome, OwnershipEpoch, SagaState};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let node = Node::start(NodeConfig::new("a", Cookie::random())).await?;
/// # node.ready().await;
/// # let (here, there) = (node.create_bubble(None).await?, node.create_bubble(None).await?);
/// let moves = node.migration();
/// let ids = moves.create(here, NewEntities::Many(3), Bytes::from("new")).await?;
/// moves.put(ids[0], Bytes::from("written")).await?;
///
/// // With the epoch that the caller has seen: one that has moved meanwhile is not moved again.
/// let epoch = Some(OwnershipEpoch(0));
/// let entities = ids.iter().map(|&id| Expected { id, epoch }).collect();
/// let idempotency_key = Some("evening".to_owned());
/// let request = MigrateRequest { entities, to: there, idempotency_key };
/// let saga = moves.migrate(request.clone()).await?;
/// assert_eq!(moves.migrate(request).await?, saga, "a repetition starts nothing");
///
/// let report = moves.wait(saga, Duration::from_secs(10)).await?.ok_or("it is forgotten")?;
/// assert_eq!(report.state, SagaState::Done);
/// let committed = |outcome: &Outcome| matches!(outcome, Outcome::Committed { .. });
/// assert!(report.entities.iter().all(|entity| committed(&entity.outcome)));
/// # Ok(())
/// # }
/// ```
pub use lampyrid_migration::MigrationHandle;

/// What a host brings along to have a say in moves.
///
/// ```
/// use std::sync::Arc;
///
/// # use lampyrid::config::{Cookie, NodeConfig};
/// use lampyrid::{EntityId, Move, MoveHooks, Node, Veto, async_trait};
///
/// /// Keeps one entity here.
/// struct Guard(EntityId);
///
/// #[async_trait]
/// impl MoveHooks for Guard {
///     async fn pre_migrate(&self, planned: &Move) -> Vec<Veto> {
///         let ids = planned.entities.iter().map(|(id, _)| *id);
///         let kept = ids.filter(|id| *id == self.0);
///         kept.map(|entity| Veto { entity, why: "it guards this process".to_owned() }).collect()
///     }
///     async fn post_migrate(&self, moved: &Move) {
///         println!("{} went to {}", moved.entities.len(), moved.destination);
///     }
/// }
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let config = NodeConfig::new("a", Cookie::random());
/// let guard = EntityId::from_name("guard");
/// let node = Node::builder(config).hooks(Arc::new(Guard(guard))).start().await?;
/// # node.ready().await;
/// # let (here, there) = (node.create_bubble(None).await?, node.create_bubble(None).await?);
/// # let moves = node.migration();
/// # let new = lampyrid::NewEntities::One(Some(guard));
/// # moves.create(here, new, bytes::Bytes::new()).await?;
/// # let entities = vec![lampyrid::Expected { id: guard, epoch: None }];
/// # let request = lampyrid::MigrateRequest { entities, to: there, idempotency_key: None };
/// # let saga = moves.migrate(request).await?;
/// # let report = moves.wait(saga, std::time::Duration::from_secs(10)).await?.ok_or("a report")?;
/// # assert!(format!("{report:?}").contains("it guards this process"), "{report:?}");
/// # Ok(())
/// # }
/// ```
pub use lampyrid_migration::MoveHooks;

/// Which entity. A host that has names of its own makes ids of them.
///
/// ```
/// use lampyrid::{BubbleId, EntityId};
///
/// let ann = EntityId::from_name("account/ann");
/// assert_eq!(ann, EntityId::from_name("account/ann"), "in every process, for ever");
/// assert_ne!(ann, EntityId::from_name("account/bob"));
/// assert_ne!(ann.0, BubbleId::from_name("account/ann").0, "a name of each kind of thing");
/// assert_eq!(ann.to_string().parse(), Ok(ann));
/// ```
pub use lampyrid_wire::EntityId;

//! For tests of what is built on Lampyrid, without sockets and, where a test wants it, without a
//! clock that moves by itself.
//!
//! - One actor alone: [`actors`] with a [`ManualClock`], a [`ManualView`] and a [`Recorder`] in
//!   place of the links.
//! - Whole processes, several in one: a [`Cluster`] over a [`Network`] that loses, repeats and
//!   delays, and can be cut. All of a process runs but its sockets.
//! - What must hold: an [`Auditor`].

use std::net::{Ipv4Addr, SocketAddr};

use lampyrid_wire::{Incarnation, Member, ProcessId};

mod auditor;
mod cluster;
pub mod fuzz;
mod manual_view;
mod network;
mod recorder;
mod station;

pub use auditor::{Auditor, Findings};
pub use cluster::{Cluster, Plan, TestError};
/// Time that passes when a test says so.
///
/// ```
/// use std::time::Duration;
///
/// use lampyrid::testkit::{Clock, ManualClock};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let clock = ManualClock::new();
/// let alarm = tokio::spawn(clock.sleep_until(Duration::from_secs(3600)));
/// clock.advance(Duration::from_secs(3600));
/// alarm.await?; // at once
/// assert_eq!(clock.now(), Duration::from_secs(3600));
/// # Ok(())
/// # }
/// ```
pub use lampyrid_wire::ManualClock;
pub use lampyrid_wire::{Clock, SystemClock};
pub use manual_view::ManualView;
pub(crate) use network::Place;
pub use network::{Faults, Network};
pub use recorder::{Asked, MAX_RECORDED, Recorder, Sent};
pub use station::Station;

/// A member to test with: process `number`, at its first incarnation, at an address where nobody is.
#[must_use]
pub fn member(number: u16) -> Member {
    Member {
        process: ProcessId::from_u128(number.into()),
        incarnation: Incarnation(1),
        name: format!("p{number}"),
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, number)),
        admin: None,
    }
}

/// The actors, what each is started with, and what is said to it. One of each, alone, is in
/// tests/tests/actors_alone.rs; the coordinator, for one:
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use lampyrid::testkit::{ManualClock, ManualView, Recorder, actors::*, member};
/// use lampyrid::{ClusterId, RegistryHandle};
/// use ractor::Actor;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (clock, recorder) = (Arc::new(ManualClock::new()), Recorder::new());
/// // Of processes 1 and 2 it is 2 that coordinates in this cluster, by the ring.
/// let mut view = ManualView::new(clock.clone(), ClusterId::from_u128(1), member(2));
/// let counters = Arc::new(RegistryFigures::default());
/// let registry = RegistryHandle::new(view.handle().clone(), None).slot().clone();
/// let (coordinator, broadcaster) = (Slot::new(), Slot::new());
/// # let (slot, others) = (coordinator.clone(), broadcaster.clone());
/// let gateway = Gateway { registry, coordinator, broadcaster, counters: counters.clone() };
/// let arguments = CoordinatorArguments {
///     clock,
///     nonce: BootNonce(1),
///     view: view.handle().clone(),
///     post: Post::new(Arc::new(recorder.clone()), Arc::new(gateway), counters),
///     hooks: Arc::new(NoHooks),
///     slot,
///     broadcaster: others,
///     sequence: Arc::default(),
///     config: CoordinatorConfig::default(),
/// };
/// let (actor, _) = Actor::spawn(None, CoordinatorActor, arguments).await?;
/// actor.cast(CoordinatorMessage::View(view.set_members(vec![member(2), member(1)])))?;
/// let asked = async {
///     loop {
///         tokio::task::yield_now().await;
///         if let Some(sent) = recorder.sent().pop() {
///             break sent.to;
///         }
///     }
/// };
/// let asked = tokio::time::timeout(Duration::from_secs(60), asked).await?;
/// assert_eq!(asked, member(1).process, "what does it host?");
/// actor.stop_and_wait(None, None).await?;
/// # Ok(())
/// # }
/// ```
pub mod actors {
    pub use lampyrid_coordinator::{
        BroadcasterActor, BroadcasterArguments, BroadcasterConfig, BroadcasterMessage,
        CoordinatorActor, CoordinatorArguments, CoordinatorConfig, CoordinatorMessage, Gateway,
        Publication, Published,
    };
    pub use lampyrid_membership::{
        AcceptorStore, Counters as MembershipFigures, Ended, LinkControl, LinkEvent,
        MembershipActor, MembershipArguments, MembershipConfig, MembershipMessage, MembershipPort,
        MemoryStore as MemoryAcceptor, Pace, ProbeOutcome, start_identity,
    };
    pub use lampyrid_migration::{
        Directory, HostStore, JournalSource, Message as SagaMessage, MigrationActor,
        MigrationArguments, MigrationMessage, MoveSpan, NoObserver, SagaObserver, SpanSink,
        SpanWork, Storage,
    };
    pub use lampyrid_registry::{
        Counters as RegistryFigures, Hooks, NoHooks, Post, RegistryActor, RegistryArguments,
        RegistryMessage, TopologyUpdate, Version,
    };
    pub use lampyrid_wire::{
        BootNonce, Channel, Credit, Envelope, Inbound, Outbound, Peer, SendError, Slot, decode,
        encode,
    };
}

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
mod manual_view;
mod network;
mod recorder;
mod station;

pub use auditor::{Auditor, Findings};
pub use cluster::{Cluster, Plan, TestError};
pub use lampyrid_wire::{Clock, ManualClock, SystemClock};
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

/// The actors, what each is started with, and what is said to it.
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

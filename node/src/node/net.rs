use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lampyrid_membership::{LinkControl, ProbeOutcome, View};
use lampyrid_wire::{Channel, ClusterId, Incarnation, Member, Outbound, ProcessId, SendError};

use crate::links::{LinkCounters, LinksHandle};
#[cfg(feature = "testkit")]
use crate::testkit::Station;

/// What connects a process with the others.
#[derive(Clone, Debug)]
pub(super) enum Net {
    /// Sockets.
    Tcp(LinksHandle),
    /// Memory, for tests.
    #[cfg(feature = "testkit")]
    Memory(Station),
}

impl Net {
    fn outbound(&self) -> &dyn Outbound {
        match self {
            Self::Tcp(links) => links,
            #[cfg(feature = "testkit")]
            Self::Memory(station) => station,
        }
    }

    fn control(&self) -> &dyn LinkControl {
        match self {
            Self::Tcp(links) => links,
            #[cfg(feature = "testkit")]
            Self::Memory(station) => station,
        }
    }

    /// What it has done so far.
    pub(super) fn counters(&self) -> Arc<LinkCounters> {
        match self {
            Self::Tcp(links) => links.counters(),
            #[cfg(feature = "testkit")]
            Self::Memory(_) => Arc::default(),
        }
    }

    /// Where it is told of views, without being held.
    pub(super) fn view_sink(&self) -> Box<dyn Fn(Arc<View>) + Send + Sync> {
        match self {
            Self::Tcp(links) => Box::new(links.view_sink()),
            #[cfg(feature = "testkit")]
            Self::Memory(station) => Box::new(station.view_sink()),
        }
    }
}

impl Outbound for Net {
    fn send(&self, to: ProcessId, channel: Channel, frame: Bytes) -> Result<(), SendError> {
        self.outbound().send(to, channel, frame)
    }
}

impl LinkControl for Net {
    fn keep(&self, members: Vec<Member>) {
        self.control().keep(members);
    }

    fn seek(&self, addresses: Vec<SocketAddr>) {
        self.control().seek(addresses);
    }

    fn set_cluster(&self, cluster: ClusterId) {
        self.control().set_cluster(cluster);
    }

    fn set_incarnation(&self, incarnation: Incarnation) {
        self.control().set_incarnation(incarnation);
    }

    fn proven_name(&self, process: ProcessId) -> Option<String> {
        self.control().proven_name(process)
    }

    fn probe(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Pin<Box<dyn Future<Output = ProbeOutcome> + Send>> {
        self.control().probe(address, limit)
    }
}

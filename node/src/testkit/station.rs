use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lampyrid_membership::{LinkControl, ProbeOutcome, View};
use lampyrid_wire::{
    Channel, ClusterId, Incarnation, MAX_FRAME_BYTES, Member, Outbound, ProcessId, SendError,
};

use super::network::{Network, Place};

/// The links of one process on a [`Network`]. When its last clone is dropped the process is gone
/// from the network.
#[derive(Debug, Clone)]
pub struct Station(Arc<Wire>);

#[derive(Debug)]
struct Wire {
    network: Network,
    at: SocketAddr,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.network.remove(self.at);
    }
}

impl Station {
    pub(crate) fn new(network: Network, at: SocketAddr, place: Place) -> Self {
        network.join(at, place);
        Self(Arc::new(Wire { network, at }))
    }

    fn change(&self, change: impl FnOnce(&mut Place)) {
        self.0.network.change(self.0.at, change);
    }

    /// Does not hold the station.
    pub(crate) fn view_sink(&self) -> impl Fn(Arc<View>) + Send + Sync + use<> {
        let wire = Arc::downgrade(&self.0);
        move |view| {
            if let Some(wire) = wire.upgrade() {
                wire.network.change(wire.at, |place| place.view = Some(view));
            }
        }
    }
}

impl Outbound for Station {
    fn send(&self, to: ProcessId, channel: Channel, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > MAX_FRAME_BYTES {
            return Err(SendError::TooLarge { bytes: frame.len(), limit: MAX_FRAME_BYTES });
        }
        self.0.network.send(self.0.at, to, channel, frame)
    }
}

impl LinkControl for Station {
    fn keep(&self, members: Vec<Member>) {
        self.change(|place| place.keep = members);
    }

    fn seek(&self, addresses: Vec<SocketAddr>) {
        self.change(|place| place.seek = addresses);
    }

    fn set_cluster(&self, cluster: ClusterId) {
        self.change(|place| place.cluster = Some(cluster));
    }

    fn set_incarnation(&self, incarnation: Incarnation) {
        self.0.network.renew(self.0.at, |place| place.peer.incarnation = incarnation);
    }

    fn probe(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Pin<Box<dyn Future<Output = ProbeOutcome> + Send>> {
        let (network, from) = (self.0.network.clone(), self.0.at);
        Box::pin(async move {
            match network.accepts(from, address) {
                Some(true) => ProbeOutcome::Accepted,
                Some(false) => ProbeOutcome::Refused,
                None => {
                    let clock = Arc::clone(network.clock());
                    clock.sleep_until(clock.now() + limit).await;
                    ProbeOutcome::NoAnswer
                }
            }
        })
    }
}

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_membership::LinkEvent;
use lampyrid_wire::{Channel, Clock, ClusterId, Inbound, Peer};
use tokio::net::TcpListener;

use super::error::LinksError;
use super::limits::{
    MAX_CLUSTER_NAME_BYTES, MAX_ON_DEMAND, MAX_SESSIONS, MIN_COOKIE_BYTES, ON_DEMAND_IDLE,
    ROOM_FOR_MEMBERS,
};
use super::transport::Transport;

/// The secret that all processes of a cluster share. It is never sent, and never shown by
/// [`fmt::Debug`].
#[derive(Clone)]
pub struct Cookie(Arc<[u8]>);

impl Cookie {
    /// A cookie of these bytes.
    ///
    /// # Errors
    /// [`LinksError::ShortCookie`] below [`MIN_COOKIE_BYTES`].
    pub fn new(secret: Vec<u8>) -> Result<Self, LinksError> {
        if secret.len() < MIN_COOKIE_BYTES {
            return Err(LinksError::ShortCookie { bytes: secret.len(), least: MIN_COOKIE_BYTES });
        }
        Ok(Self(secret.into()))
    }

    pub(crate) fn secret(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie(..)")
    }
}

/// What the links of one process need to know.
#[derive(Clone)]
pub struct LinksConfig {
    /// Bound by the node, which keeps it: it stays open while the links' actors are restarted, so
    /// that a connect tells "the process is there" all the time.
    pub listener: Arc<TcpListener>,
    /// This process.
    pub me: Peer,
    /// Where others reach the listener.
    pub advertised: SocketAddr,
    /// What this process is called.
    pub name: String,
    /// The cluster's name; a hello with another one is refused.
    pub cluster_name: String,
    /// The cluster, if this process already belongs to one.
    pub cluster: Option<ClusterId>,
    /// The shared secret.
    pub cookie: Cookie,
    /// Lives of other processes that were met before. The links only read it: whoever keeps it
    /// notes what [`LinkEvent::Up`] brings.
    pub lives: super::lives::Lives,
    /// Processes with which there is no session, ever.
    pub barred: lampyrid_membership::Barred,
    /// Plain TCP, or what secures it.
    pub transport: Arc<dyn Transport>,
    /// Time for backoff and limits of sessions. (Limits on single reads and connects follow the
    /// runtime's own timer.)
    pub clock: Arc<dyn Clock>,
    /// Seed of the jitter of redials.
    pub seed: u64,
    /// How many sessions there may be, and for how long; the default but in tests.
    pub bounds: Bounds,
}

/// How many sessions there may be, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub sessions: usize,
    /// Of these, kept free of strangers.
    pub for_members: usize,
    /// That this process wished for to send to members.
    pub on_demand: usize,
    /// How long one of those stays when nothing is sent.
    pub idle: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            sessions: MAX_SESSIONS,
            for_members: ROOM_FOR_MEMBERS,
            on_demand: MAX_ON_DEMAND,
            idle: ON_DEMAND_IDLE,
        }
    }
}

impl LinksConfig {
    pub(crate) fn check(&self) -> Result<(), LinksError> {
        let bytes = self.cluster_name.len();
        if bytes > MAX_CLUSTER_NAME_BYTES {
            return Err(LinksError::LongClusterName { bytes, limit: MAX_CLUSTER_NAME_BYTES });
        }
        Ok(())
    }
}

impl fmt::Debug for LinksConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinksConfig")
            .field("me", &self.me)
            .field("advertised", &self.advertised)
            .field("cluster_name", &self.cluster_name)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// Whom the links tell. Both are called from the links' actors and must return at once (cast a
/// message, count, no more): a slow callback holds up a session. A panic in one restarts the links.
#[derive(Clone)]
pub struct LinksHooks {
    /// Sessions up and down, refusals. For one peer: up, its frames, down, in this order.
    pub on_event: Arc<dyn Fn(LinkEvent) + Send + Sync>,
    /// A frame came in. Frames of one peer and channel come in the order in which they were sent.
    pub on_frame: Arc<dyn Fn(Channel, Inbound) + Send + Sync>,
}

impl fmt::Debug for LinksHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinksHooks")
    }
}

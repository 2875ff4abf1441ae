use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use lampyrid_wire::{ClusterId, Incarnation, Member, Peer, ProcessId};

/// What the links tell membership. Up and down of one peer come in order; a session that was
/// displaced or refused before it was up is not reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkEvent {
    /// An authenticated session with that life of a process carries frames from now on.
    Up(Peer),
    /// That session is over: closed, reset, refused by a limit, or silent for too long.
    Down(Peer),
    /// A dial to `address` was answered by a refusal.
    Refused {
        /// Whom we dialled.
        address: SocketAddr,
        /// What it said.
        reason: RefusalReason,
    },
    /// Somebody introduced itself with our own process id. The session was refused.
    OwnId(Peer),
}

/// Why a handshake was refused; both sides log it, the dialler is told.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, thiserror::Error, serde::Serialize, serde::Deserialize,
)]
pub enum RefusalReason {
    /// The cookies differ.
    #[error("the cookie is another: give both processes the same cookie file")]
    Cookie,
    /// The cluster names differ.
    #[error("the cluster name is another: check --cluster-name")]
    ClusterName,
    /// Both know a cluster id, and they differ. Clusters are never merged.
    #[error("it belongs to another cluster of the same name; clusters never merge")]
    ClusterId,
    /// The versions of the protocol are too far apart.
    #[error(
        "it speaks other versions of the protocol: update the older of the two; its log says which"
    )]
    Version,
    /// It is ourselves: own id, or own address among the seeds.
    #[error("it is this process itself, or a copy of its data directory")]
    OwnId,
    /// That life of it was met under another start: somebody runs from a copy of its data
    /// directory, or the directory was rolled back.
    #[error(
        "another start of this very process was met: its data directory was copied or rolled back"
    )]
    Twin,
    /// It was barred for ever, by command.
    #[error("it was barred from the cluster for ever")]
    Barred,
    /// There are as many sessions as allowed.
    #[error("it has no room for another session")]
    TooManySessions,
    /// A certificate is missing, expired, of another authority, or names another process.
    #[error("a certificate is not accepted: check --tls-cert, --tls-ca and --name on both sides")]
    Certificate,
    /// Only one of the two speaks TLS.
    #[error("only one of the two speaks TLS: give both --tls-cert, --tls-key and --tls-ca")]
    Tls,
}

/// What a bare connect to an address brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeOutcome {
    /// Something listens there.
    Accepted,
    /// The machine answered that nothing listens there.
    Refused,
    /// Nothing answered within the limit.
    NoAnswer,
}

/// What membership asks of the links. All calls return at once.
pub trait LinkControl: Send + Sync + 'static {
    /// Keep a session with each of these members (whichever side has to dial), reconnecting with
    /// backoff; drop sessions with processes that are neither here nor sought nor new joiners.
    /// Replaces the set before. A member at a higher incarnation displaces its older session.
    fn keep(&self, members: Vec<Member>);

    /// Dial these addresses (with backoff) until a session with whoever is there stands; for
    /// seeds and for recovery. Replaces the set before.
    fn seek(&self, addresses: Vec<SocketAddr>);

    /// From now on the hello names this cluster.
    fn set_cluster(&self, cluster: ClusterId);

    /// From now on this process is that incarnation of itself: all sessions end and are made anew.
    fn set_incarnation(&self, incarnation: Incarnation);

    /// The name that a peer with a session has proved to be its own; `None` if nothing was asked to
    /// be proved.
    fn proven_name(&self, process: ProcessId) -> Option<String> {
        let _ = process;
        None
    }

    /// Connects to `address`, sends nothing, closes.
    fn probe(
        &self,
        address: SocketAddr,
        limit: Duration,
    ) -> Pin<Box<dyn Future<Output = ProbeOutcome> + Send>>;
}

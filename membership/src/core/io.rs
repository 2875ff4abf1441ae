use std::net::SocketAddr;
use std::time::Duration;

use lampyrid_wire::{BootNonce, ClusterId, Incarnation, Member, Peer, ProcessId};

use crate::message::Protocol;
use crate::{AcceptorState, EdgeInput, LinkEvent, Stamp, Verdict, ViewChange, ViewState};

/// What a core is started with, besides what it finds in its store.
#[derive(Debug, Clone)]
pub struct Start {
    /// This process; its incarnation is the store's.
    pub me: Member,
    /// Which start of the process this is.
    pub nonce: BootNonce,
    /// Views of another name are refused.
    pub cluster_name: String,
    /// Where to look for a cluster.
    pub seeds: Vec<SocketAddr>,
    /// The id of the cluster to found if the store knows no view. Only without seeds.
    pub found: Option<ClusterId>,
    /// Seed of the jitter between proposers.
    pub jitter: u64,
    /// Sessions that are up already (when an actor is restarted).
    pub sessions: Vec<Peer>,
}

/// What the core is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// A message from an authenticated session.
    Received {
        /// The session's peer.
        from: Peer,
        /// The sender's view.
        stamp: Option<Stamp>,
        /// The message.
        message: Box<Protocol>,
    },
    /// A session came or went.
    Link(LinkEvent),
    /// An edge monitor of that attempt has something.
    Edge {
        /// The observed member.
        subject: ProcessId,
        /// The attempt the monitor was started under; older ones are not heard.
        attempt: u64,
        /// What it has.
        event: EdgeEvent,
    },
    /// The deadline has come.
    Wake,
    /// Leave the cluster.
    Leave,
    /// Another concern's gateway refused this peer's message as stale: send it the newest view.
    StalePeer(ProcessId),
    /// Another concern's gateway saw a newer term from this peer: ask it for its view.
    NewerPeer(ProcessId),
    /// These processes are barred for ever: they are not heard, and not admitted.
    Barred(std::collections::BTreeSet<ProcessId>),
    /// The last durable write took so long; it sets the pace of proposers.
    Synced(Duration),
}

/// What an edge monitor reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EdgeEvent {
    /// Send the subject this probe.
    Probe(u64),
    /// The finding changed; with the smoothed round trip.
    Verdict(Verdict, Duration),
}

/// A member to be observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Who.
    pub member: Member,
    /// Whether a session with this very incarnation is up.
    pub linked: bool,
}

/// What the core wants done, in this order. [`Output::Persist`] must be durable before anything
/// behind it is done; if it fails, nothing behind it may be done at all.
#[derive(Debug, Clone)]
pub enum Output {
    /// Make this durable.
    Persist(Box<AcceptorState>),
    /// Send a message under the core's stamp of that moment.
    Send {
        /// To whom.
        to: ProcessId,
        /// The sender's view.
        stamp: Option<Stamp>,
        /// What.
        message: Protocol,
    },
    /// Keep sessions with exactly these.
    Keep(Vec<Member>),
    /// Dial exactly these addresses until sessions stand.
    Seek(Vec<SocketAddr>),
    /// The hello names this cluster from now on.
    SetCluster(ClusterId),
    /// This process is that incarnation from now on.
    SetIncarnation(Incarnation),
    /// Observe exactly these; monitors of the same (process, incarnation, attempt) go on.
    Watch {
        /// The attempt that new monitors report under.
        attempt: u64,
        /// Whom.
        subjects: Vec<Subject>,
    },
    /// Tell the monitor of that member.
    Edge {
        /// The observed member.
        subject: ProcessId,
        /// What.
        input: EdgeInput,
    },
    /// Publish the state, then tell subscribers.
    Publish {
        /// The state.
        state: ViewState,
        /// The net change of view, unless only the status changed.
        change: Option<ViewChange>,
    },
    /// The status holds until then without another step; `None`: for good.
    HoldUntil(Option<Duration>),
    /// The process has left: it may go. Nothing follows.
    Left,
    /// The process must end. Nothing follows.
    Stop(StopReason),
}

/// Why membership ends the process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StopReason {
    /// The data directory is older than what the cluster knows of this process, or a copy of it
    /// runs elsewhere. Starting again with a fresh data directory is safe; with this one it is not.
    #[error(
        "the data directory was rolled back or copied: {known} of this process is known, this one is {own}"
    )]
    DataDirectoryRolledBack {
        /// The incarnation others know (or that the other copy uses).
        known: Incarnation,
        /// Our own.
        own: Incarnation,
    },
    /// A member of its cluster has barred this process, which is for ever.
    #[error(
        "{by} says that this process was barred from its cluster for ever: start a new one with an \
         empty data directory; `lampyrid recover --as-new-process` takes over what is in this one"
    )]
    Barred {
        /// The member that says so.
        by: SocketAddr,
    },
    /// The acceptor state could not be saved; what is on disk is unknown.
    #[error("the acceptor state could not be saved: {0}")]
    StoreFailed(#[from] crate::AcceptorStoreError),
}

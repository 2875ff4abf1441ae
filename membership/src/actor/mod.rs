//! The actors around the cores: messages, timers and durable writes, and nothing else.

mod counters;
mod monitor;
mod perform;
mod port;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{Alarm, BootNonce, Clock, ClusterId, Inbound, Member, Outbound, ProcessId};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};

pub use self::counters::Counters;
use self::perform::Monitors;
pub use self::port::{MembershipPort, Subscriber};
use crate::{
    AcceptorState, AcceptorStore, AcceptorStoreError, EdgeEvent, Input, LinkControl, LinkEvent,
    MembershipCore, Pace, Protocol, Start, StopReason, ViewHandle, frame,
};

/// What membership is configured with.
#[derive(Debug, Clone)]
pub struct MembershipConfig {
    /// Processes of another name are refused.
    pub cluster_name: String,
    /// Where to look for a cluster; never used to found one.
    pub seeds: Vec<SocketAddr>,
    /// The id of the cluster to found if the store knows no view; only without seeds.
    pub found: Option<ClusterId>,
    /// Seed of the jitter between proposers; differs between processes.
    pub jitter: u64,
    /// How edges are probed.
    pub pace: Pace,
}

/// How membership ended, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The process has left and may exit.
    Left,
    /// The process must exit with an error.
    Stopped(StopReason),
}

/// What [`MembershipActor`] is started with, and restarted with: everything here outlives it.
#[derive(Clone)]
pub struct MembershipArguments {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How frames leave.
    pub outbound: Arc<dyn Outbound>,
    /// Sessions.
    pub links: Arc<dyn LinkControl>,
    /// The acceptor state, with the incarnation raised already (see [`crate::start_identity`]).
    pub store: Arc<dyn AcceptorStore>,
    /// This process; its incarnation is the store's.
    pub me: Member,
    /// Which start of the process this is.
    pub nonce: BootNonce,
    /// Configuration.
    pub config: MembershipConfig,
    /// Where the state is published.
    pub handle: ViewHandle,
    /// How the actor is reached.
    pub port: MembershipPort,
    /// What it has done.
    pub counters: Arc<Counters>,
    /// Called once when membership has ended. The actor stays, deaf, so that no supervisor starts
    /// it again in a process that is about to exit.
    pub ended: Arc<dyn Fn(Ended) + Send + Sync>,
}

impl std::fmt::Debug for MembershipArguments {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MembershipArguments").field("me", &self.me).finish_non_exhaustive()
    }
}

/// What the membership actor is told. Local only.
pub enum MembershipMessage {
    /// A frame of the membership channel.
    Inbound(Inbound),
    /// A session came or went; through [`MembershipPort::link`], which restarts survive.
    Link(LinkEvent),
    /// One of its edge monitors has something.
    Edge {
        /// The observed member.
        subject: ProcessId,
        /// The attempt of the monitor.
        attempt: u64,
        /// What.
        event: EdgeEvent,
    },
    /// Its alarm rang.
    Wake,
    /// Leave the cluster; answered when the process may go, at most [`crate::limits::LEAVE_LIMIT`]
    /// later. Giving up waiting does not take the leave back.
    Leave(RpcReplyPort<()>),
    /// See [`MembershipPort::stale_peer`].
    StalePeer(ProcessId),
    /// See [`MembershipPort::newer_peer`].
    NewerPeer(ProcessId),
    /// More processes are barred; see [`MembershipPort::bar`].
    Barred,
    /// There are new subscribers.
    Welcome,
}

impl ractor::Message for MembershipMessage {}

/// Why the actor could not start.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] AcceptorStoreError),
    /// The store is empty: the identity was not started.
    #[error("the acceptor state is missing: the process must take its identity before it starts")]
    NoIdentity,
    /// A durable write was cut off because the runtime is shutting down.
    #[error("the runtime stopped during a durable write")]
    WriteCutOff,
    /// Edge monitors crash again and again.
    #[error("edge monitors crashed {0} times: giving up")]
    MonitorStorm(u32),
}

/// Owns the [`MembershipCore`]. Restartable: a new one goes on from the store at the same
/// incarnation, without a view change.
#[derive(Debug, Clone, Copy)]
pub struct MembershipActor;

/// Private state of [`MembershipActor`].
pub struct MembershipState {
    arguments: MembershipArguments,
    core: MembershipCore,
    alarm: Alarm,
    monitors: Monitors,
    leavers: Vec<RpcReplyPort<()>>,
    /// The longest durable write of the step, not yet told to the core.
    synced: Option<Duration>,
    over: bool,
}

impl std::fmt::Debug for MembershipState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MembershipState").field("core", &self.core).finish_non_exhaustive()
    }
}

impl Actor for MembershipActor {
    type Msg = MembershipMessage;
    type State = MembershipState;
    type Arguments = MembershipArguments;

    async fn pre_start(
        &self,
        myself: ActorRef<MembershipMessage>,
        arguments: MembershipArguments,
    ) -> Result<MembershipState, ActorProcessingErr> {
        let store = Arc::clone(&arguments.store);
        let state: AcceptorState = tokio::task::spawn_blocking(move || store.load())
            .await
            .map_err(|_| MembershipError::WriteCutOff)?
            .map_err(MembershipError::Store)?
            .ok_or(MembershipError::NoIdentity)?;
        // From here on events are cast to this actor; those before are in the port's table.
        arguments.port.slot().fill(myself.clone());
        let start = Start {
            me: arguments.me.clone(),
            nonce: arguments.nonce,
            cluster_name: arguments.config.cluster_name.clone(),
            seeds: arguments.config.seeds.clone(),
            found: arguments.config.found,
            jitter: arguments.config.jitter,
            sessions: arguments.port.sessions(),
        };
        let told = port::locked(&arguments.port.audience).told.clone();
        let mut out = Vec::new();
        let core = MembershipCore::new(arguments.clock.now(), start, state, told, &mut out);
        let mut state = MembershipState {
            arguments,
            core,
            alarm: Alarm::new(),
            monitors: Monitors::default(),
            leavers: Vec::new(),
            synced: None,
            over: false,
        };
        state.perform(&myself, out).await?;
        state.note_barred(&myself).await?;
        state.welcome();
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<MembershipMessage>,
        message: MembershipMessage,
        state: &mut MembershipState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MembershipMessage::Inbound(inbound) => {
                if let Some(input) = state.open(&inbound) {
                    state.step(&myself, input).await?;
                }
            }
            MembershipMessage::Link(event) => state.step(&myself, Input::Link(event)).await?,
            MembershipMessage::Edge { subject, attempt, event } => {
                state.step(&myself, Input::Edge { subject, attempt, event }).await?;
            }
            MembershipMessage::Wake => {
                Counters::add(&state.arguments.counters.timers, 1);
                state.alarm.rang();
                state.step(&myself, Input::Wake).await?;
            }
            MembershipMessage::Leave(reply) => {
                state.leavers.push(reply);
                state.step(&myself, Input::Leave).await?;
                state.answer_leavers();
            }
            MembershipMessage::StalePeer(process) => {
                state.step(&myself, Input::StalePeer(process)).await?;
            }
            MembershipMessage::NewerPeer(process) => {
                state.step(&myself, Input::NewerPeer(process)).await?;
            }
            MembershipMessage::Barred => state.note_barred(&myself).await?,
            MembershipMessage::Welcome => state.welcome(),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<MembershipMessage>,
        event: SupervisionEvent,
        state: &mut MembershipState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(cell, _)
            | SupervisionEvent::ActorTerminated(cell, _, _) => {
                state.monitor_gone(&myself, cell.get_id()).await?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl MembershipState {
    async fn note_barred(
        &mut self,
        myself: &ActorRef<MembershipMessage>,
    ) -> Result<(), MembershipError> {
        let barred = self.arguments.port.barred().all();
        match barred.is_empty() {
            true => Ok(()),
            false => self.step(myself, Input::Barred(barred)).await,
        }
    }

    /// Decodes a frame; what is wrong with it costs the frame, a count and a line.
    fn open(&self, inbound: &Inbound) -> Option<Input> {
        let counters = &self.arguments.counters;
        Counters::add(&counters.frames_received, 1);
        Counters::add(&counters.bytes_received, inbound.frame.len());
        let (stamp, message) = match frame::open(&inbound.frame) {
            Ok(opened) => opened,
            Err(error) => {
                Counters::add(&counters.undecodable, 1);
                tracing::warn!(from = %inbound.from, %error, "a membership message was dropped");
                return None;
            }
        };
        if let Protocol::Join { member, .. } = &message
            && let Some(proven) = self.arguments.links.proven_name(inbound.from.process)
            && proven != member.name
        {
            Counters::add(&counters.undecodable, 1);
            let claimed = &member.name;
            tracing::warn!(from = %inbound.from, proven, claimed, "asked to join by another name");
            return None;
        }
        if let Protocol::JoinRefused { reason, .. } = &message {
            tracing::info!(by = %inbound.from, %reason, "not let in there; asking others");
        }
        Some(Input::Received { from: inbound.from, stamp, message: Box::new(message) })
    }
}

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use lampyrid_membership::{LinkEvent, RefusalReason};
use lampyrid_wire::{Alarm, Channel, Peer, ProcessId};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use ractor_cluster::NodeServerMessage;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::counters::count;
use super::gateway::{self, GatewayMessage};
use super::hello::{Statement, Verdict};
use super::link_core::{Basis, Card, ConnId, Input, LinkCore, Output, Traffic};
use super::session::Session;
use super::shared::Shared;
use super::stream::SessionStream;
use super::substrate::{no_leftovers, start_gateways, start_node_server};
use super::targets::DialOutcome;

/// What the links' actor is told; local only.
pub(crate) enum LinksMessage {
    /// Membership wants something else.
    Desired,
    /// Another view was installed.
    Viewed,
    /// Something was to be sent to that member.
    Wish(ProcessId),
    /// Would this peer be refused, and what is it to be told?
    Consider(Peer, oneshot::Sender<(Option<RefusalReason>, Statement)>),
    /// What becomes of this connection?
    Settle(Card, Basis, oneshot::Sender<(Verdict, Option<ConnId>)>),
    /// The stream of a session; whether we dialled it.
    Delivered(Arc<Session>, Box<SessionStream>, bool),
    /// A session has to end.
    Broken(ConnId, &'static str),
    /// A dial ended.
    DialEnded(std::net::SocketAddr, DialOutcome),
    /// The substrate has a session ready, as that node of its own counting.
    NodeReady(ConnId, u64),
    /// The substrate has let go of a session.
    NodeEnded(ConnId),
    /// The alarm rang.
    Rang,
}

impl ractor::Message for LinksMessage {}

/// Owns everything of the links that can crash. If anything below it ends, it ends too, and a new
/// one starts with what [`Shared`] remembers: all sessions are made anew.
pub(crate) struct Links;

pub(crate) struct LinksState {
    shared: Arc<Shared>,
    core: LinkCore,
    node_server: ActorRef<NodeServerMessage>,
    gateways: [ActorRef<GatewayMessage>; Channel::ALL.len()],
    sessions: BTreeMap<ConnId, Arc<Session>>,
    /// Streams that wait for the substrate to let go of the session before.
    streams: BTreeMap<ConnId, (Box<SessionStream>, bool)>,
    up: BTreeMap<ConnId, Peer>,
    dials: JoinSet<()>,
    accepting: JoinSet<()>,
    alarm: Alarm,
}

impl Actor for Links {
    type Msg = LinksMessage;
    type State = LinksState;
    type Arguments = Arc<Shared>;

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        shared: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        no_leftovers().await?;
        let generation = shared.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let me = shared.desired().me;
        let gateways = start_gateways(&myself, &shared).await?;
        gateway::publish(&me, &gateways);
        let node_server = start_node_server(&myself, &shared, &me, generation).await?;
        let mut accepting = JoinSet::new();
        accepting.spawn(super::accept::accept(Arc::clone(&shared)));
        shared.slot.fill(myself.clone());
        // What the run before was told is lost with it.
        shared.wishes(|wishes| wishes.forget());
        myself.cast(LinksMessage::Viewed)?;
        myself.cast(LinksMessage::Desired)?;
        Ok(LinksState {
            core: LinkCore::new(me, shared.config.seed, generation, shared.config.bounds),
            shared,
            node_server,
            gateways,
            sessions: BTreeMap::new(),
            streams: BTreeMap::new(),
            up: BTreeMap::new(),
            dials: JoinSet::new(),
            accepting,
            alarm: Alarm::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            LinksMessage::Desired => state.follow(),
            LinksMessage::Viewed => {
                if let Some(view) = state.shared.view() {
                    state.step(Input::View(view));
                }
            }
            LinksMessage::Wish(process) => {
                state.shared.wishes(|wishes| wishes.taken(process));
                state.step(Input::Wish(process));
            }
            // Whoever asked may have given up: that is its own affair.
            LinksMessage::Consider(peer, reply) => drop(reply.send(state.core.consider(&peer))),
            LinksMessage::Settle(card, basis, reply) => {
                let ruling = state.step(Input::Settle(card, basis));
                if let Some(ruling) = ruling {
                    let _ = reply.send(ruling);
                }
            }
            LinksMessage::Delivered(session, stream, dialled) => {
                let conn = session.conn;
                state.sessions.insert(conn, session);
                state.streams.insert(conn, (stream, dialled));
                state.step(Input::Delivered(conn));
            }
            LinksMessage::Broken(conn, why) => drop(state.step(Input::Broken(conn, why))),
            LinksMessage::DialEnded(address, outcome) => {
                state.step(Input::DialEnded(address, outcome));
            }
            LinksMessage::NodeReady(conn, node) => state.node_ready(conn, node),
            LinksMessage::NodeEnded(conn) => drop(state.step(Input::Ended(conn))),
            LinksMessage::Rang => {
                state.alarm.rang();
                state.step(Input::Wake);
            }
        }
        let deadline = state.core.deadline();
        state.alarm.set(&state.shared.config.clock, deadline, move || {
            // Gone: nobody waits for it.
            let _ = myself.cast(LinksMessage::Rang);
        });
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        _: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(who, why) => {
                Err(format!("actor {} of the links failed: {why}", who.get_id()).into())
            }
            SupervisionEvent::ActorTerminated(who, _, why) => {
                Err(format!("actor {} of the links ended: {why:?}", who.get_id()).into())
            }
            _ => Ok(()),
        }
    }
}

impl LinksState {
    /// Brings the core to what membership wants now.
    fn follow(&mut self) {
        let desired = self.shared.desired();
        self.core.recall(self.shared.config.lives.all());
        let before = self.core.me();
        if before != desired.me {
            self.step(Input::Me(desired.me));
            gateway::withdraw(&before, &self.gateways);
            gateway::publish(&desired.me, &self.gateways);
        }
        self.step(Input::Seek(desired.seek));
        self.step(Input::Keep(desired.keep));
    }

    fn node_ready(&mut self, conn: ConnId, node: u64) {
        let Some(session) = self.sessions.get(&conn) else { return };
        match gateway::find(&session.peer, node) {
            Some(gateways) => {
                session.connect(gateways);
                self.step(Input::Ready(conn));
            }
            None => drop(self.step(Input::Broken(conn, "its gateways were not found"))),
        }
    }

    /// One step of the core and what it wants done; the ruling, if it was asked for one.
    fn step(&mut self, input: Input) -> Option<(Verdict, Option<ConnId>)> {
        let mut outputs = Vec::new();
        self.core.step(self.shared.config.clock.now(), input, &mut outputs);
        let mut ruling = None;
        for output in outputs {
            match output {
                Output::Ruling(verdict, conn) => ruling = Some((verdict, conn)),
                Output::Dial(address) => {
                    while self.dials.try_join_next().is_some() {}
                    self.dials.spawn(super::dial::dial(Arc::clone(&self.shared), address));
                }
                Output::HandOver(conn) => self.hand_over(conn),
                Output::Close(conn, why) => self.close(conn, why),
                Output::Up(conn, peer) => self.up(conn, peer),
                Output::Down(conn, peer) => self.down(conn, peer),
                Output::Look(conns) => drop(self.step(Input::Traffic(self.traffic(&conns)))),
                Output::Room(process) => self.answer(process, true),
                Output::NoRoom(process) => self.answer(process, false),
                Output::Event(event) => (self.shared.hooks.on_event)(event),
            }
        }
        ruling
    }

    fn traffic(&self, conns: &[ConnId]) -> Vec<(ConnId, Traffic)> {
        let read = |conn: &ConnId| self.sessions.get(conn).map(|it| (*conn, it.usage.read()));
        conns.iter().filter_map(read).collect()
    }

    /// Notes what became of a wish, for whoever sends to that process next.
    fn answer(&self, process: ProcessId, room: bool) {
        self.shared.wishes(|wishes| wishes.answered(process, room));
        if !room {
            count(&self.shared.counters.no_room, 1);
        }
    }

    fn hand_over(&mut self, conn: ConnId) {
        let session = self.sessions.get(&conn);
        if let (Some(session), Some((stream, dialled))) = (session, self.streams.remove(&conn)) {
            self.shared.add_token(Arc::clone(session));
            // Gone: its end is ours too, by supervision.
            let _ = self
                .node_server
                .cast(NodeServerMessage::ConnectionOpenedExternal { stream, is_server: !dialled });
        }
    }

    fn up(&mut self, conn: ConnId, peer: Peer) {
        let Some(session) = self.sessions.get(&conn) else { return };
        count(&self.shared.counters.ups, 1);
        count(&self.shared.counters.sessions, 1);
        tracing::info!(%peer, address = %session.address, "session up");
        self.up.insert(conn, peer);
        self.shared.add_route(Arc::clone(session));
        session.open(&self.shared.hooks);
    }

    /// Follows [`LinksState::close`] of the same session, which shut its gate.
    fn down(&mut self, conn: ConnId, peer: Peer) {
        if self.up.remove(&conn).is_some() {
            count(&self.shared.counters.downs, 1);
            (self.shared.hooks.on_event)(LinkEvent::Down(peer));
            self.shared.counters.sessions.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn close(&mut self, conn: ConnId, why: &'static str) {
        self.streams.remove(&conn);
        if let Some(session) = self.sessions.remove(&conn) {
            session.switch.trip(why);
            self.shared.remove_route(&session);
            self.shared.remove_token(&session);
            session.shut();
            let why = session.switch.why();
            tracing::info!(peer = %session.peer, address = %session.address, why, "session over");
        }
    }
}

/// Whatever ends the actor, no session outlives it and membership hears of every one that was up.
impl Drop for LinksState {
    fn drop(&mut self) {
        self.accepting.abort_all();
        self.dials.abort_all();
        let all: Vec<ConnId> = self.sessions.keys().copied().collect();
        for conn in all {
            self.close(conn, "the links ended");
        }
        while let Some((&conn, &peer)) = self.up.first_key_value() {
            self.down(conn, peer);
        }
    }
}

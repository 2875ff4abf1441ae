//! How ractor_cluster is started and listened to.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{Channel, MAX_FRAME_BYTES, Peer};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{
    IncomingEncryptionMode, NodeEventSubscription, NodeServer, NodeServerMessage,
};

use super::actor::LinksMessage;
use super::counters::{LinkCounters, count};
use super::error::LinksError;
use super::gateway::{self, Gateway, GatewayMessage};
use super::limits::{CLOSE_LIMIT, FRAME_OVERHEAD_BYTES};
use super::link_core::ConnId;
use super::shared::Shared;

/// How often to look whether the references of an earlier run have gone.
const LEFTOVER_PAUSE: Duration = Duration::from_millis(2);
const LABEL: &str = "lampyrid-session-";

/// The name under which the substrate knows a session's stream, and by which it is told from
/// connections that came another way.
pub(crate) fn label(conn: ConnId) -> String {
    format!("{LABEL}{conn}")
}

fn conn_of(session: &NodeServerSessionInformation) -> Option<ConnId> {
    session.peer_addr.strip_prefix(LABEL)?.parse().ok()
}

/// A new run counts nodes from zero again: a reference that is left of an earlier run could be
/// taken for one of this run's, and its end could take this one's out of its group.
pub(crate) async fn no_leftovers() -> Result<(), LinksError> {
    let gone = async {
        while gateway::remotes() > 0 {
            tokio::time::sleep(LEFTOVER_PAUSE).await;
        }
    };
    tokio::time::timeout(CLOSE_LIMIT, gone)
        .await
        .map_err(|_| LinksError::Leftovers(gateway::remotes()))
}

pub(crate) async fn start_gateways(
    myself: &ActorRef<LinksMessage>,
    shared: &Arc<Shared>,
) -> Result<[ActorRef<GatewayMessage>; Channel::ALL.len()], LinksError> {
    let start = async |channel| {
        let arguments = (Arc::clone(shared), channel);
        Actor::spawn_linked(None, Gateway, arguments, myself.get_cell()).await
    };
    Ok([
        start(Channel::Membership).await?.0,
        start(Channel::Registry).await?.0,
        start(Channel::Migration).await?.0,
        start(Channel::Requests).await?.0,
    ])
}

/// The name tells this run from every other one: lives differ by incarnation and nonce, runs by
/// generation. It is also the "host name", because the substrate takes an equal host name and port
/// for a connection to itself. A new incarnation within one life keeps the name: sessions never
/// overlap in the substrate (see [`LinkCore`]), so it needs no other.
pub(crate) async fn start_node_server(
    myself: &ActorRef<LinksMessage>,
    shared: &Shared,
    me: &Peer,
    generation: u32,
) -> Result<ActorRef<NodeServerMessage>, ActorProcessingErr> {
    let host = format!("{}.{}.{:016x}.{generation}", me.process, me.incarnation, me.nonce.0);
    let server = NodeServer::new(
        0,
        shared.config.cookie.for_substrate(),
        "lampyrid".to_owned(),
        host,
        Some(IncomingEncryptionMode::Raw),
        Some(NodeConnectionMode::Isolated),
    )
    // Its own listener cannot be switched off; what connects there is closed (see `NodeEvents`).
    .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
    .with_max_inbound_frame_size((MAX_FRAME_BYTES + FRAME_OVERHEAD_BYTES) as u64);
    let (server, _) = Actor::spawn_linked(None, server, (), myself.get_cell()).await?;
    let events = NodeEvents { links: myself.clone(), counters: Arc::clone(&shared.counters) };
    server.cast(NodeServerMessage::SubscribeToEvents {
        id: LABEL.to_owned(),
        subscription: Box::new(events),
    })?;
    Ok(server)
}

/// Passes on what the substrate says about its sessions.
struct NodeEvents {
    links: ActorRef<LinksMessage>,
    counters: Arc<LinkCounters>,
}

impl NodeEvents {
    fn tell(&self, message: LinksMessage) {
        // Gone: then the node server is about to go as well.
        let _ = self.links.cast(message);
    }
}

impl NodeEventSubscription for NodeEvents {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        if conn_of(&session).is_none() {
            // Through the substrate's own listener: nobody we know would.
            count(&self.counters.intruders, 1);
            session.actor.stop(Some("not through the front door".to_owned()));
        }
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        if let Some(conn) = conn_of(&session) {
            self.tell(LinksMessage::NodeEnded(conn));
        }
    }

    fn node_session_authenticated(&self, _: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        if let Some(conn) = conn_of(&session) {
            self.tell(LinksMessage::NodeReady(conn, session.node_id));
        }
    }
}

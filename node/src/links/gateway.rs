use std::sync::Arc;

use bytes::Bytes;
use lampyrid_wire::{Channel, Incarnation, Peer, ProcessId};
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, Message, pg};

use super::counters::count;
use super::hello::Token;
use super::shared::Shared;
use super::window::Amount;

/// The scope of the process groups through which gateways are found.
const SCOPE: &str = "lampyrid-links";
const FRAME: &str = "F";
const CREDIT: &str = "C";

/// What gateways of two processes say to each other; one-way only.
#[derive(Debug)]
pub(crate) enum GatewayMessage {
    /// A frame.
    Frame(Token, Bytes),
    /// Room in the sender's window.
    Credit(Token, Amount),
    /// Neither; made while decoding, so that it is counted instead of dropped in silence.
    Malformed,
}

/// Written by hand, not derived: the payload is one run of bytes behind the token, copied once when
/// sent and not at all when received.
impl Message for GatewayMessage {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        let (variant, args) = match self {
            Self::Frame(token, frame) => {
                let mut args = Vec::with_capacity(token.len() + frame.len());
                args.extend_from_slice(&token);
                args.extend_from_slice(&frame);
                (FRAME, args)
            }
            Self::Credit(token, amount) => {
                let mut args = token.to_vec();
                args.extend_from_slice(&amount.frames.to_be_bytes());
                args.extend_from_slice(&amount.bytes.to_be_bytes());
                (CREDIT, args)
            }
            Self::Malformed => return Err(BoxedDowncastErr),
        };
        Ok(SerializedMessage::Cast { variant: variant.to_owned(), args, metadata: None })
    }

    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        Ok(match message {
            SerializedMessage::Cast { variant, args, .. } => {
                Self::decode(&variant, args).unwrap_or(Self::Malformed)
            }
            // A call: its reply port is dropped here.
            _ => Self::Malformed,
        })
    }
}

impl GatewayMessage {
    fn decode(variant: &str, args: Vec<u8>) -> Option<Self> {
        let (&token, rest) = args.split_first_chunk::<{ size_of::<Token>() }>()?;
        match variant {
            FRAME => Some(Self::Frame(token, Bytes::from(args).slice(size_of::<Token>()..))),
            CREDIT => {
                let (frames, bytes) = rest.split_first_chunk::<4>()?;
                let bytes: [u8; 8] = bytes.try_into().ok()?;
                let frames = u32::from_be_bytes(*frames);
                Some(Self::Credit(token, Amount { frames, bytes: u64::from_be_bytes(bytes) }))
            }
            _ => None,
        }
    }
}

/// A peer's gateway. It can only be cast to: any other call on a remote reference (stop, kill,
/// drain) would tear down the whole link.
#[derive(Debug, Clone)]
pub(crate) struct RemoteGateway(ActorRef<GatewayMessage>);

impl RemoteGateway {
    /// False if the link is gone; the message is dropped.
    pub(crate) fn cast(&self, message: GatewayMessage) -> bool {
        self.0.cast(message).is_ok()
    }
}

/// This process's end of one channel, for all peers: remotable, unnamed, found through its group.
pub(crate) struct Gateway;

impl Actor for Gateway {
    type Msg = GatewayMessage;
    type State = (Arc<Shared>, Channel);
    type Arguments = (Arc<Shared>, Channel);

    async fn pre_start(
        &self,
        _: ActorRef<Self::Msg>,
        arguments: Self::Arguments,
    ) -> Result<Self::State, ActorProcessingErr> {
        Ok(arguments)
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        message: Self::Msg,
        (shared, channel): &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        let known = match message {
            GatewayMessage::Frame(token, frame) => shared.session(&token).map(|session| {
                session.take(*channel, frame, &shared.hooks);
            }),
            GatewayMessage::Credit(token, amount) => {
                shared.session(&token).map(|session| session.credit(*channel, amount))
            }
            GatewayMessage::Malformed => None,
        };
        if known.is_none() {
            // Also the last frames of a session that was just closed.
            count(&shared.counters.unattributed, 1);
            tracing::debug!(channel = channel.name(), "a message of no session was dropped");
        }
        Ok(())
    }
}

/// The group of one life of a process and one channel.
fn group(process: ProcessId, incarnation: Incarnation, channel: Channel) -> String {
    format!("{process}.{incarnation}.{}", channel.name())
}

/// Lets others find these gateways as those of `me`.
pub(crate) fn publish(me: &Peer, gateways: &[ActorRef<GatewayMessage>; Channel::ALL.len()]) {
    for channel in Channel::ALL {
        let cell = gateways[channel as usize].get_cell();
        pg::join_scoped(SCOPE.to_owned(), group(me.process, me.incarnation, channel), vec![cell]);
    }
}

/// Takes them back, because `me` is no longer who we are.
pub(crate) fn withdraw(me: &Peer, gateways: &[ActorRef<GatewayMessage>; Channel::ALL.len()]) {
    for channel in Channel::ALL {
        let cell = gateways[channel as usize].get_cell();
        pg::leave_scoped(SCOPE.to_owned(), group(me.process, me.incarnation, channel), vec![cell]);
    }
}

/// The gateways of `peer` as they came through one session of the substrate. Others may put actors
/// into that group too; those of another session are not looked at. `None` unless there is exactly
/// one for each channel.
pub(crate) fn find(peer: &Peer, node: u64) -> Option<[RemoteGateway; Channel::ALL.len()]> {
    let one = |channel: Channel| {
        let group = group(peer.process, peer.incarnation, channel);
        let mut here = pg::get_scoped_members(&SCOPE.to_owned(), &group).into_iter().filter(
            |cell| matches!(cell.get_id(), ActorId::Remote { node_id, .. } if node_id == node),
        );
        let first = here.next();
        first.filter(|_| here.next().is_none()).map(|cell| RemoteGateway(cell.into()))
    };
    let [membership, registry, migration, requests] = Channel::ALL.map(one);
    Some([membership?, registry?, migration?, requests?])
}

/// How many remote gateways there are in all.
pub(crate) fn remotes() -> usize {
    let scope = SCOPE.to_owned();
    let members = |group| pg::get_scoped_members(&scope, &group);
    let is_remote = |cell: &ActorCell| !cell.get_id().is_local();
    pg::which_scoped_groups(&scope).into_iter().flat_map(members).filter(is_remote).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roundtrip(message: GatewayMessage) -> GatewayMessage {
        GatewayMessage::deserialize(message.serialize().unwrap()).unwrap()
    }

    #[test]
    fn messages_survive_the_wire() {
        let frame = Bytes::from_static(b"frame");
        let back = roundtrip(GatewayMessage::Frame([7; 16], frame.clone()));
        assert!(matches!(back, GatewayMessage::Frame(t, f) if t == [7; 16] && f == frame));
        let amount = Amount { frames: 3, bytes: u64::MAX };
        let back = roundtrip(GatewayMessage::Credit([8; 16], amount));
        assert!(matches!(back, GatewayMessage::Credit(t, a) if t == [8; 16] && a == amount));
    }

    #[test]
    fn garbage_is_malformed() {
        for (variant, length) in [("F", 15), ("C", 16), ("C", 29), ("X", 64), ("", 0)] {
            let message = SerializedMessage::Cast {
                variant: variant.to_owned(),
                args: vec![0; length],
                metadata: None,
            };
            let back = GatewayMessage::deserialize(message).unwrap();
            assert!(matches!(back, GatewayMessage::Malformed), "{variant} {length}");
        }
    }
}

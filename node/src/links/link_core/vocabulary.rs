use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lampyrid_membership::{LinkEvent, View};
use lampyrid_wire::{Member, Peer, ProcessId};

use crate::links::hello::{Statement, Verdict};
use crate::links::targets::DialOutcome;

/// A connection that was decided to be a session; a number of this process's own.
pub(crate) type ConnId = u64;

/// An authenticated connection that asks to become a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Card {
    /// Who is there.
    pub(crate) peer: Peer,
    /// Who we said we are.
    pub(crate) as_me: Peer,
    /// The address that we dialled; `None` if we accepted.
    pub(crate) dialled: Option<SocketAddr>,
    /// Where the peer says it listens.
    pub(crate) advertised: SocketAddr,
}

/// Who decides about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Basis {
    /// We do, and the peer stated this.
    Ours(Statement),
    /// The peer did: go, under this number.
    Theirs(u64),
}

/// When frames last passed through a session, either way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    /// Of any channel.
    pub(crate) any: Option<Duration>,
    /// Of a channel other than membership's.
    pub(crate) concern: Option<Duration>,
}

/// What happens to the links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// This process is that one from now on.
    Me(Peer),
    /// See [`lampyrid_membership::LinkControl::keep`].
    Keep(Vec<Member>),
    /// See [`lampyrid_membership::LinkControl::seek`].
    Seek(Vec<SocketAddr>),
    /// That view was installed.
    View(Arc<View>),
    /// Something was to be sent to that member and there was no session.
    Wish(ProcessId),
    /// The answer to [`Output::Look`].
    Traffic(Vec<(ConnId, Traffic)>),
    /// A connection is authenticated; answered by [`Output::Ruling`].
    Settle(Card, Basis),
    /// The stream of a session is there.
    Delivered(ConnId),
    /// A session can carry frames.
    Ready(ConnId),
    /// A session has to end.
    Broken(ConnId, &'static str),
    /// The substrate has let go of a session.
    Ended(ConnId),
    /// A dial ended.
    DialEnded(SocketAddr, DialOutcome),
    /// The deadline has come.
    Wake,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output {
    /// Connect and shake hands.
    Dial(SocketAddr),
    /// The answer to [`Input::Settle`]; with the session's number if it is to go.
    Ruling(Verdict, Option<ConnId>),
    /// Give the stream to the substrate.
    HandOver(ConnId),
    /// Fail the stream and forget the session.
    Close(ConnId, &'static str),
    /// Frames may flow.
    Up(ConnId, Peer),
    /// No more frames.
    Down(ConnId, Peer),
    /// Say at once what passed through these sessions, with [`Input::Traffic`].
    Look(Vec<ConnId>),
    /// A wish was followed: there is room for that session.
    Room(ProcessId),
    /// A wish was not followed: every session on demand is in use.
    NoRoom(ProcessId),
    /// Tell membership.
    Event(LinkEvent),
}

use std::net::SocketAddr;

use lampyrid_membership::LinkEvent;
use lampyrid_wire::{Member, Peer};

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

/// What happens to the links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// This process is that one from now on.
    Me(Peer),
    /// See [`lampyrid_membership::LinkControl::keep`].
    Keep(Vec<Member>),
    /// See [`lampyrid_membership::LinkControl::seek`].
    Seek(Vec<SocketAddr>),
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
    /// Tell membership.
    Event(LinkEvent),
}

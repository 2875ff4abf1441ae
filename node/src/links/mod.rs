//! The links between processes: sessions over TCP, with ractor_cluster as the substrate that
//! carries frames, and our own connections under it and our own windows above it.
//!
//! One connection's way: `accept` or `dial`, `one_sided` (do both speak TLS, or neither),
//! `transport` (TCP as it is, or `tls`), `handshake` (whose messages and MACs are in `hello`, their
//! bytes in `handshake_io`), the verdict of `link_core`, `actor` (which gives the stream, guarded by
//! `stream`, to the `substrate`), and `gateway` once both sides have found each other's.
//!
//! One frame's way: [`LinksHandle`] finds the `session`, whose `window` must have room; the
//! gateway's remote reference carries it; the peer's gateway finds its session by the token in
//! front of the frame, and the hook gets it together with the authenticated peer.
//!
//! # With whom there are sessions
//!
//! With whom membership asks for (ring neighbours, joiners, seeds), and for a while with members
//! that registry, migration or a request has something to send to: a frame for a member without a session is
//! refused with [`lampyrid_wire::SendError::NoLink`] as ever, but the member is dialled, and whoever
//! sends again finds the session. [`lampyrid_membership::LinkEvent::Up`] says when. The rules are in
//! `link_core::demand`, the figures in [`limits`].
//!
//! # What a session proves, and what not
//!
//! A peer knows the cookie. Any holder of the cookie can claim any process id: an identity is as
//! good as the secrecy of the cookie. With TLS it also holds the key of a certificate that names it
//! as its hello does: it can claim any id still, but only under a name that it was given.
//!
//! Once two processes have a session, frames are attributed by a
//! token that only these two know, so a third member cannot send in the name of one of them (over
//! plain TCP, unless it reads or alters their packets). An authenticated peer is further trusted
//! not to exhaust us: the substrate lets it announce any number of actors and groups, register names
//! of its own among this process's local actors, and queue messages that are no frames. Frames
//! beyond the window end the session; so does anything that the substrate cannot parse.
//!
//! # What can be lost
//!
//! A frame that was accepted for sending is lost if the session ends before it arrives, without
//! notice. Frames of one peer and channel keep their order within one session. A peer that is frozen
//! or cut off keeps its session for up to [`limits::IDLE_LIMIT`]; one whose process ends loses it at
//! once. A receiver that holds on to [`lampyrid_wire::Inbound::credit`] stops the sender of that
//! channel, and no other.

mod accept;
mod actor;
mod config;
mod counters;
mod dial;
mod error;
#[cfg(feature = "testkit")]
pub(crate) mod fuzz;
mod gateway;
mod handle;
mod handshake;
mod handshake_io;
mod hello;
pub mod limits;
mod link_core;
mod lives;
mod log_limiter;
mod one_sided;
mod session;
mod shared;
mod stream;
mod substrate;
mod targets;
mod tls;
mod transport;
mod usage;
mod window;
mod wishes;

#[cfg(test)]
mod tests;

pub use crate::tls::TlsError;
pub use config::{Bounds, Cookie, LinksConfig, LinksHooks};
pub use counters::{ChannelCounters, LinkCounters};
pub(crate) use dial::probe;
pub use error::LinksError;
pub use handle::LinksHandle;
pub use lives::{Lives, MAX_LIVES};
pub use tls::{Identity, Tls, TlsFiles};
pub use transport::{Plain, Securing, Transport, WireStream};

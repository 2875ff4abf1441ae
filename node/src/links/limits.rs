//! Every bound of the links in one place, with the relations between them.

use std::time::Duration;

use lampyrid_wire::{Channel, MAX_FRAME_BYTES};

use crate::config::MAX_NAME_BYTES;

/// Sessions at once, with as many processes: a seed or a coordinator of a view of 2,000 may hear
/// from all of them within a moment. Each takes a socket: where the system allows fewer, accepting
/// pauses and dials are repeated.
pub const MAX_SESSIONS: usize = 2_560;
/// Sessions for which only members of the view, and whom membership asks for, are let in: however
/// many strangers want to join, ring neighbours find room.
pub const ROOM_FOR_MEMBERS: usize = 512;
/// Sessions at once that this process wished for to send to members that are not its neighbours.
/// At the limit one that was quiet for [`LEAST_STAY`] gives way to the next wish.
pub const MAX_ON_DEMAND: usize = 256;
/// Addresses of other members that a process without room names to whom it refuses.
pub const MAX_HINTED: usize = 8;
/// Accepted handshakes at once. At the limit the oldest unauthenticated one gives way.
pub const MAX_HANDSHAKES: usize = 256;
/// Addresses sought at once; more are ignored with a log line.
pub const MAX_SOUGHT: usize = 256;
/// Dials at once.
pub const MAX_DIALS: usize = 64;
/// The largest message of a handshake, in bytes.
pub const MAX_HELLO_BYTES: usize = 1024;
/// The longest cluster name, in bytes; it has to fit into a hello.
pub const MAX_CLUSTER_NAME_BYTES: usize = 255;
/// The shortest cookie, in bytes: whoever is dialled sees a MAC made with it and could guess.
pub const MIN_COOKIE_BYTES: usize = 8;

/// From the connection to the decision about it.
pub const HANDSHAKE_LIMIT: Duration = Duration::from_secs(2);
/// For the TCP connect of a dial.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// From the decision to a session that carries frames.
pub const READY_LIMIT: Duration = Duration::from_secs(2);
/// For the substrate to take notice that a stream was closed.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(2);
/// Without a byte read for so long a session ends. The substrate pings every 1 to 5 s, so only a
/// peer that is gone, frozen or cut off is that silent. A backstop: detection proper is elsewhere.
pub const IDLE_LIMIT: Duration = Duration::from_millis(6_500);
/// The first wait between two dials of one address.
pub const FIRST_BACKOFF: Duration = Duration::from_millis(20);
/// The longest.
pub const LAST_BACKOFF: Duration = Duration::from_secs(1);
/// A session that stood for so long is redialled at once when lost; a shorter one backs off.
pub const STABLE_AFTER: Duration = Duration::from_secs(1);
/// How long a session that only frames of registry, migration and requests were for stays after the last one.
pub const ON_DEMAND_IDLE: Duration = Duration::from_secs(60);
/// How long a session with a member stays that is a neighbour no longer and was of no other use: its
/// end may be a view behind, and would take the end of the session for the end of this process.
pub const PARTING: Duration = Duration::from_secs(5);
/// A session that was of use within this time gives way to no other.
pub const LEAST_STAY: Duration = Duration::from_secs(1);
/// How long a wish for a session is followed after the last frame that found none.
pub const WISH_LIMIT: Duration = Duration::from_secs(5);
/// The least time between two looks for a session that could give way.
pub const LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Read buffer of a session, in bytes.
pub(crate) const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Room in the substrate's frame for what surrounds ours: token, actor id, variant, lengths.
pub(crate) const FRAME_OVERHEAD_BYTES: usize = 4 * 1024;

/// What may be on its way to one peer in one channel. A frame is sent while both figures are below
/// the limit, so one frame may overshoot the bytes: that is what lets a frame of any legal size
/// pass a window of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowSize {
    /// Frames.
    pub frames: u32,
    /// Bytes.
    pub bytes: u64,
}

/// The window of a channel. Bulk (migration, requests) has the smallest ones in bytes: all channels share one
/// ordered stream, so its window bounds what a membership frame can find ahead of itself.
#[must_use]
pub const fn window_of(channel: Channel) -> WindowSize {
    match channel {
        Channel::Membership => WindowSize { frames: 1_024, bytes: 2 * 1024 * 1024 },
        Channel::Registry => WindowSize { frames: 256, bytes: 2 * 1024 * 1024 },
        Channel::Migration => WindowSize { frames: 256, bytes: 1024 * 1024 },
        Channel::Requests => WindowSize { frames: 256, bytes: 1024 * 1024 },
    }
}

/// Credit is given back when this part of a window has been dealt with.
pub(crate) const CREDIT_FRACTION: u32 = 4;

const _: () = assert!(MAX_HANDSHAKES < MAX_SESSIONS);
const _: () = assert!(MAX_ON_DEMAND < ROOM_FOR_MEMBERS && ROOM_FOR_MEMBERS < MAX_SESSIONS);
const _: () = assert!(WISH_LIMIT.as_millis() > CONNECT_LIMIT.as_millis() + READY_LIMIT.as_millis());
const _: () = assert!(LEAST_STAY.as_millis() < ON_DEMAND_IDLE.as_millis());
// An intro and the rest of a hello take less than 160 bytes beside the names.
const _: () =
    assert!(MAX_HELLO_BYTES >= MAX_CLUSTER_NAME_BYTES + MAX_NAME_BYTES + MAX_HINTED * 48 + 160);
const _: () = assert!(MAX_HELLO_BYTES > 2 * MAX_CLUSTER_NAME_BYTES);
const _: () = assert!(MAX_HELLO_BYTES <= u16::MAX as usize);
const _: () = assert!(IDLE_LIMIT.as_millis() > 5_000, "the substrate is silent for up to 5 s");
const _: () = assert!(window_of(Channel::Migration).bytes <= MAX_FRAME_BYTES as u64);

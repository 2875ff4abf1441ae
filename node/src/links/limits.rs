//! Every bound of the links in one place, with the relations between them.

use std::time::Duration;

use lampyrid_wire::{Channel, MAX_FRAME_BYTES};

/// Sessions at once, with as many processes.
pub const MAX_SESSIONS: usize = 256;
/// Accepted handshakes at once. At the limit the oldest unauthenticated one gives way.
pub const MAX_HANDSHAKES: usize = 64;
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

/// The window of a channel. Bulk (migration) has the smallest one in bytes: all channels share one
/// ordered stream, so its window bounds what a membership frame can find ahead of itself.
#[must_use]
pub const fn window_of(channel: Channel) -> WindowSize {
    match channel {
        Channel::Membership => WindowSize { frames: 1_024, bytes: 2 * 1024 * 1024 },
        Channel::Registry => WindowSize { frames: 256, bytes: 2 * 1024 * 1024 },
        Channel::Migration => WindowSize { frames: 256, bytes: 1024 * 1024 },
    }
}

/// Credit is given back when this part of a window has been dealt with.
pub(crate) const CREDIT_FRACTION: u32 = 4;

const _: () = assert!(MAX_HANDSHAKES < MAX_SESSIONS);
const _: () = assert!(MAX_HELLO_BYTES > 2 * MAX_CLUSTER_NAME_BYTES);
const _: () = assert!(MAX_HELLO_BYTES <= u16::MAX as usize);
const _: () = assert!(IDLE_LIMIT.as_millis() > 5_000, "the substrate is silent for up to 5 s");
const _: () = assert!(window_of(Channel::Migration).bytes <= MAX_FRAME_BYTES as u64);

use std::sync::atomic::{AtomicU64, Ordering};

use lampyrid_membership::RefusalReason;
use lampyrid_wire::Channel;

/// Frames and bytes of one channel, over all peers.
#[derive(Debug, Default)]
pub struct ChannelCounters {
    /// Frames handed to a session.
    pub frames_out: AtomicU64,
    /// Their bytes.
    pub bytes_out: AtomicU64,
    /// Frames taken from a session.
    pub frames_in: AtomicU64,
    /// Their bytes.
    pub bytes_in: AtomicU64,
    /// Frames not sent because the window was full.
    pub overloaded: AtomicU64,
    /// Frames not sent because they were over the limit.
    pub too_large: AtomicU64,
    /// Frames not sent because there was no session.
    pub no_link: AtomicU64,
}

/// What the links have done since the process started. Plain numbers: whoever exports metrics
/// reads them when asked.
#[derive(Debug, Default)]
pub struct LinkCounters {
    /// Sessions that carry frames now.
    pub sessions: AtomicU64,
    /// Handshakes under way now, accepted and dialled.
    pub handshakes: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Addresses dialled.
    pub dialled: AtomicU64,
    /// Sessions that came up.
    pub ups: AtomicU64,
    /// Sessions that went down after they had been up.
    pub downs: AtomicU64,
    /// Wishes for a session that were not followed because all sessions on demand were in use.
    pub no_room: AtomicU64,
    /// Sessions closed because nothing was read for too long.
    pub silent: AtomicU64,
    /// Connections that ended before they were authenticated, other than by a wrong cookie:
    /// garbage, half a hello, a time limit, an oversized hello.
    pub garbage: AtomicU64,
    /// Unfinished handshakes given up to make room for newer connections.
    pub evicted: AtomicU64,
    /// Connections given up because another one with the same peer stands.
    pub duplicates: AtomicU64,
    /// Messages to a gateway that no session could be made responsible for.
    pub unattributed: AtomicU64,
    /// Sessions closed because the peer sent more than its window.
    pub overruns: AtomicU64,
    /// Bytes read from session streams, framing included.
    pub stream_bytes_in: AtomicU64,
    /// Bytes written to session streams, framing included.
    pub stream_bytes_out: AtomicU64,
    /// Connections to the substrate's own listener, which is never used.
    pub intruders: AtomicU64,
    channels: [ChannelCounters; Channel::ALL.len()],
    refusals: [AtomicU64; RefusalReason::Tls as usize + 1],
}

impl LinkCounters {
    /// The counters of one channel.
    #[must_use]
    pub fn channel(&self, channel: Channel) -> &ChannelCounters {
        &self.channels[channel as usize]
    }

    /// How many handshakes were refused for `reason`, by either side.
    #[must_use]
    pub fn refusals(&self, reason: RefusalReason) -> &AtomicU64 {
        &self.refusals[reason as usize]
    }
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Raises a gauge for as long as it lives.
#[derive(Debug)]
pub(crate) struct Gauge<T: AsRef<LinkCounters>> {
    counters: T,
    which: fn(&LinkCounters) -> &AtomicU64,
}

impl<T: AsRef<LinkCounters>> Gauge<T> {
    pub(crate) fn raise(counters: T, which: fn(&LinkCounters) -> &AtomicU64) -> Self {
        which(counters.as_ref()).fetch_add(1, Ordering::Relaxed);
        Self { counters, which }
    }
}

impl<T: AsRef<LinkCounters>> Drop for Gauge<T> {
    fn drop(&mut self) {
        (self.which)(self.counters.as_ref()).fetch_sub(1, Ordering::Relaxed);
    }
}

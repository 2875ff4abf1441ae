use std::sync::atomic::{AtomicU64, Ordering};

/// What membership has done since the process started; the node exports it. All counts rise.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames handed to the links.
    pub frames_sent: AtomicU64,
    /// Bytes of those frames.
    pub bytes_sent: AtomicU64,
    /// Frames the links did not take; whoever needs an answer sends again.
    pub frames_not_sent: AtomicU64,
    /// Frames that came in.
    pub frames_received: AtomicU64,
    /// Bytes of those frames.
    pub bytes_received: AtomicU64,
    /// Frames that were no message of this version.
    pub undecodable: AtomicU64,
    /// Timers that fired, those of edges included.
    pub timers: AtomicU64,
    /// Durable writes.
    pub writes: AtomicU64,
    /// Views that subscribers were told of.
    pub views: AtomicU64,
    /// Edge monitors that crashed and were started again.
    pub monitor_restarts: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, more: usize) {
        counter.fetch_add(more as u64, Ordering::Relaxed);
    }
}

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of requests so far, and how many are under way.
#[derive(Debug, Default)]
pub struct RequestCounters {
    /// Of this process: answered.
    pub answered: AtomicU64,
    /// Of this process: not answered, for whatever reason.
    pub unanswered: AtomicU64,
    /// Of this process: under way now.
    pub asking: AtomicU64,
    /// Here: answered by the handler.
    pub served: AtomicU64,
    /// Here: refused, by the handler or before it saw them.
    pub refused: AtomicU64,
    /// Here: the handler panicked, or was not done before nobody waited any more.
    pub failed: AtomicU64,
    /// Here: with the handler now.
    pub answering: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Raises a gauge for as long as it lives.
pub(super) struct Gauge<'a>(&'a AtomicU64);

impl<'a> Gauge<'a> {
    pub(super) fn raise(gauge: &'a AtomicU64) -> Self {
        count(gauge);
        Self(gauge)
    }
}

impl Drop for Gauge<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

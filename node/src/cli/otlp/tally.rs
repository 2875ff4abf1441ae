use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::queue::QUEUE_MAX;

/// How often at most it is said that spans were lost.
const SILENCE: Duration = Duration::from_secs(60);

/// Counts what waits and what is lost.
#[derive(Debug, Default)]
pub(super) struct Tally {
    waiting: AtomicUsize,
    /// No room in the queue.
    dropped: AtomicU64,
    /// The collector did not take them.
    failed: AtomicU64,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    lost: u64,
    at: Option<Instant>,
}

impl Tally {
    /// A span wants to wait: false if there is no room.
    pub(super) fn enter(&self) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < QUEUE_MAX {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        self.dropped.fetch_add(1, Ordering::Relaxed);
        false
    }

    /// So many wait no longer; says so, once a minute at most, if spans were lost.
    pub(super) fn leave(&self, count: usize, failure: Option<&str>) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        if failure.is_some() {
            self.failed.fetch_add(count as u64, Ordering::Relaxed);
        }
        let quiet = |at: Instant| at.elapsed() < SILENCE;
        let is_quiet =
            self.said.lock().unwrap_or_else(PoisonError::into_inner).at.is_some_and(quiet);
        if !is_quiet {
            self.say(failure.unwrap_or("the queue was full"));
        }
    }

    /// Says how many were lost since the start, if that are more than was said.
    pub(super) fn say(&self, why: &str) {
        let (dropped, failed) =
            (self.dropped.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed));
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.lost < dropped + failed {
            *said = Said { lost: dropped + failed, at: Some(Instant::now()) };
            tracing::warn!(dropped, failed, why, "spans were lost");
        }
    }

    #[cfg(test)]
    fn lost(&self) -> (u64, u64) {
        (self.dropped.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_and_what_nobody_took_is_counted() {
        let tally = Tally::default();
        assert!((0..QUEUE_MAX).all(|_| tally.enter()));
        assert!(!tally.enter() && !tally.enter());
        tally.leave(10, None);
        assert_eq!(tally.lost(), (2, 0));
        assert!((0..10).all(|_| tally.enter()));
        assert!(!tally.enter());
        tally.leave(QUEUE_MAX, Some("nobody listens"));
        assert_eq!(tally.lost(), (3, QUEUE_MAX as u64));
        assert!(tally.enter());
    }
}

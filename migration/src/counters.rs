use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Hook, HookFigures, Phase};

/// Upper bounds of the latency buckets, in microseconds; one more bucket holds what is above.
pub const LATENCY_BOUNDS_MICROS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 3_000_000,
];

/// How long something took, over the life of the process.
#[derive(Debug, Default)]
pub struct LatencyHistogram {
    buckets: [AtomicU64; LATENCY_BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl LatencyHistogram {
    /// Counts one more.
    pub fn record(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_MICROS.partition_point(|&bound| bound < micros);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts for each bucket of [`LATENCY_BOUNDS_MICROS`] and the one above; not cumulative.
    #[must_use]
    pub fn buckets(&self) -> [u64; LATENCY_BOUNDS_MICROS.len() + 1] {
        std::array::from_fn(|n| self.buckets.get(n).map_or(0, |b| b.load(Ordering::Relaxed)))
    }

    /// How many were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets().iter().sum()
    }

    /// The bound of the bucket that holds the percentile; `None` above all bounds and without any.
    #[must_use]
    pub fn percentile(&self, percent: u64) -> Option<Duration> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let mut below = 0;
        let found = self.buckets().iter().position(|count| {
            below += count;
            below >= rank
        });
        let bound = found.and_then(|bucket| LATENCY_BOUNDS_MICROS.get(bucket));
        bound.copied().map(Duration::from_micros)
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_micros.load(Ordering::Relaxed))
    }
}

/// What the migration actor counted since the process started, for metrics.
#[derive(Debug, Default)]
pub struct MigrationCounters {
    pub(crate) messages_sent: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) sends_failed: AtomicU64,
    pub(crate) messages_received: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) undecodable: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) alarms_fired: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) lost_copies: AtomicU64,
    pub(crate) hooks_left_out: AtomicU64,
    pub(crate) stuck: AtomicU64,
    /// In microseconds of the clock, and one; 0 while nothing waits.
    pub(crate) journal_waits_since: AtomicU64,
    pub(crate) phases: [LatencyHistogram; 3],
    pub(crate) hooks: [HookFigures; 2],
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident)*) => {
        impl MigrationCounters {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> u64 {
                self.$name.load(Ordering::Relaxed)
            })*
        }
    };
}

counters! {
    /// Messages handed to the links.
    messages_sent
    /// Bytes of them.
    bytes_sent
    /// Messages the links refused.
    sends_failed
    /// Messages taken from the links.
    messages_received
    /// Bytes of them.
    bytes_received
    /// Frames that were no message of this version, or not of the peer they came from.
    undecodable
    /// Messages of an older view that were refused.
    stale
    /// How often the actor's one timer rang: 0 more while nothing is under way.
    alarms_fired
    /// Transactions made durable.
    transactions
    /// Records in them.
    records
    /// Decided moves whose destination does not know the staged copy: a person has to look.
    lost_copies
    /// Calls of `post_migrate` that were left out because too many waited.
    hooks_left_out
    /// Now: decided moves that a member of the view has left unacknowledged for
    /// [`crate::STUCK_AFTER`].
    stuck
}

impl MigrationCounters {
    /// For how long the journal's disk has finished nothing while something waits for it.
    #[must_use]
    pub fn journal_waits(&self, now: Duration) -> Option<Duration> {
        let since = self.journal_waits_since.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_sub(Duration::from_micros(since)))
    }

    pub(crate) fn set_journal_waits(&self, since: Option<Duration>) {
        let micros = |at: Duration| u64::try_from(at.as_micros()).unwrap_or(u64::MAX - 1) + 1;
        self.journal_waits_since.store(since.map_or(0, micros), Ordering::Relaxed);
    }

    /// How long a phase took.
    #[must_use]
    pub fn phase(&self, phase: Phase) -> &LatencyHistogram {
        &self.phases[phase as usize]
    }

    /// How the calls of a hook went.
    #[must_use]
    pub fn hook(&self, hook: Hook) -> &HookFigures {
        &self.hooks[hook as usize]
    }

    pub(crate) fn add(counter: &AtomicU64, n: usize) {
        counter.fetch_add(n as u64, Ordering::Relaxed);
    }
}

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use lampyrid_wire::ProcessId;

/// The length of a bucket in milliseconds.
pub const BUCKET_MS: i64 = 100;

/// The difference between two wall clocks, in milliseconds, up to which nothing is reported.
pub const TOLERANCE_MS: i64 = 50;

/// How a peer's wall clock stands to ours, as far as one message tells: the time it was under way
/// counts against the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skew {
    /// Milliseconds by which the peer is ahead; negative: behind.
    pub ahead_ms: i64,
    /// By how many buckets the two differ, with the same sign.
    pub buckets: i64,
    /// True if that is more than [`TOLERANCE_MS`].
    pub beyond: bool,
}

/// Wall time in buckets, and the skew of each peer. It reports; it decides nothing.
#[derive(Debug, Clone, Default)]
pub struct BucketClock {
    skews: BTreeMap<ProcessId, i64>,
}

/// Milliseconds since the Unix epoch, negative before it, at the ends of the range the end.
#[must_use]
pub fn wall_millis(wall: SystemTime) -> i64 {
    let clamp = |millis: u128| i64::try_from(millis).unwrap_or(i64::MAX);
    match wall.duration_since(UNIX_EPOCH) {
        Ok(after) => clamp(after.as_millis()),
        Err(before) => -clamp(before.duration().as_millis()),
    }
}

impl BucketClock {
    /// The bucket of a moment (milliseconds since the Unix epoch): each holds [`BUCKET_MS`]
    /// moments, before the epoch too.
    #[must_use]
    pub const fn bucket(wall_ms: i64) -> i64 {
        wall_ms.div_euclid(BUCKET_MS)
    }

    /// Notes when, by its own clock, a peer sent what came in at `received_ms`.
    pub fn observe(&mut self, peer: ProcessId, sent_ms: i64, received_ms: i64) -> Skew {
        let ahead_ms = sent_ms.saturating_sub(received_ms);
        self.skews.insert(peer, ahead_ms);
        Skew {
            ahead_ms,
            buckets: Self::bucket(sent_ms).saturating_sub(Self::bucket(received_ms)),
            beyond: ahead_ms.unsigned_abs() > TOLERANCE_MS.unsigned_abs(),
        }
    }

    /// Milliseconds by which each peer was last seen ahead.
    #[must_use]
    pub fn skews(&self) -> &BTreeMap<ProcessId, i64> {
        &self.skews
    }

    /// Forgets the peers for which `keep` is false; that bounds it by the size of a view.
    pub fn retain(&mut self, keep: impl Fn(ProcessId) -> bool) {
        self.skews.retain(|&peer, _| keep(peer));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PEER: ProcessId = ProcessId::from_u128(1);

    #[test]
    fn buckets_before_the_epoch_are_as_long_as_those_after() {
        let cases = [(-101, -2), (-100, -1), (-1, -1), (0, 0), (99, 0), (100, 1)];
        for (moment, bucket) in cases {
            assert_eq!(BucketClock::bucket(moment), bucket, "{moment}");
        }
    }

    #[test]
    fn skew_has_a_sign_and_is_reported_only_beyond_the_tolerance() {
        let mut clock = BucketClock::default();
        for (sent, beyond) in [(1_050, false), (1_051, true), (950, false), (949, true)] {
            let skew = clock.observe(PEER, sent, 1_000);
            assert_eq!((skew.ahead_ms, skew.beyond), (sent - 1_000, beyond));
        }
        assert_eq!(clock.skews()[&PEER], -51);
        clock.retain(|_| false);
        assert!(clock.skews().is_empty());
    }

    #[test]
    fn wall_time_before_the_epoch_is_negative() {
        let second = std::time::Duration::from_secs(1);
        assert_eq!(wall_millis(UNIX_EPOCH - second), -1_000);
        assert_eq!(wall_millis(UNIX_EPOCH + second), 1_000);
    }

    proptest! {
        #[test]
        fn every_moment_lies_in_its_bucket(moment in any::<i64>()) {
            let start = i128::from(BucketClock::bucket(moment)) * i128::from(BUCKET_MS);
            let into = i128::from(moment) - start;
            prop_assert!((0..i128::from(BUCKET_MS)).contains(&into));
        }

        #[test]
        fn no_two_clock_values_overflow(sent in any::<i64>(), received in any::<i64>()) {
            let skew = BucketClock::default().observe(PEER, sent, received);
            prop_assert_eq!(skew.ahead_ms > 0, sent > received);
        }
    }
}

use std::time::Duration;

use super::{Estimate, RoundTrips, TimeLimits};

/// Round trips that must have been seen before they count; until then the limit is fixed.
pub const SAMPLES_MIN: usize = 16;

/// No phase is given less, however quick it was so far: one pause of a garbage-collected host, one
/// slow sync. RFC 6298 asks for 1 s at least, which is for the internet and its delayed
/// acknowledgements; below it on purpose.
pub const LIMIT_MIN: Duration = Duration::from_millis(100);

/// Doubling ends here: what is frozen waits for as long.
pub const DOUBLED_MAX: Duration = Duration::from_secs(10);

/// Repetitions of what was not answered begin no earlier.
const REPEAT_MIN: Duration = Duration::from_millis(50);

/// How long one peer may take for one phase, from what it took so far.
#[derive(Clone, Debug)]
pub struct PhaseLimit {
    rule: TimeLimits,
    /// The limit until enough is known.
    fixed: Duration,
    estimate: Estimate,
    trips: RoundTrips,
    /// How often it was doubled since the last answer.
    doubled: u32,
    /// When it was doubled last. What was sent before says nothing new by expiring as well.
    doubled_at: Duration,
}

impl PhaseLimit {
    /// Nothing is known yet: the limit is `fixed`.
    #[must_use]
    pub fn new(rule: TimeLimits, fixed: Duration) -> Self {
        let (estimate, trips) = (Estimate::default(), RoundTrips::default());
        Self { rule, fixed, estimate, trips, doubled: 0, doubled_at: Duration::ZERO }
    }

    /// An answer came, in time or late; `took` is from the sending of the very attempt that it
    /// answers.
    pub fn answered(&mut self, took: Duration) {
        self.estimate.add(took);
        self.trips.add(took);
        self.doubled = 0;
    }

    /// None came to what was sent at `sent`, within the limit.
    pub fn expired(&mut self, sent: Duration, now: Duration) {
        if sent >= self.doubled_at {
            self.doubled = self.doubled.saturating_add(1);
            self.doubled_at = now;
        }
    }

    /// True from when a limit expired until an answer comes.
    #[must_use]
    pub fn is_doubted(&self) -> bool {
        self.doubled > 0
    }

    /// How long what is sent now may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        let known = self.trips.count() >= SAMPLES_MIN;
        match self.rule {
            TimeLimits::Fixed => self.fixed,
            TimeLimits::Weighted if known => {
                let (mean, last) = (self.trips.mean(), self.trips.last());
                let margin = (mean / 5).max(Duration::from_millis(500));
                mean * 7 / 10 + last * 3 / 10 + margin
            }
            TimeLimits::Weighted => self.fixed,
            TimeLimits::Adaptive => {
                let tail = self.trips.p999() * 3 / 2;
                let limit = if known { self.estimate.limit().max(tail) } else { self.fixed };
                let limit = limit.max(LIMIT_MIN);
                let factor = 1_u32.checked_shl(self.doubled).unwrap_or(u32::MAX);
                limit.max(limit.saturating_mul(factor).min(DOUBLED_MAX))
            }
        }
    }

    /// When to repeat what was not answered, for the first time: after what RFC 6298 takes for a
    /// loss, at half of the limit at the latest (so that a session that was lost on the way does not
    /// cost the move), within the bounds that `first` (as long as too little is known) and `last`
    /// set.
    #[must_use]
    pub fn repeat_after(&self, first: Duration, last: Duration) -> Duration {
        match self.trips.count() >= SAMPLES_MIN && self.rule == TimeLimits::Adaptive {
            true => self.estimate.limit().min(self.limit() / 2).clamp(REPEAT_MIN, last),
            false => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn after(rule: TimeLimits, took: &[u64]) -> PhaseLimit {
        let mut limit = PhaseLimit::new(rule, SECOND);
        took.iter().for_each(|&took| limit.answered(millis(took)));
        limit
    }

    #[test]
    fn the_limit_is_fixed_until_16_round_trips_are_known() {
        for rule in [TimeLimits::Adaptive, TimeLimits::Weighted, TimeLimits::Fixed] {
            assert_eq!(after(rule, &[7; 15]).limit(), SECOND);
        }
        assert_eq!(after(TimeLimits::Adaptive, &[7; 16]).limit(), LIMIT_MIN);
        assert_eq!(after(TimeLimits::Weighted, &[7; 16]).limit(), millis(507));
        assert_eq!(after(TimeLimits::Fixed, &[7; 16]).limit(), SECOND);
    }

    #[test]
    fn what_expires_doubles_it_once_for_all_that_was_on_its_way_and_an_answer_ends_that() {
        let mut limit = after(TimeLimits::Adaptive, &[7; 100]);
        for sent in [100, 110, 120] {
            limit.expired(millis(sent), millis(sent + 100));
        }
        assert_eq!(limit.limit(), LIMIT_MIN * 2);
        limit.expired(millis(200), millis(400));
        assert_eq!(limit.limit(), LIMIT_MIN * 4);
        assert!(limit.is_doubted());
        for round in 1..100 {
            limit.expired(SECOND * round * 20, SECOND * (round * 20 + 10));
        }
        assert_eq!(limit.limit(), DOUBLED_MAX);
        limit.answered(millis(900));
        assert!(!limit.is_doubted());
        assert!(limit.limit() >= millis(1_350) && limit.limit() < SECOND * 3);
    }

    #[test]
    fn something_is_repeated_before_it_is_given_up() {
        let (first, last) = (millis(250), SECOND);
        assert_eq!(after(TimeLimits::Adaptive, &[7; 10]).repeat_after(first, last), first);
        assert_eq!(after(TimeLimits::Adaptive, &[7; 100]).repeat_after(first, last), REPEAT_MIN);
        assert_eq!(after(TimeLimits::Adaptive, &[5_000; 100]).repeat_after(first, last), last);
        let mixed: Vec<u64> = (0..100).map(|n| if n % 2 == 0 { 10 } else { 200 }).collect();
        let mixed = after(TimeLimits::Adaptive, &mixed);
        assert!(mixed.repeat_after(first, last) <= mixed.limit() / 2);
    }

    #[test]
    fn the_weighted_rule_is_what_it_says() {
        // 16 of 100 ms and one of 800: the mean is 141.176 ms.
        let mut took = [100; 17];
        took[16] = 800;
        let expected = (0.7 * 141.176 + 0.3 * 800.0 + 500.0) * 1e6;
        let found = after(TimeLimits::Weighted, &took).limit().as_nanos() as f64;
        assert!((found - expected).abs() < 1e4, "{found} {expected}");
        let slow = after(TimeLimits::Weighted, &[5_000; 20]);
        assert_eq!(slow.limit(), millis(6_000), "a fifth of the mean is more than 500 ms");
    }

    proptest! {
        #[test]
        fn the_adaptive_limit_is_above_the_tail_and_the_minimum(
            took in proptest::collection::vec(0..4_000_u64, 16..400),
            expiries in 0..40_u32,
        ) {
            let mut limit = after(TimeLimits::Adaptive, &took);
            let before = limit.limit();
            prop_assert!(before >= LIMIT_MIN);
            prop_assert!(before >= millis(*took.iter().max().unwrap()) * 3 / 2);
            for n in 0..expiries {
                limit.expired(SECOND * n, SECOND * (n + 1));
                prop_assert!(limit.limit() >= before);
                prop_assert!(limit.limit() <= before.max(DOUBLED_MAX));
            }
        }
    }
}

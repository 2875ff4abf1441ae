use std::time::Duration;

/// The estimate of RFC 6298, section 2: how long a round trip may take before it is to be taken for
/// lost, from a smoothed round trip and its mean deviation. Without a minimum: that is the caller's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Estimate {
    /// `None` before the first round trip.
    smoothed: Option<Duration>,
    deviation: Duration,
}

impl Estimate {
    /// Takes one more round trip into account.
    pub fn add(&mut self, took: Duration) {
        let Some(smoothed) = self.smoothed else {
            (self.smoothed, self.deviation) = (Some(took), took / 2);
            return;
        };
        // The deviation first: it is from what was expected before.
        self.deviation = (self.deviation * 3 + smoothed.abs_diff(took)) / 4;
        self.smoothed = Some((smoothed * 7 + took) / 8);
    }

    /// Smoothed round trip plus four deviations; zero without any round trip.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.smoothed.unwrap_or_default() + self.deviation * 4
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn the_first_round_trips_are_those_worked_out_by_hand() {
        let mut estimate = Estimate::default();
        estimate.add(millis(80));
        assert_eq!(estimate.limit(), millis(80 + 4 * 40));
        estimate.add(millis(160));
        // Deviation 3/4 of 40 + 1/4 of 80 = 50; smoothed 7/8 of 80 + 1/8 of 160 = 90.
        assert_eq!(estimate.limit(), millis(90 + 4 * 50));
    }

    proptest! {
        /// Why one late reply is enough to end a run of false time-outs.
        #[test]
        fn one_that_took_longer_than_all_before_is_within_the_next_limit(
            before in proptest::collection::vec(1..1_000_u64, 1..200), more in 1..10_000_u64
        ) {
            let mut estimate = Estimate::default();
            before.iter().for_each(|&took| estimate.add(millis(took)));
            let took = millis(before.iter().max().unwrap() + more);
            estimate.add(took);
            // Whole nanoseconds: each step rounds down by less than one.
            prop_assert!(estimate.limit() + Duration::from_nanos(8) >= took);
        }

        #[test]
        fn of_equal_round_trips_the_limit_comes_down_to_them(took in 1..10_000_u64) {
            let mut estimate = Estimate::default();
            (0..200).for_each(|_| estimate.add(millis(took)));
            prop_assert!(estimate.limit() <= millis(took) + Duration::from_micros(1));
        }
    }
}

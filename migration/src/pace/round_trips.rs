use std::time::Duration;

/// Round trips that are remembered, the newest ones.
const REMEMBERED: usize = 1_024;

/// The last 1,024 round trips, at 4 bytes each, and their 99.9th percentile without sorting them:
/// of so few it is the longest or the second longest, which changes only when one of these comes or
/// goes.
#[derive(Clone, Debug, Default)]
pub struct RoundTrips {
    /// Microseconds; the oldest is at `next` once all places are taken.
    micros: Vec<u32>,
    next: usize,
    longest: u32,
    second: u32,
    /// Of all that are remembered.
    sum: u64,
    last: u32,
}

impl RoundTrips {
    /// Remembers one more, and forgets the oldest of 1,024.
    pub fn add(&mut self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.last = micros;
        self.sum += u64::from(micros);
        if self.micros.len() < REMEMBERED {
            self.micros.push(micros);
            return self.rank(micros);
        }
        let gone = std::mem::replace(&mut self.micros[self.next], micros);
        self.next = (self.next + 1) % REMEMBERED;
        self.sum -= u64::from(gone);
        if gone >= self.second {
            (self.longest, self.second) = (0, 0);
            for n in 0..self.micros.len() {
                self.rank(self.micros[n]);
            }
        } else {
            self.rank(micros);
        }
    }

    fn rank(&mut self, micros: u32) {
        if micros >= self.longest {
            (self.longest, self.second) = (micros, self.longest);
        } else if micros > self.second {
            self.second = micros;
        }
    }

    /// How many are remembered.
    #[must_use]
    pub fn count(&self) -> usize {
        self.micros.len()
    }

    /// The newest; zero without any.
    #[must_use]
    pub fn last(&self) -> Duration {
        Duration::from_micros(u64::from(self.last))
    }

    /// Their mean; zero without any.
    #[must_use]
    pub fn mean(&self) -> Duration {
        Duration::from_micros(self.sum / (self.micros.len() as u64).max(1))
    }

    /// The least round trip that 99.9 % of them do not exceed (nearest rank); zero without any.
    #[must_use]
    pub fn p999(&self) -> Duration {
        // The rank of n is n - n / 1,000 rounded down, and n is at most 1,024.
        let micros = if self.micros.len() < 1_000 { self.longest } else { self.second };
        Duration::from_micros(u64::from(micros))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the definition, over everything.
    fn sorted(all: &[u32]) -> (Duration, Duration) {
        let mut recent = all[all.len().saturating_sub(REMEMBERED)..].to_vec();
        recent.sort_unstable();
        let rank = (recent.len() * 999).div_ceil(1_000);
        let sum: u64 = recent.iter().copied().map(u64::from).sum();
        let mean = Duration::from_micros(sum / recent.len() as u64);
        (Duration::from_micros(u64::from(recent[rank - 1])), mean)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn percentile_and_mean_are_those_of_a_sorted_list(
            all in proptest::collection::vec(prop_oneof![9 => 0..50_u32, 1 => any::<u32>()], 1..3_000)
        ) {
            let mut trips = RoundTrips::default();
            for (n, &micros) in all.iter().enumerate() {
                trips.add(Duration::from_micros(u64::from(micros)));
                if n % 97 == 0 || n + 1 == all.len() {
                    prop_assert_eq!((trips.p999(), trips.mean()), sorted(&all[..=n]));
                }
            }
            prop_assert!(trips.micros.capacity() <= 2 * REMEMBERED);
            prop_assert_eq!(trips.count(), all.len().min(REMEMBERED));
        }
    }
}

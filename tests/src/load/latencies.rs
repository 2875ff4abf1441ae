use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest time that is told from longer ones.
const MOST: Duration = Duration::from_secs(600);

/// Significant decimal digits that are kept.
const DIGITS: u8 = 3;

/// Times in microseconds, as counts of them; merged over processes without loss.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Vec<(u64, u64)>", from = "Vec<(u64, u64)>")]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        let most = MOST.as_micros() as u64;
        Self(Histogram::new_with_bounds(1, most, DIGITS).expect("the bounds are in order"))
    }
}

impl Latencies {
    /// One more.
    pub fn record(&mut self, took: Duration) {
        self.record_many(took, 1);
    }

    /// So many more.
    pub fn record_many(&mut self, took: Duration, times: u64) {
        self.0.saturating_record_n(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), times);
    }

    /// All of another.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// By share, such as 0.99.
    #[must_use]
    pub fn at(&self, share: f64) -> Duration {
        Duration::from_micros(self.0.value_at_quantile(share))
    }

    /// The longest.
    #[must_use]
    pub fn most(&self) -> Duration {
        Duration::from_micros(self.0.max())
    }
}

impl From<Latencies> for Vec<(u64, u64)> {
    fn from(all: Latencies) -> Self {
        all.0.iter_recorded().map(|at| (at.value_iterated_to(), at.count_at_value())).collect()
    }
}

impl From<Vec<(u64, u64)>> for Latencies {
    fn from(counts: Vec<(u64, u64)>) -> Self {
        let mut all = Self::default();
        for (micros, times) in counts {
            all.0.saturating_record_n(micros, times);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_was_recorded() {
        let mut one = Latencies::default();
        for micros in [0, 1, 999, 1_001, 123_456, 700_000_000] {
            one.record(Duration::from_micros(micros));
        }
        let sent = serde_json::to_string(&one).unwrap();
        let mut got: Latencies = serde_json::from_str(&sent).unwrap();
        assert_eq!((got.count(), got.most()), (one.count(), one.most()));
        assert_eq!(got.at(0.5), one.at(0.5));
        got.merge(&one);
        assert_eq!(got.count(), 12);
    }
}

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cli::answers::SagaEntity;

/// The most latencies that are kept; beyond them every further one replaces an older.
const MAX_SAMPLES: usize = 1_000_000;

/// What became of the moves, as the processes reported it.
#[derive(Debug, Default)]
pub(crate) struct Tally(Mutex<Counts>);

/// The figures.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    pub(crate) committed: u64,
    pub(crate) aborted: u64,
    /// Milliseconds of committed moves.
    pub(crate) latencies: Vec<f64>,
}

impl Tally {
    /// Counts a final outcome.
    pub(crate) fn count(&self, entity: &SagaEntity) {
        let mut counts = self.lock();
        match entity.outcome.as_str() {
            "committed" => {
                let at = counts.committed as usize % MAX_SAMPLES;
                counts.committed += 1;
                match (entity.latency_ms, at < counts.latencies.len()) {
                    (Some(ms), true) => counts.latencies[at] = ms,
                    (Some(ms), false) => counts.latencies.push(ms),
                    (None, _) => {}
                }
            }
            "aborted" => counts.aborted += 1,
            _ => {}
        }
    }

    /// How many moves have committed.
    pub(crate) fn committed(&self) -> u64 {
        self.lock().committed
    }

    /// The figures so far.
    pub(crate) fn snapshot(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The value below which `percent` of the samples lie (nearest rank); 0 without samples.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let rank = (sorted.len() as f64 * percent / 100.0).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&samples, 50.0), 50.0);
        assert_eq!(percentile(&samples, 99.0), 99.0);
        assert_eq!(percentile(&samples[..1], 99.0), 1.0);
        assert_eq!(percentile(&[], 50.0), 0.0);
    }
}

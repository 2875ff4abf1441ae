use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Latencies;

/// What became of moves.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Entities that moved, acknowledged by their destination.
    pub committed: u64,
    /// Entities that stayed, by reason.
    pub aborted: BTreeMap<String, u64>,
    /// Entities of requests that were refused as a whole, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Entities of requests without a final answer.
    pub unanswered: u64,
    /// From the first request to the last answer.
    pub took: Duration,
    /// Of those that moved, until the caller knew.
    pub latencies: Latencies,
}

impl Tally {
    /// Counts some that did not move.
    pub fn count(counts: &mut BTreeMap<String, u64>, reason: &str, entities: usize) {
        *counts.entry(reason.to_owned()).or_default() += entities as u64;
    }

    /// All of another that ran beside it or after it; the time is the caller's business.
    pub fn merge(&mut self, other: &Self) {
        self.committed += other.committed;
        self.unanswered += other.unanswered;
        self.latencies.merge(&other.latencies);
        for (mine, theirs) in
            [(&mut self.aborted, &other.aborted), (&mut self.refused, &other.refused)]
        {
            for (reason, entities) in theirs {
                *mine.entry(reason.clone()).or_default() += entities;
            }
        }
    }

    /// Moves in a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.committed as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }
}

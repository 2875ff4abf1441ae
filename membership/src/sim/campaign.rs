use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Failure, Outcome, Plan, Sim};

/// Failures that a report keeps; more say nothing new.
const MAX_FAILURES: usize = 20;

/// Many seeds, over several threads.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// Threads, at least one.
    pub threads: usize,
    /// What is simulated for a seed.
    pub plan: fn(u64) -> Plan,
}

/// What a campaign came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Seeds run.
    pub seeds: u64,
    /// Views agreed on.
    pub views: usize,
    /// Events simulated.
    pub events: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// The longest it took from the end of all faults to one view.
    pub slowest: Duration,
    /// How many seeds failed.
    pub failed: u64,
    /// The first failures by seed, at most 20.
    pub failures: Vec<Failure>,
    /// Real time.
    pub took: Duration,
}

impl Report {
    /// Seeds per second of real time.
    #[must_use]
    pub fn seeds_per_second(&self) -> f64 {
        self.seeds as f64 / self.took.as_secs_f64().max(f64::EPSILON)
    }

    fn take(&mut self, result: Result<Outcome, Box<Failure>>) {
        self.seeds += 1;
        match result {
            Ok(outcome) => {
                self.views += outcome.views;
                self.events += outcome.events;
                self.delivered += outcome.delivered;
                self.slowest = self.slowest.max(outcome.healed_in);
            }
            Err(failure) => {
                self.failed += 1;
                self.failures.push(*failure);
                self.failures.sort_by_key(|failure| failure.plan.seed);
                self.failures.truncate(MAX_FAILURES);
            }
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} seeds in {:.1} s: {:.1} seeds/s, {} views, {} events, {} messages, slowest healing {:?}, {} failed",
            self.seeds,
            self.took.as_secs_f64(),
            self.seeds_per_second(),
            self.views,
            self.events,
            self.delivered,
            self.slowest,
            self.failed
        )?;
        self.failures.iter().try_for_each(|failure| writeln!(f, "{failure}"))
    }
}

impl Campaign {
    /// So many seeds of [`Plan::of_seed`] on all cores.
    #[must_use]
    pub fn new(seeds: u64) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { first: 0, seeds, threads, plan: Plan::of_seed }
    }

    /// Runs it. `progress` is told of every seed that is done.
    ///
    /// # Panics
    /// If a core or the simulator panics.
    #[must_use]
    pub fn run(&self, progress: &(dyn Fn() + Sync)) -> Report {
        let start = Instant::now();
        let next = AtomicU64::new(0);
        let report = Mutex::new(Report::default());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= self.seeds {
                            break;
                        }
                        let result = Sim::new((self.plan)(self.first + index)).run();
                        report.lock().unwrap_or_else(PoisonError::into_inner).take(result);
                        progress();
                    }
                });
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.took = start.elapsed();
        report
    }
}

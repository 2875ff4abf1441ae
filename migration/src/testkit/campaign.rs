use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::check::Violation;
use super::run::{Options, run};

/// Failures that a campaign collects before it ends.
const FAILURES_MAX: usize = 10;

/// Many seeds, on several threads.
#[derive(Clone, Copy, Debug)]
pub struct Campaign {
    /// The first seed.
    pub first: u64,
    /// How many.
    pub seeds: u64,
    /// Threads.
    pub threads: usize,
    /// What each seed simulates.
    pub options: fn(u64) -> Options,
}

/// A seed that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was simulated.
    pub options: Options,
    /// What was broken.
    pub violation: Violation,
}

/// What a campaign found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seeds that were run.
    pub seeds: u64,
    /// Steps of cores.
    pub steps: u64,
    /// Moves among faults.
    pub moves: u64,
    /// How long it took.
    pub took: Duration,
    /// Seeds that broke an invariant; the campaign ends after a few.
    pub failures: Vec<Failure>,
}

impl Campaign {
    /// All seeds, `done` being called after each.
    #[must_use]
    pub fn run(&self, done: &(dyn Fn() + Sync)) -> Report {
        let begun = Instant::now();
        let next = AtomicU64::new(0);
        let enough = AtomicBool::new(false);
        let report = Mutex::new(Report::default());
        let work = || {
            while !enough.load(Ordering::Relaxed) {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= self.seeds {
                    return;
                }
                let options = (self.options)(self.first + n);
                let result = run(options);
                let mut report = report.lock().unwrap_or_else(PoisonError::into_inner);
                report.seeds += 1;
                match result {
                    Ok(summary) => {
                        report.steps += summary.steps;
                        report.moves += summary.moves;
                    }
                    Err(violation) => report.failures.push(Failure { options, violation }),
                }
                enough.store(report.failures.len() >= FAILURES_MAX, Ordering::Relaxed);
                drop(report);
                done();
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(work);
            }
        });
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.took = begun.elapsed();
        report
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seeds, steps, moves, took, failures } = self;
        let seconds = took.as_secs_f64().max(f64::MIN_POSITIVE);
        let rate = *seeds as f64 / seconds;
        writeln!(
            f,
            "{seeds} seeds in {seconds:.1} s ({rate:.0} a second): {steps} steps, {moves} moves \
             among faults, {} failures",
            failures.len()
        )?;
        for Failure { options, violation } in failures {
            writeln!(f, "seed {}: {violation}\n  {}", options.seed, options.reproduce())?;
        }
        Ok(())
    }
}

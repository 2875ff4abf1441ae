use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::arguments::{Experiment, Protocol};
use crate::experiments::{self, Bootstrap, Crash, Fault, Faults};
use crate::foca::FocaProcess;
use crate::heartbeat::Heartbeat;

/// One experiment with one protocol, one size and one seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Job {
    /// What is done.
    pub(crate) experiment: Experiment,
    /// To whom.
    pub(crate) protocol: Protocol,
    /// How many.
    pub(crate) places: usize,
    /// All chance comes from it.
    pub(crate) seed: u64,
}

/// What a job found.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Finding {
    /// Of [`Experiment::Bootstrap`].
    Bootstrap(Bootstrap),
    /// Of [`Experiment::CrashOne`] and [`Experiment::CrashPercent`].
    Crash(Crash),
    /// Of [`Experiment::Loss`] and [`Experiment::FlipFlop`].
    Faults(Faults),
}

/// A job that is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    /// Which.
    pub(crate) job: Job,
    /// What it found.
    pub(crate) finding: Finding,
    /// Real time it took.
    pub(crate) took: Duration,
}

/// Does all jobs, one on every core at a time; the findings come in the order of the jobs and do
/// not depend on how many cores there are.
pub(crate) fn all(jobs: &[Job]) -> Vec<Done> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&job) = jobs.get(at) else { return };
                    let started = Instant::now();
                    let finding = one(job);
                    let result = Done { job, finding, took: started.elapsed() };
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|&(at, _)| at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn one(job: Job) -> Finding {
    let Job { places, seed, .. } = job;
    match job.protocol {
        Protocol::Foca => with(job, |place, beginning| {
            FocaProcess::new(seed, places, place, beginning)
        }),
        Protocol::Heartbeat => {
            with(job, |place, beginning| Heartbeat::new(places, place, &beginning))
        }
    }
}

fn with<P: crate::engine::Process>(
    job: Job,
    make: impl Fn(usize, crate::foca::Beginning) -> P,
) -> Finding {
    let Job { places, seed, .. } = job;
    match job.experiment {
        Experiment::Bootstrap => Finding::Bootstrap(experiments::bootstrap(seed, places, make)),
        Experiment::CrashOne => Finding::Crash(experiments::crash(seed, places, 1, make)),
        Experiment::CrashPercent => {
            let crashes = experiments::one_percent(places);
            Finding::Crash(experiments::crash(seed, places, crashes, make))
        }
        Experiment::Loss => {
            Finding::Faults(experiments::faults(seed, places, Fault::Loss, make))
        }
        Experiment::FlipFlop => {
            Finding::Faults(experiments::faults(seed, places, Fault::FlipFlop, make))
        }
    }
}

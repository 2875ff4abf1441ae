use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use lampyrid_membership::sim::Violation;

use crate::arguments::{Experiment, Protocol};
use crate::engine::Process;
use crate::experiments::{self, Bootstrap, Crash, Fault, Faults};
use crate::foca::{Beginning, FocaProcess};
use crate::heartbeat::Heartbeat;
use crate::ours;

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
}

/// A job in which ours broke a promise.
#[derive(Debug)]
pub(crate) struct Broken {
    /// Which.
    pub(crate) job: Job,
    /// What.
    pub(crate) violation: Violation,
}

/// Does all jobs, one on every core at a time; the findings come in the order of the jobs and do
/// not depend on how many cores there are.
pub(crate) fn all(jobs: &[Job]) -> (Vec<Done>, Vec<Broken>) {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(&job) = jobs.get(at) else { return };
                    let result = one(job);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((at, job, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|&(at, ..)| at);
    let (mut findings, mut broken) = (Vec::new(), Vec::new());
    for (_, job, result) in done {
        match result {
            Ok(finding) => findings.push(Done { job, finding }),
            Err(violation) => broken.push(Broken { job, violation }),
        }
    }
    (findings, broken)
}

fn one(job: Job) -> Result<Finding, Violation> {
    let Job { places, seed, .. } = job;
    match job.protocol {
        Protocol::Ours => of_ours(job, false),
        Protocol::OursUnplugged => of_ours(job, true),
        Protocol::Foca => Ok(with(job, |place, from| FocaProcess::new(seed, places, place, from))),
        Protocol::Heartbeat => Ok(with(job, |place, from| Heartbeat::new(places, place, &from))),
    }
}

fn of_ours(job: Job, unplugged: bool) -> Result<Finding, Violation> {
    let Job { places, seed, .. } = job;
    Ok(match job.experiment {
        Experiment::Bootstrap => Finding::Bootstrap(ours::bootstrap(seed, places)?),
        Experiment::CrashOne => Finding::Crash(ours::crash(seed, places, 1, unplugged)?),
        Experiment::CrashPercent => {
            let crashes = experiments::one_percent(places);
            Finding::Crash(ours::crash(seed, places, crashes, unplugged)?)
        }
        Experiment::Loss => Finding::Faults(ours::faults(seed, places, Fault::Loss)?),
        Experiment::FlipFlop => Finding::Faults(ours::faults(seed, places, Fault::FlipFlop)?),
    })
}

fn with<P: Process>(job: Job, make: impl Fn(usize, Beginning) -> P) -> Finding {
    let Job { places, seed, .. } = job;
    match job.experiment {
        Experiment::Bootstrap => Finding::Bootstrap(experiments::bootstrap(seed, places, make)),
        Experiment::CrashOne => Finding::Crash(experiments::crash(seed, places, 1, make)),
        Experiment::CrashPercent => {
            let crashes = experiments::one_percent(places);
            Finding::Crash(experiments::crash(seed, places, crashes, make))
        }
        Experiment::Loss => Finding::Faults(experiments::faults(seed, places, Fault::Loss, make)),
        Experiment::FlipFlop => {
            Finding::Faults(experiments::faults(seed, places, Fault::FlipFlop, make))
        }
    }
}

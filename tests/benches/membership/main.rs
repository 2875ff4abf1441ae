//! Membership on a simulated network: ours, foca and a plain heartbeat side by side, in one run.
//!
//! `cargo bench -p lampyrid-tests --bench membership`; `-- --help` says how to choose. Every figure
//! is of virtual time and follows from the seeds alone. Run as a test it is small and asserts that
//! all three do what they are here to be measured at.

mod arguments;
mod engine;
mod experiments;
mod foca;
mod heartbeat;
mod identity;
mod lists;
mod message;
mod meter;
mod ours;
mod run;
mod smoke;
mod table;

use std::io::{Error, Write};

use clap::{Parser, ValueEnum};

use self::arguments::{Arguments, Experiment, Protocol};
use self::run::Job;

fn main() -> Result<(), Error> {
    let arguments = Arguments::parse();
    if !arguments.bench {
        smoke::test();
        return Ok(());
    }
    let mut out = std::io::stdout();
    let mut failed = 0;
    for experiment in chosen(&arguments.experiments) {
        let (done, broken) = run::all(&jobs(&arguments, experiment));
        write!(out, "{}", table::of(experiment, &done))?;
        out.flush()?;
        for run::Broken { job, violation } in &broken {
            writeln!(std::io::stderr(), "not measured: {job:?}: {violation}")?;
        }
        failed += broken.len();
    }
    if failed > 0 {
        return Err(Error::other(format!("{failed} of ours were not measured")));
    }
    Ok(())
}

fn chosen<T: ValueEnum + Clone>(asked: &[T]) -> Vec<T> {
    if asked.is_empty() { T::value_variants().to_vec() } else { asked.to_vec() }
}

fn jobs(arguments: &Arguments, experiment: Experiment) -> Vec<Job> {
    let sizes = if arguments.sizes.is_empty() {
        experiment.sizes(arguments.full)
    } else {
        &arguments.sizes
    };
    let protocols: Vec<Protocol> = chosen(&arguments.protocols);
    let mut jobs = Vec::new();
    for &places in sizes.iter().filter(|&&places| places > 1) {
        for &protocol in protocols.iter().filter(|one| one.takes_part(experiment, places)) {
            for seed in (0..arguments.seeds).map(|one| arguments.first_seed.saturating_add(one)) {
                jobs.push(Job { experiment, protocol, places, seed });
            }
        }
    }
    jobs
}

//! As many seeds of membership's simulator as one likes, or one seed told in full:
//!
//!     cargo run --release -p lampyrid-tests --example campaign -- --seeds 100000
//!     cargo run --release -p lampyrid-tests --example campaign -- --tell 17

use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lampyrid_membership::sim::{Campaign, Plan, Report, Sim};

/// Runs small simulated clusters under all faults mixed.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Threads; all cores if left out.
    #[arg(long)]
    threads: Option<usize>,
    /// The plan with many proposers at once instead of the one with all faults.
    #[arg(long)]
    contended: bool,
    /// Only this seed, with all that happens in it.
    #[arg(long)]
    tell: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = if arguments.contended { Plan::contended } else { Plan::of_seed };
    if let Some(seed) = arguments.tell {
        return tell(plan(seed));
    }
    let base = Campaign::new(arguments.seeds);
    let threads = arguments.threads.unwrap_or(base.threads);
    let campaign = Campaign { first: arguments.first, threads, plan, ..base };
    let report = watched(&campaign);
    eprint!("{report}");
    if report.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn watched(campaign: &Campaign) -> Report {
    let bar = ProgressBar::new(campaign.seeds);
    let style = ProgressStyle::with_template(
        "{wide_bar} {pos}/{len} seeds, {per_sec}, {elapsed_precise}, {eta} left",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let report = campaign.run(&|| bar.inc(1));
    bar.finish();
    report
}

fn tell(plan: Plan) -> ExitCode {
    let mut sim = Sim::new(plan);
    sim.verbose = true;
    match sim.run() {
        Ok(outcome) => {
            eprintln!("{outcome:?}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

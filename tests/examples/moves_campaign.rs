//! As many seeds of migration's simulator as one likes, or one seed told in full:
//!
//!     cargo run --release -p lampyrid-tests --example moves_campaign -- --seeds 100000
//!     cargo run --release -p lampyrid-tests --example moves_campaign -- --tell 17
//!     cargo run --release -p lampyrid-tests --example moves_campaign -- --flaw SendBeforeSync

use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lampyrid_migration::Flaw;
use lampyrid_migration::testkit::{Campaign, Options, run};

/// Runs small simulated clusters that move entities under all faults mixed.
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
    /// Only this seed, with all that happens in it.
    #[arg(long)]
    tell: Option<u64>,
    /// With `--tell`: processes, in place of what the seed says.
    #[arg(long)]
    size: Option<usize>,
    /// With `--tell`: events before the phases without faults, in place of 300.
    #[arg(long)]
    events: Option<usize>,
    /// A rule to break: how many seeds does it take to notice?
    #[arg(long, value_parser = flaw)]
    flaw: Option<Flaw>,
}

fn flaw(name: &str) -> Result<Flaw, String> {
    let known = Flaw::ALL.into_iter().find(|flaw| format!("{flaw:?}") == name);
    known.ok_or_else(|| format!("one of {:?}", Flaw::ALL))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.tell {
        return tell(seed, &arguments);
    }
    if let Some(flaw) = arguments.flaw {
        return notice(flaw, &arguments);
    }
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or_else(cores);
    let (first, seeds) = (arguments.first, arguments.seeds);
    let bar = ProgressBar::new(seeds);
    let style = ProgressStyle::with_template(
        "{wide_bar} {pos}/{len} seeds, {per_sec}, {elapsed_precise}, {eta} left",
    );
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let report = Campaign { first, seeds, threads, options: Options::seed }.run(&|| bar.inc(1));
    bar.finish();
    eprint!("{report}");
    if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn tell(seed: u64, arguments: &Arguments) -> ExitCode {
    let base = Options::seed(seed);
    let size = arguments.size.unwrap_or(base.size);
    let events = arguments.events.unwrap_or(base.events);
    match run(Options { size, events, flaw: arguments.flaw, tells: true, ..base }) {
        Ok(summary) => {
            eprintln!("{summary:?}");
            ExitCode::SUCCESS
        }
        Err(violation) => {
            eprintln!("{violation}");
            ExitCode::FAILURE
        }
    }
}

fn notice(flaw: Flaw, arguments: &Arguments) -> ExitCode {
    let seeds = arguments.first..arguments.first + arguments.seeds;
    for (count, seed) in (1..).zip(seeds) {
        let options = Options { flaw: Some(flaw), ..Options::seed(seed) };
        if let Err(violation) = run(options) {
            eprintln!("noticed within {count} seeds: {violation}\n{}", options.reproduce());
            return ExitCode::SUCCESS;
        }
    }
    eprintln!("not noticed within {} seeds", arguments.seeds);
    ExitCode::FAILURE
}

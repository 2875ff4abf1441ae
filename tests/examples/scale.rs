//! Experiments on large simulated clusters, one line a seed:
//!
//!     cargo run --release -p lampyrid-tests --example scale -- bootstrap -n 60
//!     cargo run --release -p lampyrid-tests --example scale -- crash -n 60 -c 3 --seeds 20
//!     cargo run --release -p lampyrid-tests --example scale -- loss-in -n 60 -c 1
//!     cargo run --release -p lampyrid-tests --example scale -- flip-out -n 60 -c 1
//!     cargo run --release -p lampyrid-tests --example scale -- load -n 60 -c 1

use std::error::Error;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use lampyrid_membership::Pace;
use lampyrid_membership::sim::Direction;
use lampyrid_membership::sim::scale::{Trouble, bootstrap, crash_some, loads, trouble_some};

/// What to try.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Experiment {
    /// All join through one seed.
    Bootstrap,
    /// Some end at once.
    Crash,
    /// The machines of some end at once: nothing is refused.
    Unplug,
    /// Some lose 80 % of what is sent to them.
    LossIn,
    /// Some lose 80 % of what they send.
    LossOut,
    /// Nothing reaches some for 20 s, then all does for 20 s, and so on.
    FlipIn,
    /// Nothing of some arrives for 20 s, then all does for 20 s, and so on.
    FlipOut,
    /// Bytes and messages, 60 s before and 60 s after some end at once.
    Load,
}

/// Runs one experiment.
#[derive(Debug, Parser)]
struct Arguments {
    /// Which.
    experiment: Experiment,
    /// Members.
    #[arg(short = 'n', default_value_t = 60)]
    members: usize,
    /// How many of them something happens to.
    #[arg(short = 'c', default_value_t = 1)]
    concerned: usize,
    /// Seeds.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Milliseconds between two probes of an edge.
    #[arg(long, default_value_t = 250)]
    pace: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    for seed in arguments.first..arguments.first + arguments.seeds {
        let start = Instant::now();
        let line = run(&arguments, seed)?;
        eprintln!("seed {seed}: {line} ({:.1} s of real time)", start.elapsed().as_secs_f64());
    }
    Ok(())
}

fn run(arguments: &Arguments, seed: u64) -> Result<String, Box<dyn Error>> {
    let (members, concerned) = (arguments.members, arguments.concerned);
    let minute = Duration::from_secs(60);
    let pace = Pace::every(Duration::from_millis(arguments.pace));
    let crash = |silently| crash_some(seed, members, concerned, silently, Duration::from_secs(5));
    let trouble = |trouble| trouble_some(seed, members, concerned, trouble, 2 * minute);
    Ok(match arguments.experiment {
        Experiment::Bootstrap => {
            format!("{:?}", bootstrap(seed, members, Duration::from_secs(1))?)
        }
        Experiment::Crash => format!("{:?}", crash(false)?),
        Experiment::Unplug => format!("{:?}", crash(true)?),
        Experiment::LossIn => format!("{:?}", trouble(Trouble::Loss(Direction::Incoming, 800))?),
        Experiment::LossOut => format!("{:?}", trouble(Trouble::Loss(Direction::Outgoing, 800))?),
        Experiment::FlipIn => format!("{:?}", trouble(Trouble::FlipFlop(Direction::Incoming))?),
        Experiment::FlipOut => format!("{:?}", trouble(Trouble::FlipFlop(Direction::Outgoing))?),
        Experiment::Load => {
            format!("{:#?}", loads(seed, members, concerned, pace, minute, minute)?)
        }
    })
}

//! Membership on a simulated network: ours, foca and a plain heartbeat side by side.

mod arguments;
mod engine;
mod experiments;
mod foca;
mod heartbeat;
mod identity;
mod lists;
mod message;
mod meter;
mod run;

use clap::Parser;

fn main() {
    let arguments = arguments::Arguments::parse();
    let mut jobs = Vec::new();
    for &experiment in &arguments.experiments {
        for &places in &arguments.sizes {
            for &protocol in &arguments.protocols {
                for seed in 1..=arguments.seeds {
                    jobs.push(run::Job { experiment, protocol, places, seed });
                }
            }
        }
    }
    for done in run::all(&jobs) {
        eprintln!("{done:?}");
    }
}

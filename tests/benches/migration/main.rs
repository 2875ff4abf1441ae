//! How fast entities move between real processes on loopback, durable on both sides, beside what
//! the same disk, store and links give at best in the same run.
//!
//!     cargo bench -p lampyrid-tests --bench migration -- [floors] [back-and-forth] [one-by-one]
//!         [pause] [frozen] [recover] [moves] [http] [soak] [many] [secured] [--minutes 1]
//!         [--entities 100000] [--moves 1000000] [--batch 512] [--in-flight 8]
//!
//! Without names, all of it. The table that it prints is the one in `docs/performance.md`; how it
//! goes is told on stderr.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measurement")]

mod actors;
mod back_and_forth;
mod census;
mod cost;
mod fleet;
mod floors;
mod frozen;
mod http;
mod many;
mod mover;
mod moves;
mod one_by_one;
mod pause;
mod pauses;
mod plan;
mod recover;
mod secured;
mod soak;
mod strangers;
mod table;
mod work;
mod writers;

use crate::floors::Floors;
use crate::plan::Plan;

type Experiment = fn(&Plan, &Floors);

/// By name, in the order in which they run.
const ALL: [(&str, Experiment); 12] = [
    ("back-and-forth", back_and_forth::measure),
    ("one-by-one", one_by_one::measure),
    ("pause", pause::measure),
    ("frozen", frozen::measure),
    ("recover", recover::measure),
    ("moves", moves::measure),
    ("http", http::measure),
    ("soak", soak::measure),
    ("many", many::measure),
    ("secured", secured::measure),
    ("strangers", strangers::measure),
    ("actors", actors::measure),
];

fn main() {
    let plan = Plan::parse(std::env::args().skip(1), &ALL.map(|(name, _)| name));
    table::head(&plan);
    let floors = Floors::measure();
    floors.report();
    for (name, experiment) in ALL {
        if plan.has(name) {
            work::tell(&format!("{name} begins"));
            experiment(&plan, &floors);
        }
    }
}

//! How fast real processes on loopback agree after a failure, and what they cost when nothing
//! happens, beside a plain heartbeat to a coordinator.
//!
//!     cargo bench -p lampyrid-tests --bench processes -- [kill] [early] [freeze] [pair] [busy]
//!         [idle] [baseline] [--repetitions 10] [--nodes 5] [--seconds 60]
//!
//! Without names, all of it. Times are from just before the signal to the moment at which every
//! survivor has told its new view over HTTP; asking costs a millisecond or two.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a measurement")]

mod baseline;
mod busy;
mod faults;
mod idle;
mod table;

use std::time::Duration;

use lampyrid_tests::Cluster;

const NODE: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");

const ALL: [&str; 7] = ["kill", "early", "freeze", "pair", "busy", "idle", "baseline"];

/// What to measure.
struct Plan {
    names: Vec<String>,
    repetitions: usize,
    nodes: usize,
    time: Duration,
}

impl Plan {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let time = Duration::from_secs(60);
        let mut plan = Self { names: Vec::new(), repetitions: 10, nodes: 5, time };
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().and_then(|value| value.parse::<usize>().ok());
                value.unwrap_or_else(|| panic!("{argument} takes a number"))
            };
            match argument.as_str() {
                // Cargo says that this is a benchmark.
                "--bench" => {}
                "--repetitions" => plan.repetitions = number().max(1),
                "--nodes" => plan.nodes = number().clamp(4, 11),
                "--seconds" => plan.time = Duration::from_secs(number().clamp(1, 600) as u64),
                name if ALL.contains(&name) => plan.names.push(name.to_owned()),
                other => panic!("{other}: not one of {ALL:?}, --repetitions, --nodes, --seconds"),
            }
        }
        if plan.names.is_empty() {
            plan.names = ALL.map(str::to_owned).to_vec();
        }
        plan
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|wanted| wanted == name)
    }
}

fn main() {
    let plan = Plan::parse(std::env::args().skip(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("{} processes of {NODE}, {cores} cores", plan.nodes);
    table::head();
    if plan.names.iter().any(|name| name != "baseline") {
        let mut cluster = Cluster::start(NODE, plan.nodes);
        if plan.has("kill") {
            faults::kill(&mut cluster, plan.repetitions);
        }
        if plan.has("early") {
            faults::early(&mut cluster, plan.repetitions);
        }
        if plan.has("freeze") {
            faults::freeze(&cluster, plan.repetitions);
        }
        if plan.has("pair") {
            faults::pair(&mut cluster, plan.repetitions);
        }
        if plan.has("busy") {
            busy::measure(&cluster, plan.time, cores);
        }
        if plan.has("idle") {
            idle::measure(&cluster, plan.time);
        }
    }
    if plan.has("baseline") {
        baseline::measure(plan.nodes, plan.repetitions, plan.time);
    }
}

//! Many seeds of the simulator, and the proof that it would notice a missing rule.
// Helpers outside of `#[test]` functions are tests as well.
#![allow(clippy::unwrap_used)]

use lampyrid_membership::Flaw;
use lampyrid_membership::sim::{Campaign, Failure, Plan, Sim};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, flaw: Option<Flaw>) -> Result<(), Box<Failure>> {
    Sim::new(Plan { flaw, only_harm: true, ..Plan::contended(seed) }).run().map(|_| ())
}

/// `LAMPYRID_SIM_SEEDS=5000` runs more.
#[test]
fn many_seeds_keep_every_promise_and_heal() {
    let seeds = number("LAMPYRID_SIM_SEEDS").unwrap_or(300);
    let first = number("LAMPYRID_SIM_FIRST").unwrap_or(0);
    let report = Campaign { first, ..Campaign::new(seeds) }.run(&|| {});
    eprintln!("{report}");
    assert_eq!(report.failed, 0);
    assert_eq!(report.seeds, seeds);
}

/// The plans under which missing rules are noticed, with all rules in place.
#[test]
fn contended_seeds_keep_every_promise_and_heal() {
    let seeds = number("LAMPYRID_SIM_SEEDS").unwrap_or(150);
    for seed in 0..seeds {
        if let Err(failure) = Sim::new(Plan::contended(seed)).run() {
            panic!("{failure}");
        }
    }
}

/// One seed, told in full: `LAMPYRID_SIM_SEED=7`.
#[test]
fn one_seed() {
    let seed = number("LAMPYRID_SIM_SEED");
    let contended = number("LAMPYRID_SIM_CONTENDED") == Some(1);
    let plan = if contended { Plan::contended } else { Plan::of_seed };
    let mut sim = Sim::new(plan(seed.unwrap_or(0)));
    sim.verbose = seed.is_some();
    if let Err(failure) = sim.run() {
        panic!("{failure}");
    }
}

/// That only the highest rank forces shows too rarely here; `agreement`'s own tests tell that story
/// move by move.
#[test]
fn each_missing_rule_is_noticed() {
    let limit = number("LAMPYRID_SIM_FLAW_SEEDS").unwrap_or(1_500);
    for flaw in [
        Flaw::ForgetfulAcceptor,
        Flaw::AnyHalf,
        Flaw::LiveSetQuorum,
        Flaw::NoSelection,
        Flaw::TwoValuesOneRank,
    ] {
        let caught = (0..limit).find_map(|seed| run(seed, Some(flaw)).err());
        match caught {
            Some(failure) => {
                eprintln!("{flaw:?}: seed {}: {}", failure.plan.seed, failure.violation)
            }
            None => panic!("{flaw:?} went unnoticed in {limit} seeds"),
        }
    }
}

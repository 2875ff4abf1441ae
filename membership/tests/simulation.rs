//! Many seeds of the simulator, and the proof that it would notice a missing rule.
// Helpers outside of `#[test]` functions are tests as well.
#![allow(clippy::unwrap_used)]

use lampyrid_membership::Flaw;
use lampyrid_membership::sim::{Campaign, Failure, Plan, Sim};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
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

/// How many seeds of the kind of plan that shows a missing rule best it takes until it is noticed.
/// `LAMPYRID_SIM_FLAW_SEEDS` is the limit.
fn noticed(flaw: Flaw, limit: u64) -> Option<(u64, Box<Failure>)> {
    (0..limit).find_map(|seed| {
        // In turn: only what users would see, and every invariant; few processes and more.
        let contended = Plan::contended(seed / 2);
        let processes = 2 + usize::try_from(seed % 7).unwrap();
        let plan = Plan { flaw: Some(flaw), only_harm: seed % 2 == 0, processes, ..contended };
        Sim::new(plan).run().err().map(|failure| (seed + 1, failure))
    })
}

#[test]
fn each_missing_rule_is_noticed() {
    let limit = number("LAMPYRID_SIM_FLAW_SEEDS").unwrap_or(1_500);
    let flaws = [
        Flaw::ForgetfulAcceptor,
        Flaw::AnyHalf,
        Flaw::LiveSetQuorum,
        Flaw::FirstVoteSeen,
        Flaw::NoSelection,
        Flaw::TwoValuesOneRank,
        Flaw::FastVoteAfterPromise,
        Flaw::FastQuorumTooSmall,
        Flaw::HalfIsFastQuorum,
        Flaw::TieBreakerOfProposal,
        Flaw::DuplicateCounted,
        Flaw::CountsIncarnations,
        Flaw::WipedDiskKeepsId,
        Flaw::CoordinatorByProcess,
        Flaw::AnswersPastEpoch,
    ];
    let missed = std::thread::scope(|scope| {
        let halves = flaws.chunks(flaws.len().div_ceil(2));
        let running = halves.map(|half| {
            scope.spawn(|| {
                let unnoticed = |flaw: &&Flaw| match noticed(**flaw, limit) {
                    Some((seeds, failure)) => {
                        eprintln!("{flaw:?}: noticed in {seeds} seeds: {}", failure.violation);
                        false
                    }
                    None => {
                        eprintln!("{flaw:?}: went unnoticed in {limit} seeds");
                        true
                    }
                };
                half.iter().filter(unnoticed).copied().collect::<Vec<_>>()
            })
        });
        let running: Vec<_> = running.collect();
        running.into_iter().flat_map(|half| half.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(missed, []);
}

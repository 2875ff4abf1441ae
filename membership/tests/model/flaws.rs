//! Each rule left out, in the smallest model in which that does harm.

use lampyrid_membership::Flaw;

use super::chain::{Bounds, ONE};
use super::run::{Found, find};
use super::state::Wish;

/// A single agreement of `size` with two joiners to admit, one after the other or both ways.
fn agreement(flaw: Flaw, size: u8, starts: u8) -> Bounds {
    Bounds {
        size,
        outside: 2,
        agreements: 1,
        starts,
        starters: (0..starts).collect(),
        wishes: vec![Wish::Admit(size), Wish::Admit(size + 1)],
        fast_first: true,
        only_harm: true,
        flaw: Some(flaw),
        ..Bounds::default()
    }
}

/// The same with all processes free to start rounds.
fn small(flaw: Flaw, size: u8, starts: u8) -> Bounds {
    Bounds { starters: (0..size).collect(), ..agreement(flaw, size, starts) }
}

fn bounds(flaw: Flaw) -> Bounds {
    let restarts = |bounds: Bounds| Bounds {
        restarts: 1,
        restarters: (0..bounds.size).collect(),
        ..bounds
    };
    let removes = |bounds: Bounds| Bounds {
        wishes: (0..bounds.size).map(Wish::Remove).chain([Wish::Admit(bounds.size)]).collect(),
        ..bounds
    };
    match flaw {
        Flaw::FastVoteAfterPromise => Bounds { fast_first: false, ..agreement(flaw, 5, 1) },
        Flaw::FastQuorumTooSmall => agreement(flaw, 8, 1),
        Flaw::HalfIsFastQuorum | Flaw::FirstVoteSeen => agreement(flaw, 5, 1),
        Flaw::LiveSetQuorum | Flaw::TieBreakerOfProposal => removes(small(flaw, 4, 2)),
        Flaw::AnyHalf | Flaw::TwoValuesOneRank => small(flaw, 2, 2),
        Flaw::NoSelection => small(flaw, 3, 2),
        Flaw::DuplicateCounted => small(flaw, 4, 2),
        Flaw::CountsIncarnations => restarts(small(flaw, 3, 2)),
        Flaw::ForgetfulAcceptor => restarts(small(flaw, 2, 2)),
        Flaw::WipedDiskKeepsId => Bounds { install: true, ..restarts(small(flaw, 2, 2)) },
        Flaw::AnswersPastEpoch => Bounds { install: true, ..small(flaw, 3, 2) },
        Flaw::CoordinatorByProcess | Flaw::NoImplicitReports => {
            unreachable!("no rules of the agreement")
        }
    }
}

const FLAWS: [Flaw; 14] = [
    Flaw::FastVoteAfterPromise,
    Flaw::FastQuorumTooSmall,
    Flaw::HalfIsFastQuorum,
    Flaw::AnyHalf,
    Flaw::TieBreakerOfProposal,
    Flaw::FirstVoteSeen,
    Flaw::NoSelection,
    Flaw::TwoValuesOneRank,
    Flaw::DuplicateCounted,
    Flaw::LiveSetQuorum,
    Flaw::CountsIncarnations,
    Flaw::ForgetfulAcceptor,
    Flaw::WipedDiskKeepsId,
    Flaw::AnswersPastEpoch,
];

#[test]
fn each_missing_rule_yields_two_successors() {
    for flaw in FLAWS {
        let bounds = bounds(flaw);
        match find(ONE, &bounds) {
            Found::Harm { states, steps, seconds } => eprintln!(
                "{flaw:?}: N = {}, {states} states, {steps} steps, {seconds:.1} s",
                bounds.size
            ),
            Found::Nothing { states } => {
                eprintln!("{flaw:?} does no harm at N = {} in {states} states", bounds.size)
            }
        }
    }
}

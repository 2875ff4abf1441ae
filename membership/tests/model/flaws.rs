//! Each rule left out, in the smallest model in which that does harm.

use lampyrid_membership::Flaw;

use super::bounds::{Bounds, Fast};
use super::properties::ONE;
use super::run::find;
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
        fast: Fast::First(0),
        only_harm: true,
        flaw: Some(flaw),
        ..Bounds::default()
    }
}

/// The same with all processes free to start rounds.
fn small(flaw: Flaw, size: u8, starts: u8) -> Bounds {
    Bounds { starters: (0..size).collect(), ..agreement(flaw, size, starts) }
}

/// Where it does harm.
fn bounds(flaw: Flaw) -> Bounds {
    bounds_of(
        flaw,
        match flaw {
            Flaw::FastQuorumTooSmall => 8,
            Flaw::FastVoteAfterPromise | Flaw::HalfIsFastQuorum | Flaw::FirstVoteSeen => 5,
            Flaw::LiveSetQuorum | Flaw::TieBreakerOfProposal | Flaw::DuplicateCounted => 4,
            Flaw::AnyHalf | Flaw::ForgetfulAcceptor | Flaw::WipedDiskKeepsId => 2,
            _ => 3,
        },
    )
}

fn bounds_of(flaw: Flaw, size: u8) -> Bounds {
    let restarts =
        |bounds: Bounds| Bounds { restarts: 1, restarters: (0..bounds.size).collect(), ..bounds };
    let removes = |bounds: Bounds| Bounds {
        wishes: (0..bounds.size).map(Wish::Remove).chain([Wish::Admit(bounds.size)]).collect(),
        ..bounds
    };
    match flaw {
        Flaw::FastVoteAfterPromise => Bounds { fast: Fast::AnyTime, ..agreement(flaw, size, 1) },
        Flaw::FastQuorumTooSmall => agreement(flaw, size, 1),
        Flaw::HalfIsFastQuorum | Flaw::FirstVoteSeen => agreement(flaw, size, 1),
        Flaw::LiveSetQuorum | Flaw::TieBreakerOfProposal => removes(small(flaw, size, 2)),
        Flaw::AnyHalf | Flaw::TwoValuesOneRank | Flaw::NoSelection | Flaw::DuplicateCounted => {
            small(flaw, size, 2)
        }
        Flaw::CountsIncarnations => restarts(small(flaw, size, 2)),
        Flaw::ForgetfulAcceptor => restarts(small(flaw, size, 2)),
        Flaw::WipedDiskKeepsId => Bounds { install: true, ..restarts(small(flaw, size, 2)) },
        Flaw::AnswersPastEpoch => Bounds { install: true, ..small(flaw, size, 2) },
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

/// The sizes at which these flaws do no harm yet, for want of an even half, of a second one to
/// remove, or of fast votes.
fn too_small(flaw: Flaw) -> &'static [u8] {
    match flaw {
        Flaw::TieBreakerOfProposal | Flaw::LiveSetQuorum | Flaw::DuplicateCounted => &[3],
        Flaw::FirstVoteSeen | Flaw::HalfIsFastQuorum | Flaw::FastVoteAfterPromise => &[2, 3, 4],
        Flaw::FastQuorumTooSmall => &[2, 3, 4, 5, 6, 7],
        _ => &[],
    }
}

#[test]
fn each_missing_rule_yields_two_successors_and_with_all_rules_there_is_one() {
    for flaw in FLAWS {
        let bounds = bounds(flaw);
        let found = find(ONE, &bounds);
        let Some(steps) = found.steps else {
            panic!("{flaw:?} does no harm at N = {} in {} states", bounds.size, found.states);
        };
        let (size, states, seconds) = (bounds.size, found.states, found.seconds);
        eprintln!(
            "{flaw:?}: caught at N = {size} in {states} states, {steps} steps, {seconds:.1} s"
        );
        for &size in too_small(flaw) {
            let found = find(ONE, &self::bounds_of(flaw, size));
            eprintln!("{flaw:?}: nothing at N = {size} in {} states", found.states);
            assert_eq!(found.steps, None, "{flaw:?} does harm at N = {size} already");
        }
        // The same states and more with the rule in place, where they are not too many.
        if size < 8 && flaw != Flaw::FastVoteAfterPromise {
            let sound = find(ONE, &Bounds { flaw: None, ..bounds });
            eprintln!("with that rule: nothing at N = {size} in {} states", sound.states);
            assert_eq!(sound.steps, None, "two successors with all rules in place");
        }
    }
}

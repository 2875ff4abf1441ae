//! Each rule left out, in a small model in which that does harm.

use lampyrid_migration::Flaw;
use lampyrid_migration::testkit::{Means, means};

use super::bounds::Bounds;
use super::run::{Found, find};

/// Where it does harm.
fn bounds(flaw: Flaw) -> Bounds {
    let base = Bounds { flaw: Some(flaw), ..Bounds::default() };
    let away_and_back = || vec![vec![1, 0], vec![1, 2]];
    match flaw {
        Flaw::CommitWithoutStage => Bounds { sagas: 2, compactions: 2, ..base },
        Flaw::VolatileStageIds => Bounds { sagas: 2, compactions: 2, restarts: 1, ..base },
        Flaw::StagedByEpoch => Bounds { writes: 1, timeouts: 1, ..base },
        Flaw::SeenCountsStaged => Bounds { sagas: 1, timeouts: 1, heals: true, ..base },
        Flaw::EndOnRemoval => Bounds { sagas: 1, views: away_and_back(), heals: true, ..base },
        Flaw::RedoByEntityAlone => Bounds { restarts: 1, ..base },
        Flaw::TakesBackUnknown => Bounds { sagas: 1, ..base },
        Flaw::UnknownWhilePrepared => Bounds { sagas: 1, ..base },
        Flaw::UnknownBeforeReplay => Bounds { sagas: 1, restarts: 1, ..base },
        Flaw::SendBeforeSync => Bounds { sagas: 1, restarts: 1, ..base },
        Flaw::CommitWithoutList => {
            Bounds { entities: 2, sagas: 2, timeouts: 1, batches: true, ..base }
        }
        Flaw::NoRecordBeforeRemoval => Bounds { sagas: 1, restarts: 1, ..base },
        Flaw::TimeoutRestoresNothing => Bounds { sagas: 1, timeouts: 1, ..base },
        Flaw::TimeoutReAdds => Bounds { sagas: 1, timeouts: 1, ..base },
        Flaw::DuplicateWithoutEpoch => Bounds { sagas: 3, ..base },
        Flaw::ForgetsAfterDuplicate => Bounds { sagas: 1, ..base },
        Flaw::PrepareViewAsTerm => {
            Bounds { sagas: 1, views: vec![vec![1, 1]], heals: true, ..base }
        }
        Flaw::LockUntilEnd => Bounds { sagas: 3, ..base },
    }
}

#[test]
fn each_missing_rule_does_harm_and_with_all_rules_there_is_none() {
    for flaw in Flaw::ALL.into_iter().filter(|flaw| means(*flaw).contains(&Means::Model)) {
        let bounds = bounds(flaw);
        let found = find(&bounds);
        let Found { states, seconds, broken } = found;
        eprintln!("{flaw:?}: {broken:?} in {states} states, {seconds:.1} s");
        assert!(found.broken.is_some(), "{flaw:?} does no harm in {states} states");
    }
}

//! Each rule that a single core can break, by hand: with the rule it holds, without it it does not.

use lampyrid_wire::{OwnershipEpoch, StageId};

use super::{Bench, OTHER, THERE, copy, entity, theirs, view};
use crate::testkit::{Means, means};
use crate::{
    DoubtAnswer, Effect, Expected, Flaw, Input, Message, MigrateRequest, PartPhase, Request, Step,
};

/// Whether the rule holds in a core with that flaw, or without any.
fn holds(rule: Flaw, flaw: Option<Flaw>) -> bool {
    let mut bench = Bench::with(flaw);
    match rule {
        Flaw::CommitWithoutStage => {
            bench.stage(theirs(1), vec![copy(5, 3)]);
            bench.commit(theirs(1), StageId::from_u128(404), &[entity(5)]);
            !bench.owns(entity(5))
        }
        Flaw::VolatileStageIds => {
            let first = bench.stage(theirs(1), vec![copy(5, 3)]);
            bench.hear(Message::Abort { part: theirs(1) });
            bench.restart_with(flaw);
            bench.view(Some(1));
            first != bench.stage(theirs(1), vec![copy(5, 3)])
        }
        Flaw::StagedByEpoch => {
            bench.stage(theirs(1), vec![copy(5, 3)]);
            bench.stage(theirs(2), vec![copy(5, 3)]).is_none()
        }
        Flaw::SeenCountsStaged => {
            bench.stage(theirs(1), vec![copy(5, 3)]);
            bench.hear(Message::Abort { part: theirs(1) });
            bench.stage(theirs(2), vec![copy(5, 3)]).is_some()
        }
        Flaw::DuplicateWithoutEpoch => {
            let first = bench.stage(theirs(1), vec![copy(5, 3)]);
            bench.commit(theirs(1), first.unwrap(), &[entity(5)]);
            let part = bench.prepare(&[entity(5)]);
            bench.staged(part, 1, &[entity(5)]);
            let second = bench.stage(theirs(2), vec![copy(5, 5)]);
            second.is_some() && second != first
        }
        Flaw::ForgetsAfterDuplicate => {
            let stage = bench.stage(theirs(1), vec![copy(5, 3)]).unwrap();
            for _ in 0..3 {
                bench.commit(theirs(1), stage, &[entity(5)]);
            }
            bench.sent == [Message::Activated { part: theirs(1), stage, attempt: None }]
        }
        Flaw::UnknownBeforeReplay | Flaw::SendBeforeSync => true,
        _ => holds_at_source(rule, &mut bench, flaw),
    }
}

fn holds_at_source(rule: Flaw, bench: &mut Bench, flaw: Option<Flaw>) -> bool {
    let (a, b) = (bench.create(), bench.create());
    let part = bench.prepare(&[a, b]);
    let stage = StageId::from_u128(1);
    if rule == Flaw::UnknownWhilePrepared {
        return bench.doubts(part) == DoubtAnswer::Undecided;
    }
    if rule == Flaw::PrepareViewAsTerm {
        let mut step = Step::default();
        bench.core.step(bench.now, Input::View(view(2, Some(1))), &mut step);
        let old = |effect: &Effect| matches!(effect, Effect::Send { term: Some(_), .. });
        return !step.effects.is_empty() && !step.effects.iter().any(old);
    }
    if rule == Flaw::CommitWithoutList {
        bench.staged(part, 1, &[a]);
        return !bench.owns(a) && bench.owns(b);
    }
    bench.staged(part, 1, &[a, b]);
    if rule == Flaw::NoRecordBeforeRemoval {
        // Two rows go, two forwarding addresses come, and the decision.
        return bench.writes == 5;
    }
    let committed = |bench: &Bench| {
        let row = bench.core.image().parts.get(&part);
        row.is_some_and(|row| matches!(row.phase, PartPhase::Committed { .. }))
    };
    match rule {
        Flaw::EndOnRemoval => bench.view(None),
        Flaw::TakesBackUnknown => bench.hear(Message::UnknownStage { part, stage }),
        Flaw::TimeoutRestoresNothing | Flaw::TimeoutReAdds => bench.pass(3_600_000),
        Flaw::RedoByEntityAlone | Flaw::LockUntilEnd => {
            let back = vec![super::Snapshot { id: a, ..copy(5, 2) }];
            let stage = bench.stage(theirs(1), back).unwrap();
            bench.commit(theirs(1), stage, &[a]);
            if rule == Flaw::RedoByEntityAlone {
                bench.restart_with(flaw);
                return bench.owns(a);
            }
            let entities = vec![Expected { id: a, epoch: Some(OwnershipEpoch(2)) }];
            let request = MigrateRequest { entities, to: THERE, idempotency_key: None };
            bench.ask(Request::Migrate { request, host: Some(OTHER) });
            let sent = bench.sent.first();
            return matches!(sent, Some(Message::Stage { entities, .. }) if entities[0].id == a);
        }
        _ => unreachable!("dealt with before"),
    }
    committed(bench) && !bench.owns(a) && !bench.owns(b)
}

#[test]
fn every_rule_of_a_single_core_holds_and_would_be_missed() {
    for flaw in Flaw::ALL {
        assert!(holds(flaw, None), "{flaw:?}: the rule does not hold");
        let caught = !holds(flaw, Some(flaw));
        assert_eq!(caught, means(flaw).contains(&Means::Hand), "{flaw:?}");
    }
}

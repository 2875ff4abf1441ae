//! The host's hooks, as the core asks and tells them.

use std::collections::BTreeSet;

use bytes::Bytes;
use lampyrid_wire::{BubbleId, EntityId, OwnershipEpoch};

use super::lane_tests::{Fleet, HERE, millis, process};
use crate::{
    HookAnswer, Input, Limits, Membership, Outcome, Reason, Reply, Request, StatusFilter, Veto,
};

fn fleet() -> Fleet {
    Fleet::with_hooks(Limits::default(), true)
}

fn aborted(reason: Reason) -> Outcome {
    Outcome::Aborted { reason }
}

fn committed() -> Outcome {
    Outcome::Committed { epoch: OwnershipEpoch(1) }
}

impl Fleet {
    /// Answers the oldest question.
    fn hook(&mut self, answer: HookAnswer) {
        let (call, _) = self.asked.remove(0);
        self.give(Input::HookAnswered(call, answer));
    }

    fn serves(&mut self, id: EntityId) -> bool {
        matches!(self.ask(Request::Put(id, Bytes::new())), Reply::Entity(Ok(_)))
    }

    fn active(&mut self) -> BTreeSet<EntityId> {
        let Reply::Page(page) = self.ask(Request::List(StatusFilter::Active, None, 100)) else {
            panic!()
        };
        page.entities.into_iter().map(|entity| entity.id).collect()
    }
}

#[test]
fn a_veto_is_for_single_entities_and_comes_before_anything_is_locked() {
    let mut fleet = fleet();
    let ids = fleet.create(3, 16);
    let saga = fleet.migrate(&ids, process(2)).unwrap();
    let (_, planned) = fleet.asked[0].clone();
    assert_eq!((planned.saga, planned.destination), (saga, process(2)));
    let expected: Vec<_> = ids.iter().map(|id| (*id, OwnershipEpoch(0))).collect();
    assert_eq!(planned.entities, expected);
    assert!(ids.iter().all(|id| fleet.serves(*id)), "they serve while the hook thinks");
    assert_eq!(fleet.outcomes(saga), vec![Outcome::Pending; 3]);
    let other = fleet.migrate(&ids[..1], process(3)).unwrap();
    assert!(matches!(fleet.outcomes(other)[0], Outcome::Aborted { .. }), "they are spoken for");
    fleet.hook(HookAnswer::Vetoes(vec![Veto { entity: ids[1], why: "in combat".into() }]));
    assert!(fleet.serves(ids[1]) && !fleet.serves(ids[0]));
    let refused = aborted(Reason::Refused("in combat".into()));
    assert_eq!(fleet.outcomes(saga)[1], refused);
    fleet.pass(millis(100));
    assert_eq!(fleet.outcomes(saga), [committed(), refused, committed()]);
    let [moved] = &fleet.moved[..] else { panic!("told once for the part") };
    assert_eq!(moved.entities, [(ids[0], OwnershipEpoch(1)), (ids[2], OwnershipEpoch(1))]);
    assert!(fleet.asked.is_empty());
}

#[test]
fn without_an_answer_in_time_or_after_a_panic_all_stay_and_can_be_asked_for_again() {
    for (answer, reason) in
        [(HookAnswer::TimedOut, Reason::HookTimedOut), (HookAnswer::Failed, Reason::HookFailed)]
    {
        let mut fleet = fleet();
        let ids = fleet.create(2, 16);
        let saga = fleet.migrate(&ids, process(2)).unwrap();
        fleet.hook(answer);
        assert_eq!(fleet.outcomes(saga), vec![aborted(reason); 2]);
        assert!(fleet.core.is_idle() && fleet.moved.is_empty());
        assert_eq!(fleet.core.audit().aborted, 2);
        let again = fleet.migrate(&ids, process(2)).unwrap();
        fleet.hook(HookAnswer::Vetoes(Vec::new()));
        fleet.pass(millis(100));
        assert_eq!(fleet.outcomes(again), vec![committed(); 2]);
    }
}

#[test]
fn everything_is_looked_at_again_after_the_hook() {
    let mut fleet = fleet();
    let ids = fleet.create(3, 16);
    let saga = fleet.migrate(&ids[..2], process(2)).unwrap();
    fleet.ask(Request::Delete(ids[0]));
    fleet.hook(HookAnswer::Vetoes(Vec::new()));
    fleet.pass(millis(100));
    assert_eq!(fleet.outcomes(saga), [aborted(Reason::UnknownEntity), committed()]);
    // The destination leaves the view while the hook thinks.
    let saga = fleet.migrate(&ids[2..], process(2)).unwrap();
    let mut view = Membership { active: true, ..fleet.view() };
    view.members.remove(&process(2));
    view.term.epoch = view.term.epoch.next();
    fleet.give(Input::View(view));
    assert_eq!(fleet.outcomes(saga), [aborted(Reason::ViewChanged)]);
    fleet.hook(HookAnswer::Vetoes(Vec::new()));
    assert!(fleet.core.is_idle());
    assert!(fleet.serves(ids[2]));
}

#[test]
fn a_bubble_that_is_given_up_while_the_hook_thinks_takes_nothing() {
    let mut fleet = fleet();
    let ids = fleet.create(1, 16);
    let goal = BubbleId::from_u128(2);
    fleet.ask(Request::CreateBubble(Some(goal)));
    let saga = fleet.migrate_to(&ids, goal, process(1)).unwrap();
    fleet.ask(Request::RetireBubble(goal));
    fleet.hook(HookAnswer::Vetoes(Vec::new()));
    assert_eq!(fleet.outcomes(saga), [aborted(Reason::NotHosted)]);
    fleet.ask(Request::CreateBubble(Some(goal)));
    let saga = fleet.migrate_to(&ids, goal, process(1)).unwrap();
    fleet.hook(HookAnswer::Vetoes(Vec::new()));
    assert_eq!(fleet.outcomes(saga), [committed()]);
    assert_eq!(fleet.moved.len(), 1, "local moves are told of as well");
    assert_ne!(goal, HERE);
}

#[test]
fn questions_are_of_512_entities_and_only_so_many_at_once() {
    let mut fleet = Fleet::with_hooks(Limits { hook_calls: 3, ..Limits::default() }, true);
    let ids = fleet.create(1_025, 0);
    fleet.migrate(&ids[..1_024], process(2)).unwrap();
    assert_eq!(fleet.asked.iter().map(|(_, m)| m.entities.len()).collect::<Vec<_>>(), [512, 512]);
    let more = fleet.create(600, 0);
    let limit = "hook_calls".to_owned();
    assert_eq!(fleet.migrate(&more, process(2)), Err(Reason::Overloaded { limit }));
    fleet.migrate(&ids[1_024..], process(3)).unwrap();
    fleet.hook(HookAnswer::Vetoes(Vec::new()));
    fleet.migrate(&more[..512], process(2)).unwrap();
    while !fleet.asked.is_empty() {
        fleet.hook(HookAnswer::Vetoes(Vec::new()));
    }
    fleet.pass(millis(1_000));
    assert_eq!(fleet.core.audit().committed, 1_025 + 512);
    assert_eq!(fleet.active(), more[512..].iter().copied().collect());
}

#[test]
fn a_leave_does_not_wait_for_hooks() {
    let mut fleet = fleet();
    let ids = fleet.create(1, 16);
    let saga = fleet.migrate(&ids, process(2)).unwrap();
    assert_eq!(fleet.ask(Request::Leave), Reply::Left(true));
    assert_eq!(fleet.outcomes(saga), [aborted(Reason::ViewChanged)]);
    fleet.hook(HookAnswer::Vetoes(Vec::new()));
    assert_eq!(fleet.outcomes(saga), [aborted(Reason::ViewChanged)]);
    assert!(fleet.moved.is_empty());
}

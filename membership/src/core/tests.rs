use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::{BootNonce, ClusterId, Incarnation, Member, Peer, ProcessId, Term};

use super::{Input, MembershipCore, Output, Start, StopReason};
use crate::agreement::{BallotFacts, Change, ValueRef};
use crate::message::{Facts, JoinRefusal, Protocol};
use crate::{AcceptorState, LinkEvent, Rank, RefusalReason, Status, View};

const CLUSTER: ClusterId = ClusterId::from_u128(42);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn member(process: u128, incarnation: u64) -> Member {
    Member {
        process: ProcessId::from_u128(process),
        incarnation: Incarnation(incarnation),
        name: format!("p{process}"),
        address: ([127, 0, 0, 1], u16::try_from(process).unwrap()).into(),
        admin: None,
    }
}

fn peer(process: u128, incarnation: u64) -> Peer {
    Peer {
        process: ProcessId::from_u128(process),
        incarnation: Incarnation(incarnation),
        nonce: BootNonce(u64::try_from(process).unwrap()),
    }
}

/// Process 1 at `incarnation` with that last view.
fn core(incarnation: u64, view: Option<View>, seeds: &[u16]) -> (MembershipCore, Vec<Output>) {
    let me = member(1, incarnation);
    let state = AcceptorState {
        cluster: view.as_ref().map(View::cluster),
        view: view.map(Into::into),
        ..AcceptorState::new(me.process, me.incarnation)
    };
    let start = Start {
        me,
        nonce: BootNonce(1),
        cluster_name: "c".to_owned(),
        seeds: seeds.iter().map(|&port| ([127, 0, 0, 1], port).into()).collect(),
        found: None,
        jitter: 1,
        sessions: Vec::new(),
    };
    let mut out = Vec::new();
    let core = MembershipCore::new(ms(1_000), start, state, None, &mut out);
    (core, out)
}

fn view_of(members: &[(u128, u64)]) -> View {
    View::first(CLUSTER, "c", member(9, 1))
        .successor(members.iter().map(|&(p, i)| member(p, i)).collect())
        .unwrap()
}

fn step(core: &mut MembershipCore, now: u64, input: Input) -> Vec<Output> {
    let mut out = Vec::new();
    core.step(ms(now), input, &mut out);
    out
}

fn received(from: Peer, term: Option<Term>, message: Protocol) -> Input {
    Input::Received { from, stamp: term.map(Into::into), message: Box::new(message) }
}

fn sent(out: &[Output]) -> Vec<(u128, Protocol)> {
    out.iter()
        .filter_map(|output| match output {
            Output::Send { to, message, .. } => Some((to.0.as_u128(), message.clone())),
            _ => None,
        })
        .collect()
}

#[test]
fn a_message_of_an_older_view_is_answered_with_the_newest_view_and_nothing_else() {
    let old = view_of(&[(1, 1), (2, 1), (3, 1)]);
    let new = old.successor(vec![member(1, 1), member(2, 1)]).unwrap();
    let (mut core, _) = core(1, Some(new.clone()), &[]);
    step(&mut core, 1_001, Input::Link(LinkEvent::Up(peer(3, 1))));
    let rank = Rank { round: 1, index: 2 };
    let before = core.durable().clone();
    let messages = [
        prepare(rank, 2),
        ballots(BallotFacts {
            values: vec![ValueRef::Whole(Change::to(&old, &new))],
            votes: vec![(rank, 0, [2].into_iter().collect())],
            ..BallotFacts::default()
        }),
        Protocol::Probe { sequence: 1, attempt: 1 },
    ];
    for (at, message) in (2_000..).step_by(1_000).zip(messages) {
        let out = step(&mut core, at, received(peer(3, 1), Some(old.term()), message));
        assert_eq!(sent(&out), [(3, Protocol::View(new.clone().into()))]);
    }
    assert_eq!(*core.durable(), before);
}

fn ballots(facts: BallotFacts) -> Protocol {
    Protocol::Facts(Arc::new(Facts { ballots: facts, ..Facts::default() }))
}

fn prepare(rank: Rank, by: u16) -> Protocol {
    let promises = vec![(rank, None, [by].into_iter().collect())];
    ballots(BallotFacts { promises, ..BallotFacts::default() })
}

#[test]
fn a_promise_is_durable_before_it_is_sent_and_a_lower_rank_gets_none() {
    let view = view_of(&[(1, 1), (2, 1), (3, 1)]);
    let (mut core, _) = core(1, Some(view.clone()), &[]);
    step(&mut core, 1_001, Input::Link(LinkEvent::Up(peer(3, 1))));
    let high = Rank { round: 4, index: 2 };
    let out = step(&mut core, 1_002, received(peer(3, 1), Some(view.term()), prepare(high, 2)));
    let saved = out.iter().position(
        |output| matches!(output, Output::Persist(state) if state.promised == Some(high)),
    );
    let answered = out.iter().position(|output| match output {
        Output::Send { message: Protocol::Facts(facts), .. } => {
            let mut promises = facts.ballots.promises.iter();
            promises.any(|(rank, _, by)| *rank == high && by.contains(0))
        }
        _ => false,
    });
    assert!(saved.unwrap() < answered.unwrap());
    for rank in [Rank { round: 3, index: 2 }, Rank { round: 9, index: 1 }] {
        // The one is below the promise; the other's owner has not asked for it.
        let asked = prepare(rank, 2);
        let out = step(&mut core, 1_003, received(peer(3, 1), Some(view.term()), asked));
        assert!(!out.iter().any(|output| matches!(output, Output::Persist(_))));
        assert_eq!(core.durable().promised, Some(high));
    }
}

#[test]
fn another_cluster_is_never_adopted() {
    let view = view_of(&[(1, 1), (2, 1)]);
    let (mut core, _) = core(1, Some(view.clone()), &[]);
    step(&mut core, 1_001, Input::Link(LinkEvent::Up(peer(7, 1))));
    let mut other = View::first(ClusterId::from_u128(666), "c", member(7, 1));
    for _ in 0..5 {
        other = other.successor(vec![member(1, 1), member(7, 1)]).unwrap();
    }
    let offer = Protocol::View(other.clone().into());
    step(&mut core, 1_002, received(peer(7, 1), Some(other.term()), offer.clone()));
    // Nor if the envelope lies about it.
    step(&mut core, 1_003, received(peer(7, 1), Some(view.term()), offer.clone()));
    let newer = Term { cluster: CLUSTER, ..other.term() };
    step(&mut core, 1_004, received(peer(7, 1), Some(newer), offer));
    assert_eq!(core.durable().view.as_deref(), Some(&view));
}

#[test]
fn a_rolled_back_data_directory_stops_the_process() {
    let (_, out) = core(2, Some(view_of(&[(1, 3), (2, 1)])), &[]);
    let known = Incarnation(3);
    let expected = StopReason::DataDirectoryRolledBack { known, own: Incarnation(2) };
    assert!(out.iter().any(|output| matches!(output, Output::Stop(why) if *why == expected)));

    let (mut core, _) = core(2, Some(view_of(&[(1, 1), (2, 1)])), &[]);
    let copy = Peer { nonce: BootNonce(55), ..peer(1, 2) };
    let ourselves = step(&mut core, 1_001, Input::Link(LinkEvent::OwnId(peer(1, 2))));
    assert!(!ourselves.iter().any(|output| matches!(output, Output::Stop(_))));
    let out = step(&mut core, 1_002, Input::Link(LinkEvent::OwnId(copy)));
    assert!(matches!(out[..], [Output::Stop(StopReason::DataDirectoryRolledBack { .. })]));
    assert!(step(&mut core, 1_003, Input::Wake).is_empty());
    assert_eq!(core.deadline(), None);
}

/// It was the tie-breaker of an old view, and went on alone before it met anybody.
#[test]
fn an_old_copy_that_went_on_alone_ends_when_it_sees_itself_listed_higher() {
    let old = view_of(&[(1, 1), (2, 1)]);
    let forked = old.successor(vec![member(1, 2), member(2, 2)]).unwrap();
    let (mut core, _) = core(2, Some(forked), &[]);
    step(&mut core, 1_001, Input::Link(LinkEvent::Up(peer(2, 2))));
    let second = old.successor(vec![member(1, 2), member(2, 1)]).unwrap();
    let newest = second.successor(vec![member(1, 3), member(2, 1)]).unwrap();
    let told = received(peer(2, 2), Some(newest.term()), Protocol::View(newest.clone().into()));
    let out = step(&mut core, 1_002, told);
    let known = Incarnation(3);
    let expected = StopReason::DataDirectoryRolledBack { known, own: Incarnation(2) };
    assert!(matches!(&out[..], [Output::Stop(why)] if *why == expected), "{out:?}");
}

#[test]
fn an_old_copy_at_the_same_epoch_is_told_of_the_view_and_ends() {
    let old = view_of(&[(1, 1), (2, 1)]);
    // The copy is of process 2.
    let forked = old.successor(vec![member(1, 1), member(2, 2)]).unwrap();
    let newest = old.successor(vec![member(1, 1), member(2, 3)]).unwrap();
    let (mut other, _) = core(1, Some(newest.clone()), &[]);
    step(&mut other, 1_001, Input::Link(LinkEvent::Up(peer(2, 2))));
    let says = |message| received(peer(2, 2), Some(forked.term()), message);
    let told = sent(&step(&mut other, 1_002, says(Protocol::Query)));
    assert!(
        matches!(&told[..], [(2, Protocol::View(view))] if view.term() == newest.term()),
        "{told:?}"
    );
    let view = Protocol::View(forked.clone().into());
    let out = step(&mut other, 1_003, says(view));
    let ends = out.iter().any(|output| matches!(output, Output::Stop(_)));
    assert!(!ends && sent(&out).is_empty(), "{out:?}");

    // The copy is of process 1.
    let forked = old.successor(vec![member(1, 2), member(2, 1)]).unwrap();
    let newest = old.successor(vec![member(1, 3), member(2, 1)]).unwrap();
    let (mut copy, _) = core(2, Some(forked), &[]);
    let view = Protocol::View(newest.clone().into());
    let out = step(&mut copy, 1_001, received(peer(2, 1), Some(newest.term()), view));
    assert!(matches!(&out[..], [Output::Stop(_)]), "{out:?}");
}

#[test]
fn a_barred_process_without_a_quorum_ends_when_a_member_says_so() {
    let by = member(2, 1).address;
    let said = |reason| Input::Link(LinkEvent::Refused { address: by, reason });
    let view = view_of(&[(1, 1), (2, 1), (3, 1)]);
    let (mut isolated, _) = core(2, Some(view.clone()), &[]);
    assert_eq!(isolated.status(), Status::Isolated);
    let other = step(&mut isolated, 1_001, said(RefusalReason::ClusterId));
    assert!(!other.iter().any(|output| matches!(output, Output::Stop(_))));
    let out = step(&mut isolated, 1_002, said(RefusalReason::Barred));
    let expected = StopReason::Barred { by };
    assert!(matches!(&out[..], [Output::Stop(why)] if *why == expected), "{out:?}");
    assert!(step(&mut isolated, 1_003, Input::Wake).is_empty());

    // As long as a quorum holds to it, one that bars it may be alone with that.
    let (mut active, _) = core(1, Some(view), &[]);
    step(&mut active, 1_001, Input::Link(LinkEvent::Up(peer(3, 1))));
    assert_eq!(active.status(), Status::Active);
    let out = step(&mut active, 1_002, said(RefusalReason::Barred));
    assert!(!out.iter().any(|output| matches!(output, Output::Stop(_))), "{out:?}");
}

/// Its join timeout ends it and says who refused it.
#[test]
fn a_joiner_that_one_seed_bars_asks_the_others() {
    let (mut core, _) = core(1, None, &[7, 8]);
    let refused =
        LinkEvent::Refused { address: member(7, 1).address, reason: RefusalReason::Barred };
    let out = step(&mut core, 1_001, Input::Link(refused));
    assert!(!out.iter().any(|output| matches!(output, Output::Stop(_))));
}

#[test]
fn a_removed_member_raises_its_incarnation_durably_and_asks_to_be_let_in() {
    let old = view_of(&[(1, 1), (2, 1), (3, 1)]);
    let new = old.successor(vec![member(2, 1), member(3, 1)]).unwrap();
    let (mut core, _) = core(1, Some(old), &[]);
    step(&mut core, 1_001, Input::Link(LinkEvent::Up(peer(2, 1))));
    let view = Protocol::View(new.clone().into());
    let out = step(&mut core, 1_002, received(peer(2, 1), Some(new.term()), view));
    let saved = out.iter().position(
        |output| matches!(output, Output::Persist(state) if state.incarnation == Incarnation(2)),
    );
    let became =
        out.iter().position(|output| matches!(output, Output::SetIncarnation(Incarnation(2))));
    assert!(saved.unwrap() < became.unwrap());
    assert_eq!(core.status(), Status::Isolated);
    let join = Protocol::Join { member: member(1, 2), seen: Some(new.term()), asked: 1 };
    assert!(sent(&out).contains(&(2, join)), "{out:?}");
}

#[test]
fn a_joiner_names_the_view_it_saw_and_goes_round_by_hints() {
    let (mut core, out) = core(1, None, &[7]);
    assert!(out.iter().any(|output| {
        matches!(output, Output::Seek(addresses) if addresses[..] == [member(7, 1).address])
    }));
    let out = step(&mut core, 1_001, Input::Link(LinkEvent::Up(peer(7, 1))));
    assert_eq!(sent(&out), [(7, Protocol::Join { member: member(1, 1), seen: None, asked: 1 })]);
    let view = view_of(&[(7, 1), (8, 1)]);
    let hints = vec![member(8, 1).address];
    let refusal = Protocol::JoinRefused { reason: JoinRefusal::Isolated, hints };
    let out = step(&mut core, 1_002, received(peer(7, 1), Some(view.term()), refusal));
    assert!(out.iter().any(|output| {
        matches!(output, Output::Seek(addresses) if addresses.contains(&member(8, 1).address))
    }));
    step(&mut core, 1_003, Input::Link(LinkEvent::Up(peer(8, 1))));
    let shown = Protocol::View(view.clone().into());
    let out = step(&mut core, 1_004, received(peer(8, 1), Some(view.term()), shown));
    let join = |asked| Protocol::Join { member: member(1, 1), seen: Some(view.term()), asked };
    assert_eq!(sent(&out), [(7, join(3)), (8, join(4))]);
    assert_eq!(core.status(), Status::Joining);
    let next = view.successor(vec![member(1, 1), member(7, 1), member(8, 1)]).unwrap();
    let shown = Protocol::View(next.clone().into());
    step(&mut core, 1_005, received(peer(8, 1), Some(next.term()), shown));
    assert_eq!(core.status(), Status::Active);
}

#[test]
fn a_join_that_saw_another_view_is_shown_this_one() {
    let view = view_of(&[(1, 1), (2, 1)]);
    let (mut core, _) = core(1, Some(view.clone()), &[]);
    step(&mut core, 1_001, Input::Link(LinkEvent::Up(peer(5, 1))));
    let ask = |seen| Protocol::Join { member: member(5, 1), seen, asked: 1 };
    let out = step(&mut core, 1_002, received(peer(5, 1), None, ask(None)));
    assert_eq!(sent(&out), [(5, Protocol::View(view.clone().into()))]);
    let newer = Term { epoch: view.epoch().next(), ..view.term() };
    let out = step(&mut core, 1_003, received(peer(5, 1), None, ask(Some(newer))));
    assert!(matches!(
        sent(&out)[..],
        [(5, Protocol::JoinRefused { reason: JoinRefusal::Stale, .. })]
    ));
    // Nobody joins in another's name.
    let out = step(&mut core, 1_004, received(peer(6, 1), None, ask(Some(view.term()))));
    assert_eq!(sent(&out), []);
}

#[test]
fn whoever_comes_back_from_isolation_reports_under_a_later_attempt() {
    let view = view_of(&[(1, 1), (2, 1), (3, 1)]);
    let (mut core, out) = core(1, Some(view.clone()), &[]);
    let attempt_of = |out: &[Output]| {
        out.iter().find_map(|output| match output {
            Output::Watch { attempt, .. } => Some(*attempt),
            _ => None,
        })
    };
    let first = attempt_of(&out).unwrap();
    let verdict = |subject, attempt, verdict| Input::Edge {
        subject: ProcessId::from_u128(subject),
        attempt,
        event: super::EdgeEvent::Verdict(verdict, ms(1)),
    };
    step(&mut core, 1_010, verdict(2, first, crate::Verdict::Lost));
    step(&mut core, 1_011, verdict(3, first, crate::Verdict::Lost));
    assert_eq!(core.status(), Status::Isolated);
    let out = step(&mut core, 1_100, verdict(3, first, crate::Verdict::Healthy));
    assert_eq!(core.status(), Status::Active);
    let second = attempt_of(&out).unwrap();
    assert!(second > first);
    // Monitors of the attempt before are not heard.
    step(&mut core, 1_101, verdict(3, first, crate::Verdict::Lost));
    assert_eq!(core.status(), Status::Active);
}

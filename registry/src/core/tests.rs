use std::collections::BTreeMap;
use std::sync::Arc;

use lampyrid_membership::View;
use lampyrid_wire::{BootNonce, ClusterId, Incarnation, Member, Peer};

use super::*;
use crate::{Entry, Registration};

const LIMIT: Duration = Duration::from_secs(2);

fn process(number: u128) -> ProcessId {
    ProcessId::from_u128(number)
}

fn bubbles(numbers: &[u128]) -> BTreeSet<BubbleId> {
    numbers.iter().map(|&number| BubbleId::from_u128(number)).collect()
}

fn member(number: u128, incarnation: u64) -> Member {
    Member {
        process: process(number),
        incarnation: Incarnation(incarnation),
        name: String::new(),
        address: "127.0.0.1:1".parse().unwrap(),
        admin: None,
    }
}

/// One process beside a coordinator that the test plays.
struct Bench {
    core: RegistryCore,
    view: Arc<View>,
    me: ProcessId,
    now: Duration,
    token: u64,
}

impl Bench {
    fn new() -> Self {
        let view = View::first(ClusterId::from_u128(1), "c", member(1, 1))
            .successor((1..=3).map(|p| member(p, 1)).collect())
            .unwrap();
        let me = view.members().iter().find(|m| m.process != view.coordinator()).unwrap().process;
        let standing = Standing {
            me: (me, Incarnation(1)),
            status: Status::Active,
            view: Some(Arc::new(view.clone())),
        };
        let (replica, own) = Default::default();
        let core = RegistryCore::new(Duration::ZERO, standing, replica, own, &mut Vec::new());
        Self { core, view: Arc::new(view), me, now: Duration::ZERO, token: 0 }
    }

    fn step(&mut self, input: RegistryInput) -> Vec<RegistryOutput> {
        let mut out = Vec::new();
        self.core.step(self.now, input, &mut out);
        out.retain(|output| !matches!(output, RegistryOutput::Install(..)));
        out
    }

    fn register(&mut self, set: &[u128]) -> Vec<RegistryOutput> {
        self.token += 1;
        let (token, bubbles) = (self.token, Some(bubbles(set)));
        let input = RegistryInput::Register {
            token,
            bubbles,
            occupied: None,
            permitted: true,
            limit: LIMIT,
        };
        self.step(input)
    }

    fn view(&mut self, status: Status) -> Vec<RegistryOutput> {
        let me = self.view.member(self.me).unwrap().key();
        let view = Some(Arc::clone(&self.view));
        self.step(RegistryInput::View(Standing { me, status, view }))
    }

    fn letter(&mut self, message: RegistryWire) -> Vec<RegistryOutput> {
        let (coordinator, term) = (self.view.coordinator(), self.view.term());
        let incarnation = self.view.member(coordinator).unwrap().incarnation;
        let from = Peer { process: coordinator, incarnation, nonce: BootNonce(1) };
        self.step(RegistryInput::Letter(Letter { from, term, message }))
    }

    /// The coordinator broadcasts this process's line.
    fn update(
        &mut self,
        sequence: u64,
        base: Option<u64>,
        request: u64,
        set: &[u128],
        claimed: &[u128],
    ) -> Vec<RegistryOutput> {
        let by = self.view.coordinator();
        let entry = Entry {
            incarnation: self.view.member(self.me).unwrap().incarnation,
            request,
            bubbles: Some(bubbles(set).into_iter().map(|b| (b, self.version(sequence))).collect()),
            claimed: bubbles(claimed).into_iter().map(|bubble| (bubble, by)).collect(),
        };
        self.letter(RegistryWire::Update(TopologyUpdate {
            term: self.view.term(),
            sequence,
            coordinator: by,
            base: base.map(|base| self.version(base)),
            part: 0,
            parts: 1,
            entries: BTreeMap::from([(self.me, Arc::new(entry))]),
            sent_at: 0,
        }))
    }

    fn version(&self, sequence: u64) -> Version {
        Version { epoch: self.view.epoch(), sequence }
    }

    fn to_coordinator(&self, message: RegistryWire) -> RegistryOutput {
        RegistryOutput::Send(self.view.coordinator(), self.view.term(), message)
    }

    fn asks(&self, request: u64, set: &[(u128, Option<Version>)]) -> RegistryOutput {
        let held = set.iter().map(|&(b, since)| (BubbleId::from_u128(b), since)).collect();
        self.to_coordinator(RegistryWire::Register(Registration { request, bubbles: Some(held) }))
    }
}

#[test]
fn a_registration_is_answered_when_quorum_and_own_replica_have_it() {
    for stored_first in [true, false] {
        let mut bench = Bench::new();
        assert_eq!(bench.register(&[5]), [bench.asks(1, &[(5, None)])]);
        let registered = RegistryWire::Registered { request: 1, version: bench.version(0) };
        let stored = bench.to_coordinator(RegistryWire::Stored { version: bench.version(0) });
        let answer = RegistryOutput::Answer(1, Ok(()));
        if stored_first {
            assert_eq!(bench.update(0, None, 1, &[5], &[]), [stored]);
            assert_eq!(bench.letter(registered), [answer]);
        } else {
            assert_eq!(bench.letter(registered), []);
            assert_eq!(bench.update(0, None, 1, &[5], &[]), [stored, answer]);
        }
        assert_eq!(bench.core.deadline(), None, "no timer without work");
    }
}

#[test]
fn an_open_request_is_repeated_with_pauses_and_at_once_in_a_new_view() {
    let mut bench = Bench::new();
    bench.register(&[5]);
    bench.now = bench.core.deadline().unwrap();
    assert_eq!(bench.now, RESEND_FIRST);
    assert_eq!(bench.step(RegistryInput::Wake), [bench.asks(1, &[(5, None)])]);
    let members = bench.view.members().to_vec();
    bench.view = Arc::new(bench.view.successor(members).unwrap());
    assert_eq!(bench.view(Status::Active), [bench.asks(1, &[(5, None)])]);
    bench.view(Status::Isolated);
    assert_eq!(bench.core.deadline(), Some(LIMIT), "only the caller's limit is left");
    bench.now = LIMIT;
    let answer = RegistryOutput::Answer(1, Err(Isolated.into()));
    assert_eq!(bench.step(RegistryInput::Wake), [answer]);
    assert_eq!(bench.view(Status::Active), [bench.asks(1, &[(5, None)])], "still asked for");
}

#[test]
fn what_was_given_up_is_asked_for_anew_even_if_the_coordinator_never_heard_of_it() {
    let mut bench = Bench::new();
    bench.register(&[5, 6]);
    bench.update(0, None, 1, &[5, 6], &[]);
    let since = Some(bench.version(0));
    let fewer = bench.register(&[6]);
    assert_eq!(fewer.last(), Some(&bench.asks(2, &[(6, since)])));
    let again = bench.register(&[5, 6]);
    assert_eq!(again.last(), Some(&bench.asks(3, &[(5, None), (6, since)])));
    bench.update(1, Some(0), 1, &[5, 6], &[]);
    assert_eq!(bench.core.own.registration().bubbles.unwrap()[&BubbleId::from_u128(5)], None);
}

#[test]
fn a_claimed_bubble_is_reported_once_and_asked_for_no_longer() {
    let mut bench = Bench::new();
    bench.register(&[5, 6]);
    let by = bench.view.coordinator();
    let out = bench.update(0, None, 1, &[6], &[5]);
    assert_eq!(out[0], RegistryOutput::Claimed(BubbleId::from_u128(5), by));
    let registered = RegistryWire::Registered { request: 1, version: bench.version(0) };
    let claimed = RegistryError::BubbleClaimed { bubble: BubbleId::from_u128(5), by };
    assert_eq!(bench.letter(registered), [RegistryOutput::Answer(1, Err(claimed))]);
    assert!(bench.core.own.is(Some(&bubbles(&[6]))));
}

#[test]
fn a_delta_that_does_not_fit_asks_for_everything() {
    let mut bench = Bench::new();
    let need = bench.to_coordinator(RegistryWire::NeedFull { version: bench.version(4) });
    assert_eq!(bench.update(4, Some(3), 1, &[5], &[]), [need]);
    assert_eq!(bench.core.replica.version, None);
    bench.update(4, None, 1, &[5], &[]);
    assert_eq!(bench.core.replica.version, Some(bench.version(4)));
    let again = bench.update(2, None, 1, &[9], &[]);
    let stored = bench.to_coordinator(RegistryWire::Stored { version: bench.version(4) });
    assert_eq!(again, [stored], "an older one changes nothing and is acknowledged by the newer");
    assert_eq!(bench.core.replica.version, Some(bench.version(4)));
}

#[test]
fn an_answered_gathering_fences_older_broadcasts() {
    let mut bench = Bench::new();
    bench.register(&[5]);
    let answer = bench.letter(RegistryWire::Gather { round: 7 });
    assert!(matches!(
        &answer[..],
        [RegistryOutput::Send(_, _, RegistryWire::Gathered { round: 7, .. })]
    ));
    assert_eq!(bench.update(6, None, 1, &[5], &[]), []);
    assert_eq!(bench.letter(RegistryWire::Gather { round: 6 }), []);
    assert_eq!(bench.update(7, None, 1, &[5], &[]).len(), 1);
}

#[test]
fn a_new_life_holds_nothing_and_registers_its_set_again() {
    let mut bench = Bench::new();
    bench.register(&[5]);
    bench.update(0, None, 1, &[5], &[]);
    bench.letter(RegistryWire::Registered { request: 1, version: bench.version(0) });
    assert_eq!(bench.core.deadline(), None);
    let mut members = bench.view.members().to_vec();
    let me = bench.me;
    members.iter_mut().filter(|m| m.process == me).for_each(|m| m.incarnation = Incarnation(2));
    bench.view = Arc::new(bench.view.successor(members).unwrap());
    assert_eq!(bench.view(Status::Active), [bench.asks(2, &[(5, None)])]);
    assert!(bench.core.replica.entries.is_empty(), "the line of the old life is gone");
}

#[test]
fn an_event_from_before_the_start_does_not_take_the_view_back() {
    let mut bench = Bench::new();
    let old = Arc::clone(&bench.view);
    let members = bench.view.members().to_vec();
    let new = Arc::new(bench.view.successor(members).unwrap());
    bench.view = Arc::clone(&new);
    bench.view(Status::Active);
    bench.view = old;
    bench.view(Status::Active);
    assert_eq!(bench.core.standing.term(), Some(new.term()));
}

/// A link made on demand: what was sent before there was one is lost, and is said again at once.
#[test]
fn a_coordinator_that_comes_within_reach_is_told_again_at_once() {
    let mut bench = Bench::new();
    let coordinator = bench.view.coordinator();
    let registers = |out: &[RegistryOutput]| {
        let is = |it: &RegistryOutput| matches!(it, RegistryOutput::Send(to, _, RegistryWire::Register(_)) if *to == coordinator);
        out.iter().filter(|it| is(it)).count()
    };
    assert_eq!(registers(&bench.register(&[7])), 1);
    bench.now += Duration::from_millis(5);
    let another = bench.view.members().iter().map(|m| m.process);
    let another = another.clone().find(|&p| p != coordinator && p != bench.me).unwrap();
    assert_eq!(bench.step(RegistryInput::Reachable(another)), []);
    assert_eq!(registers(&bench.step(RegistryInput::Reachable(coordinator))), 1);
    // Nothing is open in a process that has registered nothing, and nothing was stored.
    assert_eq!(Bench::new().step(RegistryInput::Reachable(coordinator)), []);
}

#[test]
fn what_is_stored_is_said_again_to_a_coordinator_that_comes_within_reach() {
    let mut bench = Bench::new();
    let coordinator = bench.view.coordinator();
    let update = TopologyUpdate {
        term: bench.view.term(),
        sequence: 4,
        coordinator,
        base: None,
        part: 0,
        parts: 1,
        entries: BTreeMap::new(),
        sent_at: 0,
    };
    let from = Peer { process: coordinator, incarnation: Incarnation(1), nonce: BootNonce(1) };
    let term = bench.view.term();
    let message = RegistryWire::Update(update);
    let stored = bench.step(RegistryInput::Letter(Letter { from, term, message }));
    let version = Version { epoch: bench.view.epoch(), sequence: 4 };
    let expected = [RegistryOutput::Send(coordinator, term, RegistryWire::Stored { version })];
    assert_eq!(stored, expected);
    assert_eq!(bench.step(RegistryInput::Reachable(coordinator)), expected);
}

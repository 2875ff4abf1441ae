use std::sync::Arc;

use lampyrid_membership::{Status, View};
use lampyrid_registry::Registration;
use lampyrid_wire::{BootNonce, BubbleId, ClusterId, Epoch, Incarnation, Member, Peer};

use super::*;

fn member(number: u128) -> Member {
    Member {
        process: ProcessId::from_u128(number),
        incarnation: Incarnation(1),
        name: String::new(),
        address: "127.0.0.1:1".parse().unwrap(),
        admin: None,
    }
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The coordinator of three, beside members that the test plays.
struct Bench {
    core: CoordinatorCore,
    view: Arc<View>,
    members: Vec<ProcessId>,
    now: Duration,
    permitted: bool,
    started: Vec<CoordinatorOutput>,
}

impl Bench {
    fn new(first_sequence: u64) -> Self {
        let view = View::first(ClusterId::from_u128(1), "c", member(1))
            .successor((1..=3).map(member).collect())
            .unwrap();
        let view = Arc::new(view);
        let standing = standing(&view, Status::Active);
        let mut started = Vec::new();
        let config = CoordinatorConfig::default();
        let core = CoordinatorCore::new(
            Duration::ZERO,
            true,
            config,
            standing,
            first_sequence,
            &mut started,
        );
        let members = view.members().iter().map(|m| m.process).collect();
        Self { core, view, members, now: Duration::ZERO, permitted: true, started }
    }

    fn step(&mut self, input: CoordinatorInput) -> Vec<CoordinatorOutput> {
        let mut out = Vec::new();
        self.core.step(self.now, self.permitted, input, &mut out);
        out
    }

    fn letter(&mut self, from: ProcessId, message: RegistryWire) -> Vec<CoordinatorOutput> {
        let from = Peer { process: from, incarnation: Incarnation(1), nonce: BootNonce(1) };
        let term = self.view.term();
        self.step(CoordinatorInput::Letter(Letter { from, term, message }))
    }

    fn gathered(&mut self, from: ProcessId, held: &[(u128, u64)]) -> Vec<CoordinatorOutput> {
        let version = |sequence| Version { epoch: Epoch(1), sequence };
        let held = held.iter().map(|&(b, s)| (BubbleId::from_u128(b), Some(version(s)))).collect();
        let registration = Registration { request: 1, bubbles: Some(held) };
        let round = self.core.next_sequence;
        self.letter(from, RegistryWire::Gathered { round, registration })
    }

    fn register(&mut self, from: ProcessId, request: u64, set: &[u128]) -> Vec<CoordinatorOutput> {
        let bubbles = set.iter().map(|&bubble| (BubbleId::from_u128(bubble), None)).collect();
        let registration = Registration { request, bubbles: Some(bubbles) };
        self.letter(from, RegistryWire::Register(registration))
    }

    /// All members have answered; gives the opening broadcast.
    fn open(&mut self) -> Publication {
        let mut out = Vec::new();
        for member in self.members.clone() {
            out = self.gathered(member, &[]);
        }
        published(&out).unwrap()
    }
}

fn standing(view: &Arc<View>, status: Status) -> Standing {
    let me = (view.coordinator(), Incarnation(1));
    Standing { me, status, view: Some(Arc::clone(view)) }
}

fn published(out: &[CoordinatorOutput]) -> Option<Publication> {
    out.iter().find_map(|output| match output {
        CoordinatorOutput::Publish(publication) => Some(publication.clone()),
        _ => None,
    })
}

fn hosted(publication: &Publication, process: ProcessId) -> Vec<u128> {
    let line = publication.table.get(&process);
    let bubbles = line.and_then(|line| line.entry.bubbles.as_ref());
    bubbles.into_iter().flatten().map(|(bubble, _)| bubble.0.as_u128()).collect()
}

#[test]
fn a_new_coordinator_asks_everybody_and_broadcasts_when_all_have_answered() {
    let mut bench = Bench::new(3);
    let asked: Vec<ProcessId> = bench
        .started
        .iter()
        .filter_map(|output| match output {
            CoordinatorOutput::Send(to, _, RegistryWire::Gather { round: 3 }) => Some(*to),
            _ => None,
        })
        .collect();
    assert_eq!(asked, bench.members);
    let publication = bench.open();
    assert!(publication.fresh);
    assert_eq!(publication.version, Version { epoch: bench.view.epoch(), sequence: 3 });
    assert_eq!(bench.core.deadline(), None, "no timer without work");
}

#[test]
fn who_does_not_answer_is_left_out_asked_again_and_blocks_only_new_bubbles() {
    let mut bench = Bench::new(0);
    let [a, b, silent] = bench.members[..] else { unreachable!() };
    bench.gathered(a, &[(7, 0)]);
    bench.gathered(b, &[]);
    bench.register(b, 2, &[8]);
    let mut publication = None;
    while publication.is_none() {
        bench.now = bench.core.deadline().unwrap();
        publication = published(&bench.step(CoordinatorInput::Wake));
    }
    assert_eq!(bench.now, CoordinatorConfig::default().gather);
    let first = publication.unwrap();
    assert_eq!(hosted(&first, a), [7]);
    assert_eq!(hosted(&first, b), [0_u128; 0]);
    assert!(!first.table.contains_key(&silent));
    let mut asked = 0;
    while bench.now < Duration::from_secs(10) {
        bench.now = bench.core.deadline().unwrap();
        let out = bench.step(CoordinatorInput::Wake);
        asked += out.len();
        assert!(published(&out).is_none());
    }
    assert!((9..=14).contains(&asked), "at most one question a second by then: {asked}");
    // It held what the other asked for.
    bench.core.next_sequence = 0;
    let out = bench.gathered(silent, &[(8, 0)]);
    let last = published(&out).unwrap();
    assert_eq!(hosted(&last, silent), [8]);
    assert_eq!(last.table[&b].entry.claimed.values().collect::<Vec<_>>(), [&silent]);
}

#[test]
fn changes_go_at_once_then_once_a_cooldown_and_repeats_not_at_all() {
    let mut bench = Bench::new(0);
    bench.open();
    let a = bench.members[0];
    bench.now = millis(10);
    assert!(published(&bench.register(a, 2, &[1])).is_some());
    assert!(published(&bench.register(a, 2, &[1])).is_none());
    assert_eq!(bench.core.deadline(), None, "a repeat is no work");
    for request in 3..50 {
        assert!(published(&bench.register(a, request, &[request.into()])).is_none());
    }
    assert_eq!(bench.core.deadline(), Some(millis(1_010)));
    bench.now = millis(1_010);
    let last = published(&bench.step(CoordinatorInput::Wake)).unwrap();
    assert_eq!(hosted(&last, a), [49]);
    assert_eq!(bench.core.deadline(), None);
}

#[test]
fn a_request_is_answered_when_a_quorum_of_this_view_has_stored_it() {
    let mut bench = Bench::new(0);
    let opening = bench.open();
    let a = bench.members[0];
    let version = published(&bench.register(a, 2, &[1])).unwrap().version;
    assert_eq!(bench.step(CoordinatorInput::Acknowledged(opening.version)), []);
    let answer = |bench: &Bench, version| {
        let message = RegistryWire::Registered { request: 2, version };
        CoordinatorOutput::Send(a, bench.view.term(), message)
    };
    let out = bench.step(CoordinatorInput::Acknowledged(version));
    assert_eq!(out, [answer(&bench, version)]);
    assert_eq!(bench.register(a, 2, &[1]), [answer(&bench, version)], "and again when asked again");
    // In the next view it is no longer known to be at a quorum.
    bench.view = Arc::new(bench.view.successor(bench.view.members().to_vec()).unwrap());
    let view = bench.view.clone();
    let out = bench.step(CoordinatorInput::View(standing(&view, Status::Active)));
    let opening = published(&out).unwrap();
    assert!(!opening.fresh, "nobody else can have acted in between");
    assert_eq!(bench.register(a, 2, &[1]), []);
    let out = bench.step(CoordinatorInput::Acknowledged(opening.version));
    assert_eq!(out, [answer(&bench, version)]);
}

#[test]
fn after_a_skipped_view_it_gathers_anew() {
    let mut bench = Bench::new(0);
    bench.open();
    let members = bench.view.members().to_vec();
    let next = bench.view.successor(members.clone()).unwrap();
    bench.view = Arc::new(next.successor(members).unwrap());
    let view = bench.view.clone();
    let out = bench.step(CoordinatorInput::View(standing(&view, Status::Active)));
    assert_eq!(out.len(), 3, "three questions: {out:?}");
    assert!(published(&out).is_none());
}

#[test]
fn without_leave_it_does_nothing_and_looks_again_only_while_there_is_work() {
    let mut bench = Bench::new(0);
    bench.open();
    bench.permitted = false;
    let a = bench.members[0];
    assert_eq!(bench.register(a, 2, &[1]), []);
    assert_eq!(bench.core.deadline(), Some(RECHECK));
    bench.now = RECHECK;
    bench.permitted = true;
    assert!(published(&bench.step(CoordinatorInput::Wake)).is_some());
    assert_eq!(bench.core.deadline(), None);
    bench.permitted = false;
    bench.step(CoordinatorInput::Wake);
    assert_eq!(bench.core.deadline(), None);
    let view = bench.view.clone();
    bench.permitted = true;
    bench.step(CoordinatorInput::View(standing(&view, Status::Isolated)));
    bench.now = Duration::from_secs(9);
    assert_eq!(bench.register(a, 3, &[2]), []);
    assert_eq!(bench.core.deadline(), None);
    let out = bench.step(CoordinatorInput::View(standing(&view, Status::Active)));
    assert_eq!(hosted(&published(&out).unwrap(), a), [2]);
}

#[test]
fn a_member_that_comes_within_reach_is_asked_again_at_once_unless_it_has_answered() {
    let mut bench = Bench::new(1);
    let (silent, answered) = (bench.members[0], bench.members[1]);
    bench.gathered(answered, &[]);
    bench.now += millis(5);
    let out = bench.step(CoordinatorInput::Reachable(silent));
    let asked = |out: &[CoordinatorOutput], whom| {
        out.iter().any(|it| {
            matches!(it, CoordinatorOutput::Send(to, _, RegistryWire::Gather { .. }) if *to == whom)
        })
    };
    assert!(asked(&out, silent), "{out:?}");
    let out = bench.step(CoordinatorInput::Reachable(answered));
    assert!(!asked(&out, answered), "{out:?}");
}

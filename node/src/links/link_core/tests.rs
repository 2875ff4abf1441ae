//! Two cores with a network between them that delays and loses as a seed says, and single rules.

use lampyrid_wire::{BootNonce, Incarnation};

use super::*;
use crate::links::limits::ROOM_FOR_MEMBERS;

fn peer(id: u128) -> Peer {
    Peer { process: ProcessId::from_u128(id), incarnation: Incarnation(1), nonce: BootNonce(9) }
}

fn address(id: u128) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1_000 + id as u16))
}

fn member(of: Peer, id: u128) -> Member {
    let (process, incarnation) = (of.process, of.incarnation);
    Member { process, incarnation, name: String::new(), address: address(id), admin: None }
}

/// SplitMix64, to choose what happens next.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// A connection on its way to be a session, or being one.
#[derive(Debug, Default, Clone)]
struct Wire {
    dialler: usize,
    stage: u8,
    statement: Statement,
    decision: u64,
    conn: [Option<ConnId>; 2],
    handed: [bool; 2],
    ready: [bool; 2],
    /// An end that is closed; the other one learns of it later.
    closed: [bool; 2],
    ended: [bool; 2],
}

/// Core 0 has the lower id: it arbitrates.
struct World {
    now: Duration,
    cores: [LinkCore; 2],
    wires: Vec<Wire>,
    up: [Option<ConnId>; 2],
    events: u32,
    cuts: u32,
}

impl World {
    fn new() -> Self {
        Self {
            now: Duration::ZERO,
            cores: [
                LinkCore::new(peer(1), 1, 1, Bounds::default()),
                LinkCore::new(peer(2), 2, 1, Bounds::default()),
            ],
            wires: Vec::new(),
            up: [None, None],
            events: 0,
            cuts: 0,
        }
    }

    fn step(&mut self, side: usize, input: Input) -> Option<(Verdict, Option<ConnId>)> {
        let mut outputs = Vec::new();
        self.cores[side].step(self.now, input, &mut outputs);
        let mut ruling = None;
        for output in outputs {
            match output {
                Output::Ruling(verdict, conn) => ruling = Some((verdict, conn)),
                Output::Dial(_) => {
                    self.wires.push(Wire { dialler: side, ..Wire::default() });
                }
                Output::HandOver(conn) => {
                    let wire = self.wire(side, conn);
                    wire.handed[side] = true;
                }
                Output::Close(conn, _) => self.wire(side, conn).closed[side] = true,
                Output::Up(conn, _) => {
                    assert_eq!(self.up[side], None, "one session at a time");
                    self.up[side] = Some(conn);
                    self.events += 1;
                }
                Output::Down(conn, _) => {
                    assert_eq!(self.up[side].take(), Some(conn), "down once per up");
                }
                Output::Look(_) | Output::Room(_) | Output::NoRoom(_) | Output::Event(_) => {}
            }
        }
        ruling
    }

    fn wire(&mut self, side: usize, conn: ConnId) -> &mut Wire {
        self.wires.iter_mut().find(|wire| wire.conn[side] == Some(conn)).unwrap()
    }

    fn card(&self, side: usize, wire: &Wire) -> Card {
        let dialled = (wire.dialler == side).then(|| address(2 - side as u128));
        let (me, other) = (self.cores[side].me(), self.cores[1 - side].me());
        Card { peer: other, as_me: me, dialled, advertised: address(2 - side as u128) }
    }

    /// Moves one connection on by one event.
    fn advance(&mut self, at: usize) {
        let wire = self.wires[at].clone();
        match wire.stage {
            // The side that does not arbitrate states what it knows.
            0 => {
                let (refusal, statement) = self.cores[1].consider(&self.cores[0].me());
                assert_eq!(refusal, None);
                self.wires[at].statement = statement;
                self.wires[at].stage = 1;
            }
            1 => {
                let card = self.card(0, &wire);
                let ruling = self.settle(0, at, card, Basis::Ours(wire.statement));
                self.wires[at].stage = if ruling { 2 } else { 9 };
            }
            2 if wire.closed[0] => self.finish_dial(at),
            2 => {
                let card = self.card(1, &wire);
                let followed = self.settle(1, at, card, Basis::Theirs(wire.decision));
                self.wires[at].closed[1] |= !followed;
                self.wires[at].stage = 3;
                if let Some(conn) = self.wires[at].conn[0] {
                    self.step(0, Input::Delivered(conn));
                }
            }
            3 => {
                if let Some(conn) = wire.conn[1] {
                    self.step(1, Input::Delivered(conn));
                }
                self.finish_dial(at);
            }
            9 => self.finish_dial(at),
            _ => self.settle_down(at),
        }
    }

    fn settle(&mut self, side: usize, at: usize, card: Card, basis: Basis) -> bool {
        // The number is known only from the ruling: note it before anything refers to it.
        let before = self.cores[side].last_conn;
        self.wires[at].conn[side] = Some(before + 1);
        let ruling = self.step(side, Input::Settle(card, basis)).unwrap();
        match ruling {
            (Verdict::Go(decision), Some(conn)) => {
                assert_eq!(conn, before + 1);
                self.wires[at].decision = decision;
                true
            }
            _ => {
                self.wires[at].conn[side] = None;
                false
            }
        }
    }

    fn finish_dial(&mut self, at: usize) {
        let side = self.wires[at].dialler;
        self.wires[at].stage = 4;
        let other = self.cores[1 - side].me().process;
        let address = address(2 - side as u128);
        self.step(side, Input::DialEnded(address, DialOutcome::Settled(other)));
    }

    /// Readiness while both ends are open, and the news that the other end is closed.
    fn settle_down(&mut self, at: usize) {
        let wire = self.wires[at].clone();
        for side in [0, 1] {
            let Some(conn) = wire.conn[side] else { continue };
            if wire.closed[0] || wire.closed[1] {
                self.wires[at].closed = [true; 2];
                if !std::mem::replace(&mut self.wires[at].ended[side], true) {
                    self.step(side, Input::Ended(conn));
                }
            } else if wire.handed == [true; 2] && !wire.ready[side] {
                self.wires[at].ready[side] = true;
                self.step(side, Input::Ready(conn));
                return;
            }
        }
    }

    fn cut(&mut self, at: usize) {
        self.wires[at].closed = [true; 2];
        self.cuts += 1;
    }

    fn is_settled(&self) -> bool {
        self.wires.iter().all(|wire| {
            let over = |side: usize| wire.conn[side].is_none() || wire.ended[side];
            let stands = wire.ready == [true; 2] && !wire.closed[0] && !wire.closed[1];
            wire.stage >= 4 && (stands || (over(0) && over(1)))
        })
    }

    /// Without faults, until nothing moves any more.
    fn calm(&mut self) {
        for _ in 0..10_000 {
            (0..self.wires.len()).for_each(|at| self.advance(at));
            if self.is_settled() && self.up[0].is_some() && self.up[1].is_some() {
                return;
            }
            self.now += Duration::from_millis(5);
            self.step(0, Input::Wake);
            self.step(1, Input::Wake);
        }
        panic!(
            "no session: up {:?} in {:#?}; live {:?}",
            self.up,
            self.wires,
            self.cores.each_ref().map(|core| (&core.live, &core.closing))
        );
    }
}

#[test]
fn both_sides_are_left_with_the_same_one_session_whatever_overtakes_what() {
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let mut world = World::new();
        world.step(0, Input::Keep(vec![member(peer(2), 2)]));
        world.step(1, Input::Keep(vec![member(peer(1), 1)]));
        for _ in 0..dice.below(60) {
            // One seed in four is without faults.
            match dice.below(12) {
                0 => drop(world.step(1, Input::Seek(vec![address(1)]))),
                1 => drop(world.step(0, Input::Seek(vec![address(2)]))),
                2 if seed % 4 > 0 && !world.wires.is_empty() => {
                    let at = dice.below(world.wires.len());
                    if world.wires[at].stage >= 4 {
                        world.cut(at);
                    }
                }
                3 => {
                    world.now += Duration::from_millis(dice.below(400) as u64);
                    let side = dice.below(2);
                    world.step(side, Input::Wake);
                }
                _ if !world.wires.is_empty() => {
                    let at = dice.below(world.wires.len());
                    world.advance(at);
                }
                _ => {}
            }
        }
        let undisturbed = world.cuts == 0;
        world.calm();
        let same = world.wires.iter().any(|wire| wire.conn == world.up && !wire.closed[0]);
        assert!(same, "seed {seed}: {:?} in {:#?}", world.up, world.wires);
        // Without a fault the first session that came up is the one that stays.
        assert!(!undisturbed || world.now >= READY_LIMIT || world.events == 2, "seed {seed}");
        // And it stays.
        let events = world.events;
        for _ in 0..20 {
            world.now += Duration::from_millis(300);
            world.step(0, Input::Wake);
            world.step(1, Input::Wake);
            (0..world.wires.len()).for_each(|at| world.advance(at));
        }
        assert_eq!(world.events, events, "seed {seed}: it flaps");
    }
}

fn core() -> LinkCore {
    LinkCore::new(peer(1), 1, 1, Bounds::default())
}

fn card(of: Peer) -> Card {
    Card { peer: of, as_me: peer(1), dialled: None, advertised: address(50) }
}

fn offer(core: &mut LinkCore, of: Peer, statement: Statement) -> Verdict {
    let mut out = Vec::new();
    core.step(Duration::ZERO, Input::Settle(card(of), Basis::Ours(statement)), &mut out);
    let verdict = out.iter().find_map(|output| match output {
        Output::Ruling(verdict, _) => Some(*verdict),
        _ => None,
    });
    verdict.unwrap()
}

#[test]
fn another_life_displaces_and_an_older_one_does_not() {
    let mut core = core();
    let none = Statement::default();
    assert!(matches!(offer(&mut core, peer(2), none), Verdict::Go(_)));
    assert_eq!(offer(&mut core, peer(2), none), Verdict::Duplicate);
    let newer = Peer { incarnation: Incarnation(2), ..peer(2) };
    assert!(matches!(offer(&mut core, newer, none), Verdict::Go(_)));
    assert_eq!(offer(&mut core, peer(2), none), Verdict::Duplicate);
    let restarted = Peer { nonce: BootNonce(10), incarnation: Incarnation(3), ..peer(2) };
    assert!(matches!(offer(&mut core, restarted, none), Verdict::Go(_)));
}

/// Every start raises the incarnation, so another start of no higher one runs from a copy.
#[test]
fn another_start_of_no_higher_incarnation_is_a_twin_also_when_the_session_is_over() {
    let mut core = core();
    let none = Statement::default();
    let known = Peer { incarnation: Incarnation(5), ..peer(2) };
    let Verdict::Go(_) = offer(&mut core, known, none) else { panic!() };
    for incarnation in [4, 5] {
        let twin = Peer { nonce: BootNonce(10), incarnation: Incarnation(incarnation), ..peer(2) };
        assert_eq!(offer(&mut core, twin, none), Verdict::Refused(RefusalReason::Twin));
    }
    let mut out = Vec::new();
    core.step(Duration::ZERO, Input::Broken(1, "a test"), &mut out);
    let twin = Peer { nonce: BootNonce(10), ..known };
    assert_eq!(offer(&mut core, twin, none), Verdict::Refused(RefusalReason::Twin));
}

#[test]
fn a_twin_of_a_life_that_was_met_before_is_refused_and_the_next_start_is_not() {
    let mut core = core();
    let none = Statement::default();
    let met = Peer { incarnation: Incarnation(5), ..peer(2) };
    core.recall([met, Peer { incarnation: Incarnation(4), ..met }]);
    let start = |incarnation, nonce| Peer {
        incarnation: Incarnation(incarnation),
        nonce: BootNonce(nonce),
        ..met
    };
    assert_eq!(offer(&mut core, start(5, 10), none), Verdict::Refused(RefusalReason::Twin));
    assert!(matches!(offer(&mut core, start(6, 10), none), Verdict::Go(_)));
    core.recall([met]);
    assert_eq!(offer(&mut core, start(6, 11), none), Verdict::Refused(RefusalReason::Twin));
}

#[test]
fn a_session_that_the_peer_has_lost_gives_way() {
    let mut core = core();
    let Verdict::Go(decision) = offer(&mut core, peer(2), Statement::default()) else { panic!() };
    let has_it = Statement { seen: decision, live: Some(decision) };
    assert_eq!(offer(&mut core, peer(2), has_it), Verdict::Duplicate);
    let lost_it = Statement { seen: decision, live: None };
    let Verdict::Go(next) = offer(&mut core, peer(2), lost_it) else { panic!() };
    assert!(next > decision);
}

#[test]
fn there_is_room_for_so_many_and_always_for_who_comes_back() {
    let mut core = core();
    for id in 0..(MAX_SESSIONS - ROOM_FOR_MEMBERS) as u128 {
        assert!(matches!(offer(&mut core, peer(100 + id), Statement::default()), Verdict::Go(_)));
    }
    let full = Verdict::Refused(RefusalReason::TooManySessions);
    assert_eq!(offer(&mut core, peer(99), Statement::default()), full);
    let back = Peer { incarnation: Incarnation(2), ..peer(100) };
    assert!(matches!(offer(&mut core, back, Statement::default()), Verdict::Go(_)));
}

#[test]
fn only_the_lower_id_dials_a_member_and_whoever_seeks_dials_the_sought() {
    let dials = |me: u128, input: Input| {
        let mut core = LinkCore::new(peer(me), 1, 1, Bounds::default());
        let mut out = Vec::new();
        core.step(Duration::ZERO, input, &mut out);
        out
    };
    assert_eq!(dials(1, Input::Keep(vec![member(peer(2), 2)])), [Output::Dial(address(2))]);
    assert_eq!(dials(3, Input::Keep(vec![member(peer(2), 2)])), []);
    assert_eq!(dials(3, Input::Seek(vec![address(2)])), [Output::Dial(address(2))]);
}

#[test]
fn a_session_that_does_not_get_ready_is_given_up_and_nothing_is_waited_for_when_all_is_well() {
    let mut core = core();
    assert_eq!(core.deadline(), None);
    offer(&mut core, peer(2), Statement::default());
    assert_eq!(core.deadline(), Some(READY_LIMIT));
    let mut out = Vec::new();
    core.step(READY_LIMIT, Input::Wake, &mut out);
    assert_eq!(out, [Output::Close(1, "it did not get ready in time")]);
    assert_eq!(core.deadline(), None);
}

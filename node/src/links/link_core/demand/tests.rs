//! One core; what the other processes and the substrate do is written by hand.

use std::net::SocketAddr;

use lampyrid_membership::{LinkEvent, RefusalReason};
use lampyrid_wire::{BootNonce, ClusterId, Incarnation, Member, Peer};

use super::*;
use crate::links::config::Bounds;
use crate::links::hello::{Statement, Verdict};
use crate::links::limits::{
    MAX_ON_DEMAND, MAX_SESSIONS, ON_DEMAND_IDLE, READY_LIMIT, ROOM_FOR_MEMBERS, WISH_LIMIT,
};
use crate::links::link_core::{Basis, Card, Input};
use crate::links::targets::DialOutcome;

/// The core under test is process 500: lower ids arbitrate over it and it over higher ones.
const ME: u128 = 500;

fn process(id: u128) -> ProcessId {
    ProcessId::from_u128(id)
}

fn peer(id: u128) -> Peer {
    Peer { process: process(id), incarnation: Incarnation(1), nonce: BootNonce(9) }
}

fn address(id: u128) -> SocketAddr {
    SocketAddr::from(([127, 0, (id >> 8) as u8, id as u8], 4_000))
}

fn member(id: u128) -> Member {
    let Peer { process, incarnation, .. } = peer(id);
    Member { process, incarnation, name: String::new(), address: address(id), admin: None }
}

fn view(others: impl IntoIterator<Item = u128>) -> Arc<View> {
    let first = View::first(ClusterId::from_u128(1), "c", member(ME));
    let members = others.into_iter().chain([ME]).map(member).collect();
    Arc::new(first.successor(members).unwrap())
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

struct Bench {
    now: Duration,
    core: LinkCore,
    out: Vec<Output>,
    /// When frames last passed through the session with a process.
    traffic: BTreeMap<ProcessId, Traffic>,
}

impl Bench {
    fn new(others: impl IntoIterator<Item = u128>) -> Self {
        let core = LinkCore::new(peer(ME), 1, 1, Bounds::default());
        let (now, traffic) = (Duration::ZERO, BTreeMap::new());
        let mut bench = Self { now, core, out: Vec::new(), traffic };
        bench.give(Input::View(view(others)));
        bench
    }

    /// A step; a look is answered as the shell does, within it.
    fn give(&mut self, input: Input) {
        self.out.clear();
        self.core.step(self.now, input, &mut self.out);
        while let Some(at) = self.out.iter().position(|it| matches!(it, Output::Look(_))) {
            let Output::Look(conns) = self.out.remove(at) else { unreachable!() };
            let of = |conn: &ConnId| {
                let link = self.core.live.values().find(|link| link.conn == *conn).unwrap();
                (*conn, self.traffic.get(&link.process()).copied().unwrap_or_default())
            };
            let seen = conns.iter().map(of).collect();
            self.core.step(self.now, Input::Traffic(seen), &mut self.out);
        }
    }

    fn keep(&mut self, ids: impl IntoIterator<Item = u128>) {
        self.give(Input::Keep(ids.into_iter().map(member).collect()));
    }

    fn wish(&mut self, id: u128) {
        self.give(Input::Wish(process(id)));
    }

    /// A connection with a process becomes a session that carries frames.
    fn connect(&mut self, id: u128, dialled: bool) {
        let card = Card {
            peer: peer(id),
            as_me: peer(ME),
            dialled: dialled.then(|| address(id)),
            advertised: address(id),
        };
        let basis = if id > ME {
            Basis::Ours(Statement::default())
        } else {
            Basis::Theirs(u64::from(u32::MAX) + id as u64)
        };
        self.give(Input::Settle(card, basis));
        let conn = self.core.live[&process(id)].conn;
        self.give(Input::Delivered(conn));
        if dialled {
            self.give(Input::DialEnded(address(id), DialOutcome::Settled(process(id))));
        }
        self.give(Input::Ready(conn));
        assert!(self.out.contains(&Output::Up(conn, peer(id))), "{:?}", self.out);
    }

    fn uses(&mut self, id: u128, concern: bool) {
        let traffic = self.traffic.entry(process(id)).or_default();
        traffic.any = Some(self.now);
        if concern {
            traffic.concern = Some(self.now);
        }
    }

    /// Time passes, with a wake at every deadline; what was closed meanwhile, and when.
    fn pass(&mut self, span: Duration) -> Vec<(ProcessId, Duration)> {
        let end = self.now + span;
        let mut closed = Vec::new();
        while let Some(at) = self.core.deadline().filter(|&at| at <= end) {
            self.now = at.max(self.now);
            self.give(Input::Wake);
            for output in self.out.clone() {
                match output {
                    Output::Down(conn, peer) => {
                        closed.push((peer.process, self.now));
                        self.core.step(self.now, Input::Ended(conn), &mut self.out);
                    }
                    Output::Dial(address) => {
                        let ended = Input::DialEnded(address, DialOutcome::Failed);
                        self.core.step(self.now, ended, &mut self.out);
                    }
                    _ => {}
                }
            }
        }
        self.now = end;
        closed
    }

    fn sessions(&self) -> usize {
        self.core.live.len()
    }
}

fn dials(out: &[Output]) -> Vec<SocketAddr> {
    out.iter().filter_map(|it| if let Output::Dial(at) = it { Some(*at) } else { None }).collect()
}

#[test]
fn who_wishes_dials_whatever_the_ids_and_only_members() {
    let mut bench = Bench::new([1, 900]);
    for id in [1, 900] {
        bench.wish(id);
        assert_eq!(dials(&bench.out), [address(id)]);
        assert!(bench.out.contains(&Output::Room(process(id))));
        // Said again while it is under way, it is not dialled again.
        bench.wish(id);
        assert_eq!(dials(&bench.out), []);
    }
    for id in [2, ME] {
        bench.wish(id);
        assert_eq!(dials(&bench.out), []);
    }
}

#[test]
fn a_session_on_demand_ends_when_only_membership_uses_it_and_then_nothing_is_waited_for() {
    let mut bench = Bench::new([1]);
    bench.wish(1);
    bench.connect(1, true);
    assert_eq!(bench.core.targets.wished().count(), 0, "the wish is fulfilled");
    for _ in 0..20 {
        bench.uses(1, true);
        assert_eq!(bench.pass(seconds(50)), []);
    }
    let last = bench.now - seconds(50);
    let mut closed = Vec::new();
    while closed.is_empty() {
        bench.uses(1, false);
        closed = bench.pass(seconds(1));
    }
    let quiet = closed[0].1 - last;
    assert!(quiet >= ON_DEMAND_IDLE && quiet <= ON_DEMAND_IDLE * 9 / 8, "{quiet:?}");
    assert_eq!((bench.sessions(), bench.core.deadline()), (0, None));
}

#[test]
fn the_side_that_accepted_lets_it_stand_while_anything_passes_and_not_for_ever() {
    let mut bench = Bench::new([1]);
    bench.connect(1, false);
    for _ in 0..300 {
        bench.uses(1, false);
        assert_eq!(bench.pass(seconds(1)), []);
    }
    let closed = bench.pass(ON_DEMAND_IDLE * 9 / 8);
    assert_eq!(closed.len(), 1);
    assert_eq!((bench.sessions(), bench.core.deadline()), (0, None));
}

#[test]
fn what_membership_keeps_is_never_looked_at() {
    let mut bench = Bench::new([1, 2]);
    bench.keep([1]);
    bench.connect(1, false);
    assert_eq!(bench.core.deadline(), None);
    assert_eq!(bench.pass(seconds(1_000)), []);
    // Nor what is sought.
    bench.give(Input::Seek(vec![address(2)]));
    bench.connect(2, true);
    assert_eq!(bench.pass(seconds(1_000)), []);
}

#[test]
fn a_neighbour_no_more_stays_for_a_parting_or_as_long_as_it_is_of_use() {
    for used in [false, true] {
        let mut bench = Bench::new([1]);
        bench.keep([1]);
        bench.connect(1, false);
        bench.pass(seconds(500));
        if used {
            bench.uses(1, true);
        }
        bench.keep([]);
        let patience = if used { ON_DEMAND_IDLE } else { PARTING };
        let pause = ON_DEMAND_IDLE / 8;
        let from = bench.now;
        let closed = bench.pass(seconds(200));
        let took = closed[0].1 - from;
        assert!(took >= patience && took <= patience + pause, "{used}: {took:?}");
    }
    // Kept again, it stays for good.
    let mut bench = Bench::new([1]);
    bench.keep([1]);
    bench.connect(1, false);
    bench.keep([]);
    bench.keep([1]);
    assert_eq!(bench.pass(seconds(500)), []);
}

#[test]
fn wishes_and_sessions_with_who_leaves_the_view_end_at_once() {
    let mut bench = Bench::new([1, 2, 3]);
    bench.wish(1);
    bench.connect(1, true);
    bench.wish(2);
    bench.give(Input::View(view([3])));
    assert!(bench.out.contains(&Output::Down(1, peer(1))));
    assert_eq!(bench.core.targets.wished().count(), 0);
    bench.give(Input::DialEnded(address(2), DialOutcome::Failed));
    assert_eq!(bench.pass(seconds(100)), []);
    assert_eq!(dials(&bench.out), []);
}

#[test]
fn a_wish_follows_its_member_to_where_the_next_view_lists_it() {
    let mut bench = Bench::new([1]);
    bench.wish(1);
    bench.give(Input::DialEnded(address(1), DialOutcome::Failed));
    let moved = Member { address: address(7), incarnation: Incarnation(2), ..member(1) };
    let first = View::first(ClusterId::from_u128(1), "c", member(ME));
    bench.give(Input::View(Arc::new(first.successor(vec![member(ME), moved]).unwrap())));
    assert_eq!(dials(&bench.out), [address(7)]);
}

#[test]
fn a_wish_that_nothing_comes_of_is_given_up_and_made_anew_by_the_next_frame() {
    let mut bench = Bench::new([1]);
    bench.wish(1);
    bench.give(Input::DialEnded(address(1), DialOutcome::Failed));
    bench.pass(WISH_LIMIT);
    assert_eq!((bench.core.targets.wished().count(), bench.core.deadline()), (0, None));
    bench.wish(1);
    assert_eq!(dials(&bench.out), [address(1)]);
    // While frames come the wish stays, and so does its backoff.
    bench.give(Input::DialEnded(address(1), DialOutcome::Failed));
    for _ in 0..20 {
        bench.pass(WISH_LIMIT / 2);
        bench.wish(1);
        assert_eq!(bench.core.targets.wished().count(), 1);
    }
}

#[test]
fn a_wish_outlives_a_session_that_did_not_get_ready() {
    let mut bench = Bench::new([900]);
    bench.wish(900);
    let card = Card { peer: peer(900), as_me: peer(ME), dialled: None, advertised: address(900) };
    bench.give(Input::Settle(card, Basis::Ours(Statement::default())));
    bench.give(Input::DialEnded(address(900), DialOutcome::Failed));
    bench.now = READY_LIMIT;
    bench.give(Input::Wake);
    assert!(bench.out.contains(&Output::Close(1, "it did not get ready in time")));
    assert_eq!(dials(&bench.out), [address(900)]);
}

/// As many as allowed, all in use.
fn full() -> (Bench, Vec<u128>) {
    let ids: Vec<u128> = (1_000..1_000 + MAX_ON_DEMAND as u128).collect();
    let mut bench = Bench::new(ids.iter().copied().chain([1, 2]));
    for &id in &ids {
        bench.wish(id);
        bench.connect(id, true);
        bench.uses(id, true);
    }
    (bench, ids)
}

#[test]
fn with_all_sessions_on_demand_in_use_a_wish_is_turned_away_and_the_quietest_gives_way_later() {
    let (mut bench, ids) = full();
    bench.wish(1);
    assert_eq!(bench.out, [Output::NoRoom(process(1))]);
    // Who looked a moment ago does not look again.
    bench.core.step(bench.now, Input::Wish(process(2)), &mut bench.out);
    assert_eq!(bench.out[1..], [Output::NoRoom(process(2))]);
    bench.now += LEAST_STAY;
    for &id in &ids[1..] {
        bench.uses(id, true);
    }
    bench.wish(1);
    let conn = 1;
    assert!(bench.out.contains(&Output::Close(conn, "another session was wanted more")));
    assert!(bench.out.contains(&Output::Room(process(1))));
    assert_eq!(dials(&bench.out), [address(1)]);
    assert_eq!(bench.core.on_demand(), MAX_ON_DEMAND);
    // The next one finds no room again: all others were just used.
    bench.now += LOOK_PAUSE;
    bench.wish(2);
    assert!(bench.out.contains(&Output::NoRoom(process(2))));
}

#[test]
fn sessions_of_membership_and_of_others_take_no_room_from_wishes() {
    let (mut bench, _) = full();
    bench.connect(2, false);
    bench.give(Input::Keep(vec![member(1_000), member(1_001)]));
    bench.wish(1);
    assert_eq!(dials(&bench.out), [address(1)], "two became neighbours");
}

#[test]
fn strangers_leave_room_for_members_and_who_is_refused_is_not_kept_waiting() {
    let mut bench = Bench::new([1]);
    let strangers = (MAX_SESSIONS - ROOM_FOR_MEMBERS) as u128;
    for id in 10_000..10_000 + strangers {
        bench.connect(id, false);
    }
    let full = Some(RefusalReason::TooManySessions);
    assert_eq!(bench.core.consider(&peer(50_000)).0, full);
    assert_eq!(bench.core.consider(&peer(1)).0, None, "a member");
    bench.keep([50_000]);
    assert_eq!(bench.core.consider(&peer(50_000)).0, None, "membership asks for it");
    bench.keep([]);
    // One that goes makes room.
    let conn = bench.core.live[&process(10_000)].conn;
    bench.give(Input::Ended(conn));
    assert_eq!(bench.core.consider(&peer(50_000)).0, None);
}

#[test]
fn who_is_refused_for_want_of_room_tries_those_that_were_named_and_goes_on_trying() {
    let mut core = LinkCore::new(peer(ME), 1, 1, Bounds::default());
    let mut out = Vec::new();
    let seed = address(1);
    core.step(Duration::ZERO, Input::Seek(vec![seed]), &mut out);
    assert_eq!(dials(&out), [seed]);
    out.clear();
    let refused = DialOutcome::Full(vec![address(2), address(3)]);
    core.step(Duration::ZERO, Input::DialEnded(seed, refused.clone()), &mut out);
    let reason = RefusalReason::TooManySessions;
    assert!(out.contains(&Output::Event(LinkEvent::Refused { address: seed, reason })));
    assert_eq!(dials(&out), [address(2), address(3)]);
    let retry = core.deadline().unwrap();
    assert!(retry <= seconds(1));
    out.clear();
    core.step(retry, Input::Wake, &mut out);
    assert_eq!(dials(&out), [seed]);
    // Nothing sought any more: no hint is followed.
    out.clear();
    core.step(retry, Input::Seek(Vec::new()), &mut out);
    for at in [seed, address(2), address(3)] {
        core.step(retry, Input::DialEnded(at, DialOutcome::Failed), &mut out);
    }
    core.step(retry + seconds(5), Input::Wake, &mut out);
    assert_eq!((dials(&out), core.deadline()), (vec![], None));
}

#[test]
fn a_verdict_for_a_member_to_which_both_wished_leaves_one_session_on_demand() {
    let mut bench = Bench::new([900]);
    bench.wish(900);
    bench.connect(900, false);
    assert!(bench.core.live[&process(900)].is_on_demand());
    let card = Card {
        peer: peer(900),
        as_me: peer(ME),
        dialled: Some(address(900)),
        advertised: address(900),
    };
    bench.give(Input::Settle(
        card,
        Basis::Ours(Statement { seen: 1 << 32 | 1, live: Some(1 << 32 | 1) }),
    ));
    assert_eq!(bench.out, [Output::Ruling(Verdict::Duplicate, None)]);
}

#[test]
fn joiners_without_number_crowd_out_no_neighbour() {
    let mut bench = Bench::new([90_000]);
    bench.keep((1_000..1_000 + MAX_SESSIONS as u128).chain([90_000]));
    assert!(bench.core.targets.keeps(process(90_000)));
    assert!(!bench.core.targets.keeps(process(999 + MAX_SESSIONS as u128)));
}

//! Sessions on demand between whole processes: members that membership does not keep.

use std::time::{Duration, Instant};

use lampyrid_wire::Channel;

use super::parent::{Process, Setup, alone};

/// Short, so that a test sees the end of it.
const IDLE: Duration = Duration::from_millis(1_500);

/// Processes 1 to `count`, all in one view; who keeps whom is for the test.
fn members(count: u32, setup: impl Fn(Setup) -> Setup) -> Vec<Process> {
    let mut all: Vec<Process> = (1..=count).map(|id| setup(Setup::of(id)).start()).collect();
    let listed: Vec<String> = all.iter().map(Process::member).collect();
    for process in &mut all {
        process.tell(&format!("view {}", listed.join(" ")));
    }
    all
}

fn keep(process: &mut Process, others: &[String]) {
    process.tell(&format!("keep {}", others.join(" ")));
}

/// Waits for so many: the event of an end comes a moment before it is counted.
fn has_sessions(process: &mut Process, count: usize) {
    process.wait_count(&format!("sessions={count} "), "handshakes=0");
}

fn have_sessions(all: &mut [Process], counts: &[usize]) {
    all.iter_mut().zip(counts).for_each(|(process, &count)| has_sessions(process, count));
}

/// Sends again until it is taken, as the concerns do when a session comes up.
fn send(from: &mut Process, to: u32, channel: Channel, byte: u32) -> Duration {
    let started = Instant::now();
    let command = format!("send {to} {} 5 {byte}", channel.name());
    from.tell(&command);
    let answer = from.expect_any_of(&["SENT", "UNSENT"]);
    if answer != "SENT" {
        assert!(answer.contains("NoLink"), "{answer}");
        from.expect_any_order(&format!("UP {to}.1"));
        assert_eq!(from.ask(&command, "SENT"), "SENT");
    }
    started.elapsed()
}

#[test]
fn a_frame_for_a_member_without_a_session_brings_one_up_and_disuse_ends_it_on_both_sides() {
    let _alone = alone();
    for (sender, receiver) in [(0, 1), (1, 0)] {
        let mut all = members(3, |setup| setup.idle(IDLE));
        let listed: Vec<String> = all.iter().map(Process::member).collect();
        keep(&mut all[0], &listed[2..]);
        keep(&mut all[1], &listed[2..]);
        keep(&mut all[2], &listed[..2]);
        all[0].expect("UP 3.1");
        all[1].expect("UP 3.1");
        let [to, from] = [receiver as u32 + 1, sender as u32 + 1];
        // Membership decides for itself whom it wants a session with.
        all[sender].tell(&format!("send {to} membership 5 1"));
        assert!(all[sender].expect("UNSENT").contains("NoLink"));
        has_sessions(&mut all[sender], 1);
        let took = send(&mut all[sender], to, Channel::Migration, 7);
        all[sender].note(&format!("first frame to a member without a session: {took:?}"));
        all[receiver].expect(&format!("UP {from}.1"));
        all[receiver].expect(&format!("IN {from}.1 migration 5 7"));
        all[receiver].tell(&format!("send {from} registry 5 8"));
        all[sender].expect(&format!("IN {to}.1 registry 5 8"));
        have_sessions(&mut all, &[2, 2, 2]);
        // Used now and then, it stays.
        let started = Instant::now();
        while started.elapsed() < IDLE * 2 {
            send(&mut all[sender], to, Channel::Migration, 9);
            all[receiver].expect(&format!("IN {from}.1 migration 5 9"));
            std::thread::sleep(IDLE / 20);
        }
        all[sender].no_sign_of("DOWN");
        // Membership's frames do not hold it.
        let quiet = Instant::now();
        let command = format!("send {to} membership 5 2");
        all[sender].tell(&command);
        while all[sender].expect_any_of(&["SENT", "UNSENT"]) == "SENT" {
            std::thread::sleep(IDLE / 50);
            all[sender].tell(&command);
        }
        let quiet = quiet.elapsed();
        all[sender].note(&format!("idle for {quiet:?} (limit {IDLE:?}) when it was closed"));
        assert!(quiet >= IDLE - IDLE / 20, "{quiet:?}");
        all[sender].expect_any_order(&format!("DOWN {to}.1"));
        all[receiver].expect_any_order(&format!("DOWN {from}.1"));
        have_sessions(&mut all, &[1, 1, 2]);
        // And again.
        send(&mut all[sender], to, Channel::Migration, 7);
        all[receiver].expect(&format!("IN {from}.1 migration 5 7"));
    }
}

#[test]
fn the_side_that_accepted_ends_it_when_the_other_does_not() {
    let _alone = alone();
    let mut all = members(2, |setup| setup);
    all.pop();
    // The second of the view is another process than before, and impatient.
    let mut b = Setup::of(2).idle(IDLE).start();
    let a = &mut all[0];
    let listed = format!("{} {}", a.member(), b.member());
    a.tell(&format!("view {listed}"));
    b.tell(&format!("view {listed}"));
    send(a, 2, Channel::Registry, 3);
    b.expect("IN 1.1 registry 5 3");
    b.expect("DOWN 1.1");
    a.expect("DOWN 2.1");
    has_sessions(a, 0);
    has_sessions(&mut b, 0);
}

#[test]
fn both_wish_at_once_and_one_session_comes_of_it() {
    let _alone = alone();
    let mut all = members(2, |setup| setup.idle(IDLE));
    let [a, b] = &mut all[..] else { unreachable!() };
    for round in 0..10 {
        a.tell("send 2 migration 5 1");
        b.tell("send 1 migration 5 2");
        a.expect("UP 2.1");
        b.expect("UP 1.1");
        a.tell("send 2 migration 5 3");
        b.tell("send 1 migration 5 4");
        a.expect("IN 2.1 migration 5 4");
        b.expect("IN 1.1 migration 5 3");
        let counted = a.wait_count("handshakes=0", &format!("ups={} ", round + 1));
        assert!(counted.contains("sessions=1"), "{counted}");
        a.no_sign_of("DOWN");
        a.expect("DOWN 2.1");
        b.expect("DOWN 1.1");
        a.forget();
        b.forget();
    }
}

/// Each keeps its two neighbours on a ring, and sends to everybody.
#[test]
fn a_sparse_ring_carries_frames_between_all_and_is_sparse_again() {
    let _alone = alone();
    const COUNT: usize = 7;
    let mut all = members(COUNT as u32, |setup| setup.idle(IDLE * 2));
    let listed: Vec<String> = all.iter().map(Process::member).collect();
    for at in 0..COUNT {
        let neighbours = [1, COUNT - 1].map(|step| listed[(at + step) % COUNT].clone());
        keep(&mut all[at], &neighbours);
    }
    for process in &mut all {
        has_sessions(process, 2);
    }
    let mut slowest = Duration::ZERO;
    for from in 0..COUNT {
        for to in (0..COUNT).filter(|&to| to != from) {
            slowest = slowest.max(send(&mut all[from], to as u32 + 1, Channel::Registry, 6));
            all[to].expect_any_order(&format!("IN {}.1 registry 5 6", from + 1));
        }
    }
    all[0].note(&format!("slowest first frame among {COUNT}: {slowest:?}"));
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    for process in &mut all {
        has_sessions(process, 2);
    }
}

#[test]
fn a_member_that_leaves_the_view_loses_its_session_and_is_wished_for_no_more() {
    let _alone = alone();
    let mut all = members(3, |setup| setup);
    send(&mut all[0], 2, Channel::Migration, 1);
    send(&mut all[0], 3, Channel::Migration, 1);
    // The other end may be a little later.
    all[2].expect("UP 1.1");
    let listed = [all[0].member(), all[1].member()].join(" ");
    all[0].tell(&format!("view {listed}"));
    all[0].expect("DOWN 3.1");
    all[2].expect("DOWN 1.1");
    all[0].tell("send 3 migration 5 1");
    assert!(all[0].expect("UNSENT").contains("NoLink"));
    // A round trip with the other one later nothing has come of it.
    send(&mut all[0], 2, Channel::Migration, 2);
    all[1].expect("IN 1.1 migration 5 2");
    has_sessions(&mut all[0], 1);
    all[0].no_sign_of("UP 3.1");
}

#[test]
fn beyond_the_limit_a_send_says_so_until_a_session_is_quiet() {
    let _alone = alone();
    let mut all = members(4, |setup| setup.on_demand(2));
    send(&mut all[0], 2, Channel::Migration, 1);
    send(&mut all[0], 3, Channel::Migration, 1);
    // Refused while both were used within the last second, then one gives way.
    let started = Instant::now();
    let mut refused = 0;
    loop {
        all[0].tell("send 4 migration 5 9");
        let answer = all[0].expect_any_of(&["SENT", "UNSENT"]);
        if answer == "SENT" {
            break;
        }
        refused += u32::from(answer.contains("NoRoom"));
        assert!(started.elapsed() < Duration::from_secs(30), "{answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
    all[0].note(&format!("{refused} refusals, room after {:?}", started.elapsed()));
    assert!(refused > 0);
    all[3].expect("IN 1.1 migration 5 9");
    has_sessions(&mut all[0], 2);
    let counted = all[0].ask("count", "COUNT");
    assert!(!counted.contains("no_room=0"), "{counted}");
}

#[test]
fn a_joiner_that_finds_no_room_is_sent_to_another_member_and_gets_in_when_there_is_room() {
    let _alone = alone();
    let mut seed = Setup::of(1).room(1, 0).start();
    let mut other = Setup::of(2).start();
    let listed = format!("{} {}", seed.member(), other.member());
    seed.tell(&format!("view {listed}"));
    let mut first = Setup::of(8).start();
    first.tell(&format!("seek {}", seed.address()));
    seed.expect("UP 8.1");
    let mut second = Setup::of(9).start();
    second.tell(&format!("seek {}", seed.address()));
    assert_eq!(second.expect("REFUSED"), "REFUSED TooManySessions");
    second.expect("UP 2.1");
    other.expect("UP 9.1");
    // It goes on asking the seed, at least once a second.
    second.expect("REFUSED TooManySessions");
    first.kill();
    seed.expect("DOWN 8.1");
    second.expect_any_order("UP 1.1");
}

fn micros(answer: &str) -> Duration {
    let last = answer.split_whitespace().last().unwrap();
    Duration::from_micros(last.parse().unwrap())
}

/// More members than updates are sent to directly for, each of which keeps two neighbours: what is
/// registered reaches all, moves go between any two, and afterwards the links are sparse again.
#[test]
fn registrations_broadcasts_and_moves_pass_between_members_that_are_not_neighbours() {
    let _alone = alone();
    const COUNT: usize = 14;
    // Longer than the coordinator pauses between two broadcasts.
    let mut all = members(COUNT as u32, |setup| setup.idle(IDLE * 2));
    let listed: Vec<String> = all.iter().map(Process::member).collect();
    for at in 0..COUNT {
        let neighbours = [1, COUNT - 1].map(|step| listed[(at + step) % COUNT].clone());
        keep(&mut all[at], &neighbours);
    }
    for process in &mut all {
        has_sessions(process, 2);
    }
    let started = Instant::now();
    for process in &mut all {
        process.ask("concerns", "STARTED");
    }
    for process in &mut all {
        while process.ask("registered", "REGISTERED") != format!("REGISTERED {COUNT}") {
            assert!(started.elapsed() < Duration::from_secs(60), "not everybody is registered");
        }
    }
    all[0].note(&format!("{COUNT} registered everywhere after {:?}", started.elapsed()));
    // Until all links but those to neighbours are gone.
    for process in &mut all {
        has_sessions(process, 2);
    }
    // A change now finds no session on its way to the coordinator, and none along the rings.
    let stored = micros(&all[4].ask("register 1000", "STORED"));
    let started = Instant::now();
    for process in &mut all {
        while process.ask("host 1000", "HOST") != "HOST 5" {
            assert!(started.elapsed() < Duration::from_secs(60), "not everybody knows");
        }
    }
    let known = stored + started.elapsed();
    all[4].note(&format!("one more bubble: stored by a quorum in {stored:?}, by all in {known:?}"));
    assert!(known < Duration::from_secs(5), "{known:?}");
    for process in &mut all {
        has_sessions(process, 2);
    }
    let mut slowest = Duration::ZERO;
    for (from, process) in all.iter_mut().enumerate() {
        let to = (from + COUNT / 2) % COUNT;
        let moved = process.ask(&format!("move {}", to + 1), "MOVED");
        assert!(moved.starts_with("MOVED Committed"), "{moved}");
        slowest = slowest.max(micros(&moved));
    }
    all[0].note(&format!("slowest first move to a member without a session: {slowest:?}"));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    for process in &mut all {
        has_sessions(process, 2);
    }
}

/// What bounds the price of many sessions: a coordinator may have one with every member.
#[test]
fn a_session_costs_one_socket_and_little_memory() {
    let _alone = alone();
    const COUNT: usize = 41;
    let mut all = members(COUNT as u32, |setup| setup);
    // The first of all pays for what is made once.
    send(&mut all[1], 1, Channel::Registry, 1);
    has_sessions(&mut all[0], 1);
    let (sockets, memory) = (all[0].descriptors(), all[0].resident());
    let more = COUNT - 2;
    for process in &mut all[2..] {
        send(process, 1, Channel::Registry, 1);
    }
    has_sessions(&mut all[0], more + 1);
    let grown = all[0].resident().saturating_sub(memory) / more as u64;
    all[0].note(&format!("{more} more sessions, {grown} bytes of memory each"));
    assert_eq!(all[0].descriptors(), sockets + more);
    assert!(grown < 512 * 1024, "{grown}");
}

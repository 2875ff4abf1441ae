//! Whole processes: each test starts children of this test binary and drives their links.

mod child;
mod concerns;
mod demand;
mod parent;
mod secured;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use parent::{Process, Setup, alone};

use super::limits::{IDLE_LIMIT, window_of};
use lampyrid_wire::{Channel, MAX_FRAME_BYTES, Versions};

/// Not a test by itself: the body of the children.
#[test]
fn child_process() {
    let Ok(arguments) = std::env::var(child::VARIABLE) else { return };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(child::run(&arguments));
    // Stdin is read by a thread of the runtime's that may never return.
    runtime.shutdown_background();
}

fn keep_each_other(processes: &mut [&mut Process]) {
    let members: Vec<String> = processes.iter().map(|p| p.member()).collect();
    for process in processes {
        process.tell(&format!("keep {}", members.join(" ")));
    }
}

fn linked_pair() -> (Process, Process) {
    let (mut a, mut b) = (Setup::of(1).start(), Setup::of(2).start());
    keep_each_other(&mut [&mut a, &mut b]);
    a.expect("UP 2.1");
    b.expect("UP 1.1");
    (a, b)
}

#[test]
fn two_processes_exchange_frames_on_every_channel() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    for channel in Channel::ALL {
        for (number, length) in [1, 100, 65_536, MAX_FRAME_BYTES].into_iter().enumerate() {
            a.tell(&format!("send 2 {} {length} {number}", channel.name()));
            a.expect("SENT");
            b.expect(&format!("IN 1.1 {} {length} {number}", channel.name()));
            b.tell(&format!("send 1 {} {length} {number}", channel.name()));
            a.expect(&format!("IN 2.1 {} {length} {number}", channel.name()));
        }
    }
    a.tell(&format!("send 2 migration {} 0", MAX_FRAME_BYTES + 1));
    assert!(a.expect("UNSENT").contains("TooLarge"));
    a.tell("send 3 migration 1 0");
    assert!(a.expect("UNSENT").contains("NoLink"));
    // The oversized frame cost nothing.
    a.tell("send 2 registry 5 9");
    b.expect("IN 1.1 registry 5 9");
}

#[test]
fn three_processes_are_a_mesh_and_a_removed_member_loses_its_sessions() {
    let _alone = alone();
    let mut processes: Vec<Process> = (1..=3).map(|id| Setup::of(id).start()).collect();
    let [a, b, c] = &mut processes[..] else { unreachable!() };
    keep_each_other(&mut [a, b, c]);
    for (process, others) in [(&mut *a, [2, 3]), (&mut *b, [1, 3]), (&mut *c, [1, 2])] {
        for other in others {
            process.expect_any_order(&format!("UP {other}.1"));
        }
    }
    c.tell("send 1 membership 10 3");
    a.expect("IN 3.1 membership 10 3");
    keep_each_other(&mut [a, b]);
    a.expect("DOWN 3.1");
    b.expect("DOWN 3.1");
    a.tell("send 2 membership 10 4");
    b.expect("IN 1.1 membership 10 4");
}

#[test]
fn a_killed_process_is_down_in_milliseconds_and_back_at_a_higher_incarnation() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    for incarnation in 2..6 {
        let address = b.address();
        let killed = Instant::now();
        b.kill();
        a.expect(&format!("DOWN 2.{}", incarnation - 1));
        let down = killed.elapsed();
        b = Setup::of(2).incarnation(incarnation).port(address.port()).start();
        let back = Instant::now();
        a.tell(&format!("keep 2.{incarnation}@{address}"));
        b.tell(&format!("keep {}", a.member()));
        a.expect(&format!("UP 2.{incarnation}"));
        b.expect("UP 1.1");
        a.note(&format!("down after {down:?}, up after {:?}", back.elapsed()));
        a.tell("send 2 membership 10 1");
        b.expect("IN 1.1 membership 10 1");
    }
}

#[test]
fn a_new_incarnation_in_the_same_process_displaces_the_old_one() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    for incarnation in 2..8 {
        b.tell(&format!("incarnation {incarnation}"));
        b.expect("DOWN 1.1");
        a.expect(&format!("DOWN 2.{}", incarnation - 1));
        a.expect(&format!("UP 2.{incarnation}"));
        b.expect("UP 1.1");
        b.tell("send 1 registry 8 1");
        a.expect(&format!("IN 2.{incarnation} registry 8 1"));
    }
}

#[test]
fn crashed_links_come_back_with_all_sessions_and_without_a_new_listener() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    for round in 0..5 {
        let (crashing, other) = if round % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        let crashed = Instant::now();
        crashing.tell("crash");
        crashing.expect_any_order("DOWN");
        other.expect("DOWN");
        crashing.expect_any_order("RESTARTED");
        crashing.expect_any_order("UP");
        other.expect("UP");
        crashing.note(&format!("links back {:?} after the crash", crashed.elapsed()));
        a.tell("send 2 registry 8 1");
        b.expect("IN 1.1 registry 8 1");
    }
}

#[test]
fn strangers_do_not_disturb_a_session() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    let mut strangers: Vec<TcpStream> = Vec::new();
    for number in 0..200_u32 {
        let mut stranger = TcpStream::connect(a.address()).unwrap();
        // Errors of writes: it may have been thrown out already.
        let _ = match number % 5 {
            0 => Ok(()),
            1 => stranger.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            2 => stranger.write_all(&vec![0xff; 100_000]),
            3 => stranger.write_all(b"LAMPYRID\0\x01half"),
            _ => {
                // A right intro, then a hello of the largest length that can be announced.
                let mut bytes = super::hello::Intro::fresh().to_bytes().to_vec();
                bytes.extend_from_slice(&[0xff; 40]);
                stranger.write_all(&bytes)
            }
        };
        strangers.push(stranger);
        if number % 20 == 0 {
            a.tell("send 2 membership 10 1");
            b.expect("IN 1.1 membership 10 1");
            b.tell("send 1 membership 10 2");
            a.expect("IN 2.1 membership 10 2");
        }
    }
    // Somebody new gets in beside the silent ones.
    let mut c = Setup::of(3).start();
    c.tell(&format!("seek {}", a.address()));
    c.expect("UP 1.1");
    a.expect("UP 3.1");
    // All of them are shown the door within the handshake's limit, the silent ones too.
    for mut stranger in strangers {
        stranger.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut answer = Vec::new();
        match stranger.read_to_end(&mut answer) {
            // An intro at most: nothing about this process.
            Ok(length) => assert!(length <= super::hello::INTRO_BYTES),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    a.wait_count("sessions=2", "handshakes=0");
    a.no_sign_of("DOWN");
    b.no_sign_of("DOWN");
}

#[test]
fn another_cookie_name_or_cluster_is_refused_with_the_reason_and_disturbs_nobody() {
    let _alone = alone();
    let mut a = Setup::of(2).cluster(77).start();
    let mut friend = Setup::of(9).cluster(77).start();
    friend.tell(&format!("seek {}", a.address()));
    friend.expect("UP 2.1");
    a.expect("UP 9.1");
    // On both sides of the id order, so that either side has to refuse.
    for id in [1, 3] {
        for (setup, reason) in [
            (Setup::of(id).cookie("another cookie"), "Cookie"),
            (Setup::of(id).name("another name"), "ClusterName"),
            (Setup::of(id).cluster(78), "ClusterId"),
            (Setup::of(2).nonce(id as u64 + 50), "OwnId"),
        ] {
            let mut stranger = setup.start();
            stranger.tell(&format!("seek {}", a.address()));
            assert_eq!(stranger.expect("REFUSED"), format!("REFUSED {reason}"));
            stranger.no_sign_of("UP");
        }
    }
    a.expect("OWNID 2.1");
    // Who knows no cluster yet may join.
    let mut joiner = Setup::of(1).start();
    joiner.tell(&format!("seek {}", a.address()));
    joiner.expect("UP 2.1");
    a.expect("UP 1.1");
    friend.tell("send 2 membership 1 1");
    a.expect("IN 9.1 membership 1 1");
    a.no_sign_of("DOWN");
}

#[test]
fn a_process_does_not_link_to_itself() {
    let _alone = alone();
    let mut a = Setup::of(1).start();
    a.tell(&format!("seek {}", a.address()));
    a.expect("REFUSED OwnId");
    let counted = a.ask("count", "COUNT");
    assert!(counted.contains("sessions=0") && counted.contains("accepted=1"), "{counted}");
    a.no_sign_of("OWNID");
}

#[test]
fn probes_tell_a_listener_from_none_and_are_taken_quietly() {
    let _alone = alone();
    let (mut a, mut b) = (Setup::of(1).start(), Setup::of(2).start());
    for _ in 0..20 {
        assert_eq!(a.ask(&format!("probe {}", b.address()), "PROBED"), "PROBED Accepted");
    }
    let counted = b.wait_count("accepted=20", "handshakes=0");
    assert!(counted.contains("garbage=0"), "{counted}");
    let address = b.address();
    b.kill();
    assert_eq!(a.ask(&format!("probe {address}"), "PROBED"), "PROBED Refused");
}

#[test]
fn a_frozen_peer_is_down_after_the_idle_limit_and_back_when_it_thaws() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    let frozen = Instant::now();
    b.freeze();
    a.expect("DOWN 2.1");
    let down = frozen.elapsed();
    a.note(&format!("frozen peer down after {down:?}"));
    assert!(down <= IDLE_LIMIT + Duration::from_secs(5), "{down:?}");
    b.thaw();
    b.expect("DOWN 1.1");
    a.expect("UP 2.1");
    b.expect("UP 1.1");
    a.tell("send 2 membership 10 1");
    b.expect("IN 1.1 membership 10 1");
}

#[test]
fn a_slow_receiver_stops_its_sender_and_no_other_channel() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    b.ask("hold", "HOLDING");
    let length = 64 * 1024;
    let before = a.resident() + b.resident();
    let flooded = a.ask(&format!("flood 2 migration {length} 100000"), "FLOODED");
    let sent: u64 = flooded.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(sent, window_of(Channel::Migration).bytes.div_ceil(length));
    let grown = (a.resident() + b.resident()).saturating_sub(before);
    a.note(&format!("{sent} frames of {length} bytes taken, {grown} bytes more in memory"));
    assert!(grown < 32 << 20, "{grown} bytes");
    a.tell("send 2 migration 1 1");
    assert!(a.expect("UNSENT").contains("Overloaded"));
    // The others flow.
    a.tell("send 2 membership 1 1");
    a.expect("SENT");
    while !b.ask("held", "HELD").ends_with(&format!(" {}", sent + 1)) {}
    b.ask("release", "RELEASED");
    // Credit comes back: as much again can be sent, and everything arrives.
    let mut again = 0;
    while again < sent {
        let flooded = a.ask(&format!("flood 2 migration {length} {}", sent - again), "FLOODED");
        again += flooded.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    }
    while !b.ask("held", "HELD").ends_with(&format!(" {sent}")) {}
    a.no_sign_of("DOWN");
    assert!(a.ask("count", "COUNT").contains("overruns=0"));
}

fn ups(counted: &str) -> u64 {
    let value = counted.split_whitespace().find_map(|word| word.strip_prefix("ups="));
    value.unwrap().parse().unwrap()
}

#[test]
fn both_dial_at_once_and_one_session_remains() {
    let _alone = alone();
    let (mut a, mut b) = (Setup::of(1).start(), Setup::of(2).start());
    let (to_a, to_b) = (a.member(), b.member());
    for _ in 0..50 {
        // A connection of the round before may have outlived it for a moment.
        let before = [&mut a, &mut b].map(|process| {
            let counted = process.wait_count("sessions=0", "handshakes=0");
            process.forget();
            ups(&counted)
        });
        a.tell(&format!("seek {}", b.address()));
        b.tell(&format!("seek {}", a.address()));
        a.tell(&format!("keep {to_b}"));
        b.tell(&format!("keep {to_a}"));
        a.expect("UP 2.1");
        b.expect("UP 1.1");
        a.tell("send 2 membership 1 7");
        b.expect("IN 1.1 membership 1 7");
        b.tell("send 1 membership 1 8");
        a.expect("IN 2.1 membership 1 8");
        // Both handshakes are over on both sides before it is judged.
        for (process, before) in [&mut a, &mut b].into_iter().zip(before) {
            let counted = process.wait_count("handshakes=0", &format!("ups={} ", before + 1));
            assert!(counted.contains("sessions=1"), "{counted}");
            process.no_sign_of("DOWN");
        }
        // In an order in which nobody has a reason to dial once more: it is the lower id that
        // dials a member, and that one forgets first.
        a.tell("seek");
        b.tell("seek");
        b.ask("count", "COUNT");
        a.tell("keep");
        a.expect("DOWN 2.1");
        b.expect("DOWN 1.1");
        b.tell("keep");
        a.forget();
        b.forget();
    }
    let (at_a, at_b) = (a.ask("count", "COUNT"), b.ask("count", "COUNT"));
    a.note(&format!("{at_a}; {at_b}"));
}

#[test]
fn another_version_is_told_ours_and_nothing_else() {
    let _alone = alone();
    let a = Setup::of(1).start();
    let mut stranger = TcpStream::connect(a.address()).unwrap();
    let versions = Versions { oldest: 999, newest: 1_000 };
    let intro = super::hello::Intro { versions, ..super::hello::Intro::fresh() };
    stranger.write_all(&intro.to_bytes()).unwrap();
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer).unwrap();
    let theirs = super::hello::Intro::from_bytes(answer[..].try_into().unwrap()).unwrap();
    assert_eq!(theirs.versions, Versions::OURS);
}

#[test]
fn a_panic_in_a_hook_restarts_the_links_and_nothing_else() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    a.tell(&format!("send 2 registry 1 {}", child::POISON));
    b.expect("DOWN 1.1");
    a.expect("DOWN 2.1");
    b.expect_any_order("RESTARTED");
    a.expect_any_order("UP 2.1");
    b.expect_any_order("UP 1.1");
    a.tell("send 2 registry 1 1");
    b.expect("IN 1.1 registry 1 1");
}

#[test]
fn a_frozen_peer_with_full_buffers_costs_neither_memory_nor_the_socket() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    let sockets = a.descriptors();
    b.freeze();
    // More than the kernel's buffers take, as far as the windows allow.
    for channel in Channel::ALL {
        a.ask(&format!("flood 2 {} {} 100", channel.name(), 1 << 20), "FLOODED");
    }
    a.expect("DOWN 2.1");
    // The socket is closed although a write to it was stuck; a redial may hold another one.
    let started = Instant::now();
    while a.descriptors() > sockets + 1 {
        assert!(started.elapsed() < Duration::from_secs(30), "{} descriptors", a.descriptors());
        a.ask("count", "COUNT");
    }
    b.thaw();
    b.expect("DOWN 1.1");
    a.expect("UP 2.1");
    b.expect("UP 1.1");
}

#[test]
fn bulk_flows_and_control_does_not_wait_for_it() {
    let _alone = alone();
    let (mut a, mut b) = linked_pair();
    b.ask("discard", "DISCARDING");
    let rate = |pumped: String, count: f64| {
        let micros: f64 = pumped.split_whitespace().nth(1).unwrap().parse().unwrap();
        format!("{:.0} a second", count / micros * 1e6)
    };
    let pumped = a.ask("pump 2 registry 100 50000", "PUMPED");
    a.note(&format!("frames of 100 bytes: {}", rate(pumped, 50_000.0)));
    let idle = a.ask("ping 2 membership 500", "PINGED");
    a.note(&format!("membership round trip, idle link: {idle}"));
    a.tell("pump 2 migration 65536 8000");
    let busy = a.ask("ping 2 membership 500", "PINGED");
    a.note(&format!("membership round trip beside bulk: {busy}"));
    let pumped = a.expect_any_order("PUMPED");
    a.note(&format!("frames of 64 KiB: {}", rate(pumped, 8_000.0)));
}

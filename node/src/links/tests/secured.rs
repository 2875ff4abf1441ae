use lampyrid_wire::{Channel, MAX_FRAME_BYTES};

use super::keep_each_other;
use super::parent::{Setup, alone};
use crate::tls::authority::Authority;

#[test]
fn two_secured_processes_exchange_frames_on_every_channel() {
    let _alone = alone();
    let authority = Authority::new();
    let mut a = Setup::of(1).tls("a", &authority.files("a")).start();
    let mut b = Setup::of(2).tls("b", &authority.files("b")).start();
    keep_each_other(&mut [&mut a, &mut b]);
    a.expect("UP 2.1");
    b.expect("UP 1.1");
    for channel in Channel::ALL {
        for (number, length) in [1, 65_536, MAX_FRAME_BYTES].into_iter().enumerate() {
            a.tell(&format!("send 2 {} {length} {number}", channel.name()));
            b.expect(&format!("IN 1.1 {} {length} {number}", channel.name()));
            b.tell(&format!("send 1 {} {length} {number}", channel.name()));
            a.expect(&format!("IN 2.1 {} {length} {number}", channel.name()));
        }
    }
    b.kill();
    a.expect("DOWN 2.1");
}

#[test]
fn whoever_calls_itself_what_its_certificate_does_not_is_refused_by_either_side() {
    let _alone = alone();
    let authority = Authority::new();
    let mut a = Setup::of(1).tls("a", &authority.files("a")).start();
    let mut thief = Setup::of(2).tls("c", &authority.files("b")).start();
    thief.tell(&format!("seek {}", a.address()));
    thief.expect("REFUSED Certificate");
    a.tell(&format!("seek {}", thief.address()));
    a.expect("REFUSED Certificate");
    // Under our own id it does not even become news that our id was used.
    let mut double = Setup::of(1).nonce(7).tls("a", &authority.files("b")).start();
    double.tell(&format!("seek {}", a.address()));
    double.expect("REFUSED");
    drop((thief, double));
    let mut b = Setup::of(3).tls("b", &authority.files("b")).start();
    keep_each_other(&mut [&mut a, &mut b]);
    a.expect("UP 3.1");
    assert!(!a.has_passed("OWNID"));
}

#[test]
fn a_certificate_of_another_authority_and_one_that_has_expired_are_refused() {
    let _alone = alone();
    let (authority, other) = (Authority::new(), Authority::new());
    let mut a = Setup::of(1).tls("a", &authority.files("a")).start();
    for files in [authority.trusting(&other.files("b")), authority.expired("b")] {
        let mut b = Setup::of(2).tls("b", &files).start();
        b.tell(&format!("seek {}", a.address()));
        b.expect("REFUSED Certificate");
        a.tell(&format!("seek {}", b.address()));
        a.expect("REFUSED Certificate");
    }
}

#[test]
fn where_only_one_side_speaks_tls_both_say_so() {
    let _alone = alone();
    let authority = Authority::new();
    let mut secured = Setup::of(1).tls("a", &authority.files("a")).start();
    let mut plain = Setup::of(2).start();
    plain.tell(&format!("seek {}", secured.address()));
    plain.expect("REFUSED Tls");
    secured.tell(&format!("seek {}", plain.address()));
    secured.expect("REFUSED Tls");
}

#[test]
fn a_certificate_does_not_stand_for_the_cookie() {
    let _alone = alone();
    let authority = Authority::new();
    let a = Setup::of(1).tls("a", &authority.files("a")).start();
    let mut b = Setup::of(2).tls("b", &authority.files("b")).cookie("another cookie").start();
    b.tell(&format!("seek {}", a.address()));
    b.expect("REFUSED Cookie");
}

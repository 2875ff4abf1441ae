//! What larger clusters must keep to, in simulation. The sizes of every run are modest; those of
//! the full promise are run by
//!
//!     cargo test --release -p lampyrid-tests --test membership_scale -- --ignored --nocapture
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::time::Duration;

use lampyrid_membership::Pace;
use lampyrid_membership::sim::Direction::{Incoming, Outgoing};
use lampyrid_membership::sim::scale::{
    Trouble, bootstrap, crash_some, loads, over_seeds, trouble_some,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Everybody joins through one seed within a second.
fn few_views_until_all_are_in(members: usize, seeds: u64) {
    let within = Duration::from_secs(1);
    for result in over_seeds(0..seeds, |seed| bootstrap(seed, members, within)) {
        let found = result.expect("a whole cluster");
        eprintln!("{members} members: {found:?}");
        assert!(found.views <= 8, "{found:?}");
    }
}

/// In at least 99 of 100 seeds they go in one view change within 3 s.
fn one_change_for_all_that_crash(members: usize, crashes: usize, seeds: u64) {
    let after = Duration::from_secs(3);
    let results = over_seeds(0..seeds, |seed| crash_some(seed, members, crashes, false, after));
    let all: Vec<_> = results.into_iter().map(|result| result.expect("agreement")).collect();
    let slowest = all.iter().map(|found| found.took).max().unwrap_or_default();
    let single = all.iter().filter(|found| found.changes == 1).count();
    eprintln!("{members} members, {crashes} crash: {single} of {seeds} in one change, {slowest:?}");
    assert!(slowest <= Duration::from_secs(3), "{slowest:?}");
    assert!(single * 100 >= all.len() * 99, "{single} of {seeds}");
}

/// Exactly those in trouble are removed.
fn only_the_troubled_go(members: usize, count: usize, seeds: u64) {
    for trouble in [
        Trouble::Loss(Incoming, 800),
        Trouble::Loss(Outgoing, 800),
        Trouble::FlipFlop(Incoming),
        Trouble::FlipFlop(Outgoing),
    ] {
        let results =
            over_seeds(0..seeds, |seed| trouble_some(seed, members, count, trouble, MINUTE));
        let (mut wronged, mut missed, mut changes) = (0, 0, 0);
        for result in results {
            let found = result.expect("no violation");
            wronged += found.wronged();
            missed += found.missed();
            changes += found.changes;
        }
        eprintln!(
            "{members} members, {seeds} seeds, {trouble:?}: {wronged} healthy ones removed, {missed} in trouble kept, {changes} view changes"
        );
        assert_eq!((wronged, missed), (0, 0), "{trouble:?}");
    }
}

#[test]
fn sixty_join_through_one_seed_in_few_views() {
    few_views_until_all_are_in(60, 4);
}

#[test]
fn sixty_lose_three_at_once_in_one_view_change() {
    one_change_for_all_that_crash(60, 3, 20);
}

#[test]
fn of_sixty_only_the_one_in_trouble_is_removed() {
    only_the_troubled_go(60, 1, 2);
}

#[test]
fn an_idle_hundred_sends_little() {
    let found = loads(1, 100, 0, Pace::default(), Duration::from_secs(20), Duration::ZERO)
        .expect("no violation");
    eprintln!("{found:?}");
    assert!(found.bytes.mean <= 5_000.0);
}

#[test]
#[ignore = "the full size"]
fn two_thousand_join_through_one_seed_in_few_views() {
    few_views_until_all_are_in(2_000, 1);
}

#[test]
#[ignore = "the full size"]
fn a_thousand_lose_ten_at_once_in_one_view_change() {
    one_change_for_all_that_crash(1_000, 10, 200);
}

#[test]
#[ignore = "the full size"]
fn of_a_hundred_only_the_one_in_trouble_is_removed() {
    only_the_troubled_go(100, 1, 250);
}

#[test]
#[ignore = "the full size"]
fn of_a_thousand_only_the_ten_in_trouble_are_removed() {
    only_the_troubled_go(1_000, 10, 13);
}

/// Mean and p99 of the bytes that a member sends in a second, by the interval of its edges.
fn little_is_sent(members: usize, crashes: usize) {
    let rapid = Pace::every(Duration::from_secs(1));
    for (pace, mean, p99) in [(rapid, 750.0, 3_700), (Pace::default(), 3_000.0, u64::MAX)] {
        let found = loads(1, members, crashes, pace, MINUTE, MINUTE).expect("no violation");
        eprintln!("{members} members, {crashes} crash, {pace:?}: {found:?}");
        assert!(found.bytes.mean <= mean, "{:?}", found.bytes);
        assert!(found.bytes.p99 <= p99, "{:?}", found.bytes);
    }
}

#[test]
fn a_hundred_of_which_one_crashes_send_little() {
    little_is_sent(100, 1);
}

#[test]
#[ignore = "the full size"]
fn a_thousand_of_which_ten_crash_send_little() {
    little_is_sent(1_000, 10);
}

/// What one member sends and is sent does not grow with the cluster, whoever coordinates.
#[test]
fn a_coordinator_of_many_has_no_more_messages_than_one_of_few() {
    let at = |members| {
        let span = Duration::from_secs(10);
        let found = loads(1, members, 0, Pace::default(), span, Duration::ZERO);
        found.expect("no violation").at_coordinator
    };
    let (few, many) = (at(50), at(200));
    assert!((few / many - 1.0).abs() <= 0.1, "{few} and {many} a second");
}

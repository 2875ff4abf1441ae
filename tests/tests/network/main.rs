//! Real processes on a network that breaks: cut off, split, deaf, mute, flapping, slow, lossy.
//!
//! Needs Linux, root and `/dev/net/tun`; skipped with a loud line elsewhere.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

mod links;
mod stage;

use std::time::Duration;

use lampyrid_tests::netns::Network;
use lampyrid_tests::{Witness, eventually};

use stage::{Moment, Stage};

const NODE: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
const REGISTRAR: &str = env!("CARGO_BIN_EXE_registrar-under-test");

/// One of five is cut off: the others go on without it, it is isolated, and it comes back.
fn cut_off(program: &str, choose: impl Fn(usize) -> usize) {
    let Some(stage) = Stage::set(5, program) else { return };
    let bubbles = stage.bubbles();
    let victim = choose(stage.coordinator());
    let others = stage.but(&[victim]);
    let (before, incarnation) = (stage.epoch(victim), stage.view(victim)["incarnation"].clone());
    let witness = Witness::of(&stage.cluster);
    let fault = Moment::now();
    stage.network.links().split(&[&[victim], &others]);
    let agreed = || stage.cluster.agreed(&others);
    let (after, took) = eventually("the other four to go on", agreed);
    assert_eq!(after["epoch"], before + 1);
    let isolated = stage.wait_isolated(&witness, fault, &[victim]);
    eprintln!("cut to the others' view: {took:?}; to isolated: {isolated:?}");
    stage.hold(fault, Duration::from_secs(8), &[victim], &bubbles);
    let healed = Moment::now();
    stage.network.links().heal();
    let (_, took) = stage.cluster.wait_agreed();
    eprintln!("end of the cut to one view of all: {took:?}");
    assert!(stage.view(victim)["incarnation"].as_u64() > incarnation.as_u64());
    witness.assert_one_view_an_epoch();
    if program == REGISTRAR {
        stage.assert_one_coordinator(fault, healed, &others);
    }
}

#[test]
fn a_coordinator_that_is_cut_off_is_replaced_and_acknowledges_nothing_meanwhile() {
    cut_off(REGISTRAR, |coordinator| coordinator);
}

#[test]
fn a_member_that_is_cut_off_is_removed_isolated_and_back_by_itself() {
    cut_off(NODE, |coordinator| (coordinator + 1) % 5);
}

#[test]
fn of_an_even_split_the_tie_breakers_side_goes_on_and_the_other_installs_nothing() {
    let Some(stage) = Stage::set(4, REGISTRAR) else { return };
    let bubbles = stage.bubbles();
    let coordinator = stage.coordinator();
    let winners = [coordinator, (coordinator + 1) % 4];
    let losers = stage.but(&winners);
    let before = stage.epoch(coordinator);
    let witness = Witness::of(&stage.cluster);
    let fault = Moment::now();
    stage.network.links().split(&[&winners, &losers]);
    let (after, took) =
        eventually("the tie-breaker's side to go on", || stage.cluster.agreed(&winners));
    let isolated = stage.wait_isolated(&witness, fault, &losers);
    eprintln!("split to the view of one side: {took:?}; to isolated: {isolated:?}");
    assert!(after["epoch"].as_u64() > Some(before));
    stage.hold(fault, Duration::from_secs(8), &losers, &bubbles);
    assert!(stage.cluster.agreed(&winners).is_some(), "the one side goes on to the end");
    let healed = Moment::now();
    stage.network.links().heal();
    let (_, took) = stage.cluster.wait_agreed();
    eprintln!("end of the split to one view of all: {took:?}");
    witness.assert_one_view_an_epoch();
    stage.assert_one_coordinator(fault, healed, &winners);
}

#[test]
fn of_a_three_way_split_nobody_goes_on_and_all_heal() {
    let Some(stage) = Stage::set(5, REGISTRAR) else { return };
    let bubbles = stage.bubbles();
    let before = stage.epoch(0);
    let witness = Witness::of(&stage.cluster);
    let fault = Moment::now();
    stage.network.links().split(&[&[0, 1], &[2, 3], &[4]]);
    let all = stage.but(&[]);
    let isolated = stage.wait_isolated(&witness, fault, &all);
    eprintln!("three-way split to all isolated: {isolated:?}");
    stage.hold(fault, Duration::from_secs(8), &all, &bubbles);
    let grown = witness.first(fault.instant, 0, |sight| sight.epoch > before);
    assert!(grown.is_none(), "{grown:?}");
    let healed = Moment::now();
    stage.network.links().heal();
    let (_, took) = stage.cluster.wait_agreed();
    eprintln!("end of the split to one view of all: {took:?}");
    witness.assert_one_view_an_epoch();
    stage.assert_one_coordinator(fault, healed, &[]);
}

/// A member of five whose links carry packets one way only is removed, and is back afterwards.
fn one_way(direction: &str, cut: impl Fn(&Network, usize, usize)) {
    let Some(stage) = Stage::set(5, NODE) else { return };
    let bubbles = stage.bubbles();
    let victim = (stage.coordinator() + 1) % 5;
    let others = stage.but(&[victim]);
    let before = stage.epoch(victim);
    let witness = Witness::of(&stage.cluster);
    let fault = Moment::now();
    others.iter().for_each(|&other| cut(&stage.network, victim, other));
    let (after, took) = eventually("the other four to go on", || stage.cluster.agreed(&others));
    assert_eq!(after["epoch"], before + 1);
    let isolated = stage.wait_isolated(&witness, fault, &[victim]);
    eprintln!("{direction}: to the others' view {took:?}, to isolated {isolated:?}");
    stage.hold(fault, Duration::from_secs(5), &[victim], &bubbles);
    stage.network.links().heal();
    let (_, took) = stage.cluster.wait_agreed();
    eprintln!("end of the loss to one view of all: {took:?}");
    witness.assert_one_view_an_epoch();
}

#[test]
fn a_member_that_hears_all_and_is_heard_by_nobody_is_found() {
    one_way("nothing gets out", |network, victim, other| {
        network.links().cut_one_way(victim, other);
    });
}

#[test]
fn a_member_that_is_heard_by_all_and_hears_nobody_is_found() {
    one_way("nothing gets in", |network, victim, other| {
        network.links().cut_one_way(other, victim);
    });
}

#[test]
fn one_flapping_link_removes_nobody() {
    let Some(stage) = Stage::set(5, NODE) else { return };
    let coordinator = stage.coordinator();
    let other = (coordinator + 1) % 5;
    let (cut, open) = (Duration::from_secs(4), Duration::from_secs(2));
    stage.network.links().flip(coordinator, other, cut, open);
    stage.assert_calm(Duration::from_secs(22));
    let carried = stage.network.links().carried(coordinator, other);
    assert!(carried.lost > 0 && carried.passed > 0, "{carried:?}");
    stage.network.links().heal();
    stage.cluster.wait_agreed();
}

#[test]
fn two_tenths_of_a_second_of_delay_on_all_links_of_a_member_remove_nobody() {
    let Some(stage) = Stage::set(5, NODE) else { return };
    let slow = (stage.coordinator() + 1) % 5;
    let delay = Duration::from_millis(200);
    for other in stage.but(&[slow]) {
        stage.network.links().delay(slow, other, delay);
        stage.network.links().delay(other, slow, delay);
    }
    stage.assert_calm(Duration::from_secs(12));
}

#[test]
fn a_member_that_loses_four_packets_of_five_is_the_only_one_ever_removed() {
    let Some(stage) = Stage::set(5, NODE) else { return };
    let lossy = (stage.coordinator() + 1) % 5;
    let others = stage.but(&[lossy]);
    let healthy: Vec<String> = others.iter().map(|&at| stage.cluster.node(at).id()).collect();
    let witness = Witness::of(&stage.cluster);
    let before = stage.network.links().carried(lossy, others[0]);
    let fault = Moment::now();
    for &other in &others {
        stage.network.links().lose(lossy, other, 80);
        stage.network.links().lose(other, lossy, 80);
    }
    while fault.instant.elapsed() < Duration::from_secs(15) {
        for &at in &others {
            let view = stage.view(at);
            let members = view["members"].as_array().expect("members");
            let listed = |id: &&String| members.iter().any(|member| member["id"] == **id);
            assert_eq!(healthy.iter().filter(listed).count(), 4, "node {at}: {view}");
            assert_eq!(view["status"], "active", "node {at}: {view}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let after = stage.network.links().carried(lossy, others[0]);
    let (lost, passed) = (after.lost - before.lost, after.passed - before.passed);
    assert!(lost > passed, "{lost} lost, {passed} passed");
    let removed = witness.first(fault.instant, others[0], |sight| sight.members == 4);
    let removed = removed.expect("whoever loses four of five is removed").when - fault.instant;
    eprintln!("80 % loss at one member: removed after {removed:?}");
    stage.network.links().heal();
    let (_, took) = stage.cluster.wait_agreed();
    eprintln!("end of the loss to one view of all: {took:?}");
    witness.assert_one_view_an_epoch();
}

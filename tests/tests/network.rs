//! Real processes on a network that breaks: cut off, split, deaf, mute, flapping, slow, lossy.
//!
//! Needs Linux, root and `/dev/net/tun`; skipped with a loud line elsewhere.
#![cfg(target_os = "linux")]
#![allow(missing_docs, clippy::expect_used, reason = "a test")]

use std::net::UdpSocket;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lampyrid_tests::netns::{self, Network};
use lampyrid_tests::{Cluster, Options, Witness, eventually};
use serde_json::{Value, json};

const NODE: &str = env!("CARGO_BIN_EXE_lampyrid-under-test");
const REGISTRAR: &str = env!("CARGO_BIN_EXE_registrar-under-test");

/// What is promised of a process that has lost its quorum.
const ISOLATED_WITHIN: Duration = Duration::from_secs(3);

/// What was sent before a cut may still be answered for so long after it.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// Clusters of one test at a time: their time limits are real, and cores are few.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

struct Stage {
    cluster: Cluster,
    network: Network,
    _turn: MutexGuard<'static, ()>,
}

/// A process's registration and how it was answered.
struct Registration {
    at: usize,
    acknowledged: bool,
    /// Milliseconds of the machine's clock.
    ended: u64,
    epoch: u64,
    coordinator: Option<String>,
}

/// A moment, by both clocks.
#[derive(Clone, Copy)]
struct Moment {
    instant: Instant,
    wall: u64,
}

impl Moment {
    fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        Self { instant: Instant::now(), wall: since.as_millis().try_into().expect("few bits") }
    }
}

impl Stage {
    /// That many processes of `program`, each in a network of its own, agreed on a view.
    fn set(size: usize, program: &str) -> Option<Self> {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let network = Network::or_skip(size, 1)?;
        let mut cluster = Cluster::empty(program);
        for at in 0..size {
            let options = Options::default()
                .with("--listen", netns::listen(at).to_string())
                .flag("--allow-insecure-bind");
            cluster.add(options.at(network.place(at)));
        }
        cluster.wait_agreed();
        Some(Self { cluster, network, _turn: turn })
    }

    fn epoch(&self, at: usize) -> u64 {
        self.view(at)["epoch"].as_u64().expect("an epoch")
    }

    fn view(&self, at: usize) -> Value {
        self.cluster.admin(at).view().expect("it answers")
    }

    fn coordinator(&self) -> usize {
        let (view, _) = self.cluster.wait_agreed();
        let id = view["coordinator"].as_str().expect("a coordinator");
        self.cluster.place_of(id).expect("it runs")
    }

    fn but(&self, some: &[usize]) -> Vec<usize> {
        (0..self.cluster.size()).filter(|at| !some.contains(at)).collect()
    }

    /// A bubble of each process, to write to.
    fn bubbles(&self) -> Vec<String> {
        let bubble = |at: usize| {
            let own = self.cluster.admin(at).bubbles_of(&self.cluster.node(at).id());
            own.first().expect("it hosts one").clone()
        };
        (0..self.cluster.size()).map(bubble).collect()
    }

    /// A write at an isolated process; it must be refused with the typed reason.
    fn assert_refuses(&self, at: usize, bubble: &str) {
        let body = json!({ "bubble": bubble, "state": 0 });
        let answer = self.cluster.admin(at).post("/v1/entities", &body).expect("an answer");
        assert_eq!((answer.status, answer.code()), (503, "isolated"), "node {at}: {answer:?}");
    }

    /// Waits until all of `places` are isolated, and says how long after the fault the last was.
    fn wait_isolated(&self, witness: &Witness, fault: Moment, places: &[usize]) -> Duration {
        let first = |&at: &usize| {
            let isolated = witness.first(fault.instant, at, |sight| sight.status == "isolated");
            isolated.map(|sight| sight.when - fault.instant)
        };
        let all = || places.iter().map(first).collect::<Option<Vec<_>>>();
        let (times, _) = eventually(&format!("nodes {places:?} to be isolated"), all);
        let last = times.into_iter().max().expect("some places");
        assert!(last <= ISOLATED_WITHIN, "isolated only after {last:?}");
        last
    }

    /// Holds a fault for that long in all, with isolated ones that must refuse and stay where they
    /// are.
    fn hold(&self, fault: Moment, time: Duration, isolated: &[usize], bubbles: &[String]) {
        let epochs: Vec<u64> = isolated.iter().map(|&at| self.epoch(at)).collect();
        while fault.instant.elapsed() < time {
            for (&at, &epoch) in isolated.iter().zip(&epochs) {
                let view = self.view(at);
                assert_eq!(view["status"], "isolated", "node {at}");
                assert_eq!(view["epoch"], epoch, "node {at} installed a view alone");
                assert_eq!(view["coordinator"], Value::Null, "node {at}");
                self.assert_refuses(at, &bubbles[at]);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Nobody is removed, isolated or told of another view for so long.
    fn assert_calm(&self, time: Duration) {
        let (before, _) = self.cluster.wait_agreed();
        let start = Instant::now();
        while start.elapsed() < time {
            for at in 0..self.cluster.size() {
                let view = self.view(at);
                assert_eq!(view["id"], before["id"], "node {at} after {:?}", start.elapsed());
                assert_eq!(view["status"], "active", "node {at} after {:?}", start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn registrations(&self) -> Vec<Registration> {
        let of = |at: usize| {
            let printed = self.cluster.node(at).printed().into_iter();
            printed.filter(|line| line["event"] == "registration").map(move |line| Registration {
                at,
                acknowledged: line["answer"] == "acknowledged",
                ended: line["ended"].as_u64().expect("a time"),
                epoch: line["epoch"].as_u64().expect("an epoch"),
                coordinator: line["coordinator"].as_str().map(str::to_owned),
            })
        };
        (0..self.cluster.size()).flat_map(of).collect()
    }

    /// Registrations were asked for everywhere while the network was split; only those of
    /// `winners` were acknowledged, and each epoch's by one coordinator.
    fn assert_one_coordinator(&self, fault: Moment, healed: Moment, winners: &[usize]) {
        let all = self.registrations();
        let start = fault.wall + u64::try_from(ON_THE_WAY.as_millis()).expect("short");
        let mut coordinators = std::collections::BTreeMap::new();
        let (mut asked, mut acknowledged) = (0, 0);
        for one in &all {
            if one.acknowledged
                && let Some(coordinator) = &one.coordinator
            {
                let known = coordinators.entry(one.epoch).or_insert(coordinator);
                assert_eq!(*known, coordinator, "two coordinators of epoch {}", one.epoch);
            }
            if !(start..healed.wall).contains(&one.ended) {
                continue;
            }
            if winners.contains(&one.at) {
                acknowledged += u64::from(one.acknowledged);
            } else {
                asked += 1;
                assert!(!one.acknowledged, "node {}, epoch {}", one.at, one.epoch);
            }
        }
        assert!(asked > 0, "nobody without a quorum asked for anything");
        assert_eq!(acknowledged > 0, !winners.is_empty(), "{acknowledged} acknowledged");
        eprintln!("registrations while split: {acknowledged} acknowledged, {asked} refused");
    }
}

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

/// What the other tests rest on: the links do what they are told, and only those.
#[test]
fn links_drop_and_delay_as_told() {
    let Some(network) = Network::or_skip(3, 7) else { return };
    let bind = |at: usize| {
        let socket = network.namespace(at).enter(|| UdpSocket::bind((netns::address(at), 5_000)));
        let socket = socket.expect("it can be entered").expect("a port");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a limit");
        socket
    };
    let sockets: Vec<UdpSocket> = (0..3).map(bind).collect();
    let send = |from: usize, to: usize| {
        let start = Instant::now();
        sockets[from].send_to(&[7], (netns::address(to), 5_000)).expect("sent");
        sockets[to].recv_from(&mut [0]).ok().map(|(_, sender)| {
            assert_eq!(sender.ip(), netns::address(from));
            start.elapsed()
        })
    };
    let links = network.links();
    assert!(send(0, 1).is_some() && send(1, 0).is_some() && send(2, 0).is_some());
    links.cut_one_way(0, 1);
    assert!(send(0, 1).is_none() && send(1, 0).is_some());
    links.split(&[&[0], &[1, 2]]);
    assert!(send(1, 0).is_none() && send(0, 2).is_none() && send(1, 2).is_some());
    links.heal();
    links.delay(0, 1, Duration::from_millis(120));
    let (late, soon) = (send(0, 1).expect("it arrives"), send(1, 0).expect("it arrives"));
    assert!(late >= Duration::from_millis(120) && soon < late, "{late:?}, {soon:?}");
    links.heal();
    links.lose(0, 1, 80);
    let before = links.carried(0, 1);
    for _ in 0..1_000 {
        sockets[0].send_to(&[8], (netns::address(1), 5_000)).expect("sent");
    }
    let lost = eventually("all to be carried", || {
        let now = links.carried(0, 1);
        let (lost, passed) = (now.lost - before.lost, now.passed - before.passed);
        (lost + passed == 1_000).then_some(lost)
    });
    assert!((740..860).contains(&lost.0), "{lost:?} of 1,000 at 80 %");
}

/// Nothing of a network is left in the machine while it stands, nor afterwards.
#[test]
fn a_network_leaves_no_name_behind() {
    let Some(network) = Network::or_skip(2, 7) else { return };
    let mark = format!("lampyrid-{}-", std::process::id());
    let names = || {
        let entries = std::fs::read_dir(Path::new("/run/netns")).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&mark)).collect::<Vec<_>>()
    };
    // Networks of other tests may have a name for a moment.
    eventually("no names", || names().is_empty().then_some(()));
    drop(network);
    eventually("no names", || names().is_empty().then_some(()));
}

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use lampyrid_tests::{Cluster, PATIENCE, eventually};
use rustix::process::Signal;
use serde_json::Value;

use crate::table;

/// Between two questions to one process.
const PAUSE: Duration = Duration::from_millis(1);

/// kill -9 of each process in turn to a view of all others, everybody linked with everybody.
pub(crate) fn kill(cluster: &mut Cluster, repetitions: usize) {
    let limits = [(50, Duration::from_millis(100)), (99, Duration::from_millis(500))];
    kill_each("kill -9", cluster, repetitions, &limits, wait_linked);
}

/// The same as soon as all agree that the one before is back: some may have no link with it yet.
pub(crate) fn early(cluster: &mut Cluster, repetitions: usize) {
    kill_each("kill -9 right after a join", cluster, repetitions, &[], |_| {});
}

fn kill_each(
    what: &str,
    cluster: &mut Cluster,
    repetitions: usize,
    limits: &[(u32, Duration)],
    settle: fn(&Cluster),
) {
    let (mut times, mut single) = (Vec::new(), 0);
    for turn in 0..repetitions {
        let victim = turn % cluster.size();
        let (before, survivors) = (epoch(cluster), but(cluster, &[victim]));
        settle(cluster);
        let start = Instant::now();
        cluster.kill(victim);
        let (view, took) = wait_view(cluster, &survivors, start);
        times.push(took);
        single += usize::from(view["epoch"] == before + 1);
        cluster.restart(victim);
        cluster.wait_agreed();
    }
    table::times(&format!("{what} to agreed view"), &mut times, limits);
    table::count(&format!("{what}: one view change"), repetitions, &single.to_string(), "");
}

/// The same with SIGSTOP.
pub(crate) fn freeze(cluster: &Cluster, repetitions: usize) {
    let mut times = Vec::new();
    for turn in 0..repetitions {
        let victim = turn % cluster.size();
        let survivors = but(cluster, &[victim]);
        wait_linked(cluster);
        let start = Instant::now();
        cluster.node(victim).freeze();
        times.push(wait_view(cluster, &survivors, start).1);
        cluster.node(victim).thaw();
        cluster.wait_agreed();
    }
    table::times("freeze to agreed view", &mut times, &[(99, Duration::from_millis(2_500))]);
}

/// Two kills at once: how often they are one view change.
pub(crate) fn pair(cluster: &mut Cluster, repetitions: usize) {
    let (mut times, mut single) = (Vec::new(), 0);
    for turn in 0..repetitions {
        let size = cluster.size();
        // All pairs have their turn, neighbours and others.
        let first = turn % size;
        let victims = [first, (first + 1 + turn / size % (size - 1)) % size];
        let (before, survivors) = (epoch(cluster), but(cluster, &victims));
        wait_linked(cluster);
        let start = Instant::now();
        victims.iter().for_each(|&victim| cluster.node(victim).signal(Signal::KILL));
        victims.iter().for_each(|&victim| cluster.kill(victim));
        let (view, took) = wait_view(cluster, &survivors, start);
        times.push(took);
        single += usize::from(view["epoch"] == before + 1);
        victims.iter().for_each(|&victim| cluster.restart(victim));
        cluster.wait_agreed();
    }
    table::times("two kills at once to agreed view", &mut times, &[]);
    let needed = (repetitions * 45).div_ceil(50);
    let verdict = if single >= needed { "met" } else { "NOT MET" };
    let wanted = format!("at least {needed}: {verdict}");
    table::count("two kills at once: one view change", repetitions, &single.to_string(), &wanted);
}

fn epoch(cluster: &Cluster) -> u64 {
    cluster.wait_agreed().0["epoch"].as_u64().expect("an epoch")
}

/// Up to 11 members everybody has a session with everybody, a moment after they agree.
fn wait_linked(cluster: &Cluster) {
    let wanted = format!("lampyrid_link_sessions {}", cluster.size() - 1);
    let linked = |at| {
        let metrics = cluster.admin(at).text("/metrics").unwrap_or_default();
        metrics.lines().any(|line| line == wanted)
    };
    eventually("all links", || (0..cluster.size()).all(linked).then_some(()));
}

fn but(cluster: &Cluster, some: &[usize]) -> Vec<usize> {
    (0..cluster.size()).filter(|at| !some.contains(at)).collect()
}

/// Asks one survivor after the other until it has a view of exactly the survivors, and goes round
/// again unless all have the same.
fn wait_view(cluster: &Cluster, survivors: &[usize], start: Instant) -> (Value, Duration) {
    let wanted: BTreeSet<String> = survivors.iter().map(|&at| cluster.node(at).id()).collect();
    loop {
        let views: Vec<Value> =
            survivors.iter().map(|&at| wait_one(cluster, at, &wanted, start)).collect();
        let took = start.elapsed();
        if views.iter().all(|view| view["id"] == views[0]["id"]) {
            return (views[0].clone(), took);
        }
    }
}

fn wait_one(cluster: &Cluster, at: usize, wanted: &BTreeSet<String>, start: Instant) -> Value {
    loop {
        if let Some(view) = cluster.admin(at).view()
            && view["status"] == "active"
            && members(&view) == *wanted
        {
            return view;
        }
        assert!(start.elapsed() < PATIENCE, "node {at} installs no view of the survivors");
        std::thread::sleep(PAUSE);
    }
}

fn members(view: &Value) -> BTreeSet<String> {
    let all = view["members"].as_array().cloned().unwrap_or_default();
    all.iter().filter_map(|member| member["id"].as_str()).map(str::to_owned).collect()
}

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use lampyrid_tests::netns::{self, Network};
use lampyrid_tests::{Cluster, Options, Witness, eventually};
use serde_json::{Value, json};

/// What is promised of a process that has lost its quorum.
const ISOLATED_WITHIN: Duration = Duration::from_secs(3);

/// What was sent before a cut may still be answered for so long after it.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// A cluster on a network of its own.
pub(crate) struct Stage {
    pub(crate) cluster: Cluster,
    pub(crate) network: Network,
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
pub(crate) struct Moment {
    pub(crate) instant: Instant,
    wall: u64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        Self { instant: Instant::now(), wall: since.as_millis().try_into().expect("few bits") }
    }
}

impl Stage {
    /// That many processes of `program`, each in a network of its own, agreed on a view.
    pub(crate) fn set(size: usize, program: &str) -> Option<Self> {
        let network = Network::or_skip(size, 1)?;
        let mut cluster = Cluster::empty(program);
        for at in 0..size {
            let options = Options::default()
                .with("--listen", netns::listen(at).to_string())
                .flag("--allow-insecure-bind");
            cluster.add(options.at(network.place(at)));
        }
        cluster.wait_agreed();
        Some(Self { cluster, network })
    }

    pub(crate) fn epoch(&self, at: usize) -> u64 {
        self.view(at)["epoch"].as_u64().expect("an epoch")
    }

    pub(crate) fn view(&self, at: usize) -> Value {
        self.cluster.admin(at).view().expect("it answers")
    }

    pub(crate) fn coordinator(&self) -> usize {
        let (view, _) = self.cluster.wait_agreed();
        let id = view["coordinator"].as_str().expect("a coordinator");
        self.cluster.place_of(id).expect("it runs")
    }

    pub(crate) fn but(&self, some: &[usize]) -> Vec<usize> {
        (0..self.cluster.size()).filter(|at| !some.contains(at)).collect()
    }

    /// A bubble of each process, to write to.
    pub(crate) fn bubbles(&self) -> Vec<String> {
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
    pub(crate) fn wait_isolated(
        &self,
        witness: &Witness,
        fault: Moment,
        places: &[usize],
    ) -> Duration {
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
    pub(crate) fn hold(
        &self,
        fault: Moment,
        time: Duration,
        isolated: &[usize],
        bubbles: &[String],
    ) {
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
    pub(crate) fn assert_calm(&self, time: Duration) {
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
    pub(crate) fn assert_one_coordinator(&self, fault: Moment, healed: Moment, winners: &[usize]) {
        let all = self.registrations();
        let start = fault.wall + u64::try_from(ON_THE_WAY.as_millis()).expect("short");
        let mut coordinators = BTreeMap::new();
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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lampyrid_coordinator::{
    BroadcasterConfig, BroadcasterInput, BroadcasterOutput, CoordinatorInput, CoordinatorOutput,
};
use lampyrid_membership::{Status, View};
use lampyrid_registry::{
    Destination, Letter, RegistryError, RegistryInput, RegistryOutput, RegistryWire, Replica,
    Standing,
};
use lampyrid_wire::{BootNonce, BubbleId, ClusterId, Incarnation, Member, Peer, ProcessId, Term};

use crate::node::{Input, Node, Output, Part};
use crate::rng::Rng;

const BUBBLES: u64 = 8;
/// Simulated time after the faults within which everything must have fallen silent.
const SILENCE_WITHIN: Duration = Duration::from_secs(60);
/// Far more steps than any run takes; more would be a loop that never rests.
const MAX_STEPS: u64 = 1_000_000;

type Life = (ProcessId, Incarnation);

#[derive(Debug)]
enum Event {
    /// To whatever life of the process runs when it arrives.
    Letter(ProcessId, Letter),
    /// Between the actors of one life.
    Local(Life, Input),
    Wake(Life, Part, Duration),
    Install(Life, Standing),
}

/// Several processes, the views decided so far, and what must hold.
pub(crate) struct World {
    seed: u64,
    rng: Rng,
    now: Duration,
    events: BTreeMap<(Duration, u64), Event>,
    number: u64,
    nodes: BTreeMap<ProcessId, Node>,
    incarnations: BTreeMap<ProcessId, Incarnation>,
    view: Arc<View>,
    faulty: bool,
    config: BroadcasterConfig,
    /// Per life and request: the processes that ever stored it.
    stores: BTreeMap<(Life, u64), BTreeSet<ProcessId>>,
    /// Per bubble: the life to which it was acknowledged, until that gives it up.
    acknowledged: BTreeMap<BubbleId, Life>,
    pub(crate) answers: u64,
    /// The lives that ran; what has ended never runs again.
    started: BTreeSet<Life>,
}

fn member((process, incarnation): Life) -> Member {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    Member { process, incarnation, name: String::new(), address, admin: None }
}

fn peer((process, incarnation): Life) -> Peer {
    Peer { process, incarnation, nonce: BootNonce(incarnation.0) }
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

impl World {
    pub(crate) fn new(seed: u64, full_mesh_limit: usize) -> Self {
        let mut rng = Rng::new(seed);
        let size = 3 + rng.below(5);
        let lives: Vec<Life> =
            (1..=size).map(|p| (ProcessId::from_u128(p.into()), Incarnation(1))).collect();
        let cluster = ClusterId::from_u128(u128::from(seed) + 1);
        let first = View::first(cluster, "simulated", member(lives[0]));
        let mut world = Self {
            seed,
            rng,
            now: Duration::ZERO,
            events: BTreeMap::new(),
            number: 0,
            nodes: BTreeMap::new(),
            incarnations: lives.iter().copied().collect(),
            view: Arc::new(first),
            faulty: true,
            config: BroadcasterConfig { full_mesh_limit },
            stores: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            answers: 0,
            started: BTreeSet::new(),
        };
        world.decide(lives);
        world
    }

    /// Decides the next view; its members install it each in its own time. Lives that do not run
    /// yet start then.
    fn decide(&mut self, lives: Vec<Life>) {
        let members = lives.iter().copied().map(member).collect();
        let Some(view) = self.view.successor(members) else { return };
        self.view = Arc::new(view);
        for life in lives {
            let delay = self.rng.below(if self.faulty { 400 } else { 20 });
            self.install(life, Status::Active, delay);
        }
    }

    fn install(&mut self, life: Life, status: Status, delay: u64) {
        let standing = Standing { me: life, status, view: Some(Arc::clone(&self.view)) };
        self.later(millis(delay), Event::Install(life, standing));
    }

    fn later(&mut self, delay: Duration, event: Event) {
        self.number += 1;
        self.events.insert((self.now + delay, self.number), event);
    }

    /// A few seconds of everything that can go wrong.
    pub(crate) fn faults(&mut self) {
        for _ in 0..60 {
            let pause = millis(5 + self.rng.below(150));
            self.run_for(pause);
            match self.rng.below(100) {
                0..50 => self.register(),
                50..65 => self.change_view(),
                65..75 => self.crash(),
                75..90 => self.restart_actor(),
                _ => self.flap(),
            }
        }
    }

    /// Everybody is back, in one view, over a network without faults.
    pub(crate) fn heal(&mut self) {
        self.faulty = false;
        let mut lives = Vec::new();
        for process in self.incarnations.keys().copied().collect::<Vec<_>>() {
            lives.push(self.life_to_admit(process));
        }
        self.decide(lives);
        self.run_for(millis(500));
        // Whoever was isolated last is back as well.
        for process in self.incarnations.keys().copied().collect::<Vec<_>>() {
            self.install((process, self.incarnations[&process]), Status::Active, 0);
        }
    }

    /// The life of a process for the next view: the running one if it is a member, else a new one.
    fn life_to_admit(&mut self, process: ProcessId) -> Life {
        let now = self.incarnations[&process];
        let goes_on = self.nodes.contains_key(&process) && self.view.lists(process, now);
        let life = (process, if goes_on { now } else { now.next() });
        self.incarnations.insert(process, life.1);
        life
    }

    fn some_process(&mut self) -> ProcessId {
        let at = self.rng.below(self.incarnations.len() as u64);
        ProcessId::from_u128(u128::from(at) + 1)
    }

    fn register(&mut self) {
        let process = self.some_process();
        let Some(node) = self.nodes.get(&process) else { return };
        let life = node.standing.me;
        let mut bubbles = None;
        if self.rng.chance(90) {
            let count = self.rng.below(4);
            bubbles = Some(
                (0..count)
                    .map(|_| BubbleId::from_u128(1 + u128::from(self.rng.below(BUBBLES))))
                    .collect::<BTreeSet<_>>(),
            );
        }
        if node_accepts(&self.nodes[&process]) {
            let kept = bubbles.clone().unwrap_or_default();
            self.acknowledged.retain(|bubble, owner| *owner != life || kept.contains(bubble));
        }
        self.number += 1;
        let (token, limit) = (self.number, millis(200 + self.rng.below(5_000)));
        let input =
            RegistryInput::Register { token, bubbles, occupied: None, permitted: true, limit };
        self.step(life, Input::Registry(input));
    }

    /// Removes one or two members, running or not, and admits one or two others, as far as a
    /// quorum of the view stays.
    fn change_view(&mut self) {
        let mut lives: BTreeMap<ProcessId, Incarnation> =
            self.view.members().iter().map(Member::key).collect();
        let out = self.some_process();
        if self.rng.chance(60) {
            lives.remove(&out);
        }
        let back = self.some_process();
        if self.rng.chance(60) && back != out {
            let life = self.life_to_admit(back);
            lives.insert(life.0, life.1);
        }
        if self.view.is_quorum(lives.keys()) {
            self.decide(lives.into_iter().collect());
        }
    }

    fn crash(&mut self) {
        let process = self.some_process();
        let alive = self.nodes.len();
        if alive > 2 {
            self.nodes.remove(&process);
        }
    }

    fn restart_actor(&mut self) {
        let process = self.some_process();
        let part = Part::ALL[usize::try_from(self.rng.below(3)).unwrap_or_default()];
        let Some(node) = self.nodes.get_mut(&process) else { return };
        let life = node.standing.me;
        let out = node.restart(self.now, part);
        self.perform(life, out);
    }

    fn flap(&mut self) {
        let process = self.some_process();
        let Some(node) = self.nodes.get(&process) else { return };
        let mut standing = node.standing.clone();
        let life = standing.me;
        standing.status = Status::Isolated;
        self.later(Duration::ZERO, Event::Install(life, standing.clone()));
        standing.status = Status::Active;
        let pause = millis(self.rng.below(300));
        self.later(pause, Event::Install(life, standing));
    }

    fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((&(at, _), _)) = self.events.first_key_value() {
            if at > until {
                break;
            }
            self.next_event();
        }
        self.now = until;
    }

    /// Runs until nothing is under way and no timer is set.
    pub(crate) fn settle(&mut self) {
        let limit = self.now + SILENCE_WITHIN;
        while !self.events.is_empty() {
            self.next_event();
            assert!(self.now <= limit, "seed {}: never silent", self.seed);
        }
        for (process, node) in &self.nodes {
            for part in Part::ALL {
                assert_eq!(node.deadline(part), None, "seed {}: {process} {part:?}", self.seed);
            }
        }
    }

    fn next_event(&mut self) {
        let Some(((at, _), event)) = self.events.pop_first() else { return };
        self.now = at;
        assert!(self.number < MAX_STEPS, "seed {}: no rest", self.seed);
        match event {
            Event::Letter(to, letter) => {
                let Some(node) = self.nodes.get(&to) else { return };
                let life = node.standing.me;
                let input = match letter.message.destination() {
                    Destination::Registry => Input::Registry(RegistryInput::Letter(letter)),
                    Destination::Coordinator => {
                        Input::Coordinator(CoordinatorInput::Letter(letter))
                    }
                    Destination::Broadcaster => {
                        Input::Broadcaster(BroadcasterInput::Letter(letter))
                    }
                };
                self.step(life, input);
            }
            Event::Local(life, input) => self.step(life, input),
            Event::Wake(life, part, due) => {
                let current = self.nodes.get(&life.0).filter(|node| node.standing.me == life);
                if current.is_some_and(|node| node.deadline(part) == Some(due)) {
                    self.step(
                        life,
                        match part {
                            Part::Registry => Input::Registry(RegistryInput::Wake),
                            Part::Coordinator => Input::Coordinator(CoordinatorInput::Wake),
                            Part::Broadcaster => Input::Broadcaster(BroadcasterInput::Wake),
                        },
                    );
                }
            }
            Event::Install(life, standing) => self.install_now(life, standing),
        }
    }

    fn install_now(&mut self, life: Life, standing: Standing) {
        // Another life was admitted before this one installed the view, or it is an old view.
        if self.incarnations[&life.0] != life.1 {
            return;
        }
        let Some(node) = self.nodes.get_mut(&life.0) else {
            if standing.status == Status::Active && self.started.insert(life) {
                let offset = i64::try_from(self.rng.below(400)).unwrap_or_default() - 200;
                let (node, out) = Node::start(self.now, standing, self.config.clone(), offset);
                self.nodes.insert(life.0, node);
                self.perform(life, out);
                self.set_wakes(life);
            }
            return;
        };
        if standing.precedes(&node.standing) {
            return;
        }
        self.started.insert(life);
        node.standing = standing.clone();
        // Each actor is told by a message of its own, in no certain order.
        let inputs = [
            Input::Registry(RegistryInput::View(standing.clone())),
            Input::Coordinator(CoordinatorInput::View(standing.clone())),
            Input::Broadcaster(BroadcasterInput::View(standing)),
        ];
        for input in inputs {
            let delay = millis(self.rng.below(3));
            self.later(delay, Event::Local(life, input));
        }
    }

    fn step(&mut self, life: Life, input: Input) {
        let permitted = !(self.faulty && self.rng.chance(5));
        let Some(node) = self.nodes.get_mut(&life.0).filter(|node| node.standing.me == life) else {
            return;
        };
        let out = node.step(self.now, permitted, input);
        self.perform(life, out);
        self.set_wakes(life);
    }

    fn set_wakes(&mut self, life: Life) {
        for part in Part::ALL {
            let due = self.nodes.get(&life.0).and_then(|node| node.deadline(part));
            if let Some(due) = due {
                self.later(due.saturating_sub(self.now), Event::Wake(life, part, due));
            }
        }
    }

    fn perform(&mut self, life: Life, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Registry(output) => self.perform_registry(life, output),
                Output::Coordinator(CoordinatorOutput::Send(to, term, message))
                | Output::Broadcaster(BroadcasterOutput::Send(to, term, message)) => {
                    self.send(life, to, term, message);
                }
                Output::Coordinator(CoordinatorOutput::Publish(publication)) => {
                    if let Some(node) = self.nodes.get_mut(&life.0) {
                        node.published(publication.version.sequence);
                    }
                    let input = Input::Broadcaster(BroadcasterInput::Publish(publication));
                    self.later(Duration::ZERO, Event::Local(life, input));
                }
                Output::Broadcaster(BroadcasterOutput::Store(letter)) => {
                    let input = Input::Registry(RegistryInput::Letter(letter));
                    self.later(Duration::ZERO, Event::Local(life, input));
                }
                Output::Broadcaster(BroadcasterOutput::Acknowledged(version)) => {
                    let input = Input::Coordinator(CoordinatorInput::Acknowledged(version));
                    self.later(Duration::ZERO, Event::Local(life, input));
                }
                Output::Coordinator(_) | Output::Broadcaster(_) => {}
            }
        }
    }

    fn perform_registry(&mut self, life: Life, output: RegistryOutput) {
        match output {
            RegistryOutput::Install(replica, own) => {
                self.check_replica(life, &replica);
                for (&process, entry) in &replica.entries {
                    let key = ((process, entry.incarnation), entry.request);
                    self.stores.entry(key).or_default().insert(life.0);
                }
                if let Some(node) = self.nodes.get_mut(&life.0) {
                    node.stored = (replica, own);
                }
            }
            RegistryOutput::Send(to, term, message) => self.send(life, to, term, message),
            RegistryOutput::Answer(_, Ok(()) | Err(RegistryError::BubbleClaimed { .. })) => {
                self.check_answer(life);
            }
            _ => {}
        }
    }

    fn send(&mut self, life: Life, to: ProcessId, term: Term, message: RegistryWire) {
        let letter = Letter { from: peer(life), term, message };
        if to == life.0 {
            return self.later(Duration::ZERO, Event::Letter(to, letter));
        }
        let copies = if !self.faulty {
            1
        } else {
            u64::from(!self.rng.chance(15)) + u64::from(self.rng.chance(10))
        };
        for _ in 0..copies {
            let slow = self.faulty && self.rng.chance(5);
            let delay = 1 + self.rng.below(if slow { 2_000 } else { 30 });
            self.later(millis(delay), Event::Letter(to, letter.clone()));
        }
    }

    /// No bubble has two hosts, and nobody is listed who is not in the view of the reader.
    fn check_replica(&self, life: Life, replica: &Replica) {
        let mut hosts = BTreeMap::new();
        for (&process, entry) in &replica.entries {
            for &bubble in entry.bubbles.iter().flat_map(|bubbles| bubbles.keys()) {
                let other = hosts.insert(bubble, process);
                assert_eq!(other, None, "seed {}: two hosts of {bubble}", self.seed);
            }
            let view =
                self.nodes.get(&life.0).and_then(|node| node.registry.standing().view.clone());
            assert!(
                view.is_none_or(|view| view.lists(process, entry.incarnation)),
                "seed {}: {process} is listed at {} although it is not in its view",
                self.seed,
                life.0,
            );
        }
    }

    /// What is answered is stored by a quorum, and no bubble of it was acknowledged to another
    /// process of the newest view.
    fn check_answer(&mut self, life: Life) {
        self.answers += 1;
        let Some(node) = self.nodes.get(&life.0) else { return };
        // A new life begins for each actor when it is told of the view that admits it.
        let life = node.registry.standing().me;
        let own = node.registry.own();
        let key = (life, own.request());
        let stores = self.stores.get(&key).cloned().unwrap_or_default();
        let view = node.registry.standing().view.clone();
        assert!(
            view.is_some_and(|view| view.is_quorum(&stores)),
            "seed {}: answered with {stores:?}",
            self.seed
        );
        if !self.view.lists(life.0, life.1) {
            return;
        }
        let entry = node.registry.replica().entries.get(&life.0);
        let bubbles = entry.and_then(|entry| entry.set()).unwrap_or_default();
        for bubble in bubbles {
            if let Some(owner) = self.acknowledged.insert(bubble, life) {
                assert!(
                    owner == life || !self.view.lists(owner.0, owner.1),
                    "seed {}: {bubble} was acknowledged to {owner:?} and now to {life:?}",
                    self.seed,
                );
            }
        }
    }

    /// All hold the same, which is what everybody asked for and was acknowledged.
    pub(crate) fn check_agreement(&self) {
        let seed = self.seed;
        let mut replicas = self.nodes.values().map(|node| node.registry.replica());
        let first = replicas.next();
        assert_eq!(self.nodes.len(), self.incarnations.len());
        assert!(replicas.all(|other| Some(other) == first), "seed {seed}: replicas differ");
        for (process, node) in &self.nodes {
            assert!(!node.registry.own().is_open(), "seed {seed}: {process} is still asking");
            let request = node.registry.own().request();
            let line = first.and_then(|replica| replica.entries.get(process));
            assert_eq!(line.map_or(0, |line| line.request), request, "seed {seed}: {process}");
        }
        for (bubble, owner) in &self.acknowledged {
            if !self.view.lists(owner.0, owner.1) {
                continue;
            }
            let line = first.and_then(|replica| replica.entries.get(&owner.0));
            let hosted = line
                .and_then(|line| line.bubbles.as_ref())
                .is_some_and(|bubbles| bubbles.contains_key(bubble));
            assert!(hosted, "seed {seed}: {bubble} was acknowledged to {owner:?} and is not there");
        }
    }
}

fn node_accepts(node: &Node) -> bool {
    node.registry.standing().is_active()
}

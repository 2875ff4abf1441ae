use std::time::Duration;

use lampyrid_wire::EntityId;

use super::check::{Violation, violation};
use super::world::{Asked, BUBBLES, Frame, World, term};
use crate::{Flaw, Input, Membership, Request};

/// Rounds in which the phase without faults must come to its end.
const QUIET_ROUNDS: usize = 20_000;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Processes.
    pub size: usize,
    /// Faults, operations and deliveries before the phase without faults.
    pub events: usize,
    /// A rule to break.
    pub flaw: Option<Flaw>,
}

impl Options {
    /// Three processes and 1,500 events.
    #[must_use]
    pub fn seed(seed: u64) -> Self {
        Self { seed, size: 3, events: 1_500, flaw: None }
    }

    /// One line that runs this again.
    #[must_use]
    pub fn reproduce(&self) -> String {
        let Self { seed, size, events, .. } = self;
        format!(
            "LAMPYRID_SEED={seed} LAMPYRID_SIZE={size} LAMPYRID_EVENTS={events} cargo test -p lampyrid-migration \
             one_seed -- --ignored --nocapture"
        )
    }
}

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Steps of cores.
    pub steps: u64,
    /// Entities created.
    pub entities: usize,
    /// Moves that came to their end among the faults.
    pub moves: u64,
}

/// What a seed is inclined to.
pub(crate) struct Mood {
    views: usize,
    crashes: usize,
    leaps: usize,
    replays: usize,
}

impl Mood {
    /// To nothing but work.
    pub(crate) fn calm() -> Self {
        Self { views: 0, crashes: 0, leaps: 0, replays: 0 }
    }
}

/// Runs one seed: faults first, then none.
///
/// # Errors
/// The first broken invariant.
pub fn run(options: Options) -> Result<Summary, Violation> {
    let mut world = World::new(options.seed, options.size, options.flaw);
    let mood = Mood {
        views: world.random.below(4),
        crashes: world.random.below(4),
        leaps: world.random.below(2),
        replays: world.random.below(6),
    };
    world.loss = [0, 5, 20, 40][world.random.below(4)];
    world.repeat = [0, 10, 30][world.random.below(3)];
    world.delay = [5, 50, 500, 3_000][world.random.below(4)];
    if world.random.percent(30) {
        const KINDS: [&str; 5] = ["staged", "commit", "activated", "abort", "doubt_answers"];
        world.mostly_lost = world.random.pick(&KINDS);
    }
    for _ in 0..options.events {
        world.event(&mood);
        world.check()?;
    }
    let moves = world.truth.values().map(|truth| truth.epoch).sum();
    world.settle()?;
    world.probe()?;
    world.compact()?;
    Ok(Summary { steps: world.steps, entities: world.truth.len(), moves })
}

/// A few moves between two of three processes, without other faults; one of them is crashed when
/// its disk comes to that transaction, before or after it is durable. `None` when there is no such
/// transaction.
///
/// # Errors
/// The first broken invariant.
pub fn run_with_crash_at(
    seed: u64,
    process: usize,
    transaction: u64,
    after: bool,
) -> Result<Option<Summary>, Violation> {
    let mut world = World::new(seed, 3, None);
    for _ in 0..3 {
        world.create(0);
    }
    world.settle()?;
    let before = world.processes[process].synced;
    world.crash_at = Some((process, before + transaction, after));
    let ids: Vec<EntityId> = world.truth.keys().copied().collect();
    world.migrate(0, &ids, (1, 0));
    world.quiesce(true)?;
    world.migrate(1, &ids[..1], (0, 1));
    world.migrate(1, &ids[1..], (0, 0));
    world.quiesce(true)?;
    let crashed = world.crash_at.is_none();
    world.settle()?;
    world.probe()?;
    let summary = Summary { steps: world.steps, entities: world.truth.len(), moves: 0 };
    Ok(crashed.then_some(summary))
}

impl World {
    /// One thing happens.
    pub(crate) fn event(&mut self, mood: &Mood) {
        let process = self.random.below(self.processes.len());
        match self.random.below(100) {
            0..40 => self.deliver_some(),
            40..64 => {
                let count = 1 + self.random.below(4);
                self.sync(process, count);
            }
            64..70 => self.advance(),
            70..84 => self.work(process),
            84..86 if mood.crashes > 0 => self.fall_or_rise(process),
            86..88 if mood.crashes > 0 => self.restart_actor(process),
            88 if mood.views > 0 => self.change_view(),
            89..95 => {
                let view = self.view.clone();
                self.give_view(process, view);
            }
            95 if mood.views > 1 && self.random.percent(30) => {
                let view = Membership { active: false, ..self.processes[process].view.clone() };
                self.give_view(process, view);
            }
            96 if mood.leaps > 0 => self.leap(),
            97..100 if mood.replays > 0 => self.replay(),
            _ => self.deliver_some(),
        }
    }

    fn deliver_some(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            let due: Vec<usize> =
                (0..self.net.len()).filter(|&n| self.net[n].at <= self.now).collect();
            match self.random.pick(&due) {
                Some(n) => {
                    let frame = self.net.swap_remove(n);
                    self.deliver(frame);
                }
                None => return self.advance(),
            }
        }
    }

    /// On to the next moment at which something is due.
    fn advance(&mut self) {
        let wakes = self.processes.iter().filter_map(|process| process.live.as_ref());
        let wakes = wakes.filter_map(|live| live.core.deadline());
        let next = wakes.chain(self.net.iter().map(|frame| frame.at)).min();
        if let Some(next) = next {
            self.now = self.now.max(next);
        }
        for process in 0..self.processes.len() {
            let live = self.processes[process].live.as_ref();
            let due = live.and_then(|live| live.core.deadline()).is_some_and(|at| at <= self.now);
            if due {
                self.input(process, Input::Wake);
            }
        }
    }

    /// A caller does something.
    fn work(&mut self, process: usize) {
        let ids: Vec<EntityId> = self.truth.keys().copied().collect();
        let here: Vec<EntityId> = self.processes[process].disk.entities.keys().copied().collect();
        let pick = |random: &mut super::Random| match random.percent(90) {
            true => random.pick(&here),
            false => random.pick(&ids),
        };
        match self.random.below(20) {
            0..3 if ids.len() < 12 => self.create(process),
            0..8 => {
                if let Some(id) = pick(&mut self.random) {
                    self.put(process, id);
                }
            }
            8 if ids.len() > 6 && self.random.percent(20) => {
                if let Some(id) = pick(&mut self.random) {
                    self.delete(process, id);
                }
            }
            _ => {
                let count = 1 + self.random.below(4);
                let chosen: Vec<EntityId> =
                    (0..count).filter_map(|_| pick(&mut self.random)).collect();
                let to = (self.random.below(self.processes.len()), self.random.below(BUBBLES));
                self.migrate(process, &chosen, to);
            }
        }
    }

    fn fall_or_rise(&mut self, process: usize) {
        if self.processes[process].live.is_some() {
            return self.crash(process);
        }
        self.rise(process);
        if self.random.percent(80) {
            self.change_view();
        }
    }

    pub(crate) fn rise(&mut self, process: usize) {
        let it = &mut self.processes[process];
        it.incarnation = it.incarnation.next();
        self.start(process);
    }

    /// The actor alone is restarted by its supervisor: same life, same view.
    fn restart_actor(&mut self, process: usize) {
        if self.processes[process].live.is_some() {
            self.crash(process);
            self.start(process);
        }
    }

    pub(crate) fn change_view(&mut self) {
        let mut members = self.view.members.clone();
        for n in 0..self.processes.len() {
            let (id, incarnation) = (self.processes[n].id, self.processes[n].incarnation);
            let alive = self.processes[n].live.is_some();
            match (alive, self.random.percent(if alive { 92 } else { 20 })) {
                (true, true) => {
                    members.insert(id, incarnation);
                }
                (_, false) => {
                    // A process that was removed comes back as another life of itself.
                    if alive && members.remove(&id).is_some() {
                        self.processes[n].incarnation = incarnation.next();
                    }
                    members.remove(&id);
                }
                (false, true) => {}
            }
        }
        let epoch = self.view.term.epoch.0 + 1;
        self.view = Membership { active: true, term: term(epoch), members };
    }

    /// Long enough for everything to be forgotten.
    fn leap(&mut self) {
        if self.random.percent(30) {
            self.now += Duration::from_secs(301);
            for process in 0..self.processes.len() {
                self.request(process, Request::Audit, Asked::Other);
            }
        }
    }

    /// Old messages come again, some of them in their old order; the sender's session may be
    /// another one by now, but the view may still be the same.
    fn replay(&mut self) {
        if self.log.is_empty() {
            return;
        }
        let from = self.random.below(self.log.len());
        let count = 1 + self.random.below(12);
        for n in from..(from + count).min(self.log.len()) {
            if self.random.percent(70) {
                let frame = Frame { at: self.now, ..self.log[n].clone() };
                match self.random.percent(50) {
                    true => self.deliver(frame),
                    false => self.net.push(frame),
                }
            }
        }
    }

    /// No more faults: everybody is back, in one view, and everything comes to its end.
    pub(crate) fn settle(&mut self) -> Result<(), Violation> {
        (self.loss, self.repeat, self.delay) = (0, 0, 5);
        self.mostly_lost = None;
        self.crash_at = None;
        for process in 0..self.processes.len() {
            if self.processes[process].live.is_none() {
                self.rise(process);
            }
        }
        let lives = self.processes.iter().map(|process| (process.id, process.incarnation));
        let members = lives.collect();
        let epoch = self.view.term.epoch.0 + 1;
        self.view = Membership { active: true, term: term(epoch), members };
        for process in 0..self.processes.len() {
            let view = self.view.clone();
            self.give_view(process, view);
        }
        self.quiesce(false)?;
        self.check_quiet()
    }

    /// Delivers, syncs and waits until nothing is left to do. A process that crashes meanwhile
    /// (if that is wanted) comes back in the next view.
    fn quiesce(&mut self, crashes: bool) -> Result<(), Violation> {
        for _ in 0..QUIET_ROUNDS {
            let down = self.processes.iter().position(|process| process.live.is_none());
            if let (true, Some(process)) = (crashes, down) {
                self.rise(process);
                let mut members = self.view.members.clone();
                members.insert(self.processes[process].id, self.processes[process].incarnation);
                let epoch = self.view.term.epoch.0 + 1;
                self.view = Membership { active: true, term: term(epoch), members };
                for process in 0..self.processes.len() {
                    let view = self.view.clone();
                    self.give_view(process, view);
                }
            }
            if self.is_quiet() {
                return self.check();
            }
            for frame in std::mem::take(&mut self.net) {
                self.now = self.now.max(frame.at);
                self.deliver(frame);
            }
            for process in 0..self.processes.len() {
                self.sync(process, usize::MAX);
                self.check()?;
            }
            if self.net.is_empty() {
                self.advance();
            }
        }
        violation("the phase without faults does not come to its end".to_owned())
    }

    /// Every entity can still be moved.
    pub(crate) fn probe(&mut self) -> Result<(), Violation> {
        let ids: Vec<EntityId> = self.truth.keys().copied().collect();
        for id in ids {
            for _ in 0..self.processes.len() {
                let Some(owner) = self.owner(id) else { continue };
                let before = self.truth.get(&id).map_or(0, |truth| truth.epoch);
                self.migrate(owner, &[id], ((owner + 1) % self.processes.len(), 0));
                self.quiesce(false)?;
                let after = self.truth.get(&id).map_or(0, |truth| truth.epoch);
                if after != before + 1 {
                    return violation(format!("{id:?} cannot be moved away from {owner}"));
                }
            }
        }
        self.check_quiet()
    }

    /// In the end everything is forgotten, and the entities are still there.
    pub(crate) fn compact(&mut self) -> Result<(), Violation> {
        for _ in 0..4 {
            self.now += Duration::from_secs(301);
            for _ in 0..64 {
                for process in 0..self.processes.len() {
                    self.request(process, Request::Audit, Asked::Other);
                }
            }
            self.quiesce(false)?;
        }
        for (n, process) in self.processes.iter().enumerate() {
            let disk = &process.disk;
            let kept = disk.sagas.len() + disk.parts.len() + disk.activations.len();
            if kept + disk.moved.len() + disk.keys.len() > 0 {
                return violation(format!("process {n} forgets nothing: {kept} rows"));
            }
        }
        self.check_quiet()
    }
}

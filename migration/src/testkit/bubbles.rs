use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use lampyrid_wire::{BubbleId, EntityId, Incarnation, ProcessId};

use super::check::{Violation, violation};
use super::crash::{Comeback, CrashPoint};
use super::faults::Mood;
use super::run::{Options, Summary};
use super::world::{Asked, BUBBLES, World, bubble_of, term};
use crate::{BubbleMovePhase, Input, Membership, Request};

/// The registry as it is promised: one host for each bubble, whom only its release or the view ends.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    hosts: BTreeMap<BubbleId, (ProcessId, Incarnation)>,
    /// The life of each process that has registered.
    known: BTreeMap<ProcessId, Incarnation>,
    /// Processes whose set has changed.
    pub(crate) pending: VecDeque<usize>,
    /// Processes that have nothing left.
    pub(crate) drained: Vec<usize>,
}

impl World {
    /// The process that the registry names.
    pub(crate) fn host_of(&self, bubble: BubbleId) -> Option<ProcessId> {
        let host = self.registry.hosts.get(&bubble)?;
        (self.view.members.get(&host.0) == Some(&host.1)).then_some(host.0)
    }

    /// A process registers on every admission.
    pub(crate) fn admitted(&mut self, process: usize) {
        let it = &self.processes[process];
        let known = self.registry.known.get(&it.id) == Some(&it.incarnation);
        if it.view.active && !known {
            self.registry.known.insert(it.id, it.incarnation);
            self.registry.pending.push_back(process);
        }
    }

    /// Those who wait for it are registered, as far as they are members.
    pub(crate) fn register_pending(&mut self) {
        for _ in 0..self.registry.pending.len() {
            if let Some(process) = self.registry.pending.pop_front() {
                self.register(process);
            }
        }
    }

    fn register(&mut self, process: usize) {
        let it = &self.processes[process];
        let me = (it.id, it.incarnation);
        if !self.runs(process) || !it.view.active || it.view.term != self.view.term {
            self.registry.pending.push_back(process);
            return;
        }
        let hosted: BTreeSet<BubbleId> = it.disk.bubbles.clone();
        let members = &self.view.members;
        let hosts = &mut self.registry.hosts;
        hosts.retain(|_, host| members.get(&host.0) == Some(&host.1));
        hosts.retain(|bubble, host| *host != me || hosted.contains(bubble));
        let mut claimed = BTreeMap::new();
        for &bubble in &hosted {
            let host = *hosts.entry(bubble).or_insert(me);
            if host != me {
                claimed.insert(bubble, host.0);
            }
        }
        for (&bubble, &by) in &claimed {
            self.input(process, Input::BubbleClaimed(bubble, by));
        }
        self.input(process, Input::Registered { hosted, claimed });
    }

    /// Crashes a process at that transaction of its disk from now on; it comes back as another life.
    pub(crate) fn crash_soon(&mut self, process: usize, transaction: u64, after: bool) {
        let transaction = self.processes[process].synced + transaction;
        self.crashes.push_back(CrashPoint { process, transaction, after });
        self.comeback = Comeback::NextView;
    }

    /// True if somebody waits for the registry who can be registered now.
    pub(crate) fn is_registering(&self) -> bool {
        let current = |it: &super::world::Process| it.view.active && it.view.term == self.view.term;
        let mut pending = self.registry.pending.iter();
        pending.any(|&n| self.runs(n) && current(&self.processes[n]))
    }

    /// A view of these members, installed by all of them that run.
    pub(crate) fn next_view(&mut self, members: BTreeMap<ProcessId, Incarnation>) {
        let epoch = self.view.term.epoch.0 + 1;
        self.view = Membership { active: true, term: term(epoch), members };
        for process in 0..self.processes.len() {
            let view = self.view.clone();
            self.give_view(process, view);
        }
    }

    /// Every entity can still be moved, one after the other.
    fn probe_each(&mut self) -> Result<(), Violation> {
        let ids: Vec<EntityId> = self.truth.keys().copied().collect();
        for id in ids {
            for _ in 0..self.processes.len() {
                let Some(owner) = self.owner(id) else { continue };
                let before = self.truth.get(&id).map_or(0, |truth| truth.epoch);
                let to = self.somewhere_else(owner, id);
                self.migrate(owner, &[id], to);
                self.quiesce()?;
                let after = self.truth.get(&id).map_or(0, |truth| truth.epoch);
                if after != before + 1 {
                    let bubble = bubble_of(to.0, to.1);
                    let host = self.host_of(bubble);
                    let row = self.processes[owner].disk.entities.get(&id);
                    let sagas = self.processes[owner].disk.sagas.values();
                    let refused = sagas.last().map(|saga| (saga.to, saga.refused.clone()));
                    return violation(format!(
                        "{id:?} cannot be moved from {owner} to {bubble:?} at {host:?}: {before}, {after}, \
                         {row:?}, {refused:?}"
                    ));
                }
            }
        }
        self.check_quiet()
    }

    /// One of the bubbles of a process.
    pub(crate) fn some_bubble(&mut self, process: usize) -> BubbleId {
        let bubble = bubble_of(process, self.random.below(BUBBLES));
        let hosted = &self.processes[process].disk.bubbles;
        match hosted.contains(&bubble) || hosted.is_empty() {
            true => bubble,
            false => hosted.iter().next().copied().unwrap_or(bubble),
        }
    }

    /// The home and number of a bubble that the entity is not in and that somebody hosts.
    pub(crate) fn somewhere_else(&self, owner: usize, id: EntityId) -> (usize, usize) {
        let size = self.processes.len();
        let row = self.processes[owner].disk.entities.get(&id);
        let all = (0..size * BUBBLES).map(|n| ((owner + 1 + n) % size, n / size));
        let mut other = all.filter(|&(home, n)| {
            let bubble = bubble_of(home, n);
            row.is_none_or(|row| row.bubble != bubble) && self.host_of(bubble).is_some()
        });
        other.next().unwrap_or(((owner + 1) % size, 0))
    }

    /// Asks a process to move a bubble.
    pub(crate) fn move_bubble(&mut self, process: usize, bubble: BubbleId, to: usize) {
        let (to, host) = (self.processes[to].id, self.host_of(bubble));
        self.request(process, Request::MoveBubble { bubble, to, host }, Asked::Other);
    }

    /// Something happens to a bubble.
    fn bubble_event(&mut self) {
        let size = self.processes.len();
        let process = self.random.below(size);
        for gone in std::mem::take(&mut self.registry.drained) {
            self.crash(gone);
        }
        match self.random.below(12) {
            10 if self.random.percent(30) => {
                self.request(process, Request::Drain, Asked::Other);
            }
            11 => {
                self.request(process, Request::CancelDrain, Asked::Other);
            }
            0..5 => self.register_pending(),
            5..=9 => {
                let rows = self.processes[process].disk.entities.values();
                let mut here: Vec<BubbleId> = rows.map(|row| row.bubble).collect();
                here.extend(&self.processes[process].disk.bubbles);
                if let Some(bubble) = self.random.pick(&here) {
                    let to = self.random.below(size);
                    self.move_bubble(process, bubble, to);
                }
            }
            _ => {
                let moving: Vec<BubbleId> =
                    self.processes[process].disk.moves.keys().copied().collect();
                if let Some(bubble) = self.random.pick(&moving) {
                    self.request(process, Request::CancelMove(bubble), Asked::Other);
                }
            }
        }
    }

    /// Everybody is up, and nobody gives everything away any more.
    fn stay(&mut self) {
        for process in 0..self.processes.len() {
            self.processes[process].frozen = false;
            if self.registry.drained.contains(&process) {
                self.crash(process);
            }
            if self.processes[process].live.is_none() {
                self.rise(process);
            }
            self.request(process, Request::CancelDrain, Asked::Other);
            self.sync(process, usize::MAX);
        }
        self.registry.drained.clear();
    }

    /// Every bubble has its host, who knows it; nothing of a move is left open.
    pub(crate) fn check_bubbles(&self) -> Result<(), Violation> {
        for (n, process) in self.processes.iter().enumerate() {
            let open = process.disk.moves.iter().find(|(_, row)| row.phase.is_open());
            if let Some((bubble, row)) = open {
                return violation(format!(
                    "process {n}: the move of {bubble:?} never ends: {row:?}"
                ));
            }
            let open = process.disk.incoming.iter().find(|(_, row)| row.phase.is_open());
            if let Some((bubble, row)) = open {
                return violation(format!("process {n}: {bubble:?} never arrives: {row:?}"));
            }
        }
        for home in 0..self.processes.len() {
            for bubble in (0..BUBBLES).map(|n| bubble_of(home, n)) {
                let host = self.host_of(bubble);
                let knows = self.processes.iter().find(|process| Some(process.id) == host);
                if !knows.is_some_and(|process| process.disk.bubbles.contains(&bubble)) {
                    let known = self.processes.iter().map(|it| {
                        let disk = &it.disk;
                        let hosts = disk.bubbles.contains(&bubble);
                        (hosts, disk.moves.get(&bubble), disk.incoming.get(&bubble))
                    });
                    let known: Vec<_> = known.collect();
                    let what = "is hosted by nobody";
                    return violation(format!("{bubble:?} {what} ({host:?}): {known:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Runs one seed in which whole bubbles move among the other faults and moves.
///
/// # Errors
/// The first broken invariant.
pub fn run_bubbles(options: Options) -> Result<Summary, Violation> {
    let mut world = World::new(options.seed, options.size, options.flaw);
    world.register_pending();
    let mood = Mood::new(&mut world.random);
    world.take_mood(&mood);
    for _ in 0..options.events {
        match world.random.percent(8) {
            true => world.bubble_event(),
            false => world.event(&mood),
        }
        world.check()?;
    }
    let moves = world.truth.values().map(|truth| truth.epoch).sum();
    world.stay();
    world.settle(None)?;
    world.check_bubbles()?;
    world.probe_each()?;
    world.compact()?;
    world.check_bubbles()?;
    Ok(Summary { steps: world.steps, entities: world.truth.len(), moves })
}

/// A bubble moves there, and back; one of the two processes is crashed when its disk comes to that
/// transaction, before or after it is durable. `None` when there is no such transaction.
///
/// # Errors
/// The first broken invariant.
pub fn run_bubbles_with_crash_at(
    seed: u64,
    process: usize,
    transaction: u64,
    after: bool,
) -> Result<Option<Summary>, Violation> {
    let mut world = World::new(seed, 3, None);
    world.register_pending();
    for _ in 0..4 {
        world.create(0);
    }
    world.settle(None)?;
    world.crash_soon(process, transaction, after);
    let bubble = bubble_of(0, 0);
    for (from, to) in [(0, 1), (1, 0)] {
        // A crash may have come before the request was recorded; then it is made again.
        let mut tries = 0;
        while world.host_of(bubble) != Some(world.processes[to].id) {
            world.move_bubble(from, bubble, to);
            world.quiesce()?;
            tries += 1;
            if tries > 4 {
                return violation(format!("{bubble:?} does not get from {from} to {to}"));
            }
        }
    }
    let crashed = world.crashes.is_empty();
    world.settle(None)?;
    world.check_bubbles()?;
    world.probe_each()?;
    let summary = Summary { steps: world.steps, entities: world.truth.len(), moves: 0 };
    Ok(crashed.then_some(summary))
}

/// The giver dies in the middle, after `parts` messages of the taker's: the bubble is hosted where
/// what went serves, and the rest follows when the giver returns.
///
/// # Errors
/// The first broken invariant.
pub fn run_giver_away(deliveries: usize) -> Result<bool, Violation> {
    let mut world = World::new(3, 3, None);
    world.register_pending();
    for _ in 0..4 {
        world.create(0);
    }
    world.settle(None)?;
    let bubble = bubble_of(0, 0);
    world.move_bubble(0, bubble, 1);
    for _ in 0..deliveries {
        world.sync(0, usize::MAX);
        world.sync(1, usize::MAX);
        if world.net.is_empty() {
            break;
        }
        let frame = world.net.remove(0);
        world.now = world.now.max(frame.at);
        world.deliver(frame);
    }
    let row = world.processes[0].disk.moves.get(&bubble);
    let open = row.is_some_and(|row| row.phase == BubbleMovePhase::Moving);
    let taken = world.processes[1].disk.incoming.contains_key(&bubble);
    world.crash(0);
    world.net.clear();
    let mut members = world.view.members.clone();
    members.remove(&world.processes[0].id);
    world.next_view(members);
    world.processes[0].live = None;
    for _ in 0..20 {
        world.register_pending();
        world.sync(1, usize::MAX);
        world.sync(2, usize::MAX);
    }
    let there = world.host_of(bubble) == Some(world.processes[1].id);
    if taken && !there {
        return violation(format!("after {deliveries} deliveries {bubble:?} has no host"));
    }
    world.now += Duration::from_secs(1);
    world.settle(None)?;
    world.check_bubbles()?;
    let here = world.processes[0].disk.entities.values().filter(|row| row.bubble == bubble).count();
    if taken && here > 0 {
        return violation(format!("{here} entities did not follow their bubble"));
    }
    Ok(open && taken)
}

use std::time::Duration;

use lampyrid_wire::EntityId;

use super::check::{Violation, violation};
use super::crash::Comeback;
use super::faults::LEAP;
use super::world::{Live, Process, World, term};
use crate::{Input, Membership};

/// Rounds in which a phase without faults must come to its end.
const QUIET_ROUNDS: usize = 20_000;

/// How long an actor is away that does not come back at once: others lose patience and ask.
const AWAY: Duration = Duration::from_secs(5);

/// Spans of time in which everything must be forgotten.
const LEAPS_MAX: usize = 8;

impl World {
    /// No more faults: everybody is back, or all but one that stays dead, in one view, and
    /// everything comes to its end.
    pub(crate) fn settle(&mut self, dead: Option<usize>) -> Result<(), Violation> {
        self.tell(|| format!("no more faults; dead: {dead:?}"));
        (self.loss, self.repeat, self.delay) = (0, 0, 5);
        self.mostly_lost = None;
        self.cut = &[];
        self.crashes.clear();
        self.comeback = Comeback::Never;
        for process in 0..self.processes.len() {
            self.processes[process].frozen = false;
            if dead == Some(process) {
                self.crash(process);
            } else if self.processes[process].live.is_none() {
                self.rise(process);
            }
        }
        self.give_next_view();
        self.quiesce()?;
        self.check_quiet()
    }

    /// All that live, in one view.
    fn give_next_view(&mut self) {
        let living = self.processes.iter().filter(|process| process.live.is_some());
        let members = living.map(|process| (process.id, process.incarnation)).collect();
        let epoch = self.view.term.epoch.0 + 1;
        self.view = Membership { active: true, term: term(epoch), members };
        for process in 0..self.processes.len() {
            if self.runs(process) {
                let view = self.view.clone();
                self.give_view(process, view);
            }
        }
    }

    /// Delivers, syncs and waits until nothing is left to do; those who crash meanwhile come back
    /// as that was planned.
    pub(crate) fn quiesce(&mut self) -> Result<(), Violation> {
        for _ in 0..QUIET_ROUNDS {
            self.come_back(false);
            self.round()?;
            if self.is_quiet() && !self.come_back(true) {
                return Ok(());
            }
        }
        violation("the phase without faults does not come to its end".to_owned())
    }

    /// The same for some time, whatever is left to do then.
    pub(crate) fn go_on_for(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.now + time;
        while self.now < end && !self.is_quiet() {
            self.come_back(false);
            self.round()?;
        }
        Ok(())
    }

    /// Delivers all that is on its way, syncs all, and looks.
    pub(crate) fn turn(&mut self) -> Result<(), Violation> {
        for frame in std::mem::take(&mut self.net) {
            self.now = self.now.max(frame.at);
            self.deliver(frame);
        }
        self.register_pending();
        for process in 0..self.processes.len() {
            self.sync(process, usize::MAX);
        }
        self.check()
    }

    fn round(&mut self) -> Result<(), Violation> {
        self.turn()?;
        if self.net.is_empty() && !self.is_quiet() {
            self.advance();
        }
        Ok(())
    }

    /// Whoever is down comes back; true if somebody did.
    fn come_back(&mut self, all_is_quiet: bool) -> bool {
        let down = self.processes.iter().position(|process| process.live.is_none());
        let Some(process) = down else { return false };
        match (self.comeback, all_is_quiet) {
            (Comeback::LateActor, false) if self.now < self.crashed + AWAY => false,
            (Comeback::Actor | Comeback::LateActor, _) => {
                self.start(process);
                true
            }
            (Comeback::NextView, _) | (Comeback::Late, true) => {
                self.rise(process);
                self.give_next_view();
                true
            }
            (Comeback::Late, false) => {
                if self.view.members.contains_key(&self.processes[process].id) {
                    self.give_next_view();
                }
                false
            }
            (Comeback::Never, _) => false,
        }
    }

    /// Nothing to deliver, to sync or to wait for.
    fn is_quiet(&self) -> bool {
        let is_quiet = |live: &Live| {
            let synced = live.unsynced.is_empty() && live.outbox.len() == 0;
            synced && live.core.deadline().is_none()
        };
        self.net.is_empty()
            && !self.is_registering()
            && self.processes.iter().all(|process| process.live.as_ref().is_none_or(is_quiet))
    }

    /// Every entity of somebody who lives can be moved on, at the first try, by everybody who
    /// lives in turn.
    pub(crate) fn probe(&mut self) -> Result<(), Violation> {
        let living: Vec<usize> = (0..self.processes.len()).filter(|&n| self.runs(n)).collect();
        for _ in 0..living.len() {
            let mut moved = Vec::new();
            for (place, &process) in living.iter().enumerate() {
                let disk = &self.processes[process].disk;
                let ids: Vec<EntityId> = disk.entities.keys().copied().collect();
                let epochs = disk.entities.values().map(|row| row.epoch);
                moved.extend(ids.iter().copied().zip(epochs));
                if !ids.is_empty() {
                    self.migrate(process, &ids, (living[(place + 1) % living.len()], 0));
                }
            }
            self.quiesce()?;
            for (id, before) in moved {
                let owner = self.owner(id);
                let row = owner.and_then(|n| self.processes[n].disk.entities.get(&id));
                if row.is_none_or(|row| row.epoch != before.next()) {
                    return violation(format!("{id} cannot be moved from epoch {before}: {row:?}"));
                }
            }
        }
        self.check_quiet()
    }

    /// In the end everything is forgotten, and the entities are still there.
    pub(crate) fn compact(&mut self) -> Result<(), Violation> {
        for _ in 0..LEAPS_MAX {
            self.now += LEAP;
            for _ in 0..4 {
                for process in 0..self.processes.len() {
                    self.input(process, Input::Wake);
                }
            }
            self.quiesce()?;
            let kept = |process: &Process| {
                let disk = &process.disk;
                let kept = disk.sagas.len() + disk.parts.len() + disk.activations.len();
                kept + disk.moved.len() + disk.keys.len() + disk.moves.len() + disk.incoming.len()
            };
            if self.processes.iter().map(kept).sum::<usize>() == 0 {
                return self.check_quiet();
            }
        }
        violation("outcomes are never forgotten".to_owned())
    }
}

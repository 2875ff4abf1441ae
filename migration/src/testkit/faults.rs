use std::time::Duration;

use lampyrid_wire::EntityId;

use super::random::Random;
use super::world::{BUBBLES, Frame, World, term};
use crate::{Input, Membership};

/// Entities at most; few, so that the same ones move again and again.
const ENTITIES_MAX: usize = 6;

/// Longer than anything is kept.
pub(crate) const LEAP: Duration = Duration::from_secs(301);

/// What a seed is inclined to.
#[derive(Debug)]
pub(crate) struct Mood {
    views: usize,
    crashes: usize,
    freezes: usize,
    leaps: usize,
    replays: usize,
    deletes: bool,
    lost: Option<&'static str>,
    loss: usize,
    repeat: usize,
    delay: u64,
}

impl Mood {
    /// To nothing but work.
    pub(crate) fn calm() -> Self {
        Self {
            views: 0,
            crashes: 0,
            freezes: 0,
            leaps: 0,
            replays: 0,
            deletes: false,
            lost: None,
            loss: 0,
            repeat: 0,
            delay: 5,
        }
    }

    pub(crate) fn new(random: &mut Random) -> Self {
        const KINDS: [&str; 6] =
            ["staged", "commit", "activated", "abort", "doubt", "doubt_answers"];
        Self {
            views: random.below(4),
            crashes: random.below(4),
            freezes: random.below(3),
            leaps: random.below(3),
            replays: random.below(6),
            deletes: random.percent(30),
            lost: if random.percent(30) { random.pick(&KINDS) } else { None },
            loss: [0, 5, 20, 40][random.below(4)],
            repeat: [0, 10, 30][random.below(3)],
            delay: [5, 50, 500, 3_000][random.below(4)],
        }
    }
}

impl World {
    pub(crate) fn take_mood(&mut self, mood: &Mood) {
        self.tell(|| format!("{mood:?}"));
        (self.loss, self.repeat, self.delay) = (mood.loss, mood.repeat, mood.delay);
        self.mostly_lost = mood.lost;
    }

    /// One thing happens.
    pub(crate) fn event(&mut self, mood: &Mood) {
        let process = self.random.below(self.processes.len());
        match self.random.below(100) {
            0..36 => self.deliver_some(mood),
            36..66 => self.sync_some(),
            66..70 => self.advance(),
            70..78 => self.work(mood, process),
            78..83 => self.recover(mood, process),
            83..85 if mood.crashes > 0 => self.fall_or_rise(process),
            85..87 if mood.crashes > 0 => self.restart_actor(process),
            87 if mood.freezes > 0 => self.freeze_or_thaw(process),
            88 if mood.views > 0 => self.change_view(),
            89..95 => {
                let view = self.view.clone();
                if self.runs(process) {
                    self.give_view(process, view);
                }
            }
            95 if mood.views > 1 && self.random.percent(30) => {
                let view = Membership { active: false, ..self.processes[process].view.clone() };
                self.give_view(process, view);
            }
            96 if mood.leaps > 0 => self.leap(),
            97..100 if mood.replays > 0 => self.replay(mood),
            _ => self.deliver_some(mood),
        }
    }

    /// Somebody who has something to sync does, unless it is stopped.
    fn sync_some(&mut self) {
        let unsynced = |n: &usize| {
            let live = self.processes[*n].live.as_ref();
            self.runs(*n) && live.is_some_and(|live| !live.unsynced.is_empty())
        };
        let some: Vec<usize> = (0..self.processes.len()).filter(unsynced).collect();
        if let Some(process) = self.random.pick(&some) {
            let count = 1 + self.random.below(4);
            self.sync(process, count);
        }
    }

    /// Whoever is down or stopped goes on soon.
    fn recover(&mut self, mood: &Mood, process: usize) {
        if self.processes[process].frozen {
            self.freeze_or_thaw(process);
        } else if self.processes[process].live.is_none() && mood.crashes > 0 {
            self.fall_or_rise(process);
        }
    }

    fn deliver_some(&mut self, mood: &Mood) {
        for _ in 0..1 + self.random.below(4) {
            let due: Vec<usize> =
                (0..self.net.len()).filter(|&n| self.net[n].at <= self.now).collect();
            match self.random.pick(&due) {
                Some(n) => {
                    let frame = self.net.swap_remove(n);
                    self.deliver(frame);
                }
                None if self.random.percent(60) => {
                    let process = self.random.below(self.processes.len());
                    return self.work(mood, process);
                }
                None => return self.advance(),
            }
        }
    }

    /// On to the next moment at which something is due.
    pub(crate) fn advance(&mut self) {
        let running = (0..self.processes.len()).filter(|&n| self.runs(n));
        let wakes = running.filter_map(|n| self.processes[n].live.as_ref()?.core.deadline());
        let next = wakes.chain(self.net.iter().map(|frame| frame.at)).min();
        if let Some(next) = next {
            self.now = self.now.max(next);
        }
        self.wake(|deadline, now| deadline.is_some_and(|at| at <= now));
    }

    fn wake(&mut self, whom: impl Fn(Option<Duration>, Duration) -> bool) {
        for process in 0..self.processes.len() {
            let live = self.processes[process].live.as_ref().filter(|_| self.runs(process));
            if live.is_some_and(|live| whom(live.core.deadline(), self.now)) {
                self.input(process, Input::Wake);
            }
        }
    }

    /// A caller does something.
    fn work(&mut self, mood: &Mood, process: usize) {
        let owns = |n: &usize| self.runs(*n) && !self.processes[*n].disk.entities.is_empty();
        let owners: Vec<usize> = (0..self.processes.len()).filter(owns).collect();
        let process = match self.random.percent(80) {
            true => self.random.pick(&owners).unwrap_or(process),
            false => process,
        };
        if !self.runs(process) {
            return;
        }
        let ids: Vec<EntityId> = self.truth.keys().copied().collect();
        let here: Vec<EntityId> = self.processes[process].disk.entities.keys().copied().collect();
        let pick = |random: &mut Random| match random.percent(90) {
            true => random.pick(&here),
            false => random.pick(&ids),
        };
        match self.random.below(20) {
            0 if ids.len() < ENTITIES_MAX => self.create(process),
            0..8 => {
                if let Some(id) = pick(&mut self.random) {
                    self.put(process, id);
                }
            }
            8 if mood.deletes && ids.len() > 3 && self.random.percent(20) => {
                if let Some(id) = pick(&mut self.random) {
                    self.delete(process, id);
                }
            }
            _ => {
                let count = 1 + self.random.below(4);
                let chosen: Vec<EntityId> =
                    (0..count).filter_map(|_| pick(&mut self.random)).collect();
                let to = (self.random.below(self.processes.len()), self.random.below(BUBBLES));
                let key = self.random.percent(10).then(|| format!("{to:?} {chosen:?}"));
                self.migrate_with(process, &chosen, to, key);
            }
        }
    }

    fn fall_or_rise(&mut self, process: usize) {
        if self.processes[process].live.is_some() {
            return self.crash(process);
        }
        // Its actor alone had fallen, or all of it.
        if self.random.percent(40) {
            return self.start(process);
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
            if self.random.percent(70) {
                self.start(process);
            }
        }
    }

    fn freeze_or_thaw(&mut self, process: usize) {
        if self.processes[process].live.is_some() {
            self.processes[process].frozen ^= true;
            self.tell(|| format!("{process} frozen: {}", self.processes[process].frozen));
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
        self.tell(|| format!("the next view is {:?}", self.view));
    }

    /// Long enough for everything to be forgotten.
    fn leap(&mut self) {
        if self.random.percent(60) {
            self.now += LEAP;
            self.tell(|| "a long time passes".to_owned());
            self.wake(|_, _| true);
            if self.random.percent(50) {
                // Time enough to talk as well, so that both sides forget.
                for _ in 0..4 {
                    for frame in std::mem::take(&mut self.net) {
                        self.deliver(frame);
                    }
                    (0..self.processes.len()).for_each(|process| self.sync(process, usize::MAX));
                    self.advance();
                }
            }
        }
    }

    /// Old messages come again, some of them in their old order, of one move or of many; the
    /// sender's session may be another one by now, but the view may still be the same.
    fn replay(&mut self, mood: &Mood) {
        if self.log.is_empty() {
            return;
        }
        let from = self.random.below(self.log.len());
        let part = self.log[from].message.part().filter(|_| self.random.percent(60));
        if part.is_some() && mood.crashes > 0 && self.random.percent(30) {
            self.restart_actor(self.log[from].to);
        }
        let from = if part.is_some() { 0 } else { from };
        let count = if part.is_some() { self.log.len() } else { 1 + self.random.below(12) };
        for n in from..(from + count).min(self.log.len()) {
            let wanted = part.is_none() || self.log[n].message.part() == part;
            if wanted && self.random.percent(70) {
                let frame = Frame { at: self.now, ..self.log[n].clone() };
                match self.random.percent(50) {
                    true => self.deliver(frame),
                    false => self.net.push(frame),
                }
            }
        }
    }
}

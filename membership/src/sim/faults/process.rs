use std::time::Duration;

use super::super::{Event, Sim, Violation};

impl Sim {
    /// A machine is gone: its process ends, and nobody is told.
    pub fn unplug(&mut self, place: usize) {
        if self.stop(place) {
            self.say(|| format!("{place} is unplugged"));
            self.processes[place].unplugged = true;
            self.doubt_sessions(Some(place));
        }
    }

    /// Stops a process for a while without ending it; what arrives waits.
    pub fn freeze_for(&mut self, place: usize, span: Duration) {
        if self.processes[place].run.is_none() {
            return;
        }
        self.say(|| format!("{place} freezes for {span:?}"));
        let until = self.processes[place].frozen_until.unwrap_or_default().max(self.now + span);
        self.processes[place].frozen_until = Some(until);
        self.doubt_sessions(Some(place));
    }

    /// For a while the timers of a process are late by 50 ms to 3 s; messages are not.
    pub fn stall_for(&mut self, place: usize, span: Duration) {
        self.say(|| format!("{place} stalls for {span:?}"));
        self.processes[place].stalls_until = self.now + span;
    }

    /// The clock of a process jumps forward.
    pub fn jump_clock(&mut self, place: usize, span: Duration) {
        self.say(|| format!("the clock of {place} jumps by {span:?}"));
        self.processes[place].ahead += span;
        // What is due already by the new time comes at once.
        let subjects: Vec<_> = match &mut self.processes[place].run {
            Some(run) => {
                run.alarm = None;
                run.edges.values_mut().for_each(|edge| edge.alarm = None);
                run.edges.keys().copied().collect()
            }
            None => Vec::new(),
        };
        self.set_alarm(place);
        for subject in subjects {
            self.set_edge_alarm(place, subject);
        }
    }

    pub(super) fn power_loss(&mut self) {
        let count = self.places();
        (0..count).for_each(|place| self.crash(place));
        if self.random.chance(500) {
            // Most come back together, one or two later.
            let (late, later) = (self.random.index(count), self.random.index(count));
            for place in 0..count {
                let after = if place == late || place == later { 4_000_000 } else { 100_000 };
                let after = self.random.between(after / 10, after);
                self.after(after, Event::Restart(place));
            }
        }
    }

    pub(super) fn boot_any(&mut self) -> Result<(), Violation> {
        let down: Vec<usize> =
            (0..self.places()).filter(|&at| self.processes[at].run.is_none()).collect();
        if down.is_empty() {
            return Ok(());
        }
        let all = self.random.chance(300);
        let chosen = self.random.index(down.len());
        for (index, place) in down.into_iter().enumerate() {
            if all || index == chosen {
                self.boot(place)?;
            }
        }
        Ok(())
    }
}

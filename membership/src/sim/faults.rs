use std::time::Duration;

use super::{Event, Sim, Violation};

impl Sim {
    /// One thing goes wrong, or is mended; then the next one is due.
    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        if !self.chaotic {
            return Ok(());
        }
        let count = self.processes.len();
        let one = self.pick(count);
        let other = self.pick(count);
        match self.random.below(100) {
            0..=24 => self.crash(one),
            25..=54 => self.boot_any()?,
            55..=57 => (0..count).for_each(|place| self.crash(place)),
            58..=64 => self.partition(),
            65..=76 => self.mend(),
            77..=82 if one != other => {
                self.say(|| format!("link {one}-{other} breaks"));
                self.block(one, other);
                if self.random.chance(600) {
                    self.block(other, one);
                }
            }
            83..=90 => {
                let span = self.random.between(100_000, 6_000_000);
                if self.processes[one].run.is_some() {
                    self.freeze(one, span);
                }
            }
            91..=93 => self.leave(one)?,
            94..=97 if one != other => self.drop_session(one, other),
            _ => {}
        }
        let pause = if self.random.chance(self.plan.bursts) {
            (1_000, 60_000)
        } else {
            (60_000, 2_000_000)
        };
        let pause = self.random.between(pause.0, pause.1);
        self.after(pause, Event::Fault);
        Ok(())
    }

    /// Ends all faults: everything runs, everything is connected.
    ///
    /// # Errors
    /// [`Violation`].
    pub fn heal(&mut self) -> Result<(), Violation> {
        self.say(|| "all is mended".to_owned());
        self.chaotic = false;
        self.mend();
        // Whoever is frozen thaws and whoever is leaving goes first; a process that left is
        // started again.
        self.run_until(self.now + Duration::from_secs(7))?;
        for place in 0..self.processes.len() {
            self.boot(place)?;
        }
        Ok(())
    }

    /// Cuts the processes in two sides that do not hear each other.
    pub fn partition_into(&mut self, side: impl Fn(usize) -> bool) {
        for a in 0..self.processes.len() {
            for b in 0..self.processes.len() {
                if side(a) != side(b) {
                    self.block(a, b);
                }
            }
        }
    }

    /// Two processes do not hear each other any more.
    pub fn break_link(&mut self, a: usize, b: usize) {
        self.block(a, b);
        self.block(b, a);
    }

    /// Ends all partitions.
    pub fn mend(&mut self) {
        self.blocked.clear();
    }

    /// Stops a process for a while without ending it.
    pub fn freeze_for(&mut self, place: usize, span: Duration) {
        self.freeze(place, span);
    }

    fn partition(&mut self) {
        let sides = self.random.draw();
        self.say(|| format!("partition {:b}", sides & ((1 << self.processes.len()) - 1)));
        self.partition_into(|place| sides >> place & 1 == 0);
    }

    fn boot_any(&mut self) -> Result<(), Violation> {
        let down: Vec<usize> =
            (0..self.processes.len()).filter(|&at| self.processes[at].run.is_none()).collect();
        if down.is_empty() {
            return Ok(());
        }
        let all = self.random.chance(300);
        let chosen = self.pick(down.len());
        for (index, place) in down.into_iter().enumerate() {
            if all || index == chosen {
                self.boot(place)?;
            }
        }
        Ok(())
    }

    fn drop_session(&mut self, a: usize, b: usize) {
        let found = self.sessions.iter().find(|(_, session)| session.joins(a) && session.joins(b));
        if let Some((&id, _)) = found {
            self.say(|| format!("session {a}-{b} drops"));
            self.close_session(id);
        }
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).unwrap_or(0)
    }
}

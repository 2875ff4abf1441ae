//! What goes wrong, by chance or as told.

mod network;
mod process;
mod set;

pub use self::set::{Fault, FaultSet};

use std::time::Duration;

use super::{Event, Sim, Violation};

impl Sim {
    /// One thing goes wrong, or is mended; then the next one is due.
    pub(super) fn fault(&mut self) -> Result<(), Violation> {
        if !self.chaotic {
            return Ok(());
        }
        if let Some(fault) = self.plan.faults.draw(&mut self.random) {
            let one = self.random.index(self.places());
            self.inflict(fault, one)?;
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

    fn inflict(&mut self, fault: Fault, one: usize) -> Result<(), Violation> {
        match fault {
            Fault::Crash => self.crash(one),
            Fault::HostLoss => self.unplug(one),
            Fault::PowerLoss => self.power_loss(),
            Fault::Restart => self.boot_any()?,
            Fault::Leave => self.leave(one)?,
            Fault::Freeze => {
                let span = self.random.between(50_000, 6_000_000);
                self.freeze_for(one, span);
            }
            Fault::Stall => {
                let span = self.random.between(1_000_000, 10_000_000);
                self.stall_for(one, span);
            }
            Fault::ClockJump => {
                let span = self.random.between(1_000, 10_000_000);
                self.jump_clock(one, span);
            }
            Fault::Partition => self.partition_somehow(),
            Fault::BreakLink => self.break_somehow(one),
            Fault::HeavyLoss => self.lose_heavily(one),
            Fault::OneWay => self.cut_one_way(one),
            Fault::FlipFlop => self.flip_somehow(one),
            Fault::DropSession => self.drop_session(one),
            Fault::Mend => self.mend(),
        }
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
        for process in &mut self.processes {
            process.stalls_until = Duration::ZERO;
        }
        // Whoever is frozen thaws and whoever is leaving goes first; a process that left is
        // started again.
        self.run_until(self.now + Duration::from_secs(7))?;
        for place in 0..self.processes.len() {
            self.boot(place)?;
        }
        Ok(())
    }
}

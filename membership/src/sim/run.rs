use std::time::Duration;

use super::{Event, Plan, Sim, Violation};

/// A simulation that broke a promise.
#[derive(Debug, thiserror::Error)]
#[error(
    "seed {}, {} processes, at {at:?}: {violation}\nreproduce: LAMPYRID_SIM_SEED={}{} cargo test -p lampyrid-membership --test simulation one_seed -- --nocapture",
    plan.seed,
    plan.processes,
    plan.seed,
    if plan.contended { " LAMPYRID_SIM_CONTENDED=1" } else { "" }
)]
pub struct Failure {
    /// What was simulated.
    pub plan: Plan,
    /// When, in simulated time.
    pub at: Duration,
    /// What.
    pub violation: Violation,
}

/// What a simulation came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    /// Views agreed on.
    pub views: usize,
    /// Events simulated.
    pub events: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// From the end of the faults to one view with everybody in it.
    pub healed_in: Duration,
}

impl Sim {
    /// Runs the whole plan: form, faults, heal.
    ///
    /// # Errors
    /// [`Failure`], with the line that reproduces it.
    pub fn run(mut self) -> Result<Outcome, Box<Failure>> {
        let result = self.phases();
        let (plan, at) = (self.plan, self.now);
        result.map_err(|violation| Box::new(Failure { plan, at, violation }))
    }

    fn phases(&mut self) -> Result<Outcome, Violation> {
        let late = self.plan.late_starters.min(self.processes.len() - 1);
        for process in 0..self.processes.len() - late {
            self.boot(process)?;
        }
        self.until_converged()?;
        self.chaotic = true;
        self.after(Duration::ZERO, Event::Fault);
        let end = self.now + self.plan.chaos;
        self.run_until(end)?;
        self.heal()?;
        let healed = self.now;
        self.until_converged()?;
        Ok(Outcome {
            views: self.checker.views.len(),
            events: self.events,
            delivered: self.delivered,
            healed_in: self.now - healed,
        })
    }
}

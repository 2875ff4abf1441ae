use std::sync::Arc;
use std::time::Duration;

use lampyrid_wire::ProcessId;

use super::process::{Process, Running};
use super::{Network, Sim, Traffic, Violation};
use crate::{Status, View, ViewState};

/// The longest a fault-free cluster may take to come together, in simulated time.
const CONVERGENCE: Duration = Duration::from_secs(40);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(5);

impl Sim {
    /// Lets time pass until all running processes are active in one view that has just them.
    ///
    /// # Errors
    /// [`Violation::NoConvergence`] after a generous time, or any other.
    pub fn until_converged(&mut self) -> Result<(), Violation> {
        self.until_converged_within(CONVERGENCE)
    }

    /// The same with a limit of one's own.
    ///
    /// # Errors
    /// [`Violation::NoConvergence`] after that time, or any other.
    pub fn until_converged_within(&mut self, limit: Duration) -> Result<(), Violation> {
        let end = self.now + limit;
        self.stirred = true;
        loop {
            if std::mem::take(&mut self.stirred) && self.converged() {
                return Ok(());
            }
            if self.now >= end {
                return Err(Violation::NoConvergence(self.picture()));
            }
            self.run_until(self.now + LOOK)?;
        }
    }

    /// True if all running processes are active members of one view and nobody else is.
    #[must_use]
    pub fn converged(&self) -> bool {
        let mut running = 0;
        let mut first: Option<&Arc<View>> = None;
        for run in self.running() {
            running += 1;
            let Some(state) = &run.shown else { return false };
            let Some(view) = &state.view else { return false };
            let same = first.is_none_or(|first| first.id() == view.id());
            if !same || state.status != Status::Active {
                return false;
            }
            first = Some(view);
        }
        first.is_some_and(|view| view.size() == running)
    }

    fn running(&self) -> impl Iterator<Item = &Running> {
        self.processes.iter().filter_map(|process| process.run.as_ref())
    }

    /// Simulated time.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// How many processes there are, running or not.
    #[must_use]
    pub fn places(&self) -> usize {
        self.processes.len()
    }

    /// What a process has published, if it runs.
    #[must_use]
    pub fn state(&self, process: usize) -> Option<&ViewState> {
        self.processes.get(process)?.run.as_ref()?.shown.as_ref()
    }

    /// The id of a process.
    #[must_use]
    pub fn id(&self, process: usize) -> ProcessId {
        self.processes[process].id
    }

    /// The place of a process.
    #[must_use]
    pub fn place_of(&self, id: ProcessId) -> Option<usize> {
        self.place(id)
    }

    /// All views that became durable anywhere, in the order of their epochs.
    pub fn views(&self) -> impl Iterator<Item = &Arc<View>> {
        self.checker.views.values()
    }

    /// Events simulated so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Messages delivered so far.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Counts bytes and messages from now on, from zero.
    pub fn count_traffic(&mut self) {
        self.traffic = Traffic::from(self.now, self.processes.len());
    }

    /// What was counted.
    #[must_use]
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Changes the network; sessions that something happens to are looked after.
    pub fn change_network(&mut self, change: impl FnOnce(&mut Network)) {
        change(&mut self.network);
        self.doubt_sessions(None);
    }

    pub(super) fn picture(&self) -> String {
        let line = |(at, process): (usize, &Process)| {
            let shown = process.run.as_ref().and_then(|run| run.shown.as_ref());
            let seen = shown.map_or_else(
                || "down".to_owned(),
                |state| {
                    let epoch = state.view.as_ref().map_or(0, |view| view.epoch().0);
                    let size = state.view.as_ref().map_or(0, |view| view.size());
                    format!(
                        "{:?} epoch {epoch} of {size}, incarnation {}, waits for {}",
                        state.status,
                        state.me.incarnation,
                        state.waiting_for.len()
                    )
                },
            );
            format!("[{at}: {seen}]")
        };
        // Enough to see what is wrong; a thousand lines are not read by anybody.
        self.processes.iter().enumerate().take(16).map(line).collect::<Vec<_>>().join(" ")
    }
}

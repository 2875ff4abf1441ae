//! Whole processes, their journals in real stores, on disks that fill up and fail to sync.

use super::check::Violation;
use super::disk::{Call, Fault, FaultError, Survival};
use super::faults::Mood;
use super::world::World;

/// What is wrong with the disks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// They fail to sync.
    FailedSyncs,
    /// They fill up.
    FullDisks,
}

/// What a run with failing disks did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FailingSummary {
    /// Commits that failed.
    pub failures: u64,
    /// Moves that came to their end among the failures.
    pub moves: u64,
    /// Times that a machine went down after a failure.
    pub power_cuts: u64,
}

/// Two processes at work while their disks fail: first with failures, then without any. A process
/// whose commit fails does nothing that depends on it, opens its store again, and believes what it
/// reads; now and then its machine goes down right after that.
///
/// # Errors
/// The first broken invariant.
pub fn run_failing(
    seed: u64,
    events: usize,
    trouble: Trouble,
) -> Result<FailingSummary, Violation> {
    let mut world = World::stored(seed, 2);
    let mood = Mood::calm();
    (world.loss, world.delay) = ([0, 5, 20][world.random.below(3)], [5, 50][world.random.below(2)]);
    let mut summary = FailingSummary::default();
    for _ in 0..events {
        if world.random.percent(6) {
            world.break_disk(trouble);
        }
        world.event(&mood);
        world.check()?;
        for process in 0..world.processes.len() {
            if world.processes[process].live.is_none() && world.random.percent(30) {
                summary.power_cuts += u64::from(world.mend(process));
                world.check()?;
            }
        }
    }
    summary.moves = world.truth.values().map(|truth| truth.epoch).sum();
    for process in &world.processes {
        if let Some(store) = &process.store {
            summary.failures += store.failures;
            store.disk().heal();
        }
    }
    world.settle(None)?;
    world.probe()?;
    world.compact()?;
    Ok(summary)
}

impl World {
    fn break_disk(&mut self, trouble: Trouble) {
        let process = self.random.below(self.processes.len());
        let random = &mut self.random;
        let Some(store) = &self.processes[process].store else { return };
        match trouble {
            Trouble::FailedSyncs => store.disk().fail(Fault {
                call: Call::Sync,
                nth: 1 + random.below(5) as u64,
                error: FaultError::Io,
                forever: random.percent(20),
            }),
            // Room for some more, or none even to overwrite (as where nothing is overwritten in
            // place).
            Trouble::FullDisks if random.percent(50) => {
                store.disk().fill_up(random.below(8) as u64);
            }
            Trouble::FullDisks => store.disk().fail(Fault {
                call: [Call::Write, Call::SetLen][random.below(2)],
                nth: 1 + random.below(30) as u64,
                error: FaultError::Full,
                forever: true,
            }),
        }
    }

    /// Tries to start a process that has failed, mostly after its disk was seen to. True if its
    /// machine went down first.
    fn mend(&mut self, process: usize) -> bool {
        let (heals, cut) = (self.random.percent(60), self.random.percent(25));
        let seed = self.random.number();
        let Some(store) = &mut self.processes[process].store else { return false };
        if heals {
            store.disk().heal();
        }
        if !cut {
            // The actor alone.
            self.start(process);
            return false;
        }
        // It may have opened its store once more before: what it read then stays true.
        if self.random.percent(50) {
            self.start(process);
            self.crash(process);
        }
        if let Some(store) = &mut self.processes[process].store {
            store.power_off(Survival::Random(seed));
        }
        self.rise(process);
        self.change_view();
        true
    }
}

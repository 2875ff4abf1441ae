use std::time::Duration;

use super::{FaultSet, Random};
use crate::Flaw;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// All chance comes from it.
    pub seed: u64,
    /// How many processes.
    pub processes: usize,
    /// How many of them start only while faults happen already.
    pub late_starters: usize,
    /// All join through the first process; otherwise each knows the one before it as well.
    pub one_seed: bool,
    /// How long faults happen.
    pub chaos: Duration,
    /// Which faults.
    pub faults: FaultSet,
    /// How many of 1,000 faults follow the one before at once.
    pub bursts: u64,
    /// How many of 1,000 durable writes end in a crash just before or just after.
    pub crashes_per_write: u64,
    /// How many of 1,000 messages are lost.
    pub loss: u64,
    /// How many of 1,000 messages are very late.
    pub stragglers: u64,
    /// How many of 1,000 messages arrive twice.
    pub repeats: u64,
    /// How many of 1,000 messages do not keep the order of their session.
    pub reordered: u64,
    /// How many of 1,000 messages may arrive seconds later, even after their session has ended.
    pub ghosts: u64,
    /// A rule left out, to see that it is missed.
    pub flaw: Option<Flaw>,
    /// Checks only what users would see (one chain of views, epochs that rise), not how it came
    /// about: what is then noticed of a missing rule is its harm.
    pub only_harm: bool,
    /// True of [`Plan::contended`]; for the line that reproduces it.
    pub contended: bool,
}

impl Plan {
    /// So many processes and nothing that goes wrong by itself.
    #[must_use]
    pub fn calm(seed: u64, processes: usize) -> Self {
        Self {
            seed,
            processes,
            late_starters: 0,
            one_seed: true,
            chaos: Duration::ZERO,
            faults: FaultSet::default(),
            bursts: 0,
            crashes_per_write: 0,
            loss: 0,
            stragglers: 0,
            repeats: 0,
            reordered: 0,
            ghosts: 0,
            flaw: None,
            only_harm: false,
            contended: false,
        }
    }

    /// The plan of a seed: two to nine processes, some seconds of faults of several kinds, which
    /// differ from seed to seed, because faults of all kinds at once hide each other.
    #[must_use]
    pub fn of_seed(seed: u64) -> Self {
        let random = &mut Random::new(seed ^ 0x5eed);
        let processes = 2 + random.index(8);
        let chaos = Duration::from_secs(8 + random.below(12));
        let crashes_per_write = random.one_of(&[5, 40, 120]);
        let stragglers = random.one_of(&[10, 50, 250]);
        let loss = random.one_of(&[10, 40, 250]);
        Self {
            late_starters: random.index((processes - 1).min(3)),
            one_seed: random.chance(300),
            chaos,
            faults: FaultSet::of_seed(random),
            bursts: 300,
            crashes_per_write,
            loss,
            stragglers,
            repeats: random.one_of(&[0, 50, 300]),
            reordered: random.one_of(&[0, 100, 1_000]),
            ghosts: random.one_of(&[0, 0, 10]),
            ..Self::calm(seed, processes)
        }
    }

    /// The plan of a seed whose faults are meant to leave votes of several ranks behind: many
    /// proposers at once, few of whom get through.
    #[must_use]
    pub fn contended(seed: u64) -> Self {
        Self {
            processes: if seed.is_multiple_of(2) { 3 } else { 4 },
            late_starters: 0,
            one_seed: false,
            chaos: Duration::from_secs(20),
            faults: FaultSet::CLASSIC,
            crashes_per_write: 150,
            stragglers: 100,
            repeats: 50,
            reordered: 1_000,
            ghosts: 0,
            loss: 100,
            bursts: 400,
            contended: true,
            ..Self::of_seed(seed)
        }
    }
}

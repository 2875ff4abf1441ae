use super::check::Violation;
use super::faults::Mood;
use super::world::World;
use crate::Flaw;

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Processes.
    pub size: usize,
    /// Faults, operations and deliveries before the phases without faults.
    pub events: usize,
    /// A rule to break.
    pub flaw: Option<Flaw>,
    /// Tell on standard error what happens.
    pub tells: bool,
}

impl Options {
    /// Two to four processes, most often three, and 300 events.
    #[must_use]
    pub fn seed(seed: u64) -> Self {
        let size = [3, 2, 3, 4][(seed % 4) as usize];
        Self { seed, size, events: 300, flaw: None, tells: false }
    }

    /// One line that runs this again and tells what happens.
    #[must_use]
    pub fn reproduce(&self) -> String {
        let Self { seed, size, events, flaw, .. } = self;
        let flaw = flaw.map(|flaw| format!(" --flaw {flaw:?}")).unwrap_or_default();
        format!(
            "cargo run --release -p lampyrid-tests --example moves_campaign -- --tell {seed} \
             --size {size} --events {events}{flaw}"
        )
    }
}

/// What a run did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Steps of cores.
    pub steps: u64,
    /// Entities created.
    pub entities: usize,
    /// Moves that came to their end among the faults.
    pub moves: u64,
}

/// Runs one seed: faults first, then none while one process may stay dead, then none at all.
///
/// # Errors
/// The first broken invariant.
pub fn run(options: Options) -> Result<Summary, Violation> {
    let mut world = World::new(options.seed, options.size, options.flaw);
    world.tells = options.tells;
    let mood = Mood::new(&mut world.random);
    for process in (0..options.size).chain([0]) {
        world.create(process);
        world.sync(process, usize::MAX);
    }
    world.take_mood(&mood);
    for _ in 0..options.events {
        world.event(&mood);
        world.check()?;
    }
    let moves = world.truth.values().map(|truth| truth.epoch).sum();
    if options.size > 2 && world.random.percent(60) {
        let dead = world.random.below(options.size);
        world.settle(Some(dead))?;
        world.probe()?;
    }
    world.settle(None)?;
    world.probe()?;
    world.compact()?;
    Ok(Summary { steps: world.steps, entities: world.truth.len(), moves })
}

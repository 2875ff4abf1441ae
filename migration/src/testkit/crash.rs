//! Crashes at every record boundary, enumerated.

use std::time::Duration;

use lampyrid_wire::EntityId;

use super::check::Violation;
use super::world::World;
use crate::Flaw;

/// The two processes of every story.
const SIZE: usize = 2;

/// A place at which a process crashes: at a transaction of its disk, counted from the begin of the
/// story.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrashPoint {
    /// Which process.
    pub process: usize,
    /// Which of its transactions, from 1.
    pub transaction: u64,
    /// Once it is durable, but before anything of what it allows was sent; otherwise before.
    pub after: bool,
}

/// How a process comes back that crashed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comeback {
    /// Not at all.
    Never,
    /// Its actor alone was gone: at once, in the same life and view.
    Actor,
    /// The same after a while, in which others ask it in vain.
    LateActor,
    /// At once, as another life in the next view.
    NextView,
    /// Once the other has done all it can in a view without it.
    Late,
}

impl Comeback {
    /// All in which it does.
    pub const ALL: [Self; 4] = [Self::Actor, Self::LateActor, Self::NextView, Self::Late];
}

/// Moves among which processes crash. Before each move something is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Story {
    /// One entity.
    One,
    /// Three of a request, one of which the destination refuses.
    Batch,
    /// Between two bubbles of one process.
    Local,
    /// A move whose answer never comes.
    Abort,
    /// From A to B, to A, and to B again.
    ThereAndBack,
    /// The same, and the first acknowledgement does not come until the second move is over.
    BackBeforeEnd,
}

impl Story {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::One, Self::Batch, Self::Local, Self::Abort, Self::ThereAndBack, Self::BackBeforeEnd];

    fn entities(self) -> usize {
        if self == Self::Batch { 3 } else { 1 }
    }

    fn tell(self, world: &mut World, ids: &[EntityId]) -> Result<(), Violation> {
        match self {
            Self::One | Self::Batch => world.go(ids, (1, 0)),
            Self::Local => world.go(ids, (0, 1)),
            Self::Abort => {
                world.cut = &["staged"];
                world.go(ids, (1, 0))?;
                world.cut = &[];
                world.quiesce()
            }
            Self::ThereAndBack => {
                world.go(ids, (1, 0))?;
                world.go(ids, (0, 0))?;
                world.go(ids, (1, 0))
            }
            Self::BackBeforeEnd => {
                world.cut = &["activated"];
                world.go_for(ids, (1, 0), Duration::from_secs(5))?;
                world.go_for(ids, (0, 0), Duration::from_secs(5))?;
                world.cut = &[];
                world.quiesce()?;
                world.go(ids, (1, 0))
            }
        }
    }

    /// The destination is left with a copy of one of the three, of a move that was aborted.
    fn prepare(self, world: &mut World, ids: &[EntityId]) -> Result<(), Violation> {
        if self == Self::Batch {
            world.cut = &["staged", "abort", "doubt"];
            world.migrate(0, &ids[1..2], (1, 0));
            world.go_on_for(Duration::from_secs(2))?;
            world.cut = &[];
        }
        Ok(())
    }
}

impl World {
    /// Whoever has them writes and moves them, each process those it has.
    fn ask_to_go(&mut self, ids: &[EntityId], to: (usize, usize)) -> Result<(), Violation> {
        for process in 0..SIZE {
            let here: Vec<EntityId> =
                ids.iter().copied().filter(|id| self.owner(*id) == Some(process)).collect();
            if !here.is_empty() && (process != to.0 || to.1 > 0) {
                here.iter().for_each(|id| self.put(process, *id));
                self.migrate(process, &here, to);
            }
        }
        self.check()
    }

    fn go(&mut self, ids: &[EntityId], to: (usize, usize)) -> Result<(), Violation> {
        self.ask_to_go(ids, to)?;
        self.quiesce()
    }

    fn go_for(
        &mut self,
        ids: &[EntityId],
        to: (usize, usize),
        time: Duration,
    ) -> Result<(), Violation> {
        self.ask_to_go(ids, to)?;
        self.go_on_for(time)
    }
}

/// What a story with crashes came to.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Crashes that happened.
    crashed: usize,
    /// Transactions of each process.
    transactions: [u64; SIZE],
}

/// Tells a story; the crashes happen one after the other.
fn told(
    story: Story,
    comeback: Comeback,
    crashes: &[CrashPoint],
    flaw: Option<Flaw>,
    tells: bool,
) -> Result<Told, Violation> {
    let mut world = World::new(7, SIZE, flaw);
    world.tells = tells;
    for _ in 0..story.entities() {
        world.create_in(0, 0);
    }
    world.quiesce()?;
    let ids: Vec<EntityId> = world.truth.keys().copied().collect();
    story.prepare(&mut world, &ids)?;
    let base: Vec<u64> = world.processes.iter().map(|process| process.synced).collect();
    let absolute = |at: &CrashPoint| {
        let transaction = base[at.process] + at.transaction;
        CrashPoint { transaction, ..*at }
    };
    world.crashes = crashes.iter().map(absolute).collect();
    world.comeback = comeback;
    story.tell(&mut world, &ids)?;
    let crashed = crashes.len() - world.crashes.len();
    let transactions = std::array::from_fn(|n| world.processes[n].synced - base[n]);
    world.settle(None)?;
    world.probe()?;
    world.compact()?;
    Ok(Told { crashed, transactions })
}

/// A story that went wrong.
#[derive(Clone, Debug)]
pub struct WentWrong {
    /// How it was told.
    pub story: Story,
    /// How processes came back.
    pub comeback: Comeback,
    /// Where they crashed.
    pub crashes: Vec<CrashPoint>,
    /// What went wrong.
    pub violation: Violation,
}

/// How much was enumerated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Enumerated {
    /// Runs with one crash.
    pub single: u64,
    /// Runs with two.
    pub pairs: u64,
}

/// What is done with crashes that happened.
type Each<'a> = dyn FnMut(&[CrashPoint]) -> Result<(), Box<WentWrong>> + 'a;

struct Enumeration {
    story: Story,
    comeback: Comeback,
    flaw: Option<Flaw>,
}

impl Enumeration {
    fn run(&self, crashes: &[CrashPoint]) -> Result<Told, Box<WentWrong>> {
        told(self.story, self.comeback, crashes, self.flaw, false).map_err(|violation| {
            let (story, comeback, crashes) = (self.story, self.comeback, crashes.to_vec());
            Box::new(WentWrong { story, comeback, crashes, violation })
        })
    }

    /// Every crash that can follow those, each once. Returns how many there are.
    fn each_next(&self, before: &[CrashPoint], each: &mut Each<'_>) -> Result<u64, Box<WentWrong>> {
        let mut count = 0;
        for process in 0..SIZE {
            for after in [false, true] {
                let mut transaction = 1;
                loop {
                    let mut crashes = before.to_vec();
                    crashes.push(CrashPoint { process, transaction, after });
                    let told = self.run(&crashes)?;
                    if told.crashed == crashes.len() {
                        count += 1;
                        each(&crashes)?;
                    } else if told.transactions[process] < transaction {
                        // Never so many transactions. (Fewer may have been before the last crash.)
                        break;
                    }
                    transaction += 1;
                }
            }
        }
        Ok(count)
    }
}

/// Tells a story once for every crash at a boundary of a record of either process, and once for
/// every pair of crashes.
///
/// # Errors
/// The first that went wrong.
pub fn crash_everywhere(
    story: Story,
    comeback: Comeback,
    flaw: Option<Flaw>,
) -> Result<Enumerated, Box<WentWrong>> {
    let enumeration = Enumeration { story, comeback, flaw };
    enumeration.run(&[])?;
    let mut pairs = 0;
    let single = enumeration.each_next(&[], &mut |first| {
        pairs += enumeration.each_next(first, &mut |_| Ok(()))?;
        Ok(())
    })?;
    Ok(Enumerated { single, pairs })
}

/// Tells a story on standard error.
///
/// # Errors
/// What goes wrong in it.
pub fn tell_crashes(
    story: Story,
    comeback: Comeback,
    crashes: &[CrashPoint],
    flaw: Option<Flaw>,
) -> Result<(), Violation> {
    told(story, comeback, crashes, flaw, true).map(|_| ())
}

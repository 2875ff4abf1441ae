//! A deterministic simulation of several processes' cores with journals that lose what was not
//! synced, over a network that loses, delays, repeats and reorders, under changing views, with
//! processes that crash, start again, or stop for a while.
//!
//! Everything follows from one seed. After every step the invariants are checked on what is
//! durable; after the faults comes a phase without any, in which one process may stay dead and all
//! else must come to its end, and one in which everything must.

pub use crate::core::{TIMELESS, minted};

mod bars;
mod bubbles;
mod callers;
mod campaign;
mod check;
mod crash;
mod disk;
mod drains;
mod failing;
mod faults;
mod means;
mod open_sagas;
mod quiet;
mod random;
mod run;
mod stored;
mod world;

#[cfg(test)]
mod bubble_tests;
#[cfg(test)]
mod tests;

pub use crate::journal::fuzz;
pub use bars::{Lost, run_bar};
pub use bubbles::{run_bubbles, run_bubbles_with_crash_at, run_giver_away};
pub use campaign::{Campaign, Failure, Report};
pub use check::Violation;
pub use crash::{
    Comeback, CrashPoint, Enumerated, Story, WentWrong, crash_everywhere, tell_crashes,
};
pub use disk::{Call, CrashDisk, Fault, FaultError, Survival};
pub use drains::{DrainTrouble, run_drain};
pub use failing::{FailingSummary, Trouble, run_failing};
pub use means::{Means, means, table};
pub use open_sagas::{LeftOpen, OpenSagas};
pub use random::Random;
pub use run::{Options, Summary, run};
pub use world::World;

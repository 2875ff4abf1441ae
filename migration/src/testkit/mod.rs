//! A deterministic simulation of several processes' cores with journals that lose what was not
//! synced, over a network that loses, delays, repeats and reorders, under changing views.
//!
//! Everything follows from one seed. After every step the invariants are checked on what is
//! durable; after the faults comes a phase without any, in which everything must come to its end.

mod chaos;
mod check;
mod disk;
mod failing;
mod random;
mod stored;
mod world;

#[cfg(test)]
mod tests;

pub use chaos::{Options, Summary, run, run_with_crash_at};
pub use check::Violation;
pub use disk::{Call, CrashDisk, Fault, FaultError, Survival};
pub use failing::{FailingSummary, Trouble, run_failing};
pub use random::Random;
pub use world::World;

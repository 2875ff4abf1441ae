use std::fmt::Write;

use crate::Flaw;

/// What notices that a rule is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Means {
    /// The model: every state up to a bound.
    Model,
    /// The simulator: many random runs with all faults mixed.
    Simulator,
    /// Crashes at every record boundary, enumerated.
    Crashes,
    /// A test of a single core, written by hand.
    Hand,
}

/// What notices that this rule is broken; a test of each means holds it to that.
#[must_use]
pub const fn means(flaw: Flaw) -> &'static [Means] {
    use Means::{Crashes, Hand, Model, Simulator};
    match flaw {
        Flaw::UnknownBeforeReplay | Flaw::SendBeforeSync => &[Model, Simulator, Crashes],
        // Takes a part forgotten by both sides, a restart and two old messages, in that order.
        Flaw::VolatileStageIds => &[Model, Hand],
        _ => &[Model, Simulator, Hand],
    }
}

/// The rows of the table in `docs/migration-proof.md`.
#[must_use]
pub fn table() -> String {
    let mut table = String::new();
    for flaw in Flaw::ALL {
        let means: Vec<String> =
            means(flaw).iter().map(|means| format!("{means:?}").to_lowercase()).collect();
        // Writing to a string does not fail.
        let _ = writeln!(table, "| `{flaw:?}` | {} |", means.join(", "));
    }
    table
}

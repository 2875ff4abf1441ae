//! Experiments on clusters of any size: what users would measure, from one seed each. They are run
//! by tests with limits and by benchmarks beside other protocols.

mod bootstrap;
mod crashes;
mod load;
mod trouble;

pub use self::bootstrap::{Bootstrap, bootstrap};
pub use self::crashes::{Crashes, crash_some};
pub use self::load::{Bytes, Loads, loads};
pub use self::trouble::{Trouble, Troubled, trouble_some};

use std::collections::BTreeSet;

use super::{Random, Sim};

/// So many different places of the simulation, by the chance of the experiment's seed.
fn chosen(sim: &Sim, seed: u64, count: usize) -> BTreeSet<usize> {
    let mut random = Random::new(seed ^ 0x00c4_0511);
    let mut chosen = BTreeSet::new();
    while chosen.len() < count.min(sim.places()) {
        chosen.insert(random.index(sim.places()));
    }
    chosen
}

use std::time::Duration;

use super::super::{Plan, Sim, Violation};

/// The longest that a bootstrap may take, in simulated time.
const LIMIT: Duration = Duration::from_secs(120);

/// How a cluster came together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bootstrap {
    /// Different views that were installed anywhere, the founder's own included.
    pub views: usize,
    /// From the start of the first joiner until all are active in one view.
    pub took: Duration,
    /// Messages delivered.
    pub messages: u64,
}

/// One process founds a cluster; the others start within `within` and join through it.
///
/// # Errors
/// [`Violation`].
pub fn bootstrap(seed: u64, processes: usize, within: Duration) -> Result<Bootstrap, Violation> {
    let mut sim = Sim::new(Plan::calm(seed, processes));
    sim.boot(0)?;
    sim.until_converged()?;
    let start = sim.now();
    let spread = u64::try_from(within.as_micros()).unwrap_or(u64::MAX - 1);
    for place in 1..processes {
        sim.boot_within(place, spread);
    }
    sim.run_until(start + within)?;
    sim.until_converged_within(LIMIT)?;
    Ok(Bootstrap { views: sim.views().count(), took: sim.now() - start, messages: sim.delivered() })
}

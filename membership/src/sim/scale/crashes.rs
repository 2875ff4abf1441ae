use std::time::Duration;

use super::super::{Plan, Sim, Violation};
use super::chosen;

/// The longest that survivors may take to agree, in simulated time.
const LIMIT: Duration = Duration::from_secs(60);

/// How a cluster lost some of its members at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crashes {
    /// View changes until the survivors were in one view and for a while after.
    pub changes: usize,
    /// Until all survivors are active in one view of just them.
    pub took: Duration,
    /// Messages delivered from the crash until then.
    pub messages: u64,
}

/// `crashes` members of a settled cluster end at the same moment. If `silently`, their machines
/// do, so that nobody's connection is refused; then it is watched for `after` more.
///
/// # Errors
/// [`Violation`].
pub fn crash_some(
    seed: u64,
    processes: usize,
    crashes: usize,
    silently: bool,
    after: Duration,
) -> Result<Crashes, Violation> {
    let mut sim = Sim::settled(Plan::calm(seed, processes))?;
    let before = sim.views().count();
    let (start, delivered) = (sim.now(), sim.delivered());
    for place in chosen(&sim, seed, crashes) {
        if silently {
            sim.unplug(place);
        } else {
            sim.crash(place);
        }
    }
    sim.until_converged_within(LIMIT)?;
    let (took, messages) = (sim.now() - start, sim.delivered() - delivered);
    sim.run_until(sim.now() + after)?;
    Ok(Crashes { changes: sim.views().count() - before, took, messages })
}

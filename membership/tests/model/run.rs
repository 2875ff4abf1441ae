use std::time::Instant;

use stateright::{Checker, Model};

use super::chain::{Bounds, Chain};

/// Explores a model to its bounds, tells what that took, and fails if a property does.
pub(crate) fn check(name: &str, bounds: Bounds) {
    let begun = Instant::now();
    let checker = Chain::new(bounds.clone()).checker().symmetry().spawn_dfs().join();
    eprintln!(
        "{name}: {} states, {} steps, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

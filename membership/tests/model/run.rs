use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use super::bounds::Bounds;
use super::chain::Chain;

/// True if the larger bounds are asked for.
pub(crate) fn is_large() -> bool {
    std::env::var("LAMPYRID_MODEL").is_ok_and(|bounds| bounds == "large")
}

/// Explores a model up to its bounds, in full unless a property fails, and tells what that took.
pub(crate) fn explore(name: &str, bounds: Bounds) -> impl Checker<Chain> {
    let begun = Instant::now();
    let checker = Chain::new(bounds).checker().symmetry().spawn_dfs().join();
    eprintln!(
        "{name}: {} states, {} steps, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64()
    );
    checker
}

/// Explores a model and fails if it breaks a promise.
pub(crate) fn check(name: &str, bounds: Bounds) {
    let checker = explore(name, bounds);
    assert!(checker.is_done(), "{name}: not all was explored");
    if !is_large() {
        eprintln!("{name}: larger bounds by LAMPYRID_MODEL=large");
    }
    checker.assert_properties();
}

/// What came of looking for harm.
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) seconds: f64,
    /// The steps that lead to it; `None` if all states are harmless.
    pub(crate) steps: Option<usize>,
}

/// Looks for a way in which a property fails; of up to four processes, the shortest.
pub(crate) fn find(property: &'static str, bounds: &Bounds) -> Found {
    let begun = Instant::now();
    let checker = Chain::new(bounds.clone()).checker().finish_when(HasDiscoveries::AnyFailures);
    if bounds.size < 5 {
        judge(begun, property, &checker.spawn_bfs().join())
    } else {
        judge(begun, property, &checker.symmetry().spawn_dfs().join())
    }
}

fn judge(begun: Instant, property: &'static str, checker: &impl Checker<Chain>) -> Found {
    let steps = checker.discovery(property).map(|path| {
        let steps = path.into_actions();
        if std::env::var("LAMPYRID_MODEL_SHOW").is_ok() {
            steps.iter().for_each(|step| eprintln!("  {step:?}"));
        }
        steps.len()
    });
    let seconds = begun.elapsed().as_secs_f64();
    Found { states: checker.unique_state_count(), seconds, steps }
}

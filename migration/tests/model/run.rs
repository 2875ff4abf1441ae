use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

use super::bounds::Bounds;
use super::moves::Moves;

/// True if the larger bounds are asked for.
pub(crate) fn is_large() -> bool {
    std::env::var("LAMPYRID_MODEL").is_ok_and(|bounds| bounds == "large")
}

/// Explores a model up to its bounds, in full, and fails if it breaks a promise.
pub(crate) fn check(name: &str, bounds: Bounds) {
    let begun = Instant::now();
    let checker = Moves::new(bounds).checker().spawn_dfs().join();
    let healed = checker.model().healed.lock().map(|healed| healed.len()).unwrap_or_default();
    eprintln!(
        "{name}: {} states, {} steps, depth {}, {healed} healed, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed().as_secs_f64()
    );
    if let Some((promise, path)) =
        checker.discoveries().into_iter().find(|(name, _)| *name != super::properties::THROUGH)
    {
        let last = path.last_state().clone();
        for action in path.into_actions() {
            eprintln!("  {action:?}");
        }
        panic!("{name}: not so: {promise}: {last:#?}");
    }
    assert!(checker.is_done(), "{name}: not all was explored");
    checker.assert_properties();
}

/// What came of looking for harm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) states: usize,
    pub(crate) seconds: f64,
    /// The promise that is broken, and the steps that lead to it; `None` if all is well.
    pub(crate) broken: Option<(&'static str, usize)>,
}

/// Looks for the shortest way in which a promise is broken.
pub(crate) fn find(bounds: &Bounds) -> Found {
    let begun = Instant::now();
    let checker = Moves::new(bounds.clone()).checker();
    let checker = checker.finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut broken = checker.discoveries().into_iter();
    let broken = broken.find(|(name, _)| *name != super::properties::THROUGH);
    let broken = broken.map(|(promise, path)| {
        let steps = path.into_actions();
        if std::env::var("LAMPYRID_MODEL_SHOW").is_ok() {
            steps.iter().for_each(|step| eprintln!("  {step:?}"));
        }
        (promise, steps.len())
    });
    let seconds = begun.elapsed().as_secs_f64();
    Found { states: checker.unique_state_count(), seconds, broken }
}

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model};

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

/// What came of looking for harm.
pub(crate) enum Found {
    Harm { states: usize, steps: usize, seconds: f64 },
    Nothing { states: usize },
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
    let states = checker.unique_state_count();
    match checker.discovery(property) {
        Some(path) => {
            let steps = path.into_actions();
            if std::env::var("LAMPYRID_MODEL_SHOW").is_ok() {
                steps.iter().for_each(|step| eprintln!("  {step:?}"));
            }
            Found::Harm { states, steps: steps.len(), seconds: begun.elapsed().as_secs_f64() }
        }
        None => Found::Nothing { states },
    }
}

//! The cores of registry, coordinator and broadcaster of several members over a network that loses,
//! repeats and reorders, under views that change by hand; every step from one seed. `SEED=n` runs
//! one seed alone, `SEEDS=n` the first n.

mod node;
mod rng;
mod world;

use world::World;

/// The seeds to run: `SEED` alone, else from 0 up to `SEEDS`.
fn seeds() -> Vec<u64> {
    match std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => {
            let count = std::env::var("SEEDS").ok().and_then(|count| count.parse().ok());
            (0..count.unwrap_or(SEEDS)).collect()
        }
    }
}

/// How many seeds one test runs if `SEEDS` does not say so.
const SEEDS: u64 = 1_000;

fn run(full_mesh_limit: usize) {
    let seeds = seeds();
    let mut answers = 0;
    for &seed in &seeds {
        let mut world = World::new(seed, full_mesh_limit);
        world.faults();
        world.heal();
        world.settle();
        world.check_agreement();
        answers += world.answers;
    }
    // A run in which hardly anything succeeds would show nothing.
    assert!(seeds.len() == 1 || answers > 5 * seeds.len() as u64, "only {answers} answers");
}

#[test]
fn members_of_a_full_mesh_agree_after_any_faults_and_then_fall_silent() {
    run(11);
}

#[test]
fn members_linked_by_rings_agree_after_any_faults_and_then_fall_silent() {
    run(2);
}

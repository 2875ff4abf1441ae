//! The campaign: many seeds of membership's simulator, small clusters, all faults mixed, and after
//! each a time without faults in which everybody has to come together.
//!
//! `LAMPYRID_SIM_SEEDS=100000 LAMPYRID_SIM_FIRST=1000` runs others. A line to reproduce one seed
//! stands under every failure.
#![allow(missing_docs, reason = "a test")]

use std::time::Duration;

use lampyrid_membership::sim::Campaign;

/// Seeds in every run of the tests.
const SEEDS: u64 = 1_000;

/// They must be done within this.
const LIMIT: Duration = Duration::from_secs(180);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn small_clusters_keep_every_promise_and_heal_whatever_goes_wrong() {
    let seeds = number("LAMPYRID_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("LAMPYRID_SIM_FIRST").unwrap_or(0);
    let report = Campaign { first, ..Campaign::new(seeds) }.run(&|| {});
    eprintln!("{report}");
    assert_eq!((report.seeds, report.failed), (seeds, 0));
    if seeds <= SEEDS {
        assert!(report.took <= LIMIT, "{:?}", report.took);
    }
}

//! Model checking of the agreement.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod chain;
mod facts;
mod flaws;
mod progress;
mod run;
mod state;
mod world;

use chain::Bounds;
use run::check;
use state::Wish;

fn number(name: &str, normal: u8) -> u8 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(normal)
}

#[test]
fn one_agreement() {
    let size = number("N", 3);
    let starters = number("STARTERS", size);
    check(
        "one",
        Bounds {
            size,
            outside: 2,
            agreements: 1,
            starts: number("STARTS", 2),
            starters: (0..starters).collect(),
            wishes: vec![Wish::Admit(size), Wish::Admit(size + 1)],
            fast_first: true,
            ..Bounds::default()
        },
    );
}

#[test]
fn chain() {
    let size = number("N", 3);
    check(
        "chain",
        Bounds {
            size,
            outside: number("OUT", 1),
            agreements: u64::from(number("AGR", 2)),
            starts: number("STARTS", 2),
            restarts: number("RESTARTS", 1),
            starters: (0..number("STARTERS", size)).collect(),
            restarters: vec![0,1],
            wishes: vec![Wish::AdmitAll, Wish::Admit(size), Wish::Renew(0), Wish::Renew(1), Wish::Leave(1)],
            install: true,
            heals: number("HEALS", 1) == 1,
            ..Bounds::default()
        },
    );
}

//! One agreement: two conflicting values, every order of what a few proposers do.

use super::bounds::{Bounds, Fast};
use super::run::{check, is_large};
use super::state::Wish;

/// Processes of one view, and two outside of whom some want the one in and some the other.
fn bounds(size: u8, starts: u8) -> Bounds {
    Bounds {
        size,
        outside: 2,
        agreements: 1,
        starts,
        starters: (0..size).collect(),
        wishes: vec![Wish::Admit(size), Wish::Admit(size + 1)],
        fast: Fast::First(0),
        ..Bounds::default()
    }
}

#[test]
fn of_two() {
    check("one agreement of 2", bounds(2, if is_large() { 6 } else { 5 }));
}

#[test]
fn of_three() {
    check("one agreement of 3", bounds(3, if is_large() { 4 } else { 3 }));
}

#[test]
fn of_four() {
    check("one agreement of 4", bounds(4, 2));
    if is_large() {
        check("one agreement of 4, three rounds", bounds(4, 3));
    }
}

/// Five are the fewest that vote fast. The tie-breaker plays no part among an odd number, so two
/// that start rounds stand for any two.
#[test]
fn of_five() {
    let five = |starts, starters: u8, fast| Bounds {
        starters: (0..starters).collect(),
        fast,
        ..bounds(5, starts)
    };
    check("one agreement of 5, all fast votes, one round", five(1, 2, Fast::First(0)));
    check("one agreement of 5, no fast votes, two rounds", five(2, 2, Fast::Never));
    check("one agreement of 5, decided fast, two rounds", five(2, 2, Fast::First(4)));
    if is_large() {
        check("one agreement of 5, all fast votes, two rounds", five(2, 2, Fast::First(0)));
        check("one agreement of 5, no fast votes, three rounds", five(3, 3, Fast::Never));
    }
}

//! Views that follow one another, with processes that start again, one that joins, one that leaves.

use stateright::Checker;

use super::bounds::{Bounds, Fast};
use super::properties::HEALS;
use super::run::{check, explore, is_large};
use super::state::Wish;

/// Processes of a first view and one outside that wants in; the second wants out.
fn bounds(size: u8, starters: u8, starts: u8, restarts: u8, agreements: u64) -> Bounds {
    let wishes =
        [Wish::AdmitAll, Wish::Admit(size), Wish::Renew(0), Wish::Renew(1), Wish::Leave(1)];
    Bounds {
        size,
        outside: 1,
        agreements,
        starts,
        restarts,
        starters: (0..starters).collect(),
        restarters: vec![0, 1],
        wishes: wishes.to_vec(),
        install: true,
        heals: true,
        ..Bounds::default()
    }
}

#[test]
fn of_two() {
    check("chain from 2, two views", bounds(2, 3, 2, 2, 2));
    check("chain from 2, three views", bounds(2, 2, 3, 0, 3));
    if is_large() {
        check("chain from 2, two views, three rounds", bounds(2, 3, 3, 1, 2));
        check("chain from 2, three views, with restarts", bounds(2, 2, 3, 1, 3));
    }
}

#[test]
fn of_three() {
    check("chain from 3, one view", bounds(3, 3, 2, 1, 1));
    check("chain from 3, two views", bounds(3, 2, 2, 0, 2));
    if is_large() {
        check("chain from 3, two views, with restarts", bounds(3, 3, 2, 1, 2));
    }
}

#[test]
fn of_four() {
    check("chain from 4, one view", bounds(4, 2, 1, 1, 1));
    if is_large() {
        check("chain from 4, one view, two rounds", bounds(4, 2, 2, 1, 1));
        check("chain from 4, two views", bounds(4, 2, 2, 0, 2));
    }
}

/// Five processes, of whom some have voted fast to remove one, and some to remove another.
fn voted_fast(forget_fast: bool) -> Bounds {
    Bounds {
        size: 5,
        agreements: 1,
        starts: 1,
        starters: vec![0],
        wishes: vec![Wish::Remove(0), Wish::Remove(3)],
        fast: Fast::First(0),
        heals: true,
        forget_fast,
        ..Bounds::default()
    }
}

/// Three of five voted fast for a view without a fourth, and power is lost. If two of them come back
/// with that fourth, they are a quorum of the view they left; but they have to take that the vote
/// was decided, and two of the four that are then left are a quorum only with the tie-breaker.
#[test]
fn of_five_a_fast_vote_that_may_have_decided_counts_among_what_must_be_back() {
    check("healing of 5 after fast votes", voted_fast(false));
    let forgot = explore("healing of 5 by the rule without fast votes", voted_fast(true));
    assert!(forgot.discovery(HEALS).is_some(), "the rule would do without that clause");
}

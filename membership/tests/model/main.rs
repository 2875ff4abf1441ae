//! Model checking (stateright) of the agreement that runs in production: [`lampyrid_membership::Agreement`]
//! is called for every step; no rule of it is repeated here.
//!
//! `cargo test -p lampyrid-membership --test model -- --nocapture` takes about a minute and prints
//! states, steps, depth and time of each model. `LAMPYRID_MODEL=large` in front of it explores far
//! more. `LAMPYRID_MODEL_SHOW=1` prints the steps that lead to harm where a rule is left out.
//!
//! # What is explored
//! Every model is explored in full up to its bounds, and the bounds are: how many processes; how
//! many rounds are started in all, and by whom; how often who starts again; which successors anybody
//! may want; how many views follow the first. Beyond them nothing is said. Which bounds each test
//! has stands in `agreements` and `chains`.
//!
//! # Why this is at least as bad as a network
//! - Messages say facts, which only accumulate. What a process is able to say of itself is
//!   published as soon as it is durable, and never vanishes. Anybody may learn any of it at any time,
//!   ever again, or never: so messages are lost, late without limit, repeated, reordered, passed on
//!   by others; and processes are down for as long as they take no step.
//! - A process keeps in mind what is durable and the rank it tries, and forgets all else it has
//!   heard after each step: it may hear it again at any time. What it knew could move it in four ways.
//!   An acceptor answers requests, each fact by itself: it answers one as soon as it hears it, and
//!   hearing an answered one again changes nothing. A proposer counts promises: it hears any set of
//!   them in one message. It takes a rank above those it has heard of: it may have heard of any that
//!   is published. It decides by votes: a decision counts as made once *somebody* who heard all votes
//!   would make it, and anybody in that view may install it then or later.
//! - A value is chosen, among those that the process may want, when it is needed; so wishes change at
//!   will.
//! - To start again is to lose the rank that is tried. All else that is volatile is forgotten anyway.
//! - States that differ only in which of several processes without a part of their own did what are
//!   explored once (`State::alike`).
//!
//! That forgetting loses nothing is not only argued: `memory` explores small models in which
//! nobody forgets anything and every fact is learned by itself, and finds the same states.
// Helpers outside of `#[test]` functions are tests as well.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod agreements;
mod bounds;
mod chain;
mod chains;
mod facts;
mod flaws;
mod memory;
mod progress;
mod properties;
mod run;
mod start;
mod state;
mod translate;
mod world;

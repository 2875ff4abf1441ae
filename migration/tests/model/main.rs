//! Model checking (stateright) of the core that runs in production: [`lampyrid_migration::Core`] is
//! called for every step; no rule of it is repeated here.
//!
//! `cargo test -p lampyrid-migration --test model -- --nocapture` prints states, steps, depth and
//! time of each model. `LAMPYRID_MODEL=large` in front of it explores far more.
//! `LAMPYRID_MODEL_SHOW=1` prints the steps that lead to harm where a rule is left out.
// Helpers outside of `#[test]` functions are tests as well.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod bounds;
mod chains;
mod flaws;
mod heal;
mod moves;
mod names;
mod node;
mod packet;
mod properties;
mod run;
mod state;

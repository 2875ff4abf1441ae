//! What the whole-system tests share: real `lampyrid node` processes, their admin HTTP, and the
//! auditor that says whether anything was lost, doubled or forgotten.
#![allow(clippy::expect_used, reason = "a harness for tests: what fails here fails the test")]

mod admin;
mod cluster;
mod process;
mod wait;

pub use admin::{Admin, Answer};
pub use cluster::Cluster;
pub use process::{NodeProcess, Options};
pub use wait::{PATIENCE, eventually};

//! What the whole-system tests share: real `lampyrid node` processes, their admin HTTP, and the
//! auditor that says whether anything was lost, doubled or forgotten.
#![allow(clippy::expect_used, reason = "a harness for tests: what fails here fails the test")]

mod admin;
mod authority;
mod cluster;
mod copy;
pub mod load;
#[cfg(target_os = "linux")]
pub mod netns;
mod output;
mod place;
pub mod proc;
mod process;
#[cfg(target_os = "linux")]
mod terminal;
mod wait;
mod witness;

pub use admin::{Admin, Answer};
pub use authority::Authority;
pub use cluster::Cluster;
pub use copy::copy_directory;
pub use place::{Forward, Place};
pub use process::{NodeProcess, Options};
#[cfg(target_os = "linux")]
pub use terminal::Terminal;
pub use wait::{PATIENCE, eventually};
pub use witness::{Sight, Witness};

//! Lampyrid.

#[cfg(feature = "cli")]
pub mod admin;
pub mod config;
mod node;
#[cfg(feature = "cli")]
pub mod workload;

pub use node::{Fatal, Node, StartError};

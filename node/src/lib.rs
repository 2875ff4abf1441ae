//! Lampyrid.

#[cfg(feature = "cli")]
pub mod admin;
pub mod config;
pub mod links;
mod node;
#[cfg(feature = "cli")]
pub mod workload;

pub use node::{Fatal, Node, StartError};

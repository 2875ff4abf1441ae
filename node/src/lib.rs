//! Lampyrid.

pub mod config;

#[cfg(feature = "cli")]
pub mod admin;

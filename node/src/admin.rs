//! The admin HTTP: JSON over HTTP/1.1, RFC 9457 problem documents, server-sent events, metrics.
//!
//! The server knows a node only through [`Backend`], so it is tested without one.

mod answers;
mod auth;
mod backend;
mod bars;
mod blunt;
mod bubbles;
mod drain;
mod entities;
mod events;
mod extract;
#[cfg(feature = "testkit")]
pub(crate) mod fuzz;
pub mod limits;
mod metrics;
mod migrations;
mod problem;
mod process;
mod requests;
mod room;
mod routes;
mod server;
mod stall;
mod tls;
mod unread;
mod views;

pub use auth::Token;
pub use backend::{Backend, ProcessBubbles, Topology};
pub use problem::status_of;
pub use server::{AdminListener, AdminServer, BindError};
pub use tls::AdminTls;

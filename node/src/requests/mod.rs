//! Requests of the host, brought to where an entity is and answered there.
//!
//! One request's way: [`Requests::ask`] (by the rules of `follow`) finds the
//! entity, or remembers where it was (`places`), notes that it waits (`pending`) and sends the
//! request on [`lampyrid_wire::Channel::Requests`]. The process there lets it in once (`seen`, `desk`), looks
//! whether the entity serves, has the host's [`RequestHandler`] answer and sends the answer back.
//!
//! A request reaches at most one handler: what is repeated is only what was refused before a handler
//! saw it, or what a handler itself refused with a reason to follow. An answer can be lost, with the
//! session it would have come through; then the caller is told, and nothing is repeated.

mod counters;
mod desk;
mod error;
#[cfg(feature = "testkit")]
pub(crate) mod fuzz;
mod handle;
mod handler;
mod message;
mod pending;
mod places;
mod seen;
mod serve;

pub use counters::RequestCounters;
pub use error::AskError;
pub use handle::Requests;
pub(crate) use handle::{RequestsArguments, WeakRequests};
pub use handler::{EntityRequest, RequestHandler};
#[doc(hidden)]
pub use message::RequestMessage;

use std::time::Duration;

/// The largest request and the largest answer, in bytes.
pub const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The longest that a request may take; a longer limit is cut to this.
pub const MAX_ASK_LIMIT: Duration = Duration::from_secs(60);

/// Requests of this process that may wait for an answer at once.
pub const MAX_ASKING: usize = 4_096;

/// Requests that are answered here at once, of all processes.
pub const MAX_ANSWERING: usize = 1_024;

/// Of these, for one process: so many others find room beside one that asks without end.
pub const MAX_ANSWERING_EACH: usize = 256;

/// Entities whose last place is remembered.
pub(crate) const MAX_PLACES: usize = 65_536;

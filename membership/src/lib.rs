//! Who is in: rings, edge monitors, cut detection, agreement, views.
//!
//! The rules are plain state machines (`agreement`, `cut`, `edge`, and the `core` that joins them);
//! the actors around them only carry messages, timers and durable writes.

mod handle;
mod links;
mod ring;
mod view;

pub use handle::{Isolated, Status, ViewEvent, ViewHandle, ViewState};
pub use links::{LinkControl, LinkEvent, ProbeOutcome, RefusalReason};
pub use ring::{COORDINATOR_ROLE, Ring};
pub use view::{View, ViewChange};

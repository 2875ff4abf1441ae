//! The coordinator's side of the registry: who may change it and when it is broadcast
//! ([`CoordinatorCore`]), how the broadcast reaches everybody ([`BroadcasterCore`]), and the two
//! judges of what comes in, [`MessageOrder`] and [`BucketClock`]. The actors around the cores only
//! carry messages and timers; every process runs them, and only the coordinator's have work.

mod broadcaster;
mod broadcaster_actor;
mod bucket_clock;
mod coordinator_actor;
mod core;
mod gateway;
mod message_order;
mod receiver;
mod table;

pub use broadcaster::{
    BroadcasterConfig, BroadcasterCore, BroadcasterInput, BroadcasterOutput, FULL_MESH_LIMIT,
};
pub use broadcaster_actor::{BroadcasterActor, BroadcasterArguments, BroadcasterMessage};
pub use bucket_clock::{BUCKET_MS, BucketClock, Skew, TOLERANCE_MS, wall_millis};
pub use coordinator_actor::{CoordinatorActor, CoordinatorArguments, CoordinatorMessage};
pub use core::{CoordinatorConfig, CoordinatorCore, CoordinatorInput, CoordinatorOutput};
pub use gateway::Gateway;
pub use message_order::{LATE_MS, MAX_SENDERS, MessageOrder, Order};
pub use receiver::Report;
pub use table::{Publication, Published};

//! What runs where: process to bubbles and back.
//!
//! [`RegistryHandle`] is what others use: lookups that any thread makes without a message, and
//! registrations that are answered once a quorum has stored them. [`RegistryCore`] holds the rules
//! of one process's side, [`RegistryActor`] carries its messages; the coordinator's side lives in
//! the crate above, which shares the messages defined here.

mod actor;
mod backoff;
mod core;
mod counters;
mod entry;
mod error;
mod fence;
mod handle;
mod hooks;
mod mail;
mod message;
mod replica;
mod update;
mod version;

pub use actor::{RegistryActor, RegistryArguments, RegistryMessage};
pub use backoff::Backoff;
pub use core::{OwnRegistration, RegistryCore, RegistryInput, RegistryOutput};
pub use counters::{Counter, Counters};
pub use entry::{Entry, MAX_BUBBLES, Registration, first_invalid};
pub use error::RegistryError;
pub use fence::{Fence, Held, MAX_HELD, Standing};
pub use handle::{DEFAULT_LIMIT, RegistryHandle, TopologySnapshot};
pub use hooks::{Hooks, NoHooks};
pub use mail::{Letter, Loopback, Mail, MailError, Post, open};
pub use message::{Destination, RegistryWire};
pub use replica::Replica;
pub use update::{Assembly, MAX_PARTS, PART_BYTES, TopologyUpdate};
pub use version::Version;

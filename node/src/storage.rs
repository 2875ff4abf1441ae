//! The data directory: one store file behind identity, acceptor state, journal and entities, and
//! what stands in for it when there is none.

mod acceptor;
mod directory;
mod room;
mod store;

pub use directory::StorageError;
pub(crate) use directory::{Lease, Notebook, STORE_FILE, Storage, private_directory};

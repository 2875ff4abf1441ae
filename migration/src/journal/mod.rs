//! Makes records durable: one transaction for each step, several in one sync.

mod codec;
#[cfg(test)]
mod crash_tests;
mod database;
#[cfg(any(test, feature = "testkit"))]
pub mod fuzz;
mod index;
mod locks;
mod log;
mod memory;
mod one_file;
mod open;
mod overlay;
mod redo;
mod store_file;
mod take;
#[cfg(test)]
mod take_tests;
mod taker;
#[cfg(test)]
mod tests;
mod writer;

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

pub use database::{Database, begin_durable};
pub use memory::MemoryJournal;
pub use open::{OpenError, is_in_use, open_database};
#[cfg(any(test, feature = "testkit"))]
pub(crate) use store_file::SMALL_FRONT_BYTES;
pub use store_file::StoreFile;
#[cfg(any(test, feature = "testkit"))]
pub(crate) use taker::at_once;
pub(crate) use writer::{Report, Writer};

use crate::{Image, Record};

/// Why the journal could not do it. What of a failed commit took effect is unknown until the store
/// has been opened and replayed again.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JournalError {
    /// The store failed: a failed sync, a rejected page.
    #[error("the store failed: {0}")]
    Store(String),
    /// The store found no room: a full disk or a quota. It may work again later.
    #[error("the store has no room: {0}")]
    Full(String),
    /// A record is not what was written.
    #[error("table `{table}`, key {key}: {why}")]
    Record {
        /// The table.
        table: &'static str,
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// A record has no encoding; nothing was written.
    #[error("a record does not encode: {0}")]
    Encode(String),
    /// The journal's thread is gone.
    #[error("the journal has stopped")]
    Stopped,
}

fn io_error(error: std::io::Error) -> JournalError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => JournalError::Full(error.to_string()),
        _ => JournalError::Store(error.to_string()),
    }
}

/// Where records become durable. Called from a thread of its own, so it may block.
pub trait Journal: Send + 'static {
    /// All rows, every one verified.
    ///
    /// # Errors
    /// [`JournalError`]; nothing was changed.
    fn replay(&mut self) -> Result<Image, JournalError>;

    /// Makes these transactions durable together: all of them or none.
    ///
    /// # Errors
    /// [`JournalError`]: it is unknown whether they are durable. The journal must not be used any
    /// further; open it again and replay.
    fn commit(&mut self, transactions: &[Vec<Record>]) -> Result<(), JournalError>;

    /// Nothing has come for a while, or nothing will: puts what is durable where it is to stay.
    ///
    /// # Errors
    /// As [`Journal::commit`].
    fn settle(&mut self) -> Result<(), JournalError> {
        Ok(())
    }
}

type Open = dyn Fn() -> Result<Box<dyn Journal>, JournalError> + Send + Sync;

/// Opens the same journal again and again, for as often as its actor is restarted; never twice at
/// once.
#[derive(Clone)]
pub struct JournalSource {
    open: Arc<Open>,
    lease: Arc<Mutex<()>>,
}

impl std::fmt::Debug for JournalSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JournalSource")
    }
}

impl JournalSource {
    /// Opens by calling `open`.
    pub fn new(
        open: impl Fn() -> Result<Box<dyn Journal>, JournalError> + Send + Sync + 'static,
    ) -> Self {
        Self { open: Arc::new(open), lease: Arc::default() }
    }

    /// The journal in a database that [`open_database`] opened; once that has failed it stays so.
    #[must_use]
    pub fn database(database: Arc<StoreFile>) -> Self {
        Self::new(move || Ok(Box::new(Database::new(Arc::clone(&database)))))
    }

    /// A journal in memory, which lasts as long as this source and its clones: for processes
    /// without a data directory.
    #[must_use]
    pub fn memory() -> Self {
        let journal = MemoryJournal::new();
        Self::new(move || Ok(Box::new(journal.clone())))
    }
}

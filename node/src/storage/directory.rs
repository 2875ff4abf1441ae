use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lampyrid_membership::{AcceptorStore, AcceptorStoreError, MemoryStore};
use lampyrid_migration::{
    Database, Image, Journal, JournalError, JournalSource, OpenError, is_in_use,
};
use lampyrid_wire::Peer;

use super::acceptor::ProcessTable;
use super::store::{Store, WeakStore};

/// The one file of a data directory that matters.
pub(crate) const STORE_FILE: &str = "lampyrid.redb";

/// Why a data directory cannot be used. It was left as it was.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// It cannot be made.
    #[error("the data directory {} cannot be made: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No process has ever used it.
    #[error("{} does not exist: no process has used this data directory", path.display())]
    Missing {
        /// The store that is not there.
        path: PathBuf,
    },
    /// The store in it is in use, damaged, or not to be read or written.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A row of the process itself in the store is damaged or not to be read or written.
    #[error("{}: {source}", path.display())]
    Process {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        source: AcceptorStoreError,
    },
    /// The journal in the store cannot be read.
    #[error("{}: {source}", path.display())]
    Journal {
        /// The store.
        path: PathBuf,
        /// What is wrong.
        source: JournalError,
    },
}

/// Makes a directory for its owner only, and those above it that are missing; one that is there
/// stays as it is.
pub(crate) fn private_directory(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Everything that outlives the process, or pretends to.
#[derive(Clone)]
pub(crate) struct Storage {
    /// Where membership keeps identity and acceptor state.
    pub(crate) acceptor: Arc<dyn AcceptorStore>,
    /// Where migration keeps entities and sagas.
    pub(crate) journal: JournalSource,
    table: Option<(PathBuf, ProcessTable)>,
    lease: Lease,
}

/// Tells whether a data directory is still in use by this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lease(Option<(PathBuf, WeakStore)>);

impl Lease {
    /// True from when the store has found no room until it looks for it with success. Never blocks.
    pub(crate) fn lacks_room(&self) -> bool {
        let store = self.0.as_ref().and_then(|(_, store)| store.upgrade());
        store.is_some_and(|store| store.lacks_room())
    }

    /// True once everything that had the store open is gone and its lock is free. The last owner
    /// lets go of the lock a moment after it stops counting as one, so the lock is asked as well.
    pub(crate) fn is_over(&self) -> bool {
        let Some((path, store)) = &self.0 else { return true };
        store.upgrade().is_none() && !is_in_use(path)
    }
}

/// A way to write down what is good to know and may be lost.
#[derive(Debug, Clone)]
pub(crate) struct Notebook(WeakStore);

impl Notebook {
    /// Remembers which lives of other processes were met; not, once the store was let go of.
    pub(crate) fn set_lives(&self, lives: &[Peer]) -> Result<(), AcceptorStoreError> {
        let Some(store) = self.0.upgrade() else { return Ok(()) };
        ProcessTable::new(store).set_lives(lives)
    }
}

impl Storage {
    /// Outlives the storage itself.
    pub(crate) fn lease(&self) -> Lease {
        self.lease.clone()
    }

    /// Opens a data directory, making it if need be (for its owner only), or stands in for one.
    /// Blocks for as long as it takes to verify the store.
    pub(crate) fn open(data_dir: Option<&Path>) -> Result<Self, StorageError> {
        let Some(directory) = data_dir else {
            let acceptor = Arc::new(MemoryStore::new());
            return Ok(Self {
                acceptor,
                journal: JournalSource::memory(),
                table: None,
                lease: Lease(None),
            });
        };
        private_directory(directory)
            .map_err(|source| StorageError::Directory { path: directory.to_owned(), source })?;
        Self::open_store(directory.join(STORE_FILE))
    }

    /// Opens a data directory that a process has used before, and makes nothing. Blocks as `open`
    /// does.
    pub(crate) fn open_used(directory: &Path) -> Result<Self, StorageError> {
        let path = directory.join(STORE_FILE);
        // Whatever else is wrong with the path shows when it is opened.
        if let Ok(false) = path.try_exists() {
            return Err(StorageError::Missing { path });
        }
        Self::open_store(path)
    }

    fn open_store(path: PathBuf) -> Result<Self, StorageError> {
        let store = Store::open(&path)?;
        let lease = Lease(Some((path.clone(), store.downgrade())));
        let table = ProcessTable::new(store.clone());
        table.verify().map_err(|source| StorageError::Process { path: path.clone(), source })?;
        Ok(Self {
            acceptor: Arc::new(table.clone()),
            journal: store.journal(),
            table: Some((path, table)),
            lease,
        })
    }

    /// The cluster port chosen at an earlier start.
    pub(crate) fn port(&self) -> Result<Option<u16>, StorageError> {
        self.ask(|table| table.port()).map(Option::flatten)
    }

    /// Remembers the chosen port.
    pub(crate) fn set_port(&self, port: u16) -> Result<(), StorageError> {
        self.ask(|table| table.set_port(port)).map(|_| ())
    }

    /// True once the bubbles of the first start exist.
    pub(crate) fn has_bubbles(&self) -> Result<bool, StorageError> {
        Ok(self.ask(ProcessTable::has_bubbles)?.unwrap_or(false))
    }

    /// They do.
    pub(crate) fn set_has_bubbles(&self) -> Result<(), StorageError> {
        self.ask(ProcessTable::set_has_bubbles).map(|_| ())
    }

    /// Which lives of other processes were met.
    pub(crate) fn lives(&self) -> Result<Vec<Peer>, StorageError> {
        Ok(self.ask(ProcessTable::lives)?.unwrap_or_default())
    }

    /// Where to keep them, if anything is kept; does not hold the store open.
    pub(crate) fn notebook(&self) -> Option<Notebook> {
        self.table.as_ref().map(|(_, table)| Notebook(table.store().downgrade()))
    }

    /// All rows of the journal.
    pub(crate) fn image(&self) -> Result<Image, StorageError> {
        let Some((path, _)) = &self.table else { return Ok(Image::default()) };
        self.database()?
            .replay()
            .map_err(|source| StorageError::Journal { path: path.clone(), source })
    }

    /// The journal itself, for those who change it while no process runs on it.
    pub(crate) fn database(&self) -> Result<Database, StorageError> {
        match &self.table {
            Some((_, table)) => Ok(Database::new(table.store().database()?)),
            None => Err(StorageError::Missing { path: PathBuf::new() }),
        }
    }

    /// The error of a failed write or read of the process's own rows.
    pub(crate) fn fault(&self, source: AcceptorStoreError) -> StorageError {
        let path = self.table.as_ref().map(|(path, _)| path.clone()).unwrap_or_default();
        StorageError::Process { path, source }
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(&ProcessTable) -> Result<T, AcceptorStoreError>,
    ) -> Result<Option<T>, StorageError> {
        let Some((_, table)) = &self.table else { return Ok(None) };
        question(table).map(Some).map_err(|source| self.fault(source))
    }
}

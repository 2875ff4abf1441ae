use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use lampyrid_migration::{
    Database as JournalDatabase, Image, Journal, JournalError, JournalSource, OpenError, Record,
    StoreFile, open_database,
};

use super::room::Room;

/// How long those who still use a store that failed have to let go of it.
const RELEASE_LIMIT: Duration = Duration::from_secs(5);

/// How often is looked whether they have.
const RELEASE_PAUSE: Duration = Duration::from_millis(1);

/// The name of the file that tries for room.
const ROOM_FILE: &str = "lampyrid.room";

/// The store of a data directory. After a failed write nobody knows what it left, and redb refuses
/// all further use; it is closed then, and opened and verified again by whoever needs it next. What
/// is read after that is the truth.
#[derive(Debug, Clone)]
pub(crate) struct Store(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    opened: Mutex<Opened>,
    /// That the journal found no room, for those who cannot wait until it is open again.
    lacks_room: AtomicBool,
}

#[derive(Debug)]
struct Opened {
    /// None after a failure.
    database: Option<Arc<StoreFile>>,
    /// The one that failed; some may still hold it.
    failed: Weak<StoreFile>,
    /// What the journal wants, if it found too little.
    room: Room,
}

impl Shared {
    fn new(path: &Path, opened: Mutex<Opened>) -> Self {
        Self { path: path.to_owned(), opened, lacks_room: AtomicBool::new(false) }
    }
}

impl Opened {
    /// True if no write to this database has failed.
    fn holds(&self, database: &Arc<StoreFile>) -> bool {
        self.database.as_ref().is_some_and(|current| Arc::ptr_eq(current, database))
    }
}

impl Store {
    /// Opens the store at `path`, or makes it. Blocks for as long as it takes to verify it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let database = Some(open_database(path)?);
        let opened = Mutex::new(Opened { database, failed: Weak::new(), room: Room::new() });
        Ok(Self(Arc::new(Shared::new(path, opened))))
    }

    /// A store without a file, which is never opened again.
    #[cfg(test)]
    pub(crate) fn of(database: redb::Database) -> Self {
        let database = Some(Arc::new(StoreFile::from(database)));
        let opened = Mutex::new(Opened { database, failed: Weak::new(), room: Room::new() });
        Self(Arc::new(Shared::new(Path::new(""), opened)))
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.0.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its file.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// True while the journal waits for room.
    pub(crate) fn lacks_room(&self) -> bool {
        self.0.lacks_room.load(Ordering::Relaxed)
    }

    fn lacked_room(&self) {
        self.opened().room.lacked();
        self.0.lacks_room.store(true, Ordering::Relaxed);
    }

    /// What is needed to tell whether it is in use, without using it.
    pub(crate) fn downgrade(&self) -> WeakStore {
        WeakStore(Arc::downgrade(&self.0))
    }

    /// The database, opened again if it has failed. Let go of it when a call on it fails. Blocks
    /// as `open` does.
    pub(crate) fn database(&self) -> Result<Arc<StoreFile>, OpenError> {
        let mut opened = self.opened();
        if let Some(database) = &opened.database {
            return Ok(Arc::clone(database));
        }
        let until = Instant::now() + RELEASE_LIMIT;
        let database = loop {
            let held = opened.failed.strong_count() > 0;
            match (!held).then(|| open_again(self.path())) {
                Some(Ok(database)) => break database,
                Some(Err(error)) if !matches!(error, OpenError::InUse { .. }) => return Err(error),
                _ if Instant::now() >= until => {
                    return Err(OpenError::InUse { path: self.path().to_owned() });
                }
                // Whoever has it is about to see the same failure.
                _ => std::thread::sleep(RELEASE_PAUSE),
            }
        };
        tracing::info!(store = %self.path().display(), "the store is open again");
        opened.database = Some(Arc::clone(&database));
        Ok(database)
    }

    /// A write to this database failed: the next user opens another.
    pub(crate) fn failed(&self, database: &Arc<StoreFile>) {
        let mut opened = self.opened();
        if opened.holds(database) {
            opened.failed = Arc::downgrade(database);
            opened.database = None;
        }
    }

    /// The journal in it.
    pub(crate) fn journal(&self) -> JournalSource {
        let store = self.clone();
        JournalSource::new(move || {
            store.look_for_room()?;
            let database = store.database().map_err(|error| {
                let error = opening(&error);
                if matches!(error, JournalError::Full(_)) {
                    store.lacked_room();
                }
                error
            })?;
            let journal = JournalDatabase::new(Arc::clone(&database));
            let store = store.clone();
            Ok(Box::new(StoreJournal { store, journal, database, committed: false }))
        })
    }

    /// If the journal found no room, is there some now? A journal that is opened too early fails
    /// again at once, and is not ready in between.
    fn look_for_room(&self) -> Result<(), JournalError> {
        let Some(wanted) = self.opened().room.wanted() else { return Ok(()) };
        let place = self.path().with_file_name(ROOM_FILE);
        let tried = File::create(&place).and_then(|mut file| {
            file.write_all(&vec![0xa5; wanted])?;
            file.sync_all()
        });
        let removed = std::fs::remove_file(&place);
        let full = |error: std::io::Error| JournalError::Full(error.to_string());
        tried.map_err(full)?;
        removed.map_err(full)?;
        self.opened().room.found();
        self.0.lacks_room.store(false, Ordering::Relaxed);
        Ok(())
    }
}

/// Never makes an empty store where one has been.
fn open_again(path: &Path) -> Result<Arc<StoreFile>, OpenError> {
    match path.metadata() {
        Ok(_) => open_database(path),
        Err(source) => Err(OpenError::Io { path: path.to_owned(), source }),
    }
}

fn opening(error: &OpenError) -> JournalError {
    match error {
        OpenError::Io { source, .. }
            if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
        {
            JournalError::Full(error.to_string())
        }
        _ => JournalError::Store(error.to_string()),
    }
}

/// Does not hold the store open.
#[derive(Debug, Clone)]
pub(crate) struct WeakStore(Weak<Shared>);

impl WeakStore {
    /// The store, if it is still in use.
    pub(crate) fn upgrade(&self) -> Option<Store> {
        self.0.upgrade().map(Store)
    }
}

/// The journal in the store, which tells the store of its failures.
#[derive(Debug)]
struct StoreJournal {
    store: Store,
    journal: JournalDatabase,
    database: Arc<StoreFile>,
    /// Since it was opened.
    committed: bool,
}

impl StoreJournal {
    fn noting<T>(&self, done: Result<T, JournalError>) -> Result<T, JournalError> {
        match &done {
            Ok(_) | Err(JournalError::Encode(_) | JournalError::Stopped) => {}
            Err(error) => {
                if matches!(error, JournalError::Full(_)) {
                    self.store.lacked_room();
                }
                self.store.failed(&self.database);
            }
        }
        done
    }
}

impl Journal for StoreJournal {
    fn replay(&mut self) -> Result<Image, JournalError> {
        let done = self.journal.replay();
        self.noting(done)
    }

    fn commit(&mut self, transactions: &[Vec<Record>]) -> Result<(), JournalError> {
        if !self.store.opened().holds(&self.database) {
            // It failed for another of its users, who waits to open it again.
            return Err(JournalError::Store("an earlier write to the store failed".to_owned()));
        }
        let done = self.journal.commit(transactions);
        self.committed |= done.is_ok();
        self.noting(done)
    }

    fn settle(&mut self) -> Result<(), JournalError> {
        let done = self.journal.settle();
        if done.is_ok() && self.committed {
            // Only now: small commits go to a log that has had its room from the beginning.
            self.store.opened().room.proved();
        }
        self.noting(done)
    }
}

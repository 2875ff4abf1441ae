use std::io;
use std::ops::Deref;
use std::sync::Arc;

use redb::StorageBackend;

use super::locks::locks_of_file;
use super::one_file::OneFile;
use super::redo::RedoArea;

/// What a store begins with; the last byte is the version of the layout.
const MAGIC: &[u8; 16] = b"lampyrid store\n\x02";

/// Bytes before the redb database: the first sector, and the two halves of the journal's redo log.
pub(crate) const FRONT_BYTES: u64 = 1024 * 1024;

/// Bytes written at once to a new front: what is written as one the system may keep as one, and
/// then counts as written whole whenever a sector of it is.
const PIECE: usize = 4096;

/// The same for tests, in which it is full all the time.
#[cfg(any(test, feature = "testkit"))]
pub(crate) const SMALL_FRONT_BYTES: u64 = 32 * 1024;

/// An open store: one file with a redb database, and before it the redo log in which small commits
/// of the journal wait until the database takes them all at once.
#[derive(Debug)]
pub struct StoreFile {
    database: redb::Database,
    redo: Option<RedoArea>,
}

impl StoreFile {
    /// Opens what `file` holds, or makes an empty store in an empty one.
    pub(crate) fn open(
        builder: &redb::Builder,
        file: Arc<dyn StorageBackend>,
        front: u64,
    ) -> Result<Self, redb::DatabaseError> {
        let io = redb::StorageError::Io;
        if file.len().map_err(io)? == 0 {
            // Written, not only made longer: later there may be no room on the disk.
            file.set_len(front).map_err(io)?;
            for at in (0..front).step_by(PIECE) {
                file.write(at, &[0; PIECE]).map_err(io)?;
            }
            file.write(0, MAGIC).map_err(io)?;
        }
        // The store and the redo log sync the same file at the same time.
        let file = Arc::new(OneFile::new(file));
        let database = Behind { file: file.clone(), front };
        let redo = RedoArea::in_front(file, front);
        let database = builder.create_with_backend(database)?;
        Ok(Self { database, redo: Some(redo) })
    }

    pub(crate) fn redo(&self) -> Option<&RedoArea> {
        self.redo.as_ref()
    }
}

/// The version of the layout that this program reads and writes.
pub(crate) const LAYOUT: u8 = MAGIC[MAGIC.len() - 1];

/// The version of the layout that a file claims to have; none if it does not begin as a store does.
pub(crate) fn layout(file: &dyn StorageBackend) -> Result<Option<u8>, io::Error> {
    let mut magic = [0; MAGIC.len()];
    if file.len()? < MAGIC.len() as u64 {
        return Ok(None);
    }
    file.read(0, &mut magic)?;
    let name = MAGIC.len() - 1;
    Ok((magic[..name] == MAGIC[..name]).then_some(magic[name]))
}

/// A database without a redo log, for tests.
impl From<redb::Database> for StoreFile {
    fn from(database: redb::Database) -> Self {
        Self { database, redo: None }
    }
}

impl Deref for StoreFile {
    type Target = redb::Database;

    fn deref(&self) -> &redb::Database {
        &self.database
    }
}

/// A file without what comes first in it.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) file: Arc<dyn StorageBackend>,
    pub(crate) front: u64,
}

impl Behind {
    fn at(&self, offset: u64) -> Result<u64, io::Error> {
        offset.checked_add(self.front).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl StorageBackend for Behind {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.file.len()?.saturating_sub(self.front))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(self.at(offset)?, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_len(self.at(len)?)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write(self.at(offset)?, data)
    }

    locks_of_file!();
}

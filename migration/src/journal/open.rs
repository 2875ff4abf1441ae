use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Builder, DatabaseError, StorageBackend};

use super::JournalError;
use super::database::{Contents, read_all};
use super::overlay::Overlay;
use super::redo::{Redo, RedoArea};
use super::store_file::{Behind, FRONT_BYTES, LAYOUT, StoreFile, layout};

/// Memory the store may use as its cache.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Why a store cannot be opened. The file is as it was, byte for byte.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{}: another process uses it", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read, written or made.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no intact store: cut off, a page changed, something else altogether.
    #[error("{}: the store is damaged: {why}; nothing was changed", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the store says.
        why: String,
    },
    /// A record in it is not what was written.
    #[error("{}: the store is damaged: table `{table}`, key {key}: {why}; nothing was changed", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The table.
        table: &'static str,
        /// The key of the record.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Opens the store at `path`, or makes an empty one. What is there is verified first, page by page
/// and record by record, on an overlay that leaves the file alone, because redb repairs in place.
/// Blocks for as long as it takes to read the file twice.
///
/// # Errors
/// [`OpenError`]; the file was not changed. A second process gets [`OpenError::InUse`] at once.
pub fn open_database(path: &Path) -> Result<Arc<StoreFile>, OpenError> {
    match path.try_exists() {
        Ok(true) => verify(path)?,
        Ok(false) => create(path)?,
        Err(source) => return Err(OpenError::Io { path: path.to_owned(), source }),
    }
    let opened = StoreFile::open(&builder(), file(path, false)?, FRONT_BYTES);
    Ok(Arc::new(opened.map_err(|error| failed(path, error))?))
}

/// True if a process has the store at `path` open.
#[must_use]
pub fn is_in_use(path: &Path) -> bool {
    let Ok(file) = file(path, false) else { return false };
    let opened = Overlay::new(Behind { file, front: FRONT_BYTES }).ok().map(|overlay| {
        catch_unwind(AssertUnwindSafe(|| builder().create_with_backend(overlay).map(drop)))
    });
    matches!(opened, Some(Ok(Err(DatabaseError::DatabaseAlreadyOpen))))
}

fn file(path: &Path, new: bool) -> Result<Arc<FileBackend>, OpenError> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create_new(new).open(path);
    let file = file.map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
    Ok(Arc::new(FileBackend::new(file).map_err(|error| failed(path, error))?))
}

fn builder() -> Builder {
    let mut builder = redb::Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

/// Makes an empty store under another name first, so that a file of this name is always a whole
/// one, and an empty file is a damaged one. Of two processes that start at once, one makes it.
fn create(path: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".new-{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    let made = StoreFile::open(&builder(), file(&fresh, true)?, FRONT_BYTES);
    drop(made.map_err(|error| failed(path, error))?);
    File::open(&fresh).and_then(|file| file.sync_all()).map_err(io)?;
    match std::fs::hard_link(&fresh, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            // No hard links on this file system: then without the guard against a second maker.
            std::fs::rename(&fresh, path).map_err(io)?;
        }
        _ => std::fs::remove_file(&fresh).map_err(io)?,
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or_else(|| Path::new("."));
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(io)
}

/// Reads everything, through an overlay: all pages, then all records.
fn verify(path: &Path) -> Result<(), OpenError> {
    match read(path, true) {
        // Which record is it? Without the check of pages it can be looked for.
        Err(OpenError::Damaged { path: damaged, why }) => match read(path, false) {
            Err(record @ OpenError::Record { .. }) => Err(record),
            _ => Err(OpenError::Damaged { path: damaged, why }),
        },
        verdict => verdict,
    }
}

fn read(path: &Path, pages: bool) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let damage = |why: &str| OpenError::Damaged { path: path.to_owned(), why: why.to_owned() };
    let file = file(path, false)?;
    let area = RedoArea::in_front(file.clone(), FRONT_BYTES);
    let overlay = Overlay::new(Behind { file: file.clone(), front: FRONT_BYTES }).map_err(io)?;
    if file.len().map_err(io)? == 0 {
        return Err(damage("the file is empty"));
    }
    match layout(&*file).map_err(io)? {
        Some(LAYOUT) if overlay.len().map_err(io)? > 0 => {}
        Some(LAYOUT) => return Err(damage("it is cut off")),
        Some(other) => {
            let why = format!("its layout is version {other}, and this program reads {LAYOUT}");
            return Err(damage(&why));
        }
        None => return Err(damage("it does not begin as a store does")),
    }
    // redb may panic on what it did not write itself.
    let verdict = catch_unwind(AssertUnwindSafe(|| -> Result<(), OpenError> {
        let mut builder = builder();
        builder.set_check_integrity_on_open(pages);
        let opened = builder.create_with_backend(overlay);
        let database = opened.map_err(|error| failed(path, error))?;
        let Contents { mut image, token, .. } =
            read_all(&database).map_err(|error| damaged(path, error))?;
        Redo::read(area, token, &mut image).map_err(|error| damaged(path, error))?;
        database.close().map_err(|error| failed(path, error))
    }));
    verdict.unwrap_or_else(|_| Err(damage("the store gave up while reading it")))
}

fn failed(path: &Path, error: DatabaseError) -> OpenError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path },
        DatabaseError::Storage(redb::StorageError::Io(source))
            if !matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) =>
        {
            OpenError::Io { path, source }
        }
        other => OpenError::Damaged { path, why: other.to_string() },
    }
}

fn damaged(path: &Path, error: JournalError) -> OpenError {
    let path = path.to_owned();
    match error {
        JournalError::Record { table, key, why } => OpenError::Record { path, table, key, why },
        other => OpenError::Damaged { path, why: other.to_string() },
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use lampyrid_migration::{EntityRow, Image, Journal, Record, RecordKind, Write};
use lampyrid_wire::{EntityId, OwnershipEpoch};

use super::{RecoverError, Recovery, blocking};
use crate::storage::{Storage, StorageError};

/// Entities in one transaction: some megabytes, if their states are small.
const BATCH: usize = 1_000;

/// What ends the name of a directory that is not complete.
const UNFINISHED: &str = "unfinished";

/// How many ownership epochs on an entity is that was taken from a backup: as after a bar, beyond
/// the move that the lost process may have been in.
const EPOCHS_ON: u64 = 2;

impl Recovery {
    /// The entities that the process owned, and their epochs.
    ///
    /// # Errors
    /// [`RecoverError::Storage`].
    pub async fn owned(&self) -> Result<BTreeMap<EntityId, OwnershipEpoch>, RecoverError> {
        let storage = self.storage.clone();
        blocking(move || {
            let entities = storage.image()?.entities;
            Ok(entities.into_iter().map(|(id, row)| (id, row.epoch)).collect())
        })
        .await
    }

    /// Makes a data directory of a process that has not been started yet, with the bubbles of this
    /// one and those of its entities that are in `keep`, two ownership epochs on. Nothing of its
    /// identity, its promises and its moves comes along, and this directory is left as it is. The new
    /// one appears under its name when it is complete and durable.
    ///
    /// For a process whose disk is lost, from a backup of it alone. That none of `keep` lives
    /// elsewhere, and that the old process never comes back, is for the caller to know: bar it
    /// first, then ask all members.
    ///
    /// # Errors
    /// [`RecoverError::Exists`]: nothing was written. [`RecoverError::Storage`] and
    /// [`RecoverError::Io`]: there may be an unfinished directory, which the next call replaces.
    pub async fn salvage(&self, into: &Path, keep: BTreeSet<EntityId>) -> Result<(), RecoverError> {
        let (storage, into) = (self.storage.clone(), into.to_owned());
        blocking(move || {
            let exists = into.try_exists().map_err(|source| io(&into, source))?;
            if exists {
                return Err(RecoverError::Exists { path: into });
            }
            let mut image = storage.image()?;
            image.entities.retain(|id, _| keep.contains(id));
            let unfinished = unfinished(&into);
            match std::fs::remove_dir_all(&unfinished) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io(&unfinished, error));
                }
                _ => {}
            }
            fill(&unfinished, image)?;
            std::fs::rename(&unfinished, &into).map_err(|source| io(&into, source))?;
            let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty());
            let parent = parent.unwrap_or(Path::new("."));
            let synced = File::open(parent).and_then(|directory| directory.sync_all());
            synced.map_err(|source| io(parent, source))
        })
        .await
    }
}

fn io(path: &Path, source: std::io::Error) -> RecoverError {
    RecoverError::Io { path: path.to_owned(), source }
}

fn unfinished(into: &Path) -> PathBuf {
    let mut name = into.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(UNFINISHED);
    into.with_file_name(name)
}

/// Makes the directory, and lets go of it when everything in it is durable.
fn fill(directory: &Path, image: Image) -> Result<(), RecoverError> {
    let storage = Storage::open(Some(directory))?;
    let failed = |source| StorageError::Journal { path: directory.to_owned(), source };
    let mut journal = storage.database()?;
    journal.replay().map_err(failed)?;
    let bubbles = image.bubbles.into_iter().map(|bubble| Write::Bubble(bubble, true)).collect();
    let created = Record { kind: RecordKind::CreateBubble, writes: bubbles };
    journal.commit(&[vec![created]]).map_err(failed)?;
    let mut left: Vec<(EntityId, EntityRow)> = image.entities.into_iter().collect();
    while !left.is_empty() {
        let batch = left.split_off(left.len().saturating_sub(BATCH)).into_iter();
        let writes = batch.map(|(id, row)| {
            let epoch = OwnershipEpoch(row.epoch.0 + EPOCHS_ON);
            Write::Entity(id, Some(EntityRow { epoch, ..row }))
        });
        let created = Record { kind: RecordKind::Create, writes: writes.collect() };
        journal.commit(&[vec![created]]).map_err(failed)?;
    }
    journal.settle().map_err(failed)?;
    Ok(storage.set_has_bubbles()?)
}

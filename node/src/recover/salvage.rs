use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use lampyrid_membership::AcceptorState;
use lampyrid_migration::{EntityRow, Image, Journal, Record, RecordKind, Write};
use lampyrid_wire::{BubbleId, EntityId, Incarnation, OwnershipEpoch, ProcessId};

use super::{RecoverError, Recovery, blocking};
use crate::storage::{STORE_FILE, Storage, StorageError};

/// Entities in one transaction: some megabytes, if their states are small.
const BATCH: usize = 1_000;

/// What ends the name of a directory that is not complete.
const UNFINISHED: &str = "unfinished";

/// How many ownership epochs on an entity is that was taken from a backup. Members remember at which
/// epochs they have had it since, and take no older one: this is more than any entity moves.
const EPOCHS_ON: u64 = 1 << 32;

impl Recovery {
    /// Whether a directory can be made under that name.
    ///
    /// # Errors
    /// [`RecoverError::Exists`] and [`RecoverError::Io`].
    pub fn check_new(into: &Path) -> Result<(), RecoverError> {
        // A link that leads nowhere is there as well.
        match std::fs::symlink_metadata(into) {
            Ok(_) => return Err(RecoverError::Exists { path: into.to_owned() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(into, error)),
        }
        let parent = parent(into);
        std::fs::metadata(parent).map(drop).map_err(|source| io(parent, source))
    }

    /// The entities that the process owned, and the bubbles they were in.
    ///
    /// # Errors
    /// [`RecoverError::Storage`].
    pub async fn owned(&self) -> Result<BTreeMap<EntityId, BubbleId>, RecoverError> {
        let storage = self.storage.clone();
        blocking(move || {
            let entities = storage.image()?.entities;
            Ok(entities.into_iter().map(|(id, row)| (id, row.bubble)).collect())
        })
        .await
    }

    /// Makes a data directory of a process that has not been started yet, with the bubbles of this
    /// one and those of its entities that are in `keep`, 2^32 ownership epochs on. Bubbles of
    /// `hosted` are others' by now: what was in them is in one fresh bubble. Nothing of its
    /// identity, its promises and its moves comes along. The new directory appears under its name
    /// when it is complete and durable.
    ///
    /// The new process has an id that follows from the old one: of two that were made of one backup
    /// the second is refused by whoever has met the first.
    ///
    /// For a process whose disk is lost, from a backup of it alone. That none of `keep` lives
    /// elsewhere, and that the old process never comes back, is for the caller to know: bar it
    /// first, then ask all members.
    ///
    /// # Errors
    /// [`RecoverError::Exists`]: nothing was written. [`RecoverError::Storage`] and
    /// [`RecoverError::Io`]: there may be an unfinished directory, which the next call replaces.
    pub async fn salvage(
        &self,
        into: &Path,
        keep: BTreeSet<EntityId>,
        hosted: BTreeSet<BubbleId>,
    ) -> Result<(), RecoverError> {
        let (storage, into) = (self.storage.clone(), into.to_owned());
        let successor = successor(self.process());
        blocking(move || {
            Self::check_new(&into)?;
            let mut image = storage.image()?;
            image.entities.retain(|id, _| keep.contains(id));
            rehouse(&mut image, &hosted);
            let unfinished = unfinished(&into);
            clear(&unfinished)?;
            fill(&unfinished, image, successor)?;
            std::fs::rename(&unfinished, &into).map_err(|source| io(&into, source))?;
            let parent = parent(&into);
            let synced = File::open(parent).and_then(|directory| directory.sync_all());
            synced.map_err(|source| io(parent, source))
        })
        .await
    }
}

/// The id of the process that goes on with the entities of a lost one.
fn successor(lost: ProcessId) -> ProcessId {
    ProcessId::from_name(&format!("successor of {lost}"))
}

fn parent(into: &Path) -> &Path {
    let parent = into.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Removes what an earlier call has left unfinished, and nothing that somebody else has put there.
fn clear(unfinished: &Path) -> Result<(), RecoverError> {
    let files = match std::fs::read_dir(unfinished) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        files => files.map_err(|source| io(unfinished, source))?,
    };
    for file in files {
        let file = file.map_err(|source| io(unfinished, source))?;
        if !file.file_name().to_string_lossy().starts_with(STORE_FILE) {
            return Err(RecoverError::Exists { path: file.path() });
        }
    }
    std::fs::remove_dir_all(unfinished).map_err(|source| io(unfinished, source))
}

/// Takes entities out of bubbles that others host.
fn rehouse(image: &mut Image, hosted: &BTreeSet<BubbleId>) {
    image.bubbles.retain(|bubble| !hosted.contains(bubble));
    let fresh = BubbleId::random();
    for row in image.entities.values_mut().filter(|row| hosted.contains(&row.bubble)) {
        row.bubble = fresh;
        image.bubbles.insert(fresh);
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
fn fill(directory: &Path, image: Image, process: ProcessId) -> Result<(), RecoverError> {
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
    storage.set_has_bubbles()?;
    // Its first start is the incarnation after this one.
    let identity = AcceptorState::new(process, Incarnation(0));
    storage.acceptor.save(&identity).map_err(|source| storage.fault(source).into())
}

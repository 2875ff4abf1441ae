use std::sync::Arc;

use super::disk::{CrashDisk, Survival};
use super::world::World;
use crate::journal::{SMALL_FRONT_BYTES, StoreFile, at_once};
use crate::{Database, Image, Journal, JournalError, Record, RecordKind, Write};

/// Memory for the store's cache: small, so that pages go to the disk before their commit as well.
const CACHE_BYTES: usize = 256 * 1024;

/// So many bytes of the log may be dead: few, so that it is cleaned all the time.
const DEAD_BYTES: u64 = 16 * 1024;

/// After so many commits the redo log is emptied before it is full.
const SETTLES_AFTER: u64 = 7;

/// The journal of a process in a store on a disk that fails.
#[derive(Debug)]
pub(crate) struct Stored {
    disk: CrashDisk,
    journal: Option<Database>,
    /// What a failed commit held: whether it is durable is known when the store was read again.
    unknown: Vec<Vec<Record>>,
    commits: u64,
    pub(crate) failures: u64,
}

impl Stored {
    /// An empty one.
    pub(crate) fn new(seed: u64) -> Self {
        let disk = CrashDisk::new(seed);
        Self { disk, journal: None, unknown: Vec::new(), commits: 0, failures: 0 }
    }

    pub(crate) fn disk(&self) -> &CrashDisk {
        &self.disk
    }

    /// Opens the store, whoever had it open before, and reads it.
    fn open(&mut self) -> Result<Image, JournalError> {
        self.journal = None;
        self.disk = self.disk.reopen();
        let mut builder = redb::Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let disk = Arc::new(self.disk.clone());
        let opened = StoreFile::open(&builder, disk, SMALL_FRONT_BYTES)
            .map_err(|error| JournalError::Store(error.to_string()))?;
        let journal = Database::new(Arc::new(opened)).cleaning_from(DEAD_BYTES);
        let mut journal = journal.taking_in(at_once);
        let image = journal.replay()?;
        self.journal = Some(journal);
        Ok(image)
    }

    fn commit(&mut self, group: Vec<Vec<Record>>) -> Result<Vec<Vec<Record>>, JournalError> {
        let journal = self.journal.as_mut().ok_or(JournalError::Stopped)?;
        match journal.commit(&group) {
            Ok(()) => Ok(group),
            Err(error) => {
                self.unknown = group;
                self.journal = None;
                self.failures += 1;
                Err(error)
            }
        }
    }

    /// Now and then, what the journal does when nothing comes.
    fn settle(&mut self) -> Result<(), JournalError> {
        self.commits += 1;
        let turn = self.commits.is_multiple_of(SETTLES_AFTER);
        let Some(journal) = self.journal.as_mut().filter(|_| turn) else { return Ok(()) };
        journal.settle().inspect_err(|_| {
            self.journal = None;
            self.failures += 1;
        })
    }

    /// The machine goes down with the process.
    pub(crate) fn power_off(&mut self, survival: Survival) {
        self.journal = None;
        self.disk = self.disk.crash(survival);
    }
}

impl World {
    /// What a process that starts finds; `None` if it cannot start because its store cannot be
    /// opened.
    pub(crate) fn find(&mut self, process: usize) -> Option<Image> {
        let it = &mut self.processes[process];
        let Some(store) = &mut it.store else { return Some(it.disk.clone()) };
        let image = store.open().ok()?;
        let unknown = std::mem::take(&mut store.unknown);
        if image != it.disk {
            it.synced += unknown.len() as u64;
            for record in unknown.iter().flatten() {
                for write in &record.writes {
                    // Nobody was told that it is there, but it is.
                    if let (RecordKind::Create, Write::Entity(id, _)) = (record.kind, write) {
                        self.truth.entry(*id).or_default();
                    }
                }
            }
            for records in &unknown {
                self.write(process, records);
            }
        }
        if image != self.processes[process].disk {
            self.noticed = Some(format!("process {process} reads what it never wrote"));
        }
        Some(image)
    }

    /// Makes that many transactions durable in one commit. If that fails the process goes no
    /// further: nothing that depends on any of them is done.
    pub(crate) fn sync_stored(&mut self, process: usize, count: usize) {
        let it = &mut self.processes[process];
        let (Some(live), Some(store)) = (&mut it.live, &mut it.store) else { return };
        let count = count.min(live.unsynced.len());
        let (numbers, group): (Vec<u64>, Vec<_>) = live.unsynced.drain(..count).unzip();
        let Some(&last) = numbers.last() else { return };
        match store.commit(group) {
            Ok(group) => {
                it.synced += count as u64;
                live.outbox.synced(last);
                let settled = store.settle();
                for records in &group {
                    self.write(process, records);
                }
                self.release(process);
                if settled.is_err() {
                    self.crash(process);
                }
            }
            Err(_) => self.crash(process),
        }
    }
}

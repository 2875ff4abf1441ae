use std::collections::BTreeSet;
use std::io;

use super::super::random::Random;

/// The least that a disk writes as a whole.
const SECTOR: usize = 512;

/// What a file system hands to the disk at once, and what it allocates.
const BLOCK: usize = 4096;

/// What of the unsynced survives a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Survival {
    /// Nothing.
    None,
    /// Everything.
    All,
    /// Any subset of the writes, some of them torn; by seed.
    Random(u64),
}

/// Something that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Len(u64),
}

/// A file: what is on the disk, what is read, and how the one becomes the other.
#[derive(Clone, Default, Debug)]
pub(super) struct Content {
    disk: Vec<u8>,
    cache: Vec<u8>,
    /// In the order in which they were made.
    unsynced: Vec<Change>,
    /// Blocks that have a place on the disk.
    placed: BTreeSet<u64>,
    /// How many more may get one.
    room: Option<u64>,
}

impl Content {
    pub(super) fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    pub(super) fn set_room(&mut self, room: Option<u64>) {
        self.room = room;
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        out.copy_from_slice(&self.cache[range(offset, out.len(), self.cache.len())?]);
        Ok(())
    }

    pub(super) fn set_len(&mut self, len: u64) {
        resize(&mut self.cache, len);
        self.placed.split_off(&len.div_ceil(BLOCK as u64));
        self.unsynced.push(Change::Len(len));
    }

    /// Writes, up to the first block for which there is no room.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        range(offset, data.len(), self.cache.len())?;
        for (at, piece) in pieces(offset, data, BLOCK) {
            let block = at / BLOCK as u64;
            if !self.placed.contains(&block) {
                if let Some(room) = &mut self.room {
                    *room = room
                        .checked_sub(1)
                        .ok_or_else(|| io::Error::from(io::ErrorKind::StorageFull))?;
                }
                self.placed.insert(block);
            }
            put(&mut self.cache, at, piece);
            self.unsynced.push(Change::Write(at, piece.to_vec()));
        }
        Ok(())
    }

    /// A write that fails half way.
    pub(super) fn write_some(&mut self, offset: u64, data: &[u8], random: &mut Random) {
        let sectors = random.below(data.len() / SECTOR + 1);
        // It fails anyway.
        let _ = self.write(offset, &data[..sectors * SECTOR]);
    }

    /// Everything dirty gets to the disk; not all that is read may be dirty.
    pub(super) fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match &change {
                Change::Write(at, data) => put(&mut self.disk, *at, data),
                Change::Len(len) => resize(&mut self.disk, *len),
            }
        }
    }

    /// Some of what is dirty gets to the disk; the rest is not dirty any more. Lengths are no pages:
    /// the file system keeps them.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        let density = random.below(101);
        for change in std::mem::take(&mut self.unsynced) {
            match &change {
                Change::Write(at, data) => {
                    for (at, sector) in pieces(*at, data, SECTOR) {
                        if random.percent(density) {
                            put(&mut self.disk, at, sector);
                        }
                    }
                }
                Change::Len(len) => resize(&mut self.disk, *len),
            }
        }
        if random.percent(50) {
            self.cache.clone_from(&self.disk);
        }
    }

    /// The file as it is found after a crash.
    pub(super) fn after_crash(&self, survival: Survival, random: &mut Random) -> Self {
        let mut disk = self.disk.clone();
        let (density, grain) = match survival {
            Survival::None => (0, BLOCK),
            Survival::All => (100, BLOCK),
            Survival::Random(_) => (random.below(101), [SECTOR, BLOCK][random.below(2)]),
        };
        for change in &self.unsynced {
            match change {
                Change::Write(at, data) => {
                    for (at, piece) in pieces(*at, data, grain) {
                        // Beyond the length that survived there is nothing.
                        let inside = at + piece.len() as u64 <= disk.len() as u64;
                        if inside && random.percent(density) {
                            put(&mut disk, at, piece);
                        }
                    }
                }
                Change::Len(len) if random.percent(density) => resize(&mut disk, *len),
                Change::Len(_) => {}
            }
        }
        let blocks = (disk.len().div_ceil(BLOCK)) as u64;
        let placed = self.placed.iter().copied().filter(|block| *block < blocks).collect();
        Self { cache: disk.clone(), disk, unsynced: Vec::new(), placed, room: self.room }
    }

    pub(super) fn cut(&mut self, len: u64) {
        let len = len.min(self.len());
        resize(&mut self.cache, len);
        self.disk.clone_from(&self.cache);
        self.unsynced.clear();
    }
}

fn resize(bytes: &mut Vec<u8>, len: u64) {
    bytes.resize(usize::try_from(len).unwrap_or(usize::MAX), 0);
}

fn put(bytes: &mut [u8], at: u64, data: &[u8]) {
    let at = at as usize;
    bytes[at..at + data.len()].copy_from_slice(data);
}

fn range(offset: u64, len: usize, end: usize) -> Result<std::ops::Range<usize>, io::Error> {
    let start = usize::try_from(offset).ok();
    let range = start.and_then(|start| Some(start..start.checked_add(len)?));
    range
        .filter(|range| range.end <= end)
        .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Cuts a write at the multiples of `grain`.
fn pieces(offset: u64, data: &[u8], grain: usize) -> impl Iterator<Item = (u64, &[u8])> {
    let mut done = 0;
    std::iter::from_fn(move || {
        (done < data.len()).then(|| {
            let at = offset + done as u64;
            let count = (grain - (at % grain as u64) as usize).min(data.len() - done);
            done += count;
            (at, &data[done - count..done])
        })
    })
}

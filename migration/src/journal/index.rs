use std::collections::HashMap;

use super::log::{LogWrite, Place};

/// Bytes of the log that may be dead whatever it holds: a small journal is not worth cleaning.
pub(crate) const DEAD_BYTES: u64 = 16 * 1024 * 1024;

/// The log is cleaned while it is longer than this many times what is live in it. Twice means that
/// on the average half of what is cleaned is dead, and each byte is written once more.
pub(crate) const LIVE_FACTOR: u64 = 2;

/// Bytes cleaned for each byte that commits bring, at most.
pub(crate) const CLEAN_FACTOR: u64 = 2;

/// Where in the log the newest write of each row is, and how much of the log is live: the
/// bookkeeping of a log-structured store (Rosenblum and Ousterhout, 1992).
///
/// A row that was removed has no entry: all its writes are dead, the removal itself included once
/// everything before it has been cleaned, and the log is cleaned oldest first.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// By table and key.
    live: HashMap<Box<[u8]>, Place>,
    /// The first position of the log.
    oldest: u64,
    /// The position after its last.
    next: u64,
    total_bytes: u64,
    live_bytes: u64,
    /// Bytes that may be cleaned for what commits have brought since the last cleaning.
    earned: u64,
    /// For look-ups without an allocation.
    name: Vec<u8>,
}

impl Index {
    /// An empty one, of a log that begins at that position.
    pub(crate) fn starting_at(oldest: u64) -> Self {
        Self { oldest, next: oldest, ..Self::default() }
    }

    /// The first position of the log.
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// Where the next row goes.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Bytes of all rows of the log.
    #[cfg(test)]
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Bytes of those writes that a replay needs.
    #[cfg(test)]
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// A write is the newest of its row now.
    pub(crate) fn wrote(&mut self, table: usize, key: &[u8], put: bool, place: Place) {
        self.name_of(table, key);
        let before = match put {
            true => {
                self.live_bytes += u64::from(place.bytes);
                match self.live.get_mut(self.name.as_slice()) {
                    Some(entry) => Some(std::mem::replace(entry, place)),
                    None => self.live.insert(self.name.as_slice().into(), place),
                }
            }
            false => self.live.remove(self.name.as_slice()),
        };
        if let Some(before) = before {
            self.live_bytes -= u64::from(before.bytes);
        }
    }

    /// True if a replay needs that write.
    pub(crate) fn is_live(&mut self, write: &LogWrite<'_>) -> bool {
        self.name_of(write.table, write.key);
        self.live.get(self.name.as_slice()) == Some(&write.place)
    }

    /// A row of that many bytes was appended.
    pub(crate) fn appended(&mut self, bytes: usize) {
        self.next += 1;
        self.total_bytes += bytes as u64;
    }

    /// A commit has earned the cleaning of that many bytes.
    pub(crate) fn earned(&mut self, bytes: u64) {
        self.earned += bytes;
    }

    /// The oldest row, of that many bytes, goes, if that has been earned.
    pub(crate) fn spend(&mut self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        if self.earned < bytes {
            return false;
        }
        self.earned -= bytes;
        self.oldest += 1;
        self.total_bytes -= bytes;
        true
    }

    /// True while so much is dead that the oldest row should go; `dead_bytes` may be dead anyway.
    pub(crate) fn wants_cleaning(&self, dead_bytes: u64) -> bool {
        self.total_bytes > LIVE_FACTOR * self.live_bytes + dead_bytes
    }

    /// What was earned and not needed is not saved up for one long commit later.
    pub(crate) fn forfeit(&mut self) {
        self.earned = 0;
    }

    fn name_of(&mut self, table: usize, key: &[u8]) {
        self.name.clear();
        self.name.push(table as u8);
        self.name.extend_from_slice(key);
    }
}

use std::sync::Arc;

use redb::ReadableTable;

use super::JournalError;
use super::database::{LOG_TABLE, TOKEN_TABLE, begin_durable, store};
use super::index::{CLEAN_FACTOR, Index};
use super::log::{Tail, log_error, read_row};
use super::redo::Pending;
use super::store_file::StoreFile;

/// One transaction of the store: rows that come into its log, and the oldest that go.
pub(crate) struct Take {
    pub(crate) store: Arc<StoreFile>,
    pub(crate) rows: Pending,
    /// Of the first frames in the redo log that the store does not have then.
    pub(crate) token: Option<u64>,
    /// Bytes of the log that may be dead whatever it holds.
    pub(crate) dead_bytes: u64,
}

impl Take {
    /// Makes it durable.
    ///
    /// # Errors
    /// The store's; whether it is durable is unknown then.
    pub(crate) fn run(self, index: &mut Index) -> Result<(), JournalError> {
        let transaction = begin_durable(&self.store).map_err(store)?;
        let mut log = transaction.open_table(LOG_TABLE).map_err(store)?;
        let mut tail = Tail::at(index.next());
        let bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let brought: usize = self.rows.iter().map(|((_, key), row)| key.len() + bytes(row)).sum();
        index.earned(CLEAN_FACTOR * brought as u64);
        clean(&mut log, index, &mut tail, self.dead_bytes)?;
        for ((table, key), value) in &self.rows {
            let place = tail.push(*table, key, value.as_deref())?;
            index.wrote(*table, key, value.is_some(), place);
        }
        for (position, row) in tail.finish(index.oldest()) {
            log.insert(position, row.as_slice()).map_err(store)?;
            index.appended(row.len());
        }
        drop(log);
        if let Some(token) = self.token {
            let mut table = transaction.open_table(TOKEN_TABLE).map_err(store)?;
            table.insert((), token).map_err(store)?;
        }
        transaction.commit().map_err(store)
    }
}

/// Removes the oldest rows of the log while too much of it is dead and the commits so far have
/// earned it, and appends again what of them is live.
fn clean(
    log: &mut redb::Table<'_, u64, &'static [u8]>,
    index: &mut Index,
    tail: &mut Tail,
    dead_bytes: u64,
) -> Result<(), JournalError> {
    let end = index.next();
    while index.oldest() < end && index.wants_cleaning(dead_bytes) {
        let position = index.oldest();
        let row = log.get(position).map_err(store)?;
        let row = row.ok_or_else(|| log_error(position, "the row is missing"))?;
        if !index.spend(row.value().len()) {
            break;
        }
        for write in read_row(position, row.value())?.1 {
            if index.is_live(&write) {
                let place = tail.push(write.table, write.key, write.value)?;
                index.wrote(write.table, write.key, true, place);
            }
        }
        drop(row);
        log.remove(position).map_err(store)?;
    }
    if !index.wants_cleaning(dead_bytes) {
        index.forfeit();
    }
    Ok(())
}

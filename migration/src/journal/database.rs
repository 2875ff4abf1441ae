use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError, TableHandle};
use uuid::Uuid;

use super::codec::{RawWrite, TABLES, decode_row, encode_write, record_error};
use super::index::{CLEAN_FACTOR, DEAD_BYTES, Index};
use super::log::{LOG, Tail, log_error, read_row};
use super::redo::{Pending, Redo};
use super::store_file::StoreFile;
use super::{Journal, JournalError, io_error};
use crate::{Image, Record};

/// The token of the first frames; never zero, as which unused sectors would pass.
const FIRST_TOKEN: u64 = 1;

/// The token of the frames in the redo log that the store does not have yet.
const TOKEN_TABLE: TableDefinition<'static, (), u64> = TableDefinition::new("lampyrid_redo");

const LOG_TABLE: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new(LOG);

/// The journal in a redb database, which others may use as well (for other tables).
///
/// It is a log in one table, in the order of its positions, so a commit appends a few rows however
/// many entities it is about. What newer writes have made dead is cleaned by the commits
/// themselves, oldest first, in proportion to what they bring: there is no timer, no long pause,
/// and the log stays within a small multiple of what is live (decision 18). Small commits go to the
/// redo log before it, one sync each, and into the table together (decision 24).
#[derive(Debug)]
pub struct Database {
    store: Arc<StoreFile>,
    /// Known since the replay, until something fails.
    state: Option<State>,
    /// Bytes of the log that may be dead whatever it holds.
    dead_bytes: u64,
}

#[derive(Debug)]
struct State {
    index: Index,
    /// None in a store without a redo log.
    redo: Option<Redo>,
}

impl Database {
    /// A journal in that store.
    #[must_use]
    pub fn new(store: Arc<StoreFile>) -> Self {
        Self { store, state: None, dead_bytes: DEAD_BYTES }
    }

    /// Cleans a small log as well, for tests.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn cleaning_from(self, dead_bytes: u64) -> Self {
        Self { dead_bytes, ..self }
    }

    /// Bytes of the log, and those that are live.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> (u64, u64) {
        let index = self.state.as_ref().map(|state| &state.index);
        index.map_or((0, 0), |index| (index.total_bytes(), index.live_bytes()))
    }

    fn read(&self) -> Result<(Image, State), JournalError> {
        let Contents { mut image, index, token } = read_all(&**self.store)?;
        let area = self.store.redo().cloned();
        let redo = area.map(|area| Redo::read(area, token, &mut image)).transpose()?;
        if let Some(redo) = &redo {
            redo.settle_tail()?;
        }
        Ok((image, State { index, redo }))
    }

    /// What is in the redo log and these writes, in one transaction.
    fn commit_to_store(
        &self,
        state: &mut State,
        writes: Vec<RawWrite>,
    ) -> Result<(), JournalError> {
        let State { index, redo } = state;
        let mut all = redo.as_mut().map_or_else(Pending::new, Redo::take_pending);
        all.extend(writes.into_iter().map(RawWrite::into_row));
        let transaction = begin_durable(&self.store).map_err(store)?;
        let mut log = transaction.open_table(LOG_TABLE).map_err(store)?;
        let mut tail = Tail::at(index.next());
        let bytes = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let brought: usize = all.iter().map(|((_, key), value)| key.len() + bytes(value)).sum();
        index.earned(CLEAN_FACTOR * brought as u64);
        clean(&mut log, index, &mut tail, self.dead_bytes)?;
        for ((table, key), value) in &all {
            let place = tail.push(*table, key, value.as_deref())?;
            index.wrote(*table, key, value.is_some(), place);
        }
        for (position, row) in tail.finish(index.oldest()) {
            log.insert(position, row.as_slice()).map_err(store)?;
            index.appended(row.len());
        }
        drop(log);
        // What the redo log holds is over with this transaction, whatever becomes of it there.
        let token = Uuid::new_v4().as_u64_pair().0;
        if redo.is_some() {
            let mut table = transaction.open_table(TOKEN_TABLE).map_err(store)?;
            table.insert((), token).map_err(store)?;
        }
        transaction.commit().map_err(store)?;
        if let Some(redo) = redo {
            redo.restart(token);
        }
        Ok(())
    }
}

impl Journal for Database {
    fn replay(&mut self) -> Result<Image, JournalError> {
        self.state = None;
        let (image, state) = self.read()?;
        self.state = Some(state);
        Ok(image)
    }

    fn commit(&mut self, transactions: &[Vec<Record>]) -> Result<(), JournalError> {
        let records = transactions.iter().flatten();
        let writes: Vec<RawWrite> = records
            .flat_map(|record| &record.writes)
            .map(encode_write)
            .collect::<Result<_, _>>()?;
        // Taken: after an error it is not known what the store holds.
        let mut state = match self.state.take() {
            Some(state) => state,
            None => self.read()?.1,
        };
        let left = match &mut state.redo {
            Some(redo) => redo.append(writes)?,
            None => Some(writes),
        };
        if let Some(writes) = left {
            self.commit_to_store(&mut state, writes)?;
        }
        self.state = Some(state);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), JournalError> {
        let Some(mut state) = self.state.take() else { return Ok(()) };
        if state.redo.as_ref().is_some_and(|redo| !redo.is_empty()) {
            self.commit_to_store(&mut state, Vec::new())?;
        }
        self.state = Some(state);
        Ok(())
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

/// Begins a write of which a killed process leaves either all or nothing, and never less than what
/// was acknowledged: two-phase, with the state of the allocator in the commit. A one-phase commit
/// whose newest pages were damaged later would be taken for one that a crash cut short, and be
/// rolled back in silence when the store is opened after a kill.
///
/// # Errors
/// The store's.
pub fn begin_durable(
    database: &redb::Database,
) -> Result<redb::WriteTransaction, redb::TransactionError> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// What is in a store.
pub(crate) struct Contents {
    pub(crate) image: Image,
    pub(crate) index: Index,
    /// That of the redo log, whose frames come after it.
    pub(crate) token: u64,
}

/// Reads and verifies every row.
pub(crate) fn read_all(database: &impl ReadableDatabase) -> Result<Contents, JournalError> {
    let unreadable = |error: &dyn std::error::Error| {
        record_error(LOG, "(unreadable)".to_owned(), &error.to_string())
    };
    let transaction = database.begin_read().map_err(store)?;
    for table in transaction.list_tables().map_err(|error| unreadable(&error))? {
        if let Some(name) = TABLES.iter().find(|name| **name == table.name()) {
            let why = "written by a journal of version 1, which this version does not read";
            return Err(record_error(name, "(all)".to_owned(), why));
        }
    }
    let mut image = Image::default();
    let log = match transaction.open_table(LOG_TABLE) {
        Ok(log) => log,
        Err(TableError::TableDoesNotExist(_)) => {
            return Ok(Contents { image, index: Index::starting_at(0), token: FIRST_TOKEN });
        }
        Err(error) => return Err(unreadable(&error)),
    };
    let mut rows = log.iter().map_err(|error| unreadable(&error))?.peekable();
    let first = match rows.peek() {
        Some(Ok((position, _))) => position.value(),
        _ => 0,
    };
    let mut index = Index::starting_at(first);
    let mut oldest = first;
    for row in rows {
        let (position, row) = row.map_err(|error| unreadable(&error))?;
        let (position, row) = (position.value(), row.value());
        if position != index.next() {
            return Err(log_error(index.next(), "the row is missing"));
        }
        let (had, writes) = read_row(position, row)?;
        oldest = had;
        for write in writes {
            decode_row(&mut image, write.table, write.key, write.value)?;
            index.wrote(write.table, write.key, write.value.is_some(), write.place);
        }
        index.appended(row.len());
    }
    if oldest != first {
        return Err(log_error(oldest, "the row is missing"));
    }
    let token = match transaction.open_table(TOKEN_TABLE) {
        Ok(table) => table.get(()).map_err(|error| unreadable(&error))?.map(|token| token.value()),
        Err(TableError::TableDoesNotExist(_)) => None,
        Err(error) => return Err(unreadable(&error)),
    };
    Ok(Contents { image, index, token: token.unwrap_or(FIRST_TOKEN) })
}

fn store(error: impl Into<redb::Error>) -> JournalError {
    match error.into() {
        redb::Error::Io(error) => io_error(error),
        error => JournalError::Store(error.to_string()),
    }
}

use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError, TableHandle};

use super::codec::{RawWrite, TABLES, decode_row, encode_write, record_error};
use super::index::{DEAD_BYTES, Index};
use super::log::{LOG, log_error, read_row};
use super::redo::{Appended, Pending, Redo};
use super::store_file::StoreFile;
use super::take::Take;
use super::taker::{Background, Taker, in_thread};
use super::{Journal, JournalError, io_error};
use crate::{Image, Record};

/// The token of the first frames; never zero, as which unused sectors would pass, and even, so that
/// they are in the first half.
const FIRST_TOKEN: u64 = 2;

/// The token of the first frames in the redo log that the store does not have yet.
pub(crate) const TOKEN_TABLE: TableDefinition<'static, (), u64> =
    TableDefinition::new("lampyrid_redo");

pub(crate) const LOG_TABLE: TableDefinition<'static, u64, &'static [u8]> =
    TableDefinition::new(LOG);

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
    /// Where the store takes what is in half of the redo log.
    background: Background,
}

#[derive(Debug)]
struct State {
    taker: Taker,
    /// None in a store without a redo log.
    redo: Option<Redo>,
}

impl Database {
    /// A journal in that store.
    #[must_use]
    pub fn new(store: Arc<StoreFile>) -> Self {
        Self { store, state: None, dead_bytes: DEAD_BYTES, background: in_thread }
    }

    /// Cleans a small log as well, for tests.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn cleaning_from(self, dead_bytes: u64) -> Self {
        Self { dead_bytes, ..self }
    }

    /// Lets a test choose when the store takes something.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn taking_in(self, background: Background) -> Self {
        Self { background, ..self }
    }

    /// Bytes of the log, and those that are live.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> (u64, u64) {
        self.state.as_ref().map_or((0, 0), |state| state.taker.bytes())
    }

    fn read(&self) -> Result<(Image, State), JournalError> {
        let Contents { mut image, index, token } = read_all(&**self.store)?;
        let area = self.store.redo().cloned();
        let redo = area.map(|area| Redo::read(area, token, &mut image)).transpose()?;
        if let Some(redo) = &redo {
            redo.settle_tail()?;
        }
        Ok((image, State { taker: Taker::new(index), redo }))
    }

    fn write(&self, state: &mut State, writes: Vec<RawWrite>) -> Result<(), JournalError> {
        let State { taker, redo } = state;
        let Some(redo) = redo else {
            let rows = writes.into_iter().map(RawWrite::into_row).collect();
            return taker.run(self.take(rows, None));
        };
        if taker.poll()? {
            redo.taken();
        }
        if redo.is_due() && redo.can_turn() {
            self.begin(taker, redo)?;
        }
        let writes = match redo.append(writes)? {
            Appended::Durable => return Ok(()),
            Appended::ToStore(writes) => return self.take_all(taker, redo, writes),
            Appended::NoRoom(writes) => writes,
        };
        if taker.wait()? {
            redo.taken();
        }
        if !redo.can_turn() {
            // So it was found at the start.
            return self.take_all(taker, redo, writes);
        }
        self.begin(taker, redo)?;
        match redo.append(writes)? {
            Appended::Durable => Ok(()),
            // Not in an empty half, but then it is right as well.
            Appended::NoRoom(writes) | Appended::ToStore(writes) => {
                self.take_all(taker, redo, writes)
            }
        }
    }

    /// The store begins to take what is in this half of the log; commits go to the other.
    fn begin(&self, taker: &mut Taker, redo: &mut Redo) -> Result<(), JournalError> {
        let (rows, token) = redo.take();
        redo.turn();
        taker.begin(self.take(rows, Some(token)), self.background)
    }

    /// The store takes everything at once, and these writes with it.
    fn take_all(
        &self,
        taker: &mut Taker,
        redo: &mut Redo,
        writes: Vec<RawWrite>,
    ) -> Result<(), JournalError> {
        taker.wait()?;
        let (mut rows, token) = redo.take();
        rows.extend(writes.into_iter().map(RawWrite::into_row));
        taker.run(self.take(rows, Some(token)))?;
        redo.restart(token);
        Ok(())
    }

    fn take(&self, rows: Pending, token: Option<u64>) -> Take {
        Take { store: Arc::clone(&self.store), rows, token, dead_bytes: self.dead_bytes }
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
        self.write(&mut state, writes)?;
        self.state = Some(state);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), JournalError> {
        let Some(mut state) = self.state.take() else { return Ok(()) };
        if let State { taker, redo: Some(redo) } = &mut state {
            if taker.wait()? {
                redo.taken();
            }
            if !redo.is_empty() {
                self.take_all(taker, redo, Vec::new())?;
            }
        }
        self.state = Some(state);
        Ok(())
    }
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

pub(crate) fn store(error: impl Into<redb::Error>) -> JournalError {
    match error.into() {
        redb::Error::Io(error) => io_error(error),
        error => JournalError::Store(error.to_string()),
    }
}

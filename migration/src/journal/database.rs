use std::sync::Arc;

use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::codec::{RawWrite, TABLES, decode_row, encode_write};
use super::{Journal, JournalError};
use crate::{Image, Record};

type Raw<'a> = TableDefinition<'a, &'static [u8], &'static [u8]>;

/// The journal in a redb database, which others may use as well (for other tables).
#[derive(Debug)]
pub struct Database {
    database: Arc<redb::Database>,
}

impl Database {
    /// A journal in that database.
    #[must_use]
    pub fn new(database: Arc<redb::Database>) -> Self {
        Self { database }
    }
}

impl Journal for Database {
    fn replay(&mut self) -> Result<Image, JournalError> {
        read_all(&*self.database)
    }

    fn commit(&mut self, transactions: &[Vec<Record>]) -> Result<(), JournalError> {
        let mut tables: [Vec<RawWrite>; TABLES.len()] = Default::default();
        for write in transactions.iter().flatten().flat_map(|record| &record.writes) {
            let raw = encode_write(write)?;
            if let Some(writes) = tables.get_mut(raw.table) {
                writes.push(raw);
            }
        }
        let transaction = begin_durable(&self.database).map_err(store)?;
        for (name, writes) in TABLES.iter().zip(&tables).filter(|(_, writes)| !writes.is_empty()) {
            let mut table = transaction.open_table(Raw::new(name)).map_err(store)?;
            for write in writes {
                match &write.value {
                    Some(value) => {
                        table.insert(write.key.as_slice(), value.as_slice()).map_err(store)?
                    }
                    None => table.remove(write.key.as_slice()).map_err(store)?,
                };
            }
        }
        transaction.commit().map_err(store)
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

/// Reads and verifies every row.
pub(crate) fn read_all(database: &impl ReadableDatabase) -> Result<Image, JournalError> {
    let mut image = Image::default();
    let transaction = database.begin_read().map_err(store)?;
    for (number, name) in TABLES.iter().enumerate() {
        let table = match transaction.open_table(Raw::new(name)) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => continue,
            Err(error) => return Err(in_table(name, &error)),
        };
        for row in table.iter().map_err(|error| in_table(name, &error))? {
            let (key, value) = row.map_err(|error| in_table(name, &error))?;
            decode_row(&mut image, number, key.value(), value.value())?;
        }
    }
    Ok(image)
}

fn in_table(table: &'static str, error: &dyn std::error::Error) -> JournalError {
    JournalError::Record { table, key: "(unreadable)".to_owned(), why: error.to_string() }
}

fn store(error: impl std::error::Error) -> JournalError {
    JournalError::Store(error.to_string())
}

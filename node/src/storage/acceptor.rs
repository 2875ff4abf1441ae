use lampyrid_membership::{AcceptorState, AcceptorStore, AcceptorStoreError};
use lampyrid_migration::begin_durable;
use lampyrid_wire::{Peer, decode, encode};
use redb::{Database, ReadableDatabase, TableDefinition, TableError, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::store::Store;

/// The table of what the process itself must find again.
const TABLE_NAME: &str = "lampyrid_process";
const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new(TABLE_NAME);
/// The acceptor state, identity included.
const ACCEPTOR: &str = "acceptor";
/// The cluster port that was chosen when none was asked for.
const PORT: &str = "port";
/// There once the bubbles of the first start exist.
const BUBBLES: &str = "bubbles_created";

/// The newest lives of other processes that were met.
const LIVES: &str = "lives";

/// Version of these rows' form. Raise it with every change of a row's shape.
const ROW_VERSION: u8 = 1;
/// Version byte and checksum.
const HEADER: usize = 5;

/// Acceptor state and settings of a process in a redb database, which the journal uses as well.
/// Every row carries a version and a CRC-32C over its key and body.
#[derive(Debug, Clone)]
pub(crate) struct ProcessTable(Store);

impl ProcessTable {
    /// The table in `store`.
    pub(crate) fn new(store: Store) -> Self {
        Self(store)
    }

    /// The store that the table is in.
    pub(crate) fn store(&self) -> &Store {
        &self.0
    }

    /// The port chosen at an earlier start.
    pub(crate) fn port(&self) -> Result<Option<u16>, AcceptorStoreError> {
        self.read(PORT)
    }

    /// Remembers the chosen port.
    pub(crate) fn set_port(&self, port: u16) -> Result<(), AcceptorStoreError> {
        self.write(PORT, &port)
    }

    /// True once the bubbles of the first start exist.
    pub(crate) fn has_bubbles(&self) -> Result<bool, AcceptorStoreError> {
        Ok(self.read::<bool>(BUBBLES)?.unwrap_or(false))
    }

    /// They do.
    pub(crate) fn set_has_bubbles(&self) -> Result<(), AcceptorStoreError> {
        self.write(BUBBLES, &true)
    }

    /// Which lives of other processes were met.
    pub(crate) fn lives(&self) -> Result<Vec<Peer>, AcceptorStoreError> {
        Ok(self.read(LIVES)?.unwrap_or_default())
    }

    /// Remembers them.
    pub(crate) fn set_lives(&self, lives: &[Peer]) -> Result<(), AcceptorStoreError> {
        self.write(LIVES, &lives.to_vec())
    }

    /// Reads every row, so that a damaged one ends the start and not a later moment.
    pub(crate) fn verify(&self) -> Result<(), AcceptorStoreError> {
        self.load()?;
        self.port()?;
        self.has_bubbles()?;
        self.lives().map(|_| ())
    }

    fn read<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, AcceptorStoreError> {
        let failed = |error: &dyn std::fmt::Display| AcceptorStoreError::Io {
            action: "read",
            reason: error.to_string(),
        };
        let database = self.0.database().map_err(|error| failed(&error))?;
        let transaction = database.begin_read().map_err(|error| failed(&error))?;
        let table = match transaction.open_table(TABLE) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        let value = table.get(key).map_err(|error| failed(&error))?;
        value.map(|value| unpack(key, value.value())).transpose()
    }

    fn write<T: Serialize>(&self, key: &str, value: &T) -> Result<(), AcceptorStoreError> {
        let failed = |error: &dyn std::fmt::Display| AcceptorStoreError::Io {
            action: "written",
            reason: error.to_string(),
        };
        let packed = pack(key, value).map_err(|error| failed(&error))?;
        let mut database = self.0.database().map_err(|error| failed(&error))?;
        let transaction = match begin(&database, key, &packed) {
            Ok(transaction) => transaction,
            Err(_) => {
                // The journal's failure, most likely, and nothing of this is in the store.
                self.0.failed(&database);
                drop(database);
                database = self.0.database().map_err(|error| failed(&error))?;
                begin(&database, key, &packed).map_err(|error| failed(&error))?
            }
        };
        transaction.commit().map_err(|error| {
            self.0.failed(&database);
            failed(&error)
        })
    }
}

/// A transaction with that row in it; an error has changed nothing.
fn begin(database: &Database, key: &str, packed: &[u8]) -> Result<WriteTransaction, redb::Error> {
    let transaction = begin_durable(database)?;
    transaction.open_table(TABLE)?.insert(key, packed)?;
    Ok(transaction)
}

impl AcceptorStore for ProcessTable {
    fn load(&self) -> Result<Option<AcceptorState>, AcceptorStoreError> {
        self.read(ACCEPTOR)
    }

    fn save(&self, state: &AcceptorState) -> Result<(), AcceptorStoreError> {
        self.write(ACCEPTOR, state)
    }
}

fn checksum(key: &str, body: &[u8]) -> [u8; 4] {
    let sum = crc32c::crc32c_append(crc32c::crc32c(TABLE_NAME.as_bytes()), key.as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &[ROW_VERSION]), body).to_be_bytes()
}

fn pack<T: Serialize>(key: &str, value: &T) -> Result<Vec<u8>, lampyrid_wire::CodecError> {
    let body = encode(value)?;
    let mut packed = Vec::with_capacity(HEADER + body.len());
    packed.push(ROW_VERSION);
    packed.extend_from_slice(&checksum(key, &body));
    packed.extend_from_slice(&body);
    Ok(packed)
}

fn unpack<T: DeserializeOwned>(key: &str, packed: &[u8]) -> Result<T, AcceptorStoreError> {
    let damaged = |why: String| {
        AcceptorStoreError::Damaged(format!("table `{TABLE_NAME}`, key {key}: {why}"))
    };
    let (Some(&version), Some(sum), Some(body)) =
        (packed.first(), packed.get(1..HEADER), packed.get(HEADER..))
    else {
        return Err(damaged("the value is cut off".to_owned()));
    };
    if version != ROW_VERSION {
        return Err(damaged(format!("version {version} is not known (this is {ROW_VERSION})")));
    }
    if sum != checksum(key, body) {
        return Err(damaged("the checksum is wrong".to_owned()));
    }
    decode(body).map_err(|error| damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::{Incarnation, ProcessId};
    use redb::backends::InMemoryBackend;

    use super::*;

    fn table() -> ProcessTable {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        ProcessTable::new(Store::of(database))
    }

    #[test]
    fn what_was_saved_is_loaded() {
        let table = table();
        assert_eq!((table.load().unwrap(), table.port().unwrap()), (None, None));
        let state = AcceptorState::new(ProcessId::from_u128(5), Incarnation(3));
        table.save(&state).unwrap();
        table.set_port(41_001).unwrap();
        assert_eq!((table.load().unwrap(), table.port().unwrap()), (Some(state), Some(41_001)));
        assert!(!table.has_bubbles().unwrap());
        table.set_has_bubbles().unwrap();
        assert!(table.has_bubbles().unwrap());
    }

    #[test]
    fn a_changed_or_cut_row_is_named() {
        let packed = pack(PORT, &7_u16).unwrap();
        for at in 0..packed.len() {
            let mut changed = packed.clone();
            changed[at] ^= 0x10;
            let error = unpack::<u16>(PORT, &changed).unwrap_err().to_string();
            assert!(error.contains("lampyrid_process") && error.contains(PORT), "{error}");
            assert!(unpack::<u16>(PORT, &packed[..at]).is_err());
        }
        assert!(unpack::<u16>(ACCEPTOR, &packed).is_err(), "a row under another key");
    }
}

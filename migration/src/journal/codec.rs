use lampyrid_wire::{BubbleId, EntityId, ProcessId, SagaId, decode, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::JournalError;
use crate::{Image, PartId, Write};

/// Version of the rows' form. Raise it with every change of a row's shape.
const ROW_VERSION: u8 = 1;

/// Version byte and checksum.
const HEADER: usize = 5;

/// The tables of an image, in the order of their numbers.
pub(crate) const TABLES: [&str; 12] = [
    "lampyrid_entities",
    "lampyrid_bubbles",
    "lampyrid_sagas",
    "lampyrid_parts",
    "lampyrid_stagings",
    "lampyrid_activations",
    "lampyrid_moved",
    "lampyrid_keys",
    "lampyrid_moves",
    "lampyrid_incoming",
    "lampyrid_drain",
    "lampyrid_barred",
];

/// One row as bytes: the number of its table, its key, and its value unless it is removed.
#[derive(Debug)]
pub(crate) struct RawWrite {
    pub(crate) table: usize,
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl RawWrite {
    /// What it weighs, about.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Vec::len)
    }

    /// By table and key.
    pub(crate) fn into_row(self) -> ((usize, Vec<u8>), Option<Vec<u8>>) {
        ((self.table, self.key), self.value)
    }
}

/// Encodes a write.
pub(crate) fn encode_write(write: &Write) -> Result<RawWrite, JournalError> {
    match write {
        Write::Entity(id, row) => raw(0, id.as_bytes().to_vec(), row.as_ref()),
        Write::Bubble(id, hosted) => raw(1, id.as_bytes().to_vec(), hosted.then_some(&())),
        Write::Saga(id, row) => raw(2, id.as_bytes().to_vec(), row.as_ref()),
        Write::Part(id, row) => raw(3, part_key(*id), row.as_ref()),
        Write::Staging(id, row) => raw(4, part_key(*id), row.as_ref()),
        Write::Activation(id, row) => raw(5, part_key(*id), row.as_ref()),
        Write::Moved(id, row) => raw(6, id.as_bytes().to_vec(), row.as_ref()),
        Write::Key(key, row) => raw(7, key.as_bytes().to_vec(), row.as_ref()),
        Write::BubbleMove(id, row) => raw(8, id.as_bytes().to_vec(), row.as_ref()),
        Write::Incoming(id, row) => raw(9, id.as_bytes().to_vec(), row.as_ref()),
        // The only row of its table.
        Write::Drain(row) => raw(10, Vec::new(), row.as_ref()),
        Write::Bar(id, row) => raw(11, id.as_bytes().to_vec(), row.as_ref()),
    }
}

fn raw<T: Serialize>(
    table: usize,
    key: Vec<u8>,
    row: Option<&T>,
) -> Result<RawWrite, JournalError> {
    let value = match row {
        Some(row) => {
            let body = encode(row).map_err(|error| JournalError::Encode(error.to_string()))?;
            Some(seal(table, &key, &body))
        }
        None => None,
    };
    Ok(RawWrite { table, key, value })
}

/// A row's value: its version, its checksum and its body.
pub(crate) fn seal(table: usize, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER + body.len());
    value.push(ROW_VERSION);
    value.extend_from_slice(&checksum(table, key, body).to_be_bytes());
    value.extend_from_slice(body);
    value
}

/// Over table, key and body: a row under the wrong key is as wrong as a changed one.
fn checksum(table: usize, key: &[u8], body: &[u8]) -> u32 {
    let sum = crc32c::crc32c(TABLES.get(table).map_or(&[], |name| name.as_bytes()));
    let sum = crc32c::crc32c_append(sum, key);
    crc32c::crc32c_append(crc32c::crc32c_append(sum, &[ROW_VERSION]), body)
}

/// An error that names a row of a table.
pub(crate) fn record_error(table: &'static str, key: String, why: &str) -> JournalError {
    JournalError::Record { table, key, why: why.to_owned() }
}

/// Verifies a row's version and checksum, and gives its body.
pub(crate) fn check_value<'a>(
    table: usize,
    key: &[u8],
    value: &'a [u8],
) -> Result<&'a [u8], JournalError> {
    let bad = |why: &str| {
        record_error(TABLES.get(table).copied().unwrap_or("?"), key_text(table, key), why)
    };
    let (Some(&version), Some(sum), Some(body)) =
        (value.first(), value.get(1..HEADER), value.get(HEADER..))
    else {
        return Err(bad("the value is cut off"));
    };
    if version != ROW_VERSION {
        return Err(bad(&format!("version {version} is not known (this is {ROW_VERSION})")));
    }
    if sum != checksum(table, key, body).to_be_bytes() {
        return Err(bad("the checksum is wrong"));
    }
    Ok(body)
}

/// Verifies a row, or its removal if there is no value, and applies it to the image.
pub(crate) fn decode_row(
    image: &mut Image,
    table: usize,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), JournalError> {
    let bad = |why: &str| {
        record_error(TABLES.get(table).copied().unwrap_or("?"), key_text(table, key), why)
    };
    let body = value.map(|value| check_value(table, key, value)).transpose()?;
    fn row<T: DeserializeOwned>(body: Option<&[u8]>) -> Result<Option<T>, String> {
        body.map(|body| decode(body).map_err(|error| error.to_string())).transpose()
    }
    let id = |key: &[u8]| Uuid::from_slice(key).map_err(|error| error.to_string());
    let write = match table {
        0 => id(key).and_then(|id| Ok(Write::Entity(EntityId(id), row(body)?))),
        1 => id(key).and_then(|id| Ok(Write::Bubble(BubbleId(id), row::<()>(body)?.is_some()))),
        2 => id(key).and_then(|id| Ok(Write::Saga(SagaId(id), row(body)?))),
        3 => part_of(key).and_then(|id| Ok(Write::Part(id, row(body)?))),
        4 => part_of(key).and_then(|id| Ok(Write::Staging(id, row(body)?))),
        5 => part_of(key).and_then(|id| Ok(Write::Activation(id, row(body)?))),
        6 => id(key).and_then(|id| Ok(Write::Moved(EntityId(id), row(body)?))),
        7 => String::from_utf8(key.to_vec())
            .map_err(|error| error.to_string())
            .and_then(|key| Ok(Write::Key(key, row(body)?))),
        8 => id(key).and_then(|id| Ok(Write::BubbleMove(BubbleId(id), row(body)?))),
        9 => id(key).and_then(|id| Ok(Write::Incoming(BubbleId(id), row(body)?))),
        10 => row(body).map(Write::Drain),
        11 => id(key).and_then(|id| Ok(Write::Bar(ProcessId(id), row(body)?))),
        _ => Err("there is no such table".to_owned()),
    };
    image.apply(&write.map_err(|why| bad(&why))?);
    Ok(())
}

fn part_key(id: PartId) -> Vec<u8> {
    let mut key = Vec::with_capacity(36);
    key.extend_from_slice(id.source.as_bytes());
    key.extend_from_slice(id.saga.as_bytes());
    key.extend_from_slice(&id.part.to_be_bytes());
    key
}

fn part_of(key: &[u8]) -> Result<PartId, String> {
    let parts = (key.get(..16), key.get(16..32), key.get(32..));
    let (Some(source), Some(saga), Some(part)) = parts else {
        return Err("the key is cut off".to_owned());
    };
    let uuid = |bytes: &[u8]| Uuid::from_slice(bytes).map_err(|error| error.to_string());
    let part: [u8; 4] = part.try_into().map_err(|_| "the key is too long".to_owned())?;
    Ok(PartId {
        source: lampyrid_wire::ProcessId(uuid(source)?),
        saga: SagaId(uuid(saga)?),
        part: u32::from_be_bytes(part),
    })
}

fn key_text(table: usize, key: &[u8]) -> String {
    match (table, Uuid::from_slice(key), part_of(key)) {
        (3..=5, _, Ok(part)) => format!("{part} of process {}", part.source),
        (7, ..) => String::from_utf8_lossy(key).into_owned(),
        (_, Ok(id), _) => id.to_string(),
        _ => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

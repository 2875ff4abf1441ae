//! The form of a row of the log: writes that became durable together, one after the other.
//!
//! ```text
//! row   = version (1)  checksum (4)  oldest position (8)  write...
//! write = table (1), the high bit set if the row of the table is removed
//!         length of the key (2)  key  [ length of the value (4)  value ]
//! ```
//!
//! Numbers are big-endian. The checksum is CRC-32C over the row's position and all that follows it;
//! a value carries another of its own ([`super::codec`]), so that damage can be named by what it hit.

use super::JournalError;
use super::codec::{TABLES, check_value, record_error};

/// The name of the log's table.
pub(crate) const LOG: &str = "lampyrid_log";

/// Version of the log's form. Raise it with every change of it.
const LOG_VERSION: u8 = 2;

/// Version, checksum and oldest position.
const HEADER: usize = 13;

/// Bytes of a row at most, unless a single write is larger: with what the store adds it still fits
/// sixteen of its pages.
const ROW_BYTES: usize = 64_000;

/// Set in the number of the table when its row is removed.
const REMOVED: u8 = 0x80;

const _: () = assert!(TABLES.len() < REMOVED as usize);

/// One write in a row of the log.
pub(crate) struct LogWrite<'a> {
    pub(crate) table: usize,
    pub(crate) key: &'a [u8],
    /// `None`: the row of the table is removed.
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) place: Place,
}

/// A write's place in the log: in which row, where in the row it begins, and how much of it it takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) position: u64,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
}

/// The rows that one commit appends, as they fill.
pub(crate) struct Tail {
    first: u64,
    rows: Vec<Vec<u8>>,
}

impl Tail {
    /// Appends from that position on.
    pub(crate) fn at(first: u64) -> Self {
        Self { first, rows: Vec::new() }
    }

    /// Appends a write and says where it is.
    pub(crate) fn push(
        &mut self,
        table: usize,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<Place, JournalError> {
        let too_long = |what: &str| JournalError::Encode(format!("the {what} is too long"));
        let key_length = u16::try_from(key.len()).map_err(|_| too_long("key"))?;
        let value_length = value.map_or(Ok(0), |value| u32::try_from(value.len()));
        let value_length = value_length.map_err(|_| too_long("value"))?;
        let length = 3 + key.len() + value.map_or(0, |value| 4 + value.len());
        let bytes = u32::try_from(length).map_err(|_| too_long("value"))?;
        if self.rows.last().is_none_or(|row| row.len() + length > ROW_BYTES) {
            let mut row = Vec::with_capacity(HEADER + length);
            row.resize(HEADER, 0);
            self.rows.push(row);
        }
        let position = self.first + self.rows.len() as u64 - 1;
        let row = self.rows.last_mut().ok_or_else(|| too_long("row"))?;
        let offset = u32::try_from(row.len()).map_err(|_| too_long("row"))?;
        row.push(table as u8 | if value.is_none() { REMOVED } else { 0 });
        row.extend_from_slice(&key_length.to_be_bytes());
        row.extend_from_slice(key);
        if let Some(value) = value {
            row.extend_from_slice(&value_length.to_be_bytes());
            row.extend_from_slice(value);
        }
        Ok(Place { position, offset, bytes })
    }

    /// The rows with their positions; `oldest` is the first position that the log has after this
    /// commit.
    pub(crate) fn finish(self, oldest: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
        self.rows.into_iter().zip(self.first..).map(move |(mut row, position)| {
            row[5..HEADER].copy_from_slice(&oldest.to_be_bytes());
            seal(position, &mut row);
            (position, row)
        })
    }
}

/// Puts version and checksum into a row.
fn seal(position: u64, row: &mut [u8]) {
    row[0] = LOG_VERSION;
    let sum = checksum(position, row);
    row[1..5].copy_from_slice(&sum.to_be_bytes());
}

/// Any bytes as a row with the right version and checksum.
#[cfg(any(test, feature = "testkit"))]
pub(crate) fn log_row(position: u64, bytes: &[u8]) -> Vec<u8> {
    let mut row = bytes.to_vec();
    row.resize(bytes.len().max(HEADER), 0);
    seal(position, &mut row);
    row
}

/// Over the position as well: a row in another's place is as wrong as a changed one.
fn checksum(position: u64, row: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&position.to_be_bytes());
    let sum = crc32c::crc32c_append(sum, &[LOG_VERSION]);
    crc32c::crc32c_append(sum, row.get(5..).unwrap_or_default())
}

/// Verifies the row at that position. Gives the oldest position that the log had after the commit
/// that wrote it, and its writes in order.
///
/// # Errors
/// [`JournalError::Record`], naming what was hit: the row of a table if its value is not what was
/// written, else the position in the log.
pub(crate) fn read_row(
    position: u64,
    row: &[u8],
) -> Result<(u64, Vec<LogWrite<'_>>), JournalError> {
    let (version, sum, oldest) = match (row.first(), row.get(1..5), oldest_of(row)) {
        (Some(&version), Some(sum), Some(oldest)) => (version, sum, oldest),
        _ => return Err(log_error(position, "the row is cut off")),
    };
    if version != LOG_VERSION {
        let why = format!("version {version} is not known (this is {LOG_VERSION})");
        return Err(log_error(position, &why));
    }
    let intact = sum == checksum(position, row).to_be_bytes();
    let mut writes = Vec::new();
    let mut rest = Walk { position, row, at: HEADER };
    while rest.at < row.len() {
        match rest.next() {
            Some(write) => writes.push(write),
            None if intact => return Err(log_error(position, "a write is cut off")),
            None => break,
        }
    }
    if !intact {
        for write in &writes {
            if let Some(value) = write.value {
                check_value(write.table, write.key, value)?;
            }
        }
        return Err(log_error(position, "the checksum is wrong"));
    }
    Ok((oldest, writes))
}

fn oldest_of(row: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(row.get(5..HEADER)?.try_into().ok()?))
}

/// An error that names a position in the log.
pub(crate) fn log_error(position: u64, why: &str) -> JournalError {
    record_error(LOG, position.to_string(), why)
}

/// Goes through the writes of a row.
struct Walk<'a> {
    position: u64,
    row: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Option<LogWrite<'a>> {
        let begin = self.at;
        let table = *self.take(1)?.first()?;
        let key = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        let key = self.take(key.into())?;
        let value = match table & REMOVED == 0 {
            true => {
                let length = u32::from_be_bytes(self.take(4)?.try_into().ok()?);
                Some(self.take(length as usize)?)
            }
            false => None,
        };
        Some(LogWrite {
            table: usize::from(table & !REMOVED),
            key,
            value,
            place: Place {
                position: self.position,
                offset: u32::try_from(begin).ok()?,
                bytes: u32::try_from(self.at - begin).ok()?,
            },
        })
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.row.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }
}

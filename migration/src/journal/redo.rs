//! The redo log: small commits, one after the other, until the store takes them all at once.
//!
//! ```text
//! frame   = length of what follows (4)  row...
//! row     = length (4)  a row of the log, under the number of its frame (`log`)
//! sector  = claim (16)  480 bytes of the frame  checksum (4)  claim again (12)
//! claim   = token (8)  number of the frame (4)  [ sector of the frame (2)  sectors it has (2) ]
//! ```
//!
//! Numbers are big-endian. The checksum is CRC-32C over the sector's place and all before it. Disks
//! write sectors whole, so one that a crash cut short is as it was before: it claims to be of this
//! frame at neither end. One that claims so at either and has another checksum is damaged.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use redb::StorageBackend;

use super::codec::{RawWrite, decode_row};
use super::log::{Tail, log_error, read_row};
use super::{JournalError, io_error};
use crate::Image;

/// The least that disks write whole.
pub(crate) const SECTOR: usize = 512;

const CLAIM: usize = 16;
const CLAIM_AGAIN: usize = 12;
pub(crate) const PAYLOAD: usize = SECTOR - CLAIM - 4 - CLAIM_AGAIN;

/// A frame that takes more than one in so many sectors goes to the store at once: writing it twice
/// would cost more than it spares.
const LARGE: usize = 4;

/// Where the redo log is in a file.
#[derive(Clone, Debug)]
pub(crate) struct RedoArea {
    file: Arc<dyn StorageBackend>,
    range: Range<u64>,
}

impl RedoArea {
    /// All but the first sector of what comes before the database in a file.
    pub(crate) fn in_front(file: Arc<dyn StorageBackend>, front: u64) -> Self {
        Self { file, range: SECTOR as u64..front }
    }

    fn sectors(&self) -> usize {
        usize::try_from((self.range.end - self.range.start) / SECTOR as u64).unwrap_or(0)
    }

    fn read(&self) -> Result<Vec<u8>, io::Error> {
        let mut bytes = vec![0; self.sectors() * SECTOR];
        self.file.read(self.range.start, &mut bytes)?;
        Ok(bytes)
    }

    /// Makes these bytes durable, from that sector on.
    fn write(&self, sector: usize, bytes: &[u8]) -> Result<(), JournalError> {
        let at = self.range.start + (sector * SECTOR) as u64;
        self.file.write(at, bytes).and_then(|()| self.file.sync_data()).map_err(io_error)
    }
}

/// What the store does not have yet.
#[derive(Debug)]
pub(crate) struct Redo {
    area: RedoArea,
    /// Frames of another token are left over from before the store took them.
    token: u64,
    sector: usize,
    frame: u32,
    pending: Pending,
}

/// The newest write of each row, by its table and key: a row that changes three times before the
/// store takes it is written there once.
pub(crate) type Pending = BTreeMap<(usize, Vec<u8>), Option<Vec<u8>>>;

impl Redo {
    /// Reads what is in the log, verified, and applies it to what the store holds.
    ///
    /// # Errors
    /// [`JournalError::Record`] if what was acknowledged is damaged.
    pub(crate) fn read(
        area: RedoArea,
        token: u64,
        image: &mut Image,
    ) -> Result<Self, JournalError> {
        let mut redo = Self { area, token, sector: 0, frame: 0, pending: Pending::new() };
        let bytes = redo.area.read().map_err(io_error)?;
        let sectors: Vec<&[u8]> = bytes.chunks_exact(SECTOR).collect();
        while let Some(frame) = redo.next_in(&sectors)? {
            redo.sector += frame.len().div_ceil(PAYLOAD);
            redo.apply(&frame, image)?;
            redo.frame += 1;
        }
        let rest = sectors.iter().skip(redo.sector);
        let later = rest.filter_map(|sector| claim(sector, token)).any(|of| of > redo.frame);
        match later {
            true => Err(log_error(redo.frame.into(), "the redo log lacks the frame")),
            false => Ok(redo),
        }
    }

    /// Makes sure that what was read is on the disk, and that nothing is left of a frame that a
    /// crash cut short: part of it could pass for part of the next one. After a failed sync the
    /// system may show what the disk does not have.
    pub(crate) fn settle_tail(&self) -> Result<(), JournalError> {
        let bytes = self.area.read().map_err(io_error)?;
        let claims = |sector: &[u8]| claim(sector, self.token);
        let sectors = bytes.chunks_exact(SECTOR).enumerate();
        let last = self.frame.checked_sub(1);
        let ours = |(_, sector): &(usize, &[u8])| claims(sector).is_some_and(|of| Some(of) >= last);
        let mut concerned = sectors.filter(ours).map(|(at, _)| at);
        let Some(first) = concerned.next() else { return Ok(()) };
        let end = concerned.next_back().unwrap_or(first) + 1;
        let mut bytes = bytes[first * SECTOR..end * SECTOR].to_vec();
        if let Some(torn) = bytes.get_mut(self.sector.saturating_sub(first) * SECTOR..) {
            torn.fill(0);
        }
        self.area.write(first, &bytes)
    }

    /// The frame that begins at the next sector, if it is complete.
    fn next_in(&self, sectors: &[&[u8]]) -> Result<Option<Vec<u8>>, JournalError> {
        let mut frame = Vec::new();
        let mut damaged = false;
        let (mut count, mut index) = (1, 0);
        while index < count {
            let at = self.sector + index;
            let Some(sector) = sectors.get(at) else { break };
            if claim(sector, self.token) != Some(self.frame) {
                // Cut short by a crash, or never begun; but no crash changes what is in a sector.
                break;
            }
            let (of, among) = place(sector);
            damaged |= !is_intact(at, sector) || of != index;
            if of == index && among <= sectors.len() - self.sector {
                // Also of a damaged one: what is hit by the damage can be named then.
                count = among;
            }
            frame.extend_from_slice(&sector[CLAIM..CLAIM + PAYLOAD]);
            index += 1;
        }
        match (damaged, index == count) {
            (true, _) => Err(self.damage(&frame)),
            (false, complete) => Ok(complete.then_some(frame)),
        }
    }

    /// What exactly is damaged in a frame.
    fn damage(&self, frame: &[u8]) -> JournalError {
        for row in rows(frame) {
            if let Err(error @ JournalError::Record { .. }) = read_row(self.frame.into(), row) {
                return error;
            }
        }
        log_error(self.frame.into(), "a sector of the redo log is damaged")
    }

    fn apply(&mut self, frame: &[u8], image: &mut Image) -> Result<(), JournalError> {
        for row in rows(frame) {
            for write in read_row(self.frame.into(), row)?.1 {
                decode_row(image, write.table, write.key, write.value)?;
                let name = (write.table, write.key.to_vec());
                self.pending.insert(name, write.value.map(<[u8]>::to_vec));
            }
        }
        Ok(())
    }

    /// Makes these writes durable, if they are few and there is room; else gives them back.
    ///
    /// # Errors
    /// The disk's; whether they are durable is unknown then.
    pub(crate) fn append(
        &mut self,
        writes: Vec<RawWrite>,
    ) -> Result<Option<Vec<RawWrite>>, JournalError> {
        let all = self.area.sectors();
        let least: usize = writes.iter().map(RawWrite::bytes).sum();
        if least / PAYLOAD * LARGE > all {
            // Not worth encoding, to be thrown away.
            return Ok(Some(writes));
        }
        let frame = self.encode(&writes)?;
        let sectors = frame.len().div_ceil(PAYLOAD);
        if sectors * LARGE > all || self.sector + sectors > all {
            return Ok(Some(writes));
        }
        let mut bytes = Vec::with_capacity(sectors * SECTOR);
        for (index, payload) in frame.chunks(PAYLOAD).enumerate() {
            let at = self.sector + index;
            bytes.extend_from_slice(&seal(self.token, self.frame, at, (index, sectors), payload));
        }
        self.area.write(self.sector, &bytes)?;
        self.sector += sectors;
        self.frame += 1;
        self.pending.extend(writes.into_iter().map(RawWrite::into_row));
        Ok(None)
    }

    fn encode(&self, writes: &[RawWrite]) -> Result<Vec<u8>, JournalError> {
        // Each row under the same number: which of the frame's rows it is does not matter.
        let mut frame = vec![0; 4];
        for write in writes {
            let mut tail = Tail::at(self.frame.into());
            tail.push(write.table, &write.key, write.value.as_deref())?;
            for (_, row) in tail.finish(0) {
                frame.extend_from_slice(&(row.len() as u32).to_be_bytes());
                frame.extend_from_slice(&row);
            }
        }
        let length = u32::try_from(frame.len() - 4)
            .map_err(|_| JournalError::Encode("a commit is too long".to_owned()))?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        Ok(frame)
    }

    /// True if the store has everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.frame == 0
    }

    /// What the store is to take.
    pub(crate) fn take_pending(&mut self) -> Pending {
        std::mem::take(&mut self.pending)
    }

    /// The store has taken everything, and knows this token.
    pub(crate) fn restart(&mut self, token: u64) {
        self.token = token;
        self.sector = 0;
        self.frame = 0;
        self.pending.clear();
    }
}

/// The rows of a frame, as far as they can be told apart.
fn rows(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).ok();
    let length = frame.get(..4).and_then(number).unwrap_or(0) as usize;
    let mut rest = frame.get(4..4 + length).or(frame.get(4..)).unwrap_or_default();
    std::iter::from_fn(move || {
        let length = rest.get(..4).and_then(number)? as usize;
        let row = rest.get(4..4 + length).or(rest.get(4..))?;
        rest = rest.get(4 + length..).unwrap_or_default();
        Some(row)
    })
}

/// A sector at its place: which of its frame it is, and of how many.
pub(crate) fn seal(
    token: u64,
    frame: u32,
    at: usize,
    (index, count): (usize, usize),
    payload: &[u8],
) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    sector[..8].copy_from_slice(&token.to_be_bytes());
    sector[8..12].copy_from_slice(&frame.to_be_bytes());
    sector[12..14].copy_from_slice(&(index as u16).to_be_bytes());
    sector[14..16].copy_from_slice(&(count as u16).to_be_bytes());
    sector[CLAIM..CLAIM + payload.len()].copy_from_slice(payload);
    let sum = checksum(at, &sector);
    sector[CLAIM + PAYLOAD..][..4].copy_from_slice(&sum.to_be_bytes());
    let (head, tail) = sector.split_at_mut(SECTOR - CLAIM_AGAIN);
    tail.copy_from_slice(&head[..CLAIM_AGAIN]);
    sector
}

/// The frame that a sector claims to be of, at either end.
fn claim(sector: &[u8], token: u64) -> Option<u32> {
    let at = |start: usize| {
        let (of, frame) = sector.get(start..start + CLAIM_AGAIN)?.split_at(8);
        let frame = frame.try_into().map(u32::from_be_bytes).ok()?;
        (of == token.to_be_bytes()).then_some(frame)
    };
    at(0).or_else(|| at(SECTOR - CLAIM_AGAIN))
}

/// Which sector of its frame an intact one is, and of how many.
fn place(sector: &[u8]) -> (usize, usize) {
    let number = |at: usize| usize::from(u16::from_be_bytes([sector[at], sector[at + 1]]));
    (number(12), number(14))
}

fn is_intact(at: usize, sector: &[u8]) -> bool {
    let sum = &sector[CLAIM + PAYLOAD..][..4];
    sum == checksum(at, sector).to_be_bytes()
        && sector[..CLAIM_AGAIN] == sector[SECTOR - CLAIM_AGAIN..]
}

/// Over the place as well: a sector in another's place is as wrong as a changed one.
fn checksum(at: usize, sector: &[u8]) -> u32 {
    let sum = crc32c::crc32c(&(at as u64).to_be_bytes());
    crc32c::crc32c_append(sum, &sector[..CLAIM + PAYLOAD])
}

#[cfg(test)]
mod tests {
    use lampyrid_wire::BubbleId;
    use redb::backends::InMemoryBackend;

    use super::super::codec::encode_write;
    use super::*;
    use crate::Write;

    const TOKEN: u64 = 0x1234_5678_9abc_def0;

    fn area() -> RedoArea {
        let file = InMemoryBackend::new();
        file.set_len(64 * 1024).unwrap();
        RedoArea::in_front(Arc::new(file), 64 * 1024)
    }

    fn set(area: &RedoArea, bytes: &[u8]) {
        area.file.write(area.range.start, bytes).unwrap();
    }

    /// So many bubbles, of numbers that no other frame has.
    fn writes(frame: u128, count: u128) -> Vec<RawWrite> {
        let bubble = |n| Write::Bubble(BubbleId::from_u128(frame * 1_000 + n), true);
        (0..count).map(|n| encode_write(&bubble(n)).unwrap()).collect()
    }

    fn read(area: &RedoArea) -> Result<(Redo, usize), JournalError> {
        let mut image = Image::default();
        let redo = Redo::read(area.clone(), TOKEN, &mut image)?;
        Ok((redo, image.bubbles.len()))
    }

    /// An area with frames of so many writes each.
    fn filled(counts: [u128; 3]) -> (RedoArea, Redo) {
        let area = area();
        let (mut redo, _) = read(&area).unwrap();
        for (frame, count) in (1..).zip(counts) {
            assert!(redo.append(writes(frame, count)).unwrap().is_none());
        }
        (area, redo)
    }

    #[test]
    fn what_was_appended_is_read_until_the_store_has_taken_it() {
        let (area, _) = filled([1, 40, 3]);
        let (mut again, found) = read(&area).unwrap();
        assert_eq!((found, again.pending.len(), again.frame), (44, 44, 3));
        assert!(again.append(writes(4, 1)).unwrap().is_none());
        assert_eq!(read(&area).unwrap().1, 45);
        // Left over, once there is another token.
        let mut image = Image::default();
        let fresh = Redo::read(area.clone(), TOKEN + 1, &mut image).unwrap();
        assert_eq!((image.bubbles.len(), fresh.frame, fresh.sector), (0, 0, 0));
    }

    #[test]
    fn what_is_large_or_finds_no_room_is_given_back() {
        let area = area();
        let (mut redo, _) = read(&area).unwrap();
        assert_eq!(redo.append(writes(1, 900)).unwrap().map(|writes| writes.len()), Some(900));
        let mut appended = 0;
        while redo.append(writes(2 + appended, 20)).unwrap().is_none() {
            appended += 1;
        }
        assert!((20..127).contains(&appended), "{appended}");
        assert_eq!(read(&area).unwrap().1, 20 * appended as usize);
        redo.restart(TOKEN);
        assert!(redo.append(writes(1, 20)).unwrap().is_none());
    }

    #[test]
    fn a_frame_cut_short_in_any_way_was_never_there_and_leaves_nothing_behind() {
        for lost in 1..1_u32 << 6 {
            let area = area();
            let (mut redo, _) = read(&area).unwrap();
            assert!(redo.append(writes(1, 2)).unwrap().is_none());
            let (begin, before) = (redo.sector, area.read().unwrap());
            assert!(redo.append(writes(2, 60)).unwrap().is_none());
            assert_eq!(redo.sector - begin, 6, "the ways to lose some of it");
            let mut torn = area.read().unwrap();
            for sector in (0..6).filter(|sector| lost >> sector & 1 == 1) {
                let range = (begin + sector) * SECTOR..(begin + sector + 1) * SECTOR;
                torn[range.clone()].copy_from_slice(&before[range]);
            }
            set(&area, &torn);
            let (mut again, found) = read(&area).unwrap();
            assert_eq!(found, 2, "lost {lost:06b}");
            again.settle_tail().unwrap();
            // The next one is as long, and crashes as well, where the other did not.
            assert!(again.append(writes(3, 60)).unwrap().is_none());
            let whole = area.read().unwrap();
            for sector in (0..6).filter(|sector| lost >> sector & 1 == 0) {
                let mut torn = whole.clone();
                torn[(begin + sector) * SECTOR..(begin + sector + 1) * SECTOR].fill(0);
                set(&area, &torn);
                assert_eq!(read(&area).unwrap().1, 2, "lost {lost:06b}, then {sector}");
            }
            set(&area, &whole);
            assert_eq!(read(&area).unwrap().1, 62, "lost {lost:06b}");
        }
    }

    #[test]
    fn no_changed_byte_of_what_was_acknowledged_passes_for_a_crash() {
        let (area, redo) = filled([5, 20, 9]);
        let whole = area.read().unwrap();
        for at in 0..redo.sector * SECTOR {
            let mut changed = whole.clone();
            changed[at] ^= 0x5a;
            set(&area, &changed);
            assert!(read(&area).is_err(), "byte {at}");
        }
        // A whole sector that is as it was before looks like a crash only in the last frame.
        for sector in 0..redo.sector {
            let mut changed = whole.clone();
            changed[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
            set(&area, &changed);
            match read(&area) {
                Err(_) => assert!(sector < redo.sector - 1),
                Ok((left, found)) => assert_eq!((left.frame, found), (2, 25), "sector {sector}"),
            }
        }
    }
}

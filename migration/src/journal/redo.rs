//! The redo log: small commits, one after the other, until the store takes them all at once.
//!
//! It has two halves. While the store takes what is in one, commits go to the other. What a half
//! holds carries a token, one more with each change of halves, and the store says which token is
//! the first that it does not have: frames of an older one are left over and mean nothing.
//!
//! ```text
//! frame   = length of what follows (4)  frames of the half before (4)  row...
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

/// Of a half, the part that is full when the store is to begin to take it. Small takes are short, and
/// what is left of the half is there for commits that come before the one before is over.
const DUE: usize = 4;

/// Of a frame, before its rows.
const HEAD: usize = 8;

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

    /// The half in which frames of that token are.
    fn half(&self, token: u64) -> Half {
        let middle = self.range.start + (self.sectors() / 2 * SECTOR) as u64;
        let range = match token % 2 {
            0 => self.range.start..middle,
            _ => middle..self.range.end,
        };
        Half { area: Self { file: Arc::clone(&self.file), range }, token, sector: 0, frame: 0 }
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
    /// That to which commits go.
    half: Half,
    /// The store may still need the other one: it has not taken what is there.
    needed: bool,
    /// Frames of the half before, if it is needed.
    before: u32,
    pending: Pending,
}

/// The newest write of each row, by its table and key: a row that changes three times before the
/// store takes it is written there once.
pub(crate) type Pending = BTreeMap<(usize, Vec<u8>), Option<Vec<u8>>>;

/// What became of a commit.
#[derive(Debug)]
pub(crate) enum Appended {
    /// It is durable.
    Durable,
    /// There is no room for it in this half.
    NoRoom(Vec<RawWrite>),
    /// It is to go to the store at once, with all that is in the log.
    ToStore(Vec<RawWrite>),
}

impl Redo {
    /// Reads what is in the log from that token on, verified, and applies it to what the store
    /// holds.
    ///
    /// # Errors
    /// [`JournalError::Record`] if what was acknowledged is damaged.
    pub(crate) fn read(
        area: RedoArea,
        token: u64,
        image: &mut Image,
    ) -> Result<Self, JournalError> {
        let (half, next) = (area.half(token), area.half(token.wrapping_add(1)));
        let mut redo = Self { area, half, needed: false, before: 0, pending: Pending::new() };
        redo.read_half(None, image)?;
        let first = std::mem::replace(&mut redo.half, next);
        redo.before = first.frame;
        redo.read_half(Some(first.frame), image)?;
        if redo.half.frame == 0 {
            // Not begun, whatever a crash left of its first frame.
            (redo.half, redo.before) = (first, 0);
        } else {
            redo.needed = true;
        }
        Ok(redo)
    }

    /// Reads one half, before which another had that many frames, if that is known.
    fn read_half(&mut self, before: Option<u32>, image: &mut Image) -> Result<(), JournalError> {
        let bytes = self.half.area.read().map_err(io_error)?;
        let sectors: Vec<&[u8]> = bytes.chunks_exact(SECTOR).collect();
        while let Some(frame) = self.half.next_in(&sectors)? {
            if let Some(number) = before.filter(|_| frames_before(&frame) != before) {
                return Err(log_error(number.into(), "the redo log lacks the frame"));
            }
            self.half.sector += frame.len().div_ceil(PAYLOAD);
            self.apply(&frame, image)?;
            self.half.frame += 1;
        }
        let Half { token, sector, frame, .. } = self.half;
        let rest = sectors.iter().skip(sector);
        match rest.filter_map(|sector| claim(sector, token)).any(|of| of > frame) {
            true => Err(log_error(frame.into(), "the redo log lacks the frame")),
            false => Ok(()),
        }
    }

    /// Makes sure that what was read is on the disk, and that nothing is left of a frame that a
    /// crash cut short: part of it could pass for part of the next one. After a failed sync the
    /// system may show what the disk does not have.
    pub(crate) fn settle_tail(&self) -> Result<(), JournalError> {
        if !self.needed {
            // All of the next half is such a frame.
            self.area.half(self.half.token.wrapping_add(1)).settle_tail()?;
        }
        self.half.settle_tail()
    }

    fn apply(&mut self, frame: &[u8], image: &mut Image) -> Result<(), JournalError> {
        for row in rows(frame) {
            for write in read_row(self.half.frame.into(), row)?.1 {
                decode_row(image, write.table, write.key, write.value)?;
                let name = (write.table, write.key.to_vec());
                self.pending.insert(name, write.value.map(<[u8]>::to_vec));
            }
        }
        Ok(())
    }

    /// Makes these writes durable, if they are few and there is room.
    ///
    /// # Errors
    /// The disk's; whether they are durable is unknown then.
    pub(crate) fn append(&mut self, writes: Vec<RawWrite>) -> Result<Appended, JournalError> {
        let all = self.half.area.sectors();
        let least: usize = writes.iter().map(RawWrite::bytes).sum();
        if least / PAYLOAD * LARGE > all {
            // Not worth encoding, to be thrown away.
            return Ok(Appended::ToStore(writes));
        }
        let frame = self.encode(&writes)?;
        let sectors = frame.len().div_ceil(PAYLOAD);
        if sectors * LARGE > all {
            return Ok(Appended::ToStore(writes));
        }
        if self.half.sector + sectors > all {
            return Ok(Appended::NoRoom(writes));
        }
        self.half.append(&frame)?;
        self.pending.extend(writes.into_iter().map(RawWrite::into_row));
        Ok(Appended::Durable)
    }

    fn encode(&self, writes: &[RawWrite]) -> Result<Vec<u8>, JournalError> {
        // Each row under the same number: which of the frame's rows it is does not matter.
        let mut frame = vec![0; 4];
        frame.extend_from_slice(&self.before.to_be_bytes());
        for write in writes {
            let mut tail = Tail::at(self.half.frame.into());
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
        self.half.frame == 0 && !self.needed
    }

    /// True if the store should take what is in this half, when it can.
    pub(crate) fn is_due(&self) -> bool {
        self.half.sector * DUE >= self.half.area.sectors()
    }

    /// True if the store has what is in the other half, so that commits can go there.
    pub(crate) fn can_turn(&self) -> bool {
        !self.needed
    }

    /// What the store is to take, and the token that it is to know then.
    pub(crate) fn take(&mut self) -> (Pending, u64) {
        (std::mem::take(&mut self.pending), self.half.token.wrapping_add(1))
    }

    /// Commits go to the other half, while the store takes what is in this one.
    ///
    /// # Panics
    /// If it has not taken what is in the other one.
    pub(crate) fn turn(&mut self) {
        assert!(!self.needed, "what the store does not have is not written over");
        self.before = self.half.frame;
        self.half = self.area.half(self.half.token.wrapping_add(1));
        self.needed = true;
    }

    /// The store has what is in the other half.
    pub(crate) fn taken(&mut self) {
        self.needed = false;
    }

    /// The store has everything.
    pub(crate) fn restart(&mut self, token: u64) {
        self.half = self.area.half(token);
        (self.needed, self.before) = (false, 0);
        self.pending.clear();
    }
}

/// One half of the log, and where the next frame goes in it.
#[derive(Debug)]
struct Half {
    area: RedoArea,
    token: u64,
    sector: usize,
    frame: u32,
}

impl Half {
    fn settle_tail(&self) -> Result<(), JournalError> {
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

    /// Makes a frame durable for which there is room.
    fn append(&mut self, frame: &[u8]) -> Result<(), JournalError> {
        let sectors = frame.len().div_ceil(PAYLOAD);
        let mut bytes = Vec::with_capacity(sectors * SECTOR);
        for (index, payload) in frame.chunks(PAYLOAD).enumerate() {
            let at = self.sector + index;
            bytes.extend_from_slice(&seal(self.token, self.frame, at, (index, sectors), payload));
        }
        self.area.write(self.sector, &bytes)?;
        self.sector += sectors;
        self.frame += 1;
        Ok(())
    }
}

fn frames_before(frame: &[u8]) -> Option<u32> {
    frame.get(4..HEAD)?.try_into().map(u32::from_be_bytes).ok()
}

/// The rows of a frame, as far as they can be told apart.
fn rows(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    let number = |bytes: &[u8]| bytes.try_into().map(u32::from_be_bytes).ok();
    let length = frame.get(..4).and_then(number).unwrap_or(0) as usize;
    let rest = frame.get(4..4 + length).or(frame.get(4..)).unwrap_or_default();
    let mut rest = rest.get(HEAD - 4..).unwrap_or_default();
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
        file.set_len(128 * 1024).unwrap();
        RedoArea::in_front(Arc::new(file), 128 * 1024)
    }

    fn set(half: &RedoArea, bytes: &[u8]) {
        half.file.write(half.range.start, bytes).unwrap();
    }

    /// The half that is written first.
    fn first(area: &RedoArea) -> RedoArea {
        area.half(TOKEN).area
    }

    fn appended(redo: &mut Redo, writes: Vec<RawWrite>) -> bool {
        matches!(redo.append(writes).unwrap(), Appended::Durable)
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
            assert!(appended(&mut redo, writes(frame, count)));
        }
        (area, redo)
    }

    #[test]
    fn what_was_appended_is_read_until_the_store_has_taken_it() {
        let (area, _) = filled([1, 40, 3]);
        let (mut again, found) = read(&area).unwrap();
        assert_eq!((found, again.pending.len(), again.half.frame), (44, 44, 3));
        assert!(appended(&mut again, writes(4, 1)));
        assert_eq!(read(&area).unwrap().1, 45);
        // Left over, once there is another token.
        let mut image = Image::default();
        let fresh = Redo::read(area.clone(), TOKEN + 1, &mut image).unwrap();
        assert_eq!((image.bubbles.len(), fresh.half.frame, fresh.half.sector), (0, 0, 0));
    }

    #[test]
    fn what_is_large_or_finds_no_room_is_given_back() {
        let area = area();
        let (mut redo, _) = read(&area).unwrap();
        let given_back = redo.append(writes(1, 900)).unwrap();
        assert!(matches!(given_back, Appended::ToStore(writes) if writes.len() == 900));
        let mut count = 0;
        while appended(&mut redo, writes(2 + count, 20)) {
            count += 1;
        }
        assert!((20..127).contains(&count), "{count}");
        let given_back = redo.append(writes(2 + count, 20)).unwrap();
        assert!(matches!(given_back, Appended::NoRoom(writes) if writes.len() == 20));
        assert_eq!(read(&area).unwrap().1, 20 * count as usize);
        redo.restart(TOKEN);
        assert!(appended(&mut redo, writes(1, 20)));
    }

    #[test]
    fn a_frame_cut_short_in_any_way_was_never_there_and_leaves_nothing_behind() {
        for lost in 1..1_u32 << 6 {
            let area = area();
            let half = first(&area);
            let (mut redo, _) = read(&area).unwrap();
            assert!(appended(&mut redo, writes(1, 2)));
            let (begin, before) = (redo.half.sector, half.read().unwrap());
            assert!(appended(&mut redo, writes(2, 60)));
            assert_eq!(redo.half.sector - begin, 6, "the ways to lose some of it");
            let mut torn = half.read().unwrap();
            for sector in (0..6).filter(|sector| lost >> sector & 1 == 1) {
                let range = (begin + sector) * SECTOR..(begin + sector + 1) * SECTOR;
                torn[range.clone()].copy_from_slice(&before[range]);
            }
            set(&half, &torn);
            let (mut again, found) = read(&area).unwrap();
            assert_eq!(found, 2, "lost {lost:06b}");
            again.settle_tail().unwrap();
            // The next one is as long, and crashes as well, where the other did not.
            assert!(appended(&mut again, writes(3, 60)));
            let whole = half.read().unwrap();
            for sector in (0..6).filter(|sector| lost >> sector & 1 == 0) {
                let mut torn = whole.clone();
                torn[(begin + sector) * SECTOR..(begin + sector + 1) * SECTOR].fill(0);
                set(&half, &torn);
                assert_eq!(read(&area).unwrap().1, 2, "lost {lost:06b}, then {sector}");
            }
            set(&half, &whole);
            assert_eq!(read(&area).unwrap().1, 62, "lost {lost:06b}");
        }
    }

    #[test]
    fn no_changed_byte_of_what_was_acknowledged_passes_for_a_crash() {
        let (area, redo) = filled([5, 20, 9]);
        let half = first(&area);
        let whole = half.read().unwrap();
        for at in 0..redo.half.sector * SECTOR {
            let mut changed = whole.clone();
            changed[at] ^= 0x5a;
            set(&half, &changed);
            assert!(read(&area).is_err(), "byte {at}");
        }
        // A whole sector that is as it was before looks like a crash only in the last frame.
        for sector in 0..redo.half.sector {
            let mut changed = whole.clone();
            changed[sector * SECTOR..(sector + 1) * SECTOR].fill(0);
            set(&half, &changed);
            match read(&area) {
                Err(_) => assert!(sector < redo.half.sector - 1),
                Ok((left, found)) => {
                    assert_eq!((left.half.frame, found), (2, 25), "sector {sector}")
                }
            }
        }
    }

    /// A log whose first half is being taken, with so many frames in each half.
    fn turned(frames: [u128; 2]) -> (RedoArea, Redo) {
        let area = area();
        let (mut redo, _) = read(&area).unwrap();
        (1..=frames[0]).for_each(|frame| assert!(appended(&mut redo, writes(frame, 2))));
        redo.take();
        redo.turn();
        (1..=frames[1]).for_each(|frame| assert!(appended(&mut redo, writes(100 + frame, 3))));
        (area, redo)
    }

    #[test]
    fn both_halves_are_read_until_the_store_has_taken_the_first() {
        let (area, mut redo) = turned([4, 2]);
        assert!(!redo.can_turn());
        let (again, found) = read(&area).unwrap();
        assert_eq!((found, again.pending.len(), again.can_turn()), (14, 14, false));
        let mut image = Image::default();
        let taken = Redo::read(area.clone(), TOKEN + 1, &mut image).unwrap();
        assert_eq!((image.bubbles.len(), taken.half.frame, taken.can_turn()), (6, 2, true));
        redo.taken();
        assert!(appended(&mut redo, writes(200, 1)));
        redo.take();
        redo.turn();
        assert!(appended(&mut redo, writes(300, 1)));
        let mut image = Image::default();
        Redo::read(area, TOKEN + 1, &mut image).unwrap();
        assert_eq!(image.bubbles.len(), 8, "written over is only what the store has");
    }

    #[test]
    fn a_first_half_without_its_last_frames_is_no_crash_once_the_other_has_begun() {
        let (area, _) = turned([4, 1]);
        let half = first(&area);
        let mut bytes = half.read().unwrap();
        bytes[3 * SECTOR..4 * SECTOR].fill(0);
        set(&half, &bytes);
        assert!(read(&area).is_err());
    }

    #[test]
    fn what_a_crash_left_of_the_other_halfs_first_frame_is_gone_before_it_is_written_again() {
        let (area, mut redo) = turned([4, 0]);
        let other = area.half(TOKEN + 1).area;
        assert!(appended(&mut redo, writes(9, 60)));
        let mut torn = other.read().unwrap();
        torn[..SECTOR].fill(0);
        set(&other, &torn);
        let (again, found) = read(&area).unwrap();
        assert_eq!((found, again.can_turn()), (8, true));
        again.settle_tail().unwrap();
        assert!(other.read().unwrap().iter().all(|byte| *byte == 0));
    }
}
